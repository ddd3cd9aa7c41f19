//! What is kept beside the data: which incarnation they are, whether a follower's, under which server id they write.
//!
//! Two files say the same (protocol section 1): `regent.keep` in the data directory and `database.keep` outside it.
//! If they disagree the data were exchanged, and the incarnation is over. A write goes outside first, with the value
//! it replaces, then inside, then outside alone: a crash between two of them is no disagreement, a restored data
//! directory is one. A third file, `database.counts`, follows the server's own counts of started and stopped
//! replication threads (D4); it need not survive the host, because a new start of the server ends that count.
//!
//! Each start of the server is counted in both files when control is first taken of it, so a copy of an earlier start
//! disagrees; a copy of the same start is told by the end of its log ([`crate::database::end`]).

use crate::database::end::LogEnd;
use crate::database::json::{read_json, to_json};
use crate::durable;
use regent_core::id::Incarnation;
use rustix::io::{Errno, retry_on_intr};
use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// The file's name in the data directory.
pub(crate) const INSIDE: &str = "regent.keep";

/// What is kept.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Keep {
    /// Of this file.
    pub(crate) format: u32,
    /// How many times one was written here: an older copy of the same incarnation differs in it.
    pub(crate) writes: u64,
    /// Which stay of the data.
    pub(crate) incarnation: Incarnation,
    /// A follower's data.
    pub(crate) mark: bool,
    /// Drawn with the incarnation; no other writes under it.
    pub(crate) server_id: u32,
    /// The start of the server during which the mark was set.
    pub(crate) start: u64,
    /// A rewind or a copy was begun and not ended: only a fresh copy helps (D8).
    pub(crate) unfinished: bool,
    /// It is so because these data lost their name, and for nothing that was done to them.
    #[serde(default)]
    pub(crate) distrusted: bool,
    /// Starts of the server on these data of which control was taken.
    #[serde(default)]
    pub(crate) starts: u64,
    /// The last of them.
    #[serde(default)]
    pub(crate) counted: u64,
    /// Names before, the newest first, of which these data have everything (D12).
    #[serde(default)]
    pub(crate) was: Vec<Incarnation>,
}

/// So many names before are known, until the data turn a follower's: the newest, and the oldest, which may be the one
/// that is recorded.
const NAMES_MAX: usize = 8;

impl Keep {
    /// These data have everything that had this name, and the names before: their log was whole when control was taken
    /// of this very start of the server. None: nothing shows that.
    pub(crate) fn names_of(&self, start: u64) -> Vec<Incarnation> {
        if self.mark || self.unfinished || self.counted != start {
            return Vec::new();
        }
        let mut names = vec![self.incarnation];
        names.extend(&self.was);
        while names.len() > NAMES_MAX {
            names.remove(names.len() - 2);
        }
        names
    }
}

#[derive(Serialize, Deserialize)]
struct Outside {
    keep: Keep,
    was: Option<Keep>,
}

/// What the two files say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Kept {
    /// The same.
    Agreed(Keep),
    /// The same, and the log does not go on from its kept end.
    LogBegan(Keep),
    /// There is none inside.
    Missing,
    /// Not the same: the data are not those that were kept.
    Disagree {
        /// Either of them is a follower's.
        mark: bool,
    },
}

impl Kept {
    /// The agreed one.
    pub(crate) fn agreed(self) -> Option<Keep> {
        match self {
            Kept::Agreed(keep) => Some(keep),
            Kept::LogBegan(_) | Kept::Missing | Kept::Disagree { .. } => None,
        }
    }
}

/// The two files.
#[derive(Clone, Debug)]
pub(crate) struct KeepFiles {
    inside: PathBuf,
    outside: PathBuf,
    /// The end of the log.
    pub(crate) end: LogEnd,
}

impl KeepFiles {
    /// Of this data directory and this place outside it.
    pub(crate) fn new(datadir: &Path, state_dir: &Path) -> KeepFiles {
        KeepFiles {
            inside: datadir.join(INSIDE),
            outside: state_dir.join("database.keep"),
            end: LogEnd::new(state_dir),
        }
    }

    /// What the data here are: the files agree, and the log goes on from its kept end. An unfinished rewind or copy has
    /// no end to go on from.
    pub(crate) fn of_data(&self, index: Option<&Path>) -> io::Result<Kept> {
        match self.read() {
            Kept::Agreed(keep)
                if !keep.unfinished && !self.end.goes_on(keep.incarnation, index)? =>
            {
                Ok(Kept::LogBegan(keep))
            }
            kept
            @ (Kept::Agreed(_) | Kept::LogBegan(_) | Kept::Missing | Kept::Disagree { .. }) => {
                Ok(kept)
            }
        }
    }

    /// Counts a start of the server: once, in both files. A write that was cut short earlier is brought to its end, so
    /// that what it replaced is not taken for the data's own later.
    pub(crate) fn count(&self, keep: Keep, start: u64) -> io::Result<Keep> {
        if keep.counted != start {
            return self.write(Keep { starts: keep.starts + 1, counted: start, ..keep });
        }
        if read_json::<Outside>(&self.outside).is_some_and(|o| o.was.is_some() && o.keep == keep) {
            let alone = Outside { keep: keep.clone(), was: None };
            durable::replace(&self.outside, &to_json(&alone)?, 0o600)?;
        }
        Ok(keep)
    }

    /// Does one of the two files carry this name?
    pub(crate) fn has_name(&self, incarnation: Incarnation) -> bool {
        let inside = read_json::<Keep>(&self.inside);
        let outside = read_json::<Outside>(&self.outside).map(|outside| outside.keep);
        inside.into_iter().chain(outside).any(|keep| keep.incarnation == incarnation)
    }

    /// Reads both and compares.
    pub(crate) fn read(&self) -> Kept {
        let inside = read_json::<Keep>(&self.inside);
        let outside = read_json::<Outside>(&self.outside);
        match (inside, outside) {
            (None, _) => Kept::Missing,
            (Some(inside), Some(outside))
                if inside == outside.keep || Some(&inside) == outside.was.as_ref() =>
            {
                Kept::Agreed(inside)
            }
            (Some(inside), outside) => {
                Kept::Disagree { mark: inside.mark || outside.is_some_and(|o| o.keep.mark) }
            }
        }
    }

    /// Writes both, synced with their folders; a crash at any point leaves the old or the new one agreed.
    pub(crate) fn write(&self, mut keep: Keep) -> io::Result<Keep> {
        let was = self.read().agreed();
        keep.writes = was.as_ref().map_or(0, |was| was.writes) + 1;
        let outside = Outside { keep: keep.clone(), was };
        durable::replace(&self.outside, &to_json(&outside)?, 0o600)?;
        durable::replace(&self.inside, &to_json(&keep)?, 0o644)?;
        let alone = Outside { keep: keep.clone(), was: None };
        durable::replace(&self.outside, &to_json(&alone)?, 0o600)?;
        Ok(keep)
    }
}

/// What the server's counts must be if nobody but this agent touched the replication threads (D4).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// For this incarnation.
    pub(crate) incarnation: Incarnation,
    /// In this start of the server.
    pub(crate) start: u64,
    /// START SLAVE, in any form.
    pub(crate) starts: u64,
    /// STOP SLAVE, in any form.
    pub(crate) stops: u64,
    /// A statement was sent and its answer not noted: one of these counts may be one higher.
    pub(crate) pending: Option<Touch>,
    /// This incarnation has begun to follow; it must not begin again.
    pub(crate) followed: bool,
    /// Both threads were stopped on purpose, after everything received was applied (D6).
    pub(crate) ended: bool,
}

/// A statement on the replication threads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Touch {
    /// One START SLAVE.
    Start,
    /// One STOP SLAVE.
    Stop,
}

impl Counts {
    /// As a stay begins: with what the server has counted by then, and nothing followed yet.
    pub(crate) fn begun(incarnation: Incarnation, start: u64, starts: u64, stops: u64) -> Counts {
        Counts { incarnation, start, starts, stops, pending: None, followed: false, ended: false }
    }

    /// Are these the server's counts, one pending statement allowed for?
    pub(crate) fn explain(&self, start: u64, starts: u64, stops: u64) -> bool {
        let (more_starts, more_stops) = match self.pending {
            None => (0, 0),
            Some(Touch::Start) => (1, 0),
            Some(Touch::Stop) => (0, 1),
        };
        self.start == start
            && (self.starts..=self.starts + more_starts).contains(&starts)
            && (self.stops..=self.stops + more_stops).contains(&stops)
    }
}

/// Reads the counts; none if there are none or they cannot be read.
pub(crate) fn read_counts(state_dir: &Path) -> Option<Counts> {
    read_json(&state_dir.join("database.counts"))
}

/// Exchanges the counts' file as a whole, without waiting for the disk.
pub(crate) fn write_counts(state_dir: &Path, counts: &Counts) -> io::Result<()> {
    durable::replace_unsynced(&state_dir.join("database.counts"), &to_json(counts)?)
}

/// Draws a server id: 32 bits, never 0, and never the placeholder 1 of the configuration file.
pub(crate) fn draw_server_id() -> io::Result<u32> {
    loop {
        let drawn = u32::from_le_bytes(random::<4>()?);
        if drawn > 1 {
            return Ok(drawn);
        }
    }
}

/// Random bytes of the kernel, at most 256: so many come whole, and only once its generator is seeded (getrandom(2)).
pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let length = retry_on_intr(|| getrandom(&mut bytes, GetRandomFlags::empty()))?;
    if length < N {
        return Err(Errno::IO.into());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> (PathBuf, KeepFiles) {
        let root = std::env::temp_dir().join(format!("rgdb-keep-{}-{name}", std::process::id()));
        std::fs::create_dir_all(root.join("data")).expect("a folder");
        let files = KeepFiles::new(&root.join("data"), &root);
        (root, files)
    }

    fn keep(incarnation: u64, mark: bool) -> Keep {
        Keep {
            format: 1,
            writes: 0,
            incarnation: Incarnation(incarnation),
            mark,
            server_id: 77,
            start: 5,
            unfinished: false,
            distrusted: false,
            starts: 0,
            counted: 0,
            was: Vec::new(),
        }
    }

    #[test]
    fn a_restored_data_directory_disagrees() {
        let (root, files) = place("restored");
        assert_eq!(files.read(), Kept::Missing);
        files.write(keep(9, true)).expect("written");
        let snapshot = std::fs::read(&files.inside).expect("read");
        let second = files.write(keep(9, true)).expect("written");
        assert_eq!(files.read(), Kept::Agreed(second));
        std::fs::write(&files.inside, snapshot).expect("restored");
        assert_eq!(files.read(), Kept::Disagree { mark: true });
        std::fs::remove_file(&files.outside).expect("removed");
        assert_eq!(files.read(), Kept::Disagree { mark: true });
        std::fs::remove_dir_all(root).expect("removed");
    }

    #[test]
    fn a_crash_between_the_files_is_no_disagreement() {
        let (root, files) = place("crash");
        let old = files.write(keep(9, false)).expect("written");
        let new = Keep { writes: 2, ..keep(10, true) };
        let outside = Outside { keep: new.clone(), was: Some(old.clone()) };
        std::fs::write(&files.outside, to_json(&outside).expect("json")).expect("written");
        assert_eq!(files.read(), Kept::Agreed(old));
        std::fs::write(&files.inside, to_json(&new).expect("json")).expect("written");
        assert_eq!(files.read(), Kept::Agreed(new));
        std::fs::remove_dir_all(root).expect("removed");
    }

    #[test]
    fn a_pending_touch_explains_one_more_and_no_other() {
        let counts = Counts {
            incarnation: Incarnation(1),
            start: 5,
            starts: 3,
            stops: 2,
            pending: Some(Touch::Stop),
            followed: true,
            ended: false,
        };
        assert!(counts.explain(5, 3, 2) && counts.explain(5, 3, 3));
        assert!(!counts.explain(5, 4, 2) && !counts.explain(5, 3, 4) && !counts.explain(6, 3, 2));
    }
}
