//! Interfaces and packet sockets.

use super::VipError;
use super::frame::{ARP, IPV6, Mac};
use crate::netlink::{ACK, Messages, REQUEST, Socket, attribute, readable};
use crate::sys::link_address;
use socket2::{Domain, Protocol, SockFilter, Type};
use std::io::Read;
use std::net::Ipv6Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

const GET_LINK: u16 = 18;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;

/// The kernel's number of this interface.
pub(super) fn index_of(interface: &str) -> Result<u32, VipError> {
    Ok(look_up(interface)?.0)
}

/// The hardware address of this interface.
pub fn link_mac(interface: &str) -> Result<Mac, VipError> {
    look_up(interface)?.1.ok_or_else(|| VipError::NoInterface(interface.to_owned()))
}

/// Asked of the kernel by netlink: files under /sys may belong to another network namespace.
fn look_up(interface: &str) -> Result<(u32, Option<Mac>), VipError> {
    let doing = VipError::kernel("look up the interface");
    let mut socket = Socket::route().map_err(&doing)?;
    let sequence = socket.next_sequence();
    let mut out = Messages::default();
    out.begin(GET_LINK, REQUEST | ACK, sequence).body(&[0; 16]).text(IFLA_IFNAME, interface);
    let mut found = None;
    let answer = socket.dump(&out, sequence, |_, payload| {
        let Some((head, rest)) = payload.split_at_checked(16) else { return };
        let index = u32::from_ne_bytes([head[4], head[5], head[6], head[7]]);
        let mac = attribute(rest, IFLA_ADDRESS).and_then(|m| m.try_into().ok()).map(Mac);
        found = Some((index, mac));
    });
    match answer {
        Ok(()) => found.ok_or_else(|| VipError::NoInterface(interface.to_owned())),
        Err(rustix::io::Errno::NODEV) => Err(VipError::NoInterface(interface.to_owned())),
        Err(error) => Err(doing(error)),
    }
}

/// Whole Ethernet frames of one kind on one interface.
pub(super) struct Packets {
    socket: socket2::Socket,
}

impl AsFd for Packets {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Packets {
    /// Every ARP frame.
    pub(super) fn arp(interface: &str) -> Result<Packets, VipError> {
        Packets::open(interface, ARP, &[])
    }

    /// Every neighbour advertisement for this address, and nothing else of IPv6.
    pub(super) fn advertisements(interface: &str, of: Ipv6Addr) -> Result<Packets, VipError> {
        Packets::open(interface, IPV6, &advertisement_filter(of))
    }

    fn open(interface: &str, ethertype: u16, filter: &[SockFilter]) -> Result<Packets, VipError> {
        let doing = VipError::socket("open a packet socket");
        let index = index_of(interface)?;
        // Protocol 0: nothing is received before the filter is attached and the interface bound.
        let socket = socket2::Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))
            .map_err(&doing)?;
        socket.set_nonblocking(true).map_err(&doing)?;
        if !filter.is_empty() {
            socket.attach_filter(filter).map_err(&doing)?;
        }
        socket.bind(&link_address(index, ethertype)).map_err(&doing)?;
        Ok(Packets { socket })
    }

    /// Sends one frame, header included.
    pub(super) fn send(&self, frame: &[u8]) -> Result<(), VipError> {
        self.socket.send(frame).map_err(VipError::socket("send a frame"))?;
        Ok(())
    }

    /// The next frame, if one comes until the deadline.
    pub(super) fn receive<'b>(&self, buffer: &'b mut [u8], deadline: Instant) -> Option<&'b [u8]> {
        if !readable(self.socket.as_fd(), deadline).ok()? {
            return None;
        }
        let length = (&self.socket).read(buffer).ok()?;
        Some(&buffer[..length])
    }
}

/// Classic BPF: next header ICMPv6, type 136, target equal to the address. Offsets count from the Ethernet header.
fn advertisement_filter(of: Ipv6Addr) -> Vec<SockFilter> {
    const LOAD_BYTE: u16 = 0x30;
    const LOAD_WORD: u16 = 0x20;
    const JUMP_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let octets = of.octets();
    let mut checks = vec![(LOAD_BYTE, 20, 58), (LOAD_BYTE, 54, 136)];
    for (n, word) in octets.chunks_exact(4).enumerate() {
        let value = u32::from_be_bytes([word[0], word[1], word[2], word[3]]);
        checks.push((LOAD_WORD, 62 + 4 * n as u32, value));
    }
    let mut program = Vec::new();
    for (n, (load, offset, value)) in checks.iter().enumerate() {
        // From here to the last instruction, which drops.
        let to_drop = 2 * (checks.len() - n) - 1;
        program.push(SockFilter::new(*load, 0, 0, *offset));
        program.push(SockFilter::new(JUMP_EQUAL, 0, to_drop as u8, *value));
    }
    program.push(SockFilter::new(RETURN, 0, 0, u32::MAX));
    program.push(SockFilter::new(RETURN, 0, 0, 0));
    program
}
