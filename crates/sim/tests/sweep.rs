//! The sweep of the gate, and the promise that one seed is one run. Longer ones are the simulator's own: by hand, and
//! with other seeds each night.

use regent_sim::agent::core;
use regent_sim::log::{Line, Log};
use regent_sim::run::{run_seed, sweep};
use regent_sim::shared::shared_spec;
use regent_sim::world::default_spec;

#[test]
fn three_hundred_seeds_are_safe_throughout_and_heal() {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let total = sweep(1, 300, cores, core, &default_spec(), 10);
    assert_eq!(total.failures, [], "cargo xtask sim repro SEED");
    assert_eq!(total.seeds, 300);
    assert!(total.epochs > 360, "hardly anything went wrong: {total:?}");
    assert!(total.acknowledged > 30_000, "hardly anything was written: {total:?}");
}

#[test]
fn three_hundred_seeds_of_shared_data_are_safe_throughout_and_heal() {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let total = sweep(1, 300, cores, core, &shared_spec(), 10);
    assert_eq!(total.failures, [], "cargo xtask sim repro SEED --shared");
    assert_eq!(total.seeds, 300);
    assert!(total.epochs > 500, "hardly anything went wrong: {total:?}");
    assert!(total.uses > 450, "hardly anything was started: {total:?}");
}

#[test]
fn one_seed_twice_gives_the_same_run_told_or_not() {
    let worlds = [default_spec(), shared_spec()];
    for (seed, spec) in
        [3, 14, 15].into_iter().flat_map(|seed| worlds.iter().map(move |s| (seed, s)))
    {
        let told = run_seed(seed, core, spec, Log::detailed());
        let again = run_seed(seed, core, spec, Log::detailed());
        let quiet = run_seed(seed, core, spec, Log::quiet());
        let lines = |log: &Log| log.lines.iter().map(Line::to_string).collect::<Vec<_>>();
        assert_eq!(lines(&told.log), lines(&again.log));
        assert_eq!((told.hash, told.hash), (again.hash, quiet.hash));
    }
}
