//! When this machine stood still: a bound in milliseconds that is missed just then says nothing about the product.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::run::now_us;

/// How often it is looked, and how late a look is that counts: a good part of what a renewal may take.
const PERIOD: Duration = Duration::from_millis(5);
const LATE: Duration = Duration::from_millis(60);

/// A watch over the machine, from its start to its end.
#[derive(Debug)]
pub struct Standstills {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<Vec<(u64, u64)>>,
}

impl Standstills {
    /// Begins to watch.
    pub fn watch() -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&ended);
        let thread = std::thread::spawn(move || look(&over));
        Self { ended, thread }
    }

    /// What was seen: from when to when, CLOCK_MONOTONIC in microseconds.
    pub fn end(self) -> Vec<(u64, u64)> {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

fn look(ended: &AtomicBool) -> Vec<(u64, u64)> {
    let mut seen = Vec::new();
    let mut last = now_us();
    while !ended.load(Ordering::Relaxed) {
        std::thread::sleep(PERIOD);
        let now = now_us();
        if now - last > (PERIOD + LATE).as_micros() as u64 {
            seen.push((last, now));
        }
        last = now;
    }
    seen
}

/// Whether the machine stood still at some time in this span before `at`.
pub fn excuses(standstills: &[(u64, u64)], at: u64, before: Duration) -> bool {
    let begin = at.saturating_sub(before.as_micros() as u64);
    standstills.iter().any(|(from, until)| *from <= at && *until >= begin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_standstill_in_the_span_before_excuses() {
        let seen = [(1_000_000, 1_100_000)];
        let second = Duration::from_secs(1);
        assert!(excuses(&seen, 1_050_000, second));
        assert!(excuses(&seen, 2_000_000, second));
        assert!(!excuses(&seen, 2_200_000, second));
        assert!(!excuses(&seen, 900_000, second));
        assert!(!excuses(&[], 900_000, second));
    }
}
