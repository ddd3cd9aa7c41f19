//! Two hosts without a third, and one of them is gone or is back: another register, by an operator's confirmation.

use super::node_api::{GUARDS, LATE, NodeApi, refusal_kind};
use crate::peer::{self, Answer, Hex, Question};
use crate::random;
use crate::renew::{self, Turn};
use crate::serve::{Progress, refuse};
use crate::status;
use regent_api::call::{RefusalKind, Reply};
use regent_api::history::Severity;
use regent_core::command::{Answer as CoreAnswer, Request, Word};
use regent_core::id::{ClusterId, NodeId};
use regent_core::pair;
use regent_store::cell::{self, Answer as StoreAnswer, NodeId as StoreNode, Value};
use regent_store::embedded::{Event, Request as StoreRequest};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::MutexGuard;

/// How long a majority of voters is asked for before it is believed that there is none.
const READ: Duration = Duration::from_secs(3);

/// How long a node may take to answer at all.
const ANSWERS: Duration = Duration::from_secs(4);

/// How long a node that leaves its register may take to begin anew.
const LEAVES: Duration = Duration::from_secs(20);

/// Between two questions to it.
const PAUSE: Duration = Duration::from_millis(250);

/// Why not: of which kind, what, and the remedy.
type Why = (RefusalKind, String, String);

impl NodeApi {
    /// The operator confirms that the other one of two voters is off, where no majority answers: a new register with
    /// this voter alone takes the place of the old one when the next life begins, and that life follows the answer.
    /// Nothing is active in it yet.
    pub(super) async fn renew_alone(
        &self,
        confirmation: Word,
    ) -> Result<String, (RefusalKind, String)> {
        let value = self.pair_register().map_err(|(kind, why, _)| (kind, why))?;
        let _change = self.change_of_register().map_err(|why| (RefusalKind::Guard, why))?;
        let (name, claim) = (self.settings.name(confirmation.node()), confirmation.claim());
        let guard = |why: String| Err((RefusalKind::Guard, why));
        if self.has_majority().await {
            return guard("a majority of voters answers: regent activate asks it".into());
        }
        if !self.is_put_down().await {
            let why = "a part of the stack is up here: regent deactivate first; regent stack show shows it";
            return guard(why.into());
        }
        // Last of all: what is written next rests on it alone.
        let seen = self.verify_confirmation(confirmation).await?;
        let state = status::decode(Some(&value)).map(|(_, state)| state).ok_or((
            RefusalKind::Internal,
            "the record of this node is not understood".to_string(),
        ))?;
        let failed = |e: std::io::Error| {
            (RefusalKind::Internal, format!("failed to write the new register down: {e}"))
        };
        let (old, cluster) = (state.cluster, ClusterId(random::draw().map_err(failed)?));
        let claimed = self.steps.claimed().map(|claimed| claimed.claim);
        let ground = pair::Word {
            cluster,
            by: self.attempt,
            seen: Some(value.version),
            claimed: claimed.filter(|claim| !claim.clear).map(|claim| claim.cluster),
            said: confirmation,
        };
        let voter = Hex(random::draw_half().map_err(failed)?);
        let turn = Turn::Alone { old, cluster, voter, word: Some(ground), state: None };
        turn.write(&self.place).map_err(failed)?;
        self.configured.due.store(true, Ordering::Relaxed);
        let text = format!(
            "an operator says that {name} {claim}: a new register, {cluster}, with this voter alone replaces {old}"
        );
        let (severity, code) = match confirmation {
            Word::IsOff(_) => (Severity::Warning, "data.word"),
            Word::CannotWrite(_) => (Severity::Alarm, "data.word-cannot-write"),
        };
        let said = format!("an operator says that {name} {claim}; {seen}");
        let epoch = state.lease.epoch.0;
        self.events.write(severity, epoch, code, &said);
        self.events.write(Severity::Warning, epoch, "register.renewed", &text);
        Ok(text)
    }

    /// Core looks at the host anew, and says what was seen, or why the confirmation is not to be believed.
    async fn verify_confirmation(
        &self,
        confirmation: Word,
    ) -> Result<String, (RefusalKind, String)> {
        match self.ask_core(Request::MayBelieve { word: confirmation }, GUARDS).await {
            Some(CoreAnswer::Done(seen)) => Ok(seen),
            Some(
                CoreAnswer::Refused { reason, obstacle } | CoreAnswer::Failed { reason, obstacle },
            ) => Err((refusal_kind(obstacle).unwrap_or(RefusalKind::Guard), reason)),
            None => Err((RefusalKind::TimedOut, LATE.into())),
        }
    }

    /// The other one of two is back, with the register that this one's replaced or with none: both vote again.
    pub(super) async fn rejoin(&self, name: &str, progress: &Progress) -> Reply {
        match self.try_rejoin(name, progress).await {
            Ok(text) => Reply::Done(text),
            Err((kind, reason, remedy)) => refuse(kind, &reason, &remedy),
        }
    }

    async fn try_rejoin(&self, name: &str, progress: &Progress) -> Result<String, Why> {
        let again = || format!("regent rejoin {name} again");
        let node = match self.node(name) {
            Ok(member) => member.id,
            Err(_) => {
                return Err((
                    RefusalKind::Usage,
                    format!("there is no node {name}"),
                    String::new(),
                ));
            }
        };
        let value = self.pair_register()?;
        let _change =
            self.change_of_register().map_err(|why| (RefusalKind::Guard, why, again()))?;
        if node == self.me {
            let remedy = "ask the node that was activated: regent rejoin NODE --node THAT".into();
            return Err((RefusalKind::Usage, format!("{name} is this node"), remedy));
        }
        let cluster = match status::decode(Some(&value)) {
            Some((_, state)) => state.cluster,
            None => {
                return Err((
                    RefusalKind::Internal,
                    "the register is not understood".into(),
                    again(),
                ));
            }
        };
        if value.seat_of(StoreNode(self.me.0)).is_none() {
            let remedy = "regent status shows which node does".into();
            return Err((RefusalKind::Guard, "this node does not vote".into(), remedy));
        }
        let settings = crate::init::fingerprint(&self.settings);
        let (began, mut patience) = (Instant::now(), ANSWERS);
        let offer = loop {
            let question = Question::Leave { cluster, settings: settings.clone() };
            match peer::ask_across(&self.transport, node, &question).await {
                Ok(Answer::Voter(offer)) => break offer,
                Ok(Answer::Belongs { cluster: theirs, .. }) if theirs == cluster => {
                    return Ok(format!("{name} votes in this register already"));
                }
                Ok(Answer::Agreed) => {
                    patience = LEAVES;
                    progress.tell(format!("{name} leaves its old register and begins anew"));
                }
                Ok(Answer::Refused(why)) => {
                    let reason = format!("{name} refuses: {why}");
                    return Err((
                        RefusalKind::Guard,
                        reason,
                        format!("mend that, then {}", again()),
                    ));
                }
                Ok(other) => {
                    let reason = format!("{name} answers another question: {other:?}");
                    return Err((RefusalKind::Internal, reason, again()));
                }
                Err(why) if began.elapsed() >= patience => {
                    let reason = format!("{name} does not answer: {why}");
                    let remedy = format!("{name}: systemctl start regent; then {}", again());
                    return Err((RefusalKind::Unreachable, reason, remedy));
                }
                Err(_) => {}
            }
            if began.elapsed() >= LEAVES {
                let reason = format!("{name} did not begin anew in its time");
                return Err((RefusalKind::TimedOut, reason, again()));
            }
            tokio::time::sleep(PAUSE).await;
        };
        if self.is_seating(cluster, node) {
            return Ok(format!(
                "{name} is being given its seat; regent status shows when it votes"
            ));
        }
        let turn = Turn::Admit { cluster, node, voter: offer, record: None };
        turn.write(&self.place).map_err(|e| {
            (RefusalKind::Internal, format!("failed to write it down: {e}"), again())
        })?;
        self.configured.due.store(true, Ordering::Relaxed);
        let text = format!("{name} gets its seat beside {} again", self.settings.name(self.me));
        self.events.write(Severity::Warning, 0, "register.seat-given", &text);
        Ok(format!("{text}; nothing that runs is touched, and regent status shows when it votes"))
    }

    /// What is written down of this node's register.
    fn written(&self) -> Option<Turn> {
        Turn::read(&self.place).ok().flatten()
    }

    /// The newcomer is named already, and this life gives it the record that is written down. That one must stay: it is
    /// made once, with the value that names it.
    fn is_seating(&self, cluster: ClusterId, node: NodeId) -> bool {
        matches!(self.written(), Some(Turn::Admit { cluster: of, node: whom, record: Some(_), .. })
            if (of, whom) == (cluster, node))
    }

    /// It is written down that this register is left.
    fn is_leaving_register(&self, cluster: ClusterId) -> bool {
        matches!(self.written(), Some(Turn::Leave { old, .. }) if old == cluster)
    }

    /// One change of this node's register at a time, and none while it is being replaced or left: of two nodes that
    /// each ask the other one to leave, at most one leaves.
    fn change_of_register(&self) -> Result<MutexGuard<'_, ()>, String> {
        let under_way = |what: &str| format!("{what} on {}", self.settings.name(self.me));
        let Ok(change) = self.changing.try_lock() else {
            return Err(under_way("another change of the register is under way"));
        };
        match self.written() {
            Some(Turn::Alone { .. }) => Err(under_way("the register is being replaced")),
            Some(Turn::Leave { .. }) => Err(under_way("the register is being left")),
            Some(Turn::Admit { .. }) | None => Ok(change),
        }
    }

    /// This node's register, of a cluster of two.
    fn pair_register(&self) -> Result<Arc<Value>, Why> {
        if !self.spec.stack.as_ref().is_some_and(|stack| stack.pair) {
            let why = "this cluster has a witness, or a copy of the data on each node: its register is never replaced";
            let remedy = "bring a majority of voters back; regent voter admit takes one in that lost its disk";
            return Err((RefusalKind::Guard, why.into(), remedy.into()));
        }
        self.newest().ok_or_else(|| {
            let why = "this node has not seen its register yet";
            (RefusalKind::Unreachable, why.into(), "again in a few seconds".into())
        })
    }

    /// Does a majority of voters answer?
    async fn has_majority(&self) -> bool {
        let (id, answer) = self.bridge.own_request();
        self.register.tell(Event::Request { id, request: StoreRequest::Read });
        match tokio::time::timeout(READ, answer).await {
            Ok(Ok(StoreAnswer::View(_) | StoreAnswer::Won(_) | StoreAnswer::Lost(_))) => true,
            Ok(Ok(
                StoreAnswer::Unknown | StoreAnswer::Refused(_) | StoreAnswer::WentBack { .. },
            ))
            | Ok(Err(_))
            | Err(_) => false,
        }
    }

    /// Everything of the stack is down here, as it was last looked at.
    async fn is_put_down(&self) -> bool {
        let core = self.look().await;
        core.and_then(|core| core.stack).is_some_and(|stack| stack.clear && stack.doing.is_none())
    }

    /// The other node was activated alone and asks for this one: what was replaced is left, if nothing runs here.
    pub(super) async fn leave(&self, cluster: ClusterId, settings: &str) -> Answer {
        if settings != crate::init::fingerprint(&self.settings) {
            return Answer::Refused("its configuration differs from yours".into());
        }
        let value = match self.pair_register() {
            Ok(value) => value,
            Err((_, why, _)) => return Answer::Refused(why),
        };
        let Some((_, state)) = status::decode(Some(&value)) else {
            return Answer::Refused("its own register is not understood".into());
        };
        if state.cluster == cluster {
            return super::coreless_api::belonging(&value, self.me);
        }
        if renew::was_replaced(&self.place, cluster) {
            let why = "its register replaced that of the node that asks: regent rejoin is for that one, and is asked of it";
            return Answer::Refused(why.into());
        }
        let _change = match self.change_of_register() {
            Ok(change) => change,
            // Asked again, before this life is over.
            Err(_) if self.is_leaving_register(state.cluster) => return Answer::Agreed,
            Err(why) => return Answer::Refused(why),
        };
        if !self.is_put_down().await {
            let why = "a part of the stack is up there: regent deactivate on it first";
            return Answer::Refused(why.into());
        }
        match (Turn::Leave { old: state.cluster, seen: Some(value.version) }).write(&self.place) {
            Ok(()) => {
                let text =
                    format!("the register {} was replaced by {cluster}: it is left", state.cluster);
                self.events.write(Severity::Warning, 0, "register.left", &text);
                self.configured.begin_again();
                Answer::Agreed
            }
            Err(error) => Answer::Refused(format!("failed to write it down: {error}")),
        }
    }

    /// Gives the newcomer its record until it has it; nothing else may be decided meanwhile.
    pub(super) async fn seat_newcomer(self: Arc<Self>) {
        let turn = self.written();
        let Some(Turn::Admit { cluster, node, voter, record: Some(record) }) = turn else { return };
        let name = self.settings.name(node);
        let mut told = String::new();
        loop {
            let voted = self.newest().is_some_and(|known| cell::has_voted(&known, &record));
            let question = Question::Seat { record: record.clone() };
            let ended = if voted {
                Ok(true)
            } else {
                match peer::ask_across(&self.transport, node, &question).await {
                    Ok(Answer::Installed) => Ok(true),
                    Ok(Answer::Belongs { cluster: theirs, voter: id }) => {
                        if (theirs, id) == (cluster, voter) {
                            Ok(true)
                        } else {
                            Err("it votes elsewhere".into())
                        }
                    }
                    Ok(Answer::Refused(why)) | Err(why) => Err(why),
                    Ok(other) => Err(format!("it answers another question: {other:?}")),
                }
            };
            match ended {
                Ok(_) => {
                    let text = format!("{name} votes again");
                    self.events.write(Severity::Info, 0, "register.rejoined", &text);
                    // What was written down meanwhile, as an operator's confirmation, is not this life's to end.
                    if matches!(self.written(), Some(Turn::Admit { .. }))
                        && let Err(error) = Turn::end(&self.place)
                    {
                        let text = format!("failed to remove the note of its seat: {error}");
                        self.events.write(Severity::Warning, 0, "register.turn", &text);
                    }
                    return;
                }
                Err(why) if why != told => {
                    let text = format!("{name} has not taken its seat yet: {why}");
                    self.events.write(Severity::Warning, 0, "register.seat-waits", &text);
                    told = why;
                }
                Err(_) => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
