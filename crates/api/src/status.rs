//! Where the cluster is, as one agent knows it: by its own knowledge and the last reports, with their ages.

use crate::exit::Exit;
use serde::{Deserialize, Serialize};

/// Version 1 of `regent status --json`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// [`crate::VERSION`].
    pub version: u32,
    /// The cluster's name.
    pub cluster: String,
    /// Who answers.
    pub now_node: String,
    /// Is there a cluster? If not, `reason` says what is missing.
    pub initialised: bool,
    /// What an operator should know first, in one sentence; empty if all is well.
    pub reason: String,
    /// The grant, as this node last saw it.
    pub epoch: Option<u64>,
    /// Whom the record names.
    pub holder: Option<String>,
    /// Whose right may be running.
    pub phase: Option<Phase>,
    /// The virtual IP with its prefix.
    pub vip: Option<String>,
    /// Where every acknowledged write is.
    pub sync: Option<Sync>,
    /// A planned move is under way to this node.
    pub switchover: Option<String>,
    /// Every member, in the order of their numbers.
    pub nodes: Vec<NodeStatus>,
    /// What keeps anybody from serving, with its row of the table "stuck, and the way out".
    pub blocked: Option<Blocked>,
    /// Must not go on without an operator: an identity exists twice, the register went back.
    #[serde(default)]
    pub alarm: Option<String>,
}

/// Whose right may be running.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Nobody's.
    Free,
    /// A predecessor's, perhaps.
    Heir,
    /// Only the holder's.
    Ruling,
}

/// Where every acknowledged write is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sync {
    /// With a copy beside the writer, or without.
    pub state: SyncState,
    /// Whose log has them all.
    pub writer: String,
    /// Who received them all.
    pub with: Option<String>,
}

/// With a copy beside the writer, or without.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SyncState {
    /// A standby holds every acknowledged write.
    InSync,
    /// Only the writer does.
    Solo,
}

/// One member.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub role: Role,
    /// It was heard within the time of suspicion.
    pub reachable: bool,
    /// It answers for the VIP, by its own last word.
    pub serving: bool,
    /// Why it is there, or what is wrong.
    pub reason: String,
    /// How old this knowledge is; none if it was never heard.
    pub age_ms: Option<u64>,
    /// Its database; none for a witness, and where nothing is known.
    pub database: Option<Database>,
    /// Its services.
    pub services: Vec<Service>,
}

/// Where a member is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Serves.
    Active,
    /// Ready, or getting ready, to take over.
    Standby,
    /// On the way to serving.
    Activating,
    /// On the way from serving.
    Deactivating,
    /// Sees no quorum.
    Isolated,
    /// Its database or services broke.
    Failed,
    /// No candidate, by an operator's word.
    Maintenance,
    /// The whole cluster is stopped, by an operator's word.
    Stopped,
    /// Votes and runs no resources.
    Witness,
    /// Never heard, or too long ago.
    Unknown,
}

impl Role {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Role::Active => "active",
            Role::Standby => "standby",
            Role::Activating => "activating",
            Role::Deactivating => "deactivating",
            Role::Isolated => "isolated",
            Role::Failed => "failed",
            Role::Maintenance => "maintenance",
            Role::Stopped => "stopped",
            Role::Witness => "witness",
            Role::Unknown => "unknown",
        }
    }
}

/// A database as it was last seen.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Database {
    /// Does it run?
    pub state: Up,
    /// Clients cannot write.
    pub read_only: bool,
    /// Commits wait for the replica.
    pub strict: bool,
    /// The unbroken stay of its data, in hexadecimal.
    pub incarnation: Option<String>,
    /// The thread that receives.
    pub receiver: Thread,
    /// The thread that applies.
    pub applier: Thread,
    /// What a replication thread stopped with.
    #[serde(default)]
    pub error: Option<String>,
}

/// A replication thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Thread {
    /// Not running, without an error.
    Stopped,
    /// Looking for its source.
    Connecting,
    /// Running.
    Running,
    /// Not running, because of an error.
    Failed,
    /// Not known.
    Unknown,
}

/// Whether something runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Up {
    /// It does.
    Up,
    /// It does not.
    Down,
    /// Nobody can tell.
    Unknown,
}

/// One service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Service {
    /// Its name in the configuration.
    pub name: String,
    /// Does it run?
    pub state: Up,
}

/// What keeps anybody from serving.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Blocked {
    /// The row of the table.
    pub row: u8,
    /// The reason and the way out.
    pub text: String,
}

impl Status {
    /// The exit code that says the same in one number: the worst that holds.
    pub fn exit(&self) -> Exit {
        if self.alarm.is_some() {
            return Exit::Unsafe;
        }
        if !self.initialised {
            return Exit::NotInitialised;
        }
        let active = |n: &&NodeStatus| n.role == Role::Active && n.reachable;
        if self.nodes.iter().find(active).is_none() {
            return Exit::NoActive;
        }
        let solo = self.sync.as_ref().is_none_or(|s| s.state == SyncState::Solo);
        let unwell = |n: &NodeStatus| {
            !n.reachable
                || n.services.iter().any(|s| s.state != Up::Up)
                || n.database.as_ref().is_some_and(|d| d.state != Up::Up)
        };
        if solo || self.nodes.iter().any(unwell) { Exit::Degraded } else { Exit::Ok }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, role: Role) -> NodeStatus {
        NodeStatus {
            name: name.into(),
            role,
            reachable: true,
            serving: role == Role::Active,
            reason: String::new(),
            age_ms: Some(0),
            database: None,
            services: vec![],
        }
    }

    fn healthy() -> Status {
        Status {
            version: crate::VERSION,
            cluster: "lab".into(),
            now_node: "mn1".into(),
            initialised: true,
            reason: String::new(),
            epoch: Some(3),
            holder: Some("mn1".into()),
            phase: Some(Phase::Ruling),
            vip: Some("10.77.0.100/24".into()),
            sync: Some(Sync {
                state: SyncState::InSync,
                writer: "mn1".into(),
                with: Some("mn2".into()),
            }),
            switchover: None,
            nodes: vec![
                node("mn1", Role::Active),
                node("mn2", Role::Standby),
                node("w1", Role::Witness),
            ],
            blocked: None,
            alarm: None,
        }
    }

    #[test]
    fn the_exit_code_is_the_worst_that_holds() {
        assert_eq!(healthy().exit(), Exit::Ok);
        let mut solo = healthy();
        solo.sync = Some(Sync { state: SyncState::Solo, writer: "mn1".into(), with: None });
        assert_eq!(solo.exit(), Exit::Degraded);
        let mut lost = healthy();
        lost.nodes[2].reachable = false;
        assert_eq!(lost.exit(), Exit::Degraded);
        lost.nodes[0].role = Role::Standby;
        assert_eq!(lost.exit(), Exit::NoActive);
        lost.initialised = false;
        assert_eq!(lost.exit(), Exit::NotInitialised);
        lost.alarm = Some("the register went back".into());
        assert_eq!(lost.exit(), Exit::Unsafe);
    }

    #[test]
    fn version_one_has_the_words_that_scripts_read() {
        let json = serde_json::to_value(healthy()).unwrap();
        assert_eq!(json["sync"]["state"], "in-sync");
        assert_eq!(json["phase"], "ruling");
        assert_eq!(json["nodes"][0]["role"], "active");
        assert_eq!(json["nodes"][0]["database"], serde_json::Value::Null);
        assert_eq!(json["switchover"], serde_json::Value::Null);
    }
}
