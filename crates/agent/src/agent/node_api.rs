//! A node with a core, for whoever asks it: what all answers of such a node share.
//!
//! How to read it: `answering` finds the answer to each question, `picture` makes status, `operating`, `stacking`,
//! `configuring`, `renewing` and `admission` are what operators may ask for. Each adds its methods to [`NodeApi`], and
//! none is imported here.

use super::configured::Configured;
use crate::events::Events;
use crate::host::Host;
use crate::inputs::Inputs;
use crate::measure::Measures;
use crate::pending::PendingRequests;
use crate::place::Place;
use crate::register::Bridge;
use crate::serve::refuse;
use crate::status::Heard;
use crate::steps::Steps;
use crate::transport::Transport;
use regent_api::call::{RefusalKind, Reply};
use regent_config::Settings;
use regent_config::settings::Member;
use regent_core::command::{Answer, Obstacle, Request};
use regent_core::id::{AttemptId, ClusterId, NodeId};
use regent_core::node::Input;
use regent_core::spec::Spec;
use regent_core::state::{Lease, Timing};
use regent_store::cell::Value;
use regent_store::embedded::Handle;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How long an operator waits for the lease thread, which answers in microseconds or is dead.
pub(super) const LOOK: Duration = Duration::from_millis(300);

/// Core answers what it refuses within this long, or is dead: it looks at the stack first, and waits for a majority.
pub(super) const GUARDS: Duration = Duration::from_secs(90);

/// Core tells whoever asked after 15 minutes that it goes on; and then some.
pub(super) const ALL: Duration = Duration::from_secs(930);

/// What is said of a request that core did not answer in its time.
pub(super) const LATE: &str = "it did not come to its end in time";

/// The kind of a refusal for what stood in the way; none if it is none of its own.
pub(super) fn refusal_kind(obstacle: Obstacle) -> Option<RefusalKind> {
    Some(match obstacle {
        Obstacle::AddressInUse => RefusalKind::AddressInUse,
        Obstacle::ActiveElsewhere => RefusalKind::ActiveElsewhere,
        Obstacle::NotProvenClear => RefusalKind::NotProvenClear,
        Obstacle::Checks => RefusalKind::Checks,
        Obstacle::StepFailed => RefusalKind::StepFailed,
        Obstacle::NotRolledBack => RefusalKind::PartlyUndone,
        Obstacle::Degraded => RefusalKind::Degraded,
        Obstacle::NoQuorum => RefusalKind::NoQuorum,
        Obstacle::Other => return None,
    })
}

/// A node with a core: what it answers.
pub(super) struct NodeApi {
    pub(super) configured: Arc<Configured>,
    pub(super) settings: Settings,
    pub(super) spec: Spec,
    pub(super) steps: Arc<Steps>,
    pub(super) configuration: u64,
    pub(super) place: Place,
    /// What this voter accepted last, before this life.
    pub(super) last: Option<Arc<Value>>,
    /// Itself, for answers that take their time.
    pub(super) here: Weak<NodeApi>,
    pub(super) me: NodeId,
    /// Whose register this node votes in.
    pub(super) cluster: ClusterId,
    pub(super) attempt: AttemptId,
    pub(super) admissions: AtomicU64,
    /// Held by whoever changes which register this node votes in, or gives the other one a seat in it.
    pub(super) changing: tokio::sync::Mutex<()>,
    pub(super) inputs: Inputs,
    pub(super) pending: PendingRequests,
    pub(super) heard: Arc<Heard>,
    pub(super) events: Events,
    pub(super) bridge: Arc<Bridge>,
    pub(super) register: Arc<Handle>,
    pub(super) host: Arc<dyn Host>,
    pub(super) transport: Transport,
    pub(super) measures: Arc<Measures>,
}

impl NodeApi {
    /// A node that runs resources, by its name.
    pub(super) fn node(&self, name: &str) -> Result<&Member, Reply> {
        if let Some(member) = self.settings.member(name).filter(|m| !m.witness) {
            return Ok(member);
        }
        let nodes: Vec<&str> =
            self.settings.members.iter().filter(|m| !m.witness).map(|m| m.name.as_str()).collect();
        let remedy = format!("one of {}", nodes.join(", "));
        let reason = match self.settings.member(name) {
            Some(_) => format!("{name} is the witness: it runs no resources"),
            None => format!("there is no node {name}"),
        };
        Err(refuse(RefusalKind::Usage, &reason, &remedy))
    }

    /// The lease as it was last seen here.
    pub(super) fn lease(&self) -> Option<Lease> {
        let value = self.bridge.latest().borrow().clone();
        crate::status::decode(value.as_deref()).map(|(_, state)| state.lease)
    }

    /// The timing that the register holds.
    pub(super) fn timing(&self) -> Option<Timing> {
        let value = self.bridge.latest().borrow().clone();
        crate::status::decode(value.as_deref()).map(|(_, state)| state.timing)
    }

    /// Puts a request to core and waits for its answer.
    pub(super) async fn put(&self, what: Request, bound: Duration, remedy: &str) -> Reply {
        match self.ask_core(what, bound).await {
            Some(Answer::Done(text)) => Reply::Done(text),
            Some(Answer::Refused { reason, obstacle }) => {
                refuse(refusal_kind(obstacle).unwrap_or(RefusalKind::Guard), &reason, remedy)
            }
            Some(Answer::Failed { reason, obstacle }) => {
                refuse(refusal_kind(obstacle).unwrap_or(RefusalKind::TimedOut), &reason, remedy)
            }
            None => refuse(RefusalKind::TimedOut, LATE, remedy),
        }
    }

    /// Puts a request to core; none if it does not answer in time.
    pub(super) async fn ask_core(&self, what: Request, bound: Duration) -> Option<Answer> {
        let (request, answer) = self.pending.enter();
        self.inputs.put(Input::Operator { request, what });
        tokio::time::timeout(bound, answer).await.ok()?.ok()
    }

    /// What core knows; none if the lease thread does not answer.
    pub(super) async fn look(&self) -> Option<Box<regent_core::node::NodeStatus>> {
        self.inputs.look(LOOK).await
    }

    /// The newest value that is known here. Of two voters each accepted all that was ever decided, so that what this
    /// one accepted last misses nothing, even if nobody can say any more that it was decided.
    pub(super) fn newest(&self) -> Option<Arc<Value>> {
        let latest = self.bridge.latest().borrow().clone();
        latest.into_iter().chain(self.last.clone()).max_by_key(|value| value.version)
    }
}

/// The lease thread did not answer in time.
pub(super) fn stalled() -> Reply {
    refuse(
        RefusalKind::Unreachable,
        "the lease thread does not answer",
        "systemd restarts the agent when its watchdog ends; journalctl -u regent",
    )
}
