//! Why the gate is not as asked.

use crate::run::RunError;
use crate::vip::VipError;
use rustix::io::Errno;

/// Why the gate is not as asked. What it is then, is in doubt: only what the kernel confirmed is so.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// The kernel refused a transaction; nothing of it was done.
    #[error("{doing}: {source}")]
    Kernel {
        /// What was tried.
        doing: &'static str,
        /// What the kernel said.
        source: Errno,
    },
    /// The kernel did not answer in time: it may have done it.
    #[error("{doing}: the kernel did not answer")]
    NoAnswer {
        /// What was tried.
        doing: &'static str,
    },
    /// The table could not be loaded.
    #[error("load the gate: {0}")]
    Load(#[from] RunError),
    /// An interface cannot have this name.
    #[error("load the gate: interface name {0:?} is not one")]
    Interface(String),
    /// The table was loaded and is not there.
    #[error("load the gate: {0}")]
    NotThere(&'static str),
    /// There is no VIP to guard.
    #[error("load the gate: there is no address to guard")]
    NoVip,
    /// A VIP that would no longer be guarded could not be taken off; what guarded it is still there.
    #[error("load the gate: {0}")]
    Unguarded(#[from] VipError),
}

impl GateError {
    pub(super) fn kernel(doing: &'static str) -> impl Fn(Errno) -> GateError {
        move |source| match source {
            Errno::TIMEDOUT => GateError::NoAnswer { doing },
            source => GateError::Kernel { doing, source },
        }
    }
}
