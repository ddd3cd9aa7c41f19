//! The gateway is gone for everybody: no outage, no move, an alarm on both nodes.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::case::{Case, Run, Tier};
use super::kit::wait_event;
use crate::cluster::{NODES, Settings};
use crate::fault::Watched;
use crate::run::{now_us, wait_for};
use crate::say;
use crate::seen::Attempt;
use crate::status::Ailment;

pub(super) const CASE: Case = Case {
    name: "gateway-down",
    about: "the gateway is gone, the nodes hear each other: no outage, an alarm on both",
    tier: Tier::Default,
    run: Run::Configured(settings, run),
};

const GATEWAY: &str = "10.77.0.254";
/// No write in so long is a service that stands still; a busy machine alone costs a client half a second.
const GAP_MS: u64 = 2_000;
/// A degraded probe looks every 5 s, waits 2 s, and fails at the third time.
const ALARM: Duration = Duration::from_secs(25);

fn settings() -> Settings {
    Settings { top: format!("gateway = \"{GATEWAY}\"\n"), ..Settings::default() }
}

fn run(watched: &mut Watched) -> Result<()> {
    watched.cluster.lab.neighbour("gw", GATEWAY)?;
    // It may have failed while there was none yet.
    for node in NODES {
        wait_for(&format!("the gateway's probe on {node} to pass"), ALARM, || {
            let status = watched.cluster.status_of(node);
            let ailments = status.as_ref().and_then(|status| Some(&status.node(node)?.ailments));
            let passes = |all: &Vec<Ailment>| !all.iter().any(|ailment| ailment.probe == "gateway");
            Ok(ailments.is_some_and(passes).then_some(()))
        })?;
    }
    let from = now_us();
    say::line("fault   the gateway is gone");
    watched.cluster.lab.neighbour_address("gw", "del", GATEWAY)?;
    for node in NODES {
        wait_event(watched, node, from, ("probe.failing", "gateway"), ALARM)?;
    }
    let moves = watched.moves_since(from);
    ensure!(moves == 0, "{moves} moves");
    let figures = watched.recorder.tape().figures(from, now_us(), Attempt::Write);
    let gap = figures.client_gap_ms;
    say::line(&format!("result  longest gap {gap} ms"));
    ensure!(gap <= GAP_MS, "outage of {gap} ms");
    let back = now_us();
    watched.cluster.lab.neighbour_address("gw", "add", GATEWAY)?;
    for node in NODES {
        wait_event(watched, node, back, ("probe.passing", "gateway"), ALARM)?;
    }
    Ok(())
}
