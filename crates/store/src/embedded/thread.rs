//! The register thread: the proposer, the views, and the admission of a voter that lost its disk.
//!
//! It never touches a disk or waits for a link. A swap asked for with [`Storing::Before`] waits
//! until the voter thread has stored the version that it expects (rules R2 and D7).

use super::input::{Admit, Input, Request};
use super::record::{Disk, Kept, OpenError, RecordFile};
use super::voting::{self, Voting, cluster_of};
use crate::cell::{
    Answer, Attempt, BYTES_MAX, Body, ClusterId, Message, NodeId, Proposer, Record, Refusal, Seat,
    Setup, Swap, Timing, Voter, VoterId,
};
use crate::register::{Outbox, Register, RequestId, Storing};
use crate::splitmix::SplitMix;
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// What may wait for the register thread: a second of messages of two peers at full speed.
const QUEUE: usize = 1024;

/// What may wait for the proposer to be idle: a read and an admission of the operator's, twice.
const WAITING_MAX: usize = 4;

/// A monotonic reading of time in nanoseconds, from the caller, who owns the clock.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What a node needs to run its part of the register.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node.
    pub me: NodeId,
    /// Every node that votes or wants views, this one included.
    pub nodes: Vec<NodeId>,
    /// The record file; its directory exists.
    pub path: PathBuf,
    /// Random, new in each run of the agent.
    pub run: u64,
    /// Random, new in each run: seeds back-off and voter ids, and must not be guessable from `run`.
    pub seed: u64,
    /// How long the proposer waits for what.
    pub timing: Timing,
    /// False on a witness: it votes and has views, and proposes nothing.
    pub proposes: bool,
}

/// What the threads are told from outside.
#[derive(Clone, Debug)]
pub enum Event {
    /// A peer's message.
    Message {
        /// Whose it is, as its certificate says.
        from: NodeId,
        /// What it says.
        message: Message,
    },
    /// A request of this node's own; its answer goes to [`Outbox::answer`] under this id.
    Request {
        /// Names the request.
        id: RequestId,
        /// What is asked.
        request: Request,
    },
    /// End both threads.
    Shutdown,
}

/// Opens the record file, or creates it, and starts the two threads of the register.
pub fn start(config: Config, clock: Clock, outbox: Arc<dyn Outbox>) -> Result<Handle, OpenError> {
    let (file, kept) = RecordFile::open(&config.path)?;
    let path = config.path.clone();
    start_on(Box::new(file), kept, config, clock, outbox)
        .map_err(|source| OpenError::Io { path, source })
}

/// Starts the two threads of the register on a disk that keeps `kept`.
pub fn start_on(
    disk: Box<dyn Disk>,
    kept: Kept,
    config: Config,
    clock: Clock,
    outbox: Arc<dyn Outbox>,
) -> io::Result<Handle> {
    let (register, inputs) = sync_channel(QUEUE);
    let (voter, work) = sync_channel(voting::QUEUE);
    let cluster = cluster_of(&kept.standing);
    let voting = Voting {
        me: config.me,
        voter: Voter::new(kept.standing),
        high: kept.high,
        disk,
        random: SplitMix(config.seed.rotate_left(32) ^ config.run),
        inputs: work,
        register: register.clone(),
        outbox: Arc::clone(&outbox),
    };
    let mut state = State {
        proposer: None,
        clock,
        outbox: Arc::clone(&outbox),
        voter: voter.clone(),
        stored: kept.high,
        storing: kept.high,
        current: None,
        swap: None,
        waiting: VecDeque::new(),
        admission: None,
        config,
    };
    if let Some(cluster) = cluster {
        state.belong(cluster);
    }
    let spawn = |name: &str| std::thread::Builder::new().name(name.to_owned());
    let voter_thread = spawn("voter").spawn(move || voting.run())?;
    let register_thread = spawn("register").spawn(move || state.run(&inputs))?;
    Ok(Handle { register, voter, outbox, threads: vec![register_thread, voter_thread] })
}

/// The way in. Nothing here waits.
pub struct Handle {
    register: SyncSender<Input>,
    voter: SyncSender<voting::Work>,
    outbox: Arc<dyn Outbox>,
    threads: Vec<JoinHandle<()>>,
}

impl Handle {
    /// Tells an event. A message that finds the queue full is lost, as a link may lose it; a
    /// request that does is answered `Refused(Busy)`.
    pub fn tell(&self, event: Event) {
        match event {
            Event::Message { from, message } => {
                if message.body.is_for_voter() {
                    let message = message.clone();
                    let _ = self.voter.try_send(voting::Work::Message { from, message });
                }
                if message.body.is_for_proposer() {
                    let _ = self.register.try_send(Input::Message { from, message });
                }
            }
            Event::Request { id, request } => {
                if self.register.try_send(Input::Request { id, request }).is_err() {
                    self.outbox.answer(id, Answer::Refused(Refusal::Busy));
                }
            }
            Event::Shutdown => {
                let _ = self.register.try_send(Input::Shutdown);
                let _ = self.voter.try_send(voting::Work::Shutdown);
            }
        }
    }

    /// Ends both threads and waits for them: for the voter's, until its disk has answered.
    pub fn shutdown(self) {
        let Handle { register, voter, threads, .. } = self;
        let _ = register.send(Input::Shutdown);
        let _ = voter.send(voting::Work::Shutdown);
        for thread in threads {
            let _ = thread.join();
        }
    }
}

impl Register for Handle {
    fn read(&self, id: RequestId) {
        self.tell(Event::Request { id, request: Request::Read });
    }

    fn compare_and_swap(&self, id: RequestId, swap: Swap, storing: Storing) {
        self.tell(Event::Request { id, request: Request::Swap { swap, storing } });
    }

    fn watch(&self) {
        let _ =
            self.register.try_send(Input::Request { id: RequestId(0), request: Request::Watch });
    }
}

struct State {
    config: Config,
    /// None until the node belongs to a cluster.
    proposer: Option<Proposer>,
    clock: Clock,
    outbox: Arc<dyn Outbox>,
    voter: SyncSender<voting::Work>,
    /// Rule R2: the highest version that is durable here, and the highest asked to be.
    stored: u64,
    storing: u64,
    /// The request that the proposer works on, and whether a swap may push it aside.
    current: Option<RequestId>,
    /// A swap that waits until the version it expects is stored.
    swap: Option<WaitingSwap>,
    /// Reads and replacements that wait for an idle proposer.
    waiting: VecDeque<(RequestId, Waiting)>,
    admission: Option<Admission>,
}

struct WaitingSwap {
    id: RequestId,
    swap: Swap,
    deadline: u64,
}

enum Waiting {
    Read,
    Replace { attempt: Attempt, instead_of: NodeId, new: Seat },
}

/// A node is being asked under which id it votes.
struct Admission {
    id: RequestId,
    admit: Admit,
    deadline: u64,
    resend: u64,
}

impl State {
    fn run(mut self, inputs: &Receiver<Input>) {
        loop {
            let input = match self.next_deadline() {
                Some(deadline) => {
                    let wait = deadline.saturating_sub((self.clock)());
                    inputs.recv_timeout(Duration::from_nanos(wait))
                }
                None => inputs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match input {
                Ok(Input::Message { from, message }) => self.handle_message(from, message),
                Ok(Input::Request { id, request }) => self.handle_request(id, request),
                Ok(Input::Stored { cluster, high }) => self.handle_stored(cluster, high),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Input::Shutdown) | Err(RecvTimeoutError::Disconnected) => break,
            }
            self.tick();
            self.drain();
        }
        self.refuse_all();
    }

    fn next_deadline(&self) -> Option<u64> {
        let proposer = self.proposer.as_ref().and_then(Proposer::next_deadline);
        let swap = self.swap.as_ref().map(|swap| swap.deadline);
        let admission = self.admission.as_ref().map(|a| a.deadline.min(a.resend));
        [proposer, swap, admission].into_iter().flatten().min()
    }

    /// This node belongs to a cluster: from now on it has views of it, and may propose. What was
    /// stored of another is void.
    fn belong(&mut self, cluster: ClusterId) {
        if self.proposer.as_ref().is_some_and(|proposer| proposer.cluster() == cluster) {
            return;
        }
        if self.proposer.is_some() {
            (self.stored, self.storing) = (0, 0);
        }
        let Config { me, run, seed, timing, .. } = self.config;
        let nodes = self.config.nodes.clone();
        let mut proposer = Proposer::new(Setup { cluster, me, run, seed, nodes, timing });
        proposer.note_high(self.stored);
        self.proposer = Some(proposer);
    }

    fn handle_message(&mut self, from: NodeId, message: Message) {
        let now = (self.clock)();
        if let Body::Named { admission, voter, newcomer } = message.body {
            return self.handle_named(from, message.cluster, admission, voter, newcomer);
        }
        if let Some(proposer) = &mut self.proposer {
            proposer.handle(message, now);
        }
    }

    fn handle_request(&mut self, id: RequestId, request: Request) {
        let now = (self.clock)();
        if self.proposer.is_none() {
            return match request {
                Request::Install(record) => self.install(id, record),
                Request::Watch => {}
                Request::Read | Request::Swap { .. } | Request::Admit(_) => {
                    self.refuse(id, Refusal::NotInstalled);
                }
            };
        }
        if !self.config.proposes && matches!(request, Request::Swap { .. } | Request::Admit(_)) {
            return self.refuse(id, Refusal::OnlyVotes);
        }
        match request {
            Request::Read => self.wait(id, Waiting::Read),
            Request::Swap { swap, .. } if swap.bytes.len() > BYTES_MAX => {
                self.refuse(id, Refusal::TooLarge);
            }
            Request::Swap { swap, storing } => {
                if let Some(older) = self.swap.take() {
                    self.refuse(older.id, Refusal::Busy);
                }
                let deadline = now.saturating_add(self.config.timing.budget);
                if storing == Storing::Before && swap.expect > self.stored {
                    self.give_up();
                    self.want_stored(swap.expect);
                    self.swap = Some(WaitingSwap { id, swap, deadline });
                } else {
                    self.propose(id, swap);
                }
            }
            Request::Install(record) => self.install(id, record),
            Request::Admit(admit) => {
                if let Some(older) = self.admission.take() {
                    self.refuse(older.id, Refusal::Busy);
                }
                let deadline = now.saturating_add(self.config.timing.budget);
                self.admission = Some(Admission { id, admit, deadline, resend: now });
            }
            Request::Watch => {
                if let Some(view) = self.proposer.as_ref().and_then(Proposer::view) {
                    self.outbox.watch(view);
                }
            }
        }
    }

    fn install(&mut self, id: RequestId, record: Box<Record>) {
        if self.voter.try_send(voting::Work::Install { id, record }).is_err() {
            self.refuse(id, Refusal::Busy);
        }
    }

    fn propose(&mut self, id: RequestId, swap: Swap) {
        let now = (self.clock)();
        self.give_up();
        let Some(proposer) = &mut self.proposer else { return };
        proposer.swap(swap, now);
        self.current = Some(id);
    }

    /// Ends what is outstanding as Unknown.
    fn give_up(&mut self) {
        if let Some(proposer) = &mut self.proposer {
            proposer.give_up();
        }
        self.answer();
    }

    fn wait(&mut self, id: RequestId, what: Waiting) {
        if self.waiting.len() >= WAITING_MAX {
            return self.refuse(id, Refusal::Busy);
        }
        self.waiting.push_back((id, what));
    }

    /// Rule R2, D7: what the voter thread has made durable.
    fn handle_stored(&mut self, cluster: Option<ClusterId>, high: u64) {
        if let Some(cluster) = cluster {
            self.belong(cluster);
        }
        self.stored = self.stored.max(high);
        if let Some(proposer) = &mut self.proposer {
            proposer.note_high(self.stored);
        }
        if let Some(ready) = self.swap.take_if(|waiting| waiting.swap.expect <= self.stored) {
            self.propose(ready.id, ready.swap);
        }
    }

    fn want_stored(&mut self, version: u64) {
        if self.config.proposes && version > self.storing {
            // If the queue is full, a later version, or the next tick, asks again.
            if self.voter.try_send(voting::Work::High(version)).is_ok() {
                self.storing = version;
            }
        }
    }

    fn handle_named(
        &mut self,
        from: NodeId,
        cluster: ClusterId,
        admission: Attempt,
        voter: VoterId,
        newcomer: bool,
    ) {
        let is_mine = self.proposer.as_ref().is_some_and(|p| p.cluster() == cluster);
        let Some(Admission { id, admit, .. }) = self
            .admission
            .take_if(|a| is_mine && a.admit.attempt == admission && a.admit.node == from)
        else {
            return;
        };
        if !newcomer {
            return self.refuse(id, Refusal::AlreadyVotes);
        }
        let Admit { attempt, node, instead_of } = admit;
        self.wait(id, Waiting::Replace { attempt, instead_of, new: Seat { voter, node } });
    }

    fn tick(&mut self) {
        let now = (self.clock)();
        if let Some(proposer) = &mut self.proposer {
            proposer.tick(now);
        }
        if let Some(late) = self.swap.take_if(|waiting| now >= waiting.deadline) {
            self.refuse(late.id, Refusal::NotStored);
        }
        if let Some(expect) = self.swap.as_ref().map(|waiting| waiting.swap.expect) {
            self.want_stored(expect);
        }
        if let Some(late) = self.admission.take_if(|admission| now >= admission.deadline) {
            self.refuse(late.id, Refusal::NoAnswer);
        }
        self.ask(now);
    }

    /// Asks the node that is to be admitted for its id, again and again until it answers.
    fn ask(&mut self, now: u64) {
        let Some(Admission { id, admit, resend, .. }) = &mut self.admission else { return };
        if now < *resend {
            return;
        }
        *resend = now.saturating_add(self.config.timing.resend.max(1));
        let (id, to, admission) = (*id, admit.node, admit.attempt);
        let view = self.proposer.as_ref().and_then(|p| Some((p.cluster(), p.view()?.clone())));
        let Some((cluster, view)) = view else {
            self.admission = None;
            return self.refuse(id, Refusal::NoView);
        };
        let body = Body::Ask { admission, version: view.version, voters: view.voters };
        self.send(to, Message { cluster, body });
    }

    /// Sends, answers and tells all that is ready, and gives an idle proposer what waits.
    fn drain(&mut self) {
        loop {
            self.answer();
            while let Some((to, message)) = self.proposer.as_mut().and_then(Proposer::poll_send) {
                self.send(to, message);
            }
            if let Some(view) = self.proposer.as_mut().and_then(Proposer::poll_view) {
                self.want_stored(view.version);
                self.outbox.watch(&view);
            }
            if self.current.is_some() || self.swap.is_some() {
                return;
            }
            let Some((id, what)) = self.waiting.pop_front() else { return };
            self.begin(id, &what);
        }
    }

    fn begin(&mut self, id: RequestId, what: &Waiting) {
        let now = (self.clock)();
        let Some(proposer) = &mut self.proposer else { return };
        match what {
            Waiting::Read => proposer.read(now),
            Waiting::Replace { attempt, instead_of, new } => {
                let Some(base) = proposer.view().cloned() else {
                    return self.refuse(id, Refusal::NoView);
                };
                let Some(old) = base.seat_of(*instead_of) else {
                    return self.refuse(id, Refusal::NotInList);
                };
                if let Err(why) = proposer.replace_voter(*attempt, &base, old.voter, *new, now) {
                    return self.refuse(id, why);
                }
            }
        }
        self.current = Some(id);
    }

    /// Hands on the answers of the proposer, which come one per proposal.
    fn answer(&mut self) {
        while let Some(answer) = self.proposer.as_mut().and_then(Proposer::poll_answer) {
            if let Some(id) = self.current.take() {
                self.outbox.answer(id, answer);
            }
        }
    }

    fn send(&mut self, to: NodeId, message: Message) {
        if to != self.config.me {
            return self.outbox.send(to, message);
        }
        // A full queue loses it, as a link may: then the own disk hangs, and its vote is silent.
        if message.body.is_for_voter() {
            let _ = self.voter.try_send(voting::Work::Message { from: to, message });
        }
    }

    fn refuse(&self, id: RequestId, why: Refusal) {
        self.outbox.answer(id, Answer::Refused(why));
    }

    fn refuse_all(&mut self) {
        if let Some(id) = self.current.take() {
            self.outbox.answer(id, Answer::Unknown);
        }
        let swap = self.swap.take().map(|waiting| waiting.id);
        let admission = self.admission.take().map(|admission| admission.id);
        let waiting = std::mem::take(&mut self.waiting).into_iter().map(|(id, _)| id);
        for id in waiting.chain(swap).chain(admission) {
            self.refuse(id, Refusal::ShuttingDown);
        }
    }
}
