//! Recorded histories of three proposers, over links that lose, double and reorder, with cuts,
//! deaths and restarts, through a linearizability checker; and the checker through histories that
//! no register could have.

#[path = "../common/mod.rs"]
mod common;

mod checker;

use checker::{Operation, Outcome, is_linearizable};
use common::{Bench, Faults, LAN_DISK, MS, Pace, Random, US};
use regent_store::cell::{Answer, Attempt, Mistake, Swap, Timing, Value};
use std::collections::{BTreeMap, BTreeSet};

/// What one node waits for.
#[derive(Clone, Copy)]
struct Call {
    at: u64,
    /// The attempt and the version it expects; None for a read.
    swap: Option<(Attempt, u64)>,
}

struct Recorder {
    bench: Bench,
    random: Random,
    history: Vec<Operation>,
    calls: [Option<Call>; 3],
    expect: [u64; 3],
    /// Each version's content, as any answer told it.
    contents: BTreeMap<u64, u64>,
}

/// What a run recorded; an error tells two contents of one version.
fn record(seed: u64, mistake: Option<Mistake>) -> Result<Vec<Operation>, String> {
    let pace = if seed.is_multiple_of(2) {
        LAN_DISK
    } else {
        Pace { link: (50 * US, 2 * MS), ..LAN_DISK }
    };
    let timing = Timing { budget: 30 * MS, resend: 5 * MS, ..Timing::default() };
    let mut bench = Bench::with_mistake(seed, pace, timing, mistake);
    bench.faults = Faults { lost: 300, doubled: 200, in_order: false };
    let mut recorder = Recorder {
        bench,
        random: Random::seeded(!seed),
        history: Vec::new(),
        calls: [None; 3],
        expect: [1; 3],
        contents: BTreeMap::from([(1, 0)]),
    };
    let mut next_fault = 0;
    while recorder.history.len() < 1000 {
        if recorder.bench.now >= next_fault {
            next_fault = recorder.bench.now + recorder.random.between(5 * MS, 80 * MS);
            recorder.fault();
        }
        recorder.call();
        recorder.listen()?;
        let end = recorder.bench.now + recorder.random.between(10 * US, 2 * MS);
        recorder.bench.run_until(end, |_| false);
    }
    for node in 0..3 {
        recorder.abandon(node);
    }
    Ok(recorder.history)
}

impl Recorder {
    /// Heals what was broken, and breaks something else, or nothing.
    fn fault(&mut self) {
        self.bench.cut.clear();
        for node in 0..3 {
            self.bench.revive(node);
        }
        let node = self.random.below(3) as usize;
        let other = (node + 1 + self.random.below(2) as usize) % 3;
        match self.random.below(6) {
            0 => {
                self.abandon(node);
                self.bench.restart(node);
            }
            1 => {
                self.abandon(node);
                self.bench.kill(node);
            }
            2 => self.bench.cut = BTreeSet::from([(node, other), (other, node)]),
            3 => self.bench.cut = BTreeSet::from([(node, other)]),
            _ => {}
        }
    }

    /// Lets each idle node, sometimes, read or swap; and some give up and propose anew.
    fn call(&mut self) {
        for node in 0..3 {
            if !self.bench.is_alive(node) || self.random.below(3) != 0 {
                continue;
            }
            if self.calls[node].is_some() {
                if self.random.below(40) != 0 {
                    continue;
                }
                self.abandon(node);
                self.bench.proposers[node].give_up();
                while self.bench.proposers[node].poll_answer().is_some() {}
                self.bench.answers[node].clear();
            }
            let at = self.bench.now;
            if self.random.below(4) == 0 {
                self.calls[node] = Some(Call { at, swap: None });
                self.bench.read(node);
            } else {
                let attempt = self.bench.attempt(node);
                let expect = self.expect[node];
                self.calls[node] = Some(Call { at, swap: Some((attempt, expect)) });
                let bytes = attempt.n.to_le_bytes().to_vec();
                self.bench.swap(node, Swap { attempt, expect, bytes, holder: node == 0 });
            }
        }
    }

    fn listen(&mut self) -> Result<(), String> {
        for node in 0..3 {
            let Some((answered, answer)) = self.bench.answers[node].pop_front() else { continue };
            let Some(Call { at: called, swap }) = self.calls[node].take() else { continue };
            let (expect, content) = swap.map_or((0, 0), |(attempt, expect)| (expect, attempt.n));
            let outcome = match answer {
                Answer::View(value) => {
                    let content = self.learn(node, &value)?;
                    Outcome::View { version: value.version, content }
                }
                Answer::Won(value) => {
                    self.learn(node, &value)?;
                    Outcome::Won { expect, content }
                }
                Answer::Lost(value) => {
                    self.learn(node, &value)?;
                    Outcome::Lost { expect }
                }
                Answer::Unknown if swap.is_none() => continue,
                Answer::Unknown => Outcome::Unknown { expect, content },
                Answer::WentBack { .. } | Answer::Refused(_) => return Err(format!("{answer:?}")),
            };
            self.history.push(Operation { called, answered, outcome });
        }
        Ok(())
    }

    /// The node will not hear the answer: the swap is unknown, a read says nothing.
    fn abandon(&mut self, node: usize) {
        if let Some(Call { at: called, swap: Some((attempt, expect)) }) = self.calls[node].take() {
            let outcome = Outcome::Unknown { expect, content: attempt.n };
            self.history.push(Operation { called, answered: u64::MAX, outcome });
        }
    }

    fn learn(&mut self, node: usize, value: &Value) -> Result<u64, String> {
        let content = match value.bytes.first_chunk::<8>() {
            Some(number) => u64::from_le_bytes(*number),
            None => 0,
        };
        let known = *self.contents.entry(value.version).or_insert(content);
        if known != content {
            return Err(format!("version {} has contents {known} and {content}", value.version));
        }
        self.expect[node] = self.expect[node].max(value.version);
        Ok(content)
    }
}

#[test]
fn histories_under_faults_are_linearizable() {
    let mut won = 0;
    let mut unknown = 0;
    for seed in 0..100 {
        let history = record(seed, None).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        won += count(&history, |outcome| matches!(outcome, Outcome::Won { .. }));
        unknown += count(&history, |outcome| matches!(outcome, Outcome::Unknown { .. }));
        assert!(is_linearizable(&history), "seed {seed}");
    }
    println!("100 histories of 1000 operations: {won} won, {unknown} unknown");
    assert!(won > 10_000 && unknown > 1_000, "too little happens: {won} won, {unknown} unknown");
}

#[test]
fn a_wrong_cell_is_caught_by_its_histories() {
    for mistake in [Mistake::NextUsedAfterUnknown, Mistake::PromiseNotKept, Mistake::NextNotKept] {
        let is_caught = |seed| match record(seed, Some(mistake)) {
            Ok(history) => !is_linearizable(&history),
            Err(_) => true,
        };
        let seed = (0..60).find(|seed| is_caught(*seed));
        println!("{mistake:?}: caught with seed {seed:?}");
        assert!(seed.is_some(), "{mistake:?} was not caught");
    }
}

#[test]
fn the_checker_refuses_what_no_register_could_answer() {
    let at = |called, answered, outcome| Operation { called, answered, outcome };
    let won =
        |called, answered, expect, content| at(called, answered, Outcome::Won { expect, content });
    let view = |called, answered, version, content| {
        at(called, answered, Outcome::View { version, content })
    };
    let unknown =
        |called, expect, content| at(called, u64::MAX, Outcome::Unknown { expect, content });
    let lost = |called, answered, expect| at(called, answered, Outcome::Lost { expect });

    let stale_read = [won(0, 10, 1, 5), view(20, 30, 1, 0)];
    let two_winners = [won(0, 10, 1, 5), won(5, 15, 1, 6)];
    let won_too_early = [won(0, 10, 2, 5), won(20, 30, 1, 6)];
    let lost_before_any_win = [lost(0, 10, 1), won(20, 30, 1, 5)];
    let read_of_nothing = [view(0, 10, 2, 9)];
    let unknown_after_all = [won(0, 10, 1, 5), view(20, 30, 2, 6), unknown(5, 1, 6)];
    let read_back = [unknown(0, 1, 5), view(10, 20, 2, 5), view(30, 40, 1, 0)];
    for history in [
        &stale_read[..],
        &two_winners,
        &won_too_early,
        &lost_before_any_win,
        &read_of_nothing,
        &unknown_after_all,
        &read_back,
    ] {
        assert!(!is_linearizable(history), "{history:?}");
    }

    let overlapping = [won(0, 30, 1, 5), view(10, 20, 1, 0)];
    let unknown_seen_late = [unknown(0, 1, 5), view(10, 20, 1, 0), view(30, 40, 2, 5)];
    let lost_to_an_unknown = [unknown(0, 1, 5), lost(10, 20, 1)];
    let never_answered = [unknown(0, 1, 5), won(10, 20, 1, 6), view(30, 40, 2, 6)];
    for history in [&overlapping[..], &unknown_seen_late, &lost_to_an_unknown, &never_answered] {
        assert!(is_linearizable(history), "{history:?}");
    }
}

#[test]
fn a_recorded_history_with_one_answer_falsified_is_refused() {
    let history = record(1, None).expect("the cell is right");
    let is_win = |operation: &Operation| matches!(operation.outcome, Outcome::Won { .. });
    let index = history.iter().rposition(is_win).expect("something was won");
    let mut falsified = history.clone();
    if let Outcome::Won { expect, content } = history[index].outcome {
        falsified[index].outcome = Outcome::Won { expect: expect - 1, content };
    }
    assert!(is_linearizable(&history));
    assert!(!is_linearizable(&falsified));
}

fn count(history: &[Operation], is_it: impl Fn(&Outcome) -> bool) -> usize {
    history.iter().filter(|operation| is_it(&operation.outcome)).count()
}
