//! What one node's database worker asks another's, through their agents; and how the questions are answered.
//!
//! Answers come from the log files and the kept files themselves, beside the steps, on connections of their own.
//! They change nothing but a missing replication account, and that only while clients may write.

use crate::database::account;
use crate::database::binlog::Log;
use crate::database::gtid::Gtid;
use crate::database::keep::{Keep, KeepFiles, Kept};
use crate::database::needs::{self, Amiss};
use crate::database::own;
use crate::database::settings::WorkerSettings;
use crate::database::site;
use crate::database::sql::{Client, SqlError};
use crate::database::verify::{self, Look, Seen, Trouble};
use regent_core::id::{Incarnation, NodeId};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How many names one question carries; more are asked in further ones.
pub(crate) const BATCH: usize = 500;
const BOUND: Duration = Duration::from_secs(2);
/// What a copy takes is told if it is found out within this.
const WALK_MAX: Duration = Duration::from_secs(1);

/// A question to a peer's worker.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerRequest {
    /// Which of these, newest first, is the first that stands in your log? Exact look-up (D8).
    Lookup {
        /// Answer only if your data are this stay.
        incarnation: Incarnation,
        /// At most some hundred.
        gtids: Vec<Gtid>,
    },
    /// The state of your log at this place of it.
    StateAt {
        /// Answer only if your data are this stay.
        incarnation: Incarnation,
        /// Name of a log file.
        file: String,
        /// Byte in it.
        offset: u64,
    },
    /// What do I need to follow you?
    FollowInfo,
    /// What of your server's settings is not as Regent needs it? Asked before there is a cluster.
    Survey,
    /// Once you have applied all of this: what do you see there?
    Checksum {
        /// Answer only if your data are this stay, and a follower's.
        incarnation: Incarnation,
        /// The end of the writer's log, by domain.
        reached: Vec<Gtid>,
        /// Wait for it this long, at most some seconds.
        patience_ms: u64,
        /// What to look at.
        chunk: Look,
    },
}

/// A peer's answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerAnswer {
    /// To `Lookup`.
    Found {
        /// Place in the list, if any is there.
        index: Option<usize>,
    },
    /// To `StateAt`.
    State {
        /// Per domain and server the last name.
        state: Vec<Gtid>,
    },
    /// To `FollowInfo`.
    Follow(FollowInfo),
    /// To `Survey`.
    Survey {
        /// Nothing: all is as it must be.
        amiss: Vec<Amiss>,
    },
    /// To `Checksum`.
    Checksum {
        /// What is seen, or why nothing is.
        seen: Result<Seen, Trouble>,
    },
    /// The question cannot be answered, and why.
    Refused {
        /// In the operator's words.
        reason: String,
    },
}

/// What a follower needs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FollowInfo {
    /// The server's port.
    pub port: u16,
    /// The replication account.
    pub user: String,
    /// Its password.
    pub password: String,
    /// The server's present incarnation.
    pub incarnation: Incarnation,
    /// What a copy of its data takes; none from a release that does not say.
    #[serde(default)]
    pub bytes: Option<u64>,
    /// Why its data cannot be copied, if so.
    #[serde(default)]
    pub no_copy: Option<String>,
}

/// A way to ask a node's worker. The worker's own goes through the agent.
pub(crate) trait Peer {
    /// Asks one question; an error says why no answer came.
    async fn ask(&self, node: NodeId, request: PeerRequest) -> Result<PeerAnswer, String>;
}

/// Answers a peer's question.
pub(crate) async fn serve(settings: &WorkerSettings, request: PeerRequest) -> PeerAnswer {
    let answer = match request {
        PeerRequest::Lookup { incarnation, gtids } => lookup(settings, incarnation, gtids).await,
        PeerRequest::StateAt { incarnation, file, offset } => {
            state_at(settings, incarnation, file, offset).await
        }
        PeerRequest::FollowInfo => follow_info(settings).await,
        PeerRequest::Survey => survey(settings).await,
        PeerRequest::Checksum { incarnation, reached, patience_ms, chunk } => {
            let patience = Duration::from_millis(patience_ms);
            checksum(settings, incarnation, reached, patience, chunk).await
        }
    };
    answer.unwrap_or_else(|reason| PeerAnswer::Refused { reason })
}

async fn lookup(
    settings: &WorkerSettings,
    incarnation: Incarnation,
    gtids: Vec<Gtid>,
) -> Result<PeerAnswer, String> {
    let index = log_index(settings).await?;
    expect_incarnation(settings, incarnation, &index)?;
    let found = move || {
        let mut log = Log::open(&index)?;
        for (i, gtid) in gtids.iter().enumerate() {
            if log.contains(*gtid)? {
                return Ok(Some(i));
            }
        }
        Ok(None)
    };
    Ok(PeerAnswer::Found { index: aside(found).await? })
}

async fn state_at(
    settings: &WorkerSettings,
    incarnation: Incarnation,
    file: String,
    offset: u64,
) -> Result<PeerAnswer, String> {
    let index = log_index(settings).await?;
    expect_incarnation(settings, incarnation, &index)?;
    let name = file.clone();
    let state = aside(move || Log::open(&index)?.state_at(&name, offset)).await?;
    state
        .map(|state| PeerAnswer::State { state })
        .ok_or_else(|| format!("log file {file} is not there any more"))
}

async fn follow_info(settings: &WorkerSettings) -> Result<PeerAnswer, String> {
    let keep = present(settings, &log_index(settings).await?)?;
    let mut client = own::connect(settings, BOUND).await.map_err(|fault| fault.to_string())?;
    let port = client.one("SELECT @@port", BOUND).await.map_err(|fault| fault.to_string())?;
    let port = port.scalar().and_then(|p| p.parse().ok()).ok_or("the server has no port")?;
    let password = account::secret(&settings.state_dir).map_err(|fault| fault.to_string())?;
    let there = account::is_there(&mut client, settings, &password).await;
    if !there.map_err(|fault| fault.to_string())? {
        // The writer lost its own note of the password, or has just opened.
        return Err("the replication account is not made yet".into());
    }
    let user = account::USER.to_string();
    let (bytes, no_copy) = copyable(settings, &mut client).await?;
    Ok(PeerAnswer::Follow(FollowInfo { port, user, password, incarnation: keep, bytes, no_copy }))
}

async fn survey(settings: &WorkerSettings) -> Result<PeerAnswer, String> {
    let text = |fault: SqlError| fault.to_string();
    let mut client = match own::connect(settings, BOUND).await {
        // Down: what it will read at its start is what there is to look at.
        Err(SqlError::Absent(_)) => {
            return Ok(PeerAnswer::Survey { amiss: needs::of_files().await });
        }
        client => client.map_err(text)?,
    };
    let port = settings.place_of(settings.node).map_or(0, |node| node.port);
    let amiss = needs::survey(&mut client, settings, port).await.map_err(text)?;
    Ok(PeerAnswer::Survey { amiss })
}

/// How much a copy of the data here takes, and why there can be none.
async fn copyable(
    settings: &WorkerSettings,
    client: &mut Client,
) -> Result<(Option<u64>, Option<String>), String> {
    let leads_out = site::leads_out_of(client, &settings.datadir, BOUND).await;
    let leads_out = leads_out.map_err(|fault| fault.to_string())?;
    let datadir = settings.datadir.clone();
    // Who only wants to follow does not wait for a walk through a large site.
    let walk = tokio::time::timeout(WALK_MAX, aside(move || site::extent(&datadir))).await;
    let Ok(extent) = walk else { return Ok((None, None)) };
    let extent = extent?;
    let why = match (leads_out, extent.outside) {
        (Some(setting), _) => {
            Some(format!("{setting} leads out of {}", settings.datadir.display()))
        }
        (None, Some(link)) => Some(format!("the table of {} lies outside", link.display())),
        (None, None) => None,
    };
    Ok((Some(extent.bytes), why))
}

async fn checksum(
    settings: &WorkerSettings,
    incarnation: Incarnation,
    reached: Vec<Gtid>,
    patience: Duration,
    chunk: Look,
) -> Result<PeerAnswer, String> {
    let is_asked = |index: PathBuf| {
        let keep = expect_stay(settings, incarnation, &index)?;
        keep.mark.then_some(()).ok_or_else(|| "the data here are not a follower's".into())
    };
    let seen = verify::serve(settings, is_asked, &reached, patience, &chunk).await?;
    Ok(PeerAnswer::Checksum { seen })
}

/// The incarnation of the data here.
fn present(settings: &WorkerSettings, index: &Path) -> Result<Incarnation, String> {
    kept(settings, index).map(|keep| keep.incarnation)
}

/// What is kept of the data here.
fn kept(settings: &WorkerSettings, index: &Path) -> Result<Keep, String> {
    let kept = KeepFiles::new(&settings.datadir, &settings.state_dir).of_data(Some(index));
    match kept.map_err(|fault| fault.to_string())? {
        Kept::Agreed(keep) => Ok(keep),
        Kept::Missing => Err("the data here have no name".into()),
        Kept::LogBegan(_) => Err("the log of the data here began anew".into()),
        Kept::Disagree { .. } => Err("the data here were exchanged".into()),
    }
}

/// D8: only the recorded writer in its recorded incarnation answers for its log.
fn expect_incarnation(
    settings: &WorkerSettings,
    incarnation: Incarnation,
    index: &Path,
) -> Result<(), String> {
    expect_stay(settings, incarnation, index).map(drop)
}

/// The data here, if they are this stay.
pub(crate) fn expect_stay(
    settings: &WorkerSettings,
    incarnation: Incarnation,
    index: &Path,
) -> Result<Keep, String> {
    let keep = kept(settings, index)?;
    if keep.incarnation == incarnation {
        return Ok(keep);
    }
    Err(format!("the data here are {}, not {incarnation}", keep.incarnation))
}

/// Where the server's log index is.
pub(crate) async fn log_index(settings: &WorkerSettings) -> Result<PathBuf, String> {
    let mut client = own::connect(settings, BOUND).await.map_err(|fault| fault.to_string())?;
    log_index_by(&mut client).await
}

/// The same, asked on this connection.
pub(crate) async fn log_index_by(client: &mut Client) -> Result<PathBuf, String> {
    let answer =
        client.one("SELECT @@log_bin_index", BOUND).await.map_err(|fault| fault.to_string())?;
    answer.scalar().map(PathBuf::from).ok_or_else(|| "the server keeps no binary log".into())
}

/// File work beside the loop.
pub(crate) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|fault| fault.to_string()),
        Err(fault) => Err(fault.to_string()),
    }
}
