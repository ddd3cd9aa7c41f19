//! The shared directory is lost for this host: it hangs, or every access fails (ADR 0040).
//!
//! ```text
//!            SharedData(lost)            patience, another node sees it, and a proof
//!   answers ─────────────────► lost ─────────────────────────────────────────────────► left: succeeded, fenced
//!      ▲                         │
//!      └──── SharedData(none) ◄──┘  nothing was stopped: the services go on
//! ```
//!
//! A host for which it hangs never counts as clear: its kernel may have writes that reach the data later, and nobody
//! can ask it. So it does not vacate, whatever of the stack is down, and after the hang not before those writes were
//! waited for.

use crate::event::Severity;
use crate::id::NodeId;
use crate::node::Node;
use crate::node::workload::shared::stack::LOOK_AGAIN;
use crate::stack::{DataLost, StackStep, StepState};
use crate::state::Data;
use crate::time::{Span, Time};
use alloc::format;
use alloc::string::String;

/// What is known of the loss.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::node) struct Lost {
    pub hangs: bool,
    pub why: String,
    /// When it was noticed, and how long it had been so.
    at: Time,
    age: Span,
    /// The stack was left to another node because of it.
    left: bool,
}

impl Lost {
    fn seconds(&self, now: Time) -> u64 {
        (now.elapsed_most(self.at) + self.age).as_millis() / 1000
    }
}

impl Node {
    pub(in crate::node) fn take_shared_data(&mut self, lost: Option<DataLost>, now: Time) {
        if self.stack_spec().is_none() {
            return;
        }
        self.reporting.hasten();
        let Some(DataLost { hangs, why, age }) = lost else {
            let Some(lost) = self.stack.lost.take() else { return };
            let s = lost.seconds(now);
            let text = format!("the shared directory answers again, after {s} s");
            self.tell("data.answers", Severity::Info, text);
            // What is there is looked at once more, and what did not go down is tried again, at once.
            self.stack.surveyed = None;
            self.stack.stuck = None;
            return;
        };
        // What hung and fails now is the same loss.
        let begun = self.stack.lost.as_ref().map(|lost| (lost.at, lost.age, lost.left));
        let (at, age, left) = begun.unwrap_or((now, age, false));
        self.stack.lost = Some(Lost { hangs, why: why.clone(), at, age, left });
        let code = if hangs { "data.hangs" } else { "data.fails" };
        let (severity, text) = match self.lost_concern(now) {
            Some(text) => (Severity::Alarm, text),
            None => (Severity::Warning, format!("{why}: this node could not take over")),
        };
        self.tell(code, severity, text);
    }

    /// Whoever touches the shared directory here waits in the kernel.
    pub(in crate::node) fn data_hangs(&self) -> bool {
        self.stack.lost.as_ref().is_some_and(|lost| lost.hangs)
    }

    /// It hangs or hung, and this host may have writes under way: it is the recorded user, or does not know whether it
    /// is.
    pub(in crate::node) fn may_write_late(&self) -> bool {
        (self.data_hangs() || self.is_unsettled()) && (self.view.is_none() || self.is_user())
    }

    /// What was to be written during a hang was not waited for.
    pub(in crate::node) fn is_unsettled(&self) -> bool {
        self.stack.survey.as_ref().is_some_and(|survey| survey.unsettled)
    }

    /// It will not vacate by itself as long as it is so.
    pub(in crate::node) fn cannot_settle(&self) -> bool {
        self.data_hangs() || (self.stack.lost.is_some() && self.is_unsettled())
    }

    /// Nothing is brought up now: it would fail, and take down what runs. Whoever asked for it is told at once.
    pub(in crate::node) fn waits_for_data(&self) -> bool {
        self.stack.lost.is_some() && !self.is_activation_asked()
    }

    /// The stack leaves this node once the loss has lasted, if another one sees the directory and takes over. What
    /// hangs cannot be vacated, so something else must prove its end.
    pub(in crate::node) fn leave_lost_data(&mut self, now: Time) {
        let (Some(lost), Some(spec)) = (&self.stack.lost, self.stack_spec()) else { return };
        let since = now.elapsed_least(lost.at) + lost.age;
        let may = self.is_user() && self.moving.is_none() && self.stack.failure.is_none();
        let asked = self.is_activation_asked() || !self.is_automatic();
        if since < spec.patience || !may || asked || !self.has_end(lost) {
            return;
        }
        let (why, s) = (lost.why.clone(), lost.seconds(now));
        let Some(to) = self.better_node(now) else { return };
        let text = format!("{why} for {s} s: this node stops, and {} takes over", self.name(to));
        self.tell("data.left", Severity::Alarm, text);
        if let Some(lost) = &mut self.stack.lost {
            lost.left = true;
        }
        self.stack.failure = Some(why);
        self.stack.complete = None;
        self.reporting.hasten();
    }

    /// The stack was left to another node because of the loss.
    pub(in crate::node) fn left_lost_data(&self) -> bool {
        self.stack.lost.as_ref().is_some_and(|lost| lost.left)
    }

    /// That this node's use is over can come to be proven without a person.
    fn has_end(&self, lost: &Lost) -> bool {
        let fenced = self.stack_spec().is_some_and(|spec| spec.fenced);
        let watched = matches!(self.data(), Data::InUse { watchdog: Some(_), .. });
        !(lost.hangs || self.is_unsettled()) || fenced || watched
    }

    /// The holder reports a loss, and this node has not looked since: one file server may be lost for both. Asks for a
    /// look.
    pub(in crate::node) fn must_look_first(&mut self, now: Time) -> bool {
        let Some(view) = &self.view else { return true };
        let peer = self.peers.get(&view.state.lease.holder);
        let Some(since) = peer.and_then(|peer| peer.lost) else { return false };
        if self.stack.looked.is_some_and(|at| at.raw > since.raw) {
            return false;
        }
        if self.stack.surveyed.is_none_or(|at| now.elapsed_most(at) >= LOOK_AGAIN) {
            self.ask_stack(StackStep::Survey, now);
        }
        true
    }

    /// The recorded user reports that the directory hangs for it: it will not vacate by itself.
    pub(in crate::node) fn cannot_vacate(&self, node: NodeId) -> bool {
        let report = self.peers.get(&node).and_then(|peer| peer.report.as_ref());
        report.and_then(|report| report.stack.as_ref()).is_some_and(|stack| stack.hangs)
    }

    /// Every step is down here, and that is not all: what the kernel has to write, nobody knows.
    pub(in crate::node) fn hangs_at_the_end(&self) -> Option<String> {
        let survey = self.stack.survey.as_ref().filter(|_| self.may_write_late())?;
        let down = survey.steps.iter().all(|state| *state == StepState::Down) && !survey.permit;
        let tried = self.stack.unclaimed > 0;
        let lost = self.stack.lost.as_ref().map(|lost| lost.why.as_str());
        let why =
            lost.or(tried.then_some("the shared directory hung and does not take its writes"))?;
        let me = self.name(self.me());
        down.then(|| {
            format!(
                "everything is down, but {why}, and this host may still have writes for it: mend the way to it, or \
                 switch {me} off, then on the other node: regent activate --confirm-peer-is-off {me}"
            )
        })
    }

    /// What the loss means on the node that uses the data, and what to do.
    pub(in crate::node) fn lost_concern(&self, now: Time) -> Option<String> {
        let lost = self.stack.lost.as_ref().filter(|_| self.is_user())?;
        let (why, s, me) = (&lost.why, lost.seconds(now), self.name(self.me()));
        let others = self.spec.nodes.iter().filter(|(node, _)| *node != self.me());
        let other = others.map(|(_, name)| name.clone()).next().unwrap_or_default();
        let patience = self.stack_spec().map_or(0, |spec| spec.patience.as_millis() / 1000);
        let next = if lost.left {
            format!("this node stopped, for {other} to take over")
        } else if self.is_automatic() && self.has_end(lost) {
            format!("after {patience} s the stack moves to {other}, if that one sees it")
        } else if lost.hangs {
            format!(
                "mend the way to it, or switch {me} off, then on {other}: regent activate --confirm-peer-is-off {me}"
            )
        } else {
            format!("mend it, or regent deactivate here, then regent activate on {other}")
        };
        Some(format!("{why} for {s} s, and what is on it waits or fails; {next}"))
    }

    /// The same for `explain` on a node that does not use them.
    pub(in crate::node) fn explain_lost(&self, now: Time) -> Option<String> {
        let lost = self.stack.lost.as_ref().filter(|_| !self.is_user())?;
        let s = lost.seconds(now);
        Some(format!("{} for {s} s: this node could not take over", lost.why))
    }
}
