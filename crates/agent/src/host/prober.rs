//! The child process that runs the probes: started, told its role, and started again when it dies or hangs.
//!
//! It tells changes; each goes to core as it is. While there is no child every probe is unknown, never well and never
//! failing: a prober that dies is no reason to move anything.

use super::child;
use crate::events::Events;
use crate::inputs::Inputs;
use crate::log;
use regent_adapters::probe::Accounts;
use regent_adapters::probe::line::{FromProber, ToProber};
use regent_api::history::Severity;
use regent_config::probe::Probe;
use regent_core::health::{Health, ProbeId};
use regent_core::node::Input;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::process::ChildStdin;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

/// How many starts of units wait to be told: a host has some dozens.
const FORGET_QUEUE: usize = 256;

/// It says something every second; after this long without a word it hangs.
const SILENT: Duration = Duration::from_secs(5);

/// A child that does not read its lines for so long hangs.
const WRITE: Duration = Duration::from_secs(1);

/// Between the death of a child and the next one: the first time, and at most. One that lived long begins anew.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MOST: Duration = Duration::from_secs(5);
const LIVED: Duration = Duration::from_secs(30);

/// The way to the child.
pub(super) struct Prober {
    serving: watch::Sender<Option<bool>>,
    forget: mpsc::Sender<Vec<ProbeId>>,
    warnings: Arc<Mutex<BTreeMap<ProbeId, String>>>,
}

/// What the probes are called, for events.
pub(super) type Names = BTreeMap<ProbeId, String>;

impl Prober {
    /// Starts keeping a child for these probes; none is needed without any.
    pub(super) fn start(
        probes: Vec<Probe>,
        accounts: Accounts,
        names: Names,
        inputs: Inputs,
        events: Events,
    ) -> Prober {
        let (serving, role) = watch::channel(None);
        let (forget, forgotten) = mpsc::channel(FORGET_QUEUE);
        let warnings = Arc::default();
        if !probes.is_empty() {
            let first = ToProber::Set { probes, accounts: Some(accounts) };
            let warnings = Arc::clone(&warnings);
            let keeper = Keeper { first, names, inputs, events, warnings, told: BTreeSet::new() };
            tokio::spawn(keeper.keep(role, forgotten));
        }
        Prober { serving, forget, warnings }
    }

    /// This node answers for the VIP, or does not.
    pub(super) fn serving(&self, serving: bool) {
        self.serving.send_replace(Some(serving));
    }

    /// Another way to [`Prober::forget`], for whoever watches a unit.
    pub(super) fn forgetter(&self) -> Forgetter {
        Forgetter(self.forget.clone())
    }

    /// What probes warn of although they pass.
    pub(super) fn warnings(&self) -> BTreeMap<ProbeId, String> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Tells the child that what these probes look at was started anew.
#[derive(Clone)]
pub(super) struct Forgetter(mpsc::Sender<Vec<ProbeId>>);

impl Forgetter {
    pub(super) fn forget(&self, probes: &[ProbeId]) {
        // Full while the child hangs, or closed without probes: then all of them are unknown anyway.
        self.0.try_send(probes.to_vec()).ok();
    }
}

/// Keeps a child alive.
struct Keeper {
    first: ToProber,
    names: Names,
    inputs: Inputs,
    events: Events,
    warnings: Arc<Mutex<BTreeMap<ProbeId, String>>>,
    /// The probes of which the present child has told anything.
    told: BTreeSet<ProbeId>,
}

impl Keeper {
    async fn keep(
        mut self,
        mut role: watch::Receiver<Option<bool>>,
        mut forget: mpsc::Receiver<Vec<ProbeId>>,
    ) {
        let mut pause = PAUSE_FIRST;
        loop {
            let began = Instant::now();
            let ended = self.one_child(&mut role, &mut forget).await;
            for probe in std::mem::take(&mut self.told) {
                let why = "the prober ended, and is started again".to_string();
                self.inputs.put(Input::Health { probe, health: Health::Unknown, why });
            }
            let Err(error) = ended else { return };
            let text = format!("every probe is unknown until it is back: {error}");
            self.events.write(Severity::Warning, 0, "probe.prober-ended", &text);
            if began.elapsed() >= LIVED {
                pause = PAUSE_FIRST;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MOST);
        }
    }

    /// Serves one child until it ends; `Ok` when the host is gone.
    async fn one_child(
        &mut self,
        role: &mut watch::Receiver<Option<bool>>,
        forget: &mut mpsc::Receiver<Vec<ProbeId>>,
    ) -> io::Result<()> {
        let (mut child, mut stdin, mut lines) = child::spawn("prober")?;
        write(&mut stdin, &self.first).await?;
        role.mark_changed();
        let ended = loop {
            tokio::select! {
                changed = role.changed() => {
                    if changed.is_err() {
                        break Ok(());
                    }
                    let serving = *role.borrow_and_update();
                    if let Some(serving) = serving
                        && let Err(error) = write(&mut stdin, &ToProber::Role { serving }).await
                    {
                        break Err(error);
                    }
                }
                probes = forget.recv() => {
                    let Some(probes) = probes else { break Ok(()) };
                    if let Err(error) = write(&mut stdin, &ToProber::Forget(probes)).await {
                        break Err(error);
                    }
                }
                line = timeout(SILENT, lines.next_line()) => match line {
                    Ok(Ok(Some(line))) => self.take(&line),
                    Ok(Ok(None)) => break Err(io::Error::other("it ended")),
                    Ok(Err(error)) => break Err(error),
                    Err(_) => break Err(io::Error::other("it hung, and was killed")),
                },
            }
        };
        child.kill().await.ok();
        ended
    }

    fn take(&mut self, line: &str) {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        match serde_json::from_str(line) {
            Ok(FromProber::Health { id, health, why }) => {
                self.told.insert(id);
                self.inputs.put(Input::Health { probe: id, health, why });
            }
            Ok(FromProber::Warning { id, text }) => {
                let name = self.names.get(&id).cloned().unwrap_or_default();
                let told = format!("probe {name}: {text}");
                warnings.insert(id, text);
                self.events.write(Severity::Warning, 0, "probe.warning", &told);
            }
            Ok(FromProber::Warned { id }) => {
                warnings.remove(&id);
            }
            Ok(FromProber::Pulse { .. }) => {}
            Ok(FromProber::Event(text)) => {
                self.events.write(Severity::Info, 0, "probe.event", &text);
            }
            Err(error) => log::warning(&format!("the prober's line says nothing: {error}: {line}")),
        }
    }
}

async fn write(to: &mut ChildStdin, line: &ToProber) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    let written = timeout(WRITE, to.write_all(&text)).await;
    written.unwrap_or_else(|_| Err(io::Error::other("it does not read, and was killed")))
}
