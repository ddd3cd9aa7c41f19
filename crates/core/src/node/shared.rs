//! The stack on shared data (protocol section 6).

use super::Node;
use crate::command::Outcome;
use crate::stack::{StackReport, StackStep};
use crate::time::Time;
use alloc::string::String;

/// What is known of the local stack.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Stack {}

impl Node {
    /// May the watchdog be fed? While a right runs, or nothing of the stack runs here and nothing may start it.
    pub fn may_feed(&self, _now: Time) -> bool {
        true
    }
    pub(super) fn stack_report(&self) -> Option<StackReport> {
        None
    }
    pub(super) fn take_foreign_claim(&mut self, _what: String) {}
    pub(super) fn take_stack(&mut self, _step: StackStep, _outcome: Outcome, _now: Time) {}
}
