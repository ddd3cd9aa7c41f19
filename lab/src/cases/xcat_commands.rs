//! An administrator of a management node runs xCAT's own commands, which stop and start services behind Regent's back.
//! That is maintenance, not a failure: nothing moves, and clients wait no longer than the restart takes by itself.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::case::{Case, Run, Tier};
use super::kit::upgrade;
use super::xcat_crash::wait_active;
use super::xcat_kit::{NODE, expect_passive, own_starts, with};
use crate::bmc::Bmc;
use crate::run::{now_us, wait_for};
use crate::shared::{Choice, Shared, said};
use crate::xcat::{self, DOMAIN, Db, Prober};
use crate::{history, say};

pub(super) const CASE: Case = Case {
    name: "xcat-commands",
    about: "an administrator runs makedns -n, makedhcp -n and restarts on the active host: nothing moves",
    tier: Tier::Default,
    run: Run::Alone(|| with(Choice::automatic(Db::Postgresql), run)),
};

pub(super) const MYSQL: Case = Case {
    name: "xcat-commands-mysql",
    about: "the same with MariaDB",
    tier: Tier::All,
    run: Run::Alone(|| with(Choice::automatic(Db::Mysql), run)),
};

/// A command of an administrator; dhcpd's own script takes five seconds for a stop and a start.
const COMMAND: Duration = Duration::from_secs(60);
/// A server that was just started knows its names.
const ANSWER: Duration = Duration::from_secs(20);
/// Prober's own pace, and what systemd needs between a stop and a start on a busy machine.
const ROOM_MS: u64 = 1_500;
/// The first two within a minute, then both makers, then what any administrator does.
const LINES: [&str; 7] = [
    "makedns -n",
    "makedns -n",
    "makedns -n; makedhcp -n",
    RESTART,
    "systemctl restart named",
    "systemctl restart named",
    "systemctl restart named",
];
const RESTART: &str = "systemctl restart xcatd";

fn run(shared: &mut Shared) -> Result<()> {
    let _bmc = Bmc::start(&shared.lab)?;
    shared.regent("mn1", "activate")?.expect(0)?;
    wait_active(shared, "mn1")?;
    wait_names(shared)?;
    let prober = Prober::start(&shared.lab)?;
    prober.wait_answered(now_us(), ANSWER)?;
    let from = now_us();
    for line in LINES {
        let begun = now_us();
        say::line(&format!("admin   mn1: {line}"));
        command(shared, line)?;
        wait_names(shared)?;
        prober.wait_answered(now_us(), ANSWER)?;
        expect_unmoved(shared, from)?;
        let outage = prober.outage_ms(begun, now_us());
        let own = if line == RESTART { restart_ms(shared)? } else { 0 };
        say::line(&format!("result  {line}: 3001 unanswered for {outage} ms, own start {own} ms"));
        ensure!(outage <= own + ROOM_MS, "{line}: 3001 unanswered for {outage} ms");
    }
    say::line("admin   mn1: dpkg installs a package that stops named and starts it 3 s later");
    upgrade(shared.lab.host("mn1")?, "named.service", 3)?;
    wait_names(shared)?;
    wait_active(shared, "mn1")?;
    expect_passive(shared, "mn2")?;
    expect_unmoved(shared, from)
}

/// Each of the commands must succeed, as it would on a host without Regent.
fn command(shared: &Shared, line: &str) -> Result<()> {
    let line = format!("set -e; {line}");
    let output = shared.lab.host("mn1")?.enter(&["/bin/sh", "-c", &line], COMMAND)?;
    ensure!(output.status.success(), "{line}: {}: {}", output.status, said(&output));
    Ok(())
}

/// The VIP's name server knows a node.
fn wait_names(shared: &Shared) -> Result<()> {
    let name = format!("{}.{DOMAIN}", NODE.0);
    wait_for("names on the VIP", ANSWER, || {
        let address = xcat::resolve(shared.client()?, &name).unwrap_or_default();
        Ok((address == NODE.1).then_some(()))
    })
}

/// What xcatd itself needed for its last start; it ends at once.
fn restart_ms(shared: &Shared) -> Result<u64> {
    let starts = own_starts(shared.lab.host("mn1")?, &["xcatd.service"])?;
    starts.first().map(|(_, ms)| *ms).context("no start of xcatd")
}

/// mn1 is the active one, and neither host began a move since then.
fn expect_unmoved(shared: &Shared, from: u64) -> Result<()> {
    let status = shared.status_of("mn1").context("mn1 does not answer")?;
    ensure!(status.role("mn1") == "active", "mn1 is not active: {}", status.brief());
    for node in ["mn1", "mn2"] {
        let events = history::since(shared.lab.host(node)?, from);
        let moved = events.iter().find(|event| event.code == "move.begun");
        ensure!(moved.is_none(), "{node} began to move: {moved:?}");
    }
    Ok(())
}
