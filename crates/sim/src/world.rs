//! The world of one run: time, the queue of events, and the judge after every one of them.

use crate::agent::Maker;
use crate::clients::Clients;
use crate::clock::Rates;
use crate::database::{Database, DbEvent, Effect, Ledger, Op, OpRef, Reply};
use crate::edges::Edges;
use crate::fault::{Chaos, Fault};
use crate::host::{Host, MEMBERS, NAMES, WITNESS};
use crate::log::Log;
use crate::net::Net;
use crate::promise::Promise;
use crate::register::Seat;
use crate::replication::Connection;
use crate::rng::Rng;
use crate::shared::{Belief, Device, Errand, Lie, Setting, voters_of};
use crate::stack::{Half, Waiter};
use crate::stopped::Stopped;
use crate::truth::Truth;
use crate::worker::Part;
use regent_core::command::{AddressStep, Fenced};
use regent_core::health::{Counts, ProbeSpec, Subject, Weight};
use regent_core::id::{AttemptId, ClusterId, CommandId, Epoch, Incarnation, NodeId};
use regent_core::invariant::{self, Cluster, DatabaseView, NodeView, Removal, Start, Violation};
use regent_core::node::Input;
use regent_core::observe::{Report, ServiceId};
use regent_core::spec::{Pace, Policy, ServiceSpec, Spec};
use regent_core::stack::Claim;
use regent_core::state::{
    Data, DataCopy, FORMAT, Intent, Lease, Member, MemberRole, Phase, State, Sync, Timing,
};
use regent_core::time::Span;
use regent_store::cell::{self, Message, Standing, VoterId};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// What can happen.
#[derive(Debug)]
#[expect(missing_docs, reason = "each is one call in World::happen, which says what it is")]
pub enum Event {
    AgentStart { host: usize, boot: u64 },
    Watchdog { host: usize, run: u64 },
    Units { host: usize, run: u64 },
    Step { host: usize, run: u64, turn: u64 },
    Inbox { host: usize, run: u64, input: Box<Input> },
    Address { host: usize, boot: u64, run: u64, id: CommandId, step: AddressStep },
    Swap { host: usize, run: u64, id: CommandId, attempt: AttemptId, expect: u64, bytes: Vec<u8> },
    Read { host: usize, run: u64, id: CommandId },
    High { host: usize, run: u64, version: u64 },
    SeatWake { host: usize, wake: u64 },
    Cell { to: usize, from: usize, message: Message },
    Stored { host: usize, life: u64 },
    Report { to: usize, report: Box<Report> },
    Probe { host: usize, run: u64, id: CommandId, node: NodeId },
    Sql { host: usize, start: u64, at: OpRef, op: Op },
    SqlReply { host: usize, at: OpRef, reply: Reply },
    Part { host: usize, run: u64, n: u64, part: Part },
    Patience { host: usize, run: u64, id: CommandId },
    KillDatabase { host: usize, run: u64, id: CommandId },
    Database { host: usize, start: u64, event: DbEvent },
    Pump { connection: u64, to: usize },
    Lost { connection: u64 },
    ServiceUp { host: usize, boot: u64, service: usize, run: u64, id: CommandId },
    ClientTurn { client: usize },
    ClientWrite { write: u64, host: usize },
    ClientAnswer { write: u64, good: bool, host: usize },
    ClientPatience { client: usize, write: u64 },
    Stray,
    Observe { host: usize, run: u64, probe: usize },
    Room { host: usize, run: u64 },
    Observed { host: usize, run: u64, probe: usize, passed: bool },
    Fenced { host: usize, run: u64, id: CommandId, outcome: Fenced },
    Restart { host: usize },
    Half { host: usize, run: u64, id: CommandId, half: Box<Half> },
    UnitTurn { host: usize, boot: u64, service: usize, job: u64, waiter: Waiter },
    UnitReady { host: usize, boot: u64, service: usize, job: u64, good: bool, waiter: Waiter },
    UnitGone { host: usize, boot: u64, service: usize, job: u64, waiter: Waiter },
    LookAtClaim { host: usize, run: u64 },
    Power { host: usize, on: bool },
    Bite { host: usize, boot: u64 },
    LateWrite { host: usize, boot: u64 },
    Voters(Errand),
    Fault(Fault),
}

struct Entry {
    at: u64,
    n: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        (self.at, self.n) == (other.at, other.n)
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> std::cmp::Ordering {
        (self.at, self.n).cmp(&(other.at, other.n))
    }
}

/// Everything.
pub struct World {
    /// The time that no host knows, in nanoseconds.
    pub now: u64,
    /// The one source of chance.
    pub rng: Rng,
    /// The links.
    pub net: Net,
    /// a, b and w.
    pub hosts: Vec<Host>,
    /// Every transaction.
    pub ledger: Ledger,
    /// The register as it is.
    pub truth: Truth,
    /// The clients.
    pub clients: Clients,
    /// What goes wrong by itself.
    pub chaos: Chaos,
    /// The story.
    pub log: Log,
    /// The first property that did not hold.
    pub violation: Option<Violation>,
    /// What was cut from logs in this step.
    pub removals: Vec<Removal>,
    /// Replication connections.
    pub connections: BTreeMap<u64, Connection>,
    /// How many there were.
    pub connections_made: u64,
    /// How many sessions took a lock.
    pub locks_taken: u64,
    /// When each proposal was sent, in proposals of its host.
    pub sent: BTreeMap<AttemptId, u64>,
    /// The cluster.
    pub cluster: ClusterId,
    /// What every node is configured with.
    pub spec: Spec,
    /// Makes what decides.
    pub maker: Maker,
    /// Events so far.
    pub events: u64,
    /// Some data directory was put back to an older copy: row 2 of section 9 may block.
    pub restored: bool,
    /// The shared-data world, if it is one.
    pub shared: Option<Setting>,
    /// The claim on the shared data.
    pub claim: Option<Claim>,
    /// What was started on shared data in this step.
    pub starts: Vec<Start>,
    /// How often a host began to use the shared data.
    pub uses: u64,
    /// Which edges between roles were taken.
    pub edges: Edges,
    /// When each member last did.
    pub begun: [u64; 2],
    /// Stops that somebody asked systemd for, by member.
    pub stopped: [Vec<Stopped>; 2],
    /// What fences do in a story.
    pub device: Option<Device>,
    /// An operator asked for a deactivation.
    pub stop_asked: bool,
    /// What an operator said that is not true.
    pub lie: Option<Lie>,
    /// What an operator said, and core is asked whether to believe.
    pub belief: Option<Belief>,
    /// This host gets no power any more.
    pub gone: Option<usize>,
    /// What nodes say, compared with what is so.
    pub promise: Promise,
    queue: BinaryHeap<Reverse<Entry>>,
    queued: u64,
    runs: u64,
}

/// Beside two leases, until a replica that is no member's is found and told from ours.
const FOUND: u64 = 200_000_000;

/// The lease of the default profile.
pub const TIMING: Timing =
    Timing { ttl: Span::millis(700), margin: Span::millis(90), drift_ppm: 10_000 };

/// The first content of the register: a is the writer, alone, and named.
fn first_state(cluster: ClusterId, writer: Incarnation) -> State {
    let member = |name: &str, role| Member { name: name.into(), speaks: FORMAT, role, by: None };
    State {
        replaces: None,
        format: FORMAT,
        cluster,
        lease: Lease {
            epoch: Epoch(1),
            holder: NodeId(1),
            phase: Phase::Free,
            ttl: TIMING.ttl,
            by: AttemptId::default(),
        },
        sync: Sync { writer: DataCopy { node: NodeId(1), incarnation: writer }, with: None },
        data: Data::Clear,
        intent: Intent::default(),
        members: BTreeMap::from([
            (NodeId(1), member("a", MemberRole::Node)),
            (NodeId(2), member("b", MemberRole::Node)),
            (NodeId(3), member("w", MemberRole::Witness)),
        ]),
        timing: TIMING,
        history: Vec::new(),
        kept: Default::default(),
    }
}

fn probe(name: &str, subject: Subject) -> ProbeSpec {
    ProbeSpec {
        name: name.into(),
        subject,
        weight: Weight::Vital,
        counts: Counts::Always,
        rise: 2,
        fall: 3,
        vip_link: false,
    }
}

/// What every node's file says.
pub fn default_spec() -> Spec {
    Spec {
        stack: None,
        nodes: vec![(NodeId(1), "a".into()), (NodeId(2), "b".into())],
        services: vec![ServiceSpec::vital("management"), ServiceSpec::vital("ui")],
        probes: vec![
            probe("management-http", Subject::Service(ServiceId(0))),
            probe("ui-http", Subject::Service(ServiceId(1))),
            probe("database-sql", Subject::Database),
        ],
        policy: Policy { fence_silent: false, ..Policy::default() },
        pace: Pace::default(),
        #[cfg(feature = "planted")]
        planted: None,
    }
}

impl World {
    /// A cluster that was just initialised on a; b has the same data and is not recorded.
    pub fn new(rng: Rng, maker: Maker, spec: Spec, log: Log) -> World {
        World::build(rng, maker, spec, None, log)
    }

    /// The same, or a shared-data world in which nobody was activated yet.
    pub(crate) fn build(
        mut rng: Rng,
        maker: Maker,
        spec: Spec,
        shared: Option<Setting>,
        log: Log,
    ) -> World {
        let cluster = ClusterId((u128::from(rng.draw()) << 64) | u128::from(rng.draw()));
        let writer = Incarnation(rng.draw());
        let mut state = first_state(cluster, writer);
        if let Some(setting) = shared {
            state.timing = setting.timing();
            state.lease.ttl = state.timing.ttl;
            state.intent.stopped = Some(AttemptId::default());
        }
        let seats: Vec<cell::Seat> = voters_of(shared)
            .iter()
            .map(|host| cell::Seat {
                voter: VoterId(rng.draw()),
                node: cell::NodeId(*host as u16 + 1),
            })
            .collect();
        let records = cell::initial_records(cell::ClusterId(cluster.0), &seats, &state.encode());
        let mut hosts: Vec<Host> = records
            .into_iter()
            .map(|(node, record)| {
                let seat = Seat::new(Standing::Seated(record));
                let services = spec.services.len();
                Host::new(NodeId(node.0), seat, services, Rates::TRUE, &mut rng)
            })
            .collect();
        if hosts.len() == WITNESS {
            let seat = Seat::new(Standing::Vacant);
            hosts.push(Host::new(NodeId(3), seat, spec.services.len(), Rates::TRUE, &mut rng));
        }
        let mut world = World {
            now: 0,
            rng,
            net: Net::new(),
            hosts,
            ledger: Ledger::default(),
            truth: Truth::new(state),
            clients: Clients::new(2, (15_000_000, 60_000_000)),
            chaos: Chaos::default(),
            log,
            violation: None,
            removals: Vec::new(),
            connections: BTreeMap::new(),
            connections_made: 0,
            locks_taken: 0,
            sent: BTreeMap::new(),
            cluster,
            spec,
            maker,
            events: 0,
            restored: false,
            shared,
            claim: None,
            starts: Vec::new(),
            uses: 0,
            edges: Edges::default(),
            begun: [0; 2],
            stopped: Default::default(),
            device: None,
            stop_asked: false,
            lie: None,
            belief: None,
            gone: None,
            promise: Promise::default(),
            queue: BinaryHeap::new(),
            queued: 0,
            runs: 0,
        };
        if shared.is_some() {
            world.lay_out_shared();
        } else {
            world.lay_out(writer);
        }
        world
    }

    /// Who votes.
    pub(crate) fn voters(&self) -> &'static [usize] {
        voters_of(self.shared)
    }

    /// Every agent is started, and nothing else.
    fn lay_out_shared(&mut self) {
        for host in MEMBERS {
            self.hosts[host].services.fill(None);
            self.start_agent(host);
        }
        if self.voters().contains(&WITNESS) {
            self.start_seat(WITNESS, 0, false);
        }
    }

    /// The first rows, on both hosts; a's server runs, everything else is started.
    fn lay_out(&mut self, writer: Incarnation) {
        let gtid = |seq| crate::database::Gtid { server: writer.0, seq };
        let first: Vec<u32> = (1..4).map(|seq| self.ledger.record(gtid(seq), None)).collect();
        for id in &first {
            self.ledger.acknowledged.insert(*id);
            for host in MEMBERS {
                let files = &mut self.hosts[host].database.files;
                files.binlog.push(*id);
                files.logged.insert(*id);
                files.synced = files.binlog.len();
            }
        }
        #[cfg(feature = "planted")]
        for host in MEMBERS {
            self.hosts[host].database.planted = self.spec.planted;
        }
        for host in MEMBERS {
            self.hosts[host].database.start();
        }
        self.hosts[0].database.keep(writer, false);
        for host in MEMBERS {
            self.start_agent(host);
        }
        self.start_seat(WITNESS, 0, false);
        for client in 0..self.clients.count() {
            let after = self.rng.below(20_000_000);
            self.after(after, Event::ClientTurn { client });
        }
        self.after(500_000_000, Event::Stray);
    }

    /// Something happens so much later.
    pub fn after(&mut self, after: u64, event: Event) {
        self.at(self.now + after, event);
    }

    /// Something happens at this time.
    pub fn at(&mut self, at: u64, event: Event) {
        self.queued += 1;
        let entry = Entry { at: at.max(self.now), n: self.queued, event };
        self.queue.push(Reverse(entry));
    }

    /// The number of the next run of an agent.
    pub fn next_run(&mut self) -> u64 {
        self.runs += 1;
        self.runs
    }

    /// Writes a line of the story about a host.
    pub fn tell(&mut self, host: usize, area: &str, text: impl FnOnce() -> String) {
        self.log.tell(self.now, NAMES[host], area, text);
    }

    /// Why this host's node is where it is, by its own account.
    pub fn explain(&self, host: usize) -> Vec<String> {
        let h = &self.hosts[host];
        let time = h.clock.read(self.now);
        h.agent.as_ref().map_or(Vec::new(), |agent| agent.brain.explain(time))
    }

    /// Runs until this time, or until something does not hold.
    pub fn run_until(&mut self, end: u64) {
        while self.violation.is_none() {
            match self.queue.peek() {
                Some(Reverse(entry)) if entry.at <= end => {}
                _ => break,
            }
            self.step();
        }
        if self.violation.is_none() {
            self.now = self.now.max(end);
        }
    }

    /// One event, and the judge.
    pub fn step(&mut self) {
        let Some(Reverse(Entry { at, event, .. })) = self.queue.pop() else { return };
        self.now = at;
        self.events += 1;
        if let Some(until) = self.frozen(&event) {
            let later = until + self.rng.below(2_000_000);
            let later = if let Event::Address { host, .. } = event {
                self.hosts[host].address_turn(later)
            } else {
                later
            };
            return self.at(later, event);
        }
        self.log.mix(at ^ kind(&event));
        self.happen(event);
        self.judge();
        self.compare_words();
    }

    /// Until when the host that this event is on stands still, if it does.
    fn frozen(&self, event: &Event) -> Option<u64> {
        let host = match event {
            Event::AgentStart { host, .. }
            | Event::Watchdog { host, .. }
            | Event::Units { host, .. }
            | Event::Step { host, .. }
            | Event::Inbox { host, .. }
            | Event::Address { host, .. }
            | Event::Swap { host, .. }
            | Event::Read { host, .. }
            | Event::High { host, .. }
            | Event::SeatWake { host, .. }
            | Event::Cell { to: host, .. }
            | Event::Stored { host, .. }
            | Event::Report { to: host, .. }
            | Event::Observe { host, .. }
            | Event::Room { host, .. }
            | Event::Observed { host, .. }
            | Event::Fenced { host, .. }
            | Event::Sql { host, .. }
            | Event::SqlReply { host, .. }
            | Event::Part { host, .. }
            | Event::Patience { host, .. }
            | Event::KillDatabase { host, .. }
            | Event::Database { host, .. }
            | Event::ServiceUp { host, .. }
            | Event::Half { host, .. }
            | Event::UnitTurn { host, .. }
            | Event::UnitReady { host, .. }
            | Event::UnitGone { host, .. }
            | Event::LookAtClaim { host, .. }
            | Event::Probe { host, .. } => *host,
            Event::Pump { .. }
            | Event::Lost { .. }
            | Event::ClientTurn { .. }
            | Event::ClientWrite { .. }
            | Event::ClientAnswer { .. }
            | Event::ClientPatience { .. }
            | Event::Stray
            | Event::Restart { .. }
            | Event::Power { .. }
            | Event::Bite { .. }
            | Event::LateWrite { .. }
            | Event::Voters(_)
            | Event::Fault(_) => return None,
        };
        if let Some(until) = self.hosts[host].paused {
            return Some(until);
        }
        if !matches!(event, Event::Sql { .. } | Event::Database { .. }) {
            return None;
        }
        let stalled = self.hosts[host].database.server.as_ref().map_or(0, |server| server.stalled);
        (stalled > self.now).then_some(stalled)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::AgentStart { host, boot } => self.agent_start(host, boot),
            Event::Watchdog { host, run } => self.watchdog(host, run),
            Event::Units { host, run } => self.tell_units(host, run),
            Event::Step { host, run, turn } => self.step_agent(host, run, turn),
            Event::Inbox { host, run, input } => {
                if self.session(host) == run {
                    self.input(host, *input);
                }
            }
            Event::Address { host, boot, run, id, step } => {
                // What was under way in a kernel ends with it.
                if self.hosts[host].boots == boot {
                    self.change_address(host, run, id, step);
                }
            }
            Event::Swap { host, run, id, attempt, expect, bytes } => {
                if self.session(host) == run {
                    self.seat_swap(host, id, attempt, expect, bytes);
                } else {
                    self.truth.dropped(attempt);
                }
            }
            Event::Read { host, run, id } => {
                if self.session(host) == run {
                    self.seat_read(host, id);
                }
            }
            Event::High { host, run, version } => {
                if self.session(host) == run {
                    self.seat_high(host, version);
                }
            }
            Event::SeatWake { host, wake } => self.seat_wake(host, wake),
            Event::Cell { to, from, message } => self.seat_message(to, from, message),
            Event::Stored { host, life } => self.seat_stored(host, life),
            Event::Report { to, report } => {
                let from = usize::from(report.node.0) - 1;
                if self.hosts[to].pair.cluster == self.hosts[from].pair.cluster {
                    self.input(to, Input::Report(*report));
                }
            }
            Event::Probe { host, run, id, node } => self.probe(host, run, id, node),
            Event::Sql { host, start, at, op } => self.sql(host, start, at, op),
            Event::SqlReply { host, at, reply } => self.sql_reply(host, at, reply),
            Event::Part { host, run, n, part } => self.end_part(host, run, n, part),
            Event::Patience { host, run, id } => self.patience_over(host, run, id),
            Event::KillDatabase { host, run, id } => self.kill_database_for(host, run, id),
            Event::Database { host, start, event } => {
                let server = self.hosts[host].database.server.as_ref();
                if server.is_some_and(|server| server.start == start) {
                    self.database_event(host, event);
                }
            }
            Event::Pump { connection, to } => self.pump(connection, to),
            Event::Lost { connection } => self.lost(connection),
            Event::ServiceUp { host, boot, service, run, id } => {
                if self.hosts[host].boots == boot && self.hosts[host].powered {
                    self.service_up(host, service, run, id);
                }
            }
            Event::ClientTurn { client } => self.client_turn(client),
            Event::ClientWrite { write, host } => self.client_write(write, host),
            Event::ClientAnswer { write, good, host } => self.client_answer(write, good, host),
            Event::ClientPatience { client, write } => self.client_patience(client, write),
            Event::Stray => self.stray_write(),
            Event::Observe { host, run, probe } => self.observe(host, run, probe),
            Event::Room { host, run } => self.look_for_room(host, run),
            Event::Observed { host, run, probe, passed } => {
                self.observed(host, run, probe, passed);
            }
            Event::Fenced { host, run, id, outcome } => self.fenced(host, run, id, outcome),
            Event::Restart { host } if self.shared.is_some() => self.operate(host),
            Event::Restart { host } => self.restart_cluster(host),
            Event::Half { host, run, id, half } => self.stack_half(host, run, id, *half),
            Event::UnitTurn { host, boot, service, job, waiter } => {
                self.unit_turn(host, boot, service, job, waiter);
            }
            Event::UnitReady { host, boot, service, job, good, waiter } => {
                self.unit_ready(host, boot, service, job, good, waiter);
            }
            Event::UnitGone { host, boot, service, job, waiter } => {
                self.unit_gone(host, boot, service, job, waiter);
            }
            Event::LookAtClaim { host, run } => self.look_at_claim(host, run),
            Event::Power { host, on } => self.power(host, on),
            Event::Bite { host, boot } => self.bite(host, boot),
            Event::LateWrite { host, boot } => self.land(host, boot),
            Event::Voters(errand) => self.run_errand(errand),
            Event::Fault(fault) => self.strike(&fault),
        }
    }

    fn agent_start(&mut self, host: usize, boot: u64) {
        let h = &self.hosts[host];
        if !h.powered || h.boots != boot || h.agent.is_some() || h.seat.voter.is_some() {
            return;
        }
        if host == WITNESS {
            if !self.voters().contains(&WITNESS) {
                return;
            }
            self.start_seat(host, 0, false);
            return self.tell(host, "agent", || String::from("started"));
        }
        // It writes down its run before it does anything (C6).
        if self.hosts[host].seat.full > self.now {
            return self.plan_restart(host);
        }
        if self.begins_as_node(host) {
            self.start_agent(host);
            self.goes_on_seating(host);
        }
    }

    fn sql(&mut self, host: usize, start: u64, at: OpRef, op: Op) {
        let here = self.hosts[host].database.server.as_ref().map(|server| server.start);
        // A connection to an earlier start is broken; only taking control opens a new one.
        if here != Some(start) && !(here.is_some() && op == Op::TakeControl) {
            return self.after(30_000, Event::SqlReply { host, at, reply: Reply::Down });
        }
        self.with_database(host, |database, ledger, rng, out| {
            database.sql(at, op, ledger, rng, out);
        });
        self.lie_in_wait(host);
    }

    /// Lets a database act, and carries out what it does to the world.
    pub fn with_database(
        &mut self,
        host: usize,
        act: impl FnOnce(&mut Database, &mut Ledger, &mut Rng, &mut Vec<Effect>),
    ) {
        let mut effects = Vec::new();
        let database = &mut self.hosts[host].database;
        let start = database.server.as_ref().map_or(0, |server| server.start);
        database.clock = self.now;
        self.ledger.clock = self.now;
        act(database, &mut self.ledger, &mut self.rng, &mut effects);
        self.take_effects(host, start, effects);
    }

    /// A new value of the register is decided.
    pub fn note_decided(&mut self) {
        let lease = self.truth.state.lease;
        let version = self.truth.version;
        self.log.mix(version);
        self.note_right();
        if let Some(sent) = self.sent.get(&lease.by).copied() {
            let host = usize::from(lease.by.node.0) - 1;
            if lease.holder == lease.by.node {
                let decided = &mut self.hosts[host].count.decided;
                *decided = (*decided).max(sent);
            }
        }
        let sync = self.truth.state.sync;
        self.log.detail(self.now, "-", "register", || {
            format!(
                "version {version}: epoch {}, {} {:?}, {sync:?}",
                lease.epoch, lease.holder, lease.phase
            )
        });
        let before = self.truth.before.as_ref();
        if self.shared.is_some() {
            return self.note_decided_shared();
        }
        if before.is_some_and(|b| b.lease.epoch != lease.epoch || b.sync != sync) {
            let with = sync.with.map_or("alone", |with| NAMES[usize::from(with.node.0) - 1]);
            let text = format!(
                "epoch {} of {}, {:?}; writer {} with {with}",
                lease.epoch,
                NAMES[usize::from(lease.holder.0) - 1],
                lease.phase,
                NAMES[usize::from(sync.writer.node.0) - 1],
            );
            self.log.tell(self.now, "-", "register", || text);
            self.strike_while_hot();
        }
    }

    /// A rule of the world was broken that is no invariant of the protocol.
    pub fn break_rule(&mut self, host: usize, what: &str) {
        let text = format!("{} asks for {what}", NAMES[host]);
        self.violated(Violation { id: "order", text });
    }

    /// Something does not hold.
    pub fn violated(&mut self, violation: Violation) {
        if self.violation.is_none() {
            self.log.tell(self.now, "-", "VIOLATION", || violation.to_string());
            self.violation = Some(violation);
        }
    }

    /// Notes what opened and closed, and asks every predicate.
    pub fn judge(&mut self) {
        for host in MEMBERS {
            let open = self.hosts[host].powered && {
                let h = &self.hosts[host];
                h.gate.is_open(&h.clock, self.now)
            };
            if open != self.hosts[host].was_open {
                self.hosts[host].was_open = open;
                self.tell(host, "gate", || String::from(if open { "open" } else { "closed" }));
            }
        }
        self.note_uses();
        let verdict = self.picture(invariant::check);
        self.note_shown();
        self.removals.clear();
        self.starts.clear();
        if let Err(violation) = verdict {
            self.violated(violation);
        }
    }

    /// D9: what a node showed while it served counts as acknowledged, for somebody may have read it.
    fn note_shown(&mut self) {
        let now = self.now;
        // ADR 0027: what a foreign replica alone confirmed may be lost until it is found, and solo is won.
        let window = 2 * self.truth.state.lease.ttl.0 + FOUND;
        for host in MEMBERS {
            let h = &self.hosts[host];
            let mut slots = h.gate.view(&h.clock, h.count, self.now).into_iter();
            let awake = slots.any(|slot| slot.ticket && slot.held && slot.thawed.is_none());
            let serves = h.powered && h.paused.is_none() && awake;
            let Some(server) = self.hosts[host].database.server.as_mut() else { continue };
            if !serves || server.stalled > now {
                // Nobody looks, and nobody can be answered: the time to find a foreign replica begins anew.
                server.foreign = server.foreign.map(|_| now);
            }
            if !serves {
                continue;
            }
            server.by_hand = false;
            let found = server.foreign.is_some_and(|since| now - since > window);
            if !server.strict || found {
                server.owed.clear();
            }
            if server.owed.is_empty() {
                self.ledger.acknowledged.add(&server.visible);
            } else {
                let mut shown = server.visible.clone();
                server.owed.iter().for_each(|(_, id)| shown.remove(*id));
                self.ledger.acknowledged.add(&shown);
            }
        }
    }

    /// Asks a predicate about this very instant.
    pub fn picture<T>(&self, ask: impl FnOnce(&Cluster<'_>) -> T) -> T {
        let nodes = [self.node_view(0), self.node_view(1)];
        ask(&Cluster {
            now: self.now,
            register: &self.truth.state,
            before: self.truth.before.as_ref(),
            pending: &self.truth.pending,
            acknowledged: &self.ledger.acknowledged,
            nodes: &nodes,
            removals: &self.removals,
            shared: self.shared.is_some(),
            starts: &self.starts,
        })
    }

    fn node_view(&self, host: usize) -> NodeView<'_> {
        let h = &self.hosts[host];
        let server = h.database.server.as_ref();
        let time = h.clock.read(self.now);
        NodeView {
            node: h.node,
            // A kernel that hangs with its clocks going on is within the assumption.
            thawed: h.is_thawed(),
            gate: if h.powered {
                h.gate.view(&h.clock, h.count, self.now)
            } else {
                Default::default()
            },
            rules: h.agent.as_ref().is_some_and(|agent| agent.brain.rules(time)),
            database: DatabaseView {
                up: server.is_some(),
                writable: server.is_some_and(|server| !server.read_only && !server.by_hand),
                open: server.filter(|server| !server.by_hand).map_or(0, |s| s.open_commits()),
                loose: server.is_some_and(|server| !server.strict),
                confirmed_by: self.confirming_replica(host).map(|host| self.hosts[host].node),
                living: h.database.living(),
                logged: &h.database.files.logged,
                received: &h.database.files.received,
                visible: server.map_or(&h.database.files.logged, |server| &server.visible),
            },
            shared: h.stack.uses(self.now),
            whole: self.stack_is_up(host),
        }
    }
}

/// A number for the fingerprint.
fn kind(event: &Event) -> u64 {
    match event {
        Event::AgentStart { host, .. } => 100 + *host as u64,
        Event::Watchdog { host, .. } => 200 + *host as u64,
        Event::Units { host, .. } => 250 + *host as u64,
        Event::Step { host, turn, .. } => 300 + *host as u64 + (turn << 16),
        Event::Inbox { host, .. } => 400 + *host as u64,
        Event::Address { host, .. } => 500 + *host as u64,
        Event::Swap { host, expect, .. } => 600 + *host as u64 + (expect << 16),
        Event::Read { host, .. } => 700 + *host as u64,
        Event::High { host, version, .. } => 800 + *host as u64 + (version << 16),
        Event::SeatWake { host, .. } => 900 + *host as u64,
        Event::Cell { to, from, .. } => 1000 + *to as u64 + 10 * *from as u64,
        Event::Stored { host, .. } => 1100 + *host as u64,
        Event::Report { to, report } => 1200 + *to as u64 + (report.n << 16),
        Event::Probe { host, .. } => 1300 + *host as u64,
        Event::Sql { host, at, .. } => 1400 + *host as u64 + (at.n << 16),
        Event::SqlReply { host, at, .. } => 1500 + *host as u64 + (at.n << 16),
        Event::Part { host, .. } => 1600 + *host as u64,
        Event::Patience { host, .. } => 1700 + *host as u64,
        Event::KillDatabase { host, .. } => 1800 + *host as u64,
        Event::Database { host, .. } => 1900 + *host as u64,
        Event::Pump { connection, .. } => 2000 + (connection << 16),
        Event::Lost { connection } => 2100 + (connection << 16),
        Event::ServiceUp { host, .. } => 2200 + *host as u64,
        Event::ClientTurn { client } => 2300 + *client as u64,
        Event::ClientWrite { write, .. } => 2400 + (write << 16),
        Event::ClientAnswer { write, .. } => 2500 + (write << 16),
        Event::ClientPatience { write, .. } => 2600 + (write << 16),
        Event::Stray => 2700,
        Event::Observe { host, probe, .. } => 2900 + ((*probe as u64) << 16) + *host as u64,
        Event::Observed { host, probe, .. } => 3000 + ((*probe as u64) << 16) + *host as u64,
        Event::Fenced { host, .. } => 3100 + *host as u64,
        Event::Restart { host } => 3200 + *host as u64,
        Event::Half { host, .. } => 3300 + *host as u64,
        Event::UnitTurn { host, service, .. } => 3400 + *host as u64 + ((*service as u64) << 16),
        Event::UnitReady { host, service, .. } => 3500 + *host as u64 + ((*service as u64) << 16),
        Event::UnitGone { host, service, .. } => 3600 + *host as u64 + ((*service as u64) << 16),
        Event::LookAtClaim { host, .. } => 3700 + *host as u64,
        Event::Power { host, on } => 3800 + *host as u64 + (u64::from(*on) << 16),
        Event::Bite { host, .. } => 3900 + *host as u64,
        Event::Voters(_) => 4000,
        Event::Fault(_) => 2800,
        Event::Room { host, .. } => 4100 + *host as u64,
        Event::LateWrite { host, .. } => 4200 + *host as u64,
    }
}
