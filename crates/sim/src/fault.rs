//! What goes wrong: killed, hung, cut, frozen are four faults, and four words.

use crate::ambush::Ambush;
use crate::clock::Rates;
use crate::database::{Files, Pace};
use crate::gate::{Gate, Refusal};
use crate::health::Wish;
use crate::host::{HOSTS, MEMBERS, NAMES, WITNESS, other_of};
use crate::net::{CLIENTS, PLACES};
use crate::rng::Rng;
use crate::shared::{self, Deed, draw_shared};
use crate::world::{Event, World};
use regent_core::command::Request;
use regent_core::id::{BootId, NodeId, RequestId};
use regent_core::node::Input;
use regent_core::state::{FORMAT, Phase};
use regent_store::cell::Standing;

const MS: u64 = 1_000_000;
const DAY: u64 = 86_400_000 * MS;
/// How many runs in a million have a host that is alone for days; each takes as long as ten thousand others.
const DAYS_PPM: u64 = 50;
/// Between two writes of a client in a quiet time.
const SELDOM: (u64, u64) = (20_000 * MS, 60_000 * MS);

/// What goes wrong by itself, as long as faults are on.
#[derive(Clone, Debug, Default)]
pub struct Chaos {
    /// The lease thread stalls between two steps, so often in a million.
    pub stall_ppm: u64,
    /// Something goes wrong just after a grant, a solo or a join, so often in a million.
    pub hot_ppm: u64,
    /// A start of a server takes long, so often in a million.
    pub long_start_ppm: u64,
    /// An older copy of each data directory, for [`Fault::Restore`].
    pub copies: [Option<Files>; 2],
    /// A voter's disk was lost: with a second one the register would be gone.
    pub voter_lost: bool,
    /// Requests of operators so far.
    pub requests: u64,
    /// Somebody dies between two steps.
    pub ambush: Option<Ambush>,
    /// Kinds of faults that are drawn beside the usual ones.
    pub with: Vec<u64>,
    /// Faults are over: one that was still to come does not.
    pub over: bool,
}

/// One fault, or the end of one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// SIGKILL of the agent (of the voter, on the witness); systemd has it back in 0.1 s.
    KillAgent(usize),
    /// The agent is of a release that speaks formats up to this one from its next run on, and is killed.
    Release(usize, u16),
    /// The lease thread stops for so long.
    StallAgent(usize, u64),
    /// Voter and proposer stop for so long: a disk that hangs, a thread that starves.
    StallRegister(usize, u64),
    /// A session takes FLUSH TABLES WITH READ LOCK, for so long if nobody ends it.
    Lock(usize, u64),
    /// SIGKILL of the database's server.
    KillDatabase(usize),
    /// The server hangs for so long.
    StallDatabase(usize, u64),
    /// SIGKILL of a service.
    KillService(usize, usize),
    /// Somebody asks systemd to stop a service.
    StopService(usize, usize),
    /// And to start it.
    StartService(usize, usize),
    /// The host loses power.
    PowerOff(usize),
    /// It gets power again.
    Boot(usize),
    /// The host is paused from outside for so long: its clocks stand still.
    Pause(usize, u64),
    /// It goes on.
    GoOn(usize),
    /// Messages from the first do not reach the second.
    Cut(usize, usize),
    /// They do again.
    Mend(usize, usize),
    /// Loss, doubles and delays, in a million, for as long as it lasts.
    Weather {
        /// Lost.
        loss: u64,
        /// Doubled.
        double: u64,
        /// Late by up to a second.
        late: u64,
    },
    /// Every clock gets new rates.
    Slew(usize),
    /// A voter's disk is slow: a sync takes up to so long.
    SlowDisk(usize, u64),
    /// Somebody flushes the kernel's filter: the watch takes the address off and loads it closed.
    FlushGate(usize),
    /// A foreign host answers for the VIP.
    Stranger(usize),
    /// The applier stops with an error.
    FailApplier(usize),
    /// A voter's disk is lost: it comes back with nothing, and says nothing (R2). Only the first of a run is.
    LoseVoter(usize),
    /// A copy of the data directory is put aside, for a restore.
    CopyData(usize),
    /// The data directory is put back to that copy, its server killed.
    Restore(usize),
    /// A service dies, and cannot be started until it is mended.
    BreakService(usize, usize),
    /// It can again.
    MendService(usize, usize),
    /// A service hangs until it is killed.
    HangService(usize, usize),
    /// The database's clients do not get through for so long; its replica does.
    BlockDatabase(usize, u64),
    /// A foreign host answers for the VIP for so long.
    StrangerStays(u64),
    /// An operator asks for something else than a move.
    Ask(Wish),
    /// An operator asks for a move to another node, wherever the holder is.
    Switchover(Option<usize>),
    /// The kernel refuses a step of gate or address for so long.
    Refuse(usize, Refusal, u64),
    /// Steps of the address hang in the kernel for so long, and are done then. (The gate's are the lease thread's own:
    /// one that hangs is a stall.)
    HangAddress(usize, u64),
    /// A replica that is no member's is attached to the server of whoever is the writer, and confirms.
    Foreign(usize),
    /// It goes.
    ForeignGone(usize),
    /// Somebody changes a setting of a server behind Regent's back.
    Meddle(usize, Meddling),
    /// Nothing can be written under /var/lib/regent for so long.
    FullState(usize, u64),
    /// Nothing can be written to the data directory for so long.
    FullData(usize, u64),
    /// Every write under /var/lib/regent fails for so long, and may have reached the disk.
    BadState(usize, u64),
    /// The disk of the data directory errs for so long: its server dies of it, and none starts.
    BadData(usize, u64),
    /// Clients write seldom, and nothing goes wrong by chance: what is left of a day when a host is alone for days.
    Quiet,
    /// Something that only the shared-data world knows.
    Shared(Deed),
}

/// What somebody does to a server by hand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Meddling {
    /// A finite rpl_semi_sync_master_timeout.
    Finite,
    /// read_only=0 on the standby.
    Writable,
    /// RESET MASTER.
    Reset,
    /// The files of a standby are removed, its server killed: it does not start on what is left.
    Wipe,
}

/// The kind of this name, in the world of shared data or in the other one.
pub fn kind_of(name: &str, is_shared: bool) -> Option<u64> {
    let named = if is_shared { shared::NAMED.as_slice() } else { NAMED.as_slice() };
    named.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
}

/// Kinds of faults that have a name: `--with` draws them more often.
const NAMED: [(&str, u64); 14] = [
    ("refuse", 28),
    ("foreign", 29),
    ("finite", 30),
    ("full-state", 31),
    ("full-data", 32),
    ("standby-writable", 33),
    ("log-reset", 34),
    ("hang-address", 35),
    ("release", 36),
    ("isolation", 37),
    ("lock", 38),
    ("wipe", 39),
    ("resync", 40),
    ("stop-service", 41),
];

/// One of the kinds, or of those that are drawn more often.
pub(crate) fn draw_kind(kinds: u64, with: &[u64], rng: &mut Rng) -> u64 {
    let n = rng.below(kinds + with.len() as u64);
    let more = n.checked_sub(kinds).and_then(|place| with.get(place as usize));
    more.copied().unwrap_or(n)
}

/// Which faults a run may have, and how often.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What happens, and when.
    pub faults: Vec<(u64, Fault)>,
    /// When all of it is over.
    pub end: u64,
}

impl Plan {
    /// Draws what will go wrong in a run, between its warm-up and its healing.
    pub fn draw(with: &[u64], rng: &mut Rng, start: u64) -> Plan {
        let count = if rng.chance(150_000) { rng.range(10, 40) } else { rng.range(1, 9) };
        let spread = rng.pick(&[150 * MS, 600 * MS, 2_000 * MS, 4_000 * MS]);
        let favourite = draw_kind(KINDS, with, rng);
        let mut faults = Vec::new();
        let mut at = start;
        for _ in 0..count {
            at += rng.below(spread);
            let kind = if rng.chance(300_000) { favourite } else { draw_kind(KINDS, with, rng) };
            draw_fault(kind, None, at, rng, &mut faults);
        }
        draw_days(at, rng, &mut faults);
        faults.sort_by_key(|(at, _)| *at);
        let last = faults.last().map_or(start, |(at, _)| *at);
        Plan { end: last + rng.range(100 * MS, 3_000 * MS), faults }
    }
}

const KINDS: u64 = 42;

fn length(rng: &mut Rng) -> u64 {
    match rng.below(4) {
        0 => rng.range(5 * MS, 150 * MS),
        1 => rng.range(150 * MS, 700 * MS),
        2 => rng.range(600 * MS, 2_500 * MS),
        3.. => rng.range(2_500 * MS, 6_000 * MS),
    }
}

pub(crate) fn draw_fault(
    kind: u64,
    whom: Option<usize>,
    at: u64,
    rng: &mut Rng,
    out: &mut Vec<(u64, Fault)>,
) {
    let member = whom.unwrap_or_else(|| rng.pick(&MEMBERS));
    let any = whom.unwrap_or_else(|| rng.pick(&HOSTS));
    let long = length(rng);
    match kind {
        0 => out.push((at, Fault::KillAgent(any))),
        1 => out.push((at, Fault::StallAgent(member, long))),
        2 => out.push((at, Fault::StallRegister(any, long))),
        3 => out.push((at, Fault::KillDatabase(member))),
        4 => out.push((at, Fault::StallDatabase(member, long))),
        5 => out.push((at, Fault::KillService(member, rng.below(2) as usize))),
        6 | 7 => {
            let host = if rng.chance(200_000) { WITNESS } else { member };
            out.push((at, Fault::PowerOff(host)));
            out.push((at + rng.range(300 * MS, 5_000 * MS), Fault::Boot(host)));
        }
        8 => out.push((at, Fault::Pause(any, long))),
        9..=11 => {
            let both = rng.coin();
            let whole = rng.coin();
            let mut others: Vec<usize> = HOSTS.into_iter().filter(|host| *host != any).collect();
            if !whole {
                others.truncate(1 + usize::from(rng.chance(200_000)));
                if rng.coin() && others.len() == 1 {
                    others = vec![HOSTS.into_iter().rfind(|host| *host != any).unwrap_or(any)];
                }
            }
            if whole && rng.coin() {
                others.push(CLIENTS);
            }
            let outward = rng.coin();
            for other in others {
                for (from, to) in [(any, other), (other, any)] {
                    if both || (from == any) == outward {
                        out.push((at, Fault::Cut(from, to)));
                        out.push((at + long, Fault::Mend(from, to)));
                    }
                }
            }
        }
        12 => {
            let (loss, double, late) = (rng.below(150_000), rng.below(100_000), rng.below(100_000));
            out.push((at, Fault::Weather { loss, double, late }));
            out.push((at + long, Fault::Weather { loss: 0, double: 0, late: 0 }));
        }
        13 => out.push((at, Fault::Slew(any))),
        14 => {
            out.push((at, Fault::SlowDisk(any, rng.range(20 * MS, 800 * MS))));
            out.push((at + long, Fault::SlowDisk(any, 2 * MS)));
        }
        15 | 16 => {
            let to = if rng.coin() { None } else { Some(member) };
            out.push((at, Fault::Switchover(to)));
        }
        17 => out.push((at, Fault::FlushGate(member))),
        18 => out.push((
            at,
            match rng.below(4) {
                0 => Fault::Stranger(member),
                1 => Fault::LoseVoter(any),
                2.. => Fault::FailApplier(member),
            },
        )),
        19 => {
            // The agent is killed, and its next run is hit as soon as it looks around.
            out.push((at, Fault::KillAgent(member)));
            let then = at + rng.range(100 * MS, 260 * MS);
            match rng.below(3) {
                0 => out.push((then, Fault::StallAgent(member, long))),
                1 => out.push((then, Fault::StallRegister(member, long))),
                2.. => cut_off(member, then, long, rng.coin(), out),
            }
        }
        20 => {
            // Voters hang with messages in their queues, which they still answer later.
            for host in HOSTS {
                if rng.chance(300_000) {
                    continue;
                }
                out.push((at + rng.below(3 * MS), Fault::StallRegister(host, long)));
            }
            if rng.coin() {
                let other = other_of(member);
                out.push((at + rng.below(400 * MS), Fault::KillDatabase(other)));
            }
        }
        21 => {
            // One copy is hit, and soon after the other one: the order in which a write is lost.
            let other = other_of(member);
            let first = if rng.coin() {
                Fault::KillDatabase(member)
            } else {
                Fault::StallDatabase(member, long)
            };
            out.push((at, first));
            let then = at + rng.below(1_200 * MS);
            match rng.below(3) {
                0 => out.push((then, Fault::StallAgent(other, long))),
                1 => cut_off(other, then, long, true, out),
                2.. => {
                    out.push((then, Fault::PowerOff(other)));
                    out.push((then + rng.range(1_000 * MS, 5_000 * MS), Fault::Boot(other)));
                }
            }
        }
        22 => {
            // A host hangs: nobody hears it, and only its kernel still closes what was opened.
            let length = rng.range(650 * MS, 3_000 * MS);
            out.push((at, Fault::StallAgent(member, length)));
            cut_off(member, at + rng.below(5 * MS), length, true, out);
            let clients = [(member, CLIENTS), (CLIENTS, member)];
            out.retain(|(_, fault)| {
                !clients.iter().any(|(from, to)| *fault == Fault::Cut(*from, *to))
            });
        }
        23 => {
            let service = rng.below(2) as usize;
            if rng.coin() {
                out.push((at, Fault::HangService(member, service)));
            } else {
                out.push((at, Fault::BreakService(member, service)));
                out.push((at + long, Fault::MendService(member, service)));
            }
        }
        24 => out.push((at, Fault::BlockDatabase(member, long))),
        25 | 26 => draw_wish(member, at, long, rng, out),
        28 => {
            let all = rng.chance(200_000);
            let one = rng.pick(&Refusal::ALL);
            let refused = Refusal::ALL.into_iter().filter(|refusal| all || *refusal == one);
            out.extend(refused.map(|refusal| (at, Fault::Refuse(member, refusal, long))));
        }
        29 => {
            out.push((at, Fault::Foreign(member)));
            out.push((at + 2 * long, Fault::ForeignGone(member)));
            // Its own follower is slow, or goes, while the stranger confirms; and then the writer goes.
            if rng.coin() {
                let other = other_of(member);
                cut_off(other, at, long, true, out);
                out.push((at + rng.below(2 * long), Fault::KillDatabase(member)));
            }
        }
        30 => out.push((at, Fault::Meddle(member, Meddling::Finite))),
        31 if rng.coin() => out.push((at, Fault::BadState(any, long))),
        31 => out.push((at, Fault::FullState(any, long))),
        32 if rng.coin() => out.push((at, Fault::BadData(member, long))),
        32 => out.push((at, Fault::FullData(member, long))),
        33 => out.push((at, Fault::Meddle(member, Meddling::Writable))),
        34 => out.push((at, Fault::Meddle(member, Meddling::Reset))),
        35 => out.push((at, Fault::HangAddress(member, long))),
        36 => {
            // One node is upgraded, and now and then it is put back before the other one follows (R7).
            out.push((at, Fault::Release(member, FORMAT + 1)));
            let other = other_of(member);
            let next = if rng.coin() {
                Fault::Release(member, FORMAT)
            } else {
                Fault::Release(other, FORMAT + 1)
            };
            out.push((at + long, next));
        }
        // Much longer than any other fault, for what grows, lapses or wraps meanwhile.
        37 if rng.chance(50_000) => {
            cut_off(any, at, rng.range(30_000 * MS, 180_000 * MS), rng.coin(), out);
        }
        37 => out.push((at, Fault::FlushGate(member))),
        38 => {
            out.push((at, Fault::Lock(member, rng.range(300 * MS, 90_000 * MS))));
            if rng.coin() {
                out.push((at + long, Fault::KillDatabase(other_of(member))));
            }
        }
        39 => {
            out.push((at, Fault::Meddle(member, Meddling::Wipe)));
            if rng.coin() {
                out.push((at + rng.below(2 * long), Fault::KillDatabase(other_of(member))));
            }
        }
        40 => {
            out.push((at, Fault::Ask(Wish::Resync(member))));
            if rng.coin() {
                out.push((at + rng.below(long), Fault::KillDatabase(other_of(member))));
            }
        }
        41 => draw_stop(member, 2, at, long, rng, out),
        _ => {
            if rng.chance(100_000) {
                out.push((at, Fault::StrangerStays(long)));
            }
            // A restore is rare, and of a copy that is a little older.
            if rng.chance(250_000) {
                out.push((at, Fault::CopyData(member)));
                out.push((at + long, Fault::Restore(member)));
            } else {
                out.push((at, Fault::KillDatabase(member)));
                out.push((at + rng.below(400 * MS), Fault::KillAgent(member)));
            }
        }
    }
}

/// Somebody stops a service and starts it again, as a command of the product does; now and then twice, or too late.
pub(crate) fn draw_stop(
    host: usize,
    services: u64,
    at: u64,
    long: u64,
    rng: &mut Rng,
    out: &mut Vec<(u64, Fault)>,
) {
    let service = rng.below(services) as usize;
    let mut stop = at;
    for _ in 0..1 + rng.below(2) {
        out.push((stop, Fault::StopService(host, service)));
        out.push((stop + long, Fault::StartService(host, service)));
        stop += long + rng.below(3_000 * MS);
    }
}

/// What operators ask for: most of it ends by itself, a stop is followed by a start.
pub(crate) fn draw_wish(
    host: usize,
    at: u64,
    long: u64,
    rng: &mut Rng,
    out: &mut Vec<(u64, Fault)>,
) {
    let ttls = [300, 500, 700, 1_000, 1_400];
    match rng.below(6) {
        0 => out.push((at, Fault::Ask(Wish::Maintenance(host, long)))),
        1 => {
            out.push((at, Fault::Ask(Wish::Maintenance(host, 4 * long))));
            out.push((at + long, Fault::Ask(Wish::Lift(host))));
        }
        2 => out.push((at, Fault::Ask(Wish::Pause(long)))),
        3 => {
            out.push((at, Fault::Ask(Wish::Stop)));
            out.push((at + long, Fault::Ask(Wish::Start)));
        }
        4 => out.push((at, Fault::Ask(Wish::Fence(host)))),
        5.. => out.push((at, Fault::Ask(Wish::Ttl(rng.pick(&ttls) * MS)))),
    }
}

/// A host and everybody else hear nothing of each other, or only one way.
pub(crate) fn cut_off(host: usize, at: u64, length: u64, both: bool, out: &mut Vec<(u64, Fault)>) {
    for other in (0..PLACES).filter(|other| *other != host) {
        out.push((at, Fault::Cut(host, other)));
        out.push((at + length, Fault::Mend(host, other)));
        if both {
            out.push((at, Fault::Cut(other, host)));
            out.push((at + length, Fault::Mend(other, host)));
        }
    }
}

/// In a few of many runs a host is alone for days, at the end of all that goes wrong: for what grows, lapses or wraps.
pub(crate) fn draw_days(at: u64, rng: &mut Rng, out: &mut Vec<(u64, Fault)>) {
    if !rng.chance(DAYS_PPM) {
        return;
    }
    out.push((at, Fault::Quiet));
    let host = rng.pick(&HOSTS);
    cut_off(host, at, rng.range(DAY, 2 * DAY), true, out);
}

impl World {
    /// A fault happens.
    pub fn strike(&mut self, fault: &Fault) {
        if self.chaos.over || self.hides_a_lie(fault) {
            return;
        }
        self.tell_fault(fault);
        match *fault {
            Fault::KillAgent(host) => self.kill_agent(host, "killed"),
            Fault::Release(host, speaks) => {
                self.hosts[host].speaks = speaks;
                self.kill_agent(host, "killed");
            }
            Fault::StallAgent(host, length) => self.stall_agent(host, length),
            Fault::StallRegister(host, length) => {
                let until = self.now + length;
                let stalled = &mut self.hosts[host].seat.stalled;
                *stalled = (*stalled).max(until);
            }
            Fault::KillDatabase(host) => {
                self.excuse_nameless(host);
                self.kill_database(host);
            }
            Fault::StallDatabase(host, length) => {
                let until = self.now + length;
                if let Some(server) = &mut self.hosts[host].database.server {
                    server.stalled = server.stalled.max(until);
                }
            }
            Fault::KillService(host, service) if self.shared.is_some() => {
                self.unit_dies(host, service);
            }
            Fault::KillService(host, service) => self.kill_service(host, service),
            Fault::StopService(host, service) => self.stop_service(host, service),
            Fault::StartService(host, service) => self.start_service(host, service),
            Fault::PowerOff(host) => self.power_off(host),
            Fault::Boot(host) => self.boot(host),
            Fault::Pause(host, length) => self.pause(host, length),
            Fault::GoOn(host) => self.go_on(host),
            Fault::Cut(from, to) => self.net.set_cut(from, to, true),
            Fault::Mend(from, to) => self.net.set_cut(from, to, false),
            Fault::Weather { loss, double, late } => {
                (self.net.loss, self.net.double, self.net.late) = (loss, double, late);
                self.net.late_max = 1_000 * MS;
            }
            Fault::Slew(host) => {
                let rates = Rates::draw(&mut self.rng);
                let now = self.now;
                self.hosts[host].clock.set_rates(rates, now);
            }
            Fault::SlowDisk(host, most) => self.hosts[host].seat.sync = (200_000, most),
            Fault::FlushGate(host) => {
                self.hosts[host].gate = Gate::default();
                self.hosts[host].address = None;
                self.input(host, Input::GateLost);
            }
            Fault::Stranger(host) => self.input(host, Input::Stranger { mac: [2, 0, 0, 0, 0, 9] }),
            Fault::FailApplier(host) => {
                self.hosts[host].database.fail_applier();
            }
            Fault::LoseVoter(host) => self.lose_voter(host),
            Fault::CopyData(host) => {
                let h = &self.hosts[host];
                let quiet = h.database.server.as_ref().is_none_or(|s| s.open.is_empty());
                if quiet {
                    self.chaos.copies[host] = Some(h.database.files.clone());
                }
            }
            Fault::Restore(host) => self.restore(host),
            Fault::BreakService(host, service) => {
                self.hosts[host].broken[service] = true;
                self.kill_service(host, service);
            }
            Fault::MendService(host, service) => self.hosts[host].broken[service] = false,
            Fault::HangService(host, service) => self.hang_service(host, service),
            Fault::BlockDatabase(host, length) => self.hosts[host].blocked = self.now + length,
            Fault::StrangerStays(left) => self.strange(left),
            Fault::Refuse(host, refusal, length) => {
                let until = &mut self.hosts[host].refused[refusal as usize];
                *until = (*until).max(self.now + length);
            }
            Fault::HangAddress(host, length) => {
                let hangs = &mut self.hosts[host].address_hangs;
                *hangs = (*hangs).max(self.now + length);
            }
            Fault::Foreign(host) => {
                let now = self.now;
                if let Some(server) = &mut self.hosts[host].database.server {
                    server.foreign = server.foreign.or(Some(now));
                }
            }
            Fault::ForeignGone(host) => {
                if let Some(server) = &mut self.hosts[host].database.server {
                    server.foreign = None;
                }
            }
            Fault::Lock(host, length) => self.lock(host, length),
            Fault::Meddle(host, meddling) => self.meddle(host, meddling),
            Fault::FullState(host, length) | Fault::BadState(host, length) => {
                let seat = &mut self.hosts[host].seat;
                seat.full = seat.full.max(self.now + length);
                seat.errs |= matches!(fault, Fault::BadState(..));
            }
            Fault::FullData(host, length) => {
                let full = &mut self.hosts[host].full_data;
                *full = (*full).max(self.now + length);
            }
            Fault::BadData(host, length) => self.spoil_data(host, length),
            Fault::Quiet => {
                (self.chaos.stall_ppm, self.chaos.hot_ppm) = (0, 0);
                self.clients.period = SELDOM;
            }
            Fault::Ask(wish) => self.ask(wish),
            Fault::Switchover(to) => self.ask_switchover(to),
            Fault::Shared(deed) => self.do_deed(deed),
        }
    }

    fn tell_fault(&mut self, fault: &Fault) {
        if let Fault::Shared(deed) = fault {
            return self.tell_deed(*deed);
        }
        let (host, text) = match fault {
            Fault::KillAgent(host) => (*host, String::from("the agent is killed")),
            Fault::Release(host, speaks) => {
                (*host, format!("a release that speaks format {speaks} is installed"))
            }
            Fault::StallAgent(host, l) => (*host, format!("the agent stalls for {} ms", l / MS)),
            Fault::StallRegister(host, l) => {
                (*host, format!("voter and proposer stall for {} ms", l / MS))
            }
            Fault::KillDatabase(host) => (*host, String::from("the database is killed")),
            Fault::StallDatabase(host, l) => {
                (*host, format!("the database stalls for {} ms", l / MS))
            }
            Fault::KillService(host, service) => (*host, format!("service {service} is killed")),
            Fault::StopService(host, service) => {
                (*host, format!("somebody stops service {service}"))
            }
            Fault::StartService(host, service) => {
                (*host, format!("somebody starts service {service}"))
            }
            Fault::PowerOff(host) => (*host, String::from("power off")),
            Fault::Boot(host) => (*host, String::from("power on")),
            Fault::Pause(host, l) => (*host, format!("paused for {} ms", l / MS)),
            Fault::GoOn(host) => (*host, String::from("goes on")),
            Fault::Cut(from, to) => (*from, format!("cut towards {}", NAMES[*to])),
            Fault::Mend(from, to) => (*from, format!("reaches {} again", NAMES[*to])),
            Fault::Weather { loss, double, late } => {
                (CLIENTS, format!("links lose {loss}, double {double}, delay {late} ppm"))
            }
            Fault::Slew(host) => (*host, String::from("its clocks get new rates")),
            Fault::SlowDisk(host, most) => {
                (*host, format!("the voter's disk takes up to {} ms", most / MS))
            }
            Fault::FlushGate(host) => (*host, String::from("somebody flushes the filter")),
            Fault::Stranger(host) => (*host, String::from("a stranger answers for the VIP")),
            Fault::FailApplier(host) => (*host, String::from("the applier meets an error")),
            Fault::LoseVoter(host) => (*host, String::from("the voter's disk is lost")),
            Fault::CopyData(host) => (*host, String::from("a copy of the data is put aside")),
            Fault::Restore(host) => (*host, String::from("the data are put back to that copy")),
            Fault::BreakService(host, service) => {
                (*host, format!("service {service} dies, and does not start any more"))
            }
            Fault::MendService(host, service) => (*host, format!("service {service} is mended")),
            Fault::HangService(host, service) => (*host, format!("service {service} hangs")),
            Fault::Lock(host, l) => {
                (*host, format!("a session holds the global read lock for {} ms", l / MS))
            }
            Fault::BlockDatabase(host, l) => {
                (*host, format!("the database's port is blocked for {} ms", l / MS))
            }
            Fault::StrangerStays(l) => {
                (CLIENTS, format!("a stranger answers for the VIP for {} ms", l / MS))
            }
            Fault::Ask(wish) => (CLIENTS, format!("an operator asks: {wish:?}")),
            Fault::Refuse(host, refusal, l) => {
                (*host, format!("its kernel refuses for {} ms: {refusal:?}", l / MS))
            }
            Fault::HangAddress(host, l) => {
                (*host, format!("steps of its address hang for {} ms", l / MS))
            }
            Fault::Foreign(host) => (*host, String::from("a foreign replica is attached")),
            Fault::ForeignGone(host) => (*host, String::from("no foreign replica is attached")),
            Fault::Meddle(host, meddling) => {
                (*host, format!("somebody changes the server by hand: {meddling:?}"))
            }
            Fault::FullState(host, l) => {
                (*host, format!("/var/lib/regent is full for {} ms", l / MS))
            }
            Fault::FullData(host, l) => {
                (*host, format!("the data directory is full for {} ms", l / MS))
            }
            Fault::BadState(host, l) => {
                (*host, format!("the disk of /var/lib/regent errs for {} ms", l / MS))
            }
            Fault::BadData(host, l) => {
                (*host, format!("the disk of the data directory errs for {} ms", l / MS))
            }
            Fault::Quiet => (CLIENTS, String::from("a quiet time begins")),
            Fault::Shared(_) => return,
            Fault::Switchover(to) => {
                let to = to.map_or("the other", |to| NAMES[to]);
                (CLIENTS, format!("an operator asks for a switchover to {to}"))
            }
        };
        self.tell(host, "fault", || text);
    }

    /// A host loses power.
    pub fn power_off(&mut self, host: usize) {
        if !self.hosts[host].powered {
            return;
        }
        if self.hosts[host].paused.is_some() {
            self.go_on(host);
        }
        self.silence_connections(host);
        if self.hosts[host].agent.take().is_some() || self.hosts[host].seat.voter.is_some() {
            self.stop_seat(host);
        }
        if host != WITNESS {
            self.excuse_nameless(host);
            self.with_database(host, |database, ledger, rng, out| {
                let mut lost = Vec::new();
                database.kill(ledger, rng, &mut lost);
                database.lose_unsynced();
                // Nobody hears anything from a host without power.
                out.extend(
                    lost.into_iter()
                        .filter(|effect| matches!(effect, crate::database::Effect::Client(..))),
                );
            });
        }
        let h = &mut self.hosts[host];
        h.powered = false;
        h.starting = false;
        h.boots += 1;
        h.gate = Gate::default();
        h.address = None;
        h.address_busy = 0;
        h.services.fill(None);
        h.stack.lose_power();
        h.dog = Default::default();
    }

    /// A host gets power.
    pub fn boot(&mut self, host: usize) {
        if self.hosts[host].powered {
            return;
        }
        let boot = BootId(self.rng.draw());
        let now = self.now;
        let h = &mut self.hosts[host];
        h.powered = true;
        h.boot = boot;
        h.boots += 1;
        h.stilled = None;
        h.clock = crate::clock::Clock::new(Rates::draw(&mut self.rng), &mut self.rng, now);
        let services = if self.shared.is_some() { 0 } else { h.services.len() };
        for service in 0..services {
            h.service_starts += 1;
            h.services[service] = Some(h.service_starts);
        }
        let boots = h.boots;
        let after = self.rng.range(300 * MS, 1_200 * MS);
        self.after(after, Event::AgentStart { host, boot: boots });
    }

    fn pause(&mut self, host: usize, length: u64) {
        let now = self.now;
        let h = &mut self.hosts[host];
        if !h.powered || h.paused.is_some() {
            return;
        }
        h.stilled = Some(h.clock.read(now));
        h.clock.stop(now);
        h.paused = Some(now + length);
        self.after(length, Event::Fault(Fault::GoOn(host)));
    }

    /// The host's kernel stands still; its clocks go on, and its watchdog is hardware.
    pub fn hang(&mut self, host: usize, length: u64) {
        let now = self.now;
        let h = &mut self.hosts[host];
        if !h.powered || h.paused.is_some() {
            return;
        }
        h.paused = Some(now + length);
        self.after(length, Event::Fault(Fault::GoOn(host)));
    }

    fn go_on(&mut self, host: usize) {
        let now = self.now;
        let h = &mut self.hosts[host];
        let Some(until) = h.paused.take() else { return };
        if h.clock.is_stopped() {
            h.clock.go_on(now);
        }
        self.promise.note_thaw(host, until);
    }

    /// A server that cannot write ends itself; what it had not synced may be gone.
    fn spoil_data(&mut self, host: usize, length: u64) {
        let until = self.now + length;
        let h = &mut self.hosts[host];
        h.full_data = h.full_data.max(until);
        h.bad_data = h.bad_data.max(until);
        self.excuse_nameless(host);
        self.kill_database(host);
        if self.rng.coin() {
            self.hosts[host].database.lose_unsynced();
        }
    }

    fn lose_voter(&mut self, host: usize) {
        if self.chaos.voter_lost || !self.may_lose_voter(host) {
            return;
        }
        self.chaos.voter_lost = true;
        self.kill_agent(host, "killed, and its voter's disk is empty");
        // The highest version stored stands in the same file.
        self.hosts[host].high = 0;
        self.hosts[host].seat.disk = Standing::Vacant;
    }

    /// Somebody with a client and root does it.
    fn meddle(&mut self, host: usize, meddling: Meddling) {
        let state = &self.truth.state;
        let holds = state.lease.holder == self.hosts[host].node;
        let writes = state.sync.writer.node == self.hosts[host].node;
        if meddling == Meddling::Wipe {
            // What only this node has would be lost for good by it.
            if !holds && !writes && state.lease.phase == Phase::Ruling {
                self.wipe(host);
            }
            return;
        }
        let Some(server) = &mut self.hosts[host].database.server else { return };
        match meddling {
            Meddling::Finite => server.finite = true,
            Meddling::Wipe => {}
            Meddling::Writable if holds || !server.read_only => {}
            Meddling::Writable => (server.read_only, server.by_hand) = (false, true),
            // A server that hangs answers nobody.
            Meddling::Reset if !server.open.is_empty() || server.stalled > self.now => {}
            Meddling::Reset => {
                self.with_database(host, |database, ledger, rng, out| {
                    database.reset_master(ledger, rng, out);
                });
                // Before control was taken of this start: it may as well be older data that were put back.
                let database = &self.hosts[host].database;
                let writes = database.files.kept.is_some_and(|kept| !kept.mark);
                self.restored |= writes && !database.is_nameless();
            }
        }
    }

    /// Its log began anew and it has no new name yet, and a fault takes its server: after this nothing shows that the
    /// data have everything. A server that is killed for us is no excuse.
    pub(crate) fn excuse_nameless(&mut self, host: usize) {
        self.restored |= self.hosts[host].database.is_nameless();
    }

    fn wipe(&mut self, host: usize) {
        self.excuse_nameless(host);
        self.kill_database(host);
        let h = &mut self.hosts[host];
        h.database.files = Files::default();
        h.wiped = true;
    }

    fn restore(&mut self, host: usize) {
        let Some(copy) = self.chaos.copies[host].take() else { return };
        // Only a copy of another life of the data shows; one of the same start is the same data, cut.
        let starts = |files: &Files| files.kept.map(|kept| kept.starts);
        self.kill_database(host);
        let database = &mut self.hosts[host].database;
        if starts(&copy) == starts(&database.files) {
            if let Some(kept) = &mut database.files.kept {
                kept.starts += 1;
            }
            if let Some(outside) = &mut database.outside {
                outside.starts += 1;
            }
        }
        database.files = copy;
        self.restored = true;
    }

    /// An operator asks this host's agent.
    pub fn request(&mut self, host: usize, what: Request) {
        self.chaos.requests += 1;
        let request = RequestId(self.chaos.requests);
        self.input(host, Input::Operator { request, what });
    }

    fn ask_switchover(&mut self, to: Option<usize>) {
        let holder = usize::from(self.truth.state.lease.holder.0) - 1;
        let to = to.map(|to| NodeId(to as u16 + 1));
        let host = if self.rng.chance(800_000) { holder } else { 1 - holder };
        self.request(host, Request::Switchover { to });
    }

    /// A grant, a solo or a join was proposed or decided: now is when a fault hurts most.
    pub fn strike_while_hot(&mut self) {
        if !self.rng.chance(self.chaos.hot_ppm) {
            return;
        }
        let mut faults = Vec::new();
        let kinds = if self.shared.is_some() { shared::KINDS } else { KINDS };
        let kind = draw_kind(kinds, &self.chaos.with, &mut self.rng);
        let whom = self.rng.pick(&MEMBERS);
        let at = self.now + self.rng.pick(&[0, MS, 5 * MS, 60 * MS, 500 * MS]);
        match self.shared {
            Some(setting) => {
                draw_shared(kind, setting, Some(whom), at, &mut self.rng, &mut faults);
            }
            None => draw_fault(kind, Some(whom), at, &mut self.rng, &mut faults),
        }
        for (at, fault) in faults {
            self.at(at, Event::Fault(fault));
        }
    }

    /// All faults end; hosts without power get it.
    pub fn heal(&mut self) {
        self.tell(CLIENTS, "fault", || String::from("all faults are over"));
        self.net.heal();
        (self.chaos.stall_ppm, self.chaos.hot_ppm) = (0, 0);
        self.chaos.long_start_ppm = 0;
        self.chaos.over = true;
        self.chaos.ambush = None;
        self.chaos.copies = [None, None];
        if self.shared.is_some() {
            self.heal_shared();
        } else {
            self.end_wishes();
        }
        // An upgrade that was begun is brought to its end: a format that was raised stays.
        let raised = self.truth.state.format;
        let newest = MEMBERS.into_iter().fold(raised, |of, host| of.max(self.hosts[host].speaks));
        for host in MEMBERS {
            if self.hosts[host].speaks < newest {
                self.hosts[host].speaks = newest;
                self.kill_agent(host, "killed, for the newest release");
            }
        }
        let now = self.now;
        for host in HOSTS {
            self.go_on(host);
            self.boot(host);
            let h = &mut self.hosts[host];
            h.seat.sync = (200_000, 2 * MS);
            // A slow follower may never catch up with what a long isolation left it to do.
            h.database.pace = Pace::default();
            h.seat.full = 0;
            h.seat.errs = false;
            (h.full_data, h.bad_data) = (0, 0);
            h.refused = Default::default();
            h.address_hangs = 0;
            h.seat.stalled = h.seat.stalled.min(now);
            if let Some(server) = &mut h.database.server {
                server.stalled = server.stalled.min(now);
                server.foreign = None;
            }
            if h.agent.as_ref().is_some_and(|agent| agent.stalled > now) {
                self.end_stall(host);
            }
        }
        debug_assert!((0..PLACES).all(|place| self.net.is_whole(0, place)));
    }
}
