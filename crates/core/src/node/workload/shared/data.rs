//! Who may use the shared data (protocol section 6): occupy, vacate, clear, and what follows for a holder, a standby
//! and a stopped node.
//!
//! ```text
//!            occupy (guard Clear)                vacate (guard: all down here)
//!   Clear ───────────────────────► InUse { me } ─────────────────────────────► Clear
//!     ▲                                                                          │
//!     └── clear (guard: I hold, and one proof) ◄── InUse { another } ◄───────────┘
//! ```
//!
//! A release carries its own vacate. The record bars everybody else whatever becomes of the right, so an agent may
//! end and begin again beside a running stack; time is no proof but with a watchdog.

use crate::event::Severity;
use crate::id::{Epoch, NodeId};
use crate::node::Node;
use crate::node::engine::failing::Local;
use crate::node::engine::moves::Stage;
use crate::node::engine::propose::Kind;
use crate::node::output::Flight;
use crate::node::workload::services::Failure;
use crate::reason::{Blocked, ClearBy, MoveReason, RoleReason, Standing};
use crate::role::Role;
use crate::stack::{Failover, StackStep};
use crate::state::{Data, Phase, State};
use crate::time::{Span, Time};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// A superseded user that is heard has this long to vacate by itself before it is fenced.
const VACATE_MAX: Span = Span::millis(20_000);
/// How long whoever gave the stack is waited for to take it back.
const GIVE_BACK_MAX: Span = Span::millis(20_000);
/// Between two tries to fence the user.
const FENCE_PAUSE: Span = Span::millis(10_000);
/// A service that fails is restored in place so often before the stack moves.
const RESTORES: u32 = 2;

impl Node {
    // ---- what is known ----

    /// The user of the shared data, as the newest view has it.
    pub(in crate::node) fn data(&self) -> Data {
        self.view.as_ref().map_or(Data::Clear, |view| view.state.data)
    }

    /// The data are recorded as used by this node.
    pub(in crate::node) fn is_user(&self) -> bool {
        matches!(self.data(), Data::InUse { node, .. } if node == self.me())
    }

    /// A swap of this run was won that shows the data as in use by this node, in the present epoch, and no swap of
    /// its own that says otherwise may still win (R4: a read permits nothing).
    fn is_licensed_user(&self) -> bool {
        self.stack.licence == Some(self.epoch()) && self.is_user() && !self.is_vacate_unanswered()
    }

    /// Started only by: ruling, right started, occupy known won; and after a restart only once everything was seen
    /// down, unless the record was inherited as it stood (C6).
    pub(in crate::node) fn may_start(&self, now: Time) -> bool {
        #[cfg(feature = "planted")]
        if self.planted(crate::planted::Planted::StartBeforeOccupied) {
            return self.rules(now) && (self.stack.cleaned || self.holding.is_inherited());
        }
        #[cfg(feature = "planted")]
        if self.planted(crate::planted::Planted::StartBeforeRuling) {
            return self.is_licensed_user() && (self.stack.cleaned || self.holding.is_inherited());
        }
        let ruling = self.view.as_ref().is_some_and(|view| view.state.lease.phase == Phase::Ruling);
        ruling
            && self.rules(now)
            && self.is_licensed_user()
            && (self.stack.cleaned || self.holding.is_inherited())
    }

    /// Nobody's right but this node's may run: a use is recorded only from then on, in a Ruling record.
    fn is_heirs_wait_over(&self, now: Time) -> bool {
        #[cfg(feature = "planted")]
        if self.planted(crate::planted::Planted::StartBeforeRuling) {
            return true;
        }
        self.holding.wait_is_over(now)
    }

    /// The nodes decide, and not operators only, that another one takes over.
    pub(in crate::node) fn is_automatic(&self) -> bool {
        self.stack_spec().is_some_and(|spec| spec.failover == Failover::Automatic)
    }

    /// Is this node the one to be active, as far as operators and the mode go?
    fn is_wanted(&self) -> bool {
        self.is_automatic() || self.stack.wanted
    }

    /// A move to another node was asked for in this epoch.
    fn is_leaving(&self) -> bool {
        let planned = self.view.as_ref().and_then(|view| {
            let epoch = view.state.lease.epoch;
            view.state.intent.switchover.filter(|s| s.epoch == epoch)
        });
        self.moving.is_some() || planned.is_some_and(|planned| planned.to != self.me())
    }

    /// Should the stack be up here, or come up?
    fn wants_stack(&self, now: Time) -> bool {
        self.holds()
            && self.mute.is_none()
            && !self.is_stopped()
            && !self.stack.local_stop
            && self.is_wanted()
            && self.stack.failure.is_none()
            && self.stack.foreign.is_none()
            && !self.is_isolated(now)
    }

    /// No right has run for so long that the stack is taken down: somebody may have to use the data elsewhere.
    fn is_isolated(&self, now: Time) -> bool {
        let Some(spec) = self.stack_spec() else { return false };
        let since = [self.stack.ruled, self.holding.since(), Some(self.born)];
        since.into_iter().flatten().all(|at| now.elapsed_most(at) >= spec.isolation)
    }

    /// Would an activation here be refused before its first change?
    pub(in crate::node) fn stack_problem(&self) -> Option<String> {
        let problems = self.stack_problems();
        (!problems.is_empty()).then(|| problems.join("; "))
    }

    /// The same, one by one: what the last look found, or the loss of the directory since then.
    pub(in crate::node) fn stack_problems(&self) -> Vec<String> {
        let found = self.stack.survey.as_ref().map(|survey| survey.problems.clone());
        let found = found.filter(|found| !found.is_empty());
        let lost = self.stack.lost.iter().map(|lost| lost.why.clone());
        found.unwrap_or_else(|| lost.collect())
    }

    // ---- the holder ----

    pub(in crate::node) fn hold_shared(&mut self, now: Time) {
        self.succession = None;
        if self.rules(now) {
            self.stack.ruled = Some(now);
        }
        if self.is_release_unanswered() {
            self.close();
        }
        self.leave_lost_data(now);
        self.consider_shared_moves(now);
        self.advance_move(now);
        self.fence_user(now);
        self.keep_address(now);
        let up = self.wants_stack(now) && !self.is_leaving();
        let used = !matches!(self.data(), Data::Clear) || !self.is_put_down();
        // An own use that was found after a restart is first ended fully, but where it was inherited as it stood.
        let begun = self.stack.cleaned || self.holding.is_inherited();
        let user = self.is_user();
        #[cfg(feature = "planted")]
        let user = user || self.planted(crate::planted::Planted::StartBeforeOccupied);
        if up && user && begun {
            self.drive_stack(true, now);
        } else if used || self.stack.survey.is_none() {
            self.drive_stack(false, now);
        } else {
            self.look(now);
        }
        self.end_failed_activation(now);
        self.end_service();
        self.propose_next(now);
        self.open(now);
    }

    /// What a holder of shared data proposes before a plain renewal.
    pub(in crate::node) fn wanted_use(&self, now: Time) -> Option<Kind> {
        if self.moving.is_some() {
            return None;
        }
        match self.data() {
            Data::Clear => {
                let ready = self.stack.survey.is_some() && self.stack_problem().is_none();
                let ready = ready && self.is_heirs_wait_over(now);
                let may = self.wants_stack(now) && !self.is_leaving() && self.is_clear() && ready;
                may.then_some(Kind::Occupy)
            }
            Data::InUse { node, .. } if node == self.me() => None,
            Data::InUse { .. } => self.proof(now).map(|how| Kind::Clear { how }),
        }
    }

    /// Vacate: this node is the recorded user, everything is down here, and it does not want it.
    pub(in crate::node) fn wants_vacate(&self, now: Time) -> bool {
        let up = self.wants_stack(now) && !self.is_leaving();
        #[cfg(feature = "planted")]
        if self.planted(crate::planted::Planted::VacateBeforeStopped) {
            return self.is_user() && !up && self.moving.is_none();
        }
        // A move carries its vacate in the release.
        self.is_user() && !up && self.moving.is_none() && self.is_put_down()
    }

    /// The holder uses the address from the first step on: what is not up yet refuses by itself.
    pub(in crate::node) fn may_answer(&self, now: Time) -> bool {
        self.rules(now)
            && self.is_licensed_user()
            && (self.stack.cleaned || self.holding.is_inherited())
            && (self.wants_stack(now) || !self.is_clear())
    }

    /// Nothing runs here any more and nothing shall: sockets, gate, address.
    fn end_service(&mut self) {
        let idle = self.is_clear() && self.moving.is_none() && !self.wants_address();
        if !idle {
            return;
        }
        if !self.vip.close_with_resets(&mut self.out) {
            self.vip.remove(&self.out);
        }
    }

    /// Begins a move of the stack if something asks for one.
    fn consider_shared_moves(&mut self, now: Time) {
        if self.moving.is_some() || self.is_release_unanswered() || !self.rules(now) {
            return;
        }
        let Some(view) = &self.view else { return };
        let planned = view.state.intent.switchover.filter(|s| s.epoch == view.state.lease.epoch);
        // What was undone is asked for again only by a person.
        let planned =
            planned.filter(|planned| planned.to != self.me() && !self.requests.is_withdrawn());
        if let Some(planned) = planned {
            match self.can_give(planned.to, now) {
                Ok(()) => {
                    self.begin_move(planned.to, MoveReason::Asked, Stage::Stack, now);
                }
                Err(why) => self.requests.withdraw(&why, &mut self.out),
            }
            return;
        }
        if let (Some(to), Some(why)) = (self.giver(), self.stack.failure.clone()) {
            if self.is_clear() && self.can_take(to, now).is_ok() {
                self.begin_move(to, MoveReason::NotBroughtUp(why), Stage::Stack, now);
            }
            return;
        }
        if !self.is_automatic() || self.leaves_alone(now) || !self.is_user() || self.data_hangs() {
            return;
        }
        let Some(to) = self.better_node(now) else { return };
        if let Some(why) = self.stack.failure.clone() {
            // Asked for here by a person, it is undone and stays down.
            if self.is_clear() && !self.is_activation_asked() {
                self.begin_move(to, MoveReason::NotBroughtUp(why), Stage::Stack, now);
            }
            return;
        }
        if !self.is_stack_up() {
            return;
        }
        // What ails the host is not mended by starting a service again.
        if let Some(failure) = self.host_failure().or_else(|| self.unrestored_service(now)) {
            let why = MoveReason::VitalFails(failure.what, failure.cause);
            self.begin_move(to, why, Stage::Stack, now);
        }
    }

    /// May a move begin that an operator asked for: the other node can take the stack, and this one can vacate.
    fn can_give(&self, to: NodeId, now: Time) -> Result<(), String> {
        match self.stack.lost.as_ref().filter(|lost| lost.hangs) {
            Some(lost) => Err(format!("{}: nothing can be given away in order", lost.why)),
            None => self.can_take(to, now),
        }
    }

    /// By hand: who gave the stack to this node in a move that was asked for, and gets it back if it cannot be brought
    /// up here. What came back in this way is not sent on: its reason stands in the register.
    fn giver(&self) -> Option<NodeId> {
        let state = &self.view.as_ref()?.state;
        let last = state.history.last()?;
        let given = last.to == self.me() && last.epoch == state.lease.epoch;
        let asked = self.is_activation_asked() || last.why.is_by_health();
        // What it was given for has come to its end once it was up, and a later run does not know what was asked.
        let over = self.holding.is_inherited() || self.stack.served == Some(state.lease.epoch);
        let gives = given && !asked && !over && !self.is_automatic() && !self.is_stopped();
        gives.then_some(last.from)
    }

    /// A vital service that fails although it was itself restored in place as often as that is tried before the whole
    /// stack moves.
    fn unrestored_service(&self, now: Time) -> Option<Failure> {
        let mut failing = self.failing_services(now);
        failing.find(|(id, _)| self.is_tried(*id, RESTORES, now)).map(|(_, failure)| failure)
    }

    /// The other node to which the stack could go now.
    pub(in crate::node) fn shared_successor(&self, now: Time) -> Option<NodeId> {
        let others = self.spec.nodes.iter().map(|(node, _)| *node);
        others.filter(|node| *node != self.me()).find(|node| self.can_take(*node, now).is_ok())
    }

    /// May the stack go to this node: it is heard, and an activation there would not be refused.
    pub(in crate::node) fn can_take_stack(&self, node: NodeId, now: Time) -> Result<(), String> {
        let name = self.name(node);
        let report = self.candidate(node, now)?;
        if let Some(why) = &report.unable {
            return Err(format!("{name} cannot take over: {why}"));
        }
        match &report.stack {
            None => Err(format!("{name} has not looked at its stack yet")),
            Some(stack) if !stack.clear => {
                Err(format!("{name} still has a part of the stack up: regent stack show"))
            }
            Some(_) => Ok(()),
        }
    }

    /// After a failed activation everything is down again: tell whoever asked, or try elsewhere, or again later.
    fn end_failed_activation(&mut self, now: Time) {
        if self.stack.failure.is_none() || !self.is_clear() || self.moving.is_some() {
            return;
        }
        if self.is_activation_asked() {
            // Undone: the register says stopped again (`shared_wish`), and the asker is told.
            return;
        }
        if self.giver().is_some_and(|giver| self.is_heard(giver, now)) {
            // It gets the stack back as soon as it can take it, if that is soon.
            let since = *self.stack.giving_back.get_or_insert(now);
            if now.elapsed_most(since) < GIVE_BACK_MAX {
                return;
            }
        }
        self.stack.giving_back = None;
        if !self.is_automatic() {
            self.stack.wanted = false;
            self.stack.failure = None;
            return;
        }
        let policy = self.spec.policy;
        if self.better_node(now).is_some() || self.stack.attempts.waits(&policy, now) {
            return;
        }
        match self.stack.attempts.next(&policy, now) {
            Some(try_) => {
                let text = format!("the activation is tried again, try {try_}");
                self.tell("stack.again", Severity::Warning, text);
                self.stack.failure = None;
            }
            None => {
                let tries = policy.tries;
                let text = format!(
                    "the activation is given up after {tries} tries: mend it, then regent activate [L3]"
                );
                self.tell("stack.given-up", Severity::Alarm, text);
            }
        }
    }

    /// The VIP is used from the first step to the last.
    pub(in crate::node) fn uses_address(&self) -> bool {
        self.stack.licence == Some(self.epoch()) && self.is_user() && !self.is_going_down()
    }

    /// Everything is down, or nothing keeps it up any more and it was never opened.
    fn is_going_down(&self) -> bool {
        let ended = self.stack.failure.is_some() || self.stack.foreign.is_some();
        self.is_clear()
            && (ended || self.stack.local_stop || self.is_stopped() || !self.is_wanted())
    }

    /// Services are restored where the stack is up, under a right that runs.
    pub(in crate::node) fn may_restore(&self, now: Time) -> bool {
        // What waits for a directory that is lost is well again when that one is.
        let whole = self.is_stack_up() && self.stack.lost.is_none();
        !self.shares_data() || (whole && self.may_start(now))
    }

    pub(in crate::node) fn is_stack_stuck(&self) -> bool {
        self.stack.stuck.is_some()
    }

    /// Another node is named: whatever this one was to do is over.
    pub(in crate::node) fn leave_stack(&mut self) {
        self.stack.licence = None;
        self.stack.wanted = false;
        self.stack.complete = None;
    }

    /// This node is named, by its own earlier run or by a release.
    pub(in crate::node) fn enter_stack(&mut self, phase: Phase) {
        self.stack.licence = None;
        self.stack.giving_back = None;
        self.stack.wanted = match phase {
            Phase::Free => !self.is_stopped(),
            Phase::Ruling => self.holding.is_inherited() && self.is_user() && !self.is_stopped(),
            Phase::Heir => false,
        };
    }

    /// Tells when the stack begins and ends to serve.
    pub(in crate::node) fn tell_stack_serving(&mut self, serving: bool, now: Time) {
        if !self.shares_data() || !serving {
            return;
        }
        self.tell_served(now, "active: the stack is up");
    }

    // ---- the proofs ----

    /// One proof that the recorded user's use is over (section 6, clear).
    fn proof(&self, now: Time) -> Option<String> {
        let view = self.view.as_ref()?;
        let Data::InUse { node, watchdog, .. } = view.state.data else { return None };
        let (name, epoch) = (self.name(node), view.state.lease.epoch);
        let tenure = self.holding.tenure()?;
        if !self.holds() || tenure.right.is_none() {
            return None;
        }
        if self.stack.fenced == Some((node, epoch)) {
            return Some(format!("{name} was fenced, confirmed"));
        }
        if let Some(word) = self.word_of(node, now) {
            return Some(format!("an operator says that {name} {}", word.claim()));
        }
        #[cfg(feature = "planted")]
        if self.planted(crate::planted::Planted::LeaseEndAsProof) && tenure.wait_is_over(now) {
            return Some("planted: the lease is over".into());
        }
        let settle = self.stack_spec().map_or(Span::ZERO, |spec| spec.settle);
        let length = watchdog?;
        let length = view.state.timing.wait(view.state.lease.ttl + length) + settle;
        #[cfg(feature = "planted")]
        let length = if self.planted(crate::planted::Planted::WatchdogLate) {
            view.state.timing.wait(view.state.lease.ttl)
        } else {
            length
        };
        // seen(by) of the record that this node replaced; a run that did not see it counts from its own beginning.
        let seen = tenure.wait.map(|wait| wait.seen).or(self.holding.since())?;
        (now.elapsed_least(seen) >= length)
            .then(|| format!("the watchdog of {name} has reset it by now"))
    }

    /// This node answers.
    pub(in crate::node) fn is_heard(&self, node: NodeId, now: Time) -> bool {
        let peer = self.peers.get(&node);
        peer.is_some_and(|peer| peer.fresh(self.spec.pace.suspicion, now).is_some())
    }

    /// Fences whoever is recorded as user and was succeeded: at once if it is silent, and if it is heard only when
    /// it has not vacated in its time (section 6: after my succession, and only by the holder).
    fn fence_user(&mut self, now: Time) {
        let Data::InUse { node, .. } = self.data() else { return };
        let fenced = self.stack_spec().is_some_and(|spec| spec.fenced);
        let confirmed = self.holding.has_right();
        if node == self.me() || !fenced || !confirmed || self.is_paused(now) {
            return;
        }
        let patient = self.holding.since().is_some_and(|at| now.elapsed_most(at) < VACATE_MAX);
        if self.is_heard(node, now) && patient && !self.cannot_vacate(node) {
            return;
        }
        let busy = self.in_flight(|f| matches!(f, Flight::Fence { .. }));
        let done = self.stack.fenced == Some((node, self.epoch()));
        if busy || done || !self.fence_due(FENCE_PAUSE, now) {
            return;
        }
        let text = format!(
            "{} is being fenced: it is recorded as the user of the shared data and was succeeded",
            self.name(node)
        );
        self.tell("fence.begun", Severity::Warning, text);
        self.ask_fence(node);
    }

    /// A fence confirmed; it counts if this node asked for it as holder of this epoch.
    pub(in crate::node) fn note_fenced(&mut self, node: NodeId, asked: Epoch) {
        #[cfg(feature = "planted")]
        if self.planted(crate::planted::Planted::FenceBeforeSuccession) {
            self.stack.fenced = Some((node, self.epoch()));
            return;
        }
        if self.holds() && self.epoch() == asked {
            self.stack.fenced = Some((node, asked));
        }
    }

    // ---- everybody else ----

    pub(in crate::node) fn stand_shared(&mut self, now: Time) {
        self.moving = None;
        if self.vip.may_pass() {
            self.close();
        }
        self.stack.licence = None;
        if self.stack.failure.is_some() && self.is_clear() {
            self.stack.failure = None;
        }
        self.drive_stack(false, now);
        self.end_service();
        self.propose_wish(now);
        let waits = self.must_look_first(now);
        match self.reason_to_take_stack(now).filter(|_| !waits) {
            Some(why) => self.succeed_shared(why, now),
            None => self.succession = None,
        }
    }

    /// Why this node should take the record, if so. By hand only an operator's word is a reason.
    fn reason_to_take_stack(&self, now: Time) -> Option<MoveReason> {
        let spec = self.stack_spec()?;
        let view = self.view.as_ref()?;
        let lease = view.state.lease;
        if spec.pair {
            // Where the register answers, the other node's agent does: it releases. An heir would wait for ever.
            return None;
        }
        if !self.may_stand(now) || self.stack.foreign.is_some() {
            return None;
        }
        // What runs here belongs to an older grant.
        if !self.is_clear() || self.stack_problem().is_some() {
            return None;
        }
        let age = self.record_age(now);
        let wait = view.state.timing.wait(lease.ttl);
        let asked = self.is_activation_asked();
        if let Some(word) = self.word_of(lease.holder, now) {
            return Some(MoveReason::Said(word));
        }
        if asked && age >= wait && matches!(view.state.data, Data::Clear) {
            return Some(MoveReason::AskedOfIdle);
        }
        // A person may want it all the same; by itself nobody takes over who would serve nobody.
        if !self.is_automatic() || self.cut_off().is_some() {
            return None;
        }
        // A cluster that was just started is its holder's first.
        let started = self.stack.started.is_some_and(|at| now.elapsed_most(at) < wait + wait);
        self.why_holder_fails(age >= wait && !started, now)
    }

    fn succeed_shared(&mut self, why: MoveReason, now: Time) {
        self.announce_succession(&why, now);
        let may = !self.proposals.is_busy() && self.vip.may_ask(Local::Arm, now);
        if may && !self.is_succession_unanswered_long(now) {
            self.begin(Kind::Succeed { why }, now);
        }
    }

    // ---- stopped ----

    /// The cluster is stopped: everything of this node goes down in order, then the gate, the address, and the record.
    pub(in crate::node) fn stop_shared(&mut self, now: Time) {
        self.moving = None;
        self.stack.wanted = false;
        self.stack.started = None;
        if !self.is_clear() || self.stack.survey.is_none() || self.is_user() {
            self.drive_stack(false, now);
        } else {
            self.look(now);
        }
        self.tidy_once(now);
        if self.holds() && self.is_user() && !self.is_clear() {
            // The address is the last thing to go: until then whoever asks is refused by what is down, not by silence.
            if self.rules(now) {
                self.stack.ruled = Some(now);
            }
            self.keep_address(now);
            self.propose_next(now);
            self.open(now);
        }
        if self.is_clear() {
            if self.stack.failure.is_some() && !self.is_activation_asked() {
                self.stack.failure = None;
            }
            self.end_service();
        }
    }

    /// While everything is stopped a run brings its host into the passive form once: a new member's units get their
    /// guards, and no boot starts them.
    fn tidy_once(&mut self, now: Time) {
        let drift = self.stack.survey.as_ref().map(|survey| survey.drift.join("; "));
        let Some(drift) = drift.filter(|_| !self.stack.tidied && self.stack.busy.is_none()) else {
            return;
        };
        self.stack.tidied = true;
        if !drift.is_empty() && self.is_clear() {
            self.tell("stack.tidied", Severity::Info, format!("made passive: {drift}"));
            self.ask_stack(StackStep::Repair, now);
        }
    }

    /// A node that sees no register, or proposes nothing: what no right covers goes down after the same time. Where
    /// rights last until they are released nobody else can begin, and everything stays as it was found.
    pub(in crate::node) fn idle_shared(&mut self, now: Time) {
        let lasting = self.is_pair();
        let ends = self.stack.local_stop
            || self.stack.foreign.is_some()
            || self.mute.is_some()
            || (!lasting && self.is_isolated(now));
        let granted = self.stack.survey.as_ref().is_some_and(|survey| survey.permit);
        // A right ends with its boot, and so does the permit: what is left of another boot is put down.
        let left = !granted && !self.is_clear();
        if ends || left || self.stack.survey.is_none() {
            return self.drive_stack(false, now);
        }
        if lasting && granted && self.vip.is_held() {
            self.vip.refresh(now, &mut self.out);
        }
        self.look(now);
    }

    // ---- in words ----

    /// Where a holder of shared data is, in the operator's words.
    pub(in crate::node) fn shared_standing(&self, now: Time) -> Standing {
        let (role, why) = if let Some(moving) = &self.moving {
            (Role::Deactivating, RoleReason::Moving(moving.to, moving.why.clone()))
        } else if let Some(failure) = &self.stack.failure {
            let why = failure.clone();
            let reason = if self.left_lost_data() {
                RoleReason::DataLost(why)
            } else {
                RoleReason::Failed(why)
            };
            (Role::Failed, reason)
        } else if let Some(foreign) = &self.stack.foreign {
            (Role::Failed, RoleReason::Claimed(foreign.clone()))
        } else if self.vip.is_open(now) && self.is_stack_up() {
            (Role::Active, RoleReason::Serves)
        } else if self.holding.lost_right() {
            (Role::Isolated, RoleReason::RightEnded)
        } else if self.wants_stack(now) && !self.is_leaving() {
            (Role::Activating, RoleReason::ComesUp)
        } else if !self.is_clear() {
            (Role::Deactivating, RoleReason::GoesDown)
        } else {
            (Role::Standby, RoleReason::Idle)
        };
        Standing { role, why }
    }

    /// Why this node could not use the shared data now, if so.
    pub(in crate::node) fn unable_shared(&self, now: Time) -> Option<String> {
        if let Some(foreign) = &self.stack.foreign {
            return Some(format!("the data are claimed by another: {foreign}"));
        }
        if let Some(failure) = &self.stack.failure {
            let lost = self.stack.lost.as_ref().map(|lost| lost.why.clone());
            return lost.or_else(|| Some(format!("its activation failed: {failure}")));
        }
        self.serves_elsewhere(now).or_else(|| self.stack_problem())
    }

    /// The other node was activated alone while this one was away: it claims the data by a register of its own.
    pub(in crate::node) fn serves_elsewhere(&self, now: Time) -> Option<String> {
        let survey = self.stack.survey.as_ref()?;
        let claim = survey.claim.filter(|claim| !claim.clear)?;
        let replaced = self.view.as_ref().and_then(|view| view.state.replaces);
        if claim.cluster == self.identity.cluster || replaced == Some(claim.cluster) {
            return None;
        }
        let name = &survey.claimant.as_ref()?.name;
        // A peer that reports has this very register: the claim is of somebody else who has its name.
        let is_peer = |(node, n): &(NodeId, String)| {
            n == name && *node != self.me() && !self.is_heard(*node, now)
        };
        self.spec.nodes.iter().any(is_peer).then(|| {
            format!(
                "{name} uses the shared data by another register, which it was given while this node was away; on {name}: regent rejoin {}",
                self.name(self.me())
            )
        })
    }

    /// The use of the data, in a line.
    pub(in crate::node) fn explain_data(&self, state: &State) -> String {
        match state.data {
            Data::Clear => "the shared data are in nobody's use".to_string(),
            Data::InUse { node, epoch, watchdog } => {
                let dog = watchdog.map_or(String::new(), |length| {
                    format!(", under a watchdog of {} s", length.as_millis() / 1000)
                });
                format!(
                    "the shared data are in use by {} since epoch {epoch}{dog}",
                    self.name(node)
                )
            }
        }
    }

    /// Row 5: shared data not proven clear, and what would prove it.
    pub(in crate::node) fn blocked_shared(&self, now: Time) -> Option<Blocked> {
        let Data::InUse { node, watchdog, .. } = self.data() else { return None };
        let patient =
            self.holding.since().is_none_or(|at| now.elapsed_most(at) < Span::millis(3_000));
        if !self.holds() || node == self.me() || patient {
            return None;
        }
        let fenced = self.stack_spec().is_some_and(|spec| spec.fenced);
        let proof = match (fenced, watchdog.is_some()) {
            (true, _) => ClearBy::Fence,
            (false, true) => ClearBy::Watchdog,
            (false, false) => ClearBy::Nobody,
        };
        Some(Blocked::NotClear { user: node, proof })
    }

    /// The stack is down here, and at every peer that is heard.
    pub(in crate::node) fn are_stacks_down(&self, now: Time) -> bool {
        let passive = |peer: &crate::node::Peer| {
            peer.fresh(self.spec.pace.suspicion, now)
                .is_none_or(|report| report.stack.as_ref().is_none_or(|stack| stack.clear))
        };
        self.is_clear() && !self.vip.may_pass() && self.peers.values().all(passive)
    }
}
