//! Check 33 and 34 on two hosts by hand: the active host is cut off and its disk is still shared. Nobody takes over
//! without an operator's word; the claim of whoever was told so stops the cut host; and when its cable is back it
//! stays passive.

use std::time::Duration;

use anyhow::{Result, anyhow, ensure};

use super::case::{Case, Run, Tier};
use super::kit::throughout;
use super::xcat_crash::rejoin;
use super::xcat_kit::{
    ACTIVE_ELSEWHERE, Clients, NO_QUORUM, NOT_PROVEN_CLEAR, expect_active, expect_passive,
    expect_row, wait_passive, with,
};
use crate::lab::VIP;
use crate::run::{now_us, wait_for};
use crate::say;
use crate::shared::{Choice, Shared};
use crate::xcat::{self, Db};

pub(super) const BY_HAND: Case = Case {
    name: "xcat-cut-by-hand",
    about: "the active is cut off, an operator says it is off: the claim stops it; its cable is back",
    tier: Tier::All,
    run: Run::Alone(|| with(Choice::by_hand(Db::Sqlite), by_hand)),
};

/// Another node is active, may still use the data, or there is no majority: which of them depends on how much of the
/// silence was noticed.
pub(super) const REFUSALS: [i32; 3] = [ACTIVE_ELSEWHERE, NOT_PROVEN_CLEAR, NO_QUORUM];
const BOUND: Duration = Duration::from_secs(60);
const SILENT: Duration = Duration::from_secs(4);
/// How long the VIP is asked for after the cable is back.
const WATCH_S: u32 = 20;

/// Milliseconds until no process of this name is left on the node.
pub(super) fn until_gone(shared: &Shared, node: &str, name: &str, from: u64) -> Result<u64> {
    let host = shared.lab.host(node)?;
    wait_for(&format!("the end of {name} on {node}"), BOUND, || {
        let left = host.shell(&format!("pgrep -x {name} || true"))?;
        Ok(left.is_empty().then_some(()))
    })?;
    Ok((now_us() - from) / 1000)
}

fn by_hand(shared: &mut Shared) -> Result<()> {
    shared.regent("mn1", "activate")?.expect(0)?;
    let clients = Clients::start(shared)?;
    xcat::write_row(shared.client()?, "kept", "yes")?;
    shared.lab.host("mn1")?.cut()?;
    say::line("fault   mn1, active, is cut off; the data are still shared");
    throughout(SILENT, || Ok(()))?;
    let refused = shared.regent("mn2", "activate")?;
    ensure!(REFUSALS.contains(&refused.code), "exit {}: {}", refused.code, refused.text);
    expect_passive(shared, "mn2")?;
    let from = now_us();
    let gone = std::thread::scope(|threads| -> Result<u64> {
        let seen: &Shared = shared;
        let gone = threads.spawn(move || until_gone(seen, "mn1", "xcatd", from));
        seen.regent("mn2", "activate --confirm-peer-is-off mn1")?.expect(0)?;
        gone.join().map_err(|_| anyhow!("the thread that looks at mn1 ended"))?
    })?;
    say::line(&format!("result  no xcatd on mn1 {gone} ms after the operator's word for mn2"));
    expect_active(shared, "mn2")?;
    clients.expect_served(shared)?;
    expect_row(shared, "kept")?;

    let from = now_us();
    shared.lab.host("mn1")?.heal()?;
    say::line("fault   the cable of mn1 is back");
    let mac = shared.lab.host("mn2")?.spec.mac.to_uppercase();
    let asked = format!("arping -c {WATCH_S} -w {WATCH_S} -I host0 {VIP} || true");
    let told = shared.client()?.enter(&["/bin/sh", "-c", &asked], BOUND)?;
    let told = crate::shared::said(&told);
    let answers = told.lines().filter(|line| line.to_lowercase().contains("reply from"));
    let others: Vec<&str> =
        answers.clone().filter(|line| !line.to_uppercase().contains(&mac)).collect();
    ensure!(answers.count() > 5, "hardly an answer: {told}");
    ensure!(others.is_empty(), "somebody else answers for the VIP: {others:?}");
    let seconds = (now_us() - from) / 1_000_000;
    say::line(&format!("result  for {seconds} s mn2 alone answered for the VIP"));
    wait_passive(shared, "mn1")?;
    rejoin(shared, "mn2", "mn1", true)?;
    expect_active(shared, "mn2")
}
