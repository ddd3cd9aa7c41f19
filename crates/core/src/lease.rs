//! Lease arithmetic with local clocks (protocol section 2). Rights never overlap, because a holder counts from
//! before it proposed, by its faster clock, and everybody else from after they saw it, by their slower one.

use crate::id::Epoch;
use crate::time::{Span, Time};

/// How long this node must wait before a right of its own may start (C3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wait {
    /// When the record that was replaced was first seen here (C2).
    pub seen: Time,
    /// `ttl * (1 + drift)` of that record.
    pub length: Span,
}

impl Wait {
    /// C3, C4: what is left of it, by the slower clock.
    pub fn left(&self, now: Time) -> Span {
        self.length.less(now.elapsed_least(self.seen))
    }

    /// Is it over?
    pub fn is_over(&self, now: Time) -> bool {
        self.left(now) == Span::ZERO
    }
}

/// A won proposal, as the ground of a right (C1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Right {
    /// Read before the gate was armed for the proposal that won.
    pub proposed: Time,
    /// `ttl - margin`.
    pub length: Span,
}

impl Right {
    /// C1, C4: what is left of it, by the faster clock.
    pub fn left(&self, now: Time) -> Span {
        self.length.less(now.elapsed_most(self.proposed))
    }

    /// Does it still run?
    pub fn runs(&self, now: Time) -> bool {
        self.left(now) > Span::ZERO
    }
}

/// This node's holding of one epoch, in this run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tenure {
    /// Which grant.
    pub epoch: Epoch,
    /// Before it is over no right starts; none where the record was Free or rightly inherited (C6).
    pub wait: Option<Wait>,
    /// The newest won proposal of this run in this epoch.
    pub right: Option<Right>,
}

impl Tenure {
    /// Is the wait over?
    pub fn wait_is_over(&self, now: Time) -> bool {
        self.wait.is_none_or(|wait| wait.is_over(now))
    }

    /// Does a right run, and has it started?
    pub fn rules(&self, now: Time) -> bool {
        self.wait_is_over(now) && self.right.is_some_and(|right| right.runs(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time { boot: ms * 1_000_000, raw: ms * 1_000_000 }
    }

    #[test]
    fn a_right_ends_before_any_wait_counted_from_the_same_proposal() {
        let right = Right { proposed: at(0), length: Span::millis(610) };
        let wait = Wait { seen: at(0), length: Span::millis(700).widened(10_000) };
        assert!(right.runs(at(609)) && !right.runs(at(610)));
        assert!(!wait.is_over(at(706)) && wait.is_over(at(707)));
    }

    #[test]
    fn a_wait_that_is_not_over_holds_back_a_running_right() {
        let tenure = Tenure {
            epoch: Epoch(2),
            wait: Some(Wait { seen: at(0), length: Span::millis(707) }),
            right: Some(Right { proposed: at(600), length: Span::millis(610) }),
        };
        assert!(!tenure.rules(at(700)) && tenure.rules(at(707)) && !tenure.rules(at(1210)));
    }
}
