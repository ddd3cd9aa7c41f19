//! Units of systemd that run on the active node only.
//!
//! Their guard (a drop-in that outlives a boot) keeps whoever it is from starting them without the permit, and they
//! are disabled besides. A unit is down when systemd says so, its cgroup is empty, no process has its programs'
//! names and nobody listens on its ports: each is looked for by itself, for units of another name, and processes that
//! left their unit.

use super::before::Unit as UnitBefore;
use super::choice;
use super::claim;
use super::files::crash;
use super::hands::{Hands, left};
use super::hold;
use super::install;
use super::procs::{self, Process};
use super::trouble::Trouble;
use crate::Applied;
use crate::run::RunError;
use crate::unit::systemctl::{self, RELOAD_MAX, SHOW_MAX};
use crate::unit::{cgroup, dropin};
use regent_config::steps::{Kind, Listener, Step, Unit};
use regent_core::stack::StepState;
use regent_core::time::Span;
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::time::{Duration, Instant};

const CHANGE_MAX: Duration = Duration::from_secs(30);
/// After SIGKILL: the kernel has to give the memory back.
const KILL_MAX: Span = Span::millis(5_000);
const LOOK_EVERY: Duration = Duration::from_millis(100);
const PROPERTIES: &str = "Id,Names,LoadState,ActiveState,SubState,UnitFileState,FragmentPath,ControlGroup,Result,\
                          ConditionResult";

/// What systemd says of one unit.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Shown {
    id: String,
    names: Vec<String>,
    load: String,
    active: String,
    sub: String,
    file: String,
    fragment: String,
    cgroup: String,
    result: String,
    condition: bool,
}

impl Shown {
    fn is_running(&self) -> bool {
        matches!(self.active.as_str(), "active" | "reloading" | "refreshing")
    }

    fn is_stopped(&self) -> bool {
        matches!(self.active.as_str(), "inactive" | "failed")
    }

    fn exists(&self) -> bool {
        self.load != "not-found"
    }

    /// A boot would start it. Of a unit that is made from a script of SysV, the links to the script say so.
    fn is_enabled(&self) -> bool {
        match self.file.as_str() {
            "enabled" => true,
            "generated" | "bad" | "" => has_script_links(&self.id),
            _ => false,
        }
    }
}

fn has_script_links(unit: &str) -> bool {
    let Some(script) = unit.strip_suffix(".service") else { return false };
    if !Path::new("/etc/init.d").join(script).exists() {
        return false;
    }
    (2..=5).any(|level| {
        let entries =
            std::fs::read_dir(format!("/etc/rc{level}.d")).into_iter().flatten().flatten();
        entries.into_iter().any(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            name.strip_prefix('S').is_some_and(|rest| rest.get(2..) == Some(script))
        })
    })
}

/// All names that belong to a unit's step. PostgreSQL's own unit is a wrapper on Debian: its instances do the work.
fn family(unit: &Unit) -> Vec<String> {
    let mut all = vec![unit.unit.clone()];
    all.extend(unit.also.iter().cloned());
    if unit.unit == "postgresql.service" {
        all.push("postgresql@*.service".into());
    }
    all
}

/// Asks systemd of all these at once.
pub(super) fn look(units: &[Unit]) -> Result<Vec<Shown>, Trouble> {
    let names: Vec<String> = units.iter().flat_map(Unit::all).flat_map(family).collect();
    show(&names)
}

fn show(names: &[String]) -> Result<Vec<Shown>, Trouble> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let text = systemctl::show(PROPERTIES, &names, SHOW_MAX)
        .map_err(|error| Trouble::new(format!("ask systemd: {error}")))?;
    Ok(parse(&text))
}

fn parse(text: &str) -> Vec<Shown> {
    let mut all = Vec::new();
    for block in text.split("\n\n").filter(|block| !block.trim().is_empty()) {
        let mut one = Shown::default();
        for (key, value) in block.lines().filter_map(|line| line.split_once('=')) {
            let value = value.to_owned();
            match key {
                "Id" => one.id = value,
                "Names" => one.names = value.split(' ').map(str::to_owned).collect(),
                "LoadState" => one.load = value,
                "ActiveState" => one.active = value,
                "SubState" => one.sub = value,
                "UnitFileState" => one.file = value,
                "FragmentPath" => one.fragment = value,
                "ControlGroup" => one.cgroup = value,
                "Result" => one.result = value,
                "ConditionResult" => one.condition = value == "yes",
                _ => {}
            }
        }
        all.push(one);
    }
    all
}

/// Those of a unit's step: the unit itself first, if systemd knows it.
fn of<'a>(all: &'a [Shown], unit: &Unit) -> (Option<&'a Shown>, Vec<&'a Shown>) {
    let named = |shown: &Shown, name: &str| match name.split_once('*') {
        Some((before, after)) => shown.id.starts_with(before) && shown.id.ends_with(after),
        None => shown.id == name || shown.names.iter().any(|n| n == name),
    };
    let main = all.iter().find(|shown| named(shown, &unit.unit));
    let others = family(unit);
    let others: Vec<&Shown> = all
        .iter()
        .filter(|shown| Some(&shown.id) != main.map(|main| &main.id))
        .filter(|shown| others[1..].iter().any(|name| named(shown, name)))
        .collect();
    (main, others)
}

fn ports(listeners: &[Listener]) -> Vec<procs::Port> {
    listeners.iter().map(|listener| (listener.tcp, listener.port)).collect()
}

/// Those that run, of the units that can do the work.
pub(super) fn running<'u>(shown: &[Shown], unit: &'u Unit) -> Vec<&'u Unit> {
    unit.all().filter(|one| of(shown, one).0.is_some_and(Shown::is_running)).collect()
}

/// The processes of a step's units: of their cgroups and of their names.
pub(super) fn processes(shown: &[Shown], unit: &Unit) -> Vec<i32> {
    unit.all().flat_map(|one| processes_of(shown, one)).collect()
}

fn processes_of(shown: &[Shown], unit: &Unit) -> Vec<i32> {
    let (main, others) = of(shown, unit);
    let groups = cgroups(main, &others);
    let inside = groups.iter().flat_map(|group| cgroup::inhabitants(group).unwrap_or_default());
    let named = procs::of_names(&unit.processes).into_iter().map(|process| process.pid);
    inside.map(|pid| pid.as_raw_nonzero().get()).chain(named).collect()
}

/// Everything of a step that is still there, in words; empty if it is down.
fn remains(
    main: Option<&Shown>,
    others: &[&Shown],
    unit: &Unit,
    cgroups: &[String],
) -> Vec<String> {
    let mut there = Vec::new();
    for shown in main.iter().chain(others).filter(|shown| !shown.is_stopped()) {
        there.push(format!("{} is {} ({})", shown.id, shown.active, shown.sub));
    }
    let mut processes = procs::of_names(&unit.processes);
    for group in cgroups {
        for pid in cgroup::inhabitants(group).unwrap_or_default() {
            let pid = pid.as_raw_nonzero().get();
            if !processes.iter().any(|process| process.pid == pid) {
                let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                let holds = format!("runs in {group}");
                processes.push(Process { pid, comm: comm.trim().to_owned(), holds });
            }
        }
    }
    if !processes.is_empty() {
        there.push(procs::named(&processes));
    }
    for listening in procs::listeners(&ports(&unit.listeners)).into_values() {
        there.push(procs::named(&listening));
    }
    there
}

fn cgroups(main: Option<&Shown>, others: &[&Shown]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for shown in main.iter().chain(others) {
        let usual = cgroup::usual(&shown.id).ok().flatten();
        for group in [Some(shown.cgroup.clone()), usual].into_iter().flatten() {
            // The root's would be everybody.
            if group.len() > 1 && shown.id.ends_with(".service") && !all.contains(&group) {
                all.push(group);
            }
        }
    }
    all
}

pub(super) fn state(shown: &Result<Vec<Shown>, Trouble>, unit: &Unit) -> StepState {
    let all = match shown {
        Ok(all) => all,
        Err(trouble) => return StepState::Unknown(trouble.to_string()),
    };
    if !running(all, unit).is_empty() {
        return StepState::Up;
    }
    let mut there = Vec::new();
    for one in unit.all() {
        let (main, others) = of(all, one);
        there.extend(remains(main, &others, one, &cgroups(main, &others)));
    }
    if there.is_empty() { StepState::Down } else { StepState::Partly(there.join(", ")) }
}

/// No unit that can do the work is on this node.
pub(super) fn is_missing(shown: &[Shown], unit: &Unit) -> bool {
    unit.all().all(|one| is_one_missing(shown, one))
}

/// This one is not.
pub(super) fn is_one_missing(shown: &[Shown], unit: &Unit) -> bool {
    !of(shown, unit).0.is_some_and(Shown::exists)
}

/// A boot would start it.
pub(super) fn is_one_enabled(shown: &[Shown], unit: &Unit) -> bool {
    of(shown, unit).0.is_some_and(Shown::is_enabled)
}

/// What of a unit a passive node should not have.
pub(super) fn drift(hands: &Hands, shown: &[Shown], unit: &Unit) -> Vec<String> {
    unit.all().flat_map(|one| drift_of(hands, shown, one)).collect()
}

fn drift_of(hands: &Hands, shown: &[Shown], unit: &Unit) -> Vec<String> {
    let (main, others) = of(shown, unit);
    let mut words = Vec::new();
    for shown in main.iter().chain(&others).filter(|shown| shown.exists()) {
        if shown.is_enabled() {
            words.push(format!("{} is enabled: a boot would start it", shown.id));
        }
        if !is_guarded(hands, &shown.id) {
            words.push(format!("{} has no guard: whoever starts it can", shown.id));
        }
    }
    words
}

fn is_guarded(hands: &Hands, unit: &str) -> bool {
    dropin::is_guarded(&hands.places.systemd(), unit, &claim::permit(&hands.settings.run_dir))
}

/// A passive unit that is down may still be enabled, or without its guard.
pub(super) fn has_work(hands: &Hands, step: &Step) -> bool {
    match &step.kind {
        Kind::Unit(unit) => match look(std::slice::from_ref(unit)) {
            Ok(shown) => !drift(hands, &shown, unit).is_empty(),
            Err(_) => true,
        },
        Kind::Mount { .. }
        | Kind::HostName(_)
        | Kind::Link { .. }
        | Kind::Resolver(_)
        | Kind::Carry { .. }
        | Kind::Install { .. }
        | Kind::Database(_) => false,
    }
}

/// A change by systemd, before and after which the host may lose power.
fn systemctl(words: &[&str], bound: Duration) -> Result<String, RunError> {
    crash::point();
    let done = systemctl::systemctl(words, bound);
    crash::point();
    done
}

fn said(error: RunError) -> Trouble {
    Trouble::new(error.to_string())
}

/// No boot starts the units, and without the permit nobody does. What was so before is recorded.
pub(super) fn guard_and_disable(hands: &mut Hands, unit: &Unit) -> Result<(), Trouble> {
    unit.all().try_for_each(|one| guard_and_disable_one(hands, one))
}

fn guard_and_disable_one(hands: &mut Hands, unit: &Unit) -> Result<(), Trouble> {
    let permit = claim::permit(&hands.settings.run_dir);
    let shown = look(std::slice::from_ref(unit))?;
    let mut applied = Applied::AlreadySo;
    let (main, others) = of(&shown, unit);
    // The unit's own guard also before its package is there: installing it starts nothing.
    let known = others.iter().filter(|shown| shown.exists()).map(|shown| shown.id.clone());
    let main_id = main.map_or_else(|| unit.unit.clone(), |main| main.id.clone());
    let plain = unit.also.iter().filter(|name| !name.contains('*')).cloned();
    for name in [main_id, unit.unit.clone()].into_iter().chain(plain).chain(known) {
        let one = dropin::guard(&hands.places.systemd(), &name, &permit);
        applied = applied.and(one.map_err(|error| Trouble::new(error.to_string()))?);
    }
    let enabled: Vec<String> = main
        .into_iter()
        .chain(others)
        .filter(|shown| shown.is_enabled())
        .map(|shown| shown.id.clone())
        .collect();
    if !enabled.is_empty() {
        hands.record.change(|before| {
            for name in &enabled {
                before.units.entry(name.clone()).or_default().enabled = true;
            }
        })?;
        let mut words = vec!["disable", "--"];
        words.extend(enabled.iter().map(String::as_str));
        systemctl(&words, CHANGE_MAX).map_err(said)?;
    } else if applied == Applied::Changed {
        systemctl(&["daemon-reload"], RELOAD_MAX).map_err(said)?;
    }
    Ok(())
}

pub(super) fn up(
    hands: &mut Hands,
    step: &Step,
    unit: &Unit,
    deadline: Instant,
) -> Result<(), Trouble> {
    let shown = look(std::slice::from_ref(unit))?;
    if is_missing(&shown, unit) {
        return Err(Trouble::new(no_unit(unit)));
    }
    guard_and_disable(hands, unit)?;
    if unit.instead.is_empty() {
        return up_one(hands, step, unit, &shown, deadline);
    }
    let choice = choice::choose(hands, &shown, &step.name, unit);
    choice::start(hands, &step.name, &choice)?;
    up_one(hands, step, choice.unit, &shown, deadline)?;
    // The product's own command may have enabled it, as on a host without another.
    let shown = look(std::slice::from_ref(choice.unit))?;
    if is_one_enabled(&shown, choice.unit) {
        guard_and_disable_one(hands, choice.unit)?;
        enable_until_reboot(hands, choice.unit)?;
    }
    Ok(())
}

/// Why nothing can be started.
pub(super) fn no_unit(unit: &Unit) -> String {
    let names: Vec<&str> = unit.all().map(|one| one.unit.as_str()).collect();
    format!(
        "there is no unit {} on this node: install its package, or correct the unit's name",
        names.join(" or ")
    )
}

fn up_one(
    hands: &mut Hands,
    step: &Step,
    unit: &Unit,
    shown: &[Shown],
    deadline: Instant,
) -> Result<(), Trouble> {
    let Some(main) = of(shown, unit).0 else { return Err(Trouble::new(no_unit(unit))) };
    if main.load == "masked" || main.file.starts_with("masked") {
        hands.record.change(|before| {
            before.units.insert(unit.unit.clone(), UnitBefore { masked: true, enabled: false });
        })?;
        systemctl(&["unmask", "--", &unit.unit], CHANGE_MAX).map_err(said)?;
    }
    let ran = main.is_running();
    if !ran {
        install::commands(hands, &unit.before, deadline)?;
    }
    // Somebody else may have started it: what follows a start is due all the same, but once.
    if ran && hands.record.is_up(&step.name) {
        return wait_for_listeners(unit, deadline);
    }
    hold::during(hands, unit, |hands| {
        if !ran {
            start(unit, deadline)?;
        }
        wait_for_listeners(unit, deadline)?;
        install::commands(hands, &unit.after, deadline)
    })?;
    enable_until_reboot(hands, unit)
}

/// A package that is upgraded stops its service, and starts it afterwards only if it is enabled: on the active node it
/// is, until the next boot. What is made from a script of SysV would be enabled for good.
pub(super) fn enable_until_reboot(hands: &Hands, unit: &Unit) -> Result<(), Trouble> {
    let shown = look(std::slice::from_ref(unit))?;
    let is_disabled = of(&shown, unit).0.is_some_and(|main| main.file == "disabled");
    // The manager need not read its units again for it.
    let words = ["enable", "--runtime", "--no-reload", "--quiet", "--", &unit.unit];
    match if is_disabled { systemctl(&words, CHANGE_MAX) } else { Ok(String::new()) } {
        Ok(_) => Ok(()),
        Err(error) => hands.note(&format!(
            "an upgrade of its package will not start {} again: {error}",
            unit.unit
        )),
    }
}

fn start(unit: &Unit, deadline: Instant) -> Result<(), Trouble> {
    // A unit that failed too often is not started again otherwise; and how those beside it ended earlier is no matter.
    let family = family(unit);
    let words = ["reset-failed", "--"].into_iter().chain(family.iter().map(String::as_str));
    let _ = systemctl(&words.collect::<Vec<_>>(), SHOW_MAX);
    let started = systemctl(&["start", "--", &unit.unit], left(deadline));
    let shown = look(std::slice::from_ref(unit))?;
    let (main, others) = of(&shown, unit);
    let name = &unit.unit;
    let Some(main) = main else { return Err(Trouble::new(format!("there is no unit {name}"))) };
    let failed = others.iter().find(|other| other.active == "failed");
    if main.is_running() && failed.is_none() {
        return Ok(());
    }
    if let Some(failed) = failed {
        let id = &failed.id;
        return Err(Trouble::new(format!("{id} failed ({}); journalctl -u {id}", failed.result)));
    }
    match started {
        Err(RunError::TooLong { bound, .. }) => Err(Trouble::new(format!(
            "{name} is {} after {} s; journalctl -u {name}",
            main.active,
            bound.as_secs()
        ))),
        Err(error) => Err(Trouble::new(format!("{error}; journalctl -u {name}"))),
        Ok(_) if !main.condition => Err(Trouble::new(format!(
            "{name} was not started: a start condition of it does not hold (systemctl status {name})"
        ))),
        Ok(_) => Err(Trouble::new(format!(
            "{name} is {} ({}) after its start; journalctl -u {name}",
            main.active, main.result
        ))),
    }
}

/// One of them is enough: which of its ports a program uses is its own configuration, and whether it serves there is
/// for probes.
fn wait_for_listeners(unit: &Unit, deadline: Instant) -> Result<(), Trouble> {
    let wanted = ports(&unit.listeners);
    while !wanted.is_empty() && procs::listeners(&wanted).is_empty() {
        if Instant::now() >= deadline {
            let words: Vec<String> = wanted.into_iter().map(procs::worded).collect();
            return Err(Trouble::new(format!(
                "{} runs, and nobody listens on {}; journalctl -u {}",
                unit.unit,
                words.join(" or "),
                unit.unit
            )));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// Also of one that was down already. What is generated for each boot comes back by itself, and has its guard.
pub(super) fn disable_until_reboot(unit: &Unit) {
    unit.all().for_each(disable_one_until_reboot);
}

fn disable_one_until_reboot(unit: &Unit) {
    let entries = std::fs::read_dir("/run/systemd/system").into_iter().flatten().flatten();
    let mut wants = entries.map(|entry| entry.path()).filter(|path| path.is_dir());
    if wants.any(|directory| directory.join(&unit.unit).is_symlink()) {
        let words = ["disable", "--runtime", "--no-reload", "--quiet", "--", &unit.unit];
        // It has its guard all the same, and the next boot forgets it.
        let _ = systemctl(&words, CHANGE_MAX);
    }
}

pub(super) fn down(
    hands: &mut Hands,
    step: &Step,
    unit: &Unit,
    deadline: Instant,
) -> Result<(), Trouble> {
    if unit.instead.is_empty() {
        return down_one(hands, unit, deadline);
    }
    choice::adopt_one(hands, step, unit)?;
    // What cannot be told shall not keep the others up.
    let done: Vec<_> = unit.all().map(|one| down_one(hands, one, deadline)).collect();
    done.into_iter().collect::<Result<(), Trouble>>()?;
    choice::forget(&hands.settings, &step.name)
}

fn down_one(hands: &mut Hands, unit: &Unit, deadline: Instant) -> Result<(), Trouble> {
    let shown = look(std::slice::from_ref(unit))?;
    let (main, others) = of(&shown, unit);
    // As it is before the stop: afterwards systemd does not say where processes were.
    let groups = cgroups(main, &others);
    let running: Vec<&str> = main
        .iter()
        .chain(&others)
        .filter(|shown| shown.exists() && !shown.is_stopped())
        .map(|shown| shown.id.as_str())
        .collect();
    if !running.is_empty() {
        let mut words = vec!["stop", "--"];
        words.extend(&running);
        // What became of it is looked at below.
        let _ = systemctl(&words, left(deadline));
    }
    guard_and_disable(hands, unit)?;
    disable_until_reboot(unit);
    let mut asked = false;
    let mut there = still_there(unit, &groups)?;
    while !there.is_empty() {
        if Instant::now() >= deadline {
            break;
        }
        if unit.kill && !asked {
            // What left its unit was not told to end.
            signal(unit, &groups, Signal::TERM);
            asked = true;
        }
        std::thread::sleep(LOOK_EVERY);
        there = still_there(unit, &groups)?;
    }
    if !there.is_empty() && unit.kill {
        hands.note(&format!("killed: {}", there.join(", ")))?;
        kill(unit, &groups)?;
        there = still_there(unit, &groups)?;
    }
    if !there.is_empty() {
        return Err(Trouble::new(format!(
            "{} does not end: {}; end it, then run this again",
            unit.unit,
            there.join(", ")
        )));
    }
    let masked = hands.record.get().units.get(&unit.unit).is_some_and(|before| before.masked);
    if masked {
        systemctl(&["mask", "--", &unit.unit], CHANGE_MAX).map_err(said)?;
        hands.record.change(|before| {
            before.units.remove(&unit.unit);
        })?;
    }
    Ok(())
}

fn still_there(unit: &Unit, groups: &[String]) -> Result<Vec<String>, Trouble> {
    let shown = look(std::slice::from_ref(unit))?;
    let (main, others) = of(&shown, unit);
    Ok(remains(main, &others, unit, groups))
}

fn signal(unit: &Unit, groups: &[String], signal: Signal) {
    let of_groups = groups.iter().flat_map(|group| cgroup::inhabitants(group).unwrap_or_default());
    let of_names =
        procs::of_names(&unit.processes).into_iter().filter_map(|p| Pid::from_raw(p.pid));
    for pid in of_groups.chain(of_names) {
        // It may have ended meanwhile; who is left is looked at afterwards.
        let _ = kill_process(pid, signal);
    }
}

fn kill(unit: &Unit, groups: &[String]) -> Result<(), Trouble> {
    crash::point();
    for group in groups {
        cgroup::kill(&unit.unit, group, KILL_MAX)
            .map_err(|error| Trouble::new(error.to_string()))?;
    }
    signal(unit, groups, Signal::KILL);
    let deadline = Instant::now() + Duration::from_nanos(KILL_MAX.0);
    // systemd tells some milliseconds after the kernel.
    while Instant::now() < deadline && !still_there(unit, groups)?.is_empty() {
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// What an activation would do, in words.
pub(super) fn plan_up(hands: &Hands, shown: &[Shown], service: &str, unit: &Unit) -> Vec<String> {
    let mut does: Vec<String> =
        unit.all().flat_map(|one| drift_in_words(hands, shown, one)).collect();
    let is_running = !running(shown, unit).is_empty();
    if !is_running {
        let unit = match unit.instead.is_empty() {
            true => unit,
            false => choice::choose(hands, shown, service, unit).unit,
        };
        does.extend(unit.before.iter().map(|run| run.argv.join(" ")));
        does.push(format!("systemctl start {}", unit.unit));
        does.extend(unit.after.iter().map(|run| run.argv.join(" ")));
    }
    does
}

fn drift_in_words(hands: &Hands, shown: &[Shown], unit: &Unit) -> Vec<String> {
    let (main, others) = of(shown, unit);
    let mut does = Vec::new();
    for shown in main.iter().chain(&others).filter(|shown| shown.exists()) {
        if !is_guarded(hands, &shown.id) {
            does.push(format!("{} gets a start condition: the permit", shown.id));
        }
        if shown.is_enabled() {
            does.push(format!("systemctl disable {}", shown.id));
        }
    }
    does
}

/// What a deactivation would do, in words.
pub(super) fn plan_down(hands: &Hands, shown: &[Shown], unit: &Unit) -> Vec<String> {
    unit.all().flat_map(|one| plan_one_down(hands, shown, one)).collect()
}

fn plan_one_down(hands: &Hands, shown: &[Shown], unit: &Unit) -> Vec<String> {
    let (main, others) = of(shown, unit);
    let mut does = Vec::new();
    for shown in main.iter().chain(&others).filter(|s| s.exists() && !s.is_stopped()) {
        does.push(format!("systemctl stop {}", shown.id));
    }
    does.extend(drift_in_words(hands, shown, unit));
    let looks = !unit.listeners.is_empty() || !unit.processes.is_empty();
    if looks && !does.is_empty() {
        let ports: Vec<String> = ports(&unit.listeners).into_iter().map(procs::worded).collect();
        does.push(format!(
            "wait until no process {} runs and nobody listens on {}",
            unit.processes.join(", "),
            ports.join(", ")
        ));
    }
    does
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemctl_shows_of_several_units_is_read() {
        let text = "Id=named.service\nNames=bind9.service named.service\nLoadState=loaded\nActiveState=active\n\
                    SubState=running\nUnitFileState=enabled\nControlGroup=/system.slice/named.service\n\
                    Result=success\nConditionResult=yes\n\nId=gone.service\nNames=gone.service\n\
                    LoadState=not-found\nActiveState=inactive\nUnitFileState=\n\n\
                    Id=postgresql@15-main.service\nLoadState=loaded\nActiveState=active\nSubState=running\n";
        let all = parse(text);
        assert_eq!(all.len(), 3);
        let unit = Unit {
            unit: "bind9.service".into(),
            also: vec!["postgresql@*.service".into()],
            ..Unit::default()
        };
        let (main, others) = of(&all, &unit);
        assert_eq!(main.map(|m| m.id.as_str()), Some("named.service"));
        assert_eq!(others.len(), 1);
        assert!(all[0].is_enabled() && all[0].is_running() && !all[1].exists());
        assert_eq!(state(&Ok(all.clone()), &unit), StepState::Up);
        assert!(is_missing(&all, &Unit { unit: "gone.service".into(), ..unit }));
    }
}
