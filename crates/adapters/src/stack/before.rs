//! The durable record of what a host looked like before it was changed, and of what is up. It is written before the
//! change that it is about, so that whoever runs after a kill or a power cut can go on in either direction.

use super::files::{self, Kept};
use super::trouble::Trouble;
use crate::durable;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What is recorded.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Before {
    /// Steps that were brought up and not taken down since.
    pub(super) up: BTreeSet<String>,
    /// The activation that these belong to came to its end: taking them down is no rollback.
    pub(super) activated: bool,
    /// The grant under which this node claimed the shared data, until it is unclaimed.
    pub(super) epoch: Option<u64>,
    pub(super) host_name: Option<HostName>,
    pub(super) resolver: Option<Kept>,
    pub(super) links: BTreeMap<PathBuf, Link>,
    pub(super) carried: BTreeMap<PathBuf, Carried>,
    pub(super) units: BTreeMap<String, Unit>,
    /// Of a service that several units can do: the one that ran here last.
    pub(super) in_use: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct HostName {
    pub(super) name: String,
    /// /etc/hostname.
    pub(super) file: Kept,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Link {
    pub(super) stood: Stood,
    /// What stood there is out of the way: from here on whatever else stands there has replaced our link.
    pub(super) linked: bool,
}

/// What stood where a link is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Stood {
    Nothing,
    Link {
        to: PathBuf,
    },
    /// A directory or file, which has this name meanwhile.
    There {
        backup: PathBuf,
    },
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Carried {
    Absent,
    Copied { backup: PathBuf },
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Unit {
    pub(super) enabled: bool,
    pub(super) masked: bool,
}

/// The record on the disk.
#[derive(Clone, Debug)]
pub(super) struct Record {
    path: PathBuf,
    now: Before,
}

impl Record {
    /// As it is on the disk. One that cannot be read is an error, never an empty one: what it says is needed.
    pub(super) fn load(directory: &Path) -> Result<Record, Trouble> {
        let path = directory.join("before.json");
        let now = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(Trouble::at("read", &path))?,
            Err(error) if files::is_absent(&error) => Before::default(),
            Err(error) => return Err(Trouble::at("read", &path)(error)),
        };
        Ok(Record { path, now })
    }

    pub(super) fn get(&self) -> &Before {
        &self.now
    }

    /// Durable when this returns.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Before)) -> Result<(), Trouble> {
        let mut next = self.now.clone();
        change(&mut next);
        if next == self.now {
            return Ok(());
        }
        let text = serde_json::to_vec_pretty(&next).map_err(Trouble::at("write", &self.path))?;
        files::crash::point();
        durable::write(&self.path, &text).map_err(Trouble::at("write", &self.path))?;
        files::crash::point();
        self.now = next;
        Ok(())
    }

    pub(super) fn is_up(&self, step: &str) -> bool {
        self.now.up.contains(step)
    }
}
