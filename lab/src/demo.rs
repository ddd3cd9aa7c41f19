//! The story: six faults one after the other under three clients, told live, with a table and one
//! line of JSON at the end.

use anyhow::Result;
use comfy_table::presets;
use comfy_table::{CellAlignment, Table};

use crate::cluster::{Cluster, Product, Settings, how_to_enter};
use crate::dirs::base_dir;
use crate::fault::{Outcome, STORY, Watched};
use crate::image::Image;
use crate::lab::fresh_name;
use crate::{diagnose, say, sweep};

/// Runs the story; true if no write was lost and there were never two owners.
pub fn run(keep: bool, name: Option<String>) -> Result<bool> {
    let cluster = stage(name)?;
    let mut watched = Watched::start(cluster)?;
    say::line("client  100 rows a second through the VIP; management service and UI over HTTP");
    let told = tell(&mut watched);
    if told.is_err() && !crate::run::is_interrupted() {
        diagnose::collect_tape(&watched.cluster.lab, &watched.recorder.tape());
        diagnose::collect(&watched.cluster.lab);
    }
    if keep {
        watched.cluster.lab.keep()?;
        say::plain(&how_to_enter(&watched.cluster.lab.name));
    }
    let outcomes = told?;
    let is_safe = outcomes.iter().all(|outcome| outcome.lost == 0 && outcome.dual_ms == 0);
    if !is_safe {
        diagnose::collect_tape(&watched.cluster.lab, &watched.recorder.tape());
        diagnose::collect(&watched.cluster.lab);
    }
    drop(watched);
    say::plain(&table(&outcomes).to_string());
    say::plain(&format!("RESULT {}", serde_json::to_string(&outcomes)?));
    Ok(is_safe)
}

/// Image, hosts and product, up to "in sync".
pub fn stage(name: Option<String>) -> Result<Cluster> {
    stage_with(name, &Settings::default())
}

/// `stage` with another configuration.
pub fn stage_with(name: Option<String>, settings: &Settings) -> Result<Cluster> {
    stage_of(&Product::beside()?, name, settings)
}

/// `stage_with` of other binaries.
pub fn stage_of(product: &Product, name: Option<String>, settings: &Settings) -> Result<Cluster> {
    say::start();
    for swept in sweep::sweep()? {
        say::line(&format!("lab     removed what the run {swept} left behind"));
    }
    let base = base_dir()?;
    if !Image::is_cached(&base) {
        say::line("lab     making the image of the hosts, once: about two minutes");
    }
    let image = Image::ensure(&base, &mut |text| say::progress(text))?;
    let name = name.unwrap_or_else(fresh_name);
    say::line(&format!("lab     {name}: booting mn1, mn2 and the witness w1"));
    let cluster = Cluster::up(&name, &image, product, settings)?;
    say::line("lab     in sync");
    Ok(cluster)
}

fn tell(watched: &mut Watched) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    for fault in STORY {
        outcomes.push(watched.suffer(fault)?);
    }
    say::line("client  stops; counting every acknowledged row on both copies");
    watched.recorder.stop_clients();
    for outcome in &mut outcomes {
        outcome.lost = watched.lost_between(outcome.window.0, outcome.window.1)?;
    }
    Ok(outcomes)
}

/// One row per fault, for people.
pub fn table(outcomes: &[Outcome]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_BORDERS_ONLY_CONDENSED);
    table.set_header([
        "fault",
        "client gap ms",
        "service gap ms",
        "acknowledged",
        "lost",
        "two owners ms",
        "in sync after ms",
    ]);
    for outcome in outcomes {
        table.add_row([
            outcome.fault.clone(),
            outcome.client_gap_ms.to_string(),
            outcome.service_gap_ms.to_string(),
            outcome.acknowledged.to_string(),
            outcome.lost.to_string(),
            outcome.dual_ms.to_string(),
            outcome.in_sync_ms.map_or("-".to_owned(), |ms| ms.to_string()),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
