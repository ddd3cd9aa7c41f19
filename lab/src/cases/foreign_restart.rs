//! Somebody else restarts the database of the active node: at most one move and no fight over the
//! unit; inside `regent maintenance` no move at all.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::case::{Case, Run, Tier};
use super::kit::{command, starts, throughout, upgrade};
use crate::fault::Watched;
use crate::run::now_us;
use crate::say;
use crate::service::Service;

pub(super) const ALONE: Case = Case {
    name: "foreign-restart",
    about: "systemctl restart mariadb on the active by somebody else: at most one move, no fight",
    tier: Tier::Default,
    run: Run::Watched(alone),
};

pub(super) const MAINTAINED: Case = Case {
    name: "foreign-restart-maintained",
    about: "systemctl restart mariadb inside regent maintenance: no move",
    tier: Tier::Default,
    run: Run::Watched(maintained),
};

const CALM: Duration = Duration::from_secs(10);
const SYNC: Duration = Duration::from_secs(60);
/// Theirs, and one of ours at most.
const STARTS: usize = 2;

fn alone(watched: &mut Watched) -> Result<()> {
    services(watched)?;
    let moves = restart(watched)?;
    ensure!(moves <= 1, "{moves} moves");
    Ok(())
}

/// What an administrator or a package stops and starts is no failure: nothing moves, and nobody starts it beside them.
fn services(watched: &Watched) -> Result<()> {
    let active = watched.cluster.active()?;
    let host = watched.cluster.lab.host(&active)?;
    for service in [Service::Management, Service::Ui] {
        let unit = service.unit();
        let from = now_us();
        say::line(&format!("fault   somebody on {active}: systemctl restart {unit}, twice"));
        host.run(&["systemctl", "restart", unit])?;
        host.run(&["systemctl", "restart", unit])?;
        say::line(&format!(
            "fault   on {active} dpkg installs a package that stops {unit} for 2 s"
        ));
        upgrade(host, unit, 2)?;
        throughout(CALM / 2, || Ok(()))?;
        let (moves, all) = (watched.moves_since(from), starts(watched, &active, unit, from)?);
        say::line(&format!("case    {moves} moves, {all} starts of {unit}"));
        ensure!((moves, all) == (0, 3), "{moves} moves, {all} starts of {unit}, of which 3 theirs");
    }
    Ok(())
}

fn maintained(watched: &mut Watched) -> Result<()> {
    let active = watched.cluster.active()?;
    command(watched, &active, "maintenance on --for 2m")?;
    let moves = restart(watched)?;
    ensure!(moves == 0, "{moves} moves inside maintenance");
    command(watched, &active, "maintenance off")?;
    watched.cluster.wait_in_sync(SYNC).map(drop)
}

fn restart(watched: &Watched) -> Result<usize> {
    let active = watched.cluster.active()?;
    let unit = Service::Database.unit();
    let from = now_us();
    say::line(&format!("fault   somebody on {active}: systemctl restart mariadb"));
    // Their command may be told that its job was overtaken by ours.
    let said = watched.cluster.lab.host(&active)?.enter(&["systemctl", "restart", unit], SYNC)?;
    say::line(&format!("case    their command ended with {}", said.status));
    watched.cluster.wait_in_sync(SYNC)?;
    let settled = now_us();
    throughout(CALM, || Ok(()))?;
    let late = starts(watched, &active, unit, settled)?;
    ensure!(late == 0, "{late} more starts of {unit} after it was in sync again");
    let all = starts(watched, &active, unit, from)?;
    let moves = watched.moves_since(from);
    say::line(&format!("case    {moves} moves, {all} starts of {unit}"));
    ensure!((1..=STARTS).contains(&all), "{all} starts of {unit}");
    Ok(moves)
}
