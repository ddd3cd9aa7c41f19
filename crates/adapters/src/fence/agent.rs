//! A program of Debian's package fence-agents. What it is to do stands on its standard input as `name=value` lines,
//! never in argv, which everybody on the host may read.
//!
//! Its exit codes (fencing.py of fence-agents 4.12): 0 done, or for `status` *on*; 2 for `status` is *off*; 1 anything
//! else. An interpreter that fails may end with 2 as well, so *off* counts only together with the word on stdout.
//! `off` with exit 0 is no proof: only a `status` afterwards that says *off* is.

use super::{Answer, FenceError, Secret, last_words, no_end, seconds};
use crate::run::{Ended, Program, RunError};
use description::{Description, Parameter};
use regent_core::command::Fenced;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

mod description;

/// Where Debian puts them.
const DIRECTORY: &str = "/usr/sbin";
/// Describing itself costs an interpreter's start: 0.2 s, and 5 s were seen on a host with eight times its load.
const DESCRIBE: Duration = Duration::from_secs(20);

/// What they say after every usage error.
const NOISE: [&str; 2] = ["use '-h' for usage", "validate-all failed"];

/// A fence agent with its options for one node.
#[derive(Debug)]
pub(super) struct Agent {
    node: String,
    name: String,
    path: PathBuf,
    options: BTreeMap<String, String>,
    password_file: Option<PathBuf>,
    bound: Duration,
    description: OnceLock<Description>,
    /// It has accepted these options once.
    is_accepted: OnceLock<()>,
}

/// What `status` said.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Power {
    On,
    Off,
    /// Why nobody knows.
    Unknown(String),
}

impl Agent {
    pub fn new(
        node: String,
        agent: &str,
        options: BTreeMap<String, String>,
        password_file: Option<PathBuf>,
        bound: Duration,
    ) -> Agent {
        let path = Path::new(DIRECTORY).join(agent);
        let name = agent.rsplit('/').next().unwrap_or(agent).to_owned();
        let (description, is_accepted) = (OnceLock::new(), OnceLock::new());
        Agent { node, name, path, options, password_file, bound, description, is_accepted }
    }

    pub fn node(&self) -> &str {
        &self.node
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Options, actions and password's file are as they must be, and the agent says so as well.
    pub fn check(&self) -> Result<(), FenceError> {
        let description = self.usable()?;
        let secret = self.secret()?;
        description.expect_needed(&self.name, &self.options, secret.is_some())?;
        if self.is_accepted.get().is_some() || !description.has_action("validate-all") {
            return Ok(());
        }
        let refused = |why| FenceError::Refused { agent: self.name.clone(), why };
        match self.ask("validate-all", description, secret.as_ref(), DESCRIBE) {
            Ok(Ended { code: Some(0), .. }) => {
                // Whoever comes second finds it so.
                self.is_accepted.set(()).ok();
                Ok(())
            }
            Ok(ended) => Err(refused(self.words(&ended, secret.as_ref()))),
            Err(error) => Err(refused(no_end(&self.name, &error))),
        }
    }

    /// Asks it to switch the node off, and then for the power.
    pub fn off(&self) -> Fenced {
        let started = Instant::now();
        let prepared = self.usable().and_then(|description| Ok((description, self.secret()?)));
        let (description, secret) = match prepared {
            Ok(prepared) => prepared,
            // The device was not asked for anything.
            Err(error) => return Fenced::Failed(error.to_string()),
        };
        // A quarter is kept for the status that confirms it.
        let asked = self.ask("off", description, secret.as_ref(), self.bound * 3 / 4);
        let left = self.bound.saturating_sub(started.elapsed()).max(self.bound / 8);
        let power = self.power(description, secret.as_ref(), left);
        let took = seconds(started.elapsed());
        let (node, name) = (&self.node, &self.name);
        match (&asked, power) {
            (Ok(ended), Power::Off) if ended.out.to_lowercase().contains("already off") => {
                Fenced::Confirmed(format!("{node} was off already: {name} says so after {took}"))
            }
            (Ok(_) | Err(_), Power::Off) => Fenced::Confirmed(format!(
                "{node} is off: {name} switched it off, and its status says so after {took}"
            )),
            (Ok(ended), Power::On) => Fenced::Failed(format!(
                "{node} is still on after {took}: {name} {}",
                self.end(ended, secret.as_ref())
            )),
            // It may still be under way.
            (Err(error), Power::On) => {
                Fenced::Unknown(format!("{}; its status says on", no_end(name, error)))
            }
            (Ok(ended), Power::Unknown(why)) => Fenced::Unknown(format!(
                "{name} {}; its status: {why}",
                self.end(ended, secret.as_ref())
            )),
            (Err(error), Power::Unknown(why)) => {
                Fenced::Unknown(format!("{}; its status: {why}", no_end(name, error)))
            }
        }
    }

    /// Asks it for the node's power.
    pub fn test(&self) -> Answer {
        let prepared = self.check().and_then(|()| Ok((self.usable()?, self.secret()?)));
        match prepared {
            Err(error) => Answer::Failed(error.to_string()),
            Ok((description, secret)) => {
                match self.power(description, secret.as_ref(), self.bound) {
                    Power::On => Answer::On,
                    Power::Off => Answer::Off,
                    Power::Unknown(why) => Answer::Unknown(why),
                }
            }
        }
    }

    fn power(&self, with: &Description, secret: Option<&Secret>, bound: Duration) -> Power {
        match self.ask("status", with, secret, bound) {
            Ok(ended) => {
                let said = |word: &str| {
                    ended.out.lines().any(|line| line.to_lowercase().trim().ends_with(word))
                };
                match ended.code {
                    Some(0) if !said(": off") => Power::On,
                    Some(2) if said(": off") => Power::Off,
                    Some(_) | None => {
                        Power::Unknown(format!("{} {}", self.name, self.end(&ended, secret)))
                    }
                }
            }
            Err(error) => Power::Unknown(no_end(&self.name, &error)),
        }
    }

    /// How it ended and its last words, without secrets.
    fn end(&self, ended: &Ended, secret: Option<&Secret>) -> String {
        let end = match (ended.code, ended.signal) {
            (Some(code), _) => format!("exit {code}"),
            (None, Some(signal)) => format!("was ended by signal {signal}"),
            (None, None) => "had no exit code".to_owned(),
        };
        format!("{end}: {}", self.words(ended, secret))
    }

    fn words(&self, ended: &Ended, secret: Option<&Secret>) -> String {
        let text = if ended.said.trim().is_empty() { &ended.out } else { &ended.said };
        // Struck before it is cut, so that no part of a secret is left at the end.
        let mut text = secret.map_or_else(|| text.clone(), |secret| secret.strike(text));
        for (name, value) in &self.options {
            if is_secret(name) && !value.is_empty() {
                text = text.replace(value, "***");
            }
        }
        // Their log lines begin with a date and a level; all of them count, but not the last two of a usage error.
        let errors = text.lines().filter_map(|line| Some(line.split_once(" ERROR: ")?.1.trim()));
        let is_noise = |line: &str| NOISE.iter().any(|noise| line.contains(noise));
        let told: Vec<&str> = errors.filter(|line| !is_noise(line)).collect();
        match told.is_empty() {
            true => last_words(&text),
            false => last_words(&told.join("; ")),
        }
    }

    fn secret(&self) -> Result<Option<Secret>, FenceError> {
        self.password_file.as_deref().map(Secret::read).transpose()
    }

    /// The agent's description, if these options can be told to it.
    fn usable(&self) -> Result<&Description, FenceError> {
        let description = match self.description.get() {
            Some(description) => description,
            None => {
                let fresh = self.describe()?;
                self.description.get_or_init(|| fresh)
            }
        };
        for action in ["off", "status"] {
            if !description.has_action(action) {
                return Err(FenceError::NoAction { agent: self.name.clone(), action });
            }
        }
        for (name, value) in &self.options {
            if ["action", "option"].contains(&name.as_str()) {
                return Err(FenceError::OwnOption(name.clone()));
            }
            if ["password", "passwd"].contains(&name.as_str()) {
                return Err(FenceError::OpenSecret(name.clone()));
            }
            if value.chars().any(char::is_control) {
                return Err(FenceError::BadValue(name.clone()));
            }
            if description.find(name).is_none() {
                return Err(FenceError::UnknownOption {
                    agent: self.name.clone(),
                    option: name.clone(),
                    suggestion: description.near(name),
                });
            }
        }
        Ok(description)
    }

    fn describe(&self) -> Result<Description, FenceError> {
        if !self.path.is_file() {
            let near = description::nearest(&self.name, installed().iter().map(String::as_str));
            let hint = near.map(|name| format!("did you mean {name}?"));
            let hint = hint.unwrap_or("is the package fence-agents installed?".to_owned());
            let path = self.path.display();
            return Err(FenceError::NotThere(format!("{path} is not there; {hint}")));
        }
        let failed = |why| FenceError::NoDescription { agent: self.name.clone(), why };
        let ended = self.program(b"action=metadata\n".to_vec()).run(DESCRIBE);
        let ended = ended.map_err(|error| failed(no_end(&self.name, &error)))?;
        let description = Description::parse(&ended.out);
        if ended.code != Some(0) || description.is_empty() {
            return Err(failed(self.end(&ended, None)));
        }
        Ok(description)
    }

    fn ask(
        &self,
        action: &str,
        with: &Description,
        secret: Option<&Secret>,
        bound: Duration,
    ) -> Result<Ended, RunError> {
        self.program(self.input(action, with, secret).into_bytes()).run(bound)
    }

    fn program(&self, input: Vec<u8>) -> Program {
        let path = self.path.display().to_string();
        Program { path, input, ..Program::default() }
    }

    /// What stands on its standard input.
    fn input(&self, action: &str, with: &Description, secret: Option<&Secret>) -> String {
        let mut lines = format!("action={action}\n");
        let mut tell = |name: &str, value: &str| {
            lines.push_str(&format!("{name}={}\n", quoted(value)));
        };
        for (name, value) in &self.options {
            match with.find(name) {
                // Their library takes a switch for set as soon as it is named, whatever its value.
                Some(Parameter { is_switch: true, .. }) if is_no(value) => {}
                Some(parameter) => tell(&parameter.name, value),
                None => tell(name, value),
            }
        }
        // How many seconds, and looks, it waits for the power to go after it asked for that: half of what it has for
        // the whole of it, so that it says no before it is killed.
        let is_own = |name: &String| description::same(name, "power_timeout");
        if with.find("power_timeout").is_some() && !self.options.keys().any(is_own) {
            tell("power_timeout", &(self.bound.as_secs() * 3 / 8).max(1).to_string());
        }
        if let Some(secret) = secret {
            tell("password", secret.reveal());
        }
        lines
    }
}

/// As their library reads it: blanks at the ends are dropped, one pair of quotation marks around it too.
fn quoted(value: &str) -> String {
    let is_quoted = value.len() >= 2 && value.starts_with('"') && value.ends_with('"');
    match is_quoted || value.trim() != value {
        true => format!("\"{value}\""),
        false => value.to_owned(),
    }
}

fn is_no(value: &str) -> bool {
    ["0", "no", "off", "false"].contains(&value.to_lowercase().as_str())
}

fn is_secret(option: &str) -> bool {
    ["pass", "secret", "token", "key", "community"].iter().any(|part| option.contains(part))
}

fn installed() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(DIRECTORY) else { return Vec::new() };
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("fence_")).collect()
}
