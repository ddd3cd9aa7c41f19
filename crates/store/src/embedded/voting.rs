//! The voter thread: the voter and its record file; nothing else waits for this disk.
//!
//! It takes all messages that wait, lets the voter react, stores once, and only then sends the
//! replies (rule R1). If the store fails or hangs, this vote is silent, and nothing else is.

use super::input::Input;
use super::record::{Disk, Kept};
use crate::cell::{Answer, ClusterId, Message, NodeId, Record, Refusal, Standing, Voter, VoterId};
use crate::register::{Fault, Outbox, RequestId};
use crate::splitmix::SplitMix;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};

/// What may wait for the voter: two proposers resending to it for seconds. Beyond that, lost.
pub(super) const QUEUE: usize = 256;

/// What the voter thread takes.
pub(super) enum Work {
    /// A message for the voter.
    Message { from: NodeId, message: Message },
    /// Rule R2: store that this version was seen.
    High(u64),
    /// Store the first record of a new cluster.
    Install { id: RequestId, record: Box<Record> },
    /// End.
    Shutdown,
}

/// The state of the voter thread.
pub(super) struct Voting {
    pub(super) me: NodeId,
    pub(super) voter: Voter,
    pub(super) high: u64,
    pub(super) disk: Box<dyn Disk>,
    /// For voter ids, seeded at random per run.
    pub(super) random: SplitMix,
    pub(super) inputs: Receiver<Work>,
    pub(super) register: SyncSender<Input>,
    pub(super) outbox: Arc<dyn Outbox>,
}

impl Voting {
    /// Runs until told to shut down.
    pub(super) fn run(mut self) {
        let mut is_unsaved = false;
        while let Ok(first) = self.inputs.recv() {
            let mut batch = vec![first];
            batch.extend(self.inputs.try_iter().take(QUEUE));
            let mut batched = Batch::default();
            let mut ends = false;
            for work in batch {
                ends |= matches!(work, Work::Shutdown);
                self.take(work, &mut batched);
            }
            let was_unsaved = is_unsaved;
            batched.changed |= was_unsaved;
            let stored = if batched.changed { self.store() } else { Ok(()) };
            is_unsaved = stored.is_err();
            match stored {
                Ok(()) => self.speak(batched),
                Err(error) => {
                    for (id, _) in batched.installs {
                        self.outbox.answer(id, Answer::Refused(Refusal::NotStored));
                    }
                    if !was_unsaved {
                        self.outbox.report(Fault::NotStored(error));
                    }
                }
            }
            if ends {
                return;
            }
        }
    }

    fn take(&mut self, work: Work, batch: &mut Batch) {
        match work {
            Work::Message { from, message } => {
                let fresh = VoterId(self.random.draw());
                let cluster = cluster_of(self.voter.standing());
                let reaction = self.voter.handle(&message, fresh);
                if cluster != cluster_of(self.voter.standing()) {
                    // Versions of another register say nothing about this one.
                    self.high = 0;
                }
                batch.changed |= reaction.changed;
                batch.replies.extend(reaction.reply.map(|reply| (from, reply)));
            }
            Work::High(version) => {
                batch.changed |= version > self.high;
                self.high = self.high.max(version);
            }
            Work::Install { id, record } => {
                let first = record.value.clone();
                let is_mine = self.voter.install(*record);
                batch.changed |= is_mine;
                let answer =
                    if is_mine { Answer::View(first) } else { Answer::Refused(Refusal::Installed) };
                batch.installs.push((id, answer));
            }
            Work::Shutdown => {}
        }
    }

    fn store(&mut self) -> std::io::Result<()> {
        let kept = Kept { standing: self.voter.standing().clone(), high: self.high };
        self.disk.store(&kept)
    }

    /// All of this is durable: say it.
    fn speak(&self, batch: Batch) {
        if batch.changed {
            let cluster = cluster_of(self.voter.standing());
            // If the queue is full, the next change tells it.
            let _ = self.register.try_send(Input::Stored { cluster, high: self.high });
        }
        for (to, message) in batch.replies {
            if to == self.me {
                // A full queue loses it, as a link may.
                let _ = self.register.try_send(Input::Message { from: to, message });
            } else {
                self.outbox.send(to, message);
            }
        }
        for (id, answer) in batch.installs {
            self.outbox.answer(id, answer);
        }
    }
}

/// The register that a standing belongs to, if any.
pub(super) fn cluster_of(standing: &Standing) -> Option<ClusterId> {
    match standing {
        Standing::Vacant => None,
        Standing::Newcomer { cluster, .. } => Some(*cluster),
        Standing::Seated(record) => Some(record.cluster),
    }
}

#[derive(Default)]
struct Batch {
    changed: bool,
    replies: Vec<(NodeId, Message)>,
    installs: Vec<(RequestId, Answer)>,
}
