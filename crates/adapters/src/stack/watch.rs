//! Watches the shared directory: whether it answers, and, while this node uses it, the claim there: a second cluster,
//! or a frozen node that came back.
//!
//! ```text
//!  reader: token ─► claim ─► answer ──► watcher: foreign? lost? ──► on(Seen), Answering
//!  may hang with the directory          never does
//! ```

use super::settings::StackSettings;
use super::{claim, procs};
use crate::netlink::readable;
use crate::stoppable::{Stop, Stoppable};
use regent_config::steps::Kind;
use regent_core::id::Epoch;
use regent_core::stack::{Claim, DataLost};
use regent_core::time::Span;
use rustix::fs::{Access, access};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(1);
/// A file server that takes this long is lost for now.
const HANGS_AFTER: Duration = Duration::from_secs(5);
/// One access that fails may be a file handle that is stale; so many in a row are not.
const FAILS_AFTER: u32 = 3;
/// No grant has this number.
const NONE: u64 = u64::MAX;

/// What was seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen {
    /// The claim is another cluster's or newer: stop at once.
    Foreign(String),
    /// The shared directory does not answer, or every access fails. Told once for each of both.
    Lost(DataLost),
    /// It answers again.
    Answers,
}

/// What the watch knows of the shared directory, for whoever is about to touch it.
#[derive(Clone, Default, Debug)]
pub struct Answering {
    known: Arc<Mutex<Known>>,
    /// It exists in a boot in which the directory hung, until what the kernel had to write then was waited for: another
    /// run of the agent knows it, and a reboot forgets it with the writes.
    mark: Option<PathBuf>,
}

#[derive(Default, Debug)]
struct Known {
    lost: Option<DataLost>,
    has_hung: bool,
}

impl Answering {
    /// With what an earlier run of this boot left in its directory. While no agent ran, nobody saw whether the
    /// directory of an active node hung: so the first answer waits for what is to be written.
    pub fn of(run_dir: &Path) -> Answering {
        let mark = run_dir.join("data-hung");
        let has_hung = mark.exists() || claim::permit(run_dir).exists();
        let known = Known { lost: None, has_hung };
        Answering { known: Arc::new(Mutex::new(known)), mark: Some(mark) }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is lost for this host, as far as is known.
    pub fn lost(&self) -> Option<DataLost> {
        self.known().lost.clone()
    }

    /// It hung, and what was to be written then was not waited for.
    pub(super) fn has_hung(&self) -> bool {
        self.known().has_hung
    }

    /// Before a use ends in which the directory hung: what was to be written then is written. None: it is mounted no
    /// more, and an unmount waits for that.
    pub(super) fn settle(&self, data: Option<&Path>) -> io::Result<()> {
        if self.has_hung() {
            if let Some(data) = data {
                rustix::fs::syncfs(File::open(data)?)?;
            }
            let gone = self.mark.as_ref().map_or(Ok(()), std::fs::remove_file);
            gone.or_else(|error| match super::files::is_absent(&error) {
                true => Ok(()),
                false => Err(error),
            })?;
            self.known().has_hung = false;
        }
        Ok(())
    }

    /// Whoever touches it waits in the kernel: why, in words.
    pub(super) fn hangs(&self) -> Option<String> {
        self.lost().filter(|lost| lost.hangs).map(|lost| lost.why)
    }

    pub(super) fn set(&self, lost: Option<DataLost>) {
        let mut known = self.known();
        if lost.as_ref().is_some_and(|lost| lost.hangs) {
            known.has_hung = true;
            if let Some(mark) = &self.mark {
                // Without it a later run takes the hang for over; this one does not.
                let _ = File::create(mark);
            }
        }
        known.lost = lost;
    }
}

/// A running watch; it ends when this is dropped.
pub struct DataWatch {
    using: Arc<AtomicU64>,
    _thread: Stoppable,
}

impl DataWatch {
    /// This node uses the data under this grant, its claim is written; or it does not.
    pub fn using(&self, epoch: Option<Epoch>) {
        self.using.store(epoch.map_or(NONE, |epoch| epoch.0), Ordering::Release);
    }
}

/// Starts it. `on` is called on the watch's thread.
pub fn watch_data(
    settings: &StackSettings,
    answering: Answering,
    on: impl FnMut(Seen) + Send + 'static,
) -> io::Result<DataWatch> {
    let using = Arc::new(AtomicU64::new(NONE));
    let stop = Stop::new()?;
    let theirs = stop.theirs()?;
    let (ask, asked) = sync_channel::<u64>(1);
    let (tell, told) = sync_channel::<(u64, Look)>(1);
    let (reader, settles) = (settings.clone(), answering.clone());
    std::thread::Builder::new()
        .name("data-reader".into())
        .spawn(move || read_on(&reader, &settles, &asked, &tell))?;
    // What a step of ours mounts is not there on a passive node.
    let mounts = settings.steps.iter().filter_map(|step| {
        if let Kind::Mount { on, .. } = &step.kind { Some(on.clone()) } else { None }
    });
    let mounts = mounts.filter(|on| settings.data.starts_with(on));
    let watcher = Watcher {
        using: Arc::clone(&using),
        data: settings.data.display().to_string(),
        mounts: mounts.collect(),
        answering,
        failures: 0,
        ask,
        told,
        on,
    };
    let thread = stop.start("data-watch", move || watcher.run(&theirs))?;
    Ok(DataWatch { using, _thread: thread })
}

/// What the reader found.
struct Look {
    foreign: Option<String>,
    fails: Option<String>,
}

/// Ends when the watcher has.
fn read_on(
    settings: &StackSettings,
    answering: &Answering,
    asked: &Receiver<u64>,
    tell: &SyncSender<(u64, Look)>,
) {
    while let Ok(epoch) = asked.recv() {
        let uses = epoch != NONE;
        let ours = Claim {
            cluster: settings.cluster,
            epoch: Epoch(epoch),
            node: settings.node,
            clear: false,
        };
        let foreign = match claim::read(&settings.data) {
            Ok(Some((there, name))) if uses => claim::bars(&there, &name, &ours, None),
            // Whoever removes it has not taken the data.
            Ok(_) | Err(_) => None,
        };
        // After a hang it answers once it has taken what was to be written then.
        let settled = || answering.settle(Some(&settings.data)).err();
        let fails = fails(&settings.data, uses).or_else(|| {
            settled().map(|error| {
                format!(
                    "the shared directory {} does not take writes: {error}",
                    settings.data.display()
                )
            })
        });
        let look = Look { foreign, fails };
        if tell.send((epoch, look)).is_err() {
            return;
        }
    }
}

/// Why the directory is of no use, if so. That a passive node does not have it at all is for its checks to say.
pub(super) fn fails(data: &Path, uses: bool) -> Option<String> {
    match claim::read_token_anew(data) {
        Ok(Some(_)) => {}
        Ok(None) => return uses.then(|| claim::no_token(data)),
        Err(error) => {
            return Some(format!("the shared directory {} fails: {error}", data.display()));
        }
    }
    let written = access(data, Access::WRITE_OK | Access::EXEC_OK);
    let error = written.err().filter(|_| uses)?;
    Some(format!("the shared directory {} cannot be written: {error}", data.display()))
}

struct Watcher<F> {
    using: Arc<AtomicU64>,
    data: String,
    /// Where a step of ours mounts it; nowhere if it is always there.
    mounts: Vec<PathBuf>,
    answering: Answering,
    /// Looks in a row that failed.
    failures: u32,
    ask: SyncSender<u64>,
    told: Receiver<(u64, Look)>,
    on: F,
}

impl<F: FnMut(Seen)> Watcher<F> {
    fn run(mut self, stop: &impl AsFd) {
        let mut asked: Option<Instant> = None;
        loop {
            if readable(stop.as_fd(), Instant::now() + EVERY).unwrap_or(true) {
                return;
            }
            let epoch = self.using.load(Ordering::Acquire);
            if epoch == NONE && asked.is_none() && !self.is_there() {
                self.failures = 0;
                self.note(None);
                continue;
            }
            if asked.is_none() && self.ask.send(epoch).is_ok() {
                asked = Some(Instant::now());
            }
            match self.told.recv_timeout(EVERY / 2) {
                Ok((of, look)) => {
                    asked = None;
                    self.take(of, look);
                }
                Err(RecvTimeoutError::Timeout) => {
                    let since = asked.map_or(Duration::ZERO, |asked| asked.elapsed());
                    if since >= HANGS_AFTER {
                        let why = format!("the shared directory {} does not answer", self.data);
                        self.note(Some(DataLost { hangs: true, why, age: span(since) }));
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// What a step of ours mounts is there as long as the table of mounts has it, whoever uses it.
    fn is_there(&self) -> bool {
        let mounts = procs::mounts();
        self.mounts.is_empty()
            || self.mounts.iter().any(|on| mounts.iter().any(|mount| mount.on == *on))
    }

    fn take(&mut self, of: u64, look: Look) {
        if let Some(why) = look.foreign
            && of == self.using.load(Ordering::Acquire)
        {
            (self.on)(Seen::Foreign(why));
        }
        let Some(why) = look.fails else {
            self.failures = 0;
            return self.note(None);
        };
        self.failures += 1;
        let hung = self.answering.lost().is_some_and(|lost| lost.hangs);
        // An access that ends with an error after all has ended.
        if self.failures >= FAILS_AFTER || hung {
            let age = span(EVERY * self.failures.saturating_sub(1));
            self.note(Some(DataLost { hangs: false, why, age }));
        }
    }

    /// Tells what changed.
    fn note(&mut self, lost: Option<DataLost>) {
        let kind = |lost: &Option<DataLost>| lost.as_ref().map(|lost| lost.hangs);
        let before = self.answering.lost();
        if kind(&before) == kind(&lost) {
            return;
        }
        self.answering.set(lost.clone());
        (self.on)(lost.map_or(Seen::Answers, Seen::Lost));
    }
}

fn span(length: Duration) -> Span {
    Span::millis(length.as_millis() as u64)
}
