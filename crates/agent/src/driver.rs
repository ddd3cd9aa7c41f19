//! The lease thread: it waits for an input or a deadline, feeds core, and carries out what must keep its order.
//!
//! It takes no decision and waits for nothing but its queue: the clock and the kernel's filter are asked inline
//! (microseconds), everything else is handed on. The watchdog is fed from here and nowhere else, so that a
//! stalled lease thread is found out by systemd.

use crate::aside::Aside;
use crate::host::Gate;
use crate::inputs::{Armed, Event};
use crate::journal::Journal;
use crate::log;
use crate::measure::Measures;
use crate::steps::End;
use crate::watchdog::Arm;
use regent_adapters::fence::watchdog::{Disarmed, Watchdog};
use regent_adapters::notify::Notify;
use regent_core::command::{Action, Command, Outcome};
use regent_core::id::NodeId;
use regent_core::node::{Input, Node};
use regent_core::state::Data;
use regent_core::time::{Span, Time};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::time::{Duration, Instant};

/// What may wait for the dispatcher, which never waits itself: core has some dozens under way at most.
pub const COMMANDS: usize = 1024;

/// After the second failure in a row, and after each more: long enough for the processor to do something else, and
/// short beside the 90 ms of margin and the 150 ms between two renewals.
const FAILURE_PAUSE: Span = Span::millis(10);

/// How long a permission to arm the watchdog lasts: opening a device takes less where nothing hangs, and a right lasts
/// longer.
const PERMISSION: Span = Span::millis(100);

/// How long the end of the agent waits for a device that is being armed.
const ARMING: Duration = Duration::from_secs(2);

/// Its priority among real-time threads: above ordinary ones, below the kernel's own (which start at 50).
const PRIORITY: u8 = 20;

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
    /// Arms the device that resets this host unless it is fed; none once that is done.
    pub arm: Option<Arm>,
    /// It is being armed.
    pub arming: bool,
    /// That device, once it is armed.
    pub watchdog: Option<Watchdog>,
    /// How late it wakes.
    pub measures: Arc<Measures>,
    /// Who reads what it does.
    pub aside: Aside,
    /// What it could not carry out of late.
    pub failures: Failures,
    /// The only reader of time.
    pub clock: fn() -> Time,
}

/// Commands in a row that could not be carried out here. Core has its own patience with each; this one keeps a
/// kernel or
/// a dispatcher that fails at once from taking the processor, before all ordinary threads: what waits still waits in
/// order, and inputs are taken meanwhile.
#[derive(Default)]
pub struct Failures {
    in_a_row: u32,
    last: Option<Time>,
}

impl Failures {
    fn note(&mut self, is_done: bool, now: Time) {
        self.in_a_row = if is_done { 0 } else { self.in_a_row.saturating_add(1) };
        self.last = (!is_done).then_some(now);
    }

    /// How long nothing more is carried out. The first failure costs no time.
    fn pause(&self, now: Time) -> Option<Span> {
        let last = self.last.filter(|_| self.in_a_row > 1)?;
        let left = FAILURE_PAUSE.less(now.elapsed_most(last));
        (left > Span::ZERO).then_some(left)
    }
}

impl Driver {
    /// Runs until it is stopped. A watchdog device is then asked to rest, unless another life follows at once: a stop
    /// on purpose must not end in a reset, and the kernel's tickets end what this process leaves open. While this node
    /// uses shared data the device goes on: others take its reset for a proof (protocol section 6).
    pub fn run(mut self) {
        let rest = self.turn();
        if rest {
            self.await_arming();
        }
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

    /// A device that is being armed would run on with nobody to feed it.
    fn await_arming(&mut self) {
        let deadline = Instant::now() + ARMING;
        while self.arming {
            match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Event::Armed(armed)) => self.armed(armed),
                Ok(Event::Input(_) | Event::Look(_) | Event::Stop { .. }) => {}
                Err(_) => return,
            }
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
            // While nothing is carried out, core's own deadline may be over already.
            let wake = self.failures.pause(asked).unwrap_or(wake);
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
                    self.aside.picture(answer, self.node.status(now));
                }
                Ok(Event::Armed(armed)) => self.armed(armed),
                Ok(Event::Stop { rest }) => {
                    if rest {
                        self.node.leave_to_the_kernel((self.clock)());
                        self.drain();
                    }
                    return rest;
                }
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
    /// reset is a host only after twice its time.
    fn arm_watchdog(&mut self, now: Time) {
        let Some(arm) = self.arm.as_ref().filter(|_| !self.arming && self.node.may_feed(now))
        else {
            return;
        };
        // Up to the end of the right; without one nothing of the stack runs here, and no right begins and ends within
        // this time.
        let right = self.node.status(now).right_left;
        arm.permit(now, right.map_or(PERMISSION, |left| left.min(PERMISSION)));
        self.arming = true;
    }

    fn armed(&mut self, armed: Armed) {
        self.arming = false;
        match armed {
            Armed::Runs { watchdog, proof } => {
                self.watchdog = Some(watchdog);
                self.arm = None;
                if let Some(length) = proof {
                    self.feed(Input::Watchdog(length), (self.clock)());
                }
            }
            Armed::Absent => self.arm = None,
            Armed::Late => {}
        }
    }

    fn feed(&mut self, input: Input, now: Time) {
        self.journal.input(now, &input);
        if let Input::Outcome { id, outcome } = &input
            && let Some(end) = End::of(outcome)
        {
            self.aside.ended(*id, end);
        }
        self.node.handle(input, now);
    }

    /// Carries out in order: what stands behind a reading of the clock or a change of the gate sees its outcome.
    fn drain(&mut self) {
        while self.failures.pause((self.clock)()).is_none() {
            let Some(command) = self.node.poll_command() else { return };
            self.journal.command((self.clock)(), &command);
            let id = command.id;
            if let Action::Stack(step) = &command.action {
                self.aside.begun(id, *step);
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
                    self.failures.note(outcome == Outcome::Done, now);
                    self.feed(Input::Outcome { id, outcome }, now);
                }
                Action::Answer { request, answer } => self.aside.answer(request, answer),
                Action::Address(_)
                | Action::Propose { .. }
                | Action::Read
                | Action::Database(_)
                | Action::Service { .. }
                | Action::Stack(_)
                | Action::ProbePeer { .. }
                | Action::Fence { .. }
                | Action::Send(_)
                | Action::Tell(_) => {
                    if let Err(TrySendError::Full(command)) = self.commands.try_send(command) {
                        let outcome = Outcome::Failed("the dispatcher does not follow".into());
                        let (id, now) = (command.id, (self.clock)());
                        self.failures.note(false, now);
                        self.feed(Input::Outcome { id, outcome }, now);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::queue;
    use crate::pending::PendingRequests;
    use crate::scratch::Scratch;
    use crate::steps::Steps;
    use regent_adapters::clock;
    use regent_core::command::{GateStep, RunRecord};
    use regent_core::id::{BootId, ClusterId, RunId, Version};
    use regent_core::node::Identity;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc::sync_channel;

    /// A kernel that refuses every step, and counts them.
    struct Refusing(Arc<AtomicU64>);

    impl Gate for Refusing {
        fn step(&mut self, _: GateStep) -> Result<(), String> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Err("no".into())
        }
    }

    #[test]
    fn a_gate_that_does_not_close_is_tried_on_without_a_hot_loop_and_inputs_are_taken() {
        let dir = Scratch::new("driver-refused");
        let text = include_str!("../../config/tests/config/good.toml");
        let spec = crate::config::parse("good.toml", text).unwrap().spec();
        let (node, boot, run) = (NodeId(1), BootId(2), RunId(3));
        let (cluster, seed) = (ClusterId(4), 5);
        let (link, configuration, speaks) = (None, 0, regent_core::state::FORMAT);
        let identity = Identity { cluster, node, boot, run, seed, link, configuration, speaks };
        // A ticket of an earlier run that still passes, and no view for seconds: core closes.
        let gate = [Some(Span::millis(60_000)), None];
        let record = RunRecord { runs: vec![run], high: Version(0), lock_held: true, gate };
        let now = clock::now();
        let born = Time { boot: now.boot - 3_000_000_000, raw: now.raw - 3_000_000_000 };
        let (inputs, events) = queue();
        let (commands, _carried) = sync_channel(COMMANDS);
        let refused = Arc::<AtomicU64>::default();
        let driver = Driver {
            me: node,
            node: Node::new(identity, spec, record, born),
            gate: Box::new(Refusing(Arc::clone(&refused))),
            events,
            commands,
            journal: Journal::start(dir.path()),
            notify: None,
            arm: None,
            arming: false,
            watchdog: None,
            measures: Arc::new(Measures::new([])),
            aside: Aside::start(Arc::<Steps>::default(), PendingRequests::default()),
            failures: Failures::default(),
            clock: clock::now,
        };
        let began = Instant::now();
        let thread = std::thread::spawn(move || driver.run());
        inputs.put(Input::Tick);
        let deadline = began + Duration::from_secs(20);
        while refused.load(Ordering::Relaxed) < 5 {
            assert!(Instant::now() < deadline, "it is not tried on");
            std::thread::sleep(Duration::from_millis(1));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        assert!(runtime.block_on(inputs.look(Duration::from_secs(10))).is_some());
        let most = began.elapsed().as_millis() as u64 / FAILURE_PAUSE.as_millis() + 3;
        let tries = refused.load(Ordering::Relaxed);
        assert!(tries <= most, "{tries} tries where {most} are enough");
        inputs.stop(false);
        thread.join().unwrap();
    }

    #[test]
    fn one_failure_costs_no_time_and_a_success_forgets_all() {
        let at = |ms: u64| Time { boot: ms * 1_000_000, raw: ms * 1_000_000 };
        let mut failures = Failures::default();
        failures.note(false, at(100));
        assert_eq!(failures.pause(at(100)), None);
        failures.note(false, at(101));
        assert_eq!(failures.pause(at(104)), Some(Span::millis(7)));
        assert_eq!(failures.pause(at(111)), None);
        failures.note(true, at(112));
        failures.note(false, at(113));
        assert_eq!(failures.pause(at(113)), None);
    }
}
