//! Reports, and whether a silent peer's host lives. Reports do not go through the register.

use crate::command::{Action, Outcome, PortAnswer};
use crate::event::Severity;
use crate::id::NodeId;
use crate::node::Node;
use crate::node::output::Flight;
use crate::observe::Report;
use crate::reason::mac_text;
use crate::time::{Span, Time};
use alloc::format;
use alloc::string::{String, ToString};

/// Between two probes of a silent peer.
const PROBE_EVERY: Span = Span::millis(100);

/// What is known of a peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::node) struct Peer {
    pub report: Option<Report>,
    /// When the last report came; at the start of a run, when the run began.
    pub heard: Time,
    /// When it last said that it cannot serve.
    pub unable: Option<Time>,
    /// Since when it reports that the shared directory is lost there.
    pub lost: Option<Time>,
    probe_asked: Option<Time>,
    probe: Option<Probe>,
}

/// The newest look at a silent peer's host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Probe {
    /// When it was asked for.
    at: Time,
    /// The questions went out, and answers would have been heard.
    asked: bool,
    /// The host showed any life.
    alive: bool,
}

/// Somebody else answers for the VIP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::node) struct Stranger {
    mac: [u8; 6],
    seen: Time,
    told: Time,
}

/// A stranger is there until it has not been seen for this long.
const STRANGER_STAYS: Span = Span::millis(5_000);
/// It is told again this often.
const STRANGER_TOLD: Span = Span::millis(60_000);
/// A run that does not know its peers' link addresses yet takes nobody for a stranger for this long.
const STRANGER_NEWBORN: Span = Span::millis(3_000);

impl Peer {
    pub fn new(now: Time) -> Peer {
        Peer { report: None, heard: now, unable: None, lost: None, probe_asked: None, probe: None }
    }

    /// The newest report, unless it is older than this.
    pub fn fresh(&self, patience: Span, now: Time) -> Option<&Report> {
        self.report.as_ref().filter(|_| now.elapsed_most(self.heard) < patience)
    }
}

impl Node {
    pub(in crate::node) fn take_report(&mut self, report: Report, now: Time) {
        self.doubt_by_report(report.node);
        let Some(peer) = self.peers.get_mut(&report.node) else { return };
        let older = peer
            .report
            .as_ref()
            .is_some_and(|known| known.run == report.run && known.n >= report.n);
        if older {
            return;
        }
        peer.heard = now;
        peer.unable = report.unable.as_ref().map(|_| now).or(peer.unable);
        let lost = report.stack.as_ref().is_some_and(|stack| stack.lost.is_some());
        peer.lost = lost.then(|| peer.lost.unwrap_or(now));
        peer.probe = None;
        let served = peer.report.as_ref().is_some_and(|known| known.serving);
        let stopped = served && !report.serving;
        peer.report = Some(report);
        let serves = peer.report.as_ref().is_some_and(|report| report.serving);
        self.serving.hear(serves, stopped, now);
    }

    /// Asks segment and port about a peer that has been silent for two thirds of the suspicion.
    pub(in crate::node) fn suspect(&mut self, now: Time) {
        let after = Span(self.spec.pace.suspicion.0 / 3 * 2);
        let quiet: alloc::vec::Vec<NodeId> = self
            .peers
            .iter()
            .filter(|(_, peer)| {
                now.elapsed_most(peer.heard) >= after
                    && peer.probe_asked.is_none_or(|at| now.elapsed_most(at) >= PROBE_EVERY)
            })
            .map(|(node, _)| *node)
            .collect();
        for node in quiet {
            if self.in_flight(|f| *f == Flight::Probe(node)) {
                continue;
            }
            if let Some(peer) = self.peers.get_mut(&node) {
                peer.probe_asked = Some(now);
            }
            self.ask(Action::ProbePeer { node }, Some(Flight::Probe(node)));
        }
    }

    pub(in crate::node) fn take_probe(&mut self, node: NodeId, outcome: Outcome) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let Some(asked) = peer.probe_asked else { return };
        if let Outcome::Peer(life) = outcome {
            let alive = !life.links.is_empty() || life.port != PortAnswer::Silent;
            peer.probe = Some(Probe { at: asked, asked: life.asked, alive });
            self.take_look(node, &life, asked);
        }
    }

    /// When the newest look at this host was asked for that could be made, and whether the host answered.
    pub(in crate::node) fn looked_at(&self, node: NodeId) -> Option<(Time, bool)> {
        let probe = self.peers.get(&node)?.probe.filter(|probe| probe.asked)?;
        Some((probe.at, probe.alive))
    }

    /// Silent: no report on any path for `suspicion`, and a probe that began after the last report found neither an
    /// ARP answer nor a port. A reset says that the agent died and the host lives: then the ttl decides.
    pub(in crate::node) fn is_silent(&self, node: NodeId, now: Time) -> bool {
        let Some(peer) = self.peers.get(&node) else { return false };
        let recent = peer.probe.is_some_and(|probe| {
            !probe.alive
                && probe.at.raw >= peer.heard.raw
                && now.elapsed_most(probe.at) < PROBE_EVERY + PROBE_EVERY + PROBE_EVERY
        });
        recent && now.elapsed_most(peer.heard) >= self.spec.pace.suspicion
    }

    pub(in crate::node) fn take_stranger(&mut self, mac: [u8; 6], now: Time) {
        let link = |peer: &Peer| peer.report.as_ref().and_then(|report| report.link);
        let known = self.peers.values().any(|peer| link(peer) == Some(mac));
        let newborn = now.elapsed_most(self.born) < STRANGER_NEWBORN
            && self.peers.values().any(|peer| link(peer).is_none());
        if known || newborn || self.identity.link == Some(mac) {
            return;
        }
        let old = self.stranger.filter(|stranger| stranger.mac == mac);
        let told = old.map(|stranger| stranger.told);
        let told = match told.filter(|at| now.elapsed_most(*at) < STRANGER_TOLD) {
            Some(at) => at,
            None => {
                let mac = mac_text(mac);
                let text = format!(
                    "a stranger answers for the VIP: {mac}; remove the duplicate address [section 9, row 8]"
                );
                self.tell("vip.stranger", Severity::Alarm, text);
                now
            }
        };
        self.stranger = Some(Stranger { mac, seen: now, told });
        if self.vip.is_open(now) && self.rules(now) {
            self.vip.announce(&mut self.out);
        }
    }

    /// The link address of whoever else answers for the VIP now.
    pub(in crate::node) fn stranger(&self, now: Time) -> Option<[u8; 6]> {
        let there = |stranger: &Stranger| now.elapsed_most(stranger.seen) < STRANGER_STAYS;
        self.stranger.filter(there).map(|stranger| stranger.mac)
    }

    /// The planted mistake: whoever else answered for the VIP is remembered for ever.
    #[cfg(feature = "planted")]
    pub(in crate::node) fn stranger_ever(&self) -> Option<[u8; 6]> {
        let kept = self.planted(crate::planted::Planted::ConcernKept);
        self.stranger.filter(|_| kept).map(|stranger| stranger.mac)
    }

    /// It was there, and is not any more.
    pub(in crate::node) fn notice_stranger_gone(&mut self, now: Time) {
        #[cfg(feature = "planted")]
        if self.planted(crate::planted::Planted::ConcernKept) {
            return;
        }
        if self.stranger.is_some() && self.stranger(now).is_none() {
            self.stranger = None;
            let text = "nobody else answers for the VIP any more".into();
            self.tell("vip.stranger-gone", Severity::Info, text);
        }
    }

    /// Does this node answer for the VIP?
    pub(in crate::node) fn is_serving(&self, now: Time) -> bool {
        self.is_held_open(now) && self.vip.is_open(now) && self.has_address(now)
    }

    /// The gate was enabled and not closed since, under a right that runs, before a database that takes writes.
    pub(in crate::node) fn is_held_open(&self, now: Time) -> bool {
        self.vip.is_held() && !self.vip.is_closing() && self.is_writable() && self.rules(now)
    }

    /// The VIP is on this host, where it is to be at all.
    fn has_address(&self, now: Time) -> bool {
        self.vip.is_on(now) || !self.workload_wants_vip()
    }

    /// Why this node could not serve now, if so.
    pub(in crate::node) fn unable(&self, now: Time) -> Option<String> {
        if let Some(mute) = self.mute {
            return Some(mute.to_string());
        }
        // On the way to a successor of its own choice: a succession now would only make that one wait.
        if self.moving.as_ref().is_some_and(|moving| moving.is_in_time(now)) {
            return None;
        }
        if self.is_stopped() || (self.holds() && self.is_in_maintenance(self.me(), now)) {
            // What is worked on here is no reason to take the lease away.
            return None;
        }
        if let Some(mac) = self.stranger(now).filter(|_| !self.serving.is_opened()) {
            return Some(format!("a stranger answers for the VIP: {}", mac_text(mac)));
        }
        if let Some(why) = self.vip.refusal(now) {
            return Some(why);
        }
        if self.wants_address() && self.vip.hangs(now).is_some() {
            return Some("the step that puts the VIP on does not end".into());
        }
        if let Some(why) = self.cut_off() {
            return Some(why.to_string());
        }
        self.workload_unable(now)
    }
}
