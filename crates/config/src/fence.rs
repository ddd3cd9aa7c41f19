//! How a node is fenced, as the configuration says it.

use regent_core::time::Span;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// How one node is fenced, as configured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The node's name.
    pub node: String,
    /// What switches it off.
    pub device: Device,
    /// The longest a fencing may take, its confirmation included; a test as well.
    pub timeout: Span,
}

/// What switches a node off.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Device {
    /// A program of the package fence-agents.
    Agent {
        /// Its name, such as `fence_redfish`, or its whole path.
        agent: String,
        /// Its options, without secrets.
        options: BTreeMap<String, String>,
        /// The file with its password; only its owner may read it.
        password_file: Option<PathBuf>,
    },
    /// A program of the site's own, and its first arguments; the node's name and the action follow.
    Command(Vec<String>),
}
