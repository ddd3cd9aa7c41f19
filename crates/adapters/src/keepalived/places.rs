//! Where the addresses stand on this host, and for how long; and word of every change.

use crate::netlink::{ACK, CREATE, Messages, REQUEST, Socket, attribute};
use crate::vip::address;
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with, sockopt,
};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

const NEW_ADDRESS: u16 = 20;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_LABEL: u16 = 3;
const IFA_CACHEINFO: u16 = 6;
const AF_INET: u8 = 2;
/// RTMGRP_IPV4_IFADDR and RTMGRP_IPV6_IFADDR.
const GROUPS: u32 = 0x10 | 0x100;

/// An address of this host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) index: u32,
    pub(super) address: IpAddr,
    pub(super) prefix: u8,
    /// Its lifetime does not end.
    pub(super) forever: bool,
}

/// Every address of this host.
pub(super) fn all() -> Result<Vec<Place>, Errno> {
    let mut socket = Socket::route()?;
    let mut all = Vec::new();
    address::each(&mut socket, |found, attributes| {
        // ifa_cacheinfo: preferred, then valid, in seconds.
        let valid = attribute(attributes, IFA_CACHEINFO).and_then(|info| info.get(4..8));
        let forever = valid.is_none_or(|seconds| seconds == u32::MAX.to_ne_bytes());
        let address::Place { index, address, prefix } = found;
        all.push(Place { index, address, prefix, forever });
    })?;
    Ok(all)
}

/// Puts an IPv4 address on as keepalived would, with its label, for a second: whoever calls gives it its lifetime. An
/// error is none of theirs: what is missing then they put on without a label.
pub(super) fn put_on(index: u32, address: Ipv4Addr, prefix: u8, label: &str) -> Result<(), Errno> {
    let mut socket = Socket::route()?;
    let sequence = socket.next_sequence();
    let mut out = Messages::default();
    let mut body = vec![AF_INET, prefix, 0, 0];
    body.extend_from_slice(&index.to_ne_bytes());
    // ifa_cacheinfo: preferred and valid, in seconds; made and changed.
    let info: Vec<u8> = [1u32, 1, 0, 0].iter().flat_map(|value| value.to_ne_bytes()).collect();
    out.begin(NEW_ADDRESS, REQUEST | ACK | CREATE, sequence)
        .body(&body)
        .attribute(IFA_LOCAL, &address.octets())
        .attribute(IFA_ADDRESS, &address.octets())
        .text(IFA_LABEL, label)
        .attribute(IFA_CACHEINFO, &info);
    socket.transact(&out, sequence)
}

/// Becomes readable whenever an address of this host changes.
pub(super) struct Changes(OwnedFd);

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Changes {
    pub(super) fn open() -> Result<Changes, Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        sockopt::set_socket_recv_buffer_size(&fd, 1 << 20)?;
        bind(&fd, &SocketAddrNetlink::new(0, GROUPS))?;
        Ok(Changes(fd))
    }

    /// Forgets what has come: a change only says that it is time to look.
    pub(super) fn clear(&self) {
        let mut buffer = [0; 4096];
        // An overrun is an error too, and says the same: look.
        while !matches!(recv(&self.0, &mut buffer[..], RecvFlags::DONTWAIT), Err(Errno::AGAIN)) {}
    }
}
