//! The key services of a management node and what can befall one of them, seen from outside the
//! host: processes by their control group, ports by the host's packet filter. A harm knows how to
//! undo itself.

use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use crate::host::Host;
use crate::run::{now_us, sh, wait_for};

/// One of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// The management service: HTTP with a health page.
    Management,
    /// The user interface: nginx.
    Ui,
    /// MariaDB.
    Database,
}

impl Service {
    /// All of them.
    pub const ALL: [Service; 3] = [Service::Management, Service::Ui, Service::Database];

    /// Its name in the configuration and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Service::Management => "management",
            Service::Ui => "ui",
            Service::Database => "database",
        }
    }

    /// Its unit.
    pub fn unit(self) -> &'static str {
        match self {
            Service::Management => "management-service.service",
            Service::Ui => "nginx.service",
            Service::Database => "mariadb.service",
        }
    }

    /// Where its clients come in.
    pub fn port(self) -> u16 {
        match self {
            Service::Management => 8080,
            Service::Ui => 80,
            Service::Database => 3306,
        }
    }
}

/// What is done to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// SIGKILL of the unit's main process.
    Killed,
    /// SIGSTOP of every process of the unit: ports stay open, nothing answers.
    Hung,
    /// What arrives at its port is dropped, on every interface and the loopback.
    Blocked,
}

impl Harm {
    /// All of them.
    pub const ALL: [Harm; 3] = [Harm::Killed, Harm::Hung, Harm::Blocked];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Harm::Killed => "killed",
            Harm::Hung => "hung",
            Harm::Blocked => "blocked",
        }
    }
}

/// A harm that was done, until it is undone.
#[derive(Debug)]
pub struct Done {
    /// When it took effect, CLOCK_MONOTONIC in microseconds; never later than that.
    pub at: u64,
    stopped: Vec<OwnedFd>,
    filter: Option<String>,
}

const TABLE: &str = "lab_block";

/// Harms a service of a host; the clock is read right before the one call that does it.
pub fn inflict(host: &Host, service: Service, harm: Harm) -> Result<Done> {
    let unit = service.unit();
    match harm {
        Harm::Killed => {
            let main = open(main_process(host, unit)?)?;
            let at = now_us();
            pidfd_send_signal(&main, Signal::KILL)?;
            Ok(Done { at, stopped: Vec::new(), filter: None })
        }
        Harm::Hung => {
            let stopped = host.unit_processes(unit)?.into_iter().map(open);
            let stopped: Vec<OwnedFd> = stopped.collect::<Result<_>>()?;
            ensure!(!stopped.is_empty(), "{unit} does not run on {}", host.spec.name);
            let at = now_us();
            for process in &stopped {
                pidfd_send_signal(process, Signal::STOP)?;
            }
            Ok(Done { at, stopped, filter: None })
        }
        Harm::Blocked => block(host, service.port()),
    }
}

impl Done {
    /// Ends it, as far as the product has not: a process that is gone stays gone.
    pub fn undo(self) -> Result<()> {
        for process in &self.stopped {
            match pidfd_send_signal(process, Signal::CONT) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(error).context("cannot go on with what was stopped"),
            }
        }
        match &self.filter {
            Some(netns) => sh(&format!("ip netns exec {netns} nft delete table inet {TABLE}"))
                .map(drop)
                .context("cannot lift the block"),
            None => Ok(()),
        }
    }
}

fn block(host: &Host, port: u16) -> Result<Done> {
    let rules = format!(
        "table inet {TABLE} {{ chain in {{ type filter hook input priority -10; \
         tcp dport {port} counter drop; }}; }}\n"
    );
    let mut nft = Command::new("ip");
    nft.args(["netns", "exec", host.netns(), "nft", "-f", "-"]).stdin(Stdio::piped());
    let mut child = nft.spawn().context("cannot start nft")?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    // Until it has its rules it does nothing: its start does not count.
    std::thread::sleep(Duration::from_millis(30));
    let at = now_us();
    stdin.write_all(rules.as_bytes())?;
    drop(stdin);
    let status =
        wait_for("nft", Duration::from_secs(5), || child.try_wait().map_err(anyhow::Error::from))?;
    ensure!(status.success(), "nft: {status}");
    Ok(Done { at, stopped: Vec::new(), filter: Some(host.netns().to_owned()) })
}

/// The one process of the unit whose parent is not of the unit.
fn main_process(host: &Host, unit: &str) -> Result<i32> {
    let all = host.unit_processes(unit)?;
    let main = all.iter().copied().find(|pid| !parent(*pid).is_some_and(|pid| all.contains(&pid)));
    main.with_context(|| format!("{unit} does not run on {}", host.spec.name))
}

fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn open(pid: i32) -> Result<OwnedFd> {
    let pid = Pid::from_raw(pid).context("no process id")?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}
