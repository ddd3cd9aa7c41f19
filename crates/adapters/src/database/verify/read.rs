//! One look at one server: a single statement on a connection of its own, bounded, and without a trace.

use super::look::{Key, List, Look, Seen, Sum, Trouble};
use super::text;
use crate::database::gtid::{self, Gtid};
use crate::database::own;
use crate::database::settings::WorkerSettings;
use crate::database::sql::{Client, Rows, SqlError};
use ring::digest::{SHA256, digest};
use std::time::Duration;

/// The server ends a read itself; its answer to that comes soon.
const ANSWER: Duration = Duration::from_secs(text::READ_MAX as u64 + 2);
pub(super) const QUICK: Duration = Duration::from_secs(2);
/// What both sides must have the same, whatever their configuration says; and that nothing is left open: with
/// `autocommit` off, every read would be of the same instant. The inner result of a sum stays in memory.
const SESSION: &str = "SET NAMES utf8mb4 COLLATE utf8mb4_general_ci; \
    SET SESSION autocommit=1, sql_mode='', old_mode='UTF8_IS_UTF8MB3', time_zone='+00:00', \
    tx_isolation='REPEATABLE-READ', tx_read_only=0, sql_quote_show_create=1, sql_big_selects=1, \
    sql_select_limit=DEFAULT, lock_wait_timeout=2, innodb_lock_wait_timeout=1, \
    wait_timeout=31536000, tmp_memory_table_size=33554432, max_heap_table_size=33554432";

/// Why a look ended otherwise than in something seen.
#[derive(Debug)]
pub(super) enum Fault {
    /// There is nothing to see, or not now.
    Trouble(Trouble),
    /// Nothing goes on; in the operator's words.
    Stop(String),
}

impl From<SqlError> for Fault {
    fn from(error: SqlError) -> Fault {
        /// No such table, database, column, index; another definition; not in the engine.
        const GONE: [u16; 7] = [1146, 1049, 1054, 1072, 1176, 1412, 1932];
        const TOO_LONG: u16 = 1969;
        const LOCK: [u16; 2] = [1205, 1213];
        match error.code() {
            Some(code) if GONE.contains(&code) => {
                Fault::Trouble(Trouble::Gone { why: error.to_string() })
            }
            Some(TOO_LONG) => Fault::Trouble(Trouble::Slow),
            Some(code) if LOCK.contains(&code) => Fault::Trouble(Trouble::Locked),
            Some(_) | None => Fault::Stop(error.to_string()),
        }
    }
}

impl From<String> for Fault {
    fn from(why: String) -> Fault {
        Fault::Stop(why)
    }
}

/// A connection for looks.
pub(super) async fn connect(settings: &WorkerSettings) -> Result<Client, SqlError> {
    let mut client = own::connect(settings, QUICK).await?;
    client.query(SESSION, QUICK).await?;
    Ok(client)
}

/// Looks, plainly.
pub(super) async fn look(client: &mut Client, look: &Look) -> Result<Seen, Fault> {
    read(client, look, "").await
}

/// Looks at rows and keeps them as they are, for as long as the transaction is open.
pub(super) async fn look_locked(client: &mut Client, look: &Look) -> Result<Seen, Fault> {
    read(client, look, " LOCK IN SHARE MODE").await
}

async fn read(client: &mut Client, look: &Look, lock: &str) -> Result<Seen, Fault> {
    let list = match look {
        Look::Databases => names(&bounded(client, &text::databases()).await?, usize::MAX),
        Look::Tables(page) => names(&bounded(client, &text::tables(page)).await?, text::NAMES),
        Look::Triggers(page) => {
            expect_sight(client).await?;
            names(&bounded(client, &text::triggers(page)).await?, text::NAMES)
        }
        Look::Definition { schema, name } => definition(client, schema, name).await?,
        Look::Sum(part) => return sum(&bounded(client, &text::sum(part)?).await?),
        Look::Rows(part) => {
            let statement = format!("{}{lock}", text::rows(part)?);
            listed(&bounded(client, &statement).await?)?
        }
    };
    Ok(Seen::List(list))
}

/// Triggers that an account may not see are not there for it: with none on either side they would be the same.
async fn expect_sight(client: &mut Client) -> Result<(), Fault> {
    match bounded(client, text::SIGHT).await?.scalar() {
        Some("2") => Ok(()),
        Some(_) | None => Err(Fault::Stop(
            "the account that reads lacks the rights TRIGGER and SHOW VIEW, and would not see all"
                .into(),
        )),
    }
}

/// One SELECT, which the server ends if it takes too long.
pub(super) async fn bounded(client: &mut Client, select: &str) -> Result<Rows, SqlError> {
    let statement = format!("SET STATEMENT max_statement_time={} FOR {select}", text::READ_MAX);
    client.one(&statement, ANSWER).await
}

fn names(rows: &Rows, most: usize) -> List {
    let each = rows.columns(["name", "thing"]);
    let mut things: Vec<_> =
        each.map(|[name, thing]| (vec![name.to_string()], thing.to_string())).collect();
    let more = things.len() > most;
    things.truncate(most);
    List { things, more }
}

/// One thing, or none if there is no such table. What the server says against a broken view is compared as well.
async fn definition(client: &mut Client, schema: &str, name: &str) -> Result<List, Fault> {
    const DENIED: [u16; 3] = [1044, 1142, 1227];
    let said = match client.one(&text::definition(schema, name), ANSWER).await {
        Ok(rows) => {
            let row = rows.each().next().and_then(|row| row.get(1)?.clone());
            text::plain_definition(&row.unwrap_or_default())
        }
        Err(fault) if fault.code().is_some_and(|code| DENIED.contains(&code)) => {
            return Err(Fault::Stop(fault.to_string()));
        }
        Err(fault) => match (fault.code(), Fault::from(fault)) {
            (_, Fault::Trouble(Trouble::Gone { .. })) => return Ok(List::default()),
            (Some(code), Fault::Stop(_)) => format!("error {code}"),
            (_, fault) => return Err(fault),
        },
    };
    let digest = digest(&SHA256, said.as_bytes());
    let digest = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(List { things: vec![(Key::new(), digest)], more: false })
}

fn sum(rows: &Rows) -> Result<Seen, Fault> {
    let number = |name: &str| {
        let found = rows.first(name).and_then(|text| text.parse::<u64>().ok());
        found.ok_or_else(|| format!("a sum without {name}"))
    };
    let sum = Sum { rows: number("n")?, halves: [number("a")?, number("b")?], total: number("s")? };
    if number("hashed")? != sum.rows {
        return Err(Fault::Stop("the server made no digest of some row".into()));
    }
    // Perhaps not all of it was added up.
    if sum.rows >= text::SUMMED {
        return Err(Fault::Trouble(Trouble::Slow));
    }
    Ok(Seen::Sum(sum))
}

fn listed(rows: &Rows) -> Result<List, Fault> {
    let things = rows.each().map(|row| {
        let mut values = row.iter().cloned();
        let digest = values.next().flatten();
        let key: Option<Key> = values.collect();
        key.zip(digest).ok_or_else(|| "the server made no digest of some row".to_string())
    });
    let mut things = things.collect::<Result<Vec<_>, _>>()?;
    let more = things.len() > text::LISTED;
    things.truncate(text::LISTED);
    Ok(List { things, more })
}

/// Waits until all of this is applied here, and then looks.
pub(super) async fn look_after(
    client: &mut Client,
    reached: &[Gtid],
    patience: Duration,
    what: &Look,
) -> Result<Result<Seen, Trouble>, String> {
    let text = |fault: SqlError| fault.to_string();
    let seconds = patience.as_secs_f64();
    let wait = format!("SELECT MASTER_GTID_WAIT('{}', {seconds:.3})", gtid::text(reached));
    let waited = client.one(&wait, patience + QUICK).await.map_err(text)?;
    if waited.scalar() != Some("0") {
        let applied = client.one("SELECT @@global.gtid_slave_pos", QUICK).await.map_err(text)?;
        let applied = applied.scalar().unwrap_or_default().to_string();
        return Ok(Err(Trouble::Late { applied }));
    }
    match look(client, what).await {
        Ok(seen) => Ok(Ok(seen)),
        Err(Fault::Trouble(trouble)) => Ok(Err(trouble)),
        Err(Fault::Stop(why)) => Err(why),
    }
}
