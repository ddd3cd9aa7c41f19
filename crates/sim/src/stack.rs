//! The stack on shared data, as it is on one host: units with processes that outlive the agent, links that outlive a
//! boot, the permit in memory, files that somebody holds open, and the shared disk with its claim.
//!
//! ```text
//!  command ─► (time) ─► part ─► part ─► outcome with a survey      a part of a run that died does not happen
//!  start job ─► (time) ─► permit? ─► processes ─► (time) ─► up     systemd's own: it goes on when the agent died
//! ```

use crate::host::{MEMBERS, NAMES};
use crate::late::Hang;
use crate::world::{Event, World};
use regent_core::command::Outcome;
use regent_core::health::{Subject, Weight};
use regent_core::id::{CommandId, Epoch};
use regent_core::invariant::Start;
use regent_core::node::Input;
use regent_core::observe::ServiceId;
use regent_core::stack::{
    Claim, Claimant, DataLost, StackResult, StackStep, StepId, StepState, Survey,
};
use regent_core::time::Span;

const MS: u64 = 1_000_000;
/// No step takes longer: its adapter gives up.
pub const BOUND: u64 = 2_000 * MS;
/// How often a node that uses the shared data reads the claim there.
const LOOK_AT_CLAIM: u64 = 1_000 * MS;
/// The steps of every shared-data world, in order, with the number of the service behind it.
pub const STEPS: [(&str, Option<u16>); 5] = [
    ("hostname", None),
    ("link", None),
    ("database", Some(0)),
    ("xcatd", Some(1)),
    ("dhcp", Some(2)),
];
/// The step that survives a boot, and that an open file keeps from going down.
const LINK: usize = 1;

/// The processes of a unit. All but `Down` use the shared data.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Unit {
    /// None.
    #[default]
    Down,
    /// Started, and not ready.
    Starting,
    /// Ready.
    Up,
    /// Asked to end, and not ended.
    Stopping,
}

/// How the shared storage is seen from a host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Storage {
    /// It answers.
    #[default]
    Whole,
    /// Every read and write fails.
    Fails,
    /// Every read and write hangs, and what waits for one cannot be killed.
    Hangs,
}

/// What is amiss with a step, until it is mended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Amiss {
    /// Nothing.
    #[default]
    Nothing,
    /// It does not come up.
    Fails,
    /// It does not come up, and takes its whole bound for it.
    Hangs,
    /// It does not go down within its bound.
    Stays,
}

/// The stack of one host.
#[derive(Clone, Debug, Default)]
pub struct Stack {
    /// Steps that are no unit: as on an active node.
    made: [bool; STEPS.len()],
    /// The processes of units, by service.
    pub units: [Unit; 3],
    /// Jobs of systemd: what belongs to an older one is void.
    jobs: [u64; 3],
    /// What is amiss with each step.
    pub amiss: [Amiss; STEPS.len()],
    /// The file `permit` is there.
    pub permit: bool,
    /// What this host wrote on the shared data with its permit.
    claimed: Option<Claim>,
    /// Somebody holds a file of the shared data open until then.
    pub files: u64,
    /// The shared storage from here.
    pub storage: Storage,
    /// It hung in this boot, and what the kernel had to write then was not waited for.
    pub unsettled: bool,
    /// The hang of the shared directory, if there was one, and what it still holds back.
    pub hang: Hang,
    /// A unit was enabled, or a link replaced.
    pub drifted: bool,
    /// The stack command under way, of this run of the agent.
    busy: Option<(CommandId, StackStep)>,
    /// What this run's hands saw last.
    seen: Option<Survey>,
}

impl Stack {
    /// Something here uses the shared data, at work or frozen.
    pub fn uses(&self, now: u64) -> bool {
        self.units.iter().any(|unit| *unit != Unit::Down) || self.files > now
    }

    /// Power is gone: processes, open files and everything in memory with it.
    pub fn lose_power(&mut self) {
        let mut made = [false; STEPS.len()];
        made[LINK] = self.made[LINK];
        let (jobs, amiss) = (self.jobs.map(|job| job + 1), self.amiss);
        let (storage, drifted) = (self.storage, self.drifted);
        *self = Stack { made, jobs, amiss, storage, drifted, ..Stack::default() };
    }

    /// The agent's process is gone, and with it the thread that carried out its step.
    pub fn lose_agent(&mut self) {
        self.busy = None;
        self.seen = None;
    }

    fn state(&self, step: usize) -> StepState {
        match STEPS[step].1.map(|service| self.units[usize::from(service)]) {
            None if self.made[step] => StepState::Up,
            None => StepState::Down,
            Some(Unit::Down) => StepState::Down,
            Some(Unit::Up) => StepState::Up,
            Some(Unit::Starting) => StepState::Partly("its unit is starting".into()),
            Some(Unit::Stopping) => StepState::Partly("its unit is stopping".into()),
        }
    }
}

/// The second half of a step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Half {
    /// The claim is on the disk: now it is read back, and the permit made.
    Permit(Claim),
    /// The step is at its end.
    End(StackStep),
    /// It is at its bound, and did not come to its end.
    Late(String),
    /// What the unit's job came to, after its commands.
    Job(Result<(), String>),
}

/// Who hears what became of a unit's job: a command of a run of the agent, or nobody.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waiter {
    /// systemd itself, or somebody at the keyboard.
    Nobody,
    /// A step of the stack.
    Step(u64, CommandId),
    /// A step of a service.
    Service(u64, CommandId),
}

impl World {
    /// The core asks for a step.
    pub(crate) fn stack_step(&mut self, host: usize, id: CommandId, epoch: Epoch, step: StackStep) {
        let run = self.session(host);
        if self.hosts[host].stack.busy.replace((id, step)).is_some() {
            return self.break_rule(host, "a second step of the stack while one is under way");
        }
        if matches!(step, StackStep::Claim { .. } | StackStep::Up { .. }) {
            let node = self.hosts[host].node;
            let (ruled, occupied) = self.truth.used(node, epoch);
            self.starts.push(Start { node, ruled, occupied });
        }
        if step != StackStep::Survey {
            self.strike_while_hot();
        }
        let storage = self.hosts[host].stack.storage;
        match step {
            StackStep::Claim { epoch, over } => {
                if storage != Storage::Whole {
                    return self.fail_on_storage(host, run, id);
                }
                let cluster = self.hosts[host].pair.cluster;
                let claim = Claim { cluster, epoch, node: self.hosts[host].node, clear: false };
                if let Some(there) =
                    self.claim.filter(|c| c.is_foreign(&claim) && over != Some(c.cluster))
                {
                    let result = StackResult::Foreign(format!("the claim there is {there:?}"));
                    return self.end_stack_step(host, run, id, result);
                }
                let after = self.rng.range(MS, 20 * MS);
                self.half_later(after, host, run, id, Half::Permit(claim));
            }
            StackStep::Up { step } => self.bring_up(host, run, id, step),
            StackStep::Down { step } => self.take_down(host, run, id, step),
            StackStep::Unclaim { .. } if storage != Storage::Whole => {
                self.fail_on_storage(host, run, id);
            }
            StackStep::Unclaim { .. } if self.hosts[host].stack.unsettled => {
                // It waits until everything is written.
                let quick = self.rng.range(2 * MS, 40 * MS);
                let after = self.unwritten(host).map_or(quick, |wait| quick.max(wait));
                self.half_later(after, host, run, id, Half::End(step));
            }
            StackStep::Survey | StackStep::Unclaim { .. } | StackStep::Repair => {
                let quick = self.rng.range(2 * MS, 40 * MS);
                let after = if storage == Storage::Hangs { BOUND / 2 } else { quick };
                self.half_later(after, host, run, id, Half::End(step));
            }
            StackStep::Revoke => {
                let after = self.rng.range(200_000, 5 * MS);
                self.half_later(after, host, run, id, Half::End(step));
            }
        }
    }

    fn half_later(&mut self, after: u64, host: usize, run: u64, id: CommandId, half: Half) {
        let half = Box::new(half);
        self.after(after, Event::Half { host, run, id, half });
    }

    fn fail_on_storage(&mut self, host: usize, run: u64, id: CommandId) {
        let hangs = self.hosts[host].stack.storage == Storage::Hangs;
        let after = if hangs { BOUND } else { self.rng.range(MS, 10 * MS) };
        let why = String::from("the shared data do not answer");
        self.half_later(after, host, run, id, Half::Late(why));
    }

    /// A part of a step happens, if the run that asked for it lives.
    pub fn stack_half(&mut self, host: usize, run: u64, id: CommandId, half: Half) {
        let busy = self.hosts[host].stack.busy.map(|(busy, _)| busy);
        if self.session(host) != run || busy != Some(id) {
            return;
        }
        let result = match half {
            Half::Permit(claim) => {
                self.claim = Some(claim);
                self.begun[host] = self.now;
                let stack = &mut self.hosts[host].stack;
                stack.claimed = Some(claim);
                stack.permit = true;
                self.watch_claim(host);
                StackResult::Done
            }
            Half::End(step) => {
                self.end_half(host, step);
                StackResult::Done
            }
            Half::Late(why) | Half::Job(Err(why)) => StackResult::Failed(why),
            Half::Job(Ok(())) => StackResult::Done,
        };
        self.end_stack_step(host, run, id, result);
        self.lie_in_wait(host);
    }

    fn end_half(&mut self, host: usize, step: StackStep) {
        let stack = &mut self.hosts[host].stack;
        match step {
            StackStep::Revoke => {
                stack.permit = false;
                stack.claimed = None;
            }
            StackStep::Up { step } => stack.made[usize::from(step.0)] = true,
            StackStep::Down { step } => stack.made[usize::from(step.0)] = false,
            StackStep::Unclaim { epoch } => {
                stack.unsettled = false;
                let own = (self.hosts[host].pair.cluster, epoch, self.hosts[host].node);
                if let Some(claim) = &mut self.claim
                    && (claim.cluster, claim.epoch, claim.node) == own
                {
                    claim.clear = true;
                }
            }
            StackStep::Repair => stack.drifted = false,
            StackStep::Survey | StackStep::Claim { .. } => {}
        }
    }

    fn end_stack_step(&mut self, host: usize, run: u64, id: CommandId, result: StackResult) {
        let done = self.hosts[host].stack.busy.take().map(|(_, step)| step);
        let survey = self.survey_after(host, done);
        self.hosts[host].stack.seen = Some(survey.clone());
        self.outcome(host, run, id, Outcome::Stack { result, survey: Some(survey) });
    }

    /// As the real hands look: in the middle of a way up or down only at what the step could change; when everything
    /// is up or everything is down, at everything.
    fn survey_after(&self, host: usize, done: Option<StackStep>) -> Survey {
        let whole = self.survey(host);
        let (Some(StackStep::Up { step } | StackStep::Down { step }), Some(seen)) =
            (done, &self.hosts[host].stack.seen)
        else {
            return whole;
        };
        let mut known = seen.clone();
        let place = usize::from(step.0);
        known.steps[place].clone_from(&whole.steps[place]);
        let is_end = |end: StepState| known.steps.iter().all(|state| *state == end);
        if is_end(StepState::Up) || is_end(StepState::Down) {
            return whole;
        }
        known.permit = whole.permit;
        known.drift.clear();
        known
    }

    /// What is really there.
    pub fn survey(&self, host: usize) -> Survey {
        let stack = &self.hosts[host].stack;
        let whole = stack.storage == Storage::Whole;
        let problem = || String::from("the shared data do not answer");
        let replaced = || String::from("/etc/xcat is a directory, and no link");
        let problems = [(!whole).then(problem), stack.drifted.then(replaced)];
        Survey {
            steps: (0..STEPS.len()).map(|step| stack.state(step)).collect(),
            permit: stack.permit,
            problems: problems.into_iter().flatten().collect(),
            drift: stack.drifted.then(replaced).into_iter().collect(),
            claim: self.claim.filter(|_| whole),
            claimant: self.claim.filter(|_| whole).map(|claim| Claimant {
                name: self
                    .spec
                    .nodes
                    .iter()
                    .find(|(node, _)| *node == claim.node)
                    .map_or_else(String::new, |(_, name)| name.clone()),
                since_ms: 0,
            }),
            unsettled: stack.unsettled,
        }
    }

    fn bring_up(&mut self, host: usize, run: u64, id: CommandId, step: StepId) {
        let at = usize::from(step.0);
        let stack = &self.hosts[host].stack;
        if let Some(service) = STEPS[at].1 {
            return self.order_start(host, usize::from(service), Waiter::Step(run, id));
        }
        match stack.amiss[at] {
            Amiss::Nothing | Amiss::Stays => {
                let after = self.rng.range(2 * MS, 60 * MS);
                self.half_later(after, host, run, id, Half::End(StackStep::Up { step }));
            }
            Amiss::Fails | Amiss::Hangs => {
                let hangs = stack.amiss[at] == Amiss::Hangs;
                let after = if hangs { BOUND } else { self.rng.range(MS, 50 * MS) };
                let why = format!("{} does not come up", STEPS[at].0);
                self.half_later(after, host, run, id, Half::Late(why));
            }
        }
    }

    fn take_down(&mut self, host: usize, run: u64, id: CommandId, step: StepId) {
        let at = usize::from(step.0);
        let stack = &self.hosts[host].stack;
        let stays = stack.amiss[at] == Amiss::Stays;
        if let Some(service) = STEPS[at].1 {
            let service = usize::from(service);
            let stuck = stays || stack.storage == Storage::Hangs;
            if stack.units[service] == Unit::Down {
                self.hosts[host].stack.jobs[service] += 1;
                return self.end_stack_step(host, run, id, StackResult::Done);
            }
            return self.order_stop(host, service, stuck, Waiter::Step(run, id));
        }
        let busy = at == LINK && stack.files > self.now;
        if stays || busy {
            let why = format!("{} is in use", STEPS[at].0);
            return self.half_later(BOUND, host, run, id, Half::Late(why));
        }
        let after = self.rng.range(2 * MS, 60 * MS);
        self.half_later(after, host, run, id, Half::End(StackStep::Down { step }));
    }

    // ---- systemd ----

    /// Somebody orders a start: systemd looks at the start condition when the job's turn comes.
    pub fn order_start(&mut self, host: usize, service: usize, waiter: Waiter) {
        let (usual, long) = (self.rng.range(MS, 20 * MS), self.rng.range(20 * MS, 700 * MS));
        let after = if self.rng.chance(30_000) { long } else { usual };
        let boot = self.hosts[host].boots;
        let job = self.next_job(host, service);
        self.after(after, Event::UnitTurn { host, boot, service, job, waiter });
    }

    fn next_job(&mut self, host: usize, service: usize) -> u64 {
        let job = &mut self.hosts[host].stack.jobs[service];
        *job += 1;
        *job
    }

    fn is_job(&self, host: usize, boot: u64, service: usize, job: u64) -> bool {
        let h = &self.hosts[host];
        h.powered && h.boots == boot && h.stack.jobs[service] == job
    }

    fn tell_waiter(&mut self, after: u64, host: usize, waiter: Waiter, result: Result<(), String>) {
        match waiter {
            Waiter::Nobody => {}
            Waiter::Step(run, id) => self.half_later(after, host, run, id, Half::Job(result)),
            Waiter::Service(run, id) => {
                let outcome = result.map_or_else(Outcome::Failed, |()| Outcome::Done);
                self.outcome(host, run, id, outcome);
            }
        }
    }

    /// The job's turn has come: without the permit nothing is started.
    pub fn unit_turn(&mut self, host: usize, boot: u64, service: usize, job: u64, waiter: Waiter) {
        if !self.is_job(host, boot, service, job) {
            return self.tell_waiter(0, host, waiter, Err("its job was cancelled".into()));
        }
        let stack = &self.hosts[host].stack;
        if stack.units[service] == Unit::Up {
            return self.tell_waiter(0, host, waiter, Ok(()));
        }
        if !stack.permit {
            let why = String::from("its start condition was not met: no permit");
            return self.tell_waiter(0, host, waiter, Err(why));
        }
        let step = step_of(service);
        let amiss = stack.amiss[step];
        self.hosts[host].stack.units[service] = Unit::Starting;
        let fails = amiss == Amiss::Fails || stack_is_cut(self, host);
        let hangs = amiss == Amiss::Hangs;
        let after = if hangs { BOUND } else { self.rng.range(40 * MS, 300 * MS) };
        let good = !fails && !hangs;
        self.after(after, Event::UnitReady { host, boot, service, job, good, waiter });
    }

    /// The unit is ready, or will never be.
    pub fn unit_ready(
        &mut self,
        host: usize,
        boot: u64,
        service: usize,
        job: u64,
        good: bool,
        waiter: Waiter,
    ) {
        if !self.is_job(host, boot, service, job) {
            return self.tell_waiter(0, host, waiter, Err("its job was cancelled".into()));
        }
        if good {
            self.set_unit(host, service, Unit::Up);
            let after = self.rng.range(MS, 30 * MS);
            return self.tell_waiter(after, host, waiter, Ok(()));
        }
        // What hung may be left as it is for a step to end; where none waits, systemd ends it.
        let left = self.rng.coin() && !matches!(waiter, Waiter::Nobody);
        if !left {
            self.set_unit(host, service, Unit::Down);
        }
        let why = format!("{} does not come up", STEPS[step_of(service)].0);
        self.tell_waiter(0, host, waiter, Err(why));
    }

    /// Somebody orders a stop; what is stuck outlives its bound.
    pub fn order_stop(&mut self, host: usize, service: usize, stuck: bool, waiter: Waiter) {
        let boot = self.hosts[host].boots;
        let job = self.next_job(host, service);
        self.set_unit(host, service, Unit::Stopping);
        let after = if stuck { BOUND } else { self.rng.range(5 * MS, 250 * MS) };
        self.after(after, Event::UnitGone { host, boot, service, job, waiter });
    }

    /// The unit has ended, unless something in it cannot be killed.
    pub fn unit_gone(&mut self, host: usize, boot: u64, service: usize, job: u64, waiter: Waiter) {
        if !self.is_job(host, boot, service, job) {
            return self.tell_waiter(0, host, waiter, Err("its job was cancelled".into()));
        }
        let stack = &self.hosts[host].stack;
        let step = step_of(service);
        if stack.amiss[step] == Amiss::Stays || stack.storage == Storage::Hangs {
            if matches!(waiter, Waiter::Nobody) {
                // No step follows it up: the unit goes down once the kernel lets its processes end.
                return self.after(BOUND, Event::UnitGone { host, boot, service, job, waiter });
            }
            let why = format!("processes of {} are left", STEPS[step].0);
            return self.tell_waiter(0, host, waiter, Err(why));
        }
        self.set_unit(host, service, Unit::Down);
        self.tell_waiter(0, host, waiter, Ok(()));
    }

    /// A unit dies by itself. systemd may start it again: not without the permit.
    pub fn unit_dies(&mut self, host: usize, service: usize) {
        if self.hosts[host].stack.units[service] == Unit::Down {
            return;
        }
        self.next_job(host, service);
        self.set_unit(host, service, Unit::Down);
        if self.rng.coin() {
            self.order_start(host, service, Waiter::Nobody);
        }
    }

    fn set_unit(&mut self, host: usize, service: usize, unit: Unit) {
        let h = &mut self.hosts[host];
        h.stack.units[service] = unit;
        let was = h.services[service];
        match unit {
            Unit::Up => {
                h.service_starts += 1;
                h.services[service] = Some(h.service_starts);
            }
            Unit::Down => h.services[service] = None,
            Unit::Starting | Unit::Stopping => {}
        }
        let step = STEPS[step_of(service)].0;
        match unit {
            Unit::Up => self.tell(host, "unit", || format!("{step} is up")),
            Unit::Down => self.tell(host, "unit", || format!("{step} is down")),
            Unit::Starting | Unit::Stopping => {}
        }
        if self.hosts[host].services[service] != was {
            self.hosts[host].hung[service] = false;
            self.forget_probes(host, Subject::Service(ServiceId(service as u16)));
            let (run, state) = (self.session(host), self.service_state(host, service));
            let asked = self.was_requested(host, service);
            let input = Input::ServiceUnit { service: ServiceId(service as u16), state, asked };
            let after = self.rng.range(MS, 8 * MS);
            self.after(after, Event::Inbox { host, run, input: Box::new(input) });
        }
    }

    // ---- the claim ----

    fn watch_claim(&mut self, host: usize) {
        let run = self.session(host);
        self.after(LOOK_AT_CLAIM, Event::LookAtClaim { host, run });
    }

    /// A node that uses the shared data looks whether the claim there is still its own.
    pub fn look_at_claim(&mut self, host: usize, run: u64) {
        let stack = &self.hosts[host].stack;
        let Some(own) = stack.claimed.filter(|_| self.session(host) == run) else { return };
        if stack.storage == Storage::Whole
            && let Some(there) = self.claim.filter(|there| there.is_foreign(&own))
        {
            let what = format!("epoch {} of {}", there.epoch, there.node);
            self.input(host, Input::ForeignClaim(what));
        }
        self.watch_claim(host);
    }

    /// The agent looks whether the shared storage answers, and its core hears of a change.
    pub fn look_at_data(&mut self, host: usize) {
        let mut storage = self.hosts[host].stack.storage;
        let unwritten = self.unwritten(host);
        let Some(agent) = self.hosts[host].agent.as_mut() else { return };
        if agent.storage == Storage::Hangs && unwritten.is_some() {
            // The look that was under way ends once everything is written.
            storage = Storage::Hangs;
        }
        let changed = std::mem::replace(&mut agent.storage, storage) != storage;
        if storage == Storage::Whole && unwritten.is_none() {
            self.hosts[host].stack.unsettled = false;
        }
        if !changed {
            return;
        }
        let lost = |hangs| {
            let why = String::from("the shared data do not answer");
            Some(DataLost { hangs, why, age: Span::ZERO })
        };
        let lost = match storage {
            Storage::Whole => None,
            Storage::Fails => lost(false),
            Storage::Hangs => {
                self.hosts[host].stack.unsettled = true;
                lost(true)
            }
        };
        self.input(host, Input::SharedData(lost));
    }

    /// Every vital step is up.
    pub fn stack_is_up(&self, host: usize) -> bool {
        let stack = &self.hosts[host].stack;
        let Some(spec) = &self.spec.stack else { return false };
        let mut vital = spec.steps.iter().enumerate().filter(|(_, s)| s.weight == Weight::Vital);
        vital.all(|(step, _)| stack.state(step) == StepState::Up)
    }

    /// Tells which hosts use the shared data, when that changed.
    pub fn note_uses(&mut self) {
        for host in MEMBERS {
            let uses = self.hosts[host].stack.uses(self.now);
            if uses != self.hosts[host].was_using {
                self.hosts[host].was_using = uses;
                if uses {
                    self.begun[host] = self.now;
                }
                self.uses += u64::from(uses);
                let now = self.now;
                let text =
                    if uses { "the shared data are used" } else { "nothing uses the shared data" };
                self.log.tell(now, NAMES[host], "stack", || text.into());
            }
        }
    }
}

/// Processes that read nothing do not start.
fn stack_is_cut(world: &World, host: usize) -> bool {
    world.hosts[host].stack.storage != Storage::Whole
}

fn step_of(service: usize) -> usize {
    STEPS.iter().position(|(_, s)| *s == Some(service as u16)).unwrap_or_default()
}

/// What a claim says to a node with its own.
trait Foreign {
    fn is_foreign(&self, own: &Claim) -> bool;
}

impl Foreign for Claim {
    /// Another cluster's, or of a newer grant.
    fn is_foreign(&self, own: &Claim) -> bool {
        let strange = self.cluster != own.cluster && !self.clear;
        strange || (self.cluster == own.cluster && self.epoch > own.epoch)
    }
}
