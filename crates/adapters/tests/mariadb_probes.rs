//! The database's probes against a real server: what passes, what fails and why, and what a commit that waits costs.

mod mariadb_lab;
mod prober_lab;

use mariadb_lab::{Node, pair, ready, wait_until};
use prober_lab::{Prober, quick, vital};
use regent_adapters::probe::Accounts;
use regent_config::probe::{Kind, Probe, Sql};
use regent_core::command::DatabaseStep;
use regent_core::health::Health;
use regent_core::observe::Thread;
use std::net::Ipv4Addr;
use std::time::Duration;

#[test]
#[ignore = "not a test: the worker's process"]
fn worker_process() {
    mariadb_lab::worker_process();
}

#[test]
#[ignore = "not a test: the prober's process"]
fn prober_process() {
    prober_lab::prober_process();
}

/// The VIP is where both servers are, so the port tells which of them serves.
fn accounts(node: &Node, serving: &Node) -> Accounts {
    let own = |node: &Node| {
        let all = &node.settings().nodes;
        all.iter().find(|n| n.node == node.id()).expect("itself").port
    };
    Accounts {
        node: node.id(),
        port: own(serving),
        vip: Ipv4Addr::LOCALHOST.into(),
        state_dir: node.settings().state_dir.clone(),
    }
}

fn all_three(sql: fn(u16, Kind) -> Probe) -> Vec<Probe> {
    let kinds = [Sql::Read, Sql::Write, Sql::Client];
    kinds.into_iter().zip(0..).map(|(kind, id)| sql(id, Kind::Sql(kind))).collect()
}

fn made(node: &Node) {
    let account = "SELECT COUNT(*) FROM mysql.global_priv WHERE user='regent_probe' \
        AND JSON_VALUE(Priv,'$.authentication_string') LIKE '*%'";
    wait_until("the probe account made", || node.sql(account) == "1");
}

#[test]
fn a_database_is_read_written_and_used_as_by_a_client_or_why_not() {
    if !ready("a_database_is_read_written_and_used_as_by_a_client_or_why_not") {
        return;
    }
    let [a, _b] = pair("probes");
    let mut prober = Prober::start();
    // Before the account exists, nothing can be told: no failure of the database.
    prober.set_with(all_three(quick), accounts(&a, &a));
    for id in 0..3 {
        assert_eq!(prober.change().why, "the probe account is not made yet", "{id}");
    }
    a.found(11);
    made(&a);
    for _ in 0..3 {
        let change = prober.change();
        assert_eq!((change.health, change.why.as_str()), (Health::Passing, ""), "{change:?}");
    }
    // One row for each way of writing, however often, and no connection that the server thinks lost.
    let aborted = || a.sql("SHOW GLOBAL STATUS LIKE 'Aborted_c%'");
    let token = || a.sql("SELECT token FROM regent.heartbeat WHERE name='write'");
    let before = aborted();
    for _ in 0..5 {
        let last = token();
        wait_until("another heartbeat", || token() != last);
    }
    assert_eq!(aborted(), before);
    let rows = a.sql("SELECT node, name FROM regent.heartbeat ORDER BY name");
    assert_eq!(rows, "1\tclient\n1\twrite");

    // An ordinary account: read-only binds it, and it reads on.
    a.sql("SET GLOBAL read_only=1");
    let mut two = [prober.change(), prober.change()];
    two.sort_by_key(|change| change.id);
    for (change, id) in two.iter().zip(1..) {
        let seen = (change.id, change.health, change.why.as_str());
        assert_eq!(seen, (id, Health::Failing, "the database is read-only"));
    }
    a.sql("SET GLOBAL read_only=0");
    for id in [1, 2] {
        let change = prober.change();
        assert_eq!(change.health, Health::Passing, "{id} {change:?}");
    }

    prober.set_with(vec![quick(0, Kind::Sql(Sql::Read))], accounts(&a, &a));
    a.sql("SET GLOBAL max_connections=10");
    let full: Vec<_> = (0..12).map(|_| a.sql_in_background("SELECT SLEEP(8)")).collect();
    let why = prober.expect(0, Health::Unknown);
    assert_eq!(why, "it lives and takes nobody in: ERROR 1040 Too many connections");
    prober.expect(0, Health::Passing);
    for mut client in full {
        client.wait().expect("ended");
    }

    // A server that hangs, at the default settings; then one that is gone.
    prober.set_with(vec![vital(5, Kind::Sql(Sql::Read))], accounts(&a, &a));
    prober.expect(5, Health::Passing);
    a.signal("-STOP");
    assert_eq!(prober.expect(5, Health::Failing), "no answer within 250 ms");
    a.signal("-CONT");
    prober.expect(5, Health::Passing);
    a.kill();
    let why = prober.expect(5, Health::Failing);
    assert!(why.starts_with("connection refused by 127.0.0.1:"), "{why}");
    prober.end();
}

/// D9: nothing of ours may end the wait of a commit, nor may waiting sessions pile up.
#[test]
fn a_heartbeat_that_waits_for_the_standby_is_late_once_and_not_cancelled() {
    if !ready("a_heartbeat_that_waits_for_the_standby_is_late_once_and_not_cancelled") {
        return;
    }
    let [a, b] = pair("heartbeat");
    a.found(11);
    made(&a);
    b.join(&a, 21);
    b.await_facts("receiving", |f| f.receiver == Thread::Running);
    assert!(a.expect(DatabaseStep::Strict).strict);
    let mut prober = Prober::start();
    let short = |id, kind| Probe { timeout_ms: 250, fall: 3, ..quick(id, kind) };
    prober.set_with(vec![short(1, Kind::Sql(Sql::Write))], accounts(&a, &a));
    prober.expect(1, Health::Passing);
    // From the standby, with its own secret, which it has from the writer.
    let mut other = Prober::start();
    other.set_with(vec![quick(2, Kind::Sql(Sql::Client))], accounts(&b, &a));
    other.expect(2, Health::Passing);
    drop(other);

    // Stopped from outside: to stop its receiver, the worker would reset every connection to this port.
    b.signal("-STOP");
    assert_eq!(prober.expect(1, Health::Failing), "no answer within 250 ms");
    let waiting = || {
        a.sql(
            "SELECT COUNT(*) FROM information_schema.processlist \
             WHERE user='regent_probe' AND info LIKE '%''write''%'",
        )
    };
    prober.all(Duration::from_secs(3));
    assert_eq!(waiting(), "1", "one in flight, however long it takes");
    let unconfirmed = a.facts().unconfirmed;
    b.signal("-CONT");
    prober.expect(1, Health::Passing);
    assert_eq!(a.facts().unconfirmed, unconfirmed, "no wait was ended");
}
