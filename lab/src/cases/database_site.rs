//! What real sites do with the database: a row written on the standby by hand, a backup's lock on the active node, a
//! reader in the way of the heir's applier, a start that takes long, a standby that vanishes while it is copied to, a
//! service that writes while it stops. Nothing of it kills a server, costs a copy or a move that it need not.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::case::{Case, Run, Tier};
use super::kit::{Holder, command, expect_explained, regent, sql, throughout, told, wait_event};
use crate::fault::{Watched, other_of};
use crate::run::{now_us, wait_for};
use crate::say;
use crate::seen::Attempt;
use crate::service::Service;

pub(super) const CASE: Case = Case {
    name: "database-site",
    about: "errant row, backup's lock, reader on the standby, slow start, lost receiver, busy stop",
    tier: Tier::Default,
    run: Run::Watched(run),
};

const SYNC: Duration = Duration::from_secs(90);
const TOLD: Duration = Duration::from_secs(15);
/// Longer than the server was given before it was killed.
const LOCKED: Duration = Duration::from_secs(12);
const SLOW_START: Duration = Duration::from_secs(25);
/// A takeover by an heir whose applier was held up.
const HEIR_MS: u64 = 3_000;
const DEGRADED: i32 = 5;

fn run(watched: &mut Watched) -> Result<()> {
    let active = watched.cluster.active()?;
    sql(watched, &active, "CREATE DATABASE site; CREATE TABLE site.t (a INT PRIMARY KEY, b INT)")?;
    errant_row(watched)?;
    backup_lock(watched)?;
    reader_and_power_off(watched)?;
    receiver_lost(watched)?;
    busy_stop(watched)
}

/// Undone in place, and it follows again: no copy.
fn errant_row(watched: &Watched) -> Result<()> {
    let active = watched.cluster.active()?;
    let other = other_of(&active);
    for row in 1..=2 {
        let from = now_us();
        say::line(&format!("fault   a row is written on {other}, the standby, by hand"));
        sql(watched, other, &format!("INSERT INTO site.t VALUES ({row}, 0)"))?;
        wait_event(watched, other, from, ("database.rewound", ""), TOLD)?;
        watched.cluster.wait_in_sync(SYNC)?;
        let copies = told(watched, other, from, "database.recloned")?;
        ensure!(copies.is_empty(), "it cost a copy: {copies:?}");
        let rows = sql(watched, other, "SELECT COUNT(*) FROM site.t")?;
        ensure!(rows.trim() == "0", "{} rows are left", rows.trim());
    }
    Ok(())
}

/// Named, shown, and nobody dies of it.
fn backup_lock(watched: &mut Watched) -> Result<()> {
    let active = watched.cluster.active()?;
    let from = now_us();
    say::line(&format!("fault   FLUSH TABLES WITH READ LOCK on {active}, the active node"));
    let session = Holder::open(watched, &active, "FLUSH TABLES WITH READ LOCK")?;
    wait_event(watched, &active, from, ("database.locked", "root@"), TOLD)?;
    let status = regent(watched, &active, "status")?;
    ensure!(status.code == DEGRADED, "exit {}: {}", status.code, status.text);
    expect_explained(watched, &active, "FLUSH TABLES WITH READ LOCK")?;
    let refused = regent(watched, &active, &format!("switchover --to {}", other_of(&active)))?;
    ensure!(refused.text.contains("FLUSH TABLES"), "the refusal says: {}", refused.text);
    throughout(LOCKED, || {
        ensure!(watched.moves_since(from) == 0, "it moved");
        Ok(())
    })?;
    session.end(watched)?;
    watched.recorder.wait_steady(Duration::from_secs(2), SYNC)?;
    for code in ["database.died", "database.hung", "database.restoring", "move.begun"] {
        let events = told(watched, &active, from, code)?;
        ensure!(events.is_empty(), "{code}: {events:?}");
    }
    watched.cluster.wait_in_sync(SYNC).map(drop)
}

/// It is known before, and the heir ends it; the lost node comes back with a start that takes long.
fn reader_and_power_off(watched: &mut Watched) -> Result<()> {
    let active = watched.cluster.active()?;
    let other = other_of(&active);
    let reader = Holder::open(watched, other, "BEGIN; SELECT * FROM site.t")?;
    let from = now_us();
    say::line(&format!("fault   a reader on {other} is in the way of an ALTER TABLE"));
    sql(watched, &active, "ALTER TABLE site.t ADD COLUMN c INT")?;
    wait_for("status to know it", TOLD, || {
        let told = watched.cluster.told(&active, &["status"])?;
        Ok(told.contains("a lock on the table site.t").then_some(()))
    })?;
    let refused = regent(watched, &active, &format!("switchover --to {other}"))?;
    ensure!(refused.code != 0, "a move to a standby that is late: {}", refused.text);
    let held = refused.text.contains("a lock on the table site.t");
    ensure!(held || refused.text.contains("late"), "the refusal says: {}", refused.text);

    let slow = "mkdir -p /etc/systemd/system/mariadb.service.d && printf '[Service]\\nExecStartPre=/bin/sleep 25\\n' \
        > /etc/systemd/system/mariadb.service.d/slow.conf";
    watched.cluster.lab.host(&active)?.shell(slow)?;
    watched.recorder.attempt(Attempt::Write)?;
    let before = now_us();
    say::line(&format!("fault   power-off of {active}, the active host"));
    watched.power_off_node(&active)?;
    watched.wait_served_by(other)?;
    watched.recorder.wait_steady(Duration::from_secs(1), SYNC)?;
    let figures = watched.recorder.tape().figures(before, now_us(), Attempt::Write);
    let gap = figures.client_gap_ms;
    say::line(&format!("case    client without a write for {gap} ms"));
    ensure!(gap <= HEIR_MS, "client without a write for {gap} ms");
    reader.end(watched)?;
    let ended = told(watched, other, from, "database.progress")?;
    ensure!(ended.iter().any(|text| text.contains("is ended")), "nobody was ended: {ended:?}");

    let back = now_us();
    watched.cluster.lab.host_mut(&active)?.start()?;
    wait_for("the start to be shown", SYNC, || {
        let told = watched.cluster.told(other, &["status"]).unwrap_or_default();
        Ok(told.contains("starting it").then_some(()))
    })?;
    watched.power_on_started(&active)?;
    watched.cluster.wait_in_sync(SYNC)?;
    let took = Duration::from_micros(now_us() - back);
    say::line(&format!("case    in sync {} s after power", took.as_secs()));
    ensure!(took >= SLOW_START, "in sync after {took:?}: its start was not slow");
    let killed = told(watched, &active, back, "database.hung")?;
    ensure!(killed.is_empty(), "it was killed: {killed:?}");
    let mended = "rm /etc/systemd/system/mariadb.service.d/slow.conf && systemctl daemon-reload";
    watched.cluster.lab.host(&active)?.shell(mended).map(drop)
}

/// The standby vanishes while it is copied to: the active node serves on, and no backup is left.
fn receiver_lost(watched: &mut Watched) -> Result<()> {
    let active = watched.cluster.active()?;
    let other = other_of(&active);
    let from = now_us();
    sql(watched, &active, "CREATE TABLE site.big (a INT AUTO_INCREMENT PRIMARY KEY, b LONGBLOB)")?;
    for _ in 0..6 {
        sql(watched, &active, "INSERT INTO site.big (b) VALUES (REPEAT('x', 8000000))")?;
    }
    watched.cluster.wait_in_sync(SYNC)?;
    say::line(&format!(
        "fault   a definition on {other}, the standby, by hand: only a copy mends that"
    ));
    sql(watched, other, "CREATE DATABASE oops")?;
    let backups = "pgrep -c mariadb-backup || true";
    wait_for("a backup", SYNC, || {
        let running = watched.cluster.lab.host(&active)?.shell(backups)?;
        Ok((running.trim() != "0").then_some(()))
    })?;
    watched.recorder.attempt(Attempt::Write)?;
    let before = now_us();
    say::line(&format!("fault   power-off of {other}, while it is copied to"));
    watched.power_off_node(other)?;
    wait_for("no backup to be left", TOLD, || {
        let running = watched.cluster.lab.host(&active)?.shell(backups)?;
        Ok((running.trim() == "0").then_some(()))
    })?;
    say::line(&format!("case    no backup is left {} ms after", (now_us() - before) / 1000));
    watched.recorder.wait_steady(Duration::from_secs(2), SYNC)?;
    let figures = watched.recorder.tape().figures(before, now_us(), Attempt::Write);
    say::line(&format!("case    client without a write for {} ms", figures.client_gap_ms));
    ensure!(figures.client_gap_ms <= 2_000, "no write for {} ms", figures.client_gap_ms);
    let died = told(watched, &active, from, "database.died")?;
    ensure!(died.is_empty(), "the active node's database died: {died:?}");
    watched.power_on_node(other)?;
    watched.cluster.wait_in_sync(SYNC).map(drop)
}

/// Services are served until they are down, and no database is killed.
fn busy_stop(watched: &Watched) -> Result<()> {
    let active = watched.cluster.active()?;
    let busy = "set -e
        mkdir -p /etc/systemd/system/management-service.service.d
        cat > /usr/local/bin/busy-stop <<'END'
#!/bin/sh
set -e
for i in $(seq 1 30); do
    mariadb -e \"INSERT INTO site.t VALUES ($i + 100, 1, 1)\"
    sleep 0.1
done
touch /run/busy-stop
END
        chmod +x /usr/local/bin/busy-stop
        printf '[Service]\\nExecStop=+/usr/local/bin/busy-stop\\n' \
            > /etc/systemd/system/management-service.service.d/busy.conf
        systemctl daemon-reload";
    watched.cluster.lab.host(&active)?.shell(busy)?;
    let from = now_us();
    command(watched, &active, "cluster stop")?;
    for node in [active.as_str(), other_of(&active)] {
        for code in ["database.killed", "database.hung", "database.died"] {
            let events = told(watched, node, from, code)?;
            ensure!(events.is_empty(), "{node}: {code}: {events:?}");
        }
        let unit = Service::Database.unit();
        ensure!(!super::kit::is_running(watched, node, unit)?, "{unit} runs on {node}");
    }
    let host = watched.cluster.lab.host(&active)?;
    host.shell("test -e /run/busy-stop").context("the service did not write to its end")?;
    command(watched, &active, "cluster start")?;
    watched.cluster.wait_in_sync(SYNC)?;
    let active = watched.cluster.active()?;
    for node in [active.as_str(), other_of(&active)] {
        let rows = sql(watched, node, "SELECT COUNT(*) FROM site.t WHERE b=1")?;
        ensure!(rows.trim() == "30", "{node} has {} of 30 rows", rows.trim());
    }
    Ok(())
}
