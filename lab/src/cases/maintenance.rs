//! A node in maintenance is no candidate, even when the active dies: the cluster says so, and
//! serves as soon as the maintenance is lifted.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::case::{Case, Run, Tier};
use super::kit::{command, throughout};
use crate::fault::{Watched, other_of};
use crate::run::{now_us, wait_for};
use crate::say;

pub(super) const CASE: Case = Case {
    name: "maintenance",
    about: "maintenance of the standby, the active loses its power: no takeover until it is lifted",
    tier: Tier::Default,
    run: Run::Watched(run),
};

const ALONE: Duration = Duration::from_secs(6);
const SHOWN: Duration = Duration::from_secs(3);
const SYNC: Duration = Duration::from_secs(60);
/// The row of "stuck, and the way out".
const ROW: u64 = 6;

fn run(watched: &mut Watched) -> Result<()> {
    let active = watched.cluster.active()?;
    let other = other_of(&active);
    command(watched, other, "maintenance on --for 10m")?;
    let left = |watched: &Watched| {
        let status = watched.cluster.status_of(other);
        status.and_then(|status| status.node(other)?.maintenance_left_ms)
    };
    let before = left(watched).context("status shows no maintenance")?;
    let after =
        wait_for("its time to run", SHOWN, || Ok(left(watched).filter(|left| *left < before)))?;
    ensure!(after > 500_000, "{before} ms became {after} ms");

    say::line(&format!("fault   power-off of {active}, the active host"));
    watched.power_off_node(&active)?;
    let from = now_us();
    throughout(ALONE, || {
        let status = watched.cluster.status_of(other);
        ensure!(status.is_none_or(|s| !s.is_active_itself()), "{other} serves in maintenance");
        Ok(())
    })?;
    let mac = watched.cluster.lab.host(other)?.spec.mac.clone();
    ensure!(!watched.speakers_since(from).contains(&mac), "{other} spoke for the VIP");
    wait_for("the blocked row", SHOWN, || {
        let status = watched.cluster.status_of(other).context("no status")?;
        Ok(status.blocked.filter(|blocked| blocked.row == ROW))
    })
    .with_context(|| format!("{:?}", watched.cluster.status_of(other).map(|s| s.brief())))?;

    command(watched, other, "maintenance off")?;
    watched.wait_served_by(other)?;
    watched.power_on_node(&active)?;
    watched.cluster.wait_in_sync(SYNC).map(drop)
}
