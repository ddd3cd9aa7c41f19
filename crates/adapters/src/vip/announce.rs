//! Announcements: gratuitous ARP, unsolicited neighbour advertisements. Sent by packet socket, which passes
//! the gate's hooks;
//! so each is sent only while the gate is open, and the egress hook drops what a stalled agent sends too late (G2).

use super::address::Vip;
use super::error::VipError;
use super::frame::announcements;
use super::link::{self, Packets};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// When, counted from the opening (G2).
const TIMES: [Duration; 3] =
    [Duration::ZERO, Duration::from_millis(100), Duration::from_millis(1000)];

pub(super) fn announce(
    vips: &[Vip],
    announced: &Arc<AtomicU64>,
    egress: bool,
    mut open: impl FnMut() -> bool + Send + 'static,
) -> Result<(), VipError> {
    let started = Instant::now();
    let mut frames = Vec::new();
    for vip in vips {
        let packets = Packets::claims(&vip.interface, vip.address)?;
        frames.push((packets, announcements(vip.address, link::mac(&vip.interface)?)));
    }
    let announced = Arc::clone(announced);
    let mine = announced.fetch_add(1, Ordering::SeqCst) + 1;
    // The first ones go out before this returns: clients wait for them.
    if !open() {
        return Ok(());
    }
    // One that cannot be sent keeps no other back, nor its own repetition.
    let sent: Vec<_> = each(&frames).map(|(packets, frame)| packets.send(frame)).collect();
    let sent = sent.into_iter().collect::<Result<(), VipError>>();
    if !egress {
        return sent;
    }
    let repeat = move || {
        for time in TIMES.iter().skip(1) {
            std::thread::sleep((started + *time).saturating_duration_since(Instant::now()));
            if announced.load(Ordering::SeqCst) != mine || !open() {
                return;
            }
            for (packets, frame) in each(&frames) {
                // The interface may go down meanwhile; the next opening announces anew.
                let _ = packets.send(frame);
            }
        }
    };
    std::thread::Builder::new()
        .name("announce".into())
        .spawn(repeat)
        .map_err(VipError::socket("start a thread"))?;
    sent
}

fn each(frames: &[(Packets, Vec<Vec<u8>>)]) -> impl Iterator<Item = (&Packets, &[u8])> {
    frames.iter().flat_map(|(packets, of_it)| of_it.iter().map(move |f| (packets, f.as_slice())))
}
