//! What this node holds: the present tenure, whether its right runs, and for which data a won swap licensed it.
//!
//! A right begins with a won proposal and with nothing else (C1), a licence with a won solo or join (D2). Both end with
//! the tenure.

use crate::id::Epoch;
use crate::lease::{Right, Tenure, Wait};
use crate::state::Phase;
use crate::sync::Licence;
use crate::time::Time;

/// The holding of this run.
#[derive(Clone, Debug, Default)]
pub(in crate::node) struct Holding {
    tenure: Option<Tenure>,
    /// Since when this node has held the present epoch, or has not been able to serve in it.
    since: Option<Time>,
    /// The right of this tenure ended without a renewal; cleared when one is won.
    lost_right: bool,
    /// C6: the present tenure was found Ruling, by an earlier run of this boot, and needs no wait.
    inherited: bool,
    licence: Option<Licence>,
}

impl Holding {
    // ---- what is so ----

    /// The present tenure, to be read.
    pub fn tenure(&self) -> Option<Tenure> {
        self.tenure
    }

    /// Does a right of this node run, and has it started (V1, V7)?
    pub fn rules(&self, now: Time) -> bool {
        self.tenure.is_some_and(|tenure| tenure.rules(now))
    }

    /// Nobody's right but this node's may run.
    pub fn wait_is_over(&self, now: Time) -> bool {
        self.tenure.is_some_and(|tenure| tenure.wait_is_over(now))
    }

    /// A proposal of this tenure was won, and its right was not given up.
    pub fn has_right(&self) -> bool {
        self.right().is_some()
    }

    /// The newest won proposal of this tenure.
    pub fn right(&self) -> Option<Right> {
        self.tenure?.right
    }

    /// What is waited for before a right of this tenure may start.
    pub fn wait(&self) -> Option<Wait> {
        self.tenure?.wait
    }

    /// Since when this node has held the present epoch, or has not been able to serve in it.
    pub fn since(&self) -> Option<Time> {
        self.since
    }

    /// The right ended without a renewal, and none was won since.
    pub fn lost_right(&self) -> bool {
        self.lost_right
    }

    /// C6: what an earlier run of this boot held goes on as it stood.
    pub fn is_inherited(&self) -> bool {
        self.inherited
    }

    /// The data that a won swap of this tenure licensed this node for.
    pub fn licence(&self) -> Option<Licence> {
        self.licence
    }

    // ---- how it changes ----

    /// Another node holds. Answers whether this one did.
    pub fn leave(&mut self) -> bool {
        let held = self.tenure.is_some();
        // Whether it lost its right before is nobody's business any more, and nobody asks.
        *self = Holding { lost_right: self.lost_right, ..Holding::default() };
        held
    }

    /// The record names this node, by a release or by an earlier run of it.
    pub fn enter(&mut self, epoch: Epoch, wait: Option<Wait>, phase: Phase, now: Time) {
        *self = Holding {
            tenure: Some(Tenure { epoch, wait, right: None }),
            since: Some(now),
            inherited: wait.is_none() && phase == Phase::Ruling,
            ..Holding::default()
        };
    }

    /// A succession of this run was won.
    pub fn succeed(&mut self, epoch: Epoch, wait: Option<Wait>, proposed: Option<Time>) {
        let tenure = Some(Tenure { epoch, wait, right: None });
        *self = Holding { tenure, since: proposed, ..Holding::default() };
    }

    /// C1: a proposal of this epoch was won; the right never grows shorter by an older win.
    pub fn extend(&mut self, epoch: Epoch, right: Right) {
        let Some(tenure) = self.tenure.as_mut().filter(|tenure| tenure.epoch == epoch) else {
            return;
        };
        if tenure.right.is_none_or(|known| known.proposed.raw <= right.proposed.raw) {
            tenure.right = Some(right);
            self.lost_right = false;
        }
    }

    /// A won solo or join licenses this node for its data.
    pub fn license(&mut self, licence: Licence) {
        self.licence = Some(licence);
    }

    /// A release is about to be proposed: from here on no right of this node runs (C1).
    pub fn give_up(&mut self) {
        if let Some(tenure) = &mut self.tenure {
            tenure.right = None;
        }
    }

    /// The right is over, if it is. Answers whether it ended just now.
    pub fn end(&mut self, now: Time) -> bool {
        let ended = self.right().is_some_and(|right| !right.runs(now));
        if ended {
            self.give_up();
            self.lost_right = true;
        }
        ended
    }

    /// Its database takes writes: from here on the time counts that it does not.
    pub fn served(&mut self, now: Time) {
        self.since = Some(now);
    }

    /// The planted mistake: a right from a record that was only read.
    #[cfg(feature = "planted")]
    pub fn plant(&mut self, tenure: Tenure) {
        self.tenure = Some(tenure);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;

    const EPOCH: Epoch = Epoch(4);
    const LENGTH: Span = Span::millis(610);

    fn at(ms: u64) -> Time {
        Time { boot: ms * 1_000_000, raw: ms * 1_000_000 }
    }

    fn right(ms: u64) -> Right {
        Right { proposed: at(ms), length: LENGTH }
    }

    #[test]
    fn an_older_win_does_not_shorten_the_right_and_one_of_another_epoch_gives_none() {
        let mut holding = Holding::default();
        holding.extend(EPOCH, right(0));
        assert!(!holding.has_right(), "nothing is held");
        holding.enter(EPOCH, None, Phase::Free, at(0));
        holding.extend(EPOCH, right(100));
        holding.extend(EPOCH, right(50));
        holding.extend(Epoch(3), right(200));
        assert_eq!(holding.right(), Some(right(100)));
    }

    #[test]
    fn a_right_ends_once_and_the_next_win_forgets_that() {
        let mut holding = Holding::default();
        holding.enter(EPOCH, None, Phase::Free, at(0));
        holding.extend(EPOCH, right(0));
        assert!(!holding.end(at(609)) && holding.end(at(610)) && !holding.end(at(611)));
        assert!(holding.lost_right() && !holding.rules(at(611)));
        holding.extend(EPOCH, right(620));
        assert!(!holding.lost_right() && holding.rules(at(700)));
    }

    #[test]
    fn only_a_ruling_record_that_needs_no_wait_is_inherited() {
        let wait = Wait { seen: at(0), length: Span::millis(707) };
        let cases = [
            (None, Phase::Ruling, true),
            (None, Phase::Free, false),
            (Some(wait), Phase::Ruling, false),
            (Some(wait), Phase::Heir, false),
        ];
        for (wait, phase, inherited) in cases {
            let mut holding = Holding::default();
            holding.enter(EPOCH, wait, phase, at(0));
            assert_eq!(holding.is_inherited(), inherited, "{wait:?}, {phase:?}");
        }
    }

    #[test]
    fn what_was_licensed_ends_with_the_tenure() {
        let licence = Licence { epoch: EPOCH, incarnation: crate::id::Incarnation(7), start: 1 };
        let mut holding = Holding::default();
        holding.enter(EPOCH, None, Phase::Free, at(0));
        holding.license(licence);
        assert!(holding.leave() && holding.licence().is_none() && !holding.leave());
        holding.enter(EPOCH, None, Phase::Free, at(0));
        holding.license(licence);
        holding.succeed(Epoch(5), None, Some(at(9)));
        assert_eq!((holding.licence(), holding.since()), (None, Some(at(9))));
    }
}
