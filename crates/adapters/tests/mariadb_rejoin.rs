//! The way back of a returned node on real servers: lineage by exact look-up, the tail saved, counted and undone, or a
//! fresh copy (D8, S6).

mod mariadb_lab;

use mariadb_lab::{Node, pair, ready, token, wait_until};
use regent_core::command::{DatabaseStep, Lineage, SavedTail, StepResult};
use regent_core::id::Incarnation;
use regent_core::observe::Thread;
use regent_core::state::DataCopy;
use std::path::Path;
use std::time::Instant;

#[test]
#[ignore = "not a test: the worker's process"]
fn worker_process() {
    mariadb_lab::worker_process();
}

/// A writes and B follows; B's receiver stops, A's last statements wait for it; A is killed, B takes over and writes.
/// A is up again at rest, with its tail.
fn diverge(a: &Node, b: &Node, tail: &[&str]) {
    a.found(11);
    a.sql(
        "CREATE DATABASE app; CREATE TABLE app.t (a INT PRIMARY KEY, b TEXT); \
         CREATE TABLE app.u (a INT PRIMARY KEY, b DECIMAL(10,3), c BLOB, KEY (b))",
    );
    a.sql("INSERT INTO app.t VALUES (1, 'one'), (2, 'two'), (3, 'three')");
    a.sql("INSERT INTO app.u VALUES (1, 1.5, x'00ff'), (2, NULL, NULL)");
    b.join(a, 21);
    a.expect(DatabaseStep::Strict);
    a.expect(DatabaseStep::Marker { token: token(1) });
    a.sql("FLUSH BINARY LOGS; INSERT INTO app.t VALUES (4, 'confirmed')");
    b.expect(DatabaseStep::StopReceiver);
    let before = a.facts().end;
    let mut writers: Vec<_> = tail.iter().map(|text| a.sql_in_background(text)).collect();
    a.await_facts("with a tail", |f| f.waiting >= 1 && f.end != before);
    // Each statement stands in the log when it waits; the later ones queue behind the first.
    wait_until("all in the log", || commits_since(a) >= tail.len());
    a.kill();
    for writer in &mut writers {
        assert!(!writer.wait().expect("ended").success(), "nobody was told that it is done");
    }
    b.await_facts("drained", |f| f.drained);
    b.expect(DatabaseStep::EndFollowing);
    b.expect(DatabaseStep::Keep { incarnation: Incarnation(21), mark: false });
    b.expect(DatabaseStep::Loose);
    b.expect(DatabaseStep::Writable);
    b.sql("INSERT INTO app.t VALUES (10, 'of the new writer')");
    a.start();
    let facts = a.expect(DatabaseStep::TakeControl);
    assert!(facts.read_only && facts.strict && !facts.mark);
}

/// Sessions of this server that wait in a commit.
fn commits_since(node: &Node) -> usize {
    let look = "SELECT COUNT(*) FROM information_schema.processlist WHERE user='root' AND db IS NULL \
        AND command='Query' AND (info LIKE '%app.%') AND id<>CONNECTION_ID()";
    node.sql(look).parse().expect("a number")
}

fn compare(node: &Node, writer: &Node, incarnation: u64) -> StepResult {
    let writer = DataCopy { node: writer.id(), incarnation: Incarnation(incarnation) };
    node.step(DatabaseStep::Compare { writer }).0
}

fn save(node: &Node, writer: &Node) -> SavedTail {
    let result = node.step(DatabaseStep::SaveTail { writer: writer.copy() }).0;
    let StepResult::Saved(saved) = result else { panic!("not saved: {result:?}") };
    saved
}

/// Follows, receives what the writer writes, and has the same content.
fn expect_in_sync(follower: &Node, writer: &Node) {
    follower.expect(DatabaseStep::Follow { writer: writer.copy() });
    follower.await_facts("receiving", |f| f.receiver == Thread::Running);
    writer.expect(DatabaseStep::Strict);
    writer.expect(DatabaseStep::Marker { token: token(9) });
    let end = writer.facts().end;
    follower.await_facts("at the end", |f| f.applied == end);
    let shows = follower.expect(DatabaseStep::Observe { look_for: Some(token(9)) }).shows;
    assert_eq!(shows, Some(token(9)));
    for database in ["app", "regent"] {
        assert_eq!(follower.content(database), writer.content(database));
    }
    assert!(!follower.facts().broken);
}

#[test]
fn a_tail_of_rows_is_saved_counted_and_undone() {
    if !ready("a_tail_of_rows_is_saved_counted_and_undone") {
        return;
    }
    let [a, b] = pair("rewind");
    let tail = [
        "INSERT INTO app.t VALUES (5, 'ghost'), (6, 'ghost')",
        "UPDATE app.t SET b='changed' WHERE a IN (1, 2)",
        "DELETE FROM app.u WHERE a=1",
    ];
    diverge(&a, &b, &tail);
    // Before the new name nothing is undone; not saved, nothing either.
    let found = compare(&a, &b, 21);
    let StepResult::Lineage(Lineage::Tail { count, rewindable: true }) = found else {
        panic!("no tail: {found:?}")
    };
    assert!((1..=3).contains(&count), "{count}");
    assert_eq!(a.sql("SELECT COUNT(*) FROM app.t WHERE a>3"), ghosts(&a), "recovered as committed");
    let rewind = DatabaseStep::Rewind { writer: b.copy() };
    assert!(matches!(a.step(rewind.clone()).0, StepResult::Failed(_)));
    let saved = save(&a, &b);
    assert_eq!(saved.count, Some(count));
    assert_eq!(save(&a, &b), saved, "saved once");
    let folder = Path::new(&saved.path);
    let report = std::fs::read_to_string(folder.join("report.json")).expect("a report");
    assert!(
        report.contains(&format!("\"count\": {count}")) && report.contains("\"decoded\": true")
    );
    let statements = std::fs::read(folder.join("statements.sql")).expect("statements");
    let statements = String::from_utf8_lossy(&statements);
    assert!(statements.contains("### ") && !statements.contains("'confirmed'"), "{statements}");
    assert!(matches!(a.step(rewind.clone()).0, StepResult::Failed(_)), "no mark yet");

    let server_id = a.sql("SELECT @@global.server_id");
    a.expect(DatabaseStep::Keep { incarnation: Incarnation(12), mark: true });
    assert_ne!(a.sql("SELECT @@global.server_id"), server_id);
    // With its tail it is not let in, and the threads that this leaves behind are no hindrance.
    let follow = a.step(DatabaseStep::Follow { writer: b.copy() }).0;
    assert!(matches!(follow, StepResult::Failed(_) | StepResult::Done), "{follow:?}");
    // The writer's word may come after the step's.
    a.await_facts(
        "refused",
        |f| matches!(&f.receiver, Thread::Failed(why) if why.contains("1236")),
    );
    a.expect(DatabaseStep::Keep { incarnation: Incarnation(13), mark: true });
    let begun = Instant::now();
    let facts = a.expect(rewind);
    eprintln!("rewound in {:?}", begun.elapsed());
    assert_eq!((facts.incarnation, facts.mark, facts.broken), (Some(Incarnation(13)), true, false));
    assert_eq!(compare(&a, &b, 21), StepResult::Lineage(Lineage::Part));
    assert_eq!(save(&a, &b).count, Some(0));
    expect_in_sync(&a, &b);
}

/// How many rows beyond the third the log of a crashed server brings back.
fn ghosts(node: &Node) -> String {
    node.sql("SELECT 1 + 2 * (SELECT COUNT(*) FROM app.t WHERE a=5)")
}

#[test]
fn a_tail_with_a_definition_needs_a_copy() {
    if !ready("a_tail_with_a_definition_needs_a_copy") {
        return;
    }
    let [a, b] = pair("reclone");
    diverge(&a, &b, &["CREATE TABLE app.ghost (a INT PRIMARY KEY)"]);
    let tail = Lineage::Tail { count: 1, rewindable: false };
    assert_eq!(compare(&a, &b, 21), StepResult::Lineage(tail));
    // Another incarnation of the writer does not answer.
    assert!(matches!(compare(&a, &b, 22), StepResult::Failed(_)));
    // D8: nobody follows, saves towards, undoes towards or copies a writer whose data are not the recorded ones.
    let other = DataCopy { incarnation: Incarnation(22), ..b.copy() };
    for step in [
        DatabaseStep::SaveTail { writer: other },
        DatabaseStep::Rewind { writer: other },
        DatabaseStep::Reclone { writer: other, incarnation: Incarnation(99) },
        DatabaseStep::Follow { writer: other },
    ] {
        let (result, _) = a.step(step.clone());
        assert!(matches!(result, StepResult::Failed(_)), "{step:?}: {result:?}");
    }
    assert_eq!(compare(&a, &b, 21), StepResult::Lineage(tail));
    let saved = save(&a, &b);
    assert_eq!(saved.count, Some(1));
    a.expect(DatabaseStep::Keep { incarnation: Incarnation(12), mark: true });
    let rewind = a.step(DatabaseStep::Rewind { writer: b.copy() }).0;
    assert!(matches!(rewind, StepResult::Failed(_)), "{rewind:?}");
    let incarnation = Incarnation(13);
    std::fs::write(a.settings().datadir.join("mysql_upgrade_info"), "10.11").expect("a note");
    let begun = Instant::now();
    let facts = a.expect(DatabaseStep::Reclone { writer: b.copy(), incarnation });
    eprintln!("copied in {:?}", begun.elapsed());
    assert_eq!((facts.incarnation, facts.mark, facts.broken), (Some(incarnation), true, false));
    assert!(facts.read_only && facts.strict && !facts.drained);
    // The old data are aside, whole.
    let datadir = &a.settings().datadir;
    let kept: Vec<_> = std::fs::read_dir(datadir.parent().expect("a folder"))
        .expect("read")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.to_string_lossy().contains("data.kept-"))
        .collect();
    assert_eq!(kept.len(), 1);
    assert!(datadir.join("mysql_upgrade_info").exists());
    assert!(kept[0].join("app/ghost.ibd").exists() && kept[0].join("binlog.000001").exists());
    assert_eq!(compare(&a, &b, 21), StepResult::Lineage(Lineage::Part));
    expect_in_sync(&a, &b);
    assert_eq!(a.sql("SHOW TABLES FROM app LIKE 'ghost'"), "");
}

#[test]
fn an_unfinished_rewind_and_an_empty_log_are_foreign() {
    if !ready("an_unfinished_rewind_and_an_empty_log_are_foreign") {
        return;
    }
    let [a, b] = pair("foreign");
    diverge(&a, &b, &["INSERT INTO app.t VALUES (5, 'ghost')"]);
    save(&a, &b);
    a.expect(DatabaseStep::Keep { incarnation: Incarnation(12), mark: true });
    // The undo meets a row that is not as the log says: it stops halfway.
    a.sql("SET sql_log_bin=0; DELETE FROM app.t WHERE a=5");
    let rewind = a.step(DatabaseStep::Rewind { writer: b.copy() }).0;
    assert!(matches!(rewind, StepResult::Failed(_)), "{rewind:?}");
    assert_eq!(compare(&a, &b, 21), StepResult::Lineage(Lineage::Foreign));
    // A new name does not make it better, nor does a restart.
    a.expect(DatabaseStep::Keep { incarnation: Incarnation(13), mark: true });
    a.crash();
    a.expect(DatabaseStep::TakeControl);
    assert_eq!(compare(&a, &b, 21), StepResult::Lineage(Lineage::Foreign));
    let saved = save(&a, &b);
    assert_eq!(saved.count, None);
    assert!(Path::new(&saved.path).join("binlog.000001").exists());
    let follow = a.step(DatabaseStep::Follow { writer: b.copy() }).0;
    assert!(matches!(follow, StepResult::Failed(_)), "{follow:?}");
    a.sql("RESET MASTER");
    assert_eq!(compare(&a, &b, 21), StepResult::Lineage(Lineage::Foreign));
    let incarnation = Incarnation(14);
    a.expect(DatabaseStep::Reclone { writer: b.copy(), incarnation });
    expect_in_sync(&a, &b);
}

/// Every statement that was ever saved on this node.
fn all_saved(node: &Node) -> String {
    let tails = std::fs::read_dir(node.settings().state_dir.join("tails")).expect("tails");
    let texts = tails.map(|folder| {
        let file = folder.expect("a folder").path().join("statements.sql");
        String::from_utf8_lossy(&std::fs::read(file).unwrap_or_default()).into_owned()
    });
    texts.collect()
}

#[test]
fn what_is_written_by_hand_after_the_tail_was_saved_is_saved_too_before_the_copy_is_in_place() {
    if !ready(
        "what_is_written_by_hand_after_the_tail_was_saved_is_saved_too_before_the_copy_is_in_place",
    ) {
        return;
    }
    let [a, b] = pair("late");
    diverge(&a, &b, &["INSERT INTO app.t VALUES (5, 'ghost')"]);
    save(&a, &b);
    assert!(!all_saved(&a).contains("by hand"));
    // Root is not bound by read-only.
    a.sql("SET GLOBAL rpl_semi_sync_master_enabled=OFF; INSERT INTO app.t VALUES (77, 'by hand')");
    a.expect(DatabaseStep::Reclone { writer: b.copy(), incarnation: Incarnation(31) });
    assert!(all_saved(&a).contains("by hand"));
    assert_eq!(a.sql("SELECT COUNT(*) FROM app.t WHERE a=77"), "0");
    expect_in_sync(&a, &b);
}

#[test]
fn a_log_that_began_anew_gives_old_names_to_other_rows_so_all_of_it_is_saved() {
    if !ready("a_log_that_began_anew_gives_old_names_to_other_rows_so_all_of_it_is_saved") {
        return;
    }
    let [a, b] = pair("renamed");
    diverge(&a, &b, &["INSERT INTO app.t VALUES (5, 'ghost')"]);
    a.sql(
        "SET GLOBAL rpl_semi_sync_master_enabled=OFF; RESET MASTER; \
         INSERT INTO app.t VALUES (78, 'one'); INSERT INTO app.t VALUES (79, 'two')",
    );
    assert_eq!(a.facts().incarnation, None);
    assert_eq!(save(&a, &b).count, None, "nothing can be counted");
    assert!(all_saved(&a).contains("'two'"));
    a.expect(DatabaseStep::Reclone { writer: b.copy(), incarnation: Incarnation(31) });
    expect_in_sync(&a, &b);
}
