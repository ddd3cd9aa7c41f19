//! `sim sweep --seeds N [--from S] [--threads T] [--shared] [--plant NAME]`,
//! `sim repro SEED [--shared] [--detail] [--plant NAME]`, `sim run FILE... [--bless]`. Safe throughout and healed
//! at the end,
//! or a non-zero exit.

use regent_core::spec::Spec;
use regent_sim::agent::core;
use regent_sim::log::Log;
use regent_sim::run::{Sweep, run_seed, sweep};
use regent_sim::scenario::run_file;
use regent_sim::shared::shared_spec;
use regent_sim::world::default_spec;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// More failures than this tell nothing new.
const FAILURES_MAX: usize = 200;
/// One seed in so many is run twice and compared.
const TWICE: u64 = 97;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match act(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!(
                "sim: {why}\nusage: sim sweep --seeds N [--from S] [--threads T] [--shared] [--plant NAME]"
            );
            eprintln!(
                "       sim repro SEED [--shared] [--detail] [--plant NAME]\n       sim run FILE... [--bless]"
            );
            ExitCode::from(2)
        }
    }
}

fn act(args: &[String]) -> Result<bool, String> {
    let (verb, rest) = args.split_first().ok_or("what shall be done?")?;
    match verb.as_str() {
        "sweep" => many(rest),
        "repro" => one(rest),
        "run" => stories(rest),
        other => Err(format!("{other} is unknown")),
    }
}

fn many(args: &[String]) -> Result<bool, String> {
    let seeds = number(args, "--seeds")?.unwrap_or(100);
    let from = number(args, "--from")?.unwrap_or(1);
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let threads = number(args, "--threads")?.unwrap_or(cores);
    let plant = text(args, "--plant");
    let spec = spec_of(args)?;
    let start = Instant::now();
    let total = sweep(from, seeds, threads as usize, core, &spec, FAILURES_MAX);
    print_failures(&total, plant, is_shared(args));
    let same = (from..from + seeds).step_by(TWICE as usize).take(20).all(|seed| {
        let hash = || run_seed(seed, core, &spec, Log::quiet()).hash;
        hash() == hash()
    });
    if !same {
        println!("a seed that ran twice gave two different runs");
    }
    if is_shared(args) {
        println!(
            "{} seeds of the shared-data world from {from}, {} failed, in {:.1} s: {} events, \
             {} uses of the shared data, {} grants, {} s of virtual time, healed within {:.1} s",
            total.seeds,
            total.failures.len(),
            start.elapsed().as_secs_f64(),
            total.events,
            total.uses,
            total.epochs,
            total.length / 1_000_000_000,
            total.healed_in as f64 / 1e9,
        );
        return Ok(total.failures.is_empty() && same);
    }
    println!(
        "{} seeds from {from}, {} failed, {} blocked by row 2, in {:.1} s: {} events, \
         {} transactions, {} writes acknowledged, {} grants, {} s of virtual time, healed within {:.1} s",
        total.seeds,
        total.failures.len(),
        total.blocked,
        start.elapsed().as_secs_f64(),
        total.events,
        total.transactions,
        total.acknowledged,
        total.epochs,
        total.length / 1_000_000_000,
        total.healed_in as f64 / 1e9,
    );
    Ok(total.failures.is_empty() && same)
}

/// One line per kind of failure, with the command that repeats its first seed.
fn print_failures(total: &Sweep, plant: Option<&str>, shared: bool) {
    let mut kinds: BTreeMap<&str, (usize, u64, &str)> = BTreeMap::new();
    for (seed, violation) in &total.failures {
        let kind = kinds.entry(violation.id).or_insert((0, *seed, &violation.text));
        kind.0 += 1;
    }
    let plant = plant.map_or(String::new(), |name| format!(" --plant {name}"));
    let shared = if shared { " --shared" } else { "" };
    for (id, (count, seed, text)) in kinds {
        println!("{id} in {count} seeds, first {seed}: {text}");
        println!("    cargo xtask sim repro {seed}{shared}{plant}");
    }
}

fn one(args: &[String]) -> Result<bool, String> {
    let seed = args.first().and_then(|seed| seed.parse().ok()).ok_or("which seed?")?;
    let spec = spec_of(args)?;
    let detail = args.iter().any(|arg| arg == "--detail");
    let outcome = run_seed(seed, core, &spec, if detail { Log::detailed() } else { Log::story() });
    for line in &outcome.log.lines {
        println!("{line}");
    }
    println!(
        "seed {seed}, fingerprint {:016x}: {} events, {} writes acknowledged, {}",
        outcome.hash,
        outcome.events,
        outcome.acknowledged,
        match (&outcome.violation, outcome.blocked) {
            (Some(violation), _) => violation.to_string(),
            (None, true) => String::from("safe; blocked by row 2 of section 9"),
            (None, false) => String::from("safe, and healed"),
        }
    );
    Ok(outcome.violation.is_none())
}

fn stories(args: &[String]) -> Result<bool, String> {
    let bless = args.iter().any(|arg| arg == "--bless");
    let mut good = true;
    for path in args.iter().filter(|arg| *arg != "--bless") {
        for file in files(Path::new(path)).map_err(|error| format!("{path}: {error}"))? {
            match run_file(&file, bless) {
                Ok(()) => println!("{}: as told", file.display()),
                Err(failure) => {
                    good = false;
                    println!("{}: {failure}", file.display());
                }
            }
        }
    }
    Ok(good)
}

/// A file, or all stories below a folder, in order.
fn files(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(path)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    entries.sort();
    let mut found = Vec::new();
    for entry in entries {
        if entry.is_dir() {
            found.extend(files(&entry)?);
        } else if entry.extension().is_some_and(|extension| extension == "scn") {
            found.push(entry);
        }
    }
    Ok(found)
}

fn text<'a>(args: &'a [String], name: &str) -> Option<&'a str> {
    let place = args.iter().position(|arg| arg == name)?;
    args.get(place + 1).map(String::as_str)
}

fn number(args: &[String], name: &str) -> Result<Option<u64>, String> {
    let parse = |value: &str| value.parse().map_err(|_| format!("{name} needs a number"));
    text(args, name).map(parse).transpose()
}

fn is_shared(args: &[String]) -> bool {
    args.iter().any(|arg| arg == "--shared")
}

/// What every node's file says in this world, with a mistake if one is named.
fn spec_of(args: &[String]) -> Result<Spec, String> {
    let base = if is_shared(args) { shared_spec() } else { default_spec() };
    planted_spec(text(args, "--plant"), base)
}

#[cfg(feature = "planted")]
fn planted_spec(name: Option<&str>, base: Spec) -> Result<Spec, String> {
    let planted = name.map(|name| {
        let known = regent_sim::PLANTS.iter().find(|(known, _)| *known == name);
        known.map(|(_, planted)| *planted).ok_or(format!("no plant is called {name}"))
    });
    Ok(Spec { planted: planted.transpose()?, ..base })
}

#[cfg(not(feature = "planted"))]
fn planted_spec(name: Option<&str>, base: Spec) -> Result<Spec, String> {
    match name {
        None => Ok(base),
        Some(_) => {
            Err(String::from("plants need the feature: cargo run -p regent-sim --features planted"))
        }
    }
}
