//! Where the cluster is, as one agent knows it: by its own knowledge and the last reports, with their ages.

use crate::exit::Exit;
use crate::stack::{Claim, NodeStack, Shared};
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
    /// What is left of a pause: no succession and no restarts by us.
    #[serde(default)]
    pub pause_left_ms: Option<u64>,
    /// The cluster is stopped by an operator's word.
    #[serde(default)]
    pub stopped: bool,
    /// The link address of somebody else who answers for the VIP.
    #[serde(default)]
    pub stranger: Option<String>,
    /// Every probe of the node that answers, as it concluded.
    #[serde(default)]
    pub probes: Vec<Probe>,
    /// What the node that answers has measured of its own timing.
    #[serde(default)]
    pub measured: Vec<Measured>,
    /// The shared data, if that is the topology; there is no `sync` then.
    #[serde(default)]
    pub shared: Option<Shared>,
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
    /// Whether both copies are the same, as the active node last found; none if it has not looked yet.
    #[serde(default)]
    pub compared: Option<Compared>,
}

/// Comparisons of both copies.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Compared {
    /// How far the one is that is under way.
    pub under_way: Option<String>,
    /// How long ago the last one came to its end.
    pub age_ms: Option<u64>,
    /// Whether it found the same on both sides.
    pub equal: Option<bool>,
    /// What came out, in a sentence.
    pub text: String,
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
    /// Probes of its database and its host that fail.
    #[serde(default)]
    pub ailments: Vec<Ailment>,
    /// What makes it less than it should be beside all that, a sentence each.
    #[serde(default)]
    pub concerns: Vec<String>,
    /// What is left of its maintenance.
    #[serde(default)]
    pub maintenance_left_ms: Option<u64>,
    /// The digest of its configuration file, in hexadecimal; none where it is not known.
    #[serde(default)]
    pub configuration: Option<String>,
    /// Its stack on shared data; none in the other topology, for a witness, and where nothing is known.
    #[serde(default)]
    pub stack: Option<NodeStack>,
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
    pub fn as_str(self) -> &'static str {
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
    /// Does its unit run?
    pub state: Up,
    /// The conclusion from its unit and its probes.
    #[serde(default)]
    pub health: Health,
    /// Why it is not well; empty if it is.
    #[serde(default)]
    pub cause: String,
    /// It was given up after the configured tries.
    #[serde(default)]
    pub given_up: bool,
}

/// The conclusion about something that is probed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// Nothing was observed yet, or it does not count in this role.
    #[default]
    Unknown,
    /// Well.
    Passing,
    /// Not well.
    Failing,
}

impl Health {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Health::Unknown => "unknown",
            Health::Passing => "passing",
            Health::Failing => "failing",
        }
    }
}

/// What a failure means.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weight {
    /// An alarm.
    Degraded,
    /// It moves the VIP.
    Vital,
}

impl Weight {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Weight::Degraded => "degraded",
            Weight::Vital => "vital",
        }
    }
}

/// A probe of the database or the host that fails.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ailment {
    /// The probe's name.
    pub probe: String,
    /// What it looks at: `database`, `host`, or a service's name.
    pub subject: String,
    /// What its failure means.
    pub weight: Weight,
    /// What it saw.
    pub why: String,
}

/// One probe of the node that answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Probe {
    /// Its name.
    pub name: String,
    /// What it looks at: `database`, `host`, or a service's name.
    pub subject: String,
    /// What its failure means.
    pub weight: Weight,
    /// In which role it counts: `always`, `active`, `standby`.
    pub counts: String,
    /// The conclusion.
    pub health: Health,
    /// For how long it has been so.
    pub since_ms: u64,
    /// What it saw; empty if it passes.
    pub why: String,
    /// Something to look at although it passes: a certificate that ends soon.
    pub warning: Option<String>,
}

/// One quantity that the node measured, over the last hours.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// Stable, for tools: `swap`, `report-gap:mn2`.
    pub what: String,
    /// How many times.
    pub count: u64,
    /// The middle one, in microseconds.
    pub p50_us: u64,
    /// 99 of 100 were at most this long.
    pub p99_us: u64,
    /// 999 of 1000 were at most this long.
    pub p999_us: u64,
    /// The longest.
    pub worst_us: u64,
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
        self.verdict().0
    }

    /// The exit code, and what it stands for: a sentence for each thing that is not well, the worst first.
    pub fn verdict(&self) -> (Exit, Vec<String>) {
        if let Some(alarm) = &self.alarm {
            return (Exit::Unsafe, vec![alarm.clone()]);
        }
        if !self.initialised {
            return (Exit::NotInitialised, vec![self.reason.clone()]);
        }
        let mut found: Vec<String> = Vec::new();
        let active = self.nodes.iter().any(|n| n.role == Role::Active && n.reachable);
        if let Some(shared) = &self.shared {
            found.extend(self.troubles_of(shared, active));
        } else if self.stopped {
            found.push("stopped by an operator: regent cluster start starts it".into());
        } else if !active {
            found.push("no node is active".into());
        }
        let serves = self.nodes.iter().any(|n| n.serving && n.role == Role::Active && n.reachable);
        let exit = if serves { Exit::Degraded } else { Exit::NoActive };
        let solo = self.sync.as_ref().is_none_or(|s| s.state == SyncState::Solo);
        if solo && !self.stopped && self.shared.is_none() {
            found.push("solo: there is no second copy of every acknowledged write".into());
        }
        if let Some(drift) = self.drift() {
            found.push(drift);
        }
        for node in &self.nodes {
            let heed = !self.stopped || !node.reachable || self.shared.is_some();
            found.extend(node.troubles().into_iter().filter(|_| heed));
        }
        let exit = if found.is_empty() { Exit::Ok } else { exit };
        (exit, found)
    }

    /// What is not well with the use of the shared data.
    fn troubles_of(&self, shared: &Shared, active: bool) -> Vec<String> {
        let mut found = Vec::new();
        let moving = self.nodes.iter().any(|n| n.stack.as_ref().is_some_and(|s| s.doing.is_some()));
        let of_other = shared.claim.as_ref().filter(|claim| claim.of_cluster.is_some());
        // A node of this register that is heard has no other one: somebody else's claim has its name.
        let is_member = |claim: &&Claim| {
            let mut nodes = self.nodes.iter().filter(|node| node.name != self.now_node);
            nodes.any(|node| node.name == claim.node && !node.reachable)
        };
        let member = of_other.filter(|claim| !claim.clear).filter(is_member);
        if !active && !moving {
            found.push(match (&shared.in_use, member) {
                (_, Some(claim)) => format!(
                    "no node of this register is active: {} has used the shared data by another one since {}; \
                     on {}: regent rejoin {}",
                    claim.node, claim.since, claim.node, self.now_node
                ),
                (Some(used), None) => {
                    format!("no node is active, and the shared data are in use by {}", used.node)
                }
                (None, None) => "no node is active: regent activate, on the node that shall be".into(),
            });
        }
        if let Some(claim) = of_other.filter(|claim| !is_member(claim)) {
            let text = claim.text();
            found.push(format!(
                "the claim on the shared data is {text}: is it the right directory?"
            ));
        }
        found
    }

    /// Who has another configuration than the others.
    pub fn drift(&self) -> Option<String> {
        let known = self.nodes.iter().filter_map(|n| Some((n, n.configuration.as_ref()?)));
        let here = known.clone().find(|(n, _)| n.name == self.now_node).or(known.clone().next())?;
        let other: Vec<&str> =
            known.filter(|(_, of)| *of != here.1).map(|(n, _)| n.name.as_str()).collect();
        if other.is_empty() {
            return None;
        }
        let (names, here) = (other.join(" and "), &here.0.name);
        Some(format!(
            "the configuration of {names} is not that of {here}: regent config diff shows it, regent config set mends it"
        ))
    }
}

impl NodeStatus {
    /// What makes this node less than it should be, a sentence each; degraded probes are no part of it.
    pub fn troubles(&self) -> Vec<String> {
        let name = &self.name;
        if !self.reachable {
            return vec![format!("{name} is not heard")];
        }
        let mut found = Vec::new();
        if self.role == Role::Active && !self.serving {
            found.push(format!("{name} is active, and does not answer for the virtual IP"));
        }
        if self.role == Role::Isolated {
            found.push(format!("{name} sees no majority of voters, and could not take over"));
        }
        if let Some(stack) = &self.stack {
            found.extend(self.troubles_of(stack));
            if self.role != Role::Active {
                // Nothing runs where nothing is to run.
                found.extend(self.concerns.iter().map(|concern| format!("{name}: {concern}")));
                found.extend(self.vital_ailments());
                return found;
            }
        }
        match self.database.as_ref().map(|d| d.state) {
            Some(Up::Down) => found.push(format!("{name}: the database is down")),
            Some(Up::Unknown) => {
                found.push(format!("{name}: the state of its database is unknown"))
            }
            Some(Up::Up) if self.role == Role::Failed => {
                found.push(format!("{name} has failed: its data are not the recorded copy"));
            }
            Some(Up::Up) | None => {}
        }
        for service in self.services.iter().filter(|s| !s.is_well()) {
            found.push(format!("{name}: service {} {}", service.name, service.trouble()));
        }
        found.extend(self.concerns.iter().map(|concern| format!("{name}: {concern}")));
        found.extend(self.vital_ailments());
        found
    }

    fn vital_ailments(&self) -> impl Iterator<Item = String> + '_ {
        let vital = self.ailments.iter().filter(|a| a.weight == Weight::Vital);
        vital.map(|a| format!("{}: {}", self.name, a.text()))
    }

    /// What is not well with its stack. While a step is under way nothing else is expected to be in its form.
    fn troubles_of(&self, stack: &NodeStack) -> Vec<String> {
        let name = &self.name;
        let mut found = Vec::new();
        if let Some(failure) = &stack.failure {
            found.push(format!("{name}: {failure}"));
        }
        if stack.doing.is_some() {
            return found;
        }
        let drift = stack.drift.iter();
        found.extend(drift.map(|d| format!("{name}: {d}: regent stack repair, there")));
        if self.role != Role::Active {
            let problems = stack.problems.iter();
            found.extend(problems.map(|p| format!("{name} could not be activated: {p}")));
        }
        found
    }

    /// What of it still runs, by name.
    pub fn running(&self) -> Vec<String> {
        let database = self.database.as_ref().filter(|d| d.state == Up::Up).map(|_| "the database");
        let services = self.services.iter().filter(|s| s.state == Up::Up).map(|s| s.name.as_str());
        services.chain(database).map(|what| format!("{} on {}", what, self.name)).collect()
    }

    /// What an operator should look at although nothing is out of order yet, a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let degraded = self.ailments.iter().filter(|a| a.weight == Weight::Degraded);
        degraded.map(|a| format!("{}: {}", self.name, a.text())).collect()
    }
}

impl Database {
    /// In a few words, for a table.
    pub fn text(&self) -> String {
        match self.state {
            Up::Down => return "down".into(),
            Up::Unknown => return "unknown".into(),
            Up::Up => {}
        }
        let mut words = vec![if self.read_only { "read-only" } else { "writable" }];
        let follows = self.receiver != Thread::Stopped || self.applier != Thread::Stopped;
        if follows {
            words.push(match (self.receiver, self.applier) {
                (Thread::Running, Thread::Running) => "follows",
                (Thread::Connecting, _) => "looks for its source",
                (Thread::Failed, _) => "receiver failed",
                (_, Thread::Failed) => "applier failed",
                (Thread::Stopped | Thread::Running | Thread::Unknown, _) => "half stopped",
            });
        } else {
            words.push(if self.strict { "strict" } else { "loose" });
        }
        let mut text = words.join(", ");
        if let Some(error) = &self.error {
            text.push_str(&format!(" ({error})"));
        }
        text
    }
}

impl Service {
    /// In a few words, for a table.
    pub fn text(&self) -> String {
        let name = &self.name;
        match (self.state, self.health) {
            (Up::Down, _) => format!("{name} DOWN"),
            (Up::Unknown, _) => format!("{name} ?"),
            (Up::Up, Health::Failing) => format!("{name} FAILING"),
            (Up::Up, Health::Unknown) => format!("{name} starting"),
            (Up::Up, Health::Passing) => name.clone(),
        }
    }

    /// Its unit runs, and no vital probe of it fails.
    pub fn is_well(&self) -> bool {
        self.state == Up::Up && self.health != Health::Failing
    }

    /// What is wrong with it, as the end of a sentence.
    fn trouble(&self) -> String {
        let state = match self.state {
            Up::Down => "is down".to_string(),
            Up::Unknown => "is in an unknown state".to_string(),
            Up::Up => format!("is not well: {}", self.cause),
        };
        if self.given_up { format!("{state}; given up: mend it and start it") } else { state }
    }
}

impl Ailment {
    /// In words.
    pub fn text(&self) -> String {
        format!("probe {} of the {} fails: {}", self.probe, self.subject, self.why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::StepState;

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
            ailments: vec![],
            concerns: vec![],
            maintenance_left_ms: None,
            configuration: None,
            stack: None,
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
                compared: None,
            }),
            switchover: None,
            nodes: vec![
                node("mn1", Role::Active),
                node("mn2", Role::Standby),
                node("w1", Role::Witness),
            ],
            blocked: None,
            alarm: None,
            pause_left_ms: None,
            stopped: false,
            stranger: None,
            probes: vec![],
            measured: vec![],
            shared: None,
        }
    }

    #[test]
    fn the_exit_code_is_the_worst_that_holds() {
        assert_eq!(healthy().exit(), Exit::Ok);
        let mut solo = healthy();
        solo.sync =
            Some(Sync { state: SyncState::Solo, writer: "mn1".into(), with: None, compared: None });
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
    fn an_active_node_that_does_not_answer_for_the_virtual_ip_is_an_outage() {
        let mut dark = healthy();
        dark.nodes[0].serving = false;
        let text = "mn1 is active, and does not answer for the virtual IP".to_string();
        assert_eq!(dark.verdict(), (Exit::NoActive, vec![text]));
    }

    #[test]
    fn a_standby_that_sees_no_majority_is_a_trouble() {
        let mut lab = healthy();
        lab.nodes[1].role = Role::Isolated;
        let text = "mn2 sees no majority of voters, and could not take over".to_string();
        assert_eq!(lab.verdict(), (Exit::Degraded, vec![text]));
    }

    /// It still takes itself for the holder, and another one serves by now: that is heard, and all else looks well.
    #[test]
    fn a_node_that_has_failed_with_its_database_up_is_a_trouble() {
        let mut lab = healthy();
        lab.nodes[1].role = Role::Failed;
        lab.nodes[1].database = Some(Database {
            state: Up::Up,
            read_only: true,
            strict: true,
            incarnation: None,
            receiver: Thread::Stopped,
            applier: Thread::Stopped,
            error: None,
        });
        let text = "mn2 has failed: its data are not the recorded copy".to_string();
        assert_eq!(lab.verdict(), (Exit::Degraded, vec![text]));
    }

    fn ailment(weight: Weight) -> Ailment {
        let (probe, why) = ("disk-data".into(), "3 % free".into());
        Ailment { probe, subject: "host".into(), weight, why }
    }

    #[test]
    fn a_degraded_probe_is_a_warning_and_a_vital_one_a_trouble() {
        let mut lab = healthy();
        lab.nodes[1].ailments = vec![ailment(Weight::Degraded)];
        assert_eq!(lab.verdict(), (Exit::Ok, vec![]));
        assert_eq!(lab.nodes[1].warnings(), ["mn2: probe disk-data of the host fails: 3 % free"]);
        lab.nodes[1].ailments = vec![ailment(Weight::Vital)];
        let text = "mn2: probe disk-data of the host fails: 3 % free".to_string();
        assert_eq!(lab.verdict(), (Exit::Degraded, vec![text]));
    }

    #[test]
    fn a_service_that_runs_and_fails_its_probes_is_not_well() {
        let mut lab = healthy();
        lab.nodes[0].services = vec![Service {
            name: "ui".into(),
            state: Up::Up,
            health: Health::Failing,
            cause: "probe ui-http: no answer within 250 ms".into(),
            given_up: true,
        }];
        let (exit, found) = lab.verdict();
        assert_eq!(exit, Exit::Degraded);
        assert_eq!(
            found,
            [
                "mn1: service ui is not well: probe ui-http: no answer within 250 ms; given up: mend it and start it"
            ]
        );
        lab.nodes[0].services[0].health = Health::Unknown;
        assert_eq!(lab.exit(), Exit::Ok, "what is starting is no failure");
    }

    #[test]
    fn a_pause_and_a_maintenance_are_no_troubles_and_a_stop_is_no_active_node() {
        let mut lab = healthy();
        lab.pause_left_ms = Some(1000);
        lab.nodes[1].role = Role::Maintenance;
        lab.nodes[1].maintenance_left_ms = Some(1000);
        assert_eq!(lab.exit(), Exit::Ok);
        lab.stopped = true;
        lab.nodes[0].role = Role::Standby;
        let (exit, found) = lab.verdict();
        assert_eq!(exit, Exit::NoActive);
        assert_eq!(found, ["stopped by an operator: regent cluster start starts it"]);
    }

    #[test]
    fn on_shared_data_a_passive_node_runs_nothing_and_that_is_well() {
        let mut lab = healthy();
        lab.sync = None;
        lab.shared = Some(Shared {
            failover: "by-hand".into(),
            steps: vec!["xcatd".into()],
            in_use: None,
            claim: None,
            activating: None,
        });
        let down = Service {
            name: "xcatd".into(),
            state: Up::Down,
            health: Health::Failing,
            cause: String::new(),
            given_up: false,
        };
        for (node, step) in lab.nodes.iter_mut().zip([StepState::Up, StepState::Down]) {
            node.stack = Some(NodeStack { steps: vec![step], ..NodeStack::default() });
            let state = if node.role == Role::Active { Up::Up } else { Up::Down };
            let health = if state == Up::Up { Health::Passing } else { Health::Failing };
            node.services = vec![Service { state, health, ..down.clone() }];
        }
        assert_eq!(lab.verdict(), (Exit::Ok, vec![]));
        lab.nodes[1].stack.as_mut().unwrap().drift = vec!["xcatd.service is enabled".into()];
        let text = "mn2: xcatd.service is enabled: regent stack repair, there".to_string();
        assert_eq!(lab.verdict(), (Exit::Degraded, vec![text]));
        lab.nodes[1].stack.as_mut().unwrap().drift.clear();
        lab.nodes[0].role = Role::Standby;
        lab.stopped = true;
        let text = "no node is active: regent activate, on the node that shall be".to_string();
        assert_eq!(lab.verdict(), (Exit::NoActive, vec![text]));
    }

    #[test]
    fn another_configuration_is_named() {
        let mut lab = healthy();
        lab.nodes[0].configuration = Some("00000000000000aa".into());
        lab.nodes[1].configuration = Some("00000000000000aa".into());
        assert_eq!(lab.verdict(), (Exit::Ok, vec![]));
        lab.nodes[1].configuration = Some("00000000000000ab".into());
        let (exit, found) = lab.verdict();
        assert_eq!(exit, Exit::Degraded);
        assert!(found[0].starts_with("the configuration of mn2 is not that of mn1"), "{found:?}");
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
