//! Outage as arithmetic on moments of success.

/// The longest time, in microseconds, in which nothing succeeded between `from` and `to`: the
/// longest distance between neighbours among `from`, the successes between them, and `to`.
/// With `client_gap` `from` is the last acknowledgement before the fault, so that the gap that
/// the fault cut open is counted in full.
pub fn longest_us(successes: &[u64], from: u64, to: u64) -> u64 {
    let mut inside: Vec<u64> =
        successes.iter().copied().filter(|at| (from..=to).contains(at)).collect();
    inside.push(from);
    inside.push(to);
    inside.sort_unstable();
    inside.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
}

/// The last success at or before `at`; `at` itself if there is none.
pub fn last_before(successes: &[u64], at: u64) -> u64 {
    successes.iter().copied().filter(|success| *success <= at).max().unwrap_or(at)
}

/// Microseconds as whole milliseconds, rounded up: an outage is never shown shorter than it was.
pub fn to_ms(us: u64) -> u64 {
    us.div_ceil(1000)
}

/// The middle value; of an even number the larger of the two, so that no bar is met by rounding.
pub fn median(values: &[u64]) -> Option<u64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_is_found_between_successes_and_at_both_ends() {
        assert_eq!(longest_us(&[10, 20, 50, 60], 0, 70), 30);
        assert_eq!(longest_us(&[60, 65], 0, 70), 60);
        assert_eq!(longest_us(&[10, 20], 0, 70), 50);
        assert_eq!(longest_us(&[], 5, 70), 65);
    }

    #[test]
    fn successes_outside_the_window_do_not_count() {
        assert_eq!(longest_us(&[1, 2, 100, 205, 300], 100, 200), 100);
    }

    #[test]
    fn order_does_not_matter() {
        assert_eq!(longest_us(&[50, 10, 60, 20], 0, 70), 30);
    }

    #[test]
    fn the_gap_begins_at_the_last_success_before_the_fault() {
        let acks = [100, 200, 300, 900];
        assert_eq!(last_before(&acks, 350), 300);
        assert_eq!(longest_us(&acks, last_before(&acks, 350), 950), 600);
        assert_eq!(last_before(&[], 350), 350);
    }

    #[test]
    fn the_median_is_the_middle_or_the_larger_of_two() {
        assert_eq!(median(&[5, 1, 3]), Some(3));
        assert_eq!(median(&[4, 1, 3, 2]), Some(3));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn milliseconds_are_rounded_up() {
        assert_eq!((to_ms(0), to_ms(1), to_ms(1000), to_ms(1001)), (0, 1, 1, 2));
    }
}
