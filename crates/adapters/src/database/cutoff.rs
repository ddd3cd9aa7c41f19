//! Ends every TCP connection of this host towards one peer's port, by the kernel's socket diagnosis.
//!
//! Stopping a receiver makes the server connect once more to its source, to kill its own thread over there; towards a
//! silent source that takes a second or more (D7). Destroying those sockets, also while they connect, makes it
//! milliseconds. It leaves nothing behind: no rule that must be taken back, nothing for the next connection.

use crate::netlink::{ACK, DUMP, Messages, REQUEST, Socket};
use rustix::io::Errno;
use rustix::net::netlink::SOCK_DIAG;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const BY_FAMILY: u16 = 20;
const DESTROY: u16 = 21;
const TCP: u8 = 6;
/// Established, SYN sent, and both FIN waits.
const STATES: u32 = 1 << 1 | 1 << 2 | 1 << 4 | 1 << 5;
/// Where the identity stands in an answer: family, state, timer, retransmissions come before it.
const IDENTITY: std::ops::Range<usize> = 4..52;

/// A source that lives answers within this; it may have it.
const GRACE: Duration = Duration::from_millis(8);
const AGAIN: Duration = Duration::from_millis(3);

/// Ends the connections towards a peer again and again; never returns. To be dropped when the statement is answered.
pub(crate) async fn keep_cutting(peer: SocketAddr) -> std::convert::Infallible {
    tokio::time::sleep(GRACE).await;
    loop {
        // An error changes nothing: the statement then takes its time.
        let _ = cut(peer);
        tokio::time::sleep(AGAIN).await;
    }
}

/// Destroys the sockets that are connected, or connecting, to this address and port; how many.
pub(crate) fn cut(peer: SocketAddr) -> Result<usize, Errno> {
    let mut socket = Socket::open(SOCK_DIAG, 0)?;
    let family: u8 = if peer.is_ipv4() { 2 } else { 10 };
    let request = |identity: &[u8], states: u32| {
        let mut body = vec![family, TCP, 0, 0];
        body.extend_from_slice(&states.to_ne_bytes());
        body.extend_from_slice(identity);
        body
    };
    let mut found = Vec::new();
    let mut out = Messages::default();
    let sequence = socket.next_sequence();
    out.begin(BY_FAMILY, REQUEST | DUMP, sequence).body(&request(&[0; 48], STATES));
    socket.dump(&out, sequence, |_, payload| {
        if let Some(identity) = payload.get(IDENTITY)
            && leads_to(identity, peer)
        {
            found.push(identity.to_vec());
        }
    })?;
    let mut destroyed = 0;
    for identity in &found {
        let sequence = socket.next_sequence();
        let mut out = Messages::default();
        out.begin(DESTROY, REQUEST | ACK, sequence).body(&request(identity, u32::MAX));
        match socket.transact(&out, sequence) {
            Ok(()) => destroyed += 1,
            // It ended by itself meanwhile.
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(destroyed)
}

/// Is this identity's far end the peer? Source port, destination port, source, destination, interface, cookie.
fn leads_to(identity: &[u8], peer: SocketAddr) -> bool {
    let address = match peer.ip() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    identity[2..4] == peer.port().to_be_bytes() && identity[20..20 + address.len()] == address[..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn only_connections_to_the_named_port_end() {
        let named = TcpListener::bind("127.0.0.1:0").expect("a port");
        let other = TcpListener::bind("127.0.0.1:0").expect("a port");
        let peer = named.local_addr().expect("an address");
        let mut cut_off = TcpStream::connect(peer).expect("connected");
        let left = TcpStream::connect(other.local_addr().expect("an address")).expect("connected");
        match cut(peer) {
            Err(Errno::PERM) => return println!("skipped: needs root"),
            answer => assert_eq!(answer, Ok(1)),
        }
        assert!(cut_off.read(&mut [0; 1]).is_err());
        left.set_nonblocking(true).expect("set");
        let answer = (&left).read(&mut [0; 1]).expect_err("nothing to read, and alive");
        assert_eq!(answer.kind(), std::io::ErrorKind::WouldBlock);
    }
}
