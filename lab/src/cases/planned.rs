//! A planned move is refused while the other copy is not in sync, and costs little when it is.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::kit::{command, expect_explained, regent, wait_event};
use super::{Case, Run};
use crate::client::Attempt;
use crate::fault::{Watched, other_of};
use crate::run::now_us;
use crate::say;

pub(super) const CASE: Case = Case {
    name: "planned",
    about: "switchover: refused when not in sync; in sync the client writes again within 2 s",
    run: Run::Watched(run),
};

const REFUSED: i32 = 7;
const GAP_MS: u64 = 2_000;
const SYNC: Duration = Duration::from_secs(60);
const STEADY: Duration = Duration::from_secs(1);
const TOLD: Duration = Duration::from_secs(5);

fn run(watched: &mut Watched) -> Result<()> {
    let active = watched.cluster.active()?;
    let other = other_of(&active);
    let words = format!("switchover --to {other}");
    watched.power_off_node(other)?;
    watched.recorder.wait_steady(STEADY, SYNC)?;
    let refused = regent(watched, &active, &words)?;
    ensure!(refused.code == REFUSED, "exit {}: {}", refused.code, refused.text);
    ensure!(refused.text.contains(other), "the refusal names no node: {}", refused.text);
    watched.power_on_node(other)?;
    watched.cluster.wait_in_sync(SYNC)?;
    watched.recorder.wait_steady(STEADY, SYNC)?;

    let from = now_us();
    command(watched, &active, &words)?;
    watched.wait_served_by(other)?;
    watched.recorder.wait_steady(STEADY, SYNC)?;
    let gap = watched.recorder.tape().figures(from, now_us(), Attempt::Write).client_gap_ms;
    say::line(&format!("case    client without a write for {gap} ms"));
    ensure!(gap <= GAP_MS, "client without a write for {gap} ms");
    wait_event(watched, other, from, ("role.active", "away for"), TOLD)
        .context("history has no measured outage")?;
    expect_explained(watched, other, "an operator asked")
}
