//! The lab's tests. A case gets a cluster of its own that is in sync, with all clients at work;
//! whatever it does, no write may be lost and no two nodes may own the VIP in the time it took.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::cluster::Settings;
use crate::demo::stage_with;
use crate::fault::Watched;
use crate::run::{now_us, wait_for, wait_through};
use crate::{diagnose, say, sweep};

mod kit;

mod agent_kill;
mod agent_stop;
mod bmc;
mod clock_jump;
mod cluster_stop;
mod fence;
mod flapping;
mod foreign_restart;
mod gateway_down;
mod hang;
mod harness;
mod impaired;
mod init_refused;
mod keepalived;
mod maintenance;
mod moves;
mod no_quorum;
mod partition;
mod pause;
mod planned;
mod services;
mod status_bounded;
mod stranger;
mod vendor_bars;
mod witness_dead;
mod xcat_auto;
mod xcat_boot;
mod xcat_by_hand;
mod xcat_crash;
mod xcat_cut;
mod xcat_drift;
mod xcat_glusterfs;
mod xcat_isolated;
mod xcat_kit;
mod xcat_pair;
mod xcat_race;
mod xcat_refused;
mod xcat_second_host;
mod xcat_setup;
mod xcat_stand_in;
mod xcat_steps;

/// How long a case goes on watching after its last step.
const AFTERMATH: Duration = Duration::from_millis(1500);
/// No case takes longer, even when asked for its long form.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// One test.
#[derive(Debug)]
pub struct Case {
    /// For the command line.
    pub name: &'static str,
    /// What it shows, in one line.
    pub about: &'static str,
    run: Run,
}

#[derive(Debug)]
enum Run {
    /// On a cluster that is in sync and watched; loss and two owners are looked for afterwards.
    Watched(fn(&mut Watched) -> Result<()>),
    /// The same, with a configuration of its own.
    Configured(fn() -> Settings, fn(&mut Watched) -> Result<()>),
    /// Brings its own hosts.
    Alone(fn() -> Result<()>),
    /// Cannot be shown here, and why.
    Skipped(&'static str),
}

/// All of them.
pub const ALL: &[Case] = &[
    harness::CASE,
    bmc::CASE,
    moves::CASE,
    agent_kill::CASE,
    agent_stop::SHORT,
    agent_stop::LONG,
    hang::CASE,
    partition::BOTH_WAYS,
    partition::DEAF,
    partition::MUTE,
    services::CASE,
    services::KEEPALIVED,
    vendor_bars::CASE,
    foreign_restart::ALONE,
    foreign_restart::MAINTAINED,
    status_bounded::CASE,
    cluster_stop::CASE,
    stranger::CASE,
    init_refused::CASE,
    pause::CASE,
    maintenance::CASE,
    planned::CASE,
    gateway_down::CASE,
    flapping::CASE,
    flapping::GIVEN_UP,
    clock_jump::CASE,
    fence::SILENT,
    fence::ASKED,
    fence::BAD_DEVICE,
    impaired::BOTH_WAYS,
    impaired::ONE_WAY,
    witness_dead::CASE,
    no_quorum::CASE,
    keepalived::CASE,
    xcat_stand_in::CASE,
    xcat_setup::CASE,
    xcat_second_host::CASE,
    xcat_by_hand::POSTGRESQL,
    xcat_by_hand::MYSQL,
    xcat_by_hand::SQLITE,
    xcat_crash::BY_HAND_POSTGRESQL,
    xcat_crash::BY_HAND_MYSQL,
    xcat_crash::BY_HAND_SQLITE,
    xcat_crash::AUTOMATIC_POSTGRESQL,
    xcat_crash::AUTOMATIC_MYSQL,
    xcat_crash::AUTOMATIC_SQLITE,
    xcat_refused::ADDRESS,
    xcat_refused::DATABASE,
    xcat_race::CASE,
    xcat_boot::DRIFT,
    xcat_boot::STUBBORN,
    xcat_cut::WITNESS,
    xcat_cut::BY_HAND,
    xcat_glusterfs::CASE,
    xcat_steps::CASE,
    xcat_auto::POSTGRESQL,
    xcat_auto::MYSQL,
    xcat_auto::SQLITE,
    xcat_auto::NO_FENCE,
    xcat_pair::CASE,
    xcat_isolated::CASE,
    xcat_isolated::FENCED,
    xcat_drift::CASE,
];

/// Bars of milliseconds stand in these: they have the machine to themselves.
const EXACT: [&str; 5] = ["harness", "moves", "services", "services-keepalived", "vendor-bars"];

/// What others show too, with another database or by another way: run when they are named, or all are asked for.
const MORE: [&str; 11] = [
    "xcat-by-hand-sqlite",
    "xcat-crash-by-hand-postgresql",
    "xcat-crash-by-hand-mysql",
    "xcat-crash-automatic-postgresql",
    "xcat-crash-automatic-mysql",
    "xcat-crash-automatic-sqlite",
    "xcat-auto-mysql",
    "xcat-auto-sqlite",
    "xcat-refused-database",
    "xcat-cut-automatic",
    "xcat-pair",
];
/// Set to anything: these too.
const ALL_OF_THEM: &str = "REGENT_LAB_ALL";

/// Runs the named cases, or all of them, on fresh clusters, at most `jobs` side by side; true if
/// none failed. The last line counts them.
pub fn run(names: &[String], jobs: usize) -> Result<bool> {
    let is_chosen = |case: &&Case| names.is_empty() || names.iter().any(|name| name == case.name);
    let mut chosen: Vec<&Case> = ALL.iter().filter(is_chosen).collect();
    ensure!(
        chosen.len() == names.len().max(if names.is_empty() { ALL.len() } else { 0 }),
        "no case of that name; `lab case --list` shows them"
    );
    for swept in sweep::sweep()? {
        say::line(&format!("lab     removed what the run {swept} left behind"));
    }
    let mut count = Count::default();
    if names.is_empty() && std::env::var_os(ALL_OF_THEM).is_none() {
        chosen.retain(|case| !MORE.contains(&case.name));
        for name in MORE {
            let why = format!("others show it too, with another database; {ALL_OF_THEM}=1 runs it");
            count.take(Ended::Skipped(why), name);
        }
    }
    let (alone, beside): (Vec<&Case>, Vec<&Case>) =
        chosen.iter().partition(|case| jobs < 2 || EXACT.contains(&case.name));
    for case in alone {
        if !crate::run::is_interrupted() {
            count.take(here(case), case.name);
        }
    }
    let queue = Mutex::new((beside.into_iter(), &mut count));
    std::thread::scope(|threads| {
        for _ in 0..jobs {
            threads.spawn(|| {
                while let Some(case) = next(&queue) {
                    let ended = elsewhere(case);
                    lock(&queue).1.take(ended, case.name);
                }
            });
        }
    });
    count.skipped.iter().for_each(|what| say::plain(&format!("SKIPPED lab case {what}")));
    let (passed, failed) = (count.passed, count.failed);
    say::plain(&format!("lab: {passed} passed, {failed} failed, {} skipped", count.skipped.len()));
    Ok(failed == 0 && !crate::run::is_interrupted())
}

#[derive(Debug, Default)]
struct Count {
    passed: usize,
    failed: usize,
    skipped: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Ended {
    Passed,
    Failed,
    Skipped(String),
}

impl Count {
    fn take(&mut self, ended: Ended, name: &str) {
        match ended {
            Ended::Passed => self.passed += 1,
            Ended::Failed => self.failed += 1,
            Ended::Skipped(why) => self.skipped.push(format!("{name}: {why}")),
        }
    }
}

type Queue<'a> = Mutex<(std::vec::IntoIter<&'static Case>, &'a mut Count)>;

fn next(queue: &Queue<'_>) -> Option<&'static Case> {
    if crate::run::is_interrupted() { None } else { lock(queue).0.next() }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a case in this process.
fn here(case: &Case) -> Ended {
    say::line(&format!("case    {}: {}", case.name, case.about));
    if let Run::Skipped(why) = case.run {
        say::line(&format!("case    {}: SKIPPED: {why}", case.name));
        return Ended::Skipped(why.to_owned());
    }
    let from = now_us();
    let ended = one(case);
    let took = (now_us() - from) / 1_000_000;
    match ended {
        Ok(()) => {
            say::line(&format!("case    {}: passed in {took} s", case.name));
            Ended::Passed
        }
        Err(error) => {
            say::line(&format!("case    {}: FAILED in {took} s: {error:#}", case.name));
            Ended::Failed
        }
    }
}

/// Runs a case in a process of its own and prints what it said when it has ended, in one piece.
fn elsewhere(case: &Case) -> Ended {
    if let Run::Skipped(_) = case.run {
        return here(case);
    }
    say::line(&format!("case    {} begins", case.name));
    match child(case) {
        Ok((is_passed, said)) => {
            // Its count is part of ours.
            let lines: Vec<&str> = said.lines().filter(|line| !line.starts_with("lab: ")).collect();
            say::plain(&format!("---- {} ----\n{}", case.name, lines.join("\n")));
            if is_passed { Ended::Passed } else { Ended::Failed }
        }
        Err(error) => {
            say::line(&format!("case    {}: FAILED: {error:#}", case.name));
            Ended::Failed
        }
    }
}

fn child(case: &Case) -> Result<(bool, String)> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["case", case.name]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.process_group(0).spawn()?;
    let mut out = child.stdout.take().context("no stdout")?;
    let reader = std::thread::spawn(move || {
        let mut said = String::new();
        out.read_to_string(&mut said).map(|_| said)
    });
    let ended = wait_for(case.name, LONGEST, || Ok(child.try_wait()?));
    if ended.is_err() {
        // It removes its lab, which takes its time.
        let pid = Pid::from_child(&child);
        kill_process(pid, Signal::TERM).ok();
        wait_through("the end of a case", Duration::from_secs(60), || Ok(child.try_wait()?)).ok();
    }
    let said = reader.join().ok().and_then(Result::ok).unwrap_or_default();
    Ok((ended.with_context(|| said.clone())?.success(), said))
}

fn one(case: &Case) -> Result<()> {
    let (settings, steps) = match case.run {
        Run::Watched(steps) => (Settings::default(), steps),
        Run::Configured(settings, steps) => (settings(), steps),
        Run::Alone(run) => return run(),
        Run::Skipped(_) => return Ok(()),
    };
    let mut watched = Watched::start(stage_with(None, &settings)?)?;
    let result = observe(steps, &mut watched);
    if result.is_err() && !crate::run::is_interrupted() {
        diagnose::collect_tape(&watched.cluster.lab, &watched.recorder.tape());
        diagnose::collect(&watched.cluster.lab);
    }
    result
}

fn observe(steps: fn(&mut Watched) -> Result<()>, watched: &mut Watched) -> Result<()> {
    let from = now_us();
    steps(watched)?;
    watched.recorder.wait_steady(AFTERMATH, Duration::from_secs(20)).context("afterwards")?;
    let to = now_us();
    let figures = watched.recorder.tape().figures(from, to, crate::client::Attempt::Write);
    ensure!(figures.dual_ms == 0, "two owners for {} ms", figures.dual_ms);
    ensure!(figures.acknowledged > 0, "no write was acknowledged");
    watched.recorder.stop_clients();
    let lost = watched.lost_between(from, to)?;
    ensure!(lost == 0, "{lost} acknowledged writes lost");
    Ok(())
}
