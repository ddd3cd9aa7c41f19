//! The operating system of a host stops it in order: the active node hands over first, as for a planned move, and
//! nothing is killed; a standby goes, and the active node goes on.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::case::{Case, Run, Tier};
use super::kit::wait_event;
use crate::fault::{Watched, other_of};
use crate::history;
use crate::run::now_us;
use crate::say;
use crate::seen::Attempt;

pub(super) const CASE: Case = Case {
    name: "host-stop",
    about: "systemctl poweroff of the active host is a planned move, of the standby nothing; nothing is killed",
    tier: Tier::Default,
    run: Run::Watched(run),
};

const SYNC: Duration = Duration::from_secs(90);
const STEADY: Duration = Duration::from_secs(1);
const TOLD: Duration = Duration::from_secs(15);
/// A planned move; a busy machine alone costs a client half a second.
const GAP_MS: u64 = 1_000;
/// What would be worse than an end in order.
const KILLS: [&str; 3] = ["database.killed", "database.hung", "lease.suspect"];

fn run(watched: &mut Watched) -> Result<()> {
    watched.recorder.attempt(Attempt::Write)?;
    let active = watched.cluster.active()?;
    let other = other_of(&active);
    let from = stop(watched, &active, "the active host")?;
    watched.wait_served_by(other)?;
    gap(watched, from)?;
    watched.power_on_node(&active)?;
    watched.cluster.wait_in_sync(SYNC)?;
    wait_event(watched, &active, from, ("move.begun", other), TOLD)?;
    no_kill(watched, from)?;

    let moved = now_us();
    let from = stop(watched, &active, "the standby")?;
    gap(watched, from)?;
    watched.power_on_node(&active)?;
    watched.cluster.wait_in_sync(SYNC)?;
    ensure!(watched.moves_since(moved) == 0, "it moved for its standby");
    no_kill(watched, from)
}

fn stop(watched: &mut Watched, node: &str, which: &str) -> Result<u64> {
    watched.recorder.wait_steady(STEADY, SYNC)?;
    let from = now_us();
    say::line(&format!("fault   systemctl poweroff on {node}, {which}"));
    watched.shut_down_node(node)?;
    say::line(&format!("case    {node} is off after {} ms", (now_us() - from) / 1000));
    Ok(from)
}

fn gap(watched: &Watched, from: u64) -> Result<()> {
    watched.recorder.wait_steady(STEADY, SYNC)?;
    let figures = watched.recorder.tape().figures(from, now_us(), Attempt::Write);
    let gap = figures.client_gap_ms;
    say::line(&format!(
        "case    client without a write for {gap} ms, service {} ms",
        figures.service_gap_ms
    ));
    ensure!(gap <= GAP_MS, "client without a write for {gap} ms");
    Ok(())
}

fn no_kill(watched: &Watched, from: u64) -> Result<()> {
    for host in crate::cluster::NODES {
        let events = history::since(watched.cluster.lab.host(host)?, from);
        let killed = events.iter().find(|event| KILLS.contains(&event.code.as_str()));
        ensure!(killed.is_none(), "{host}: {killed:?}");
    }
    Ok(())
}
