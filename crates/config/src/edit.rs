//! `regent config set`: one value of the text is changed, and every comment stays.

use super::effective::{Change, diff, effective};
use super::keys::{Effect, FILE, Key, Shape, Table};
use super::problem::Problems;
use super::profile::Family;
use super::tree::near;
use toml_edit::{ArrayOfTables, DocumentMut, Item, TableLike, Value};

/// Why a value is not set.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EditError {
    /// The file is no TOML.
    #[error("the file cannot be edited: {0}")]
    File(String),
    /// There is no such key.
    #[error("there is no key `{key}`\n  what to do: {remedy}")]
    Unknown {
        /// As asked.
        key: String,
        /// The near ones.
        remedy: String,
    },
    /// The value does not fit the key.
    #[error("{value} does not fit `{key}`\n  what to do: write {wanted}")]
    Value {
        /// As asked.
        key: String,
        /// As given.
        value: String,
        /// What fits.
        wanted: String,
    },
    /// The file says it in a way that cannot be edited in place.
    #[error(
        "`{0}` is written as one line of tables: edit the file by hand, or write it as [[...]]"
    )]
    Inline(String),
    /// The file would not be valid afterwards.
    #[error("the change is refused:\n{0}")]
    Invalid(Problems),
    /// It can only be changed while the cluster is stopped.
    #[error(
        "`{keys}` cannot be changed while the cluster runs: {why}\n  what to do: regent cluster stop, then edit the file on every node, \
         restart regent-gate and regent, then regent cluster start"
    )]
    Identity {
        /// The keys.
        keys: String,
        /// Why not.
        why: &'static str,
    },
}

/// A change that is valid, and not yet anywhere.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proposal {
    /// The whole new text.
    pub text: String,
    /// What differs in force, for people to confirm.
    pub changes: Vec<Change>,
}

impl Proposal {
    /// The new timing of rights, if the register is to be asked for it as well.
    pub fn asks_register(&self) -> bool {
        self.changes.iter().any(|change| change.effect == Effect::Register)
    }
}

/// What `regent config set KEY VALUE` would do; without a value the key is taken out. `live` says that the cluster
/// runs: then who it is cannot be changed.
pub fn propose(
    name: &str,
    text: &str,
    key: &str,
    value: Option<&str>,
    live: bool,
    host: Family,
) -> Result<Proposal, EditError> {
    let new = match value {
        Some(value) => edit(text, key, value)?,
        None => unset(text, key)?,
    };
    let after = effective(name, &new, host).map_err(EditError::Invalid)?;
    // An invalid file can be repaired by setting a value.
    let before = effective(name, text, host).unwrap_or_default();
    let changes = diff(&before, &after);
    let identity: Vec<&Change> = changes.iter().filter(|c| c.effect == Effect::Identity).collect();
    if live && let Some(first) = identity.first() {
        let keys: Vec<&str> = identity.iter().map(|c| c.key.as_str()).collect();
        return Err(EditError::Identity { keys: keys.join("`, `"), why: why_identity(&first.key) });
    }
    Ok(Proposal { text: new, changes })
}

fn why_identity(key: &str) -> &'static str {
    match key.split('.').next().unwrap_or_default() {
        "cluster" => "a node of the new name would refuse its peers of the old one",
        "port" => "nodes with the new port would not reach those with the old one",
        "node" => "the register's voters and the certificates name the members as they were",
        "vip" => "the gate in front of the old address would not guard the new one",
        _ => "what is under way was begun with the old one",
    }
}

/// The text with this key set; comments and order stay. Whether it is valid is not asked.
pub fn edit(text: &str, key: &str, value: &str) -> Result<String, EditError> {
    let mut document = parsed(text)?;
    let (place, described) = locate(key)?;
    let value = fitting(key, described, value)?;
    let table = reach(document.as_table_mut(), &place.steps, true, key)?;
    let Some(table) = table else { return Ok(text.into()) };
    let name = place.name.as_str();
    match table.get_mut(name) {
        Some(Item::Value(old)) => {
            let decor = old.decor().clone();
            *old = value;
            *old.decor_mut() = decor;
        }
        Some(old) => *old = Item::Value(value),
        None => {
            table.insert(name, Item::Value(value));
        }
    }
    Ok(document.to_string())
}

/// The text without this key: its default, or its profile's value, holds again.
pub fn unset(text: &str, key: &str) -> Result<String, EditError> {
    let mut document = parsed(text)?;
    let (place, _) = locate(key)?;
    if let Some(table) = reach(document.as_table_mut(), &place.steps, false, key)? {
        table.remove(&place.name);
    }
    Ok(document.to_string())
}

fn parsed(text: &str) -> Result<DocumentMut, EditError> {
    text.parse().map_err(|e: toml_edit::TomlError| EditError::File(e.message().to_owned()))
}

/// The way to a value.
struct Place {
    steps: Vec<Step>,
    name: String,
}

enum Step {
    /// Into the table of this key.
    Into(&'static str),
    /// Into the table of this name.
    Named(String),
    /// Into the one of this name in a list.
    Listed(&'static str, String),
}

/// Finds the key in the description.
fn locate(key: &str) -> Result<(Place, &'static Key), EditError> {
    let mut parts = key.split('.');
    let mut table: &'static Table = &FILE;
    let mut steps = Vec::new();
    loop {
        let part = parts.next().unwrap_or_default();
        let Some(described) = table.key(part) else {
            let remedy = match near(part, &table.names()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known there: {}", table.names().join(", ")),
            };
            return Err(EditError::Unknown { key: key.into(), remedy });
        };
        let mut named = |what: &str| match parts.next() {
            Some(name) if !name.is_empty() => Ok(name.to_owned()),
            Some(_) | None => Err(EditError::Unknown {
                key: key.into(),
                remedy: format!("name {what} and its key: {key}.NAME.KEY"),
            }),
        };
        table = match described.shape {
            Shape::Table(inner) => {
                steps.push(Step::Into(described.name));
                inner
            }
            Shape::Named(inner) => {
                let name = named("which one")?;
                steps.extend([Step::Into(described.name), Step::Named(name)]);
                inner
            }
            Shape::List(inner) => {
                let name = named("which one")?;
                steps.push(Step::Listed(described.name, name));
                inner
            }
            Shape::Options => match parts.next() {
                Some(name) => {
                    steps.push(Step::Into(described.name));
                    return Ok((Place { steps, name: name.into() }, described));
                }
                None => return Ok((Place { steps, name: part.into() }, described)),
            },
            Shape::Text | Shape::Duration | Shape::Whole(..) | Shape::Truth => {
                return end(key, part, parts.next(), steps, described);
            }
            Shape::Word(_) | Shape::Texts | Shape::Commands | Shape::TextOrTexts => {
                return end(key, part, parts.next(), steps, described);
            }
        };
    }
}

fn end(
    key: &str,
    part: &str,
    rest: Option<&str>,
    steps: Vec<Step>,
    described: &'static Key,
) -> Result<(Place, &'static Key), EditError> {
    if rest.is_some() {
        let remedy = format!("`{part}` is a value: nothing stands below it");
        return Err(EditError::Unknown { key: key.into(), remedy });
    }
    Ok((Place { steps, name: part.into() }, described))
}

/// Goes to the table, and makes what is missing on the way if asked to.
fn reach<'t>(
    root: &'t mut toml_edit::Table,
    steps: &[Step],
    make: bool,
    key: &str,
) -> Result<Option<&'t mut dyn TableLike>, EditError> {
    let inline = || EditError::Inline(key.into());
    let mut at: &'t mut dyn TableLike = root;
    for step in steps {
        let (name, listed) = match step {
            Step::Into(name) => (*name, None),
            Step::Named(name) => (name.as_str(), None),
            Step::Listed(name, element) => (*name, Some(element)),
        };
        if at.get(name).is_none() {
            if !make {
                return Ok(None);
            }
            let new = match listed {
                Some(_) => Item::ArrayOfTables(ArrayOfTables::new()),
                None => {
                    let mut table = toml_edit::Table::new();
                    // [node] alone would only be noise above [node.mn1].
                    table.set_implicit(matches!(step, Step::Into("node")));
                    Item::Table(table)
                }
            };
            at.insert(name, new);
        }
        let item = at.get_mut(name).ok_or_else(inline)?;
        at = match listed {
            None => item.as_table_like_mut().ok_or_else(inline)?,
            Some(element) => {
                let list = item.as_array_of_tables_mut().ok_or_else(inline)?;
                match element_of(list, element, make) {
                    Some(table) => table,
                    None => return Ok(None),
                }
            }
        };
    }
    Ok(Some(at))
}

/// The one of this name, or an additional one: what a profile or a default supplies is overridden by name.
fn element_of<'l>(
    list: &'l mut ArrayOfTables,
    name: &str,
    make: bool,
) -> Option<&'l mut toml_edit::Table> {
    let is = |table: &toml_edit::Table| {
        let written = table.get("name").and_then(Item::as_str);
        written == Some(name)
    };
    let found = list.iter().position(is);
    match found {
        Some(index) => list.get_mut(index),
        None if make => {
            let mut table = toml_edit::Table::new();
            table.insert("name", toml_edit::value(name));
            list.push(table);
            list.get_mut(list.len() - 1)
        }
        None => None,
    }
}

/// The value as the key's shape has it; a string needs no quotes on a command line.
fn fitting(key: &str, described: &Key, given: &str) -> Result<Value, EditError> {
    let wrong = || EditError::Value {
        key: key.into(),
        value: given.into(),
        wanted: described.shape.wanted(described.name),
    };
    let read = given.parse::<Value>().ok();
    let text = || match &read {
        Some(Value::String(text)) => Value::from(text.value().as_str()),
        Some(_) | None => Value::from(given),
    };
    match described.shape {
        Shape::Text | Shape::Duration | Shape::Word(_) => Ok(text()),
        Shape::Whole(..) => read.filter(Value::is_integer).ok_or_else(wrong),
        Shape::Truth => read.filter(Value::is_bool).ok_or_else(wrong),
        Shape::Texts | Shape::Commands => read.filter(Value::is_array).ok_or_else(wrong),
        Shape::TextOrTexts => match read {
            Some(list) if list.is_array() => Ok(list),
            Some(_) | None => Ok(Value::from(given.trim_matches('"'))),
        },
        Shape::Options if key.ends_with(".options") => {
            read.filter(Value::is_inline_table).ok_or_else(wrong)
        }
        Shape::Options => Ok(text()),
        Shape::Table(_) | Shape::Named(_) | Shape::List(_) => Err(wrong()),
    }
}
