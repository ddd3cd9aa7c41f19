//! How far the log had come when it was last looked at, kept outside the data directory.
//!
//! It tells data that were put back, and a log that was reset, exchanged or purged behind it: the log that is there
//! must have, at the very place that was kept, the very bytes that were there (names of transactions alone would not
//! do: a log that began anew under the same server id issues them a second time). The first end is on the disk before
//! the name of the data is. Later it is moved now and then, without waiting for the disk: one that is older than the
//! log is the rule, and after a loss of power it is as old as the kernel let it be. It is never ahead of what the log
//! has on its disk: only a place is kept that the server calls committed, and with D1 it syncs its log before that. So
//! a log that does not come up to it lost something.

use crate::database::binlog::{self, Group, Scanned};
use crate::database::gtid::Gtid;
use crate::database::json::{read_json, to_json};
use crate::durable;
use regent_core::id::Incarnation;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// How much of the log before a place is compared: more than the end of any transaction, with its time and its sum.
const WINDOW: u64 = 4096;
/// A log of ours has one domain.
const DOMAIN: u32 = 0;

/// A place in the log as the server names it, up to which everything is committed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    /// The file's name, without its folder.
    pub(crate) file: String,
    /// The byte after the last committed transaction.
    pub(crate) at: u64,
}

/// What is kept of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct End {
    /// Of this file.
    format: u32,
    /// Of these data; for others it says nothing.
    incarnation: Incarnation,
    file: String,
    at: u64,
    /// From where to `at` the bytes are compared.
    from: u64,
    /// Of those bytes, SHA-256.
    digest: String,
    /// The last transaction before the place.
    gtid: Option<Gtid>,
}

/// What is in the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Ends {
    #[serde(flatten)]
    end: End,
    /// The one that it replaced, of data of another name: the new name may not be written yet.
    #[serde(default)]
    was: Option<End>,
}

/// The kept end.
#[derive(Clone, Debug)]
pub(crate) struct LogEnd {
    path: PathBuf,
}

impl LogEnd {
    /// At this place outside the data directory.
    pub(crate) fn new(state_dir: &Path) -> LogEnd {
        LogEnd { path: state_dir.join("database.end") }
    }

    /// Does this log go on from the end that was kept of these data? True if none was kept.
    pub(crate) fn goes_on(
        &self,
        incarnation: Incarnation,
        index: Option<&Path>,
    ) -> io::Result<bool> {
        let Some(end) = self.read(incarnation) else { return Ok(true) };
        let Some(index) = index else { return Ok(false) };
        match end.is_in(index) {
            Err(fault)
                if matches!(fault.kind(), ErrorKind::NotFound | ErrorKind::UnexpectedEof) =>
            {
                Ok(false)
            }
            answer => answer,
        }
    }

    /// Keeps the end of data that are about to get this name, or whose log just began anew by our own hand; on the disk
    /// when this returns. What was kept of their old name holds until the new one is written.
    pub(crate) fn begin(
        &self,
        incarnation: Incarnation,
        old: Option<Incarnation>,
        index: &Path,
        place: &Place,
    ) -> io::Result<()> {
        let old = old.filter(|old| *old != incarnation).and_then(|old| self.read(old));
        let files = binlog::files(index)?;
        let path = files.iter().find(|path| is_named(path, &place.file));
        let path = path.ok_or_else(|| io::Error::other(format!("no log {}", place.file)))?;
        // Not in a log that began anew: a file of the same name is another one.
        let goes_on =
            |end: &&End| end.file == place.file && end.is_in(index).is_ok_and(|whole| whole);
        let begin = old.as_ref().filter(goes_on).map(|end| (end.at, end.gtid));
        let scanned = binlog::scan(path, begin, place.at)?;
        let scanned =
            scanned.ok_or_else(|| io::Error::other(format!("{} breaks off", path.display())))?;
        self.write(&Ends { end: End::at(path, incarnation, scanned)?, was: old }, true)
    }

    /// Moves the kept end up to a committed place, or towards it if that is far. Only for a log that goes on from it.
    pub(crate) fn advance(
        &self,
        incarnation: Incarnation,
        index: &Path,
        place: &Place,
        synced: bool,
    ) -> io::Result<()> {
        let known = self.read(incarnation);
        if known.as_ref().is_some_and(|end| end.file == place.file && end.at >= place.at) {
            return Ok(());
        }
        let files = binlog::files(index)?;
        let nth = |name: &str| files.iter().position(|path| is_named(path, name));
        let Some(n) = nth(&place.file) else { return Ok(()) };
        let before = known.as_ref().and_then(|end| nth(&end.file));
        if before.is_some_and(|before| before > n) {
            return Ok(());
        }
        let begin = known.filter(|_| before == Some(n)).map(|end| (end.at, end.gtid));
        let Some(scanned) = binlog::scan(&files[n], begin, place.at)? else { return Ok(()) };
        self.write(&Ends { end: End::at(&files[n], incarnation, scanned)?, was: None }, synced)
    }

    /// The last transaction before the kept end of these data.
    pub(crate) fn gtid(&self, incarnation: Incarnation) -> Option<Gtid> {
        self.read(incarnation)?.gtid
    }

    fn read(&self, incarnation: Incarnation) -> Option<End> {
        let Ends { end, was } = read_json(&self.path)?;
        [Some(end), was].into_iter().flatten().find(|end| end.incarnation == incarnation)
    }

    fn write(&self, ends: &Ends, synced: bool) -> io::Result<()> {
        let bytes = to_json(ends)?;
        if synced {
            return durable::replace(&self.path, &bytes, 0o600);
        }
        durable::replace_unsynced(&self.path, &bytes)
    }
}

/// How far the log had been read when its tail was saved: what comes after it is on nobody's list.
#[derive(Clone, Default, Debug)]
pub(crate) struct Seen(Option<End>);

impl Seen {
    /// All that this log has.
    pub(crate) fn of(index: &Path) -> io::Result<Seen> {
        let Some(path) = binlog::files(index)?.pop() else { return Ok(Seen(None)) };
        let file = binlog::read(&path, false)?;
        let at = file.groups.last().map_or(0, |group| group.end);
        let before = binlog::last(&file.before, DOMAIN);
        let gtid = file.groups.last().map(|group| group.gtid).or(before);
        let end = End::at(&path, Incarnation::default(), Scanned { at, gtid })?;
        Ok(Seen(Some(end)))
    }

    /// What the log has beyond: the file from which on, and the transactions. No file if it is another log by now: then
    /// all of it is beyond.
    pub(crate) fn beyond(&self, index: &Path) -> io::Result<(Option<usize>, Vec<Group>)> {
        let files = binlog::files(index)?;
        let known = self.0.as_ref().filter(|end| end.is_in(index).unwrap_or(false));
        let first = known.and_then(|end| files.iter().position(|path| is_named(path, &end.file)));
        let mut groups = Vec::new();
        for (n, path) in files.iter().enumerate().skip(first.unwrap_or(0)) {
            let from = known.filter(|_| first == Some(n)).map_or(0, |end| end.at);
            groups.extend(binlog::read(path, false)?.groups.into_iter().filter(|g| g.end > from));
        }
        Ok((first, groups))
    }

    /// The last transaction that had been read.
    pub(crate) fn gtid(&self) -> Option<Gtid> {
        self.0.as_ref()?.gtid
    }
}

impl End {
    /// This place of a file.
    fn at(path: &Path, incarnation: Incarnation, scanned: Scanned) -> io::Result<End> {
        let Scanned { at, gtid } = scanned;
        let from = at.saturating_sub(WINDOW);
        let digest = digest_of(path, from, at)?;
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(End { format: 1, incarnation, file, at, from, digest, gtid })
    }

    fn is_in(&self, index: &Path) -> io::Result<bool> {
        let files = binlog::files(index)?;
        match files.iter().find(|path| is_named(path, &self.file)) {
            Some(path) => Ok(digest_of(path, self.from, self.at)? == self.digest),
            // Its file was purged: the log before what is left must have come up to it.
            None => {
                let Some(oldest) = files.first() else { return Ok(false) };
                let before = binlog::read(oldest, true)?.before;
                let holds = |kept: Gtid| {
                    let of =
                        |gtid: &&Gtid| (gtid.domain, gtid.server) == (kept.domain, kept.server);
                    before.iter().find(of).is_some_and(|last| last.number >= kept.number)
                };
                Ok(self.gtid.is_some_and(holds))
            }
        }
    }
}

fn is_named(path: &Path, name: &str) -> bool {
    path.file_name().is_some_and(|file| file == name)
}

/// Of these bytes of a file, without the two that change when it is closed: the flags of its first event, behind the
/// four bytes of magic, say whether it is in use.
fn digest_of(path: &Path, from: u64, at: u64) -> io::Result<String> {
    const FLAGS: Range<u64> = 21..23;
    let size = usize::try_from(at.saturating_sub(from).min(WINDOW)).map_err(io::Error::other)?;
    let mut bytes = vec![0; size];
    File::open(path)?.read_exact_at(&mut bytes, from)?;
    for (place, byte) in (from..at).zip(&mut bytes) {
        if FLAGS.contains(&place) {
            *byte = 0;
        }
    }
    Ok(digest(&SHA256, &bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}
