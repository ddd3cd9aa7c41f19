//! What operators were told on this node: a bounded file for `regent history`, and the journal of systemd.

use crate::behind::{Behind, Sink};
use crate::log;
use regent_api::history::{Entry, Severity};
use regent_api::moment::Moment;
use regent_core::event::{Event, Severity as CoreSeverity};
use regent_core::time::Span;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// When the file is this long, it becomes the previous one: some ten thousand events each.
const LENGTH_MAX: u64 = 2 << 20;

/// What may wait for the disk: an hour of a cluster that cannot settle.
const QUEUE: usize = 1024;

/// How long a reader waits for what is on its way to the file; what is later is in the next answer.
const SETTLE: Duration = Duration::from_millis(200);

/// How long the end of a life waits for it.
const END: Duration = Duration::from_millis(500);

/// The event log of this node. To write waits for nothing, whatever the disk does.
#[derive(Clone)]
pub struct Events {
    path: Arc<Path>,
    alarm: Arc<Mutex<Option<String>>>,
    file: Behind<Entry>,
    readers: Arc<Semaphore>,
}

/// What must not go on without an operator: said until the agent is started again.
const STANDING: [&str; 4] =
    ["identity.twice", "register.went-back", "register.foreign", "register.broken"];

impl Events {
    /// Opens the log; one that cannot be written costs nothing but history, and says so.
    pub fn open(path: &Path) -> Events {
        let log = Log { path: path.into(), file: None, length: 0, missing: 0 };
        let file = Behind::start("events", QUEUE, log);
        let readers = Arc::new(Semaphore::new(1));
        Events { path: path.into(), alarm: Arc::default(), file, readers }
    }

    /// Writes an event of core down.
    pub fn tell(&self, event: &Event) {
        let severity = match event.severity {
            CoreSeverity::Info => Severity::Info,
            CoreSeverity::Warning => Severity::Warning,
            CoreSeverity::Alarm => Severity::Alarm,
        };
        let mut entry = entry(severity, event.epoch.0, &event.code, &event.text);
        entry.away_ms = event.away.map(Span::as_millis);
        self.put(entry);
    }

    /// Writes an event of the agent's own down.
    pub fn write(&self, severity: Severity, epoch: u64, code: &str, text: &str) {
        self.put(entry(severity, epoch, code, text));
    }

    fn put(&self, entry: Entry) {
        let Entry { severity, epoch, code, text, .. } = &entry;
        let line = format!("[{code}] epoch {epoch}: {text}");
        match *severity {
            Severity::Info => log::info(&line),
            Severity::Warning => log::warning(&line),
            Severity::Alarm => log::alarm(&line),
        }
        if STANDING.contains(&code.as_str()) {
            let mut alarm = self.alarm.lock().expect("nothing panics while it holds this");
            *alarm = Some(text.clone());
        }
        self.file.put(entry);
    }

    /// What an operator must look at before anything goes on here.
    pub fn alarm(&self) -> Option<String> {
        self.alarm.lock().expect("nothing panics while it holds this").clone()
    }

    /// The last events, oldest first. Waits for the disk.
    pub fn last(&self, count: usize) -> Vec<Entry> {
        self.file.settle(SETTLE);
        let mut entries = read(&previous(&self.path));
        entries.extend(read(&self.path));
        entries.split_off(entries.len().saturating_sub(count))
    }

    /// The turn of one reader, who keeps it while he reads.
    pub async fn reader(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.readers).acquire_owned().await.expect("it is never closed")
    }

    /// Before the life ends: waits for what is on its way to the file, but not for a disk that hangs.
    pub fn settle(&self) {
        self.file.settle(END);
    }
}

fn entry(severity: Severity, epoch: u64, code: &str, text: &str) -> Entry {
    Entry {
        at_ms: Moment::now(),
        epoch,
        code: code.into(),
        severity,
        text: text.into(),
        node: None,
        away_ms: None,
    }
}

/// The file, in the hands of its own thread.
struct Log {
    path: PathBuf,
    file: Option<File>,
    length: u64,
    /// Events that the queue or the disk did not take, and that the file does not tell yet.
    missing: u64,
}

impl Sink<Entry> for Log {
    fn take(&mut self, entry: Entry) {
        if let Err(error) = self.tell_missing().and_then(|()| self.append(&entry)) {
            if self.missing == 0 {
                let path = self.path.display();
                log::warning(&format!("failed to write {path}, trying on: {error}"));
            }
            self.missing += 1;
        }
    }

    fn dropped(&mut self, count: u64) {
        self.missing += count;
        // If the disk does not take this either, it stands before the next event that it takes.
        self.tell_missing().ok();
    }
}

impl Log {
    fn tell_missing(&mut self) -> io::Result<()> {
        if self.missing == 0 {
            return Ok(());
        }
        let text = format!(
            "{} events up to here are missing in this log: the disk did not take them in time",
            self.missing
        );
        self.append(&entry(Severity::Warning, 0, "events.missing", &text))?;
        log::warning(&format!("{} is written again: {text}", self.path.display()));
        self.missing = 0;
        Ok(())
    }

    fn append(&mut self, entry: &Entry) -> io::Result<()> {
        if self.length > LENGTH_MAX {
            self.file = None;
            fs::rename(&self.path, previous(&self.path))?;
        }
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let file = OpenOptions::new().create(true).append(true).open(&self.path)?;
                self.length = file.metadata()?.len();
                if self.length > 0 {
                    // The last line may have been cut short, and would take this one with it.
                    line.insert(0, b'\n');
                }
                none.insert(file)
            }
        };
        if let Err(error) = file.write_all(&line) {
            self.file = None;
            return Err(error);
        }
        self.length += line.len() as u64;
        Ok(())
    }
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
    use regent_core::id::Epoch;

    #[test]
    fn the_last_events_survive_a_restart_and_a_torn_line() {
        let dir = Scratch::new("events");
        let path = dir.path().join("events.jsonl");
        let events = Events::open(&path);
        for n in 0..5 {
            events.write(Severity::Info, n, "test.event", "one");
        }
        assert!(events.file.settle(Duration::from_secs(30)));
        fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"{\"at_ms\":1")
            .unwrap();
        let events = Events::open(&path);
        let epochs = |events: &Events| events.last(3).iter().map(|e| e.epoch).collect::<Vec<_>>();
        assert_eq!(epochs(&events), [2, 3, 4]);
        events.write(Severity::Info, 5, "test.event", "after the torn line");
        assert_eq!(epochs(&events), [3, 4, 5]);
    }

    #[test]
    fn an_event_that_measures_an_outage_carries_the_figure() {
        let dir = Scratch::new("events-away");
        let events = Events::open(&dir.path().join("events.jsonl"));
        let event = |text: &str, away| Event {
            away,
            ..Event::new("role.active", CoreSeverity::Info, Epoch(3), text.into())
        };
        events.tell(&event("active: the figure is no part of this", Some(Span::millis(312))));
        // What a sentence says is no figure.
        events.tell(&event("active: a probe says that it was away for 7 ms", None));
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
        assert!(events.file.settle(Duration::from_secs(30)));
        let length = |p: &Path| fs::metadata(p).unwrap().len();
        assert!(length(&path) + length(&previous(&path)) < 3 * LENGTH_MAX);
        assert_eq!(events.last(1)[0].epoch, 7);
    }

    /// A FIFO that nobody reads is a disk that hangs: to open it, and to write what it has no room for, takes for ever.
    #[test]
    fn a_disk_that_hangs_holds_nobody_up_and_the_log_tells_how_many_events_it_missed() {
        let dir = Scratch::new("events-hang");
        let path = dir.path().join("events.jsonl");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
        let events = Events::open(&path);
        let put = QUEUE as u64 + 500;
        for n in 0..put {
            events.write(Severity::Info, n, "test.event", "one");
        }
        events.write(Severity::Alarm, put, "identity.twice", "twice");
        assert_eq!(events.alarm().as_deref(), Some("twice"));
        // Told each time the queue is worked off, so perhaps more than once.
        let (mut told, mut missing) = (0, 0);
        let mut lines = BufReader::new(File::open(&path).unwrap()).lines();
        while told + missing < put + 1 {
            let line = lines.next().unwrap().unwrap();
            let entry: Entry = serde_json::from_str(&line).unwrap();
            if entry.code == "events.missing" {
                missing += entry.text.split_once(' ').unwrap().0.parse::<u64>().unwrap();
            } else {
                told += 1;
            }
        }
        assert_eq!(told + missing, put + 1);
        assert!(missing > 0 && told >= QUEUE as u64, "{told} told, {missing} missing");
    }

    #[test]
    fn a_full_disk_is_written_again_once_it_has_room_and_the_count_comes_first() {
        let dir = Scratch::new("events-full");
        // No directory: each write fails, as on a disk without room.
        let gone = dir.path().join("gone");
        let path = gone.join("events.jsonl");
        let events = Events::open(&path);
        for n in 0..3 {
            events.write(Severity::Info, n, "test.event", "one");
        }
        assert_eq!(events.last(9), []);
        fs::create_dir(&gone).unwrap();
        events.write(Severity::Info, 3, "test.event", "one");
        let told: Vec<(String, u64)> =
            events.last(9).into_iter().map(|e| (e.code, e.epoch)).collect();
        assert_eq!(told, [("events.missing".to_string(), 0), ("test.event".to_string(), 3)]);
    }
}
