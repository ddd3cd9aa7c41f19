//! Hears foreign routers that use our router id, before the filter stops what they say.

use crate::sys::link_address;
use crate::vip::{self, VipError};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

const VRRP: u32 = 112;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);

/// One advertisement as it came in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Advert {
    pub(super) from: IpAddr,
    pub(super) mac: [u8; 6],
    pub(super) router_id: u8,
    pub(super) priority: u8,
}

/// A listener on one interface, for one family.
pub(super) struct Listener {
    socket: Socket,
    /// Kept open: the host is in the group of routers only as long as it is.
    _group: Option<UdpSocket>,
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Listener {
    /// Hears routers of the family of `own`, this host's address on the interface.
    pub(super) fn open(interface: &str, own: IpAddr) -> Result<Listener, VipError> {
        let doing = VipError::socket("listen for routers");
        let index = vip::interface_index(interface)?;
        let (ethertype, protocol_at) = if own.is_ipv4() { (IPV4, 23) } else { (IPV6, 20) };
        let socket =
            Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0))).map_err(&doing)?;
        socket.set_nonblocking(true).map_err(&doing)?;
        socket.attach_filter(&only_vrrp(protocol_at)).map_err(&doing)?;
        socket.bind(&link_address(index, ethertype)).map_err(&doing)?;
        // A switch that looks into IGMP sends the group to its members only; without it, what is flooded is heard.
        let group = match own {
            IpAddr::V4(own) => UdpSocket::bind("0.0.0.0:0")
                .and_then(|s| s.join_multicast_v4(&GROUP_V4, &own).map(|()| s)),
            IpAddr::V6(_) => UdpSocket::bind("[::]:0").and_then(|s| {
                s.join_multicast_v6(&[0xff02, 0, 0, 0, 0, 0, 0, 0x12].into(), index).map(|()| s)
            }),
        };
        Ok(Listener { socket, _group: group.ok() })
    }

    /// The next advertisement that has come; none when there is none left.
    pub(super) fn next(&self) -> Option<Advert> {
        let mut buffer = [0; 256];
        loop {
            let length = (&self.socket).read(&mut buffer).ok()?;
            if let Some(advert) = parse(&buffer[..length]) {
                return Some(advert);
            }
        }
    }
}

/// Classic BPF on a whole Ethernet frame: the byte of the IP protocol is VRRP's.
fn only_vrrp(protocol_at: u32) -> [SockFilter; 4] {
    [
        SockFilter::new(0x30, 0, 0, protocol_at),
        SockFilter::new(0x15, 0, 1, VRRP),
        SockFilter::new(0x06, 0, 0, u32::MAX),
        SockFilter::new(0x06, 0, 0, 0),
    ]
}

/// Versions 2 and 3 have type, router id and priority at the same place (RFC 5798 5.1).
fn parse(frame: &[u8]) -> Option<Advert> {
    let mac = frame.get(6..12)?.try_into().ok()?;
    let packet = frame.get(14..)?;
    let (from, vrrp) = match packet.first()? >> 4 {
        4 => {
            let header = usize::from(packet[0] & 0xf) * 4;
            let from = <[u8; 4]>::try_from(packet.get(12..16)?).ok()?;
            (IpAddr::from(from), packet.get(header..)?)
        }
        6 => {
            let from = <[u8; 16]>::try_from(packet.get(8..24)?).ok()?;
            (IpAddr::from(from), packet.get(40..)?)
        }
        _ => return None,
    };
    let is_advertisement = vrrp.first()? & 0xf == 1;
    let (router_id, priority) = (*vrrp.get(1)?, *vrrp.get(2)?);
    is_advertisement.then_some(Advert { from, mac, router_id, priority })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advertisement_is_read_from_its_frame() {
        let mut frame = vec![1, 0, 0x5e, 0, 0, 18, 2, 0, 0, 0, 0, 3, 8, 0];
        frame.extend([0x45, 0xc0, 0, 32, 0, 0, 0, 0, 255, 112, 0, 0, 10, 99, 0, 3, 224, 0, 0, 18]);
        frame.extend([0x31, 77, 200, 1, 0, 10, 0, 0, 10, 99, 0, 100]);
        let advert = Advert {
            from: "10.99.0.3".parse().unwrap(),
            mac: [2, 0, 0, 0, 0, 3],
            router_id: 77,
            priority: 200,
        };
        assert_eq!(parse(&frame), Some(advert));
        // An option in the IP header moves what follows.
        let mut longer = frame.clone();
        longer[14] = 0x46;
        longer.splice(34..34, [1; 4]);
        assert_eq!(parse(&longer), Some(advert));
        for length in 0..frame.len() - 9 {
            assert_eq!(parse(&frame[..length]), None, "{length}");
        }
        frame[34] = 0x32;
        assert_eq!(parse(&frame), None, "of a type that there is not");
    }

    #[test]
    fn an_advertisement_of_ipv6_is_read_from_its_frame() {
        let mut frame = vec![0x33, 0x33, 0, 0, 0, 18, 2, 0, 0, 0, 0, 3, 0x86, 0xdd];
        frame.extend([0x60, 0, 0, 0, 0, 24, 112, 255]);
        frame.extend("fe80::3".parse::<std::net::Ipv6Addr>().unwrap().octets());
        frame.extend("ff02::12".parse::<std::net::Ipv6Addr>().unwrap().octets());
        frame.extend([0x31, 77, 255, 1, 0, 10, 0, 0]);
        let advert = parse(&frame).unwrap();
        assert_eq!((advert.from, advert.priority), ("fe80::3".parse().unwrap(), 255));
    }
}
