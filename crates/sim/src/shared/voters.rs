//! Two voters and no third (ADR 0018): a word that the other one is off makes a register of one, and who is back gets a
//! seat again. What the shipped agent writes down, carries out between two lives and asks of the other host, with a
//! death between any two steps of it.
//!
//! ```text
//!  word believed ─► Alone written ─► (life) ─► another register, of one
//!  taken back ─► the other one: Leave written ─► (life) ─► waits ─► here: Admit written ─► (life) ─► both vote
//! ```

use super::{Deed, Setting};
use crate::fault::Fault;
use crate::host::{HOSTS, MEMBERS, other_of};
use crate::release;
use crate::rng::Rng;
use crate::world::{Event, World};
use regent_core::command::{Answer, Request, Word};
use regent_core::id::{AttemptId, ClusterId, NodeId, RequestId, RunId};
use regent_core::node::Input;
use regent_core::pair;
use regent_store::cell::{self, Record, Seat, Standing, Value, Voter, VoterId};

const MS: u64 = 1_000_000;
/// Between two questions to the other host.
const PAUSE: u64 = 250 * MS;
/// How long it may take to answer at all, and to begin anew.
const ANSWERS: u64 = 4_000 * MS;
const LEAVES: u64 = 20_000 * MS;
/// How often it is looked whether a member greets by another register.
const GREETINGS: u64 = 100 * MS;
/// A death just there, in a million.
const DIES: u64 = 150_000;

/// What a host's disk says of the register that it votes in, beside the record itself.
#[derive(Clone, Debug)]
pub struct Voting {
    /// The register of this life.
    pub cluster: ClusterId,
    /// The version that its voter had accepted when this life began.
    last: u64,
    /// What is to become of it when the next life begins.
    turn: Option<Turn>,
    /// Registers that were replaced here.
    replaced: Vec<ClusterId>,
    /// It waits to be admitted, under this id: nothing else runs.
    offer: Option<VoterId>,
    /// The record that this run gives to the newcomer.
    gives: Option<(u64, Box<Record>)>,
}

#[derive(Clone, Debug)]
enum Turn {
    /// A register with this voter alone takes the place of this one.
    Alone { old: ClusterId, voter: VoterId, word: Box<pair::Word> },
    /// The other one gets this seat beside this one; its first record, once it is made.
    Admit { cluster: ClusterId, seat: Seat, first: Option<Box<Record>> },
    /// This register was replaced.
    Leave { old: ClusterId, seen: u64 },
}

/// A word that core is asked whether to believe.
#[derive(Clone, Copy, Debug)]
pub struct Belief {
    host: usize,
    off: usize,
    run: u64,
    request: RequestId,
    /// The newest version that the host knew.
    seen: u64,
}

/// What agents and operators do about it in time.
#[derive(Clone, Copy, Debug)]
pub enum Errand {
    /// This run ends, and the next one carries out what is written down.
    BeginAgain(usize, u64),
    /// The operator's command goes on in the new register.
    GoOn(usize),
    /// This run asks the other host to leave and to offer an id; begun then, and it once agreed.
    TakeBack(usize, u64, u64, bool),
    /// This run gives the newcomer its record.
    SeatNewcomer(usize, u64),
    /// Members greet each other.
    Greet,
}

impl Voting {
    /// As the record says.
    pub fn of(standing: &Standing) -> Voting {
        let cluster = match standing {
            Standing::Seated(record) => ClusterId(record.cluster.0),
            Standing::Newcomer { .. } | Standing::Vacant => ClusterId(0),
        };
        Voting { cluster, last: 0, turn: None, replaced: Vec::new(), offer: None, gives: None }
    }
}

/// Who votes in a world.
pub(crate) fn voters_of(shared: Option<Setting>) -> &'static [usize] {
    if shared.is_some_and(|setting| setting.pair) { &MEMBERS } else { &HOSTS }
}

impl World {
    fn is_pair(&self) -> bool {
        self.shared.is_some_and(|setting| setting.pair)
    }

    fn record(&self, host: usize) -> Option<&Record> {
        match &self.hosts[host].seat.disk {
            Standing::Seated(record) => Some(record),
            Standing::Newcomer { .. } | Standing::Vacant => None,
        }
    }

    /// Its agent waits for a seat.
    pub(crate) fn is_waiting(&self, host: usize) -> bool {
        let h = &self.hosts[host];
        h.pair.offer.is_some() && h.agent.is_none() && h.seat.voter.is_some()
    }

    /// Its agent is of the register that counts.
    pub(crate) fn is_of_register(&self, host: usize) -> bool {
        self.hosts[host].pair.cluster.0 == self.truth.counts().0
    }

    /// Its process runs, and the other host's reaches it and is reached.
    fn hears(&self, host: usize, other: usize) -> bool {
        let h = &self.hosts[other];
        let lives = h.powered && h.paused.is_none() && h.seat.voter.is_some();
        lives && self.net.is_whole(host, other)
    }

    // ---- between two lives ----

    /// A life of one of two begins: first what was written down is carried out. False if it dies of it, or only waits.
    pub(crate) fn begins_as_node(&mut self, host: usize) -> bool {
        if !self.is_pair() {
            return true;
        }
        self.hosts[host].pair.offer = None;
        if self.turn_register(host) {
            self.tell(host, "agent", || String::from("dies as it carries out its turn"));
            self.plan_restart(host);
            return false;
        }
        let Some(record) = self.record(host) else {
            self.hosts[host].pair.offer = Some(VoterId(self.rng.draw()));
            self.start_seat(host, 0, false);
            self.tell(host, "agent", || String::from("waits to be admitted"));
            return false;
        };
        let (cluster, last) = (ClusterId(record.cluster.0), record.value.version);
        let pair = &mut self.hosts[host].pair;
        (pair.cluster, pair.last) = (cluster, last);
        true
    }

    /// The agent of a node is up: it gives a newcomer its record, if one is written down.
    pub(crate) fn goes_on_seating(&mut self, host: usize) {
        if let Some(Turn::Admit { first: Some(first), .. }) = self.hosts[host].pair.turn.clone() {
            let run = self.session(host);
            self.hosts[host].pair.gives = Some((run, first));
            self.after(MS, Event::Voters(Errand::SeatNewcomer(host, run)));
        }
    }

    /// True if it died on the way.
    fn turn_register(&mut self, host: usize) -> bool {
        let Some(turn) = self.hosts[host].pair.turn.clone() else { return false };
        match turn {
            Turn::Alone { old, voter, word } => {
                let own = self.record(host).filter(|own| own.cluster.0 == old.0).cloned();
                if let Some(own) = own {
                    self.make_alone(host, &own, voter, &word);
                    if self.rng.chance(DIES) {
                        return true;
                    }
                }
                self.hosts[host].pair.turn = None;
            }
            Turn::Leave { old, seen } => {
                let is_old = |own: &Record| own.cluster.0 == old.0 && own.value.version <= seen;
                if self.record(host).is_some_and(is_old) {
                    self.replace(host, old, Standing::Vacant);
                    self.tell(host, "register", || String::from("left: it was replaced"));
                    if self.rng.chance(DIES) {
                        return true;
                    }
                }
                self.hosts[host].pair.turn = None;
            }
            Turn::Admit { cluster, seat, .. } => return self.admit(host, cluster, seat),
        }
        false
    }

    fn make_alone(&mut self, host: usize, own: &Record, voter: VoterId, word: &pair::Word) {
        let Ok(old) = release::read(&own.value.bytes) else { return };
        let bytes = word.found(old).encode();
        let (cluster, seen) = (cell::ClusterId(word.cluster.0), word.seen.unwrap_or(u64::MAX));
        let first = match cell::alone(own, cluster, voter, seen, &bytes) {
            Ok(first) => first,
            Err(why) => return self.tell(host, "register", || format!("not replaced: {why}")),
        };
        self.replace(host, ClusterId(own.cluster.0), Standing::Seated(first.clone()));
        self.tell(host, "register", || String::from("replaced by one of this voter alone"));
        match self.truth.replaced(own, &first) {
            Ok(()) => self.after(GREETINGS, Event::Voters(Errand::Greet)),
            Err(violation) => self.violated(violation),
        }
    }

    fn replace(&mut self, host: usize, old: ClusterId, standing: Standing) {
        let h = &mut self.hosts[host];
        h.seat.disk = standing;
        h.high = 0;
        h.pair.replaced.push(old);
    }

    fn admit(&mut self, host: usize, cluster: ClusterId, seat: Seat) -> bool {
        let own = self.record(host).filter(|own| own.cluster.0 == cluster.0).cloned();
        let Some(own) = own else {
            self.hosts[host].pair.turn = None;
            return false;
        };
        let [mine, theirs] = match cell::seat_beside(&own, seat, self.rng.draw()) {
            Ok(Some(records)) => records,
            Ok(None) => return false,
            Err(why) => {
                self.hosts[host].pair.turn = None;
                self.tell(host, "register", || format!("no seat: {why}"));
                return false;
            }
        };
        let first = Some(Box::new(theirs.clone()));
        self.hosts[host].pair.turn = Some(Turn::Admit { cluster, seat, first });
        if self.rng.chance(DIES) {
            return true;
        }
        let h = &mut self.hosts[host];
        h.high = h.high.max(mine.value.version);
        h.seat.disk = Standing::Seated(mine.clone());
        self.tell(host, "register", || String::from("the other one has its seat again"));
        self.note_accepted(&mine);
        self.note_accepted(&theirs);
        self.rng.chance(DIES)
    }

    // ---- the word ----

    /// One of two without the other one: no majority of its voters answers.
    pub(crate) fn is_alone(&self, host: usize) -> bool {
        let Some(record) = self.record(host).filter(|_| self.is_pair()) else { return false };
        let other = other_of(host);
        let votes = |theirs: &Record| {
            theirs.cluster == record.cluster && record.value.has_voter(theirs.voter)
        };
        let answers = self.hears(host, other) && self.record(other).is_some_and(votes);
        record.value.voters.len() > 1 && !answers
    }

    /// Core looks at the other host anew. Only in the register that counts.
    pub(crate) fn ask_belief(&mut self, host: usize, off: usize, word: Word) {
        let h = &self.hosts[host];
        let time = h.clock.read(self.now);
        let put_down = h.agent.as_ref().is_some_and(|agent| agent.brain.is_put_down(time));
        let address_used = self.hosts[off].answers(self.now) && self.net.is_whole(host, off);
        self.request(host, Request::MayBelieve { word });
        if put_down && !address_used && self.is_of_register(host) {
            let (run, request) = (self.session(host), RequestId(self.chaos.requests));
            let seen = self.newest(host);
            self.belief = Some(Belief { host, off, run, request, seen });
        }
    }

    /// It is believed, or not: a new register is written down.
    pub(crate) fn take_belief(&mut self, host: usize, request: RequestId, answer: &Answer) {
        let asked = self.belief.take_if(|b| (b.host, b.request) == (host, request));
        let Some(Belief { off, run, seen, .. }) = asked else { return };
        let believed = matches!(answer, Answer::Done(_));
        // Two that each replaced the register: only greetings and the claim on the data tell it, and no one line of
        // what was decided.
        let both = matches!(self.hosts[off].pair.turn, Some(Turn::Alone { .. }));
        let is_full = self.hosts[host].seat.full > self.now;
        if !believed || is_full || both || self.session(host) != run || !self.is_of_register(host) {
            return;
        }
        let Some(boot_run) = self.hosts[host].runs.last().copied() else { return };
        let (cluster, old) = (self.draw_cluster(), self.hosts[host].pair.cluster);
        let voter = VoterId(self.rng.draw());
        let by = self.attempt_of(host, boot_run);
        let claimed = self.claim.filter(|claim| !claim.clear).map(|claim| claim.cluster);
        let word = Box::new(pair::Word {
            cluster,
            by,
            seen: Some(seen),
            claimed,
            said: Word::IsOff(self.hosts[off].node),
        });
        self.hosts[host].pair.turn = Some(Turn::Alone { old, voter, word });
        self.tell(host, "register", || String::from("one of this voter alone is written down"));
        let soon = self.rng.range(10 * MS, 1_500 * MS);
        self.after(soon, Event::Voters(Errand::BeginAgain(host, run)));
        let again = soon + self.rng.range(500 * MS, 4_000 * MS);
        self.after(again, Event::Voters(Errand::GoOn(host)));
    }

    /// The newest version that this run knows: what it learned, or what its voter had accepted when it began.
    fn newest(&self, host: usize) -> u64 {
        let proposer = self.hosts[host].seat.proposer.as_ref();
        let learned = proposer.and_then(|p| p.view()).map_or(0, |view| view.version);
        learned.max(self.hosts[host].pair.last)
    }

    fn attempt_of(&self, host: usize, run: RunId) -> AttemptId {
        AttemptId { node: self.hosts[host].node, boot: self.hosts[host].boot, run, n: 0 }
    }

    fn draw_cluster(&mut self) -> ClusterId {
        ClusterId((u128::from(self.rng.draw()) << 64) | u128::from(self.rng.draw()))
    }

    // ---- the other one is back ----

    /// Somebody has a node take the other one back, whichever has the newer register.
    pub(crate) fn ask_take_back(&mut self, host: usize) {
        if self.is_pair() && self.hosts[host].agent.is_some() {
            let run = self.session(host);
            self.after(0, Event::Voters(Errand::TakeBack(host, run, self.now, false)));
        }
    }

    /// Somebody sees to it that both vote again.
    pub(crate) fn see_to_both(&mut self, host: usize) {
        if !self.is_pair() || self.are_joined() || !self.is_of_register(host) {
            return;
        }
        self.ask_take_back(host);
        // What still runs there by the old register keeps it from leaving.
        let other = other_of(host);
        if !self.is_of_register(other) {
            self.request(other, Request::Deactivate);
        }
    }

    /// Both vote in the register that counts.
    pub(crate) fn are_joined(&self) -> bool {
        let counts = self.truth.counts();
        let sits = |host: usize| {
            self.record(host)
                .is_some_and(|own| own.cluster == counts && own.value.voters.len() == 2)
        };
        !self.is_pair() || MEMBERS.into_iter().all(sits)
    }

    /// What an errand comes to.
    pub(crate) fn run_errand(&mut self, errand: Errand) {
        let host = match errand {
            Errand::BeginAgain(host, _)
            | Errand::GoOn(host)
            | Errand::TakeBack(host, ..)
            | Errand::SeatNewcomer(host, _) => host,
            Errand::Greet => return self.greet(),
        };
        if let Some(until) = self.hosts[host].paused {
            return self.at(until + MS, Event::Voters(errand));
        }
        let session = self.session(host);
        match errand {
            Errand::BeginAgain(_, run) if run == session => self.kill_agent(host, "begins anew"),
            // The same command again, by the same operator, who looks at the host first.
            Errand::GoOn(_) => self.ask_activate(host, true),
            Errand::TakeBack(_, run, began, agreed) if run == session => {
                self.take_back(host, began, agreed);
            }
            Errand::SeatNewcomer(_, run) if run == session => self.seat_newcomer(host),
            Errand::BeginAgain(..)
            | Errand::TakeBack(..)
            | Errand::SeatNewcomer(..)
            | Errand::Greet => {}
        }
    }

    fn take_back(&mut self, host: usize, began: u64, agreed: bool) {
        let other = other_of(host);
        let patience = if agreed { LEAVES } else { ANSWERS };
        let (run, node) = (self.session(host), self.hosts[other].node);
        let again = |agreed| Event::Voters(Errand::TakeBack(host, run, began, agreed));
        if self.now > began + patience {
            return;
        }
        let (theirs, own) = (self.hosts[other].pair.cluster, self.hosts[host].pair.cluster);
        if !self.hears(host, other) || self.hosts[host].seat.full > self.now {
            return self.after(PAUSE, again(agreed));
        }
        if self.is_waiting(other) {
            if let Some(Turn::Admit { first: Some(_), .. }) = self.hosts[host].pair.turn {
                return;
            }
            let Some(voter) = self.hosts[other].pair.offer else { return };
            let seat = Seat { voter, node: cell::NodeId(node.0) };
            self.hosts[host].pair.turn = Some(Turn::Admit { cluster: own, seat, first: None });
            let soon = self.rng.range(10 * MS, 1_500 * MS);
            return self.after(soon, Event::Voters(Errand::BeginAgain(host, run)));
        }
        let time = self.hosts[other].clock.read(self.now);
        let agent = self.hosts[other].agent.as_ref();
        let put_down = agent.is_some_and(|agent| agent.brain.is_put_down(time));
        let is_newer = self.hosts[other].pair.replaced.contains(&own);
        if theirs == own || is_newer || !put_down || self.hosts[other].seat.full > self.now {
            return;
        }
        let seen = self.newest(other);
        self.hosts[other].pair.turn = Some(Turn::Leave { old: theirs, seen });
        let (soon, run) = (self.rng.range(10 * MS, 1_500 * MS), self.session(other));
        self.after(soon, Event::Voters(Errand::BeginAgain(other, run)));
        self.after(PAUSE, again(true));
    }

    /// Gives the newcomer its record until it has it.
    fn seat_newcomer(&mut self, host: usize) {
        let (other, run) = (other_of(host), self.session(host));
        let gives = self.hosts[host].pair.gives.take().filter(|(of, _)| *of == run);
        let Some((_, first)) = gives else { return };
        let known: Option<Value> =
            self.hosts[host].seat.proposer.as_ref().and_then(|proposer| proposer.view().cloned());
        let has_voted = known.is_some_and(|known| cell::has_voted(&known, &first));
        if has_voted || (self.hears(host, other) && self.takes_seat(other, &first)) {
            self.hosts[host].pair.turn = None;
            return self.tell(host, "register", || String::from("the other one votes again"));
        }
        self.hosts[host].pair.gives = Some((run, first));
        self.after(PAUSE, Event::Voters(Errand::SeatNewcomer(host, run)));
    }

    /// The newcomer is asked: it has the record now, and the answer arrived.
    fn takes_seat(&mut self, host: usize, first: &Record) -> bool {
        if !self.is_waiting(host) {
            let theirs = self.record(host);
            return theirs
                .is_some_and(|own| (own.cluster, own.voter) == (first.cluster, first.voter));
        }
        let mut voter = Voter::new(self.hosts[host].seat.disk.clone());
        if self.hosts[host].seat.full > self.now || !voter.install(first.clone()) {
            return false;
        }
        self.hosts[host].seat.disk = voter.standing().clone();
        self.kill_agent(host, "has its seat, and begins anew");
        !self.rng.chance(DIES)
    }

    /// Each agent is told of a member that greets by another register. One that was replaced here is no other one.
    fn greet(&mut self) {
        for host in MEMBERS {
            let other = other_of(host);
            let theirs = self.hosts[other].pair.cluster;
            let strange = theirs != self.hosts[host].pair.cluster
                && !self.hosts[host].pair.replaced.contains(&theirs);
            let both = self.hosts[host].agent.is_some() && self.hosts[other].agent.is_some();
            if strange && both && self.hears(host, other) && self.hosts[host].paused.is_none() {
                let node: NodeId = self.hosts[other].node;
                self.input(host, Input::ForeignRegister { node, cluster: theirs });
            }
        }
        if !self.are_joined() {
            self.after(GREETINGS, Event::Voters(Errand::Greet));
        }
    }

    /// The disk of one of two is lost, where the other one has all that was decided: the loss of both is outside.
    pub(crate) fn may_lose_voter(&self, host: usize) -> bool {
        let settled = MEMBERS.into_iter().all(|host| self.hosts[host].pair.turn.is_none());
        !self.is_pair() || (self.are_joined() && settled && MEMBERS.contains(&host))
    }
}

/// What goes wrong, and what people do, while the voters change.
pub(super) fn draw_voters(
    member: usize,
    at: u64,
    long: u64,
    rng: &mut Rng,
    out: &mut Vec<(u64, Fault)>,
) {
    let other = other_of(member);
    let mut back = at + 1_000 * MS;
    match rng.below(4) {
        0 => out.push((at, Fault::LoseVoter(member))),
        1.. => {
            out.push((at, Fault::PowerOff(member)));
            let mut word = at;
            for _ in 0..rng.range(1, 4) {
                word += rng.range(10 * MS, 3_000 * MS);
                out.push((word, Fault::Shared(Deed::Activate(other, true))));
            }
            back = word + rng.below(2 * long + 4_000 * MS);
            out.push((back, Fault::Boot(member)));
        }
    }
    // Whoever is to change its register dies on the way, or loses power.
    for _ in 0..rng.below(3) {
        let whom = if rng.chance(700_000) { other } else { member };
        let when = rng.range(at, back + 4_000 * MS);
        if rng.coin() {
            out.push((when, Fault::KillAgent(whom)));
        } else {
            out.push((when, Fault::PowerOff(whom)));
            out.push((when + rng.range(300 * MS, 3_000 * MS), Fault::Boot(whom)));
        }
    }
    for _ in 0..rng.below(3) {
        let whom = if rng.chance(800_000) { other } else { member };
        let when = back + rng.below(6_000 * MS);
        out.push((when, Fault::Shared(Deed::TakeBack(whom))));
    }
}
