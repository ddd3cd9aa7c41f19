//! A program of the site's own: `PROGRAM [ARGUMENT]... NODE off|status`. Exit 0 means done, and that the program
//! vouches for it; 1 means not done; everything else, and no answer in time, means that nobody knows.

use super::{Answer, FenceError, Warrant, last_words, no_end, seconds};
use crate::run::{Ended, Program, RunError};
use regent_core::command::Fenced;
use rustix::fs::{Access, access};
use std::path::Path;
use std::time::{Duration, Instant};

/// A site's own way to fence a node.
#[derive(Debug)]
pub(super) struct Hook {
    pub node: String,
    pub argv: Vec<String>,
    pub bound: Duration,
}

impl Hook {
    /// Its file name.
    pub fn name(&self) -> String {
        let path = self.argv.first().map(String::as_str).unwrap_or_default();
        path.rsplit('/').next().unwrap_or(path).to_owned()
    }

    /// It is there and may be run.
    pub fn check(&self) -> Result<(), FenceError> {
        let Some(program) = self.argv.first() else {
            return Err(FenceError::NotThere("the fence command is empty".to_owned()));
        };
        if !program.starts_with('/') {
            let why = format!("the fence command {program} needs its whole path");
            return Err(FenceError::NotThere(why));
        }
        let path = Path::new(program);
        if !path.is_file() {
            return Err(FenceError::NotThere(format!("{program} is not there")));
        }
        access(path, Access::EXEC_OK)
            .map_err(|_| FenceError::NotThere(format!("{program} may not be run: chmod +x it")))
    }

    /// Asks it to switch the node off.
    pub fn off(&self, warrant: &Warrant) -> Fenced {
        let name = self.name();
        if let Err(error) = self.check() {
            return Fenced::Failed(error.to_string());
        }
        let started = Instant::now();
        let ended = self.run("off", warrant);
        let took = seconds(started.elapsed());
        match ended {
            Ok(Ended { code: Some(0), .. }) => {
                Fenced::Confirmed(format!("{} is off: {name} says so after {took}", self.node))
            }
            Ok(Ended { code: Some(1), out, said, .. }) => {
                Fenced::Failed(format!("{name} failed: {}", words(&out, &said)))
            }
            Ok(ended) => Fenced::Unknown(odd(&name, &ended)),
            Err(error @ RunError::NotStarted { .. }) => Fenced::Failed(no_end(&name, &error)),
            Err(error @ (RunError::TooLong { .. } | RunError::Refused { .. })) => {
                Fenced::Unknown(no_end(&name, &error))
            }
        }
    }

    /// Asks it for the node's power: its first line may say `on` or `off`.
    pub fn test(&self, warrant: &Warrant) -> Answer {
        let name = self.name();
        if let Err(error) = self.check() {
            return Answer::Failed(error.to_string());
        }
        match self.run("status", warrant) {
            Ok(Ended { code: Some(0), out, .. }) => match out.lines().next().map(str::trim) {
                Some("on") => Answer::On,
                Some("off") => Answer::Off,
                Some(_) | None => Answer::Reachable,
            },
            Ok(Ended { code: Some(1), out, said, .. }) => {
                Answer::Failed(format!("{name} failed: {}", words(&out, &said)))
            }
            Ok(ended) => Answer::Unknown(odd(&name, &ended)),
            Err(error) => Answer::Unknown(no_end(&name, &error)),
        }
    }

    fn run(&self, action: &str, warrant: &Warrant) -> Result<Ended, RunError> {
        let mut arguments: Vec<String> = self.argv.iter().skip(1).cloned().collect();
        arguments.extend([self.node.clone(), action.to_owned()]);
        let environment = vec![
            ("REGENT_CLUSTER".to_owned(), warrant.cluster.clone()),
            ("REGENT_EPOCH".to_owned(), warrant.epoch.0.to_string()),
        ];
        let path = self.argv.first().cloned().unwrap_or_default();
        Program { path, arguments, environment, input: Vec::new() }.run(self.bound)
    }
}

/// What it said: on stderr, or else on stdout.
fn words(out: &str, said: &str) -> String {
    last_words(if said.trim().is_empty() { out } else { said })
}

fn odd(name: &str, ended: &Ended) -> String {
    let end = match (ended.code, ended.signal) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "no exit code".to_owned(),
    };
    format!("{name}: {end}: {}", words(&ended.out, &ended.said))
}
