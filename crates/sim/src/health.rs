//! Services that hang, ports that are blocked, fences that do or do not work, and operators who ask for things:
//! what the prober, the devices and the people of a real cluster add to its core's inputs.

use crate::agent::Agent;
use crate::fault::Fault;
use crate::host::MEMBERS;
use crate::world::{Event, World};
use regent_core::command::{Fenced, Outcome, Request};
use regent_core::health::{Health, Judge, ProbeId, ProbeSpec, Subject};
use regent_core::id::{CommandId, NodeId};
use regent_core::node::Input;
use regent_core::observe::ServiceId;
use regent_core::room::Room;
use regent_core::state::Timing;
use regent_core::time::Span;

const MS: u64 = 1_000_000;
/// Between two observations of a probe.
const INTERVAL: u64 = 200 * MS;
/// Between two looks at the room for the agent's own state.
pub(crate) const ROOM: u64 = 1_000 * MS;
/// How long an observation waits for its answer.
const TIMEOUT: u64 = 250 * MS;

/// What an operator asks for beside a move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    /// Maintenance of a node.
    Maintenance(usize, u64),
    /// A pause.
    Pause(u64),
    /// Both are lifted.
    Lift(usize),
    /// The cluster is stopped.
    Stop,
    /// And started.
    Start,
    /// Rights last so long from now on (C5).
    Ttl(u64),
    /// The peer is fenced.
    Fence(usize),
    /// This node takes a fresh copy; asked there.
    Resync(usize),
}

/// The judges of a new run's prober.
pub fn judges(probes: &[ProbeSpec]) -> Vec<Judge> {
    probes.iter().map(|probe| Judge::new(probe.rise, probe.fall)).collect()
}

impl World {
    /// The prober of a new run begins, its probes spread over their interval.
    pub fn begin_probes(&mut self, host: usize, run: u64) {
        for probe in 0..self.spec.probes.len() {
            let after = self.rng.range(MS, INTERVAL);
            self.after(after, Event::Observe { host, run, probe });
        }
    }

    /// One observation of one probe; the next one follows from start to start, or after the time-out.
    pub fn observe(&mut self, host: usize, run: u64, probe: usize) {
        if self.session(host) != run {
            return;
        }
        let seen = self.sees(host, probe);
        // What hangs is known only when the time is over.
        let hangs = seen == Some(false);
        let takes = if hangs { TIMEOUT } else { self.rng.range(200_000, 5 * MS) };
        if let Some(passed) = seen {
            self.after(takes, Event::Observed { host, run, probe, passed });
        }
        let next = if hangs { TIMEOUT.max(INTERVAL) } else { INTERVAL };
        self.after(next, Event::Observe { host, run, probe });
    }

    /// The agent looks at the room for its own state, once a second, and its core hears of a change.
    pub fn look_for_room(&mut self, host: usize, run: u64) {
        let is_full = self.hosts[host].seat.full > self.now;
        let Some(agent) = self.hosts[host].agent.as_mut().filter(|agent| agent.run == run) else {
            return;
        };
        if std::mem::replace(&mut agent.has_no_room, is_full) != is_full {
            let refused = is_full.then(|| String::from("no space left on the device"));
            let place = String::from("/var/lib/regent");
            let room = Room { place, free: 1 << 40, size: 1 << 40, files: None, refused };
            self.input(host, Input::Room(room));
        }
        if self.shared.is_some() {
            self.look_at_data(host);
        }
        self.after(ROOM, Event::Room { host, run });
    }

    /// Does this probe's subject answer? Nothing is observed of what is not there to be asked.
    fn sees(&self, host: usize, probe: usize) -> Option<bool> {
        let h = &self.hosts[host];
        match self.spec.probes[probe].subject {
            Subject::Service(ServiceId(service)) => {
                let up = h.services[usize::from(service)].is_some();
                up.then_some(!h.hung[usize::from(service)])
            }
            Subject::Database => {
                let server = h.database.server.as_ref()?;
                let locked = server.locked.is_some() && !server.read_only;
                // It writes a row, which waits for room.
                let full = h.full_data > self.now && !server.read_only;
                Some(server.stalled <= self.now && h.blocked <= self.now && !locked && !full)
            }
            Subject::Host => Some(true),
        }
    }

    /// The prober's judge takes an observation; the agent hears of a change.
    pub fn observed(&mut self, host: usize, run: u64, probe: usize, passed: bool) {
        let Some(agent) = self.hosts[host].agent.as_mut().filter(|agent| agent.run == run) else {
            return;
        };
        let Some(health) = agent.judges[probe].take(passed) else { return };
        if let Subject::Service(service) = self.spec.probes[probe].subject
            && health == Health::Passing
        {
            agent.starting[usize::from(service.0)] = 0;
        }
        let why = if health == Health::Failing { "no answer within 250 ms" } else { "" };
        let probe = ProbeId(probe as u16);
        self.input(host, Input::Health { probe, health, why: why.into() });
    }

    /// A subject was started anew: the prober knows nothing of it.
    pub fn forget_probes(&mut self, host: usize, subject: Subject) {
        let probes = &self.spec.probes;
        let Some(agent) = &mut self.hosts[host].agent else { return };
        forget(agent, probes, subject);
    }

    /// Core hears of a service's unit: until its probe passes, that it fails is no failure for a while.
    pub fn note_starting(&mut self, host: usize, service: usize) {
        let until = self.now + self.spec.services[service].start_within.0;
        if let Some(agent) = &mut self.hosts[host].agent {
            agent.starting[service] = until;
        }
    }

    /// The same of the database's. What passed before its start is not told again: core takes it as said.
    pub fn doubt_probes(&mut self, host: usize, subject: Subject) {
        let probes = &self.spec.probes;
        let Some(agent) = &mut self.hosts[host].agent else { return };
        for (judge, spec) in agent.judges.iter_mut().zip(probes) {
            if spec.subject == subject && judge.health() == Health::Failing {
                judge.forget();
            }
        }
    }

    /// A service hangs: its processes are there, and answer nothing.
    pub fn hang_service(&mut self, host: usize, service: usize) {
        if self.hosts[host].services[service].is_some() {
            self.hosts[host].hung[service] = true;
        }
    }

    /// Somebody else answers for the VIP for a while: every node's watch says so once a second.
    pub fn strange(&mut self, left: u64) {
        self.promise.note_stranger(self.now + left.min(1_000 * MS));
        for host in MEMBERS {
            self.input(host, Input::Stranger { mac: [2, 0, 0, 0, 0, 9] });
        }
        if left > 1_000 * MS && !self.chaos.over {
            let left = left - 1_000 * MS;
            self.after(1_000 * MS, Event::Fault(Fault::StrangerStays(left)));
        }
    }

    /// A fence does what it does, and says what it says: the two need not agree.
    pub fn fence(&mut self, host: usize, id: CommandId, node: NodeId) {
        let run = self.session(host);
        let target = usize::from(node.0) - 1;
        let after = self.rng.range(50 * MS, 900 * MS);
        let (off, outcome) = match self.rng.below(5) {
            0 | 1 => (true, Fenced::Confirmed("its power is off".into())),
            2 => (false, Fenced::Failed("the device refuses".into())),
            3 => (false, Fenced::Unknown("the device does not answer".into())),
            4.. => (true, Fenced::Unknown("the answer was lost".into())),
        };
        if off {
            self.after(after / 2, Event::Fault(Fault::PowerOff(target)));
            let again = after + self.rng.range(500 * MS, 4_000 * MS);
            self.after(again, Event::Fault(Fault::Boot(target)));
        }
        self.after(after, Event::Fenced { host, run, id, outcome });
    }

    /// What a fence said.
    pub fn fenced(&mut self, host: usize, run: u64, id: CommandId, outcome: Fenced) {
        self.outcome(host, run, id, Outcome::Fence(outcome));
    }

    /// An operator asks the holder, or now and then the other one.
    pub fn ask(&mut self, wish: Wish) {
        let node = |host: usize| NodeId(host as u16 + 1);
        let length = |length: u64| Some(Span(length));
        let what = match wish {
            Wish::Maintenance(host, time) => {
                Request::Maintenance { node: node(host), length: length(time) }
            }
            Wish::Pause(time) => Request::Pause { length: length(time) },
            Wish::Lift(host) => Request::Maintenance { node: node(host), length: None },
            Wish::Stop => Request::Stop,
            Wish::Start => Request::Start,
            Wish::Ttl(ttl) => Request::Timing(timing(ttl, self.truth.state.timing)),
            Wish::Fence(host) => Request::Fence { node: node(host) },
            Wish::Resync(host) => {
                let what = Request::Resync { node: node(host), in_place: false };
                return self.request(host, what);
            }
        };
        let holder = usize::from(self.truth.state.lease.holder.0) - 1;
        let there = self.hosts[holder].agent.is_some();
        let host = if there && self.rng.chance(800_000) { holder } else { 1 - holder };
        self.request(host, what);
    }

    /// Faults are over, and so is what operators asked for: a stopped cluster is started.
    pub fn end_wishes(&mut self) {
        for host in MEMBERS {
            self.hosts[host].hung.fill(false);
            self.hosts[host].broken.fill(false);
            self.hosts[host].blocked = self.hosts[host].blocked.min(self.now);
            let locked = self.hosts[host].database.server.as_ref().and_then(|s| s.locked);
            if let Some((session, _)) = locked {
                self.with_database(host, |db, ledger, rng, out| {
                    db.unlock(session, ledger, rng, out)
                });
            }
            for tries in 1..=4u64 {
                self.after(tries * 2_000 * MS, Event::Restart { host });
            }
        }
    }

    /// An operator who finds the cluster stopped starts it.
    pub fn restart_cluster(&mut self, host: usize) {
        if self.truth.state.intent.stopped.is_none() {
            return;
        }
        self.request(host, Request::Start);
    }
}

/// Margin as C4 wants it: a tenth of the ttl and a tick of 10 ms, and some more.
fn timing(ttl: u64, old: Timing) -> Timing {
    Timing { ttl: Span(ttl), margin: Span(ttl / 10 + 20 * MS), drift_ppm: old.drift_ppm }
}

fn forget(agent: &mut Agent, probes: &[ProbeSpec], subject: Subject) {
    for (judge, spec) in agent.judges.iter_mut().zip(probes) {
        if spec.subject == subject {
            judge.forget();
        }
    }
}
