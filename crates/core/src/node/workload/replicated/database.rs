//! The local database: one step in flight, the facts read after it, and what is done when it is down or hangs.

use crate::command::{Action, DatabaseStep, Lineage, Outcome, StepResult};
use crate::event::Severity;
use crate::health::Subject;
use crate::id::{AttemptId, CommandId, Incarnation};
use crate::node::Node;
use crate::node::output::Flight;
use crate::node::workload::tries::{Tries, pause_after};
use crate::observe::{DatabaseFacts, Locked, Thread, UnitState};
use crate::state::DataCopy;
use crate::time::{Span, Time};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::mem::discriminant;

/// While something waits for the next fact.
pub(in crate::node) const HURRY: Span = Span::millis(5);
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
/// A step that takes longer is worth a line of status.
const STEP_LONG: Span = Span::millis(2_000);
/// One that died sooner after it had come up did not come up.
const UP_LEAST: Span = Span::millis(10_000);
/// A lock that is held longer is worth a word.
const LOCK_TOLD: Span = Span::millis(1_000);
/// After a lock was held, probes have this long to pass again.
const LOCK_AFTER: Span = Span::millis(3_000);
/// An heir that has waited so long for its applier looks who is in its way.
const DRAIN_LONG: Span = Span::millis(200);
/// After so many starts in a row that failed operators are called.
pub(in crate::node) const STARTS_ALARM: u32 = 3;
/// How long control may be away before peers are told that this node cannot serve.
const CONTROL_MAX: Span = Span::millis(1_000);
/// A unit that is not known to be down, and that nobody can connect to for this long, is started.
const UNSEEN_MAX: Span = Span::millis(10_000);
/// A step that was not asked for again this long after its pause is not wanted any more.
const FAILING_MOST: Span = Span::millis(30_000);
/// A step that failed so often in a row is worth a line of status.
const FAILS_TOLD: u32 = 3;
/// After so many copies in a row that failed operators are called.
const COPIES_ALARM: u32 = 3;
/// Between two copies that failed: each reads all of the active node's data.
const COPY_PAUSE_FIRST: Span = Span::millis(1_000);
const COPY_PAUSE_MOST: Span = Span::millis(600_000);
/// Two copies that far apart have nothing to do with each other.
const COPIES_APART: Span = Span::millis(3_600_000);

fn is_copy(step: &DatabaseStep) -> bool {
    matches!(step, DatabaseStep::Reclone { .. })
}

/// After a step that failed: the first pause, and the longest.
fn pauses(step: &DatabaseStep) -> (Span, Span) {
    if is_copy(step) {
        (COPY_PAUSE_FIRST, COPY_PAUSE_MOST)
    } else {
        (STEP_PAUSE_FIRST, STEP_PAUSE_MOST)
    }
}

/// How long core waits for a step. None: it may take hours, and whoever does it sees whether it gets on, and ends it if
/// it does not.
fn longest(step: &DatabaseStep) -> Option<Span> {
    let lasts = matches!(
        step,
        DatabaseStep::Start
            | DatabaseStep::Stop
            | DatabaseStep::Kill
            | DatabaseStep::Compare { .. }
            | DatabaseStep::SaveTail { .. }
            | DatabaseStep::Rewind { .. }
            | DatabaseStep::Rename { .. }
            | DatabaseStep::Reclone { .. }
    );
    (!lasts).then_some(STEP_MAX)
}

/// What this run knows of the local database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::node) struct Database {
    pub unit: UnitState,
    pub facts: Option<DatabaseFacts>,
    /// This run's control connection stands (D11).
    control: bool,
    busy: Option<(CommandId, DatabaseStep, Time)>,
    /// How far the step under way is, as whoever does it says.
    progress: Option<String>,
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
    /// Names before it, of which the data have everything (D12).
    was: Box<[Incarnation]>,
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
    /// The same of copies, which fail beside other steps.
    copying: Option<Failing>,
    /// Copies that were taken.
    copied: Copied,
    /// A probe of it passed since its unit came up, and since when that is.
    pub passed: bool,
    pub up_since: Option<Time>,
    /// Restarts because its clients' probes failed.
    ailing: Ailing,
    /// When a session was last seen that keeps every writer out.
    locked: Option<Time>,
}

/// A kind of step that fails: the last one, when that was, how often in a row, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Failing {
    step: DatabaseStep,
    last: Time,
    times: u32,
    why: String,
}

impl Failing {
    /// Is this another try of it?
    fn is_of(&self, step: &DatabaseStep) -> bool {
        discriminant(&self.step) == discriminant(step)
    }

    /// The same step is asked for again after this.
    fn pause(&self) -> Span {
        let (first, most) = pauses(&self.step);
        pause_after(self.times, first, most)
    }
}

/// Copies that were taken one after the other, each soon followed by the next: when the last one was, how many, and why
/// it was taken.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Copied {
    last: Option<Time>,
    times: u32,
    why: String,
}

impl Copied {
    /// So many in a row, if the last one was not long ago.
    fn recent(&self, now: Time) -> u32 {
        let long = |at: Time| now.elapsed_most(at) >= COPIES_APART;
        if self.last.is_none_or(long) { 0 } else { self.times }
    }

    /// What is left until the next one may be taken; the second one may be at once.
    fn left(&self, now: Time) -> Option<Span> {
        let times = self.recent(now).checked_sub(1).filter(|times| *times > 0)?;
        let pause = pause_after(times, COPY_PAUSE_FIRST, COPY_PAUSE_MOST);
        let gone = now.elapsed_most(self.last?);
        (gone < pause).then(|| Span(pause.0 - gone.0))
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
            progress: None,
            observed: None,
            asked_control: None,
            urgent: None,
            hurried: None,
            marker: None,
            incarnation: None,
            was: Box::default(),
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
            copying: None,
            copied: Copied::default(),
            passed: false,
            up_since: None,
            ailing: Ailing::default(),
            locked: None,
        }
    }

    /// Where the failures of this kind of step are counted.
    fn slot(&mut self, step: &DatabaseStep) -> &mut Option<Failing> {
        if is_copy(step) { &mut self.copying } else { &mut self.failing }
    }

    /// The failures of this kind of step.
    fn failing_of(&self, step: &DatabaseStep) -> Option<&Failing> {
        let slot = if is_copy(step) { &self.copying } else { &self.failing };
        slot.as_ref().filter(|failing| failing.is_of(step))
    }

    /// A copy may be tried at once, whatever became of the last ones.
    pub fn forget_copies(&mut self) {
        (self.copying, self.copied) = (None, Copied::default());
    }

    /// A step is in flight.
    pub fn is_busy(&self) -> bool {
        self.busy.is_some() || self.must_kill
    }

    /// A copy is being taken.
    pub fn is_copying(&self) -> bool {
        matches!(&self.busy, Some((_, DatabaseStep::Reclone { .. }, _)))
    }

    /// Starts in a row that failed.
    pub fn failures(&self) -> u32 {
        self.failures
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

    /// Its unit is down, or on its way up: nobody is served by it, for as long as its recovery takes.
    pub fn is_away(&self) -> bool {
        self.is_down() || matches!(&self.busy, Some((_, DatabaseStep::Start, _)))
    }

    /// The incarnation, once it was read in this run.
    pub fn incarnation_known(&self) -> Option<Option<Incarnation>> {
        self.incarnation
    }

    /// Names before, of which the data have everything (D12).
    pub fn was(&self) -> &[Incarnation] {
        &self.was
    }

    fn forget_server(&mut self) {
        self.facts = None;
        self.control = false;
        self.marker = None;
    }

    /// Its server is gone. That a log began anew and nothing is lost is known of one start of it, until it is kept with
    /// a name.
    fn forget_start(&mut self) {
        self.forget_server();
        if self.incarnation == Some(None) {
            self.was = Box::default();
        }
    }
}

impl DatabaseFacts {
    /// Nobody writes, and no commit is open.
    pub(crate) fn is_quiet(&self) -> bool {
        self.read_only && self.waiting == 0
    }

    /// Nothing more is received.
    pub fn receiver_is_off(&self) -> bool {
        matches!(self.receiver, Thread::Stopped | Thread::Failed(_))
    }
}

impl Node {
    /// Asks for one step; only while no other is in flight, but for a kill.
    pub(in crate::node) fn step(&mut self, step: DatabaseStep, now: Time) {
        self.try_step(step, now);
    }

    /// The same; was it asked for?
    pub(in crate::node) fn try_step(&mut self, step: DatabaseStep, now: Time) -> bool {
        let kill = step == DatabaseStep::Kill;
        if self.database.busy.is_some() && !kill {
            return false;
        }
        let early = |f: &Failing| now.elapsed_most(f.last) < f.pause();
        if self.database.failing_of(&step).is_some_and(early) {
            return false;
        }
        if is_copy(&step) && self.database.copied.left(now).is_some() {
            return false;
        }
        if matches!(step, DatabaseStep::ReadOnly | DatabaseStep::Rename { .. }) {
            self.database.found_writable = None;
        }
        let id = self.ask(Action::Database(step.clone()), Some(Flight::Database(step.clone())));
        self.database.busy = Some((id, step, now));
        self.database.progress = None;
        true
    }

    /// How far the step under way is.
    pub(in crate::node) fn take_progress(&mut self, text: String) {
        if self.database.busy.is_some() {
            self.database.progress = Some(text);
        }
    }

    /// What has not been asked for any more since long after its pause fails no more.
    fn forget_failing(&mut self, now: Time) {
        let over = |f: &&Failing| {
            let pause = f.pause();
            now.elapsed_most(f.last) >= pause + pause + FAILING_MOST
        };
        if self.database.busy.is_some() {
            return;
        }
        let Database { failing, copying, .. } = &self.database;
        let ended: Vec<DatabaseStep> =
            failing.iter().chain(copying).filter(over).map(|f| f.step.clone()).collect();
        for step in ended {
            self.end_failing(&step);
        }
    }

    /// This step fails no more.
    fn end_failing(&mut self, step: &DatabaseStep) {
        let slot = self.database.slot(step);
        if slot.as_ref().is_none_or(|failing| !failing.is_of(step)) {
            return;
        }
        *slot = None;
        if is_copy(step) {
            self.told.end("database.copy");
        }
        if self.database.failing.is_none() {
            self.told.end("database.step");
        }
    }

    /// The step that fails again and again, with its last error.
    pub(in crate::node) fn explain_failing(&self, now: Time) -> Option<String> {
        let Database { failing, copying, .. } = &self.database;
        let told = |f: &&Failing| f.times >= FAILS_TOLD && !self.is_moot(&f.step);
        let failing = copying.iter().chain(failing).find(told)?;
        let ago = now.elapsed_most(failing.last).as_millis() / 1000;
        let (words, Failing { times, why, .. }) = (failing.step.words(), failing);
        Some(format!("{words} has failed {times} times in a row, {ago} s ago: {why}"))
    }

    /// Takes a copy for this reason; was it begun?
    pub(in crate::node) fn take_copy(&mut self, writer: DataCopy, why: String, now: Time) -> bool {
        let incarnation = self.draw_incarnation();
        if !self.try_step(DatabaseStep::Reclone { writer, incarnation }, now) {
            return false;
        }
        let text = format!("a copy of {}'s data is taken: {why}", self.name(writer.node));
        self.tell("database.copying", Severity::Warning, text);
        self.database.copied.why = why;
        true
    }

    /// A copy came to its end. One after the other comes to nothing: then the next one waits, and people are called.
    fn note_copied(&mut self, now: Time) {
        let times = self.database.copied.recent(now) + 1;
        let copied = &mut self.database.copied;
        (copied.last, copied.times) = (Some(now), times);
        self.database.failures = 0;
        if let Some(text) = self.explain_copies(now) {
            self.tell_edge("database.copies", Severity::Alarm, text);
        }
    }

    /// Copy after copy, each for nothing.
    pub(in crate::node) fn explain_copies(&self, now: Time) -> Option<String> {
        let copied = &self.database.copied;
        let times = copied.recent(now);
        (times >= COPIES_ALARM).then(|| {
            let why = &copied.why;
            let next = copied.left(now).map_or_else(String::new, |left| {
                format!("; the next one in {} s at the earliest", left.as_millis() / 1000)
            });
            format!(
                "{times} copies were taken one after the other, the last one because {why}{next}"
            )
        })
    }

    /// Why no copy can be taken, once it has failed as often as that is told.
    pub(in crate::node) fn copy_fails(&self, now: Time) -> Option<String> {
        let copying = self.database.copying.as_ref()?;
        self.explain_failing(now).filter(|_| copying.times >= FAILS_TOLD)
    }

    /// What is being done to the database, if that takes long, and how far it is.
    pub(in crate::node) fn explain_work(&self, now: Time) -> Option<String> {
        let (_, step, since) = self.database.busy.as_ref()?;
        let lasted = now.elapsed_most(*since);
        if lasted < STEP_LONG {
            return None;
        }
        let tries = match (step, self.database.failures) {
            (DatabaseStep::Start, failures @ 1..) => format!(" (try {})", failures + 1),
            _ => String::new(),
        };
        let progress = self.database.progress.as_ref();
        let progress = progress.map_or_else(String::new, |text| format!(": {text}"));
        let s = lasted.as_millis() / 1000;
        Some(format!("at work on the database for {s} s, {}{tries}{progress}", step.words()))
    }

    pub(in crate::node) fn take_database(
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
        // What was read before its death is of the dead one, whenever it is told; but for a step that starts it.
        let starts = matches!(step, DatabaseStep::Start | DatabaseStep::Reclone { .. });
        let dead = self.database.is_down() && !starts;
        if let Some(facts) = facts.filter(|_| !dead) {
            self.take_facts(facts, now);
        }
        match (&step, &result) {
            (DatabaseStep::Kill, StepResult::Done) => {
                self.database.must_kill = false;
                self.database.killed = true;
                self.database.was_up = false;
                self.database.forget_start();
                self.database.unit = UnitState::Down;
                self.note_move(|m| m.killed = true);
            }
            (DatabaseStep::Kill, other) => {
                self.database.must_kill = true;
                self.note_failing(&step, other.why().to_string(), now);
            }
            (DatabaseStep::Stop, StepResult::Done) => {
                self.database.was_up = false;
                self.database.forget_start();
                self.database.unit = UnitState::Down;
                self.tell("database.stopped", Severity::Info, "the database is shut down".into());
            }
            (_, StepResult::Down) => self.database.forget_server(),
            // Only this start shows that the data have everything: a statement is over, too, once its thread was seen
            // gone (D11), and control is taken anew. A server that does not even give that is killed.
            (_, StepResult::NoAnswer) if self.needs_name().is_some() => {
                let text = format!("{}: the database did not answer in time", step.words());
                self.tell("database.hung", Severity::Warning, text);
                self.database.forget_server();
            }
            // D11: only its death proves that a statement is over.
            (_, StepResult::NoAnswer) => {
                self.database.must_kill = true;
                let text = format!(
                    "{}: the database did not answer in time, it is killed [D11]",
                    step.words()
                );
                self.tell("database.hung", Severity::Warning, text);
            }
            (DatabaseStep::ReadOnly, StepResult::Blocked) => self.read_only_blocked(now),
            // Nobody else may write: it is tried again, and the server lives, because only this start proves anything.
            (DatabaseStep::Rename { .. }, StepResult::Blocked) => {
                let why = "a statement or a commit that waits holds read-only up";
                self.note_failing(&step, why.to_string(), now);
            }
            (_, StepResult::Failed(why)) => {
                self.note_failing(&step, why.clone(), now);
                self.follow_failed(&step, now);
            }
            // What was told meanwhile is newer: it died again, and what was read of it is of the dead one.
            (DatabaseStep::Start, StepResult::Done) if self.database.heard => {
                if self.database.is_down() {
                    self.database.forget_start();
                }
            }
            (DatabaseStep::Start, StepResult::Done) => self.database.unit = UnitState::Unknown,
            (_, StepResult::Done | StepResult::Blocked) => {}
            (_, StepResult::Lineage(lineage)) => self.take_lineage(*lineage),
            (_, StepResult::Saved(saved)) => {
                let saved = saved.clone();
                self.take_saved(&saved);
            }
        }
        if matches!(step, DatabaseStep::Distrust { .. }) {
            self.take_distrusted(&result);
        }
        if matches!(step, DatabaseStep::MayCopy { .. }) {
            self.take_may_copy(&result);
        }
        if result == StepResult::Done {
            self.end_failing(&step);
            if is_copy(&step) {
                self.note_copied(now);
            }
            if let DatabaseStep::Rename { incarnation } = step {
                let text = format!(
                    "the data are incarnation {incarnation} from now on, nothing of them is lost"
                );
                self.tell("data.named", Severity::Warning, text);
            }
            self.follow_done(&step);
        }
        if step == DatabaseStep::Start && result != StepResult::Done {
            self.count_failed_start(result.why());
        }
    }

    /// A step was refused: counted, asked for again after a pause, and told at its first and at each other error.
    fn note_failing(&mut self, step: &DatabaseStep, why: String, now: Time) {
        let text = format!("{} failed: {why}", step.words());
        let before = self.database.failing_of(step);
        let times = before.map_or(0, |f| f.times).saturating_add(1);
        *self.database.slot(step) = Some(Failing { step: step.clone(), last: now, times, why });
        let calls = times >= COPIES_ALARM && is_copy(step);
        let severity = if calls { Severity::Alarm } else { Severity::Warning };
        let code = if calls { "database.copy" } else { "database.step" };
        self.tell_edge(code, severity, text);
    }

    /// A start failed, or what it started was gone at once: the next one waits longer, and in the end people are
    /// called.
    fn count_failed_start(&mut self, why: &str) {
        self.database.failures = self.database.failures.saturating_add(1);
        if self.database.failures >= STARTS_ALARM {
            let text =
                format!("the database did not come up, {STARTS_ALARM} tries in a row: {why}");
            self.tell_edge("database.start", Severity::Alarm, text);
        }
    }

    fn take_facts(&mut self, facts: DatabaseFacts, now: Time) {
        self.database.control = true;
        self.database.was_up = true;
        self.database.observed = Some(now);
        self.database.urgent = None;
        self.database.incarnation = Some(facts.incarnation.filter(|_| !facts.broken));
        self.database.was.clone_from(&facts.was);
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
            self.reporting.hasten();
        }
        if facts.locked.is_some() {
            self.database.locked = Some(now);
        }
        if facts.drift.is_empty() {
            self.told.end("database.settings");
        } else {
            let text = format!("settings of the database were changed: {}", facts.drift.join("; "));
            self.tell_edge("database.settings", Severity::Alarm, text);
        }
        match &facts.shut_out {
            Some(why) => {
                let text = format!("a restart of the database may shut Regent out: {why}");
                self.tell_edge("database.account", Severity::Alarm, text);
            }
            None => self.told.end("database.account"),
        }
        self.database.facts = Some(facts);
    }

    /// systemd or a pidfd told of the database's unit.
    pub(in crate::node) fn take_database_unit(&mut self, state: UnitState, now: Time) {
        if state == UnitState::Down && self.database.unit != UnitState::Down {
            let stops = matches!(&self.database.busy, Some((_, DatabaseStep::Stop, _)));
            let died = core::mem::take(&mut self.database.was_up) && !stops;
            let up = self.database.up_since.take();
            if up.is_some_and(|at| now.elapsed_most(at) < UP_LEAST) {
                self.count_failed_start("it died just after it had come up");
            }
            self.database.forget_start();
            if died {
                let alone = self.leaves_alone(now);
                let severity = if alone { Severity::Info } else { Severity::Alarm };
                self.tell("database.died", severity, "the database's unit is down".into());
                self.reporting.hasten();
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
    pub(in crate::node) fn mend_database(&mut self, now: Time) {
        self.forget_failing(now);
        if self.database.copied.recent(now) == 0 {
            self.told.end("database.copies");
        }
        let is_up = self.database.control && matches!(self.database.unit, UnitState::Up { .. });
        if self.database.failures > 0
            && is_up
            && self.database.up_since.is_some_and(|at| now.elapsed_most(at) >= UP_LEAST)
        {
            self.database.failures = 0;
            self.told.end("database.start");
        }
        if let Some((_, step, since)) = &self.database.busy {
            if longest(step).is_none_or(|most| now.elapsed_most(*since) < most) {
                return;
            }
            self.database.must_kill = true;
        }
        if self.database.must_kill {
            // Owed until it is done: one that was refused is asked for again after a pause.
            self.step(DatabaseStep::Kill, now);
            self.database.must_kill =
                !matches!(&self.database.busy, Some((_, DatabaseStep::Kill, _)));
            return;
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
            UnitState::Down => {
                if !self.copy_instead_of_start(now) {
                    self.start_database(now);
                }
            }
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
            || self.needs_name().is_some()
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
        if self.vip.is_held() {
            return self.close();
        }
        self.database.tried_start = Some(now);
        self.database.heard = false;
        self.step(DatabaseStep::Start, now);
    }

    /// Fresh facts: at rest every `observe`, quickly while something waits for them.
    pub(in crate::node) fn observe_database(&mut self, now: Time) {
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
    pub(in crate::node) fn is_watched(&self, now: Time) -> bool {
        let suspicion = self.spec.pace.suspicion;
        let moves_here = |peer: &crate::node::Peer| {
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
    pub(in crate::node) fn quiesce_database(&mut self, now: Time) {
        let Some(facts) = &self.database.facts else { return };
        if !facts.read_only && self.database.is_free() {
            self.step(DatabaseStep::ReadOnly, now);
        }
    }

    /// Who keeps every writer out with a lock, if that was seen just now: the server answers, and does what it is told.
    pub(in crate::node) fn locked(&self, now: Time) -> Option<&Locked> {
        let fresh = self.database.observed.is_some_and(|at| now.elapsed_most(at) < CONTROL_MAX);
        self.database.facts.as_ref()?.locked.as_deref().filter(|_| fresh)
    }

    /// Probes that write were kept out by somebody's lock just now: what they say is not about the server.
    pub(in crate::node) fn was_locked(&self, now: Time) -> bool {
        self.database.locked.is_some_and(|at| now.elapsed_most(at) < LOCK_AFTER)
    }

    /// A session that keeps every writer out is named, and ended once the site's patience is over; never the server for
    /// it. Whether it may be ended is looked at again where it is done (D9).
    pub(in crate::node) fn watch_locks(&mut self, now: Time) {
        let locked = self.locked(now).filter(|l| l.since >= LOCK_TOLD && self.is_writable());
        let Some(locked) = locked.cloned() else {
            return self.told.end("database.locked");
        };
        let patience = self.spec.policy.lock_patience;
        let then = match (locked.session, patience) {
            (0, _) | (_, Span::ZERO) => "nobody ends it".to_string(),
            (..) => format!("ended after {} s", patience.as_millis() / 1000),
        };
        let text = format!("{}: nobody can write; {then}", held(&locked));
        self.tell_edge("database.locked", Severity::Alarm, text);
        let over = patience > Span::ZERO && locked.since >= patience;
        if over && locked.session != 0 && self.database.is_free() {
            self.step(DatabaseStep::EndSession { session: locked.session }, now);
        }
    }

    /// The same on a node that takes over: what holds up its applier is in its way, and nobody can commit there.
    pub(in crate::node) fn free_applier(&mut self, now: Time) {
        let waited = self.database.hurried.is_some_and(|at| now.elapsed_most(at) >= DRAIN_LONG);
        let session = self.locked(now).map(|locked| locked.session);
        if let Some(session) = session.filter(|session| waited && *session != 0) {
            self.step(DatabaseStep::EndSession { session }, now);
        }
    }

    fn read_only_blocked(&mut self, now: Time) {
        if self.holds() && self.mute.is_none() && self.moving.is_some() {
            // Section 9, row 7: it is withdrawn, nothing has changed, the move is undone.
            return self.note_move(|m| m.blocked = true);
        }
        if self.may_wait_quiet(now) {
            // Nobody else may write meanwhile: what is under way has its time to end.
            return;
        }
        self.database.must_kill = true;
        let why = if self.is_stopped() {
            "the cluster is being stopped"
        } else if self.holds() {
            "this node may not write any more"
        } else {
            "another node holds"
        };
        let text = format!(
            "read-only is blocked by a statement or a commit that waits, and {why}: the database is killed, what was not acknowledged becomes its tail [D3]"
        );
        self.tell("database.killed", Severity::Warning, text);
    }

    pub(in crate::node) fn take_lineage(&mut self, lineage: Lineage) {
        self.following.compared(lineage);
    }
}

/// Who holds what, in words.
pub(in crate::node) fn held(locked: &Locked) -> String {
    let Locked { session, who, what, .. } = locked;
    let session = if *session == 0 { String::new() } else { format!("session {session} of ") };
    format!("{session}{who} holds {what}")
}
