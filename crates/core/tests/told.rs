//! What operators read of a node is so: what it says of itself ends when it is over, and is not said when it is not
//! known.

mod world;

use regent_core::command::{Action, DatabaseStep, GateStep, Lineage};
use regent_core::id::Incarnation;
use regent_core::node::Input;
use regent_core::observe::{DatabaseFacts, Thread, UnitState};
use regent_core::state::DataCopy;
use world::bench::{ME, PEER, at_rest};
use world::{World, compared, denied, fails, is, led_by_peer, obeys, writes};

/// The copy beside the peer's, which serves.
fn standby() -> World {
    let mut state = led_by_peer();
    state.sync.with = Some(DataCopy { node: ME, incarnation: Incarnation(11) });
    let facts = DatabaseFacts {
        mark: true,
        source: Some(PEER),
        receiver: Thread::Running,
        applier: Thread::Running,
        strict: false,
        ..at_rest()
    };
    let mut world = World::new(state, facts);
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

fn concerns(world: &World) -> Vec<String> {
    world.node.status(world.now).concerns
}

#[test]
fn a_standby_whose_database_is_down_does_not_say_that_it_is_eligible() {
    let mut world = standby();
    assert!(world.why().contains("this node is eligible"), "{}", world.why());
    world.hangs = |action| is(action, |step| matches!(step, DatabaseStep::Start));
    world.facts = None;
    world.feed(Input::DatabaseUnit(UnitState::Down));
    lead(&mut world, 200);
    assert!(!world.why().contains("is eligible"), "{}", world.why());
    assert!(world.why().contains("does not know its own data"), "{}", world.why());
}

#[test]
fn a_standby_that_hears_no_majority_says_what_it_was_when_it_last_did() {
    let mut world = standby();
    world.hangs = |action| matches!(action, Action::Read | Action::Propose { .. });
    world.peer = None;
    world.run(3_000);
    assert!(!world.why().contains("this node is eligible"), "{}", world.why());
    assert!(
        world.why().contains("was eligible when the register was last read"),
        "{}",
        world.why()
    );
}

#[test]
fn starts_that_failed_are_no_concern_once_the_database_answers() {
    let mut world = standby();
    world.refuses = |action| fails(action, |step| matches!(step, DatabaseStep::Start));
    let facts = world.facts.take();
    world.feed(Input::DatabaseUnit(UnitState::Down));
    lead(&mut world, 3_000);
    assert!(concerns(&world).iter().any(|text| text.contains("starting it has failed")));
    // Somebody else started it.
    world.facts = facts;
    world.feed(Input::DatabaseUnit(UnitState::Up { start: 2 }));
    lead(&mut world, 300);
    assert_eq!(concerns(&world), Vec::<String>::new());
}

#[test]
fn copies_one_after_the_other_are_no_concern_once_the_last_one_is_the_recorded_one() {
    let mut world = standby();
    // A tail is saved at once; a copy is as the world has it.
    world.refuses = |action| {
        let is_copy = is(action, |step| matches!(step, DatabaseStep::Reclone { .. }));
        compared(action, Lineage::Foreign).filter(|_| !is_copy)
    };
    for _ in 0..5 {
        world.state.sync.with = None;
        world.facts = Some(DatabaseFacts { incarnation: None, ..at_rest() });
        lead(&mut world, 8_000);
    }
    let told =
        |world: &World| concerns(world).iter().any(|text| text.contains("one after the other"));
    assert!(told(&world), "{:?}", concerns(&world));
    let incarnation = world.facts.as_ref().and_then(|facts| facts.incarnation).expect("a copy");
    world.state.sync.with = Some(DataCopy { node: ME, incarnation });
    lead(&mut world, 500);
    assert!(!told(&world), "{:?}", concerns(&world));
}

#[test]
fn somebody_else_who_answers_for_the_vip_is_a_concern_until_it_is_gone() {
    let mut world = World::serving();
    world.feed(Input::Stranger { mac: [2, 0, 0, 0, 0, 9] });
    assert!(concerns(&world).iter().any(|text| text.contains("02:00:00:00:00:09")));
    world.run(6_000);
    assert_eq!(concerns(&world), Vec::<String>::new());
}

/// An heir to be whose kernel refuses to arm: without a pause its thread did nothing else any more.
#[test]
fn a_succession_whose_gate_cannot_be_armed_is_tried_with_a_pause_and_told() {
    let mut world = standby();
    world.refuses = |action| matches!(action, Action::Gate(GateStep::Arm { .. })).then(denied);
    world.peer = None;
    world.run(5_000);
    let arms = world.count(|action| matches!(action, Action::Gate(GateStep::Arm { .. })));
    assert!((3..=14).contains(&arms), "asked {arms} times in 5 s");
    assert!(concerns(&world).iter().any(|text| text.contains("arm the gate")), "{}", world.why());
    world.refuses = obeys;
    world.run(2_000);
    assert_eq!(world.state.lease.holder, ME, "{}", world.why());
}
