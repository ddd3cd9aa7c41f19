//! `regent verify-db`: are the active's and the standby's copies the same? Asked while both serve.
//!
//! Nothing is written on either side but how far it came, nothing is logged, and no statement is repeated over there
//! by replication: both sides are read, and the reads are put in order by the names of transactions ([`sides`]).
//!
//! ```text
//!  databases ─► tables and triggers by name ─► each definition ─► each table's rows   (the site's accounts, routines
//!                                                                                      and events: tables of `mysql`)
//!  rows:  a part by key ─► sums equal: next part             (walk)
//!                       └► not: once more, then half by half, down to a few rows
//!                             └► row by row: same, surely different, or locked for a moment   (prove)
//! ```
//! How to read it: [`look`] (what travels), [`text`] and [`read`] (how one side is read), [`sides`] (how both are),
//! [`mod@prove`], [`walk`], [`shape`] (which key), [`kept`] (what stays). The run may be dropped at any await: its
//! connection closes, and a lock goes with it.

mod kept;
mod look;
mod pace;
mod prove;
mod read;
mod shape;
mod sides;
#[cfg(test)]
mod tests;
mod text;
mod walk;

pub(crate) use kept::{Difference, NotCompared, Progress, Run, What, last, seconds};
pub use look::{Look, Seen, Trouble};
pub(crate) use pace::Pace;

use crate::database::gtid::Gtid;
use crate::database::local::log_index_by;
use crate::database::peer::Peer;
use crate::database::settings::WorkerSettings;
use kept::{PlaceKept, Record};
use look::{Key, List, Page};
use prove::{Proof, prove};
use read::{Fault, QUICK};
use regent_core::id::{Incarnation, NodeId};
use sides::Sides;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::timeout;

/// A peer's question waits no longer for what must be applied.
const WAIT_MAX: Duration = Duration::from_secs(3);
/// A table that goes away, changes or is locked is begun so often.
const TRIES: u32 = 4;
const TRY_PAUSE: Duration = Duration::from_secs(1);
/// Of all names of all databases.
const ESTIMATE_MAX: Duration = Duration::from_secs(30);
/// The server's own database, of which some tables are the site's.
const SYSTEM: &str = "mysql";

/// What came out of a run that came to its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Verdict {
    /// Whether they differ.
    pub(crate) finding: Finding,
    /// So much differs that it ended early.
    pub(crate) cut: bool,
    /// How much was compared.
    pub(crate) progress: Progress,
    /// What was not compared, and why; of it there may be more, by the count of the progress.
    pub(crate) not_compared: Vec<NotCompared>,
}

/// Whether they differ.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Finding {
    /// All that was compared is the same.
    Equal,
    /// This is not.
    Differs(Vec<Difference>),
}

impl From<Run> for Verdict {
    fn from(run: Run) -> Verdict {
        let Run { differences, cut, progress, not_compared, .. } = run;
        let finding = match differences.is_empty() {
            true => Finding::Equal,
            false => Finding::Differs(differences),
        };
        Verdict { finding, cut, progress, not_compared }
    }
}

/// Compares the data here, which are written, with those of the node that follows. Goes on where a run of the same
/// copies was stopped. One at a time: two would keep their places in one file.
pub(crate) async fn verify(
    settings: &WorkerSettings,
    peer: &impl Peer,
    node: NodeId,
    ours: Incarnation,
    theirs: Incarnation,
    pace: Pace,
    progress: impl Fn(Progress),
) -> Result<Verdict, String> {
    let copies = [ours, theirs];
    let sides = Sides::open(settings, peer, node, copies, pace).await?;
    let record = Record::open(&settings.state_dir, node, copies, progress);
    let mut job = Job { sides, record };
    let ran = job.run().await;
    let Job { sides, mut record } = job;
    sides.close().await;
    let why = match ran {
        Ok(()) => return Ok(record.ended().await?.into()),
        Err(Fault::Stop(why)) => why,
        Err(Fault::Trouble(trouble)) => trouble.to_string(),
    };
    record.stopped(&why).await?;
    Err(why)
}

/// Looks for a peer, if the data whose log this is are those that it asks for, and once this is applied here.
pub(crate) async fn serve(
    settings: &WorkerSettings,
    is_asked: impl FnOnce(PathBuf) -> Result<(), String>,
    reached: &[Gtid],
    patience: Duration,
    look: &Look,
) -> Result<Result<Seen, Trouble>, String> {
    let connecting = read::connect(settings).await;
    let mut client = connecting.map_err(|fault| fault.to_string())?;
    is_asked(log_index_by(&mut client).await?)?;
    let seen = read::look_after(&mut client, reached, patience.min(WAIT_MAX), look).await;
    // A server that hangs does not say goodbye.
    let _ = timeout(QUICK, client.quit()).await;
    seen
}

/// A run at work.
struct Job<'a, P, F> {
    sides: Sides<'a, P>,
    record: Record<F>,
}

impl<P: Peer, F: Fn(Progress)> Job<'_, P, F> {
    async fn run(&mut self) -> Result<(), Fault> {
        self.sides.expect_ours().await?;
        let from = self.record.run.place.clone();
        if from == PlaceKept::default() {
            self.estimate().await?;
        }
        for schema in self.databases().await? {
            if self.record.is_full() {
                break;
            }
            if schema >= from.schema {
                self.database(&schema, &from).await?;
            }
        }
        Ok(self.sides.expect_ours().await?)
    }

    async fn estimate(&mut self) -> Result<(), Fault> {
        // Without one it goes on as well.
        let found = match self.sides.client().one(&text::estimate(), ESTIMATE_MAX).await {
            Err(fault) if fault.code().is_some() => return Ok(()),
            found => found?,
        };
        let number = |name| found.first(name).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        self.record.run.progress.tables_of = number("tables") + text::SYSTEM.len() as u64;
        self.record.run.progress.rows_of = number("n");
        Ok(())
    }

    /// Those that are on both sides, and what of `mysql` belongs to the site, by name.
    async fn databases(&mut self) -> Result<BTreeSet<String>, Fault> {
        let list = read::look(self.sides.client(), &Look::Databases).await?.list();
        let differing = self.by_name(&Look::Databases, None).await?;
        let here = |name: &String| differing.get(name) != Some(&What::ActiveOnly);
        Ok(names(list).map(|(name, _)| name).filter(here).chain([SYSTEM.to_string()]).collect())
    }

    async fn database(&mut self, schema: &str, from: &PlaceKept) -> Result<(), Fault> {
        let tables = if schema == SYSTEM {
            text::SYSTEM.map(|(table, ..)| (table.to_string(), String::new())).to_vec()
        } else {
            self.pages(schema, Look::Triggers).await?;
            self.pages(schema, Look::Tables).await?
        };
        for (table, kind) in tables {
            let is_done =
                from.schema == schema && (table < from.table || (table == from.table && from.done));
            if self.record.is_full() {
                return Ok(());
            }
            if !is_done {
                self.table(schema, &table, &kind).await?;
            }
        }
        Ok(())
    }

    /// Compares things of a database by name, page by page; those that are the same.
    async fn pages(
        &mut self,
        schema: &str,
        look: fn(Page) -> Look,
    ) -> Result<Vec<(String, String)>, Fault> {
        let mut page = Page { schema: schema.to_string(), after: None, upto: None };
        let mut same = Vec::new();
        loop {
            page.upto = None;
            let list = read::look(self.sides.client(), &look(page.clone())).await?.list();
            if list.more {
                page.upto = list.things.last().and_then(|(key, _)| key.first().cloned());
            }
            let differing = self.by_name(&look(page.clone()), Some(schema)).await?;
            same.extend(names(list).filter(|(name, _)| !differing.contains_key(name)));
            if page.upto.is_none() {
                return Ok(same);
            }
            page.after = page.upto.take();
        }
    }

    /// Compares things by their names, and notes what is not the same. Without a database they are databases.
    async fn by_name(
        &mut self,
        look: &Look,
        schema: Option<&str>,
    ) -> Result<BTreeMap<String, What>, Fault> {
        let proof = prove(&mut self.sides, look, None).await;
        self.sides.rest().await;
        let other = match proof? {
            Proof::Same(_) => return Ok(BTreeMap::new()),
            Proof::Grown => return Err(Fault::Stop("tables are being made all the time".into())),
            Proof::Other(other) => other,
        };
        let of = |key: &Key| {
            let name = key.join(".");
            schema.map_or((name.clone(), String::new()), |schema| (schema.to_string(), name))
        };
        for key in &other.restless {
            let ((schema, table), why) = (of(key), "it comes and goes".to_string());
            self.record.not_compared(NotCompared { schema, table, rows: None, why });
        }
        let mut differing = BTreeMap::new();
        for (key, sides) in &other.differing {
            let ((schema, name), what) = (of(key), what(sides));
            self.differ(&schema, &name, what.clone());
            differing.insert(key.join("."), what);
        }
        Ok(differing)
    }

    async fn table(&mut self, schema: &str, table: &str, kind: &str) -> Result<(), Fault> {
        let mut left = TRIES;
        while let Err(fault) = self.try_table(schema, table, kind).await {
            let Fault::Trouble(trouble) = fault else { return Err(fault) };
            left -= 1;
            if left == 0 {
                let (schema, table) = (schema.to_string(), table.to_string());
                let why = trouble.to_string();
                self.record.not_compared(NotCompared { schema, table, rows: None, why });
                break;
            }
            self.sides.pause(TRY_PAUSE).await?;
        }
        self.record.run.progress.tables += 1;
        let (schema, table) = (schema.to_string(), table.to_string());
        let place = PlaceKept { schema, table, done: true, ..PlaceKept::default() };
        Ok(self.record.reached(place).await?)
    }

    async fn try_table(&mut self, schema: &str, table: &str, kind: &str) -> Result<(), Fault> {
        self.sides.expect_ours().await?;
        // Those of `mysql` follow the server's release, not replication.
        if schema != SYSTEM && !self.is_defined_alike(schema, table).await? || kind == "VIEW" {
            return Ok(());
        }
        let Some(shape) = shape::read(self.sides.client(), schema, table).await? else {
            return Err(Fault::Trouble(Trouble::Gone { why: "it is not there".into() }));
        };
        if let Some(engine) = shape.elsewhere() {
            let why = format!("its rows are not in it, but where its engine {engine} finds them");
            self.skip(&shape.part, None, why);
            return Ok(());
        }
        let digest = shape.digest()?;
        let kept = &self.record.run.place;
        let goes_on =
            (kept.schema.as_str(), kept.table.as_str(), &kept.shape) == (schema, table, &digest);
        let after = kept.after.clone().filter(|_| goes_on);
        let (schema, table) = (schema.to_string(), table.to_string());
        let place = PlaceKept { schema, table, done: false, shape: digest, after };
        self.rows(&shape, place).await
    }

    /// Is it there on both sides, and the same? What differs is noted.
    async fn is_defined_alike(&mut self, schema: &str, table: &str) -> Result<bool, Fault> {
        let look = Look::Definition { schema: schema.to_string(), name: table.to_string() };
        let proof = prove(&mut self.sides, &look, None).await;
        self.sides.rest().await;
        let other = match proof? {
            Proof::Same(count) => return Ok(count > 0),
            Proof::Grown => return Ok(true),
            Proof::Other(other) => other,
        };
        for sides in other.differing.values() {
            self.differ(schema, table, what(sides));
        }
        if !other.restless.is_empty() {
            return Err(Fault::Trouble(Trouble::Gone { why: "its definition".into() }));
        }
        Ok(other.differing.is_empty())
    }
}

/// Of a thing, by what is here and what is there.
fn what(sides: &[Option<String>; 2]) -> What {
    match sides {
        [Some(_), None] => What::ActiveOnly,
        [None, Some(_)] => What::StandbyOnly,
        [Some(_), Some(_)] | [None, None] => What::Definition,
    }
}

/// Each with what is compared of it.
fn names(list: List) -> impl Iterator<Item = (String, String)> {
    list.things.into_iter().map(|(key, thing)| (key.join("."), thing))
}
