//! Probes: everything that is looked at all the time, in a child process of the one binary (`regent prober`), so
//! that nothing that hangs is near the lease.
//!
//! It promises that a probe that hangs delays no other, that a hang is seen as a failure, and that only changes are
//! told. It judges by [`regent_core::health::Judge`] and decides nothing. How to read it: [`regent_config::probe`]
//! (what can be looked at), [`mod@line`] (what is said to and by the process), [`worker`] (the process), then
//! `watch.rs` (one probe's life), `check.rs` (one look), `result.rs` (what it found) and the kinds.
//!
//! ```text
//!  agent ──set, role, forget──► worker ──orders──► a task for each probe: wait, look, judge
//!        ◄──changes, pulse───────────────────────────┘ │        │
//!                                  what may block: threads,  sockets: the one runtime
//!                                  one in flight per probe
//! ```

mod changes;
mod check;
pub(crate) mod connect;
mod dns;
mod exec;
mod gateway;
mod host;
mod http;
pub mod line;
mod link;
mod result;
mod sql;
mod threads;
mod tls;
mod watch;
pub mod worker;

pub use line::Accounts;
