//! What the writer makes for itself once it is writable: the database `regent`, the marker's and the heartbeats'
//! table, the replication account and the probes'. Everything is looked for first, because a statement of
//! definition in a tail makes that tail impossible to undo in place.

use crate::database::fault::Fault;
use crate::database::keep;
use crate::database::settings::WorkerSettings;
use crate::database::sql::{Client, SqlError};
use crate::durable;
use ring::digest::{SHA256, digest};
use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::time::Duration;

/// The replication account; ours alone (D9).
pub(crate) const USER: &str = "regent_repl";
/// The probes' account: an ordinary one, so that read-only binds it (D9).
pub(crate) const PROBE_USER: &str = "regent_probe";
/// One row for each node and kind of probe.
pub(crate) const HEARTBEAT: &str = "regent.heartbeat";
/// Probes have three connections on each node; what hangs must not fill the server.
const PROBE_CONNECTIONS: u32 = 20;
/// A statement of definition may wait for the replica.
const BOUND: Duration = Duration::from_secs(60);
/// Where the replication account's password is kept, and the one that it replaced.
const SECRET: &str = "replication.secret";
const SECRET_WAS: &str = "replication.secret.was";
const QUICK: Duration = Duration::from_secs(2);

/// Makes what is missing for markers and probes; nothing while the server is read-only (D9: our account writes only
/// while D2 allows it). It is replicated, so it may wait for the replica.
pub(crate) async fn make(client: &mut Client, state_dir: &Path) -> Result<(), String> {
    let text = |fault: SqlError| fault.to_string();
    if !is_table(client, "marker").await.map_err(text)? {
        expect_writable(client).await?;
        make_table(client).await.map_err(text)?;
    }
    let password = secret(state_dir).map_err(|fault| fault.to_string())?;
    make_for_probes(client, &derived(PROBE_USER, &password)).await
}

/// The replication account from each member's address and from nowhere else (D4), on the control connection (D11): what
/// an older agent began is over before a newer one reads anything. Not in the log: so it waits for nobody, and each
/// writer makes its own.
pub(crate) async fn make_for_replication(
    client: &mut Client,
    settings: &WorkerSettings,
) -> Result<(), Fault> {
    let password = secret(&settings.state_dir).map_err(|fault| Fault::failed(fault.to_string()))?;
    let there = accounts(client, &password).await?;
    let wanted = addresses(settings);
    let missing = wanted.iter().filter(|address| !there.contains(&((*address).clone(), true)));
    let surplus = there.iter().filter(|(address, _)| !wanted.contains(address));
    let mut statements = Vec::new();
    for address in missing {
        // The password comes last: who can sign in also has the privilege.
        statements.push(format!(
            "CREATE USER IF NOT EXISTS {USER}@'{address}' \
             IDENTIFIED VIA mysql_native_password USING 'invalid'; \
             GRANT REPLICATION SLAVE ON *.* TO {USER}@'{address}'; \
             ALTER USER {USER}@'{address}' IDENTIFIED BY '{password}'"
        ));
    }
    // Whoever is attached stays so.
    statements.extend(surplus.map(|(host, _)| format!("DROP USER IF EXISTS {USER}@'{host}'")));
    if statements.is_empty() {
        return Ok(());
    }
    if !is_writable(client).await? {
        return Err(Fault::failed("the database is read-only"));
    }
    Ok(unlogged(client, &statements).await?)
}

/// Statements that stay out of the log, each of them, whatever becomes of another; the first error. The session logs
/// again afterwards.
pub(crate) async fn unlogged(client: &mut Client, statements: &[String]) -> Result<(), SqlError> {
    client.query("SET SESSION sql_log_bin=0", QUICK).await?;
    let mut made = Ok(());
    for statement in statements {
        made = made.and(client.query(statement, QUICK).await.map(drop));
    }
    client.query("SET SESSION sql_log_bin=1", QUICK).await?;
    made
}

/// Where members' databases follow from.
fn addresses(settings: &WorkerSettings) -> BTreeSet<String> {
    settings.nodes.iter().map(|node| node.address.to_string()).collect()
}

/// From where the replication account may come, and whether with this password.
async fn accounts(
    client: &mut Client,
    password: &str,
) -> Result<BTreeSet<(String, bool)>, SqlError> {
    let look = format!(
        "SELECT Host, COALESCE(JSON_VALUE(Priv,'$.authentication_string')=PASSWORD('{password}'),0) \
         AS ours FROM mysql.global_priv WHERE User='{USER}'"
    );
    let rows = client.one(&look, QUICK).await?;
    let each = rows.columns(["Host", "ours"]);
    Ok(each.map(|[host, ours]| (host.to_owned(), ours == "1")).collect())
}

async fn make_for_probes(client: &mut Client, password: &str) -> Result<(), String> {
    let text = |fault: SqlError| fault.to_string();
    if !is_table(client, "heartbeat").await.map_err(text)? {
        expect_writable(client).await?;
        let make = format!(
            "CREATE TABLE IF NOT EXISTS {HEARTBEAT} \
             (node SMALLINT UNSIGNED NOT NULL, name VARCHAR(16) CHARACTER SET ascii NOT NULL, \
             token VARCHAR(64) CHARACTER SET ascii NOT NULL, \
             at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3), \
             PRIMARY KEY (node, name)) ENGINE=InnoDB"
        );
        client.query(&make, BOUND).await.map_err(text)?;
    }
    if !signs_in(client, PROBE_USER, password).await.map_err(text)? {
        expect_writable(client).await?;
        let make = format!(
            "CREATE USER IF NOT EXISTS {PROBE_USER}@'%' IDENTIFIED VIA mysql_native_password USING 'invalid' \
             WITH MAX_USER_CONNECTIONS {PROBE_CONNECTIONS}; \
             GRANT SELECT, INSERT, UPDATE ON {HEARTBEAT} TO {PROBE_USER}@'%'; \
             ALTER USER {PROBE_USER}@'%' IDENTIFIED BY '{password}'"
        );
        client.query(&make, BOUND).await.map_err(text)?;
    }
    Ok(())
}

/// Asked of the table itself: information_schema makes a temporary one on the disk.
async fn is_table(client: &mut Client, name: &str) -> Result<bool, SqlError> {
    match client.one(&format!("SELECT 1 FROM regent.{name} LIMIT 0"), QUICK).await {
        Err(fault) if fault.is_not_made() => Ok(false),
        answer => answer.map(|_| true),
    }
}

/// The marker's table (D4).
pub(crate) async fn make_table(client: &mut Client) -> Result<(), SqlError> {
    let make = "CREATE DATABASE IF NOT EXISTS regent; CREATE TABLE IF NOT EXISTS regent.marker \
        (token VARCHAR(128) CHARACTER SET ascii NOT NULL PRIMARY KEY, \
        at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, KEY (at)) ENGINE=InnoDB";
    client.query(make, BOUND).await.map(|_| ())
}

/// Can each member follow, with this password?
pub(crate) async fn is_there(
    client: &mut Client,
    settings: &WorkerSettings,
    password: &str,
) -> Result<bool, SqlError> {
    let there = accounts(client, password).await?;
    Ok(addresses(settings).into_iter().all(|address| there.contains(&(address, true))))
}

async fn signs_in(client: &mut Client, user: &str, password: &str) -> Result<bool, SqlError> {
    let look = format!(
        "SELECT COUNT(*) FROM mysql.global_priv WHERE User='{user}' AND Host='%' \
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
    match kept_secret(state_dir) {
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => {
            let drawn: String =
                keep::random::<24>()?.iter().map(|byte| format!("{byte:02x}")).collect();
            adopt_secret(state_dir, &drawn)?;
            Ok(drawn)
        }
        kept => kept,
    }
}

/// The probe account's password. It follows from the other one, which every node has, and does not tell it.
pub(crate) fn probe_password(state_dir: &Path) -> io::Result<String> {
    kept_secret(state_dir).map(|secret| derived(PROBE_USER, &secret))
}

/// The password of another account of ours: it follows from the replication account's, and does not tell it.
pub(crate) fn derived(user: &str, secret: &str) -> String {
    let digest = digest(&SHA256, format!("{user} {secret}").as_bytes());
    digest.as_ref()[..24].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The replication account's passwords that are known here: the present one first, then the one that it replaced, which
/// accounts of ours may still go by.
pub(crate) fn secrets(state_dir: &Path) -> Vec<String> {
    let kept = [SECRET, SECRET_WAS].map(|name| read_secret(&state_dir.join(name)));
    kept.into_iter().flatten().collect()
}

fn kept_secret(state_dir: &Path) -> io::Result<String> {
    read_secret(&state_dir.join(SECRET))
}

fn read_secret(path: &Path) -> io::Result<String> {
    let text = std::fs::read_to_string(path)?;
    if !is_plain(text.trim()) {
        return Err(io::Error::other(format!("{}: not a password of ours", path.display())));
    }
    Ok(text.trim().to_owned())
}

/// A follower keeps its writer's password, so that it need not change it when it becomes the writer.
pub(crate) fn adopt_secret(state_dir: &Path, password: &str) -> io::Result<()> {
    if !is_plain(password) {
        return Err(io::Error::other("not a password of ours"));
    }
    let path = state_dir.join(SECRET);
    let known = read_secret(&path).ok();
    if known.as_deref() == Some(password) {
        return Ok(());
    }
    if let Some(known) = known {
        durable::replace(&state_dir.join(SECRET_WAS), known.as_bytes(), 0o600)?;
    }
    durable::replace(&path, password.as_bytes(), 0o600)
}

/// Goes into statements as it is.
pub(crate) fn is_plain(password: &str) -> bool {
    !password.is_empty()
        && password.len() <= 64
        && password.bytes().all(|b| b.is_ascii_alphanumeric())
}
