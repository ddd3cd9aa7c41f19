//! What a passive node stays through: units that a package enabled again, reboots in any order; and a service that
//! does not stop, which keeps everything where it is. Checks 11, 13, 16, 18, 32.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::case::{Case, Run, Tier};
use super::kit::throughout;
use super::xcat_kit::{expect_active, expect_passive, wait_passive, with};
use crate::cluster::NODES;
use crate::lab::VIP;
use crate::run::wait_for;
use crate::say;
use crate::shared::{Choice, DATA, Shared};
use crate::xcat::Db;

pub(super) const DRIFT: Case = Case {
    name: "xcat-boot",
    about: "units enabled again, both hosts rebooted in any order: nothing starts, drift is told",
    tier: Tier::Default,
    run: Run::Alone(|| with(Choice::light(), drift)),
};

pub(super) const STUBBORN: Case = Case {
    name: "xcat-stubborn",
    about: "xcatd ignores TERM: deactivate fails, keeps VIP and links, nobody else starts; then done",
    tier: Tier::Default,
    run: Run::Alone(|| with(stubborn_choice(), stubborn)),
};

const TOLD: Duration = Duration::from_secs(30);
const QUIET: Duration = Duration::from_secs(5);
const HALF_WAY: i32 = 16;

fn stubborn_choice() -> Choice {
    let services = "\n[[service]]\nname = \"xcatd\"\nstop-within = \"3s\"\n";
    Choice { services: services.to_owned(), ..Choice::by_hand(Db::Sqlite) }
}

fn drift(shared: &mut Shared) -> Result<()> {
    shared.regent("mn1", "activate")?.expect(0)?;
    expect_active(shared, "mn1")?;
    shared.lab.host("mn2")?.run(&["systemctl", "enable", "light.service"])?;
    say::line("fault   light.service is enabled on mn2, as a package upgrade does it");
    wait_for("the drift of mn2 to be told", TOLD, || {
        let status = shared.status_of("mn1");
        let node = status.as_ref().and_then(|status| status.node("mn2"));
        let drift = node.and_then(|node| node.stack.as_ref()).map(|stack| stack.drift.join("; "));
        Ok(drift.filter(|drift| drift.contains("light.service")))
    })
    .map(|drift| say::line(&format!("status  mn2: {drift}")))?;
    reboot(shared, "mn2")?;
    expect_stays_down(shared, "mn2")?;
    let started = shared.lab.host("mn2")?.shell("systemctl start light.service; true")?;
    ensure!(started.is_empty(), "{started}");
    expect_stays_down(shared, "mn2")?;
    shared.regent("mn2", "stack repair")?.expect(0)?;
    wait_passive(shared, "mn2")?;
    expect_active(shared, "mn1")?;

    say::line("fault   both lose their power; the one that was passive boots first");
    for node in NODES {
        shared.lab.host_mut(node)?.power_off()?;
    }
    for node in ["mn2", "mn1"] {
        shared.lab.host_mut(node)?.boot()?;
        throughout(QUIET, || Ok(()))?;
    }
    for node in NODES {
        wait_passive(shared, node)?;
    }
    throughout(QUIET, || NODES.iter().try_for_each(|node| expect_passive(shared, node)))?;
    shared.regent("mn2", "activate")?.expect(0)?;
    expect_active(shared, "mn2")?;
    expect_passive(shared, "mn1")
}

fn reboot(shared: &mut Shared, node: &str) -> Result<()> {
    shared.lab.host_mut(node)?.power_off()?;
    shared.lab.host_mut(node)?.boot()
}

/// Its unit does not run and its paths do not lead to the shared data, whatever is enabled.
fn expect_stays_down(shared: &Shared, node: &str) -> Result<()> {
    throughout(QUIET, || {
        let host = shared.lab.host(node)?;
        let state = host.shell("systemctl is-active light.service || true")?;
        ensure!(state.trim() != "active", "light.service runs on {node}");
        let leads = host.run(&["readlink", "/srv/light"]).unwrap_or_default();
        ensure!(!leads.contains(DATA), "/srv/light on {node} leads to {leads}");
        let addresses = host.run(&["ip", "-o", "addr"])?;
        ensure!(!addresses.contains(VIP), "{node} has the VIP: {addresses}");
        Ok(())
    })
}

fn stubborn(shared: &mut Shared) -> Result<()> {
    shared.regent("mn1", "activate")?.expect(0)?;
    let mn1 = shared.lab.host("mn1")?;
    mn1.shell(
        "mkdir -p /run/systemd/system/xcatd.service.d; printf '[Service]\\nKillSignal=SIGCONT\\n\
         SendSIGKILL=no\\nTimeoutStopSec=infinity\\n' > /run/systemd/system/xcatd.service.d/x.conf; \
         systemctl daemon-reload",
    )?;
    say::line("fault   xcatd on mn1 ignores what asks it to stop");
    let told = shared.regent("mn1", "deactivate")?.expect(HALF_WAY)?.text;
    ensure!(told.contains("xcatd"), "it does not name xcatd: {told}");
    // Its address may be off: what matters is that nobody else may have it, and the data stay where they are in use.
    let leads = mn1.run(&["readlink", "/etc/xcat"])?;
    ensure!(leads.contains(DATA), "the link is gone from mn1: {leads}");
    let refused = shared.regent("mn2", "activate")?;
    ensure!(refused.code != 0, "mn2 was activated: {}", refused.text);
    expect_passive(shared, "mn2")?;

    mn1.shell("rm -r /run/systemd/system/xcatd.service.d; systemctl daemon-reload; systemctl kill -s KILL xcatd")?;
    shared.regent("mn1", "deactivate")?.expect(0)?;
    expect_passive(shared, "mn1")?;
    shared.regent("mn2", "activate")?.expect(0)?;
    expect_active(shared, "mn2")
}
