//! What a holder does: make its database ready, renew, open, go on alone when its follower is gone, take it back
//! in (protocol section 4).

use super::failing::Local;
use super::propose::Kind;
use super::{Following, Node};
use crate::command::{DatabaseStep, Outcome, Slot};
use crate::event::Severity;
use crate::observe::{DatabaseFacts, Thread};
use crate::reason::{RoleReason, Standing};
use crate::role::Role;
use crate::state::DataCopy;
use crate::sync;
use crate::time::{Span, Time};

/// How long before the wait's end solo is proposed: two swaps after a refusal, and the steps after them.
const SOLO_LEAD: Span = Span::millis(120);
/// Between two proposals when no right runs: a retry costs a ballot, not a ticket.
const RETRY: Span = Span::millis(20);

impl Node {
    pub(super) fn hold(&mut self, now: Time) {
        if self.spec.stack.is_some() {
            return self.hold_shared(now);
        }
        self.drop_recopy();
        self.told_foreign &= self.eligibility() == Some(false);
        self.succession = None;
        self.following = Following::default();
        if self.eligibility() == Some(false) {
            return self.hold_without_data(now);
        }
        if let Some(was) = self.needs_name() {
            return self.rename_data(was, now);
        }
        self.told.end("data.renamed");
        if self.is_release_unanswered() {
            self.close();
        }
        self.consider_moves(now);
        self.advance_move(now);
        self.close_unserved(now);
        self.keep_address(now);
        self.prepare_database(now);
        self.watch_follower(now);
        self.advance_join(now);
        self.free_stranded(now);
        self.watch_locks(now);
        self.compare_when_due(now);
        if self.is_writable() {
            self.holding.served(now);
        }
        self.propose_next(now);
        self.open(now);
    }

    /// D10: a database that comes back may have a tail that nobody confirmed, or older data: from its death on the
    /// gate stays closed until this run is licensed for the new start.
    fn close_unserved(&mut self, now: Time) {
        let served = match &self.database.facts {
            Some(facts) => self.is_licensed(facts) || self.keeps(facts),
            // Unknown is not down: a new run, or a new worker, has not looked yet.
            None => !self.database.is_down() && !self.database.is_unseen_since(self.born, now),
        };
        if self.vip.is_held() && self.moving.is_none() && !served {
            self.close();
        }
    }

    /// Am I eligible? Unknown until the incarnation was read in this run.
    pub(super) fn eligibility(&self) -> Option<bool> {
        let view = self.view.as_ref()?;
        if self.spec.stack.is_some() {
            // There is one copy of shared data, and whoever may use it has all of it.
            return Some(true);
        }
        let known = self.database.incarnation_known()?;
        #[cfg(feature = "planted")]
        if self.planted(crate::planted::Planted::OutOfSyncSucceeds) {
            return Some(known.is_some());
        }
        let sync = &view.state.sync;
        let renamed = sync::is_renamed(sync, self.me(), self.database.was());
        Some(renamed || sync::is_eligible(sync, self.me(), known))
    }

    /// A holder whose data is not the recorded one closes and does not renew: it lets its right end, and says so
    /// to its peers, of whom an eligible one succeeds (section 4, Eligible).
    fn hold_without_data(&mut self, now: Time) {
        self.close();
        self.moving = None;
        self.quiesce_database(now);
        if !self.told_foreign {
            self.told_foreign = true;
            self.tell("data.not-recorded", Severity::Alarm, "this node holds the lease, but its data is not the recorded copy: it closes, renews no more, and waits for an eligible node [section 9, row 2]".into());
        }
    }

    /// D2: this run found its database writable, under a record that it inherits without a wait, and keeps it.
    pub(super) fn keeps(&self, facts: &DatabaseFacts) -> bool {
        self.holding.is_inherited()
            && self.holding.tenure().is_some_and(|tenure| tenure.wait.is_none())
            && self.database.found_writable == Some(facts.start)
            && !facts.read_only
    }

    pub(super) fn is_licensed(&self, facts: &DatabaseFacts) -> bool {
        sync::is_licensed(self.holding.licence(), self.epoch(), facts)
    }

    /// Does a right of this node run, and has it started (V1, V7)?
    pub fn rules(&self, now: Time) -> bool {
        self.holding.rules(now)
    }

    /// C1: when the proposal was dated that its right is counted from.
    pub fn right_since(&self) -> Option<Time> {
        Some(self.holding.right()?.proposed)
    }

    /// The local copy as the register would name it.
    pub(super) fn my_copy(&self, facts: &DatabaseFacts) -> Option<DataCopy> {
        facts.incarnation.map(|incarnation| DataCopy { node: self.identity.node, incarnation })
    }

    /// Brings the database to where a holder needs it, one step at a time: receiver off, drained, unmarked,
    /// strict (D6); once solo is won loose (D3), once the right has started writable (D2).
    pub(super) fn prepare_database(&mut self, now: Time) {
        if self.moving.is_some() || !self.database.is_free() {
            return;
        }
        let Some(facts) = self.database.facts.clone() else { return };
        let Some(copy) = self.my_copy(&facts) else { return };
        if !facts.read_only {
            return self.prepare_writable(&facts, copy, now);
        }
        let follows = facts.source.is_some() || facts.mark;
        if follows && !matches!(facts.receiver, Thread::Stopped | Thread::Failed(_)) {
            return self.step(DatabaseStep::StopReceiver, now);
        }
        // The mark is taken off only when all is applied: what a death then leaves of a source, without threads, has
        // nothing to drain.
        let applies = matches!(facts.applier, Thread::Running | Thread::Connecting);
        let drains = facts.mark || applies;
        #[cfg(feature = "planted")]
        let drains = drains || self.planted(crate::planted::Planted::DrainsUnmarked);
        if follows && !facts.drained && drains {
            self.database.hurry(now);
            self.free_applier(now);
            return;
        }
        if facts.mark {
            // D6: what was received is applied; a restart now loses nothing.
            let incarnation = copy.incarnation;
            return self.step(DatabaseStep::Keep { incarnation, mark: false }, now);
        }
        if facts.source.is_some() {
            return self.step(DatabaseStep::EndFollowing, now);
        }
        #[cfg(feature = "planted")]
        if self.planted(crate::planted::Planted::InheritedSync) && self.rules(now) {
            let step = if facts.strict { DatabaseStep::Loose } else { DatabaseStep::Writable };
            return self.step(step, now);
        }
        if !self.is_licensed(&facts) {
            return;
        }
        if self.wants_loose(copy) && facts.strict {
            return self.loosen(copy, &facts, now);
        }
        if !self.wants_loose(copy) && !facts.strict {
            return self.step(DatabaseStep::Strict, now);
        }
        if self.rules(now) && !self.vip.is_closing() {
            self.step(DatabaseStep::Writable, now);
        }
    }

    fn prepare_writable(&mut self, facts: &DatabaseFacts, copy: DataCopy, now: Time) {
        if !self.is_licensed(facts) && !self.keeps(facts) {
            // D2: somebody made it writable by hand; as an heir it would wait for ever to be drained.
            return self.quiesce_database(now);
        }
        let loose = self.wants_loose(copy);
        // D3: a new run loosens nothing before it has won a swap.
        if loose && facts.strict && self.rules(now) {
            self.loosen(copy, facts, now);
        } else if !loose && !facts.strict {
            self.step(DatabaseStep::Strict, now);
        }
    }

    fn loosen(&mut self, copy: DataCopy, facts: &DatabaseFacts, now: Time) {
        let Some(view) = &self.view else { return };
        let unanswered = self.is_join_unanswered();
        #[cfg(feature = "planted")]
        let unanswered = unanswered && !self.takes_join_for_lost();
        if sync::may_be_loose(&view.state.sync, copy, unanswered, facts) {
            self.step(DatabaseStep::Loose, now);
        }
    }

    /// D3, D5: the mode that the register asks for. Strict while a follower is recorded, or being taken in.
    fn wants_loose(&self, copy: DataCopy) -> bool {
        let Some(view) = &self.view else { return false };
        let solo = view.state.sync.writer == copy && view.state.sync.with.is_none();
        let joining = self.follower.is_joined_strictly();
        #[cfg(feature = "planted")]
        if self.takes_join_for_lost() {
            return solo;
        }
        solo && !joining && !self.is_join_unanswered()
    }

    /// The planted mistake: a join without an answer is taken for lost.
    #[cfg(feature = "planted")]
    fn takes_join_for_lost(&self) -> bool {
        self.planted(crate::planted::Planted::LooseWhileJoin)
            && self.is_join_unanswered()
            && !self.proposals.is_join()
    }

    /// The VIP goes on the interface behind the closed gate, and its lifetime is refreshed while a right runs.
    pub(super) fn keep_address(&mut self, now: Time) {
        if self.wants_address() {
            self.vip.refresh(now, &mut self.out);
        }
    }

    /// The agent is about to be stopped on purpose. Of two hosts and no third the right lasts until it is released, and
    /// nobody else can take it (ADR 0018): the stack goes on, and so does the address, until the next agent of this
    /// boot goes on with both, the host ends, or an hour is over. Elsewhere the kernel ends what this run leaves.
    pub fn leave_to_the_kernel(&mut self, now: Time) {
        let pair = self.is_pair();
        if pair && self.rules(now) && self.serving.is_opened() && self.wants_address() {
            self.vip.leave(&mut self.out);
        }
    }

    /// Should the VIP be on this host's interface? While this node holds with a right that runs and is not
    /// giving it up.
    pub(super) fn wants_address(&self) -> bool {
        self.holds()
            && self.mute.is_none()
            && (self.spec.stack.is_some() || !self.is_stopped() || self.is_writable())
            && self.eligibility() == Some(true)
            && self.holding.has_right()
            && self.moving.as_ref().is_none_or(|m| !m.gives_up_address())
            && !self.is_release_unanswered()
            && (self.spec.stack.is_none() || self.uses_address())
    }

    /// The next swap: solo, join, or a renewal (which each of them is, too).
    pub(super) fn propose_next(&mut self, now: Time) {
        if self.proposals.is_busy() || self.is_release_unanswered() {
            return;
        }
        if self.moving.as_ref().is_some_and(|m| m.gives_up_address()) {
            return;
        }
        let pause = if self.holding.has_right() { self.spec.pace.renewal } else { RETRY };
        let since = self.proposals.since_last(now).unwrap_or(pause);
        let record = match self.spec.stack {
            Some(_) => self.wanted_use(now),
            None => self.wanted_record(now),
        };
        let paced = (since >= RETRY || self.won_last()) && self.vip.may_ask(Local::Arm, now);
        if let Some(kind) = record.filter(|_| paced) {
            return self.begin(kind, now);
        }
        if self.propose_wish(now) {
            return;
        }
        if since >= pause && self.may_renew(now) && self.vip.may_ask(Local::Arm, now) {
            self.begin(Kind::Renew, now);
        }
    }

    /// The newest proposal was won: the next one need not keep a distance.
    fn won_last(&self) -> bool {
        self.proposals.is_settled()
    }

    /// A holder that does not know its own data yet renews only what it inherited without a wait (C6).
    fn may_renew(&self, now: Time) -> bool {
        // Where rights last until they are released, the record stays the older boot's until the wait for a twin is
        // over: as an heir's it would have to be waited out in full by the next run.
        let waits = self.holding.wait().is_some_and(|wait| !wait.is_over(now));
        let ended = self.view.as_ref().is_some_and(|view| self.is_of_ended_boot(&view.state.lease));
        // What cannot be closed ends with its ticket, and only if that is not prolonged: then another node may succeed.
        (self.eligibility() == Some(true) || self.holding.is_inherited())
            && !(ended && waits)
            && !self.vip.cannot_close(now)
    }

    /// Solo or join, if its guard allows it now.
    fn wanted_record(&self, now: Time) -> Option<Kind> {
        // A move leaves the record as its successor needs it.
        if self.moving.is_some() {
            return None;
        }
        let facts = self.database.facts.as_ref()?;
        let view = self.view.as_ref()?;
        if let Some(was) = self.needs_name() {
            return self.alone_for_name(was, facts);
        }
        let copy = self.my_copy(facts)?;
        let may = sync::may_record_myself(&view.state, self.me(), facts);
        #[cfg(feature = "planted")]
        let may = may || (self.planted(crate::planted::Planted::OutOfSyncSucceeds) && !facts.mark);
        if !may || facts.source.is_some() {
            return None;
        }
        let start = facts.start;
        if let Some(joining) = self.follower.ready() {
            let with = joining.copy();
            let ready = facts.strict && facts.confirming > 0 && self.is_same_follower(joining, now);
            return ready.then_some(Kind::Join { copy, start, with });
        }
        let serves = self.is_licensed(facts) || self.keeps(facts);
        if serves {
            let alone = view.state.sync.with.is_some() && self.follower_is_gone(now);
            return alone.then_some(Kind::Solo { copy, start });
        }
        #[cfg(feature = "planted")]
        if self.planted(crate::planted::Planted::InheritedSync) && facts.read_only {
            return None;
        }
        let near = self.holding.wait().is_none_or(|w| w.left(now) <= SOLO_LEAD);
        (near && facts.receiver_is_off()).then_some(Kind::Solo { copy, start })
    }

    /// Opens what may be opened: a slot with its own win, the wait over, the right running, and the node serving.
    pub(super) fn open(&mut self, now: Time) {
        let giving_up = self.moving.as_ref().is_some_and(|m| m.gives_up_address());
        if !self.rules(now) || self.vip.is_closing() || giving_up || self.is_release_unanswered() {
            return;
        }
        let kept_open = self.moving.as_ref().is_some_and(super::moves::Move::keeps_open);
        let ready = match self.spec.stack {
            Some(_) => self.may_answer(now),
            None => self.is_writable() || kept_open,
        };
        if !ready || !self.vip.is_on(now) {
            return;
        }
        // Before activation a stranger's answer is refused (row 8); one that serves goes on, and defends.
        if !self.serving.is_opened() && self.stranger(now).is_some() {
            return;
        }
        self.vip.enable(now, &mut self.out);
    }

    /// The local database takes clients' writes, rightly.
    pub(super) fn is_writable(&self) -> bool {
        if self.spec.stack.is_some() {
            return self.is_stack_up();
        }
        let Some(facts) = &self.database.facts else { return false };
        #[cfg(feature = "planted")]
        if self.planted(crate::planted::Planted::InheritedSync) {
            return !facts.read_only;
        }
        !facts.read_only && (self.is_licensed(facts) || self.keeps(facts))
    }

    pub(super) fn take_enabled(&mut self, slot: Slot, outcome: Outcome, now: Time) {
        let first = self.vip.take_enabled(slot, outcome, now, &mut self.out);
        if first && self.rules(now) {
            self.vip.announce(&mut self.out);
            if self.spec.stack.is_some() {
                let text = "gate enabled, VIP announced; the stack comes up behind it".into();
                return self.tell("vip.on", Severity::Info, text);
            }
            self.tell_served(now, "active: gate enabled, VIP announced, writable");
            self.reporting.hasten();
        }
    }

    /// Where a holder is, in the operator's words.
    pub(super) fn holder_standing(&self, now: Time) -> Standing {
        if self.spec.stack.is_some() {
            return self.shared_standing(now);
        }
        let (role, why) = if let Some(moving) = &self.moving {
            (Role::Deactivating, RoleReason::Moving(moving.to, moving.why.clone()))
        } else if self.vip.is_open(now) && self.is_writable() {
            (Role::Active, RoleReason::Serves)
        } else if self.eligibility() == Some(false) {
            (Role::Failed, RoleReason::NotRecorded)
        } else if self.database.is_down() {
            (Role::Failed, RoleReason::DatabaseDown)
        } else if self.holding.lost_right() {
            (Role::Isolated, RoleReason::RightEnded)
        } else if self.holding.wait().is_some_and(|wait| !wait.is_over(now)) {
            (Role::Activating, RoleReason::Waits)
        } else if self.is_writable() {
            (Role::Activating, RoleReason::GateClosed)
        } else {
            (Role::Activating, RoleReason::Prepares)
        };
        Standing { role, why }
    }
}
