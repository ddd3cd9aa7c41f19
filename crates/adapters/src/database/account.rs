//! What the writer makes for itself once it is writable: the database `regent`, the marker's table, the
//! replication account. Everything is looked for first, because a statement of definition in a tail makes that tail
//! impossible to undo in place.

use crate::database::keep;
use crate::database::sql::{Client, SqlError};
use std::io;
use std::path::Path;
use std::time::Duration;

/// The replication account; ours alone (D9).
pub(crate) const USER: &str = "regent_repl";
/// A statement of definition may wait for the replica.
const BOUND: Duration = Duration::from_secs(60);
const QUICK: Duration = Duration::from_secs(2);

/// Makes what is missing; nothing while the server is read-only (D9: our account writes only while D2 allows it).
pub(crate) async fn make(client: &mut Client, state_dir: &Path) -> Result<(), String> {
    let text = |fault: SqlError| fault.to_string();
    let look = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema='regent' AND table_name='marker'";
    let there = client.one(look, QUICK).await.map_err(text)?;
    if there.scalar() != Some("1") {
        expect_writable(client).await?;
        make_table(client).await.map_err(text)?;
    }
    let password = secret(state_dir).map_err(|fault| fault.to_string())?;
    // The password comes last: who can sign in also has the privilege.
    if !is_there(client, &password).await.map_err(text)? {
        expect_writable(client).await?;
        let make = format!(
            "CREATE USER IF NOT EXISTS {USER}@'%' IDENTIFIED VIA mysql_native_password USING 'invalid'; \
             GRANT REPLICATION SLAVE ON *.* TO {USER}@'%'; \
             ALTER USER {USER}@'%' IDENTIFIED BY '{password}'"
        );
        client.query(&make, BOUND).await.map_err(text)?;
    }
    Ok(())
}

/// The marker's table (D4).
pub(crate) async fn make_table(client: &mut Client) -> Result<(), SqlError> {
    let make = "CREATE DATABASE IF NOT EXISTS regent; CREATE TABLE IF NOT EXISTS regent.marker \
        (token VARCHAR(128) CHARACTER SET ascii NOT NULL PRIMARY KEY, \
        at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, KEY (at)) ENGINE=InnoDB";
    client.query(make, BOUND).await.map(|_| ())
}

/// Does the account exist, with this password?
pub(crate) async fn is_there(client: &mut Client, password: &str) -> Result<bool, SqlError> {
    let look = format!(
        "SELECT COUNT(*) FROM mysql.global_priv WHERE User='{USER}' AND Host='%' \
         AND JSON_VALUE(Priv,'$.authentication_string')=PASSWORD('{password}')"
    );
    Ok(client.one(&look, QUICK).await?.scalar() == Some("1"))
}

async fn expect_writable(client: &mut Client) -> Result<(), String> {
    match is_writable(client).await {
        Ok(true) => Ok(()),
        Ok(false) => Err("the database is read-only".into()),
        Err(fault) => Err(fault.to_string()),
    }
}

/// May clients write?
pub(crate) async fn is_writable(client: &mut Client) -> Result<bool, SqlError> {
    Ok(client.one("SELECT @@global.read_only", QUICK).await?.scalar() == Some("0"))
}

/// The account's password: the one kept here, or a new one.
pub(crate) fn secret(state_dir: &Path) -> io::Result<String> {
    let path = state_dir.join("replication.secret");
    match std::fs::read_to_string(&path) {
        Ok(text) if is_plain(text.trim()) => Ok(text.trim().to_string()),
        Ok(_) => Err(io::Error::other(format!("{}: not a password of ours", path.display()))),
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => {
            let drawn: String =
                keep::random::<24>()?.iter().map(|byte| format!("{byte:02x}")).collect();
            adopt_secret(state_dir, &drawn)?;
            Ok(drawn)
        }
        Err(fault) => Err(fault),
    }
}

/// A follower keeps its writer's password, so that it need not change it when it becomes the writer.
pub(crate) fn adopt_secret(state_dir: &Path, password: &str) -> io::Result<()> {
    if !is_plain(password) {
        return Err(io::Error::other("not a password of ours"));
    }
    let path = state_dir.join("replication.secret");
    if std::fs::read_to_string(&path).is_ok_and(|known| known.trim() == password) {
        return Ok(());
    }
    keep::write_synced(&path, password.as_bytes(), 0o600)
}

/// Goes into statements as it is.
pub(crate) fn is_plain(password: &str) -> bool {
    !password.is_empty()
        && password.len() <= 64
        && password.bytes().all(|b| b.is_ascii_alphanumeric())
}
