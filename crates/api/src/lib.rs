//! The wire between `regent` on the command line and the agent: version 1 of every question and answer.
//!
//! Types only, and the exit codes. What a question means is the agent's matter, how an answer looks on a
//! terminal is the command line's. A field is added in one release and may be relied on in the next; none
//! is renamed or removed within a version.
//!
//! On the wire each [`call::Call`] and each [`call::Reply`] is one frame: a length of four bytes, most
//! significant first, then that many bytes of JSON. A call is answered by any number of
//! [`call::Reply::Progress`] (and [`call::Reply::Plan`], [`call::Reply::Step`]) and then one other reply.
#![forbid(unsafe_code)]

pub mod call;
pub mod exit;
pub mod frame;
pub mod history;
pub mod length;
pub mod moment;
pub mod refusal;
pub mod stack;
pub mod status;

/// The version that every call and every JSON document names.
pub const VERSION: u32 = 1;
