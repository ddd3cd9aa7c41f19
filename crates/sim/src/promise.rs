//! What operators read is a promise: every node's status and its `explain` are compared with what is so.
//!
//! Ten times a second of the world's time each node that can answer is asked, as `regent status` and `regent explain`
//! would ask it. What is so is looked up first: only where something is not as it should be anybody needs to be asked.
//!
//! | | broken if |
//! | --- | --- |
//! | C1 | all is well by the status, and the standby could not take over at once |
//! | C2 | all is well by the status, and nobody is served |
//! | C3 | all is well, and the status says for long that it is not (asked at the end of a run) |
//! | C4 | `explain` tells of a right that is over, or that a node is eligible that is not |

use crate::clients::Clients;
use crate::host::{HOSTS, MEMBERS, NAMES, WITNESS, other_of};
use crate::net::CLIENTS;
use crate::world::World;
use regent_core::id::AttemptId;
use regent_core::invariant::{self, Violation};
use regent_core::node::NodeStatus;
use regent_core::observe::Thread;
use regent_core::state::{Bounded, DataCopy};
use regent_core::sync::is_renamed;
use regent_store::cell::Standing;
use std::collections::BTreeMap;

const MS: u64 = 1_000_000;
/// Between two looks.
const EVERY: u64 = 100 * MS;
/// How long the status may be wrong (C1, C2). What takes longest to be told: a standby that is 2 s behind, or one that
/// confirms nothing for 1.5 s, and then the swap that goes on alone; each is told a report later.
const PATIENCE: u64 = 3_000 * MS;
/// How long a node may take to see that its own data are not the recorded ones. A record that nobody pushes is read
/// after two renewals, 300 ms by a clock that may be slewed, and asked for again after as long; a look at the own
/// database takes 100 ms, and a report 50.
const OWN_DATA: u64 = 800 * MS;
/// A disk that takes longer for one sync makes reading the register slow.
const QUICK: u64 = 20 * MS;
/// A server that hangs is known to after this: a statement's bound.
pub(crate) const STATEMENT: u64 = 1_000 * MS;
/// Every client has given up twice within this.
const UNSERVED: u64 = 700 * MS;
/// All is well for this long before nothing may be said against it (C3).
const SETTLED: u64 = 20_000 * MS;
/// Rows have no values here, so that a comparison of both copies always fails: that it does is no lie.
const NOT_COMPARED: &str = "rows are not compared here";
/// A cluster that is never well for that long is another matter's.
const SETTLING_MOST: u64 = 90_000 * MS;

/// Something has been told and not so since then, in every look.
#[derive(Clone, Copy, Debug)]
struct Streak {
    since: u64,
    why: &'static str,
}

/// What is compared how often, and what was seen so far.
#[derive(Clone, Debug, Default)]
pub struct Promise {
    due: u64,
    /// By whoever was asked.
    unready: [Option<Streak>; 2],
    unserved: [Option<Streak>; 2],
    /// Since when, and how long it may be so by what was in the way since then.
    ineligible: [Option<(u64, u64)>; 2],
    /// When a wish that ends by itself was first seen in the record.
    wishes: BTreeMap<AttemptId, u64>,
    /// Until when a right of this member may run: its newest decided record, and the ttl in it.
    right_until: [u64; 2],
    /// A stranger answers for the VIP until then.
    stranger_until: u64,
    /// What had stood still on it goes on then, though its host was let go on before.
    thawed: [u64; 2],
}

impl Promise {
    /// A stranger answers for the VIP until then.
    pub fn note_stranger(&mut self, until: u64) {
        self.stranger_until = self.stranger_until.max(until);
    }

    /// A host goes on before its time: what was to happen on it meanwhile still happens at that time.
    pub fn note_thaw(&mut self, host: usize, until: u64) {
        if let Some(thawed) = self.thawed.get_mut(host) {
            *thawed = until;
        }
    }
}

/// What was so in this look; answers since when it has been, if too long.
fn lasts(
    streak: &mut Option<Streak>,
    why: Option<&'static str>,
    now: u64,
    most: u64,
) -> Option<Streak> {
    *streak = why.map(|why| streak.unwrap_or(Streak { since: now, why }));
    streak.filter(|streak| now - streak.since > most)
}

impl World {
    /// A record is decided: its holder's right counts from before that.
    pub fn note_right(&mut self) {
        let lease = self.truth.state.lease;
        let host = usize::from(lease.holder.0) - 1;
        if lease.by.node == lease.holder && MEMBERS.contains(&host) {
            self.promise.right_until[host] = self.now + lease.ttl.0;
        }
    }

    /// Compares what nodes say with what is so, if it is time to.
    pub fn compare_words(&mut self) {
        if self.shared.is_some() || self.now < self.promise.due {
            return;
        }
        self.promise.due = self.now + EVERY;
        let intent = &self.truth.state.intent;
        for entry in intent.pause.iter().chain(intent.maintenance.values()) {
            self.promise.wishes.entry(entry.since).or_insert(self.now);
        }
        let holder = usize::from(self.truth.state.lease.holder.0) - 1;
        let is_well = self.why_unready(other_of(holder), false).is_none()
            && self.why_unserved(holder).is_none();
        for host in MEMBERS {
            self.compare_status(host, is_well);
            self.compare_right(host);
            self.compare_eligibility(host);
        }
    }

    /// What this host's agent would make `regent status` say, if anybody answers there.
    pub fn status(&self, host: usize) -> Option<NodeStatus> {
        let h = &self.hosts[host];
        let agent = h.agent.as_ref().filter(|_| self.answers_people(host))?;
        agent.brain.status(h.clock.read(self.now))
    }

    /// What is not well by the status of this host; `None` if nobody answers there. The witness is heard by the agent.
    pub fn trouble(&self, host: usize) -> Option<Option<String>> {
        let trouble = self.status(host)?.trouble();
        let unheard =
            || (!self.is_heard_by(host, WITNESS)).then(|| String::from("the witness is not heard"));
        Some(trouble.or_else(unheard))
    }

    /// C1, C2.
    fn compare_status(&mut self, host: usize, is_well: bool) {
        let (mut unready, mut unserved) = (None, None);
        if !is_well && let Some((active, told)) = self.shown_as_well(host) {
            unready = self.why_unready(other_of(active), told);
            unserved = self.why_unserved(active);
        }
        let now = self.now;
        let unready = lasts(&mut self.promise.unready[host], unready, now, PATIENCE);
        let unserved = lasts(&mut self.promise.unserved[host], unserved, now, PATIENCE);
        for (id, streak, what) in [
            ("C1", unready, "its standby could not take over"),
            ("C2", unserved, "nobody is served"),
        ] {
            if let Some(Streak { since, why }) = streak {
                let ms = (now - since) / MS;
                let text = format!(
                    "{} has said for {ms} ms that all is well, and {what}: {why}",
                    NAMES[host]
                );
                self.violated(Violation { id, text });
            }
        }
    }

    /// Whom this host shows as active, if by it all is well; and whether it shows that an operator wants no
    /// takeover.
    fn shown_as_well(&self, host: usize) -> Option<(usize, bool)> {
        let status = self.status(host)?;
        let active = status.active()?.map_or(host, |node| usize::from(node.0) - 1);
        let is_well = status.trouble().is_none() && self.is_heard_by(host, WITNESS);
        let standby = self.hosts[other_of(active)].node;
        let told = status.pause_left.is_some() || status.maintenance_left.contains_key(&standby);
        is_well.then_some((active, told))
    }

    /// Something of that host's agent comes here.
    fn is_heard_by(&self, host: usize, other: usize) -> bool {
        let there = &self.hosts[other];
        there.powered
            && there.paused.is_none()
            && there.seat.voter.is_some()
            && self.net.passes(other, host)
    }

    /// Do voters on a majority of hosts hear this one and answer, the active node among them? A voter that lost its
    /// disk counts here, since no core is told of it; but not for who wants them to be quick.
    fn has_majority(&self, host: usize, quick: bool) -> bool {
        let answers = |voter: &usize| {
            let there = &self.hosts[*voter];
            let seat = &there.seat;
            let is_quick = seat.sync.1 <= QUICK && seat.disk != Standing::Vacant;
            there.powered
                && there.paused.is_none()
                && seat.voter.is_some()
                && seat.stalled.max(seat.full) <= self.now
                && (is_quick || !quick)
                && self.net.is_whole(host, *voter)
        };
        HOSTS.iter().filter(|voter| answers(voter)).count() >= 2
    }

    /// How soon this host knows what is recorded and what its data are, and what is in its way.
    fn knows_own_data_within(&self, host: usize) -> (u64, &'static str) {
        let h = &self.hosts[host];
        let ttl = self.truth.state.timing.ttl.0;
        let is_calm = (self.net.loss, self.net.late) == (0, 0);
        // Its receiver's end is waited for, too, before anything else is asked.
        let hangs = h
            .database
            .server
            .as_ref()
            .is_some_and(|server| server.stalled > self.now || server.stopping.is_some());
        if h.seat.stalled > self.now || !is_calm || !self.has_majority(host, true) {
            return (OWN_DATA + 2 * ttl, ", and no majority of voters answers it soon");
        }
        if hangs {
            (OWN_DATA + STATEMENT, ", and its server hangs or ends its receiver")
        } else {
            (OWN_DATA, "")
        }
    }

    /// Why this member, the recorded standby, could not take over at once; `told`: it is shown that an operator wants
    /// so.
    fn why_unready(&self, host: usize, told: bool) -> Option<&'static str> {
        let h = &self.hosts[host];
        let state = &self.truth.state;
        let Some(agent) = h.agent.as_ref().filter(|_| h.powered) else {
            return Some(if h.powered { "its agent is dead" } else { "its host is off" });
        };
        if h.paused.is_some() {
            return Some("its host stands still");
        }
        if agent.stalled > self.now {
            return Some("its agent hangs");
        }
        if h.speaks < state.format {
            return Some("its release does not speak the register's format");
        }
        if h.seat.stalled > self.now {
            return Some("its part of the register hangs");
        }
        if h.seat.full > self.now {
            return Some("it can write nothing under /var/lib/regent");
        }
        if !self.has_majority(host, false) {
            return Some("no majority of voters answers it");
        }
        if self.promise.stranger_until > self.now {
            return Some("a stranger answers for the VIP");
        }
        if h.blocked > self.now {
            return Some("its database's port is blocked");
        }
        let hangs = |(hung, starting): (&bool, &u64)| *hung && *starting <= self.now;
        if h.services.iter().any(Option::is_none) || h.hung.iter().zip(&agent.starting).any(hangs) {
            return Some("a service of it is not well");
        }
        // Each counts from when it saw the wish: this one's own count decides whether it takes over.
        let wishes = agent.brain.status(h.clock.read(self.now));
        let counted = wishes.is_some_and(|status| {
            status.pause_left.is_some() || status.maintenance_left.contains_key(&h.node)
        });
        // But it may not count fast.
        let intent = &state.intent;
        let bounded = intent.pause.iter().chain(intent.maintenance.get(&h.node));
        let runs = |entry: &Bounded| {
            let since = self.promise.wishes.get(&entry.since).copied().unwrap_or(self.now);
            self.now - since < entry.length.0 / 10 * 9
        };
        let wished = counted || bounded.into_iter().any(runs);
        let wished = || (wished && !told).then_some("an operator wants no takeover");
        self.why_data_unready(host).or_else(wished)
    }

    fn why_data_unready(&self, host: usize) -> Option<&'static str> {
        let h = &self.hosts[host];
        let Some(server) = &h.database.server else { return Some("its server is down") };
        let copy = h.database.living().map(|incarnation| DataCopy { node: h.node, incarnation });
        let sync = self.truth.state.sync;
        if sync.with.is_none() {
            return Some("the record says solo");
        }
        if !copy.is_some_and(|copy| sync.names(copy)) {
            return Some("its data are not the recorded ones");
        }
        if server.stalled > self.now {
            return Some("its server hangs");
        }
        if server.applier != Thread::Running {
            return Some("its applier does not run");
        }
        if server.locked.is_some_and(|(_, since)| since.is_some()) {
            return Some("a lock holds its applier up");
        }
        (h.full_data > self.now).then_some("its data disk is full")
    }

    /// Why nobody is served by this member.
    fn why_unserved(&self, host: usize) -> Option<&'static str> {
        let h = &self.hosts[host];
        if !h.powered || h.paused.is_some() {
            return Some("its host does not run");
        }
        if !h.gate.is_open(&h.clock, self.now) {
            return Some("its gate is closed");
        }
        if !h.has_address(self.now) {
            return Some("the VIP is not on it");
        }
        let Some(server) = &h.database.server else { return Some("its server is down") };
        if server.stalled > self.now {
            return Some("its server hangs");
        }
        if server.read_only {
            return Some("its database is read-only");
        }
        if server.locked.is_some_and(|(_, since)| since.is_some()) {
            return Some("a lock keeps every writer out");
        }
        if h.full_data > self.now {
            return Some("its data disk is full");
        }
        if h.blocked > self.now {
            return Some("its database's port is blocked");
        }
        let Clients { last, .. } = &self.clients;
        let unanswered = last.is_none_or(|last| self.now - last > UNSERVED);
        // A way between clients and a node that is cut nobody but they can see.
        let tries = !self.clients.is_seldom() && self.net.is_whole(CLIENTS, host);
        (unanswered && tries).then_some("no client's write comes through")
    }

    /// C4: no right is left past its ttl, counted from when its record was decided, by whichever clock.
    fn compare_right(&mut self, host: usize) {
        let is_over = self.now > self.promise.right_until[host] && !self.hosts[host].is_thawed();
        if !is_over || !self.answers_people(host) {
            return;
        }
        let mut lines = self.explain(host).into_iter();
        let left = lines.find_map(|line| {
            let left = line.strip_prefix("own right: ")?;
            left.split(' ').next()?.parse::<u64>().ok()
        });
        if let Some(ms) = left.filter(|ms| *ms > 0) {
            let over = (self.now - self.promise.right_until[host]) / MS;
            let text = format!(
                "{} tells of an own right with {ms} ms left, which was over {over} ms ago",
                NAMES[host]
            );
            self.violated(Violation { id: "C4", text });
        }
    }

    /// C4: a node that says that it is eligible is.
    fn compare_eligibility(&mut self, host: usize) {
        let h = &self.hosts[host];
        let copy = h.database.living().map(|incarnation| DataCopy { node: h.node, incarnation });
        let sync = &self.truth.state.sync;
        let was: Vec<_> = h.database.was().into_iter().flatten().collect();
        // D12: the writer's data whose log began anew have everything.
        let is_so = copy.is_some_and(|copy| sync.names(copy)) || is_renamed(sync, h.node, &was);
        let says = |world: &World| {
            let lines = world.explain(host);
            lines.iter().any(|line| line.starts_with("this node is eligible"))
        };
        let told = !is_so && self.answers_people(host) && says(self);
        let (most, but) = self.knows_own_data_within(host);
        let now = self.now;
        let streak = &mut self.promise.ineligible[host];
        *streak = told.then(|| match *streak {
            Some((since, longest)) => (since, longest.max(most)),
            None => (now, most),
        });
        if let Some((since, _)) = streak.filter(|(since, longest)| now - since > *longest) {
            let ms = (now - since) / MS;
            let text = format!(
                "{} has said for {ms} ms that it is eligible, and its data are not the recorded ones{but}",
                NAMES[host]
            );
            self.violated(Violation { id: "C4", text });
        }
    }

    /// Its agent runs, and could tell somebody something.
    fn answers_people(&self, host: usize) -> bool {
        let h = &self.hosts[host];
        h.powered
            && h.paused.is_none()
            && self.promise.thawed[host] <= self.now
            && h.agent.as_ref().is_some_and(|agent| agent.stalled <= self.now)
    }
}

/// C3, at the end of a run whose faults are over: once all has been well for long, no status says anything else.
pub fn until_told(world: &mut World) {
    let most = world.now + SETTLING_MOST;
    let mut well_since = world.now;
    while world.violation.is_none() && world.now < most {
        let intent = &world.truth.state.intent;
        if intent.pause.is_some() || !intent.maintenance.is_empty() || intent.stopped.is_some() {
            // What an operator works on may be as it is.
            return;
        }
        let troubles = MEMBERS.map(|host| world.trouble(host));
        let Some((host, text)) = MEMBERS.into_iter().zip(troubles).find_map(|(host, trouble)| {
            let text = trouble.unwrap_or(Some(String::from("nobody answers")))?;
            (!text.ends_with(NOT_COMPARED)).then_some((host, text))
        }) else {
            return;
        };
        let runs = |host: &usize| world.hosts[*host].services.iter().all(Option::is_some);
        if world.picture(invariant::v11).is_err() || !MEMBERS.iter().all(runs) {
            well_since = world.now;
        }
        if world.now - well_since > SETTLED {
            let text = format!(
                "all has been well for {} s, and {} says: {text}",
                SETTLED / 1000 / MS,
                NAMES[host]
            );
            return world.violated(Violation { id: "C3", text });
        }
        let next = world.now + EVERY;
        world.run_until(next);
    }
}
