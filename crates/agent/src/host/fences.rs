//! The fences of every node, as configured: used by the holder, and tested from anywhere.

use regent_adapters::fence::{Answer, Fence, Tested, Warrant};
use regent_api::call::FenceTested;
use regent_config::fence::Settings as FenceSettings;
use regent_core::command::Fenced;
use regent_core::id::{Epoch, NodeId};
use std::time::Duration;

/// Fences by node.
pub(super) struct Fences {
    cluster: String,
    nodes: Vec<Known>,
}

struct Known {
    id: NodeId,
    name: String,
    fence: Option<(Fence, Duration)>,
}

impl Fences {
    /// Every node that runs resources, with its fence if it has one.
    pub(super) fn new(
        cluster: &str,
        nodes: impl IntoIterator<Item = (NodeId, String, Option<FenceSettings>)>,
    ) -> Fences {
        let known = |(id, name, settings): (NodeId, String, Option<FenceSettings>)| {
            let fence = settings.map(|settings| {
                let bound = Duration::from_nanos(settings.timeout.0);
                (Fence::from(settings), bound)
            });
            Known { id, name, fence }
        };
        Fences { cluster: cluster.into(), nodes: nodes.into_iter().map(known).collect() }
    }

    /// The longest that a fencing takes.
    pub(super) fn bound(&self) -> Duration {
        self.nodes.iter().filter_map(|n| Some(n.fence.as_ref()?.1)).max().unwrap_or_default()
    }

    fn warrant(&self, epoch: Epoch) -> Warrant {
        Warrant { cluster: self.cluster.clone(), epoch }
    }

    /// Says what is wrong with each fence as it is configured, asking no device.
    pub(super) async fn check(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for known in &self.nodes {
            if let Some((fence, _)) = &known.fence
                && let Err(error) = fence.check().await
            {
                wrong.push(format!("the fence of {} cannot be used: {error}", known.name));
            }
        }
        wrong
    }

    /// Switches a node off.
    pub(super) async fn off(&self, node: NodeId, epoch: Epoch) -> Fenced {
        let Some(known) = self.nodes.iter().find(|n| n.id == node) else {
            return Fenced::Failed(format!("{node} is not in the configuration"));
        };
        match &known.fence {
            Some((fence, _)) => fence.off(&self.warrant(epoch)).await,
            None => Fenced::Failed(no_fence(&known.name)),
        }
    }

    /// Asks the device of one node, or of every one, all at once.
    pub(super) async fn test(&self, node: Option<NodeId>, epoch: Epoch) -> Vec<FenceTested> {
        let asked: Vec<_> = self
            .nodes
            .iter()
            .filter(|known| node.is_none_or(|node| node == known.id))
            .map(|known| {
                let (fence, warrant) = (known.fence.clone(), self.warrant(epoch));
                let answer = tokio::spawn(async move {
                    match fence {
                        Some((fence, _)) => Some(fence.test(&warrant).await),
                        None => None,
                    }
                });
                (known.name.clone(), answer)
            })
            .collect();
        let mut all = Vec::new();
        for (name, answer) in asked {
            let (device, (works, answer), took_ms) = match answer.await {
                Ok(Some(Tested { device, answer, took, .. })) => {
                    (device, words(answer), took.as_millis())
                }
                Ok(None) => (String::new(), (false, no_fence(&name)), 0),
                Err(error) => (String::new(), (false, error.to_string()), 0),
            };
            all.push(FenceTested { node: name, device, works, answer, took_ms });
        }
        all
    }
}

fn words(answer: Answer) -> (bool, String) {
    match answer {
        Answer::On => (true, "on".into()),
        Answer::Off => (true, "off".into()),
        Answer::Reachable => (true, "reachable".into()),
        Answer::Failed(why) => (false, format!("failed: {why}")),
        Answer::Unknown(why) => (false, format!("unknown: {why}")),
    }
}

fn no_fence(name: &str) -> String {
    format!("{name} has no fence: write [node.{name}.fence] into the configuration")
}
