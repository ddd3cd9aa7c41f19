//! The greeting: who dials, for what, and whether that is taken.

use regent_core::id::ClusterId;
use serde::{Deserialize, Serialize};

/// The format of the greeting; another one is refused by name, so that a mixed cluster says what is wrong.
pub const FORMAT: u32 = 1;

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Messages of the register.
    Register,
    /// Reports.
    Report,
    /// One question of an agent to an agent.
    Request,
    /// A copy of the database.
    Bulk,
    /// Questions of an operator.
    Operator,
}

/// The first frame of every connection.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// [`FORMAT`].
    pub format: u32,
    /// The cluster's name in the dialler's configuration.
    pub cluster: String,
    /// The cluster's id, if the dialler belongs to one.
    pub cluster_id: Option<ClusterId>,
    /// Who dials; must stand in its certificate.
    pub node: String,
    /// Its number; must be the configured one. None for an operator.
    pub id: Option<u16>,
    /// This run of it, in hexadecimal.
    pub run: String,
    /// For what.
    pub purpose: Purpose,
}

/// The second frame, the other way.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Welcome {
    /// Taken.
    Taken,
    /// Not, and why.
    Refused(String),
}
