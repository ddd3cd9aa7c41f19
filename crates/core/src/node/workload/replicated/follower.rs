//! The follower of a writer: is the recorded one still following, and how another one is taken in (D4, D9).
//!
//! ```text
//!  loose:  CatchUp (a marker, to see that it is near) ─► Strict ─► Mark (P is everything before it) ─► Ready ─► join
//!  strict: gone, silent, too slow, not the only one that confirms ─► solo
//! ```

use crate::command::{Action, DatabaseStep, Outcome};
use crate::event::Severity;
use crate::id::{AttemptId, NodeId};
use crate::node::Node;
use crate::node::output::Flight;
use crate::state::DataCopy;
use crate::sync;
use crate::time::{Span, Time};
use alloc::format;
use alloc::string::String;

/// How long a follower may take to show a marker while nobody waits for it.
const CATCH_UP_MAX: Span = Span::millis(5_000);
/// How long commits may wait for a follower that is being joined.
const JOIN_MAX: Span = Span::millis(1_000);
/// After a join that failed, and after a follower that was too slow: doubled while each stay in sync ends that way.
const JOIN_PAUSE: Span = Span::millis(1_000);
const JOIN_PAUSE_MOST: Span = Span::millis(16_000);
/// D9: commits that wait longer than this without one good confirmation drop the follower. Longer than probes take to
/// find out that the writer itself is not reached: then the follower is the one to move to.
const LAG_MAX: Span = Span::millis(1_500);
/// Facts older than this say nothing of a follower.
const SEEN_MAX: Span = Span::millis(300);
/// A confirmation that took longer than this is no good one.
const CONFIRM_GOOD: Span = Span::millis(250);
/// A stay in sync that lasted this long was a good one.
const GOOD_STAY: Span = Span::millis(60_000);
/// A commit that waits longer than this while its follower receives may be stranded (D9).
const STRANDED: Span = Span::millis(200);

/// A follower being taken in (D4). `copy` and `start` are fixed before P is read: any change starts over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::node) struct Joining {
    peer: NodeId,
    copy: DataCopy,
    start: u64,
    token: AttemptId,
    stage: Stage,
    since: Time,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Loose; a marker is on its way, to see that the follower is near.
    CatchUp,
    /// Strict was asked for and is being read back.
    Strict,
    /// Strict; P is everything before the marker that is on its way.
    Mark,
    /// The follower showed it: the join may be proposed.
    Ready,
}

/// What the writer knows of its follower.
#[derive(Clone, Debug, Default)]
pub(in crate::node) struct Follower {
    joining: Option<Joining>,
    join_paused: Option<Time>,
    join_pause: Span,
    /// When the recorded follower was taken in by this run.
    joined: Option<Time>,
    /// Why the last follower was not good enough any more, in words.
    alone_why: Option<String>,
    /// Since when commits have waited without one confirmation (D9).
    slow: Option<Time>,
    /// Since when the recorded follower has not been following.
    with_gone: Option<Time>,
    stranded: Option<Time>,
}

impl Follower {
    /// Nobody is being taken in any more.
    pub fn stop_joining(&mut self) {
        self.joining = None;
    }

    /// One is being taken in, and commits wait for it.
    pub fn is_joined_strictly(&self) -> bool {
        self.joining.as_ref().is_some_and(|joining| joining.stage != Stage::CatchUp)
    }

    /// The one whose join may be proposed.
    pub fn ready(&self) -> Option<&Joining> {
        self.joining.as_ref().filter(|joining| joining.stage == Stage::Ready)
    }

    /// Why this node acknowledges alone, or is about to.
    pub fn alone_why(&self) -> Option<&str> {
        self.alone_why.as_deref()
    }

    /// For a reason that is no fault of the follower.
    pub fn alone_because(&mut self, why: String) {
        self.alone_why = Some(why);
    }

    /// When the recorded one was taken in by this run.
    pub fn joined(&self) -> Option<Time> {
        self.joined
    }

    /// A solo or a join was won: from here on another one is recorded, or none.
    pub fn recorded(&mut self, with: Option<DataCopy>, proposed: Option<Time>) {
        self.joining = None;
        self.with_gone = None;
        self.slow = None;
        self.joined = proposed;
        if with.is_some() {
            self.alone_why = None;
        }
    }
}

impl Joining {
    /// The copy that is to be recorded.
    pub fn copy(&self) -> DataCopy {
        self.copy
    }
}

impl Node {
    /// Is the recorded follower still following? If not, the holder goes on alone after the patience that fits the
    /// evidence: none for another incarnation, `suspicion` for silence or a receiver that is off.
    pub(in crate::node) fn watch_follower(&mut self, now: Time) {
        let Some(with) = self.view.as_ref().and_then(|view| view.state.sync.with) else {
            self.follower.with_gone = None;
            return;
        };
        if with.node == self.me() {
            return;
        }
        let suspicion = self.spec.pace.suspicion;
        let Some(peer) = self.peers.get(&with.node) else { return };
        let database = peer.report.as_ref().and_then(|report| report.database.as_ref());
        let other = database
            .is_some_and(|d| d.incarnation.is_some() && d.incarnation != Some(with.incarnation));
        let following = database.is_some_and(|d| sync::is_following(d, with, self.identity.node));
        let silent = now.elapsed_most(peer.heard) >= suspicion;
        // A database that answers nothing hangs itself: its follower is not to blame.
        let answers = self.database.observed.is_some_and(|at| now.elapsed_most(at) < SEEN_MAX);
        let slow = answers && self.follower.slow.is_some_and(|at| now.elapsed_most(at) >= LAG_MAX);
        let another = self.another_confirms(with.node);
        let distrusted = self.is_distrusted(with.node, Some(with.incarnation));
        if slow && self.follower.with_gone.is_none() {
            self.tell_slow(with.node, now);
        }
        let why = if silent {
            "is silent"
        } else if another {
            "is not the only one that confirms"
        } else if distrusted {
            "is to be copied anew"
        } else if other {
            "has other data than it had: it was started anew"
        } else if slow {
            "confirms too slowly"
        } else {
            "does not follow"
        };
        let gone = other || slow || silent || another || distrusted;
        if gone || !following {
            self.follower.alone_why = Some(format!("{} {why}", self.name(with.node)));
        }
        if gone {
            let past = Time {
                boot: now.boot.saturating_sub(suspicion.0),
                raw: now.raw.saturating_sub(suspicion.0),
            };
            self.follower.with_gone = Some(past);
        } else if following {
            self.follower.with_gone = None;
        } else if self.follower.with_gone.is_none() {
            self.follower.with_gone = Some(now);
        }
    }

    /// D4: somebody beside this follower may confirm; told while it stays so.
    fn another_confirms(&mut self, follower: NodeId) -> bool {
        #[cfg(feature = "planted")]
        if self.planted(crate::planted::Planted::AnotherConfirms) {
            return false;
        }
        let database = self.peers.get(&follower).and_then(|peer| peer.report.as_ref());
        let database = database.and_then(|report| report.database.as_ref());
        let Some(facts) = &self.database.facts else { return false };
        if !sync::another_confirms(facts, database) {
            self.told.end("sync.another");
            return false;
        }
        let text = format!(
            "{} confirms commits beside {}, which may lack what that one confirmed: going on alone; remove it, or set rpl_semi_sync_slave_enabled=0 there and start its receiver anew [D4]",
            facts.others.join(" and "),
            self.name(follower)
        );
        self.tell_edge("sync.another", Severity::Alarm, text);
        true
    }

    /// It receives, and confirms nothing: dropped, and taken back later each time.
    fn tell_slow(&mut self, node: NodeId, now: Time) {
        let good = self.follower.joined.is_none_or(|at| now.elapsed_most(at) >= GOOD_STAY);
        let longer = Span((self.follower.join_pause.0 * 2).min(JOIN_PAUSE_MOST.0));
        self.follower.join_pause = if good { JOIN_PAUSE } else { longer };
        self.follower.join_paused = Some(now);
        let ms = self.follower.slow.map_or(Span::ZERO, |at| now.elapsed_most(at)).as_millis();
        let text = format!(
            "commits have waited for {ms} ms in a row for {}, which follows and confirms too slowly: going on alone, not joined again for {} s [D9]",
            self.name(node),
            self.follower.join_pause.as_millis() / 1000
        );
        self.tell("sync.slow", Severity::Warning, text);
    }

    pub(in crate::node) fn follower_is_gone(&self, now: Time) -> bool {
        self.follower.with_gone.is_some_and(|at| now.elapsed_most(at) >= self.spec.pace.suspicion)
    }

    /// D4, exactly: strict; then the follower's incarnation, then P, then a marker behind it, shown by the follower.
    pub(in crate::node) fn advance_join(&mut self, now: Time) {
        let Some(facts) = self.database.facts.clone() else {
            self.follower.joining = None;
            return;
        };
        let Some(view) = &self.view else { return };
        let serves = !facts.read_only
            && (self.is_licensed(&facts) || self.keeps(&facts))
            && self.rules(now)
            && self.moving.is_none();
        if view.state.sync.with.is_some() || !serves {
            if !self.is_join_unanswered() {
                self.follower.joining = None;
            }
            return;
        }
        let Some(joining) = self.follower.joining.clone() else { return self.begin_join(now) };
        if self.is_join_unanswered() {
            return;
        }
        if !self.is_same_follower(&joining, now) {
            return self.give_up_join("it stopped following", now);
        }
        if self.another_confirms(joining.peer) {
            return self.give_up_join("another replica confirms as well", now);
        }
        let shown = self.shows(joining.peer, joining.token);
        let late = |max: Span| now.elapsed_most(joining.since) >= max;
        match joining.stage {
            Stage::CatchUp if shown => self.set_join(Stage::Strict, None, now),
            Stage::CatchUp if late(CATCH_UP_MAX) => self.give_up_join("it is far behind", now),
            Stage::Strict if facts.strict && self.database.is_free() => {
                let token = self.mark_log();
                self.set_join(Stage::Mark, Some(token), now);
            }
            Stage::Mark if shown => self.set_join(Stage::Ready, None, now),
            Stage::Strict | Stage::Mark if late(JOIN_MAX) => {
                self.give_up_join("it did not confirm in time", now);
            }
            Stage::CatchUp | Stage::Strict | Stage::Mark | Stage::Ready => {}
        }
    }

    fn begin_join(&mut self, now: Time) {
        if self
            .follower
            .join_paused
            .is_some_and(|at| now.elapsed_most(at) < self.follower.join_pause)
            || self.database.marker.is_some()
        {
            return;
        }
        let me = self.me();
        let candidate = self.peers.iter().find_map(|(node, peer)| {
            let report = peer.fresh(self.spec.pace.suspicion, now)?;
            let database = report.database.as_ref().filter(|d| sync::can_join(d, me))?;
            let trusted = !self.is_distrusted(*node, database.incarnation);
            trusted.then_some((*node, database.incarnation?, database.start))
        });
        let Some((peer, incarnation, start)) = candidate else { return };
        if self.another_confirms(peer) {
            let name = self.name(peer);
            self.follower.alone_why = Some(format!("{name} is not the only one that confirms"));
            return;
        }
        let token = self.mark_log();
        self.follower.joining = Some(Joining {
            peer,
            copy: DataCopy { node: peer, incarnation },
            start,
            token,
            stage: Stage::CatchUp,
            since: now,
        });
        self.reporting.hasten();
    }

    /// The very incarnation and server start that the join began with, still attached.
    pub(in crate::node) fn is_same_follower(&self, joining: &Joining, now: Time) -> bool {
        let report = self.peers[&joining.peer].fresh(self.spec.pace.suspicion, now);
        report.and_then(|report| report.database.as_ref()).is_some_and(|d| {
            sync::can_join(d, self.identity.node)
                && d.incarnation == Some(joining.copy.incarnation)
                && d.start == joining.start
        })
    }

    fn shows(&self, peer: NodeId, token: AttemptId) -> bool {
        let report = self.peers.get(&peer).and_then(|peer| peer.report.as_ref());
        report
            .and_then(|report| report.database.as_ref())
            .is_some_and(|database| database.shows == Some(token))
    }

    fn set_join(&mut self, stage: Stage, token: Option<AttemptId>, now: Time) {
        if let Some(joining) = &mut self.follower.joining {
            joining.stage = stage;
            joining.since = now;
            joining.token = token.unwrap_or(joining.token);
        }
        self.reporting.hasten();
    }

    fn give_up_join(&mut self, why: &str, now: Time) {
        if let Some(joining) = self.follower.joining.take() {
            self.follower.join_paused = Some(now);
            self.follower.join_pause = self.follower.join_pause.max(JOIN_PAUSE);
            let text = format!("{} is not taken in yet: {why}", self.name(joining.peer));
            self.tell("sync.waiting", Severity::Info, text);
        }
    }

    /// A new row behind everything that the log has (D4). Our account writes rows only while D2 allows writable.
    pub(in crate::node) fn mark_log(&mut self) -> AttemptId {
        let token = self.proposals.next_id(&self.identity);
        self.database.marker = Some(token);
        self.ask(Action::Database(DatabaseStep::Marker { token }), Some(Flight::Marker { token }));
        token
    }

    pub(in crate::node) fn take_marker(&mut self, token: AttemptId, outcome: Outcome, now: Time) {
        if self.database.marker == Some(token) {
            self.database.marker = None;
        }
        if let Outcome::Database { result: crate::command::StepResult::Done, .. } = outcome {
            self.note_move(|m| m.marker_confirmed(token));
            if self.follower.stranded.is_none_or(|asked| now.elapsed_most(asked) < CONFIRM_GOOD) {
                self.follower.slow = None;
            }
        } else if self.follower.joining.as_ref().is_some_and(|joining| joining.token == token) {
            self.give_up_join("its marker could not be written", now);
        }
    }

    /// The marker that the follower shall show.
    pub(in crate::node) fn looked_for(&self) -> Option<AttemptId> {
        self.follower.joining.as_ref().map(|joining| joining.token)
    }

    /// D9: a commit whose confirmation was lost waits until a later one is confirmed: a marker frees it.
    pub(in crate::node) fn free_stranded(&mut self, now: Time) {
        let Some(facts) = &self.database.facts else { return };
        let with = self.view.as_ref().and_then(|view| view.state.sync.with);
        let attached = with.is_some() && self.follower.with_gone.is_none();
        if facts.waiting == 0 || facts.read_only || !attached || self.moving.is_some() {
            self.follower.stranded = None;
            self.follower.slow = None;
            return;
        }
        self.follower.slow.get_or_insert(now);
        let since = *self.follower.stranded.get_or_insert(now);
        if now.elapsed_most(since) >= STRANDED && self.database.marker.is_none() {
            self.follower.stranded = Some(now);
            self.mark_log();
        }
    }
}
