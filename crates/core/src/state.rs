//! The one shared value, as protocol section 1 has it, and its codec. What stands here is all that the
//! nodes of a cluster agree on; health reports travel beside it and are never written here.

use crate::id::{AttemptId, ClusterId, Epoch, Incarnation, NodeId};
use crate::kept::Kept;
use crate::reason::MoveReason;
use crate::time::Span;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The format this code writes, and the newest it speaks (R7).
pub const FORMAT: u16 = 1;

/// How many entries of history the register keeps; older ones live in the nodes' own logs.
pub const HISTORY_MAX: usize = 16;

/// The whole shared state of a cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct State {
    /// Which fields may be used (R7).
    pub format: u16,
    /// Which cluster this is.
    pub cluster: ClusterId,
    /// The cluster whose register this one replaced, by an operator's word: its claims on shared data are void.
    #[serde(default)]
    pub replaces: Option<ClusterId>,
    /// Who holds.
    pub lease: Lease,
    /// Where every acknowledged write is.
    pub sync: Sync,
    /// Whether shared data is in use.
    pub data: Data,
    /// What operators asked for.
    pub intent: Intent,
    /// Who belongs to the cluster.
    pub members: BTreeMap<NodeId, Member>,
    /// The timing that everybody obeys; never a node's own file.
    pub timing: Timing,
    /// The last moves, newest last, at most [`HISTORY_MAX`].
    pub history: Vec<Move>,
    /// What a later release wrote beside these (R7).
    #[serde(skip)]
    pub kept: Kept,
}

/// The record of who holds, and since which proposal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Lease {
    /// Grows with every change of holder.
    pub epoch: Epoch,
    /// Whom the record names.
    pub holder: NodeId,
    /// Whose right may be running.
    pub phase: Phase,
    /// For how long a right proposed with this record lasts.
    pub ttl: Span,
    /// The proposal that wrote this record.
    pub by: AttemptId,
}

/// Whose right may be running under a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Nobody's.
    Free,
    /// A predecessor's, perhaps.
    Heir,
    /// Only the holder's.
    Ruling,
}

/// A node's data in one unbroken stay.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct DataCopy {
    /// Where it is.
    pub node: NodeId,
    /// Which stay.
    pub incarnation: Incarnation,
}

/// Every acknowledged write is durable in `writer` and received by `with`; no `with` is *solo*.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sync {
    /// Whose log has every acknowledged write.
    pub writer: DataCopy,
    /// Who received every acknowledged write.
    pub with: Option<DataCopy>,
}

impl Sync {
    /// Is this very copy recorded, as writer or beside it? That is what makes its node eligible.
    pub fn names(&self, copy: DataCopy) -> bool {
        self.writer == copy || self.with == Some(copy)
    }
}

/// Use of shared data (protocol section 6).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Data {
    /// Nobody uses it.
    Clear,
    /// A node does, or may.
    InUse {
        /// Which.
        node: NodeId,
        /// Since which grant.
        epoch: Epoch,
        /// The armed watchdog's length, if one is.
        watchdog: Option<Span>,
    },
}

/// What operators asked for; changes who may act, never how long a right lasts.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Intent {
    /// A planned move, void when the epoch differs from the one it was asked in.
    pub switchover: Option<Switchover>,
    /// Nodes that are no candidates.
    pub maintenance: BTreeMap<NodeId, Bounded>,
    /// No succession and no restarts by us.
    pub pause: Option<Bounded>,
    /// The cluster is stopped, since this proposal: nobody serves, and nobody starts anything, until it is started.
    #[serde(default)]
    pub stopped: Option<AttemptId>,
}

/// A planned move to one node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Switchover {
    /// The named successor.
    pub to: NodeId,
    /// The epoch in which it was asked.
    pub epoch: Epoch,
}

/// An intent that ends by itself: each node counts `length` from when it saw `since`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Bounded {
    /// The proposal that set it.
    pub since: AttemptId,
    /// How long it lasts.
    pub length: Span,
}

/// A member of the cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Member {
    /// The name in the configuration and in the certificate.
    pub name: String,
    /// The newest format it speaks (R7).
    pub speaks: u16,
    /// What it is for.
    pub role: MemberRole,
    /// The newest proposal of this member that was no renewal (R5).
    pub by: Option<AttemptId>,
}

/// What a member is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemberRole {
    /// Votes and runs resources.
    Node,
    /// Votes and runs none.
    Witness,
}

/// The timing of rights; everybody reads it here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Timing {
    /// How long a record lasts.
    pub ttl: Span,
    /// By how much the holder's own right is shorter.
    pub margin: Span,
    /// By which rate others wait longer, in parts per million.
    pub drift_ppm: u32,
}

impl Timing {
    /// How long others wait after they saw a record (C3).
    pub fn wait(&self, ttl: Span) -> Span {
        ttl.widened(self.drift_ppm)
    }

    /// How long the ticket of one renewal lasts (C1).
    pub fn ticket(&self, ttl: Span) -> Span {
        ttl.less(self.margin)
    }
}

/// One change of holder, for `regent history`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Move {
    /// The epoch it began.
    pub epoch: Epoch,
    /// From whom.
    pub from: NodeId,
    /// To whom.
    pub to: NodeId,
    /// Why.
    pub why: MoveReason,
}

/// Why bytes of the register are no State.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StateError {
    /// R7: written by a newer release.
    #[error(
        "the register has format {found}, this release speaks up to {speaks}: upgrade this node"
    )]
    Format {
        /// The format found.
        found: u16,
        /// The newest that is spoken here.
        speaks: u16,
    },
    /// Not ours at all.
    #[error("the register's bytes are no state of Regent: {0}")]
    Broken(String),
}

impl State {
    /// The bytes that stand in the register. Fields are written in a fixed order, so equal states have equal bytes.
    pub fn encode(&self) -> Vec<u8> {
        const WHY: &str = "a State has string keys only and so always has a JSON form";
        if self.kept.is_empty() {
            return serde_json::to_vec(self).expect(WHY);
        }
        let whole = self.kept.beside(serde_json::to_value(self).expect(WHY));
        serde_json::to_vec(&whole).expect(WHY)
    }

    /// Reads what [`State::encode`] wrote, of any release that this one understands.
    pub fn decode(bytes: &[u8]) -> Result<State, StateError> {
        State::decode_as(bytes, FORMAT)
    }

    /// The same for a release that speaks up to this format; refuses a newer one before anything else, and keeps
    /// what it does not know (R7).
    pub fn decode_as(bytes: &[u8], speaks: u16) -> Result<State, StateError> {
        #[derive(Deserialize)]
        struct Head {
            format: u16,
        }
        let broken = |e: serde_json::Error| StateError::Broken(e.to_string());
        let head: Head = serde_json::from_slice(bytes).map_err(broken)?;
        if head.format > speaks {
            return Err(StateError::Format { found: head.format, speaks });
        }
        let mut state: State = serde_json::from_slice(bytes).map_err(broken)?;
        // The rule: this very release wrote it, and nothing in it is unknown.
        if state.encode() != bytes {
            let read = serde_json::from_slice(bytes).map_err(broken)?;
            state.kept = Kept::of(read, serde_json::to_value(&state).map_err(broken)?);
        }
        Ok(state)
    }

    /// Writes down a move, and forgets the oldest past [`HISTORY_MAX`].
    pub fn remember(&mut self, entry: Move) {
        self.history.push(entry);
        if self.history.len() > HISTORY_MAX {
            self.history.remove(0);
        }
    }
}
