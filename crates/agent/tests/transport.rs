//! Links between members: who is refused, what is lost, and how soon a peer is heard again.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use regent_agent::ca;
use regent_agent::config::settings::Member;
use regent_agent::tls::{self, Identity};
use regent_agent::transport::{
    DialError, Hello, Incoming, Lane, Pace, Purpose, Setup, Transport, frame, hello,
};
use regent_core::id::{ClusterId, NodeId};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::mpsc;

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
    std::thread::sleep(Duration::from_millis(300));
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
