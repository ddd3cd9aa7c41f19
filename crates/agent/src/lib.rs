//! Wires the decision core to the register, the host and its peers, and owns the clock.
//!
//! ```text
//!  links ── messages, reports ──┐                      ┌── gate, clock: inline
//!  systemd, kernel ── facts ────┼──► lease thread: ────┤
//!  operators ── questions ──────┘    core::Node        ├── dispatch ──► register, host, links, event log
//!                                        ▲             └── aside ──► who waits for an answer, a picture, a step
//!                                        │                                  │
//!                                        └────────── outcomes ──────────────┘
//! ```
//! How to read it: [`agent`] is one life of an agent, [`driver`] the lease thread, [`dispatch`] where commands
//! go, [`host`] who carries them out, [`transport`] the links, [`init`] how a cluster comes to be.
#![forbid(unsafe_code)]

pub mod agent;
pub mod aside;
mod behind;
pub mod ca;
pub mod clocks;
pub mod command;
pub mod config;
pub mod dispatch;
pub mod driver;
mod durable;
pub mod events;
pub mod heartbeat;
pub mod host;
pub mod init;
pub mod inputs;
pub mod journal;
pub mod keepalived;
pub mod log;
pub mod measure;
pub mod peer;
pub mod pending;
pub mod place;
mod process;
mod random;
pub mod register;
pub mod remote;
pub mod renew;
mod room;
pub mod runs;
#[cfg(test)]
mod scratch;
pub mod serve;
pub mod setup;
pub mod status;
pub mod steps;
pub mod swaps;
pub mod tls;
mod token;
pub mod transport;
pub mod watchdog;
pub mod xcat;
