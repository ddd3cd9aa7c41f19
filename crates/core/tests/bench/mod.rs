//! One node and what it is told: the values that tests of core begin with.
#![allow(dead_code, reason = "each test file uses a part of it")]

use regent_core::id::{AttemptId, BootId, ClusterId, Epoch, Incarnation, NodeId, RunId, Version};
use regent_core::node::Identity;
use regent_core::observe::{DatabaseFacts, DatabaseReport, Position, Report, Thread};
use regent_core::role::Role;
use regent_core::spec::{Pace, Policy, Spec};
use regent_core::state::{
    Data, DataCopy, FORMAT, Intent, Lease, Member, MemberRole, Phase, State, Sync, Timing,
};
use regent_core::time::Span;
use std::collections::BTreeMap;

pub const ME: NodeId = NodeId(1);
pub const PEER: NodeId = NodeId(2);

/// The first node, in its first run.
pub fn identity() -> Identity {
    Identity {
        cluster: ClusterId(7),
        node: ME,
        boot: BootId(1),
        run: RunId(1),
        seed: 42,
        link: None,
        configuration: 0,
        speaks: FORMAT,
    }
}

/// Two nodes with a copy each, no services, no probes.
pub fn spec() -> Spec {
    Spec {
        stack: None,
        nodes: vec![(ME, "mn1".into()), (PEER, "mn2".into())],
        services: Vec::new(),
        probes: Vec::new(),
        policy: Policy::default(),
        pace: Pace::default(),
        #[cfg(feature = "planted")]
        planted: None,
    }
}

/// A database at rest: strict, read-only, nobody's follower.
pub fn at_rest() -> DatabaseFacts {
    DatabaseFacts {
        start: 1,
        read_only: true,
        strict: true,
        waiting: 0,
        confirming: 1,
        others: Box::default(),
        confirms: true,
        receiver: Thread::Stopped,
        applier: Thread::Stopped,
        source: None,
        unreached: None,
        behind: None,
        backlog: 0,
        locked: None,
        drift: Box::default(),
        comparison: None,
        renewed: false,
        shut_out: None,
        drained: true,
        end: Position("0-1-1".into()),
        applied: Position("0-1-1".into()),
        shows: None,
        unconfirmed: 0,
        was: Box::default(),
        incarnation: Some(Incarnation(11)),
        mark: false,
        broken: false,
    }
}

/// The first record of a cluster: the first node is named and has not taken it.
pub fn first_state() -> State {
    let member =
        |name: &str| Member { name: name.into(), speaks: 1, role: MemberRole::Node, by: None };
    State {
        format: 1,
        cluster: ClusterId(7),
        replaces: None,
        lease: Lease {
            epoch: Epoch(1),
            holder: ME,
            phase: Phase::Free,
            ttl: Span::millis(700),
            by: AttemptId::default(),
        },
        sync: Sync { writer: DataCopy { node: ME, incarnation: Incarnation(11) }, with: None },
        data: Data::Clear,
        intent: Intent::default(),
        members: BTreeMap::from([(ME, member("mn1")), (PEER, member("mn2"))]),
        timing: Timing { ttl: Span::millis(700), margin: Span::millis(90), drift_ppm: 10_000 },
        history: Vec::new(),
        kept: Default::default(),
    }
}

/// A peer's database that follows this node in this incarnation.
pub fn follows(incarnation: Incarnation) -> DatabaseReport {
    DatabaseReport {
        incarnation: Some(incarnation),
        start: 5,
        read_only: true,
        strict: false,
        receiver: Thread::Running,
        applier: Thread::Running,
        source: Some(ME),
        applied: Position("0-1-1".into()),
        shows: None,
        confirms: true,
        behind: None,
        backlog: 0,
        renewed: false,
        held: None,
    }
}

/// The peer's report of this number: a standby that is well.
pub fn report(n: u64, version: Version, state: &State) -> Report {
    Report {
        node: PEER,
        run: RunId(9),
        n,
        speaks: 1,
        stack: None,
        version,
        epoch: state.lease.epoch,
        role: Role::Standby,
        serving: false,
        unable: None,
        database: None,
        services: Vec::new(),
        ailments: Vec::new(),
        concerns: Vec::new(),
        link: None,
        configuration: 0,
        leaving: false,
        distrusts: None,
        comparison: None,
        look_for: None,
        moving_to: None,
    }
}
