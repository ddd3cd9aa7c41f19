//! The legal edges between roles, as data: the agent tells each change by its edge, the simulator asserts that no
//! other is ever taken, and the dump under `tests/` shows every change of this table in review.

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
    /// What brings it about, in the operator's words.
    pub when: &'static str,
}

const fn edge(id: &'static str, from: Role, to: Role, when: &'static str) -> Transition {
    Transition { id, from, to, when }
}

use Role::{Activating, Active, Deactivating, Failed, Isolated, Maintenance, Standby, Stopped};

/// Every legal edge.
pub const TRANSITIONS: &[Transition] = &[
    edge("T01", Standby, Activating, "the lease names this node: it succeeded, or was released to"),
    edge("T02", Activating, Active, "wait over, solo or join won, writable, gate enabled"),
    edge("T03", Activating, Standby, "another node succeeded before this one ruled"),
    edge(
        "T04",
        Active,
        Deactivating,
        "a move was asked for, or a vital service or the database died",
    ),
    edge("T05", Deactivating, Standby, "the lease was released, or another node succeeded"),
    edge("T06", Deactivating, Active, "the move was undone before the gate was closed"),
    edge(
        "T07",
        Deactivating,
        Activating,
        "the move was undone after the database had turned read-only",
    ),
    edge(
        "T08",
        Active,
        Activating,
        "the gate is closed while the lease is held: its database is made ready again, or the kernel does not open it",
    ),
    edge(
        "T09",
        Active,
        Isolated,
        "no renewal was won in time: the right is over, the gate is closed",
    ),
    edge("T10", Active, Standby, "another node succeeded while this one was stopped or cut off"),
    edge("T11", Active, Failed, "the database is down and no standby is in sync"),
    edge("T12", Isolated, Activating, "a renewal was won again"),
    edge("T13", Isolated, Active, "a renewal was won again, with everything as it was"),
    edge("T14", Isolated, Standby, "the register answers again and names another node"),
    edge("T15", Activating, Isolated, "no renewal is won any more"),
    edge("T16", Activating, Failed, "the database is down, or its data is not the recorded copy"),
    edge("T17", Failed, Activating, "the database is back, the lease is still held"),
    edge("T18", Failed, Standby, "the database is back, or another node holds"),
    edge("T19", Failed, Active, "the database is back and writable, the gate never closed"),
    edge(
        "T20",
        Failed,
        Deactivating,
        "a standby came in sync while the database was down: the lease moves",
    ),
    edge("T21", Standby, Failed, "the database is down"),
    edge("T22", Standby, Isolated, "no majority of voters answers"),
    edge("T23", Isolated, Failed, "the database is down as well"),
    edge("T24", Failed, Isolated, "no majority of voters answers as well"),
    edge("T25", Deactivating, Isolated, "the right ended during a move"),
    edge(
        "T26",
        Deactivating,
        Failed,
        "the lease was released after the death of the database, which is down still",
    ),
    edge("T27", Standby, Active, "an agent's new run found everything as its last run had left it"),
    edge("T28", Standby, Maintenance, "an operator took the node out"),
    edge("T29", Maintenance, Standby, "the maintenance is over"),
    edge(
        "T30",
        Standby,
        Deactivating,
        "an agent's new run found its database dead and releases at once",
    ),
    edge(
        "T31",
        Isolated,
        Deactivating,
        "a renewal was won again and the database is dead: the lease moves",
    ),
    edge("T32", Activating, Deactivating, "a move began before the gate was enabled"),
    edge("T33", Maintenance, Isolated, "no majority of voters answers"),
    edge("T34", Isolated, Maintenance, "the register answers again, the maintenance goes on"),
    edge("T35", Maintenance, Failed, "the database is down"),
    edge("T36", Failed, Maintenance, "an operator took the node out"),
    edge(
        "T37",
        Deactivating,
        Maintenance,
        "the lease was released by a node that is in maintenance",
    ),
    edge("T38", Activating, Maintenance, "another node succeeded, and this one is in maintenance"),
    edge("T39", Active, Maintenance, "another node succeeded, and this one is in maintenance"),
    edge(
        "T40",
        Maintenance,
        Activating,
        "the lease names this node: it was released to before it was taken out",
    ),
    edge("T41", Standby, Stopped, "an operator stops the cluster"),
    edge("T42", Activating, Stopped, "an operator stops the cluster"),
    edge("T43", Active, Stopped, "an operator stops the cluster"),
    edge("T44", Deactivating, Stopped, "an operator stops the cluster"),
    edge("T45", Isolated, Stopped, "an operator stops the cluster"),
    edge("T46", Failed, Stopped, "an operator stops the cluster"),
    edge("T47", Maintenance, Stopped, "an operator stops the cluster"),
    edge("T48", Stopped, Standby, "an operator starts the cluster"),
    edge("T49", Stopped, Activating, "an operator starts the cluster"),
    edge("T50", Stopped, Active, "an operator starts the cluster"),
    edge("T51", Stopped, Deactivating, "an operator starts the cluster"),
    edge("T52", Stopped, Isolated, "an operator starts the cluster"),
    edge("T53", Stopped, Failed, "an operator starts the cluster"),
    edge("T54", Stopped, Maintenance, "an operator starts the cluster"),
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
