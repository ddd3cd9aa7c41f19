//! Two releases on one register (R7): what the older one does not know outlives what it writes.

use proptest::prelude::*;
use regent_core::command;
use regent_core::id::{AttemptId, BootId, ClusterId, Epoch, Incarnation, NodeId, RunId};
use regent_core::pair::Word;
use regent_core::reason::MoveReason;
use regent_core::state::{
    Bounded, Data, DataCopy, FORMAT, HISTORY_MAX, Intent, Lease, Member, MemberRole, Move, Phase,
    State, StateError, Switchover, Sync, Timing,
};
use regent_core::time::Span;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const LATER: &str = "later";

fn attempt(n: u64) -> AttemptId {
    AttemptId { node: A, boot: BootId(u64::MAX), run: RunId(1 << 60), n }
}

fn copy(node: NodeId, incarnation: u64) -> DataCopy {
    DataCopy { node, incarnation: Incarnation(incarnation) }
}

fn step(epoch: u64) -> Move {
    Move { epoch: Epoch(epoch), from: A, to: B, why: MoveReason::NotRenewed(Span(epoch)) }
}

/// Everything in it is set.
fn full() -> State {
    let member = |name: &str| Member {
        name: name.into(),
        speaks: FORMAT,
        role: MemberRole::Node,
        by: Some(attempt(3)),
    };
    let bounded = |n| Bounded { since: attempt(n), length: Span::millis(n * 1000) };
    State {
        format: FORMAT,
        cluster: ClusterId(7),
        replaces: Some(ClusterId(6)),
        lease: Lease {
            epoch: Epoch(4),
            holder: A,
            phase: Phase::Ruling,
            ttl: Span::millis(700),
            by: attempt(9),
        },
        sync: Sync { writer: copy(A, 11), with: Some(copy(B, 12)) },
        data: Data::InUse { node: A, epoch: Epoch(4), watchdog: Some(Span::millis(5000)) },
        intent: Intent {
            switchover: Some(Switchover { to: B, epoch: Epoch(4) }),
            maintenance: BTreeMap::from([(A, bounded(5)), (B, bounded(6))]),
            pause: Some(bounded(7)),
            stopped: Some(attempt(8)),
        },
        members: BTreeMap::from([(A, member("mn1")), (B, member("mn2"))]),
        timing: Timing { ttl: Span::millis(700), margin: Span::millis(90), drift_ppm: 10_000 },
        history: (0..HISTORY_MAX as u64).map(step).collect(),
        kept: Default::default(),
    }
}

/// The bytes of a later release: a field more in everything that has fields.
fn of_a_later_release(state: &State) -> Vec<u8> {
    fn add(key: &str, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.iter_mut().for_each(|(key, value)| add(key, value));
                // Maps of nodes, and the one key that says which variant it is, have no room for a field.
                let has_room = !matches!(key, "members" | "maintenance" | "data" | "why");
                if has_room {
                    fields.insert(LATER.into(), json!({"of": key, "big": u64::MAX}));
                }
            }
            Value::Array(entries) => entries.iter_mut().for_each(|entry| add(key, entry)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut value = serde_json::to_value(state).expect("JSON");
    add("state", &mut value);
    serde_json::to_vec(&value).expect("JSON")
}

fn parsed(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("JSON")
}

/// The later release's field at this place.
fn later<'a>(value: &'a Value, place: &str) -> Option<&'a Value> {
    value.pointer(place)?.get(LATER)
}

#[derive(Clone, Debug)]
enum Op {
    Renew(u64),
    Succeed(NodeId),
    Solo(NodeId, u64),
    Join(u64),
    Use(bool),
    Maintenance(NodeId, Option<u64>),
    Pause(Option<u64>),
    Switchover(bool),
    Stopped(bool),
    MemberBy(NodeId, u64),
    Speaks(NodeId, u16),
    Timing(u64),
    Forget(NodeId),
}

fn op() -> impl Strategy<Value = Op> {
    let node = || prop_oneof![Just(A), Just(B)];
    prop_oneof![
        (10u64..99).prop_map(Op::Renew),
        node().prop_map(Op::Succeed),
        (node(), 11u64..15).prop_map(|(node, incarnation)| Op::Solo(node, incarnation)),
        (11u64..15).prop_map(Op::Join),
        any::<bool>().prop_map(Op::Use),
        (node(), proptest::option::of(5u64..9)).prop_map(|(node, n)| Op::Maintenance(node, n)),
        proptest::option::of(5u64..9).prop_map(Op::Pause),
        any::<bool>().prop_map(Op::Switchover),
        any::<bool>().prop_map(Op::Stopped),
        (node(), 3u64..9).prop_map(|(node, n)| Op::MemberBy(node, n)),
        (node(), 1u16..3).prop_map(|(node, speaks)| Op::Speaks(node, speaks)),
        (1u64..3).prop_map(|n| Op::Timing(n * 700)),
        node().prop_map(Op::Forget),
    ]
}

fn apply(state: &mut State, op: &Op) {
    match *op {
        Op::Renew(n) => state.lease.by = attempt(n),
        Op::Succeed(to) => {
            let epoch = Epoch(state.lease.epoch.0 + 1);
            state.lease = Lease { epoch, holder: to, phase: Phase::Heir, ..state.lease };
            state.intent.switchover = None;
            state.remember(step(epoch.0 + 100));
        }
        Op::Solo(node, incarnation) => {
            state.sync = Sync { writer: copy(node, incarnation), with: None };
        }
        Op::Join(incarnation) => state.sync.with = Some(copy(B, incarnation)),
        Op::Use(uses) => {
            let epoch = state.lease.epoch;
            let used = Data::InUse { node: A, epoch, watchdog: None };
            state.data = if uses { used } else { Data::Clear };
        }
        Op::Maintenance(node, None) => {
            state.intent.maintenance.remove(&node);
        }
        Op::Maintenance(node, Some(n)) => {
            let bounded = Bounded { since: attempt(n), length: Span::millis(n * 1000) };
            state.intent.maintenance.insert(node, bounded);
        }
        Op::Pause(n) => {
            let bounded = |n| Bounded { since: attempt(n), length: Span::millis(n * 1000) };
            state.intent.pause = n.map(bounded);
        }
        Op::Switchover(is_set) => {
            let epoch = state.lease.epoch;
            state.intent.switchover = is_set.then_some(Switchover { to: B, epoch });
        }
        Op::Stopped(is_set) => state.intent.stopped = is_set.then(|| attempt(8)),
        Op::MemberBy(node, n) => {
            state.members.entry(node).and_modify(|member| member.by = Some(attempt(n)));
        }
        Op::Speaks(node, speaks) => {
            state.members.entry(node).and_modify(|member| member.speaks = speaks);
        }
        Op::Timing(ms) => state.timing.ttl = Span::millis(ms),
        Op::Forget(node) => {
            state.members.remove(&node);
        }
    }
}

/// The fields of records stay; a thing that is what it was keeps its own, another has none.
fn expect_kept(before: &State, written: &[u8], after: &State) {
    let (known, whole) = (serde_json::to_value(after).expect("JSON"), parsed(written));
    let was = serde_json::to_value(before).expect("JSON");
    for record in ["", "/lease", "/sync", "/intent", "/timing"] {
        assert!(later(&whole, record).is_some(), "lost at {record:?}: {whole}");
    }
    for node in after.members.keys() {
        assert!(later(&whole, &format!("/members/{}", node.0)).is_some(), "{whole}");
    }
    let things = [
        "/sync/writer",
        "/sync/with",
        "/data/in-use",
        "/intent/switchover",
        "/intent/pause",
        "/intent/stopped",
        "/intent/maintenance/1",
        "/intent/maintenance/2",
        "/lease/by",
        "/members/1/by",
    ];
    for thing in things {
        let same = |value: &Value| value.pointer(thing).cloned().filter(|value| !value.is_null());
        let (was, is) = (same(&was), same(&known));
        assert_eq!(later(&whole, thing).is_some(), is.is_some() && was == is, "{thing}: {whole}");
    }
    for (at, entry) in after.history.iter().enumerate() {
        let has = later(&whole, &format!("/history/{at}")).is_some();
        assert_eq!(has, before.history.contains(entry), "move {at}: {whole}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn what_an_older_release_does_not_know_outlives_what_it_writes(
        ops in proptest::collection::vec(op(), 0..6),
    ) {
        let before = full();
        let bytes = of_a_later_release(&before);
        let read = State::decode(&bytes).unwrap();
        prop_assert_eq!(parsed(&read.encode()), parsed(&bytes), "read and written is the same");
        let mut after = read.clone();
        ops.iter().for_each(|op| apply(&mut after, op));
        let written = after.encode();
        expect_kept(&before, &written, &after);
        // What is known is written as it is meant, and to be read again changes nothing.
        let again = State::decode(&written).unwrap();
        let tree = |state: &State| serde_json::to_value(state).unwrap();
        prop_assert_eq!(tree(&again), tree(&after));
        prop_assert_eq!(again.encode(), written);
    }
}

#[test]
fn many_renewals_by_an_older_release_lose_nothing() {
    let mut bytes = of_a_later_release(&full());
    let first = parsed(&bytes);
    for n in 0..100 {
        let mut state = State::decode(&bytes).unwrap();
        state.lease.by = attempt(100 + n);
        bytes = state.encode();
    }
    let last = parsed(&bytes);
    assert_eq!(later(&last, "/lease"), later(&first, "/lease"));
    assert_eq!(last["members"], first["members"]);
    assert_eq!(last["history"], first["history"]);
    assert_eq!(last["sync"], first["sync"]);
}

#[test]
fn what_is_all_known_is_written_as_this_release_writes_it() {
    let state = full();
    let read = State::decode(&state.encode()).unwrap();
    assert_eq!(read, state);
    assert!(read.kept.is_empty());
    assert_eq!(read.encode(), state.encode());
}

#[test]
fn what_an_older_release_left_out_is_no_unknown_field() {
    let mut value = serde_json::to_value(full()).unwrap();
    let fields = value.as_object_mut().unwrap();
    fields.remove("replaces");
    let read = State::decode(&serde_json::to_vec(&value).unwrap()).unwrap();
    assert!(read.kept.is_empty());
    assert_eq!(read.replaces, None);
}

#[test]
fn a_register_of_one_keeps_what_was_agreed_and_has_nobodys_right() {
    let old = State::decode(&of_a_later_release(&full())).unwrap();
    let told = AttemptId { node: B, boot: BootId(5), run: RunId(6), n: 77 };
    let said = command::Word::IsOff(A);
    let word = Word { cluster: ClusterId(8), by: told, seen: None, claimed: None, said };
    let new = word.found(old.clone());
    assert_eq!((new.cluster, new.replaces), (ClusterId(8), Some(ClusterId(7))));
    assert!(new.lease.epoch > old.lease.epoch, "S5");
    assert_eq!((new.lease.holder, new.lease.phase), (B, Phase::Free));
    assert_eq!((new.lease.by.node, new.lease.by.run), (B, RunId(6)));
    assert_ne!(new.lease.by.n, told.n, "no attempt of the run is taken for it");
    assert_eq!(new.data, Data::Clear);
    let stopped = Intent { stopped: Some(new.lease.by), ..Intent::default() };
    assert_eq!(new.intent, stopped, "nothing starts before it is asked");
    assert_eq!((&new.members, new.timing, new.format), (&old.members, old.timing, old.format));
    let last = new.history.last().unwrap();
    assert_eq!((last.epoch, last.from, last.to), (new.lease.epoch, A, B));
    assert_eq!(last.why, MoveReason::NewRegister(said));
    assert_eq!(new.history.len(), HISTORY_MAX);
    let whole = parsed(&new.encode());
    assert!(later(&whole, "").is_some() && later(&whole, "/members/1").is_some(), "R7");
    // A claim that was never cleared is older than the register before.
    let claimed = Word { claimed: Some(ClusterId(3)), ..word };
    assert_eq!(claimed.found(old).replaces, Some(ClusterId(3)));
}

#[test]
fn equal_states_have_equal_bytes() {
    let bytes = of_a_later_release(&full());
    let (one, other) = (State::decode(&bytes).unwrap(), State::decode(&bytes).unwrap());
    assert_eq!(one, other);
    assert_eq!(one.encode(), other.encode());
}

#[test]
fn a_newer_format_is_refused_whatever_else_is_in_it() {
    let bytes = format!(r#"{{"format":{},"lease":"anything"}}"#, FORMAT + 1).into_bytes();
    let refused = StateError::Format { found: FORMAT + 1, speaks: FORMAT };
    assert_eq!(State::decode(&bytes), Err(refused));
    assert!(matches!(State::decode_as(&bytes, FORMAT + 1), Err(StateError::Broken(_))));
}
