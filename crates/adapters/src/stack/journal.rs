//! Every step that was begun, done or failed, one JSON line each, synced before the step goes on: after a power cut it
//! says where it was. A disk without room stops no step: what it did not take is counted, and told once there is room.

use super::files::crash;
use super::trouble::Trouble;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
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
    /// Lines that found no room, and that the file does not tell yet.
    missing: Arc<AtomicU32>,
}

impl Journal {
    pub(super) fn new(directory: &Path) -> Journal {
        Journal { path: directory.join("journal"), missing: Arc::default() }
    }

    pub(super) fn put(&self, step: &str, way: &str, what: &str, why: &str) -> Result<(), Trouble> {
        crash::point();
        match self.try_put([step, way, what, why]) {
            Err(error) if is_full(&error) => {
                self.missing.fetch_add(1, Ordering::Relaxed);
            }
            ended => ended.map_err(Trouble::at("write", &self.path))?,
        }
        crash::point();
        Ok(())
    }

    fn try_put(&self, words: [&str; 4]) -> std::io::Result<()> {
        let missing = self.missing.load(Ordering::Relaxed);
        if missing > 0 {
            let why = format!("{missing} lines are missing here: there was no room for them");
            self.append(&line(["", "", "note", &why])?, false)?;
            self.missing.fetch_sub(missing, Ordering::Relaxed);
        }
        let [_, _, what, _] = words;
        self.append(&line(words)?, what != "done")
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

fn line([step, way, what, why]: [&str; 4]) -> std::io::Result<String> {
    let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_millis() as u64);
    let [step, way, what, why] = [step, way, what, why].map(str::to_owned);
    Ok(serde_json::to_string(&Line { at, step, way, what, why })?)
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_without_room_stops_no_step_and_the_next_line_tells_how_many_are_missing() {
        let folder = std::env::temp_dir().join(format!("regent-lines-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("stack")).unwrap();
        let mut journal = Journal::new(&folder.join("stack"));
        let place = std::mem::replace(&mut journal.path, "/dev/full".into());
        for what in ["begun", "done"] {
            journal.put("database", "up", what, "").unwrap();
        }
        journal.path = place;
        journal.put("xcatd", "up", "begun", "").unwrap();
        journal.put("xcatd", "up", "done", "").unwrap();
        let lines = super::journal(&folder, 9).unwrap();
        let words: Vec<(&str, &str)> =
            lines.iter().map(|line| (line.what.as_str(), line.why.as_str())).collect();
        let missing = "2 lines are missing here: there was no room for them";
        assert_eq!(words, [("note", missing), ("begun", ""), ("done", "")]);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
