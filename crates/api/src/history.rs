//! What happened, as `regent history` tells it.

use crate::moment::Moment;
use serde::{Deserialize, Serialize};

/// Version 1 of `regent history --json`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct History {
    /// [`crate::VERSION`].
    pub version: u32,
    /// Whose log this is; with `cluster`, who gathered them.
    pub node: String,
    /// The events, oldest first; with `cluster`, by the wall clocks of their nodes.
    pub events: Vec<Entry>,
    /// The events of every member are here, each with its node.
    #[serde(default)]
    pub cluster: bool,
    /// Members that did not tell theirs, and why.
    #[serde(default)]
    pub missing: Vec<Missing>,
}

/// A member whose events are missing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Missing {
    /// Who.
    pub node: String,
    /// Why.
    pub why: String,
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
    /// Where; none in a node's own log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// How long the VIP or the database was away until then, as seen from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub away_ms: Option<u64>,
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
