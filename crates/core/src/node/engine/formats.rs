//! Which formats of the State are spoken (R7): each node says it of itself, and the holder raises the format once
//! every member that decides says so.

use crate::node::Node;
use crate::node::intents::Change;
use crate::state::MemberRole;
use crate::time::{Span, Time};

/// Between two tries to say it: nothing waits for it.
const AGAIN: Span = Span::millis(1_000);

impl Node {
    /// What the register should say of the formats that are spoken, and does not. A witness carries bytes and reads no
    /// State (R3), so that it has no word in it.
    pub(in crate::node) fn wanted_format(&self, now: Time) -> Option<Change> {
        let state = &self.view.as_ref()?.state;
        let speaks = self.identity.speaks;
        if self.format_asked.is_some_and(|at| now.elapsed_most(at) < AGAIN) {
            return None;
        }
        if state.members.get(&self.me())?.speaks != speaks {
            return Some(Change::Speaks(speaks));
        }
        let deciding = state.members.values().filter(|member| member.role == MemberRole::Node);
        let all = deciding.map(|member| member.speaks).min()?;
        (self.rules(now) && all > state.format).then_some(Change::Format(all))
    }
}
