//! Two console servers are installed, and a site uses one of them: conserver or goconserver. Which one is the
//! administrator's choice, made with xCAT's own commands while the stack runs, and the next host follows it. Check 29.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::kit::throughout;
use super::xcat_kit::{wait_passive, with};
use super::{Case, Run, Tier};
use crate::run::wait_for;
use crate::say;
use crate::shared::{Choice, DATA, OTHER_CONSOLES as NEW, Shared, UNITS, said};
use crate::xcat::Db;

pub(super) const CASE: Case = Case {
    name: "xcat-consoles",
    about: "conserver or goconserver: the one that the administrator uses, on whichever host",
    tier: Tier::Default,
    run: Run::Alone(|| with(choice(), run)),
};

const OLD: &str = UNITS[3];
/// What the administrator changes is known after a survey, every five seconds.
const NOTICED: Duration = Duration::from_secs(30);
/// Longer than the grace below: whoever is missed is started again by then.
const QUIET: Duration = Duration::from_secs(12);
/// What the package of goconserver brings, and where it is while mn2 lacks it.
const NEW_FILES: &str = "/etc/systemd/system/goconserver.service /usr/bin/goconserver";
const AWAY: &str = "/var/tmp/away";
const COMMAND: Duration = Duration::from_secs(30);

/// The services of the profile; a stop of the consoles is a failure sooner than usual.
fn choice() -> Choice {
    let services = "\n[[service]]\nname = \"conserver\"\nstop-grace = \"6s\"\n";
    Choice { services: services.into(), ..Choice::by_hand(Db::Sqlite) }
}

fn run(shared: &mut Shared) -> Result<()> {
    // Both are installed, neither is enabled or was ever in use: conserver, as before there was another.
    shared.regent("mn1", "activate")?.expect(0)?;
    expect_consoles(shared, "mn1", OLD)?;

    // The administrator changes to goconserver as xCAT's documentation says.
    let refused = command(shared, "mn1", "makegocons")?;
    ensure!(refused.0 == 1, "makegocons beside conserver: {refused:?}");
    change(shared, "mn1", OLD, "makegocons", NEW)?;

    say::line("result  by switchover: the same one there");
    shared.regent("mn1", "switchover")?.expect(0)?;
    expect_consoles(shared, "mn2", NEW)?;
    wait_passive(shared, "mn1")?;

    say::line("fault   mn2 loses its power: the same one on mn1, from the shared data");
    shared.lab.host_mut("mn2")?.power_off()?;
    shared.regent("mn1", "activate --confirm-peer-is-off mn2")?.expect(0)?;
    expect_consoles(shared, "mn1", NEW)?;
    shared.lab.host_mut("mn2")?.boot()?;
    wait_passive(shared, "mn2")?;
    rejoin(shared)?;

    // On a host that has no goconserver the other one does the work, and somebody is told.
    let mn2 = shared.lab.host("mn2")?;
    mn2.shell(&format!("mkdir {AWAY}; mv {NEW_FILES} {AWAY}; systemctl daemon-reload"))?;
    shared.regent("mn1", "switchover")?.expect(0)?;
    expect_consoles(shared, "mn2", OLD)?;
    wait_for("a warning", NOTICED, || {
        let status = shared.regent("mn2", "status")?;
        let told = format!("{NEW} was in use, and is not installed on this host");
        Ok((status.text.contains(&told) && status.code == 5).then_some(()))
    })?;
    shared.regent("mn2", "switchover")?.expect(0)?;
    expect_consoles(shared, "mn1", NEW)?;
    let back = format!("cd {AWAY}; for path in {NEW_FILES}; do mv ${{path##*/}} $path; done");
    shared.lab.host("mn2")?.shell(&format!("{back}; systemctl daemon-reload"))?;

    // And back to conserver.
    change(shared, "mn1", NEW, "makeconservercf && systemctl start conserver-server", OLD)?;
    shared.regent("mn1", "switchover")?.expect(0)?;
    expect_consoles(shared, "mn2", OLD)?;

    // What xCAT's own script of moves wrote, later than Regent.
    shared.regent("mn2", "deactivate")?.expect(0)?;
    let line = "root  900  1  0 10:00 ?  00:00:01 /usr/bin/goconserver";
    let lock = format!("echo '{line}' > {DATA}/etc/xcat/console.lock");
    shared.lab.host("mn2")?.shell(&lock)?;
    shared.regent("mn1", "activate")?.expect(0)?;
    expect_consoles(shared, "mn1", NEW)?;
    shared.regent("mn1", "deactivate")?.expect(0)?;
    wait_passive(shared, "mn1")
}

/// Stops the one, and makes the other one the site's; Regent follows, and fights nobody.
fn change(shared: &Shared, node: &str, from: &str, line: &str, to: &str) -> Result<()> {
    let line = format!("systemctl stop {from} && {line}");
    say::line(&format!("admin   {node}: {line}"));
    let done = command(shared, node, &line)?;
    ensure!(done.0 == 0, "{line}: {done:?}");
    throughout(QUIET, || expect_running(shared, node, to))?;
    expect_consoles(shared, node, to)
}

/// This one runs, alone, and no boot starts either.
fn expect_consoles(shared: &Shared, node: &str, unit: &str) -> Result<()> {
    expect_running(shared, node, unit)?;
    let record = format!("cat {DATA}/.regent/in-use/conserver /run/regent/in-use/conserver");
    let noted = wait_for("a record", NOTICED, || {
        let noted = command(shared, node, &record)?.1;
        let shown = command(shared, node, "regent stack show")?.1;
        let is_known = noted.contains(unit) && shown.contains(&format!("start {unit}"));
        Ok((is_known && !shown.contains("is enabled")).then_some(()))
    });
    noted.with_context(|| format!("{node} does not know that {unit} is in use"))?;
    let enabled = command(shared, node, &format!("systemctl is-enabled {OLD} {NEW}"))?.1;
    ensure!(!enabled.lines().any(|line| line == "enabled"), "a boot would start: {enabled}");
    Ok(())
}

fn expect_running(shared: &Shared, node: &str, unit: &str) -> Result<()> {
    let state = |unit: &str| command(shared, node, &format!("systemctl is-active {unit}"));
    let other = if unit == OLD { NEW } else { OLD };
    let (this, other) = (state(unit)?.1, state(other)?.1);
    ensure!(this.trim() == "active", "{unit} on {node} is {this}");
    ensure!(other.trim() != "active", "the other one beside {unit} on {node} is {other}");
    Ok(())
}

/// mn2 is back with the register that was replaced.
fn rejoin(shared: &Shared) -> Result<()> {
    shared.regent("mn1", "rejoin mn2")?.expect(0)?;
    wait_for("a standby that votes", COMMAND, || {
        let status = shared.regent("mn1", "status")?;
        Ok((status.code == 0).then_some(()))
    })
}

/// How a line ended on a node, and what it printed.
fn command(shared: &Shared, node: &str, line: &str) -> Result<(i32, String)> {
    let output = shared.lab.host(node)?.enter(&["/bin/sh", "-c", line], COMMAND)?;
    Ok((output.status.code().unwrap_or(-1), said(&output)))
}
