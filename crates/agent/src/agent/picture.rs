//! Where everybody is, as a node with a core shows it.

use super::node_api::{NodeApi, stalled};
use crate::status::{self, Frame};
use regent_api::call::Reply;

impl NodeApi {
    pub(super) async fn status(&self) -> Reply {
        match self.picture().await {
            Some(status) => Reply::Status(Box::new(status)),
            None => stalled(),
        }
    }

    /// Where everybody is; none if the lease thread does not answer.
    pub(super) async fn picture(&self) -> Option<regent_api::status::Status> {
        let core = self.look().await?;
        let mut status = self.frame().of_node(&core, self.events.alarm(), &self.host.warnings());
        status.measured = self.measures.figures();
        self.tell_other_registers(&mut status);
        Some(status)
    }

    /// What a status is written from beside core.
    pub(super) fn frame(&self) -> Frame<'_> {
        Frame {
            settings: &self.settings,
            me: self.me,
            heard: &self.heard,
            spec: &self.spec,
            configuration: self.configuration,
            claimed: self.steps.claimed(),
            cluster: Some(self.cluster),
        }
    }

    /// Nodes that answer, and by another register; and the one that has claimed the data by another one, whether it
    /// answers or not.
    fn tell_other_registers(&self, status: &mut regent_api::status::Status) {
        let latest = self.newest();
        let state = status::decode(latest.as_deref()).map(|(_, state)| state);
        let claim = status.shared.as_ref().and_then(|shared| shared.claim.clone());
        let claim = claim.filter(|claim| !claim.clear && claim.of_cluster.is_some());
        for member in self.settings.members.iter().filter(|m| m.id != self.me) {
            let (name, me) = (&member.name, self.settings.name(self.me));
            let since = claim.as_ref().filter(|claim| claim.node == *name);
            let Some(theirs) = self.transport.other_register(member.id) else {
                // What stands on the data is no proof, and all that can be known while it is not reached.
                let Some(claim) = since else { continue };
                let reason = format!(
                    "it has used the shared data by another register since {}, says the claim on them, and is not \
                     reached from here: {me} stays passive; on {name}: regent rejoin {me}",
                    claim.since
                );
                if let Some(node) = status.nodes.iter_mut().find(|node| node.name == *name) {
                    node.reason = reason;
                }
                continue;
            };
            let replaced = state.as_ref().is_some_and(|state| state.replaces == Some(theirs));
            let since =
                since.map_or(String::new(), |claim| format!("serves since {}: ", claim.since));
            let text = match replaced {
                true => format!(
                    "it is back with the register that this one replaced: it stays passive; regent rejoin {name}"
                ),
                false => format!(
                    "{since}it has another register, which replaced the one of {me} while that was away: {me} stays \
                     passive; on {name}: regent rejoin {me}"
                ),
            };
            if let Some(node) = status.nodes.iter_mut().find(|node| node.name == *name) {
                node.reason = text;
            }
        }
    }
}
