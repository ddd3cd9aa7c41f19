//! The configuration: one file, the same on every node, short because of profiles and defaults.
//!
//! ```text
//!  keys      the one description of every key ──► schema, reference
//!    │
//!  tree      what was written, with the place of every value
//!    │  merge     profile, timing preset, defaults below it
//!    │  validate  settings: all that the agent sees
//! ```
//! [`effective`] tells what is in force and where it came from, [`edit`] changes one value and keeps the comments.
//! [`probe`], [`fence`] and [`steps`] are values that the host's adapters take as they are.
//!
//! It goes from text to validated settings and back to text. It opens no file, runs no program and asks no host: what
//! it must know of one comes in as a [`profile::Family`].
//!
//! A mistake is a [`problem::Problem`]: where, what, and what to do; all mistakes are told at once.

#![forbid(unsafe_code)]

pub mod edit;
pub mod effective;
pub mod fence;
mod keys;
mod merge;
pub mod probe;
mod probes;
pub mod problem;
pub mod profile;
pub mod schema;
pub mod settings;
mod shared;
pub mod stack;
pub mod steps;
mod summary;
pub mod timing;
mod tree;
mod validate;

pub use keys::Effect;
use problem::{Problem, Problems};
use profile::Family;
pub use settings::Settings;

/// Checks the text of a configuration file for such a host; `name` stands in the problems.
pub fn parse(name: &str, text: &str, host: Family) -> Result<Settings, Problems> {
    let (_, settings) = understood(text, host).map_err(|p| Problems::new(name, text, p))?;
    Ok(settings)
}

/// The merged tree and the settings, or every mistake.
fn understood(text: &str, host: Family) -> Result<(tree::Node, Settings), Vec<Problem>> {
    let mut problems: Vec<Problem> = Vec::new();
    let written = tree::read(text, &keys::FILE, None, &mut problems);
    let read = written.filter(|read| !read.misread);
    let merged = read.map(|read| merge::merge(read.node, host));
    let settings = merged.as_ref().and_then(|merged| validate::validate(merged, &mut problems));
    match (merged, settings) {
        (Some(merged), Some(settings)) if problems.is_empty() => Ok((merged, settings)),
        _ => Err(problems),
    }
}

/// Names the bytes of a configuration file: two nodes with the same digest have the same file.
pub fn digest(text: &str) -> u64 {
    // It guards against a mistake, not against an enemy, who would have no certificate.
    regent_core::fnv::fnv(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::keys::{FILE, Shape, Table};
    use super::*;
    use crate::profile::Family;
    use std::collections::BTreeSet;

    /// Every key at least once; kinds of probes one by one.
    const FULL: &str = include_str!("../tests/config/full.toml");
    /// The same for shared data.
    const SHARED: &str = include_str!("../tests/config/full-shared.toml");

    fn described(table: &'static Table, found: &mut BTreeSet<(&'static str, &'static str)>) {
        for key in table.keys {
            found.insert((table.title, key.name));
            match key.shape {
                Shape::Table(inner) | Shape::Named(inner) | Shape::List(inner) => {
                    described(inner, found);
                }
                Shape::Text | Shape::Duration | Shape::Whole(..) | Shape::Truth => {}
                Shape::Word(_) | Shape::Texts | Shape::TextOrTexts => {}
                Shape::Commands | Shape::Options => {}
            }
        }
    }

    #[test]
    fn every_key_of_the_description_is_read_and_no_other() {
        tree::tests::take_asked();
        let settings = parse("full.toml", FULL, Family::Debian).unwrap_or_else(|p| panic!("{p}"));
        assert_eq!(settings.profile, "generic");
        parse("full-shared.toml", SHARED, Family::RedHat).unwrap_or_else(|p| panic!("{p}"));
        let read = tree::tests::take_asked();
        let mut keys = BTreeSet::new();
        described(&FILE, &mut keys);
        assert_eq!(read, keys);
    }

    #[test]
    fn every_profile_is_whole() {
        const BARE: &str = include_str!("../tests/config/bare.toml");
        const ON_SHARED: &str = include_str!("../tests/config/shared.toml");
        for (profile, services) in [("generic", 0), ("zstack", 2), ("xcat", 5)] {
            for family in [Family::Debian, Family::RedHat] {
                let text = match profile {
                    "xcat" => ON_SHARED.into(),
                    _ => format!("profile = \"{profile}\"\n{BARE}"),
                };
                let settings = parse(profile, &text, family).unwrap_or_else(|p| panic!("{p}"));
                assert_eq!(settings.services.len(), services, "{profile}");
            }
        }
    }
}
