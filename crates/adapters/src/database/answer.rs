//! How the questions of another node's database worker are answered.
//!
//! Answers come from the log files and the kept files themselves, beside the steps, on connections of their own.
//! They change nothing but a missing replication account, and that only while clients may write.

use crate::database::account;
use crate::database::binlog::Log;
use crate::database::gtid::Gtid;
use crate::database::local::{aside, expect_stay, kept, log_index};
use crate::database::needs;
use crate::database::own;
use crate::database::peer::{FollowInfo, PeerAnswer, PeerRequest};
use crate::database::settings::WorkerSettings;
use crate::database::site;
use crate::database::sql::{Client, SqlError};
use crate::database::verify::{self, Look};
use regent_core::id::Incarnation;
use std::path::{Path, PathBuf};
use std::time::Duration;

const BOUND: Duration = Duration::from_secs(2);
/// What a copy takes is told if it is found out within this.
const WALK_MAX: Duration = Duration::from_secs(1);

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

/// D8: only the recorded writer in its recorded incarnation answers for its log.
fn expect_incarnation(
    settings: &WorkerSettings,
    incarnation: Incarnation,
    index: &Path,
) -> Result<(), String> {
    expect_stay(settings, incarnation, index).map(drop)
}
