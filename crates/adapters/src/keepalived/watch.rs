//! The one thread beside the calls: puts back what keepalived loses, tells what is wrong with it, hears foreigners.
//!
//! It wakes when an address of this host changes, when a router with our id is heard, and four times a second.

use super::daemon::{self, Daemon};
use super::filter::{self, Counts};
use super::listener::{Advert, Listener};
use super::places::{self, Changes};
use super::{Laid, Shared, VipError, Whose, file, render};
use crate::stoppable::{Stop, Stoppable};
use regent_core::time::Span;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };
/// The process, its counters and its filter are looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The file is compared this often.
const COMPARE_EVERY: Duration = Duration::from_secs(10);
/// keepalived may take this long after it was told before what it does is held against it.
const SETTLES_WITHIN: Duration = Duration::from_millis(1500);
/// An address that nobody wants is left to keepalived for this long.
const LEAVES_WITHIN: Duration = Duration::from_millis(300);
/// systemd restarts it itself; it is asked only when it does not.
const START_AGAIN_AFTER: Duration = Duration::from_secs(3);
/// The same is told again after this long.
const TELL_AGAIN_AFTER: Duration = Duration::from_secs(600);
/// More foreign routers than this at a time are not told apart.
const FOREIGN_MAX: usize = 32;

/// A running watch; it ends when this is dropped.
pub(super) struct Watch(#[expect(dead_code, reason = "held for what its drop does")] Stoppable);

impl Watch {
    pub(super) fn start(shared: Arc<Shared>) -> Result<Watch, VipError> {
        let doing = VipError::kernel("watch keepalived");
        let stop = Stop::new().map_err(&doing)?;
        let changes = Changes::open().map_err(&doing)?;
        let unthreaded = VipError::socket("watch keepalived");
        let stopped = stop.theirs().map_err(&unthreaded)?;
        let now = Instant::now();
        let watcher = Watcher {
            shared,
            stopped,
            changes,
            listener: None,
            prepared: false,
            looked: None,
            compared: None,
            counts: None,
            told_well: None,
            edited: false,
            gone_since: None,
            starting: Arc::default(),
            told: BTreeMap::new(),
            begun: now,
        };
        stop.start("keepalived", move || watcher.run()).map(Watch).map_err(&unthreaded)
    }
}

struct Watcher {
    shared: Arc<Shared>,
    stopped: OwnedFd,
    changes: Changes,
    listener: Option<Listener>,
    /// File and filter are in place.
    prepared: bool,
    looked: Option<Instant>,
    compared: Option<Instant>,
    counts: Option<Counts>,
    /// What was last told of it: well or not.
    told_well: Option<bool>,
    edited: bool,
    gone_since: Option<Instant>,
    /// A job of systemd is under way, in a thread of its own.
    starting: Arc<AtomicBool>,
    told: BTreeMap<String, Instant>,
    begun: Instant,
}

impl Watcher {
    fn run(mut self) {
        loop {
            self.mend_addresses();
            if self.looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
                self.looked = Some(Instant::now());
                self.look();
            }
            if self.wait() {
                return;
            }
            self.hear();
        }
    }

    /// Until something happens or it is time; true when the watch shall end.
    fn wait(&self) -> bool {
        let mut fds = vec![
            PollFd::new(&self.stopped, PollFlags::IN),
            PollFd::from_borrowed_fd(self.changes.as_fd(), PollFlags::IN),
        ];
        fds.extend(
            self.listener.iter().map(|e| PollFd::from_borrowed_fd(e.as_fd(), PollFlags::IN)),
        );
        // An interrupted wait is begun again.
        let _ = poll(&mut fds, Some(&TICK));
        let ends = !fds[0].revents().is_empty();
        self.changes.clear();
        ends
    }

    /// The addresses are as wanted, or are made so by netlink.
    fn mend_addresses(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        let now = Instant::now();
        if state.until.is_some_and(|until| until <= now) {
            // Nobody refreshed it: as the native driver's lifetime, it ends.
            state.wish(None);
        }
        let (until, since) = (state.until, state.since);
        if let Some(steer) = &mut state.steer {
            // What cannot be written or locked is tried again, and keepalived is judged by what it does.
            let _ = steer.lock().and_then(|()| steer.tell(until.is_some()));
        }
        let Ok(places) = shared.own_places() else { return };
        let places: Vec<_> = places.collect();
        let Some(until) = until else {
            if !places.is_empty() && since.elapsed() >= LEAVES_WITHIN {
                self.say_at_times(
                    "keepalived.took-off",
                    "the address came back unasked; taken off",
                );
                // It is looked at again in a moment.
                let _ = shared.vips.remove();
            }
            return;
        };
        let addresses = shared.vips.addresses();
        let is_on = |address: &IpAddr| places.iter().any(|place| place.address == *address);
        let missing = !addresses.iter().all(is_on);
        let forever = places.iter().any(|place| place.forever);
        // Before its first time keepalived is waited for, by the call.
        if (missing || forever) && filter::gate_stands() {
            let left = until.saturating_duration_since(now);
            let lifetime = Span(left.as_nanos().min(u128::from(u64::MAX)) as u64);
            let mended = shared.put_on(lifetime).is_ok();
            // keepalived takes it off once as it starts, which is no loss.
            if mended && missing && self.told_well.is_some() {
                self.say_at_times("keepalived.put-back", "the address was lost; put back at once");
            }
        }
    }

    /// Is it well? Tells when that changes, and has it started.
    fn look(&mut self) {
        if !self.prepared {
            self.prepare();
        }
        if self.listener.is_none() {
            // The interface may come later.
            self.listener = Listener::open(&self.shared.vrrp.interface, self.shared.vrrp.own).ok();
        }
        if self.compared.is_none_or(|at| at.elapsed() >= COMPARE_EVERY) {
            self.compare();
        }
        let daemon = daemon::state(&self.shared.files.run);
        if daemon == Daemon::Runs {
            self.gone_since = None;
        } else {
            self.gone_since.get_or_insert_with(Instant::now);
        }
        let verdict = self.judge(daemon);
        self.start_again(daemon);
        self.shared.state().verdict = verdict.clone();
        self.tell_verdict(verdict);
    }

    /// Says so when it becomes unwell, and when it is well again; what was never well is given time to settle.
    fn tell_verdict(&mut self, verdict: Result<(), String>) {
        let settled = self.begun.elapsed() >= SETTLES_WITHIN;
        let before = self.told_well;
        match verdict {
            Ok(()) => self.told_well = Some(true),
            Err(_) if before.is_none() && !settled => {}
            Err(_) => self.told_well = Some(false),
        }
        match (verdict, before, self.told_well) {
            (Err(why), None | Some(true), Some(false)) => {
                let text = format!("keepalived: {why}; the address is served without it");
                self.shared.tell("keepalived.unwell", false, text);
            }
            (Ok(()), Some(false), _) => {
                let text = "keepalived does what it is told again".into();
                self.shared.tell("keepalived.well", false, text);
            }
            (Ok(()) | Err(_), _, _) => {}
        }
    }

    fn judge(&mut self, daemon: Daemon) -> Result<(), String> {
        let counts = filter::counts();
        let before = std::mem::replace(&mut self.counts, counts.ok().flatten());
        if self.counts.is_none() && self.prepared {
            self.load_filter();
        }
        match daemon {
            Daemon::Gone => {
                super::check().map_err(|error| format!("failed to {error}"))?;
                return Err("it does not run".into());
            }
            Daemon::Stopped => return Err("it is stopped (SIGSTOP)".into()),
            Daemon::Runs => {}
        }
        let (Some(before), Some(counts)) = (before, self.counts) else {
            return if self.counts.is_some() { Ok(()) } else { Err("its filter is gone".into()) };
        };
        let (wanted, since) = {
            let state = self.shared.state();
            (state.until.is_some(), state.since)
        };
        if since.elapsed() < SETTLES_WITHIN + LOOK_EVERY {
            return Ok(());
        }
        match (wanted, counts.sent > before.sent) {
            (true, false) => Err("it does not announce, though it is told to".into()),
            (false, true) => Err("it announces, though it is told to be silent".into()),
            (true, true) | (false, false) => Ok(()),
        }
    }

    /// Lays the file and loads the filter, once; again until it succeeds.
    fn prepare(&mut self) {
        let shared = Arc::clone(&self.shared);
        let laid = super::render(&shared.vrrp, &shared.files)
            .and_then(|rendered| file::lay(&shared.files, &rendered, false));
        let (changed, foreign) = match &laid {
            Ok(Laid::AlreadySo | Laid::Left(_)) => (false, false),
            Ok(Laid::Written) => (true, false),
            Ok(Laid::Saved(aside)) => {
                let path = shared.files.config.display();
                let text = format!(
                    "{path} was somebody else's; it is saved as {} and replaced",
                    aside.display()
                );
                shared.tell("keepalived.saved", false, text);
                (true, true)
            }
            Err(error) => {
                self.say_at_times("keepalived.unrendered", &format!("failed to {error}"));
                return;
            }
        };
        if !self.load_filter() {
            return;
        }
        self.prepared = true;
        let reads = changed && daemon::reload(&shared.files.run);
        if foreign || (changed && !reads) {
            // It may run with the file of somebody else, and without our pid files.
            self.job("restart");
        }
    }

    fn load_filter(&mut self) -> bool {
        let vrrp = &self.shared.vrrp;
        match filter::load(&vrrp.interface, vrrp.router_id) {
            Ok(()) => true,
            Err(error) => {
                let text = format!("failed to stop foreign advertisements: {error}");
                self.say_at_times("keepalived.unfiltered", &text);
                false
            }
        }
    }

    /// The file is as rendered; a difference is told once.
    fn compare(&mut self) {
        self.compared = Some(Instant::now());
        let shared = &self.shared;
        let rendered = render::render(&shared.vrrp, &shared.files.run);
        let Ok(shown) = file::show(&shared.files, &rendered) else { return };
        let edited = shown.drift.is_some() && shown.whose != Some(Whose::Rendered);
        if edited && !self.edited {
            let lines = shown.drift.unwrap_or_default();
            let changed: Vec<_> =
                lines.iter().filter(|line| line.starts_with(['+', '-'])).take(4).collect();
            let text = format!(
                "{} is not as Regent renders it ({changed:?}); `regent keepalived diff` shows all, \
                 `regent keepalived repair` mends it",
                shown.path.display()
            );
            shared.tell("keepalived.drift", false, text);
        }
        self.edited = edited;
    }

    fn start_again(&mut self, daemon: Daemon) {
        let is_missing = super::check().is_err();
        let waited = self.gone_since.is_some_and(|since| since.elapsed() >= START_AGAIN_AFTER);
        if daemon == Daemon::Gone && self.prepared && !is_missing {
            if self.told_well.is_none() && !waited {
                self.job("start");
            } else if waited {
                self.gone_since = Some(Instant::now());
                self.job("restart");
            }
        }
        if is_missing {
            let text = format!("failed to {}", super::KeepalivedError::Missing);
            self.say_at_times("keepalived.missing", &text);
        }
    }

    /// One job of systemd at a time, in a thread of its own: it may take seconds.
    fn job(&mut self, verb: &'static str) {
        let Some(unit) = self.shared.files.unit.clone() else { return };
        if self.starting.swap(true, Ordering::SeqCst) {
            return;
        }
        let (starting, shared) = (Arc::clone(&self.starting), Arc::clone(&self.shared));
        let work = move || {
            if let Err(error) = daemon::job(verb, &unit) {
                shared.tell("keepalived.not-started", false, format!("failed to {error}"));
            }
            starting.store(false, Ordering::SeqCst);
        };
        if std::thread::Builder::new().name("keepalived-job".into()).spawn(work).is_err() {
            self.starting.store(false, Ordering::SeqCst);
        }
    }

    fn hear(&mut self) {
        let heard: Vec<Advert> = self
            .listener
            .iter()
            .flat_map(|listener| std::iter::from_fn(|| listener.next()))
            .take(FOREIGN_MAX)
            .collect();
        for advert in heard {
            let vrrp = &self.shared.vrrp;
            let is_member = advert.from == vrrp.own || vrrp.peers.contains(&advert.from);
            if is_member || advert.router_id != vrrp.router_id || self.is_local(advert.from) {
                continue;
            }
            let [a, b, c, d, e, f] = advert.mac;
            let text = format!(
                "{} ({a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}) is a router with our VRRP id {} and \
                 priority {}; it is not listened to. Remedy: another router-id under [vip.keepalived], or there",
                advert.from, advert.router_id, advert.priority
            );
            self.say_once(&format!("foreign {}", advert.from), || {
                ("keepalived.foreign-router", true, text)
            });
        }
    }

    fn is_local(&self, address: IpAddr) -> bool {
        places::all().is_ok_and(|all: Vec<_>| all.iter().any(|place| place.address == address))
    }

    fn say_at_times(&mut self, code: &'static str, text: &str) {
        let alarm = code == "keepalived.missing" || code == "keepalived.unfiltered";
        self.say_once(code, || (code, alarm, format!("keepalived: {text}")));
    }

    /// Says it unless it was said a short while ago.
    fn say_once(&mut self, key: &str, what: impl FnOnce() -> (&'static str, bool, String)) {
        self.told.retain(|_, at| at.elapsed() < TELL_AGAIN_AFTER);
        if self.told.len() < 2 * FOREIGN_MAX && !self.told.contains_key(key) {
            self.told.insert(key.to_owned(), Instant::now());
            let (code, alarm, text) = what();
            self.shared.tell(code, alarm, text);
        }
    }
}
