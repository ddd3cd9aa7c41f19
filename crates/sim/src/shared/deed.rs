//! What goes wrong in the shared-data world, and what people do there.

use super::voters::draw_voters;
use super::{Device, Setting};
use crate::fault::{Fault, cut_off, draw_days, draw_fault, draw_kind, draw_stop, draw_wish};
use crate::health::Wish;
use crate::host::{MEMBERS, NAMES, other_of};
use crate::net::CLIENTS;
use crate::rng::Rng;
use crate::stack::{Amiss, STEPS, Storage, Unit, Waiter};
use crate::world::World;
use regent_core::command::Request;

const MS: u64 = 1_000_000;

/// Something that only this world knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deed {
    /// The host's kernel stands still for so long: its clocks and its watchdog go on.
    Hang(usize, u64),
    /// Something is amiss with a step from now on.
    Amiss(usize, usize, Amiss),
    /// Somebody holds a file of the shared data open for so long, if they are in use here.
    OpenFile(usize, u64),
    /// The shared storage is cut off: reads fail, or hang.
    CutStorage(usize, bool),
    /// It answers again.
    MendStorage(usize),
    /// Somebody starts a unit by hand.
    StartUnit(usize, usize),
    /// Somebody replaces a link by a directory.
    Drift(usize),
    /// An operator asks for a repair.
    Repair(usize),
    /// An operator activates a node; with the word that the other one is off, if that is true.
    Activate(usize, bool),
    /// An operator activates a node with a word that may be a lie.
    ActivateOff(usize, usize),
    /// An operator takes the other host for off because its agent is silent, and says so: it answers everything else.
    Lie(usize),
    /// The agent of a node is stopped for so long, and its stack lives on.
    StopAgent(usize, u64),
    /// The other member greets this one by another register.
    StrangeGreeting(usize),
    /// An operator has a node take the other one back among the voters.
    TakeBack(usize),
    /// An operator asks a node to deactivate.
    Deactivate(usize),
    /// What fences do from now on; none: it is drawn.
    Fences(Option<Device>),
    /// Another cluster claims the shared data.
    StrangeClaim,
    /// It takes its claim away.
    NoStrangeClaim,
}

/// How many kinds of faults this world has.
pub const KINDS: u64 = 40;
/// Who votes changes, in a pair.
pub(super) const VOTERS: u64 = KINDS - 1;

/// Kinds of faults of this world that have a name.
pub const NAMED: [(&str, u64); 8] = [
    ("cannot-stop", 20),
    ("word", 30),
    ("hit-coming-up", 33),
    ("fence-late", 34),
    ("agent-dies-cut-off", 36),
    ("stop-service", 37),
    ("late-writes", 38),
    ("voters", VOTERS),
];

fn length(rng: &mut Rng) -> u64 {
    match rng.below(4) {
        0 => rng.range(5 * MS, 150 * MS),
        1 => rng.range(150 * MS, 1_000 * MS),
        2 => rng.range(1_000 * MS, 4_000 * MS),
        3.. => rng.range(4_000 * MS, 12_000 * MS),
    }
}

/// What will go wrong in a run of the shared-data world, and when all of it is over.
pub fn draw_plan(
    with: &[u64],
    rng: &mut Rng,
    setting: Setting,
    start: u64,
) -> (Vec<(u64, Fault)>, u64) {
    let count = if rng.chance(200_000) { rng.range(10, 40) } else { rng.range(1, 10) };
    let spread = rng.pick(&[150 * MS, 800 * MS, 2_000 * MS, 5_000 * MS]);
    // Nowhere else do voters change.
    let changes = setting.pair && rng.coin();
    let favourite = if changes { VOTERS } else { draw_kind(KINDS, with, rng) };
    let mut faults = Vec::new();
    let mut at = start;
    for _ in 0..count {
        at += rng.below(spread);
        let kind = if rng.chance(300_000) { favourite } else { draw_kind(KINDS, with, rng) };
        draw_shared(kind, setting, None, at, rng, &mut faults);
    }
    draw_days(at, rng, &mut faults);
    faults.sort_by_key(|(at, _)| *at);
    let last = faults.last().map_or(start, |(at, _)| *at);
    (faults, last + rng.range(100 * MS, 4_000 * MS))
}

/// One thing that goes wrong, or that people do; kinds past the end are drawn anew.
pub fn draw_shared(
    kind: u64,
    setting: Setting,
    whom: Option<usize>,
    at: u64,
    rng: &mut Rng,
    out: &mut Vec<(u64, Fault)>,
) {
    let kind = kind % KINDS;
    let member = whom.unwrap_or_else(|| rng.pick(&MEMBERS));
    let other = other_of(member);
    let long = length(rng);
    match kind {
        // What a host, its agent, its links and its clocks suffer in every world.
        0..=12 => {
            let common = [0, 1, 2, 6, 6, 9, 10, 11, 12, 13, 14, 15, 17];
            draw_fault(common[kind as usize], whom, at, rng, out);
        }
        // A guest that can be frozen has no watchdog that proves anything (section 6 c).
        13 if setting.proving_watchdog().is_none() => out.push((at, Fault::Pause(member, long))),
        13 | 14 => out.push((at, Fault::Shared(Deed::Hang(member, long)))),
        15 => {
            out.push((at, Fault::Shared(Deed::Hang(member, 2 * long))));
            out.push((at + rng.below(3_000 * MS), Fault::Shared(Deed::Activate(other, false))));
        }
        16 => out.push((at, Fault::KillService(member, rng.below(3) as usize))),
        17 => draw_amiss(member, at, long, rng, out),
        18 => out.push((at, Fault::Shared(Deed::OpenFile(member, long)))),
        19 => {
            out.push((at, Fault::Shared(Deed::CutStorage(member, rng.coin()))));
            out.push((at + long, Fault::Shared(Deed::MendStorage(member))));
        }
        20 | 21 => {
            // The holder is cut off, and cannot stop what it runs: D state, or an open file.
            cut_off(member, at, long, rng.coin(), out);
            match rng.below(3) {
                0 => out.push((at, Fault::Shared(Deed::OpenFile(member, long)))),
                1 => {
                    out.push((at, Fault::Shared(Deed::CutStorage(member, true))));
                    out.push((at + long, Fault::Shared(Deed::MendStorage(member))));
                }
                2.. => draw_amiss(member, at, long, rng, out),
            }
        }
        22 => out.push((at, Fault::Shared(Deed::StartUnit(member, rng.below(3) as usize)))),
        23 if rng.chance(300_000) => {
            out.push((at, Fault::Shared(Deed::StrangeClaim)));
            out.push((at + long, Fault::Shared(Deed::NoStrangeClaim)));
        }
        23 => {
            out.push((at, Fault::Shared(Deed::Drift(member))));
            out.push((at + long, Fault::Shared(Deed::Repair(member))));
        }
        24 => out.push((at, Fault::Shared(Deed::Activate(member, false)))),
        25 => {
            out.push((at, Fault::Shared(Deed::Activate(member, false))));
            out.push((at, Fault::Shared(Deed::Activate(other, false))));
        }
        26 => {
            out.push((at, Fault::Shared(Deed::Deactivate(member))));
            out.push((at + long, Fault::Shared(Deed::Activate(rng.pick(&MEMBERS), false))));
        }
        27 | 28 => {
            // A host is really off, and an operator says so.
            out.push((at, Fault::PowerOff(member)));
            let word = at + rng.range(10 * MS, 3_000 * MS);
            out.push((word, Fault::Shared(Deed::Activate(other, true))));
            out.push((word + rng.below(long), Fault::Boot(member)));
        }
        29 => {
            out.push((at, Fault::PowerOff(member)));
            out.push((at + rng.range(200 * MS, 900 * MS), Fault::Boot(member)));
        }
        30 if rng.coin() => out.push((at, Fault::KillAgent(member))),
        30 => {
            // The agent is dead, the stack lives, and an operator takes the host for off.
            let stopped = rng.range(2_000 * MS, 8_000 * MS);
            out.push((at, Fault::Shared(Deed::StopAgent(member, stopped))));
            let word = at + rng.range(300 * MS, 1_500 * MS);
            out.push((word, Fault::Shared(Deed::Lie(other))));
        }
        31 => out.push((at, Fault::Switchover(Some(member)))),
        32 => {
            draw_wish(member, at, long, rng, out);
            if setting.pair {
                let is_ttl = |f: &Fault| matches!(f, Fault::Ask(Wish::Ttl(_)));
                out.retain(|(_, fault)| !is_ttl(fault));
            }
        }
        33 => {
            // A node is hit while it brings its stack up, and says nothing for long.
            out.push((at, Fault::Switchover(Some(member))));
            out.push((at, Fault::Shared(Deed::Activate(member, false))));
            let hit = at + rng.range(100 * MS, 2_500 * MS);
            let hang = rng.range(5_000 * MS, 20_000 * MS);
            out.push((hit, Fault::Shared(Deed::Hang(member, hang))));
        }
        34 => {
            // A node is fenced, is back and active before that is confirmed, and then it hangs.
            out.push((at, Fault::Shared(Deed::Fences(Some(Device::ConfirmsLate)))));
            out.push((at, Fault::Ask(Wish::Fence(member))));
            let back = at + rng.range(3_000 * MS, 7_000 * MS);
            out.push((back, Fault::Switchover(Some(member))));
            let hit = back + rng.range(500 * MS, 3_000 * MS);
            out.push((hit, Fault::Shared(Deed::Hang(member, 12_000 * MS))));
            out.push((hit, Fault::Shared(Deed::Fences(None))));
        }
        35 => draw_fault(rng.pick(&[28, 28, 31, 35]), whom, at, rng, out),
        37 => draw_stop(member, 3, at, long, rng, out),
        38 => {
            // The directory of the user hangs and thaws, and somebody wants the other host to serve meanwhile.
            let long = rng.range(1_000 * MS, 6_000 * MS);
            out.push((at, Fault::Shared(Deed::CutStorage(member, true))));
            out.push((at + long, Fault::Shared(Deed::MendStorage(member))));
            let then = at + rng.below(2 * long);
            out.push((
                then,
                match rng.below(4) {
                    0 => Fault::Shared(Deed::Deactivate(member)),
                    1 => Fault::Shared(Deed::Activate(other, false)),
                    2 => Fault::KillAgent(member),
                    3.. => Fault::Switchover(Some(other)),
                },
            ));
        }
        VOTERS if setting.pair => draw_voters(member, at, long, rng, out),
        VOTERS => draw_shared(rng.below(VOTERS), setting, whom, at, rng, out),
        _ => {
            // The agent dies over and over while its host is cut off: each death feeds the watchdog once.
            cut_off(member, at, 2 * long, true, out);
            for n in 1..=rng.range(2, 6) {
                out.push((at + n * rng.range(200 * MS, 900 * MS), Fault::KillAgent(member)));
            }
        }
    }
}

/// A step that does not come up, or does not go down, for a while.
fn draw_amiss(host: usize, at: u64, long: u64, rng: &mut Rng, out: &mut Vec<(u64, Fault)>) {
    use Amiss::{Fails, Hangs, Nothing, Stays};
    let step = rng.below(STEPS.len() as u64) as usize;
    out.push((at, Fault::Shared(Deed::Amiss(host, step, rng.pick(&[Fails, Hangs, Stays, Stays])))));
    out.push((at + long, Fault::Shared(Deed::Amiss(host, step, Nothing))));
    if rng.coin() {
        out.push((at + 5 * MS, Fault::Shared(Deed::Activate(host, false))));
    }
}

impl World {
    /// It happens.
    pub fn do_deed(&mut self, deed: Deed) {
        let now = self.now;
        match deed {
            Deed::Hang(host, length) => self.hang(host, length),
            Deed::Amiss(host, step, amiss) => self.hosts[host].stack.amiss[step] = amiss,
            Deed::OpenFile(host, length) => {
                let stack = &mut self.hosts[host].stack;
                if stack.units.contains(&Unit::Up) {
                    stack.files = stack.files.max(now + length);
                }
            }
            Deed::CutStorage(host, hangs) => {
                if hangs {
                    self.hang_storage(host);
                } else {
                    self.end_hang(host, Storage::Fails);
                }
            }
            Deed::MendStorage(host) => self.end_hang(host, Storage::Whole),
            Deed::StartUnit(host, service) => {
                if self.hosts[host].powered {
                    self.order_start(host, service, Waiter::Nobody);
                }
            }
            Deed::Drift(host) => self.hosts[host].stack.drifted = true,
            Deed::Repair(host) => self.request(host, Request::Repair),
            Deed::Activate(host, word) => self.ask_activate(host, word),
            Deed::ActivateOff(host, off) => self.ask_activate_off(host, off),
            Deed::Lie(host) => self.lie(host),
            Deed::StopAgent(host, length) => self.stop_agent(host, length),
            Deed::StrangeGreeting(host) => self.greet_strangely(host),
            Deed::TakeBack(host) => self.ask_take_back(host),
            Deed::Deactivate(host) => {
                self.stop_asked = true;
                self.request(host, Request::Deactivate);
            }
            Deed::Fences(device) => self.device = device,
            Deed::StrangeClaim => self.claim_by_a_stranger(),
            Deed::NoStrangeClaim => {
                self.claim = self.claim.filter(|claim| claim.cluster != self.stranger());
            }
        }
    }

    /// It, for the story.
    pub fn tell_deed(&mut self, deed: Deed) {
        let (host, text) = match deed {
            Deed::Hang(host, l) => (host, format!("the host hangs for {} ms", l / MS)),
            Deed::Amiss(host, step, amiss) => {
                let how = match amiss {
                    Amiss::Nothing => "is mended",
                    Amiss::Fails => "does not come up any more",
                    Amiss::Hangs => "hangs when it is brought up",
                    Amiss::Stays => "does not go down any more",
                };
                (host, format!("step {} {how}", STEPS[step].0))
            }
            Deed::OpenFile(host, l) => {
                (host, format!("somebody holds a shared file open for {} ms", l / MS))
            }
            Deed::CutStorage(host, hangs) => {
                let how = if hangs { "hangs" } else { "fails" };
                (host, format!("the shared storage {how}"))
            }
            Deed::MendStorage(host) => (host, "the shared storage answers again".into()),
            Deed::StartUnit(host, service) => {
                (host, format!("somebody starts service {service} by hand"))
            }
            Deed::Drift(host) => (host, "somebody replaces a link by a directory".into()),
            Deed::Repair(host) => (host, "an operator asks for a repair".into()),
            Deed::Activate(host, word) => {
                let word = if word { ", with the word that the other one is off" } else { "" };
                (host, format!("an operator activates {}{word}", NAMES[host]))
            }
            Deed::ActivateOff(host, off) => {
                let (host_name, off) = (NAMES[host], NAMES[off]);
                (
                    host,
                    format!("an operator activates {host_name}, with the word that {off} is off"),
                )
            }
            Deed::Lie(host) => {
                (host, "an operator takes the other host for off, and activates".into())
            }
            Deed::StopAgent(host, l) => (host, format!("the agent is stopped for {} ms", l / MS)),
            Deed::StrangeGreeting(host) => {
                (host, "the other member greets by another register".into())
            }
            Deed::TakeBack(host) => (host, "an operator asks to take the other one back".into()),
            Deed::Deactivate(host) => (host, "an operator asks to deactivate".into()),
            Deed::Fences(device) => (CLIENTS, format!("fences from now on: {device:?}")),
            Deed::StrangeClaim => (CLIENTS, "another cluster claims the shared data".into()),
            Deed::NoStrangeClaim => (CLIENTS, "the other cluster's claim is gone".into()),
        };
        self.tell(host, "fault", || text);
    }
}
