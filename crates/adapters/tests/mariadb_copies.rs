//! A copy of the writer's data wherever a site keeps them, with room for two or not, and in place of what is broken.

mod mariadb_lab;

use mariadb_lab::{Node, pair, ready, skipped, token};
use regent_core::command::{DatabaseStep, Lineage, StepResult};
use regent_core::id::Incarnation;
use regent_core::observe::{DatabaseFacts, Thread};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[test]
#[ignore = "not a test: the worker's process"]
fn worker_process() {
    mariadb_lab::worker_process();
}

/// A file system that is unmounted with the test.
struct Mounted(PathBuf);

impl Mounted {
    fn new(at: &Path, options: &[&str]) -> Option<Mounted> {
        let mut command = Command::new("mount");
        command.args(options).arg(at).stderr(Stdio::null());
        command.status().is_ok_and(|s| s.success()).then(|| Mounted(at.to_path_buf()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// A writes, alone.
fn writes(a: &Node) {
    a.found(11);
    a.sql("CREATE DATABASE app; CREATE TABLE app.t (a INT PRIMARY KEY, b TEXT)");
    a.sql("INSERT INTO app.t VALUES (1, 'one'), (2, 'two')");
}

/// B takes a copy and follows; both have the same.
fn copies(a: &Node, b: &Node, name: u64) -> DatabaseFacts {
    b.expect(DatabaseStep::Reclone { writer: a.copy(), incarnation: Incarnation(name) });
    follows(a, b, name)
}

fn follows(a: &Node, b: &Node, n: u64) -> DatabaseFacts {
    b.expect(DatabaseStep::Follow { writer: a.copy() });
    a.expect(DatabaseStep::Marker { token: token(n) });
    let end = a.facts().end;
    let facts = b.await_facts("in sync", |f| f.applied == end);
    assert!(facts.receiver == Thread::Running && facts.applier == Thread::Running);
    assert_eq!(b.content("app"), a.content("app"));
    facts
}

fn kept(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let named =
        |path: &PathBuf| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(prefix));
    paths.filter(named).collect()
}

fn failed(result: StepResult) -> String {
    let StepResult::Failed(why) = result else { panic!("not refused: {result:?}") };
    why
}

#[test]
fn data_behind_a_link_and_on_a_mount_of_their_own_are_replaced_where_they_are() {
    if !ready("data_behind_a_link_and_on_a_mount_of_their_own_are_replaced_where_they_are") {
        return;
    }
    let [a, b] = pair("places");
    writes(&a);
    let datadir = b.settings().datadir.clone();
    let real = datadir.with_file_name("disk").join("mysql");
    std::fs::create_dir_all(real.parent().expect("a folder")).expect("made");
    // A server that is told to stop before it is up hangs.
    b.expect(DatabaseStep::TakeControl);
    b.stop();
    std::fs::rename(&datadir, &real).expect("moved");
    std::os::unix::fs::symlink(&real, &datadir).expect("linked");
    b.start();
    b.expect(DatabaseStep::TakeControl);
    copies(&a, &b, 21);
    assert!(datadir.symlink_metadata().expect("there").is_symlink(), "still a link");
    assert_eq!(kept(real.parent().expect("a folder"), "mysql.kept-").len(), 1);
    assert!(
        kept(datadir.parent().expect("a folder"), "data.").is_empty(),
        "nothing beside the link"
    );

    // The same data as the root of a bind mount: it cannot be renamed.
    b.stop();
    std::fs::remove_file(&datadir).expect("removed");
    std::fs::create_dir(&datadir).expect("made");
    let options = ["--bind", &real.display().to_string()];
    let Some(mounted) = Mounted::new(&datadir, &options) else {
        return skipped("data on a mount of their own: this machine may not mount");
    };
    b.start();
    b.expect(DatabaseStep::TakeControl);
    for name in 22..25 {
        copies(&a, &b, name);
        let inside = kept(&datadir.join(".regent"), "kept-");
        assert_eq!(inside.len(), (name as usize - 21).min(2), "the newest two are kept");
        assert!(inside.iter().all(|path| path.join("app/t.ibd").exists()));
        assert_eq!(b.sql("SHOW DATABASES LIKE '%regent'"), "regent", "no database of that name");
    }
    // What is kept inside is no part of a copy of these data.
    b.sql("SET GLOBAL rpl_semi_sync_master_enabled=OFF");
    let backup = b.settings().state_dir.join("backup");
    let status = Command::new("mariadb-backup")
        .args(["--no-defaults", "--backup", "--user=root"])
        .arg(format!("--socket={}", b.settings().socket.display()))
        .arg(format!("--target-dir={}", backup.display()))
        .stderr(Stdio::null())
        .status();
    assert!(status.expect("mariadb-backup").success());
    assert!(backup.join("app/t.ibd").exists() && kept(&backup.join(".regent"), "kept").is_empty());
    b.stop();
    drop(mounted);
}

#[test]
fn without_room_for_two_a_copy_needs_a_word_and_then_comes_in_place() {
    if !ready("without_room_for_two_a_copy_needs_a_word_and_then_comes_in_place") {
        return;
    }
    let [a, b] = pair("room");
    writes(&a);
    let datadir = b.settings().datadir.clone();
    b.expect(DatabaseStep::TakeControl);
    b.stop();
    let aside = datadir.with_file_name("aside");
    std::fs::rename(&datadir, &aside).expect("moved");
    std::fs::create_dir(&datadir).expect("made");
    let Some(mounted) = Mounted::new(&datadir, &["-t", "tmpfs", "-o", "size=128m", "tmpfs"]) else {
        return skipped("no room for two: this machine may not mount");
    };
    let status = Command::new("cp").arg("-a").arg(aside.join(".")).arg(&datadir).status();
    assert!(status.expect("cp").success());
    b.start();
    b.expect(DatabaseStep::TakeControl);
    let step = || DatabaseStep::Reclone { writer: a.copy(), incarnation: Incarnation(21) };
    let why = failed(b.step(step()).0);
    assert!(why.contains("no room for a second copy") && why.contains("--in-place"), "{why}");
    assert_eq!(b.sql("SELECT 1"), "1", "nothing was touched");
    b.expect(DatabaseStep::Distrust { in_place: true });
    b.expect(step());
    follows(&a, &b, 21);
    // The word was for one copy.
    let again = DatabaseStep::Reclone { writer: a.copy(), incarnation: Incarnation(22) };
    assert!(failed(b.step(again).0).contains("no room"));
    b.stop();
    drop(mounted);
}

#[test]
fn what_does_not_start_any_more_is_replaced() {
    if !ready("what_does_not_start_any_more_is_replaced") {
        return;
    }
    let [a, b] = pair("wiped");
    writes(&a);
    b.join(&a, 21);
    let datadir = b.settings().datadir.clone();
    // Wiped, with the directory and without it.
    for (name, whole) in [(22, false), (23, true)] {
        b.kill();
        std::fs::remove_dir_all(&datadir).expect("removed");
        if !whole {
            std::fs::create_dir(&datadir).expect("made");
        }
        copies(&a, &b, name);
    }
    // Damaged.
    b.kill();
    std::fs::write(datadir.join("ibdata1"), vec![7; 1 << 20]).expect("written");
    copies(&a, &b, 24);
    // Its files were removed under the running server.
    for entry in std::fs::read_dir(&datadir).expect("read") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            std::fs::remove_file(path).expect("removed");
        }
    }
    assert_eq!(b.facts().incarnation, None, "nobody's copy");
    b.step(DatabaseStep::SaveTail { writer: a.copy() });
    copies(&a, &b, 25);
}

#[test]
fn a_log_that_somebody_removed_or_data_that_are_distrusted_are_nobodys_copy() {
    if !ready("a_log_that_somebody_removed_or_data_that_are_distrusted_are_nobodys_copy") {
        return;
    }
    let [a, b] = pair("nolog");
    writes(&a);
    b.join(&a, 21);
    b.await_end();
    b.sql("STOP SLAVE");
    for path in kept(&b.settings().datadir, "binlog.0") {
        std::fs::remove_file(path).expect("removed");
    }
    assert_eq!(b.facts().incarnation, None, "nothing is known of them");
    let writer = a.copy();
    let found = b.step(DatabaseStep::Compare { writer }).0;
    assert_eq!(found, StepResult::Lineage(Lineage::Foreign));
    let saved = b.expect_any(DatabaseStep::SaveTail { writer });
    assert!(matches!(saved, StepResult::Saved(_)));
    copies(&a, &b, 22);

    b.expect(DatabaseStep::Distrust { in_place: false });
    assert_eq!(b.facts().incarnation, None);
    // Durable: over a new worker, and over a new server; and no new name makes it better.
    b.kill_worker();
    b.start_worker();
    b.expect(DatabaseStep::TakeControl);
    assert_eq!(b.facts().incarnation, None);
    b.crash();
    b.expect(DatabaseStep::TakeControl);
    assert_eq!(b.facts().incarnation, None);
    copies(&a, &b, 23);
}

#[test]
fn tables_outside_the_data_directory_are_refused_before_anything_is_touched() {
    if !ready("tables_outside_the_data_directory_are_refused_before_anything_is_touched") {
        return;
    }
    let [a, b] = pair("outside");
    writes(&a);
    b.join(&a, 21);
    let outside = a.settings().datadir.with_file_name("outside");
    std::fs::create_dir(&outside).expect("made");
    let chown = Command::new("chown").arg("mysql:mysql").arg(&outside).status();
    assert!(chown.expect("chown").success());
    a.sql(&format!(
        "CREATE TABLE app.far (a INT PRIMARY KEY) DATA DIRECTORY='{}'",
        outside.display()
    ));
    let again = DatabaseStep::Reclone { writer: a.copy(), incarnation: Incarnation(22) };
    let why = failed(b.step(again).0);
    assert!(why.contains("far.isl") && why.contains("outside"), "{why}");
    assert_eq!(b.facts().incarnation, Some(Incarnation(21)), "its data are as they were");
}
