//! What was told last: a fault that stays is told when it begins, and again when its text changes.

use crate::event::Severity;
use crate::node::output::Output;
use crate::role::Role;
use alloc::collections::BTreeMap;
use alloc::string::String;

/// What operators know already.
#[derive(Clone, Debug, Default)]
pub(in crate::node) struct Told {
    /// What was told at its beginning, by code, and has not ended.
    standing: BTreeMap<&'static str, String>,
    role: Role,
    row: Option<u8>,
}

impl Told {
    /// Tells, unless the same was told under this code and has not ended since.
    pub fn tell(&mut self, code: &'static str, severity: Severity, text: String, out: &mut Output) {
        if self.standing.get(code) == Some(&text) {
            return;
        }
        self.standing.insert(code, text.clone());
        out.tell(code, severity, text);
    }

    /// What was told under this code is over: the next time it is news again.
    pub fn end(&mut self, code: &'static str) {
        self.standing.remove(code);
    }

    /// The role that was told before, if this is another one.
    pub fn role_before(&mut self, role: Role) -> Option<Role> {
        let was = core::mem::replace(&mut self.role, role);
        (was != role).then_some(was)
    }

    /// Is the row of protocol section 9 another than before?
    pub fn is_news(&mut self, row: Option<u8>) -> bool {
        core::mem::replace(&mut self.row, row) != row
    }
}
