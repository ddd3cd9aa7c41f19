//! What an agent without a core answers: one without a cluster, and a witness.

use super::common::Reports;
use super::configured::Configured;
use super::timeline::{self, Sources};
use crate::events::Events;
use crate::host::{Host, Later};
use crate::init::Founding;
use crate::peer::{Answer as PeerAnswer, Hex, Peers, Question};
use crate::register::Bridge;
use crate::serve::{Answered, Progress, refuse};
use crate::status::{Frame, Heard};
use regent_api::call::{Ask, RefusalKind, Reply};
use regent_api::history::Severity;
use regent_core::id::NodeId;
use regent_core::room::{Room, Seen};
use regent_store::cell::NodeId as StoreNode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// An agent without a core: what it answers.
pub(super) struct CorelessApi {
    pub(super) configured: Arc<Configured>,
    pub(super) founding: Arc<Founding>,
    pub(super) host: Option<Arc<dyn Host>>,
    pub(super) heard: Arc<Heard>,
    pub(super) reports: Reports,
    pub(super) scarce: Arc<Scarce>,
    pub(super) events: Events,
    pub(super) bridge: Arc<Bridge>,
    pub(super) belongs: bool,
    pub(super) founded: Arc<tokio::sync::Notify>,
    pub(super) is_founded: AtomicBool,
    pub(super) busy: tokio::sync::Mutex<()>,
}

/// What is left of the disk of its state, where there is no core to tell it.
#[derive(Default)]
pub(super) struct Scarce(Mutex<Seen>);

impl Scarce {
    /// As it was seen just now; told at its edges.
    pub(super) fn take(&self, room: &Room, events: &Events) {
        let edge = self.0.lock().expect("nothing panics while it holds this").take(room.clone());
        if let Some(edge) = edge {
            events.tell(&edge);
        }
    }

    fn concern(&self) -> Option<String> {
        self.0.lock().expect("nothing panics while it holds this").concern()
    }
}

impl CorelessApi {
    pub(super) async fn reply(&self, ask: Ask, progress: Progress) -> Answered {
        let reply = self.answer_to(ask, progress).await;
        let founded = Arc::clone(&self.founded);
        let is_founded = self.is_founded.load(Ordering::Relaxed);
        // The next life begins when the answer is on its way.
        Answered { reply, after: is_founded.then(|| Box::new(move || founded.notify_one()) as _) }
    }

    async fn answer_to(&self, ask: Ask, progress: Progress) -> Reply {
        match ask {
            Ask::Status => Reply::Status(Box::new(self.status())),
            Ask::History { last, cluster } => {
                let sources = Sources {
                    settings: &self.founding.settings,
                    me: self.founding.me,
                    transport: &self.founding.transport,
                    events: &self.events,
                };
                timeline::history(sources, last, cluster).await
            }
            Ask::Explain if self.belongs => Reply::Text(vec![
                "this is the witness: it votes, runs no resources, and never holds".into(),
            ]),
            Ask::Explain => Reply::Text(vec![self.reason()]),
            Ask::Init => self.init(&progress).await,
            Ask::Switchover { .. }
            | Ask::Resync { .. }
            | Ask::VerifyDb { .. }
            | Ask::AdmitVoter { .. }
            | Ask::Rejoin { .. }
            | Ask::Maintenance { .. }
            | Ask::Pause { .. }
            | Ask::Stop
            | Ask::Start
            | Ask::Fence { .. }
            | Ask::FenceTest { .. }
            | Ask::Activate { .. }
            | Ask::Deactivate { .. }
            | Ask::StackShow
            | Ask::StackRepair
            | Ask::ConfigSet { .. } => self.refuse_to_act(),
            Ask::ConfigShow { effective } => self.configured.show(effective, None),
            Ask::ConfigDiff { node } => self.configured.compare(node).await,
        }
    }

    /// What only an agent with a core can do.
    fn refuse_to_act(&self) -> Reply {
        if !self.belongs {
            return refuse(RefusalKind::NotInitialised, &self.reason(), "regent init");
        }
        let nodes: Vec<String> = self
            .founding
            .settings
            .members
            .iter()
            .filter(|m| !m.witness)
            .map(|m| format!("--node {}", m.name))
            .collect();
        let remedy = format!("ask a node: {}", nodes.join(" or "));
        refuse(RefusalKind::Guard, "a witness proposes nothing", &remedy)
    }

    fn reason(&self) -> String {
        let settings = &self.founding.settings;
        let me = settings.name(self.founding.me);
        let (init, back) = match settings.spec().stack {
            Some(stack) if stack.pair => ("on one of the nodes", "regent rejoin"),
            Some(_) => ("on one of the nodes", "regent voter admit"),
            None => ("on the node whose data shall be served", "regent voter admit"),
        };
        format!(
            "{me} belongs to no cluster yet: run regent init, once, {init}; \
             if its disk was lost: {back} {me}, on another node"
        )
    }

    fn status(&self) -> regent_api::status::Status {
        let founding = &self.founding;
        let frame = Frame {
            settings: &founding.settings,
            me: founding.me,
            heard: &self.heard,
            spec: &founding.settings.spec(),
            configuration: 0,
            claimed: None,
            cluster: None,
        };
        if !self.belongs {
            return frame.uninitialised(&self.reason());
        }
        let latest = self.bridge.latest().borrow().clone();
        let state = crate::status::decode(latest.as_deref()).map(|(_, state)| state);
        let reports = self.reports.lock().expect("nothing panics while it holds this");
        frame.of_witness(state.as_ref(), &reports, self.scarce.concern())
    }

    async fn init(&self, progress: &Progress) -> Reply {
        let Some(host) = self.host.clone() else {
            return refuse(
                RefusalKind::Guard,
                "a witness has no data to serve",
                "run regent init on a node",
            );
        };
        let Ok(_busy) = self.busy.try_lock() else {
            return refuse(RefusalKind::Guard, "regent init is under way already", "wait for it");
        };
        match self.founding.found(host.as_ref(), progress).await {
            Ok(text) => {
                self.events.write(Severity::Info, 1, "cluster.founded", &text);
                self.is_founded.store(true, Ordering::Relaxed);
                Reply::Done(text)
            }
            Err(refusal) => Reply::Refused(refusal),
        }
    }
}

impl Peers for CorelessApi {
    fn answer(&self, _from: NodeId, question: Question) -> Later<PeerAnswer> {
        let founding = Arc::clone(&self.founding);
        let latest = self.bridge.latest().borrow().clone();
        let (belongs, events) = (self.belongs, self.events.clone());
        let configured = Arc::clone(&self.configured);
        Box::pin(async move {
            if let Question::Events { last } = question {
                return timeline::told(events, last).await;
            }
            if let Question::Configuration(change) = question {
                return configured.answer(change).await;
            }
            if question == Question::Token {
                return crate::init::token_of(&founding.settings).await;
            }
            match latest.filter(|_| belongs) {
                Some(value) => belonging(&value, founding.me),
                None => founding.answer(question).await,
            }
        })
    }
}

/// The answer of a voter that has its cluster, to whoever founds one.
pub(super) fn belonging(value: &regent_store::cell::Value, me: NodeId) -> PeerAnswer {
    let state = crate::status::decode(Some(value));
    match (state, value.seat_of(StoreNode(me.0))) {
        (Some((_, state)), Some(seat)) => {
            PeerAnswer::Belongs { cluster: state.cluster, voter: Hex(seat.voter.0) }
        }
        (Some(_) | None, _) => PeerAnswer::Refused("it votes already".into()),
    }
}
