//! One ICMP echo: does an address answer a ping?

use crate::netlink::readable;
use socket2::{Domain, Protocol, Type};
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Instant;

/// Asks this address once; true if it answers before the deadline.
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
