//! The one state machine of a node: inputs in, commands out, the next deadline, and why.
//!
//! Each input is taken in (facts, views, outcomes), then [`Node::handle`] looks at everything it knows and asks
//! for the next steps. Nothing is remembered as "to do": what is missing between the register and the facts is
//! what is asked for, so a restart, a lost answer or a step that failed needs no special path.
//!
//! | room | what |
//! |---|---|
//! | `engine` | who holds, since when, and the gate |
//! | `workload` | what a holder makes ready and a standby keeps ready: `replicated`, `shared`, `services` |
//! | `requests` | what operators asked for, until they are answered |
//! | `intents` | maintenance, pause, stop and start, timing (C5) |
//! | `people` | what people and peers are told |
//! | `output` | the commands of all parts, and what each that is under way is for |
//!
//! A part that has a type of its own ([`engine::vip::Vip`], [`engine::holding::Holding`], ...) is changed by its own
//! file only: its fields are private.

mod engine;
mod intents;
mod output;
mod people;
mod requests;
mod workload;

pub use people::status::{NodeStatus, PeerStatus, ProbeStatus};

use crate::command::{Action, Answer, Command, Outcome, Request, RunRecord};
use crate::event::{Event, Severity};
use crate::health::{Health, ProbeId};
use crate::id::{
    AttemptId, BootId, ClusterId, CommandId, Epoch, NodeId, RequestId, RunId, Version,
};
use crate::observe::{Report, ServiceId, UnitState};
use crate::reason::Mute;
use crate::room::{Room, Seen};
use crate::spec::Spec;
use crate::stack::DataLost;
use crate::time::{Span, Time};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use engine::fencing::Fencing;
use engine::holding::Holding;
use engine::moves::Move;
use engine::peers::{Peer, Stranger};
use engine::propose::Proposals;
use engine::succession::{BackOff, Succession};
use engine::view::View;
use engine::vip::Vip;
use output::{Flight, Output};
use people::report::Reporting;
use people::serving::Serving;
use people::told::Told;
use requests::Requests;
use workload::replicated::compare::Comparing;
use workload::replicated::database::Database;
use workload::replicated::follow::Following;
use workload::replicated::follower::Follower;
use workload::replicated::recopy::Recopy;
use workload::services::{Probe, Service};
use workload::shared::stack::Stack;

/// Who this node is, in this run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The cluster it was initialised for.
    pub cluster: ClusterId,
    /// This member.
    pub node: NodeId,
    /// This boot of the kernel.
    pub boot: BootId,
    /// This run of the agent.
    pub run: RunId,
    /// Seeds back-off and new incarnations; random per run.
    pub seed: u64,
    /// The link address of the interface that carries the VIP.
    pub link: Option<[u8; 6]>,
    /// The digest of its configuration.
    pub configuration: u64,
    /// The newest format that its release speaks (R7): [`crate::state::FORMAT`].
    pub speaks: u16,
}

/// What can happen to a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// A deadline passed.
    Tick,
    /// A value of the register was read or pushed here (a view: it permits nothing, R4).
    View {
        /// Its version.
        version: Version,
        /// Its bytes.
        bytes: Vec<u8>,
        /// The latest attempt of each node, as the value has them (R5).
        recent: Vec<AttemptId>,
    },
    /// A command came to its end.
    Outcome {
        /// Which.
        id: CommandId,
        /// How.
        outcome: Outcome,
    },
    /// A peer's report.
    Report(Report),
    /// systemd or a pidfd says so: the database's unit.
    DatabaseUnit(UnitState),
    /// How far the step of the database is that is under way, in the words of whoever does it.
    DatabaseProgress(String),
    /// The same for a service.
    ServiceUnit {
        /// Which.
        service: ServiceId,
        /// What.
        state: UnitState,
        /// It is down because somebody asked systemd for that.
        asked: bool,
    },
    /// A probe's health changed, as [`crate::health::Judge`] has it.
    Health {
        /// Which.
        probe: ProbeId,
        /// To what.
        health: Health,
        /// What it saw; empty if it passes.
        why: String,
    },
    /// The kernel's filter was changed by somebody else; the adapter took the address off and loaded it closed
    /// again (G3).
    GateLost,
    /// A watchdog with no way out is armed from here on: this long after it was last rightfully fed, the host is surely
    /// reset.
    Watchdog(Span),
    /// The claim on the shared data is newer than this node's own, or another cluster's: in words (section 6).
    ForeignClaim(String),
    /// The shared directory is lost for this host, or answers again; at each change.
    SharedData(Option<DataLost>),
    /// A member greeted, by its certificate, and by another register than this one (section 6).
    ForeignRegister {
        /// Who.
        node: NodeId,
        /// Its cluster id.
        cluster: ClusterId,
    },
    /// What is left of the file system of the agent's own state; at each change.
    Room(Room),
    /// Somebody else answers for the VIP (G2).
    Stranger {
        /// The foreign link address.
        mac: [u8; 6],
    },
    /// An operator asks.
    Operator {
        /// Names the answer.
        request: RequestId,
        /// What.
        what: Request,
    },
}

/// A node's decision core.
#[derive(Clone, Debug)]
pub struct Node {
    identity: Identity,
    spec: Spec,
    record: RunRecord,
    born: Time,
    random: u64,
    out: Output,
    vip: Vip,

    view: Option<View>,
    read_asked: Option<Time>,
    mute: Option<Mute>,

    proposals: Proposals,

    holding: Holding,
    /// It was told that this holder's data is not the recorded copy.
    told_foreign: bool,

    database: Database,
    follower: Follower,

    moving: Option<Move>,
    /// The data here are to be copied anew.
    recopy: Option<Recopy>,
    /// Comparisons of both copies.
    comparing: Comparing,
    /// When a move because of a service's death was last seen, by whichever node (L4).
    service_moved: Option<Time>,
    succession: Option<Succession>,
    following: Following,
    back_off: BackOff,

    requests: Requests,
    /// When the formats that are spoken were last to be written.
    format_asked: Option<Time>,
    fencing: Fencing,
    /// Since when the services have been down on a node that stops by an operator's word.
    quieting: Option<Time>,
    stranger: Option<Stranger>,

    stack: Stack,
    /// As it was seen last.
    room: Seen,

    peers: BTreeMap<NodeId, Peer>,
    services: Vec<Service>,
    probes: Vec<Probe>,

    reporting: Reporting,
    told: Told,
    serving: Serving,
}

impl Node {
    /// A node at the start of a run: everything of earlier runs is forgotten but what `record` says (C6).
    pub fn new(identity: Identity, spec: Spec, record: RunRecord, now: Time) -> Node {
        let peers = spec
            .nodes
            .iter()
            .filter(|(node, _)| *node != identity.node)
            .map(|(node, _)| (*node, Peer::new(now)))
            .collect();
        let services = spec.services.iter().map(|_| Service::new()).collect();
        let probes = spec.probes.iter().map(|_| Probe::new()).collect();
        Node {
            random: identity.seed,
            vip: Vip::found(record.gate, now),
            proposals: Proposals::new(&record),
            identity,
            spec,
            record,
            born: now,
            out: Output::new(),
            view: None,
            read_asked: None,
            mute: None,
            holding: Holding::default(),
            told_foreign: false,
            database: Database::new(),
            follower: Follower::default(),
            moving: None,
            recopy: None,
            comparing: Comparing::default(),
            service_moved: None,
            succession: None,
            following: Following::default(),
            back_off: BackOff::default(),
            requests: Requests::default(),
            format_asked: None,
            fencing: Fencing::default(),
            quieting: None,
            stranger: None,
            stack: Stack::default(),
            room: Seen::default(),
            peers,
            services,
            probes,
            reporting: Reporting::default(),
            told: Told::default(),
            serving: Serving::default(),
        }
    }

    /// Takes one input. `now` was read after the input arrived (C2).
    pub fn handle(&mut self, input: Input, now: Time) {
        match input {
            Input::Tick => {}
            Input::View { version, bytes, recent } => self.take_view(version, &bytes, &recent, now),
            Input::Outcome { id, outcome } => self.take_outcome(id, outcome, now),
            Input::Report(report) => self.take_report(report, now),
            Input::DatabaseUnit(state) => self.take_database_unit(state, now),
            Input::DatabaseProgress(text) => self.take_progress(text),
            Input::ServiceUnit { service, state, asked } => {
                self.take_service_unit(service, state, asked, now);
            }
            Input::Health { probe, health, why } => self.take_health(probe, health, why, now),
            Input::GateLost => {
                self.tell("gate.lost", Severity::Alarm, "somebody changed the filter in front of the VIP; the address was taken off and the filter loaded closed again [G3]".into());
                self.vip.was_lost();
            }
            Input::Watchdog(length) => self.stack.watchdog = Some(length),
            Input::ForeignClaim(what) => self.take_foreign_claim(what),
            Input::SharedData(lost) => self.take_shared_data(lost, now),
            Input::ForeignRegister { node, cluster } => {
                self.take_foreign_register(node, cluster, now);
            }
            Input::Room(room) => self.take_room(room),
            Input::Stranger { mac } => self.take_stranger(mac, now),
            Input::Operator { request, what } => self.take_request(request, what, now),
        }
        self.decide(now);
    }

    /// The next command, in order; none when all are out.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.out.poll()
    }

    /// What follows from everything that is known, in this order.
    fn decide(&mut self, now: Time) {
        // What has ended, by the clock alone.
        self.end_what_is_over(now);
        self.note_stop();
        self.mend_workload(now);
        // What this node is: one of five.
        if self.mute.is_some() {
            self.close();
            self.idle_workload(now);
        } else if self.view.is_none() {
            self.close_if_no_right(now);
            self.idle_workload(now);
        } else if self.is_stopped() {
            self.stop_workload(now);
            self.propose_wish(now);
        } else if self.holds() {
            self.hold(now);
        } else {
            self.stand_by(now);
        }
        // What is owed whatever it is.
        let wanted = self.wants_address();
        self.vip.finish_close(wanted, now, &mut self.out);
        self.restore_services(now);
        self.fence_silent(now);
        self.suspect(now);
        self.observe_workload(now);
        self.read_when_stale(now);
        // What others are told.
        self.notice_changes(now);
        self.report_when_due(now);
    }

    /// In how long `handle(Tick)` is due, at the latest: exact for what ends a wait, a right or a report's interval,
    /// and never longer than a fifth of the shortest patience.
    pub fn next_wake(&self, now: Time) -> Span {
        const PATIENCE: Span = Span::millis(20);
        let mut wake = PATIENCE;
        let mut consider = |left: Span| {
            if left > Span::ZERO && left < wake {
                wake = left;
            }
        };
        if let Some(tenure) = self.holding.tenure() {
            if let Some(wait) = tenure.wait {
                consider(wait.left(now));
            }
            if let Some(right) = tenure.right {
                consider(right.left(now));
            }
            if let Some(since) = self.proposals.since_last(now) {
                consider(self.spec.pace.renewal.less(since));
            }
        }
        let report = self.reporting.due_in(self.spec.pace.report, now);
        report.into_iter().flatten().for_each(&mut consider);
        if self.database.is_urgent() || self.is_watched(now) {
            consider(workload::replicated::database::HURRY);
        }
        wake
    }

    /// Puts a command out; the outcome will come back under the id returned.
    fn ask(&mut self, action: Action, flight: Option<Flight>) -> CommandId {
        self.out.ask(action, flight)
    }

    /// Is a command of this kind under way?
    fn in_flight(&self, wanted: impl Fn(&Flight) -> bool) -> bool {
        self.out.in_flight(wanted)
    }

    fn take_outcome(&mut self, id: CommandId, outcome: Outcome, now: Time) {
        let Some(flight) = self.out.land(id) else { return };
        match flight {
            Flight::Clock { n } => self.take_clock(n, outcome),
            Flight::Arm { n, slot, ticket } => self.take_armed(n, slot, ticket, outcome, now),
            Flight::Enable { slot } => self.take_enabled(slot, outcome, now),
            Flight::Close => self.vip.take_closed(outcome, now, &mut self.out),
            Flight::Propose { n } => self.take_swap(n, outcome, now),
            Flight::Database(step) => self.take_database(step, id, outcome, now),
            Flight::Marker { token } => self.take_marker(token, outcome, now),
            Flight::Verify => self.take_compared(outcome, now),
            Flight::Probe(node) => self.take_probe(node, outcome),
            Flight::AddressAdd => self.vip.take_added(outcome, now, &mut self.out),
            Flight::AddressRemove => self.vip.take_removed(outcome, now, &mut self.out),
            Flight::DestroySockets => self.note_move(|m| m.sockets = true),
            Flight::Refuse => self.note_move(|m| m.refused = true),
            Flight::Service(service) => self.take_service_done(service, outcome),
            Flight::Stack(step) => self.take_stack(step, outcome, now),
            Flight::Fence { node, epoch } => self.take_fenced(node, epoch, outcome),
            Flight::Announce | Flight::Read => {}
        }
    }

    /// Tells operators.
    fn tell(&mut self, code: &str, severity: Severity, text: String) {
        self.out.tell(code, severity, text);
    }

    /// Serving began, and with it the outage ended that was seen from here, if any.
    fn tell_served(&mut self, now: Time, text: &str) {
        let away = self.serving.end_outage(now);
        let measured =
            |away: Span| alloc::format!("; away for {} ms as seen from here", away.as_millis());
        let text = alloc::format!("{text}{}", away.map_or(String::new(), measured));
        let event = Event::new("role.active", Severity::Info, self.epoch(), text);
        self.out.tell_event(Event { away, ..event });
    }

    /// The next random number (splitmix64, Steele et al. 2014).
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn me(&self) -> NodeId {
        self.identity.node
    }

    /// A node's name in the configuration, or its number.
    fn name(&self, node: NodeId) -> String {
        let known = self.spec.nodes.iter().find(|(id, _)| *id == node);
        known.map_or_else(|| alloc::format!("{node}"), |(_, name)| name.clone())
    }

    /// The epoch of the newest view, or 0 before any.
    fn epoch(&self) -> Epoch {
        self.out.epoch()
    }

    /// Does the newest view name this node as holder?
    fn holds(&self) -> bool {
        self.view.as_ref().is_some_and(|view| view.state.lease.holder == self.identity.node)
    }

    #[cfg(feature = "planted")]
    fn planted(&self, which: crate::planted::Planted) -> bool {
        self.spec.planted == Some(which)
    }

    /// Tells, unless the same was told under this code and has not ended since.
    fn tell_edge(&mut self, code: &'static str, severity: Severity, text: String) {
        self.told.tell(code, severity, text, &mut self.out);
    }

    /// Closes the gate, and takes the address off.
    fn close(&mut self) {
        self.vip.close(&mut self.out);
    }

    /// No view yet, and the tickets of an earlier run may still pass: they end by themselves.
    fn close_if_no_right(&mut self, now: Time) {
        const AFTER: Span = Span::millis(2_000);
        // Rights that last until they are released outlive an agent that finds no majority.
        let lasting = self.is_pair();
        if now.elapsed_most(self.born) > AFTER && self.holding.tenure().is_none() && !lasting {
            self.close();
        }
    }

    fn answer(&mut self, request: RequestId, answer: Answer) {
        self.out.answer(request, answer);
    }
}
