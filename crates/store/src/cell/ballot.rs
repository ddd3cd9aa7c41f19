//! Names and order: nodes, voters, clusters, ballots and attempts.
//!
//! All are plain numbers in newtypes, drawn or configured elsewhere: nothing here asks for
//! randomness or time. Equality and order are those of the fields, top to bottom.

use serde::{Deserialize, Serialize};

/// A member host, as the configuration numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u16);

/// One unbroken stay of a vote on one disk. Drawn at random; an id that left the list of voters
/// is never named again (rule R2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VoterId(pub u64);

/// The cluster that a register belongs to; messages of another are not heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClusterId(pub u128);

/// The number of a proposal: ordered by `n`, then `node`, then `run`. None is used for two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ballot {
    /// Grows with each proposal and beyond each refusal.
    pub n: u64,
    /// The proposing node.
    pub node: NodeId,
    /// Random per run of the agent, so that a restart never uses a ballot again.
    pub run: u64,
}

impl Ballot {
    /// The ballot under which the first value of a cluster is installed; below every proposal.
    pub const INITIAL: Ballot = Ballot { n: 1, node: NodeId(0), run: 0 };
}

/// The name of one proposal of one node (rule R6): a new one for each proposal, whoever makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Attempt {
    /// The proposing node.
    pub node: u16,
    /// The boot of its kernel.
    pub boot: u64,
    /// The run of its agent, random.
    pub run: u64,
    /// Grows by one per proposal.
    pub n: u64,
}
