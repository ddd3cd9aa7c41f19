//! What this node is to manage, validated and immutable. Timings of rights are not here: they live in State.

use crate::id::NodeId;
use crate::time::Span;
use alloc::string::String;
use alloc::vec::Vec;

/// The cluster as the configuration has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spec {
    /// Every node that runs resources, this one included, with its name.
    pub nodes: Vec<(NodeId, String)>,
    /// The services' names, numbered by their place.
    pub services: Vec<String>,
    /// The local timing.
    pub pace: Pace,
    /// A mistake made on purpose, to prove the simulator.
    #[cfg(feature = "planted")]
    pub planted: Option<crate::planted::Planted>,
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
