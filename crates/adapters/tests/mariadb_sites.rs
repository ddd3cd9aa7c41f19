//! What real sites do with a real server, and what the worker makes of it: rows written on the standby by hand, events,
//! locks of backups and of readers.

mod mariadb_lab;

use mariadb_lab::{Node, ROOT_PASSWORD, pair, ready, token, wait_until};
use regent_core::command::{DatabaseStep, Lineage, StepResult};
use regent_core::id::Incarnation;
use regent_core::observe::{DatabaseFacts, Thread};

#[test]
#[ignore = "not a test: the worker's process"]
fn worker_process() {
    mariadb_lab::worker_process();
}

/// A writes and is strict, B follows and has everything.
fn in_sync(a: &Node, b: &Node) {
    a.found(11);
    a.sql("CREATE DATABASE app; CREATE TABLE app.t (a INT PRIMARY KEY, b TEXT)");
    a.sql("INSERT INTO app.t VALUES (1, 'one')");
    b.join(a, 21);
    a.expect(DatabaseStep::Strict);
    a.expect(DatabaseStep::Marker { token: token(1) });
    let end = a.facts().end;
    b.await_facts("in sync", |f| f.applied == end);
}

/// The writer's place goes to its follower, as in a planned move.
fn switch(from: &Node, to: &Node, name: u64) {
    let end = from.expect(DatabaseStep::ReadOnly).end;
    to.await_facts("at the end", |f| f.applied == end);
    to.expect(DatabaseStep::StopReceiver);
    to.await_facts("drained", |f| f.drained);
    let incarnation = to.facts().incarnation.expect("named");
    to.expect(DatabaseStep::Keep { incarnation, mark: false });
    to.expect(DatabaseStep::EndFollowing);
    to.expect(DatabaseStep::Loose);
    to.expect(DatabaseStep::Writable);
    to.await_making();
    from.expect(DatabaseStep::Keep { incarnation: Incarnation(name), mark: true });
    from.expect(DatabaseStep::Follow { writer: to.copy() });
    from.await_facts("receiving", |f| f.receiver == Thread::Running);
}

#[test]
fn a_row_written_on_the_standby_by_hand_is_undone_in_place_and_it_follows_again() {
    if !ready("a_row_written_on_the_standby_by_hand_is_undone_in_place_and_it_follows_again") {
        return;
    }
    let [a, b] = pair("errant");
    in_sync(&a, &b);
    for round in 0..2u64 {
        b.sql(&format!("INSERT INTO app.t VALUES ({}, 'errant')", 100 + round));
        a.expect(DatabaseStep::Loose);
        a.sql(&format!("INSERT INTO app.t VALUES ({}, 'acknowledged')", 2 + round));
        b.await_facts("stopped by it", |f| matches!(f.applier, Thread::Failed(_)));
        let writer = a.copy();
        let found = b.step(DatabaseStep::Compare { writer }).0;
        assert_eq!(
            found,
            StepResult::Lineage(Lineage::Tail { count: 1, rewindable: true }),
            "round {round}"
        );
        b.expect_any(DatabaseStep::SaveTail { writer });
        let incarnation = Incarnation(31 + round);
        b.expect(DatabaseStep::Keep { incarnation, mark: true });
        b.expect(DatabaseStep::Rewind { writer });
        b.expect(DatabaseStep::Follow { writer });
        a.expect(DatabaseStep::Strict);
        a.expect(DatabaseStep::Marker { token: token(10 + round) });
        let end = a.facts().end;
        let facts = b.await_facts("in sync again", |f| f.applied == end);
        assert!(facts.receiver == Thread::Running && facts.applier == Thread::Running);
        assert_eq!(b.content("app"), a.content("app"));
    }
}

#[test]
fn events_run_on_the_writer_and_nowhere_else_after_any_number_of_moves() {
    if !ready("events_run_on_the_writer_and_nowhere_else_after_any_number_of_moves") {
        return;
    }
    let [a, b] = pair("events");
    in_sync(&a, &b);
    a.sql("CREATE TABLE app.beats (n INT AUTO_INCREMENT PRIMARY KEY, of INT UNSIGNED)");
    a.sql("SET GLOBAL event_scheduler=ON");
    a.sql("CREATE EVENT app.beat ON SCHEDULE EVERY 1 SECOND DO INSERT INTO app.beats (of) VALUES (@@server_id)");
    a.sql("CREATE EVENT app.off ON SCHEDULE EVERY 1 SECOND DISABLE DO INSERT INTO app.beats (of) VALUES (1)");
    let beats = |node: &Node| {
        let look = "SELECT COUNT(*) FROM app.beats WHERE of=@@server_id";
        node.sql(look).parse::<u64>().expect("a number")
    };
    let scheduler = |node: &Node| node.sql("SELECT @@global.event_scheduler");
    wait_until("the event runs", || beats(&a) > 0);
    let noted = "SELECT COUNT(*) FROM information_schema.tables WHERE table_name='event_off'";
    wait_until("noted which one is off", || {
        a.facts();
        a.sql(noted) == "1" && a.sql("SELECT name FROM regent.event_off") == "off"
    });
    let (mut writer, mut other) = (&a, &b);
    for round in 0..3 {
        switch(writer, other, 41 + round);
        (writer, other) = (other, writer);
        let before = beats(writer);
        wait_until("the event runs on the new writer", || beats(writer) > before);
        assert_eq!((scheduler(writer).as_str(), scheduler(other).as_str()), ("ON", "OFF"));
        let status = "SELECT status FROM mysql.event WHERE name='off'";
        assert_eq!(writer.sql(status), "DISABLED", "what the site switched off stays off");
        writer.expect(DatabaseStep::Strict);
        writer.expect(DatabaseStep::Marker { token: token(20 + round) });
        let facts = other.facts();
        assert_eq!((facts.receiver, facts.applier), (Thread::Running, Thread::Running));
    }
    let foreign = "SELECT COUNT(*) FROM app.beats WHERE of=1";
    assert_eq!(writer.sql(foreign), "0");
}

#[test]
fn a_session_that_keeps_writers_out_is_named_and_ended_if_it_has_nothing_open() {
    if !ready("a_session_that_keeps_writers_out_is_named_and_ended_if_it_has_nothing_open") {
        return;
    }
    let [a, b] = pair("ftwrl");
    in_sync(&a, &b);
    let mut backup = a.sql_in_background("FLUSH TABLES WITH READ LOCK; SELECT SLEEP(600)");
    let held = "SELECT COUNT(*) FROM information_schema.METADATA_LOCK_INFO WHERE LOCK_MODE LIKE 'MDL_BACKUP_FTWRL%'";
    wait_until("the lock is held", || a.sql(held) == "1");
    let mut writer = a.sql_in_background("INSERT INTO app.t VALUES (2, 'waits for the lock')");
    let facts = a.await_facts("named", |f| f.locked.is_some());
    let locked = facts.locked.expect("named");
    assert!(locked.session > 0 && locked.who.starts_with("root@"), "{locked:?}");
    assert!(locked.what.contains("FLUSH TABLES WITH READ LOCK"), "{locked:?}");

    // Another session is left alone, and one that is gone is none to end.
    a.expect(DatabaseStep::EndSession { session: locked.session + 1000 });
    assert!(backup.try_wait().expect("asked").is_none());
    a.expect(DatabaseStep::EndSession { session: locked.session });
    assert!(!backup.wait().expect("ended").success());
    assert!(writer.wait().expect("ended").success(), "the write goes on and is acknowledged");
    a.await_facts("free", |f| f.locked.is_none());
    let end = a.facts().end;
    b.await_facts("confirmed", |f| f.applied == end);
    assert_eq!(a.facts().unconfirmed, 0, "D9: nobody's wait was ended");
}

#[test]
fn whoever_holds_up_the_applier_of_an_heir_is_named_and_ended() {
    if !ready("whoever_holds_up_the_applier_of_an_heir_is_named_and_ended") {
        return;
    }
    let [a, b] = pair("applier");
    in_sync(&a, &b);
    // A reader against a definition; a backup; rows that somebody locked.
    let holders = [
        (
            "BEGIN; SELECT * FROM app.t; SELECT SLEEP(601)",
            "ALTER TABLE app.t ADD COLUMN c INT",
            "app.t",
        ),
        (
            "FLUSH TABLES WITH READ LOCK; SELECT SLEEP(602)",
            "INSERT INTO app.t (a) VALUES (50)",
            "backup",
        ),
        (
            "BEGIN; SELECT * FROM app.t WHERE a=1 FOR UPDATE; SELECT SLEEP(603)",
            "UPDATE app.t SET b='two' WHERE a=1",
            "rows",
        ),
    ];
    for (round, (holder, statement, what)) in (1..).zip(holders) {
        let mut child = b.sql_in_background(holder);
        let last = holder.rsplit_once("; ").expect("statements").1;
        let sleeps = format!(
            "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE='User sleep' AND INFO='{last}'"
        );
        wait_until("the lock is held", || b.sql(&sleeps) == "1");
        a.sql(statement);
        let facts = b.await_facts("named", |f| f.locked.is_some());
        let locked = facts.locked.expect("named");
        assert!(locked.session > 0 && locked.what.contains(what), "{what}: {locked:?}");
        b.await_facts("known to be late", |f| f.behind.is_some());
        // And by how much.
        a.sql(&format!(
            "USE app; INSERT INTO t (a, b) SELECT seq, REPEAT('x', 60000) FROM seq_{}_to_{}",
            round * 100,
            round * 100 + 60
        ));
        b.await_facts("known how much waits", |f| (3..10).contains(&f.backlog));
        b.expect(DatabaseStep::EndSession { session: locked.session });
        assert!(!child.wait().expect("ended").success());
        let end = a.facts().end;
        b.await_facts("applied", |f| f.applied == end);
    }
}

#[test]
fn a_source_that_is_not_reached_is_told_with_the_servers_own_words() {
    if !ready("a_source_that_is_not_reached_is_told_with_the_servers_own_words") {
        return;
    }
    let [a, b] = pair("unreached");
    in_sync(&a, &b);
    a.kill();
    let facts = b.await_facts("told", |f| f.unreached.is_some());
    let why = facts.unreached.expect("told");
    assert!(facts.receiver == Thread::Connecting && why.contains("connect"), "{why}");
}

#[test]
fn what_a_site_does_to_roots_account_shuts_nobody_out() {
    if !ready("what_a_site_does_to_roots_account_shuts_nobody_out") {
        return;
    }
    let [a, b] = pair("root");
    in_sync(&a, &b);
    let own = "SELECT COUNT(*) FROM mysql.global_priv WHERE user='regent' AND host='localhost'";
    for node in [&a, &b] {
        wait_until("its own account", || {
            node.facts();
            node.sql(own) == "1"
        });
    }
    let lock = format!(
        "ALTER USER root@localhost IDENTIFIED VIA mysql_native_password USING PASSWORD(\"{ROOT_PASSWORD}\")"
    );
    a.sql(&lock);
    let end = a.facts().end;
    b.await_facts("the same there", |f| f.applied == end);
    // Every way that needs to sign in anew: a restart, a worker, a tail that is undone, a copy, a move.
    b.crash();
    b.expect(DatabaseStep::TakeControl);
    b.expect(DatabaseStep::Keep { incarnation: Incarnation(22), mark: true });
    b.expect(DatabaseStep::Follow { writer: a.copy() });
    a.expect(DatabaseStep::Marker { token: token(2) });
    a.kill_worker();
    a.start_worker();
    a.expect(DatabaseStep::TakeControl);
    b.sql("INSERT INTO app.t VALUES (100, 'errant')");
    a.expect(DatabaseStep::Loose);
    a.sql("INSERT INTO app.t VALUES (2, 'acknowledged')");
    b.await_facts("stopped by it", |f| matches!(f.applier, Thread::Failed(_)));
    let writer = a.copy();
    b.expect_any(DatabaseStep::Compare { writer });
    b.expect_any(DatabaseStep::SaveTail { writer });
    b.expect(DatabaseStep::Keep { incarnation: Incarnation(23), mark: true });
    b.expect(DatabaseStep::Rewind { writer });
    b.expect(DatabaseStep::Reclone { writer, incarnation: Incarnation(24) });
    b.expect(DatabaseStep::Follow { writer });
    a.expect(DatabaseStep::Strict);
    a.expect(DatabaseStep::Marker { token: token(3) });
    let end = a.facts().end;
    b.await_facts("in sync", |f| f.applied == end);
    switch(&a, &b, 25);
    assert_eq!(a.content("app"), b.content("app"));

    // Dropped, or with another password: made anew before anybody needs it.
    for deed in ["DROP USER regent@localhost", "ALTER USER regent@localhost IDENTIFIED BY 'x'"] {
        b.sql(&format!("SET sql_log_bin=0; {deed}"));
        let told = b.events().len();
        wait_until("made anew", || {
            b.facts();
            b.events()[told..].iter().any(|event| event.contains("regent@localhost is made"))
        });
    }
    b.crash();
    b.expect(DatabaseStep::TakeControl);
    assert_eq!(b.facts().shut_out, None);
}

#[test]
fn sessions_from_before_a_name_was_drawn_write_under_no_other_server_id() {
    if !ready("sessions_from_before_a_name_was_drawn_write_under_no_other_server_id") {
        return;
    }
    let [a, b] = pair("sessions");
    a.expect(DatabaseStep::TakeControl);
    // As a pool of the product on this very host that came in before the agent did.
    let mut pool = a.sql_in_background("SELECT SLEEP(600)");
    wait_until("it is in", || a.sql("SHOW PROCESSLIST").contains("SLEEP(600)"));
    in_sync(&a, &b);
    assert!(!pool.wait().expect("ended").success(), "it would go on under the old server id");
    let id = a.sql("SELECT @@global.server_id");
    let end = a.facts().end.0;
    assert_eq!(end.split('-').nth(1), Some(id.as_str()), "the marker, too: {end}");
    // The same again changes nothing, and ends nobody.
    let mut pool = b.sql_in_background("SELECT SLEEP(600)");
    wait_until("it is in", || b.sql("SHOW PROCESSLIST").contains("SLEEP(600)"));
    b.kill_worker();
    b.start_worker();
    b.expect(DatabaseStep::TakeControl);
    assert!(pool.try_wait().expect("asked").is_none());
    // A new name ends it.
    b.expect(DatabaseStep::Keep { incarnation: Incarnation(31), mark: true });
    assert!(!pool.wait().expect("ended").success());
}

#[test]
fn settings_that_somebody_changes_are_told_and_the_server_id_is_set_again() {
    if !ready("settings_that_somebody_changes_are_told_and_the_server_id_is_set_again") {
        return;
    }
    let [a, b] = pair("drift");
    in_sync(&a, &b);
    // These servers are bound to loopback, which is wrong on a real node, and told.
    let drift = |facts: &DatabaseFacts| {
        let mut drift = facts.drift.to_vec();
        drift.retain(|text| !text.starts_with("bind_address=127.0.0.1"));
        drift
    };
    assert_eq!(drift(&a.facts()), Vec::<String>::new(), "as it is shipped");
    let id = a.sql("SELECT @@global.server_id");
    a.sql("SET GLOBAL sync_binlog=0; SET GLOBAL gtid_domain_id=5; SET GLOBAL server_id=77");
    let facts = a.await_facts("told", |f| drift(f).len() == 2);
    let told = |name: &str| facts.drift.iter().any(|text| text.starts_with(name));
    assert!(told("sync_binlog=0, and must be 1") && told("gtid_domain_id=5, and must be 0"));
    wait_until("the id is set again", || a.sql("SELECT @@global.server_id") == id);
    a.sql("SET GLOBAL sync_binlog=1; SET GLOBAL gtid_domain_id=0");
    a.await_facts("well again", |f| drift(f).is_empty());
}

/// Error 1419 without the setting of our file (D1): a product's account has no SUPER, and must not have it.
#[test]
fn a_products_account_makes_functions_and_triggers_that_are_replicated() {
    if !ready("a_products_account_makes_functions_and_triggers_that_are_replicated") {
        return;
    }
    let [a, b] = pair("definitions");
    a.found(11);
    a.sql(
        "CREATE DATABASE app; CREATE TABLE app.t (a INT PRIMARY KEY, b INT); \
           CREATE USER product@localhost; GRANT ALL ON app.* TO product@localhost",
    );
    b.join(&a, 21);
    let product = |text: &str| {
        let output = std::process::Command::new("mariadb")
            .args(["--no-defaults", "--user=product", "--batch", "--skip-column-names", "-e", text])
            .arg(format!("--socket={}", a.settings().socket.display()))
            .output()
            .expect("mariadb");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{text}: {said}");
    };
    product("CREATE FUNCTION app.twice(n INT) RETURNS INT RETURN n * 2");
    product(
        "CREATE TRIGGER app.doubled BEFORE INSERT ON app.t FOR EACH ROW SET NEW.b = app.twice(NEW.a)",
    );
    product("INSERT INTO app.t (a) VALUES (21)");
    wait_until("replicated", || b.sql("SELECT b FROM app.t") == "42");
    assert_eq!(b.sql("SELECT app.twice(4)"), "8");
    // What the writer did is not done a second time by the trigger of the standby.
    assert_eq!(a.content("app"), b.content("app"));
}
