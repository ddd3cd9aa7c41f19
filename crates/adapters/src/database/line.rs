//! The lines between the agent and its database worker: one JSON text each.
//!
//! The agent sends steps, peers' questions, and answers to what the worker asked; the worker sends outcomes,
//! answers for peers, and what it asks of the agent: to carry a question to a peer, to start or stop the unit, to
//! open a bulk stream. Either side may be killed at any moment; nothing here is ever resent.

use crate::database::peer::{PeerAnswer, PeerRequest};
use regent_core::command::{DatabaseStep, Outcome};
use regent_core::id::NodeId;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A line to the worker, after the first (which is [`crate::database::WorkerSettings`]).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ToWorker {
    /// Do this step; steps are done one after another, but for `Marker`.
    Step {
        /// Comes back with the outcome.
        id: u64,
        /// What to do.
        step: DatabaseStep,
        /// `TakeControl` only: how long to wait for a server that is not there yet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        patience_ms: Option<u64>,
    },
    /// A peer asks this; answered beside the steps.
    Serve {
        /// Comes back with the answer.
        id: u64,
        /// What it asks.
        serve: PeerRequest,
    },
    /// What the worker asked for was done or answered.
    Reply {
        /// The number of its question.
        reply: u64,
        /// The answer.
        answer: Reply,
    },
    /// What the worker asked for failed.
    NoReply {
        /// The number of its question.
        reply: u64,
        /// Why.
        error: String,
    },
}

/// An answer to the worker.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Reply {
    /// The unit is as asked; the stream came to its end.
    Done(Done),
    /// A peer's answer.
    Peer(PeerAnswer),
}

/// The one word `"done"`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Done {
    /// As asked.
    Done,
}

/// A line from the worker.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FromWorker {
    /// What became of a step.
    Outcome {
        /// The step's number.
        id: u64,
        /// Always `Outcome::Database`.
        outcome: Box<Outcome>,
    },
    /// The answer for a peer.
    Served {
        /// The question's number.
        id: u64,
        /// The answer.
        served: PeerAnswer,
    },
    /// Carry this to a peer's worker.
    AskPeer {
        /// Comes back with the reply.
        ask: u64,
        /// Whom.
        peer: NodeId,
        /// What.
        request: PeerRequest,
    },
    /// Act on the database's unit.
    AskUnit {
        /// Comes back with the reply.
        ask: u64,
        /// How.
        unit: UnitVerb,
    },
    /// Open a bulk stream to a peer: [`crate::database::backup::send`] there,
    /// [`crate::database::backup::receive`] into this socket here.
    AskBackup {
        /// Comes back with the reply.
        ask: u64,
        /// From whom.
        peer: NodeId,
        /// A Unix socket on which the worker listens.
        backup_into: PathBuf,
    },
    /// Progress, for the log.
    Event {
        /// In the operator's words.
        event: String,
    },
}

/// What the worker may ask of the unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnitVerb {
    /// Start it.
    Start,
    /// Stop it in order; only asked for while no commit can be waiting.
    Stop,
    /// SIGKILL of its cgroup, until empty.
    Kill,
}

#[cfg(test)]
mod tests {
    use super::*;
    use regent_core::command::StepResult;
    use regent_core::id::Incarnation;

    #[test]
    fn every_line_reads_back_as_itself() {
        let incarnation = Incarnation(u64::MAX);
        let keep = DatabaseStep::Keep { incarnation, mark: true };
        let to = [
            ToWorker::Step { id: 1, step: DatabaseStep::TakeControl, patience_ms: Some(5) },
            ToWorker::Step { id: 2, step: keep, patience_ms: None },
            ToWorker::Serve { id: 3, serve: PeerRequest::FollowInfo },
            ToWorker::Reply { reply: 4, answer: Reply::Done(Done::Done) },
            ToWorker::Reply { reply: 5, answer: Reply::Peer(PeerAnswer::Found { index: None }) },
            ToWorker::NoReply { reply: 6, error: "no link".into() },
        ];
        for line in to {
            let text = serde_json::to_string(&line).expect("json");
            assert_eq!(serde_json::from_str::<ToWorker>(&text).expect("read back"), line, "{text}");
        }
        let facts = None;
        let outcome = Outcome::Database { result: StepResult::Down, facts };
        let from = [
            FromWorker::Outcome { id: 1, outcome: Box::new(outcome) },
            FromWorker::Served { id: 2, served: PeerAnswer::Refused { reason: "no".into() } },
            FromWorker::AskPeer { ask: 3, peer: NodeId(2), request: PeerRequest::FollowInfo },
            FromWorker::AskUnit { ask: 4, unit: UnitVerb::Kill },
            FromWorker::AskBackup { ask: 5, peer: NodeId(2), backup_into: "/run/x".into() },
            FromWorker::Event { event: "half".into() },
        ];
        for line in from {
            let text = serde_json::to_string(&line).expect("json");
            assert_eq!(
                serde_json::from_str::<FromWorker>(&text).expect("read back"),
                line,
                "{text}"
            );
        }
    }
}
