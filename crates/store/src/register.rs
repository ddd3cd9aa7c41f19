//! The three verbs, and where their answers go.
//!
//! The style is asynchronous: a verb only hands the request over, and never waits; the answer
//! comes through the [`Outbox`], under the id of the request, once and only once. So the thread
//! that keeps the lease never blocks on a disk or a link.

use crate::cell::{Answer, Message, NodeId, Swap, Value};

/// Names a request; drawn by the caller, told back with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Rule R2: each node stores, synced, the highest version it saw before it acts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Storing {
    /// The version that the swap expects is durable on this node before the swap is sent. The rule
    /// for every swap but one (D7: succeed, solo and join above all).
    Before,
    /// It is being stored while the swap is sent: for the plain renewal of a holder, which a hung
    /// disk of its own shall not silence while two voters answer.
    Behind,
}

/// Where the value of a cluster lives: three verbs, no more.
pub trait Register: Send {
    /// Asks for the decided value: answered `View` or `Unknown`. It permits nothing (rule R4).
    fn read(&self, id: RequestId);

    /// Proposes to replace the version that the swap expects: `Won`, `Lost`, `Unknown` (rule R5),
    /// `WentBack` (rule R2) or `Refused`. One is outstanding at a time: a new one gives up an
    /// older one, which is then answered `Unknown`, or `Refused` if it was not sent yet.
    fn compare_and_swap(&self, id: RequestId, swap: Swap, storing: Storing);

    /// Has the newest decided value that is known here told to [`Outbox::watch`] now, as every
    /// newer one is from then on. It may be old (rule R4).
    fn watch(&self);
}

/// Where a register's threads send what they have to say. No method may block for long.
pub trait Outbox: Send + Sync + 'static {
    /// Sends a message to another node; it may be lost, doubled and overtaken.
    fn send(&self, to: NodeId, message: Message);

    /// Answers a request, once.
    fn answer(&self, id: RequestId, answer: Answer);

    /// Tells a decided value newer than any told before.
    fn watch(&self, value: &Value);

    /// Tells an operating fault of this node's own part of the register.
    fn report(&self, fault: Fault);
}

/// What may go wrong with this node's own part of the register.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// This node's vote is silent until a write succeeds again.
    #[error("failed to store the voter's record: {0}")]
    NotStored(#[source] std::io::Error),
}
