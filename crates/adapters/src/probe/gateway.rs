//! Does the router answer? Asked on the segment (ARP, neighbour discovery), which it cannot refuse; where it is behind
//! another router or on a link without neighbours, by an echo.

use crate::netlink::{ACK, Messages, REQUEST, Socket, attribute, readable};
use crate::probe::eye::Seen;
use crate::probe::link::{self, Link};
use crate::vip::probe::who_has;
use rustix::io::Errno;
use socket2::{Domain, Protocol, Type};
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

const GET_ROUTE: u16 = 26;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_VIA: u16 = 18;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// linux/rtnetlink.h: an address of this host.
const RTN_LOCAL: u8 = 2;

/// How this host reaches an address.
struct Route {
    link: Link,
    is_direct: bool,
    is_local: bool,
}

/// Does it answer within the bound?
pub(crate) fn look(router: IpAddr, bound: Duration) -> Seen {
    let deadline = Instant::now() + bound;
    let route = match link::with_socket(|socket| route(socket, router)) {
        Ok(Some(route)) => route,
        Ok(None) | Err(Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::NETDOWN) => {
            return Seen::Unwell(format!("no route to {router}"));
        }
        Err(error) => return Seen::Unknown(format!("the kernel tells no route: {error}")),
    };
    if route.is_local {
        return Seen::Unknown(format!("{router} is an address of this host"));
    }
    let interface = &route.link.name;
    if route.is_direct && route.link.has_neighbours() {
        return match who_has(interface, router, deadline) {
            Some(_) => Seen::Well,
            None => silent(router, interface, bound),
        };
    }
    match echo(router, deadline) {
        Ok(true) => Seen::Well,
        Ok(false) => silent(router, interface, bound),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Seen::Unknown(format!("{router} cannot be asked: {error}"))
        }
        Err(error) => Seen::Unwell(format!("no echo can be sent to {router}: {error}")),
    }
}

fn silent(router: IpAddr, interface: &str, bound: Duration) -> Seen {
    let bound = bound.as_millis();
    Seen::Unwell(format!("{router} does not answer on {interface} within {bound} ms"))
}

fn route(socket: &mut Socket, to: IpAddr) -> Result<Option<Route>, Errno> {
    let (family, bytes) = match to {
        IpAddr::V4(v4) => (AF_INET, v4.octets().to_vec()),
        IpAddr::V6(v6) => (AF_INET6, v6.octets().to_vec()),
    };
    let sequence = socket.next_sequence();
    let mut out = Messages::default();
    // rtmsg: family, length of the destination, then nothing that narrows it.
    let body = [family, (bytes.len() * 8) as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    out.begin(GET_ROUTE, REQUEST | ACK, sequence).body(&body).attribute(RTA_DST, &bytes);
    let mut found = None;
    socket.dump(&out, sequence, |_, payload| {
        let Some((head, rest)) = payload.split_at_checked(12) else { return };
        let index = attribute(rest, RTA_OIF).and_then(|index| index.try_into().ok());
        let is_direct =
            attribute(rest, RTA_GATEWAY).is_none() && attribute(rest, RTA_VIA).is_none();
        found = index.map(|index| (u32::from_ne_bytes(index), is_direct, head[7] == RTN_LOCAL));
    })?;
    let Some((index, is_direct, is_local)) = found else { return Ok(None) };
    let link = link::by_index(socket, index)?;
    Ok(link.map(|link| Route { link, is_direct, is_local }))
}

/// One ICMP echo.
pub(crate) fn echo(to: IpAddr, deadline: Instant) -> io::Result<bool> {
    static NUMBER: AtomicU16 = AtomicU16::new(0);
    let (domain, protocol, request, reply) = match to {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, 8, 0),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, 128, 129),
    };
    let mut socket = socket2::Socket::new(domain, Type::RAW, Some(protocol))?;
    socket.set_nonblocking(true)?;
    let [high, low] = NUMBER.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let [id_high, id_low] = (std::process::id() as u16).to_be_bytes();
    // Type, code, checksum (the kernel's for IPv6), identifier, sequence.
    let mut packet = [request, 0, 0, 0, id_high, id_low, high, low];
    if to.is_ipv4() {
        let sum = checksum(&packet).to_be_bytes();
        packet[2..4].copy_from_slice(&sum);
    }
    socket.send_to(&packet, &SocketAddr::new(to, 0).into())?;
    let mut buffer = [0; 256];
    while readable(socket.as_fd(), deadline)? {
        let Ok(length) = socket.read(&mut buffer) else { continue };
        if is_reply(&buffer[..length], to, reply, &packet[4..]) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// IPv4 comes with its header, IPv6 without; identifier and number are ours.
fn is_reply(received: &[u8], from: IpAddr, reply: u8, ours: &[u8]) -> bool {
    let icmp = match from {
        IpAddr::V4(v4) => {
            let head = usize::from(received.first().map_or(0, |b| b & 0xf)) * 4;
            if received.get(12..16) != Some(&v4.octets()[..]) {
                return false;
            }
            received.get(head..)
        }
        IpAddr::V6(_) => Some(received),
    };
    icmp.is_some_and(|icmp| icmp.first() == Some(&reply) && icmp.get(4..8) == Some(ours))
}

/// RFC 1071, of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let pairs = bytes.chunks_exact(2).map(|p| u32::from(u16::from_be_bytes([p[0], p[1]])));
    let sum: u32 = pairs.sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum + (sum >> 16)) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{segment, until};

    const BOUND: Duration = Duration::from_millis(300);

    fn unwell(seen: Seen) -> String {
        match seen {
            Seen::Unwell(why) => why,
            other @ (Seen::Well | Seen::Unknown(_)) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_router_on_the_segment_answers_or_is_silent() {
        let Some(segment) = segment(&[1, 2]) else { return };
        let ask = |router: &str| segment.on(1, || look(router.parse().unwrap(), BOUND));
        // A router that answers no echo is one that lives.
        segment.sh(2, "sysctl -q net.ipv4.icmp_echo_ignore_all=1");
        for (router, nobody) in [("10.99.0.2", "10.99.0.77"), ("fd99::2", "fd99::77")] {
            until("an answer", Duration::from_secs(5), || ask(router) == Seen::Well);
            let why = format!("{nobody} does not answer on eth0 within 300 ms");
            assert_eq!(unwell(ask(nobody)), why);
        }
        assert_eq!(unwell(ask("198.51.100.1")), "no route to 198.51.100.1");
        assert!(matches!(ask("10.99.0.1"), Seen::Unknown(_)));
        segment.sh(1, "ip link set eth0 down");
        assert_eq!(unwell(ask("10.99.0.2")), "no route to 10.99.0.2");
    }

    #[test]
    fn a_router_behind_another_is_asked_by_an_echo() {
        let Some(segment) = segment(&[1, 2]) else { return };
        segment.sh(1, "ip route add 198.51.100.0/24 via 10.99.0.2");
        segment.sh(1, "ip -6 route add fd98::/64 via fd99::2");
        segment.sh(2, "ip addr add 198.51.100.1/32 dev lo; ip -6 addr add fd98::1/128 dev lo");
        let ask = |router: &str| segment.on(1, || look(router.parse().unwrap(), BOUND));
        for (router, nobody) in [("198.51.100.1", "198.51.100.2"), ("fd98::1", "fd98::2")] {
            until("an echo", Duration::from_secs(5), || ask(router) == Seen::Well);
            let why = format!("{nobody} does not answer on eth0 within 300 ms");
            assert_eq!(unwell(ask(nobody)), why);
        }
    }

    #[test]
    fn an_interface_that_goes_down_is_seen() {
        let Some(segment) = segment(&[1, 2]) else { return };
        let ask = || segment.on(1, || link::look("eth0"));
        until("a carrier", Duration::from_secs(5), || ask() == Seen::Well);
        segment.sh(2, "ip link set eth0 down");
        segment.sh(0, "ip link set p1 down");
        until("no carrier", Duration::from_secs(5), || ask() != Seen::Well);
        assert_eq!(unwell(ask()), "eth0 has no carrier");
        segment.sh(1, "ip link set eth0 down");
        assert_eq!(unwell(ask()), "eth0 is switched off");
    }
}
