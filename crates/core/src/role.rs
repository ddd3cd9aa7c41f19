//! The roles that operators see. Phases are what the register says; ARCHITECTURE.md maps one to the other.

use core::fmt;
use serde::{Deserialize, Serialize};

/// Where a management node is. Each has one promise.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Gate closed; nobody's clients are served here; ready or getting ready to take over.
    #[default]
    Standby,
    /// Holds the record; gate still closed; database being drained and made writable.
    Activating,
    /// Holds the record, its right runs, the gate is enabled, the database acknowledges here and nowhere else.
    Active,
    /// Still holds the record; on the way to a closed gate and a released lease.
    Deactivating,
    /// Sees no quorum: its right is over or will be; the gate is closed or closes by itself.
    Isolated,
    /// Its own database or services broke; gate closed.
    Failed,
    /// No candidate, by an operator's word.
    Maintenance,
    /// The whole cluster is stopped, by an operator's word: nothing runs, and nothing is started.
    Stopped,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Standby => "standby",
            Role::Activating => "activating",
            Role::Active => "active",
            Role::Deactivating => "deactivating",
            Role::Isolated => "isolated",
            Role::Failed => "failed",
            Role::Maintenance => "maintenance",
            Role::Stopped => "stopped",
        })
    }
}
