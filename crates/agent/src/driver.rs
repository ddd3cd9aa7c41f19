//! The lease thread: it waits for an input or a deadline, feeds core, and carries out what must keep its order.
//!
//! It takes no decision and waits for nothing but its queue: the clock and the kernel's filter are asked inline
//! (microseconds), everything else is handed on. The watchdog is fed from here and nowhere else, so that a
//! stalled lease thread is found out by systemd.

use crate::journal::Journal;
use crate::log;
use crate::measure::Measures;
use crate::steps::Steps;
use regent_adapters::fence::watchdog::{Disarmed, Watchdog};
use regent_adapters::notify::Notify;
use regent_core::command::{Action, Command, GateStep, Outcome};
use regent_core::id::NodeId;
use regent_core::node::{Input, Node, NodeStatus};
use regent_core::state::Data;
use regent_core::time::{Span, Time};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;
use tokio::sync::oneshot;

/// What may wait for the lease thread: a minute of reports and views while it is stalled, after which it is dead.
const QUEUE: usize = 4096;

/// What may wait for the dispatcher, which never waits itself: core has some dozens under way at most.
pub const COMMANDS: usize = 1024;

/// Its priority among real-time threads: above ordinary ones, below the kernel's own (which start at 50).
const PRIORITY: u8 = 20;

/// What the lease thread takes. Inputs differ in size; boxing each would cost more than the room in the queue.
#[expect(clippy::large_enum_variant, reason = "nearly every event is an input")]
pub enum Event {
    /// For core.
    Input(Input),
    /// Somebody wants to know; the answer goes there.
    Look(oneshot::Sender<Box<NodeStatus>>),
    /// End, closing nothing: the kernel's tickets do that.
    Stop {
        /// Nothing follows at once: a watchdog device rests.
        rest: bool,
    },
}

/// The way to the lease thread.
#[derive(Clone)]
pub struct Inputs {
    queue: SyncSender<Event>,
}

/// The queue and its end.
pub fn queue() -> (Inputs, Receiver<Event>) {
    let (queue, events) = sync_channel(QUEUE);
    (Inputs { queue }, events)
}

impl Inputs {
    /// An outcome or an observation that must not be lost: waits for room.
    pub fn put(&self, input: Input) {
        // Without a lease thread the process is ending.
        self.queue.send(Event::Input(input)).ok();
    }

    /// A message that will be repeated: a report, a view. Lost when there is no room.
    pub fn offer(&self, input: Input) {
        match self.queue.try_send(Event::Input(input)) {
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }

    /// Asks for a picture of what core knows; none if the lease thread does not answer in time.
    pub async fn look(&self, patience: Duration) -> Option<Box<NodeStatus>> {
        let (answer, picture) = oneshot::channel();
        self.queue.try_send(Event::Look(answer)).ok()?;
        tokio::time::timeout(patience, picture).await.ok()?.ok()
    }

    /// Ends the lease thread.
    pub fn stop(&self, rest: bool) {
        self.queue.send(Event::Stop { rest }).ok();
    }
}

/// The kernel's filter, as the lease thread drives it.
pub trait Gate: Send {
    /// One transaction, the kernel's answer awaited.
    fn step(&mut self, step: GateStep) -> Result<(), String>;
}

/// Everything the lease thread owns.
pub struct Driver {
    /// This node.
    pub me: NodeId,
    /// The decision core.
    pub node: Node,
    /// The kernel's filter.
    pub gate: Box<dyn Gate>,
    /// Its queue.
    pub events: Receiver<Event>,
    /// Where commands go that it does not carry out itself.
    pub commands: SyncSender<Command>,
    /// What is written down.
    pub journal: Journal,
    /// Who watches it.
    pub notify: Option<Notify>,
    /// Arms the device that resets this host unless it is fed.
    pub arm: Option<Arm>,
    /// That device, once it is armed.
    pub watchdog: Option<Watchdog>,
    /// How late it wakes.
    pub measures: Arc<Measures>,
    /// The steps of the stack, for who waits for them.
    pub steps: Arc<Steps>,
    /// The only reader of time.
    pub clock: fn() -> Time,
}

/// Arms a watchdog device, and tells operators how that went.
pub type Arm = Box<dyn FnOnce() -> Option<Watchdog> + Send>;

impl Driver {
    /// Runs until it is stopped. A watchdog device is then asked to rest, unless another life follows at once: a stop
    /// on purpose must not end in a reset, and the kernel's tickets end what this process leaves open. While this node
    /// uses shared data the device goes on: others take its reset for a proof (protocol section 6).
    pub fn run(mut self) {
        let rest = self.turn();
        let Some(watchdog) = self.watchdog.take().filter(|_| rest) else { return };
        if self.uses_shared_data() {
            let seconds = watchdog.facts().timeout.as_millis().div_ceil(1000);
            log::alarm(&format!(
                "this node uses the shared data: the watchdog goes on, and resets this host in {seconds} s unless the agent starts again"
            ));
        } else if let Disarmed::StillRunning(_, why) = watchdog.disarm() {
            log::alarm(&format!("the watchdog goes on and will reset this host: {why}"));
        }
    }

    /// By the register, or by what still runs here.
    fn uses_shared_data(&self) -> bool {
        let status = self.node.status((self.clock)());
        let recorded = status.view.is_some_and(|(_, state)| match state.data {
            Data::InUse { node, .. } => node == self.me,
            Data::Clear => false,
        });
        recorded || status.stack.is_some_and(|stack| !stack.clear)
    }

    fn turn(&mut self) -> bool {
        if let Err(error) = regent_adapters::clock::real_time(PRIORITY) {
            log::warning(&format!("failed to {error}; going on without"));
        }
        // A third of what systemd allows leaves room for one that comes late.
        let feed = self.notify.as_ref().and_then(Notify::watchdog_interval).map(|i| Span(i.0 / 3));
        let mut fed = (self.clock)();
        let mut patted = fed;
        let mut starved = false;
        loop {
            let asked = (self.clock)();
            let wake = self.node.next_wake(asked);
            let wake = feed.map_or(wake, |feed| wake.min(feed));
            let event = self.events.recv_timeout(Duration::from_nanos(wake.0));
            // C2: read after the input arrived, never before.
            let now = (self.clock)();
            if matches!(event, Err(RecvTimeoutError::Timeout)) {
                let late = now.elapsed_most(asked).less(wake);
                self.measures.late.note(Duration::from_nanos(late.0));
            }
            match event {
                Ok(Event::Input(input)) => self.feed(input, now),
                Err(RecvTimeoutError::Timeout) => self.feed(Input::Tick, now),
                Ok(Event::Look(answer)) => {
                    // Who does not wait any more is not answered.
                    answer.send(Box::new(self.node.status(now))).ok();
                }
                Ok(Event::Stop { rest }) => return rest,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
            self.drain();
            if let (Some(feed), Some(notify)) = (feed, &self.notify)
                && now.elapsed_most(fed) >= feed
            {
                notify.watchdog();
                fed = now;
            }
            self.arm_watchdog(now);
            if let Some(watchdog) = &self.watchdog
                && now.elapsed_most(patted) >= Span(watchdog.facts().timeout.0 / 4)
            {
                patted = now;
                let may = self.node.may_feed(now);
                if !may && !starved {
                    log::alarm("the watchdog is not fed: no right runs, and the stack is not down");
                }
                starved = !may;
                if may && let Err(error) = watchdog.feed() {
                    log::alarm(&format!("failed to feed the watchdog: {error}"));
                }
            }
        }
    }

    /// To arm it is to feed it, so it waits until it may be fed: an agent that dies again and again must not keep a
    /// host alive that uses shared data without a right. The kernel feeds it once more when its process dies: surely
    /// reset is a host only after twice its time. Only one that nothing but a reset ends is a proof for others.
    fn arm_watchdog(&mut self, now: Time) {
        if !self.node.may_feed(now) {
            return;
        }
        let Some(arm) = self.arm.take() else { return };
        self.watchdog = arm();
        let facts = self.watchdog.as_ref().map(Watchdog::facts);
        let proof = facts.filter(|facts| facts.has_no_way_out == Some(true) && facts.outlives_us);
        if let Some(length) = proof.map(|facts| facts.timeout + facts.timeout) {
            self.feed(Input::Watchdog(length), (self.clock)());
        }
    }

    fn feed(&mut self, input: Input, now: Time) {
        self.journal.input(now, &input);
        if let Input::Outcome { id, outcome } = &input {
            self.steps.end(*id, outcome);
        }
        self.node.handle(input, now);
    }

    /// Carries out in order: what stands behind a reading of the clock or a change of the gate sees its outcome.
    fn drain(&mut self) {
        while let Some(command) = self.node.poll_command() {
            self.journal.command((self.clock)(), &command);
            let id = command.id;
            if let Action::Stack(step) = &command.action {
                self.steps.begin(id, *step);
            }
            match command.action {
                Action::ReadClock => {
                    let now = (self.clock)();
                    self.feed(Input::Outcome { id, outcome: Outcome::Clock(now) }, now);
                }
                Action::Gate(step) => {
                    let outcome = match self.gate.step(step) {
                        Ok(()) => Outcome::Done,
                        Err(why) => Outcome::Failed(why),
                    };
                    let now = (self.clock)();
                    self.feed(Input::Outcome { id, outcome }, now);
                }
                Action::Address(_)
                | Action::Propose { .. }
                | Action::Read
                | Action::Database(_)
                | Action::Service { .. }
                | Action::Stack(_)
                | Action::ProbePeer { .. }
                | Action::Fence { .. }
                | Action::Send(_)
                | Action::Tell(_)
                | Action::Answer { .. } => {
                    if let Err(TrySendError::Full(command)) = self.commands.try_send(command) {
                        let outcome = Outcome::Failed("the dispatcher does not follow".into());
                        let id = command.id;
                        self.feed(Input::Outcome { id, outcome }, (self.clock)());
                    }
                }
            }
        }
    }
}
