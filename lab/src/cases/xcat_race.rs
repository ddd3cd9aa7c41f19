//! Check 21: both hosts are activated at the same instant, again and again. Exactly one wins, the other is refused
//! and keeps everything as it was; the unit on the shared data never runs on both.

use std::sync::Barrier;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use super::case::{Case, Run, Tier};
use super::xcat_kit::{expect_active, expect_passive, with};
use crate::cluster::NODES;
use crate::lab::VIP;
use crate::run::now_us;
use crate::say;
use crate::shared::{Choice, DATA, Shared};

pub(super) const CASE: Case = Case {
    name: "xcat-race",
    about: "both hosts are activated at the same instant, 20 times: one wins",
    tier: Tier::Part { of: WHOLE.name },
    run: Run::Alone(|| with(Choice::light(), |shared| run(shared, 20))),
};

pub(super) const WHOLE: Case = Case {
    name: "xcat-race-200",
    about: "both hosts are activated at the same instant, 200 times: one wins",
    tier: Tier::All,
    run: Run::Alone(|| with(Choice::light(), |shared| run(shared, 200))),
};

const BOUND: Duration = Duration::from_secs(60);

fn run(shared: &mut Shared, rounds: u32) -> Result<()> {
    let mut won = [0_u32; 2];
    let mut codes = std::collections::BTreeMap::<i32, u32>::new();
    let from = now_us();
    for round in 0..rounds {
        let answers = both(shared).with_context(|| format!("round {round}"))?;
        let winners: Vec<usize> = (0..2).filter(|place| answers[*place].0 == 0).collect();
        ensure!(winners.len() == 1, "round {round}: {answers:?}");
        let (winner, other) = (winners[0], 1 - winners[0]);
        *codes.entry(answers[other].0).or_default() += 1;
        won[winner] += 1;
        expect_active(shared, NODES[winner]).with_context(|| format!("round {round}"))?;
        expect_passive(shared, NODES[other]).with_context(|| format!("round {round}"))?;
        expect_alternating(shared)?;
        let host = shared.lab.host(NODES[winner])?;
        let down = host.enter(&["regent", "deactivate"], BOUND)?;
        ensure!(down.status.success(), "round {round}: {}", crate::shared::said(&down));
        let addresses = host.run(&["ip", "-o", "addr"])?;
        ensure!(!addresses.contains(VIP), "round {round}: {addresses}");
    }
    expect_alternating(shared)?;
    let took = (now_us() - from) / 1_000_000;
    say::line(&format!(
        "result  {rounds} rounds in {took} s: mn1 won {}, mn2 {}; the other one's exit codes {codes:?}",
        won[0], won[1]
    ));
    Ok(())
}

/// `regent activate` on both from the same moment on: exit codes and what was said.
fn both(shared: &Shared) -> Result<[(i32, String); 2]> {
    let start = Barrier::new(2);
    let one = |node: &str| -> Result<(i32, String)> {
        let host = shared.lab.host(node)?;
        start.wait();
        let output = host.enter(&["regent", "activate"], BOUND)?;
        Ok((output.status.code().unwrap_or(-1), crate::shared::said(&output)))
    };
    std::thread::scope(|threads| {
        let [a, b] = NODES.map(|node| {
            let one = &one;
            threads.spawn(move || one(node))
        });
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<(i32, String)>>| {
            thread.join().map_err(|_| anyhow!("a thread ended"))?
        };
        Ok([join(a)?, join(b)?])
    })
}

/// What the unit wrote on the shared data: a start, then a stop of the same node, and so on.
pub(super) fn expect_alternating(shared: &Shared) -> Result<()> {
    let log = shared.lab.host("mn1")?.shell(&format!("cat {DATA}/srv/light/log || true"))?;
    let mut running: Option<&str> = None;
    for line in log.lines() {
        match (line.split_once(' ').context("a line of two words")?, running) {
            (("start", node), None) => running = Some(node),
            (("stop", node), Some(before)) if before == node => running = None,
            (("stop", _), None) => {}
            ((what, node), before) => {
                anyhow::bail!("{what} of {node} while it runs on {before:?}:\n{log}")
            }
        }
    }
    Ok(())
}
