//! `regent history --json`, version 1, as far as the lab needs it, with its wall-clock times
//! brought to the lab's one clock.

use std::time::Duration;

use serde::Deserialize;

use crate::host::Host;
use crate::run::now_us;

/// An answer may take as long as `status`.
const BOUND: Duration = Duration::from_secs(5);
/// Enough for what one case brings about.
const LAST: &str = "200";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct History {
    events: Vec<Entry>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    at_ms: u64,
    code: String,
    severity: String,
    text: String,
}

/// One event of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When, CLOCK_MONOTONIC in microseconds; the node's clock tells whole milliseconds, this is the end of one.
    pub at: u64,
    /// Its stable code.
    pub code: String,
    /// `info`, `warning` or `alarm`.
    pub severity: String,
    /// What happened and why.
    pub text: String,
}

/// The last events of a node, oldest first; none if it does not answer.
pub fn events(host: &Host) -> Vec<Event> {
    let asked = host.enter(&["regent", "history", "--last", LAST, "--json"], BOUND);
    let Ok(output) = asked else { return Vec::new() };
    let parsed = serde_json::from_slice::<History>(&output.stdout).unwrap_or_default();
    let ahead = wall_us().saturating_sub(now_us());
    let event = |entry: Entry| Event {
        at: ((entry.at_ms + 1) * 1000).saturating_sub(ahead),
        code: entry.code,
        severity: entry.severity,
        text: entry.text,
    };
    parsed.events.into_iter().map(event).collect()
}

/// The wall clock of this machine, which all hosts share.
fn wall_us() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    (time.tv_sec as u64) * 1_000_000 + (time.tv_nsec as u64) / 1000
}

/// A moment of the lab's clock as microseconds since 1970.
pub fn wall_of(at: u64) -> u64 {
    wall_us().saturating_sub(now_us()) + at
}

/// The last events of a node since then.
pub fn since(host: &Host, from: u64) -> Vec<Event> {
    events(host).into_iter().filter(|event| event.at >= from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_and_anything_else_is_empty() {
        let text = r#"{"version":1,"node":"mn1","events":[{"at_ms":5,"epoch":1,
            "code":"service.died","severity":"alarm","text":"service ui is down"}]}"#;
        let history: History = serde_json::from_str(text).unwrap();
        assert_eq!(history.events[0].code, "service.died");
        assert!(serde_json::from_str::<History>("{}").unwrap().events.is_empty());
    }
}
