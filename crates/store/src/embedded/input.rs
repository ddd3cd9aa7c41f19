//! What the register thread takes.

use crate::cell::{Attempt, ClusterId, Message, NodeId, Record, Swap};
use crate::register::{RequestId, Storing};

/// What can be asked of the register on this node.
#[derive(Clone, Debug)]
pub enum Request {
    /// [`Register::read`](crate::Register::read).
    Read,
    /// [`Register::compare_and_swap`](crate::Register::compare_and_swap).
    Swap {
        /// The swap.
        swap: Swap,
        /// When the version it expects is stored.
        storing: Storing,
    },
    /// Stores the first record of a new cluster on this vacant node; answered `View` when durable.
    Install(Box<Record>),
    /// Names a newcomer as voter; answered as a swap.
    Admit(Admit),
    /// [`Register::watch`](crate::Register::watch); answered by no [`Answer`](crate::cell::Answer).
    Watch,
}

/// An admission (rule R2): `node`, which lost its disk or is new, draws an id, and a swap names it
/// in place of the voter at `instead_of`. Each try is a proposal of its own, with a new attempt;
/// `Refused(AlreadyVotes)` means that nothing is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admit {
    /// A new name for this proposal (rule R6).
    pub attempt: Attempt,
    /// The node to be admitted.
    pub node: NodeId,
    /// Whose seat it takes: its own, as a rule.
    pub instead_of: NodeId,
}

/// What the register thread takes.
pub(super) enum Input {
    /// A message for the proposer.
    Message { from: NodeId, message: Message },
    /// A request of this node's own.
    Request { id: RequestId, request: Request },
    /// The voter thread has stored this.
    Stored { cluster: Option<ClusterId>, high: u64 },
    /// End.
    Shutdown,
}
