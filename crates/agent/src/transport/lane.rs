//! A lane: messages to one peer for one purpose, over whichever connection is the newest.

use super::hello::Purpose;
use super::{Inbox, Stream, frame};
use regent_core::id::NodeId;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

/// How many messages wait for a connection: more than the register or the reports send within the time after
/// which a silent connection is given up.
const QUEUE: usize = 64;

/// How many connections of one peer and purpose are kept: both ends dial, and each may have dialled anew.
const CONNECTIONS_MAX: usize = 4;

/// Which lane.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Lane {
    /// Messages of the register.
    Register,
    /// Reports.
    Report,
}

impl Lane {
    /// Both.
    pub const ALL: [Lane; 2] = [Lane::Register, Lane::Report];

    /// What its connections are for.
    pub fn purpose(self) -> Purpose {
        match self {
            Lane::Register => Purpose::Register,
            Lane::Report => Purpose::Report,
        }
    }
}

/// All lanes of this process.
pub(crate) struct Lanes {
    inbox: Inbox,
    open: Mutex<HashMap<(NodeId, Lane), Vec<Connection>>>,
    next: AtomicU64,
}

struct Connection {
    id: u64,
    queue: mpsc::Sender<Vec<u8>>,
}

impl Lanes {
    pub(crate) fn new(inbox: Inbox) -> Lanes {
        Lanes { inbox, open: Mutex::default(), next: AtomicU64::new(0) }
    }

    pub(crate) fn send(&self, to: NodeId, lane: Lane, body: Vec<u8>) {
        let open = self.open.lock().expect("nothing panics while it holds this");
        if let Some(connection) = open.get(&(to, lane)).and_then(|c| c.last()) {
            // A full queue loses the message, as a link may.
            connection.queue.try_send(body).ok();
        }
    }

    pub(crate) fn is_linked(&self, to: NodeId, lane: Lane) -> bool {
        let open = self.open.lock().expect("nothing panics while it holds this");
        open.get(&(to, lane)).is_some_and(|c| !c.is_empty())
    }

    /// Carries the lane over this connection until it ends.
    pub(crate) async fn carry(&self, peer: NodeId, lane: Lane, stream: Stream) {
        let (queue, outgoing) = mpsc::channel(QUEUE);
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        {
            let mut open = self.open.lock().expect("nothing panics while it holds this");
            let connections = open.entry((peer, lane)).or_default();
            connections.push(Connection { id, queue });
            if connections.len() > CONNECTIONS_MAX {
                // Its writer sees the queue closed, and ends it.
                connections.remove(0);
            }
        }
        let (reader, writer) = tokio::io::split(stream);
        tokio::select! {
            () = self.read(peer, lane, reader) => {}
            () = write(writer, outgoing) => {}
        }
        let mut open = self.open.lock().expect("nothing panics while it holds this");
        if let Some(connections) = open.get_mut(&(peer, lane)) {
            connections.retain(|c| c.id != id);
        }
    }

    async fn read(&self, peer: NodeId, lane: Lane, reader: tokio::io::ReadHalf<Stream>) {
        let mut reader = tokio::io::BufReader::new(reader);
        while let Ok(body) = frame::read(&mut reader).await {
            (self.inbox)(peer, lane, body);
        }
    }
}

async fn write(mut writer: tokio::io::WriteHalf<Stream>, mut outgoing: mpsc::Receiver<Vec<u8>>) {
    while let Some(body) = outgoing.recv().await {
        let Some(mut bytes) = regent_api::frame::wrap(&body) else { continue };
        // What waits already goes into the same record.
        while let Ok(body) = outgoing.try_recv() {
            bytes.extend(regent_api::frame::wrap(&body).unwrap_or_default());
        }
        if writer.write_all(&bytes).await.is_err() || writer.flush().await.is_err() {
            return;
        }
    }
}
