//! What this node is to manage, validated and immutable. Timings of rights are not here: they live in State.

use crate::health::{ProbeSpec, Weight};
use crate::id::NodeId;
use crate::stack::StackSpec;
use crate::time::Span;
use alloc::string::String;
use alloc::vec::Vec;

/// The cluster as the configuration has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spec {
    /// Every node that runs resources, this one included, with its name.
    pub nodes: Vec<(NodeId, String)>,
    /// The services, numbered by their place; the first is started first and stopped last.
    pub services: Vec<ServiceSpec>,
    /// The probes, numbered by their place.
    pub probes: Vec<ProbeSpec>,
    /// How failures are answered.
    pub policy: Policy,
    /// The local timing.
    pub pace: Pace,
    /// The stack on shared data, or none: then every node has its own copy of the database.
    pub stack: Option<StackSpec>,
    /// A mistake made on purpose, to prove the simulator.
    #[cfg(feature = "planted")]
    pub planted: Option<crate::planted::Planted>,
}

/// A managed service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceSpec {
    /// Its name for people.
    pub name: String,
    /// What its failure means.
    pub weight: Weight,
    /// After a start its probes may fail for this long before that counts.
    pub start_within: Span,
    /// A stop that somebody asked systemd for is no failure for this long: whoever asked may start it again.
    pub grace: Span,
}

impl ServiceSpec {
    /// A vital service of this name, with the default patience.
    pub fn vital(name: &str) -> ServiceSpec {
        let (start_within, grace) = (Span::millis(30_000), Span::millis(5_000));
        ServiceSpec { name: name.into(), weight: Weight::Vital, start_within, grace }
    }
}

/// How failures are answered (L3, L4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// After a move because of a service no other service causes one for this long.
    pub hold_down: Span,
    /// A service is given up after this many tries in a row.
    pub tries: u32,
    /// The first pause between two tries; doubled each time.
    pub pause_first: Span,
    /// The longest pause between two tries.
    pub pause_most: Span,
    /// A service that stayed well this long has its tries back.
    pub settled: Span,
    /// A session that keeps every writer out is ended after this; zero: never.
    pub lock_patience: Span,
    /// Both copies are compared this often; zero: only when asked.
    pub verify_every: Span,
    /// Per cent of the time during which a comparison reads.
    pub verify_duty: u8,
    /// The holder fences a peer that it succeeded and that stays silent, if a fence is configured.
    pub fence_silent: bool,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            hold_down: Span::millis(60_000),
            tries: 8,
            pause_first: Span::millis(500),
            pause_most: Span::millis(30_000),
            settled: Span::millis(60_000),
            lock_patience: Span::millis(60_000),
            verify_every: Span::millis(7 * 86_400_000),
            verify_duty: 20,
            fence_silent: false,
        }
    }
}

/// How often and how patiently; a node's own matter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    /// Between two renewals.
    pub renewal: Span,
    /// Between two reports.
    pub report: Span,
    /// After this long without a report a peer is suspected.
    pub suspicion: Span,
    /// Between two readings of the database's facts, at rest.
    pub observe: Span,
    /// How long a planned move may take in all before it is given up.
    pub switchover_max: Span,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            renewal: Span::millis(150),
            report: Span::millis(50),
            suspicion: Span::millis(300),
            observe: Span::millis(100),
            switchover_max: Span::millis(10_000),
        }
    }
}
