//! Ends the VIP's TCP connections from outside (sock_diag), so that clients see a reset at once and no wait of the
//! database is ended (D9).

use super::VipError;
use crate::netlink::{ACK, DUMP, Messages, REQUEST, Socket};
use rustix::io::Errno;
use rustix::net::netlink::SOCK_DIAG;
use std::net::{IpAddr, Ipv6Addr};

const BY_FAMILY: u16 = 20;
const DESTROY: u16 = 21;
const TCP: u8 = 6;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// All states but listening (10), waiting after the end (6) and closed (7): tcp_states.h.
const STATES: u32 = 0xfff & !(1 << 10) & !(1 << 6) & !(1 << 7);
/// New connections may arrive while the old ones are destroyed; each round takes what the one before left.
const ROUNDS: usize = 10;
/// Length of `inet_diag_sockid`, which a request repeats as it was shown.
const ID: usize = 48;

pub(super) fn destroy(address: IpAddr) -> Result<usize, VipError> {
    let doing = VipError::kernel("destroy sockets");
    let mut socket = Socket::open(SOCK_DIAG, 0).map_err(&doing)?;
    let mut destroyed = 0;
    let mut left = 0;
    for _ in 0..ROUNDS {
        let found = find(&mut socket, address).map_err(&doing)?;
        left = found.len();
        if left == 0 {
            return Ok(destroyed);
        }
        for (family, id) in found {
            let sequence = socket.next_sequence();
            let mut out = Messages::default();
            out.begin(DESTROY, REQUEST | ACK, sequence).body(&request(family, &id));
            match socket.transact(&out, sequence) {
                Ok(()) => destroyed += 1,
                // It ended by itself in between.
                Err(Errno::NOENT) => {}
                Err(Errno::OPNOTSUPP) => return Err(VipError::NoDestroy),
                Err(error) => return Err(doing(error)),
            }
        }
    }
    Err(VipError::SocketsLeft(left))
}

fn find(socket: &mut Socket, address: IpAddr) -> Result<Vec<(u8, [u8; ID])>, Errno> {
    let mut found = Vec::new();
    // A server that listens on all addresses of both kinds has IPv4 clients on IPv6 sockets.
    for family in [AF_INET, AF_INET6] {
        let sequence = socket.next_sequence();
        let mut out = Messages::default();
        out.begin(BY_FAMILY, REQUEST | DUMP, sequence).body(&request(family, &[0; ID]));
        socket.dump(&out, sequence, |_, payload| {
            // inet_diag_msg: family, state, timer, retransmissions, then the id: ports, source, destination.
            let Some(id) = payload.get(4..4 + ID).and_then(|id| id.try_into().ok()) else { return };
            if local_address(family, &id) == Some(address) {
                found.push((family, id));
            }
        })?;
    }
    Ok(found)
}

fn local_address(family: u8, id: &[u8; ID]) -> Option<IpAddr> {
    let source = &id[4..20];
    if family == AF_INET {
        return Some(IpAddr::from(<[u8; 4]>::try_from(&source[..4]).ok()?));
    }
    let v6 = Ipv6Addr::from(<[u8; 16]>::try_from(source).ok()?);
    Some(v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4))
}

fn request(family: u8, id: &[u8; ID]) -> Vec<u8> {
    let mut body = vec![family, TCP, 0, 0];
    body.extend_from_slice(&STATES.to_ne_bytes());
    body.extend_from_slice(id);
    body
}
