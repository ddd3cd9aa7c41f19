//! What clients have of the VIP, as seen from here: served by this node or not, and since when by nobody.

use crate::time::{Span, Time};

/// Whether this node serves, and whether anybody does.
#[derive(Clone, Debug, Default)]
pub(in crate::node) struct Serving {
    /// At the last look.
    now: bool,
    /// The gate was opened to clients, and not closed since: a gap between two of its tickets ends nothing.
    opened: bool,
    outage: Option<Time>,
}

impl Serving {
    /// This node served at the last look.
    pub fn is_on(&self) -> bool {
        self.now
    }

    /// The gate was opened to clients, and not closed since.
    pub fn is_opened(&self) -> bool {
        self.opened
    }

    /// A look at itself: `held`, the gate is enabled before what takes writes. Answers whether it changed.
    pub fn look(&mut self, serving: bool, held: bool, now: Time) -> bool {
        if self.now && !serving {
            self.begin_outage(now);
        }
        self.opened = serving || (self.opened && held);
        core::mem::replace(&mut self.now, serving) != serving
    }

    /// A peer's report: it serves, or has just stopped to.
    pub fn hear(&mut self, serves: bool, stopped: bool, now: Time) {
        match (self.opened, serves, stopped) {
            (true, _, _) | (false, false, false) => {}
            (false, true, _) => self.outage = None,
            (false, false, true) => self.begin_outage(now),
        }
    }

    /// From here on nobody is served, if that is not so already.
    pub fn begin_outage(&mut self, now: Time) {
        self.outage.get_or_insert(now);
    }

    /// Whoever is named next counts the outage, if there is one.
    pub fn forget_outage(&mut self) {
        self.outage = None;
    }

    /// It is over: how long it was.
    pub fn end_outage(&mut self, now: Time) -> Option<Span> {
        self.outage.take().map(|at| now.elapsed_most(at))
    }
}
