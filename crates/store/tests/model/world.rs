//! The world of the model: the shipped voters and proposers, a network that keeps every message
//! for ever and delivers any of them at any time, and what has been decided so far.
//!
//! Machines and messages are numbered as they are met, and what a machine does with a message is
//! worked out once: the machines are pure, so the exploration is a walk over small numbers.

use super::ghost::{Ghost, mark};
use super::table::{Map, Table, print, scatter};
use regent_store::cell::{
    Answer, Attempt, Ballot, Body, ClusterId, Message, Mistake, NodeId, Proposer, Seat, Setup,
    Standing, Swap, Timing, Value, Voter, VoterId, initial_records,
};
use std::collections::BTreeSet;
use std::rc::Rc;

/// The most nodes of a world.
pub const NODES_MAX: usize = 6;

pub const CLUSTER: ClusterId = ClusterId(1);

/// What the model may do, and how often.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Nodes with a seat at the start.
    pub seats: u16,
    /// Nodes without, which can be admitted.
    pub spares: u16,
    /// Proposals of each of the two proposers, changes of voters among them.
    pub attempts: u64,
    /// Ballots that each of the two begins with a Prepare.
    pub ballots: [u32; 2],
    /// Proposers that lose their memory.
    pub restarts: u32,
    /// Voters that lose their disk.
    pub emptied: u32,
    /// Admissions begun.
    pub admissions: u32,
    /// Reads are proposed too.
    pub reads: bool,
    /// An attempt may be given up.
    pub gives_up: bool,
    /// Learn messages reach the other proposer (newcomers always get theirs).
    pub views: bool,
    /// Messages that can have no effect any more are forgotten, which joins states; those to
    /// voters not where a voter may lose its disk, and with it what made them void.
    pub forgets: bool,
    pub mistake: Option<Mistake>,
}

/// One thing that may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Deliver(usize),
    Swap(usize),
    Read(usize),
    GiveUp(usize),
    Tick(usize),
    Restart(usize),
    Empty(usize),
    Admit { by: usize, node: u16, instead_of: u16 },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    Voter(u16),
    Proposer(u16),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Packet {
    pub to: Place,
    pub from: u16,
    pub message: Message,
}

/// Who uses a proposer: it knows decided values only, and proposes on top of the newest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Client {
    pub base: Value,
    pub attempts: u64,
    pub runs: u64,
    outstanding: Option<(Attempt, u64)>,
    lost: Vec<(Attempt, u64)>,
    admission: Option<(Attempt, u16, u16)>,
}

#[derive(Clone, Debug)]
pub struct State {
    voters: [u32; NODES_MAX],
    proposers: [u32; 2],
    clients: [Rc<Client>; 2],
    client_prints: [u64; 2],
    pub net: Vec<u32>,
    net_print: u128,
    pub ghost: Rc<Ghost>,
    begun: [u32; 2],
    restarts: u32,
    emptied: u32,
    admissions: u32,
}

/// The machines and messages met so far, by number.
pub struct World {
    pub bounds: Bounds,
    nodes: u16,
    voters: Table<Voter>,
    proposers: Table<Proposer>,
    packets: Table<Packet>,
    voter_steps: Map<(u32, u32), (u32, Option<u32>)>,
    message_steps: Map<(u32, u32), Rc<Step>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Stimulus {
    Message(u32),
    Swap(Swap),
    Replace { attempt: Attempt, base: Value, old: VoterId, new: Seat },
    Read,
    GiveUp,
    Tick,
}

struct Step {
    next: u32,
    /// It prepares a ballot that was not outstanding before.
    begins: bool,
    packets: Vec<u32>,
    answers: Vec<Answer>,
    view: Option<Value>,
}

impl World {
    pub fn new(bounds: Bounds) -> (World, State) {
        let mut world = World {
            nodes: bounds.seats + bounds.spares,
            bounds,
            voters: Table::default(),
            proposers: Table::default(),
            packets: Table::default(),
            voter_steps: Map::default(),
            message_steps: Map::default(),
        };
        let seats: Vec<Seat> = (0..world.bounds.seats)
            .map(|node| Seat { voter: VoterId(u64::from(node)), node: NodeId(node) })
            .collect();
        let records = initial_records(CLUSTER, &seats, b"first");
        let first = records[0].1.value.clone();
        let mistake = world.bounds.mistake;
        let mut standings: Vec<Standing> =
            records.into_iter().map(|(_, record)| Standing::Seated(record)).collect();
        standings.extend((0..world.bounds.spares).map(|_| Standing::Vacant));
        let mut voters = [0; NODES_MAX];
        for (place, standing) in voters.iter_mut().zip(standings) {
            *place = world.voters.number(Voter::with_mistake(standing, mistake));
        }
        let client = Rc::new(Client {
            base: first.clone(),
            attempts: 0,
            runs: 0,
            outstanding: None,
            lost: Vec::new(),
            admission: None,
        });
        let ghost = Ghost::new(&first);
        let proposers = [world.fresh_proposer(0, 0), world.fresh_proposer(1, 0)];
        let state = State {
            voters,
            proposers,
            client_prints: [print_of_client(&client); 2],
            clients: [Rc::clone(&client), client],
            net: Vec::new(),
            net_print: 0,
            ghost: Rc::new(ghost),
            begun: [0; 2],
            restarts: 0,
            emptied: 0,
            admissions: 0,
        };
        (world, state)
    }

    /// All that may happen next and may change something.
    pub fn actions(&self, state: &State, into: &mut Vec<Action>) {
        self.own_actions(state, into);
        let deliveries = (0..state.net.len()).filter(|index| !self.is_idle(state, *index));
        into.extend(deliveries.map(Action::Deliver));
    }

    /// All that may happen next without a message.
    pub fn own_actions(&self, state: &State, into: &mut Vec<Action>) {
        into.clear();
        let bounds = &self.bounds;
        for by in 0..2 {
            let client = &state.clients[by];
            let proposer = self.proposers.get(state.proposers[by]);
            if client.attempts < bounds.attempts && (bounds.gives_up || !proposer.is_busy()) {
                into.push(Action::Swap(by));
            }
            if bounds.reads && !proposer.is_busy() {
                into.push(Action::Read(by));
            }
            if bounds.gives_up && proposer.is_busy() {
                into.push(Action::GiveUp(by));
            }
            if proposer.is_busy() {
                into.push(Action::Tick(by));
            }
            if state.restarts < bounds.restarts {
                into.push(Action::Restart(by));
            }
            if state.admissions < bounds.admissions && client.attempts < bounds.attempts {
                self.admissions(state, by, into);
            }
        }
        if state.emptied < bounds.emptied && self.all_seats_vote(state) {
            let newest = state.ghost.newest();
            into.extend(newest.voters.iter().map(|seat| Action::Empty(seat.node.0 as usize)));
        }
    }

    /// True if the delivery is known to change nothing and to say nothing new.
    fn is_idle(&self, state: &State, index: usize) -> bool {
        let number = state.net[index];
        match self.packets.get(number).to {
            Place::Voter(node) => {
                let voter = state.voters[node as usize];
                let step = self.voter_steps.get(&(voter, number));
                step.is_some_and(|(next, reply)| {
                    *next == voter && reply.is_none_or(|reply| state.net.contains(&reply))
                })
            }
            Place::Proposer(by) => {
                let proposer = state.proposers[by as usize];
                self.message_steps.get(&(proposer, number)).is_some_and(|step| {
                    step.next == proposer && step.packets.is_empty() && step.answers.is_empty()
                })
            }
        }
    }

    /// True if the packet can have no effect in any future: ballots only grow, and a proposer
    /// never returns to one that it left.
    fn is_void(&self, state: &State, packet: u32) -> bool {
        let Packet { to, from, message } = self.packets.get(packet);
        let outstanding = |by: u16| self.proposers.get(state.proposers[by as usize]).outstanding();
        let promised = |node: u16| {
            if self.bounds.emptied > 0 {
                return None;
            }
            let record = self.voters.get(state.voters[node as usize]).record();
            record.map(|record| (record.promised, record.accepted))
        };
        match (&message.body, to) {
            (Body::Prepare { ballot }, Place::Voter(node)) => {
                promised(*node).is_some_and(|(promised, _)| *ballot <= promised)
                    && outstanding(*from) != Some((*ballot, false))
            }
            (Body::Accept { ballot, .. }, Place::Voter(node)) => {
                promised(*node)
                    .is_some_and(|(promised, accepted)| *ballot < promised || *ballot == accepted)
                    && outstanding(*from) != Some((*ballot, true))
            }
            (Body::Promise { ballot, .. }, Place::Proposer(by)) => {
                outstanding(*by) != Some((*ballot, false))
            }
            (Body::Accepted { ballot, .. }, Place::Proposer(by)) => {
                outstanding(*by) != Some((*ballot, true))
            }
            (Body::Refuse { ballot, .. }, Place::Proposer(by)) => {
                outstanding(*by).is_none_or(|(own, _)| own != *ballot)
            }
            _ => false,
        }
    }

    fn forget(&self, state: &mut State) {
        let mut net = std::mem::take(&mut state.net);
        net.retain(|packet| {
            let is_void = self.is_void(state, *packet);
            if is_void {
                state.net_print ^= scatter(u64::from(*packet));
            }
            !is_void
        });
        state.net = net;
    }

    fn admissions(&self, state: &State, by: usize, into: &mut Vec<Action>) {
        let base = &state.clients[by].base;
        for node in 0..self.nodes {
            let votes = self.voters.get(state.voters[node as usize]).record().is_some();
            match base.seat_of(NodeId(node)) {
                Some(_) if votes => {}
                Some(_) => into.push(Action::Admit { by, node, instead_of: node }),
                None => into.extend(base.voters.iter().map(|seat| Action::Admit {
                    by,
                    node,
                    instead_of: seat.node.0,
                })),
            }
        }
    }

    /// Only then may a voter lose its disk: the loss of a majority is outside the assumption.
    fn all_seats_vote(&self, state: &State) -> bool {
        state.ghost.newest().voters.iter().all(|seat| {
            let record = self.voters.get(state.voters[seat.node.0 as usize]).record();
            record.is_some_and(|record| record.voter == seat.voter)
        })
    }

    /// Does it; an error tells which invariant broke. `false`: beyond the bounds.
    pub fn act(&mut self, state: &mut State, action: Action) -> Result<bool, String> {
        let before = state.clients.clone();
        let is_within = self.perform(state, action)?;
        if self.bounds.forgets {
            self.forget(state);
        }
        for (by, before) in before.iter().enumerate() {
            if !Rc::ptr_eq(before, &state.clients[by]) {
                state.client_prints[by] = print_of_client(&state.clients[by]);
            }
        }
        Ok(is_within)
    }

    fn perform(&mut self, state: &mut State, action: Action) -> Result<bool, String> {
        match action {
            Action::Deliver(index) => {
                let packet = state.net[index];
                match self.packets.get(packet).to.clone() {
                    Place::Voter(node) => self.deliver_to_voter(state, node as usize, packet),
                    Place::Proposer(node) => self.deliver_to_proposer(state, node as usize, packet),
                }
            }
            Action::Swap(by) => {
                let client = Rc::make_mut(&mut state.clients[by]);
                let attempt = client.next_attempt(by);
                let base = &client.base;
                let expect = base.version;
                client.outstanding = Some((attempt, expect));
                let bytes = content(attempt, base);
                let swap = Swap { attempt, expect, bytes, holder: by == 0 };
                self.stimulate(state, by, Stimulus::Swap(swap), Some((attempt, expect)))
            }
            Action::Read(by) => {
                Rc::make_mut(&mut state.clients[by]).outstanding = None;
                self.stimulate(state, by, Stimulus::Read, None)
            }
            Action::GiveUp(by) => {
                let outstanding = state.clients[by].outstanding;
                self.stimulate(state, by, Stimulus::GiveUp, outstanding)
            }
            Action::Tick(by) => {
                let outstanding = state.clients[by].outstanding;
                self.stimulate(state, by, Stimulus::Tick, outstanding)
            }
            Action::Restart(by) => {
                state.restarts += 1;
                let client = Rc::make_mut(&mut state.clients[by]);
                client.runs += 1;
                client.outstanding = None;
                client.admission = None;
                let reuses = self.bounds.mistake == Some(Mistake::BallotReusedAfterRestart);
                let run = if reuses { 0 } else { client.runs };
                state.proposers[by] = self.fresh_proposer(by as u16, run);
                Ok(true)
            }
            Action::Empty(node) => {
                state.emptied += 1;
                let mistake = self.bounds.mistake;
                let old = self.voters.get(state.voters[node]).record().cloned();
                let standing = match old {
                    Some(mut record) if mistake == Some(Mistake::EmptiedVoterKeepsId) => {
                        record.promised = Ballot { n: 0, ..Ballot::INITIAL };
                        record.accepted = record.promised;
                        record.value.version = 0;
                        record.value.bytes.clear();
                        record.value.recent.clear();
                        Standing::Seated(record)
                    }
                    Some(_) | None => Standing::Vacant,
                };
                state.voters[node] = self.voters.number(Voter::with_mistake(standing, mistake));
                Ok(true)
            }
            Action::Admit { by, node, instead_of } => {
                state.admissions += 1;
                let client = Rc::make_mut(&mut state.clients[by]);
                let admission = client.next_attempt(by);
                client.admission = Some((admission, node, instead_of));
                let body = Body::Ask {
                    admission,
                    version: client.base.version,
                    voters: client.base.voters.clone(),
                };
                let message = Message { cluster: CLUSTER, body };
                let packet = Packet { to: Place::Voter(node), from: by as u16, message };
                let packet = self.packets.number(packet);
                self.post(state, packet)?;
                Ok(true)
            }
        }
    }

    fn deliver_to_voter(
        &mut self,
        state: &mut State,
        node: usize,
        packet: u32,
    ) -> Result<bool, String> {
        let number = state.voters[node];
        let (next, reply) = match self.voter_steps.get(&(number, packet)) {
            Some(step) => *step,
            None => {
                let Packet { from, message, .. } = self.packets.get(packet).clone();
                let mut voter = self.voters.get(number).clone();
                let fresh = match &message.body {
                    Body::Ask { admission, .. } => drawn(node, *admission),
                    Body::Prepare { .. }
                    | Body::Promise { .. }
                    | Body::Accept { .. }
                    | Body::Accepted { .. }
                    | Body::Refuse { .. }
                    | Body::Learn { .. }
                    | Body::Named { .. } => VoterId(0),
                };
                let reaction = voter.handle(&message, fresh);
                let reply = reaction.reply.map(|message| {
                    let to = Place::Proposer(from);
                    self.packets.number(Packet { to, from: node as u16, message })
                });
                let step = (self.voters.number(voter), reply);
                self.voter_steps.insert((number, packet), step);
                step
            }
        };
        state.voters[node] = next;
        if let Some(reply) = reply {
            self.post(state, reply)?;
        }
        Ok(true)
    }

    fn deliver_to_proposer(
        &mut self,
        state: &mut State,
        by: usize,
        packet: u32,
    ) -> Result<bool, String> {
        let message = &self.packets.get(packet).message;
        if let Body::Named { admission, voter, newcomer } = message.body {
            return self.deliver_name(state, by, admission, voter, newcomer);
        }
        let outstanding = state.clients[by].outstanding;
        self.stimulate(state, by, Stimulus::Message(packet), outstanding)
    }

    fn deliver_name(
        &mut self,
        state: &mut State,
        by: usize,
        admission: Attempt,
        voter: VoterId,
        newcomer: bool,
    ) -> Result<bool, String> {
        let client = Rc::make_mut(&mut state.clients[by]);
        let Some((attempt, node, instead_of)) =
            client.admission.take_if(|(attempt, ..)| *attempt == admission)
        else {
            return Ok(true);
        };
        let base = client.base.clone();
        let old = base.seat_of(NodeId(instead_of));
        let is_latest = attempt.n == client.attempts;
        let Some(old) = old.filter(|_| newcomer && is_latest && !base.has_voter(voter)) else {
            return Ok(true);
        };
        client.outstanding = Some((attempt, base.version));
        let outstanding = client.outstanding;
        let new = Seat { voter, node: NodeId(node) };
        let stimulus = Stimulus::Replace { attempt, base, old: old.voter, new };
        self.stimulate(state, by, stimulus, outstanding)
    }

    fn stimulate(
        &mut self,
        state: &mut State,
        by: usize,
        stimulus: Stimulus,
        outstanding: Option<(Attempt, u64)>,
    ) -> Result<bool, String> {
        let number = state.proposers[by];
        let step = match &stimulus {
            Stimulus::Message(packet) => match self.message_steps.get(&(number, *packet)) {
                Some(step) => Rc::clone(step),
                None => {
                    let step = Rc::new(self.work_out(by, number, &stimulus));
                    self.message_steps.insert((number, *packet), Rc::clone(&step));
                    step
                }
            },
            Stimulus::Swap(_)
            | Stimulus::Replace { .. }
            | Stimulus::Read
            | Stimulus::GiveUp
            | Stimulus::Tick => Rc::new(self.work_out(by, number, &stimulus)),
        };
        state.proposers[by] = step.next;
        state.begun[by] += u32::from(step.begins);
        if state.begun[by] > self.bounds.ballots[by] {
            return Ok(false);
        }
        for packet in &step.packets {
            self.post(state, *packet)?;
        }
        let last = step.answers.len();
        for (index, answer) in step.answers.iter().enumerate() {
            // A new proposal first ends an older one, as Unknown.
            let is_own = index + 1 == last && !matches!(answer, Answer::Unknown);
            Self::hear(state, by, answer, if is_own { outstanding } else { None })?;
        }
        if let Some(view) = &step.view {
            state.ghost.expect_decided("a view", view)?;
            Rc::make_mut(&mut state.clients[by]).learn(view);
        }
        Ok(true)
    }

    fn work_out(&mut self, by: usize, number: u32, stimulus: &Stimulus) -> Step {
        let mut proposer = self.proposers.get(number).clone();
        let before = proposer.outstanding();
        match stimulus.clone() {
            Stimulus::Message(packet) => {
                proposer.handle(self.packets.get(packet).message.clone(), 0);
            }
            Stimulus::Swap(swap) => proposer.swap(swap, 0),
            Stimulus::Replace { attempt, base, old, new } => {
                let allowed = proposer.replace_voter(attempt, &base, old, new, 0);
                assert_eq!(allowed, Ok(()), "the model asks only for changes that are allowed");
            }
            Stimulus::Read => proposer.read(0),
            Stimulus::GiveUp => proposer.give_up(),
            Stimulus::Tick => proposer.tick(0),
        }
        let mut packets = Vec::new();
        while let Some((to, message)) = proposer.poll_send() {
            let from = by as u16;
            let is_proposer = to.0 < 2 && to.0 != from && self.bounds.views;
            if message.body.is_for_voter() {
                let message = message.clone();
                let to = Place::Voter(to.0);
                packets.push(self.packets.number(Packet { to, from, message }));
            }
            if message.body.is_for_proposer() && is_proposer {
                let to = Place::Proposer(to.0);
                packets.push(self.packets.number(Packet { to, from, message }));
            }
        }
        let answers = std::iter::from_fn(|| proposer.poll_answer()).collect();
        let view = proposer.poll_view();
        let after = proposer.outstanding();
        let begins = after != before && after.is_some_and(|(_, accepting)| !accepting);
        Step { next: self.proposers.number(proposer), begins, packets, answers, view }
    }

    /// Posts a message once; all that was ever said is kept, and may be delivered at any time.
    fn post(&mut self, state: &mut State, packet: u32) -> Result<(), String> {
        let Packet { to, message, .. } = self.packets.get(packet);
        if let Body::Learn { .. } = message.body
            && let Place::Voter(node) = to
            && self.voters.get(state.voters[*node as usize]).record().is_some()
        {
            return Ok(());
        }
        if state.net.contains(&packet) {
            return Ok(());
        }
        state.net.push(packet);
        state.net_print ^= scatter(u64::from(packet));
        match &message.body {
            Body::Accept { ballot, value, .. } => {
                Rc::make_mut(&mut state.ghost).note_proposed(*ballot, value)?;
            }
            Body::Accepted { ballot, voter } => {
                Rc::make_mut(&mut state.ghost).note_accepted(*ballot, *voter)?;
            }
            Body::Prepare { .. }
            | Body::Promise { .. }
            | Body::Refuse { .. }
            | Body::Learn { .. }
            | Body::Ask { .. }
            | Body::Named { .. } => {}
        }
        Ok(())
    }

    fn hear(
        state: &mut State,
        by: usize,
        answer: &Answer,
        asked: Option<(Attempt, u64)>,
    ) -> Result<(), String> {
        let client = Rc::make_mut(&mut state.clients[by]);
        match answer {
            Answer::View(value) => {
                state.ghost.expect_decided("a read", value)?;
                client.learn(value);
            }
            Answer::Won(value) => {
                state.ghost.expect_decided("won", value)?;
                client.learn(value);
                client.outstanding = None;
                if let Some(asked) = asked {
                    state.ghost.expect_won(asked)?;
                }
            }
            Answer::Lost(value) => {
                state.ghost.expect_decided("lost", value)?;
                client.learn(value);
                client.outstanding = None;
                if let Some(asked) = asked {
                    client.lost.push(asked);
                    Rc::make_mut(&mut state.ghost).note_lost(asked)?;
                }
            }
            Answer::Unknown => {}
            Answer::WentBack { found, high } => {
                return Err(format!("the register went back from {high} to {found}"));
            }
            Answer::Refused(why) => return Err(format!("refused: {why}")),
        }
        Ok(())
    }

    fn fresh_proposer(&mut self, by: u16, run: u64) -> u32 {
        let setup = Setup {
            cluster: CLUSTER,
            me: NodeId(by),
            run,
            seed: 0,
            nodes: (0..self.bounds.seats).map(NodeId).collect(),
            timing: Timing { budget: u64::MAX, resend: 0, backoff_min: 0, backoff_max: 0 },
        };
        self.proposers.number(Proposer::with_mistake(setup, self.bounds.mistake))
    }

    /// Takes a message off the network, as a link does after it delivered it, or lost it.
    pub fn drop_packet(&self, state: &mut State, index: usize) {
        let packet = state.net.swap_remove(index);
        state.net_print ^= scatter(u64::from(packet));
    }

    /// A number for the machine that a message is for.
    pub fn place(&self, state: &State, index: usize) -> usize {
        match self.packets.get(state.net[index]).to {
            Place::Voter(node) => 2 + node as usize,
            Place::Proposer(by) => by as usize,
        }
    }

    /// How much has been worked out so far.
    pub fn size(&self) -> usize {
        self.packets.count() + self.proposers.count()
    }

    pub fn describe(&self, state: &State, action: Action) -> String {
        match action {
            Action::Deliver(index) => {
                let Packet { to, from, message } = self.packets.get(state.net[index]);
                format!("deliver {:?} from {from} to {to:?}", message.body)
            }
            Action::Swap(_)
            | Action::Read(_)
            | Action::GiveUp(_)
            | Action::Tick(_)
            | Action::Restart(_)
            | Action::Empty(_)
            | Action::Admit { .. } => format!("{action:?}"),
        }
    }
}

impl State {
    /// Two states with one print are taken for one: 128 bits, so that chance does not matter.
    pub fn print(&self) -> u128 {
        let small = [self.restarts, self.emptied, self.admissions, self.begun[0], self.begun[1]];
        let counts = small.iter().fold(1, |sum, count| sum << 10 | u64::from(*count));
        let machines = self.voters.iter().chain(&self.proposers).map(|number| u64::from(*number));
        let rest = self.client_prints.into_iter().chain([counts]);
        let mix = |sum: u128, part: u64| {
            sum.rotate_left(23).wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645)
                ^ scatter(part)
        };
        self.net_print ^ machines.chain(rest).fold(0, mix)
    }

    /// Seats that were given to another voter since the start.
    pub fn changed_seats(&self) -> usize {
        let lists: BTreeSet<&[Seat]> =
            self.ghost.decided.values().map(|value| &value.voters[..]).collect();
        lists.len() - 1
    }
}

impl Client {
    fn next_attempt(&mut self, by: usize) -> Attempt {
        self.attempts += 1;
        Attempt { node: by as u16, boot: 0, run: self.runs, n: self.attempts }
    }

    fn learn(&mut self, value: &Value) {
        if value.version > self.base.version {
            self.base = value.clone();
        }
    }
}

/// The content that an attempt proposes: its own name, and a mark of what it grows from.
fn content(attempt: Attempt, base: &Value) -> Vec<u8> {
    let mut bytes = vec![attempt.node as u8, attempt.run as u8, attempt.n as u8];
    bytes.extend(mark(base).to_le_bytes());
    bytes
}

fn print_of_client(client: &Client) -> u64 {
    print(client)
}

/// The id that a node draws for an admission: no two draw the same.
fn drawn(node: usize, admission: Attempt) -> VoterId {
    let by = u64::from(admission.node);
    VoterId(1000 + node as u64 + 10 * by + 100 * (admission.n + 100 * admission.run))
}
