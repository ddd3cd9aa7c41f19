//! The jobs, in a table behind the virtual IP. Each call opens its own connection within a bound:
//! after a failover the next call finds the new database, and no call waits for the old one.

use std::fmt;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};
use serde::Serialize;
use tokio::time::timeout;

/// Connection and statement together; a person waits no longer either.
const LIMIT: Duration = Duration::from_millis(900);
const LAST: usize = 20;
const NO_SUCH_TABLE: u16 = 1146;

const TABLE: &str = "CREATE TABLE IF NOT EXISTS jobs (\
    id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, \
    name VARCHAR(200) NOT NULL, \
    node VARCHAR(64) NOT NULL, \
    created TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3))";

/// One job, as the API shows it.
#[derive(Debug, Serialize)]
pub(crate) struct Job {
    id: u64,
    name: String,
    node: String,
    created: String,
}

/// Why a call could not be served.
#[derive(Debug)]
pub(crate) enum JobError {
    /// The database did not answer in time: being away, or on its way to the other node.
    Late,
    /// The database refused, or the connection failed.
    Database(mysql_async::Error),
}

impl fmt::Display for JobError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JobError::Late => write!(out, "the database did not answer in time"),
            JobError::Database(error) => write!(out, "the database failed: {error}"),
        }
    }
}

impl From<mysql_async::Error> for JobError {
    fn from(error: mysql_async::Error) -> JobError {
        JobError::Database(error)
    }
}

/// The table of jobs and the node this process runs on.
pub(crate) struct Jobs {
    database: Opts,
    node: String,
}

impl Jobs {
    /// Takes the address of the database; connects to nothing.
    pub(crate) fn new(url: &str, node: String) -> Result<Jobs, mysql_async::UrlError> {
        // A socket beside us belongs to this node's copy, not to the one behind the virtual IP.
        let options = OptsBuilder::from_opts(Opts::from_url(url)?).prefer_socket(false);
        Ok(Jobs { database: options.into(), node })
    }

    /// Where this process runs.
    pub(crate) fn node(&self) -> &str {
        &self.node
    }

    /// The last jobs, newest first.
    pub(crate) async fn last(&self) -> Result<Vec<Job>, JobError> {
        let select = format!(
            "SELECT id, name, node, DATE_FORMAT(created, '%Y-%m-%d %H:%i:%s.%f') \
             FROM jobs ORDER BY id DESC LIMIT {LAST}"
        );
        let listing = async {
            let mut conn = Conn::new(self.database.clone()).await?;
            let rows =
                conn.query_map(select, |(id, name, node, created)| Job { id, name, node, created });
            match rows.await {
                Err(error) if is_missing_table(&error) => Ok(Vec::new()),
                other => other.map_err(JobError::from),
            }
        };
        timeout(LIMIT, listing).await.unwrap_or(Err(JobError::Late))
    }

    /// Stores a job and returns its number; makes the table first where there is none.
    pub(crate) async fn store(&self, name: &str) -> Result<u64, JobError> {
        let storing = async {
            let mut conn = Conn::new(self.database.clone()).await?;
            let insert = "INSERT INTO jobs (name, node) VALUES (?, ?)";
            let mut stored = conn.exec_drop(insert, (name, &self.node)).await;
            if stored.as_ref().is_err_and(is_missing_table) {
                conn.query_drop(TABLE).await?;
                stored = conn.exec_drop(insert, (name, &self.node)).await;
            }
            stored?;
            Ok(conn.last_insert_id().unwrap_or(0))
        };
        timeout(LIMIT, storing).await.unwrap_or(Err(JobError::Late))
    }
}

fn is_missing_table(error: &mysql_async::Error) -> bool {
    matches!(error, mysql_async::Error::Server(server) if server.code == NO_SUCH_TABLE)
}
