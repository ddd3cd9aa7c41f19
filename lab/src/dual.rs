//! How long two nodes spoke or answered at once, computed from what was seen of them.
//!
//! An *event* is the proof that a speaker was active at some instant of `[since, until]`: for a
//! frame of the VIP both are the moment it was seen; for an acknowledged write they are its sending
//! and its acknowledgement, of which at most the last [`LATE_US`] count (a write that waited was
//! acknowledged at the end of its wait, not during it).
//!
//! A *tenure* is a run of one speaker's events in which none is more than [`TENURE_US`] after the
//! one before it. Two tenures of different speakers are *interleaved* when an event of one lies
//! certainly inside the other: after the end of its first event and before the start of its last.
//! A hand-over, however close, is therefore never counted, and a single stray frame in the middle
//! of the other's tenure always is. An interleaved pair counts from the later of the two
//! beginnings to the earlier of the two ends, and one millisecond at least; `dual_ms` is the
//! length of the union over all pairs, rounded up.

/// Silence after which a speaker that is heard again has begun a new tenure. Shorter than the
/// hold-down between two moves, longer than any pause of a speaker under the lab's load.
pub const TENURE_US: u64 = 1_000_000;

/// Longest time between a database's decision and the client's note of it.
pub const LATE_US: u64 = 50_000;

/// The least that a proven interleaving counts.
const LEAST_US: u64 = 1_000;

/// A proof that `speaker` was active at some instant of `[since, until]`, in microseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Hardware address or node name.
    pub speaker: String,
    /// Not before this.
    pub since: u64,
    /// Not after this.
    pub until: u64,
}

impl Event {
    /// A frame seen at `at`.
    pub fn frame(speaker: &str, at: u64) -> Event {
        Event { speaker: speaker.to_owned(), since: at, until: at }
    }

    /// A write sent at `sent` and acknowledged at `acknowledged`.
    pub fn write(speaker: &str, sent: u64, acknowledged: u64) -> Event {
        let since = sent.max(acknowledged.saturating_sub(LATE_US));
        Event { speaker: speaker.to_owned(), since, until: acknowledged }
    }
}

/// Milliseconds in which two speakers were active at once; 0 if there is no proof of any.
pub fn dual_ms(events: &[Event]) -> u64 {
    let tenures = tenures(events);
    let mut spans = Vec::new();
    for (index, one) in tenures.iter().enumerate() {
        for other in &tenures[index + 1..] {
            if one[0].speaker != other[0].speaker {
                spans.extend(interleaved(one, other));
            }
        }
    }
    spans.sort_unstable();
    let mut total = 0;
    let mut covered = 0;
    for (from, to) in spans {
        total += to.saturating_sub(from.max(covered));
        covered = covered.max(to);
    }
    total.div_ceil(1000)
}

fn tenures(events: &[Event]) -> Vec<Vec<&Event>> {
    let mut sorted: Vec<&Event> = events.iter().collect();
    sorted.sort_by(|a, b| (&a.speaker, a.since, a.until).cmp(&(&b.speaker, b.since, b.until)));
    let mut tenures: Vec<Vec<&Event>> = Vec::new();
    let mut latest = 0;
    for event in sorted {
        match tenures.last_mut() {
            Some(tenure)
                if tenure[0].speaker == event.speaker && latest + TENURE_US >= event.since =>
            {
                tenure.push(event);
                latest = latest.max(event.until);
            }
            Some(_) | None => {
                tenures.push(vec![event]);
                latest = event.until;
            }
        }
    }
    tenures
}

fn interleaved(one: &[&Event], other: &[&Event]) -> Option<(u64, u64)> {
    let (one_from, one_to) = certain(one);
    let (other_from, other_to) = certain(other);
    let is_inside = |events: &[&Event], from: u64, to: u64| {
        events.iter().any(|event| from < event.since && event.until < to)
    };
    if !is_inside(other, one_from, one_to) && !is_inside(one, other_from, other_to) {
        return None;
    }
    let from = one_from.max(other_from);
    let to = one_to.min(other_to);
    Some((from, to.max(from + LEAST_US)))
}

/// From when and until when the speaker was certainly active: the end of the event that ended
/// first, the start of the one that started last.
fn certain(tenure: &[&Event]) -> (u64, u64) {
    let from = tenure.iter().map(|event| event.until).min().unwrap_or(u64::MAX);
    let to = tenure.iter().map(|event| event.since).max().unwrap_or(0);
    (from, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(speaker: &str, times_ms: impl IntoIterator<Item = u64>) -> Vec<Event> {
        times_ms.into_iter().map(|ms| Event::frame(speaker, ms * 1000)).collect()
    }

    fn together(parts: &[Vec<Event>]) -> Vec<Event> {
        parts.concat()
    }

    #[test]
    fn one_speaker_is_never_dual() {
        assert_eq!(dual_ms(&frames("a", (0..1000).step_by(5))), 0);
        assert_eq!(dual_ms(&[]), 0);
    }

    #[test]
    fn a_hand_over_is_not_dual_however_close() {
        let events = together(&[frames("a", 0..=100), frames("b", 100..=200)]);
        assert_eq!(dual_ms(&events), 0);
    }

    #[test]
    fn overlap_counts_from_the_second_beginning_to_the_first_end() {
        let events =
            together(&[frames("a", (0..=100).step_by(5)), frames("b", (50..=200).step_by(5))]);
        assert_eq!(dual_ms(&events), 50);
    }

    #[test]
    fn a_single_stray_frame_inside_the_others_tenure_counts_one_millisecond() {
        let events = together(&[frames("b", (500..=900).step_by(5)), frames("a", [702])]);
        assert_eq!(dual_ms(&events), 1);
    }

    #[test]
    fn one_last_frame_of_the_old_owner_after_the_first_of_the_new_one_counts() {
        let events = together(&[frames("a", (0..=100).step_by(10)), frames("b", [95, 104, 110])]);
        assert_eq!(dual_ms(&events), 5);
    }

    #[test]
    fn two_moves_with_a_tenure_between_them_are_not_dual() {
        let events = together(&[
            frames("a", (0..=100).step_by(5)),
            frames("b", (150..=1500).step_by(5)),
            frames("a", (1550..=2000).step_by(5)),
        ]);
        assert_eq!(dual_ms(&events), 0);
    }

    #[test]
    fn two_interleavings_add_up_and_shared_time_counts_once() {
        let events = together(&[
            frames("a", (0..=100).step_by(5)),
            frames("b", (50..=200).step_by(5)),
            frames("c", (60..=90).step_by(5)),
            frames("a", (5000..=5100).step_by(5)),
            frames("b", (5090..=5200).step_by(5)),
        ]);
        assert_eq!(dual_ms(&events), 50 + 10);
    }

    #[test]
    fn acknowledged_writes_of_two_databases_in_turn_are_dual() {
        let write = |who, sent: u64, done: u64| Event::write(who, sent * 1000, done * 1000);
        let events = [write("a", 0, 2), write("b", 10, 12), write("a", 20, 22)];
        assert_eq!(dual_ms(&events), 1);
        let handed_over = [write("a", 0, 12), write("b", 10, 14), write("b", 30, 32)];
        assert_eq!(dual_ms(&handed_over), 0);
    }

    #[test]
    fn a_write_that_waited_counts_when_it_was_acknowledged() {
        let write = |who, sent: u64, done: u64| Event::write(who, sent * 1000, done * 1000);
        let others = (1000..3000).step_by(20).map(|ms| write("b", ms, ms + 2));
        let mut events: Vec<Event> = others.collect();
        events.push(write("a", 0, 2000));
        assert_eq!(dual_ms(&events), 1);
        let mut moved: Vec<Event> =
            (1000..3000).step_by(20).map(|ms| write("b", ms, ms + 2)).collect();
        moved.push(write("a", 0, 990));
        assert_eq!(dual_ms(&moved), 0);
    }
}
