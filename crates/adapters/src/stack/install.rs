//! The product's own installer, and commands that belong to a step.

use super::hands::{Hands, left};
use super::trouble::Trouble;
use super::{database, link, unit};
use crate::run::Program;
use regent_config::steps::{Kind, Run};
use std::path::Path;
use std::slice;
use std::sync::Arc;
use std::time::Instant;

/// How much of what a failed command said is told.
const LINES: usize = 12;

/// Runs a command to its end; what it said is in the error.
pub(super) fn command(run: &Run, deadline: Instant) -> Result<(), Trouble> {
    let Some((path, arguments)) = run.argv.split_first() else { return Ok(()) };
    let words = run.argv.join(" ");
    let environment = [("HOME", "/root"), ("USER", "root"), ("DEBIAN_FRONTEND", "noninteractive")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    let program = Program {
        path: path.clone(),
        arguments: arguments.to_vec(),
        environment,
        input: Vec::new(),
    };
    let ended =
        program.run(left(deadline)).map_err(|error| Trouble::new(format!("{words}: {error}")))?;
    if ended.code == Some(0) {
        return Ok(());
    }
    let how = match (ended.code, ended.signal) {
        (Some(code), _) => format!("exit {code}"),
        (None, signal) => format!("ended by signal {}", signal.unwrap_or(0)),
    };
    let said = if ended.said.trim().is_empty() { &ended.out } else { &ended.said };
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines[lines.len().saturating_sub(LINES)..].join(" | ");
    Err(Trouble::new(format!("{words}: {how}: {last}")))
}

/// The same for several; one that may fail is only noted.
pub(super) fn commands(hands: &Hands, runs: &[Run], deadline: Instant) -> Result<(), Trouble> {
    for run in runs {
        match command(run, deadline) {
            Ok(()) => {}
            Err(trouble) if run.may_fail => hands.note(&trouble.into_words())?,
            Err(trouble) => return Err(trouble),
        }
    }
    Ok(())
}

/// An installer that finds its product's data, as on the second host, asks their database: its server runs by then,
/// where there is one and it has data. On a host that has neither the installer brings them.
fn start_database(hands: &mut Hands) -> Result<(), Trouble> {
    let settings = Arc::clone(&hands.settings);
    let Some((engine, step)) = settings.database_server() else { return Ok(()) };
    let Kind::Unit(unit) = &step.kind else { return Ok(()) };
    if !database::has_data(hands, engine)
        || unit::is_missing(&unit::look(slice::from_ref(unit))?, unit)
    {
        return Ok(());
    }
    database::up(hands, engine)?;
    hands.bring_up(step)
}

pub(super) fn up(
    hands: &mut Hands,
    run: &Run,
    creates: &Path,
    deadline: Instant,
) -> Result<(), Trouble> {
    if creates.exists() {
        return Ok(());
    }
    let began = Instant::now();
    start_database(hands)?;
    let ran = command(run, deadline + began.elapsed());
    // Also after a failure: nothing that was written beside the shared data stays there.
    let steps = hands.settings.steps.clone();
    for step in &steps {
        if let Kind::Link { path, target } = &step.kind
            && hands.record.is_up(&step.name)
        {
            link::up(hands, path, target, deadline)?;
        }
    }
    ran?;
    if !creates.exists() {
        return Err(Trouble::new(format!(
            "{} ended well and did not make {}",
            run.argv.join(" "),
            creates.display()
        )));
    }
    for step in &steps {
        if let Kind::Database(engine) = &step.kind {
            database::up(hands, engine)?;
        }
    }
    Ok(())
}
