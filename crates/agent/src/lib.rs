//! Wires the decision core to the register, the host and its peers, and owns the clock.
#![forbid(unsafe_code)]

pub mod config;
