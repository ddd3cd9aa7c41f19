//! The stand-in for xCAT proves itself, without the product: by hand on one host with each of the three databases,
//! asked by real clients. What a move is judged by later must work where nothing moves.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Case, Run, Tier};
use crate::host::Host;
use crate::lab::{Lab, VIP, fresh_name};
use crate::run::{now_us, wait_for};
use crate::say;
use crate::shared::{self, Choice};
use crate::xcat::{self, CLIENT, DOMAIN, Db, Newcomer};

pub(super) const CASE: Case = Case {
    name: "xcat-stand-in",
    about: "xCAT's stand-in on one host, without Regent: three databases, names, leases, consoles",
    tier: Tier::Default,
    run: Run::Alone(run),
};

const ANSWER: Duration = Duration::from_secs(20);
/// As the stand-in's installer seeds it.
const NODE: (&str, &str, &str) = ("node01", "10.77.0.51", "52:54:00:00:01:01");

fn run() -> Result<()> {
    let mut lab = shared::hosts(&fresh_name(), &Choice::by_hand(Db::Sqlite))?;
    lab.host_mut("mn1")?.start()?;
    lab.host_mut(CLIENT)?.boot()?;
    lab.host_mut("mn1")?.wait_booted()?;
    let result = Db::ALL.into_iter().try_for_each(|db| one(&lab, db));
    if result.is_err() && !crate::run::is_interrupted() {
        crate::diagnose::collect(&lab);
    }
    result
}

/// A management node by hand, its clients, and everything gone again.
fn one(lab: &Lab, db: Db) -> Result<()> {
    let (mn1, client) = (lab.host("mn1")?, lab.host(CLIENT)?);
    say::line(&format!("case    {} by hand on mn1", db.name()));
    mn1.shell(&format!("ip addr replace {VIP}/24 dev host0"))?;
    install(mn1, db)?;
    let lines: &[&str] = &[
        "systemctl start xcatd",
        "makehosts; makedhcp -n; systemctl start isc-dhcp-server; makedhcp -a",
        "systemctl start named; makedns -n",
        "makeconservercf; systemctl start conserver-server",
    ];
    for line in lines {
        let from = now_us();
        mn1.shell(line)?;
        say::line(&format!("host    mn1: {line}: {} ms", (now_us() - from) / 1000));
    }
    ask(lab, client, db)?;
    let told = mn1.run(&["lsxcatd", "-d"])?;
    let engine = match db {
        Db::Mysql => "dbengine=mysql",
        Db::Postgresql => "dbengine=Pg",
        Db::Sqlite => "dbengine=SQLite",
    };
    ensure!(told.contains(engine), "lsxcatd -d: {told}");

    let before = xcat::dump(client)?;
    mn1.run(&["systemctl", "restart", "xcatd"])?;
    let after = wait_for("xcatd after its restart", ANSWER, || Ok(xcat::dump(client).ok()))?;
    ensure!(before == after, "a restart changed the tables:\n{before}\n{after}");
    mn1.shell(
        "systemctl stop conserver-server isc-dhcp-server named xcatd; \
         rm -rf /etc/xcat /opt/xcat /var/lib/dhcp/dhcpd.leases /etc/dhcp/xcat-hosts.conf",
    )?;
    for unit in db.units() {
        mn1.run(&["systemctl", "stop", unit])?;
    }
    Ok(())
}

/// The installer twice: the second time nothing changes but the credentials.
fn install(mn1: &Host, db: Db) -> Result<()> {
    let line =
        format!("install-product db={} address={VIP} interface=host0 domain={DOMAIN}", db.name());
    mn1.shell(&line)?;
    mn1.shell(&format!(
        "rm -rf /root/.xcat; mkdir -p /tmp/cred; ln -s /tmp/cred /root/.xcat; {line}"
    ))?;
    let kind = mn1.run(&["stat", "-c", "%F", "/root/.xcat"])?;
    ensure!(kind.trim() == "directory", "the installer left a {kind} at /root/.xcat");
    Ok(())
}

/// Every client gets what it came for.
fn ask(lab: &Lab, client: &Host, db: Db) -> Result<()> {
    let site = wait_for("xcatd", ANSWER, || Ok(xcat::dump(client).ok()))?;
    ensure!(site.contains(&format!("\"{VIP}\"")), "site has no {VIP}: {site}");
    xcat::write_row(client, "noted", db.name())?;
    let noted = format!("\"noted\",\"{}\"", db.name());
    ensure!(xcat::dump(client)?.contains(&noted), "the row that was written is not there");
    let address = xcat::resolve(client, &format!("{}.{DOMAIN}", NODE.0))?;
    ensure!(address == NODE.1, "{} is {address:?} by DNS", NODE.0);
    let consoles = xcat::consoles(client)?;
    ensure!(consoles.len() == 3, "consoles: {consoles:?}");
    let short = ["d1", "d2", "d3"][Db::ALL.iter().position(|one| *one == db).unwrap_or(0)];
    let reserved = Newcomer::plug_in(lab, short, NODE.2)?;
    let lease = reserved.ask(client)?;
    ensure!(lease.address == NODE.1 && lease.server == VIP, "reserved {NODE:?}, got {lease:?}");
    let other = Newcomer::plug_in(lab, &format!("{short}x"), "52:54:00:00:02:01")?;
    let first = other.ask(client)?;
    let again = other.ask(client)?;
    ensure!(first == again, "another address at the second time: {first:?}, {again:?}");
    say::line(&format!("client  {} has {}, a stranger {}", NODE.0, lease.address, first.address));
    lab.remove_newcomer(short)?;
    lab.remove_newcomer(&format!("{short}x"))
}
