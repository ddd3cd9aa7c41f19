//! Questions to an agent, and its answers.

use crate::exit::Exit;
use crate::history::History;
pub use crate::refusal::RefusalKind;
use crate::stack::{Moved, Plan, StackShown, StepNews};
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
        /// On every member, as one timeline.
        #[serde(default)]
        cluster: bool,
    },
    /// A planned move; to the eligible standby if none is named.
    Switchover {
        /// The named successor.
        to: Option<String>,
        /// Only if the node that is asked is active.
        #[serde(default)]
        away: bool,
    },
    /// A standby takes a fresh copy of the active node's data.
    Resync {
        /// Which; the one that is asked.
        node: String,
        /// The old data may go before the copy comes, if there is no room for two.
        in_place: bool,
    },
    /// The active node compares both copies.
    VerifyDb {
        /// Per cent of the time during which it reads; none: as configured.
        duty: Option<u8>,
    },
    /// Make the cluster.
    Init,
    /// Let the voter on this node, which lost its disk, vote again.
    AdmitVoter {
        /// Whose voter.
        node: String,
    },
    /// Shared data on two hosts without a third: let this node, which the other one replaced or which lost its disk,
    /// vote again.
    Rejoin {
        /// Which.
        node: String,
    },
    /// A node is no candidate and its services are left alone, for so long; no length ends it.
    Maintenance {
        /// Which; the one that is asked if none is named.
        node: Option<String>,
        /// For how long.
        for_ms: Option<u64>,
    },
    /// No succession and no restarts by us, for so long; no length ends it.
    Pause {
        /// For how long.
        for_ms: Option<u64>,
    },
    /// Services, databases and VIP go down in order on every node; the agents stay.
    Stop,
    /// The stopped cluster comes up again.
    Start,
    /// Fence a node: power it off by its own device.
    Fence {
        /// Which.
        node: String,
    },
    /// What is in force on a member, or only what is written there.
    ConfigShow {
        /// All that is in force, and where each value comes from.
        effective: bool,
    },
    /// What other members have otherwise.
    ConfigDiff {
        /// Only this one.
        node: Option<String>,
    },
    /// One key of the configuration, on every member or on none.
    ConfigSet {
        /// As in the file, with dots: `policy.tries`.
        key: String,
        /// As in the file; none takes it out, so that its default holds again.
        value: Option<String>,
        /// Do it; else only tell what would change.
        apply: bool,
    },
    /// Shared data: bring everything up on the node that is asked.
    Activate {
        /// The operator's word that this node is off.
        off: Option<String>,
        /// The operator's word that this node cannot write to the shared data, though its network may live.
        #[serde(default)]
        cannot_write: Option<String>,
        /// Ask every guard, and change nothing.
        dry_run: bool,
    },
    /// Shared data: take everything down on the node that is asked.
    Deactivate {
        /// Say what would be done, and change nothing.
        dry_run: bool,
    },
    /// Shared data: where every step of this node is.
    StackShow,
    /// Shared data: bring back what drifted on this node.
    StackRepair,
    /// Ask every fence device for its state, changing nothing.
    FenceTest {
        /// Only this node's; every node's if none is named.
        node: Option<String>,
    },
}

impl Ask {
    /// Does it change anything? Then only root may ask it.
    pub fn changes(&self) -> bool {
        match self {
            // A test logs in to a device that can turn a host off: not for everybody either.
            Ask::FenceTest { .. }
            | Ask::ConfigSet { .. }
            | Ask::Switchover { .. }
            | Ask::Resync { .. }
            | Ask::VerifyDb { .. }
            | Ask::Init
            | Ask::AdmitVoter { .. }
            | Ask::Rejoin { .. }
            | Ask::Maintenance { .. }
            | Ask::Pause { .. }
            | Ask::Stop
            | Ask::Start
            // A dry run asks the segment, and looks where only root may.
            | Ask::Activate { .. }
            | Ask::Deactivate { .. }
            | Ask::StackRepair
            | Ask::Fence { .. } => true,
            Ask::Status
            | Ask::StackShow
            | Ask::Explain
            | Ask::History { .. }
            | Ask::ConfigShow { .. }
            | Ask::ConfigDiff { .. } => false,
        }
    }
}

/// One answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// It goes on; another reply follows.
    Progress(String),
    /// The agent begins a new life, which has to be asked to go on: the same question without the word that was given.
    Again(String),
    /// What it comes to; other replies follow.
    Plan(Box<Plan>),
    /// How far it is; other replies follow.
    Step(StepNews),
    /// How it ended.
    Moved(Box<Moved>),
    /// Where every step is.
    Stack(Box<StackShown>),
    /// Where everybody is.
    Status(Box<Status>),
    /// What happened.
    History(History),
    /// The lines of `explain`.
    Text(Vec<String>),
    /// What each fence device said.
    Fences(Fences),
    /// It is done.
    Done(String),
    /// It is not.
    Refused(Refusal),
}

/// Version 1 of `regent fence test --json`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Fences {
    /// [`crate::VERSION`].
    pub version: u32,
    /// Who asked the devices.
    pub now_node: String,
    /// One for each node with a fence, or that needs one.
    pub tested: Vec<FenceTested>,
}

/// What one fence device said.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FenceTested {
    /// Whose fence.
    pub node: String,
    /// By which means; empty if none is configured.
    pub device: String,
    /// It answered as a device does that can be relied on.
    pub works: bool,
    /// `on`, `off`, `reachable`, or why not.
    pub answer: String,
    /// How long that took.
    pub took_ms: u64,
}

impl Fences {
    /// Every device works, or the command ends with a refusal.
    pub fn exit(&self) -> Exit {
        if self.tested.iter().all(|t| t.works) { Exit::Ok } else { Exit::Refused }
    }
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
