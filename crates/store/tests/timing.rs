//! How long swaps take, in virtual time: the shipped cell between links and disks of three paces.
//! The bounds are the magnitudes that the timing budget of the lease counts on.

mod common;

use common::{Bench, LAN, LAN_DISK, MS, Pace, Random, SLOW};
use regent_store::cell::{Answer, Swap, Timing};

/// Sorted durations of one kind.
#[derive(Debug)]
struct Measured(Vec<u64>);

impl Measured {
    fn new(mut durations: Vec<u64>) -> Self {
        durations.sort_unstable();
        Measured(durations)
    }

    fn median(&self) -> f64 {
        self.0[self.0.len() / 2] as f64 / MS as f64
    }

    fn p99(&self) -> f64 {
        self.0[self.0.len() * 99 / 100] as f64 / MS as f64
    }

    fn most(&self) -> f64 {
        *self.0.last().expect("something was measured") as f64 / MS as f64
    }
}

/// Swaps until it wins, as an agent does: after Lost on top of the newer value, after Unknown anew.
/// Returns how long it took.
fn win(bench: &mut Bench, node: usize, mut expect: u64, holder: bool) -> (u64, u64) {
    let start = bench.now;
    loop {
        let attempt = bench.attempt(node);
        let bytes = attempt.n.to_le_bytes().to_vec();
        bench.swap(node, Swap { attempt, expect, bytes, holder });
        match bench.answer(node, 1000 * MS) {
            Some((at, Answer::Won(value))) => return (at - start, value.version),
            Some((_, Answer::Lost(value) | Answer::View(value))) => expect = value.version,
            Some((_, Answer::Unknown)) => {}
            other => panic!("an answer that no fault explains: {other:?}"),
        }
    }
}

/// Renewals each 150 ms; from the middle on one voter is dead, which must make no gap.
fn renewals(pace: Pace) -> Measured {
    let mut durations = Vec::new();
    for seed in 0..20 {
        let mut bench = Bench::new(seed, pace, Timing::default());
        let mut version = 1;
        for round in 0..40 {
            if round == 20 {
                bench.kill(1 + seed as usize % 2);
            }
            let (took, won) = win(&mut bench, 0, version, true);
            if round > 0 {
                durations.push(took);
            }
            version = won;
            let until = bench.now + 150 * MS;
            bench.run_until(until, |_| false);
        }
    }
    Measured::new(durations)
}

/// The holder dies at some time; 300 ms later the heir swaps. `knows`: it heard the last ballot.
fn heirs(pace: Pace, knows: bool) -> Measured {
    let mut durations = Vec::new();
    for seed in 0..300 {
        let mut bench = Bench::new(1000 + seed, pace, Timing::default());
        let mut version = 1;
        for _ in 0..3 {
            version = win(&mut bench, 0, version, true).1;
            let until = bench.now + 150 * MS;
            bench.run_until(until, |_| false);
        }
        let mut random = Random::seeded(seed);
        if random.below(2) == 0 {
            // It dies in the middle of a renewal, which is then in doubt.
            let attempt = bench.attempt(0);
            bench.swap(0, Swap { attempt, expect: version, bytes: vec![0], holder: true });
            let until = bench.now + random.below(pace.link.1 * 3);
            bench.run_until(until, |_| false);
        }
        bench.kill(0);
        if !knows {
            bench.restart(1);
        }
        let until = bench.now + 300 * MS;
        bench.run_until(until, |_| false);
        durations.push(win(&mut bench, 1, version, false).0);
    }
    Measured::new(durations)
}

/// A swap while the other database node is cut off, but not from the witness.
fn cut_between_databases(pace: Pace) -> Measured {
    let mut durations = Vec::new();
    for seed in 0..300 {
        let mut bench = Bench::new(2000 + seed, pace, Timing::default());
        let version = win(&mut bench, 0, 1, true).1;
        let until = bench.now + 100 * MS;
        bench.run_until(until, |_| false);
        bench.cut.extend([(0, 1), (1, 0)]);
        let version = win(&mut bench, 0, version, true).1;
        let until = bench.now + 100 * MS;
        bench.run_until(until, |_| false);
        let known = bench.view(1).map_or(1, |value| value.version);
        assert_eq!(known, version - 1, "the last renewal is news that the cut kept from it");
        durations.push(win(&mut bench, 1, known, false).0);
    }
    Measured::new(durations)
}

/// Two proposers that never pause: the time between wins of either, and how many each won.
fn duel(pace: Pace, seed: u64) -> (Measured, [usize; 2]) {
    let mut bench = Bench::new(3000 + seed, pace, Timing::default());
    let mut wins = [0; 2];
    let mut gaps = Vec::new();
    let mut last = 0;
    let mut expect = [1; 2];
    for node in 0..2 {
        let attempt = bench.attempt(node);
        bench.swap(node, Swap { attempt, expect: 1, bytes: vec![0], holder: node == 0 });
    }
    while bench.now < 10_000 * MS {
        let end = bench.now + 1000 * MS;
        bench.run_until(end, |bench| (0..2).any(|node| !bench.answers[node].is_empty()));
        for node in 0..2 {
            let Some((at, answer)) = bench.answers[node].pop_front() else { continue };
            match answer {
                Answer::Won(value) => {
                    wins[node] += 1;
                    gaps.push(at - last);
                    last = at;
                    expect[node] = value.version;
                }
                Answer::Lost(value) => expect[node] = value.version,
                Answer::Unknown => {}
                Answer::View(_) | Answer::WentBack { .. } | Answer::Refused(_) => {
                    panic!("an answer that no fault explains: {answer:?}")
                }
            }
            let attempt = bench.attempt(node);
            let expect = expect[node];
            bench.swap(node, Swap { attempt, expect, bytes: vec![0], holder: node == 0 });
        }
    }
    (Measured::new(gaps), wins)
}

fn say(what: &str, pace: &str, measured: &Measured) {
    let (median, p99, most) = (measured.median(), measured.p99(), measured.most());
    println!("{what:34} {pace:12} median {median:6.2}  p99 {p99:6.2}  most {most:6.2} ms");
}

#[test]
fn a_renewal_takes_one_round_trip_and_a_dead_voter_makes_no_gap() {
    let (lan, disk, slow) = (renewals(LAN), renewals(LAN_DISK), renewals(SLOW));
    say("renewal", "lan", &lan);
    say("renewal", "lan + disk", &disk);
    say("renewal", "slow", &slow);
    assert!(lan.p99() < 0.9, "two links at 0.4 ms");
    assert!(disk.p99() < 3.0, "two links and a disk at 2 ms");
    assert!(slow.most() < 40.0, "the budget of a swap");
}

#[test]
fn an_heir_swaps_within_its_budget_after_the_death_of_the_holder() {
    for (knows, name) in [(true, "heir that knows the ballot"), (false, "heir that knows nothing")]
    {
        let (lan, disk, slow) = (heirs(LAN, knows), heirs(LAN_DISK, knows), heirs(SLOW, knows));
        say(name, "lan", &lan);
        say(name, "lan + disk", &disk);
        say(name, "slow", &slow);
        assert!(lan.p99() < 12.0 && disk.p99() < 20.0, "40 ms is the budget after a refusal");
        assert!(slow.p99() < 80.0);
    }
}

#[test]
fn a_node_cut_from_the_holder_swaps_over_the_witness() {
    let (lan, disk, slow) =
        (cut_between_databases(LAN), cut_between_databases(LAN_DISK), cut_between_databases(SLOW));
    say("over the witness", "lan", &lan);
    say("over the witness", "lan + disk", &disk);
    say("over the witness", "slow", &slow);
    assert!(lan.p99() < 12.0 && disk.p99() < 20.0 && slow.p99() < 80.0);
}

#[test]
fn two_proposers_that_never_pause_both_win() {
    for (name, pace, most) in
        [("lan", LAN, 25.0), ("lan + disk", LAN_DISK, 40.0), ("slow", SLOW, 300.0)]
    {
        for seed in 0..3 {
            let (gaps, wins) = duel(pace, seed);
            say(&format!("duel, wins {wins:?}"), name, &gaps);
            assert!(gaps.most() < most, "{name}: nobody won for {} ms", gaps.most());
            let (least, most) = (wins[0].min(wins[1]), wins[0].max(wins[1]));
            assert!(least * 10 > most, "{name}: {wins:?}: one of the two starves");
        }
    }
}
