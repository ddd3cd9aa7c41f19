//! A wall clock that jumps, by name: it cannot be shown on hosts that share their kernel's clock.

use super::{Case, Run};

pub(super) const CASE: Case = Case {
    name: "clock-jump",
    about: "the wall clock of a node jumps by an hour: no failover, an alarm",
    run: Run::Skipped(
        "hosts of the lab share the kernel's CLOCK_REALTIME, and time namespaces have none of \
         their own; that no decision reads it is what crates/core cannot be built without",
    ),
};
