//! Two agents in one process, on shared data and without a witness: how such a cluster comes to be.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::wildcard_enum_match_arm, reason = "any other answer fails the test")]

#[path = "shared/lab.rs"]
mod lab;

use lab::{Lab, expect_done, expect_refused, node};
use regent_api::call::{Ask, RefusalKind, Reply};

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
    assert_eq!(state.timing.ttl, regent_agent::config::timing::UNTIL_RELEASED);
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
