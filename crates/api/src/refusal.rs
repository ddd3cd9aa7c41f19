//! Of which kind a refusal is.

use crate::exit::Exit;
use serde::{Deserialize, Serialize};

/// Of which kind a refusal is; each has its exit code.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalKind {
    /// The question is not understood.
    Usage,
    /// The configuration does not allow it.
    Configuration,
    /// There is no cluster yet.
    NotInitialised,
    /// Somebody who is needed does not answer.
    Unreachable,
    /// A guard refuses.
    Guard,
    /// It did not end in its time.
    TimedOut,
    /// An operator is needed.
    Unsafe,
    /// A mistake of Regent itself, or of the machine under it.
    Internal,
    /// Somebody answers for the virtual IP.
    AddressInUse,
    /// Another node is active, or is being activated.
    ActiveElsewhere,
    /// Another node may still use the shared data.
    NotProvenClear,
    /// This host or the shared data are not as they must be.
    Checks,
    /// A step failed, and everything was undone.
    StepFailed,
    /// A step failed, and not everything is undone, or down.
    #[serde(rename = "half-way")]
    PartlyUndone,
    /// It is done, and a step that is not vital failed.
    Degraded,
    /// No majority of voters answers.
    NoQuorum,
}

impl RefusalKind {
    /// The word for it in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            RefusalKind::Usage => "usage",
            RefusalKind::Configuration => "configuration",
            RefusalKind::NotInitialised => "not-initialised",
            RefusalKind::Unreachable => "unreachable",
            RefusalKind::Guard => "refused",
            RefusalKind::TimedOut => "timed-out",
            RefusalKind::Unsafe => "unsafe",
            RefusalKind::Internal => "internal",
            RefusalKind::AddressInUse => "address-in-use",
            RefusalKind::ActiveElsewhere => "active-elsewhere",
            RefusalKind::NotProvenClear => "not-proven-clear",
            RefusalKind::Checks => "checks",
            RefusalKind::StepFailed => "step-failed",
            RefusalKind::PartlyUndone => "half-way",
            RefusalKind::Degraded => "degraded",
            RefusalKind::NoQuorum => "no-quorum",
        }
    }

    /// Its exit code.
    pub fn exit(self) -> Exit {
        match self {
            RefusalKind::Usage => Exit::Usage,
            RefusalKind::Configuration => Exit::Configuration,
            RefusalKind::NotInitialised => Exit::NotInitialised,
            RefusalKind::Unreachable => Exit::Unreachable,
            RefusalKind::Guard => Exit::Refused,
            RefusalKind::TimedOut => Exit::TimedOut,
            RefusalKind::Unsafe => Exit::Unsafe,
            RefusalKind::Internal => Exit::Internal,
            RefusalKind::AddressInUse => Exit::AddressInUse,
            RefusalKind::ActiveElsewhere => Exit::ActiveElsewhere,
            RefusalKind::NotProvenClear => Exit::NotProvenClear,
            RefusalKind::Checks => Exit::Checks,
            RefusalKind::StepFailed => Exit::StepFailed,
            RefusalKind::PartlyUndone => Exit::PartlyUndone,
            RefusalKind::Degraded => Exit::Degraded,
            RefusalKind::NoQuorum => Exit::NoQuorum,
        }
    }
}
