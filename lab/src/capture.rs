//! Listens on the bridge, in a process of its own inside the bridge's namespace, to every frame
//! whose sender is the VIP: ARP with the VIP as sender, announcements included, and IPv4 with the
//! VIP as source. Speakers are told apart by hardware address.
//!
//! What one speaker says without another between is told as a stretch: its first and its last
//! frame. A change of speaker ends a stretch at once, so no interleaving is lost by it.
//!
//! A frame is heard where a host's port brings it in, and nowhere else: what an impaired network
//! delivers late was said earlier.

use std::io::{ErrorKind, Read};
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use crate::impair::DEVICES_FROM;
use crate::record::{Seen, emit};
use crate::run::now_us;

const ETH_P_ALL: u16 = 3;
/// A stretch is told at the latest after this long.
const STRETCH_US: u64 = 20_000;
/// Holds some seconds of traffic, should this process not get to run.
const BUFFER: usize = 16 << 20;
/// The kernel's program language for filters (linux/filter.h): load an ancillary word, compare, end.
const LOAD: u16 = 0x20;
const EQUAL: u16 = 0x15;
const AT_LEAST: u16 = 0x35;
const END: u16 = 0x06;
const PACKET_TYPE: u32 = 0xffff_f004;
const DEVICE: u32 = 0xffff_f008;
const OUTGOING: u32 = 4;

/// Runs until it is killed or its standard output is gone.
pub fn main(vip: Ipv4Addr) -> Result<()> {
    let protocol = Protocol::from(i32::from(ETH_P_ALL.to_be()));
    let mut socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol))
        .context("cannot listen on the bridge")?;
    socket.attach_filter(&[
        SockFilter::new(LOAD, 0, 0, PACKET_TYPE),
        SockFilter::new(EQUAL, 3, 0, OUTGOING),
        SockFilter::new(LOAD, 0, 0, DEVICE),
        SockFilter::new(AT_LEAST, 1, 0, DEVICES_FROM),
        SockFilter::new(END, 0, 0, u32::MAX),
        SockFilter::new(END, 0, 0, 0),
    ])?;
    socket.set_recv_buffer_size(BUFFER)?;
    socket.set_read_timeout(Some(Duration::from_micros(STRETCH_US)))?;
    emit(&Seen::Listening { at: now_us() });
    let mut frame = [0; 256];
    let mut stretch: Option<Stretch> = None;
    loop {
        let length = match socket.read(&mut frame) {
            Ok(length) => length,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => 0,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).context("listening on the bridge"),
        };
        let at = now_us();
        let speaker = speaker_of(&frame[..length], vip);
        if let Some(open) = &mut stretch
            && (at - open.first > STRETCH_US || speaker.is_some_and(|mac| mac != open.mac))
        {
            open.tell();
            stretch = None;
        }
        if let Some(mac) = speaker {
            match &mut stretch {
                Some(open) => (open.last, open.count) = (at, open.count + 1),
                None => stretch = Some(Stretch { mac, first: at, last: at, count: 1 }),
            }
        }
    }
}

struct Stretch {
    mac: [u8; 6],
    first: u64,
    last: u64,
    count: u64,
}

impl Stretch {
    fn tell(&self) {
        let mac = self.mac.map(|byte| format!("{byte:02x}")).join(":");
        emit(&Seen::Frames { mac, first: self.first, last: self.last, count: self.count });
    }
}

/// The hardware address of the sender, if the frame's sender is the VIP.
fn speaker_of(frame: &[u8], vip: Ipv4Addr) -> Option<[u8; 6]> {
    let sender = match frame.get(12..14)? {
        [0x08, 0x06] => frame.get(28..32)?,
        [0x08, 0x00] => frame.get(26..30)?,
        _ => return None,
    };
    if sender != vip.octets() {
        return None;
    }
    frame.get(6..12)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);
    const MAC: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];

    fn frame(kind: [u8; 2], sender_at: usize, sender: Ipv4Addr) -> Vec<u8> {
        let mut frame = vec![0; 60];
        frame[6..12].copy_from_slice(&MAC);
        frame[12..14].copy_from_slice(&kind);
        frame[sender_at..sender_at + 4].copy_from_slice(&sender.octets());
        frame
    }

    #[test]
    fn a_packet_from_the_vip_and_an_arp_of_the_vip_have_a_speaker() {
        assert_eq!(speaker_of(&frame([8, 0], 26, VIP), VIP), Some(MAC));
        assert_eq!(speaker_of(&frame([8, 6], 28, VIP), VIP), Some(MAC));
    }

    #[test]
    fn a_packet_to_the_vip_a_question_for_it_and_a_stub_have_none() {
        assert_eq!(speaker_of(&frame([8, 0], 30, VIP), VIP), None);
        assert_eq!(speaker_of(&frame([8, 6], 38, VIP), VIP), None);
        assert_eq!(speaker_of(&frame([0x86, 0xdd], 26, VIP), VIP), None);
        assert_eq!(speaker_of(&[1, 2, 3], VIP), None);
    }
}
