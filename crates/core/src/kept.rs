//! What a later release wrote into a State and this one does not know (R7): kept beside the typed State, and written
//! again with it.
//!
//! Kept are two trees: the JSON as it was read, and what this release knows of it. What is in the first and not in the
//! second is unknown here, and goes back to its place in what is written. Its place is a *record* (State, Lease, Sync,
//! Intent, Timing, each Member), whose fields change one by one, or a *thing* (a copy, a bounded intent, a move): a
//! thing that has changed is another one, and what was said of the old one is not said of it. What was deleted is gone
//! with all that was in it. Numbers are whole and have at most 64 bits: others would not come back as they were.

use alloc::sync::Arc;
use alloc::vec::Vec;
use serde_json::{Map, Value};

/// The fields of a State that this release does not know.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Kept(Option<Arc<Trees>>);

#[derive(PartialEq, Eq, Debug)]
struct Trees {
    read: Value,
    known: Value,
}

impl Kept {
    /// Of a State that was read: what is not in `known`, this release's own form of it.
    pub(crate) fn of(read: Value, known: Value) -> Kept {
        let is_news = has_unknown(&read, &known);
        Kept(is_news.then(|| Arc::new(Trees { read, known })))
    }

    /// Nothing is unknown here.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// This State's own form, and what is kept in its places.
    pub(crate) fn beside(&self, new: Value) -> Value {
        match &self.0 {
            Some(trees) => merge(&STATE, &trees.read, &trees.known, new),
            None => new,
        }
    }
}

/// How a part of a State changes.
enum Part {
    /// Field by field; these fields are records as well.
    Record(&'static [(&'static str, Part)]),
    /// A map of records.
    Each(&'static Part),
    /// As a whole.
    Thing,
}

const PLAIN: Part = Part::Record(&[]);

const STATE: Part = Part::Record(&[
    ("lease", PLAIN),
    ("sync", PLAIN),
    ("intent", PLAIN),
    ("members", Part::Each(&PLAIN)),
    ("timing", PLAIN),
]);

impl Part {
    fn inside(&self, key: &str) -> &Part {
        match self {
            Part::Record(fields) => {
                fields.iter().find(|(name, _)| *name == key).map_or(&Part::Thing, |(_, part)| part)
            }
            Part::Each(part) => part,
            Part::Thing => &Part::Thing,
        }
    }

    /// What is unknown in it belongs to what it is being made.
    fn stays(&self) -> bool {
        match self {
            Part::Record(_) | Part::Each(_) => true,
            Part::Thing => false,
        }
    }
}

fn has_unknown(read: &Value, known: &Value) -> bool {
    match (read, known) {
        (Value::Object(read), Value::Object(known)) => read
            .iter()
            .any(|(key, read)| known.get(key).is_none_or(|known| has_unknown(read, known))),
        (Value::Array(read), Value::Array(known)) => {
            read.iter().zip(known).any(|(read, known)| has_unknown(read, known))
        }
        _ => false,
    }
}

fn merge(part: &Part, read: &Value, known: &Value, new: Value) -> Value {
    let stays = part.stays() || *known == new;
    match (read, known, new) {
        (Value::Object(read), Value::Object(known), Value::Object(new)) => {
            let mut merged: Map<_, _> = new
                .into_iter()
                .map(|(key, new)| {
                    let value = match (read.get(&key), known.get(&key)) {
                        (Some(read), Some(known)) => merge(part.inside(&key), read, known, new),
                        (Some(_), None) | (None, Some(_)) | (None, None) => new,
                    };
                    (key, value)
                })
                .collect();
            for (key, unknown) in read.iter().filter(|(key, _)| stays && !known.contains_key(*key))
            {
                merged.entry(key.clone()).or_insert_with(|| unknown.clone());
            }
            Value::Object(merged)
        }
        // A list is of things: each is found again by what is known of it.
        (Value::Array(read), Value::Array(known), Value::Array(new)) => {
            let again = |new: Value| match known.iter().position(|known| *known == new) {
                Some(at) => merge(&Part::Thing, &read[at], &known[at], new),
                None => new,
            };
            Value::Array(new.into_iter().map(again).collect::<Vec<_>>())
        }
        (_, _, new) => new,
    }
}
