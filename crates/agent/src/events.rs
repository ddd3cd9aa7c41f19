//! What operators were told on this node: a bounded file for `regent history`, and the journal of systemd.

use crate::log;
use regent_api::history::{Entry, Severity};
use regent_api::moment::Moment;
use regent_core::event::{Event, Severity as CoreSeverity};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// When the file is this long, it becomes the previous one: some ten thousand events each.
const LENGTH_MAX: u64 = 2 << 20;

/// The event log of this node.
#[derive(Clone)]
pub struct Events {
    inner: Arc<Mutex<Inner>>,
}

/// What must not go on without an operator: said until the agent is started again.
const STANDING: [&str; 4] =
    ["identity.twice", "register.went-back", "register.foreign", "register.broken"];

struct Inner {
    alarm: Option<String>,
    path: PathBuf,
    file: Option<File>,
    length: u64,
}

impl Events {
    /// Opens the log; one that cannot be written is told, and costs nothing but history.
    pub fn open(path: &Path) -> Events {
        let mut inner = Inner { alarm: None, path: path.into(), file: None, length: 0 };
        if let Err(error) = inner.open() {
            log::warning(&format!("failed to open {}: {error}", path.display()));
        }
        Events { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Writes an event of core down.
    pub fn tell(&self, event: &Event) {
        let severity = match event.severity {
            CoreSeverity::Info => Severity::Info,
            CoreSeverity::Warning => Severity::Warning,
            CoreSeverity::Alarm => Severity::Alarm,
        };
        self.write(severity, event.epoch.0, &event.code, &event.text);
    }

    /// Writes an event of the agent's own down.
    pub fn write(&self, severity: Severity, epoch: u64, code: &str, text: &str) {
        let line = format!("[{code}] epoch {epoch}: {text}");
        match severity {
            Severity::Info => log::info(&line),
            Severity::Warning => log::warning(&line),
            Severity::Alarm => log::alarm(&line),
        }
        let entry = Entry {
            at_ms: Moment::now(),
            epoch,
            code: code.into(),
            severity,
            text: text.into(),
            node: None,
            away_ms: away(text),
        };
        let mut inner = self.inner.lock().expect("nothing panics while it holds this");
        if STANDING.contains(&code) {
            inner.alarm = Some(text.into());
        }
        if let Err(error) = inner.append(&entry) {
            log::warning(&format!("failed to write {}: {error}", inner.path.display()));
        }
    }

    /// What an operator must look at before anything goes on here.
    pub fn alarm(&self) -> Option<String> {
        self.inner.lock().expect("nothing panics while it holds this").alarm.clone()
    }

    /// The last events, oldest first.
    pub fn last(&self, count: usize) -> Vec<Entry> {
        let path = self.inner.lock().expect("nothing panics while it holds this").path.clone();
        let mut entries = read(&previous(&path));
        entries.extend(read(&path));
        entries.split_off(entries.len().saturating_sub(count))
    }
}

impl Inner {
    fn open(&mut self) -> io::Result<()> {
        let file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        self.length = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }

    fn append(&mut self, entry: &Entry) -> io::Result<()> {
        if self.length > LENGTH_MAX {
            fs::rename(&self.path, previous(&self.path))?;
            self.file = None;
        }
        if self.file.is_none() {
            self.open()?;
        }
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        if let Some(file) = &mut self.file {
            file.write_all(&line)?;
        }
        self.length += line.len() as u64;
        Ok(())
    }
}

/// The outage that an event measures: "away for 123 ms".
fn away(text: &str) -> Option<u64> {
    let (_, after) = text.split_once("away for ")?;
    let (number, _) = after.split_once(" ms")?;
    number.parse().ok()
}

fn previous(path: &Path) -> PathBuf {
    path.with_extension("previous.jsonl")
}

/// A line that a crash cut short is left out.
fn read(path: &Path) -> Vec<Entry> {
    let Ok(file) = File::open(path) else { return Vec::new() };
    let lines = BufReader::new(file).lines().map_while(Result::ok);
    lines.filter_map(|line| serde_json::from_str(&line).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn the_last_events_survive_a_restart_and_a_torn_line() {
        let dir = Scratch::new("events");
        let path = dir.path().join("events.jsonl");
        let events = Events::open(&path);
        for n in 0..5 {
            events.write(Severity::Info, n, "test.event", "one");
        }
        fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"{\"at_ms\":1")
            .unwrap();
        let epochs: Vec<u64> = Events::open(&path).last(3).iter().map(|e| e.epoch).collect();
        assert_eq!(epochs, [2, 3, 4]);
    }

    #[test]
    fn an_event_that_measures_an_outage_carries_the_figure() {
        let dir = Scratch::new("events-away");
        let events = Events::open(&dir.path().join("events.jsonl"));
        events.write(Severity::Info, 3, "role.active", "active: away for 312 ms as seen from here");
        events.write(Severity::Info, 3, "role.active", "active: gate enabled");
        let away: Vec<Option<u64>> = events.last(9).iter().map(|e| e.away_ms).collect();
        assert_eq!(away, [Some(312), None]);
    }

    #[test]
    fn an_identity_that_exists_twice_stands_until_the_next_start() {
        let dir = Scratch::new("events-alarm");
        let events = Events::open(&dir.path().join("events.jsonl"));
        events.write(Severity::Alarm, 3, "gate.lost", "flushed");
        assert_eq!(events.alarm(), None);
        events.write(Severity::Alarm, 3, "identity.twice", "twice");
        assert_eq!(events.alarm().as_deref(), Some("twice"));
    }

    #[test]
    fn the_log_is_bounded() {
        let dir = Scratch::new("events-bound");
        let path = dir.path().join("events.jsonl");
        let events = Events::open(&path);
        let long = "x".repeat(1 << 20);
        for n in 0..8 {
            events.write(Severity::Info, n, "test.event", &long);
        }
        let length = |p: &Path| fs::metadata(p).unwrap().len();
        assert!(length(&path) + length(&previous(&path)) < 3 * LENGTH_MAX);
        assert_eq!(events.last(1)[0].epoch, 7);
    }
}
