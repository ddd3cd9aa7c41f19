//! A prober as the agent has it: a child process (this test binary once more), lines in, lines out.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::wildcard_enum_match_arm, reason = "what else it may be is told")]

use regent_adapters::probe::line::{FromProber, ToProber};
use regent_adapters::probe::{Accounts, worker};
use regent_config::probe::{Http, Kind, Probe};
use regent_core::health::{Counts, Health, ProbeId};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

const CHILD: &str = "RG_PROBER";
/// Nothing in these tests takes longer on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The body of the test that is the prober's process.
pub fn prober_process() {
    if std::env::var_os(CHILD).is_some() {
        worker::main().expect("a prober that ends with its input");
    }
}

/// A prober and what it says.
pub struct Prober {
    process: Child,
    input: Option<ChildStdin>,
    lines: Receiver<FromProber>,
}

/// A change of health as it was told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    pub id: u16,
    pub health: Health,
    pub why: String,
}

impl Prober {
    /// Starts one.
    pub fn start() -> Prober {
        // This very binary, even if the file was built anew meanwhile.
        let mut process = Command::new("/proc/self/exe")
            .args(["--exact", "prober_process", "--ignored", "--nocapture"])
            .env(CHILD, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a prober");
        let input = process.stdin.take();
        let output = process.stdout.take().expect("its output");
        let (tell, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // The test harness has its own words.
                let Ok(line) = serde_json::from_str(&line) else { continue };
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Prober { process, input, lines }
    }

    /// Says one line.
    pub fn say(&mut self, line: &ToProber) {
        let text = serde_json::to_string(line).expect("json");
        writeln!(self.input.as_mut().expect("an input"), "{text}").expect("written");
    }

    /// Says anything.
    pub fn raw(&mut self, line: &str) {
        writeln!(self.input.as_mut().expect("an input"), "{line}").expect("written");
    }

    /// Gives it these probes.
    pub fn set(&mut self, probes: Vec<Probe>) {
        self.say(&ToProber::Set { probes, accounts: None });
    }

    /// Gives it these probes and the database.
    pub fn set_with(&mut self, probes: Vec<Probe>, accounts: Accounts) {
        self.say(&ToProber::Set { probes, accounts: Some(accounts) });
    }

    /// The next line that says something, pulses left out.
    pub fn next(&mut self) -> FromProber {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).expect("a line");
            if !matches!(line, FromProber::Pulse { .. }) {
                return line;
            }
        }
    }

    /// Every line until this time is over.
    pub fn all(&mut self, within: Duration) -> Vec<FromProber> {
        let until = Instant::now() + within;
        let left = || until.saturating_duration_since(Instant::now());
        std::iter::from_fn(|| self.lines.recv_timeout(left()).ok()).collect()
    }

    /// The next change of health, whosever it is.
    pub fn change(&mut self) -> Change {
        match self.next() {
            FromProber::Health { id, health, why } => Change { id: id.0, health, why },
            other => panic!("not a change: {other:?}"),
        }
    }

    /// Reads until this probe is so; why.
    pub fn expect(&mut self, probe: u16, expected: Health) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut last = None;
        while Instant::now() < deadline {
            let line = self.lines.recv_timeout(PATIENCE).expect("a line");
            if let FromProber::Health { id: ProbeId(id), health, why, .. } = line
                && id == probe
            {
                if health == expected {
                    return why;
                }
                last = Some((health, why));
            }
        }
        panic!("probe {probe} never {expected:?}: {last:?}")
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Closes its input; it must end by itself.
    pub fn end(mut self) {
        self.input = None;
        let deadline = Instant::now() + PATIENCE;
        while self.process.try_wait().expect("asked").is_none() {
            assert!(Instant::now() < deadline, "it did not end with its input");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A probe with the defaults of a vital one.
pub fn vital(id: u16, kind: Kind) -> Probe {
    let (interval_ms, timeout_ms, rise, fall) = (200, 250, 2, 3);
    let (id, counts) = (ProbeId(id), Counts::Always);
    Probe { id, kind, interval_ms, timeout_ms, rise, fall, counts, unit: None }
}

/// A probe that is patient and tells what it sees at once.
pub fn quick(id: u16, kind: Kind) -> Probe {
    Probe { interval_ms: 50, timeout_ms: 5000, rise: 1, fall: 1, ..vital(id, kind) }
}

/// A request without expectations.
pub fn http(url: &str) -> Http {
    Http { url: url.parse().expect("an address"), status: None, body: None, ca: None }
}
