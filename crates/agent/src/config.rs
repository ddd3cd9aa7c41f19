//! The configuration file of this host: read, checked for what this host is, and changed in two phases ([`apply`]).
//! What stands in it, and what it means, is the crate `regent_config`.

pub mod apply;

use regent_config::effective::{self, Entry};
use regent_config::problem::Problems;
use regent_config::profile::Family;
use regent_config::{Settings, digest};
use regent_core::state::Timing;
use std::path::Path;

/// A configuration file that was read and is valid.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says.
    pub settings: Settings,
    /// Its text.
    pub text: String,
    /// [`digest`] of its text.
    pub digest: u64,
}

/// Reads and checks a configuration file.
pub fn load(path: &Path) -> Result<Settings, Problems> {
    read(path).map(|loaded| loaded.settings)
}

/// Reads and checks a configuration file, and keeps its text.
pub fn read(path: &Path) -> Result<Loaded, Problems> {
    let text = text(path)?;
    let settings = parse(&path.display().to_string(), &text)?;
    Ok(Loaded { settings, digest: digest(&text), text })
}

/// The text of a configuration file.
pub fn text(path: &Path) -> Result<String, Problems> {
    std::fs::read_to_string(path).map_err(|e| {
        let what = format!("failed to read the file: {e}");
        let remedy = "name the file that you mean, and run it as a user who may read it";
        Problems::of_file(&path.display().to_string(), &what, remedy)
    })
}

/// Checks the text of a configuration file for this host; `name` stands in the problems.
pub fn parse(name: &str, text: &str) -> Result<Settings, Problems> {
    regent_config::parse(name, text, here())
}

/// Every value in force by this text on this host; `name` stands in the sources.
pub fn effective(name: &str, text: &str) -> Result<Vec<Entry>, Problems> {
    effective::effective(name, text, here())
}

/// What a file says, or all that is in force by it on this host, as a table; with the register's timing where an agent
/// knows it.
pub fn shown(file: &Path, all: bool, register: Option<&Timing>) -> Result<String, Problems> {
    effective::shown(&file.display().to_string(), &text(file)?, here(), all, register)
}

/// What this host is: its family by os-release(5).
pub fn here() -> Family {
    let text = ["/etc/os-release", "/usr/lib/os-release"]
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok());
    Family::of(&text.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_there_says_what_to_do() {
        let error = load(Path::new("/nowhere/none.toml")).unwrap_err().to_string();
        assert!(error.contains("failed to read the file: No such file"), "{error}");
        assert!(error.contains("name the file that you mean"), "{error}");
    }
}
