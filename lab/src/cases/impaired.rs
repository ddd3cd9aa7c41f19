//! A bad network between the two management nodes, with the witness and the clients near both:
//! one owner throughout, at most one move in the whole time, nothing lost, and in sync again when
//! the network is good.
//!
//! By hand, `LAB_IMPAIR_SECONDS` says how long, without it a minute, and `LAB_IMPAIR` how bad instead:
//! `LAB_IMPAIR="--loss 5% --delay 50ms"`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Case, Run};
use crate::client::Attempt;
use crate::cluster::NODES;
use crate::fault::Watched;
use crate::impair::{Impairment, Settings, Share, State};
use crate::run::{now_us, wait_for};
use crate::say;

pub(super) const BOTH_WAYS: Case = Case {
    name: "impaired",
    about: "30 % loss, 500 ms delay and 10 % reordering between the nodes: at most one move",
    run: Run::Watched(both_ways),
};

pub(super) const ONE_WAY: Case = Case {
    name: "impaired-one-way",
    about: "30 % of what the active says to the standby is lost, nothing the other way",
    run: Run::Watched(one_way),
};

const LOSS: Share = Share::percent(30);
const BAD: Settings = Settings {
    loss: LOSS,
    delay: Duration::from_millis(500),
    jitter: Duration::ZERO,
    reorder: Share::percent(10),
    duplicate: Share::percent(0),
};
const LOSSY: Settings =
    Settings { loss: LOSS, delay: Duration::ZERO, reorder: Share::percent(0), ..BAD };
/// The same fates in every run, as far as the frames are the same.
const SEED: u64 = 4;
const LENGTH: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_secs(2);
/// Frames below which a share says nothing.
const ENOUGH: u64 = 500;
/// Clients of a cluster that has moved once have waited this long at most.
const STILL_MS: u64 = 5_000;
const SYNC: Duration = Duration::from_secs(60);

fn both_ways(watched: &mut Watched) -> Result<()> {
    let given = given()?;
    let seen = suffer(watched, Some(given.unwrap_or(BAD)))?;
    if given.is_some() {
        return Ok(());
    }
    let (_, _, counts) = seen.lanes.first().context("no direction")?;
    // Hardly a reordered frame draws no delay at all.
    let left = counts.came - counts.lost;
    ensure!(counts.delayed * 100 >= left * 99, "not all delayed: {counts:?}");
    ensure!(counts.reordered > 0, "none reordered: {counts:?}");
    Ok(())
}

fn one_way(watched: &mut Watched) -> Result<()> {
    suffer(watched, None).map(drop)
}

/// Both ways as bad, or lossy from the active to the standby only.
fn suffer(watched: &mut Watched, both: Option<Settings>) -> Result<State> {
    let before = watched.cluster.status().context("no status")?;
    let active = before.active().context("nobody active")?.to_owned();
    let standby = NODES.into_iter().find(|node| *node != active).context("no standby")?;
    let from = now_us();
    let between = [active.as_str(), standby];
    let there = both.unwrap_or(LOSSY);
    let impairment = Impairment::start(&watched.cluster.lab, between, Some(there), both, SEED)?;
    if both == Some(BAD) {
        expect_far(watched, &active, standby)?;
    }
    watch(watched, &impairment, from + length().as_micros() as u64)?;
    let state = impairment.heal()?;
    let healed = now_us();
    state.tell();
    let during = tell(watched, from, healed, "impaired");
    let after = watched.cluster.wait_in_sync(SYNC)?;
    let moves = moves(watched, from).max(after.epoch - before.epoch);
    say::line(&format!(
        "impair  in sync {:.1} s after the network was good again; {moves} moves in all",
        (now_us() - healed) as f64 / 1e6
    ));
    for (from, to, counts) in &state.lanes {
        let share = counts.lost * 100 / counts.came.max(1);
        let is_so = counts.came < ENOUGH || there.loss != LOSS || (25..=35).contains(&share);
        ensure!(is_so && counts.overflowed == 0, "{from} to {to}: {counts:?}");
    }
    ensure!(moves <= 1, "{moves} moves");
    ensure!(during <= STILL_MS, "the client stood still for {during} ms");
    Ok(state)
}

/// The network is as bad as it was made: an ARP answer takes both ways.
fn expect_far(watched: &Watched, from: &str, to: &str) -> Result<()> {
    let lab = &watched.cluster.lab;
    let line = format!("arping -f -w 20 -I host0 {} | grep reply", lab.host(to)?.spec.address);
    let began = now_us();
    let said = lab.host(from)?.shell(&line).context("no ARP answer of the other node")?;
    let took = (now_us() - began) / 1000;
    say::line(&format!("impair  {}", said.trim()));
    ensure!(took >= 2 * BAD.delay.as_millis() as u64 / 10, "an ARP answer after {took} ms");
    Ok(())
}

/// Until then, with the forwarder alive; tells each change of the cluster on the way.
fn watch(watched: &Watched, impairment: &Impairment, until: u64) -> Result<()> {
    let mut told = String::new();
    let mut looked = 0;
    let bound = Duration::from_micros(until.saturating_sub(now_us())) + LOOK;
    wait_for("the end of the bad network", bound, || {
        if now_us() - looked > LOOK.as_micros() as u64 {
            looked = now_us();
            impairment.state()?;
            let brief = watched.cluster.status().map(|status| status.brief()).unwrap_or_default();
            if brief != told {
                say::line(&format!("status  {brief}"));
                told = brief;
            }
        }
        Ok((now_us() >= until).then_some(()))
    })
}

/// Tells the figures of the time and returns the client's longest gap in it.
fn tell(watched: &Watched, from: u64, to: u64, what: &str) -> u64 {
    let figures = watched.recorder.tape().figures(from, to, Attempt::Write);
    say::line(&format!(
        "result  {what} for {:.0} s: {} moves; client without a write {} ms at most; {} writes \
         acknowledged; two owners {} ms",
        (to - from) as f64 / 1e6,
        moves(watched, from),
        figures.client_gap_ms,
        figures.acknowledged,
        figures.dual_ms
    ));
    figures.client_gap_ms
}

/// How often another host spoke for the VIP since then.
fn moves(watched: &Watched, from: u64) -> u64 {
    let tape = watched.recorder.tape();
    let since: Vec<&String> =
        tape.frames.iter().filter(|(_, _, last)| *last >= from).map(|(mac, _, _)| mac).collect();
    since.windows(2).filter(|pair| pair[0] != pair[1]).count() as u64
}

/// How bad a person wants it.
fn given() -> Result<Option<Settings>> {
    #[derive(clap::Parser)]
    struct Given {
        #[command(flatten)]
        settings: Settings,
    }
    let Ok(words) = std::env::var("LAB_IMPAIR") else { return Ok(None) };
    let argv = ["LAB_IMPAIR"].into_iter().chain(words.split_whitespace());
    Ok(Some(<Given as clap::Parser>::try_parse_from(argv)?.settings))
}

fn length() -> Duration {
    let given = std::env::var("LAB_IMPAIR_SECONDS").ok().and_then(|text| text.parse().ok());
    given.map_or(LENGTH, Duration::from_secs)
}
