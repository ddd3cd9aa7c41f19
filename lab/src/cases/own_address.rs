//! Somebody flushes the addresses of the active host's interface and puts its own back: the VIP comes back alone, with
//! all bits of its prefix, and when it goes later the host keeps its own address.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::case::{Case, Run, Tier};
use super::kit::command;
use crate::cluster::Settings;
use crate::fault::{Watched, other_of};
use crate::lab::VIP;
use crate::run::wait_for;
use crate::say;

pub(super) const CASE: Case = Case {
    name: "own-address",
    about: "addresses of the active host flushed and its own put back: it keeps it when the VIP goes",
    tier: Tier::Default,
    run: Run::Configured(Settings::brisk, run),
};

const BACK: Duration = Duration::from_secs(15);
const SYNC: Duration = Duration::from_secs(60);
const STEADY: Duration = Duration::from_secs(1);

fn run(watched: &mut Watched) -> Result<()> {
    for round in 1..=2 {
        let active = watched.cluster.active()?;
        let other = other_of(&active);
        let own = watched.cluster.lab.host(&active)?.spec.address.clone();
        say::line(&format!(
            "fault   {active}, the active host: ip addr flush dev host0, and its own put back"
        ));
        let line = format!("ip addr flush dev host0; ip addr add {own}/24 dev host0");
        watched.cluster.lab.host(&active)?.shell(&line)?;
        // A short cut of its network as well: if it moved for that, it is the other one's.
        let serving = wait_for("the VIP on one of them", BACK, || {
            let nodes = [active.as_str(), other];
            let on = nodes.into_iter().find(|node| {
                let status = watched.cluster.status_of(node);
                let serves = status.is_some_and(|status| status.is_active_itself());
                serves && addresses(watched, node).is_ok_and(|all| has(&all, VIP, None))
            });
            Ok(on)
        })?;
        say::line(&format!("case    {serving} has the VIP"));
        expect_alone(watched, serving)?;
        watched.recorder.wait_steady(STEADY, SYNC)?;
        watched.cluster.wait_in_sync(SYNC)?;
        command(watched, serving, &format!("switchover --to {}", other_of(serving)))?;
        watched.wait_served_by(other_of(serving))?;
        wait_for("the VIP to go", BACK, || {
            let all = addresses(watched, serving)?;
            Ok((!has(&all, VIP, None)).then_some(()))
        })?;
        for node in [active.as_str(), other] {
            let all = addresses(watched, node)?;
            let own = watched.cluster.lab.host(node)?.spec.address.clone();
            ensure!(has(&all, &own, Some(24)), "{node} lost {own} in round {round}: {all:?}");
        }
        watched.recorder.wait_steady(STEADY, SYNC)?;
        watched.cluster.wait_in_sync(SYNC)?;
    }
    Ok(())
}

/// The VIP stands there with all its bits, and nothing hangs on it.
fn expect_alone(watched: &Watched, node: &str) -> Result<()> {
    let all = addresses(watched, node)?;
    ensure!(has(&all, VIP, Some(32)), "{node} has {all:?}");
    let own = watched.cluster.lab.host(node)?.spec.address.clone();
    ensure!(has(&all, &own, Some(24)), "{node} has {all:?}");
    let shown = watched.cluster.lab.host(node)?.shell("ip -4 -o addr show dev host0")?;
    ensure!(!shown.contains("secondary"), "an address hangs on another: {shown}");
    Ok(())
}

/// The IPv4 addresses of its interface, with their prefixes.
fn addresses(watched: &Watched, node: &str) -> Result<Vec<String>> {
    let list = "ip -4 -o addr show dev host0 | awk '{print $4}'";
    let shown = watched.cluster.lab.host(node)?.shell(list)?;
    Ok(shown.lines().map(str::to_owned).collect())
}

fn has(all: &[String], address: &str, prefix: Option<u8>) -> bool {
    all.iter().any(|one| match prefix {
        Some(prefix) => *one == format!("{address}/{prefix}"),
        None => one.split('/').next() == Some(address),
    })
}
