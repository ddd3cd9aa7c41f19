//! A standby whose data are to be copied anew: who may ask for it, what comes first, and what a copy that fails costs.

mod world;

use regent_core::command::{Action, Answer, DatabaseStep, Lineage, Outcome, Request, StepResult};
use regent_core::event::Severity;
use regent_core::id::{Incarnation, NodeId, RequestId};
use regent_core::node::Input;
use regent_core::observe::{
    Compared, Comparison, DatabaseFacts, DatabaseReport, Thread, UnitState,
};
use regent_core::state::DataCopy;
use regent_core::time::Span;
use world::bench::{ME, PEER, at_rest, follows};
use world::{World, compared, is, led_by_peer, obeys, starts, with_peer, writes};

/// This node's database, following the peer.
fn following() -> DatabaseFacts {
    DatabaseFacts {
        mark: true,
        source: Some(PEER),
        receiver: Thread::Running,
        applier: Thread::Running,
        strict: false,
        ..at_rest()
    }
}

/// A standby of the peer; `with`: the record counts on it.
fn standby(with: bool) -> World {
    let mut state = led_by_peer();
    if with {
        state.sync.with = Some(DataCopy { node: ME, incarnation: Incarnation(11) });
    }
    let mut world = World::new(state, following());
    world.peer = Some(writes());
    lead(&mut world, 1_000);
    world.asked.clear();
    world
}

/// For so long the peer renews its right.
fn lead(world: &mut World, ms: u64) {
    for _ in 0..ms / 100 {
        world.held_by_peer();
        world.run(100);
    }
}

fn resync(world: &mut World, node: NodeId) {
    let what = Request::Resync { node, in_place: false };
    world.feed(Input::Operator { request: RequestId(1), what });
}

fn copies(action: &Action) -> bool {
    is(action, |step| matches!(step, DatabaseStep::Reclone { .. }))
}

fn distrusts(action: &Action) -> bool {
    is(action, |step| matches!(step, DatabaseStep::Distrust { .. }))
}

fn looks(action: &Action) -> bool {
    is(action, |step| matches!(step, DatabaseStep::MayCopy { .. }))
}

fn refusal(world: &World) -> &str {
    match world.answers.last() {
        Some(Answer::Refused { reason, .. }) => reason,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_copy_by_an_operators_word_waits_until_the_record_counts_on_the_old_data_no_more() {
    let mut world = standby(true);
    world.refuses = |action| compared(action, Lineage::Part).filter(|_| !copies(action));
    resync(&mut world, ME);
    lead(&mut world, 1_000);
    assert_eq!(world.count(looks), 1, "whether a copy can be taken comes first");
    assert_eq!(world.count(distrusts), 0, "the record still names them");
    assert!(world.sent.as_ref().is_some_and(|report| report.leaving), "it says that it leaves");
    assert!(world.answers.is_empty());
    // The peer goes on alone.
    world.state.sync.with = None;
    lead(&mut world, 1_000);
    let place = |wanted: fn(&Action) -> bool| world.asked.iter().position(wanted);
    let saves: fn(&Action) -> bool = |a| is(a, |s| matches!(s, DatabaseStep::SaveTail { .. }));
    let (nameless, saved, copied) = (place(distrusts), place(saves), place(copies));
    assert!(nameless.is_some() && nameless < saved && saved < copied, "{}", world.why());
    assert!(matches!(world.answers[..], [Answer::Done(_)]), "{:?}", world.answers);
    assert!(!world.sent.as_ref().is_some_and(|report| report.leaving));
}

#[test]
fn without_room_nothing_of_a_healthy_standby_is_touched() {
    let mut world = standby(true);
    world.refuses = |action| {
        let result = StepResult::Failed("no room for a second copy".into());
        looks(action).then_some(Outcome::Database { result, facts: None })
    };
    resync(&mut world, ME);
    lead(&mut world, 3_000);
    assert!(refusal(&world).contains("no room"), "{}", refusal(&world));
    assert!(!world.sent.as_ref().is_some_and(|report| report.leaving));
    assert_eq!(world.count(distrusts) + world.count(copies), 0);
}

#[test]
fn a_copy_that_nobody_makes_way_for_is_given_up_and_told() {
    let mut world = standby(true);
    resync(&mut world, ME);
    lead(&mut world, 3_000);
    assert!(world.why().contains("waits until the active node goes on alone"), "{}", world.why());
    lead(&mut world, 5_000);
    assert!(matches!(world.answers[..], [Answer::Failed { .. }]), "{:?}", world.answers);
    // Later it is nobody's wish any more.
    world.state.sync.with = None;
    lead(&mut world, 3_000);
    assert_eq!(world.count(distrusts), 0);
}

#[test]
fn a_copy_is_refused_where_there_is_none_to_take() {
    let mut world = standby(false);
    resync(&mut world, PEER);
    assert!(refusal(&world).contains("--node mn2"), "{}", refusal(&world));
    world.peer = None;
    lead(&mut world, 1_000);
    resync(&mut world, ME);
    assert!(refusal(&world).contains("nobody to copy from"), "{}", refusal(&world));
    let mut world = World::serving();
    resync(&mut world, ME);
    assert!(refusal(&world).contains("switchover first"), "{}", refusal(&world));
}

#[test]
fn a_standby_that_leaves_is_let_go_at_once_and_not_taken_in() {
    let mut world = World::serving();
    world.alters = |report| report.leaving = true;
    world.run(200);
    assert_eq!(world.state.sync.with, None, "{}", world.why());
    world.run(3_000);
    assert_eq!(world.state.sync.with, None, "{}", world.why());
    world.alters = |_| {};
    world.run(3_000);
    assert!(world.state.sync.with.is_some(), "{}", world.why());
}

#[test]
fn data_with_other_rows_are_no_candidate_until_they_were_copied() {
    let mut world = World::serving();
    let last = Compared {
        with: Incarnation(22),
        age: Span::millis(1_000),
        differs: true,
        text: "app.t: differing (a=1)".into(),
    };
    let comparison = Comparison { under_way: None, last: Some(last) };
    world.facts.as_mut().expect("it runs").comparison = Some(Box::new(comparison));
    world.run(3_000);
    assert_eq!(world.state.sync.with, None, "{}", world.why());
    assert_eq!(world.told("database.differs"), [Severity::Alarm]);
    let told = world.sent.as_ref().and_then(|report| report.distrusts);
    assert_eq!(told, Some(Incarnation(22)));
    world.peer = Some(follows(Incarnation(23)));
    world.run(3_000);
    let with = DataCopy { node: PEER, incarnation: Incarnation(23) };
    assert_eq!(world.state.sync.with, Some(with), "{}", world.why());

    let mut world = standby(false);
    world.refuses = |action| compared(action, Lineage::Part);
    world.alters = |report| report.distrusts = Some(Incarnation(21));
    lead(&mut world, 1_000);
    assert_eq!(world.count(distrusts), 0, "that is about other data");
    world.alters = |report| report.distrusts = Some(Incarnation(11));
    lead(&mut world, 2_000);
    assert_eq!(world.count(distrusts), 1);
    assert!(world.count(copies) > 0, "{}", world.why());
}

#[test]
fn who_becomes_active_meanwhile_keeps_its_data() {
    let mut world = standby(true);
    resync(&mut world, ME);
    world.run(50);
    world.peer = None;
    world.run(5_000);
    assert!(world.is_open(), "{}", world.why());
    assert_eq!(world.count(distrusts), 0);
    assert!(matches!(world.answers[..], [Answer::Failed { .. }]), "{:?}", world.answers);
}

/// A start that fails at once, and a copy that fails.
fn broken(action: &Action) -> Option<Outcome> {
    let result = StepResult::Failed("it has no tables".into());
    (starts(action) || copies(action)).then_some(Outcome::Database { result, facts: None })
}

#[test]
fn a_database_that_does_not_come_up_is_copied_from_the_active_node_with_growing_pauses() {
    let mut world = standby(false);
    world.refuses = broken;
    world.facts = None;
    world.feed(Input::DatabaseUnit(UnitState::Down));
    lead(&mut world, 60_000);
    let (copied, started) = (world.count(copies), world.count(starts));
    assert!((4..=7).contains(&copied), "{copied} copies in a minute");
    assert!(started >= 5, "starts are tried on: {started}");
    assert_eq!(world.told("database.copy"), [Severity::Alarm]);
    assert!(world.why().contains("copying the writer's data has failed"), "{}", world.why());
    // A copy comes: it follows again.
    world.refuses = obeys;
    lead(&mut world, 60_000);
    assert!(world.count(|a| is(a, |s| matches!(s, DatabaseStep::Follow { .. }))) > 0);

    // Whose data the record counts on are not replaced, and nobody is copied from who is silent.
    for (with, peer) in [(true, Some(writes())), (false, None)] {
        let mut world = standby(with);
        world.refuses = broken;
        world.facts = None;
        world.peer = peer;
        world.feed(Input::DatabaseUnit(UnitState::Down));
        lead(&mut world, 20_000);
        assert_eq!(world.count(copies), 0);
        assert!(world.count(starts) > 3);
    }
}

#[test]
fn a_node_that_is_alone_starts_on_what_it_has() {
    let mut world = World::new(with_peer(), at_rest());
    world.refuses = broken;
    world.run(200);
    world.facts = None;
    world.feed(Input::DatabaseUnit(UnitState::Down));
    world.run(20_000);
    assert_eq!(world.count(copies), 0);
    world.refuses = obeys;
    assert!(world.count(starts) > 3);
}

fn compares(action: &Action) -> bool {
    is(action, |step| matches!(step, DatabaseStep::Verify { .. }))
}

/// The newest comparison, of these data of the standby, so many seconds ago.
fn compared_with(world: &mut World, with: Incarnation, age_s: u64) {
    let last = Compared {
        with,
        age: Span::millis(age_s * 1_000),
        differs: false,
        text: "equal: 3 tables, 10 rows".into(),
    };
    let comparison = Comparison { under_way: None, last: Some(last) };
    world.facts.as_mut().expect("it runs").comparison = Some(Box::new(comparison));
    world.asked.clear();
}

#[test]
fn both_copies_are_compared_when_due_when_renewed_and_when_asked() {
    const WEEK_S: u64 = 7 * 86_400;
    let mut world = World::serving();
    world.run(30_000);
    assert_eq!(world.count(compares), 1, "once, though nothing came out");
    compared_with(&mut world, Incarnation(22), 10);
    world.run(60_000);
    assert_eq!(world.count(compares), 0, "not due");
    compared_with(&mut world, Incarnation(22), WEEK_S);
    world.run(1_000);
    assert_eq!(world.count(compares), 1, "due");
    // Another name alone is no reason, a copy or a rewind is.
    compared_with(&mut world, Incarnation(21), 10);
    world.run(60_000);
    assert_eq!(world.count(compares), 0);
    world.peer = Some(DatabaseReport { renewed: true, ..follows(Incarnation(22)) });
    world.run(1_000);
    assert_eq!(world.count(compares), 1, "renewed");
    compared_with(&mut world, Incarnation(22), 10);
    let what = Request::Verify { duty: Some(50) };
    world.feed(Input::Operator { request: RequestId(1), what });
    world.run(1_000);
    assert!(
        world.asked.iter().any(|a| is(a, |s| matches!(s, DatabaseStep::Verify { duty: 50, .. })))
    );
    // One that does not come to its end is tried again with growing pauses, and told.
    world.refuses = |action| {
        let result = StepResult::Failed("the standby is not reached".into());
        compares(action).then_some(Outcome::Database { result, facts: None })
    };
    compared_with(&mut world, Incarnation(22), WEEK_S);
    world.run(600_000);
    let tries = world.count(compares);
    assert!((3..=6).contains(&tries), "{tries} tries in ten minutes");
    assert!(world.why().contains("the standby is not reached"), "{}", world.why());

    let mut world = standby(true);
    let what = Request::Verify { duty: None };
    world.feed(Input::Operator { request: RequestId(1), what });
    assert!(refusal(&world).contains("--node mn2"), "{}", refusal(&world));
}
