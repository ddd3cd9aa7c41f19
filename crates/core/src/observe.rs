//! What is observed: facts of the local database and services, and what peers report. An observation is
//! a fact with a date; it is never a verdict, and *unknown* is always a legal one.

use crate::health::{Health, Subject, Weight};
use crate::id::{AttemptId, Epoch, Incarnation, NodeId, RunId, Version};
use crate::reason::Cause;
use crate::role::Role;
use crate::stack::StackReport;
use crate::time::Span;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// A managed service, numbered as in the configuration.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ServiceId(pub u16);

/// A place in a database's log, compared for equality only: comparing numbers proves nothing (D4).
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub String);

/// Everything core knows of the local database, read over the control connection (D11).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DatabaseFacts {
    /// Names this start of the server process.
    pub start: u64,
    /// Clients cannot write.
    pub read_only: bool,
    /// Commits wait for the replica: status ON, with the three settings read back (D1).
    pub strict: bool,
    /// Sessions that wait for a confirmation.
    pub waiting: u32,
    /// Replicas that confirm. What an ended connection leaves behind counts until the server notices.
    pub confirming: u32,
    /// Who else is attached to this server's log, beside the members' databases, as `user@address`. Such a one may
    /// confirm (D4).
    #[serde(default)]
    pub others: Box<[String]>,
    /// This server's receiver confirms what it receives.
    #[serde(default = "yes")]
    pub confirms: bool,
    /// The thread that receives from the source.
    pub receiver: Thread,
    /// The thread that applies what was received.
    pub applier: Thread,
    /// Whom the receiver is set to follow.
    pub source: Option<NodeId>,
    /// Why the receiver cannot reach its source, as the server last said.
    #[serde(default)]
    pub unreached: Option<Box<str>>,
    /// How long ago what the applier is at was committed over there; none if nothing is left to apply.
    #[serde(default)]
    pub behind: Option<Span>,
    /// What it has received of that and not applied, in MiB, about.
    #[serde(default)]
    pub backlog: u32,
    /// Who holds up every writer, or the applier, with a lock.
    #[serde(default)]
    pub locked: Option<Box<Locked>>,
    /// Settings of the server that are not as Regent needs them, with what they must be and why.
    #[serde(default)]
    pub drift: Box<[String]>,
    /// What is known of both copies' equality.
    #[serde(default)]
    pub comparison: Option<Box<Comparison>>,
    /// These data began by a copy or a rewind, and not by following alone.
    #[serde(default)]
    pub renewed: bool,
    /// Regent's own account does not let it in, and why: a restart of the server may shut it out.
    #[serde(default)]
    pub shut_out: Option<Box<str>>,
    /// The receiver is stopped and everything received is applied, by both signs (D6).
    pub drained: bool,
    /// The end of this server's log.
    pub end: Position,
    /// What the applier has reached.
    pub applied: Position,
    /// The token of `Observe { look_for }`, if its row is here.
    pub shows: Option<AttemptId>,
    /// Commits that ended their wait without a confirmation, since the server started (D9).
    pub unconfirmed: u64,
    /// The incarnation kept with the data; none if there is none, or the two copies disagree.
    pub incarnation: Option<Incarnation>,
    /// Names before, the newest first, of which these data have everything: the log began anew while the server ran,
    /// and control had been taken of that very start while it was whole. Beside no incarnation: they have no new name
    /// yet.
    #[serde(default)]
    pub was: Box<[Incarnation]>,
    /// The follower's mark, kept beside the incarnation.
    pub mark: bool,
    /// Under a mark: relay logs may be gone (the server was started anew, both threads were stopped, or somebody
    /// else started or stopped one) since the incarnation was kept (D4). It then ends.
    pub broken: bool,
}

/// Comparisons of both copies, as the active node makes them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Comparison {
    /// How far the one is that is under way.
    pub under_way: Option<String>,
    /// The last one that came to its end.
    pub last: Option<Compared>,
}

/// A comparison that came to its end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Compared {
    /// With these data of the standby.
    pub with: Incarnation,
    /// How long ago, by the host's clock.
    pub age: Span,
    /// They are not the same.
    pub differs: bool,
    /// What came out, in a sentence.
    pub text: String,
}

/// A session of the database that others wait for: every writer, or the applier.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Locked {
    /// Its connection's number; 0: it is not known which one it is.
    pub session: u64,
    /// Its account and where it comes from.
    pub who: String,
    /// What it holds.
    pub what: String,
    /// For how long it has been waited for, at the least.
    pub since: Span,
}

/// A replication thread.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Thread {
    /// Not running, without an error.
    Stopped,
    /// Looking for its source.
    Connecting,
    /// Running.
    Running,
    /// Not running, because of this error.
    Failed(String),
}

/// A unit as systemd sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum UnitState {
    /// Running; `start` names this start.
    Up {
        /// Differs after each start.
        start: u64,
    },
    /// Not running.
    Down,
    /// Between the two, or systemd does not answer.
    Unknown,
}

/// What a node tells its peers, every 50 ms and at once on a change. Not through the register.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Who.
    pub node: NodeId,
    /// Which run of its agent.
    pub run: RunId,
    /// Grows by one per report of the run: an older one is ignored.
    pub n: u64,
    /// The newest format it speaks (R7).
    pub speaks: u16,
    /// The newest version it knows.
    pub version: Version,
    /// Its epoch there.
    pub epoch: Epoch,
    /// The operator's word for where it is.
    pub role: Role,
    /// It answers for the VIP.
    pub serving: bool,
    /// It could serve now, as far as its own database and services go; if not, why not.
    pub unable: Option<String>,
    /// Its database, if it is up and under control.
    pub database: Option<DatabaseReport>,
    /// Its stack on shared data, if it has one and has looked at it.
    #[serde(default)]
    pub stack: Option<StackReport>,
    /// Its services, in the order of the configuration.
    pub services: Vec<ServiceReport>,
    /// Probes of the database and of the host that fail now, at most [`AILMENTS_MAX`], vital ones first.
    pub ailments: Vec<Ailment>,
    /// What makes it less than it should be beside all that, a sentence each, for people; at most [`CONCERNS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub concerns: Vec<String>,
    /// The link address of the interface that carries the VIP here.
    pub link: Option<[u8; 6]>,
    /// The digest of its configuration: equal on every node, or somebody changed one by hand.
    pub configuration: u64,
    /// Its data are about to lose their name, so that a copy replaces them: the active node goes on alone for it.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub leaving: bool,
    /// Of an active node: data of a standby in which it found other rows than it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distrusts: Option<Incarnation>,
    /// Of an active node: what it knows of both copies' equality.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Box<Comparison>>,
    /// The writer's question to its follower: show me this row (D4).
    pub look_for: Option<AttemptId>,
    /// The holder is about to release to this node: observe quickly.
    pub moving_to: Option<NodeId>,
}

/// How many sentences of concern a report has.
pub const CONCERNS_MAX: usize = 4;

/// How many failing probes of database and host a report names.
pub const AILMENTS_MAX: usize = 8;

/// A service as its node sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServiceReport {
    /// Its unit.
    pub unit: UnitState,
    /// The conclusion from unit and probes.
    pub health: Health,
    /// Why it is not well, or cannot be judged.
    pub cause: Option<Cause>,
    /// It was given up after the configured tries.
    pub given_up: bool,
}

/// A probe of the database or of the host that fails.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ailment {
    /// The probe's name.
    pub probe: String,
    /// What it looks at.
    pub subject: Subject,
    /// What its failure means.
    pub weight: Weight,
    /// What it saw.
    pub why: String,
}

/// What a node tells of its database.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DatabaseReport {
    /// Its present incarnation, if it is whole.
    pub incarnation: Option<Incarnation>,
    /// This start of its server.
    pub start: u64,
    /// Clients cannot write.
    pub read_only: bool,
    /// Commits wait for the replica.
    pub strict: bool,
    /// The receiver.
    pub receiver: Thread,
    /// The applier.
    pub applier: Thread,
    /// Whom it follows.
    pub source: Option<NodeId>,
    /// What its applier has reached.
    pub applied: Position,
    /// The marker it was asked for, if its row is there.
    pub shows: Option<AttemptId>,
    /// Its receiver confirms what it receives.
    #[serde(default = "yes")]
    pub confirms: bool,
    /// How long ago what its applier is at was committed; none if nothing is left to apply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<Span>,
    /// What waits for the applier, in MiB, about.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub backlog: u32,
    /// It began by a copy or a rewind.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub renewed: bool,
    /// Who holds what its applier waits for, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A release that does not tell whether it confirms does.
fn yes() -> bool {
    true
}
