//! The server's binary log as it lies on disk: which transactions, in which order, of which kind.
//!
//! Only the heads of events are read, so a file of a gigabyte takes a second and the server is not asked. The
//! end of a file that is being written may be cut: reading stops before the first incomplete group. What is not
//! understood (encryption, an unknown magic) is an error, never skipped.

use crate::database::gtid::Gtid;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

const MAGIC: [u8; 4] = [0xfe, b'b', b'i', b'n'];
const HEAD: u32 = 19;
const QUERY: u8 = 2;
const XID: u8 = 16;
const TABLE_MAP: u8 = 19;
const INCIDENT: u8 = 26;
const ANNOTATE: u8 = 160;
const GTID: u8 = 162;
const GTID_LIST: u8 = 163;
const ENCRYPTION: u8 = 164;
/// A group without an end event of its own (DDL).
const STANDALONE: u8 = 1;
const DDL: u8 = 32;
const XA: u8 = 64 | 128;

/// One transaction as it stands in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Group {
    /// Its name.
    pub(crate) gtid: Gtid,
    /// Where the byte after its last event is.
    pub(crate) end: u64,
    /// It changes rows and nothing else, so it can be undone in place.
    pub(crate) rows_only: bool,
}

/// One file of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LogFile {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Per domain and server the last transaction before this file.
    pub(crate) before: Vec<Gtid>,
    /// Its transactions, oldest first.
    pub(crate) groups: Vec<Group>,
}

/// The files that an index names, oldest first.
pub(crate) fn files(index: &Path) -> io::Result<Vec<PathBuf>> {
    let folder = index.parent().unwrap_or(Path::new("/"));
    let text = std::fs::read_to_string(index)?;
    Ok(text.lines().filter(|l| !l.is_empty()).map(|line| folder.join(line)).collect())
}

/// Reads a whole file, or only its head (`before`, no groups).
pub(crate) fn read(path: &Path, head_only: bool) -> io::Result<LogFile> {
    let mut scan = Scan::open(path)?;
    let mut file = LogFile { path: path.to_path_buf(), before: Vec::new(), groups: Vec::new() };
    let mut open: Option<Group> = None;
    while let Some(event) = scan.next()? {
        match event.kind {
            ENCRYPTION => return Err(unreadable(path, "it is encrypted")),
            GTID_LIST => {
                file.before = gtid_list(&event.body).ok_or_else(|| unreadable(path, "bad list"))?;
                if head_only {
                    return Ok(file);
                }
            }
            GTID => {
                let (gtid, flags) = gtid(&event).ok_or_else(|| unreadable(path, "bad name"))?;
                file.groups.extend(open.take());
                let rows_only = flags & (STANDALONE | DDL | XA) == 0;
                open = Some(Group { gtid, end: event.end, rows_only });
                if flags & STANDALONE != 0 {
                    scan.standalone = true;
                }
            }
            kind => {
                let Some(group) = open.as_mut() else { continue };
                group.end = event.end;
                let closes = kind == XID || scan.standalone || is_commit(&event);
                group.rows_only &= is_row_event(kind) || kind == XID || is_commit(&event);
                group.rows_only &= kind != INCIDENT;
                if closes {
                    scan.standalone = false;
                    file.groups.extend(open.take());
                }
            }
        }
    }
    Ok(file)
}

/// How far a scan came: always between two transactions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Scanned {
    /// The byte after the last of them.
    pub(crate) at: u64,
    /// The last of them, or the last before the file.
    pub(crate) gtid: Option<Gtid>,
}

/// Goes on from a place between two transactions (or from the begin of the file) towards `upto`, which is one too; at
/// most so far that a look at a full log takes no time to speak of. None if the log there makes no sense.
pub(crate) fn scan(
    path: &Path,
    begin: Option<(u64, Option<Gtid>)>,
    upto: u64,
) -> io::Result<Option<Scanned>> {
    /// Heads of events; some ten milliseconds.
    const EVENTS_MAX: usize = 50_000;
    let mut scan = Scan::open(path)?;
    let mut last = None;
    if let Some((at, gtid)) = begin {
        last = gtid;
        scan.go_to(at)?;
    }
    let mut found = None;
    let mut count = 0;
    while scan.at < upto {
        let at = scan.at;
        let Some(event) = scan.next()? else { return Ok(found) };
        count += 1;
        match event.kind {
            ENCRYPTION => return Err(unreadable(path, "it is encrypted")),
            GTID_LIST => {
                let before = gtid_list(&event.body).ok_or_else(|| unreadable(path, "bad list"))?;
                last = self::last(&before, 0);
            }
            GTID => {
                found = Some(Scanned { at, gtid: last });
                if count > EVENTS_MAX {
                    return Ok(found);
                }
                let (name, _) = gtid(&event).ok_or_else(|| unreadable(path, "bad name"))?;
                last = Some(name);
            }
            _ => {}
        }
    }
    let there = Scanned { at: scan.at, gtid: last };
    Ok(if scan.at == upto { Some(there) } else { found })
}

/// Rows, the map of their table, and the comment that says why. Compressed rows cannot be undone.
fn is_row_event(kind: u8) -> bool {
    matches!(kind, TABLE_MAP | ANNOTATE | 23..=25 | 30..=32)
}

/// The end of a transaction on tables without transactions: the whole query, with or without a checksum behind it.
fn is_commit(event: &Event) -> bool {
    let text = |cut: usize| event.body.len().checked_sub(cut).map(|end| &event.body[..end]);
    let ends = |cut| text(cut).is_some_and(|body| body.ends_with(b"\0COMMIT"));
    event.kind == QUERY && (ends(0) || ends(4))
}

fn gtid(event: &Event) -> Option<(Gtid, u8)> {
    let body = &event.body;
    let number = u64::from_le_bytes(body.get(0..8)?.try_into().ok()?);
    let domain = u32::from_le_bytes(body.get(8..12)?.try_into().ok()?);
    Some((Gtid { domain, server: event.server, number }, *body.get(12)?))
}

fn gtid_list(body: &[u8]) -> Option<Vec<Gtid>> {
    let count = u32::from_le_bytes(body.get(0..4)?.try_into().ok()?) & 0x0fff_ffff;
    (0..count as usize)
        .map(|i| {
            let entry = body.get(4 + i * 16..20 + i * 16)?;
            Some(Gtid {
                domain: u32::from_le_bytes(entry[0..4].try_into().ok()?),
                server: u32::from_le_bytes(entry[4..8].try_into().ok()?),
                number: u64::from_le_bytes(entry[8..16].try_into().ok()?),
            })
        })
        .collect()
}

fn unreadable(path: &Path, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {why}", path.display()))
}

struct Event {
    kind: u8,
    server: u32,
    /// The byte after it.
    end: u64,
    /// Kept for the few kinds that are looked into.
    body: Vec<u8>,
}

/// Goes from event to event.
struct Scan {
    file: BufReader<File>,
    length: u64,
    at: u64,
    /// The next event is the whole group.
    standalone: bool,
}

impl Scan {
    fn open(path: &Path) -> io::Result<Scan> {
        let file = File::open(path).map_err(|fault| {
            io::Error::new(fault.kind(), format!("{}: {fault}", path.display()))
        })?;
        let length = file.metadata()?.len();
        let mut file = BufReader::with_capacity(1 << 16, file);
        let mut magic = [0; 4];
        file.read_exact(&mut magic)?;
        if magic != MAGIC {
            return Err(unreadable(path, "it is no binary log"));
        }
        Ok(Scan { file, length, at: 4, standalone: false })
    }

    /// To the begin of an event.
    fn go_to(&mut self, at: u64) -> io::Result<()> {
        use std::io::{Seek, SeekFrom};
        self.file.seek(SeekFrom::Start(at))?;
        self.at = at;
        Ok(())
    }

    /// The next event that is there as a whole.
    fn next(&mut self) -> io::Result<Option<Event>> {
        if self.at + u64::from(HEAD) > self.length {
            return Ok(None);
        }
        let mut head = [0; HEAD as usize];
        self.file.read_exact(&mut head)?;
        let word = |i: usize| u32::from_le_bytes([head[i], head[i + 1], head[i + 2], head[i + 3]]);
        let (kind, server, size) = (head[4], word(5), word(9));
        if size < HEAD || self.at + u64::from(size) > self.length {
            return Ok(None);
        }
        let rest = size - HEAD;
        let mut body = Vec::new();
        // A COMMIT is short; longer queries are statements, and their text does not matter.
        let wanted = matches!(kind, GTID | GTID_LIST) || (kind == QUERY && rest < 256);
        if wanted {
            body.resize(rest as usize, 0);
            self.file.read_exact(&mut body)?;
        } else {
            self.file.seek_relative(i64::from(rest))?;
        }
        self.at += u64::from(size);
        Ok(Some(Event { kind, server, end: self.at, body }))
    }
}

/// A whole log, read lazily: heads first, a file's groups only when they are asked for.
pub(crate) struct Log {
    files: Vec<LogFile>,
    whole: Vec<bool>,
}

impl Log {
    /// Reads the heads of all files.
    pub(crate) fn open(index: &Path) -> io::Result<Log> {
        let files =
            files(index)?.iter().map(|path| read(path, true)).collect::<io::Result<Vec<_>>>()?;
        let whole = vec![false; files.len()];
        Ok(Log { files, whole })
    }

    /// How many files.
    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    /// A file with its groups.
    pub(crate) fn file(&mut self, i: usize) -> io::Result<&LogFile> {
        if !self.whole[i] {
            self.files[i] = read(&self.files[i].path, false)?;
            self.whole[i] = true;
        }
        Ok(&self.files[i])
    }

    /// A file's path and what stands before it; its groups may not be read.
    pub(crate) fn head(&self, i: usize) -> &LogFile {
        &self.files[i]
    }

    /// What stands before the oldest file that is left.
    pub(crate) fn before(&self) -> &[Gtid] {
        self.files.first().map_or(&[], |file| &file.before)
    }

    /// D4, D8: is this very transaction in the log? Numbers only choose the file; the answer is an exact match there,
    /// or among the last names of each server before the oldest file: a copy has its writer's past only in that form.
    pub(crate) fn contains(&mut self, gtid: Gtid) -> io::Result<bool> {
        let older = |file: &LogFile| {
            let same =
                file.before.iter().find(|b| (b.domain, b.server) == (gtid.domain, gtid.server));
            same.is_none_or(|b| b.number < gtid.number)
        };
        let Some(i) = self.files.iter().rposition(older) else {
            return Ok(self.before().contains(&gtid));
        };
        Ok(self.file(i)?.groups.iter().any(|group| group.gtid == gtid))
    }

    /// The state of the log (per domain and server the last name) at a place: all of the files before, and this file
    /// up to a byte.
    pub(crate) fn state_at(&mut self, name: &str, offset: u64) -> io::Result<Option<Vec<Gtid>>> {
        let is_it = |file: &LogFile| file.path.file_name().is_some_and(|f| f == name);
        let Some(i) = self.files.iter().position(is_it) else { return Ok(None) };
        let file = self.file(i)?;
        let upto = file.groups.iter().take_while(|group| group.end <= offset);
        Ok(Some(advance(file.before.clone(), upto.map(|group| group.gtid))))
    }
}

/// The state after some more transactions. The newest stands last: the server takes the last of a domain as its end.
pub(crate) fn advance(mut state: Vec<Gtid>, more: impl Iterator<Item = Gtid>) -> Vec<Gtid> {
    for gtid in more {
        state.retain(|s| (s.domain, s.server) != (gtid.domain, gtid.server));
        state.push(gtid);
    }
    state
}

/// The last name of a state in a domain: in strict mode numbers only grow along one log.
pub(crate) fn last(state: &[Gtid], domain: u32) -> Option<Gtid> {
    state.iter().filter(|g| g.domain == domain).max_by_key(|g| g.number).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: u8, server: u32, body: &[u8]) -> Vec<u8> {
        let mut event = vec![0; 4];
        event.push(kind);
        event.extend_from_slice(&server.to_le_bytes());
        event.extend_from_slice(&(HEAD + body.len() as u32).to_le_bytes());
        event.extend_from_slice(&[0; 6]);
        event.extend_from_slice(body);
        event
    }

    fn named(server: u32, number: u64, flags: u8) -> Vec<u8> {
        let mut body = number.to_le_bytes().to_vec();
        body.extend_from_slice(&0u32.to_le_bytes());
        body.push(flags);
        body.extend_from_slice(&[0; 6]);
        event(GTID, server, &body)
    }

    fn head(list: &[(u32, u64)]) -> Vec<u8> {
        let mut body = (list.len() as u32).to_le_bytes().to_vec();
        for (server, number) in list {
            body.extend_from_slice(&0u32.to_le_bytes());
            body.extend_from_slice(&server.to_le_bytes());
            body.extend_from_slice(&number.to_le_bytes());
        }
        event(GTID_LIST, 1, &body)
    }

    fn folder(name: &str, logs: &[Vec<u8>]) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("rgdb-log-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let mut index = String::new();
        for (i, events) in logs.iter().enumerate() {
            let mut bytes = MAGIC.to_vec();
            bytes.extend_from_slice(events);
            std::fs::write(folder.join(format!("log.{i}")), bytes).expect("a log");
            index.push_str(&format!("./log.{i}\n"));
        }
        std::fs::write(folder.join("log.index"), index).expect("an index");
        folder
    }

    fn rows(server: u32, number: u64) -> Vec<u8> {
        [
            named(server, number, 4),
            event(TABLE_MAP, server, &[0; 9]),
            event(23, server, &[0; 30]),
            event(XID, server, &[0; 8]),
        ]
        .concat()
    }

    fn g(server: u32, number: u64) -> Gtid {
        Gtid { domain: 0, server, number }
    }

    #[test]
    fn an_exact_name_is_found_and_a_neighbour_is_not() {
        let logs = [
            [head(&[(7, 4)]), rows(7, 5), rows(8, 6)].concat(),
            [head(&[(7, 5), (8, 6)]), rows(8, 7), rows(9, 9)].concat(),
        ];
        let folder = folder("exact", &logs);
        let mut log = Log::open(&folder.join("log.index")).expect("a log");
        let mut has = |server, number| log.contains(g(server, number)).expect("readable");
        for (server, number) in [(7, 5), (8, 6), (8, 7), (9, 9), (7, 4)] {
            assert!(has(server, number), "{server}-{number}");
        }
        for (server, number) in [(7, 3), (7, 6), (8, 5), (9, 8), (9, 10), (6, 5), (8, 9)] {
            assert!(!has(server, number), "{server}-{number}");
        }
        assert_eq!(log.state_at("log.1", 4).expect("readable"), Some(vec![g(7, 5), g(8, 6)]));
        assert_eq!(
            log.state_at("log.1", u64::MAX).expect("readable"),
            Some(vec![g(7, 5), g(8, 7), g(9, 9)])
        );
        assert_eq!(log.state_at("log.9", 4).expect("readable"), None);
        std::fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn a_cut_end_is_left_out_and_ddl_is_not_rows_only() {
        let ddl =
            [named(7, 6, STANDALONE | DDL), event(QUERY, 7, b"CREATE TABLE t (a INT)")].concat();
        let mut cut = rows(7, 7);
        cut.truncate(cut.len() - 3);
        let folder = folder("cut", &[[head(&[]), rows(7, 5), ddl, cut].concat()]);
        let mut log = Log::open(&folder.join("log.index")).expect("a log");
        let groups = &log.file(0).expect("readable").groups;
        let seen: Vec<_> = groups.iter().map(|g| (g.gtid.number, g.rows_only)).collect();
        assert_eq!(seen, [(5, true), (6, false)]);
        std::fs::remove_dir_all(folder).expect("removed");
    }
}
