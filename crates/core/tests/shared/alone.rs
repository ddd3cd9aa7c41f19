//! Two hosts without a third, and what is said while one of them is off, silent or away.

use super::*;

const MAY: Request = Request::MayActivate { word: Some(Word::IsOff(A)) };

/// The register was heard a moment ago, and the one that is off was needed for that.
#[test]
fn right_after_the_crash_the_word_is_believed_and_nobody_is_left_to_ask() {
    for after in [0, 100, 1_000, 5_000] {
        let mut world = World::pair();
        world.asked(A, 1, ACTIVATE);
        world.power_off(A);
        world.pass(after);
        let may = world.asked(B, 2, MAY);
        assert_eq!(obstacle(&may), Some(Obstacle::NoQuorum), "after {after} ms: {may:?}");
        let believed = world.asked(B, 3, Request::MayBelieve { word: Word::IsOff(A) });
        assert!(matches!(believed, Answer::Done(_)), "after {after} ms: {believed:?}");
    }
}

#[test]
fn a_word_on_a_node_that_reports_is_refused_at_once() {
    let mut world = World::pair();
    world.asked(A, 1, ACTIVATE);
    let refused = world.asked(B, 2, MAY);
    assert_eq!(obstacle(&refused), Some(Obstacle::ActiveElsewhere), "{refused:?}");
    assert!(format!("{refused:?}").contains("its agent answers"), "{refused:?}");
    assert!(world.is_up(A));
}

#[test]
fn whoever_finds_no_majority_is_told_what_can_help_and_no_word_that_cannot_be_true() {
    let cases = [
        (LifeSigns::SILENT, "if its host is off: regent activate --confirm-peer-is-off a"),
        (LifeSigns { links: vec![mac(A)], ..LifeSigns::SILENT }, "answers: start its agent"),
        (LifeSigns { asked: false, ..LifeSigns::SILENT }, "mend this host's own link first"),
    ];
    for (shows, expected) in cases {
        let mut world = World::pair();
        world.asked(A, 1, ACTIVATE);
        world.power_off(A);
        world.host(A).shows = shows;
        world.pass(10_000);
        let refused = world.asked(B, 2, ACTIVATE);
        assert_eq!(obstacle(&refused), Some(Obstacle::NoQuorum), "{refused:?}");
        let told = [format!("{refused:?}"), world.explained(B)];
        for text in &told {
            assert!(text.contains(expected), "{expected}: {text}");
            let proposed = text.contains("--confirm-peer-is-off");
            assert_eq!(proposed, expected.contains("--confirm"), "{text}");
        }
    }
}

/// B was activated alone, by the word, and is not reached now: only the claim on the data says so.
#[test]
fn a_host_that_returns_says_who_serves_by_another_register_and_where_to_rejoin() {
    let mut world = World::pair();
    world.asked(A, 1, ACTIVATE);
    world.power_off(A);
    world.power_off(B);
    world.claim = Some(Claim { cluster: ClusterId(8), epoch: Epoch(2), node: B, clear: false });
    world.restart(A, 2);
    world.host(B).shows = LifeSigns { asked: false, ..LifeSigns::SILENT };
    world.pass(10_000);
    let refused = world.asked(A, 2, ACTIVATE);
    assert_eq!(obstacle(&refused), Some(Obstacle::ActiveElsewhere), "{refused:?}");
    for text in [format!("{refused:?}"), world.explained(A)] {
        assert!(text.contains("b uses the shared data by another register"), "{text}");
        assert!(text.contains("on b: regent rejoin a"), "{text}");
        assert!(!text.contains("--confirm-peer-is-off"), "{text}");
    }
    assert!(world.is_down(A));
    // Once that use is over the claim says nothing any more.
    world.claim = world.claim.map(|claim| Claim { clear: true, ..claim });
    world.pass(20_000);
    let refused = world.asked(A, 3, ACTIVATE);
    assert_eq!(obstacle(&refused), Some(Obstacle::NoQuorum), "{refused:?}");
}
