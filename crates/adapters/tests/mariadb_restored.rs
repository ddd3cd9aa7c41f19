//! Data, or a log, that are not what they were: put back from a copy, reset, purged. Their name is over (protocol
//! section 1). And what is the rule must end no name: restarts, crashes, rotation.

mod mariadb_lab;

use mariadb_lab::{Node, pair, ready, token, wait_until};
use regent_core::command::{DatabaseStep, StepResult};
use regent_core::id::Incarnation;

#[test]
#[ignore = "not a test: the worker's process"]
fn worker_process() {
    mariadb_lab::worker_process();
}

const ELEVEN: Option<Incarnation> = Some(Incarnation(11));

/// One node with data of its own, writable and alone.
fn founded(test: &str) -> Option<Node> {
    if !ready(test) {
        return None;
    }
    let [a, _b] = pair(test);
    a.found(11);
    a.sql("CREATE DATABASE app; CREATE TABLE app.t (a INT AUTO_INCREMENT PRIMARY KEY, b TEXT)");
    write(&a, 3);
    assert_eq!(a.facts().incarnation, ELEVEN);
    Some(a)
}

fn write(node: &Node, rows: usize) {
    node.sql(&"INSERT INTO app.t (b) VALUES ('acknowledged');".repeat(rows));
}

/// All files of the log but the newest; the server keeps one as long as its engine might need it.
fn purge(node: &Node) {
    wait_until("purged", || {
        let newest = node.sql("SHOW MASTER STATUS");
        let newest = newest.split_whitespace().next().expect("a file");
        node.sql(&format!("PURGE BINARY LOGS TO '{newest}'"));
        node.sql("SHOW BINARY LOGS").lines().count() == 1
    });
}

/// After a start: control, and writable again as its owner may be.
fn take(node: &Node) -> Option<Incarnation> {
    let incarnation = node.expect(DatabaseStep::TakeControl).incarnation;
    if incarnation.is_some() {
        node.expect(DatabaseStep::Loose);
        node.expect(DatabaseStep::Writable);
    }
    incarnation
}

#[test]
fn data_put_back_after_another_start_have_no_name() {
    let Some(a) = founded("data_put_back_after_another_start_have_no_name") else { return };
    a.stop();
    a.set_aside("copy");
    a.start();
    assert_eq!(take(&a), ELEVEN);
    write(&a, 100);
    a.stop();
    a.put_back("copy");
    assert_eq!(take(&a), None);
    assert_eq!(a.sql("SELECT COUNT(*) FROM app.t"), "3");
    // Nor does the same name make them what they were.
    let (result, _) = a.step(DatabaseStep::Keep { incarnation: Incarnation(11), mark: false });
    assert!(matches!(result, StepResult::Failed(_)), "{result:?}");
    let (result, facts) = a.step(DatabaseStep::Writable);
    assert!(matches!(result, StepResult::Failed(_)), "{result:?}");
    assert!(facts.is_some_and(|facts| facts.read_only));
    let facts = a.expect(DatabaseStep::Keep { incarnation: Incarnation(12), mark: false });
    assert_eq!(facts.incarnation, Some(Incarnation(12)));
}

#[test]
fn data_put_back_within_one_start_have_no_name() {
    let Some(a) = founded("data_put_back_within_one_start_have_no_name") else { return };
    a.set_aside("copy");
    write(&a, 100);
    assert_eq!(a.expect(DatabaseStep::Loose).incarnation, ELEVEN);
    a.await_end();
    a.put_back("copy");
    assert_eq!(take(&a), None);
    a.crash();
    assert_eq!(take(&a), None, "another start forgives nothing");
}

#[test]
fn data_put_back_that_lack_nothing_keep_their_name() {
    let Some(a) = founded("data_put_back_that_lack_nothing_keep_their_name") else { return };
    a.stop();
    a.set_aside("copy");
    a.put_back("copy");
    assert_eq!(take(&a), ELEVEN);
}

#[test]
fn a_log_that_was_reset_has_no_name_whatever_is_written_to_it() {
    let Some(a) = founded("a_log_that_was_reset_has_no_name_whatever_is_written_to_it") else {
        return;
    };
    assert_eq!(a.expect(DatabaseStep::Loose).incarnation, ELEVEN);
    a.await_end();
    a.sql("RESET MASTER");
    assert_eq!(a.facts().incarnation, None);
    // The same names again, under the same server id, up to the old end and beyond.
    write(&a, 30);
    assert_eq!(a.facts().incarnation, None);
    let (result, _) = a.step(DatabaseStep::Keep { incarnation: Incarnation(11), mark: true });
    assert!(matches!(result, StepResult::Failed(_)), "{result:?}");
    a.crash();
    assert_eq!(take(&a), None);
}

/// No look comes between the name and the reset.
#[test]
fn a_new_name_comes_with_the_end_of_its_log() {
    let Some(a) = founded("a_new_name_comes_with_the_end_of_its_log") else { return };
    let keep = |n| {
        let step = DatabaseStep::Keep { incarnation: Incarnation(n), mark: false };
        assert_eq!(a.expect(step).incarnation, Some(Incarnation(n)));
    };
    let reset = || a.sql("RESET MASTER");
    keep(12);
    reset();
    write(&a, 30);
    assert_eq!(a.expect(DatabaseStep::Loose).incarnation, None);
    // A log with nothing in it is another one too, if it began in another second.
    reset();
    keep(13);
    let second = a.sql("SELECT UNIX_TIMESTAMP()");
    wait_until("another second", || a.sql("SELECT UNIX_TIMESTAMP()") != second);
    reset();
    assert_eq!(a.expect(DatabaseStep::Loose).incarnation, None);
    // A death after the end was kept, and before the name: the old one has its own end still.
    keep(14);
    write(&a, 3);
    let settings = a.settings();
    let files = [settings.datadir.join("regent.keep"), settings.state_dir.join("database.keep")];
    let texts = files.each_ref().map(|path| std::fs::read(path).expect("kept"));
    keep(15);
    a.kill_worker();
    for (path, text) in files.iter().zip(texts) {
        std::fs::write(path, text).expect("written");
    }
    a.start_worker();
    let control = || a.expect(DatabaseStep::TakeControl).incarnation;
    assert_eq!(control(), Some(Incarnation(14)));
    a.kill_worker();
    reset();
    write(&a, 30);
    a.start_worker();
    assert_eq!(control(), None);
}

#[test]
fn a_log_that_was_put_back_has_no_name_under_newer_data() {
    let Some(a) = founded("a_log_that_was_put_back_has_no_name_under_newer_data") else { return };
    a.stop();
    let shell = |text: &str| {
        let data = a.settings().datadir.display().to_string();
        let text = text.replace("DATA", &data);
        let status = std::process::Command::new("sh").arg("-ec").arg(&text).status();
        assert!(status.expect("sh").success(), "{text}");
    };
    shell("mkdir DATA/../logs; cp -a DATA/binlog.* DATA/../logs");
    a.start();
    assert_eq!(take(&a), ELEVEN);
    write(&a, 20);
    assert_eq!(a.expect(DatabaseStep::Loose).incarnation, ELEVEN);
    a.await_end();
    a.stop();
    shell("rm DATA/binlog.*; cp -a DATA/../logs/binlog.* DATA");
    a.start();
    assert_eq!(take(&a), None);
}

#[test]
fn restarts_crashes_and_rotation_keep_the_name() {
    let Some(a) = founded("restarts_crashes_and_rotation_keep_the_name") else { return };
    for round in 0..3 {
        a.crash();
        assert_eq!(take(&a), ELEVEN, "round {round}");
        write(&a, 5);
        a.stop();
        a.start();
        assert_eq!(take(&a), ELEVEN, "round {round}");
        a.kill_worker();
        a.start_worker();
        assert_eq!(take(&a), ELEVEN, "round {round}");
    }
    // Killed under load, the log may end anywhere.
    let text = "INSERT INTO app.t (b) VALUES ('perhaps');".repeat(3000);
    for round in 0..3 {
        let mut writer = a.sql_in_background(&text);
        wait_until("it writes", || a.sql("SELECT COUNT(*) FROM app.t WHERE b='perhaps'") != "0");
        a.expect(DatabaseStep::Loose);
        a.crash();
        assert!(!writer.wait().expect("ended").success());
        assert_eq!(take(&a), ELEVEN, "round {round}");
        a.sql("DELETE FROM app.t WHERE b='perhaps'");
    }
    // Old files may go: what is left begins with what came next.
    write(&a, 5);
    a.expect(DatabaseStep::Loose);
    a.sql("FLUSH BINARY LOGS");
    let newest =
        || a.sql("SHOW MASTER STATUS").split_whitespace().next().expect("a file").to_string();
    a.sql(&format!("PURGE BINARY LOGS TO '{}'", newest()));
    assert_eq!(a.facts().incarnation, ELEVEN);
    write(&a, 5);
    assert_eq!(a.expect(DatabaseStep::Loose).incarnation, ELEVEN);
}

#[test]
fn a_purged_log_keeps_its_name_and_one_that_began_anew_does_not() {
    let name = "a_purged_log_keeps_its_name_and_one_that_began_anew_does_not";
    let Some(a) = founded(name) else { return };
    a.await_end();
    a.kill_worker();
    write(&a, 5);
    a.sql("FLUSH BINARY LOGS");
    purge(&a);
    a.start_worker();
    assert_eq!(a.expect(DatabaseStep::TakeControl).incarnation, ELEVEN);
    a.await_end();
    a.kill_worker();
    a.sql("RESET MASTER");
    write(&a, 5);
    a.sql("FLUSH BINARY LOGS; FLUSH BINARY LOGS");
    purge(&a);
    a.start_worker();
    assert_eq!(a.expect(DatabaseStep::TakeControl).incarnation, None);
}

#[test]
fn files_of_an_older_release_are_accepted_once() {
    let Some(a) = founded("files_of_an_older_release_are_accepted_once") else { return };
    a.kill_worker();
    a.stop();
    let strip = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(&path).expect("kept");
        let mut value: serde_json::Value = serde_json::from_str(&text).expect("json");
        let keep = if value.get("keep").is_some() { &mut value["keep"] } else { &mut value };
        let keep = keep.as_object_mut().expect("an object");
        keep.retain(|name, _| !["starts", "counted"].contains(&name.as_str()));
        std::fs::write(&path, value.to_string()).expect("written");
    };
    strip(a.settings().datadir.join("regent.keep"));
    strip(a.settings().state_dir.join("database.keep"));
    let _ = std::fs::remove_file(a.settings().state_dir.join("database.end"));
    a.set_aside("old");
    a.start();
    a.start_worker();
    assert_eq!(take(&a), ELEVEN);
    a.stop();
    a.put_back("old");
    assert_eq!(take(&a), None);
}

#[test]
fn a_rewound_or_copied_log_begins_anew_by_our_own_hand() {
    const NAME: &str = "a_rewound_or_copied_log_begins_anew_by_our_own_hand";
    if !ready(NAME) {
        return;
    }
    let [a, b] = pair(NAME);
    a.found(11);
    b.join(&a, 21);
    b.await_facts("receiving", |f| f.applied == a.facts().end);
    assert_eq!(b.facts().incarnation, Some(Incarnation(21)));
    // A tail of rows, found, saved, undone.
    b.expect(DatabaseStep::StopReceiver);
    b.await_facts("drained", |f| f.drained);
    b.expect(DatabaseStep::Keep { incarnation: Incarnation(21), mark: false });
    b.expect(DatabaseStep::EndFollowing);
    b.expect(DatabaseStep::Loose);
    b.expect(DatabaseStep::Writable);
    b.expect(DatabaseStep::Marker { token: token(9) });
    b.expect(DatabaseStep::ReadOnly);
    let writer = a.copy();
    b.expect_any(DatabaseStep::Compare { writer });
    b.expect_any(DatabaseStep::SaveTail { writer });
    b.expect(DatabaseStep::Keep { incarnation: Incarnation(22), mark: true });
    assert_eq!(b.facts().incarnation, Some(Incarnation(22)));
    let facts = b.expect(DatabaseStep::Rewind { writer });
    assert_eq!(facts.incarnation, Some(Incarnation(22)));
    assert_eq!(b.expect(DatabaseStep::Follow { writer }).incarnation, Some(Incarnation(22)));
    a.expect(DatabaseStep::Marker { token: token(10) });
    let facts = b.await_facts("caught up", |f| f.applied == a.facts().end);
    assert_eq!((facts.incarnation, facts.broken), (Some(Incarnation(22)), false));
}
