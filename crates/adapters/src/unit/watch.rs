//! Watches one unit: systemd tells changes of its own, the main process's pidfd tells its death, and a look
//! now and then
//! covers what neither told.

use super::Units;
use super::bus::{Change, Changes};
use super::facts::Facts;
use crate::sys;
use regent_core::observe::UnitState;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;

/// With the bus this only covers what it did not tell.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Without it, a start is known this late; a death as quickly as ever.
const LOOK_WITHOUT_BUS: Duration = Duration::from_millis(250);

/// systemd says within this time whether an end was asked for; else it is a failure.
const ASKED_MAX: Duration = Duration::from_millis(100);
/// What it told of the job that ended the unit is here by then.
const SIGNALS_MAX: Duration = Duration::from_millis(20);

/// A running watch; it ends when this is dropped.
pub struct UnitWatch {
    task: JoinHandle<()>,
}

impl Drop for UnitWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(super) fn watch(
    units: Units,
    unit: &str,
    asks: bool,
    on: impl Fn(UnitState, bool) + Send + 'static,
) -> UnitWatch {
    let unit = unit.to_owned();
    let (process, changes, told, job) = (None, None, None, false);
    let watcher = Watcher { units, unit, asks, process, changes, job, told, on };
    UnitWatch { task: tokio::spawn(watcher.run()) }
}

/// The main process, held by its pidfd.
struct Process {
    pid: u32,
    started: u64,
    /// None: it was gone before it could be held.
    fd: Option<AsyncFd<OwnedFd>>,
    dead: bool,
}

struct Watcher<F> {
    units: Units,
    unit: String,
    /// Before a death is told it is asked whether somebody wanted it.
    asks: bool,
    process: Option<Process>,
    changes: Option<Changes>,
    /// There was a job of the unit since it was up and at rest.
    job: bool,
    told: Option<UnitState>,
    on: F,
}

impl<F: Fn(UnitState, bool)> Watcher<F> {
    async fn run(mut self) {
        loop {
            // Subscribed before looking: a change in between is then told.
            self.subscribe().await;
            let (units, unit) = (self.units.clone(), self.unit.clone());
            let looked = tokio::select! {
                biased;
                () = died(self.process.as_ref()) => None,
                facts = units.facts(&unit) => Some(facts),
            };
            match looked {
                Some(facts) => {
                    self.learn(facts.ok()).await;
                    self.wait().await;
                }
                None => self.bury().await,
            }
        }
    }

    async fn subscribe(&mut self) {
        if self.changes.is_some() {
            return;
        }
        if let Some(connection) = self.units.bus.connection().await {
            self.changes = Changes::of(&connection, &self.unit).await.ok();
        }
    }

    async fn learn(&mut self, facts: Option<Facts>) {
        match facts {
            Some(facts) => {
                self.hold(&facts);
                let dead = self.process.as_ref().is_some_and(|p| p.dead);
                let state = facts.state(dead);
                let is_news = state == UnitState::Down && self.told != Some(state);
                let asked = is_news && self.is_asked(&facts).await;
                self.tell(state, asked);
                if matches!(state, UnitState::Up { .. }) {
                    self.job &= facts.job;
                }
            }
            // systemd does not answer, but the process is known to live: nothing changed.
            None if self.process.as_ref().is_some_and(|p| !p.dead) => {}
            None => self.tell(UnitState::Unknown, false),
        }
    }

    /// Did somebody ask systemd for this end? Its job may be over by now: then what systemd told of it says so, on a
    /// connection of its own, which may be a moment later; and what is still there from an earlier job is read first.
    async fn is_asked(&mut self, facts: &Facts) -> bool {
        if !self.asks || !facts.is_stopped_well() || facts.job {
            return self.asks && facts.is_stopped_well();
        }
        let deadline = Instant::now() + ASKED_MAX;
        while let Some(changes) = &mut self.changes
            && Instant::now() < deadline
        {
            match tokio::time::timeout(SIGNALS_MAX, changes.next()).await {
                Ok(Some(change)) => self.note(change),
                Ok(None) => self.changes = None,
                Err(_) => break,
            }
        }
        self.job
    }

    fn note(&mut self, change: Change) {
        match (change.job, change.up) {
            (Some(true), _) => self.job = true,
            // A job that left it up, as a reload.
            (Some(false), Some(true)) => self.job = false,
            (Some(false) | None, _) => {}
        }
    }

    fn hold(&mut self, facts: &Facts) {
        let named = (facts.main_pid, facts.main_started);
        if self.process.as_ref().is_some_and(|p| (p.pid, p.started) == named) {
            return;
        }
        let pid = i32::try_from(facts.main_pid).ok().and_then(Pid::from_raw);
        self.process = pid.map(|pid| {
            let fd = pidfd_open(pid, PidfdFlags::NONBLOCK).ok();
            let fd = fd.and_then(|fd| sys::readable(fd).ok());
            Process { pid: named.0, started: named.1, dead: fd.is_none(), fd }
        });
    }

    fn tell(&mut self, state: UnitState, asked: bool) {
        if self.told != Some(state) {
            self.told = Some(state);
            (self.on)(state, asked);
        }
    }

    /// Down at once, or as soon as it is known whether somebody wanted it; what systemd makes of it comes after.
    async fn bury(&mut self) {
        let mut buried = 0;
        if let Some(process) = &mut self.process {
            process.dead = true;
            buried = process.started;
        }
        let mut asked = false;
        if self.asks {
            let facts = tokio::time::timeout(ASKED_MAX, self.units.facts(&self.unit)).await;
            if let Ok(Ok(facts)) = facts {
                // It runs again already: nobody but systemd, with a job, is as quick.
                let again = facts.main_pid != 0 && facts.main_started != buried;
                asked = again || self.is_asked(&facts).await;
            }
        }
        self.tell(UnitState::Down, asked);
    }

    /// Waits until a look is due.
    async fn wait(&mut self) {
        let pace = if self.changes.is_some() { LOOK_EVERY } else { LOOK_WITHOUT_BUS };
        let changed = async {
            match &mut self.changes {
                Some(changes) => changes.next().await,
                None => std::future::pending().await,
            }
        };
        let change = tokio::select! {
            biased;
            () = died(self.process.as_ref()) => None,
            change = changed => Some(change),
            () = tokio::time::sleep(pace) => Some(Some(Change::default())),
        };
        match change {
            None => self.bury().await,
            Some(Some(change)) => self.note(change),
            Some(None) => self.changes = None,
        }
    }
}

/// Ends when a process that was alive is not; never otherwise.
async fn died(process: Option<&Process>) {
    match process.filter(|process| !process.dead).and_then(|process| process.fd.as_ref()) {
        Some(fd) => drop(fd.readable().await),
        None => std::future::pending().await,
    }
}
