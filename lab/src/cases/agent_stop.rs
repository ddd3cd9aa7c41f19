//! SIGSTOP of the agent on the active node, shorter and longer than its watchdog: the kernel
//! closes the gate by itself, the standby takes over, the old active stands by afterwards.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::case::{Case, Run, Tier};
use crate::fault::{Watched, other_of};
use crate::run::wait_for;

pub(super) const SHORT: Case = Case {
    name: "agent-stop-short",
    about: "SIGSTOP of the active's agent, SIGCONT before its watchdog: the standby takes over",
    tier: Tier::Default,
    run: Run::Watched(short),
};

pub(super) const LONG: Case = Case {
    name: "agent-stop-long",
    about: "SIGSTOP of the active's agent until its watchdog restarts it: the standby takes over",
    tier: Tier::Default,
    run: Run::Watched(long),
};

const TAKEOVER: Duration = Duration::from_secs(10);
const SYNC: Duration = Duration::from_secs(45);

fn short(watched: &mut Watched) -> Result<()> {
    let active = watched.cluster.active()?;
    watched.cluster.signal_unit(&active, "regent.service", "STOP")?;
    let moved = served_by(watched, other_of(&active));
    watched.cluster.signal_unit(&active, "regent.service", "CONT")?;
    moved?;
    stands_by(watched, &active)
}

fn long(watched: &mut Watched) -> Result<()> {
    let active = watched.cluster.active()?;
    let before = main_pid(watched, &active)?;
    watched.cluster.signal_unit(&active, "regent.service", "STOP")?;
    served_by(watched, other_of(&active))?;
    wait_for("the watchdog to restart the agent", TAKEOVER, || {
        let pid = main_pid(watched, &active)?;
        Ok((pid != "0" && pid != before).then_some(()))
    })?;
    stands_by(watched, &active)
}

fn served_by(watched: &Watched, node: &str) -> Result<()> {
    wait_for(&format!("{node} to serve"), TAKEOVER, || {
        let status = watched.cluster.status_of(node);
        Ok(status.is_some_and(|status| status.is_active_itself()).then_some(()))
    })
}

fn stands_by(watched: &Watched, node: &str) -> Result<()> {
    let status = watched.cluster.wait_in_sync(SYNC)?;
    let role = status.role(node);
    ensure!(role == "standby", "{node} is {role}");
    Ok(())
}

fn main_pid(watched: &Watched, node: &str) -> Result<String> {
    let host = watched.cluster.lab.host(node)?;
    let argv = ["systemctl", "show", "--property=MainPID", "--value", "regent.service"];
    host.run(&argv).map(|pid| pid.trim().to_owned()).context("main process of the agent")
}
