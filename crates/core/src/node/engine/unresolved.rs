//! Swaps that were given up without an answer: each may win until the version moves past the one it expected (R5).
//!
//! While no majority answers, a node that wants something proposes again and again, for days if need be. What a win
//! permits is remembered of the newest few only: a win that is not recognised permits nothing, and what it wrote is
//! found in the record as any other run's would be. What an unanswered swap *forbids* (a join that may win forbids
//! going loose, a release forbids opening, ...) is remembered of all of them, by form.

use crate::id::Version;
use crate::node::engine::propose::{Attempt, Kind};
use crate::node::intents::Change;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

/// How many are remembered one by one. A ticket lasts a handful of renewals: an older win opens nothing any more.
const NEWEST: usize = 16;

/// What a swap is, as far as its being unanswered forbids something.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::node) enum Form {
    /// A succession: nothing is received meanwhile (D7).
    Succeed,
    /// A release: the gate stays closed.
    Release,
    /// A join: nobody goes loose (D5).
    Join,
    /// A vacate: nothing is started on shared data.
    Vacate,
    /// An activation.
    Activate,
    /// It forbids nothing.
    Other,
}

impl Form {
    fn of(kind: &Kind) -> Form {
        match kind {
            Kind::Succeed { .. } => Form::Succeed,
            Kind::Release { .. } => Form::Release,
            Kind::Join { .. } => Form::Join,
            Kind::Intend { change: Change::Vacate } => Form::Vacate,
            Kind::Intend { change: Change::Activate(_) } => Form::Activate,
            Kind::Intend { .. }
            | Kind::Renew
            | Kind::Solo { .. }
            | Kind::Occupy
            | Kind::Clear { .. } => Form::Other,
        }
    }

    /// Is this swap of this form?
    pub fn fits(self, kind: &Kind) -> bool {
        Form::of(kind) == self
    }
}

/// Swaps of this run without an answer.
#[derive(Clone, Debug, Default)]
pub(in crate::node) struct Unresolved {
    newest: VecDeque<Attempt>,
    /// Of those that are not remembered one by one: the highest version that one of this form expected.
    older: BTreeMap<Form, Version>,
}

/// What can win no more.
pub(in crate::node) struct Settled {
    pub newest: Vec<Attempt>,
    /// Among the others there was a succession.
    pub older_succession: bool,
}

impl Unresolved {
    /// One more; one that was never sent can win nothing.
    pub fn add(&mut self, attempt: Option<Attempt>) {
        let Some(attempt) = attempt.filter(|attempt| attempt.sent) else { return };
        if self.newest.len() == NEWEST
            && let Some(oldest) = self.newest.pop_front()
        {
            let expect = self.older.entry(Form::of(&oldest.kind)).or_default();
            *expect = (*expect).max(oldest.expect);
        }
        self.newest.push_back(attempt);
    }

    /// Takes out what can win no more at this version.
    pub fn settle(&mut self, version: Version) -> Settled {
        let (settled, open): (Vec<Attempt>, Vec<Attempt>) = core::mem::take(&mut self.newest)
            .into_iter()
            .partition(|attempt| attempt.expect < version);
        self.newest = open.into();
        let over = |expect: &Version| *expect < version;
        let older_succession = self.older.get(&Form::Succeed).is_some_and(over);
        self.older.retain(|_, expect| !over(expect));
        Settled { newest: settled, older_succession }
    }

    /// May one of this form still win?
    pub fn has(&self, form: Form) -> bool {
        self.newest.iter().any(|attempt| form.fits(&attempt.kind)) || self.older.contains_key(&form)
    }

    /// None may still win.
    pub fn is_empty(&self) -> bool {
        self.newest.is_empty() && self.older.is_empty()
    }

    /// How many are remembered one by one.
    pub fn len(&self) -> usize {
        self.newest.len()
    }
}
