//! Agent, database and host die between every two steps of every move, and the cluster gets over it.

use regent_core::spec::Spec;
use regent_sim::ambush::{DEATHS, Lost, MOVES, Move, SHARED_MOVES, STEPS_MAX, walk};
use regent_sim::host::MEMBERS;
use regent_sim::shared::shared_spec;
use regent_sim::world::default_spec;

/// Every death on both hosts, at each `stride`-th step. In a takeover one of them is off, and nothing is to be hit.
fn lost_in(spec: &Spec, moves: &[Move], stride: u64) -> Vec<Lost> {
    let walks: Vec<_> = moves
        .iter()
        .flat_map(|moving| MEMBERS.map(|host| (*moving, host)))
        .flat_map(|(moving, host)| DEATHS.map(|death| (moving, host, death)))
        .collect();
    std::thread::scope(|scope| {
        let threads: Vec<_> = walks
            .into_iter()
            .map(|(moving, host, death)| {
                scope.spawn(move || walk(spec, moving, host, death, stride))
            })
            .collect();
        let ended = threads.into_iter().map(|thread| thread.join().expect("a walk ends"));
        let walked: Vec<(u64, Vec<Lost>)> = ended.collect();
        let steps: u64 = walked.iter().map(|(steps, _)| steps).sum();
        assert!(walked.iter().all(|(steps, _)| *steps < STEPS_MAX), "a move has no end");
        assert!(steps > 300 / stride, "hardly anything was hit: {steps}");
        walked.into_iter().flat_map(|(_, lost)| lost).collect()
    })
}

#[test]
fn any_step_of_a_move_with_replicated_data_may_be_the_last() {
    assert_eq!(lost_in(&default_spec(), &MOVES, 11), []);
}

#[test]
fn any_step_of_a_move_with_shared_data_may_be_the_last() {
    assert_eq!(lost_in(&shared_spec(), &SHARED_MOVES, 4), []);
}
