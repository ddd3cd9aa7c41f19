//! Whom a writer could give the lease to: its copy is a recorded one, and nothing vital fails there.

use crate::health::{Subject, Weight};
use crate::id::NodeId;
use crate::node::Node;
use crate::sync;
use crate::time::Time;
use alloc::format;
use alloc::string::String;

impl Node {
    /// May this node be released to: it reports freshly that it could serve, and its copy is the recorded one.
    pub(in crate::node) fn can_take_database(&self, node: NodeId, now: Time) -> Result<(), String> {
        self.can_take_data(node, now)?;
        let report = self.peers.get(&node).and_then(|peer| peer.report.as_ref());
        match report.and_then(|report| self.peer_failure(report)) {
            Some(why) => Err(format!("{} would serve no better: {why}", self.name(node))),
            None => Ok(()),
        }
    }

    /// The same for the data alone: enough when the database here is dead.
    pub(in crate::node) fn can_take_data(&self, node: NodeId, now: Time) -> Result<(), String> {
        let view = self.view.as_ref().ok_or("the register was not read yet")?;
        let name = self.name(node);
        let report = self.candidate(node, now)?;
        if let Some(why) = &report.unable {
            return Err(format!("{name} cannot serve: {why}"));
        }
        let mut ailments = report.ailments.iter();
        if let Some(ailment) = ailments
            .find(|ailment| ailment.subject == Subject::Database && ailment.weight == Weight::Vital)
        {
            return Err(format!("clients of the database of {name} fail, too: {}", ailment.why));
        }
        let incarnation = report.database.as_ref().and_then(|database| database.incarnation);
        if incarnation.is_some() && incarnation == self.distrusts() {
            return Err(format!("{name} has other rows than this node: they are replaced"));
        }
        if !sync::is_eligible(&view.state.sync, node, incarnation) {
            return Err(format!("{name} is not in sync: wait until `regent status` says so"));
        }
        Ok(())
    }

    /// The recorded follower, if it could be released to now.
    pub(in crate::node) fn fit_follower(&self, now: Time) -> Option<NodeId> {
        let with = self.view.as_ref().and_then(|view| view.state.sync.with)?.node;
        (with != self.me() && self.can_take(with, now).is_ok()).then_some(with)
    }

    /// The node beside the holder that the record names.
    pub(in crate::node) fn recorded_beside(&self, holder: NodeId) -> Option<NodeId> {
        let sync = self.view.as_ref()?.state.sync;
        let recorded = [Some(sync.writer.node), sync.with.map(|copy| copy.node)];
        recorded.into_iter().flatten().find(|node| *node != holder)
    }

    /// No commit waits and none can come: or there is no server.
    pub(in crate::node) fn is_database_quiet(&self) -> bool {
        match &self.database.facts {
            Some(facts) => facts.read_only && facts.waiting == 0,
            None => self.database.is_down(),
        }
    }
}
