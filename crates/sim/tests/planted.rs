//! Proof of the harness: mistakes of the protocol's section 10, planted in the core, are each caught by the sweep, and
//! the very seeds that catch them are clean without.
#![cfg(feature = "planted")]

use regent_core::invariant::Violation;
use regent_core::planted::Planted;
use regent_core::spec::Spec;
use regent_sim::agent::core;
use regent_sim::ambush::{Ambush, Death, Move, play};
use regent_sim::fault::kind_of;
use regent_sim::host::MEMBERS;
use regent_sim::log::Log;
use regent_sim::rng::Rng;
use regent_sim::run::run_seed_with;
use regent_sim::shared::{Setting, shared_spec};
use regent_sim::world::default_spec;

/// How many times a kind of fault that is drawn more often is there beside all others.
const MORE: usize = 24;
/// A mistake that is seen less often than once in so many runs is not looked for by chance: its kind of fault is drawn
/// more often, or only runs are taken in which it can be seen.
const RUNS: usize = 1_000;

/// In which runs a mistake is looked for.
struct Runs {
    spec: Spec,
    with: Vec<u64>,
    fits: fn(&Setting) -> bool,
}

impl Runs {
    fn replicated() -> Runs {
        Runs { spec: default_spec(), with: Vec::new(), fits: |_| true }
    }

    /// With shared data; only in settings like these.
    fn shared(fits: fn(&Setting) -> bool) -> Runs {
        Runs { spec: shared_spec(), with: Vec::new(), fits }
    }

    /// A kind of fault without which there is little to see is drawn more often.
    fn with(self, fault: &str) -> Runs {
        let kind = kind_of(fault, self.spec.stack.is_some()).expect("it has that name");
        Runs { with: vec![kind; MORE], ..self }
    }

    fn run(&self, seed: u64, spec: &Spec) -> Option<Violation> {
        run_seed_with(seed, core, spec, &self.with, Log::quiet()).violation
    }

    /// Runs seeds until one fails by one of these properties; that seed must be clean without the mistake.
    fn expect_caught(&self, planted: Planted, by: &[&str]) {
        let spec = Spec { planted: Some(planted), ..self.spec.clone() };
        let is_shared = spec.stack.is_some();
        let fits = |seed: &u64| !is_shared || (self.fits)(&Setting::draw(&mut Rng::new(*seed)));
        let seeds = (1..).filter(fits).take(RUNS);
        // By something else it may be seen as well, and first.
        let is_caught = |seed| self.run(seed, &spec).is_some_and(|found| by.contains(&found.id));
        let Some((n, seed)) = (1..).zip(seeds).find(|(_, seed)| is_caught(*seed)) else {
            panic!("{planted:?} was not caught by {by:?} in {RUNS} runs");
        };
        println!("{planted:?} was caught in run {n}, seed {seed}");
        let clean = self.run(seed, &self.spec);
        assert_eq!(clean, None, "seed {seed} fails without the mistake as well");
    }

    /// With shared data every mistake ends in two users, or in one without a record.
    fn expect_caught_by_v9(&self, planted: Planted) {
        self.expect_caught(planted, &["V9"]);
    }
}

fn any(_: &Setting) -> bool {
    true
}

/// A silent host is proven clear by nothing but its watchdog.
fn by_watchdog(setting: &Setting) -> bool {
    setting.proving_watchdog().is_some() && !setting.fenced && !setting.by_hand
}

/// Or by nothing but a fence.
fn by_fence(setting: &Setting) -> bool {
    setting.fenced && setting.watchdog.is_none() && !setting.by_hand
}

#[test]
fn a_slot_enabled_for_an_earlier_win_is_caught() {
    Runs::replicated().expect_caught(Planted::SlotForEarlierWin, &["V1", "V8"]);
}

#[test]
fn a_right_counted_from_a_read_is_caught() {
    Runs::replicated().expect_caught(Planted::RightFromRead, &["V1", "V7", "V8"]);
}

#[test]
fn a_node_that_succeeds_out_of_sync_is_caught() {
    Runs::replicated().expect_caught(Planted::OutOfSyncSucceeds, &["V2", "V3", "V4", "V5", "V6"]);
}

#[test]
fn acknowledging_under_the_inherited_sync_is_caught() {
    Runs::replicated().expect_caught(Planted::InheritedSync, &["V3", "V4", "V5", "V6"]);
}

#[test]
fn going_loose_while_a_join_may_win_is_caught() {
    Runs::replicated().expect_caught(Planted::LooseWhileJoin, &["V3", "V5", "V6"]);
}

#[test]
fn another_replica_that_confirms_unseen_is_caught() {
    Runs::replicated().with("foreign").expect_caught(Planted::AnotherConfirms, &["V3", "V4", "V5"]);
}

#[test]
fn strict_switched_off_and_on_again_under_clients_is_caught() {
    Runs::replicated().with("finite").expect_caught(Planted::StrictByOff, &["V3", "V5", "V6"]);
}

#[test]
fn a_lock_on_the_standby_that_no_status_tells_is_caught() {
    Runs::replicated().with("lock").expect_caught(Planted::LateUncounted, &["C1"]);
}

#[test]
fn a_peer_that_is_shown_as_it_was_when_it_was_last_heard_is_caught() {
    Runs::replicated().expect_caught(Planted::UnheardShown, &["C1", "C2"]);
}

#[test]
fn a_node_that_says_that_it_serves_without_a_look_at_its_gate_is_caught() {
    Runs::replicated().with("refuse").expect_caught(Planted::ServesUnlooked, &["C2"]);
}

#[test]
fn a_concern_that_is_told_for_ever_is_caught() {
    Runs::replicated().expect_caught(Planted::ConcernKept, &["C3"]);
}

#[test]
fn a_requested_stop_that_nobody_reports_as_such_is_caught() {
    Runs::replicated().with("stop-service").expect_caught(Planted::RequestUntold, &["A1"]);
    Runs::shared(any).with("stop-service").expect_caught(Planted::RequestUntold, &["A1"]);
}

#[test]
fn a_use_that_ends_before_its_writes_are_on_the_disk_is_caught() {
    Runs::shared(any).with("late-writes").expect_caught(Planted::WritesUnwaited, &["A2"]);
}

#[test]
fn a_right_that_is_told_as_if_it_had_just_begun_is_caught() {
    Runs::replicated().expect_caught(Planted::RightUncounted, &["C4"]);
}

#[test]
fn data_that_are_told_to_be_the_recorded_ones_without_a_look_are_caught() {
    Runs::replicated().expect_caught(Planted::EligibleOnce, &["C4"]);
}

#[test]
fn older_data_under_their_old_name_are_caught() {
    Runs::replicated().expect_caught(Planted::StartsNotCounted, &["V3", "V4", "V5"]);
}

#[test]
fn a_log_that_is_believed_to_be_of_these_data_whoever_put_them_there_is_caught() {
    Runs::replicated().expect_caught(Planted::RenamedAfterRestart, &["V3", "V4", "V5"]);
}

/// Two steps lie between the mark and the source: who dies there has nothing left that could be drained.
#[test]
fn a_drain_that_nobody_does_is_caught_by_a_death_between_two_steps() {
    let base = default_spec();
    let spec = Spec { planted: Some(Planted::DrainsUnmarked), ..base.clone() };
    let heir = MEMBERS[1];
    let caught = (0..400).find_map(|left| {
        let ambush = Ambush { host: heir, left, death: Death::Database };
        let (_, violation, _) = play(&spec, Move::Takeover, ambush, Log::quiet());
        Some((ambush, violation?))
    });
    let (ambush, violation) = caught.expect("some death between two steps is not survived");
    assert_eq!(violation.id, "V11");
    let (struck, clean, _) = play(&base, Move::Takeover, ambush, Log::quiet());
    assert!(struck && clean.is_none(), "it is not survived without the mistake either: {clean:?}");
}

#[test]
fn the_end_of_a_lease_taken_as_proof_is_caught() {
    Runs::shared(any).expect_caught_by_v9(Planted::LeaseEndAsProof);
}

#[test]
fn a_watchdog_whose_time_is_not_waited_out_is_caught() {
    Runs::shared(by_watchdog).expect_caught_by_v9(Planted::WatchdogLate);
}

#[test]
fn a_watchdog_that_is_armed_late_is_caught() {
    Runs::shared(by_watchdog).with("hit-coming-up").expect_caught_by_v9(Planted::ArmedLate);
}

#[test]
fn a_watchdog_that_is_fed_without_a_right_is_caught() {
    Runs::shared(by_watchdog).with("cannot-stop").expect_caught_by_v9(Planted::FedWithoutRight);
}

#[test]
fn a_vacate_before_everything_is_down_is_caught() {
    Runs::shared(any).expect_caught_by_v9(Planted::VacateBeforeStopped);
}

#[test]
fn a_permit_kept_over_a_vacate_is_caught() {
    Runs::shared(any).expect_caught_by_v9(Planted::PermitKept);
}

#[test]
fn a_fence_that_was_asked_for_before_the_succession_is_caught() {
    Runs::shared(by_fence).with("fence-late").expect_caught_by_v9(Planted::FenceBeforeSuccession);
}

#[test]
fn a_fence_without_an_answer_taken_for_confirmed_is_caught() {
    Runs::shared(by_fence).expect_caught_by_v9(Planted::FenceUnknown);
}

#[test]
fn a_start_before_the_use_is_known_is_caught() {
    Runs::shared(any).expect_caught_by_v9(Planted::StartBeforeOccupied);
}

#[test]
fn an_heir_that_starts_before_it_rules_is_caught() {
    Runs::shared(any).expect_caught_by_v9(Planted::StartBeforeRuling);
}

#[test]
fn a_word_that_is_believed_although_the_host_answers_is_caught() {
    Runs::shared(any).with("word").expect_caught_by_v9(Planted::WordUnproven);
}
