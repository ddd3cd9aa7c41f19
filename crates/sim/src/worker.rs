//! The database worker, a child of the agent: it turns one step into statements, one after the other, and answers
//! with fresh facts. When it dies, the statement that it had sent goes on (D11).

use crate::database::{DbEvent, Effect, Files, Op, OpRef, Reply, Server};
use crate::promise::STATEMENT;
use crate::world::{Event, World};
use regent_core::command::{DatabaseStep, Lineage, Outcome, SavedTail, StepResult};
use regent_core::health::Subject;
use regent_core::id::{CommandId, Incarnation};
use regent_core::invariant::Removal;
use regent_core::node::Input;
use regent_core::observe::DatabaseFacts;
use regent_core::state::DataCopy;
use std::collections::{BTreeMap, VecDeque};

/// The worker of one run.
#[derive(Default)]
pub struct Worker {
    queue: VecDeque<(CommandId, DatabaseStep)>,
    current: Option<Work>,
    markers: BTreeMap<u64, CommandId>,
    /// A statement that was not answered within its bound: the connection is its until it is.
    stuck: Option<u64>,
    /// Control connections so far.
    connections: u64,
    ops: u64,
}

struct Work {
    id: CommandId,
    todo: VecDeque<Part>,
    waits_for: Option<u64>,
    result: StepResult,
    facts: Option<DatabaseFacts>,
}

/// A part of a step.
#[derive(Clone, PartialEq, Debug)]
pub enum Part {
    /// One statement.
    Sql(Op),
    /// Nothing was received that is not applied.
    NeedDrained,
    /// Files beside the data and outside.
    Keep(Incarnation, bool),
    /// The log is begun anew, and the data get another name.
    Rename(Incarnation),
    /// The unit is started, and answers.
    Start,
    /// The writer tells a follower that may attach how to follow it, in its recorded incarnation (D8).
    AskWriter(DataCopy),
    /// The writer is asked whether its data can be copied.
    AskCopy(DataCopy),
    /// How does the log relate to the writer's?
    Compare(DataCopy),
    /// The tail is copied and counted.
    Save(DataCopy),
    /// The undo is noted, synced.
    UndoBegin,
    /// The tail is undone, the log cut.
    Undo(DataCopy),
    /// The note is taken away.
    UndoEnd,
    /// The server is stopped, and a copy of the writer's data put in place.
    Clone(DataCopy, Incarnation),
}

/// How long a step may take before it is answered NoAnswer, by what it does.
fn bound(step: &DatabaseStep) -> u64 {
    const SECOND: u64 = 1_000_000_000;
    match step {
        DatabaseStep::Start => 3600 * SECOND,
        DatabaseStep::ReadOnly => SECOND * 3 / 2,
        DatabaseStep::StopReceiver => 3 * SECOND,
        DatabaseStep::Follow { .. } => 10 * SECOND,
        DatabaseStep::Compare { .. }
        | DatabaseStep::SaveTail { .. }
        | DatabaseStep::Rename { .. }
        | DatabaseStep::Rewind { .. } => 30 * SECOND,
        DatabaseStep::Reclone { .. } => 120 * SECOND,
        DatabaseStep::TakeControl
        | DatabaseStep::Observe { .. }
        | DatabaseStep::Kill
        | DatabaseStep::Stop
        | DatabaseStep::Keep { .. }
        | DatabaseStep::Strict
        | DatabaseStep::Loose
        | DatabaseStep::Writable
        | DatabaseStep::Marker { .. }
        | DatabaseStep::StartReceiver
        | DatabaseStep::EndSession { .. }
        | DatabaseStep::Distrust { .. }
        | DatabaseStep::MayCopy { .. }
        | DatabaseStep::Verify { .. }
        | DatabaseStep::EndFollowing => SECOND,
    }
}

/// What a step consists of.
pub(crate) fn parts(step: DatabaseStep) -> Vec<Part> {
    let facts = Part::Sql(Op::Facts { look_for: None });
    let sql = |op| vec![Part::Sql(op), facts.clone()];
    match step {
        DatabaseStep::TakeControl => sql(Op::TakeControl),
        DatabaseStep::Observe { look_for } => vec![Part::Sql(Op::Facts { look_for })],
        DatabaseStep::Start => vec![Part::Start, Part::Sql(Op::TakeControl), facts],
        DatabaseStep::Kill
        | DatabaseStep::Stop
        | DatabaseStep::Marker { .. }
        | DatabaseStep::Verify { .. } => Vec::new(),
        DatabaseStep::Keep { incarnation, mark } => vec![Part::Keep(incarnation, mark), facts],
        DatabaseStep::Strict => sql(Op::Strict),
        DatabaseStep::Loose => sql(Op::Loose),
        DatabaseStep::ReadOnly => sql(Op::ReadOnly),
        DatabaseStep::Writable => sql(Op::Writable),
        DatabaseStep::EndSession { session } => sql(Op::EndSession(session)),
        DatabaseStep::StopReceiver => sql(Op::StopReceiver),
        DatabaseStep::StartReceiver => sql(Op::StartReceiver),
        DatabaseStep::EndFollowing => vec![
            facts.clone(),
            Part::NeedDrained,
            Part::Sql(Op::Strict),
            Part::Sql(Op::EndFollowing),
            facts,
        ],
        DatabaseStep::Distrust { .. } => vec![Part::UndoBegin, facts],
        DatabaseStep::Rename { incarnation } => vec![
            Part::Sql(Op::BeginRename),
            Part::Sql(Op::ReadOnly),
            Part::Rename(incarnation),
            facts,
        ],
        DatabaseStep::MayCopy { writer, .. } => vec![Part::AskCopy(writer), facts],
        DatabaseStep::Compare { writer } => vec![facts, Part::Compare(writer)],
        DatabaseStep::SaveTail { writer } => vec![Part::Save(writer), facts],
        DatabaseStep::Rewind { writer } => {
            vec![Part::Sql(Op::StopBoth), Part::UndoBegin, Part::Undo(writer), Part::UndoEnd, facts]
        }
        DatabaseStep::Reclone { writer, incarnation } => vec![
            Part::Clone(writer, incarnation),
            Part::Start,
            Part::Sql(Op::TakeControl),
            Part::Keep(incarnation, true),
            facts,
        ],
        DatabaseStep::Follow { writer } => vec![
            Part::AskWriter(writer),
            Part::Sql(Op::StopBoth),
            Part::Sql(Op::Loose),
            Part::Sql(Op::Attach(writer.node)),
            Part::Sql(Op::StartBoth),
            facts,
        ],
    }
}

impl World {
    /// The core asks for a step.
    pub fn queue_database(&mut self, host: usize, id: CommandId, step: DatabaseStep) {
        let run = self.session(host);
        // A server that was asked to stop in order is down a little later; its data are no better than after a kill.
        if matches!(step, DatabaseStep::Kill | DatabaseStep::Stop) {
            let after = self.rng.range(2_000_000, 15_000_000);
            return self.after(after, Event::KillDatabase { host, run, id });
        }
        if let DatabaseStep::Verify { .. } = step {
            // Its rows have no values here: what would be compared is what the judge compares all the time.
            let result = StepResult::Failed(String::from("rows are not compared here"));
            let outcome = Outcome::Database { result, facts: None };
            return self.outcome(host, run, id, outcome);
        }
        if let DatabaseStep::Marker { token } = step {
            let n = self.next_op(host);
            if let Some(agent) = &mut self.hosts[host].agent {
                agent.worker.markers.insert(n, id);
            }
            self.say(host, n, Op::Marker(token));
            return self.after(bound(&step), Event::Patience { host, run, id });
        }
        if let Some(agent) = &mut self.hosts[host].agent {
            agent.worker.queue.push_back((id, step));
        }
        self.next_database_step(host);
    }

    fn next_database_step(&mut self, host: usize) {
        let Some(agent) = &mut self.hosts[host].agent else { return };
        let run = agent.run;
        if agent.worker.current.is_some() {
            return;
        }
        let Some((id, step)) = agent.worker.queue.pop_front() else { return };
        // Taking control opens a new connection, and ends what an older one still waits for.
        if matches!(
            step,
            DatabaseStep::TakeControl | DatabaseStep::Start | DatabaseStep::Reclone { .. }
        ) {
            agent.worker.stuck = None;
            agent.worker.connections += 1;
        }
        let patience = bound(&step);
        #[cfg(feature = "planted")]
        let by_off = step == DatabaseStep::Strict
            && self.spec.planted == Some(regent_core::planted::Planted::StrictByOff);
        #[cfg(not(feature = "planted"))]
        let by_off = false;
        let mut todo: VecDeque<Part> = parts(step).into();
        if by_off {
            todo.push_front(Part::Sql(Op::Loose));
        }
        let result = StepResult::Done;
        agent.worker.current = Some(Work { id, todo, waits_for: None, result, facts: None });
        self.after(patience, Event::Patience { host, run, id });
        self.go_on_with_step(host);
    }

    fn next_op(&mut self, host: usize) -> u64 {
        let Some(agent) = &mut self.hosts[host].agent else { return 0 };
        agent.worker.ops += 1;
        agent.worker.ops
    }

    fn op_ref(&self, host: usize, n: u64) -> OpRef {
        let agent = self.hosts[host].agent.as_ref();
        let connection = agent.map_or(0, |agent| agent.worker.connections);
        OpRef { session: self.session(host), connection, n }
    }

    /// Sends a statement.
    fn say(&mut self, host: usize, n: u64, op: Op) {
        let at = self.op_ref(host, n);
        let start = self.hosts[host].database.server.as_ref().map_or(0, |server| server.start);
        // A new connection takes its time; then statements are quick.
        let is_new = op == Op::TakeControl;
        let (least, most) = if is_new { (2_000_000, 100_000_000) } else { (40_000, 400_000) };
        let after = self.rng.range(least, most);
        self.after(after, Event::Sql { host, start, at, op });
    }

    fn go_on_with_step(&mut self, host: usize) {
        let n = self.next_op(host);
        let run = self.session(host);
        let Some(agent) = &mut self.hosts[host].agent else { return };
        if agent.worker.stuck.is_some() {
            return;
        }
        let Some(work) = agent.worker.current.as_mut().filter(|work| work.waits_for.is_none())
        else {
            return;
        };
        let Some(part) = work.todo.pop_front() else { return self.end_step(host) };
        work.waits_for = Some(n);
        match part {
            Part::Sql(op) => self.say(host, n, op),
            Part::NeedDrained => {
                let drained = work.facts.as_ref().is_some_and(|f| f.drained);
                let failed = || Reply::Failed(String::from("not drained"));
                let reply = if drained { Reply::Ok } else { failed() };
                let at = OpRef { session: run, connection: 0, n };
                self.after(1_000, Event::SqlReply { host, at, reply });
            }
            Part::Keep(..)
            | Part::Rename(_)
            | Part::Start
            | Part::AskWriter(_)
            | Part::AskCopy(_)
            | Part::Compare(_)
            | Part::Save(_)
            | Part::UndoBegin
            | Part::Undo(_)
            | Part::UndoEnd
            | Part::Clone(..) => {
                let after = match part {
                    // A large redo log takes its time.
                    Part::Start if self.rng.chance(self.chaos.long_start_ppm) => {
                        self.rng.range(5_000_000_000, 20_000_000_000)
                    }
                    Part::Start => self.rng.range(300_000_000, 900_000_000),
                    Part::Clone(..) => self.rng.range(300_000_000, 2_000_000_000),
                    Part::Sql(_)
                    | Part::NeedDrained
                    | Part::Keep(..)
                    | Part::AskWriter(_)
                    | Part::AskCopy(_)
                    | Part::Compare(_)
                    | Part::Save(_)
                    | Part::Rename(_)
                    | Part::UndoBegin
                    | Part::Undo(_)
                    | Part::UndoEnd => self.rng.range(500_000, 8_000_000),
                };
                self.begin_part(host, &part);
                self.after(after, Event::Part { host, run, n, part });
            }
        }
    }

    fn begin_part(&mut self, host: usize, part: &Part) {
        if *part == Part::Start && self.hosts[host].database.server.is_none() {
            self.hosts[host].starting = true;
        }
    }

    /// A part that is no statement comes to its end.
    pub fn end_part(&mut self, host: usize, run: u64, n: u64, part: Part) {
        let outlives = part == Part::Start;
        if self.session(host) != run && !outlives {
            return;
        }
        let reply = if self.lacks_room(host, &part) {
            Reply::Failed(String::from("no space left on the device"))
        } else if part == Part::Start
            && (self.hosts[host].bad_data > self.now || self.hosts[host].wiped)
        {
            self.hosts[host].starting = false;
            self.tell_database(host);
            Reply::Failed(String::from("its unit failed: Input/output error"))
        } else {
            self.do_part(host, part)
        };
        self.lie_in_wait(host);
        let at = OpRef { session: run, connection: 0, n };
        self.after(50_000, Event::SqlReply { host, at, reply });
    }

    /// A part that needs a disk which is full.
    fn lacks_room(&self, host: usize, part: &Part) -> bool {
        let h = &self.hosts[host];
        let (data, state) = (h.full_data > self.now, h.seat.full > self.now);
        match part {
            Part::Keep(..) | Part::Rename(_) => data || state,
            Part::Save(_) => state,
            Part::UndoBegin | Part::Undo(_) | Part::UndoEnd | Part::Clone(..) => data,
            Part::Sql(_)
            | Part::NeedDrained
            | Part::Start
            | Part::AskWriter(_)
            | Part::AskCopy(_)
            | Part::Compare(_) => false,
        }
    }

    fn do_part(&mut self, host: usize, part: Part) -> Reply {
        match part {
            Part::Sql(_) | Part::NeedDrained => Reply::Ok,
            Part::Start => {
                self.start_database(host);
                Reply::Ok
            }
            Part::Keep(incarnation, mark) => {
                self.hosts[host].database.ask_to_keep(incarnation, mark)
            }
            Part::Rename(incarnation) => {
                let mut reply = Reply::Down;
                self.with_database(host, |database, ledger, _, out| {
                    reply = database.rename(incarnation, ledger, out);
                });
                reply
            }
            Part::AskCopy(writer) => match self.peer_files(host, writer) {
                Ok(_) => Reply::Ok,
                Err(reply) => reply,
            },
            Part::AskWriter(writer) => match self.peer_files(host, writer) {
                Ok(_) => self.hosts[host].database.may_follow(),
                Err(reply) => reply,
            },
            Part::Compare(writer) => self.compare(host, writer),
            Part::Save(writer) => self.save(host, writer),
            Part::UndoBegin => {
                self.hosts[host].database.files.undoing = true;
                Reply::Ok
            }
            Part::Undo(writer) => self.undo(host, writer),
            Part::UndoEnd => {
                let database = &mut self.hosts[host].database;
                database.begin_end();
                database.files.undoing = false;
                Reply::Ok
            }
            Part::Clone(writer, incarnation) => self.clone_data(host, writer, incarnation),
        }
    }

    /// A peer's data directory, if its agent and its server can be asked.
    fn peer_files(&self, host: usize, writer: DataCopy) -> Result<(usize, Files, DataCopy), Reply> {
        let peer = usize::from(writer.node.0) - 1;
        let h = &self.hosts[peer];
        let asked = h.powered && h.paused.is_none() && h.agent.is_some();
        let stalled = h.agent.as_ref().is_some_and(|agent| agent.stalled > self.now);
        let up = h.database.server.as_ref().is_some_and(|server| server.stalled <= self.now);
        let copy =
            h.database.incarnation().map(|incarnation| DataCopy { node: writer.node, incarnation });
        match copy {
            Some(copy)
                if copy == writer && asked && up && !stalled && self.net.is_whole(host, peer) =>
            {
                Ok((peer, h.database.files.clone(), copy))
            }
            _ => Err(Reply::Failed(String::from("the writer cannot be asked"))),
        }
    }

    fn compare(&mut self, host: usize, writer: DataCopy) -> Reply {
        let (_, theirs, _) = match self.peer_files(host, writer) {
            Ok(peer) => peer,
            Err(reply) => return reply,
        };
        let rewindable = self.rng.chance(700_000);
        let mine = &self.hosts[host].database.files;
        if mine.undoing || mine.binlog.is_empty() {
            return Reply::Lineage(Lineage::Foreign);
        }
        Reply::Lineage(match mine.tail_beyond(&theirs, &self.ledger) {
            None => Lineage::Foreign,
            Some(0) => Lineage::Part,
            Some(count) => Lineage::Tail { count: count as u64, rewindable },
        })
    }

    fn save(&mut self, host: usize, writer: DataCopy) -> Reply {
        let (_, theirs, _) = match self.peer_files(host, writer) {
            Ok(peer) => peer,
            Err(reply) => return reply,
        };
        let database = &mut self.hosts[host].database;
        // Data of which nothing is known may have other rows under old names: all of it.
        let known = database.incarnation().is_some() && !database.files.undoing;
        let count = known.then(|| database.files.tail_beyond(&theirs, &self.ledger)).flatten();
        let len = database.files.binlog.len();
        for id in &database.files.binlog[len - count.unwrap_or(len)..] {
            database.saved.insert(*id);
        }
        database.seen = len.checked_sub(1).map(|last| (last, database.files.binlog[last]));
        Reply::Saved(SavedTail {
            count: count.map(|count| count as u64),
            path: String::from("/var/lib/regent/tails"),
        })
    }

    fn undo(&mut self, host: usize, writer: DataCopy) -> Reply {
        let (_, theirs, towards) = match self.peer_files(host, writer) {
            Ok(peer) => peer,
            Err(reply) => return reply,
        };
        let database = &mut self.hosts[host].database;
        let Some(server) = &mut database.server else { return Reply::Down };
        if !server.read_only || !server.open.is_empty() {
            return Reply::Failed(String::from("not read-only"));
        }
        let Some(count) = database.files.tail_beyond(&theirs, &self.ledger) else {
            return Reply::Failed(String::from("no common point"));
        };
        let len = database.files.binlog.len() - count;
        let gone = database.files.truncate(len);
        for id in &gone {
            server.visible.remove(*id);
        }
        (server.acked, server.confirmed) = (None, None);
        server.owed.clear();
        database.files.drop_relay();
        database.files.relay_stale = true;
        database.files.slave_pos = database.files.end(&self.ledger);
        let saved = gone.iter().all(|id| database.saved.contains(*id));
        let node = self.hosts[host].node;
        if !gone.is_empty() {
            self.removals.push(Removal { node, towards, saved });
        }
        Reply::Ok
    }

    /// The writer's visible data are copied, the own server stopped, the old data moved aside.
    fn clone_data(&mut self, host: usize, writer: DataCopy, incarnation: Incarnation) -> Reply {
        let (peer, theirs, towards) = match self.peer_files(host, writer) {
            Ok(peer) => peer,
            Err(reply) => return reply,
        };
        self.kill_database(host);
        let files = self.hosts[peer].database.copy_of(theirs, &self.ledger);
        let node = self.hosts[host].node;
        let full = self.hosts[host].seat.full > self.now;
        let database = &mut self.hosts[host].database;
        let rest = database.beyond_seen();
        if full && !rest.is_empty() {
            return Reply::Failed(String::from("the rest of the tail is not saved: no space"));
        }
        rest.into_iter().for_each(|id| database.saved.insert(id));
        database.seen = None;
        let old = std::mem::replace(&mut database.files, files);
        self.hosts[host].wiped = false;
        let database = &mut self.hosts[host].database;
        database.outside = None;
        let gone: Vec<u32> =
            old.binlog.iter().filter(|id| !database.files.logged.contains(**id)).copied().collect();
        let saved = gone.iter().all(|id| database.saved.contains(*id));
        database.keep(incarnation, true);
        if !gone.is_empty() {
            self.removals.push(Removal { node, towards, saved });
        }
        Reply::Ok
    }

    /// An answer of the server, or of a part.
    pub fn sql_reply(&mut self, host: usize, at: OpRef, reply: Reply) {
        if self.session(host) != at.session {
            return;
        }
        let Some(agent) = &mut self.hosts[host].agent else { return };
        if let Some(id) = agent.worker.markers.remove(&at.n) {
            let result = to_result(reply);
            let outcome = Outcome::Database { result, facts: None };
            return self.input(host, Input::Outcome { id, outcome });
        }
        if agent.worker.stuck == Some(at.n) {
            agent.worker.stuck = None;
            return self.go_on_with_step(host);
        }
        let Some(work) = agent.worker.current.as_mut().filter(|w| w.waits_for == Some(at.n)) else {
            return;
        };
        work.waits_for = None;
        match reply {
            Reply::Ok => {}
            Reply::Facts(facts) => work.facts = Some(*facts),
            Reply::Lineage(_) | Reply::Saved(_) => work.result = to_result(reply),
            Reply::Down => {
                // Why it failed is worth more than that the server is down.
                if !matches!(work.result, StepResult::Failed(_)) {
                    work.result = StepResult::Down;
                }
                work.facts = None;
                work.todo.clear();
            }
            Reply::Blocked | Reply::Failed(_) => {
                work.result = to_result(reply);
                work.facts = None;
                work.todo.clear();
                work.todo.push_back(Part::Sql(Op::Facts { look_for: None }));
            }
        }
        self.go_on_with_step(host);
    }

    fn end_step(&mut self, host: usize) {
        let Some(agent) = &mut self.hosts[host].agent else { return };
        let Some(work) = agent.worker.current.take() else { return };
        // The last statement only read the facts: that it failed is no news about the step.
        let Work { id, result, facts, .. } = work;
        self.input(host, Input::Outcome { id, outcome: Outcome::Database { result, facts } });
        self.next_database_step(host);
    }

    /// A step's bound is reached: its statement may still act.
    pub fn patience_over(&mut self, host: usize, run: u64, id: CommandId) {
        let Some(agent) = self.hosts[host].agent.as_mut().filter(|agent| agent.run == run) else {
            return;
        };
        let marker =
            agent.worker.markers.iter().find(|(_, marker)| **marker == id).map(|(n, _)| *n);
        if let Some(n) = marker {
            agent.worker.markers.remove(&n);
        } else {
            let Some(work) = agent.worker.current.take_if(|work| work.id == id) else { return };
            agent.worker.stuck = work.waits_for.or(agent.worker.stuck);
        }
        let outcome = Outcome::Database { result: StepResult::NoAnswer, facts: None };
        self.input(host, Input::Outcome { id, outcome });
        self.next_database_step(host);
    }

    /// The core asked for SIGKILL of the unit's cgroup; it is empty.
    pub fn kill_database_for(&mut self, host: usize, run: u64, id: CommandId) {
        // One that hangs has to be (D11), and one of a superseded node whose commits wait (D3). Any other one whose
        // data need a name is killed without need.
        let h = &self.hosts[host];
        // What it was asked while it hung may still be without an answer.
        let hangs = |server: &Server| server.stalled > 0 && server.stalled + STATEMENT > self.now;
        let hangs = h.database.server.as_ref().is_some_and(hangs);
        if hangs || self.truth.state.lease.holder != h.node {
            self.excuse_nameless(host);
        }
        self.kill_database(host);
        let outcome = Outcome::Database { result: StepResult::Done, facts: None };
        self.outcome(host, run, id, outcome);
    }

    /// The server of a host dies.
    pub fn kill_database(&mut self, host: usize) {
        if self.hosts[host].database.server.is_none() {
            return;
        }
        self.with_database(host, |database, ledger, rng, out| database.kill(ledger, rng, out));
        self.tell(host, "database", || String::from("the server is gone"));
        self.tell_database(host);
    }

    fn start_database(&mut self, host: usize) {
        if !self.hosts[host].powered || self.hosts[host].database.server.is_some() {
            return;
        }
        self.hosts[host].starting = false;
        self.hosts[host].database.start();
        self.tell(host, "database", || String::from("the server is up, strict and read-only"));
        self.tell_database(host);
    }

    fn tell_database(&mut self, host: usize) {
        self.doubt_probes(host, Subject::Database);
        let (run, state) = (self.session(host), self.hosts[host].database_unit());
        let after = self.rng.range(500_000, 8_000_000);
        self.after(after, Event::Inbox { host, run, input: Box::new(Input::DatabaseUnit(state)) });
    }

    /// Somebody takes the global read lock there.
    pub fn lock(&mut self, host: usize, length: u64) {
        self.locks_taken += 1;
        let session = self.locks_taken;
        self.with_database(host, |db, _, _, out| {
            if db.lock(session) {
                out.push(Effect::Later(length, DbEvent::Unlock(session)));
            }
        });
    }

    /// Something inside a server.
    pub fn database_event(&mut self, host: usize, event: DbEvent) {
        if event == DbEvent::Connect(self.hosts[host].database.tries) {
            return self.connect(host);
        }
        // Commits wait for room.
        let full = self.hosts[host].full_data;
        if full > self.now && matches!(event, DbEvent::Synced(_) | DbEvent::Apply) {
            let start = self.hosts[host].database.server.as_ref().map_or(0, |s| s.start);
            return self.at(full, Event::Database { host, start, event });
        }
        self.with_database(host, |db, ledger, rng, out| match event {
            DbEvent::Synced(id) => db.synced(id, ledger, rng, out),
            DbEvent::Apply => db.apply(ledger, rng, out),
            DbEvent::Unlock(session) => db.unlock(session, ledger, rng, out),
            DbEvent::Bound(at) => db.bound(at, ledger, rng, out),
            DbEvent::StopReceiver(at) => db.stop_receiver(at, out),
            DbEvent::Foreign(index) => db.foreign_confirms(index, ledger, rng, out),
            DbEvent::Connect(_) => {}
        });
    }

    /// What a server did to the world.
    pub fn take_effects(&mut self, host: usize, start: u64, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Reply { at, reply } => {
                    let after = self.rng.range(20_000, 200_000);
                    self.after(after, Event::SqlReply { host, at, reply });
                }
                Effect::Client(write, good) => self.answer_client(host, write, good),
                Effect::Send(connection, stream) => self.send_stream(host, connection, stream),
                Effect::Seek => {
                    let event = DbEvent::Connect(self.hosts[host].database.tries);
                    let after = self.rng.range(200_000, 3_000_000);
                    self.after(after, Event::Database { host, start, event });
                }
                Effect::Later(after, event) => {
                    self.after(after, Event::Database { host, start, event });
                }
                Effect::Hangup(connection) => self.hang_up(host, connection),
            }
        }
    }
}

pub(crate) fn to_result(reply: Reply) -> StepResult {
    match reply {
        Reply::Ok | Reply::Facts(_) => StepResult::Done,
        Reply::Blocked => StepResult::Blocked,
        Reply::Down => StepResult::Down,
        Reply::Failed(why) => StepResult::Failed(why),
        Reply::Lineage(lineage) => StepResult::Lineage(lineage),
        Reply::Saved(tail) => StepResult::Saved(tail),
    }
}
