//! Notices when somebody flushes or changes our tables, and mends it: address off first, then the table, closed (G3).
//!
//! The kernel tells every change of its filter. Elements of sets are not looked at: their loss only closes,
//! and the next
//! renewal fills them again. Everything else about our tables is compared with their seals, also once a second, and
//! whenever the kernel says that it could not tell all.

use super::error::GateError;
use super::rules::TABLE;
use super::table::{Damage, damage, has_egress, in_order, load};
use crate::netlink::{Socket, attribute, messages, text};
use crate::stoppable::{Stop, Stoppable};
use crate::vip;
use regent_core::time::Span;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::netlink::NETFILTER;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// NFNLGRP_NFTABLES, as a mask.
const GROUP: u32 = 1 << (7 - 1);
const LOOK_EVERY: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
/// A table that has no seal yet may be under way from another process of ours, which takes some milliseconds.
const SEAL_WITHIN: Duration = Duration::from_millis(50);

/// What befell the gate from outside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GateEvent {
    /// Our tables were flushed or changed. The VIPs are off every interface already; the gate is being loaded
    /// closed.
    Broken {
        /// What was found.
        what: String,
    },
    /// The gate is whole again, and closed.
    Repaired {
        /// How long after the change was noticed.
        took: Span,
    },
    /// It could not be mended; it will be tried again in a second.
    Failed {
        /// Why.
        reason: String,
    },
}

/// A running watch; it ends when this is dropped.
pub struct Watch(#[expect(dead_code, reason = "held for what its drop does")] Stoppable);

/// Watches our tables from a thread of its own. `on` is called from there.
pub fn watch(
    vips: &[IpAddr],
    interface: &str,
    on: impl Fn(GateEvent) + Send + 'static,
) -> Result<Watch, GateError> {
    let doing = GateError::kernel("watch the gate");
    let vips = in_order(vips)?;
    let socket = Socket::open(NETFILTER, GROUP).map_err(&doing)?;
    let stop = Stop::new().map_err(&doing)?;
    let stopped = stop.theirs().map_err(|_| GateError::NotThere("no descriptor left"))?;
    let interface = interface.to_owned();
    stop.start("gate-watch", move || {
        Watcher { socket, stopped, vips, interface, index: None, on }.run();
    })
    .map(Watch)
    .map_err(|_| GateError::NotThere("no thread left"))
}

struct Watcher<F> {
    socket: Socket,
    stopped: OwnedFd,
    vips: Vec<IpAddr>,
    interface: String,
    /// The interface as it was last seen: one that was made anew has a new number.
    index: Option<u32>,
    on: F,
}

impl<F: Fn(GateEvent)> Watcher<F> {
    fn run(mut self) {
        loop {
            self.look();
            if self.wait() {
                return;
            }
        }
    }

    /// Waits for a change of our tables, or a second; true when the watch shall end.
    fn wait(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(1);
        while Instant::now() < deadline {
            let mut fds = [
                PollFd::new(&self.stopped, PollFlags::IN),
                PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN),
            ];
            if let Ok(0) = poll(&mut fds, Some(&LOOK_EVERY)) {
                return false;
            }
            if !fds[0].revents().is_empty() {
                return true;
            }
            match self.socket.receive(Instant::now()) {
                Ok(Some(datagram)) => {
                    if messages(datagram).any(|m| is_about_our_table(m.kind, m.payload)) {
                        return false;
                    }
                }
                Ok(None) | Err(Errno::INTR) => {}
                // The kernel could not tell all (ENOBUFS): look.
                Err(_) => return false,
            }
        }
        false
    }

    fn look(&mut self) {
        let started = Instant::now();
        let mut found = damage(&self.vips, &self.interface);
        while let Ok(Some(Damage::Unsealed(_))) = found
            && started.elapsed() < SEAL_WITHIN
        {
            std::thread::sleep(Duration::from_millis(5));
            found = damage(&self.vips, &self.interface);
        }
        let what = match found {
            Ok(None) if self.is_unguarded_anew() => return self.mend(started),
            Ok(None) => return,
            // No VIP can pass: nothing is taken away.
            Ok(Some(Damage::Aside)) => return self.mend(started),
            Ok(Some(Damage::Gone(family))) => format!("table {family} {TABLE} is gone"),
            Ok(Some(Damage::Changed(family))) => format!("table {family} {TABLE} was changed"),
            Ok(Some(Damage::Unsealed(family))) => {
                format!("table {family} {TABLE} is not the one that was loaded")
            }
            Err(error) => return (self.on)(GateEvent::Failed { reason: error.to_string() }),
        };
        let off: Vec<_> = self.vips.iter().map(|vip| vip::remove_everywhere(*vip)).collect();
        (self.on)(GateEvent::Broken { what });
        for error in off.into_iter().filter_map(Result::err) {
            (self.on)(GateEvent::Failed { reason: error.to_string() });
        }
        self.mend(started);
    }

    /// The interface came, or came back, and has no egress hook of ours. Said once, since the kernel may have none.
    fn is_unguarded_anew(&mut self) -> bool {
        let index = vip::interface_index(&self.interface).ok();
        let anew = index.is_some() && index != self.index;
        self.index = index;
        anew && matches!(has_egress(), Ok(false))
    }

    fn mend(&mut self, started: Instant) {
        match load(&self.vips, &self.interface) {
            Ok(_) => {
                let took = Span(started.elapsed().as_nanos() as u64);
                (self.on)(GateEvent::Repaired { took });
            }
            Err(error) => (self.on)(GateEvent::Failed { reason: error.to_string() }),
        }
    }
}

/// Changes of elements (12 and 14) are ours, ten a second; the end of a transaction (15) says nothing more.
fn is_about_our_table(kind: u16, payload: &[u8]) -> bool {
    let message = kind & 0xff;
    let about = payload.get(4..).and_then(|p| attribute(p, 1)).map(text);
    !matches!(message, 12 | 14 | 15) && about == Some(TABLE.as_bytes())
}
