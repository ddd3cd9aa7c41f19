//! Units of a live systemd, each test with units of its own under /run. Where systemd does not run, the lab runs them
//! in a host.

use super::*;
use crate::testing::{needs_host, skipped, until};
use rustix::process::{Pid, Signal, kill_process};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Instant;

const BOUND: Span = Span::millis(10_000);
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A unit that is made for one test.
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
        let unit = TestUnit { name: format!("regent-test-{}-{n}.service", std::process::id()) };
        // As in what the product manages: a start that comes while the unit is still ending is counted each time that
        // systemd looks at it.
        let text = format!("[Unit]\nStartLimitIntervalSec=0\n\n[Service]\n{service}\n");
        std::fs::write(unit.path(), text).unwrap();
        systemctl::reload().unwrap();
        Some(unit)
    }

    fn path(&self) -> PathBuf {
        Path::new(dropin::DIRECTORY).join(&self.name)
    }

    fn main_pid(&self) -> Pid {
        let facts = systemctl::facts(&self.name).unwrap();
        Pid::from_raw(facts.main_pid as i32).unwrap()
    }
}

impl Drop for TestUnit {
    fn drop(&mut self) {
        // A failing test shall show its own failure.
        let _ = crate::run::run("systemctl", &["stop", &self.name], "", Duration::from_secs(90));
        let _ = std::fs::remove_file(self.path());
        let _ = systemctl::reload();
    }
}

fn with_units<F: Future>(test: impl FnOnce(Units) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let units = Units::connect().await;
        assert!(units.on_bus().await, "the bus is there");
        test(units).await
    });
}

const SLEEPS: &str = "ExecStart=/bin/sleep infinity";

#[test]
fn a_unit_starts_and_stops_once() {
    let Some(unit) = TestUnit::new(SLEEPS) else { return };
    with_units(async |units| {
        let name = &unit.name;
        assert_eq!(units.state(name).await, UnitState::Down);
        assert_eq!(units.stop(name, BOUND).await.unwrap(), Applied::AlreadySo);
        assert_eq!(units.start(name, BOUND).await.unwrap(), Applied::Changed);
        let first = units.state(name).await;
        assert!(matches!(first, UnitState::Up { .. }));
        assert_eq!(units.start(name, BOUND).await.unwrap(), Applied::AlreadySo);
        assert_eq!(units.state(name).await, first, "the same start");
        assert_eq!(units.stop(name, BOUND).await.unwrap(), Applied::Changed);
        assert_eq!(units.state(name).await, UnitState::Down);
        units.start(name, BOUND).await.unwrap();
        assert_ne!(units.state(name).await, first, "another start");
        assert_eq!(units.state("no-such-unit.service").await, UnitState::Down);
    });
}

#[test]
fn a_death_is_known_in_milliseconds() {
    let Some(unit) = TestUnit::new(SLEEPS) else { return };
    with_units(async |units| {
        let (tell, told) = mpsc::channel();
        let watch =
            units.watch(&unit.name, move |state| tell.send((Instant::now(), state)).unwrap());
        let next = || told.recv_timeout(Duration::from_secs(5)).unwrap();
        assert_eq!(next().1, UnitState::Down, "first as it is");
        for _ in 0..3 {
            units.start(&unit.name, BOUND).await.unwrap();
            let mut state = next().1;
            while state == UnitState::Unknown {
                state = next().1;
            }
            assert!(matches!(state, UnitState::Up { .. }), "{state:?}");
            let pid = unit.main_pid();
            let killed = Instant::now();
            kill_process(pid, Signal::KILL).unwrap();
            let (at, state) = next();
            println!("death told after {:?}", at - killed);
            assert_eq!(state, UnitState::Down);
            assert!(at - killed < Duration::from_millis(100), "{:?}", at - killed);
        }
        assert!(told.recv_timeout(Duration::from_millis(1500)).is_err(), "and once is enough");
        drop(watch);
        until("the watch's end", Duration::from_secs(5), || {
            matches!(told.try_recv(), Err(mpsc::TryRecvError::Disconnected))
        });
    });
}

#[test]
fn an_end_that_somebody_asked_for_is_told_as_such() {
    let Some(unit) = TestUnit::new(SLEEPS) else { return };
    with_units(async |units| {
        let (tell, told) = mpsc::channel();
        let _watch =
            units.watch_asked(&unit.name, move |state, asked| tell.send((state, asked)).unwrap());
        let next = || loop {
            match told.recv_timeout(Duration::from_secs(5)).unwrap() {
                (UnitState::Unknown, _) => {}
                (state, asked) => break (matches!(state, UnitState::Up { .. }), asked),
            }
        };
        let systemctl = |verb: &str| {
            crate::run::run("systemctl", &[verb, &unit.name], "", Duration::from_secs(20)).unwrap();
        };
        assert_eq!(next(), (false, false), "it was never up");
        for round in 0..5 {
            systemctl("start");
            assert_eq!(next(), (true, false));
            systemctl("stop");
            assert_eq!(next(), (false, true), "a stop, round {round}");
            systemctl("start");
            assert_eq!(next(), (true, false));
            systemctl("restart");
            assert_eq!(next(), (false, true), "a restart, round {round}");
            assert_eq!(next(), (true, false));
            // A clean end that nobody asked systemd for, and one that is not.
            for signal in [Signal::TERM, Signal::KILL] {
                kill_process(unit.main_pid(), signal).unwrap();
                assert_eq!(next(), (false, false), "{signal:?}, round {round}");
                systemctl("start");
                assert_eq!(next(), (true, false));
            }
            systemctl("stop");
            assert_eq!(next(), (false, true));
        }
    });
}

#[test]
fn a_kill_leaves_nobody_and_a_start_follows_it() {
    // What it starts ignores all that can be ignored, and leaves its process group.
    let service = "ExecStart=/bin/sh -c 'trap \"\" TERM HUP INT; for n in 1 2 3 4 5; do \
                   setsid sleep infinity & done; sleep infinity'";
    let Some(unit) = TestUnit::new(service) else { return };
    with_units(async |units| {
        for _ in 0..3 {
            units.start(&unit.name, BOUND).await.unwrap();
            let facts = units.facts(&unit.name).await.unwrap();
            let started = Instant::now();
            assert_eq!(units.kill(&unit.name, BOUND).await.unwrap(), Applied::Changed);
            println!("killed whole after {:?}", started.elapsed());
            assert!(!runs(facts.main_pid));
            assert_eq!(units.kill(&unit.name, BOUND).await.unwrap(), Applied::AlreadySo);
        }
        assert_eq!(
            units.start(&unit.name, BOUND).await.unwrap(),
            Applied::Changed,
            "at once again"
        );
        units.kill(&unit.name, BOUND).await.unwrap();
    });
}

/// One that nobody has waited for yet runs no more.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
}

#[test]
fn a_managed_unit_is_not_restarted_by_systemd() {
    let always = format!("{SLEEPS}\nRestart=always\nRestartSec=0");
    let Some(unit) = TestUnit::new(&always) else { return };
    with_units(async |units| {
        let managed = [Managed::service(&unit.name)];
        units.start(&unit.name, BOUND).await.unwrap();
        let before = units.state(&unit.name).await;
        kill_process(unit.main_pid(), Signal::KILL).unwrap();
        let restarted = async || {
            let state = units.state(&unit.name).await;
            matches!(state, UnitState::Up { .. }) && state != before
        };
        let deadline = Instant::now() + Duration::from_secs(5);
        while !restarted().await {
            assert!(Instant::now() < deadline, "systemd restarts it while it is not ours");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(units.manage(&managed).await.unwrap(), Applied::Changed);
        assert_eq!(units.manage(&managed).await.unwrap(), Applied::AlreadySo);
        kill_process(unit.main_pid(), Signal::KILL).unwrap();
        let deadline = Instant::now() + Duration::from_millis(1500);
        while Instant::now() < deadline {
            let state = units.state(&unit.name).await;
            assert!(
                state == before || !matches!(state, UnitState::Up { .. }) || !restarted().await
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(units.state(&unit.name).await, UnitState::Down);
        assert_eq!(units.unmanage(&managed).await.unwrap(), Applied::Changed);
    });
}

#[test]
fn a_start_that_fails_or_hangs_is_told_so() {
    let Some(fails) = TestUnit::new("Type=oneshot\nExecStart=/bin/false") else { return };
    let Some(hangs) = TestUnit::new("Type=notify\nExecStart=/bin/sleep infinity") else { return };
    with_units(async |units| {
        let error = units.start(&fails.name, BOUND).await.unwrap_err();
        assert_eq!(error.to_string(), format!("start {}: job failed", fails.name));
        let started = Instant::now();
        let error = units.start(&hangs.name, Span::millis(200)).await.unwrap_err();
        assert!(matches!(error, UnitError::TooLong { .. }), "{error}");
        assert!(started.elapsed() < Duration::from_secs(2));
        assert_eq!(units.state(&hangs.name).await, UnitState::Unknown, "between the two");
        let error = units.start("no-such-unit.service", BOUND).await.unwrap_err();
        assert!(matches!(error, UnitError::Bus { .. }), "{error}");
    });
}

/// What these tests do to a host asks for one that nobody else needs.
fn may_disturb(test: &str) -> bool {
    let may = std::env::var_os("REGENT_TEST_HOST_IS_MINE").is_some();
    if !may {
        needs_host(test);
    }
    may
}

/// D1: Debian's socket would start a killed server at the next connect.
#[test]
fn mariadb_is_started_by_nobody_else() {
    const NAME: &str = "mariadb_is_started_by_nobody_else";
    const UNIT: &str = "mariadb.service";
    if !may_disturb(NAME) {
        return;
    }
    with_units(async |units| {
        let shows = |unit: &str, property: &str| {
            let arguments = ["show", "--value", "--property", property, unit];
            let out = crate::run::run("systemctl", &arguments, "", Duration::from_secs(10));
            out.unwrap().trim().to_owned()
        };
        if shows(UNIT, "LoadState") != "loaded" {
            return skipped(&format!("{NAME}: there is no {UNIT}"));
        }
        let managed = [Managed::mariadb(UNIT)];
        units.unmanage(&managed).await.unwrap();
        units.start("mariadb.socket", BOUND).await.ok();
        units.start(UNIT, Span::millis(60_000)).await.unwrap();
        units.manage(&managed).await.unwrap();
        assert_eq!(shows("mariadb.socket", "LoadState"), "masked");
        assert_eq!(shows("mariadb.socket", "ActiveState"), "inactive");
        assert_eq!([shows(UNIT, "Restart"), shows(UNIT, "SendSIGKILL")], ["no", "yes"]);
        for _ in 0..3 {
            units.start(UNIT, Span::millis(60_000)).await.unwrap();
            let killed = Instant::now();
            assert_eq!(units.kill(UNIT, BOUND).await.unwrap(), Applied::Changed);
            println!("mariadb killed whole after {:?}", killed.elapsed());
            let connect = || std::net::TcpStream::connect("127.0.0.1:3306");
            assert!(connect().is_err(), "nobody listens in its place");
            let looks = Instant::now();
            while looks.elapsed() < Duration::from_millis(500) {
                tokio::time::sleep(Duration::from_millis(50)).await;
                assert_eq!(units.state(UNIT).await, UnitState::Down);
            }
        }
        units.start(UNIT, Span::millis(60_000)).await.unwrap();
    });
}

/// Stops the bus of the whole host.
#[test]
fn without_the_bus_all_goes_on() {
    if !may_disturb("without_the_bus_all_goes_on") {
        return;
    }
    let Some(unit) = TestUnit::new(SLEEPS) else { return };
    with_units(async |units| {
        let (tell, told) = mpsc::channel();
        let _watch = units.watch(&unit.name, move |state| tell.send(state).unwrap());
        let bus = |verb: &str| {
            let arguments = [verb, "dbus.socket", "dbus.service"];
            crate::run::run("systemctl", &arguments, "", Duration::from_secs(20)).unwrap();
        };
        let up = |expected: bool| {
            let state = loop {
                match told.recv_timeout(Duration::from_secs(10)).unwrap() {
                    UnitState::Unknown => {}
                    state @ (UnitState::Up { .. } | UnitState::Down) => break state,
                }
            };
            assert_eq!(matches!(state, UnitState::Up { .. }), expected, "{state:?}");
        };
        up(false);
        bus("stop");
        let started = Instant::now();
        units.start(&unit.name, BOUND).await.ok();
        units.start(&unit.name, BOUND).await.unwrap();
        println!("started without the bus after {:?}", started.elapsed());
        assert!(!units.on_bus().await);
        up(true);
        let killed = Instant::now();
        kill_process(unit.main_pid(), Signal::KILL).unwrap();
        up(false);
        println!("death told without the bus after {:?}", killed.elapsed());
        units.start(&unit.name, BOUND).await.unwrap();
        up(true);
        assert_eq!(units.kill(&unit.name, BOUND).await.unwrap(), Applied::Changed);
        up(false);
        bus("start");
        let deadline = Instant::now() + Duration::from_secs(10);
        while !units.on_bus().await {
            assert!(Instant::now() < deadline, "found again");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        units.start(&unit.name, BOUND).await.unwrap();
        up(true);
    });
}
