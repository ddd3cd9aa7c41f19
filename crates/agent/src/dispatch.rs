//! Commands to whoever carries them out. No decisions: each command goes one way, and its outcome comes back
//! as an input.

use crate::clocks::Clocks;
use crate::events::Events;
use crate::heartbeat::Heartbeat;
use crate::host::Host;
use crate::register;
use crate::swaps::Swaps;
use crate::transport::{Lane, Transport};
use regent_core::command::{Action, Command};
use regent_core::id::RunId;
use regent_store::embedded::Handle;
use regent_store::{Register, RequestId as StoreRequest};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

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
