//! Two servers on a bench: what they say to each other is delivered at once, in order, and nothing happens by itself.
//! For the model's own tests, and to hold it against real servers (`adapters/tests/conformance.rs`).

use super::{Database, DbEvent, Effect, Ledger, Op, OpRef, Reply, Stream};
use crate::rng::Rng;
use crate::worker::{Part, parts, to_result};
use regent_core::command::{DatabaseStep, StepResult};
use regent_core::id::{Incarnation, NodeId};
use regent_core::observe::DatabaseFacts;

/// Two servers and what they say to each other, delivered by hand.
pub struct Bench {
    /// The servers.
    pub both: [Database; 2],
    /// Their transactions.
    pub ledger: Ledger,
    rng: Rng,
    answers: Vec<(u64, bool)>,
    /// What came back, by the number of the statement.
    pub replies: Vec<(u64, Reply)>,
    /// Confirmations are lost.
    pub deaf: bool,
    later: Vec<(usize, DbEvent)>,
    /// Statements so far.
    pub ops: u64,
    connections: u64,
}

/// Node 1.
pub const WRITER: usize = 0;
/// Node 2.
pub const FOLLOWER: usize = 1;

impl Bench {
    /// Two servers that do not run, without data.
    pub fn at_rest() -> Bench {
        Bench {
            both: [Database::default(), Database::default()],
            ledger: Ledger::default(),
            rng: Rng::new(5),
            answers: Vec::new(),
            replies: Vec::new(),
            deaf: false,
            later: Vec::new(),
            ops: 0,
            connections: 0,
        }
    }

    /// A writer that is writable, strict or not, and a follower that is attached.
    pub fn new(strict: bool) -> Bench {
        let mut bench = Bench::at_rest();
        for (host, incarnation) in [(WRITER, 10), (FOLLOWER, 20)] {
            bench.both[host].start();
            bench.both[host].keep(Incarnation(incarnation), host == FOLLOWER);
            bench.sql(host, Op::TakeControl);
        }
        for op in [Op::Loose, Op::Writable] {
            bench.sql(WRITER, op);
        }
        if strict {
            bench.sql(WRITER, Op::Strict);
        }
        bench.follow();
        bench
    }

    /// The follower attaches.
    pub fn follow(&mut self) {
        for op in [Op::StopBoth, Op::Loose, Op::Attach(NodeId(1)), Op::StartBoth] {
            self.sql(FOLLOWER, op);
        }
        self.settle();
    }

    /// A statement over the control connection; its answer, if it came at once.
    pub fn sql(&mut self, host: usize, op: Op) -> Option<Reply> {
        self.ops += 1;
        let n = self.ops;
        let at = OpRef { session: 1, connection: 1, n };
        self.act(host, |db, ledger, rng, out| db.sql(at, op, ledger, rng, out));
        self.replies.iter().find(|(to, _)| *to == n).map(|(_, reply)| reply.clone())
    }

    /// The facts, which must be answered.
    pub fn facts(&mut self, host: usize) -> DatabaseFacts {
        match self.sql(host, Op::Facts { look_for: None }) {
            Some(Reply::Facts(facts)) => *facts,
            other => panic!("no facts but {other:?}"),
        }
    }

    /// Looks until the end of the log, as it is now, is kept.
    pub fn rest(&mut self, host: usize) {
        let is_kept = |database: &Database| {
            let end = database.outside.and_then(|outside| outside.end.at);
            end.map_or(0, |(at, _)| at + 1) == database.files.binlog.len()
        };
        while !is_kept(&self.both[host]) {
            self.facts(host);
        }
    }

    /// A client of the writer writes.
    pub fn write(&mut self, write: u64) {
        self.act(WRITER, |db, ledger, rng, out| db.write(write, ledger, rng, out));
    }

    /// Was this write answered, and with OK?
    pub fn answer(&self, write: u64) -> Option<bool> {
        self.answers.iter().find(|(id, _)| *id == write).map(|(_, good)| *good)
    }

    /// Lets everything happen that is due, but bounds.
    pub fn settle(&mut self) {
        while let Some(place) =
            self.later.iter().position(|(_, event)| !matches!(event, DbEvent::Bound(_)))
        {
            let (host, event) = self.later.remove(place);
            self.act(host, |db, ledger, rng, out| match event {
                DbEvent::Synced(id) => db.synced(id, ledger, rng, out),
                DbEvent::Apply => db.apply(ledger, rng, out),
                DbEvent::Unlock(session) => db.unlock(session, ledger, rng, out),
                DbEvent::StopReceiver(at) => db.stop_receiver(at, out),
                DbEvent::Foreign(index) => db.foreign_confirms(index, ledger, rng, out),
                DbEvent::Connect(_) | DbEvent::Bound(_) => {}
            });
        }
    }

    /// The bound of a read-only that waits is reached.
    pub fn bound(&mut self) {
        let place = self.later.iter().position(|(_, event)| matches!(event, DbEvent::Bound(_)));
        let Some((host, DbEvent::Bound(at))) = place.map(|place| self.later.remove(place)) else {
            return;
        };
        self.act(host, |db, ledger, rng, out| db.bound(at, ledger, rng, out));
    }

    /// Something happens at a server.
    pub fn act(
        &mut self,
        host: usize,
        act: impl FnOnce(&mut Database, &mut Ledger, &mut Rng, &mut Vec<Effect>),
    ) {
        let mut out = Vec::new();
        act(&mut self.both[host], &mut self.ledger, &mut self.rng, &mut out);
        for effect in out {
            match effect {
                Effect::Reply { at, reply } => self.replies.push((at.n, reply)),
                Effect::Client(write, good) => self.answers.push((write, good)),
                Effect::Send(connection, stream) => {
                    let lost = self.deaf && matches!(stream, Stream::Confirm { .. });
                    if !lost {
                        self.hear(1 - host, connection, stream);
                    }
                }
                Effect::Seek => {
                    self.connections += 1;
                    let connection = self.connections;
                    let position = self.both[host].attach(connection, &self.ledger);
                    let attach = Stream::Attach { from: NodeId(2), position };
                    self.hear(1 - host, connection, attach);
                }
                Effect::Later(_, event) => self.later.push((host, event)),
                Effect::Hangup(connection) => self.hear(1 - host, connection, Stream::End),
            }
        }
    }

    /// A message arrives.
    pub fn hear(&mut self, host: usize, connection: u64, stream: Stream) {
        self.act(host, |db, ledger, rng, out| db.hear(connection, stream, ledger, rng, out));
    }

    /// The newest replication connection is cut, both sides notice.
    pub fn cut(&mut self) {
        let connection = self.connections;
        self.hear(WRITER, connection, Stream::End);
        self.hear(FOLLOWER, connection, Stream::End);
    }

    /// SIGKILL.
    pub fn kill(&mut self, host: usize) {
        self.later.retain(|(at, _)| *at != host);
        self.act(host, |db, ledger, rng, out| db.kill(ledger, rng, out));
    }

    /// A step as the worker does it, at a host, with everything that is due after it: what became of it, and the facts.
    pub fn step(&mut self, host: usize, step: DatabaseStep) -> (StepResult, Option<DatabaseFacts>) {
        let mut result = StepResult::Done;
        if let DatabaseStep::Marker { token } = step {
            self.sql(host, Op::Marker(token));
            let n = self.ops;
            self.settle();
            result = self
                .replies
                .iter()
                .find(|(to, _)| *to == n)
                .map_or_else(|| StepResult::NoAnswer, |(_, reply)| to_result(reply.clone()));
        }
        for part in parts(step) {
            let reply = self.do_part(host, part);
            match reply {
                Reply::Ok | Reply::Facts(_) => {}
                Reply::Down => return (StepResult::Down, None),
                Reply::Blocked | Reply::Failed(_) | Reply::Lineage(_) | Reply::Saved(_) => {
                    result = to_result(reply);
                    break;
                }
            }
        }
        self.settle();
        let facts = match self.sql(host, Op::Facts { look_for: None }) {
            Some(Reply::Facts(facts)) => Some(*facts),
            _ => None,
        };
        if facts.is_none() {
            return (StepResult::Down, None);
        }
        (result, facts)
    }

    fn do_part(&mut self, host: usize, part: Part) -> Reply {
        match part {
            Part::Sql(op) => {
                self.sql(host, op);
                let n = self.ops;
                self.settle();
                if !self.replies.iter().any(|(to, _)| *to == n) {
                    self.bound();
                }
                let reply = self.replies.iter().find(|(to, _)| *to == n);
                reply.map_or(Reply::Down, |(_, reply)| reply.clone())
            }
            Part::AskCopy(writer) => {
                let peer = usize::from(writer.node.0) - 1;
                match self.both[peer].incarnation() == Some(writer.incarnation) {
                    true => Reply::Ok,
                    false => Reply::Failed(String::from("the writer cannot be asked")),
                }
            }
            Part::AskWriter(writer) => {
                let peer = usize::from(writer.node.0) - 1;
                match self.both[peer].incarnation() {
                    Some(incarnation) if incarnation == writer.incarnation => {
                        self.both[host].may_follow()
                    }
                    Some(_) | None => Reply::Failed(String::from("the writer cannot be asked")),
                }
            }
            Part::NeedDrained if self.both[host].is_drained() => Reply::Ok,
            Part::NeedDrained => Reply::Failed(String::from("not drained")),
            Part::Keep(incarnation, mark) => self.both[host].ask_to_keep(incarnation, mark),
            Part::Rename(incarnation) => {
                let mut reply = Reply::Down;
                self.act(host, |db, ledger, _, out| reply = db.rename(incarnation, ledger, out));
                reply
            }
            Part::Start => {
                self.both[host].start();
                Reply::Ok
            }
            Part::Clone(writer, incarnation) => {
                let peer = usize::from(writer.node.0) - 1;
                let files = self.both[peer].files.clone();
                let files = self.both[peer].copy_of(files, &self.ledger);
                self.kill(host);
                self.both[host].files = files;
                self.both[host].outside = None;
                self.both[host].keep(incarnation, true);
                Reply::Ok
            }
            Part::Compare(_) | Part::Save(_) | Part::UndoBegin | Part::Undo(_) | Part::UndoEnd => {
                Reply::Failed(String::from("not on the bench"))
            }
        }
    }
}
