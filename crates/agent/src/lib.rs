//! Wires the decision core to the register, the host and its peers, and owns the clock.
#![forbid(unsafe_code)]

pub mod ca;
pub mod config;
pub mod log;
#[cfg(test)]
mod scratch;
pub mod tls;
pub mod transport;
