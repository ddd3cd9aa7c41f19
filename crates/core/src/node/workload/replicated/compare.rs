//! Equality of both copies is looked at, not assumed: when, and what a difference means.
//!
//! The active node compares while both serve: when somebody asks, as often as the site wants it, and soon after the
//! standby's data began by a copy or a rewind. A difference is an alarm. The record counts on that standby no more
//! (solo first, D5), it is not taken in (D4), and its data are copied anew (`recopy`).

use crate::command::{Action, Answer, DatabaseStep, Outcome, StepResult};
use crate::event::Severity;
use crate::id::RequestId;
use crate::node::Node;
use crate::node::output::Flight;
use crate::node::workload::tries::pause_after;
use crate::observe::{Compared, Comparison};
use crate::state::DataCopy;
use crate::time::{Span, Time};
use alloc::format;
use alloc::string::{String, ToString};

/// After one that was stopped; doubled each time.
const PAUSE_FIRST: Span = Span::millis(30_000);
const PAUSE_MOST: Span = Span::millis(3_600_000);
/// A standby that was just taken in is left alone for a while.
const SETTLED: Span = Span::millis(10_000);
/// Stopped so often in a row, it is worth a line of status.
const STOPS_TOLD: u32 = 3;

/// What this run knows of comparisons.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::node) struct Comparing {
    asked: Option<u8>,
    /// When one was last begun.
    tried: Option<Time>,
    /// When it was last stopped before its end, how often in a row, and why.
    stopped: Option<(Time, u32, String)>,
}

impl Node {
    /// What is known of both copies' equality.
    pub(in crate::node) fn comparison(&self) -> Option<&Comparison> {
        self.database.facts.as_ref()?.comparison.as_deref()
    }

    fn last_comparison(&self) -> Option<&Compared> {
        self.comparison()?.last.as_ref()
    }

    /// An operator wants to know.
    pub(in crate::node) fn ask_verify(&mut self, request: RequestId, duty: Option<u8>, now: Time) {
        if let Some(reason) = self.no_comparison(now) {
            return self.answer(request, Answer::refused(reason));
        }
        self.comparing.asked = Some(duty.unwrap_or(self.spec.policy.verify_duty));
        self.comparing.stopped = None;
        let text = match self.in_flight(|flight| *flight == Flight::Verify) {
            true => "a comparison is under way already",
            false => "the comparison begins",
        };
        self.answer(request, Answer::Done(text.into()));
    }

    fn no_comparison(&self, now: Time) -> Option<String> {
        if self.shares_data() {
            return Some("there is one copy of shared data: nothing to compare".into());
        }
        let Some(view) = &self.view else {
            return Some("the register was not read yet: this node has no quorum".into());
        };
        if !self.holds() {
            let holder = self.name(view.state.lease.holder);
            return Some(format!(
                "{holder} is active, and compares: regent verify-db --node {holder}"
            ));
        }
        let why = "no standby is in sync: wait until `regent status` says so";
        self.compared_with(now).is_none().then(|| why.to_string())
    }

    /// The standby that can be compared with now.
    fn compared_with(&self, now: Time) -> Option<DataCopy> {
        let with = self.view.as_ref()?.state.sync.with?;
        let there = self.moving.is_none() && self.is_writable() && self.rules(now);
        there.then_some(with)
    }

    /// One at a time; asked for, or due.
    pub(in crate::node) fn compare_when_due(&mut self, now: Time) {
        self.tell_difference();
        let Some(with) = self.compared_with(now) else { return };
        let Some(facts) = &self.database.facts else { return };
        let Some(ours) = facts.incarnation else { return };
        if self.in_flight(|flight| *flight == Flight::Verify) {
            return;
        }
        let paused = self.comparing.stopped.as_ref().is_some_and(|(at, times, _)| {
            now.elapsed_most(*at) < pause_after(*times, PAUSE_FIRST, PAUSE_MOST)
        });
        let duty = match self.comparing.asked {
            Some(duty) => duty,
            None if self.is_comparison_due(with, now) => self.spec.policy.verify_duty,
            None => return,
        };
        if paused {
            return;
        }
        self.comparing.tried = Some(now);
        let step = DatabaseStep::Verify { with, ours, duty };
        self.ask(Action::Database(step), Some(Flight::Verify));
    }

    fn is_comparison_due(&self, with: DataCopy, now: Time) -> bool {
        let every = self.spec.policy.verify_every;
        let settled = self.follower.joined().is_none_or(|at| now.elapsed_most(at) >= SETTLED);
        let recent = self.comparing.tried.is_some_and(|at| now.elapsed_most(at) < PAUSE_FIRST);
        if every == Span::ZERO || !settled || recent {
            return false;
        }
        let Some(last) = self.last_comparison() else { return true };
        let report = self.peers.get(&with.node).and_then(|peer| peer.report.as_ref());
        let renewed = report.and_then(|r| r.database.as_ref()).is_some_and(|d| d.renewed);
        last.age >= every || (renewed && last.with != with.incarnation)
    }

    /// It came to its end, or was stopped.
    pub(in crate::node) fn take_compared(&mut self, outcome: Outcome, now: Time) {
        let why = match outcome {
            Outcome::Database { result: StepResult::Done, .. } => {
                let tried = self.comparing.tried;
                self.comparing = Comparing { tried, ..Comparing::default() };
                return;
            }
            Outcome::Database { result, .. } => result.why().to_string(),
            Outcome::Failed(why) => why,
            Outcome::Done
            | Outcome::Clock(_)
            | Outcome::Swap(_)
            | Outcome::Fence(_)
            | Outcome::Stack { .. }
            | Outcome::Peer { .. } => return,
        };
        self.comparing.asked = None;
        let times = self.comparing.stopped.as_ref().map_or(0, |(_, times, _)| *times) + 1;
        self.comparing.stopped = Some((now, times, why));
    }

    /// Why the last comparison did not come to its end.
    pub(in crate::node) fn comparison_stopped(&self) -> Option<String> {
        self.comparing.stopped.as_ref().map(|(_, _, why)| why.clone())
    }

    /// The same once it is worth a line of status.
    pub(in crate::node) fn explain_comparison(&self) -> Option<String> {
        let (_, times, why) = self.comparing.stopped.as_ref()?;
        let told = self.holds() && *times >= STOPS_TOLD;
        told.then(|| format!("the comparison of both copies was stopped {times} times: {why}"))
    }

    /// Other rows there than here: somebody has to know, and what follows is not this one's doing.
    fn tell_difference(&mut self) {
        let found = self.last_comparison().filter(|last| last.differs).map(|last| {
            format!("both copies are not the same, the standby's is replaced: {}", last.text)
        });
        match found {
            Some(text) => self.tell_edge("database.differs", Severity::Alarm, text),
            None => self.told.end("database.differs"),
        }
    }
}
