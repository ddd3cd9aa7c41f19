//! Units of a live systemd, each test with units of its own. Where systemd does not run, the lab runs them in a host.

use super::*;
use crate::testing::needs_host;
use regent_config::steps::{Listener, Run, Unit};
use std::net::TcpListener;

struct TestUnit {
    name: String,
}

impl TestUnit {
    fn new(service: &str) -> Option<TestUnit> {
        if !Path::new("/run/systemd/system").is_dir() || !rustix::process::geteuid().is_root() {
            let test = std::thread::current().name().unwrap_or("a test").to_owned();
            needs_host(&test);
            return None;
        }
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("regent-stack-{}-{n}.service", std::process::id());
        let unit = TestUnit { name };
        let text = format!("[Service]\n{service}\n[Install]\nWantedBy=multi-user.target\n");
        fs::write(unit.path(), text).unwrap();
        systemctl(&["daemon-reload"]);
        Some(unit)
    }

    fn path(&self) -> PathBuf {
        Path::new("/etc/systemd/system").join(&self.name)
    }

    fn host(&self, ground: &Ground, change: impl FnOnce(&mut Unit)) -> Host {
        let mut unit = Unit { unit: self.name.clone(), ..Unit::default() };
        change(&mut unit);
        let mut host = Host::with_steps(ground, 1, |_, _| vec![step("unit", Kind::Unit(unit))]);
        let mut settings = (*host.stack.settings).clone();
        settings.steps[0].stop_within = Duration::from_secs(2);
        settings.steps[0].start_within = Duration::from_secs(5);
        host.stack = Stack::at(settings, PathBuf::from("/"));
        host
    }
}

impl Drop for TestUnit {
    fn drop(&mut self) {
        // A failing test shall show its own failure.
        let _ = Command::new("systemctl").args(["kill", "-s", "KILL", &self.name]).output();
        let _ = Command::new("systemctl").args(["disable", "--now", &self.name]).output();
        let _ = Command::new("systemctl").args(["unmask", &self.name]).output();
        let _ = fs::remove_file(self.path());
        let _ = fs::remove_dir_all(self.path().with_extension("service.d"));
        let _ = Command::new("systemctl").arg("daemon-reload").output();
    }
}

use std::process::Command;

fn systemctl(words: &[&str]) -> String {
    let output = Command::new("systemctl").args(words).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

const SLEEPS: &str = "ExecStart=/bin/sleep infinity";
const UP: StackStep = StackStep::Up { step: StepId(0) };
const DOWN: StackStep = StackStep::Down { step: StepId(0) };

#[test]
fn a_unit_runs_by_permit_only_and_no_boot_starts_it() {
    let Some(unit) = TestUnit::new(SLEEPS) else { return };
    let ground = Ground::new();
    let mark = ground.root.join("order");
    let mut host = unit.host(&ground, |unit| {
        let line = |word: &str| Run {
            argv: ["sh", "-c", &format!("echo {word} >> {}", mark.display())]
                .map(str::to_owned)
                .to_vec(),
            may_fail: false,
        };
        unit.before.push(line("before"));
        unit.after.push(line("after"));
    });
    systemctl(&["enable", &unit.name]);
    let drift = host.survey().drift.join("\n");
    assert!(drift.contains("is enabled") && drift.contains("no guard"), "{drift}");
    host.does(StackStep::Repair);
    assert_eq!(systemctl(&["is-enabled", &unit.name]), "disabled");
    assert!(host.survey().drift.is_empty());
    // Whoever starts it: nothing happens.
    systemctl(&["start", &unit.name]);
    assert_eq!(systemctl(&["is-active", &unit.name]), "inactive");
    assert!(matches!(host.try_do(UP), StackResult::Failed(why) if why.contains("start condition")));
    host.does(StackStep::Claim { epoch: Epoch(1), over: None });
    host.does(UP);
    assert_eq!(systemctl(&["is-active", &unit.name]), "active");
    host.does(UP);
    assert_eq!(fs::read_to_string(&mark).unwrap(), "before\nbefore\nafter\n");
    assert_eq!(host.survey().steps, [StepState::Up]);
    // A package that stopped it for its upgrade finds it enabled, and starts it again; a boot does not.
    assert_eq!(systemctl(&["is-enabled", &unit.name]), "enabled-runtime");
    assert!(host.survey().drift.is_empty());
    host.does(StackStep::Revoke);
    host.does(DOWN);
    assert_eq!(systemctl(&["is-enabled", &unit.name]), "disabled");
    host.does(StackStep::Claim { epoch: Epoch(2), over: None });
    host.does(UP);
    // A package's upgrade enables it again.
    systemctl(&["enable", &unit.name]);
    assert!(host.survey().drift.join("").contains("is enabled"));
    host.does(StackStep::Revoke);
    host.does(DOWN);
    assert_eq!(host.survey().steps, [StepState::Down]);
    assert_eq!(systemctl(&["is-enabled", &unit.name]), "disabled");
    let started = std::time::Instant::now();
    host.survey();
    println!("a survey takes {:?}", started.elapsed());
}

#[test]
fn one_that_refuses_to_stop_fails_by_name_or_is_killed() {
    // It is up when its trap is set.
    let stubborn = "Type=notify\nNotifyAccess=all\nExecStart=/bin/sh -c 'trap \"\" TERM; \
                    systemd-notify --ready; while :; do sleep 1; done'\nTimeoutStopSec=60";
    let Some(unit) = TestUnit::new(stubborn) else { return };
    let ground = Ground::new();
    let mut host = unit.host(&ground, |_| {});
    host.does(StackStep::Claim { epoch: Epoch(1), over: None });
    host.does(UP);
    let StackResult::Failed(why) = host.try_do(DOWN) else { panic!("it went") };
    assert!(why.contains("does not end") && why.contains("pid"), "{why}");
    let mut host = unit.host(&ground, |unit| unit.kill = true);
    host.does(DOWN);
    assert_eq!(host.survey().steps, [StepState::Down]);
}

#[test]
fn what_left_its_unit_or_runs_under_another_name_is_found() {
    let Some(unit) = TestUnit::new(SLEEPS) else { return };
    let ground = Ground::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let program = ground.root.join("regent-stray");
    fs::copy("/bin/sleep", &program).unwrap();
    let mut stray = Command::new(&program).arg("60").spawn().unwrap();
    let mut host = unit.host(&ground, |unit| {
        unit.processes.push("regent-stray".into());
        unit.listeners.push(Listener { tcp: true, port });
    });
    host.does(StackStep::Claim { epoch: Epoch(1), over: None });
    host.does(UP);
    let StackResult::Failed(why) = host.try_do(DOWN) else { panic!("it went") };
    assert!(why.contains("regent-stray (pid") && why.contains(&format!("tcp/{port}")), "{why}");
    stray.kill().unwrap();
    stray.wait().unwrap();
    drop(listener);
    host.does(DOWN);
}

#[test]
fn a_masked_unit_is_unmasked_while_active() {
    let Some(unit) = TestUnit::new(SLEEPS) else { return };
    // Masked at run time, as its own file stands in /etc.
    let ground = Ground::new();
    let mut host = unit.host(&ground, |_| {});
    fs::rename(unit.path(), Path::new("/usr/lib/systemd/system").join(&unit.name)).unwrap();
    systemctl(&["mask", &unit.name]);
    host.does(StackStep::Claim { epoch: Epoch(1), over: None });
    host.does(UP);
    assert_eq!(systemctl(&["is-active", &unit.name]), "active");
    host.does(DOWN);
    assert_eq!(systemctl(&["is-enabled", &unit.name]), "masked");
    systemctl(&["unmask", &unit.name]);
    fs::remove_file(Path::new("/usr/lib/systemd/system").join(&unit.name)).unwrap();
}

#[test]
fn a_unit_that_is_not_there_is_down_and_cannot_come_up() {
    let Some(unit) = TestUnit::new(SLEEPS) else { return };
    let ground = Ground::new();
    let mut host = unit.host(&ground, |unit| {
        unit.unit = "regent-no-such.service".into();
        unit.also.push("regent-no-such.socket".into());
    });
    let survey = host.survey();
    assert_eq!(survey.steps, [StepState::Down]);
    assert!(survey.problems.join("").contains("there is no unit regent-no-such.service"));
    host.does(DOWN);
    assert!(
        matches!(host.try_do(UP), StackResult::Failed(why) if why.contains("there is no unit"))
    );
    for name in ["service", "socket"] {
        let _ = fs::remove_dir_all(format!("/etc/systemd/system/regent-no-such.{name}.d"));
    }
}

/// Stops and disables what runs on this host, so it is only tried where that is said to be fine.
#[test]
fn the_daemons_of_debian_come_up_and_go_down() {
    if std::env::var_os("REGENT_TEST_HOST_IS_MINE").is_none() {
        return needs_host("the_daemons_of_debian_come_up_and_go_down");
    }
    let ground = Ground::new();
    let unit = |name: &str, also: &[&str], ports: &[(bool, u16)], program: &str| Unit {
        unit: name.into(),
        also: also.iter().map(|also| (*also).to_owned()).collect(),
        listeners: ports.iter().map(|(tcp, port)| Listener { tcp: *tcp, port: *port }).collect(),
        processes: vec![program.into()],
        ..Unit::default()
    };
    let units = vec![
        unit("postgresql@15-main.service", &["postgresql.service"], &[(true, 5432)], "postgres"),
        unit("named.service", &["named-resolvconf.service"], &[(true, 53), (false, 53)], "named"),
        unit("isc-dhcp-server.service", &["isc-dhcp-server6.service"], &[(false, 67)], "dhcpd"),
        unit("conserver-server.service", &[], &[(true, 782), (true, 3109)], "conserver"),
        unit("tftpd-hpa.service", &["tftp.socket"], &[(false, 69)], "in.tftpd"),
    ];
    let mut host = Host::with_steps(&ground, 1, |_, _| {
        let bounds = (Duration::from_secs(30), Duration::from_secs(20));
        let one = |unit: Unit| Step {
            start_within: bounds.0,
            stop_within: bounds.1,
            ..step(&unit.unit.clone(), Kind::Unit(unit))
        };
        units.clone().into_iter().map(one).collect()
    });
    host.stack = Stack::at((*host.stack.settings).clone(), PathBuf::from("/"));
    // As after a package's upgrade: all of them enabled.
    for unit in &units {
        systemctl(&["enable", &unit.unit]);
    }
    println!("{:#?}", host.survey());
    host.does(StackStep::Repair);
    let survey = host.survey();
    assert!(survey.steps.iter().all(|state| *state == StepState::Down), "{survey:?}");
    assert!(survey.drift.is_empty(), "{survey:?}");
    for unit in &units {
        systemctl(&["start", &unit.unit]);
        assert_ne!(systemctl(&["is-active", &unit.unit]), "active", "{}", unit.unit);
    }
    for epoch in 1..=2 {
        host.does(StackStep::Claim { epoch: Epoch(epoch), over: None });
        for (n, unit) in units.iter().enumerate() {
            let started = std::time::Instant::now();
            host.does(StackStep::Up { step: StepId(n as u16) });
            println!("{} up in {:?}", unit.unit, started.elapsed());
        }
        let started = std::time::Instant::now();
        let survey = host.survey();
        println!("a survey of all takes {:?}", started.elapsed());
        assert!(survey.steps.iter().all(|state| *state == StepState::Up), "{survey:?}");
        assert!(survey.drift.is_empty(), "{survey:?}");
        host.does(StackStep::Revoke);
        for (n, unit) in units.iter().enumerate().rev() {
            let started = std::time::Instant::now();
            host.does(StackStep::Down { step: StepId(n as u16) });
            println!("{} down in {:?}", unit.unit, started.elapsed());
        }
        let survey = host.survey();
        assert!(survey.steps.iter().all(|state| *state == StepState::Down), "{survey:?}");
    }
}

#[test]
fn a_unit_that_an_activation_left_out_comes_up_with_a_repair() {
    let ground = Ground::new();
    let mended = ground.root.join("mended");
    let service = format!("ExecStartPre=/usr/bin/test -e {}\n{SLEEPS}", mended.display());
    let Some(unit) = TestUnit::new(&service) else { return };
    let mut host = unit.host(&ground, |_| {});
    let mut settings = (*host.stack.settings).clone();
    settings.steps[0].weight = Weight::Degraded;
    host.stack = Stack::at(settings, PathBuf::from("/"));
    host.does(StackStep::Claim { epoch: Epoch(1), over: None });
    assert!(matches!(host.try_do(UP), StackResult::Failed(_)));
    assert!(matches!(host.try_do(StackStep::Repair), StackResult::Failed(_)));
    fs::write(&mended, "").unwrap();
    host.does(StackStep::Repair);
    assert_eq!(host.survey().steps, [StepState::Up]);
    // One that was ended by somebody as well.
    systemctl(&["stop", &unit.name]);
    host.does(StackStep::Repair);
    assert_eq!(systemctl(&["is-active", &unit.name]), "active");
    host.does(StackStep::Revoke);
    host.does(DOWN);
}
