//! Somebody else on the segment has the VIP's address: an alarm with its hardware address on both
//! nodes at run time, and no activation beside it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::case::{Case, Run, Tier};
use super::kit::{throughout, wait_event};
use crate::cluster::NODES;
use crate::fault::{Watched, other_of};
use crate::lab::VIP;
use crate::run::{now_us, wait_for};
use crate::say;

pub(super) const CASE: Case = Case {
    name: "stranger",
    about: "a stranger has the VIP: alarm with its MAC on both nodes, no takeover until it is gone",
    tier: Tier::Default,
    run: Run::Watched(run),
};

const OTHER_ADDRESS: &str = "10.77.0.66";
const ALARM: Duration = Duration::from_secs(10);
const REFUSED: Duration = Duration::from_secs(6);
const SERVED: Duration = Duration::from_secs(15);
const SYNC: Duration = Duration::from_secs(60);
/// The row of "stuck, and the way out".
const ROW: u64 = 8;

fn run(watched: &mut Watched) -> Result<()> {
    let active = watched.cluster.active()?;
    let other = other_of(&active);
    let mac = watched.cluster.lab.neighbour("st", OTHER_ADDRESS)?;
    watched.recorder.ignore(&mac);
    let from = now_us();
    say::line(&format!("fault   {mac} takes the VIP as its own second address"));
    watched.cluster.lab.neighbour_address("st", "add", VIP)?;
    for node in NODES {
        let alarm = wait_event(watched, node, from, ("vip.stranger", &mac), ALARM)?;
        ensure!(alarm.severity == "alarm", "{}: {}", alarm.severity, alarm.text);
        let shown = watched.cluster.status_of(node).and_then(|status| status.stranger);
        ensure!(shown.as_deref() == Some(&mac), "status on {node} shows {shown:?}");
    }
    ensure!(watched.cluster.active()? == active, "it moved");

    say::line(&format!("fault   power-off of {active}, the active host"));
    watched.power_off_node(&active)?;
    let off = now_us();
    let theirs = watched.cluster.lab.host(other)?.spec.mac.clone();
    throughout(REFUSED, || {
        let status = watched.cluster.status_of(other);
        ensure!(status.is_none_or(|s| !s.is_active_itself()), "{other} serves beside a stranger");
        Ok(())
    })?;
    // Its question who has the address names it as the sender of none.
    ensure!(!watched.speakers_since(off).contains(&theirs), "{other} spoke for the VIP");
    wait_for("the blocked row", ALARM, || {
        let status = watched.cluster.status_of(other).context("no status")?;
        Ok(status.blocked.filter(|blocked| blocked.row == ROW && blocked.text.contains(&mac)))
    })
    .with_context(|| format!("{:?}", watched.cluster.status_of(other).map(|s| s.brief())))?;

    say::line("case    the stranger is gone");
    watched.cluster.lab.neighbour_address("st", "del", VIP)?;
    wait_for(&format!("{other} to serve"), SERVED, || {
        let status = watched.cluster.status_of(other);
        Ok(status.is_some_and(|status| status.is_active_itself()).then_some(()))
    })?;
    watched.power_on_node(&active)?;
    watched.cluster.wait_in_sync(SYNC).map(drop)
}
