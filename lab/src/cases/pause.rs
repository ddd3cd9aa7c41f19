//! Inside `regent pause` a dead service moves nothing and is not restarted; the end of the pause
//! mends.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::case::{Case, Run, Tier};
use super::kit::{command, is_running, throughout};
use crate::fault::Watched;
use crate::run::{now_us, wait_for};
use crate::say;
use crate::service::{Harm, Service, inflict};

pub(super) const CASE: Case = Case {
    name: "pause",
    about: "inside a pause a killed service moves and restarts nothing; its end mends",
    tier: Tier::Default,
    run: Run::Watched(run),
};

const PAUSED: Duration = Duration::from_secs(8);
const MENDED: Duration = Duration::from_secs(15);
const SYNC: Duration = Duration::from_secs(60);

fn run(watched: &mut Watched) -> Result<()> {
    let active = watched.cluster.active()?;
    command(watched, &active, "pause --for 1h")?;
    let left = watched.cluster.status().and_then(|status| status.pause_left_ms);
    let left = left.context("status shows no pause")?;
    ensure!(left > 3_500_000 && left <= 3_600_000, "{left} ms are left of an hour");
    let from = now_us();
    let service = Service::Management;
    say::line(&format!("fault   {} killed on {active} inside the pause", service.name()));
    inflict(watched.cluster.lab.host(&active)?, service, Harm::Killed)?;
    std::thread::sleep(Duration::from_millis(300));
    throughout(PAUSED, || {
        ensure!(!is_running(watched, &active, service.unit())?, "restarted inside the pause");
        Ok(())
    })?;
    let moves = watched.moves_since(from);
    ensure!(moves == 0, "{moves} moves inside the pause");
    command(watched, &active, "pause --off")?;
    wait_for("the service to be mended", MENDED, || {
        let runs = is_running(watched, &active, service.unit())?;
        Ok(runs.then_some(()))
    })?;
    watched.cluster.wait_in_sync(SYNC)?;
    let status = watched.cluster.status().context("no status")?;
    ensure!(status.pause_left_ms.is_none(), "still paused: {:?}", status.pause_left_ms);
    Ok(())
}
