//! One start of the server: commits, waits, modes, death.

use super::{Dump, Files, Gtid, Kept, Ledger, LogEnd, NAMES, OpRef, Outside, Reply, Stream, TxId};
use crate::rng::Rng;
use regent_core::id::{AttemptId, Incarnation};
use regent_core::invariant::WriteSet;
use regent_core::observe::Thread;

/// Read-only is withdrawn after this long without an answer.
const READ_ONLY_BOUND: u64 = 500_000_000;

/// The database of one host.
#[derive(Clone, Debug, Default)]
pub struct Database {
    /// The data directory.
    pub files: Files,
    /// The copy of the incarnation outside it.
    pub outside: Option<Outside>,
    /// Tails that were saved and counted.
    pub saved: WriteSet,
    /// How far the log had come when its tail was saved.
    pub seen: Option<(usize, TxId)>,
    /// The server, while it runs.
    pub server: Option<Server>,
    /// The world's time, as of the last thing that happened here.
    pub clock: u64,
    /// Starts of the server of this host, ever.
    pub starts: u64,
    /// Connects of the receiver, ever: an older one's event is void.
    pub tries: u64,
    /// How fast it is.
    pub pace: Pace,
    /// A mistake of the worker's.
    #[cfg(feature = "planted")]
    pub planted: Option<regent_core::planted::Planted>,
}

/// How fast a database is, least and most, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    /// One commit reaches the disk.
    pub sync: (u64, u64),
    /// The applier turns to its next transaction.
    pub apply: (u64, u64),
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { sync: (50_000, 400_000), apply: (100_000, 1_000_000) }
    }
}

/// One start of the server.
#[derive(Clone, Debug)]
pub struct Server {
    /// Which start.
    pub start: u64,
    /// Set from outside: it does not react until then.
    pub stalled: u64,
    /// @@read_only.
    pub read_only: bool,
    /// Rpl_semi_sync_master_status.
    pub strict: bool,
    /// Somebody set a finite timeout behind Regent's back: status ON is worth nothing then (D1).
    pub finite: bool,
    /// @@server_id.
    pub server_id: u64,
    /// Rows that are shown.
    pub visible: WriteSet,
    /// Commits that are begun and not done, in the order of the log.
    pub open: Vec<Open>,
    /// A session that keeps commits out, and since when somebody has waited for it.
    pub locked: Option<(u64, Option<u64>)>,
    /// read_only=1 that waits for open commits.
    pub closing: Option<OpRef>,
    /// New commits that wait behind it.
    pub behind: Vec<Commit>,
    /// The highest place in the log that a replica confirmed since strict was turned on.
    pub acked: Option<usize>,
    /// The same, by a member's database.
    pub confirmed: Option<usize>,
    /// A replica that is no member's is attached and confirms, since then.
    pub foreign: Option<u64>,
    /// Places that only such a one confirmed: answered with OK, and by no right (ADR 0027).
    pub owed: Vec<(usize, TxId)>,
    /// How often its facts were asked for.
    pub looks: u64,
    /// Somebody turned read-only off by hand: what is answered here is nobody's promise.
    pub by_hand: bool,
    /// Commits that ended their wait otherwise.
    pub unconfirmed: u64,
    /// The connection that holds the lock; older ones are gone.
    pub control: (u64, u64),
    /// STOP SLAVE IO_THREAD under way.
    pub stopping: Option<OpRef>,
    /// The receiver.
    pub receiver: Thread,
    /// Its connection, while it runs.
    pub connection: Option<u64>,
    /// The applier.
    pub applier: Thread,
    /// It is in the middle of a transaction.
    pub applying: bool,
    /// Both threads were found stopped so often.
    pub both_stopped: u64,
    /// Following ended in this start: what is left of the source is a name without threads.
    pub ended: bool,
    /// Threads that stream to replicas.
    pub dumps: Vec<Dump>,
}

impl Server {
    /// Nobody begins a commit now: read_only=1 waits, or a session has the global read lock.
    fn keeps_out(&mut self, now: u64) -> bool {
        self.waits_for_lock(now) || self.closing.is_some()
    }

    /// Whoever asks waits for the session that has the global read lock.
    pub(super) fn waits_for_lock(&mut self, now: u64) -> bool {
        let Some((_, since)) = &mut self.locked else { return false };
        since.get_or_insert(now);
        true
    }
}

/// A commit that is begun and not done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Open {
    /// The transaction.
    pub id: TxId,
    /// Its place in the log.
    pub index: usize,
    /// Whose it is.
    pub who: Who,
    /// It is on disk, and waits for a confirmation.
    pub waiting: bool,
}

/// Whose commit it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    /// A client's, named by its write.
    Client(u64),
    /// A row of our own.
    Marker(OpRef),
    /// The applier's.
    Applier,
}

/// A commit that has not begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Commit {
    /// A client's.
    Client(u64),
    /// A row of our own.
    Marker(OpRef, AttemptId),
}

/// Something that happens inside the server later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DbEvent {
    /// The commit at this place of the log is on disk.
    Synced(TxId),
    /// The applier takes the next transaction.
    Apply,
    /// The receiver looks for its source.
    Connect(u64),
    /// read_only=1 reaches its bound.
    Bound(OpRef),
    /// A session that holds the global read lock ends.
    Unlock(u64),
    /// STOP SLAVE IO_THREAD comes to its end.
    StopReceiver(OpRef),
    /// A replica that is no member's confirms this place of the log.
    Foreign(usize),
}

/// What the server does to the world.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    /// A statement is answered.
    Reply {
        /// Whom.
        at: OpRef,
        /// What.
        reply: Reply,
    },
    /// A client is answered, true for OK.
    Client(u64, bool),
    /// The server says something on a replication connection.
    Send(u64, Stream),
    /// The receiver wants to connect to its source.
    Seek,
    /// Something happens later.
    Later(u64, DbEvent),
    /// The server drops a connection.
    Hangup(u64),
}

impl Database {
    /// The unit is started: at rest strict and read-only, both threads stopped (D1).
    pub fn start(&mut self) -> u64 {
        self.starts += 1;
        self.files.relay_stale = true;
        self.files.synced = self.files.binlog.len();
        self.server = Some(Server {
            start: self.starts,
            stalled: 0,
            read_only: true,
            strict: true,
            finite: false,
            server_id: self.files.kept.map_or(1, |kept| kept.server),
            visible: self.files.logged.clone(),
            open: Vec::new(),
            locked: None,
            closing: None,
            behind: Vec::new(),
            acked: None,
            confirmed: None,
            foreign: None,
            owed: Vec::new(),
            looks: 0,
            by_hand: false,
            unconfirmed: 0,
            control: (0, 0),
            stopping: None,
            receiver: Thread::Stopped,
            connection: None,
            applier: Thread::Stopped,
            applying: false,
            both_stopped: 0,
            ended: false,
            dumps: Vec::new(),
        });
        self.starts
    }

    /// SIGKILL. What was waiting stays in the log; what was being written may.
    pub fn kill(&mut self, ledger: &Ledger, rng: &mut Rng, out: &mut Vec<Effect>) {
        let Some(server) = self.server.take() else { return };
        for open in &server.open {
            match open.who {
                Who::Client(write) => out.push(Effect::Client(write, false)),
                Who::Marker(at) => out.push(Effect::Reply { at, reply: Reply::Down }),
                Who::Applier => {}
            }
        }
        let pending = server.closing.into_iter().chain(server.stopping);
        out.extend(pending.map(|at| Effect::Reply { at, reply: Reply::Down }));
        let connections = server.dumps.iter().map(|dump| dump.connection).chain(server.connection);
        out.extend(connections.map(Effect::Hangup));
        let synced = self.files.synced;
        let len = self.files.binlog.len();
        let kept = synced + rng.below((len - synced) as u64 + 1) as usize;
        self.files.truncate(kept);
        // What the applier committed it also counts as applied: one transaction of the engine.
        let applied = server.open.iter().find(|o| o.who == Who::Applier && o.index < kept);
        if let Some(open) = applied {
            self.files.note_applied(open.id, ledger);
        }
    }

    /// The host loses power, after its server was killed.
    pub fn lose_unsynced(&mut self) {
        let len = self.files.relay_synced.max(self.files.relay_applied);
        for id in self.files.relay.split_off(len.min(self.files.relay.len())) {
            self.files.received.remove(id);
        }
    }

    /// The incarnation kept with the data, if both copies agree.
    pub fn incarnation(&self) -> Option<Incarnation> {
        let (kept, outside) = (self.files.kept?, self.outside?);
        #[cfg(feature = "planted")]
        if self.planted == Some(regent_core::planted::Planted::StartsNotCounted) {
            return (kept.incarnation == outside.incarnation).then_some(kept.incarnation);
        }
        let agree = kept.incarnation == outside.incarnation && kept.starts == outside.starts;
        let goes_on = self.files.undoing || self.files.goes_on(outside.end);
        (agree && goes_on).then_some(kept.incarnation)
    }

    /// A start of the server is counted inside and outside, once, when control is taken of it.
    pub(super) fn count_start(&mut self) {
        if self.incarnation().is_none() {
            return;
        }
        let Some((start, stopped)) = self.server.as_ref().map(|s| (s.start, s.both_stopped)) else {
            return;
        };
        if let Some(kept) = &mut self.files.kept {
            // A copy's stay begins with its first start.
            kept.since = kept.since.or(Some((start, stopped)));
        }
        if let (Some(kept), Some(outside)) = (&mut self.files.kept, &mut self.outside)
            && kept.counted != start
        {
            (kept.starts, kept.counted) = (kept.starts + 1, start);
            outside.starts += 1;
        }
    }

    /// The kept end of the log follows what is committed, while the log goes on from it.
    pub(super) fn note_end(&mut self) {
        if self.incarnation().is_some() && !self.files.undoing {
            self.begin_end();
        }
    }

    /// The end of the log as it is now is kept: with a new name, and when our own hand began the log anew.
    pub fn begin_end(&mut self) {
        let end = self.committed();
        if let Some(outside) = &mut self.outside {
            outside.end = end;
        }
    }

    fn committed(&self) -> LogEnd {
        let open = self.server.iter().flat_map(|server| &server.open).map(|open| open.index).min();
        let len = open.unwrap_or(self.files.binlog.len()).min(self.files.synced);
        let at = len.checked_sub(1).map(|last| (last, self.files.binlog[last]));
        LogEnd { at, begun: self.files.begun }
    }

    /// Somebody enters RESET MASTER: the log is empty, its names begin anew, and whoever waits is let go.
    pub fn reset_master(&mut self, ledger: &mut Ledger, rng: &mut Rng, out: &mut Vec<Effect>) {
        let Some(strict) = self.server.as_ref().map(|server| server.strict) else { return };
        self.go_loose(ledger, rng, out);
        // The tables keep what they have.
        self.files.binlog.clear();
        self.files.begun += 1;
        self.files.synced = 0;
        let Some(server) = &mut self.server else { return };
        // It waits for what is under way; what its dump threads had is not there any more.
        server.open.clear();
        // What a foreign replica alone confirmed is so still, and no member can confirm it any more.
        server.owed.iter_mut().for_each(|(index, _)| *index = usize::MAX);
        (server.acked, server.confirmed) = (None, None);
        server.strict = strict;
        server.unconfirmed = 0;
        out.extend(server.dumps.drain(..).map(|dump| Effect::Hangup(dump.connection)));
    }

    /// The log began anew while the server ran, of whose start control was taken before: the tables have everything.
    pub fn was(&self) -> [Option<Incarnation>; NAMES] {
        let (Some(kept), Some(outside)) = (self.files.kept, self.outside) else {
            return [None; NAMES];
        };
        if self.incarnation().is_some() {
            return kept.was;
        }
        let agree = (kept.incarnation, kept.starts) == (outside.incarnation, outside.starts);
        let counted = self.server.as_ref().is_some_and(|server| server.start == kept.counted);
        #[cfg(feature = "planted")]
        let (agree, counted) = match self.planted {
            Some(regent_core::planted::Planted::RenamedAfterRestart) => (true, true),
            Some(_) | None => (agree, counted),
        };
        if !agree || !counted || kept.mark || self.files.undoing {
            return [None; NAMES];
        }
        // The oldest may be the one that is recorded.
        let mut names = [None; NAMES];
        names[0] = Some(kept.incarnation);
        names[1..].copy_from_slice(&kept.was[..NAMES - 1]);
        if let Some(oldest) = kept.was[NAMES - 1] {
            names[NAMES - 1] = Some(oldest);
        }
        names
    }

    /// Its log began anew, and it has no new name yet: once this start is over nothing shows any more that the data
    /// have everything.
    pub fn is_nameless(&self) -> bool {
        self.incarnation().is_none() && self.was()[0].is_some()
    }

    /// Where no commit waits for a replica every session is ended, and whatever its lock held up goes on.
    pub(super) fn end_sessions(
        &mut self,
        ledger: &mut Ledger,
        rng: &mut Rng,
        out: &mut Vec<Effect>,
    ) {
        let locked = self.server.as_ref().filter(|server| !server.strict).and_then(|s| s.locked);
        if let Some((session, _)) = locked {
            self.unlock(session, ledger, rng, out);
        }
    }

    /// The log is begun anew by our own hand, under another name, and goes on from the old numbers.
    pub fn rename(
        &mut self,
        incarnation: Incarnation,
        ledger: &mut Ledger,
        out: &mut Vec<Effect>,
    ) -> Reply {
        let was = self.was();
        if !self.is_nameless() {
            return Reply::Failed(String::from("nothing shows that these data have everything"));
        }
        let Some(server) = &mut self.server else { return Reply::Down };
        if !server.read_only || !server.open.is_empty() {
            return Reply::Failed(String::from("not read-only at rest"));
        }
        let last = self.files.binlog.last().copied();
        let kept = self.outside.and_then(|outside| outside.end.at).map(|(_, id)| id);
        let number = last.into_iter().chain(kept).map(|id| ledger.gtid(id).seq).max();
        let gtid = Gtid { server: incarnation.0, seq: number.unwrap_or(0) + 1 };
        let first = ledger.record(gtid, None);
        server.visible.insert(first);
        server.unconfirmed = 0;
        (server.acked, server.confirmed) = (None, None);
        server.owed.iter_mut().for_each(|(index, _)| *index = usize::MAX);
        out.extend(server.dumps.drain(..).map(|dump| Effect::Hangup(dump.connection)));
        self.files.binlog = vec![first];
        self.files.logged.insert(first);
        self.files.synced = 1;
        self.files.begun += 1;
        self.keep(incarnation, false);
        if let Some(kept) = &mut self.files.kept {
            kept.was = was;
        }
        Reply::Ok
    }

    /// Under a mark: may relay logs be gone since the stay began?
    pub fn is_broken(&self) -> bool {
        let Some(kept) = self.files.kept.filter(|kept| kept.mark) else { return false };
        let now = self.server.as_ref().map(|server| (server.start, server.both_stopped));
        kept.since.is_none() || kept.since != now
    }

    /// The incarnation, if that stay is unbroken: a follower's ends with its server.
    pub fn living(&self) -> Option<Incarnation> {
        self.incarnation().filter(|_| !self.is_broken() && !self.files.undoing)
    }

    /// Asked for by the worker: a name that other data had is refused to these.
    pub fn ask_to_keep(&mut self, incarnation: Incarnation, mark: bool) -> Reply {
        if self.server.is_none() {
            return Reply::Down;
        }
        let had = self.files.kept.map(|kept| kept.incarnation) == Some(incarnation)
            || self.outside.map(|outside| outside.incarnation) == Some(incarnation);
        if self.incarnation().is_none() && had {
            return Reply::Failed(String::from("the data that had this name are not these"));
        }
        self.keep(incarnation, mark);
        Reply::Ok
    }

    /// Incarnation and mark are written inside and outside, synced.
    pub fn keep(&mut self, incarnation: Incarnation, mark: bool) {
        let same = |kept: &Kept| (kept.incarnation, kept.mark) == (incarnation, mark);
        if self.incarnation().is_some() && self.files.kept.as_ref().is_some_and(same) {
            return;
        }
        let is_new = self.incarnation() != Some(incarnation);
        let begin = self.server.as_ref().map(|server| (server.start, server.both_stopped));
        let starts = self.files.kept.map_or(0, |kept| kept.starts) + 1;
        let counted = self.server.as_ref().map_or(0, |server| server.start);
        let known = self.outside.map(|outside| outside.end).filter(|_| !is_new);
        let end = known.unwrap_or_else(|| self.committed());
        let old = self.files.kept.filter(|_| !is_new);
        let kept = Kept {
            incarnation,
            was: old.filter(|_| !mark).map_or([None; NAMES], |old| old.was),
            server: incarnation.0,
            mark,
            starts,
            counted,
            since: old.map_or(begin, |old| if mark && !old.mark { begin } else { old.since }),
            fresh: old.is_none_or(|old| old.fresh || !old.mark),
        };
        self.files.kept = Some(kept);
        self.outside = Some(Outside { incarnation, starts, end });
        if let Some(server) = &mut self.server {
            server.server_id = kept.server;
            let turns_follower = mark && old.is_some_and(|old| !old.mark);
            server.ended = server.ended && !is_new && !turns_follower;
        }
    }

    /// What the log has beyond what was saved of it; all of it if it is another one by now.
    pub fn beyond_seen(&self) -> Vec<TxId> {
        let known = self.seen.filter(|(at, id)| self.files.binlog.get(*at) == Some(id));
        self.files.binlog[known.map_or(0, |(at, _)| at + 1)..].to_vec()
    }

    /// A copy of what this server shows of these data of its own, as a new data directory.
    pub fn copy_of(&self, theirs: Files, ledger: &Ledger) -> Files {
        let shown = |id: &&TxId| self.server.as_ref().is_some_and(|s| s.visible.contains(**id));
        let binlog: Vec<TxId> = theirs.binlog.iter().take_while(shown).copied().collect();
        // The tables have more than a log that somebody reset.
        let mut logged = theirs.logged;
        for id in &theirs.binlog[binlog.len()..] {
            logged.remove(*id);
        }
        let mut files = Files { synced: binlog.len(), binlog, logged, ..Files::default() };
        files.slave_pos = files.end(ledger);
        files
    }

    /// A client's write arrives.
    pub fn write(&mut self, write: u64, ledger: &mut Ledger, rng: &mut Rng, out: &mut Vec<Effect>) {
        let Some(server) = &mut self.server else { return out.push(Effect::Client(write, false)) };
        if server.keeps_out(self.clock) {
            server.behind.push(Commit::Client(write));
        } else if server.read_only {
            out.push(Effect::Client(write, false));
        } else {
            self.begin(Who::Client(write), None, ledger, rng, out);
        }
    }

    /// A row of our own: it takes part in replication as any other.
    pub(super) fn insert_marker(
        &mut self,
        at: OpRef,
        token: AttemptId,
        ledger: &mut Ledger,
        rng: &mut Rng,
        out: &mut Vec<Effect>,
    ) {
        let Some(server) = &mut self.server else { return };
        if server.keeps_out(self.clock) {
            server.behind.push(Commit::Marker(at, token));
        } else if server.read_only {
            let reply = Reply::Failed(String::from("read-only"));
            out.push(Effect::Reply { at, reply });
        } else {
            self.begin(Who::Marker(at), Some(token), ledger, rng, out);
        }
    }

    fn begin(
        &mut self,
        who: Who,
        token: Option<AttemptId>,
        ledger: &mut Ledger,
        rng: &mut Rng,
        out: &mut Vec<Effect>,
    ) {
        let Some(server) = &self.server else { return };
        let seq = self.files.end(ledger).map_or(0, |gtid| gtid.seq) + 1;
        let id = ledger.record(Gtid { server: server.server_id, seq }, token);
        self.append(id, who, rng, out);
    }

    /// Into the binary log; on disk a little later, in order.
    pub(super) fn append(&mut self, id: TxId, who: Who, rng: &mut Rng, out: &mut Vec<Effect>) {
        let Some(server) = &mut self.server else { return };
        let index = self.files.binlog.len();
        self.files.binlog.push(id);
        self.files.logged.insert(id);
        server.open.push(Open { id, index, who, waiting: false });
        let (least, most) = self.pace.sync;
        out.push(Effect::Later(rng.range(least, most), DbEvent::Synced(id)));
    }

    /// The disk has a commit, and with it everything before: it goes to replicas, waits if strict, or is done.
    pub fn synced(&mut self, id: TxId, ledger: &mut Ledger, rng: &mut Rng, out: &mut Vec<Effect>) {
        let Some(server) = &mut self.server else { return };
        let Some(index) = server.open.iter().find(|o| o.id == id).map(|o| o.index) else { return };
        if index < self.files.synced {
            return;
        }
        self.files.synced = index + 1;
        self.stream(out);
        let Some(server) = &mut self.server else { return };
        if server.foreign.is_some() {
            out.push(Effect::Later(rng.range(100_000, 1_000_000), DbEvent::Foreign(index)));
        }
        let acked = server.acked;
        let strict = server.strict;
        for open in server.open.iter_mut().filter(|o| o.index <= index && !o.waiting) {
            open.waiting = strict && acked.is_none_or(|acked| acked < open.index);
        }
        self.finish(ledger, rng, out);
    }

    /// A replica confirmed everything up to `index`.
    pub(super) fn confirmed(
        &mut self,
        index: usize,
        ledger: &mut Ledger,
        rng: &mut Rng,
        out: &mut Vec<Effect>,
    ) {
        let Some(server) = self.server.as_mut().filter(|server| server.strict) else { return };
        server.confirmed = server.confirmed.max(Some(index));
        for (_, id) in server.owed.extract_if(.., |(place, _)| *place <= index) {
            ledger.acknowledged.insert(id);
        }
        self.count_confirmation(index, ledger, rng, out);
    }

    /// A replica that is no member's confirmed: MariaDB waits for one, whichever it is.
    pub fn foreign_confirms(
        &mut self,
        index: usize,
        ledger: &mut Ledger,
        rng: &mut Rng,
        out: &mut Vec<Effect>,
    ) {
        if self.server.as_ref().is_some_and(|s| s.strict && s.foreign.is_some()) {
            self.count_confirmation(index, ledger, rng, out);
        }
    }

    fn count_confirmation(
        &mut self,
        index: usize,
        ledger: &mut Ledger,
        rng: &mut Rng,
        out: &mut Vec<Effect>,
    ) {
        let Some(server) = &mut self.server else { return };
        server.acked = server.acked.max(Some(index));
        for open in server.open.iter_mut().filter(|open| open.index <= index) {
            open.waiting = false;
        }
        self.finish(ledger, rng, out);
    }

    /// Turning the master side off answers OK to everybody who waits (section 2).
    pub(super) fn go_loose(&mut self, ledger: &mut Ledger, rng: &mut Rng, out: &mut Vec<Effect>) {
        let Some(server) = &mut self.server else { return };
        server.strict = false;
        for open in server.open.iter_mut().filter(|open| open.waiting) {
            open.waiting = false;
            server.unconfirmed += u64::from(open.who != Who::Applier);
        }
        self.finish(ledger, rng, out);
    }

    /// Everything on disk that waits no more is visible and answered.
    fn finish(&mut self, ledger: &mut Ledger, rng: &mut Rng, out: &mut Vec<Effect>) {
        let Some(server) = &mut self.server else { return };
        let synced = self.files.synced;
        let (open, done) = server.open.iter().partition(|o| o.waiting || o.index >= synced);
        server.open = open;
        let done: Vec<Open> = done;
        for commit in &done {
            server.visible.insert(commit.id);
            if commit.who != Who::Applier && !server.by_hand {
                if server.strict && server.confirmed.is_none_or(|place| place < commit.index) {
                    server.owed.push((commit.index, commit.id));
                } else {
                    ledger.acknowledged.insert(commit.id);
                }
            }
            match commit.who {
                Who::Client(write) => out.push(Effect::Client(write, true)),
                Who::Marker(at) => out.push(Effect::Reply { at, reply: Reply::Ok }),
                Who::Applier => {
                    self.files.note_applied(commit.id, ledger);
                    server.applying = false;
                    let (least, most) = self.pace.apply;
                    out.push(Effect::Later(rng.range(least, most), DbEvent::Apply));
                }
            }
        }
        self.settle_read_only(out);
    }

    /// read_only=1 waits for commits under way, and stops new ones meanwhile (section 5).
    pub(super) fn ask_read_only(&mut self, at: OpRef, out: &mut Vec<Effect>) {
        let Some(server) = &mut self.server else { return };
        server.closing = Some(at);
        out.push(Effect::Later(READ_ONLY_BOUND, DbEvent::Bound(at)));
        self.settle_read_only(out);
    }

    fn settle_read_only(&mut self, out: &mut Vec<Effect>) {
        let Some(server) = &mut self.server else { return };
        if server.open_commits() > 0
            || (server.closing.is_some() && server.waits_for_lock(self.clock))
        {
            return;
        }
        let Some(at) = server.closing.take() else { return };
        server.read_only = true;
        server.by_hand = false;
        out.push(Effect::Reply { at, reply: Reply::Ok });
        for commit in std::mem::take(&mut server.behind) {
            out.push(match commit {
                Commit::Client(write) => Effect::Client(write, false),
                Commit::Marker(at, _) => {
                    Effect::Reply { at, reply: Reply::Failed(String::from("read-only")) }
                }
            });
        }
    }

    /// FLUSH TABLES WITH READ LOCK; false if there is no server, or another session has it.
    pub fn lock(&mut self, session: u64) -> bool {
        let free = self.server.as_mut().filter(|server| server.locked.is_none());
        free.map(|server| server.locked = Some((session, None))).is_some()
    }

    /// The session ends, by itself or because it was ended: everything goes on.
    pub fn unlock(
        &mut self,
        session: u64,
        ledger: &mut Ledger,
        rng: &mut Rng,
        out: &mut Vec<Effect>,
    ) {
        let held = self.server.as_mut().filter(|s| s.locked.is_some_and(|(by, _)| by == session));
        let Some(server) = held else { return };
        server.locked = None;
        out.push(Effect::Later(rng.range(10_000, 100_000), DbEvent::Apply));
        self.settle_read_only(out);
        if self.server.as_ref().is_some_and(|server| server.closing.is_none()) {
            self.let_go_on(ledger, rng, out);
        }
    }

    /// Past its bound read_only=1 is withdrawn, and everything goes on.
    pub fn bound(&mut self, at: OpRef, ledger: &mut Ledger, rng: &mut Rng, out: &mut Vec<Effect>) {
        let Some(server) = self.server.as_mut().filter(|s| s.closing == Some(at)) else { return };
        server.closing = None;
        out.push(Effect::Reply { at, reply: Reply::Blocked });
        self.let_go_on(ledger, rng, out);
    }

    pub(super) fn let_go_on(&mut self, ledger: &mut Ledger, rng: &mut Rng, out: &mut Vec<Effect>) {
        let Some(server) = &mut self.server else { return };
        for commit in std::mem::take(&mut server.behind) {
            match commit {
                Commit::Client(write) => self.write(write, ledger, rng, out),
                Commit::Marker(at, token) => self.insert_marker(at, token, ledger, rng, out),
            }
        }
    }
}

impl Files {
    pub(super) fn note_applied(&mut self, id: TxId, ledger: &Ledger) {
        self.relay_applied += 1;
        self.received.remove(id);
        self.slave_pos = Some(ledger.gtid(id));
    }
}
