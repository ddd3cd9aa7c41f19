//! Ends every TCP connection of this host towards one peer's port, by the kernel's socket diagnosis.
//!
//! Stopping a receiver makes the server connect once more to its source, to kill its own thread over there; towards a
//! silent source that takes a second or more (D7). Destroying those sockets, also while they connect, makes it
//! milliseconds. It leaves nothing behind: no rule that must be taken back, nothing for the next connection.

use crate::diag::{Diag, States};
use rustix::io::Errno;
use std::net::SocketAddr;
use std::time::Duration;

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
    let mut diag = Diag::open()?;
    let mut destroyed = 0;
    for tcp in diag.find(States::Client, |tcp| tcp.far == peer)? {
        destroyed += usize::from(diag.destroy(&tcp)?);
    }
    Ok(destroyed)
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
