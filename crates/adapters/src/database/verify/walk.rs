//! Along a table, part by part; into what is not the same, half by half.

use super::Job;
use super::kept::{Difference, NAMED_OF_TABLE, NotCompared, PlaceKept, Progress, Rows, What};
use super::look::{Look, Part, Span, Trouble};
use super::prove::{Other, Proof, prove};
use super::read::Fault;
use super::shape::Shape;
use super::sides::{Looked, show};
use super::text;
use crate::database::peer::Peer;
use std::time::Duration;

/// A part is so large that reading it takes about this long.
const READ: Duration = Duration::from_millis(100);
const FIRST: u64 = 1_000;
const LEAST: u64 = 8;
/// Far below what is added up at most: more rows may come meanwhile.
const MOST: u64 = text::SUMMED / 4;
/// So few rows are looked at one by one.
const FEW: u64 = 8;
/// Without a key a table is read at once, if it has no more rows.
const KEYLESS: u64 = 20_000;
/// So many keys are named in one difference.
const KEYS: usize = 10;
/// The end of a table at which rows come is halved no more often.
const TAIL: u32 = 200;

/// How many rows a part has.
struct Size(u64);

impl Size {
    /// At most doubled or halved at a time.
    fn adapt(&mut self, took: Duration) {
        let right = self.0.saturating_mul(READ.as_micros() as u64) / took.as_micros().max(1) as u64;
        self.0 = right.clamp(self.0 / 2, self.0 * 2).clamp(LEAST, MOST);
    }
}

/// What is still to be looked at of a part.
struct Todo {
    stack: Vec<(Span, u64)>,
    /// It was not the same and is looked at once more as it is.
    again: bool,
    /// So often was the open end halved.
    tail: u32,
}

impl<P: Peer, F: Fn(Progress)> Job<'_, P, F> {
    /// A table's rows, from a place on.
    pub(super) async fn rows(&mut self, shape: &Shape, mut place: PlaceKept) -> Result<(), Fault> {
        if shape.part.index.is_none() {
            return self.whole(shape).await;
        }
        let mut size = Size(FIRST);
        loop {
            let rest = Span::Between { after: place.after.clone(), upto: None };
            let upto = match self.sides.boundary(&shape.part.of(rest), size.0).await {
                Err(Fault::Trouble(Trouble::Slow)) if size.0 > LEAST => {
                    size.adapt(READ * 2);
                    continue;
                }
                found => found?,
            };
            let span = Span::Between { after: place.after.clone(), upto: upto.clone() };
            let took = self.chunk(shape, span, size.0).await?;
            size.adapt(took);
            self.record.run.progress.chunks += 1;
            if self.is_enough(&shape.part) {
                self.skip(&shape.part, None, "enough of it differs".into());
                return Ok(());
            }
            let Some(upto) = upto else { return Ok(()) };
            place.after = Some(upto);
            self.record.reached(place.clone()).await?;
        }
    }

    /// A part of about so many rows, to its end; how long the first look at it took here.
    async fn chunk(&mut self, shape: &Shape, span: Span, rows: u64) -> Result<Duration, Fault> {
        let mut todo = Todo { stack: vec![(span, rows)], again: true, tail: 0 };
        let mut first = None;
        while let Some((span, about)) = todo.stack.pop() {
            let part = shape.part.of(span);
            let looked = self.sides.look(&Look::Sum(part.clone())).await;
            let busy = self.sides.busy();
            self.sides.rest().await;
            match looked {
                Ok(Looked::Same(seen)) => {
                    self.record.run.progress.rows += seen.rows();
                    first.get_or_insert(busy);
                }
                Ok(Looked::Other { again, .. }) => {
                    first.get_or_insert(busy / 2);
                    self.closer(shape, part, again.rows(), &mut todo).await?;
                }
                Err(Fault::Trouble(Trouble::Slow)) => {
                    first.get_or_insert(READ * 2);
                    self.halve(part, about, &mut todo, true).await?;
                }
                Err(fault) => return Err(fault),
            }
            if self.is_enough(&shape.part) {
                break;
            }
        }
        Ok(first.unwrap_or(READ))
    }

    /// A part of so many rows is not the same, or changes.
    async fn closer(
        &mut self,
        shape: &Shape,
        part: Part,
        rows: u64,
        todo: &mut Todo,
    ) -> Result<(), Fault> {
        if std::mem::take(&mut todo.again) {
            todo.stack.push((part.span, rows));
            return Ok(());
        }
        if rows > FEW {
            return self.halve(part, rows, todo, false).await;
        }
        match prove(&mut self.sides, &Look::Rows(part.clone()), shape.lockable()).await {
            Ok(Proof::Same(rows)) => self.record.run.progress.rows += rows,
            Ok(Proof::Grown) => todo.stack.push((part.span, rows)),
            Ok(Proof::Other(other)) => {
                self.record.run.progress.rows += rows;
                self.tell(&part, other);
            }
            Err(Fault::Trouble(Trouble::Slow)) => self.skip_some(&part, Trouble::Slow.to_string()),
            Err(fault) => return Err(fault),
        }
        self.sides.rest().await;
        Ok(())
    }

    /// Two halves instead of a part of about so many rows.
    async fn halve(
        &mut self,
        part: Part,
        rows: u64,
        todo: &mut Todo,
        slow: bool,
    ) -> Result<(), Fault> {
        let open = matches!(part.span, Span::Between { upto: None, .. });
        todo.tail += u32::from(open);
        let half = (rows / 2).max(1);
        let at = match self.sides.boundary(&part, half).await {
            Err(Fault::Trouble(Trouble::Slow)) => None,
            found => found?,
        };
        let halves = at.and_then(|at| part.span.split(at)).filter(|[_, second]| !is_empty(second));
        let why = match halves {
            Some(_) if todo.tail > TAIL => "rows come faster than they can be compared".to_string(),
            Some(_) if slow && rows <= 1 => Trouble::Slow.to_string(),
            None if slow => Trouble::Slow.to_string(),
            // What was there is gone: one half is as good as the whole.
            None => {
                todo.stack.push((part.span, rows / 2));
                return Ok(());
            }
            Some([first, second]) => {
                todo.stack.extend([(second, rows.saturating_sub(half)), (first, half)]);
                return Ok(());
            }
        };
        self.skip_some(&part, why);
        Ok(())
    }

    /// A table without a key, at once.
    async fn whole(&mut self, shape: &Shape) -> Result<(), Fault> {
        let part = &shape.part;
        if shape.rows > KEYLESS {
            let why = format!("it has no key of its rows, and about {} of them", shape.rows);
            self.skip(part, None, why);
            return Ok(());
        }
        let proof = prove(&mut self.sides, &Look::Sum(part.clone()), None).await;
        self.sides.rest().await;
        match proof {
            Ok(Proof::Same(rows)) => self.record.run.progress.rows += rows,
            Ok(Proof::Other(other)) if !other.differing.is_empty() => {
                self.differ(&part.schema, &part.table, What::Content);
            }
            Ok(Proof::Other(_) | Proof::Grown) => {
                self.skip(part, None, "it has no key of its rows, and goes on changing".into());
            }
            Err(Fault::Trouble(Trouble::Slow)) => {
                let why = "it has no key of its rows, and cannot be read at once in time";
                self.skip(part, None, why.into());
            }
            Err(fault) => return Err(fault),
        }
        Ok(())
    }

    /// Notes which rows differ, and which could not be compared.
    fn tell(&mut self, part: &Part, other: Other) {
        let index = part.index.as_ref();
        for key in &other.restless {
            let why = "it goes on changing, and is never free to be locked for a moment";
            self.skip(part, Some(show(index, key)), why.into());
        }
        if other.differing.is_empty() && !other.more {
            return;
        }
        let mut rows = Rows { more: other.more, ..Rows::default() };
        for (key, sides) in &other.differing {
            let keys = match sides {
                [Some(_), None] => &mut rows.active_only,
                [None, Some(_)] => &mut rows.standby_only,
                [Some(_), Some(_)] | [None, None] => &mut rows.changed,
            };
            if keys.len() < KEYS {
                keys.push(show(index, key));
            } else {
                rows.more = true;
            }
        }
        self.differ(&part.schema, &part.table, What::Rows(rows));
    }

    /// Notes a difference.
    pub(super) fn differ(&mut self, schema: &str, name: &str, what: What) {
        let (schema, name) = (schema.to_string(), name.to_string());
        self.record.differs(Difference { schema, name, what });
    }

    /// Notes what is not compared.
    pub(super) fn skip(&mut self, part: &Part, rows: Option<String>, why: String) {
        let (schema, table) = (part.schema.clone(), part.table.clone());
        self.record.not_compared(NotCompared { schema, table, rows, why });
    }

    fn skip_some(&mut self, part: &Part, why: String) {
        let from = match &part.span {
            Span::Between { after, .. } => after.as_ref(),
            Span::Row(key) => Some(key),
        };
        let some = match from.map(|key| show(part.index.as_ref(), key)) {
            Some(key) => format!("some from {key} on"),
            None => "some from the first on".into(),
        };
        self.skip(part, Some(some), why);
    }

    fn is_enough(&self, part: &Part) -> bool {
        self.record.is_full()
            || self.record.differences_of(&part.schema, &part.table) >= NAMED_OF_TABLE
    }
}

/// Nothing can be in it.
fn is_empty(span: &Span) -> bool {
    match span {
        Span::Between { after: Some(after), upto: Some(upto) } => after == upto,
        Span::Between { .. } | Span::Row(_) => false,
    }
}
