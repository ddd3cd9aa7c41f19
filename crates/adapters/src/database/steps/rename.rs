//! A log that began anew under data that have everything: begun once more by our own hand, under another name (D12).

use super::{Steps, draw};
use crate::database::binlog;
use crate::database::fault::Fault;
use crate::database::gtid::Gtid;
use crate::database::keep::{Counts, Keep, Kept};
use crate::database::local::aside;
use crate::database::names::{stamp, unused};
use crate::database::site::{INSIDE, LOG};
use regent_core::command::StepResult;
use regent_core::id::Incarnation;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The whole of a cluster of ours writes in this domain.
const DOMAIN: u32 = 0;

impl Steps {
    /// Nothing is touched unless it is this very start of the server that control was taken of while the log was whole:
    /// then nobody exchanged the tables. Sessions write under the old server id, so all are ended: before, where no
    /// commit waits for a replica, so that their locks and statements hold nothing up; and after read-only was answered
    /// (D9), under the new id already. The new log goes on from the old numbers, and its first name is nobody else's.
    pub(super) async fn rename(&mut self, incarnation: Incarnation) -> Result<StepResult, Fault> {
        let reading = self.read(None).await?;
        let start = self.start()?;
        let keep = match self.kept()? {
            // An earlier try came to its end, and its answer was lost.
            Kept::Agreed(keep) if keep.incarnation == incarnation => {
                self.set_server_id(&keep, &reading).await?;
                return Ok(StepResult::Done);
            }
            Kept::Agreed(_) => return Err(Fault::failed("the log goes on: its data have a name")),
            Kept::LogBegan(keep) if !keep.names_of(start).is_empty() => keep,
            Kept::LogBegan(_) | Kept::Missing | Kept::Disagree { .. } => {
                return Err(Fault::failed("nothing shows that these data have everything"));
            }
        };
        if reading.receives() || reading.applies() {
            return Err(Fault::failed("a replication thread runs: stop it, then it goes on"));
        }
        if !reading.enabled {
            self.end_sessions().await?;
        }
        match self.read_only().await? {
            StepResult::Done => {}
            other @ (StepResult::Blocked
            | StepResult::NoAnswer
            | StepResult::Down
            | StepResult::Failed(_)
            | StepResult::Lineage(_)
            | StepResult::Saved(_)) => return Ok(other),
        }
        let was = keep.incarnation;
        let named = Keep {
            incarnation,
            server_id: draw()?,
            was: keep.names_of(start),
            mark: false,
            start,
            counted: start,
            ..keep
        };
        // Whoever still writes by a right that passes read-only does so under the new id, and makes the next statements
        // fail.
        let reading = self.read(None).await?;
        self.set_server_id(&named, &reading).await?;
        if self.sessions_note().exists() {
            return Err(Fault::failed("commits wait, or read-only was taken back"));
        }
        let ends = reading.end.iter().copied().chain(self.keep.end.gtid(was));
        let number = ends.map(|gtid| gtid.number).max().unwrap_or(0) + 1;
        let first = Gtid { domain: DOMAIN, server: named.server_id, number };
        let kept = self.keep_log().await?;
        self.reset_log(&[], first).await?;
        self.begin_end(incarnation, Some(was)).await?;
        self.write_counts(&Counts::begun(incarnation, start, reading.starts, reading.stops))?;
        self.write_keep(named).await?;
        self.link
            .tell(format!("the log begins anew at {first}, as incarnation {incarnation}; {kept}"));
        Ok(StepResult::Done)
    }

    /// The files of the log that are there get a second name beside them: the server removes the first one, and an
    /// operator may want what they have.
    async fn keep_log(&self) -> Result<String, Fault> {
        let Some(index) = self.log_index.clone() else { return Ok("it had no index".into()) };
        let kept = aside(move || link_files(&index)).await;
        let kept =
            kept.map_err(|fault| Fault::failed(format!("the old log is not kept: {fault}")))?;
        Ok(match kept {
            Some((path, files)) => {
                format!("{files} files of the old one are kept in {}", path.display())
            }
            None => "nothing of the old one was left".into(),
        })
    }
}

/// Where they are, and how many.
fn link_files(index: &Path) -> io::Result<Option<(PathBuf, usize)>> {
    let files: Vec<PathBuf> = match binlog::files(index) {
        Err(fault) if fault.kind() == ErrorKind::NotFound => Vec::new(),
        files => files?.into_iter().filter(|path| path.exists()).collect(),
    };
    let Some(folder) = files.first().and_then(|path| path.parent()) else { return Ok(None) };
    let kept = folder.join(INSIDE).join(format!("{LOG}{}", stamp(SystemTime::now())));
    let kept = unused(&kept);
    std::fs::create_dir_all(&kept)?;
    for file in &files {
        let name = file.file_name().unwrap_or_default();
        std::fs::hard_link(file, kept.join(name))?;
    }
    Ok(Some((kept, files.len())))
}

/// The folders beside this log that have files of it from before it began anew.
pub(super) fn kept_logs(index: &Path) -> io::Result<Vec<PathBuf>> {
    let folder = index.parent().unwrap_or(Path::new("/")).join(INSIDE);
    let entries = match std::fs::read_dir(folder) {
        Err(fault) if fault.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let paths = paths.collect::<io::Result<Vec<PathBuf>>>()?;
    let is_one = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(LOG))
    };
    Ok(paths.into_iter().filter(is_one).collect())
}
