//! Failover scenario 1 of the shared-data topology, by hand on two hosts, with each database: the active node is
//! taken down in order, the other brought up, and back by a switchover. Checks 4, 5, 12 to 17, 19, 22, 23, 26 to 29.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::case::{Case, Run, Tier};
use super::xcat_kit::{
    Clients, expect_active, expect_neighbour, expect_passive, expect_row, expect_within, picture,
    start_of_xcatd, table, tell_outage, with,
};
use crate::run::now_us;
use crate::say;
use crate::shared::{Choice, Shared};
use crate::xcat::{self, Db};

pub(super) const POSTGRESQL: Case = Case {
    name: "xcat-by-hand-postgresql",
    about: "deactivate on one host, activate on the other, switchover back: PostgreSQL",
    tier: Tier::Default,
    run: Run::Alone(|| with(Choice::by_hand(Db::Postgresql), run)),
};

pub(super) const MYSQL: Case = Case {
    name: "xcat-by-hand-mysql",
    about: "deactivate on one host, activate on the other, switchover back: MariaDB",
    tier: Tier::All,
    run: Run::Alone(|| with(Choice::by_hand(Db::Mysql), run)),
};

pub(super) const SQLITE: Case = Case {
    name: "xcat-by-hand-sqlite",
    about: "deactivate on one host, activate on the other, switchover back: SQLite",
    tier: Tier::All,
    run: Run::Alone(|| with(Choice::by_hand(Db::Sqlite), run)),
};

/// Of the VIP's service beyond the services' own start, in milliseconds.
const PLANNED_MS: u64 = 5_000;
const ANSWERED: Duration = Duration::from_secs(60);

fn run(shared: &mut Shared) -> Result<()> {
    let db = shared.choice.db;
    let told = shared.regent("mn1", "activate --json")?.expect(0)?;
    say::line(&format!("table   {}", table(&format!("{} activate mn1", db.name()), &told.text)?));
    expect_active(shared, "mn1")?;
    let clients = Clients::start(shared)?;
    xcat::write_row(shared.client()?, "before", "one")?;
    let before = xcat::dump(shared.client()?)?;

    let again = picture(shared, "mn1")?;
    shared.regent("mn1", "activate")?.expect(0)?;
    ensure!(picture(shared, "mn1")? == again, "a second activation changed something");
    move_by_hand(shared, &clients)?;
    expect_row(shared, "before")?;
    let after = xcat::dump(shared.client()?)?;
    ensure!(before == after, "the tables changed:\n{before}\n{after}");
    clients.expect_served(shared)?;

    let from = now_us();
    shared.regent("mn2", "switchover --to mn1")?.expect(0)?;
    clients.prober.wait_answered(now_us(), ANSWERED)?;
    let outage = clients.prober.outage_ms(from, now_us());
    let own = start_of_xcatd(shared, "mn1")?;
    tell_outage(db, "switchover", outage, own);
    expect_active(shared, "mn1")?;
    expect_passive(shared, "mn2")?;
    clients.expect_served(shared)?;
    expect_within(PLANNED_MS, outage, own)
}

/// `deactivate`, then `activate` on the other, as the text of the use case has it.
fn move_by_hand(shared: &Shared, clients: &Clients) -> Result<()> {
    let db = shared.choice.db;
    let from = now_us();
    let told = shared.regent("mn1", "deactivate --json")?.expect(0)?;
    say::line(&format!("table   {}", table(&format!("{} deactivate mn1", db.name()), &told.text)?));
    expect_passive(shared, "mn1")?;
    let rest = picture(shared, "mn1")?;
    shared.regent("mn1", "deactivate")?.expect(0)?;
    ensure!(picture(shared, "mn1")? == rest, "a second deactivation changed something");

    let activated = now_us();
    let told = shared.regent("mn2", "activate --json")?.expect(0)?;
    say::line(&format!("table   {}", table(&format!("{} activate mn2", db.name()), &told.text)?));
    let first = clients.prober.wait_answered(activated, ANSWERED)?;
    let neighbour = expect_neighbour(shared, "mn2", Duration::from_secs(1))?;
    say::line(&format!(
        "client  knows the new hardware address, {neighbour} ms after it was asked"
    ));
    let own = start_of_xcatd(shared, "mn2")?;
    let outage = clients.prober.outage_ms(from, now_us());
    tell_outage(db, "deactivate and activate (with the checks between)", outage, own);
    let after = (first - activated) / 1000;
    tell_outage(db, "activate alone", after, own);
    expect_active(shared, "mn2")?;
    expect_passive(shared, "mn1")
}
