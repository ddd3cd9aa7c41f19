//! Who puts the addresses on, takes them off and announces: this process, or keepalived as it is told.

use crate::Applied;
use crate::keepalived::Keepalived;
use crate::vip::{VipError, Vips};
use regent_core::time::Span;

/// One of the two drivers. Both answer alike; the gate stands in front of either.
#[derive(Clone)]
pub enum AddressDriver {
    /// By netlink and packet sockets, from this process.
    Native(Vips),
    /// By keepalived, and by netlink where it fails.
    Keepalived(Keepalived),
}

impl AddressDriver {
    /// The addresses.
    pub fn vips(&self) -> &Vips {
        match self {
            AddressDriver::Native(vips) => vips,
            AddressDriver::Keepalived(keepalived) => keepalived.vips(),
        }
    }

    /// Puts them on with this lifetime (whole seconds, rounded up), or gives them this lifetime anew.
    pub fn add(&self, lifetime: Span) -> Result<Applied, VipError> {
        match self {
            AddressDriver::Native(vips) => vips.add(lifetime),
            AddressDriver::Keepalived(keepalived) => keepalived.add(lifetime),
        }
    }

    /// Takes them off, wherever on this host they are.
    pub fn remove(&self) -> Result<Applied, VipError> {
        match self {
            AddressDriver::Native(vips) => vips.remove(),
            AddressDriver::Keepalived(keepalived) => keepalived.remove(),
        }
    }

    /// Destroys every TCP connection that has one of them as its local address; returns how many.
    pub fn destroy_sockets(&self) -> Result<usize, VipError> {
        self.vips().destroy_sockets()
    }

    /// Tells the segment where they are, while `open` says so (G2).
    pub fn announce(
        &self,
        egress: bool,
        open: impl FnMut() -> bool + Send + 'static,
    ) -> Result<(), VipError> {
        match self {
            AddressDriver::Native(vips) => vips.announce(egress, open),
            AddressDriver::Keepalived(keepalived) => keepalived.announce(egress, open),
        }
    }
}
