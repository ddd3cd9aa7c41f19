//! Without a majority of voters nobody serves: the active falls silent within its right, and a
//! node alone never becomes active; with the majority back somebody serves again.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::case::{Case, Run, Tier};
use crate::fault::{Watched, other_of};
use crate::run::{now_us, wait_for};
use crate::say;

pub(super) const CASE: Case = Case {
    name: "no-quorum",
    about: "the active loses both other voters: silent within its right; a node alone never serves",
    tier: Tier::Default,
    run: Run::Watched(run),
};

/// The right of the default profile, ttl - margin.
const RIGHT_US: u64 = 610_000;
/// What the kernel's timer and this machine's load may add.
const SLACK_US: u64 = 250_000;
/// Many leases.
const ALONE: Duration = Duration::from_secs(6);
const SYNC: Duration = Duration::from_secs(60);

fn run(watched: &mut Watched) -> Result<()> {
    let active = watched.cluster.active()?;
    let other = other_of(&active);
    watched.cluster.lab.host_mut("w1")?.power_off()?;
    watched.recorder.wait_steady(Duration::from_secs(1), ALONE).context("witness off")?;
    let from = now_us();
    watched.power_off_node(other)?;
    wait_for("silence of the VIP", ALONE, || {
        Ok((now_us() - watched.last_frame() > 1_000_000).then_some(()))
    })?;
    let silent = watched.last_frame().saturating_sub(from);
    say::line(&format!("case    the last frame of the VIP came {} ms after", silent / 1000));
    ensure!(silent <= RIGHT_US + SLACK_US, "spoke on for {} ms", silent / 1000);

    let begin = now_us();
    wait_for("a lone node's patience", ALONE * 2, || {
        let status = watched.cluster.status_of(&active);
        ensure!(
            status.is_none_or(|status| status.role(&active) != "active"),
            "{active} is active alone"
        );
        Ok((now_us() - begin > ALONE.as_micros() as u64).then_some(()))
    })?;
    ensure!(watched.speakers_since(begin).is_empty(), "the VIP was answered without a quorum");

    watched.cluster.lab.host_mut("w1")?.boot()?;
    watched.power_on_node(other)?;
    watched.cluster.wait_in_sync(SYNC).map(drop)
}
