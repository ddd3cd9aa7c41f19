//! Set-up scenario 1 of the shared-data topology: two hosts without the product, one command on each, at the same time.
//! Checks 1, 4 to 8, and the interruption of a set-up.

use anyhow::{Context, Result, ensure};

use super::case::{Case, Run, Tier};
use super::xcat_kit::{Clients, expect_active, expect_passive, picture};
use crate::lab::{VIP, fresh_name};
use crate::shared::{Answer, Choice, Shared};
use crate::xcat::{self, DOMAIN, Db};
use crate::{diagnose, say};

pub(super) const CASE: Case = Case {
    name: "xcat-setup",
    about: "regent setup shared-data on two fresh hosts at the same time, the installer as a step; and again",
    tier: Tier::Default,
    run: Run::Alone(|| run(Db::Sqlite)),
};

pub(super) const POSTGRESQL: Case = Case {
    name: "xcat-setup-postgresql",
    about: "the same with PostgreSQL, whose server runs before either host's installer asks it",
    tier: Tier::All,
    run: Run::Alone(|| run(Db::Postgresql)),
};

pub(super) const MYSQL: Case = Case {
    name: "xcat-setup-mysql",
    about: "the same with MariaDB",
    tier: Tier::All,
    run: Run::Alone(|| run(Db::Mysql)),
};

/// The standby takes the data from the first host and gives them back: four moves, of which dhcpd's own script alone
/// takes five seconds each. On a machine that does nothing else it is a third of this.
const READY_MS: u128 = 180_000;

fn choice(db: Db) -> Choice {
    let line = format!(
        "sleep 2; install-product db={} address={VIP} interface=host0 domain={DOMAIN} && makehosts",
        db.name()
    );
    let install = format!(
        "\n[stack.install]\ncommand = [\"/bin/sh\", \"-c\", \"{line}\"]\n\
         creates = \"/opt/xcat/sbin/xcatd\"\n"
    );
    Choice { services: install, ..Choice::by_hand(db) }
}

fn run(db: Db) -> Result<()> {
    crate::sweep::sweep()?;
    let shared = Shared::fresh(&fresh_name(), choice(db))?;
    let result = steps(&shared);
    if result.is_err() && !crate::run::is_interrupted() {
        diagnose::collect(&shared.lab);
    }
    result
}

fn steps(shared: &Shared) -> Result<()> {
    // What it interrupts is asked, and without a terminal it must be said.
    let asked = shared.regent("mn2", "setup shared-data --standby")?.expect(1)?;
    ensure!(asked.text.contains("the service of mn1 is down meanwhile"), "{}", asked.text);

    let both = set_up(shared)?;
    for (node, answer) in ["mn1", "mn2"].into_iter().zip(&both) {
        say::line(&format!("set-up  {node}:\n{}", answer.text.trim_end()));
    }
    for (node, answer) in ["mn1", "mn2"].into_iter().zip(both) {
        let ms = answer.took.as_millis();
        ensure!(answer.code == 0, "{node}: exit {}", answer.code);
        ensure!(ms <= READY_MS, "{node}: {ms} ms");
        say::line(&format!(
            "result  {node} is set up after {ms} ms, two installers of 2 s included"
        ));
    }
    expect_active(shared, "mn1")?;
    expect_passive(shared, "mn2")?;
    let clients = Clients::start(shared)?;
    xcat::write_row(shared.client()?, "before", "one")?;
    let before = xcat::dump(shared.client()?)?;

    // A second run finds everything done.
    let pictures = [picture(shared, "mn1")?, picture(shared, "mn2")?];
    for answer in set_up(shared)? {
        answer.expect(0)?;
    }
    ensure!(pictures == [picture(shared, "mn1")?, picture(shared, "mn2")?], "something changed");

    // The standby is one: it serves the same data.
    shared.regent("mn1", "deactivate")?.expect(0)?;
    let line = format!("activate-xcatmn -i host0:0 -v {VIP} -m 255.255.255.0 -p /HA-data");
    let other = line.replace("/HA-data", "/elsewhere");
    let refused = shared.call("mn2", &other)?.expect(2)?;
    ensure!(refused.text.contains("-p is /elsewhere"), "{}", refused.text);
    shared.call("mn2", &line)?.expect(0)?;
    expect_active(shared, "mn2")?;
    expect_passive(shared, "mn1")?;
    clients.expect_served(shared)?;
    let after = xcat::dump(shared.client()?)?;
    ensure!(before == after, "the tables changed:\n{before}\n{after}");
    Ok(())
}

/// The two commands, at the same time.
fn set_up(shared: &Shared) -> Result<[Answer; 2]> {
    std::thread::scope(|scope| {
        let standby = scope.spawn(|| shared.regent("mn2", "setup shared-data --standby --yes"));
        let first = shared.regent("mn1", "setup shared-data")?;
        let standby = standby.join().ok().context("the thread of mn2 ended")??;
        Ok([first, standby])
    })
}
