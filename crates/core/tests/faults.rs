//! One node whose host, register or database refuses: what it does about it, how often, and what it tells.

mod world;

use regent_core::command::{
    Action, AddressStep, DatabaseStep, GateStep, Lineage, Outcome, Request, StepResult, SwapOutcome,
};
use regent_core::event::Severity;
use regent_core::health::{Counts, Health, ProbeId, ProbeSpec, Subject, Weight};
use regent_core::id::{AttemptId, Incarnation, RequestId, Version};
use regent_core::node::Input;
use regent_core::observe::{DatabaseFacts, DatabaseReport, Locked, Thread, UnitState};
use regent_core::spec::{ServiceSpec, Spec};
use regent_core::state::{DataCopy, Phase, State};
use regent_core::time::Span;
use world::bench::{ME, PEER, at_rest, first_state, follows, spec};
use world::{World, compared, denied, fails, is, led_by_peer, obeys, starts, with_peer, writes};

#[test]
fn an_address_that_the_kernel_refuses_opens_no_gate_and_is_asked_for_with_a_pause() {
    let mut world = World::new(first_state(), at_rest());
    world.refuses =
        |action| matches!(action, Action::Address(AddressStep::Add { .. })).then(denied);
    world.run(5_000);
    let adds = world.count(|a| matches!(a, Action::Address(AddressStep::Add { .. })));
    assert!((5..=12).contains(&adds), "asked {adds} times in 5 s");
    assert_eq!(world.count(|a| matches!(a, Action::Gate(GateStep::Enable { .. }))), 0);
    assert_eq!(world.told("address.add"), [Severity::Alarm]);
    let why = world.unable().expect("it cannot serve");
    assert!(why.contains("put the VIP on") && why.contains("not permitted"), "{why}");
    assert!(world.why().contains("ip address"), "{}", world.why());

    world.refuses = obeys;
    world.run(2_000);
    assert!(world.is_open(), "{}", world.why());
    assert_eq!(world.told("address.add"), [Severity::Alarm, Severity::Info]);
}

#[test]
fn an_address_that_cannot_be_refreshed_is_no_service_once_its_lifetime_is_over() {
    let mut world = World::serving();
    world.refuses =
        |action| matches!(action, Action::Address(AddressStep::Add { .. })).then(denied);
    world.run(2_000);
    assert!(world.is_open(), "the kernel keeps it for its lifetime: {}", world.why());
    world.run(3_500);
    assert!(!world.is_open() && world.unable().is_some(), "{}", world.why());
}

#[test]
fn a_gate_that_does_not_open_is_asked_for_with_a_pause_and_told_once() {
    let mut world = World::new(first_state(), at_rest());
    world.refuses = |action| matches!(action, Action::Gate(GateStep::Enable { .. })).then(denied);
    world.run(5_000);
    let asked = world.count(|a| matches!(a, Action::Gate(GateStep::Enable { .. })));
    assert!((5..=12).contains(&asked), "asked {asked} times in 5 s");
    assert_eq!(world.told("gate.enable"), [Severity::Alarm]);
    assert!(world.unable().is_some_and(|why| why.contains("open the gate")));
}

#[test]
fn an_active_whose_kernel_enables_no_more_tickets_says_so_once_the_last_one_is_over() {
    let mut world = World::serving();
    world.refuses = |action| matches!(action, Action::Gate(GateStep::Enable { .. })).then(denied);
    world.run(300);
    assert!(world.is_open(), "under the ticket that was enabled before: {}", world.why());
    world.run(700);
    // It goes on renewing: only its own word tells the others.
    assert!(!world.is_open() && world.unable().is_some(), "{}", world.why());
    world.refuses = obeys;
    world.run(2_000);
    assert!(world.is_open() && world.unable().is_none(), "{}", world.why());
}

#[test]
fn an_address_whose_refresh_hangs_is_no_service_once_its_lifetime_is_over() {
    let mut world = World::serving();
    world.hangs = |action| matches!(action, Action::Address(AddressStep::Add { .. }));
    world.run(2_000);
    assert!(world.is_open(), "the kernel keeps it for its lifetime: {}", world.why());
    world.run(3_500);
    assert!(!world.is_open(), "{}", world.why());
    assert!(world.unable().is_some_and(|why| why.contains("does not end")), "{}", world.why());
    assert!(world.why().contains("`ip address`"), "{}", world.why());
}

/// What is under way does not end with what the node forgot of the address.
#[test]
fn an_address_step_that_hangs_over_a_lost_filter_is_told_to_the_peers() {
    let mut world = World::serving();
    world.hangs = |action| matches!(action, Action::Address(AddressStep::Add { .. }));
    world.run(1_500);
    world.feed(Input::GateLost);
    world.run(1_000);
    assert!(!world.is_open(), "{}", world.why());
    assert!(world.unable().is_some_and(|why| why.contains("does not end")), "{}", world.why());
}

/// The ticket counts from the first proposal of a renewal, the right from the one that won: between their ends nothing
/// passes, and that is no close.
#[test]
fn a_right_that_ends_after_its_last_ticket_is_told() {
    let mut world = World::serving();
    let unknown = |action: &Action| {
        let outcome = || Outcome::Swap(SwapOutcome::Unknown);
        matches!(action, Action::Propose { .. }).then(outcome)
    };
    let (before, version) = (world.proposals, world.version);
    world.refuses = unknown;
    world.run(200);
    assert!(world.proposals > before);
    world.refuses = obeys;
    for _ in 0..50 {
        if world.version == version {
            world.run(10);
        }
    }
    assert!(world.version > version && world.is_open(), "{}", world.why());
    world.refuses = unknown;
    world.run(2_000);
    assert_eq!(world.told("lease.lost"), [Severity::Alarm], "{}", world.why());
}

#[test]
fn an_active_that_defends_against_a_stranger_opens_again_after_a_gap_of_its_tickets() {
    let mut world = World::serving();
    world.refuses = |action| matches!(action, Action::Gate(GateStep::Enable { .. })).then(denied);
    for _ in 0..8 {
        world.feed(Input::Stranger { mac: [2, 0, 0, 0, 0, 9] });
        world.run(100);
    }
    assert!(!world.is_open(), "its last ticket is over");
    world.refuses = obeys;
    for _ in 0..10 {
        world.feed(Input::Stranger { mac: [2, 0, 0, 0, 0, 9] });
        world.run(100);
    }
    assert!(world.is_open(), "{}", world.why());
}

/// Two of them would take the record from each other as fast as it can be written.
#[test]
fn a_node_that_was_just_refused_takes_over_from_nobody_who_is_refused_too_but_tries_in_the_end() {
    let mut world = World::serving();
    world.refuses = |action| matches!(action, Action::Gate(GateStep::Enable { .. })).then(denied);
    world.run(1_500);
    assert!(world.unable().is_some(), "{}", world.why());
    world.held_by_peer();
    world.peer_unable =
        Some("the kernel refuses to open the gate (Operation not permitted)".into());
    let before = world.proposals;
    let mut waited = 0;
    while world.proposals == before && waited < 10_000 {
        world.held_by_peer();
        world.run(100);
        waited += 100;
    }
    // What it was refused itself counts for a while; then nobody knows, and it tries.
    assert!((900..=2_200).contains(&waited), "waited {waited} ms: {}", world.why());
    assert_eq!(world.told("gate.enable"), [Severity::Alarm, Severity::Info]);
}

#[test]
fn a_gate_that_cannot_be_armed_proposes_nothing_and_is_told_once() {
    let mut world = World::new(first_state(), at_rest());
    world.refuses = |action| matches!(action, Action::Gate(GateStep::Arm { .. })).then(denied);
    world.run(5_000);
    let asked = world.count(|a| matches!(a, Action::Gate(GateStep::Arm { .. })));
    assert!((5..=12).contains(&asked), "asked {asked} times in 5 s");
    assert_eq!(world.count(|a| matches!(a, Action::Propose { .. })), 0);
    assert_eq!(world.told("gate.arm"), [Severity::Alarm]);
    assert!(world.unable().is_some_and(|why| why.contains("arm the gate")));
}

#[test]
fn a_close_that_is_refused_takes_the_address_off_and_is_asked_for_until_it_is_done() {
    let mut world = World::serving();
    world.refuses = |action| matches!(action, Action::Gate(GateStep::Close)).then(denied);
    world.held_by_peer();
    assert_eq!(world.count(|a| matches!(a, Action::Address(AddressStep::Remove))), 1);
    world.run(5_000);
    let asked = world.count(|a| matches!(a, Action::Gate(GateStep::Close)));
    assert!((5..=12).contains(&asked), "asked {asked} times in 5 s");
    assert_eq!(world.told("gate.close"), [Severity::Alarm]);
    world.refuses = obeys;
    world.run(2_000);
    assert_eq!(world.told("gate.close"), [Severity::Alarm, Severity::Info]);
}

#[test]
fn a_register_that_answers_nonsense_is_told_once() {
    let mut world = World::new(first_state(), at_rest());
    world.refuses = |action| matches!(action, Action::Read).then(denied);
    for version in 10..60 {
        let bytes = b"no state".to_vec();
        world.feed(Input::View { version: Version(version), bytes, recent: Vec::new() });
    }
    assert_eq!(world.told("register.broken"), [Severity::Alarm]);
}

#[test]
fn swaps_without_an_answer_stay_few_through_ten_days_alone() {
    // A standby in sync, cut off from everybody.
    let mut state = first_state();
    let copy = |node, incarnation| DataCopy { node, incarnation: Incarnation(incarnation) };
    state.lease.holder = PEER;
    state.lease.phase = Phase::Ruling;
    state.sync.writer = copy(PEER, 22);
    state.sync.with = Some(copy(ME, 11));
    let follower = DatabaseFacts {
        source: Some(PEER),
        mark: true,
        receiver: Thread::Running,
        applier: Thread::Running,
        ..at_rest()
    };
    let mut world = World::new(state, follower);
    world.run(100);
    world.refuses = |action| {
        let asked = matches!(action, Action::Propose { .. });
        let unknown = asked.then_some(Outcome::Swap(SwapOutcome::Unknown));
        unknown.or_else(|| matches!(action, Action::Read).then(denied))
    };
    const TEN_DAYS_S: u64 = 10 * 24 * 3600;
    const STEP_S: u64 = 10;
    for _ in 0..TEN_DAYS_S / STEP_S {
        world.now = world.now.after(Span::millis(STEP_S * 1_000));
        world.feed(Input::Tick);
    }
    assert!(world.proposals > 50_000, "it went on trying: {}", world.proposals);
    assert!(world.node.swaps_unanswered() <= 16, "{}", world.node.swaps_unanswered());
    // The register is back, and one of the older ones had won: no permission follows from it, and it serves in time.
    world.refuses = obeys;
    let forgotten = world.asked.iter().find_map(|action| {
        let Action::Propose { bytes, .. } = action else { return None };
        Some(State::decode(bytes).expect("what is proposed can be read"))
    });
    world.state = forgotten.expect("it proposed");
    world.version += 1;
    world.told.clear();
    world.run(200);
    assert!(!world.is_open(), "the wait is counted from when the record was seen");
    world.run(3_000);
    assert!(world.is_open(), "{}", world.why());
}

/// Somebody writes on a standby between two comparisons, while the copy that follows on the first one does not come.
#[test]
fn a_tail_that_was_compared_anew_is_saved_anew_before_it_is_undone() {
    let mut world = World::new(led_by_peer(), DatabaseFacts { mark: true, ..at_rest() });
    world.peer = Some(writes());
    world.refuses = |action| compared(action, Lineage::Tail { count: 1, rewindable: false });
    world.run(2_000);
    assert_eq!(world.count(|a| is(a, |step| matches!(step, DatabaseStep::SaveTail { .. }))), 1);
    assert!(world.count(|a| is(a, |step| matches!(step, DatabaseStep::Reclone { .. }))) > 0);
    // Its server starts anew, and has one row more.
    world.asked.clear();
    world.facts.as_mut().expect("it runs").broken = true;
    world.refuses = |action| compared(action, Lineage::Tail { count: 2, rewindable: true });
    world.run(3_000);
    let place = |wanted: fn(&DatabaseStep) -> bool| world.asked.iter().position(|a| is(a, wanted));
    let saved = place(|step| matches!(step, DatabaseStep::SaveTail { .. }));
    let undone = place(|step| matches!(step, DatabaseStep::Rewind { .. }));
    assert!(saved.is_some() && saved < undone, "saved {saved:?}, undone {undone:?}");
}

#[test]
fn an_heir_whose_database_died_after_the_mark_was_taken_off_needs_no_drain() {
    // As the heir left it: all applied, the mark gone, the source not forgotten yet; then its database died.
    let left = DatabaseFacts { source: Some(PEER), drained: false, start: 2, ..at_rest() };
    let mut world = World::new(with_peer(), left);
    world.run(2_000);
    assert_eq!(world.count(|a| *a == Action::Database(DatabaseStep::EndFollowing)), 1);
    assert!(world.is_open(), "{}", world.why());
}

#[test]
fn who_waits_long_for_a_drain_looks_less_often() {
    let slow = DatabaseFacts {
        source: Some(PEER),
        mark: true,
        applier: Thread::Running,
        drained: false,
        ..at_rest()
    };
    let mut world = World::new(with_peer(), slow);
    world.run(10_000);
    world.asked.clear();
    world.run(1_000);
    let looks = world.count(|a| matches!(a, Action::Database(DatabaseStep::Observe { .. })));
    assert!((5..=20).contains(&looks), "{looks} looks a second after ten seconds");
}

#[test]
fn a_step_that_fails_is_tried_again_with_a_pause_and_told_once() {
    let mut world = World::new(first_state(), at_rest());
    world.refuses = |action| fails(action, |step| matches!(step, DatabaseStep::Writable));
    world.run(5_000);
    let tries = world.count(|a| *a == Action::Database(DatabaseStep::Writable));
    assert!((5..=14).contains(&tries), "{tries} tries in 5 s");
    assert_eq!(world.told("database.step"), [Severity::Warning]);
}

#[test]
fn a_marker_that_cannot_be_written_is_tried_again_with_a_pause() {
    let mut world = World::new(first_state(), at_rest());
    world.peer = Some(follows(Incarnation(22)));
    world.refuses = |action| fails(action, |step| matches!(step, DatabaseStep::Marker { .. }));
    world.run(5_000);
    let tries = world.count(|a| matches!(a, Action::Database(DatabaseStep::Marker { .. })));
    assert!((2..=6).contains(&tries), "{tries} tries in 5 s");
}

#[test]
fn a_second_replica_that_confirms_is_an_alarm_and_ends_the_stay_in_sync() {
    let mut world = World::serving();
    let facts = world.facts.as_mut().expect("it runs");
    (facts.confirming, facts.others) = (2, Box::from(["backup@10.0.0.9".into()]));
    world.run(500);
    assert_eq!(world.state.sync.with, None, "{}", world.why());
    assert_eq!(world.told("sync.another"), [Severity::Alarm]);
    assert!(world.is_open() && world.why().contains("not the only one that confirms"));
    world.run(30_000);
    assert_eq!(world.state.sync.with, None, "it is not joined beside the other one");
    assert_eq!(world.told("sync.another"), [Severity::Alarm]);

    let facts = world.facts.as_mut().expect("it runs");
    (facts.confirming, facts.others) = (1, Box::default());
    world.run(20_000);
    assert!(world.state.sync.with.is_some(), "{}", world.why());
}

#[test]
fn another_replica_that_does_not_confirm_is_nobodys_business() {
    let mut world = World::serving();
    let facts = world.facts.as_mut().expect("it runs");
    facts.others = Box::from(["report@10.0.0.9".into()]);
    world.run(2_000);
    assert!(world.state.sync.with.is_some() && world.told.is_empty(), "{}", world.why());
    // What the member's own ended connection leaves behind counts for a while.
    let facts = world.facts.as_mut().expect("it runs");
    (facts.confirming, facts.others) = (2, Box::default());
    world.run(2_000);
    assert!(world.state.sync.with.is_some() && world.told.is_empty(), "{}", world.why());
}

#[test]
fn a_follower_that_confirms_nothing_is_not_taken_in_for_the_one_that_does() {
    let mut world = World::new(first_state(), at_rest());
    let facts = world.facts.as_mut().expect("it runs");
    facts.others = Box::from(["backup@10.0.0.9".into()]);
    world.peer = Some(DatabaseReport { confirms: false, ..follows(Incarnation(22)) });
    world.run(5_000);
    assert!(world.is_open() && world.state.sync.with.is_none(), "{}", world.why());
}

#[test]
fn a_database_is_not_started_behind_a_gate_that_an_earlier_run_left_open() {
    let left = Some(Span::millis(400));
    let mut world = World::found(first_state(), None, [left, None]);
    world.refuses = |action| matches!(action, Action::Gate(GateStep::Close)).then(denied);
    world.feed(Input::DatabaseUnit(UnitState::Down));
    world.run(100);
    assert!(world.count(|a| *a == Action::Gate(GateStep::Close)) > 0);
    assert_eq!(world.count(|a| *a == Action::Database(DatabaseStep::Start)), 0);
    world.refuses = obeys;
    world.run(200);
    assert_eq!(world.count(|a| *a == Action::Database(DatabaseStep::Start)), 1);
}

fn kills(action: &Action) -> bool {
    is(action, |step| matches!(step, DatabaseStep::Kill))
}

#[test]
fn a_start_that_takes_long_is_waited_for_and_shown() {
    let mut world = World::found(first_state(), None, [None; 2]);
    world.hangs = starts;
    world.feed(Input::DatabaseUnit(UnitState::Down));
    world.run(600);
    world.feed(Input::DatabaseUnit(UnitState::Unknown));
    world.run(300_000);
    assert_eq!((world.count(starts), world.count(kills)), (1, 0));
    assert!(world.why().contains("starting it"), "{}", world.why());
    world.feed(Input::DatabaseProgress("recovering page 17".into()));
    world.run(500);
    let sent = world.sent.as_ref().expect("it reports");
    let told = sent.concerns.iter().any(|text| text.contains("recovering page 17"));
    assert!(told, "{:?}", sent.concerns);
}

#[test]
fn who_becomes_able_while_the_database_starts_takes_over() {
    let mut world = World::serving();
    world.peer_unable = Some("its database is down".into());
    world.run(100);
    world.hangs = starts;
    world.facts = None;
    world.feed(Input::DatabaseUnit(UnitState::Down));
    world.run(1_000);
    world.feed(Input::DatabaseUnit(UnitState::Unknown));
    world.run(20_000);
    assert_eq!((world.count(starts), world.state.lease.holder), (1, ME), "{}", world.why());
    world.peer_unable = None;
    world.run(2_000);
    assert_eq!(world.state.lease.holder, PEER, "{}", world.why());
}

#[test]
fn a_database_that_does_not_come_up_is_tried_with_pauses_and_people_are_called_once() {
    let mut world = World::found(first_state(), None, [None; 2]);
    world.refuses = |action| fails(action, |step| matches!(step, DatabaseStep::Start));
    world.feed(Input::DatabaseUnit(UnitState::Down));
    world.run(30_000);
    assert!((4..=9).contains(&world.count(starts)), "{} starts in 30 s", world.count(starts));
    assert_eq!(world.told("database.start"), [Severity::Alarm]);
    assert!(world.why().contains("made on purpose"), "{}", world.why());
}

#[test]
fn a_database_that_dies_as_soon_as_it_is_up_is_started_with_pauses() {
    let mut world = World::found(first_state(), Some(at_rest()), [None; 2]);
    for start in 0..40 {
        world.feed(Input::DatabaseUnit(UnitState::Up { start }));
        world.run(300);
        world.feed(Input::DatabaseUnit(UnitState::Down));
        world.run(700);
    }
    assert!(world.count(starts) <= 14, "{} starts in 40 s", world.count(starts));
    assert_eq!(world.told("database.start"), [Severity::Alarm]);
}

#[test]
fn a_session_that_keeps_writers_out_is_named_and_ended_and_the_server_is_not_killed() {
    let probe = ProbeSpec {
        name: "database-write".into(),
        subject: Subject::Database,
        weight: Weight::Vital,
        counts: Counts::Always,
        rise: 2,
        fall: 3,
        vip_link: false,
    };
    let mut world = World::serving_as(Spec { probes: vec![probe], ..spec() });
    world.feed(Input::DatabaseUnit(UnitState::Up { start: 1 }));
    let well = Health::Passing;
    world.feed(Input::Health { probe: ProbeId(0), health: well, why: String::new() });
    world.run(1_000);
    let lock = |s: u64| Locked {
        session: 7,
        who: "backup@localhost".into(),
        what: "the global read lock".into(),
        since: Span::millis(s * 1_000),
    };
    world.facts.as_mut().expect("it runs").locked = Some(Box::new(lock(2)));
    world.run(300);
    let why = "no answer within 250 ms".to_string();
    world.feed(Input::Health { probe: ProbeId(0), health: Health::Failing, why });
    world.run(20_000);
    assert_eq!((world.count(kills), world.state.lease.holder), (0, ME), "{}", world.why());
    assert_eq!(world.told("database.locked"), [Severity::Alarm]);
    assert!(world.why().contains("session 7 of backup@localhost"), "{}", world.why());
    world.facts.as_mut().expect("it runs").locked = Some(Box::new(lock(60)));
    world.run(500);
    let ended = |a: &Action| *a == Action::Database(DatabaseStep::EndSession { session: 7 });
    assert_eq!(world.count(ended), 1);

    // The probe may need a moment; a server that hangs without anybody's lock is another thing.
    world.run(2_000);
    assert_eq!(world.count(kills), 0, "{}", world.why());
    world.run(2_000);
    assert!(world.count(kills) > 0, "{}", world.why());
}

#[test]
fn a_kill_that_is_refused_is_asked_for_again_with_a_pause_and_told_once() {
    let mut world = World::serving();
    world.peer = None;
    world.refuses = |action| {
        let refused = fails(action, |step| matches!(step, DatabaseStep::Kill));
        let silent = Outcome::Database { result: StepResult::NoAnswer, facts: None };
        let observes = is(action, |step| matches!(step, DatabaseStep::Observe { .. }));
        refused.or_else(|| observes.then_some(silent))
    };
    world.run(5_000);
    assert!((4..=14).contains(&world.count(kills)), "{} kills in 5 s", world.count(kills));
    assert_eq!(world.told("database.step"), [Severity::Warning]);
    assert!(world.why().contains("killing it has failed"), "{}", world.why());
}

#[test]
fn a_planned_move_to_a_standby_that_is_far_behind_is_refused_before_anything_is_touched() {
    let mut world = World::serving();
    world.peer.as_mut().expect("it follows").held = Some("session 3 holds a lock".into());
    world.run(200);
    let what = Request::Switchover { to: Some(PEER) };
    world.feed(Input::Operator { request: RequestId(9), what });
    world.run(1_000);
    assert!(world.asked.iter().any(|a| format!("{a:?}").contains("session 3 holds a lock")));
    world.peer.as_mut().expect("it follows").held = None;
    world.peer.as_mut().expect("it follows").behind = Some(Span::millis(27_000));
    world.run(200);
    assert!(world.why().contains("27 s late"), "{}", world.why());
    let what = Request::Switchover { to: Some(PEER) };
    world.feed(Input::Operator { request: RequestId(1), what });
    world.run(2_000);
    let refused = world.asked.iter().any(|a| format!("{a:?}").contains("27 s late"));
    assert!(refused, "the asker is told why");
    assert_eq!(world.count(|a| is(a, |step| matches!(step, DatabaseStep::ReadOnly))), 0);
    assert_eq!(world.state.lease.holder, ME);
    // Its death is another matter: there is no other copy.
    world.facts = None;
    world.feed(Input::DatabaseUnit(UnitState::Down));
    world.run(2_000);
    assert_eq!(world.state.lease.holder, PEER, "{}", world.why());
}

#[test]
fn an_heir_ends_the_session_that_holds_up_its_applier() {
    let held = DatabaseFacts {
        source: Some(PEER),
        mark: true,
        applier: Thread::Running,
        drained: false,
        locked: Some(Box::new(Locked {
            session: 9,
            who: "report@10.0.0.9".into(),
            what: "a lock on the table shop.items".into(),
            since: Span::millis(5_000),
        })),
        ..at_rest()
    };
    let mut world = World::new(with_peer(), held);
    world.run(1_000);
    let ended = |a: &Action| *a == Action::Database(DatabaseStep::EndSession { session: 9 });
    assert_eq!(world.count(ended), 1);
}

#[test]
fn a_cluster_that_stops_serves_until_its_services_are_down() {
    let services = vec![ServiceSpec::vital("mgmt")];
    let mut world = World::serving_as(Spec { services, ..spec() });
    let unit = |state| Input::ServiceUnit {
        service: regent_core::observe::ServiceId(0),
        state,
        asked: false,
    };
    world.feed(unit(UnitState::Up { start: 1 }));
    world.feed(Input::DatabaseUnit(UnitState::Up { start: 1 }));
    world.run(500);
    world.hangs = |action| matches!(action, Action::Service { .. });
    let what = Request::Stop;
    world.feed(Input::Operator { request: RequestId(1), what });
    // It takes its time, and writes meanwhile.
    world.run(20_000);
    assert!(world.state.intent.stopped.is_some() && world.is_open(), "{}", world.why());
    world.feed(unit(UnitState::Down));
    world.run(2_000);
    let stops = |a: &Action| *a == Action::Database(DatabaseStep::Stop);
    assert!(world.count(stops) > 0 && !world.is_open(), "{}", world.why());
    assert_eq!(world.count(kills), 0);
}

#[test]
fn a_standby_that_stops_goes_after_the_active_nodes_database() {
    let mut state = led_by_peer();
    state.sync.with = Some(DataCopy { node: ME, incarnation: Incarnation(11) });
    state.intent.stopped = Some(AttemptId { node: PEER, n: 1, ..AttemptId::default() });
    let follower = DatabaseFacts {
        source: Some(PEER),
        mark: true,
        receiver: Thread::Running,
        applier: Thread::Running,
        ..at_rest()
    };
    let mut world = World::new(state, follower);
    world.feed(Input::DatabaseUnit(UnitState::Up { start: 1 }));
    // The active node's services write while they stop: it says that it serves no more, but its database is up.
    world.peer = Some(writes());
    for _ in 0..50 {
        world.held_by_peer();
        world.run(200);
    }
    let stops = |a: &Action| *a == Action::Database(DatabaseStep::Stop);
    assert_eq!(world.count(stops), 0, "{}", world.why());
    world.peer = None;
    for _ in 0..10 {
        world.held_by_peer();
        world.run(200);
    }
    assert!(world.count(stops) > 0, "{}", world.why());
}

#[test]
fn a_row_written_on_the_standby_by_hand_costs_no_copy() {
    let stopped = DatabaseFacts {
        mark: true,
        source: Some(PEER),
        receiver: Thread::Running,
        applier: Thread::Failed("1950: 0-1-7 is out of order".into()),
        ..at_rest()
    };
    let mut world = World::new(led_by_peer(), stopped);
    world.peer = Some(writes());
    world.refuses = |action| compared(action, Lineage::Tail { count: 1, rewindable: true });
    world.held_by_peer();
    world.run(4_000);
    let count = |wanted: fn(&DatabaseStep) -> bool| world.count(|a| is(a, wanted));
    assert_eq!(count(|step| matches!(step, DatabaseStep::Rewind { .. })), 1);
    assert_eq!(count(|step| matches!(step, DatabaseStep::Follow { .. })), 1);
    assert_eq!(count(|step| matches!(step, DatabaseStep::Reclone { .. })), 0);
}
