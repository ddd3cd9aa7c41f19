//! What happens to the databases, hosts and networks of real sites, one thing each. A deed waits for what must follow
//! at once, and mends what a person would mend; that the cluster is well again by itself is looked at afterwards.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::cases::kit::{Holder, command, regent, shell, sql, throughout, wait_event};
use crate::fault::{Watched, other_of};
use crate::lab::VIP;
use crate::run::{now_us, wait_for};
use crate::say;
use crate::service::{Harm, Service, inflict};

/// One thing that happens.
#[derive(Debug)]
pub struct Deed {
    /// For tables, and for `--only`.
    pub name: &'static str,
    /// What is done, to the active node and its standby.
    pub run: fn(&mut Watched, &str, &str) -> Result<()>,
}

const fn deed(name: &'static str, run: fn(&mut Watched, &str, &str) -> Result<()>) -> Deed {
    Deed { name, run }
}

/// All of them.
pub const ALL: &[Deed] = &[
    deed("switchover", switchover),
    deed("database-killed", database_killed),
    deed("power-off", power_off),
    deed("cut", cut),
    deed("hang", hang),
    deed("agent-killed", agent_killed),
    deed("log-reset", log_reset),
    deed("log-reset-alone", log_reset_alone),
    deed("log-reset-then-stop", log_reset_then_stop),
    deed("log-reset-under-a-lock", log_reset_under_a_lock),
    deed("log-removed", log_removed),
    deed("log-purged", log_purged),
    deed("standby-log-removed", standby_log_removed),
    deed("errant-row", errant_row),
    deed("hidden-row", hidden_row),
    deed("slow-start", slow_start),
    deed("reader-then-power-off", reader_then_power_off),
    deed("backup-lock", backup_lock),
    deed("copy-cut-short", copy_cut_short),
    deed("standby-wiped", standby_wiped),
    deed("resync", resync),
    deed("root-password", root_password),
    deed("settings-changed", settings_changed),
    deed("stop-and-start", stop_and_start),
    deed("addresses-flushed", addresses_flushed),
    deed("port-blocked", port_blocked),
    deed("power-loss", power_loss),
    deed("leftover-lock", leftover_lock),
];

const TOLD: Duration = Duration::from_secs(30);
const SYNC: Duration = Duration::from_secs(150);
const BACK: Duration = Duration::from_secs(60);
/// A client's host that is gone is noticed by TCP's own questions.
const LEFT: Duration = Duration::from_secs(40);

/// Nothing is done for so long.
fn pause(length: Duration) -> Result<()> {
    throughout(length, || Ok(()))
}

fn switchover(watched: &mut Watched, active: &str, other: &str) -> Result<()> {
    command(watched, active, &format!("switchover --to {other}"))?;
    watched.wait_served_by(other)
}

fn database_killed(watched: &mut Watched, active: &str, other: &str) -> Result<()> {
    watched.cluster.kill_unit(active, Service::Database.unit())?;
    watched.wait_served_by(other)
}

fn power_off(watched: &mut Watched, active: &str, other: &str) -> Result<()> {
    watched.power_off_node(active)?;
    watched.wait_served_by(other)?;
    pause(Duration::from_secs(3))?;
    watched.power_on_node(active)
}

fn cut(watched: &mut Watched, active: &str, other: &str) -> Result<()> {
    watched.cluster.lab.host(active)?.cut()?;
    watched.wait_served_by(other)?;
    pause(Duration::from_secs(2))?;
    watched.cluster.lab.host(active)?.heal()
}

fn hang(watched: &mut Watched, active: &str, other: &str) -> Result<()> {
    watched.cluster.lab.host(active)?.hang()?;
    watched.wait_served_by(other)?;
    pause(Duration::from_secs(2))?;
    watched.cluster.lab.host(active)?.resume()
}

fn agent_killed(watched: &mut Watched, active: &str, _: &str) -> Result<()> {
    shell(watched, active, "systemctl kill --signal=KILL regent").map(drop)
}

/// The active node's own log, with the standby in sync.
fn log_reset(watched: &mut Watched, active: &str, other: &str) -> Result<()> {
    let from = now_us();
    sql(watched, active, "RESET MASTER")?;
    named_anew(watched, active, other, from)
}

/// Every name that the standby knows is another row's by the time it is back.
fn log_reset_alone(watched: &mut Watched, active: &str, other: &str) -> Result<()> {
    let from = now_us();
    watched.power_off_node(other)?;
    wait_event(watched, active, from, ("sync.solo", ""), TOLD)?;
    sql(watched, active, "RESET MASTER")?;
    wait_event(watched, active, from, ("data.named", ""), TOLD)?;
    pause(Duration::from_secs(4))?;
    watched.power_on_node(other)?;
    wait_event(watched, other, from, ("database.recloned", ""), SYNC).map(drop)
}

/// At once: the data are named before their server is stopped.
fn log_reset_then_stop(watched: &mut Watched, active: &str, other: &str) -> Result<()> {
    let from = now_us();
    sql(watched, active, "RESET MASTER")?;
    command(watched, active, "cluster stop")?;
    command(watched, active, "cluster start")?;
    named_anew(watched, active, other, from)
}

/// A session with twenty thousand rows of its own is ended for it.
fn log_reset_under_a_lock(watched: &mut Watched, active: &str, other: &str) -> Result<()> {
    let rows = "BEGIN; INSERT INTO bank.moves SELECT seq, 1, 2, 0 FROM seq_1_to_20000";
    let holder = Holder::open(watched, active, &format!("USE bank; {rows}"))?;
    let from = now_us();
    sql(watched, active, "RESET MASTER")?;
    named_anew(watched, active, other, from)?;
    holder.end(watched)
}

fn log_removed(watched: &mut Watched, active: &str, other: &str) -> Result<()> {
    let from = now_us();
    shell(watched, active, "rm -f /var/lib/mysql/*-bin.0* /var/lib/mysql/binlog.0*")?;
    named_anew(watched, active, other, from)
}

fn named_anew(watched: &Watched, active: &str, other: &str, from: u64) -> Result<()> {
    wait_event(watched, active, from, ("data.named", ""), TOLD)?;
    wait_event(watched, other, from, ("database.recloned", ""), SYNC).map(drop)
}

/// Which is welcome.
fn log_purged(watched: &mut Watched, active: &str, other: &str) -> Result<()> {
    let from = now_us();
    let purge = "FLUSH BINARY LOGS; PURGE BINARY LOGS BEFORE NOW()";
    sql(watched, active, purge)?;
    sql(watched, other, purge)?;
    pause(Duration::from_secs(3))?;
    ensure!(watched.moves_since(from) == 0, "it moved");
    Ok(())
}

fn standby_log_removed(watched: &mut Watched, _: &str, other: &str) -> Result<()> {
    let from = now_us();
    shell(watched, other, "rm -f /var/lib/mysql/*-bin.0* /var/lib/mysql/binlog.0*")?;
    wait_event(watched, other, from, ("database.recloned", ""), SYNC).map(drop)
}

fn errant_row(watched: &mut Watched, _: &str, other: &str) -> Result<()> {
    let from = now_us();
    sql(watched, other, "INSERT INTO bank.moves VALUES (7, 1, 2, 0)")?;
    wait_event(watched, other, from, ("database.rewound", ""), TOLD).map(drop)
}

/// Nothing but a comparison finds it: a row that nobody writes again, since the next write of it would mend it.
fn hidden_row(watched: &mut Watched, active: &str, other: &str) -> Result<()> {
    let from = now_us();
    let hidden = "SET sql_log_bin=0; UPDATE bank.moves SET amount=amount+1 ORDER BY id LIMIT 1";
    sql(watched, other, hidden)?;
    // One that was under way may have been past that row.
    wait_for("the difference to be found", SYNC, || {
        let said = regent(watched, active, "verify-db --duty 100")?;
        Ok((said.code == 5 && said.text.contains("bank.moves")).then_some(()))
    })?;
    wait_event(watched, other, from, ("database.recloned", ""), SYNC).map(drop)
}

fn slow_start(watched: &mut Watched, _: &str, other: &str) -> Result<()> {
    let slow = "mkdir -p /etc/systemd/system/mariadb.service.d
        printf '[Service]\\nExecStartPre=/bin/sleep 18\\n' \\
            > /etc/systemd/system/mariadb.service.d/slow.conf
        systemctl daemon-reload";
    shell(watched, other, slow)?;
    let from = now_us();
    watched.cluster.kill_unit(other, Service::Database.unit())?;
    wait_event(watched, other, from, ("database.died", ""), TOLD)?;
    watched.cluster.wait_in_sync(SYNC)?;
    shell(
        watched,
        other,
        "rm /etc/systemd/system/mariadb.service.d/slow.conf; systemctl daemon-reload",
    )
    .map(drop)
}

fn reader_then_power_off(watched: &mut Watched, active: &str, other: &str) -> Result<()> {
    let reader = Holder::open(watched, other, "BEGIN; SELECT * FROM bank.accounts")?;
    sql(watched, active, "ALTER TABLE bank.accounts COMMENT 'changed'")?;
    wait_for("status to know it", TOLD, || {
        let told = watched.cluster.told(active, &["status"])?;
        Ok(told.contains("a lock on the table bank.accounts").then_some(()))
    })?;
    watched.power_off_node(active)?;
    watched.wait_served_by(other)?;
    reader.end(watched)?;
    watched.power_on_node(active)
}

fn backup_lock(watched: &mut Watched, active: &str, _: &str) -> Result<()> {
    let from = now_us();
    let holder = Holder::open(watched, active, "FLUSH TABLES WITH READ LOCK")?;
    wait_event(watched, active, from, ("database.locked", "root@"), TOLD)?;
    pause(Duration::from_secs(5))?;
    holder.end(watched)
}

fn copy_cut_short(watched: &mut Watched, _: &str, other: &str) -> Result<()> {
    let from = now_us();
    shell(watched, other, "nohup regent resync --yes $(hostname) >/dev/null 2>&1 &")?;
    wait_event(watched, other, from, ("database.copying", ""), TOLD)?;
    watched.power_off_node(other)?;
    pause(Duration::from_secs(2))?;
    watched.power_on_node(other)
}

fn standby_wiped(watched: &mut Watched, _: &str, other: &str) -> Result<()> {
    let from = now_us();
    shell(watched, other, "systemctl kill --signal=KILL mariadb; rm -rf /var/lib/mysql/*")?;
    wait_event(watched, other, from, ("database.recloned", ""), SYNC).map(drop)
}

fn resync(watched: &mut Watched, active: &str, other: &str) -> Result<()> {
    let said = regent(watched, active, &format!("resync {other} --yes"))?;
    ensure!(said.code == 0, "exit {}: {}", said.code, said.text);
    Ok(())
}

/// Then a restart of each database.
fn root_password(watched: &mut Watched, active: &str, other: &str) -> Result<()> {
    let set = "ALTER USER root@localhost IDENTIFIED VIA mysql_native_password USING PASSWORD('x')";
    sql(watched, active, set)?;
    let from = now_us();
    watched.cluster.kill_unit(other, Service::Database.unit())?;
    wait_event(watched, active, from, ("sync.solo", ""), TOLD)?;
    watched.cluster.wait_in_sync(SYNC)?;
    let back = "mariadb -uroot -px -e \"ALTER USER root@localhost IDENTIFIED VIA unix_socket\"";
    shell(watched, active, back).map(drop)
}

fn settings_changed(watched: &mut Watched, active: &str, _: &str) -> Result<()> {
    let from = now_us();
    sql(watched, active, "SET GLOBAL sync_binlog=0; SET GLOBAL server_id=4711")?;
    wait_event(watched, active, from, ("database.settings", "sync_binlog=0"), TOLD)?;
    wait_for("the server id to be set again", TOLD, || {
        Ok((sql(watched, active, "SELECT @@global.server_id")?.trim() != "4711").then_some(()))
    })?;
    sql(watched, active, "SET GLOBAL sync_binlog=1").map(drop)
}

fn stop_and_start(watched: &mut Watched, active: &str, _: &str) -> Result<()> {
    command(watched, active, "cluster stop")?;
    pause(Duration::from_secs(2))?;
    command(watched, active, "cluster start").map(drop)
}

fn addresses_flushed(watched: &mut Watched, active: &str, _: &str) -> Result<()> {
    let own = watched.cluster.lab.host(active)?.spec.address.clone();
    let line = format!("ip addr flush dev host0; ip addr add {own}/24 dev host0");
    shell(watched, active, &line).map(drop)
}

/// The active node's port: nobody is served there any more, and the standby receives nothing.
fn port_blocked(watched: &mut Watched, active: &str, other: &str) -> Result<()> {
    let host = watched.cluster.lab.host(active)?;
    let harm = inflict(host, Service::Database, Harm::Blocked)?;
    watched.wait_served_by(other)?;
    pause(Duration::from_secs(2))?;
    harm.undo()
}

/// A client on the standby's host holds a lock and a row by the virtual address when the host loses its power.
fn leftover_lock(watched: &mut Watched, active: &str, other: &str) -> Result<()> {
    let text = "SELECT GET_LOCK('left', 0); BEGIN; \
        SELECT * FROM bank.moves ORDER BY id LIMIT 1 FOR UPDATE; SELECT SLEEP(600)";
    let argv = ["mariadb", "-h", VIP, "-u", "app", "-e", text];
    let mut command = watched.cluster.lab.host(other)?.command(&argv)?;
    let mut client =
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("mariadb")?;
    let is_free = |watched: &Watched| -> Result<bool> {
        Ok(sql(watched, active, "SELECT IS_FREE_LOCK('left')")?.trim() == "1")
    };
    wait_for("the lock", TOLD, || Ok((!is_free(watched)?).then_some(())))?;
    let from = now_us();
    watched.power_off_node(other)?;
    wait_for("the lock to be released", LEFT, || Ok(is_free(watched)?.then_some(())))?;
    say::line(&format!("case    released after {} s", (now_us() - from) / 1_000_000));
    client.wait().context("mariadb")?;
    watched.power_on_node(other)
}

/// Both hosts at once; the one that wrote comes back last.
fn power_loss(watched: &mut Watched, active: &str, other: &str) -> Result<()> {
    watched.power_off_node(active)?;
    watched.power_off_node(other)?;
    pause(Duration::from_secs(2))?;
    watched.power_on_node(other)?;
    watched.power_on_node(active)?;
    wait_for("somebody to serve", BACK, || {
        let serves = |node| watched.cluster.status_of(node).is_some_and(|s| s.is_active_itself());
        Ok((serves(active) || serves(other_of(active))).then_some(()))
    })
}
