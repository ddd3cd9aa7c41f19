//! Where the lab keeps its files, and how a control group is removed.

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Where the lab keeps images, runs and diagnostics.
pub fn base_dir() -> Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let target = exe.parent().and_then(Path::parent).context("no target directory")?;
    Ok(target.join("lab"))
}

/// Removes an empty control group with its children, deepest first.
pub fn remove_cgroup(group: &Path) {
    if let Ok(entries) = fs::read_dir(group) {
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove_cgroup(&entry.path());
            }
        }
    }
    fs::remove_dir(group).ok();
}
