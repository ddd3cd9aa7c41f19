//! What agents ask each other, one question to a connection.

use crate::host::Host;
use crate::serve::{self, Answerer};
use crate::status::Heard;
use crate::transport::{Incoming, Purpose, Transport, frame};
use regent_adapters::database::peer::{PeerAnswer, PeerRequest};
use regent_api::history::Entry;
use regent_core::id::{ClusterId, Incarnation, NodeId};
use regent_store::cell::Record;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

/// How long an answer may take: the longest look-up in a peer's binary logs.
const PATIENCE: Duration = Duration::from_secs(30);
/// A node that says nothing for this long takes no copy any more. Nobody waits for it meanwhile: what a backup has left
/// to say while it keeps commits out waits here.
const SILENT: Duration = Duration::from_secs(3);

/// A question.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Question {
    /// `init`: under which id would you vote? With the asker's settings in one word, so that two configurations
    /// do not become one cluster.
    OfferVoter {
        /// [`crate::init::fingerprint`].
        settings: String,
    },
    /// `init`: here is the whole plan; store your part of it.
    Install(Box<Plan>),
    /// To the database's worker.
    Database(PeerRequest),
    /// What happened on your node?
    Events {
        /// At most this many of the last events.
        last: usize,
    },
    /// The register with this id is the one of your cluster now: leave your own, if nothing of the stack is up at your
    /// place, and offer a voter for it.
    Leave {
        /// The register that replaced the other one.
        cluster: ClusterId,
        /// [`crate::init::fingerprint`].
        settings: String,
    },
    /// Here is the first record of your voter beside mine; store it.
    Seat {
        /// The whole record.
        record: Box<Record>,
    },
    /// Which token do you read on the shared data?
    Token,
    /// Your configuration file: tell it, or take part in a change of all.
    Configuration(Change),
}

/// What becomes of a member's configuration file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Nothing: tell it.
    Text,
    /// First phase: lay the new one beside it.
    Prepare {
        /// The digest of the file that must be there.
        old: Hex,
        /// The whole new text.
        text: String,
    },
    /// Second phase: the new one holds.
    Commit {
        /// The digest of the file before.
        old: Hex,
        /// The digest of the prepared one.
        new: Hex,
    },
    /// What was prepared is off.
    Abort,
    /// Begin a new life with the file that holds.
    Begin,
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Under this one.
    Voter(Hex),
    /// I vote already.
    Belongs {
        /// In this cluster.
        cluster: ClusterId,
        /// Under this id.
        voter: Hex,
    },
    /// It is stored, and durable.
    Installed,
    /// From the database's worker.
    Database(PeerAnswer),
    /// These events, oldest first.
    Events(Vec<Entry>),
    /// This token.
    Token(String),
    /// This is my configuration file.
    Configuration(String),
    /// It is done, durably.
    Agreed,
    /// No, and why.
    Refused(String),
}

/// Sixty-four bits as text: JSON numbers end at 2^53.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hex(pub u64);

impl Serialize for Hex {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:016x}", self.0))
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Hex, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map(Hex).map_err(serde::de::Error::custom)
    }
}

/// A cluster to be: every voter derives its own first record from it, so all start with the same value.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Drawn once.
    pub cluster: ClusterId,
    /// The data that shall be served, drawn once.
    pub incarnation: Incarnation,
    /// Who votes where; each voter drew its own id.
    pub seats: Vec<Seat>,
    /// The first State, encoded.
    pub state: String,
}

/// A voter of the plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Seat {
    /// Where.
    pub node: NodeId,
    /// Under which id.
    pub voter: Hex,
}

/// Asks one member one question.
pub async fn ask(
    transport: &Transport,
    node: NodeId,
    question: &Question,
) -> Result<Answer, String> {
    let exchange = async {
        let mut stream = transport.open(node, Purpose::Request).await.map_err(|e| e.to_string())?;
        frame::write_json(&mut stream, question).await.map_err(|e| e.to_string())?;
        frame::read_json(&mut stream).await.map_err(|e| e.to_string())
    };
    timeout(PATIENCE, exchange).await.map_err(|_| "no answer in time".to_string())?
}

/// The same between two registers: the one of the other end may be another, or none.
pub async fn ask_across(
    transport: &Transport,
    node: NodeId,
    question: &Question,
) -> Result<Answer, String> {
    let exchange = async {
        let mut stream = transport.open_across(node).await.map_err(|e| e.to_string())?;
        frame::write_json(&mut stream, question).await.map_err(|e| e.to_string())?;
        frame::read_json(&mut stream).await.map_err(|e| e.to_string())
    };
    timeout(PATIENCE, exchange).await.map_err(|_| "no answer in time".to_string())?
}

/// What answers a peer here.
pub trait Peers: Send + Sync + 'static {
    /// Answers about voters and plans.
    fn answer(&self, from: NodeId, question: Question) -> crate::host::Later<Answer>;
}

/// Takes what other agents and operators dialled for, until the runtime ends.
pub async fn run(
    mut incoming: mpsc::Receiver<Incoming>,
    heard: Arc<Heard>,
    peers: Arc<dyn Peers>,
    host: Option<Arc<dyn Host>>,
    answerer: Answerer,
) {
    while let Some(Incoming { from, purpose, mut stream }) = incoming.recv().await {
        let (peers, host, answerer) = (Arc::clone(&peers), host.clone(), Arc::clone(&answerer));
        let heard = Arc::clone(&heard);
        tokio::spawn(async move {
            match (purpose, from, host) {
                (Purpose::Operator, _, _) => serve::converse(stream, true, answerer).await,
                (Purpose::Request, Some(from), host) => {
                    let question = timeout(PATIENCE, frame::read_json(&mut stream)).await;
                    let Ok(Ok(question)) = question else { return };
                    let answer = match (question, host) {
                        (Question::Database(request), Some(host)) => {
                            Answer::Database(host.serve(request).await)
                        }
                        (Question::Database(_), None) => {
                            Answer::Refused("there is no database here".into())
                        }
                        (question, _) => peers.answer(from, question).await,
                    };
                    // A peer that went away asks again.
                    frame::write_json(&mut stream, &answer).await.ok();
                }
                (Purpose::Bulk, Some(from), Some(host)) => {
                    // A backup keeps commits out for its last moments: it never outlives whom it is for.
                    let sent = tokio::select! {
                        sent = host.send_backup(stream) => sent,
                        () = silence(&heard, from) => {
                            Err(format!("node {} fell silent: its copy is ended", from.0))
                        }
                    };
                    if let Err(error) = sent {
                        crate::log::warning(&format!("failed to send a copy: {error}"));
                    }
                }
                (Purpose::Register | Purpose::Report, _, _)
                | (Purpose::Request | Purpose::Bulk, None, _)
                | (Purpose::Bulk, Some(_), None) => {}
            }
        });
    }
}

/// Returns when nothing has been heard of this node for a while; who was never heard has as long from here on.
async fn silence(heard: &Heard, node: NodeId) {
    let begun = Instant::now();
    while heard.age(node).map_or(begun.elapsed(), |age| age.min(begun.elapsed())) < SILENT {
        sleep(SILENT / 4).await;
    }
}
