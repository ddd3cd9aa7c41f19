//! A writer whose log began anew while its server ran: its tables have everything, and they get another name (D12).
//! And what must not: a log of which nobody knows whether the tables belong to it.

mod mariadb_lab;

use mariadb_lab::{Node, pair, ready, wait_until};
use regent_core::command::{DatabaseStep, Lineage, StepResult};
use regent_core::id::Incarnation;
use regent_core::observe::{DatabaseFacts, Thread};

#[test]
#[ignore = "not a test: the worker's process"]
fn worker_process() {
    mariadb_lab::worker_process();
}

const OBSERVE: DatabaseStep = DatabaseStep::Observe { look_for: None };

fn founded(test: &str) -> Option<[Node; 2]> {
    if !ready(test) {
        return None;
    }
    let [a, b] = pair(test);
    a.found(11);
    a.sql("CREATE DATABASE app; CREATE TABLE app.t (a INT AUTO_INCREMENT PRIMARY KEY, b TEXT)");
    write(&a, 30);
    a.await_end();
    Some([a, b])
}

fn write(node: &Node, rows: usize) {
    node.sql(&"INSERT INTO app.t (b) VALUES ('acknowledged');".repeat(rows));
}

fn rows(node: &Node) -> String {
    node.sql("SELECT COUNT(*) FROM app.t")
}

fn rename(node: &Node, name: u64) -> DatabaseFacts {
    let facts = node.expect(DatabaseStep::Rename { incarnation: Incarnation(name) });
    assert_eq!(facts.incarnation, Some(Incarnation(name)));
    assert!(facts.read_only && facts.waiting == 0 && !facts.mark, "{facts:?}");
    facts
}

fn refused(node: &Node) -> String {
    let (result, _) = node.step(DatabaseStep::Rename { incarnation: Incarnation(99) });
    let StepResult::Failed(why) = result else { panic!("{result:?}") };
    why
}

fn names(facts: &DatabaseFacts) -> Vec<u64> {
    facts.was.iter().map(|name| name.0).collect()
}

/// The last name in the log: its server and its number.
fn last_name(node: &Node) -> (String, u64) {
    let text = node.sql("SELECT @@global.gtid_binlog_pos");
    let mut parts = text.split('-').skip(1).map(String::from);
    let (server, number) = (parts.next().expect("a server"), parts.next().expect("a number"));
    (server, number.parse().expect("a number"))
}

#[test]
fn a_log_that_was_reset_goes_on_under_another_name_and_lacks_nothing() {
    let Some([a, _b]) = founded("renamed-reset") else { return };
    let (server, number) = last_name(&a);
    assert_eq!(refused(&a), "the log goes on: its data have a name");
    // Whoever holds a lock, or has a transaction open, is in nobody's way.
    let mut locks = a.sql_in_background("LOCK TABLES app.t WRITE; SELECT SLEEP(600)");
    wait_until("locked", || !a.sql("SHOW OPEN TABLES FROM app WHERE In_use>0").is_empty());
    a.sql("RESET MASTER");
    let facts = a.expect(OBSERVE);
    assert_eq!((facts.incarnation, names(&facts)), (None, vec![11]));
    let facts = rename(&a, 12);
    assert_eq!(names(&facts), [11]);
    assert!(!locks.wait().expect("ended").success());
    // What the old log had is there, under another name.
    let aside = a.settings().datadir.join(".regent");
    let logs = std::fs::read_dir(aside).expect("kept").map(|entry| entry.expect("a folder").path());
    let kept: Vec<_> = logs.collect();
    assert!(matches!(&kept[..], [log] if log.join("binlog.000001").exists()), "{kept:?}");
    let (new_server, first) = last_name(&a);
    assert!(new_server != server && first > number, "{new_server} {first}, {server} {number}");
    a.expect(DatabaseStep::Writable);
    write(&a, 5);
    assert_eq!(last_name(&a).0, new_server);
    assert_eq!(rows(&a), "35");
    a.await_end();
    // It is kept like any other name.
    a.crash();
    let facts = a.expect(DatabaseStep::TakeControl);
    assert_eq!((facts.incarnation, names(&facts)), (Some(Incarnation(12)), vec![11]));
    assert_eq!(rows(&a), "35");
}

#[test]
fn a_log_that_was_removed_goes_on_too_and_a_crash_then_loses_nothing() {
    let Some([a, _b]) = founded("renamed-removed") else { return };
    for file in std::fs::read_dir(&a.settings().datadir).expect("data") {
        let path = file.expect("a file").path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("binlog.0")) {
            std::fs::remove_file(path).expect("removed");
        }
    }
    // The server writes on into what nobody will find again.
    write(&a, 7);
    let facts = a.expect(OBSERVE);
    assert_eq!((facts.incarnation, names(&facts)), (None, vec![11]));
    rename(&a, 12);
    a.crash();
    assert_eq!(a.expect(DatabaseStep::TakeControl).incarnation, Some(Incarnation(12)));
    assert_eq!(rows(&a), "37");
}

#[test]
fn another_start_of_the_server_proves_nothing_any_more() {
    let Some([a, _b]) = founded("renamed-restart") else { return };
    a.sql("RESET MASTER");
    assert_eq!(names(&a.expect(OBSERVE)), [11]);
    // Another worker knows it as well; another start of the server may have other tables.
    a.kill_worker();
    a.start_worker();
    let facts = a.expect(DatabaseStep::TakeControl);
    assert_eq!((facts.incarnation, names(&facts)), (None, vec![11]));
    a.crash();
    let facts = a.expect(DatabaseStep::TakeControl);
    assert_eq!((facts.incarnation, names(&facts)), (None, vec![]));
    assert_eq!(refused(&a), "nothing shows that these data have everything");
    assert_eq!(rows(&a), "30");
}

#[test]
fn data_that_were_put_back_under_a_log_that_was_reset_are_not_renamed() {
    let Some([a, _b]) = founded("renamed-put-back") else { return };
    a.set_aside("copy");
    write(&a, 10);
    a.await_end();
    a.kill_worker();
    a.put_back("copy");
    let socket = a.settings().socket.clone();
    wait_until("up", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
    // Before anybody took control of this start.
    a.sql("RESET MASTER");
    a.start_worker();
    let facts = a.expect(DatabaseStep::TakeControl);
    assert_eq!((facts.incarnation, names(&facts)), (None, vec![]));
    assert_eq!(refused(&a), "nothing shows that these data have everything");
}

#[test]
fn the_name_is_given_once_wherever_the_worker_dies() {
    let Some([a, _b]) = founded("renamed-death") else { return };
    let settings = a.settings();
    let files = [settings.datadir.join("regent.keep"), settings.state_dir.join("database.keep")];
    a.sql("RESET MASTER");
    let texts = files.each_ref().map(|path| std::fs::read(path).expect("kept"));
    rename(&a, 12);
    // As it is after the new end was kept, and before the new name was: the old one's end is beside it.
    a.kill_worker();
    for (path, text) in files.iter().zip(texts) {
        std::fs::write(path, text).expect("written");
    }
    a.start_worker();
    let facts = a.expect(DatabaseStep::TakeControl);
    assert_eq!((facts.incarnation, names(&facts)), (None, vec![11]));
    // Again and again: every name before is known, until one is recorded.
    assert_eq!(names(&rename(&a, 13)), [11]);
    a.sql("RESET MASTER");
    assert_eq!(names(&a.expect(OBSERVE)), [13, 11]);
    assert_eq!(names(&rename(&a, 14)), [13, 11]);
    // A follower's data go on from somebody else's.
    let facts = a.expect(DatabaseStep::Keep { incarnation: Incarnation(14), mark: true });
    assert_eq!(names(&facts), [0; 0]);
    a.sql("RESET MASTER");
    assert_eq!(names(&a.expect(OBSERVE)), [0; 0]);
}

#[test]
fn a_commit_that_waits_is_not_ended_for_it() {
    let Some([a, _b]) = founded("renamed-waits") else { return };
    a.sql("RESET MASTER");
    a.expect(DatabaseStep::Strict);
    let mut writer = a.sql_in_background("INSERT INTO app.t (b) VALUES ('waits')");
    a.await_facts("waiting", |facts| facts.waiting == 1);
    let rename_now = DatabaseStep::Rename { incarnation: Incarnation(12) };
    assert_eq!(a.step(rename_now).0, StepResult::Blocked);
    let facts = a.facts();
    assert!(facts.waiting == 1 && !facts.read_only, "{facts:?}");
    a.expect(DatabaseStep::Loose);
    assert!(writer.wait().expect("ended").success());
    rename(&a, 12);
    assert_eq!(rows(&a), "31");
}

#[test]
fn a_follower_of_the_old_log_is_sent_away_and_its_copy_of_an_idle_writer_follows() {
    let Some([a, b]) = founded("renamed-follower") else { return };
    b.join(&a, 21);
    b.await_facts("following", |facts| facts.receiver == Thread::Running);
    a.sql("RESET MASTER");
    // Names that it knows already, of other rows, up to its own end and beyond.
    write(&a, 60);
    assert_eq!(names(&a.expect(OBSERVE)), [11]);
    rename(&a, 12);
    a.expect(DatabaseStep::Writable);
    write(&a, 1);
    let failed = |facts: &DatabaseFacts| matches!(facts.receiver, Thread::Failed(_));
    b.await_facts("sent away", failed);
    b.expect(DatabaseStep::Keep { incarnation: Incarnation(22), mark: true });
    let compare = || b.step(DatabaseStep::Compare { writer: a.copy() }).0;
    assert_eq!(compare(), StepResult::Lineage(Lineage::Foreign));
    // Nothing is written from here on: the copy knows where it stands by the first name alone.
    a.sql("RESET MASTER");
    rename(&a, 13);
    a.expect(DatabaseStep::Writable);
    let incarnation = Incarnation(23);
    b.expect(DatabaseStep::Reclone { writer: a.copy(), incarnation });
    assert_eq!(compare(), StepResult::Lineage(Lineage::Part));
    b.expect(DatabaseStep::Follow { writer: a.copy() });
    b.await_facts("following", |facts| facts.receiver == Thread::Running);
    write(&a, 2);
    wait_until("the same", || a.content("app") == b.content("app"));
    assert_eq!(rows(&b), "93");
}
