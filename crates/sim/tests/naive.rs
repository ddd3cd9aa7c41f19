//! The judge on nodes that are simple and wrong: what it must see, it sees.

use regent_core::command::{Action, Command, DatabaseStep, GateStep, RunRecord, Slot};
use regent_core::id::{CommandId, Epoch, Incarnation};
use regent_core::node::{Identity, Input};
use regent_core::spec::Spec;
use regent_core::time::{Span, Time};
use regent_sim::agent::Brain;
use regent_sim::log::Log;
use regent_sim::rng::Rng;
use regent_sim::world::{World, default_spec};

/// Puts out its commands at once, and then nothing any more.
struct Script {
    out: std::vec::IntoIter<Action>,
    n: u64,
}

impl Brain for Script {
    fn handle(&mut self, _input: Input, _now: Time) {}

    fn poll_command(&mut self) -> Option<Command> {
        self.n += 1;
        let action = self.out.next()?;
        Some(Command { id: CommandId(self.n), epoch: Epoch(1), action })
    }

    fn next_wake(&self, _now: Time) -> Span {
        Span::millis(50)
    }

    fn rules(&self, _now: Time) -> bool {
        false
    }

    fn explain(&self, _now: Time) -> Vec<String> {
        Vec::new()
    }
}

/// Enables its gate without asking anybody.
fn opens_at_once(_: Identity, _: Spec, _: RunRecord, _: Time) -> Box<dyn Brain> {
    let arm = GateStep::Arm { slot: Slot::Zero, ticket: Span::millis(610) };
    let out = vec![Action::Gate(arm), Action::Gate(GateStep::Enable { slot: Slot::Zero })];
    Box::new(Script { out: out.into_iter(), n: 0 })
}

/// Makes its database writable and loose without asking anybody.
fn writes_at_once(_: Identity, _: Spec, _: RunRecord, _: Time) -> Box<dyn Brain> {
    let keep = DatabaseStep::Keep { incarnation: Incarnation(11), mark: false };
    let steps = [DatabaseStep::TakeControl, keep, DatabaseStep::Loose, DatabaseStep::Writable];
    let out: Vec<Action> = steps.into_iter().map(Action::Database).collect();
    Box::new(Script { out: out.into_iter(), n: 0 })
}

/// Does nothing at all.
fn sleeps(_: Identity, _: Spec, _: RunRecord, _: Time) -> Box<dyn Brain> {
    Box::new(Script { out: Vec::new().into_iter(), n: 0 })
}

fn caught(maker: regent_sim::agent::Maker) -> Option<&'static str> {
    let mut world = World::new(Rng::new(1), maker, default_spec(), Log::quiet());
    world.run_until(2_000_000_000);
    world.violation.map(|violation| violation.id)
}

#[test]
fn a_node_that_opens_its_gate_at_once_is_caught() {
    assert!(matches!(caught(opens_at_once), Some("V1" | "V8")));
}

#[test]
fn two_nodes_that_write_at_once_are_caught() {
    assert!(matches!(caught(writes_at_once), Some("V2" | "V6")));
}

#[test]
fn nodes_that_do_nothing_break_nothing() {
    assert_eq!(caught(sleeps), None);
}
