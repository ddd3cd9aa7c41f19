//! The interface that carries the VIP loses its carrier: nobody takes over who would serve nobody, and who serves
//! nobody any more gives way. And the disk of the agent's own state: told at its edges, to everybody.

mod bench;

use bench::{ME, PEER, at_rest, first_state, follows, identity, report, spec};
use regent_core::command::{
    Action, Command, DatabaseStep, LifeSigns, Outcome, RunRecord, StepResult, SwapOutcome,
};
use regent_core::event::{Event, Severity};
use regent_core::health::{Counts, Health, ProbeId, ProbeSpec, Subject, Weight};
use regent_core::id::{AttemptId, Epoch, Incarnation, RunId, Version};
use regent_core::node::{Input, Node};
use regent_core::observe::{DatabaseFacts, DatabaseReport, Report, Thread};
use regent_core::room::Room;
use regent_core::spec::Spec;
use regent_core::state::{DataCopy, Move, Phase, State};
use regent_core::time::{Span, Time};

/// The register decides at once, the database obeys, the kernel does as it is told.
struct World {
    node: Node,
    now: Time,
    version: u64,
    state: State,
    facts: Option<DatabaseFacts>,
    /// What the peer tells; nothing if it is silent.
    peer: Option<DatabaseReport>,
    peer_unable: Option<String>,
    reports: u64,
    marker: Option<AttemptId>,
    told: Vec<(u64, Event)>,
    sent: Option<Report>,
}

fn link(weight: Weight) -> Spec {
    let probe = ProbeSpec {
        name: "link".into(),
        subject: Subject::Host,
        weight,
        counts: Counts::Always,
        rise: 2,
        fall: 3,
        vip_link: true,
    };
    Spec { probes: vec![probe], ..spec() }
}

impl World {
    fn new(state: State, facts: DatabaseFacts, weight: Weight) -> World {
        let now = Time { boot: 1_000_000_000, raw: 1_000_000_000 };
        let record =
            RunRecord { runs: vec![RunId(1)], high: Version(0), lock_held: true, gate: [None; 2] };
        World {
            node: Node::new(identity(), link(weight), record, now),
            now,
            version: 1,
            state,
            facts: Some(facts),
            peer: None,
            peer_unable: None,
            reports: 0,
            marker: None,
            told: Vec::new(),
            sent: None,
        }
    }

    /// In sync, and served by this node.
    fn active(weight: Weight) -> World {
        let mut world = World::new(first_state(), at_rest(), weight);
        world.peer = Some(follows(Incarnation(22)));
        world.carrier(true);
        world.run(3_000);
        let serving = world.sent.as_ref().is_some_and(|report| report.serving);
        assert!(serving && world.state.sync.with.is_some(), "{}", world.why());
        world.told.clear();
        world
    }

    /// In sync, and served by the peer.
    fn standby(weight: Weight) -> World {
        let mut state = first_state();
        (state.lease.holder, state.lease.phase, state.lease.epoch) =
            (PEER, Phase::Ruling, Epoch(2));
        state.sync.writer = DataCopy { node: PEER, incarnation: Incarnation(22) };
        state.sync.with = Some(DataCopy { node: ME, incarnation: Incarnation(11) });
        let follower = DatabaseFacts {
            source: Some(PEER),
            mark: true,
            receiver: Thread::Running,
            applier: Thread::Running,
            drained: false,
            ..at_rest()
        };
        let mut world = World::new(state, follower, weight);
        let writes = DatabaseReport { read_only: false, source: None, ..follows(Incarnation(22)) };
        world.peer = Some(writes);
        world.carrier(true);
        for _ in 0..20 {
            world.renewed_by_peer();
            world.run(100);
        }
        world.told.clear();
        world
    }

    fn carrier(&mut self, there: bool) {
        let (health, why) = match there {
            true => (Health::Passing, ""),
            false => (Health::Failing, "eth0 has no carrier"),
        };
        self.feed(Input::Health { probe: ProbeId(0), health, why: why.into() });
    }

    fn why(&self) -> String {
        self.node.explain(self.now).join("\n")
    }

    fn unable(&self) -> &str {
        self.sent.as_ref().and_then(|report| report.unable.as_deref()).unwrap_or_default()
    }

    /// When an event of this code was told first, in milliseconds from the beginning.
    fn told(&self, code: &str) -> Option<u64> {
        self.told.iter().find(|(_, event)| event.code == code).map(|(at, _)| *at)
    }

    fn ms(&self) -> u64 {
        self.now.raw / 1_000_000
    }

    fn feed(&mut self, input: Input) {
        self.node.handle(input, self.now);
        let mut most = 20_000;
        while let Some(Command { id, action, .. }) = self.node.poll_command() {
            most -= 1;
            assert!(most > 0, "it asks without end: {action:?}\n{}", self.why());
            if let Some(outcome) = self.carry_out(action) {
                self.node.handle(Input::Outcome { id, outcome }, self.now);
            }
        }
    }

    fn run(&mut self, ms: u64) {
        for _ in 0..ms / 10 {
            if let Some(mut database) = self.peer.clone() {
                self.reports += 1;
                database.shows = self.marker.filter(|_| database.source == Some(ME));
                let known = report(self.reports, Version(self.version), &self.state);
                let serving = self.state.lease.holder == PEER;
                let (database, unable) = (Some(database), self.peer_unable.clone());
                self.feed(Input::Report(Report { database, unable, serving, ..known }));
            }
            self.now = self.now.after(Span::millis(10));
            self.feed(Input::Tick);
        }
    }

    fn renewed_by_peer(&mut self) {
        self.version += 1;
        self.state.lease.by = AttemptId { node: PEER, n: self.version, ..AttemptId::default() };
        let (version, bytes) = (Version(self.version), self.state.encode());
        self.feed(Input::View { version, bytes, recent: Vec::new() });
    }

    fn carry_out(&mut self, action: Action) -> Option<Outcome> {
        match action {
            Action::Tell(event) => self.told.push((self.ms(), event)),
            Action::Send(report) => self.sent = Some(*report),
            Action::Answer { .. } => {}
            Action::ReadClock => return Some(Outcome::Clock(self.now)),
            Action::Gate(_)
            | Action::Address(_)
            | Action::Stack(_)
            | Action::Service { .. }
            | Action::Fence { .. } => return Some(Outcome::Done),
            Action::ProbePeer { .. } => return Some(Outcome::Peer(LifeSigns::SILENT)),
            Action::Read => {
                let (version, bytes) = (Version(self.version), self.state.encode());
                let recent = vec![self.state.lease.by];
                self.node.handle(Input::View { version, bytes, recent }, self.now);
                return Some(Outcome::Done);
            }
            Action::Propose { expect, bytes, .. } => return Some(self.swap(expect, &bytes)),
            Action::Database(step) => return Some(self.database(&step)),
        }
        None
    }

    fn swap(&mut self, expect: Version, proposed: &[u8]) -> Outcome {
        let wins = expect == Version(self.version);
        if wins {
            self.version += 1;
            self.state = State::decode(proposed).expect("what is proposed can be read");
        }
        let (version, bytes) = (Version(self.version), self.state.encode());
        Outcome::Swap(match wins {
            true => SwapOutcome::Won { version, bytes },
            false => SwapOutcome::Lost { version, bytes },
        })
    }

    fn database(&mut self, step: &DatabaseStep) -> Outcome {
        let Some(facts) = &mut self.facts else {
            return Outcome::Database { result: StepResult::Down, facts: None };
        };
        // Whatever else it is asked for it does as well, and nothing shows.
        if let DatabaseStep::Keep { incarnation, mark } = step {
            (facts.incarnation, facts.mark) = (Some(*incarnation), *mark);
        } else if let DatabaseStep::Marker { token } = step {
            self.marker = Some(*token);
        } else if matches!(step, DatabaseStep::Strict | DatabaseStep::Loose) {
            facts.strict = *step == DatabaseStep::Strict;
        } else if matches!(step, DatabaseStep::Writable | DatabaseStep::ReadOnly) {
            facts.read_only = *step == DatabaseStep::ReadOnly;
        } else if *step == DatabaseStep::StopReceiver {
            (facts.receiver, facts.drained) = (Thread::Stopped, true);
        } else if *step == DatabaseStep::StartReceiver {
            facts.receiver = Thread::Running;
        } else if *step == DatabaseStep::EndFollowing {
            facts.source = None;
        }
        Outcome::Database { result: StepResult::Done, facts: Some(facts.clone()) }
    }
}

#[test]
fn an_active_without_a_carrier_moves_at_once_to_a_standby_that_can_serve() {
    let mut world = World::active(Weight::Vital);
    let from = world.ms();
    world.carrier(false);
    world.run(600);
    let begun = world.told("move.begun").expect("it moves");
    assert!(begun - from <= 150, "{} ms after the carrier went", begun - from);
    assert_eq!(world.state.lease.holder, PEER, "{}", world.why());
    let why = &world.state.history.last().expect("a move").why;
    assert!(why.starts_with("the host mn1 fails") || why.contains("eth0 has no carrier"), "{why}");
}

#[test]
fn a_hold_down_is_short_for_whom_serves_nobody() {
    let mut world = World::standby(Weight::Vital);
    let lease = &mut world.state.lease;
    (lease.holder, lease.epoch, lease.phase) = (ME, Epoch(lease.epoch.0 + 1), Phase::Free);
    let why = String::from("service ui of mn2 fails: its unit is down");
    let epoch = lease.epoch;
    world.state.history.push(Move { epoch, from: PEER, to: ME, why });
    world.peer = Some(follows(Incarnation(22)));
    world.renewed_by_peer();
    world.run(2_000);
    let serving = world.sent.as_ref().is_some_and(|report| report.serving);
    assert!(serving && world.state.sync.with.is_some(), "{}", world.why());
    world.carrier(false);
    world.run(1_000);
    assert_eq!((world.state.lease.holder, world.told("move.begun")), (ME, None));
    world.run(3_000);
    assert!(world.told("move.begun").is_some(), "{}", world.why());
}

#[test]
fn an_active_without_a_carrier_stays_while_nobody_would_serve_better() {
    let mut world = World::active(Weight::Vital);
    world.carrier(false);
    // The other end of the same switch, a moment later.
    world.run(50);
    world.peer_unable = Some("probe link: eth0 has no carrier".into());
    world.run(5_000);
    assert_eq!((world.state.lease.holder, world.told("move.begun")), (ME, None));
    assert!(world.unable().contains("eth0 has no carrier"), "{}", world.unable());
    assert!(world.sent.as_ref().is_some_and(|report| report.serving), "it answers on");
    // The switch is back, for the other one a moment earlier.
    world.peer_unable = None;
    world.run(50);
    world.carrier(true);
    world.run(2_000);
    assert_eq!((world.state.lease.holder, world.told("move.begun")), (ME, None));
    world.peer_unable = Some("probe link: eth0 has no carrier".into());
    world.carrier(false);
    world.run(500);
    world.peer_unable = None;
    world.run(600);
    assert_eq!(world.state.lease.holder, PEER, "{}", world.why());
}

#[test]
fn an_active_that_lost_its_way_to_the_others_with_its_carrier_begins_no_move() {
    let mut world = World::active(Weight::Vital);
    world.peer = None;
    world.run(60);
    world.carrier(false);
    world.run(5_000);
    assert_eq!((world.told("move.begun"), world.told("move.undone")), (None, None));
}

#[test]
fn a_standby_without_a_carrier_says_so_to_everybody() {
    let mut world = World::standby(Weight::Vital);
    assert_eq!(world.unable(), "");
    world.carrier(false);
    world.run(20);
    assert!(world.unable().contains("eth0 has no carrier"), "{}", world.unable());
    world.carrier(true);
    world.run(20);
    assert_eq!(world.unable(), "");
}

#[test]
fn a_degraded_link_is_told_and_changes_nothing() {
    let mut world = World::active(Weight::Degraded);
    world.carrier(false);
    world.run(5_000);
    assert_eq!((world.state.lease.holder, world.unable()), (ME, ""));
    assert!(world.told("probe.failing").is_some());
    let mut world = World::standby(Weight::Degraded);
    world.carrier(false);
    world.peer = None;
    world.run(5_000);
    assert_eq!(world.state.lease.holder, ME, "{}", world.why());
}

#[test]
fn a_full_disk_of_the_agents_state_is_told_early_once_and_to_everybody() {
    let room = |free: u64| {
        let place = String::from("/var/lib/regent");
        Input::Room(Room { place, free, size: 1 << 30, files: None, refused: None })
    };
    let mut world = World::standby(Weight::Vital);
    for free in [500 << 20, 40 << 20, 39 << 20, 0, 0, 500 << 20] {
        world.feed(room(free));
        world.run(100);
        let told = world.sent.as_ref().expect("a report").concerns.join("; ");
        assert_eq!(told.contains("/var/lib/regent"), free < 50 << 20, "{free}: {told}");
    }
    let state = |event: &&(u64, Event)| event.1.code.starts_with("state.");
    let told: Vec<(&str, Severity)> = world
        .told
        .iter()
        .filter(state)
        .map(|(_, event)| (event.code.as_str(), event.severity))
        .collect();
    let expected = [
        ("state.low", Severity::Alarm),
        ("state.full", Severity::Alarm),
        ("state.room", Severity::Info),
    ];
    assert_eq!(told, expected);
    assert_eq!(world.unable(), "", "it serves all the same");
}

#[test]
fn a_standby_without_a_carrier_takes_over_only_once_it_has_one() {
    let mut world = World::standby(Weight::Vital);
    world.carrier(false);
    world.run(50);
    world.peer = None;
    world.run(5_000);
    assert_eq!((world.state.lease.holder, world.told("lease.suspect")), (PEER, None));
    assert!(world.why().contains("blocked (row 8)"), "{}", world.why());
    world.carrier(true);
    world.run(2_000);
    assert_eq!(world.state.lease.holder, ME, "{}", world.why());
}
