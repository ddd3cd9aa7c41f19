//! The shared directory is lost for a node: it hangs, or every access fails (ADR 0040).

use super::*;
use regent_core::stack::DataLost;

const WHY: &str = "the shared directory /d does not answer";

fn lose(world: &mut World, id: NodeId, hangs: bool) {
    let uses = matches!(world.state.data, Data::InUse { node, .. } if node == id);
    world.host(id).unsettled |= hangs && uses;
    let lost = DataLost { hangs, why: WHY.into(), age: Span::ZERO };
    world.feed(id, Input::SharedData(Some(lost)));
}

fn answers(world: &mut World, id: NodeId) {
    world.host(id).unsettled = false;
    world.feed(id, Input::SharedData(None));
}

/// What `status` of this node says of itself.
fn concerns(world: &World, id: NodeId) -> String {
    world.hosts[&id].node.status(world.time()).concerns.join("; ")
}

fn serves(world: &World, id: NodeId) -> bool {
    world.hosts[&id].node.status(world.time()).serving
}

#[test]
fn by_hand_a_directory_that_hangs_is_said_and_nothing_is_stopped() {
    for mut world in [World::new(Failover::ByHand), World::pair()] {
        world.asked(A, 1, ACTIVATE);
        lose(&mut world, A, true);
        world.pass(60_000);
        assert!(serves(&world, A) && world.is_up(A), "{}", world.log(A));
        let said = concerns(&world, A);
        assert!(said.starts_with(&format!("{WHY} for 60 s")), "{said}");
        assert!(said.contains("on b: regent activate --confirm-peer-is-off a"), "{said}");
        answers(&mut world, A);
        assert_eq!(concerns(&world, A), "");
        assert!(
            world.log(A).contains("data.answers: the shared directory answers again, after 60 s")
        );
    }
}

#[test]
fn a_directory_that_hangs_under_the_active_is_left_by_a_fence_at_once() {
    let mut world = World::new(Failover::Automatic);
    world.fence = Fenced::Confirmed("off".into());
    world.asked(A, 1, ACTIVATE);
    lose(&mut world, A, true);
    world.pass(3_900);
    assert!(serves(&world, A), "within its patience");
    assert!(concerns(&world, A).contains("after 4 s the stack moves to b"));
    world.pass(4_000);
    assert!(world.is_up(B), "{}", world.log(B));
    assert_eq!(world.hosts[&B].fences, 1);
    assert!(world.log(A).contains("data.left"), "{}", world.log(A));
}

#[test]
fn nothing_is_left_for_a_node_that_has_lost_the_directory_too() {
    let mut world = World::new(Failover::Automatic);
    world.fence = Fenced::Confirmed("off".into());
    world.asked(A, 1, ACTIVATE);
    lose(&mut world, B, true);
    lose(&mut world, A, true);
    world.pass(60_000);
    assert!(serves(&world, A), "one file server is lost for both: {}", world.log(A));
    assert_eq!(world.hosts[&B].fences, 0);
    answers(&mut world, B);
    world.pass(8_000);
    assert!(world.is_up(B), "{}", world.log(B));
}

#[test]
fn whoever_takes_over_has_looked_since_the_loss_was_reported() {
    let mut world = World::new(Failover::Automatic);
    world.fence = Fenced::Confirmed("off".into());
    world.asked(A, 1, ACTIVATE);
    world.pass(1_000);
    // Its look does not come back: the directory hangs there too, and that is not noticed yet.
    world.ask(B, 9, Request::MayActivate { word: None });
    let looks = std::mem::take(&mut world.host(B).later);
    assert!(!looks.is_empty());
    lose(&mut world, A, true);
    world.pass(10_000);
    assert_eq!(world.hosts[&B].fences, 0, "{}", world.log(B));
    world.host(B).later = looks;
    world.pass(10_000);
    assert!(world.is_up(B), "{}", world.log(B));
}

#[test]
fn without_a_proof_nothing_that_hangs_is_left() {
    let mut world = World::new(Failover::Automatic);
    let mut unfenced = spec(Failover::Automatic, false);
    unfenced.stack.as_mut().unwrap().fenced = false;
    for id in [A, B] {
        let node = world.agent(id, &unfenced, 1);
        world.host(id).node = node;
    }
    world.pass(500);
    world.asked(A, 1, ACTIVATE);
    lose(&mut world, A, true);
    world.pass(60_000);
    assert!(serves(&world, A), "{}", world.log(A));
    assert!(concerns(&world, A).contains("--confirm-peer-is-off a"));
    // What hung and fails now may still have writes under way.
    lose(&mut world, A, false);
    world.pass(10_000);
    assert!(serves(&world, A), "{}", world.log(A));
    // What only fails can be taken down, and is vacated by itself.
    answers(&mut world, A);
    world.pass(6_000);
    lose(&mut world, A, false);
    world.pass(10_000);
    assert!(world.is_up(B) && world.is_down(A), "{}", world.log(B));
}

#[test]
fn what_hangs_is_not_vacated_though_everything_is_down_until_it_answers() {
    let mut world = World::new(Failover::Automatic);
    world.asked(A, 1, ACTIVATE);
    lose(&mut world, A, true);
    world.pass(10_000);
    assert!(world.is_down(A), "{}", world.log(A));
    assert!(world.is_down(B), "the fence confirms nothing");
    assert!(matches!(world.state.data, Data::InUse { node: A, .. }), "{:?}", world.state.data);
    answers(&mut world, A);
    world.pass(4_000);
    assert!(world.is_up(B), "{}", world.log(B));
}

#[test]
fn a_deactivation_of_what_hangs_ends_with_the_reason_and_goes_on_when_it_answers() {
    let mut world = World::new(Failover::ByHand);
    world.asked(A, 1, ACTIVATE);
    lose(&mut world, A, true);
    let failed = world.asked(A, 2, Request::Deactivate);
    assert_eq!(obstacle(&failed), Some(Obstacle::StepFailed), "{failed:?}");
    assert!(format!("{failed:?}").contains("may still have writes"), "{failed:?}");
    let moved = world.asked(A, 3, Request::Switchover { to: Some(B) });
    assert!(!matches!(moved, Answer::Done(_)), "{moved:?}");
    answers(&mut world, A);
    let done = world.asked(A, 4, Request::Deactivate);
    assert!(matches!(done, Answer::Done(_)), "{done:?}");
    assert!(matches!(world.state.data, Data::Clear));
}

#[test]
fn a_standby_that_lost_the_directory_is_no_target_and_says_why() {
    let mut world = World::new(Failover::Automatic);
    world.fence = Fenced::Confirmed("off".into());
    world.asked(A, 1, ACTIVATE);
    lose(&mut world, B, true);
    world.pass(500);
    let seen = world.hosts[&A].node.status(world.time());
    let report = seen.peers[0].report.as_ref().unwrap().stack.as_ref().unwrap();
    assert_eq!(report.problems, [WHY]);
    let refused = world.asked(A, 2, Request::Switchover { to: Some(B) });
    assert!(format!("{refused:?}").contains(WHY), "{refused:?}");
    world.power_off(A);
    world.pass(10_000);
    assert!(world.is_down(B), "{}", world.log(B));
    answers(&mut world, B);
    world.pass(4_000);
    assert!(world.is_up(B), "{}", world.log(B));
}

#[test]
fn what_waits_for_a_lost_directory_is_not_restarted() {
    let mut world = with_units(Failover::Automatic);
    lose(&mut world, B, true);
    lose(&mut world, A, true);
    world.unit(A, 0, UnitState::Down, false);
    world.pass(20_000);
    assert!(!world.log(A).contains("asked: "), "{}", world.log(A));
    answers(&mut world, A);
    world.pass(2_000);
    assert!(world.log(A).contains("asked: Start 0"), "{}", world.log(A));
}

#[test]
fn an_agent_that_begins_again_beside_a_directory_that_hangs_keeps_its_stack() {
    let mut world = World::new(Failover::ByHand);
    world.asked(A, 1, ACTIVATE);
    world.restart(A, 1);
    lose(&mut world, A, true);
    world.pass(20_000);
    assert!(world.is_up(A), "{}", world.log(A));
    assert!(concerns(&world, A).contains(WHY));
    answers(&mut world, A);
    world.pass(2_000);
    assert!(serves(&world, A) && world.is_up(A), "{}", world.log(A));
}

#[test]
fn an_activation_during_which_the_directory_hangs_ends_with_the_reason() {
    let mut world = World::new(Failover::ByHand);
    world.ask(A, 1, ACTIVATE);
    world.pass(200);
    assert!(!world.is_down(A) && !world.is_up(A));
    world.host(A).broken_up = Some(3);
    lose(&mut world, A, true);
    world.pass(10_000);
    let answer = world.answers.get(&1).cloned();
    assert_eq!(answer.as_ref().and_then(obstacle), Some(Obstacle::NotRolledBack), "{answer:?}");
    answers(&mut world, A);
    world.pass(2_000);
    assert!(matches!(world.state.data, Data::Clear), "{:?}", world.state.data);
}
