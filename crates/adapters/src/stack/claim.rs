//! The claim on the shared data, the token that proves the directory to be the same one, and the units' permit.

use super::files::{self, Rights, crash, is_absent};
use super::settings::StackSettings;
use super::trouble::Trouble;
use regent_core::id::{ClusterId, Epoch};
use regent_core::stack::{Claim, Claimant};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Of the shared directory, ours.
pub(super) const OURS: &str = ".regent";
/// What every block device reads at a time, and where a buffer for that begins.
const BLOCK: usize = 4096;

/// As written: with the node's name, for people.
#[derive(Serialize, Deserialize)]
struct Written {
    #[serde(flatten)]
    claim: Claim,
    #[serde(default)]
    name: String,
}

/// What keeps a claim from being made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Refused {
    /// It is somebody else's.
    Foreign(String),
    /// It could not be read or written.
    Trouble(Trouble),
}

impl From<Trouble> for Refused {
    fn from(trouble: Trouble) -> Refused {
        Refused::Trouble(trouble)
    }
}

pub(super) fn place(data: &Path) -> PathBuf {
    data.join(OURS).join("claim")
}

/// The claim that is there, and the name of its node.
pub(super) fn read(data: &Path) -> Result<Option<(Claim, String)>, Trouble> {
    let path = place(data);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(Trouble::at("read", &path)(error)),
    };
    let written: Written = serde_json::from_slice(&bytes).map_err(|error| {
        Trouble::new(format!(
            "read {}: {error}; make sure that no other node uses the data, then remove it",
            path.display()
        ))
    })?;
    Ok(Some((written.claim, written.name)))
}

/// The same for a survey: whose it is, and since when.
pub(super) fn look(data: &Path) -> Option<(Claim, Claimant)> {
    let (claim, name) = read(data).ok().flatten()?;
    let written = fs::metadata(place(data)).and_then(|of| of.modified()).ok()?;
    let since = written.duration_since(UNIX_EPOCH).unwrap_or_default();
    Some((claim, Claimant { name, since_ms: since.as_millis() as u64 }))
}

/// Why this claim bars a use under that grant, if it does.
pub(super) fn bars(
    claim: &Claim,
    name: &str,
    ours: &Claim,
    over: Option<ClusterId>,
) -> Option<String> {
    let who = if name.is_empty() { claim.node.to_string() } else { name.to_owned() };
    if claim.cluster != ours.cluster {
        let void = claim.clear || over == Some(claim.cluster);
        return (!void).then(|| {
            format!(
                "the shared data is claimed by {who} of another cluster, {}: deactivate it there first",
                claim.cluster
            )
        });
    }
    let newer = claim.epoch > ours.epoch || claim.epoch == ours.epoch && claim.node != ours.node;
    newer.then(|| {
        format!(
            "the shared data is claimed by {who} under the newer grant {}; this node has {}",
            claim.epoch, ours.epoch
        )
    })
}

fn ours(settings: &StackSettings, epoch: Epoch, clear: bool) -> Claim {
    Claim { cluster: settings.cluster, epoch, node: settings.node, clear }
}

/// Writes this node's claim, synced and read back.
pub(super) fn make(
    settings: &StackSettings,
    epoch: Epoch,
    over: Option<ClusterId>,
) -> Result<(), Refused> {
    read_token(&settings.data)
        .map_err(Trouble::at("read the token of", &settings.data))?
        .ok_or_else(|| Trouble::new(no_token(&settings.data)))?;
    let claim = ours(settings, epoch, false);
    if let Some((there, name)) = read(&settings.data)?
        && let Some(why) = bars(&there, &name, &claim, over)
    {
        return Err(Refused::Foreign(why));
    }
    write(settings, claim)?;
    match read(&settings.data)? {
        Some((back, _)) if back == claim => Ok(()),
        other => Err(Refused::Foreign(format!(
            "the claim on {} was written and reads back as {other:?}: another node writes it too",
            settings.data.display()
        ))),
    }
}

/// Says that the use under this grant is over; another's claim is left as it is.
pub(super) fn clear(settings: &StackSettings, epoch: Epoch) -> Result<(), Trouble> {
    match read(&settings.data)? {
        Some((there, _)) if there == ours(settings, epoch, false) => {
            write(settings, ours(settings, epoch, true))
        }
        Some(_) | None => Ok(()),
    }
}

/// This node's use of the data is written there and not over.
pub(super) fn is_ours(settings: &StackSettings) -> bool {
    read(&settings.data).is_ok_and(|there| {
        there.is_some_and(|(claim, _)| {
            claim.cluster == settings.cluster && claim.node == settings.node && !claim.clear
        })
    })
}

fn write(settings: &StackSettings, claim: Claim) -> Result<(), Trouble> {
    let path = place(&settings.data);
    let written = Written { claim, name: settings.name.clone() };
    let mut text = serde_json::to_vec(&written).map_err(Trouble::at("write", &path))?;
    text.push(b'\n');
    files::write(&path, &text, Rights::ROOTS)
}

pub(super) fn no_token(data: &Path) -> String {
    format!(
        "{} has no token ({}): it is not the shared directory that was set up, or it is not mounted",
        data.display(),
        token_place(data).display()
    )
}

fn token_place(data: &Path) -> PathBuf {
    data.join(OURS).join("token")
}

/// The token of this shared directory; none if it was never set up. A merely equal path on two hosts is the same
/// directory only if both read the same token.
pub fn read_token(data: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(token_place(data)) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|token| !token.is_empty())),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The same, from the storage itself and not from what the kernel remembers of it, where the file system can do that.
pub(super) fn read_token_anew(data: &Path) -> io::Result<Option<String>> {
    let direct = OFlags::DIRECT.bits().cast_signed();
    let opened = OpenOptions::new().read(true).custom_flags(direct).open(token_place(data));
    let mut file = match opened {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => return read_token(data),
        Err(error) => return Err(error),
    };
    let mut room = vec![0; 2 * BLOCK];
    let from = room.as_ptr().align_offset(BLOCK).min(BLOCK);
    match file.read(&mut room[from..from + BLOCK]) {
        Ok(length) => {
            let text = String::from_utf8_lossy(&room[from..from + length]).trim().to_owned();
            Ok(Some(text).filter(|token| !token.is_empty()))
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => read_token(data),
        Err(error) => Err(error),
    }
}

/// Writes this token if the directory has none; returns the one it has then.
pub fn make_token(data: &Path, random: &str) -> io::Result<String> {
    if let Some(there) = read_token(data)? {
        return Ok(there);
    }
    if !data.is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("{} is not there", data.display()),
        ));
    }
    let ours = data.join(OURS);
    match fs::create_dir(&ours) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let other = |trouble: Trouble| io::Error::other(trouble.to_string());
    files::sync_parent(&ours).map_err(other)?;
    let rights = Rights { mode: 0o600, ..Rights::ROOTS };
    files::write(&token_place(data), format!("{random}\n").as_bytes(), rights).map_err(other)?;
    Ok(random.to_owned())
}

/// Where the permit of the units is.
pub(super) fn permit(run_dir: &Path) -> PathBuf {
    run_dir.join("permit")
}

pub(super) fn give_permit(run_dir: &Path, epoch: Epoch) -> Result<(), Trouble> {
    let path = permit(run_dir);
    crash::point();
    fs::create_dir_all(run_dir).map_err(Trouble::at("make", run_dir))?;
    fs::write(&path, format!("{epoch}\n")).map_err(Trouble::at("write", &path))?;
    crash::point();
    Ok(())
}

pub(super) fn take_permit(run_dir: &Path) -> Result<(), Trouble> {
    let path = permit(run_dir);
    files::remove_file(&path).map_err(Trouble::at("remove", &path))
}
