//! What is kept of the data here, and where the server's log is.

use crate::database::keep::{Keep, KeepFiles, Kept};
use crate::database::own;
use crate::database::settings::WorkerSettings;
use crate::database::sql::Client;
use regent_core::id::Incarnation;
use std::path::{Path, PathBuf};
use std::time::Duration;

const BOUND: Duration = Duration::from_secs(2);

/// What is kept of the data here.
pub(crate) fn kept(settings: &WorkerSettings, index: &Path) -> Result<Keep, String> {
    let kept = KeepFiles::new(&settings.datadir, &settings.state_dir).of_data(Some(index));
    match kept.map_err(|fault| fault.to_string())? {
        Kept::Agreed(keep) => Ok(keep),
        Kept::Missing => Err("the data here have no name".into()),
        Kept::LogBegan(_) => Err("the log of the data here began anew".into()),
        Kept::Disagree { .. } => Err("the data here were exchanged".into()),
    }
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
