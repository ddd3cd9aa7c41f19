//! What is in force, value by value: `regent config show` and `regent config diff`. Keys are compared, not lines.

use super::keys::{Effect, FILE};
use super::problem::Problems;
use super::profile::Family;
use super::tree::{self, At, Node, Origin, Value, quoted};
use super::validate::length;
use regent_core::state::Timing;
use std::path::Path;

/// One value and where it came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its key, with dots: `service.management.probe.management-http.interval`.
    pub key: String,
    /// Its value as TOML has it.
    pub value: String,
    /// Where it came from: `regent.toml:12`, `profile zstack`, `preset default`, `default`, `register`.
    pub source: String,
    /// When a change of it takes effect.
    pub effect: Effect,
}

/// A value that differs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Its key, with dots.
    pub key: String,
    /// What it was; none if it is new.
    pub old: Option<String>,
    /// What it is; none if it is gone.
    pub new: Option<String>,
    /// When it takes effect.
    pub effect: Effect,
}

/// Every value in force by this text on such a host, in the order of the reference; `name` stands in the sources.
pub fn effective(name: &str, text: &str, host: Family) -> Result<Vec<Entry>, Problems> {
    let (merged, _) =
        super::understood(text, host).map_err(|problems| Problems::new(name, text, problems))?;
    Ok(Walk::new(name, text).of(&merged))
}

/// Only what the file itself says. The text need not be valid, only readable.
pub fn written(name: &str, text: &str) -> Result<Vec<Entry>, Problems> {
    let mut problems = Vec::new();
    match tree::read(text, &FILE, None, &mut problems) {
        Some(read) if problems.is_empty() => Ok(Walk::new(name, text).of(&read.node)),
        Some(_) | None => Err(Problems::new(name, text, problems)),
    }
}

/// Puts the register's timing in place of the file's: it holds once the cluster is founded.
pub fn with_register(entries: &mut [Entry], timing: &Timing) {
    for entry in entries {
        let held = match entry.key.as_str() {
            "timing.ttl" => timing.ttl,
            "timing.margin" => timing.margin,
            _ => continue,
        };
        let held = length(held);
        let differs =
            tree::span(entry.value.trim_matches('"')) != tree::span(held.trim_matches('"'));
        entry.source = match differs {
            true => format!("register ({} has {})", entry.source, entry.value),
            false => format!("register, as in {}", entry.source),
        };
        entry.value = held;
    }
}

struct Walk<'t> {
    file: String,
    text: &'t str,
    entries: Vec<Entry>,
}

impl Walk<'_> {
    fn new<'t>(name: &str, text: &'t str) -> Walk<'t> {
        let file = Path::new(name).file_name().and_then(|f| f.to_str()).unwrap_or(name);
        Walk { file: file.into(), text, entries: Vec::new() }
    }

    fn of(mut self, node: &Node) -> Vec<Entry> {
        self.node(node, "");
        self.entries
    }

    fn node(&mut self, node: &Node, prefix: &str) {
        for key in node.table.keys {
            let Some((_, at)) = node.values.iter().find(|(k, _)| *k == key.name) else { continue };
            // The name of what is listed stands in its key, and that it is enabled goes without saying.
            if key.name == "name" || (key.name == "enabled" && at.from == Origin::Default) {
                continue;
            }
            let path = format!("{prefix}{}", key.name);
            match &at.value {
                Value::Table(inner) => self.node(inner, &format!("{path}.")),
                Value::Named(inner) => {
                    for (name, inner) in inner {
                        self.node(inner, &format!("{path}.{}.", name.value));
                    }
                }
                Value::List(inner) => self.list(inner, &path, key.name == "service"),
                Value::Options(options) => {
                    for (name, value) in options {
                        let path = format!("{path}.{name}");
                        self.entry(path, quoted(&value.value), &value.from, key.effect);
                    }
                }
                Value::Text(_) | Value::Span(..) | Value::Whole(_) | Value::Truth(_) => {
                    self.entry(path, at.value.to_string(), &at.from, key.effect);
                }
                Value::Texts(_) | Value::Commands(_) => {
                    self.entry(path, at.value.to_string(), &at.from, key.effect);
                }
            }
        }
    }

    fn list(&mut self, list: &[Node], path: &str, ordered: bool) {
        let names: Vec<String> = list
            .iter()
            .enumerate()
            .map(|(index, node)| match node.text("name") {
                Some(At { value, .. }) => value,
                None => (index + 1).to_string(),
            })
            .collect();
        if ordered && list.len() > 1 {
            let text = names.join(", ");
            let from = list.first().map_or(Origin::Default, |node| node.from.clone());
            self.entry(format!("{path} (order)"), text, &from, Effect::Life);
        }
        for (node, name) in list.iter().zip(names) {
            self.node(node, &format!("{path}.{name}."));
        }
    }

    fn entry(&mut self, key: String, value: String, from: &Origin, effect: Effect) {
        let source = match from {
            Origin::File(span) => {
                let before = self.text.get(..span.start).unwrap_or_default();
                format!("{}:{}", self.file, before.matches('\n').count() + 1)
            }
            Origin::Profile(name) => format!("profile {name}"),
            Origin::Preset(name) => format!("preset {name}"),
            Origin::Default => "default".into(),
        };
        self.entries.push(Entry { key, value, source, effect });
    }
}

/// What differs from old to new, by key; what is only written elsewhere or otherwise does not differ.
pub fn diff(old: &[Entry], new: &[Entry]) -> Vec<Change> {
    let find =
        |all: &[Entry], key: &str| all.iter().find(|e| e.key == key).map(|e| e.value.clone());
    let mut changes: Vec<Change> = Vec::new();
    for entry in new {
        let before = find(old, &entry.key);
        if before.as_ref() != Some(&entry.value) {
            let (key, effect) = (entry.key.clone(), entry.effect);
            changes.push(Change { key, old: before, new: Some(entry.value.clone()), effect });
        }
    }
    for entry in old.iter().filter(|entry| find(new, &entry.key).is_none()) {
        let (key, effect) = (entry.key.clone(), entry.effect);
        changes.push(Change { key, old: Some(entry.value.clone()), new: None, effect });
    }
    changes
}

/// What a file says, or all that is in force by it, as a table; with the register's timing where an agent knows it.
pub fn shown(
    name: &str,
    text: &str,
    host: Family,
    all: bool,
    register: Option<&Timing>,
) -> Result<String, Problems> {
    let mut entries = if all { effective(name, text, host) } else { written(name, text) }?;
    if let Some(timing) = register {
        with_register(&mut entries, timing);
    }
    Ok(render(&entries))
}

/// The entries as a table.
pub fn render(entries: &[Entry]) -> String {
    let rows = entries.iter().map(|e| [e.key.clone(), e.value.clone(), e.source.clone()]);
    columns(["key", "value", "from"], rows)
}

/// The changes as a table; `sides` names what is compared: `["file", "mn2"]`.
pub fn render_changes(changes: &[Change], sides: [&str; 2]) -> String {
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "–".into());
    let rows = changes.iter().map(|c| [c.key.clone(), value(&c.old), value(&c.new)]);
    columns(["key", sides[0], sides[1]], rows)
}

fn columns(head: [&str; 3], rows: impl Iterator<Item = [String; 3]>) -> String {
    let mut all = vec![head.map(str::to_owned)];
    all.extend(rows);
    let width = |i: usize| all.iter().map(|row| row[i].chars().count()).max().unwrap_or(0);
    // One long value does not push the last column out of sight.
    let (first, second) = (width(0), width(1).min(48));
    let line = |row: &[String; 3]| {
        let line = format!("{:first$}  {:second$}  {}", row[0], row[1], row[2]);
        format!("{}\n", line.trim_end())
    };
    all.iter().map(line).collect()
}
