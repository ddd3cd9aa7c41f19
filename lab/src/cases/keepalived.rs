//! keepalived as the driver: killed, hung, with its file edited, and beside a foreign router with the same id. Nothing
//! of it moves the VIP, and a switchover waits for none of it.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::case::{Case, Run, Tier};
use super::kit::{command, regent, wait_event};
use crate::cluster::{Driver, NODES, Settings};
use crate::fault::{Watched, other_of};
use crate::run::{now_us, wait_for};
use crate::say;

pub(super) const CASE: Case = Case {
    name: "keepalived",
    about: "keepalived killed, hung, edited, beside a foreign router: the VIP stays, and moves when asked",
    tier: Tier::Default,
    run: Run::Configured(settings, run),
};

const UNIT: &str = "keepalived.service";
const FILE: &str = "/etc/keepalived/keepalived.conf";
const ROUTER: &str = "global_defs {
    vrrp_version 3
}
vrrp_instance x {
    state MASTER
    interface host0
    virtual_router_id 100
    priority 255
    advert_int 0.1
    virtual_ipaddress {
        10.77.0.67/32
    }
}";
/// The file is compared every ten seconds.
const NOTICED: Duration = Duration::from_secs(25);
const SYNC: Duration = Duration::from_secs(60);

fn settings() -> Settings {
    Settings { driver: Driver::Keepalived, ..Settings::brisk() }
}

fn run(watched: &mut Watched) -> Result<()> {
    for node in NODES {
        let host = watched.cluster.lab.host(node)?;
        wait_for(&format!("keepalived on {node}"), NOTICED, || {
            Ok(host.run(&["systemctl", "is-active", UNIT]).ok())
        })?;
    }
    let active = watched.cluster.active()?;
    let label = watched.cluster.lab.host(&active)?.shell("ip -o addr show dev host0")?;
    ensure!(label.contains("host0:vip"), "no label: {label}");
    let from = now_us();
    killed(watched, &active)?;
    edited(watched, &active)?;
    foreign(watched)?;
    let moves = watched.moves_since(from);
    ensure!(moves == 0 && watched.cluster.active()? == active, "{moves} moves");
    hung(watched, &active)
}

fn main_pid(watched: &Watched, node: &str) -> Result<String> {
    let argv = ["systemctl", "show", "--property=MainPID", "--value", UNIT];
    watched.cluster.lab.host(node)?.run(&argv).map(|pid| pid.trim().to_owned())
}

fn killed(watched: &Watched, active: &str) -> Result<()> {
    let before = main_pid(watched, active)?;
    say::line(&format!("fault   keepalived killed on {active}"));
    watched.cluster.kill_unit(active, UNIT)?;
    wait_for("another keepalived", NOTICED, || {
        let now = main_pid(watched, active)?;
        Ok((now != before && now != "0").then_some(()))
    })
}

fn edited(watched: &Watched, active: &str) -> Result<()> {
    let from = now_us();
    let host = watched.cluster.lab.host(active)?;
    say::line(&format!("fault   somebody edits {FILE} on {active} and reloads"));
    host.shell(&format!("sed -i 's/10.77.0.100/10.77.0.99/' {FILE}; systemctl reload {UNIT}"))?;
    wait_event(watched, active, from, ("keepalived.drift", "regent keepalived repair"), NOTICED)?;
    let diff = regent(watched, active, "keepalived diff")?;
    ensure!(diff.code == 5 && diff.text.contains("10.77.0.99"), "{}: {}", diff.code, diff.text);
    let shown = command(watched, active, "keepalived repair")?;
    ensure!(shown.contains(".edited"), "{shown}");
    let diff = regent(watched, active, "keepalived diff")?;
    ensure!(diff.code == 0, "still: {}", diff.text);
    wait_event(watched, active, from, ("keepalived.well", ""), NOTICED).map(drop)
}

/// On the witness, which is no member of keepalived's kind.
fn foreign(watched: &Watched) -> Result<()> {
    let from = now_us();
    let router = watched.cluster.lab.host("w1")?;
    say::line("fault   a foreign router on w1 with our id and priority 255");
    router.shell(&format!(
        "mkdir -p /run/foreign; cd /run/foreign; echo '{ROUTER}' > router.conf; \
         keepalived --vrrp -f /run/foreign/router.conf -p /run/foreign/main.pid -r /run/foreign/vrrp.pid"
    ))?;
    for node in NODES {
        let words = ("keepalived.foreign-router", "priority 255");
        let alarm = wait_event(watched, node, from, words, NOTICED)?;
        ensure!(alarm.severity == "alarm", "{}", alarm.severity);
    }
    router.shell("kill $(cat /run/foreign/main.pid)").map(drop)
}

fn hung(watched: &Watched, active: &str) -> Result<()> {
    let from = now_us();
    let signal = |node: &str, signal: &str| {
        let line = format!("kill -{signal} $(cat /run/regent/keepalived/*.pid)");
        watched.cluster.lab.host(node)?.shell(&line).map(drop)
    };
    say::line("fault   keepalived hung on both nodes");
    NODES.iter().try_for_each(|node| signal(node, "STOP"))?;
    let other = other_of(active);
    command(watched, active, &format!("switchover --to {other}"))?;
    watched.wait_served_by(other)?;
    // The move did not wait for what the watch finds out within a second.
    wait_event(watched, other, from, ("keepalived.unwell", ""), NOTICED)?;
    NODES.iter().try_for_each(|node| signal(node, "CONT"))?;
    wait_event(watched, other, from, ("keepalived.well", ""), NOTICED)?;
    ensure!(watched.cluster.active()? == other, "it moved again");
    watched.cluster.wait_in_sync(SYNC).map(drop)
}
