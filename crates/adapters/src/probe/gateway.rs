//! Does the router answer? Asked on the segment (ARP, neighbour discovery), which it cannot refuse; where it is behind
//! another router or on a link without neighbours, by an echo.

use crate::icmp::echo;
use crate::netlink::{ACK, Messages, REQUEST, Socket, attribute};
use crate::probe::link::{self, Link};
use crate::probe::result::CheckResult;
use crate::vip::probe::who_has;
use rustix::io::Errno;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

const GET_ROUTE: u16 = 26;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_VIA: u16 = 18;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// linux/rtnetlink.h: an address of this host.
const RTN_LOCAL: u8 = 2;

/// How this host reaches an address.
struct Route {
    link: Link,
    is_direct: bool,
    is_local: bool,
}

/// Does it answer within the bound?
pub(crate) fn look(router: IpAddr, bound: Duration) -> CheckResult {
    let deadline = Instant::now() + bound;
    let route = match link::with_socket(|socket| route(socket, router)) {
        Ok(Some(route)) => route,
        Ok(None) | Err(Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::NETDOWN) => {
            return CheckResult::Failed(format!("no route to {router}"));
        }
        Err(error) => return CheckResult::Unknown(format!("the kernel tells no route: {error}")),
    };
    if route.is_local {
        return CheckResult::Unknown(format!("{router} is an address of this host"));
    }
    let interface = &route.link.name;
    if route.is_direct && route.link.has_neighbours() {
        return match who_has(interface, router, deadline) {
            Some(_) => CheckResult::Passed,
            None => silent(router, interface, bound),
        };
    }
    match echo(router, deadline) {
        Ok(true) => CheckResult::Passed,
        Ok(false) => silent(router, interface, bound),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            CheckResult::Unknown(format!("{router} cannot be asked: {error}"))
        }
        Err(error) => CheckResult::Failed(format!("no echo can be sent to {router}: {error}")),
    }
}

fn silent(router: IpAddr, interface: &str, bound: Duration) -> CheckResult {
    let bound = bound.as_millis();
    CheckResult::Failed(format!("{router} does not answer on {interface} within {bound} ms"))
}

fn route(socket: &mut Socket, to: IpAddr) -> Result<Option<Route>, Errno> {
    let (family, bytes) = match to {
        IpAddr::V4(v4) => (AF_INET, v4.octets().to_vec()),
        IpAddr::V6(v6) => (AF_INET6, v6.octets().to_vec()),
    };
    let sequence = socket.next_sequence();
    let mut out = Messages::default();
    // rtmsg: family, length of the destination, then nothing that narrows it.
    let body = [family, (bytes.len() * 8) as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    out.begin(GET_ROUTE, REQUEST | ACK, sequence).body(&body).attribute(RTA_DST, &bytes);
    let mut found = None;
    socket.dump(&out, sequence, |_, payload| {
        let Some((head, rest)) = payload.split_at_checked(12) else { return };
        let index = attribute(rest, RTA_OIF).and_then(|index| index.try_into().ok());
        let is_direct =
            attribute(rest, RTA_GATEWAY).is_none() && attribute(rest, RTA_VIA).is_none();
        found = index.map(|index| (u32::from_ne_bytes(index), is_direct, head[7] == RTN_LOCAL));
    })?;
    let Some((index, is_direct, is_local)) = found else { return Ok(None) };
    let link = link::by_index(socket, index)?;
    Ok(link.map(|link| Route { link, is_direct, is_local }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{segment, until};

    const BOUND: Duration = Duration::from_millis(300);

    fn failed(seen: CheckResult) -> String {
        match seen {
            CheckResult::Failed(why) => why,
            other @ (CheckResult::Passed | CheckResult::Unknown(_)) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_router_on_the_segment_answers_or_is_silent() {
        let Some(segment) = segment(&[1, 2]) else { return };
        let ask = |router: &str| segment.on(1, || look(router.parse().unwrap(), BOUND));
        // A router that answers no echo is one that lives.
        segment.sh(2, "sysctl -q net.ipv4.icmp_echo_ignore_all=1");
        for (router, nobody) in [("10.99.0.2", "10.99.0.77"), ("fd99::2", "fd99::77")] {
            until("an answer", Duration::from_secs(5), || ask(router) == CheckResult::Passed);
            let why = format!("{nobody} does not answer on eth0 within 300 ms");
            assert_eq!(failed(ask(nobody)), why);
        }
        assert_eq!(failed(ask("198.51.100.1")), "no route to 198.51.100.1");
        assert!(matches!(ask("10.99.0.1"), CheckResult::Unknown(_)));
        segment.sh(1, "ip link set eth0 down");
        assert_eq!(failed(ask("10.99.0.2")), "no route to 10.99.0.2");
    }

    #[test]
    fn a_router_behind_another_is_asked_by_an_echo() {
        let Some(segment) = segment(&[1, 2]) else { return };
        segment.sh(1, "ip route add 198.51.100.0/24 via 10.99.0.2");
        segment.sh(1, "ip -6 route add fd98::/64 via fd99::2");
        segment.sh(2, "ip addr add 198.51.100.1/32 dev lo; ip -6 addr add fd98::1/128 dev lo");
        let ask = |router: &str| segment.on(1, || look(router.parse().unwrap(), BOUND));
        for (router, nobody) in [("198.51.100.1", "198.51.100.2"), ("fd98::1", "fd98::2")] {
            until("an echo", Duration::from_secs(5), || ask(router) == CheckResult::Passed);
            let why = format!("{nobody} does not answer on eth0 within 300 ms");
            assert_eq!(failed(ask(nobody)), why);
        }
    }

    #[test]
    fn an_interface_that_goes_down_is_seen() {
        let Some(segment) = segment(&[1, 2]) else { return };
        let ask = || segment.on(1, || link::look("eth0"));
        until("a carrier", Duration::from_secs(5), || ask() == CheckResult::Passed);
        segment.sh(2, "ip link set eth0 down");
        segment.sh(0, "ip link set p1 down");
        until("no carrier", Duration::from_secs(5), || ask() != CheckResult::Passed);
        assert_eq!(failed(ask()), "eth0 has no carrier");
        segment.sh(1, "ip link set eth0 down");
        assert_eq!(failed(ask()), "eth0 is switched off");
    }
}
