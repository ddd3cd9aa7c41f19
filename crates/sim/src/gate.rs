//! The kernel's filter in front of the VIP. It outlives the agent, and tickets end by kernel timers.

use crate::clock::{Clock, TICK};
use crate::rng::Rng;
use regent_core::command::GateStep;
use regent_core::invariant::{SlotView, Thawed};
use regent_core::time::Span;

/// A step that the kernel refuses for a while.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// To arm a slot.
    Arm,
    /// To enable one.
    Enable,
    /// To close both, or to let them refuse.
    Close,
    /// To put the VIP on.
    Add,
    /// To take it off.
    Remove,
}

impl Refusal {
    /// Each of them.
    pub const ALL: [Refusal; 5] =
        [Refusal::Arm, Refusal::Enable, Refusal::Close, Refusal::Add, Refusal::Remove];

    /// Which step of the gate it is.
    pub fn of_gate(step: GateStep) -> Refusal {
        match step {
            GateStep::Arm { .. } => Refusal::Arm,
            GateStep::Enable { .. } => Refusal::Enable,
            GateStep::Refuse | GateStep::Close => Refusal::Close,
        }
    }
}

/// The six sets.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    slots: [Sets; 2],
}

#[derive(Clone, Copy, Debug, Default)]
struct Sets {
    /// The end of the ticket by the kernel's timers.
    ticket: Option<u64>,
    held: bool,
    refuse: bool,
    armed: u64,
    /// How long the host's clocks had stood still by then.
    stood: u64,
    /// The ttl of the first proposal that was sent under it.
    ttl: Option<Span>,
    /// How many proposals of this host had been sent when it was armed.
    sent: u64,
}

/// What the host has done so far, by which a slot is judged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    /// Proposals sent.
    pub sent: u64,
    /// The newest of them that is decided with this host as the holder.
    pub decided: u64,
}

impl Gate {
    /// One transaction on the sets.
    pub fn apply(&mut self, step: GateStep, clock: &Clock, count: Count, rng: &mut Rng, now: u64) {
        match step {
            GateStep::Arm { slot, ticket } => {
                let end = clock.timer(now) + ticket.0 + rng.below(TICK);
                self.slots[slot.index()] = Sets {
                    ticket: Some(end),
                    held: false,
                    refuse: false,
                    armed: now,
                    stood: clock.stood(now),
                    ttl: None,
                    sent: count.sent,
                };
            }
            GateStep::Enable { slot } => self.slots[slot.index()].held = true,
            GateStep::Refuse => {
                for sets in &mut self.slots {
                    sets.refuse |= std::mem::take(&mut sets.held);
                }
            }
            GateStep::Close => self.slots = [Sets::default(); 2],
        }
    }

    /// Does a packet of the VIP pass?
    pub fn is_open(&self, clock: &Clock, now: u64) -> bool {
        let timer = clock.timer(now);
        self.slots.iter().any(|sets| sets.held && sets.has_ticket(timer))
    }

    /// Does a new connection get a reset?
    pub fn refuses(&self, clock: &Clock, now: u64) -> bool {
        let timer = clock.timer(now);
        self.slots.iter().any(|sets| sets.refuse && sets.has_ticket(timer))
    }

    /// What a new run of the agent finds: the held slots, and what their tickets have left.
    pub fn found(&self, clock: &Clock, now: u64) -> [Option<Span>; 2] {
        let timer = clock.timer(now);
        self.slots.map(|sets| {
            let left = sets.ticket.map_or(0, |end| end.saturating_sub(timer));
            sets.held.then_some(Span(left))
        })
    }

    /// How long until the last held ticket ends, if one runs.
    pub fn open_for(&self, clock: &Clock, now: u64) -> Option<u64> {
        let timer = clock.timer(now);
        let held = self.slots.iter().filter(|sets| sets.held && sets.has_ticket(timer));
        let left = held.filter_map(|sets| sets.ticket).max()? - timer;
        Some(clock.sleep(Span(left)))
    }

    /// A proposal for this ttl leaves the host.
    pub fn sent_under(&mut self, ttl: Span) {
        for sets in &mut self.slots {
            sets.ttl.get_or_insert(ttl);
        }
    }

    /// As the judge sees it.
    pub fn view(&self, clock: &Clock, count: Count, now: u64) -> [SlotView; 2] {
        let timer = clock.timer(now);
        self.slots.map(|sets| {
            let stood = clock.stood(now) - sets.stood.min(clock.stood(now));
            let ttl = sets.ttl.unwrap_or_default().0;
            SlotView {
                ticket: sets.has_ticket(timer),
                held: sets.held,
                armed: sets.armed,
                earned: count.decided > sets.sent,
                thawed: (clock.is_stopped() || stood > 0).then_some(Thawed { stood, ttl }),
            }
        })
    }
}

impl Sets {
    fn has_ticket(&self, timer: u64) -> bool {
        self.ticket.is_some_and(|end| end > timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Rates;
    use regent_core::command::Slot;

    #[test]
    fn a_packet_passes_only_under_ticket_and_held_of_one_slot_and_until_the_ticket_ends() {
        let mut rng = Rng::new(3);
        let clock = Clock::new(Rates::TRUE, &mut rng, 0);
        let (mut gate, count) = (Gate::default(), Count::default());
        let ticket = Span::millis(610);
        gate.apply(GateStep::Arm { slot: Slot::Zero, ticket }, &clock, count, &mut rng, 0);
        gate.apply(GateStep::Enable { slot: Slot::One }, &clock, count, &mut rng, 0);
        assert!(!gate.is_open(&clock, 1));
        gate.apply(GateStep::Enable { slot: Slot::Zero }, &clock, count, &mut rng, 0);
        assert!(gate.is_open(&clock, Span::millis(609).0));
        assert!(!gate.is_open(&clock, Span::millis(615).0));
        gate.apply(GateStep::Enable { slot: Slot::Zero }, &clock, count, &mut rng, 700_000_000);
        assert!(!gate.is_open(&clock, 700_000_001), "enabling an expired ticket opens nothing");
    }

    #[test]
    fn refusing_moves_what_is_held_and_closing_empties_all() {
        let mut rng = Rng::new(3);
        let clock = Clock::new(Rates::TRUE, &mut rng, 0);
        let (mut gate, count) = (Gate::default(), Count::default());
        let ticket = Span::millis(610);
        gate.apply(GateStep::Arm { slot: Slot::One, ticket }, &clock, count, &mut rng, 0);
        gate.apply(GateStep::Enable { slot: Slot::One }, &clock, count, &mut rng, 0);
        gate.apply(GateStep::Refuse, &clock, count, &mut rng, 0);
        assert!(!gate.is_open(&clock, 1) && gate.refuses(&clock, 1));
        gate.apply(GateStep::Close, &clock, count, &mut rng, 0);
        assert!(!gate.refuses(&clock, 1));
        assert_eq!(gate.found(&clock, 1), [None, None]);
    }
}
