//! Two voters and no third, walked at random: the shipped voter, proposer and steps between two lives, with messages in
//! any order, lost and doubled, restarts, crashes between two steps, lost disks, and operators whose word is true or
//! false. Each swap is a *grant* of the next epoch, so that two registers that both grant are found at once.

use regent_store::cell::{
    Answer, Attempt, Ballot, ClusterId, Message, NodeId, NotOfAPair, Proposer, Record, Seat, Setup,
    Standing, Swap, Timing, Value, Voter, VoterId, alone, has_voted, initial_records, seat_beside,
};
use regent_store::splitmix::SplitMix;
use std::collections::{BTreeMap, BTreeSet};

const NET_MAX: usize = 40;

/// What the walk must find.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mistake {
    /// The word still counts after the other one voted again.
    WordStands,
    /// The old record votes on, beside the new register's.
    OldRecordVotes,
    /// The newcomer starts with the value before the one that names it.
    NewcomerStartsBehind,
    /// One of three makes a register of its own: a majority decides without it.
    OneOfThree,
}

/// What is to become of a host's register when its next life begins.
#[derive(Clone)]
enum Turn {
    /// Written down when the newest version that was known was `seen`, and the newest accepted one `accepted`.
    Alone {
        old: ClusterId,
        cluster: ClusterId,
        seen: u64,
        accepted: u64,
    },
    Leave {
        old: ClusterId,
    },
    Admit {
        cluster: ClusterId,
        newcomer: Seat,
        first: Option<Box<Record>>,
    },
}

struct Host {
    node: NodeId,
    /// What its disk holds; all that a voter says is durable.
    disk: Standing,
    /// Planted only: an older record that votes on.
    older: Option<Voter>,
    turn: Option<Turn>,
    /// The running process: its proposer, and the newest decided value that it knows.
    life: Option<Life>,
    runs: u64,
    attempts: u64,
}

struct Life {
    proposer: Proposer,
    cluster: ClusterId,
    base: Option<Value>,
    /// What its voter had accepted when it began.
    last: u64,
}

/// Which register granted an epoch, and at which of its versions.
type Grant = (ClusterId, u64);

struct World {
    hosts: Vec<Host>,
    net: Vec<(usize, usize, Message)>,
    /// Registers, oldest first, each with who founded it and whether the word for it was true.
    registers: Vec<(ClusterId, bool)>,
    proposed: BTreeMap<(ClusterId, Ballot), Value>,
    accepted: BTreeMap<(ClusterId, Ballot), BTreeSet<VoterId>>,
    decided: BTreeMap<Grant, Value>,
    granted: BTreeMap<u64, Grant>,
    mistake: Option<Mistake>,
    random: SplitMix,
    voters_drawn: u64,
    disks_lost: u32,
    seen: Seen,
}

/// How much happened: a walk in which nothing does shows nothing.
#[derive(Default, Debug)]
struct Seen {
    decided: u64,
    registers: u64,
    voided: u64,
    admitted: u64,
    rejoined: u64,
}

fn content(epoch: u64, by: NodeId, cluster: ClusterId) -> Vec<u8> {
    let mut bytes = epoch.to_le_bytes().to_vec();
    bytes.extend(by.0.to_le_bytes());
    bytes.extend(cluster.0.to_le_bytes());
    bytes
}

fn epoch_of(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(*bytes.first_chunk().expect("a content begins with its epoch"))
}

impl World {
    fn new(seed: u64, mistake: Option<Mistake>) -> World {
        let count = if mistake == Some(Mistake::OneOfThree) { 3 } else { 2 };
        let cluster = ClusterId(1);
        let seat = |node| Seat { voter: VoterId(u64::from(node)), node: NodeId(node) };
        let seats: Vec<Seat> = (0..count).map(seat).collect();
        let first = content(1, NodeId(0), cluster);
        let records = initial_records(cluster, &seats, &first);
        let hosts = records.iter().map(|(node, record)| Host {
            node: *node,
            disk: Standing::Seated(record.clone()),
            older: None,
            turn: None,
            life: None,
            runs: 0,
            attempts: 0,
        });
        let mut world = World {
            hosts: hosts.collect(),
            net: Vec::new(),
            registers: vec![(cluster, true)],
            proposed: BTreeMap::new(),
            accepted: BTreeMap::new(),
            decided: BTreeMap::new(),
            granted: BTreeMap::new(),
            mistake,
            random: SplitMix(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            voters_drawn: 100,
            disks_lost: 0,
            seen: Seen::default(),
        };
        let value = records[0].1.value.clone();
        world.note_decided(cluster, value).expect("the first");
        for host in 0..usize::from(count) {
            world.begin(host).expect("a first life");
        }
        world
    }

    fn draw(&mut self) -> u64 {
        self.random.draw()
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.draw() % bound as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn fresh_voter(&mut self) -> VoterId {
        self.voters_drawn += 1;
        VoterId(self.voters_drawn)
    }

    fn record(&self, host: usize) -> Option<&Record> {
        match &self.hosts[host].disk {
            Standing::Seated(record) => Some(record),
            Standing::Newcomer { .. } | Standing::Vacant => None,
        }
    }

    // ---- lives ----

    fn end(&mut self, host: usize) {
        self.hosts[host].life = None;
    }

    /// A life begins: first what was written down for it is carried out.
    fn begin(&mut self, host: usize) -> Result<(), String> {
        self.carry_out(host)?;
        self.hosts[host].runs += 1;
        let Some(record) = self.record(host) else { return Ok(()) };
        let (cluster, nodes) = (record.cluster, (0..self.hosts.len() as u16).map(NodeId));
        let setup = Setup {
            cluster,
            me: self.hosts[host].node,
            run: self.hosts[host].runs,
            seed: 0,
            nodes: nodes.collect(),
            timing: Timing { budget: u64::MAX, resend: 0, backoff_min: 0, backoff_max: 0 },
        };
        let last = record.value.version;
        let life = Life { proposer: Proposer::new(setup), cluster, base: None, last };
        self.hosts[host].life = Some(life);
        Ok(())
    }

    fn carry_out(&mut self, host: usize) -> Result<(), String> {
        match self.hosts[host].turn.clone() {
            None => {}
            Some(Turn::Alone { old, cluster, seen, accepted }) => {
                let own = self.record(host).cloned().filter(|own| own.cluster == old);
                let Some(own) = own else {
                    self.hosts[host].turn = None;
                    return Ok(());
                };
                let epoch = epoch_of(&own.value.bytes) + 1;
                let bytes = content(epoch, self.hosts[host].node, cluster);
                let stands = self.mistake == Some(Mistake::WordStands);
                let seen = if stands { u64::MAX } else { seen };
                let fresh = self.fresh_voter();
                let mut ground = own.clone();
                if self.mistake == Some(Mistake::OneOfThree) {
                    ground.value.voters.retain(|seat| seat.voter == own.voter);
                }
                let first = match alone(&ground, cluster, fresh, seen, &bytes) {
                    Ok(first) => first,
                    Err(NotOfAPair::VotedSince { .. }) => {
                        self.seen.voided += 1;
                        self.hosts[host].turn = None;
                        return Ok(());
                    }
                    Err(other) => return Err(other.to_string()),
                };
                let newest = self.decided.keys().filter(|(of, _)| *of == old).max();
                if let Some((_, version)) = newest.filter(|(_, version)| *version > accepted) {
                    return Err(format!("{old:?} granted at {version}, after the word"));
                }
                if self.mistake == Some(Mistake::OldRecordVotes) {
                    self.hosts[host].older = Some(Voter::new(Standing::Seated(own)));
                }
                self.note_decided(cluster, first.value.clone())?;
                self.hosts[host].disk = Standing::Seated(first);
                self.seen.registers += 1;
                if !self.one_in(4) {
                    // A crash before the end is written down: it is carried out again, and does nothing.
                    self.hosts[host].turn = None;
                }
            }
            Some(Turn::Leave { old }) => {
                if self.record(host).is_some_and(|own| own.cluster == old) {
                    self.hosts[host].disk = Standing::Vacant;
                }
                self.hosts[host].turn = None;
            }
            Some(Turn::Admit { cluster, newcomer, .. }) => {
                let Some(own) = self.record(host).filter(|own| own.cluster == cluster).cloned()
                else {
                    self.hosts[host].turn = None;
                    return Ok(());
                };
                let run = self.draw();
                let seated = seat_beside(&own, newcomer, run).map_err(|e| e.to_string())?;
                let Some([mine, mut theirs]) = seated else { return Ok(()) };
                if self.mistake == Some(Mistake::NewcomerStartsBehind) {
                    let epoch = epoch_of(&own.value.bytes) - 1;
                    theirs.value.version -= 1;
                    theirs.value.bytes = content(epoch, newcomer.node, cluster);
                }
                let first = Some(Box::new(theirs));
                self.hosts[host].turn = Some(Turn::Admit { cluster, newcomer, first });
                if self.one_in(4) {
                    // A crash between the two: neither record was stored.
                    return self.carry_out(host);
                }
                self.note_named(cluster, mine.value.clone())?;
                self.hosts[host].disk = Standing::Seated(mine);
                self.seen.admitted += 1;
            }
        }
        Ok(())
    }

    // ---- what operators do ----

    /// The operator's word that the others are off: the new register comes with the next life.
    fn give_word(&mut self, host: usize) {
        let Some(own) = self.record(host).cloned() else { return };
        let Some(life) = &self.hosts[host].life else { return };
        let is_told = matches!(self.hosts[host].turn, Some(Turn::Alone { .. }));
        if is_told || own.value.voters.len() == 1 {
            return;
        }
        let seen = life.base.as_ref().map_or(1, |base| base.version).max(life.last);
        let cluster = ClusterId(self.registers.len() as u128 + 1);
        let others = (0..self.hosts.len()).filter(|other| *other != host);
        // Two that are each off while the other one makes a register have one each, and no voter can know it: the
        // greetings of the agents and the claim on the shared data tell it.
        let is_alone = others.clone().all(|other| {
            let newer = self.record(other).is_some_and(|theirs| theirs.cluster > own.cluster);
            !newer && !matches!(self.hosts[other].turn, Some(Turn::Alone { .. }))
        });
        if !is_alone {
            return;
        }
        let is_true = others.clone().all(|other| self.hosts[other].life.is_none());
        self.registers.push((cluster, is_true));
        let (old, accepted) = (own.cluster, own.value.version);
        self.hosts[host].turn = Some(Turn::Alone { old, cluster, seen, accepted });
    }

    /// `host` takes the other one back: that one leaves what was replaced, offers an id, gets its seat and its record.
    fn rejoin(&mut self, host: usize) -> Result<(), String> {
        let other = 1 - host;
        let Some(own) = self.record(host).cloned() else { return Ok(()) };
        if self.hosts[host].life.is_none() || self.hosts[other].life.is_some() && self.one_in(2) {
            return Ok(());
        }
        match (&self.hosts[other].disk, self.hosts[host].turn.clone()) {
            (_, Some(Turn::Alone { .. } | Turn::Leave { .. })) => {}
            (Standing::Seated(theirs), _) => {
                let is_told = matches!(self.hosts[other].turn, Some(Turn::Alone { .. }));
                if theirs.cluster == own.cluster {
                    // It has its seat: what was written down for it is over, if nobody crashes first.
                    self.hosts[host].turn = None;
                } else if theirs.cluster < own.cluster && !is_told {
                    self.hosts[other].turn = Some(Turn::Leave { old: theirs.cluster });
                    self.end(other);
                    self.begin(other)?;
                }
            }
            (_, Some(Turn::Admit { newcomer, first: Some(first), .. })) => {
                let known = self.hosts[host].life.as_ref().and_then(|life| life.base.as_ref());
                if known.is_some_and(|known| has_voted(known, &first)) {
                    let node = newcomer.node;
                    let voter = self.fresh_voter();
                    let newcomer = Seat { voter, node };
                    let cluster = own.cluster;
                    self.hosts[host].turn = Some(Turn::Admit { cluster, newcomer, first: None });
                } else {
                    self.seat(other, &first)?;
                }
            }
            (_, Some(Turn::Admit { first: None, .. })) => {
                self.end(host);
                self.begin(host)?;
            }
            (_, None) => {
                let newcomer = Seat { voter: self.fresh_voter(), node: self.hosts[other].node };
                let cluster = own.cluster;
                self.hosts[host].turn = Some(Turn::Admit { cluster, newcomer, first: None });
            }
        }
        Ok(())
    }

    /// The newcomer takes its first record, and votes from its next life on.
    fn seat(&mut self, host: usize, first: &Record) -> Result<(), String> {
        let mut voter = Voter::new(self.hosts[host].disk.clone());
        if voter.install(first.clone()) {
            self.hosts[host].disk = voter.standing().clone();
            self.seen.rejoined += 1;
            self.end(host);
            self.begin(host)?;
        }
        Ok(())
    }

    /// A disk is lost, while the other voter has all that was decided: the loss of a majority is outside.
    fn lose_disk(&mut self, host: usize) {
        let other = 1 - host;
        let (Some(own), Some(theirs)) = (self.record(host), self.record(other)) else { return };
        let newest = self.decided.keys().filter(|(cluster, _)| *cluster == own.cluster).max();
        let is_whole = own.cluster == theirs.cluster
            && theirs.value.has_voter(theirs.voter)
            && newest.is_some_and(|(_, version)| theirs.value.version >= *version)
            && self.hosts.iter().all(|host| !matches!(host.turn, Some(Turn::Alone { .. })));
        if is_whole && self.hosts[host].turn.is_none() {
            self.hosts[host].disk = Standing::Vacant;
            self.disks_lost += 1;
            self.end(host);
        }
    }

    // ---- the register at work ----

    fn swap(&mut self, host: usize) -> Result<(), String> {
        let node = self.hosts[host].node;
        let (runs, attempts) = (self.hosts[host].runs, self.hosts[host].attempts + 1);
        let Some(life) = &mut self.hosts[host].life else { return Ok(()) };
        match &life.base {
            Some(base) => {
                let attempt = Attempt { node: node.0, boot: 0, run: runs, n: attempts };
                let bytes = content(epoch_of(&base.bytes) + 1, node, life.cluster);
                let swap = Swap { attempt, expect: base.version, bytes, holder: node.0 == 0 };
                life.proposer.give_up();
                while life.proposer.poll_answer().is_some() {}
                life.proposer.swap(swap, 0);
                self.hosts[host].attempts = attempts;
            }
            None => life.proposer.read(0),
        }
        self.drain(host)
    }

    fn tick(&mut self, host: usize) -> Result<(), String> {
        if let Some(life) = &mut self.hosts[host].life {
            life.proposer.tick(0);
        }
        self.drain(host)
    }

    fn drain(&mut self, host: usize) -> Result<(), String> {
        loop {
            let Some(life) = &mut self.hosts[host].life else { return Ok(()) };
            let cluster = life.cluster;
            if let Some((to, message)) = life.proposer.poll_send() {
                self.post(usize::from(to.0), host, message)?;
                continue;
            }
            let Some(answer) = life.proposer.poll_answer() else { return Ok(()) };
            let value = match answer {
                Answer::Won(value) => {
                    self.expect_may_grant(cluster)?;
                    value
                }
                Answer::Lost(value) | Answer::View(value) => value,
                Answer::Unknown => continue,
                Answer::WentBack { found, high } => {
                    return Err(format!("it went back from {high} to {found}"));
                }
                Answer::Refused(why) => return Err(format!("refused: {why}")),
            };
            if self.decided.get(&(cluster, value.version)) != Some(&value) {
                return Err(format!("an answer tells what is not decided: {value:?}"));
            }
            if let Some(life) = &mut self.hosts[host].life
                && life.base.as_ref().is_none_or(|base| base.version < value.version)
            {
                life.base = Some(value);
            }
        }
    }

    fn deliver(&mut self, index: usize) -> Result<(), String> {
        let (to, from, message) = self.net[index].clone();
        if !self.one_in(5) {
            self.net.swap_remove(index);
        }
        if self.hosts[to].life.is_none() {
            return Ok(());
        }
        if message.body.is_for_voter() {
            // Pairs never ask under which id a voter votes: their seats are given between two lives.
            let mut voter = Voter::new(self.hosts[to].disk.clone());
            let reaction = voter.handle(&message, VoterId(0));
            self.hosts[to].disk = voter.standing().clone();
            let older = self.hosts[to].older.as_mut();
            let older = older.and_then(|older| older.handle(&message, VoterId(0)).reply);
            for reply in reaction.reply.into_iter().chain(older) {
                self.post(from, to, reply)?;
            }
        }
        if message.body.is_for_proposer()
            && let Some(life) = &mut self.hosts[to].life
        {
            life.proposer.handle(message, 0);
            self.drain(to)?;
        }
        Ok(())
    }

    fn post(&mut self, to: usize, from: usize, message: Message) -> Result<(), String> {
        use regent_store::cell::Body;
        let cluster = message.cluster;
        match &message.body {
            Body::Accept { ballot, value, .. } => {
                let old = self.proposed.insert((cluster, *ballot), value.clone());
                if old.is_some_and(|old| old != *value) {
                    return Err(format!("a ballot is used for two values: {ballot:?}"));
                }
            }
            Body::Accepted { ballot, voter } => self.note_accepted(cluster, *ballot, *voter)?,
            Body::Prepare { .. }
            | Body::Promise { .. }
            | Body::Refuse { .. }
            | Body::Learn { .. }
            | Body::Ask { .. }
            | Body::Named { .. } => {}
        }
        if to < self.hosts.len() {
            self.net.push((to, from, message));
        }
        while self.net.len() > NET_MAX {
            let lost = self.below(self.net.len());
            self.net.swap_remove(lost);
        }
        Ok(())
    }

    // ---- what is true ----

    fn note_accepted(
        &mut self,
        cluster: ClusterId,
        ballot: Ballot,
        voter: VoterId,
    ) -> Result<(), String> {
        let by = self.accepted.entry((cluster, ballot)).or_default();
        by.insert(voter);
        let Some(value) = self.proposed.get(&(cluster, ballot)) else { return Ok(()) };
        if by.iter().filter(|id| value.has_voter(**id)).count() < value.majority() {
            return Ok(());
        }
        let value = value.clone();
        self.note_decided(cluster, value)
    }

    /// The value that names a newcomer: it grants nothing, and is decided by both first records.
    fn note_named(&mut self, cluster: ClusterId, value: Value) -> Result<(), String> {
        let version = value.version;
        let before = (cluster, version - 1);
        if !self.decided.contains_key(&before) {
            // What it stands on was in doubt, and is decided with it.
            self.note_decided(cluster, Value { version: version - 1, ..value.clone() })?;
        }
        match self.decided.insert((cluster, version), value) {
            Some(_) => Err(format!("version {version} of {cluster:?} is decided twice")),
            None => Ok(()),
        }
    }

    /// One value per version, each on the one before; each epoch granted once, by whichever register.
    fn note_decided(&mut self, cluster: ClusterId, value: Value) -> Result<(), String> {
        let grant = (cluster, value.version);
        if let Some(old) = self.decided.get(&grant) {
            return if epoch_of(&old.bytes) == epoch_of(&value.bytes) && old.recent == value.recent {
                Ok(())
            } else {
                Err(format!("{grant:?} is decided twice"))
            };
        }
        let epoch = epoch_of(&value.bytes);
        if let Some(old) = self.granted.insert(epoch, grant) {
            return Err(format!("epoch {epoch} is granted twice: {old:?} and {grant:?}"));
        }
        if value.version > 1 {
            let before = self.decided.get(&(cluster, value.version - 1));
            if before.is_none_or(|before| epoch_of(&before.bytes) + 1 != epoch) {
                return Err(format!("{grant:?} does not stand on what was decided before"));
            }
        }
        self.decided.insert(grant, value);
        self.seen.decided += 1;
        Ok(())
    }

    /// Where the word was true, nobody is told that it won in the register that was replaced.
    fn expect_may_grant(&self, cluster: ClusterId) -> Result<(), String> {
        let later = self.registers.iter().find(|(later, is_true)| {
            *later > cluster && *is_true && self.decided.contains_key(&(*later, 1))
        });
        match later {
            Some((later, _)) => Err(format!("{cluster:?} grants after {later:?} was made")),
            None => Ok(()),
        }
    }

    // ---- the walk ----

    fn step(&mut self) -> Result<(), String> {
        let host = self.below(2);
        match self.below(200) {
            0 => {
                self.end(host);
                Ok(())
            }
            1..=4 => match self.hosts[host].life {
                Some(_) => Ok(()),
                None => self.begin(host),
            },
            5 => {
                self.end(host);
                self.begin(host)
            }
            6 => {
                // True or false: the other one may be off, cut off, or slow.
                self.give_word(host);
                if self.one_in(3) {
                    // It lives on for a while, and the other one may be back.
                    return Ok(());
                }
                self.end(host);
                self.begin(host)
            }
            7..=12 if self.hosts.len() == 2 => self.rejoin(host),
            13 if self.hosts.len() == 2 && self.one_in(4) => {
                self.lose_disk(host);
                Ok(())
            }
            7..=30 => self.swap(host),
            31..=36 => self.tick(host),
            _ if !self.net.is_empty() => {
                let index = self.below(self.net.len());
                self.deliver(index)
            }
            _ => self.swap(host),
        }
    }
}

/// Walks until something breaks; tells what was seen.
fn walk(mistake: Option<Mistake>, walks: u64, steps: u32) -> (Seen, Option<String>) {
    let mut all = Seen::default();
    for seed in 1..=walks {
        let mut world = World::new(seed, mistake);
        let result = (0..steps).try_for_each(|_| world.step());
        let seen = world.seen;
        all.decided += seen.decided;
        all.registers += seen.registers;
        all.voided += seen.voided;
        all.admitted += seen.admitted;
        all.rejoined += seen.rejoined;
        if let Err(why) = result {
            return (all, Some(format!("walk {seed}: {why}")));
        }
    }
    (all, None)
}

#[test]
fn no_two_registers_of_a_pair_grant_the_same_epoch() {
    let (seen, broken) = walk(None, 600, 2000);
    println!("{seen:?}");
    assert_eq!(broken, None);
    assert!(seen.decided > 20_000, "{seen:?}: too little happens");
    assert!(seen.registers > 500 && seen.rejoined > 500, "{seen:?}");
    assert!(seen.voided > 50, "{seen:?}");
}

#[test]
fn every_planted_mistake_of_a_pair_is_found() {
    for mistake in [
        Mistake::WordStands,
        Mistake::OldRecordVotes,
        Mistake::NewcomerStartsBehind,
        Mistake::OneOfThree,
    ] {
        let (seen, broken) = walk(Some(mistake), 600, 2000);
        println!("{mistake:?}: {broken:?} after {seen:?}");
        assert!(broken.is_some(), "{mistake:?} was not found: {seen:?}");
    }
}

#[test]
fn one_of_three_and_one_that_left_the_list_make_nothing() {
    let seat = |id| Seat { voter: VoterId(id), node: NodeId(id as u16) };
    let three = initial_records(ClusterId(1), &[seat(1), seat(2), seat(3)], b"");
    let own = &three[0].1;
    assert_eq!(alone(own, ClusterId(2), VoterId(9), 1, b""), Err(NotOfAPair::More(3)));
    assert_eq!(seat_beside(own, seat(4), 1), Err(NotOfAPair::More(3)));
    let two = initial_records(ClusterId(1), &[seat(1), seat(2)], b"");
    let left = Record { voter: VoterId(7), ..two[0].1.clone() };
    assert_eq!(alone(&left, ClusterId(2), VoterId(9), 1, b""), Err(NotOfAPair::NotListed));
    assert_eq!(seat_beside(&left, seat(4), 1), Err(NotOfAPair::NotListed));
}

#[test]
fn a_seat_is_given_once_and_above_every_promise() {
    let seat = |id| Seat { voter: VoterId(id), node: NodeId(id as u16) };
    let mut own = initial_records(ClusterId(1), &[seat(1), seat(2)], b"x").remove(0).1;
    own.promised = Ballot { n: 40, node: NodeId(2), run: 3 };
    let [mine, theirs] = seat_beside(&own, seat(5), 77).expect("a pair").expect("a seat");
    assert_eq!((mine.voter, theirs.voter), (VoterId(1), VoterId(5)));
    assert_eq!(
        (mine.promised, mine.accepted, &mine.value),
        (theirs.promised, theirs.accepted, &theirs.value)
    );
    assert!(mine.accepted > own.promised);
    assert_eq!(mine.value.voters, [seat(1), seat(5)]);
    assert_eq!((mine.value.version, &mine.value.bytes), (2, &b"x".to_vec()));
    assert!(!has_voted(&mine.value, &theirs));
    assert_eq!(seat_beside(&mine, seat(5), 78), Ok(None));
}
