//! What a person types, and how the answer looks.
//!
//! Knows only [`regent_api`]. Commands that run on a host (`agent`, `witness`, `ca`, `gate load`, ...) are
//! parsed here and handed over by the binary; questions are put to an agent by [`ask::put`], through the local
//! socket or a stream that the binary opened to another node.
#![forbid(unsafe_code)]

pub mod args;
pub mod ask;
pub mod error;
mod render;

pub use args::{Task, parse};
pub use regent_api as api;
pub use regent_api::exit::Exit;
