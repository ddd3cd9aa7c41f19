//! A database that is honest: it keeps what MariaDB keeps, loses what MariaDB loses, and answers when MariaDB answers
//! (design notes "MariaDB 10.11, as measured"; section numbers below are theirs).
//!
//! ```text
//!  client ─► commit ─► binary log ─(disk)─► synced ─► strict: wait for a confirmation ─► visible, OK
//!                                             └─► streams to replicas ─► relay log ─► applier ─► their binary log
//! ```
//! [`Files`] outlive the server, [`Server`] is one start of it. Nothing here knows what the nodes want.

pub mod bench;
mod replication;
mod server;
mod sql;
#[cfg(test)]
mod tests;

pub use replication::{Dump, Stream};
pub use server::{Commit, Database, DbEvent, Effect, Open, Pace, Server, Who};
pub use sql::{Op, OpRef, Reply};

use regent_core::id::{AttemptId, Incarnation, NodeId};
use regent_core::invariant::WriteSet;
use std::collections::BTreeMap;

/// A transaction, numbered as the judge numbers all of them.
pub type TxId = u32;

/// The name that databases know a transaction by: the server that made it, and its number there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Gtid {
    /// Drawn with the incarnation.
    pub server: u64,
    /// Grows within a log.
    pub seq: u64,
}

impl std::fmt::Display for Gtid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "0-{}-{}", self.server, self.seq)
    }
}

/// Every transaction that was ever made anywhere, and which of them was answered with OK.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    gtids: Vec<Gtid>,
    /// When each was committed first, by the world's time.
    made: Vec<u64>,
    /// The world's time, as of the last thing that happened to any database.
    pub clock: u64,
    tokens: BTreeMap<AttemptId, TxId>,
    /// What some database answered with OK.
    pub acknowledged: WriteSet,
}

impl Ledger {
    /// Writes down a new transaction.
    pub fn record(&mut self, gtid: Gtid, token: Option<AttemptId>) -> TxId {
        let id = self.gtids.len() as TxId;
        self.gtids.push(gtid);
        self.made.push(self.clock);
        if let Some(token) = token {
            self.tokens.insert(token, id);
        }
        id
    }

    /// The name of a transaction.
    pub fn gtid(&self, id: TxId) -> Gtid {
        self.gtids[id as usize]
    }

    /// How long ago it was made.
    pub fn age(&self, id: TxId) -> u64 {
        self.clock.saturating_sub(self.made[id as usize])
    }

    /// Which transaction inserted this row.
    pub fn of_token(&self, token: AttemptId) -> Option<TxId> {
        self.tokens.get(&token).copied()
    }

    /// How many were made.
    pub fn count(&self) -> usize {
        self.gtids.len()
    }
}

/// So many names before are kept.
pub const NAMES: usize = 8;

/// What is kept beside the data, synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kept {
    /// The present stay of the data.
    pub incarnation: Incarnation,
    /// Names before, the newest first, of which the data have everything.
    pub was: [Option<Incarnation>; NAMES],
    /// Drawn with it.
    pub server: u64,
    /// These are a follower's data.
    pub mark: bool,
    /// How often it was written anew: with each start of the server of which control was taken, and each change.
    pub starts: u64,
    /// The last start that was counted.
    pub counted: u64,
    /// The start of the server, and how often both threads had been stopped, when the stay began; none if that is
    /// not known.
    pub since: Option<(u64, u64)>,
    /// It was never attached in this stay: the first attach is its begin.
    pub fresh: bool,
}

/// The copy outside the data directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outside {
    /// The same as inside, unless somebody put other data there.
    pub incarnation: Incarnation,
    /// The same.
    pub starts: u64,
    /// How far the log had come when it was last looked at.
    pub end: LogEnd,
}

/// A place in the log up to which everything is committed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogEnd {
    /// The place of the last committed transaction, and which; none while the log is empty.
    pub at: Option<(usize, TxId)>,
    /// Which log.
    pub begun: u64,
}

/// The data directory.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// The binary log, in order.
    pub binlog: Vec<TxId>,
    /// The same as a set.
    pub logged: WriteSet,
    /// How much of the binary log is on disk.
    pub synced: usize,
    /// How often somebody began the log anew: the first bytes of its first file tell one from the other.
    pub begun: u64,
    /// The relay log, in order.
    pub relay: Vec<TxId>,
    /// How much of it would survive the loss of power.
    pub relay_synced: usize,
    /// How much of it is applied.
    pub relay_applied: usize,
    /// What of it is not applied, as a set.
    pub received: WriteSet,
    /// Both threads were stopped: the next START of either deletes the relay log (section 7).
    pub relay_stale: bool,
    /// gtid_slave_pos.
    pub slave_pos: Option<Gtid>,
    /// CHANGE MASTER TO.
    pub source: Option<NodeId>,
    /// Incarnation, mark, server id.
    pub kept: Option<Kept>,
    /// A rewind was begun and not ended.
    pub undoing: bool,
}

impl Files {
    /// gtid_binlog_pos.
    pub fn end(&self, ledger: &Ledger) -> Option<Gtid> {
        self.binlog.last().map(|id| ledger.gtid(*id))
    }

    /// Does this log go on from there?
    pub fn goes_on(&self, end: LogEnd) -> bool {
        match end.at {
            Some((at, id)) => self.binlog.get(at) == Some(&id),
            None => self.begun == end.begun,
        }
    }

    /// Where in the log this name stands: looked up, never compared (D4).
    pub fn find(&self, gtid: Gtid, ledger: &Ledger) -> Option<usize> {
        self.binlog.iter().rposition(|id| ledger.gtid(*id) == gtid)
    }

    /// How many of the last transactions another log does not have; none if there is no common point. What follows on a
    /// row that only this log has counts with it, wherever else it stands.
    pub fn tail_beyond(&self, other: &Files, ledger: &Ledger) -> Option<usize> {
        let known = |id: &TxId| other.find(ledger.gtid(*id), ledger).is_some();
        let strange = self.binlog.iter().position(|id| !known(id));
        let common = strange.unwrap_or(self.binlog.len());
        (common > 0).then_some(self.binlog.len() - common)
    }

    /// Cuts the log to its first `len` transactions; tells what went.
    pub fn truncate(&mut self, len: usize) -> Vec<TxId> {
        let gone = self.binlog.split_off(len.min(self.binlog.len()));
        for id in &gone {
            self.logged.remove(*id);
        }
        self.synced = self.synced.min(self.binlog.len());
        gone
    }

    /// START SLAVE after both threads were stopped.
    pub fn drop_relay(&mut self) {
        self.relay.clear();
        (self.relay_synced, self.relay_applied, self.relay_stale) = (0, 0, false);
        self.received = WriteSet::default();
    }
}
