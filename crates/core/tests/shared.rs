//! Two nodes, one register, one stack on shared data: what operators ask for, step by step, without faults in
//! between. The simulator draws the faults.

#[path = "shared/alone.rs"]
mod alone;
#[path = "shared/asked.rs"]
mod asked;
#[path = "shared/lost.rs"]
mod lost;

use regent_core::command::{
    Action, AddressStep, Answer, Fenced, GateStep, LifeSigns, Obstacle, Outcome, PortAnswer,
    Request, RunRecord, SwapOutcome, Word,
};
use regent_core::health::{Counts, Health, ProbeId, ProbeSpec, Subject, Weight};
use regent_core::id::{
    AttemptId, BootId, ClusterId, CommandId, Epoch, Incarnation, NodeId, RequestId, RunId, Version,
};
use regent_core::node::{Identity, Input, Node};
use regent_core::observe::{Report, ServiceId, UnitState};
use regent_core::role::Role;
use regent_core::spec::{Pace, Policy, ServiceSpec, Spec};
use regent_core::stack::{
    Claim, Claimant, Failover, StackResult, StackSpec, StackStep, StepSpec, StepState, Survey,
};
use regent_core::state::{
    Data, DataCopy, FORMAT, Intent, Lease, Member, MemberRole, Phase, State, Sync, Timing,
};
use regent_core::time::{Span, Time};
use std::collections::{BTreeMap, VecDeque};

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const STEPS: [&str; 4] = ["host name", "link /etc/xcat", "database", "xcatd"];
const TFTP: usize = 4;
const SERVICES: [&str; 2] = ["xcatd", "named"];

struct Host {
    node: Node,
    up: Vec<bool>,
    permit: bool,
    /// Fails when it is brought up, or when it is taken down.
    broken_up: Option<usize>,
    broken_down: Option<usize>,
    problems: Vec<String>,
    /// Its kernel has writes for the data that hung.
    unsettled: bool,
    alive: bool,
    /// What looks at it see once its agent is dead.
    shows: LifeSigns,
    fences: u32,
    log: Vec<String>,
    later: VecDeque<(u64, CommandId, StackStep)>,
}

struct World {
    now: u64,
    version: u64,
    state: State,
    claim: Option<Claim>,
    hosts: BTreeMap<NodeId, Host>,
    answers: BTreeMap<u64, Answer>,
    fence: Fenced,
    runs: u64,
    /// Two voters: both must answer.
    pair: bool,
    /// What the kernels have of a gate, for the next agent of this boot.
    held: BTreeMap<NodeId, bool>,
    addresses: BTreeMap<NodeId, bool>,
}

fn spec(failover: Failover, pair: bool) -> Spec {
    let step =
        |name: &&str| StepSpec { name: (*name).into(), weight: Weight::Vital, service: None };
    let mut steps: Vec<StepSpec> = STEPS.iter().map(step).collect();
    steps.push(StepSpec { name: "tftp".into(), weight: Weight::Degraded, service: None });
    Spec {
        nodes: vec![(A, "a".into()), (B, "b".into())],
        services: SERVICES.iter().map(|name| ServiceSpec::vital(name)).collect(),
        probes: vec![link()],
        policy: Policy::default(),
        pace: Pace::default(),
        stack: Some(StackSpec {
            steps,
            failover,
            pair,
            fenced: failover == Failover::Automatic,
            settle: Span::millis(5_000),
            isolation: Span::millis(3_000),
            patience: Span::millis(4_000),
        }),
        #[cfg(feature = "planted")]
        planted: None,
    }
}

fn link() -> ProbeSpec {
    ProbeSpec {
        name: "link".into(),
        subject: Subject::Host,
        weight: Weight::Vital,
        counts: Counts::Always,
        rise: 2,
        fall: 3,
        vip_link: true,
    }
}

fn first_state() -> State {
    let member =
        |name: &str| Member { name: name.into(), speaks: 1, role: MemberRole::Node, by: None };
    let ttl = Span::millis(700);
    State {
        format: 1,
        cluster: ClusterId(7),
        replaces: None,
        lease: Lease {
            epoch: Epoch(1),
            holder: A,
            phase: Phase::Free,
            ttl,
            by: AttemptId::default(),
        },
        sync: Sync { writer: DataCopy { node: A, incarnation: Incarnation(0) }, with: None },
        data: Data::Clear,
        intent: Intent { stopped: Some(AttemptId::default()), ..Intent::default() },
        members: BTreeMap::from([(A, member("a")), (B, member("b"))]),
        timing: Timing { ttl, margin: Span::millis(90), drift_ppm: 10_000 },
        history: Vec::new(),
        kept: Default::default(),
    }
}

impl World {
    /// Two nodes and two voters, whose rights last until they are released.
    fn pair() -> World {
        let mut world = World::bare();
        world.pair = true;
        let ttl = Span::millis(315_360_000_000);
        world.state.lease.ttl = ttl;
        world.state.timing.ttl = ttl;
        world.begin(Failover::ByHand)
    }

    /// Two nodes and a witness.
    fn new(failover: Failover) -> World {
        World::bare().begin(failover)
    }

    fn bare() -> World {
        World {
            now: 1_000,
            version: 1,
            state: first_state(),
            claim: None,
            hosts: BTreeMap::new(),
            answers: BTreeMap::new(),
            fence: Fenced::Unknown("no answer".into()),
            runs: 0,
            pair: false,
            held: BTreeMap::new(),
            addresses: BTreeMap::new(),
        }
    }

    fn begin(mut self, failover: Failover) -> World {
        for id in [A, B] {
            let node = self.agent(id, &spec(failover, self.pair), 1);
            let host = Host {
                node,
                up: vec![false; STEPS.len() + 1],
                permit: false,
                broken_up: None,
                broken_down: None,
                problems: Vec::new(),
                unsettled: false,
                alive: true,
                shows: LifeSigns::SILENT,
                fences: 0,
                log: Vec::new(),
                later: VecDeque::new(),
            };
            self.hosts.insert(id, host);
        }
        self.pass(500);
        self
    }

    fn agent(&mut self, id: NodeId, spec: &Spec, boot: u64) -> Node {
        self.runs += 1;
        let run = RunId(self.runs);
        let identity = Identity {
            cluster: ClusterId(7),
            node: id,
            boot: BootId(boot),
            run,
            seed: 42 + u64::from(id.0),
            link: Some(mac(id)),
            configuration: 0,
            speaks: FORMAT,
        };
        let runs = (1..=self.runs).map(RunId).collect();
        let held = self.held.get(&id).copied().unwrap_or_default().then_some(Span::millis(500));
        let record = RunRecord { runs, high: Version(0), lock_held: true, gate: [held, None] };
        Node::new(identity, spec.clone(), record, self.time())
    }

    fn time(&self) -> Time {
        Time { boot: self.now * 1_000_000, raw: self.now * 1_000_000 }
    }

    fn feed(&mut self, id: NodeId, input: Input) {
        let now = self.time();
        let Some(host) = self.hosts.get_mut(&id).filter(|host| host.alive) else { return };
        host.node.handle(input, now);
        self.drain(id);
    }

    fn drain(&mut self, id: NodeId) {
        while let Some(command) = self.hosts.get_mut(&id).and_then(|host| host.node.poll_command())
        {
            if let Some(outcome) = self.carry_out(id, command.id, command.action) {
                self.feed(id, Input::Outcome { id: command.id, outcome });
            }
        }
    }

    fn carry_out(&mut self, id: NodeId, command: CommandId, action: Action) -> Option<Outcome> {
        match action {
            Action::ReadClock => Some(Outcome::Clock(self.time())),
            Action::Gate(step) => {
                match step {
                    GateStep::Enable { .. } => self.held.insert(id, true),
                    GateStep::Close => self.held.insert(id, false),
                    GateStep::Arm { .. } | GateStep::Refuse => None,
                };
                Some(Outcome::Done)
            }
            Action::Address(step) => {
                match step {
                    AddressStep::Add { .. } => self.addresses.insert(id, true),
                    AddressStep::Remove => self.addresses.insert(id, false),
                    AddressStep::DestroySockets | AddressStep::Announce => None,
                };
                Some(Outcome::Done)
            }
            Action::Propose { .. } if !self.has_quorum() => {
                Some(Outcome::Swap(SwapOutcome::Unknown))
            }
            Action::Propose { attempt, expect, bytes, by: _ } => {
                Some(self.swap(attempt, expect, &bytes))
            }
            Action::Read if !self.has_quorum() => Some(Outcome::Failed("no majority".into())),
            Action::Read => {
                self.view(id);
                Some(Outcome::Done)
            }
            Action::Stack(step) => {
                let length = if matches!(step, StackStep::Survey) { 0 } else { 40 };
                let due = self.now + length;
                self.host(id).later.push_back((due, command, step));
                None
            }
            Action::ProbePeer { node } => {
                let host = &self.hosts[&node];
                let open = LifeSigns {
                    links: vec![mac(node)],
                    port: PortAnswer::Open,
                    echo: true,
                    ..LifeSigns::SILENT
                };
                let life = if host.alive { open } else { host.shows.clone() };
                Some(Outcome::Peer(life))
            }
            Action::Fence { node } => {
                self.host(id).fences += 1;
                let fence = self.fence.clone();
                if matches!(fence, Fenced::Confirmed(_)) {
                    self.power_off(node);
                }
                Some(Outcome::Fence(fence))
            }
            Action::Send(report) => {
                self.report(id, &report);
                None
            }
            Action::Tell(event) => {
                let line = format!("{} {}: {}", self.now, event.code, event.text);
                assert!(!line.contains("T??"), "{id}: {line}");
                self.host(id).log.push(line);
                None
            }
            Action::Answer { request, answer } => {
                self.answers.insert(request.0, answer);
                None
            }
            Action::Database(step) => unreachable!("shared data has no replica: {step:?}"),
            Action::Service { service, step } => {
                let line = format!("{} asked: {step:?} {}", self.now, service.0);
                self.host(id).log.push(line);
                Some(Outcome::Done)
            }
        }
    }

    fn has_quorum(&self) -> bool {
        !self.pair || self.hosts.values().all(|host| host.alive)
    }

    /// Another run of the agent, in this boot or the next.
    fn restart(&mut self, id: NodeId, boot: u64) {
        let spec = spec(Failover::ByHand, self.pair);
        let node = self.agent(id, &spec, boot);
        let host = self.host(id);
        (host.node, host.alive) = (node, true);
        host.later.clear();
    }

    fn host(&mut self, id: NodeId) -> &mut Host {
        self.hosts.get_mut(&id).expect("both hosts are there")
    }

    fn swap(&mut self, attempt: AttemptId, expect: Version, bytes: &[u8]) -> Outcome {
        if expect != Version(self.version) {
            let (version, bytes) = (Version(self.version), self.state.encode());
            return Outcome::Swap(SwapOutcome::Lost { version, bytes });
        }
        self.version += 1;
        self.state = State::decode(bytes).expect("a State");
        self.check();
        for id in [A, B].into_iter().filter(|id| *id != attempt.node) {
            self.view(id);
        }
        Outcome::Swap(SwapOutcome::Won { version: Version(self.version), bytes: bytes.to_vec() })
    }

    fn view(&mut self, id: NodeId) {
        let (version, bytes) = (Version(self.version), self.state.encode());
        let recent = vec![self.state.lease.by];
        self.feed(id, Input::View { version, bytes, recent });
    }

    fn report(&mut self, from: NodeId, report: &Report) {
        let to = if from == A { B } else { A };
        self.feed(to, Input::Report(report.clone()));
    }

    /// V9, at every change: units run only on the node in InUse.
    fn check(&self) {
        for (id, host) in &self.hosts {
            let recorded = matches!(self.state.data, Data::InUse { node, .. } if node == *id);
            assert!(
                !(host.alive && host.unsettled) || recorded,
                "{id} may still write beside {:?}",
                self.state.data
            );
            let runs = host.alive && host.up.iter().any(|up| *up);
            let recorded = matches!(self.state.data, Data::InUse { node, .. } if node == *id);
            assert!(!runs || recorded, "V9: {id} runs beside {:?}", self.state.data);
        }
    }

    fn stack(&mut self, id: NodeId, step: StackStep) -> Outcome {
        let claim = self.claim;
        let host = self.host(id);
        let mut result = StackResult::Done;
        let mut written = claim;
        match step {
            StackStep::Survey => {}
            // Whatever can come up again does.
            StackStep::Repair if host.permit => match host.broken_up {
                Some(at) => result = StackResult::Failed(format!("{}: it is broken", name_of(at))),
                None => host.up.fill(true),
            },
            StackStep::Repair => {}
            StackStep::Claim { epoch, .. } => {
                host.permit = true;
                let cluster = ClusterId(7);
                written = Some(Claim { cluster, epoch, node: id, clear: false });
            }
            StackStep::Revoke => host.permit = false,
            StackStep::Unclaim { .. } => {
                host.unsettled = false;
                written = claim.map(|c| Claim { clear: true, ..c });
            }
            StackStep::Up { step } => {
                let at = usize::from(step.0);
                assert!(host.permit, "no step without the permit");
                assert!(host.up[..at].iter().all(|up| *up), "one after the other");
                match host.broken_up == Some(at) {
                    true => result = StackResult::Failed("it is broken".into()),
                    false => host.up[at] = true,
                }
            }
            StackStep::Down { step } => {
                let at = usize::from(step.0);
                assert!(!host.permit, "the permit goes first");
                assert!(!host.up[at + 1..].iter().any(|up| *up), "the last one first");
                match host.broken_down == Some(at) {
                    true => result = StackResult::Failed("pid 7 stays".into()),
                    false => host.up[at] = false,
                }
            }
        }
        let state = |up: &bool| if *up { StepState::Up } else { StepState::Down };
        let survey = Survey {
            steps: host.up.iter().map(state).collect(),
            permit: host.permit,
            problems: host.problems.clone(),
            drift: Vec::new(),
            claim: written,
            claimant: written.map(|claim| Claimant {
                name: if claim.node == A { "a".into() } else { "b".into() },
                since_ms: 0,
            }),
            unsettled: host.unsettled,
        };
        self.claim = written;
        self.check();
        Outcome::Stack { result, survey: Some(survey) }
    }

    fn pass(&mut self, ms: u64) {
        for _ in 0..ms / 10 {
            self.now += 10;
            for id in [A, B] {
                let now = self.now;
                while let Some((_, command, step)) =
                    self.host(id).later.pop_front_if(|(due, ..)| *due <= now)
                {
                    if self.hosts[&id].alive {
                        let outcome = self.stack(id, step);
                        self.feed(id, Input::Outcome { id: command, outcome });
                    }
                }
                self.feed(id, Input::Tick);
            }
        }
    }

    fn unit(&mut self, id: NodeId, service: u16, state: UnitState, asked: bool) {
        self.feed(id, Input::ServiceUnit { service: ServiceId(service), state, asked });
    }

    fn ask(&mut self, id: NodeId, request: u64, what: Request) {
        self.feed(id, Input::Operator { request: RequestId(request), what });
    }

    /// Asks, and waits for the answer.
    fn asked(&mut self, id: NodeId, request: u64, what: Request) -> Answer {
        self.ask(id, request, what);
        for _ in 0..2_000 {
            if let Some(answer) = self.answers.get(&request) {
                return answer.clone();
            }
            self.pass(10);
        }
        panic!("no answer to {request}: {:#?}", self.hosts[&id].log);
    }

    fn log(&self, id: NodeId) -> String {
        self.hosts[&id].log.join("\n")
    }

    fn power_off(&mut self, id: NodeId) {
        let host = self.host(id);
        (host.alive, host.unsettled) = (false, false);
        host.permit = false;
        host.up[2..].fill(false);
        host.later.clear();
        self.held.insert(id, false);
        self.addresses.insert(id, false);
    }

    fn explained(&self, id: NodeId) -> String {
        self.hosts[&id].node.explain(self.time()).join("\n")
    }

    fn role(&self, id: NodeId) -> Role {
        self.hosts[&id].node.role(self.time())
    }

    fn is_up(&self, id: NodeId) -> bool {
        self.hosts[&id].up[..STEPS.len()].iter().all(|up| *up)
    }

    fn is_down(&self, id: NodeId) -> bool {
        !self.hosts[&id].permit && !self.hosts[&id].up.iter().any(|up| *up)
    }
}

fn name_of(step: usize) -> &'static str {
    STEPS.get(step).copied().unwrap_or("tftp")
}

fn mac(id: NodeId) -> [u8; 6] {
    [2, 0, 0, 0, 0, id.0 as u8]
}

const ACTIVATE: Request = Request::Activate { word: None };

fn obstacle(answer: &Answer) -> Option<Obstacle> {
    match answer {
        Answer::Refused { obstacle, .. } | Answer::Failed { obstacle, .. } => Some(*obstacle),
        Answer::Done(_) => None,
    }
}

#[test]
fn nothing_starts_until_somebody_activates() {
    for failover in [Failover::ByHand, Failover::Automatic] {
        let mut world = World::new(failover);
        world.pass(5_000);
        assert!(world.is_down(A) && world.is_down(B));
        assert_eq!(world.state.data, Data::Clear);
    }
}

#[test]
fn activate_deactivate_activate_there() {
    for failover in [Failover::ByHand, Failover::Automatic] {
        let mut world = World::new(failover);
        let done = world.asked(A, 1, ACTIVATE);
        assert!(matches!(done, Answer::Done(_)), "{done:?}");
        assert!(world.is_up(A) && world.is_down(B));
        assert_eq!((world.role(A), world.role(B)), (Role::Active, Role::Standby));
        let refused = world.asked(B, 2, ACTIVATE);
        assert_eq!(obstacle(&refused), Some(Obstacle::ActiveElsewhere), "{refused:?}");
        let again = world.asked(A, 3, ACTIVATE);
        assert!(matches!(again, Answer::Done(_)), "{again:?}");
        let nothing = world.asked(B, 4, Request::Deactivate);
        assert!(matches!(nothing, Answer::Done(_)) && world.is_up(A), "{nothing:?}");
        let down = world.asked(A, 5, Request::Deactivate);
        assert!(matches!(down, Answer::Done(_)), "{down:?}");
        assert!(world.is_down(A));
        assert_eq!(world.state.data, Data::Clear);
        assert_eq!(world.claim.map(|claim| claim.clear), Some(true));
        let twice = world.asked(A, 6, Request::Deactivate);
        assert!(matches!(twice, Answer::Done(_)), "{twice:?}");
        world.pass(20_000);
        assert!(world.is_down(A) && world.is_down(B), "it stays down");
        let there = world.asked(B, 7, ACTIVATE);
        assert!(matches!(there, Answer::Done(_)), "{there:?}");
        assert!(world.is_up(B) && world.is_down(A));
    }
}

#[test]
fn a_planned_move_takes_everything_down_first() {
    let mut world = World::new(Failover::Automatic);
    world.asked(A, 1, ACTIVATE);
    let moved = world.asked(A, 2, Request::Switchover { to: Some(B) });
    assert!(matches!(moved, Answer::Done(_)), "{moved:?}");
    assert!(world.is_up(B) && world.is_down(A));
}

#[test]
fn of_two_that_are_activated_at_once_one_wins() {
    for failover in [Failover::ByHand, Failover::Automatic] {
        for offset in 0..20 {
            let mut world = World::new(failover);
            world.pass(offset * 10);
            world.ask(A, 1, ACTIVATE);
            world.ask(B, 2, ACTIVATE);
            world.pass(8_000);
            let answers = [&world.answers[&1], &world.answers[&2]];
            let done = answers.iter().filter(|a| matches!(a, Answer::Done(_))).count();
            let refused =
                answers.iter().filter(|a| obstacle(a) == Some(Obstacle::ActiveElsewhere)).count();
            assert_eq!((done, refused), (1, 1), "{answers:?}");
        }
    }
}

#[test]
fn of_two_that_are_activated_one_after_the_other_each_is_answered() {
    for failover in [Failover::ByHand, Failover::Automatic] {
        for later in 0..120 {
            let (first, second) = if later % 2 == 0 { (A, B) } else { (B, A) };
            let mut world = World::new(failover);
            world.ask(first, 1, ACTIVATE);
            world.pass(later * 5);
            world.ask(second, 2, ACTIVATE);
            world.pass(12_000);
            let ends = [world.answers.get(&1), world.answers.get(&2)];
            let done = ends.iter().flatten().filter(|a| matches!(a, Answer::Done(_))).count();
            let refused = ends
                .iter()
                .flatten()
                .filter(|a| obstacle(a) == Some(Obstacle::ActiveElsewhere))
                .count();
            assert_eq!((done, refused), (1, 1), "{later}: {ends:?}");
        }
    }
}

#[test]
fn a_failed_activation_by_hand_is_undone() {
    let mut world = World::new(Failover::ByHand);
    world.host(A).broken_up = Some(3);
    let failed = world.asked(A, 1, ACTIVATE);
    assert_eq!(obstacle(&failed), Some(Obstacle::StepFailed), "{failed:?}");
    assert!(world.is_down(A));
    assert_eq!(world.state.data, Data::Clear);
    assert!(world.state.intent.stopped.is_some());
    world.pass(20_000);
    assert!(world.is_down(A) && world.is_down(B));
}

#[test]
fn checks_refuse_before_anything_changes() {
    let mut world = World::new(Failover::ByHand);
    world.host(A).problems = vec!["cfgloc says SQLite, the configuration postgresql".into()];
    world.pass(6_000);
    let version = world.version;
    let refused = world.asked(A, 1, ACTIVATE);
    assert_eq!(obstacle(&refused), Some(Obstacle::Checks), "{refused:?}");
    let may = world.asked(B, 2, Request::MayActivate { word: None });
    assert!(matches!(may, Answer::Done(_)), "{may:?}");
    assert_eq!(world.version, version);
}

#[test]
fn a_step_that_is_not_vital_leaves_it_degraded() {
    let mut world = World::new(Failover::ByHand);
    world.host(A).broken_up = Some(TFTP);
    let degraded = world.asked(A, 1, ACTIVATE);
    assert_eq!(obstacle(&degraded), Some(Obstacle::Degraded), "{degraded:?}");
    assert_eq!(world.role(A), Role::Active);
    // It is tried again, more and more seldom, and what it lacked may be there then.
    world.pass(200_000);
    let tries = world.log(A).matches("tftp is tried again").count();
    assert_eq!(tries, 2, "after 30 and 60 s, and not yet after 120 more: {}", world.log(A));
    world.host(A).broken_up = None;
    world.pass(60_000);
    assert!(world.hosts[&A].up[TFTP]);
    assert!(world.log(A).contains("tftp came up after all: every step"), "{}", world.log(A));
    assert_eq!(world.role(A), Role::Active);
}

#[test]
fn a_step_that_stays_up_keeps_the_data() {
    let mut world = World::new(Failover::ByHand);
    world.asked(A, 1, ACTIVATE);
    world.host(A).broken_down = Some(2);
    let failed = world.asked(A, 2, Request::Deactivate);
    assert_eq!(obstacle(&failed), Some(Obstacle::StepFailed), "{failed:?}");
    assert!(matches!(world.state.data, Data::InUse { node: A, .. }));
    assert!(world.hosts[&A].up[1], "nothing below it is touched");
    let refused = world.asked(B, 3, ACTIVATE);
    assert_eq!(obstacle(&refused), Some(Obstacle::ActiveElsewhere), "{refused:?}");
    world.host(A).broken_down = None;
    let down = world.asked(A, 4, Request::Deactivate);
    assert!(matches!(down, Answer::Done(_)), "{down:?}");
}

#[test]
fn automatic_with_a_fence_takes_over_and_without_one_asks() {
    let mut world = World::new(Failover::Automatic);
    world.fence = Fenced::Confirmed("off".into());
    world.asked(A, 1, ACTIVATE);
    world.power_off(A);
    world.pass(4_000);
    assert!(world.is_up(B), "{:#?}", world.hosts[&B].log);
    assert_eq!(world.hosts[&B].fences, 1);

    let mut world = World::new(Failover::Automatic);
    world.asked(A, 1, ACTIVATE);
    world.power_off(A);
    world.pass(8_000);
    assert!(world.is_down(B), "an unknown answer proves nothing");
    let blocked = world.hosts[&B].node.status(world.time()).blocked;
    assert_eq!(blocked.map(|blocked| blocked.row()), Some(5));
    let may = world.asked(B, 3, Request::MayActivate { word: Some(Word::IsOff(A)) });
    assert!(matches!(may, Answer::Done(_)), "the question hears the word as well: {may:?}");
    assert!(world.is_down(B), "and is only a question");
    let done = world.asked(B, 2, Request::Activate { word: Some(Word::IsOff(A)) });
    assert!(matches!(done, Answer::Done(_)), "{done:?}");
    assert!(world.is_up(B));
}

#[test]
fn by_hand_a_dead_holder_needs_the_operators_word() {
    let mut world = World::new(Failover::ByHand);
    world.asked(A, 1, ACTIVATE);
    let wrong = world.asked(B, 2, Request::Activate { word: Some(Word::IsOff(A)) });
    assert_eq!(obstacle(&wrong), Some(Obstacle::ActiveElsewhere), "{wrong:?}");
    world.power_off(A);
    world.pass(5_000);
    assert!(world.is_down(B));
    let refused = world.asked(B, 3, ACTIVATE);
    assert_eq!(obstacle(&refused), Some(Obstacle::NotProvenClear), "{refused:?}");
    let done = world.asked(B, 4, Request::Activate { word: Some(Word::IsOff(A)) });
    assert!(matches!(done, Answer::Done(_)), "{done:?}");
    assert!(world.is_up(B));
}

/// A is active, its agent dies, and its host shows this of itself.
fn agent_dead(world: &mut World, shows: LifeSigns) {
    world.asked(A, 1, ACTIVATE);
    world.host(A).alive = false;
    world.host(A).shows = shows;
    world.pass(5_000);
}

const OFF: Request = Request::Activate { word: Some(Word::IsOff(A)) };

#[test]
fn a_word_is_refused_while_the_host_answers_and_what_answered_is_named() {
    let shown = [
        (
            LifeSigns { links: vec![mac(A)], ..LifeSigns::SILENT },
            "02:00:00:00:00:01 answers for its address",
        ),
        (
            LifeSigns { port: PortAnswer::Reset, ..LifeSigns::SILENT },
            "refuses connections (TCP reset)",
        ),
        (LifeSigns { echo: true, ..LifeSigns::SILENT }, "answers an echo"),
    ];
    for pair in [false, true] {
        for (shows, told) in &shown {
            let mut world = if pair { World::pair() } else { World::new(Failover::ByHand) };
            agent_dead(&mut world, shows.clone());
            let before = world.state.clone();
            let may = Request::MayActivate { word: Some(Word::IsOff(A)) };
            let believe = Request::MayBelieve { word: Word::IsOff(A) };
            for (n, request) in [may, believe, OFF].into_iter().enumerate() {
                let refused = world.asked(B, 2 + n as u64, request);
                assert_eq!(obstacle(&refused), Some(Obstacle::NotProvenClear), "{refused:?}");
                let text = format!("{refused:?}");
                assert!(text.contains("a is not off") && text.contains(told), "{text}");
                assert!(text.contains("--confirm-peer-cannot-write a"), "{text}");
            }
            assert_eq!(
                (world.state.lease.epoch, world.state.data),
                (before.lease.epoch, before.data)
            );
            assert!(world.is_down(B));
        }
    }
}

#[test]
fn an_open_port_says_that_the_agent_is_there() {
    let mut world = World::new(Failover::ByHand);
    agent_dead(&mut world, LifeSigns { port: PortAnswer::Open, ..LifeSigns::SILENT });
    let refused = world.asked(B, 2, OFF);
    assert_eq!(obstacle(&refused), Some(Obstacle::ActiveElsewhere), "{refused:?}");
    assert!(format!("{refused:?}").contains("its agent answers on its own address"));
    let word = Word::CannotWrite(A);
    let refused = world.asked(B, 3, Request::Activate { word: Some(word) });
    assert_eq!(obstacle(&refused), Some(Obstacle::ActiveElsewhere), "{refused:?}");
}

#[test]
fn a_stranger_at_the_peers_address_is_told_and_proves_no_life() {
    let mut world = World::new(Failover::ByHand);
    let links = vec![mac(NodeId(9))];
    agent_dead(
        &mut world,
        LifeSigns { links, port: PortAnswer::Reset, echo: true, ..LifeSigns::SILENT },
    );
    world.power_off(A);
    let done = world.asked(B, 2, OFF);
    assert!(matches!(done, Answer::Done(_)), "{done:?}");
    let told =
        "02:00:00:00:00:09 answers for its address, a stranger: its own is 02:00:00:00:00:01";
    assert!(world.log(B).contains(told), "{}", world.log(B));
}

#[test]
fn beside_a_stranger_the_host_itself_still_counts() {
    let mut world = World::new(Failover::ByHand);
    let links = vec![mac(NodeId(9)), mac(A)];
    agent_dead(&mut world, LifeSigns { links, ..LifeSigns::SILENT });
    let refused = world.asked(B, 2, OFF);
    assert_eq!(obstacle(&refused), Some(Obstacle::NotProvenClear), "{refused:?}");
}

#[test]
fn a_host_that_cannot_write_may_be_named_though_its_network_lives() {
    let mut world = World::new(Failover::ByHand);
    let shows = LifeSigns { links: vec![mac(A)], port: PortAnswer::Reset, ..LifeSigns::SILENT };
    agent_dead(&mut world, shows);
    world.power_off(A);
    let word = Some(Word::CannotWrite(A));
    let done = world.asked(B, 2, Request::Activate { word });
    assert!(matches!(done, Answer::Done(_)), "{done:?}");
    let log = world.log(B);
    assert!(log.contains("data.word-cannot-write: an operator says that a cannot write"), "{log}");
    assert!(log.contains("15 of 15 looks at its host were answered"), "{log}");
}

#[test]
fn what_cannot_be_asked_is_not_silence() {
    let mut world = World::new(Failover::ByHand);
    agent_dead(&mut world, LifeSigns { asked: false, ..LifeSigns::SILENT });
    let refused = world.asked(B, 2, OFF);
    assert_eq!(obstacle(&refused), Some(Obstacle::NotProvenClear), "{refused:?}");
    assert!(format!("{refused:?}").contains("could not be asked"), "{refused:?}");
}

#[test]
fn a_host_that_answers_before_the_clear_is_won_voids_the_word() {
    let mut world = World::new(Failover::ByHand);
    agent_dead(&mut world, LifeSigns::SILENT);
    world.ask(B, 2, OFF);
    world.pass(1_000);
    // No swap is answered from here on.
    world.pair = true;
    world.pass(1_000);
    assert!(world.log(B).contains("data.word: an operator says that a is off"), "{}", world.log(B));
    world.host(A).shows = LifeSigns { links: vec![mac(A)], ..LifeSigns::SILENT };
    world.pass(500);
    let failed = world.answers[&2].clone();
    assert_eq!(obstacle(&failed), Some(Obstacle::NotProvenClear), "{failed:?}");
    assert!(format!("{failed:?}").contains("void: 02:00:00:00:00:01 answers"), "{failed:?}");
    world.pair = false;
    world.pass(10_000);
    assert!(matches!(world.state.data, Data::InUse { node: A, .. }), "{}", world.log(B));
}

#[test]
fn a_member_that_greets_by_another_register_stops_the_stack() {
    let foreign = Input::ForeignRegister { node: B, cluster: ClusterId(8) };
    for pair in [false, true] {
        let mut world = if pair { World::pair() } else { World::new(Failover::ByHand) };
        world.asked(A, 1, ACTIVATE);
        for _ in 0..40 {
            world.feed(A, foreign.clone());
            world.pass(100);
        }
        assert!(world.is_down(A), "{}", world.log(A));
        let told =
            world.log(A).matches("stack.foreign: the shared data are claimed by another").count();
        assert_eq!(told, 1, "{}", world.log(A));
        let refused = world.asked(A, 2, ACTIVATE);
        assert_eq!(obstacle(&refused), Some(Obstacle::NotProvenClear), "{refused:?}");
        // It greets no more.
        world.pass(20_000);
        let done = world.asked(A, 3, ACTIVATE);
        assert!(matches!(done, Answer::Done(_)), "{done:?}");
    }
}

#[test]
fn the_register_that_was_replaced_is_no_other_one() {
    let mut world = World::bare();
    world.state.replaces = Some(ClusterId(8));
    let mut world = world.begin(Failover::ByHand);
    world.asked(A, 1, ACTIVATE);
    world.feed(A, Input::ForeignRegister { node: B, cluster: ClusterId(8) });
    world.pass(5_000);
    assert!(world.is_up(A), "{}", world.log(A));
}

/// Its agent began again without a majority: it holds by no view, and its stack is as it was found.
#[test]
fn without_a_register_another_one_stops_the_stack_as_well() {
    let mut world = World::pair();
    world.asked(A, 1, ACTIVATE);
    world.power_off(B);
    world.restart(A, 1);
    let foreign = Input::ForeignRegister { node: B, cluster: ClusterId(8) };
    world.feed(A, foreign.clone());
    world.pass(4_000);
    assert!(world.is_up(A), "what it replaced may not be known yet");
    world.feed(A, foreign);
    world.pass(5_000);
    assert!(world.is_down(A), "{}", world.log(A));
}

#[test]
fn a_rebooted_former_active_is_passive_and_a_restarted_agent_keeps_its_stack() {
    let mut world = World::new(Failover::ByHand);
    world.asked(A, 1, ACTIVATE);
    world.restart(A, 1);
    world.pass(5_000);
    assert!(world.is_up(A), "{:#?}", world.hosts[&A].log);
    assert_eq!(world.role(A), Role::Active);

    world.power_off(A);
    world.pass(2_000);
    world.restart(A, 2);
    world.pass(8_000);
    assert!(world.is_down(A), "{:#?}", world.hosts[&A].log);
    assert_eq!(world.state.data, Data::Clear, "{:#?}", world.hosts[&A].log);
    let done = world.asked(B, 3, ACTIVATE);
    assert!(matches!(done, Answer::Done(_)), "{done:?}");
}

#[test]
fn of_two_hosts_and_no_third_the_active_outlives_the_other() {
    let mut world = World::pair();
    let done = world.asked(A, 1, ACTIVATE);
    assert!(matches!(done, Answer::Done(_)), "{done:?}");
    world.power_off(B);
    world.pass(60_000);
    assert!(world.is_up(A) && world.held[&A] && world.addresses[&A]);
    assert_eq!(world.role(A), Role::Active);
    // An agent that begins again finds no majority, and leaves everything as it is.
    world.restart(A, 1);
    world.pass(60_000);
    assert!(world.is_up(A) && world.held[&A] && world.addresses[&A]);
    world.restart(B, 2);
    world.pass(5_000);
    assert_eq!((world.role(A), world.is_down(B)), (Role::Active, true));
    let moved = world.asked(A, 2, Request::Switchover { to: None });
    assert!(matches!(moved, Answer::Done(_)), "{moved:?}");
    assert!(world.is_up(B) && world.is_down(A));
}

#[test]
fn of_two_hosts_the_dead_active_comes_back_passive() {
    let mut world = World::pair();
    world.asked(A, 1, ACTIVATE);
    world.power_off(A);
    world.pass(10_000);
    let refused = world.asked(B, 2, ACTIVATE);
    assert_eq!(obstacle(&refused), Some(Obstacle::NoQuorum), "{refused:?}");
    world.restart(A, 2);
    world.pass(8_000);
    assert!(world.is_down(A) && world.is_down(B), "{:#?}", world.hosts[&A].log);
    assert_eq!(world.state.data, Data::Clear, "{:#?}", world.hosts[&A].log);
    let done = world.asked(B, 3, ACTIVATE);
    assert!(matches!(done, Answer::Done(_)), "{done:?}");
    assert!(world.is_up(B) && world.is_down(A));
}

#[test]
fn an_activation_asked_for_beside_a_dead_user_waits_for_its_fence() {
    let mut world = World::new(Failover::Automatic);
    world.fence = Fenced::Confirmed("off".into());
    world.asked(A, 1, ACTIVATE);
    world.power_off(A);
    world.pass(400);
    let done = world.asked(B, 2, ACTIVATE);
    assert!(matches!(done, Answer::Done(_)), "{done:?}");
    assert!(world.is_up(B));
}

#[test]
fn a_failed_takeover_goes_back_to_whoever_can() {
    let mut world = World::new(Failover::Automatic);
    world.asked(A, 1, ACTIVATE);
    world.host(B).broken_up = Some(2);
    world.ask(A, 2, Request::Switchover { to: Some(B) });
    world.pass(15_000);
    assert!(world.is_up(A) && world.is_down(B), "{:#?}", world.hosts[&B].log);
    assert_eq!(world.role(A), Role::Active);
}

#[test]
fn a_switchover_that_fails_there_comes_back_and_says_why() {
    for failover in [Failover::Automatic, Failover::ByHand] {
        let mut world = World::new(failover);
        world.asked(A, 1, ACTIVATE);
        world.host(B).broken_up = Some(2);
        // Asked of either node.
        for (request, asked) in [(2, A), (3, B)] {
            let answer = world.asked(asked, request, Request::Switchover { to: Some(B) });
            assert_eq!(obstacle(&answer), Some(Obstacle::StepFailed), "{answer:?}");
            let text = format!("{answer:?}");
            assert!(text.contains("database failed: it is broken"), "{text}");
            assert!(text.contains("a is active again"), "{text}");
            world.pass(200);
            assert!(world.is_up(A) && world.is_down(B), "{}", world.log(B));
            assert_eq!(world.role(A), Role::Active);
            let concerns = world.hosts[&B].node.status(world.time()).concerns.join("; ");
            assert!(concerns.contains("database failed: it is broken"), "{concerns}");
            world.pass(120_000);
            assert_eq!(world.role(A), Role::Active, "and stays there");
        }
        world.host(B).broken_up = None;
        let answer = world.asked(A, 4, Request::Switchover { to: Some(B) });
        assert!(matches!(answer, Answer::Done(_)), "{answer:?}");
        assert_eq!(world.hosts[&B].node.status(world.time()).concerns, Vec::<String>::new());
    }
}

#[test]
fn a_switchover_that_fails_on_both_ends_where_it_began() {
    let mut world = World::new(Failover::ByHand);
    world.asked(A, 1, ACTIVATE);
    world.host(B).broken_up = Some(2);
    world.host(A).broken_up = Some(3);
    world.ask(A, 2, Request::Switchover { to: Some(B) });
    world.pass(60_000);
    assert!(world.is_down(A) && world.is_down(B));
    assert_eq!(world.state.lease.epoch, Epoch(3), "there and back, and no further");
}

#[test]
fn a_switchover_that_is_not_undone_there_says_so() {
    // Asked of either node.
    for asked in [A, B] {
        let mut world = World::new(Failover::ByHand);
        world.asked(A, 1, ACTIVATE);
        world.host(B).broken_up = Some(3);
        world.host(B).broken_down = Some(2);
        let answer = world.asked(asked, 2, Request::Switchover { to: Some(B) });
        assert_eq!(obstacle(&answer), Some(Obstacle::NotRolledBack), "{answer:?}");
        let text = format!("{answer:?}");
        let both = "xcatd failed: it is broken; and database does not go down: pid 7 stays";
        assert!(text.contains(both), "{text}");
        assert!(matches!(world.state.data, Data::InUse { node: B, .. }));
    }
}

#[test]
fn a_switchover_that_fails_there_ends_though_nobody_takes_it_back() {
    let mut world = World::new(Failover::ByHand);
    world.asked(A, 1, ACTIVATE);
    let length = Some(Span::millis(600_000));
    world.asked(A, 2, Request::Maintenance { node: A, length });
    world.host(B).broken_up = Some(2);
    world.ask(A, 3, Request::Switchover { to: Some(B) });
    world.pass(250_000);
    let answer = world.answers.get(&3).expect("an end");
    assert_eq!(obstacle(answer), Some(Obstacle::StepFailed), "{answer:?}");
    assert!(format!("{answer:?}").contains("nothing is active"), "{answer:?}");
    // Nothing begins by itself hours later.
    world.pass(600_000);
    assert!(world.is_down(A) && world.is_down(B), "{}", world.log(A));
}

/// Two units of the stack are up on A, which is active.
fn with_units(failover: Failover) -> World {
    let mut world = World::new(failover);
    world.asked(A, 1, ACTIVATE);
    for service in 0..2 {
        world.unit(A, service, UnitState::Up { start: 1 }, false);
    }
    world.pass(100);
    world
}

#[test]
fn a_service_that_somebody_stops_and_starts_moves_nothing() {
    let mut world = with_units(Failover::Automatic);
    for round in 0..6 {
        world.unit(A, 1, UnitState::Unknown, false);
        world.unit(A, 1, UnitState::Down, true);
        world.pass(4_000);
        world.unit(A, 1, UnitState::Unknown, false);
        world.unit(A, 1, UnitState::Up { start: 2 + round }, false);
        world.pass(500);
    }
    assert_eq!(world.state.lease.epoch, Epoch(1), "{}", world.log(A));
    assert!(!world.log(A).contains("asked: "), "{}", world.log(A));
    assert!(world.log(A).contains("service named was stopped by a request"), "{}", world.log(A));
}

#[test]
fn a_service_that_somebody_stopped_for_good_is_started_again_in_place() {
    let mut world = with_units(Failover::Automatic);
    world.unit(A, 1, UnitState::Down, true);
    world.pass(4_900);
    assert!(!world.log(A).contains("asked: "), "{}", world.log(A));
    world.pass(300);
    assert!(world.log(A).contains("asked: Start 1"), "{}", world.log(A));
    assert_eq!(world.state.lease.epoch, Epoch(1));
}

#[test]
fn tries_of_one_service_do_not_count_for_another() {
    let mut world = with_units(Failover::Automatic);
    for start in [2, 3] {
        world.unit(A, 0, UnitState::Down, false);
        world.pass(300);
        world.unit(A, 0, UnitState::Up { start }, false);
        world.pass(2_000);
    }
    assert_eq!(world.log(A).matches("asked: Start 0").count(), 2, "{}", world.log(A));
    world.unit(A, 1, UnitState::Down, false);
    world.pass(500);
    assert_eq!(world.state.lease.epoch, Epoch(1), "{}", world.log(A));
    world.unit(A, 1, UnitState::Up { start: 2 }, false);
    // Twice restored, and down once more.
    world.unit(A, 0, UnitState::Down, false);
    world.pass(5_000);
    assert_eq!(world.state.lease.epoch, Epoch(2), "{}", world.log(A));
}

#[test]
fn an_isolated_user_stops_by_itself_and_goes_on_when_it_is_back() {
    let mut world = World::new(Failover::Automatic);
    world.asked(A, 1, ACTIVATE);
    world.pair = true;
    world.host(B).alive = false;
    world.pass(2_000);
    assert!(world.is_up(A) && !world.held[&A], "the gate first");
    world.pass(4_000);
    assert!(world.is_down(A), "{:#?}", world.hosts[&A].log);
    assert!(matches!(world.state.data, Data::InUse { node: A, .. }));
    world.host(B).alive = true;
    world.pass(5_000);
    let up = [A, B].into_iter().filter(|id| world.is_up(*id)).count();
    assert_eq!(up, 1, "{:#?}", world.hosts[&A].log);
}

fn carrier(world: &mut World, id: NodeId, there: bool) {
    let health = if there { Health::Passing } else { Health::Failing };
    let why = if there { "" } else { "eth0 has no carrier" }.into();
    world.feed(id, Input::Health { probe: ProbeId(0), health, why });
    world.pass(50);
}

#[test]
fn a_stack_moves_away_from_a_host_without_a_carrier_and_to_none() {
    let mut world = World::new(Failover::Automatic);
    world.asked(A, 1, ACTIVATE);
    carrier(&mut world, B, false);
    let refused = world.asked(A, 2, Request::Switchover { to: Some(B) });
    assert!(format!("{refused:?}").contains("eth0 has no carrier"), "{refused:?}");
    carrier(&mut world, A, false);
    world.pass(5_000);
    assert!(world.is_up(A) && world.is_down(B), "{}", world.log(A));
    carrier(&mut world, B, true);
    world.pass(2_000);
    assert!(world.is_down(A) && world.is_up(B), "{}", world.log(A));
    assert!(world.log(A).contains("the host of a fails: probe link: eth0 has no carrier"));
}

#[test]
fn a_standby_without_a_carrier_does_not_take_a_stack_over() {
    let mut world = World::new(Failover::Automatic);
    world.fence = Fenced::Confirmed("off".into());
    world.asked(A, 1, ACTIVATE);
    carrier(&mut world, B, false);
    world.power_off(A);
    world.pass(20_000);
    assert!(world.is_down(B) && world.host(B).fences == 0, "{}", world.log(B));
    carrier(&mut world, B, true);
    world.pass(20_000);
    assert!(world.is_up(B), "{}", world.log(B));
}
