//! systemd's units: watched, started, stopped, killed whole, and taken over from its own restarts.
//!
//! Spoken to over D-Bus; by `systemctl` while the bus is down (it has a way of its own to systemd). Killing needs
//! neither: it goes through the cgroup. A death is known from the main process's pidfd, in milliseconds,
//! before systemd tells.
//! There is one supervisor: [`Units::manage`] takes `Restart=` away from the units that are ours.

mod bus;
pub(crate) mod cgroup;
pub(crate) mod dropin;
mod error;
mod facts;
mod progress;
pub(crate) mod systemctl;
mod watch;

pub use dropin::Managed;
pub use error::UnitError;
pub use watch::UnitWatch;

use crate::Applied;
use bus::Bus;
use facts::Facts;
use progress::{Progress, Seen};
use regent_config::settings::StartBounds;
use regent_core::observe::UnitState;
use regent_core::time::Span;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two looks at a start that takes long.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What did not start is killed within this.
const KILL_MAX: Span = Span::millis(10_000);

/// The units of this host. Cheap to clone.
#[derive(Clone)]
pub struct Units {
    bus: Arc<Bus>,
}

impl Units {
    /// Connects to the system bus; without one it goes by `systemctl`, and tries again now and then.
    pub async fn connect() -> Units {
        let bus = Arc::new(Bus::new());
        bus.connection().await;
        Units { bus }
    }

    /// The bus is there.
    pub async fn on_bus(&self) -> bool {
        self.bus.connection().await.is_some()
    }

    /// What the unit does at this moment.
    pub async fn state(&self, unit: &str) -> UnitState {
        match self.facts(unit).await {
            Ok(facts) => facts.state(false),
            Err(_) => UnitState::Unknown,
        }
    }

    async fn facts(&self, unit: &str) -> Result<Facts, UnitError> {
        if let Some(connection) = self.bus.connection().await {
            match bus::facts(&connection, unit).await {
                Ok(facts) => return Ok(facts),
                Err(error) => self.bus.suspect(&error).await,
            }
        }
        let unit = unit.to_owned();
        blocking(move || systemctl::facts(&unit)).await
    }

    /// Starts the unit; returns when systemd says that it is up.
    pub async fn start(&self, unit: &str, bound: Span) -> Result<Applied, UnitError> {
        if matches!(self.state(unit).await, UnitState::Up { .. }) {
            return Ok(Applied::AlreadySo);
        }
        self.job("start", unit, bound).await
    }

    /// The same for one that may take hours, as a database after a crash: waited for as long as it gets on, and told
    /// how far it is; killed when it does not, or takes longer than it may.
    pub async fn start_watched(
        &self,
        unit: &str,
        bounds: StartBounds,
        mut tell: impl FnMut(String),
    ) -> Result<Applied, UnitError> {
        let patience = Duration::from_nanos(bounds.stuck.0);
        let watching = async {
            let mut progress = Progress::begin(patience, Instant::now());
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                if progress.look(self.seen(unit).await, Instant::now()) {
                    tell(progress.text());
                } else if progress.is_stuck(Instant::now()) {
                    return progress.last_words();
                }
            }
        };
        let started = tokio::select! {
            done = self.start(unit, bounds.longest) => done,
            words = watching => {
                let unit = unit.to_owned();
                Err(UnitError::Stuck { unit, patience: bounds.stuck, words })
            }
        };
        if matches!(&started, Err(UnitError::Stuck { .. } | UnitError::TooLong { .. })) {
            self.kill(unit, KILL_MAX).await?;
        }
        started
    }

    async fn seen(&self, unit: &str) -> Seen {
        let cgroup = self.cgroup(unit).await.unwrap_or_default();
        let words = match self.bus.connection().await {
            Some(connection) => bus::words(&connection, unit).await.unwrap_or_default(),
            None => {
                let unit = unit.to_owned();
                blocking(move || systemctl::words(&unit)).await.unwrap_or_default()
            }
        };
        if cgroup.is_empty() { Seen { words, ..Seen::default() } } else { Seen::of(&cgroup, words) }
    }

    /// Stops the unit as its file says; returns when it is down.
    pub async fn stop(&self, unit: &str, bound: Span) -> Result<Applied, UnitError> {
        if self.state(unit).await == UnitState::Down {
            return Ok(Applied::AlreadySo);
        }
        self.job("stop", unit, bound).await
    }

    async fn job(&self, verb: &'static str, unit: &str, bound: Span) -> Result<Applied, UnitError> {
        let limit = Duration::from_nanos(bound.0);
        if let Some(connection) = self.bus.connection().await {
            let work = bus::job(&connection, verb, unit);
            let too_long = || UnitError::TooLong { doing: verb, unit: unit.to_owned(), bound };
            let answer = tokio::time::timeout(limit, work).await.map_err(|_| too_long())?;
            return match answer {
                Ok(result) if result == "done" => Ok(Applied::Changed),
                Ok(result) => Err(UnitError::Job { doing: verb, unit: unit.to_owned(), result }),
                Err(source) => {
                    self.bus.suspect(&source).await;
                    let source = Box::new(source);
                    Err(UnitError::Bus { doing: verb, unit: unit.to_owned(), source })
                }
            };
        }
        let unit = unit.to_owned();
        blocking(move || systemctl::job(verb, &unit, limit)).await?;
        Ok(Applied::Changed)
    }

    /// Kills every process of the unit at once (SIGKILL of its cgroup); returns when none is left.
    pub async fn kill(&self, unit: &str, bound: Span) -> Result<Applied, UnitError> {
        let cgroup = self.cgroup(unit).await?;
        if cgroup.is_empty() {
            return Ok(Applied::AlreadySo);
        }
        let unit = unit.to_owned();
        blocking(move || cgroup::kill(&unit, &cgroup, bound)).await
    }

    /// Where its processes are; empty when nothing ran yet.
    async fn cgroup(&self, unit: &str) -> Result<String, UnitError> {
        match cgroup::usual(unit)? {
            Some(cgroup) => Ok(cgroup),
            None => Ok(self.facts(unit).await?.cgroup),
        }
    }

    /// Takes these units over: their restarts are ours, the sockets that would start them are masked and stopped.
    pub async fn manage(&self, units: &[Managed]) -> Result<Applied, UnitError> {
        let mut applied = Applied::AlreadySo;
        let mut masked = Vec::new();
        for unit in units {
            let (changed, mut newly) = dropin::apply(Path::new(dropin::DIRECTORY), unit)?;
            applied = applied.and(changed);
            masked.append(&mut newly);
        }
        if applied == Applied::Changed {
            self.reload().await?;
        }
        for unit in masked {
            self.stop(&unit, dropin::STOP_MAX).await?;
        }
        Ok(applied)
    }

    /// Gives these units back to systemd.
    pub async fn unmanage(&self, units: &[Managed]) -> Result<Applied, UnitError> {
        let mut applied = Applied::AlreadySo;
        for unit in units {
            applied = applied.and(dropin::remove(Path::new(dropin::DIRECTORY), unit)?);
        }
        if applied == Applied::Changed {
            self.reload().await?;
        }
        Ok(applied)
    }

    async fn reload(&self) -> Result<(), UnitError> {
        if let Some(connection) = self.bus.connection().await {
            match bus::reload(&connection).await {
                Ok(()) => return Ok(()),
                Err(error) => self.bus.suspect(&error).await,
            }
        }
        blocking(systemctl::reload).await
    }

    /// Tells the unit's state, first as it is, then at every change, from a task of its own.
    pub fn watch(&self, unit: &str, on: impl Fn(UnitState) + Send + 'static) -> UnitWatch {
        watch::watch(self.clone(), unit, false, move |state, _| on(state))
    }

    /// The same, some milliseconds later, and with every `Down`: somebody asked systemd for it (systemctl, a package),
    /// so that it is no failure.
    pub fn watch_asked(
        &self,
        unit: &str,
        on: impl Fn(UnitState, bool) + Send + 'static,
    ) -> UnitWatch {
        watch::watch(self.clone(), unit, true, on)
    }
}

async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> Result<R, UnitError> + Send + 'static,
) -> Result<R, UnitError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => answer,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that shuts down cancels, and then nobody waits for the answer.
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests;
