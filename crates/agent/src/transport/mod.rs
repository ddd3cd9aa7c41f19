//! Links between the members: mutual TLS 1.3, length-prefixed frames, a connection for each purpose.
//!
//! ```text
//!   lanes (both ends dial, every connection carries):   register   report
//!   on demand (who asks dials):                         request    bulk     operator
//! ```
//! A lane loses what it cannot carry at once: the register and the reports allow that of every link, and an
//! old report is worth nothing. Its messages go over every connection, and the first copy counts (ADR 0021). Each
//! purpose has connections of its own, so that a copy of a database under
//! way delays no renewal. The first frame says who dials and for what; the answer to it takes or refuses.

mod dial;
pub mod frame;
pub mod hello;
mod here;
mod lane;
mod listen;
mod pack;

pub use dial::DialError;
pub use hello::{Hello, Purpose};
pub use here::{Pace, Stream};
pub use lane::{Counts, Inbox, Lane};
pub use listen::Incoming;

use crate::tls::Identity;
use here::Here;
use lane::{DIALLED, Lanes};
use regent_adapters::clock;
use regent_config::settings::Member;
use regent_core::id::{ClusterId, NodeId};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;

/// A member that is refused greets again many times within this.
const OTHER: Duration = Duration::from_secs(3);

/// This process's links.
#[derive(Clone)]
pub struct Transport {
    here: Arc<Here>,
    lanes: Arc<Lanes>,
}

/// What a process needs to be linked.
pub struct Setup {
    /// Who it is.
    pub identity: Identity,
    /// The cluster's name in the configuration.
    pub cluster: String,
    /// The cluster's id, once there is one.
    pub cluster_id: Option<ClusterId>,
    /// Its number.
    pub me: NodeId,
    /// This run of it.
    pub run: u64,
    /// Every member, itself included.
    pub members: Vec<Member>,
    /// How long it waits.
    pub pace: Pace,
}

impl Transport {
    /// Listens, and dials every other member for both lanes, until the runtime `links` ends. Connections for another
    /// purpose come out of the returned queue.
    pub fn start(
        setup: Setup,
        inbox: Inbox,
        links: &tokio::runtime::Handle,
    ) -> (Transport, mpsc::Receiver<Incoming>) {
        let Setup { identity, cluster, cluster_id, me, run, members, pace } = setup;
        let cluster_id = Mutex::new(cluster_id);
        let others = Mutex::default();
        let series = run ^ clock::now().raw;
        let here = Here { identity, cluster, cluster_id, me, run, series, members, pace, others };
        let here = Arc::new(here);
        let lanes = Arc::new(Lanes::new(inbox));
        let transport = Transport { here: Arc::clone(&here), lanes: Arc::clone(&lanes) };
        // A member asks one thing at a time; an operator a few.
        let (incoming, queue) = mpsc::channel(16);
        links.spawn(listen::run(Arc::clone(&here), Arc::clone(&lanes), incoming));
        for member in here.members.iter().filter(|m| m.id != here.me) {
            for (lane, at) in
                Lane::ALL.into_iter().flat_map(|l| (0..DIALLED).map(move |at| (l, at)))
            {
                let (here, lanes, member) = (Arc::clone(&here), Arc::clone(&lanes), member.clone());
                links.spawn(async move { dial::keep(&here, &lanes, &member, lane, at == 0).await });
            }
        }
        (transport, queue)
    }

    /// Sends on a lane, or loses it; never waits.
    pub fn send(&self, to: NodeId, lane: Lane, body: Vec<u8>) {
        self.lanes.send(to, lane, body);
    }

    /// Sends on a lane to every other member.
    pub fn send_to_all(&self, lane: Lane, body: &[u8]) {
        for member in self.here.members.iter().filter(|m| m.id != self.here.me) {
            self.lanes.send(member.id, lane, body.to_vec());
        }
    }

    /// Is there a connection on this lane?
    pub fn is_linked(&self, to: NodeId, lane: Lane) -> bool {
        self.lanes.is_linked(to, lane)
    }

    /// What became of this lane's messages so far.
    pub fn counts(&self, to: NodeId, lane: Lane) -> Counts {
        self.lanes.counts(to, lane)
    }

    /// Opens a connection for a request or a bulk transfer.
    pub async fn open(&self, to: NodeId, purpose: Purpose) -> Result<Stream, DialError> {
        let member = self
            .here
            .members
            .iter()
            .find(|m| m.id == to)
            .ok_or_else(|| DialError::Refused(format!("{to} is not in the configuration")))?;
        dial::open(&self.here, member, purpose).await
    }

    /// Opens a connection for one question to a member whose register may be another one: no id is shown.
    pub async fn open_across(&self, to: NodeId) -> Result<Stream, DialError> {
        let member = self.here.members.iter().find(|m| m.id == to);
        let member = member
            .ok_or_else(|| DialError::Refused(format!("{to} is not in the configuration")))?;
        dial::open_as(&self.here, member, Purpose::Request, None).await.map(|(stream, _)| stream)
    }

    /// The register by which this member greeted a moment ago, if it is another one than this node's.
    pub fn other_register(&self, of: NodeId) -> Option<ClusterId> {
        let others = self.here.others.lock().expect("nothing panics while it holds this");
        others.get(&of).filter(|(_, at)| at.elapsed() < OTHER).map(|(cluster, _)| *cluster)
    }

    /// From now on greetings carry the cluster's id, and another's is refused.
    pub fn belong(&self, cluster: ClusterId) {
        *self.here.cluster_id.lock().expect("nothing panics while it holds this") = Some(cluster);
    }
}
