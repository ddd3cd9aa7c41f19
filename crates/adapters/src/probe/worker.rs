//! The prober: a process of its own between the agent and everything that is looked at. It reads lines, keeps a task
//! for each probe, and tells changes. It decides nothing and may be killed at any moment.

use crate::probe::changes::Changes;
use crate::probe::check::Check;
use crate::probe::exec::Groups;
use crate::probe::line::Accounts;
use crate::probe::line::{FromProber, ToProber};
use crate::probe::threads::Threads;
use crate::probe::watch::{Common, Orders, Told, Watch};
use regent_config::probe::{Kind, Probe};
use regent_core::health::{Counts, Health, ProbeId};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, LocalSet, spawn_local};
use tokio::time::{MissedTickBehavior, interval};

/// Lines that wait to be written. A probe that finds it full waits until the agent reads again.
const QUEUE: usize = 256;
const PULSE: Duration = Duration::from_secs(1);

/// The body of the child process, whose standard input and output are pipes; it ends with its input.
pub fn main() -> io::Result<()> {
    // Each connection is a descriptor. If there are too few, probes say so.
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let input = io::stdin().as_fd().try_clone_to_owned()?;
        let output = io::stdout().as_fd().try_clone_to_owned()?;
        let input = pipe::Receiver::from_owned_fd(input)?;
        run(input, pipe::Sender::from_owned_fd(output)?).await
    });
    // What hangs must not hold up the end.
    runtime.shutdown_background();
    ended
}

/// Serves lines from `input` until it ends: see [`ToProber`] and [`FromProber`].
pub async fn run<R, W>(input: R, output: W) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + 'static,
{
    LocalSet::new().run_until(serve(input, output)).await
}

async fn serve<R, W>(input: R, output: W) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + 'static,
{
    let (out, lines) = mpsc::channel(QUEUE);
    spawn_local(write_lines(lines, output));
    let (ran, late) = (Cell::default(), Cell::default());
    let (threads, began) = (Threads::default(), Instant::now());
    let common = Rc::new(Common { out, threads, began, ran, late });
    spawn_local(pulse(Rc::clone(&common)));
    let mut prober = Prober {
        common,
        groups: Groups::default(),
        running: BTreeMap::new(),
        accounts: None,
        serving: None,
        links: None,
    };
    let mut input = BufReader::new(input).lines();
    while let Some(line) = input.next_line().await? {
        match serde_json::from_str(&line) {
            Ok(line) => prober.obey(line).await,
            Err(fault) => {
                let event = format!("a line that says nothing: {fault}: {line}");
                prober.say(FromProber::Event(event)).await;
            }
        }
    }
    prober.groups.kill();
    Ok(())
}

async fn write_lines<W: AsyncWrite + Unpin>(mut lines: mpsc::Receiver<FromProber>, mut output: W) {
    while let Some(line) = lines.recv().await {
        let Ok(mut text) = serde_json::to_vec(&line) else { continue };
        text.push(b'\n');
        if output.write_all(&text).await.is_err() || output.flush().await.is_err() {
            return;
        }
    }
}

async fn pulse(common: Rc<Common>) {
    let mut ticks = interval(PULSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let late_ms = common.late.take().as_millis() as u64;
        // An agent that does not read needs no old pulses.
        let _ = common.out.try_send(FromProber::Pulse { ran: common.ran.take(), late_ms });
    }
}

struct Prober {
    common: Rc<Common>,
    groups: Groups,
    running: BTreeMap<ProbeId, Running>,
    accounts: Option<Accounts>,
    serving: Option<bool>,
    /// Word of changes of links, once a probe looks at one.
    links: Option<Changes>,
}

struct Running {
    probe: Probe,
    orders: watch::Sender<Orders>,
    told: Rc<Told>,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Prober {
    async fn obey(&mut self, line: ToProber) {
        match line {
            ToProber::Set { probes, accounts } => self.set(probes, accounts).await,
            ToProber::Role { serving } => {
                self.serving = Some(serving);
                for running in self.running.values() {
                    let counts = counts(running.probe.counts, self.serving);
                    running.orders.send_if_modified(|orders| {
                        std::mem::replace(&mut orders.counts, counts) != counts
                    });
                }
            }
            ToProber::Forget(ids) => {
                for running in ids.iter().filter_map(|id| self.running.get(id)) {
                    running.orders.send_modify(|orders| orders.starts += 1);
                }
            }
        }
    }

    async fn set(&mut self, probes: Vec<Probe>, accounts: Option<Accounts>) {
        if self.links.is_none() && probes.iter().any(|probe| matches!(probe.kind, Kind::Link(_))) {
            match Changes::listen() {
                Ok(links) => self.links = Some(links),
                Err(error) => {
                    let event = format!("links are only looked at now and then: {error}");
                    self.say(FromProber::Event(event)).await;
                }
            }
        }
        let same_accounts = self.accounts == accounts;
        self.accounts = accounts;
        let mut before = std::mem::take(&mut self.running);
        for (place, probe) in probes.into_iter().enumerate() {
            let old = before.remove(&probe.id);
            let is_sql = matches!(probe.kind, Kind::Sql(_));
            match old {
                Some(old) if old.probe == probe && (same_accounts || !is_sql) => {
                    self.running.insert(probe.id, old);
                }
                old => {
                    if let Some(old) = old {
                        self.forget(old).await;
                    }
                    self.running.insert(probe.id, self.start(probe, place));
                }
            }
        }
    }

    fn start(&self, probe: Probe, place: usize) -> Running {
        let counts = counts(probe.counts, self.serving);
        let (orders, listening) = watch::channel(Orders { counts, starts: 0 });
        let told = Rc::new(Told::default());
        let check = Check::new(&probe.kind, self.accounts.as_ref(), &self.groups);
        let is_link = matches!(probe.kind, Kind::Link(_));
        let changes = self.links.as_ref().filter(|_| is_link).map(Changes::word);
        let common = Rc::clone(&self.common);
        let watch = Watch::new(probe.clone(), check, common, Rc::clone(&told), changes);
        let task = spawn_local(watch.run(listening, phase(place, probe.interval_ms)));
        Running { probe, orders, told, task: task.abort_handle() }
    }

    /// Ends a probe whose number another takes.
    async fn forget(&self, old: Running) {
        old.task.abort();
        let id = old.probe.id;
        if old.told.is_known.get() {
            let (health, why) = (Health::Unknown, String::from("it was configured anew"));
            self.say(FromProber::Health { id, health, why }).await;
        }
        if old.told.warns.get() {
            self.say(FromProber::Warned { id }).await;
        }
    }

    async fn say(&self, line: FromProber) {
        // If nobody reads, the agent is gone, and so are we in a moment.
        let _ = self.common.out.send(line).await;
    }
}

fn counts(counts: Counts, serving: Option<bool>) -> bool {
    match (counts, serving) {
        (Counts::Always, _) => true,
        (Counts::Active | Counts::Standby, None) => false,
        (Counts::Active | Counts::Standby, Some(serving)) => counts.now(serving),
    }
}

/// Neighbours in the list start far apart, whatever their number: steps of the golden ratio.
fn phase(place: usize, interval_ms: u64) -> Duration {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let share = (place as u64).wrapping_mul(STEP);
    let phase = (u128::from(share) * u128::from(interval_ms)) >> 64;
    Duration::from_millis(phase as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_spread_evenly() {
        for count in [3, 10, 100] {
            let mut phases: Vec<_> = (0..count).map(|n| phase(n, 1000).as_millis()).collect();
            phases.sort_unstable();
            phases.push(phases[0] + 1000);
            let widest = phases.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
            assert!(widest <= 3000 / count as u128, "{count}: {widest}");
        }
    }

    #[test]
    fn without_a_role_only_probes_of_every_role_run() {
        assert!(counts(Counts::Always, None) && counts(Counts::Always, Some(false)));
        assert!(!counts(Counts::Active, None) && !counts(Counts::Standby, None));
        assert!(counts(Counts::Active, Some(true)) && !counts(Counts::Active, Some(false)));
        assert!(counts(Counts::Standby, Some(false)) && !counts(Counts::Standby, Some(true)));
    }
}
