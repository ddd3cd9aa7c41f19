//! Giving the lease to a named successor: planned, after the death of a vital service, or after the death of the
//! database (protocol section 5). Until the release is proposed every step has an undo.
//!
//! ```text
//!  planned:  Marker ─► ReadOnly ─► Applied ─► Cut ─► Close ─► Release
//!  death:    Kill ─────────────────────────────────► Close ─► Release
//! ```

use crate::command::{Answer, DatabaseStep, Obstacle, Request};
use crate::event::Severity;
use crate::id::{AttemptId, Epoch, NodeId, RequestId};
use crate::node::Node;
use crate::node::engine::propose::Kind;
use crate::node::people::status::{BEHIND_TOLD, behind};
use crate::node::requests::Wants;
use crate::node::workload::replicated::database::held;
use crate::observe::Position;
use crate::reason::MoveReason;
use crate::state::Switchover;
use crate::time::{Span, Time};
use alloc::format;
use alloc::string::String;

/// How long the marker may take to be confirmed, before anything changed.
const MARKER_MAX: Span = Span::millis(1_000);
/// How long the successor may take to apply the last write, while clients get errors.
const APPLY_MAX: Span = Span::millis(1_000);
/// Cutting sockets is a courtesy: a move does not wait longer for it.
const CUT_MAX: Span = Span::millis(50);
/// How long the end of a dead database's unit may take before peers are told that this node cannot serve.
const KILL_MAX: Span = Span::millis(3_000);
/// What a hold-down comes to on a node whose interface of the VIP has no carrier.
const CUT_OFF_HOLD_DOWN: Span = Span::millis(5_000);
/// How long a target that failed may take until it is undone there, and up again where it came from.
const COME_BACK_MAX: Span = Span::millis(180_000);

/// A move that somebody asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::node) struct Planned {
    to: NodeId,
    /// The epoch that it is to end.
    epoch: Epoch,
    /// It stands in the register, or stood, or a newer one is asked for.
    pub written: bool,
    /// Since when its target says that it failed.
    failed: Option<Time>,
}

impl Planned {
    /// Out of this epoch.
    pub fn new(to: NodeId, epoch: Epoch) -> Planned {
        Planned { to, epoch, written: false, failed: None }
    }

    /// As the register has it.
    pub fn switchover(&self) -> Switchover {
        Switchover { to: self.to, epoch: self.epoch }
    }
}

/// A move under way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::node) struct Move {
    pub to: NodeId,
    pub why: MoveReason,
    stage: Stage,
    since: Time,
    token: Option<AttemptId>,
    marked: bool,
    pub sockets: bool,
    pub refused: bool,
    pub killed: bool,
    pub blocked: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::node) enum Stage {
    /// Shared data: everything of the stack goes down first.
    Stack,
    Marker,
    ReadOnly,
    Applied(Position),
    Cut,
    Kill,
    Close,
    Release,
}

impl Move {
    /// From here on the address is not wanted, and nothing is renewed.
    pub fn gives_up_address(&self) -> bool {
        match self.stage {
            Stage::Close | Stage::Release => true,
            Stage::Stack
            | Stage::Marker
            | Stage::ReadOnly
            | Stage::Applied(_)
            | Stage::Cut
            | Stage::Kill => false,
        }
    }

    /// It kills, or gives up: nothing else may come in between.
    pub fn goes_on(&self) -> bool {
        self.stage == Stage::Kill || self.gives_up_address()
    }

    /// Read-only with the gate open: an error is the undo, nobody noticed (section 5, switchover).
    pub fn keeps_open(&self) -> bool {
        match self.stage {
            Stage::Stack | Stage::Marker | Stage::ReadOnly | Stage::Applied(_) => true,
            Stage::Cut | Stage::Kill | Stage::Close | Stage::Release => false,
        }
    }

    pub fn marker_confirmed(&mut self, token: AttemptId) {
        self.marked |= self.token == Some(token);
    }

    /// It goes on as it should; past this the peers are told.
    pub fn is_in_time(&self, now: Time) -> bool {
        self.stage != Stage::Kill || now.elapsed_most(self.since) < KILL_MAX
    }

    /// In the operator's words.
    pub fn text(&self) -> &'static str {
        match self.stage {
            Stage::Stack => "taking the stack down",
            Stage::Marker => "waiting for a last marker to be confirmed",
            Stage::ReadOnly => "turning read-only",
            Stage::Applied(_) => "waiting until the successor applied the last write",
            Stage::Cut => "cutting clients' connections",
            Stage::Kill => "ending what is left of the database's unit",
            Stage::Close => "closing the gate",
            Stage::Release => "releasing the lease",
        }
    }
}

impl Node {
    pub(in crate::node) fn note_move(&mut self, note: impl FnOnce(&mut Move)) {
        if let Some(moving) = &mut self.moving {
            note(moving);
        }
    }

    /// May a planned move begin: beside what any move needs, nobody holds it up with a lock, here or there.
    pub(in crate::node) fn can_move(&self, to: NodeId, now: Time) -> Result<(), String> {
        self.can_take(to, now)?;
        let report = self.peers.get(&to).and_then(|peer| peer.report.as_ref());
        let database = report.and_then(|report| report.database.as_ref());
        let late = database.and_then(|d| Some((d.behind?, d.backlog)));
        if let Some((late, backlog)) = late.filter(|(late, _)| *late >= BEHIND_TOLD) {
            return Err(format!("{}: {}", self.name(to), behind(late, backlog)));
        }
        let there = database.and_then(|database| database.held.clone());
        let there = there.map(|held| format!("{}: {held}", self.name(to)));
        match self.locked(now).map(held).or(there) {
            Some(held) => Err(format!("{held}: it would hold the move up")),
            None => Ok(()),
        }
    }

    /// Begins a move if something asks for one: an operator, the death of the database or of a vital service.
    pub(in crate::node) fn consider_moves(&mut self, now: Time) {
        if self.moving.is_some() || self.is_release_unanswered() {
            return;
        }
        let Some(view) = &self.view else { return };
        let with = view.state.sync.with.map(|copy| copy.node).filter(|node| *node != self.me());
        let planned = view.state.intent.switchover.filter(|s| s.epoch == view.state.lease.epoch);
        let rules = self.rules(now);
        if !rules {
            return;
        }
        // A recovery may take hours: who becomes able meanwhile takes over.
        if self.database.is_away() || self.database.is_being_killed() {
            if self.leaves_alone(now) {
                return;
            }
            if let Some(to) = with.filter(|to| self.can_take_data(*to, now).is_ok()) {
                let why = match self.database.is_away() {
                    true => MoveReason::DatabaseDied,
                    false => MoveReason::DatabaseHung,
                };
                self.begin_move(to, why, Stage::Kill, now);
            }
            return;
        }
        if let Some(cause) = self.database_ailment(now)
            && let Some(to) = self.better_node(now)
        {
            // The lost port, or the hang, may be the replica's too: its confirmation is not waited for.
            return self.begin_move(to, MoveReason::DatabaseFails(cause), Stage::Kill, now);
        }
        if !self.is_writable() {
            return;
        }
        if let Some(switchover) = planned {
            match self.can_move(switchover.to, now) {
                Ok(()) => self.begin_move(switchover.to, MoveReason::Asked, Stage::Marker, now),
                Err(why) => self.requests.withdraw(&why, &mut self.out),
            }
            return;
        }
        if let Some(failure) = self.vital_failure(now)
            && let Some(to) = self.better_node(now)
        {
            let why = MoveReason::VitalFails(failure.what, failure.cause);
            self.begin_move(to, why, Stage::Marker, now);
        }
    }

    /// The recorded follower, if it would serve better than a holder on which something vital fails, and such a move is
    /// allowed now (L4).
    pub(in crate::node) fn better_node(&self, now: Time) -> Option<NodeId> {
        // Where nobody is served a move costs nobody anything: then only so much of it that a cable with a loose
        // contact moves nothing in a circle.
        let hold_down = match self.cut_off() {
            Some(_) => self.spec.policy.hold_down.min(CUT_OFF_HOLD_DOWN),
            None => self.spec.policy.hold_down,
        };
        let held_down = self.service_moved.is_some_and(|at| now.elapsed_most(at) < hold_down);
        if !self.holds() || held_down || self.leaves_alone(now) {
            return None;
        }
        self.successor(now)
    }

    pub(in crate::node) fn begin_move(
        &mut self,
        to: NodeId,
        why: MoveReason,
        stage: Stage,
        now: Time,
    ) {
        let text = format!("moving to {}: {}", self.name(to), self.in_words(&why));
        self.tell("move.begun", Severity::Info, text);
        self.serving.begin_outage(now);
        let token = (stage == Stage::Marker).then(|| self.mark_log());
        if stage == Stage::Kill && !self.database.is_being_killed() {
            self.step(DatabaseStep::Kill, now);
        }
        self.follower.stop_joining();
        // Asked again, what was stuck is tried again at once.
        self.stack.stuck = None;
        self.moving = Some(Move {
            to,
            why,
            stage,
            since: now,
            token,
            marked: false,
            sockets: false,
            refused: false,
            killed: false,
            blocked: false,
        });
        self.reporting.hasten();
    }

    /// One stage further, as often as the facts allow.
    pub(in crate::node) fn advance_move(&mut self, now: Time) {
        let Some(moving) = self.moving.clone() else { return };
        let late = |most: Span| now.elapsed_most(moving.since) >= most;
        let rules = self.rules(now);
        if !rules && moving.stage != Stage::Release {
            return self.undo_move("the right ended meanwhile", now);
        }
        if self.database.is_down()
            && !matches!(moving.stage, Stage::Kill | Stage::Close | Stage::Release)
        {
            // It died on the way: the shorter path, with the same successor.
            return self.set_stage(Stage::Kill, now);
        }
        match &moving.stage {
            Stage::Marker if moving.marked => {
                if self.database.is_free() {
                    self.step(DatabaseStep::ReadOnly, now);
                    self.set_stage(Stage::ReadOnly, now);
                }
            }
            Stage::Marker if late(MARKER_MAX) => {
                self.undo_move("the last marker was not confirmed in time", now);
            }
            Stage::ReadOnly if moving.blocked => {
                self.undo_move("a commit that waits blocks read-only [section 9, row 7]", now);
            }
            Stage::ReadOnly => {
                let facts = self.database.facts.as_ref().filter(|f| f.read_only && f.waiting == 0);
                if let Some(end) = facts.map(|facts| facts.end.clone()) {
                    self.set_stage(Stage::Applied(end), now);
                    self.advance_move(now);
                }
            }
            Stage::Applied(end) if self.has_applied(moving.to, end) => self.cut(now),
            Stage::Applied(_) if self.can_take(moving.to, now).is_err() => {
                self.undo_move("the successor fell silent, or cannot serve any more", now);
            }
            Stage::Applied(_) if late(APPLY_MAX) => {
                self.undo_move("the successor did not apply the last write in time", now);
            }
            Stage::Stack if self.is_put_down() => self.cut(now),
            Stage::Stack if self.hangs_at_the_end().is_some() => {
                self.undo_move("the shared directory does not answer", now);
            }
            Stage::Stack if self.is_stack_stuck() => {
                self.undo_move("a step of the stack does not go down", now);
            }
            Stage::Cut if (moving.sockets && moving.refused) || late(CUT_MAX) => {
                self.close();
                self.set_stage(Stage::Close, now);
            }
            Stage::Kill => self.advance_kill(&moving, now),
            Stage::Close => {
                self.close();
                if self.vip.is_shut() {
                    self.set_stage(Stage::Release, now);
                    self.advance_move(now);
                }
            }
            Stage::Release => self.propose_release(&moving, now),
            Stage::Stack | Stage::Marker | Stage::Applied(_) | Stage::Cut => {}
        }
    }

    /// Clients are cut: a reset for each connection, and for each that would begin.
    fn cut(&mut self, now: Time) {
        self.vip.cut(&mut self.out);
        self.set_stage(Stage::Cut, now);
    }

    /// The unit's cgroup must be empty before anything is given away.
    fn advance_kill(&mut self, moving: &Move, now: Time) {
        if moving.killed {
            self.close();
            self.set_stage(Stage::Close, now);
        } else if !self.database.is_being_killed() {
            self.step(DatabaseStep::Kill, now);
        }
    }

    /// Release: closed, confirmed; nothing can commit; my right is none from here on (C1). A release without an
    /// answer leaves this node closed until a newer version is seen; it is proposed again under a new id.
    fn propose_release(&mut self, moving: &Move, now: Time) {
        if self.proposals.is_busy() || self.vip.may_pass() || !self.is_quiet() {
            return;
        }
        self.holding.give_up();
        let (to, why) = (moving.to, moving.why.clone());
        self.begin(Kind::Release { to, why }, now);
    }

    fn has_applied(&self, node: NodeId, end: &Position) -> bool {
        let report = self.peers.get(&node).and_then(|peer| peer.report.as_ref());
        report
            .and_then(|report| report.database.as_ref())
            .is_some_and(|database| database.applied == *end)
    }

    fn set_stage(&mut self, stage: Stage, now: Time) {
        if let Some(moving) = &mut self.moving {
            moving.stage = stage;
            moving.since = now;
        }
    }

    /// Nobody noticed, or only an error: writable again, the gate as it was.
    fn undo_move(&mut self, why: &str, now: Time) {
        let Some(moving) = self.moving.take() else { return };
        if moving.why.is_by_health() {
            self.service_moved = Some(now);
        }
        if matches!(moving.stage, Stage::Cut | Stage::Close) {
            // A refused slot opens again only by a new ticket.
            self.close();
        }
        let text = format!("the move to {} was undone: {why}", self.name(moving.to));
        self.tell("move.undone", Severity::Warning, text.clone());
        self.requests.withdraw(&text, &mut self.out);
        self.reporting.hasten();
    }

    /// The lease is with the successor.
    pub(in crate::node) fn finish_move(&mut self) {
        self.moving = None;
        self.serving.forget_outage();
        self.reporting.hasten();
    }

    /// An operator asks something of this node.
    pub(in crate::node) fn take_request(&mut self, request: RequestId, what: Request, now: Time) {
        match what {
            Request::Maintenance { .. }
            | Request::Pause { .. }
            | Request::Stop
            | Request::Activate { .. }
            | Request::MayActivate { .. }
            | Request::MayBelieve { .. }
            | Request::Deactivate
            | Request::Repair
            | Request::Start
            | Request::Fence { .. }
            | Request::Resync { .. }
            | Request::Verify { .. }
            | Request::Timing(_) => self.wish(request, what, now),
            Request::Switchover { to } => match self.check_switchover(to, now) {
                Ok(to) => {
                    let planned = Planned::new(to, self.epoch());
                    self.requests.enter(request, Wants::Move(planned), now);
                }
                Err(reason) => self.answer(request, Answer::refused(reason)),
            },
        }
    }

    fn check_switchover(&self, to: Option<NodeId>, now: Time) -> Result<NodeId, String> {
        let view =
            self.view.as_ref().ok_or("the register was not read yet: this node has no quorum")?;
        let holder = view.state.lease.holder;
        let to = to.map_or_else(|| self.default_target(holder), Ok)?;
        self.bar_to_moves()?;
        if to == holder {
            return Err(format!("{} is active already", self.name(to)));
        }
        if to == self.me() {
            if self.eligibility() != Some(true) {
                return Err(format!(
                    "{} is not in sync: wait until `regent status` says so",
                    self.name(to)
                ));
            }
        } else {
            self.can_take(to, now)?;
        }
        let heard = holder == self.me()
            || self
                .peers
                .get(&holder)
                .is_some_and(|p| p.fresh(self.spec.pace.suspicion, now).is_some());
        if !heard {
            return Err(format!(
                "the active node {} is silent: a planned move needs it",
                self.name(holder)
            ));
        }
        Ok(to)
    }

    /// What whoever asked for this move is to be told, once it is over one way or another; `asking`: it, or a newer
    /// one, is still to be written.
    pub(in crate::node) fn turn_move(
        &self,
        planned: &mut Planned,
        asking: bool,
        since: Time,
        now: Time,
    ) -> Option<Answer> {
        let state = &self.view.as_ref()?.state;
        let (lease, moved) = (state.lease, state.lease.epoch != planned.epoch);
        let peer = self.peers.get(&lease.holder).and_then(|peer| peer.report.as_ref());
        let peer = peer.filter(|report| report.epoch == lease.epoch);
        let serving = match lease.holder == self.me() {
            true => self.serving.is_on(),
            false => peer.is_some_and(|report| report.serving),
        };
        let (holder, ms) = (self.name(lease.holder), now.elapsed_most(since).as_millis());
        if moved && serving && lease.holder == planned.to {
            let epoch = lease.epoch;
            return Some(Answer::Done(format!(
                "{holder} is active, epoch {epoch}, {ms} ms after the request"
            )));
        }
        if moved && serving {
            let why = self.last_move(state).unwrap_or_default();
            return Some(Answer::undone(format!("{why}; {holder} is active again, {ms} ms later")));
        }
        let stack = match lease.holder == self.me() {
            true => self.stack_report(),
            false => peer.and_then(|report| report.stack.clone()),
        };
        let failed = stack.filter(|_| moved).and_then(|stack| Some((stack.failure?, stack.stuck)));
        match failed {
            Some((why, true)) => {
                let reason = format!("{holder} does not bring the stack up: {why}");
                return Some(Answer::Failed { reason, obstacle: Obstacle::NotRolledBack });
            }
            Some((why, false)) => {
                let failed = *planned.failed.get_or_insert(now);
                if now.elapsed_most(failed) >= COME_BACK_MAX {
                    return Some(Answer::undone(format!(
                        "{holder} does not bring the stack up: {why}; it is undone there, and nobody could take it back: \
                         nothing is active"
                    )));
                }
            }
            None => planned.failed = None,
        }
        if !moved && state.intent.switchover.is_none() && !asking {
            return Some(Answer::undone("the active node undid the move; see `regent history`"));
        }
        let most = self.move_max();
        let late = now.elapsed_most(since) >= most;
        let text = format!("no move within {} ms; see `regent explain`", most.as_millis());
        late.then(|| Answer::failed(text))
    }
}
