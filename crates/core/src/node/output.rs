//! What leaves a node: its commands in order, what each that is under way was for, and what is told to operators.
//!
//! Every part of a node asks through here, and through nothing else.

use crate::command::{Action, Answer, Command, DatabaseStep, Slot};
use crate::event::{Event, Severity};
use crate::id::{AttemptId, CommandId, Epoch, NodeId, RequestId};
use crate::observe::ServiceId;
use crate::stack::StackStep;
use crate::time::Span;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;

/// What a command under way is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::node) enum Flight {
    Clock { n: u64 },
    Arm { n: u64, slot: Slot, ticket: Span },
    Enable { slot: Slot },
    Refuse,
    Close,
    AddressAdd,
    AddressRemove,
    DestroySockets,
    Announce,
    Propose { n: u64 },
    Read,
    Database(DatabaseStep),
    Marker { token: AttemptId },
    Verify,
    Service(ServiceId),
    Stack(StackStep),
    Probe(NodeId),
    Fence { node: NodeId, epoch: Epoch },
}

/// The commands of a node.
#[derive(Clone, Debug)]
pub(in crate::node) struct Output {
    queue: VecDeque<Command>,
    flights: BTreeMap<CommandId, Flight>,
    next: u64,
    epoch: Epoch,
}

impl Output {
    /// Nothing was asked yet, and no view was read.
    pub fn new() -> Output {
        Output { queue: VecDeque::new(), flights: BTreeMap::new(), next: 1, epoch: Epoch(0) }
    }

    /// Every command carries the epoch of the newest view (S5).
    pub fn enter(&mut self, epoch: Epoch) {
        self.epoch = epoch;
    }

    /// The epoch of the newest view, or 0 before any.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Puts a command out; the outcome will come back under the id returned.
    pub fn ask(&mut self, action: Action, flight: Option<Flight>) -> CommandId {
        let id = CommandId(self.next);
        self.next += 1;
        if let Some(flight) = flight {
            self.flights.insert(id, flight);
        }
        self.queue.push_back(Command { id, epoch: self.epoch, action });
        id
    }

    /// Tells operators.
    pub fn tell(&mut self, code: &str, severity: Severity, text: String) {
        self.tell_event(Event::new(code, severity, self.epoch, text));
    }

    /// The same with figures of its own.
    pub fn tell_event(&mut self, event: Event) {
        self.ask(Action::Tell(event), None);
    }

    /// Answers whoever asked.
    pub fn answer(&mut self, request: RequestId, answer: Answer) {
        self.ask(Action::Answer { request, answer }, None);
    }

    /// The next command, in order; none when all are out.
    pub fn poll(&mut self) -> Option<Command> {
        self.queue.pop_front()
    }

    /// A command came to its end: what it was for.
    pub fn land(&mut self, id: CommandId) -> Option<Flight> {
        self.flights.remove(&id)
    }

    /// Is a command of this kind under way?
    pub fn in_flight(&self, wanted: impl Fn(&Flight) -> bool) -> bool {
        self.flights.values().any(wanted)
    }
}
