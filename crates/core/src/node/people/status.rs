//! Why this node is where it is: the same knowledge that decides, put into words.

use crate::health::{Health, ProbeId};
use crate::id::{NodeId, Version};
use crate::node::Node;
use crate::node::workload::replicated::database::held;
use crate::observe::{
    Ailment, CONCERNS_MAX, Comparison, DatabaseFacts, Report, ServiceReport, Thread,
};
use crate::reason::{Blocked, mac_text};
use crate::role::Role;
use crate::stack::StackReport;
use crate::state::{Phase, State};
use crate::time::{Span, Time};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// An applier that is further behind than this makes a takeover longer than people expect.
pub(in crate::node) const BEHIND_TOLD: Span = Span::millis(2_000);

/// Half as long as the register may be silent before that is told, where rights last until they are released.
const UNHEARD_MAX: Span = Span::millis(2_500);

/// What a standby far behind means.
pub(in crate::node) fn behind(behind: Span, backlog: u32) -> String {
    let s = behind.as_millis() / 1000;
    let waits = match backlog {
        0 => "less than 1 MiB waits".to_string(),
        1 => "about 1 MiB waits".to_string(),
        mib => format!("about {mib} MiB wait"),
    };
    format!("it applies what it received {s} s late, {waits}: it would be ready in about {s} s")
}

/// Everything that `regent status` shows of one node's knowledge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeStatus {
    /// The operator's word.
    pub role: Role,
    /// It answers for the VIP.
    pub serving: bool,
    /// Why it is where it is, a sentence each.
    pub reasons: Vec<String>,
    /// The newest view of the register.
    pub view: Option<(Version, State)>,
    /// What is left of the right, by the holder's clock.
    pub right_left: Option<Span>,
    /// What is left of the wait before a right may start.
    pub wait_left: Option<Span>,
    /// The local database.
    pub database: Option<DatabaseFacts>,
    /// The local stack on shared data, if there is one.
    pub stack: Option<StackReport>,
    /// The services, as in the configuration.
    pub services: Vec<ServiceReport>,
    /// The probes, as in the configuration.
    pub probes: Vec<ProbeStatus>,
    /// The probes of database and host that fail now.
    pub ailments: Vec<Ailment>,
    /// What makes this node less than it should be beside all that.
    pub concerns: Vec<String>,
    /// What is known of both copies' equality; an active node's.
    pub comparison: Option<Comparison>,
    /// Why the last comparison did not come to its end.
    pub comparison_stopped: Option<String>,
    /// Why no copy can be taken, once it has failed time and again.
    pub copy_fails: Option<String>,
    /// What is left of a pause.
    pub pause_left: Option<Span>,
    /// What is left of each node's maintenance.
    pub maintenance_left: BTreeMap<NodeId, Span>,
    /// The cluster is stopped by an operator's word.
    pub stopped: bool,
    /// Who else answers for the VIP.
    pub stranger: Option<[u8; 6]>,
    /// The peers.
    pub peers: Vec<PeerStatus>,
    /// The row of protocol section 9 that applies.
    pub blocked: Option<Blocked>,
}

/// What a probe says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProbeStatus {
    /// Which.
    pub probe: ProbeId,
    /// The conclusion.
    pub health: Health,
    /// What it saw; empty if it passes.
    pub why: String,
    /// For how long it has been so.
    pub since: Span,
}

/// What this node knows of a peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerStatus {
    /// Who.
    pub node: NodeId,
    /// Its newest report.
    pub report: Option<Report>,
    /// How old that is.
    pub age: Span,
    /// Heard within the suspicion.
    pub reachable: bool,
}

impl Node {
    /// A picture of what is known and why.
    pub fn status(&self, now: Time) -> NodeStatus {
        let (role, serving) = (self.role(now), self.is_serving(now));
        #[cfg(feature = "planted")]
        let (role, serving) = if self.planted(crate::planted::Planted::ServesUnlooked)
            && self.holds()
            && self.is_writable()
        {
            (Role::Active, true)
        } else {
            (role, serving)
        };
        NodeStatus {
            role,
            serving,
            reasons: self.explain(now),
            view: self.view.as_ref().map(|view| (view.version, view.state.clone())),
            right_left: self.holding.right().map(|right| right.left(now)),
            wait_left: self.holding.wait().map(|wait| wait.left(now)),
            database: self.database.facts.clone(),
            stack: self.stack_report(),
            services: self.service_reports(now),
            probes: self.probe_statuses(now),
            ailments: self.ailments(),
            concerns: self.concerns(now),
            comparison: self.comparison().cloned(),
            comparison_stopped: self.comparison_stopped(),
            copy_fails: self.copy_fails(now),
            pause_left: self.pause_left(now),
            maintenance_left: self.maintenance_left(now),
            stopped: self.is_stopped(),
            stranger: self.stranger(now),
            peers: self
                .peers
                .iter()
                .map(|(node, peer)| self.peer_status(*node, peer, now))
                .collect(),
            blocked: self.blocked(now),
        }
    }

    fn peer_status(&self, node: NodeId, peer: &crate::node::Peer, now: Time) -> PeerStatus {
        let reachable = peer.fresh(self.spec.pace.suspicion, now).is_some();
        #[cfg(feature = "planted")]
        let reachable = reachable || self.planted(crate::planted::Planted::UnheardShown);
        PeerStatus {
            node,
            report: peer.report.clone(),
            age: now.elapsed_most(peer.heard),
            reachable,
        }
    }

    fn probe_statuses(&self, now: Time) -> Vec<ProbeStatus> {
        let status = |(at, probe): (usize, &crate::node::workload::services::Probe)| ProbeStatus {
            probe: ProbeId(at as u16),
            health: probe.health,
            why: probe.why.clone(),
            since: probe.since.map_or(Span::ZERO, |at| now.elapsed_most(at)),
        };
        self.probes.iter().enumerate().map(status).collect()
    }

    /// What makes this node less than it should be, and shows neither in its role nor in a probe, a sentence each.
    pub(in crate::node) fn concerns(&self, now: Time) -> Vec<String> {
        let mut found: Vec<String> = self.bar(now).into_iter().collect();
        found.extend(self.worries(now));
        found.truncate(CONCERNS_MAX);
        found
    }

    /// What would keep this node from serving, although its database and its services are well.
    fn bar(&self, now: Time) -> Option<String> {
        if self.shares_data() || self.is_stopped() {
            return None;
        }
        let stranger = self.stranger(now);
        #[cfg(feature = "planted")]
        let stranger = stranger.or_else(|| self.stranger_ever());
        if let Some(mac) = stranger {
            return Some(Blocked::Stranger { mac }.words(&|node| self.name(node)));
        }
        if self.holds() {
            return None;
        }
        let muted = |mute| format!("it proposes nothing, and could not take over: {mute}");
        self.mute.map(muted).or_else(|| self.vip.refusal(now))
    }

    /// The concerns that `explain` has no other line for.
    fn worries(&self, now: Time) -> Vec<String> {
        let mut found: Vec<String> = self.room_concern().into_iter().collect();
        found.extend(self.explain_name());
        let failed = self.stack.last_failure.iter().filter(|_| self.stack.failure.is_none());
        found.extend(failed.map(|why| {
            format!("the last activation here failed, and was undone: {why}; mend it before it has to take over")
        }));
        found.extend(self.lost_concern(now));
        if self.shares_data() || self.is_stopped() {
            return found;
        }
        found.extend(self.explain_work(now));
        found.extend(self.explain_failing(now));
        found.extend(self.explain_recopy());
        // A copy that is the recorded one came to something.
        let is_used = self.eligibility() == Some(true) && self.database.facts.is_some();
        found.extend(self.explain_copies(now).filter(|_| !is_used));
        found.extend(self.explain_comparison());
        if let Some(facts) = self.database.facts.as_ref().filter(|_| !self.holds()) {
            let cannot = |why| {
                let of = facts.source.map_or_else(|| "its source".to_string(), |n| self.name(n));
                format!("its database does not reach that of {of}: {why}")
            };
            found.extend(facts.unreached.as_ref().map(cannot));
            let late = facts.behind.filter(|late| *late >= BEHIND_TOLD);
            #[cfg(feature = "planted")]
            let late = late.filter(|_| !self.planted(crate::planted::Planted::LateUncounted));
            found.extend(late.map(|late| behind(late, facts.backlog)));
        }
        if let Some(first) = self.database.facts.as_ref().and_then(|facts| facts.drift.first()) {
            found.push(format!("a setting of its database was changed: {first}"));
        }
        let out = |why| format!("a restart of the database may shut Regent out: {why}");
        let facts = self.database.facts.as_ref();
        found.extend(facts.and_then(|facts| facts.shut_out.as_ref()).map(out));
        let locked = self.locked(now);
        #[cfg(feature = "planted")]
        let counts = self.holds() || !self.planted(crate::planted::Planted::LateUncounted);
        #[cfg(feature = "planted")]
        let locked = locked.filter(|_| counts);
        if let Some(locked) = locked {
            let (held, s) = (held(locked), locked.since.as_millis() / 1000);
            found.push(if self.holds() {
                format!("{held}, and nobody has been able to write for {s} s")
            } else {
                format!("{held}, and its applier has waited for it for {s} s: a takeover ends it")
            });
        }
        found
    }

    /// What is asked for, and what is not well here, a line each.
    fn explain_health(&self, lines: &mut Vec<String>, now: Time) {
        if self.is_stopped() {
            lines.push("stopped by an operator: regent cluster start starts it".to_string());
        }
        if let Some(left) = self.pause_left(now) {
            let s = left.as_millis() / 1000;
            lines.push(format!("paused for {s} s more: no succession and no restarts by us"));
        }
        for (node, left) in self.maintenance_left(now) {
            let s = left.as_millis() / 1000;
            lines.push(format!(
                "{} is in maintenance for {s} s more: no candidate, and its services are left alone",
                self.name(node)
            ));
        }
        let mut worries = self.worries(now);
        worries.truncate(CONCERNS_MAX);
        lines.extend(worries);
        lines.extend(self.explain_lost(now));
        self.vip.explain(self.wants_address(), lines, now);
        for (report, spec) in self.service_reports(now).iter().zip(&self.spec.services) {
            if report.health == Health::Failing {
                let given_up = if report.given_up { "; given up" } else { "" };
                let name = &spec.name;
                let cause = report.cause.as_ref().map_or_else(String::new, ToString::to_string);
                lines.push(format!("service {name} is not well: {cause}{given_up}"));
            }
        }
        for ailment in self.ailments() {
            lines.push(format!("probe {} fails: {}", ailment.probe, ailment.why));
        }
        if let Some(mac) = self.stranger(now) {
            lines.push(format!("a stranger answers for the VIP: {}", mac_text(mac)));
        }
    }

    /// Why it is where it is, and what blocks it.
    pub fn explain(&self, now: Time) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(mute) = self.mute {
            lines.push(format!("this node proposes nothing and keeps its gate closed: {mute}"));
        }
        let Some(view) = &self.view else {
            lines.push("the register was not read yet: no majority of voters answers".to_string());
            lines.extend(self.serves_elsewhere(now));
            return lines;
        };
        let state = &view.state;
        let holder = self.name(state.lease.holder);
        let phase = match state.lease.phase {
            Phase::Free => "named, and has not taken it yet",
            Phase::Heir => "as heir: its right waits until its predecessor's is surely over",
            Phase::Ruling => "ruling",
        };
        lines.push(format!("{holder} holds the lease in epoch {}, {phase}", state.lease.epoch));
        lines.push(match state.sync.with {
            _ if self.shares_data() => self.explain_data(state),
            Some(with) => format!(
                "every acknowledged write is in {} and received by {}",
                self.name(state.sync.writer.node),
                self.name(with.node)
            ),
            None => {
                let why = self.follower.alone_why().filter(|_| self.holds());
                format!(
                    "solo: acknowledged writes are in {} only{}",
                    self.name(state.sync.writer.node),
                    why.map_or(String::new(), |why| format!(": {why}"))
                )
            }
        });
        if self.holds() {
            self.explain_holder(&mut lines, now);
        } else {
            self.explain_standby(&mut lines, now);
        }
        self.explain_health(&mut lines, now);
        if let (Some(last), Some(why)) = (state.history.last(), self.last_move(state)) {
            let (from, to) = (self.name(last.from), self.name(last.to));
            lines.push(format!("last move: epoch {}, {from} to {to}: {why}", last.epoch));
        }
        if let Some(blocked) = self.blocked(now) {
            let words = blocked.words(&|node| self.name(node));
            lines.push(format!("blocked (row {}): {words}", blocked.row()));
        }
        lines
    }

    /// Why the lease was moved last, in words.
    pub(in crate::node) fn last_move(&self, state: &State) -> Option<String> {
        let last = state.history.last()?;
        let name = |node| self.name(node);
        Some(match self.shares_data() {
            true => last.why.words(last.from, &name),
            false => last.why.words_of_move(last.from, last.to, &name),
        })
    }

    fn explain_holder(&self, lines: &mut Vec<String>, now: Time) {
        if let Some(moving) = &self.moving {
            let to = self.name(moving.to);
            lines.push(format!("moving to {to}: {}", moving.text()));
        }
        let Some(tenure) = self.holding.tenure() else { return };
        if let Some(wait) = tenure.wait.filter(|wait| !wait.is_over(now)) {
            let left = wait.left(now).as_millis();
            lines.push(format!("the predecessor's right is surely over in {left} ms [C3]"));
        }
        let lasting = self.is_pair();
        match tenure.right {
            Some(_) if lasting => lines.push("own right: until it is released".to_string()),
            Some(right) => {
                let left = right.left(now);
                #[cfg(feature = "planted")]
                let left = match self.planted(crate::planted::Planted::RightUncounted) {
                    true => right.length,
                    false => left,
                };
                lines.push(format!("own right: {} ms left [C1]", left.as_millis()));
            }
            None => lines.push("no right runs here: no renewal was won in time".to_string()),
        }
        if let Some(with) = self.view.as_ref().and_then(|view| view.state.sync.with)
            && let Err(why) = self.can_move(with.node, now)
        {
            lines.push(format!("no move is possible now: {why}"));
        }
    }

    fn explain_standby(&self, lines: &mut Vec<String>, now: Time) {
        if let Some(succession) = &self.succession {
            lines.push(format!("about to take the lease: {}", self.in_words(&succession.why)));
        }
        if let Some(why) = self.cut_off() {
            lines.push(format!("nobody would be served from here: {why}"));
        }
        if self.shares_data() {
            lines.push(match self.unable_shared(now) {
                Some(why) => format!("this node could not be activated: {why}"),
                None => "this node could be activated as far as its own checks go".to_string(),
            });
            return;
        }
        lines.push(self.explain_eligibility(now));
        if let Some(facts) = &self.database.facts {
            if let Thread::Failed(why) = &facts.receiver {
                lines.push(format!("its receiver stopped: {why}"));
            }
            if let Thread::Failed(why) = &facts.applier {
                lines.push(format!("its applier stopped: {why}"));
            }
        }
    }

    /// A server that is down takes what it received and what it is worth with it; and what was recorded when a majority
    /// last answered may not be so any more.
    fn explain_eligibility(&self, now: Time) -> String {
        let is_read = self.database.facts.is_some();
        #[cfg(feature = "planted")]
        let is_read = is_read || self.planted(crate::planted::Planted::EligibleOnce);
        let known = self.eligibility().filter(|_| is_read);
        match known {
            Some(true) if self.is_unheard(now) => {
                "this node was eligible when the register was last read".to_string()
            }
            Some(true) => "this node is eligible: its copy is the recorded one".to_string(),
            Some(false) => {
                "this node is not eligible: its copy is not the recorded one yet".to_string()
            }
            None => "this node does not know its own data yet: its database is down".to_string(),
        }
    }

    /// No majority of voters has answered for longer than any right lasts, or than one is waited for where rights last.
    fn is_unheard(&self, now: Time) -> bool {
        self.view.as_ref().is_none_or(|view| {
            let ttl = view.state.timing.ttl.min(UNHEARD_MAX);
            now.elapsed_most(view.heard) > ttl + ttl
        })
    }

    /// The row of protocol section 9 that applies, and the way out.
    pub(in crate::node) fn blocked(&self, now: Time) -> Option<Blocked> {
        let view = self.view.as_ref()?;
        if self.is_stopped() {
            return None;
        }
        let state = &view.state;
        if self.is_unheard(now) {
            let remedy = match self.is_pair() {
                // It goes on alone, and needs nobody.
                true if self.holds() => return None,
                true => {
                    self.serves_elsewhere(now).unwrap_or_else(|| self.remedy_of_no_majority(now))
                }
                false => "restore a voter".to_string(),
            };
            return Some(Blocked::NoMajority { remedy });
        }
        if let Some(mac) = self.stranger(now).filter(|_| !self.serving.is_opened()) {
            return Some(Blocked::Stranger { mac });
        }
        let holder = state.lease.holder;
        let stale = self.record_age(now) >= state.timing.wait(state.lease.ttl);
        if stale && holder != self.me() {
            if self.is_paused(now) {
                return Some(Blocked::Paused);
            }
            if self.is_in_maintenance(self.me(), now) {
                return Some(Blocked::Maintained { holder, here: self.me() });
            }
            if self.eligibility() != Some(true) {
                return Some(match state.sync.with {
                    None => Blocked::SoloGone { holder },
                    Some(_) => Blocked::NotWhole { holder },
                });
            }
            if let Some(cause) = self.cut_off() {
                return Some(Blocked::CutOff { holder, cause });
            }
        }
        if self.shares_data() {
            return self.blocked_shared(now);
        }
        let facts = self.database.facts.as_ref()?;
        if self.holds() && facts.mark && matches!(facts.applier, Thread::Failed(_)) {
            return Some(Blocked::CannotApply);
        }
        None
    }
}
