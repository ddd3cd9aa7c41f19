//! What a host is: hardware, kernel, systemd, files. What runs on it forgets; what stands here is what it finds again.

use crate::agent::Agent;
use crate::clock::{Clock, Rates};
use crate::database::Database;
use crate::gate::{Count, Gate, Refusal};
use crate::register::Seat;
use crate::rng::Rng;
use crate::shared::{Dog, Voting};
use crate::stack::Stack;
use regent_core::id::{BootId, NodeId, RunId};
use regent_core::observe::UnitState;
use regent_core::state::FORMAT;
use regent_core::time::Time;

/// Names in the log, by place.
pub const NAMES: [&str; 4] = ["a", "b", "w", "c"];
/// The hosts that run resources.
pub const MEMBERS: [usize; 2] = [0, 1];
/// The other one of the two that run resources.
pub fn other_of(member: usize) -> usize {
    MEMBERS[usize::from(member == MEMBERS[0])]
}

/// The witness.
pub const WITNESS: usize = 2;
/// Every host.
pub const HOSTS: [usize; 3] = [0, 1, 2];

/// One host.
pub struct Host {
    /// Its member number.
    pub node: NodeId,
    /// It has power.
    pub powered: bool,
    /// This boot of its kernel.
    pub boot: BootId,
    /// Boots so far: what belongs to an older one is void.
    pub boots: u64,
    /// Paused from outside until then: its clocks stand still.
    pub paused: Option<u64>,
    /// What its clocks read when they last stood still, in this boot (C7).
    pub stilled: Option<Time>,
    /// Its clocks.
    pub clock: Clock,
    /// Its kernel's filter.
    pub gate: Gate,
    /// Proposals sent and won, by which slots are judged.
    pub count: Count,
    /// The VIP is on the interface until then, by its timers.
    pub address: Option<u64>,
    /// Its database.
    pub database: Database,
    /// systemd has its start job under way.
    pub starting: bool,
    /// Its services: the start, if it is up.
    pub services: Vec<Option<u64>>,
    /// Those that cannot be started.
    pub broken: Vec<bool>,
    /// Those that are up and hang.
    pub hung: Vec<bool>,
    /// The database's clients are not let through until then.
    pub blocked: u64,
    /// Its data directory's disk is full until then.
    pub full_data: u64,
    /// It errs until then: no server starts from it.
    pub bad_data: u64,
    /// Its data are gone: no server starts until a copy is in place.
    pub wiped: bool,
    /// Until when its kernel refuses each step of gate and address.
    pub refused: [u64; Refusal::ALL.len()],
    /// Until then steps of the address hang.
    pub address_hangs: u64,
    /// When the newest of them is done: one comes after the other.
    pub address_busy: u64,
    /// Somebody asked systemd to stop them, and they have not ended.
    pub requested: Vec<bool>,
    /// When the core last did something to each.
    pub ordered: Vec<u64>,
    /// Starts of services so far.
    pub service_starts: u64,
    /// The newest format of the State that its release speaks (R7).
    pub speaks: u16,
    /// The agent, while it runs.
    pub agent: Option<Agent>,
    /// Voter and proposer, and what their disk holds.
    pub seat: Seat,
    /// Which register it votes in, and what is to become of that, synced.
    pub pair: Voting,
    /// Every run of the agent (C6), synced.
    pub runs: Vec<RunId>,
    /// The highest version stored (R2), synced.
    pub high: u64,
    /// Its stack on shared data.
    pub stack: Stack,
    /// Its watchdog.
    pub dog: Dog,
    /// The gate was open after the last step, for the log.
    pub was_open: bool,
    /// The shared data were in use after the last step, for the log.
    pub was_using: bool,
}

impl Host {
    /// A host that was just switched on.
    pub fn new(node: NodeId, seat: Seat, services: usize, rates: Rates, rng: &mut Rng) -> Host {
        Host {
            node,
            powered: true,
            boot: BootId(rng.draw()),
            boots: 1,
            paused: None,
            stilled: None,
            clock: Clock::new(rates, rng, 0),
            gate: Gate::default(),
            count: Count::default(),
            address: None,
            database: Database::default(),
            starting: false,
            services: vec![Some(1); services],
            broken: vec![false; services],
            hung: vec![false; services],
            blocked: 0,
            full_data: 0,
            bad_data: 0,
            wiped: false,
            refused: [0; Refusal::ALL.len()],
            address_hangs: 0,
            address_busy: 0,
            requested: vec![false; services],
            ordered: vec![0; services],
            service_starts: 1,
            speaks: FORMAT,
            agent: None,
            pair: Voting::of(&seat.disk),
            seat,
            runs: Vec::new(),
            high: 0,
            stack: Stack::default(),
            dog: Dog::default(),
            was_open: false,
            was_using: false,
        }
    }

    /// The VIP is on its interface.
    pub fn has_address(&self, now: u64) -> bool {
        self.address.is_some_and(|end| self.clock.timer(now) < end)
    }

    /// When a step of the address that could be done then is done: one thread does them, each after the one before.
    pub fn address_turn(&mut self, at: u64) -> u64 {
        self.address_busy = at.max(self.address_busy + 1);
        self.address_busy
    }

    /// It answers for the VIP.
    pub fn answers(&self, now: u64) -> bool {
        self.powered
            && self.paused.is_none()
            && self.has_address(now)
            && self.gate.is_open(&self.clock, now)
    }

    /// C7: its right is counted from before its clocks last stood still. While they do, nothing is counted from later.
    pub fn is_thawed(&self) -> bool {
        let since = self.agent.as_ref().and_then(|agent| agent.brain.right_since());
        let stilled = self.stilled.map(|stilled| stilled.raw);
        stilled.is_some_and(|stilled| since.is_some_and(|since| since.raw <= stilled))
    }

    /// The database's unit as systemd sees it.
    pub fn database_unit(&self) -> UnitState {
        match &self.database.server {
            Some(server) => UnitState::Up { start: server.start },
            None if self.starting => UnitState::Unknown,
            None => UnitState::Down,
        }
    }
}
