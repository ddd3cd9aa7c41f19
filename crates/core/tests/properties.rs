//! One node in a world that answers at random: whatever it hears, in whatever order, each command it gives obeys
//! the rule of its kind. The judge here sees only commands and answers, never the node's inside.

mod bench;

use bench::{ME, PEER, at_rest, first_state, identity, report, spec};
use proptest::prelude::*;
use regent_core::command::{
    Action, Command, DatabaseStep, Fenced, GateStep, LifeSigns, Outcome, Proposal, Request,
    RunRecord, StepResult, SwapOutcome,
};
use regent_core::health::{Counts, Health, ProbeId, ProbeSpec, Subject, Weight};
use regent_core::id::{
    AttemptId, BootId, CommandId, Epoch, Incarnation, NodeId, RequestId, RunId, Version,
};
use regent_core::node::{Input, Node};
use regent_core::observe::{
    DatabaseFacts, DatabaseReport, Report, ServiceId, ServiceReport, Thread, UnitState,
};
use regent_core::role::Role;
use regent_core::spec::{ServiceSpec, Spec};
use regent_core::state::{DataCopy, Intent, Phase, State, Sync};
use regent_core::time::{Span, Time};

#[derive(Clone, Debug)]
enum Op {
    Pass(u16),
    Answer { newest: bool, how: u8 },
    PeerTakes { free: bool },
    PeerGives,
    PeerReports { following: bool, able: bool },
    DatabaseDies,
    LogBegins { waits: bool },
    AgentIsStopped(u16),
    Asks(u8),
    ServiceIs { up: bool },
    ProbeSees { probe: u16, health: u8 },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (1u16..60).prop_map(Op::Pass),
        12 => (any::<bool>(), any::<u8>()).prop_map(|(newest, how)| Op::Answer { newest, how }),
        1 => any::<bool>().prop_map(|free| Op::PeerTakes { free }),
        1 => Just(Op::PeerGives),
        3 => (any::<bool>(), any::<bool>())
            .prop_map(|(following, able)| Op::PeerReports { following, able }),
        1 => Just(Op::DatabaseDies),
        1 => any::<bool>().prop_map(|waits| Op::LogBegins { waits }),
        1 => (500u16..1500).prop_map(Op::AgentIsStopped),
        1 => any::<u8>().prop_map(Op::Asks),
        1 => any::<bool>().prop_map(|up| Op::ServiceIs { up }),
        1 => (0u16..3, 0u8..3).prop_map(|(probe, health)| Op::ProbeSees { probe, health }),
    ]
}

/// One probe of each subject.
fn probes() -> Vec<ProbeSpec> {
    let spec = |name: &str, subject, weight| ProbeSpec {
        name: name.into(),
        subject,
        weight,
        counts: Counts::Always,
        rise: 2,
        fall: 3,
        vip_link: false,
    };
    vec![
        spec("http", Subject::Service(ServiceId(0)), Weight::Vital),
        spec("sql", Subject::Database, Weight::Vital),
        spec("disk", Subject::Host, Weight::Degraded),
    ]
}

/// What an operator may ask for.
fn asked(what: u8) -> Request {
    let length = (!what.is_multiple_of(3)).then_some(Span::millis(400));
    match what % 7 {
        0 => Request::Maintenance { node: ME, length },
        1 => Request::Maintenance { node: PEER, length },
        2 => Request::Pause { length },
        3 => Request::Stop,
        4 => Request::Start,
        5 => Request::Fence { node: PEER },
        _ => Request::Switchover { to: None },
    }
}

/// The world: a register that decides at once, a database that obeys, and the judge.
struct World {
    node: Node,
    now: Time,
    version: u64,
    state: State,
    facts: Option<DatabaseFacts>,
    pending: Vec<Command>,
    report: u64,
    /// The newest row of the marker table: the peer shows it.
    marker: Option<AttemptId>,
    judge: Judge,
}

#[derive(Default)]
struct Judge {
    /// Per slot: proposals that were sent after it was last armed, by number, and whether one was answered as won.
    armed: [Option<Vec<AttemptId>>; 2],
    won: Vec<AttemptId>,
    /// The kernel confirmed a close, and no slot was armed since.
    closed: bool,
    clock_read: bool,
    attempts: Vec<AttemptId>,
    enables: u32,
}

impl Judge {
    fn sees(&mut self, action: &Action, world: (&State, Option<&DatabaseFacts>)) {
        let (state, facts) = world;
        match action {
            Action::ReadClock => self.clock_read = true,
            Action::Gate(GateStep::Arm { slot, ticket }) => {
                assert!(self.clock_read, "C1: armed before the clock was read");
                assert_eq!(*ticket, Span::millis(610), "a ticket lasts ttl - margin");
                self.armed[slot.index()] = Some(Vec::new());
                self.closed = false;
            }
            Action::Gate(GateStep::Enable { slot }) => {
                let sent = self.armed[slot.index()].as_ref().expect("enabled a slot not armed");
                let own = sent.iter().any(|attempt| self.won.contains(attempt));
                assert!(own, "section 3: enabled without a win sent after the slot was armed");
                let facts = facts.expect("enabled while the database is down");
                assert!(!facts.read_only, "enabled while the database is read-only");
                self.enables += 1;
            }
            Action::Gate(GateStep::Close) => self.armed = [None, None],
            Action::Propose { attempt, by, bytes, expect: _ } => {
                self.sees_proposal(*attempt, *by, bytes, state, facts)
            }
            Action::Database(step) => self.sees_step(step, state, facts),
            Action::Gate(GateStep::Refuse)
            | Action::Address(_)
            | Action::Read
            | Action::Stack(_)
            | Action::Service { .. }
            | Action::Fence { .. }
            | Action::ProbePeer { .. }
            | Action::Send(_)
            | Action::Tell(_)
            | Action::Answer { .. } => {}
        }
    }

    fn sees_proposal(
        &mut self,
        attempt: AttemptId,
        by: Proposal,
        bytes: &[u8],
        _decided: &State,
        facts: Option<&DatabaseFacts>,
    ) {
        assert!(!self.attempts.contains(&attempt), "R6: an AttemptId was used twice");
        self.attempts.push(attempt);
        let next = State::decode(bytes).expect("what is proposed can be read");
        if by == Proposal::Renewal {
            assert_eq!(
                (next.lease.by, next.lease.holder),
                (attempt, ME),
                "no renewal of this node's"
            );
        }
        let released = next.lease.by == attempt && next.lease.holder != ME;
        if released {
            assert!(self.closed, "release before the gate was closed, confirmed");
            assert_eq!(next.lease.phase, Phase::Free);
            assert!(facts.is_none_or(|f| f.read_only && f.waiting == 0), "release while writable");
        } else if next.lease.by == attempt {
            assert!(self.clock_read, "C1: proposed before the clock was read");
            assert_ne!(next.lease.phase, Phase::Free, "only a release is Free");
            for sent in self.armed.iter_mut().flatten() {
                sent.push(attempt);
            }
            self.clock_read = false;
        }
    }

    fn sees_step(&mut self, step: &DatabaseStep, state: &State, facts: Option<&DatabaseFacts>) {
        let solo = state.sync.writer.node == ME && state.sync.with.is_none();
        match step {
            DatabaseStep::Loose => {
                let idle = facts.is_none_or(|f| f.read_only && f.waiting == 0);
                assert!(idle || solo, "D3: loose while a follower is recorded");
            }
            DatabaseStep::Writable => assert_eq!(state.sync.writer.node, ME, "D2"),
            DatabaseStep::Marker { .. } => {
                assert!(facts.is_none_or(|f| !f.read_only), "D9: a row after read-only");
            }
            DatabaseStep::Rename { .. } => {
                let open = facts.is_some_and(|f| f.strict && f.waiting > 0);
                assert!(!open, "D12: a session's end would end a commit's wait");
                let mine = facts.and_then(|f| f.was.first().copied());
                assert!(mine.is_none_or(|_| state.sync.writer.node == ME), "D12: not the writer");
            }
            DatabaseStep::Stop => {
                let idle = facts.is_none_or(|f| f.read_only && f.waiting == 0);
                assert!(idle, "D9: a shutdown would end a commit's wait");
            }
            DatabaseStep::TakeControl
            | DatabaseStep::Observe { .. }
            | DatabaseStep::Start
            | DatabaseStep::Kill
            | DatabaseStep::Keep { .. }
            | DatabaseStep::Strict
            | DatabaseStep::ReadOnly
            | DatabaseStep::StopReceiver
            | DatabaseStep::StartReceiver
            | DatabaseStep::EndSession { .. }
            | DatabaseStep::EndFollowing
            | DatabaseStep::Compare { .. }
            | DatabaseStep::SaveTail { .. }
            | DatabaseStep::Rewind { .. }
            | DatabaseStep::Reclone { .. }
            | DatabaseStep::Distrust { .. }
            | DatabaseStep::MayCopy { .. }
            | DatabaseStep::Verify { .. }
            | DatabaseStep::Follow { .. } => {}
        }
    }
}

impl World {
    fn new() -> World {
        let now = Time { boot: 1_000_000_000, raw: 1_000_000_000 };
        let spec =
            Spec { services: vec![ServiceSpec::vital("management")], probes: probes(), ..spec() };
        let record =
            RunRecord { runs: vec![RunId(1)], high: Version(0), lock_held: true, gate: [None; 2] };
        World {
            node: Node::new(identity(), spec, record, now),
            now,
            version: 1,
            state: first_state(),
            facts: None,
            pending: Vec::new(),
            report: 0,
            marker: None,
            judge: Judge { closed: true, ..Judge::default() },
        }
    }

    fn feed(&mut self, input: Input) {
        self.node.handle(input, self.now);
        while let Some(command) = self.node.poll_command() {
            self.judge.sees(&command.action, (&self.state, self.facts.as_ref()));
            match command.action {
                Action::Send(_) | Action::Tell(_) | Action::Answer { .. } => {}
                Action::ReadClock
                | Action::Gate(_)
                | Action::Address(_)
                | Action::Propose { .. }
                | Action::Read
                | Action::Database(_)
                | Action::Stack(_)
                | Action::Service { .. }
                | Action::Fence { .. }
                | Action::ProbePeer { .. } => self.pending.push(command),
            }
        }
    }

    fn view(&mut self) {
        let (version, bytes) = (Version(self.version), self.state.encode());
        let recent = vec![self.state.lease.by];
        self.feed(Input::View { version, bytes, recent });
    }

    fn pass(&mut self, ms: u64) {
        self.now = self.now.after(Span::millis(ms));
        self.feed(Input::Tick);
    }

    /// Answers a pending command: gate and clock in order and truly, the rest as the numbers say.
    fn answer(&mut self, newest: bool, how: u8) {
        let inline = self
            .pending
            .iter()
            .position(|c| matches!(c.action, Action::ReadClock | Action::Gate(_)));
        let at = match inline {
            Some(at) => at,
            None if self.pending.is_empty() => return,
            None if newest => self.pending.len() - 1,
            None => 0,
        };
        let Command { id, action, .. } = self.pending.remove(at);
        let outcome = self.carry_out(id, &action, how);
        self.feed(Input::Outcome { id, outcome });
    }

    fn carry_out(&mut self, _id: CommandId, action: &Action, how: u8) -> Outcome {
        match action {
            Action::ReadClock => Outcome::Clock(self.now),
            Action::Gate(step) => {
                if *step == GateStep::Close {
                    self.judge.closed = self.judge.armed.iter().all(Option::is_none);
                }
                Outcome::Done
            }
            Action::Propose { attempt, expect, bytes, by: _ } => {
                self.swap(*attempt, *expect, bytes, how)
            }
            Action::Database(step) => self.database(step, how),
            Action::ProbePeer { .. } => Outcome::Peer(LifeSigns::SILENT),
            Action::Read => {
                self.view();
                Outcome::Done
            }
            Action::Fence { .. } => Outcome::Fence(Fenced::Unknown("by chance".into())),
            Action::Address(_)
            | Action::Stack(_)
            | Action::Service { .. }
            | Action::Send(_)
            | Action::Tell(_)
            | Action::Answer { .. } => {
                if how.is_multiple_of(16) {
                    Outcome::Failed("by chance".into())
                } else {
                    Outcome::Done
                }
            }
        }
    }

    fn swap(&mut self, attempt: AttemptId, expect: Version, bytes: &[u8], how: u8) -> Outcome {
        if how.is_multiple_of(8) {
            return Outcome::Swap(SwapOutcome::Unknown);
        }
        if expect == Version(self.version) {
            self.version += 1;
            self.state = State::decode(bytes).expect("it was checked");
            self.judge.won.push(attempt);
            if how % 8 == 1 {
                // Decided, and the answer is lost.
                return Outcome::Swap(SwapOutcome::Unknown);
            }
            let (version, bytes) = (Version(self.version), self.state.encode());
            return Outcome::Swap(SwapOutcome::Won { version, bytes });
        }
        let (version, bytes) = (Version(self.version), self.state.encode());
        Outcome::Swap(SwapOutcome::Lost { version, bytes })
    }

    fn database(&mut self, step: &DatabaseStep, how: u8) -> Outcome {
        if let DatabaseStep::Start = step {
            self.facts = Some(DatabaseFacts { start: self.report + 2, ..at_rest() });
        }
        if let DatabaseStep::TakeControl = step
            && self.facts.is_none()
            && self.report < 2
        {
            self.facts = Some(at_rest());
        }
        if matches!(step, DatabaseStep::Kill | DatabaseStep::Stop) {
            self.facts = None;
            return Outcome::Database { result: StepResult::Done, facts: None };
        }
        let Some(facts) = &mut self.facts else {
            return Outcome::Database { result: StepResult::Down, facts: None };
        };
        match step {
            DatabaseStep::Strict => facts.strict = true,
            DatabaseStep::Loose => (facts.strict, facts.waiting) = (false, 0),
            DatabaseStep::Writable => facts.read_only = false,
            DatabaseStep::ReadOnly if how.is_multiple_of(4) => {
                let facts = Some(facts.clone());
                return Outcome::Database { result: StepResult::Blocked, facts };
            }
            DatabaseStep::ReadOnly => facts.read_only = true,
            DatabaseStep::Keep { incarnation, mark } => {
                facts.incarnation = Some(*incarnation);
                facts.mark = *mark;
            }
            DatabaseStep::Follow { writer } => {
                facts.source = Some(writer.node);
                facts.receiver = Thread::Running;
                facts.applier = Thread::Running;
                facts.drained = false;
            }
            DatabaseStep::StopReceiver => {
                facts.receiver = Thread::Stopped;
                facts.drained = true;
            }
            DatabaseStep::StartReceiver => facts.receiver = Thread::Running,
            DatabaseStep::EndFollowing => facts.source = None,
            DatabaseStep::Marker { token } => self.marker = Some(*token),
            DatabaseStep::EndSession { .. } => facts.locked = None,
            DatabaseStep::Distrust { .. } => facts.incarnation = None,
            DatabaseStep::Rename { incarnation } => {
                (facts.incarnation, facts.read_only) = (Some(*incarnation), true);
            }
            DatabaseStep::TakeControl
            | DatabaseStep::Observe { .. }
            | DatabaseStep::Start
            | DatabaseStep::Kill
            | DatabaseStep::Stop
            | DatabaseStep::Compare { .. }
            | DatabaseStep::SaveTail { .. }
            | DatabaseStep::Rewind { .. }
            | DatabaseStep::MayCopy { .. }
            | DatabaseStep::Verify { .. }
            | DatabaseStep::Reclone { .. } => {}
        }
        Outcome::Database { result: StepResult::Done, facts: Some(facts.clone()) }
    }

    fn peer_swaps(&mut self, holder: NodeId, phase: Phase) {
        self.version += 1;
        self.state.lease.epoch = Epoch(self.state.lease.epoch.0 + 1);
        self.state.lease.holder = holder;
        self.state.lease.phase = phase;
        self.state.lease.by =
            AttemptId { node: PEER, boot: BootId(9), run: RunId(9), n: self.version };
        self.view();
    }

    fn peer_reports(&mut self, following: bool, able: bool) {
        self.report += 1;
        let incarnation = match self.state.sync.with {
            Some(with) if with.node == PEER => with.incarnation,
            Some(_) | None => Incarnation(22),
        };
        let database = DatabaseReport {
            receiver: if following { Thread::Running } else { Thread::Stopped },
            shows: self.marker,
            ..bench::follows(incarnation)
        };
        let services = vec![ServiceReport {
            unit: UnitState::Up { start: 1 },
            health: Health::Passing,
            cause: None,
            given_up: false,
        }];
        let report = Report {
            unable: (!able).then(|| "by chance".into()),
            database: Some(database),
            services,
            ..report(self.report, Version(self.version), &self.state)
        };
        self.feed(Input::Report(report));
    }

    fn run(&mut self, ops: &[Op]) {
        self.view();
        for op in ops {
            match op {
                Op::Pass(ms) => self.pass(u64::from(*ms)),
                Op::AgentIsStopped(ms) => self.pass(u64::from(*ms)),
                Op::Answer { newest, how } => self.answer(*newest, *how),
                Op::PeerTakes { free } => {
                    let phase = if *free { Phase::Ruling } else { Phase::Heir };
                    if self.state.sync.with.is_some_and(|with| with.node == PEER) {
                        self.peer_swaps(PEER, phase);
                    }
                }
                Op::PeerGives if self.state.lease.holder == PEER => {
                    self.peer_swaps(ME, Phase::Free);
                }
                Op::PeerGives => {}
                Op::PeerReports { following, able } => self.peer_reports(*following, *able),
                Op::Asks(what) => {
                    self.report += 1;
                    let (request, what) = (RequestId(self.report), asked(*what));
                    self.feed(Input::Operator { request, what });
                }
                Op::ServiceIs { up } => {
                    self.report += 1;
                    let start = self.report;
                    let state = if *up { UnitState::Up { start } } else { UnitState::Down };
                    self.feed(Input::ServiceUnit { service: ServiceId(0), state, asked: false });
                }
                Op::ProbeSees { probe, health } => {
                    let all = [Health::Unknown, Health::Passing, Health::Failing];
                    let health = all[usize::from(*health)];
                    let probe = ProbeId(*probe);
                    self.feed(Input::Health { probe, health, why: "by chance".into() });
                }
                Op::LogBegins { waits } => {
                    if let Some(facts) = self.facts.as_mut().filter(|facts| !facts.mark) {
                        facts.waiting = u32::from(*waits && facts.strict && !facts.read_only);
                        let names = facts.incarnation.take().into_iter();
                        facts.was = names.chain(facts.was.iter().copied()).collect();
                    }
                }
                Op::DatabaseDies => {
                    self.facts = None;
                    self.feed(Input::DatabaseUnit(UnitState::Down));
                }
            }
        }
    }

    /// Everything answers, the follower follows: for `ms` milliseconds.
    fn calm(&mut self, ms: u64) {
        for _ in 0..ms / 10 {
            self.peer_reports(true, true);
            for _ in 0..12 {
                self.answer(false, 3);
            }
            self.pass(10);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_command_obeys_the_rule_of_its_kind(ops in prop::collection::vec(op(), 1..250)) {
        World::new().run(&ops);
    }

    #[test]
    fn whatever_happened_a_holder_in_a_calm_world_serves(
        ops in prop::collection::vec(op(), 1..120),
    ) {
        let mut world = World::new();
        world.run(&ops);
        // A calm world is also one in which nothing is asked for and every probe passes.
        world.state.intent = Intent::default();
        for probe in 0..3 {
            world.run(&[Op::ProbeSees { probe, health: 1 }]);
        }
        world.pass(11_000);
        world.state.intent = Intent::default();
        world.peer_swaps(ME, Phase::Free);
        if let Some(incarnation) = world.facts.as_ref().and_then(|facts| facts.incarnation) {
            world.state.sync = Sync { writer: DataCopy { node: ME, incarnation }, with: None };
            world.version += 1;
            world.view();
            let before = world.judge.enables;
            world.calm(6_000);
            prop_assert!(world.judge.enables > before, "{:#?}", world.node.explain(world.now));
        }
    }
}

#[test]
fn a_first_holder_opens_with_a_slot_of_its_own_win() {
    let mut world = World::new();
    world.view();
    world.calm(1_000);
    assert!(world.judge.enables > 0, "{:#?}", world.node.explain(world.now));
    assert_eq!(world.node.role(world.now), Role::Active);
}

#[test]
fn a_follower_that_shows_its_marker_is_taken_in() {
    let mut world = World::new();
    world.view();
    world.calm(3_000);
    assert_eq!(world.state.sync.with.map(|with| with.node), Some(PEER));
    assert!(world.facts.as_ref().is_some_and(|facts| facts.strict && !facts.read_only));
}
