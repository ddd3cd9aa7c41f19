//! The configuration: one file, the same on every node, short because of defaults.
//!
//! Three steps, one file each: [`fragment`] is what was written, with the place of every value; [`merge`] fills
//! in the profile's defaults; [`settings`] is valid, and all that the rest of the agent sees. A mistake is a
//! [`problem::Problem`]: where, what, and what to do; all mistakes are told at once.

mod fragment;
mod merge;
pub mod problem;
pub mod settings;

use problem::{Problem, Problems};
pub use settings::Settings;
use std::path::Path;

/// Reads and checks a configuration file.
pub fn load(path: &Path) -> Result<Settings, Problems> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|e| {
        Problems::of_file(
            &name,
            &format!("failed to read the file: {e}"),
            "see regent config check",
        )
    })?;
    parse(&name, &text)
}

/// Checks the text of a configuration file; `name` stands in the problems.
pub fn parse(name: &str, text: &str) -> Result<Settings, Problems> {
    let mut problems: Vec<Problem> = Vec::new();
    let fragment = fragment::read(text, &mut problems);
    // What was misread is not judged as well: its follow-ups would hide it.
    let settings = fragment.filter(|_| problems.is_empty()).and_then(|f| {
        let merged = merge::merge(f, &mut problems);
        settings::validate(merged, &mut problems)
    });
    match settings {
        Some(settings) if problems.is_empty() => Ok(settings),
        Some(_) | None => Err(Problems::new(name, text, problems)),
    }
}
