//! The lab's tests. A case gets a cluster of its own that is in sync, with all clients at work;
//! whatever it does, no write may be lost and no two nodes may own the VIP in the time it took.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::demo::stage;
use crate::fault::Watched;
use crate::run::now_us;
use crate::{diagnose, say, sweep};

mod agent_kill;
mod agent_stop;
mod bmc;
mod hang;
mod harness;
mod impaired;
mod moves;
mod no_quorum;
mod partition;
mod services;
mod witness_dead;

/// How long a case goes on watching after its last step.
const AFTERMATH: Duration = Duration::from_millis(1500);

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
    /// Brings its own hosts; needs nothing of the product.
    Alone(fn() -> Result<()>),
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
    impaired::BOTH_WAYS,
    impaired::ONE_WAY,
    witness_dead::CASE,
    no_quorum::CASE,
];

/// Runs one case or all of them on fresh clusters; true if all passed. The last line counts them.
pub fn run(name: Option<&str>) -> Result<bool> {
    let chosen: Vec<&Case> =
        ALL.iter().filter(|case| name.is_none_or(|n| n == case.name)).collect();
    ensure!(!chosen.is_empty(), "no case of that name; `lab case --list` shows them");
    for swept in sweep::sweep()? {
        say::line(&format!("lab     removed what the run {swept} left behind"));
    }
    let mut failed = 0;
    for case in &chosen {
        say::line(&format!("case    {}: {}", case.name, case.about));
        match one(case) {
            Ok(()) => say::line(&format!("case    {}: passed", case.name)),
            Err(error) => {
                failed += 1;
                say::line(&format!("case    {}: FAILED: {error:#}", case.name));
            }
        }
        if crate::run::is_interrupted() {
            break;
        }
    }
    say::plain(&format!("lab: {} passed, {failed} failed", chosen.len() - failed));
    Ok(failed == 0)
}

fn one(case: &Case) -> Result<()> {
    let steps = match case.run {
        Run::Watched(steps) => steps,
        Run::Alone(run) => return run(),
    };
    let mut watched = Watched::start(stage(None)?)?;
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
