//! The lab's tests. A case gets a cluster of its own that is in sync, with all clients at work;
//! whatever it does, no write may be lost and no two nodes may own the VIP in the time it took.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::cluster::{Product, Settings};
use crate::demo::stage_of;
use crate::fault::Watched;
use crate::run::{now_us, wait_for, wait_through};
use crate::{diagnose, say, sweep};

pub(crate) mod kit;

mod case;

mod agent_kill;
mod agent_stop;
mod bmc;
mod carrier;
mod clock_jump;
mod cluster_stop;
mod database_copies;
mod database_site;
mod fence;
mod flapping;
mod foreign_restart;
mod gateway_down;
mod hang;
mod harness;
mod host_stop;
mod impaired;
mod init_refused;
mod keepalived;
mod maintenance;
mod moves;
mod no_quorum;
mod own_address;
mod partition;
mod pause;
mod power_loss;
mod releases;
mod services;
mod soak;
mod state_full;
mod status_bounded;
mod stranger;
mod units_in_host;
mod vendor_bars;
mod witness_dead;
mod xcat_auto;
mod xcat_boot;
mod xcat_by_hand;
mod xcat_commands;
mod xcat_consoles;
mod xcat_crash;
mod xcat_cut;
mod xcat_data;
mod xcat_drift;
mod xcat_fresh;
mod xcat_glusterfs;
mod xcat_hang;
mod xcat_isolated;
mod xcat_kit;
mod xcat_pair;
mod xcat_race;
mod xcat_refused;
mod xcat_second_host;
mod xcat_setup;
mod xcat_stand_in;
mod xcat_steps;
mod xcat_word;

use case::Run;
pub use case::{Case, Scope, Tier};

/// How long a case goes on watching after its last step.
const AFTERMATH: Duration = Duration::from_millis(1500);
/// No case takes longer, even when asked for its long form.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// All of them.
pub const ALL: &[Case] = &[
    harness::CASE,
    units_in_host::CASE,
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
    services::KEEPALIVED_ALL,
    vendor_bars::CASE,
    foreign_restart::ALONE,
    foreign_restart::MAINTAINED,
    status_bounded::CASE,
    cluster_stop::CASE,
    host_stop::CASE,
    power_loss::CASE,
    power_loss::LONG,
    database_copies::CASE,
    database_site::CASE,
    soak::CASE,
    stranger::CASE,
    own_address::CASE,
    state_full::CASE,
    carrier::CASE,
    init_refused::CASE,
    pause::CASE,
    maintenance::CASE,
    gateway_down::CASE,
    flapping::CASE,
    flapping::GIVEN_UP,
    clock_jump::CASE,
    fence::SILENT,
    fence::ASKED,
    fence::BAD_DEVICE,
    impaired::BOTH_WAYS,
    impaired::ONE_WAY,
    impaired::AROUND_ACTIVE,
    witness_dead::CASE,
    no_quorum::CASE,
    keepalived::CASE,
    releases::CASE,
    xcat_stand_in::CASE,
    xcat_setup::CASE,
    xcat_setup::POSTGRESQL,
    xcat_setup::MYSQL,
    xcat_second_host::CASE,
    xcat_second_host::POSTGRESQL,
    xcat_second_host::MYSQL,
    xcat_by_hand::POSTGRESQL,
    xcat_by_hand::MYSQL,
    xcat_by_hand::SQLITE,
    xcat_consoles::CASE,
    xcat_commands::CASE,
    xcat_commands::MYSQL,
    xcat_fresh::CASE,
    xcat_fresh::MYSQL,
    xcat_hang::CASE,
    xcat_hang::MYSQL,
    xcat_data::HANGS,
    xcat_data::FAILS,
    xcat_data::THAWS,
    xcat_data::BY_HAND,
    xcat_crash::BY_HAND_MYSQL,
    xcat_crash::BY_HAND_SQLITE,
    xcat_refused::ADDRESS,
    xcat_refused::DATABASE,
    xcat_race::CASE,
    xcat_race::WHOLE,
    xcat_boot::DRIFT,
    xcat_boot::STUBBORN,
    xcat_cut::BY_HAND,
    xcat_glusterfs::CASE,
    xcat_steps::CASE,
    xcat_steps::WHOLE,
    xcat_auto::POSTGRESQL,
    xcat_auto::MYSQL,
    xcat_auto::SQLITE,
    xcat_auto::NO_FENCE,
    xcat_pair::CASE,
    xcat_pair::MYSQL,
    xcat_word::CASE,
    xcat_isolated::CASE,
    xcat_isolated::MYSQL,
    xcat_isolated::FENCED,
    xcat_drift::CASE,
];

/// Bars of milliseconds stand in these: they have the machine to themselves.
const EXACT: [&str; 6] = [
    "harness",
    "moves",
    "services",
    "services-keepalived",
    "services-keepalived-all",
    "vendor-bars",
];

/// After so many cases that failed at every try the product is broken, and no case gets another try.
const BROKEN: usize = 3;

/// What to run, and how.
#[derive(Debug, clap::Args)]
pub struct Choice {
    /// Their names, whatever their tier; those of the tier if none is given
    pub names: Vec<String>,
    /// Which cases run when none is named
    #[arg(long, value_enum, default_value = "default")]
    pub tier: Scope,
    /// How many side by side; those with bars of milliseconds run alone all the same
    #[arg(long, default_value_t = 1)]
    pub jobs: usize,
    /// How often a case may be tried; one that passes only at a later try is listed as FLAKY
    #[arg(long, default_value_t = 1)]
    pub tries: usize,
}

impl Choice {
    /// The cases that are asked for, in the order in which they are listed.
    pub fn cases(&self) -> Result<Vec<&'static Case>> {
        let is_named = |case: &Case| self.names.iter().any(|name| name == case.name);
        let is_chosen = |case: &&Case| match self.names.as_slice() {
            [] => case.tier.is_in(self.tier),
            [_, ..] => is_named(case),
        };
        let chosen: Vec<&Case> = ALL.iter().filter(is_chosen).collect();
        let unknown = self.names.iter().find(|name| ALL.iter().all(|case| case.name != **name));
        ensure!(unknown.is_none(), "no case {unknown:?}; `lab case --list` shows them");
        Ok(chosen)
    }
}

/// Runs cases on fresh clusters; true if none failed. The last lines name those that passed only at a later try, and
/// count.
pub fn run(choice: &Choice) -> Result<bool> {
    let mut chosen = Vec::new();
    for case in choice.cases()? {
        match case.obstacle()? {
            Some(why) => say::plain(&format!("SKIPPED lab case {}: {why}", case.name)),
            None => chosen.push(case),
        }
    }
    for swept in sweep::sweep()? {
        say::line(&format!("lab     removed what the run {swept} left behind"));
    }
    let mut count = Count::default();
    let (alone, beside): (Vec<&Case>, Vec<&Case>) =
        chosen.iter().partition(|case| choice.jobs < 2 || EXACT.contains(&case.name));
    for case in alone {
        if !crate::run::is_interrupted() {
            let tries = count.tries(choice.tries);
            count.take(tried(case, tries, here), case.name);
        }
    }
    let queue = Mutex::new((beside.into_iter(), &mut count));
    std::thread::scope(|threads| {
        for _ in 0..choice.jobs {
            threads.spawn(|| {
                while let Some(case) = next(&queue) {
                    let tries = lock(&queue).1.tries(choice.tries);
                    let ended = tried(case, tries, elsewhere);
                    lock(&queue).1.take(ended, case.name);
                }
            });
        }
    });
    count.flaky.iter().for_each(|what| say::plain(&format!("FLAKY lab case {what}")));
    let (passed, failed) = (count.passed, count.failed);
    say::plain(&format!("lab: {passed} passed, {failed} failed"));
    Ok(failed == 0 && !crate::run::is_interrupted())
}

/// Runs a case until it passes, at most so often.
fn tried(case: &Case, tries: usize, once: fn(&Case) -> Ended) -> Ended {
    let mut earlier: Option<String> = None;
    for left in (0..tries.max(1)).rev() {
        let ended = once(case);
        match ended {
            Ended::Failed(why) if left > 0 && !crate::run::is_interrupted() => {
                say::line(&format!("case    {} is tried once more", case.name));
                earlier.get_or_insert(why);
            }
            Ended::Passed => return earlier.map_or(Ended::Passed, Ended::Flaky),
            Ended::Failed(_) | Ended::Flaky(_) => return ended,
        }
    }
    Ended::Failed(earlier.unwrap_or_default())
}

#[derive(Debug, Default)]
struct Count {
    passed: usize,
    failed: usize,
    flaky: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Ended {
    Passed,
    /// Why.
    Failed(String),
    /// Passed, but not at the first try, and why not.
    Flaky(String),
}

impl Count {
    /// How often the next case may be tried, of so many.
    fn tries(&self, most: usize) -> usize {
        if self.failed < BROKEN { most } else { 1 }
    }

    fn take(&mut self, ended: Ended, name: &str) {
        match ended {
            Ended::Passed => self.passed += 1,
            Ended::Failed(_) => self.failed += 1,
            Ended::Flaky(why) => {
                self.passed += 1;
                let why = why.lines().next().unwrap_or_default();
                self.flaky.push(format!("{name}: {why}"));
            }
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

/// How the line of a failed case says so, for whoever runs it in a process of its own.
const FAILED: &str = "FAILED";

/// Runs a case in this process.
fn here(case: &Case) -> Ended {
    say::line(&format!("case    {}: {}", case.name, case.about));
    let from = now_us();
    let ended = one(case);
    let took = (now_us() - from) / 1_000_000;
    match ended {
        Ok(()) => {
            say::line(&format!("case    {}: passed in {took} s", case.name));
            Ended::Passed
        }
        Err(error) => {
            say::line(&format!("case    {}: {FAILED} in {took} s: {error:#}", case.name));
            Ended::Failed(format!("{error:#}"))
        }
    }
}

/// Runs a case in a process of its own and prints what it said when it has ended, in one piece.
fn elsewhere(case: &Case) -> Ended {
    say::line(&format!("case    {} begins", case.name));
    match child(case) {
        Ok((is_passed, said)) => {
            // Its count is part of ours.
            let lines: Vec<&str> = said.lines().filter(|line| !line.starts_with("lab: ")).collect();
            say::plain(&format!("---- {} ----\n{}", case.name, lines.join("\n")));
            let why =
                lines.iter().find_map(|line| line.split_once(FAILED)).map(|(_, why)| why.trim());
            if is_passed {
                Ended::Passed
            } else {
                Ended::Failed(why.unwrap_or_default().to_owned())
            }
        }
        Err(error) => {
            say::line(&format!("case    {}: {FAILED}: {error:#}", case.name));
            Ended::Failed(format!("{error:#}"))
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
    let this = Product::beside()?;
    let (product, settings, steps) = match case.run {
        Run::Watched(steps) => (this, Settings::default(), steps),
        Run::Configured(settings, steps) => (this, settings(), steps),
        Run::Older(steps) => (Product::older()?, Settings::default(), steps),
        Run::Alone(run) | Run::Passages(run) => return run(),
    };
    let mut watched = Watched::start(stage_of(&product, None, &settings)?)?;
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
    let figures = watched.recorder.tape().figures(from, to, crate::seen::Attempt::Write);
    ensure!(figures.dual_ms == 0, "two owners for {} ms", figures.dual_ms);
    ensure!(figures.acknowledged > 0, "no write was acknowledged");
    watched.recorder.stop_clients();
    let lost = watched.lost_between(from, to)?;
    ensure!(lost == 0, "{lost} acknowledged writes lost");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENTS: [&str; 3] = ["zsha2.md", "xcat.md", "database.md"];
    /// What stands behind the name of a case that runs only when all cases run.
    const ALL_ONLY: &str = " (all)";

    fn names(tier: Scope) -> Vec<&'static str> {
        let choice = Choice { names: Vec::new(), tier, jobs: 1, tries: 1 };
        choice.cases().unwrap().iter().map(|case| case.name).collect()
    }

    #[test]
    fn each_case_has_a_name_of_its_own_and_runs_when_all_run_itself_or_by_its_whole() {
        let mut every: Vec<&str> = ALL.iter().map(|case| case.name).collect();
        every.sort_unstable();
        every.dedup();
        assert_eq!(every.len(), ALL.len());
        let (default, all) = (names(Scope::Default), names(Scope::All));
        for case in ALL {
            let (by_default, by_all) = match case.tier {
                Tier::Default => (true, case.name),
                Tier::Part { of } => (true, of),
                Tier::All => (false, case.name),
            };
            assert_eq!(default.contains(&case.name), by_default, "{}", case.name);
            assert!(all.contains(&by_all), "{}", case.name);
        }
        assert!(EXACT.iter().all(|name| every.contains(name)));
    }

    #[test]
    fn a_case_runs_by_its_name_whatever_its_tier_and_an_unknown_name_runs_nothing() {
        let named = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            Choice { names, tier: Scope::Default, jobs: 1, tries: 1 }.cases()
        };
        let found = named(&["xcat-race-200", "moves"]).unwrap();
        assert_eq!(
            found.iter().map(|case| case.name).collect::<Vec<_>>(),
            ["moves", "xcat-race-200"]
        );
        assert!(named(&["moves", "no-such-case"]).is_err());
    }

    #[test]
    fn what_passes_only_at_a_later_try_is_flaky_by_the_first_reason() {
        static TRIES: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        fn second(_: &Case) -> Ended {
            match TRIES.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                0 => Ended::Failed("why".into()),
                _ => Ended::Passed,
            }
        }
        let never = |_: &Case| Ended::Failed("always".into());
        assert_eq!(tried(&harness::CASE, 2, second), Ended::Flaky("why".into()));
        assert_eq!(tried(&harness::CASE, 2, never), Ended::Failed("always".into()));
        let mut count = Count::default();
        assert_eq!(count.tries(2), 2);
        (0..BROKEN).for_each(|_| count.take(Ended::Failed("x".into()), "one"));
        count.take(Ended::Flaky("first\nsecond".into()), "other");
        assert_eq!((count.tries(2), count.passed, count.failed), (1, 1, BROKEN));
        assert_eq!(count.flaky, ["other: first"]);
    }

    /// Who reads what is shown shall know when it is shown.
    #[test]
    fn the_acceptance_tables_name_each_case_with_its_tier() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/acceptance/");
        let mut wrong = Vec::new();
        let mut named = 0;
        for document in DOCUMENTS {
            let text = std::fs::read_to_string(format!("{folder}{document}")).unwrap();
            for (at, _) in text.match_indices('`') {
                let Some((span, rest)) = text[at + 1..].split_once('`') else { continue };
                let those = called(span);
                // A name behind "lab" that is none shows nothing.
                if those.is_empty() && text[..at].ends_with("lab ") {
                    wrong.push(format!("{document}: there is no case {span}"));
                } else if !those.is_empty() {
                    named += 1;
                    let is_by_default = those.iter().any(|case| case.tier != Tier::All);
                    if rest.starts_with(ALL_ONLY) == is_by_default {
                        wrong.push(format!("{document}: {span} has the wrong tier: {rest:.20}"));
                    }
                }
            }
        }
        assert_eq!(wrong, Vec::<String>::new());
        assert!(named > 80, "hardly a case is named: {named}");
    }

    /// The case of this name, or all that begin with what stands before a star.
    fn called(span: &str) -> Vec<&'static Case> {
        let is_called = |case: &&Case| match span.strip_suffix('*') {
            Some(start) => !start.is_empty() && case.name.starts_with(start),
            None => case.name == span,
        };
        ALL.iter().filter(is_called).collect()
    }
}
