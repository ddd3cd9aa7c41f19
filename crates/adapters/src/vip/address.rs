//! Addresses by rtnetlink, synchronous: one request, the kernel's answer.
//!
//! The VIP must not change which source address other traffic takes, nor be in the way of the host's own
//! addresses. So it is a host address (/32, /128) unless the configuration says that it brings its subnet. An
//! IPv4 address that is the first of its subnet on an interface is that subnet's primary one, and the kernel
//! takes the others off with it (`secondary` in ip-address(8)): a host's own, if somebody flushed it and put it
//! on again behind the VIP. Where the VIP has more than its own bits, the kernel is told to promote the others
//! instead (`promote_secondaries` in the kernel's ip-sysctl). IPv6: without duplicate detection (the gate would
//! drop its questions) and with a preferred lifetime of zero, which takes it out of source selection.
//!
//! Where it must be *found first* (products that ask which of a host's addresses faces a client, by mask, and take the
//! first one; ISC dhcpd for its server-identifier), an IPv4 VIP has scope link, which the kernel lists before wider
//! ones, a prefix one bit shorter than its network's (an address of the same prefix must have the same scope), and no
//! route: who is reached how, and from which address, stays as it was.

use super::error::VipError;
use super::link::index_of;
use crate::Applied;
use crate::netlink::{ACK, CREATE, DUMP, Messages, REPLACE, REQUEST, Socket, attribute};
use regent_core::time::Span;
use rustix::io::Errno;
use rustix::net::netdevice::index_to_name;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const GET_ADDRESS: u16 = 22;
// linux/if_addr.h.
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_CACHEINFO: u16 = 6;
const IFA_FLAGS: u16 = 8;
const IFA_F_NODAD: u32 = 0x02;
const IFA_F_PERMANENT: u32 = 0x80;
const IFA_F_NOPREFIXROUTE: u32 = 0x200;
// linux/rtnetlink.h.
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// One virtual address on one interface of this host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vip {
    pub(super) address: IpAddr,
    pub(super) prefix: u8,
    pub(super) interface: String,
    pub(super) first: bool,
}

impl Vip {
    /// `prefix` is the length of the prefix with which it is put on: all its bits, unless it brings its subnet.
    pub fn new(address: IpAddr, prefix: u8, interface: &str) -> Vip {
        Vip { address, prefix, interface: interface.to_owned(), first: false }
    }

    /// IPv4: it stands before the node's own addresses, with a prefix that is none of theirs, and brings no route.
    pub fn found_first(self) -> Vip {
        Vip { first: true, ..self }
    }

    /// The address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Its interface.
    pub fn interface(&self) -> &str {
        &self.interface
    }
}

/// One address on one interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) index: u32,
    pub(crate) address: IpAddr,
    pub(crate) prefix: u8,
}

/// How an address of ours is put on.
#[derive(Clone, Copy)]
pub(super) struct Stay {
    /// It ends by itself after this.
    pub(super) lifetime: Span,
    /// It stands before the others of its interface, and brings no route.
    pub(super) first: bool,
}

pub(super) fn add(
    address: IpAddr,
    prefix: u8,
    interface: &str,
    stay: Stay,
) -> Result<Applied, VipError> {
    let doing = VipError::kernel("add the address");
    let index = index_of(interface)?;
    let mut socket = Socket::route().map_err(&doing)?;
    let all = list(&mut socket).map_err(&doing)?;
    let mut on_it = all.iter().filter(|place| place.address == address && place.index == index);
    let place = match (address, on_it.clone().next()) {
        // IPv6 knows an address once per interface, whatever its prefix.
        (IpAddr::V6(_), Some(there)) => *there,
        (IpAddr::V4(_), _) if stay.first => {
            Place { prefix: shorter(&all, index, address, prefix), index, address }
        }
        (IpAddr::V4(_) | IpAddr::V6(_), _) => Place { index, address, prefix },
    };
    // Found first, it has a subnet to itself: nobody goes with it.
    if !stay.first {
        keep_secondaries(address, place.prefix, interface)?;
    }
    change(&mut socket, NEW_ADDRESS, CREATE | REPLACE, place, Some(stay)).map_err(&doing)?;
    // As an older release, or somebody else, put it on.
    for other in on_it.clone().filter(|other| **other != place) {
        take_off(&mut socket, other, interface).map_err(&doing)?;
    }
    let was_on = on_it.any(|there| *there == place);
    Ok(if was_on { Applied::AlreadySo } else { Applied::Changed })
}

/// A prefix shorter than this one that no other address there has for the same subnet: the kernel would refuse another
/// scope. The one that it has already, if that is such a one.
fn shorter(all: &[Place], index: u32, address: IpAddr, prefix: u8) -> u8 {
    let others = all.iter().filter(|place| place.index == index && place.address != address);
    let taken: Vec<u8> =
        others.filter(|place| covers(place, address)).map(|place| place.prefix).collect();
    let is_free = |length: &u8| *length < prefix && !taken.contains(length);
    let here = all.iter().filter(|place| place.index == index && place.address == address);
    let here = here.map(|place| place.prefix).find(is_free);
    here.or_else(|| (1..prefix).rev().find(is_free)).unwrap_or(32)
}

/// From now on the kernel keeps the others of its subnet when this one goes, or its lifetime ends.
pub(super) fn keep_secondaries(
    address: IpAddr,
    prefix: u8,
    interface: &str,
) -> Result<(), VipError> {
    if address.is_ipv6() || prefix == 32 {
        return Ok(());
    }
    let setting = |of: &str| format!("/proc/sys/net/ipv4/conf/{of}/promote_secondaries");
    let is_so = |of: &str| std::fs::read_to_string(setting(of)).is_ok_and(|now| now.trim() == "1");
    if is_so(interface) || is_so("all") {
        return Ok(());
    }
    let doing = "have the kernel keep the other addresses of the subnet (promote_secondaries)";
    let failed = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    std::fs::write(setting(interface), "1").map_err(failed).map_err(VipError::kernel(doing))
}

/// Takes it off; true unless its lifetime ended in between.
fn take_off(socket: &mut Socket, place: &Place, interface: &str) -> Result<bool, Errno> {
    // It goes all the same: an address that stays is the worse fault.
    keep_secondaries(place.address, place.prefix, interface).ok();
    match change(socket, DELETE_ADDRESS, 0, *place, None) {
        Ok(()) => Ok(true),
        Err(Errno::ADDRNOTAVAIL) => Ok(false),
        Err(error) => Err(error),
    }
}

pub(super) fn remove(address: IpAddr) -> Result<Applied, VipError> {
    let doing = VipError::kernel("remove the address");
    let mut socket = Socket::route().map_err(&doing)?;
    let mut applied = Applied::AlreadySo;
    for place in list(&mut socket).map_err(&doing)?.iter().filter(|p| p.address == address) {
        let interface = index_to_name(&socket, place.index).unwrap_or_default();
        if take_off(&mut socket, place, &interface).map_err(&doing)? {
            applied = Applied::Changed;
        }
    }
    Ok(applied)
}

/// Where this address is on this host.
pub(super) fn places(address: IpAddr) -> Result<Vec<Place>, VipError> {
    let doing = VipError::kernel("list addresses");
    let mut socket = Socket::route().map_err(&doing)?;
    let mut all = list(&mut socket).map_err(&doing)?;
    all.retain(|place| place.address == address);
    Ok(all)
}

/// An IPv6 address with which this host may ask on the interface for another one: of its subnet, or of the link.
/// Never a VIP: a host address covers nobody else.
pub(super) fn own_address(interface: &str, peer: Ipv6Addr) -> Result<Option<Ipv6Addr>, VipError> {
    let doing = VipError::kernel("list addresses");
    let index = index_of(interface)?;
    let mut socket = Socket::route().map_err(&doing)?;
    let all = list(&mut socket).map_err(&doing)?;
    let on_it = |fits: &dyn Fn(&Place, Ipv6Addr) -> bool| {
        all.iter().filter(|place| place.index == index).find_map(|place| match place.address {
            IpAddr::V6(own) if own != peer && fits(place, own) => Some(own),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        })
    };
    let of_subnet = on_it(&|place, _| covers(place, peer.into()));
    Ok(of_subnet.or_else(|| on_it(&|_, own| own.is_unicast_link_local())))
}

pub(crate) fn covers(place: &Place, address: IpAddr) -> bool {
    let mask = |bits: u8, width: u8| u128::MAX.checked_shl((width - bits.min(width)).into());
    match (place.address, address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let mask = mask(place.prefix, 32).unwrap_or(0) as u32;
            a.to_bits() & mask == b.to_bits() & mask
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let mask = mask(place.prefix, 128).unwrap_or(0);
            a.to_bits() & mask == b.to_bits() & mask
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

fn change(
    socket: &mut Socket,
    kind: u16,
    flags: u16,
    place: Place,
    stay: Option<Stay>,
) -> Result<(), Errno> {
    let (family, bytes) = match place.address {
        IpAddr::V4(v4) => (AF_INET, v4.octets().to_vec()),
        IpAddr::V6(v6) => (AF_INET6, v6.octets().to_vec()),
    };
    let sequence = socket.next_sequence();
    let mut out = Messages::default();
    let first = stay.is_some_and(|stay| stay.first) && place.address.is_ipv4();
    let scope = if first { RT_SCOPE_LINK } else { RT_SCOPE_UNIVERSE };
    let mut body = vec![family, place.prefix, 0, scope];
    body.extend_from_slice(&place.index.to_ne_bytes());
    out.begin(kind, REQUEST | ACK | flags, sequence).body(&body);
    out.attribute(IFA_LOCAL, &bytes).attribute(IFA_ADDRESS, &bytes);
    if first {
        out.attribute(IFA_FLAGS, &IFA_F_NOPREFIXROUTE.to_ne_bytes());
    }
    if let Some(Stay { lifetime, first: _ }) = stay {
        let seconds = lifetime.0.div_ceil(1_000_000_000).clamp(1, u64::from(u32::MAX - 1)) as u32;
        let preferred = if place.address.is_ipv6() { 0 } else { seconds };
        let mut info = Vec::new();
        for value in [preferred, seconds, 0, 0] {
            info.extend_from_slice(&value.to_ne_bytes());
        }
        out.attribute(IFA_CACHEINFO, &info);
        if place.address.is_ipv6() {
            let route = if place.prefix == 128 { IFA_F_NOPREFIXROUTE } else { 0 };
            out.attribute(IFA_FLAGS, &(IFA_F_NODAD | route).to_ne_bytes());
        }
    }
    socket.transact(&out, sequence)
}

/// Puts an address on that stays until somebody takes it off.
pub(crate) fn add_for_good(place: Place) -> Result<(), Errno> {
    change(&mut Socket::route()?, NEW_ADDRESS, CREATE | REPLACE, place, None)
}

/// Every address, and whether it lasts: one that is put on with a lifetime does not.
pub(crate) fn all_and_lasting() -> Result<Vec<(Place, bool)>, Errno> {
    let mut all = Vec::new();
    each(&mut Socket::route()?, |place, rest| {
        let flags = attribute(rest, IFA_FLAGS).and_then(|flags| flags.try_into().ok());
        let lasts = flags.is_some_and(|flags| u32::from_ne_bytes(flags) & IFA_F_PERMANENT != 0);
        all.push((place, lasts));
    })?;
    Ok(all)
}

fn list(socket: &mut Socket) -> Result<Vec<Place>, Errno> {
    let mut all = Vec::new();
    each(socket, |place, _| all.push(place))?;
    Ok(all)
}

/// Every address of this host, with the attributes of its message (rtnetlink(7)).
pub(crate) fn each(socket: &mut Socket, mut on: impl FnMut(Place, &[u8])) -> Result<(), Errno> {
    let sequence = socket.next_sequence();
    let mut out = Messages::default();
    out.begin(GET_ADDRESS, REQUEST | DUMP, sequence).body(&[0; 8]);
    socket.dump(&out, sequence, |_, payload| {
        if let Some(place) = place(payload) {
            on(place, &payload[8..]);
        }
    })
}

fn place(payload: &[u8]) -> Option<Place> {
    let (head, rest) = payload.split_at_checked(8)?;
    let index = u32::from_ne_bytes(head[4..8].try_into().ok()?);
    // On a link to one peer the address is that of the peer; the local one is ours.
    let bytes = attribute(rest, IFA_LOCAL).or(attribute(rest, IFA_ADDRESS))?;
    let address = match head[0] {
        AF_INET => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        AF_INET6 => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
        _ => return None,
    };
    Some(Place { index, address, prefix: head[1] })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(address: &str, prefix: u8) -> Place {
        Place { index: 1, address: address.parse().unwrap(), prefix }
    }

    #[test]
    fn a_subnet_covers_its_own() {
        let vip = "10.77.0.100".parse().unwrap();
        assert!(covers(&place("10.77.0.11", 24), vip));
        assert!(!covers(&place("10.77.1.11", 24), vip));
        assert!(covers(&place("0.0.0.0", 0), vip));
        assert!(!covers(&place("fd00::1", 64), vip));
        assert!(covers(&place("fd00::1", 64), "fd00::2".parse().unwrap()));
    }
}
