//! What proposers and voters say to each other. Links may lose, double and reorder.

use super::ballot::{Attempt, Ballot, ClusterId, VoterId};
use super::value::{Seat, Value};
use serde::{Deserialize, Serialize};

/// One message between two nodes (or within one).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Message {
    /// The register it is about; a message of another cluster is dropped.
    pub cluster: ClusterId,
    /// What is said.
    pub body: Body,
}

/// The kinds of message.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Body {
    /// Proposer to voters: promise to accept nothing below `ballot`, and tell what you hold.
    Prepare {
        /// The proposer's ballot.
        ballot: Ballot,
    },
    /// Voter to proposer: promised; this is what I hold.
    Promise {
        /// The ballot promised.
        ballot: Ballot,
        /// Who promises.
        voter: VoterId,
        /// The ballot of `value`.
        accepted: Ballot,
        /// The last value accepted.
        value: Value,
    },
    /// Proposer to voters: accept `value`, and promise `next` to me.
    Accept {
        /// The proposer's ballot.
        ballot: Ballot,
        /// What is proposed.
        value: Value,
        /// The proposer's next ballot.
        next: Ballot,
    },
    /// Voter to proposer: accepted, and durable.
    Accepted {
        /// The ballot accepted.
        ballot: Ballot,
        /// Who accepted.
        voter: VoterId,
    },
    /// Voter to proposer: `ballot` came too late.
    Refuse {
        /// The ballot refused.
        ballot: Ballot,
        /// Who refuses.
        voter: VoterId,
        /// What bars it.
        promised: Ballot,
    },
    /// Proposer to every node after a majority accepted: `value` is decided. To a newcomer it is
    /// the proof that admits it.
    Learn {
        /// The ballot in which it was accepted.
        ballot: Ballot,
        /// The ballot promised to the sender: others start above it.
        next: Ballot,
        /// The decided value.
        value: Value,
        /// The voters that accepted it in that ballot.
        by: Vec<VoterId>,
    },
    /// Any node to a voter's node, for an admission: under which id do you vote? Carries the list
    /// as it is decided, so that a node whose id left it draws a new one.
    Ask {
        /// The admission this belongs to: each draws an id of its own, and only one.
        admission: Attempt,
        /// The version of the list.
        version: u64,
        /// The list.
        voters: Vec<Seat>,
    },
    /// The answer to `Ask`: the id under which the sender votes, or would if it were named.
    Named {
        /// The admission that asked.
        admission: Attempt,
        /// The id.
        voter: VoterId,
        /// True if it is not seated: it must be named by a swap before it answers as a voter.
        newcomer: bool,
    },
}

impl Body {
    /// True if the message is for the voter of a node.
    pub fn is_for_voter(&self) -> bool {
        match self {
            Body::Prepare { .. } | Body::Accept { .. } | Body::Learn { .. } | Body::Ask { .. } => {
                true
            }
            Body::Promise { .. }
            | Body::Accepted { .. }
            | Body::Refuse { .. }
            | Body::Named { .. } => false,
        }
    }

    /// True if the message is for the proposer of a node; `Learn` is for both.
    pub fn is_for_proposer(&self) -> bool {
        match self {
            Body::Promise { .. }
            | Body::Accepted { .. }
            | Body::Refuse { .. }
            | Body::Learn { .. }
            | Body::Named { .. } => true,
            Body::Prepare { .. } | Body::Accept { .. } | Body::Ask { .. } => false,
        }
    }
}
