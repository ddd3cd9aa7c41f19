//! The virtual addresses on this host: put on with a lifetime, taken off, announced, watched for strangers.
//!
//! It protects nothing by itself: the [`crate::gate`] does. The lifetime is the second net, for when table and
//! agent are
//! both gone. While the gate is closed the address is mute, so it may stand there before a right begins.

pub(crate) mod address;
mod announce;
mod error;
mod frame;
pub mod link;
pub mod probe;
mod sockets;
pub mod stranger;

pub use address::Vip;
pub use error::VipError;
pub use frame::Mac;
pub use stranger::{Known, is_used};

use crate::Applied;
use regent_core::time::Span;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// All virtual addresses of this host. They come, go and are announced together.
#[derive(Clone, Debug)]
pub struct Vips {
    all: Vec<Vip>,
    /// Grows by one per announcement, so that a newer one ends the older.
    announced: Arc<AtomicU64>,
}

impl Vips {
    /// These.
    pub fn new(all: Vec<Vip>) -> Vips {
        Vips { all, announced: Arc::default() }
    }

    /// Each of them.
    pub fn all(&self) -> &[Vip] {
        &self.all
    }

    /// Their addresses, as the [`crate::gate`] wants them.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.all.iter().map(Vip::address).collect()
    }

    /// Puts them on with this lifetime (whole seconds, rounded up), or gives them this lifetime anew. One that fails
    /// does not keep the others from it; the first error is returned.
    pub fn add(&self, lifetime: Span) -> Result<Applied, VipError> {
        self.each(|vip| {
            let stay = address::Stay { lifetime, first: vip.first };
            address::add(vip.address, vip.prefix, &vip.interface, stay)
        })
    }

    /// Where they bring their subnet, the kernel keeps its other addresses when they go. [`Vips::add`] does so too.
    pub(crate) fn keep_secondaries(&self) -> Result<(), VipError> {
        for vip in self.all.iter().filter(|vip| !vip.first) {
            address::keep_secondaries(vip.address, vip.prefix, &vip.interface)?;
        }
        Ok(())
    }

    /// Takes them off, wherever on this host they are; one that fails does not keep the others from it.
    pub fn remove(&self) -> Result<Applied, VipError> {
        self.each(|vip| remove_everywhere(vip.address))
    }

    /// Each is on one of this host's interfaces.
    pub fn present(&self) -> Result<bool, VipError> {
        for vip in &self.all {
            if address::places(vip.address)?.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Destroys every TCP connection that has a VIP as its local address, so that clients see a reset; listening
    /// sockets stay. Returns how many. While the gate is closed the resets do not leave (G4).
    pub fn destroy_sockets(&self) -> Result<usize, VipError> {
        sockets::destroy(&self.addresses())
    }

    /// Tells the segment where the VIPs are: at once, after 100 ms and after 1 s, each only while `open` says so (G2).
    /// Without `egress` (the kernel cannot stop a stalled agent's announcement) only at once.
    pub fn announce(
        &self,
        egress: bool,
        open: impl FnMut() -> bool + Send + 'static,
    ) -> Result<(), VipError> {
        announce::announce(&self.all, &self.announced, egress, open)
    }

    fn each(
        &self,
        change: impl Fn(&Vip) -> Result<Applied, VipError>,
    ) -> Result<Applied, VipError> {
        let answers: Vec<_> = self.all.iter().map(change).collect();
        answers.into_iter().try_fold(Applied::AlreadySo, |all, one| Ok(all.and(one?)))
    }
}

/// Takes the address off every interface of this host.
pub(crate) fn remove_everywhere(address: IpAddr) -> Result<Applied, VipError> {
    address::remove(address)
}

/// The kernel's number of this interface.
pub(crate) fn interface_index(interface: &str) -> Result<u32, VipError> {
    link::index_of(interface)
}

#[cfg(test)]
mod tests;
