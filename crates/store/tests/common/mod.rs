//! A bench of nodes in virtual time: shipped voters and proposers, links and disks that take their
//! time, lose, double and reorder, all drawn from one seed. No threads, no clock.

#![allow(dead_code, reason = "each test file uses a part of the bench")]

use regent_store::cell::{
    Answer, Attempt, ClusterId, Message, Mistake, NodeId, Proposer, Seat, Setup, Standing, Swap,
    Timing, Value, Voter, VoterId, initial_records,
};
use regent_store::splitmix::SplitMix;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

pub const US: u64 = 1_000;
pub const MS: u64 = 1_000_000;
pub const CLUSTER: ClusterId = ClusterId(7);

/// How long links and disks take, drawn evenly between the two.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub link: (u64, u64),
    pub disk: (u64, u64),
}

pub const LAN: Pace = Pace { link: (150 * US, 400 * US), disk: (0, 0) };
pub const LAN_DISK: Pace = Pace { link: (150 * US, 400 * US), disk: (200 * US, 2 * MS) };
pub const SLOW: Pace = Pace { link: (2 * MS, 5 * MS), disk: (MS, 10 * MS) };

/// How links err, in messages of ten thousand. Order is that of drawn delays unless `in_order`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub lost: u64,
    pub doubled: u64,
    pub in_order: bool,
}

enum Due {
    Message { from: NodeId, to: NodeId, message: Message },
    Disk { node: usize, life: u64 },
}

/// A voter with a disk of its own: what comes during a write waits, and is written together.
struct Host {
    voter: Voter,
    waiting: VecDeque<(NodeId, Message)>,
    replies: Vec<(NodeId, Message)>,
    /// What the disk holds.
    durable: Standing,
    is_writing: bool,
    is_alive: bool,
    /// Counts restarts, so that a write of an earlier life is not finished in this one.
    life: u64,
}

/// Three nodes, each with a voter and a proposer.
pub struct Bench {
    pub now: u64,
    pub pace: Pace,
    pub faults: Faults,
    pub cut: BTreeSet<(usize, usize)>,
    pub proposers: Vec<Proposer>,
    pub answers: Vec<VecDeque<(u64, Answer)>>,
    hosts: Vec<Host>,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    due: BTreeMap<u64, Due>,
    last: BTreeMap<(usize, usize), u64>,
    posted: u64,
    attempts: u64,
    runs: u64,
    random: Random,
    timing: Timing,
    mistake: Option<Mistake>,
}

impl Bench {
    pub fn new(seed: u64, pace: Pace, timing: Timing) -> Self {
        Bench::with_mistake(seed, pace, timing, None)
    }

    pub fn with_mistake(seed: u64, pace: Pace, timing: Timing, mistake: Option<Mistake>) -> Self {
        let seats: Vec<Seat> =
            (0..3).map(|n| Seat { voter: VoterId(10 + u64::from(n)), node: NodeId(n) }).collect();
        let host = |standing: Standing| Host {
            voter: Voter::with_mistake(standing.clone(), mistake),
            waiting: VecDeque::new(),
            replies: Vec::new(),
            durable: standing,
            is_writing: false,
            is_alive: true,
            life: 0,
        };
        let records = initial_records(CLUSTER, &seats, b"first");
        let mut bench = Bench {
            now: 0,
            pace,
            faults: Faults::default(),
            cut: BTreeSet::new(),
            proposers: Vec::new(),
            answers: vec![VecDeque::new(); 3],
            hosts: records.into_iter().map(|(_, r)| host(Standing::Seated(r))).collect(),
            queue: BinaryHeap::new(),
            due: BTreeMap::new(),
            last: BTreeMap::new(),
            posted: 0,
            attempts: 0,
            runs: 0,
            random: Random::seeded(seed),
            timing,
            mistake,
        };
        bench.proposers = (0..3).map(|node| bench.fresh_proposer(node)).collect();
        bench
    }

    fn fresh_proposer(&mut self, node: u16) -> Proposer {
        self.runs += 1;
        let setup = Setup {
            cluster: CLUSTER,
            me: NodeId(node),
            run: self.runs,
            seed: self.random.next(),
            nodes: (0..3).map(NodeId).collect(),
            timing: self.timing,
        };
        Proposer::with_mistake(setup, self.mistake)
    }

    /// A new attempt of this node.
    pub fn attempt(&mut self, node: usize) -> Attempt {
        self.attempts += 1;
        Attempt { node: node as u16, boot: 1, run: self.runs, n: self.attempts }
    }

    pub fn swap(&mut self, node: usize, swap: Swap) {
        self.proposers[node].swap(swap, self.now);
        self.drain(node);
    }

    pub fn read(&mut self, node: usize) {
        self.proposers[node].read(self.now);
        self.drain(node);
    }

    /// The newest decided value that the node knows.
    pub fn view(&self, node: usize) -> Option<Value> {
        self.proposers[node].view().cloned()
    }

    pub fn voter(&self, node: usize) -> &Voter {
        &self.hosts[node].voter
    }

    pub fn set_standing(&mut self, node: usize, standing: Standing) {
        self.hosts[node].durable = standing;
        self.restart(node);
    }

    /// The node loses power: its voter is silent, its proposer is gone.
    pub fn kill(&mut self, node: usize) {
        self.hosts[node].is_alive = false;
        self.restart(node);
    }

    pub fn revive(&mut self, node: usize) {
        self.hosts[node].is_alive = true;
    }

    pub fn is_alive(&self, node: usize) -> bool {
        self.hosts[node].is_alive
    }

    /// Voter and proposer forget all but what the disk holds.
    pub fn restart(&mut self, node: usize) {
        let host = &mut self.hosts[node];
        host.voter = Voter::with_mistake(host.durable.clone(), self.mistake);
        host.waiting.clear();
        host.replies.clear();
        host.is_writing = false;
        host.life += 1;
        self.proposers[node] = self.fresh_proposer(node as u16);
        self.answers[node].clear();
    }

    /// Goes on until the condition holds, or the time is over (false).
    pub fn run_until(&mut self, end: u64, mut holds: impl FnMut(&mut Bench) -> bool) -> bool {
        loop {
            if holds(self) {
                return true;
            }
            let timer = (0..self.proposers.len())
                .filter_map(|node| Some((self.proposers[node].next_deadline()?, node)))
                .min();
            let message = self.queue.peek().map(|Reverse((at, _))| *at);
            let next = [timer.map(|(at, _)| at), message].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = end;
                return holds(self);
            };
            self.now = self.now.max(next);
            match timer {
                Some((at, node)) if at <= self.now && message.is_none_or(|m| at <= m) => {
                    self.proposers[node].tick(self.now);
                    self.drain(node);
                }
                Some(_) | None => self.step(),
            }
        }
    }

    /// Waits for the answer of one node.
    pub fn answer(&mut self, node: usize, within: u64) -> Option<(u64, Answer)> {
        let end = self.now + within;
        self.run_until(end, |bench| !bench.answers[node].is_empty());
        self.answers[node].pop_front()
    }

    fn step(&mut self) {
        let Some(Reverse((_, number))) = self.queue.pop() else { return };
        match self.due.remove(&number).expect("each number in the queue is due") {
            Due::Message { from, to, message } => {
                let node = to.0 as usize;
                if self.cut.contains(&(from.0 as usize, node)) || !self.hosts[node].is_alive {
                    return;
                }
                if message.body.is_for_voter() {
                    self.hosts[node].waiting.push_back((from, message.clone()));
                    self.vote(node);
                }
                if message.body.is_for_proposer() {
                    self.proposers[node].handle(message, self.now);
                    self.drain(node);
                }
            }
            Due::Disk { node, life } => {
                let host = &mut self.hosts[node];
                if host.life != life || !host.is_alive {
                    return;
                }
                host.is_writing = false;
                host.durable = host.voter.standing().clone();
                let replies = std::mem::take(&mut host.replies);
                for (to, reply) in replies {
                    self.post(NodeId(node as u16), to, reply);
                }
                self.vote(node);
            }
        }
    }

    fn vote(&mut self, node: usize) {
        let host = &mut self.hosts[node];
        if host.is_writing {
            return;
        }
        let mut changed = false;
        while let Some((from, message)) = host.waiting.pop_front() {
            let fresh = VoterId(self.random.next());
            let reaction = host.voter.handle(&message, fresh);
            changed |= reaction.changed;
            host.replies.extend(reaction.reply.map(|reply| (from, reply)));
        }
        if changed || !host.replies.is_empty() {
            host.is_writing = true;
            let life = host.life;
            let (least, most) = if changed { self.pace.disk } else { (0, 0) };
            let at = self.now + self.random.between(least, most);
            self.enqueue(at, Due::Disk { node, life });
        }
    }

    fn drain(&mut self, node: usize) {
        while let Some((to, message)) = self.proposers[node].poll_send() {
            self.post(NodeId(node as u16), to, message);
        }
        while let Some(answer) = self.proposers[node].poll_answer() {
            self.answers[node].push_back((self.now, answer));
        }
    }

    fn post(&mut self, from: NodeId, to: NodeId, message: Message) {
        let (a, b) = (from.0 as usize, to.0 as usize);
        let copies = if a == b {
            1
        } else if self.random.below(10_000) < self.faults.lost {
            0
        } else {
            1 + u64::from(self.random.below(10_000) < self.faults.doubled)
        };
        for _ in 0..copies {
            let (least, most) = if a == b { (US, 5 * US) } else { self.pace.link };
            let mut at = self.now + self.random.between(least, most);
            if self.faults.in_order {
                let last = self.last.entry((a, b)).or_default();
                at = at.max(*last);
                *last = at;
            }
            self.enqueue(at, Due::Message { from, to, message: message.clone() });
        }
    }

    fn enqueue(&mut self, at: u64, due: Due) {
        self.posted += 1;
        self.queue.push(Reverse((at, self.posted)));
        self.due.insert(self.posted, due);
    }
}

/// [`SplitMix`] with bounds.
pub struct Random(SplitMix);

impl Random {
    pub fn seeded(seed: u64) -> Random {
        Random(SplitMix(seed))
    }

    pub fn next(&mut self) -> u64 {
        self.0.draw()
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }
}
