//! Watches the segment, always, for somebody else who answers for a VIP: a takeover then need not wait to ask.
//!
//! It listens, and once a second it asks for each VIP, on active and standby nodes alike: a stranger that keeps
//! silent is found as well, and one that stays is told of again. A member that answers is no stranger: the lease
//! decides between members. Their hardware addresses come from their reports ([`Known`]); a member that has not
//! reported yet is asked for its own address before anybody is called a stranger.

use super::address::{Vip, places};
use super::error::VipError;
use super::frame::{Mac, question4, question6};
use super::link::{self, Packets};
use super::probe::{ask, question, who_has};
use crate::icmp::echo;
use crate::stoppable::{Stop, Stoppable};
use regent_core::id::NodeId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One small frame for each VIP and node.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// The same stranger is reported once in this time: less than [`ASK_EVERY`], so that each answer is.
const AGAIN_AFTER: Duration = Duration::from_millis(700);
/// Who may be a stranger is asked about this quickly.
const MEMBER_ANSWERS_WITHIN: Duration = Duration::from_millis(70);
/// So long after the start a member may not have reported yet; reports come every few hundred milliseconds.
const MEMBERS_REPORT_WITHIN: Duration = Duration::from_secs(2);
/// More strangers than this at a time are not told apart.
const STRANGERS_MAX: usize = 64;
/// How long [`is_used`] waits, and between its questions.
const USED_WITHIN: Duration = Duration::from_millis(240);
const USED_BETWEEN: Duration = Duration::from_millis(60);
/// How long an echo is waited for, which may come from behind routers.
const ECHO_WITHIN: Duration = Duration::from_millis(500);

/// Somebody who answers for a VIP and is neither this host nor a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stranger {
    /// For which.
    pub vip: IpAddr,
    /// Where it is.
    pub mac: Mac,
}

/// The hardware addresses of the members' VIP interfaces, as they report them; clones share it.
#[derive(Clone, Default, Debug)]
pub struct Known(Arc<Mutex<BTreeMap<NodeId, Mac>>>);

impl Known {
    /// This member reported this one; what it reported before is forgotten.
    pub fn tell(&self, member: NodeId, mac: Mac) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(member, mac);
    }

    fn has(&self, mac: Mac) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().any(|one| *one == mac)
    }

    fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

/// Asks the segment, for at most 300 ms, whether somebody else answers for this address (RFC 5227 2.1.1, RFC 4862
/// 5.4.2): neither this host, on whatever interface, nor who is known. To be asked before there is a cluster; later
/// a member may answer that has not reported yet, and the [`watch`] has the answer at hand.
pub fn is_used(interface: &str, vip: IpAddr, known: &Known) -> Result<Option<Mac>, VipError> {
    let deadline = Instant::now() + USED_WITHIN;
    let (mac, own) = (link::mac(interface)?, link::own_macs()?);
    let packets = Packets::claims(interface, vip)?;
    let frame = match vip {
        IpAddr::V4(v4) => question4(v4, mac),
        IpAddr::V6(v6) => question6(v6, None, mac),
    };
    let counts = |from: Mac| !own.contains(&from) && !known.has(from);
    Ok(ask(&packets, &frame, vip, USED_BETWEEN, deadline, counts))
}

/// Asks whether anybody but this host answers for this address, a member or not: the segment as [`is_used`] does, and
/// at the same time by an echo, for a host that is reached through a router. In words, who.
pub fn is_answered(interface: &str, vip: IpAddr) -> Result<Option<String>, VipError> {
    // An echo to an address of this host's own comes back from itself.
    let ours = !places(vip)?.is_empty();
    std::thread::scope(|scope| {
        let echo = (!ours).then(|| scope.spawn(|| echo(vip, Instant::now() + ECHO_WITHIN)));
        let claimed = is_used(interface, vip, &Known::default())?;
        if let Some(mac) = claimed {
            return Ok(Some(format!("{mac} answers for {vip} by ARP")));
        }
        // A panic in there, or a socket that cannot be had, has no answer to give.
        let echoed = echo.is_some_and(|echo| matches!(echo.join(), Ok(Ok(true))));
        Ok(echoed.then(|| format!("{vip} answers an echo (ping)")))
    })
}

/// A running watch; it ends when this is dropped.
pub struct StrangerWatch(#[expect(dead_code, reason = "held for what its drop does")] Stoppable);

/// Calls `on` from a thread of its own with each [`Stranger`], every second for as long as it answers. `members`: the
/// members' own addresses. An interface that is not there, or comes anew, is tried again every second.
pub fn watch(
    vips: &[Vip],
    members: Vec<IpAddr>,
    known: Known,
    on: impl Fn(Stranger) + Send + 'static,
) -> Result<StrangerWatch, VipError> {
    let doing = VipError::socket("watch for strangers");
    let stop = Stop::new().map_err(VipError::kernel("watch for strangers"))?;
    let stopped = stop.theirs().map_err(&doing)?;
    let listeners = vips.iter().map(|vip| Listener::new(vip.clone())).collect();
    let watcher = Watcher {
        members,
        known,
        started: Instant::now(),
        asked: BTreeMap::new(),
        reported: BTreeMap::new(),
        on,
    };
    stop.start("stranger-watch", move || watcher.run(listeners, &stopped))
        .map(StrangerWatch)
        .map_err(&doing)
}

/// Hears who claims one VIP, on its interface as it is at the moment.
struct Listener {
    vip: Vip,
    open: Option<(u32, Packets)>,
}

impl Listener {
    fn new(vip: Vip) -> Listener {
        let mut listener = Listener { vip, open: None };
        listener.follow();
        listener
    }

    /// An interface that was made anew has a new number, and the old listener hears nothing.
    fn follow(&mut self) {
        let interface = self.vip.interface();
        let index = link::index_of(interface).ok();
        if self.open.as_ref().map(|(index, _)| *index) != index {
            let packets = Packets::claims(interface, self.vip.address());
            self.open = index.zip(packets.ok());
        }
    }

    fn ask(&self) {
        let (Some((_, packets)), Ok(mac)) = (&self.open, link::mac(self.vip.interface())) else {
            return;
        };
        if let Ok(frame) = question(self.vip.interface(), self.vip.address(), mac) {
            // It is asked again in a second.
            let _ = packets.send(&frame);
        }
    }
}

struct Watcher<F> {
    members: Vec<IpAddr>,
    known: Known,
    started: Instant,
    /// Members as they last answered for their own addresses.
    asked: BTreeMap<IpAddr, Mac>,
    reported: BTreeMap<(IpAddr, Mac), Instant>,
    on: F,
}

impl<F: Fn(Stranger)> Watcher<F> {
    fn run(mut self, mut listeners: Vec<Listener>, stopped: &OwnedFd) {
        let mut next = Instant::now();
        loop {
            if next <= Instant::now() {
                next = Instant::now() + ASK_EVERY;
                listeners.iter_mut().for_each(Listener::follow);
                listeners.iter().for_each(Listener::ask);
            }
            if !wait(&listeners, stopped, next) {
                return;
            }
            for listener in &listeners {
                let Some((_, packets)) = &listener.open else { continue };
                // At most one of each, so that none is kept waiting by another.
                if let Some(mac) = packets.next_claim(listener.vip.address(), Instant::now()) {
                    self.judge(&listener.vip, mac);
                }
            }
        }
    }

    fn judge(&mut self, vip: &Vip, mac: Mac) {
        let claim = (vip.address(), mac);
        self.reported.retain(|_, at| at.elapsed() < AGAIN_AFTER);
        if self.known.has(mac) || self.reported.contains_key(&claim) {
            return;
        }
        // Interfaces may come and change their own address; so they are asked each time.
        let is_own = link::own_macs().is_ok_and(|own| own.contains(&mac));
        if is_own || self.is_member(vip, mac) || self.may_be_member() {
            return;
        }
        if self.reported.len() < STRANGERS_MAX {
            self.reported.insert(claim, Instant::now());
            (self.on)(Stranger { vip: vip.address(), mac });
        }
    }

    /// Members may have their own addresses on another network, and nobody has reported yet.
    fn may_be_member(&self) -> bool {
        let early = self.started.elapsed() < MEMBERS_REPORT_WITHIN;
        early && !self.members.is_empty() && self.known.is_empty()
    }

    fn is_member(&mut self, vip: &Vip, mac: Mac) -> bool {
        if self.asked.values().any(|member| *member == mac) {
            return true;
        }
        let deadline = Instant::now() + MEMBER_ANSWERS_WITHIN;
        let answers: Vec<_> = std::thread::scope(|scope| {
            let ask = |member: IpAddr| {
                scope.spawn(move || (member, who_has(vip.interface(), member, deadline)))
            };
            let asked: Vec<_> = self.members.iter().map(|member| ask(*member)).collect();
            asked.into_iter().filter_map(|thread| thread.join().ok()).collect()
        });
        for (member, answer) in answers {
            if let Some(answer) = answer {
                self.asked.insert(member, answer);
            }
        }
        self.asked.values().any(|member| *member == mac)
    }
}

/// Waits for a claim or the time to ask; false when the watch shall end.
fn wait(listeners: &[Listener], stopped: &OwnedFd, next: Instant) -> bool {
    let left = next.saturating_duration_since(Instant::now());
    let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
    let mut fds = vec![PollFd::new(stopped, PollFlags::IN)];
    let packets = listeners.iter().filter_map(|listener| listener.open.as_ref());
    fds.extend(packets.map(|(_, p)| PollFd::from_borrowed_fd(p.as_fd(), PollFlags::IN)));
    // An interrupted wait is begun again.
    let _ = poll(&mut fds, Some(&left));
    if !fds[0].revents().is_empty() {
        return false;
    }
    // What has an error (its interface is down or gone) is readable at once, over and over.
    if fds[1..].iter().any(|fd| fd.revents().contains(PollFlags::ERR)) {
        std::thread::sleep(Duration::from_millis(100));
    }
    true
}
