//! What operators ask for beyond a move: maintenance of a node, a pause of the cluster, its stop and start, other
//! timing (protocol section 1, Intent; C5). An intent changes who may act, never how long a right lasts.
//!
//! A wish is written into the register by the node that was asked, and answered once it is known won. Maintenance and
//! pause end by themselves: each node counts from when it saw them, and any swap removes one that is over.

use crate::command::{Answer, Obstacle, Request};
use crate::event::Severity;
use crate::id::{AttemptId, NodeId, RequestId};
use crate::node::Node;
use crate::node::engine::propose::Kind;
use crate::node::requests::Wants;
use crate::state::{Bounded, Data, Intent, State, Switchover, Timing};
use crate::time::{Span, Time};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};

/// How long a wish may take to be written: a majority of voters is needed.
const WISH_MAX: Span = Span::millis(5_000);
/// How long stopping or starting everything may take before the asker is told that it goes on.
const STOP_MAX: Span = Span::millis(120_000);
/// One change of the intent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::node) enum Change {
    Switchover(Option<Switchover>),
    Maintenance(NodeId, Option<Span>),
    Pause(Option<Span>),
    Stopped(bool),
    /// Shared data: nothing is stopped any more, and this node shall be active.
    Activate(Switchover),
    /// Shared data: this node's use is over.
    Vacate,
    /// The newest format that this node speaks (R7).
    Speaks(u16),
    /// Which fields may be used from here on (R7).
    Format(u16),
}

/// A change that an operator asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::node) struct Wish {
    change: Change,
    /// It stands in the register.
    pub written: bool,
}

/// What ends by itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::node) enum Bound {
    Pause,
    Maintenance(NodeId),
}

/// When each bounded intent was first seen here.
pub(in crate::node) type Seen = BTreeMap<Bound, (AttemptId, Time)>;

/// When the bounded intents of this State were first seen: what is known already keeps its date.
pub(in crate::node) fn first_seen(intent: &Intent, known: Option<&Seen>, now: Time) -> Seen {
    let date = |bound: Bound, entry: &Bounded| {
        let known = known.and_then(|known| known.get(&bound));
        (bound, *known.filter(|(since, _)| *since == entry.since).unwrap_or(&(entry.since, now)))
    };
    let nodes =
        intent.maintenance.iter().map(|(node, entry)| date(Bound::Maintenance(*node), entry));
    nodes.chain(intent.pause.iter().map(|entry| date(Bound::Pause, entry))).collect()
}

impl Node {
    /// What is left of a bounded intent, counted from when it was seen here.
    fn left(&self, bound: Bound, now: Time) -> Option<Span> {
        let view = self.view.as_ref()?;
        let entry = match bound {
            Bound::Pause => view.state.intent.pause?,
            Bound::Maintenance(node) => *view.state.intent.maintenance.get(&node)?,
        };
        let (_, seen) = view.bounded.get(&bound)?;
        let left = entry.length.less(now.elapsed_least(*seen));
        (left > Span::ZERO).then_some(left)
    }

    /// What is left of the pause.
    pub(in crate::node) fn pause_left(&self, now: Time) -> Option<Span> {
        self.left(Bound::Pause, now)
    }

    /// Is everything paused?
    pub(in crate::node) fn is_paused(&self, now: Time) -> bool {
        self.pause_left(now).is_some()
    }

    /// Is this node in maintenance?
    pub(in crate::node) fn is_in_maintenance(&self, node: NodeId, now: Time) -> bool {
        self.left(Bound::Maintenance(node), now).is_some()
    }

    /// What is left of each node's maintenance.
    pub(in crate::node) fn maintenance_left(&self, now: Time) -> BTreeMap<NodeId, Span> {
        let Some(view) = &self.view else { return BTreeMap::new() };
        let nodes = view.state.intent.maintenance.keys();
        nodes.filter_map(|node| Some((*node, self.left(Bound::Maintenance(*node), now)?))).collect()
    }

    /// Is the cluster stopped by an operator's word?
    pub(in crate::node) fn is_stopped(&self) -> bool {
        self.view.as_ref().is_some_and(|view| view.state.intent.stopped.is_some())
    }

    /// Services and database of this node are somebody else's business now: we start, restart and move nothing
    /// because of them. A run that has not read the register does not know what was asked for.
    pub(in crate::node) fn leaves_alone(&self, now: Time) -> bool {
        self.view.is_none()
            || self.is_paused(now)
            || self.is_stopped()
            || self.is_in_maintenance(self.me(), now)
    }

    /// Removes what is over by this node's count: any swap may.
    pub(in crate::node) fn clear_ended(&self, intent: &mut Intent, now: Time) {
        if intent.pause.is_some() && self.pause_left(now).is_none() {
            intent.pause = None;
        }
        intent.maintenance.retain(|node, _| self.is_in_maintenance(*node, now));
    }

    /// Takes an operator's wish; answered once it stands in the register.
    pub(in crate::node) fn wish(&mut self, request: RequestId, what: Request, now: Time) {
        let change = match what {
            Request::Maintenance { node, length } => Change::Maintenance(node, length),
            Request::Pause { length } => Change::Pause(length),
            Request::Stop => Change::Stopped(true),
            Request::Start if self.shares_data() => {
                let reason = "of a stack on shared data one node is activated: regent activate, on that node";
                return self.answer(request, Answer::refused(reason));
            }
            Request::Start => Change::Stopped(false),
            Request::Fence { node } => return self.fence_asked(request, node, now),
            Request::Timing(timing) => return self.retime(request, timing, now),
            Request::Verify { duty } => return self.ask_verify(request, duty, now),
            Request::Resync { node, in_place } => {
                return self.ask_resync(request, node, in_place, now);
            }
            Request::Activate { word } => return self.ask_activation(request, word, now),
            Request::MayActivate { word } => return self.ask_whether(request, word, now),
            Request::MayBelieve { word } => return self.ask_belief(request, word, now),
            Request::Deactivate => return self.ask_deactivation(request, now),
            Request::Repair => return self.ask_repair(request, now),
            Request::Switchover { .. } => return,
        };
        let Some(view) = &self.view else {
            let reason = "the register was not read yet: this node has no quorum".to_string();
            return self.answer(request, Answer::refused(reason));
        };
        if let Change::Maintenance(node, _) = change
            && !self.spec.nodes.iter().any(|(known, _)| *known == node)
        {
            let reason =
                format!("{node} runs no resources: only a management node has maintenance");
            return self.answer(request, Answer::refused(reason));
        }
        let there = match change {
            Change::Maintenance(node, None) => !view.state.intent.maintenance.contains_key(&node),
            Change::Pause(None) => view.state.intent.pause.is_none(),
            Change::Stopped(stop) => view.state.intent.stopped.is_some() == stop,
            Change::Maintenance(_, Some(_))
            | Change::Pause(Some(_))
            | Change::Switchover(_)
            | Change::Activate(_)
            | Change::Vacate
            | Change::Speaks(_)
            | Change::Format(_) => false,
        };
        self.requests.enter(request, Wants::Change(Wish { change, written: there }), now);
    }

    /// The next wish to be written.
    pub(in crate::node) fn wanted_wish(&self) -> Option<Change> {
        self.requests.unwritten().map(|wish| wish.change)
    }

    /// A change was won.
    pub(in crate::node) fn wish_written(&mut self, change: Change) {
        self.shared_written(change);
        for wish in self.requests.changes_mut().filter(|wish| wish.change == change) {
            wish.written = true;
        }
        if let Some(text) = self.change_text(change) {
            self.tell(event_of(change), Severity::Info, text);
        }
    }

    fn change_text(&self, change: Change) -> Option<String> {
        let seconds = |span: Span| span.as_millis().div_ceil(1000);
        Some(match change {
            Change::Switchover(_) => return None,
            Change::Activate(to) => format!("{} is to be active", self.name(to.to)),
            Change::Vacate => "this node's use of the shared data is over [vacate]".to_string(),
            Change::Speaks(format) => {
                format!("this node speaks the register's formats up to {format} [R7]")
            }
            Change::Format(format) => format!(
                "the register has format {format}, which every node speaks: an older release proposes nothing from here on [R7]"
            ),
            Change::Maintenance(node, Some(length)) => {
                format!("{} is in maintenance for {} s", self.name(node), seconds(length))
            }
            Change::Maintenance(node, None) => {
                format!("{} is in maintenance no more", self.name(node))
            }
            Change::Pause(Some(length)) => format!(
                "paused for {} s: no succession and no restarts by us; the holder renews",
                seconds(length)
            ),
            Change::Pause(None) => "the pause is over".to_string(),
            Change::Stopped(true) => "the cluster is stopped by an operator".to_string(),
            Change::Stopped(false) => "the cluster is started by an operator".to_string(),
        })
    }

    /// What whoever asked for this change is to be told, once it is made or too late.
    pub(in crate::node) fn turn_change(
        &self,
        wish: Wish,
        since: Time,
        now: Time,
    ) -> Option<Answer> {
        let age = now.elapsed_most(since);
        let (done, most) = match wish.change {
            Change::Stopped(true) if wish.written => (self.is_all_stopped(now), STOP_MAX),
            Change::Stopped(false) if wish.written => (self.is_anybody_serving(now), STOP_MAX),
            Change::Stopped(_)
            | Change::Switchover(_)
            | Change::Maintenance(..)
            | Change::Pause(_)
            | Change::Activate(_)
            | Change::Vacate
            | Change::Speaks(_)
            | Change::Format(_) => (wish.written, WISH_MAX),
        };
        if done {
            let text = self.change_text(wish.change).unwrap_or_default();
            return Some(Answer::Done(format!("{text} ({} ms)", age.as_millis())));
        }
        if age < most {
            return None;
        }
        Some(if wish.written {
            Answer::failed(
                "it is written, and not everything has followed yet: see `regent status`",
            )
        } else {
            let reason = "no majority of voters answered: nothing was changed, or it will be seen in `regent status`";
            Answer::Failed { reason: reason.into(), obstacle: Obstacle::NoQuorum }
        })
    }

    /// Writes a change into a State about to be proposed.
    pub(in crate::node) fn write_change(change: Change, id: AttemptId, state: &mut State) {
        let bounded = |length: Span| Bounded { since: id, length };
        let intent = &mut state.intent;
        match change {
            Change::Switchover(switchover) => intent.switchover = switchover,
            Change::Maintenance(node, Some(length)) => {
                intent.maintenance.insert(node, bounded(length));
            }
            Change::Maintenance(node, None) => {
                intent.maintenance.remove(&node);
            }
            Change::Pause(length) => intent.pause = length.map(bounded),
            Change::Stopped(true) => intent.stopped = Some(intent.stopped.unwrap_or(id)),
            Change::Stopped(false) => intent.stopped = None,
            Change::Activate(to) => {
                intent.stopped = None;
                intent.switchover = (state.lease.holder != to.to).then_some(to);
            }
            Change::Vacate => {
                if matches!(state.data, Data::InUse { node, .. } if node == id.node) {
                    state.data = Data::Clear;
                }
            }
            Change::Speaks(format) => {
                state.members.entry(id.node).and_modify(|member| member.speaks = format);
            }
            Change::Format(format) => state.format = format,
        }
    }

    /// Proposes the next wish, if nothing else is under way.
    pub(in crate::node) fn propose_wish(&mut self, now: Time) -> bool {
        let change = self.shared_wish(now).filter(|_| !self.proposals.is_busy());
        if change.is_some() {
            self.stack.wished = Some(now);
        }
        let moves = || {
            let state = &self.view.as_ref()?.state;
            self.requests.wanted_intent(state.intent.switchover, state.lease.epoch)
        };
        let change = change.or_else(|| moves().map(Change::Switchover));
        let change = change.or_else(|| self.wanted_wish());
        let format =
            self.wanted_format(now).filter(|_| change.is_none() && !self.proposals.is_busy());
        if format.is_some() {
            self.format_asked = Some(now);
        }
        let change = change.or(format);
        let Some(change) = change.filter(|_| !self.proposals.is_busy()) else { return false };
        self.begin(Kind::Intend { change }, now);
        true
    }

    // ---- timing (C5) ----

    /// A new timing of rights. Only a Ruling holder changes it, in a renewal; to shorten, its own tickets and right
    /// are cut to the new length first, for as long as the old record lasts.
    fn retime(&mut self, request: RequestId, timing: Timing, now: Time) {
        let refusal = if !self.rules(now) {
            Some("only the active node changes the timing: ask it".to_string())
        } else if self.requests.timing().is_some() {
            Some("another change of the timing is under way".to_string())
        } else if timing.margin >= timing.ttl {
            Some("the margin must be shorter than the ttl".to_string())
        } else {
            None
        };
        match refusal {
            Some(reason) => self.answer(request, Answer::refused(reason)),
            None => self.requests.enter(request, Wants::Timing(timing), now),
        }
    }

    /// How long a ticket, and the right that goes with it, lasts under this timing and ttl of a State: shorter while a
    /// shorter timing is on its way.
    pub(in crate::node) fn ticket_length(&self, timing: &Timing, ttl: Span) -> Span {
        let length = timing.ticket(ttl);
        match self.requests.timing() {
            Some((timing, _)) => length.min(timing.ticket(timing.ttl)),
            None => length,
        }
    }

    /// The timing to be written with the next renewal, once no longer ticket is left.
    pub(in crate::node) fn timing_due(&self, state: &State, now: Time) -> Option<Timing> {
        let (timing, since) = self.requests.timing()?;
        let shorter = timing.ticket(timing.ttl) < state.timing.ticket(state.lease.ttl);
        let cut = now.elapsed_least(since) >= state.timing.wait(state.lease.ttl);
        (!shorter || cut).then_some(timing)
    }

    /// What whoever asked for this timing is to be told, once it stands or cannot be written any more.
    pub(in crate::node) fn turn_timing(
        &mut self,
        timing: Timing,
        since: Time,
        now: Time,
    ) -> Option<Answer> {
        let stands = self
            .view
            .as_ref()
            .is_some_and(|view| view.state.timing == timing && view.state.lease.ttl == timing.ttl);
        // C1: while a renewal with the shorter ttl may still win, nothing grows longer again.
        let open = self.proposals.is_busy() || !self.proposals.is_settled();
        let late = !open && now.elapsed_most(since) >= WISH_MAX + WISH_MAX;
        if stands {
            let ms = timing.ttl.as_millis();
            let text = format!("rights last {ms} ms from now on, on every node");
            self.tell("timing.changed", Severity::Warning, text.clone());
            return Some(Answer::Done(text));
        }
        let over = late || !self.holds();
        over.then(|| Answer::undone("the timing was not written; nothing has changed"))
    }
}

/// Under which name the win of a change is told.
fn event_of(change: Change) -> &'static str {
    match change {
        Change::Speaks(_) => "register.speaks",
        Change::Format(_) => "register.format-raised",
        Change::Switchover(_)
        | Change::Maintenance(..)
        | Change::Pause(_)
        | Change::Stopped(_)
        | Change::Activate(_)
        | Change::Vacate => "intent.changed",
    }
}
