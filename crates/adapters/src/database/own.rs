//! Regent's own account in the server, `regent@localhost`: with what it may do and no more, and its own password, so
//! that nothing that a site does to root's account shuts Regent out.
//!
//! The password follows from the replication account's, which every node has (and adopts before it takes a copy): so
//! the account that comes with a copy of another node's data lets this one in. It is made outside the log, on each node
//! for itself, by whoever still gets in: that is root through the socket at first, later the account itself. It is
//! looked after while the control connection stands, because that one gets in nowhere any more: it is in.

use crate::database::account;
use crate::database::settings::WorkerSettings;
use crate::database::sql::{Client, SqlError};
use crate::database::tool;
use crate::durable;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::timeout;

/// The account.
pub(crate) const USER: &str = "regent";
const ROOT: &str = "root";
/// Each statement of definition; one that waits for somebody's lock is given up before.
const BOUND: Duration = Duration::from_secs(2);
/// What the steps, the copies, the undo of a tail, events and the other accounts need. SUPER: the switch of the event
/// scheduler knows no narrower right in 10.11.
const RIGHTS: &str = "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, RELOAD, PROCESS, SHOW DATABASES, \
    LOCK TABLES, EVENT, TRIGGER, SHOW VIEW, CREATE USER, SUPER, REPLICATION SLAVE, BINLOG MONITOR, BINLOG ADMIN, BINLOG REPLAY, \
    CONNECTION ADMIN, READ_ONLY ADMIN, REPLICATION MASTER ADMIN, REPLICATION SLAVE ADMIN, SLAVE MONITOR, SET USER";

/// What to do where nobody of ours gets in.
const REMEDY: &str = "Regent signs in as root through the socket once, and makes an account of its own: ALTER USER \
    root@localhost IDENTIFIED VIA unix_socket OR mysql_native_password USING PASSWORD('...')";

/// The server refuses this account: wrong password, no such account, locked, expired.
fn is_denied(fault: &SqlError) -> bool {
    matches!(fault.code(), Some(1045 | 1044 | 1698 | 4151 | 1862 | 1820))
}

/// Ways in, the better one first.
fn ways(state_dir: &Path) -> Vec<(&'static str, Option<String>)> {
    let own = account::secrets(state_dir).into_iter();
    let own = own.map(|secret| (USER, Some(account::derived(USER, &secret))));
    own.chain([(ROOT, None)]).collect()
}

/// Connects by the first way that the server lets in; all of it within the bound.
pub(crate) async fn connect(
    settings: &WorkerSettings,
    bound: Duration,
) -> Result<Client, SqlError> {
    connect_by(settings, bound).await.map(|(client, _)| client)
}

type Way = (&'static str, Option<String>);

async fn connect_by(settings: &WorkerSettings, bound: Duration) -> Result<(Client, Way), SqlError> {
    let mut refused = None;
    for (user, password) in ways(&settings.state_dir) {
        match Client::connect_as(&settings.socket, user, password.as_deref(), bound).await {
            Ok(client) => return Ok((client, (user, password))),
            Err(fault) if is_denied(&fault) => refused = Some(fault),
            Err(fault) => return Err(fault),
        }
    }
    let refused = refused.unwrap_or(SqlError::Late(bound));
    Err(match refused {
        SqlError::Server { code, text } => {
            SqlError::Server { code, text: format!("{text}; {REMEDY}") }
        }
        other @ (SqlError::Absent(_) | SqlError::Lost(_) | SqlError::Late(_)) => other,
    })
}

/// Does the account let us in? Why not, if so.
pub(crate) async fn lets_in(settings: &WorkerSettings, bound: Duration) -> Result<(), String> {
    let secrets = account::secrets(&settings.state_dir);
    let secret = secrets.first().ok_or("it has no password yet")?;
    let password = account::derived(USER, secret);
    match Client::connect_as(&settings.socket, USER, Some(&password), bound).await {
        Ok(client) => {
            // A server that hangs does not say goodbye.
            let _ = timeout(bound, client.quit()).await;
            Ok(())
        }
        // A server that is away says nothing of its accounts.
        Err(fault) if !is_denied(&fault) => Ok(()),
        Err(fault) => Err(fault.to_string()),
    }
}

/// Makes the account, or gives it back what it lost, on a connection that is in. Not in the log: each node has its own.
pub(crate) async fn make(client: &mut Client, state_dir: &Path) -> Result<(), SqlError> {
    let secret = account::secret(state_dir).map_err(|fault| SqlError::Server {
        code: 0,
        text: format!("its password is not kept: {fault}"),
    })?;
    let password = account::derived(USER, &secret);
    let at = format!("{USER}@localhost");
    // The password comes last: who can sign in also has the rights.
    let make = [
        format!(
            "CREATE USER IF NOT EXISTS {at} IDENTIFIED VIA mysql_native_password USING 'invalid'"
        ),
        format!("GRANT {RIGHTS} ON *.* TO {at} WITH GRANT OPTION"),
        format!(
            "ALTER USER {at} IDENTIFIED VIA mysql_native_password USING '{}' \
             ACCOUNT UNLOCK PASSWORD EXPIRE NEVER",
            hash(&password)
        ),
    ];
    let patient =
        make.map(|statement| format!("SET STATEMENT lock_wait_timeout=1 FOR {statement}"));
    account::unlogged(client, &patient).await
}

/// As the server keeps it: no password in clear stands in a statement, and so in no log.
fn hash(password: &str) -> String {
    let once = digest(&SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
    let twice = digest(&SHA1_FOR_LEGACY_USE_ONLY, once.as_ref());
    let hex: String = twice.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    format!("*{hex}")
}

/// A program of the server's package that signs in by the way that works now; what it needs to know is in a file that
/// only root reads, never in its arguments.
pub(crate) async fn tool(program: &str, settings: &WorkerSettings) -> Result<Command, String> {
    let text = |fault: SqlError| format!("{program}: {fault}");
    let (client, (user, password)) = connect_by(settings, BOUND).await.map_err(text)?;
    let _ = timeout(BOUND, client.quit()).await;
    let file = settings.run_dir.join(format!("{program}.cnf"));
    let write = || -> io::Result<()> {
        let password = password.map_or_else(String::new, |p| format!("password={p}\n"));
        let socket = settings.socket.display();
        let options = format!("user={user}\n{password}socket={socket}\n");
        let options = format!("[client]\n{options}[mariadb-backup]\n{options}");
        std::fs::create_dir_all(&settings.run_dir)?;
        durable::replace(&file, options.as_bytes(), 0o600)
    };
    write().map_err(|fault| format!("{}: {fault}", file.display()))?;
    let mut command = tool::bare(program);
    command.arg(format!("--defaults-file={}", file.display()));
    Ok(command)
}

/// Is there somebody at the socket? Tells a server that died from one that dropped us.
pub(crate) async fn is_there(settings: &WorkerSettings) -> bool {
    let connecting = tokio::net::UnixStream::connect(&settings.socket);
    tokio::time::timeout(Duration::from_millis(200), connecting).await.is_ok_and(|c| c.is_ok())
}
