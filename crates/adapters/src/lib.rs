//! The only code that touches a host: the kernel's filter, the address, units, the database, clocks.
//!
//! Every call is idempotent, bounded in time, and says whether it changed anything ([`Applied`]). A call never
//! decides: it does one thing and reports what became of it. What cannot be known is an error or *unknown*,
//! never a guess.
//!
//! How to read it: [`gate`] first (protocol section 3), then [`vip`], then [`mod@unit`], [`database`] and [`probe`].
//! All system calls that the safe libraries do not have are in `sys.rs`; it is the only file with `unsafe`.

pub mod address_driver;
pub mod clock;
pub mod database;
mod diag;
pub mod durable;
pub mod fence;
pub mod gate;
mod icmp;
pub mod keepalived;
mod netlink;
pub mod notify;
pub mod probe;
pub mod run;
pub mod stack;
mod stoppable;
mod sys;
#[cfg(test)]
mod testing;
pub mod unit;
pub mod vip;

/// What a call did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Applied {
    /// The host is different.
    Changed,
    /// It was so before.
    AlreadySo,
}

impl Applied {
    /// Both in one: changed if either did.
    pub fn and(self, other: Applied) -> Applied {
        match (self, other) {
            (Applied::AlreadySo, Applied::AlreadySo) => Applied::AlreadySo,
            (Applied::Changed, Applied::Changed | Applied::AlreadySo)
            | (Applied::AlreadySo, Applied::Changed) => Applied::Changed,
        }
    }
}
