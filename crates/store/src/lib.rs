//! Where the one register of a cluster lives: a small value that is read, compared and swapped.
//!
//! The register knows versions, its voters and bytes, and no rule about them (R3). [`cell`] is the
//! consensus itself, pure; [`embedded`] runs it on real disks and links, on threads of its own;
//! [`Register`] is what every backend offers.

pub mod cell;
