//! Every input and command of core as a line of JSON, bounded: what an incident is replayed from.
//!
//! The lease thread only hands over; a thread of its own writes. What does not fit, or what a disk without room does
//! not take, is lost, and the next line says how many were.

use crate::log;
use regent_core::command::Command;
use regent_core::node::Input;
use regent_core::time::Time;
use serde::Serialize;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// What may wait for the disk: some seconds of a busy node.
const QUEUE: usize = 4096;

/// How long one file gets, and how many there are: together about an hour of a busy node, or a dozen restarts.
const LENGTH_MAX: u64 = 8 << 20;
const FILES_MAX: usize = 12;

/// Lines are gathered to so much, and no longer than this while nothing happens.
const BLOCK: usize = 8 << 10;
const FLUSH: Duration = Duration::from_millis(200);

/// What the journal leaves of a disk to those who need it more.
const LEAVES: u64 = 4 << 20;

/// After the disk refused, before it is tried again; what comes meanwhile is counted.
const PAUSE: Duration = Duration::from_secs(1);

/// The way into the journal.
pub struct Journal {
    queue: Option<SyncSender<Line>>,
    lost: u64,
}

#[expect(clippy::large_enum_variant, reason = "nearly every entry is an input")]
enum What {
    Began(String),
    Input(Input),
    Command(Command),
}

struct Line {
    at: Time,
    lost: u64,
    what: What,
}

impl Journal {
    /// Starts the thread; without one there is no journal, and that is told.
    pub fn start(dir: &Path) -> Journal {
        let (queue, lines) = sync_channel(QUEUE);
        let dir = dir.to_path_buf();
        let thread = std::thread::Builder::new().name("journal".into());
        let begun = thread.spawn(move || run(&dir, &lines));
        if let Err(error) = begun {
            log::warning(&format!("failed to keep a journal: {error}"));
            return Journal { queue: None, lost: 0 };
        }
        Journal { queue: Some(queue), lost: 0 }
    }

    /// The first line of a run: all that a replay needs beside the inputs.
    pub fn begin(&mut self, at: Time, head: String) {
        self.write(at, What::Began(head));
    }

    /// An input, before core takes it. Deadlines that nothing follows from are left out.
    pub fn input(&mut self, at: Time, input: &Input) {
        if self.queue.is_some() && *input != Input::Tick {
            self.write(at, What::Input(input.clone()));
        }
    }

    /// A command, before it is carried out.
    pub fn command(&mut self, at: Time, command: &Command) {
        if self.queue.is_some() {
            self.write(at, What::Command(command.clone()));
        }
    }

    fn write(&mut self, at: Time, what: What) {
        let Some(queue) = &self.queue else { return };
        match queue.try_send(Line { at, lost: self.lost, what }) {
            Ok(()) => self.lost = 0,
            Err(_) => self.lost += 1,
        }
    }
}

#[derive(Serialize)]
struct Written<'a> {
    boot: u64,
    raw: u64,
    #[serde(skip_serializing_if = "is_zero")]
    lost: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    began: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<Read<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'a Command>,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// An input as it stands in a line; the bytes of a view as the text that they are.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum Read<'a> {
    Tick,
    View {
        version: u64,
        state: std::borrow::Cow<'a, str>,
        recent: &'a [regent_core::id::AttemptId],
    },
    Outcome {
        id: regent_core::id::CommandId,
        outcome: &'a regent_core::command::Outcome,
    },
    Report(&'a regent_core::observe::Report),
    DatabaseUnit(regent_core::observe::UnitState),
    DatabaseProgress(&'a str),
    ServiceUnit {
        service: regent_core::observe::ServiceId,
        state: regent_core::observe::UnitState,
        asked: bool,
    },
    GateLost,
    Room(&'a regent_core::room::Room),
    Stranger {
        mac: [u8; 6],
    },
    Health {
        probe: regent_core::health::ProbeId,
        health: regent_core::health::Health,
        why: &'a str,
    },
    Watchdog {
        length: regent_core::time::Span,
    },
    ForeignClaim {
        what: &'a str,
    },
    SharedData {
        lost: Option<&'a regent_core::stack::DataLost>,
    },
    ForeignRegister {
        node: regent_core::id::NodeId,
        cluster: regent_core::id::ClusterId,
    },
    Operator {
        request: regent_core::id::RequestId,
        what: &'a regent_core::command::Request,
    },
}

impl<'a> Read<'a> {
    fn of(input: &'a Input) -> Read<'a> {
        match input {
            Input::Tick => Read::Tick,
            Input::View { version, bytes, recent } => {
                Read::View { version: version.0, state: String::from_utf8_lossy(bytes), recent }
            }
            Input::Outcome { id, outcome } => Read::Outcome { id: *id, outcome },
            Input::Report(report) => Read::Report(report),
            Input::DatabaseUnit(state) => Read::DatabaseUnit(*state),
            Input::DatabaseProgress(text) => Read::DatabaseProgress(text),
            Input::ServiceUnit { service, state, asked } => {
                Read::ServiceUnit { service: *service, state: *state, asked: *asked }
            }
            Input::Health { probe, health, why } => {
                Read::Health { probe: *probe, health: *health, why }
            }
            Input::GateLost => Read::GateLost,
            Input::ForeignClaim(what) => Read::ForeignClaim { what },
            Input::SharedData(lost) => Read::SharedData { lost: lost.as_ref() },
            Input::ForeignRegister { node, cluster } => {
                Read::ForeignRegister { node: *node, cluster: *cluster }
            }
            Input::Watchdog(length) => Read::Watchdog { length: *length },
            Input::Room(room) => Read::Room(room),
            Input::Stranger { mac } => Read::Stranger { mac: *mac },
            Input::Operator { request, what } => Read::Operator { request: *request, what },
        }
    }
}

fn encode(line: &Line) -> serde_json::Result<Vec<u8>> {
    let mut written = Written {
        boot: line.at.boot,
        raw: line.at.raw,
        lost: line.lost,
        began: None,
        input: None,
        command: None,
    };
    match &line.what {
        What::Began(head) => written.began = Some(head),
        What::Input(input) => written.input = Some(Read::of(input)),
        What::Command(command) => written.command = Some(command),
    }
    let mut bytes = serde_json::to_vec(&written)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn run(dir: &Path, lines: &Receiver<Line>) {
    let mut files = Files::new(dir);
    loop {
        match lines.recv_timeout(FLUSH) {
            Ok(line) => files.take(line),
            Err(RecvTimeoutError::Timeout) => files.flush(),
            Err(RecvTimeoutError::Disconnected) => return files.flush(),
        }
    }
}

/// The files, in the hands of their own thread. What the disk does not take is lost and counted; after a pause it is
/// tried on.
struct Files {
    dir: PathBuf,
    /// Open once this run has a file of its own, so that a run's first line is the first of a file.
    file: Option<File>,
    begun: bool,
    /// How much of the file is whole lines.
    length: u64,
    /// Whole lines that are not written yet, and how many inputs and commands they stand for.
    waiting: Vec<u8>,
    held: u64,
    /// What was not written, and no line tells yet.
    lost: u64,
    /// When the disk refused last.
    failed: Option<Instant>,
}

impl Files {
    fn new(dir: &Path) -> Files {
        Files {
            dir: dir.into(),
            file: None,
            begun: false,
            length: 0,
            waiting: Vec::new(),
            held: 0,
            lost: 0,
            failed: None,
        }
    }

    fn take(&mut self, mut line: Line) {
        if self.failed.is_some_and(|at| at.elapsed() < PAUSE) {
            self.lost += line.lost + 1;
            return;
        }
        line.lost += std::mem::take(&mut self.lost);
        self.held += line.lost + 1;
        // All of it is made of numbers and texts.
        let Ok(bytes) = encode(&line) else { return };
        self.waiting.extend(bytes);
        if self.waiting.len() >= BLOCK {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let (held, written) = (self.held, self.write());
        self.waiting.clear();
        self.held = 0;
        let dir = self.dir.display();
        match written {
            Ok(()) if self.failed.take().is_some() => {
                log::warning(&format!("the journal in {dir} is written again, with a gap"));
            }
            Ok(()) => {}
            Err(error) => {
                self.lost += held;
                self.file = None;
                if self.failed.replace(Instant::now()).is_none() {
                    log::warning(&format!(
                        "failed to write the journal in {dir}, trying on: {error}"
                    ));
                }
            }
        }
    }

    fn write(&mut self) -> io::Result<()> {
        if !self.begun {
            fs::create_dir_all(&self.dir)?;
        }
        let left = rustix::fs::statvfs(&self.dir)?;
        if left.f_bavail.saturating_mul(left.f_frsize) < LEAVES {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if !self.begun || self.length > LENGTH_MAX {
            self.file = None;
            rotate(&self.dir)?;
            (self.begun, self.length) = (true, 0);
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let mut options = OpenOptions::new();
                let options = options.create(true).write(true).truncate(false);
                let file = options.open(name(&self.dir, 0))?;
                // A write that failed may have left a part of a line.
                file.set_len(self.length)?;
                none.insert(file)
            }
        };
        file.write_all_at(&self.waiting, self.length)?;
        self.length += self.waiting.len() as u64;
        Ok(())
    }
}

fn name(dir: &Path, age: usize) -> PathBuf {
    dir.join(format!("{age}.jsonl"))
}

/// Removes the oldest file, but never the newest; false if there is nothing to remove.
pub(crate) fn drop_oldest(dir: &Path) -> bool {
    (1..FILES_MAX).rev().any(|age| fs::remove_file(name(dir, age)).is_ok())
}

/// `0.jsonl` is the newest; each becomes one older, and the oldest goes.
fn rotate(dir: &Path) -> io::Result<()> {
    for age in (0..FILES_MAX - 1).rev() {
        if name(dir, age).exists() {
            fs::rename(name(dir, age), name(dir, age + 1))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use regent_core::id::Version;

    #[test]
    fn inputs_and_commands_become_lines_in_order() {
        let dir = Scratch::new("journal");
        let mut journal = Journal::start(dir.path());
        let at = Time { boot: 5, raw: 6 };
        journal.begin(at, "{\"node\":1}".into());
        let bytes = br#"{"format":1}"#.to_vec();
        journal.input(at, &Input::View { version: Version(3), bytes, recent: vec![] });
        journal.input(at, &Input::Tick);
        drop(journal);
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        let text = loop {
            let text = fs::read_to_string(name(dir.path(), 0)).unwrap_or_default();
            if text.lines().count() == 2 {
                break text;
            }
            assert!(std::time::Instant::now() < deadline, "{text}");
            std::thread::sleep(Duration::from_millis(2));
        };
        let lines: Vec<serde_json::Value> =
            text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines[0]["began"], "{\"node\":1}");
        assert_eq!(lines[1]["input"]["view"]["state"], "{\"format\":1}");
        assert_eq!((lines[1]["boot"].as_u64(), lines[1]["raw"].as_u64()), (Some(5), Some(6)));
    }

    #[test]
    fn old_files_go() {
        let dir = Scratch::new("journal-old");
        for _ in 0..FILES_MAX + 3 {
            let mut files = Files::new(dir.path());
            files.take(line());
            files.flush();
        }
        let count = || fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(count(), FILES_MAX);
        while drop_oldest(dir.path()) {}
        assert_eq!(count(), 1);
        assert!(name(dir.path(), 0).exists());
    }

    fn line() -> Line {
        Line { at: Time { boot: 1, raw: 2 }, lost: 0, what: What::Began("{}".into()) }
    }

    #[test]
    fn a_disk_that_refuses_is_tried_again_and_the_next_line_tells_how_many_are_missing() {
        let dir = Scratch::new("journal-refused");
        let inside = dir.path().join("journal");
        let mut files = Files::new(&inside);
        for _ in 0..3 {
            files.take(line());
        }
        // Where the directory is to be stands a file: as good as a disk that is full.
        fs::write(&inside, "").unwrap();
        files.flush();
        files.take(line());
        assert_eq!((files.lost, files.failed.is_some()), (4, true));
        fs::remove_file(&inside).unwrap();
        files.failed = Instant::now().checked_sub(PAUSE);
        files.take(line());
        files.take(line());
        files.flush();
        let text = fs::read_to_string(name(&inside, 0)).unwrap();
        let lost: Vec<u64> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|line| line["lost"].as_u64().unwrap_or(0))
            .collect();
        assert_eq!((lost, files.lost), (vec![4, 0], 0));
    }
}
