//! Check 31: the power goes right after each single step of an activation and of a deactivation began. Then the same
//! host is activated again, or the other one by an operator's word, and all is as it must be.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::case::{Case, Run, Tier};
use super::kit::throughout;
use super::xcat_crash::rejoin;
use super::xcat_kit::{expect_active, expect_passive, wait_passive, with};
use crate::run::wait_for;
use crate::say;
use crate::shared::{Choice, Shared};

pub(super) const CASE: Case = Case {
    name: "xcat-steps",
    about: "power-off in a step of activate and of deactivate: every third step",
    tier: Tier::Part { of: WHOLE.name },
    run: Run::Alone(|| with(Choice::light(), |shared| run(shared, 3))),
};

pub(super) const WHOLE: Case = Case {
    name: "xcat-steps-every",
    about: "power-off in every single step of activate and of deactivate",
    tier: Tier::All,
    run: Run::Alone(|| with(Choice::light(), |shared| run(shared, 1))),
};

/// No stack of these cases has more.
const STEPS_MAX: usize = 60;
const BOUND: Duration = Duration::from_secs(60);
const READY: Duration = Duration::from_secs(30);
const SILENT: Duration = Duration::from_secs(4);

fn run(shared: &mut Shared, stride: usize) -> Result<()> {
    for verb in ["activate", "deactivate"] {
        let mut tried = 0;
        for step in (0..STEPS_MAX).step_by(stride) {
            if verb == "deactivate" {
                shared.regent("mn1", "activate")?.expect(0)?;
            }
            let Some(name) = power_off_in(shared, verb, step)? else {
                shared.regent("mn1", "deactivate")?.expect(0)?;
                break;
            };
            say::line(&format!("fault   mn1 lost its power in step {step} of {verb}: {name}"));
            recover(shared, (step / stride).is_multiple_of(2))?;
            tried += 1;
        }
        say::line(&format!("result  {tried} steps of {verb}, each with a power-off"));
        ensure!(tried > 1, "hardly a step of {verb} was seen");
    }
    Ok(())
}

/// Runs the verb on mn1 and takes the power when this many steps have begun; the step's name, or nothing if the verb
/// came to its end before.
fn power_off_in(shared: &mut Shared, verb: &str, step: usize) -> Result<Option<String>> {
    let journal: PathBuf = shared.lab.dir.join("hosts/mn1/upper/var/lib/regent/stack/journal");
    let before = std::fs::read_to_string(&journal).unwrap_or_default().len();
    let host = shared.lab.host("mn1")?;
    let mut command = host.command(&["regent", verb])?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut asking = command.spawn()?;
    let found = wait_for("a step", BOUND, || {
        let ended = asking.try_wait()?.is_some();
        let text = std::fs::read_to_string(&journal).unwrap_or_default();
        let rest = text.get(before..).unwrap_or_default();
        let mut begun = rest.lines().filter(|line| line.contains("\"what\":\"begun\""));
        match begun.nth(step) {
            Some(line) => Ok(Some(Some(line.to_owned()))),
            None if ended => Ok(Some(None)),
            None => Ok(None),
        }
    })?;
    if found.is_some() {
        // At once; the cable takes its time, and who asked is not of that host.
        host.hang()?;
        asking.kill()?;
    }
    asking.wait()?;
    if found.is_some() {
        shared.lab.host_mut("mn1")?.power_off()?;
    }
    Ok(found)
}

/// The same host again, or the other one; everything is there, and afterwards nothing is.
fn recover(shared: &mut Shared, same: bool) -> Result<()> {
    let active = if same {
        shared.lab.host_mut("mn1")?.boot()?;
        wait_passive(shared, "mn1")?;
        wait_heard(shared)?;
        shared.regent("mn1", "activate")?.expect(0)?;
        "mn1"
    } else {
        throughout(SILENT, || Ok(()))?;
        shared.regent("mn2", "activate --confirm-peer-is-off mn1")?.expect(0)?;
        shared.lab.host_mut("mn1")?.boot()?;
        wait_passive(shared, "mn1")?;
        rejoin(shared, "mn2", "mn1", true)?;
        "mn2"
    };
    expect_active(shared, active)?;
    expect_passive(shared, if same { "mn2" } else { "mn1" })?;
    shared.regent(active, "deactivate")?.expect(0)?;
    expect_passive(shared, active)
}

fn wait_heard(shared: &Shared) -> Result<()> {
    wait_for("both nodes to be heard", READY, || {
        let status = shared.status_of("mn1");
        let heard = status.as_ref().and_then(|status| status.node("mn2"));
        Ok(heard.is_some_and(|node| node.reachable).then_some(()))
    })
}
