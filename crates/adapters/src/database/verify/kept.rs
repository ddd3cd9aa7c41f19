//! What is kept of a comparison: how far it came, and what it found. `verify.json` beside the other kept files.
//!
//! A run that was cut short goes on from its place, as long as both copies are those that it began with. The last
//! complete one stays readable meanwhile. Clock times are for people only.

use super::look::Key;
use crate::database::json::{read_json, to_json};
use crate::database::local::aside;
use crate::durable;
use regent_core::id::{Incarnation, NodeId};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

const FORMAT: u32 = 1;
/// The place is kept no more often.
const EVERY: Duration = Duration::from_secs(1);
/// So many differences are named; then the copies surely differ, and the run ends.
const NAMED: usize = 20;
/// And so many of one table, so that others are seen as well.
pub(super) const NAMED_OF_TABLE: usize = 5;
/// What could not be compared is listed up to this many, and counted.
const UNCOMPARED: usize = 200;
/// One of a run that was dropped may still be at it.
static WRITING: Mutex<()> = Mutex::new(());

/// The file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// Of this file.
    pub(crate) format: u32,
    /// The last one that came to its end.
    pub(crate) last: Option<Run>,
    /// The one that is under way, or was stopped.
    pub(crate) current: Option<Run>,
}

/// One comparison.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    /// The standby.
    pub(crate) node: NodeId,
    /// The active's data.
    pub(crate) ours: Incarnation,
    /// The standby's data.
    pub(crate) theirs: Incarnation,
    /// Seconds since 1970 by this host's clock.
    pub(crate) began: u64,
    /// The same; none: it has not come to its end.
    pub(crate) ended: Option<u64>,
    /// Why it does not go on, if it was stopped.
    pub(crate) stopped: Option<String>,
    /// Where it goes on.
    pub(crate) place: PlaceKept,
    /// How far it is.
    pub(crate) progress: Progress,
    /// What differs.
    pub(crate) differences: Vec<Difference>,
    /// So much differs that it ended early.
    pub(crate) cut: bool,
    /// What was not compared, and why.
    pub(crate) not_compared: Vec<NotCompared>,
}

/// Everything before it is done, in the order of the bytes of names.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct PlaceKept {
    /// The database.
    pub(crate) schema: String,
    /// The table; empty: nothing of the database is done.
    pub(crate) table: String,
    /// The table is done, too.
    pub(crate) done: bool,
    /// How the table is defined, in a digest: another one is begun anew.
    pub(crate) shape: String,
    /// The last key that is done.
    pub(crate) after: Option<Key>,
}

/// How far a run is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Tables and views that are done.
    pub(crate) tables: u64,
    /// How many there were at the start.
    pub(crate) tables_of: u64,
    /// Rows that are done.
    pub(crate) rows: u64,
    /// About how many there were at the start.
    pub(crate) rows_of: u64,
    /// Parts that are done.
    pub(crate) chunks: u64,
    /// Differences by now.
    pub(crate) differences: u64,
    /// What was not compared by now.
    pub(crate) not_compared: u64,
}

/// Something that is not the same on both.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Difference {
    /// The database.
    pub(crate) schema: String,
    /// The table, view or trigger in it; empty: the database itself.
    pub(crate) name: String,
    /// What differs.
    pub(crate) what: What,
}

/// What differs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum What {
    /// It is on the active only.
    ActiveOnly,
    /// It is on the standby only.
    StandbyOnly,
    /// It is another thing, or defined otherwise.
    Definition,
    /// Rows, by their keys.
    Rows(Rows),
    /// Some row of a table without a key.
    Content,
}

/// Rows that are not the same, by their keys in the operator's words.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Rows {
    /// They are on both, with other values.
    pub(crate) changed: Vec<String>,
    /// They are on the active only.
    pub(crate) active_only: Vec<String>,
    /// They are on the standby only.
    pub(crate) standby_only: Vec<String>,
    /// There are more beside these.
    pub(crate) more: bool,
}

/// Something that was not compared.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct NotCompared {
    /// The database.
    pub(crate) schema: String,
    /// The table.
    pub(crate) table: String,
    /// Which of its rows; none: all.
    pub(crate) rows: Option<String>,
    /// Why.
    pub(crate) why: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { schema, name, what } = self;
        if name.is_empty() {
            write!(f, "the database {schema}")?;
        } else {
            write!(f, "{schema}.{name}")?;
        }
        match what {
            What::ActiveOnly => f.write_str(" is on the active only"),
            What::StandbyOnly => f.write_str(" is on the standby only"),
            What::Definition => f.write_str(" is defined otherwise on the standby"),
            What::Content => f.write_str(" has other rows on the standby"),
            What::Rows(rows) => write!(f, ": {rows}"),
        }
    }
}

impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            ("differing", &self.changed),
            ("on the active only", &self.active_only),
            ("on the standby only", &self.standby_only),
        ];
        let each = kinds.into_iter().filter(|(_, keys)| !keys.is_empty()).map(|(what, keys)| {
            let keys = keys.iter().map(|key| format!("({key})")).collect::<Vec<_>>();
            format!("{what} {}", keys.join(", "))
        });
        let more = self.more.then(|| "and more".to_string());
        f.write_str(&each.chain(more).collect::<Vec<_>>().join("; "))
    }
}

impl Run {
    /// What came out, in a sentence.
    pub(crate) fn words(&self) -> String {
        let Progress { tables, rows, not_compared, .. } = &self.progress;
        let left_out = match not_compared {
            0 => String::new(),
            n => format!(", {n} not compared"),
        };
        let compared = format!("{tables} tables, {rows} rows{left_out}");
        if self.differences.is_empty() {
            return format!("equal: {compared}");
        }
        let each = self.differences.iter().map(ToString::to_string).collect::<Vec<_>>();
        let more = if self.cut { "; and more" } else { "" };
        format!("they differ ({compared}): {}{more}", each.join("; "))
    }
}

impl Progress {
    /// How far it is, in words.
    pub(crate) fn words(&self) -> String {
        let Progress { tables, tables_of, rows, rows_of, differences, .. } = self;
        let found =
            if *differences > 0 { format!(", {differences} differences") } else { String::new() };
        format!("{tables} of {tables_of} tables, {rows} of about {rows_of} rows{found}")
    }
}

/// What there is of comparisons on this node.
pub(crate) fn last(state_dir: &Path) -> Option<Kept> {
    read_json::<Kept>(&path(state_dir)).filter(|kept| kept.format == FORMAT)
}

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("verify.json")
}

/// Since 1970, by this host's clock.
pub(crate) fn seconds() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// A run as it goes on, and its file.
pub(super) struct Record<F> {
    path: PathBuf,
    last: Option<Run>,
    /// The present one.
    pub(super) run: Run,
    tell: F,
    written: Option<Instant>,
}

impl<F: Fn(Progress)> Record<F> {
    /// Goes on with a run of the same copies, or begins one.
    pub(super) fn open(
        state_dir: &Path,
        node: NodeId,
        [ours, theirs]: [Incarnation; 2],
        tell: F,
    ) -> Record<F> {
        let kept = last(state_dir);
        let (last, current) = kept.map_or((None, None), |kept| (kept.last, kept.current));
        let same = |run: &Run| (run.node, run.ours, run.theirs) == (node, ours, theirs);
        let run = current.filter(same).unwrap_or_else(|| Run {
            node,
            ours,
            theirs,
            began: seconds(),
            ended: None,
            stopped: None,
            place: PlaceKept::default(),
            progress: Progress::default(),
            differences: Vec::new(),
            cut: false,
            not_compared: Vec::new(),
        });
        let run = Run { stopped: None, ..run };
        Record { path: path(state_dir), last, run, tell, written: None }
    }

    /// Something differs. Told once, also if its table is begun anew.
    pub(super) fn differs(&mut self, difference: Difference) {
        if self.is_full() || self.run.differences.contains(&difference) {
            return;
        }
        self.run.differences.push(difference);
        self.run.progress.differences += 1;
        self.run.cut = self.is_full();
    }

    /// Enough is known to differ.
    pub(super) fn is_full(&self) -> bool {
        self.run.differences.len() >= NAMED
    }

    /// So many differences in this table are told already.
    pub(super) fn differences_of(&self, schema: &str, table: &str) -> usize {
        let of = |d: &&Difference| d.schema == schema && d.name == table;
        self.run.differences.iter().filter(of).count()
    }

    /// Something is not compared.
    pub(super) fn not_compared(&mut self, what: NotCompared) {
        if self.run.not_compared.contains(&what) {
            return;
        }
        self.run.progress.not_compared += 1;
        if self.run.not_compared.len() < UNCOMPARED {
            self.run.not_compared.push(what);
        }
    }

    /// Everything before it is done.
    pub(super) async fn reached(&mut self, place: PlaceKept) -> Result<(), String> {
        self.run.place = place;
        (self.tell)(self.run.progress.clone());
        if self.written.is_some_and(|at| at.elapsed() < EVERY) {
            return Ok(());
        }
        self.write().await
    }

    /// It was stopped; it goes on another time.
    pub(super) async fn stopped(&mut self, why: &str) -> Result<(), String> {
        self.run.stopped = Some(why.to_string());
        self.write().await
    }

    /// It came to its end.
    pub(super) async fn ended(mut self) -> Result<Run, String> {
        self.run.ended = Some(seconds());
        let kept = Kept { format: FORMAT, last: Some(self.run.clone()), current: None };
        store(self.path, kept).await?;
        Ok(self.run)
    }

    async fn write(&mut self) -> Result<(), String> {
        let current = Some(self.run.clone());
        let kept = Kept { format: FORMAT, last: self.last.clone(), current };
        store(self.path.clone(), kept).await?;
        self.written = Some(Instant::now());
        Ok(())
    }
}

async fn store(path: PathBuf, kept: Kept) -> Result<(), String> {
    let bytes = to_json(&kept).map_err(|fault| fault.to_string())?;
    let write = move || {
        let _alone = WRITING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        durable::replace(&path, &bytes, 0o600)
    };
    aside(write).await.map_err(|fault| format!("how far it came is not kept: {fault}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(work)
    }

    fn difference(table: &str) -> Difference {
        Difference { schema: "app".into(), name: table.into(), what: What::Content }
    }

    #[test]
    fn a_run_goes_on_for_the_same_copies_only_and_the_last_one_stays() {
        let folder = std::env::temp_dir().join(format!("rgdb-verify-{}-kept", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let open = |theirs| {
            let copies = [Incarnation(1), Incarnation(theirs)];
            Record::open(&folder, NodeId(2), copies, |_| ())
        };
        assert_eq!(last(&folder), None);
        let mut first = open(2);
        first.differs(difference("t"));
        first.differs(difference("t"));
        let place = PlaceKept { schema: "app".into(), table: "t".into(), ..PlaceKept::default() };
        block(first.reached(place.clone())).expect("kept");
        block(first.stopped("no link")).expect("kept");
        let kept = last(&folder).and_then(|kept| kept.current).expect("kept");
        assert_eq!((kept.place.clone(), kept.stopped.as_deref()), (place.clone(), Some("no link")));

        let again = open(2);
        assert_eq!((again.run.place.clone(), again.run.differences.len()), (place, 1));
        let done = block(again.ended()).expect("kept");
        let mut other = open(3);
        assert_eq!(other.run.place, PlaceKept::default());
        block(other.stopped("cut")).expect("kept");
        assert_eq!(last(&folder).and_then(|kept| kept.last), Some(done));
        std::fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn a_difference_reads_as_people_say_it() {
        let said = |name: &str, what| {
            Difference { schema: "app".into(), name: name.into(), what }.to_string()
        };
        assert_eq!(said("", What::ActiveOnly), "the database app is on the active only");
        assert_eq!(said("t", What::Definition), "app.t is defined otherwise on the standby");
        let rows = Rows {
            changed: vec!["a=1".into(), "a=2".into()],
            standby_only: vec!["a=7".into()],
            more: true,
            ..Rows::default()
        };
        let told = "app.t: differing (a=1), (a=2); on the standby only (a=7); and more";
        assert_eq!(said("t", What::Rows(rows)), told);
    }
}
