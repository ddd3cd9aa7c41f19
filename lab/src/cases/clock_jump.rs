//! A wall clock that jumps, by name: it cannot be shown on hosts that share their kernel's clock.

use super::{Case, Run};

pub(super) const CASE: Case = Case {
    name: "clock-jump",
    about: "the wall clock of a node jumps by an hour: no failover, an alarm",
    run: Run::Skipped(
        "hosts of the lab share the kernel's CLOCK_REALTIME (time namespaces have none of their \
         own); no decision reads a wall clock, which the build of crates/core proves, and the \
         probe of the clock has its tests in crates/agent",
    ),
};
