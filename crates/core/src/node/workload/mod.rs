//! What a holder makes ready and a standby keeps ready: the data, and the services beside them.
//!
//! Each question that has one answer for nodes with a copy each ([`replicated`]) and another one for nodes that share a
//! directory ([`shared`]) is asked here. [`services`] serves both.

pub(in crate::node) mod replicated;
pub(in crate::node) mod services;
pub(in crate::node) mod shared;
pub(in crate::node) mod tries;

use crate::event::Severity;
use crate::id::NodeId;
use crate::node::Node;
use crate::node::engine::propose::Kind;
use crate::observe::Report;
use crate::reason::Standing;
use crate::time::{Span, Time};
use alloc::format;
use alloc::string::String;

/// How long a move of a whole stack may take before the asker is told that it goes on.
const STACK_MAX: Span = Span::millis(900_000);

impl Node {
    /// The nodes share one data directory; otherwise each has a copy.
    pub(in crate::node) fn shares_data(&self) -> bool {
        self.spec.stack.is_some()
    }

    // ---- what a node does, by what it is ----

    /// This node holds.
    pub(in crate::node) fn hold(&mut self, now: Time) {
        if self.shares_data() { self.hold_shared(now) } else { self.hold_copy(now) }
    }

    /// Another one holds.
    pub(in crate::node) fn stand_by(&mut self, now: Time) {
        if self.shares_data() { self.stand_shared(now) } else { self.stand_by_copy(now) }
    }

    /// An operator stops the cluster.
    pub(in crate::node) fn stop_workload(&mut self, now: Time) {
        if self.shares_data() { self.stop_shared(now) } else { self.stop_copy(now) }
    }

    /// This node sees no register, or proposes nothing.
    pub(in crate::node) fn idle_workload(&mut self, now: Time) {
        if self.shares_data() {
            self.idle_shared(now);
        } else if self.mute.is_some() {
            self.quiesce_database(now);
        }
    }

    /// What died is started again, whatever the node is. A stack is driven by its holder.
    pub(in crate::node) fn mend_workload(&mut self, now: Time) {
        if !self.shares_data() {
            self.mend_database(now);
        }
    }

    /// A look at what is there. A stack is looked at by whoever drives it.
    pub(in crate::node) fn observe_workload(&mut self, now: Time) {
        if !self.shares_data() {
            self.observe_database(now);
        }
    }

    // ---- what the engine asks ----

    /// Does this node have every acknowledged write? Unknown until that was read in this run.
    pub(in crate::node) fn eligibility(&self) -> Option<bool> {
        self.view.as_ref()?;
        // There is one copy of shared data, and whoever may use it has all of it.
        if self.shares_data() { Some(true) } else { self.has_recorded_copy() }
    }

    /// The swap that the workload wants before a plain renewal.
    pub(in crate::node) fn wanted_record(&self, now: Time) -> Option<Kind> {
        if self.shares_data() { self.wanted_use(now) } else { self.wanted_copies(now) }
    }

    /// What clients come for is here, and takes their writes, rightly.
    pub(in crate::node) fn is_writable(&self) -> bool {
        if self.shares_data() { self.is_stack_up() } else { self.is_database_writable() }
    }

    /// May the gate be opened before it? `kept`: a move that can be undone unnoticed is under way. What of a stack is
    /// not up yet refuses by itself.
    pub(in crate::node) fn may_be_opened(&self, kept: bool, now: Time) -> bool {
        if self.shares_data() { self.may_answer(now) } else { kept || self.is_writable() }
    }

    /// The gate was opened: what is told.
    pub(in crate::node) fn tell_opened(&mut self, now: Time) {
        if self.shares_data() {
            let text = "gate enabled, VIP announced; the stack comes up behind it".into();
            return self.tell("vip.on", Severity::Info, text);
        }
        self.tell_served(now, "active: gate enabled, VIP announced, writable");
        self.reporting.hasten();
    }

    /// It uses the VIP, as far as it goes.
    pub(in crate::node) fn workload_wants_vip(&self) -> bool {
        !self.shares_data() || self.uses_address()
    }

    /// The cluster is stopped, and nothing here is served any more while that goes on.
    pub(in crate::node) fn is_put_away(&self) -> bool {
        !self.shares_data() && self.is_stopped() && !self.is_writable()
    }

    /// Nothing can change the data here any more: the lease may be given away.
    pub(in crate::node) fn is_quiet(&self) -> bool {
        // A stack may have a database of its own, which nobody here looks at.
        match self.shares_data() && self.database.facts.is_none() {
            true => self.is_clear(),
            false => self.is_database_quiet(),
        }
    }

    /// Why this node could not serve now, as far as its workload goes.
    pub(in crate::node) fn workload_unable(&self, now: Time) -> Option<String> {
        if self.shares_data() { self.unable_shared(now) } else { self.unable_database(now) }
    }

    /// Where a holder is, and why.
    pub(in crate::node) fn holder_standing(&self, now: Time) -> Standing {
        if self.shares_data() { self.shared_standing(now) } else { self.database_standing(now) }
    }

    /// Nothing runs here, nor at any peer that is heard.
    pub(in crate::node) fn is_all_stopped(&self, now: Time) -> bool {
        if self.shares_data() { self.are_stacks_down(now) } else { self.are_copies_stopped(now) }
    }

    // ---- moves ----

    /// May this node be released to: it reports freshly that it could serve.
    pub(in crate::node) fn can_take(&self, node: NodeId, now: Time) -> Result<(), String> {
        match self.shares_data() {
            true => self.can_take_stack(node, now),
            false => self.can_take_database(node, now),
        }
    }

    /// What a node reports that may be released to at all: it is a peer, heard, and not in maintenance.
    fn candidate(&self, node: NodeId, now: Time) -> Result<&Report, String> {
        let name = self.name(node);
        let peer =
            self.peers.get(&node).ok_or_else(|| format!("{name} is no peer of this node"))?;
        let report =
            peer.fresh(self.spec.pace.suspicion, now).ok_or_else(|| format!("{name} is silent"))?;
        if self.is_in_maintenance(node, now) {
            return Err(format!("{name} is in maintenance"));
        }
        Ok(report)
    }

    /// The node that could take over now.
    pub(in crate::node) fn successor(&self, now: Time) -> Option<NodeId> {
        if self.shares_data() { self.shared_successor(now) } else { self.fit_follower(now) }
    }

    /// Whom a planned move goes to if nobody is named.
    pub(in crate::node) fn default_target(&self, holder: NodeId) -> Result<NodeId, String> {
        if self.shares_data() {
            let mut others = self.spec.nodes.iter().map(|(node, _)| *node);
            return others.find(|node| *node != holder).ok_or("there is no other node".into());
        }
        let none = "no standby is in sync: wait until `regent status` says so";
        self.recorded_beside(holder).ok_or(none.into())
    }

    /// What bars every planned move.
    pub(in crate::node) fn bar_to_moves(&self) -> Result<(), String> {
        match self.shares_data() && self.is_stopped() {
            true => Err("nothing is active: regent activate, on the node that shall be".into()),
            false => Ok(()),
        }
    }

    /// How long a planned move may take before the asker is told that it goes on.
    pub(in crate::node) fn move_max(&self) -> Span {
        if self.shares_data() { STACK_MAX } else { self.spec.pace.switchover_max }
    }
}
