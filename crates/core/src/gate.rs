//! A pure image of the kernel's two slots (protocol section 3): what was armed, for which proposals, what is held.
//! It answers two questions: which slot a renewal uses, and whether a slot may be enabled.

use crate::command::Slot;
use crate::time::{Span, Time};

/// One slot as far as this run knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Image {
    /// This run armed it at this time, with this ticket.
    armed: Option<(Time, Span)>,
    /// It was found at this time, with this left of an earlier run's ticket.
    found: Option<(Time, Span)>,
    /// Proposals with at least this number were sent after it was armed.
    first: u64,
    /// One of them is known won.
    won: bool,
    /// The VIP stands in `held`: put there by this run, or found there.
    held: bool,
}

/// Both slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Gate {
    slots: [Image; 2],
    /// Something may stand in the kernel's sets.
    dirty: bool,
}

const BOTH: [Slot; 2] = [Slot::Zero, Slot::One];

impl Gate {
    /// As found at the start of a run: slots may be held, but this run may enable none that it did not arm itself.
    pub fn found(kernel: [Option<Span>; 2], at: Time) -> Gate {
        let held = |left: Option<Span>| {
            let found = left.map(|left| (at, left));
            Image { held: left.is_some(), found, ..Image::default() }
        };
        Gate { slots: [held(kernel[0]), held(kernel[1])], dirty: true }
    }

    /// The slot for the next renewal: the one not in use; if both are held, the one with less time left, which is
    /// the one this run did not arm, or armed earlier (protocol section 5, restart of the agent).
    pub fn next(&self, left: [Option<Span>; 2]) -> Slot {
        let order = |slot: &Slot| {
            let image = self.slots[slot.index()];
            (image.held, image.armed.map(|(at, _)| at.raw), left[slot.index()])
        };
        BOTH.into_iter().min_by_key(order).expect("there are two slots")
    }

    /// A retry keeps its ticket (armed, not won, not held) while more than half of it is left, so that slow
    /// answers still open.
    pub fn keeps(&self, now: Time) -> bool {
        self.slots.iter().any(|image| {
            !image.held
                && !image.won
                && image.armed.is_some_and(|(at, ticket)| {
                    ticket.less(now.elapsed_most(at)) > Span(ticket.0 / 2)
                })
        })
    }

    /// The slot is being armed: from the moment the kernel is asked, no win that is known counts for it.
    pub fn arming(&mut self, slot: Slot) {
        self.slots[slot.index()] = Image::default();
        self.dirty = true;
    }

    /// The slot is armed; proposals from `first` on are sent after it.
    pub fn armed(&mut self, slot: Slot, ticket: Span, first: u64, at: Time) {
        self.slots[slot.index()] = Image { armed: Some((at, ticket)), first, ..Image::default() };
        self.dirty = true;
    }

    /// Proposal `n` is known won: it counts for the slots that were last armed before it was sent.
    pub fn won(&mut self, n: u64) {
        for image in &mut self.slots {
            if image.armed.is_some() && n >= image.first {
                image.won = true;
            }
        }
    }

    /// The planted mistake: any win counts for whatever is armed now.
    #[cfg(feature = "planted")]
    pub fn won_for_any(&mut self) {
        for image in &mut self.slots {
            image.won = image.armed.is_some();
        }
    }

    /// Section 3, enable: a slot that this run armed, for which an attempt sent after it was last armed is known
    /// won, and that is not yet held. The caller answers for the wait and for the service.
    pub fn enableable(&self) -> Option<Slot> {
        BOTH.into_iter().find(|slot| {
            let image = self.slots[slot.index()];
            image.armed.is_some() && image.won && !image.held
        })
    }

    /// The kernel took the VIP into `held`.
    pub fn enabled(&mut self, slot: Slot) {
        self.slots[slot.index()].held = true;
    }

    /// Was any slot enabled, and the gate not closed since? Its ticket may be over: whoever asks whether something may
    /// still pass asks this one.
    pub fn is_held(&self) -> bool {
        self.slots.iter().any(|image| image.held)
    }

    /// Does something pass: is a slot held whose ticket is not over? A kernel that refuses to enable the next one lets
    /// the last one end.
    pub fn is_open(&self, now: Time) -> bool {
        self.slots.iter().any(|image| {
            let ticket = image.armed.or(image.found);
            image.held && ticket.is_some_and(|(at, ticket)| now.elapsed_most(at) < ticket)
        })
    }

    /// All six sets are empty, confirmed.
    pub fn closed(&mut self) {
        *self = Gate::default();
    }

    /// May anything stand in the kernel's sets?
    pub fn may_pass(&self) -> bool {
        self.dirty
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time { boot: ms * 1_000_000, raw: ms * 1_000_000 }
    }

    const TICKET: Span = Span::millis(610);

    #[test]
    fn a_win_sent_before_the_slot_was_armed_enables_nothing() {
        let mut gate = Gate::default();
        gate.armed(Slot::Zero, TICKET, 5, at(0));
        gate.won(4);
        assert_eq!(gate.enableable(), None);
        gate.won(5);
        assert_eq!(gate.enableable(), Some(Slot::Zero));
    }

    #[test]
    fn arming_a_held_slot_again_closes_it_until_a_later_win() {
        let mut gate = Gate::default();
        gate.armed(Slot::Zero, TICKET, 1, at(0));
        gate.won(1);
        gate.enabled(Slot::Zero);
        assert!(gate.is_held());
        gate.armed(Slot::Zero, TICKET, 2, at(150));
        gate.won(1);
        assert!(!gate.is_held() && gate.enableable().is_none());
    }

    #[test]
    fn a_gate_whose_last_ticket_is_over_is_not_open_but_still_held() {
        let mut gate = Gate::default();
        gate.armed(Slot::Zero, TICKET, 1, at(0));
        gate.won(1);
        assert!(!gate.is_open(at(1)), "not enabled yet");
        gate.enabled(Slot::Zero);
        assert!(gate.is_open(at(609)));
        // Armed and won again and again, and never enabled.
        gate.armed(Slot::One, TICKET, 2, at(600));
        gate.won(2);
        assert!(!gate.is_open(at(610)) && gate.is_held());
    }

    #[test]
    fn renewals_alternate_between_the_slots() {
        let mut gate = Gate::default();
        let mut slot = gate.next([None, None]);
        for n in 1..6 {
            gate.armed(slot, TICKET, n, at(n * 150));
            gate.won(n);
            gate.enabled(slot);
            let next = gate.next([None, None]);
            assert_ne!(next, slot);
            slot = next;
        }
    }

    #[test]
    fn a_slot_that_is_being_armed_cannot_be_enabled_for_the_win_it_had() {
        let mut gate = Gate::default();
        gate.armed(Slot::One, TICKET, 1, at(0));
        gate.won(1);
        gate.arming(Slot::One);
        assert_eq!(gate.enableable(), None);
        gate.won(1);
        assert_eq!(gate.enableable(), None);
    }

    #[test]
    fn a_new_run_enables_only_what_it_armed_itself() {
        let mut gate = Gate::found([Some(Span::millis(300)), None], at(50));
        assert!(gate.is_held() && gate.is_open(at(349)) && !gate.is_open(at(350)));
        gate.won(7);
        assert_eq!(gate.enableable(), None);
        assert_eq!(gate.next([Some(Span::millis(300)), None]), Slot::One);
    }

    #[test]
    fn a_ticket_is_kept_for_a_retry_while_more_than_half_is_left() {
        let mut gate = Gate::default();
        gate.armed(Slot::One, TICKET, 1, at(0));
        assert!(gate.keeps(at(304)) && !gate.keeps(at(305)));
    }
}
