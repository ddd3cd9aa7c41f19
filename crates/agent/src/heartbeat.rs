//! The sign of life that each member sends to all: its clock, and a node's report.

use crate::clocks::{self, Clocks, Leads};
use crate::measure::Measures;
use crate::status::Heard;
use regent_adapters::clock as adapters_clock;
use regent_core::id::{NodeId, RunId};
use regent_core::observe::Report;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

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
