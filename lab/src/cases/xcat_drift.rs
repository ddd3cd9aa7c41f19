//! What somebody does behind Regent's back: a unit enabled and started on the passive host, a link replaced by a
//! directory on the active one; both are told and mended, and no boot starts such a unit. Checks 6, 11, 13.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::case::{Case, Run, Tier};
use super::xcat_auto::{expect_never_started, serve, wait_standby};
use super::xcat_kit::{expect_active, expect_passive, wait_passive, with};
use crate::run::{now_us, wait_for};
use crate::say;
use crate::shared::{Choice, DATA, Shared, UNITS};
use crate::xcat::Db;

pub(super) const CASE: Case = Case {
    name: "xcat-drift",
    about: "units enabled and started by hand, a link replaced: told, mended, nothing starts",
    tier: Tier::Default,
    run: Run::Alone(|| with(Choice::by_hand(Db::Postgresql), drift)),
};

/// A survey comes round by itself.
const TOLD: Duration = Duration::from_secs(60);
const MARK: &str = "/root/.xcat/made-by-a-tool";

fn drift(shared: &mut Shared) -> Result<()> {
    let (clients, _) = serve(shared)?;
    units(shared, "mn2")?;
    link(shared, "mn1")?;
    clients.expect_served(shared)?;
    expect_active(shared, "mn1")?;

    // What was enabled behind the agent's back does not start at a boot either.
    let mn2 = shared.lab.host("mn2")?;
    mn2.run(&["systemctl", "enable", "xcatd.service", "named.service"])?;
    shared.lab.host_mut("mn2")?.power_off()?;
    shared.lab.host_mut("mn2")?.boot()?;
    say::line("fault   units of mn2 were enabled, and it was off and on");
    wait_standby(shared, "mn1", "mn2")?;
    wait_drift(shared, "mn2", "xcatd.service")?;
    wait_drift(shared, "mn2", "named.service")?;
    expect_never_started(shared, "mn2")?;
    shared.regent("mn2", "stack repair")?.expect(0)?;
    expect_no_drift(shared, "mn2")?;
    expect_passive(shared, "mn2")?;
    clients.expect_served(shared)
}

/// Every unit is enabled and started by hand on a passive host.
fn units(shared: &Shared, node: &str) -> Result<()> {
    let host = shared.lab.host(node)?;
    let units = shared.units();
    let all = units.join(" ");
    let enabled = "xcatd.service named.service isc-dhcp-server.service conserver-server.service";
    say::line(&format!("fault   on {node}, passive: systemctl enable, and start, {all}"));
    host.enter(
        &["/bin/sh", "-c", &format!("systemctl enable {enabled}")],
        Duration::from_secs(20),
    )?;
    host.enter(&["/bin/sh", "-c", &format!("systemctl start {all}")], Duration::from_secs(30))?;
    for unit in &units {
        let state = host.run(&["systemctl", "show", "-p", "ActiveState", "--value", unit])?;
        ensure!(state.trim() != "active", "{unit} was started on {node}, which is passive");
    }
    for unit in UNITS {
        wait_drift(shared, node, unit)?;
    }
    shared.regent(node, "stack repair")?.expect(0)?;
    expect_no_drift(shared, node)?;
    wait_passive(shared, node)
}

/// A tool replaces a link by a directory of its own on the active host, as installers do.
fn link(shared: &Shared, node: &str) -> Result<()> {
    let host = shared.lab.host(node)?;
    let before = host.shell(&format!("ls -A {DATA}/root/.xcat"))?;
    host.shell(&format!("rm /root/.xcat; mkdir -m 700 /root/.xcat; echo new > {MARK}"))?;
    say::line(&format!("fault   on {node}, active: /root/.xcat is a directory with a new file"));
    let from = now_us();
    wait_drift(shared, node, "/root/.xcat")?;
    say::line(&format!("result  told {} ms later", (now_us() - from) / 1000));
    shared.regent(node, "stack repair")?.expect(0)?;
    expect_no_drift(shared, node)?;
    let leads = host.run(&["readlink", "/root/.xcat"])?;
    ensure!(leads.trim() == format!("{DATA}/root/.xcat"), "/root/.xcat leads to {leads}");
    let merged = host.shell(&format!("cat {DATA}{MARK}"))?;
    ensure!(merged == "new\n", "the new file is {merged:?} on the shared data");
    let after = host.shell(&format!("ls -A {DATA}/root/.xcat"))?;
    for name in before.lines() {
        ensure!(after.lines().any(|one| one == name), "{name} is gone: {after}");
    }
    Ok(())
}

/// What drifted on a node, by its own status, in one line.
fn drifted(shared: &Shared, node: &str) -> Result<String> {
    let told = shared.lab.host(node)?.enter(&["regent", "status", "--json"], TOLD)?;
    let status: serde_json::Value = serde_json::from_slice(&told.stdout).context("no JSON")?;
    let nodes = status.get("nodes").and_then(|nodes| nodes.as_array()).context("no nodes")?;
    let own = nodes.iter().find(|one| one["name"] == node).context("not named")?;
    Ok(own["stack"]["drift"].to_string())
}

fn wait_drift(shared: &Shared, node: &str, what: &str) -> Result<()> {
    let mut last = String::new();
    wait_for(&format!("drift of {what}"), TOLD, || {
        last = drifted(shared, node)?;
        if last.contains(what) {
            return Ok(Some(()));
        }
        std::thread::sleep(Duration::from_millis(300));
        Ok(None)
    })
    .with_context(|| last)?;
    let status = shared.regent(node, "status")?;
    ensure!(status.code == 5, "status ends with {}: {}", status.code, status.text);
    ensure!(status.text.contains(what), "status does not name {what}: {}", status.text);
    Ok(())
}

fn expect_no_drift(shared: &Shared, node: &str) -> Result<()> {
    let left = drifted(shared, node)?;
    ensure!(left == "[]", "after the repair: {left}");
    Ok(())
}
