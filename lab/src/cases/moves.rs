//! The faults of the demo, one after the other.

use anyhow::{Result, ensure};

use super::{Case, Run};
use crate::fault::{STORY, Watched};

pub(super) const CASE: Case = Case {
    name: "moves",
    about: "switchover, killed services, power-off and return, cut: nothing lost, one owner",
    run: Run::Watched(run),
};

fn run(watched: &mut Watched) -> Result<()> {
    for fault in STORY {
        let outcome = watched.suffer(fault)?;
        let (lost, dual) = (outcome.lost, outcome.dual_ms);
        ensure!(lost == 0 && dual == 0, "{}: lost {lost}, dual {dual} ms", outcome.fault);
    }
    Ok(())
}
