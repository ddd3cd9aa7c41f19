//! What a node with a core answers.

use super::configuring::Configured;
use super::quiet::belonging;
use super::timeline::{self, Sources};
use crate::dispatch::Waiting;
use crate::driver::Inputs;
use crate::events::Events;
use crate::host::{Host, Later};
use crate::measure::Measures;
use crate::peer::{Answer as PeerAnswer, Peers, Question};
use crate::place::Place;
use crate::register::{Bridge, attempt_of};
use crate::serve::{Answered, Progress, refuse};
use crate::status::{Frame, Heard};
use crate::steps::Steps;
use crate::transport::Transport;
use regent_api::call::{Ask, RefusalKind, Reply};
use regent_api::history::Severity;
use regent_config::Settings;
use regent_core::command::Request;
use regent_core::id::{AttemptId, ClusterId, NodeId};
use regent_core::role::Role;
use regent_core::spec::Spec;
use regent_store::cell::{Answer as StoreAnswer, NodeId as StoreNode, Refusal as StoreRefusal};
use regent_store::embedded::{Admit, Event, Handle, Request as StoreRequest};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// How long an operator waits for the lease thread, which answers in microseconds or is dead.
const LOOK: Duration = Duration::from_millis(300);

/// How long an admission is tried; the voter may be starting, and renewals come in between.
const ADMISSION: Duration = Duration::from_secs(5);

/// Between two tries: no whole part of a renewal's interval, so that the next one falls elsewhere.
const ADMISSION_PAUSE: Duration = Duration::from_millis(40);

/// Beyond the bound that core sets for a move, before the operator is told that nobody knows.
const MOVE_GRACE: Duration = Duration::from_secs(3);

/// A node with a core: what it answers.
pub(super) struct Speaking {
    pub(super) configured: Arc<Configured>,
    pub(super) settings: Settings,
    pub(super) spec: Spec,
    pub(super) steps: Arc<Steps>,
    pub(super) configuration: u64,
    pub(super) place: Place,
    /// What this voter accepted last, before this life.
    pub(super) last: Option<Arc<regent_store::cell::Value>>,
    /// Itself, for answers that take their time.
    pub(super) here: Weak<Speaking>,
    pub(super) me: NodeId,
    /// Whose register this node votes in.
    pub(super) cluster: ClusterId,
    pub(super) attempt: AttemptId,
    pub(super) admissions: AtomicU64,
    /// Held by whoever changes which register this node votes in, or gives the other one a seat in it.
    pub(super) changing: tokio::sync::Mutex<()>,
    pub(super) inputs: Inputs,
    pub(super) waiting: Waiting,
    pub(super) heard: Arc<Heard>,
    pub(super) events: Events,
    pub(super) bridge: Arc<Bridge>,
    pub(super) register: Arc<Handle>,
    pub(super) host: Arc<dyn Host>,
    pub(super) transport: Transport,
    pub(super) measures: Arc<Measures>,
}

impl Speaking {
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
                match self.word(off.as_deref(), cannot_write.as_deref()) {
                    Ok(word) => self.activate(word, dry_run, &progress).await,
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

    async fn status(&self) -> Reply {
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

    /// What core knows; none if the lease thread does not answer.
    pub(super) async fn look(&self) -> Option<Box<regent_core::node::NodeStatus>> {
        self.inputs.look(LOOK).await
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

    async fn switchover(&self, to: Option<String>, away: bool) -> Reply {
        if away && self.spec.stack.is_some() {
            return Reply::Done("the data are shared: nothing is handed over unasked".into());
        }
        if away && !self.is_active().await {
            return Reply::Done("this node is not active: nothing is handed over".into());
        }
        let named = match to.as_deref().map(|name| self.node(name)).transpose() {
            Ok(member) => member.map(|m| m.id),
            Err(refusal) => return refusal,
        };
        if self.spec.stack.is_some()
            && let Some(refusal) = self.in_the_way_of_a_move().await
        {
            return refusal;
        }
        let bound = match self.settings.stack() {
            // Everything goes down here and comes up there.
            Some(_) => super::stacking::ALL,
            None => Duration::from_nanos(self.settings.pace.switchover_max.0) + MOVE_GRACE,
        };
        let remedy = "regent explain says why; regent history what was done";
        self.put(Request::Switchover { to: named }, bound, remedy).await
    }

    async fn is_active(&self) -> bool {
        let role = self.look().await.map(|core| core.role);
        role.is_some_and(|role| matches!(role, Role::Active | Role::Activating))
    }

    /// R2: a voter that lost its disk is a new voter, and this is its only way in.
    async fn admit(&self, name: &str) -> Reply {
        let Some(member) = self.settings.member(name) else {
            return refuse(
                RefusalKind::Usage,
                &format!("there is no member {name}"),
                "a name from the configuration",
            );
        };
        if self.spec.stack.as_ref().is_some_and(|stack| stack.pair) {
            let why = "of two voters none is a majority that could admit the other one";
            return refuse(RefusalKind::Guard, why, &format!("regent rejoin {name}"));
        }
        let began = Instant::now();
        let mut tried = false;
        loop {
            let answer = self.propose_admission(StoreNode(member.id.0)).await;
            let again = match &answer {
                // The holder's renewals come in between; each try is a proposal of its own (R6).
                Some(StoreAnswer::Lost(_) | StoreAnswer::View(_) | StoreAnswer::Unknown) => true,
                Some(StoreAnswer::Refused(
                    StoreRefusal::Busy | StoreRefusal::NoAnswer | StoreRefusal::NoView,
                )) => true,
                Some(
                    StoreAnswer::Won(_)
                    | StoreAnswer::WentBack { .. }
                    | StoreAnswer::Refused(
                        StoreRefusal::TooLarge
                        | StoreRefusal::NotInstalled
                        | StoreRefusal::Installed
                        | StoreRefusal::NotInList
                        | StoreRefusal::TooFewVoters
                        | StoreRefusal::NotStored
                        | StoreRefusal::OnlyVotes
                        | StoreRefusal::AlreadyVotes
                        | StoreRefusal::ShuttingDown,
                    ),
                )
                | None => false,
            };
            if !again || began.elapsed() >= ADMISSION {
                return self.tell_admission(name, answer, tried);
            }
            tried = true;
            tokio::time::sleep(ADMISSION_PAUSE).await;
        }
    }

    async fn propose_admission(&self, node: StoreNode) -> Option<StoreAnswer> {
        let n = self.admissions.fetch_add(1, Ordering::Relaxed);
        let attempt = attempt_of(&AttemptId { n, ..self.attempt });
        let (id, answer) = self.bridge.own_request();
        let request = StoreRequest::Admit(Admit { attempt, node, instead_of: node });
        self.register.tell(Event::Request { id, request });
        answer.await.ok()
    }

    fn tell_admission(&self, name: &str, answer: Option<StoreAnswer>, tried: bool) -> Reply {
        let again = "regent voter admit again";
        match answer {
            Some(StoreAnswer::Refused(StoreRefusal::AlreadyVotes)) if !tried => {
                Reply::Done(format!("{name} votes already"))
            }
            // An earlier try, whose answer was lost, had won.
            Some(StoreAnswer::Won(_) | StoreAnswer::Refused(StoreRefusal::AlreadyVotes)) => {
                let text = format!("{name} votes again, under a new id");
                self.events.write(Severity::Warning, 0, "register.voter-admitted", &text);
                Reply::Done(text)
            }
            Some(StoreAnswer::Refused(why @ StoreRefusal::NoAnswer)) => refuse(
                RefusalKind::Unreachable,
                &why.to_string(),
                &format!("start its agent, then {again}"),
            ),
            Some(StoreAnswer::Refused(why)) => refuse(RefusalKind::Guard, &why.to_string(), again),
            Some(StoreAnswer::Lost(_) | StoreAnswer::View(_)) => {
                refuse(RefusalKind::TimedOut, "other changes came first each time", again)
            }
            Some(StoreAnswer::Unknown) => {
                refuse(RefusalKind::TimedOut, "no majority of voters answered in time", again)
            }
            Some(StoreAnswer::WentBack { .. }) => refuse(
                RefusalKind::Unsafe,
                "the register went back [R2]",
                "stop, and find out which voters were restored from old copies",
            ),
            None => refuse(RefusalKind::Internal, "the register's threads ended", again),
        }
    }
}

impl Peers for Speaking {
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

pub(super) fn stalled() -> Reply {
    refuse(
        RefusalKind::Unreachable,
        "the lease thread does not answer",
        "systemd restarts the agent when its watchdog ends; journalctl -u regent",
    )
}
