//! Is our log a part of the recorded writer's, and if not, what is beyond it? And keeping what is beyond it.
//!
//! The answer is found by exact look-up, never by numbers (D8): transactions of our log, newest first, until the
//! writer finds one in its own. Server ids are drawn per incarnation, so one name is one transaction. A common one does
//! not mean that all before it are common (ADR 0030): a row written here by hand may stand before it, in the place of
//! one of the writer's; then what is common ends before that. Everything unclear is foreign: a fresh copy is always
//! right.

use crate::database::binlog::{self, Group, Log};
use crate::database::end::Seen;
use crate::database::gtid::Gtid;
use crate::database::local::aside;
use crate::database::names::{stamp, unused};
use crate::database::peer::{BATCH, Peer, PeerAnswer, PeerRequest};
use crate::database::tool;
use crate::durable;
use regent_core::command::{Lineage, SavedTail};
use regent_core::id::{Incarnation, NodeId};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Beyond this many transactions nobody undoes a tail: a fresh copy is taken.
const TAIL_MAX: usize = 100_000;
/// The first question is short: nearly always the newest names answer it.
const FIRST: usize = 32;
/// So many names before the newest common one are looked at, too: a row that somebody wrote here by hand stops the
/// applier, but what other threads of it had at hand may be in the log behind that row, and is common.
const VERIFIED: usize = 256;
const DECODE: Duration = Duration::from_secs(300);
/// A cluster of ours writes in this domain alone.
const DOMAIN: u32 = 0;

/// How our log relates to the writer's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Relation {
    /// The newest transaction that both have; none: foreign.
    pub(crate) common: Option<Common>,
    /// Ours beyond it, oldest first.
    pub(crate) tail: Vec<Group>,
}

/// The common point.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Common {
    pub(crate) gtid: Gtid,
    /// The state of the log at that point.
    pub(crate) state: Vec<Gtid>,
    /// Our log files from the one that has it.
    pub(crate) files: Vec<PathBuf>,
}

impl Relation {
    pub(crate) const FOREIGN: Relation = Relation { common: None, tail: Vec::new() };

    /// What a log has beyond what had been read of it.
    pub(crate) fn beyond(seen: &Seen, index: &Path) -> io::Result<Relation> {
        let (first, tail) = seen.beyond(index)?;
        let (Some(first), Some(gtid)) = (first, seen.gtid()) else {
            return Ok(Relation { common: None, tail });
        };
        let files = binlog::files(index)?.split_off(first);
        Ok(Relation { common: Some(Common { gtid, state: Vec::new(), files }), tail })
    }

    /// What core is told.
    pub(crate) fn lineage(&self) -> Lineage {
        match (&self.common, self.tail.len()) {
            (None, _) => Lineage::Foreign,
            (Some(_), 0) => Lineage::Part,
            (Some(_), count) => Lineage::Tail {
                count: count as u64,
                rewindable: self.tail.iter().all(|group| group.rows_only),
            },
        }
    }
}

/// D8: walks our log from its end until the writer, in its recorded incarnation, finds a transaction in its own.
pub(crate) async fn compare(
    index: PathBuf,
    end: &[Gtid],
    peer: &impl Peer,
    writer: NodeId,
    incarnation: Incarnation,
) -> Result<Relation, String> {
    if end.iter().any(|gtid| gtid.domain != DOMAIN) || end.len() != 1 {
        return Ok(Relation::FOREIGN);
    }
    let read = move || match ours(&index) {
        // Files that somebody removed, or cut: nothing can be shown by what is left.
        Err(fault) if matches!(fault.kind(), ErrorKind::NotFound | ErrorKind::UnexpectedEof) => {
            Ok(None)
        }
        read => read,
    };
    let groups = aside(read).await?;
    let Some(ours) = groups else { return Ok(Relation::FOREIGN) };
    // An applier may go on while the files are read: what is beyond the server's own word is compared as well.
    if !end.iter().all(|end| ours.names.contains(end)) {
        return Err(format!(
            "the log on disk ends at {:?}, the server's at {end:?}",
            ours.names.first()
        ));
    }
    let Some(place) = look_up(&ours.names, peer, writer, incarnation).await? else {
        return Ok(Relation::FOREIGN);
    };
    let before = &ours.names[place..ours.names.len().min(place + VERIFIED)];
    let mut stranger = None;
    for places in servers(before) {
        let names: Vec<Gtid> = places.iter().map(|place| before[*place]).collect();
        let known = look_up(&names, peer, writer, incarnation).await?.unwrap_or(names.len());
        let oldest = known.checked_sub(1).map(|last| places[last] + 1);
        stranger = stranger.max(oldest);
    }
    let place = place + stranger.max(hole(before)).unwrap_or(0);
    if place >= ours.names.len() {
        return Ok(Relation::FOREIGN);
    }
    Ok(ours.split(place))
}

/// Per server but that of the newest name: where its names stand in this list, newest first. The first one that the
/// writer has speaks for all before it of the same server.
fn servers(names: &[Gtid]) -> Vec<Vec<usize>> {
    let mut found: Vec<(u32, Vec<usize>)> = Vec::new();
    for (i, name) in names.iter().enumerate() {
        match found.iter_mut().find(|(server, _)| *server == name.server) {
            Some((_, places)) => places.push(i),
            None => found.push((name.server, vec![i])),
        }
    }
    found.into_iter().skip(1).map(|(_, places)| places).collect()
}

/// Where the oldest name stands behind which one is missing: numbers go on by one under strict GTID mode.
fn hole(names: &[Gtid]) -> Option<usize> {
    let gap = |pair: &[Gtid]| pair[1].number + 1 != pair[0].number;
    names.windows(2).rposition(gap).map(|i| i + 1)
}

/// Our transactions, newest first; the last name may come from the head of the oldest file.
struct Ours {
    names: Vec<Gtid>,
    /// For each name but one from a head: its group, its file's number, and its place there.
    groups: Vec<(Group, usize)>,
    files: Vec<(PathBuf, Vec<Gtid>)>,
}

/// None if there are other domains: that is not a log of ours.
fn ours(index: &Path) -> io::Result<Option<Ours>> {
    let mut log = Log::open(index)?;
    let mut ours = Ours { names: Vec::new(), groups: Vec::new(), files: Vec::new() };
    let mut first_file = 0;
    for i in (0..log.len()).rev() {
        let groups = log.file(i)?.groups.clone();
        ours.groups.extend(groups.into_iter().rev().map(|group| (group, i)));
        first_file = i;
        if ours.groups.len() > TAIL_MAX {
            break;
        }
    }
    for i in 0..log.len() {
        let file = log.head(i);
        ours.files.push((file.path.clone(), file.before.clone()));
    }
    ours.names = ours.groups.iter().map(|(group, _)| group.gtid).collect();
    let before = ours.files.get(first_file).map_or(&[][..], |(_, before)| before);
    ours.names.extend(binlog::last(before, DOMAIN));
    let foreign = ours.names.iter().chain(before).any(|gtid| gtid.domain != DOMAIN);
    Ok((!foreign).then_some(ours))
}

impl Ours {
    /// What is before and what is beyond the name at this place.
    fn split(self, place: usize) -> Relation {
        let gtid = self.names[place];
        // A name that is not a group's stands before the oldest file read.
        let oldest = self.groups.last().map_or(self.files.len() - 1, |(_, file)| *file);
        let file = self.groups.get(place).map_or(oldest, |(_, file)| *file);
        let before = self.files.get(file).map_or_else(Vec::new, |(_, before)| before.clone());
        let upto = self.groups[place.min(self.groups.len())..].iter().filter(|(_, f)| *f == file);
        let state = binlog::advance(before, upto.rev().map(|(group, _)| group.gtid));
        let files = self.files[file..].iter().map(|(path, _)| path.clone()).collect();
        let tail = self.groups.iter().take(place).rev().map(|(group, _)| *group).collect();
        Relation { common: Some(Common { gtid, state, files }), tail }
    }
}

async fn look_up(
    names: &[Gtid],
    peer: &impl Peer,
    writer: NodeId,
    incarnation: Incarnation,
) -> Result<Option<usize>, String> {
    let mut asked = 0;
    let mut batch = FIRST;
    while asked < names.len().min(TAIL_MAX) {
        let part = &names[asked..names.len().min(asked + batch)];
        let request = PeerRequest::Lookup { incarnation, gtids: part.to_vec() };
        match peer.ask(writer, request).await? {
            PeerAnswer::Found { index: Some(i) } if i < part.len() => return Ok(Some(asked + i)),
            PeerAnswer::Found { index: None } => {}
            PeerAnswer::Refused { reason } => return Err(reason),
            other @ (PeerAnswer::Survey { .. }
            | PeerAnswer::Found { .. }
            | PeerAnswer::State { .. }
            | PeerAnswer::Follow(_)
            | PeerAnswer::Checksum { .. }) => {
                return Err(format!("not an answer to a look-up: {other:?}"));
            }
        }
        asked += part.len();
        batch = BATCH;
    }
    Ok(None)
}

/// What is written beside a saved tail.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    format: u32,
    saved_at: String,
    node: NodeId,
    incarnation: Option<Incarnation>,
    writer: NodeId,
    writer_incarnation: Incarnation,
    /// The newest transaction that both have.
    common: Option<Gtid>,
    /// How many are beyond it; none if they cannot be counted.
    count: Option<u64>,
    /// Their names, oldest first.
    gtids: Vec<Gtid>,
    files: Vec<String>,
    /// `statements.sql` could be written.
    decoded: bool,
    note: String,
}

/// Whose tail it is, and against whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parties {
    pub(crate) node: NodeId,
    pub(crate) incarnation: Option<Incarnation>,
    pub(crate) writer: NodeId,
    pub(crate) writer_incarnation: Incarnation,
}

/// S6: copies the log from the file of the common point on (all of it if foreign), counts, reports; on the disk when
/// this returns. Saved once: the same tail again is found.
pub(crate) async fn save(
    relation: &Relation,
    all_files: Vec<PathBuf>,
    tails: &Path,
    parties: Parties,
) -> Result<SavedTail, String> {
    let gtids: Vec<Gtid> = relation.tail.iter().map(|group| group.gtid).collect();
    let count = relation.common.as_ref().map(|_| gtids.len() as u64);
    if count == Some(0) {
        return Ok(SavedTail { count, path: String::new() });
    }
    let common = relation.common.as_ref().map(|common| common.gtid);
    if let Some(path) = find_saved(tails, common, &gtids, parties) {
        return Ok(SavedTail { count, path: path.display().to_string() });
    }
    let files = relation.common.as_ref().map_or(all_files, |common| common.files.clone());
    let note = match common {
        Some(_) => {
            "transactions that the recorded writer does not have; the log files are whole, statements.sql is the part beyond the common point"
        }
        None => {
            "no common point: the whole log; the data directory itself is moved aside when the copy replaces it"
        }
    };
    let name = format!(
        "{}-{}",
        stamp(SystemTime::now()),
        parties.incarnation.map_or_else(|| "unnamed".to_string(), |i| i.to_string())
    );
    let path = unused(&tails.join(name));
    let part = path.with_extension("part");
    let target = part.clone();
    let copied = files.clone();
    aside(move || copy_synced(&copied, &target)).await?;
    let decoded = decode(&files, common, &part.join("statements.sql")).await;
    let report = Report {
        format: 1,
        saved_at: stamp(SystemTime::now()),
        node: parties.node,
        incarnation: parties.incarnation,
        writer: parties.writer,
        writer_incarnation: parties.writer_incarnation,
        common,
        count,
        gtids,
        files: files.iter().filter_map(|f| Some(f.file_name()?.to_string_lossy().into())).collect(),
        decoded,
        note: note.into(),
    };
    let (done, tails) = (path.clone(), tails.to_path_buf());
    aside(move || seal(&part, &done, &tails, &report)).await?;
    Ok(SavedTail { count, path: path.display().to_string() })
}

/// The folder that has this very tail, if it was saved: by names, not by number.
pub(crate) fn find_saved(
    tails: &Path,
    common: Option<Gtid>,
    gtids: &[Gtid],
    parties: Parties,
) -> Option<PathBuf> {
    common?;
    let fits = |path: &PathBuf| {
        let report = std::fs::read(path.join("report.json")).ok();
        let report = report.and_then(|bytes| serde_json::from_slice::<Report>(&bytes).ok());
        report.is_some_and(|r| r.common == common && r.gtids == gtids && r.writer == parties.writer)
    };
    let folders = std::fs::read_dir(tails).ok()?;
    let finished = |path: &PathBuf| path.extension().is_none_or(|e| e != "part");
    folders.filter_map(|entry| Some(entry.ok()?.path())).filter(finished).find(fits)
}

fn copy_synced(files: &[PathBuf], folder: &Path) -> io::Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    std::fs::create_dir_all(folder)?;
    for file in files {
        let name = file.file_name().ok_or_else(|| io::Error::other("a log without a name"))?;
        let copy = folder.join(name);
        std::fs::copy(file, &copy)?;
        File::open(&copy)?.sync_all()?;
    }
    durable::sync_directory(folder)
}

async fn decode(files: &[PathBuf], common: Option<Gtid>, into: &Path) -> bool {
    let mut command = tool::tool("mariadb-binlog");
    command.args(["--base64-output=DECODE-ROWS", "-vv"]);
    if let Some(common) = common {
        command.arg(format!("--start-position={common}"));
    }
    command.args(files);
    tool::into_file(&mut command, into).is_ok() && tool::run(command, DECODE).await.is_ok()
}

fn seal(part: &Path, done: &Path, tails: &Path, report: &Report) -> io::Result<()> {
    if let Ok(statements) = File::open(part.join("statements.sql")) {
        statements.sync_all()?;
    }
    let text = serde_json::to_vec_pretty(report).map_err(io::Error::other)?;
    durable::replace(&part.join("report.json"), &text, 0o600)?;
    std::fs::rename(part, done)?;
    durable::sync_directory(tails)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(number: u64, rows_only: bool) -> Group {
        Group { gtid: Gtid { domain: 0, server: 7, number }, end: number * 100, rows_only }
    }

    fn two_files() -> Ours {
        let groups = vec![(group(9, true), 1), (group(8, false), 1), (group(7, true), 0)];
        let mut names: Vec<_> = groups.iter().map(|(g, _)| g.gtid).collect();
        let before = Gtid { domain: 0, server: 5, number: 6 };
        names.push(before);
        let seven = vec![before, group(7, true).gtid];
        Ours { names, groups, files: vec![("a".into(), vec![before]), ("b".into(), seven)] }
    }

    #[test]
    fn the_common_point_splits_the_log() {
        let at = |place| two_files().split(place);
        assert_eq!(at(0).lineage(), Lineage::Part);
        assert_eq!(at(1).lineage(), Lineage::Tail { count: 1, rewindable: true });
        assert_eq!(at(2).lineage(), Lineage::Tail { count: 2, rewindable: false });
        assert_eq!(at(3).lineage(), Lineage::Tail { count: 3, rewindable: false });
        let common = at(1).common.expect("common");
        let five = Gtid { domain: 0, server: 5, number: 6 };
        assert_eq!(
            (common.state, common.files),
            (vec![five, group(8, true).gtid], vec!["b".into()])
        );
        let common = at(3).common.expect("common");
        assert_eq!((common.state, common.files.len()), (vec![five], 2));
        assert_eq!(at(2).tail, [group(8, false), group(9, true)]);
    }

    #[test]
    fn what_stands_before_a_common_name_is_looked_at() {
        let name = |server, number| Gtid { domain: 0, server, number };
        // Newest first: 417 of the writer, 416 by hand, 415 of the writer, and one of the writer before it.
        let names = [name(7, 417), name(9, 416), name(7, 415), name(5, 414)];
        assert_eq!(servers(&names), [vec![1], vec![3]]);
        assert_eq!(hole(&names), None);
        let skipped = [name(7, 417), name(7, 416), name(7, 414), name(7, 413)];
        assert_eq!((servers(&skipped).len(), hole(&skipped)), (0, Some(2)));
    }
}
