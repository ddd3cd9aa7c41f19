//! What is laid beside a unit's own file while it is ours: under /run, so that a reboot without us gives it back.

use super::error::UnitError;
use crate::Applied;
use crate::durable;
use regent_core::time::Span;
use std::fmt::Write;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Where runtime configuration of units is.
pub(super) const DIRECTORY: &str = "/run/systemd/system";
/// A masked socket is stopped within this time.
pub(super) const STOP_MAX: Span = Span::millis(10_000);
const FILE: &str = "50-regent.conf";

/// A unit that is ours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Managed {
    unit: String,
    service: Vec<(String, String)>,
    masked: Vec<String>,
}

impl Managed {
    /// A service: systemd does not restart it, nor count its starts; a program that answers SIGTERM with 128 + 15, as
    /// Java does, ended as it was asked to.
    pub fn service(unit: &str) -> Managed {
        Managed {
            unit: unit.to_owned(),
            service: vec![
                ("Restart".into(), "no".into()),
                ("SuccessExitStatus".into(), "143".into()),
            ],
            masked: vec![],
        }
    }

    /// MariaDB (D1): also ends when it is told to, no socket starts it unasked, and its recovery takes as long as it
    /// takes: whoever starts it watches it.
    pub fn mariadb(unit: &str) -> Managed {
        let socket = unit.strip_suffix(".service").unwrap_or(unit).to_owned() + ".socket";
        Managed::service(unit)
            .with("SendSIGKILL", "yes")
            .with("TimeoutStopSec", "60s")
            .with("TimeoutStartSec", "infinity")
            .masking(&socket)
    }

    /// One more line of `[Service]`.
    pub fn with(mut self, key: &str, value: &str) -> Managed {
        self.service.push((key.to_owned(), value.to_owned()));
        self
    }

    /// One more unit that must not start it.
    pub fn masking(mut self, unit: &str) -> Managed {
        self.masked.push(unit.to_owned());
        self
    }

    fn text(&self) -> String {
        let mut text = String::from(
            "# Written by regent, which restarts this unit itself.\n\
             [Unit]\nStartLimitIntervalSec=0\n\
             # It runs until the service is handed over when this host stops.\n\
             Before=regent-handover.service\n\n[Service]\n",
        );
        for (key, value) in &self.service {
            // Writing to a String does not fail.
            let _ = writeln!(text, "{key}={value}");
        }
        text
    }
}

/// Lays it there; returns also which units are masked that were not before.
pub(super) fn apply(
    directory: &Path,
    managed: &Managed,
) -> Result<(Applied, Vec<String>), UnitError> {
    let mut applied = write(&directory.join(format!("{}.d", managed.unit)), &managed.text())?;
    let mut newly = Vec::new();
    for unit in &managed.masked {
        let link = directory.join(unit);
        if std::fs::read_link(&link).is_ok_and(|to| to == Path::new("/dev/null")) {
            continue;
        }
        std::os::unix::fs::symlink("/dev/null", &link).map_err(UnitError::file(&link))?;
        newly.push(unit.clone());
        applied = Applied::Changed;
    }
    Ok((applied, newly))
}

fn write(directory: &Path, text: &str) -> Result<Applied, UnitError> {
    let path = directory.join(FILE);
    if std::fs::read_to_string(&path).is_ok_and(|present| present == text) {
        return Ok(Applied::AlreadySo);
    }
    std::fs::create_dir_all(directory).map_err(UnitError::file(directory))?;
    // systemd never sees half of it.
    durable::replace_unsynced(&path, text.as_bytes()).map_err(UnitError::file(&path))?;
    Ok(Applied::Changed)
}

/// Takes it away.
pub(super) fn remove(directory: &Path, managed: &Managed) -> Result<Applied, UnitError> {
    let own = directory.join(format!("{}.d", managed.unit)).join(FILE);
    let mut applied = remove_file(&own)?;
    for unit in &managed.masked {
        let link = directory.join(unit);
        if std::fs::read_link(&link).is_ok_and(|to| to == Path::new("/dev/null")) {
            applied = applied.and(remove_file(&link)?);
        }
    }
    Ok(applied)
}

const GUARD: &str = "50-regent-permit.conf";

/// Where the guard of a unit stands. All instances of a template have one.
fn guard_of(directory: &Path, unit: &str) -> PathBuf {
    let template = unit.split_once('@').and_then(|(name, instance)| {
        let (_, kind) = instance.rsplit_once('.')?;
        Some(format!("{name}@.{kind}"))
    });
    directory.join(format!("{}.d", template.as_deref().unwrap_or(unit))).join(GUARD)
}

fn guard_text(permit: &Path) -> String {
    format!(
        "# Written by regent: this unit runs on the active node only, whoever starts or enables it.\n\
         [Unit]\nConditionPathExists={}\n",
        permit.display()
    )
}

/// This unit does not start without this permit, whoever asks.
pub(crate) fn is_guarded(directory: &Path, unit: &str, permit: &Path) -> bool {
    std::fs::read_to_string(guard_of(directory, unit))
        .is_ok_and(|there| there == guard_text(permit))
}

/// Makes it so, over a boot too: `directory` is one that outlives it.
pub(crate) fn guard(directory: &Path, unit: &str, permit: &Path) -> Result<Applied, UnitError> {
    if is_guarded(directory, unit, permit) {
        return Ok(Applied::AlreadySo);
    }
    let path = guard_of(directory, unit);
    let parent = path.parent().unwrap_or(directory);
    std::fs::create_dir_all(parent).map_err(UnitError::file(parent))?;
    durable::replace(&path, guard_text(permit).as_bytes(), 0o644)
        .and_then(|()| durable::sync_directory(directory))
        .map_err(UnitError::file(&path))?;
    Ok(Applied::Changed)
}

fn remove_file(path: &Path) -> Result<Applied, UnitError> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(Applied::Changed),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Applied::AlreadySo),
        Err(error) => Err(UnitError::file(path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laid_once_and_taken_away() {
        let directory = std::env::temp_dir().join(format!("dropin-{}", std::process::id()));
        let managed = Managed::mariadb("mariadb.service");
        let socket = vec!["mariadb.socket".to_owned()];
        assert_eq!(apply(&directory, &managed).unwrap(), (Applied::Changed, socket));
        assert_eq!(apply(&directory, &managed).unwrap(), (Applied::AlreadySo, vec![]));
        let text =
            std::fs::read_to_string(directory.join("mariadb.service.d/50-regent.conf")).unwrap();
        assert_eq!(
            text,
            "# Written by regent, which restarts this unit itself.\n[Unit]\n\
             StartLimitIntervalSec=0\n\
             # It runs until the service is handed over when this host stops.\n\
             Before=regent-handover.service\n\n\
             [Service]\nRestart=no\nSuccessExitStatus=143\nSendSIGKILL=yes\nTimeoutStopSec=60s\nTimeoutStartSec=infinity\n"
        );
        assert_eq!(remove(&directory, &managed).unwrap(), Applied::Changed);
        assert_eq!(remove(&directory, &managed).unwrap(), Applied::AlreadySo);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
