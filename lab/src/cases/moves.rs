//! The faults of the demo, one after the other; and what an operator's move is beside them: it costs little, it says
//! how long nobody answered and who asked for it, and it is refused while the other node is off.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::case::{Case, Run, Tier};
use super::kit::{expect_explained, regent, wait_event};
use crate::fault::{Fault, Outcome, STORY, SYNC_BAR_MS, Watched, other_of};

pub(super) const CASE: Case = Case {
    name: "moves",
    about: "switchover, killed services, power-off, a refused switchover, return, cut: nothing lost",
    tier: Tier::Default,
    run: Run::Watched(run),
};

/// No client waits longer for a planned move.
const PLANNED_MS: u64 = 2_000;
const REFUSED: i32 = 7;
const TOLD: Duration = Duration::from_secs(5);

fn run(watched: &mut Watched) -> Result<()> {
    for fault in STORY {
        let outcome = watched.suffer(fault)?;
        let (lost, dual) = (outcome.lost, outcome.dual_ms);
        ensure!(lost == 0 && dual == 0, "{}: lost {lost}, dual {dual} ms", outcome.fault);
        if fault.leaves_both_alive() {
            let in_sync = outcome.in_sync_ms.unwrap_or(u64::MAX);
            ensure!(in_sync <= SYNC_BAR_MS, "{}: in sync after {in_sync} ms", outcome.fault);
        }
        match fault {
            Fault::Switchover => expect_planned(watched, &outcome)?,
            Fault::PowerOff => expect_refused(watched)?,
            Fault::MariadbKill | Fault::ServiceKill | Fault::Return | Fault::Cut => {}
        }
    }
    Ok(())
}

/// Short, dated, and said who asked for it.
fn expect_planned(watched: &Watched, outcome: &Outcome) -> Result<()> {
    let gap = outcome.client_gap_ms;
    ensure!(gap <= PLANNED_MS, "client without a write for {gap} ms");
    let active = watched.cluster.active()?;
    wait_event(watched, &active, outcome.window.0, ("role.active", "away for"), TOLD)
        .context("history has no measured outage")?;
    expect_explained(watched, &active, "an operator asked")
}

/// A planned move is refused while the other copy is not in sync, by the name of its node.
fn expect_refused(watched: &Watched) -> Result<()> {
    let active = watched.cluster.active()?;
    let other = other_of(&active);
    let refused = regent(watched, &active, &format!("switchover --to {other}"))?;
    ensure!(refused.code == REFUSED, "exit {}: {}", refused.code, refused.text);
    ensure!(refused.text.contains(other), "the refusal names no node: {}", refused.text);
    Ok(())
}
