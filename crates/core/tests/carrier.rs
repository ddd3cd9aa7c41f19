//! The interface that carries the VIP loses its carrier: nobody takes over who would serve nobody, and who serves
//! nobody any more gives way. And the disk of the agent's own state: told at its edges, to everybody.

mod world;

use regent_core::event::{Event, Severity};
use regent_core::health::{Counts, Health, ProbeId, ProbeSpec, Subject, Weight};
use regent_core::id::{Epoch, Incarnation};
use regent_core::node::Input;
use regent_core::observe::{DatabaseFacts, Thread};
use regent_core::reason::{Cause, MoveReason, Vital};
use regent_core::room::Room;
use regent_core::spec::Spec;
use regent_core::state::{DataCopy, Move, Phase};
use regent_core::time::Time;
use world::bench::{ME, PEER, at_rest, first_state, follows, spec};
use world::{World, led_by_peer, writes};

fn link(weight: Weight) -> Spec {
    let probe = ProbeSpec {
        name: "link".into(),
        subject: Subject::Host,
        weight,
        counts: Counts::Always,
        rise: 2,
        fall: 3,
        vip_link: true,
    };
    Spec { probes: vec![probe], ..spec() }
}

/// In sync, and served by this node.
fn active(weight: Weight) -> World {
    let mut world = World::with(link(weight), first_state(), at_rest());
    world.peer = Some(follows(Incarnation(22)));
    carrier(&mut world, true);
    world.run(3_000);
    assert!(world.is_open() && world.state.sync.with.is_some(), "{}", world.why());
    world.told.clear();
    world
}

/// In sync, and served by the peer.
fn standby(weight: Weight) -> World {
    let mut state = led_by_peer();
    state.lease.epoch = Epoch(2);
    state.sync.with = Some(DataCopy { node: ME, incarnation: Incarnation(11) });
    let follower = DatabaseFacts {
        source: Some(PEER),
        mark: true,
        receiver: Thread::Running,
        applier: Thread::Running,
        drained: false,
        ..at_rest()
    };
    let mut world = World::with(link(weight), state, follower);
    world.peer = Some(writes());
    world.alters = |report| report.serving = true;
    carrier(&mut world, true);
    for _ in 0..20 {
        world.renewed_by_peer();
        world.run(100);
    }
    world.told.clear();
    world
}

fn carrier(world: &mut World, there: bool) {
    let (health, why) = match there {
        true => (Health::Passing, ""),
        false => (Health::Failing, "eth0 has no carrier"),
    };
    world.feed(Input::Health { probe: ProbeId(0), health, why: why.into() });
}

fn unable(world: &World) -> &str {
    world.unable().unwrap_or_default()
}

fn ms(at: Time) -> u64 {
    at.raw / 1_000_000
}

/// When an event of this code was told first, in milliseconds from the beginning.
fn told(world: &World, code: &str) -> Option<u64> {
    world.first_told(code).map(ms)
}

#[test]
fn an_active_without_a_carrier_moves_at_once_to_a_standby_that_can_serve() {
    let mut world = active(Weight::Vital);
    let from = ms(world.now);
    carrier(&mut world, false);
    world.run(600);
    let begun = told(&world, "move.begun").expect("it moves");
    assert!(begun - from <= 150, "{} ms after the carrier went", begun - from);
    assert_eq!(world.state.lease.holder, PEER, "{}", world.why());
    let why = &world.state.history.last().expect("a move").why;
    let is_link = |cause: &Cause| matches!(cause, Cause::Probe { probe, .. } if probe == "link");
    assert!(matches!(why, MoveReason::VitalFails(Vital::Host, c) if is_link(c)), "{why:?}");
}

#[test]
fn a_hold_down_is_short_for_whom_serves_nobody() {
    let mut world = standby(Weight::Vital);
    let lease = &mut world.state.lease;
    (lease.holder, lease.epoch, lease.phase) = (ME, Epoch(lease.epoch.0 + 1), Phase::Free);
    let why = MoveReason::VitalFails(Vital::Service("ui".into()), Cause::Down);
    let epoch = lease.epoch;
    world.state.history.push(Move { epoch, from: PEER, to: ME, why });
    world.peer = Some(follows(Incarnation(22)));
    world.alters = |_| {};
    world.renewed_by_peer();
    world.run(2_000);
    let serving = world.sent.as_ref().is_some_and(|report| report.serving);
    assert!(serving && world.state.sync.with.is_some(), "{}", world.why());
    carrier(&mut world, false);
    world.run(1_000);
    assert_eq!((world.state.lease.holder, told(&world, "move.begun")), (ME, None));
    world.run(3_000);
    assert!(told(&world, "move.begun").is_some(), "{}", world.why());
}

#[test]
fn an_active_without_a_carrier_stays_while_nobody_would_serve_better() {
    let mut world = active(Weight::Vital);
    carrier(&mut world, false);
    // The other end of the same switch, a moment later.
    world.run(50);
    world.peer_unable = Some("probe link: eth0 has no carrier".into());
    world.run(5_000);
    assert_eq!((world.state.lease.holder, told(&world, "move.begun")), (ME, None));
    assert!(unable(&world).contains("eth0 has no carrier"), "{}", unable(&world));
    assert!(world.sent.as_ref().is_some_and(|report| report.serving), "it answers on");
    // The switch is back, for the other one a moment earlier.
    world.peer_unable = None;
    world.run(50);
    carrier(&mut world, true);
    world.run(2_000);
    assert_eq!((world.state.lease.holder, told(&world, "move.begun")), (ME, None));
    world.peer_unable = Some("probe link: eth0 has no carrier".into());
    carrier(&mut world, false);
    world.run(500);
    world.peer_unable = None;
    world.run(600);
    assert_eq!(world.state.lease.holder, PEER, "{}", world.why());
}

#[test]
fn an_active_that_lost_its_way_to_the_others_with_its_carrier_begins_no_move() {
    let mut world = active(Weight::Vital);
    world.peer = None;
    world.run(60);
    carrier(&mut world, false);
    world.run(5_000);
    assert_eq!((told(&world, "move.begun"), told(&world, "move.undone")), (None, None));
}

#[test]
fn a_standby_without_a_carrier_says_so_to_everybody() {
    let mut world = standby(Weight::Vital);
    assert_eq!(unable(&world), "");
    carrier(&mut world, false);
    world.run(20);
    assert!(unable(&world).contains("eth0 has no carrier"), "{}", unable(&world));
    carrier(&mut world, true);
    world.run(20);
    assert_eq!(unable(&world), "");
}

#[test]
fn a_degraded_link_is_told_and_changes_nothing() {
    let mut world = active(Weight::Degraded);
    carrier(&mut world, false);
    world.run(5_000);
    assert_eq!((world.state.lease.holder, unable(&world)), (ME, ""));
    assert!(told(&world, "probe.failing").is_some());
    let mut world = standby(Weight::Degraded);
    carrier(&mut world, false);
    world.peer = None;
    world.run(5_000);
    assert_eq!(world.state.lease.holder, ME, "{}", world.why());
}

#[test]
fn a_full_disk_of_the_agents_state_is_told_early_once_and_to_everybody() {
    let room = |free: u64| {
        let place = String::from("/var/lib/regent");
        Input::Room(Room { place, free, size: 1 << 30, files: None, refused: None })
    };
    let mut world = standby(Weight::Vital);
    for free in [500 << 20, 40 << 20, 39 << 20, 0, 0, 500 << 20] {
        world.feed(room(free));
        world.run(100);
        let told = world.sent.as_ref().expect("a report").concerns.join("; ");
        assert_eq!(told.contains("/var/lib/regent"), free < 50 << 20, "{free}: {told}");
    }
    let state = |event: &&(Time, Event)| event.1.code.starts_with("state.");
    let told: Vec<(&str, Severity)> = world
        .told
        .iter()
        .filter(state)
        .map(|(_, event)| (event.code.as_str(), event.severity))
        .collect();
    let expected = [
        ("state.low", Severity::Alarm),
        ("state.full", Severity::Alarm),
        ("state.room", Severity::Info),
    ];
    assert_eq!(told, expected);
    assert_eq!(unable(&world), "", "it serves all the same");
}

#[test]
fn a_standby_without_a_carrier_takes_over_only_once_it_has_one() {
    let mut world = standby(Weight::Vital);
    carrier(&mut world, false);
    world.run(50);
    world.peer = None;
    world.run(5_000);
    assert_eq!((world.state.lease.holder, told(&world, "lease.suspect")), (PEER, None));
    assert!(world.why().contains("blocked (row 8)"), "{}", world.why());
    carrier(&mut world, true);
    world.run(2_000);
    assert_eq!(world.state.lease.holder, ME, "{}", world.why());
}
