//! `sim sweep --seeds N [--from S] [--threads T] [--state FILE] [--shared] [--plant NAME] [--with FAULT]...`,
//! `sim repro SEED [--shared] [--detail] [--plant NAME] [--with FAULT]...`, `sim run FILE... [--bless]`,
//! `sim steps [--shared] [--plant NAME] [--only MOVE HOST DEATH N]`. Safe throughout and healed at the end, or a
//! non-zero exit. A sweep with a state file goes on where an earlier one of the same seeds stopped.

use regent_core::spec::Spec;
use regent_sim::agent::core;
use regent_sim::ambush::{Ambush, DEATHS, Lost, MOVES, SHARED_MOVES, play, walk};
use regent_sim::fault::kind_of;
use regent_sim::host::{MEMBERS, NAMES};
use regent_sim::log::Log;
use regent_sim::run::{Swept, run_seed_with, sweep_with};
use regent_sim::scenario::run_file;
use regent_sim::shared::shared_spec;
use regent_sim::world::default_spec;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// After so many seeds a sweep says how far it is, and notes it.
const PORTION: u64 = 500;
/// One seed in so many is run twice and compared.
const TWICE: u64 = 97;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match act(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!(
                "sim: {why}\nusage: sim sweep --seeds N [--from S] [--threads T] [--state FILE] [--shared] \
                 [--plant NAME] [--with FAULT]..."
            );
            eprintln!(
                "       sim repro SEED [--shared] [--detail] [--plant NAME] [--with FAULT]...\n       sim run FILE... [--bless]\n       \
                 sim steps [--shared] [--plant NAME] [--only MOVE HOST DEATH N]"
            );
            ExitCode::from(2)
        }
    }
}

fn act(args: &[String]) -> Result<bool, String> {
    let (verb, rest) = args.split_first().ok_or("what shall be done?")?;
    const FLAGS: [&str; 10] = [
        "--seeds",
        "--from",
        "--threads",
        "--state",
        "--shared",
        "--plant",
        "--with",
        "--detail",
        "--bless",
        "--only",
    ];
    let unknown = rest.iter().find(|arg| arg.starts_with("--") && !FLAGS.contains(&arg.as_str()));
    if let Some(unknown) = unknown {
        return Err(format!("{unknown} is unknown"));
    }
    match verb.as_str() {
        "sweep" => many(rest),
        "repro" => one(rest),
        "steps" => steps(rest),
        "run" => stories(rest),
        other => Err(format!("{other} is unknown")),
    }
}

fn many(args: &[String]) -> Result<bool, String> {
    let seeds = number(args, "--seeds")?.unwrap_or(100);
    let from = number(args, "--from")?.unwrap_or(1);
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let threads = number(args, "--threads")?.unwrap_or(cores);
    let spec = spec_of(args)?;
    let (world, with) = (world_of(args), with_of(args)?);
    let state = text(args, "--state").map(Path::new);
    let mut swept = match state.filter(|path| path.exists()) {
        Some(path) => read_state(path, &world, from)?,
        None => Swept::new(from),
    };
    let end = from + seeds;
    let start = Instant::now();
    let (earlier, before) = (swept.seconds, swept.total.seeds);
    while swept.next < end {
        let portion = PORTION.min(end - swept.next);
        let part =
            sweep_with(swept.next, portion, threads as usize, core, &spec, &with, usize::MAX);
        for (seed, violation) in &part.failures {
            println!("{violation}\n    cargo xtask sim repro {seed}{world}");
        }
        swept.add(part, portion);
        let spent = start.elapsed().as_secs_f64();
        swept.seconds = earlier + spent;
        if let Some(path) = state {
            let file = format!("world{world}\n{}", swept.to_text());
            std::fs::write(path, file).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        let pace = (swept.total.seeds - before) as f64 / spent;
        let (done, failed) = (swept.total.seeds, swept.failures.len());
        eprintln!("{done} seeds, {failed} failed, {pace:.1} seeds/s; next is {}", swept.next);
    }
    let same = (from..end).step_by(TWICE as usize).take(20).all(|seed| {
        let hash = || run_seed_with(seed, core, &spec, &with, Log::quiet()).hash;
        hash() == hash()
    });
    if !same {
        println!("a seed that ran twice gave two different runs");
    }
    print_failures(&swept, &world);
    print_total(&swept, is_shared(args));
    Ok(swept.failures.is_empty() && same)
}

/// Every failing seed by its kind, and the command that repeats it.
fn print_failures(swept: &Swept, world: &str) {
    let mut kinds: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (seed, text) in &swept.failures {
        kinds.entry(text.split(':').next().unwrap_or_default()).or_default().push(*seed);
    }
    for (id, seeds) in kinds {
        println!("{id} in {} seeds: cargo xtask sim repro SEED{world}", seeds.len());
        for seed in seeds {
            println!("    {seed} {}", swept.failures[&seed]);
        }
    }
}

fn print_total(swept: &Swept, shared: bool) {
    let Swept { from, total, seconds, failures, .. } = swept;
    let (world, made) = if shared {
        (" of the shared-data world", format!("{} uses of the shared data", total.uses))
    } else {
        let (made, heard) = (total.transactions, total.acknowledged);
        ("", format!("{made} transactions, {heard} writes acknowledged"))
    };
    println!(
        "{} seeds{world} from {from}, {} failed, {} blocked by row 2, in {seconds:.1} s ({:.1} seeds/s): \
         {} events, {made}, {} grants, {} s of virtual time, healed within {:.1} s",
        total.seeds,
        failures.len(),
        total.blocked,
        total.seeds as f64 / seconds,
        total.events,
        total.epochs,
        total.length / 1_000_000_000,
        total.healed_in as f64 / 1e9,
    );
    let missing: Vec<String> =
        total.edges.missing().map(|e| format!("{} {} -> {}", e.id, e.from, e.to)).collect();
    if !missing.is_empty() {
        println!("edges between roles that none of them took: {}", missing.join(", "));
    }
}

/// What an earlier sweep of the same seeds noted.
fn read_state(path: &Path, world: &str, from: u64) -> Result<Swept, String> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
    let (head, rest) = text.split_once('\n').unwrap_or_default();
    let swept = Swept::from_text(rest).ok_or(format!("{name} is no state of a sweep"))?;
    let same = head.strip_prefix("world") == Some(world) && swept.from == from;
    if same {
        Ok(swept)
    } else {
        Err(format!("{name} is of another sweep: {head}, {}", swept.from))
    }
}

/// The options by which a seed is repeated.
fn world_of(args: &[String]) -> String {
    let shared = if is_shared(args) { " --shared" } else { "" };
    let plant = text(args, "--plant").map_or(String::new(), |name| format!(" --plant {name}"));
    let with = texts(args, "--with").map(|name| format!(" --with {name}")).collect::<String>();
    format!("{shared}{plant}{with}")
}

/// Kinds of faults that are drawn more often than the others.
fn with_of(args: &[String]) -> Result<Vec<u64>, String> {
    let kind = |name: &str| {
        kind_of(name, is_shared(args)).ok_or(format!("no kind of fault is called {name} there"))
    };
    texts(args, "--with").map(kind).collect()
}

fn one(args: &[String]) -> Result<bool, String> {
    let seed = args.first().and_then(|seed| seed.parse().ok()).ok_or("which seed?")?;
    let spec = spec_of(args)?;
    let detail = args.iter().any(|arg| arg == "--detail");
    let log = if detail { Log::detailed() } else { Log::story() };
    let outcome = run_seed_with(seed, core, &spec, &with_of(args)?, log);
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

/// Each death after each step of each move; with a move, a host, a death and a number that one, told.
fn steps(args: &[String]) -> Result<bool, String> {
    let spec = spec_of(args)?;
    if let Some(place) = args.iter().position(|arg| arg == "--only") {
        let [name, host, death, left] = args.get(place + 1..place + 5).unwrap_or_default() else {
            return Err(String::from("--only needs a move, a host, a death and a number"));
        };
        let mut moves = if is_shared(args) { SHARED_MOVES } else { MOVES }.into_iter();
        let moving = moves.find(|moving| format!("{moving:?}") == *name);
        let death = DEATHS.into_iter().find(|known| format!("{known:?}") == *death);
        let host = MEMBERS.into_iter().find(|known| NAMES[*known] == *host);
        let (Some(moving), Some(death), Some(host), Ok(left)) = (moving, death, host, left.parse())
        else {
            return Err(String::from("no such death"));
        };
        let ambush = Ambush { host, left, death };
        let (_, violation, log) = play(&spec, moving, ambush, Log::story());
        for line in &log.lines {
            println!("{line}");
        }
        return Ok(violation.is_none());
    }
    let mut good = true;
    let moves = if is_shared(args) { SHARED_MOVES } else { MOVES };
    for (moving, host) in moves.into_iter().flat_map(|m| MEMBERS.map(|host| (m, host))) {
        for death in DEATHS {
            let (count, lost) = walk(&spec, moving, host, death, 1);
            println!("{moving:?} {} {death:?}: {count} steps, {} lost", NAMES[host], lost.len());
            for Lost { ambush, violation, .. } in &lost {
                let (left, host) = (ambush.left, NAMES[host]);
                println!("    steps --only {moving:?} {host} {death:?} {left}: {violation}");
            }
            good &= lost.is_empty();
        }
    }
    Ok(good)
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

fn texts<'a>(args: &'a [String], name: &'a str) -> impl Iterator<Item = &'a str> {
    let named = args.windows(2).filter(move |pair| pair[0] == name);
    named.map(|pair| pair[1].as_str())
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
