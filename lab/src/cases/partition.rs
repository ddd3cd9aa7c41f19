//! The active node and the other two voters no longer hear each other, while clients go on hearing
//! both nodes: whoever speaks or acknowledges out of turn is heard.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::case::{Case, Run, Tier};
use crate::cluster::WITNESS;
use crate::fault::{Watched, other_of};
use crate::run::wait_for;

pub(super) const BOTH_WAYS: Case = Case {
    name: "partition",
    about: "the active is cut from the other voters, clients hear both: one owner, nothing lost",
    tier: Tier::Default,
    run: Run::Watched(both_ways),
};

pub(super) const DEAF: Case = Case {
    name: "partition-deaf",
    about: "the active no longer hears the other voters, they hear it: one owner, nothing lost",
    tier: Tier::Default,
    run: Run::Watched(deaf),
};

pub(super) const MUTE: Case = Case {
    name: "partition-mute",
    about: "the other voters no longer hear the active, it hears them: one owner, nothing lost",
    tier: Tier::Default,
    run: Run::Watched(mute),
};

const TAKEOVER: Duration = Duration::from_secs(10);
const STEADY: Duration = Duration::from_secs(2);
const SYNC: Duration = Duration::from_secs(45);

fn both_ways(watched: &mut Watched) -> Result<()> {
    divide(watched, true, true)
}

fn deaf(watched: &mut Watched) -> Result<()> {
    divide(watched, true, false)
}

fn mute(watched: &mut Watched) -> Result<()> {
    divide(watched, false, true)
}

fn divide(watched: &mut Watched, is_deaf: bool, is_mute: bool) -> Result<()> {
    let active = watched.cluster.active()?;
    let other = other_of(&active);
    // The witness first: cut from the other node alone, the active would record solo with it, and be the only copy.
    for voter in [WITNESS, other] {
        if is_deaf {
            watched.cluster.lab.cut_path(voter, &active)?;
        }
        if is_mute {
            watched.cluster.lab.cut_path(&active, voter)?;
        }
    }
    wait_for(&format!("{other} to serve"), TAKEOVER, || {
        let status = watched.cluster.status_of(other);
        Ok(status.is_some_and(|status| status.is_active_itself()).then_some(()))
    })?;
    watched.recorder.wait_steady(STEADY, TAKEOVER).context("on the new active node")?;
    watched.cluster.lab.heal_paths()?;
    let status = watched.cluster.wait_in_sync(SYNC)?;
    ensure!(status.active() == Some(other), "{}", status.brief());
    Ok(())
}
