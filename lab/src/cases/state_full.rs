//! The disk of the agent's own state is full: an agent that is started anew is back at once, a standby takes over, an
//! active node serves on, and everybody's `status` says so until there is room.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::case::{Case, Run, Tier};
use super::kit::{regent, wait_event};
use crate::cluster::NODES;
use crate::fault::{Watched, other_of};
use crate::run::{now_us, wait_for};
use crate::say;
use crate::seen::Attempt;

pub(super) const CASE: Case = Case {
    name: "state-full",
    about: "/var/lib/regent is full: the agent starts anew, takes over, serves, and status tells",
    tier: Tier::Default,
    run: Run::Watched(run),
};

const TOLD: Duration = Duration::from_secs(15);
const SYNC: Duration = Duration::from_secs(90);
const STEADY: Duration = Duration::from_secs(1);
const DEGRADED: i32 = 5;
const WORDS: &str = "/var/lib/regent is full: ";
/// As often as the agent is started anew.
const RESTARTS: usize = 5;
/// A takeover costs no more than on a disk with room.
const GAP_MS: u64 = 3_000;

/// Everything but the journal onto a small disk of its own.
const SMALL_DISK: &str = "systemctl stop regent
    mkdir -p /run/kept
    cp -a /var/lib/regent/. /run/kept/
    rm -rf /run/kept/journal
    mount -t tmpfs -o size=24m,mode=700 tmpfs /var/lib/regent
    cp -a /run/kept/. /var/lib/regent/
    systemctl start regent";

const FILL: &str = "dd if=/dev/zero of=/var/lib/regent/filler bs=64k 2>/dev/null || true
    dd if=/dev/zero of=/var/lib/regent/filler2 bs=512 2>/dev/null || true";

fn run(watched: &mut Watched) -> Result<()> {
    let active = watched.cluster.active()?;
    let full = other_of(&active);
    watched.cluster.lab.host(full)?.shell(SMALL_DISK)?;
    watched.cluster.wait_in_sync(SYNC)?;
    let reserve = "/var/lib/regent/reserve";
    wait_for("the reserve", TOLD, || {
        let there = format!("test -s {reserve} && echo yes || true");
        Ok((watched.cluster.lab.host(full)?.shell(&there)?.trim() == "yes").then_some(()))
    })?;
    say::line(&format!("fault   the disk of /var/lib/regent on {full}, the standby, is full"));
    let from = now_us();
    watched.cluster.lab.host(full)?.shell(FILL)?;
    expect_told(watched, WORDS)?;
    restarts(watched, full)?;
    ensure!(watched.moves_since(from) == 0, "it moved");

    watched.recorder.attempt(Attempt::Write)?;
    let before = now_us();
    say::line(&format!("fault   power-off of {active}, the active host"));
    watched.power_off_node(&active)?;
    watched.wait_served_by(full)?;
    watched.recorder.wait_steady(STEADY, SYNC)?;
    let figures = watched.recorder.tape().figures(before, now_us(), Attempt::Write);
    let gap = figures.client_gap_ms;
    say::line(&format!("case    client without a write for {gap} ms"));
    ensure!(gap <= GAP_MS, "client without a write for {gap} ms");
    watched.power_on_node(&active)?;
    watched.cluster.wait_in_sync(SYNC)?;

    let serving = now_us();
    restarts(watched, full)?;
    ensure!(watched.moves_since(serving) == 0, "it moved");
    ensure!(watched.cluster.active()? == full, "it moved");

    say::line("case    there is room again");
    let room = now_us();
    watched.cluster.lab.host(full)?.shell("rm /var/lib/regent/filler*")?;
    wait_event(watched, full, room, ("state.room", "has room again"), TOLD)?;
    wait_for("status to be well", TOLD, || {
        let told = watched.cluster.told(full, &["status"])?;
        Ok((!told.contains(WORDS)).then_some(()))
    })
}

/// Both nodes say so, with the exit code for it.
fn expect_told(watched: &Watched, words: &str) -> Result<()> {
    for node in NODES {
        wait_for(&format!("status on {node} to tell"), TOLD, || {
            let told = watched.cluster.told(node, &["status"])?;
            Ok(told.contains(words).then_some(()))
        })?;
        let status = regent(watched, node, "status")?;
        ensure!(status.code == DEGRADED, "exit {}: {}", status.code, status.text);
    }
    Ok(())
}

/// The agent is started anew again and again, and each time at the first try.
fn restarts(watched: &Watched, node: &str) -> Result<()> {
    let host = watched.cluster.lab.host(node)?;
    for n in 1..=RESTARTS {
        let from = now_us();
        // With Type=notify this returns once it is a member again.
        host.shell("systemctl restart regent")?;
        let tries = host.run(&["systemctl", "show", "-p", "NRestarts", "--value", "regent"])?;
        ensure!(tries.trim() == "0", "restart {n}: systemd started it {} times more", tries.trim());
        wait_for("its answer", TOLD, || Ok(watched.cluster.status_of(node).map(drop)))?;
        let ms = (now_us() - from) / 1000;
        say::line(&format!("case    {node}: restart {n}: it answers after {ms} ms"));
    }
    watched.cluster.wait_in_sync(SYNC).map(drop)
}
