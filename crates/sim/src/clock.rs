//! The clocks of one host, each at a rate of its own within the bounds of rule C4.

use crate::rng::Rng;
use regent_core::time::{Span, Time};

/// RAW is off by at most half of the drift that others wait longer, in parts per million.
const RAW_PPM: i64 = 4_900;
/// chrony slews CLOCK_BOOTTIME by at most 8 %.
const SLEW_PPM: i64 = 80_000;
/// The kernel slews its timers by at most 10 %.
const TIMER_PPM: i64 = 100_000;
/// One tick at HZ 250: a ticket ends up to so much later.
pub const TICK: u64 = 4_000_000;

/// Rates against the time that no host knows, in parts per million.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// CLOCK_BOOTTIME.
    pub boot: i64,
    /// CLOCK_MONOTONIC_RAW.
    pub raw: i64,
    /// Kernel timers.
    pub timer: i64,
}

impl Rates {
    /// All clocks right.
    pub const TRUE: Rates = Rates { boot: 0, raw: 0, timer: 0 };

    /// Any within the bounds; often at a bound, where mistakes show.
    pub fn draw(rng: &mut Rng) -> Rates {
        let mut within = |most: i64| match rng.below(4) {
            0 => most,
            1 => -most,
            2 => 0,
            3.. => rng.swing(most),
        };
        let raw = within(RAW_PPM);
        Rates { boot: raw + within(SLEW_PPM), raw, timer: within(TIMER_PPM) }
    }
}

/// The clocks of one host.
#[derive(Clone, Debug)]
pub struct Clock {
    since: u64,
    boot: u64,
    raw: u64,
    timer: u64,
    rates: Rates,
    stopped: bool,
    /// How long they stood still in all, before `since`.
    stood: u64,
}

impl Clock {
    /// Clocks that were set to something long ago.
    pub fn new(rates: Rates, rng: &mut Rng, now: u64) -> Clock {
        let start = rng.range(1_000_000_000, 1_000_000_000_000);
        let (raw, timer) = (start / 2, start / 3);
        Clock { since: now, boot: start, raw, timer, rates, stopped: false, stood: 0 }
    }

    /// Both readings that an agent takes.
    pub fn read(&self, now: u64) -> Time {
        Time {
            boot: self.boot + self.passed(self.rates.boot, now),
            raw: self.raw + self.passed(self.rates.raw, now),
        }
    }

    /// The reading that kernel timers go by.
    pub fn timer(&self, now: u64) -> u64 {
        self.timer + self.passed(self.rates.timer, now)
    }

    /// How long a sleep of `span` really takes.
    pub fn sleep(&self, span: Span) -> u64 {
        let rate = (1_000_000 + self.rates.timer) as u128;
        (u128::from(span.0) * 1_000_000 / rate) as u64
    }

    /// From now on at these rates.
    pub fn set_rates(&mut self, rates: Rates, now: u64) {
        self.rebase(now);
        self.rates = rates;
    }

    /// The host is paused from outside: its clocks stand still.
    pub fn stop(&mut self, now: u64) {
        self.rebase(now);
        self.stopped = true;
    }

    /// They go on.
    pub fn go_on(&mut self, now: u64) {
        self.stood = self.stood(now);
        self.since = now;
        self.stopped = false;
    }

    /// They stand still.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// How long they stood still so far, in the time that no host knows.
    pub fn stood(&self, now: u64) -> u64 {
        self.stood + if self.stopped { now - self.since } else { 0 }
    }

    fn rebase(&mut self, now: u64) {
        self.stood = self.stood(now);
        let Time { boot, raw } = self.read(now);
        self.timer = self.timer(now);
        self.boot = boot;
        self.raw = raw;
        self.since = now;
    }

    fn passed(&self, ppm: i64, now: u64) -> u64 {
        if self.stopped {
            return 0;
        }
        let passed = u128::from(now - self.since) * (1_000_000 + ppm) as u128;
        (passed / 1_000_000) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_run_at_their_own_rates_and_stand_still_in_a_pause() {
        let mut rng = Rng::new(1);
        let rates = Rates { boot: 80_000, raw: -5_000, timer: -100_000 };
        let mut clock = Clock::new(rates, &mut rng, 0);
        let (start, timer) = (clock.read(0), clock.timer(0));
        let second = Span::millis(1_000).0;
        let later = clock.read(second);
        assert_eq!(later.elapsed_most(start), Span::millis(1_080));
        assert_eq!(later.elapsed_least(start), Span::millis(995));
        assert_eq!(clock.timer(second) - timer, Span::millis(900).0);
        clock.stop(second);
        assert_eq!(clock.read(9 * second), later);
        assert_eq!(clock.stood(9 * second), 8 * second);
        clock.go_on(9 * second);
        assert_eq!(clock.stood(10 * second), 8 * second);
        assert_eq!(clock.read(10 * second).elapsed_most(later), Span::millis(1_080));
    }

    #[test]
    fn rates_stay_within_their_bounds() {
        let mut rng = Rng::new(7);
        for _ in 0..1000 {
            let rates = Rates::draw(&mut rng);
            assert!(rates.raw.abs() <= RAW_PPM && rates.timer.abs() <= TIMER_PPM);
            assert!((rates.boot - rates.raw).abs() <= SLEW_PPM);
        }
    }
}
