//! Fencing: making a peer's host unable to run anything, by the word of a device (protocol section 6). Only the
//! holder fences, so two nodes never fence each other. In the replicated topology nothing waits for it: it ends a
//! host that hangs, so that it can be started afresh.

use crate::command::{Action, Answer, Fenced, Outcome};
use crate::event::Severity;
use crate::id::{Epoch, NodeId, RequestId};
use crate::node::Node;
use crate::node::output::Flight;
use crate::node::requests::Wants;
use crate::time::{Span, Time};
use alloc::format;
use alloc::string::{String, ToString};

/// How long a succeeded peer must have been silent before it is fenced unasked.
const SILENT: Span = Span::millis(2_000);
/// Between two tries, and how many.
const PAUSE: Span = Span::millis(10_000);
const TRIES: u32 = 3;

/// What this run has done about a silent peer in this epoch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::node) struct Fencing {
    epoch: Epoch,
    tries: u32,
    tried: Option<Time>,
    done: bool,
}

impl Node {
    /// An operator asks for a fencing.
    pub(in crate::node) fn fence_asked(&mut self, request: RequestId, node: NodeId, now: Time) {
        let refusal = if node == self.me() {
            Some("a node does not fence itself: ask another one".to_string())
        } else if !self.spec.nodes.iter().any(|(known, _)| *known == node) {
            Some(format!("{node} runs no resources: there is nothing to fence"))
        } else if !self.rules(now) {
            let holder = self.view.as_ref().map(|view| self.name(view.state.lease.holder));
            let holder = holder.unwrap_or_else(|| "the active node".to_string());
            Some(format!(
                "only the holder fences, so that two nodes never fence each other: ask {holder}"
            ))
        } else if self.in_flight(|f| matches!(f, Flight::Fence { .. })) {
            Some("a fencing is under way".to_string())
        } else {
            None
        };
        match refusal {
            Some(reason) => self.answer(request, Answer::refused(reason)),
            None => {
                let text = format!("{} is being fenced: an operator asked", self.name(node));
                self.tell("fence.begun", Severity::Warning, text);
                self.requests.enter(request, Wants::Fence(node), now);
                self.ask_fence(node);
            }
        }
    }

    /// The predecessor that this node succeeded in the present epoch and that has been silent since: it hangs, or
    /// is off, or is cut off.
    pub(in crate::node) fn fence_silent(&mut self, now: Time) {
        if !self.spec.policy.fence_silent || !self.is_serving(now) || self.is_paused(now) {
            return;
        }
        let Some(view) = &self.view else { return };
        let epoch = view.state.lease.epoch;
        let Some(last) = view.state.history.last().filter(|last| last.epoch == epoch) else {
            return;
        };
        let node = last.from;
        if self.fencing.epoch != epoch {
            self.fencing = Fencing { epoch, ..Fencing::default() };
        }
        let Some(peer) = self.peers.get(&node) else { return };
        let silent = now.elapsed_most(peer.heard) >= SILENT;
        let early = self.fencing.tried.is_some_and(|at| now.elapsed_most(at) < PAUSE);
        let busy = self.in_flight(|f| matches!(f, Flight::Fence { .. }));
        if !silent || early || busy || self.fencing.done || self.fencing.tries >= TRIES {
            return;
        }
        if self.is_in_maintenance(node, now) {
            return;
        }
        self.fencing.tries += 1;
        self.fencing.tried = Some(now);
        let text = format!(
            "{} is being fenced, try {}: it was succeeded and has been silent for {} ms",
            self.name(node),
            self.fencing.tries,
            now.elapsed_most(self.peers[&node].heard).as_millis()
        );
        self.tell("fence.begun", Severity::Warning, text);
        self.ask_fence(node);
    }

    /// Asked for in the present epoch: what a fence confirms counts for that one only.
    pub(in crate::node) fn ask_fence(&mut self, node: NodeId) {
        let epoch = self.epoch();
        self.ask(Action::Fence { node }, Some(Flight::Fence { node, epoch }));
    }

    /// Is the next try to fence due? Notes it, if so.
    pub(in crate::node) fn fence_due(&mut self, pause: Span, now: Time) -> bool {
        let epoch = self.epoch();
        if self.fencing.epoch != epoch {
            self.fencing = Fencing { epoch, ..Fencing::default() };
        }
        if self.fencing.tried.is_some_and(|at| now.elapsed_most(at) < pause) {
            return false;
        }
        self.fencing.tries += 1;
        self.fencing.tried = Some(now);
        true
    }

    /// Unknown is never confirmed.
    pub(in crate::node) fn take_fenced(&mut self, node: NodeId, epoch: Epoch, outcome: Outcome) {
        let name = self.name(node);
        #[cfg(feature = "planted")]
        if self.planted(crate::planted::Planted::FenceUnknown)
            && matches!(outcome, Outcome::Fence(Fenced::Unknown(_)))
        {
            self.note_fenced(node, epoch);
        }
        let (code, severity, text, answer): (_, _, String, _) = match outcome {
            Outcome::Fence(Fenced::Confirmed(how)) => {
                self.fencing.done = true;
                self.note_fenced(node, epoch);
                let text = format!("{name} is fenced, confirmed: {how}");
                ("fence.confirmed", Severity::Warning, text.clone(), Answer::Done(text))
            }
            Outcome::Fence(Fenced::Failed(why)) | Outcome::Failed(why) => {
                let text = format!("{name} is not fenced: {why}");
                ("fence.failed", Severity::Alarm, text.clone(), Answer::undone(text))
            }
            Outcome::Fence(Fenced::Unknown(why)) => {
                let text = format!("whether {name} is fenced is unknown: {why}");
                ("fence.unknown", Severity::Alarm, text.clone(), Answer::failed(text))
            }
            Outcome::Done
            | Outcome::Clock(_)
            | Outcome::Swap(_)
            | Outcome::Database { .. }
            | Outcome::Stack { .. }
            | Outcome::Peer { .. } => return,
        };
        self.tell(code, severity, text);
        let asked = |wants: &Wants| *wants == Wants::Fence(node);
        self.requests.end(asked, &answer, &mut self.out);
    }
}
