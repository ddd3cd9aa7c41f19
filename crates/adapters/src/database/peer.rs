//! What one node's database worker asks another's, through their agents. `answer.rs` answers.

use crate::database::gtid::Gtid;
use crate::database::needs::Amiss;
use crate::database::verify::{Look, Seen, Trouble};
use regent_core::id::{Incarnation, NodeId};
use serde::{Deserialize, Serialize};

/// How many names one question carries; more are asked in further ones.
pub(crate) const BATCH: usize = 500;

/// A question to a peer's worker.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerRequest {
    /// Which of these, newest first, is the first that stands in your log? Exact look-up (D8).
    Lookup {
        /// Answer only if your data are this stay.
        incarnation: Incarnation,
        /// At most some hundred.
        gtids: Vec<Gtid>,
    },
    /// The state of your log at this place of it.
    StateAt {
        /// Answer only if your data are this stay.
        incarnation: Incarnation,
        /// Name of a log file.
        file: String,
        /// Byte in it.
        offset: u64,
    },
    /// What do I need to follow you?
    FollowInfo,
    /// What of your server's settings is not as Regent needs it? Asked before there is a cluster.
    Survey,
    /// Once you have applied all of this: what do you see there?
    Checksum {
        /// Answer only if your data are this stay, and a follower's.
        incarnation: Incarnation,
        /// The end of the writer's log, by domain.
        reached: Vec<Gtid>,
        /// Wait for it this long, at most some seconds.
        patience_ms: u64,
        /// What to look at.
        chunk: Look,
    },
}

/// A peer's answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerAnswer {
    /// To `Lookup`.
    Found {
        /// Place in the list, if any is there.
        index: Option<usize>,
    },
    /// To `StateAt`.
    State {
        /// Per domain and server the last name.
        state: Vec<Gtid>,
    },
    /// To `FollowInfo`.
    Follow(FollowInfo),
    /// To `Survey`.
    Survey {
        /// Nothing: all is as it must be.
        amiss: Vec<Amiss>,
    },
    /// To `Checksum`.
    Checksum {
        /// What is seen, or why nothing is.
        seen: Result<Seen, Trouble>,
    },
    /// The question cannot be answered, and why.
    Refused {
        /// In the operator's words.
        reason: String,
    },
}

/// What a follower needs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FollowInfo {
    /// The server's port.
    pub port: u16,
    /// The replication account.
    pub user: String,
    /// Its password.
    pub password: String,
    /// The server's present incarnation.
    pub incarnation: Incarnation,
    /// What a copy of its data takes; none from a release that does not say.
    #[serde(default)]
    pub bytes: Option<u64>,
    /// Why its data cannot be copied, if so.
    #[serde(default)]
    pub no_copy: Option<String>,
}

/// A way to ask a node's worker. The worker's own goes through the agent.
pub(crate) trait Peer {
    /// Asks one question; an error says why no answer came.
    async fn ask(&self, node: NodeId, request: PeerRequest) -> Result<PeerAnswer, String>;
}
