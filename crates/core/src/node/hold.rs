//! What a holder does: make its database ready, renew, open, go on alone when its follower is gone, take it back
//! in (protocol section 4).

use super::failing::Local;
use super::output::Flight;
use super::propose::Kind;
use super::{Following, Node};
use crate::command::{Action, DatabaseStep, Outcome, Slot};
use crate::event::Severity;
use crate::id::{AttemptId, NodeId};
use crate::observe::{DatabaseFacts, Thread};
use crate::reason::{RoleReason, Standing};
use crate::role::Role;
use crate::state::DataCopy;
use crate::sync;
use crate::time::{Span, Time};
use alloc::format;

/// How long before the wait's end solo is proposed: two swaps after a refusal, and the steps after them.
const SOLO_LEAD: Span = Span::millis(120);
/// Between two proposals when no right runs: a retry costs a ballot, not a ticket.
const RETRY: Span = Span::millis(20);
/// How long a follower may take to show a marker while nobody waits for it.
const CATCH_UP_MAX: Span = Span::millis(5_000);
/// How long commits may wait for a follower that is being joined.
const JOIN_MAX: Span = Span::millis(1_000);
/// After a join that failed, and after a follower that was too slow: doubled while each stay in sync ends that way.
const JOIN_PAUSE: Span = Span::millis(1_000);
const JOIN_PAUSE_MOST: Span = Span::millis(16_000);
/// D9: commits that wait longer than this without one good confirmation drop the follower. Longer than probes take to
/// find out that the writer itself is not reached: then the follower is the one to move to.
const LAG_MAX: Span = Span::millis(1_500);
/// Facts older than this say nothing of a follower.
const SEEN_MAX: Span = Span::millis(300);
/// A confirmation that took longer than this is no good one.
const CONFIRM_GOOD: Span = Span::millis(250);
/// A stay in sync that lasted this long was a good one.
const GOOD_STAY: Span = Span::millis(60_000);
/// A commit that waits longer than this while its follower receives may be stranded (D9).
const STRANDED: Span = Span::millis(200);

/// A follower being taken in (D4). `copy` and `start` are fixed before P is read: any change starts over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Joining {
    peer: NodeId,
    copy: DataCopy,
    start: u64,
    token: AttemptId,
    stage: Stage,
    since: Time,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Loose; a marker is on its way, to see that the follower is near.
    CatchUp,
    /// Strict was asked for and is being read back.
    Strict,
    /// Strict; P is everything before the marker that is on its way.
    Mark,
    /// The follower showed it: the join may be proposed.
    Ready,
}

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
        let joining = self.joining.as_ref().is_some_and(|j| j.stage != Stage::CatchUp);
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
            && self.attempt.as_ref().is_none_or(|a| !matches!(a.kind, Kind::Join { .. }))
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

    /// Is the recorded follower still following? If not, the holder goes on alone after the patience that fits the
    /// evidence: none for another incarnation, `suspicion` for silence or a receiver that is off.
    pub(super) fn watch_follower(&mut self, now: Time) {
        let Some(with) = self.view.as_ref().and_then(|view| view.state.sync.with) else {
            self.with_gone = None;
            return;
        };
        if with.node == self.me() {
            return;
        }
        let suspicion = self.spec.pace.suspicion;
        let Some(peer) = self.peers.get(&with.node) else { return };
        let database = peer.report.as_ref().and_then(|report| report.database.as_ref());
        let other = database
            .is_some_and(|d| d.incarnation.is_some() && d.incarnation != Some(with.incarnation));
        let following = database.is_some_and(|d| sync::is_following(d, with, self.identity.node));
        let silent = now.elapsed_most(peer.heard) >= suspicion;
        // A database that answers nothing hangs itself: its follower is not to blame.
        let answers = self.database.observed.is_some_and(|at| now.elapsed_most(at) < SEEN_MAX);
        let slow = answers && self.slow.is_some_and(|at| now.elapsed_most(at) >= LAG_MAX);
        let another = self.another_confirms(with.node);
        let distrusted = self.is_distrusted(with.node, Some(with.incarnation));
        if slow && self.with_gone.is_none() {
            self.tell_slow(with.node, now);
        }
        let why = if silent {
            "is silent"
        } else if another {
            "is not the only one that confirms"
        } else if distrusted {
            "is to be copied anew"
        } else if other {
            "has other data than it had: it was started anew"
        } else if slow {
            "confirms too slowly"
        } else {
            "does not follow"
        };
        let gone = other || slow || silent || another || distrusted;
        if gone || !following {
            self.alone_why = Some(format!("{} {why}", self.name(with.node)));
        }
        if gone {
            let past = Time {
                boot: now.boot.saturating_sub(suspicion.0),
                raw: now.raw.saturating_sub(suspicion.0),
            };
            self.with_gone = Some(past);
        } else if following {
            self.with_gone = None;
        } else if self.with_gone.is_none() {
            self.with_gone = Some(now);
        }
    }

    /// D4: somebody beside this follower may confirm; told while it stays so.
    fn another_confirms(&mut self, follower: NodeId) -> bool {
        #[cfg(feature = "planted")]
        if self.planted(crate::planted::Planted::AnotherConfirms) {
            return false;
        }
        let database = self.peers.get(&follower).and_then(|peer| peer.report.as_ref());
        let database = database.and_then(|report| report.database.as_ref());
        let Some(facts) = &self.database.facts else { return false };
        if !sync::another_confirms(facts, database) {
            self.told.end("sync.another");
            return false;
        }
        let text = format!(
            "{} confirms commits beside {}, which may lack what that one confirmed: going on alone; remove it, or set rpl_semi_sync_slave_enabled=0 there and start its receiver anew [D4]",
            facts.others.join(" and "),
            self.name(follower)
        );
        self.tell_edge("sync.another", Severity::Alarm, text);
        true
    }

    /// It receives, and confirms nothing: dropped, and taken back later each time.
    fn tell_slow(&mut self, node: NodeId, now: Time) {
        let good = self.joined.is_none_or(|at| now.elapsed_most(at) >= GOOD_STAY);
        let longer = Span((self.join_pause.0 * 2).min(JOIN_PAUSE_MOST.0));
        self.join_pause = if good { JOIN_PAUSE } else { longer };
        self.join_paused = Some(now);
        let ms = self.slow.map_or(Span::ZERO, |at| now.elapsed_most(at)).as_millis();
        let text = format!(
            "commits have waited for {ms} ms in a row for {}, which follows and confirms too slowly: going on alone, not joined again for {} s [D9]",
            self.name(node),
            self.join_pause.as_millis() / 1000
        );
        self.tell("sync.slow", Severity::Warning, text);
    }

    fn follower_is_gone(&self, now: Time) -> bool {
        self.with_gone.is_some_and(|at| now.elapsed_most(at) >= self.spec.pace.suspicion)
    }

    /// D4, exactly: strict; then the follower's incarnation, then P, then a marker behind it, shown by the follower.
    fn advance_join(&mut self, now: Time) {
        let Some(facts) = self.database.facts.clone() else {
            self.joining = None;
            return;
        };
        let Some(view) = &self.view else { return };
        let serves = !facts.read_only
            && (self.is_licensed(&facts) || self.keeps(&facts))
            && self.rules(now)
            && self.moving.is_none();
        if view.state.sync.with.is_some() || !serves {
            if !self.is_join_unanswered() {
                self.joining = None;
            }
            return;
        }
        let Some(joining) = self.joining.clone() else { return self.begin_join(now) };
        if self.is_join_unanswered() {
            return;
        }
        if !self.is_same_follower(&joining, now) {
            return self.give_up_join("it stopped following", now);
        }
        if self.another_confirms(joining.peer) {
            return self.give_up_join("another replica confirms as well", now);
        }
        let shown = self.shows(joining.peer, joining.token);
        let late = |max: Span| now.elapsed_most(joining.since) >= max;
        match joining.stage {
            Stage::CatchUp if shown => self.set_join(Stage::Strict, None, now),
            Stage::CatchUp if late(CATCH_UP_MAX) => self.give_up_join("it is far behind", now),
            Stage::Strict if facts.strict && self.database.is_free() => {
                let token = self.mark_log();
                self.set_join(Stage::Mark, Some(token), now);
            }
            Stage::Mark if shown => self.set_join(Stage::Ready, None, now),
            Stage::Strict | Stage::Mark if late(JOIN_MAX) => {
                self.give_up_join("it did not confirm in time", now);
            }
            Stage::CatchUp | Stage::Strict | Stage::Mark | Stage::Ready => {}
        }
    }

    fn begin_join(&mut self, now: Time) {
        if self.join_paused.is_some_and(|at| now.elapsed_most(at) < self.join_pause)
            || self.database.marker.is_some()
        {
            return;
        }
        let me = self.me();
        let candidate = self.peers.iter().find_map(|(node, peer)| {
            let report = peer.fresh(self.spec.pace.suspicion, now)?;
            let database = report.database.as_ref().filter(|d| sync::can_join(d, me))?;
            let trusted = !self.is_distrusted(*node, database.incarnation);
            trusted.then_some((*node, database.incarnation?, database.start))
        });
        let Some((peer, incarnation, start)) = candidate else { return };
        if self.another_confirms(peer) {
            let name = self.name(peer);
            self.alone_why = Some(format!("{name} is not the only one that confirms"));
            return;
        }
        let token = self.mark_log();
        self.joining = Some(Joining {
            peer,
            copy: DataCopy { node: peer, incarnation },
            start,
            token,
            stage: Stage::CatchUp,
            since: now,
        });
        self.reporting.hasten();
    }

    /// The very incarnation and server start that the join began with, still attached.
    fn is_same_follower(&self, joining: &Joining, now: Time) -> bool {
        let report = self.peers[&joining.peer].fresh(self.spec.pace.suspicion, now);
        report.and_then(|report| report.database.as_ref()).is_some_and(|d| {
            sync::can_join(d, self.identity.node)
                && d.incarnation == Some(joining.copy.incarnation)
                && d.start == joining.start
        })
    }

    fn shows(&self, peer: NodeId, token: AttemptId) -> bool {
        let report = self.peers.get(&peer).and_then(|peer| peer.report.as_ref());
        report
            .and_then(|report| report.database.as_ref())
            .is_some_and(|database| database.shows == Some(token))
    }

    fn set_join(&mut self, stage: Stage, token: Option<AttemptId>, now: Time) {
        if let Some(joining) = &mut self.joining {
            joining.stage = stage;
            joining.since = now;
            joining.token = token.unwrap_or(joining.token);
        }
        self.reporting.hasten();
    }

    fn give_up_join(&mut self, why: &str, now: Time) {
        if let Some(joining) = self.joining.take() {
            self.join_paused = Some(now);
            self.join_pause = self.join_pause.max(JOIN_PAUSE);
            let text = format!("{} is not taken in yet: {why}", self.name(joining.peer));
            self.tell("sync.waiting", Severity::Info, text);
        }
    }

    /// A new row behind everything that the log has (D4). Our account writes rows only while D2 allows writable.
    pub(super) fn mark_log(&mut self) -> AttemptId {
        self.n += 1;
        let token = AttemptId {
            node: self.identity.node,
            boot: self.identity.boot,
            run: self.identity.run,
            n: self.n,
        };
        self.database.marker = Some(token);
        self.ask(Action::Database(DatabaseStep::Marker { token }), Some(Flight::Marker { token }));
        token
    }

    pub(super) fn take_marker(&mut self, token: AttemptId, outcome: Outcome, now: Time) {
        if self.database.marker == Some(token) {
            self.database.marker = None;
        }
        if let Outcome::Database { result: crate::command::StepResult::Done, .. } = outcome {
            self.note_move(|m| m.marker_confirmed(token));
            if self.stranded.is_none_or(|asked| now.elapsed_most(asked) < CONFIRM_GOOD) {
                self.slow = None;
            }
        } else if self.joining.as_ref().is_some_and(|joining| joining.token == token) {
            self.give_up_join("its marker could not be written", now);
        }
    }

    /// The marker that the follower shall show.
    pub(super) fn looked_for(&self) -> Option<AttemptId> {
        self.joining.as_ref().map(|joining| joining.token)
    }

    /// D9: a commit whose confirmation was lost waits until a later one is confirmed: a marker frees it.
    pub(super) fn free_stranded(&mut self, now: Time) {
        let Some(facts) = &self.database.facts else { return };
        let with = self.view.as_ref().and_then(|view| view.state.sync.with);
        let attached = with.is_some() && self.with_gone.is_none();
        if facts.waiting == 0 || facts.read_only || !attached || self.moving.is_some() {
            self.stranded = None;
            self.slow = None;
            return;
        }
        self.slow.get_or_insert(now);
        let since = *self.stranded.get_or_insert(now);
        if now.elapsed_most(since) >= STRANDED && self.database.marker.is_none() {
            self.stranded = Some(now);
            self.mark_log();
        }
    }

    /// The next swap: solo, join, or a renewal (which each of them is, too).
    pub(super) fn propose_next(&mut self, now: Time) {
        if self.attempt.is_some() || self.is_release_unanswered() {
            return;
        }
        if self.moving.as_ref().is_some_and(|m| m.gives_up_address()) {
            return;
        }
        let pause = if self.holding.has_right() { self.spec.pace.renewal } else { RETRY };
        let since = self.proposed_at.map_or(pause, |at| now.elapsed_most(at));
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
        self.unresolved.is_empty()
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
        if let Some(joining) = self.joining.as_ref().filter(|j| j.stage == Stage::Ready) {
            let with = joining.copy;
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
