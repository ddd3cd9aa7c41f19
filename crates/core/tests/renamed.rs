//! A writer whose log began anew (D12): what comes before its new name, what is never done for it, and when it has
//! none.

mod world;

use regent_core::command::{Action, DatabaseStep, Outcome, StepResult, SwapOutcome};
use regent_core::event::Severity;
use regent_core::id::Incarnation;
use regent_core::observe::DatabaseFacts;
use regent_core::state::DataCopy;
use world::bench::ME;
use world::{World, is};

/// Serving in sync, when somebody resets the log of its database; `waiting` commits wait for the replica.
fn reset(waiting: u32) -> World {
    let mut world = World::serving();
    let facts = world.facts.as_mut().expect("it runs");
    let was = facts.incarnation.take().into_iter().collect();
    *facts = DatabaseFacts { was, waiting, ..facts.clone() };
    world
}

fn renames(action: &Action) -> bool {
    is(action, |step| matches!(step, DatabaseStep::Rename { .. }))
}

fn kills(action: &Action) -> bool {
    is(action, |step| matches!(step, DatabaseStep::Kill | DatabaseStep::ReadOnly))
}

/// The steps that change the database, in order.
fn steps(world: &World) -> Vec<&'static str> {
    let changes = |action: &Action| {
        let Action::Database(step) = action else { return None };
        let looks = matches!(step, DatabaseStep::Observe { .. } | DatabaseStep::Marker { .. });
        (!looks).then(|| step.words())
    };
    world.asked.iter().filter_map(changes).collect()
}

#[test]
fn it_goes_on_alone_first_then_nothing_waits_then_it_is_named_and_serves() {
    let mut world = reset(2);
    let old = world.state.sync.writer;
    world.refuses = |action| {
        let result = StepResult::Failed("not yet".into());
        renames(action).then_some(Outcome::Database { result, facts: None })
    };
    world.run(500);
    assert_eq!(world.state.sync.writer, old, "the old name is recorded while there is no other");
    assert_eq!(world.state.sync.with, None, "alone before anything is loosened");
    let expected = ["letting commits go without a replica", "giving its data a new name"];
    assert_eq!(steps(&world)[..2], expected);
    world.facts.as_mut().expect("it runs").waiting = 0;
    (world.refuses, world.asked) = (world::obeys, Vec::new());
    world.run(2_000);
    let named = world.facts.as_ref().and_then(|facts| facts.incarnation).expect("a name");
    assert_ne!(named, old.incarnation);
    assert_eq!(world.state.sync.writer, DataCopy { node: ME, incarnation: named });
    assert!(world.is_open(), "{}", world.why());
    assert_eq!(steps(&world)[..2], ["giving its data a new name", "turning it writable"]);
    assert_eq!(world.told("data.renamed"), [Severity::Alarm]);
    assert_eq!(world.told("data.named"), [Severity::Warning]);
    assert_eq!(world.count(kills), 0);
}

#[test]
fn what_holds_read_only_up_is_told_and_the_server_lives() {
    let mut world = reset(0);
    world.refuses = |action| {
        let result = StepResult::Blocked;
        renames(action).then_some(Outcome::Database { result, facts: None })
    };
    world.run(20_000);
    let tries = world.count(renames);
    assert!((3..40).contains(&tries), "{tries} tries in 20 s");
    assert_eq!(world.count(kills), 0);
    assert!(!world.is_open());
    assert!(world.why().contains("holds read-only up"), "{}", world.why());
    world.refuses = world::obeys;
    world.run(3_000);
    assert!(world.is_open(), "{}", world.why());
}

#[test]
fn without_a_quorum_it_is_named_and_waits_to_be_recorded() {
    let mut world = reset(0);
    world.refuses = |action| {
        let proposed = matches!(action, Action::Propose { .. });
        proposed.then_some(Outcome::Swap(SwapOutcome::Unknown))
    };
    let old = world.state.sync.writer;
    world.run(5_000);
    assert!(world.facts.as_ref().is_some_and(|facts| facts.incarnation.is_some()));
    assert_eq!((world.state.sync.writer, world.is_open()), (old, false));
    // Once more, before anybody could record the first new name.
    let facts = world.facts.as_mut().expect("it runs");
    let before = facts.incarnation.take();
    facts.was = before.into_iter().chain(facts.was.iter().copied()).collect();
    world.run(2_000);
    world.refuses = world::obeys;
    world.run(3_000);
    assert!(world.is_open(), "{}", world.why());
    let named = world.facts.as_ref().and_then(|facts| facts.incarnation).expect("a name");
    assert_eq!(world.state.sync.writer, DataCopy { node: ME, incarnation: named });
}

#[test]
fn data_of_which_nothing_is_shown_and_data_that_are_not_the_recorded_ones_get_no_name() {
    for was in [vec![], vec![Incarnation(77)]] {
        let mut world = reset(0);
        world.facts.as_mut().expect("it runs").was = was.into();
        world.run(5_000);
        assert_eq!(world.count(renames), 0);
        assert!(!world.is_open());
        assert_eq!(world.told("data.not-recorded"), [Severity::Alarm]);
    }
}
