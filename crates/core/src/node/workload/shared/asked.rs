//! What operators ask of a stack on shared data: activate, deactivate, repair. Each request is looked at again at
//! every turn, against the newest view and a survey that is younger than the request, until it has its answer.

use crate::command::{Answer, Obstacle, Word};
use crate::id::{NodeId, RequestId};
use crate::node::Node;
use crate::node::intents::Change;
use crate::node::requests::Wants;
use crate::node::workload::shared::word::{Looks, Verdict};
use crate::role::Role;
use crate::stack::StackStep;
use crate::state::{Data, Switchover};
use crate::time::{Span, Time};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// How long an activation or deactivation may take in all before the asker is told that it goes on.
const ASKED_MAX: Span = Span::millis(900_000);
/// How long a majority of voters may be silent before the asker is told.
const REGISTER_MAX: Span = Span::millis(3_000);
/// Between two proposals of what the stack asks for.
const WISH_AGAIN: Span = Span::millis(20);
/// How long a user that is not proven clear is waited for.
const PROOF_MAX: Span = Span::millis(60_000);

/// A request about the stack, until it is answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::node) struct Asked {
    what: Ask,
    /// The operator's word that came with it.
    pub word: Option<Word>,
    /// What was seen of the host that it is about.
    pub looks: Looks,
    /// Its guards have allowed it.
    admitted: bool,
    /// What it asks for stands in the register, or is this node's own matter and is under way.
    written: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ask {
    Activate,
    /// Would an activation be admitted? Changes nothing.
    MayActivate,
    /// May the word be believed? Changes nothing.
    MayBelieve,
    Deactivate,
    Repair,
}

impl Asked {
    /// Does a word on this node come with it?
    pub fn is_about(&self, node: NodeId) -> bool {
        self.word.is_some_and(|word| word.node() == node)
    }
}

/// Where a request is after a turn.
enum Turn {
    Wait,
    Admit,
    Written,
    End(Answer),
}

fn refused(obstacle: Obstacle, reason: impl Into<String>) -> Turn {
    Turn::End(Answer::Refused { reason: reason.into(), obstacle })
}

fn failed(obstacle: Obstacle, reason: impl Into<String>) -> Turn {
    Turn::End(Answer::Failed { reason: reason.into(), obstacle })
}

impl Node {
    pub(in crate::node) fn ask_activation(
        &mut self,
        request: RequestId,
        word: Option<Word>,
        now: Time,
    ) {
        if let Some(why) = self.no_stack().or_else(|| self.wrong_at_once(word, now)) {
            return self.answer(request, why);
        }
        self.stack.local_stop = false;
        self.supersede(Ask::Deactivate, "an activation was asked for meanwhile");
        self.enter(request, Ask::Activate, word, now);
    }

    pub(in crate::node) fn ask_whether(
        &mut self,
        request: RequestId,
        word: Option<Word>,
        now: Time,
    ) {
        // What the checks say comes before what others do.
        let wrong = || self.wrong_at_once(word, now).filter(|_| self.failed_check().is_none());
        match self.no_stack().or_else(wrong) {
            Some(why) => self.answer(request, why),
            None => self.enter(request, Ask::MayActivate, word, now),
        }
    }

    pub(in crate::node) fn ask_belief(&mut self, request: RequestId, word: Word, now: Time) {
        match self.no_stack().or_else(|| self.wrong_at_once(Some(word), now)) {
            Some(why) => self.answer(request, why),
            None => self.enter(request, Ask::MayBelieve, Some(word), now),
        }
    }

    /// A word that no look is needed for to see that it is wrong.
    fn wrong_at_once(&self, word: Option<Word>, now: Time) -> Option<Answer> {
        match self.judge(word?, &Looks::default(), now, now) {
            Verdict::Refused(obstacle, reason) => Some(Answer::Refused { reason, obstacle }),
            Verdict::Looking | Verdict::Believed(_) => None,
        }
    }

    pub(in crate::node) fn ask_deactivation(&mut self, request: RequestId, now: Time) {
        match self.no_stack() {
            Some(why) => self.answer(request, why),
            None => {
                // Asked again, it is tried again at once.
                self.stack.stuck = None;
                self.stack.last_failure = None;
                self.supersede(Ask::Activate, "a deactivation was asked for meanwhile");
                self.enter(request, Ask::Deactivate, None, now);
            }
        }
    }

    pub(in crate::node) fn ask_repair(&mut self, request: RequestId, now: Time) {
        match self.no_stack() {
            Some(why) => self.answer(request, why),
            None => self.enter(request, Ask::Repair, None, now),
        }
    }

    /// Of two wills the newer one counts.
    fn supersede(&mut self, what: Ask, why: &str) {
        let old = |wants: &Wants| matches!(wants, Wants::Stack(asked) if asked.what == what);
        self.requests.end(old, &Answer::failed(why), &mut self.out);
    }

    fn enter(&mut self, request: RequestId, what: Ask, word: Option<Word>, now: Time) {
        let (looks, admitted, written) = (Looks::default(), false, false);
        let asked = Asked { what, word, looks, admitted, written };
        self.requests.enter(request, Wants::Stack(asked), now);
        self.ask_stack(StackStep::Survey, now);
    }

    fn no_stack(&self) -> Option<Answer> {
        let reason = "this cluster has no stack on shared data: its nodes have a copy each; see regent switchover and regent cluster stop";
        let refusal = Answer::Refused { reason: reason.into(), obstacle: Obstacle::Other };
        self.stack_spec().is_none().then_some(refusal)
    }

    /// Somebody waits for this node to become active.
    pub(in crate::node) fn is_activation_asked(&self) -> bool {
        self.is_asked(|asked| asked.what == Ask::Activate && asked.admitted)
    }

    fn is_asked(&self, which: impl Fn(&Asked) -> bool) -> bool {
        self.requests.has(|wants| matches!(wants, Wants::Stack(asked) if which(asked)))
    }

    /// A change of the register that the stack asks for.
    pub(in crate::node) fn shared_wish(&self, now: Time) -> Option<Change> {
        self.stack_spec()?;
        let view = self.view.as_ref()?;
        if self.stack.wished.is_some_and(|at| now.elapsed_most(at) < WISH_AGAIN) {
            return None;
        }
        let stopped = view.state.intent.stopped.is_some();
        if self.wants_vacate(now) && !self.vip.may_pass() {
            return Some(Change::Vacate);
        }
        let undone = self.stack.failure.is_some() && self.is_clear() && self.is_activation_asked();
        if undone && self.holds() && !stopped {
            return Some(Change::Stopped(true));
        }
        let open = |what: Ask| self.is_asked(|a| a.what == what && a.admitted && !a.written);
        if open(Ask::Deactivate) && !stopped && (self.holds() || self.is_user()) {
            return Some(Change::Stopped(true));
        }
        if open(Ask::Activate) && self.may_be_activated() {
            let epoch = view.state.lease.epoch;
            return Some(Change::Activate(Switchover { to: self.me(), epoch }));
        }
        None
    }

    /// Nobody is active, being activated, or named to be: judged on the very version that the swap expects, so that of
    /// two that are asked at the same instant one is refused.
    fn may_be_activated(&self) -> bool {
        let Some(view) = &self.view else { return false };
        let state = &view.state;
        let named = state.intent.switchover.is_some_and(|s| s.epoch == state.lease.epoch);
        // Whoever was just named is on its way, though nothing is recorded as used yet: only a holder that says itself
        // that it is passive, in this very epoch, may be asked to give the record away.
        let epoch = state.lease.epoch;
        let report = self.peers.get(&state.lease.holder).and_then(|peer| peer.report.as_ref());
        let passive = report.is_none_or(|report| {
            let busy = matches!(report.role, Role::Activating | Role::Active | Role::Deactivating);
            report.epoch == epoch && !busy
        });
        state.intent.stopped.is_some() || (matches!(state.data, Data::Clear) && !named && passive)
    }

    /// The swap of a shared wish was won.
    pub(in crate::node) fn shared_written(&mut self, change: Change) {
        let what = match change {
            Change::Activate(_) => Ask::Activate,
            Change::Stopped(true) => Ask::Deactivate,
            Change::Vacate
            | Change::Stopped(false)
            | Change::Switchover(_)
            | Change::Maintenance(..)
            | Change::Pause(_)
            | Change::Speaks(_)
            | Change::Format(_) => return,
        };
        let stack = self.requests.stack_mut().map(|(_, asked)| asked);
        for asked in stack.filter(|a| a.what == what && a.admitted) {
            asked.written = true;
        }
        if what == Ask::Activate {
            self.stack.wanted = true;
            self.stack.last_failure = None;
        }
    }

    /// One turn of a request.
    pub(in crate::node) fn turn_stack(
        &mut self,
        asked: &mut Asked,
        since: Time,
        now: Time,
    ) -> Option<Answer> {
        if now.elapsed_most(since) >= ASKED_MAX {
            let changes = !matches!(asked.what, Ask::MayActivate | Ask::MayBelieve);
            let why = if changes { "it goes on" } else { "the stack could not be looked at" };
            return Some(Answer::failed(format!("{why}: see regent stack show")));
        }
        let turn = match asked.what {
            Ask::Activate => self.turn_activation(asked, since, now),
            Ask::MayActivate => self.turn_question(asked, since, now),
            Ask::MayBelieve => self.turn_belief(asked, since, now),
            Ask::Deactivate => self.turn_deactivation(asked, since, now),
            Ask::Repair => self.turn_repair(asked, now),
        };
        match turn {
            Turn::Wait => {}
            Turn::Admit => asked.admitted = true,
            Turn::Written => (asked.admitted, asked.written) = (true, true),
            Turn::End(answer) => return Some(answer),
        }
        None
    }

    fn has_looked(&self, since: Time) -> bool {
        self.stack.survey.is_some() && self.stack.surveyed.is_some_and(|at| at.raw > since.raw)
    }

    /// The register answered after that.
    fn has_heard(&self, since: Time) -> bool {
        self.view.as_ref().is_some_and(|view| view.heard.raw > since.raw)
    }

    pub(in crate::node) fn is_pair(&self) -> bool {
        self.stack_spec().is_some_and(|spec| spec.pair)
    }

    fn has_register(&self, now: Time) -> bool {
        self.view.as_ref().is_some_and(|view| now.elapsed_most(view.heard) < REGISTER_MAX)
    }

    fn turn_activation(&mut self, asked: &Asked, since: Time, now: Time) -> Turn {
        let age = now.elapsed_most(since);
        if !asked.admitted {
            let turn = self.admit_activation(asked, since, now);
            if matches!(turn, Turn::Written) {
                self.stack.wanted = true;
                self.stack.failure = None;
                self.stack.last_failure = None;
                self.stack.attempts = crate::node::workload::tries::Tries::default();
            }
            return turn;
        }
        if let Some(turn) = self.ended_activation(age, now) {
            return turn;
        }
        if let Some(why) = self.voided(asked) {
            return failed(Obstacle::NotProvenClear, why);
        }
        if !self.has_register(now) && !self.holds() {
            let remedy = self.remedy_of_no_majority(now);
            let why = format!("no majority of voters answers any more; {remedy}");
            return failed(Obstacle::NoQuorum, why);
        }
        if !asked.written && !self.is_activation_unanswered() && self.is_contested(now) {
            return refused(Obstacle::ActiveElsewhere, self.who_is_active());
        }
        let elsewhere = matches!(self.data(), Data::InUse { node, .. } if node != self.me()
            && self.is_heard(node, now));
        if asked.written && elsewhere && !self.holds() {
            return failed(Obstacle::ActiveElsewhere, self.who_is_active());
        }
        if let Some(blocked) = self.blocked_shared(now).filter(|_| age >= PROOF_MAX) {
            let (why, row) = (blocked.words(&|node| self.name(node)), blocked.row());
            return failed(Obstacle::NotProvenClear, format!("{why} [section 9, row {row}]"));
        }
        if asked.written && self.is_stopped() && self.stack.failure.is_none() {
            return failed(Obstacle::Other, "it was deactivated meanwhile");
        }
        Turn::Wait
    }

    fn turn_question(&mut self, asked: &Asked, since: Time, now: Time) -> Turn {
        match self.admit_activation(asked, since, now) {
            Turn::Admit | Turn::Written => {
                Turn::End(Answer::Done("every guard would let it begin".into()))
            }
            turn @ (Turn::Wait | Turn::End(_)) => turn,
        }
    }

    fn turn_belief(&mut self, asked: &Asked, since: Time, now: Time) -> Turn {
        match asked.word.map(|word| self.judge(word, &asked.looks, since, now)) {
            Some(Verdict::Looking) => Turn::Wait,
            Some(Verdict::Refused(obstacle, why)) => refused(obstacle, why),
            Some(Verdict::Believed(seen)) => Turn::End(Answer::Done(seen)),
            None => refused(Obstacle::Other, "no word was given"),
        }
    }

    /// The end of an admitted activation: up, or undone.
    fn ended_activation(&self, age: Span, now: Time) -> Option<Turn> {
        let ms = age.as_millis();
        if self.is_serving(now) {
            if self.stack.skipped.is_empty() {
                let me = self.name(self.me());
                return Some(Turn::End(Answer::Done(format!("{me} is active after {ms} ms"))));
            }
            let skipped = self.stack.skipped.iter();
            let names: Vec<String> = skipped
                .map(|(step, one)| format!("{}: {}", self.step_name(*step), one.why))
                .collect();
            let reason = format!("active after {ms} ms, degraded: {}", names.join("; "));
            return Some(failed(Obstacle::Degraded, reason));
        }
        let why = self.stack.failure.as_ref()?;
        if let Some(stuck) = &self.stack.stuck {
            let step = self.step_name(stuck.step);
            return Some(failed(
                Obstacle::NotRolledBack,
                format!("{why}; and it is not undone: {step} does not go down: {}", stuck.why),
            ));
        }
        if let Some(hangs) = self.hangs_at_the_end() {
            return Some(failed(Obstacle::NotRolledBack, format!("{why}; {hangs}")));
        }
        let undone = self.is_clear() && !self.is_user() && (self.is_stopped() || !self.holds());
        undone
            .then(|| failed(Obstacle::StepFailed, format!("{why}; everything is undone ({ms} ms)")))
    }

    /// The guards of an activation, before anything is changed.
    fn admit_activation(&mut self, asked: &Asked, since: Time, now: Time) -> Turn {
        let age = now.elapsed_most(since);
        if !self.has_looked(since) {
            if self.stack.busy.is_none() {
                self.ask_stack(StackStep::Survey, now);
            }
            return Turn::Wait;
        }
        // In the order of the manual: the checks (14), the register (12, 13, 17), the segment (11).
        if let Some(problem) = self.failed_check() {
            return refused(Obstacle::Checks, problem);
        }
        let believed = match asked.word.map(|w| (w, self.judge(w, &asked.looks, since, now))) {
            None => None,
            Some((_, Verdict::Looking)) => return Turn::Wait,
            Some((_, Verdict::Refused(obstacle, why))) => return refused(obstacle, why),
            Some((word, Verdict::Believed(seen))) => Some((word, seen)),
        };
        // Beside a word of two voters what was heard before it says nothing: the one it is about was needed for that.
        let is_old = asked.word.is_some() && self.is_pair() && !self.has_heard(since);
        if !self.has_register(now) || is_old {
            return match age >= REGISTER_MAX {
                true => self.refused_alone(asked, now),
                false => Turn::Wait,
            };
        }
        if self.is_serving(now) {
            return Turn::End(Answer::Done("this node is active already".into()));
        }
        if self.is_paused(now) || self.is_in_maintenance(self.me(), now) {
            return refused(
                Obstacle::Other,
                "a pause or the maintenance of this node bars it: regent pause off, regent maintenance off",
            );
        }
        if let Some(foreign) = &self.stack.foreign {
            return refused(Obstacle::NotProvenClear, format!("the data are claimed: {foreign}"));
        }
        if !self.is_clear() && !self.is_user() {
            return refused(
                Obstacle::Checks,
                "a part of the stack is up here and nobody's grant covers it: regent deactivate first",
            );
        }
        let by_record = self.admit_by_record(asked, now);
        if matches!(by_record, Turn::Admit | Turn::Written)
            && let Some(mac) = self.stranger(now)
        {
            let mac = crate::reason::mac_text(mac);
            return refused(
                Obstacle::AddressInUse,
                format!("{mac} answers for the VIP: remove the duplicate address"),
            );
        }
        let Some((word, seen)) = believed.filter(|_| asked.what == Ask::Activate) else {
            return by_record;
        };
        self.believe(word, &seen, since, now);
        self.admit_by_record(asked, now)
    }

    /// What this host's checks refuse an activation for; a node that uses the data goes on.
    fn failed_check(&self) -> Option<String> {
        self.stack_problem().filter(|_| !self.is_user())
    }

    /// Nothing can be written: the other node has another register by now, or nobody answers.
    fn refused_alone(&self, asked: &Asked, now: Time) -> Turn {
        match self.serves_elsewhere(now).filter(|_| asked.word.is_none()) {
            Some(why) => refused(Obstacle::ActiveElsewhere, why),
            None => refused(
                Obstacle::NoQuorum,
                format!(
                    "no majority of voters answers: nothing was changed; {}",
                    self.remedy_of_no_majority(now)
                ),
            ),
        }
    }

    pub(in crate::node) fn remedy_of_no_majority(&self, now: Time) -> String {
        let mut others = self.spec.nodes.iter().filter(|(node, _)| *node != self.me());
        match others.next().filter(|_| self.is_pair()) {
            Some((node, _)) => self.remedy_of_silence(*node, now),
            None => "start the other node's agent or the witness".to_string(),
        }
    }

    /// The guards that the register's record answers.
    fn admit_by_record(&self, asked: &Asked, now: Time) -> Turn {
        let Some(view) = &self.view else { return Turn::Wait };
        let (holder, data) = (view.state.lease.holder, view.state.data);
        let by_hand = !self.is_automatic();
        if let Data::InUse { node, .. } = data
            && node != self.me()
        {
            let name = self.name(node);
            if self.is_heard(node, now) {
                return refused(Obstacle::ActiveElsewhere, self.who_is_active());
            }
            let proof = self.word_of(node, now).is_some()
                || asked.is_about(node)
                || self.stack_spec().is_some_and(|spec| spec.fenced && !by_hand);
            if !proof {
                return refused(
                    Obstacle::NotProvenClear,
                    format!(
                        "the shared data are in use by {name}, which is silent and not proven clear: switch it off, then: regent activate --confirm-peer-is-off {name}"
                    ),
                );
            }
        }
        if self.is_own_matter(asked.word, now) {
            return Turn::Written;
        }
        if let Some(blocked) = self.blocked_shared(now).filter(|_| asked.word.is_none()) {
            // Taken over already, and the fence or the watchdog has not proven anything yet.
            let why = blocked.words(&|node| self.name(node));
            return refused(Obstacle::NotProvenClear, why);
        }
        let proving = holder == self.me() && !matches!(data, Data::Clear);
        if proving
            || self.may_be_activated()
            || (holder != self.me() && !self.is_heard(holder, now))
        {
            return Turn::Admit;
        }
        refused(Obstacle::ActiveElsewhere, self.who_is_active())
    }

    /// This node holds, nothing is stopped and nobody else is named: no swap is needed to begin. `word`: of a question,
    /// the operator's, which was not acted on.
    fn is_own_matter(&self, word: Option<Word>, now: Time) -> bool {
        let Some(view) = &self.view else { return false };
        let state = &view.state;
        let user = match state.data {
            Data::InUse { node, .. } => Some(node).filter(|node| *node != self.me()),
            Data::Clear => None,
        };
        let other = user.is_some();
        let named = state.intent.switchover;
        let named = named.is_some_and(|s| s.epoch == state.lease.epoch && s.to != self.me());
        let said = |node: NodeId| word.is_some_and(|word| word.node() == node);
        let succeeds = user.is_some_and(|node| said(node) || self.word_of(node, now).is_some());
        let mine = self.holds() || (state.lease.holder != self.me() && succeeds);
        mine && !self.is_stopped() && !named && (!other || succeeds)
    }

    /// Somebody else who lives was first: since the guards were asked, the record has become another's.
    fn is_contested(&self, now: Time) -> bool {
        let Some(view) = &self.view else { return false };
        let user = match view.state.data {
            Data::InUse { node, .. } => node,
            Data::Clear => view.state.lease.holder,
        };
        let alive = [user, view.state.lease.holder]
            .into_iter()
            .any(|node| node != self.me() && self.is_heard(node, now));
        alive && !self.may_be_activated() && !self.is_own_matter(None, now)
    }

    fn who_is_active(&self) -> String {
        let Some(view) = &self.view else { return "the register was not read yet".to_string() };
        let state = &view.state;
        let named = state.intent.switchover.filter(|s| s.epoch == state.lease.epoch);
        if let Some(named) = named.filter(|named| named.to != self.me()) {
            return format!("{} is being activated: wait for its end", self.name(named.to));
        }
        let user = match state.data {
            Data::InUse { node, .. } => node,
            Data::Clear => state.lease.holder,
        };
        let name = self.name(user);
        format!(
            "{name} is active or being activated: regent deactivate there first, or regent switchover"
        )
    }

    fn turn_deactivation(&mut self, asked: &Asked, since: Time, now: Time) -> Turn {
        let age = now.elapsed_most(since);
        let ms = age.as_millis();
        if !self.has_looked(since) && !asked.admitted {
            if self.stack.busy.is_none() {
                self.ask_stack(StackStep::Survey, now);
            }
            return Turn::Wait;
        }
        if let Some(stuck) = self.stack.stuck.as_ref().filter(|_| asked.admitted) {
            let reason = format!("{} does not go down: {}", self.step_name(stuck.step), stuck.why);
            return failed(Obstacle::StepFailed, reason);
        }
        if let Some(why) = self.hangs_at_the_end().filter(|_| asked.admitted) {
            return failed(Obstacle::StepFailed, why);
        }
        let down = self.is_clear() && self.vip.is_gone(&self.out);
        if !self.has_register(now) {
            if age < REGISTER_MAX {
                return Turn::Wait;
            }
            self.stack.local_stop = true;
            let told = "no majority of voters answers, so the register could not be told";
            return match self.is_clear() {
                true => failed(Obstacle::NoQuorum, format!("everything is down here; {told}")),
                false => Turn::Admit,
            };
        }
        let concerned = self.is_user() || (self.holds() && !self.is_stopped());
        if concerned && !self.is_stopped() {
            // By hand a holder that uses nothing is passive already.
            let passive = self.is_clear() && !self.is_user() && !self.stack.wanted;
            return if passive && down { done_nothing() } else { Turn::Admit };
        }
        if down && !self.is_user() {
            return match asked.admitted {
                true => Turn::End(Answer::Done(format!("everything is down after {ms} ms"))),
                false => done_nothing(),
            };
        }
        Turn::Admit
    }

    fn turn_repair(&mut self, asked: &Asked, now: Time) -> Turn {
        if asked.written || self.stack.busy.is_some() {
            return Turn::Wait;
        }
        self.ask_stack(StackStep::Repair, now);
        Turn::Written
    }

    /// The answer of a repair.
    pub(in crate::node) fn repaired(&mut self, result: Result<(), String>) {
        let repairs = |wants: &Wants| {
            let Wants::Stack(asked) = wants else { return false };
            asked.what == Ask::Repair && asked.written
        };
        let answer = match result {
            Ok(()) => {
                Answer::Done("what had drifted is as it should be; see regent stack show".into())
            }
            Err(reason) => Answer::Failed { reason, obstacle: Obstacle::StepFailed },
        };
        self.requests.end(repairs, &answer, &mut self.out);
    }
}

fn done_nothing() -> Turn {
    Turn::End(Answer::Done("nothing is up here; nothing was changed".into()))
}
