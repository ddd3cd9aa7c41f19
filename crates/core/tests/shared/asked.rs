//! In which order an activation is refused, what a repair counts in, and how long a failure is told.

use super::*;

#[test]
fn a_repair_brings_up_what_an_activation_left_out() {
    let mut world = World::new(Failover::ByHand);
    world.host(A).broken_up = Some(TFTP);
    world.asked(A, 1, ACTIVATE);
    let failed = world.asked(A, 2, Request::Repair);
    assert_eq!(obstacle(&failed), Some(Obstacle::StepFailed), "{failed:?}");
    assert!(!world.log(A).contains("stack.whole"), "{}", world.log(A));
    world.host(A).broken_up = None;
    let repaired = world.asked(A, 3, Request::Repair);
    assert!(matches!(repaired, Answer::Done(_)), "{repaired:?}");
    assert!(world.hosts[&A].up[TFTP]);
    let told = "tftp came up after all: every step of the stack is up";
    assert!(world.log(A).contains(told), "{}", world.log(A));
    // What left it degraded is forgotten: the next activation has all of it.
    world.asked(A, 4, Request::Deactivate);
    let again = world.asked(A, 5, ACTIVATE);
    assert!(matches!(again, Answer::Done(_)), "{again:?}");
}

#[test]
fn the_checks_come_before_the_register_and_the_register_before_the_segment() {
    let mut world = World::new(Failover::ByHand);
    let ask = |world: &mut World, request, what| obstacle(&world.asked(A, request, what));
    let may = |word| Request::MayActivate { word };
    let stranger = Input::Stranger { mac: [2, 9, 9, 9, 9, 9] };
    world.asked(B, 1, ACTIVATE);
    world.host(A).problems = vec!["there is no interface eth7 on this node".into()];
    // Somebody answers for the address, another node is active, and a check fails.
    for (request, what) in [(2, ACTIVATE), (3, may(None)), (4, may(Some(Word::IsOff(B))))] {
        world.feed(A, stranger.clone());
        assert_eq!(ask(&mut world, request, what.clone()), Some(Obstacle::Checks), "{what:?}");
    }
    world.host(A).problems.clear();
    for (request, what) in [(5, ACTIVATE), (6, may(None)), (7, may(Some(Word::IsOff(B))))] {
        world.feed(A, stranger.clone());
        let obstacle = ask(&mut world, request, what.clone());
        assert_eq!(obstacle, Some(Obstacle::ActiveElsewhere), "{what:?}");
    }
    world.asked(B, 8, Request::Deactivate);
    for (request, what) in [(9, ACTIVATE), (10, may(None))] {
        world.feed(A, stranger.clone());
        assert_eq!(
            ask(&mut world, request, what.clone()),
            Some(Obstacle::AddressInUse),
            "{what:?}"
        );
    }
    // Of two voters one is dead: the checks come first all the same.
    let mut world = World::pair();
    world.power_off(B);
    world.host(A).problems = vec!["there is no interface eth7 on this node".into()];
    world.pass(10_000);
    assert_eq!(ask(&mut world, 1, may(None)), Some(Obstacle::Checks));
    world.host(A).problems.clear();
    assert_eq!(ask(&mut world, 2, may(None)), Some(Obstacle::NoQuorum));
}

/// What its peer is told of why it failed.
fn failure(world: &World, id: NodeId) -> Option<String> {
    world.hosts[&id].node.status(world.time()).stack.and_then(|stack| stack.failure)
}

#[test]
fn a_failed_activation_is_told_until_the_next_one() {
    let mut world = World::new(Failover::ByHand);
    world.host(A).broken_up = Some(2);
    world.asked(A, 1, ACTIVATE);
    world.pass(20_000);
    assert!(world.is_down(A));
    let why = failure(&world, A);
    assert!(why.as_deref().is_some_and(|why| why.contains("database failed")), "{why:?}");
    world.asked(B, 2, ACTIVATE);
    world.pass(20_000);
    assert!(failure(&world, A).is_some(), "it may have to take over");
    world.asked(B, 3, Request::Deactivate);
    world.asked(A, 4, ACTIVATE);
    assert!(failure(&world, A).is_some());
    world.asked(A, 5, Request::Deactivate);
    assert_eq!(failure(&world, A), None, "it is left down");
    world.asked(A, 6, ACTIVATE);
    assert!(failure(&world, A).is_some());
    world.host(A).broken_up = None;
    world.asked(A, 7, ACTIVATE);
    assert_eq!(failure(&world, A), None, "it is up");
    // What did not go down and is up again is no matter either.
    world.host(A).broken_down = Some(2);
    world.asked(A, 8, Request::Deactivate);
    assert!(failure(&world, A).is_some_and(|why| why.contains("does not go down")));
    let again = world.asked(A, 9, ACTIVATE);
    assert!(matches!(again, Answer::Done(_)), "{again:?}");
    assert_eq!(failure(&world, A), None);
}
