//! One seed from its first event to its verdict, and many seeds at once.

use crate::agent::Maker;
use crate::clock::Rates;
use crate::database::Pace;
use crate::edges::Edges;
use crate::fault::Plan;
use crate::host::{HOSTS, MEMBERS, other_of};
use crate::log::Log;
use crate::promise::until_told;
use crate::rng::Rng;
use crate::shared::run_shared;
use crate::world::{Event, World};
use regent_core::command::Request;
use regent_core::invariant::{self, Violation};
use regent_core::spec::Spec;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

const SECOND: u64 = 1_000_000_000;
/// A new cluster is in sync after this at the latest.
const WARM_UP: u64 = 12 * SECOND;
/// After the last fault everything is well again within this.
const HEALING: u64 = 40 * SECOND;
/// With one node gone the other one serves within this.
const ONE_GONE: u64 = 8 * SECOND;
/// And stays well for this long.
const CALM: u64 = SECOND;

/// What came of a seed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Which.
    pub seed: u64,
    /// What did not hold, if something did not.
    pub violation: Option<Violation>,
    /// The fingerprint.
    pub hash: u64,
    /// Events.
    pub events: u64,
    /// Transactions made.
    pub transactions: usize,
    /// Writes that clients heard OK for.
    pub acknowledged: u64,
    /// Grants of the lease.
    pub epochs: u64,
    /// How often a host began to use the shared data.
    pub uses: u64,
    /// Which edges between roles were taken.
    pub edges: Edges,
    /// Row 2 of section 9: no copy that is recorded lives, so nobody may serve.
    pub blocked: bool,
    /// The whole run, in virtual nanoseconds.
    pub length: u64,
    /// From the end of faults until served and in sync.
    pub healed_in: u64,
    /// The story, if it was wanted.
    pub log: Log,
}

/// Runs one seed: warm-up, faults, healing.
pub fn run_seed(seed: u64, maker: Maker, spec: &Spec, log: Log) -> Outcome {
    run_seed_with(seed, maker, spec, &[], log)
}

/// The same, and these kinds of faults are drawn as well.
pub fn run_seed_with(seed: u64, maker: Maker, spec: &Spec, with: &[u64], log: Log) -> Outcome {
    if spec.stack.is_some() {
        return run_shared(seed, maker, spec, with, log);
    }
    let mut world = World::new(Rng::new(seed), maker, spec.clone(), log);
    prepare(&mut world);
    let (mut blocked, mut healed_in) = (false, 0);
    until_well(&mut world, WARM_UP, "the new cluster is not in sync");
    if world.violation.is_none() {
        let start = world.now;
        world.chaos.with = with.to_vec();
        let plan = Plan::draw(with, &mut world.rng, start);
        if world.rng.chance(400_000) {
            world.chaos.stall_ppm = world.rng.pick(&[200, 1_000, 3_000]);
        }
        if world.rng.chance(400_000) {
            world.chaos.hot_ppm = world.rng.pick(&[100_000, 300_000, 600_000]);
        }
        world.chaos.long_start_ppm = world.rng.pick(&[0, 0, 100_000]);
        for (at, fault) in plan.faults {
            world.at(at, Event::Fault(fault));
        }
        world.run_until(plan.end);
        world.heal();
        let healing = world.now;
        blocked = until_well_or_blocked(&mut world);
        healed_in = world.now - healing;
        let end = world.now.max(hung_until(&world)) + CALM;
        world.run_until(end);
        blocked = blocked || until_well_or_blocked(&mut world);
        if !blocked {
            until_told(&mut world);
        }
        // With a voter lost before, the other node would have no quorum (row 3).
        if !blocked && seed.is_multiple_of(4) && !world.chaos.voter_lost {
            lose_one(&mut world);
        }
    }
    Outcome {
        seed,
        hash: world.log.hash(),
        events: world.events,
        transactions: world.ledger.count(),
        acknowledged: world.clients.acknowledged,
        epochs: world.truth.state.lease.epoch.0,
        uses: 0,
        edges: world.edges,
        blocked,
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
        world.hosts[host].database.pace = Pace {
            sync: (50_000, world.rng.pick(&[400_000, 400_000, 4_000_000, 12_000_000])),
            apply: (100_000, world.rng.pick(&[1_000_000, 4_000_000, 14_000_000])),
        };
    }
    if world.rng.chance(300_000) {
        // The worst that C4 allows: one host's kernel timers and clocks are slow, the other's clocks are fast.
        let slow = world.rng.pick(&MEMBERS);
        let rates =
            |fast: i64| Rates { boot: fast * 84_900, raw: fast * 4_900, timer: fast * 100_000 };
        for host in MEMBERS {
            world.hosts[host].clock.set_rates(rates(if host == slow { -1 } else { 1 }), 0);
        }
    }
    world.net.delay =
        world.rng.pick(&[(80_000, 300_000), (150_000, 400_000), (500_000, 3_000_000)]);
}

fn until_well_or_blocked(world: &mut World) -> bool {
    let end = world.now + HEALING;
    loop {
        if world.violation.is_some() || world.picture(invariant::v11).is_ok() {
            return false;
        }
        if world.now >= end {
            break;
        }
        let next = world.now + SECOND / 10;
        world.run_until(next);
    }
    if world.restored && !has_living_copy(world) {
        return true;
    }
    if let Err(violation) = world.picture(invariant::v11) {
        world.violated(violation);
    }
    false
}

/// Runs until somebody serves as it should be.
pub(crate) fn until_well(world: &mut World, bound: u64, what: &str) {
    let end = world.now + bound;
    while world.violation.is_none() && world.picture(invariant::v11).is_err() {
        if world.now >= end {
            let text = match world.picture(invariant::v11) {
                Ok(()) => what.to_string(),
                Err(violation) => format!("{what}: {}", violation.text),
            };
            return world.violated(Violation { id: "V11", text });
        }
        let next = world.now + SECOND / 20;
        world.run_until(next);
    }
}

/// When the last step of an address that hung in a kernel is over: faults that ended do not take it back.
pub(crate) fn hung_until(world: &World) -> u64 {
    MEMBERS.into_iter().map(|host| world.hosts[host].address_busy).max().unwrap_or_default()
}

/// What operators asked for is lifted: with it, a node that is left does rightly not serve (row 6).
pub(crate) fn lift_wishes(world: &mut World) {
    let end = world.now + ONE_GONE;
    let mut asked = 0;
    while world.violation.is_none() {
        let intent = &world.truth.state.intent;
        let (resting, pause) = (intent.maintenance.clone(), intent.pause);
        if resting.is_empty() && pause.is_none() {
            return;
        }
        if world.now >= end {
            let text = format!("what operators asked for is not lifted: {resting:?}, {pause:?}");
            return world.violated(Violation { id: "V11", text });
        }
        if world.now >= asked {
            asked = world.now + SECOND;
            let holder = usize::from(world.truth.state.lease.holder.0) - 1;
            for node in resting.into_keys() {
                world.request(holder, Request::Maintenance { node, length: None });
            }
            if pause.is_some() {
                world.request(holder, Request::Pause { length: None });
            }
        }
        let next = world.now + SECOND / 20;
        world.run_until(next);
    }
}

/// V11 with one node gone: the cluster is in sync, so nothing may block the other one.
fn lose_one(world: &mut World) {
    lift_wishes(world);
    if world.violation.is_some() || world.picture(invariant::v11).is_err() {
        return;
    }
    let gone = world.rng.pick(&MEMBERS);
    world.tell(gone, "fault", || String::from("power off, for good"));
    world.power_off(gone);
    let end = world.now + ONE_GONE;
    let serves = |world: &World| {
        let h = &world.hosts[other_of(gone)];
        h.answers(world.now)
            && h.database.server.as_ref().is_some_and(|s| !s.read_only && !s.strict)
    };
    while world.violation.is_none() && !serves(world) {
        if world.now >= end {
            let text = String::from("one node is gone, and the other one does not serve");
            return world.violated(Violation { id: "V11", text });
        }
        let next = world.now + SECOND / 20;
        world.run_until(next);
    }
}

/// Does some copy that the register records still live?
fn has_living_copy(world: &World) -> bool {
    let sync = world.truth.state.sync;
    crate::host::MEMBERS.iter().any(|host| {
        let h = &world.hosts[*host];
        let copy = |incarnation| regent_core::state::DataCopy { node: h.node, incarnation };
        // Data of the writer that only need a new name are no excuse for not giving them one.
        let mut old = h.database.was().into_iter().flatten();
        old.any(|name| sync.writer == copy(name))
            || h.database.living().is_some_and(|name| sync.names(copy(name)))
    })
}

/// What came of many seeds.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Sweep {
    /// Seeds run.
    pub seeds: u64,
    /// Those that failed, lowest seed first.
    pub failures: Vec<(u64, Violation)>,
    /// Those that row 2 blocks.
    pub blocked: u64,
    /// Events in all.
    pub events: u64,
    /// Transactions in all.
    pub transactions: u64,
    /// Writes acknowledged to clients in all.
    pub acknowledged: u64,
    /// Grants in all.
    pub epochs: u64,
    /// Uses of shared data in all.
    pub uses: u64,
    /// The edges between roles that any of them took.
    pub edges: Edges,
    /// The longest healing.
    pub healed_in: u64,
    /// Virtual time in all.
    pub length: u64,
}

/// Runs seeds on several threads; `stop_at` failures end it early.
pub fn sweep(
    from: u64,
    seeds: u64,
    threads: usize,
    maker: Maker,
    spec: &Spec,
    stop_at: usize,
) -> Sweep {
    sweep_with(from, seeds, threads, maker, spec, &[], stop_at)
}

/// The same, and these kinds of faults are drawn as well.
pub fn sweep_with(
    from: u64,
    seeds: u64,
    threads: usize,
    maker: Maker,
    spec: &Spec,
    with: &[u64],
    stop_at: usize,
) -> Sweep {
    let next = AtomicU64::new(from);
    let enough = AtomicBool::new(false);
    let total = Mutex::new(Sweep::default());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + seeds || enough.load(Ordering::Relaxed) {
                        return;
                    }
                    let outcome = run_seed_with(seed, maker, spec, with, Log::quiet());
                    let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                    total.count(outcome);
                    if total.failures.len() >= stop_at {
                        enough.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut total = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    total.failures.sort_by_key(|(seed, _)| *seed);
    total
}

impl Sweep {
    fn count(&mut self, outcome: Outcome) {
        self.seeds += 1;
        self.events += outcome.events;
        self.transactions += outcome.transactions as u64;
        self.acknowledged += outcome.acknowledged;
        self.epochs += outcome.epochs;
        self.uses += outcome.uses;
        self.edges.join(outcome.edges);
        self.blocked += u64::from(outcome.blocked);
        self.length += outcome.length;
        if !outcome.blocked {
            self.healed_in = self.healed_in.max(outcome.healed_in);
        }
        if let Some(violation) = outcome.violation {
            self.failures.push((outcome.seed, violation));
        }
    }

    /// All that is counted, in one order.
    fn counts(&mut self) -> [&mut u64; 10] {
        let Sweep {
            seeds,
            failures: _,
            blocked,
            events,
            transactions,
            acknowledged,
            epochs,
            uses,
            edges: Edges(edges),
            healed_in,
            length,
        } = self;
        [seeds, blocked, events, transactions, acknowledged, epochs, uses, length, healed_in, edges]
    }
}

/// How far a sweep is that is run in portions, perhaps over several sessions.
#[derive(Clone, PartialEq, Debug)]
pub struct Swept {
    /// Its first seed.
    pub from: u64,
    /// All before this one are done.
    pub next: u64,
    /// What came of them; the failures are in `failures`.
    pub total: Sweep,
    /// How long it took.
    pub seconds: f64,
    /// Every seed that failed, and what did not hold.
    pub failures: BTreeMap<u64, String>,
}

impl Swept {
    /// Nothing is done.
    pub fn new(from: u64) -> Swept {
        let (total, failures) = (Sweep::default(), BTreeMap::new());
        Swept { from, next: from, total, seconds: 0.0, failures }
    }

    /// The next `seeds` seeds are done.
    pub fn add(&mut self, mut part: Sweep, seeds: u64) {
        self.next += seeds;
        for (seed, violation) in part.failures.drain(..) {
            self.failures.insert(seed, violation.to_string());
        }
        let healed_in = self.total.healed_in.max(part.healed_in);
        let mut edges = self.total.edges;
        edges.join(part.edges);
        for (sum, more) in self.total.counts().into_iter().zip(part.counts()) {
            *sum += *more;
        }
        self.total.healed_in = healed_in;
        self.total.edges = edges;
    }

    /// For a file.
    pub fn to_text(&self) -> String {
        let counts = self.total.clone().counts().map(|count| count.to_string()).join(" ");
        let mut text = format!("{} {} {:.1}\n{counts}\n", self.from, self.next, self.seconds);
        for (seed, why) in &self.failures {
            text += &format!("{seed} {}\n", why.replace('\n', " "));
        }
        text
    }

    /// From a file.
    pub fn from_text(text: &str) -> Option<Swept> {
        let mut lines = text.lines();
        let head: Vec<&str> = lines.next()?.split(' ').collect();
        let [from, next, seconds] = head[..] else { return None };
        let mut total = Sweep::default();
        let counts = lines.next()?.split(' ').map(|count| count.parse().ok());
        let counts: Vec<u64> = counts.collect::<Option<_>>()?;
        for (place, count) in total.counts().into_iter().zip(counts) {
            *place = count;
        }
        let failure = |line: &str| {
            let (seed, why) = line.split_once(' ')?;
            Some((seed.parse().ok()?, why.to_string()))
        };
        Some(Swept {
            from: from.parse().ok()?,
            next: next.parse().ok()?,
            total,
            seconds: seconds.parse().ok()?,
            failures: lines.map(failure).collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_goes_on_where_it_stopped_and_names_every_seed_that_failed() {
        let violation = |text: &str| Violation { id: "V1", text: text.into() };
        let mut swept = Swept::new(70);
        let failures = vec![(71, violation("two")), (74, violation("two again"))];
        swept.add(Sweep { seeds: 5, failures, healed_in: 9, ..Sweep::default() }, 5);
        swept.add(Sweep { seeds: 5, healed_in: 3, ..Sweep::default() }, 5);
        assert_eq!((swept.next, swept.total.seeds, swept.total.healed_in), (80, 10, 9));
        assert_eq!(swept.failures.keys().copied().collect::<Vec<_>>(), [71, 74]);
        assert_eq!(Swept::from_text(&swept.to_text()), Some(swept));
        assert_eq!(Swept::from_text("70 80\n"), None);
    }
}
