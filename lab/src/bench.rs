//! `bench moves`: each of the demo's faults several times, and the medians against the bars.

use anyhow::Result;
use comfy_table::presets;
use comfy_table::{CellAlignment, Table};

use crate::demo::{stage, table};
use crate::fault::{Fault, Outcome, STORY, SYNC_BAR_MS, Watched};
use crate::gap::median;
use crate::{diagnose, say};

/// The most that a median may be, in milliseconds; nothing where no bar stands.
fn bars(fault: Fault) -> (Option<u64>, Option<u64>) {
    match fault {
        Fault::Switchover => (Some(400), Some(150)),
        Fault::MariadbKill => (Some(600), None),
        Fault::ServiceKill => (None, Some(600)),
        Fault::PowerOff | Fault::Cut => (Some(1250), None),
        Fault::Return => (None, None),
    }
}

/// Runs the story `runs` times on one cluster; true if every bar is met and nothing was lost.
pub fn moves(runs: u32, name: Option<String>) -> Result<bool> {
    let mut watched = Watched::start(stage(name)?)?;
    let mut outcomes: Vec<(Fault, Outcome)> = Vec::new();
    for run in 1..=runs {
        say::line(&format!("bench   run {run} of {runs}"));
        for fault in STORY {
            match watched.suffer(fault) {
                Ok(outcome) => outcomes.push((fault, outcome)),
                Err(error) => {
                    diagnose::collect_tape(&watched.cluster.lab, &watched.recorder.tape());
                    diagnose::collect(&watched.cluster.lab);
                    return Err(error);
                }
            }
        }
    }
    watched.recorder.stop_clients();
    for (_, outcome) in &mut outcomes {
        outcome.lost = watched.lost_between(outcome.window.0, outcome.window.1)?;
    }
    let all: Vec<Outcome> = outcomes.iter().map(|(_, outcome)| outcome.clone()).collect();
    say::plain(&table(&all).to_string());
    let mut is_met = all.iter().all(|outcome| outcome.lost == 0 && outcome.dual_ms == 0);
    let mut medians = Table::new();
    medians.load_style(presets::ASCII_BORDERS_ONLY_CONDENSED);
    medians.set_header([
        "fault",
        "client gap: median (all)",
        "bar",
        "service gap: median (all)",
        "bar",
        "in sync again: median (all)",
        "bar",
    ]);
    for fault in STORY {
        let of: Vec<&Outcome> =
            outcomes.iter().filter(|(one, _)| *one == fault).map(|(_, o)| o).collect();
        let client: Vec<u64> = of.iter().map(|outcome| outcome.client_gap_ms).collect();
        let service: Vec<u64> = of.iter().map(|outcome| outcome.service_gap_ms).collect();
        let (client_bar, service_bar) = bars(fault);
        let sync: Vec<u64> = of.iter().filter_map(|outcome| outcome.in_sync_ms).collect();
        let sync_bar = fault.leaves_both_alive().then_some(SYNC_BAR_MS);
        is_met &= meets(&client, client_bar) && meets(&service, service_bar);
        is_met &= meets(&sync, sync_bar);
        medians.add_row([
            fault.name().to_owned(),
            shown(&client),
            bar(&client, client_bar),
            shown(&service),
            bar(&service, service_bar),
            shown(&sync),
            bar(&sync, sync_bar),
        ]);
    }
    for column in medians.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    say::plain(&medians.to_string());
    Ok(is_met)
}

fn meets(values: &[u64], bar: Option<u64>) -> bool {
    bar.is_none_or(|most| median(values).is_some_and(|value| value <= most))
}

fn shown(values: &[u64]) -> String {
    let all: Vec<String> = values.iter().map(u64::to_string).collect();
    let middle = median(values).map_or("-".to_owned(), |value| value.to_string());
    format!("{middle} ({})", all.join(" "))
}

fn bar(values: &[u64], bar: Option<u64>) -> String {
    match bar {
        None => "-".to_owned(),
        Some(most) if meets(values, bar) => format!("<= {most} met"),
        Some(most) => format!("<= {most} MISSED"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_met_by_the_median_and_missed_without_a_run() {
        assert!(meets(&[100, 900, 150], Some(150)));
        assert!(!meets(&[100, 151, 900], Some(150)));
        assert!(!meets(&[], Some(150)));
        assert!(meets(&[], None));
    }
}
