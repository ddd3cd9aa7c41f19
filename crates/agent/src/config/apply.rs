//! The file side of a change that goes to all nodes in two phases: prepared on each, then committed on each, or on
//! none. At every instant one whole valid file is in place, whatever is killed.
//!
//! ```text
//!  regent.toml                      what holds
//!  regent.toml.next.part            being written: means nothing
//!  regent.toml.next                 prepared: whole, valid, synced
//!  regent.toml.last                 what held before
//!
//!  prepare   write .next.part, sync, rename to .next, sync the directory
//!  commit    link regent.toml to .last, rename .next over regent.toml, sync the directory
//!  abort     remove .next
//! ```
//! After a restart [`pending`] tells what was prepared, and [`resolve`] which way is on: if any peer has the new file
//! it is committed, else aborted. A change is told to be done only after every node committed, so nobody was promised
//! what is aborted.

use super::parse;
use regent_adapters::durable::sync_directory;
use regent_config::digest;
use regent_config::problem::Problems;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Where a configuration and its preparations stand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Files {
    file: PathBuf,
}

/// A prepared change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prepared {
    /// The digest of the file that holds.
    pub old: u64,
    /// The digest of the prepared one.
    pub new: u64,
}

/// Which way is on after a restart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// Somebody has the new file: it was decided.
    Commit,
    /// Nobody has it, and everybody was asked: it was not decided.
    Abort,
    /// Somebody could not be asked.
    Ask,
}

/// Why a step was not taken. The file that holds is untouched.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The file is not the one that the change was made from.
    #[error(
        "the configuration here is {found:016x}, and the change was made from {expected:016x}: somebody edited it by hand\n  \
         what to do: regent config diff, then make them the same"
    )]
    Differs {
        /// The digest that the change was made from.
        expected: u64,
        /// The digest of the file here.
        found: u64,
    },
    /// The new text is not valid here.
    #[error("the new configuration is refused here:\n{0}")]
    Invalid(Problems),
    /// Another change is prepared.
    #[error(
        "another change ({new:016x}) is prepared here and not yet decided\n  what to do: ask again in a few seconds"
    )]
    Busy {
        /// The digest of what is prepared.
        new: u64,
    },
    /// There is nothing to commit or to take back.
    #[error("no change {0:016x} is prepared here")]
    Nothing(u64),
    /// The disk refused.
    #[error("failed to {what} {}: {source}", path.display())]
    Disk {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// What is done to the disk, one durable step each; a test dies between any two.
trait Disk {
    fn write(&mut self, path: &Path, text: &str, mode: u32) -> io::Result<()>;
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;
    fn link(&mut self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&mut self, path: &Path) -> io::Result<()>;
    fn sync(&mut self, directory: &Path) -> io::Result<()>;
}

struct Real;

impl Disk for Real {
    fn write(&mut self, path: &Path, text: &str, mode: u32) -> io::Result<()> {
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn link(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn sync(&mut self, directory: &Path) -> io::Result<()> {
        sync_directory(directory)
    }
}

impl Files {
    /// Those of the configuration at this path.
    pub fn of(file: &Path) -> Files {
        Files { file: file.into() }
    }

    fn beside(&self, end: &str) -> PathBuf {
        let mut name = self.file.as_os_str().to_owned();
        name.push(end);
        name.into()
    }

    fn next(&self) -> PathBuf {
        self.beside(".next")
    }

    fn last(&self) -> PathBuf {
        self.beside(".last")
    }

    fn directory(&self) -> &Path {
        match self.file.parent() {
            Some(parent) if parent != Path::new("") => parent,
            Some(_) | None => Path::new("."),
        }
    }

    fn present(&self) -> Result<String, ApplyError> {
        fs::read_to_string(&self.file).map_err(disk("read", &self.file))
    }
}

fn disk(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ApplyError {
    let path = path.to_owned();
    move |source| ApplyError::Disk { what, path, source }
}

/// First phase: the new text lies beside the old one, whole and synced. Refused if the file here is not the one that
/// the change was made from, or if another change is prepared.
pub fn prepare(files: &Files, old: u64, new: &str) -> Result<Prepared, ApplyError> {
    prepare_on(&mut Real, files, old, new)
}

fn prepare_on(
    on: &mut dyn Disk,
    files: &Files,
    old: u64,
    new: &str,
) -> Result<Prepared, ApplyError> {
    let found = digest(&files.present()?);
    if found != old {
        return Err(ApplyError::Differs { expected: old, found });
    }
    let prepared = Prepared { old, new: digest(new) };
    if let Some(other) = pending(files)? {
        return match other.new == prepared.new {
            true => Ok(prepared),
            false => Err(ApplyError::Busy { new: other.new }),
        };
    }
    parse(&files.file.display().to_string(), new).map_err(ApplyError::Invalid)?;
    lay(on, files, new)?;
    Ok(prepared)
}

/// Puts a whole text where the next one stands.
fn lay(on: &mut dyn Disk, files: &Files, text: &str) -> Result<(), ApplyError> {
    let (part, next) = (files.beside(".next.part"), files.next());
    let mode = fs::metadata(&files.file).map_or(0o644, |m| m.permissions().mode() & 0o777);
    on.write(&part, text, mode).map_err(disk("write", &part))?;
    on.rename(&part, &next).map_err(disk("rename", &part))?;
    on.sync(files.directory()).map_err(disk("sync", files.directory()))
}

/// Second phase: the prepared text holds, the old one is kept as `.last`. Done again it is done already.
pub fn commit(files: &Files, prepared: Prepared) -> Result<(), ApplyError> {
    commit_on(&mut Real, files, prepared)
}

fn commit_on(on: &mut dyn Disk, files: &Files, prepared: Prepared) -> Result<(), ApplyError> {
    let found = digest(&files.present()?);
    let waiting = pending(files)?.is_some_and(|p| p.new == prepared.new);
    if found == prepared.new && !waiting {
        return Ok(());
    }
    if found != prepared.old {
        return Err(ApplyError::Differs { expected: prepared.old, found });
    }
    if !waiting {
        return Err(ApplyError::Nothing(prepared.new));
    }
    let (last, part) = (files.last(), files.beside(".last.part"));
    on.remove(&part).map_err(disk("remove", &part))?;
    on.link(&files.file, &part).map_err(disk("link", &files.file))?;
    on.rename(&part, &last).map_err(disk("rename", &part))?;
    // Both names of one file: the rename did nothing if .last was this file already.
    on.remove(&part).map_err(disk("remove", &part))?;
    on.rename(&files.next(), &files.file).map_err(disk("rename", &files.next()))?;
    on.sync(files.directory()).map_err(disk("sync", files.directory()))
}

/// The change is off: what was prepared is gone, and what holds, holds.
pub fn abort(files: &Files) -> Result<(), ApplyError> {
    abort_on(&mut Real, files)
}

fn abort_on(on: &mut dyn Disk, files: &Files) -> Result<(), ApplyError> {
    for path in [files.next(), files.beside(".next.part")] {
        on.remove(&path).map_err(disk("remove", &path))?;
    }
    on.sync(files.directory()).map_err(disk("sync", files.directory()))
}

/// Takes a committed change back: what held before it holds again. For a coordinator whose other nodes could not
/// commit. Done again it is done already.
pub fn roll_back(files: &Files, prepared: Prepared) -> Result<(), ApplyError> {
    roll_back_on(&mut Real, files, prepared)
}

fn roll_back_on(on: &mut dyn Disk, files: &Files, prepared: Prepared) -> Result<(), ApplyError> {
    let found = digest(&files.present()?);
    if found == prepared.old {
        return abort_on(on, files);
    }
    if found != prepared.new {
        return Err(ApplyError::Differs { expected: prepared.new, found });
    }
    let last = files.last();
    let text = fs::read_to_string(&last).map_err(disk("read", &last))?;
    if digest(&text) != prepared.old {
        return Err(ApplyError::Nothing(prepared.old));
    }
    lay(on, files, &text)?;
    on.rename(&files.next(), &files.file).map_err(disk("rename", &files.next()))?;
    on.sync(files.directory()).map_err(disk("sync", files.directory()))
}

/// What is prepared and not decided, after a restart or at any time.
pub fn pending(files: &Files) -> Result<Option<Prepared>, ApplyError> {
    let next = match fs::read_to_string(files.next()) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(disk("read", &files.next())(error)),
    };
    let old = digest(&files.present()?);
    Ok(Some(Prepared { old, new: digest(&next) }))
}

/// The way on: `peers` are the digests of the other nodes' files, none for one that did not answer.
pub fn resolve(prepared: Prepared, peers: &[Option<u64>]) -> Way {
    if prepared.old == prepared.new {
        return Way::Abort;
    }
    if peers.contains(&Some(prepared.new)) {
        return Way::Commit;
    }
    if peers.contains(&None) { Way::Ask } else { Way::Abort }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    const OLD: &str = include_str!("../../../config/tests/config/good.toml");

    fn new_text() -> String {
        format!("{OLD}[policy]\ntries = 5\n")
    }

    /// Dies after so many steps: the next one is half done if it can be, and nothing follows.
    struct Dying {
        left: usize,
    }

    impl Dying {
        fn step(&mut self) -> io::Result<()> {
            self.left = self.left.checked_sub(1).ok_or_else(|| io::Error::other("died"))?;
            Ok(())
        }
    }

    impl Disk for Dying {
        fn write(&mut self, path: &Path, text: &str, mode: u32) -> io::Result<()> {
            if let Err(died) = self.step() {
                fs::write(path, &text[..text.len() / 2])?;
                return Err(died);
            }
            Real.write(path, text, mode)
        }
        fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
            self.step()?;
            Real.rename(from, to)
        }
        fn link(&mut self, from: &Path, to: &Path) -> io::Result<()> {
            self.step()?;
            Real.link(from, to)
        }
        fn remove(&mut self, path: &Path) -> io::Result<()> {
            self.step()?;
            Real.remove(path)
        }
        fn sync(&mut self, directory: &Path) -> io::Result<()> {
            self.step()?;
            Real.sync(directory)
        }
    }

    fn files(name: &str) -> (Scratch, Files) {
        let scratch = Scratch::new(name);
        let file = scratch.path().join("regent.toml");
        fs::write(&file, OLD).unwrap();
        (scratch, Files::of(&file))
    }

    fn whole(files: &Files) -> u64 {
        let text = files.present().unwrap();
        parse("regent.toml", &text).unwrap();
        digest(&text)
    }

    #[test]
    fn a_change_is_prepared_and_committed_and_the_old_file_is_kept() {
        let (_scratch, files) = files("apply-whole");
        let prepared = prepare(&files, digest(OLD), &new_text()).unwrap();
        assert_eq!(pending(&files).unwrap(), Some(prepared));
        assert_eq!(whole(&files), prepared.old);
        commit(&files, prepared).unwrap();
        commit(&files, prepared).unwrap();
        assert_eq!((whole(&files), pending(&files).unwrap()), (prepared.new, None));
        assert_eq!(fs::read_to_string(files.last()).unwrap(), OLD);
        roll_back(&files, prepared).unwrap();
        roll_back(&files, prepared).unwrap();
        assert_eq!((whole(&files), pending(&files).unwrap()), (prepared.old, None));
    }

    #[test]
    fn a_file_that_somebody_edited_is_not_overwritten() {
        let (_scratch, files) = files("apply-edited");
        let prepared = prepare(&files, digest(OLD), &new_text()).unwrap();
        fs::write(&files.file, format!("{OLD}# by hand\n")).unwrap();
        assert!(matches!(commit(&files, prepared), Err(ApplyError::Differs { .. })));
        abort(&files).unwrap();
        let again = prepare(&files, digest(OLD), &new_text());
        assert!(matches!(again, Err(ApplyError::Differs { .. })), "{again:?}");
        assert!(files.present().unwrap().ends_with("# by hand\n"));
    }

    #[test]
    fn an_invalid_text_and_a_second_change_are_refused() {
        let (_scratch, files) = files("apply-refused");
        let invalid = prepare(&files, digest(OLD), "cluster = 1");
        assert!(matches!(invalid, Err(ApplyError::Invalid(_))), "{invalid:?}");
        assert_eq!(pending(&files).unwrap(), None);
        prepare(&files, digest(OLD), &new_text()).unwrap();
        let second = prepare(&files, digest(OLD), &format!("{OLD}[policy]\ntries = 6\n"));
        assert!(matches!(second, Err(ApplyError::Busy { .. })), "{second:?}");
        prepare(&files, digest(OLD), &new_text()).unwrap();
    }

    #[test]
    fn a_death_between_any_two_steps_leaves_one_whole_file_and_a_way_on() {
        let (old, new) = (digest(OLD), digest(&new_text()));
        let prepared = Prepared { old, new };
        for left in 0..32 {
            let (_scratch, files) = files(&format!("apply-death-{left}"));
            let mut disk = Dying { left };
            let done = prepare_on(&mut disk, &files, old, &new_text())
                .and_then(|prepared| commit_on(&mut disk, &files, prepared));
            let held = whole(&files);
            assert!(held == old || held == new, "after {left} steps");
            if done.is_ok() {
                assert_eq!(held, new);
                assert!(left >= 8, "only {left} deaths were tried");
                return;
            }
            // The peers decided for it, or they did not: both ways are open until this node has the new file.
            let decided = left % 2 == 0;
            match pending(&files).unwrap() {
                Some(pending) if decided => {
                    assert_eq!((pending, resolve(pending, &[Some(new)])), (prepared, Way::Commit));
                    commit(&files, pending).unwrap();
                    assert_eq!(whole(&files), new, "after {left} steps");
                }
                Some(pending) => {
                    assert_eq!(resolve(pending, &[Some(old), Some(old)]), Way::Abort);
                    abort(&files).unwrap();
                    assert_eq!(whole(&files), old, "after {left} steps");
                }
                // Not prepared, or committed already.
                None => {}
            }
            assert_eq!(pending(&files).unwrap(), None, "after {left} steps");
        }
        panic!("a change took more than 32 steps");
    }

    #[test]
    fn a_death_while_taking_a_change_back_leaves_one_whole_file() {
        let (old, new) = (digest(OLD), digest(&new_text()));
        for left in 0..8 {
            let (_scratch, files) = files(&format!("apply-back-{left}"));
            let prepared = prepare(&files, old, &new_text()).unwrap();
            commit(&files, prepared).unwrap();
            roll_back_on(&mut Dying { left }, &files, prepared).ok();
            assert!([old, new].contains(&whole(&files)));
            roll_back(&files, prepared).unwrap();
            assert_eq!((whole(&files), pending(&files).unwrap()), (old, None));
        }
    }

    #[test]
    fn who_cannot_ask_everybody_waits() {
        let prepared = Prepared { old: 1, new: 2 };
        assert_eq!(resolve(prepared, &[Some(1), None]), Way::Ask);
        assert_eq!(resolve(prepared, &[Some(2), None]), Way::Commit);
        assert_eq!(resolve(prepared, &[Some(1), Some(1)]), Way::Abort);
    }
}
