//! Commands to whoever carries them out. No decisions: each command goes one way, and its outcome comes back
//! as an input.

use crate::clocks::{self, Clocks, Leads};
use crate::events::Events;
use crate::host::Host;
use crate::measure::Measures;
use crate::register;
use crate::status::Heard;
use crate::transport::{Lane, Transport};
use regent_adapters::clock as adapters_clock;
use regent_core::command::{Action, Answer, Command};
use regent_core::id::{CommandId, NodeId, RequestId, RunId};
use regent_core::observe::Report;
use regent_store::embedded::Handle;
use regent_store::{Register, RequestId as StoreRequest};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::oneshot;

/// What travels on the lane of reports: a sign of life at least.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Which run of the sender's agent.
    pub run: RunId,
    /// The sender's wall clock when it was sent.
    pub wall_us: i64,
    /// What the sender found of each member's clock.
    pub leads: Leads,
    /// A node's report; a witness has none.
    pub report: Option<Box<Report>>,
}

impl Heartbeat {
    /// As of now.
    pub fn new(run: RunId, clocks: &Clocks, report: Option<Box<Report>>) -> Heartbeat {
        Heartbeat { run, wall_us: clocks::wall_us(), leads: clocks.leads(), report }
    }
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

    /// Core answers; called where nobody's right waits for it.
    pub(crate) fn answer(&self, request: RequestId, answer: Answer) {
        let mut inner = self.inner.lock().expect("nothing panics while it holds this");
        if let Some(waiting) = inner.open.remove(&request.0) {
            // Who asked may have gone.
            waiting.send(answer).ok();
        }
    }
}

/// Everybody a command may go to.
pub struct Dispatcher {
    /// This run of the agent.
    pub run: RunId,
    /// The register's threads.
    pub register: Arc<Handle>,
    /// The peers.
    pub transport: Transport,
    /// This host.
    pub host: Arc<dyn Host>,
    /// Operators who are told.
    pub events: Events,
    /// The members' wall clocks.
    pub clocks: Arc<Clocks>,
    /// How long swaps take.
    pub swaps: Arc<Swaps>,
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
            Action::ReadClock | Action::Gate(_) | Action::Answer { .. } => {
                unreachable!("the lease thread carries {id} out itself, to keep the order")
            }
            Action::Address(step) => self.host.address(id, step),
            Action::Propose { attempt, expect, by, bytes } => {
                let (swap, storing) = register::swap(attempt, expect, by, bytes);
                self.swaps.begin(id);
                self.register.compare_and_swap(StoreRequest(id.0), swap, storing);
            }
            Action::Read => self.register.read(StoreRequest(id.0)),
            Action::Database(step) => self.host.database(id, step),
            Action::Service { service, step } => self.host.service(id, service, step),
            Action::Stack(step) => self.host.stack(id, step),
            Action::ProbePeer { node } => self.host.probe(id, node),
            Action::Fence { node } => self.host.fence(id, node, command.epoch),
            Action::Send(report) => {
                match serde_json::to_vec(&Heartbeat::new(self.run, &self.clocks, Some(report))) {
                    Ok(body) => self.transport.send_to_all(Lane::Report, &body),
                    Err(error) => {
                        crate::log::warning(&format!("failed to write a report: {error}"))
                    }
                }
            }
            Action::Tell(event) => self.events.tell(&event),
        }
    }
}

/// Whatever wants to know of each heartbeat that comes in.
pub struct Listeners {
    /// This node.
    pub me: NodeId,
    /// The members' wall clocks.
    pub clocks: Arc<Clocks>,
    /// How far apart heartbeats come.
    pub measures: Arc<Measures>,
    /// Signs of life.
    pub heard: Arc<Heard>,
}

impl Listeners {
    /// A heartbeat from the lane of reports; its report, if it has one and speaks for its sender.
    pub fn take(&self, body: &[u8], from: NodeId) -> Option<Report> {
        // The clock is read before anything else takes its time.
        let (wall, second) = (clocks::wall_us(), adapters_clock::now().raw / 1_000_000_000);
        let heartbeat: Heartbeat = serde_json::from_slice(body).ok()?;
        if let Some(gap) = self.heard.said(from, heartbeat.run) {
            self.measures.gap(from, gap);
        }
        self.clocks.take(
            from,
            heartbeat.wall_us,
            heartbeat.leads.get(&self.me).copied(),
            wall,
            second,
        );
        // A certificate speaks for its own node only.
        heartbeat.report.filter(|report| report.node == from).map(|report| *report)
    }
}

/// When each swap began that is under way, and whether the one before it was won at once.
pub struct Swaps {
    measures: Arc<Measures>,
    inner: Mutex<Begun>,
}

#[derive(Default)]
struct Begun {
    /// Core has one swap under way; an older one is given up.
    swap: Option<(CommandId, Instant)>,
    refused: bool,
}

impl Swaps {
    /// For these figures.
    pub fn new(measures: Arc<Measures>) -> Swaps {
        Swaps { measures, inner: Mutex::default() }
    }

    fn begin(&self, id: CommandId) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.refused |= inner.swap.is_some();
        inner.swap = Some((id, Instant::now()));
    }

    /// A swap came to its known end, won or not.
    pub fn end(&self, id: CommandId, won: bool) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((_, at)) = inner.swap.take_if(|(begun, _)| *begun == id) else { return };
        let after = std::mem::replace(&mut inner.refused, !won);
        if won {
            let lengths = if after { &self.measures.swap_refused } else { &self.measures.swap };
            lengths.note(at.elapsed());
        }
    }
}
