//! Questions to an agent, and its answers.

use crate::exit::Exit;
use crate::history::History;
use crate::status::Status;
use serde::{Deserialize, Serialize};

/// One question.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Call {
    /// [`crate::VERSION`] of the asker.
    pub version: u32,
    /// What is asked.
    pub ask: Ask,
}

impl Call {
    /// A question in the present version.
    pub fn new(ask: Ask) -> Call {
        Call { version: crate::VERSION, ask }
    }
}

/// What is asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    /// Where is everybody?
    Status,
    /// Why are you where you are?
    Explain,
    /// What happened?
    History {
        /// At most this many of the last events.
        last: usize,
    },
    /// A planned move; to the eligible standby if none is named.
    Switchover {
        /// The named successor.
        to: Option<String>,
    },
    /// Make the cluster.
    Init,
    /// Let the voter on this node, which lost its disk, vote again.
    AdmitVoter {
        /// Whose voter.
        node: String,
    },
}

impl Ask {
    /// Does it change anything? Then only root may ask it.
    pub fn changes(&self) -> bool {
        match self {
            Ask::Status | Ask::Explain | Ask::History { .. } => false,
            Ask::Switchover { .. } | Ask::Init | Ask::AdmitVoter { .. } => true,
        }
    }
}

/// One answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// It goes on; another reply follows.
    Progress(String),
    /// Where everybody is.
    Status(Box<Status>),
    /// What happened.
    History(History),
    /// The lines of `explain`.
    Text(Vec<String>),
    /// It is done.
    Done(String),
    /// It is not.
    Refused(Refusal),
}

/// Why something was not done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// Of which kind.
    pub kind: RefusalKind,
    /// What, where, and why.
    pub reason: String,
    /// What to do about it; empty if the reason says so already.
    pub remedy: String,
}

/// Of which kind a refusal is; each has its exit code.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalKind {
    /// The question is not understood.
    Usage,
    /// The configuration does not allow it.
    Configuration,
    /// There is no cluster yet.
    NotInitialised,
    /// Somebody who is needed does not answer.
    Unreachable,
    /// A guard refuses.
    Guard,
    /// It did not end in its time.
    TimedOut,
    /// An operator is needed.
    Unsafe,
    /// A mistake of Regent itself, or of the machine under it.
    Internal,
}

impl RefusalKind {
    /// Its exit code.
    pub fn exit(self) -> Exit {
        match self {
            RefusalKind::Usage => Exit::Usage,
            RefusalKind::Configuration => Exit::Configuration,
            RefusalKind::NotInitialised => Exit::NotInitialised,
            RefusalKind::Unreachable => Exit::Unreachable,
            RefusalKind::Guard => Exit::Refused,
            RefusalKind::TimedOut => Exit::TimedOut,
            RefusalKind::Unsafe => Exit::Unsafe,
            RefusalKind::Internal => Exit::Internal,
        }
    }
}

/// Version 1 of the JSON answer of a command that changes something, and of every refusal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Result {
    /// [`crate::VERSION`].
    pub version: u32,
    /// `done`, or the kind of the refusal.
    pub result: String,
    /// What was done, or why not.
    pub text: String,
    /// What to do about it.
    pub remedy: Option<String>,
    /// The exit code.
    pub exit: u8,
}
