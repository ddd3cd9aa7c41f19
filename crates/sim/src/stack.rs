//! The stack on shared data, modelled.

use crate::world::World;
use regent_core::command::Outcome;
use regent_core::id::CommandId;
use regent_core::node::Input;
use regent_core::stack::{StackResult, StackStep};

impl World {
    pub(crate) fn stack_step(&mut self, host: usize, id: CommandId, step: StackStep) {
        let result = StackResult::Failed(format!("no stack is modelled: {step:?}"));
        let time = self.hosts[host].clock.read(self.now);
        if let Some(agent) = &mut self.hosts[host].agent {
            let outcome = Outcome::Stack { result, survey: None };
            agent.brain.handle(Input::Outcome { id, outcome }, time);
        }
    }
}
