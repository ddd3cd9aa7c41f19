//! The one control connection of a run (D11): who holds it may read modes and change them.

use crate::database::fault::Fault;
use crate::database::own;
use crate::database::settings::WorkerSettings;
use crate::database::sql::{Client, Rows, SqlError};
use regent_core::fnv::fnv;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A simple statement is answered within this, or the server hangs.
pub(crate) const SIMPLE: Duration = Duration::from_secs(1);
/// An older run's thread is seen gone within this; a receiver's stop towards a silent source takes two seconds.
const GONE: Duration = Duration::from_secs(3);
const LOCK: &str = "regent";

/// The connection that holds the lock, and which start of the server it belongs to.
pub(crate) struct Control {
    pub(crate) client: Client,
    /// Names this start of the server.
    pub(crate) start: u64,
}

impl Control {
    /// D11: connects, ends the thread of an older run and sees it gone; only then are modes read.
    pub(crate) async fn take(
        settings: &WorkerSettings,
        patience: Duration,
    ) -> Result<Control, Fault> {
        let patient_until = Instant::now() + patience;
        let mut client = loop {
            match own::connect(settings, SIMPLE).await {
                Ok(client) => break client,
                Err(fault) if Instant::now() >= patient_until => {
                    // Nothing was sent but a greeting: a server that goes away meanwhile is down.
                    return Err(match fault {
                        SqlError::Lost(_) => Fault::Down,
                        other @ (SqlError::Server { .. }
                        | SqlError::Absent(_)
                        | SqlError::Late(_)) => Fault::from(other),
                    });
                }
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        };
        seize(&mut client).await?;
        let session = "SET SESSION wait_timeout=31536000, max_statement_time=0, lock_wait_timeout=5, \
            innodb_lock_wait_timeout=5";
        client.query(session, SIMPLE).await?;
        let start = start_of(&mut client, settings).await?;
        Ok(Control { client, start })
    }

    /// One short statement.
    pub(crate) async fn run(&mut self, text: &str) -> Result<Rows, Fault> {
        Ok(self.client.one(text, SIMPLE).await?)
    }

    /// The same for one that the server may refuse: what it would change is so already.
    pub(crate) async fn run_if_allowed(&mut self, text: &str) -> Result<(), Fault> {
        match self.client.one(text, SIMPLE).await {
            Ok(_) | Err(SqlError::Server { .. }) => Ok(()),
            Err(fault) => Err(fault.into()),
        }
    }
}

/// Takes the lock. A thread that holds it is killed: it writes no rows, so this ends no wait for a replica.
async fn seize(client: &mut Client) -> Result<(), Fault> {
    let deadline = Instant::now() + GONE;
    loop {
        let answer = client.one(&format!("SELECT GET_LOCK('{LOCK}', 0)"), SIMPLE).await?;
        if answer.scalar() == Some("1") {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Fault::NoAnswer);
        }
        let answer = client.one(&format!("SELECT IS_USED_LOCK('{LOCK}')"), SIMPLE).await?;
        if let Some(thread) = answer.scalar().and_then(|t| t.parse::<u64>().ok()) {
            kill(client, thread).await?;
            await_gone(client, thread, deadline).await?;
        }
    }
}

async fn kill(client: &mut Client, thread: u64) -> Result<(), Fault> {
    /// No such thread.
    const UNKNOWN: u16 = 1094;
    match client.one(&format!("KILL CONNECTION {thread}"), SIMPLE).await {
        Err(fault) if fault.code() == Some(UNKNOWN) => Ok(()),
        answer => Ok(answer.map(|_| ())?),
    }
}

async fn await_gone(client: &mut Client, thread: u64, deadline: Instant) -> Result<(), Fault> {
    let thread = thread.to_string();
    while client.one("SHOW PROCESSLIST", SIMPLE).await?.column().any(|id| id == thread) {
        if Instant::now() >= deadline {
            return Err(Fault::NoAnswer);
        }
        sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// Names the server process: its number and start, in this boot. The pid file is read while the connection lives, and
/// the connection is asked once more afterwards: so it is this very process's file.
pub(crate) async fn start_of(client: &mut Client, settings: &WorkerSettings) -> Result<u64, Fault> {
    let answer = client.one("SELECT @@pid_file", SIMPLE).await?;
    let path = settings.datadir.join(PathBuf::from(answer.scalar().unwrap_or_default()));
    let start = read_start(&path).map_err(|fault| {
        Fault::Failed(format!(
            "the server's process cannot be read from {}: {fault}",
            path.display()
        ))
    })?;
    client.one("SELECT 1", SIMPLE).await?;
    Ok(start)
}

fn read_start(pid_file: &Path) -> io::Result<u64> {
    let pid = std::fs::read_to_string(pid_file)?;
    let pid = pid.trim();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in brackets may contain anything; the start is the twentieth field after it.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let since = fields.split_whitespace().nth(19).ok_or_else(|| io::Error::other("no start"))?;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    // The same process gives the same name, another almost surely not.
    Ok(fnv(format!("{} {pid} {since}", boot.trim()).as_bytes()))
}
