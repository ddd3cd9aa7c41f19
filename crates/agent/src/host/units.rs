//! systemd, once it is there: the agent does not wait for it at its start.

use regent_adapters::unit::Units;
use tokio::sync::watch;

/// The way to systemd, once it is there.
pub(super) async fn connected(mut units: watch::Receiver<Option<Units>>) -> Result<Units, String> {
    let found = units.wait_for(Option::is_some).await.map_err(|_| "the agent is ending")?;
    found.clone().ok_or_else(|| "systemd cannot be asked".into())
}

pub(super) type UnitsLater = watch::Receiver<Option<Units>>;
