//! One swap, from the reading of the clock to its known end (R5, R6, C1; protocol section 3).
//!
//! ```text
//!  begin ─► ReadClock ─► Arm ─► Propose ─┬─► known won   (its State was returned or read)
//!             (release and intent: Propose at once)      ├─► lost        (the version moved past it without it)
//!                                        └─► unresolved  (no answer: may win until the version moves)
//! ```

use crate::command::{Outcome, Proposal, RunRecord, Slot, SwapOutcome};
use crate::event::Severity;
use crate::id::{AttemptId, Epoch, NodeId, Version};
use crate::lease::{Right, Wait};
use crate::node::engine::unresolved::{Form, Unresolved};
use crate::node::intents::Change;
use crate::node::output::Flight;
use crate::node::{Action, Identity, Mute, Node};
use crate::reason::MoveReason;
use crate::state::{Data, DataCopy, Lease, Move as Entry, Phase, State, Sync, Timing};
use crate::sync::Licence;
use crate::time::{Span, Time};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// What a swap is for; each has its guard at the place that begins it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::node) enum Kind {
    Renew,
    Succeed {
        why: MoveReason,
    },
    Release {
        to: NodeId,
        why: MoveReason,
    },
    Solo {
        copy: DataCopy,
        start: u64,
    },
    Join {
        copy: DataCopy,
        start: u64,
        with: DataCopy,
    },
    /// Shared data: from here on this node uses them (guard: Clear).
    Occupy,
    /// Shared data: another's use is proven over (guard: I hold).
    Clear {
        how: String,
    },
    Intend {
        change: Change,
    },
}

/// A swap under way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::node) struct Attempt {
    pub kind: Kind,
    id: AttemptId,
    pub expect: Version,
    /// Read before the gate was armed for it (C1).
    proposed: Option<Time>,
    pub sent: bool,
    by: Proposal,
    /// The record that it writes.
    lease: Lease,
    /// Who held before.
    from: NodeId,
    /// The timing that it writes.
    timing: Timing,
    /// It records the shared data as used by this node.
    uses: bool,
    /// C3: what the new holder must wait, from the record that this swap replaces.
    wait: Option<Wait>,
    /// The encoded State, until it is sent.
    bytes: Vec<u8>,
}

/// The swaps of this run.
#[derive(Clone, Debug)]
pub(in crate::node) struct Proposals {
    /// The number of the newest one (R6).
    n: u64,
    /// The one under way.
    attempt: Option<Attempt>,
    /// Those that were given up without an answer: each may win until the version moves past the one it expected (R5).
    unresolved: Unresolved,
    /// When the newest one that needs a ticket was begun.
    proposed_at: Option<Time>,
    /// The highest version that a succeed, solo or join of this node expected (D7).
    taken_from: Version,
}

impl Proposals {
    /// A run that has proposed nothing; what an earlier one may have taken is below what this node had stored.
    pub fn new(record: &RunRecord) -> Proposals {
        Proposals {
            n: 0,
            attempt: None,
            unresolved: Unresolved::default(),
            proposed_at: None,
            taken_from: record.high,
        }
    }

    /// An id that no other proposal and no marker of this run has (R6).
    pub fn next_id(&mut self, who: &Identity) -> AttemptId {
        self.n += 1;
        AttemptId { node: who.node, boot: who.boot, run: who.run, n: self.n }
    }

    /// One is under way.
    pub fn is_busy(&self) -> bool {
        self.attempt.is_some()
    }

    /// None may still win but the one under way.
    pub fn is_settled(&self) -> bool {
        self.unresolved.is_empty()
    }

    /// When the newest one that needs a ticket was begun.
    pub fn last(&self) -> Option<Time> {
        self.proposed_at
    }

    /// How long ago that was.
    pub fn since_last(&self, now: Time) -> Option<Span> {
        self.proposed_at.map(|at| now.elapsed_most(at))
    }

    /// D7: no swap by which this node took over, or may have, expected as much.
    pub fn is_beyond(&self, version: Version) -> bool {
        version > self.taken_from
    }

    /// The one under way is a join.
    #[cfg(feature = "planted")]
    pub fn is_join(&self) -> bool {
        self.attempt.as_ref().is_some_and(|attempt| Form::Join.fits(&attempt.kind))
    }

    /// One of this form may still win (R5).
    fn may_still_win(&self, form: Form) -> bool {
        self.attempt.as_ref().is_some_and(|attempt| form.fits(&attempt.kind))
            || self.unresolved.has(form)
    }
}

impl Attempt {
    /// What it is to the register; `holds` says whose the record is that it replaces.
    fn proposal(kind: &Kind, holds: bool) -> Proposal {
        let holder = if holds { Proposal::Holder } else { Proposal::Other };
        match kind {
            Kind::Renew if holds => Proposal::Renewal,
            Kind::Renew
            | Kind::Succeed { .. }
            | Kind::Release { .. }
            | Kind::Solo { .. }
            | Kind::Join { .. }
            | Kind::Occupy
            | Kind::Clear { .. }
            | Kind::Intend { .. } => holder,
        }
    }
}

impl Node {
    /// Begins a swap on the newest view. One at a time; nothing is proposed when mute (R7, R2).
    pub(in crate::node) fn begin(&mut self, kind: Kind, now: Time) {
        if self.proposals.attempt.is_some() || self.mute.is_some() {
            return;
        }
        let Some(view) = &self.view else { return };
        let expect = view.version;
        let mut state = view.state.clone();
        let by = Attempt::proposal(&kind, state.lease.holder == self.identity.node);
        let seen = view.seen;
        // R6: a new id each time, also for a retry.
        let id = self.proposals.next_id(&self.identity);
        let wait = match state.lease.phase {
            Phase::Free => None,
            Phase::Heir | Phase::Ruling => {
                Some(Wait { seen, length: state.timing.wait(state.lease.ttl) })
            }
        };
        self.write_swap(&kind, &mut state, id, now);
        if matches!(kind, Kind::Release { .. } | Kind::Intend { change: Change::Vacate }) {
            // From here on nothing is started under what may be over; a later win of this run says otherwise.
            self.stack.licence = None;
        }
        if matches!(kind, Kind::Succeed { .. } | Kind::Solo { .. } | Kind::Join { .. }) {
            self.proposals.taken_from = self.proposals.taken_from.max(expect);
        }
        let ticketed = match kind {
            Kind::Renew
            | Kind::Succeed { .. }
            | Kind::Solo { .. }
            | Kind::Join { .. }
            | Kind::Occupy
            | Kind::Clear { .. } => true,
            Kind::Release { .. } | Kind::Intend { .. } => false,
        };
        self.proposals.attempt = Some(Attempt {
            kind,
            id,
            expect,
            proposed: None,
            sent: false,
            by,
            from: view.state.lease.holder,
            lease: state.lease,
            timing: state.timing,
            uses: matches!(state.data, Data::InUse { node, .. } if node == self.identity.node),
            wait,
            bytes: state.encode(),
        });
        if ticketed {
            self.proposals.proposed_at = Some(now);
            self.ask(Action::ReadClock, Some(Flight::Clock { n: id.n }));
        } else {
            self.send_attempt();
        }
    }

    /// Writes what the swap changes (section 4, column "swap").
    fn write_swap(&self, kind: &Kind, state: &mut State, id: AttemptId, now: Time) {
        let me = self.identity.node;
        let before = state.lease;
        self.clear_ended(&mut state.intent, now);
        match kind {
            Kind::Renew => {
                let phase = self.phase(&before, now);
                renew(&mut state.lease, id, phase);
                // C5: only in a renewal by a Ruling holder.
                if let Some(timing) = self.timing_due(state, now)
                    && phase == Phase::Ruling
                {
                    state.timing = timing;
                    state.lease.ttl = timing.ttl;
                }
            }
            Kind::Solo { copy, .. } => {
                renew(&mut state.lease, id, self.phase(&before, now));
                state.sync = Sync { writer: *copy, with: None };
            }
            Kind::Join { copy, with, .. } => {
                renew(&mut state.lease, id, self.phase(&before, now));
                state.sync = Sync { writer: *copy, with: Some(*with) };
            }
            Kind::Occupy => {
                renew(&mut state.lease, id, self.phase(&before, now));
                let watchdog = self.stack.watchdog;
                state.data = Data::InUse { node: me, epoch: before.epoch, watchdog };
            }
            Kind::Clear { .. } => {
                renew(&mut state.lease, id, self.phase(&before, now));
                state.data = Data::Clear;
            }
            Kind::Succeed { why } => {
                let phase = match before.phase {
                    Phase::Free => Phase::Ruling,
                    Phase::Heir | Phase::Ruling => {
                        let wait = state.timing.wait(before.ttl);
                        if self.record_age(now) >= wait { Phase::Ruling } else { Phase::Heir }
                    }
                };
                state.lease = Lease {
                    epoch: Epoch(before.epoch.0 + 1),
                    holder: me,
                    phase,
                    ttl: before.ttl,
                    by: id,
                };
                write_move(state, before.holder, me, why);
            }
            Kind::Release { to, why } => {
                state.lease = Lease {
                    epoch: Epoch(before.epoch.0 + 1),
                    holder: *to,
                    phase: Phase::Free,
                    ttl: before.ttl,
                    by: id,
                };
                if matches!(state.data, Data::InUse { node, .. } if node == me) {
                    // Its guard is vacate's: everything is down here.
                    state.data = Data::Clear;
                }
                write_move(state, me, *to, why);
            }
            // Any other swap copies the lease, and stands in the member's own field (R5).
            Kind::Intend { change } => {
                Node::write_change(*change, id, state);
                if let Some(member) = state.members.get_mut(&me) {
                    member.by = Some(id);
                }
            }
        }
    }

    /// R6: `Ruling` if at the proposal the wait was over or the record Free, else `Heir`.
    fn phase(&self, before: &Lease, now: Time) -> Phase {
        let over = self.holding.wait_is_over(now);
        if before.phase == Phase::Free || over { Phase::Ruling } else { Phase::Heir }
    }

    /// C1: the clock was read; now the gate is armed, unless a ticket with more than half of its time is kept.
    pub(in crate::node) fn take_clock(&mut self, n: u64, outcome: Outcome) {
        let Some(attempt) = self.proposals.attempt.as_mut().filter(|attempt| attempt.id.n == n)
        else {
            return;
        };
        let Outcome::Clock(read) = outcome else {
            self.proposals.attempt = None;
            return;
        };
        attempt.proposed = Some(read);
        let (timing, ttl) = (attempt.timing, attempt.lease.ttl);
        let ticket = self.ticket_length(&timing, ttl);
        if self.vip.keeps(read) && self.requests.timing().is_none() {
            return self.send_attempt();
        }
        self.vip.arm(n, ticket, &mut self.out);
    }

    /// The kernel took the ticket: only now the proposal may leave.
    pub(in crate::node) fn take_armed(
        &mut self,
        n: u64,
        slot: Slot,
        ticket: Span,
        outcome: Outcome,
        now: Time,
    ) {
        let armed = self.vip.take_armed(outcome, now, &mut self.out);
        let Some(attempt) = self.proposals.attempt.take_if(|attempt| attempt.id.n == n) else {
            return;
        };
        // A refusal ends the attempt before it was sent: nothing was proposed.
        if let Some(at) = attempt.proposed.filter(|_| armed) {
            self.proposals.attempt = Some(attempt);
            self.vip.armed(slot, ticket, n, at);
            self.send_attempt();
        }
    }

    fn send_attempt(&mut self) {
        let Some(attempt) = &mut self.proposals.attempt else { return };
        attempt.sent = true;
        let action = Action::Propose {
            attempt: attempt.id,
            expect: attempt.expect,
            by: attempt.by,
            bytes: core::mem::take(&mut attempt.bytes),
        };
        let n = attempt.id.n;
        self.ask(action, Some(Flight::Propose { n }));
    }

    /// The register answered the swap, or did not.
    pub(in crate::node) fn take_swap(&mut self, n: u64, outcome: Outcome, now: Time) {
        // Its win may have been pushed here before; then another attempt may be under way.
        let attempt = self.proposals.attempt.take_if(|attempt| attempt.id.n == n);
        match outcome {
            Outcome::Swap(SwapOutcome::Won { version, bytes }) => {
                let id = attempt.as_ref().map(|attempt| attempt.id);
                self.proposals.unresolved.add(attempt);
                let recent: Vec<AttemptId> = id.into_iter().collect();
                self.take_view(version, &bytes, &recent, now);
                // The same version may have been pushed here before the answer came.
                self.resolve_attempts(&recent);
            }
            Outcome::Swap(SwapOutcome::Lost { version, bytes }) => {
                self.proposals.unresolved.add(attempt);
                self.take_view(version, &bytes, &[], now);
                self.resolve_attempts(&[]);
            }
            Outcome::Swap(SwapOutcome::Unknown) | Outcome::Failed(_) => {
                self.proposals.unresolved.add(attempt);
                self.resolve_attempts(&[]);
            }
            Outcome::Swap(SwapOutcome::WentBack) => self.fall_mute(Mute::WentBack),
            Outcome::Done
            | Outcome::Clock(_)
            | Outcome::Database { .. }
            | Outcome::Fence(_)
            | Outcome::Stack { .. }
            | Outcome::Peer { .. } => self.proposals.unresolved.add(attempt),
        }
    }

    /// R5: an attempt is won only when a State whose `lease.by` is its id was returned or read, or `recent` has it;
    /// it can win no more once the version has moved past the one it expected without it.
    pub(in crate::node) fn resolve_attempts(&mut self, recent: &[AttemptId]) {
        let Some(view) = &self.view else { return };
        let version = view.version;
        let (by, members) = (view.state.lease.by, &view.state.members);
        let shown: Vec<AttemptId> = members
            .values()
            .filter_map(|member| member.by)
            .chain(recent.iter().copied())
            .chain([by])
            .filter(|id| id.run == self.identity.run)
            .collect();
        let settled = self.proposals.unresolved.settle(version);
        for attempt in &settled.newest {
            if shown.contains(&attempt.id) {
                self.know_won(attempt);
            } else {
                self.know_lost(&attempt.kind);
            }
        }
        if settled.older_succession {
            self.lose_succession();
        }
        // The one still in the register's hands: a win that was pushed here counts at once.
        let won = |a: &mut Attempt| a.sent && a.expect < version && shown.contains(&a.id);
        if let Some(attempt) = self.proposals.attempt.take_if(won) {
            self.know_won(&attempt);
        }
    }

    /// What a won swap gives (section 4, column "once known won").
    fn know_won(&mut self, attempt: &Attempt) {
        // Only a renewal dates what others wait for: another swap's win opens nothing.
        if attempt.proposed.is_some() {
            self.vip.won(attempt.id.n);
        }
        #[cfg(feature = "planted")]
        if self.planted(crate::planted::Planted::SlotForEarlierWin) {
            self.vip.won_for_any();
        }
        let epoch = attempt.lease.epoch;
        match &attempt.kind {
            Kind::Renew => self.extend_right(attempt, epoch),
            Kind::Occupy => {
                self.extend_right(attempt, epoch);
                let text = "the shared data are recorded as used by this node [occupy]";
                self.tell("data.occupied", Severity::Info, text.into());
            }
            Kind::Clear { how } => {
                self.extend_right(attempt, epoch);
                let text = format!("the shared data are proven clear: {how} [clear]");
                self.tell("data.cleared", Severity::Warning, text);
                self.stack.word = None;
            }
            Kind::Solo { copy, start } | Kind::Join { copy, start, .. } => {
                self.extend_right(attempt, epoch);
                if self.epoch() == epoch {
                    let (incarnation, start) = (copy.incarnation, *start);
                    self.holding.license(Licence { epoch, incarnation, start });
                }
                if let Kind::Join { with, .. } = &attempt.kind {
                    self.follower.recorded(Some(*with), attempt.proposed);
                    let name = self.name(with.node);
                    let text = format!(
                        "{name} is in sync: every acknowledged write is received there [join]"
                    );
                    self.tell("sync.joined", Severity::Info, text);
                } else {
                    self.follower.recorded(None, attempt.proposed);
                    let why = self.follower.alone_why().unwrap_or("no copy beside it is in sync");
                    let text = format!("this node acknowledges alone: {why} [solo]");
                    self.tell("sync.solo", Severity::Warning, text);
                }
            }
            Kind::Succeed { why } => {
                let why = why.words(attempt.from, &|node| self.name(node));
                self.holding.succeed(epoch, attempt.wait, attempt.proposed);
                self.stack.wanted = true;
                self.stack.failure = None;
                self.extend_right(attempt, epoch);
                let text = format!("took the lease as heir, epoch {epoch}: {why} [succeed]");
                self.tell("lease.succeeded", Severity::Warning, text);
            }
            Kind::Release { to, .. } => {
                let text = format!("released to {}, epoch {epoch}", self.name(*to));
                self.tell("lease.released", Severity::Info, text);
                self.finish_move();
            }
            Kind::Intend { change } => {
                if *change == Change::Switchover(None) {
                    self.requests.taken_back();
                }
                self.wish_written(*change);
            }
        }
    }

    /// C1: the right runs from the clock's reading before the proposal; it never grows shorter by an older win.
    fn extend_right(&mut self, attempt: &Attempt, epoch: Epoch) {
        let Some(proposed) = attempt.proposed else { return };
        let superseded = !self.holds() || self.epoch() != epoch;
        let length = self.ticket_length(&attempt.timing, attempt.lease.ttl);
        if superseded || self.holding.tenure().is_none_or(|tenure| tenure.epoch != epoch) {
            return;
        }
        if attempt.uses {
            self.stack.licence = Some(epoch);
        }
        self.holding.extend(epoch, Right { proposed, length });
    }

    fn know_lost(&mut self, kind: &Kind) {
        match kind {
            Kind::Succeed { .. } => self.lose_succession(),
            Kind::Renew
            | Kind::Release { .. }
            | Kind::Occupy
            | Kind::Clear { .. }
            | Kind::Solo { .. }
            | Kind::Join { .. }
            | Kind::Intend { .. } => {}
        }
    }

    /// D5: a join of this run may still win.
    pub(in crate::node) fn is_join_unanswered(&self) -> bool {
        self.proposals.may_still_win(Form::Join)
    }

    /// A release of this run may still win (section 5: it leaves me closed until a newer version is seen).
    pub(in crate::node) fn is_release_unanswered(&self) -> bool {
        self.proposals.may_still_win(Form::Release)
    }

    /// A vacate or a release of this run may still win: nothing may be started meanwhile (section 6).
    pub(in crate::node) fn is_vacate_unanswered(&self) -> bool {
        self.proposals.may_still_win(Form::Release) || self.proposals.may_still_win(Form::Vacate)
    }

    /// An activation that this run proposed may still win.
    pub(in crate::node) fn is_activation_unanswered(&self) -> bool {
        self.proposals.may_still_win(Form::Activate)
    }

    /// A succession of this run may still win (D7).
    pub(in crate::node) fn is_succession_unanswered(&self) -> bool {
        self.proposals.may_still_win(Form::Succeed)
    }

    /// How many swaps without an answer are remembered one by one: bounded, however long nobody answers.
    pub fn swaps_unanswered(&self) -> usize {
        self.proposals.unresolved.len()
    }
}

fn write_move(state: &mut State, from: NodeId, to: NodeId, why: &MoveReason) {
    state.intent.switchover = None;
    let epoch = state.lease.epoch;
    state.remember(Entry { epoch, from, to, why: why.clone() });
}

fn renew(lease: &mut Lease, id: AttemptId, phase: Phase) {
    lease.phase = phase;
    lease.by = id;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Incarnation;

    #[test]
    fn only_a_renewal_of_the_holder_leaves_before_what_it_expects_is_stored() {
        let (other, copy) = (NodeId(2), DataCopy { node: NodeId(1), incarnation: Incarnation(7) });
        let text = String::new;
        let others = [
            Kind::Solo { copy, start: 1 },
            Kind::Join { copy, start: 1, with: copy },
            Kind::Release { to: other, why: MoveReason::Asked },
            Kind::Succeed { why: MoveReason::Silent },
            Kind::Occupy,
            Kind::Clear { how: text() },
            Kind::Intend { change: Change::Vacate },
            Kind::Intend { change: Change::Switchover(None) },
        ];
        assert_eq!(Attempt::proposal(&Kind::Renew, true), Proposal::Renewal);
        assert_eq!(Attempt::proposal(&Kind::Renew, false), Proposal::Other);
        for kind in others {
            assert_eq!(Attempt::proposal(&kind, true), Proposal::Holder, "{kind:?}");
            assert_eq!(Attempt::proposal(&kind, false), Proposal::Other, "{kind:?}");
        }
    }
}
