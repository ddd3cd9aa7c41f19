//! The JSON Schema for editors and the reference for people, both from the one description of the keys.

use super::keys::{Effect, FILE, Fallback, KINDS, Key, PROBE, Shape, Table};
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// A length of time as the reader takes it.
const DURATION: &str = r"^[0-9]+(\.[0-9]+)? ?(us|ms|s|m|min|h|d)$";
/// A name that can stand in a certificate and in a file name.
const NAME: &str = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$";

/// JSON Schema, draft 2020-12, of the configuration file.
pub fn schema() -> String {
    let mut root = table(&FILE);
    root.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
    root.insert("title".into(), json!("/etc/regent/regent.toml"));
    let definitions = json!({
        "probe": probe(),
        "duration": { "type": "string", "pattern": DURATION },
        "name": { "type": "string", "pattern": NAME, "maxLength": 63 },
    });
    root.insert("$defs".into(), definitions);
    let mut text = serde_json::to_string_pretty(&Value::Object(root)).unwrap_or_default();
    text.push('\n');
    text
}

fn table(table: &Table) -> Map<String, Value> {
    let properties: Map<String, Value> =
        table.keys.iter().map(|k| (k.name.to_owned(), key(k))).collect();
    // A profile supplies whole tables: what it may leave out is required by the reader alone.
    let required: Vec<&str> = table
        .keys
        .iter()
        .filter(|k| k.fallback == Fallback::Required && !profile_supplies(table, k))
        .map(|k| k.name)
        .collect();
    let mut object = Map::new();
    object.insert("type".into(), json!("object"));
    object.insert("description".into(), json!(table.means));
    object.insert("properties".into(), Value::Object(properties));
    object.insert("additionalProperties".into(), json!(false));
    if !required.is_empty() {
        object.insert("required".into(), json!(required));
    }
    object
}

/// A profile's services have units, and its database an engine.
fn profile_supplies(table: &Table, key: &Key) -> bool {
    matches!((table.title, key.name), ("[[service]]", "unit") | ("[database]", "engine"))
}

fn key(key: &Key) -> Value {
    let mut value = shape(key.shape);
    if let Value::Object(object) = &mut value {
        object.insert("description".into(), json!(key.means));
        if let Fallback::Value(default) = key.fallback {
            let default = match key.shape {
                Shape::Whole(..) | Shape::Truth => {
                    serde_json::from_str(default).unwrap_or(json!(default))
                }
                Shape::Text | Shape::Duration | Shape::Word(_) | Shape::Texts => json!(default),
                Shape::TextOrTexts | Shape::Commands | Shape::Options => json!(default),
                Shape::Table(_) | Shape::Named(_) | Shape::List(_) => json!(default),
            };
            object.insert("default".into(), default);
        }
    }
    value
}

fn shape(shape: Shape) -> Value {
    match shape {
        Shape::Text => json!({ "type": "string" }),
        Shape::Duration => json!({ "$ref": "#/$defs/duration" }),
        Shape::Whole(least, most) => {
            json!({ "type": "integer", "minimum": least, "maximum": most })
        }
        Shape::Truth => json!({ "type": "boolean" }),
        Shape::Word(words) => json!({ "type": "string", "enum": words }),
        Shape::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        Shape::Commands => json!({
            "type": "array",
            "items": { "type": "array", "items": { "type": "string" }, "minItems": 1 },
        }),
        Shape::TextOrTexts => json!({
            "oneOf": [
                { "type": "string" },
                { "type": "array", "items": { "type": "string" }, "minItems": 1 },
            ]
        }),
        Shape::Options => {
            json!({ "type": "object", "additionalProperties": { "type": "string" } })
        }
        Shape::Table(inner) => Value::Object(table(inner)),
        Shape::Named(inner) => json!({
            "type": "object",
            "propertyNames": { "$ref": "#/$defs/name" },
            "additionalProperties": table(inner),
        }),
        Shape::List(inner) if inner == &PROBE => {
            json!({ "type": "array", "items": { "$ref": "#/$defs/probe" } })
        }
        Shape::List(inner) => json!({ "type": "array", "items": table(inner) }),
    }
}

/// Exactly one key says what a probe looks at, or none where it overrides another by name.
fn probe() -> Map<String, Value> {
    let mut object = table(&PROBE);
    let one = |kind: &&str| json!({ "required": [kind] });
    let mut ways: Vec<Value> = KINDS.iter().map(one).collect();
    let kinds = ways.clone();
    ways.push(json!({ "required": ["name"], "not": { "anyOf": kinds } }));
    object.insert("oneOf".into(), json!(ways));
    object
}

/// The reference: every key with its type, its default, what it means, and when a change takes effect.
pub fn reference() -> String {
    let mut text = String::from(
        "# Configuration: every key\n\n\
         Generated from the description that the reader goes by; do not edit. How to use it is in\n\
         [docs/operating/configuration.md](../operating/configuration.md), and\n\
         `regent config schema` prints the same for editors.\n\n\
         A change takes effect *by a new life* of each agent, during which nothing moves;\n\
         *by the register*, where the active node changes it for all; or *stopped*: only while the\n\
         cluster is stopped (`regent cluster stop`).\n",
    );
    let mut tables = Vec::new();
    collect(&FILE, &mut tables);
    for table in tables {
        let title = if table.title == "the file" { "The file itself" } else { table.title };
        let title = if title.starts_with('[') { format!("`{title}`") } else { title.into() };
        writeln!(text, "\n## {title}\n\n{}\n", table.means).ok();
        text += "| key | type | default | what it means | takes effect |\n| --- | --- | --- | --- | --- |\n";
        for key in table.keys {
            let (kind, default) = (kind(key), default(key));
            let effect = match key.effect {
                _ if is_table(key.shape) => "as its keys",
                Effect::Identity => "stopped",
                Effect::Register => "by the register",
                Effect::Life => "by a new life",
            };
            writeln!(text, "| `{}` | {kind} | {default} | {} | {effect} |", key.name, key.means)
                .ok();
        }
    }
    text
}

fn is_table(shape: Shape) -> bool {
    matches!(shape, Shape::Table(_) | Shape::Named(_) | Shape::List(_))
}

fn collect(table: &'static Table, found: &mut Vec<&'static Table>) {
    if found.iter().any(|other| std::ptr::eq(*other, table)) {
        return;
    }
    found.push(table);
    for key in table.keys {
        match key.shape {
            Shape::Table(inner) | Shape::Named(inner) | Shape::List(inner) => collect(inner, found),
            Shape::Text | Shape::Duration | Shape::Whole(..) | Shape::Truth => {}
            Shape::Word(_) | Shape::Texts | Shape::TextOrTexts => {}
            Shape::Commands | Shape::Options => {}
        }
    }
}

fn kind(key: &Key) -> String {
    match key.shape {
        Shape::Text => "string".into(),
        Shape::Duration => "length of time".into(),
        Shape::Whole(least, most) => format!("{least} to {most}"),
        Shape::Truth => "true or false".into(),
        Shape::Word(words) => {
            words.iter().map(|w| format!("`\"{w}\"`")).collect::<Vec<_>>().join(", ")
        }
        Shape::Texts => "list of strings".into(),
        Shape::Commands => "list of commands".into(),
        Shape::TextOrTexts => "string or list".into(),
        Shape::Options => "table of strings".into(),
        Shape::Table(_) => "table".into(),
        Shape::Named(_) => format!("tables `[{}.NAME]`", key.name),
        Shape::List(_) => "list of tables".into(),
    }
}

fn default(key: &Key) -> String {
    match key.fallback {
        Fallback::Required => "**required**".into(),
        Fallback::None(words) | Fallback::Derived(words) => words.into(),
        Fallback::Value(text) => match key.shape {
            Shape::Whole(..) | Shape::Truth => format!("`{text}`"),
            Shape::Text | Shape::Duration | Shape::Word(_) | Shape::Texts => {
                format!("`\"{text}\"`")
            }
            Shape::TextOrTexts | Shape::Commands | Shape::Options => format!("`{text}`"),
            Shape::Table(_) | Shape::Named(_) | Shape::List(_) => format!("`{text}`"),
        },
        Fallback::Preset => "of the preset".into(),
    }
}
