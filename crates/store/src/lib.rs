//! Where the one register of a cluster lives: a small value that is read, compared and swapped.
//!
//! The register knows versions, its voters and bytes, and no rule about them (R3). [`cell`] is the
//! consensus itself, pure; [`embedded`] runs it on real disks and links, on threads of its own;
//! [`Register`] is what every backend offers. Nothing here knows what the bytes mean, who is
//! active, or how long a right lasts.

pub mod cell;
mod codec;
pub mod embedded;
mod register;
pub mod splitmix;

pub use codec::{Malformed, decode_message, encode_message};
pub use register::{Fault, Outbox, Register, RequestId, Storing};
