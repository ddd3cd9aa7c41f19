//! Bounded tries with pauses that double (L3): of a service, and of a database that runs and serves nobody.

use crate::spec::Policy;
use crate::time::{Span, Time};

/// The pause after so many in a row: the first one, doubled each time, up to the longest.
pub(in crate::node) fn pause_after(times: u32, first: Span, most: Span) -> Span {
    Span((first.0 << times.saturating_sub(1).min(10)).min(most.0))
}

/// What was tried in a row, and whether it was given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::node) struct Tries {
    pub count: u32,
    last: Option<Time>,
    pub given_up: bool,
}

impl Tries {
    /// Nothing may be tried now: it was given up, or the pause after the last try is not over.
    pub fn waits(&self, policy: &Policy, now: Time) -> bool {
        let pause = pause_after(self.count, policy.pause_first, policy.pause_most);
        let early = self.count > 0 && self.last.is_some_and(|at| now.elapsed_most(at) < pause);
        self.given_up || early
    }

    /// Begins the next try and tells its number; none if there were enough, and it is given up.
    pub fn next(&mut self, policy: &Policy, now: Time) -> Option<u32> {
        if self.count >= policy.tries {
            self.given_up = true;
            return None;
        }
        self.count += 1;
        self.last = Some(now);
        Some(self.count)
    }
}
