//! The faults of the demo, one after the other.

use anyhow::{Result, ensure};

use super::{Case, Run};
use crate::fault::{STORY, SYNC_BAR_MS, Watched};

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
        if fault.leaves_both_alive() {
            let in_sync = outcome.in_sync_ms.unwrap_or(u64::MAX);
            ensure!(in_sync <= SYNC_BAR_MS, "{}: in sync after {in_sync} ms", outcome.fault);
        }
    }
    Ok(())
}
