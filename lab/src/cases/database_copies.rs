//! Copies of the database on real hosts: one that differs is found and replaced, one that was wiped comes back by
//! itself, one is asked for by hand, root's password shuts nobody out, and data on a mount of their own are replaced
//! where they are.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::case::{Case, Run, Tier};
use super::kit::{command, regent, shell, sql, told, wait_event};
use crate::fault::{Watched, other_of};
use crate::run::{now_us, wait_for};
use crate::say;
use crate::seen::Attempt;

pub(super) const CASE: Case = Case {
    name: "database-copies",
    about: "a difference, a wiped standby, resync, root's password, a changed setting, data on a mount",
    tier: Tier::Default,
    run: Run::Watched(run),
};

const SYNC: Duration = Duration::from_secs(120);
const TOLD: Duration = Duration::from_secs(30);
const DEGRADED: i32 = 5;

fn run(watched: &mut Watched) -> Result<()> {
    let active = watched.cluster.active()?;
    sql(watched, &active, "CREATE DATABASE site; CREATE TABLE site.t (a INT PRIMARY KEY, b INT)")?;
    sql(watched, &active, "USE site; INSERT INTO t SELECT seq, seq FROM seq_1_to_5000")?;
    let from = now_us();
    watched.recorder.attempt(Attempt::Write)?;
    difference(watched)?;
    root_password(watched)?;
    changed_setting(watched)?;
    mounted(watched)?;
    wiped(watched)?;
    resync(watched)?;
    ensure!(watched.moves_since(from) == 0, "it moved");
    let figures = watched.recorder.tape().figures(from, now_us(), Attempt::Write);
    say::line(&format!("case    longest time without a write: {} ms", figures.client_gap_ms));
    equal(watched)
}

/// Both copies are the same, and the command says so.
fn equal(watched: &Watched) -> Result<()> {
    let active = watched.cluster.active()?;
    watched.cluster.wait_in_sync(SYNC)?;
    let said = wait_for("a comparison", SYNC, || {
        let said = regent(watched, &active, "verify-db --duty 100")?;
        // Another one may be under way, and end by another name of the standby's data.
        Ok((said.code == 0).then_some(said.text))
    })?;
    ensure!(said.contains("equal: "), "{said}");
    let status = watched.cluster.told(&active, &["status"])?;
    ensure!(status.contains("both copies, "), "status says nothing of it: {status}");
    Ok(())
}

/// A row of the standby that is not the active's: found, named, replaced.
fn difference(watched: &Watched) -> Result<()> {
    equal(watched)?;
    let active = watched.cluster.active()?;
    let other = other_of(&active);
    let from = now_us();
    say::line(&format!("fault   a row of {other}, the standby, is changed behind the log"));
    sql(watched, other, "SET sql_log_bin=0; UPDATE site.t SET b=0 WHERE a=4711")?;
    let said = regent(watched, &active, "verify-db --duty 100")?;
    ensure!(said.code == DEGRADED, "exit {}: {}", said.code, said.text);
    ensure!(said.text.contains("site.t: differing (a=4711)"), "{}", said.text);
    wait_event(watched, &active, from, ("database.differs", "a=4711"), TOLD)?;
    wait_event(watched, other, from, ("database.recloned", ""), SYNC)?;
    watched.cluster.wait_in_sync(SYNC)?;
    let row = sql(watched, other, "SELECT b FROM site.t WHERE a=4711")?;
    ensure!(row.trim() == "4711", "it is {} there", row.trim());
    // Soon after a copy it is looked at again, by itself.
    let again = "both copies, ";
    wait_for("the next comparison, by itself", SYNC, || {
        let status = watched.cluster.told(&active, &["status"])?;
        Ok((status.contains(again) && status.contains("equal: ")).then_some(()))
    })
}

/// The service goes on, and so does Regent after a restart of the database.
fn root_password(watched: &Watched) -> Result<()> {
    let active = watched.cluster.active()?;
    let other = other_of(&active);
    say::line("fault   root@localhost gets a password");
    let set = "ALTER USER root@localhost IDENTIFIED VIA mysql_native_password USING PASSWORD('x')";
    sql(watched, &active, set)?;
    let from = now_us();
    shell(watched, other, "systemctl kill --signal=KILL mariadb")?;
    wait_event(watched, &active, from, ("sync.solo", ""), TOLD)?;
    watched.cluster.wait_in_sync(SYNC)?;
    let back = "mariadb -uroot -px -e \"ALTER USER root@localhost IDENTIFIED VIA unix_socket\"";
    shell(watched, &active, back).map(drop)
}

/// An alarm with the remedy.
fn changed_setting(watched: &Watched) -> Result<()> {
    let active = watched.cluster.active()?;
    let from = now_us();
    say::line("fault   somebody enters SET GLOBAL sync_binlog=0");
    sql(watched, &active, "SET GLOBAL sync_binlog=0")?;
    wait_event(watched, &active, from, ("database.settings", "sync_binlog=0"), TOLD)?;
    let status = regent(watched, &active, "status")?;
    ensure!(status.code == DEGRADED, "exit {}: {}", status.code, status.text);
    sql(watched, &active, "SET GLOBAL sync_binlog=1").map(drop)
}

/// The data directory is the root of a mount: the copy takes its place inside.
fn mounted(watched: &Watched) -> Result<()> {
    let active = watched.cluster.active()?;
    let other = other_of(&active);
    say::line(&format!("case    the data directory of {other} becomes a bind mount"));
    let mount = "set -e
        mkdir -p /srv/mysql
        systemctl stop mariadb
        cp -a /var/lib/mysql/. /srv/mysql/
        chown mysql:mysql /srv/mysql
        mount --bind /srv/mysql /var/lib/mysql";
    command(watched, other, "maintenance on --for 5m")?;
    shell(watched, other, mount)?;
    command(watched, other, "maintenance off")?;
    watched.cluster.wait_in_sync(SYNC)?;
    command(watched, other, &format!("resync {other} --yes"))?;
    watched.cluster.wait_in_sync(SYNC)?;
    let kept = shell(watched, other, "ls -d /var/lib/mysql/.regent/kept-* | wc -l")?;
    ensure!(kept.trim() == "1", "{} old data directories inside", kept.trim());
    equal(watched)
}

/// Its files are gone: a copy comes by itself.
fn wiped(watched: &Watched) -> Result<()> {
    let active = watched.cluster.active()?;
    let other = other_of(&active);
    let from = now_us();
    say::line(&format!("fault   the database of {other} is wiped"));
    let wipe = "systemctl kill --signal=KILL mariadb; rm -rf /var/lib/mysql/*";
    shell(watched, other, wipe)?;
    wait_event(watched, other, from, ("database.recloned", ""), SYNC)?;
    watched.cluster.wait_in_sync(SYNC)?;
    let copies = told(watched, other, from, "database.copying")?;
    ensure!(copies.len() == 1, "one copy is enough: {copies:?}");
    Ok(())
}

/// By hand, with progress, and refused where there is nothing to copy from.
fn resync(watched: &Watched) -> Result<()> {
    let active = watched.cluster.active()?;
    let other = other_of(&active);
    let refused = regent(watched, &active, &format!("resync {active} --yes"))?;
    ensure!(refused.code == 7, "exit {}: {}", refused.code, refused.text);
    let said = regent(watched, &active, &format!("resync {other} --yes"))?;
    ensure!(said.code == 0 && said.text.contains("in sync after"), "{}: {}", said.code, said.text);
    Ok(())
}
