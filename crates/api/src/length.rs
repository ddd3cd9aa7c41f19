//! Lengths of time as people write them: `90s`, `10m`, `1.5h`.

use std::time::Duration;

/// The units, and how many nanoseconds each has. `m` and `min` are both minutes.
const UNITS: [(&str, f64); 7] = [
    ("us", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("min", 60e9),
    ("h", 3_600e9),
    ("d", 86_400e9),
];

/// What is said about a text that is no length of time.
pub const EXAMPLES: &str = "a number with its unit: \"700ms\", \"90s\", \"10m\", \"1.5h\"";

/// "700ms", "1.5s", "10m", "1h"; none if it is anything else. A unit is always needed.
pub fn parse(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = (text[..split].trim(), text[split..].trim());
    let (_, unit) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let plain = number.chars().all(|c| c.is_ascii_digit() || c == '.');
    let number: f64 = number.parse().ok().filter(|_| plain)?;
    // A century is beyond anything asked for, and far from where the sum of two overflows.
    let ns = number * unit;
    (ns < 3e18).then(|| Duration::from_nanos(ns.round() as u64))
}

/// As a person reads it at a glance, rounded to what matters: `850 ms`, `42 s`, `9 min 30 s`, `1 h 5 min`, `3 d 2 h`.
pub fn text(length: Duration) -> String {
    let pair = |major: u64, unit: &str, minor: u64, lesser: &str| match minor {
        0 => format!("{major} {unit}"),
        _ => format!("{major} {unit} {minor} {lesser}"),
    };
    let (ms, s) = (length.as_millis(), length.as_secs());
    match s {
        _ if ms < 10_000 => format!("{ms} ms"),
        0..60 => format!("{s} s"),
        60..3_600 => pair(s / 60, "min", s % 60, "s"),
        3_600..86_400 => pair(s / 3_600, "h", s / 60 % 60, "min"),
        _ => pair(s / 86_400, "d", s / 3_600 % 24, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_have_units() {
        let ms = |text| parse(text).map(|length| length.as_millis());
        assert_eq!(ms("700ms"), Some(700));
        assert_eq!(ms("1.5 s"), Some(1_500));
        assert_eq!((ms("2min"), ms("10m")), (Some(120_000), Some(600_000)));
        assert_eq!((ms("1h"), ms("1d")), (Some(3_600_000), Some(86_400_000)));
        for wrong in ["700", "ms", "-1s", "1e3s", "1hour", "", "1 h 5 m", "99999999999d"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_length_is_read_at_a_glance() {
        let seconds = |s| text(Duration::from_secs(s));
        assert_eq!(text(Duration::from_millis(850)), "850 ms");
        assert_eq!([seconds(42), seconds(570), seconds(600)], ["42 s", "9 min 30 s", "10 min"]);
        assert_eq!([seconds(3_900), seconds(266_400)], ["1 h 5 min", "3 d 2 h"]);
    }
}
