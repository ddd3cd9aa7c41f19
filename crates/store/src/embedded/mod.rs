//! The cell on real disks and links: the default backend.
//!
//! ```text
//!   driver ── Handle ──► register thread: the proposer, views, admissions
//!                          │  ▲                     │
//!                  votes   ▼  │ own answers         ├──► Outbox::{answer, watch}
//!   peers ── Handle ──► voter thread: the voter ────┴──► Outbox::send
//!                          └── record file: two slots, synced before any answer leaves
//! ```
//! Two threads, so that a hung disk makes this node's own vote silent and nothing else: the
//! proposer goes on with the other two voters. All queues are bounded; what does not fit is lost,
//! which the protocol allows of every link.

mod input;
mod record;
mod thread;
mod voting;

pub use input::{Admit, Request};
pub use record::{Disk, Kept, OpenError, RecordFile};
pub use thread::{Clock, Config, Event, Handle, start, start_on};
