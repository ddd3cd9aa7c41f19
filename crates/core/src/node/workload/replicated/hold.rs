//! What a holder does: make its database ready, renew, open, go on alone when its follower is gone, take it back
//! in (protocol section 4).

use crate::command::DatabaseStep;
use crate::event::Severity;
use crate::node::Node;
use crate::node::engine::propose::Kind;
use crate::node::engine::succession::BackOff;
use crate::node::workload::replicated::follow::Following;
use crate::observe::{DatabaseFacts, Thread};
use crate::reason::{RoleReason, Standing};
use crate::role::Role;
use crate::state::DataCopy;
use crate::sync;
use crate::time::{Span, Time};
use alloc::string::{String, ToString};

/// How long a holder that never served may take to make its database ready, waiting included.
const READY_MAX: Span = Span::millis(5_000);
/// How long before the wait's end solo is proposed: two swaps after a refusal, and the steps after them.
const SOLO_LEAD: Span = Span::millis(120);

impl Node {
    pub(in crate::node) fn hold_copy(&mut self, now: Time) {
        self.drop_recopy();
        self.told_foreign &= self.eligibility() == Some(false);
        self.succession = None;
        self.following = Following::default();
        self.back_off = BackOff::default();
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
    pub(in crate::node) fn keeps(&self, facts: &DatabaseFacts) -> bool {
        self.holding.is_inherited()
            && self.holding.tenure().is_some_and(|tenure| tenure.wait.is_none())
            && self.database.found_writable == Some(facts.start)
            && !facts.read_only
    }

    pub(in crate::node) fn is_licensed(&self, facts: &DatabaseFacts) -> bool {
        sync::is_licensed(self.holding.licence(), self.epoch(), facts)
    }

    /// The local copy as the register would name it.
    pub(in crate::node) fn my_copy(&self, facts: &DatabaseFacts) -> Option<DataCopy> {
        facts.incarnation.map(|incarnation| DataCopy { node: self.identity.node, incarnation })
    }

    /// Brings the database to where a holder needs it, one step at a time: receiver off, drained, unmarked,
    /// strict (D6); once solo is won loose (D3), once the right has started writable (D2).
    pub(in crate::node) fn prepare_database(&mut self, now: Time) {
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

    /// Solo or join, if its guard allows it now.
    pub(in crate::node) fn wanted_copies(&self, now: Time) -> Option<Kind> {
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

    /// The local database takes clients' writes, rightly.
    pub(in crate::node) fn is_database_writable(&self) -> bool {
        let Some(facts) = &self.database.facts else { return false };
        #[cfg(feature = "planted")]
        if self.planted(crate::planted::Planted::InheritedSync) {
            return !facts.read_only;
        }
        !facts.read_only && (self.is_licensed(facts) || self.keeps(facts))
    }

    /// Are the data here a recorded copy? Unknown until the incarnation was read in this run.
    pub(in crate::node) fn has_recorded_copy(&self) -> Option<bool> {
        let view = self.view.as_ref()?;
        let known = self.database.incarnation_known()?;
        #[cfg(feature = "planted")]
        if self.planted(crate::planted::Planted::OutOfSyncSucceeds) {
            return Some(known.is_some());
        }
        let sync = &view.state.sync;
        let renamed = sync::is_renamed(sync, self.me(), self.database.was());
        Some(renamed || sync::is_eligible(sync, self.me(), known))
    }

    /// Where a holder is, in the operator's words.
    pub(in crate::node) fn database_standing(&self, now: Time) -> Standing {
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

    /// Why the database here could not serve now, if so.
    pub(in crate::node) fn unable_database(&self, now: Time) -> Option<String> {
        let Some(facts) = &self.database.facts else {
            // Unknown is not down: a new run, or a new worker, has not looked yet.
            let gone = self.database.is_down() || self.database.is_unseen_since(self.born, now);
            return gone.then(|| "its database is down, or does not answer".to_string());
        };
        let follows = facts.mark || facts.source.is_some();
        if follows && matches!(facts.applier, crate::observe::Thread::Failed(_)) {
            return Some("its database cannot apply what it received".to_string());
        }
        if self.holds() && self.eligibility() == Some(false) {
            return Some("its data is not the recorded copy".to_string());
        }
        if self.holds() && !self.is_writable() && self.is_overdue(now) {
            return Some("it could not make its database ready in time".to_string());
        }
        None
    }

    /// An heir that cannot finish is succeeded in turn: the old writer still holds everything (section 4).
    fn is_overdue(&self, now: Time) -> bool {
        self.holding.since().is_some_and(|at| now.elapsed_most(at) >= READY_MAX)
    }
}
