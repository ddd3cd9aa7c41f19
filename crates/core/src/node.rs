//! The one state machine of a node: inputs in, commands out, the next deadline, and why.

use crate::command::{Command, Outcome, Request, RunRecord};
use crate::id::{AttemptId, BootId, ClusterId, CommandId, NodeId, RequestId, RunId, Version};
use crate::observe::{Report, ServiceId, UnitState};
use crate::spec::Spec;
use crate::time::{Span, Time};
use alloc::vec::Vec;

/// Who this node is, in this run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The cluster it was initialised for.
    pub cluster: ClusterId,
    /// This member.
    pub node: NodeId,
    /// This boot of the kernel.
    pub boot: BootId,
    /// This run of the agent.
    pub run: RunId,
    /// Seeds back-off and new incarnations; random per run.
    pub seed: u64,
}

/// What can happen to a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// A deadline passed.
    Tick,
    /// A value of the register was read or pushed here (a view: it permits nothing, R4).
    View {
        /// Its version.
        version: Version,
        /// Its bytes.
        bytes: Vec<u8>,
        /// The latest attempt of each node, as the value has them (R5).
        recent: Vec<AttemptId>,
    },
    /// A command came to its end.
    Outcome {
        /// Which.
        id: CommandId,
        /// How.
        outcome: Outcome,
    },
    /// A peer's report.
    Report(Report),
    /// systemd or a pidfd says so: the database's unit.
    DatabaseUnit(UnitState),
    /// The same for a service.
    ServiceUnit {
        /// Which.
        service: ServiceId,
        /// What.
        state: UnitState,
    },
    /// The kernel's filter was changed by somebody else; the adapter took the address off and loaded it closed again (G3).
    GateLost,
    /// Somebody else answers for the VIP (G2).
    Stranger {
        /// The foreign link address.
        mac: [u8; 6],
    },
    /// An operator asks.
    Operator {
        /// Names the answer.
        request: RequestId,
        /// What.
        what: Request,
    },
}

/// A node's decision core.
#[derive(Clone, Debug)]
pub struct Node {
    _spec: Spec,
}

impl Node {
    /// A node at the start of a run: everything of earlier runs is forgotten but what `record` says (C6).
    pub fn new(_identity: Identity, spec: Spec, _record: RunRecord, _now: Time) -> Node {
        Node { _spec: spec }
    }

    /// Takes one input. `now` was read after the input arrived (C2).
    pub fn handle(&mut self, _input: Input, _now: Time) {}

    /// The next command, in order; none when all are out.
    pub fn poll_command(&mut self) -> Option<Command> {
        None
    }

    /// In how long `handle(Tick)` is due, at the latest.
    pub fn next_wake(&self, _now: Time) -> Span {
        Span::millis(50)
    }
}
