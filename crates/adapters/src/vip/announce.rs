//! Announcements: gratuitous ARP, unsolicited neighbour advertisements. Sent by packet socket, which passes
//! the gate's hooks;
//! so each is sent only while the gate is open, and the egress hook drops what a stalled agent sends too late (G2).

use super::frame::announcements;
use super::link::{Packets, link_mac};
use super::{Vip, VipError};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// When, counted from the opening (G2).
const TIMES: [Duration; 3] =
    [Duration::ZERO, Duration::from_millis(100), Duration::from_millis(1000)];

pub(super) fn announce(
    vip: &Vip,
    egress: bool,
    mut open: impl FnMut() -> bool + Send + 'static,
) -> Result<(), VipError> {
    let started = Instant::now();
    let packets = match vip.address {
        IpAddr::V4(_) => Packets::arp(&vip.interface)?,
        IpAddr::V6(v6) => Packets::advertisements(&vip.interface, v6)?,
    };
    let frames = announcements(vip.address, link_mac(&vip.interface)?);
    let announced = Arc::clone(&vip.announced);
    let mine = announced.fetch_add(1, Ordering::SeqCst) + 1;
    // The first one goes out before this returns: clients wait for it.
    if !open() {
        return Ok(());
    }
    for frame in &frames {
        packets.send(frame)?;
    }
    if !egress {
        return Ok(());
    }
    let repeat = move || {
        for time in TIMES.iter().skip(1) {
            std::thread::sleep((started + *time).saturating_duration_since(Instant::now()));
            if announced.load(Ordering::SeqCst) != mine || !open() {
                return;
            }
            for frame in &frames {
                // The interface may go down meanwhile; the next opening announces anew.
                let _ = packets.send(frame);
            }
        }
    };
    std::thread::Builder::new()
        .name("announce".into())
        .spawn(repeat)
        .map_err(VipError::socket("start a thread"))?;
    Ok(())
}
