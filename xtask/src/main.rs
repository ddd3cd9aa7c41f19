//! `cargo xtask`: the commands people and machines use on this workspace. `lint` and `test` are
//! the gate; `demo`, `lab` and `bench` build the product and hand over to the lab; `sim` to the
//! simulator. Nothing here changes a source file.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod build;
mod documents;
mod lint;
mod packages;
mod sh;
mod supply;
mod test;
mod tidy;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Build, check, test and show Regent")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The main job in one command: two management nodes and a witness survive six faults
    Demo {
        /// Leave the lab up at the end and print how to enter a host
        #[arg(long)]
        keep: bool,
        /// Development build: faster to make, slower to run
        #[arg(long)]
        dev: bool,
    },
    /// Unit, property, scenario, simulator and lab tests of the default tier, within 30 minutes on two cores
    Test {
        /// Everything, as by night: cases that show more of the same, every step and seed
        #[arg(long)]
        all: bool,
        /// Leave the lab cases out
        #[arg(long)]
        no_lab: bool,
    },
    /// Format, clippy, documentation, licences, dependency directions, tidiness, documents
    Lint {
        /// Install cargo-deny if it is missing, which takes many minutes, and check advisories
        #[arg(long)]
        all: bool,
    },
    /// The simulator: sweep --seeds N, repro SEED, ...
    #[command(disable_help_flag = true)]
    Sim {
        /// Handed on
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// The lab: up, enter, fault, down, list, case, ...
    #[command(disable_help_flag = true)]
    Lab {
        /// Handed on; a leading --dev takes a development build
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Measurements: `moves --runs 5` takes each fault of the demo five times, `moves --against OLD_BINARY --runs 20`
    /// compares with an older `regent`, `matrix` takes each key service killed, hung and blocked, `probes` a thousand
    /// probes on one node
    Bench {
        /// Handed on; a leading --dev takes a development build
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    match dispatch(Arguments::parse().command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            sh::say(&format!("failed: {error:#}"));
            ExitCode::from(2)
        }
    }
}

fn dispatch(command: Command) -> Result<u8> {
    match command {
        Command::Demo { keep, dev } => {
            packages::ensure()?;
            build::everything(dev)?;
            let keep = if keep { &["--keep"][..] } else { &[] };
            build::hand_over(dev, &[&["demo"], keep].concat())
        }
        Command::Test { all, no_lab } => {
            let scope = if all { test::Scope::All } else { test::Scope::Default };
            test::run(scope, no_lab)
        }
        Command::Lint { all } => lint::run(all),
        Command::Sim { arguments } => build::sim(&arguments),
        Command::Lab { arguments } => lab(&arguments),
        Command::Bench { arguments } if arguments.first().is_some_and(|word| word == "probes") => {
            build::example("regent-adapters", "probe-bench", &arguments[1..])
        }
        Command::Bench { arguments } => lab(&arguments),
    }
}

/// Whether a command of the lab runs the case with the unit tests: by its name, or as one of all.
fn runs_unit_tests(words: &[&str]) -> bool {
    let is_option = |word: &&str| {
        word.starts_with('-') || word.parse::<u32>().is_ok() || *word == "default" || *word == "all"
    };
    match words {
        ["case", rest @ ..] => rest.contains(&build::IN_HOST) || rest.iter().all(is_option),
        [..] => false,
    }
}

/// Builds what the lab's command needs and hands over to it.
fn lab(arguments: &[String]) -> Result<u8> {
    let mut words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let dev = words.first() == Some(&"--dev");
    if dev {
        words.remove(0);
    }
    let needs_product =
        words.first().is_some_and(|verb| ["up", "case", "moves", "matrix"].contains(verb))
            && !words.contains(&"--bare")
            && !words.contains(&"--list");
    packages::ensure()?;
    if needs_product {
        build::everything(dev)?;
        if runs_unit_tests(&words) {
            build::host_tests(dev, build::Beside::Package)?;
        }
    } else {
        build::lab_only(dev)?;
    }
    build::hand_over(dev, &words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_tests_are_built_for_the_case_that_runs_them_and_for_all_cases() {
        assert!(runs_unit_tests(&["case"]));
        assert!(runs_unit_tests(&["case", "--tier", "all", "--jobs", "2"]));
        assert!(runs_unit_tests(&["case", "moves", "units-in-host"]));
        assert!(!runs_unit_tests(&["case", "moves", "--tries", "2"]));
        assert!(!runs_unit_tests(&["up"]));
    }
}
