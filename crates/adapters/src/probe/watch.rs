//! One probe's life: wait, look, judge, tell. It never overlaps itself, and nothing it waits for is another's.

use crate::probe::check::Check;
use crate::probe::line::FromProber;
use crate::probe::result::CheckResult;
use crate::probe::threads::Threads;
use crate::unit::cgroup;
use regent_config::probe::Probe;
use regent_core::health::{Counts, Health, Judge};
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;

/// Starts are gathered on a grid of a tenth of the interval, but no wider than this: many looks in a row cost less than
/// half of what as many single ones do.
const GRID_MAX: Duration = Duration::from_millis(50);
/// What tells of its changes itself is looked at again so soon while a look speaks against what is known: three looks
/// in a row are a failure within a tenth of a second, and a blink is none.
const AGAIN: Duration = Duration::from_millis(25);
/// While it keeps failing, or stays unknown, another why is told no more often than this.
const WHY_EVERY: Duration = Duration::from_secs(5);
/// A warning is told again after this long.
const WARN_EVERY: Duration = Duration::from_secs(3600);

/// What the agent wants of one probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Orders {
    /// It counts in the present role; without a role it does not, unless in every one.
    pub(crate) counts: bool,
    /// Grows each time that what it looks at is started anew.
    pub(crate) starts: u64,
}

/// What all probes share.
pub(crate) struct Common {
    pub(crate) out: mpsc::Sender<FromProber>,
    pub(crate) threads: Threads,
    /// Where the grid begins.
    pub(crate) began: Instant,
    /// Observations since the pulse before.
    pub(crate) ran: Cell<u64>,
    /// By how much the latest of them started late.
    pub(crate) late: Cell<Duration>,
}

/// What the agent was told last.
#[derive(Default)]
pub(crate) struct Told {
    /// It was told something other than unknown.
    pub(crate) is_known: Cell<bool>,
    /// A warning stands.
    pub(crate) warns: Cell<bool>,
}

/// A probe that runs.
pub(crate) struct Watch {
    probe: Probe,
    check: Check,
    common: Rc<Common>,
    told: Rc<Told>,
    /// Word that what it looks at may have changed, where there is such a thing.
    changes: Option<watch::Receiver<u64>>,
    judge: Judge,
    why: String,
    /// When `why` was told.
    why_at: Instant,
    warning: Option<(String, Instant)>,
}

impl Watch {
    /// Knows nothing yet.
    pub(crate) fn new(
        probe: Probe,
        check: Check,
        common: Rc<Common>,
        told: Rc<Told>,
        changes: Option<watch::Receiver<u64>>,
    ) -> Watch {
        Watch {
            judge: Judge::new(probe.rise, probe.fall),
            check,
            common,
            told,
            changes,
            why: String::new(),
            why_at: Instant::now(),
            warning: None,
            probe,
        }
    }

    /// Runs until the orders end. The first look comes after `phase`, so that the starts of all are spread.
    pub(crate) async fn run(mut self, mut orders: watch::Receiver<Orders>, phase: Duration) {
        let interval = Duration::from_millis(self.probe.interval_ms.max(1));
        let bound = Duration::from_millis(self.probe.timeout_ms.max(1));
        let mut known = *orders.borrow_and_update();
        loop {
            if !known.counts {
                self.conclude(idle(self.probe.counts).to_owned()).await;
                self.over().await;
                if orders.changed().await.is_err() {
                    return;
                }
                known = *orders.borrow_and_update();
                continue;
            }
            let mut next = Instant::now() + phase;
            let mut is_due = false;
            while known.counts {
                let due = if is_due { next } else { on_grid(next, self.common.began, interval) };
                let look = async {
                    until(due, self.changes.as_mut()).await;
                    let start = Instant::now();
                    let late = start.saturating_duration_since(due);
                    self.common.late.set(self.common.late.get().max(late));
                    (start, look(&mut self.check, &self.probe, &self.common.threads, bound).await)
                };
                let (start, seen) = tokio::select! {
                    biased;
                    changed = orders.changed() => {
                        if changed.is_err() {
                            return;
                        }
                        // What was under way looked at what was there before.
                        let before = std::mem::replace(&mut known, *orders.borrow_and_update());
                        if before.starts != known.starts {
                            self.conclude("it was started anew".into()).await;
                            (next, is_due) = (Instant::now(), true);
                        }
                        continue;
                    }
                    seen = look => seen,
                };
                self.common.ran.set(self.common.ran.get() + 1);
                self.take(start, seen).await;
                self.warn().await;
                // What took longer than its interval starts again at once.
                let now = Instant::now();
                (next, is_due) = if self.changes.is_some() && self.judge.is_in_doubt() {
                    (now + AGAIN.min(interval), true)
                } else {
                    (now.max(next + interval), now >= next + interval)
                };
            }
        }
    }

    async fn take(&mut self, start: Instant, seen: CheckResult) {
        let (passed, why) = match seen {
            CheckResult::Passed => (true, String::new()),
            CheckResult::Failed(why) => (false, why),
            CheckResult::Unknown(why) => {
                let is_due = start.duration_since(self.why_at) >= WHY_EVERY;
                if self.judge.health() != Health::Unknown || self.why.is_empty() || is_due {
                    self.conclude(why).await;
                } else {
                    self.judge.forget();
                }
                return;
            }
        };
        if let Some(health) = self.judge.take(passed) {
            self.tell(health, why, start).await;
            return;
        }
        let agrees = match self.judge.health() {
            Health::Passing => passed,
            Health::Failing => !passed,
            Health::Unknown => false,
        };
        if agrees && why != self.why && self.why_at.elapsed() >= WHY_EVERY {
            self.tell(self.judge.health(), why, start).await;
        }
    }

    /// Nothing is known, and why.
    async fn conclude(&mut self, why: String) {
        let was_known = self.judge.health() != Health::Unknown;
        self.judge.forget();
        if was_known || why != self.why {
            let now = Instant::now();
            self.tell(Health::Unknown, why, now).await;
        }
    }

    async fn tell(&mut self, health: Health, why: String, now: Instant) {
        self.why.clone_from(&why);
        self.why_at = now;
        self.told.is_known.set(health != Health::Unknown);
        self.say(FromProber::Health { id: self.probe.id, health, why }).await;
    }

    async fn warn(&mut self) {
        let Some(text) = self.check.warning() else { return self.over().await };
        let is_told = self
            .warning
            .as_ref()
            .is_some_and(|(told, at)| told == text && at.elapsed() < WARN_EVERY);
        if !is_told {
            let text = text.to_owned();
            self.warning = Some((text.clone(), Instant::now()));
            self.told.warns.set(true);
            self.say(FromProber::Warning { id: self.probe.id, text }).await;
        }
    }

    async fn over(&mut self) {
        if self.warning.take().is_some() {
            self.told.warns.set(false);
            self.say(FromProber::Warned { id: self.probe.id }).await;
        }
    }

    async fn say(&self, line: FromProber) {
        // If nobody reads, the agent is gone, and so are we in a moment.
        let _ = self.common.out.send(line).await;
    }
}

/// A probe of a unit that does not run has nothing to ask: that another one does its work is seen elsewhere.
async fn look(check: &mut Check, probe: &Probe, threads: &Threads, bound: Duration) -> CheckResult {
    match &probe.unit {
        Some(unit) if !cgroup::is_inhabited(unit) => CheckResult::Passed,
        Some(_) | None => check.look(threads, bound).await,
    }
}

/// Until it is due, or there is word of a change.
async fn until(due: Instant, changes: Option<&mut watch::Receiver<u64>>) {
    let due = sleep_until(due.into());
    let Some(changes) = changes else { return due.await };
    tokio::select! {
        () = due => {}
        Ok(()) = changes.changed() => {}
    }
}

fn on_grid(at: Instant, began: Instant, interval: Duration) -> Instant {
    let grid = (interval / 10).min(GRID_MAX).as_nanos().max(1) as u64;
    let place = at.duration_since(began).as_nanos() as u64;
    began + Duration::from_nanos(place.next_multiple_of(grid))
}

fn idle(counts: Counts) -> &'static str {
    match counts {
        Counts::Always => "it waits for its orders",
        Counts::Active => "it counts on the active node only",
        Counts::Standby => "it counts on a standby only",
    }
}
