//! All power is lost, and comes back: in either order, a while apart, and once for one host only. Who has every write
//! serves; who may lack one waits, and says for whom.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::case::{Case, Run, Tier};
use super::kit::{regent, throughout, wait_event};
use crate::fault::{Watched, other_of};
use crate::run::{now_us, wait_for};
use crate::say;

pub(super) const CASE: Case = Case {
    name: "power-loss",
    about: "both nodes lose their power: back in either order 10 s apart, and one that may not serve alone",
    tier: Tier::Default,
    run: Run::Watched(|watched| run(watched, Duration::from_secs(10))),
};

pub(super) const LONG: Case = Case {
    name: "power-loss-long",
    about: "the same, ten minutes apart",
    tier: Tier::All,
    run: Run::Watched(|watched| run(watched, Duration::from_secs(600))),
};

const SYNC: Duration = Duration::from_secs(120);
const STEADY: Duration = Duration::from_secs(1);
const TOLD: Duration = Duration::from_secs(30);
/// How long a node that may lack a write is looked at, as it does not serve.
const WAITS: Duration = Duration::from_secs(10);
/// No node is active.
const NOBODY: i32 = 6;

fn run(watched: &mut Watched, apart: Duration) -> Result<()> {
    let active = watched.cluster.active()?;
    both_lost(watched, &active)?;
    writer_first(watched, &active, apart)?;
    both_lost(watched, &active)?;
    standby_first(watched, &active, apart)?;
    one_that_lacks_writes(watched)
}

/// In sync, both go at once.
fn both_lost(watched: &mut Watched, active: &str) -> Result<()> {
    watched.cluster.wait_in_sync(SYNC)?;
    say::line(&format!("fault   power-off of {active}, the active host, and of the other one"));
    watched.power_off_node(active)?;
    watched.power_off_node(other_of(active))
}

/// The one that wrote serves, whether the other one comes or not.
fn writer_first(watched: &mut Watched, active: &str, apart: Duration) -> Result<()> {
    let from = now_us();
    say::line(&format!("fault   power is back on {active} only"));
    watched.power_on_node(active)?;
    watched.wait_served_by(active)?;
    watched.recorder.wait_steady(STEADY, SYNC)?;
    say::line(&format!("case    {active} serves {} ms after its power", (now_us() - from) / 1000));
    let left = apart.saturating_sub(Duration::from_micros(now_us() - from));
    throughout(left, || {
        let status = watched.cluster.status_of(active);
        ensure!(status.is_some_and(|status| status.is_active_itself()), "{active} serves no more");
        Ok(())
    })?;
    let other = other_of(active);
    say::line(&format!("fault   power is back on {other}, too"));
    watched.power_on_node(other)?;
    watched.cluster.wait_in_sync(SYNC)?;
    ensure!(watched.cluster.active()? == active, "it moved for the one that came back");
    Ok(())
}

/// What a follower had received and not applied goes with its power: it waits for the one that wrote, and says so.
fn standby_first(watched: &mut Watched, active: &str, apart: Duration) -> Result<()> {
    let other = other_of(active);
    say::line(&format!("fault   power is back on {other} only"));
    watched.power_on_node(other)?;
    expect_waiting(watched, other, &format!("{active} is gone and this copy is not whole"), apart)?;
    say::line(&format!("fault   power is back on {active}, too"));
    watched.power_on_node(active)?;
    watched.wait_served_by(active)?;
    watched.recorder.wait_steady(STEADY, SYNC)?;
    watched.cluster.wait_in_sync(SYNC).map(drop)
}

/// It does not serve, for so long, and says why and what helps.
fn expect_waiting(watched: &Watched, node: &str, why: &str, length: Duration) -> Result<()> {
    wait_for("the reason to be told", TOLD, || {
        let told = watched.cluster.told(node, &["explain"])?;
        Ok(told.contains(why).then_some(()))
    })?;
    throughout(length, || {
        let serves = watched.cluster.status_of(node).is_some_and(|s| s.is_active_itself());
        ensure!(!serves, "{node} serves without the writes that only the other one has");
        Ok(())
    })?;
    let status = regent(watched, node, "status")?;
    ensure!(status.code == NOBODY, "exit {}: {}", status.code, status.text);
    ensure!(status.text.contains("bring it back"), "no way out is told: {}", status.text);
    Ok(())
}

/// The other one had gone on alone: only that one has every write, and this one waits for it, and says so.
fn one_that_lacks_writes(watched: &mut Watched) -> Result<()> {
    let active = watched.cluster.active()?;
    let other = other_of(&active);
    say::line(&format!("fault   power-off of {other}, the standby; {active} goes on alone"));
    let from = now_us();
    watched.power_off_node(other)?;
    wait_event(watched, &active, from, ("sync.solo", ""), TOLD)?;
    watched.recorder.wait_steady(STEADY, SYNC)?;
    say::line(&format!("fault   power-off of {active}; power is back on {other} only"));
    watched.power_off_node(&active)?;
    watched.power_on_node(other)?;
    expect_waiting(watched, other, &format!("{active} had recorded solo"), WAITS)?;
    watched.power_on_node(&active)?;
    watched.wait_served_by(&active)?;
    watched.recorder.wait_steady(STEADY, SYNC)?;
    watched.cluster.wait_in_sync(SYNC).map(drop)
}
