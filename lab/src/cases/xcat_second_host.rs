//! Set-up scenario 2 of the shared-data topology: a management node that is in use gets a second host. Its only address
//! becomes the virtual IP, it gets another one, its data go to the shared directory. Checks 9, 10, 11.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::case::{Case, Run, Tier};
use super::kit::throughout;
use super::xcat_kit::{expect_active, expect_passive, wait_passive};
use crate::cluster::NODES;
use crate::host::Host;
use crate::lab::{VIP, fresh_name};
use crate::run::wait_for;
use crate::shared::{Choice, Shared};
use crate::xcat::{self, DOMAIN, Db};
use crate::{diagnose, say};

pub(super) const CASE: Case = Case {
    name: "xcat-second-host",
    about: "a management node in use gets a standby: its address becomes the VIP, its tables stay",
    tier: Tier::Default,
    run: Run::Alone(|| run(Db::Sqlite)),
};

pub(super) const POSTGRESQL: Case = Case {
    name: "xcat-second-host-postgresql",
    about: "the same with PostgreSQL, whose server runs where the standby's was never started",
    tier: Tier::All,
    run: Run::Alone(|| run(Db::Postgresql)),
};

pub(super) const MYSQL: Case = Case {
    name: "xcat-second-host-mysql",
    about: "the same with MariaDB",
    tier: Tier::All,
    run: Run::Alone(|| run(Db::Mysql)),
};

/// The address that the first host gets for itself.
const OWN: &str = "10.77.0.11";
const ROUTER: &str = "10.77.0.1";
const ANSWER: Duration = Duration::from_secs(60);
const QUIET: Duration = Duration::from_secs(5);

fn run(db: Db) -> Result<()> {
    crate::sweep::sweep()?;
    let mut shared = Shared::fresh(&fresh_name(), Choice::by_hand(db))?;
    let result = steps(&mut shared);
    if result.is_err() && !crate::run::is_interrupted() {
        diagnose::collect(&shared.lab);
    }
    result
}

fn steps(shared: &mut Shared) -> Result<()> {
    management_node(shared.lab.host("mn1")?, shared.choice.db)?;
    // A package starts the server that it brings, with data of its own.
    let own = server(shared.choice.db);
    shared.lab.host("mn2")?.shell(&format!(
        "install-product only=programs; [ -z '{own}' ] || systemctl enable --now {own}"
    ))?;
    let client = shared.client()?;
    let before = wait_for("xcatd", ANSWER, || Ok(xcat::dump(client).ok()))?;

    let (first, standby) = std::thread::scope(|scope| -> Result<_> {
        let standby = scope.spawn(|| shared.regent("mn2", "setup shared-data --standby --yes"));
        let words = format!("setup shared-data --readdress {OWN}/24");
        let first = shared.regent("mn1", &words)?;
        say::line(&format!("set-up\n{}", first.text.trim_end()));
        Ok((first, standby.join().ok().context("the thread of mn2 ended")??))
    })?;
    for answer in [first, standby] {
        answer.expect(0)?;
    }
    expect_active(shared, "mn1")?;
    expect_passive(shared, "mn2")?;
    expect_readdressed(shared.lab.host("mn1")?)?;
    let after = xcat::dump(shared.client()?)?;
    ensure!(before == after, "the tables changed:\n{before}\n{after}");

    shared.regent("mn1", "deactivate")?.expect(0)?;
    expect_passive(shared, "mn1")?;
    shared.regent("mn2", "activate")?.expect(0)?;
    expect_active(shared, "mn2")?;
    let after = xcat::dump(shared.client()?)?;
    ensure!(before == after, "the tables changed on mn2:\n{before}\n{after}");

    say::line("fault   both lose their power, and boot");
    for node in NODES {
        shared.lab.host_mut(node)?.power_off()?;
    }
    for node in NODES {
        shared.lab.host_mut(node)?.boot()?;
    }
    for node in NODES {
        wait_passive(shared, node)?;
    }
    throughout(QUIET, || NODES.iter().try_for_each(|node| expect_passive(shared, node)))
}

/// A management node as it is before anybody thought of a second one: every service enabled and running, the address
/// of the management node its own and only one.
fn management_node(mn1: &Host, db: Db) -> Result<()> {
    // nspawn has it read-only, a host has not; and no gate was ever loaded on a host without the product.
    mn1.shell("mount -o remount,bind,rw /proc/sys; nft flush ruleset")?;
    mn1.shell(&format!(
        "printf 'auto lo\\niface lo inet loopback\\n\\nauto host0\\niface host0 inet static\\n    \
         address {VIP}/24\\n    gateway {ROUTER}\\n' > /etc/network/interfaces; \
         ip addr add {VIP}/24 dev host0; ip addr del {OWN}/24 dev host0; \
         ip addr show host0 | grep -q {VIP} || ip addr add {VIP}/24 dev host0; \
         ip route replace default via {ROUTER}; echo mgmt > /etc/hostname; hostname mgmt"
    ))?;
    let line = format!(
        "install-product db={} address={VIP} interface=host0 domain={DOMAIN} && makehosts && \
         makedhcp -n && makeconservercf && systemctl enable --now {} xcatd named isc-dhcp-server \
         conserver-server && makedhcp -a && makedns -n",
        db.name(),
        server(db)
    );
    let output = mn1.enter(&["/bin/sh", "-ec", &line], Duration::from_secs(60))?;
    ensure!(output.status.success(), "{}", crate::shared::said(&output));
    say::line("lab     mn1 is a management node by itself, its address is the later VIP");
    Ok(())
}

/// What a boot starts of a database: PostgreSQL's is a wrapper, and its instances follow. Nothing of SQLite.
fn server(db: Db) -> &'static str {
    db.units().first().copied().unwrap_or_default()
}

/// The new address is there now and after a boot, the VIP is nobody's own, and the way out is as it was.
fn expect_readdressed(mn1: &Host) -> Result<()> {
    let addresses = mn1.run(&["ip", "-o", "-4", "addr"])?;
    ensure!(addresses.contains(&format!(" {OWN}/24 ")), "mn1 has no {OWN}: {addresses}");
    let kept = mn1.run(&["cat", "/etc/network/interfaces"])?;
    ensure!(kept.contains(OWN) && !kept.contains(VIP), "a boot would bring up: {kept}");
    let route = mn1.run(&["ip", "route", "show", "default"])?;
    ensure!(route.contains(ROUTER), "the default route is gone: {route}");
    Ok(())
}
