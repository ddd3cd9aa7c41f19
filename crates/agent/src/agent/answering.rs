//! Finds the answer of a node with a core to each question, of operators and of other members.

use super::coreless_api::belonging;
use super::node_api::{LOOK, NodeApi, stalled};
use super::timeline::{self, Sources};
use crate::host::Later;
use crate::peer::{Answer as PeerAnswer, Peers, Question};
use crate::serve::{Answered, Progress, refuse};
use regent_api::call::{Ask, RefusalKind, Reply};
use regent_core::id::NodeId;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl NodeApi {
    /// A reply, and the new life that follows it if the configuration is another.
    pub(super) async fn answered(&self, ask: Ask, progress: Progress) -> Answered {
        let reply = self.reply(ask, progress).await;
        let configured = Arc::clone(&self.configured);
        let due = configured.due.swap(false, Ordering::Relaxed);
        Answered { reply, after: due.then(|| Box::new(move || configured.again.notify_one()) as _) }
    }

    async fn reply(&self, ask: Ask, progress: Progress) -> Reply {
        match ask {
            Ask::Status => self.status().await,
            Ask::Explain => match self.inputs.look(LOOK).await {
                Some(core) => Reply::Text(core.reasons),
                None => stalled(),
            },
            Ask::History { last, cluster } => {
                timeline::history(self.sources(), last, cluster).await
            }
            Ask::Switchover { to, away } => self.switchover(to, away).await,
            Ask::Resync { node, in_place } => self.resync(&node, in_place, &progress).await,
            Ask::VerifyDb { duty } => self.verify(duty, &progress).await,
            Ask::Init => refuse(
                RefusalKind::Guard,
                "this node belongs to a cluster already",
                "regent status shows it",
            ),
            Ask::AdmitVoter { node } => self.admit(&node).await,
            Ask::Rejoin { node } => self.rejoin(&node, &progress).await,
            Ask::Maintenance { node, for_ms } => self.maintenance(node, for_ms).await,
            Ask::Pause { for_ms } => self.pause(for_ms).await,
            Ask::Stop => self.run_all(false, &progress).await,
            Ask::Start => self.run_all(true, &progress).await,
            Ask::Fence { node } => self.fence(&node).await,
            Ask::FenceTest { node } => self.fence_test(node).await,
            Ask::Activate { off, cannot_write, dry_run } => {
                match self.peer_off_confirmation(off.as_deref(), cannot_write.as_deref()) {
                    Ok(confirmation) => self.activate(confirmation, dry_run, &progress).await,
                    Err(refusal) => refusal,
                }
            }
            Ask::Deactivate { dry_run } => self.deactivate(dry_run, &progress).await,
            Ask::StackShow => self.stack_show().await,
            Ask::StackRepair => self.stack_repair(&progress).await,
            Ask::ConfigShow { effective } => {
                self.configured.show(effective, self.timing().as_ref())
            }
            Ask::ConfigDiff { node } => self.configured.compare(node).await,
            Ask::ConfigSet { key, value, apply } => {
                self.config_set(&key, value.as_deref(), apply, &progress).await
            }
        }
    }

    fn sources(&self) -> Sources<'_> {
        Sources {
            settings: &self.settings,
            me: self.me,
            transport: &self.transport,
            events: &self.events,
        }
    }
}

impl Peers for NodeApi {
    fn answer(&self, _from: NodeId, question: Question) -> Later<PeerAnswer> {
        let latest = self.bridge.latest().borrow().clone();
        let (me, events) = (self.me, self.events.clone());
        let configured = Arc::clone(&self.configured);
        let settings = self.settings.clone();
        let here = self.here.upgrade();
        Box::pin(async move {
            match (question, latest) {
                (Question::Leave { cluster, settings }, _) => match here {
                    Some(here) => here.leave(cluster, &settings).await,
                    None => PeerAnswer::Refused("it is ending".into()),
                },
                (Question::Token, _) => crate::init::token_of(&settings).await,
                (
                    Question::OfferVoter { .. } | Question::Install(_) | Question::Seat { .. },
                    Some(value),
                ) => belonging(&value, me),
                (
                    Question::OfferVoter { .. } | Question::Install(_) | Question::Seat { .. },
                    None,
                )
                | (Question::Database(_), _) => PeerAnswer::Refused("it votes already".into()),
                (Question::Events { last }, _) => timeline::told(events, last).await,
                (Question::Configuration(change), _) => configured.answer(change).await,
            }
        })
    }
}
