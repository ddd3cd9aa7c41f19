//! The child process that speaks to the database: started, fed, and started again when it dies.
//!
//! What was in flight when it died is answered `NoAnswer`: its statement may still be under way in the server
//! (D11). The unit is started and killed from here, never by the child.

use super::child;
use super::units::{UnitsLater, connected};
use crate::events::Events;
use crate::inputs::Inputs;
use crate::log;
use crate::peer::{self, Answer, Question};
use crate::transport::{Purpose, Transport};
use regent_adapters::database::line::{Done, FromWorker, Reply, ToWorker, UnitVerb};
use regent_adapters::database::peer::{PeerAnswer, PeerRequest};
use regent_adapters::database::{WorkerSettings, backup, site};
use regent_api::history::Severity;
use regent_config::settings::StartBounds;
use regent_core::command::{DatabaseStep, Outcome, StepResult};
use regent_core::id::{CommandId, NodeId};
use regent_core::node::Input;
use regent_core::observe::UnitState;
use regent_core::time::Span;
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::ChildStdin;
use tokio::sync::{mpsc, oneshot};

/// How many steps and questions wait for the child: core has one step and a few markers under way.
const QUEUE: usize = 256;

/// How long the unit may take to stop in order.
const STOP: Span = Span::millis(60_000);

/// How long the kernel may take to empty the unit's cgroup.
const KILL: Span = Span::millis(10_000);

/// How long control is tried for after a start.
const CONTROL_MS: u64 = 10_000;

/// Between the death of a child and the next one.
const AGAIN: Duration = Duration::from_millis(100);

/// What the child is to do, and who waits for it.
pub(super) enum Work {
    Step { step: DatabaseStep, patience_ms: Option<u64>, to: Waiter },
    Serve { request: PeerRequest, to: oneshot::Sender<PeerAnswer> },
}

impl Work {
    /// What a step answers that could not even be handed on.
    pub(super) fn lost() -> Outcome {
        Outcome::Database { result: StepResult::NoAnswer, facts: None }
    }
}

/// Who waits for a step.
pub(super) enum Waiter {
    Core(CommandId),
    Here(oneshot::Sender<Outcome>),
}

/// The way to the child.
#[derive(Clone)]
pub(super) struct Worker {
    work: mpsc::Sender<Work>,
    unit: Unit,
    runtime: tokio::runtime::Handle,
}

/// The database's unit, how long it may take, and who is told of it.
#[derive(Clone)]
pub(super) struct Unit {
    pub(super) name: String,
    pub(super) start: StartBounds,
    /// Its data: an exchange that was cut short is brought to its end before it starts.
    pub(super) datadir: PathBuf,
    pub(super) units: UnitsLater,
    pub(super) inputs: Inputs,
}

impl Unit {
    async fn act(&self, verb: UnitVerb) -> Result<(), String> {
        let units = connected(self.units.clone()).await?;
        let done = match verb {
            UnitVerb::Start => {
                site::finish(&self.datadir)
                    .map_err(|error| format!("an exchange of its data is not finished: {error}"))?;
                let tell = |text| self.inputs.put(Input::DatabaseProgress(text));
                units.start_watched(&self.name, self.start, tell).await
            }
            UnitVerb::Stop => units.stop(&self.name, STOP).await,
            UnitVerb::Kill => units.kill(&self.name, KILL).await,
        };
        done.map(drop).map_err(|e| e.to_string())
    }
}

impl Worker {
    pub(super) fn start(
        settings: WorkerSettings,
        unit: Unit,
        transport: Transport,
        events: Events,
        news: Arc<UnitNews>,
    ) -> Worker {
        let (work, queue) = mpsc::channel(QUEUE);
        let keeper = Keeper { news, settings, unit: unit.clone(), transport, events };
        tokio::spawn(keeper.keep(queue));
        Worker { work, unit, runtime: tokio::runtime::Handle::current() }
    }

    /// A step of core's; its outcome goes to the lease thread.
    pub(super) fn step(&self, id: CommandId, step: DatabaseStep) {
        if matches!(step, DatabaseStep::Start | DatabaseStep::Kill | DatabaseStep::Stop) {
            let worker = self.clone();
            self.runtime.spawn(async move { worker.carry(step, Waiter::Core(id)).await });
            return;
        }
        // At once, so that steps keep their order.
        let work = Work::Step { step, patience_ms: None, to: Waiter::Core(id) };
        if self.work.try_send(work).is_err() {
            answer(&self.unit.inputs, Waiter::Core(id), Work::lost());
        }
    }

    /// A step of the agent's own.
    pub(super) async fn ask(&self, step: DatabaseStep) -> Result<Outcome, String> {
        let (to, outcome) = oneshot::channel();
        self.carry(step, Waiter::Here(to)).await;
        outcome.await.map_err(|_| "the database's worker ended".into())
    }

    /// A peer's question.
    pub(super) async fn serve(&self, request: PeerRequest) -> PeerAnswer {
        let (to, answer) = oneshot::channel();
        let refused = || PeerAnswer::Refused { reason: "the database's worker ended".into() };
        if self.work.send(Work::Serve { request, to }).await.is_err() {
            return refused();
        }
        answer.await.unwrap_or_else(|_| refused())
    }

    async fn carry(&self, step: DatabaseStep, to: Waiter) {
        let verbs = [
            (DatabaseStep::Kill, UnitVerb::Kill),
            (DatabaseStep::Stop, UnitVerb::Stop),
            (DatabaseStep::Start, UnitVerb::Start),
        ];
        let Some((_, verb)) = verbs.into_iter().find(|(of_unit, _)| *of_unit == step) else {
            return self.hand(step, None, to).await;
        };
        let result = match self.unit.act(verb).await {
            Ok(()) if verb == UnitVerb::Start => {
                return self.hand(DatabaseStep::TakeControl, Some(CONTROL_MS), to).await;
            }
            Ok(()) => StepResult::Done,
            Err(why) => StepResult::Failed(why),
        };
        answer(&self.unit.inputs, to, Outcome::Database { result, facts: None });
    }

    async fn hand(&self, step: DatabaseStep, patience_ms: Option<u64>, to: Waiter) {
        if let Err(lost) = self.work.send(Work::Step { step, patience_ms, to }).await
            && let Work::Step { to, .. } = lost.0
        {
            answer(&self.unit.inputs, to, Work::lost());
        }
    }
}

fn answer(inputs: &Inputs, to: Waiter, outcome: Outcome) {
    match to {
        Waiter::Core(id) => inputs.put(Input::Outcome { id, outcome }),
        Waiter::Here(to) => {
            // Who asked may have gone.
            to.send(outcome).ok();
        }
    }
}

/// What the unit does, for the lease thread. While a step exchanges the data, the unit goes down and up at our own
/// word: that is no death, and only what it came to is told when the step ends.
pub(super) struct UnitNews {
    inputs: Inputs,
    inner: Mutex<(bool, Option<UnitState>)>,
}

impl UnitNews {
    pub(super) fn new(inputs: Inputs) -> Arc<UnitNews> {
        Arc::new(UnitNews { inputs, inner: Mutex::default() })
    }

    /// systemd says so.
    pub(super) fn tell(&self, state: UnitState) {
        let mut inner = self.inner.lock().expect("nothing panics while it holds this");
        inner.1 = Some(state);
        if !inner.0 {
            self.inputs.put(Input::DatabaseUnit(state));
        }
    }

    fn hold(&self) {
        self.inner.lock().expect("nothing panics while it holds this").0 = true;
    }

    fn release(&self) {
        let mut inner = self.inner.lock().expect("nothing panics while it holds this");
        if std::mem::take(&mut inner.0)
            && let Some(state) = inner.1
        {
            self.inputs.put(Input::DatabaseUnit(state));
        }
    }
}

/// Keeps a child alive.
struct Keeper {
    news: Arc<UnitNews>,
    settings: WorkerSettings,
    unit: Unit,
    transport: Transport,
    events: Events,
}

/// What one child was given.
#[derive(Default)]
struct Flights {
    next: u64,
    steps: HashMap<u64, (Waiter, bool)>,
    questions: HashMap<u64, oneshot::Sender<PeerAnswer>>,
}

impl Keeper {
    async fn keep(self, mut work: mpsc::Receiver<Work>) {
        loop {
            self.finish_exchange();
            let mut flights = Flights::default();
            let ended = self.one_child(&mut work, &mut flights).await;
            // Before anybody is told that the step is over, and starts the server.
            self.finish_exchange();
            self.news.release();
            for (_, (to, _)) in flights.steps.drain() {
                answer(&self.unit.inputs, to, Work::lost());
            }
            match ended {
                Ok(()) => return,
                Err(error) => log::warning(&format!("the database's worker ended: {error}")),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// An exchange of data that was cut short, entry by entry inside a mount, is brought to its end.
    fn finish_exchange(&self) {
        let text = match site::finish(&self.settings.datadir) {
            Ok(false) => return,
            Ok(true) => "an exchange of the data that was cut short is finished".to_string(),
            Err(error) => format!("an exchange of the data is not finished: {error}"),
        };
        self.events.write(Severity::Warning, 0, "database.exchange", &text);
    }

    /// Serves one child until it ends; `Ok` when nobody has work for it any more.
    async fn one_child(
        &self,
        work: &mut mpsc::Receiver<Work>,
        flights: &mut Flights,
    ) -> io::Result<()> {
        let (mut child, stdin, mut lines) = child::spawn("database-worker")?;
        let (to_child, queue) = mpsc::channel(QUEUE);
        let first = serde_json::to_string(&self.settings)?;
        let writer = tokio::spawn(feed(stdin, first, queue));
        let ended = loop {
            tokio::select! {
                next = work.recv() => match next {
                    Some(work) => flights.hand(work, &to_child).await,
                    None => break Ok(()),
                },
                line = lines.next_line() => match line {
                    Ok(Some(line)) => self.take(&line, flights, &to_child),
                    Ok(None) => break Err(io::ErrorKind::UnexpectedEof.into()),
                    Err(error) => break Err(error),
                },
            }
        };
        writer.abort();
        child.kill().await.ok();
        ended
    }

    fn take(&self, line: &str, flights: &mut Flights, to_child: &mpsc::Sender<ToWorker>) {
        match serde_json::from_str(line) {
            Ok(FromWorker::Outcome { id, outcome }) => {
                if let Some((to, rebuilds)) = flights.steps.remove(&id) {
                    if rebuilds {
                        self.news.release();
                    }
                    answer(&self.unit.inputs, to, *outcome);
                }
            }
            Ok(FromWorker::Served { id, served }) => {
                if let Some(to) = flights.questions.remove(&id) {
                    to.send(served).ok();
                }
            }
            Ok(FromWorker::AskPeer { ask, peer, request }) => {
                let (transport, to_child) = (self.transport.clone(), to_child.clone());
                tokio::spawn(async move {
                    let answer = ask_peer(&transport, peer, request).await.map(Reply::Peer);
                    to_child.send(reply(ask, answer)).await.ok();
                });
            }
            Ok(FromWorker::AskUnit { ask, unit: verb }) => {
                if flights.steps.values().any(|(_, rebuilds)| *rebuilds) {
                    self.news.hold();
                }
                let (unit, to_child) = (self.unit.clone(), to_child.clone());
                tokio::spawn(async move {
                    let done = unit.act(verb).await.map(|()| Reply::Done(Done::Done));
                    to_child.send(reply(ask, done)).await.ok();
                });
            }
            Ok(FromWorker::AskBackup { ask, peer, backup_into }) => {
                let (transport, to_child) = (self.transport.clone(), to_child.clone());
                tokio::spawn(async move {
                    let done = fetch(&transport, peer, backup_into).await;
                    to_child.send(reply(ask, done.map(|()| Reply::Done(Done::Done)))).await.ok();
                });
            }
            Ok(FromWorker::Event { event }) => {
                self.events.write(Severity::Info, 0, "database.progress", &event);
                self.unit.inputs.put(Input::DatabaseProgress(event));
            }
            Err(error) => log::warning(&format!("the worker's line says nothing: {error}: {line}")),
        }
    }
}

impl Flights {
    async fn hand(&mut self, work: Work, to_child: &mpsc::Sender<ToWorker>) {
        self.next += 1;
        let id = self.next;
        let line = match work {
            Work::Step { step, patience_ms, to } => {
                let rebuilds =
                    matches!(step, DatabaseStep::Reclone { .. } | DatabaseStep::Rewind { .. });
                self.steps.insert(id, (to, rebuilds));
                ToWorker::Step { id, step, patience_ms }
            }
            Work::Serve { request, to } => {
                self.questions.insert(id, to);
                ToWorker::Serve { id, serve: request }
            }
        };
        // A writer that ended means a child that ended; what is in flight is then answered.
        to_child.send(line).await.ok();
    }
}

async fn feed(mut stdin: ChildStdin, first: String, mut lines: mpsc::Receiver<ToWorker>) {
    let mut text = first;
    loop {
        text.push('\n');
        if stdin.write_all(text.as_bytes()).await.is_err() {
            return;
        }
        let Some(line) = lines.recv().await else { return };
        match serde_json::to_string(&line) {
            Ok(line) => text = line,
            Err(error) => {
                log::warning(&format!("failed to write a line to the worker: {error}"));
                return;
            }
        }
    }
}

fn reply(ask: u64, answer: Result<Reply, String>) -> ToWorker {
    match answer {
        Ok(answer) => ToWorker::Reply { reply: ask, answer },
        Err(error) => ToWorker::NoReply { reply: ask, error },
    }
}

async fn ask_peer(
    transport: &Transport,
    node: NodeId,
    request: PeerRequest,
) -> Result<PeerAnswer, String> {
    match peer::ask(transport, node, &Question::Database(request)).await? {
        Answer::Database(answer) => Ok(answer),
        Answer::Refused(why) => Err(why),
        Answer::Voter(_)
        | Answer::Belongs { .. }
        | Answer::Installed
        | Answer::Events(_)
        | Answer::Token(_)
        | Answer::Configuration(_)
        | Answer::Agreed => Err("the answer is to another question".into()),
    }
}

async fn fetch(transport: &Transport, node: NodeId, into: PathBuf) -> Result<(), String> {
    let mut stream = transport.open(node, Purpose::Bulk).await.map_err(|e| e.to_string())?;
    backup::receive(&mut stream, &into).await.map(drop).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::{Event, queue};
    use std::sync::mpsc::Receiver;

    fn told(events: &Receiver<Event>) -> Vec<UnitState> {
        let state = |event| match event {
            Event::Input(Input::DatabaseUnit(state)) => Some(state),
            Event::Input(_) | Event::Look(_) | Event::Armed(_) | Event::Stop { .. } => None,
        };
        events.try_iter().filter_map(state).collect()
    }

    #[test]
    fn only_what_an_exchange_of_data_came_to_is_told() {
        let (inputs, events) = queue();
        let news = UnitNews::new(inputs);
        let up = |start| UnitState::Up { start };
        news.tell(up(1));
        news.hold();
        news.tell(UnitState::Down);
        news.tell(up(2));
        assert_eq!(told(&events), [up(1)]);
        news.release();
        news.release();
        news.tell(UnitState::Down);
        assert_eq!(told(&events), [up(2), UnitState::Down]);
    }
}
