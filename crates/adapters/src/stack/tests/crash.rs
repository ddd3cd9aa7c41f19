//! The process ends after each system call that changes something; whoever runs next completes it, in either direction,
//! without a boot in between and with one.

use super::super::files::crash::LEFT;
use super::super::name;
use super::*;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

/// For the process that ends: the ground, `up` or `down`, and after how many points.
const CHILD: &str = "REGENT_STACK_CHILD";
/// For the process that has a host name of its own.
const INSIDE: &str = "REGENT_STACK_INSIDE";
/// Tries each point instead of some.
const ALL: &str = "REGENT_TEST_ALL";
const VIP_NAME: &str = "mgmt";
const OWN_NAME: &str = "host1";
/// More points than any direction has.
const POINTS_MAX: i64 = 2000;

fn again(test: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--uts", "--"]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("stack::tests::crash::{test}"), "--nocapture"]);
    command
}

fn host(ground: &Path) -> Host {
    let mut host = Host::at(ground, 1);
    let mut settings = (*host.stack.settings).clone();
    settings.steps.insert(0, step("host name", Kind::HostName(VIP_NAME.into())));
    host.stack = Stack::at(settings, host.root.clone());
    host
}

/// Does nothing unless it is started by the test below.
#[test]
fn child() {
    let Ok(words) = std::env::var(CHILD) else { return };
    let words: Vec<&str> = words.split(' ').collect();
    let mut host = host(Path::new(words[0]));
    LEFT.store(words[2].parse().unwrap(), Ordering::Relaxed);
    match words[1] {
        "up" => host.activate(1),
        _ => host.deactivate(1),
    }
}

fn is_killed_at(ground: &Ground, way: &str, point: i64) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "stack::tests::crash::child", "--nocapture"]);
    command.env(CHILD, format!("{} {way} {point}", ground.root.display()));
    let output = command.output().unwrap();
    if output.status.signal() == Some(9) {
        return true;
    }
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{way} {point}: {said}");
    false
}

/// What ends with a boot.
fn boot(host: &Host) {
    rustix::system::sethostname(OWN_NAME.as_bytes()).unwrap();
    let _ = fs::remove_file(host.root.join("run/regent/permit"));
}

/// One process is killed, the next completes; returns false if the first came to its end.
fn round(way: &str, then: &str, point: i64) -> bool {
    rustix::system::sethostname(OWN_NAME.as_bytes()).unwrap();
    let ground = Ground::on(Path::new("/dev/shm"));
    let mut next = host(&ground.root);
    next.write("etc/hostname", "host1\n");
    fs::create_dir_all(next.root.join("install/deep")).unwrap();
    next.write("install/deep/file", "content");
    let before = next.looks();
    if way == "down" {
        next.activate(1);
        next.write("etc/xcat/row", "written while active");
    }
    let killed = is_killed_at(&ground, way, point);
    if point % 2 == 1 {
        boot(&next);
    }
    let label = format!("{way} killed at {point}, then {then}");
    if then == "up" {
        next.activate(1);
        let survey = next.survey();
        assert!(survey.steps.iter().all(|s| *s == StepState::Up), "{label}: {survey:?}");
        assert!(survey.drift.is_empty(), "{label}: {survey:?}");
        assert_eq!(next.read("install/deep/file"), "content", "{label}");
        assert_eq!(name::host_name(), VIP_NAME, "{label}");
    }
    next.deactivate(1);
    assert_eq!(next.looks(), before, "{label}");
    assert_eq!(name::host_name(), OWN_NAME, "{label}");
    let survey = next.survey();
    assert!(survey.steps.iter().all(|s| *s == StepState::Down), "{label}: {survey:?}");
    let data = ground.data();
    if way == "down" || then == "up" {
        assert_eq!(
            fs::read_to_string(data.join("etc/xcat/cfgloc")).unwrap(),
            "of host1",
            "{label}"
        );
        assert_eq!(
            fs::read_to_string(data.join("install/deep/file")).unwrap(),
            "content",
            "{label}"
        );
    }
    if way == "down" {
        let row = fs::read_to_string(data.join("etc/xcat/row")).unwrap();
        assert_eq!(row, "written while active", "{label}");
    }
    let record = super::super::before::Record::load(&next.root.join("var/lib/regent/stack"));
    assert_eq!(
        *record.unwrap().get(),
        Default::default(),
        "{label}: nothing is left to bring back"
    );
    killed
}

#[test]
fn killed_after_any_system_call_it_is_completed_by_the_next() {
    if !rustix::process::geteuid().is_root() {
        return skipped("killed_after_any_system_call...: needs root, for a host name of its own");
    }
    if std::env::var_os(INSIDE).is_none() {
        let mut command = again("killed_after_any_system_call_it_is_completed_by_the_next");
        let output = command.env(INSIDE, "1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        print!("{}", String::from_utf8_lossy(&output.stdout));
        return assert!(output.status.success(), "{said}");
    }
    let stride = if std::env::var_os(ALL).is_some() { 1 } else { 17 };
    for (n, (way, then)) in
        [("up", "up"), ("up", "down"), ("down", "up"), ("down", "down")].into_iter().enumerate()
    {
        let mut point = n as i64 * 4;
        let mut rounds = 0;
        while round(way, then, point) {
            point += stride;
            rounds += 1;
            assert!(point < POINTS_MAX);
        }
        println!("{way}, then {then}: {rounds} kills up to point {point}");
        assert!(rounds > 2);
    }
}
