//! Failover scenario 2 of the shared-data topology by hand: the active host loses its power, and an operator says so.
//! With MariaDB and SQLite; `xcat-pair` shows it with PostgreSQL. Checks 14, 20, 26, 28, 31 to 36.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::case::{Case, Run, Tier};
use super::kit::throughout;
use super::xcat_kit::{
    Clients, expect_active, expect_passive, expect_row, expect_within, picture, start_of_xcatd,
    table, tell_outage, wait_passive, with,
};
use crate::run::{now_us, wait_for};
use crate::say;
use crate::shared::{Choice, Shared};
use crate::xcat::{self, Db};

pub(super) const BY_HAND_MYSQL: Case = Case {
    name: "xcat-crash-by-hand-mysql",
    about: "power-off of the active host, the operator says so, the other takes over: MariaDB",
    tier: Tier::All,
    run: Run::Alone(|| with(Choice::by_hand(Db::Mysql), by_hand)),
};

pub(super) const BY_HAND_SQLITE: Case = Case {
    name: "xcat-crash-by-hand-sqlite",
    about: "power-off of the active host, the operator says so, the other takes over: SQLite",
    tier: Tier::All,
    run: Run::Alone(|| with(Choice::by_hand(Db::Sqlite), by_hand)),
};

/// Of the VIP's service beyond the services' own start, in milliseconds.
const TAKEOVER_MS: u64 = 8_000;
const ANSWERED: Duration = Duration::from_secs(90);
/// A node that came back is told what it is, and is heard.
const REJOIN: Duration = Duration::from_secs(60);
const SILENT: Duration = Duration::from_secs(4);

fn by_hand(shared: &mut Shared) -> Result<()> {
    let db = shared.choice.db;
    shared.regent("mn1", "activate")?.expect(0)?;
    let clients = Clients::start(shared)?;
    xcat::write_row(shared.client()?, "kept", "yes")?;
    let before = xcat::dump(shared.client()?)?;

    let from = now_us();
    shared.lab.host_mut("mn1")?.power_off()?;
    say::line("fault   mn1, active, lost its power");
    let rest = picture(shared, "mn2")?;
    let refused = shared.regent("mn2", "activate")?;
    ensure!([13, 17].contains(&refused.code), "exit {}: {}", refused.code, refused.text);
    ensure!(picture(shared, "mn2")? == rest, "a refused activation changed something");

    // The last word of a node is believed for three seconds.
    throughout(SILENT, || Ok(()))?;
    let asked = now_us();
    let told = shared.regent("mn2", "activate --confirm-peer-is-off mn1 --json")?.expect(0)?;
    let what = format!("{} activate mn2, mn1 off", db.name());
    say::line(&format!("table   {}", table(&what, &told.text)?));
    let first = clients.prober.wait_answered(asked, ANSWERED)?;
    let own = start_of_xcatd(shared, "mn2")?;
    let outage = clients.prober.outage_ms(from, now_us());
    tell_outage(db, "power-off, refusal and activate", outage, own);
    let after = (first - asked) / 1000;
    tell_outage(db, "activate alone, mn1 off", after, own);
    expect_within(TAKEOVER_MS, after, own)?;
    expect_active(shared, "mn2")?;
    expect_row(shared, "kept")?;
    clients.expect_served(shared)?;
    ensure!(xcat::dump(shared.client()?)? == before, "the tables changed");

    let told = shared.regent("mn2", "status")?;
    ensure!(
        told.text.contains("mn1"),
        "the status does not say that mn1 is missing: {}",
        told.text
    );
    shared.lab.host_mut("mn1")?.boot()?;
    say::line("fault   mn1 has its power back");
    wait_passive(shared, "mn1")?;
    rejoin(shared, "mn2", "mn1", true)?;
    shared.regent("mn2", "switchover --to mn1")?.expect(0)?;
    expect_active(shared, "mn1")?;
    expect_passive(shared, "mn2")?;
    expect_row(shared, "kept")?;
    clients.expect_served(shared)
}

/// The node that came back stands by again; of two alone it does so by one command on the active one.
pub(super) fn rejoin(shared: &Shared, active: &str, back: &str, by_word: bool) -> Result<()> {
    if by_word {
        let words = format!("rejoin {back}");
        // Its agent may not be there yet.
        let done = wait_for("the return of a node", REJOIN, || {
            let answer = shared.regent(active, &words)?;
            if answer.code != 0 {
                std::thread::sleep(Duration::from_secs(1));
            }
            Ok((answer.code == 0).then_some(()))
        });
        done.or_else(|_| shared.regent(active, &words)?.expect(0).map(drop))?;
    }
    wait_for(&format!("{back} to be known as standby"), REJOIN, || {
        let status = shared.status_of(active);
        let node = status.as_ref().and_then(|status| status.node(back));
        let known = node.is_some_and(|node| {
            node.role == "standby" && node.stack.as_ref().is_some_and(|stack| stack.clear)
        });
        if !known {
            std::thread::sleep(Duration::from_millis(300));
        }
        Ok(known.then_some(()))
    })?;
    wait_passive(shared, back)
}

/// Until every step is up, by the node's own word.
pub(super) fn wait_active(shared: &Shared, node: &str) -> Result<()> {
    wait_for(&format!("every step of {node}"), ANSWERED, || {
        let is_up = expect_active(shared, node).is_ok();
        if !is_up {
            std::thread::sleep(Duration::from_millis(300));
        }
        Ok(is_up.then_some(()))
    })
    .or_else(|_| expect_active(shared, node))
}
