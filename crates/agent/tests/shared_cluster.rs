//! Two agents in one process, on shared data and without a witness: how such a cluster comes to be.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::wildcard_enum_match_arm, reason = "any other answer fails the test")]

#[path = "shared/lab.rs"]
mod lab;

use lab::{Lab, Running, expect_done, expect_refused, node};
use regent_api::call::{Ask, RefusalKind, Reply};
use regent_api::status::Role;
use regent_core::command::{LifeSigns, Word};
use regent_core::id::NodeId;
use regent_core::reason::MoveReason;
use regent_core::state::Data;
use std::time::{Duration, Instant};

fn activate(off: Option<&str>) -> Ask {
    Ask::Activate { off: off.map(String::from), cannot_write: None, dry_run: false }
}

/// It ended well, or the test ends.
fn expect_moved(reply: Option<Reply>) {
    match reply {
        Some(Reply::Moved(moved)) => assert_eq!(moved.obstacle, None, "{moved:#?}"),
        other => panic!("{other:?}"),
    }
}

fn expect_not_moved(reply: Option<Reply>, kind: RefusalKind, part: &str) {
    match reply {
        Some(Reply::Moved(moved)) => {
            assert_eq!(moved.obstacle, Some(kind), "{moved:#?}");
            assert!(moved.text.contains(part), "{}", moved.text);
        }
        other => panic!("{other:?}"),
    }
}

/// An activation is refused since no majority answers: the last word of the other node, whatever it was, is believed
/// for some seconds after its end.
fn expect_no_majority(running: &Running) {
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        match running.ask(activate(None)) {
            Some(Reply::Moved(moved)) if moved.obstacle == Some(RefusalKind::NoQuorum) => {
                return assert!(moved.text.contains("no majority"), "{}", moved.text);
            }
            Some(Reply::Moved(moved)) => {
                assert!(moved.obstacle.is_some(), "it was activated: {moved:#?}");
                assert!(Instant::now() < deadline, "{moved:#?}");
            }
            other => panic!("{other:?}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Founded by mn1; nobody is active.
fn founded(name: &str) -> (Lab, Running, Running) {
    let lab = Lab::new(name);
    let [mn1, mn2] = ["mn1", "mn2"].map(|name| lab.start(name));
    for running in [&mn1, &mn2] {
        running.expect("it listens", |s| !s.initialised);
    }
    expect_done(mn1.ask(Ask::Init), "has the id");
    for running in [&mn1, &mn2] {
        running.expect("it is founded", |s| s.initialised && s.epoch.is_some());
    }
    (lab, mn1, mn2)
}

/// Asks an agent that begins a new life, as the command does.
fn ask_again(running: &Running, ask: &Ask) -> Option<Reply> {
    let began = Instant::now();
    loop {
        std::thread::sleep(Duration::from_millis(100));
        match running.ask(ask.clone()) {
            None if began.elapsed() < Duration::from_secs(10) => {}
            reply => return reply,
        }
    }
}

/// A word on the other one of two makes a register; until its majority was not heard for a while nobody knows that.
fn renewed(running: &Running, word: &Ask, told: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match running.ask(word.clone()) {
            Some(Reply::Again(text)) => return assert!(text.contains(told), "{text}"),
            Some(Reply::Moved(moved)) if moved.obstacle == Some(RefusalKind::NoQuorum) => {
                assert!(Instant::now() < deadline, "{moved:#?}");
            }
            other => panic!("{other:?}"),
        }
    }
}

/// mn1 dies while it is active; an operator says so, and mn2 takes over with a register of its own.
fn taken_over(name: &str) -> (Lab, Running) {
    let (lab, mn1, mn2) = founded(name);
    expect_moved(mn1.ask(activate(None)));
    let whole = lab.steps_up("mn1");
    assert!(whole > 10);
    // A version that it does not know yet would void the word.
    mn2.expect("mn1 is active", |s| node(s, "mn1").role == Role::Active);
    mn1.stop();
    lab.reboot("mn1");
    mn2.expect("mn1 is missed", |s| !node(s, "mn1").reachable);
    expect_no_majority(&mn2);
    let old = lab.state("mn2");
    match mn2.ask(activate(Some("mn1"))) {
        Some(Reply::Again(text)) => assert!(text.contains("mn1 is off"), "{text}"),
        other => panic!("{other:?}"),
    }
    expect_moved(ask_again(&mn2, &activate(None)));
    assert_eq!(lab.steps_up("mn2"), whole);
    let new = lab.state("mn2");
    assert_ne!(new.cluster, old.cluster);
    assert_eq!(new.replaces, Some(old.cluster));
    assert!(new.lease.epoch > old.lease.epoch);
    assert!(matches!(new.data, Data::InUse { node, .. } if node.0 == 2), "{:?}", new.data);
    assert!(
        new.history.iter().any(|m| m.why == MoveReason::NewRegister(Word::IsOff(NodeId(1)))),
        "{:?}",
        new.history
    );
    let archive = lab.root().join("mn2/state").join(format!("register.replaced-{}", old.cluster));
    assert!(archive.exists());
    (lab, mn2)
}

#[test]
fn a_pair_is_activated_moved_and_deactivated_by_hand() {
    let (lab, mn1, mn2) = founded("shared-by-hand");
    expect_moved(mn1.ask(activate(None)));
    mn2.expect("mn1 is active", |s| node(s, "mn1").role == Role::Active);
    expect_not_moved(mn2.ask(activate(None)), RefusalKind::ActiveElsewhere, "mn1");
    expect_not_moved(
        mn2.ask(activate(Some("mn1"))),
        RefusalKind::ActiveElsewhere,
        "mn1 is not off: its agent answers",
    );
    expect_moved(mn1.ask(Ask::Deactivate { dry_run: false }));
    assert_eq!(lab.steps_up("mn1"), 0);
    // What mn2 knows of the register comes milliseconds later.
    mn2.expect("nobody uses the data", |s| {
        s.stopped && s.shared.as_ref().is_some_and(|shared| shared.in_use.is_none())
    });
    expect_moved(mn2.ask(activate(None)));
    assert!(lab.steps_up("mn2") > 10);
    mn1.stop();
    mn2.stop();
}

#[test]
fn the_death_of_the_standby_touches_nothing_and_it_comes_back_by_itself() {
    let (lab, mn1, mn2) = founded("shared-standby");
    expect_moved(mn1.ask(activate(None)));
    let whole = lab.steps_up("mn1");
    mn2.stop();
    mn1.expect("mn2 is missed", |s| !node(s, "mn2").reachable);
    assert_eq!(lab.steps_up("mn1"), whole);
    let mn2 = lab.start("mn2");
    mn2.expect("both are well", |s| {
        node(s, "mn1").role == Role::Active && node(s, "mn1").reachable
    });
    assert_eq!(lab.steps_up("mn1"), whole);
    expect_moved(mn1.ask(Ask::Deactivate { dry_run: false }));
    mn1.stop();
    mn2.stop();
}

/// A pair took a refused connection for "off": the agent of mn1 is dead, and its host answers.
#[test]
fn a_word_about_a_host_that_answers_makes_no_register() {
    let (lab, mn1, mn2) = founded("shared-lie");
    expect_moved(mn1.ask(activate(None)));
    let whole = lab.steps_up("mn1");
    mn1.stop();
    mn2.expect("mn1 is missed", |s| !node(s, "mn1").reachable);
    let old = lab.state("mn2");
    lab.show("mn2", LifeSigns { links: vec![[2, 0, 0, 0, 0, 1]], ..LifeSigns::SILENT });
    let told = "02:00:00:00:00:01 answers for its address by ARP";
    expect_not_moved(mn2.ask(activate(Some("mn1"))), RefusalKind::NotProvenClear, told);
    assert_eq!(lab.state("mn2").cluster, old.cluster);
    assert_eq!((lab.steps_up("mn1"), lab.steps_up("mn2")), (whole, 0));
    // Its storage is surely gone, and only its network lives.
    lab.reboot("mn1");
    let (off, cannot_write) = (None, Some("mn1".to_string()));
    renewed(&mn2, &Ask::Activate { off, cannot_write, dry_run: false }, "mn1 cannot write");
    expect_moved(ask_again(&mn2, &activate(None)));
    assert_eq!(lab.steps_up("mn2"), whole);
    mn2.stop();
}

/// mn1 was not off, only cut off: its stack is up, and it hears that another register took the place of its own.
#[test]
fn a_greeting_by_another_register_stops_the_stack() {
    let (lab, mn1, mn2) = founded("shared-greeted");
    expect_moved(mn1.ask(activate(None)));
    let whole = lab.steps_up("mn1");
    mn1.stop();
    mn2.expect("mn1 is missed", |s| !node(s, "mn1").reachable);
    renewed(&mn2, &activate(Some("mn1")), "mn1 is off");
    assert_eq!(lab.steps_up("mn1"), whole);
    mn2.expect("it is a cluster of its own", |s| s.initialised);
    let mn1 = lab.start("mn1");
    let deadline = Instant::now() + Duration::from_secs(20);
    while lab.steps_up("mn1") > 0 {
        assert!(Instant::now() < deadline, "its stack is up: {}", lab.steps_up("mn1"));
        std::thread::sleep(Duration::from_millis(50));
    }
    mn1.stop();
    mn2.stop();
}

#[test]
fn an_operators_word_makes_a_register_of_one_and_the_old_one_stays_passive() {
    let (lab, mn2) = taken_over("shared-word");
    let whole = lab.steps_up("mn2");
    // What was off comes back, with the register that was replaced.
    let mn1 = lab.start("mn1");
    let there = mn1.expect("mn1 is told", |s| node(s, "mn2").reason.contains("stays passive"));
    assert!(node(&there, "mn2").reason.contains("on mn2: regent rejoin mn1"), "{there:#?}");
    let here = mn2.expect("mn2 tells it", |s| node(s, "mn1").reason.contains("is back"));
    assert!(node(&here, "mn1").reason.contains("regent rejoin mn1"), "{here:#?}");
    assert_eq!((lab.steps_up("mn1"), lab.steps_up("mn2")), (0, whole));
    let answers = "mn2 is not off";
    expect_not_moved(mn1.ask(activate(Some("mn2"))), RefusalKind::ActiveElsewhere, answers);
    // One command takes it back; what runs is not touched.
    let before = lab.state("mn2");
    expect_done(mn2.ask(Ask::Rejoin { node: "mn1".into() }), "mn1 gets its seat beside mn2 again");
    for running in [&mn1, &mn2] {
        running.expect("both are one cluster", |s| {
            node(s, "mn1").reachable
                && node(s, "mn2").reachable
                && node(s, "mn2").role == Role::Active
                && node(s, "mn1").role == Role::Standby
        });
    }
    assert_eq!((lab.steps_up("mn1"), lab.steps_up("mn2")), (0, whole));
    let after = lab.state("mn1");
    assert_eq!((after.cluster, after.data), (before.cluster, before.data));
    expect_done(ask_again(&mn2, &Ask::Rejoin { node: "mn1".into() }), "already");
    // And it is a pair again: a move needs both, and works.
    expect_moved(ask_again(&mn2, &Ask::Deactivate { dry_run: false }));
    expect_moved(ask_again(&mn1, &activate(None)));
    assert_eq!((lab.steps_up("mn1"), lab.steps_up("mn2")), (whole, 0));
    mn1.stop();
    mn2.stop();
}

#[test]
fn a_node_that_lost_its_disk_is_taken_back_while_the_other_one_serves() {
    let (lab, mn1, mn2) = founded("shared-disk");
    expect_moved(mn1.ask(activate(None)));
    let whole = lab.steps_up("mn1");
    mn2.stop();
    std::fs::remove_file(lab.root().join("mn2/state/register")).unwrap();
    let mn2 = lab.start("mn2");
    let empty = mn2.expect("it is empty", |s| !s.initialised);
    assert!(empty.reason.contains("regent rejoin mn2, on another node"), "{}", empty.reason);
    let admit = mn1.ask(Ask::AdmitVoter { node: "mn2".into() });
    expect_refused(admit, RefusalKind::Guard, "regent rejoin mn2");
    expect_done(mn1.ask(Ask::Rejoin { node: "mn2".into() }), "gets its seat");
    mn2.expect("it votes again", |s| s.initialised && node(s, "mn1").role == Role::Active);
    mn1.expect("and nothing moved", |s| {
        node(s, "mn1").role == Role::Active && node(s, "mn2").reachable
    });
    assert_eq!((lab.steps_up("mn1"), lab.steps_up("mn2")), (whole, 0));
    expect_moved(ask_again(&mn1, &Ask::Deactivate { dry_run: false }));
    mn1.stop();
    mn2.stop();
}

#[test]
fn after_a_power_failure_of_both_the_one_that_is_back_serves_by_an_operators_word() {
    let (lab, mn1, mn2) = founded("shared-both");
    expect_moved(mn1.ask(activate(None)));
    let whole = lab.steps_up("mn1");
    mn2.stop();
    mn1.stop();
    lab.reboot("mn1");
    assert!(lab.steps_up("mn1") > 0, "something is noted durably");
    let mn1 = lab.start("mn1");
    // Without the other one it cannot take back its own record of use, and does not go on by itself.
    let deadline = Instant::now() + Duration::from_secs(10);
    while lab.steps_up("mn1") > 0 {
        assert!(Instant::now() < deadline, "what is left of the last boot is put down");
        std::thread::sleep(Duration::from_millis(50));
    }
    expect_no_majority(&mn1);
    match mn1.ask(activate(Some("mn2"))) {
        Some(Reply::Again(text)) => assert!(text.contains("mn2 is off"), "{text}"),
        other => panic!("{other:?}"),
    }
    expect_moved(ask_again(&mn1, &activate(None)));
    assert_eq!(lab.steps_up("mn1"), whole);
    mn1.stop();
}

#[test]
fn nobody_is_taken_back_who_does_not_answer_or_still_runs_something() {
    let (lab, mn2) = taken_over("shared-refused");
    let rejoin = || Ask::Rejoin { node: "mn1".into() };
    expect_refused(mn2.ask(rejoin()), RefusalKind::Unreachable, "mn1 does not answer");
    // It was cut off, and not off: a part of its stack is still up.
    lab.leave_up("mn1");
    let mn1 = lab.start("mn1");
    mn1.expect("it listens", |s| s.initialised);
    let told = "a part of the stack is up there";
    expect_refused(mn2.ask(rejoin()), RefusalKind::Guard, told);
    expect_refused(mn2.ask(Ask::Rejoin { node: "mn2".into() }), RefusalKind::Usage, "this node");
    // Asked of the one whose register was replaced: the newer register is not left for it.
    let wrong_way = mn1.ask(Ask::Rejoin { node: "mn2".into() });
    expect_refused(wrong_way, RefusalKind::Guard, "replaced that of the node that asks");
    mn1.stop();
    mn2.stop();
}

#[test]
fn two_hosts_found_a_cluster_and_nothing_starts() {
    let lab = Lab::new("shared-founded");
    let [mn1, mn2] = ["mn1", "mn2"].map(|name| lab.start(name));
    for running in [&mn1, &mn2] {
        running.expect("nobody invents a cluster", |s| !s.initialised);
    }
    expect_done(mn1.ask(Ask::Init), "nothing starts before: regent activate");
    let token = std::fs::read_to_string(lab.data().join(".regent/token")).unwrap();
    assert_eq!(token.trim().len(), 32);
    for running in [&mn1, &mn2] {
        let status = running.expect("both hear it", |s| s.initialised && s.epoch == Some(1));
        assert!(status.stopped, "{status:#?}");
    }
    assert_eq!(lab.steps_up("mn1") + lab.steps_up("mn2"), 0);
    let state = lab.state("mn2");
    assert_eq!(state.timing.ttl, regent_config::timing::UNTIL_RELEASED);
    assert_eq!(state.data, regent_core::state::Data::Clear);
    expect_refused(mn2.ask(Ask::Init), RefusalKind::Guard, "belongs to a cluster");
    mn1.stop();
    mn2.stop();
}

#[test]
fn an_equal_path_is_not_the_same_directory() {
    let lab = Lab::new("shared-token");
    let apart = lab.root().join("apart");
    std::fs::create_dir_all(&apart).unwrap();
    // The other host has a directory of its own at the same path.
    let mn1 = lab.start("mn1");
    let mn2 = lab.start_with("mn2", |text| {
        text.replace(&lab.data().display().to_string(), &apart.display().to_string())
    });
    for running in [&mn1, &mn2] {
        running.expect("it listens", |s| !s.initialised);
    }
    expect_refused(mn1.ask(Ask::Init), RefusalKind::Guard, "mn2 cannot read the shared data");
    std::fs::create_dir_all(apart.join(".regent")).unwrap();
    std::fs::write(apart.join(".regent/token"), format!("{:032x}\n", 7)).unwrap();
    let told = "of mn2 is another directory: its token differs from the one here";
    expect_refused(mn1.ask(Ask::Init), RefusalKind::Guard, told);
    assert!(!mn1.status().unwrap().initialised);
    mn1.stop();
    mn2.stop();
}

#[test]
fn what_does_not_answer_or_is_no_directory_is_told_before_anything_is_written() {
    let lab = Lab::new("shared-absent");
    let mn1 = lab.start("mn1");
    mn1.expect("it listens", |s| !s.initialised);
    expect_refused(mn1.ask(Ask::Init), RefusalKind::Unreachable, "mn2 is needed");
    std::fs::remove_dir_all(lab.data()).unwrap();
    expect_refused(mn1.ask(Ask::Init), RefusalKind::Configuration, "is no directory here");
    match mn1.ask(Ask::Explain) {
        Some(Reply::Text(lines)) => assert!(lines.join(" ").contains("belongs to no cluster")),
        other => panic!("{other:?}"),
    }
    let status = mn1.status().unwrap();
    assert_eq!(node(&status, "mn1").name, "mn1");
    mn1.stop();
}

/// Each was activated by a word while the other one was off: two registers that both replaced the first.
#[test]
fn of_two_registers_whose_nodes_ask_each_other_to_leave_at_once_one_stays() {
    let (lab, mn1, mn2) = founded("shared-both-ways");
    let first = lab.state("mn1").cluster;
    mn2.stop();
    mn1.expect("mn2 is missed", |s| !node(s, "mn2").reachable);
    renewed(&mn1, &activate(Some("mn2")), "mn2 is off");
    expect_moved(ask_again(&mn1, &activate(None)));
    expect_moved(ask_again(&mn1, &Ask::Deactivate { dry_run: false }));
    mn1.stop();
    let mn2 = lab.start("mn2");
    mn2.expect("it listens", |s| s.initialised && !node(s, "mn1").reachable);
    renewed(&mn2, &activate(Some("mn1")), "mn1 is off");
    let mn1 = lab.start("mn1");
    for running in [&mn1, &mn2] {
        running.expect("it listens", |s| s.initialised);
    }
    let rejoin = |name: &str| Ask::Rejoin { node: name.into() };
    std::thread::scope(|scope| {
        for (running, other) in [(&mn1, "mn2"), (&mn2, "mn1")] {
            scope.spawn(move || running.ask(rejoin(other)));
        }
    });
    let votes = |running: &Running| running.status().is_some_and(|s| s.initialised);
    let deadline = Instant::now() + Duration::from_secs(30);
    while !(votes(&mn1) || votes(&mn2)) {
        assert!(Instant::now() < deadline, "both left, and nobody votes any more");
        std::thread::sleep(Duration::from_millis(50));
    }
    for name in ["mn1", "mn2"] {
        let left = lab.root().join(name).join(format!("state/register.replaced-{first}"));
        assert!(left.exists(), "{name} went on in the first register");
    }
    mn1.stop();
    mn2.stop();
}
