//! The register on its threads: three nodes in one process, real record files or disks that hang
//! and fail on command, links that can be cut. Waits are for conditions, with a deadline.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test panics at any other answer")]

use regent_store::cell::{
    Answer, Attempt, ClusterId, Message, NodeId, Refusal, Seat, Standing, Swap, Timing, Value,
    VoterId, initial_records,
};
use regent_store::embedded::{
    Admit, Config, Disk, Event, Handle, Kept, RecordFile, Request, start, start_on,
};
use regent_store::{Fault, Outbox, Register, RequestId, Storing};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

const CLUSTER: ClusterId = ClusterId(9);
const DEADLINE: Duration = Duration::from_secs(20);

/// Everything the three nodes share: links, answers, views.
#[derive(Default)]
struct Shared {
    state: Mutex<Seen>,
    news: Condvar,
    requests: AtomicU64,
}

#[derive(Default)]
struct Seen {
    nodes: BTreeMap<u16, Arc<Handle>>,
    cut: BTreeSet<(u16, u16)>,
    sent: Vec<(u16, u16, Message)>,
    answers: BTreeMap<u64, Answer>,
    views: BTreeMap<u16, Value>,
    faults: Vec<u16>,
}

struct Post {
    me: u16,
    shared: Arc<Shared>,
}

impl Outbox for Post {
    fn send(&self, to: NodeId, message: Message) {
        let target = {
            let mut seen = self.shared.state.lock().expect("no test panics with the lock");
            seen.sent.push((self.me, to.0, message.clone()));
            let is_cut = seen.cut.contains(&(self.me, to.0));
            if is_cut { None } else { seen.nodes.get(&to.0).cloned() }
        };
        if let Some(target) = target {
            target.tell(Event::Message { from: NodeId(self.me), message });
        }
    }

    fn answer(&self, id: RequestId, answer: Answer) {
        self.note(|seen| assert!(seen.answers.insert(id.0, answer).is_none(), "answered twice"));
    }

    fn watch(&self, value: &Value) {
        self.note(|seen| {
            seen.views.insert(self.me, value.clone());
        });
    }

    fn report(&self, _fault: Fault) {
        self.note(|seen| seen.faults.push(self.me));
    }
}

impl Post {
    fn note(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.shared.state.lock().expect("no test panics with the lock"));
        self.shared.news.notify_all();
    }
}

/// A disk that hangs or fails while it is told to.
#[derive(Clone, Default)]
struct Moody(Arc<(Mutex<Mood>, Condvar)>);

#[derive(Clone, Default)]
struct Mood {
    hangs: bool,
    fails: bool,
    kept: Option<Kept>,
    writes: u64,
}

impl Moody {
    fn set(&self, change: impl FnOnce(&mut Mood)) {
        change(&mut self.0.0.lock().expect("no test panics with the lock"));
        self.0.1.notify_all();
    }

    fn kept(&self) -> Option<Kept> {
        self.0.0.lock().expect("no test panics with the lock").kept.clone()
    }
}

impl Disk for Moody {
    fn store(&mut self, kept: &Kept) -> io::Result<()> {
        let mood = self.0.0.lock().expect("no test panics with the lock");
        let mut mood = self.0.1.wait_while(mood, |mood| mood.hangs).expect("not poisoned");
        if mood.fails {
            return Err(io::Error::other("planted"));
        }
        mood.kept = Some(kept.clone());
        mood.writes += 1;
        Ok(())
    }
}

struct Cluster {
    shared: Arc<Shared>,
    disks: Vec<Moody>,
    directory: PathBuf,
    started: Instant,
    runs: u64,
    attempts: u64,
}

impl Cluster {
    /// Nodes without a register.
    fn vacant(name: &str) -> Cluster {
        let name = format!("regent-register-{}-{name}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).expect("a directory for the test");
        Cluster {
            shared: Arc::default(),
            disks: vec![Moody::default(); 3].into_iter().map(|_| Moody::default()).collect(),
            directory,
            started: Instant::now(),
            runs: 0,
            attempts: 0,
        }
    }

    /// Three nodes on moody disks, with a register.
    fn new(name: &str) -> Cluster {
        let mut cluster = Cluster::vacant(name);
        for (node, record) in records() {
            let kept = Kept { standing: Standing::Seated(record), high: 0 };
            cluster.start_with(node.0, kept);
        }
        cluster
    }

    fn config(&mut self, node: u16) -> Config {
        self.runs += 1;
        Config {
            me: NodeId(node),
            nodes: (0..3).map(NodeId).collect(),
            path: self.directory.join(format!("record-{node}")),
            run: self.runs,
            seed: self.runs,
            // Machines that run tests are slow: the budget is that of a wait here.
            timing: Timing { budget: 5_000_000_000, ..Timing::default() },
            proposes: node != 2,
        }
    }

    fn start_with(&mut self, node: u16, kept: Kept) {
        let config = self.config(node);
        self.start_as(node, kept, config);
    }

    fn start_as(&mut self, node: u16, kept: Kept, config: Config) {
        let disk = self.disks[node as usize].clone();
        disk.set(|mood| mood.kept = Some(kept.clone()));
        let outbox = Arc::new(Post { me: node, shared: Arc::clone(&self.shared) });
        let handle = start_on(Box::new(disk), kept, config, self.clock(), outbox);
        self.join(node, handle.expect("threads start"));
    }

    fn start_on_file(&mut self, node: u16) {
        let config = self.config(node);
        let outbox = Arc::new(Post { me: node, shared: Arc::clone(&self.shared) });
        let handle = start(config, self.clock(), outbox).expect("the record opens");
        self.join(node, handle);
    }

    fn clock(&self) -> Arc<dyn Fn() -> u64 + Send + Sync> {
        let started = self.started;
        Arc::new(move || started.elapsed().as_nanos() as u64)
    }

    fn join(&self, node: u16, handle: Handle) {
        self.shared.state.lock().expect("lock").nodes.insert(node, Arc::new(handle));
    }

    fn stop(&self, node: u16) {
        let handle = self.shared.state.lock().expect("lock").nodes.remove(&node);
        let mut handle = handle.expect("the node runs");
        let end = Instant::now() + DEADLINE;
        loop {
            match Arc::try_unwrap(handle) {
                Ok(handle) => return handle.shutdown(),
                // A neighbour is just sending to it.
                Err(shared) => handle = shared,
            }
            assert!(Instant::now() < end, "somebody keeps the handle");
            std::thread::yield_now();
        }
    }

    fn cut(&self, links: &[(u16, u16)]) {
        let mut seen = self.shared.state.lock().expect("lock");
        seen.cut = links.iter().flat_map(|(a, b)| [(*a, *b), (*b, *a)]).collect();
    }

    fn ask(&self, node: u16, request: Request) -> RequestId {
        let id = RequestId(1 + self.shared.requests.fetch_add(1, Ordering::Relaxed));
        let handle = self.shared.state.lock().expect("lock").nodes[&node].clone();
        handle.tell(Event::Request { id, request });
        id
    }

    /// Waits until the condition holds; panics after the deadline.
    fn wait<T>(&self, what: &str, mut holds: impl FnMut(&mut Seen) -> Option<T>) -> T {
        let end = Instant::now() + DEADLINE;
        let mut seen = self.shared.state.lock().expect("lock");
        loop {
            if let Some(found) = holds(&mut seen) {
                return found;
            }
            let left = end.checked_duration_since(Instant::now());
            let left = left.unwrap_or_else(|| panic!("waited in vain for {what}"));
            seen = self.shared.news.wait_timeout(seen, left).expect("lock").0;
        }
    }

    fn answer(&self, id: RequestId) -> Answer {
        self.wait("an answer", |seen| seen.answers.remove(&id.0))
    }

    fn attempt(&mut self, node: u16) -> Attempt {
        self.attempts += 1;
        Attempt { node, boot: 0, run: self.runs, n: self.attempts }
    }

    fn propose(&mut self, node: u16, expect: u64, storing: Storing) -> RequestId {
        let attempt = self.attempt(node);
        let bytes = expect.to_le_bytes().to_vec();
        let swap = Swap { attempt, expect, bytes, holder: node == 0 };
        self.ask(node, Request::Swap { swap, storing })
    }

    /// Swaps and expects to win.
    fn win(&mut self, node: u16, expect: u64) -> Value {
        let id = self.propose(node, expect, Storing::Before);
        match self.answer(id) {
            Answer::Won(value) => value,
            other => panic!("did not win: {other:?}"),
        }
    }

    fn sent(&self) -> Vec<(u16, u16, Message)> {
        std::mem::take(&mut self.shared.state.lock().expect("lock").sent)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for disk in &self.disks {
            disk.set(|mood| mood.hangs = false);
        }
        let nodes: Vec<u16> = {
            let Ok(seen) = self.shared.state.lock() else { return };
            seen.nodes.keys().copied().collect()
        };
        if !std::thread::panicking() {
            nodes.into_iter().for_each(|node| self.stop(node));
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn records() -> Vec<(NodeId, regent_store::cell::Record)> {
    let seats: Vec<Seat> =
        (0..3).map(|n| Seat { voter: VoterId(10 + u64::from(n)), node: NodeId(n) }).collect();
    initial_records(CLUSTER, &seats, b"first")
}

#[test]
fn a_register_is_installed_once_and_read_swapped_and_watched_from_then_on() {
    let mut cluster = Cluster::vacant("install");
    (0..3).for_each(|node| cluster.start_on_file(node));
    let id = cluster.ask(0, Request::Read);
    assert_eq!(cluster.answer(id), Answer::Refused(Refusal::NotInstalled));

    for (node, record) in records() {
        let first = record.value.clone();
        let id = cluster.ask(node.0, Request::Install(Box::new(record)));
        assert_eq!(cluster.answer(id), Answer::View(first));
    }
    let mut other = records().remove(0).1;
    other.cluster = ClusterId(8);
    let id = cluster.ask(0, Request::Install(Box::new(other)));
    assert_eq!(cluster.answer(id), Answer::Refused(Refusal::Installed));

    let id = cluster.ask(1, Request::Read);
    assert!(matches!(cluster.answer(id), Answer::View(value) if value.bytes == b"first"));
    let won = cluster.win(0, 1);
    assert_eq!(won.version, 2);
    cluster.wait("the view of all", |seen| {
        (0..3).all(|node| seen.views.get(&node) == Some(&won)).then_some(())
    });
    let id = cluster.propose(1, 1, Storing::Before);
    assert_eq!(cluster.answer(id), Answer::Lost(won));
}

#[test]
fn what_was_won_survives_the_restart_of_all_nodes() {
    let mut cluster = Cluster::vacant("restart");
    (0..3).for_each(|node| cluster.start_on_file(node));
    for (node, record) in records() {
        let id = cluster.ask(node.0, Request::Install(Box::new(record)));
        assert!(matches!(cluster.answer(id), Answer::View(_)));
    }
    let mut won = cluster.win(0, 1);
    for _ in 0..20 {
        won = cluster.win(0, won.version);
    }
    (0..3).for_each(|node| cluster.stop(node));
    let path = cluster.directory.join("record-0");
    let (_, kept) = RecordFile::open(&path).expect("the record opens");
    assert!(kept.high >= won.version - 1, "what a swap expected is durable first: {kept:?}");

    (0..3).for_each(|node| cluster.start_on_file(node));
    let id = cluster.ask(1, Request::Read);
    assert_eq!(cluster.answer(id), Answer::View(won));
}

#[test]
fn a_hung_disk_silences_one_vote_and_nothing_else() {
    let mut cluster = Cluster::new("hang");
    let mut version = cluster.win(0, 1).version;
    cluster.disks[0].set(|mood| mood.hangs = true);
    for _ in 0..10 {
        let id = cluster.propose(0, version, Storing::Behind);
        match cluster.answer(id) {
            Answer::Won(value) => version = value.version,
            other => panic!("did not win: {other:?}"),
        }
    }
    let kept = cluster.disks[0].kept().expect("it kept something");
    assert!(kept.high < version - 1, "the disk hangs");

    cluster.disks[0].set(|mood| mood.hangs = false);
    cluster.win(0, version);
}

#[test]
fn a_swap_that_needs_its_version_stored_sends_nothing_before() {
    let mut cluster = Cluster::new("before");
    let won = cluster.win(1, 1);
    cluster.wait("the view", |seen| (seen.views.get(&0) == Some(&won)).then_some(()));
    cluster.disks[0].set(|mood| mood.hangs = true);
    // A view that is not stored yet: the disk hangs from here on.
    let won = cluster.win(1, won.version);
    cluster.wait("the view", |seen| (seen.views.get(&0) == Some(&won)).then_some(()));
    cluster.sent();
    let id = cluster.propose(0, won.version, Storing::Before);
    // Two more swaps by another node pass meanwhile, without a word from this one.
    let next = cluster.win(1, won.version);
    assert!(cluster.sent().iter().all(|(from, ..)| *from != 0), "it spoke before it stored");
    cluster.disks[0].set(|mood| mood.hangs = false);
    assert_eq!(cluster.answer(id), Answer::Lost(next));
    let kept = cluster.disks[0].kept().expect("it kept something");
    assert!(kept.high >= won.version);
}

#[test]
fn a_failing_disk_is_reported_once_and_the_vote_comes_back_with_it() {
    let mut cluster = Cluster::new("fail");
    cluster.disks[1].set(|mood| mood.fails = true);
    let mut version = 1;
    for _ in 0..5 {
        version = cluster.win(0, version).version;
    }
    cluster.wait("the report", |seen| seen.faults.contains(&1).then_some(()));
    assert_eq!(cluster.shared.state.lock().expect("lock").faults, [1]);
    cluster.disks[1].set(|mood| mood.fails = false);
    cluster.cut(&[(0, 2), (1, 2)]);
    version = cluster.win(0, version).version;
    // Without the witness this vote was needed, and it was durable before it counted.
    match cluster.disks[1].kept().expect("kept").standing {
        Standing::Seated(record) => assert_eq!(record.value.version, version),
        other => panic!("it votes: {other:?}"),
    }
}

#[test]
fn without_a_majority_the_answer_is_unknown_and_a_later_swap_goes_on() {
    let mut cluster = Cluster::new("unknown");
    cluster.cut(&[(0, 1), (0, 2)]);
    let first = cluster.propose(0, 1, Storing::Behind);
    let second = cluster.propose(0, 1, Storing::Before);
    assert_eq!(cluster.answer(first), Answer::Unknown);
    cluster.cut(&[]);
    match cluster.answer(second) {
        Answer::Won(value) => assert_eq!(value.version, 2),
        other => panic!("did not win: {other:?}"),
    }
}

#[test]
fn a_witness_votes_and_has_views_and_proposes_nothing() {
    let mut cluster = Cluster::new("witness");
    cluster.cut(&[(0, 1), (1, 2)]);
    let won = cluster.win(0, 1);
    cluster.wait("the view", |seen| (seen.views.get(&2) == Some(&won)).then_some(()));
    let id = cluster.propose(2, won.version, Storing::Before);
    assert_eq!(cluster.answer(id), Answer::Refused(Refusal::OnlyVotes));
}

#[test]
fn a_register_that_went_back_is_noticed_by_a_swap() {
    let mut cluster = Cluster::new("back");
    let old: Vec<Kept> = (0..3).map(|n| cluster.disks[n].kept().expect("kept")).collect();
    let mut won = cluster.win(0, 1);
    for _ in 0..3 {
        won = cluster.win(0, won.version);
    }
    // Both others come back with old records: outside the assumption, and noticed.
    (0..3).for_each(|node| cluster.stop(node));
    let kept = cluster.disks[0].kept().expect("kept");
    cluster.start_with(0, kept);
    cluster.start_with(1, old[1].clone());
    cluster.start_with(2, old[2].clone());
    cluster.disks[0].set(|mood| mood.hangs = true);
    let id = cluster.propose(0, 1, Storing::Behind);
    match cluster.answer(id) {
        Answer::WentBack { found: 1, high } => assert!(high >= won.version - 1),
        other => panic!("not noticed: {other:?}"),
    }
}

#[test]
fn a_voter_that_lost_its_disk_is_silent_until_it_is_admitted() {
    let mut cluster = Cluster::new("admit");
    let mut version = cluster.win(0, 1).version;
    cluster.stop(1);
    cluster.start_with(1, Kept { standing: Standing::Vacant, high: 0 });

    // It says nothing: without the witness there is no majority.
    cluster.sent();
    version = cluster.win(0, version).version;
    assert!(cluster.sent().iter().all(|(from, ..)| *from != 1), "a vacant seat spoke");

    let attempt = cluster.attempt(0);
    let admit = Admit { attempt, node: NodeId(1), instead_of: NodeId(1) };
    let id = cluster.ask(0, Request::Admit(admit));
    let named = match cluster.answer(id) {
        Answer::Won(value) => value,
        other => panic!("not admitted: {other:?}"),
    };
    assert_eq!(named.version, version + 1);
    let seat = named.seat_of(NodeId(1)).expect("it has a seat");
    assert_ne!(seat.voter, VoterId(11), "a new id");
    cluster.wait("its view", |seen| (seen.views.get(&1) == Some(&named)).then_some(()));

    // Now its vote counts: the witness goes.
    cluster.cut(&[(0, 2), (1, 2)]);
    let won = cluster.win(0, named.version);
    assert_eq!(won.version, named.version + 1);
    cluster.cut(&[]);

    let attempt = cluster.attempt(0);
    let again = Admit { attempt, node: NodeId(1), instead_of: NodeId(1) };
    let id = cluster.ask(0, Request::Admit(again));
    assert_eq!(cluster.answer(id), Answer::Refused(Refusal::AlreadyVotes));
}

#[test]
fn a_voter_that_comes_back_with_its_old_record_after_it_was_replaced_draws_a_new_id() {
    let mut cluster = Cluster::new("replaced");
    let version = cluster.win(0, 1).version;
    let old = cluster.disks[1].kept().expect("kept");
    cluster.stop(1);
    cluster.start_with(1, Kept { standing: Standing::Vacant, high: 0 });
    let admit = |cluster: &mut Cluster| {
        let attempt = cluster.attempt(0);
        let admit = Admit { attempt, node: NodeId(1), instead_of: NodeId(1) };
        let id = cluster.ask(0, Request::Admit(admit));
        match cluster.answer(id) {
            Answer::Won(value) => value,
            other => panic!("not admitted: {other:?}"),
        }
    };
    let first = admit(&mut cluster);
    assert_eq!(first.version, version + 1);
    cluster.stop(1);
    cluster.start_with(1, old);
    let second = admit(&mut cluster);
    let ids: BTreeSet<VoterId> = [&first, &second]
        .map(|value| value.seat_of(NodeId(1)).expect("it has a seat").voter)
        .into_iter()
        .chain([VoterId(11)])
        .collect();
    assert_eq!(ids.len(), 3, "each stay has an id of its own");
}

#[test]
fn what_a_node_saw_of_another_cluster_says_nothing_about_this_one() {
    let mut cluster = Cluster::new("other-cluster");
    let version = cluster.win(0, 1).version;
    cluster.stop(1);
    let admission = Attempt { node: 1, boot: 0, run: 0, n: 0 };
    let (other, voter) = (ClusterId(8), VoterId(77));
    let standing = Standing::Newcomer { cluster: other, voter, admission };
    cluster.start_with(1, Kept { standing, high: 50 });
    let attempt = cluster.attempt(0);
    let admit = Admit { attempt, node: NodeId(1), instead_of: NodeId(1) };
    let id = cluster.ask(0, Request::Admit(admit));
    assert!(matches!(cluster.answer(id), Answer::Won(_)));
    cluster.wait("its view", |seen| {
        seen.views.get(&1).is_some_and(|view| view.version == version + 1).then_some(())
    });
    assert_eq!(cluster.win(1, version + 1).version, version + 2);
    let kept = cluster.disks[1].kept().expect("kept");
    assert!((version..50).contains(&kept.high), "{kept:?}");
}

#[test]
fn the_verbs_of_the_register_are_those_of_the_thread() {
    let cluster = Cluster::new("verbs");
    let handle = cluster.shared.state.lock().expect("lock").nodes[&0].clone();
    let register: &dyn Register = &*handle;
    register.read(RequestId(1));
    assert!(matches!(cluster.answer(RequestId(1)), Answer::View(value) if value.version == 1));
    let attempt = Attempt { node: 0, boot: 0, run: 0, n: 1 };
    let swap = Swap { attempt, expect: 1, bytes: b"second".to_vec(), holder: true };
    register.compare_and_swap(RequestId(2), swap, Storing::Before);
    let won = match cluster.answer(RequestId(2)) {
        Answer::Won(value) => value,
        other => panic!("did not win: {other:?}"),
    };
    cluster.wait("the view", |seen| (seen.views.remove(&0) == Some(won.clone())).then_some(()));
    register.watch();
    cluster.wait("the view, asked for", |seen| (seen.views.get(&0) == Some(&won)).then_some(()));
}
