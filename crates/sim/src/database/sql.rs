//! What an agent says to its server, statement by statement, and what comes back.

use super::{Database, Effect, Ledger, Open, Server, Who};
use crate::rng::Rng;
use regent_core::command::{Lineage, SavedTail};
use regent_core::id::{AttemptId, NodeId};
use regent_core::observe::{DatabaseFacts, Locked, Position, Thread};
use regent_core::time::Span;

/// At rest the facts are asked for ten times a second; the kept end follows about once in that time.
const LOOKS: u64 = 8;
const SECOND: u64 = 1_000_000_000;

/// Whom to answer: a statement outlives its sender (D11), so the answer may find nobody.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpRef {
    /// The run of the agent that sent it, as a growing number.
    pub session: u64,
    /// Which connection of that run.
    pub connection: u64,
    /// Which statement of that run.
    pub n: u64,
}

impl OpRef {
    /// The control connection: a later one has killed every earlier one.
    pub fn control(self) -> (u64, u64) {
        (self.session, self.connection)
    }
}

/// One statement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// GET_LOCK, after KILLing whoever holds it and seeing them gone.
    TakeControl,
    /// Read everything.
    Facts {
        /// Is this row here?
        look_for: Option<AttemptId>,
    },
    /// rpl_semi_sync_master_enabled=ON, read back.
    Strict,
    /// rpl_semi_sync_master_enabled=OFF.
    Loose,
    /// read_only=1 with a bound.
    ReadOnly,
    /// read_only=0; then the source of a follower that has ended is forgotten.
    Writable,
    /// INSERT of a token, on a connection of its own.
    Marker(AttemptId),
    /// KILL CONNECTION of whoever holds the lock that others wait for.
    EndSession(u64),
    /// If the log began anew under data that have everything: KILL CONNECTION of everybody else.
    BeginRename,
    /// STOP SLAVE IO_THREAD.
    StopReceiver,
    /// START SLAVE IO_THREAD.
    StartReceiver,
    /// STOP SLAVE after draining.
    EndFollowing,
    /// STOP SLAVE.
    StopBoth,
    /// gtid_slave_pos := gtid_binlog_pos, CHANGE MASTER TO.
    Attach(NodeId),
    /// START SLAVE.
    StartBoth,
}

/// What comes back to the worker.
#[derive(Clone, PartialEq, Debug)]
pub enum Reply {
    /// Done.
    Ok,
    /// Facts, as they were when they were read.
    Facts(Box<DatabaseFacts>),
    /// Not answered within its own bound, and withdrawn.
    Blocked,
    /// The server is not there, or the connection broke.
    Down,
    /// Refused.
    Failed(String),
    /// How two logs relate.
    Lineage(Lineage),
    /// What was saved.
    Saved(SavedTail),
}

impl Database {
    /// A statement reaches the server.
    pub fn sql(
        &mut self,
        at: OpRef,
        op: Op,
        ledger: &mut Ledger,
        rng: &mut Rng,
        out: &mut Vec<Effect>,
    ) {
        let named = self.incarnation().is_some();
        let Some(server) = &mut self.server else {
            return out.push(Effect::Reply { at, reply: Reply::Down });
        };
        if let Op::Marker(token) = op {
            return self.insert_marker(at, token, ledger, rng, out);
        }
        if at.control() < server.control {
            return out.push(Effect::Reply { at, reply: Reply::Down });
        }
        let reply = match op {
            Op::TakeControl => {
                self.take_control(at.control(), ledger, rng, out);
                self.count_start();
                Reply::Ok
            }
            Op::Marker(_) => Reply::Down,
            _ if at.control() != server.control => Reply::Down,
            Op::Facts { look_for } => {
                // The kept end follows with the first look at a start, and now and then.
                let Some(server) = &mut self.server else { return };
                server.looks += 1;
                if server.looks % LOOKS == 1 {
                    self.note_end();
                }
                Reply::Facts(Box::new(self.facts(look_for, ledger)))
            }
            Op::Strict => {
                if !server.strict {
                    server.strict = true;
                    (server.acked, server.confirmed) = (None, None);
                }
                server.finite = false;
                Reply::Ok
            }
            Op::Loose => {
                self.go_loose(ledger, rng, out);
                Reply::Ok
            }
            Op::ReadOnly => return self.ask_read_only(at, out),
            Op::Writable if !named => Reply::Failed(String::from("the data here have no name")),
            Op::Writable => {
                server.read_only = false;
                server.by_hand = false;
                self.forget_source();
                Reply::Ok
            }
            Op::EndSession(session) => {
                self.unlock(session, ledger, rng, out);
                Reply::Ok
            }
            Op::BeginRename if !self.is_nameless() => {
                Reply::Failed(String::from("nothing shows that these data have everything"))
            }
            Op::BeginRename => {
                self.end_sessions(ledger, rng, out);
                Reply::Ok
            }
            Op::StopReceiver => return self.stop_receiver_soon(at, rng, out),
            Op::StartReceiver => self.start_receiver(out),
            Op::EndFollowing => self.end_following(out),
            Op::StopBoth => {
                self.stop_both(out);
                Reply::Ok
            }
            Op::Attach(source) => self.set_source(source, ledger),
            Op::StartBoth => self.start_both(out),
        };
        out.push(Effect::Reply { at, reply });
    }

    /// All facts, as the control connection reads them.
    fn facts(&self, look_for: Option<AttemptId>, ledger: &Ledger) -> DatabaseFacts {
        let files = &self.files;
        let server = self.server.as_ref().expect("asked of a running server");
        let position = |gtid: Option<super::Gtid>| {
            Position(gtid.map_or_else(String::new, |gtid| gtid.to_string()))
        };
        let here = |token: &AttemptId| {
            ledger.of_token(*token).is_some_and(|id| server.visible.contains(id))
        };
        let waits = |open: &&Open| open.waiting && open.who != Who::Applier;
        DatabaseFacts {
            start: server.start,
            read_only: server.read_only,
            strict: server.strict && !server.finite,
            waiting: server.open.iter().filter(waits).count() as u32,
            confirming: server.dumps.len() as u32 + u32::from(server.foreign.is_some()),
            others: server.foreign.map(|_| String::from("dba@10.9.9.9")).into_iter().collect(),
            confirms: server.receiver == Thread::Running,
            receiver: server.receiver.clone(),
            applier: server.applier.clone(),
            source: self.source(),
            unreached: None,
            behind: self.behind(ledger),
            backlog: 0,
            drift: Box::default(),
            comparison: None,
            renewed: false,
            shut_out: None,
            locked: server.locked.and_then(|(session, since)| {
                let since = Span(self.clock.saturating_sub(since?));
                let (who, what) = ("backup@localhost".into(), "the global read lock".into());
                Some(Box::new(Locked { session, who, what, since }))
            }),
            drained: self.is_drained(),
            end: position(files.end(ledger)),
            applied: position(files.slave_pos),
            shows: look_for.filter(here),
            unconfirmed: server.unconfirmed,
            incarnation: self.incarnation().filter(|_| !self.files.undoing),
            was: self.was().into_iter().flatten().collect(),
            mark: files.kept.is_some_and(|kept| kept.mark),
            broken: self.incarnation().is_some() && self.is_broken(),
        }
    }

    /// Seconds_Behind_Master: whole ones, of what the applier is at; nothing while it does not run.
    fn behind(&self, ledger: &Ledger) -> Option<Span> {
        let runs = self.server.as_ref().is_some_and(|server| server.applier == Thread::Running);
        let next = self.files.relay.get(self.files.relay_applied).filter(|_| runs)?;
        let behind = Span::millis(ledger.age(*next) / SECOND * 1_000);
        (behind > Span::ZERO).then_some(behind)
    }

    /// Whom it follows. The mark is taken off only when all is applied: what is left of a source then is a name without
    /// threads.
    fn source(&self) -> Option<NodeId> {
        let server = self.server.as_ref()?;
        let runs = |thread: &Thread| matches!(thread, Thread::Running | Thread::Connecting);
        let still = !runs(&server.receiver) && !runs(&server.applier);
        let left_over = still && self.files.kept.is_some_and(|kept| !kept.mark);
        #[cfg(feature = "planted")]
        let left_over =
            left_over && self.planted != Some(regent_core::planted::Planted::DrainsUnmarked);
        self.files.source.filter(|_| !left_over && !server.ended)
    }

    /// Both signs of D6; also when it follows nobody and has ended or carries no mark (under one something may
    /// have been received).
    pub fn is_drained(&self) -> bool {
        let Some(server) = &self.server else { return false };
        let stopped = matches!(server.receiver, Thread::Stopped | Thread::Failed(_));
        let idle = server.applier == Thread::Running && !server.applying;
        let all = self.files.relay_applied == self.files.relay.len() && !self.files.relay_stale;
        let marked = self.files.kept.is_some_and(|kept| kept.mark);
        let nothing = self.source().is_none() && (server.ended || !marked);
        stopped && (nothing || (idle && all))
    }

    /// D11: the threads of older runs are killed and seen gone; what they had asked and not got is withdrawn.
    fn take_control(
        &mut self,
        control: (u64, u64),
        ledger: &mut Ledger,
        rng: &mut Rng,
        out: &mut Vec<Effect>,
    ) {
        let Some(server) = &mut self.server else { return };
        server.control = control;
        server.stopping = server.stopping.filter(|at| at.control() == control);
        if server.closing.is_some_and(|at| at.control() != control) {
            server.closing = None;
            self.let_go_on(ledger, rng, out);
        }
    }
}

impl Server {
    /// Commits of clients and of our own rows that are begun and not answered; the applier's are its own affair.
    pub fn open_commits(&self) -> usize {
        self.open.iter().filter(|open| open.who != Who::Applier).count()
    }
}
