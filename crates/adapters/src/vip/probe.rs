//! Is a silent peer's host alive? Asked of the segment (its own address, by ARP), of its agent's port, and by an echo,
//! at the same time.

use super::address::own_address;
use super::error::VipError;
use super::frame::{Mac, question4, question6};
use super::link::{self, Packets};
use crate::icmp::echo;
use regent_core::command::{LifeSigns, PortAnswer};
use socket2::{Domain, SockAddr, Type};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// Three questions, so that one lost frame does not speak for a dead host.
const QUESTIONS: u32 = 3;
const BETWEEN: Duration = Duration::from_millis(20);
/// Counted from the start, for all three.
const ANSWER_WITHIN: Duration = Duration::from_millis(70);
/// So many different link addresses at one address are enough to be told.
const LINKS_MAX: usize = 4;

/// Asks all three, for at most 80 ms.
pub fn probe_peer(interface: &str, peer: IpAddr, port: u16) -> LifeSigns {
    let deadline = Instant::now() + ANSWER_WITHIN;
    std::thread::scope(|scope| {
        let links = scope.spawn(|| claimants(interface, peer, deadline));
        let echo = scope.spawn(|| echo(peer, deadline));
        let port = knock(SocketAddr::new(peer, port), deadline);
        // A panic in there has no answer to give.
        let links = links.join().ok().flatten();
        let echo = matches!(echo.join(), Ok(Ok(true)));
        LifeSigns { asked: links.is_some(), links: links.unwrap_or_default(), port, echo }
    })
}

/// Every hardware address that answers for this address until the deadline, but for our own; none at all if the segment
/// could not be asked.
fn claimants(interface: &str, whom: IpAddr, deadline: Instant) -> Option<Vec<[u8; 6]>> {
    let mac = link::mac(interface).ok()?;
    let packets = Packets::claims(interface, whom).ok()?;
    let frame = question(interface, whom, mac).ok()?;
    let mut links = Vec::new();
    for n in 1..=QUESTIONS {
        packets.send(&frame).ok()?;
        let next = if n == QUESTIONS { deadline } else { deadline.min(Instant::now() + BETWEEN) };
        while let Some(Mac(from)) = packets.next_claim(whom, next) {
            if from != mac.0 && !links.contains(&from) && links.len() < LINKS_MAX {
                links.push(from);
            }
        }
    }
    // Without a carrier a frame is taken and goes nowhere.
    link::carrier(interface).is_ok_and(|carrier| carrier).then_some(links)
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
