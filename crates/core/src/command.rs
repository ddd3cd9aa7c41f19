//! Everything core can ask of the world, and every answer. One command, one outcome with the same id.
//! A command is imperative and complete: whoever carries it out decides nothing.

use crate::event::Event;
use crate::id::{AttemptId, CommandId, Epoch, Incarnation, NodeId, RequestId, RunId, Version};
use crate::observe::{DatabaseFacts, Report, ServiceId};
use crate::stack::{StackResult, StackStep, Survey};
use crate::state::DataCopy;
use crate::time::{Span, Time};
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// One request to the world.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Command {
    /// Names the outcome that answers it.
    pub id: CommandId,
    /// The epoch it acts for (S5).
    pub epoch: Epoch,
    /// What to do.
    pub action: Action,
}

/// What to do. Gate commands and the clock are carried out at once, in order, by the lease thread itself;
/// all others are handed on, and answered later.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Action {
    /// Read both clocks. Answer: [`Outcome::Clock`].
    ReadClock,
    /// Change the kernel's filter. Answer: [`Outcome::Done`] when the kernel has answered, or `Failed`.
    Gate(GateStep),
    /// Change the VIP on this host. Answer: `Done` or `Failed`.
    Address(AddressStep),
    /// One compare-and-swap. Answer: [`Outcome::Swap`].
    Propose {
        /// Its identity, also inside the bytes.
        attempt: AttemptId,
        /// The version it replaces.
        expect: Version,
        /// What it is to the register. A record of a run before there was this says nothing: then anybody's.
        #[serde(default)]
        by: Proposal,
        /// The encoded State.
        #[serde(with = "as_text")]
        bytes: Vec<u8>,
    },
    /// Read the register; the answer comes as [`crate::node::Input::View`] and as `Done` (or `Failed`).
    Read,
    /// One step of the local database. Answer: [`Outcome::Database`]. One at a time, but for `Kill`,
    /// which may overtake a step that hangs, and `Marker`, which has a connection of its own.
    Database(DatabaseStep),
    /// Start or kill a service's unit. Answer: `Done` or `Failed`.
    Service {
        /// Which.
        service: ServiceId,
        /// What.
        step: ServiceStep,
    },
    /// One step of the stack on shared data. Answer: [`Outcome::Stack`]. One at a time.
    Stack(StackStep),
    /// Fence a peer's host (protocol section 6: only the holder does). Answer: [`Outcome::Fence`].
    Fence {
        /// Whom.
        node: NodeId,
    },
    /// Ask the segment and the port whether a silent peer's host lives. Answer: [`Outcome::Peer`].
    ProbePeer {
        /// Whom.
        node: NodeId,
    },
    /// Send this report to all peers now. No answer.
    Send(alloc::boxed::Box<Report>),
    /// Tell operators. No answer.
    Tell(Event),
    /// Answer an operator's request. No answer.
    Answer {
        /// Which request.
        request: RequestId,
        /// The answer.
        answer: Answer,
    },
}

/// What a swap is to the register, which knows no rule (R3): what must be durable here before it leaves, and whether
/// its proposer stands back for others.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub enum Proposal {
    /// The holder extends its right and says nothing else: it leaves while the version that it expects is being stored,
    /// so that a hung disk of the holder does not end its right (R2).
    Renewal,
    /// Any other swap of the holder: solo, join, release, occupy, clear, vacate, an operator's intent. The version that
    /// it expects is durable first (R2, D7).
    Holder,
    /// A swap of anybody else. The same; and after a refusal it stands back at random.
    #[default]
    Other,
}

/// The two slots of the gate (protocol section 3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Slot {
    /// `ticket0`, `held0`, `refuse0`.
    Zero,
    /// `ticket1`, `held1`, `refuse1`.
    One,
}

impl Slot {
    /// The slot that is not this one.
    pub fn other(self) -> Slot {
        match self {
            Slot::Zero => Slot::One,
            Slot::One => Slot::Zero,
        }
    }

    /// 0 or 1.
    pub fn index(self) -> usize {
        match self {
            Slot::Zero => 0,
            Slot::One => 1,
        }
    }
}

/// One transaction on the kernel's sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum GateStep {
    /// Flush the slot's three sets, add the VIP to its ticket with this time-out.
    Arm {
        /// Which slot.
        slot: Slot,
        /// `ttl - margin`.
        ticket: Span,
    },
    /// Add the VIP to `held` of the slot.
    Enable {
        /// Which slot.
        slot: Slot,
    },
    /// Move the VIP from `held` to `refuse` in both slots (only where it was held): new connections get a reset.
    Refuse,
    /// Flush all six.
    Close,
}

/// One change of the VIP on this host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum AddressStep {
    /// Put it on the interface (mute while the gate is closed), with a lifetime of this length; again to refresh.
    Add {
        /// The second net: the kernel removes it after this long unless refreshed.
        lifetime: Span,
    },
    /// Take it off.
    Remove,
    /// Destroy every socket bound to it (sock_diag), so that clients see a reset.
    DestroySockets,
    /// Gratuitous ARP or unsolicited NA: now, after 100 ms and after 1 s, only while the gate is enabled (G2).
    Announce,
}

/// One step of the local database (protocol section 4). Each is bounded in time by its adapter, idempotent,
/// and answered with fresh facts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum DatabaseStep {
    /// D11: open this run's control connection, KILL whoever holds the lock of an older run and see it gone,
    /// read all facts.
    TakeControl,
    /// Read all facts; `look_for`: is this marker's row here?
    Observe {
        /// A token written by the writer.
        look_for: Option<AttemptId>,
    },
    /// Start the unit; at rest it is strict and read-only (D1). Done when it answers and control is taken.
    Start,
    /// SIGKILL of the unit's cgroup; done when it is empty (`populated 0`).
    Kill,
    /// Write this incarnation and mark beside the data and outside it, synced; a new incarnation draws a new
    /// server id.
    Keep {
        /// Which stay this is.
        incarnation: Incarnation,
        /// Is this a follower's data?
        mark: bool,
    },
    /// Commits wait for the replica; read back (D1, D3).
    Strict,
    /// They do not (D3).
    Loose,
    /// No client can commit any more, and none is under way once answered; [`StepResult::Blocked`] past the bound.
    ReadOnly,
    /// Clients may write (D2).
    Writable,
    /// Insert this token as a new row (D4), on a connection of its own: it may wait.
    Marker {
        /// The row.
        token: AttemptId,
    },
    /// Stop the receiver only (D7), also towards a silent writer.
    StopReceiver,
    /// Start the receiver only.
    StartReceiver,
    /// Stop both threads after draining, and forget the source. Strict is set and read back first.
    EndFollowing,
    /// Is our log a part of the recorded writer's? Answer carries [`Lineage`].
    Compare {
        /// The recorded writer, in its recorded incarnation.
        writer: DataCopy,
    },
    /// Copy what the recorded writer does not have, count it, report it (S6). Answer carries [`SavedTail`].
    SaveTail {
        /// The recorded writer, in its recorded incarnation (D8).
        writer: DataCopy,
    },
    /// End this session, if it still holds what every writer or the applier waits for; only where no commit of it can
    /// be open (D9).
    EndSession {
        /// Its connection's number.
        session: u64,
    },
    /// Shut the server down in order: read-only, with no commit that waits (D9), and its unit stopped.
    Stop,
    /// Undo the tail in place (D8).
    Rewind {
        /// The recorded writer, in its recorded incarnation (D8).
        writer: DataCopy,
    },
    /// Take a fresh copy of the recorded writer's data; the old one is moved aside first.
    Reclone {
        /// The recorded writer, in its recorded incarnation (D8).
        writer: DataCopy,
        /// What the new data are called; kept with the mark.
        incarnation: Incarnation,
    },
    /// Could a copy of the writer's data be taken now: can they be copied, and is there room? Changes nothing.
    MayCopy {
        /// The recorded writer, in its recorded incarnation (D8).
        writer: DataCopy,
        /// The old data may go before the copy comes.
        in_place: bool,
    },
    /// These data are nobody's copy any more: they lose their name, durably, so that a copy replaces them.
    Distrust {
        /// The old data may go before the copy comes, if there is no room for two.
        in_place: bool,
    },
    /// The log began anew under data that have everything ([`DatabaseFacts::was`]): with commits that do not wait, or
    /// none open, end every session, turn read-only, begin the log anew by our own hand, and give the data this name.
    Rename {
        /// What the data are called from now on.
        incarnation: Incarnation,
    },
    /// Compare both copies, on connections of their own, for as long as that takes. What comes out is kept, and told
    /// with the facts.
    Verify {
        /// The standby's data.
        with: DataCopy,
        /// The data here.
        ours: Incarnation,
        /// Per cent of the time during which it reads.
        duty: u8,
    },
    /// Turn the replica's master side off, set gtid_slave_pos to gtid_binlog_pos, attach by GTID, start both
    /// threads (D8).
    Follow {
        /// The recorded writer, in its recorded incarnation (D8).
        writer: DataCopy,
    },
}

impl DatabaseStep {
    /// What is being done to the database, for people.
    pub fn words(&self) -> &'static str {
        match self {
            DatabaseStep::TakeControl => "taking control of it",
            DatabaseStep::Observe { .. } => "reading its state",
            DatabaseStep::Start => "starting it",
            DatabaseStep::Kill => "killing it",
            DatabaseStep::Stop => "shutting it down",
            DatabaseStep::Keep { .. } => "naming its data",
            DatabaseStep::Strict => "making commits wait for the replica",
            DatabaseStep::Loose => "letting commits go without a replica",
            DatabaseStep::ReadOnly => "turning it read-only",
            DatabaseStep::Writable => "turning it writable",
            DatabaseStep::Marker { .. } => "writing a marker",
            DatabaseStep::StopReceiver => "stopping its receiver",
            DatabaseStep::StartReceiver => "starting its receiver",
            DatabaseStep::EndSession { .. } => "ending a session that holds a lock",
            DatabaseStep::EndFollowing => "ending its replication",
            DatabaseStep::Compare { .. } => "comparing its log with the writer's",
            DatabaseStep::SaveTail { .. } => "saving what the writer does not have",
            DatabaseStep::Rewind { .. } => "undoing what the writer does not have",
            DatabaseStep::Reclone { .. } => "copying the writer's data",
            DatabaseStep::MayCopy { .. } => "looking whether a copy could be taken",
            DatabaseStep::Distrust { .. } => "taking the name off its data",
            DatabaseStep::Rename { .. } => "giving its data a new name",
            DatabaseStep::Verify { .. } => "comparing both copies",
            DatabaseStep::Follow { .. } => "making it follow the writer",
        }
    }
}

/// What a service's unit shall do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ServiceStep {
    /// Start it.
    Start,
    /// SIGKILL its cgroup and start it again: it hung.
    Restart,
    /// Stop it in order, and kill what is left after its bound.
    Stop,
}

/// The answer to a command.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// It is done; also: it already was.
    Done,
    /// It is not, and why.
    Failed(String),
    /// Both clocks.
    Clock(Time),
    /// What became of a swap.
    Swap(SwapOutcome),
    /// What became of a database step.
    Database {
        /// What became of it.
        result: StepResult,
        /// The facts read after it; none while the database is down.
        facts: Option<DatabaseFacts>,
    },
    /// What became of a stack step.
    Stack {
        /// What became of it.
        result: StackResult,
        /// What is really there after it; none if that could not be seen.
        survey: Option<Survey>,
    },
    /// What a silent peer's host showed of itself.
    Peer(LifeSigns),
    /// What became of a fencing.
    Fence(Fenced),
}

impl StepResult {
    /// Why it was not done, for people.
    pub fn why(&self) -> &str {
        if let StepResult::Failed(why) = self { why } else { "it does not answer" }
    }
}

/// What became of a fencing. Unknown is never confirmed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fenced {
    /// The node is off, or was restarted since: by its fence's own word, and in words for people.
    Confirmed(String),
    /// It is not fenced.
    Failed(String),
    /// The fence gave no answer that proves anything.
    Unknown(String),
}

/// What one look at a peer's host saw.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LifeSigns {
    /// The segment could be asked: the questions were sent, and answers would have been heard.
    pub asked: bool,
    /// Which link addresses answered for its own address, by ARP or neighbour discovery; each once, bounded.
    pub links: Vec<[u8; 6]>,
    /// What its agent's port did.
    pub port: PortAnswer,
    /// Its own address answered an ICMP echo.
    pub echo: bool,
}

impl LifeSigns {
    /// It was asked, and nothing answered.
    pub const SILENT: LifeSigns =
        LifeSigns { asked: true, links: Vec::new(), port: PortAnswer::Silent, echo: false };
}

/// What a peer's port did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PortAnswer {
    /// A connection was made.
    Open,
    /// A reset: the host lives, the agent does not.
    Reset,
    /// Nothing.
    Silent,
}

/// What became of a swap (R5).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum SwapOutcome {
    /// The value's `recent` has this attempt; the version is the newest decided one, its bytes as they stand there.
    Won {
        /// The decided version.
        version: Version,
        /// The decided bytes.
        #[serde(with = "as_text")]
        bytes: Vec<u8>,
    },
    /// Another value is decided; this attempt can win no more.
    Lost {
        /// The decided version.
        version: Version,
        /// The decided bytes.
        #[serde(with = "as_text")]
        bytes: Vec<u8>,
    },
    /// It may still win, until the version moves past the one it expected.
    Unknown,
    /// R2: the register went back.
    WentBack,
}

/// What became of a database step.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum StepResult {
    /// Done.
    Done,
    /// Read-only was not answered within its bound, and is withdrawn; nothing changed.
    Blocked,
    /// The statement was not answered within its bound: it may still act (D11). Only `Kill` ends it.
    NoAnswer,
    /// The server is not there.
    Down,
    /// Refused or failed, with the reason.
    Failed(String),
    /// Answer of `Compare`.
    Lineage(Lineage),
    /// Answer of `SaveTail`.
    Saved(SavedTail),
}

/// How a node's log relates to the recorded writer's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Lineage {
    /// All of it is in the writer's log.
    Part,
    /// The last `count` transactions are not; `rewindable`: rows only, so they can be undone in place.
    Tail {
        /// Transactions beyond the common point.
        count: u64,
        /// Can be undone in place.
        rewindable: bool,
    },
    /// No common point can be shown: re-clone.
    Foreign,
}

/// A tail that was saved.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SavedTail {
    /// How many transactions; none if they cannot be counted (a foreign copy, saved whole).
    pub count: Option<u64>,
    /// Where.
    pub path: String,
}

/// What an operator asks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Request {
    /// A planned move; to the eligible standby if none is named.
    Switchover {
        /// The named successor.
        to: Option<NodeId>,
    },
    /// A node is no candidate and its services are nobody's business for so long; none ends it.
    Maintenance {
        /// Which.
        node: NodeId,
        /// For how long.
        length: Option<Span>,
    },
    /// No succession and no restarts by us for so long; none ends it.
    Pause {
        /// For how long.
        length: Option<Span>,
    },
    /// Stop the cluster: the services, the databases, the VIP; the agents stay.
    Stop,
    /// Start the stopped cluster.
    Start,
    /// Fence a node.
    Fence {
        /// Which.
        node: NodeId,
    },
    /// Take a fresh copy of the active node's data on this standby.
    Resync {
        /// Which; the one that is asked.
        node: NodeId,
        /// The old data may go before the copy comes, if there is no room for two.
        in_place: bool,
    },
    /// Compare both copies now.
    Verify {
        /// Per cent of the time during which it reads; none: as configured.
        duty: Option<u8>,
    },
    /// Change the timing of rights (C5).
    Timing(crate::state::Timing),
    /// Shared data: make this node active.
    Activate {
        /// The operator's word on the other node (protocol section 6, proof (d)).
        word: Option<Word>,
    },
    /// Shared data: what would [`Request::Activate`] be answered now? Every guard is asked and nothing changes:
    /// `Done`, or the refusal.
    MayActivate {
        /// As there.
        word: Option<Word>,
    },
    /// Shared data: may this word be believed? Its host is looked at anew and nothing changes: `Done` with what was
    /// seen, or the refusal.
    MayBelieve {
        /// Which.
        word: Word,
    },
    /// Shared data: take everything down wherever it is up, and leave it down until somebody activates.
    Deactivate,
    /// Shared data: bring back what drifted on this node.
    Repair,
}

/// What an operator says of a node that is silent (protocol section 6, proof (d)).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// Its host is off. A host that answers anything is not.
    IsOff(NodeId),
    /// Its host surely reaches the shared data no more, though its network may live.
    CannotWrite(NodeId),
}

impl Word {
    /// Of whom it is said.
    pub fn node(self) -> NodeId {
        match self {
            Word::IsOff(node) | Word::CannotWrite(node) => node,
        }
    }

    /// What is said of it: it continues its name.
    pub fn claim(self) -> &'static str {
        match self {
            Word::IsOff(_) => "is off",
            Word::CannotWrite(_) => "cannot write",
        }
    }
}

/// What an operator is answered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// It is done, and how long the database or the VIP was away as seen from here.
    Done(String),
    /// A guard refuses; the row of section 9 if one applies.
    Refused {
        /// The reason with the remedy.
        reason: String,
        /// Of which kind it is.
        obstacle: Obstacle,
    },
    /// It was begun and did not come to its end.
    Failed {
        /// The reason with the remedy.
        reason: String,
        /// Of which kind it is.
        obstacle: Obstacle,
    },
}

impl Answer {
    /// A refusal of no special kind.
    pub fn refused(reason: impl Into<String>) -> Answer {
        Answer::Refused { reason: reason.into(), obstacle: Obstacle::Other }
    }

    /// It was begun, and everything is as it was.
    pub fn undone(reason: impl Into<String>) -> Answer {
        Answer::Failed { reason: reason.into(), obstacle: Obstacle::StepFailed }
    }

    /// A failure of no special kind: it may still come to its end.
    pub fn failed(reason: impl Into<String>) -> Answer {
        Answer::Failed { reason: reason.into(), obstacle: Obstacle::Other }
    }
}

/// What stood in the way of an operator's request: each has an exit code of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Obstacle {
    /// Somebody answers for the VIP.
    AddressInUse,
    /// Another node is active, or is being activated.
    ActiveElsewhere,
    /// Another node may still use the shared data: nobody has proven, or said, that it is off.
    NotProvenClear,
    /// What was looked at before the first change is not as it must be: a survey's problems.
    Checks,
    /// A step failed, and everything is undone.
    StepFailed,
    /// A step failed to come up or to go down, and not everything could be undone.
    NotRolledBack,
    /// It is done, and a step that is not vital failed.
    Degraded,
    /// No majority of voters answers.
    NoQuorum,
    /// None of these.
    Other,
}

/// What is known of this agent's run (C6); read and stored before the core exists.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RunRecord {
    /// Every run of this node, synced with the present one before its first proposal.
    pub runs: Vec<RunId>,
    /// The highest version this node had stored when this run began (R2, D7).
    pub high: Version,
    /// The local lock that only one agent of this host can hold is held.
    pub lock_held: bool,
    /// Which slots are held in the kernel, and what their tickets have left.
    pub gate: [Option<Span>; 2],
}

/// An encoded State is text; written down it stays readable, and short.
mod as_text {
    use alloc::string::String;
    use alloc::vec::Vec;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&String::from_utf8_lossy(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        String::deserialize(deserializer).map(String::into_bytes)
    }
}
