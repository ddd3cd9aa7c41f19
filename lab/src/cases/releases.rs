//! An older release beside this one (R7): each renews its right, takes over, and is moved to and from, while the other
//! one is of the other release; nothing is lost, and nobody waits for both to be of one.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::case::{Case, Run, Tier};
use crate::cluster::Product;
use crate::fault::Watched;
use crate::say;

pub(super) const CASE: Case = Case {
    name: "releases",
    about: "an older release and this one side by side: renewals, takeovers and moves both ways",
    tier: Tier::All,
    run: Run::Older(run),
};

/// Steady service: many renewals.
const STEADY: Duration = Duration::from_secs(6);
const SYNC: Duration = Duration::from_secs(60);

fn run(watched: &mut Watched) -> Result<()> {
    // The cluster is of the older release; mn1 serves.
    renew(watched, "mn2")?;
    says(watched, "mn1", "older")?;
    steady(watched, "mn1, older, serves beside a newer standby")?;
    for to in ["mn2", "mn1"] {
        watched.cluster.lab.host("mn1")?.run(&["regent", "switchover", "--to", to])?;
        watched.wait_served_by(to)?;
        watched.cluster.wait_in_sync(SYNC)?;
        steady(watched, &format!("moved to {to}"))?;
    }
    for (dies, takes) in [("mn1", "mn2"), ("mn2", "mn1")] {
        watched.power_off_node(dies)?;
        watched.wait_served_by(takes)?;
        watched.power_on_node(dies)?;
        watched.cluster.wait_in_sync(SYNC)?;
        steady(watched, &format!("{takes} took over"))?;
    }
    for node in ["mn1", "w1"] {
        renew(watched, node)?;
    }
    says(watched, "mn1", "this")?;
    steady(watched, "all of this release")
}

/// The node's agent is of this release from now on.
fn renew(watched: &Watched, node: &str) -> Result<()> {
    let host = watched.cluster.lab.host(node)?;
    let place = host.path("/usr/bin/regent.new")?;
    fs::copy(&Product::beside()?.regent, &place)?;
    let unit = if node == crate::cluster::WITNESS { "regent-witness" } else { "regent" };
    host.shell(&format!("mv /usr/bin/regent.new /usr/bin/regent; systemctl restart {unit}"))?;
    say::line(&format!("lab     {node} is of this release"));
    watched.cluster.wait_in_sync(SYNC).map(drop)
}

/// Which release a node's agent is of, by its program.
fn says(watched: &Watched, node: &str, which: &str) -> Result<()> {
    let host = watched.cluster.lab.host(node)?;
    let there = fs::read(host.path("/usr/bin/regent")?)?;
    let is_this = there == fs::read(&Product::beside()?.regent)?;
    ensure!(is_this == (which == "this"), "{node} is not of the {which} release");
    Ok(())
}

fn steady(watched: &mut Watched, what: &str) -> Result<()> {
    say::line(&format!("lab     {what}"));
    watched.recorder.wait_steady(STEADY, STEADY * 4)
}
