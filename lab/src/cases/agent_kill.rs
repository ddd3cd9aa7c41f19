//! SIGKILL of the agent on the active node: the VIP does not move.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::case::{Case, Run, Tier};
use crate::fault::Watched;
use crate::run::{now_us, wait_for};

pub(super) const CASE: Case = Case {
    name: "agent-kill",
    about: "kill -9 of the agent on the active node: the VIP does not move, no write is lost",
    tier: Tier::Default,
    run: Run::Watched(run),
};

/// The agent is back in a tenth of a second; its right lasts longer than that.
const BACK: Duration = Duration::from_secs(5);
/// Longer than a lease: a takeover that this provoked would have shown.
const WATCH: Duration = Duration::from_millis(2500);

fn run(watched: &mut Watched) -> Result<()> {
    let before = watched.cluster.status().context("no status")?;
    let active = before.active().context("nobody active")?.to_owned();
    let from = now_us();
    watched.cluster.kill_unit(&active, "regent.service")?;
    wait_for("the agent to be back", BACK, || {
        let status = watched.cluster.status_of(&active);
        Ok(status.is_some_and(|status| status.is_active_itself()).then_some(()))
    })?;
    has_names(watched, &active)?;
    watched.recorder.wait_steady(WATCH, BACK + WATCH)?;
    let after = watched.cluster.wait_in_sync(BACK)?;
    ensure!(after.active() == before.active(), "the VIP moved to {:?}", after.active());
    ensure!(after.epoch == before.epoch, "epoch {} became {}", before.epoch, after.epoch);
    let macs = watched.speakers_since(from);
    ensure!(macs.len() == 1, "the VIP was answered by {macs:?}");
    Ok(())
}

/// `pidof` finds the agent, and `ps` tells it from its children.
fn has_names(watched: &Watched, node: &str) -> Result<()> {
    let host = watched.cluster.lab.host(node)?;
    let agent = host.shell("systemctl show --property=MainPID --value regent.service")?;
    let (agent, found) = (agent.trim(), host.shell("pidof regent")?);
    ensure!(found.split_whitespace().any(|pid| pid == agent), "pidof finds {found}, not {agent}");
    let expected = [
        format!("regent regent agent ({node})"),
        "regent regent database-worker".into(),
        "regent regent prober".into(),
    ];
    wait_for("names in ps", BACK, || {
        let shown = host.shell(&format!("ps -o comm=,args= --pid {agent} --ppid {agent}"))?;
        let shown: Vec<String> = shown
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        Ok(expected.iter().all(|line| shown.contains(line)).then_some(()))
    })
}
