//! Time as two readings of one instant, and elapsed time by rule C4. There is no wall clock here.

use core::ops::{Add, Sub};
use serde::{Deserialize, Serialize};

/// A length of time in nanoseconds.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Span(pub u64);

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(0);

    /// A span of milliseconds.
    pub const fn millis(ms: u64) -> Span {
        Span(ms * 1_000_000)
    }

    /// In milliseconds, rounded down.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// This span less another; none is left below zero.
    pub const fn less(self, other: Span) -> Span {
        Span(self.0.saturating_sub(other.0))
    }

    /// This span lengthened by a rate given in parts per million, rounded up.
    pub const fn widened(self, ppm: u32) -> Span {
        let extra = (self.0 as u128 * ppm as u128).div_ceil(1_000_000);
        Span(self.0 + extra as u64)
    }
}

impl Add for Span {
    type Output = Span;
    fn add(self, other: Span) -> Span {
        Span(self.0.saturating_add(other.0))
    }
}

impl Sub for Span {
    type Output = Span;
    fn sub(self, other: Span) -> Span {
        self.less(other)
    }
}

/// One instant of one boot, read from two clocks, in nanoseconds: CLOCK_BOOTTIME (slewed by NTP, counts
/// suspend) and CLOCK_MONOTONIC_RAW (not slewed, stops in suspend); clock_gettime(2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Time {
    /// CLOCK_BOOTTIME.
    pub boot: u64,
    /// CLOCK_MONOTONIC_RAW.
    pub raw: u64,
}

impl Time {
    /// C4, for the holder: at most this much has passed since `earlier` (the larger reading).
    pub fn elapsed_most(self, earlier: Time) -> Span {
        Span(self.boot.saturating_sub(earlier.boot).max(self.raw.saturating_sub(earlier.raw)))
    }

    /// C4, for everybody else: at least this much has passed since `earlier` (the smaller reading).
    pub fn elapsed_least(self, earlier: Time) -> Span {
        Span(self.boot.saturating_sub(earlier.boot).min(self.raw.saturating_sub(earlier.raw)))
    }

    /// This instant moved on by `span` on both clocks: for tests and for wake-up times only.
    pub fn after(self, span: Span) -> Time {
        Time { boot: self.boot + span.0, raw: self.raw + span.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holder_counts_the_faster_clock_and_others_the_slower() {
        let start = Time { boot: 100, raw: 100 };
        let now = Time { boot: 180, raw: 110 };
        assert_eq!((now.elapsed_most(start), now.elapsed_least(start)), (Span(80), Span(10)));
    }

    #[test]
    fn widening_rounds_up() {
        assert_eq!(Span(700).widened(10_000), Span(707));
        assert_eq!(Span(1).widened(1), Span(2));
    }
}
