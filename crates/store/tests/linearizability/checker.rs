//! A linearizability checker for one compare-and-swap register, after Wing and Gong, with the
//! memory of Lowe: is there an order of the operations, each between its call and its answer, in
//! which a single register would have given these answers?
//!
//! What is asked of an answer: a view is the register's content at its point; a win replaces the
//! version expected, and nothing else ever does so; a loss has its point where the version has
//! moved on (the value it tells may be old: protocol R4); an unknown one takes effect at any time
//! after its call, or never.

use std::collections::HashSet;

/// The content that an attempt wrote is known by the number of the attempt; 0 is the first.
pub type Content = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    View { version: u64, content: Content },
    Won { expect: u64, content: Content },
    Lost { expect: u64 },
    Unknown { expect: u64, content: Content },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    pub called: u64,
    /// `u64::MAX` if it was never answered.
    pub answered: u64,
    pub outcome: Outcome,
}

/// True if the history could be one register's, which starts at version 1 with content 0.
pub fn is_linearizable(history: &[Operation]) -> bool {
    let mut operations = history.to_vec();
    operations.sort_by_key(|operation| (operation.called, operation.answered));
    let words = operations.len().div_ceil(64);
    let mut tried: HashSet<(Vec<u64>, u64, Content)> = HashSet::new();
    let mut stack = vec![(vec![0u64; words], 0usize, 1u64, 0u64)];
    while let Some((done, first, version, content)) = stack.pop() {
        let is_done = |index: usize| done[index / 64] >> (index % 64) & 1 == 1;
        // An operation may come next only if no other that is not done was answered before its call.
        let mut bound = u64::MAX;
        let mut candidates = Vec::new();
        for (index, operation) in operations.iter().enumerate().skip(first) {
            if operation.called > bound {
                break;
            }
            if is_done(index) {
                continue;
            }
            bound = bound.min(answer_of(operation));
            candidates.push(index);
        }
        if candidates.iter().all(|index| answer_of(&operations[*index]) == u64::MAX)
            && bound == u64::MAX
        {
            return true;
        }
        for index in candidates.into_iter().rev() {
            if operations[index].called > bound {
                continue;
            }
            let Some((version, content)) = apply(operations[index].outcome, version, content)
            else {
                continue;
            };
            let mut next = done.clone();
            next[index / 64] |= 1 << (index % 64);
            let mut start = first;
            while start < operations.len() && next[start / 64] >> (start % 64) & 1 == 1 {
                start += 1;
            }
            if tried.insert((next.clone(), version, content)) {
                stack.push((next, start, version, content));
            }
        }
    }
    false
}

fn answer_of(operation: &Operation) -> u64 {
    match operation.outcome {
        Outcome::Unknown { .. } => u64::MAX,
        Outcome::View { .. } | Outcome::Won { .. } | Outcome::Lost { .. } => operation.answered,
    }
}

/// What the register holds after the operation, if it could have this outcome now.
fn apply(outcome: Outcome, version: u64, content: Content) -> Option<(u64, Content)> {
    match outcome {
        Outcome::View { version: seen, content: read } => {
            (seen == version && read == content).then_some((version, content))
        }
        Outcome::Lost { expect } => (version > expect).then_some((version, content)),
        Outcome::Won { expect, content: written }
        | Outcome::Unknown { expect, content: written } => {
            (version == expect).then_some((version + 1, written))
        }
    }
}
