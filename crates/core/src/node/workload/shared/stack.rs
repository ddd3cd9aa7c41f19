//! The local stack on shared data: what is really there, and one step at a time towards all of it up or all of it
//! down. Who may use the data is decided in `shared`; what operators ask for in `asked`.
//!
//! What is due is found by comparing the survey with the direction, so a killed agent, a lost answer or a step that
//! failed needs no special path: the next run looks, and goes on.

use crate::command::{Action, Outcome};
use crate::event::Severity;
use crate::health::Weight;
use crate::id::{ClusterId, Epoch, NodeId};
use crate::node::Node;
use crate::node::output::Flight;
use crate::node::workload::shared::word::Given;
use crate::observe::ServiceId;
use crate::stack::{StackReport, StackResult, StackSpec, StackStep, StepId, StepState, Survey};
use crate::time::{Span, Time};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Between two looks at everything while nothing is done.
const LOOK_EVERY: Span = Span::millis(5_000);
/// After a look that showed nothing.
pub(in crate::node) const LOOK_AGAIN: Span = Span::millis(500);
/// After a step that could not be taken down, and at most: doubled each time.
const DOWN_PAUSE: Span = Span::millis(1_000);
const DOWN_PAUSE_MOST: Span = Span::millis(30_000);
/// After a step that is not vital and failed, and at most: doubled each time.
const SKIPPED_PAUSE: Span = Span::millis(30_000);
const SKIPPED_PAUSE_MOST: Span = Span::millis(600_000);
/// A peer that greets by another register is there until it has not greeted for this long.
const GREETED_STAYS: Span = Span::millis(10_000);
/// A run that has not read its register for so long has none that it could read.
const GREETED_NEWBORN: Span = Span::millis(3_000);
/// How often the end of a use is written on shared data that do not take it.
const UNCLAIM_TRIES: u32 = 2;

/// What is known of the local stack.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::node) struct Stack {
    pub survey: Option<Survey>,
    pub surveyed: Option<Time>,
    /// When the last whole look began that came to its end.
    pub looked: Option<Time>,
    /// The shared directory is lost for this host.
    pub lost: Option<crate::node::workload::shared::lost::Lost>,
    pub busy: Option<(StackStep, Time)>,
    /// This run has seen everything down and the permit taken away (section 6: an own use that was found after a
    /// restart is first ended fully).
    pub cleaned: bool,
    /// The epoch in which a swap of this run was won that shows the data as in use by this node.
    pub licence: Option<Epoch>,
    pub claimed: Option<Epoch>,
    /// By hand: this node is the one to be active.
    pub wanted: bool,
    /// Every vital step has been up in this epoch.
    pub complete: Option<Epoch>,
    /// The epoch in which every vital step was up here at least once.
    pub served: Option<Epoch>,
    /// Since when whoever gave the stack is waited for to take it back.
    pub giving_back: Option<Time>,
    /// Why the activation failed; it is undone.
    pub failure: Option<String>,
    /// The same, kept for whoever looks or waits for this node after everything is undone: until an activation here is
    /// asked for or succeeds, or a deactivation is asked for. It may have to take over.
    pub last_failure: Option<String>,
    /// Steps that are not vital and failed.
    pub skipped: BTreeMap<StepId, Skipped>,
    /// The step that does not go down.
    pub stuck: Option<Stuck>,
    pub unclaimed: u32,
    unclaimed_at: Option<Time>,
    /// The watchdog that is armed here and has no way out: named in `InUse`.
    pub watchdog: Option<Span>,
    /// Another cluster, or a newer grant, claims the data.
    pub foreign: Option<String>,
    /// This run has looked once for what a passive host should not have.
    pub tidied: bool,
    /// The drift that was told last.
    drifted: Vec<String>,
    /// When a change of the register was last proposed for it.
    pub wished: Option<Time>,
    /// When this node ruled last.
    pub ruled: Option<Time>,
    /// Asked down by an operator although the register cannot be told.
    pub local_stop: bool,
    /// The operator's word on another node that was believed.
    pub word: Option<Given>,
    /// When a peer last greeted by a register that this one did not replace.
    pub other_register: Option<Time>,
    /// A fence of this epoch confirmed that this node is off.
    pub fenced: Option<(NodeId, Epoch)>,
    /// When the cluster was seen to be started again.
    pub started: Option<Time>,
    /// Activations in a row that failed here by themselves.
    pub attempts: crate::node::workload::tries::Tries,
}

/// A step that is not vital, and is not up. It is tried again and again, as seldom as that costs nobody anything: what
/// it lacked may be there one day, as consoles for a console server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::node) struct Skipped {
    pub why: String,
    times: u32,
    at: Time,
    /// Its unit runs all the same: what failed is a command that belongs to it, or a port that nobody opened.
    half: bool,
}

impl Skipped {
    fn is_due(&self, now: Time) -> bool {
        let pause = crate::node::workload::tries::pause_after(
            self.times,
            SKIPPED_PAUSE,
            SKIPPED_PAUSE_MOST,
        );
        now.elapsed_most(self.at) >= pause
    }
}

/// A step that does not go down: nothing below it is touched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::node) struct Stuck {
    pub step: StepId,
    pub why: String,
    at: Time,
    times: u32,
}

impl Stuck {
    fn waits(&self, now: Time) -> bool {
        let pause = DOWN_PAUSE.0 << self.times.min(8);
        now.elapsed_most(self.at) < Span(pause.min(DOWN_PAUSE_MOST.0))
    }
}

impl Node {
    /// The stack, in the shared-data topology.
    pub(in crate::node) fn stack_spec(&self) -> Option<&StackSpec> {
        self.spec.stack.as_ref()
    }

    /// May the watchdog be fed? While a right runs, or while nothing of the stack runs here and nothing may start it.
    pub fn may_feed(&self, now: Time) -> bool {
        #[cfg(feature = "planted")]
        if self.planted(crate::planted::Planted::FedWithoutRight) {
            return true;
        }
        self.stack_spec().is_none() || self.rules(now) || self.is_clear()
    }

    /// Everything is down here, the units have no permit, nothing is on its way up, and nothing that this host wrote
    /// can still be on its way to the shared data.
    pub(in crate::node) fn is_clear(&self) -> bool {
        let rising = self.stack.busy.as_ref().is_some_and(|(step, _)| {
            matches!(step, StackStep::Claim { .. } | StackStep::Up { .. } | StackStep::Repair)
        });
        let down = self.stack.survey.as_ref().is_some_and(|survey| {
            !self.is_permit_owed(survey)
                && survey.steps.iter().all(|state| *state == StepState::Down)
                && self.stack_spec().is_some_and(|spec| spec.steps.len() == survey.steps.len())
        });
        down && !rising && !self.may_write_late()
    }

    /// The units still have a permit that is to be taken away.
    fn is_permit_owed(&self, survey: &Survey) -> bool {
        #[cfg(feature = "planted")]
        if self.planted(crate::planted::Planted::PermitKept) {
            return false;
        }
        survey.permit
    }

    /// Every vital step is up, under this node's own grant.
    pub(in crate::node) fn is_stack_up(&self) -> bool {
        let epoch = self.epoch();
        self.stack.complete == Some(epoch) && self.stack.licence == Some(epoch)
    }

    /// The grant whose end is still to be written on the data; data that do not take it are left, unless they hung.
    fn owed_unclaim(&self) -> Option<Epoch> {
        let claim = self.stack.survey.as_ref()?.claim.filter(|claim| {
            claim.node == self.me() && claim.cluster == self.identity.cluster && !claim.clear
        });
        if self.may_write_late() {
            return Some(claim.map_or(self.epoch(), |claim| claim.epoch));
        }
        claim.map(|claim| claim.epoch).filter(|_| self.stack.unclaimed < UNCLAIM_TRIES)
    }

    /// One that failed is tried again with growing pauses, and not while nothing answers.
    fn may_unclaim(&self, now: Time) -> bool {
        let pause = DOWN_PAUSE.0 << self.stack.unclaimed.saturating_sub(1).min(5);
        let pause = Span(pause.min(DOWN_PAUSE_MOST.0));
        let rested = self.stack.unclaimed == 0
            || self.stack.unclaimed_at.is_none_or(|at| now.elapsed_most(at) >= pause);
        rested && !self.data_hangs()
    }

    /// Everything is down here and the data say so, as far as they can be told.
    pub(in crate::node) fn is_put_down(&self) -> bool {
        self.is_clear() && self.owed_unclaim().is_none()
    }

    /// What peers and operators are told of it.
    pub(in crate::node) fn stack_report(&self) -> Option<StackReport> {
        self.stack_spec()?;
        let survey = self.stack.survey.clone().unwrap_or_default();
        let doing = self.stack.busy.as_ref().and_then(|(step, _)| match step {
            StackStep::Up { step } => Some((*step, true)),
            StackStep::Down { step } => Some((*step, false)),
            StackStep::Survey
            | StackStep::Claim { .. }
            | StackStep::Revoke
            | StackStep::Unclaim { .. }
            | StackStep::Repair => None,
        });
        let stuck =
            self.stack.stuck.as_ref().map(|stuck| {
                format!("{} does not go down: {}", self.step_name(stuck.step), stuck.why)
            });
        Some(StackReport {
            steps: survey.steps,
            problems: self.stack_problems(),
            drift: survey.drift,
            doing,
            clear: self.is_clear(),
            stuck: stuck.is_some(),
            lost: self.stack.lost.as_ref().map(|lost| lost.why.clone()),
            hangs: self.cannot_settle(),
            failure: match (self.stack.failure.clone(), stuck) {
                (Some(why), Some(stuck)) => Some(format!("{why}; and {stuck}")),
                (why, stuck) => why
                    .or(stuck)
                    .or_else(|| self.stack.foreign.clone())
                    .or_else(|| self.stack.last_failure.clone().filter(|_| self.is_clear())),
            },
        })
    }

    pub(in crate::node) fn step_name(&self, step: StepId) -> String {
        let spec = self.stack_spec().and_then(|spec| spec.steps.get(usize::from(step.0)));
        spec.map_or_else(|| format!("step {}", step.0), |spec| spec.name.clone())
    }

    fn step_weight(&self, step: StepId) -> Weight {
        let spec = self.stack_spec().and_then(|spec| spec.steps.get(usize::from(step.0)));
        spec.map_or(Weight::Vital, |spec| spec.weight)
    }

    /// Asks for one step, if none is under way.
    pub(in crate::node) fn ask_stack(&mut self, step: StackStep, now: Time) {
        if self.stack.busy.is_none() {
            self.stack.busy = Some((step, now));
            self.ask(Action::Stack(step), Some(Flight::Stack(step)));
        }
    }

    /// One step towards everything up or down; a look at everything now and then.
    pub(in crate::node) fn drive_stack(&mut self, up: bool, now: Time) {
        if self.stack.busy.is_some() {
            return;
        }
        if self.stack.survey.is_none() {
            // Nothing could be seen: look again, and not at once.
            let early = self.stack.surveyed.is_some_and(|at| now.elapsed_most(at) < LOOK_AGAIN);
            if !early {
                self.ask_stack(StackStep::Survey, now);
            }
            return;
        }
        let asked = if up { self.raise(now) } else { self.lower(now) };
        if !asked {
            self.look(now);
        }
    }

    /// Looks at everything when the last look is old.
    pub(in crate::node) fn look(&mut self, now: Time) {
        if self.stack.surveyed.is_none_or(|at| now.elapsed_most(at) >= LOOK_EVERY) {
            self.ask_stack(StackStep::Survey, now);
        }
    }

    /// Started only by: ruling, right started, occupy known won (section 6); first the claim, then step by step.
    fn raise(&mut self, now: Time) -> bool {
        let epoch = self.epoch();
        if !self.may_start(now) || self.waits_for_data() {
            return false;
        }
        let Some(survey) = &self.stack.survey else { return false };
        if self.stack.claimed != Some(epoch) || !survey.permit {
            let over = self.view.as_ref().and_then(|view| view.state.replaces);
            self.ask_stack(StackStep::Claim { epoch, over }, now);
            return true;
        }
        if self.stack.complete == Some(epoch) {
            // What drifts now is shown, services are restored as services, and no step is done unasked but one that
            // was left out.
            return self.raise_skipped(now);
        }
        let due = survey.steps.iter().enumerate().find_map(|(at, state)| {
            let step = StepId(at as u16);
            let open = *state != StepState::Up && !self.stack.skipped.contains_key(&step);
            open.then_some(step)
        });
        let Some(step) = due else {
            self.stack.complete = Some(epoch);
            self.stack.served = Some(epoch);
            // What did not go down, or did not come up, before is of no account where everything is up.
            self.stack.stuck = None;
            self.stack.last_failure = None;
            self.stack.attempts = crate::node::workload::tries::Tries::default();
            let degraded = self.stack.skipped.keys().map(|step| self.step_name(*step));
            let degraded: Vec<String> = degraded.collect();
            let (severity, text) = if degraded.is_empty() {
                (Severity::Info, "every step of the stack is up".to_string())
            } else {
                let names = degraded.join(", ");
                (Severity::Warning, format!("the stack is up, degraded: {names} failed"))
            };
            self.reporting.hasten();
            self.tell("stack.up", severity, text);
            return true;
        };
        self.tell_step(step, "brought up");
        self.ask_stack(StackStep::Up { step }, now);
        true
    }

    /// The permit first, so that nobody starts a unit again; then the last step first, and never past one that stays.
    fn lower(&mut self, now: Time) -> bool {
        self.stack.complete = None;
        let Some(survey) = &self.stack.survey else { return false };
        if self.is_permit_owed(survey) {
            self.ask_stack(StackStep::Revoke, now);
            return true;
        }
        let due = survey.steps.iter().rposition(|state| *state != StepState::Down);
        if let Some(at) = due {
            let step = StepId(at as u16);
            if self.stack.stuck.as_ref().is_some_and(|stuck| stuck.waits(now)) {
                return false;
            }
            self.tell_step(step, "taken down");
            self.ask_stack(StackStep::Down { step }, now);
            return true;
        }
        self.stack.stuck = None;
        self.stack.skipped.clear();
        if let Some(epoch) = self.owed_unclaim() {
            if !self.may_unclaim(now) {
                return false;
            }
            self.ask_stack(StackStep::Unclaim { epoch }, now);
            return true;
        }
        self.stack.claimed = None;
        false
    }

    /// Tries one of those that are not vital and failed once more, when its pause is over.
    fn raise_skipped(&mut self, now: Time) -> bool {
        if self.leaves_alone(now) {
            return false;
        }
        let mut skipped = self.stack.skipped.iter();
        let due = skipped.find(|(_, skipped)| skipped.is_due(now));
        let Some((step, tries)) = due.map(|(step, skipped)| (*step, skipped.times)) else {
            return false;
        };
        let text = format!("{} is tried again, try {}", self.step_name(step), tries + 1);
        self.tell("stack.again", Severity::Info, text);
        self.ask_stack(StackStep::Up { step }, now);
        true
    }

    fn tell_step(&mut self, step: StepId, how: &str) {
        let count = self.stack_spec().map_or(0, |spec| spec.steps.len());
        let text = format!("{}/{count} {} is {how}", step.0 + 1, self.step_name(step));
        self.tell("stack.step", Severity::Info, text);
        self.reporting.hasten();
    }

    /// An answer of the stack's hands.
    pub(in crate::node) fn take_stack(&mut self, step: StackStep, outcome: Outcome, now: Time) {
        let since = self.stack.busy.take().map_or(now, |(_, since)| since);
        let (result, survey) = match outcome {
            Outcome::Stack { result, survey } => (result, survey),
            Outcome::Failed(why) => (StackResult::Failed(why), None),
            Outcome::Done
            | Outcome::Clock(_)
            | Outcome::Swap(_)
            | Outcome::Database { .. }
            | Outcome::Fence(_)
            | Outcome::Peer { .. } => return,
        };
        if step == StackStep::Survey && survey.is_some() {
            self.stack.looked = Some(since);
        }
        self.stack.surveyed = Some(now);
        self.stack.survey = survey;
        self.stack.cleaned |= self.is_clear();
        self.reporting.hasten();
        if step == StackStep::Survey {
            // Somebody else may have brought it up: a command of the product.
            self.count_in(|_, _, skipped| !skipped.half);
            self.notice_drift();
            self.forget_foreign(now);
        }
        let ms = now.elapsed_most(since).as_millis();
        match result {
            StackResult::Done => self.step_done(step, ms),
            StackResult::Foreign(what) => self.take_foreign_claim(what),
            StackResult::Failed(why) => self.step_failed(step, why, now),
        }
    }

    /// Tells what drifted, once, while nothing is on its way up or down.
    fn notice_drift(&mut self) {
        let rests = self.is_clear() || self.is_stack_up();
        let Some(survey) = self.stack.survey.as_ref().filter(|_| rests) else { return };
        if survey.drift == self.stack.drifted {
            return;
        }
        let drift = survey.drift.clone();
        if !drift.is_empty() {
            let text = format!("{} [regent stack repair]", drift.join("; "));
            self.tell("stack.drift", Severity::Warning, text);
        }
        self.stack.drifted = drift;
    }

    fn step_done(&mut self, step: StackStep, ms: u64) {
        match step {
            StackStep::Claim { epoch, .. } => {
                self.stack.claimed = Some(epoch);
                self.stack.unclaimed = 0;
            }
            StackStep::Up { step } => {
                let text = format!("{} is up after {ms} ms", self.step_name(step));
                self.tell("stack.step-up", Severity::Info, text);
                self.count_in(|it, _, _| it == step);
            }
            StackStep::Down { step } => {
                self.stack.stuck = None;
                let text = format!("{} is down after {ms} ms", self.step_name(step));
                self.tell("stack.step-down", Severity::Info, text);
            }
            StackStep::Unclaim { .. } => (self.stack.claimed, self.stack.unclaimed) = (None, 0),
            StackStep::Repair => {
                self.count_in(|_, _, _| true);
                self.repaired(Ok(()));
            }
            StackStep::Survey | StackStep::Revoke => {}
        }
    }

    fn is_step_up(&self, step: StepId) -> bool {
        let survey = self.stack.survey.as_ref();
        survey.is_some_and(|survey| survey.steps.get(usize::from(step.0)) == Some(&StepState::Up))
    }

    /// Steps that an activation left out are up now, if this says of one that it counts.
    fn count_in(&mut self, counts: impl Fn(StepId, &str, &Skipped) -> bool) {
        if !self.is_stack_up() {
            return;
        }
        let named =
            self.stack.skipped.iter().map(|(step, one)| (*step, self.step_name(*step), one));
        let whole =
            named.filter(|(step, name, one)| self.is_step_up(*step) && counts(*step, name, one));
        let (whole, names): (Vec<StepId>, Vec<String>) =
            whole.map(|(step, name, _)| (step, name)).unzip();
        if whole.is_empty() {
            return;
        }
        self.stack.skipped.retain(|step, _| !whole.contains(step));
        let left = match self.stack.skipped.is_empty() {
            true => "every step of the stack is up",
            false => "the stack is still degraded",
        };
        let text = format!("{} came up after all: {left}", names.join(", "));
        self.tell("stack.whole", Severity::Info, text);
        self.reporting.hasten();
    }

    fn step_failed(&mut self, step: StackStep, why: String, now: Time) {
        match step {
            StackStep::Claim { .. } => self.fail_activation(format!("the claim failed: {why}")),
            StackStep::Up { step } => {
                let name = self.step_name(step);
                match self.step_weight(step) {
                    Weight::Vital => self.fail_activation(format!("{name} failed: {why}")),
                    Weight::Degraded => {
                        let text = format!("{name} failed, going on without it: {why}");
                        self.tell("stack.degraded", Severity::Warning, text);
                        let times = self.stack.skipped.get(&step).map_or(0, |old| old.times) + 1;
                        let half = self.is_step_up(step);
                        self.stack.skipped.insert(step, Skipped { why, times, at: now, half });
                    }
                }
            }
            StackStep::Down { step } => {
                let name = self.step_name(step);
                let times = self.stack.stuck.as_ref().map_or(0, |stuck| stuck.times + 1);
                let text = format!("{name} does not go down, nothing below it is touched: {why}");
                self.tell("stack.stuck", Severity::Alarm, text);
                self.stack.stuck = Some(Stuck { step, why, at: now, times });
            }
            StackStep::Unclaim { .. } => {
                self.stack.unclaimed += 1;
                self.stack.unclaimed_at = Some(now);
                let text = format!("the end of the use is not written on the data: {why}");
                self.tell("stack.claim", Severity::Warning, text);
            }
            StackStep::Repair => {
                self.count_in(|_, name, _| !why.contains(&format!("{name}: ")));
                self.repaired(Err(why));
            }
            StackStep::Survey | StackStep::Revoke => {
                self.tell("stack.survey", Severity::Warning, format!("failed to look: {why}"));
            }
        }
    }

    fn fail_activation(&mut self, why: String) {
        let text = format!("the activation is undone: {why}");
        self.tell("stack.failed", Severity::Alarm, text);
        self.stack.last_failure = Some(why.clone());
        self.stack.failure = Some(why);
        self.stack.complete = None;
    }

    /// Somebody else claims the data: stop at once (section 6).
    pub(in crate::node) fn take_foreign_claim(&mut self, what: String) {
        if self.stack_spec().is_none() || self.stack.foreign.is_some() {
            return;
        }
        let text = format!("the shared data are claimed by another: {what}; everything stops here");
        self.tell("stack.foreign", Severity::Alarm, text);
        self.stack.foreign = Some(what);
        self.stack.complete = None;
        self.reporting.hasten();
    }

    /// A member greeted by another register: it may have been told that this node is off, and whoever votes there uses
    /// the same data (section 6). The register that this one replaced is no other one.
    pub(in crate::node) fn take_foreign_register(
        &mut self,
        node: NodeId,
        cluster: ClusterId,
        now: Time,
    ) {
        let uses_data = self.spec.nodes.iter().any(|(known, _)| *known == node);
        let own = cluster == self.identity.cluster;
        let known = match &self.view {
            Some(view) => view.state.replaces == Some(cluster),
            // What this register replaced is not known yet; it greets again.
            None => now.elapsed_most(self.born) < GREETED_NEWBORN,
        };
        if self.stack_spec().is_none() || !uses_data || own || known {
            return;
        }
        self.stack.other_register = Some(now);
        let what = format!("{} greets by another register, {cluster}", self.name(node));
        self.take_foreign_claim(what);
    }

    /// It greets many times in that long.
    fn is_other_register_near(&self, now: Time) -> bool {
        self.stack.other_register.is_some_and(|at| now.elapsed_most(at) < GREETED_STAYS)
    }

    /// The foreign claim is gone, or ended: with everything down here there is nothing to stop for any more.
    fn forget_foreign(&mut self, now: Time) {
        let Some(survey) = &self.stack.survey else { return };
        let (epoch, cluster) = (self.epoch(), self.identity.cluster);
        let harmless = survey
            .claim
            .is_none_or(|claim| claim.clear || (claim.cluster == cluster && claim.epoch <= epoch));
        let readable = survey.problems.is_empty();
        let greeted = self.is_other_register_near(now);
        if self.stack.foreign.is_some() && harmless && readable && !greeted && self.is_clear() {
            self.stack.foreign = None;
            // By hand nothing begins again unasked.
            self.stack.wanted = false;
            let text = "nobody else claims the shared data any more".to_string();
            self.tell("stack.foreign-gone", Severity::Info, text);
        }
    }

    /// The services of a stack are expected to run only where it is up.
    pub(in crate::node) fn expects_services(&self) -> bool {
        self.stack_spec().is_none() || self.is_stack_up()
    }

    /// A step of the stack has this service's unit, and it was left out as not vital.
    pub(in crate::node) fn is_skipped(&self, service: ServiceId) -> bool {
        self.stack.skipped.keys().any(|step| {
            let spec = self.stack_spec().and_then(|spec| spec.steps.get(usize::from(step.0)));
            spec.is_some_and(|spec| spec.service == Some(service))
        })
    }
}
