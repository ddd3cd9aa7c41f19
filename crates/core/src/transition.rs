//! The legal edges between roles, as data: the agent tells each change by its edge and with the reason that the node
//! had ([`crate::reason::RoleReason`]); the simulator asserts that no other edge is ever taken, and counts those that
//! are; the dump under `tests/` shows every change of this table in review.

use crate::role::Role;

/// One legal change of role.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transition {
    /// Stable, for logs and scenarios.
    pub id: &'static str,
    /// From.
    pub from: Role,
    /// To.
    pub to: Role,
}

const fn edge(id: &'static str, from: Role, to: Role) -> Transition {
    Transition { id, from, to }
}

use Role::{Activating, Active, Deactivating, Failed, Isolated, Maintenance, Standby, Stopped};

/// Every legal edge. A number that is missing was an edge that no run ever took: a right that ended closes the gate,
/// and so does a database that died, so that the way back is by activating. It is not used again.
pub const TRANSITIONS: &[Transition] = &[
    edge("T01", Standby, Activating),
    edge("T02", Activating, Active),
    edge("T03", Activating, Standby),
    edge("T04", Active, Deactivating),
    edge("T05", Deactivating, Standby),
    edge("T06", Deactivating, Active),
    edge("T07", Deactivating, Activating),
    edge("T08", Active, Activating),
    edge("T09", Active, Isolated),
    edge("T10", Active, Standby),
    edge("T11", Active, Failed),
    edge("T12", Isolated, Activating),
    edge("T14", Isolated, Standby),
    edge("T15", Activating, Isolated),
    edge("T16", Activating, Failed),
    edge("T17", Failed, Activating),
    edge("T18", Failed, Standby),
    edge("T20", Failed, Deactivating),
    edge("T21", Standby, Failed),
    edge("T22", Standby, Isolated),
    edge("T23", Isolated, Failed),
    edge("T24", Failed, Isolated),
    edge("T25", Deactivating, Isolated),
    edge("T26", Deactivating, Failed),
    edge("T27", Standby, Active),
    edge("T28", Standby, Maintenance),
    edge("T29", Maintenance, Standby),
    edge("T30", Standby, Deactivating),
    edge("T31", Isolated, Deactivating),
    edge("T32", Activating, Deactivating),
    edge("T33", Maintenance, Isolated),
    edge("T34", Isolated, Maintenance),
    edge("T35", Maintenance, Failed),
    edge("T36", Failed, Maintenance),
    edge("T37", Deactivating, Maintenance),
    edge("T38", Activating, Maintenance),
    edge("T39", Active, Maintenance),
    edge("T40", Maintenance, Activating),
    edge("T41", Standby, Stopped),
    edge("T42", Activating, Stopped),
    edge("T43", Active, Stopped),
    edge("T44", Deactivating, Stopped),
    edge("T45", Isolated, Stopped),
    edge("T46", Failed, Stopped),
    edge("T47", Maintenance, Stopped),
    edge("T48", Stopped, Standby),
    edge("T49", Stopped, Activating),
    edge("T50", Stopped, Active),
    edge("T51", Stopped, Deactivating),
    edge("T52", Stopped, Isolated),
    edge("T53", Stopped, Failed),
    edge("T54", Stopped, Maintenance),
];

/// The edge between two roles, if it is legal.
pub fn find(from: Role, to: Role) -> Option<&'static Transition> {
    TRANSITIONS.iter().find(|edge| edge.from == from && edge.to == to)
}

/// What a role guarantees, in one sentence.
pub fn promise(role: Role) -> &'static str {
    match role {
        Standby => "the gate is closed; ready, or getting ready, to take over",
        Activating => "holds the lease; the gate is closed; its database is made ready",
        Active => "holds the lease, its right runs, answers for the VIP, acknowledges writes",
        Deactivating => "holds the lease and gives it to a named successor",
        Isolated => {
            "sees no majority of voters; the gate is closed, or closes when its ticket ends"
        }
        Failed => "its database is down or not the recorded copy; acknowledges nothing",
        Maintenance => "no candidate, by an operator's word",
        Stopped => "runs nothing and starts nothing; the gate is closed, or is being closed",
    }
}
