//! What the agent measures of its own timing: how long swaps take, how far apart reports come, how late the lease
//! thread wakes. Bounded, and without locks, so that measuring delays nothing.

use regent_api::status::Measured;
use regent_core::id::NodeId;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Each power of two has so many parts: a figure is at most a sixteenth too long, never too short.
const PARTS: u64 = 16;

/// From a microsecond to half an hour.
const OCTAVES: u64 = 31;

/// Counts by length, from a microsecond on.
pub struct Lengths {
    counts: Vec<AtomicU64>,
    worst_us: AtomicU64,
}

impl Default for Lengths {
    fn default() -> Lengths {
        let counts = (0..OCTAVES * PARTS).map(|_| AtomicU64::new(0)).collect();
        Lengths { counts, worst_us: AtomicU64::new(0) }
    }
}

impl Lengths {
    /// One more.
    pub fn note(&self, length: Duration) {
        let us = (length.as_nanos().div_ceil(1000) as u64).max(1);
        let at = place(us).min(self.counts.len() - 1);
        self.counts[at].fetch_add(1, Ordering::Relaxed);
        self.worst_us.fetch_max(us, Ordering::Relaxed);
    }

    /// The figures under a name; none before the first.
    pub fn figures(&self, what: &str) -> Option<Measured> {
        let counts: Vec<u64> = self.counts.iter().map(|c| c.load(Ordering::Relaxed)).collect();
        let count: u64 = counts.iter().sum();
        let worst_us = self.worst_us.load(Ordering::Relaxed);
        let most = |permille: u64| {
            let mut left = (count * permille).div_ceil(1000);
            let at = counts.iter().position(|n| {
                left = left.saturating_sub(*n);
                left == 0
            });
            // The last count has no end.
            let at = at.filter(|at| *at < counts.len() - 1);
            at.map_or(worst_us, |at| end(at).min(worst_us))
        };
        (count > 0).then(|| Measured {
            what: what.into(),
            count,
            p50_us: most(500),
            p99_us: most(990),
            p999_us: most(999),
            worst_us,
        })
    }
}

/// Which count a length belongs to.
fn place(us: u64) -> usize {
    let octave = u64::from(us.ilog2());
    let part = ((us - (1 << octave)) * PARTS) >> octave;
    (octave * PARTS + part) as usize
}

/// The longest length of a count.
fn end(at: usize) -> u64 {
    let (octave, part) = (at as u64 / PARTS, at as u64 % PARTS);
    // Rounded up: the first length of the next count, less one.
    ((1 << octave) + ((part + 1) << octave).div_ceil(PARTS)).saturating_sub(1).max(1)
}

/// Everything that one agent measures.
pub struct Measures {
    /// From a swap's proposal to its known end, while it is won.
    pub swap: Lengths,
    /// The same for the swap after one that was not won at once.
    pub swap_refused: Lengths,
    /// By how much the lease thread wakes later than it asked to.
    pub late: Lengths,
    /// Between two words of each peer.
    gaps: Vec<(NodeId, String, Lengths)>,
}

impl Measures {
    /// Nothing yet, for these peers and their names.
    pub fn new(peers: impl IntoIterator<Item = (NodeId, String)>) -> Measures {
        let gaps = peers.into_iter().map(|(id, name)| (id, name, Lengths::default())).collect();
        Measures {
            swap: Lengths::default(),
            swap_refused: Lengths::default(),
            late: Lengths::default(),
            gaps,
        }
    }

    /// A peer was silent for so long between two words.
    pub fn gap(&self, peer: NodeId, length: Duration) {
        if let Some((_, _, gaps)) = self.gaps.iter().find(|(id, _, _)| *id == peer) {
            gaps.note(length);
        }
    }

    /// All figures.
    pub fn figures(&self) -> Vec<Measured> {
        let own = [
            self.swap.figures("swap"),
            self.swap_refused.figures("swap-refused"),
            self.late.figures("wake-late"),
        ];
        let gaps = self.gaps.iter().map(|(_, name, l)| l.figures(&format!("report-gap:{name}")));
        own.into_iter().chain(gaps).flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_lies_in_its_count_and_counts_follow_one_another() {
        for us in (1..5_000).chain([65_535, 65_536, 1_000_000, 59_999_999]) {
            let at = place(us);
            assert!(us <= end(at), "{us} in {at}, which ends at {}", end(at));
            assert!(at == 0 || us > end(at - 1) || place(end(at - 1)) == at, "{us} in {at}");
            assert!(end(at) <= us + us / 16 + 1, "{us} is told as {}", end(at));
        }
    }

    #[test]
    fn figures_are_never_too_short_and_at_most_a_sixteenth_too_long() {
        let lengths = Lengths::default();
        assert_eq!(lengths.figures("swap"), None);
        for us in 1..=10_000 {
            lengths.note(Duration::from_micros(us));
        }
        let figures = lengths.figures("swap").unwrap();
        assert_eq!((figures.count, figures.worst_us), (10_000, 10_000));
        assert!((5_000..5_320).contains(&figures.p50_us), "{figures:?}");
        assert!((9_900..=10_000).contains(&figures.p99_us), "{figures:?}");
        assert!((9_990..=10_000).contains(&figures.p999_us), "{figures:?}");
    }

    #[test]
    fn what_is_beyond_every_count_is_kept_as_the_worst() {
        let lengths = Lengths::default();
        lengths.note(Duration::from_secs(100_000));
        assert_eq!(lengths.figures("swap").unwrap().p99_us, 100_000_000_000);
    }
}
