//! The worker's end of the lines between it and the agent: outcomes out, questions out and their answers in.

use crate::database::control::SIMPLE;
use crate::database::line::{FromWorker, Reply, UnitVerb};
use crate::database::own;
use crate::database::peer::{Peer, PeerAnswer, PeerRequest};
use crate::database::settings::WorkerSettings;
use crate::database::sql::Client;
use crate::database::verify;
use regent_core::id::NodeId;
use regent_core::observe::{Compared, Comparison};
use regent_core::time::Span;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// A peer's answer may need a reading of its log.
const PEER_MAX: Duration = Duration::from_secs(10);
/// An orderly stop writes out what is in memory.
const UNIT_MAX: Duration = Duration::from_secs(120);
/// A copy ends by its own stall.
const BACKUP_MAX: Duration = Duration::from_secs(24 * 3600);

/// The worker's end of the lines: outcomes out, questions out and their answers in.
pub(crate) struct Link {
    pub(crate) settings: WorkerSettings,
    pub(super) out: mpsc::Sender<FromWorker>,
    pub(super) asks: RefCell<HashMap<u64, oneshot::Sender<Result<Reply, String>>>>,
    pub(super) next: Cell<u64>,
    /// Ready for the next marker.
    pub(super) spare: Cell<Option<Client>>,
    /// The replication account is to be looked at.
    pub(crate) accounts_wanted: Cell<bool>,
    /// How far the comparison under way is.
    pub(super) comparing: RefCell<Option<String>>,
    /// The last one that came to its end, and when, in seconds since 1970.
    pub(super) compared: RefCell<Option<(Compared, u64)>>,
}

impl Link {
    pub(super) async fn send(&self, line: FromWorker) {
        // If nobody reads, the agent is gone, and so are we in a moment.
        let _ = self.out.send(line).await;
    }

    /// Progress for the log; left out if the queue is full.
    pub(crate) fn tell(&self, event: String) {
        let _ = self.out.try_send(FromWorker::Event { event });
    }

    pub(super) fn read_compared(&self) {
        let kept = verify::last(&self.settings.state_dir);
        let last = kept.and_then(|kept| kept.last).map(|run| {
            let (text, differs) = (run.words(), !run.differences.is_empty());
            let compared = Compared { with: run.theirs, age: Span::ZERO, differs, text };
            (compared, run.ended.unwrap_or(0))
        });
        *self.compared.borrow_mut() = last;
    }

    /// What is known of both copies' equality.
    pub(crate) fn comparison(&self) -> Option<Box<Comparison>> {
        let under_way = self.comparing.borrow().clone();
        let last = self.compared.borrow().as_ref().map(|(compared, ended)| Compared {
            age: Span::millis(verify::seconds().saturating_sub(*ended) * 1000),
            ..compared.clone()
        });
        let any = under_way.is_some() || last.is_some();
        any.then(|| Box::new(Comparison { under_way, last }))
    }

    pub(super) fn answered(&self, number: u64, answer: Result<Reply, String>) {
        if let Some(waiting) = self.asks.borrow_mut().remove(&number) {
            let _ = waiting.send(answer);
        }
    }

    async fn question(
        &self,
        line: impl FnOnce(u64) -> FromWorker,
        bound: Duration,
    ) -> Result<Reply, String> {
        let ask = self.next.get() + 1;
        self.next.set(ask);
        let (sender, answer) = oneshot::channel();
        self.asks.borrow_mut().insert(ask, sender);
        self.send(line(ask)).await;
        let answer = tokio::time::timeout(bound, answer).await;
        self.asks.borrow_mut().remove(&ask);
        match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err("the question was dropped".into()),
            Err(_) => Err(format!("no answer within {bound:?}")),
        }
    }

    /// The connection that is ready for the next marker is not to be used.
    pub(crate) fn drop_spare(&self) {
        self.spare.set(None);
    }

    /// Opens the connection that the next marker will take.
    pub(crate) async fn prepare_marker(&self) {
        self.spare.set(own::connect(&self.settings, SIMPLE).await.ok());
    }

    /// Asks the agent to act on the unit.
    pub(crate) async fn unit(&self, unit: UnitVerb) -> Result<(), String> {
        // The agent watches a start, and ends it if it does not get on.
        let bound = if unit == UnitVerb::Start { BACKUP_MAX } else { UNIT_MAX };
        self.question(|ask| FromWorker::AskUnit { ask, unit }, bound).await.map(|_| ())
    }

    /// Asks the agent for a bulk stream into this socket; returns when it came to its end.
    pub(crate) async fn backup(&self, peer: NodeId, backup_into: PathBuf) -> Result<(), String> {
        let ask = |ask| FromWorker::AskBackup { ask, peer, backup_into };
        self.question(ask, BACKUP_MAX).await.map(|_| ())
    }
}

impl Peer for Link {
    async fn ask(&self, node: NodeId, request: PeerRequest) -> Result<PeerAnswer, String> {
        let line = |ask| FromWorker::AskPeer { ask, peer: node, request };
        match self.question(line, PEER_MAX).await? {
            Reply::Peer(answer) => Ok(answer),
            Reply::Done(_) => Err("the agent answered a peer's question with done".into()),
        }
    }
}
