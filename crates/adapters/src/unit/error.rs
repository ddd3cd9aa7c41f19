//! Why a unit is not as asked.

use crate::run::RunError;
use regent_core::time::Span;
use std::path::{Path, PathBuf};

/// Why a unit is not as asked.
#[derive(Debug, thiserror::Error)]
pub enum UnitError {
    /// It was not done within its bound; it may still be.
    #[error("{doing} {unit}: not done after {} ms", bound.as_millis())]
    TooLong {
        /// What was tried.
        doing: &'static str,
        /// With which unit.
        unit: String,
        /// How long it had.
        bound: Span,
    },
    /// It got no further: it neither read nor wrote nor told systemd anything, and was killed.
    #[error(
        "start {unit}: for {} s it neither read nor wrote nor said how far it is{words}: it was killed; see journalctl -u {unit}", patience.as_millis() / 1000
    )]
    Stuck {
        /// Which unit.
        unit: String,
        /// For so long.
        patience: Span,
        /// What it had said last, if anything.
        words: String,
    },
    /// systemd ended the job otherwise.
    #[error("{doing} {unit}: job {result}")]
    Job {
        /// What was tried.
        doing: &'static str,
        /// With which unit.
        unit: String,
        /// What systemd calls it: failed, canceled, timeout, dependency, ...
        result: String,
    },
    /// systemd refused.
    #[error("{doing} {unit}: {source}")]
    Bus {
        /// What was tried.
        doing: &'static str,
        /// With which unit.
        unit: String,
        /// What it said.
        source: Box<zbus::Error>,
    },
    /// The bus is down and systemctl failed.
    #[error(transparent)]
    Systemctl(#[from] RunError),
    /// A file of systemd or of the cgroup.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl UnitError {
    pub(super) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> UnitError {
        move |source| UnitError::File { path: path.to_owned(), source }
    }
}
