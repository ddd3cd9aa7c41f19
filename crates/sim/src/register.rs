//! The threads around voter and proposer: durable before they speak, links that lose, double and reorder.
//! They live in the agent's process, and on the witness in a process of their own.

use crate::truth::{from_store, to_store};
use crate::world::{Event, World};
use regent_core::command::{Outcome, SwapOutcome};
use regent_core::id::{AttemptId, CommandId, Version};
use regent_core::node::Input;
use regent_store::cell::{
    Answer, ClusterId, Message, NodeId, Proposer, Record, Setup, Standing, Swap, Timing, Value,
    Voter, VoterId,
};
use std::collections::VecDeque;

/// One node's part of the register.
pub struct Seat {
    /// What its disk holds.
    pub disk: Standing,
    /// The process runs.
    pub voter: Option<Voter>,
    /// Only nodes that run resources propose.
    pub proposer: Option<Proposer>,
    /// Stalled until then.
    pub stalled: u64,
    /// Nothing can be written to its disk until then.
    pub full: u64,
    /// And what fails may have reached it.
    pub errs: bool,
    /// The voter knows more than its disk: it speaks again when all of it is kept.
    unsaved: bool,
    /// One sync of its disk takes between these.
    pub sync: (u64, u64),
    queue: VecDeque<(usize, Message)>,
    storing: Option<Storing>,
    current: Option<(CommandId, Asked)>,
    reads: VecDeque<CommandId>,
    held_back: Option<(CommandId, Swap)>,
    storing_high: u64,
    /// Lives of the process: what belongs to an older one is void.
    lives: u64,
    /// Timers set: an older one is void.
    wakes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Swap,
    Read,
}

struct Storing {
    to: usize,
    reply: Option<Message>,
}

impl Seat {
    /// A process that does not run yet.
    pub fn new(disk: Standing) -> Seat {
        Seat {
            disk,
            voter: None,
            proposer: None,
            stalled: 0,
            full: 0,
            errs: false,
            unsaved: false,
            sync: (200_000, 2_000_000),
            queue: VecDeque::new(),
            storing: None,
            current: None,
            reads: VecDeque::new(),
            held_back: None,
            storing_high: 0,
            lives: 0,
            wakes: 0,
        }
    }
}

impl World {
    /// The process starts: the voter with what its disk holds, the proposer knowing nothing.
    pub fn start_seat(&mut self, host: usize, run: u64, proposes: bool) {
        let seed = self.rng.draw();
        let cluster = ClusterId(self.hosts[host].pair.cluster.0);
        let high = self.hosts[host].high;
        let nodes = self.voters().iter().map(|host| NodeId(*host as u16 + 1)).collect();
        let seat = &mut self.hosts[host].seat;
        seat.voter = Some(Voter::new(seat.disk.clone()));
        seat.stalled = 0;
        if proposes {
            let setup = Setup {
                cluster,
                me: NodeId(host as u16 + 1),
                run,
                seed,
                nodes,
                timing: Timing::default(),
            };
            let mut proposer = Proposer::new(setup);
            proposer.note_high(high);
            seat.proposer = Some(proposer);
            seat.storing_high = high;
        }
    }

    /// The process dies: what was being written may have reached the disk, whole or not at all (two checksummed
    /// slots, so that a torn write is none).
    pub fn stop_seat(&mut self, host: usize) {
        if self.hosts[host].seat.storing.is_some() && self.rng.coin() {
            self.note_stored(host);
        }
        let seat = &mut self.hosts[host].seat;
        if let Some((_, swap)) = seat.held_back.take() {
            self.truth.dropped(from_store(swap.attempt));
        }
        let seat = &mut self.hosts[host].seat;
        let fresh = Seat::new(seat.disk.clone());
        let (sync, full, errs) = (seat.sync, seat.full, seat.errs);
        let (lives, wakes) = (seat.lives + 1, seat.wakes + 1);
        *seat = Seat { sync, full, errs, lives, wakes, ..fresh };
    }

    /// The core asks for a swap.
    pub fn seat_swap(
        &mut self,
        host: usize,
        id: CommandId,
        attempt: AttemptId,
        expect: u64,
        bytes: Vec<u8>,
    ) {
        if self.hosts[host].seat.stalled > self.now {
            let run = self.session(host);
            let at = self.hosts[host].seat.stalled;
            return self.at(at, Event::Swap { host, run, id, attempt, expect, bytes });
        }
        let node = self.hosts[host].node;
        let Some(proposer) = &self.hosts[host].seat.proposer else { return };
        let holder = proposer
            .view()
            .and_then(|view| crate::release::read(&view.bytes).ok())
            .is_some_and(|state| state.lease.holder == node);
        let swap = Swap { attempt: to_store(attempt), expect, bytes, holder };
        if let Some((old, swap)) = self.hosts[host].seat.held_back.take() {
            self.truth.dropped(from_store(swap.attempt));
            self.answer_seat(host, old, Outcome::Failed(String::from("not stored")));
        }
        if expect > self.hosts[host].high {
            if self.hosts[host].seat.full > self.now {
                self.truth.dropped(from_store(swap.attempt));
                return self.answer_seat(host, id, Outcome::Failed(String::from("not stored")));
            }
            self.hosts[host].seat.held_back = Some((id, swap));
            return self.want_stored(host, expect);
        }
        self.propose(host, id, swap);
        self.drain_seat(host);
    }

    fn propose(&mut self, host: usize, id: CommandId, swap: Swap) {
        let now = self.now;
        let seat = &mut self.hosts[host].seat;
        let Some(proposer) = &mut seat.proposer else { return };
        proposer.give_up();
        self.take_answers(host);
        let seat = &mut self.hosts[host].seat;
        let Some(proposer) = &mut seat.proposer else { return };
        proposer.swap(swap, now);
        seat.current = Some((id, Asked::Swap));
    }

    /// The core asks for a read: it waits while a swap is under way.
    pub fn seat_read(&mut self, host: usize, id: CommandId) {
        self.hosts[host].seat.reads.push_back(id);
        self.drain_seat(host);
    }

    /// A message of the register arrives.
    pub fn seat_message(&mut self, to: usize, from: usize, message: Message) {
        if self.hosts[to].seat.voter.is_none() || !self.hosts[to].powered {
            return;
        }
        if self.hosts[to].seat.stalled > self.now {
            let at = self.hosts[to].seat.stalled + self.rng.below(100_000);
            return self.at(at, Event::Cell { to, from, message });
        }
        if message.body.is_for_proposer() {
            let now = self.now;
            if let Some(proposer) = &mut self.hosts[to].seat.proposer {
                proposer.handle(message.clone(), now);
            }
            self.drain_seat(to);
        }
        if message.body.is_for_voter() {
            self.hosts[to].seat.queue.push_back((from, message));
            self.vote(to);
        }
    }

    /// The voter takes the next message, unless its disk is busy.
    fn vote(&mut self, host: usize) {
        loop {
            let fresh = VoterId(self.rng.draw());
            let seat = &mut self.hosts[host].seat;
            if seat.storing.is_some() {
                return;
            }
            let Some((from, message)) = seat.queue.pop_front() else { return };
            let Some(voter) = &mut seat.voter else { return };
            let reaction = voter.handle(&message, fresh);
            let changed = reaction.changed || seat.unsaved;
            if changed && seat.full > self.now {
                // It cannot be kept, so the voter says nothing until all of it is.
                seat.unsaved = true;
                if seat.errs && self.rng.coin() {
                    self.note_stored(host);
                }
                continue;
            }
            if changed {
                seat.unsaved = false;
                let (least, most) = seat.sync;
                seat.storing = Some(Storing { to: from, reply: reaction.reply });
                let (after, life) = (self.rng.range(least, most), seat.lives);
                return self.after(after, Event::Stored { host, life });
            }
            if let Some(reply) = reaction.reply {
                self.send_cell(host, from, reply);
            }
        }
    }

    /// The voter's disk has it: only now it speaks (R1).
    pub fn seat_stored(&mut self, host: usize, life: u64) {
        if self.hosts[host].seat.lives != life {
            return;
        }
        if self.hosts[host].seat.stalled > self.now {
            let at = self.hosts[host].seat.stalled;
            return self.at(at, Event::Stored { host, life });
        }
        self.note_stored(host);
        if let Some(Storing { to, reply: Some(reply) }) = self.hosts[host].seat.storing.take() {
            self.send_cell(host, to, reply);
        }
        self.vote(host);
    }

    fn note_stored(&mut self, host: usize) {
        let seat = &mut self.hosts[host].seat;
        let Some(voter) = &seat.voter else { return };
        let old = std::mem::replace(&mut seat.disk, voter.standing().clone());
        let Standing::Seated(record) = &seat.disk else { return };
        let is_news = match &old {
            Standing::Seated(old) => old.accepted != record.accepted,
            Standing::Vacant | Standing::Newcomer { .. } => true,
        };
        if !is_news {
            return;
        }
        let record = record.clone();
        self.note_accepted(&record);
    }

    /// A record is on the disk of its voter.
    pub(crate) fn note_accepted(&mut self, record: &Record) {
        match self.truth.accepted(record) {
            Ok(true) => self.note_decided(),
            Ok(false) => {}
            Err(violation) => self.violated(violation),
        }
    }

    fn send_cell(&mut self, from: usize, to: usize, message: Message) {
        for delay in self.net.fate(from, to, &mut self.rng).into_iter().flatten() {
            self.after(delay, Event::Cell { to, from, message: message.clone() });
        }
    }

    /// The thread's own timer.
    pub fn seat_wake(&mut self, host: usize, wake: u64) {
        if self.hosts[host].seat.wakes != wake {
            return;
        }
        if self.hosts[host].seat.stalled > self.now {
            let at = self.hosts[host].seat.stalled;
            return self.at(at, Event::SeatWake { host, wake });
        }
        let now = self.now;
        if let Some(proposer) = &mut self.hosts[host].seat.proposer {
            proposer.tick(now);
        }
        self.drain_seat(host);
    }

    /// The highest version seen is on disk.
    pub fn seat_high(&mut self, host: usize, version: u64) {
        let high = &mut self.hosts[host].high;
        *high = (*high).max(version);
        let high = *high;
        if let Some(proposer) = &mut self.hosts[host].seat.proposer {
            proposer.note_high(high);
        }
        let ready = self.hosts[host].seat.held_back.take_if(|(_, swap)| swap.expect <= high);
        if let Some((id, swap)) = ready {
            self.propose(host, id, swap);
        }
        self.drain_seat(host);
    }

    fn want_stored(&mut self, host: usize, version: u64) {
        let seat = &mut self.hosts[host].seat;
        if version <= seat.storing_high || seat.full > self.now {
            return;
        }
        seat.storing_high = version;
        let (least, most) = seat.sync;
        let after = self.rng.range(least, most);
        let run = self.session(host);
        self.after(after, Event::High { host, run, version });
    }

    /// Sends, answers and tells all that is ready.
    fn drain_seat(&mut self, host: usize) {
        loop {
            self.take_answers(host);
            let Some(proposer) = &mut self.hosts[host].seat.proposer else { return };
            if let Some((to, message)) = proposer.poll_send() {
                self.send_cell(host, usize::from(to.0) - 1, message);
                continue;
            }
            if let Some(view) = proposer.poll_view() {
                self.want_stored(host, view.version);
                let after = self.rng.range(5_000, 50_000);
                let run = self.session(host);
                self.after(after, Event::Inbox { host, run, input: Box::new(to_view(view)) });
                continue;
            }
            let seat = &mut self.hosts[host].seat;
            if seat.current.is_some() || seat.held_back.is_some() {
                break;
            }
            let Some(id) = seat.reads.pop_front() else { break };
            let now = self.now;
            if let Some(proposer) = &mut seat.proposer {
                proposer.read(now);
            }
            seat.current = Some((id, Asked::Read));
        }
        let seat = &mut self.hosts[host].seat;
        seat.wakes += 1;
        let wake = seat.wakes;
        if let Some(at) = seat.proposer.as_ref().and_then(Proposer::next_deadline) {
            self.at(at.max(self.now), Event::SeatWake { host, wake });
        }
    }

    fn take_answers(&mut self, host: usize) {
        loop {
            let seat = &mut self.hosts[host].seat;
            let Some(answer) = seat.proposer.as_mut().and_then(Proposer::poll_answer) else {
                return;
            };
            let Some((id, asked)) = seat.current.take() else { continue };
            if let Answer::View(value) = &answer {
                // The agent hands on what a read found, known or not: it says that a majority answers.
                let after = self.rng.range(5_000, 50_000);
                let run = self.session(host);
                self.after(
                    after,
                    Event::Inbox { host, run, input: Box::new(to_view(value.clone())) },
                );
            }
            let outcome = to_outcome(answer, asked);
            self.answer_seat(host, id, outcome);
        }
    }

    fn answer_seat(&mut self, host: usize, id: CommandId, outcome: Outcome) {
        let after = self.rng.range(50_000, 100_000);
        let run = self.session(host);
        self.after(
            after,
            Event::Inbox { host, run, input: Box::new(Input::Outcome { id, outcome }) },
        );
    }
}

fn to_view(value: Value) -> Input {
    let recent = value.recent.iter().map(|attempt| from_store(*attempt)).collect();
    Input::View { version: Version(value.version), bytes: value.bytes, recent }
}

fn to_outcome(answer: Answer, asked: Asked) -> Outcome {
    match (answer, asked) {
        (Answer::View(_), _) => Outcome::Done,
        (Answer::Won(value), _) => {
            Outcome::Swap(SwapOutcome::Won { version: Version(value.version), bytes: value.bytes })
        }
        (Answer::Lost(value), _) => {
            Outcome::Swap(SwapOutcome::Lost { version: Version(value.version), bytes: value.bytes })
        }
        (Answer::Unknown, Asked::Swap) => Outcome::Swap(SwapOutcome::Unknown),
        (Answer::Unknown, Asked::Read) => Outcome::Failed(String::from("no majority answers")),
        (Answer::WentBack { .. }, _) => Outcome::Swap(SwapOutcome::WentBack),
        (Answer::Refused(why), _) => Outcome::Failed(why.to_string()),
    }
}
