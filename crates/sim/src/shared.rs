//! The world of the shared-data topology: which hosts vote, who decides, what can be proven about a silent host, and
//! what people ask for. No host has a database of its own there; what a host has is in [`crate::stack`].

mod deed;
mod run;
mod voters;

pub use deed::{Deed, KINDS, NAMED, draw_plan, draw_shared};
pub use run::run_shared;
pub(crate) use voters::voters_of;
pub use voters::{Belief, Errand, Voting};

use crate::fault::Fault;
use crate::host::{MEMBERS, NAMES, other_of};
use crate::log::Log;
use crate::rng::Rng;
use crate::stack::{STEPS, Storage};
use crate::world::{Event, TIMING, World};
use regent_core::command::{Fenced, Request, Word};
use regent_core::health::{Counts, ProbeSpec, Subject, Weight};
use regent_core::id::{ClusterId, CommandId, NodeId, RequestId};
use regent_core::node::Input;
use regent_core::observe::ServiceId;
use regent_core::spec::{Pace, Policy, ServiceSpec, Spec};
use regent_core::stack::{Failover, StackSpec, StepSpec};
use regent_core::state::{Data, Timing};
use regent_core::time::Span;

const MS: u64 = 1_000_000;
/// A right that ends only when it is released: ten years.
const FOR_EVER: Span = Span::millis(10 * 365 * 86_400_000);
/// How long a watchdog's own clock may be off, in parts per million.
const DOG_PPM: u64 = 4_900;

/// Which shared-data world a run is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Setting {
    /// Operators decide alone.
    pub by_hand: bool,
    /// Each node can fence the other one.
    pub fenced: bool,
    /// Each host has a watchdog of this length.
    pub watchdog: Option<Span>,
    /// Hosts are guests that can be frozen, each with its watchdog: it is fed, and never named (section 6 c).
    pub frozen: bool,
    /// Two voters and no witness: rights last until they are released.
    pub pair: bool,
}

impl Setting {
    /// With a witness, by itself, and with nothing that proves a silent host clear.
    pub const PLAIN: Setting =
        Setting { by_hand: false, fenced: false, watchdog: None, frozen: false, pair: false };

    /// Any that can be configured.
    pub fn draw(rng: &mut Rng) -> Setting {
        let pair = rng.chance(150_000);
        let by_hand = pair || rng.chance(300_000);
        let watchdog = rng.chance(450_000).then(|| Span(rng.range(600, 2_500) * MS));
        let frozen = watchdog.is_some() && rng.chance(250_000);
        Setting { by_hand, fenced: rng.chance(500_000), watchdog, frozen, pair }
    }

    /// A watchdog that proves something.
    pub fn proving_watchdog(&self) -> Option<Span> {
        self.watchdog.filter(|_| !self.frozen)
    }

    /// How long rights last.
    pub fn timing(&self) -> Timing {
        if self.pair { Timing { ttl: FOR_EVER, ..TIMING } } else { TIMING }
    }

    /// What every node's file says.
    pub fn spec(&self, base: &Spec) -> Spec {
        let mut spec = base.clone();
        if let Some(stack) = &mut spec.stack {
            stack.failover = if self.by_hand { Failover::ByHand } else { Failover::Automatic };
            stack.pair = self.pair;
            stack.fenced = self.fenced;
        }
        spec
    }
}

/// What every node's file says in the shared-data topology, before a [`Setting`].
pub fn shared_spec() -> Spec {
    let step = |(name, service): &(&str, Option<u16>)| StepSpec {
        name: (*name).into(),
        weight: if *name == "dhcp" { Weight::Degraded } else { Weight::Vital },
        service: service.map(ServiceId),
    };
    let service = |name: &str, weight| ServiceSpec { weight, ..ServiceSpec::vital(name) };
    let probe = |name: &str, id, weight| ProbeSpec {
        name: name.into(),
        subject: Subject::Service(ServiceId(id)),
        weight,
        counts: Counts::Always,
        rise: 2,
        fall: 3,
        vip_link: false,
    };
    Spec {
        stack: Some(StackSpec {
            steps: STEPS.iter().map(step).collect(),
            failover: Failover::Automatic,
            pair: false,
            fenced: false,
            settle: Span::millis(500),
            isolation: Span::millis(800),
            patience: Span::millis(1_500),
        }),
        nodes: vec![(NodeId(1), "a".into()), (NodeId(2), "b".into())],
        services: vec![
            service("database", Weight::Vital),
            service("xcatd", Weight::Vital),
            service("dhcp", Weight::Degraded),
        ],
        probes: vec![
            probe("database-sql", 0, Weight::Vital),
            probe("xcatd-port", 1, Weight::Vital),
            probe("dhcp-port", 2, Weight::Degraded),
        ],
        policy: Policy { fence_silent: false, ..Policy::default() },
        pace: Pace::default(),
        #[cfg(feature = "planted")]
        planted: None,
    }
}

/// What a device does, and what it says: the two need not agree, but a confirmation is never a lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Device {
    /// Off, and says so.
    Confirms,
    /// Off, and says so much later.
    ConfirmsLate,
    /// On, and says so.
    Refuses,
    /// On, and says nothing.
    Silent,
    /// Off, and says nothing.
    ActsSilently,
    /// Says nothing, and acts much later.
    ActsLate,
}

/// A false word that was not answered yet.
#[derive(Clone, Copy, Debug)]
pub struct Lie {
    /// The host that is said to be off.
    about: usize,
    /// Where it was said.
    teller: usize,
    /// The run that was told.
    run: u64,
    /// The request.
    pub request: RequestId,
}

/// The watchdog of a host.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dog {
    /// When it was last fed, while it runs.
    pub fed: Option<u64>,
    /// This run of the agent has the device open.
    held: bool,
}

impl World {
    /// A shared-data world, in which nobody is active.
    pub fn new_shared(
        rng: Rng,
        maker: crate::agent::Maker,
        base: &Spec,
        setting: Setting,
        log: Log,
    ) -> World {
        World::build(rng, maker, setting.spec(base), Some(setting), log)
    }

    /// Everything that shares data in this world.
    pub fn setting(&self) -> Setting {
        self.shared.unwrap_or(Setting::PLAIN)
    }

    /// A new value of the register is decided.
    pub(crate) fn note_decided_shared(&mut self) {
        let Some(before) = &self.truth.before else { return };
        let (old, new) = ((before.lease.epoch, before.data), &self.truth.state);
        if old == (new.lease.epoch, new.data) && before.intent == new.intent {
            return;
        }
        let lease = new.lease;
        let name = |node: NodeId| NAMES[usize::from(node.0) - 1];
        let data = match new.data {
            Data::Clear => String::from("data clear"),
            Data::InUse { node, .. } => format!("data in use by {}", name(node)),
        };
        let stopped = if new.intent.stopped.is_some() { ", stopped" } else { "" };
        let holder = name(lease.holder);
        let text = format!("epoch {} of {holder}, {:?}; {data}{stopped}", lease.epoch, lease.phase);
        let now = self.now;
        self.log.tell(now, "-", "register", || text);
        self.strike_while_hot();
    }

    // ---- fences ----

    /// A fence of the shared-data world. Once faults are over it works.
    pub fn fence_shared(&mut self, host: usize, id: CommandId, node: NodeId) {
        use Device::{ActsLate, ActsSilently, Confirms, ConfirmsLate, Refuses, Silent};
        let (run, target) = (self.session(host), usize::from(node.0) - 1);
        let device = match self.device {
            Some(device) => device,
            None if self.chaos.over => Confirms,
            None => self.rng.pick(&[
                Confirms,
                Confirms,
                ConfirmsLate,
                Refuses,
                Silent,
                ActsSilently,
                ActsLate,
            ]),
        };
        let soon = self.rng.range(50 * MS, 900 * MS);
        let late = soon + self.rng.range(3_000 * MS, 12_000 * MS);
        let (acts, says, outcome) = match device {
            Confirms => (Some(soon), soon + 50 * MS, confirmed()),
            ConfirmsLate => (Some(soon), late, confirmed()),
            Refuses => (None, soon, Fenced::Failed("the device refuses".into())),
            Silent => (None, soon, Fenced::Unknown("the device does not answer".into())),
            ActsSilently => (Some(soon), soon + MS, Fenced::Unknown("the answer was lost".into())),
            ActsLate => (Some(late), soon, Fenced::Unknown("the device does not answer".into())),
        };
        if let Some(after) = acts {
            self.after(after, Event::Power { host: target, on: false });
            let again = after + self.rng.range(300 * MS, 5_000 * MS);
            self.after(again, Event::Power { host: target, on: true });
        }
        self.after(says, Event::Fenced { host, run, id, outcome });
    }

    /// A device switches a host, whatever else goes on.
    pub fn power(&mut self, host: usize, on: bool) {
        // One node is gone for good: it gets no power any more, and the other one loses none.
        if self.gone.is_some_and(|gone| (gone == host) == on) {
            return;
        }
        if self.hosts[host].powered != on {
            let text = if on { "power on" } else { "power off, by its device" };
            self.tell(host, "device", || text.into());
        }
        if on { self.boot(host) } else { self.power_off(host) }
    }

    // ---- the watchdog ----

    /// The agent handled something: it feeds its watchdog if it may. It opens the device, which starts it, only when
    /// it may feed it.
    pub fn feed(&mut self, host: usize) {
        let setting = self.setting();
        let Some(length) = setting.watchdog else { return };
        let time = self.hosts[host].clock.read(self.now);
        if !self.hosts[host].agent.as_ref().is_some_and(|agent| agent.brain.may_feed(time)) {
            return;
        }
        #[cfg(feature = "planted")]
        if self.spec.planted == Some(regent_core::planted::Planted::ArmedLate)
            && !self.stack_is_up(host)
        {
            if let Some(agent) = &mut self.hosts[host].agent {
                agent.brain.handle(Input::Watchdog(length + length), time);
            }
            return;
        }
        let now = self.now;
        let dog = &mut self.hosts[host].dog;
        let armed = !std::mem::replace(&mut dog.held, true) && !setting.frozen;
        if dog.fed.replace(now).is_none() {
            let boot = self.hosts[host].boots;
            self.after(length.0, Event::Bite { host, boot });
        }
        if armed && let Some(agent) = &mut self.hosts[host].agent {
            // The kernel feeds it once more when the process that holds it dies.
            agent.brain.handle(Input::Watchdog(length + length), time);
        }
    }

    /// The process that held the device is gone: the kernel leaves it running, and feeds it this once.
    pub fn drop_watchdog(&mut self, host: usize) {
        let now = self.now;
        let dog = &mut self.hosts[host].dog;
        if std::mem::take(&mut dog.held) && dog.fed.is_some() {
            dog.fed = Some(now);
        }
    }

    /// The watchdog's time may be over. It is a piece of hardware: a host that hangs does not stop it.
    pub fn bite(&mut self, host: usize, boot: u64) {
        let Some(length) = self.setting().watchdog else { return };
        let Some(fed) = self.hosts[host].dog.fed.filter(|_| self.hosts[host].boots == boot) else {
            return;
        };
        // A frozen guest's is frozen with it.
        if let Some(until) = self.hosts[host].paused.filter(|_| self.hosts[host].clock.is_stopped())
        {
            return self.at(until + 1, Event::Bite { host, boot });
        }
        let is_slow = self.hosts[host].boots.is_multiple_of(2);
        let slow = if is_slow { length.0 * DOG_PPM / 1_000_000 } else { 0 };
        let end = fed + length.0 + slow;
        if self.now < end {
            return self.at(end, Event::Bite { host, boot });
        }
        self.tell(host, "watchdog", || String::from("the host is reset"));
        self.power_off(host);
        let after = self.rng.range(400 * MS, 4_000 * MS);
        self.after(after, Event::Power { host, on: true });
    }

    // ---- people ----

    /// An operator makes a node active. The word that the other one is off is given only if it is true.
    pub fn ask_activate(&mut self, host: usize, word: bool) {
        let other = other_of(host);
        let true_word = word && !self.hosts[other].powered;
        match true_word {
            true => self.ask_activate_off(host, other),
            false => self.request(host, Request::Activate { word: None }),
        }
    }

    /// The same with a word that may be a lie.
    pub fn ask_activate_off(&mut self, host: usize, off: usize) {
        let word = Word::IsOff(self.hosts[off].node);
        if !self.is_alone(host) {
            return self.request(host, Request::Activate { word: Some(word) });
        }
        // Of two voters one is off, as the operator says: there is nobody left to ask.
        self.ask_belief(host, off, word);
    }

    /// A false word: an operator takes the other host for off because its agent says nothing. Told only while that host
    /// would answer, and until it is answered nothing makes the host silent: what nobody can see is no mistake of ours.
    pub fn lie(&mut self, teller: usize) {
        let about = other_of(teller);
        let well = |host: usize| self.hosts[host].powered && self.hosts[host].paused.is_none();
        if !well(teller) || !well(about) || !self.net.is_whole(teller, about) {
            return;
        }
        self.ask_activate_off(teller, about);
        let (run, request) = (self.session(teller), RequestId(self.chaos.requests));
        self.lie = Some(Lie { about, teller, run, request });
    }

    /// Would this fault make a host silent about which an operator just told a lie?
    pub fn hides_a_lie(&self, fault: &Fault) -> bool {
        let lie = self.lie.filter(|lie| self.session(lie.teller) == lie.run);
        let Some(Lie { about, teller, .. }) = lie else { return false };
        let stops = matches!(
            *fault,
            Fault::Pause(host, _) | Fault::Shared(Deed::Hang(host, _)) if host == about
        );
        let cuts = matches!(*fault, Fault::Cut(from, to)
            if [(about, teller), (teller, about)].contains(&(from, to)));
        stops || cuts
    }

    /// The other member greets this one, by its certificate and by another register.
    pub fn greet_strangely(&mut self, host: usize) {
        let node = self.hosts[other_of(host)].node;
        let cluster = self.stranger();
        self.input(host, Input::ForeignRegister { node, cluster });
    }

    /// Faults are over: an operator mends what drifted, and sees to it that somebody serves.
    pub fn operate(&mut self, host: usize) {
        self.see_to_both(host);
        if self.hosts[host].stack.drifted {
            self.request(host, Request::Repair);
        }
        let stopped = self.truth.state.intent.stopped.is_some();
        let serves = MEMBERS.iter().any(|host| self.serves_shared(*host));
        let in_use = match self.truth.state.data {
            Data::Clear => None,
            Data::InUse { node, .. } => Some(usize::from(node.0) - 1),
        };
        // Where nodes decide by themselves a person acts only after one that asked for a stop.
        let by_hand = self.setting().by_hand || self.stop_asked;
        if serves || !(stopped || by_hand) || self.gone == Some(host) {
            return;
        }
        // Whoever uses the data is asked first, and the other one every now and then.
        if in_use.is_some_and(|user| user != host) && self.rng.chance(700_000) {
            return;
        }
        self.request(host, Request::Activate { word: None });
    }

    /// It answers for the VIP with its vital steps up.
    pub fn serves_shared(&self, host: usize) -> bool {
        self.hosts[host].answers(self.now) && self.stack_is_up(host)
    }

    /// A cluster that is none of ours.
    pub(crate) fn stranger(&self) -> ClusterId {
        ClusterId(self.cluster.0 ^ 1)
    }

    /// Somebody writes a claim of another cluster on the shared data.
    pub fn claim_by_a_stranger(&mut self) {
        let cluster = self.stranger();
        let claim = regent_core::stack::Claim {
            cluster,
            epoch: regent_core::id::Epoch(1),
            node: NodeId(1),
            clear: false,
        };
        self.claim = Some(claim);
    }

    /// The end of all faults in what is shared.
    pub fn heal_shared(&mut self) {
        let now = self.now;
        self.device = None;
        for host in MEMBERS {
            self.end_hang(host, Storage::Whole);
            let stack = &mut self.hosts[host].stack;
            stack.amiss = Default::default();
            stack.files = stack.files.min(now);
            for tries in 0..8u64 {
                let after = (1 + 4 * tries + 2 * host as u64) * 1_000 * MS;
                self.after(after, Event::Restart { host });
            }
        }
        // A claim of a stranger is taken away by whoever put it there.
        self.claim = self.claim.filter(|claim| claim.cluster != self.stranger());
    }
}

fn confirmed() -> Fenced {
    Fenced::Confirmed("its power is off".into())
}
