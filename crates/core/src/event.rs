//! What operators are told. Each event has a stable code of the form `area.what`, a severity, and a sentence.

use crate::id::Epoch;
use crate::role::Role;
use crate::time::Span;
use alloc::string::String;
use serde::{Deserialize, Serialize};

/// One line of the event log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Stable, for tools: `lease.lost`, `database.tail-saved`.
    pub code: String,
    /// Whom it wakes.
    pub severity: Severity,
    /// The epoch in which it happened.
    pub epoch: Epoch,
    /// What happened and why, with the rule in brackets.
    pub text: String,
    /// How long the VIP or the database was away until then, as seen from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub away: Option<Span>,
    /// Where the node was, and where it is from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<(Role, Role)>,
}

impl Event {
    /// One without figures.
    pub fn new(code: &str, severity: Severity, epoch: Epoch, text: String) -> Event {
        Event { code: code.into(), severity, epoch, text, away: None, roles: None }
    }
}

/// Whom an event wakes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// What an operator would tell a colleague.
    Info,
    /// Something is degraded, and is being mended.
    Warning,
    /// Wakes somebody.
    Alarm,
}
