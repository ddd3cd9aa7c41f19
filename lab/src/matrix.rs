//! The 18 cases: each key service killed, hung and with its port blocked, on the active node and on
//! the standby. One row after the other on one cluster, each from "in sync, everything well,
//! clients steady"; a table and the bars at the end.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use comfy_table::presets;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use crate::cluster::{Driver, NODES, Settings};
use crate::demo::stage_with;
use crate::fault::{Watched, other_of};
use crate::gap::to_ms;
use crate::history;
use crate::run::{now_us, wait_for};
use crate::seen::Attempt;
use crate::service::{Harm, Service, inflict};
use crate::{diagnose, say};

/// The bars, in milliseconds: the death of a process is told by the kernel, a hang by probes.
const DETECT_KILL_MS: u64 = 100;
const DETECT_PROBE_MS: u64 = 1_000;
const MOVE_MS: u64 = 500;
/// `status --json` shows the cause by then, if it lasts so long.
const SHOW_MS: u64 = 2_000;

/// A cause that lasts at least so long must be seen there.
const LASTS_MS: u64 = 500;

/// How long a port stays blocked where nothing moves.
const BLOCK: Duration = Duration::from_secs(3);
const TAKEOVER: Duration = Duration::from_secs(15);
/// The product restores a service by then; a hung one is let go on after it.
const RESTORE: Duration = Duration::from_secs(30);
const SYNC: Duration = Duration::from_secs(60);
const STEADY: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(100);
const SHORT_LOOK: Duration = Duration::from_millis(30);

/// Whose service is harmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The node that serves.
    Active,
    /// The other one.
    Standby,
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Place::Active => "active",
            Place::Standby => "standby",
        }
    }
}

/// One of the 18 cases.
#[derive(Debug, Clone, Copy)]
struct Cell {
    service: Service,
    harm: Harm,
    place: Place,
}

impl Cell {
    fn all() -> Vec<Cell> {
        let mut cells = Vec::new();
        for service in Service::ALL {
            for harm in Harm::ALL {
                for place in [Place::Active, Place::Standby] {
                    cells.push(Cell { service, harm, place });
                }
            }
        }
        cells
    }

    fn name(self) -> String {
        format!("{}-{}-{}", self.service.name(), self.harm.name(), self.place.name())
    }
}

/// What came of one case; times in milliseconds.
#[derive(Debug, Clone, Default, Serialize)]
struct Row {
    case: String,
    /// From the fault to the product's own event of it.
    detected: Option<u64>,
    /// From the fault until `status --json` was seen to show the cause.
    shown: Option<u64>,
    /// From the detection to the first frame of the VIP from the other node.
    moved: Option<u64>,
    /// From the fault until the service answered again at its node's own address.
    restored: Option<u64>,
    client_gap: u64,
    lost: u64,
    dual: u64,
    cause: String,
    missed: Vec<String>,
}

/// Runs the cases whose name contains `only`; true if every bar is met.
pub fn run(settings: &Settings, only: Option<&str>, json: bool) -> Result<bool> {
    run_those(settings, |name| only.is_none_or(|only| name.contains(only)), json)
}

/// Runs the cases of these names; true if every bar is met.
fn run_those(settings: &Settings, is_asked: impl Fn(&str) -> bool, json: bool) -> Result<bool> {
    let cells: Vec<Cell> = Cell::all().into_iter().filter(|cell| is_asked(&cell.name())).collect();
    ensure!(!cells.is_empty(), "no case of that name: management-hung-active is one");
    let mut watched = Watched::start(stage_with(None, settings)?)?;
    watched.recorder.start_watch(&watched.cluster.lab, &NODES)?;
    let mut rows = Vec::new();
    ready(&watched).context("before the first case")?;
    let result = cells.iter().try_for_each(|cell| {
        rows.push(one(&mut watched, *cell)?);
        Ok(())
    });
    drop(watched);
    if json {
        say::plain(&serde_json::to_string(&rows)?);
    } else {
        say::plain(&table(&rows).to_string());
    }
    for row in &rows {
        for missed in &row.missed {
            say::plain(&format!("MISSED  {}: {missed}", row.case));
        }
    }
    let missed = rows.iter().filter(|row| !row.missed.is_empty()).count();
    say::plain(&format!("matrix: {} of {} cases meet every bar", rows.len() - missed, cells.len()));
    result.map(|()| missed == 0)
}

/// One case, from a cluster that is well to one that is well again; an error only if it is not.
fn one(watched: &mut Watched, cell: Cell) -> Result<Row> {
    let mut row = Row { case: cell.name(), ..Row::default() };
    if let Err(error) = suffer(watched, cell, &mut row) {
        if crate::run::is_interrupted() {
            return Err(error);
        }
        row.missed.push(format!("{error:#}"));
    }
    if !row.missed.is_empty() {
        diagnose::collect_tape(&watched.cluster.lab, &watched.recorder.tape());
        diagnose::collect(&watched.cluster.lab);
        ready(watched).context("before the next case")?;
    }
    let shown = |ms: Option<u64>| ms.map_or("-".to_owned(), |ms| ms.to_string());
    say::line(&format!(
        "result  {}: detected {}, moved {}, restored {} ms; client gap {} ms, lost {}, dual {}{}",
        row.case,
        shown(row.detected),
        shown(row.moved),
        shown(row.restored),
        row.client_gap,
        row.lost,
        row.dual,
        if row.missed.is_empty() { "" } else { "  MISSED" }
    ));
    Ok(row)
}

/// In sync, all services of both nodes well, the client steady.
fn ready(watched: &Watched) -> Result<()> {
    watched.cluster.wait_in_sync(SYNC)?;
    let mut since = now_us();
    let mut unwell = Vec::new();
    let well = wait_for("all services to be well", RESTORE, || {
        unwell = watched.recorder.tape().unwell();
        if !unwell.is_empty() {
            since = now_us();
        }
        Ok((now_us() - since > STEADY.as_micros() as u64).then_some(()))
    });
    well.with_context(|| format!("not well: {}", unwell.join(", ")))?;
    watched.cluster.wait_in_sync(SYNC)?;
    watched.recorder.wait_steady(STEADY, TAKEOVER)
}

fn suffer(watched: &mut Watched, cell: Cell, row: &mut Row) -> Result<()> {
    let attempt = match cell.service {
        Service::Management => Attempt::Http,
        Service::Ui | Service::Database => Attempt::Write,
    };
    watched.recorder.attempt(attempt)?;
    let before = watched.cluster.status().context("no status")?;
    let active = before.active().context("nobody active")?.to_owned();
    let other = other_of(&active);
    let node = match cell.place {
        Place::Active => active.clone(),
        Place::Standby => other.to_owned(),
    };
    say::line(&format!("fault   {} {} on {node}", cell.service.name(), cell.harm.name()));
    let from = now_us();
    let harm = inflict(watched.cluster.lab.host(&node)?, cell.service, cell.harm)?;
    let at = harm.at;
    say::line_at(at, "fault   done");
    let watching: &Watched = watched;
    let result = std::thread::scope(|threads| {
        let shown = threads.spawn(|| wait_shown(watching, &node, cell.service, at));
        let end = wait_end(watching, cell, &node, other);
        // The port is freed as soon as the move is over; a hang is the product's to end.
        let end = match cell.harm {
            Harm::Blocked => {
                harm.undo().and(end).and_then(|()| wait_restored(watching, cell, &node, at))
            }
            Harm::Killed | Harm::Hung => {
                let restored = wait_restored(watching, cell, &node, at);
                harm.undo().and(end).and(restored)
            }
        };
        row.shown = shown.join().unwrap_or_default();
        end
    });
    let again = ready(watched);
    let to = now_us();
    measure(watched, cell, &node, other, (from, at, to), before.epoch, row)?;
    result.and(again)
}

/// Until the other node serves, or, where nothing may move, as long as a block lasts.
fn wait_end(watched: &Watched, cell: Cell, node: &str, other: &str) -> Result<()> {
    match (cell.place, cell.harm) {
        (Place::Active, _) => wait_for(&format!("{other} to serve"), TAKEOVER, || {
            let status = watched.cluster.status_of(other);
            if status.is_some_and(|status| status.is_active_itself()) {
                return Ok(Some(()));
            }
            std::thread::sleep(LOOK);
            Ok(None)
        })
        .with_context(|| format!("no move away from {node}")),
        (Place::Standby, Harm::Killed | Harm::Hung | Harm::Blocked) => {
            std::thread::sleep(BLOCK);
            Ok(())
        }
    }
}

fn wait_restored(watched: &Watched, cell: Cell, node: &str, at: u64) -> Result<()> {
    let what = format!("{} of {node} to be restored", cell.service.name());
    wait_for(&what, RESTORE, || {
        Ok(watched.recorder.tape().restored(node, cell.service, at).map(drop))
    })
}

/// When `status --json` of the node shows that the service is not well, in ms from the fault.
fn wait_shown(watched: &Watched, node: &str, service: Service, at: u64) -> Option<u64> {
    let found = wait_for("the cause in status", Duration::from_millis(SHOW_MS), || {
        let status = watched.cluster.status_of(node);
        let cause = status.and_then(|status| status.cause(node, service.name()));
        if cause.is_none() {
            std::thread::sleep(SHORT_LOOK);
        }
        Ok(cause.map(|_| now_us()))
    });
    found.ok().map(|seen| to_ms(seen - at))
}

fn measure(
    watched: &Watched,
    cell: Cell,
    node: &str,
    other: &str,
    (from, at, to): (u64, u64, u64),
    epoch: u64,
    row: &mut Row,
) -> Result<()> {
    let lab = &watched.cluster.lab;
    let events = history::since(lab.host(node)?, at);
    let detection = events.iter().find(|event| tells(event, cell.service));
    let detected = detection.map(|event| event.at);
    row.detected = detected.map(|when| to_ms(when - at));
    row.cause = detection.map(|event| event.text.clone()).unwrap_or_default();
    let figures = watched.recorder.tape().figures(from, to, Attempt::Write);
    (row.client_gap, row.dual) = (figures.client_gap_ms, figures.dual_ms);
    row.restored =
        watched.recorder.tape().restored(node, cell.service, at).map(|when| to_ms(when - at));
    let moved = watched.recorder.tape().spoke(&lab.host(other)?.spec.mac, at);
    let since = detected.unwrap_or(at);
    row.lost = watched.lost_between(from, to)?;
    let after = watched.cluster.status().context("no status")?;
    let mut missed = Vec::new();
    let mut expect = |is_so: bool, text: String| {
        if !is_so {
            missed.push(text);
        }
    };
    let bar = match cell.harm {
        Harm::Killed => DETECT_KILL_MS,
        Harm::Hung | Harm::Blocked => DETECT_PROBE_MS,
    };
    let within = |ms: Option<u64>, bar: u64| ms.is_some_and(|ms| ms <= bar);
    expect(within(row.detected, bar), format!("detected {:?} ms, bar {bar}", row.detected));
    match cell.place {
        Place::Active => {
            row.moved = moved.map(|when| to_ms(when.saturating_sub(since)));
            expect(within(row.moved, MOVE_MS), format!("moved {:?} ms, bar {MOVE_MS}", row.moved));
            let told = watched.cluster.told(other, &["explain"])?;
            expect(told.contains(cell.service.name()), format!("explain names no cause: {told}"));
        }
        Place::Standby => {
            let mac = &lab.host(node)?.spec.mac;
            let spoke = watched.recorder.tape().spoke(mac, at);
            expect(spoke.is_none(), format!("{node} spoke for the VIP"));
            expect(after.epoch == epoch, format!("epoch {epoch} became {}", after.epoch));
        }
    }
    // What was mended right after it was found may fall between two looks.
    let lasted =
        row.restored.is_none_or(|ms| ms.saturating_sub(row.detected.unwrap_or(0)) > LASTS_MS);
    expect(!lasted || row.shown.is_some(), "status --json did not show the cause".to_owned());
    expect(row.restored.is_some(), "not restored".to_owned());
    expect(row.lost == 0, format!("lost {}", row.lost));
    expect(row.dual == 0, format!("two owners for {} ms", row.dual));
    row.missed = missed;
    Ok(())
}

/// Whether the event says that this service is not well.
fn tells(event: &history::Event, service: Service) -> bool {
    let names = match service {
        Service::Management | Service::Ui => {
            event.text.contains(&format!("service {}", service.name()))
        }
        Service::Database => event.text.contains("database"),
    };
    match event.code.as_str() {
        "service.died" | "probe.failing" => names,
        "database.died" | "database.hung" => service == Service::Database,
        "role.changed" => service == Service::Database && event.text.contains("database is down"),
        _ => false,
    }
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_BORDERS_ONLY_CONDENSED);
    table.set_header([
        "case",
        "detected ms",
        "in status ms",
        "VIP moved ms",
        "restored ms",
        "client gap ms",
        "lost",
        "two owners ms",
        "bars",
    ]);
    let shown = |ms: Option<u64>, none: &str| ms.map_or(none.to_owned(), |ms| ms.to_string());
    for row in rows {
        table.add_row([
            row.case.clone(),
            shown(row.detected, "-"),
            shown(row.shown, "-"),
            shown(row.moved, if row.case.ends_with("standby") { "stays" } else { "-" }),
            shown(row.restored, "-"),
            row.client_gap.to_string(),
            row.lost.to_string(),
            row.dual.to_string(),
            if row.missed.is_empty() { "met" } else { "MISSED" }.to_owned(),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Each service and each harm once, a move from the active node and nothing on the standby.
const FEW: [&str; 3] = ["management-killed-active", "ui-blocked-standby", "database-hung-active"];

/// The whole matrix as a case.
pub fn case() -> Result<()> {
    judged(Driver::Native, |_| true)
}

/// Three of it with the virtual address driven through keepalived.
pub fn case_keepalived() -> Result<()> {
    judged(Driver::Keepalived, |name| FEW.contains(&name))
}

/// The whole matrix with the virtual address driven through keepalived.
pub fn case_keepalived_all() -> Result<()> {
    judged(Driver::Keepalived, |_| true)
}

fn judged(driver: Driver, is_asked: impl Fn(&str) -> bool) -> Result<()> {
    match run_those(&Settings { driver, ..Settings::brisk() }, is_asked, false)? {
        true => Ok(()),
        false => bail!("a bar is missed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_eighteen_cases_with_names_of_their_own() {
        let names: std::collections::BTreeSet<String> =
            Cell::all().into_iter().map(Cell::name).collect();
        assert_eq!(names.len(), 18);
        assert!(FEW.iter().all(|name| names.contains(*name)));
    }

    #[test]
    fn an_event_tells_of_the_service_that_it_names() {
        let event = |code: &str, text: &str| history::Event {
            at: 0,
            code: code.into(),
            severity: String::new(),
            text: text.into(),
        };
        let ui = event("service.died", "service ui is down");
        assert!(tells(&ui, Service::Ui) && !tells(&ui, Service::Management));
        let sql = event("probe.failing", "probe database-sql of the database: refused");
        assert!(tells(&sql, Service::Database) && !tells(&sql, Service::Ui));
        assert!(!tells(&event("move.begun", "moving: service ui is down"), Service::Ui));
    }
}
