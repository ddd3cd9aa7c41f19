//! Proof of the harness: five mistakes of the protocol's section 10, planted in the core, are each caught by the sweep,
//! and the very seeds that catch them are clean without.
#![cfg(feature = "planted")]

use regent_core::planted::Planted;
use regent_core::spec::Spec;
use regent_sim::agent::core;
use regent_sim::log::Log;
use regent_sim::run::run_seed;
use regent_sim::world::default_spec;

/// Runs seeds until one fails, and tells which property caught it; that seed must be clean without the mistake.
fn expect_caught(planted: Planted, seeds: std::ops::Range<u64>, by: &[&str]) {
    let spec = Spec { planted: Some(planted), ..default_spec() };
    let caught = seeds.clone().find_map(|seed| {
        let violation = run_seed(seed, core, &spec, Log::quiet()).violation?;
        Some((seed, violation))
    });
    let Some((seed, violation)) = caught else {
        panic!("{planted:?} was not caught by seeds {seeds:?}");
    };
    assert!(by.contains(&violation.id), "{planted:?} was caught by {violation}");
    let clean = run_seed(seed, core, &default_spec(), Log::quiet());
    assert_eq!(clean.violation, None, "seed {seed} fails without the mistake as well");
}

#[test]
fn a_slot_enabled_for_an_earlier_win_is_caught() {
    expect_caught(Planted::SlotForEarlierWin, 1..2000, &["V1", "V8"]);
}

#[test]
fn a_right_counted_from_a_read_is_caught() {
    expect_caught(Planted::RightFromRead, 1..2000, &["V1", "V7", "V8"]);
}

#[test]
fn a_node_that_succeeds_out_of_sync_is_caught() {
    expect_caught(Planted::OutOfSyncSucceeds, 1..2000, &["V2", "V3", "V4", "V5", "V6"]);
}

#[test]
fn acknowledging_under_the_inherited_sync_is_caught() {
    expect_caught(Planted::InheritedSync, 1..2000, &["V3", "V4", "V5", "V6"]);
}

#[test]
fn going_loose_while_a_join_may_win_is_caught() {
    expect_caught(Planted::LooseWhileJoin, 1..2000, &["V3", "V5", "V6"]);
}
