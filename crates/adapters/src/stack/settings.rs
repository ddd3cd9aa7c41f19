//! What an agent tells of its stack: the shared data, the address, and each step.

use regent_config::steps::{Engine, Kind, Step};
use regent_core::id::{ClusterId, NodeId};
use std::net::IpAddr;
use std::path::PathBuf;

/// What this node's stack is made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StackSettings {
    /// This node, for the claim.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// This cluster, for the claim.
    pub cluster: ClusterId,
    /// The shared directory.
    pub data: PathBuf,
    /// The virtual IPs with their prefixes.
    pub vips: Vec<(IpAddr, u8)>,
    /// The interface that carries them.
    pub interface: String,
    /// In the order of an activation, numbered as in the specification.
    pub steps: Vec<Step>,
    /// What is kept over a boot: the journal of steps with what was there before.
    pub state_dir: PathBuf,
    /// What ends with the boot: the permit.
    pub run_dir: PathBuf,
}

impl StackSettings {
    /// The database of the product and the step that runs its server, if it has one.
    pub(super) fn database_server(&self) -> Option<(&Engine, &Step)> {
        let engine = self.steps.iter().find_map(|step| {
            if let Kind::Database(engine) = &step.kind { Some(engine) } else { None }
        })?;
        let name = engine.server.as_ref()?;
        let server = self.steps.iter().find(|step| step.name == *name)?;
        Some((engine, server))
    }
}
