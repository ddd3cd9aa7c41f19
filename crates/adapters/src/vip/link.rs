//! Interfaces and packet sockets.

use super::error::VipError;
use super::frame::{ARP, IPV6, Mac, claim};
use crate::netlink::{ACK, DUMP, Messages, REQUEST, Socket, attribute, readable};
use crate::sys::link_address;
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockFilter, Type};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

const GET_LINK: u16 = 18;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_PERM_ADDRESS: u16 = 54;
/// It is up, and its driver has a carrier.
const IFF_LOWER_UP: u32 = 0x10000;

/// The kernel's number of this interface.
pub(super) fn index_of(interface: &str) -> Result<u32, VipError> {
    Ok(look_up(interface)?.index)
}

/// The hardware address of this interface.
pub fn mac(interface: &str) -> Result<Mac, VipError> {
    look_up(interface)?.mac.ok_or_else(|| VipError::NoInterface(interface.to_owned()))
}

/// This interface is up and has a carrier; of a bridge or bond, one of its ports has.
pub fn carrier(interface: &str) -> Result<bool, VipError> {
    Ok(look_up(interface)?.flags & IFF_LOWER_UP != 0)
}

/// The hardware addresses of all interfaces of this host. A VIP behind a bridge or bond may answer with one of a port.
pub(super) fn own_macs() -> Result<Vec<Mac>, VipError> {
    let mut macs = Vec::new();
    let link = |link: &Link, permanent: Option<Mac>| {
        macs.extend(link.mac.into_iter().chain(permanent));
    };
    each_link(DUMP, None, link).map_err(VipError::kernel("list the interfaces"))?;
    Ok(macs)
}

#[derive(Clone, Copy)]
struct Link {
    index: u32,
    flags: u32,
    mac: Option<Mac>,
}

fn look_up(interface: &str) -> Result<Link, VipError> {
    let mut found = None;
    let missing = || VipError::NoInterface(interface.to_owned());
    match each_link(ACK, Some(interface), |link, _| found = Some(*link)) {
        Ok(()) => found.ok_or_else(missing),
        Err(Errno::NODEV) => Err(missing()),
        Err(error) => Err(VipError::kernel("look up the interface")(error)),
    }
}

/// Asked of the kernel by netlink: files under /sys may belong to another network namespace.
fn each_link(
    flags: u16,
    interface: Option<&str>,
    mut each: impl FnMut(&Link, Option<Mac>),
) -> Result<(), Errno> {
    let mut socket = Socket::route()?;
    let sequence = socket.next_sequence();
    let mut out = Messages::default();
    out.begin(GET_LINK, REQUEST | flags, sequence).body(&[0; 16]);
    if let Some(interface) = interface {
        out.text(IFLA_IFNAME, interface);
    }
    socket.dump(&out, sequence, |_, payload| {
        let Some((head, rest)) = payload.split_at_checked(16) else { return };
        let word = |at: usize| u32::from_ne_bytes([0, 1, 2, 3].map(|n| head[at + n]));
        let mac = |kind| attribute(rest, kind).and_then(|m| m.try_into().ok()).map(Mac);
        let link = Link { index: word(4), flags: word(8), mac: mac(IFLA_ADDRESS) };
        each(&link, mac(IFLA_PERM_ADDRESS));
    })
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
    /// Every frame in which somebody claims this address: ARP with it as the sender, advertisements of it as the
    /// target. Nothing else of the segment's traffic wakes the reader.
    pub(super) fn claims(interface: &str, of: IpAddr) -> Result<Packets, VipError> {
        match of {
            IpAddr::V4(v4) => Packets::open(interface, ARP, &sender_filter(v4)),
            IpAddr::V6(v6) => Packets::open(interface, IPV6, &advertisement_filter(v6)),
        }
    }

    fn open(interface: &str, ethertype: u16, filter: &[SockFilter]) -> Result<Packets, VipError> {
        let doing = VipError::socket("open a packet socket");
        let index = index_of(interface)?;
        // Protocol 0: nothing is received before the filter is attached and the interface bound.
        let socket = socket2::Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))
            .map_err(&doing)?;
        socket.set_nonblocking(true).map_err(&doing)?;
        socket.attach_filter(filter).map_err(&doing)?;
        socket.bind(&link_address(index, ethertype)).map_err(&doing)?;
        Ok(Packets { socket })
    }

    /// Sends one frame, header included.
    pub(super) fn send(&self, frame: &[u8]) -> Result<(), VipError> {
        self.socket.send(frame).map_err(VipError::socket("send a frame"))?;
        Ok(())
    }

    /// The hardware address of the next claim, if one comes until the deadline.
    pub(super) fn next_claim(&self, of: IpAddr, deadline: Instant) -> Option<Mac> {
        let mut buffer = [0; 128];
        loop {
            let frame = self.receive(&mut buffer, deadline)?;
            if let Some((address, from)) = claim(frame)
                && address == of
            {
                return Some(from);
            }
        }
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

// Classic BPF (linux/filter.h).
const LOAD_BYTE: u16 = 0x30;
const LOAD_WORD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// The sender's protocol address.
fn sender_filter(of: Ipv4Addr) -> Vec<SockFilter> {
    all_equal(&[(LOAD_WORD, 28, of.to_bits())])
}

/// Next header ICMPv6, type 136, and the target.
fn advertisement_filter(of: Ipv6Addr) -> Vec<SockFilter> {
    let octets = of.octets();
    let mut checks = vec![(LOAD_BYTE, 20, 58), (LOAD_BYTE, 54, 136)];
    for (n, word) in octets.chunks_exact(4).enumerate() {
        let value = u32::from_be_bytes([word[0], word[1], word[2], word[3]]);
        checks.push((LOAD_WORD, 62 + 4 * n as u32, value));
    }
    all_equal(&checks)
}

/// Takes a frame if each load, counted from the Ethernet header, gives its value.
fn all_equal(checks: &[(u16, u32, u32)]) -> Vec<SockFilter> {
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
