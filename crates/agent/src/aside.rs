//! What others wait for of the lease thread: answers of core, pictures of it, the steps of the stack.
//!
//! Who waits for them holds locks and wakes tasks of ordinary priority, so the lease thread only hands them to a thread
//! of their own. They keep their order: who has an answer finds every step before it.

use crate::behind::{Behind, Sink};
use crate::log;
use crate::pending::PendingRequests;
use crate::steps::{End, Steps};
use regent_core::command::Answer;
use regent_core::id::{CommandId, RequestId};
use regent_core::node::NodeStatus;
use regent_core::stack::StackStep;
use std::sync::Arc;
use tokio::sync::oneshot;

/// What may wait: some seconds of a node whose every step fails at once.
const QUEUE: usize = 4096;

/// The way to the thread.
pub struct Aside {
    queue: Behind<Item>,
}

enum Item {
    Begun(CommandId, StackStep),
    Ended(CommandId, End),
    Answer(RequestId, Answer),
    Picture(oneshot::Sender<Box<NodeStatus>>, Box<NodeStatus>),
}

impl Aside {
    /// Starts the thread.
    pub fn start(steps: Arc<Steps>, waiting: PendingRequests) -> Aside {
        Aside { queue: Behind::start("aside", QUEUE, Readers { steps, waiting }) }
    }

    /// A step of the stack is on its way.
    pub fn begun(&self, id: CommandId, step: StackStep) {
        self.queue.put(Item::Begun(id, step));
    }

    /// A step of the stack came to its end.
    pub fn ended(&self, id: CommandId, end: End) {
        self.queue.put(Item::Ended(id, end));
    }

    /// Core answers an operator.
    pub fn answer(&self, request: RequestId, answer: Answer) {
        self.queue.put(Item::Answer(request, answer));
    }

    /// Somebody asked for a picture of core.
    pub fn picture(&self, to: oneshot::Sender<Box<NodeStatus>>, picture: NodeStatus) {
        self.queue.put(Item::Picture(to, Box::new(picture)));
    }
}

struct Readers {
    steps: Arc<Steps>,
    waiting: PendingRequests,
}

impl Sink<Item> for Readers {
    fn take(&mut self, item: Item) {
        match item {
            Item::Begun(id, step) => self.steps.begin(id, step),
            Item::Ended(id, end) => self.steps.end(id, end),
            Item::Answer(request, answer) => self.waiting.answer(request, answer),
            // Who does not wait any more is not answered.
            Item::Picture(to, picture) => drop(to.send(picture)),
        }
    }

    fn dropped(&mut self, count: u64) {
        log::warning(&format!("{count} answers and steps were not passed on in time: ask again"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regent_core::stack::{StackResult, StepId};

    #[test]
    fn the_lease_thread_waits_for_no_reader_and_an_answer_comes_after_its_steps() {
        let (steps, waiting) = (Arc::<Steps>::default(), PendingRequests::default());
        let aside = Aside::start(Arc::clone(&steps), waiting.clone());
        let (request, answer) = waiting.enter();
        let end = End { result: StackResult::Done, claimed: None };
        steps.while_held(|| {
            aside.begun(CommandId(1), StackStep::Up { step: StepId(0) });
            aside.ended(CommandId(1), end.clone());
            aside.answer(request, Answer::Done("active".into()));
        });
        assert_eq!(answer.blocking_recv().unwrap(), Answer::Done("active".into()));
        let told: Vec<Option<StackResult>> =
            steps.since(0).into_iter().map(|s| s.ended.map(|(_, result)| result)).collect();
        assert_eq!(told, [Some(StackResult::Done)]);
    }
}
