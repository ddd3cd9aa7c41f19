//! `regent cluster stop` from one node: everything of both nodes goes down, and nothing starts
//! any of it again until `regent cluster start`, which loses nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::case::{Case, Run, Tier};
use super::kit::{command, is_running, throughout};
use crate::cluster::NODES;
use crate::fault::{Watched, other_of};
use crate::lab::VIP;
use crate::run::{now_us, wait_for};
use crate::say;
use crate::service::Service;

pub(super) const CASE: Case = Case {
    name: "cluster-stop",
    about: "cluster stop, agents restarted: nothing runs for 10 s; cluster start: all is back",
    tier: Tier::Default,
    run: Run::Watched(run),
};

const STOPPED: Duration = Duration::from_secs(5);
const SYNC: Duration = Duration::from_secs(60);
const STEADY: Duration = Duration::from_secs(1);

fn run(watched: &mut Watched) -> Result<()> {
    let active = watched.cluster.active()?;
    let other = other_of(&active);
    command(watched, other, "cluster stop")?;
    let since = now_us();
    wait_for("the address to be off", STOPPED, || Ok(expect_nothing(watched).ok()))
        .or_else(|_| expect_nothing(watched))?;
    say::line(&format!(
        "case    nothing is left {} ms after the answer",
        (now_us() - since) / 1000
    ));
    throughout(STOPPED, || expect_nothing(watched))?;
    for node in NODES {
        watched.cluster.lab.host(node)?.run(&["systemctl", "restart", "regent.service"])?;
    }
    say::line("case    both agents are restarted");
    throughout(STOPPED, || expect_nothing(watched))?;
    let status = watched.cluster.status_of(other).context("no status")?;
    ensure!(status.stopped, "status does not say that the cluster is stopped: {}", status.brief());
    let silence = now_us() - watched.last_frame();
    ensure!(silence > STOPPED.as_micros() as u64, "the VIP spoke {} ms ago", silence / 1000);

    command(watched, other, "cluster start")?;
    watched.cluster.wait_in_sync(SYNC)?;
    watched.recorder.wait_steady(STEADY, SYNC)?;
    for node in NODES {
        for service in Service::ALL {
            let unit = service.unit();
            ensure!(is_running(watched, node, unit)?, "{unit} does not run on {node}");
        }
    }
    Ok(())
}

fn expect_nothing(watched: &Watched) -> Result<()> {
    for node in NODES {
        for service in Service::ALL {
            let unit = service.unit();
            ensure!(!is_running(watched, node, unit)?, "{unit} runs on {node}");
        }
        let addresses = watched.cluster.lab.host(node)?.run(&["ip", "-o", "addr"])?;
        ensure!(!addresses.contains(VIP), "{node} has the VIP: {addresses}");
    }
    Ok(())
}
