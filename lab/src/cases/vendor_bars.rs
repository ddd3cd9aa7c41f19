//! What the vendor's own quality assurance asks of its suite, each row ten times as fast where it
//! is a matter of seconds, with exactly one owner throughout and the reasons told.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use comfy_table::presets;
use comfy_table::{CellAlignment, Table};

use super::case::{Case, Run, Tier};
use super::kit::{command, regent};
use crate::cluster::NODES;
use crate::fault::{Watched, other_of};
use crate::gap::to_ms;
use crate::history;
use crate::run::{now_us, wait_for};
use crate::say;
use crate::seen::Attempt;

pub(super) const CASE: Case = Case {
    name: "vendor-bars",
    about: "demote, power-off, shutdown, network down, both down: ten times the vendor's speed",
    tier: Tier::All,
    run: Run::Watched(run),
};

/// As many times better than the vendor's bar we must be.
const TIMES: u64 = 10;
const DEMOTE_MS: u64 = 5_000;
const LOSS_MS: u64 = 20_000;
const BOTH_MS: u64 = 10_000;
/// How long the vendor's network stays down.
const DOWN: Duration = Duration::from_secs(10);
/// What a client may notice of a standby that goes and returns: commits wait until the writer is
/// alone, and while the join is recorded.
const STANDBY_GAP_MS: u64 = 2_000;
const TAKEOVER: Duration = Duration::from_secs(30);
const SYNC: Duration = Duration::from_secs(60);
const STEADY: Duration = Duration::from_secs(1);

struct Row {
    name: &'static str,
    /// Until the VIP is on the other node; `None` where it must stay.
    moved_ms: Option<u64>,
    bar_ms: Option<u64>,
    gap_ms: u64,
    dual_ms: u64,
    missed: Vec<String>,
}

/// What is done, the vendor's bar, and words of the reason that `explain` gives afterwards.
type Fault = (&'static str, Option<u64>, &'static str, fn(&mut Watched) -> Result<Option<u64>>);

const ROWS: [Fault; 8] = [
    ("demote", Some(DEMOTE_MS), "an operator asked", demote),
    ("power-off of the owner", Some(LOSS_MS), "silent", power_off),
    ("shutdown of the owner", Some(LOSS_MS), "", shut_down),
    ("network of the owner down", Some(LOSS_MS), "silent", cut),
    ("network of both down 10 s, then up", Some(BOTH_MS), "", cut_both),
    ("power cut of both, then started", None, "", power_off_both),
    ("standby powered off", None, "", standby_off),
    ("network of the standby down 10 s", None, "", standby_cut),
];

fn run(watched: &mut Watched) -> Result<()> {
    let mut rows = Vec::new();
    for fault in ROWS {
        let row = row(watched, fault).with_context(|| fault.0);
        let shown = row.is_err();
        if !shown {
            rows.extend(row);
            continue;
        }
        say::plain(&table(&rows).to_string());
        row.map(drop)?;
    }
    say::plain(&table(&rows).to_string());
    let missed: Vec<String> = rows
        .iter()
        .flat_map(|row| row.missed.iter().map(|m| format!("{}: {m}", row.name)))
        .collect();
    ensure!(missed.is_empty(), "{}", missed.join("; "));
    Ok(())
}

fn row(watched: &mut Watched, (name, bar, words, suffer): Fault) -> Result<Row> {
    watched.cluster.wait_in_sync(SYNC)?;
    watched.recorder.wait_steady(STEADY, TAKEOVER)?;
    let before = watched.cluster.active()?;
    say::line(&format!("fault   {name}; {before} is active"));
    let from = now_us();
    let moved = suffer(watched)?;
    watched.cluster.wait_in_sync(SYNC)?;
    watched.recorder.wait_steady(STEADY, TAKEOVER)?;
    let to = now_us();
    let figures = watched.recorder.tape().figures(from, to, Attempt::Write);
    let after = watched.cluster.active()?;
    let mut missed = Vec::new();
    let bar_ms = bar.map(|bar| bar / TIMES);
    if let (Some(bar), Some(ms)) = (bar_ms, moved)
        && ms > bar
    {
        missed.push(format!("{ms} ms, bar {bar}"));
    }
    if figures.dual_ms > 0 {
        missed.push(format!("two owners for {} ms", figures.dual_ms));
    }
    if name.contains("standby") {
        if after != before || watched.moves_since(from) > 0 {
            missed.push(format!("the VIP moved to {after}"));
        }
        if figures.client_gap_ms > STANDBY_GAP_MS {
            missed.push(format!("the client could not write for {} ms", figures.client_gap_ms));
        }
    }
    let told = regent(watched, &after, "explain")?.text;
    if !told.contains(words) {
        missed.push(format!("explain does not say {words:?}: {told}"));
    }
    if after != before {
        let events = history::since(watched.cluster.lab.host(&after)?, from);
        if !events.iter().any(|e| e.code == "role.active" && e.text.contains("away for")) {
            missed.push("history has no measured outage".to_owned());
        }
    }
    let (gap_ms, dual_ms) = (figures.client_gap_ms, figures.dual_ms);
    let shown = moved.map_or("stays".to_owned(), |ms| format!("{ms} ms"));
    say::line(&format!("result  {name}: VIP {shown}; client gap {gap_ms} ms; {missed:?}"));
    Ok(Row { name, moved_ms: moved, bar_ms, gap_ms, dual_ms, missed })
}

fn demote(watched: &mut Watched) -> Result<Option<u64>> {
    let active = watched.cluster.active()?;
    let from = now_us();
    command(watched, &active, "switchover")?;
    moved(watched, other_of(&active), from)
}

fn power_off(watched: &mut Watched) -> Result<Option<u64>> {
    let active = watched.cluster.active()?;
    let from = now_us();
    watched.power_off_node(&active)?;
    let ms = moved(watched, other_of(&active), from)?;
    watched.power_on_node(&active)?;
    Ok(ms)
}

fn shut_down(watched: &mut Watched) -> Result<Option<u64>> {
    let active = watched.cluster.active()?;
    let from = now_us();
    watched.shut_down_node(&active)?;
    let ms = moved(watched, other_of(&active), from)?;
    watched.power_on_node(&active)?;
    Ok(ms)
}

fn cut(watched: &mut Watched) -> Result<Option<u64>> {
    let active = watched.cluster.active()?;
    let from = now_us();
    watched.cluster.lab.host(&active)?.cut()?;
    let ms = moved(watched, other_of(&active), from)?;
    std::thread::sleep(DOWN);
    watched.cluster.lab.host(&active)?.heal()?;
    Ok(ms)
}

fn cut_both(watched: &mut Watched) -> Result<Option<u64>> {
    NODES.iter().try_for_each(|node| watched.cluster.lab.host(node)?.cut())?;
    std::thread::sleep(DOWN);
    let from = now_us();
    NODES.iter().try_for_each(|node| watched.cluster.lab.host(node)?.heal())?;
    anybody(watched, from)
}

fn power_off_both(watched: &mut Watched) -> Result<Option<u64>> {
    for node in NODES {
        watched.power_off_node(node)?;
    }
    let from = now_us();
    for node in NODES {
        watched.cluster.lab.host_mut(node)?.start()?;
    }
    for node in NODES {
        watched.power_on_started(node)?;
    }
    anybody(watched, from)
}

fn standby_off(watched: &mut Watched) -> Result<Option<u64>> {
    let standby = other_of(&watched.cluster.active()?);
    watched.power_off_node(standby)?;
    watched.recorder.wait_steady(STEADY, TAKEOVER)?;
    watched.power_on_node(standby)?;
    Ok(None)
}

fn standby_cut(watched: &mut Watched) -> Result<Option<u64>> {
    let standby = other_of(&watched.cluster.active()?);
    watched.cluster.lab.host(standby)?.cut()?;
    std::thread::sleep(DOWN);
    watched.cluster.lab.host(standby)?.heal()?;
    Ok(None)
}

/// Milliseconds until this node spoke for the VIP.
fn moved(watched: &Watched, to: &str, from: u64) -> Result<Option<u64>> {
    let mac = watched.cluster.lab.host(to)?.spec.mac.clone();
    let at = wait_for(&format!("{to} to have the VIP"), TAKEOVER, || {
        Ok(watched.recorder.tape().spoke(&mac, from))
    })?;
    watched.wait_served_by(to)?;
    Ok(Some(to_ms(at - from)))
}

/// Milliseconds until any node spoke for the VIP.
fn anybody(watched: &Watched, from: u64) -> Result<Option<u64>> {
    let macs: Vec<String> =
        watched.cluster.lab.hosts().iter().map(|host| host.spec.mac.clone()).collect();
    let at = wait_for("somebody to have the VIP", TAKEOVER, || {
        let tape = watched.recorder.tape();
        Ok(macs.iter().filter_map(|mac| tape.spoke(mac, from)).min())
    })?;
    Ok(Some(to_ms(at - from)))
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_BORDERS_ONLY_CONDENSED);
    table.set_header([
        "vendor's case",
        "VIP there after ms",
        "vendor's bar ms",
        "times better",
        "client gap ms",
        "two owners ms",
        "bars",
    ]);
    for row in rows {
        let vendor = row.bar_ms.map(|bar| bar * TIMES);
        let ratio = vendor.zip(row.moved_ms).map(|(bar, ms)| bar as f64 / ms.max(1) as f64);
        table.add_row([
            row.name.to_owned(),
            row.moved_ms.map_or("stays".to_owned(), |ms| ms.to_string()),
            vendor.map_or("-".to_owned(), |bar| bar.to_string()),
            ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.0}")),
            row.gap_ms.to_string(),
            row.dual_ms.to_string(),
            if row.missed.is_empty() { "met" } else { "MISSED" }.to_owned(),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
