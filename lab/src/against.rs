//! `bench moves --against OLD_BINARY`: is the new `regent` slower than an older one? Both take the same faults, turn
//! by turn in one run, so that what this machine does meanwhile falls on both.
//!
//! Each turn has a cluster of its own, and nothing else runs beside it: a cluster of the other binary that stood idle
//! would take its share of the processor from the one that is measured. Worse means that the new median lies beyond
//! what the old binary showed of itself in the same run, its outermost tenth left out.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use comfy_table::presets;
use comfy_table::{CellAlignment, Table};

use crate::cluster::{Product, Settings};
use crate::demo::stage_of;
use crate::fault::{Fault, Outcome, Watched};
use crate::gap::median;
use crate::{diagnose, say};

/// What is compared. The host that lost its power is not returned: its cluster ends with the turn.
const COMPARED: [Fault; 3] = [Fault::Switchover, Fault::MariadbKill, Fault::PowerOff];

/// The client writes every 10 ms: less than that is no difference.
const STEP_MS: u64 = 10;

/// A holder renews its right more often than this. Faults come at moments spread over it: always at the same
/// one, what a renewal costs would fall into the outage of one binary and beside that of the other.
const PHASE: Duration = Duration::from_millis(200);

/// From here on a run of one binary says something of its spread.
const RUNS_ENOUGH: u32 = 5;

/// What one binary showed.
#[derive(Debug, Default)]
struct Shown(Vec<(Fault, Outcome)>);

impl Shown {
    fn gaps(&self, fault: Fault, gap: Gap) -> Vec<u64> {
        let of = self.0.iter().filter(|(of, _)| *of == fault);
        of.map(|(_, outcome)| match gap {
            Gap::Client => outcome.client_gap_ms,
            Gap::Service => outcome.service_gap_ms,
        })
        .collect()
    }

    /// Lost writes, and milliseconds of two owners.
    fn harm(&self) -> (u64, u64) {
        let outcomes = self.0.iter().map(|(_, outcome)| outcome);
        outcomes.fold((0, 0), |(lost, dual), o| (lost + o.lost, dual + o.dual_ms))
    }
}

/// Which of its outages: the client's has steps of its own time-outs, the impatient prober's has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gap {
    Client,
    Service,
}

/// Every figure that is compared, and its name.
fn figures() -> impl Iterator<Item = (Fault, Gap, String)> {
    let gaps = [(Gap::Client, "client without a write"), (Gap::Service, "service")];
    COMPARED.into_iter().flat_map(move |fault| {
        gaps.into_iter().map(move |(gap, of)| (fault, gap, format!("{}, {of}", fault.name())))
    })
}

/// How the new one compares in one fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Same,
    Better,
    Worse,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Verdict::Same => "within",
            Verdict::Better => "better",
            Verdict::Worse => "WORSE",
        }
    }
}

/// Takes the faults with both binaries in turn, `runs` times each; true if the new one is nowhere worse, lost nothing
/// and never had two owners.
pub fn moves(runs: u32, name: Option<String>, old: &Path) -> Result<bool> {
    ensure!(runs > 0, "no runs, no figures");
    let old = old.canonicalize().with_context(|| format!("no binary {}", old.display()))?;
    let new = Product::beside()?;
    let old = Product { regent: old, ..new.clone() };
    say::plain(&format!("old  {}\nnew  {}", described(&old)?, described(&new)?));
    if runs < RUNS_ENOUGH {
        say::plain(&format!("fewer than {RUNS_ENOUGH} runs each say little of either's spread"));
    }
    let mut shown = [Shown::default(), Shown::default()];
    for run in 1..=runs {
        for ((product, which), shown) in [(&old, "old"), (&new, "new")].into_iter().zip(&mut shown)
        {
            say::plain(&format!("bench   run {run} of {runs}, {which}"));
            turn(product, name.clone(), shown, PHASE * run / runs)
                .with_context(|| format!("run {run}, {which}"))?;
        }
    }
    let [old, new] = shown;
    for (fault, gap, name) in figures() {
        let (old, new) = (all(&old.gaps(fault, gap)), all(&new.gaps(fault, gap)));
        say::plain(&format!("{name}, ms\n  old  {old}\n  new  {new}"));
    }
    say::plain(&table(&old, &new).to_string());
    let (lost, dual) = new.harm();
    let is_safe = lost == 0 && dual == 0;
    if !is_safe {
        say::plain(&format!("new: {lost} acknowledged writes lost, two owners for {dual} ms"));
    }
    let is_worse = figures().any(|(fault, gap, _)| {
        verdict(&old.gaps(fault, gap), &new.gaps(fault, gap)) == Verdict::Worse
    });
    Ok(is_safe && !is_worse)
}

/// The faults, on a cluster of this turn, each so much later.
fn turn(product: &Product, name: Option<String>, shown: &mut Shown, later: Duration) -> Result<()> {
    let mut watched = Watched::start(stage_of(product, name, &Settings::default())?)?;
    for fault in COMPARED {
        std::thread::sleep(later);
        match watched.suffer(fault) {
            Ok(outcome) => shown.0.push((fault, outcome)),
            Err(error) => {
                diagnose::collect_tape(&watched.cluster.lab, &watched.recorder.tape());
                diagnose::collect(&watched.cluster.lab);
                return Err(error);
            }
        }
    }
    Ok(())
}

/// The binary and what it says it is.
fn described(product: &Product) -> Result<String> {
    let regent = &product.regent;
    let said = std::process::Command::new(regent).arg("--version").output();
    let said = said.with_context(|| format!("cannot run {}", regent.display()))?;
    if !said.status.success() {
        bail!("{} is no regent: {}", regent.display(), String::from_utf8_lossy(&said.stderr));
    }
    Ok(format!("{}  {}", regent.display(), String::from_utf8_lossy(&said.stdout).trim()))
}

/// The values without the outermost tenth at either end: the least and the most of them.
fn spread(values: &[u64]) -> Option<(u64, u64)> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let inner = &sorted[sorted.len() / 10..sorted.len() - sorted.len() / 10];
    Some((*inner.first()?, *inner.last()?))
}

fn verdict(old: &[u64], new: &[u64]) -> Verdict {
    let (Some((least, most)), Some(middle), Some(own)) = (spread(old), median(new), median(old))
    else {
        return Verdict::Worse;
    };
    if middle.abs_diff(own) < STEP_MS {
        Verdict::Same
    } else if middle > most {
        Verdict::Worse
    } else if middle < least {
        Verdict::Better
    } else {
        Verdict::Same
    }
}

fn table(old: &Shown, new: &Shown) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_BORDERS_ONLY_CONDENSED);
    table.set_header([
        "outage, ms",
        "old: median",
        "spread",
        "new: median",
        "spread",
        "new / old",
        "by old's spread",
    ]);
    for (fault, gap, name) in figures() {
        let (old, new) = (old.gaps(fault, gap), new.gaps(fault, gap));
        let ratio = match (median(&old), median(&new)) {
            (Some(old), Some(new)) if old > 0 => format!("{:.2}", new as f64 / old as f64),
            (None | Some(_), None | Some(_)) => "-".to_owned(),
        };
        let [old_median, old_spread] = shown(&old);
        let [new_median, new_spread] = shown(&new);
        let verdict = verdict(&old, &new).name().to_owned();
        table.add_row([name, old_median, old_spread, new_median, new_spread, ratio, verdict]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn shown(values: &[u64]) -> [String; 2] {
    let middle = median(values).map_or("-".to_owned(), |value| value.to_string());
    [middle, spread(values).map_or("-".to_owned(), |(least, most)| format!("{least}-{most}"))]
}

fn all(values: &[u64]) -> String {
    values.iter().map(u64::to_string).collect::<Vec<String>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worse_is_beyond_what_the_old_one_showed_of_itself() {
        let old = [100, 110, 120, 130, 200];
        assert_eq!(verdict(&old, &[190, 195, 199]), Verdict::Same);
        assert_eq!(verdict(&old, &[190, 201, 300]), Verdict::Worse);
        assert_eq!(verdict(&old, &[80, 90, 300]), Verdict::Better);
        assert_eq!(verdict(&old, &[]), Verdict::Worse);
        assert_eq!(verdict(&[], &old), Verdict::Worse);
    }

    #[test]
    fn less_than_a_step_of_the_client_is_no_difference() {
        assert_eq!(verdict(&[100, 100], &[109, 109]), Verdict::Same);
        assert_eq!(verdict(&[100, 100], &[110, 110]), Verdict::Worse);
        assert_eq!(verdict(&[100, 100], &[91, 91]), Verdict::Same);
    }

    #[test]
    fn one_value_in_ten_at_either_end_is_no_spread() {
        let mut old: Vec<u64> = (100..119).collect();
        old.push(5000);
        assert_eq!(spread(&old), Some((102, 117)));
        assert_eq!(verdict(&old, &[130]), Verdict::Worse);
        assert_eq!(spread(&[7]), Some((7, 7)));
        assert_eq!(spread(&[]), None);
    }
}
