//! Timing: the presets, and the sums that keep a takeover inside the wait and a restart inside the right, as a
//! function of what is assumed and of what the agents measured on this very network and these disks.

use super::settings::{Budget, Settings};
use regent_core::spec::Pace;
use regent_core::state::Timing;
use regent_core::time::Span;
use std::fmt;

/// How long systemd and the agent need until a killed agent handles its first input, which the lab measures; systemd
/// starts it at once (`RestartSec=0`).
pub const RESTART: Span = Span::millis(120);

/// The longest tick of a kernel that Debian builds (CONFIG_HZ=100).
const TICK: Span = Span::millis(10);

/// The rate by which others wait longer, in parts per million: twice the error of CLOCK_MONOTONIC_RAW is 200
/// at most (C4), so this is ample.
pub const DRIFT_PPM: u32 = 10_000;

/// How long a right lasts that only an operator ends: ten years. Every sum of lengths stays far below what 64 bits of
/// nanoseconds, and 32 bits of seconds for the kernel's addresses, can hold.
pub const UNTIL_RELEASED: Span = Span::millis(10 * 365 * 86_400_000);

/// How people write and read it.
pub const UNTIL_RELEASED_TEXT: &str = "until released";

/// A timing preset, in milliseconds.
pub(super) struct Preset {
    pub(super) name: &'static str,
    pub(super) values: [(&'static str, u64); 7],
}

const fn preset_of(name: &'static str, ms: [u64; 7]) -> Preset {
    let [ttl, margin, renewal, report, suspicion, swap, refused] = ms;
    let values = [
        ("ttl", ttl),
        ("margin", margin),
        ("renewal", renewal),
        ("report", report),
        ("suspicion", suspicion),
        ("swap", swap),
        ("swap-refused", refused),
    ];
    Preset { name, values }
}

static PRESETS: [Preset; 3] = [
    preset_of("default", [700, 90, 150, 50, 300, 10, 40]),
    preset_of("cautious", [1000, 120, 200, 50, 400, 20, 60]),
    preset_of("fast", [250, 40, 50, 20, 100, 5, 20]),
];

/// The preset of this name; the first if there is none.
pub(super) fn preset(name: &str) -> &'static Preset {
    PRESETS.iter().find(|p| p.name == name).unwrap_or(&PRESETS[0])
}

/// What the agents measured; nothing where nobody has measured enough.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Measured {
    /// A swap in quiet times: 99 of 100 were faster.
    pub swap_p99: Option<Span>,
    /// A swap after one was refused: 99 of 100 were faster.
    pub swap_refused_p99: Option<Span>,
    /// From one report of a peer to the next: 999 of 1000 were shorter.
    pub report_gap_p999: Option<Span>,
    /// How late the lease thread woke: 999 of 1000 were less.
    pub wake_late_p999: Option<Span>,
    /// The longest restart of an agent, from its death to its first input.
    pub restart_worst: Option<Span>,
}

/// A timing in full: what the sums are about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Proposed {
    /// What the register holds, or would.
    pub timing: Timing,
    /// Each node's own pace.
    pub pace: Pace,
    /// What is assumed.
    pub budget: Budget,
}

/// One sum that does not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// The keys of `[timing]` that it is about, the likeliest mistake first.
    pub keys: Vec<&'static str>,
    /// Both sides in figures; what was measured is named as such.
    pub what: String,
    /// The least change that makes it hold.
    pub remedy: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  what to do: {}", self.what, self.remedy)
    }
}

impl Settings {
    /// The timing that this configuration proposes.
    pub fn proposed(&self) -> Proposed {
        Proposed { timing: self.timing, pace: self.pace, budget: self.budget }
    }
}

/// Every sum that does not hold. `place` names where it was measured, for the message: "mn2".
pub fn check(proposed: &Proposed, measured: &Measured, place: &str) -> Vec<Broken> {
    let Proposed { timing, pace, budget } = proposed;
    let mut broken = Vec::new();
    let lengths = [timing.ttl, timing.margin, pace.renewal, pace.report, pace.suspicion];
    if lengths.contains(&Span::ZERO) || budget.swap == Span::ZERO {
        broken.push(Broken {
            keys: vec!["ttl", "margin", "suspicion", "report", "renewal", "swap"],
            what: "a length of time is zero".into(),
            remedy: "give each a length above zero".into(),
        });
        return broken;
    }
    let sides = Sides::of(proposed, measured, place);
    // A right that nobody waits for has no sums: it ends by an operator's word and not by a clock.
    if timing.ttl < UNTIL_RELEASED {
        broken.extend(sides.takeover());
        broken.extend(sides.restart());
        broken.extend(sides.margin());
    }
    broken.extend(sides.suspicion());
    broken
}

/// A figure that a sum takes: the larger of what is assumed and what was measured.
struct Figure {
    value: Span,
    /// Told in front of the sum if the measure is the larger.
    excess: Option<String>,
}

impl Figure {
    fn of(
        name: &str,
        assumed: Span,
        measured: Option<Span>,
        quantile: &str,
        place: &str,
    ) -> Figure {
        match measured {
            Some(measured) if measured > assumed => Figure {
                value: measured,
                excess: Some(format!(
                    "{name}: {} ms measured on {place}{quantile}, {} ms are assumed",
                    ms(measured),
                    ms(assumed)
                )),
            },
            Some(_) | None => Figure { value: assumed, excess: None },
        }
    }
}

struct Sides<'p> {
    proposed: &'p Proposed,
    swap: Figure,
    swap_refused: Figure,
    restart: Figure,
    report: Figure,
    late: Figure,
}

impl Sides<'_> {
    fn of<'p>(proposed: &'p Proposed, measured: &Measured, place: &str) -> Sides<'p> {
        let Budget { swap, swap_refused, drain: _ } = proposed.budget;
        Sides {
            proposed,
            swap: Figure::of("swap", swap, measured.swap_p99, " at p99", place),
            swap_refused: Figure::of(
                "swap after a refusal",
                swap_refused,
                measured.swap_refused_p99,
                " at p99",
                place,
            ),
            restart: Figure::of("restart", RESTART, measured.restart_worst, " at worst", place),
            report: Figure::of(
                "gap between reports",
                proposed.pace.report,
                measured.report_gap_p999,
                " at p99.9",
                place,
            ),
            late: Figure::of("late wake-up", TICK, measured.wake_late_p999, " at p99.9", place),
        }
    }

    /// T1: a takeover's slow work ends inside the wait.
    fn takeover(&self) -> Option<Broken> {
        let (Timing { ttl, drift_ppm, .. }, pace) = (self.proposed.timing, self.proposed.pace);
        let (drain, swap) = (self.proposed.budget.drain, self.swap.value);
        let takeover = pace.suspicion + swap + swap + drain;
        let wait = ttl.widened(drift_ppm).less(pace.renewal);
        if takeover < wait {
            return None;
        }
        let least =
            up((takeover.0 + pace.renewal.0) as u128 * 1_000_000 / (1_000_000 + drift_ppm as u128));
        let others = swap + swap + drain;
        let most = down(wait.less(others));
        let shorter = or_shorter("suspicion", most, Span(pace.report.0 * 3));
        Some(Broken {
            keys: vec!["suspicion", "drain", "swap", "renewal", "ttl"],
            what: self.told(
                &[&self.swap],
                format!(
                    "a takeover would outlast the wait: suspicion {} + 2 swaps of {} + drain {} = {} ms must be less \
                     than ttl {} * (1 + drift) - renewal {} = {} ms",
                    ms(pace.suspicion),
                    ms(swap),
                    ms(drain),
                    ms(takeover),
                    ms(ttl),
                    ms(pace.renewal),
                    ms(wait)
                ),
            ),
            remedy: format!("a ttl of at least {} ms{shorter}", ms(least)),
        })
    }

    /// T2: an agent that is killed comes back and renews before its ticket ends.
    fn restart(&self) -> Option<Broken> {
        let (Timing { ttl, margin, .. }, pace) = (self.proposed.timing, self.proposed.pace);
        let swap = self.swap.value;
        let restart = self.restart.value + self.swap_refused.value;
        let left = ttl.less(margin).less(pace.renewal).less(swap);
        if restart < left {
            return None;
        }
        let least = up((restart + margin + pace.renewal + swap).0.into());
        let most = down(ttl.less(margin).less(swap).less(restart));
        let shorter = or_shorter("renewal", most, Span::millis(10));
        Some(Broken {
            keys: vec!["swap-refused", "margin", "renewal", "ttl"],
            what: self.told(
                &[&self.restart, &self.swap_refused, &self.swap],
                format!(
                    "a restart of the agent would outlast its right: restart {} + swap after a refusal {} = {} ms must \
                     be less than ttl {} - margin {} - renewal {} - swap {} = {} ms",
                    ms(self.restart.value),
                    ms(self.swap_refused.value),
                    ms(restart),
                    ms(ttl),
                    ms(margin),
                    ms(pace.renewal),
                    ms(swap),
                    ms(left)
                ),
            ),
            remedy: format!("a ttl of at least {} ms{shorter}", ms(least)),
        })
    }

    /// T3: the margin covers what a kernel timer may be slewed and late by (C4).
    fn margin(&self) -> Option<Broken> {
        let Timing { ttl, margin, .. } = self.proposed.timing;
        let slewed = Span(ttl.0 / 10) + self.late.value;
        (margin < slewed).then(|| Broken {
            keys: vec!["margin", "ttl"],
            what: self.told(
                &[&self.late],
                format!(
                    "the margin of {} ms is below ttl {} / 10 + late wake-up {} = {} ms [C4]",
                    ms(margin),
                    ms(ttl),
                    ms(self.late.value),
                    ms(slewed)
                ),
            ),
            remedy: format!(
                "a margin of at least {} ms: kernel timers may be slewed by a tenth",
                slewed.0.div_ceil(1_000_000)
            ),
        })
    }

    /// T4: one late report is no death.
    fn suspicion(&self) -> Option<Broken> {
        let pace = self.proposed.pace;
        let assumed = Span(pace.report.0 * 3);
        let (late, rule) = match &self.report.excess {
            Some(_) => (self.report.value + pace.report, "the longest gap and one report"),
            None => (assumed, "three reports"),
        };
        let least = late.max(assumed);
        let rule = if least == assumed { "three reports" } else { rule };
        (pace.suspicion < least).then(|| Broken {
            keys: vec!["suspicion", "report"],
            what: self.told(
                &[&self.report],
                format!(
                    "the suspicion after {} ms is below {rule} of {} ms = {} ms",
                    ms(pace.suspicion),
                    ms(pace.report),
                    ms(least)
                ),
            ),
            remedy: format!(
                "a suspicion of at least {} ms: one late report is no death",
                least.0.div_ceil(1_000_000)
            ),
        })
    }

    /// What was measured stands in front.
    fn told(&self, figures: &[&Figure], sum: String) -> String {
        let mut parts: Vec<&str> = figures.iter().filter_map(|f| f.excess.as_deref()).collect();
        parts.push(&sum);
        parts.join("; ")
    }
}

/// The next whole milliseconds that is more.
fn up(nanoseconds: u128) -> Span {
    Span::millis((nanoseconds / 1_000_000) as u64 + 1)
}

/// The next whole milliseconds that is less.
fn down(span: Span) -> Span {
    Span::millis(span.0.saturating_sub(1) / 1_000_000)
}

fn or_shorter(key: &str, most: Span, least: Span) -> String {
    if most < least {
        return String::new();
    }
    format!(", or a {key} of at most {} ms", ms(most))
}

/// Milliseconds, with a fraction only where there is one.
fn ms(span: Span) -> String {
    let (whole, rest) = (span.0 / 1_000_000, span.0 % 1_000_000 / 100_000);
    if rest == 0 { whole.to_string() } else { format!("{whole}.{rest}") }
}
