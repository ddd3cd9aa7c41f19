//! What every node does that does not hold: suspect, succeed early as heir, and otherwise follow the recorded
//! writer, saving what it alone has before that is undone (protocol section 4; D6, D7, D8).

use crate::command::{DatabaseStep, Lineage, SavedTail};
use crate::event::Severity;
use crate::id::Incarnation;
use crate::node::Node;
use crate::node::engine::failing::Local;
use crate::node::engine::propose::Kind;
use crate::observe::{DatabaseFacts, Thread};
use crate::reason::MoveReason;
use crate::state::DataCopy;
use crate::time::{Span, Time};
use alloc::format;
use alloc::string::{String, ToString};

/// Between two tries to follow.
const FOLLOW_PAUSE: Span = Span::millis(500);
/// After this many failures in a row the copy is taken anew.
const FOLLOW_FAILURES: u32 = 3;

/// What is known on the way to following the recorded writer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::node) struct Following {
    pub lineage: Option<Lineage>,
    saved: bool,
    renewed: bool,
    cannot_rewind: bool,
    /// It was made to follow since its log was compared: what its threads stopped with before says nothing.
    begun: bool,
    /// Why its data lost their name.
    pub distrusted: Option<String>,
    failures: u32,
    tried: Option<Time>,
}

impl Following {
    /// What was saved, or named anew, was so for another comparison: somebody may have written here since.
    pub(in crate::node) fn compared(&mut self, lineage: Lineage) {
        (self.saved, self.renewed, self.begun) = (false, false, false);
        self.lineage = Some(lineage);
    }
}

impl Node {
    pub(in crate::node) fn stand_by_copy(&mut self, now: Time) {
        self.moving = None;
        self.follower.stop_joining();
        if self.vip.may_pass() {
            self.close();
        }
        self.quiesce_database(now);
        self.advance_recopy(now);
        self.propose_wish(now);
        match self.reason_to_succeed(now) {
            Some(why) => self.succeed(why, now),
            None => {
                self.succession = None;
                self.follow(now);
            }
        }
    }

    /// The guard of succeed: eligible; no Pause; the interface of the VIP is not known to lack its carrier; and the
    /// holder is silent, or reports that it cannot serve while this node can, or was named by a Free record that it
    /// has not taken for one ttl, or has not renewed for as long as C3 waits.
    fn reason_to_succeed(&self, now: Time) -> Option<MoveReason> {
        let view = self.view.as_ref()?;
        let lease = view.state.lease;
        let facts = self.database.facts.as_ref()?;
        if self.eligibility() != Some(true) || !facts.read_only || facts.waiting > 0 {
            return None;
        }
        if !self.may_stand(now) || self.cut_off().is_some() {
            return None;
        }
        self.why_holder_fails(self.record_age(now) >= view.state.timing.wait(lease.ttl), now)
    }

    /// Receiver stopped, confirmed; then the swap. It is both the claim and the takeover.
    fn succeed(&mut self, why: MoveReason, now: Time) {
        self.announce_succession(&why, now);
        let Some(facts) = &self.database.facts else { return };
        if !facts.receiver_is_off() {
            if self.database.is_free() {
                self.step(DatabaseStep::StopReceiver, now);
            }
            return;
        }
        // The stop is confirmed only by facts read after it; a step in flight may be a start of ours.
        let starting = self.in_flight(|f| {
            matches!(
                f,
                crate::node::output::Flight::Database(
                    DatabaseStep::StartReceiver | DatabaseStep::Follow { .. }
                )
            )
        });
        let may = !self.proposals.is_busy() && self.vip.may_ask(Local::Arm, now);
        if !starting && may && !self.is_succession_unanswered_long(now) {
            self.begin(Kind::Succeed { why }, now);
        }
    }

    /// D7, D8: towards the recorded writer in its recorded incarnation, and to nobody else.
    fn follow(&mut self, now: Time) {
        let Some(view) = &self.view else { return };
        let writer = view.state.sync.writer;
        let beyond = self.proposals.is_beyond(view.version);
        let Some(facts) = self.database.facts.clone() else { return };
        if writer.node == self.me() || !facts.read_only || !self.database.is_free() {
            return;
        }
        if self.recorded_writer(now).is_none() {
            return;
        }
        // Data of which nothing is known get no name: what they have under old names may be other rows.
        if facts.mark && facts.broken && facts.incarnation.is_some() {
            // Relay logs may be gone: what was received is no longer promised (protocol section 1, D4).
            self.following.lineage = None;
            let incarnation = self.draw_incarnation();
            return self.step(DatabaseStep::Keep { incarnation, mark: true }, now);
        }
        // Data of which nothing is known any more (a log that somebody reset) go on receiving, and are nobody's copy.
        let attached =
            facts.source == Some(writer.node) && facts.mark && facts.incarnation.is_some();
        let alive = |t: &Thread| matches!(t, Thread::Running | Thread::Connecting);
        if attached && alive(&facts.receiver) && alive(&facts.applier) {
            self.following.lineage = None;
            self.following.saved = false;
            self.following.renewed = false;
            if facts.receiver == Thread::Running {
                self.following.failures = 0;
                self.following.cannot_rewind = false;
                self.back_off.settle();
            }
            return;
        }
        // D7: only when no own succession can still win, and on a view above what the last take expected.
        if !beyond || self.is_succession_unanswered() || self.proposals.is_busy() {
            return;
        }
        if attached && facts.receiver == Thread::Stopped && alive(&facts.applier) {
            return self.step(DatabaseStep::StartReceiver, now);
        }
        if self.following.tried.is_some_and(|at| now.elapsed_most(at) < FOLLOW_PAUSE) {
            return;
        }
        let failed = matches!(facts.receiver, Thread::Failed(_))
            || matches!(facts.applier, Thread::Failed(_));
        if failed && self.following.begun && self.following.lineage == Some(Lineage::Part) {
            self.follow_failed(&DatabaseStep::Follow { writer }, now);
            return;
        }
        self.approach(writer, &facts, now);
    }

    /// Compare, save, undo, follow: one step at a time.
    fn approach(&mut self, writer: DataCopy, facts: &DatabaseFacts, now: Time) {
        let lineage = match facts.incarnation {
            // Data of which nothing is known are nobody's copy.
            None => Some(Lineage::Foreign),
            Some(_) if self.following.failures >= FOLLOW_FAILURES => Some(Lineage::Foreign),
            Some(_) => self.following.lineage,
        };
        let Some(lineage) = lineage else {
            return self.step(DatabaseStep::Compare { writer }, now);
        };
        match lineage {
            Lineage::Part if facts.mark => {
                self.following.tried = Some(now);
                self.step(DatabaseStep::Follow { writer }, now);
            }
            Lineage::Part => {
                let incarnation = facts.incarnation.unwrap_or_default();
                self.step(DatabaseStep::Keep { incarnation, mark: true }, now);
            }
            // S6: first of all the tail is saved and counted.
            Lineage::Tail { .. } | Lineage::Foreign if !self.following.saved => {
                self.step(DatabaseStep::SaveTail { writer }, now);
            }
            Lineage::Tail { rewindable: true, .. } if !self.following.cannot_rewind => {
                if self.following.renewed {
                    self.step(DatabaseStep::Rewind { writer }, now);
                } else {
                    // D8: before the first undo a new incarnation and a mark, synced.
                    let incarnation = self.draw_incarnation();
                    self.step(DatabaseStep::Keep { incarnation, mark: true }, now);
                }
            }
            Lineage::Tail { .. } | Lineage::Foreign => {
                let why = self.why_copied(lineage, facts);
                self.take_copy(writer, why, now);
            }
        }
    }

    /// Why its data are of no use.
    fn why_copied(&self, lineage: Lineage, facts: &DatabaseFacts) -> String {
        let stopped = |thread: &Thread| match thread {
            Thread::Failed(why) => Some(why.clone()),
            Thread::Stopped | Thread::Connecting | Thread::Running => None,
        };
        let cannot = || stopped(&facts.receiver).or_else(|| stopped(&facts.applier));
        match (lineage, facts.incarnation) {
            (_, None) => {
                let why = self.following.distrusted.clone();
                why.unwrap_or_else(|| "nothing is known of the data here".into())
            }
            (_, Some(_)) if self.following.failures >= FOLLOW_FAILURES => {
                let why = cannot().unwrap_or_else(|| "its threads stop".into());
                format!("it could not follow, {} tries in a row: {why}", self.following.failures)
            }
            (Lineage::Tail { count, .. }, _) => {
                format!("{count} transactions of its own cannot be undone in place")
            }
            (Lineage::Part | Lineage::Foreign, _) => {
                "its log and the active node's have nothing in common".into()
            }
        }
    }

    /// What a done step means for the way to the writer.
    pub(in crate::node) fn follow_done(&mut self, step: &DatabaseStep) {
        match step {
            DatabaseStep::Keep { mark: true, .. }
                if matches!(self.following.lineage, Some(Lineage::Tail { .. })) =>
            {
                self.following.renewed = true;
            }
            DatabaseStep::Follow { .. } => self.following.begun = true,
            DatabaseStep::Rewind { .. } => {
                self.following.lineage = Some(Lineage::Part);
                self.following.begun = false;
                self.tell(
                    "database.rewound",
                    Severity::Info,
                    "the tail was undone in place [D8]".into(),
                );
            }
            DatabaseStep::Reclone { .. } => {
                self.following.lineage = Some(Lineage::Part);
                self.following.begun = false;
                self.following.distrusted = None;
                self.following.failures = 0;
                self.tell(
                    "database.recloned",
                    Severity::Info,
                    "a fresh copy of the writer's data was taken [D8]".into(),
                );
            }
            DatabaseStep::Keep { .. }
            | DatabaseStep::TakeControl
            | DatabaseStep::Observe { .. }
            | DatabaseStep::Start
            | DatabaseStep::Kill
            | DatabaseStep::Stop
            | DatabaseStep::Strict
            | DatabaseStep::Loose
            | DatabaseStep::ReadOnly
            | DatabaseStep::Writable
            | DatabaseStep::Marker { .. }
            | DatabaseStep::StopReceiver
            | DatabaseStep::StartReceiver
            | DatabaseStep::EndSession { .. }
            | DatabaseStep::EndFollowing
            | DatabaseStep::Distrust { .. }
            | DatabaseStep::Rename { .. }
            | DatabaseStep::MayCopy { .. }
            | DatabaseStep::Verify { .. }
            | DatabaseStep::Compare { .. }
            | DatabaseStep::SaveTail { .. } => {}
        }
    }

    /// A step on the way to the writer failed: another way next time.
    pub(in crate::node) fn follow_failed(&mut self, step: &DatabaseStep, now: Time) {
        self.following.tried = Some(now);
        match step {
            DatabaseStep::Rewind { .. } => self.following.cannot_rewind = true,
            DatabaseStep::Follow { .. } => {
                self.following.failures = self.following.failures.saturating_add(1);
                self.following.lineage = None;
                self.following.saved = false;
            }
            DatabaseStep::Compare { .. }
            | DatabaseStep::SaveTail { .. }
            | DatabaseStep::Reclone { .. }
            | DatabaseStep::Keep { .. }
            | DatabaseStep::TakeControl
            | DatabaseStep::Observe { .. }
            | DatabaseStep::Start
            | DatabaseStep::Kill
            | DatabaseStep::Stop
            | DatabaseStep::Strict
            | DatabaseStep::Loose
            | DatabaseStep::ReadOnly
            | DatabaseStep::Writable
            | DatabaseStep::Marker { .. }
            | DatabaseStep::StopReceiver
            | DatabaseStep::StartReceiver
            | DatabaseStep::EndSession { .. }
            | DatabaseStep::Distrust { .. }
            | DatabaseStep::Rename { .. }
            | DatabaseStep::MayCopy { .. }
            | DatabaseStep::Verify { .. }
            | DatabaseStep::EndFollowing => {}
        }
    }

    /// What this step was for is so by now, whatever brought it about: that it failed says nothing of this node.
    pub(in crate::node) fn is_moot(&self, step: &DatabaseStep) -> bool {
        let Some(facts) = &self.database.facts else { return false };
        let runs = |thread: &Thread| *thread == Thread::Running;
        let follows = facts.source.is_some() && runs(&facts.receiver) && runs(&facts.applier);
        let leads_to_writer = matches!(
            step,
            DatabaseStep::Compare { .. }
                | DatabaseStep::SaveTail { .. }
                | DatabaseStep::Rewind { .. }
                | DatabaseStep::Reclone { .. }
                | DatabaseStep::StartReceiver
                | DatabaseStep::Keep { .. }
                | DatabaseStep::Follow { .. }
        );
        if leads_to_writer {
            let is_whole = facts.mark && self.eligibility() == Some(true);
            return self.is_writable() || (follows && is_whole);
        }
        if matches!(step, DatabaseStep::Rename { .. }) {
            return self.needs_name().is_none();
        }
        matches!(step, DatabaseStep::Start | DatabaseStep::TakeControl)
    }

    pub(in crate::node) fn take_saved(&mut self, saved: &SavedTail) {
        self.following.saved = true;
        let count = saved.count.map_or("all".to_string(), |count| count.to_string());
        let text = format!(
            "{count} transactions that the recorded writer does not have are saved in {} [S6]",
            saved.path
        );
        self.tell("database.tail-saved", Severity::Warning, text);
    }

    pub(in crate::node) fn draw_incarnation(&mut self) -> Incarnation {
        Incarnation(self.draw() >> 11)
    }
}
