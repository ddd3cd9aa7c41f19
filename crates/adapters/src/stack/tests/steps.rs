//! Each kind of step, up and down.

use super::*;
use regent_config::steps::{Engine, EngineKind, Run, Unit};
use regent_core::stack::StepState;

fn set_attribute(path: &Path) -> bool {
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::lsetxattr(path, "user.regent", b"kept", flags).is_ok()
}

fn attribute(path: &Path) -> Vec<u8> {
    let mut bytes = vec![0; 16];
    let length = rustix::fs::lgetxattr(path, "user.regent", bytes.as_mut_slice()).unwrap();
    bytes.truncate(length);
    bytes
}

#[test]
fn the_first_node_seeds_the_shared_data_and_the_second_never_overwrites_them() {
    let ground = Ground::new();
    let (mut first, mut second) = (ground.host(1), ground.host(2));
    let before = (first.looks(), second.looks());
    first.activate(1);
    let data = ground.data();
    assert_eq!(fs::read_link(first.root.join("etc/xcat")).unwrap(), data.join("etc/xcat"));
    assert_eq!(first.read("etc/xcat/cfgloc"), "of host1");
    assert_eq!(fs::metadata(data.join("etc/xcat/cert/key")).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(data.join("root")).unwrap().mode() & 0o777, 0o700, "as /root");
    assert!(data.join("install").is_dir(), "empty, and there");
    let survey = first.survey();
    assert!(survey.steps.iter().all(|s| *s == StepState::Up), "{survey:?}");
    assert!(survey.permit && survey.drift.is_empty(), "{survey:?}");
    assert_eq!(survey.claim.unwrap().node, NodeId(1));
    first.write("etc/xcat/table", "a row");
    // A second run changes nothing.
    let active = first.looks();
    first.activate(1);
    assert_eq!(first.looks(), active);

    first.deactivate(1);
    assert_eq!(first.looks(), before.0, "as it was");
    assert!(first.survey().claim.unwrap().clear);
    // What is written on the passive host stays there.
    first.write("etc/xcat/cfgloc", "local");
    second.activate(2);
    assert_eq!(second.read("etc/xcat/cfgloc"), "of host1");
    assert_eq!(second.read("etc/xcat/table"), "a row");
    assert_eq!(second.read("etc/hosts"), "127.0.0.1 host1\n", "carried");
    assert_eq!(second.read("etc/ssh/ssh_host_key"), "key of 1");
    let key = fs::metadata(second.root.join("etc/ssh/ssh_host_key")).unwrap();
    assert_eq!(key.mode() & 0o777, 0o600);
    second.write("etc/hosts", "10.1.0.7 node7\n");
    second.deactivate(2);
    assert_eq!(second.read("etc/xcat/cfgloc"), "of host2");
    assert_eq!(second.read("etc/resolv.conf"), "search x\nnameserver 10.1.0.1\n");
    first.activate(3);
    assert_eq!(first.read("etc/hosts"), "10.1.0.7 node7\n");
    // Deactivating twice is no change, and no line in the journal.
    first.deactivate(3);
    let (after, lines) = (first.looks(), first.journal().len());
    for n in (0..first.steps()).rev() {
        first.does(StackStep::Down { step: StepId(n) });
    }
    assert_eq!((first.looks(), first.journal().len()), (after, lines));
}

#[test]
fn what_stood_where_a_link_goes_comes_back_whatever_it_was() {
    let ground = Ground::new();
    let mut host = Host::with_steps(&ground, 1, |root, data| {
        ["/a", "/b", "/c", "/d", "/e"].map(|path| link_step(root, data, path)).to_vec()
    });
    let root = host.root.clone();
    // A directory with an attribute, a link elsewhere, a dangling one, a file, and nothing.
    fs::create_dir_all(root.join("a/inner")).unwrap();
    let has_attributes = set_attribute(&root.join("a/inner"));
    fs::create_dir(root.join("elsewhere")).unwrap();
    fs::write(root.join("elsewhere/f"), "content").unwrap();
    symlink(root.join("elsewhere"), root.join("b")).unwrap();
    symlink("nowhere", root.join("c")).unwrap();
    fs::write(root.join("d"), "a file").unwrap();
    let before = host.looks();
    host.activate(1);
    for name in ["a", "b", "c", "d", "e"] {
        assert_eq!(fs::read_link(root.join(name)).unwrap(), ground.data().join(name));
    }
    assert_eq!(host.read("b/f"), "content", "seeded from where it led");
    assert_eq!(host.read("d"), "a file");
    assert!(root.join("a.before-regent/inner").is_dir());
    host.deactivate(1);
    assert_eq!(host.looks(), before);
    if has_attributes {
        assert_eq!(attribute(&root.join("a/inner")), b"kept");
        assert_eq!(attribute(&ground.data().join("a/inner")), b"kept");
    }
}

#[test]
fn an_open_file_is_waited_for_and_its_holder_named() {
    let ground = Ground::new();
    let mut host =
        Host::with_steps(&ground, 1, |root, data| vec![link_step(root, data, "/install")]);
    host.activate(1);
    let file = fs::File::create(host.root.join("install/open")).unwrap();
    host.does(StackStep::Revoke);
    let down = StackStep::Down { step: StepId(0) };
    let StackResult::Failed(why) = host.try_do(down) else { panic!("it went") };
    assert!(why.contains(&format!("pid {}", std::process::id())), "{why}");
    assert!(why.contains("install/open"), "{why}");
    assert!(host.root.join("install").is_symlink(), "it is still there");
    let last = host.journal().pop().unwrap();
    assert_eq!((last.step.as_str(), last.what.as_str()), ("link /install", "failed"));
    drop(file);
    host.does(down);
    assert!(!host.root.join("install").exists());
}

#[test]
fn a_repair_brings_up_what_was_left_out_once_the_activation_has_ended() {
    let ground = Ground::new();
    let mut host = Host::with_steps(&ground, 1, |root, data| {
        let creates = root.join("installed");
        let argv = ["/bin/cp", &root.join("medium").to_string_lossy(), &creates.to_string_lossy()]
            .map(String::from)
            .to_vec();
        let command = Run { argv, may_fail: false };
        let mut install = step("install", Kind::Install { command, creates });
        install.weight = Weight::Degraded;
        vec![install, link_step(root, data, "/install")]
    });
    host.does(StackStep::Claim { epoch: Epoch(1), over: None });
    let left_out = host.try_do(StackStep::Up { step: StepId(0) });
    assert!(matches!(left_out, StackResult::Failed(_)), "{left_out:?}");
    // Between two steps of an activation nothing is brought up unasked.
    host.write("medium", "");
    host.does(StackStep::Repair);
    assert!(!host.root.join("installed").exists());
    fs::remove_file(host.root.join("medium")).unwrap();
    host.does(StackStep::Up { step: StepId(1) });
    let StackResult::Failed(why) = host.try_do(StackStep::Repair) else { panic!("it came up") };
    assert!(why.starts_with("install: ") && why.contains("medium"), "{why}");
    host.write("medium", "");
    host.does(StackStep::Repair);
    assert!(host.root.join("installed").exists());
    assert!(host.survey().steps.iter().all(|state| *state == StepState::Up));
}

#[test]
fn a_repair_stores_what_differs_from_its_copy_and_keeps_storing_it() {
    let ground = Ground::new();
    let mut host = ground.host(1);
    host.activate(1);
    // Another run of the agent finds the stack as it stands.
    let mut host = ground.host(1);
    host.write("etc/hosts", "10.1.0.9 node9\n");
    let hosts = fs::File::open(host.root.join("etc/hosts")).unwrap();
    hosts.set_modified(std::time::SystemTime::now() - Duration::from_secs(60)).unwrap();
    let drift = host.survey().drift.join("\n");
    assert!(drift.contains("differs from its copy (regent stack repair)"), "{drift}");
    host.does(StackStep::Repair);
    let copy = ground.data().join(".regent/carried/etc/hosts");
    assert_eq!(fs::read_to_string(&copy).unwrap(), "10.1.0.9 node9\n");
    assert_eq!(host.survey().drift, Vec::<String>::new());
    host.write("etc/hosts", "10.1.0.8 node8\n");
    crate::testing::until("the copy", Duration::from_secs(8), || {
        fs::read_to_string(&copy).unwrap() == "10.1.0.8 node8\n"
    });
}

#[test]
fn the_next_run_of_the_agent_goes_on_storing_what_is_carried_and_undoes_nothing_of_it() {
    let ground = Ground::new();
    let mut host = ground.host(1);
    host.activate(1);
    let mut host = ground.host(1);
    host.does(StackStep::Claim { epoch: Epoch(1), over: None });
    host.write("etc/hosts", "10.1.0.9 node9\n");
    let copy = ground.data().join(".regent/carried/etc/hosts");
    crate::testing::until("the copy", Duration::from_secs(8), || {
        fs::read_to_string(&copy).unwrap() == "10.1.0.9 node9\n"
    });
    host.write("etc/hosts", "10.1.0.8 node8\n");
    host.deactivate(1);
    assert_eq!(host.read("etc/hosts"), "10.1.0.8 node8\n", "no rollback");
    assert_eq!(fs::read_to_string(&copy).unwrap(), "10.1.0.8 node8\n");
}

/// A process that ends with the test.
struct Process(std::process::Child);

impl Process {
    /// `sleep` by this name, standing in this directory.
    fn sleeps(name: &str, ground: &Ground, directory: &Path) -> Process {
        let program = ground.root.join(name);
        symlink("/bin/sleep", &program).unwrap();
        let child = std::process::Command::new(&program).arg("60").current_dir(directory).spawn();
        Process(child.unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn who_would_keep_a_deactivation_is_named_before_it_begins_unless_a_step_stops_it() {
    let ground = Ground::new();
    let mut host = Host::with_steps(&ground, 1, |root, data| {
        let unit = Unit {
            unit: "regent-there-is-none.service".into(),
            processes: vec!["busy-own".into()],
            ..Unit::default()
        };
        let links = ["/install", "/etc/xcat"].map(|path| link_step(root, data, path));
        links.into_iter().chain([step("toy", Kind::Unit(unit))]).collect()
    });
    let install = host.root.join("install");
    assert_eq!(host.stack.busy(), Vec::<String>::new(), "nothing is up");
    host.does(StackStep::Claim { epoch: Epoch(1), over: None });
    for n in 0..2 {
        host.does(StackStep::Up { step: StepId(n) });
    }
    let shell = Process::sleeps("busy-shell", &ground, &install);
    let own = Process::sleeps("busy-own", &ground, &install);
    let elsewhere = Process::sleeps("busy-elsewhere", &ground, &ground.root);
    let before = host.looks();
    let busy = host.stack.busy();
    assert_eq!(busy.len(), 1, "{busy:?}");
    let who = format!("busy-shell (pid {}) works in", shell.0.id());
    assert!(busy[0].contains("link /install is in use") && busy[0].contains(&who), "{busy:?}");
    assert!(!busy[0].contains("busy-own") && !busy[0].contains("busy-elsewhere"), "{busy:?}");
    assert_eq!(host.looks(), before, "nothing was changed");
    drop((shell, elsewhere));
    assert_eq!(host.stack.busy(), Vec::<String>::new());
    drop(own);
}

#[test]
fn a_link_that_an_installer_replaced_is_merged_and_restored() {
    let ground = Ground::new();
    let mut host =
        Host::with_steps(&ground, 1, |root, data| vec![link_step(root, data, "/root/.xcat")]);
    host.write("root/.xcat/old", "shared, older");
    host.write("root/.xcat/new", "shared, newer");
    host.activate(1);
    let path = host.root.join("root/.xcat");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    fs::write(path.join("old"), "installer's, newer").unwrap();
    fs::write(path.join("new"), "installer's, older").unwrap();
    fs::write(path.join("cred"), "only here").unwrap();
    let ago = |seconds| std::time::SystemTime::now() - Duration::from_secs(seconds);
    let date = |path: PathBuf, when| fs::File::open(path).unwrap().set_modified(when).unwrap();
    let shared = ground.data().join("root/.xcat");
    date(shared.join("old"), ago(100));
    date(path.join("new"), ago(100));
    let drift = host.survey().drift.join("\n");
    assert!(drift.contains("was replaced") && drift.contains("regent stack repair"), "{drift}");
    host.does(StackStep::Repair);
    assert_eq!(fs::read_link(&path).unwrap(), shared);
    assert_eq!(host.read("root/.xcat/old"), "installer's, newer");
    assert_eq!(host.read("root/.xcat/old.before-merge"), "shared, older");
    assert_eq!(host.read("root/.xcat/new"), "shared, newer");
    assert_eq!(host.read("root/.xcat/new.before-merge"), "installer's, older");
    assert_eq!(host.read("root/.xcat/cred"), "only here");
    assert!(host.survey().drift.is_empty());
    let noted = host.journal();
    assert!(noted.iter().any(|line| line.what == "note" && line.why.contains("before-merge")));
}

#[test]
fn a_replaced_link_gives_nothing_to_data_that_another_node_uses() {
    let ground = Ground::new();
    let steps = |root: &Path, data: &Path| vec![link_step(root, data, "/install")];
    let mut host = Host::with_steps(&ground, 1, steps);
    host.activate(1);
    let path = host.root.join("install");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    fs::write(path.join("late"), "of the old host").unwrap();
    let mut other = Host::with_steps(&ground, 2, steps);
    other.does(StackStep::Claim { epoch: Epoch(2), over: None });
    host.deactivate(1);
    assert!(!ground.data().join("install/late").exists());
    assert_eq!(host.read("install.replaced-the-link/late"), "of the old host");
    assert_eq!(other.survey().claim.unwrap().node, NodeId(2), "left as it is");
}

#[test]
fn a_claim_that_is_newer_or_of_another_cluster_is_foreign() {
    let ground = Ground::new();
    let (mut one, mut two) = (ground.host(1), ground.host(2));
    two.does(StackStep::Claim { epoch: Epoch(5), over: None });
    let claim = |epoch, over| StackStep::Claim { epoch: Epoch(epoch), over };
    assert!(
        matches!(one.try_do(claim(4, None)), StackResult::Foreign(why) if why.contains("host2"))
    );
    assert!(matches!(one.try_do(claim(5, None)), StackResult::Foreign(_)));
    assert!(!one.survey().permit);
    one.does(claim(6, None));
    let mut settings = (*two.stack.settings).clone();
    settings.cluster = ClusterId(8);
    two.stack = Stack::at(settings, two.root.clone());
    assert!(
        matches!(two.try_do(claim(1, None)), StackResult::Foreign(why) if why.contains("another cluster"))
    );
    two.does(claim(1, Some(ClusterId(7))));
    fs::remove_file(ground.data().join(".regent/token")).unwrap();
    assert!(
        matches!(two.try_do(claim(2, None)), StackResult::Failed(why) if why.contains("token"))
    );
}

#[test]
fn an_activation_that_did_not_end_brings_this_hosts_files_back() {
    let ground = Ground::new();
    let (mut first, mut second) = (ground.host(1), ground.host(2));
    first.activate(1);
    first.deactivate(1);
    let before = second.looks();
    let mut settings = (*second.stack.settings).clone();
    let fails = Run { argv: vec!["/bin/false".into()], may_fail: false };
    let creates = second.root.join("never");
    settings.steps.push(step("install", Kind::Install { command: fails, creates }));
    second.stack = Stack::at(settings, second.root.clone());
    second.does(StackStep::Claim { epoch: Epoch(2), over: None });
    for n in 0..second.steps() - 1 {
        second.does(StackStep::Up { step: StepId(n) });
    }
    assert_eq!(second.read("etc/hosts"), "127.0.0.1 host1\n");
    let last = StackStep::Up { step: StepId(second.steps() - 1) };
    assert!(matches!(second.try_do(last), StackResult::Failed(why) if why.contains("exit 1")));
    second.deactivate(2);
    assert_eq!(second.looks(), before);
}

#[test]
fn an_installer_runs_once_with_the_links_in_place() {
    let ground = Ground::new();
    let mut host = Host::with_steps(&ground, 1, |root, data| {
        let line = format!(
            "cd {r}; echo ran >> log; rm root/.xcat; mkdir root/.xcat; echo c > root/.xcat/cred; \
                            echo x > opt",
            r = root.display()
        );
        let command =
            Run { argv: ["sh", "-c", &line].map(str::to_owned).to_vec(), may_fail: false };
        let install = Kind::Install { command, creates: root.join("opt") };
        vec![link_step(root, data, "/root/.xcat"), step("install", install)]
    });
    host.activate(1);
    host.deactivate(1);
    host.activate(2);
    assert_eq!(host.read("log"), "ran\n");
    assert!(host.root.join("root/.xcat").is_symlink());
    assert_eq!(fs::read_to_string(ground.data().join("root/.xcat/cred")).unwrap(), "c\n");
}

#[test]
fn a_resolver_that_is_a_link_becomes_one_again() {
    let ground = Ground::new();
    let mut host = Host::with_steps(&ground, 1, |_, _| {
        vec![step("resolver", Kind::Resolver("10.1.0.100".parse().unwrap()))]
    });
    host.write("etc/real", "nameserver 10.1.0.1\n");
    let path = host.root.join("etc/resolv.conf");
    fs::remove_file(&path).unwrap();
    symlink("real", &path).unwrap();
    host.activate(1);
    assert_eq!(host.read("etc/resolv.conf"), "nameserver 10.1.0.100\nnameserver 10.1.0.1\n");
    assert_eq!(host.read("etc/real"), "nameserver 10.1.0.1\n");
    // A DHCP client rewrites it: told, and the original comes back all the same.
    host.write("etc/resolv.conf", "nameserver 10.9.9.9\n");
    assert!(host.survey().drift.join("").contains("rewritten"));
    host.deactivate(1);
    assert_eq!(fs::read_link(&path).unwrap(), Path::new("real"));
}

#[test]
fn the_wrong_database_is_refused_by_name() {
    let ground = Ground::new();
    let engine = |kind, data: &Path| Engine {
        kind,
        cfgloc: Some(data.join("etc/xcat/cfgloc")),
        data: data.join("pg"),
        version: Some("15".into()),
        server: None,
    };
    let mut host = Host::with_steps(&ground, 1, |_, data| {
        [EngineKind::Postgresql, EngineKind::Mysql, EngineKind::Sqlite]
            .map(|kind| step("database", Kind::Database(engine(kind, data))))
            .to_vec()
    });
    fs::create_dir_all(ground.data().join("etc/xcat")).unwrap();
    fs::create_dir_all(ground.data().join("pg/15/main")).unwrap();
    let version = ground.data().join("pg/15/main/PG_VERSION");
    fs::write(&version, "13\n").unwrap();
    let cfgloc = ground.data().join("etc/xcat/cfgloc");
    let mut said = |n: u16, text: Option<&str>| {
        match text {
            Some(text) => fs::write(&cfgloc, text).unwrap(),
            None => fs::remove_file(&cfgloc).unwrap(),
        }
        match host.try_do(StackStep::Up { step: StepId(n) }) {
            StackResult::Failed(why) => why,
            done @ (StackResult::Done | StackResult::Foreign(_)) => format!("{done:?}"),
        }
    };
    let pg = "Pg:dbname=xcatdb;host=10.1.0.100|xcatadm|cluster";
    let (mysql, sqlite) = ("mysql:dbname=xcatdb;host=h|u|p", "SQLite:/etc/xcat");
    for (n, text, found) in [
        (0, mysql, "says mysql"),
        (0, sqlite, "says sqlite"),
        (1, pg, "says postgresql"),
        (1, sqlite, "says sqlite"),
        (2, pg, "says postgresql"),
        (2, mysql, "says mysql"),
        (0, "", "is empty"),
        (0, "DB2:x", "no database that is known"),
    ] {
        let why = said(n, Some(text));
        assert!(why.contains(found), "{n} {text}: {why}");
    }
    assert!(said(0, Some(pg)).contains("are of PostgreSQL 13, this node's server is 15"));
    assert!(said(0, None).contains("is missing, which means SQLite"));
    fs::write(&version, "15\n").unwrap();
    let pid = ground.data().join("pg/15/main/postmaster.pid");
    fs::write(&pid, "1\n").unwrap();
    let why = said(0, Some(pg));
    // Whoever runs this test owns the data.
    assert!(why.contains("postgres") && pid.exists(), "{why}");
}

#[test]
fn a_missing_cfgloc_is_sqlite_and_a_refusal_names_the_file_that_was_looked_at() {
    let ground = Ground::new();
    let check = |n: u16, kind| {
        let mut host = Host::with_steps(&ground, n, |root, data| {
            let xcat = data.join("etc/xcat");
            let (cfgloc, version) = (Some(xcat.join("cfgloc")), None);
            let engine = Engine { kind, cfgloc, data: xcat, version, server: None };
            vec![link_step(root, data, "/etc/xcat"), step("database", Kind::Database(engine))]
        });
        fs::remove_file(host.root.join("etc/xcat/cfgloc")).ok();
        (
            host.root.clone(),
            host.survey().problems.into_iter().filter(|p| p.contains("xcat")).collect::<Vec<_>>(),
        )
    };
    // Before the first node seeded the data, its own files are looked at.
    let (root, problems) = check(1, EngineKind::Sqlite);
    let local = root.join("etc/xcat");
    let lacks = format!("{} has no data of SQLite", local.display());
    assert!(problems.len() == 1 && problems[0].starts_with(&lacks), "{problems:?}");
    fs::write(local.join("site.sqlite"), "").unwrap();
    assert_eq!(check(1, EngineKind::Sqlite).1, Vec::<String>::new());
    let (_, problems) = check(1, EngineKind::Postgresql);
    let missing = format!("{}/cfgloc is missing, which means SQLite", local.display());
    assert!(problems[0].starts_with(&missing), "{problems:?}");
    assert!(problems[0].contains("the configuration says postgresql"), "{problems:?}");
    // Afterwards the shared ones.
    let shared = ground.data().join("etc/xcat");
    fs::create_dir_all(&shared).unwrap();
    let (_, problems) = check(1, EngineKind::Postgresql);
    let missing = format!("{}/cfgloc is missing", shared.display());
    assert!(problems[0].starts_with(&missing), "{problems:?}");
    fs::write(shared.join("site.sqlite"), "").unwrap();
    assert_eq!(check(2, EngineKind::Sqlite).1, Vec::<String>::new());
    fs::write(shared.join("cfgloc"), "").unwrap();
    assert!(check(2, EngineKind::Sqlite).1[0].contains("is empty"));
}

#[test]
fn a_stale_pid_of_postgresql_goes_unless_somebody_has_the_data_open() {
    let Some(postgres) = fs::read_to_string("/etc/passwd")
        .unwrap()
        .lines()
        .find_map(|line| line.strip_prefix("postgres:")?.split(':').nth(1)?.parse().ok())
    else {
        return skipped("a_stale_pid_of_postgresql...: needs a user postgres");
    };
    let ground = Ground::new();
    let mut host = Host::with_steps(&ground, 1, |_, data| {
        let (kind, version) = (EngineKind::Postgresql, Some("15".into()));
        let engine = Engine { kind, cfgloc: None, data: data.join("pg"), version, server: None };
        vec![step("database", Kind::Database(engine))]
    });
    let main = ground.data().join("pg/15/main");
    fs::create_dir_all(&main).unwrap();
    fs::write(main.join("PG_VERSION"), "15\n").unwrap();
    std::os::unix::fs::chown(&main, Some(postgres), None).unwrap();
    let pid = main.join("postmaster.pid");
    fs::write(&pid, "1\n").unwrap();
    let open = fs::File::open(main.join("PG_VERSION")).unwrap();
    host.does(StackStep::Up { step: StepId(0) });
    assert!(pid.exists(), "somebody has it open");
    drop(open);
    host.does(StackStep::Up { step: StepId(0) });
    assert!(!pid.exists());
}

#[test]
fn what_a_set_up_would_be_refused_for_later_is_found_before_it_begins() {
    let ground = Ground::new();
    let mends = Mends { token: true, ..Mends::default() };
    let host = Host::with_steps(&ground, 1, |root, data| {
        let (kind, version) = (EngineKind::Postgresql, Some("15".into()));
        let cfgloc = Some(data.join("etc/xcat/cfgloc"));
        let engine = Engine { kind, cfgloc, data: data.join("pg"), version, server: None };
        vec![link_step(root, data, "/etc/xcat"), step("database", Kind::Database(engine))]
    });
    host.write("etc/xcat/cfgloc", "SQLite:/etc/xcat");
    fs::remove_dir_all(ground.data().join(".regent")).unwrap();
    let (before, data) = (host.looks(), looks(&ground.data()));
    let found = host.stack.before_set_up(mends).join("\n");
    assert!(
        found.contains("cfgloc says sqlite") && found.contains("no data of PostgreSQL"),
        "{found}"
    );
    assert!(!found.contains("token"), "the set-up makes it: {found}");
    let all = host.stack.before_set_up(Mends::default()).join("\n");
    assert!(all.contains("has no token"), "{all}");
    // Another node brings the data of a standby.
    assert_eq!(host.stack.before_set_up(Mends { data: true, ..mends }), Vec::<String>::new());
    assert_eq!((host.looks(), looks(&ground.data())), (before, data), "nothing was changed");
    // A link would fail over files that somebody of no unit has open; who stands there is in nobody's way.
    let standing = Process::sleeps("set-up-stands", &ground, &host.root.join("etc/xcat"));
    let reader = Process(
        std::process::Command::new("/bin/sleep")
            .arg("60")
            .stdin(fs::File::open(host.root.join("etc/xcat/cfgloc")).unwrap())
            .spawn()
            .unwrap(),
    );
    let found = host.stack.before_set_up(Mends { data: true, ..mends });
    let who = format!("sleep (pid {}) has", reader.0.id());
    assert!(found.len() == 1 && found[0].contains(&who), "{found:?}");
    drop((standing, reader));
    // No shared directory.
    fs::remove_dir_all(ground.data()).unwrap();
    let found = host.stack.before_set_up(Mends { data: true, ..mends }).join("\n");
    assert!(found.contains("is not there: mount it"), "{found}");
}

#[test]
fn data_that_do_not_fit_are_found_before_a_set_up() {
    if !rustix::process::geteuid().is_root() {
        return skipped("data_that_do_not_fit_are_found_before_a_set_up: needs root");
    }
    let ground = Ground::new();
    let host = Host::with_steps(&ground, 1, |root, data| vec![link_step(root, data, "/etc/xcat")]);
    fs::write(host.root.join("etc/xcat/big"), vec![7; 3 << 20]).unwrap();
    let place = ground.data().to_string_lossy().into_owned();
    let words = ["-t", "tmpfs", "-o", "size=1m", "x", &place];
    crate::run::run("mount", &words, "", Duration::from_secs(5)).unwrap();
    let mends = Mends { token: true, ..Mends::default() };
    let found = host.stack.before_set_up(mends).join("\n");
    crate::run::run("umount", &[&place], "", Duration::from_secs(5)).unwrap();
    assert!(found.contains("has room for 2 MB") && found.contains("make room there"), "{found}");
    assert_eq!(host.stack.before_set_up(mends), Vec::<String>::new());
}

#[test]
fn a_plan_changes_nothing() {
    let ground = Ground::new();
    let mut host = ground.host(1);
    let (before, shared) = (host.looks(), looks(&ground.data()));
    let plan = host.stack.plan(true);
    assert_eq!((host.looks(), looks(&ground.data())), (before, shared));
    let words = plan.iter().flat_map(|step| step.does.clone()).collect::<Vec<_>>().join("\n");
    let (root, data) = (host.root.display().to_string(), ground.data().display().to_string());
    for line in [
        format!("cp -a {root}/etc/xcat {data}/etc/xcat"),
        format!("mv {root}/etc/xcat {root}/etc/xcat.before-regent"),
        format!("ln -s {data}/etc/xcat {root}/etc/xcat"),
        format!("mkdir -p {data}/install"),
    ] {
        assert!(words.contains(&line), "{line} in {words}");
    }
    host.activate(1);
    let active = host.looks();
    let plan = host.stack.plan(false);
    assert_eq!(host.looks(), active);
    assert!(plan[0].name == "carry" && plan[4].does.iter().any(|does| does.starts_with("rm ")));
    assert!(host.stack.plan(true).iter().all(|step| step.does.is_empty()));
}

#[test]
fn a_watched_claim_tells_of_a_newer_one() {
    let ground = Ground::new();
    let (mut one, mut two) = (ground.host(1), ground.host(2));
    let (tell, told) = std::sync::mpsc::channel();
    let on = move |seen| tell.send(seen).unwrap();
    let watch = watch_data(&one.stack.settings, Answering::default(), on).unwrap();
    one.does(StackStep::Claim { epoch: Epoch(1), over: None });
    watch.using(Some(Epoch(1)));
    assert!(told.recv_timeout(Duration::from_millis(1500)).is_err(), "its own");
    two.does(StackStep::Claim { epoch: Epoch(2), over: None });
    let seen = told.recv_timeout(Duration::from_secs(3)).unwrap();
    assert!(matches!(seen, Seen::Foreign(why) if why.contains("host2")));
    watch.using(None);
    drop(watch);
}

#[test]
fn a_mount_is_made_and_taken_away_and_whoever_uses_it_is_named() {
    if !rustix::process::geteuid().is_root() {
        return skipped("a_mount_is_made_and_taken_away...: needs root");
    }
    let ground = Ground::new();
    let on = ground.root.join("mnt");
    let there = on.clone();
    let mut host = Host::with_steps(&ground, 1, |_, _| {
        let kind = Kind::Mount {
            source: "regent-test".into(),
            on: there,
            fstype: Some("tmpfs".into()),
            options: None,
        };
        vec![step("mount", kind)]
    });
    let (up, down) = (StackStep::Up { step: StepId(0) }, StackStep::Down { step: StepId(0) });
    host.does(up);
    host.does(up);
    assert_eq!(procs::mounts().iter().filter(|m| m.on == on).count(), 1);
    assert_eq!(host.survey().steps, [StepState::Up]);
    let file = fs::File::create(on.join("open")).unwrap();
    let StackResult::Failed(why) = host.try_do(down) else { panic!("it went") };
    assert!(why.contains(&format!("pid {}", std::process::id())), "{why}");
    drop(file);
    host.does(down);
    host.does(down);
    assert_eq!(host.survey().steps, [StepState::Down]);
}

#[test]
fn a_mount_point_is_never_made_a_link() {
    if !rustix::process::geteuid().is_root() {
        return skipped("a_mount_point_is_never_made_a_link: needs root");
    }
    let ground = Ground::new();
    let mut host =
        Host::with_steps(&ground, 1, |root, data| vec![link_step(root, data, "/install")]);
    let on = host.root.join("install");
    fs::create_dir(&on).unwrap();
    let place = on.to_string_lossy().into_owned();
    crate::run::run("mount", &["-t", "tmpfs", "x", &place], "", Duration::from_secs(5)).unwrap();
    let result = host.try_do(StackStep::Up { step: StepId(0) });
    let problems = host.survey().problems.join("\n");
    crate::run::run("umount", &[&place], "", Duration::from_secs(5)).unwrap();
    assert!(matches!(result, StackResult::Failed(why) if why.contains("mount point")));
    assert!(problems.contains("mount point"), "{problems}");
}

#[test]
fn local_files_that_are_in_use_are_neither_copied_nor_moved() {
    let ground = Ground::new();
    let mut host =
        Host::with_steps(&ground, 1, |root, data| vec![link_step(root, data, "/etc/xcat")]);
    let open = fs::File::open(host.root.join("etc/xcat/cfgloc")).unwrap();
    let up = StackStep::Up { step: StepId(0) };
    let StackResult::Failed(why) = host.try_do(up) else { panic!("it went") };
    assert!(why.contains(&format!("pid {}", std::process::id())), "{why}");
    assert!(!ground.data().join("etc/xcat").exists() && host.root.join("etc/xcat").is_dir());
    drop(open);
    host.does(up);
}

#[test]
fn what_changes_while_active_is_on_the_shared_data_seconds_later() {
    let ground = Ground::new();
    let mut host = ground.host(1);
    host.activate(1);
    host.write("etc/hosts", "10.1.0.9 node9\n");
    let copy = ground.data().join(".regent/carried/etc/hosts");
    crate::testing::until("the copy", Duration::from_secs(8), || {
        fs::read_to_string(&copy).unwrap() == "10.1.0.9 node9\n"
    });
    host.does(StackStep::Revoke);
    host.write("etc/hosts", "not any more\n");
    std::thread::sleep(Duration::from_millis(5500));
    assert_eq!(fs::read_to_string(&copy).unwrap(), "10.1.0.9 node9\n");
}
