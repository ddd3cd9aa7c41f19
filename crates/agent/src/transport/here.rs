//! What every link of this process needs to know of it.

use crate::tls::Identity;
use regent_config::settings::Member;
use regent_core::id::{ClusterId, NodeId};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tokio_rustls::TlsStream;

/// A connection after its greeting.
pub type Stream = TlsStream<tokio::net::TcpStream>;

/// What stands in every greeting of this process.
pub(crate) struct Here {
    pub(crate) identity: Identity,
    pub(crate) cluster: String,
    pub(crate) cluster_id: Mutex<Option<ClusterId>>,
    pub(crate) me: NodeId,
    pub(crate) run: u64,
    /// Names this start of the links, whose lanes count from one.
    pub(crate) series: u64,
    pub(crate) members: Vec<Member>,
    pub(crate) pace: Pace,
    /// Members that greeted by another register, and when.
    pub(crate) others: Mutex<BTreeMap<NodeId, (ClusterId, Instant)>>,
}

/// How long a link waits for what.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// For a connection: above a round trip, far below the kernel's first repetition of a SYN (1 s), which
    /// would let a returning host wait.
    pub connect: Duration,
    /// For TLS and the greeting: a dozen packets, of which some may have to be repeated.
    pub greet: Duration,
    /// Between two tries while a peer is refused.
    pub again: Duration,
    /// A connection whose bytes are not acknowledged for so long is given up: as long as TCP repeats them each
    /// 200 ms; its back-off after that would go on for seconds after a cut has healed. Meanwhile others carry.
    pub unacknowledged: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            connect: Duration::from_millis(200),
            greet: Duration::from_millis(1500),
            again: Duration::from_millis(50),
            unacknowledged: Duration::from_millis(1500),
        }
    }
}
