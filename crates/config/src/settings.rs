//! The configuration once it is valid: all that the rest of the agent sees of it.

use super::fence;
use super::probe::{self, Kind};
use super::stack::{Belongings, Stack};
use regent_core::health::{Counts, ProbeId, ProbeSpec, Subject, Weight};
use regent_core::id::NodeId;
use regent_core::observe::ServiceId;
use regent_core::spec::{Pace, Policy, ServiceSpec, Spec};
use regent_core::state::Timing;
use regent_core::time::Span;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// The port of agents and witness, unless the file names another.
pub const PORT: u16 = 4817;

/// What stands for "the interface that carries the virtual IP" in a link probe: it may differ from node to node.
pub const VIP_INTERFACE: &str = "@vip";

/// Everything the agent knows of its cluster before it has read the register.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The cluster's name.
    pub cluster: String,
    /// The profile's name: generic, zstack or xcat.
    pub profile: &'static str,
    /// The name of the timing preset: default, cautious or fast.
    pub preset: &'static str,
    /// The virtual IPs, at least one; the first is the principal one.
    pub vips: Vec<Vip>,
    /// Who puts them on.
    pub driver: Driver,
    /// The router that every node must reach, if one is watched.
    pub gateway: Option<IpAddr>,
    /// Every member, in the order of their numbers.
    pub members: Vec<Member>,
    /// What moves with the virtual IPs.
    pub topology: Topology,
    /// The services, numbered by their place.
    pub services: Vec<Service>,
    /// Every probe, numbered by its place: those of the services in their order, of the database, of the host.
    pub probes: Vec<Probe>,
    /// How failures are answered.
    pub policy: Policy,
    /// The watchdog device, if one is to be armed.
    pub watchdog: Option<Watchdog>,
    /// The timing that `regent init` writes into the register; afterwards the register's holds.
    pub timing: Timing,
    /// This node's own pace.
    pub pace: Pace,
    /// What swaps and the drain may take; only the sums know it.
    pub budget: Budget,
}

/// What moves with the virtual IPs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Topology {
    /// The right to write: every node has its own copy of the database.
    Replicated(Database),
    /// Everything: one set of data, and a stack on it that only the active node has.
    SharedData(Box<Stack>),
}

/// A virtual IP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vip {
    /// The address.
    pub address: IpAddr,
    /// The length of its network's prefix.
    pub prefix: u8,
    /// It brings its subnet to the interface.
    pub subnet: bool,
    /// IPv4 beside the node's own address: it is found before that one by whoever compares masks.
    pub first: bool,
}

impl Vip {
    /// The length of the prefix with which it is put on.
    pub fn length(&self) -> u8 {
        let whole = if self.address.is_ipv4() { 32 } else { 128 };
        if self.subnet || self.first { self.prefix } else { whole }
    }
}

/// Who puts the virtual IPs on an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Driver {
    /// Regent itself.
    Native,
    /// keepalived, rendered and steered by Regent.
    Keepalived(Keepalived),
}

/// What keepalived needs to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keepalived {
    /// Its VRRP id, 1 to 255.
    pub router_id: u8,
    /// Between two advertisements.
    pub advert_interval: Span,
}

/// A member of the cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its number, never reused.
    pub id: NodeId,
    /// Its name, also in its certificate.
    pub name: String,
    /// Where its agent listens.
    pub address: SocketAddr,
    /// It votes and runs no resources.
    pub witness: bool,
    /// Where it carries the virtual IPs.
    pub interface: String,
    /// How it is fenced, if it can be.
    pub fence: Option<fence::Settings>,
}

/// The database of every node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Database {
    /// Its systemd unit.
    pub unit: String,
    /// Its Unix socket.
    pub socket: PathBuf,
    /// The port that its replica connects to.
    pub port: u16,
    /// Events run on the active node, if there are any.
    pub events: bool,
    /// How long it may take to come up.
    pub start: StartBounds,
    /// How copies are taken.
    pub copies: Copies,
}

/// How long a start may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StartBounds {
    /// In all.
    pub longest: Span,
    /// Without getting any further.
    pub stuck: Span,
}

/// How a copy of the writer's data is taken, and what becomes of the data that it replaces.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Copies {
    /// So many replaced data directories are kept, the newest ones; fewer if there is no room for a copy.
    pub keep: usize,
    /// None is kept for longer than this.
    pub keep_for: Duration,
    /// Where there is no room for two, the old data are removed before the copy comes.
    pub in_place: bool,
    /// Bytes in a second that the writer sends at most; 0: as fast as it can.
    pub rate: u64,
}

impl Default for Copies {
    fn default() -> Copies {
        let keep_for = Duration::from_secs(7 * 86_400);
        Copies { keep: 2, keep_for, in_place: false, rate: 0 }
    }
}

/// A service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Service {
    /// Its name for people.
    pub name: String,
    /// Its systemd unit.
    pub unit: String,
    /// What its failure means.
    pub weight: Weight,
    /// After a start its probes may fail for this long before that counts.
    pub start_within: Span,
    /// A stop that somebody asked systemd for is no failure for this long.
    pub grace: Span,
    /// On shared data: what else it is made of.
    pub belongings: Belongings,
}

/// A probe.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Probe {
    /// Its name, unique in the configuration.
    pub name: String,
    /// What it belongs to.
    pub subject: Subject,
    /// What its failure means.
    pub weight: Weight,
    /// In which role of the node it counts.
    pub counts: Counts,
    /// From one start to the next.
    pub interval: Span,
    /// A run without an answer for this long has failed.
    pub timeout: Span,
    /// Passes in a row until it passes again.
    pub rise: u8,
    /// Failures in a row until it fails.
    pub fall: u8,
    /// It is asked only while this unit runs.
    pub unit: Option<String>,
    /// What it looks at, and who looks.
    pub what: What,
}

/// What a probe looks at, and who looks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// The prober runs it.
    Run(Kind),
    /// The prober runs it as a link probe of the interface that carries the virtual IPs on this node.
    VipLink,
    /// The agent compares its peers' clocks: the largest offset that passes.
    Clock(Span),
}

/// The watchdog device of every node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Watchdog {
    /// The device.
    pub device: PathBuf,
    /// How long it waits for a sign of life before it resets the host.
    pub timeout: Span,
    /// Somebody vouches for it that no host of this cluster is a guest that is ever frozen.
    pub guest_is_never_frozen: bool,
}

/// What swaps and the drain may take. They bound nothing themselves: the sums assume them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// A swap at most, in quiet times.
    pub swap: Span,
    /// A swap at most, after one was refused.
    pub swap_refused: Span,
    /// A successor applies the rest within this time.
    pub drain: Span,
}

impl Settings {
    /// The member of this name.
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|m| m.name == name)
    }

    /// The member of this number.
    pub fn member_by_id(&self, id: NodeId) -> Option<&Member> {
        self.members.iter().find(|m| m.id == id)
    }

    /// The name of this number, or the number if it has none.
    pub fn name(&self, id: NodeId) -> String {
        self.member_by_id(id).map_or_else(|| id.to_string(), |m| m.name.clone())
    }

    /// The principal virtual IP.
    pub fn principal(&self) -> Vip {
        *self.vips.first().expect("a valid configuration has a virtual IP")
    }

    /// The virtual IPs with their prefixes.
    pub fn vip_text(&self) -> String {
        let texts: Vec<String> =
            self.vips.iter().map(|v| format!("{}/{}", v.address, v.prefix)).collect();
        texts.join(", ")
    }

    /// The replicated database, in that topology.
    pub fn database(&self) -> Option<&Database> {
        match &self.topology {
            Topology::Replicated(database) => Some(database),
            Topology::SharedData(_) => None,
        }
    }

    /// The stack on shared data, in that topology.
    pub fn stack(&self) -> Option<&Stack> {
        match &self.topology {
            Topology::Replicated(_) => None,
            Topology::SharedData(stack) => Some(stack),
        }
    }

    /// What core is to know.
    pub fn spec(&self) -> Spec {
        Spec {
            stack: self.stack_spec(),
            nodes: self
                .members
                .iter()
                .filter(|m| !m.witness)
                .map(|m| (m.id, m.name.clone()))
                .collect(),
            services: self.services.iter().map(Service::spec).collect(),
            probes: self.probes.iter().map(Probe::spec).collect(),
            policy: self.policy,
            pace: self.pace,
        }
    }

    /// What this member's prober is to run, numbered as in [`Settings::spec`].
    pub fn prober(&self, me: &Member) -> Vec<probe::Probe> {
        let numbered = self.probes.iter().zip(0..);
        numbered.filter_map(|(probe, id)| probe.run(ProbeId(id), &me.interface)).collect()
    }

    /// The probes that the agent itself observes: the clock, and the largest offset that passes.
    pub fn clocks(&self) -> impl Iterator<Item = (ProbeId, &Probe, Span)> {
        self.probes.iter().zip(0..).filter_map(|(probe, id)| match &probe.what {
            What::Clock(most) => Some((ProbeId(id), probe, *most)),
            What::Run(_) | What::VipLink => None,
        })
    }

    /// The vital services of which no probe asks for an answer: if one hangs, the kernel goes on taking connections for
    /// it, and nobody notices.
    pub fn without_answer(&self) -> Vec<&str> {
        let answers = |probe: &&Probe| match &probe.what {
            What::Run(kind) => matches!(
                kind,
                Kind::Greeting(_) | Kind::Dns(_) | Kind::Http(_) | Kind::Sql(_) | Kind::Exec(_)
            ),
            What::VipLink | What::Clock(_) => false,
        };
        let asked = |id: ServiceId| {
            let of = |probe: &&Probe| probe.subject == Subject::Service(id);
            self.probes.iter().filter(of).any(|probe| answers(&probe))
        };
        let vital = self.services.iter().zip(0..).filter(|(s, _)| s.weight == Weight::Vital);
        vital.filter(|(_, id)| !asked(ServiceId(*id))).map(|(s, _)| s.name.as_str()).collect()
    }

    /// The numbers of a service's probes: what the prober is to forget when the service was started anew.
    pub fn probes_of(&self, service: ServiceId) -> Vec<ProbeId> {
        let of = |p: &Probe| p.subject == Subject::Service(service);
        self.probes.iter().zip(0..).filter(|(p, _)| of(p)).map(|(_, id)| ProbeId(id)).collect()
    }
}

impl Service {
    /// The units that do its work: of one service, usually one.
    pub fn units(&self) -> impl Iterator<Item = &str> {
        let others = self.belongings.instead.iter().map(|other| other.unit.as_str());
        std::iter::once(self.unit.as_str()).chain(others)
    }

    /// It has to do with this unit.
    pub(super) fn has(&self, unit: &str) -> bool {
        let others = self.belongings.instead.iter().flat_map(|other| &other.also);
        self.units().any(|own| own == unit)
            || self.belongings.also.iter().chain(others).any(|other| other == unit)
    }

    fn spec(&self) -> ServiceSpec {
        ServiceSpec {
            name: self.name.clone(),
            weight: self.weight,
            start_within: self.start_within,
            grace: self.grace,
        }
    }
}

impl Probe {
    fn spec(&self) -> ProbeSpec {
        ProbeSpec {
            name: self.name.clone(),
            subject: self.subject,
            weight: self.weight,
            counts: self.counts,
            rise: self.rise,
            fall: self.fall,
            vip_link: self.what == What::VipLink,
        }
    }

    fn run(&self, id: ProbeId, interface: &str) -> Option<probe::Probe> {
        let kind = match &self.what {
            What::Run(kind) => kind.clone(),
            What::VipLink => Kind::Link(interface.into()),
            What::Clock(_) => return None,
        };
        Some(probe::Probe {
            id,
            kind,
            interval_ms: self.interval.as_millis(),
            timeout_ms: self.timeout.as_millis(),
            rise: self.rise,
            fall: self.fall,
            counts: self.counts,
            unit: self.unit.clone(),
        })
    }
}
