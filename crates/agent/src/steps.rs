//! What the stack of this node did and does: each step with its beginning, its end and its result, for operators who
//! wait for it. Written by the lease thread as commands pass it; nothing is decided by it.

use regent_core::command::Outcome;
use regent_core::id::CommandId;
use regent_core::stack::{Claim, Claimant, StackResult, StackStep, Survey};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Activations have some dozens of steps, and whoever waits reads ten times a second.
const KEPT: usize = 512;

/// The steps of this life, the oldest forgotten.
#[derive(Default)]
pub struct Steps {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    next: u64,
    begun: VecDeque<Begun>,
    claimed: Option<Claimed>,
}

/// A claim, and who wrote it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claimed {
    /// As it stands on the data.
    pub claim: Claim,
    /// In words.
    pub by: Option<Claimant>,
}

impl Claimed {
    fn of(survey: &Survey) -> Option<Claimed> {
        Some(Claimed { claim: survey.claim?, by: survey.claimant.clone() })
    }
}

/// One step.
#[derive(Clone, Debug)]
pub struct Begun {
    /// Its number in this life.
    pub n: u64,
    /// Which.
    pub step: StackStep,
    /// When it began.
    pub began: Instant,
    /// How long it took, and what became of it.
    pub ended: Option<(Duration, StackResult)>,
    id: CommandId,
}

/// What became of a step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct End {
    /// Done, or not.
    pub result: StackResult,
    /// The claim that was read after it, if it was looked at.
    pub claimed: Option<Option<Claimed>>,
}

impl End {
    /// An outcome that may be a step's.
    pub fn of(outcome: &Outcome) -> Option<End> {
        match outcome {
            Outcome::Stack { result, survey } => {
                Some(End { result: result.clone(), claimed: survey.as_ref().map(Claimed::of) })
            }
            Outcome::Failed(why) => {
                Some(End { result: StackResult::Failed(why.clone()), claimed: None })
            }
            Outcome::Done
            | Outcome::Clock(_)
            | Outcome::Swap(_)
            | Outcome::Database { .. }
            | Outcome::Peer { .. }
            | Outcome::Fence(_) => None,
        }
    }
}

impl Steps {
    /// It is on its way. Surveys are no steps that anybody waits for.
    pub fn begin(&self, id: CommandId, step: StackStep) {
        if step == StackStep::Survey {
            return;
        }
        let mut inner = self.inner();
        let n = inner.next;
        inner.next += 1;
        if inner.begun.len() == KEPT {
            inner.begun.pop_front();
        }
        inner.begun.push_back(Begun { n, step, began: Instant::now(), ended: None, id });
    }

    /// It came to its end.
    pub fn end(&self, id: CommandId, end: End) {
        let mut inner = self.inner();
        if let Some(claimed) = end.claimed {
            inner.claimed = claimed;
        }
        if let Some(step) = inner.begun.iter_mut().rev().find(|step| step.id == id) {
            step.ended = Some((step.began.elapsed(), end.result));
        }
    }

    /// The number of the next step.
    pub fn next(&self) -> u64 {
        self.inner().next
    }

    /// What began from this number on.
    pub fn since(&self, n: u64) -> Vec<Begun> {
        self.inner().begun.iter().filter(|step| step.n >= n).cloned().collect()
    }

    /// The claim on the shared data, as it was last read.
    pub fn claimed(&self) -> Option<Claimed> {
        self.inner().claimed.clone()
    }

    /// Does something while a reader has it.
    #[cfg(test)]
    pub(crate) fn while_held(&self, what: impl FnOnce()) {
        let held = self.inner();
        what();
        drop(held);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nothing panics while it holds this")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regent_core::id::{ClusterId, Epoch, NodeId};
    use regent_core::stack::{StepId, Survey};

    #[test]
    fn a_step_is_told_with_its_end_and_a_survey_is_none() {
        let steps = Steps::default();
        let up = StackStep::Up { step: StepId(2) };
        steps.begin(CommandId(7), StackStep::Survey);
        steps.begin(CommandId(8), up);
        let cursor = steps.since(0);
        assert_eq!(cursor.iter().map(|s| (s.n, s.step)).collect::<Vec<_>>(), [(0, up)]);
        assert!(cursor[0].ended.is_none());
        let why = StackResult::Failed("xcatd: no".into());
        let outcome = Outcome::Stack { result: why.clone(), survey: None };
        steps.end(CommandId(8), End::of(&outcome).unwrap());
        assert_eq!(steps.since(0)[0].ended.as_ref().map(|(_, result)| result), Some(&why));
        assert!(steps.since(1).is_empty());
    }

    #[test]
    fn the_claim_is_the_one_last_read() {
        let steps = Steps::default();
        let claim = Claim { cluster: ClusterId(1), epoch: Epoch(4), node: NodeId(2), clear: false };
        let by = Some(Claimant { name: "mn2".into(), since_ms: 7 });
        let survey = Survey { claim: Some(claim), claimant: by.clone(), ..Survey::default() };
        let claimed = Some(Claimed { claim, by });
        let outcome = Outcome::Stack { result: StackResult::Done, survey: Some(survey) };
        steps.end(CommandId(1), End::of(&outcome).unwrap());
        assert_eq!(steps.claimed(), claimed);
        // A step that could not look says nothing of the claim.
        let outcome = Outcome::Stack { result: StackResult::Done, survey: None };
        steps.end(CommandId(2), End::of(&outcome).unwrap());
        assert_eq!(steps.claimed(), claimed);
    }
}
