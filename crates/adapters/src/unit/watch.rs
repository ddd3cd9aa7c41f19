//! Watches one unit: systemd tells changes of its own, the main process's pidfd tells its death, and a look
//! now and then
//! covers what neither told.

use super::bus::Changes;
use super::{Facts, Units};
use crate::sys;
use regent_core::observe::UnitState;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;

/// With the bus this only covers what it did not tell.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Without it, a start is known this late; a death as quickly as ever.
const LOOK_WITHOUT_BUS: Duration = Duration::from_millis(250);

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
    on: impl Fn(UnitState) + Send + 'static,
) -> UnitWatch {
    let unit = unit.to_owned();
    let watcher = Watcher { units, unit, process: None, changes: None, told: None, on };
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
    process: Option<Process>,
    changes: Option<Changes>,
    told: Option<UnitState>,
    on: F,
}

impl<F: Fn(UnitState)> Watcher<F> {
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
                    self.learn(facts.ok());
                    self.wait().await;
                }
                None => self.bury(),
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

    fn learn(&mut self, facts: Option<Facts>) {
        match facts {
            Some(facts) => {
                self.hold(&facts);
                let dead = self.process.as_ref().is_some_and(|p| p.dead);
                self.tell(facts.state(dead));
            }
            // systemd does not answer, but the process is known to live: nothing changed.
            None if self.process.as_ref().is_some_and(|p| !p.dead) => {}
            None => self.tell(UnitState::Unknown),
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

    fn tell(&mut self, state: UnitState) {
        if self.told != Some(state) {
            self.told = Some(state);
            (self.on)(state);
        }
    }

    /// Down at once; what systemd makes of it comes after.
    fn bury(&mut self) {
        if let Some(process) = &mut self.process {
            process.dead = true;
        }
        self.tell(UnitState::Down);
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
        let bus_is_there = tokio::select! {
            biased;
            () = died(self.process.as_ref()) => return self.bury(),
            alive = changed => alive,
            () = tokio::time::sleep(pace) => true,
        };
        if !bus_is_there {
            self.changes = None;
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
