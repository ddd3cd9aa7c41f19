//! What operators asked for, until they are answered: one table. A guard admits a request, or refuses it at once; then
//! each turn asks whether it is done, cannot be done any more, or is too late.
//!
//! | request | guard | done | at the latest |
//! |---|---|---|---|
//! | switchover | the target can take over | the target serves in a newer epoch | `switchover_max`; of a stack 15 min |
//! | maintenance, pause | a management node is meant | it stands in the register | 5 s |
//! | stop, start | the register was read | everything is down; somebody serves | 5 s, and 120 s once it is written |
//! | timing | this node is active | it stands in the register | 10 s |
//! | fence | this node is active | the fence said something | as long as the fence may take |
//! | copy | this node is a standby | its data lost their name | 2 min before the first change |
//! | activate, deactivate, repair | `asked` | `asked` | 15 min |
//! | would an activation begin | `asked` | every guard was asked | 15 min |
//! | may a word be believed | `word` | its host was looked at | 10 s |

use crate::command::Answer;
use crate::id::{Epoch, NodeId, RequestId};
use crate::node::Node;
use crate::node::engine::moves::Planned;
use crate::node::intents::Wish;
use crate::node::output::Output;
use crate::node::workload::shared::asked::Asked;
use crate::state::{Switchover, Timing};
use crate::time::Time;
use alloc::vec::Vec;

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::node) enum Wants {
    /// A planned move.
    Move(Planned),
    /// A change of the register's intent.
    Change(Wish),
    /// Another timing of rights (C5).
    Timing(Timing),
    /// Something of the stack on shared data.
    Stack(Asked),
    /// That this node's host is fenced.
    Fence(NodeId),
    /// A fresh copy of the data here.
    Copy,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Pending {
    request: RequestId,
    since: Time,
    wants: Wants,
}

/// Everything that is not answered yet, oldest first.
#[derive(Clone, Debug, Default)]
pub(in crate::node) struct Requests {
    pending: Vec<Pending>,
    /// A planned move was refused or undone: its intent is taken back.
    withdrawn: bool,
}

impl Requests {
    /// One that a guard admitted.
    pub fn enter(&mut self, request: RequestId, wants: Wants, now: Time) {
        if matches!(wants, Wants::Move(_)) {
            // Of two moves the newer one counts.
            self.moves_mut().for_each(|planned| planned.written = true);
        }
        self.pending.push(Pending { request, since: now, wants });
    }

    /// Answers all of a kind, and forgets them.
    pub fn end(&mut self, which: impl Fn(&Wants) -> bool, answer: &Answer, out: &mut Output) {
        let ended = self.pending.extract_if(.., |pending| which(&pending.wants));
        ended.for_each(|pending| out.answer(pending.request, answer.clone()));
    }

    /// Somebody waits for one of this kind.
    pub fn has(&self, which: impl Fn(&Wants) -> bool) -> bool {
        self.pending.iter().any(|pending| which(&pending.wants))
    }

    fn moves_mut(&mut self) -> impl Iterator<Item = &mut Planned> {
        self.pending.iter_mut().filter_map(|pending| {
            let Wants::Move(planned) = &mut pending.wants else { return None };
            Some(planned)
        })
    }

    /// The changes of the intent that are asked for.
    pub fn changes_mut(&mut self) -> impl Iterator<Item = &mut Wish> {
        self.pending.iter_mut().filter_map(|pending| {
            let Wants::Change(wish) = &mut pending.wants else { return None };
            Some(wish)
        })
    }

    /// The oldest change that does not stand in the register yet.
    pub fn unwritten(&self) -> Option<&Wish> {
        self.pending.iter().find_map(|pending| {
            let Wants::Change(wish) = &pending.wants else { return None };
            Some(wish).filter(|wish| !wish.written)
        })
    }

    /// What is asked of the stack, and since when.
    pub fn stack_mut(&mut self) -> impl Iterator<Item = (Time, &mut Asked)> {
        self.pending.iter_mut().filter_map(|pending| {
            let Wants::Stack(asked) = &mut pending.wants else { return None };
            Some((pending.since, asked))
        })
    }

    /// The timing that is on its way into the register, and since when it is kept to here.
    pub fn timing(&self) -> Option<(Timing, Time)> {
        self.pending.iter().find_map(|pending| {
            let Wants::Timing(timing) = pending.wants else { return None };
            Some((timing, pending.since))
        })
    }

    /// The planned move that is to be written into the register.
    fn switchover(&self) -> Option<Switchover> {
        self.pending.iter().find_map(|pending| {
            let Wants::Move(planned) = &pending.wants else { return None };
            Some(planned.switchover()).filter(|_| !planned.written)
        })
    }

    /// The intent of a planned move as it is to be written next: what is asked for, or its removal.
    pub fn wanted_intent(
        &self,
        there: Option<Switchover>,
        epoch: Epoch,
    ) -> Option<Option<Switchover>> {
        if let Some(asked) = self.switchover() {
            return (there != Some(asked)).then_some(Some(asked));
        }
        let stale = there.is_some_and(|switchover| switchover.epoch != epoch);
        (stale || (self.withdrawn && there.is_some())).then_some(None)
    }

    /// The intent of a planned move is to be taken back, and nobody acts on it meanwhile.
    pub fn is_withdrawn(&self) -> bool {
        self.withdrawn
    }

    /// It was taken back.
    pub fn taken_back(&mut self) {
        self.withdrawn = false;
    }

    /// Whoever waits for a planned move is told that it is refused or undone, and its intent is taken back.
    pub fn withdraw(&mut self, why: &str, out: &mut Output) {
        self.withdrawn = true;
        self.end(|wants| matches!(wants, Wants::Move(_)), &Answer::undone(why), out);
    }

    /// A planned move stands in the register, or another epoch came first. `open`: a swap of this run may still win,
    /// and bring one.
    fn note_intent(&mut self, there: Option<Switchover>, epoch: Epoch, open: bool) {
        // What was undone had no intent, or it is gone: what is asked for next is not taken back.
        self.withdrawn &= there.is_some() || open;
        let mut settled = false;
        for planned in self.moves_mut().filter(|planned| !planned.written) {
            let asked = planned.switchover();
            planned.written = asked.epoch != epoch || there == Some(asked);
            settled |= planned.written;
        }
        self.withdrawn &= !settled;
    }
}

impl Node {
    /// One turn of every request.
    pub(in crate::node) fn advance_requests(&mut self, now: Time) {
        if let Some(view) = &self.view {
            let open = self.proposals.is_busy() || !self.proposals.is_settled();
            let (there, epoch) = (view.state.intent.switchover, view.state.lease.epoch);
            self.requests.note_intent(there, epoch, open);
        }
        let asking = self.requests.switchover().is_some();
        let open = core::mem::take(&mut self.requests.pending);
        let mut left = Vec::with_capacity(open.len());
        for mut pending in open {
            let since = pending.since;
            let answer = match &mut pending.wants {
                Wants::Move(planned) => self.turn_move(planned, asking, since, now),
                Wants::Change(wish) => self.turn_change(*wish, since, now),
                Wants::Timing(timing) => self.turn_timing(*timing, since, now),
                Wants::Stack(asked) => self.turn_stack(asked, since, now),
                // Whoever does it answers.
                Wants::Fence(_) | Wants::Copy => None,
            };
            match answer {
                Some(answer) => self.out.answer(pending.request, answer),
                None => left.push(pending),
            }
        }
        left.append(&mut self.requests.pending);
        self.requests.pending = left;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Action, Command};

    const NOW: Time = Time { boot: 0, raw: 0 };

    fn planned(to: u16) -> Wants {
        Wants::Move(Planned::new(NodeId(to), Epoch(3)))
    }

    fn answered(out: &mut Output) -> Vec<(u64, bool)> {
        let answer = |command: Command| {
            let Action::Answer { request, answer } = command.action else { return None };
            Some((request.0, matches!(answer, Answer::Done(_))))
        };
        core::iter::from_fn(|| out.poll()).filter_map(answer).collect()
    }

    #[test]
    fn of_two_moves_the_newer_one_is_written_and_both_are_answered() {
        let (mut requests, mut out) = (Requests::default(), Output::new());
        requests.enter(RequestId(1), planned(1), NOW);
        requests.enter(RequestId(2), planned(2), NOW);
        assert_eq!(requests.switchover().map(|s| s.to), Some(NodeId(2)));
        requests.withdraw("no", &mut out);
        assert_eq!(answered(&mut out), [(1, false), (2, false)]);
        assert!(requests.is_withdrawn() && requests.switchover().is_none());
    }

    #[test]
    fn what_was_undone_without_an_intent_takes_nothing_back_that_is_asked_for_later() {
        let (mut requests, mut out) = (Requests::default(), Output::new());
        let epoch = Epoch(3);
        let other = Some(Switchover { to: NodeId(2), epoch });
        requests.withdraw("a move because of a service was undone", &mut out);
        requests.note_intent(None, epoch, true);
        assert!(requests.is_withdrawn(), "a swap under way may bring one");
        requests.note_intent(None, epoch, false);
        assert_eq!(requests.wanted_intent(other, epoch), None);
        requests.withdraw("it was asked for, and undone", &mut out);
        requests.note_intent(other, epoch, false);
        assert_eq!(requests.wanted_intent(other, epoch), Some(None));
    }

    #[test]
    fn whoever_asked_for_something_else_goes_on_waiting() {
        let (mut requests, mut out) = (Requests::default(), Output::new());
        requests.enter(RequestId(1), Wants::Fence(NodeId(2)), NOW);
        requests.enter(RequestId(2), Wants::Copy, NOW);
        requests.enter(RequestId(3), planned(2), NOW);
        let done = Answer::Done("it is off".into());
        requests.end(|wants| *wants == Wants::Fence(NodeId(2)), &done, &mut out);
        assert_eq!(answered(&mut out), [(1, true)]);
        assert!(requests.has(|wants| *wants == Wants::Copy));
        assert!(requests.switchover().is_some());
    }
}
