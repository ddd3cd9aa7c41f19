//! The register as the agent sees it: swaps go in, views and answers come out.

use crate::events::Events;
use crate::inputs::Inputs;
use crate::log;
use crate::swaps::Swaps;
use crate::transport::{Lane, Transport};
use regent_api::history::Severity;
use regent_core::command::{Outcome, Proposal, SwapOutcome};
use regent_core::id::{AttemptId, BootId, ClusterId, CommandId, NodeId, RunId, Version};
use regent_core::node::Input;
use regent_store::cell::{Answer, Attempt, Message, NodeId as StoreNode, Swap, Value};
use regent_store::{Fault, Outbox, RequestId, Storing};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::sync::{oneshot, watch};

/// Requests of the agent's own, beside core's commands, are numbered from here.
const OWN: u64 = 1 << 63;

/// What the threads of the register say, passed on.
pub struct Bridge {
    transport: Transport,
    inputs: Option<Inputs>,
    events: Events,
    latest: watch::Sender<Option<Arc<Value>>>,
    own: Mutex<Own>,
    swaps: Arc<Swaps>,
}

#[derive(Default)]
struct Own {
    next: u64,
    waiting: HashMap<u64, oneshot::Sender<Answer>>,
}

impl Bridge {
    /// Answers to core's commands go to `inputs`; there is none before there is a core.
    pub fn new(
        transport: Transport,
        inputs: Option<Inputs>,
        events: Events,
        swaps: Arc<Swaps>,
    ) -> Arc<Bridge> {
        let (latest, _) = watch::channel(None);
        Arc::new(Bridge { transport, inputs, events, latest, own: Mutex::default(), swaps })
    }

    /// The newest decided value that is known here, and every newer one.
    pub fn latest(&self) -> watch::Receiver<Option<Arc<Value>>> {
        self.latest.subscribe()
    }

    /// A number for a request of the agent's own, and where its answer comes.
    pub fn own_request(&self) -> (RequestId, oneshot::Receiver<Answer>) {
        let (answer, waiting) = oneshot::channel();
        let mut own = self.own.lock().expect("nothing panics while it holds this");
        let id = OWN | own.next;
        own.next += 1;
        own.waiting.insert(id, answer);
        (RequestId(id), waiting)
    }

    fn outcome(&self, id: RequestId, outcome: Outcome) {
        if let Some(inputs) = &self.inputs {
            inputs.put(Input::Outcome { id: CommandId(id.0), outcome });
        }
    }

    fn view(&self, value: &Value) {
        if let Some(inputs) = &self.inputs {
            // Lost when there is no room: the next renewal is a newer one.
            inputs.offer(Input::View {
                version: Version(value.version),
                bytes: value.bytes.clone(),
                recent: value.recent.iter().map(from_attempt).collect(),
            });
        }
    }
}

impl Outbox for Bridge {
    fn send(&self, to: StoreNode, message: Message) {
        self.transport.send(NodeId(to.0), Lane::Register, regent_store::encode_message(&message));
    }

    fn answer(&self, id: RequestId, answer: Answer) {
        if id.0 >= OWN {
            let mut own = self.own.lock().expect("nothing panics while it holds this");
            if let Some(waiting) = own.waiting.remove(&id.0) {
                // Who asked may have given up.
                waiting.send(answer).ok();
            }
            return;
        }
        let decided = |v: Value| (Version(v.version), v.bytes);
        let outcome = match answer {
            Answer::View(value) => {
                self.view(&value);
                Outcome::Done
            }
            Answer::Won(value) => {
                self.swaps.end(CommandId(id.0), true);
                let (version, bytes) = decided(value);
                Outcome::Swap(SwapOutcome::Won { version, bytes })
            }
            Answer::Lost(value) => {
                self.swaps.end(CommandId(id.0), false);
                let (version, bytes) = decided(value);
                Outcome::Swap(SwapOutcome::Lost { version, bytes })
            }
            Answer::Unknown => {
                self.swaps.end(CommandId(id.0), false);
                Outcome::Swap(SwapOutcome::Unknown)
            }
            Answer::WentBack { found, high } => {
                log::alarm(&format!("a majority holds version {found}, {high} was decided [R2]"));
                Outcome::Swap(SwapOutcome::WentBack)
            }
            Answer::Refused(why) => Outcome::Failed(why.to_string()),
        };
        self.outcome(id, outcome);
    }

    fn watch(&self, value: &Value) {
        self.latest.send_if_modified(|latest| {
            let newer = latest.as_ref().is_none_or(|l| l.version < value.version);
            if newer {
                *latest = Some(Arc::new(value.clone()));
            }
            newer
        });
        self.view(value);
    }

    fn report(&self, fault: Fault) {
        self.events.write(Severity::Alarm, 0, "register.not-stored", &fault.to_string());
    }
}

/// A swap as the register takes it.
pub fn swap(attempt: AttemptId, expect: Version, by: Proposal, bytes: Vec<u8>) -> (Swap, Storing) {
    let (holder, storing) = match by {
        Proposal::Renewal => (true, Storing::Behind),
        Proposal::Holder => (true, Storing::Before),
        Proposal::Other => (false, Storing::Before),
    };
    (Swap { attempt: attempt_of(&attempt), expect: expect.0, bytes, holder }, storing)
}

/// Core's name of a proposal, for the register.
pub fn attempt_of(attempt: &AttemptId) -> Attempt {
    Attempt { node: attempt.node.0, boot: attempt.boot.0, run: attempt.run.0, n: attempt.n }
}

fn from_attempt(attempt: &Attempt) -> AttemptId {
    AttemptId {
        node: NodeId(attempt.node),
        boot: BootId(attempt.boot),
        run: RunId(attempt.run),
        n: attempt.n,
    }
}

/// The register's name of a cluster.
pub fn cluster_of(cluster: ClusterId) -> regent_store::cell::ClusterId {
    regent_store::cell::ClusterId(cluster.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_renewal_is_stored_behind_and_only_the_holder_insists() {
        let kind = |by| {
            let (swap, storing) = swap(AttemptId::default(), Version(4), by, vec![1]);
            assert_eq!((swap.expect, swap.bytes), (4, vec![1]));
            (swap.holder, storing)
        };
        assert_eq!(kind(Proposal::Renewal), (true, Storing::Behind));
        // R2, D7: succeed, solo, join and all that is no renewal are stored before they are proposed.
        assert_eq!(kind(Proposal::Holder), (true, Storing::Before));
        assert_eq!(kind(Proposal::Other), (false, Storing::Before));
    }
}
