//! The stack of the shared-data topology: everything that runs on the active node only, as ordered steps (protocol
//! section 6). Core decides which step is due; what a step is (a link, a mount, a host name, a unit with its
//! commands) is known to its adapter alone.
//!
//! The first step is brought up first and taken down last. Each is idempotent both ways, bounded in time by its
//! adapter, and answered with a fresh survey of what is really there.

use crate::health::Weight;
use crate::id::{ClusterId, Epoch, NodeId};
use crate::observe::ServiceId;
use crate::time::Span;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// A step, numbered by its place in [`StackSpec::steps`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepId(pub u16);

/// What this node is to bring up and take down.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StackSpec {
    /// In the order of an activation.
    pub steps: Vec<StepSpec>,
    /// Who decides that another node takes over.
    pub failover: Failover,
    /// Two voters: rights last until they are released, because without the other node nobody can take them, and with
    /// it gone nobody may lose them.
    pub pair: bool,
    /// Every other node can be fenced from here: what is in use by a silent one can be proven clear.
    pub fenced: bool,
    /// Beyond the watchdog's time, before its expiry is taken as proof: the host needs time to stop.
    pub settle: Span,
    /// A holder whose right ended takes its stack down after this long.
    pub isolation: Span,
    /// The stack leaves a node for which the shared directory is lost for this long, if another one sees it.
    pub patience: Span,
}

/// One step of the stack.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StepSpec {
    /// Its name for people: `link /etc/xcat`, `database`, `xcatd`.
    pub name: String,
    /// A vital one that fails undoes the activation; another one is reported as degraded.
    pub weight: Weight,
    /// The service whose unit it starts, if it does.
    pub service: Option<ServiceId>,
}

/// The shared directory is lost for this host.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DataLost {
    /// It does not answer: whoever touches it waits in the kernel, and what was written may reach it later. Otherwise
    /// every access fails at once.
    pub hangs: bool,
    /// Which directory, and what it does, in words.
    pub why: String,
    /// For how long it had been so when it was noticed.
    pub age: Span,
}

/// Who decides that another node takes over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Failover {
    /// The nodes: a silent or failing holder is succeeded, and what it used is proven clear.
    Automatic,
    /// Operators only: `activate` and `deactivate`.
    ByHand,
}

/// One thing to do with the local stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum StackStep {
    /// Look at everything; changes nothing.
    Survey,
    /// Write the claim on the shared data, synced, read back; then give the units their permit. Refused as
    /// [`StackResult::Foreign`] if the claim there is newer, or another cluster's that was not replaced.
    Claim {
        /// The grant it is for.
        epoch: Epoch,
        /// The cluster whose claim is void by an operator's word.
        over: Option<ClusterId>,
    },
    /// Bring one step up.
    Up {
        /// Which.
        step: StepId,
    },
    /// Take the units' permit away: from here on nobody starts one.
    Revoke,
    /// Take one step down. Done only when no process, no listener and no open file of it is left.
    Down {
        /// Which.
        step: StepId,
    },
    /// Say on the shared data that this grant's use is over; after the last step is down.
    Unclaim {
        /// The grant it was for.
        epoch: Epoch,
    },
    /// Bring back what drifted from its passive or active form: a unit that was enabled, a link that was replaced.
    Repair,
}

/// What became of a stack step.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum StackResult {
    /// Done; also: it already was.
    Done,
    /// It is not, and why, with the remedy; what was begun is undone or is told by the survey.
    Failed(String),
    /// The claim on the shared data is newer or another cluster's.
    Foreign(String),
}

/// What is really there.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Survey {
    /// Each step, as in the specification.
    pub steps: Vec<StepState>,
    /// The units have their permit.
    pub permit: bool,
    /// Why an activation here would be refused before its first change; empty if it would not.
    pub problems: Vec<String>,
    /// What is not in the form that this node's role asks for, although no step is under way.
    pub drift: Vec<String>,
    /// The claim on the shared data, if it can be read.
    pub claim: Option<Claim>,
    /// Whose it is.
    #[serde(default)]
    pub claimant: Option<Claimant>,
    /// The directory hung in this boot, and what the kernel had to write then was not waited for since.
    #[serde(default)]
    pub unsettled: bool,
}

/// Who wrote a claim, for people: a node's number means something in its own cluster only.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Claimant {
    /// The name of the node.
    pub name: String,
    /// When, by the clock of the file system, in milliseconds since 1970.
    pub since_ms: u64,
}

/// Where a step is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    /// As on an active node.
    Up,
    /// As on a passive node.
    Down,
    /// Neither, and what is amiss.
    Partly(String),
    /// It cannot be told.
    Unknown(String),
}

/// Who uses the shared data, written there: an alarm, never a proof.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Claim {
    /// Of which cluster.
    pub cluster: ClusterId,
    /// Under which grant.
    pub epoch: Epoch,
    /// Which node.
    pub node: NodeId,
    /// The use is over.
    pub clear: bool,
}

/// What a node tells its peers of its stack.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct StackReport {
    /// Each step, as in the specification.
    pub steps: Vec<StepState>,
    /// What would keep it from being activated.
    pub problems: Vec<String>,
    /// What drifted.
    pub drift: Vec<String>,
    /// The step under way: its number, and whether it is brought up.
    pub doing: Option<(StepId, bool)>,
    /// Every step is down, and the units have no permit.
    pub clear: bool,
    /// Why the last activation here failed.
    pub failure: Option<String>,
    /// It is not undone either: a step does not go down, and nothing below it is touched.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub stuck: bool,
    /// The shared directory is lost there, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
    /// It hangs: that node cannot vacate until it answers again.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub hangs: bool,
}
