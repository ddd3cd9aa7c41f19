//! The local database: one step in flight, the facts read after it, and what is done when it is down or hangs.

use super::tries::{Tries, pause_after};
use super::{Flight, Node};
use crate::command::{Action, DatabaseStep, Lineage, Outcome, StepResult};
use crate::event::Severity;
use crate::health::Subject;
use crate::id::{AttemptId, CommandId, Incarnation};
use crate::observe::{DatabaseFacts, Thread, UnitState};
use crate::time::{Span, Time};
use alloc::format;
use core::mem::{Discriminant, discriminant};

/// While something waits for the next fact.
pub(super) const HURRY: Span = Span::millis(5);
/// After a step that failed, before it is asked for again; doubled each time.
const STEP_PAUSE_FIRST: Span = Span::millis(10);
const STEP_PAUSE_MOST: Span = Span::millis(1_000);
/// The pause between two looks grows with the time waited: this part of it.
const HURRY_SHARE: u64 = 50;
/// First pause between two starts that failed; doubled each time.
const RESTART_FIRST: Span = Span::millis(200);
const RESTART_MOST: Span = Span::millis(10_000);
/// How long a step may take before core gives it up even if the adapter does not (each adapter has its own
/// bound below this).
const STEP_MAX: Span = Span::millis(15_000);
/// How long control may be away before peers are told that this node cannot serve.
const CONTROL_MAX: Span = Span::millis(1_000);
/// A unit that is not known to be down, and that nobody can connect to for this long, is started.
const UNSEEN_MAX: Span = Span::millis(10_000);
const LONG_STEP_MAX: Span = Span::millis(3_600_000);

/// What this run knows of the local database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Database {
    pub unit: UnitState,
    pub facts: Option<DatabaseFacts>,
    /// This run's control connection stands (D11).
    control: bool,
    busy: Option<(CommandId, DatabaseStep, Time)>,
    /// When its facts were last read.
    pub observed: Option<Time>,
    asked_control: Option<Time>,
    urgent: Option<Time>,
    /// Since when the next facts have been wanted soon, without a break.
    hurried: Option<Time>,
    /// The token of the newest marker that is under way.
    pub marker: Option<AttemptId>,
    /// The incarnation last read; outlives the facts, because data outlive the server.
    incarnation: Option<Option<Incarnation>>,
    /// The server's start that this run found writable when it first saw it (D2).
    pub found_writable: Option<u64>,
    seen_once: bool,
    tried_start: Option<Time>,
    failures: u32,
    must_kill: bool,
    /// It was seen up, and its end was not told yet.
    was_up: bool,
    /// systemd or a pidfd told of its unit since the last start was asked for.
    heard: bool,
    /// This run ended it: then this run starts it, whatever an operator asked to be left alone.
    killed: bool,
    unconfirmed: Option<(u64, u64)>,
    /// The kind of step that failed last, and has not been done since.
    failing: Option<Failing>,
    /// A probe of it passed since its unit came up, and since when that is.
    pub passed: bool,
    pub up_since: Option<Time>,
    /// Restarts because its clients' probes failed.
    ailing: Ailing,
}

/// A step that fails: when it last did, and how often in a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Failing {
    kind: Discriminant<DatabaseStep>,
    last: Time,
    times: u32,
}

impl Failing {
    /// The same step is asked for again after this.
    fn pause(&self) -> Span {
        pause_after(self.times, STEP_PAUSE_FIRST, STEP_PAUSE_MOST)
    }
}

/// Restarting a database that runs and does not serve its clients: bounded, with back-off.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Ailing {
    tries: Tries,
    well: Option<Time>,
}

impl Database {
    pub fn new() -> Database {
        Database {
            unit: UnitState::Unknown,
            facts: None,
            control: false,
            busy: None,
            observed: None,
            asked_control: None,
            urgent: None,
            hurried: None,
            marker: None,
            incarnation: None,
            found_writable: None,
            seen_once: false,
            tried_start: None,
            failures: 0,
            must_kill: false,
            was_up: false,
            heard: false,
            killed: false,
            unconfirmed: None,
            failing: None,
            passed: false,
            up_since: None,
            ailing: Ailing::default(),
        }
    }

    /// No step is in flight, and facts can be trusted.
    pub fn is_free(&self) -> bool {
        self.busy.is_none() && self.control && !self.must_kill
    }

    /// The next facts are wanted soon.
    pub fn hurry(&mut self, now: Time) {
        self.urgent = Some(now);
        self.hurried.get_or_insert(now);
    }

    /// Between two looks while something waits for the next fact: a small part of what it has waited already, so that
    /// whoever waits for hours is not asked two hundred times a second.
    pub fn hurry_pause(&self, rest: Span, now: Time) -> Span {
        let waited = self.hurried.map_or(Span::ZERO, |since| now.elapsed_most(since));
        Span((waited.0 / HURRY_SHARE).clamp(HURRY.0, rest.0.max(HURRY.0)))
    }

    pub fn is_urgent(&self) -> bool {
        self.urgent.is_some()
    }

    /// The unit is known to be down.
    pub fn is_down(&self) -> bool {
        self.unit == UnitState::Down
    }

    /// Nothing was read of it for longer than taking control may last; a run that never read counts from its birth.
    pub fn is_unseen_since(&self, born: Time, now: Time) -> bool {
        now.elapsed_most(self.observed.unwrap_or(born)) >= CONTROL_MAX
    }

    /// It hung and is to be killed, or is being killed.
    pub fn is_being_killed(&self) -> bool {
        self.must_kill || matches!(&self.busy, Some((_, DatabaseStep::Kill, _)))
    }

    /// The incarnation, once it was read in this run.
    pub fn incarnation_known(&self) -> Option<Option<Incarnation>> {
        self.incarnation
    }

    fn forget_server(&mut self) {
        self.facts = None;
        self.control = false;
        self.marker = None;
    }
}

impl DatabaseFacts {
    /// Nothing more is received.
    pub fn receiver_is_off(&self) -> bool {
        matches!(self.receiver, Thread::Stopped | Thread::Failed(_))
    }
}

impl Node {
    /// Asks for one step; only while no other is in flight, but for a kill.
    pub(super) fn step(&mut self, step: DatabaseStep, now: Time) {
        let kill = step == DatabaseStep::Kill;
        if self.database.busy.is_some() && !kill {
            return;
        }
        let same = |f: &Failing| f.kind == discriminant(&step);
        let early = |f: Failing| now.elapsed_most(f.last) < f.pause();
        if !kill && self.database.failing.filter(same).is_some_and(early) {
            return;
        }
        if step == DatabaseStep::ReadOnly {
            self.database.found_writable = None;
        }
        let id = self.ask(Action::Database(step.clone()), Some(Flight::Database(step.clone())));
        self.database.busy = Some((id, step, now));
    }

    pub(super) fn take_database(
        &mut self,
        step: DatabaseStep,
        id: CommandId,
        outcome: Outcome,
        now: Time,
    ) {
        let current = self.database.busy.as_ref().is_some_and(|(busy, ..)| *busy == id);
        if !current {
            // Overtaken by a kill: whatever it said is about a server that is gone.
            return;
        }
        self.database.busy = None;
        let (result, facts) = match outcome {
            Outcome::Database { result, facts } => (result, facts),
            Outcome::Failed(why) => (StepResult::Failed(why), None),
            Outcome::Done => (StepResult::Done, None),
            Outcome::Clock(_)
            | Outcome::Swap(_)
            | Outcome::Fence(_)
            | Outcome::Stack { .. }
            | Outcome::Peer { .. } => {
                return;
            }
        };
        if let Some(facts) = facts {
            self.take_facts(facts, now);
        }
        match (&step, &result) {
            (DatabaseStep::Kill, StepResult::Done) => {
                self.database.must_kill = false;
                self.database.killed = true;
                self.database.was_up = false;
                self.database.forget_server();
                self.database.unit = UnitState::Down;
                self.note_move(|m| m.killed = true);
            }
            (DatabaseStep::Kill, _) => self.database.must_kill = true,
            (DatabaseStep::Stop, StepResult::Done) => {
                self.database.was_up = false;
                self.database.forget_server();
                self.database.unit = UnitState::Down;
                self.tell("database.stopped", Severity::Info, "the database is shut down".into());
            }
            (_, StepResult::Down) => self.database.forget_server(),
            // D11: only its death proves that a statement is over.
            (_, StepResult::NoAnswer) => {
                self.database.must_kill = true;
                let text =
                    format!("the database did not answer {step:?} in time: it is killed [D11]");
                self.tell("database.hung", Severity::Warning, text);
            }
            (DatabaseStep::ReadOnly, StepResult::Blocked) => self.read_only_blocked(),
            (_, StepResult::Failed(why)) => {
                let text = format!("{step:?} failed: {why}");
                let kind = discriminant(&step);
                let times = self.database.failing.filter(|f| f.kind == kind).map_or(0, |f| f.times);
                self.database.failing =
                    Some(Failing { kind, last: now, times: times.saturating_add(1) });
                self.tell_edge("database.step", Severity::Warning, text);
                self.follow_failed(&step, now);
            }
            // What was told meanwhile is newer: it died again, and what was read of it is of the dead one.
            (DatabaseStep::Start, StepResult::Done) if self.database.heard => {
                if self.database.is_down() {
                    self.database.forget_server();
                }
            }
            (DatabaseStep::Start, StepResult::Done) => self.database.unit = UnitState::Unknown,
            (_, StepResult::Done | StepResult::Blocked) => {
                if step == DatabaseStep::TakeControl {
                    self.database.failures = 0;
                }
            }
            (_, StepResult::Lineage(lineage)) => self.take_lineage(*lineage),
            (_, StepResult::Saved(saved)) => {
                let saved = saved.clone();
                self.take_saved(&saved);
            }
        }
        if result == StepResult::Done {
            if self.database.failing.is_some_and(|f| f.kind == discriminant(&step)) {
                self.database.failing = None;
                self.end_edge("database.step");
            }
            self.follow_done(&step);
        }
        if step == DatabaseStep::Start && result != StepResult::Done {
            self.database.failures = self.database.failures.saturating_add(1);
        }
    }

    fn take_facts(&mut self, facts: DatabaseFacts, now: Time) {
        self.database.control = true;
        self.database.was_up = true;
        self.database.observed = Some(now);
        self.database.urgent = None;
        self.database.incarnation = Some(facts.incarnation.filter(|_| !facts.broken));
        if !self.database.seen_once {
            self.database.seen_once = true;
            self.database.found_writable = (!facts.read_only).then_some(facts.start);
        }
        if let Some((start, count)) = self.database.unconfirmed
            && start == facts.start
            && facts.unconfirmed > count
            && self.view.as_ref().is_some_and(|view| view.state.sync.with.is_some())
            && self.holds()
        {
            let more = facts.unconfirmed - count;
            let text = format!(
                "{more} commits ended their wait without a confirmation: somebody killed a query or turned semi-sync off [D9]"
            );
            self.tell("database.unconfirmed", Severity::Alarm, text);
        }
        self.database.unconfirmed = Some((facts.start, facts.unconfirmed));
        let shape = |f: &DatabaseFacts| {
            (f.read_only, f.strict, f.shows, f.receiver.clone(), f.applied.clone(), f.incarnation)
        };
        let before = self.database.facts.as_ref().map(shape);
        if before != Some(shape(&facts)) && (before.is_none() || self.is_watched(now)) {
            self.report_now = true;
        }
        self.database.facts = Some(facts);
    }

    /// systemd or a pidfd told of the database's unit.
    pub(super) fn take_database_unit(&mut self, state: UnitState, now: Time) {
        if state == UnitState::Down && self.database.unit != UnitState::Down {
            let died = core::mem::take(&mut self.database.was_up);
            self.database.forget_server();
            if died {
                let alone = self.leaves_alone(now);
                let severity = if alone { Severity::Info } else { Severity::Alarm };
                self.tell("database.died", severity, "the database's unit is down".into());
                self.report_now = true;
            }
        }
        if let UnitState::Up { .. } = state
            && self.database.unit != state
        {
            self.database.killed = false;
            self.database.passed = false;
            self.database.up_since = Some(now);
            self.forget_probes(Subject::Database, now);
        }
        self.database.unit = state;
        self.database.heard = true;
    }

    /// Kills what hangs, starts what is down, takes control of what runs.
    pub(super) fn mend_database(&mut self, now: Time) {
        if let Some((_, step, since)) = &self.database.busy {
            let most = match step {
                DatabaseStep::Reclone { .. }
                | DatabaseStep::SaveTail { .. }
                | DatabaseStep::Rewind { .. }
                | DatabaseStep::Stop
                | DatabaseStep::Compare { .. } => LONG_STEP_MAX,
                DatabaseStep::TakeControl
                | DatabaseStep::Observe { .. }
                | DatabaseStep::Start
                | DatabaseStep::Kill
                | DatabaseStep::Keep { .. }
                | DatabaseStep::Strict
                | DatabaseStep::Loose
                | DatabaseStep::ReadOnly
                | DatabaseStep::Writable
                | DatabaseStep::Marker { .. }
                | DatabaseStep::StopReceiver
                | DatabaseStep::StartReceiver
                | DatabaseStep::EndFollowing
                | DatabaseStep::Follow { .. } => STEP_MAX,
            };
            if now.elapsed_most(*since) < most || *step == DatabaseStep::Kill {
                return;
            }
            self.database.must_kill = true;
        }
        if self.database.must_kill {
            self.database.must_kill = false;
            return self.step(DatabaseStep::Kill, now);
        }
        match self.database.unit {
            UnitState::Up { .. } | UnitState::Unknown if !self.database.control => {
                let unseen = now.elapsed_most(self.database.observed.unwrap_or(self.born));
                if unseen >= UNSEEN_MAX {
                    // A lost or late word of systemd must not leave it down: starting what runs changes nothing.
                    self.database.observed = Some(now);
                    return self.start_database(now);
                }
                let asked = self.database.asked_control;
                if asked.is_none_or(|at| now.elapsed_most(at) >= Span::millis(50)) {
                    self.database.asked_control = Some(now);
                    self.step(DatabaseStep::TakeControl, now);
                }
            }
            UnitState::Down => self.start_database(now),
            UnitState::Up { .. } | UnitState::Unknown => self.restart_ailing(now),
        }
    }

    /// It runs, and its clients' probes fail: restarted, unless a standby is about to take over from it. What its
    /// death leaves behind is found out as after any other death.
    fn restart_ailing(&mut self, now: Time) {
        let policy = self.spec.policy;
        let Some(cause) = self.database_ailment(now) else {
            let ailing = &mut self.database.ailing;
            let well = *ailing.well.get_or_insert(now);
            if self.database.passed && now.elapsed_most(well) >= policy.settled {
                self.database.ailing = Ailing { well: Some(well), ..Ailing::default() };
            }
            return;
        };
        self.database.ailing.well = None;
        if self.database.ailing.tries.waits(&policy, now)
            || self.leaves_alone(now)
            || self.moving.is_some()
            || self.better_node(now).is_some()
        {
            return;
        }
        let Some(tries) = self.database.ailing.tries.next(&policy, now) else {
            let text = format!(
                "the database is given up after {} tries ({cause}): mend it and restart it [L3]",
                policy.tries
            );
            return self.tell("database.given-up", Severity::Alarm, text);
        };
        let text = format!("the database is restarted, try {tries}: {cause}");
        self.tell("database.restoring", Severity::Warning, text);
        self.database.must_kill = true;
    }

    /// Starts it, with back-off; not while a move after its death is under way (it would serve nobody sooner).
    fn start_database(&mut self, now: Time) {
        let ours = self.database.killed && !self.is_stopped();
        if self.moving.is_some() || (self.leaves_alone(now) && !ours) {
            return;
        }
        let pause = Span((RESTART_FIRST.0 << self.database.failures.min(10)).min(RESTART_MOST.0));
        if self.database.failures > 0
            && self.database.tried_start.is_some_and(|at| now.elapsed_most(at) < pause)
        {
            return;
        }
        // D10: what a start recovers may be unconfirmed, and nobody may see it: the gate is closed before, confirmed.
        if self.gate.is_held() {
            return self.close();
        }
        self.database.tried_start = Some(now);
        self.database.heard = false;
        self.step(DatabaseStep::Start, now);
    }

    /// Fresh facts: at rest every `observe`, quickly while something waits for them.
    pub(super) fn observe_database(&mut self, now: Time) {
        if !self.database.is_free() {
            return;
        }
        let pause = if self.is_watched(now) {
            HURRY
        } else if self.database.is_urgent() {
            self.database.hurry_pause(self.spec.pace.observe, now)
        } else {
            self.database.hurried = None;
            self.spec.pace.observe
        };
        if self.database.observed.is_none_or(|at| now.elapsed_most(at) >= pause) {
            let look_for = self.asked_token(now);
            self.step(DatabaseStep::Observe { look_for }, now);
        }
    }

    /// Does a peer wait for what this database shows?
    pub(super) fn is_watched(&self, now: Time) -> bool {
        let suspicion = self.spec.pace.suspicion;
        let moves_here = |peer: &super::Peer| {
            peer.fresh(suspicion, now).is_some_and(|report| report.moving_to == Some(self.me()))
        };
        self.asked_token(now).is_some() || self.peers.values().any(moves_here)
    }

    /// The marker that the writer asked this follower to show.
    fn asked_token(&self, now: Time) -> Option<AttemptId> {
        let writer = self.view.as_ref()?.state.sync.writer.node;
        self.peers.get(&writer)?.fresh(self.spec.pace.suspicion, now)?.look_for
    }

    /// Not holder, or mute: nobody may write here. Read-only with a bound; if it is not answered, the unit is killed
    /// and the commits come back as the tail (D3, D8).
    pub(super) fn quiesce_database(&mut self, now: Time) {
        let Some(facts) = &self.database.facts else { return };
        if !facts.read_only && self.database.is_free() {
            self.step(DatabaseStep::ReadOnly, now);
        }
    }

    fn read_only_blocked(&mut self) {
        if self.holds() && self.mute.is_none() && self.moving.is_some() {
            // Section 9, row 7: it is withdrawn, nothing has changed, the move is undone.
            self.note_move(|m| m.blocked = true);
        } else {
            self.database.must_kill = true;
            self.tell(
                "database.killed",
                Severity::Warning,
                "read-only is blocked by a commit that waits, and another node holds: the database is killed, what was not acknowledged becomes its tail [D3]".into(),
            );
        }
    }

    pub(super) fn take_lineage(&mut self, lineage: Lineage) {
        self.following.compared(lineage);
    }
}
