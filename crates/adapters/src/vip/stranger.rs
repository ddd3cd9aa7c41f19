//! Watches the segment, always, for somebody else who claims the VIP: a takeover then need not wait to ask.
//!
//! A member that claims it is no stranger: the lease decides between members. Their hardware addresses are
//! learned from what
//! they say about their own addresses, and asked for before anybody is called a stranger.

use super::frame::{Mac, claim};
use super::link::{Packets, link_mac};
use super::probe::who_has;
use super::{Vip, VipError};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The same stranger is reported once in this time.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Who may be a stranger is asked about this quickly.
const MEMBER_ANSWERS_WITHIN: Duration = Duration::from_millis(70);
/// More strangers than this at a time are not told apart.
const STRANGERS_MAX: usize = 64;

/// A running watch; it ends when this is dropped.
pub struct StrangerWatch {
    stop: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl Drop for StrangerWatch {
    fn drop(&mut self) {
        // An eventfd that was written once stays readable; a second write that would block changes nothing.
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Calls `on` from a thread of its own with each hardware address that claims the VIP and is neither ours nor
/// one of a
/// member's. `members`: the members' own addresses.
pub fn watch(
    vip: &Vip,
    members: Vec<IpAddr>,
    on: impl Fn(Mac) + Send + 'static,
) -> Result<StrangerWatch, VipError> {
    let doing = VipError::socket("watch for strangers");
    let packets = match vip.address {
        IpAddr::V4(_) => Packets::arp(&vip.interface)?,
        IpAddr::V6(v6) => Packets::advertisements(&vip.interface, v6)?,
    };
    let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
    let stop = eventfd(0, flags).map_err(VipError::kernel("watch for strangers"))?;
    let stopped = stop.try_clone().map_err(&doing)?;
    let watcher = Watcher {
        vip: vip.clone(),
        members,
        packets,
        known: BTreeMap::new(),
        reported: BTreeMap::new(),
        on,
    };
    let thread = std::thread::Builder::new()
        .name("stranger-watch".into())
        .spawn(move || watcher.run(&stopped))
        .map_err(&doing)?;
    Ok(StrangerWatch { stop, thread: Some(thread) })
}

struct Watcher<F> {
    vip: Vip,
    members: Vec<IpAddr>,
    packets: Packets,
    /// Members' addresses as they were last heard of.
    known: BTreeMap<IpAddr, Mac>,
    reported: BTreeMap<Mac, Instant>,
    on: F,
}

impl<F: Fn(Mac)> Watcher<F> {
    fn run(mut self, stopped: &OwnedFd) {
        let mut buffer = [0; 128];
        loop {
            let mut fds = [
                PollFd::new(stopped, PollFlags::IN),
                PollFd::from_borrowed_fd(self.packets.as_fd(), PollFlags::IN),
            ];
            // An interrupted wait is begun again.
            let _ = poll(&mut fds, None);
            if !fds[0].revents().is_empty() {
                return;
            }
            let Some(frame) = self.packets.receive(&mut buffer, Instant::now()) else { continue };
            let Some((address, mac)) = claim(frame) else { continue };
            if self.members.contains(&address) {
                self.known.insert(address, mac);
            }
            if address == self.vip.address {
                self.judge(mac);
            }
        }
    }

    fn judge(&mut self, mac: Mac) {
        // The interface may change its own address; so it is asked each time.
        if link_mac(&self.vip.interface).is_ok_and(|own| own == mac) || self.is_member(mac) {
            return;
        }
        let now = Instant::now();
        self.reported.retain(|_, at| now.duration_since(*at) < AGAIN_AFTER);
        if self.reported.len() < STRANGERS_MAX && !self.reported.contains_key(&mac) {
            self.reported.insert(mac, now);
            (self.on)(mac);
        }
    }

    fn is_member(&mut self, mac: Mac) -> bool {
        if self.known.values().any(|known| *known == mac) {
            return true;
        }
        // Reported a moment ago: asking again for each of its frames would answer nothing new.
        if self.reported.get(&mac).is_some_and(|at| at.elapsed() < AGAIN_AFTER) {
            return false;
        }
        let deadline = Instant::now() + MEMBER_ANSWERS_WITHIN;
        let interface = &self.vip.interface;
        let answers: Vec<_> = std::thread::scope(|scope| {
            let ask = |member: IpAddr| {
                scope.spawn(move || (member, who_has(interface, member, deadline)))
            };
            let asked: Vec<_> = self.members.iter().map(|member| ask(*member)).collect();
            asked.into_iter().filter_map(|thread| thread.join().ok()).collect()
        });
        for (member, answer) in answers {
            if let Some(answer) = answer {
                self.known.insert(member, answer);
            }
        }
        self.known.values().any(|known| *known == mac)
    }
}
