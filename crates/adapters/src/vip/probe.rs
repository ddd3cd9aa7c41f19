//! Is a silent peer's host alive? Asked of the segment (its own address, by ARP) and of its agent's port, at
//! the same time.

use super::VipError;
use super::address::own_address;
use super::frame::{Mac, question4, question6};
use super::link::{self, Packets};
use regent_core::command::PortAnswer;
use socket2::{Domain, SockAddr, Type};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// Three questions, so that one lost frame does not speak for a dead host.
const QUESTIONS: u32 = 3;
const BETWEEN: Duration = Duration::from_millis(20);
/// Counted from the start, for both.
const ANSWER_WITHIN: Duration = Duration::from_millis(70);

/// What is known of a peer's host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer {
    /// It answered for its own address on the segment.
    pub arp: bool,
    /// What its agent's port did.
    pub port: PortAnswer,
}

/// Asks both, for at most 80 ms. What cannot be asked is not answered.
pub fn probe_peer(interface: &str, peer: IpAddr, port: u16) -> Peer {
    let deadline = Instant::now() + ANSWER_WITHIN;
    std::thread::scope(|scope| {
        let arp = scope.spawn(|| who_has(interface, peer, deadline).is_some());
        let port = knock(SocketAddr::new(peer, port), deadline);
        // A panic in there has no answer to give.
        Peer { arp: arp.join().unwrap_or(false), port }
    })
}

/// The hardware address that answers for this address until the deadline.
pub(crate) fn who_has(interface: &str, whom: IpAddr, deadline: Instant) -> Option<Mac> {
    let mac = link::mac(interface).ok()?;
    let packets = Packets::claims(interface, whom).ok()?;
    let frame = question(interface, whom, mac).ok()?;
    ask(&packets, &frame, whom, BETWEEN, deadline, |from| from != mac)
}

/// The frame that asks whose this address is, such that the answer changes nothing at others and reaches few.
pub(super) fn question(interface: &str, whom: IpAddr, mac: Mac) -> Result<Vec<u8>, VipError> {
    Ok(match whom {
        IpAddr::V4(v4) => question4(v4, mac),
        IpAddr::V6(v6) => question6(v6, own_address(interface, v6)?, mac),
    })
}

/// Asks some times; the first answer from a hardware address that counts.
pub(super) fn ask(
    packets: &Packets,
    frame: &[u8],
    whom: IpAddr,
    between: Duration,
    deadline: Instant,
    counts: impl Fn(Mac) -> bool,
) -> Option<Mac> {
    for n in 1..=QUESTIONS {
        // A frame that cannot be sent is one that is not answered.
        let _ = packets.send(frame);
        let next = if n == QUESTIONS { deadline } else { deadline.min(Instant::now() + between) };
        while let Some(from) = packets.next_claim(whom, next) {
            if counts(from) {
                return Some(from);
            }
        }
    }
    None
}

fn knock(peer: SocketAddr, deadline: Instant) -> PortAnswer {
    let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let connect = || {
        let socket = socket2::Socket::new(Domain::for_address(peer), Type::STREAM, None)?;
        socket.connect_timeout(&SockAddr::from(peer), left)
    };
    match connect() {
        Ok(()) => PortAnswer::Open,
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => PortAnswer::Reset,
        Err(_) => PortAnswer::Silent,
    }
}
