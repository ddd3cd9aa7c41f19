//! What core knows, in the words of the API.

use crate::steps::Claimed;
use regent_api::VERSION;
use regent_api::moment::Moment;
use regent_api::stack::{self as api_stack, Doing, InUse, NodeStack, Shared};
use regent_api::status as api;
use regent_config::Settings;
use regent_core::health::{Counts, Health, ProbeId, Subject, Weight};
use regent_core::id::{ClusterId, NodeId, RunId, Version};
use regent_core::node::NodeStatus;
use regent_core::observe::{
    Ailment, Comparison, DatabaseFacts, DatabaseReport, ServiceReport, Thread, UnitState,
};
use regent_core::role::Role;
use regent_core::spec::Spec;
use regent_core::stack::{Failover, StackReport, StackSpec, StepId, StepState};
use regent_core::state::{Data, Phase, State};
use regent_core::time::Span;
use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// When each member was last heard on any lane: the only sign of a witness.
#[derive(Default)]
pub struct Heard {
    at: Mutex<HashMap<NodeId, Instant>>,
    words: Mutex<HashMap<NodeId, (RunId, Instant)>>,
}

impl Heard {
    /// It was heard just now.
    pub fn note(&self, node: NodeId) {
        self.at.lock().expect("nothing panics while it holds this").insert(node, Instant::now());
    }

    /// It said a word of its own accord; how long after the one before of the same run: a restart is no jitter.
    pub fn said(&self, node: NodeId, run: RunId) -> Option<Duration> {
        let now = Instant::now();
        let mut words = self.words.lock().expect("nothing panics while it holds this");
        let before = words.insert(node, (run, now)).filter(|(of, _)| *of == run);
        before.map(|(_, at)| now - at)
    }

    /// How long ago that was.
    pub fn age(&self, node: NodeId) -> Option<Duration> {
        let at = self.at.lock().expect("nothing panics while it holds this");
        at.get(&node).map(Instant::elapsed)
    }
}

/// Who asks for a status to be written, and what it is written from beside core.
pub struct Frame<'a> {
    /// The configuration.
    pub settings: &'a Settings,
    /// This node.
    pub me: NodeId,
    /// Signs of life.
    pub heard: &'a Heard,
    /// What core knows of the configuration.
    pub spec: &'a Spec,
    /// The digest of this node's configuration; 0 if it is not known.
    pub configuration: u64,
    /// The claim on the shared data, as this node last read it.
    pub claimed: Option<Claimed>,
    /// The cluster that this agent belongs to, whether its register answers or not.
    pub cluster: Option<ClusterId>,
}

/// What the active node knows of both copies' equality.
fn tell_compared(status: &mut api::Status, comparison: Option<&Comparison>) {
    let (Some(sync), Some(comparison)) = (&mut status.sync, comparison) else { return };
    let last = comparison.last.as_ref();
    sync.compared = Some(api::Compared {
        under_way: comparison.under_way.clone(),
        age_ms: last.map(|last| last.age.as_millis()),
        equal: last.map(|last| !last.differs),
        text: last.map_or_else(String::new, |last| last.text.clone()),
    });
}

impl Frame<'_> {
    /// A node that belongs to no cluster yet.
    pub fn uninitialised(&self, reason: &str) -> api::Status {
        let mut status = self.of_state(None);
        status.initialised = false;
        status.reason = reason.into();
        status.nodes = self.settings.members.iter().map(|m| self.stranger(m.id)).collect();
        status
    }

    /// A witness: it knows the register and hears the nodes' lanes, and has no core. `concern` is about itself.
    pub fn of_witness(
        &self,
        state: Option<&State>,
        reports: &HashMap<NodeId, regent_core::observe::Report>,
        concern: Option<String>,
    ) -> api::Status {
        let mut status = self.of_state(state);
        let holder = state.and_then(|state| reports.get(&state.lease.holder));
        tell_compared(&mut status, holder.and_then(|report| report.comparison.as_deref()));
        for member in &self.settings.members {
            let node = match reports.get(&member.id) {
                Some(report) if !member.witness => self.peer(member.id, report),
                Some(_) | None => self.stranger(member.id),
            };
            status.nodes.push(node);
        }
        let me = self.settings.name(self.me);
        if let Some(here) = status.nodes.iter_mut().find(|node| node.name == me) {
            here.concerns.extend(concern);
        }
        status
    }

    /// A node with a core; `warnings` are what its probes warn of although they pass.
    pub fn of_node(
        &self,
        core: &NodeStatus,
        alarm: Option<String>,
        warnings: &BTreeMap<ProbeId, String>,
    ) -> api::Status {
        let state = core.view.as_ref().map(|(_, state)| state);
        let mut status = self.of_state(state);
        status.alarm = alarm;
        let holder = state.and_then(|s| core.peers.iter().find(|p| p.node == s.lease.holder));
        let theirs = holder.and_then(|peer| peer.report.as_ref()?.comparison.as_deref());
        let holds = state.is_some_and(|state| state.lease.holder == self.me);
        let ours = core.comparison.as_ref().filter(|_| holds);
        tell_compared(&mut status, ours.or(theirs));
        if core.view.is_none() {
            status.reason = core.reasons.first().cloned().unwrap_or_default();
        }
        status.blocked = core.blocked.as_ref().map(|blocked| api::Blocked {
            row: blocked.row(),
            text: blocked.words(&|node| self.settings.name(node)),
        });
        for member in &self.settings.members {
            let known = core.peers.iter().find(|p| p.node == member.id);
            let node = if member.id == self.me {
                self.here(core)
            } else if let Some((peer, report)) =
                known.and_then(|p| p.report.as_ref().map(|r| (p, r)))
            {
                let mut node = self.peer(member.id, report);
                node.reachable = peer.reachable;
                node.age_ms = Some(peer.age.as_millis());
                if !peer.reachable {
                    self.forget(&mut node);
                }
                node
            } else {
                self.stranger(member.id)
            };
            status.nodes.push(node);
        }
        status.pause_left_ms = core.pause_left.map(Span::as_millis);
        status.stopped = core.stopped;
        status.stranger = core.stranger.map(mac);
        for (node, left) in &core.maintenance_left {
            let name = self.settings.name(*node);
            if let Some(node) = status.nodes.iter_mut().find(|n| n.name == name) {
                node.maintenance_left_ms = Some(left.as_millis());
            }
        }
        status.probes = self.probes(core, warnings);
        status
    }

    fn probes(&self, core: &NodeStatus, warnings: &BTreeMap<ProbeId, String>) -> Vec<api::Probe> {
        let known = self.spec.probes.iter().zip(&core.probes);
        known
            .map(|(spec, probe)| api::Probe {
                name: spec.name.clone(),
                subject: self.subject(spec.subject),
                weight: weight(spec.weight),
                counts: match spec.counts {
                    Counts::Always => "always",
                    Counts::Active => "active",
                    Counts::Standby => "standby",
                }
                .into(),
                health: health(probe.health),
                since_ms: probe.since.as_millis(),
                why: probe.why.clone(),
                warning: warnings.get(&probe.probe).cloned(),
            })
            .collect()
    }

    fn subject(&self, subject: Subject) -> String {
        match subject {
            Subject::Database => "database".into(),
            Subject::Host => "host".into(),
            Subject::Service(id) => {
                let service = self.spec.services.get(usize::from(id.0));
                service.map_or_else(|| id.0.to_string(), |service| service.name.clone())
            }
        }
    }

    fn ailments(&self, ailments: &[Ailment]) -> Vec<api::Ailment> {
        let told = |ailment: &Ailment| api::Ailment {
            probe: ailment.probe.clone(),
            subject: self.subject(ailment.subject),
            weight: weight(ailment.weight),
            why: ailment.why.clone(),
        };
        ailments.iter().map(told).collect()
    }

    /// What the register says.
    fn of_state(&self, state: Option<&State>) -> api::Status {
        let name = |id| self.settings.name(id);
        api::Status {
            version: VERSION,
            cluster: self.settings.cluster.clone(),
            now_node: name(self.me),
            initialised: true,
            reason: String::new(),
            epoch: state.map(|s| s.lease.epoch.0),
            holder: state.map(|s| name(s.lease.holder)),
            phase: state.map(|s| match s.lease.phase {
                Phase::Free => api::Phase::Free,
                Phase::Heir => api::Phase::Heir,
                Phase::Ruling => api::Phase::Ruling,
            }),
            vip: Some(self.settings.vip_text()),
            sync: state.filter(|_| self.spec.stack.is_none()).map(|s| api::Sync {
                state: match s.sync.with {
                    Some(_) => api::SyncState::InSync,
                    None => api::SyncState::Solo,
                },
                writer: name(s.sync.writer.node),
                with: s.sync.with.map(|c| name(c.node)),
                compared: None,
            }),
            switchover: state
                .and_then(|s| s.intent.switchover.filter(|i| i.epoch == s.lease.epoch))
                .map(|i| name(i.to)),
            nodes: Vec::new(),
            blocked: None,
            alarm: None,
            pause_left_ms: None,
            stopped: state.is_some_and(|s| s.intent.stopped.is_some()),
            stranger: None,
            probes: Vec::new(),
            measured: Vec::new(),
            shared: self.spec.stack.as_ref().map(|spec| self.shared(spec, state)),
        }
    }

    /// Who uses the shared data, and how that is decided.
    fn shared(&self, spec: &StackSpec, state: Option<&State>) -> Shared {
        let named = state.and_then(|s| s.intent.switchover.filter(|i| i.epoch == s.lease.epoch));
        Shared {
            failover: match spec.failover {
                Failover::Automatic => "automatic",
                Failover::ByHand => "by-hand",
            }
            .into(),
            steps: spec.steps.iter().map(|step| step.name.clone()).collect(),
            in_use: state.and_then(|s| self.in_use(s)),
            claim: self.claimed.as_ref().map(|claimed| self.claim(claimed, state)),
            activating: named.map(|named| self.settings.name(named.to)),
        }
    }

    /// Who uses the shared data, by the register.
    pub fn in_use(&self, state: &State) -> Option<InUse> {
        match state.data {
            Data::Clear => None,
            Data::InUse { node, epoch, watchdog } => Some(InUse {
                node: self.settings.name(node),
                epoch: epoch.0,
                watchdog_ms: watchdog.map(Span::as_millis),
            }),
        }
    }

    /// A claim in words; a node's number means something in its own cluster only.
    pub fn claim(&self, claimed: &Claimed, state: Option<&State>) -> api_stack::Claim {
        let Claimed { claim, by } = claimed;
        let ours = self.cluster.is_none_or(|cluster| cluster == claim.cluster);
        let named = by.as_ref().map(|by| by.name.clone()).filter(|name| !name.is_empty() && !ours);
        let number = || if ours { self.settings.name(claim.node) } else { claim.node.to_string() };
        api_stack::Claim {
            node: named.unwrap_or_else(number),
            epoch: claim.epoch.0,
            since: Moment(by.as_ref().map_or(0, |by| by.since_ms)),
            // One of the register that this one replaced is void.
            clear: claim.clear || state.is_some_and(|state| state.replaces == Some(claim.cluster)),
            of_cluster: (!ours).then(|| claim.cluster.to_string()),
        }
    }

    /// The stack of one node.
    pub fn stack(&self, report: &StackReport) -> NodeStack {
        let name = |id: StepId| {
            let steps = self.spec.stack.as_ref().map(|spec| &spec.steps);
            let step = steps.and_then(|steps| steps.get(usize::from(id.0)));
            step.map_or_else(|| format!("step {}", id.0), |step| step.name.clone())
        };
        NodeStack {
            steps: report.steps.iter().map(step_state).collect(),
            doing: report.doing.map(|(id, up)| Doing { step: name(id), up }),
            problems: report.problems.clone(),
            drift: report.drift.clone(),
            clear: report.clear,
            failure: report.failure.clone(),
        }
    }

    fn here(&self, core: &NodeStatus) -> api::NodeStatus {
        api::NodeStatus {
            name: self.settings.name(self.me),
            role: role(core.role),
            reachable: true,
            serving: core.serving,
            reason: own_reason(&core.reasons),
            age_ms: Some(0),
            database: self.has_copy().then(|| core.database.as_ref().map_or_else(down, facts)),
            services: self.services(&core.services),
            ailments: self.ailments(&core.ailments),
            concerns: core.concerns.clone(),
            maintenance_left_ms: None,
            configuration: digest(self.configuration),
            stack: core.stack.as_ref().map(|report| self.stack(report)),
        }
    }

    /// Each node has a database of its own.
    fn has_copy(&self) -> bool {
        self.spec.stack.is_none()
    }

    fn peer(&self, id: NodeId, report: &regent_core::observe::Report) -> api::NodeStatus {
        let age = self.heard.age(id);
        api::NodeStatus {
            name: self.settings.name(id),
            role: role(report.role),
            reachable: self.is_fresh(age),
            serving: report.serving,
            reason: report.unable.clone().unwrap_or_default(),
            age_ms: age.map(|a| a.as_millis() as u64),
            database: self.has_copy().then(|| report.database.as_ref().map_or_else(down, reported)),
            services: self.services(&report.services),
            ailments: self.ailments(&report.ailments),
            concerns: report.concerns.clone(),
            maintenance_left_ms: None,
            configuration: digest(report.configuration),
            stack: report.stack.as_ref().map(|report| self.stack(report)),
        }
    }

    /// Somebody who has not told anything but, perhaps, that it lives.
    fn stranger(&self, id: NodeId) -> api::NodeStatus {
        let witness = self.settings.member_by_id(id).is_some_and(|m| m.witness);
        let age = if id == self.me { Some(Duration::ZERO) } else { self.heard.age(id) };
        api::NodeStatus {
            name: self.settings.name(id),
            role: if witness { api::Role::Witness } else { api::Role::Unknown },
            reachable: self.is_fresh(age),
            serving: false,
            reason: String::new(),
            age_ms: age.map(|a| a.as_millis() as u64),
            database: None,
            services: Vec::new(),
            ailments: Vec::new(),
            concerns: Vec::new(),
            maintenance_left_ms: None,
            configuration: None,
            stack: None,
        }
    }

    /// What a node said before it fell silent is no knowledge of where it is now.
    fn forget(&self, node: &mut api::NodeStatus) {
        if node.role != api::Role::Unknown {
            node.reason = format!("was {} when last heard", node.role.as_str());
        }
        node.role = api::Role::Unknown;
        node.serving = false;
        node.database = node.database.take().map(|_| unknown());
        for service in &mut node.services {
            service.state = api::Up::Unknown;
            service.health = api::Health::Unknown;
            service.cause.clear();
        }
        node.ailments.clear();
        node.concerns.clear();
        node.stack = None;
    }

    fn is_fresh(&self, age: Option<Duration>) -> bool {
        age.is_some_and(|age| age.as_nanos() as u64 <= self.settings.pace.suspicion.0)
    }

    fn services(&self, reports: &[ServiceReport]) -> Vec<api::Service> {
        let all = self.settings.services.iter().enumerate();
        all.map(|(i, service)| {
            let report = reports.get(i);
            api::Service {
                name: service.name.clone(),
                state: match report.map(|report| report.unit) {
                    Some(UnitState::Up { .. }) => api::Up::Up,
                    Some(UnitState::Down) => api::Up::Down,
                    Some(UnitState::Unknown) | None => api::Up::Unknown,
                },
                health: report.map_or(api::Health::Unknown, |report| health(report.health)),
                cause: report
                    .and_then(|report| report.cause.as_ref())
                    .map_or_else(String::new, ToString::to_string),
                given_up: report.is_some_and(|report| report.given_up),
            }
        })
        .collect()
    }
}

/// The first two lines of `explain` are about the cluster; what follows is about this node.
fn own_reason(reasons: &[String]) -> String {
    reasons.get(2).or(reasons.first()).cloned().unwrap_or_default()
}

/// Where a step is.
pub fn step_state(state: &StepState) -> api_stack::StepState {
    match state {
        StepState::Up => api_stack::StepState::Up,
        StepState::Down => api_stack::StepState::Down,
        StepState::Partly(why) => api_stack::StepState::Partly(why.clone()),
        StepState::Unknown(why) => api_stack::StepState::Unknown(why.clone()),
    }
}

/// A link address as people write it.
pub fn mac([a, b, c, d, e, f]: [u8; 6]) -> String {
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

/// No digest is known where it is zero.
fn digest(configuration: u64) -> Option<String> {
    (configuration != 0).then(|| format!("{configuration:016x}"))
}

fn health(health: Health) -> api::Health {
    match health {
        Health::Unknown => api::Health::Unknown,
        Health::Passing => api::Health::Passing,
        Health::Failing => api::Health::Failing,
    }
}

fn weight(weight: Weight) -> api::Weight {
    match weight {
        Weight::Degraded => api::Weight::Degraded,
        Weight::Vital => api::Weight::Vital,
    }
}

fn role(role: Role) -> api::Role {
    match role {
        Role::Standby => api::Role::Standby,
        Role::Activating => api::Role::Activating,
        Role::Active => api::Role::Active,
        Role::Deactivating => api::Role::Deactivating,
        Role::Isolated => api::Role::Isolated,
        Role::Failed => api::Role::Failed,
        Role::Maintenance => api::Role::Maintenance,
        Role::Stopped => api::Role::Stopped,
    }
}

fn facts(facts: &DatabaseFacts) -> api::Database {
    api::Database {
        state: api::Up::Up,
        read_only: facts.read_only,
        strict: facts.strict,
        incarnation: facts.incarnation.map(|i| i.to_string()),
        receiver: thread(&facts.receiver),
        applier: thread(&facts.applier),
        error: error(&facts.receiver).or_else(|| error(&facts.applier)),
    }
}

fn reported(report: &DatabaseReport) -> api::Database {
    api::Database {
        state: api::Up::Up,
        read_only: report.read_only,
        strict: report.strict,
        incarnation: report.incarnation.map(|i| i.to_string()),
        receiver: thread(&report.receiver),
        applier: thread(&report.applier),
        error: error(&report.receiver).or_else(|| error(&report.applier)),
    }
}

fn down() -> api::Database {
    api::Database { state: api::Up::Down, ..unknown() }
}

fn unknown() -> api::Database {
    api::Database {
        state: api::Up::Unknown,
        read_only: true,
        strict: true,
        incarnation: None,
        receiver: api::Thread::Unknown,
        applier: api::Thread::Unknown,
        error: None,
    }
}

fn thread(thread: &Thread) -> api::Thread {
    match thread {
        Thread::Stopped => api::Thread::Stopped,
        Thread::Connecting => api::Thread::Connecting,
        Thread::Running => api::Thread::Running,
        Thread::Failed(_) => api::Thread::Failed,
    }
}

fn error(thread: &Thread) -> Option<String> {
    match thread {
        Thread::Failed(why) => Some(why.clone()),
        Thread::Stopped | Thread::Connecting | Thread::Running => None,
    }
}

/// The state in the newest value of the register.
pub fn decode(value: Option<&regent_store::cell::Value>) -> Option<(Version, State)> {
    let value = value?;
    State::decode(&value.bytes).ok().map(|state| (Version(value.version), state))
}
