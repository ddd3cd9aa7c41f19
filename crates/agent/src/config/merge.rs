//! Defaults: the profile's timing where the file says nothing.

use super::fragment::{At, Fragment, TimingFragment, near};
use super::problem::Problem;
use regent_core::time::Span;

/// The timing in full, before anybody looked whether its sums hold.
#[derive(Clone, Debug)]
pub(super) struct TimingMerged {
    pub(super) ttl: At<Span>,
    pub(super) margin: At<Span>,
    pub(super) renewal: At<Span>,
    pub(super) report: At<Span>,
    pub(super) suspicion: At<Span>,
    pub(super) swap: At<Span>,
    pub(super) swap_refused: At<Span>,
    pub(super) drain: At<Span>,
    pub(super) observe: At<Span>,
    pub(super) switchover_max: At<Span>,
}

/// The file with every default filled in.
pub(super) struct Merged {
    pub(super) fragment: Fragment,
    pub(super) profile: &'static str,
    pub(super) timing: TimingMerged,
}

/// A profile: milliseconds. The sums that they must keep are in [`super::settings`].
struct Profile {
    name: &'static str,
    ttl: u64,
    margin: u64,
    renewal: u64,
    report: u64,
    suspicion: u64,
    swap: u64,
    swap_refused: u64,
}

const PROFILES: [Profile; 3] = [
    Profile {
        name: "default",
        ttl: 700,
        margin: 90,
        renewal: 150,
        report: 50,
        suspicion: 300,
        swap: 10,
        swap_refused: 40,
    },
    Profile {
        name: "cautious",
        ttl: 1000,
        margin: 120,
        renewal: 200,
        report: 50,
        suspicion: 400,
        swap: 20,
        swap_refused: 60,
    },
    Profile {
        name: "fast",
        ttl: 250,
        margin: 40,
        renewal: 50,
        report: 20,
        suspicion: 100,
        swap: 5,
        swap_refused: 20,
    },
];

pub(super) fn merge(fragment: Fragment, problems: &mut Vec<Problem>) -> Merged {
    let profile = match &fragment.profile {
        None => &PROFILES[0],
        Some(name) => match PROFILES.iter().find(|p| p.name == name.value) {
            Some(profile) => profile,
            None => {
                let names = PROFILES.map(|p| p.name);
                let remedy = match near(&name.value, &names) {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None => format!("one of {}", names.join(", ")),
                };
                let what = format!("there is no profile \"{}\"", name.value);
                problems.push(Problem::new(name.span.clone(), what, remedy));
                &PROFILES[0]
            }
        },
    };
    let timing = timing(&fragment.timing, profile, problems);
    Merged { fragment, profile: profile.name, timing }
}

fn timing(
    written: &TimingFragment,
    profile: &Profile,
    problems: &mut Vec<Problem>,
) -> TimingMerged {
    let mut or = |value: &Option<At<String>>, default: u64| match value {
        None => At { value: Span::millis(default), span: 0..0 },
        Some(text) => match span(&text.value) {
            Some(span) => At { value: span, span: text.span.clone() },
            None => {
                let what = format!("\"{}\" is no length of time", text.value);
                let remedy = "a number with its unit: \"700ms\", \"1.5s\", \"2min\"";
                problems.push(Problem::new(text.span.clone(), what, remedy));
                At { value: Span::millis(default), span: text.span.clone() }
            }
        },
    };
    TimingMerged {
        ttl: or(&written.ttl, profile.ttl),
        margin: or(&written.margin, profile.margin),
        renewal: or(&written.renewal, profile.renewal),
        report: or(&written.report, profile.report),
        suspicion: or(&written.suspicion, profile.suspicion),
        swap: or(&written.swap, profile.swap),
        swap_refused: or(&written.swap_refused, profile.swap_refused),
        drain: or(&written.drain, 50),
        observe: or(&written.observe, 100),
        switchover_max: or(&written.switchover_max, 10_000),
    }
}

/// "700ms", "1.5s", "2min".
fn span(text: &str) -> Option<Span> {
    let split = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = (text[..split].trim(), text[split..].trim());
    let unit = match unit {
        "us" => 1_000.0,
        "ms" => 1_000_000.0,
        "s" => 1_000_000_000.0,
        "min" => 60_000_000_000.0,
        _ => return None,
    };
    let plain = number.chars().all(|c| c.is_ascii_digit() || c == '.');
    let number: f64 = number.parse().ok().filter(|_| plain)?;
    Some(Span((number * unit).round() as u64)).filter(|s| s.0 < 1 << 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_have_units() {
        assert_eq!(span("700ms"), Some(Span::millis(700)));
        assert_eq!(span("1.5 s"), Some(Span::millis(1500)));
        assert_eq!(span("2min"), Some(Span::millis(120_000)));
        assert_eq!(["700", "ms", "-1s", "1e3s", "1h"].map(span), [None; 5]);
    }
}
