//! The model against the measurements it stands for ("MariaDB 10.11, as measured"; the section in each test).

use super::bench::{Bench, FOLLOWER, WRITER};
use super::*;
use regent_core::id::{BootId, RunId};
use regent_core::observe::Thread;

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
    bench.sql(WRITER, Op::TakeControl);
    bench.kill(WRITER);
    assert_eq!(bench.both[WRITER].incarnation(), Some(Incarnation(10)));
    bench.both[WRITER].files = copy;
    bench.both[WRITER].start();
    assert_eq!(bench.both[WRITER].incarnation(), None);
}

#[test]
fn data_put_back_within_one_start_and_a_log_put_back_or_reset_have_no_incarnation() {
    for deed in 0..3 {
        let mut bench = Bench::new(false);
        bench.write(1);
        bench.settle();
        let copy = bench.both[WRITER].files.clone();
        bench.write(2);
        bench.settle();
        assert_eq!(bench.facts(WRITER).incarnation, Some(Incarnation(10)));
        bench.rest(WRITER);
        match deed {
            0 => bench.both[WRITER].files = copy,
            1 => {
                bench.both[WRITER].files.truncate(copy.binlog.len());
            }
            _ => bench.act(WRITER, |db, ledger, rng, out| db.reset_master(ledger, rng, out)),
        }
        assert_eq!(bench.facts(WRITER).incarnation, None, "deed {deed}");
        // The same names again do not bring it back.
        for write in 3..9 {
            bench.write(write);
            bench.settle();
        }
        assert_eq!(bench.facts(WRITER).incarnation, None, "deed {deed}");
        bench.kill(WRITER);
        bench.both[WRITER].start();
        bench.sql(WRITER, Op::TakeControl);
        assert_eq!(bench.facts(WRITER).incarnation, None, "deed {deed}");
    }
}
