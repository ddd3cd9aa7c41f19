//! Proof of the harness: mistakes of the protocol's section 10, planted in the core, are each caught by the sweep, and
//! the very seeds that catch them are clean without.
#![cfg(feature = "planted")]

use regent_core::planted::Planted;
use regent_core::spec::Spec;
use regent_sim::agent::core;
use regent_sim::log::Log;
use regent_sim::run::run_seed;
use regent_sim::shared::shared_spec;
use regent_sim::world::default_spec;

/// Runs seeds until one fails, and tells which property caught it; that seed must be clean without the mistake.
fn expect_caught(planted: Planted, seeds: std::ops::Range<u64>, by: &[&str]) {
    expect_caught_in(&default_spec(), planted, seeds, by);
}

/// The same with shared data: every mistake there ends in two users, or in one without a record.
fn expect_caught_by_v9(planted: Planted, seeds: std::ops::Range<u64>) {
    expect_caught_in(&shared_spec(), planted, seeds, &["V9"]);
}

fn expect_caught_in(base: &Spec, planted: Planted, seeds: std::ops::Range<u64>, by: &[&str]) {
    let spec = Spec { planted: Some(planted), ..base.clone() };
    let caught = seeds.clone().find_map(|seed| {
        let violation = run_seed(seed, core, &spec, Log::quiet()).violation?;
        Some((seed, violation))
    });
    let Some((seed, violation)) = caught else {
        panic!("{planted:?} was not caught by seeds {seeds:?}");
    };
    assert!(by.contains(&violation.id), "{planted:?} was caught by {violation}");
    let clean = run_seed(seed, core, base, Log::quiet());
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

#[test]
fn the_end_of_a_lease_taken_as_proof_is_caught() {
    expect_caught_by_v9(Planted::LeaseEndAsProof, 1..500);
}

#[test]
fn a_watchdog_whose_time_is_not_waited_out_is_caught() {
    expect_caught_by_v9(Planted::WatchdogLate, 1..1000);
}

#[test]
fn a_watchdog_that_is_armed_late_is_caught() {
    expect_caught_by_v9(Planted::ArmedLate, 600..1600);
}

#[test]
fn a_watchdog_that_is_fed_without_a_right_is_caught() {
    expect_caught_by_v9(Planted::FedWithoutRight, 600..1600);
}

#[test]
fn a_vacate_before_everything_is_down_is_caught() {
    expect_caught_by_v9(Planted::VacateBeforeStopped, 1..500);
}

#[test]
fn a_permit_kept_over_a_vacate_is_caught() {
    expect_caught_by_v9(Planted::PermitKept, 39..1000);
}

#[test]
fn a_fence_that_was_asked_for_before_the_succession_is_caught() {
    expect_caught_by_v9(Planted::FenceBeforeSuccession, 200..1200);
}

#[test]
fn a_fence_without_an_answer_taken_for_confirmed_is_caught() {
    expect_caught_by_v9(Planted::FenceUnknown, 1..1000);
}

#[test]
fn a_start_before_the_use_is_known_is_caught() {
    expect_caught_by_v9(Planted::StartBeforeOccupied, 1..500);
}

#[test]
fn an_heir_that_starts_before_it_rules_is_caught() {
    expect_caught_by_v9(Planted::StartBeforeRuling, 1..500);
}

#[test]
fn a_word_that_outlives_its_truth_is_caught() {
    expect_caught_by_v9(Planted::WordKept, 1..2000);
}
