//! A service that dies again and again: the VIP moves no more often than the policy's hold-down,
//! and one that never comes up is given up after the tries of the policy, with an alarm.
//!
//! `LAB_FLAPPING_SECONDS` is the time between two deaths: 5 without it, 20 for the long form.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::case::{Case, Run, Tier};
use super::kit::{throughout, wait_event};
use crate::cluster::{NODES, Settings};
use crate::fault::{Watched, other_of};
use crate::run::now_us;
use crate::say;
use crate::service::{Harm, Service, inflict};

pub(super) const CASE: Case = Case {
    name: "flapping",
    about: "a service dies on both nodes six times per two hold-downs: the VIP moves by hold-down",
    tier: Tier::Default,
    run: Run::Configured(often, flapping),
};

pub(super) const GIVEN_UP: Case = Case {
    name: "given-up",
    about: "a service that never starts: restarted with back-off, given up with an alarm, no loop",
    tier: Tier::Default,
    run: Run::Configured(three_tries, given_up),
};

/// Deaths, and how many of them fit into a hold-down.
const DEATHS: u32 = 6;
const PER_HOLD_DOWN: u64 = 3;
const SLACK_US: u64 = 1_000_000;
const SYNC: Duration = Duration::from_secs(60);
const GIVE_UP: Duration = Duration::from_secs(30);
const CALM: Duration = Duration::from_secs(8);

fn period() -> u64 {
    let given = std::env::var("LAB_FLAPPING_SECONDS").ok().and_then(|text| text.parse().ok());
    given.unwrap_or(5)
}

fn often() -> Settings {
    let hold_down = period() * PER_HOLD_DOWN;
    Settings { policy: format!("hold-down = \"{hold_down}s\"\n"), ..Settings::default() }
}

fn flapping(watched: &mut Watched) -> Result<()> {
    let service = Service::Management;
    let from = now_us();
    for death in 1..=DEATHS {
        let at = now_us();
        say::line(&format!("fault   {} killed on both nodes, {death} of {DEATHS}", service.name()));
        for node in NODES {
            inflict(watched.cluster.lab.host(node)?, service, Harm::Killed)
                .with_context(|| format!("{} was not restored on {node}", service.name()))?;
        }
        let left = Duration::from_secs(period()).as_micros() as u64;
        std::thread::sleep(Duration::from_micros((at + left).saturating_sub(now_us())));
    }
    watched.cluster.wait_in_sync(SYNC)?;
    let owners = watched.owners_since(from);
    let hold_down = period() * PER_HOLD_DOWN * 1_000_000;
    let most = (now_us() - from) / hold_down + 1;
    say::line(&format!("case    {} moves, at most {most}", watched.moves_since(from)));
    ensure!(watched.moves_since(from) as u64 <= most, "{owners:?}");
    // The first entry is who had it before.
    for pair in owners.get(1..).unwrap_or_default().windows(2) {
        let apart = pair[1].1.saturating_sub(pair[0].1);
        ensure!(apart + SLACK_US >= hold_down, "two moves {} ms apart", apart / 1000);
    }
    Ok(())
}

fn three_tries() -> Settings {
    Settings { policy: "hold-down = \"5s\"\ntries = 3\n".to_owned(), ..Settings::default() }
}

fn given_up(watched: &mut Watched) -> Result<()> {
    let service = Service::Management;
    let active = watched.cluster.active()?;
    let other = other_of(&active);
    let host = watched.cluster.lab.host(&active)?;
    let dropin = format!("/run/systemd/system/{}.d", service.unit());
    host.shell(&format!(
        "mkdir -p {dropin}; printf '[Service]\\nType=simple\\nExecStart=\\nExecStart=/bin/false\\n' \
         > {dropin}/broken.conf; systemctl daemon-reload"
    ))?;
    let from = now_us();
    say::line(&format!("fault   {} of {active} can start no more, and is killed", service.name()));
    inflict(host, service, Harm::Killed)?;
    watched.wait_served_by(other)?;
    let event = wait_event(watched, &active, from, ("service.given-up", service.name()), GIVE_UP)?;
    ensure!(event.severity == "alarm", "{}", event.severity);
    let status = watched.cluster.status_of(&active).context("no status")?;
    let part = status
        .node(&active)
        .and_then(|node| node.services.iter().find(|part| part.name == service.name()).cloned());
    ensure!(part.as_ref().is_some_and(|part| part.given_up), "status shows {part:?}");
    let tries = tries_since(watched, &active, from)?;
    throughout(CALM, || Ok(()))?;
    ensure!(tries_since(watched, &active, from)? == tries, "started again after it was given up");
    ensure!(tries == 3, "{tries} tries");
    ensure!(watched.moves_since(from) == 1, "{} moves", watched.moves_since(from));

    let host = watched.cluster.lab.host(&active)?;
    host.shell(&format!("rm -r {dropin}; systemctl daemon-reload"))?;
    host.run(&["systemctl", "start", service.unit()])?;
    watched.cluster.wait_in_sync(SYNC)?;
    let status = watched.cluster.status().context("no status")?;
    ensure!(status.active() == Some(other), "a failback by itself: {}", status.brief());
    Ok(())
}

fn tries_since(watched: &Watched, node: &str, from: u64) -> Result<usize> {
    let events = crate::history::since(watched.cluster.lab.host(node)?, from);
    Ok(events.iter().filter(|event| event.code == "service.restoring").count())
}
