//! What every table has in common: how it is laid out, how nodes and lengths are written, and colours.

use anstyle::{AnsiColor, Style};
use comfy_table::{Table, presets};
use regent_api::status::{NodeStatus, Role};
use std::time::Duration;

pub(super) fn why(node: &NodeStatus) -> String {
    let left = node.maintenance_left_ms.map(|ms| format!("maintenance for {} more", length(ms)));
    let reason = Some(node.reason.clone()).filter(|r| !r.is_empty());
    left.into_iter().chain(reason).collect::<Vec<_>>().join("; ")
}

/// A table after an empty line: its head bold, each row as `row` has it.
pub(super) fn laid_out(table: &Table, paint: bool, row: impl Fn(&str, usize) -> String) -> String {
    let text = trimmed(table);
    let mut lines = text.lines();
    let mut out = format!("\n{}\n", painted(lines.next().unwrap_or_default(), bold(), paint));
    for (at, line) in lines.enumerate() {
        out.push_str(&row(line, at));
        out.push('\n');
    }
    out
}

pub(super) fn or_dash(text: String) -> String {
    if text.is_empty() { "-".into() } else { text }
}

pub(super) fn length(ms: u64) -> String {
    regent_api::length::text(Duration::from_millis(ms))
}

pub(super) fn heard(node: &NodeStatus, here: &str) -> String {
    if node.name == here {
        return "here".into();
    }
    let Some(ms) = node.age_ms else { return "never".into() };
    let age = length(ms);
    if node.reachable { format!("{age} ago") } else { format!("LOST, {age} ago") }
}

pub(super) fn table<const N: usize>(head: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(head);
    pad(&mut table);
    table
}

pub(super) fn pad(table: &mut Table) {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
}

pub(super) fn trimmed(table: &Table) -> String {
    let lines: Vec<String> = table.lines().map(|l| l.trim_end().to_string()).collect();
    lines.join("\n")
}

pub(super) fn colour(node: &NodeStatus) -> Style {
    if !node.reachable {
        return red();
    }
    match node.role {
        Role::Active => green(),
        Role::Standby | Role::Witness => Style::new(),
        Role::Activating
        | Role::Deactivating
        | Role::Maintenance
        | Role::Stopped
        | Role::Unknown => yellow(),
        Role::Isolated | Role::Failed => red(),
    }
}

/// Colours the first standing of `word`, after the table was laid out, so that escapes count for no width.
pub(super) fn coloured_word(line: &str, word: &str, style: Style, paint: bool) -> String {
    match line.split_once(&format!("  {word}")) {
        Some((before, after)) if paint => format!("{before}  {style}{word}{style:#}{after}"),
        Some(_) | None => line.into(),
    }
}

pub(super) fn painted(text: &str, style: Style, paint: bool) -> String {
    if paint { format!("{style}{text}{style:#}") } else { text.into() }
}

pub(super) fn bold() -> Style {
    Style::new().bold()
}

pub(super) fn green() -> Style {
    AnsiColor::Green.on_default().bold()
}

pub(super) fn yellow() -> Style {
    AnsiColor::Yellow.on_default()
}

pub(super) fn red() -> Style {
    AnsiColor::Red.on_default().bold()
}
