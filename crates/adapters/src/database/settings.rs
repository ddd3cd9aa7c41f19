//! What a worker must know before its first step; the first line on its standard input.

use regent_config::settings::Copies;
use regent_core::id::NodeId;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::PathBuf;

/// Debian's and MariaDB's own.
pub(crate) const DATADIR: &str = "/var/lib/mysql";

/// A node's database as its peers reach it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DatabaseNode {
    /// Which node.
    pub node: NodeId,
    /// Its own address, never the VIP.
    pub address: IpAddr,
    /// Its database's port.
    pub port: u16,
}

/// The worker's settings.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WorkerSettings {
    /// This node.
    pub node: NodeId,
    /// Every node that has a database, this one included.
    pub nodes: Vec<DatabaseNode>,
    /// The server's Unix socket.
    pub socket: PathBuf,
    /// The server's data directory.
    pub datadir: PathBuf,
    /// What must survive the data directory: copies, secrets, saved tails.
    pub state_dir: PathBuf,
    /// What may vanish with a boot.
    pub run_dir: PathBuf,
    /// Events run where clients write, if there are any.
    pub events: bool,
    /// How copies are taken.
    pub copies: Copies,
}

impl WorkerSettings {
    /// Debian's places.
    pub fn new(node: NodeId, nodes: Vec<DatabaseNode>) -> WorkerSettings {
        WorkerSettings {
            node,
            nodes,
            socket: PathBuf::from("/run/mysqld/mysqld.sock"),
            datadir: PathBuf::from(DATADIR),
            state_dir: PathBuf::from("/var/lib/regent"),
            run_dir: PathBuf::from("/run/regent"),
            events: true,
            copies: Copies::default(),
        }
    }

    /// The node behind a source's host and port.
    pub(crate) fn node_at(&self, host: &str, port: u16) -> Option<NodeId> {
        let address = host.parse::<IpAddr>().ok()?;
        let found = self.nodes.iter().find(|n| n.address == address && n.port == port)?;
        Some(found.node)
    }

    /// Where a node's database is.
    pub(crate) fn place_of(&self, node: NodeId) -> Option<&DatabaseNode> {
        self.nodes.iter().find(|n| n.node == node)
    }
}
