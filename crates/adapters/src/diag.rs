//! The kernel's list of TCP sockets, and how one of them is destroyed from outside (sock_diag).
//!
//! Both ends see a reset, and nothing is left behind: no rule that must be taken back, nothing for the next connection.

use crate::netlink::{ACK, DUMP, Messages, REQUEST, Socket};
use rustix::io::Errno;
use rustix::net::netlink::SOCK_DIAG;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

const BY_FAMILY: u16 = 20;
const DESTROY: u16 = 21;
const TCP: u8 = 6;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// Length of `inet_diag_sockid`, which a request repeats as it was shown.
const ID: usize = 48;

/// The states of a connection, as bits of tcp_states.h.
#[derive(Clone, Copy)]
pub(crate) enum States {
    /// All but listening (10), waiting after the end (6) and closed (7).
    Connected,
    /// Established, SYN sent, and both FIN waits: what a client still waits for.
    Client,
}

impl States {
    fn mask(self) -> u32 {
        match self {
            States::Connected => 0xfff & !(1 << 10) & !(1 << 6) & !(1 << 7),
            States::Client => 1 << 1 | 1 << 2 | 1 << 4 | 1 << 5,
        }
    }
}

/// One TCP socket of this host.
#[derive(Clone, Copy)]
pub(crate) struct Tcp {
    family: u8,
    id: [u8; ID],
    /// Its own end; IPv4 on a socket of both kinds is IPv4.
    pub(crate) local: SocketAddr,
    /// The far end.
    pub(crate) far: SocketAddr,
}

/// Lists and destroys.
pub(crate) struct Diag(Socket);

impl Diag {
    /// With a socket of its own.
    pub(crate) fn open() -> Result<Diag, Errno> {
        Ok(Diag(Socket::open(SOCK_DIAG, 0)?))
    }

    /// The sockets in these states that the caller wants.
    pub(crate) fn find(
        &mut self,
        states: States,
        wanted: impl Fn(&Tcp) -> bool,
    ) -> Result<Vec<Tcp>, Errno> {
        let mut found = Vec::new();
        // A server that listens on all addresses of both kinds has IPv4 clients on IPv6 sockets.
        for family in [AF_INET, AF_INET6] {
            let sequence = self.0.next_sequence();
            let mut out = Messages::default();
            let request = request(family, states.mask(), &[0; ID]);
            out.begin(BY_FAMILY, REQUEST | DUMP, sequence).body(&request);
            self.0.dump(&out, sequence, |_, payload| {
                // inet_diag_msg: family, state, timer, retransmissions, then the id.
                let id = payload.get(4..4 + ID).and_then(|id| id.try_into().ok());
                found.extend(id.and_then(|id| tcp(family, id)).filter(&wanted));
            })?;
        }
        Ok(found)
    }

    /// Destroys this socket; false if it ended by itself in between.
    pub(crate) fn destroy(&mut self, tcp: &Tcp) -> Result<bool, Errno> {
        let sequence = self.0.next_sequence();
        let mut out = Messages::default();
        let request = request(tcp.family, u32::MAX, &tcp.id);
        out.begin(DESTROY, REQUEST | ACK, sequence).body(&request);
        match self.0.transact(&out, sequence) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn request(family: u8, states: u32, id: &[u8; ID]) -> Vec<u8> {
    let mut body = vec![family, TCP, 0, 0];
    body.extend_from_slice(&states.to_ne_bytes());
    body.extend_from_slice(id);
    body
}

/// An id: both ports, both addresses, interface, cookie.
fn tcp(family: u8, id: [u8; ID]) -> Option<Tcp> {
    let end = |port: usize, address: usize| {
        let port = u16::from_be_bytes([id[port], id[port + 1]]);
        Some(SocketAddr::new(address_of(family, id.get(address..address + 16)?)?, port))
    };
    Some(Tcp { family, id, local: end(0, 4)?, far: end(2, 20)? })
}

fn address_of(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    if family == AF_INET {
        return Some(IpAddr::from(<[u8; 4]>::try_from(&bytes[..4]).ok()?));
    }
    let v6 = Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?);
    Some(v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4))
}
