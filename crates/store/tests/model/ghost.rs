//! What is true whatever the machines believe: rebuilt from every message ever sent.
//!
//! The invariants: one value per ballot; one content per version; versions follow ballots; each
//! content grew from the one decided before it; answers tell the truth.

use super::table::print;
use regent_store::cell::{Attempt, Ballot, Value, VoterId};
use std::collections::{BTreeMap, BTreeSet};

/// What is true whatever the machines believe: rebuilt from every message ever sent.
#[derive(Clone, Debug, Default)]
pub struct Ghost {
    proposed: BTreeMap<Ballot, Value>,
    accepted: BTreeMap<Ballot, BTreeSet<VoterId>>,
    pub decided: BTreeMap<u64, Value>,
    decided_at: BTreeMap<Ballot, u64>,
    lost: Vec<(Attempt, u64)>,
}

impl Ghost {
    /// The first value is decided before anybody speaks.
    pub fn new(first: &Value) -> Ghost {
        Ghost {
            proposed: BTreeMap::from([(Ballot::INITIAL, first.clone())]),
            decided: BTreeMap::from([(first.version, first.clone())]),
            decided_at: BTreeMap::from([(Ballot::INITIAL, first.version)]),
            ..Ghost::default()
        }
    }

    pub fn newest(&self) -> &Value {
        self.decided.last_key_value().expect("the first value is decided").1
    }

    pub fn note_proposed(&mut self, ballot: Ballot, value: &Value) -> Result<(), String> {
        match self.proposed.insert(ballot, value.clone()) {
            Some(other) if other != *value => {
                Err(format!("ballot {ballot:?} is used for {other:?} and {value:?}"))
            }
            Some(_) | None => Ok(()),
        }
    }

    pub fn note_accepted(&mut self, ballot: Ballot, voter: VoterId) -> Result<(), String> {
        let Some(value) = self.proposed.get(&ballot).cloned() else {
            return Err(format!("accepted what nobody proposed: {ballot:?}"));
        };
        let accepted = self.accepted.entry(ballot).or_default();
        accepted.insert(voter);
        let count = accepted.iter().filter(|id| value.has_voter(**id)).count();
        if count < value.majority() || self.decided_at.contains_key(&ballot) {
            return Ok(());
        }
        self.decided_at.insert(ballot, value.version);
        self.note_decided(ballot, value)
    }

    /// One content per version; versions follow ballots; each content grew from the one before.
    pub fn note_decided(&mut self, ballot: Ballot, value: Value) -> Result<(), String> {
        let version = value.version;
        if let Some(other) = self.decided.get(&version)
            && *other != value
        {
            return Err(format!("version {version} is decided twice: {other:?} and {value:?}"));
        }
        let sorted = self.decided_at.values().is_sorted();
        if !sorted {
            return Err(format!("{ballot:?} decides {version}, against the order of ballots"));
        }
        let parent = self.decided.get(&(version - 1));
        let is_first = version == 1;
        let grew = parent.is_some_and(|parent| {
            value.bytes == parent.bytes || value.bytes.ends_with(&mark(parent).to_le_bytes())
        });
        if !is_first && !grew {
            return Err(format!("version {version} did not grow from the one decided before it"));
        }
        self.decided.insert(version, value);
        self.lost.iter().try_for_each(|lost| self.expect_not_won(*lost))
    }

    pub fn note_lost(&mut self, asked: (Attempt, u64)) -> Result<(), String> {
        self.lost.push(asked);
        self.expect_not_won(asked)
    }

    pub fn expect_not_won(&self, (attempt, expect): (Attempt, u64)) -> Result<(), String> {
        let won = self.decided.get(&(expect + 1)).is_some_and(|value| value.has_attempt(attempt));
        if won { Err(format!("answered lost, but it won: {attempt:?}")) } else { Ok(()) }
    }

    pub fn expect_won(&self, (attempt, expect): (Attempt, u64)) -> Result<(), String> {
        let won = self.decided.get(&(expect + 1)).is_some_and(|value| value.has_attempt(attempt));
        if won { Ok(()) } else { Err(format!("answered won, but it did not: {attempt:?}")) }
    }

    pub fn expect_decided(&self, what: &str, value: &Value) -> Result<(), String> {
        if self.decided.get(&value.version) == Some(value) {
            return Ok(());
        }
        Err(format!("{what} tells a value that is not decided: {value:?}"))
    }
}

/// A mark of a content, for what grows from it.
pub fn mark(value: &Value) -> u64 {
    print(&value.bytes)
}
