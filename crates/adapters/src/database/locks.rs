//! Who holds the lock that writers, or the applier, wait for.
//!
//! A backup's `FLUSH TABLES WITH READ LOCK` on the writer looks from outside like a server that hangs; a reader's lock
//! on a standby holds up what it will have to apply before it can serve. Both have a session, and that has a name: the
//! server's plugin `metadata_lock_info`, which `zz-regent.cnf` loads, knows it.

use crate::database::facts::PROCESSES;
use crate::database::sql::{Client, Rows, SqlError};
use std::time::Duration;

/// The threads of replication.
const SYSTEM: &str = "system user";
/// First those of a table that the applier has in hand as well, then by the age of their statements.
const HOLDERS: &str = "SELECT m.THREAD_ID, m.LOCK_MODE, m.LOCK_TYPE, COALESCE(m.TABLE_SCHEMA, '') AS TABLE_SCHEMA, \
    COALESCE(m.TABLE_NAME, '') AS TABLE_NAME, p.USER, p.HOST, COALESCE(p.STATE, '') AS STATE, \
    EXISTS (SELECT 1 FROM information_schema.METADATA_LOCK_INFO s \
    JOIN information_schema.PROCESSLIST q ON q.ID=s.THREAD_ID WHERE q.USER='system user' \
    AND s.TABLE_SCHEMA=m.TABLE_SCHEMA AND s.TABLE_NAME=m.TABLE_NAME) AS WANTED \
    FROM information_schema.METADATA_LOCK_INFO m JOIN information_schema.PROCESSLIST p ON p.ID=m.THREAD_ID \
    WHERE p.USER<>'system user' AND p.ID<>CONNECTION_ID() ORDER BY WANTED DESC, p.TIME DESC";
/// Whose rows the applier waits for.
const ROWS: &str = "SELECT p.ID, p.USER, p.HOST FROM information_schema.INNODB_LOCK_WAITS w \
    JOIN information_schema.INNODB_TRX r ON r.trx_id=w.requesting_trx_id \
    JOIN information_schema.INNODB_TRX b ON b.trx_id=w.blocking_trx_id \
    JOIN information_schema.PROCESSLIST q ON q.ID=r.trx_mysql_thread_id AND q.USER='system user' \
    JOIN information_schema.PROCESSLIST p ON p.ID=b.trx_mysql_thread_id AND p.USER<>'system user' LIMIT 1";
/// What keeps every commit out: FLUSH TABLES WITH READ LOCK, and the last stage of a backup.
const KEEPS_OUT: [&str; 3] = ["MDL_BACKUP_FTWRL1", "MDL_BACKUP_FTWRL2", "MDL_BACKUP_WAIT_COMMIT"];

/// A session that others wait for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Blocker {
    /// Its connection's number; 0: it is not known which one it is.
    pub(crate) session: u64,
    /// Its account and where it comes from.
    pub(crate) who: String,
    /// What it holds.
    pub(crate) what: String,
}

/// What somebody waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wait {
    /// Every commit is kept out.
    All,
    /// A table's definition, or a table.
    Table,
}

fn waits(user: &str, state: &str) -> Option<Wait> {
    match state {
        "Waiting for backup lock"
        | "Waiting for global read lock"
        | "Waiting for commit lock" => Some(Wait::All),
        "Waiting for table metadata lock"
        | "Waiting for schema metadata lock"
        | "Waiting for table level lock"
        | "Waiting for table flush"
            // A client that waits for a table is the site's own matter.
            if user == SYSTEM =>
        {
            Some(Wait::Table)
        }
        _ => None,
    }
}

/// Who holds what every writer, or the applier, waits for; none if nobody waits. `applies`: the applier is at work.
pub(crate) async fn look(
    client: &mut Client,
    applies: bool,
    bound: Duration,
) -> Result<Option<Blocker>, SqlError> {
    let processes = client.one(PROCESSES, bound).await?;
    let waits: Vec<Wait> = processes
        .columns(["User", "State"])
        .filter_map(|[user, state]| waits(user, state))
        .collect();
    if waits.is_empty() {
        return if applies { of_rows(client, bound).await } else { Ok(None) };
    }
    /// The plugin is not loaded.
    const UNKNOWN_TABLE: u16 = 1109;
    match client.one(HOLDERS, bound).await {
        Ok(holders) => Ok(holder(&holders, &waits)),
        Err(fault) if fault.code() == Some(UNKNOWN_TABLE) => Ok(Some(Blocker {
            session: 0,
            who: "somebody".into(),
            what: "a lock (whose it is: INSTALL SONAME 'metadata_lock_info')".into(),
        })),
        Err(fault) => Err(fault),
    }
}

fn holder(holders: &Rows, waits: &[Wait]) -> Option<Blocker> {
    let columns = [
        "THREAD_ID",
        "LOCK_MODE",
        "LOCK_TYPE",
        "TABLE_SCHEMA",
        "TABLE_NAME",
        "USER",
        "HOST",
        "STATE",
    ];
    holders.columns(columns).find_map(|[id, mode, kind, schema, table, user, host, state]| {
        let what = if KEEPS_OUT.contains(&mode) && waits.contains(&Wait::All) {
            "the lock of a backup or of FLUSH TABLES WITH READ LOCK".to_string()
        } else if kind == "Table metadata lock"
            && waits.contains(&Wait::Table)
            && !state.starts_with("Waiting for")
        {
            format!("a lock on the table {schema}.{table}")
        } else {
            return None;
        };
        Some(Blocker { session: id.parse().ok()?, who: format!("{user}@{host}"), what })
    })
}

async fn of_rows(client: &mut Client, bound: Duration) -> Result<Option<Blocker>, SqlError> {
    let rows = client.one(ROWS, bound).await?;
    Ok(rows.columns(["ID", "USER", "HOST"]).find_map(|[id, user, host]| {
        let what = "rows in a transaction that is open".to_string();
        Some(Blocker { session: id.parse().ok()?, who: format!("{user}@{host}"), what })
    }))
}

/// D9: neither a commit nor anything that could become one is open in this session.
pub(crate) async fn has_nothing_open(
    client: &mut Client,
    session: u64,
    bound: Duration,
) -> Result<bool, SqlError> {
    let open = format!(
        "SELECT (SELECT COUNT(*) FROM information_schema.INNODB_TRX \
         WHERE trx_mysql_thread_id={session} AND trx_rows_modified>0) \
         + (SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID={session} \
         AND (STATE LIKE '%semi-sync%' OR STATE LIKE '%ommit%'))"
    );
    Ok(client.one(&open, bound).await?.scalar() == Some("0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_waits_for_a_table_is_the_sites_own_matter() {
        assert_eq!(waits("app", "Waiting for backup lock"), Some(Wait::All));
        assert_eq!(waits("app", "Waiting for table metadata lock"), None);
        assert_eq!(waits(SYSTEM, "Waiting for table metadata lock"), Some(Wait::Table));
        assert_eq!(waits("app", "Waiting for semi-sync ACK from slave"), None);
    }
}
