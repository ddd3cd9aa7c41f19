//! ARP and neighbour discovery as bytes: what is sent, and what is read out of what others send.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(super) const ARP: u16 = 0x0806;
pub(super) const IPV6: u16 = 0x86dd;
const REQUEST: u16 = 1;
const REPLY: u16 = 2;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// Options of neighbour discovery: the link-layer address of the sender, and of the target.
const SOURCE: u8 = 1;
const TARGET: u8 = 2;

/// A hardware address of Ethernet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Mac(pub [u8; 6]);

const BROADCAST: Mac = Mac([0xff; 6]);
const NOBODY: Mac = Mac([0; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// The frames that say: this address is here. ARP as request and as reply, since hosts differ in which they believe.
pub(super) fn announcements(vip: IpAddr, mac: Mac) -> Vec<Vec<u8>> {
    match vip {
        IpAddr::V4(vip) => vec![
            arp(BROADCAST, mac, REQUEST, (mac, vip), (NOBODY, vip)),
            arp(BROADCAST, mac, REPLY, (mac, vip), (BROADCAST, vip)),
        ],
        IpAddr::V6(vip) => vec![advertisement(vip, mac)],
    }
}

/// The frame that asks whose this IPv4 address is, in nobody's name (RFC 5227 2.1.1): it claims nothing and
/// changes no entry.
pub(super) fn question4(whom: Ipv4Addr, mac: Mac) -> Vec<u8> {
    arp(BROADCAST, mac, REQUEST, (mac, Ipv4Addr::UNSPECIFIED), (NOBODY, whom))
}

/// The same for IPv6: in our own name, answered to us alone (RFC 4861 7.2.2), or in nobody's, answered to all
/// (RFC 4862 5.4.2).
pub(super) fn question6(whom: Ipv6Addr, own: Option<Ipv6Addr>, mac: Mac) -> Vec<u8> {
    let [.., a, b, c] = whom.octets();
    let low = u16::from_be_bytes([b, c]);
    let to = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), low);
    let from = own.unwrap_or(Ipv6Addr::UNSPECIFIED);
    // Who has no name must not say where it is.
    neighbour(SOLICITATION, 0, (mac, from), to, whom, own.map(|_| SOURCE))
}

/// Who claims which address in this frame: the sender of any ARP, the target of an advertisement.
pub(super) fn claim(frame: &[u8]) -> Option<(IpAddr, Mac)> {
    match u16::from_be_bytes([*frame.get(12)?, *frame.get(13)?]) {
        ARP => {
            let arp = frame.get(14..42)?;
            let ethernet_and_ipv4 = arp[..6] == [0, 1, 8, 0, 6, 4];
            let address = Ipv4Addr::from(<[u8; 4]>::try_from(&arp[14..18]).ok()?);
            let mac = Mac(arp[8..14].try_into().ok()?);
            // A probe (RFC 5227) has no sender address and claims nothing.
            (ethernet_and_ipv4 && !address.is_unspecified()).then_some((address.into(), mac))
        }
        IPV6 => {
            let icmp = frame.get(54..)?;
            if frame[20] != 58 || *icmp.first()? != ADVERTISEMENT {
                return None;
            }
            let target = <[u8; 16]>::try_from(icmp.get(8..24)?).ok()?;
            let sender = Mac(frame[6..12].try_into().ok()?);
            Some((Ipv6Addr::from(target).into(), link_layer_option(icmp).unwrap_or(sender)))
        }
        _ => None,
    }
}

fn link_layer_option(icmp: &[u8]) -> Option<Mac> {
    let mut options = icmp.get(24..)?;
    loop {
        let (kind, length) = (*options.first()?, usize::from(*options.get(1)?) * 8);
        if length == 0 {
            return None;
        }
        if kind == TARGET {
            return Some(Mac(options.get(2..8)?.try_into().ok()?));
        }
        options = options.get(length..)?;
    }
}

fn ethernet(to: Mac, from: Mac, ethertype: u16) -> Vec<u8> {
    let mut frame = Vec::with_capacity(86);
    frame.extend_from_slice(&to.0);
    frame.extend_from_slice(&from.0);
    frame.extend_from_slice(&ethertype.to_be_bytes());
    frame
}

fn arp(
    to: Mac,
    from: Mac,
    operation: u16,
    sender: (Mac, Ipv4Addr),
    target: (Mac, Ipv4Addr),
) -> Vec<u8> {
    let mut frame = ethernet(to, from, ARP);
    frame.extend_from_slice(&[0, 1, 8, 0, 6, 4]);
    frame.extend_from_slice(&operation.to_be_bytes());
    for (mac, address) in [sender, target] {
        frame.extend_from_slice(&mac.0);
        frame.extend_from_slice(&address.octets());
    }
    // The shortest frame of Ethernet, less its checksum.
    frame.resize(60, 0);
    frame
}

/// Unsolicited, overriding, to all nodes (RFC 4861 7.2.6).
fn advertisement(vip: Ipv6Addr, mac: Mac) -> Vec<u8> {
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    neighbour(ADVERTISEMENT, 0x20, (mac, vip), all_nodes, vip, Some(TARGET))
}

fn neighbour(
    kind: u8,
    flags: u8,
    (mac, from): (Mac, Ipv6Addr),
    to: Ipv6Addr,
    target: Ipv6Addr,
    option: Option<u8>,
) -> Vec<u8> {
    let mut icmp = vec![kind, 0, 0, 0, flags, 0, 0, 0];
    icmp.extend_from_slice(&target.octets());
    if let Some(option) = option {
        icmp.extend_from_slice(&[option, 1]);
        icmp.extend_from_slice(&mac.0);
    }
    let checksum = checksum(from, to, &icmp);
    icmp[2..4].copy_from_slice(&checksum.to_be_bytes());

    let [.., a, b, c, d] = to.octets();
    let mut frame = ethernet(Mac([0x33, 0x33, a, b, c, d]), mac, IPV6);
    frame.extend_from_slice(&[0x60, 0, 0, 0]);
    frame.extend_from_slice(&(icmp.len() as u16).to_be_bytes());
    frame.extend_from_slice(&[58, 255]);
    frame.extend_from_slice(&from.octets());
    frame.extend_from_slice(&to.octets());
    frame.extend_from_slice(&icmp);
    frame
}

/// Of ICMPv6 with its pseudo header (RFC 4443 2.3).
fn checksum(from: Ipv6Addr, to: Ipv6Addr, icmp: &[u8]) -> u16 {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&from.octets());
    bytes.extend_from_slice(&to.octets());
    bytes.extend_from_slice(&(icmp.len() as u32).to_be_bytes());
    bytes.extend_from_slice(&[0, 0, 0, 58]);
    bytes.extend_from_slice(icmp);
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINE: Mac = Mac([2, 0, 0, 0, 0, 7]);

    #[test]
    fn an_announcement_claims_the_address() {
        for vip in ["10.77.0.100", "fd00::64"] {
            let vip: IpAddr = vip.parse().unwrap();
            for frame in announcements(vip, MINE) {
                assert_eq!(claim(&frame), Some((vip, MINE)));
            }
        }
    }

    #[test]
    fn a_question_claims_nothing() {
        assert_eq!(claim(&question4("10.77.0.12".parse().unwrap(), MINE)), None);
        for own in [None, Some("fd00::1".parse().unwrap())] {
            assert_eq!(claim(&question6("fd00::2".parse().unwrap(), own, MINE)), None);
        }
    }

    /// RFC 4861 7.2.6: overriding, not solicited, to all nodes, from the address that it is about. RFC 4862 5.4.2: a
    /// probe has no sender, says no link-layer address, and goes to the solicited-node group.
    #[test]
    fn neighbour_discovery_is_as_the_rfcs_have_it() {
        let vip: Ipv6Addr = "fd00::12:3456".parse().unwrap();
        let told = advertisement(vip, MINE);
        assert_eq!(told[..14], [&[0x33, 0x33, 0, 0, 0, 1][..], &MINE.0, &[0x86, 0xdd]].concat());
        assert_eq!(told[22..38], vip.octets());
        assert_eq!(told[38..54], "ff02::1".parse::<Ipv6Addr>().unwrap().octets());
        assert_eq!((told[54], told[58]), (136, 0x20));
        assert_eq!(told[62..], [&vip.octets()[..], &[2, 1], &MINE.0].concat());

        let probe = question6(vip, None, MINE);
        assert_eq!(probe[..6], [0x33, 0x33, 0xff, 0x12, 0x34, 0x56]);
        assert_eq!(probe[22..38], [0; 16]);
        assert_eq!(probe[38..54], "ff02::1:ff12:3456".parse::<Ipv6Addr>().unwrap().octets());
        assert_eq!((probe[54], probe.len()), (135, 54 + 24));
        assert_eq!(probe[62..], vip.octets());
    }

    #[test]
    fn short_and_foreign_frames_claim_nothing() {
        let frame = announcements("fd00::64".parse().unwrap(), MINE).remove(0);
        for length in 0..78 {
            assert_eq!(claim(&frame[..length]), None, "{length}");
        }
        let frame = announcements("10.77.0.100".parse().unwrap(), MINE).remove(0);
        for length in 0..42 {
            assert_eq!(claim(&frame[..length]), None, "{length}");
        }
    }

    #[test]
    fn a_packet_summed_with_its_checksum_is_zero() {
        let frame = announcements("fd00::64".parse().unwrap(), MINE).remove(0);
        let from = Ipv6Addr::from(<[u8; 16]>::try_from(&frame[22..38]).unwrap());
        let to = Ipv6Addr::from(<[u8; 16]>::try_from(&frame[38..54]).unwrap());
        assert_eq!(checksum(from, to, &frame[54..]), 0);
    }
}
