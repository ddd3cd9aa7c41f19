//! A thread that watches the kernel for as long as somebody holds it, and is told by a descriptor to end.

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::thread::{Builder, JoinHandle};

/// A running thread; it ends, and is waited for, when this is dropped.
pub(crate) struct Stoppable {
    stop: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

/// What becomes readable when such a thread shall end: made before the thread, so that each error has its place.
pub(crate) struct Stop {
    ours: OwnedFd,
}

impl Stop {
    /// One descriptor for this side.
    pub(crate) fn new() -> Result<Stop, Errno> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Stop { ours: eventfd(0, flags)? })
    }

    /// The same for the thread to poll.
    pub(crate) fn theirs(&self) -> io::Result<OwnedFd> {
        self.ours.try_clone()
    }

    /// Starts the thread.
    pub(crate) fn start(
        self,
        name: &str,
        run: impl FnOnce() + Send + 'static,
    ) -> io::Result<Stoppable> {
        let thread = Builder::new().name(name.into()).spawn(run)?;
        Ok(Stoppable { stop: self.ours, thread: Some(thread) })
    }
}

impl Drop for Stoppable {
    fn drop(&mut self) {
        // An eventfd that was written once stays readable; a second write that would block changes nothing.
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
