//! Files that must be the same on whichever node is active: `/etc/hosts`, leases, host keys.
//!
//! Up: what the store has comes to this host, what it has not goes there. While the node is active, changes go to the
//! store every few seconds. Down: once more, and the local files stay: they are the same on both hosts by design, and
//! the next activation brings newer ones. Taking down an activation that did not come to its end brings back what
//! this host had. Files that are removed are not removed elsewhere.

use super::before::Carried;
use super::claim;
use super::files::{self, Rights};
use super::hands::Hands;
use super::settings::StackSettings;
use super::trouble::Trouble;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a copy that is under way may take when they are taken down.
const COPY_MAX: Duration = Duration::from_secs(5);

/// The path of a file's copy below a directory.
fn below(directory: &Path, path: &Path) -> PathBuf {
    directory.join(path.strip_prefix("/").unwrap_or(path))
}

/// The absolute paths that exist below `root` for these patterns.
fn matching(root: &Path, patterns: &[String]) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for pattern in patterns {
        let pattern = Path::new(pattern);
        let (Some(parent), Some(last)) = (pattern.parent(), pattern.file_name()) else { continue };
        let last = last.to_string_lossy();
        let Ok(entries) = fs::read_dir(below(root, parent)) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if fits(&last, &name) && entry.file_type().is_ok_and(|kind| kind.is_file()) {
                found.insert(parent.join(entry.file_name()));
            }
        }
    }
    found
}

/// glob(7): `*`, `?` and `[...]`; a wildcard does not match a leading dot.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    fits_from(&pattern, &name)
}

fn fits_from(pattern: &[char], name: &[char]) -> bool {
    match (pattern.first(), name.first()) {
        (None, None) => true,
        (None, Some(_)) => false,
        (Some('*'), _) => {
            fits_from(&pattern[1..], name) || !name.is_empty() && fits_from(pattern, &name[1..])
        }
        (Some(_), None) => false,
        (Some('?'), Some(_)) => fits_from(&pattern[1..], &name[1..]),
        (Some('['), Some(c)) => match pattern.iter().skip(2).position(|p| *p == ']') {
            Some(at) => {
                let set = &pattern[1..at + 2];
                let (negated, set) = match set.first() {
                    Some('!' | '^') => (true, &set[1..]),
                    Some(_) | None => (false, set),
                };
                in_set(set, *c) != negated && fits_from(&pattern[at + 3..], &name[1..])
            }
            None => *c == '[' && fits_from(&pattern[1..], &name[1..]),
        },
        (Some(p), Some(c)) => p == c && fits_from(&pattern[1..], &name[1..]),
    }
}

fn in_set(set: &[char], c: char) -> bool {
    let mut at = 0;
    while at < set.len() {
        if at + 2 < set.len() && set[at + 1] == '-' {
            if (set[at]..=set[at + 2]).contains(&c) {
                return true;
            }
            at += 3;
        } else {
            if set[at] == c {
                return true;
            }
            at += 1;
        }
    }
    false
}

fn same(one: &Path, other: &Path) -> bool {
    let look = |path: &Path| {
        let found = fs::metadata(path).ok()?;
        Some((found.len(), Rights::of(&found)))
    };
    let (a, b) = (look(one), look(other));
    a.is_some() && a == b && fs::read(one).ok() == fs::read(other).ok()
}

pub(super) fn up(hands: &mut Hands, patterns: &[String], store: &Path) -> Result<(), Trouble> {
    let root = hands.places.root.clone();
    let backups = hands.settings.state_dir.join("stack/carried");
    for path in matching(store, patterns) {
        let (local, shared) = (below(&root, &path), below(store, &path));
        if same(&local, &shared) {
            continue;
        }
        if !hands.record.get().carried.contains_key(&path) {
            let before = if local.exists() {
                let backup = below(&backups, &path);
                files::make_parents(&backup, &hands.settings.state_dir, |_| None)?;
                files::copy_file(&local, &backup)?;
                Carried::Copied { backup }
            } else {
                Carried::Absent
            };
            hands.record.change(|record| {
                record.carried.insert(path.clone(), before);
            })?;
        }
        files::make_parents(&local, &root, |above| {
            Some(below(store, above.strip_prefix(&root).unwrap_or(above)))
        })?;
        files::copy_file(&shared, &local)?;
    }
    store_missing(&root, patterns, store)?;
    hands.keeper.keep(patterns, store);
    Ok(())
}

fn store_missing(root: &Path, patterns: &[String], store: &Path) -> Result<(), Trouble> {
    for path in matching(root, patterns) {
        if !below(store, &path).exists() {
            store_one(root, &path, store)?;
        }
    }
    Ok(())
}

fn store_one(root: &Path, path: &Path, store: &Path) -> Result<(), Trouble> {
    let shared = below(store, path);
    let above_store = store.parent().unwrap_or(store);
    files::make_parents(&shared, above_store, |above| {
        let inside = above.strip_prefix(store).ok()?;
        // The store itself has keys in it.
        (!inside.as_os_str().is_empty()).then(|| root.join(inside))
    })?;
    files::copy_file(&below(root, path), &shared)
}

/// Brings what changed here to the store, while this node uses the data and `goes_on` says so.
pub(super) fn store_all(
    root: &Path,
    settings: &StackSettings,
    patterns: &[String],
    store: &Path,
    goes_on: impl Fn() -> bool,
) -> Result<(), Trouble> {
    for path in matching(root, patterns) {
        if same(&below(root, &path), &below(store, &path)) {
            continue;
        }
        if !goes_on() || !claim::is_ours(settings) {
            return Ok(());
        }
        store_one(root, &path, store)?;
    }
    Ok(())
}

/// Copies what changed on the active node, and goes on doing so: another run of the agent may have begun with it.
pub(super) fn keep_up(hands: &Hands, patterns: &[String], store: &Path) -> Result<(), Trouble> {
    let settings = std::sync::Arc::clone(&hands.settings);
    store_all(&hands.places.root, &settings, patterns, store, || true)?;
    hands.keeper.keep(patterns, store);
    Ok(())
}

pub(super) fn down(
    hands: &mut Hands,
    patterns: &[String],
    store: &Path,
    was_up: bool,
) -> Result<(), Trouble> {
    hands.keeper.stop();
    if !hands.keeper.is_idle_within(COPY_MAX) {
        return Err(Trouble::new(format!("{} does not answer", store.display())));
    }
    let root = hands.places.root.clone();
    if !hands.record.get().activated {
        for (path, before) in hands.record.get().carried.clone() {
            let local = below(&root, &path);
            match before {
                Carried::Absent => {
                    files::remove_file(&local).map_err(Trouble::at("remove", &local))?;
                }
                Carried::Copied { backup } => files::copy_file(&backup, &local)?,
            }
        }
    } else if was_up && claim::is_ours(&hands.settings) {
        let settings = std::sync::Arc::clone(&hands.settings);
        store_all(&root, &settings, patterns, store, || true)?;
    }
    for path in matching(store, patterns).union(&matching(&root, patterns)) {
        files::tidy(&below(&root, path))?;
    }
    hands.record.change(|record| record.carried.clear())
}

/// The files that this host has otherwise than the store.
pub(super) fn differing(root: &Path, patterns: &[String], store: &Path) -> Vec<PathBuf> {
    let stored = matching(store, patterns);
    stored.into_iter().filter(|path| !same(&below(root, path), &below(store, path))).collect()
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn patterns_are_those_of_glob() {
        assert!(fits("ssh_host_*", "ssh_host_rsa_key.pub"));
        assert!(!fits("ssh_host_*", "ssh_config"));
        assert!(fits("*", "id_rsa") && !fits("*", ".hidden") && fits(".h*", ".hidden"));
        assert!(fits("a?c[0-9x]", "abc7") && fits("a?c[0-9x]", "abcx") && !fits("a?c[!7]", "abc7"));
        assert!(fits("hosts", "hosts") && !fits("hosts", "hosts.allow"));
    }
}
