//! Links between members: who is refused, what is lost, and how soon a peer is heard again.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use regent_agent::ca;
use regent_agent::tls::{self, Identity};
use regent_agent::transport::{
    DialError, Hello, Incoming, Lane, Pace, Purpose, Setup, Transport, frame, hello,
};
use regent_config::settings::Member;
use regent_core::id::{ClusterId, NodeId};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{mpsc, watch};

struct World {
    dir: PathBuf,
    members: Vec<Member>,
}

impl World {
    fn new(name: &str) -> World {
        let dir = std::env::temp_dir().join(format!("regent-links-{name}-{}", std::process::id()));
        std::fs::remove_dir_all(&dir).ok();
        ca::init(&dir.join("ca")).unwrap();
        ca::init(&dir.join("other-ca")).unwrap();
        let listeners: Vec<std::net::TcpListener> =
            (0..3).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let members = ["mn1", "mn2", "w1"]
            .iter()
            .zip(&listeners)
            .zip(1..)
            .map(|((name, listener), id)| Member {
                id: NodeId(id),
                name: (*name).into(),
                address: listener.local_addr().unwrap(),
                witness: *name == "w1",
                interface: "lo".into(),
                fence: None,
            })
            .collect();
        World { dir, members }
    }

    /// The members as one of them knows them that reaches this other through a forwarder.
    fn members_through(&self, other: &str, forwarder: &Forwarder) -> Vec<Member> {
        let mut members = self.members.clone();
        members.iter_mut().find(|m| m.name == other).unwrap().address = forwarder.address;
        members
    }

    fn identity(&self, authority: &str, name: &str) -> Identity {
        let out = self.dir.join(format!("{authority}-{name}"));
        ca::issue(name, &self.dir.join(authority), &out).unwrap();
        tls::load(&out, [name].into_iter()).unwrap()
    }

    fn address(&self, name: &str) -> SocketAddr {
        self.members.iter().find(|m| m.name == name).unwrap().address
    }

    fn start(&self, name: &str) -> Running {
        self.start_as(self.identity("ca", name), name, |_| {})
    }

    fn start_as(&self, identity: Identity, name: &str, change: impl FnOnce(&mut Setup)) -> Running {
        let me = self.members.iter().find(|m| m.name == name).unwrap().id;
        let mut setup = Setup {
            identity,
            cluster: "lab".into(),
            cluster_id: None,
            me,
            run: 7,
            members: self.members.clone(),
            pace: Pace::default(),
        };
        change(&mut setup);
        let heard: Heard = Arc::default();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let inbox = {
            let heard = Arc::clone(&heard);
            move |from, lane, body| heard.lock().unwrap().push((from, lane, body))
        };
        let (transport, incoming) = Transport::start(setup, Arc::new(inbox), runtime.handle());
        Running { transport, incoming, heard, runtime: Some(runtime) }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.dir).ok();
    }
}

type Heard = Arc<Mutex<Vec<(NodeId, Lane, Vec<u8>)>>>;

/// One member's links; gone like a killed process when dropped.
struct Running {
    transport: Transport,
    incoming: mpsc::Receiver<Incoming>,
    heard: Heard,
    runtime: Option<Runtime>,
}

impl Running {
    fn runtime(&self) -> Handle {
        self.runtime.as_ref().unwrap().handle().clone()
    }

    fn heard(&self) -> Vec<(NodeId, Lane, Vec<u8>)> {
        self.heard.lock().unwrap().clone()
    }

    /// Sends to the other until it is heard there; how long that took.
    fn expect_heard(&self, other: &Running, to: NodeId, word: &[u8]) -> Duration {
        let began = Instant::now();
        loop {
            self.transport.send(to, Lane::Register, word.to_vec());
            std::thread::sleep(Duration::from_millis(1));
            if other.heard.lock().unwrap().iter().any(|(_, _, body)| body == word) {
                return began.elapsed();
            }
            assert!(began.elapsed() < Duration::from_secs(10), "never heard");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Forwards connections, each until it is told to stand still: bytes are taken from neither side any more, and
/// nobody is told, as when segments are lost and lost again.
struct Forwarder {
    address: SocketAddr,
    still: Arc<Mutex<Vec<watch::Sender<bool>>>>,
    _runtime: Runtime,
}

impl Forwarder {
    fn start(to: SocketAddr) -> Forwarder {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let still: Arc<Mutex<Vec<watch::Sender<bool>>>> = Arc::default();
        let told = Arc::clone(&still);
        runtime.spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(to).await else { continue };
                let (sender, receiver) = watch::channel(false);
                told.lock().unwrap().push(sender);
                let ((near_in, near_out), (far_in, far_out)) =
                    (near.into_split(), far.into_split());
                tokio::spawn(forward(near_in, far_out, receiver.clone()));
                tokio::spawn(forward(far_in, near_out, receiver));
            }
        });
        Forwarder { address, still, _runtime: runtime }
    }

    /// Lets these connections stand still, or go on; by the order in which they came.
    fn still(&self, is_still: impl Fn(usize) -> bool) {
        for (at, sender) in self.still.lock().unwrap().iter().enumerate() {
            sender.send_replace(is_still(at));
        }
    }

    fn carried(&self) -> usize {
        self.still.lock().unwrap().iter().filter(|sender| sender.receiver_count() > 0).count()
    }
}

async fn forward(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut still: watch::Receiver<bool>,
) {
    let mut bytes = [0; 16 * 1024];
    loop {
        if still.wait_for(|is_still| !is_still).await.is_err() {
            return;
        }
        // What is told comes before what is read: bytes that come after it stay where they are.
        let read = tokio::select! {
            biased;
            changed = still.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            read = from.read(&mut bytes) => read,
        };
        match read {
            Ok(length) if length > 0 => {
                if to.write_all(&bytes[..length]).await.is_err() {
                    return;
                }
            }
            Ok(_) | Err(_) => return,
        }
    }
}

/// What each end dials: three connections for each of the two lanes.
const DIALLED: usize = 6;

/// Two members that reach each other through forwarders only, with every connection of theirs up.
struct Forwarded {
    mn1: Running,
    mn2: Running,
    to_mn1: Forwarder,
    to_mn2: Forwarder,
    _world: World,
}

impl Forwarded {
    fn start(name: &str) -> Forwarded {
        let world = World::new(name);
        let (to_mn1, to_mn2) =
            (Forwarder::start(world.address("mn1")), Forwarder::start(world.address("mn2")));
        let through = |name: &str, other: &str, forwarder: &Forwarder| {
            world.start_as(world.identity("ca", name), name, |setup| {
                setup.members = world.members_through(other, forwarder);
            })
        };
        let (mn1, mn2) = (through("mn1", "mn2", &to_mn2), through("mn2", "mn1", &to_mn1));
        mn1.expect_heard(&mn2, MN2, b"linked");
        mn2.expect_heard(&mn1, MN1, b"linked back");
        // Both lanes, each with more than one connection, from both ends.
        expect("every connection", || to_mn1.carried() >= DIALLED && to_mn2.carried() >= DIALLED);
        // One that is carried may still be in its greeting: a message says over how many it comes.
        for lane in Lane::ALL {
            expect("a copy over every connection", || copies(&mn1, &mn2, lane) >= DIALLED as u64);
        }
        Forwarded { mn1, mn2, to_mn1, to_mn2, _world: world }
    }
}

/// How many copies of a message of mn1's come within a moment: over both ends' connections of a lane.
fn copies(mn1: &Running, mn2: &Running, lane: Lane) -> u64 {
    let all = || {
        let counts = mn2.transport.counts(MN1, lane);
        counts.taken + counts.doubled
    };
    let (before, began) = (all(), Instant::now());
    mn1.transport.send(MN2, lane, b"how many".to_vec());
    while all() - before < DIALLED as u64 && began.elapsed() < AT_ONCE {
        std::thread::sleep(Duration::from_millis(1));
    }
    all() - before
}

fn expect(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(10), "{what}: not so");
        std::thread::sleep(Duration::from_millis(1));
    }
}

const MN1: NodeId = NodeId(1);
const MN2: NodeId = NodeId(2);

#[test]
fn members_hear_each_other_on_each_lane() {
    let world = World::new("hear");
    let (mn1, mn2) = (world.start("mn1"), world.start("mn2"));
    mn1.expect_heard(&mn2, MN2, b"there");
    mn2.expect_heard(&mn1, MN1, b"and back");
    let (from, lane, _) = mn2.heard.lock().unwrap()[0].clone();
    assert_eq!((from, lane), (MN1, Lane::Register));
}

#[test]
fn a_killed_peer_that_returns_is_heard_at_once() {
    let world = World::new("return");
    let mn1 = world.start("mn1");
    {
        let mn2 = world.start("mn2");
        mn1.expect_heard(&mn2, MN2, b"before");
    }
    expect("its end seen", || !mn1.transport.is_linked(MN2, Lane::Register));
    let mn2 = world.start("mn2");
    let took = mn1.expect_heard(&mn2, MN2, b"after");
    assert!(took < Duration::from_millis(1000), "{took:?}");
}

#[test]
fn a_peer_of_another_authority_is_refused_both_ways() {
    let world = World::new("authority");
    let mn1 = world.start("mn1");
    let stranger = world.start_as(world.identity("other-ca", "mn2"), "mn2", |_| {});
    let open = |from: &Running, to| {
        from.runtime().block_on(from.transport.open(to, Purpose::Request)).err()
    };
    assert!(matches!(open(&stranger, MN1), Some(DialError::Identity(_))));
    assert!(matches!(open(&mn1, MN2), Some(DialError::Identity(_))));
    stranger.transport.send(MN1, Lane::Register, b"let me in".to_vec());
    assert!(!mn1.transport.is_linked(MN2, Lane::Register));
    assert!(mn1.heard.lock().unwrap().is_empty());
}

#[test]
fn a_member_that_claims_another_name_is_refused() {
    let world = World::new("name");
    let mn1 = world.start("mn1");
    let mut identity = world.identity("ca", "w1");
    identity.name = "mn2".into();
    let liar = world.start_as(identity, "mn2", |_| {});
    let refused = liar.runtime().block_on(liar.transport.open(MN1, Purpose::Request)).err();
    match refused {
        Some(DialError::Refused(why)) => assert!(why.contains("does not name mn2"), "{why}"),
        other => panic!("{other:?}"),
    }
    // And who dials it finds another name than it wanted.
    let dialled = mn1.runtime().block_on(mn1.transport.open(MN2, Purpose::Request)).err();
    assert!(matches!(dialled, Some(DialError::Identity(_))), "{dialled:?}");
}

#[test]
fn another_cluster_or_number_is_refused_by_name() {
    let world = World::new("cluster");
    let mn1 = world.start_as(world.identity("ca", "mn1"), "mn1", |s| {
        s.cluster_id = Some(ClusterId(1));
    });
    let refusal = |change: fn(&mut Setup)| {
        let other = world.start_as(world.identity("ca", "mn2"), "mn2", change);
        // The address of the node before it may still be taken.
        match other.runtime().block_on(other.transport.open(MN1, Purpose::Request)) {
            Err(DialError::Refused(why)) => why,
            Err(other) => panic!("{other:?}"),
            Ok(_) => "taken".into(),
        }
    };
    assert!(refusal(|s| s.cluster = "other".into()).contains("this is cluster lab"));
    assert!(refusal(|s| s.cluster_id = Some(ClusterId(2))).contains("another cluster's id"));
    assert!(refusal(|s| s.me = NodeId(3)).contains("the configurations differ"));
    assert_eq!(refusal(|s| s.cluster_id = Some(ClusterId(1))), "taken");
    assert_eq!(refusal(|_| ()), "taken");
    drop(mn1);
}

#[test]
fn plaintext_gets_no_answer_but_an_alert() {
    let world = World::new("plain");
    let mn1 = world.start("mn1");
    let address = world.address("mn1");
    let hello = Hello {
        format: hello::FORMAT,
        cluster: "lab".into(),
        cluster_id: None,
        node: "mn2".into(),
        id: Some(2),
        run: "7".into(),
        purpose: Purpose::Register,
        series: None,
        packed: false,
    };
    let answer = mn1.runtime().block_on(async move {
        let mut stream = loop {
            if let Ok(stream) = TcpStream::connect(address).await {
                break stream;
            }
        };
        frame::write_json(&mut stream, &hello).await.unwrap();
        frame::write(&mut stream, b"a message").await.ok();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok();
        answer
    });
    // RFC 8446 5.1: a record of type alert (21), or nothing.
    assert!(answer.is_empty() || answer[0] == 21, "{answer:?}");
    assert!(mn1.heard.lock().unwrap().is_empty());
}

#[test]
fn a_bulk_transfer_that_nobody_reads_delays_no_message() {
    let world = World::new("bulk");
    let (mn1, mut mn2) = (world.start("mn1"), world.start("mn2"));
    mn1.expect_heard(&mn2, MN2, b"linked");
    let mut bulk = mn1.runtime().block_on(mn1.transport.open(MN2, Purpose::Bulk)).expect("taken");
    let taken = mn2.incoming.blocking_recv().expect("it is handed on");
    assert_eq!((taken.from, taken.purpose), (Some(MN1), Purpose::Bulk));
    // Until every buffer on the way is full.
    let stuck = mn1.runtime().block_on(async {
        let part = vec![0; 1 << 20];
        loop {
            let write = tokio::time::timeout(Duration::from_millis(200), bulk.write_all(&part));
            if write.await.is_err() {
                return true;
            }
        }
    });
    assert!(stuck);
    let took = mn1.expect_heard(&mn2, MN2, b"in time");
    assert!(took < Duration::from_millis(500), "{took:?}");
    drop(taken);
}

/// Well within a swap's budget (120 ms), and less than TCP's least time to repeat a segment.
const AT_ONCE: Duration = Duration::from_millis(60);

#[test]
fn a_message_is_heard_at_once_while_any_connection_carries() {
    let pair = Forwarded::start("still");
    for only in 0..2 * DIALLED {
        // Of all connections from both ends one carries, whatever its lane is.
        pair.to_mn2.still(|at| at != only);
        pair.to_mn1.still(|at| at + DIALLED != only);
        let word = format!("over {only}");
        let heard = Lane::ALL.map(|lane| is_heard_at_once(&pair, lane, word.as_bytes()));
        assert_eq!(heard.iter().filter(|heard| **heard).count(), 1, "over {only}: {heard:?}");
        pair.to_mn2.still(|_| false);
        pair.to_mn1.still(|_| false);
        for word in [format!("after {only}"), format!("and again after {only}")] {
            pair.mn1.expect_heard(&pair.mn2, MN2, word.as_bytes());
        }
    }
}

fn is_heard_at_once(pair: &Forwarded, lane: Lane, word: &[u8]) -> bool {
    pair.mn1.transport.send(MN2, lane, word.to_vec());
    let began = Instant::now();
    while began.elapsed() < AT_ONCE {
        if pair.mn2.heard().iter().any(|(_, on, body)| *on == lane && body == word) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    false
}

#[test]
fn of_the_copies_of_a_message_one_is_taken_and_of_reports_only_newer_ones() {
    let pair = Forwarded::start("copies");
    let before = pair.mn2.heard().len();
    for n in 0..200_u8 {
        // Some connections stand still at times: what they hold comes late, and is no news.
        pair.to_mn2.still(|at| n % 8 < 4 && at % 2 == 0);
        for lane in Lane::ALL {
            pair.mn1.transport.send(MN2, lane, vec![n]);
        }
        expect("the message", || {
            Lane::ALL.iter().all(|lane| pair.mn2.heard().contains(&(MN1, *lane, vec![n])))
        });
    }
    pair.to_mn2.still(|_| false);
    pair.mn1.expect_heard(&pair.mn2, MN2, b"behind all of them");
    let heard = pair.mn2.heard().split_off(before);
    for lane in Lane::ALL {
        let numbers = heard.iter().filter(|(_, on, body)| *on == lane && body.len() == 1);
        let numbers: Vec<u8> = numbers.map(|(_, _, body)| body[0]).collect();
        assert_eq!(numbers, Vec::from_iter(0..200), "{lane:?}");
        let counts = pair.mn2.transport.counts(MN1, lane);
        assert!(counts.taken >= 200 && counts.doubled >= 200, "{lane:?}: {counts:?}");
    }
}

#[test]
fn what_waits_for_a_connection_that_stands_still_is_bounded_and_counted() {
    let pair = Forwarded::start("bounded");
    pair.to_mn1.still(|_| true);
    pair.to_mn2.still(|_| true);
    // More than the buffers on the way take.
    let overtaken = || pair.mn1.transport.counts(MN2, Lane::Register).overtaken;
    for n in 0..100_000_u32 {
        if overtaken() > 1000 {
            break;
        }
        let mut body = vec![0; 32 * 1024];
        body[..4].copy_from_slice(&n.to_be_bytes());
        pair.mn1.transport.send(MN2, Lane::Register, body);
        if n % 64 == 63 {
            std::thread::yield_now();
        }
    }
    assert!(overtaken() > 1000, "{}", overtaken());
}

/// A connection to mn1 in the name of mn2, with this greeting, and the answer to that.
fn dial_by_hand(
    world: &World,
    mn1: &Running,
    hello: &str,
) -> (tokio_rustls::client::TlsStream<TcpStream>, Vec<u8>) {
    let identity = world.identity("ca", "mn2");
    let address = world.address("mn1");
    mn1.runtime().block_on(async move {
        let connector = tokio_rustls::TlsConnector::from(identity.client.clone());
        let stream = loop {
            if let Ok(stream) = TcpStream::connect(address).await {
                break stream;
            }
        };
        let mut stream = connector.connect("mn1".try_into().unwrap(), stream).await.unwrap();
        frame::write(&mut stream, hello.as_bytes()).await.unwrap();
        let welcome = frame::read(&mut stream).await.unwrap();
        (stream, welcome)
    })
}

/// A member of the release that numbers its messages and packs none: what it dials and what is said on it.
#[test]
fn a_member_of_the_release_that_packs_nothing_is_heard_and_spoken_to_as_it_expects() {
    let world = World::new("plain-dials");
    let mn1 = world.start("mn1");
    let hello = older_hello("mn2", 2).replace('}', r#","series":5}"#);
    let (mut stream, welcome) = dial_by_hand(&world, &mn1, &hello);
    mn1.runtime()
        .block_on(frame::write(&mut stream, &[&1_u64.to_be_bytes()[..], b"as ever"].concat()))
        .unwrap();
    assert!(welcome.starts_with(br#"{"numbered":{"series":"#) && !contains(&welcome, b"packed"));
    expect("its message", || mn1.heard().contains(&(MN2, Lane::Register, b"as ever".to_vec())));
    mn1.transport.send(MN2, Lane::Register, b"the same to you".to_vec());
    let answer = mn1.runtime().block_on(frame::read(&mut stream)).unwrap();
    assert_eq!(answer.split_at(8).1, b"the same to you");
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// mn2 of this release understands mn1, and what mn1 says to it are few bytes.
#[test]
fn a_long_message_crosses_packed_between_members_of_this_release() {
    let world = World::new("packed");
    let (mn1, mn2) = (world.start("mn1"), world.start("mn2"));
    let long = b"the same again and again ".repeat(4000);
    mn1.expect_heard(&mn2, MN2, &long);
    drop(mn2);
    let hello = older_hello("mn2", 2).replace('}', r#","series":5,"packed":true}"#);
    let (mut stream, welcome) = dial_by_hand(&world, &mn1, &hello);
    assert!(contains(&welcome, br#""packed":true"#));
    let frame = mn1.runtime().block_on(async {
        loop {
            mn1.transport.send(MN2, Lane::Register, long.clone());
            let read = frame::read(&mut stream);
            if let Ok(read) = tokio::time::timeout(Duration::from_millis(20), read).await {
                break read.unwrap();
            }
        }
    });
    assert!(frame.len() < long.len() / 20, "{} bytes", frame.len());
}

/// A member of the release before numbers, on its side of the wire.
fn older_hello(name: &str, id: u16) -> String {
    format!(
        r#"{{"format":1,"cluster":"lab","cluster_id":null,"node":"{name}","id":{id},"run":"7","purpose":"register"}}"#
    )
}

#[test]
fn a_member_of_the_release_before_numbers_that_dials_is_heard_and_spoken_to_as_it_expects() {
    let world = World::new("older-dials");
    let mn1 = world.start("mn1");
    let hello = older_hello("mn2", 2);
    let (mut stream, welcome) = dial_by_hand(&world, &mn1, &hello);
    mn1.runtime().block_on(frame::write(&mut stream, b"as ever")).unwrap();
    assert_eq!(welcome, br#""taken""#);
    expect("its message", || mn1.heard().contains(&(MN2, Lane::Register, b"as ever".to_vec())));
    mn1.transport.send(MN2, Lane::Register, b"the same to you".to_vec());
    let answer = mn1.runtime().block_on(frame::read(&mut stream)).unwrap();
    assert_eq!(answer, b"the same to you");
}

#[test]
fn a_member_of_the_release_before_numbers_that_is_dialled_gets_one_copy_without_a_number() {
    let world = World::new("older-listens");
    let identity = world.identity("ca", "mn2");
    let mn1 = world.start("mn1");
    let (address, transport) = (world.address("mn2"), mn1.transport.clone());
    let (said, others) = mn1.runtime().block_on(async move {
        let listener = TcpListener::bind(address).await.unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(identity.server.clone());
        let mut streams = Vec::new();
        // The first of each lane: no more are dialled to a member that would hear each copy as a message.
        for _ in 0..2 {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = acceptor.accept(stream).await.unwrap();
            let hello: Hello = frame::read_json(&mut stream).await.unwrap();
            frame::write_json(&mut stream, &hello::Welcome::Taken).await.unwrap();
            streams.push((hello.purpose, stream));
        }
        let register = streams.iter_mut().find(|(purpose, _)| *purpose == Purpose::Register);
        let (_, stream) = register.unwrap();
        let said = loop {
            transport.send(MN2, Lane::Register, b"a message".to_vec());
            let read = tokio::time::timeout(Duration::from_millis(20), frame::read(stream)).await;
            if let Ok(read) = read {
                break read.unwrap();
            }
        };
        let others = tokio::time::timeout(Duration::from_millis(300), listener.accept()).await;
        (said, others.is_ok())
    });
    assert_eq!(said, b"a message");
    assert!(!others, "a further connection was dialled");
}
