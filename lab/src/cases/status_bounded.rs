//! `regent status` answers within three seconds whatever is broken, and its exit code says what.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::case::{Case, Run, Tier};
use super::kit::{Answer, command, regent};
use crate::cluster::{Cluster, Product, Settings, WITNESS};
use crate::diagnose;
use crate::dirs::base_dir;
use crate::fault::{Watched, other_of};
use crate::image::Image;
use crate::lab::fresh_name;
use crate::run::{now_us, wait_for};
use crate::say;
use crate::service::{Harm, Service, inflict};

pub(super) const CASE: Case = Case {
    name: "status-bounded",
    about: "status within 3 s with the database hung, a node off, no quorum, no agent; exit codes",
    tier: Tier::Default,
    run: Run::Alone(run),
};

const BOUND: Duration = Duration::from_secs(3);
const CHANGE: Duration = Duration::from_secs(10);
const HUNG: Duration = Duration::from_secs(4);
const LOOK: Duration = Duration::from_millis(300);

const OK: i32 = 0;
const USAGE: i32 = 1;
const UNREACHABLE: i32 = 3;
const NOT_INITIALISED: i32 = 4;
const DEGRADED: i32 = 5;
const NO_ACTIVE: i32 = 6;

fn run() -> Result<()> {
    let image = Image::ensure(&base_dir()?, &mut |text| say::progress(text))?;
    let settings = Settings::default();
    let cluster = Cluster::boot(&fresh_name(), &image, &Product::beside()?, &settings)?;
    let mut watched = Watched::unwatched(cluster)?;
    let result = steps(&mut watched);
    if result.is_err() && !crate::run::is_interrupted() {
        diagnose::collect(&watched.cluster.lab);
    }
    result
}

fn steps(watched: &mut Watched) -> Result<()> {
    expect(watched, "mn1", "status", NOT_INITIALISED)?;
    watched.cluster.initialise()?;
    let active = watched.cluster.active()?;
    let other = other_of(&active);
    wait_exit(watched, &active, OK)?;
    expect(watched, other, "status", OK)?;
    expect(watched, &active, "status --jason", USAGE)?;

    // A database that answers nothing is killed even inside a pause: only that proves that no statement is under way.
    command(watched, &active, "pause --for 10m")?;
    let hang = inflict(watched.cluster.lab.host(&active)?, Service::Database, Harm::Hung)?;
    let until = now_us() + HUNG.as_micros() as u64;
    let mut told = Vec::new();
    while now_us() < until {
        for node in [active.as_str(), other] {
            told.push(bounded(regent(watched, node, "status")?)?);
        }
        std::thread::sleep(LOOK);
    }
    let unwell: Vec<&Answer> =
        told.iter().filter(|answer| [DEGRADED, NO_ACTIVE].contains(&answer.code)).collect();
    ensure!(!unwell.is_empty(), "no answer tells of a hung database");
    ensure!(unwell.iter().any(|answer| answer.text.contains("database")), "{unwell:?}");
    hang.undo()?;
    command(watched, &active, "pause --off")?;
    wait_exit(watched, &active, OK)?;

    let active = watched.cluster.active()?;
    let other = other_of(&active);
    watched.cluster.lab.host_mut(other)?.power_off()?;
    for _ in 0..5 {
        bounded(regent(watched, &active, "status")?)?;
    }
    wait_exit(watched, &active, DEGRADED)?;
    watched.cluster.lab.host_mut(WITNESS)?.power_off()?;
    for _ in 0..5 {
        bounded(regent(watched, &active, "status")?)?;
    }
    wait_exit(watched, &active, NO_ACTIVE)?;
    watched.cluster.lab.host(&active)?.run(&["systemctl", "stop", "regent.service"])?;
    expect(watched, &active, "status", UNREACHABLE)
}

fn bounded(answer: Answer) -> Result<Answer> {
    ensure!(answer.took <= BOUND, "an answer after {} ms", answer.took.as_millis());
    Ok(answer)
}

fn expect(watched: &Watched, node: &str, words: &str, code: i32) -> Result<()> {
    let answer = bounded(regent(watched, node, words)?)?;
    ensure!(answer.code == code, "{words}: exit {}, not {code}: {}", answer.code, answer.text);
    Ok(())
}

fn wait_exit(watched: &Watched, node: &str, code: i32) -> Result<()> {
    let mut last = None;
    wait_for(&format!("exit code {code}"), CHANGE, || {
        let answer = bounded(regent(watched, node, "status")?)?;
        let is_so = answer.code == code;
        last = Some(answer);
        if !is_so {
            std::thread::sleep(LOOK);
        }
        Ok(is_so.then_some(()))
    })
    .with_context(|| format!("{last:?}"))
}
