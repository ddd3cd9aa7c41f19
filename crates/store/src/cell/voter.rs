//! A voter: promises, accepts, refuses; nothing else.
//!
//! It answers only from what is durable: the driver stores [`Voter::standing`] whenever
//! [`Reaction::changed`] is set, and sends the reply after that (rule R1). Being ahead of the disk
//! in memory is harmless as long as no answer tells of it.
//!
//! ```text
//!  Vacant ── Ask ──► Newcomer ── Learn that proves the naming swap ──► Seated
//!    ▲ disk lost        ▲ Ask with a list that the id has left            │
//!    └──────────────────┴─────────────────────────────────────────────────┘
//! ```

use super::ballot::{Attempt, Ballot, ClusterId, VoterId};
use super::message::{Body, Message};
use super::mistake::{Mistake, Planted};
use super::value::{Record, Seat, Value};
use serde::{Deserialize, Serialize};

/// What a node is as a voter. This is what its record file holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Standing {
    /// No vote was ever installed here, or its disk was lost: says nothing.
    Vacant,
    /// Has drawn an id and waits for the proof that it was named; says nothing as a voter.
    Newcomer {
        /// The register that it shall vote in.
        cluster: ClusterId,
        /// The id it drew.
        voter: VoterId,
        /// The admission it drew the id for.
        admission: Attempt,
    },
    /// Votes.
    Seated(Record),
}

/// What came of one message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reaction {
    /// The standing changed: it must be durable before the reply is sent.
    pub changed: bool,
    /// The answer to the sender.
    pub reply: Option<Message>,
}

impl Reaction {
    const SILENT: Reaction = Reaction { changed: false, reply: None };
}

/// One voter of the register.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Voter {
    standing: Standing,
    planted: Planted,
}

impl Voter {
    /// A voter with the standing that its disk holds.
    pub fn new(standing: Standing) -> Self {
        Voter { standing, planted: Planted::default() }
    }

    /// The same with a mistake, to prove that the model would catch it.
    #[cfg(feature = "planted")]
    pub fn with_mistake(standing: Standing, mistake: Option<Mistake>) -> Self {
        Voter { standing, planted: Planted::new(mistake) }
    }

    /// What must be durable before any answer leaves.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// The record, if it is seated.
    pub fn record(&self) -> Option<&Record> {
        match &self.standing {
            Standing::Seated(record) => Some(record),
            Standing::Vacant | Standing::Newcomer { .. } => None,
        }
    }

    /// Takes the first record of a new cluster. Only a vacant seat takes one; returns true if it
    /// is now the standing (or was, unchanged, before).
    pub fn install(&mut self, record: Record) -> bool {
        match &self.standing {
            Standing::Vacant => {
                self.standing = Standing::Seated(record);
                true
            }
            Standing::Newcomer { .. } => false,
            Standing::Seated(own) => *own == record,
        }
    }

    /// Hears one message. `fresh` is a new random id; it is used only if one must be drawn.
    pub fn handle(&mut self, message: &Message, fresh: VoterId) -> Reaction {
        let cluster = message.cluster;
        match &message.body {
            Body::Prepare { ballot } => self.handle_prepare(cluster, *ballot),
            Body::Accept { ballot, value, next } => {
                self.handle_accept(cluster, *ballot, value, *next)
            }
            Body::Learn { ballot, value, by, .. } => self.handle_proof(cluster, *ballot, value, by),
            Body::Ask { admission, version, voters } => {
                self.handle_ask(cluster, *admission, *version, voters, fresh)
            }
            Body::Promise { .. }
            | Body::Accepted { .. }
            | Body::Refuse { .. }
            | Body::Named { .. } => Reaction::SILENT,
        }
    }

    /// Promises a ballot above every one promised before. The very ballot that it promised last is
    /// answered again, so that a lost answer costs no new ballot.
    fn handle_prepare(&mut self, cluster: ClusterId, ballot: Ballot) -> Reaction {
        self.plant_early_start(cluster, None);
        let Some(record) = self.seated(cluster) else { return Reaction::SILENT };
        if ballot < record.promised {
            return Self::refuse(record, ballot);
        }
        let changed = ballot > record.promised;
        record.promised = ballot;
        let body = Body::Promise {
            ballot,
            voter: record.voter,
            accepted: record.accepted,
            value: record.value.clone(),
        };
        Reaction { changed, reply: Some(Message { cluster, body }) }
    }

    /// Accepts a ballot not below its promise, and promises `next`. What it accepted last is
    /// confirmed again: that it was accepted stays true whatever was promised since.
    fn handle_accept(
        &mut self,
        cluster: ClusterId,
        ballot: Ballot,
        value: &Value,
        next: Ballot,
    ) -> Reaction {
        self.plant_early_start(cluster, Some((ballot, value)));
        let planted = self.planted;
        let Some(record) = self.seated(cluster) else { return Reaction::SILENT };
        let changed = ballot != record.accepted;
        if changed {
            if ballot < record.promised && !planted.has(Mistake::PromiseNotKept) {
                return Self::refuse(record, ballot);
            }
            record.promised =
                if planted.has(Mistake::NextNotKept) { ballot } else { ballot.max(next) };
            record.accepted = ballot;
            record.value = value.clone();
        }
        let body = Body::Accepted { ballot, voter: record.voter };
        Reaction { changed, reply: Some(Message { cluster, body }) }
    }

    /// Rule R2, the newcomer's first step: it starts with a value that names it and that was
    /// accepted, in one ballot, by a majority of that value's list, itself not counted.
    fn handle_proof(
        &mut self,
        cluster: ClusterId,
        ballot: Ballot,
        value: &Value,
        by: &[VoterId],
    ) -> Reaction {
        let Standing::Newcomer { cluster: own, voter, .. } = self.standing else {
            return Reaction::SILENT;
        };
        let others = value.voters.iter().map(|seat| seat.voter).filter(|id| *id != voter);
        let count = others.filter(|id| by.contains(id)).count();
        if own != cluster || !value.has_voter(voter) || count < value.majority() {
            return Reaction::SILENT;
        }
        let record =
            Record { cluster, voter, promised: ballot, accepted: ballot, value: value.clone() };
        self.standing = Standing::Seated(record);
        Reaction { changed: true, reply: None }
    }

    /// Rule R2: tells the id under which it votes. One that is not in the decided list (it never
    /// was, its disk was lost, or it was replaced) draws a new one, whatever its record says.
    fn handle_ask(
        &mut self,
        cluster: ClusterId,
        admission: Attempt,
        version: u64,
        voters: &[Seat],
        fresh: VoterId,
    ) -> Reaction {
        let is_listed = |id: VoterId| voters.iter().any(|seat| seat.voter == id);
        let named = |voter, newcomer, changed| {
            let body = Body::Named { admission, voter, newcomer };
            Reaction { changed, reply: Some(Message { cluster, body }) }
        };
        match &self.standing {
            Standing::Vacant => {}
            Standing::Newcomer { cluster: own, voter, admission: drawn_for } => {
                if *own == cluster && (*drawn_for == admission || is_listed(*voter)) {
                    return named(*voter, true, false);
                }
            }
            Standing::Seated(record) => {
                if record.cluster != cluster {
                    return Reaction::SILENT;
                }
                if is_listed(record.voter) {
                    return named(record.voter, false, false);
                }
                if version <= record.value.version {
                    return Reaction::SILENT;
                }
                if self.planted.has(Mistake::IdNamedAgain) {
                    return named(record.voter, true, false);
                }
            }
        }
        self.standing = Standing::Newcomer { cluster, voter: fresh, admission };
        named(fresh, true, true)
    }

    fn seated(&mut self, cluster: ClusterId) -> Option<&mut Record> {
        match &mut self.standing {
            Standing::Seated(record) if record.cluster == cluster => Some(record),
            Standing::Seated(_) | Standing::Vacant | Standing::Newcomer { .. } => None,
        }
    }

    fn refuse(record: &Record, ballot: Ballot) -> Reaction {
        let body = Body::Refuse { ballot, voter: record.voter, promised: record.promised };
        Reaction { changed: false, reply: Some(Message { cluster: record.cluster, body }) }
    }

    /// Planted only: a newcomer that does not wait for its proof.
    fn plant_early_start(&mut self, cluster: ClusterId, naming: Option<(Ballot, &Value)>) {
        let Standing::Newcomer { cluster: own, voter, .. } = self.standing else { return };
        let naming = naming.filter(|(_, value)| value.has_voter(voter));
        let (nothing, value) = nothing_accepted();
        let promised = match naming {
            Some(_) if self.planted.has(Mistake::NewcomerCountedTooEarly) => nothing,
            // Above this ballot, so that it does not answer the naming swap itself.
            Some((ballot, _)) if self.planted.has(Mistake::NewcomerStartsWithPromiseAlone) => {
                Ballot { n: ballot.n + 1, ..nothing }
            }
            Some(_) | None if self.planted.has(Mistake::NewcomerStartsEmpty) => nothing,
            Some(_) | None => return,
        };
        if own == cluster {
            let record = Record { cluster, voter, promised, accepted: nothing, value };
            self.standing = Standing::Seated(record);
        }
    }
}

/// The state of a voter that never accepted anything: no correct voter ever answers from it.
fn nothing_accepted() -> (Ballot, Value) {
    let ballot = Ballot { n: 0, ..Ballot::INITIAL };
    (ballot, Value { version: 0, voters: Vec::new(), recent: Vec::new(), bytes: Vec::new() })
}
