//! What the register holds, and what a voter keeps of it on disk.
//!
//! The register knows versions, its voters and bytes, and no rule about them (R3).

use super::ballot::{Attempt, Ballot, ClusterId, NodeId, VoterId};
use serde::{Deserialize, Serialize};

/// The most bytes a value may hold. A State is a few KiB; the bound keeps a slot of the record
/// file, and every message, small.
pub const BYTES_MAX: usize = 64 * 1024;

/// The most voters a list may name; three is the rule.
pub const SEATS_MAX: usize = 7;

/// One place in the list of voters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Seat {
    /// Who votes.
    pub voter: VoterId,
    /// Where it is reached.
    pub node: NodeId,
}

/// The content of the register at one version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Value {
    /// Grows by one per swap that won; never used for two contents (rule R1).
    pub version: u64,
    /// The voters that count for this value.
    pub voters: Vec<Seat>,
    /// The latest attempt of each node that ever won, sorted by node: what makes a late win known
    /// (rule R5).
    pub recent: Vec<Attempt>,
    /// The encoded State; the register does not look inside.
    pub bytes: Vec<u8>,
}

impl Value {
    /// The number of voters that must answer: more than half of the list.
    pub fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    /// True if the list names this voter.
    pub fn has_voter(&self, voter: VoterId) -> bool {
        self.voters.iter().any(|seat| seat.voter == voter)
    }

    /// The seat at this node, if there is one.
    pub fn seat_of(&self, node: NodeId) -> Option<Seat> {
        self.voters.iter().copied().find(|seat| seat.node == node)
    }

    /// True if this value, or one that it grew from, is the work of this attempt, and the node's
    /// latest (rule R5).
    pub fn has_attempt(&self, attempt: Attempt) -> bool {
        self.recent.contains(&attempt)
    }

    /// The value that follows this one.
    pub(crate) fn successor(&self, attempt: Attempt, voters: Vec<Seat>, bytes: Vec<u8>) -> Value {
        let mut recent = self.recent.clone();
        recent.retain(|other| other.node != attempt.node);
        recent.push(attempt);
        recent.sort_unstable();
        Value { version: self.version + 1, voters, recent, bytes }
    }
}

/// What one voter keeps, durable before any answer leaves (rule R1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Record {
    /// The register it votes in.
    pub cluster: ClusterId,
    /// Its own name.
    pub voter: VoterId,
    /// It accepts nothing below this ballot.
    pub promised: Ballot,
    /// The ballot of `value`.
    pub accepted: Ballot,
    /// The last value it accepted.
    pub value: Value,
}

/// The records with which the voters of a new cluster start: all hold the same value at version 1,
/// as if each had accepted it in one ballot. Each is installed once, on a node that has none.
pub fn initial_records(cluster: ClusterId, voters: &[Seat], bytes: &[u8]) -> Vec<(NodeId, Record)> {
    let value =
        Value { version: 1, voters: voters.to_vec(), recent: Vec::new(), bytes: bytes.to_vec() };
    let record = |seat: &Seat| Record {
        cluster,
        voter: seat.voter,
        promised: Ballot::INITIAL,
        accepted: Ballot::INITIAL,
        value: value.clone(),
    };
    voters.iter().map(|seat| (seat.node, record(seat))).collect()
}
