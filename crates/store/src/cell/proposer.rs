//! A proposer: one attempt outstanding, bound to one expected version.
//!
//! Drive it so: call one of [`Proposer::swap`], [`Proposer::read`], [`Proposer::replace_voter`],
//! [`Proposer::handle`] or [`Proposer::tick`]; then drain [`Proposer::poll_send`],
//! [`Proposer::poll_answer`] and [`Proposer::poll_view`]; then sleep until a message or
//! [`Proposer::next_deadline`]. Links may lose, double and reorder; nothing depends on connections.
//!
//! ```text
//!   idle ──► Preparing ── majority of promises ──► Accepting ── majority accepted ──► answered
//!     │          ▲ └────────── refused ──────────┐  ▲   │ refused
//!     │          └──────────── Waiting ◄─────────┴──│───┘
//!     └── the promise for `next` is held ───────────┘        budget over, given up: Unknown
//! ```

use super::ballot::{Attempt, Ballot, ClusterId, NodeId, VoterId};
use super::message::{Body, Message};
use super::mistake::{Mistake, Planted};
use super::value::{SEATS_MAX, Seat, Value};
use crate::splitmix::SplitMix;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How long the proposer waits for what, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timing {
    /// An attempt without an answer for so long is answered [`Answer::Unknown`].
    pub budget: u64,
    /// A message without an answer is sent again after this.
    pub resend: u64,
    /// The least back-off after a refusal; longer where links and disks are slower.
    pub backoff_min: u64,
    /// The longest back-off.
    pub backoff_max: u64,
}

impl Default for Timing {
    /// For a renewal each 150 ms: an answer, or Unknown, before the next is due.
    fn default() -> Self {
        const MS: u64 = 1_000_000;
        Timing { budget: 120 * MS, resend: 20 * MS, backoff_min: MS / 2, backoff_max: 20 * MS }
    }
}

/// Who proposes, to whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Setup {
    /// The register.
    pub cluster: ClusterId,
    /// This node.
    pub me: NodeId,
    /// Random per run of the agent: no ballot of an earlier run is used again.
    pub run: u64,
    /// Seeds the back-off.
    pub seed: u64,
    /// Every node that votes or wants views, this one included. Voters named by the value read are
    /// asked as well.
    pub nodes: Vec<NodeId>,
    /// How long it waits.
    pub timing: Timing,
}

/// A compare-and-swap to propose.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Swap {
    /// A new name for this proposal (rule R6).
    pub attempt: Attempt,
    /// The version it replaces; only ever the version of a decided value.
    pub expect: u64,
    /// The new content.
    pub bytes: Vec<u8>,
    /// The proposer holds the lease: after a refusal it tries again at once.
    pub holder: bool,
}

/// What came of a proposal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    /// A read: this was decided. It permits nothing (rule R4).
    View(Value),
    /// The swap is decided; the value is it, or one that grew from it (rule R5).
    Won(Value),
    /// The swap did not win and never will; this is decided instead.
    Lost(Value),
    /// No answer in time. A swap may still win until the version moves past the one it expected
    /// (rule R5).
    Unknown,
    /// Rule R2: a majority answered from below what this node had stored: the register went back.
    /// Close, alarm, act no more.
    WentBack {
        /// The version that the majority holds.
        found: u64,
        /// The version that was decided, for certain, before the swap was proposed.
        high: u64,
    },
    /// Nothing was proposed.
    Refused(Refusal),
}

/// Why nothing was proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Refusal {
    /// The content exceeds [`super::BYTES_MAX`].
    #[error("the content is larger than the register takes")]
    TooLarge,
    /// This node has no register: install or admit it first.
    #[error("no register is installed on this node")]
    NotInstalled,
    /// This node has a register already.
    #[error("a register is installed on this node already")]
    Installed,
    /// The voter to be replaced is not in the list, or the new one is already.
    #[error("the list of voters does not allow this change")]
    NotInList,
    /// The voters that stay are no majority of the new list, so that the change could never win.
    #[error("the voters that stay are no majority")]
    TooFewVoters,
    /// The node to be admitted did not tell an id in time.
    #[error("the node to be admitted does not answer")]
    NoAnswer,
    /// The record file could not be written.
    #[error("the record could not be stored")]
    NotStored,
    /// Something newer was asked for, or too much is asked at once.
    #[error("the register is busy")]
    Busy,
    /// A witness proposes nothing.
    #[error("this node only votes")]
    OnlyVotes,
    /// No decided value is known here yet; read first.
    #[error("no decided value is known here yet")]
    NoView,
    /// The node to be admitted votes already.
    #[error("the node votes already")]
    AlreadyVotes,
    /// The register is shutting down.
    #[error("the register is shutting down")]
    ShuttingDown,
}

/// The proposer of one node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Proposer {
    setup: Setup,
    planted: Planted,
    /// State of the generator for back-off.
    random: SplitMix,
    /// The highest ballot number used or heard of.
    top: u64,
    /// Rule R2: the highest version stored durably by this node.
    high: u64,
    /// The newest decided value known here.
    known: Option<Value>,
    /// `known` changed since it was polled.
    is_news: bool,
    /// The promise for the next ballot, held by the majority that accepted `version`.
    held: Option<Held>,
    /// How long the last phase took, from sending to a majority: the measure of a back-off.
    pace: u64,
    work: Option<Work>,
    sends: VecDeque<(NodeId, Message)>,
    answers: VecDeque<Answer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Held {
    ballot: Ballot,
    version: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Work {
    goal: Goal,
    /// Rule R2: what a majority must not answer from below.
    floor: u64,
    refusals: u32,
    deadline: u64,
    phase: Phase,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Goal {
    Read,
    Swap { swap: Swap, replace: Option<Replace> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Replace {
    old: VoterId,
    new: Seat,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Preparing {
        ballot: Ballot,
        since: u64,
        resend: u64,
        asked: BTreeSet<NodeId>,
        promises: BTreeMap<VoterId, (Ballot, Value)>,
    },
    Accepting {
        ballot: Ballot,
        next: Ballot,
        since: u64,
        resend: u64,
        value: Value,
        accepted: BTreeSet<VoterId>,
    },
    Waiting {
        until: u64,
    },
}

impl Proposer {
    /// A proposer that knows nothing yet.
    pub fn new(setup: Setup) -> Self {
        let random = SplitMix(setup.seed);
        Proposer {
            setup,
            planted: Planted::default(),
            random,
            top: Ballot::INITIAL.n,
            high: 0,
            known: None,
            is_news: false,
            held: None,
            pace: 0,
            work: None,
            sends: VecDeque::new(),
            answers: VecDeque::new(),
        }
    }

    /// The same with a mistake, to prove that the model would catch it.
    #[cfg(feature = "planted")]
    pub fn with_mistake(setup: Setup, mistake: Option<Mistake>) -> Self {
        Proposer { planted: Planted::new(mistake), ..Proposer::new(setup) }
    }

    /// Proposes a swap. One that is outstanding is given up first (answered Unknown): at most one
    /// of the two can win, since both expect the same version or the first can win no more.
    pub fn swap(&mut self, swap: Swap, now: u64) {
        self.start(Goal::Swap { swap, replace: None }, now);
    }

    /// Reads by a round of its own: the answer was current at some time during the read.
    pub fn read(&mut self, now: u64) {
        self.start(Goal::Read, now);
    }

    /// Proposes to replace one voter, content unchanged, on top of `base`, which is decided. Won
    /// only by a majority of the new list, the newcomer not counted (rule R2).
    pub fn replace_voter(
        &mut self,
        attempt: Attempt,
        base: &Value,
        old: VoterId,
        new: Seat,
        now: u64,
    ) -> Result<(), Refusal> {
        if !base.has_voter(old) || base.has_voter(new.voter) || base.voters.len() > SEATS_MAX {
            return Err(Refusal::NotInList);
        }
        if base.voters.len() - 1 < base.majority() {
            return Err(Refusal::TooFewVoters);
        }
        let bytes = base.bytes.clone();
        let swap = Swap { attempt, expect: base.version, bytes, holder: false };
        self.start(Goal::Swap { swap, replace: Some(Replace { old, new }) }, now);
        Ok(())
    }

    /// Gives up what is outstanding: Unknown.
    pub fn give_up(&mut self) {
        let Some(work) = self.work.take() else { return };
        if self.planted.has(Mistake::NextUsedAfterUnknown) {
            self.plant_held(&work);
        }
        self.answers.push_back(Answer::Unknown);
    }

    /// The register that it proposes to.
    pub fn cluster(&self) -> ClusterId {
        self.setup.cluster
    }

    /// True while an attempt or a read is outstanding.
    pub fn is_busy(&self) -> bool {
        self.work.is_some()
    }

    /// The ballot that is outstanding, and whether it is past its promises and being accepted.
    pub fn outstanding(&self) -> Option<(Ballot, bool)> {
        match &self.work.as_ref()?.phase {
            Phase::Preparing { ballot, .. } => Some((*ballot, false)),
            Phase::Accepting { ballot, .. } => Some((*ballot, true)),
            Phase::Waiting { .. } => None,
        }
    }

    /// The newest decided value known here; it may be old (rule R4).
    pub fn view(&self) -> Option<&Value> {
        self.known.as_ref()
    }

    /// Rule R2: this node has stored, synced, that it saw `version`. Swaps proposed from now on
    /// take an answer from below it as proof that the register went back.
    pub fn note_high(&mut self, version: u64) {
        self.high = self.high.max(version);
    }

    /// Hears one message.
    pub fn handle(&mut self, message: Message, now: u64) {
        if message.cluster != self.setup.cluster {
            return;
        }
        match message.body {
            Body::Promise { ballot, voter, accepted, value } => {
                self.handle_promise(ballot, voter, accepted, value, now);
            }
            Body::Accepted { ballot, voter } => self.handle_accepted(ballot, voter, now),
            Body::Refuse { ballot, promised, .. } => self.handle_refuse(ballot, promised, now),
            Body::Learn { ballot, next, value, .. } => {
                self.top = self.top.max(ballot.n).max(next.n);
                self.handle_learn(value);
            }
            Body::Prepare { .. } | Body::Accept { .. } | Body::Ask { .. } | Body::Named { .. } => {}
        }
    }

    /// Does what is due: sends again, ends a back-off, or ends the attempt as Unknown.
    pub fn tick(&mut self, now: u64) {
        let Some(work) = &mut self.work else { return };
        if now >= work.deadline {
            return self.give_up();
        }
        match &mut work.phase {
            Phase::Waiting { until } if now >= *until => self.prepare(now),
            Phase::Preparing { resend, .. } | Phase::Accepting { resend, .. } if now >= *resend => {
                *resend = now.saturating_add(self.setup.timing.resend);
                self.send_again();
            }
            Phase::Waiting { .. } | Phase::Preparing { .. } | Phase::Accepting { .. } => {}
        }
    }

    /// When [`Proposer::tick`] has something to do next.
    pub fn next_deadline(&self) -> Option<u64> {
        let work = self.work.as_ref()?;
        let timer = match work.phase {
            Phase::Waiting { until } => until,
            Phase::Preparing { resend, .. } | Phase::Accepting { resend, .. } => resend,
        };
        Some(timer.min(work.deadline))
    }

    /// The next message to send, and to whom; the own node is named as any other.
    pub fn poll_send(&mut self) -> Option<(NodeId, Message)> {
        self.sends.pop_front()
    }

    /// The next answer. Each proposal and read gets exactly one, in order.
    pub fn poll_answer(&mut self) -> Option<Answer> {
        self.answers.pop_front()
    }

    /// A decided value newer than any polled before.
    pub fn poll_view(&mut self) -> Option<Value> {
        if !std::mem::take(&mut self.is_news) {
            return None;
        }
        self.known.clone()
    }

    fn start(&mut self, goal: Goal, now: u64) {
        self.give_up();
        let mut floor = self.high;
        if let Goal::Swap { swap, .. } = &goal {
            if let Some(known) = self.known.as_ref().filter(|known| known.version > swap.expect) {
                // Decided before it was proposed: it cannot win.
                return self.answers.push_back(Answer::Lost(known.clone()));
            }
            floor = floor.max(swap.expect);
        }
        let deadline = now.saturating_add(self.setup.timing.budget);
        let phase = Phase::Waiting { until: now };
        self.work = Some(Work { goal, floor, refusals: 0, deadline, phase });
        match self.take_held() {
            Some((ballot, base)) => self.propose(ballot, base, now),
            None => self.prepare(now),
        }
    }

    /// The promise for the next ballot and the value it stands on, if the swap at hand expects
    /// just that value. Used once.
    fn take_held(&mut self) -> Option<(Ballot, Value)> {
        let held = self.held.take()?;
        let work = self.work.as_ref()?;
        let known = self.known.as_ref()?;
        match &work.goal {
            Goal::Swap { swap, .. } => {
                let fits = swap.expect == held.version
                    && known.version == held.version
                    && work.floor == held.version;
                fits.then(|| (held.ballot, known.clone()))
            }
            Goal::Read => None,
        }
    }

    fn prepare(&mut self, now: u64) {
        self.held = None;
        self.top += 1;
        let ballot = self.ballot(self.top);
        let mut asked: BTreeSet<NodeId> = self.setup.nodes.iter().copied().collect();
        asked.extend(self.known.iter().flat_map(|known| known.voters.iter().map(|s| s.node)));
        for node in &asked {
            self.sends.push_back((*node, self.message(Body::Prepare { ballot })));
        }
        let resend = now.saturating_add(self.setup.timing.resend);
        let promises = BTreeMap::new();
        let phase = Phase::Preparing { ballot, since: now, resend, asked, promises };
        if let Some(work) = &mut self.work {
            work.phase = phase;
        }
    }

    fn handle_promise(
        &mut self,
        ballot: Ballot,
        voter: VoterId,
        accepted: Ballot,
        value: Value,
        now: u64,
    ) {
        let Some(Work {
            phase: Phase::Preparing { ballot: own, since, asked, promises, .. }, ..
        }) = &mut self.work
        else {
            return;
        };
        if ballot != *own {
            return;
        }
        promises.insert(voter, (accepted, value));
        let Some((_, highest)) = promises.values().max_by_key(|(accepted, _)| *accepted) else {
            return;
        };
        // Counted by the list in the value read; if others are in it than were asked, ask those.
        let count = promises.keys().filter(|id| highest.has_voter(**id)).count();
        let is_enough = if self.planted.has(Mistake::NotAskingAnew) {
            promises.len() > asked.len() / 2
        } else {
            count >= highest.majority()
        };
        if is_enough {
            let highest = highest.clone();
            self.pace = now.saturating_sub(*since);
            return self.propose(ballot, highest, now);
        }
        let named = highest.voters.iter().map(|seat| seat.node);
        let anew: Vec<NodeId> = named.filter(|node| asked.insert(*node)).collect();
        for node in anew {
            self.sends.push_back((node, self.message(Body::Prepare { ballot })));
        }
    }

    /// A majority promised `ballot`, and `base` is the value of the highest accepted one: propose
    /// what follows it, or, if it is not the expected version, itself (it may be in doubt).
    fn propose(&mut self, ballot: Ballot, base: Value, now: u64) {
        let Some(work) = &self.work else { return };
        let value = match &work.goal {
            Goal::Read => base,
            Goal::Swap { swap, replace } => {
                if base.version < work.floor {
                    let answer = Answer::WentBack { found: base.version, high: work.floor };
                    return self.finish(answer);
                }
                if base.version == swap.expect {
                    self.successor(&base, swap, *replace)
                } else if self.planted.has(Mistake::LostBeforeDecided) {
                    let won = base.has_attempt(swap.attempt);
                    return self.finish(if won { Answer::Won(base) } else { Answer::Lost(base) });
                } else {
                    base
                }
            }
        };
        self.top = self.top.max(ballot.n + 1);
        let next = self.ballot(ballot.n + 1);
        for seat in &value.voters {
            let body = Body::Accept { ballot, value: value.clone(), next };
            self.sends.push_back((seat.node, self.message(body)));
        }
        let resend = now.saturating_add(self.setup.timing.resend);
        let accepted = BTreeSet::new();
        let phase = Phase::Accepting { ballot, next, since: now, resend, value, accepted };
        if let Some(work) = &mut self.work {
            work.phase = phase;
        }
    }

    fn successor(&self, base: &Value, swap: &Swap, replace: Option<Replace>) -> Value {
        let mut voters = base.voters.clone();
        if let Some(Replace { old, new }) = replace {
            for seat in voters.iter_mut().filter(|seat| seat.voter == old) {
                *seat = new;
            }
        }
        let mut value = base.successor(swap.attempt, voters, swap.bytes.clone());
        if self.planted.has(Mistake::RecentIsShortList) {
            value.recent = base.recent.iter().copied().chain([swap.attempt]).collect();
            value.recent.drain(..value.recent.len().saturating_sub(2));
        }
        value
    }

    fn handle_accepted(&mut self, ballot: Ballot, voter: VoterId, now: u64) {
        let Some(Work { phase, goal, .. }) = &mut self.work else { return };
        let Phase::Accepting { ballot: own, next, since, value, accepted, .. } = phase else {
            return;
        };
        if ballot != *own || !value.has_voter(voter) {
            return;
        }
        accepted.insert(voter);
        // Rule R2: whom this very swap names does not count for it.
        let named = match goal {
            Goal::Swap { replace: Some(Replace { new, .. }), .. } => Some(new.voter),
            Goal::Swap { replace: None, .. } | Goal::Read => None,
        };
        let count = accepted.iter().filter(|id| Some(**id) != named).count();
        if count < value.majority() {
            return;
        }
        let (next, value) = (*next, value.clone());
        let by: Vec<VoterId> = accepted.iter().copied().collect();
        self.pace = now.saturating_sub(*since);
        self.held = Some(Held { ballot: next, version: value.version });
        self.tell(ballot, next, &value, by);
        self.learn(value);
    }

    /// Tells every node what is decided: their view, their next ballot, a newcomer's proof.
    fn tell(&mut self, ballot: Ballot, next: Ballot, value: &Value, by: Vec<VoterId>) {
        let mut nodes: BTreeSet<NodeId> = self.setup.nodes.iter().copied().collect();
        nodes.extend(value.voters.iter().map(|seat| seat.node));
        for node in nodes {
            let body = Body::Learn { ballot, next, value: value.clone(), by: by.clone() };
            self.sends.push_back((node, self.message(body)));
        }
    }

    fn handle_learn(&mut self, value: Value) {
        let Some(Work { goal: Goal::Swap { swap, .. }, .. }) = &self.work else {
            return self.note_known(value);
        };
        if value.version > swap.expect { self.learn(value) } else { self.note_known(value) }
    }

    /// `value` is decided, and answers what is outstanding. Rule R5: a swap won if `recent` holds
    /// its attempt. If not, the version it expected has passed without it, and it never will.
    fn learn(&mut self, value: Value) {
        self.note_known(value.clone());
        let Some(work) = &self.work else { return };
        let answer = match &work.goal {
            Goal::Read => Answer::View(value),
            Goal::Swap { swap, .. } if value.has_attempt(swap.attempt) => Answer::Won(value),
            Goal::Swap { .. } => Answer::Lost(value),
        };
        self.finish(answer);
    }

    fn note_known(&mut self, value: Value) {
        if self.known.as_ref().is_none_or(|known| known.version < value.version) {
            self.known = Some(value);
            self.is_news = true;
        }
    }

    /// The holder tries again at once, above the ballot it was told; others, and a holder refused
    /// again, wait at random, longer each time: nobody is starved.
    fn handle_refuse(&mut self, ballot: Ballot, promised: Ballot, now: u64) {
        let Some(work) = &mut self.work else { return };
        let is_current = match &work.phase {
            Phase::Preparing { ballot: own, .. } | Phase::Accepting { ballot: own, .. } => {
                *own == ballot
            }
            Phase::Waiting { .. } => false,
        };
        if !is_current {
            return;
        }
        self.top = self.top.max(promised.n);
        work.refusals = (work.refusals + 1).min(8);
        let refusals = work.refusals;
        let is_holder = match &work.goal {
            Goal::Swap { swap, .. } => swap.holder,
            Goal::Read => false,
        };
        if is_holder && refusals == 1 {
            return self.prepare(now);
        }
        let until = now.saturating_add(self.backoff(refusals));
        if let Some(work) = &mut self.work {
            work.phase = Phase::Waiting { until };
        }
    }

    fn backoff(&mut self, refusals: u32) -> u64 {
        let Timing { backoff_min, backoff_max, .. } = self.setup.timing;
        let unit = backoff_min.max(self.pace).min(backoff_max);
        let window = unit.saturating_mul(1 << refusals).min(backoff_max.max(unit));
        if window == 0 {
            return 0;
        }
        unit / 2 + self.random.draw() % window
    }

    /// Sends what is outstanding again, identically, to those that have not answered.
    fn send_again(&mut self) {
        let Some(work) = &self.work else { return };
        let mut sends = Vec::new();
        match &work.phase {
            Phase::Preparing { ballot, asked, promises, .. } => {
                let has_promised = |node: &NodeId| {
                    promises.iter().any(|(voter, (_, value))| {
                        value.voters.contains(&Seat { voter: *voter, node: *node })
                    })
                };
                for node in asked.iter().filter(|node| !has_promised(node)) {
                    sends.push((*node, self.message(Body::Prepare { ballot: *ballot })));
                }
            }
            Phase::Accepting { ballot, next, value, accepted, .. } => {
                for seat in value.voters.iter().filter(|seat| !accepted.contains(&seat.voter)) {
                    let body = Body::Accept { ballot: *ballot, value: value.clone(), next: *next };
                    sends.push((seat.node, self.message(body)));
                }
            }
            Phase::Waiting { .. } => {}
        }
        self.sends.extend(sends);
    }

    fn finish(&mut self, answer: Answer) {
        self.work = None;
        self.answers.push_back(answer);
    }

    fn ballot(&self, n: u64) -> Ballot {
        Ballot { n, node: self.setup.me, run: self.setup.run }
    }

    fn message(&self, body: Body) -> Message {
        Message { cluster: self.setup.cluster, body }
    }

    /// Planted only: the promise for `next` is used though no majority is known to have accepted.
    fn plant_held(&mut self, work: &Work) {
        if let (Phase::Accepting { next, .. }, Goal::Swap { swap, .. }) = (&work.phase, &work.goal)
        {
            self.held = Some(Held { ballot: *next, version: swap.expect });
        }
    }
}
