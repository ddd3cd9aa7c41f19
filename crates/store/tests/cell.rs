//! The rules of the register, one situation each, on the bench in virtual time.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test panics at any other answer")]

mod common;

use common::{Bench, CLUSTER, LAN, MS, Pace, US};
use regent_store::cell::{
    Answer, Attempt, Ballot, Body, Message, NodeId, Proposer, Record, Refusal, Seat, Setup,
    Standing, Swap, Timing, Value, Voter, VoterId, initial_records,
};

const FIXED: Pace = Pace { link: (100 * US, 100 * US), disk: (0, 0) };

fn bench() -> Bench {
    Bench::new(1, FIXED, Timing::default())
}

fn swap(bench: &mut Bench, node: usize, expect: u64) -> Swap {
    let attempt = bench.attempt(node);
    Swap { attempt, expect, bytes: vec![node as u8, expect as u8], holder: node == 0 }
}

/// Proposes, and returns the answer and how long it took.
fn propose(bench: &mut Bench, node: usize, expect: u64) -> (u64, Answer) {
    let swap = swap(bench, node, expect);
    let start = bench.now;
    bench.swap(node, swap);
    let (at, answer) = bench.answer(node, 1000 * MS).expect("each proposal has an answer");
    (at - start, answer)
}

fn won(answer: Answer) -> Value {
    match answer {
        Answer::Won(value) => value,
        other => panic!("did not win: {other:?}"),
    }
}

fn settle(bench: &mut Bench) {
    let end = bench.now + 50 * MS;
    bench.run_until(end, |_| false);
}

fn seats() -> Vec<Seat> {
    (0..3).map(|n| Seat { voter: VoterId(10 + u64::from(n)), node: NodeId(n) }).collect()
}

fn record() -> Record {
    initial_records(CLUSTER, &seats(), b"first").remove(0).1
}

fn say(body: Body) -> Message {
    Message { cluster: CLUSTER, body }
}

fn ballot(n: u64) -> Ballot {
    Ballot { n, node: NodeId(1), run: 5 }
}

fn attempt(n: u64) -> Attempt {
    Attempt { node: 1, boot: 0, run: 5, n }
}

const NO_ID: VoterId = VoterId(0);

#[test]
fn the_first_swap_takes_two_round_trips_and_the_next_one_each() {
    let mut bench = bench();
    let (first, answer) = propose(&mut bench, 0, 1);
    let value = won(answer);
    let (second, answer) = propose(&mut bench, 0, value.version);
    assert_eq!(won(answer).version, 3);
    assert!((400 * US..410 * US).contains(&first), "{first}");
    assert!((200 * US..205 * US).contains(&second), "{second}");
}

#[test]
fn the_promise_is_not_used_for_another_version_than_the_one_it_came_with() {
    let mut bench = bench();
    let mine = won(propose(&mut bench, 0, 1).1);
    settle(&mut bench);
    let theirs = won(propose(&mut bench, 1, mine.version).1);
    settle(&mut bench);
    let (took, answer) = propose(&mut bench, 0, theirs.version);
    assert_eq!(won(answer).version, 4);
    assert!(took >= 400 * US, "it prepared: {took}");
}

#[test]
fn a_swap_that_expects_a_version_known_to_be_over_is_lost_without_a_word() {
    let mut bench = bench();
    let value = won(propose(&mut bench, 0, 1).1);
    settle(&mut bench);
    let (took, answer) = propose(&mut bench, 1, 1);
    assert_eq!((took, answer), (0, Answer::Lost(value)));
}

#[test]
fn a_win_that_was_not_heard_is_known_from_the_value_that_grew_from_it() {
    let mut bench = bench();
    let mine = swap(&mut bench, 0, 1);
    bench.swap(0, mine.clone());
    // All voters accept; the answers back to the proposer are lost.
    let accepted = |bench: &Bench, node: usize| {
        bench.voter(node).record().is_some_and(|record| record.value.version == 2)
    };
    let end = bench.now + 10 * MS;
    assert!(bench.run_until(end, |bench| accepted(bench, 1) && accepted(bench, 2)));
    bench.cut.extend([(1, 0), (2, 0)]);
    let end = bench.now + 5 * MS;
    bench.run_until(end, |_| false);
    assert!(bench.answers[0].is_empty());
    // Another finishes it unknowingly, and goes on.
    let found = match propose(&mut bench, 1, 1).1 {
        Answer::Lost(value) => value,
        other => panic!("it was decided: {other:?}"),
    };
    assert!(found.has_attempt(mine.attempt));
    let newer = won(propose(&mut bench, 1, found.version).1);
    bench.cut.clear();
    let (_, answer) = bench.answer(0, 1000 * MS).expect("it is answered");
    assert_eq!(answer, Answer::Won(newer));
}

#[test]
fn an_attempt_without_a_majority_is_unknown_when_its_budget_is_over() {
    let mut bench = bench();
    bench.cut.extend([(0, 1), (0, 2)]);
    let (took, answer) = propose(&mut bench, 0, 1);
    assert_eq!((took, answer), (Timing::default().budget, Answer::Unknown));
}

#[test]
fn a_new_proposal_ends_the_one_outstanding_as_unknown() {
    let mut bench = bench();
    let first = swap(&mut bench, 0, 1);
    let second = swap(&mut bench, 0, 1);
    bench.swap(0, first);
    bench.swap(0, second.clone());
    assert_eq!(bench.answer(0, 0).map(|(_, answer)| answer), Some(Answer::Unknown));
    let (_, answer) = bench.answer(0, 1000 * MS).expect("it is answered");
    assert!(won(answer).has_attempt(second.attempt));
}

#[test]
fn a_refused_holder_tries_again_at_once_and_another_waits() {
    for (holder, least, most) in [(true, 400 * US, 450 * US), (false, 650 * US, 2 * MS)] {
        let mut bench = bench();
        won(propose(&mut bench, 1, 1).1);
        settle(&mut bench);
        // It has forgotten the ballots that it heard of, and is refused once.
        bench.restart(0);
        let attempt = bench.attempt(0);
        let start = bench.now;
        bench.swap(0, Swap { attempt, expect: 2, bytes: vec![], holder });
        let (at, answer) = bench.answer(0, 1000 * MS).expect("it is answered");
        won(answer);
        assert!((least..most).contains(&(at - start)), "holder {holder}: {}", at - start);
    }
}

/// Rule R2, both sides.
#[test]
fn only_a_majority_that_answers_from_below_what_was_stored_means_that_the_register_went_back() {
    let mut bench = Bench::new(3, LAN, Timing::default());
    let old: Vec<Standing> = (0..3).map(|node| bench.voter(node).standing().clone()).collect();
    won(propose(&mut bench, 0, 1).1);
    let value = won(propose(&mut bench, 0, 2).1);
    settle(&mut bench);

    // One voter went back: the majority of the others knows better.
    bench.set_standing(2, old[2].clone());
    bench.restart(0);
    bench.proposers[0].note_high(value.version);
    match propose(&mut bench, 0, 1).1 {
        Answer::Lost(found) => assert_eq!(found.version, value.version),
        other => panic!("the register did not go back: {other:?}"),
    }

    // Two did.
    settle(&mut bench);
    bench.set_standing(1, old[1].clone());
    bench.set_standing(2, old[2].clone());
    bench.kill(0);
    bench.proposers[1].note_high(value.version);
    let answer = propose(&mut bench, 1, 1).1;
    assert_eq!(answer, Answer::WentBack { found: 1, high: value.version });
    // A node that had stored nothing higher cannot tell.
    bench.restart(1);
    assert_eq!(won(propose(&mut bench, 1, 1).1).version, 2);
}

#[test]
fn a_voter_answers_a_lost_promise_and_a_lost_acceptance_again() {
    let mut voter = Voter::new(Standing::Seated(record()));
    let prepare = say(Body::Prepare { ballot: ballot(5) });
    let first = voter.handle(&prepare, NO_ID);
    let again = voter.handle(&prepare, NO_ID);
    assert!(first.changed && !again.changed);
    assert_eq!(first.reply, again.reply);

    let value = Value { version: 2, ..record().value };
    let accept = say(Body::Accept { ballot: ballot(5), value, next: ballot(6) });
    let first = voter.handle(&accept, NO_ID);
    voter.handle(&say(Body::Prepare { ballot: ballot(9) }), NO_ID);
    let again = voter.handle(&accept, NO_ID);
    assert!(first.changed && !again.changed);
    assert_eq!(first.reply, again.reply);
}

#[test]
fn a_voter_refuses_below_its_promise_and_below_the_next_ballot_that_it_promised() {
    let mut voter = Voter::new(Standing::Seated(record()));
    let value = Value { version: 2, ..record().value };
    let accept = |n| Body::Accept { ballot: ballot(n), value: value.clone(), next: ballot(n + 1) };
    voter.handle(&say(accept(5)), NO_ID);
    let stranger = Ballot { n: 5, node: NodeId(2), run: 1 };
    for body in [Body::Prepare { ballot: stranger }, Body::Prepare { ballot: ballot(4) }, accept(4)]
    {
        let reaction = voter.handle(&say(body), NO_ID);
        assert!(!reaction.changed);
        match reaction.reply.map(|reply| reply.body) {
            Some(Body::Refuse { promised, .. }) => assert_eq!(promised, ballot(6)),
            other => panic!("not refused: {other:?}"),
        }
    }
}

#[test]
fn a_message_of_another_cluster_is_not_heard() {
    let mut voter = Voter::new(Standing::Seated(record()));
    let mut message = say(Body::Prepare { ballot: ballot(5) });
    message.cluster.0 += 1;
    let reaction = voter.handle(&message, NO_ID);
    assert_eq!((reaction.changed, reaction.reply), (false, None));
}

/// Rule R2: a newcomer asked for its id, which is `fresh`.
fn newcomer(fresh: VoterId) -> Voter {
    let mut voter = Voter::new(Standing::Vacant);
    let ask = Body::Ask { admission: attempt(1), version: 1, voters: seats() };
    let named = Body::Named { admission: attempt(1), voter: fresh, newcomer: true };
    for _ in 0..2 {
        // Asked again for the same admission, it tells the same id.
        let reaction = voter.handle(&say(ask.clone()), VoterId(fresh.0));
        assert_eq!(reaction.reply, Some(say(named.clone())));
    }
    voter
}

#[test]
fn a_newcomer_is_silent_until_it_is_shown_that_the_others_accepted_the_value_that_names_it() {
    let fresh = VoterId(99);
    let mut voters = seats();
    voters[1].voter = fresh;
    let value = Value { version: 2, voters, ..record().value };
    let accept = Body::Accept { ballot: ballot(5), value: value.clone(), next: ballot(6) };
    let learn = |by: &[u64]| Body::Learn {
        ballot: ballot(5),
        next: ballot(6),
        value: value.clone(),
        by: by.iter().map(|id| VoterId(*id)).collect(),
    };
    let mut voter = newcomer(fresh);
    // One survivor, or one and itself, or one and the one that was replaced, are no proof.
    for body in [
        Body::Prepare { ballot: ballot(5) },
        accept,
        learn(&[10]),
        learn(&[10, 99]),
        learn(&[10, 11]),
    ] {
        let reaction = voter.handle(&say(body), NO_ID);
        assert_eq!((reaction.changed, reaction.reply), (false, None));
    }
    let reaction = voter.handle(&say(learn(&[10, 12])), NO_ID);
    assert_eq!((reaction.changed, reaction.reply), (true, None));
    let seated = voter.record().expect("it votes");
    assert_eq!((seated.promised, seated.accepted), (ballot(5), ballot(5)));
    assert_eq!(seated.value, value);
}

#[test]
fn a_voter_whose_id_left_the_list_draws_a_new_one_whatever_its_record_says() {
    let mut voter = Voter::new(Standing::Seated(record()));
    let mut voters = seats();
    voters[0].voter = VoterId(50);
    let ask = |n, version, voters: &[Seat]| {
        say(Body::Ask { admission: attempt(n), version, voters: voters.to_vec() })
    };
    // A list as old as its record proves nothing.
    assert_eq!(voter.handle(&ask(1, 1, &voters), VoterId(60)).reply, None);
    let listed = voter.handle(&ask(2, 2, &seats()), VoterId(60));
    let named = Body::Named { admission: attempt(2), voter: VoterId(10), newcomer: false };
    assert_eq!((listed.changed, listed.reply), (false, Some(say(named))));

    let left = voter.handle(&ask(3, 2, &voters), VoterId(60));
    let named = Body::Named { admission: attempt(3), voter: VoterId(60), newcomer: true };
    assert_eq!((left.changed, left.reply), (true, Some(say(named))));
    assert_eq!(voter.handle(&say(Body::Prepare { ballot: ballot(9) }), NO_ID).reply, None);
    // Each admission has an id of its own: none that may have left the list is named again.
    let next = voter.handle(&ask(4, 3, &voters), VoterId(61));
    let named = Body::Named { admission: attempt(4), voter: VoterId(61), newcomer: true };
    assert_eq!(next.reply, Some(say(named)));
}

#[test]
fn only_a_vacant_seat_takes_the_first_record() {
    let mut vacant = Voter::new(Standing::Vacant);
    assert!(vacant.install(record()));
    assert!(vacant.install(record()), "the same once more changes nothing");
    let other = Record { promised: ballot(3), ..record() };
    assert!(!vacant.install(other));
    assert!(!newcomer(VoterId(99)).install(record()));
}

#[test]
fn a_change_that_could_never_win_or_is_none_is_refused() {
    let setup = Setup {
        cluster: CLUSTER,
        me: NodeId(0),
        run: 1,
        seed: 1,
        nodes: (0..3).map(NodeId).collect(),
        timing: Timing::default(),
    };
    let mut proposer = Proposer::new(setup);
    let base = record().value;
    let new = Seat { voter: VoterId(99), node: NodeId(1) };
    let listed = Seat { voter: VoterId(10), node: NodeId(1) };
    let mut ask = |base: &Value, old, new| proposer.replace_voter(attempt(1), base, old, new, 0);
    assert_eq!(ask(&base, VoterId(77), new), Err(Refusal::NotInList));
    assert_eq!(ask(&base, VoterId(11), listed), Err(Refusal::NotInList));
    let two = Value { voters: seats()[..2].to_vec(), ..base.clone() };
    assert_eq!(ask(&two, VoterId(11), new), Err(Refusal::TooFewVoters));
    assert_eq!(ask(&base, VoterId(11), new), Ok(()));
}
