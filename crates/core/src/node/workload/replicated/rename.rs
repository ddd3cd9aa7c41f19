//! A writer whose log began anew (somebody's RESET MASTER, files removed or put back) while its server ran: its data
//! have every acknowledged write, and its log tells nobody so any more. They get a new name, and serve on (D12).
//!
//! ```text
//!  alone under the old name ─► loose ─► sessions ended, read-only, log begun anew, named ─► alone under the new one
//!  (only while commits may wait)                                                            ─► writable
//! ```
//! Every step is asked for again after a pause that grows; its error is in `status`. The follower is dropped at once:
//! what it received under the old name ends somewhere, and nothing tells where.

use crate::command::DatabaseStep;
use crate::event::Severity;
use crate::id::Incarnation;
use crate::node::Node;
use crate::node::engine::propose::Kind;
use crate::observe::DatabaseFacts;
use crate::state::DataCopy;
use crate::sync::{self, Licence};
use crate::time::Time;
use alloc::string::{String, ToString};

const WHY: &str = "the log of the database began anew (RESET MASTER, or its files were removed or put back); the data \
    have everything and get a new name, a standby is copied anew";

impl Node {
    /// The old name of the recorded writer's data here, while they have no new one. Not of a server that is being
    /// killed: its start is over, and with it what shows that they have everything; nor while a move must come to its
    /// end.
    pub(in crate::node) fn needs_name(&self) -> Option<Incarnation> {
        let goes_on = self.moving.as_ref().is_some_and(crate::node::engine::moves::Move::goes_on);
        if self.database.is_being_killed() || goes_on || self.is_release_unanswered() {
            return None;
        }
        let facts = self.database.facts.as_ref()?;
        let sync = &self.view.as_ref()?.state.sync;
        let named = facts.incarnation.is_some();
        let renamed = !named && sync::is_renamed(sync, self.me(), &facts.was);
        renamed.then_some(sync.writer.incarnation)
    }

    /// What a holder does while its data need a name.
    pub(in crate::node) fn rename_data(&mut self, was: Incarnation, now: Time) {
        self.tell_edge("data.renamed", Severity::Alarm, WHY.to_string());
        self.follower.alone_because("the log of its database began anew".to_string());
        self.close();
        self.moving = None;
        if !self.is_join_unanswered() {
            self.follower.stop_joining();
        }
        self.keep_address(now);
        if let Some(facts) = self.database.facts.clone().filter(|_| self.database.is_free()) {
            let alone = self.is_alone_as(was, &facts);
            // Nobody waits for a replica; a status that is off may hide a side that is on.
            let loose = !facts.strict && facts.waiting == 0;
            // Without a quorum nobody can go on alone, and nobody may wait for it either.
            let may_be_quiet = facts.waiting == 0 && !self.rules(now);
            if facts.source.is_some() {
                self.step(DatabaseStep::EndFollowing, now);
            } else if facts.is_quiet() || (alone && loose) || may_be_quiet {
                let incarnation = self.draw_incarnation();
                self.step(DatabaseStep::Rename { incarnation }, now);
            } else if alone {
                self.step(DatabaseStep::Loose, now);
            }
        }
        self.propose_next(now);
    }

    /// D3: loose only once this run has won solo; the old name's, since there is no other yet.
    pub(in crate::node) fn alone_for_name(
        &self,
        was: Incarnation,
        facts: &DatabaseFacts,
    ) -> Option<Kind> {
        if facts.is_quiet() || facts.mark || self.is_alone_as(was, facts) {
            return None;
        }
        let copy = DataCopy { node: self.me(), incarnation: was };
        Some(Kind::Solo { copy, start: facts.start })
    }

    fn is_alone_as(&self, was: Incarnation, facts: &DatabaseFacts) -> bool {
        let alone = self.view.as_ref().is_some_and(|view| view.state.sync.with.is_none());
        let licence = Licence { epoch: self.epoch(), incarnation: was, start: facts.start };
        alone && self.holding.licence() == Some(licence) && !self.is_join_unanswered()
    }

    /// For `explain`.
    pub(in crate::node) fn explain_name(&self) -> Option<String> {
        self.needs_name().map(|_| WHY.to_string())
    }
}
