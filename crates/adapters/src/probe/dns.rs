//! A question to a name server by UDP (RFC 1035): who answers it with anything is not stopped.

use crate::probe::connect::Place;
use crate::probe::result::CheckResult;
use crate::probe::threads::Threads;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;
use tokio::time::timeout_at;

/// The header's length (RFC 1035 4.1.1).
const HEADER: usize = 12;

/// Which name servers are there: NS of the root, which each answers or refuses by itself.
fn question(id: u16) -> [u8; HEADER + 5] {
    let [high, low] = id.to_be_bytes();
    // No recursion; one question; the root's name is one empty label; type NS, class IN.
    [high, low, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1]
}

/// It is an answer (QR is set) to this question.
fn is_answer(id: u16, bytes: &[u8]) -> bool {
    bytes.len() >= HEADER && bytes[..2] == id.to_be_bytes() && bytes[2] & 0x80 != 0
}

/// Does somebody answer?
pub(crate) async fn look(place: &mut Place, threads: &Threads, bound: Duration) -> CheckResult {
    let deadline = Instant::now() + bound;
    if let Err(seen) = place.find(threads, deadline).await {
        return seen;
    }
    let Some(address) = place.addresses().first().copied() else {
        return CheckResult::Unknown(format!("{} has no address", place.endpoint.host));
    };
    // The socket is this look's own; the number tells an answer from what somebody else sends there.
    let id = sequence();
    let endpoint = &place.endpoint;
    match timeout_at(deadline.into(), ask(address, id)).await {
        Ok(Ok(())) => CheckResult::Passed,
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            CheckResult::Failed(format!("nobody listens on {endpoint} by UDP"))
        }
        Ok(Err(error)) => CheckResult::Failed(format!("no question to {endpoint}: {error}")),
        Err(_) => {
            let bound = bound.as_millis();
            CheckResult::Failed(format!("{endpoint} does not answer a question within {bound} ms"))
        }
    }
}

fn sequence() -> u16 {
    static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(1);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

async fn ask(address: SocketAddr, id: u16) -> io::Result<()> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    socket.send(&question(id)).await?;
    let mut bytes = [0; 512];
    loop {
        let length = socket.recv(&mut bytes).await?;
        if is_answer(id, &bytes[..length]) {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_the_questions_number_and_is_none_itself() {
        let asked = question(0x1234);
        assert!(!is_answer(0x1234, &asked));
        let mut answer = asked;
        answer[2] |= 0x80;
        assert!(is_answer(0x1234, &answer));
        assert!(!is_answer(0x1235, &answer));
        assert!(!is_answer(0x1234, &answer[..HEADER - 1]));
    }
}
