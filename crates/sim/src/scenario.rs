//! Golden stories: what is done stands above the bar, what the cluster tells below it.
//!
//! ```text
//! # The active node loses power: the standby serves within its lease.
//! power off a at 1.000
//! run 2s
//! ----
//!     1.000 a  fault                power off
//! ```
//! A story starts, at 0.000, with a cluster that is in sync and served by a. Verbs:
//! `run TIME`, `wait in-sync`, `wait served-by HOST`, `expect served-by HOST`, `expect epoch N`,
//! `kill agent|database|management|ui HOST`, `stop|start ui HOST` (somebody asks systemd for it),
//! `stall agent|database|register HOST for TIME`, `pause HOST for TIME`, `cut HOST from LIST`, `cut HOST to LIST`
//! (one way), `mend HOST from LIST`, `power off HOST`, `power on HOST`, `slow disk HOST TIME`,
//! `switchover [to HOST]`, `fail applier HOST`, `hang management|ui HOST`, `break|repair management HOST`,
//! `block database HOST for TIME`, `lock database HOST for TIME`,
//! `release FORMAT on HOST` (another release, R7), `stranger for TIME`, `maintenance HOST for TIME`, `maintenance
//! HOST off`, `suspend cluster for TIME` (a pause), `stop cluster`, `start cluster`, `fence HOST`, `ttl TIME`,
//! `resync HOST` (asked there), `by hand finite|writable|reset|wipe HOST` (what somebody does to its server),
//! `fill state|data HOST for TIME` (its disk is full), `refuse arm|enable|close|add|remove HOST for TIME` (its kernel
//! does), `hang address HOST for TIME`,
//! `flush gate HOST`, `lose voter HOST`, `copy data HOST`, `restore data HOST`, `seed N` (first of all;
//! without it every length is its middle one); each but the waits may end with `at SECONDS`.
//!
//! A story whose first line is `topology shared [by-hand] [fence] [watchdog TIME] [pair] [passive]` is of the
//! shared-data world, and begins with a serving, or with nobody activated yet (`passive`). Its own verbs:
//! `activate HOST`, `activate HOST off HOST` (an operator's word), `activate both`, `deactivate HOST`, `repair HOST`,
//! `hang HOST for TIME`, `step STEP of HOST fails|hangs|stays|is mended`, `open file HOST for TIME`,
//! `cut|hang|mend storage HOST`, `start|stop STEP on HOST` (by hand), `kill STEP on HOST`, `drift HOST`, `strange claim
//! [gone]`, `strange greeting to HOST` (of the other member, by another register), `stop agent HOST for TIME`,
//! `fences confirm|confirm-late|refuse|are-silent|act-silently|act-late`, `wait|expect clear HOST` (nothing runs
//! there),
//! `expect row N HOST` (what blocks it, by section 9), `expect violation V9` (anywhere: the story ends with it).

use crate::agent::core;
use crate::fault::{Fault, Meddling};
use crate::gate::Refusal;
use crate::health::Wish;
use crate::host::NAMES;
use crate::log::{Line, Log};
use crate::rng::Rng;
use crate::shared::{Deed, Device, Setting, shared_spec};
use crate::stack::{Amiss, STEPS};
use crate::world::{World, default_spec};
use regent_core::invariant;
use regent_core::time::Span;
use std::path::Path;

const SECOND: u64 = 1_000_000_000;
/// No wait of a story is longer.
const WAIT_MAX: u64 = 60 * SECOND;
/// When the story begins: the cluster is then in sync.
const BEGIN: u64 = 6 * SECOND;

/// Why a story failed.
#[derive(Debug)]
pub enum Failure {
    /// The file cannot be read or written.
    File(std::io::Error),
    /// A line is none of the verbs.
    Line(String),
    /// A property did not hold, or a wait was in vain; with the story so far.
    Broken(String, Vec<String>),
    /// The story differs from the one expected.
    Differs(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::File(error) => write!(f, "{error}"),
            Failure::Line(line) => write!(f, "not understood: {line}"),
            Failure::Broken(what, story) => write!(f, "{what}\n{}", story.join("\n")),
            Failure::Differs(difference) => write!(f, "{difference}"),
        }
    }
}

/// Runs a file; with `bless` the story becomes the expected one.
pub fn run_file(path: &Path, bless: bool) -> Result<(), Failure> {
    let text = std::fs::read_to_string(path).map_err(Failure::File)?;
    let (input, expected) = match text.split_once("----\n") {
        Some((input, expected)) => (input, Some(expected)),
        None => (text.as_str(), None),
    };
    let story = play(input)?;
    if bless {
        let whole = format!("{input}----\n{story}");
        return std::fs::write(path, whole).map_err(Failure::File);
    }
    match expected {
        None => Err(Failure::Differs(String::from("no expectation: read the story and bless it"))),
        Some(expected) if expected == story => Ok(()),
        Some(expected) => Err(Failure::Differs(difference(expected, &story))),
    }
}

/// Plays what stands above the bar; answers the story.
pub fn play(input: &str) -> Result<String, Failure> {
    let lines: Vec<&str> = input
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
        .collect();
    let seed = lines.iter().find_map(|line| line.strip_prefix("seed "));
    let rng = match seed {
        Some(seed) => Rng::new(seed.parse().map_err(|_| Failure::Line(lines[0].to_string()))?),
        None => Rng::calm(1),
    };
    let shared = lines.first().and_then(|line| line.strip_prefix("topology shared"));
    let mut world = match shared {
        Some(words) => begin_shared(rng, words)?,
        None => World::new(rng, core, default_spec(), Log::story()),
    };
    if shared.is_none_or(|words| !words.contains("passive")) {
        wait(&mut world, BEGIN - SECOND, in_sync)?;
    }
    world.run_until(BEGIN);
    world.log.lines.clear();
    world.clients.gap = 0;
    let foreseen = lines.iter().find_map(|line| line.strip_prefix("expect violation "));
    let is_head = |line: &str| {
        line.starts_with("seed ")
            || line.starts_with("topology ")
            || line.starts_with("expect violation ")
    };
    for line in lines.iter().filter(|line| !is_head(line)) {
        act(&mut world, line)?;
        match &world.violation {
            Some(violation) if foreseen == Some(violation.id) => break,
            Some(_) | None => broken(&world)?,
        }
    }
    if foreseen.is_some() && world.violation.is_none() {
        let text = String::from("nothing was violated");
        return Err(Failure::Broken(text, story(&world.log.lines)));
    }
    let (count, gap) = (world.clients.acknowledged, world.clients.gap / 1_000_000);
    let now = world.now;
    if shared.is_none() {
        world.log.tell(now, "c", "summary", || {
            format!("{count} writes acknowledged, none lost; longest gap {gap} ms")
        });
    }
    Ok(story(&world.log.lines).iter().map(|line| format!("{line}\n")).collect())
}

/// A shared-data world with a serving, or with nobody activated.
fn begin_shared(rng: Rng, words: &str) -> Result<World, Failure> {
    let unknown = || Failure::Line(format!("topology shared{words}"));
    let mut setting = Setting::PLAIN;
    let mut passive = false;
    let mut words = words.split_whitespace();
    while let Some(word) = words.next() {
        match word {
            "by-hand" => setting.by_hand = true,
            "fence" => setting.fenced = true,
            "watchdog" => {
                let length = words.next().and_then(parse_time).ok_or_else(unknown)?;
                setting.watchdog = Some(Span(length));
            }
            "pair" => (setting.by_hand, setting.pair) = (true, true),
            "passive" => passive = true,
            _ => return Err(unknown()),
        }
    }
    let mut world = World::new_shared(rng, core, &shared_spec(), setting, Log::story());
    world.run_until(SECOND / 2);
    if !passive {
        world.ask_activate(0, false);
    }
    Ok(world)
}

fn act(world: &mut World, line: &str) -> Result<(), Failure> {
    let unknown = || Failure::Line(line.to_string());
    let (verb, at) = match line.rsplit_once(" at ") {
        Some((verb, at)) => (verb, Some(at)),
        None => (line, None),
    };
    if let Some(at) = at {
        let seconds: f64 = at.trim().parse().map_err(|_| unknown())?;
        world.run_until(BEGIN + (seconds * 1e9) as u64);
    }
    let words: Vec<&str> = verb.split_whitespace().collect();
    match words.as_slice() {
        ["run", time] => {
            let end = world.now + parse_time(time).ok_or_else(unknown)?;
            world.run_until(end);
        }
        ["expect", "epoch", epoch] => {
            let expected = epoch.parse::<u64>().map_err(|_| unknown())?;
            let found = world.truth.state.lease.epoch.0;
            if found != expected {
                let text = format!("epoch {expected} was expected, and it is {found}");
                return Err(Failure::Broken(text, story(&world.log.lines)));
            }
        }
        ["expect", "served-by", host] => {
            let host = parse_host(host).ok_or_else(unknown)?;
            if !world.hosts[host].answers(world.now) {
                let text = format!("{} does not serve", NAMES[host]);
                return Err(Failure::Broken(text, story(&world.log.lines)));
            }
        }
        ["wait", "clear", host] => {
            let host = parse_host(host).ok_or_else(unknown)?;
            wait(world, WAIT_MAX, move |world| !world.hosts[host].stack.uses(world.now))?;
        }
        ["expect", "clear", host] => {
            let host = parse_host(host).ok_or_else(unknown)?;
            if world.hosts[host].stack.uses(world.now) {
                let text = format!("{} uses the shared data", NAMES[host]);
                return Err(Failure::Broken(text, story(&world.log.lines)));
            }
        }
        ["expect", "row", row, host] => {
            let host = parse_host(host).ok_or_else(unknown)?;
            let lines = world.explain(host);
            let blocked = format!("blocked (row {row})");
            if !lines.iter().any(|line| line.starts_with(&blocked)) {
                let text = format!("row {row} does not block: {}", lines.join("; "));
                return Err(Failure::Broken(text, story(&world.log.lines)));
            }
        }
        ["fences", how] => world.device = Some(parse_device(how).ok_or_else(unknown)?),
        ["wait", "in-sync"] => wait(world, WAIT_MAX, in_sync)?,
        ["wait", "served-by", host] => {
            let host = parse_host(host).ok_or_else(unknown)?;
            wait(world, WAIT_MAX, move |world| world.hosts[host].answers(world.now))?;
        }
        _ => {
            for fault in parse_faults(&words).ok_or_else(unknown)? {
                world.strike(&fault);
                world.judge();
            }
        }
    }
    Ok(())
}

fn parse_faults(words: &[&str]) -> Option<Vec<Fault>> {
    let one = |fault| Some(vec![fault]);
    match *words {
        ["kill", "agent", host] => one(Fault::KillAgent(parse_host(host)?)),
        ["by", "hand", what, host] => {
            let meddling = match what {
                "finite" => Meddling::Finite,
                "writable" => Meddling::Writable,
                "reset" => Meddling::Reset,
                "wipe" => Meddling::Wipe,
                _ => return None,
            };
            one(Fault::Meddle(parse_host(host)?, meddling))
        }
        ["fill", "state", host, "for", t] => {
            one(Fault::FullState(parse_host(host)?, parse_time(t)?))
        }
        ["fill", "data", host, "for", t] => one(Fault::FullData(parse_host(host)?, parse_time(t)?)),
        ["spoil", "state", host, "for", t] => {
            one(Fault::BadState(parse_host(host)?, parse_time(t)?))
        }
        ["spoil", "data", host, "for", t] => one(Fault::BadData(parse_host(host)?, parse_time(t)?)),
        ["refuse", what, host, "for", t] => {
            let refusal = match what {
                "arm" => Refusal::Arm,
                "enable" => Refusal::Enable,
                "close" => Refusal::Close,
                "add" => Refusal::Add,
                "remove" => Refusal::Remove,
                _ => return None,
            };
            one(Fault::Refuse(parse_host(host)?, refusal, parse_time(t)?))
        }
        ["hang", "address", host, "for", t] => {
            one(Fault::HangAddress(parse_host(host)?, parse_time(t)?))
        }
        ["release", speaks, "on", host] => {
            one(Fault::Release(parse_host(host)?, speaks.parse().ok()?))
        }
        ["kill", "database", host] => one(Fault::KillDatabase(parse_host(host)?)),
        ["kill", "management", host] => one(Fault::KillService(parse_host(host)?, 0)),
        ["kill", "ui", host] => one(Fault::KillService(parse_host(host)?, 1)),
        ["stop", "ui", host] => one(Fault::StopService(parse_host(host)?, 1)),
        ["start", "ui", host] => one(Fault::StartService(parse_host(host)?, 1)),
        ["stall", "agent", host, "for", t] => {
            one(Fault::StallAgent(parse_host(host)?, parse_time(t)?))
        }
        ["stall", "database", host, "for", t] => {
            one(Fault::StallDatabase(parse_host(host)?, parse_time(t)?))
        }
        ["stall", "register", host, "for", t] => {
            one(Fault::StallRegister(parse_host(host)?, parse_time(t)?))
        }
        ["pause", host, "for", t] => one(Fault::Pause(parse_host(host)?, parse_time(t)?)),
        ["power", "off", host] => one(Fault::PowerOff(parse_host(host)?)),
        ["power", "on", host] => one(Fault::Boot(parse_host(host)?)),
        ["slow", "disk", host, t] => one(Fault::SlowDisk(parse_host(host)?, parse_time(t)?)),
        ["switchover"] => one(Fault::Switchover(None)),
        ["switchover", "to", host] => one(Fault::Switchover(Some(parse_host(host)?))),
        ["fail", "applier", host] => one(Fault::FailApplier(parse_host(host)?)),
        ["flush", "gate", host] => one(Fault::FlushGate(parse_host(host)?)),
        ["lose", "voter", host] => one(Fault::LoseVoter(parse_host(host)?)),
        ["copy", "data", host] => one(Fault::CopyData(parse_host(host)?)),
        ["restore", "data", host] => one(Fault::Restore(parse_host(host)?)),
        ["break", "management", host] => one(Fault::BreakService(parse_host(host)?, 0)),
        ["repair", "management", host] => one(Fault::MendService(parse_host(host)?, 0)),
        ["hang", "management", host] => one(Fault::HangService(parse_host(host)?, 0)),
        ["hang", "ui", host] => one(Fault::HangService(parse_host(host)?, 1)),
        ["resync", host] => one(Fault::Ask(Wish::Resync(parse_host(host)?))),
        ["lock", "database", host, "for", t] => one(Fault::Lock(parse_host(host)?, parse_time(t)?)),
        ["block", "database", host, "for", t] => {
            one(Fault::BlockDatabase(parse_host(host)?, parse_time(t)?))
        }
        ["stranger", "for", t] => one(Fault::StrangerStays(parse_time(t)?)),
        ["maintenance", host, "for", t] => {
            one(Fault::Ask(Wish::Maintenance(parse_host(host)?, parse_time(t)?)))
        }
        ["maintenance", host, "off"] => one(Fault::Ask(Wish::Lift(parse_host(host)?))),
        ["suspend", "cluster", "for", t] => one(Fault::Ask(Wish::Pause(parse_time(t)?))),
        ["stop", "cluster"] => one(Fault::Ask(Wish::Stop)),
        ["start", "cluster"] => one(Fault::Ask(Wish::Start)),
        ["fence", host] => one(Fault::Ask(Wish::Fence(parse_host(host)?))),
        ["ttl", t] => one(Fault::Ask(Wish::Ttl(parse_time(t)?))),
        ["activate", "both"] => Some(vec![
            Fault::Shared(Deed::Activate(0, false)),
            Fault::Shared(Deed::Activate(1, false)),
        ]),
        ["activate", host] => one(Fault::Shared(Deed::Activate(parse_host(host)?, false))),
        ["activate", host, "off", off] => {
            one(Fault::Shared(Deed::ActivateOff(parse_host(host)?, parse_host(off)?)))
        }
        ["stop", "agent", host, "for", t] => {
            one(Fault::Shared(Deed::StopAgent(parse_host(host)?, parse_time(t)?)))
        }
        ["strange", "greeting", "to", host] => {
            one(Fault::Shared(Deed::StrangeGreeting(parse_host(host)?)))
        }
        ["deactivate", host] => one(Fault::Shared(Deed::Deactivate(parse_host(host)?))),
        ["repair", host] => one(Fault::Shared(Deed::Repair(parse_host(host)?))),
        ["drift", host] => one(Fault::Shared(Deed::Drift(parse_host(host)?))),
        ["strange", "claim"] => one(Fault::Shared(Deed::StrangeClaim)),
        ["strange", "claim", "gone"] => one(Fault::Shared(Deed::NoStrangeClaim)),
        ["hang", host, "for", t] => {
            one(Fault::Shared(Deed::Hang(parse_host(host)?, parse_time(t)?)))
        }
        ["step", step, "of", host, ref how @ ..] => {
            let amiss = match how {
                ["fails"] => Amiss::Fails,
                ["hangs"] => Amiss::Hangs,
                ["stays"] => Amiss::Stays,
                ["is", "mended"] => Amiss::Nothing,
                _ => return None,
            };
            one(Fault::Shared(Deed::Amiss(parse_host(host)?, parse_step(step)?, amiss)))
        }
        ["open", "file", host, "for", t] => {
            one(Fault::Shared(Deed::OpenFile(parse_host(host)?, parse_time(t)?)))
        }
        ["cut", "storage", host] => one(Fault::Shared(Deed::CutStorage(parse_host(host)?, false))),
        ["hang", "storage", host] => one(Fault::Shared(Deed::CutStorage(parse_host(host)?, true))),
        ["mend", "storage", host] => one(Fault::Shared(Deed::MendStorage(parse_host(host)?))),
        ["start", step, "on", host] => {
            one(Fault::Shared(Deed::StartUnit(parse_host(host)?, parse_service(step)?)))
        }
        ["stop", step, "on", host] => {
            one(Fault::StopService(parse_host(host)?, parse_service(step)?))
        }
        ["kill", step, "on", host] => {
            one(Fault::KillService(parse_host(host)?, parse_service(step)?))
        }
        ["cut", host, "from", list] => links(host, list, true, Fault::Cut),
        ["cut", host, "to", list] => links(host, list, false, Fault::Cut),
        ["mend", host, "from", list] => links(host, list, true, Fault::Mend),
        _ => None,
    }
}

fn links(
    host: &str,
    list: &str,
    both: bool,
    make: impl Fn(usize, usize) -> Fault,
) -> Option<Vec<Fault>> {
    let host = parse_host(host)?;
    let mut faults = Vec::new();
    for other in list.split(',') {
        let other = parse_host(other)?;
        faults.push(make(host, other));
        if both {
            faults.push(make(other, host));
        }
    }
    Some(faults)
}

fn parse_host(name: &str) -> Option<usize> {
    NAMES.iter().position(|known| *known == name)
}

fn parse_step(name: &str) -> Option<usize> {
    STEPS.iter().position(|(known, _)| *known == name)
}

fn parse_service(step: &str) -> Option<usize> {
    STEPS[parse_step(step)?].1.map(usize::from)
}

fn parse_device(how: &str) -> Option<Device> {
    Some(match how {
        "confirm" => Device::Confirms,
        "confirm-late" => Device::ConfirmsLate,
        "refuse" => Device::Refuses,
        "are-silent" => Device::Silent,
        "act-silently" => Device::ActsSilently,
        "act-late" => Device::ActsLate,
        _ => return None,
    })
}

fn parse_time(text: &str) -> Option<u64> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1_000_000),
        None => (text.strip_suffix('s')?, SECOND),
    };
    Some(number.parse::<u64>().ok()? * unit)
}

fn in_sync(world: &World) -> bool {
    world.picture(invariant::v11).is_ok()
}

fn wait(world: &mut World, most: u64, over: impl Fn(&World) -> bool) -> Result<(), Failure> {
    let end = world.now + most;
    while !over(world) {
        broken(world)?;
        if world.now >= end {
            let text = String::from("waited in vain");
            return Err(Failure::Broken(text, story(&world.log.lines)));
        }
        let next = world.now + 10_000_000;
        world.run_until(next);
    }
    Ok(())
}

fn broken(world: &World) -> Result<(), Failure> {
    match &world.violation {
        Some(violation) => Err(Failure::Broken(violation.to_string(), story(&world.log.lines))),
        None => Ok(()),
    }
}

fn story(lines: &[Line]) -> Vec<String> {
    let dated = |line: &Line| Line { at: line.at.saturating_sub(BEGIN), ..line.clone() };
    lines.iter().map(|line| dated(line).to_string()).collect()
}

/// The first line that differs, with what stands around it.
fn difference(expected: &str, story: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), story.lines().collect());
    let place = old.iter().zip(&new).position(|(old, new)| old != new);
    let place = place.unwrap_or(old.len().min(new.len()));
    let mut text = String::new();
    for line in &old[place.saturating_sub(3)..place] {
        text.push_str(&format!("  {line}\n"));
    }
    for line in old.iter().skip(place).take(3) {
        text.push_str(&format!("- {line}\n"));
    }
    for line in new.iter().skip(place).take(3) {
        text.push_str(&format!("+ {line}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_no_verb_is_refused() {
        assert!(matches!(play("reboot a\n"), Err(Failure::Line(_))));
        assert_eq!(
            parse_faults(&["cut", "a", "to", "b,w"]),
            Some(vec![Fault::Cut(0, 1), Fault::Cut(0, 2),])
        );
        assert_eq!(parse_time("300ms"), Some(300_000_000));
        assert_eq!(parse_time("3"), None);
    }

    #[test]
    fn a_missing_expectation_fails() {
        let path = std::env::temp_dir().join(format!("regent-sim-{}.scn", std::process::id()));
        std::fs::write(&path, "# Nothing happens.\nrun 1s\n").expect("a temporary file");
        let missing = run_file(&path, false);
        let blessed = run_file(&path, true).and_then(|()| run_file(&path, false));
        let mut text = std::fs::read_to_string(&path).expect("the blessed file");
        text.push_str("    9.000 a  never                happened\n");
        std::fs::write(&path, text).expect("the changed file");
        let changed = run_file(&path, false);
        std::fs::remove_file(&path).expect("the file is there");
        assert!(matches!(missing, Err(Failure::Differs(_))));
        assert!(blessed.is_ok());
        assert!(matches!(changed, Err(Failure::Differs(_))));
    }
}
