//! Writes that land late: what a host gave to its kernel for the shared data before the directory hung reaches the disk
//! some time after it answers again. Once another host's use has begun, none may (section 6: A2).

use crate::host::{MEMBERS, NAMES};
use crate::stack::Storage;
use crate::world::{Event, World};
use regent_core::invariant::Violation;

const MS: u64 = 1_000_000;
/// A kernel asks a file server again at growing intervals, so a long hang is over late, and a short one at once.
const LONG: u64 = 1_000 * MS;
const LATE_MOST: u64 = 1_500 * MS;
/// Between two looks whether a kernel that stands still goes on.
const STANDS: u64 = 20 * MS;

/// A hang of the shared directory of one host, in one boot.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hang {
    /// Since when, if there was something to write.
    since: Option<u64>,
    /// When what was to be written then lands.
    lands: Option<u64>,
}

impl World {
    /// The directory hangs from now on.
    pub(crate) fn hang_storage(&mut self, host: usize) {
        let now = self.now;
        let stack = &mut self.hosts[host].stack;
        stack.storage = Storage::Hangs;
        if stack.uses(now) && stack.hang.lands.is_none() {
            stack.hang.since.get_or_insert(now);
        }
    }

    /// It answers again, or every access fails.
    pub(crate) fn end_hang(&mut self, host: usize, storage: Storage) {
        self.hosts[host].stack.storage = storage;
        let hang = self.hosts[host].stack.hang;
        let Some(since) = hang.since.filter(|_| hang.lands.is_none()) else { return };
        if storage == Storage::Fails || self.now - since < LONG {
            self.hosts[host].stack.hang = Hang::default();
            return;
        }
        let after = self.rng.range(MS, LATE_MOST);
        self.hosts[host].stack.hang.lands = Some(self.now + after);
        let boot = self.hosts[host].boots;
        self.after(after, Event::LateWrite { host, boot });
    }

    /// What was to be written reaches the disk, unless the host lost its power.
    pub(crate) fn land(&mut self, host: usize, boot: u64) {
        if !self.hosts[host].powered || self.hosts[host].boots != boot {
            return;
        }
        if self.hosts[host].paused.is_some() {
            // Its kernel stands still with it, and goes on with what it had to write.
            return self.after(STANDS, Event::LateWrite { host, boot });
        }
        let Some(since) = std::mem::take(&mut self.hosts[host].stack.hang).since else { return };
        self.tell(host, "storage", || String::from("what was written before the hang lands"));
        let later = MEMBERS.iter().find(|other| **other != host && self.begun[**other] > since);
        if let Some(other) = later {
            let text = format!(
                "a write of {} from {} ms ago lands after the use of {} began",
                NAMES[host],
                (self.now - since) / MS,
                NAMES[*other]
            );
            self.violated(Violation { id: "A2", text });
        }
    }

    /// Whoever waits until everything is written waits so long.
    pub(crate) fn unwritten(&self, host: usize) -> Option<u64> {
        #[cfg(feature = "planted")]
        if self.spec.planted == Some(regent_core::planted::Planted::WritesUnwaited) {
            return None;
        }
        let lands = self.hosts[host].stack.hang.lands?;
        Some(lands.saturating_sub(self.now) + MS)
    }
}
