//! Is there room on the shared data for what the first node brings there? A copy that does not fit fails in the middle
//! of an activation, with everything stopped.

use super::hands::Hands;
use regent_config::steps::Kind;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// What takes longer to measure is not measured: the copy itself says then that it does not fit.
const MEASURE_MAX: Duration = Duration::from_secs(30);
/// Blocks of `st_blocks`, whatever the file system's own are.
const BLOCK: u64 = 512;

/// What does not fit, in words.
pub(super) fn problem(hands: &Hands) -> Option<String> {
    let until = Instant::now() + MEASURE_MAX;
    let mut wanted = 0;
    let mut from = Vec::new();
    for step in &hands.settings.steps {
        let Kind::Link { path, target } = &step.kind else { continue };
        if fs::symlink_metadata(target).is_err() && path.exists() {
            wanted += size(path, until)?;
            from.push(path.display().to_string());
        }
    }
    if from.is_empty() {
        return None;
    }
    let data = &hands.settings.data;
    let there = rustix::fs::statvfs(data).ok()?;
    let room = there.f_bavail.saturating_mul(there.f_frsize);
    (room < wanted).then(|| {
        format!(
            "the shared directory {} has room for {}, and {} take {}: make room there",
            data.display(),
            megabytes(room),
            from.join(", "),
            megabytes(wanted)
        )
    })
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(1_000_000))
}

/// The disk's share of a tree; none if it takes too long.
fn size(path: &Path, until: Instant) -> Option<u64> {
    let mut sum = 0;
    // Where it leads is copied, if it is a link itself; links below it are copied as links.
    let mut pending = vec![fs::canonicalize(path).ok()?];
    while let Some(path) = pending.pop() {
        if Instant::now() >= until {
            return None;
        }
        // What went meanwhile takes no room.
        let Ok(found) = fs::symlink_metadata(&path) else { continue };
        sum += found.blocks() * BLOCK;
        if found.is_dir() {
            pending.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|e| e.path()));
        }
    }
    Some(sum)
}
