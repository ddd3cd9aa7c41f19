//! `cargo xtask`: the commands people and machines use on this workspace. `lint` and `test` are
//! the gate; `demo`, `lab` and `bench` build the product and hand over to the lab; `sim` to the
//! simulator. Nothing here changes a source file.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod build;
mod lint;
mod packages;
mod sh;
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
    /// Unit, property, scenario, simulator and lab tests
    Test {
        /// Leave the lab cases out
        #[arg(long)]
        no_lab: bool,
    },
    /// Format, clippy, documentation, licences, dependency directions, tidiness
    Lint,
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
    /// Measurements: `moves --runs 5` takes each fault of the demo five times, `matrix` each key service killed, hung
    /// and blocked, `probes` a thousand probes on one node
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
        Command::Test { no_lab } => test::run(no_lab),
        Command::Lint => lint::run(),
        Command::Sim { arguments } => build::sim(&arguments),
        Command::Lab { arguments } => lab(&arguments),
        Command::Bench { arguments } if arguments.first().is_some_and(|word| word == "probes") => {
            build::example("regent-adapters", "probe-bench", &arguments[1..])
        }
        Command::Bench { arguments } => lab(&arguments),
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
    } else {
        build::lab_only(dev)?;
    }
    build::hand_over(dev, &words)
}
