//! The gate: the lease enforced by the kernel (protocol section 3).
//!
//! A packet of a VIP passes only if the VIP is in `ticket_i`, whose element times out, and in `held_i` of the same
//! slot. There may be several VIPs, of IPv4 and IPv6: each step is one transaction for all of them. If the agent is
//! killed, stopped or starved, the kernel closes the gate when the ticket ends. Nothing here computes a remaining
//! time and applies it later.
//!
//! ```text
//!              arm(i)              enable(i)            refuse              close, or the ticket's end
//!   closed ------------> armed -----------------> open ----------> refusing ------------> closed
//!            ticket_i             ticket_i, held_i     ticket_i, refuse_i
//! ```
//!
//! `rules.rs` is the filter as text, `table.rs` loads it closed and knows it again, `sets.rs` changes its sets in one
//! transaction, `watch.rs` notices when somebody else does. The hooks (G1) see every packet of every interface:
//!
//! - to the VIP, as it comes in (before raw and DNAT), and as a local client sends it when the VIP is local;
//! - from the VIP, as it is made, and again after source NAT;
//! - ARP that asks for the VIP, ARP that speaks for it; solicitations and advertisements with it as target.
//!
//! A host with a closed gate may still be a *client* of the VIP elsewhere: it asks with its own address, and hears
//! the owner's answers. It never answers itself.

mod error;
mod rules;
mod sets;
mod table;
mod watch;

pub use error::GateError;
pub use sets::Reader;
pub use table::{Loaded, load};
pub use watch::{GateEvent, Watch, watch};

use regent_core::command::{GateStep, Slot};
use regent_core::time::Span;
use sets::Sets;
use std::net::IpAddr;

/// The gate of all VIPs, for the one thread that arms and enables it. A call returns when the kernel has answered.
pub struct Gate {
    sets: Sets,
    egress: bool,
}

impl Gate {
    /// Takes over the gate as it stands, or loads it closed (G3). What is armed and held stays so.
    pub fn open(vips: &[IpAddr], interface: &str) -> Result<Gate, GateError> {
        load(vips, interface)?;
        let egress = table::has_egress()?;
        Ok(Gate { sets: Sets::open(table::in_order(vips)?)?, egress })
    }

    /// Carries out one step of core.
    pub fn step(&mut self, step: GateStep) -> Result<(), GateError> {
        match step {
            GateStep::Arm { slot, ticket } => self.arm(slot, ticket),
            GateStep::Enable { slot } => self.enable(slot),
            GateStep::Refuse => self.refuse(),
            GateStep::Close => self.close(),
        }
    }

    /// Empties the slot and gives every VIP a ticket of this length, which runs from when the kernel takes it (G1).
    pub fn arm(&mut self, slot: Slot, ticket: Span) -> Result<(), GateError> {
        self.sets.arm(slot, ticket)
    }

    /// Lets the VIPs pass while the slot's ticket lasts. On an expired ticket it opens nothing.
    pub fn enable(&mut self, slot: Slot) -> Result<(), GateError> {
        self.sets.enable(slot)
    }

    /// New connections get a reset while the ticket lasts (G4), in each slot that was held.
    pub fn refuse(&mut self) -> Result<(), GateError> {
        self.sets.refuse()
    }

    /// Empties all sets: closed once this returns.
    pub fn close(&mut self) -> Result<(), GateError> {
        self.sets.close()
    }

    /// Which slots the kernel has as held, and what their tickets have left (C6).
    pub fn slots(&mut self) -> Result<[Option<Span>; 2], GateError> {
        self.sets.slots()
    }

    /// The kernel stops announcements, too, while the gate is closed (G2).
    pub fn egress(&self) -> bool {
        self.egress
    }
}

#[cfg(test)]
mod tests;
