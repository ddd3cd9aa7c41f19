//! One seed of the shared-data world, from its first event to its verdict.

use super::deed::VOTERS;
use super::{Setting, draw_plan};
use crate::agent::Maker;
use crate::clock::Rates;
use crate::host::{HOSTS, MEMBERS, other_of};
use crate::log::Log;
use crate::rng::Rng;
use crate::run::{Outcome, hung_until, lift_wishes, until_well};
use crate::world::{Event, World};
use regent_core::command::Request;
use regent_core::invariant::{self, Violation};
use regent_core::role::Role;
use regent_core::spec::Spec;

const SECOND: u64 = 1_000_000_000;
/// The node that was activated first serves after this at the latest.
const WARM_UP: u64 = 12 * SECOND;
/// After the last fault somebody serves within this.
const HEALING: u64 = 60 * SECOND;
/// With one node gone, and proven off, the other one serves within this.
const ONE_GONE: u64 = 30 * SECOND;
/// And for this long.
const CALM: u64 = 2 * SECOND;

/// Runs one seed: the first activation, faults, healing.
pub fn run_shared(seed: u64, maker: Maker, base: &Spec, with: &[u64], log: Log) -> Outcome {
    let mut rng = Rng::new(seed);
    let drawn = Setting::draw(&mut rng);
    // Voters change only where there are two.
    let of_two = drawn.pair || with.contains(&VOTERS);
    let setting = Setting { pair: of_two, by_hand: drawn.by_hand || of_two, ..drawn };
    let mut world = World::new_shared(rng, maker, base, setting, log);
    world.log.tell(0, "-", "setting", || format!("{setting:?}"));
    prepare(&mut world);
    let first = world.rng.pick(&MEMBERS);
    world.run_until(SECOND / 2);
    world.request(first, Request::Activate { word: None });
    until_well(&mut world, WARM_UP, "the first activation did not come to its end");
    let mut healed_in = 0;
    if world.violation.is_none() {
        let start = world.now;
        let (faults, end) = draw_plan(with, &mut world.rng, setting, start);
        if world.rng.chance(300_000) {
            world.chaos.stall_ppm = world.rng.pick(&[200, 1_000, 3_000]);
        }
        if world.rng.chance(500_000) {
            world.chaos.hot_ppm = world.rng.pick(&[30_000, 100_000, 300_000]);
        }
        for (at, fault) in faults {
            world.at(at, Event::Fault(fault));
        }
        world.run_until(end);
        // What waits on a frozen host happens only when it was to go on.
        let frozen = MEMBERS.iter().filter_map(|host| world.hosts[*host].paused).max();
        world.heal();
        let healing = world.now;
        until_well(&mut world, HEALING, "faults are over");
        until_joined(&mut world);
        healed_in = world.now - healing;
        let calm = world.now.max(frozen.unwrap_or(0)).max(hung_until(&world)) + CALM;
        world.run_until(calm);
        until_well(&mut world, HEALING, "what hung is over");
        if seed.is_multiple_of(3) && !world.chaos.voter_lost {
            lose_one(&mut world);
        }
    }
    Outcome {
        seed,
        hash: world.log.hash(),
        events: world.events,
        transactions: 0,
        acknowledged: 0,
        epochs: world.truth.state.lease.epoch.0,
        uses: world.uses,
        edges: world.edges,
        blocked: false,
        length: world.now,
        healed_in,
        violation: world.violation,
        log: world.log,
    }
}

/// Every host's clocks, and the links, as the seed has them.
fn prepare(world: &mut World) {
    for host in HOSTS {
        let rates = Rates::draw(&mut world.rng);
        world.hosts[host].clock.set_rates(rates, 0);
        let slow = world.rng.pick(&[1_000_000, 2_000_000, 8_000_000]);
        world.hosts[host].seat.sync = (100_000, slow);
    }
    world.net.delay =
        world.rng.pick(&[(80_000, 300_000), (150_000, 400_000), (500_000, 3_000_000)]);
}

/// Both of two voters vote again.
fn until_joined(world: &mut World) {
    let end = world.now + HEALING;
    while world.violation.is_none() && !world.are_joined() {
        if world.now >= end {
            let text = String::from("faults are over, and one of two has no seat");
            return world.violated(Violation { id: "V11", text });
        }
        let next = world.now + SECOND / 20;
        world.run_until(next);
    }
}

/// One node is gone for good. What used the data there can be proven over by a fence, by the watchdog, or by the word
/// of an operator; a standby's death leaves the active node serving.
fn lose_one(world: &mut World) {
    lift_wishes(world);
    // One whose failed activation is still to be undone is up, and not for long.
    let is_active = |host: usize| {
        let role = world.hosts[host].agent.as_ref().map(|agent| agent.role);
        world.serves_shared(host) && role == Some(Role::Active)
    };
    let serves = MEMBERS.into_iter().any(is_active);
    if world.violation.is_some() || world.picture(invariant::v11).is_err() || !serves {
        return;
    }
    let setting = world.setting();
    let gone = world.rng.pick(&MEMBERS);
    let left = other_of(gone);
    let was_active = world.serves_shared(gone);
    world.tell(gone, "fault", || String::from("power off, for good"));
    world.gone = Some(gone);
    world.power_off(gone);
    let proof = setting.fenced || setting.proving_watchdog().is_some();
    let end = world.now + ONE_GONE;
    let mut asked = 0;
    while world.violation.is_none() && (world.now < end || !world.serves_shared(left)) {
        if world.now >= end || (!was_active && !world.serves_shared(left)) {
            let text = String::from("one node is gone, and the other one does not serve");
            return world.violated(Violation { id: "V11", text });
        }
        let wants_word = was_active && (setting.by_hand || !proof);
        if wants_word && world.now >= asked && !world.serves_shared(left) {
            asked = world.now + 5 * SECOND;
            world.ask_activate(left, true);
        }
        if was_active && world.serves_shared(left) {
            return;
        }
        let next = world.now + SECOND / 20;
        world.run_until(next);
    }
}
