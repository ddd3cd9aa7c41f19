//! Watches the claim on the shared data while this node uses them: a second cluster, a frozen node that came back, or a
//! directory that does not answer.
//!
//! The reading thread may hang with the directory; the watching one never does.

use super::claim;
use super::settings::StackSettings;
use crate::netlink::readable;
use crate::stoppable::{Stop, Stoppable};
use regent_core::id::Epoch;
use regent_core::stack::Claim;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(1);
/// A file server that takes this long is told of; it is no reason to stop by itself.
const HANGS_AFTER: Duration = Duration::from_secs(5);
/// No grant has this number.
const NONE: u64 = u64::MAX;

/// What was seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen {
    /// The claim is another cluster's or newer: stop at once.
    Foreign(String),
    /// The shared directory has not answered for a while. Told once.
    Hangs(String),
    /// It answers again.
    Answers,
}

/// A running watch; it ends when this is dropped.
pub struct ClaimWatch {
    using: Arc<AtomicU64>,
    _thread: Stoppable,
}

impl ClaimWatch {
    /// This node uses the data under this grant, its claim is written; or it does not.
    pub fn using(&self, epoch: Option<Epoch>) {
        self.using.store(epoch.map_or(NONE, |epoch| epoch.0), Ordering::Release);
    }
}

/// Starts it; nothing is read before it is told that this node uses the data. `on` is called on the watch's thread.
pub fn watch_claim(
    settings: &StackSettings,
    on: impl FnMut(Seen) + Send + 'static,
) -> io::Result<ClaimWatch> {
    let using = Arc::new(AtomicU64::new(NONE));
    let stop = Stop::new()?;
    let theirs = stop.theirs()?;
    let (ask, asked) = sync_channel::<u64>(1);
    let (tell, told) = sync_channel::<(u64, Option<String>)>(1);
    let reader = settings.clone();
    std::thread::Builder::new()
        .name("claim-reader".into())
        .spawn(move || read_on(&reader, &asked, &tell))?;
    let watcher = Watcher { using: Arc::clone(&using), ask, told, on };
    let thread = stop.start("claim-watch", move || watcher.run(&theirs))?;
    Ok(ClaimWatch { using, _thread: thread })
}

/// Ends when the watcher has.
fn read_on(
    settings: &StackSettings,
    asked: &Receiver<u64>,
    tell: &SyncSender<(u64, Option<String>)>,
) {
    while let Ok(epoch) = asked.recv() {
        let ours = Claim {
            cluster: settings.cluster,
            epoch: Epoch(epoch),
            node: settings.node,
            clear: false,
        };
        let bars = match claim::read(&settings.data) {
            Ok(Some((there, name))) => claim::bars(&there, &name, &ours, None),
            // Whoever removes it has not taken the data.
            Ok(None) => None,
            Err(_) => None,
        };
        if tell.send((epoch, bars)).is_err() {
            return;
        }
    }
}

struct Watcher<F> {
    using: Arc<AtomicU64>,
    ask: SyncSender<u64>,
    told: Receiver<(u64, Option<String>)>,
    on: F,
}

impl<F: FnMut(Seen)> Watcher<F> {
    fn run(mut self, stop: &impl AsFd) {
        let mut asked: Option<Instant> = None;
        let mut hangs = false;
        loop {
            if readable(stop.as_fd(), Instant::now() + EVERY).unwrap_or(true) {
                return;
            }
            let epoch = self.using.load(Ordering::Acquire);
            if epoch == NONE && asked.is_none() {
                continue;
            }
            if asked.is_none() && self.ask.send(epoch).is_ok() {
                asked = Some(Instant::now());
            }
            match self.told.recv_timeout(EVERY / 2) {
                Ok((of, bars)) => {
                    asked = None;
                    if std::mem::take(&mut hangs) {
                        (self.on)(Seen::Answers);
                    }
                    if let Some(why) = bars
                        && of == self.using.load(Ordering::Acquire)
                    {
                        (self.on)(Seen::Foreign(why));
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    let long = asked.is_some_and(|asked| asked.elapsed() >= HANGS_AFTER);
                    if long && !std::mem::replace(&mut hangs, true) {
                        (self.on)(Seen::Hangs(format!(
                            "the shared directory has not answered for {} s",
                            HANGS_AFTER.as_secs()
                        )));
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}
