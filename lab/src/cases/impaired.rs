//! A bad network between the two management nodes, with the witness and the clients near both:
//! one owner throughout, at most one move in the whole time, nothing lost, and in sync again when
//! the network is good. And one around the active, towards the standby and the witness: its right
//! hardly ever lapses.
//!
//! By hand, `LAB_IMPAIR_SECONDS` says how long, without it a minute, and `LAB_IMPAIR` how bad instead:
//! `LAB_IMPAIR="--loss 5% --delay 50ms"`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::case::{Case, Run, Tier};
use crate::cluster::WITNESS;
use crate::fault::{Watched, other_of};
use crate::impair::{Counts, Impairment, Settings, Share, State};
use crate::run::{now_us, wait_for};
use crate::seen::Attempt;
use crate::standstill::{Standstills, excuses};
use crate::{history, say};

pub(super) const BOTH_WAYS: Case = Case {
    name: "impaired",
    about: "30 % loss, 500 ms delay and 10 % reordering between the nodes: at most one move",
    tier: Tier::Default,
    run: Run::Watched(both_ways),
};

pub(super) const ONE_WAY: Case = Case {
    name: "impaired-one-way",
    about: "30 % of what the active says to the standby is lost, nothing the other way",
    tier: Tier::All,
    run: Run::Watched(one_way),
};

pub(super) const AROUND_ACTIVE: Case = Case {
    name: "impaired-around-active",
    about: "30 % loss on both links of the active, both ways: its right does not lapse, no move",
    tier: Tier::Default,
    run: Run::Watched(around_active),
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
const SYNC: Duration = Duration::from_secs(60);
/// Frames below which a share says nothing.
const ENOUGH: u64 = 1000;
/// What the active tells when no renewal was won in time; its gate is closed then.
const LAPSE: &str = "lease.lost";
/// Longer than a right: a machine that stood still so short a time before may have cost it.
const RIGHT: Duration = Duration::from_secs(1);
/// Far beyond any answer of a good network, even if both frames overtake.
const FAR_MS: u64 = 100;
/// No write in so long is a service that stands still: a follower that keeps commits waiting is dropped after a
/// second, and a move takes less than two.
const STILL_MS: u64 = 5_000;

fn both_ways(watched: &mut Watched) -> Result<()> {
    if let Some(given) = given()? {
        return suffer(watched, given, Some(given)).map(drop);
    }
    let Suffered { state, still_ms } = suffer(watched, BAD, Some(BAD))?;
    for (from, to, counts) in &state.lanes {
        expect_lost(counts)?;
        // Hardly a reordered frame draws no delay at all.
        let left = counts.came - counts.lost;
        ensure!(counts.delayed * 100 >= left * 99, "{from} to {to}: not delayed: {counts:?}");
        ensure!(counts.reordered > 0, "{from} to {to}: none reordered: {counts:?}");
    }
    ensure!(still_ms <= STILL_MS, "the client stood still for {still_ms} ms");
    Ok(())
}

fn one_way(watched: &mut Watched) -> Result<()> {
    let Suffered { state, still_ms } = suffer(watched, LOSSY, None)?;
    ensure!(state.lanes.len() == 1, "impaired both ways: {state:?}");
    expect_lost(&state.lanes[0].2)?;
    ensure!(still_ms <= STILL_MS, "the client stood still for {still_ms} ms");
    Ok(())
}

/// The links to both other voters lose what they lose at once: a renewal needs one of the two. A lapse counts unless
/// the machine of the lab itself stood still then.
fn around_active(watched: &mut Watched) -> Result<()> {
    let before = watched.cluster.status().context("no status")?;
    let active = before.active().context("nobody active")?.to_owned();
    let from = now_us();
    let impairments = [other_of(&active), WITNESS]
        .map(|other| {
            let between = [active.as_str(), other];
            Impairment::start(&watched.cluster.lab, between, Some(LOSSY), Some(LOSSY), SEED)
        })
        .into_iter()
        .collect::<Result<Vec<Impairment>>>()?;
    let standstills = Standstills::watch();
    watch(watched, &impairments, from + length().as_micros() as u64)?;
    let standstills = standstills.end();
    let states = impairments.iter().map(Impairment::heal).collect::<Result<Vec<State>>>()?;
    let healed = now_us();
    states.iter().for_each(State::tell);
    let after = watched.cluster.wait_in_sync(SYNC)?;
    let (excused, lapses): (Vec<_>, Vec<_>) =
        history::since(watched.cluster.lab.host(&active)?, from)
            .into_iter()
            .filter(|event| event.code == LAPSE)
            .partition(|event| excuses(&standstills, event.at, RIGHT));
    let moves = moves(watched, from).max(after.epoch - before.epoch);
    let figures = watched.recorder.tape().figures(from, healed, Attempt::Write);
    let lost = watched.lost_between(from, healed)?;
    say::line(&format!(
        "result  both links of {active} impaired for {:.0} s: {} lapses of its right, {} \
         more as this machine stood still ({} times); {moves} moves; client without a write {} ms at most; {} writes acknowledged, {lost} lost; two \
         owners {} ms",
        (healed - from) as f64 / 1e6,
        lapses.len(),
        excused.len(),
        standstills.len(),
        figures.client_gap_ms,
        figures.acknowledged,
        figures.dual_ms
    ));
    for (_, _, counts) in states.iter().flat_map(|state| &state.lanes) {
        expect_lost(counts)?;
    }
    ensure!(lapses.is_empty(), "the right lapsed {} times: {lapses:?}", lapses.len());
    ensure!(moves == 0, "{moves} moves");
    Ok(())
}

/// What came of a bad network.
struct Suffered {
    state: State,
    still_ms: u64,
}

/// A network as bad as this from the active to the standby, and back.
fn suffer(watched: &mut Watched, there: Settings, back: Option<Settings>) -> Result<Suffered> {
    let before = watched.cluster.status().context("no status")?;
    let active = before.active().context("nobody active")?.to_owned();
    let between = [active.as_str(), other_of(&active)];
    let from = now_us();
    let impairment = Impairment::start(&watched.cluster.lab, between, Some(there), back, SEED)?;
    if back == Some(BAD) {
        expect_far(watched, between)?;
    }
    watch(watched, std::slice::from_ref(&impairment), from + length().as_micros() as u64)?;
    let state = impairment.heal()?;
    let healed = now_us();
    state.tell();
    let after = watched.cluster.wait_in_sync(SYNC)?;
    let in_sync = now_us();
    let moves = moves(watched, from).max(after.epoch - before.epoch);
    let figures = watched.recorder.tape().figures(from, healed, Attempt::Write);
    let lost = watched.lost_between(from, healed)?;
    say::line(&format!(
        "result  impaired for {:.0} s: {moves} moves; client without a write {} ms at most; {} \
         writes acknowledged, {lost} lost; two owners {} ms; in sync {:.1} s after it",
        (healed - from) as f64 / 1e6,
        figures.client_gap_ms,
        figures.acknowledged,
        figures.dual_ms,
        (in_sync - healed) as f64 / 1e6
    ));
    ensure!(moves <= 1, "{moves} moves");
    Ok(Suffered { state, still_ms: figures.client_gap_ms })
}

/// The share that was to be lost is lost, and nothing else.
fn expect_lost(counts: &Counts) -> Result<()> {
    let share = counts.lost * 100 / counts.came.max(1);
    ensure!(counts.came < ENOUGH || (25..=34).contains(&share), "{share} % lost: {counts:?}");
    ensure!(counts.overflowed == 0, "too many frames at once: {counts:?}");
    Ok(())
}

/// The network is as bad as it was made: an ARP answer takes both ways.
fn expect_far(watched: &Watched, [from, to]: [&str; 2]) -> Result<()> {
    let lab = &watched.cluster.lab;
    let line = format!("arping -f -w 20 -I host0 {} | grep reply", lab.host(to)?.spec.address);
    let began = now_us();
    lab.host(from)?.shell(&line).context("no ARP answer of the other node")?;
    let took = (now_us() - began) / 1000;
    say::line(&format!("impair  the first ARP answer of {to} came to {from} after {took} ms"));
    ensure!(took >= FAR_MS, "an ARP answer after {took} ms");
    Ok(())
}

/// Until then, with the forwarders alive; tells each change of the cluster on the way.
fn watch(watched: &Watched, impairments: &[Impairment], until: u64) -> Result<()> {
    let mut told = String::new();
    let mut looked = 0;
    let bound = Duration::from_micros(until.saturating_sub(now_us())) + LOOK;
    wait_for("the end of the bad network", bound, || {
        if now_us() - looked > LOOK.as_micros() as u64 {
            looked = now_us();
            for impairment in impairments {
                impairment.state()?;
            }
            let brief = watched.cluster.status().map(|status| status.brief()).unwrap_or_default();
            if brief != told {
                say::line(&format!("status  {brief}"));
                told = brief;
            }
        }
        Ok((now_us() >= until).then_some(()))
    })
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
