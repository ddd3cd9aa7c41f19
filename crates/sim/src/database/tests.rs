//! The model against the measurements it stands for ("MariaDB 10.11, as measured"; the section in each test).

use super::*;
use crate::rng::Rng;
use regent_core::id::{BootId, RunId};
use regent_core::observe::{DatabaseFacts, Thread};

/// Two servers and what they say to each other, delivered by hand.
struct Bench {
    both: [Database; 2],
    ledger: Ledger,
    rng: Rng,
    answers: Vec<(u64, bool)>,
    replies: Vec<(u64, Reply)>,
    /// Confirmations are lost.
    deaf: bool,
    later: Vec<(usize, DbEvent)>,
    ops: u64,
    connections: u64,
}

const WRITER: usize = 0;
const FOLLOWER: usize = 1;

impl Bench {
    /// A writer that is writable, strict or not, and a follower that is attached.
    fn new(strict: bool) -> Bench {
        let mut bench = Bench {
            both: [Database::default(), Database::default()],
            ledger: Ledger::default(),
            rng: Rng::new(5),
            answers: Vec::new(),
            replies: Vec::new(),
            deaf: false,
            later: Vec::new(),
            ops: 0,
            connections: 0,
        };
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

    fn follow(&mut self) {
        for op in [Op::StopBoth, Op::Loose, Op::Attach(NodeId(1)), Op::StartBoth] {
            self.sql(FOLLOWER, op);
        }
        self.settle();
    }

    fn sql(&mut self, host: usize, op: Op) -> Option<Reply> {
        self.ops += 1;
        let n = self.ops;
        let at = OpRef { session: 1, connection: 1, n };
        self.act(host, |db, ledger, rng, out| db.sql(at, op, ledger, rng, out));
        self.replies.iter().find(|(to, _)| *to == n).map(|(_, reply)| reply.clone())
    }

    fn facts(&mut self, host: usize) -> DatabaseFacts {
        match self.sql(host, Op::Facts { look_for: None }) {
            Some(Reply::Facts(facts)) => *facts,
            other => panic!("no facts but {other:?}"),
        }
    }

    fn write(&mut self, write: u64) {
        self.act(WRITER, |db, ledger, rng, out| db.write(write, ledger, rng, out));
    }

    fn answer(&self, write: u64) -> Option<bool> {
        self.answers.iter().find(|(id, _)| *id == write).map(|(_, good)| *good)
    }

    /// Lets everything happen that is due, but bounds.
    fn settle(&mut self) {
        while let Some(place) =
            self.later.iter().position(|(_, event)| !matches!(event, DbEvent::Bound(_)))
        {
            let (host, event) = self.later.remove(place);
            self.act(host, |db, ledger, rng, out| match event {
                DbEvent::Synced(id) => db.synced(id, ledger, rng, out),
                DbEvent::Apply => db.apply(ledger, rng, out),
                DbEvent::StopReceiver(at) => db.stop_receiver(at, out),
                DbEvent::Connect(_) | DbEvent::Bound(_) => {}
            });
        }
    }

    fn bound(&mut self) {
        let place = self.later.iter().position(|(_, event)| matches!(event, DbEvent::Bound(_)));
        let Some((host, DbEvent::Bound(at))) = place.map(|place| self.later.remove(place)) else {
            return;
        };
        self.act(host, |db, ledger, rng, out| db.bound(at, ledger, rng, out));
    }

    fn act(
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

    fn hear(&mut self, host: usize, connection: u64, stream: Stream) {
        self.act(host, |db, ledger, rng, out| db.hear(connection, stream, ledger, rng, out));
    }

    fn cut(&mut self) {
        let connection = self.connections;
        self.hear(WRITER, connection, Stream::End);
        self.hear(FOLLOWER, connection, Stream::End);
    }

    fn kill(&mut self, host: usize) {
        self.later.retain(|(at, _)| *at != host);
        self.act(host, |db, ledger, rng, out| db.kill(ledger, rng, out));
    }
}

fn token(n: u64) -> AttemptId {
    AttemptId { node: NodeId(1), boot: BootId(1), run: RunId(1), n }
}

#[test]
fn a_strict_commit_waits_in_the_log_and_is_shown_when_confirmed() {
    // Section 1.
    let mut bench = Bench::new(true);
    bench.write(1);
    assert_eq!(bench.both[WRITER].files.binlog.len(), 1);
    assert!(bench.both[WRITER].server.as_ref().is_some_and(|s| s.visible.is_empty()));
    bench.settle();
    assert_eq!(bench.answer(1), Some(true));
    assert_eq!(bench.facts(FOLLOWER).applied, bench.facts(WRITER).end);
}

#[test]
fn a_lost_confirmation_strands_a_commit_until_a_later_one_is_confirmed() {
    // Section 3.
    let mut bench = Bench::new(true);
    bench.deaf = true;
    bench.write(1);
    bench.settle();
    assert_eq!((bench.answer(1), bench.facts(WRITER).waiting), (None, 1));
    bench.cut();
    bench.deaf = false;
    bench.act(FOLLOWER, |_, _, _, out| out.push(Effect::Seek));
    bench.settle();
    assert_eq!(bench.answer(1), None, "the reconnect does not repeat it");
    bench.sql(WRITER, Op::Marker(token(1)));
    bench.settle();
    assert_eq!(bench.answer(1), Some(true));
}

#[test]
fn turning_the_master_side_off_answers_ok_to_everybody_who_waits() {
    // Section 2.
    let mut bench = Bench::new(true);
    bench.deaf = true;
    bench.write(1);
    bench.settle();
    bench.sql(WRITER, Op::Loose);
    assert_eq!((bench.answer(1), bench.facts(WRITER).unconfirmed), (Some(true), 1));
}

#[test]
fn a_commit_that_waited_when_the_server_was_killed_is_there_after_the_restart_and_not_acknowledged()
{
    // Section 6.
    let mut bench = Bench::new(true);
    bench.deaf = true;
    bench.write(1);
    bench.settle();
    bench.kill(WRITER);
    assert_eq!(bench.answer(1), Some(false));
    bench.both[WRITER].start();
    let visible = bench.both[WRITER].server.as_ref().map(|server| server.visible.len());
    assert_eq!((visible, bench.ledger.acknowledged.len()), (Some(1), 0));
}

#[test]
fn read_only_waits_for_open_commits_stops_new_ones_and_is_withdrawn_at_its_bound() {
    // Section 5.
    let mut bench = Bench::new(true);
    bench.deaf = true;
    bench.write(1);
    bench.settle();
    assert_eq!(bench.sql(WRITER, Op::ReadOnly), None);
    let asked = bench.ops;
    bench.write(2);
    assert_eq!(bench.both[WRITER].files.binlog.len(), 1, "new commits stop as well");
    bench.bound();
    assert!(bench.replies.contains(&(asked, Reply::Blocked)));
    assert_eq!(bench.both[WRITER].files.binlog.len(), 2, "and go on when it is withdrawn");
    assert!(!bench.facts(WRITER).read_only);
}

#[test]
fn a_marker_frees_read_only_and_is_refused_once_it_is_set() {
    // Sections 3 and 5.
    let mut bench = Bench::new(true);
    assert_eq!(bench.sql(WRITER, Op::ReadOnly), Some(Reply::Ok));
    let refused = bench.sql(WRITER, Op::Marker(token(1)));
    assert!(matches!(refused, Some(Reply::Failed(_))));
    bench.write(1);
    assert_eq!(bench.answer(1), Some(false));
}

#[test]
fn stopping_the_receiver_alone_keeps_what_was_received() {
    // Section 7.
    let mut bench = Bench::new(false);
    bench.write(1);
    bench.settle();
    bench.sql(FOLLOWER, Op::StopReceiver);
    bench.settle();
    let facts = bench.facts(FOLLOWER);
    assert!(facts.drained && !facts.broken);
    assert_eq!((facts.receiver, facts.applier), (Thread::Stopped, Thread::Running));
    assert_eq!(bench.sql(FOLLOWER, Op::StartReceiver), Some(Reply::Ok));
    assert!(!bench.facts(FOLLOWER).broken);
}

#[test]
fn a_restart_of_the_follower_loses_its_relay_log_at_the_next_start_of_a_thread() {
    // Section 7.
    let mut bench = Bench::new(true);
    bench.both[FOLLOWER].server.as_mut().expect("it runs").applier = Thread::Stopped;
    bench.write(1);
    bench.settle();
    assert_eq!(bench.answer(1), Some(true), "received is enough to confirm");
    assert_eq!(bench.both[FOLLOWER].files.relay.len(), 1);
    bench.kill(FOLLOWER);
    assert_eq!(bench.both[FOLLOWER].living(), None, "a follower's stay ends with its server");
    bench.both[FOLLOWER].start();
    bench.sql(FOLLOWER, Op::TakeControl);
    assert_eq!(bench.both[FOLLOWER].files.relay.len(), 1, "whole until the first START");
    assert!(bench.facts(FOLLOWER).broken);
    bench.sql(FOLLOWER, Op::StartBoth);
    assert!(bench.both[FOLLOWER].files.relay_applied == 0);
}

#[test]
fn loss_of_power_takes_the_relay_log_and_leaves_the_binary_log() {
    let mut bench = Bench::new(true);
    bench.both[FOLLOWER].server.as_mut().expect("it runs").applier = Thread::Stopped;
    for write in 1..4 {
        bench.write(write);
        bench.settle();
    }
    bench.both[FOLLOWER].files.relay_synced = 1;
    for host in [WRITER, FOLLOWER] {
        bench.kill(host);
        bench.both[host].lose_unsynced();
    }
    let files = &bench.both[FOLLOWER].files;
    assert_eq!((files.relay.len(), files.received.len()), (1, 1));
    assert_eq!(bench.both[WRITER].files.binlog.len(), 3);
}

#[test]
fn a_standby_that_is_strict_hangs_in_its_own_applier() {
    // Section 1.
    let mut bench = Bench::new(false);
    bench.sql(FOLLOWER, Op::Strict);
    bench.write(1);
    bench.settle();
    bench.sql(FOLLOWER, Op::StopReceiver);
    bench.settle();
    assert!(!bench.facts(FOLLOWER).drained);
    bench.sql(FOLLOWER, Op::Loose);
    bench.settle();
    assert!(bench.facts(FOLLOWER).drained);
}

#[test]
fn an_end_that_is_not_in_the_writers_log_is_refused_and_a_stale_position_is_not() {
    // Section 8.
    let mut bench = Bench::new(false);
    bench.write(1);
    bench.settle();
    for op in [Op::StopBoth, Op::Strict, Op::Loose, Op::Writable] {
        bench.sql(FOLLOWER, op);
    }
    let stale = bench.both[FOLLOWER].files.slave_pos;
    bench.act(FOLLOWER, |db, ledger, rng, out| db.write(9, ledger, rng, out));
    bench.settle();
    bench.write(2);
    bench.settle();
    bench.follow();
    assert!(matches!(bench.facts(FOLLOWER).receiver, Thread::Failed(_)), "1236");
    bench.sql(FOLLOWER, Op::StopBoth);
    bench.both[FOLLOWER].files.slave_pos = stale;
    bench.sql(FOLLOWER, Op::StartBoth);
    bench.write(3);
    bench.settle();
    let facts = bench.facts(FOLLOWER);
    assert_eq!(facts.receiver, Thread::Running, "it runs and confirms");
    assert!(matches!(facts.applier, Thread::Failed(_)), "1950");
}

#[test]
fn a_server_id_that_outlives_its_incarnation_lets_a_diverged_copy_attach() {
    // Section 10: which is why a new one is drawn.
    let mut bench = Bench::new(false);
    bench.write(1);
    bench.settle();
    for op in [Op::StopBoth, Op::Strict, Op::Loose, Op::Writable] {
        bench.sql(FOLLOWER, op);
    }
    bench.both[FOLLOWER].server.as_mut().expect("it runs").server_id = 10;
    bench.act(FOLLOWER, |db, ledger, rng, out| db.write(9, ledger, rng, out));
    bench.write(2);
    bench.settle();
    bench.follow();
    assert_eq!(bench.facts(FOLLOWER).receiver, Thread::Running);
    let files = [&bench.both[WRITER].files, &bench.both[FOLLOWER].files];
    assert_ne!(files[0].binlog, files[1].binlog);
}

#[test]
fn a_statement_outlives_its_client_until_control_is_taken() {
    // Section 10.
    let mut bench = Bench::new(true);
    bench.deaf = true;
    bench.write(1);
    bench.settle();
    bench.sql(WRITER, Op::ReadOnly);
    let old = bench.ops;
    let at = OpRef { session: 2, connection: 1, n: 1000 };
    bench.act(WRITER, |db, ledger, rng, out| db.sql(at, Op::TakeControl, ledger, rng, out));
    bench.act(WRITER, |db, ledger, rng, out| db.go_loose(ledger, rng, out));
    bench.settle();
    assert!(bench.both[WRITER].server.as_ref().is_some_and(|server| !server.read_only));
    assert!(!bench.replies.iter().any(|(n, _)| *n == old));
    assert_eq!(bench.sql(WRITER, Op::Writable), Some(Reply::Down), "the older run is gone");
}

#[test]
fn data_put_back_to_an_older_copy_have_no_incarnation() {
    let mut bench = Bench::new(false);
    let copy = bench.both[WRITER].files.clone();
    bench.write(1);
    bench.settle();
    bench.kill(WRITER);
    bench.both[WRITER].start();
    bench.kill(WRITER);
    assert_eq!(bench.both[WRITER].incarnation(), Some(Incarnation(10)));
    bench.both[WRITER].files = copy;
    bench.both[WRITER].start();
    assert_eq!(bench.both[WRITER].incarnation(), None);
}
