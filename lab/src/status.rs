//! `regent status --json`, version 1, as far as the lab needs it. Fields that are missing read as
//! unknown, so that an older or newer product can still be watched.

use serde::Deserialize;

/// The whole answer.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The format's version.
    pub version: u32,
    /// The node that answers.
    pub now_node: String,
    /// Number of the present grant.
    pub epoch: u64,
    /// Whom the record names.
    pub holder: Option<String>,
    /// Free, heir or ruling.
    pub phase: String,
    /// Which copy holds every acknowledged write beside the writer's; empty on shared data.
    #[serde(deserialize_with = "or_default")]
    pub sync: Sync,
    /// Every node as the asked one sees it.
    pub nodes: Vec<Node>,
    /// What keeps the cluster from serving.
    pub blocked: Option<Blocked>,
    /// What is left of a pause.
    pub pause_left_ms: Option<u64>,
    /// Stopped by an operator's word.
    pub stopped: bool,
    /// The hardware address of somebody else who answers for the VIP.
    pub stranger: Option<String>,
}

fn or_default<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Sync, D::Error> {
    Option::<Sync>::deserialize(from).map(Option::unwrap_or_default)
}

/// The recorded copies.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Sync {
    /// `in-sync` or `solo`.
    pub state: String,
    /// The recorded writer.
    pub writer: Option<String>,
    /// The recorded standby.
    pub with: Option<String>,
}

/// One node.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// What it is to operators.
    pub role: String,
    /// Whether the asked node hears it.
    pub reachable: bool,
    /// Whether it serves the VIP.
    pub serving: bool,
    /// Why it is what it is.
    pub reason: Option<String>,
    /// Its database; none where nothing is known.
    pub database: Option<Part>,
    /// Its services.
    pub services: Vec<Part>,
    /// What is left of its maintenance.
    pub maintenance_left_ms: Option<u64>,
    /// Its probes of database and host that fail.
    pub ailments: Vec<Ailment>,
    /// Its stack on shared data; none in the other topology.
    pub stack: Option<Stack>,
}

/// The stack of a node.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Stack {
    /// Every step is down, and no unit may start.
    pub clear: bool,
    /// What is not in the form that its role asks for.
    pub drift: Vec<String>,
}

/// A service, or the database.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Part {
    /// Its name; empty for the database.
    pub name: String,
    /// `up`, `down` or `unknown`.
    pub state: String,
    /// `passing`, `failing` or `unknown`.
    pub health: String,
    /// Its tries are used up.
    pub given_up: bool,
    /// Why it is not well.
    pub cause: String,
}

/// A probe that fails.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Ailment {
    /// Its name.
    pub probe: String,
    /// What it looks at: `database`, `host`, or a service's name.
    pub of: String,
    /// What it saw.
    pub why: String,
}

/// A row of the table of what can be stuck.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Blocked {
    /// Its number.
    pub row: u64,
    /// Its text.
    pub text: String,
}

impl Status {
    /// Reads an answer; nothing if it is none.
    pub fn parse(text: &str) -> Option<Status> {
        serde_json::from_str(text).ok()
    }

    /// The role of a node, empty if the answer has none.
    pub fn role(&self, node: &str) -> &str {
        let found = self.nodes.iter().find(|one| one.name == node);
        found.map_or("", |one| one.role.as_str())
    }

    /// A node's line of the answer.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|one| one.name == name)
    }

    /// The node that serves.
    pub fn active(&self) -> Option<&str> {
        let mut active = self.nodes.iter().filter(|node| node.role == "active" && node.serving);
        active.next().map(|node| node.name.as_str())
    }

    /// Whether the node that answers is the one that serves.
    pub fn is_active_itself(&self) -> bool {
        self.active() == Some(&self.now_node)
    }

    /// A node serves, the other stands by, and the register says that it holds everything.
    pub fn is_in_sync(&self) -> bool {
        let active = self.active();
        let with = self.sync.with.as_deref();
        let standby = with.is_some_and(|node| self.role(node) == "standby");
        let writer = self.sync.writer.as_deref();
        active.is_some() && standby && self.sync.state == "in-sync" && writer == active
    }

    /// Why a service of a node, or its database, is not well; nothing if it is.
    pub fn cause(&self, node: &str, service: &str) -> Option<String> {
        let node = self.nodes.iter().find(|one| one.name == node)?;
        let of = |part: &Part| {
            let unwell = part.state == "down" || part.health == "failing" || !part.cause.is_empty();
            unwell.then(|| format!("{} {} {}", part.state, part.health, part.cause))
        };
        if service == "database" {
            let ailing = node.ailments.iter().find(|one| one.of == "database");
            let ailing = ailing.map(|one| format!("{}: {}", one.probe, one.why));
            // A unit that is down leaves no facts.
            return ailing.or_else(|| node.database.as_ref().map_or(Some("down".into()), of));
        }
        node.services.iter().find(|part| part.name == service).and_then(of)
    }

    /// One line for a person.
    pub fn brief(&self) -> String {
        let roles: Vec<String> =
            self.nodes.iter().map(|node| format!("{} {}", node.name, node.role)).collect();
        let with = self.sync.with.as_deref().unwrap_or("nobody");
        let blocked =
            self.blocked.as_ref().map(|b| format!("; blocked, row {}: {}", b.row, b.text));
        format!(
            "epoch {}, {}; {} with {with}{}",
            self.epoch,
            roles.join(", "),
            self.sync.state,
            blocked.unwrap_or_default()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IN_SYNC: &str = r#"{"version":1,"now_node":"mn1","epoch":3,"holder":"mn1",
        "phase":"ruling","sync":{"state":"in-sync","writer":"mn1","with":"mn2"},
        "nodes":[{"name":"mn1","role":"active","reachable":true,"serving":true,"reason":"x"},
                 {"name":"mn2","role":"standby","reachable":true,"serving":false}],
        "blocked":null}"#;

    #[test]
    fn in_sync_needs_an_active_writer_and_a_standby_that_is_recorded() {
        let status = Status::parse(IN_SYNC).unwrap();
        assert!(status.is_in_sync());
        let solo = IN_SYNC.replace("in-sync", "solo");
        assert!(!Status::parse(&solo).unwrap().is_in_sync());
        assert_eq!(status.active(), Some("mn1"));
        assert!(status.is_active_itself());
        let waking = IN_SYNC.replace("standby", "unknown");
        assert!(!Status::parse(&waking).unwrap().is_in_sync());
        let other = IN_SYNC.replace("\"writer\":\"mn1\"", "\"writer\":\"mn2\"");
        assert!(!Status::parse(&other).unwrap().is_in_sync());
    }

    #[test]
    fn a_cause_is_found_with_the_service_that_it_names() {
        let text = r#"{"nodes":[{"name":"mn1","database":{"state":"up"},"services":[
            {"name":"ui","state":"up","health":"failing","cause":"probe ui-http: late"},
            {"name":"management","state":"up"}]}]}"#;
        let status = Status::parse(text).unwrap();
        assert!(status.cause("mn1", "ui").unwrap().contains("late"));
        assert_eq!(status.cause("mn1", "management"), None);
        assert_eq!(status.cause("mn1", "database"), None);
    }

    #[test]
    fn an_empty_or_broken_answer_is_not_in_sync() {
        assert!(!Status::parse("{}").unwrap().is_in_sync());
        assert!(!Status::parse(r#"{"sync":null}"#).unwrap().is_in_sync());
        assert!(Status::parse("regent: agent not reachable").is_none());
    }
}
