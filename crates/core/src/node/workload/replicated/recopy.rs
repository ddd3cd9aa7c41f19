//! A standby whose data are to be copied anew: at an operator's word, because the active node found other rows in them,
//! or because its database does not come up any more.
//!
//! The active node goes on alone first (D5): until the record says so, these data may be the only other copy of an
//! acknowledged write. Then they lose their name, durably, and what has no name is saved and replaced (S6, D8).

use crate::command::{Answer, DatabaseStep, StepResult};
use crate::event::Severity;
use crate::id::{Incarnation, NodeId, RequestId};
use crate::node::Node;
use crate::node::output::Flight;
use crate::node::requests::Wants;
use crate::node::workload::replicated::database::STARTS_ALARM;
use crate::state::DataCopy;
use crate::sync;
use crate::time::{Span, Time};
use alloc::format;
use alloc::string::{String, ToString};

/// Why, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::node) struct Recopy {
    why: String,
    in_place: bool,
    /// An operator asked for it, and waits.
    asked: bool,
    since: Time,
    /// A copy can be taken, as far as was seen; only looked at for an operator, before anything else.
    looked: bool,
}

/// An operator's wish that has not begun after this is over.
const ASKED_MAX: Span = Span::millis(6_000);

impl Node {
    /// An operator wants this node's data copied anew.
    pub(in crate::node) fn ask_resync(
        &mut self,
        request: RequestId,
        node: NodeId,
        in_place: bool,
        now: Time,
    ) {
        if let Some(reason) = self.no_resync(node, now) {
            return self.answer(request, Answer::refused(reason));
        }
        self.database.forget_copies();
        let why = "an operator asked for it".to_string();
        self.requests.enter(request, Wants::Copy, now);
        self.recopy = Some(Recopy { why, in_place, asked: true, since: now, looked: false });
    }

    fn no_resync(&self, node: NodeId, now: Time) -> Option<String> {
        let name = self.name(node);
        if self.shares_data() {
            return Some("there is one copy of shared data: nothing to copy".into());
        }
        if node != self.me() {
            return Some(format!(
                "{name} takes its copy itself: regent resync {name} --node {name}"
            ));
        }
        if self.holds() {
            return Some(format!(
                "{name} is active: its data are what others copy; regent switchover first"
            ));
        }
        if self.is_stopped() {
            return Some("the cluster is stopped: regent cluster start first".into());
        }
        let Some(view) = &self.view else {
            return Some("the register was not read yet: this node has no quorum".into());
        };
        if self.recorded_writer(now).is_none() {
            let writer = self.name(view.state.sync.writer.node);
            return Some(format!(
                "there is nobody to copy from: {writer} does not report a database that is the recorded one"
            ));
        }
        let busy = self.recopy.is_some() || self.database.is_copying();
        busy.then(|| format!("{name} is being copied already: regent status says how far it is"))
    }

    /// The recorded writer, if it is another node that reports its data as recorded now.
    pub(in crate::node) fn recorded_writer(&self, now: Time) -> Option<DataCopy> {
        let sync = self.view.as_ref()?.state.sync;
        let writer = sync.writer;
        let report = self.peers.get(&writer.node)?.fresh(self.spec.pace.suspicion, now)?;
        let database = report.database.as_ref()?;
        let recorded = sync::is_recorded_writer(&sync, writer.node, database);
        (recorded && writer.node != self.me()).then_some(writer)
    }

    /// Does the record still count on the data here?
    fn is_recorded_beside(&self) -> bool {
        let sync = self.view.as_ref().map(|view| view.state.sync);
        sync.is_none_or(|sync| {
            sync.writer.node == self.me() || sync.with.is_some_and(|with| with.node == self.me())
        })
    }

    /// It is about to lose its name: the active node goes on alone for it.
    pub(in crate::node) fn loses_name(&self) -> bool {
        self.recopy.as_ref().is_some_and(|recopy| recopy.looked) && !self.holds()
    }

    /// One that holds has other things to do; whoever asked is told.
    pub(in crate::node) fn drop_recopy(&mut self) {
        if self.recopy.take().is_some() {
            let why = "this node was made active meanwhile: its data are what others copy";
            self.answer_copy(&Answer::undone(why));
        }
    }

    /// A standby's: looks first, then waits until the record counts on these data no more, then takes their name.
    pub(in crate::node) fn advance_recopy(&mut self, now: Time) {
        self.hear_distrust(now);
        let Some(recopy) = &self.recopy else { return };
        let is_done =
            self.in_flight(|f| matches!(f, Flight::Database(DatabaseStep::Distrust { .. })));
        let late = now.elapsed_most(recopy.since) >= ASKED_MAX && !is_done;
        if recopy.asked && late {
            let reason = match recopy.looked {
                true => "the active node does not go on alone for it; nothing was changed",
                false => "it could not be looked whether a copy can be taken; nothing was changed",
            };
            self.recopy = None;
            return self.answer_copy(&Answer::undone(reason));
        }
        let (in_place, looked) = (recopy.in_place, recopy.looked);
        let why = recopy.why.clone();
        if self.database.is_busy() {
            return;
        }
        if !looked {
            if let Some(writer) = self.recorded_writer(now) {
                self.step(DatabaseStep::MayCopy { writer, in_place }, now);
            }
            return;
        }
        if !self.is_recorded_beside() && self.try_step(DatabaseStep::Distrust { in_place }, now) {
            let text = format!("the data here lose their name, a copy replaces them: {why}");
            self.tell("database.distrusted", Severity::Warning, text);
        }
    }

    /// Can a copy be taken? If not, nothing has changed.
    pub(in crate::node) fn take_may_copy(&mut self, result: &StepResult) {
        let Some(recopy) = &mut self.recopy else { return };
        match result {
            StepResult::Done | StepResult::Down => {
                recopy.looked = true;
                self.reporting.hasten();
            }
            StepResult::Failed(why) => {
                let reason = format!("{why}; nothing was changed");
                self.recopy = None;
                self.answer_copy(&Answer::refused(reason));
            }
            // Asked for again.
            StepResult::NoAnswer
            | StepResult::Blocked
            | StepResult::Lineage(_)
            | StepResult::Saved(_) => {}
        }
    }

    /// What waits for the active node, for people.
    pub(in crate::node) fn explain_recopy(&self) -> Option<String> {
        let recopy = self.recopy.as_ref().filter(|_| !self.holds())?;
        let waits =
            if recopy.looked { ": it waits until the active node goes on alone" } else { "" };
        Some(format!("its data are to be copied anew, {}{waits}", recopy.why))
    }

    /// The active node found other rows in these very data than it has.
    fn hear_distrust(&mut self, now: Time) {
        let Some(facts) = &self.database.facts else { return };
        let Some(incarnation) = facts.incarnation.filter(|_| self.recopy.is_none()) else { return };
        let Some(holder) = self.view.as_ref().map(|view| view.state.lease.holder) else { return };
        let report = self.peers.get(&holder);
        let report = report.and_then(|peer| peer.fresh(self.spec.pace.suspicion, now));
        if report.and_then(|report| report.distrusts) == Some(incarnation) {
            let why = format!("{} found other rows here than it has", self.name(holder));
            self.recopy =
                Some(Recopy { why, in_place: false, asked: false, since: now, looked: true });
            self.reporting.hasten();
        }
    }

    /// The step was done, or not. It needs no server: one that is down hinders nobody.
    pub(in crate::node) fn take_distrusted(&mut self, result: &StepResult) {
        let answer = match result {
            StepResult::Failed(why) => {
                Answer::failed(format!("the data could not be taken out of use: {why}"))
            }
            StepResult::Done | StepResult::Down => {
                Answer::Done("its data have no name any more, and a copy replaces them".into())
            }
            // Asked for again.
            StepResult::NoAnswer
            | StepResult::Blocked
            | StepResult::Lineage(_)
            | StepResult::Saved(_) => return,
        };
        let Some(Recopy { why, .. }) = self.recopy.take() else { return };
        if matches!(answer, Answer::Done(_)) {
            self.following.distrusted = Some(why);
        }
        self.answer_copy(&answer);
    }

    /// Tells whoever asked for a copy.
    fn answer_copy(&mut self, answer: &Answer) {
        self.requests.end(|wants| *wants == Wants::Copy, answer, &mut self.out);
    }

    /// Its database does not come up, try after try, while another node serves: then its data are replaced by a copy,
    /// and starts are tried on in the pauses between two copies that fail.
    pub(in crate::node) fn copy_instead_of_start(&mut self, now: Time) -> bool {
        if self.database.failures() < STARTS_ALARM
            || self.holds()
            || self.leaves_alone(now)
            || self.is_recorded_beside()
            || self.is_succession_unanswered()
        {
            return false;
        }
        let Some(writer) = self.recorded_writer(now) else { return false };
        let times = self.database.failures();
        let why = format!("its database did not come up, {times} tries in a row");
        self.take_copy(writer, why, now)
    }

    /// The incarnation of a standby in which this node, the active one, found other rows than it has.
    pub(in crate::node) fn distrusts(&self) -> Option<Incarnation> {
        let last = self.comparison()?.last.as_ref()?;
        last.differs.then_some(last.with)
    }

    /// May this standby not be counted on, whatever it reports?
    pub(in crate::node) fn is_distrusted(
        &self,
        node: NodeId,
        incarnation: Option<Incarnation>,
    ) -> bool {
        let leaving = self.peers.get(&node).and_then(|peer| peer.report.as_ref());
        leaving.is_some_and(|report| report.leaving)
            || (incarnation.is_some() && incarnation == self.distrusts())
    }
}
