//! The register as a pure machine: one compare-and-swap cell on a few voters (CASPaxos, Paxos
//! repeated in place). No I/O, no clock, no threads: messages and readings of time go in, messages
//! and answers come out. What drives it must keep one promise: what [`Voter::handle`] changed is
//! durable before the answer that it returned is sent (rule R1).
//!
//! ```text
//!  proposer  ── Prepare(b) ──►  voters     a majority promises and tells what it holds
//!            ◄── Promise ────
//!            ── Accept(b, value, next) ──►   a majority accepts: decided
//!            ◄── Accepted ───
//!            ── Learn(value, by) ──►  every node: views, and the proof that admits a newcomer
//! ```
//! After a win the same proposer holds the promise for `next`, so its next swap skips Prepare.

mod ballot;
mod message;
mod mistake;
mod pair;
mod proposer;
mod value;
mod voter;

pub use ballot::{Attempt, Ballot, ClusterId, NodeId, VoterId};
pub use message::{Body, Message};
#[cfg(feature = "planted")]
pub use mistake::Mistake;
pub use pair::{NotOfAPair, alone, has_voted, seat_beside};
pub use proposer::{Answer, Proposer, Refusal, Setup, Swap, Timing};
pub use value::{BYTES_MAX, Record, SEATS_MAX, Seat, Value, initial_records};
pub use voter::{Reaction, Standing, Voter};
