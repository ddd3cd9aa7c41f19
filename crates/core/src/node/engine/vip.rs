//! The VIP on this host: its address on the interface, and the gate in front of it (protocol section 3).
//!
//! ```text
//!  open:  Arm a slot ─► its proposal is won ─► Enable      close: Close ─► address off ─► sockets destroyed
//! ```
//!
//! Nobody else asks the kernel for either. Each step that it refuses is asked for again for as long as it is missing.

use crate::command::{Action, AddressStep, GateStep, Outcome, Slot};
use crate::gate::Gate;
use crate::node::engine::failing::{Local, Refusals, UNABLE_AFTER};
use crate::node::output::{Flight, Output};
use crate::time::{Span, Time};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// The second net under the gate: whole seconds are what the kernel counts.
const ADDRESS_LIFETIME: Span = Span::millis(4_000);
/// Of an address that nobody refreshes while the agent is stopped on purpose: longer than any work on the agent, and
/// not for ever, as nobody would take it off.
const UNATTENDED: Span = Span::millis(3_600_000);
/// For how long it is surely there: the kernel's timers run by up to a tenth faster (C4), and it rounds.
const ADDRESS_SURE: Span = Span::millis(3_500);
const ADDRESS_REFRESH: Span = Span::millis(1_000);

/// The VIP on this host.
#[derive(Clone, Debug)]
pub(in crate::node) struct Vip {
    gate: Gate,
    /// What the kernel held when this run began.
    found: [Option<Span>; 2],
    /// A close was asked for, and is not confirmed.
    closing: bool,
    address: Address,
    refusals: Refusals,
}

/// Its address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Address {
    /// When it was last asked on, and not off since.
    asked: Option<Time>,
    /// When what the kernel took last was asked for.
    taken: Option<Time>,
    /// Since when a step that puts it on is under way.
    adding: Option<Time>,
    /// A removal is still owed (after a close).
    removing: bool,
}

impl Vip {
    /// As the kernel holds it when a run begins.
    pub fn found(kernel: [Option<Span>; 2], at: Time) -> Vip {
        Vip {
            gate: Gate::found(kernel, at),
            found: kernel,
            closing: false,
            address: Address::default(),
            refusals: Refusals::default(),
        }
    }

    // ---- what is so ----

    /// Something may pass the gate, now or by a ticket that runs still.
    pub fn may_pass(&self) -> bool {
        self.gate.may_pass()
    }

    /// A slot is enabled, and its ticket runs.
    pub fn is_open(&self, now: Time) -> bool {
        self.gate.is_open(now)
    }

    /// A slot was enabled and not closed since.
    pub fn is_held(&self) -> bool {
        self.gate.is_held()
    }

    /// A close was asked for, and is not confirmed.
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// Nothing passes, and nothing is owed.
    pub fn is_shut(&self) -> bool {
        !self.gate.may_pass() && !self.closing
    }

    /// The address is on this host's interface: unrefreshed, because that is refused or hangs, it goes off by itself.
    pub fn is_on(&self, now: Time) -> bool {
        self.address.taken.is_some_and(|at| now.elapsed_most(at) < ADDRESS_SURE)
    }

    /// The gate is closed, and the address off, confirmed.
    pub fn is_gone(&self, out: &Output) -> bool {
        !self.gate.may_pass()
            && !self.address.removing
            && self.address.asked.is_none()
            && !out.in_flight(|f| matches!(f, Flight::AddressRemove))
    }

    /// May the step be asked for: it was not refused, or the pause after that is over.
    pub fn may_ask(&self, step: Local, now: Time) -> bool {
        self.refusals.may_ask(step, now)
    }

    // ---- tickets (C1) ----

    /// A ticket with more than half of its time left is kept for the next proposal.
    pub fn keeps(&self, now: Time) -> bool {
        self.gate.keeps(now) && !self.closing
    }

    /// Arms the next slot for the proposal of this number.
    pub fn arm(&mut self, n: u64, ticket: Span, out: &mut Output) {
        let slot = self.gate.next(self.found);
        self.gate.arming(slot);
        let step = GateStep::Arm { slot, ticket };
        out.ask(Action::Gate(step), Some(Flight::Arm { n, slot, ticket }));
    }

    /// The kernel took the ticket, or refused it.
    pub fn take_armed(&mut self, outcome: Outcome, now: Time, out: &mut Output) -> bool {
        self.refusals.note(Local::Arm, outcome, now, out)
    }

    /// A slot is armed for the proposal of this number, dated by this clock.
    pub fn armed(&mut self, slot: Slot, ticket: Span, n: u64, at: Time) {
        self.gate.armed(slot, ticket, n, at);
    }

    /// The proposal of this number was won: what was armed for it may be enabled.
    pub fn won(&mut self, n: u64) {
        self.gate.won(n);
    }

    /// The planted mistake: any win will do.
    #[cfg(feature = "planted")]
    pub fn won_for_any(&mut self) {
        self.gate.won_for_any();
    }

    /// Enables a slot with its own win, if one waits for that.
    pub fn enable(&mut self, now: Time, out: &mut Output) {
        if out.in_flight(|f| matches!(f, Flight::Enable { .. })) {
            return;
        }
        let slot = self.gate.enableable();
        if let Some(slot) = slot.filter(|_| self.may_ask(Local::Enable, now)) {
            out.ask(Action::Gate(GateStep::Enable { slot }), Some(Flight::Enable { slot }));
        }
    }

    /// The kernel enabled a slot, or refused. Answers whether the gate is open now and was not before.
    pub fn take_enabled(
        &mut self,
        slot: Slot,
        outcome: Outcome,
        now: Time,
        out: &mut Output,
    ) -> bool {
        if !self.refusals.note(Local::Enable, outcome, now, out) {
            return false;
        }
        let first = !self.gate.is_open(now);
        self.gate.enabled(slot);
        first
    }

    // ---- close ----

    /// Asks the kernel to close both slots, unless they are closed or closing. What follows the close (address off,
    /// sockets destroyed) is owed from here on (section 3, close).
    pub fn close(&mut self, out: &mut Output) {
        if self.gate.may_pass() && !self.closing {
            self.closing = true;
            out.ask(Action::Gate(GateStep::Close), Some(Flight::Close));
        }
    }

    /// Clients are refused first, each connection with a reset: nothing runs behind the gate any more. Answers
    /// whether there was anything to close.
    pub fn close_with_resets(&mut self, out: &mut Output) -> bool {
        let opens = self.gate.may_pass() && !self.closing;
        if opens {
            out.ask(Action::Address(AddressStep::DestroySockets), None);
            out.ask(Action::Gate(GateStep::Refuse), None);
            self.close(out);
        }
        opens
    }

    /// Clients are cut: a reset for each connection, and for each that would begin. A move waits for both.
    pub fn cut(&mut self, out: &mut Output) {
        out.ask(Action::Address(AddressStep::DestroySockets), Some(Flight::DestroySockets));
        out.ask(Action::Gate(GateStep::Refuse), Some(Flight::Refuse));
    }

    /// A close that was refused stays owed, and with it everything that a closed gate is waited for; the address goes
    /// off at once, as the second net.
    pub fn take_closed(&mut self, outcome: Outcome, now: Time, out: &mut Output) {
        self.address.removing = true;
        if self.refusals.note(Local::Close, outcome, now, out) {
            self.closing = false;
            self.gate.closed();
        }
    }

    /// What a close still owes: itself if it was refused; once confirmed the address off, then the sockets that were
    /// bound to it. `wanted`: the address is to stay all the same.
    pub fn finish_close(&mut self, wanted: bool, now: Time, out: &mut Output) {
        if self.closing
            && self.may_ask(Local::Close, now)
            && !out.in_flight(|f| matches!(f, Flight::Close))
        {
            out.ask(Action::Gate(GateStep::Close), Some(Flight::Close));
        }
        if self.address.removing
            && self.may_ask(Local::AddressRemove, now)
            && !out.in_flight(|f| matches!(f, Flight::AddressRemove))
            && !wanted
        {
            let adding = self.address.adding;
            self.address = Address { adding, ..Address::default() };
            out.ask(Action::Address(AddressStep::Remove), Some(Flight::AddressRemove));
            out.ask(Action::Address(AddressStep::DestroySockets), None);
        }
        self.refusals.forget(now, out);
    }

    /// Somebody changed the filter: the adapter took the address off and loaded it closed (G3).
    pub fn was_lost(&mut self) {
        self.gate.closed();
        let adding = self.address.adding;
        self.address = Address { adding, ..Address::default() };
    }

    // ---- the address ----

    /// Puts the address on, behind the gate, or refreshes its lifetime.
    pub fn refresh(&mut self, now: Time, out: &mut Output) {
        let fresh = |at: Time| now.elapsed_most(at) < ADDRESS_REFRESH;
        let due = !self.address.asked.is_some_and(fresh) || !self.address.taken.is_some_and(fresh);
        if due
            && self.may_ask(Local::AddressAdd, now)
            && !out.in_flight(|f| matches!(f, Flight::AddressAdd))
        {
            self.address.asked = Some(now);
            self.address.adding = Some(now);
            let step = AddressStep::Add { lifetime: ADDRESS_LIFETIME };
            out.ask(Action::Address(step), Some(Flight::AddressAdd));
        }
    }

    /// It stays, unrefreshed, for as long as the agent is stopped on purpose.
    pub fn leave(&mut self, out: &mut Output) {
        let step = AddressStep::Add { lifetime: UNATTENDED };
        out.ask(Action::Address(step), None);
    }

    /// The kernel took the address, or refused it.
    pub fn take_added(&mut self, outcome: Outcome, now: Time, out: &mut Output) {
        self.address.adding = None;
        if self.refusals.note(Local::AddressAdd, outcome, now, out) {
            // Asked off meanwhile: that step comes after this one.
            self.address.taken = self.address.asked;
        }
    }

    /// It was taken off, or that was refused: then it is owed still.
    pub fn take_removed(&mut self, outcome: Outcome, now: Time, out: &mut Output) {
        self.address.removing |= outcome != Outcome::Done;
        self.refusals.note(Local::AddressRemove, outcome, now, out);
    }

    /// It is to go off, if it is on or was asked on.
    pub fn remove(&mut self, out: &Output) {
        let busy = out.in_flight(|f| matches!(f, Flight::AddressAdd));
        self.address.removing |= self.address.asked.is_some() && !busy;
    }

    /// Neighbours learn again where it is.
    pub fn announce(&self, out: &mut Output) {
        out.ask(Action::Address(AddressStep::Announce), Some(Flight::Announce));
    }

    // ---- what is wrong with it ----

    /// Why this host cannot answer for the VIP, if a step has been refused for too long.
    pub fn refusal(&self, now: Time) -> Option<String> {
        self.refusals.bar(now)
    }

    /// The gate is to be closed, and the kernel has refused that for too long.
    pub fn cannot_close(&self, now: Time) -> bool {
        self.closing && self.refusals.lasts(Local::Close, now)
    }

    /// For how long the step that is to put the address on has not ended, while it is off, if for too long to serve
    /// with.
    pub fn hangs(&self, now: Time) -> Option<Span> {
        let since = self.address.adding.filter(|_| !self.is_on(now))?;
        Some(now.elapsed_most(since)).filter(|since| *since >= UNABLE_AFTER)
    }

    /// Every refusal that stands and the step that does not end, a line each; `wanted`: the address is to be on.
    pub fn explain(&self, wanted: bool, lines: &mut Vec<String>, now: Time) {
        self.refusals.explain(lines, now);
        if let Some(since) = self.hangs(now).filter(|_| wanted) {
            lines.push(format!(
                "the step that puts the VIP on has not ended for {} ms: check the interface with `ip address`",
                since.as_millis()
            ));
        }
    }
}
