//! What is told at its edges only: a fault that stays is told when it begins, and again when its text changes.

use super::Node;
use crate::event::Severity;
use alloc::string::String;

impl Node {
    /// Tells, unless the same was told under this code and has not ended since.
    pub(super) fn tell_edge(&mut self, code: &'static str, severity: Severity, text: String) {
        if self.standing.get(code) == Some(&text) {
            return;
        }
        self.standing.insert(code, text.clone());
        self.tell(code, severity, text);
    }

    /// What was told under this code is over: the next time it is news again.
    pub(super) fn end_edge(&mut self, code: &'static str) {
        self.standing.remove(code);
    }
}
