//! One node, and a world around it that obeys, refuses or hangs: register, host, database, a peer's reports.

#![allow(dead_code, reason = "each test file uses its part")]

#[path = "../bench/mod.rs"]
pub mod bench;

use bench::{ME, PEER, at_rest, first_state, follows, identity, report, spec};
use regent_core::command::{
    Action, AddressStep, Answer, Command, DatabaseStep, LifeSigns, Lineage, Outcome, RunRecord,
    SavedTail, StepResult, SwapOutcome,
};
use regent_core::event::{Event, Severity};
use regent_core::id::{AttemptId, Epoch, Incarnation, RunId, Version};
use regent_core::node::{Input, Node};
use regent_core::observe::{DatabaseFacts, DatabaseReport, Report, Thread};
use regent_core::spec::Spec;
use regent_core::state::{DataCopy, Phase, State};
use regent_core::time::{Span, Time};

/// A test looks at no more commands than these.
pub const ASKED_MOST: usize = 20_000;

/// What the world answers instead of obeying.
pub type Refuses = fn(&Action) -> Option<Outcome>;

pub struct World {
    pub node: Node,
    pub now: Time,
    pub version: u64,
    pub state: State,
    pub facts: Option<DatabaseFacts>,
    /// What the peer tells; nothing if it is silent.
    pub peer: Option<DatabaseReport>,
    pub reports: u64,
    pub marker: Option<AttemptId>,
    pub refuses: Refuses,
    /// What the world never answers.
    pub hangs: fn(&Action) -> bool,
    /// Why the peer says that it cannot serve.
    pub peer_unable: Option<String>,
    /// What else the peer reports.
    pub alters: fn(&mut Report),
    /// What operators were answered.
    pub answers: Vec<Answer>,
    /// The first [`ASKED_MOST`] of them.
    pub asked: Vec<Action>,
    pub proposals: u64,
    /// And when.
    pub told: Vec<(Time, Event)>,
    pub sent: Option<Report>,
}

pub fn obeys(_: &Action) -> Option<Outcome> {
    None
}

impl World {
    pub fn new(state: State, facts: DatabaseFacts) -> World {
        World::found(state, Some(facts), [None; 2])
    }

    /// A run that finds this database, and this left of the tickets of an earlier one.
    pub fn found(state: State, facts: Option<DatabaseFacts>, gate: [Option<Span>; 2]) -> World {
        let now = Time { boot: 1_000_000_000, raw: 1_000_000_000 };
        let record = RunRecord { runs: vec![RunId(1)], high: Version(0), lock_held: true, gate };
        World {
            node: Node::new(identity(), spec(), record, now),
            now,
            version: 1,
            state,
            facts,
            peer: None,
            reports: 0,
            marker: None,
            refuses: obeys,
            hangs: |_| false,
            peer_unable: None,
            alters: |_| {},
            answers: Vec::new(),
            asked: Vec::new(),
            proposals: 0,
            told: Vec::new(),
            sent: None,
        }
    }

    /// In sync, writable and open, as holder.
    pub fn serving() -> World {
        World::serving_as(spec())
    }

    /// A run with another configuration.
    pub fn with(spec: Spec, state: State, facts: DatabaseFacts) -> World {
        let mut world = World::new(state, facts);
        let record =
            RunRecord { runs: vec![RunId(1)], high: Version(0), lock_held: true, gate: [None; 2] };
        world.node = Node::new(identity(), spec, record, world.now);
        world
    }

    pub fn serving_as(spec: Spec) -> World {
        let mut world = World::with(spec, first_state(), at_rest());
        world.peer = Some(follows(Incarnation(22)));
        world.run(3_000);
        assert!(world.is_open() && world.state.sync.with.is_some(), "{}", world.why());
        world.asked.clear();
        world.told.clear();
        world
    }

    pub fn why(&self) -> String {
        self.node.explain(self.now).join("\n")
    }

    pub fn is_open(&self) -> bool {
        self.sent.as_ref().is_some_and(|report| report.serving)
    }

    pub fn feed(&mut self, input: Input) {
        self.node.handle(input, self.now);
        let mut most = ASKED_MOST;
        while let Some(Command { id, action, .. }) = self.node.poll_command() {
            most -= 1;
            assert!(most > 0, "it asks without end: {action:?}\n{}", self.why());
            if self.asked.len() < ASKED_MOST {
                self.asked.push(action.clone());
            }
            self.proposals += u64::from(matches!(action, Action::Propose { .. }));
            if (self.hangs)(&action) {
                continue;
            }
            if let Some(outcome) = (self.refuses)(&action).or_else(|| self.carry_out(action)) {
                self.node.handle(Input::Outcome { id, outcome }, self.now);
            }
        }
    }

    /// For so long, in steps of 10 ms, with the peer's reports and the node's own deadlines.
    pub fn run(&mut self, ms: u64) {
        for _ in 0..ms / 10 {
            if let Some(mut database) = self.peer.clone() {
                self.reports += 1;
                database.shows = self.marker.filter(|_| database.source == Some(ME));
                let known = report(self.reports, Version(self.version), &self.state);
                let unable = self.peer_unable.clone();
                let mut told = Report { database: Some(database), unable, ..known };
                (self.alters)(&mut told);
                self.feed(Input::Report(told));
            }
            self.now = self.now.after(Span::millis(10));
            self.feed(Input::Tick);
        }
    }

    /// The peer took the record, and renews it from here on each time this is called.
    pub fn held_by_peer(&mut self) {
        let lease = &mut self.state.lease;
        if lease.holder != PEER {
            (lease.holder, lease.epoch, lease.phase) =
                (PEER, Epoch(lease.epoch.0 + 1), Phase::Heir);
        }
        self.renewed_by_peer();
    }

    /// The record as it is, with another swap of the peer's.
    pub fn renewed_by_peer(&mut self) {
        self.version += 1;
        self.state.lease.by = AttemptId { node: PEER, n: self.version, ..AttemptId::default() };
        let (version, bytes) = (Version(self.version), self.state.encode());
        self.feed(Input::View { version, bytes, recent: Vec::new() });
    }

    pub fn carry_out(&mut self, action: Action) -> Option<Outcome> {
        match action {
            Action::Tell(event) => self.told.push((self.now, event)),
            Action::Send(report) => self.sent = Some(*report),
            Action::Answer { answer, .. } => self.answers.push(answer),
            Action::ReadClock => return Some(Outcome::Clock(self.now)),
            Action::Gate(_)
            | Action::Address(AddressStep::Add { .. } | AddressStep::Remove)
            | Action::Stack(_)
            | Action::Service { .. }
            | Action::Fence { .. } => return Some(Outcome::Done),
            Action::Address(AddressStep::DestroySockets | AddressStep::Announce) => {
                return Some(Outcome::Done);
            }
            Action::ProbePeer { .. } => {
                return Some(Outcome::Peer(LifeSigns::SILENT));
            }
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

    pub fn swap(&mut self, expect: Version, proposed: &[u8]) -> Outcome {
        let wins = expect == Version(self.version);
        if wins {
            self.version += 1;
            self.state = State::decode(proposed).expect("what is proposed can be read");
        }
        let (version, bytes) = (Version(self.version), self.state.encode());
        Outcome::Swap(if wins {
            SwapOutcome::Won { version, bytes }
        } else {
            SwapOutcome::Lost { version, bytes }
        })
    }

    pub fn database(&mut self, step: &DatabaseStep) -> Outcome {
        if *step == DatabaseStep::Kill {
            self.facts = None;
            return Outcome::Database { result: StepResult::Done, facts: None };
        }
        if let DatabaseStep::Reclone { incarnation, .. } = step {
            let start = self.facts.as_ref().map_or(100, |facts| facts.start + 1);
            let incarnation = Some(*incarnation);
            self.facts = Some(DatabaseFacts { incarnation, mark: true, start, ..at_rest() });
        }
        let Some(facts) = &mut self.facts else {
            return Outcome::Database { result: StepResult::Down, facts: None };
        };
        match step {
            DatabaseStep::Strict => facts.strict = true,
            DatabaseStep::Loose => (facts.strict, facts.waiting) = (false, 0),
            DatabaseStep::Writable => facts.read_only = false,
            DatabaseStep::ReadOnly => facts.read_only = true,
            DatabaseStep::Keep { incarnation, mark } => {
                (facts.incarnation, facts.mark) = (Some(*incarnation), *mark);
                facts.broken = false;
            }
            DatabaseStep::StopReceiver => {
                (facts.receiver, facts.drained) = (Thread::Stopped, true);
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
            // What the threads had stopped with is gone only now.
            DatabaseStep::Follow { writer } => {
                facts.source = Some(writer.node);
                (facts.receiver, facts.applier) = (Thread::Running, Thread::Running);
            }
        }
        Outcome::Database { result: StepResult::Done, facts: Some(facts.clone()) }
    }

    pub fn count(&self, wanted: impl Fn(&Action) -> bool) -> usize {
        self.asked.iter().filter(|action| wanted(action)).count()
    }

    pub fn told(&self, code: &str) -> Vec<Severity> {
        let of = self.told.iter().filter(|(_, event)| event.code == code);
        of.map(|(_, event)| event.severity).collect()
    }

    /// When an event of this code was told first.
    pub fn first_told(&self, code: &str) -> Option<Time> {
        self.told.iter().find(|(_, event)| event.code == code).map(|(at, _)| *at)
    }

    pub fn unable(&self) -> Option<&str> {
        self.sent.as_ref().and_then(|report| report.unable.as_deref())
    }
}

/// This node holds, and the peer's copy is recorded beside its own.
pub fn with_peer() -> State {
    let mut state = first_state();
    state.sync.with = Some(DataCopy { node: PEER, incarnation: Incarnation(22) });
    state
}

/// The peer holds, and its copy alone has everything.
pub fn led_by_peer() -> State {
    let mut state = first_state();
    (state.lease.holder, state.lease.phase) = (PEER, Phase::Ruling);
    state.sync.writer = DataCopy { node: PEER, incarnation: Incarnation(22) };
    state
}

/// The peer's database as the writer.
pub fn writes() -> DatabaseReport {
    DatabaseReport { read_only: false, source: None, ..follows(Incarnation(22)) }
}

pub fn denied() -> Outcome {
    Outcome::Failed("Operation not permitted".into())
}

pub fn is(action: &Action, wanted: fn(&DatabaseStep) -> bool) -> bool {
    matches!(action, Action::Database(step) if wanted(step))
}

/// A database step that fails at once.
pub fn fails(action: &Action, wanted: fn(&DatabaseStep) -> bool) -> Option<Outcome> {
    let result = StepResult::Failed("error 1290: made on purpose".into());
    is(action, wanted).then_some(Outcome::Database { result, facts: None })
}

/// A comparison finds this, a tail is saved, and a copy is not to be had.
pub fn compared(action: &Action, lineage: Lineage) -> Option<Outcome> {
    let saved = SavedTail { count: Some(1), path: "tails".into() };
    let answers = [
        (
            is(action, |step| matches!(step, DatabaseStep::Compare { .. })),
            StepResult::Lineage(lineage),
        ),
        (
            is(action, |step| matches!(step, DatabaseStep::SaveTail { .. })),
            StepResult::Saved(saved),
        ),
        (
            is(action, |step| matches!(step, DatabaseStep::Reclone { .. })),
            StepResult::Failed("the writer cannot be asked".into()),
        ),
    ];
    let result = answers.into_iter().find_map(|(is_asked, result)| is_asked.then_some(result))?;
    Some(Outcome::Database { result, facts: None })
}

pub fn starts(action: &Action) -> bool {
    is(action, |step| matches!(step, DatabaseStep::Start))
}
