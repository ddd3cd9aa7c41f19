//! Events run on the writer and nowhere else.
//!
//! The configuration at rest has their scheduler off; it is on while clients write. What comes by replication is there
//! as switched off on a replica, and whether the site had it enabled is lost with that: so the writer notes which ones
//! are disabled, in a table that is replicated, and the next writer switches the others on. Its own copy alone says so
//! (unlogged): each node's is different. `ALTER EVENT` does it, because the scheduler does not read the table again.

use crate::database::account;
use crate::database::sql::{Client, Rows, SqlError};
use std::collections::BTreeSet;
use std::time::Duration;

/// Nothing here waits for a replica but the note, which waits for nobody.
const QUICK: Duration = Duration::from_secs(2);
/// A commit may wait for the replica.
const NOTE: Duration = Duration::from_secs(30);
const ON: &str = "SET GLOBAL event_scheduler=ON";
/// No event begins any more.
pub(crate) const OFF: &str = "SET GLOBAL event_scheduler=OFF";
const TABLE: &str = "CREATE TABLE IF NOT EXISTS regent.event_off \
    (db VARCHAR(64) NOT NULL, name VARCHAR(64) NOT NULL, PRIMARY KEY (db, name)) ENGINE=InnoDB";

/// Events run here from now on; what could not be switched on is told.
pub(crate) async fn run(client: &mut Client, mut tell: impl FnMut(String)) -> Result<(), SqlError> {
    let replicated = "SELECT db, name, definer FROM mysql.event WHERE status='SLAVESIDE_DISABLED'";
    let replicated = client.one(replicated, QUICK).await?;
    let mut replicated = replicated.columns(["db", "name", "definer"]).peekable();
    if replicated.peek().is_some() {
        let off = off(client).await?;
        client.query("SET SESSION sql_log_bin=0", QUICK).await?;
        for [db, name, definer] in replicated {
            let is_off = off.contains(&(db.to_string(), name.to_string()));
            let (user, host) = definer.rsplit_once('@').unwrap_or((definer, "%"));
            let state = if is_off { "DISABLE" } else { "ENABLE" };
            let alter = format!(
                "ALTER DEFINER={}@{} EVENT {}.{} {state}",
                quoted(user),
                quoted(host),
                quoted(db),
                quoted(name)
            );
            if let Err(fault) = client.one(&alter, QUICK).await {
                tell(format!("the event {db}.{name} is not switched on here: {fault}"));
            }
        }
        client.query("SET SESSION sql_log_bin=1", QUICK).await?;
    }
    let enabled = client.one("SELECT COUNT(*) FROM mysql.event WHERE status='ENABLED'", QUICK);
    if is_any(&enabled.await?) {
        client.one(ON, QUICK).await?;
    }
    Ok(())
}

/// Which ones the site switched off.
async fn off(client: &mut Client) -> Result<BTreeSet<(String, String)>, SqlError> {
    match client.one("SELECT db, name FROM regent.event_off", QUICK).await {
        Ok(rows) => {
            Ok(rows.columns(["db", "name"]).map(|[db, name]| (db.into(), name.into())).collect())
        }
        Err(fault) if fault.is_not_made() => Ok(BTreeSet::new()),
        Err(fault) => Err(fault),
    }
}

/// Notes for the next writer which events are switched off; changes nothing, and waits for nobody, if that is known.
/// D9: each statement looks itself whether clients may write.
pub(crate) async fn note(client: &mut Client) -> Result<(), SqlError> {
    let disabled = "SELECT COUNT(*) FROM mysql.event WHERE status='DISABLED'";
    let any = is_any(&client.one(disabled, QUICK).await?);
    let known = match client.one("SELECT COUNT(*) FROM regent.event_off", QUICK).await {
        Ok(rows) => Some(is_any(&rows)),
        Err(fault) if fault.is_not_made() => None,
        Err(fault) => return Err(fault),
    };
    if !any && known != Some(true) {
        return Ok(());
    }
    if known.is_none() {
        if !account::is_writable(client).await? {
            return Ok(());
        }
        client.one(TABLE, NOTE).await?;
    }
    let add = "INSERT IGNORE INTO regent.event_off SELECT db, name FROM mysql.event \
        WHERE status='DISABLED' AND @@global.read_only=0";
    client.one(add, NOTE).await?;
    let forget = "DELETE FROM regent.event_off WHERE @@global.read_only=0 AND NOT EXISTS \
        (SELECT 1 FROM mysql.event e WHERE e.db=event_off.db AND e.name=event_off.name \
        AND e.status='DISABLED')";
    client.one(forget, NOTE).await?;
    Ok(())
}

fn is_any(rows: &Rows) -> bool {
    rows.scalar().is_some_and(|count| count != "0")
}

/// As an identifier.
fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_statement() {
        assert_eq!(quoted("a`; DROP"), "`a``; DROP`");
    }
}
