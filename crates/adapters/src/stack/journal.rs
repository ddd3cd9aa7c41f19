//! Every step that was begun, done or failed, one JSON line each, synced before the step goes on: after a power cut it
//! says where it was.

use super::files::crash;
use super::trouble::Trouble;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Then it is put aside, and the one before that is gone: some thousand activations.
const LENGTH_MAX: u64 = 1 << 20;

/// One line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Line {
    /// Milliseconds since 1970, by this host's clock.
    pub at: u64,
    /// The step's name, or what else was done: `claim`, `revoke`.
    pub step: String,
    /// Brought `up`, taken `down`, or neither.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub way: String,
    /// `begun`, `done`, `failed`, or `note`.
    pub what: String,
    /// Why it failed, or what is worth telling.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// The file.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    path: PathBuf,
}

impl Journal {
    pub(super) fn new(directory: &Path) -> Journal {
        Journal { path: directory.join("journal") }
    }

    pub(super) fn put(&self, step: &str, way: &str, what: &str, why: &str) -> Result<(), Trouble> {
        let synced = what != "done";
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_millis() as u64);
        let [step, way, what, why] = [step, way, what, why].map(str::to_owned);
        let line = Line { at, step, way, what, why };
        let text = serde_json::to_string(&line).map_err(Trouble::at("write", &self.path))?;
        crash::point();
        self.append(&text, synced).map_err(Trouble::at("write", &self.path))?;
        crash::point();
        Ok(())
    }

    fn append(&self, line: &str, synced: bool) -> std::io::Result<()> {
        let mut file = OpenOptions::new();
        let mut file = file.read(true).append(true).create(true).mode(0o600).open(&self.path)?;
        let length = file.metadata()?.len();
        let mut text = format!("{line}\n");
        if length > LENGTH_MAX {
            std::fs::rename(&self.path, self.path.with_extension("old"))?;
            return self.append(line, synced);
        }
        if length > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                // The power went while this line was written.
                text.insert(0, '\n');
            }
        }
        file.write_all(text.as_bytes())?;
        // The end of a step is synced with the beginning of the next: lost with the power, the step is repeated.
        if synced {
            file.sync_data()?;
        }
        if length == 0 {
            File::open(self.path.parent().unwrap_or(Path::new("/")))?.sync_all()?;
        }
        Ok(())
    }
}

/// The last lines of the journal of the stack, the oldest first. A line that is not whole is left out.
pub fn journal(state_dir: &Path, lines: usize) -> std::io::Result<Vec<Line>> {
    let text = match std::fs::read_to_string(state_dir.join("stack/journal")) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let all: Vec<Line> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    Ok(all[all.len().saturating_sub(lines)..].to_vec())
}
