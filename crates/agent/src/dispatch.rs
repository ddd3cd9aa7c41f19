//! Commands to whoever carries them out. No decisions: each command goes one way, and its outcome comes back
//! as an input.

use crate::driver::Inputs;
use crate::events::Events;
use crate::host::Host;
use crate::register::{self, Bridge};
use crate::transport::{Lane, Transport};
use regent_core::command::{Action, Answer, Command};
use regent_core::id::{NodeId, RequestId};
use regent_core::node::Input;
use regent_core::observe::Report;
use regent_store::embedded::Handle;
use regent_store::{Register, RequestId as StoreRequest};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;

/// What travels on the lane of reports.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// A node's report.
    Report(Box<Report>),
    /// A witness lives.
    Alive,
}

/// Requests of operators that wait for core's answer.
#[derive(Clone, Default)]
pub struct Waiting {
    inner: Arc<Mutex<Entered>>,
}

#[derive(Default)]
struct Entered {
    last: u64,
    open: HashMap<u64, oneshot::Sender<Answer>>,
}

impl Waiting {
    /// A number for a request, and where its answer comes.
    pub fn enter(&self) -> (RequestId, oneshot::Receiver<Answer>) {
        let (answer, waiting) = oneshot::channel();
        let mut inner = self.inner.lock().expect("nothing panics while it holds this");
        inner.last += 1;
        let id = inner.last;
        inner.open.retain(|_, waiting| !waiting.is_closed());
        inner.open.insert(id, answer);
        (RequestId(id), waiting)
    }

    fn answer(&self, request: RequestId, answer: Answer) {
        let mut inner = self.inner.lock().expect("nothing panics while it holds this");
        if let Some(waiting) = inner.open.remove(&request.0) {
            // Who asked may have gone.
            waiting.send(answer).ok();
        }
    }
}

/// Everybody a command may go to.
pub struct Dispatcher {
    /// This node.
    pub me: NodeId,
    /// The register's threads.
    pub register: Arc<Handle>,
    /// What they say.
    pub bridge: Arc<Bridge>,
    /// The peers.
    pub transport: Transport,
    /// This host.
    pub host: Arc<dyn Host>,
    /// Operators who were promised an answer.
    pub waiting: Waiting,
    /// Operators who are told.
    pub events: Events,
}

impl Dispatcher {
    /// Runs until the lease thread ends.
    pub fn run(self, commands: &Receiver<Command>) {
        let mut serving = None;
        for command in commands {
            if let Action::Send(report) = &command.action
                && serving != Some(report.serving)
            {
                serving = Some(report.serving);
                self.host.serving(report.serving);
            }
            self.carry(command);
        }
    }

    fn carry(&self, command: Command) {
        let id = command.id;
        match command.action {
            Action::ReadClock | Action::Gate(_) => {
                unreachable!("the lease thread carries {id} out itself, to keep the order")
            }
            Action::Address(step) => self.host.address(id, step),
            Action::Propose { attempt, expect, bytes } => {
                let latest = self.bridge.latest().borrow().clone();
                let (swap, storing) =
                    register::swap(self.me, attempt, expect, bytes, latest.as_deref());
                self.register.compare_and_swap(StoreRequest(id.0), swap, storing);
            }
            Action::Read => self.register.read(StoreRequest(id.0)),
            Action::Database(step) => self.host.database(id, step),
            Action::Service { service, step } => self.host.service(id, service, step),
            Action::ProbePeer { node } => self.host.probe(id, node),
            Action::Fence { node } => self.host.fence(id, node, command.epoch),
            Action::Send(report) => match serde_json::to_vec(&Word::Report(report)) {
                Ok(body) => self.transport.send_to_all(Lane::Report, &body),
                Err(error) => crate::log::warning(&format!("failed to write a report: {error}")),
            },
            Action::Tell(event) => self.events.tell(&event),
            Action::Answer { request, answer } => self.waiting.answer(request, answer),
        }
    }
}

/// A word from the lane of reports, for core.
pub fn take_word(body: &[u8], from: NodeId, inputs: &Inputs) {
    match serde_json::from_slice(body) {
        // A certificate speaks for its own node only.
        Ok(Word::Report(report)) if report.node == from => inputs.offer(Input::Report(*report)),
        Ok(Word::Report(_) | Word::Alive) | Err(_) => {}
    }
}
