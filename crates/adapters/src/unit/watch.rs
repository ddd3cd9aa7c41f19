//! Watches one unit: systemd tells changes of its own, the main process's pidfd tells its death, and a look now and then
//! covers what neither told.

use super::bus::Changes;
use super::{Facts, Units};
use regent_core::observe::UnitState;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::io::Interest;
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
    let watcher = Watcher { units, unit: unit.to_owned(), process: None, changes: None };
    UnitWatch { task: tokio::spawn(watcher.run(on)) }
}

/// The main process, held by its pidfd.
struct Process {
    pid: u32,
    started: u64,
    /// None: it was gone before it could be held.
    fd: Option<AsyncFd<OwnedFd>>,
    dead: bool,
}

struct Watcher {
    units: Units,
    unit: String,
    process: Option<Process>,
    changes: Option<Changes>,
}

impl Watcher {
    async fn run(mut self, on: impl Fn(UnitState)) {
        let mut told = None;
        loop {
            // Subscribed before looking: a change in between is then told.
            self.subscribe().await;
            let state = self.look().await;
            if let Some(state) = state
                && told != Some(state)
            {
                told = Some(state);
                on(state);
            }
            if self.wait().await {
                // Down at once; what systemd makes of it comes after.
                if told != Some(UnitState::Down) {
                    told = Some(UnitState::Down);
                    on(UnitState::Down);
                }
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

    /// The state, or none if systemd does not answer while the process is known to live: then nothing changed.
    async fn look(&mut self) -> Option<UnitState> {
        match self.units.facts(&self.unit).await {
            Ok(facts) => {
                self.hold(&facts);
                Some(facts.state(self.process.as_ref().is_some_and(|p| p.dead)))
            }
            Err(_) if self.process.as_ref().is_some_and(|p| !p.dead) => None,
            Err(_) => Some(UnitState::Unknown),
        }
    }

    fn hold(&mut self, facts: &Facts) {
        let named = (facts.main_pid, facts.main_started);
        if self.process.as_ref().is_some_and(|p| (p.pid, p.started) == named) {
            return;
        }
        let pid = i32::try_from(facts.main_pid).ok().and_then(Pid::from_raw);
        self.process = pid.map(|pid| {
            let fd = pidfd_open(pid, PidfdFlags::NONBLOCK)
                .ok()
                .and_then(|fd| AsyncFd::with_interest(fd, Interest::READABLE).ok());
            Process { pid: named.0, started: named.1, dead: fd.is_none(), fd }
        });
    }

    /// Waits until a look is due; true if the main process has died.
    async fn wait(&mut self) -> bool {
        let pace = if self.changes.is_some() { LOOK_EVERY } else { LOOK_WITHOUT_BUS };
        let process = self.process.as_mut().filter(|p| !p.dead);
        let fd = process.as_ref().and_then(|p| p.fd.as_ref());
        let died = async {
            match fd {
                Some(fd) => drop(fd.readable().await),
                None => std::future::pending().await,
            }
        };
        let changed = async {
            match &mut self.changes {
                Some(changes) => changes.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = died => {
                if let Some(process) = process {
                    process.dead = true;
                }
                return true;
            }
            alive = changed => {
                if !alive {
                    self.changes = None;
                }
            }
            () = tokio::time::sleep(pace) => {}
        }
        false
    }
}
