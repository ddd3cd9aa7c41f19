//! Death between two steps, on purpose: the agent, the database or the host dies after the n-th step of a move, for
//! every n. A state that only lives from one step to the next is met by chance once in ten thousand seeds, and here
//! always.
//!
//! ```text
//!  command is given ─► death?      a part of it is done ─► death?      it is answered ─► the next command
//! ```

use crate::agent::core;
use crate::fault::Fault;
use crate::host::MEMBERS;
use crate::log::Log;
use crate::rng::Rng;
use crate::run::until_well;
use crate::shared::Setting;
use crate::world::{Event, World};
use regent_core::command::{Action, Request};
use regent_core::invariant::Violation;
use regent_core::spec::Spec;
use regent_core::state::DataCopy;

const SECOND: u64 = 1_000_000_000;
/// A move has come to its end by then, or does not.
const MOVE: u64 = 5 * SECOND;
/// Without power for so long.
const OFF: u64 = SECOND;
/// An heir that died serves within this.
const ALONE: u64 = 15 * SECOND;
/// After a death everything is well again within this.
const HEALING: u64 = 60 * SECOND;
/// More steps than this no move has.
pub const STEPS_MAX: u64 = 2_000;

/// What dies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Death {
    /// The agent.
    Agent,
    /// The server of the database; with shared data its unit.
    Database,
    /// The host loses power, and has it again a second later.
    Host,
}

/// Every kind of death.
pub const DEATHS: [Death; 3] = [Death::Agent, Death::Database, Death::Host];

/// What is to die, and after how many more steps of its host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ambush {
    /// Where.
    pub host: usize,
    /// Steps until then.
    pub left: u64,
    /// What.
    pub death: Death,
}

/// Something that takes many steps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Move {
    /// The active node loses power, and the standby takes over.
    Takeover,
    /// An operator moves the role.
    Switchover,
    /// A node that was off comes back.
    Rejoin,
    /// A node of the shared-data world is activated.
    Activation,
    /// The role is moved there.
    PlannedMove,
    /// The active node is asked to stop there.
    Deactivation,
}

/// Moves of the replicated world.
pub const MOVES: [Move; 3] = [Move::Takeover, Move::Switchover, Move::Rejoin];
/// Moves of the shared-data world.
pub const SHARED_MOVES: [Move; 3] = [Move::Activation, Move::PlannedMove, Move::Deactivation];

/// A death that a move did not survive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lost {
    /// In which.
    pub moving: Move,
    /// Who died when.
    pub ambush: Ambush,
    /// What did not hold.
    pub violation: Violation,
}

/// Lets a move meet each death on this host after each of its steps, one after the other. Answers how many there
/// were, and those that the cluster did not get over.
pub fn walk(spec: &Spec, moving: Move, host: usize, death: Death, stride: u64) -> (u64, Vec<Lost>) {
    let mut lost = Vec::new();
    for place in 0..STEPS_MAX {
        let ambush = Ambush { host, left: place * stride, death };
        let (struck, violation, _) = play(spec, moving, ambush, Log::quiet());
        lost.extend(violation.map(|violation| Lost { moving, ambush, violation }));
        if !struck {
            return (place, lost);
        }
    }
    (STEPS_MAX, lost)
}

/// One move with one death in it. Answers whether it came to that, and what did not hold.
pub fn play(spec: &Spec, moving: Move, ambush: Ambush, log: Log) -> (bool, Option<Violation>, Log) {
    let mut world = match moving {
        Move::Takeover | Move::Switchover | Move::Rejoin => {
            World::new(Rng::calm(1), core, spec.clone(), log)
        }
        Move::Activation | Move::PlannedMove | Move::Deactivation => {
            let setting = Setting { fenced: true, ..Setting::PLAIN };
            World::new_shared(Rng::calm(1), core, spec, setting, log)
        }
    };
    world.run_until(SECOND);
    if matches!(moving, Move::PlannedMove | Move::Deactivation) {
        world.ask_activate(0, false);
    }
    if moving != Move::Activation {
        until_well(&mut world, 12 * SECOND, "the beginning");
    }
    if moving == Move::Rejoin {
        world.strike(&Fault::PowerOff(0));
        let end = world.now + MOVE;
        world.run_until(end);
    }
    world.chaos.ambush = Some(ambush);
    match moving {
        Move::Takeover => world.strike(&Fault::PowerOff(0)),
        Move::Switchover | Move::PlannedMove => {
            world.request(0, Request::Switchover { to: None });
        }
        Move::Rejoin => world.strike(&Fault::Boot(0)),
        Move::Activation => world.ask_activate(0, false),
        Move::Deactivation => world.request(0, Request::Deactivate),
    }
    let end = world.now + MOVE;
    world.run_until(end);
    let struck = world.chaos.ambush.is_none();
    if moving == Move::Takeover {
        until_it_serves_alone(&mut world, MEMBERS[1]);
    }
    // What was still to come would be an ambush on the healing.
    world.stop_asked = true;
    world.heal();
    until_well(&mut world, HEALING, "after a death between two steps");
    (struck, world.violation, world.log)
}

/// The other one is off for good: a copy that the register names serves by itself, or nobody ever does.
fn until_it_serves_alone(world: &mut World, host: usize) {
    let end = world.now + ALONE;
    loop {
        let h = &world.hosts[host];
        let copy = h.database.living().map(|incarnation| DataCopy { node: h.node, incarnation });
        let named = copy.is_some_and(|copy| world.truth.state.sync.names(copy));
        let server = h.database.server.as_ref();
        let serves = h.answers(world.now) && server.is_some_and(|s| !s.read_only && !s.strict);
        if serves || world.violation.is_some() {
            return;
        }
        if world.now >= end {
            if named {
                let text =
                    String::from("the other one is off, and the copy in sync does not serve");
                world.violated(Violation { id: "V11", text });
            }
            return;
        }
        let next = world.now + SECOND / 20;
        world.run_until(next);
    }
}

impl World {
    /// This command is a step of a move.
    pub(crate) fn is_step(action: &Action) -> bool {
        match action {
            Action::Gate(_)
            | Action::Address(_)
            | Action::Propose { .. }
            | Action::Database(_)
            | Action::Service { .. }
            | Action::Stack(_)
            | Action::Fence { .. } => true,
            Action::ReadClock
            | Action::Read
            | Action::ProbePeer { .. }
            | Action::Send(_)
            | Action::Tell(_)
            | Action::Answer { .. } => false,
        }
    }

    /// A step, or a part of one, is done on this host: now may be the time.
    pub(crate) fn lie_in_wait(&mut self, host: usize) {
        let Some(ambush) = self.chaos.ambush.as_mut().filter(|ambush| ambush.host == host) else {
            return;
        };
        if ambush.left > 0 {
            ambush.left -= 1;
            return;
        }
        let death = ambush.death;
        self.chaos.ambush = None;
        let now = self.now;
        match death {
            Death::Agent => self.at(now, Event::Fault(Fault::KillAgent(host))),
            Death::Database if self.shared.is_some() => {
                self.at(now, Event::Fault(Fault::KillService(host, 0)));
            }
            Death::Database => self.at(now, Event::Fault(Fault::KillDatabase(host))),
            Death::Host => {
                self.at(now, Event::Fault(Fault::PowerOff(host)));
                self.after(OFF, Event::Fault(Fault::Boot(host)));
            }
        }
    }
}
