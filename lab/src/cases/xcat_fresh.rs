//! A management node with nothing defined: no domain, no nodes, no consoles. It is activated all the
//! same, filled by its own commands, and whole then; and a switchover to a host that cannot bring it
//! up comes back and says why.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::case::{Case, Run, Tier};
use super::xcat_crash::wait_active;
use super::xcat_kit::{Clients, UNDONE, expect_active, expect_passive, wait_passive, with};
use crate::lab::VIP;
use crate::run::wait_for;
use crate::say;
use crate::shared::{Choice, Shared};
use crate::xcat::{DOMAIN, Db};

pub(super) const CASE: Case = Case {
    name: "xcat-fresh",
    about: "an empty product is activated, filled, whole; a switchover that fails there comes back",
    tier: Tier::Default,
    run: Run::Alone(|| with(choice(Db::Sqlite), run)),
};

pub(super) const MYSQL: Case = Case {
    name: "xcat-fresh-mysql",
    about: "the same with MariaDB",
    tier: Tier::All,
    run: Run::Alone(|| with(choice(Db::Mysql), run)),
};

/// Active, and something that is not vital failed.
const DEGRADED: i32 = 5;
const TOLD: Duration = Duration::from_secs(20);
/// What an administrator types on the active node of a new cluster.
const FILL: &str = "chtab key=domain site.value=DOMAIN; for n in 1 2 3; do \
    chtab node=node0$n nodelist.groups=compute,all hosts.ip=10.77.0.5$n \
    mac.mac=52:54:00:00:01:0$n nodehm.mgt=ipmi nodehm.cons=ipmi; done; makehosts";

fn choice(db: Db) -> Choice {
    Choice { empty: true, ..Choice::by_hand(db) }
}

fn run(shared: &mut Shared) -> Result<()> {
    let told = shared.regent("mn1", "activate")?.expect(DEGRADED)?;
    for service in ["named", "dhcpd", "conserver"] {
        ensure!(told.text.contains(service), "{service} is not named: {}", told.text);
    }
    let status = shared.status_of("mn1").context("mn1 does not answer")?;
    ensure!(status.role("mn1") == "active", "mn1 is not active: {}", status.brief());
    shared.lab.host("mn1")?.shell(&FILL.replace("DOMAIN", DOMAIN))?;
    say::line("admin   mn1: a domain, three nodes with consoles");
    shared.regent("mn1", "stack repair")?.expect(0)?;
    expect_active(shared, "mn1")?;
    let clients = Clients::start(shared)?;

    // A vital step cannot be done there.
    let moved = "/opt/xcat/sbin/xcatd";
    shared.lab.host("mn2")?.shell(&format!("mv {moved} {moved}.away"))?;
    say::line(&format!("fault   mn2: {moved} is moved away"));
    let told = shared.regent("mn1", "switchover --to mn2")?.expect(UNDONE)?;
    ensure!(told.text.contains("xcatd failed"), "the step is not named: {}", told.text);
    ensure!(told.text.contains("mn1 is active again"), "{}", told.text);
    wait_active(shared, "mn1")?;
    expect_active(shared, "mn1")?;
    clients.expect_served(shared)?;
    wait_passive(shared, "mn2")?;
    wait_for("status to say what failed", TOLD, || {
        let status = shared.regent("mn1", "status")?;
        Ok((status.code == DEGRADED && status.text.contains("xcatd failed")).then_some(()))
    })?;

    shared.lab.host("mn2")?.shell(&format!("mv {moved}.away {moved}"))?;
    shared.regent("mn1", "switchover --to mn2")?.expect(0)?;
    expect_active(shared, "mn2")?;
    expect_passive(shared, "mn1")?;
    clients.expect_served(shared)?;
    let status = shared.regent("mn2", "status")?;
    ensure!(!status.text.contains("failed"), "an old message: {}", status.text);
    ensure!(status.text.contains(VIP), "status names no VIP: {}", status.text);
    Ok(())
}
