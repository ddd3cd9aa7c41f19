//! The witness dies while both management nodes live: nothing moves.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::case::{Case, Run, Tier};
use crate::fault::Watched;
use crate::run::now_us;

pub(super) const CASE: Case = Case {
    name: "witness-dead",
    about: "power-off of the witness with both nodes alive: nothing moves",
    tier: Tier::Default,
    run: Run::Watched(run),
};

/// Several leases.
const WATCH: Duration = Duration::from_secs(4);

fn run(watched: &mut Watched) -> Result<()> {
    let before = watched.cluster.status().context("no status")?;
    let from = now_us();
    watched.cluster.lab.host_mut("w1")?.power_off()?;
    watched.recorder.wait_steady(WATCH, WATCH * 3).context("the client noticed")?;
    let after = watched.cluster.status().context("no status")?;
    ensure!(after.active() == before.active(), "the VIP moved to {:?}", after.active());
    ensure!(after.epoch == before.epoch, "epoch {} became {}", before.epoch, after.epoch);
    ensure!(after.sync.state == "in-sync", "{}", after.brief());
    let macs = watched.speakers_since(from);
    ensure!(macs.len() == 1, "the VIP was answered by {macs:?}");
    watched.cluster.lab.host_mut("w1")?.boot()
}
