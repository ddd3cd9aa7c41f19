//! What becomes of each frame of one direction, and the frames that wait for it. Pure: time and
//! frames come in, frames come out. The fate of the n-th frame follows from the seed and n alone,
//! so a run can be repeated as far as the frames are the same.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Frames that wait in one direction: half a second of what the nodes say to each other in a lab,
/// many times over, and some 60 MB at most.
const WAITING_MAX: usize = 40_000;
/// Without any delay a reordered frame is held for up to this long.
const REORDER_LEAST: Duration = Duration::from_millis(10);

/// A share, in parts of a million.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Share(u32);

impl Share {
    /// So many in a hundred.
    pub const fn percent(percent: u32) -> Share {
        Share(percent * 10_000)
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Share, String> {
        let number = text.strip_suffix('%').ok_or(format!("{text}: a share as in 30%"))?;
        let percent: f64 = number.parse().map_err(|e| format!("{text}: {e}"))?;
        if (0.0..=100.0).contains(&percent) {
            Ok(Share((percent * 10_000.0).round() as u32))
        } else {
            Err(format!("{text}: from 0% to 100%"))
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.0) / 10_000.0)
    }
}

/// How bad one direction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::Args)]
#[serde(default)]
pub struct Settings {
    /// Share of the frames that is lost
    #[arg(long, default_value = "0%")]
    pub loss: Share,
    /// Time that each frame takes
    #[arg(long, default_value = "0ms", value_parser = duration)]
    pub delay: Duration,
    /// What each frame may take more or less, at random; this alone reorders
    #[arg(long, default_value = "0ms", value_parser = duration)]
    pub jitter: Duration,
    /// Share of the frames that takes anything from no time to twice the delay instead
    #[arg(long, default_value = "0%")]
    pub reorder: Share,
    /// Share of the frames that arrives twice
    #[arg(long, default_value = "0%")]
    pub duplicate: Share,
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { loss, delay, jitter, reorder, duplicate } = self;
        let (delay, jitter) = (delay.as_millis(), jitter.as_millis());
        write!(
            f,
            "{loss} lost, {delay} ms delay, {jitter} ms jitter, {reorder} reordered, {duplicate} \
             doubled"
        )
    }
}

/// `500ms`, `2s`, `1m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let number: u64 = number.parse().map_err(|_| format!("{text}: a time as in 500ms"))?;
    match unit {
        "us" => Ok(Duration::from_micros(number)),
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        other => Err(format!("{other}: us, ms, s or m")),
    }
}

/// What was done to the frames of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Frames that came.
    pub came: u64,
    /// Frames that left, doubles included.
    pub left: u64,
    /// Frames that were lost on purpose.
    pub lost: u64,
    /// Frames that were made to wait.
    pub delayed: u64,
    /// Frames that left after a younger one.
    pub reordered: u64,
    /// Frames that left twice.
    pub doubled: u64,
    /// Frames that were lost because too many waited, or because the kernel took no more.
    pub overflowed: u64,
    /// Sum of the times by which frames left too late, in microseconds.
    pub late_us: u64,
    /// The largest of them.
    pub late_most_us: u64,
}

/// The frames of one direction.
#[derive(Debug)]
pub struct Queue {
    settings: Settings,
    seed: u64,
    waiting: BinaryHeap<Reverse<Waiting>>,
    youngest: u64,
    counts: Counts,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    due: Duration,
    number: u64,
    frame: Vec<u8>,
}

impl Queue {
    /// An empty one.
    pub fn new(settings: Settings, seed: u64) -> Queue {
        let (waiting, counts) = (BinaryHeap::new(), Counts::default());
        Queue { settings, seed, waiting, youngest: 0, counts }
    }

    /// A frame came: it is lost, or waits for its time. Times are of any one clock.
    pub fn take(&mut self, frame: &[u8], now: Duration) {
        self.counts.came += 1;
        let number = self.counts.came;
        let fate = fate(&self.settings, self.seed, number);
        if fate.is_lost {
            self.counts.lost += 1;
            return;
        }
        if self.waiting.len() + 2 > WAITING_MAX {
            self.counts.overflowed += 1;
            return;
        }
        self.counts.delayed += u64::from(!fate.delay.is_zero());
        let due = now + fate.delay;
        if fate.is_double {
            self.counts.doubled += 1;
            self.waiting.push(Reverse(Waiting { due, number, frame: frame.to_vec() }));
        }
        self.waiting.push(Reverse(Waiting { due, number, frame: frame.to_vec() }));
    }

    /// The next frame whose time has come.
    pub fn give(&mut self, now: Duration) -> Option<Vec<u8>> {
        if self.next()? > now {
            return None;
        }
        let Reverse(Waiting { due, number, frame }) = self.waiting.pop()?;
        let late = (now - due).as_micros() as u64;
        self.counts.left += 1;
        self.counts.late_us += late;
        self.counts.late_most_us = self.counts.late_most_us.max(late);
        self.counts.reordered += u64::from(number < self.youngest);
        self.youngest = self.youngest.max(number);
        Some(frame)
    }

    /// The kernel did not take the frame that was given last.
    pub fn refused(&mut self) {
        self.counts.left -= 1;
        self.counts.overflowed += 1;
    }

    /// When the next frame leaves.
    pub fn next(&self) -> Option<Duration> {
        self.waiting.peek().map(|Reverse(waiting)| waiting.due)
    }

    /// What was done so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Fate {
    is_lost: bool,
    is_double: bool,
    delay: Duration,
}

fn fate(settings: &Settings, seed: u64, number: u64) -> Fate {
    let draw = |what: u64| mix(seed ^ mix(number.wrapping_mul(8).wrapping_add(what)));
    let happens = |share: Share, what: u64| draw(what) % 1_000_000 < u64::from(share.0);
    let within = |most: Duration, what: u64| {
        Duration::from_micros(draw(what) % (most.as_micros() as u64 + 1))
    };
    let delay = if happens(settings.reorder, 2) {
        within((settings.delay * 2).max(REORDER_LEAST), 3)
    } else {
        (settings.delay + within(settings.jitter * 2, 4)).saturating_sub(settings.jitter)
    };
    Fate { is_lost: happens(settings.loss, 0), is_double: happens(settings.duplicate, 1), delay }
}

/// SplitMix64's last step: neighbours come out unrelated.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn frame(number: u32) -> [u8; 4] {
        number.to_be_bytes()
    }

    /// A frame each millisecond, and everything that leaves in the order it does, with its time.
    fn run(settings: Settings, seed: u64, frames: u32) -> (Vec<(u32, u32)>, Counts) {
        let mut queue = Queue::new(settings, seed);
        let mut left = Vec::new();
        for ms in 0..frames + 5000 {
            if ms < frames {
                queue.take(&frame(ms), MS * ms);
            }
            while let Some(out) = queue.give(MS * ms) {
                left.push((u32::from_be_bytes(out.try_into().unwrap()), ms));
            }
        }
        assert_eq!(queue.next(), None);
        (left, queue.counts())
    }

    #[test]
    fn without_settings_every_frame_leaves_at_once_and_in_order() {
        let (left, counts) = run(Settings::default(), 1, 1000);
        assert!(left.iter().copied().eq((0..1000).map(|n| (n, n))));
        let expected = Counts { came: 1000, left: 1000, ..Counts::default() };
        assert_eq!(counts, expected);
    }

    #[test]
    fn a_fixed_delay_keeps_the_order() {
        let settings = Settings { delay: 500 * MS, ..Settings::default() };
        let (left, counts) = run(settings, 1, 1000);
        assert!(left.iter().copied().eq((0..1000).map(|n| (n, n + 500))));
        assert_eq!((counts.delayed, counts.reordered), (1000, 0));
    }

    #[test]
    fn shares_are_met_and_every_frame_is_accounted_for() {
        let settings = Settings {
            loss: Share::percent(30),
            delay: 500 * MS,
            reorder: Share::percent(10),
            duplicate: Share::percent(5),
            ..Settings::default()
        };
        let (left, counts) = run(settings, 7, 20_000);
        assert!((5600..6400).contains(&counts.lost), "{counts:?}");
        assert!((550..850).contains(&counts.doubled), "{counts:?}");
        assert_eq!(counts.left, left.len() as u64);
        assert_eq!(counts.left, counts.came - counts.lost + counts.doubled);
        // Half of the share overtakes: those overtaken count. The other half falls behind.
        assert!(counts.reordered > 500, "{counts:?}");
        let took = left.iter().map(|(number, at)| at - number);
        assert!(took.clone().all(|ms| ms <= 1000), "{:?}", took.max());
    }

    #[test]
    fn jitter_spreads_around_the_delay() {
        let settings = Settings { delay: 50 * MS, jitter: 20 * MS, ..Settings::default() };
        let (left, counts) = run(settings, 7, 5000);
        let took = || left.iter().map(|(number, at)| at - number);
        assert!(took().all(|ms| (30..=71).contains(&ms)));
        assert!(took().min() < Some(33) && took().max() > Some(67));
        assert!(counts.reordered > 1000, "{counts:?}");
    }

    #[test]
    fn a_seed_repeats_its_run_and_another_does_not() {
        let settings = Settings { loss: Share::percent(30), ..Settings::default() };
        assert_eq!(run(settings, 5, 500), run(settings, 5, 500));
        assert_ne!(run(settings, 5, 500).0, run(settings, 6, 500).0);
    }

    #[test]
    fn too_many_frames_are_lost_and_counted() {
        let settings = Settings { delay: 1000 * MS, ..Settings::default() };
        let mut queue = Queue::new(settings, 1);
        for number in 0..WAITING_MAX as u32 + 10 {
            queue.take(&frame(number), MS);
        }
        assert_eq!(queue.counts().overflowed, 11);
    }

    #[test]
    fn a_late_look_is_counted_as_late() {
        let mut queue = Queue::new(Settings { delay: 5 * MS, ..Settings::default() }, 1);
        queue.take(&frame(1), MS);
        assert_eq!(queue.give(5 * MS), None);
        assert!(queue.give(8 * MS).is_some());
        assert_eq!((queue.counts().late_us, queue.counts().late_most_us), (2000, 2000));
    }

    #[test]
    fn shares_and_times_are_read_as_people_write_them() {
        assert_eq!("30%".parse(), Ok(Share::percent(30)));
        assert_eq!("0.5%".parse(), Ok(Share(5000)));
        assert!("30".parse::<Share>().is_err() && "130%".parse::<Share>().is_err());
        assert_eq!(duration("500ms"), Ok(500 * MS));
        assert_eq!(duration("2s"), Ok(2000 * MS));
        assert!(duration("2").is_err() && duration("ms").is_err() && duration("2h").is_err());
    }
}
