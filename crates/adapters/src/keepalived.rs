//! keepalived 2.2 as the second driver of the virtual addresses: it puts them on and announces, and decides nothing.
//!
//! Regent renders its configuration and steers it with one file. Every instance is in FAULT (silent, no address)
//! unless that file says `1`, and no advertisement of anybody reaches it: so nothing is elected. The gate stands in
//! front as it does before the native driver; nothing here protects the addresses, it only serves them.
//!
//! ```text
//!   add    -> serve: 1 ─► keepalived: BACKUP ─► four intervals later MASTER: address on ─┐ within 150 ms,
//!   remove -> serve: 0 ─► keepalived: FAULT, at once: address off ───────────────────────┤ else by netlink here
//!   watch  <- address gone while wanted (killed, restarted, edited): put back by netlink ┘ and a warning
//! ```
//!
//! A move thus never waits longer for keepalived than [`PATIENCE`], and not at all while it is known to be unwell.
//! Every refresh of core gives the addresses their lifetime, also those that keepalived put on without one.
//!
//! `render.rs` and `drift.rs` are the file as text, `file.rs` the file on disk, `steer.rs` what steers, `filter.rs`
//! and `listener.rs` keep foreign routers away and tell of them, `watch.rs` is the one thread. MASTER, BACKUP and FAULT
//! are keepalived's words and go no further than this directory.

mod daemon;
mod drift;
mod file;
mod filter;
mod listener;
mod places;
mod render;
mod steer;
mod watch;

pub use drift::{Whose, drift, parse};
pub use file::{Laid, Shown};
pub use filter::Counts;

use crate::Applied;
use crate::run::RunError;
use crate::vip::{self, VipError, Vips};
use daemon::Daemon;
use regent_core::time::Span;
use rustix::io::Errno;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use steer::Steer;
use watch::Watch;

/// How long keepalived may take for what it was told. It needs four advertisement intervals to put an address on.
pub const PATIENCE: Duration = Duration::from_millis(150);
/// The advertisement intervals with which it is in time, a loaded machine included.
pub const ADVERT_INTERVAL: std::ops::RangeInclusive<Span> = Span::millis(10)..=Span::millis(30);
/// How often it is looked whether it has done it.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Why keepalived's file, or keepalived, is not as asked.
#[derive(Debug, thiserror::Error)]
pub enum KeepalivedError {
    /// It is not installed.
    #[error("find keepalived: it is not installed; remedy: apt-get install keepalived")]
    Missing,
    /// A file of its own.
    #[error("{doing} {path}: {source}")]
    File {
        /// What was tried.
        doing: &'static str,
        /// With which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The kernel did not tell this host's addresses.
    #[error("list addresses: {0}")]
    Kernel(Errno),
    /// The interface is not there.
    #[error(transparent)]
    Vip(#[from] VipError),
    /// nft or systemctl.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl KeepalivedError {
    fn file(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> KeepalivedError {
        move |source| KeepalivedError::File { doing, path: path.to_owned(), source }
    }
}

/// What is rendered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vrrp {
    /// The interface of the addresses.
    pub interface: String,
    /// The addresses as configured, with the length of their network part; the principal one first.
    pub addresses: Vec<(IpAddr, u8)>,
    /// 1 to 255; the same on every node of a cluster, and on no other router of the segment.
    pub router_id: u8,
    /// Within [`ADVERT_INTERVAL`].
    pub advert_interval: Span,
    /// This node's own address.
    pub own: IpAddr,
    /// The other nodes' own addresses, without witnesses.
    pub peers: Vec<IpAddr>,
}

impl Vrrp {
    /// A router id for those who name none: the last byte of the principal address.
    pub fn router_id_of(address: IpAddr) -> u8 {
        let last = match address {
            IpAddr::V4(v4) => v4.octets()[3],
            IpAddr::V6(v6) => v6.octets()[15],
        };
        last.max(1)
    }

    fn principal(&self) -> Option<IpAddr> {
        self.addresses.first().map(|(address, _)| *address)
    }
}

/// Where things are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Files {
    /// keepalived's configuration.
    pub config: PathBuf,
    /// What steers it, and its pid files.
    pub run: PathBuf,
    /// Its unit; none where it is not systemd that runs it.
    pub unit: Option<String>,
}

impl Default for Files {
    fn default() -> Files {
        Files {
            config: "/etc/keepalived/keepalived.conf".into(),
            run: "/run/regent/keepalived".into(),
            unit: Some("keepalived.service".into()),
        }
    }
}

/// The program is there.
pub fn check() -> Result<(), KeepalivedError> {
    daemon::program().map(drop).ok_or(KeepalivedError::Missing)
}

/// What Regent renders on this host.
pub fn render(vrrp: &Vrrp, files: &Files) -> Result<String, KeepalivedError> {
    vip::interface_index(&vrrp.interface)?;
    Ok(render::render(vrrp, &files.run))
}

/// The file on disk, whose it is, and where it differs from what is rendered.
pub fn show(vrrp: &Vrrp, files: &Files) -> Result<Shown, KeepalivedError> {
    file::show(files, &render(vrrp, files)?)
}

/// Makes the file as rendered and has keepalived read it. What was there by somebody else's hand is saved aside.
pub fn repair(vrrp: &Vrrp, files: &Files) -> Result<Laid, KeepalivedError> {
    file::repair(files, &render(vrrp, files)?)
}

/// For a host whose driver is the native one: a keepalived that Regent steered before is silenced and stopped. Does
/// nothing where there was none.
pub fn retire(files: &Files) -> Result<Applied, KeepalivedError> {
    let serve = files.run.join(steer::SERVE);
    if !serve.exists() {
        return Ok(Applied::AlreadySo);
    }
    std::fs::remove_file(&serve).map_err(KeepalivedError::file("remove", &serve))?;
    if let Some(unit) = &files.unit {
        daemon::job("stop", unit)?;
    }
    filter::unload()?;
    Ok(Applied::Changed)
}

/// Something an operator is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct News {
    /// The event's code.
    pub code: &'static str,
    /// It wakes somebody; else it is a warning.
    pub alarm: bool,
    /// What happened, and what to do where something is to be done.
    pub text: String,
}

type Tell = Arc<dyn Fn(News) + Send + Sync>;

/// The driver: the same calls as [`Vips`] has, answered by keepalived or, where it fails, by netlink. Cheap to clone;
/// it ends with its last clone.
#[derive(Clone)]
pub struct Keepalived {
    shared: Arc<Shared>,
    _watch: Arc<Option<Watch>>,
}

impl Keepalived {
    /// Takes keepalived over: lays its file, loads the filter, starts it. None of that is waited for, and nothing of
    /// it failing keeps the addresses from being served. `tell` is called from the watch's thread or a caller's.
    pub fn start(
        vrrp: Vrrp,
        vips: Vips,
        files: Files,
        tell: impl Fn(News) + Send + Sync + 'static,
    ) -> Keepalived {
        let steer = Steer::open(&files.run);
        let failed = steer.as_ref().err().map(|e| format!("failed to make {:?}: {e}", files.run));
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(steer.ok())),
            vrrp,
            vips,
            files,
            tell: Arc::new(tell),
        });
        let watch = Watch::start(Arc::clone(&shared));
        let unwatched = watch.as_ref().err().map(|error| format!("failed to {error}"));
        for text in failed.into_iter().chain(unwatched) {
            shared.tell("keepalived.unsteered", true, text);
        }
        Keepalived { shared, _watch: Arc::new(watch.ok()) }
    }

    /// The addresses, as the native driver has them.
    pub fn vips(&self) -> &Vips {
        &self.shared.vips
    }

    /// Puts them on with this lifetime, or gives them this lifetime anew.
    pub fn add(&self, lifetime: Span) -> Result<Applied, VipError> {
        self.shared.add(lifetime)
    }

    /// Takes them off.
    pub fn remove(&self) -> Result<Applied, VipError> {
        self.shared.remove()
    }

    /// Tells the segment where they are. keepalived does so as well, on its own and every five seconds; while the gate
    /// is closed the egress hook stops it.
    pub fn announce(
        &self,
        egress: bool,
        open: impl FnMut() -> bool + Send + 'static,
    ) -> Result<(), VipError> {
        self.shared.vips.announce(egress, open)
    }

    /// keepalived does what it is told; else what is wrong with it.
    pub fn is_well(&self) -> Result<(), String> {
        self.shared.state().verdict.clone()
    }

    /// What was counted of advertisements since the filter was loaded; none if it is not in place.
    pub fn counts(&self) -> Option<Counts> {
        filter::counts().ok().flatten()
    }
}

/// What calls and watch share.
struct Shared {
    vrrp: Vrrp,
    vips: Vips,
    files: Files,
    tell: Tell,
    state: Mutex<State>,
}

struct State {
    steer: Option<Steer>,
    /// Until when the addresses are wanted; none: they are not.
    until: Option<Instant>,
    /// When that last began or ended.
    since: Instant,
    /// What is wrong with keepalived, by the last look. While something is, nothing waits for it.
    verdict: Result<(), String>,
}

/// An agent that starts finds what the one before it told; core says within this time whether it stays so.
const INHERITED: Duration = Duration::from_secs(4);

impl State {
    fn new(steer: Option<Steer>) -> State {
        let now = Instant::now();
        let serves = steer.as_ref().is_some_and(Steer::says);
        let verdict = Err("it was not looked at yet".into());
        State { steer, until: serves.then(|| now + INHERITED), since: now, verdict }
    }

    /// From now on they are wanted until then, or not.
    fn wish(&mut self, until: Option<Instant>) {
        if self.until.is_some() != until.is_some() {
            self.since = Instant::now();
        }
        self.until = until;
        if let Some(steer) = &mut self.steer
            && let Err(error) = steer.tell(until.is_some())
        {
            self.verdict = Err(format!("its file cannot be written: {error}"));
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // What it holds is right after every single assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, code: &'static str, alarm: bool, text: String) {
        (self.tell)(News { code, alarm, text });
    }

    fn add(&self, lifetime: Span) -> Result<Applied, VipError> {
        self.vips.keep_secondaries()?;
        let mut state = self.state();
        let stood = self.stand()?;
        state.wish(Some(Instant::now() + Duration::from_nanos(lifetime.0)));
        if !stood && !self.follows(&mut state, true)? {
            return self.put_on(lifetime);
        }
        let applied = self.vips.add(lifetime)?;
        Ok(if stood { applied } else { Applied::Changed })
    }

    fn remove(&self) -> Result<Applied, VipError> {
        let mut state = self.state();
        let stood = self.any_stands()?;
        state.wish(None);
        if !stood {
            return Ok(Applied::AlreadySo);
        }
        self.follows(&mut state, false)?;
        self.vips.remove()?;
        Ok(Applied::Changed)
    }

    /// Gives keepalived its time; true if the addresses are as wanted then. No time if it is known to be unwell. From
    /// then on it is, until the watch finds it well again.
    fn follows(&self, state: &mut State, wanted: bool) -> Result<bool, VipError> {
        if state.verdict.is_err() {
            return Ok(false);
        }
        if daemon::state(&self.files.run) != Daemon::Runs {
            state.verdict = Err("it does not run".into());
            return Ok(false);
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let done = if wanted { self.stand()? } else { !self.any_stands()? };
            if done {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                break;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        let what = if wanted { "put the address on" } else { "take the address off" };
        let why = format!("did not {what} within {} ms", PATIENCE.as_millis());
        self.tell("keepalived.slow", false, format!("keepalived {why}; it was done without it"));
        state.verdict = Err(format!("it {why}"));
        Ok(false)
    }

    /// Puts them on without keepalived, and looking the same.
    fn put_on(&self, lifetime: Span) -> Result<Applied, VipError> {
        let vrrp = &self.vrrp;
        if let (Ok(index), Ok(all)) = (vip::interface_index(&vrrp.interface), places::all()) {
            let is_on = |address: IpAddr| all.iter().any(|place| place.address == address);
            for ((address, prefix), label) in vrrp.addresses.iter().zip(render::labels(vrrp)) {
                if let IpAddr::V4(v4) = *address
                    && !is_on(*address)
                {
                    // What fails here is put on by the next line, with no label but its interface's name.
                    let _ = places::put_on(index, v4, *prefix, &label);
                }
            }
        }
        self.vips.add(lifetime)?;
        Ok(Applied::Changed)
    }

    /// All are on.
    fn stand(&self) -> Result<bool, VipError> {
        self.vips.present()
    }

    /// At least one is on.
    fn any_stands(&self) -> Result<bool, VipError> {
        Ok(self.own_places()?.next().is_some())
    }

    fn own_places(&self) -> Result<impl Iterator<Item = places::Place>, VipError> {
        let all =
            places::all().map_err(|source| VipError::Kernel { doing: "list addresses", source })?;
        let vips = self.vips.addresses();
        Ok(all.into_iter().filter(move |place| vips.contains(&place.address)))
    }
}

#[cfg(test)]
mod tests;
