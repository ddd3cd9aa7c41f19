//! The interface that carries the VIP loses its carrier, and the members still hear each other by another one: a
//! standby says that it cannot serve and takes nothing over, an active node gives way, and if both lose it nothing
//! moves.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::case::{Case, Run, Tier};
use super::kit::{expect_explained, regent, throughout, wait_event};
use crate::cluster::Settings;
use crate::fault::{Watched, other_of};
use crate::run::{now_us, wait_for};
use crate::say;
use crate::seen::Attempt;

pub(super) const CASE: Case = Case {
    name: "carrier",
    about: "no carrier on the VIP's interface: a standby is no candidate, an active node moves, both stay",
    tier: Tier::Default,
    run: Run::Configured(settings, run),
};

const TOLD: Duration = Duration::from_secs(5);
const REFUSED: Duration = Duration::from_secs(6);
const STAYS: Duration = Duration::from_secs(4);
const SYNC: Duration = Duration::from_secs(60);
const STEADY: Duration = Duration::from_secs(1);
/// A planned move and the time until the loss is believed; a busy machine alone costs a client half a second.
const MOVE_MS: u64 = 2_000;
const WORDS: &str = "host0 has no carrier";
/// The row of "stuck, and the way out".
const ROW: u64 = 8;

fn settings() -> Settings {
    Settings { apart: true, ..Settings::brisk() }
}

fn run(watched: &mut Watched) -> Result<()> {
    standby(watched)?;
    active(watched)?;
    both(watched)
}

fn standby(watched: &mut Watched) -> Result<()> {
    let active = watched.cluster.active()?;
    let other = other_of(&active);
    let from = now_us();
    say::line(&format!("fault   {other}, the standby, loses the carrier of host0"));
    watched.cluster.lab.host(other)?.cut()?;
    let event = wait_event(watched, other, from, ("probe.failing", WORDS), TOLD)?;
    let ms = event.at.saturating_sub(from) / 1000;
    say::line(&format!("case    known after {ms} ms"));
    wait_for("the active node to know", TOLD, || {
        let status = watched.cluster.status_of(&active);
        let reason = status.and_then(|status| status.node(other)?.reason.clone());
        Ok(reason.filter(|reason| reason.contains(WORDS)))
    })?;
    let refused = regent(watched, &active, &format!("switchover --to {other}"))?;
    ensure!(refused.code != 0 && refused.text.contains(WORDS), "it says: {}", refused.text);
    ensure!(watched.moves_since(from) == 0, "it moved");

    say::line(&format!("fault   power-off of {active}, the active host"));
    watched.power_off_node(&active)?;
    throughout(REFUSED, || {
        let status = watched.cluster.status_of(other);
        ensure!(status.is_none_or(|s| !s.is_active_itself()), "{other} serves nobody");
        Ok(())
    })?;
    let status = watched.cluster.status_of(other).context("no status")?;
    let blocked = status.blocked.context("nothing is blocked")?;
    ensure!(blocked.row == ROW && blocked.text.contains(WORDS), "{blocked:?}");
    expect_explained(watched, other, "nobody would be served from here")?;

    let back = now_us();
    say::line(&format!("case    {other} has its carrier again"));
    watched.cluster.lab.host(other)?.heal()?;
    watched.wait_served_by(other)?;
    say::line(&format!("case    it serves {} ms after", (now_us() - back) / 1000));
    watched.recorder.wait_steady(STEADY, SYNC)?;
    watched.power_on_node(&active)?;
    watched.cluster.wait_in_sync(SYNC).map(drop)
}

fn active(watched: &mut Watched) -> Result<()> {
    let active = watched.cluster.active()?;
    let other = other_of(&active);
    watched.recorder.attempt(Attempt::Write)?;
    watched.recorder.wait_steady(STEADY, SYNC)?;
    let from = now_us();
    say::line(&format!("fault   {active}, the active node, loses the carrier of host0"));
    watched.cluster.lab.host(&active)?.cut()?;
    watched.wait_served_by(other)?;
    watched.recorder.wait_steady(STEADY, SYNC)?;
    let figures = watched.recorder.tape().figures(from, now_us(), Attempt::Write);
    let gap = figures.client_gap_ms;
    say::line(&format!("case    client without a write for {gap} ms"));
    ensure!(gap <= MOVE_MS, "client without a write for {gap} ms");
    wait_event(watched, &active, from, ("move.begun", WORDS), TOLD)?;
    watched.cluster.lab.host(&active)?.heal()?;
    watched.cluster.wait_in_sync(SYNC)?;
    ensure!(watched.cluster.active()? == other, "it went back by itself");
    Ok(())
}

/// The switch that both hang on.
fn both(watched: &mut Watched) -> Result<()> {
    let active = watched.cluster.active()?;
    let other = other_of(&active);
    let from = now_us();
    say::line("fault   both nodes lose the carrier of host0");
    watched.cluster.lab.host(&active)?.cut()?;
    watched.cluster.lab.host(other)?.cut()?;
    for node in [active.as_str(), other] {
        wait_event(watched, node, from, ("probe.failing", WORDS), TOLD)?;
    }
    throughout(STAYS, || {
        let status = watched.cluster.status_of(&active).context("no status")?;
        ensure!(status.is_active_itself(), "{active} gave up: {}", status.brief());
        Ok(())
    })?;
    // For the standby a moment earlier.
    for node in [other, active.as_str()] {
        watched.cluster.lab.host(node)?.heal()?;
    }
    watched.recorder.wait_steady(STEADY, SYNC)?;
    watched.cluster.wait_in_sync(SYNC)?;
    ensure!(watched.cluster.active()? == active, "it moved when the switch was back");
    Ok(())
}
