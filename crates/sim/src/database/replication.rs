//! Replication between two servers: the writer's threads that stream, the follower's receiver and applier.

use super::{Database, DbEvent, Effect, Gtid, Ledger, OpRef, Reply, TxId, Who};
use crate::rng::Rng;
use regent_core::id::NodeId;
use regent_core::observe::Thread;

/// A thread of the writer that streams to one replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dump {
    /// Its connection.
    pub connection: u64,
    /// To whom.
    pub to: NodeId,
    /// The next place of the log to send.
    pub next: usize,
}

/// What is said on a replication connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stream {
    /// The follower: I have everything up to here.
    Attach {
        /// Who.
        from: NodeId,
        /// Gtid_IO_Pos, or gtid_slave_pos.
        position: Option<Gtid>,
    },
    /// The writer: error 1236.
    Refused,
    /// The writer: it begins.
    Welcome,
    /// The writer: one transaction.
    Event {
        /// Which.
        id: TxId,
        /// Its place in the writer's log.
        index: usize,
        /// The writer wants it confirmed.
        want: bool,
    },
    /// The follower: received (section 1: before it is synced).
    Confirm {
        /// The place that was confirmed.
        index: usize,
    },
    /// The connection ends.
    End,
}

impl Database {
    /// A message on a connection arrives.
    pub fn hear(
        &mut self,
        connection: u64,
        stream: Stream,
        ledger: &mut Ledger,
        rng: &mut Rng,
        out: &mut Vec<Effect>,
    ) {
        match stream {
            Stream::Attach { from, position } => {
                self.admit(connection, from, position, ledger, out);
            }
            Stream::Refused => self.refused(connection),
            Stream::Welcome => self.welcomed(connection),
            Stream::Event { id, index, want } => {
                self.receive(connection, id, index, want, rng, out);
            }
            Stream::Confirm { index } => {
                let Some(server) = &self.server else { return };
                if server.dumps.iter().any(|dump| dump.connection == connection) {
                    self.confirmed(index, ledger, rng, out);
                }
            }
            Stream::End => self.ended(connection, rng, out),
        }
    }

    /// The writer checks that the follower's end is in its log, by looking it up.
    fn admit(
        &mut self,
        connection: u64,
        from: NodeId,
        position: Option<Gtid>,
        ledger: &Ledger,
        out: &mut Vec<Effect>,
    ) {
        let next = match position {
            None => Some(0),
            Some(gtid) => self.files.find(gtid, ledger).map(|index| index + 1),
        };
        let Some(server) = &mut self.server else { return };
        let Some(next) = next else { return out.push(Effect::Send(connection, Stream::Refused)) };
        let old = server.dumps.iter().filter(|dump| dump.to == from);
        out.extend(old.map(|dump| Effect::Hangup(dump.connection)));
        server.dumps.retain(|dump| dump.to != from);
        server.dumps.push(Dump { connection, to: from, next });
        out.push(Effect::Send(connection, Stream::Welcome));
        self.stream(out);
    }

    /// Sends what is on disk and was not sent (AFTER_SYNC).
    pub(super) fn stream(&mut self, out: &mut Vec<Effect>) {
        let Some(server) = &mut self.server else { return };
        let want = server.strict;
        for dump in &mut server.dumps {
            for index in dump.next..self.files.synced {
                let id = self.files.binlog[index];
                out.push(Effect::Send(dump.connection, Stream::Event { id, index, want }));
            }
            dump.next = dump.next.max(self.files.synced);
        }
    }

    fn refused(&mut self, connection: u64) {
        let Some(server) = self.server.as_mut().filter(|s| s.connection == Some(connection)) else {
            return;
        };
        server.connection = None;
        server.receiver = Thread::Failed(String::from("1236: not in the binlog"));
        self.note_both_stopped();
    }

    fn welcomed(&mut self, connection: u64) {
        if let Some(server) = self.server.as_mut().filter(|s| s.connection == Some(connection)) {
            server.receiver = Thread::Running;
        }
    }

    /// Written to the relay log, confirmed, and only sometimes synced.
    fn receive(
        &mut self,
        connection: u64,
        id: TxId,
        index: usize,
        want: bool,
        rng: &mut Rng,
        out: &mut Vec<Effect>,
    ) {
        let Some(server) = self.server.as_mut().filter(|s| s.connection == Some(connection)) else {
            return;
        };
        self.files.relay.push(id);
        self.files.received.insert(id);
        if rng.chance(100_000) {
            self.files.relay_synced = self.files.relay.len();
        }
        if want {
            out.push(Effect::Send(connection, Stream::Confirm { index }));
        }
        if server.applier == Thread::Running && !server.applying {
            let (least, most) = self.pace.apply;
            out.push(Effect::Later(rng.range(least, most), DbEvent::Apply));
        }
    }

    fn ended(&mut self, connection: u64, rng: &mut Rng, out: &mut Vec<Effect>) {
        let Some(server) = &mut self.server else { return };
        server.dumps.retain(|dump| dump.connection != connection);
        if server.connection == Some(connection) {
            server.connection = None;
            server.receiver = Thread::Connecting;
            self.tries += 1;
            let after = rng.range(20_000_000, 1_000_000_000);
            out.push(Effect::Later(after, DbEvent::Connect(self.tries)));
        }
    }

    /// The receiver found its source: from where it goes on.
    pub fn attach(&mut self, connection: u64, ledger: &Ledger) -> Option<Gtid> {
        if let Some(server) = &mut self.server {
            server.connection = Some(connection);
        }
        let last = self.files.relay.last().map(|id| ledger.gtid(*id));
        last.or(self.files.slave_pos)
    }

    /// The applier takes the next transaction of the relay log, if it is in order (gtid_strict_mode).
    pub fn apply(&mut self, ledger: &Ledger, rng: &mut Rng, out: &mut Vec<Effect>) {
        let Some(server) = &mut self.server else { return };
        if server.applier != Thread::Running || server.applying {
            return;
        }
        let Some(id) = self.files.relay.get(self.files.relay_applied).copied() else { return };
        if server.waits_for_lock(self.clock) {
            return;
        }
        let gtid = ledger.gtid(id);
        if self.files.end(ledger).is_some_and(|end| end.seq >= gtid.seq) {
            server.applier = Thread::Failed(format!("1950: {gtid} is out of order"));
            // Another thread of the applier may have the next one at hand, and commits it before it hears of that.
            let next = self.files.relay.get(self.files.relay_applied + 1).copied();
            let end = self.files.end(ledger);
            if let Some(next) =
                next.filter(|next| end.is_some_and(|e| e.seq < ledger.gtid(*next).seq))
            {
                self.append(next, Who::Applier, rng, out);
            }
            return self.note_both_stopped();
        }
        server.applying = true;
        self.append(id, Who::Applier, rng, out);
    }

    /// STOP SLAVE IO_THREAD takes milliseconds with a local reset of the connection, else up to two seconds.
    pub(super) fn stop_receiver_soon(&mut self, at: OpRef, rng: &mut Rng, out: &mut Vec<Effect>) {
        let Some(server) = &mut self.server else { return };
        server.stopping = Some(at);
        let after = if rng.chance(30_000) { 2_000_000_000 } else { rng.range(500_000, 12_000_000) };
        out.push(Effect::Later(after, DbEvent::StopReceiver(at)));
    }

    /// It stops; the applier goes on.
    pub fn stop_receiver(&mut self, at: OpRef, out: &mut Vec<Effect>) {
        let Some(server) = self.server.as_mut().filter(|s| s.stopping == Some(at)) else { return };
        server.stopping = None;
        self.halt_receiver(out);
        self.note_both_stopped();
        out.push(Effect::Reply { at, reply: Reply::Ok });
    }

    fn halt_receiver(&mut self, out: &mut Vec<Effect>) {
        let Some(server) = &mut self.server else { return };
        self.tries += 1;
        // What a thread failed with stays to be read until it is started.
        if !matches!(server.receiver, Thread::Failed(_)) {
            server.receiver = Thread::Stopped;
        }
        if let Some(connection) = server.connection.take() {
            out.push(Effect::Hangup(connection));
        }
    }

    pub(super) fn start_receiver(&mut self, out: &mut Vec<Effect>) -> Reply {
        let Some(server) = &mut self.server else { return Reply::Down };
        if server.applier != Thread::Running || self.files.source.is_none() {
            return Reply::Failed(String::from("the applier does not run"));
        }
        if matches!(server.receiver, Thread::Stopped | Thread::Failed(_)) {
            server.receiver = Thread::Connecting;
            self.tries += 1;
            out.push(Effect::Seek);
        }
        Reply::Ok
    }

    pub(super) fn stop_both(&mut self, out: &mut Vec<Effect>) {
        self.halt_receiver(out);
        let Some(server) = &mut self.server else { return };
        if !server.applying && !matches!(server.applier, Thread::Failed(_)) {
            server.applier = Thread::Stopped;
        }
        self.note_both_stopped();
    }

    /// After draining: STOP SLAVE. The source and the relay log stay until it is writable.
    pub(super) fn end_following(&mut self, out: &mut Vec<Effect>) -> Reply {
        if !self.is_drained() {
            return Reply::Failed(String::from("not drained"));
        }
        if self.is_broken() {
            return Reply::Failed(String::from("what was received may be gone"));
        }
        let Some(server) = &mut self.server else { return Reply::Down };
        if server.applier == Thread::Running {
            server.ended = true;
            self.stop_both(out);
        }
        Reply::Ok
    }

    /// RESET SLAVE ALL, if these are no follower's data and neither thread is there.
    pub(super) fn forget_source(&mut self) {
        let Some(server) = &self.server else { return };
        let marked = self.files.kept.is_some_and(|kept| kept.mark);
        let runs = |thread: &Thread| matches!(thread, Thread::Running | Thread::Connecting);
        if !marked && !runs(&server.receiver) && !runs(&server.applier) {
            self.files.source = None;
            self.files.drop_relay();
        }
    }

    /// What a step that follows looks at before anything else: a named follower's data that were never attached in this
    /// stay, because a second START SLAVE would delete what was received.
    pub(crate) fn may_follow(&self) -> Reply {
        let kept = self.files.kept.filter(|_| self.incarnation().is_some() && !self.files.undoing);
        match kept {
            Some(kept) if kept.mark && kept.fresh => Reply::Ok,
            Some(kept) if kept.mark => Reply::Failed(String::from("a new name comes first")),
            Some(_) | None => Reply::Failed(String::from("not a named follower's data")),
        }
    }

    /// D8: gtid_slave_pos is set to the end of the own log before attaching.
    pub(super) fn set_source(&mut self, source: NodeId, ledger: &Ledger) -> Reply {
        let Some(server) = &self.server else { return Reply::Down };
        if server.applier == Thread::Running || server.receiver == Thread::Running {
            return Reply::Failed(String::from("replication runs"));
        }
        self.files.slave_pos = self.files.end(ledger);
        self.files.source = Some(source);
        self.files.relay_stale = true;
        Reply::Ok
    }

    /// START SLAVE deletes relay logs when both threads were stopped (section 7).
    pub(super) fn start_both(&mut self, out: &mut Vec<Effect>) -> Reply {
        let Some(server) = &mut self.server else { return Reply::Down };
        if self.files.relay_stale {
            self.files.drop_relay();
        }
        server.applier = Thread::Running;
        server.receiver = Thread::Connecting;
        self.tries += 1;
        out.push(Effect::Seek);
        server.ended = false;
        let begin = (server.start, server.both_stopped);
        if let Some(kept) = self.files.kept.as_mut().filter(|kept| kept.fresh) {
            kept.fresh = false;
            kept.since = Some(begin);
        }
        Reply::Ok
    }

    /// The applier meets an error and stops.
    pub fn fail_applier(&mut self) {
        let Some(server) = &mut self.server else { return };
        if server.applier == Thread::Running && !server.applying {
            server.applier = Thread::Failed(String::from("1062: an error made on purpose"));
            self.note_both_stopped();
        }
    }

    fn note_both_stopped(&mut self) {
        let Some(server) = &mut self.server else { return };
        let runs = |thread: &Thread| matches!(thread, Thread::Running | Thread::Connecting);
        if !runs(&server.receiver) && !runs(&server.applier) && !server.applying {
            if !self.files.relay_stale {
                server.both_stopped += 1;
            }
            self.files.relay_stale = true;
        }
    }
}
