//! The simulated database against MariaDB: one list of situations, done to both; outcomes and facts must be the same.
//!
//! The model goes first. What it says after a deed is what the real server must say, at once or a moment later (it
//! takes
//! its time for what the model does in none). A difference is a fault of the model or of the worker: both are believed
//! by everything else.

mod mariadb_lab;

use mariadb_lab::{Node, pair, ready, token, wait_until};
use regent_core::command::{DatabaseStep, StepResult};
use regent_core::id::{Incarnation, NodeId};
use regent_core::observe::{DatabaseFacts, Thread};
use regent_core::state::DataCopy;
use regent_sim::database::Files;
use regent_sim::database::bench::Bench;
use std::process::Child;
use std::time::{Duration, Instant};

#[test]
#[ignore = "not a test: the worker's process"]
fn worker_process() {
    mariadb_lab::worker_process();
}

/// The writer, and the node that follows it.
const A: usize = 0;
const B: usize = 1;
/// How long the real server may take to be where the model is at once.
const LATE_MAX: Duration = Duration::from_secs(20);

/// How often everything is done at most.
const TRIES_MAX: usize = 3;

/// What is done.
#[derive(Clone, Debug)]
enum Deed {
    /// A step of core's.
    Step(usize, DatabaseStep),
    /// A client of the writer writes, and may wait.
    Write,
    /// SIGKILL of the server, and a start.
    Crash(usize),
    /// It is looked at until the end of its log is kept.
    Rest(usize),
    /// The data directory, as it is, is copied aside.
    SetAside(usize),
    /// The server is killed, the copy put in place, and started.
    PutBack(usize),
    /// Somebody enters RESET MASTER.
    ResetMaster(usize),
    /// Somebody sets a finite timeout.
    Finite(usize),
    /// Somebody sets read_only=0.
    Open(usize),
}

/// What is compared: facts without their names.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Seen {
    same_start: bool,
    read_only: bool,
    strict: bool,
    waiting: u32,
    confirming: u32,
    others: Box<[String]>,
    confirms: bool,
    receiver: &'static str,
    applier: &'static str,
    source: Option<NodeId>,
    drained: bool,
    unconfirmed: u64,
    incarnation: Option<Incarnation>,
    was: Box<[Incarnation]>,
    mark: bool,
    broken: bool,
}

fn seen(facts: &DatabaseFacts, first: &mut Option<u64>) -> Seen {
    let thread = |thread: &Thread| match thread {
        Thread::Running => "running",
        Thread::Connecting => "connecting",
        Thread::Stopped => "stopped",
        Thread::Failed(_) => "failed",
    };
    Seen {
        same_start: *first.get_or_insert(facts.start) == facts.start,
        read_only: facts.read_only,
        strict: facts.strict,
        waiting: facts.waiting,
        confirming: facts.confirming,
        others: facts.others.clone(),
        confirms: facts.confirms,
        receiver: thread(&facts.receiver),
        applier: thread(&facts.applier),
        source: facts.source,
        drained: facts.drained,
        unconfirmed: facts.unconfirmed,
        incarnation: facts.incarnation,
        was: facts.was.clone(),
        mark: facts.mark,
        broken: facts.broken,
    }
}

fn kind(result: &StepResult) -> &'static str {
    match result {
        StepResult::Done => "done",
        StepResult::Blocked => "blocked",
        StepResult::Down => "down",
        StepResult::NoAnswer => "no answer",
        StepResult::Failed(_) => "failed",
        StepResult::Lineage(_) => "lineage",
        StepResult::Saved(_) => "saved",
    }
}

/// Is control of the server held after a step that ended so?
fn is_held(result: &StepResult) -> bool {
    !matches!(result, StepResult::Down | StepResult::NoAnswer)
}

/// What can be said of a pair after a deed: the outcome of a step, and of each node whose control is held the facts.
type Answer = (&'static str, [Option<Seen>; 2]);

/// The model.
struct Model {
    bench: Bench,
    copies: [Option<Files>; 2],
    first: [Option<u64>; 2],
    held: [bool; 2],
    writes: u64,
}

impl Model {
    fn new() -> Model {
        let mut bench = Bench::at_rest();
        bench.both.iter_mut().for_each(|database| {
            database.start();
        });
        Model { bench, copies: [None, None], first: [None; 2], held: [false; 2], writes: 0 }
    }

    fn restart(&mut self, host: usize) {
        self.bench.kill(host);
        self.bench.both[host].start();
        self.bench.settle();
        self.held[host] = false;
    }

    fn act(&mut self, deed: &Deed) -> &'static str {
        match deed {
            Deed::Step(host, step) => {
                let (result, _) = self.bench.step(*host, step.clone());
                self.held[*host] = is_held(&result);
                return kind(&result);
            }
            Deed::Write => {
                self.writes += 1;
                self.bench.write(self.writes);
            }
            Deed::Crash(host) => self.restart(*host),
            Deed::Rest(host) => self.bench.rest(*host),
            Deed::SetAside(host) => self.copies[*host] = Some(self.bench.both[*host].files.clone()),
            Deed::PutBack(host) => {
                self.bench.kill(*host);
                self.bench.both[*host].files = self.copies[*host].take().expect("a copy");
                self.bench.both[*host].start();
                self.held[*host] = false;
            }
            Deed::ResetMaster(host) => {
                self.bench.act(*host, |db, ledger, rng, out| db.reset_master(ledger, rng, out));
            }
            Deed::Finite(host) => self.server(*host).finite = true,
            Deed::Open(host) => self.server(*host).read_only = false,
        }
        self.bench.settle();
        ""
    }

    fn server(&mut self, host: usize) -> &mut regent_sim::database::Server {
        self.bench.both[host].server.as_mut().expect("it runs")
    }

    fn answer(&mut self, deed: &Deed) -> Answer {
        let outcome = self.act(deed);
        let facts = [A, B].map(|host| {
            let facts = self.held[host].then(|| self.bench.facts(host))?;
            Some(seen(&facts, &mut self.first[host]))
        });
        (outcome, facts)
    }
}

/// The real thing.
struct Real {
    nodes: [Node; 2],
    first: [Option<u64>; 2],
    held: [bool; 2],
    clients: Vec<Child>,
    writes: u64,
    has_table: bool,
    /// The last step's result in full.
    said: Option<StepResult>,
}

impl Real {
    fn act(&mut self, deed: &Deed) -> &'static str {
        match deed {
            Deed::Step(host, step) => {
                let node = &self.nodes[*host];
                let (result, _) = node.step(step.clone());
                self.held[*host] = is_held(&result);
                if *step == DatabaseStep::Writable && result == StepResult::Done && !self.has_table
                {
                    // Made while loose: what is made later would wait like everything else.
                    self.has_table = true;
                    node.sql("CREATE DATABASE app; CREATE TABLE app.t (a INT PRIMARY KEY)");
                    node.await_making();
                }
                let kind = kind(&result);
                self.said = Some(result);
                return kind;
            }
            Deed::Write => {
                self.writes += 1;
                let text = format!("INSERT INTO app.t VALUES ({})", self.writes);
                let mut client = self.nodes[A].sql_in_background(&text);
                let begun = |n: &Node| {
                    n.sql("SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_master_wait_sessions'")
                };
                wait_until("written, or waiting", || {
                    client.try_wait().expect("asked").is_some()
                        || !begun(&self.nodes[A]).ends_with("\t0")
                });
                self.clients.push(client);
            }
            Deed::Crash(host) => {
                self.nodes[*host].crash();
                self.held[*host] = false;
            }
            Deed::Rest(host) => self.nodes[*host].await_end(),
            Deed::SetAside(host) => self.nodes[*host].set_aside("aside"),
            Deed::PutBack(host) => {
                self.nodes[*host].put_back("aside");
                self.held[*host] = false;
            }
            Deed::ResetMaster(host) => drop(self.nodes[*host].sql("RESET MASTER")),
            Deed::Finite(host) => {
                drop(self.nodes[*host].sql("SET GLOBAL rpl_semi_sync_master_timeout=600000"));
            }
            Deed::Open(host) => drop(self.nodes[*host].sql("SET GLOBAL read_only=0")),
        }
        ""
    }

    fn facts(&mut self) -> [Option<Seen>; 2] {
        [A, B].map(|host| {
            let (result, facts) = self.held[host].then(|| self.nodes[host].step(OBSERVE))?;
            if !is_held(&result) {
                // On a busy machine: control is taken anew, as core does.
                self.nodes[host].step(DatabaseStep::TakeControl);
            }
            Some(seen(&facts?, &mut self.first[host]))
        })
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        for client in &mut self.clients {
            let _ = client.kill();
            let _ = client.wait();
        }
    }
}

/// Does the deeds to both, and compares after each. A server that does not answer a step within its bound is on a busy
/// machine: that says nothing about the model, and everything is done once more.
fn compare(name: &str, deeds: &[Deed]) {
    if !ready(name) {
        return;
    }
    let answered = (0..TRIES_MAX).any(|_| is_compared(name, deeds));
    assert!(answered, "{name}: {TRIES_MAX} times a step was not answered");
}

/// False if a step was not answered.
fn is_compared(name: &str, deeds: &[Deed]) -> bool {
    let mut model = Model::new();
    let nodes = pair(&format!("same-{}", name.replace(' ', "-")));
    let (first, held) = ([None; 2], [false; 2]);
    let mut real =
        Real { nodes, first, held, clients: Vec::new(), writes: 0, has_table: false, said: None };
    for (nth, deed) in deeds.iter().enumerate() {
        let (outcome, facts) = model.answer(deed);
        let real_outcome = real.act(deed);
        if real_outcome == kind(&StepResult::NoAnswer) && real_outcome != outcome {
            eprintln!("{name}, deed {nth}, {deed:?}: not answered, everything once more");
            return false;
        }
        assert_eq!(
            real_outcome, outcome,
            "{name}, deed {nth}, {deed:?}: the real outcome, the model's; {:?}",
            real.said
        );
        let begun = Instant::now();
        loop {
            let real_facts = real.facts();
            if real_facts == facts {
                break;
            }
            let late = begun.elapsed() > LATE_MAX;
            assert!(!late, "{name}, deed {nth}, {deed:?}:\nreal {real_facts:#?}\nmodel {facts:#?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    true
}

fn a(step: DatabaseStep) -> Deed {
    Deed::Step(A, step)
}

fn b(step: DatabaseStep) -> Deed {
    Deed::Step(B, step)
}

fn keep(incarnation: u64, mark: bool) -> DatabaseStep {
    DatabaseStep::Keep { incarnation: Incarnation(incarnation), mark }
}

const OBSERVE: DatabaseStep = DatabaseStep::Observe { look_for: None };
/// The writer's data, in the stay in which they are followed.
const WRITER: DataCopy = DataCopy { node: NodeId(1), incarnation: Incarnation(11) };

/// The writer alone: named, loose, open.
fn alone() -> Vec<Deed> {
    use DatabaseStep::{Loose, TakeControl, Writable};
    vec![a(TakeControl), a(keep(11, false)), a(Loose), a(Writable)]
}

/// The writer strict, and a follower that is near.
fn in_sync() -> Vec<Deed> {
    use DatabaseStep::{Follow, Marker, Reclone, Strict, TakeControl};
    let mut deeds = alone();
    deeds.extend([
        b(TakeControl),
        b(Reclone { writer: WRITER, incarnation: Incarnation(21) }),
        b(Follow { writer: WRITER }),
        a(Strict),
        a(Marker { token: token(1) }),
        Deed::Write,
    ]);
    deeds
}

fn rename(incarnation: u64) -> DatabaseStep {
    DatabaseStep::Rename { incarnation: Incarnation(incarnation) }
}

#[test]
fn a_writer_alone_is_the_same() {
    use DatabaseStep::{
        Loose, ReadOnly, StartReceiver, StopReceiver, Strict, TakeControl, Writable,
    };
    let mut deeds = vec![a(OBSERVE)];
    deeds.extend(alone());
    deeds.extend([
        Deed::Write,
        a(TakeControl),
        a(TakeControl),
        a(StopReceiver),
        a(StartReceiver),
        // Read-only with a commit open is withdrawn; loose lets it go.
        a(Strict),
        Deed::Write,
        a(ReadOnly),
        a(Loose),
        a(ReadOnly),
        a(Strict),
        // Settings changed behind.
        Deed::Open(A),
        Deed::Finite(A),
        a(Strict),
        a(Loose),
        a(Writable),
        // The mark on and off; a start under it ends the stay.
        a(keep(11, true)),
        Deed::Crash(A),
        a(OBSERVE),
        a(TakeControl),
        a(keep(12, true)),
        a(keep(12, false)),
        Deed::Crash(A),
        a(TakeControl),
    ]);
    compare("a writer alone", &deeds);
}

#[test]
fn data_that_are_not_what_they_were_are_the_same() {
    use DatabaseStep::{Loose, Strict, TakeControl, Writable};
    let mut deeds = alone();
    deeds.extend([
        Deed::Write,
        // Put back within a start, and after another one.
        Deed::SetAside(A),
        Deed::Write,
        a(OBSERVE),
        a(Loose),
        Deed::Rest(A),
        Deed::PutBack(A),
        a(TakeControl),
        a(keep(11, false)),
        a(Writable),
        a(keep(12, false)),
        a(Loose),
        a(Writable),
        Deed::SetAside(A),
        Deed::Crash(A),
        a(TakeControl),
        Deed::PutBack(A),
        a(TakeControl),
        a(keep(13, false)),
        a(Loose),
        a(Writable),
        Deed::Write,
        a(Loose),
        Deed::Rest(A),
        // The log reset, and named anew; where a commit waits it is not.
        a(rename(15)),
        Deed::ResetMaster(A),
        Deed::Write,
        a(Strict),
        Deed::Write,
        a(rename(15)),
        a(Loose),
        a(rename(15)),
        a(Writable),
        Deed::Write,
        Deed::ResetMaster(A),
        a(OBSERVE),
        a(rename(16)),
        a(keep(16, true)),
        Deed::ResetMaster(A),
        a(rename(17)),
        a(keep(13, false)),
        a(keep(17, false)),
        a(Loose),
        a(Writable),
        Deed::Write,
        Deed::Rest(A),
        // And the same names again.
        Deed::ResetMaster(A),
        Deed::Write,
        a(OBSERVE),
        Deed::Crash(A),
        a(TakeControl),
        // And once more, before anybody looked at what has its name now.
        a(keep(14, false)),
        a(Loose),
        a(Writable),
        Deed::Write,
        Deed::ResetMaster(A),
        Deed::Write,
        a(Loose),
    ]);
    compare("other data", &deeds);
}

#[test]
fn a_follower_is_the_same() {
    use DatabaseStep::{
        EndFollowing, Follow, Loose, ReadOnly, StartReceiver, StopReceiver, Strict, TakeControl,
        Writable,
    };
    let mut deeds = in_sync();
    deeds.extend([
        // What it followed once it must not follow again under this name; and it does not end while it receives.
        b(Follow { writer: WRITER }),
        b(EndFollowing),
        b(StopReceiver),
        b(StopReceiver),
        b(StartReceiver),
        Deed::Write,
        b(TakeControl),
        b(StopReceiver),
        // A commit that waits for it; then it comes back.
        Deed::Write,
        b(StartReceiver),
        a(DatabaseStep::Marker { token: token(2) }),
        a(ReadOnly),
        a(Writable),
        // A start of its server ends its stay, and its threads.
        Deed::Crash(B),
        b(TakeControl),
        b(StartReceiver),
        b(Follow { writer: WRITER }),
        a(Loose),
        b(keep(22, true)),
        b(EndFollowing),
        b(Follow { writer: DataCopy { incarnation: Incarnation(12), ..WRITER } }),
        b(Follow { writer: WRITER }),
        a(Strict),
        Deed::Write,
        b(StopReceiver),
        b(keep(22, false)),
        b(EndFollowing),
        b(Follow { writer: WRITER }),
        b(Loose),
        b(Writable),
        b(ReadOnly),
        b(Strict),
    ]);
    compare("a follower", &deeds);
}

#[test]
fn a_death_between_any_two_steps_of_taking_over_is_the_same() {
    use DatabaseStep::{EndFollowing, Follow, Loose, StopReceiver, TakeControl, Writable};
    let steps = [StopReceiver, OBSERVE, keep(0, false), EndFollowing, Loose, Writable];
    let mut deeds = in_sync();
    for died_after in 0..=steps.len() {
        let incarnation = 20 + died_after as u64 + 1;
        for step in &steps[..died_after] {
            let step = if let DatabaseStep::Keep { mark, .. } = step {
                keep(incarnation, *mark)
            } else {
                step.clone()
            };
            deeds.push(b(step));
        }
        deeds.extend([Deed::Crash(B), b(TakeControl)]);
        if died_after < steps.len() {
            let again = [b(keep(incarnation + 1, true)), b(Follow { writer: WRITER })];
            deeds.extend(again);
            deeds.extend([a(DatabaseStep::Marker { token: token(50 + incarnation) }), Deed::Write]);
        }
    }
    compare("a death", &deeds);
}
