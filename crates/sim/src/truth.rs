//! What is decided, as only somebody sees who watches every voter's disk.

use crate::release;
use regent_core::id::{AttemptId, Epoch, NodeId, RunId, Version};
use regent_core::invariant::Violation;
use regent_core::state::{Data, Phase, State};
use regent_store::cell::{Attempt, Ballot, ClusterId, Record, Value, VoterId};
use std::collections::{BTreeMap, BTreeSet};

/// The register from outside.
#[derive(Clone, Debug)]
pub struct Truth {
    /// The newest decided version.
    pub version: u64,
    /// Its content.
    pub state: State,
    /// The content before it.
    pub before: Option<State>,
    /// What swaps that expect the newest version would make of it.
    pub pending: Vec<State>,
    proposed: Vec<Proposed>,
    /// Who ruled in which epoch, and under which grant who had the shared data in use.
    ruled: BTreeSet<(NodeId, Epoch)>,
    occupied: BTreeSet<(NodeId, Epoch)>,
    accepted: BTreeMap<(ClusterId, Ballot), Accepted>,
    bytes: Vec<u8>,
    /// The register that counts.
    cluster: ClusterId,
    /// What each register that was replaced ended with: the value of the record that the next one was made of.
    ended: BTreeMap<ClusterId, Value>,
}

#[derive(Clone, Debug)]
struct Proposed {
    attempt: AttemptId,
    expect: u64,
    state: State,
}

#[derive(Clone, Debug)]
struct Accepted {
    value: Value,
    by: Vec<VoterId>,
}

impl Truth {
    /// The first value of a cluster.
    pub fn new(state: State) -> Truth {
        let bytes = state.encode();
        let cluster = ClusterId(state.cluster.0);
        Truth {
            version: 1,
            state,
            before: None,
            pending: Vec::new(),
            proposed: Vec::new(),
            ruled: BTreeSet::new(),
            occupied: BTreeSet::new(),
            accepted: BTreeMap::new(),
            bytes,
            cluster,
            ended: BTreeMap::new(),
        }
    }

    /// The register that counts: one that replaced another counts from then on.
    pub fn counts(&self) -> ClusterId {
        self.cluster
    }

    /// One of two voters replaced its register by one with itself alone, made of its own record (ADR 0018). Whatever
    /// the old one decided, this record holds (R1).
    pub fn replaced(&mut self, own: &Record, first: &Record) -> Result<(), Violation> {
        if own.cluster != self.cluster {
            return Ok(());
        }
        let known = (own.value.version, &own.value.bytes);
        if known.0 < self.version || (known.0 == self.version && *known.1 != self.bytes) {
            let text = format!(
                "the new register is made of version {}, and version {} was decided",
                known.0, self.version
            );
            return Err(Violation { id: "R1", text });
        }
        let text = String::from("the first value of a new register is no State");
        let state = release::read(&first.value.bytes);
        let state = state.map_err(|_| Violation { id: "R7", text })?;
        if state.lease.epoch <= self.state.lease.epoch {
            let text = format!(
                "the new register begins with epoch {}, and {} was granted",
                state.lease.epoch, self.state.lease.epoch
            );
            return Err(Violation { id: "R1", text });
        }
        self.ended.insert(own.cluster, own.value.clone());
        self.cluster = first.cluster;
        self.state = state;
        self.before = None;
        self.version = first.value.version;
        self.bytes.clone_from(&first.value.bytes);
        self.proposed.clear();
        self.refresh();
        Ok(())
    }

    /// A node proposed a swap: from now on it may win. Answers whether it would change more than a date.
    pub fn proposed(&mut self, attempt: AttemptId, expect: Version, bytes: &[u8]) -> bool {
        let Ok(state) = release::read(bytes) else { return false };
        let changes = state.sync != self.state.sync
            || state.data != self.state.data
            || state.lease.epoch != self.state.lease.epoch;
        self.proposed.push(Proposed { attempt, expect: expect.0, state });
        self.refresh();
        changes
    }

    /// Did this node rule in this epoch, and was the shared data then in use by it?
    pub fn used(&self, node: NodeId, epoch: Epoch) -> (bool, bool) {
        let grant = (node, epoch);
        (self.ruled.contains(&grant), self.occupied.contains(&grant))
    }

    /// It never left its host, and can win no more.
    pub fn dropped(&mut self, attempt: AttemptId) {
        self.proposed.retain(|proposed| proposed.attempt != attempt);
        self.refresh();
    }

    /// A voter's disk has accepted a value. Answers the newly decided State, if this decided one.
    pub fn accepted(&mut self, record: &Record) -> Result<bool, Violation> {
        let Record { cluster, voter, accepted: ballot, ref value, promised: _ } = *record;
        let entry = self
            .accepted
            .entry((cluster, ballot))
            .or_insert_with(|| Accepted { value: value.clone(), by: Vec::new() });
        if entry.value != *value {
            let text = format!("two values were proposed in one ballot {ballot:?}");
            return Err(Violation { id: "R1", text });
        }
        if !entry.by.contains(&voter) {
            entry.by.push(voter);
        }
        if entry.by.iter().filter(|id| value.has_voter(**id)).count() < value.majority() {
            return Ok(false);
        }
        if let Some(last) = self.ended.get(&cluster) {
            let missed = value.version > last.version
                || (value.version == last.version && value.bytes != last.bytes);
            let text = format!("a replaced register decided version {} after it", value.version);
            return if missed { Err(Violation { id: "R1", text }) } else { Ok(false) };
        }
        let floor = ballot.n.saturating_sub(10_000);
        self.accepted.retain(|(of, ballot), _| *of != cluster || ballot.n >= floor);
        self.decided(value)
    }

    fn decided(&mut self, value: &Value) -> Result<bool, Violation> {
        if value.version < self.version {
            return Ok(false);
        }
        if value.version == self.version {
            let text = format!("version {} was decided twice", value.version);
            let same = value.bytes == self.bytes;
            return if same { Ok(false) } else { Err(Violation { id: "R1", text }) };
        }
        let text = format!("version {} is no State", value.version);
        let state = release::read(&value.bytes).map_err(|_| Violation { id: "R7", text })?;
        if let Some(place) = release::lost(&self.bytes, &value.bytes) {
            let text =
                format!("version {} lost what a later release wrote: {place}", value.version);
            return Err(Violation { id: "R7", text });
        }
        if release::is_left_behind(&self.state, &state) {
            let text = format!("format {} is not what every node speaks", state.format);
            return Err(Violation { id: "R7", text });
        }
        self.before = Some(std::mem::replace(&mut self.state, state));
        self.version = value.version;
        self.bytes.clone_from(&value.bytes);
        let lease = self.state.lease;
        if lease.phase == Phase::Ruling {
            self.ruled.insert((lease.holder, lease.epoch));
        }
        if let Data::InUse { node, .. } = self.state.data
            && node == lease.holder
        {
            self.occupied.insert((node, lease.epoch));
        }
        self.refresh();
        Ok(true)
    }

    fn refresh(&mut self) {
        let version = self.version;
        self.proposed.retain(|proposed| proposed.expect >= version);
        let now = self.proposed.iter().filter(|proposed| proposed.expect == version);
        self.pending = now.map(|proposed| proposed.state.clone()).collect();
    }
}

/// The store's name for an attempt.
pub fn to_store(attempt: AttemptId) -> Attempt {
    Attempt { node: attempt.node.0, boot: attempt.boot.0, run: attempt.run.0, n: attempt.n }
}

/// Core's name for an attempt.
pub fn from_store(attempt: Attempt) -> AttemptId {
    AttemptId {
        node: NodeId(attempt.node),
        boot: regent_core::id::BootId(attempt.boot),
        run: RunId(attempt.run),
        n: attempt.n,
    }
}
