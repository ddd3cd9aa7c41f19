//! What happened, as `regent history` tells it.

use crate::moment::Moment;
use serde::{Deserialize, Serialize};

/// Version 1 of `regent history --json`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct History {
    /// [`crate::VERSION`].
    pub version: u32,
    /// Whose log this is.
    pub node: String,
    /// The events, oldest first.
    pub events: Vec<Entry>,
}

/// One event.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// When, by the wall clock of the node that wrote it.
    pub at_ms: Moment,
    /// The epoch it happened in.
    pub epoch: u64,
    /// Stable, for tools: `lease.lost`, `database.tail-saved`.
    pub code: String,
    /// `info`, `warning` or `alarm`.
    pub severity: Severity,
    /// What happened and why.
    pub text: String,
}

/// Whom an event wakes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// What an operator would tell a colleague.
    Info,
    /// Something is degraded, and is being mended.
    Warning,
    /// Wakes somebody.
    Alarm,
}
