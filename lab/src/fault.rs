//! The demo's faults: what is done to the cluster, how its end is recognised, what is measured.

use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::cluster::{Cluster, NODES};
use crate::record::{Recorder, Writer};
use crate::run::{now_us, wait_for};
use crate::say;
use crate::seen::Attempt;

/// The longest that "in sync again" may take with both nodes alive, with room for a busy machine;
/// the bar itself is ten seconds and is reported as measured.
const SYNC: Duration = Duration::from_secs(45);
/// Long enough for any takeover; the bars are all below two seconds.
const TAKEOVER: Duration = Duration::from_secs(15);
/// Quiet running after which a move counts as over.
const STEADY: Duration = Duration::from_millis(1000);
/// Applying the last rows on a standby that is in sync; one that is restarted just then needs longer.
const APPLY: Duration = Duration::from_secs(30);

/// The bar: a move that leaves both nodes alive is in sync again by then.
pub const SYNC_BAR_MS: u64 = 10_000;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An operator asks for the other node.
    Switchover,
    /// SIGKILL of the active node's database.
    MariadbKill,
    /// SIGKILL of the active node's management service.
    ServiceKill,
    /// Power-off of the active host.
    PowerOff,
    /// The host that was off boots.
    Return,
    /// The active host's network is cut, and healed after the takeover.
    Cut,
}

/// All of them, in the order of the story.
pub const STORY: [Fault; 6] = [
    Fault::Switchover,
    Fault::MariadbKill,
    Fault::ServiceKill,
    Fault::PowerOff,
    Fault::Return,
    Fault::Cut,
];

impl Fault {
    /// Its name in tables and in the RESULT line.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Switchover => "switchover",
            Fault::MariadbKill => "mariadb-kill",
            Fault::ServiceKill => "service-kill",
            Fault::PowerOff => "power-off",
            Fault::Return => "return",
            Fault::Cut => "cut",
        }
    }

    /// Whether both hosts live and hear each other all the time.
    pub fn leaves_both_alive(self) -> bool {
        match self {
            Fault::Switchover | Fault::MariadbKill | Fault::ServiceKill => true,
            Fault::PowerOff | Fault::Return | Fault::Cut => false,
        }
    }

    /// What the impatient prober attempts meanwhile.
    pub fn attempt(self) -> Attempt {
        match self {
            Fault::ServiceKill => Attempt::Http,
            Fault::Switchover
            | Fault::MariadbKill
            | Fault::PowerOff
            | Fault::Return
            | Fault::Cut => Attempt::Write,
        }
    }
}

/// What came of one fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Its name.
    pub fault: String,
    /// Longest gap between two acknowledged writes of the client.
    pub client_gap_ms: u64,
    /// Longest time in which no attempt at the service under fault succeeded.
    pub service_gap_ms: u64,
    /// Writes acknowledged to any client while it was watched.
    pub acknowledged: u64,
    /// Those of them that a copy does not have, counted after all nodes are back.
    pub lost: u64,
    /// Time in which two nodes spoke for the VIP or two databases acknowledged.
    pub dual_ms: u64,
    /// Until in sync again, from the fault; the power-off itself never is.
    #[serde(skip)]
    pub in_sync_ms: Option<u64>,
    /// The window of the fault, for the final count.
    #[serde(skip)]
    pub window: (u64, u64),
}

/// A cluster under watch.
#[derive(Debug)]
pub struct Watched {
    /// The clients and the capture; before the lab, so that they end first.
    pub recorder: Recorder,
    /// The cluster.
    pub cluster: Cluster,
    off: Vec<String>,
}

impl Watched {
    /// Starts all clients and probers on a cluster that is in sync.
    pub fn start(cluster: Cluster) -> Result<Watched> {
        let mut recorder = Recorder::start(&cluster.lab)?;
        recorder.start_client(&cluster.lab)?;
        for node in NODES {
            recorder.start_direct(&cluster.lab, node)?;
        }
        recorder.wait_steady(STEADY, TAKEOVER)?;
        Ok(Watched { recorder, cluster, off: Vec::new() })
    }

    /// A cluster whose VIP nobody watches but the capture: for cases without clients.
    pub fn unwatched(cluster: Cluster) -> Result<Watched> {
        let recorder = Recorder::start(&cluster.lab)?;
        Ok(Watched { recorder, cluster, off: Vec::new() })
    }

    /// One fault from its beginning to its end, measured and told.
    pub fn suffer(&mut self, fault: Fault) -> Result<Outcome> {
        self.recorder.attempt(fault.attempt())?;
        self.recorder.wait_steady(STEADY, TAKEOVER).context("before the fault")?;
        let from = now_us();
        let result = match fault {
            Fault::Switchover => self.switchover(),
            Fault::MariadbKill => self.kill("mariadb.service"),
            Fault::ServiceKill => self.kill("management-service.service"),
            Fault::PowerOff => self.power_off(),
            Fault::Return => self.return_host(),
            Fault::Cut => self.cut(),
        };
        let in_sync = result.with_context(|| fault.name())?;
        self.recorder.wait_steady(STEADY, TAKEOVER).context("after the fault")?;
        let to = now_us();
        let figures = self.recorder.tape().figures(from, to, fault.attempt());
        let lost = self.lost_between(from, to)?;
        let outcome = Outcome {
            fault: fault.name().to_owned(),
            client_gap_ms: figures.client_gap_ms,
            service_gap_ms: figures.service_gap_ms,
            acknowledged: figures.acknowledged,
            lost,
            dual_ms: figures.dual_ms,
            in_sync_ms: in_sync.map(|at| (at - from) / 1000),
            window: (from, to),
        };
        say::line(&format!(
            "result  {}: client without a write {} ms, service {} ms; {} writes acknowledged, \
             {} lost; two owners {} ms",
            outcome.fault,
            outcome.client_gap_ms,
            outcome.service_gap_ms,
            outcome.acknowledged,
            outcome.lost,
            outcome.dual_ms
        ));
        Ok(outcome)
    }

    /// Acknowledged rows of the window that are missing on any copy that is on now.
    pub fn lost_between(&self, from: u64, to: u64) -> Result<u64> {
        let inside = |rows: Vec<(u64, u64)>| -> Vec<(u64, u64)> {
            rows.into_iter().filter(|(_, at)| (from..=to).contains(at)).collect()
        };
        let tables = {
            let tape = self.recorder.tape();
            vec![
                ("app.rows", inside(tape.rows(|by| *by == Writer::Client))),
                ("app.attempts", inside(tape.rows(|by| *by == Writer::Attempt))),
                ("probe.rows WHERE node = 'mn1'", inside(tape.rows(is_direct("mn1")))),
                ("probe.rows WHERE node = 'mn2'", inside(tape.rows(is_direct("mn2")))),
                ("bank.moves", inside(tape.rows(|by| *by == Writer::Bank))),
            ]
        };
        let mut lost = 0;
        // Not every run has a bank.
        for (table, rows) in tables.into_iter().filter(|(_, rows)| !rows.is_empty()) {
            let mut gone = std::collections::BTreeSet::new();
            for node in NODES.iter().filter(|node| !self.off.iter().any(|off| off == **node)) {
                gone.extend(self.missing_at_last(node, table, &rows)?);
            }
            for (id, at) in &gone {
                say::line_at(*at, &format!("LOST    row {id} of {table}, acknowledged here"));
            }
            lost += gone.len() as u64;
        }
        Ok(lost)
    }

    /// What is still missing when the copy has had its time to apply.
    fn missing_at_last(
        &self,
        node: &str,
        table: &str,
        rows: &[(u64, u64)],
    ) -> Result<Vec<(u64, u64)>> {
        // A database that is restarted meanwhile says nothing of its rows.
        let mut last = Err(anyhow::anyhow!("nobody asked {node} for {table}"));
        let applied = wait_for("all rows", APPLY, || {
            last = self.cluster.missing(node, table, rows);
            Ok(last.as_ref().is_ok_and(Vec::is_empty).then_some(()))
        });
        if applied.is_ok() || crate::run::is_interrupted() {
            return applied.map(|()| Vec::new());
        }
        last
    }

    /// Power-off of any management node, its prober included.
    pub fn power_off_node(&mut self, node: &str) -> Result<()> {
        self.off.push(node.to_owned());
        self.cluster.lab.host_mut(node)?.power_off()?;
        self.recorder.stop_direct(node);
        Ok(())
    }

    /// Shutdown of a management node in order, its prober included.
    pub fn shut_down_node(&mut self, node: &str) -> Result<()> {
        self.off.push(node.to_owned());
        let ended = self.cluster.lab.host_mut(node)?.shut_down();
        self.recorder.stop_direct(node);
        ended
    }

    /// Ends `power_off_node`.
    pub fn power_on_node(&mut self, node: &str) -> Result<()> {
        self.cluster.lab.host_mut(node)?.boot()?;
        self.off.retain(|off| off != node);
        self.recorder.start_direct(&self.cluster.lab, node)
    }

    /// Ends `power_off_node` on a host that was started meanwhile.
    pub fn power_on_started(&mut self, node: &str) -> Result<()> {
        self.cluster.lab.host_mut(node)?.wait_booted()?;
        self.off.retain(|off| off != node);
        self.recorder.start_direct(&self.cluster.lab, node)
    }

    /// Who spoke for the VIP since then.
    pub fn speakers_since(&self, from: u64) -> std::collections::BTreeSet<String> {
        let tape = self.recorder.tape();
        let since = tape.frames.iter().filter(|(_, first, _)| *first >= from);
        since.map(|(mac, _, _)| mac.clone()).collect()
    }

    /// Who spoke for the VIP since then, one entry for each change, and when they began.
    pub fn owners_since(&self, from: u64) -> Vec<(String, u64)> {
        let tape = self.recorder.tape();
        let mut owners: Vec<(String, u64)> = Vec::new();
        for (mac, first, last) in &tape.frames {
            let is_news = owners.last().is_none_or(|(owner, _)| owner != mac);
            if *last >= from && is_news && !tape.strangers.contains(mac) {
                owners.push((mac.clone(), *first));
            }
        }
        owners
    }

    /// How often the VIP changed its owner since then.
    pub fn moves_since(&self, from: u64) -> usize {
        self.owners_since(from).len().saturating_sub(1)
    }

    /// When anybody last spoke for the VIP.
    pub fn last_frame(&self) -> u64 {
        self.recorder.tape().frames.iter().map(|(_, _, last)| *last).max().unwrap_or(0)
    }

    fn switchover(&mut self) -> Result<Option<u64>> {
        let active = self.cluster.active()?;
        let other = other_of(&active);
        say::line(&format!("fault   operator on {active}: regent switchover --to {other}"));
        let host = self.cluster.lab.host(&active)?;
        let said = host.run(&["regent", "switchover", "--to", other])?;
        said.lines().for_each(|line| say::line(&format!("regent  {line}")));
        self.wait_moved_in_sync(other)
    }

    fn kill(&mut self, unit: &str) -> Result<Option<u64>> {
        let active = self.cluster.active()?;
        say::line(&format!("fault   SIGKILL of {unit} on {active}, the active node"));
        self.cluster.kill_unit(&active, unit)?;
        self.wait_moved_in_sync(other_of(&active))
    }

    fn power_off(&mut self) -> Result<Option<u64>> {
        let active = self.cluster.active()?;
        say::line(&format!("fault   power-off of {active}, the active host"));
        self.power_off_node(&active)?;
        self.wait_served_by(other_of(&active))?;
        Ok(None)
    }

    fn return_host(&mut self) -> Result<Option<u64>> {
        let back = self.off.first().cloned().context("no host is off")?;
        say::line(&format!("fault   {back} gets its power back"));
        self.power_on_node(&back)?;
        say::line(&format!("lab     {back} has booted"));
        self.wait_in_sync()
    }

    fn cut(&mut self) -> Result<Option<u64>> {
        let active = self.cluster.active()?;
        say::line(&format!("fault   the network of {active}, the active host, is cut"));
        self.cluster.lab.host(&active)?.cut()?;
        self.wait_served_by(other_of(&active))?;
        self.recorder.wait_steady(STEADY, TAKEOVER)?;
        say::line(&format!("lab     the cut of {active} is healed"));
        self.cluster.lab.host(&active)?.heal()?;
        self.wait_in_sync()
    }

    fn wait_moved_in_sync(&mut self, to: &str) -> Result<Option<u64>> {
        self.wait_served_by(to)?;
        self.wait_in_sync()
    }

    /// Until the node serves, by its own word, not by the view of one that may be cut off.
    pub fn wait_served_by(&self, node: &str) -> Result<()> {
        wait_for(&format!("{node} to serve"), TAKEOVER, || {
            let status = self.cluster.status_of(node);
            let serves = status.is_some_and(|status| status.is_active_itself());
            Ok(serves.then_some(()))
        })
    }

    fn wait_in_sync(&self) -> Result<Option<u64>> {
        say::line("wait    until in sync");
        let from = now_us();
        self.cluster.wait_in_sync(SYNC)?;
        let now = now_us();
        say::line(&format!("wait    in sync after {:.1} s", (now - from) as f64 / 1e6));
        Ok(Some(now))
    }
}

fn is_direct(node: &'static str) -> impl Fn(&Writer) -> bool {
    move |by| matches!(by, Writer::Direct(name) if name == node)
}

/// The other management node.
pub fn other_of(node: &str) -> &'static str {
    if node == NODES[0] { NODES[1] } else { NODES[0] }
}
