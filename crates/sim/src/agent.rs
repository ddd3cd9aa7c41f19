//! The agent's process: the driver loop around the core, exactly as the real lease thread runs it.
//!
//! ```text
//!  dequeue an input ─► read both clocks ─► handle ─► command ─► (stall?) ─► command ─► ... ─► wait
//! ```
//! Clock and gate commands are carried out inline and answered at once; all others are handed on. Between any two
//! steps the thread may stall: inputs queue, clocks go on, tickets end.

use crate::gate::Refusal;
use crate::health;
use crate::host::{MEMBERS, NAMES};
use crate::release;
use crate::stack::{Storage, Waiter};
use crate::worker::Worker;
use crate::world::{Event, World};
use regent_core::command::{
    Action, AddressStep, Command, LifeSigns, Outcome, PortAnswer, RunRecord, ServiceStep,
    SwapOutcome,
};
use regent_core::health::{Judge, Subject};
use regent_core::id::{CommandId, NodeId, RunId, Version};
use regent_core::invariant::Violation;
use regent_core::node::{Identity, Input, Node, NodeStatus};
use regent_core::observe::{Report, ServiceId, UnitState};
use regent_core::role::Role;
use regent_core::spec::Spec;
use regent_core::state::State;
use regent_core::time::{Span, Time};
use std::collections::VecDeque;

/// How long reports may promise a service that is not there: two of them, or a stall that is just over.
const DARK_MAX: u64 = 200 * MS;
const MS: u64 = 1_000_000;

/// What decides: the core, or something simpler that the simulator is tried on.
pub trait Brain {
    /// Takes one input.
    fn handle(&mut self, input: Input, now: Time);
    /// The next command.
    fn poll_command(&mut self) -> Option<Command>;
    /// In how long a tick is due.
    fn next_wake(&self, now: Time) -> Span;
    /// By its own account, a right of its own runs and has started.
    fn rules(&self, now: Time) -> bool;
    /// When the proposal was dated that its right is counted from.
    fn right_since(&self) -> Option<Time> {
        None
    }
    /// Why it is where it is.
    fn explain(&self, now: Time) -> Vec<String>;
    /// How many of its proposals may still have won.
    fn swaps_unanswered(&self) -> usize {
        0
    }
    /// The host's watchdog may be fed.
    fn may_feed(&self, _now: Time) -> bool {
        true
    }
    /// What `regent status` is written from.
    fn status(&self, _now: Time) -> Option<NodeStatus> {
        None
    }
    /// Nothing of the stack is up here, as it was last looked at.
    fn is_put_down(&self, _now: Time) -> bool {
        true
    }
}

impl Brain for Node {
    fn handle(&mut self, input: Input, now: Time) {
        Node::handle(self, input, now);
    }

    fn poll_command(&mut self) -> Option<Command> {
        Node::poll_command(self)
    }

    fn next_wake(&self, now: Time) -> Span {
        Node::next_wake(self, now)
    }

    fn rules(&self, now: Time) -> bool {
        Node::rules(self, now)
    }

    fn right_since(&self) -> Option<Time> {
        Node::right_since(self)
    }

    fn explain(&self, now: Time) -> Vec<String> {
        Node::explain(self, now)
    }

    fn swaps_unanswered(&self) -> usize {
        Node::swaps_unanswered(self)
    }

    fn may_feed(&self, now: Time) -> bool {
        Node::may_feed(self, now)
    }

    fn status(&self, now: Time) -> Option<NodeStatus> {
        Some(Node::status(self, now))
    }

    fn is_put_down(&self, now: Time) -> bool {
        Node::status(self, now).stack.is_some_and(|stack| stack.clear && stack.doing.is_none())
    }
}

/// Makes what decides.
pub type Maker = fn(Identity, Spec, RunRecord, Time) -> Box<dyn Brain>;

/// The core itself.
pub fn core(identity: Identity, spec: Spec, record: RunRecord, now: Time) -> Box<dyn Brain> {
    Box::new(Node::new(identity, spec, record, now))
}

/// One run of the agent.
pub struct Agent {
    /// Which run, as a growing number; [`RunId`] is drawn.
    pub run: u64,
    /// What decides.
    pub brain: Box<dyn Brain>,
    /// The database worker, its child.
    pub worker: Worker,
    /// The lease thread does not run until then.
    pub stalled: u64,
    /// The newest word on its role.
    pub role: Role,
    /// It has said that it serves, and did not, in every report from the first to the last of these times.
    dark: Option<(u64, u64)>,
    /// Until when a probe of each service that fails does not count: it has not passed since core heard of its unit.
    pub starting: Vec<u64>,
    /// It found no room for its own state when it last looked.
    pub has_no_room: bool,
    /// How it found the shared storage when it last looked.
    pub storage: Storage,
    /// The prober's judges, as in the spec.
    pub judges: Vec<Judge>,
    inbox: VecDeque<Input>,
    /// The step that is due: an older one is void.
    turn: u64,
    idle: bool,
}

/// systemd kills an agent that did not feed its watchdog for so long.
pub const WATCHDOG: u64 = 3_000_000_000;
/// And starts it again after this.
const RESTART: (u64, u64) = (100_000_000, 140_000_000);

impl World {
    /// systemd starts the agent.
    pub fn start_agent(&mut self, host: usize) {
        let run = self.next_run();
        let id = RunId(self.rng.draw());
        let seed = self.rng.draw();
        let now = self.now;
        let h = &mut self.hosts[host];
        h.runs.push(id);
        let record = RunRecord {
            runs: h.runs.clone(),
            high: regent_core::id::Version(h.high),
            lock_held: true,
            gate: h.gate.found(&h.clock, now),
        };
        let identity = Identity {
            cluster: h.pair.cluster,
            node: h.node,
            boot: h.boot,
            run: id,
            seed,
            link: Some(link_of(NodeId(host as u16 + 1))),
            configuration: 0,
            speaks: h.speaks,
        };
        let time = h.clock.read(now);
        let brain = (self.maker)(identity, self.spec.clone(), record, time);
        h.agent = Some(Agent {
            run,
            brain,
            worker: Worker::default(),
            stalled: 0,
            role: Role::Standby,
            dark: None,
            starting: vec![0; self.spec.services.len()],
            has_no_room: false,
            storage: Storage::default(),
            judges: health::judges(&self.spec.probes),
            inbox: VecDeque::new(),
            turn: 0,
            idle: true,
        });
        self.start_seat(host, id.0, true);
        self.tell(host, "agent", || String::from("started"));
        // systemd is asked over its bus, and answers when it answers.
        let after = self.rng.range(1_000_000, 60_000_000);
        self.after(after, Event::Units { host, run });
        self.begin_probes(host, run);
        // Nobody saw whether the directory hung while no agent ran.
        let stack = &mut self.hosts[host].stack;
        stack.unsettled |= stack.permit;
        self.after(health::ROOM, Event::Room { host, run });
        self.schedule_step(host, 0);
    }

    /// systemd tells a new run how all units are.
    pub fn tell_units(&mut self, host: usize, run: u64) {
        if self.session(host) != run {
            return;
        }
        if self.shared.is_none() {
            let database = self.hosts[host].database_unit();
            self.input(host, Input::DatabaseUnit(database));
        }
        for service in 0..self.hosts[host].services.len() {
            let state = self.service_state(host, service);
            self.note_starting(host, service);
            let service = ServiceId(service as u16);
            self.input(host, Input::ServiceUnit { service, state, asked: false });
        }
    }

    /// SIGKILL, or the watchdog: everything in the process is gone, what it had sent is not.
    pub fn kill_agent(&mut self, host: usize, why: &str) {
        if host == crate::host::WITNESS {
            if self.hosts[host].seat.voter.is_some() {
                self.stop_seat(host);
                self.tell(host, "agent", || why.to_string());
                self.plan_restart(host);
            }
            return;
        }
        let waited = self.is_waiting(host);
        if self.hosts[host].agent.take().is_none() && !waited {
            return;
        }
        self.hosts[host].stack.lose_agent();
        self.drop_watchdog(host);
        self.stop_seat(host);
        self.tell(host, "agent", || why.to_string());
        self.plan_restart(host);
    }

    pub(crate) fn plan_restart(&mut self, host: usize) {
        let boot = self.hosts[host].boots;
        let after = self.rng.range(RESTART.0, RESTART.1);
        self.after(after, Event::AgentStart { host, boot });
    }

    /// The agent of a member is stopped for so long; what it left running goes on.
    pub fn stop_agent(&mut self, host: usize, length: u64) {
        if self.hosts[host].agent.take().is_none() {
            return;
        }
        self.hosts[host].stack.lose_agent();
        self.drop_watchdog(host);
        self.stop_seat(host);
        self.tell(host, "agent", || "stopped".into());
        let boot = self.hosts[host].boots;
        self.after(length, Event::AgentStart { host, boot });
    }

    /// The lease thread stops running for a while; past its watchdog systemd kills it.
    pub fn stall_agent(&mut self, host: usize, length: u64) {
        let until = self.now + length;
        let Some(agent) = &mut self.hosts[host].agent else { return };
        agent.stalled = agent.stalled.max(until);
        let run = agent.run;
        if length > WATCHDOG {
            self.after(WATCHDOG, Event::Watchdog { host, run });
        }
    }

    /// Faults are over: the thread goes on at once.
    pub fn end_stall(&mut self, host: usize) {
        let now = self.now;
        if let Some(agent) = &mut self.hosts[host].agent {
            agent.stalled = now;
        }
        self.schedule_step(host, 0);
    }

    /// The watchdog's time is over.
    pub fn watchdog(&mut self, host: usize, run: u64) {
        let late =
            self.hosts[host].agent.as_ref().is_some_and(|a| a.run == run && a.stalled > self.now);
        if late {
            self.kill_agent(host, "killed by its watchdog");
        }
    }

    /// The number of the present run; 0 if there is none.
    pub fn session(&self, host: usize) -> u64 {
        self.hosts[host].agent.as_ref().map_or(0, |agent| agent.run)
    }

    /// An input is put into the queue of the lease thread.
    pub fn input(&mut self, host: usize, input: Input) {
        let wake = self.rng.range(15_000, 80_000);
        let Some(agent) = &mut self.hosts[host].agent else { return };
        agent.inbox.push_back(input);
        if agent.idle {
            agent.idle = false;
            self.schedule_step(host, wake);
        }
    }

    fn schedule_step(&mut self, host: usize, after: u64) {
        let at = self.now + after;
        let Some(agent) = &mut self.hosts[host].agent else { return };
        agent.turn += 1;
        let (run, turn) = (agent.run, agent.turn);
        let at = at.max(agent.stalled);
        self.at(at, Event::Step { host, run, turn });
    }

    /// The lease thread does one thing: a command, or an input, or a tick.
    pub fn step_agent(&mut self, host: usize, run: u64, turn: u64) {
        let now = self.now;
        let Some(agent) =
            self.hosts[host].agent.as_mut().filter(|a| (a.run, a.turn) == (run, turn))
        else {
            return;
        };
        if agent.stalled > now {
            let at = agent.stalled;
            return self.at(at, Event::Step { host, run, turn });
        }
        if let Some(command) = agent.brain.poll_command() {
            agent.idle = false;
            self.log.mix(command.id.0);
            self.carry_out(host, command);
            return self.next_step(host);
        }
        let time = self.hosts[host].clock.read(now);
        let Some(agent) = &mut self.hosts[host].agent else { return };
        match agent.inbox.pop_front() {
            Some(input) => {
                agent.idle = false;
                self.log.detail(now, NAMES[host], "input", || show_input(&input));
                agent.brain.handle(input, time);
                self.feed(host);
                self.next_step(host);
            }
            None if agent.idle => {
                agent.idle = false;
                agent.brain.handle(Input::Tick, time);
                self.feed(host);
                self.next_step(host);
            }
            None => {
                agent.idle = true;
                let wake = agent.brain.next_wake(time);
                let sleep = self.hosts[host].clock.sleep(wake).max(200_000);
                let late = self.rng.range(20_000, 150_000);
                self.schedule_step(host, sleep + late);
            }
        }
    }

    /// The thread goes on, unless it is stopped here for a while.
    fn next_step(&mut self, host: usize) {
        if self.rng.chance(self.chaos.stall_ppm) {
            let length = match self.rng.below(10) {
                0..=4 => self.rng.range(1_000_000, 50_000_000),
                5..=8 => self.rng.range(50_000_000, 1_200_000_000),
                9.. => self.rng.range(1_200_000_000, 4_000_000_000),
            };
            self.tell(host, "fault", || format!("the agent stalls for {} ms", length / 1_000_000));
            self.stall_agent(host, length);
        }
        let after = self.rng.range(3_000, 30_000);
        self.schedule_step(host, after);
    }

    fn carry_out(&mut self, host: usize, command: Command) {
        let now = self.now;
        self.log.detail(now, NAMES[host], "command", || show_command(&command));
        let Command { id, epoch, action } = command;
        let run = self.session(host);
        if World::is_step(&action) {
            self.lie_in_wait(host);
        }
        match action {
            Action::ReadClock => {
                let time = self.hosts[host].clock.read(now);
                self.answer_inline(host, id, Outcome::Clock(time));
            }
            Action::Gate(step) if self.refuses(host, Refusal::of_gate(step)) => {
                let outcome = Outcome::Failed(String::from("Cannot allocate memory"));
                self.answer_inline(host, id, outcome);
            }
            Action::Gate(step) => {
                let h = &mut self.hosts[host];
                h.gate.apply(step, &h.clock, h.count, &mut self.rng, now);
                self.answer_inline(host, id, Outcome::Done);
            }
            Action::Address(step) => {
                let soon = now.max(self.hosts[host].address_hangs);
                let at = soon + self.rng.range(100_000, 1_000_000);
                let at = self.hosts[host].address_turn(at);
                let boot = self.hosts[host].boots;
                self.at(at, Event::Address { host, boot, run, id, step });
            }
            Action::Propose { attempt, expect, bytes, by: _ } => {
                let bytes = release::write(self.hosts[host].speaks, attempt, bytes);
                self.hosts[host].count.sent += 1;
                self.sent.insert(attempt, self.hosts[host].count.sent);
                let counts = self.is_of_register(host);
                let changes = counts && self.truth.proposed(attempt, expect, &bytes);
                if let Ok(state) = release::read(&bytes) {
                    self.hosts[host].gate.sent_under(state.lease.ttl);
                }
                if changes {
                    self.strike_while_hot();
                }
                let after = self.rng.range(5_000, 40_000);
                self.after(after, Event::Swap { host, run, id, attempt, expect: expect.0, bytes });
            }
            Action::Read => {
                let after = self.rng.range(5_000, 40_000);
                self.after(after, Event::Read { host, run, id });
            }
            Action::Database(step) if self.shared.is_some() => {
                self.break_rule(host, &format!("a database step without a database: {step:?}"));
            }
            Action::Database(step) => self.queue_database(host, id, step),
            Action::Service { service, step } => {
                let service = usize::from(service.0);
                self.act_on_service(host, service, step, id);
            }
            Action::ProbePeer { node } => {
                let after = self.rng.range(20_000_000, 80_000_000);
                self.after(after, Event::Probe { host, run, id, node });
            }
            Action::Stack(step) => self.stack_step(host, id, epoch, step),
            Action::Fence { node } if self.shared.is_some() => self.fence_shared(host, id, node),
            Action::Fence { node } => self.fence(host, id, node),
            Action::Send(report) => self.send_report(host, &report),
            Action::Tell(event) => {
                if let Some((from, to)) = event.roles {
                    self.take_edge(from, to);
                }
                self.check_begun(host, &event);
                self.tell(host, &event.code, || event.text.clone());
            }
            Action::Answer { request, answer } => {
                self.lie = self.lie.filter(|lie| lie.request != request);
                self.tell(host, "answer", || format!("{request}: {answer:?}"));
                self.take_belief(host, request, &answer);
            }
        }
    }

    fn refuses(&self, host: usize, refusal: Refusal) -> bool {
        self.hosts[host].refused[refusal as usize] > self.now
    }

    fn answer_inline(&mut self, host: usize, id: CommandId, outcome: Outcome) {
        let time = self.hosts[host].clock.read(self.now);
        if let Some(agent) = &mut self.hosts[host].agent {
            agent.brain.handle(Input::Outcome { id, outcome }, time);
        }
    }

    /// Answers a command of this run; a later run does not hear it.
    pub fn outcome(&mut self, host: usize, run: u64, id: CommandId, outcome: Outcome) {
        if self.session(host) == run {
            self.input(host, Input::Outcome { id, outcome });
        }
    }

    /// A change of the VIP on this host.
    pub fn change_address(&mut self, host: usize, run: u64, id: CommandId, step: AddressStep) {
        let now = self.now;
        let refusal = match step {
            AddressStep::Add { .. } => Some(Refusal::Add),
            AddressStep::Remove => Some(Refusal::Remove),
            AddressStep::DestroySockets | AddressStep::Announce => None,
        };
        if refusal.is_some_and(|refusal| self.refuses(host, refusal)) {
            let why = String::from("Operation not permitted");
            return self.outcome(host, run, id, Outcome::Failed(why));
        }
        let h = &mut self.hosts[host];
        match step {
            AddressStep::Add { lifetime } => h.address = Some(h.clock.timer(now) + lifetime.0),
            AddressStep::Remove => h.address = None,
            AddressStep::DestroySockets => self.reset_clients(host),
            AddressStep::Announce => {}
        }
        self.outcome(host, run, id, Outcome::Done);
    }

    fn send_report(&mut self, host: usize, report: &Report) {
        self.judge_report(host, report);
        if let Some(agent) = self.hosts[host].agent.as_mut().filter(|a| a.role != report.role) {
            agent.role = report.role;
            self.tell(host, "role", || report.role.to_string());
        }
        for to in MEMBERS.into_iter().filter(|to| *to != host) {
            for delay in self.net.fate(host, to, &mut self.rng).into_iter().flatten() {
                let report = Box::new(report.clone());
                self.after(delay, Event::Report { to, report });
            }
        }
    }

    /// What `status` shows is a promise: who goes on saying that it serves answers for the VIP.
    fn judge_report(&mut self, host: usize, report: &Report) {
        let now = self.now;
        let here = &mut self.hosts[host];
        let is_dark = report.serving && !here.answers(now);
        let (gate, address) = (here.gate.is_open(&here.clock, now), here.has_address(now));
        let Some(agent) = &mut here.agent else { return };
        // Between two reports that a stall parts it may have served.
        let goes_on = agent.dark.filter(|(_, last)| now - last <= DARK_MAX / 2);
        let since = goes_on.map_or(now, |(first, _)| first);
        agent.dark = is_dark.then_some((since, now));
        if is_dark && now - since > DARK_MAX {
            let text = format!(
                "{} has said for {} ms that it serves; its gate is {}, its address {}",
                NAMES[host],
                (now - since) / MS,
                if gate { "open" } else { "closed" },
                if address { "on" } else { "off" },
            );
            self.violated(Violation { id: "promise", text });
        }
    }

    /// Asks the segment and the port of a silent peer.
    pub fn probe(&mut self, host: usize, run: u64, id: CommandId, node: NodeId) {
        let peer = usize::from(node.0) - 1;
        let lives = self.hosts[peer].powered
            && self.hosts[peer].paused.is_none()
            && self.net.is_whole(host, peer);
        let port = match (lives, &self.hosts[peer].agent) {
            (false, _) => PortAnswer::Silent,
            (true, Some(_)) => PortAnswer::Open,
            (true, None) => PortAnswer::Reset,
        };
        let links = if lives { vec![link_of(node)] } else { Vec::new() };
        let life = LifeSigns { asked: true, links, port, echo: lives };
        self.outcome(host, run, id, Outcome::Peer(life));
    }

    /// systemd's word on a service.
    pub fn service_state(&self, host: usize, service: usize) -> UnitState {
        match self.hosts[host].services[service] {
            Some(start) => UnitState::Up { start },
            None => UnitState::Down,
        }
    }

    fn act_on_unit(&mut self, host: usize, service: usize, step: ServiceStep, id: CommandId) {
        let waiter = Waiter::Service(self.session(host), id);
        match step {
            ServiceStep::Start => self.order_start(host, service, waiter),
            ServiceStep::Restart => {
                self.unit_dies(host, service);
                self.order_start(host, service, waiter);
            }
            ServiceStep::Stop => self.order_stop(host, service, false, waiter),
        }
    }

    fn act_on_service(&mut self, host: usize, service: usize, step: ServiceStep, id: CommandId) {
        self.hosts[host].ordered[service] = self.now;
        if self.shared.is_some() {
            return self.act_on_unit(host, service, step, id);
        }
        match step {
            ServiceStep::Start => {}
            ServiceStep::Restart => self.kill_service(host, service),
            ServiceStep::Stop => {
                self.kill_service(host, service);
                let run = self.session(host);
                return self.outcome(host, run, id, Outcome::Done);
            }
        }
        let (run, boot) = (self.session(host), self.hosts[host].boots);
        let after = self.rng.range(50_000_000, 300_000_000);
        self.after(after, Event::ServiceUp { host, boot, service, run, id });
    }

    /// A service is up.
    pub fn service_up(&mut self, host: usize, service: usize, run: u64, id: CommandId) {
        let h = &mut self.hosts[host];
        if h.broken[service] {
            let why = "it does not start".into();
            return self.outcome(host, run, id, Outcome::Failed(why));
        }
        if h.services[service].is_none() {
            h.service_starts += 1;
            h.services[service] = Some(h.service_starts);
            self.tell_service(host, service);
        }
        self.outcome(host, run, id, Outcome::Done);
    }

    /// A service dies.
    pub fn kill_service(&mut self, host: usize, service: usize) {
        if self.hosts[host].services[service].take().is_some() {
            self.tell_service(host, service);
        }
    }

    fn tell_service(&mut self, host: usize, service: usize) {
        self.hosts[host].hung[service] = false;
        self.forget_probes(host, Subject::Service(ServiceId(service as u16)));
        self.note_starting(host, service);
        let (run, state) = (self.session(host), self.service_state(host, service));
        let service = ServiceId(service as u16);
        let after = self.rng.range(1_000_000, 8_000_000);
        let asked = self.was_requested(host, usize::from(service.0));
        let input = Input::ServiceUnit { service, state, asked };
        self.after(after, Event::Inbox { host, run, input: Box::new(input) });
    }

    /// Somebody starts a service.
    pub(crate) fn serve_again(&mut self, host: usize, service: usize) {
        let h = &mut self.hosts[host];
        if !h.broken[service] && h.services[service].is_none() {
            h.service_starts += 1;
            h.services[service] = Some(h.service_starts);
            self.tell_service(host, service);
        }
    }
}

/// An input in a line; a State by what matters of it.
fn show_input(input: &Input) -> String {
    match input {
        Input::View { version, .. } => format!("view of version {version}"),
        Input::Outcome { id, outcome: Outcome::Swap(swap) } => {
            let (what, version) = match swap {
                SwapOutcome::Won { version, .. } => ("won", *version),
                SwapOutcome::Lost { version, .. } => ("lost", *version),
                SwapOutcome::Unknown => ("unknown", Version(0)),
                SwapOutcome::WentBack => ("went back", Version(0)),
            };
            format!("{id} swap {what}, version {version}")
        }
        Input::Report(report) => format!("report {} of {}: {}", report.n, report.node, report.role),
        Input::Tick
        | Input::Outcome { .. }
        | Input::DatabaseUnit(_)
        | Input::DatabaseProgress(_)
        | Input::ServiceUnit { .. }
        | Input::Health { .. }
        | Input::GateLost
        | Input::ForeignClaim(_)
        | Input::SharedData(_)
        | Input::ForeignRegister { .. }
        | Input::Watchdog(_)
        | Input::Room(_)
        | Input::Stranger { .. }
        | Input::Operator { .. } => format!("{input:?}"),
    }
}

/// The link address of a member's own interface.
fn link_of(node: NodeId) -> [u8; 6] {
    let [high, low] = node.0.to_be_bytes();
    [2, 0, 0, 0, high, low]
}

/// A command in a line.
fn show_command(command: &Command) -> String {
    let id = command.id;
    match &command.action {
        Action::Propose { attempt, expect, bytes, by: _ } => {
            let Ok(state) = release::read(bytes) else { return format!("{id} Propose nonsense") };
            let State { lease, sync, .. } = state;
            let renewal = if lease.by == *attempt { "renewal" } else { "no renewal" };
            let n = attempt.n;
            format!("{id} Propose {n}, expects {expect}, {renewal}: {lease:?} {sync:?}")
        }
        Action::Send(report) => format!("{id} Send report {}: {}", report.n, report.role),
        Action::ReadClock
        | Action::Gate(_)
        | Action::Address(_)
        | Action::Read
        | Action::Database(_)
        | Action::Service { .. }
        | Action::Stack(_)
        | Action::ProbePeer { .. }
        | Action::Fence { .. }
        | Action::Tell(_)
        | Action::Answer { .. } => format!("{id} {:?}", command.action),
    }
}
