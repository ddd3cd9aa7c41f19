//! The decision core: who is active, what to do next, and why.
//!
//! Deterministic and pure: no clock, no random source, no I/O, no async, no `std`. Dated inputs go in
//! ([`node::Input`]), commands come out ([`command::Command`]), and `explain` tells why. The same code runs in the
//! agent, in the simulator and behind `regent explain`.
//!
//! How to read it: [`state`] is what the cluster agrees on, [`lease`] and [`gate`] protect the address by time,
//! [`sync`] protects the data by won swaps, [`node`] puts them together.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod command;
pub mod event;
pub mod fnv;
pub mod gate;
pub mod health;
pub mod id;
pub mod invariant;
pub mod kept;
pub mod lease;
pub mod node;
pub mod observe;
pub mod pair;
#[cfg(feature = "planted")]
pub mod planted;
pub mod reason;
pub mod role;
pub mod room;
pub mod spec;
pub mod stack;
pub mod state;
pub mod sync;
pub mod time;
pub mod transition;
