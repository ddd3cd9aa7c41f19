//! Steps of gate and address that the kernel refuses: dated, tried again after a pause that doubles, told once for as
//! long as they are asked for.
//!
//! Each of them is asked for again for as long as it is missing (ADR 0003); without a pause a refusal that comes back
//! at once would keep the lease thread busy with nothing else. A step that is not asked for any more was refused
//! once: whether it would be now nobody knows, and after a while it says nothing about this node (ADR 0029).

use crate::command::Outcome;
use crate::event::Severity;
use crate::node::output::{Flight, Output};
use crate::node::workload::tries::pause_after;
use crate::time::{Span, Time};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// After the first refusal; doubled each time. A renewal is due every 150 ms: a few tries fit into one ticket.
const PAUSE_FIRST: Span = Span::millis(20);
const PAUSE_MOST: Span = Span::millis(1_000);
/// A node on which a step has been refused, or has not ended, for so long cannot serve.
pub(in crate::node) const UNABLE_AFTER: Span = Span::millis(300);
/// How long the last refusal counts: two of the longest pauses, so that what is asked for does not outlive it.
const COUNTS_FOR: Span = Span::millis(2_000);

/// A step that may be refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::node) enum Local {
    /// Arm a slot.
    Arm,
    /// Enable a slot.
    Enable,
    /// Close both slots.
    Close,
    /// Put the VIP on, or refresh it.
    AddressAdd,
    /// Take it off.
    AddressRemove,
}

/// A step that was refused, and not done since.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::node) struct Refused {
    since: Time,
    last: Time,
    times: u32,
    why: String,
}

impl Refused {
    fn pause(&self) -> Span {
        pause_after(self.times, PAUSE_FIRST, PAUSE_MOST)
    }

    /// For too long to serve with.
    fn is_lasting(&self, now: Time) -> bool {
        now.elapsed_most(self.since) >= UNABLE_AFTER
    }
}

impl Local {
    fn is(self, flight: &Flight) -> bool {
        match self {
            Local::Arm => matches!(flight, Flight::Arm { .. }),
            Local::Enable => matches!(flight, Flight::Enable { .. }),
            Local::Close => matches!(flight, Flight::Close),
            Local::AddressAdd => matches!(flight, Flight::AddressAdd),
            Local::AddressRemove => matches!(flight, Flight::AddressRemove),
        }
    }

    /// What it is for, what to look at, and the event's code.
    fn words(self) -> (&'static str, &'static str, &'static str) {
        const FILTER: &str = "check `nft list ruleset` and the agent's privileges";
        const LINK: &str = "check the interface with `ip address`";
        match self {
            Local::Arm => ("gate.arm", "arm the gate: nothing was proposed", FILTER),
            Local::Enable => ("gate.enable", "open the gate", FILTER),
            Local::Close => (
                "gate.close",
                "close the gate: the address is taken off, and the ticket ends by itself",
                FILTER,
            ),
            Local::AddressAdd => ("address.add", "put the VIP on", LINK),
            Local::AddressRemove => ("address.remove", "take the VIP off", LINK),
        }
    }
}

/// Every step that was refused, and not done since.
#[derive(Clone, Debug, Default)]
pub(in crate::node) struct Refusals(BTreeMap<Local, Refused>);

impl Refusals {
    /// Was the step done? If not, that is dated and told.
    pub fn note(&mut self, step: Local, outcome: Outcome, now: Time, out: &mut Output) -> bool {
        match outcome {
            Outcome::Done => {
                self.note_accepted(step, now, out);
                true
            }
            Outcome::Failed(why) => {
                self.note_refused(step, why, now, out);
                false
            }
            other @ (Outcome::Clock(_)
            | Outcome::Swap(_)
            | Outcome::Database { .. }
            | Outcome::Fence(_)
            | Outcome::Stack { .. }
            | Outcome::Peer { .. }) => {
                self.note_refused(step, format!("answered {other:?}"), now, out);
                false
            }
        }
    }

    /// The step was refused; the first time it is told.
    fn note_refused(&mut self, step: Local, why: String, now: Time, out: &mut Output) {
        let (code, what, remedy) = step.words();
        match self.0.get_mut(&step) {
            Some(refused) => {
                refused.times = refused.times.saturating_add(1);
                refused.last = now;
                refused.why = why;
            }
            None => {
                let text = format!("the kernel refused to {what} ({why}); tried again; {remedy}");
                out.tell(code, Severity::Alarm, text);
                self.0.insert(step, Refused { since: now, last: now, times: 1, why });
            }
        }
    }

    /// The step is done.
    fn note_accepted(&mut self, step: Local, now: Time, out: &mut Output) {
        if let Some(refused) = self.0.remove(&step) {
            let (code, ..) = step.words();
            let ms = now.elapsed_most(refused.since).as_millis();
            let text = format!(
                "accepted again, after {} refusals in {ms} ms; the last one: {}",
                refused.times, refused.why
            );
            out.tell(code, Severity::Info, text);
        }
    }

    /// What was refused, and is not asked for any more, says nothing about this node after a while.
    pub fn forget(&mut self, now: Time, out: &mut Output) {
        let over = |step: &Local, refused: &Refused| {
            now.elapsed_most(refused.last) >= COUNTS_FOR && !out.in_flight(|f| step.is(f))
        };
        let over: Vec<Local> =
            self.0.iter().filter(|(step, r)| over(step, r)).map(|(step, _)| *step).collect();
        for step in over {
            let Some(refused) = self.0.remove(&step) else { continue };
            let (code, ..) = step.words();
            let text = format!(
                "not asked for any more, after {} refusals; the last one: {}",
                refused.times, refused.why
            );
            out.tell(code, Severity::Info, text);
        }
    }

    /// May the step be asked for: it was not refused, or the pause after that is over.
    pub fn may_ask(&self, step: Local, now: Time) -> bool {
        self.0.get(&step).is_none_or(|r| now.elapsed_most(r.last) >= r.pause())
    }

    /// Why this host cannot answer for the VIP, if a step has been refused for too long.
    pub fn bar(&self, now: Time) -> Option<String> {
        let serves = |step: &Local| match step {
            Local::Arm | Local::Enable | Local::Close | Local::AddressAdd => true,
            // What stays on is mute behind the closed gate.
            Local::AddressRemove => false,
        };
        let (step, refused) =
            self.0.iter().find(|(step, refused)| serves(step) && refused.is_lasting(now))?;
        let (_, what, _) = step.words();
        Some(format!("the kernel refuses to {what} ({})", refused.why))
    }

    /// This step has been refused for too long.
    pub fn lasts(&self, step: Local, now: Time) -> bool {
        self.0.get(&step).is_some_and(|refused| refused.is_lasting(now))
    }

    /// Every refusal that stands, a line each, for `status`.
    pub fn explain(&self, lines: &mut Vec<String>, now: Time) {
        for (step, refused) in &self.0 {
            let (_, what, remedy) = step.words();
            let ms = now.elapsed_most(refused.since).as_millis();
            lines.push(format!(
                "the kernel has refused {} times in {ms} ms to {what} ({}): {remedy}",
                refused.times, refused.why
            ));
        }
    }
}
