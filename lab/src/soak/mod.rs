//! The soak: every minute one of the things that happen to real sites, at random, while clients write through the VIP
//! and a bank keeps its books. After each the cluster must be well again by itself, both copies the same by their
//! checksums, the books right on both, no acknowledged write lost, and at no instant two nodes have owned the address.

pub mod bank;
pub mod deeds;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use comfy_table::{CellAlignment, Table, presets};

use crate::cases::kit::regent;
use crate::cluster::{NODES, Product, Settings};
use crate::demo::stage_of;
use crate::fault::{Watched, other_of};
use crate::gap::{self, median};
use crate::record::Writer;
use crate::run::{now_us, wait_for};
use crate::seen::Attempt;
use crate::{diagnose, say};
use deeds::Deed;

/// In sync again, whatever was done: a start that takes long and a copy after it are in this.
const WELL: Duration = Duration::from_secs(180);
/// Both copies compared at full speed; another comparison may be under way.
const SAME: Duration = Duration::from_secs(180);
const STEADY: Duration = Duration::from_millis(1000);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// What is to be done.
#[derive(Debug)]
pub struct Plan {
    /// In this order.
    pub deeds: Vec<&'static Deed>,
    /// From the begin of one to the begin of the next.
    pub every: Duration,
    /// For the last line.
    pub seed: u64,
}

impl Plan {
    /// One deed for each period, at random: all of them once before any comes again.
    pub fn minutes(minutes: u64, every: u64, seed: u64, only: Vec<String>) -> Result<Plan> {
        let unknown = only.iter().find(|name| deeds::ALL.iter().all(|deed| deed.name != **name));
        let names = || deeds::ALL.iter().map(|deed| deed.name).collect::<Vec<_>>().join(", ");
        ensure!(unknown.is_none(), "{unknown:?} is none of {}", names());
        ensure!(every > 0, "--every must be at least a second");
        let is_chosen = |deed: &&Deed| only.is_empty() || only.iter().any(|name| name == deed.name);
        let chosen: Vec<&Deed> = deeds::ALL.iter().filter(is_chosen).collect();
        let count = (minutes * 60).div_ceil(every) as usize;
        let mut random = fastrand::Rng::with_seed(seed);
        let mut deeds = Vec::new();
        while deeds.len() < count {
            let mut round = chosen.clone();
            random.shuffle(&mut round);
            deeds.extend(round);
        }
        deeds.truncate(count);
        Ok(Plan { deeds, every: Duration::from_secs(every), seed })
    }
}

/// What came of one deed.
#[derive(Debug, Clone)]
struct Came {
    name: &'static str,
    /// Longest time without an acknowledged row of the client with 100 a second, and without a move of the bank.
    client_gap_ms: u64,
    bank_gap_ms: u64,
    /// Without an answer of the management service's interface, which is asked every 0.4 s or less.
    api_gap_ms: u64,
    /// From the deed until both copies were in sync again.
    well_ms: u64,
    acknowledged: u64,
}

/// On a cluster of its own; true if nothing was lost, and everything was well again each time.
pub fn run(plan: &Plan) -> Result<bool> {
    let settings = Settings::brisk();
    let mut watched = Watched::start(stage_of(&Product::beside()?, None, &settings)?)?;
    let ended = on(&mut watched, plan).and_then(|()| {
        watched.recorder.stop_clients();
        let lost = watched.lost_between(0, now_us())?;
        ensure!(lost == 0, "{lost} acknowledged writes lost");
        Ok(())
    });
    if ended.is_err() && !crate::run::is_interrupted() {
        diagnose::collect_tape(&watched.cluster.lab, &watched.recorder.tape());
        diagnose::collect(&watched.cluster.lab);
    }
    ended.map(|()| true)
}

/// The same on a cluster that is there.
pub fn on(watched: &mut Watched, plan: &Plan) -> Result<()> {
    let active = watched.cluster.active()?;
    bank::open(watched.cluster.lab.host(&active)?)?;
    watched.recorder.start_bank(&watched.cluster.lab)?;
    // Its rows would be most of what is compared.
    watched.recorder.attempt(Attempt::Http)?;
    let begun = now_us();
    let mut came = Vec::new();
    for (n, deed) in plan.deeds.iter().enumerate() {
        let due = begun + plan.every.as_micros() as u64 * n as u64;
        wait_for("the next deed", plan.every * 2, || {
            std::thread::sleep(LOOK);
            Ok((now_us() >= due).then_some(()))
        })?;
        if crate::run::is_interrupted() {
            bail!("interrupted after {n} deeds");
        }
        let (nth, of) = (n + 1, plan.deeds.len());
        let one = one(watched, deed, nth, of)
            .with_context(|| format!("deed {nth} of {of}, {}, seed {}", deed.name, plan.seed));
        if one.is_err() {
            table(&came);
        }
        came.push(one?);
    }
    ended(watched, &came, begun, plan)
}

fn one(watched: &mut Watched, deed: &Deed, nth: usize, of: usize) -> Result<Came> {
    watched.recorder.wait_steady(STEADY, WELL).context("before it")?;
    let active = watched.cluster.active()?;
    let other = other_of(&active);
    say::line(&format!("soak    {nth} of {of}: {}; {active} is active", deed.name));
    let from = now_us();
    (deed.run)(watched, &active, other)?;
    watched.cluster.wait_in_sync(WELL)?;
    let well = now_us();
    watched.recorder.wait_steady(STEADY, WELL).context("after it")?;
    let to = now_us();
    same(watched)?;
    for node in NODES {
        bank::audit(watched.cluster.lab.host(node)?)?;
    }
    let figures = watched.recorder.tape().figures(from, to, Attempt::Write);
    ensure!(figures.dual_ms == 0, "two owners for {} ms", figures.dual_ms);
    let lost = watched.lost_between(from, to)?;
    ensure!(lost == 0, "{lost} acknowledged writes lost");
    let came = Came {
        name: deed.name,
        client_gap_ms: figures.client_gap_ms,
        bank_gap_ms: bank_gap(watched, from, to),
        api_gap_ms: api_gap(watched, from, to),
        well_ms: (well - from) / 1000,
        acknowledged: figures.acknowledged,
    };
    say::line(&format!(
        "soak    {nth} of {of}: {}: no row for {} ms, no move of money for {} ms, in sync after {} ms; \
         {} acknowledged, 0 lost, copies equal, books right",
        came.name, came.client_gap_ms, came.bank_gap_ms, came.well_ms, came.acknowledged
    ));
    Ok(came)
}

/// Both copies by their checksums, while both serve.
fn same(watched: &Watched) -> Result<()> {
    let said = wait_for("a comparison", SAME, || {
        // On a busy machine it may move of itself.
        let active = watched.cluster.active()?;
        let said = regent(watched, &active, "verify-db --duty 100")?;
        // One that was under way may end by another name of the standby's data.
        let ended = said.code == 0 || said.code == 5;
        if !ended {
            std::thread::sleep(LOOK);
        }
        Ok(ended.then_some(said))
    })?;
    ensure!(said.code == 0, "the copies differ: {}", said.text);
    Ok(())
}

fn bank_gap(watched: &Watched, from: u64, to: u64) -> u64 {
    let tape = watched.recorder.tape();
    let acks: Vec<u64> =
        tape.rows(|by| *by == Writer::Bank).into_iter().map(|(_, at)| at).collect();
    gap::to_ms(gap::longest_us(&acks, gap::last_before(&acks, from), to))
}

fn api_gap(watched: &Watched, from: u64, to: u64) -> u64 {
    let tape = watched.recorder.tape();
    let calls = tape.calls.iter().filter(|(what, _)| what == "job" || what == "jobs");
    let answers: Vec<u64> = calls.map(|(_, at)| *at).collect();
    gap::to_ms(gap::longest_us(&answers, gap::last_before(&answers, from), to))
}

/// Everything once more, over the whole time.
fn ended(watched: &Watched, came: &[Came], begun: u64, plan: &Plan) -> Result<()> {
    let to = now_us();
    let figures = watched.recorder.tape().figures(begun, to, Attempt::Write);
    ensure!(figures.dual_ms == 0, "two owners for {} ms", figures.dual_ms);
    let lost = watched.lost_between(begun, to)?;
    ensure!(lost == 0, "{lost} acknowledged writes lost");
    table(came);
    say::plain(&format!(
        "soak: seed {}, {} deeds of {} kinds in {} min: {} writes acknowledged, 0 lost; two owners 0 ms; \
         copies equal and books right after each",
        plan.seed,
        came.len(),
        kinds(came).len(),
        (to - begun) / 60_000_000,
        figures.acknowledged
    ));
    Ok(())
}

fn kinds(came: &[Came]) -> BTreeMap<&'static str, Vec<&Came>> {
    let mut kinds: BTreeMap<&str, Vec<&Came>> = BTreeMap::new();
    for one in came {
        kinds.entry(one.name).or_default().push(one);
    }
    kinds
}

fn table(came: &[Came]) {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "deed",
        "times",
        "no row, ms: median (most)",
        "no move of money, ms: median (most)",
        "no answer of the API, ms: median (most)",
        "in sync again, s: median (most)",
    ]);
    for (name, all) in kinds(came) {
        let shown = |value: fn(&Came) -> u64, unit: u64| {
            let values: Vec<u64> = all.iter().map(|one| value(one) / unit).collect();
            let most = values.iter().max().copied().unwrap_or_default();
            format!("{} ({most})", median(&values).unwrap_or_default())
        };
        table.add_row([
            name.to_owned(),
            all.len().to_string(),
            shown(|one| one.client_gap_ms, 1),
            shown(|one| one.bank_gap_ms, 1),
            shown(|one| one.api_gap_ms, 1),
            shown(|one| one.well_ms, 1000),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    say::plain(&table.to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_an_order_and_each_deed_comes_once_before_any_comes_again() {
        let order = |seed| {
            let plan = Plan::minutes(60, 60, seed, Vec::new()).unwrap();
            plan.deeds.iter().map(|deed| deed.name).collect::<Vec<_>>()
        };
        assert_eq!(order(7), order(7));
        assert_ne!(order(7), order(8));
        let mut first: Vec<&str> = order(7)[..deeds::ALL.len()].to_vec();
        first.sort_unstable();
        first.dedup();
        assert_eq!((order(7).len(), first.len()), (60, deeds::ALL.len()));
        assert!(Plan::minutes(1, 60, 1, vec!["no-such-deed".into()]).is_err());
        let only = Plan::minutes(3, 60, 1, vec!["cut".into()]).unwrap();
        assert!(only.deeds.iter().all(|deed| deed.name == "cut"));
    }
}
