//! What a holder does whatever its workload is: it renews, keeps the VIP on its interface, and opens the gate once the
//! workload may serve (protocol sections 3 and 4).

use crate::command::{Outcome, Slot};
use crate::node::Node;
use crate::node::engine::failing::Local;
use crate::node::engine::propose::Kind;
use crate::time::{Span, Time};

/// Between two proposals when no right runs: a retry costs a ballot, not a ticket.
const RETRY: Span = Span::millis(20);

impl Node {
    /// Does a right of this node run, and has it started (V1, V7)?
    pub fn rules(&self, now: Time) -> bool {
        self.holding.rules(now)
    }

    /// C1: when the proposal was dated that its right is counted from.
    pub fn right_since(&self) -> Option<Time> {
        Some(self.holding.right()?.proposed)
    }

    /// The VIP goes on the interface behind the closed gate, and its lifetime is refreshed while a right runs.
    pub(in crate::node) fn keep_address(&mut self, now: Time) {
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
    pub(in crate::node) fn wants_address(&self) -> bool {
        self.holds()
            && self.mute.is_none()
            && !self.is_put_away()
            && self.eligibility() == Some(true)
            && self.holding.has_right()
            && self.moving.as_ref().is_none_or(|m| !m.gives_up_address())
            && !self.is_release_unanswered()
            && self.workload_wants_vip()
    }

    /// The next swap: solo, join, or a renewal (which each of them is, too).
    pub(in crate::node) fn propose_next(&mut self, now: Time) {
        if self.proposals.is_busy() || self.is_release_unanswered() {
            return;
        }
        if self.moving.as_ref().is_some_and(|m| m.gives_up_address()) {
            return;
        }
        let pause = if self.holding.has_right() { self.spec.pace.renewal } else { RETRY };
        let since = self.proposals.since_last(now).unwrap_or(pause);
        let record = self.wanted_record(now);
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

    /// Opens what may be opened: a slot with its own win, the wait over, the right running, and the node serving.
    pub(in crate::node) fn open(&mut self, now: Time) {
        let giving_up = self.moving.as_ref().is_some_and(|m| m.gives_up_address());
        if !self.rules(now) || self.vip.is_closing() || giving_up || self.is_release_unanswered() {
            return;
        }
        let kept_open =
            self.moving.as_ref().is_some_and(crate::node::engine::moves::Move::keeps_open);
        if !self.may_be_opened(kept_open, now) || !self.vip.is_on(now) {
            return;
        }
        // Before activation a stranger's answer is refused (row 8); one that serves goes on, and defends.
        if !self.serving.is_opened() && self.stranger(now).is_some() {
            return;
        }
        self.vip.enable(now, &mut self.out);
    }

    pub(in crate::node) fn take_enabled(&mut self, slot: Slot, outcome: Outcome, now: Time) {
        let first = self.vip.take_enabled(slot, outcome, now, &mut self.out);
        if first && self.rules(now) {
            self.vip.announce(&mut self.out);
            self.tell_opened(now);
        }
    }
}
