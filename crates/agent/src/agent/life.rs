//! One life of an agent: what it needs, how it ends, and why it may not begin.

use crate::host::Host;
use crate::place::Place;
use crate::tls::Identity;
use crate::transport::Pace;
use regent_config::Settings;
use regent_core::id::{BootId, RunId};
use regent_store::cell::Value;
use regent_store::embedded::OpenError;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// What one life needs.
pub struct Life {
    /// The configuration.
    pub settings: Settings,
    /// Its file.
    pub file: PathBuf,
    /// The digest of its file; 0 if there is none.
    pub configuration: u64,
    /// Who this is.
    pub identity: Identity,
    /// Where things are kept.
    pub place: Place,
    /// This host; a witness has none.
    pub host: Option<Arc<dyn Host>>,
    /// Becomes true when the process shall end.
    pub stop: watch::Receiver<bool>,
    /// How links wait.
    pub pace: Pace,
    /// This process alone is the agent: it may lock memory and tell systemd. Not so in tests.
    pub owns_process: bool,
}

/// How a life ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// It was asked to end.
    Stop,
    /// Begin again: the record changed what this process is.
    Again,
}

/// Why a life could not begin.
#[derive(Debug, thiserror::Error)]
pub enum LifeError {
    /// The certificate names no member.
    #[error("failed to find {0} in the configuration")]
    Nobody(String),
    /// A node was started as witness, or the other way round.
    #[error("{name} is {is} in the configuration: use regent {command}")]
    Wrong {
        /// Who this is.
        name: String,
        /// What it is.
        is: &'static str,
        /// What to start.
        command: &'static str,
    },
    /// A file or directory.
    #[error("failed to use {0}: {1}")]
    File(PathBuf, io::Error),
    /// The voter's record.
    #[error(transparent)]
    Record(#[from] OpenError),
    /// The kernel's filter.
    #[error("failed to open the gate: {0}")]
    Gate(String),
    /// The machine.
    #[error("failed to start: {0}")]
    Machine(#[from] io::Error),
}

/// What is drawn once per life.
pub(super) struct Born {
    pub(super) boot: BootId,
    pub(super) run: RunId,
    pub(super) seed: u64,
    pub(super) offer: u64,
    /// What became of the register before this life.
    pub(super) turned: Option<String>,
    /// What this voter accepted last, before this life.
    pub(super) last: Option<Arc<Value>>,
}
