//! Failover scenario 2 of the shared-data topology with a witness, where nobody has to ask: the standby fences a host
//! that lost its power and takes over; without a fence it stops, says what it needs, and takes an operator's word.
//! Checks 22, 26 to 29, 32, 33, 35.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::case::{Case, Run, Tier};
use super::xcat_crash::wait_active;
use super::xcat_kit::{
    Clients, NOT_PROVEN_CLEAR, expect_neighbour, expect_passive, expect_row, picture,
    start_of_xcatd, table, tell_outage, wait_passive, with,
};
use crate::bmc::Bmc;
use crate::history;
use crate::run::{now_us, wait_for};
use crate::say;
use crate::shared::{Choice, Shared, data_of};
use crate::status::Blocked;
use crate::xcat::{self, Db};

pub(super) const POSTGRESQL: Case = Case {
    name: "xcat-auto-postgresql",
    about: "power-off of the active host: the other fences it and takes over unasked: PostgreSQL",
    tier: Tier::Default,
    run: Run::Alone(|| with(Choice::automatic(Db::Postgresql), fenced)),
};

pub(super) const MYSQL: Case = Case {
    name: "xcat-auto-mysql",
    about: "power-off of the active host: the other fences it and takes over unasked: MariaDB",
    tier: Tier::All,
    run: Run::Alone(|| with(Choice::automatic(Db::Mysql), fenced)),
};

pub(super) const SQLITE: Case = Case {
    name: "xcat-auto-sqlite",
    about: "power-off of the active host: the other fences it and takes over unasked: SQLite",
    tier: Tier::All,
    run: Run::Alone(|| with(Choice::automatic(Db::Sqlite), fenced)),
};

pub(super) const NO_FENCE: Case = Case {
    name: "xcat-no-fence",
    about: "the same without a fence: blocked, row 5; refused; by word; the old one comes back",
    tier: Tier::All,
    run: Run::Alone(|| with(Choice::unfenced(Db::Postgresql), unfenced)),
};

/// Of the VIP's service beyond the services' own start, in milliseconds, the fence included.
const TAKEOVER_MS: u64 = 8_000;
const ANSWERED: Duration = Duration::from_secs(90);
/// A node that came back is told what it is, and is heard.
const REJOIN: Duration = Duration::from_secs(60);
/// Silence, succession and three seconds of patience.
const BLOCKED: Duration = Duration::from_secs(30);
/// The row of "stuck, and the way out" of data that are not proven clear.
const ROW: u64 = 5;

fn fenced(shared: &mut Shared) -> Result<()> {
    let db = shared.choice.db;
    let bmc = Bmc::start(&shared.lab)?;
    let (clients, before) = serve(shared)?;
    let from = lose_power(shared)?;
    let answered = clients.prober.wait_answered(from, ANSWERED)?;
    let own = start_of_xcatd(shared, "mn2")?;
    let outage = clients.prober.outage_ms(from, answered);
    tell_outage(db, "takeover after power-off, unasked", outage, own);
    expect_neighbour(shared, "mn2", Duration::from_secs(1))?;
    wait_active(shared, "mn2")?;
    clients.names.expect_true(from)?;
    tell_story(shared, "mn2", from.saturating_sub(outage * 1000))?;
    ensure!(!bmc.is_on("mn1")?, "mn1 is on");
    expect_kept(shared, &clients, &before)?;
    ensure!(outage <= own + TAKEOVER_MS, "without an answer for {outage} ms, own start {own} ms");

    come_back(shared, "mn2", "mn1")?;
    let from = now_us();
    shared.regent("mn2", "switchover --to mn1")?.expect(0)?;
    clients.prober.wait_answered(now_us(), ANSWERED)?;
    let own = start_of_xcatd(shared, "mn1")?;
    tell_outage(db, "switchover back", clients.prober.outage_ms(from, now_us()), own);
    wait_active(shared, "mn1")?;
    wait_passive(shared, "mn2")?;
    clients.names.expect_true(from)?;
    expect_kept(shared, &clients, &before)?;
    hang(shared, &bmc, &clients)?;
    expect_kept(shared, &clients, &before)
}

/// A host that hangs, its data still shared, is off before the other begins.
fn hang(shared: &Shared, bmc: &Bmc, clients: &Clients) -> Result<()> {
    let db = shared.choice.db;
    shared.lab.host("mn1")?.hang()?;
    let from = now_us();
    say::line("fault   mn1, active, hangs");
    let answered = clients.prober.wait_answered(from + 1_000_000, ANSWERED)?;
    let own = start_of_xcatd(shared, "mn2")?;
    tell_outage(db, "takeover after a hang", clients.prober.outage_ms(from, answered), own);
    wait_active(shared, "mn2")?;
    expect_off_before(shared, bmc, from)
}

/// The controller of mn1 took its power away, and only then mn2 started the first unit of the stack.
pub(super) fn expect_off_before(shared: &Shared, bmc: &Bmc, from: u64) -> Result<()> {
    let resets = bmc.resets("mn1")?;
    let mut offs = resets.iter().filter(|(at, kind)| *at >= from && kind == "ForceOff");
    let off = offs.next().map(|(at, _)| *at);
    let off = off.with_context(|| format!("mn1 was asked for {resets:?}"))?;
    ensure!(!bmc.is_on("mn1")?, "mn1 was not switched off, and mn2 uses the data");
    let begun = first_start(shared, "mn2")?;
    say::line(&format!(
        "result  mn1's power off {} ms after the fault, mn2's first unit {} ms after it",
        (off - from) / 1000,
        begun.saturating_sub(from) / 1000
    ));
    ensure!(off < begun, "mn2 began before mn1 was off");
    Ok(())
}

/// When the first unit of the stack was started on a node, by its systemd.
pub(super) fn first_start(shared: &Shared, node: &str) -> Result<u64> {
    let unit = shared.choice.db.unit().unwrap_or("xcatd.service");
    let shown = shared.lab.host(node)?.run(&[
        "systemctl",
        "show",
        "-p",
        "InactiveExitTimestampMonotonic",
        "--value",
        unit,
    ])?;
    shown.trim().parse().context("a time")
}

fn unfenced(shared: &mut Shared) -> Result<()> {
    let db = shared.choice.db;
    let (clients, before) = serve(shared)?;
    let from = lose_power(shared)?;
    let rest = picture(shared, "mn2")?;
    let blocked = wait_blocked(shared, "mn2", "mn1")?;
    say::line_at(now_us(), &format!("status  mn2: row {}: {}", blocked.row, blocked.text));
    shared.regent("mn2", "activate")?.expect(NOT_PROVEN_CLEAR)?;
    ensure!(picture(shared, "mn2")? == rest, "a refused activation changed something");
    ensure!(clients.prober.answered_after(from).is_none(), "somebody answered");

    let asked = now_us();
    let told = shared.regent("mn2", "activate --confirm-peer-is-off mn1 --json")?.expect(0)?;
    let what = format!("{} activate mn2, mn1 off by word", db.name());
    say::line(&format!("table   {}", table(&what, &told.text)?));
    let first = clients.prober.wait_answered(asked, ANSWERED)?;
    let own = start_of_xcatd(shared, "mn2")?;
    tell_outage(db, "activate by word after power-off", (first - asked) / 1000, own);
    wait_active(shared, "mn2")?;
    expect_kept(shared, &clients, &before)?;
    come_back(shared, "mn2", "mn1")?;
    wait_active(shared, "mn2")?;
    expect_kept(shared, &clients, &before)
}

/// mn1 is active, clients have what they came for, a row is written; and all tables as they are then.
pub(super) fn serve(shared: &Shared) -> Result<(Clients, String)> {
    shared.regent("mn1", "activate")?.expect(0)?;
    let clients = Clients::start(shared)?;
    xcat::write_row(shared.client()?, "kept", "yes")?;
    let before = xcat::dump(shared.client()?)?;
    Ok((clients, before))
}

/// Power-off of mn1, which leaves its database's lock; when it was over.
pub(super) fn lose_power(shared: &mut Shared) -> Result<u64> {
    let begun = now_us();
    shared.lab.host_mut("mn1")?.power_off()?;
    let from = now_us();
    say::line(&format!("fault   mn1, active, lost its power, in {} ms", (from - begun) / 1000));
    if let Some(lock) = shared.choice.db.lock() {
        let lock = data_of(&shared.lab.dir).join(lock);
        ensure!(lock.exists(), "{} is gone: that was no power-off", lock.display());
    }
    Ok(from)
}

/// The row that was written, every table, the reserved address and the lease.
pub(super) fn expect_kept(shared: &Shared, clients: &Clients, before: &str) -> Result<()> {
    expect_row(shared, "kept")?;
    clients.expect_served(shared)?;
    let after = xcat::dump(shared.client()?)?;
    ensure!(after == before, "the tables changed:\n{before}\n{after}");
    Ok(())
}

/// The host gets its power back and stands by.
fn come_back(shared: &mut Shared, active: &str, back: &str) -> Result<()> {
    come_back_passive(shared, back)?;
    wait_standby(shared, active, back)?;
    expect_passive(shared, back)
}

/// The host gets its power back: no unit of the stack starts, and everything is passive.
pub(super) fn come_back_passive(shared: &mut Shared, back: &str) -> Result<()> {
    shared.lab.host_mut(back)?.boot()?;
    let booted = now_us();
    say::line(&format!("fault   {back} has its power back"));
    wait_passive(shared, back)?;
    say::line(&format!("host    {back} is passive {} ms after its boot", ms_since(booted)));
    expect_never_started(shared, back)
}

/// The active node's word for the other is `standby`, with every step down.
pub(super) fn wait_standby(shared: &Shared, active: &str, back: &str) -> Result<()> {
    let mut last = String::new();
    wait_for(&format!("{back} to be known as standby"), REJOIN, || {
        let status = shared.status_of(active).unwrap_or_default();
        last = status.brief();
        let stack = status.node(back).and_then(|node| node.stack.as_ref());
        if status.role(back) == "standby" && stack.is_some_and(|stack| stack.clear) {
            return Ok(Some(()));
        }
        std::thread::sleep(Duration::from_millis(300));
        Ok(None)
    })
    .with_context(|| last)
}

/// Waits until a node says that it is stuck on data that another may still use, and what helps.
pub(super) fn wait_blocked(shared: &Shared, node: &str, user: &str) -> Result<Blocked> {
    let word = format!("--confirm-peer-is-off {user}");
    let mut last = String::new();
    wait_for("the blocked row", BLOCKED, || {
        let status = shared.status_of(node).unwrap_or_default();
        last = status.brief();
        let row = |blocked: &Blocked| blocked.row == ROW && blocked.text.contains(&word);
        if let Some(blocked) = status.blocked.filter(row) {
            return Ok(Some(blocked));
        }
        std::thread::sleep(Duration::from_millis(200));
        Ok(None)
    })
    .with_context(|| last)
}

/// No unit of the stack was up since the host booted.
pub(super) fn expect_never_started(shared: &Shared, node: &str) -> Result<()> {
    let host = shared.lab.host(node)?;
    for unit in shared.units() {
        let property = "ActiveEnterTimestampMonotonic";
        let at = host.run(&["systemctl", "show", "-p", property, "--value", unit])?;
        ensure!(at.trim() == "0", "{unit} was up on {node} since its boot");
    }
    Ok(())
}

/// What a node says it did, one line each.
pub(super) fn tell_story(shared: &Shared, node: &str, from: u64) -> Result<()> {
    for event in history::since(shared.lab.host(node)?, from) {
        let after = event.at.saturating_sub(from) / 1000;
        say::line_at(event.at, &format!("event   {node} +{after}: {}: {}", event.code, event.text));
    }
    Ok(())
}

pub(super) fn ms_since(at: u64) -> u64 {
    now_us().saturating_sub(at) / 1000
}
