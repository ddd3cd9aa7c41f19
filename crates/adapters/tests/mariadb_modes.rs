//! The modes of a real server, as the worker sets and reads them (D1 to D7, D9, D11).

mod mariadb_lab;

use mariadb_lab::{pair, ready, skipped, token, wait_until};
use regent_core::command::{DatabaseStep, StepResult};
use regent_core::id::{Incarnation, NodeId};
use regent_core::observe::{DatabaseFacts, Thread};
use std::time::{Duration, Instant};

#[test]
#[ignore = "not a test: the worker's process"]
fn worker_process() {
    mariadb_lab::worker_process();
}

#[test]
fn strict_waits_for_the_replica_and_a_marker_proves_its_stream() {
    if !ready("strict_waits_for_the_replica_and_a_marker_proves_its_stream") {
        return;
    }
    let [a, b] = pair("strict");
    let rest = a.expect(DatabaseStep::TakeControl);
    assert!(rest.read_only && rest.strict && rest.incarnation.is_none() && !rest.mark);
    a.found(11);
    a.sql("CREATE DATABASE app; CREATE TABLE app.t (a INT PRIMARY KEY, b TEXT)");
    a.sql("INSERT INTO app.t VALUES (1, 'before')");
    b.join(&a, 21);
    let facts = b.await_facts("receiving", |f| f.receiver == Thread::Running);
    assert_eq!((facts.source, facts.incarnation), (Some(a.id()), Some(Incarnation(21))));
    assert!(facts.mark && !facts.broken && facts.read_only && !facts.strict);

    let facts = a.expect(DatabaseStep::Strict);
    assert!(facts.strict && !facts.read_only && facts.confirming == 1);
    assert!(facts.others.is_empty(), "a member's database is no stranger: {:?}", facts.others);
    assert!(b.facts().confirms);
    a.expect(DatabaseStep::Marker { token: token(1) });
    let facts = b.await_facts("drained of the marker", |f| f.applied == a.facts().end);
    assert_eq!(facts.shows, None);
    let facts = b.expect(DatabaseStep::Observe { look_for: Some(token(1)) });
    assert_eq!(facts.shows, Some(token(1)));
    let facts = b.expect(DatabaseStep::Observe { look_for: Some(token(2)) });
    assert_eq!(facts.shows, None);

    // Without the replica a commit waits, and read-only is withdrawn.
    let facts = b.expect(DatabaseStep::StopReceiver);
    assert!(!facts.broken && facts.receiver == Thread::Stopped);
    let mut writer = a.sql_in_background("INSERT INTO app.t VALUES (2, 'waits')");
    a.await_facts("waiting", |f| f.waiting == 1);
    assert_eq!(a.sql("SELECT COUNT(*) FROM app.t"), "1");
    let (result, facts) = a.step(DatabaseStep::ReadOnly);
    assert_eq!(result, StepResult::Blocked);
    assert!(!facts.expect("facts").read_only);
    assert!(writer.try_wait().expect("asked").is_none());

    // The receiver again, and a marker: everything is confirmed, nothing was released.
    assert!(!b.expect(DatabaseStep::StartReceiver).broken);
    a.expect(DatabaseStep::Marker { token: token(3) });
    assert!(writer.wait().expect("ended").success());
    // A new account that waits for the replica locks all new connections out: facts and marker need none.
    b.expect(DatabaseStep::StopReceiver);
    let mut maker = a.sql_in_background("CREATE USER late@localhost");
    a.await_facts("waiting", |f| f.waiting == 1);
    b.expect(DatabaseStep::StartReceiver);
    a.expect(DatabaseStep::Marker { token: token(5) });
    assert!(maker.wait().expect("ended").success());

    let facts = a.expect(DatabaseStep::ReadOnly);
    assert!(facts.read_only && facts.waiting == 0 && facts.unconfirmed == 0);
    let (result, _) = a.step(DatabaseStep::Marker { token: token(4) });
    assert!(matches!(result, StepResult::Failed(_)), "{result:?}");
    b.await_facts("at the end", |f| f.applied == facts.end);

    // Loose: nobody is waited for.
    b.expect(DatabaseStep::StopReceiver);
    a.expect(DatabaseStep::Writable);
    assert!(!a.expect(DatabaseStep::Loose).strict);
    a.sql("INSERT INTO app.t VALUES (3, 'alone')");
    // Strict is refused nowhere, and read back.
    assert!(a.expect(DatabaseStep::Strict).strict);
}

#[test]
fn read_only_just_after_writable_waits_for_our_own_definitions() {
    if !ready("read_only_just_after_writable_waits_for_our_own_definitions") {
        return;
    }
    let [a, b] = pair("own-definitions");
    for node in [&a, &b] {
        node.expect(DatabaseStep::TakeControl);
        node.expect(DatabaseStep::Keep { incarnation: Incarnation(11), mark: false });
    }
    a.expect(DatabaseStep::Loose);
    a.expect(DatabaseStep::Writable);
    let facts = a.expect(DatabaseStep::ReadOnly);
    assert!(facts.read_only && facts.waiting == 0);
    let tables = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema='regent'";
    assert_eq!(a.sql(tables), "2");
    a.await_making();

    // One that waits for a replica is a commit that waits.
    b.expect(DatabaseStep::Strict);
    b.expect(DatabaseStep::Writable);
    assert_eq!(b.step(DatabaseStep::ReadOnly).0, StepResult::Blocked);
    b.expect(DatabaseStep::Loose);
    b.expect(DatabaseStep::ReadOnly);
    assert_eq!(b.sql(tables), "2");
}

#[test]
fn an_observation_takes_one_question() {
    if !ready("an_observation_takes_one_question") {
        return;
    }
    let [a, _b] = pair("observe");
    a.found(11);
    // What is left for after a step is done before the next one.
    a.facts();
    let questions = || status(&a, "Questions");
    let first = questions();
    let own = questions() - first;
    a.sql("SET GLOBAL log_output='TABLE'; SET GLOBAL general_log=ON");
    let on_disk = status(&a, "Created_tmp_disk_tables");
    let before = questions();
    for n in 0..OBSERVATIONS {
        a.expect(DatabaseStep::Observe { look_for: Some(token(n as u64)) });
    }
    let asked = questions() - before - own;
    a.sql("SET GLOBAL general_log=OFF");
    // A temporary table in a folder that servers share kills the server when another one starts.
    assert_eq!(status(&a, "Created_tmp_disk_tables"), on_disk);
    // The server counts the statements of a text, and logs a text whole when it comes.
    // Now and then one is about the log's end.
    let least = OBSERVATIONS * STATEMENTS;
    assert!((least..least + OBSERVATIONS / 2).contains(&asked), "{asked} for {least}");
    let whole = "SELECT COUNT(*) FROM mysql.general_log WHERE command_type='Query' \
        AND argument LIKE 'SELECT @@global.read_only AS read_only,%; %FROM regent.marker WHERE token=%'";
    assert_eq!(a.sql(whole), OBSERVATIONS.to_string());
}

/// So often it is looked, with so many statements each: the facts' and the marker's.
const OBSERVATIONS: usize = 20;
const STATEMENTS: usize = 4;

fn status(node: &mariadb_lab::Node, name: &str) -> usize {
    let row = node.sql(&format!("SHOW GLOBAL STATUS LIKE '{name}'"));
    row.split_whitespace().last().and_then(|n| n.parse().ok()).expect("a count")
}

#[test]
fn a_receiver_stops_in_no_time_towards_a_silent_writer() {
    if !ready("a_receiver_stops_in_no_time_towards_a_silent_writer") {
        return;
    }
    let [a, b] = pair("silent");
    a.found(11);
    b.join(&a, 21);
    a.expect(DatabaseStep::Strict);
    a.expect(DatabaseStep::Marker { token: token(1) });
    // The machine may be busy with other tests: the best of three. Without the cut-off each takes a second.
    let mut stopped = Vec::new();
    let mut begun = Instant::now();
    for round in 0..3 {
        if round > 0 {
            a.signal("-CONT");
            b.expect(DatabaseStep::StartReceiver);
            b.await_facts("receiving", |f| f.receiver == Thread::Running);
        }
        a.signal("-STOP");
        begun = Instant::now();
        let facts = b.expect(DatabaseStep::StopReceiver);
        stopped.push(begun.elapsed());
        assert_eq!((facts.receiver, facts.broken), (Thread::Stopped, false));
    }
    b.await_facts("drained", |f| f.drained);
    let facts = b.expect(DatabaseStep::Keep { incarnation: Incarnation(21), mark: false });
    assert!(!facts.mark && !facts.broken && facts.drained && facts.source == Some(a.id()));
    let facts = b.expect(DatabaseStep::EndFollowing);
    assert!(facts.drained && facts.strict && facts.read_only && facts.source.is_none());
    assert!(!facts.broken);
    b.expect(DatabaseStep::Loose);
    b.expect(DatabaseStep::Writable);
    let promoted = begun.elapsed();
    eprintln!("receiver stopped after {stopped:?}, writable after {promoted:?}");
    assert!(stopped.iter().any(|t| *t < Duration::from_millis(100)), "{stopped:?}");
    b.expect(DatabaseStep::Marker { token: token(2) });
    assert_eq!(b.sql("SELECT COUNT(*) FROM regent.marker"), "2");
    // Its own server id, not the writer's and not the file's.
    let id = b.sql("SELECT @@global.server_id");
    assert!(b.sql("SELECT @@global.gtid_binlog_pos").contains(&format!("-{id}-")));
    wait_until("the source forgotten", || b.sql("SHOW SLAVE STATUS").is_empty());
    a.signal("-CONT");
}

/// The writer's host is gone: no answer to a SYN. In a network namespace of its own, where packets can be dropped.
#[test]
fn a_receiver_stops_in_no_time_towards_a_host_that_is_gone() {
    const NAME: &str = "a_receiver_stops_in_no_time_towards_a_host_that_is_gone";
    const INSIDE: &str = "RGDB_NETNS";
    if !ready(NAME) {
        return;
    }
    let run = |program: &str, arguments: &[&str]| {
        std::process::Command::new(program).args(arguments).status().is_ok_and(|s| s.success())
    };
    if std::env::var_os(INSIDE).is_none() {
        if !run("unshare", &["-n", "nft", "list", "ruleset"]) {
            return skipped(&format!("{NAME}: needs unshare and nft"));
        }
        let again = std::process::Command::new("unshare")
            .arg("-n")
            .arg(std::env::current_exe().expect("this binary"))
            .args(["--exact", NAME, "--nocapture"])
            .env(INSIDE, "1")
            .status();
        return assert!(again.expect("unshare").success());
    }
    assert!(run("ip", &["link", "set", "lo", "up"]));
    let [a, b] = pair("gone");
    a.found(11);
    b.join(&a, 21);
    b.await_facts("receiving", |f| f.receiver == Thread::Running);
    let port = a.settings().nodes[0].port;
    let rules = format!(
        "add table inet gone; add chain inet gone out {{ type filter hook output priority 0; }}; \
         add rule inet gone out tcp dport {port} drop; add rule inet gone out tcp sport {port} drop"
    );
    assert!(run("nft", &[&rules]));
    let begun = Instant::now();
    let facts = b.expect(DatabaseStep::StopReceiver);
    let stopped = begun.elapsed();
    eprintln!("receiver stopped after {stopped:?}");
    assert_eq!((facts.receiver, facts.broken), (Thread::Stopped, false));
    assert!(stopped < Duration::from_millis(500), "{stopped:?}");
}

#[test]
fn whatever_else_touches_the_threads_ends_the_incarnation() {
    if !ready("whatever_else_touches_the_threads_ends_the_incarnation") {
        return;
    }
    let [a, b] = pair("touch");
    a.found(11);
    b.join(&a, 21);
    // Our own stops and starts do not, over any number of workers.
    b.expect(DatabaseStep::StopReceiver);
    b.kill_worker();
    b.start_worker();
    assert!(!b.expect(DatabaseStep::TakeControl).broken);
    assert!(!b.expect(DatabaseStep::StartReceiver).broken);
    // Somebody else's do.
    b.sql("STOP SLAVE IO_THREAD; START SLAVE IO_THREAD");
    assert!(b.facts().broken);
    let (result, _) = b.step(DatabaseStep::Follow { writer: a.copy() });
    assert!(matches!(result, StepResult::Failed(_)), "{result:?}");
    // The same name again forgives nothing; a new one begins anew.
    assert!(b.expect(DatabaseStep::Keep { incarnation: Incarnation(21), mark: true }).broken);
    assert!(!b.expect(DatabaseStep::Keep { incarnation: Incarnation(22), mark: true }).broken);
    b.expect(DatabaseStep::Follow { writer: a.copy() });
    assert!(!b.facts().broken);
    // An applier that fails leaves the receiver at work; both stopped end it.
    b.sql("SET sql_log_bin=0; INSERT INTO regent.marker (token) VALUES ('1-0000000000000002-0000000000000003-7')");
    a.expect(DatabaseStep::Marker { token: token(7) });
    let facts = b.await_facts("failed", |f| matches!(f.applier, Thread::Failed(_)));
    assert!(!facts.broken && !facts.drained && facts.receiver == Thread::Running);
    let facts = b.expect(DatabaseStep::StopReceiver);
    assert!(facts.broken && !facts.drained);
    b.sql("SET sql_log_bin=0; DELETE FROM regent.marker");
    b.expect(DatabaseStep::Keep { incarnation: Incarnation(24), mark: true });
    b.expect(DatabaseStep::Follow { writer: a.copy() });
    assert!(!b.await_facts("applied", |f| f.applied == a.facts().end).broken);
    // Another start of the server does, too; and its receiver is not started by itself.
    b.crash();
    let (result, facts) = b.step(DatabaseStep::Observe { look_for: None });
    assert_eq!((result, facts), (StepResult::Down, None));
    let facts = b.expect(DatabaseStep::TakeControl);
    assert!(facts.broken && facts.mark && facts.read_only && facts.strict && !facts.drained);
    assert_eq!(facts.receiver, Thread::Stopped);
    let (result, _) = b.step(DatabaseStep::StartReceiver);
    assert!(matches!(result, StepResult::Failed(_)), "{result:?}");
    // A data directory put back to an older copy has no name at all.
    let keep = b.settings().datadir.join("regent.keep");
    let old = std::fs::read(&keep).expect("kept");
    b.expect(DatabaseStep::Keep { incarnation: Incarnation(23), mark: true });
    std::fs::write(&keep, old).expect("restored");
    let facts = b.facts();
    assert_eq!((facts.incarnation, facts.mark), (None, true));
}

#[test]
fn a_dead_workers_statement_is_ended_before_modes_are_read() {
    if !ready("a_dead_workers_statement_is_ended_before_modes_are_read") {
        return;
    }
    let [a, _b] = pair("handover");
    a.found(11);
    a.sql("CREATE DATABASE app; CREATE TABLE app.t (a INT PRIMARY KEY)");
    a.expect(DatabaseStep::Strict);
    // A commit that waits holds read-only up; the worker dies with that statement under way.
    let mut writer = a.sql_in_background("INSERT INTO app.t VALUES (1)");
    a.await_facts("waiting", |f| f.waiting == 1);
    let lost = a.send(DatabaseStep::ReadOnly);
    let blocked =
        "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SET STATEMENT max%'";
    wait_until("under way", || a.sql(blocked) == "1");
    a.kill_worker();
    assert!(lost.recv().is_err());
    assert_eq!(a.sql(blocked), "1", "a statement outlives its client");
    a.start_worker();
    let facts = a.expect(DatabaseStep::TakeControl);
    assert_eq!(a.sql(blocked), "0");
    assert!(!facts.read_only && facts.strict && facts.waiting == 1 && facts.unconfirmed == 0);
    assert!(writer.try_wait().expect("asked").is_none(), "no wait was ended");
    // The lock is this worker's now, and its alone.
    assert_eq!(a.sql("SELECT GET_LOCK('regent', 0)"), "0");
    a.expect(DatabaseStep::Loose);
    assert!(writer.wait().expect("ended").success());
}

#[test]
fn a_server_that_hangs_gives_no_answer_and_one_that_is_dead_is_down() {
    if !ready("a_server_that_hangs_gives_no_answer_and_one_that_is_dead_is_down") {
        return;
    }
    let [a, _b] = pair("hang");
    a.found(11);
    a.signal("-STOP");
    let begun = Instant::now();
    assert_eq!(a.step(DatabaseStep::Writable), (StepResult::NoAnswer, None));
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    // What was sent may still act: nothing is read before control is taken anew.
    assert_eq!(a.step(DatabaseStep::Observe { look_for: None }).0, StepResult::Down);
    a.signal("-CONT");
    let facts = a.expect(DatabaseStep::TakeControl);
    assert!(!facts.read_only);
    let start = facts.start;
    a.kill();
    assert_eq!(a.step(DatabaseStep::Observe { look_for: None }), (StepResult::Down, None));
    a.start();
    let facts = a.expect(DatabaseStep::TakeControl);
    assert!(facts.read_only && facts.strict && facts.start != start);
    assert_eq!((facts.incarnation, facts.broken), (Some(Incarnation(11)), false));
    // The server id of the incarnation again, not the file's.
    assert_ne!(a.sql("SELECT @@global.server_id"), "1");
    assert_eq!(a.id(), NodeId(1));
}

/// Four clients that write until they have written this many rows each.
const WRITERS: usize = 4;
const ROWS: usize = 800;

/// How many commits were confirmed, and how many ended their wait otherwise.
fn confirmations(node: &mariadb_lab::Node) -> [usize; 2] {
    ["yes", "no"].map(|kind| status(node, &format!("Rpl_semi_sync_master_{kind}_tx")))
}

/// Strict is asked for until it is done: commits that are under way may hold it up for a moment.
fn strict_at_last(node: &mariadb_lab::Node) -> DatabaseFacts {
    let asked = Instant::now();
    loop {
        match node.step(DatabaseStep::Strict) {
            (StepResult::Done, facts) => return facts.expect("facts"),
            (result, _) => assert!(matches!(result, StepResult::Failed(_)), "{result:?}"),
        }
        assert!(asked.elapsed() < Duration::from_secs(60), "it does not turn strict");
    }
}

/// Settings are put wrong behind a strict writer's back, again and again; each time strict mends them. While the
/// master side is off no commit is counted at all, so every commit must be among the confirmed.
fn mend_under_load(name: &str, wrong: &[&str]) {
    let [a, b] = pair(name);
    a.found(11);
    a.sql("CREATE DATABASE app; CREATE TABLE app.t (a INT AUTO_INCREMENT PRIMARY KEY, b TEXT)");
    b.join(&a, 21);
    b.await_facts("receiving", |f| f.receiver == Thread::Running);
    a.expect(DatabaseStep::Strict);
    a.expect(DatabaseStep::Marker { token: token(1) });
    let before = confirmations(&a);
    let text = "INSERT INTO app.t (b) VALUES ('confirmed');".repeat(ROWS);
    let mut writers: Vec<_> = (0..WRITERS).map(|_| a.sql_in_background(&text)).collect();
    let mut mended = 0;
    while writers.iter_mut().any(|w| w.try_wait().expect("asked").is_none()) {
        for text in wrong {
            a.sql(text);
            strict_at_last(&a);
            mended += 1;
        }
    }
    for mut writer in writers {
        assert!(writer.wait().expect("ended").success());
    }
    let after = confirmations(&a);
    eprintln!("{mended} times mended, confirmed and not: {before:?} to {after:?}");
    assert!(mended >= 5, "mended only {mended} times under load");
    assert_eq!(after, [before[0] + WRITERS * ROWS, before[1]]);
}

#[test]
fn strict_mends_a_finite_timeout_and_lets_no_commit_pass_unconfirmed() {
    if !ready("strict_mends_a_finite_timeout_and_lets_no_commit_pass_unconfirmed") {
        return;
    }
    let wrong = [
        "SET GLOBAL rpl_semi_sync_master_timeout=600000",
        "SET GLOBAL rpl_semi_sync_master_wait_no_slave=OFF",
    ];
    mend_under_load("mend", &wrong);
}

#[test]
fn strict_mends_the_wait_point_and_lets_no_commit_pass_unconfirmed() {
    if !ready("strict_mends_the_wait_point_and_lets_no_commit_pass_unconfirmed") {
        return;
    }
    // With commits kept out: else one under way waits at both points, and is confirmed at the first only.
    let wrong = "FLUSH TABLES WITH READ LOCK; SET GLOBAL rpl_semi_sync_master_wait_point=AFTER_COMMIT; \
        UNLOCK TABLES";
    mend_under_load("point", &[wrong]);
}

/// A timeout ran out under it: the master side is on, and nobody waits. The way back leads over off.
#[test]
fn strict_is_armed_again_after_a_timeout_with_commits_kept_out_meanwhile() {
    if !ready("strict_is_armed_again_after_a_timeout_with_commits_kept_out_meanwhile") {
        return;
    }
    let [a, _b] = pair("rearm");
    a.found(11);
    a.sql("CREATE DATABASE app; CREATE TABLE app.t (a INT PRIMARY KEY)");
    a.expect(DatabaseStep::Strict);
    a.sql("SET GLOBAL rpl_semi_sync_master_timeout=1; INSERT INTO app.t VALUES (1)");
    assert!(!a.facts().strict);
    let facts = strict_at_last(&a);
    assert!(facts.strict && !facts.read_only);
    assert_eq!(facts.unconfirmed, 1);
    // Nobody is kept out for longer: a commit waits for the replica, not for a lock.
    let mut writer = a.sql_in_background("INSERT INTO app.t VALUES (2)");
    a.await_facts("waiting", |f| f.waiting == 1);
    // While it waits, nothing that would let it go is done.
    a.sql("SET GLOBAL rpl_semi_sync_master_wait_point=AFTER_COMMIT");
    let (result, facts) = a.step(DatabaseStep::Strict);
    assert!(matches!(result, StepResult::Failed(_)), "{result:?}");
    assert_eq!(facts.map(|f| (f.waiting, f.unconfirmed)), Some((1, 1)));
    assert!(writer.try_wait().expect("asked").is_none());
    // A timeout and the wait without a replica are mended even so.
    let wrong = "SET GLOBAL rpl_semi_sync_master_wait_point=AFTER_SYNC; \
        SET GLOBAL rpl_semi_sync_master_timeout=600000; SET GLOBAL rpl_semi_sync_master_wait_no_slave=OFF";
    a.sql(wrong);
    let facts = a.expect(DatabaseStep::Strict);
    assert_eq!((facts.strict, facts.waiting, facts.unconfirmed), (true, 1, 1));
    a.expect(DatabaseStep::Loose);
    assert!(writer.wait().expect("ended").success());
}

#[test]
fn a_replica_that_somebody_attached_beside_the_follower_is_named() {
    if !ready("a_replica_that_somebody_attached_beside_the_follower_is_named") {
        return;
    }
    let [a, b] = pair("attached");
    a.found(11);
    b.join(&a, 21);
    a.sql("CREATE USER backup@'%' IDENTIFIED BY 'secret'; GRANT REPLICATION SLAVE ON *.* TO backup@'%'");
    a.await_facts("the follower confirms", |facts| {
        facts.confirming == 1 && facts.others.is_empty()
    });
    assert!(b.facts().confirms);
    // A second receiver, of another server id and another account: to the writer it is another replica.
    let port = a.settings().nodes[0].port;
    b.sql(&format!(
        "SET GLOBAL server_id=4711; \
         CHANGE MASTER 'other' TO MASTER_HOST='localhost', MASTER_PORT={port}, \
         MASTER_USER='backup', MASTER_PASSWORD='secret'; START SLAVE 'other' IO_THREAD"
    ));
    let facts = a.await_facts("another one confirms", |facts| facts.confirming == 2);
    assert_eq!(facts.others.len(), 1, "{:?}", facts.others);
    assert!(facts.others[0].starts_with("backup@"), "{:?}", facts.others);
    b.sql("STOP SLAVE 'other'; RESET SLAVE 'other' ALL");
    a.await_facts("it is gone", |facts| facts.confirming == 1 && facts.others.is_empty());
}

#[test]
fn the_replication_account_comes_from_members_addresses_and_from_nowhere_else() {
    if !ready("the_replication_account_comes_from_members_addresses_and_from_nowhere_else") {
        return;
    }
    let [a, b] = pair("account");
    a.found(11);
    let hosts = "SELECT GROUP_CONCAT(Host) FROM mysql.global_priv WHERE User='regent_repl'";
    wait_until("the account made", || a.sql(hosts) == "127.0.0.1");
    // As an older release made it.
    a.sql("CREATE USER regent_repl@'%' IDENTIFIED BY 'old'; GRANT REPLICATION SLAVE ON *.* TO regent_repl@'%'");
    b.join(&a, 21);
    a.await_facts("the follower confirms", |facts| facts.confirming == 1);
    let end = a.sql("SELECT @@gtid_binlog_pos");
    a.expect(DatabaseStep::ReadOnly);
    a.expect(DatabaseStep::Writable);
    wait_until("the old one gone", || a.sql(hosts) == "127.0.0.1");
    assert_eq!(a.sql("SELECT @@gtid_binlog_pos"), end, "definitions of accounts wait for nobody");
    a.await_facts("whoever was attached is", |facts| facts.confirming == 1);
}
