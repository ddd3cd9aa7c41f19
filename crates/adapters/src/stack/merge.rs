//! Brings what is new in a local directory to the shared data, where nothing newer is ever overwritten.

use super::files::{self, Stand, stand};
use super::hands::left;
use super::trouble::Trouble;
use std::fs;
use std::path::Path;
use std::time::Instant;

/// The name of the older of two that differ.
const LOSER: &str = "before-merge";

/// Merges a local directory or file into its counterpart; returns what is worth telling. Repeating it changes nothing.
pub(super) fn merge(from: &Path, to: &Path, deadline: Instant) -> Result<Vec<String>, Trouble> {
    let mut told = Vec::new();
    one(from, to, deadline, &mut told)?;
    Ok(told)
}

fn one(from: &Path, to: &Path, deadline: Instant, told: &mut Vec<String>) -> Result<(), Trouble> {
    match (stand(from)?, stand(to)?) {
        (Stand::Nothing, _) => Ok(()),
        (_, Stand::Nothing) => files::copy_tree(from, to, left(deadline)),
        (Stand::Directory, Stand::Directory) => {
            let entries = fs::read_dir(from).map_err(Trouble::at("read", from))?;
            for entry in entries {
                let name = entry.map_err(Trouble::at("read", from))?.file_name();
                one(&from.join(&name), &to.join(&name), deadline, told)?;
            }
            Ok(())
        }
        (Stand::Link(one), Stand::Link(other)) if one == other => Ok(()),
        (Stand::File, Stand::File) if same(from, to)? => Ok(()),
        (Stand::File | Stand::Link(_), Stand::File | Stand::Link(_))
            if changed(from)? > changed(to)? =>
        {
            let loser = files::free_name(to, LOSER);
            told.push(format!("{} was older: kept as {}", to.display(), loser.display()));
            files::move_tree(to, &loser, left(deadline))?;
            files::copy_tree(from, to, left(deadline))
        }
        // Older, or of another kind: what is shared stays.
        (Stand::Directory | Stand::File | Stand::Link(_), _) => {
            let loser = files::free_name(to, LOSER);
            if same_kept(from, to)? {
                return Ok(());
            }
            told.push(format!("{} is kept as {}", from.display(), loser.display()));
            files::copy_tree(from, &loser, left(deadline))
        }
    }
}

/// An interrupted merge kept it already.
fn same_kept(from: &Path, to: &Path) -> Result<bool, Trouble> {
    let name = to.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let parent = to.parent().unwrap_or(Path::new("/"));
    for entry in fs::read_dir(parent).map_err(Trouble::at("read", parent))?.flatten() {
        let kept = entry.file_name().to_string_lossy().starts_with(&format!("{name}.{LOSER}"));
        let both = (stand(from)?, stand(&entry.path())?);
        if kept && both == (Stand::File, Stand::File) && same(from, &entry.path())? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn changed(path: &Path) -> Result<std::time::SystemTime, Trouble> {
    let found = fs::symlink_metadata(path).and_then(|found| found.modified());
    found.map_err(Trouble::at("look at", path))
}

fn same(one: &Path, other: &Path) -> Result<bool, Trouble> {
    let look = |path: &Path| fs::symlink_metadata(path).map_err(Trouble::at("look at", path));
    let (a, b) = (look(one)?, look(other)?);
    if !a.is_file() || !b.is_file() || a.len() != b.len() {
        return Ok(false);
    }
    let read = |path: &Path| fs::read(path).map_err(Trouble::at("read", path));
    Ok(read(one)? == read(other)?)
}
