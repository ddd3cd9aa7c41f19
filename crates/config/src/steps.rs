//! The steps of a stack on shared data, as the configuration says them and the host's adapter carries them out.

use regent_core::health::Weight;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// One step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// Its name for people, as in the specification.
    pub name: String,
    /// What its failure means.
    pub weight: Weight,
    /// What it is.
    pub kind: Kind,
    /// It comes up within this time, its commands included, or has failed.
    pub start_within: Duration,
    /// It goes down within this time, or has failed.
    pub stop_within: Duration,
}

/// What a step is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A file system that is mounted on the active node only.
    Mount {
        /// As in mount(8).
        source: String,
        /// Where.
        on: PathBuf,
        /// The type; none lets mount(8) find out.
        fstype: Option<String>,
        /// Comma-separated.
        options: Option<String>,
    },
    /// The host is called as the virtual IP is.
    HostName(String),
    /// `path` is a symbolic link to `target`, which is on the shared data.
    Link {
        /// The path that programs use.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// The resolver asks this name server first (resolv.conf(5)).
    Resolver(IpAddr),
    /// Files that must be the same on whichever node is active: copied from the shared data when it comes up, and
    /// to them when it goes down.
    Carry {
        /// Absolute paths; a pattern as in glob(7) in the last component.
        files: Vec<String>,
        /// The directory on the shared data that has the copies.
        store: PathBuf,
    },
    /// The product's own installer, run once on each node, with the links in place.
    Install {
        /// The command.
        command: Run,
        /// It is installed on this node when this path exists.
        creates: PathBuf,
    },
    /// The type and version of the database on the shared data are what the configuration says.
    Database(Engine),
    /// A unit of systemd, with its commands.
    Unit(Unit),
}

/// A database engine, and where its data are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Engine {
    /// Which.
    pub kind: EngineKind,
    /// xCAT's file that names the database, `/etc/xcat/cfgloc`, by its path on the shared data; none if the product
    /// has none.
    pub cfgloc: Option<PathBuf>,
    /// The data directory by its path on the shared data.
    pub data: PathBuf,
    /// The major version that this host's server has; none takes it from the installed server.
    pub version: Option<String>,
    /// The step that runs the server.
    pub server: Option<String>,
}

/// The engines of the shared-data topology.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EngineKind {
    /// MariaDB or MySQL.
    Mysql,
    /// PostgreSQL.
    Postgresql,
    /// SQLite: files, and no server.
    Sqlite,
}

/// A unit and what belongs to it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Unit {
    /// The unit that is started and stopped.
    pub unit: String,
    /// Others that could start it, or run beside it: sockets, paths, timers, instances. Stopped and disabled too.
    pub also: Vec<String>,
    /// Before it is started, in this order.
    pub before: Vec<Run>,
    /// After it runs, in this order.
    pub after: Vec<Run>,
    /// Nobody listens there when it is down.
    pub listeners: Vec<Listener>,
    /// Processes of these names (comm) are its own, wherever they run: none is left when it is down.
    pub processes: Vec<String>,
    /// Past its bound it is killed; otherwise the step fails and names what is left.
    pub kill: bool,
    /// Others that do the same work: one of all runs, the one that was in use before.
    pub instead: Vec<Unit>,
    /// A file of the product's own tool that names a process of the one that ran.
    pub in_use: Option<PathBuf>,
}

impl Unit {
    /// The unit and those that do the same work.
    pub fn all(&self) -> impl Iterator<Item = &Unit> {
        std::iter::once(self).chain(&self.instead)
    }
}

/// A command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Its failure is told and does not fail the step.
    pub may_fail: bool,
}

/// A port of this host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listener {
    /// TCP, or else UDP.
    pub tcp: bool,
    /// Which.
    pub port: u16,
}
