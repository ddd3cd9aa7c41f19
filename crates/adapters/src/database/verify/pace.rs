//! How much of both servers' time a comparison takes.

use std::time::Duration;

/// How much of both servers' time it takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pace {
    /// Per cent of the time during which it reads, 1 to 100.
    pub(crate) duty: u8,
    /// How long it waits for the standby to apply what was logged here; then it stops.
    pub(crate) patience: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { duty: 20, patience: Duration::from_secs(60) }
    }
}
