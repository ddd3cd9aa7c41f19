//! The register's record as it was seen here, and when. A view permits nothing (R4): it moves the holder forward
//! in knowledge, ends rights and wins nothing but what this run itself proposed (R5).

use crate::event::Severity;
use crate::id::{AttemptId, Version};
use crate::lease::Wait;
use crate::node::intents::{Seen, first_seen};
use crate::node::{Mute, Node};
use crate::state::{Phase, State, StateError};
use crate::time::{Span, Time};
use alloc::format;

/// A twin of this node would renew within this time, many times.
const TWIN_WAIT: Span = Span::millis(2_000);

/// The newest value of the register that this run knows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::node) struct View {
    pub version: Version,
    pub state: State,
    /// When `lease.by` was first seen here, read after it arrived (C2).
    pub seen: Time,
    /// When anything of this register was last heard.
    pub heard: Time,
    /// When pause and maintenance were first seen.
    pub bounded: Seen,
}

impl Node {
    /// Takes a value that was read, pushed, or returned by a swap.
    pub(in crate::node) fn take_view(
        &mut self,
        version: Version,
        bytes: &[u8],
        recent: &[AttemptId],
        now: Time,
    ) {
        if let Some(view) = &mut self.view {
            // R2: an older view is ignored.
            if version <= view.version {
                view.heard = now;
                return;
            }
        }
        let state = match State::decode_as(bytes, self.identity.speaks) {
            Ok(state) => state,
            Err(StateError::Format { found, .. }) => return self.fall_mute(Mute::Format(found)),
            Err(StateError::Broken(why)) => {
                return self.tell_edge("register.broken", Severity::Alarm, why);
            }
        };
        if state.cluster != self.identity.cluster {
            let text =
                format!("a register of another cluster ({}) answered; ignored", state.cluster);
            return self.tell_edge("register.foreign", Severity::Alarm, text);
        }
        self.told.end("register.broken");
        self.told.end("register.foreign");
        if self.is_identity_twice(&state) {
            return self.fall_mute(Mute::Twice);
        }
        let old = self.view.take();
        self.doubt_word(old.as_ref(), &state);
        let moved = old.as_ref().is_some_and(|old| old.state.lease.epoch != state.lease.epoch);
        if moved && state.history.last().is_some_and(|last| last.why.is_by_health()) {
            self.service_moved = Some(now);
        }
        // C2: a change of other fields is not news.
        let seen = match &old {
            Some(old) if old.state.lease.by == state.lease.by => old.seen,
            Some(_) | None => now,
        };
        let bounded = first_seen(&state.intent, old.as_ref().map(|old| &old.bounded), now);
        let stopped = |state: &State| state.intent.stopped.is_some();
        if old.as_ref().is_some_and(|old| stopped(&old.state)) && !stopped(&state) {
            self.stack.started = Some(now);
        }
        self.out.enter(state.lease.epoch);
        self.view = Some(View { version, state, seen, heard: now, bounded });
        self.resolve_attempts(recent);
        self.enter_tenure(now);
    }

    /// C6: an own node's record by a run that is neither mine nor in the list of this node's runs.
    fn is_identity_twice(&self, state: &State) -> bool {
        let by = state.lease.by;
        by.node == self.identity.node
            && by.run != self.identity.run
            && !self.record.runs.contains(&by.run)
    }

    /// Begins or ends this node's holding as the newest view says.
    fn enter_tenure(&mut self, now: Time) {
        let Some(view) = &self.view else { return };
        let lease = view.state.lease;
        if lease.holder != self.identity.node {
            if self.holding.leave() || self.vip.may_pass() {
                // Superseded: the gate is closed whatever is left of the ticket (S2).
                self.close();
            }
            self.follower.stop_joining();
            self.leave_stack();
            return;
        }
        if self.holding.tenure().is_some_and(|tenure| tenure.epoch == lease.epoch) {
            return;
        }
        // A won succeed of this run sets its own tenure (known_won); here only what was found or given.
        let wait = if self.needs_no_wait(&lease) {
            None
        } else {
            let full = view.state.timing.wait(lease.ttl);
            let length = if self.is_of_ended_boot(&lease) { full.min(TWIN_WAIT) } else { full };
            Some(Wait { seen: view.seen, length })
        };
        self.holding.enter(lease.epoch, wait, lease.phase, now);
        #[cfg(feature = "planted")]
        if self.planted(crate::planted::Planted::RightFromRead)
            && lease.by.node == self.identity.node
            && lease.by.run != self.identity.run
        {
            let length = view.state.timing.ticket(lease.ttl);
            self.holding.plant(crate::lease::Tenure {
                epoch: lease.epoch,
                wait: None,
                right: Some(crate::lease::Right { proposed: now, length }),
            });
        }
        self.enter_stack(lease.phase);
    }

    /// C6: a record found needs no wait if it is Free, or Ruling, of this very boot, by a listed earlier run, with
    /// the local lock held; in every other case the wait is full.
    fn needs_no_wait(&self, lease: &crate::state::Lease) -> bool {
        match lease.phase {
            Phase::Free => true,
            Phase::Ruling => {
                lease.by.node == self.identity.node
                    && lease.by.boot == self.identity.boot
                    && lease.by.run != self.identity.run
                    && self.record.lock_held
            }
            Phase::Heir => false,
        }
    }

    /// Where rights last until they are released: the record is this node's own, and the boot in which its right ran
    /// is over. Nobody else's right runs under a Ruling record, and the kernel that had the ticket is gone; what is
    /// waited for is a twin of this node, which would renew in that time (C6; ADR 0018).
    pub(in crate::node) fn is_of_ended_boot(&self, lease: &crate::state::Lease) -> bool {
        self.is_pair()
            && lease.phase == Phase::Ruling
            && lease.by.node == self.identity.node
            && lease.by.boot != self.identity.boot
            && self.record.lock_held
    }

    /// From here on: closed, and nothing is proposed.
    pub(in crate::node) fn fall_mute(&mut self, why: Mute) {
        if self.mute == Some(why) {
            return;
        }
        self.mute = Some(why);
        match why {
            Mute::Format(found) => {
                let text = format!(
                    "the register has format {found}, newer than this release speaks: this node proposes nothing until it is upgraded [R7]"
                );
                self.tell("register.format", Severity::Alarm, text);
            }
            Mute::WentBack => {
                let text = "the register answered from below what this node had stored: a voter lost its disk or was rolled back; this node acts no more [R2]".into();
                self.tell("register.went-back", Severity::Alarm, text);
            }
            Mute::Twice => {
                let text = "a run of this node that is not in its list of runs renews the lease: the identity of this node exists twice; gate closed [C6]".into();
                self.tell("identity.twice", Severity::Alarm, text);
            }
        }
    }

    /// The tenure's right is over: say so once.
    pub(in crate::node) fn end_what_is_over(&mut self, now: Time) {
        if self.holding.end(now) {
            self.close();
            if self.moving.is_none() && self.serving.is_opened() && !self.is_stopped() {
                self.tell(
                    "lease.lost",
                    Severity::Alarm,
                    "no renewal was won in time: the right is over, the gate is closed [S2]".into(),
                );
            }
        }
    }

    /// Asks for the register when nothing was heard of it for a while: at the start, and when cut off.
    pub(in crate::node) fn read_when_stale(&mut self, now: Time) {
        let patience = self.spec.pace.renewal + self.spec.pace.renewal;
        let fresh = self.view.as_ref().is_some_and(|view| now.elapsed_most(view.heard) < patience);
        let asked = self.read_asked.is_some_and(|at| now.elapsed_most(at) < patience);
        if !fresh && !asked && !self.proposals.is_busy() {
            self.read_asked = Some(now);
            self.ask(crate::node::Action::Read, Some(crate::node::output::Flight::Read));
        }
    }

    /// How long the newest record has stood, at the least.
    pub(in crate::node) fn record_age(&self, now: Time) -> Span {
        self.view.as_ref().map_or(Span::ZERO, |view| now.elapsed_least(view.seen))
    }
}
