//! The queue of the lease thread: all that it takes comes this way.

use regent_adapters::fence::watchdog::Watchdog;
use regent_core::node::{Input, NodeStatus};
use regent_core::time::Span;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;
use tokio::sync::oneshot;

/// What may wait for the lease thread: a minute of reports and views while it is stalled, after which it is dead.
const QUEUE: usize = 4096;

/// What the lease thread takes. Inputs differ in size; boxing each would cost more than the room in the queue.
#[expect(clippy::large_enum_variant, reason = "nearly every event is an input")]
pub enum Event {
    /// For core.
    Input(Input),
    /// Somebody wants to know; the answer goes there.
    Look(oneshot::Sender<Box<NodeStatus>>),
    /// What became of the watchdog device that was to be armed.
    Armed(Armed),
    /// End, closing nothing: the kernel's tickets do that.
    Stop {
        /// Nothing follows at once: a watchdog device rests.
        rest: bool,
    },
}

/// The way to the lease thread.
#[derive(Clone)]
pub struct Inputs {
    queue: SyncSender<Event>,
}

/// The queue and its end.
pub fn queue() -> (Inputs, Receiver<Event>) {
    let (queue, events) = sync_channel(QUEUE);
    (Inputs { queue }, events)
}

impl Inputs {
    /// An outcome or an observation that must not be lost: waits for room.
    pub fn put(&self, input: Input) {
        // Without a lease thread the process is ending.
        self.queue.send(Event::Input(input)).ok();
    }

    /// A message that will be repeated: a report, a view. Lost when there is no room.
    pub fn offer(&self, input: Input) {
        match self.queue.try_send(Event::Input(input)) {
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }

    /// Asks for a picture of what core knows; none if the lease thread does not answer in time.
    pub async fn look(&self, patience: Duration) -> Option<Box<NodeStatus>> {
        let (answer, picture) = oneshot::channel();
        self.queue.try_send(Event::Look(answer)).ok()?;
        tokio::time::timeout(patience, picture).await.ok()?.ok()
    }

    /// The watchdog device was armed, or was not.
    pub fn armed(&self, armed: Armed) {
        // Without a lease thread nobody feeds it: the process is ending, and its next life arms it anew.
        self.queue.send(Event::Armed(armed)).ok();
    }

    /// Ends the lease thread.
    pub fn stop(&self, rest: bool) {
        self.queue.send(Event::Stop { rest }).ok();
    }
}

/// What became of a permission to arm the watchdog device.
pub enum Armed {
    /// It runs.
    Runs {
        /// To be fed by the lease thread.
        watchdog: Watchdog,
        /// This long after it was last rightfully fed the host is surely reset; none if it proves nothing to others.
        proof: Option<Span>,
    },
    /// The permission was over before the device was opened.
    Late,
    /// There is none, and operators know.
    Absent,
}
