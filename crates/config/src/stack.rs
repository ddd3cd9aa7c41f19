//! The shared-data topology once it is valid: what of it core is to know, and what the host's adapter is to do. Both
//! number the steps the same, by [`Settings::steps`] alone.

use super::settings::{Service, Settings};
use super::steps::{Engine, EngineKind, Kind, Listener, Run, Step, Unit as StackUnit};
use regent_core::health::Weight;
use regent_core::observe::ServiceId;
use regent_core::stack::{Failover, StackSpec, StepSpec};
use regent_core::time::Span;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where Regent keeps its own things on the shared data.
pub const OWN: &str = ".regent";

/// A step that changes a name, a link or a small file is done within this time, or hangs on the shared data.
const QUICK: Duration = Duration::from_secs(30);

/// A mount of a file system that is checked or replays its journal first, and an unmount that writes everything back.
const MOUNT: Duration = Duration::from_secs(120);

/// What the active node alone has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stack {
    /// Who decides that the other node takes over.
    pub failover: Failover,
    /// The host name of the active node.
    pub hostname: String,
    /// The shared directory.
    pub data: PathBuf,
    /// Paths that are links to the shared data.
    pub directories: Vec<PathBuf>,
    /// The virtual IP is asked first for names.
    pub resolver: bool,
    /// An active node whose right ended takes its stack down after this long.
    pub isolation: Span,
    /// The stack leaves a node for which the shared directory is lost for this long.
    pub data_patience: Span,
    /// How long a host may need to stop when its watchdog ended.
    pub settle: Span,
    /// What is mounted on the active node only.
    pub mounts: Vec<Mount>,
    /// Files to carry along.
    pub carry: Vec<String>,
    /// The product's installer.
    pub install: Option<Install>,
    /// The database on the shared data.
    pub database: Option<Database>,
}

/// A file system of the active node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mount {
    /// As in mount(8).
    pub source: String,
    /// Where.
    pub on: PathBuf,
    /// The type, if it is said.
    pub fstype: Option<String>,
    /// Comma-separated.
    pub options: Option<String>,
}

/// The product's installer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Install {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// It is installed where this exists.
    pub creates: PathBuf,
    /// The longest it may take.
    pub within: Span,
}

/// The database on the shared data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Database {
    /// Which.
    pub kind: EngineKind,
    /// The major version of its server; none takes it from the installed one.
    pub version: Option<String>,
    /// Its data directory by its path on the shared data.
    pub data: PathBuf,
    /// xCAT's file that names it, by its path on the shared data.
    pub cfgloc: Option<PathBuf>,
}

/// What a service on shared data has beside its unit.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Belongings {
    /// Other units that could start it or run beside it.
    pub also: Vec<String>,
    /// Before its start.
    pub before: Vec<Run>,
    /// Once it runs.
    pub after: Vec<Run>,
    /// Nobody listens there when it is down.
    pub listeners: Vec<Listener>,
    /// Processes of these names are its own.
    pub processes: Vec<String>,
    /// What does not stop in time is killed.
    pub kill: bool,
    /// It is down within this time.
    pub stop_within: Span,
    /// Other units that do the same work.
    pub instead: Vec<StackUnit>,
    /// A file that names which of them ran.
    pub in_use: Option<PathBuf>,
}

impl Stack {
    /// The random token by which two hosts know that they see the same directory.
    pub fn token(&self) -> PathBuf {
        self.data.join(OWN).join("token")
    }
}

/// `/HA-data` and `/etc/xcat` make `/HA-data/etc/xcat`.
pub(super) fn under(data: &Path, path: &Path) -> PathBuf {
    data.join(path.strip_prefix("/").unwrap_or(path))
}

impl Settings {
    /// The stack of the shared-data topology, as core is to know it.
    pub(super) fn stack_spec(&self) -> Option<StackSpec> {
        let stack = self.stack()?;
        Some(StackSpec {
            steps: self
                .steps(stack)
                .into_iter()
                .map(|(service, step)| StepSpec { name: step.name, weight: step.weight, service })
                .collect(),
            failover: stack.failover,
            pair: self.members.iter().all(|m| !m.witness),
            fenced: self.is_fenced(),
            settle: stack.settle,
            isolation: stack.isolation,
            patience: stack.data_patience,
        })
    }

    /// Each node can be fenced by the other.
    pub(super) fn is_fenced(&self) -> bool {
        self.members.iter().filter(|m| !m.witness).all(|m| m.fence.is_some())
    }

    /// How a takeover comes to be, and by what a silent node's use of the shared data is proven to be over.
    pub fn proof(&self) -> Option<String> {
        let stack = self.stack()?;
        let end = stack.settle.as_millis() / 1000;
        let automatic = match stack.failover {
            Failover::ByHand => {
                return Some(
                    "failover by hand: regent deactivate on one node, regent activate on the other; that a \
                     silent node is off is your word (--confirm-peer-is-off)"
                        .into(),
                );
            }
            Failover::Automatic => "failover automatic; that a silent node's use is over is proven",
        };
        let watchdog = self.watchdog.as_ref().map(|dog| {
            format!(
                "by its watchdog, twice {} s and {end} s to settle after its right, if the device has no way \
                 out (nowayout){}",
                dog.timeout.as_millis() / 1000,
                match dog.guest_is_never_frozen {
                    true => "; you vouch for it that no guest among the hosts is ever frozen",
                    false => " and the host is no guest",
                }
            )
        });
        Some(match (self.is_fenced(), watchdog) {
            (true, Some(watchdog)) => format!("{automatic} by its fence, or {watchdog}"),
            (true, None) => format!("{automatic} by its fence"),
            (false, Some(watchdog)) => format!("{automatic} {watchdog}"),
            (false, None) => "warning: failover automatic, and nothing can prove that a silent node's use of the shared \
                              data is over: after a silent failure Regent stops and asks (regent activate \
                              --confirm-peer-is-off); add [node.NAME.fence] to each node, or [watchdog] with nowayout"
                .into(),
        })
    }

    /// Every step, in the order of an activation. The installer comes before the database is judged, as a fresh host
    /// has none before it ran.
    pub fn steps(&self, stack: &Stack) -> Vec<(Option<ServiceId>, Step)> {
        let mut steps: Vec<Step> = stack.mounts.iter().map(mount).collect();
        steps.push(quick("host name".into(), Kind::HostName(stack.hostname.clone())));
        for path in &stack.directories {
            let (path, target) = (path.clone(), under(&stack.data, path));
            steps.push(quick(format!("link {}", path.display()), Kind::Link { path, target }));
        }
        if stack.resolver {
            steps.push(quick("resolver".into(), Kind::Resolver(self.principal().address)));
        }
        if !stack.carry.is_empty() {
            let (files, store) = (stack.carry.clone(), stack.data.join(OWN).join("carry"));
            steps.push(quick("carried files".into(), Kind::Carry { files, store }));
        }
        if let Some(install) = &stack.install {
            let command = Run { argv: install.command.clone(), may_fail: false };
            let kind = Kind::Install { command, creates: install.creates.clone() };
            let start_within = duration(install.within);
            steps.push(Step { start_within, ..quick("installation".into(), kind) });
        }
        if let Some(database) = &stack.database {
            let (cfgloc, data) = (database.cfgloc.clone(), database.data.clone());
            let version = database.version.clone();
            let server =
                self.services.iter().find(|service| service.name == super::shared::DATABASE);
            let server = server.map(|service| service.name.clone());
            let engine = Engine { kind: database.kind, cfgloc, data, version, server };
            steps.push(quick("database check".into(), Kind::Database(engine)));
        }
        let services = self.services.iter().zip(0..);
        let units = services.map(|(service, id)| (Some(ServiceId(id)), unit(service, stack)));
        steps.into_iter().map(|step| (None, step)).chain(units).collect()
    }
}

fn quick(name: String, kind: Kind) -> Step {
    Step { name, weight: Weight::Vital, kind, start_within: QUICK, stop_within: QUICK }
}

fn mount(mount: &Mount) -> Step {
    let Mount { source, on, fstype, options } = mount.clone();
    let name = format!("mount {}", on.display());
    let kind = Kind::Mount { source, on, fstype, options };
    Step { start_within: MOUNT, stop_within: MOUNT, ..quick(name, kind) }
}

fn unit(service: &Service, stack: &Stack) -> Step {
    let of = service.belongings.clone();
    let is_shared = |path: &PathBuf| stack.directories.iter().any(|own| path.starts_with(own));
    let in_use = of.in_use.map(|path| match is_shared(&path) {
        true => under(&stack.data, &path),
        false => path,
    });
    Step {
        name: service.name.clone(),
        weight: service.weight,
        kind: Kind::Unit(StackUnit {
            unit: service.unit.clone(),
            also: of.also,
            before: of.before,
            after: of.after,
            listeners: of.listeners,
            processes: of.processes,
            kill: of.kill,
            instead: of.instead,
            in_use,
        }),
        start_within: duration(service.start_within),
        stop_within: duration(of.stop_within),
    }
}

fn duration(span: Span) -> Duration {
    Duration::from_nanos(span.0)
}
