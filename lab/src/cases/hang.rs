//! The active host hangs, agent and database together, and wakes up again: its kernel closes the
//! gate meanwhile, and what wakes up finds that it no longer holds.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::case::{Case, Run, Tier};
use crate::fault::{Watched, other_of};
use crate::run::wait_for;

pub(super) const CASE: Case = Case {
    name: "hang",
    about: "every process of the active host stops and goes on later: one owner, nothing lost",
    tier: Tier::Default,
    run: Run::Watched(run),
};

const TAKEOVER: Duration = Duration::from_secs(10);
const STEADY: Duration = Duration::from_secs(2);
const SYNC: Duration = Duration::from_secs(60);

fn run(watched: &mut Watched) -> Result<()> {
    let active = watched.cluster.active()?;
    let other = other_of(&active);
    watched.cluster.lab.host(&active)?.hang()?;
    let moved = wait_for(&format!("{other} to serve"), TAKEOVER, || {
        let status = watched.cluster.status_of(other);
        Ok(status.is_some_and(|status| status.is_active_itself()).then_some(()))
    });
    let steady = moved.and_then(|()| watched.recorder.wait_steady(STEADY, TAKEOVER));
    watched.cluster.lab.host(&active)?.resume()?;
    steady.context("while it hung")?;
    let status = watched.cluster.wait_in_sync(SYNC)?;
    ensure!(status.active() == Some(other), "{}", status.brief());
    Ok(())
}
