//! What an activation refuses before it changes anything: an address that is taken, a name that does not resolve, a
//! database of another type or version. Checks 3, 20, 23, 24; then it goes through, which shows that only the reason
//! was in its way.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::case::{Case, Run, Tier};
use super::xcat_kit::{ADDRESS_IN_USE, CHECKS, expect_active, expect_passive, picture, with};
use crate::lab::VIP;
use crate::run::{sh, wait_for};
use crate::say;
use crate::shared::{Choice, DATA, Shared};
use crate::xcat::Db;

pub(super) const ADDRESS: Case = Case {
    name: "xcat-refused-address",
    about: "activate: the VIP is in use, with and without ICMP; no name for it: nothing changes",
    tier: Tier::Default,
    run: Run::Alone(|| with(Choice::by_hand(Db::Sqlite), address)),
};

pub(super) const DATABASE: Case = Case {
    name: "xcat-refused-database",
    about: "activate: each database asked for where each other one is: nothing changes",
    tier: Tier::All,
    run: Run::Alone(|| {
        for db in Db::ALL {
            with(Choice::by_hand(db), database)?;
        }
        Ok(())
    }),
};

const STRANGER: &str = "10.77.0.66";
const FORGOTTEN: Duration = Duration::from_secs(60);

fn address(shared: &mut Shared) -> Result<()> {
    let mac = shared.lab.neighbour("st", STRANGER)?;
    shared.lab.neighbour_address("st", "add", VIP)?;
    let namespace = format!("{}-st", shared.lab.name);
    for rules in [
        "",
        "table inet deaf { chain in { type filter hook input priority 0; ip protocol icmp drop; }; }",
    ] {
        if !rules.is_empty() {
            let file = shared.lab.dir.join("deaf.nft");
            std::fs::write(&file, rules)?;
            sh(&format!("ip netns exec {namespace} nft -f {}", file.display()))?;
            say::line("fault   the stranger answers ARP only");
        }
        for words in ["activate", "activate --dry-run"] {
            let told = refused(shared, words, ADDRESS_IN_USE)?;
            ensure!(told.contains(VIP) && told.contains(&mac), "it names neither: {told}");
        }
    }
    shared.lab.neighbour_address("st", "del", VIP)?;
    // Who answered is believed to be there for a while.
    wait_for("the stranger to be forgotten", FORGOTTEN, || {
        Ok(shared.status_of("mn1").is_some_and(|status| status.stranger.is_none()).then_some(()))
    })?;

    let mn1 = shared.lab.host("mn1")?;
    mn1.shell("cp -p /etc/hosts /etc/hosts.whole; sed -i /mgmt/d /etc/hosts")?;
    let told = refused(shared, "activate", CHECKS)?;
    ensure!(told.contains("mgmt"), "it does not name the name: {told}");
    mn1.shell("mv /etc/hosts.whole /etc/hosts")?;
    shared.regent("mn1", "activate")?.expect(0)?;
    expect_active(shared, "mn1")
}

/// Runs a command that must end so and leave mn1 alone; what it said.
fn refused(shared: &Shared, words: &str, code: i32) -> Result<String> {
    let before = picture(shared, "mn1")?;
    let told = shared.regent("mn1", words)?.expect(code)?.text;
    let after = picture(shared, "mn1")?;
    ensure!(before == after, "{words} changed something:\n{before}\n---\n{after}");
    expect_passive(shared, "mn1")?;
    Ok(told)
}

fn database(shared: &mut Shared) -> Result<()> {
    let db = shared.choice.db;
    let file = format!("{DATA}/etc/xcat/cfgloc");
    let mn1 = shared.lab.host("mn1")?;
    mn1.shell(&format!("cp -p {file} {file}.right"))?;
    let others = [
        (Db::Mysql, "mysql:dbname=xcatdb|root|"),
        (Db::Postgresql, "Pg:dbname=xcatdb|postgres|"),
        (Db::Sqlite, "SQLite:/etc/xcat"),
    ];
    for (other, text) in others.iter().filter(|(other, _)| *other != db) {
        mn1.shell(&format!("echo '{text}' > {file}"))?;
        let told = refused(shared, "activate", CHECKS)?;
        ensure!(told.contains(other.name()), "it does not name {}: {told}", other.name());
    }
    mn1.shell(&format!(": > {file}"))?;
    refused(shared, "activate", CHECKS)?;
    mn1.shell(&format!("rm {file}"))?;
    // A missing one means SQLite.
    if db != Db::Sqlite {
        let told = refused(shared, "activate", CHECKS)?;
        ensure!(told.contains("which means SQLite"), "it does not say what it means: {told}");
    }
    mn1.shell(&format!("mv {file}.right {file}"))?;
    if db == Db::Postgresql {
        let version = format!("{DATA}/var/lib/postgresql/15/main/PG_VERSION");
        mn1.shell(&format!("echo 14 > {version}"))?;
        let told = refused(shared, "activate", CHECKS)?;
        ensure!(told.contains("14"), "it does not name the version: {told}");
        mn1.shell(&format!("echo 15 > {version}"))?;
    }
    shared.regent("mn1", "activate")?.expect(0)?;
    expect_active(shared, "mn1")
}
