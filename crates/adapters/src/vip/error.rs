//! Why a virtual address is not as asked.

use rustix::io::Errno;

/// Why the address is not as asked.
#[derive(Debug, thiserror::Error)]
pub enum VipError {
    /// The kernel refused.
    #[error("{doing}: {source}")]
    Kernel {
        /// What was tried.
        doing: &'static str,
        /// What the kernel said.
        source: Errno,
    },
    /// There is no such interface.
    #[error("find interface {0}")]
    NoInterface(String),
    /// A packet socket or thread could not be had.
    #[error("{doing}: {source}")]
    Socket {
        /// What was tried.
        doing: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The kernel cannot destroy sockets (CONFIG_INET_DIAG_DESTROY is not set).
    #[error("destroy sockets: this kernel cannot (CONFIG_INET_DIAG_DESTROY)")]
    NoDestroy,
    /// Sockets are still there after the bound.
    #[error("destroy sockets: {0} are still there")]
    SocketsLeft(usize),
}

impl VipError {
    pub(crate) fn kernel(doing: &'static str) -> impl Fn(Errno) -> VipError {
        move |source| VipError::Kernel { doing, source }
    }

    pub(crate) fn socket(doing: &'static str) -> impl Fn(std::io::Error) -> VipError {
        move |source| VipError::Socket { doing, source }
    }
}
