//! What the measuring processes saw, gathered in one place on one clock, and told live where a
//! person would want to know: the VIP's owner changed, the client could not write for a while.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::dual::{Event, dual_ms};
use crate::lab::{Lab, VIP};
use crate::run::{now_us, wait_for};
use crate::seen::{Attempt, LOOK_LIMIT};
pub use crate::seen::{Seen, Writer, emit};
use crate::service::Service;
use crate::{gap, say};

/// A gap shorter than this is the noise of a busy machine and is not told.
const TELL_US: u64 = 120_000;

/// Everything seen so far.
#[derive(Debug, Default)]
pub struct Tape {
    /// Acknowledged writes: who, key, sent, acknowledged.
    pub writes: Vec<(Writer, u64, u64, u64)>,
    /// Calls that were answered: which, when.
    pub calls: Vec<(String, u64)>,
    /// Stretches of the VIP's speakers.
    pub frames: Vec<(String, u64, u64)>,
    /// Changes of the services at the nodes' own addresses: node, service, when, well.
    pub wells: Vec<(String, Service, u64, bool)>,
    /// Last error of each kind of client, for diagnosis.
    pub errors: BTreeMap<String, (u64, String)>,
    /// The client's failed rows: sent, failed, why.
    pub failures: Vec<(u64, u64, String)>,
    /// Speakers that are no nodes: they are in `frames`, and no second owner.
    pub strangers: Vec<String>,
    is_listening: bool,
    last_ack: u64,
    speaker: Option<String>,
}

/// What happened between two moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Longest gap between two acknowledged writes of the client.
    pub client_gap_ms: u64,
    /// Longest time in which no attempt at the service under fault succeeded.
    pub service_gap_ms: u64,
    /// Writes that were acknowledged, of all clients.
    pub acknowledged: u64,
    /// Time in which two nodes spoke for the VIP, or two databases acknowledged.
    pub dual_ms: u64,
}

impl Tape {
    /// The figures of the time from `from` to `to`.
    pub fn figures(&self, from: u64, to: u64, attempt: Attempt) -> Figures {
        let client = self.acks(|by| *by == Writer::Client);
        let service = match attempt {
            Attempt::Write => self.acks(|by| *by == Writer::Attempt),
            Attempt::Http => {
                let health = self.calls.iter().filter(|(what, _)| what == "health");
                health.map(|(_, at)| *at).collect()
            }
        };
        let outage =
            |acks: &[u64]| gap::to_ms(gap::longest_us(acks, gap::last_before(acks, from), to));
        let inside = |at: u64| (from..=to).contains(&at);
        Figures {
            client_gap_ms: outage(&client),
            service_gap_ms: outage(&service),
            acknowledged: self.writes.iter().filter(|write| inside(write.3)).count() as u64,
            dual_ms: dual_ms(&self.speakers(from, to)).max(dual_ms(&self.databases(from, to))),
        }
    }

    /// Keys of acknowledged rows of one table's writers, with the moment of acknowledgement.
    pub fn rows(&self, is_of: impl Fn(&Writer) -> bool) -> Vec<(u64, u64)> {
        let of = self.writes.iter().filter(|write| is_of(&write.0));
        of.map(|write| (write.1, write.3)).collect()
    }

    /// When this service of this node was well again for good after `from`; `None` if it is not
    /// well now, or nobody saw it unwell since then.
    pub fn restored(&self, node: &str, service: Service, from: u64) -> Option<u64> {
        let changes = self.wells.iter().filter(|one| one.0 == node && one.1 == service);
        // A look that was on its way at `from` may be the first that failed.
        let early = from.saturating_sub(LOOK_LIMIT.as_micros() as u64);
        let since: Vec<(u64, bool)> = changes
            .map(|one| (one.2, one.3))
            .filter(|(at, ok)| *at >= if *ok { from } else { early })
            .collect();
        let was_unwell = since.iter().any(|(_, ok)| !ok);
        since.last().filter(|(_, ok)| *ok && was_unwell).map(|(at, _)| *at)
    }

    /// Services that are not well now, as `NODE SERVICE`.
    pub fn unwell(&self) -> Vec<String> {
        let mut last = BTreeMap::new();
        for (node, service, _, ok) in &self.wells {
            last.insert((node, *service), *ok);
        }
        let unwell = last.into_iter().filter(|(_, ok)| !ok);
        unwell.map(|((node, service), _)| format!("{node} {}", service.name())).collect()
    }

    /// When this hardware address first spoke for the VIP after `from`.
    pub fn spoke(&self, mac: &str, from: u64) -> Option<u64> {
        let of = self.frames.iter().filter(|(who, first, _)| who == mac && *first >= from);
        of.map(|(_, first, _)| *first).next()
    }

    /// When the client's last row was acknowledged.
    pub fn last_ack(&self) -> u64 {
        self.last_ack
    }

    /// How the client's rows failed since then, for the timeline.
    fn failures_since(&self, from: u64) -> String {
        let since = self.failures.iter().rev().take_while(|(_, done, _)| *done >= from);
        let mut words: Vec<String> = since
            .map(|(sent, done, error)| {
                let short: String = error.chars().take(48).collect();
                format!("{short} ({} ms)", gap::to_ms(done - sent))
            })
            .collect();
        words.reverse();
        words.truncate(4);
        if words.is_empty() { String::new() } else { format!(": {}", words.join(", ")) }
    }

    fn acks(&self, is_of: impl Fn(&Writer) -> bool) -> Vec<u64> {
        self.rows(is_of).into_iter().map(|(_, at)| at).collect()
    }

    fn speakers(&self, from: u64, to: u64) -> Vec<Event> {
        let inside = self.frames.iter().filter(|(mac, first, last)| {
            *last >= from && *first <= to && !self.strangers.contains(mac)
        });
        inside
            .flat_map(|(mac, first, last)| [Event::frame(mac, *first), Event::frame(mac, *last)])
            .collect()
    }

    fn databases(&self, from: u64, to: u64) -> Vec<Event> {
        let direct = self.writes.iter().filter_map(|(by, _, sent, done)| match by {
            Writer::Direct(node) => Some((node, *sent, *done)),
            Writer::Client | Writer::Attempt | Writer::Bank => None,
        });
        let inside = direct.filter(|(_, _, done)| (from..=to).contains(done));
        inside.map(|(node, sent, done)| Event::write(node, sent, done)).collect()
    }

    fn add(&mut self, seen: Seen, name_of: &BTreeMap<String, String>) {
        match seen {
            Seen::Write { by, id, sent, done, ok: true, error: _ } => {
                if by == Writer::Client {
                    if self.last_ack > 0 && done - self.last_ack > TELL_US {
                        let ms = gap::to_ms(done - self.last_ack);
                        let why = self.failures_since(self.last_ack);
                        let text = format!("client  writes again, {ms} ms after its last{why}");
                        say::line_at(done, &text);
                    }
                    self.last_ack = done;
                }
                self.writes.push((by, id, sent, done));
            }
            Seen::Write { by, id: _, sent, done, ok: false, error } => {
                let error = error.unwrap_or_default();
                if by == Writer::Client {
                    self.failures.push((sent, done, error.clone()));
                }
                self.errors.insert(format!("{by:?}"), (done, error));
            }
            Seen::Http { what, sent: _, done, ok: true, error: _ } => self.calls.push((what, done)),
            Seen::Http { what, sent: _, done, ok: false, error } => {
                self.errors.insert(what, (done, error.unwrap_or_default()));
            }
            Seen::Frames { mac, first, last, count: _ } => {
                if self.speaker.as_ref() != Some(&mac) {
                    let name = name_of.get(&mac).map_or("a stranger", String::as_str);
                    say::line_at(first, &format!("vip     is answered by {name} ({mac})"));
                    self.speaker = Some(mac.clone());
                }
                self.frames.push((mac, first, last));
            }
            Seen::Well { node, service, at, ok } => self.wells.push((node, service, at, ok)),
            Seen::Listening { at: _ } => self.is_listening = true,
        }
    }
}

/// The measuring processes of one lab and their common tape.
#[derive(Debug)]
pub struct Recorder {
    tape: Arc<Mutex<Tape>>,
    names: BTreeMap<String, String>,
    processes: Vec<(String, Child)>,
    client: Option<ChildStdin>,
    directs: Vec<ChildStdin>,
}

impl Recorder {
    /// Starts to listen on the bridge; clients and direct probers are started by name.
    pub fn start(lab: &Lab) -> Result<Recorder> {
        let names = lab.hosts().iter().map(|h| (h.spec.mac.clone(), h.spec.name.clone())).collect();
        let mut recorder = Recorder {
            tape: Arc::default(),
            names,
            processes: Vec::new(),
            client: None,
            directs: Vec::new(),
        };
        recorder.spawn("capture", &lab.bridge_ns(), &["capture", VIP])?;
        wait_for("the capture", Duration::from_secs(5), || {
            Ok(recorder.tape().is_listening.then_some(()))
        })?;
        Ok(recorder)
    }

    /// Starts the clients of the VIP and waits for the first acknowledged row.
    pub fn start_client(&mut self, lab: &Lab) -> Result<()> {
        self.client = self.spawn("client", &lab.client_ns(), &["client", VIP])?;
        wait_for("the client's first row", Duration::from_secs(20), || {
            Ok((self.tape().last_ack > 0).then_some(()))
        })
        .with_context(|| format!("{:?}", self.tape().errors))
    }

    /// Starts the clerks of the bank, whose books are open.
    pub fn start_bank(&mut self, lab: &Lab) -> Result<()> {
        let stdin = self.spawn("bank", &lab.client_ns(), &["bank", VIP])?;
        self.directs.extend(stdin);
        wait_for("the bank's first move", Duration::from_secs(20), || {
            Ok(self.tape().writes.iter().any(|write| write.0 == Writer::Bank).then_some(()))
        })
        .with_context(|| format!("{:?}", self.tape().errors))
    }

    /// Starts to watch every service of the nodes at their own addresses.
    pub fn start_watch(&mut self, lab: &Lab, nodes: &[&str]) -> Result<()> {
        let mut args = vec!["watch".to_owned()];
        for node in nodes {
            args.push(format!("{node}={}", lab.host(node)?.spec.address));
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let stdin = self.spawn("watch", &lab.client_ns(), &args)?;
        self.directs.extend(stdin);
        Ok(())
    }

    /// Starts the prober of a node's own database; again after the node was off.
    pub fn start_direct(&mut self, lab: &Lab, node: &str) -> Result<()> {
        let host = lab.host(node)?;
        let stdin = self.spawn(node, host.netns(), &["direct", node, &host.spec.address])?;
        self.directs.extend(stdin);
        Ok(())
    }

    /// Ends the prober of a node; it would hold the node's network after a power-off.
    pub fn stop_direct(&mut self, node: &str) {
        for (name, child) in &mut self.processes {
            if name == node {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
        self.processes.retain(|(name, _)| name != node);
    }

    /// This hardware address is no node's: it is no second owner.
    pub fn ignore(&self, mac: &str) {
        self.tape().strangers.push(mac.to_owned());
    }

    /// What the impatient prober attempts from here on.
    pub fn attempt(&mut self, attempt: Attempt) -> Result<()> {
        let stdin = self.client.as_mut().context("no client")?;
        writeln!(stdin, "{}", attempt.word())?;
        Ok(stdin.flush()?)
    }

    /// The clients write no more; what is under way ends first.
    pub fn stop_clients(&mut self) {
        self.client = None;
        self.directs.clear();
        for (name, child) in &mut self.processes {
            if name != "capture" {
                let _ = wait_for("end of a client", Duration::from_secs(2), || {
                    Ok(child.try_wait()?.map(drop))
                });
                let _ = child.kill();
                let _ = child.wait();
            }
        }
        self.processes.retain(|(name, _)| name == "capture");
    }

    /// What was seen so far.
    pub fn tape(&self) -> MutexGuard<'_, Tape> {
        self.tape.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the client has had rows acknowledged without a gap for this long.
    pub fn wait_steady(&self, steady: Duration, bound: Duration) -> Result<()> {
        let begin = now_us();
        let least = steady.as_micros() as u64;
        wait_for("a steady client", bound, || {
            let now = now_us();
            let tape = self.tape();
            let acks = tape.acks(|by| *by == Writer::Client);
            let from = now.saturating_sub(least);
            let quiet = gap::longest_us(&acks, from, now) < TELL_US;
            Ok((now - begin > least && quiet).then_some(()))
        })
    }

    fn spawn(&mut self, name: &str, netns: &str, args: &[&str]) -> Result<Option<ChildStdin>> {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{netns}")).args(["nice", "-n", "-15"]);
        command.arg(std::env::current_exe()?).args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().with_context(|| format!("cannot start the {name}"))?;
        let stdin = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().context("no stdout")?);
        let (tape, names) = (Arc::clone(&self.tape), self.names.clone());
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                if let Ok(seen) = serde_json::from_str(&line) {
                    tape.lock().unwrap_or_else(PoisonError::into_inner).add(seen, &names);
                }
            }
        });
        let keep = if name == "capture" { None } else { stdin };
        self.processes.push((name.to_owned(), child));
        Ok(keep)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        for (_, child) in &mut self.processes {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tape_of(seen: Vec<Seen>) -> Tape {
        let mut tape = Tape::default();
        seen.into_iter().for_each(|one| tape.add(one, &BTreeMap::new()));
        tape
    }

    fn write(by: Writer, sent_ms: u64, done_ms: u64) -> Seen {
        let (sent, done) = (sent_ms * 1000, done_ms * 1000);
        Seen::Write { by, id: sent, sent, done, ok: true, error: None }
    }

    #[test]
    fn figures_count_the_gap_that_the_fault_opened_in_full() {
        let tape = tape_of(vec![
            write(Writer::Client, 95, 96),
            write(Writer::Client, 105, 106),
            write(Writer::Client, 700, 701),
            write(Writer::Attempt, 104, 105),
            write(Writer::Attempt, 650, 651),
            write(Writer::Attempt, 700, 702),
        ]);
        let figures = tape.figures(110_000, 705_000, Attempt::Write);
        let expected =
            Figures { client_gap_ms: 595, service_gap_ms: 546, acknowledged: 3, dual_ms: 0 };
        assert_eq!(figures, expected);
    }

    #[test]
    fn a_service_is_restored_when_it_was_unwell_and_is_well_at_last() {
        let well = |ms: u64, ok| Seen::Well {
            node: "mn1".to_owned(),
            service: Service::Ui,
            at: ms * 1000,
            ok,
        };
        let mut tape = tape_of(vec![well(10, true)]);
        let restored = |tape: &Tape| tape.restored("mn1", Service::Ui, 1_000_000);
        assert_eq!(restored(&tape), None);
        // On its way when the fault came.
        tape.add(well(990, false), &BTreeMap::new());
        assert_eq!((restored(&tape), tape.unwell()), (None, vec!["mn1 ui".to_owned()]));
        tape.add(well(1500, true), &BTreeMap::new());
        assert_eq!((restored(&tape), tape.unwell().len()), (Some(1_500_000), 0));
        tape.add(well(1600, false), &BTreeMap::new());
        assert_eq!(restored(&tape), None);
    }

    #[test]
    fn refused_writes_are_no_successes() {
        let mut seen = vec![write(Writer::Client, 95, 96)];
        let error = Some("1290".to_owned());
        let refused = |ms: u64| Seen::Write {
            by: Writer::Client,
            id: ms,
            sent: ms * 1000,
            done: ms * 1000,
            ok: false,
            error: error.clone(),
        };
        seen.extend([refused(105), refused(115)]);
        let figures = tape_of(seen).figures(100_000, 200_000, Attempt::Write);
        assert_eq!((figures.client_gap_ms, figures.acknowledged), (104, 0));
    }

    #[test]
    fn two_databases_that_acknowledge_in_turn_are_dual_and_so_are_two_speakers() {
        let direct = |node: &str, ms| write(Writer::Direct(node.to_owned()), ms, ms + 1);
        let databases = tape_of(vec![direct("mn1", 10), direct("mn2", 20), direct("mn1", 30)]);
        assert!(databases.figures(0, 100_000, Attempt::Write).dual_ms > 0);
        let frames = |mac: &str, first: u64, last: u64| Seen::Frames {
            mac: mac.to_owned(),
            first: first * 1000,
            last: last * 1000,
            count: 2,
        };
        let one_after_the_other = tape_of(vec![frames("a", 0, 10), frames("b", 11, 20)]);
        assert_eq!(one_after_the_other.figures(0, 100_000, Attempt::Write).dual_ms, 0);
        let mixed = tape_of(vec![frames("a", 0, 10), frames("b", 11, 20), frames("a", 21, 30)]);
        assert!(mixed.figures(0, 100_000, Attempt::Write).dual_ms > 0);
    }
}
