//! Addresses by rtnetlink, synchronous: one request, the kernel's answer.
//!
//! The VIP must not change which source address other traffic takes. IPv4: where another address of the interface has
//! the VIP in its subnet, the VIP is a host address (/32), so that neither route nor order changes. IPv6: a
//! host address
//! (/128) without duplicate detection (the gate would drop its questions) and with a preferred lifetime of zero,
//! which takes it out of source selection.

use super::VipError;
use super::link::index_of;
use crate::Applied;
use crate::netlink::{ACK, CREATE, DUMP, Messages, REPLACE, REQUEST, Socket, attribute};
use regent_core::time::Span;
use rustix::io::Errno;
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
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// One address on one interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) index: u32,
    pub(crate) address: IpAddr,
    pub(crate) prefix: u8,
}

pub(super) fn add(
    address: IpAddr,
    prefix: u8,
    interface: &str,
    lifetime: Span,
) -> Result<Applied, VipError> {
    let doing = VipError::kernel("add the address");
    let index = index_of(interface)?;
    let mut socket = Socket::route().map_err(&doing)?;
    let all = list(&mut socket).map_err(&doing)?;
    let there = all.iter().find(|place| place.address == address && place.index == index);
    let place = there.copied().unwrap_or(Place {
        index,
        address,
        prefix: prefix_for(address, prefix, index, &all),
    });
    change(&mut socket, NEW_ADDRESS, CREATE | REPLACE, place, Some(lifetime)).map_err(&doing)?;
    Ok(if there.is_some() { Applied::AlreadySo } else { Applied::Changed })
}

pub(super) fn remove(address: IpAddr) -> Result<Applied, VipError> {
    let doing = VipError::kernel("remove the address");
    let mut socket = Socket::route().map_err(&doing)?;
    let mut applied = Applied::AlreadySo;
    for place in list(&mut socket).map_err(&doing)?.iter().filter(|p| p.address == address) {
        match change(&mut socket, DELETE_ADDRESS, 0, *place, None) {
            Ok(()) => applied = Applied::Changed,
            // Its lifetime ended in between.
            Err(Errno::ADDRNOTAVAIL) => {}
            Err(error) => return Err(doing(error)),
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

fn prefix_for(address: IpAddr, wanted: u8, index: u32, all: &[Place]) -> u8 {
    match address {
        IpAddr::V6(_) => 128,
        IpAddr::V4(_) if all.iter().any(|p| p.index == index && covers(p, address)) => 32,
        IpAddr::V4(_) => wanted,
    }
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
    lifetime: Option<Span>,
) -> Result<(), Errno> {
    let (family, bytes) = match place.address {
        IpAddr::V4(v4) => (AF_INET, v4.octets().to_vec()),
        IpAddr::V6(v6) => (AF_INET6, v6.octets().to_vec()),
    };
    let sequence = socket.next_sequence();
    let mut out = Messages::default();
    let mut body = vec![family, place.prefix, 0, 0];
    body.extend_from_slice(&place.index.to_ne_bytes());
    out.begin(kind, REQUEST | ACK | flags, sequence).body(&body);
    out.attribute(IFA_LOCAL, &bytes).attribute(IFA_ADDRESS, &bytes);
    if let Some(lifetime) = lifetime {
        let seconds = lifetime.0.div_ceil(1_000_000_000).clamp(1, u64::from(u32::MAX - 1)) as u32;
        let preferred = if place.address.is_ipv6() { 0 } else { seconds };
        let mut info = Vec::new();
        for value in [preferred, seconds, 0, 0] {
            info.extend_from_slice(&value.to_ne_bytes());
        }
        out.attribute(IFA_CACHEINFO, &info);
        if place.address.is_ipv6() {
            out.attribute(IFA_FLAGS, &(IFA_F_NODAD | IFA_F_NOPREFIXROUTE).to_ne_bytes());
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

    #[test]
    fn the_vip_is_a_host_address_where_its_subnet_is_known() {
        let vip = "10.77.0.100".parse().unwrap();
        assert_eq!(prefix_for(vip, 24, 1, &[place("10.77.0.11", 24)]), 32);
        assert_eq!(prefix_for(vip, 24, 1, &[place("192.0.2.1", 24)]), 24);
        assert_eq!(prefix_for(vip, 24, 2, &[place("10.77.0.11", 24)]), 24);
    }
}
