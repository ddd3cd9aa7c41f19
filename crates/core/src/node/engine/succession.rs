//! Taking the lease from a holder that fails: why, when not, and the pause after another one was faster (section 4).

use crate::event::Severity;
use crate::node::Node;
use crate::reason::{MoveReason, RoleReason, Standing};
use crate::role::Role;
use crate::state::Phase;
use crate::time::{Span, Time};
use alloc::format;
use alloc::string::String;

/// After a lost succession: at random up to this, longer each time.
const BACK_OFF: Span = Span::millis(60);
/// A run that has not read the register for so long is cut off.
const JUST_BORN: Span = Span::millis(1_000);

/// On the way to taking the record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::node) struct Succession {
    pub why: MoveReason,
}

/// The pause after another node's swap was decided instead of this one's.
#[derive(Clone, Debug, Default)]
pub(in crate::node) struct BackOff {
    /// So often in a row.
    lost: u32,
    not_before: Option<(Time, Span)>,
}

impl BackOff {
    /// It follows the holder that was faster: the next loss is the first one again.
    pub fn settle(&mut self) {
        self.lost = 0;
    }
}

impl Node {
    /// May this node become an heir at all, whatever the holder does?
    pub(in crate::node) fn may_stand(&self, now: Time) -> bool {
        !self.is_paused(now)
            && !self.is_in_maintenance(self.me(), now)
            && self.stranger(now).is_none()
            && !self.is_backing_off(now)
    }

    /// Why the holder is to be succeeded, if so; `stale`: its record has stood for as long as C3 waits.
    pub(in crate::node) fn why_holder_fails(&self, stale: bool, now: Time) -> Option<MoveReason> {
        let lease = self.view.as_ref()?.state.lease;
        if stale {
            return Some(match lease.phase {
                Phase::Free => MoveReason::NotTaken,
                Phase::Heir | Phase::Ruling => MoveReason::NotRenewed(self.record_age(now)),
            });
        }
        if self.is_silent(lease.holder, now) {
            return Some(MoveReason::Silent);
        }
        let report = self.peers.get(&lease.holder)?.fresh(self.spec.pace.suspicion, now)?;
        let unable = report.unable.as_ref().filter(|_| !report.serving)?;
        // Two that cannot serve would take the record from each other as fast as it can be written.
        (report.epoch == lease.epoch && self.unable(now).is_none())
            .then(|| MoveReason::Unable(unable.clone()))
    }

    /// Another node's swap was decided instead of this node's, and the random pause after it is not over.
    pub(in crate::node) fn is_backing_off(&self, now: Time) -> bool {
        self.back_off.not_before.is_some_and(|(at, pause)| now.elapsed_most(at) < pause)
    }

    /// From here on this node is about to take the record.
    pub(in crate::node) fn announce_succession(&mut self, why: &MoveReason, now: Time) {
        if self.succession.is_none() {
            let text = format!("about to take the lease: {}", self.in_words(why));
            self.tell("lease.suspect", Severity::Warning, text);
            self.serving.begin_outage(now);
        }
        self.succession = Some(Succession { why: why.clone() });
    }

    /// A retry of a succession without an answer keeps a small distance.
    pub(in crate::node) fn is_succession_unanswered_long(&self, now: Time) -> bool {
        const RETRY: Span = Span::millis(20);
        self.is_succession_unanswered()
            && self.proposals.since_last(now).is_some_and(|since| since < RETRY)
    }

    /// Somebody else's swap was decided instead: back off at random, longer each time.
    pub(in crate::node) fn lose_succession(&mut self) {
        self.back_off.lost = (self.back_off.lost + 1).min(5);
        let most = BACK_OFF.0 << self.back_off.lost;
        let pause = Span(self.draw() % most);
        if let Some(at) = self.proposals.last() {
            self.back_off.not_before = Some((at, pause));
        }
        self.succession = None;
        self.serving.forget_outage();
    }

    /// Where a node that does not hold is, in the operator's words.
    pub(in crate::node) fn standby_standing(&self, now: Time) -> Standing {
        let (role, why) = match &self.view {
            None if now.elapsed_most(self.born) < JUST_BORN => (Role::Standby, RoleReason::Begun),
            None => (Role::Isolated, RoleReason::Unread),
            Some(_) if self.is_in_maintenance(self.me(), now) => {
                (Role::Maintenance, RoleReason::Maintenance)
            }
            Some(view)
                if now.elapsed_most(view.heard) > view.state.timing.ttl + view.state.timing.ttl =>
            {
                (Role::Isolated, RoleReason::Unheard)
            }
            Some(_) if self.database.is_down() => (Role::Failed, RoleReason::DatabaseDown),
            Some(view) => (Role::Standby, RoleReason::Holds(view.state.lease.holder)),
        };
        Standing { role, why }
    }

    /// Why the lease leaves its holder, in words.
    pub(in crate::node) fn in_words(&self, why: &MoveReason) -> String {
        let holder = self.view.as_ref().map_or(self.me(), |view| view.state.lease.holder);
        why.words(holder, &|node| self.name(node))
    }
}
