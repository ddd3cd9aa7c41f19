//! The shipped voter and proposer, explored: every message may be lost, doubled and delivered in
//! any order; proposers restart, attempts are given up, voters lose their disks and are replaced.
//!
//! Small bounds are searched to the end; larger ones are walked at random, from fixed seeds. Each
//! mistake that decides two values or loses one is planted and must be found by the same walks.

mod explore;
mod ghost;
mod table;
mod world;

use explore::{exhaust, walk};
use regent_store::cell::Mistake;
use world::Bounds;

const SMALL: Bounds = Bounds {
    seats: 3,
    spares: 0,
    attempts: 1,
    ballots: [2, 1],
    restarts: 0,
    emptied: 0,
    admissions: 0,
    reads: false,
    gives_up: false,
    views: false,
    forgets: true,
    mistake: None,
};

/// Two proposers, restarts, and up to three changes of two seats: one voter that loses its disk
/// and comes back as a newcomer, one that moves to another node while the old one still answers.
const LARGE: Bounds = Bounds {
    seats: 3,
    spares: 1,
    attempts: 12,
    ballots: [1000, 1000],
    restarts: 2,
    emptied: 1,
    admissions: 3,
    reads: true,
    gives_up: true,
    views: true,
    forgets: false,
    mistake: None,
};

/// Each is searched to its last state; the names tell what it is about.
fn small_worlds() -> Vec<(&'static str, Bounds)> {
    let once = Bounds { ballots: [1, 1], ..SMALL };
    vec![
        ("two swaps each", Bounds { attempts: 2, ..once.clone() }),
        ("two swaps each, given up", Bounds { attempts: 2, gives_up: true, ..once.clone() }),
        ("one swap each, one of them in two ballots", SMALL),
        ("a restart", Bounds { gives_up: true, restarts: 1, ..SMALL }),
        ("a change of voter", Bounds { spares: 1, admissions: 1, ..SMALL }),
        ("a voter that loses its disk", Bounds { emptied: 1, admissions: 1, ..once }),
    ]
}

/// As the small ones, but half a minute each.
fn medium_worlds() -> Vec<(&'static str, Bounds)> {
    vec![
        ("one swap each, both in two ballots", Bounds { ballots: [2, 2], ..SMALL }),
        ("two swaps each, one in two ballots", Bounds { attempts: 2, ..SMALL }),
    ]
}

fn expect_to_hold(worlds: Vec<(&'static str, Bounds)>) {
    for (name, bounds) in worlds {
        let explored = exhaust(bounds);
        println!("{name}: {} states, {} steps", explored.states, explored.steps);
        assert_eq!(explored.broken, None, "{name}");
        assert!(explored.states > 100_000, "{name}: too small to mean anything");
    }
}

#[test]
fn small_worlds_hold_to_their_last_state() {
    expect_to_hold(small_worlds());
}

#[test]
#[ignore = "takes a minute; run it after each change of the cell"]
fn medium_worlds_hold_to_their_last_state() {
    expect_to_hold(medium_worlds());
}

#[test]
fn an_exhaustive_search_finds_planted_mistakes() {
    let twice = Bounds { attempts: 2, ..SMALL };
    let change = Bounds { spares: 1, admissions: 1, ..SMALL };
    for (mistake, bounds) in [
        (Mistake::PromiseNotKept, SMALL),
        (Mistake::LostBeforeDecided, SMALL),
        (Mistake::NextNotKept, twice),
        (Mistake::NewcomerCountedTooEarly, change),
    ] {
        let explored = exhaust(Bounds { mistake: Some(mistake), ..bounds });
        println!("{mistake:?}: after {} states: {:?}", explored.states, explored.broken);
        assert!(explored.broken.is_some(), "{mistake:?} was not found");
    }
}

#[test]
fn forgetting_void_messages_hides_nothing() {
    for mistake in [None, Some(Mistake::PromiseNotKept)] {
        let bounds = Bounds { ballots: [1, 1], mistake, ..SMALL };
        let kept = exhaust(Bounds { forgets: false, ..bounds.clone() });
        let forgotten = exhaust(bounds);
        assert_eq!(kept.broken.is_some(), mistake.is_some());
        assert_eq!(forgotten.broken.is_some(), mistake.is_some());
        assert!(kept.states >= forgotten.states || mistake.is_some());
    }
}

#[test]
fn random_walks_through_changes_of_two_seats_hold() {
    let walked = walk(&LARGE, 1, 2_000_000, 300);
    println!("{walked:?}");
    assert!(walked.broken.is_none(), "{:#?}", walked.broken);
    assert!(walked.decided > 5_000, "{walked:?}: too little happens");
    assert!(walked.changes > 500 && walked.most_changes >= 2, "{walked:?}: too few changes");
}

#[test]
#[ignore = "takes minutes; run it after each change of the cell"]
fn long_random_walks_hold() {
    for (bounds, length) in [(LARGE, 300), (Bounds { emptied: 2, spares: 2, ..LARGE }, 1000)] {
        let walked = walk(&bounds, 1_000_000, 20_000_000, length);
        println!("{walked:?}");
        assert!(walked.broken.is_none(), "{:#?}", walked.broken);
    }
}

#[test]
fn random_walks_with_five_voters_hold() {
    let walked = walk(&Bounds { seats: 5, emptied: 2, ..LARGE }, 1, 300_000, 400);
    println!("{walked:?}");
    assert!(walked.broken.is_none(), "{:#?}", walked.broken);
    assert!(walked.decided > 300 && walked.changes > 30, "{walked:?}: too little happens");
}

#[test]
fn every_planted_mistake_is_found_by_the_same_walks() {
    for mistake in [
        Mistake::NewcomerStartsEmpty,
        Mistake::NewcomerStartsWithPromiseAlone,
        Mistake::NewcomerCountedTooEarly,
        Mistake::EmptiedVoterKeepsId,
        Mistake::IdNamedAgain,
        Mistake::NotAskingAnew,
        Mistake::NextNotKept,
        Mistake::NextUsedAfterUnknown,
        Mistake::PromiseNotKept,
        Mistake::BallotReusedAfterRestart,
        Mistake::LostBeforeDecided,
        Mistake::RecentIsShortList,
    ] {
        let bounds = Bounds { mistake: Some(mistake), ..LARGE };
        let walked = walk(&bounds, 1, 5_000_000, 300);
        let broken = walked.broken.unwrap_or_else(|| panic!("{mistake:?} was not found"));
        println!("{mistake:?}, walk {}, after {} steps:", broken.seed, walked.steps);
        println!("    {}, in {} steps", broken.why, broken.trace.len());
    }
}
