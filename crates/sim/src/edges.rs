//! Which edges between roles were taken: what no run ever takes does not belong in core's table.

use crate::world::World;
use regent_core::invariant::Violation;
use regent_core::role::Role;
use regent_core::transition::{TRANSITIONS, Transition};

const _: () = assert!(TRANSITIONS.len() <= 64);

/// A set of edges of core's table, one bit each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Edges(pub u64);

impl Edges {
    /// These as well.
    pub fn join(&mut self, other: Edges) {
        self.0 |= other.0;
    }

    /// The edges of the table that are not in it.
    pub fn missing(self) -> impl Iterator<Item = &'static Transition> {
        let all = TRANSITIONS.iter().enumerate();
        all.filter(move |(at, _)| self.0 & (1 << at) == 0).map(|(_, edge)| edge)
    }
}

impl World {
    /// A node says that it went from one role to another.
    pub(crate) fn take_edge(&mut self, from: Role, to: Role) {
        let is_this = |edge: &Transition| edge.from == from && edge.to == to;
        let Some(at) = TRANSITIONS.iter().position(is_this) else {
            let text = format!("an edge that is in no table: {from} -> {to}");
            return self.violated(Violation { id: "role", text });
        };
        self.edges.join(Edges(1 << at));
    }
}
