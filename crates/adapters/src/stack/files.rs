//! Files, links and trees that are whole or not there, and durable before anybody acts on them.
//!
//! Each function that changes something passes [`crash::point`] before and after each system call that does: tests
//! end the process there.

use super::trouble::Trouble;
use crate::{durable, run};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What stands at a path, without following a link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Stand {
    Nothing,
    Link(PathBuf),
    Directory,
    /// A file, or anything else.
    File,
}

pub(super) fn stand(path: &Path) -> Result<Stand, Trouble> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if is_absent(&error) => return Ok(Stand::Nothing),
        Err(error) => return Err(Trouble::at("look at", path)(error)),
    };
    if found.is_symlink() {
        let to = fs::read_link(path).map_err(Trouble::at("read the link", path))?;
        return Ok(Stand::Link(to));
    }
    Ok(if found.is_dir() { Stand::Directory } else { Stand::File })
}

pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Who owns a file, and who may use it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Rights {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Rights {
    pub(super) const ROOTS: Rights = Rights { mode: 0o644, uid: 0, gid: 0 };

    pub(super) fn of(found: &fs::Metadata) -> Rights {
        Rights { mode: found.mode() & 0o7777, uid: found.uid(), gid: found.gid() }
    }

    fn give(self, path: &Path) -> io::Result<()> {
        let now = Rights::of(&fs::symlink_metadata(path)?);
        if (now.uid, now.gid) != (self.uid, self.gid) {
            chown(path, Some(self.uid), Some(self.gid))?;
        }
        // After the owner: changing it takes the set-user-ID bit away.
        fs::set_permissions(path, Permissions::from_mode(self.mode))
    }
}

/// The name under which something is made before it takes its place.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{suffix}"))
}

/// Writes beside the file, syncs, renames over it, syncs the directory.
pub(super) fn write(path: &Path, bytes: &[u8], rights: Rights) -> Result<(), Trouble> {
    write_dated(path, bytes, rights, None)
}

/// The same, and with this time of change.
pub(super) fn write_dated(
    path: &Path,
    bytes: &[u8],
    rights: Rights,
    changed: Option<std::time::SystemTime>,
) -> Result<(), Trouble> {
    let draft = beside(path, "regent-new");
    let written = || {
        crash::point();
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        crash::point();
        file.write_all(bytes)?;
        rights.give(&draft)?;
        if let Some(changed) = changed {
            file.set_modified(changed)?;
        }
        file.sync_all()?;
        crash::point();
        fs::rename(&draft, path)
    };
    written().map_err(Trouble::at("write", path))?;
    crash::point();
    sync_parent(path)
}

/// What was done to names in its directory outlives a power cut.
pub(super) fn sync_parent(path: &Path) -> Result<(), Trouble> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    durable::sync_directory(directory).map_err(Trouble::at("sync", directory))
}

/// Gives it another name, which nothing has.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    crash::point();
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => {}
        // A file system that cannot do it in one (some on a network).
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            if fs::symlink_metadata(to).is_ok() {
                return Err(ErrorKind::AlreadyExists.into());
            }
            fs::rename(from, to)?;
        }
        Err(error) => return Err(error.into()),
    }
    crash::point();
    Ok(())
}

/// Makes a symbolic link, in the place of another one or of nothing, at once.
pub(super) fn link(path: &Path, to: &Path) -> Result<(), Trouble> {
    link_loosely(path, to)?;
    sync_parent(path)
}

/// The same; a power cut may bring back what was there.
pub(super) fn link_loosely(path: &Path, to: &Path) -> Result<(), Trouble> {
    let draft = beside(path, "regent-link");
    let made = || {
        remove_file(&draft)?;
        crash::point();
        symlink(to, &draft)?;
        crash::point();
        fs::rename(&draft, path)
    };
    made().map_err(Trouble::at("make the link", path))?;
    crash::point();
    Ok(())
}

/// Removes a file or link, if it is there.
pub(super) fn remove_file(path: &Path) -> io::Result<()> {
    crash::point();
    match fs::remove_file(path) {
        Ok(()) => crash::point(),
        Err(error) if is_absent(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Removes whatever is there, never through a link.
pub(super) fn remove_tree(path: &Path) -> Result<(), Trouble> {
    let removed = match stand(path)? {
        Stand::Nothing => return Ok(()),
        Stand::Link(_) | Stand::File => remove_file(path),
        Stand::Directory => {
            crash::half(path);
            fs::remove_dir_all(path)
        }
    };
    removed.map_err(Trouble::at("remove", path))?;
    crash::point();
    sync_parent(path)
}

/// Copies a tree with everything that cp(1) can keep (owner, mode, times, links, attributes, access lists), to a
/// name that nothing has: whole and synced, or not there.
pub(super) fn copy_tree(from: &Path, to: &Path, bound: Duration) -> Result<(), Trouble> {
    let draft = beside(to, "regent-copy");
    remove_tree(&draft)?;
    let words = [from, &draft].map(|path| path.to_string_lossy().into_owned());
    crash::point();
    run::run("cp", &["-a", "-T", "--", &words[0], &words[1]], "", bound)
        .map_err(Trouble::at("copy", from))?;
    crash::point();
    let parent = to.parent().unwrap_or(Path::new("/"));
    let synced = File::open(parent).and_then(|at| Ok(rustix::fs::syncfs(at)?));
    synced.map_err(Trouble::at("sync", parent))?;
    rename(&draft, to).map_err(Trouble::at("put in place", to))?;
    sync_parent(to)
}

/// Moves a tree to a name on the same file system that nothing has. Where the directory cannot be renamed (the lower
/// layer of an overlay) it is copied whole first, and then removed; `true`: the copy is there, what is left of the
/// original is only being removed.
pub(super) fn move_tree(from: &Path, to: &Path, bound: Duration) -> Result<(), Trouble> {
    match rename(from, to) {
        Ok(()) => sync_parent(to),
        Err(error) if error.raw_os_error() == Some(libc::EXDEV) => {
            copy_tree(from, to, bound)?;
            remove_tree(from)
        }
        Err(error) => Err(Trouble::at("move aside", from)(error)),
    }
}

/// A directory of this owner and mode, whole at once; its parents are made as `like` says.
pub(super) fn make_directory(path: &Path, rights: Rights) -> Result<(), Trouble> {
    let draft = beside(path, "regent-new");
    let made = || {
        match fs::create_dir(&draft) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        crash::point();
        rights.give(&draft)?;
        rename(&draft, path)
    };
    made().map_err(Trouble::at("make the directory", path))?;
    sync_parent(path)
}

/// A whole small file with what belongs to it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kept {
    Absent,
    Link { to: PathBuf },
    File { bytes: Bytes, rights: Rights },
}

/// Bytes; readable in the record when they are a text.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Bytes {
    Text(String),
    Raw(Vec<u8>),
}

impl Bytes {
    pub(super) fn new(bytes: Vec<u8>) -> Bytes {
        String::from_utf8(bytes).map_or_else(|e| Bytes::Raw(e.into_bytes()), Bytes::Text)
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Bytes::Text(text) => text.as_bytes(),
            Bytes::Raw(raw) => raw,
        }
    }
}

impl Kept {
    pub(super) fn of(path: &Path) -> Result<Kept, Trouble> {
        Ok(match stand(path)? {
            Stand::Nothing => Kept::Absent,
            Stand::Link(to) => Kept::Link { to },
            Stand::Directory | Stand::File => {
                let found = fs::symlink_metadata(path).map_err(Trouble::at("look at", path))?;
                let bytes = fs::read(path).map_err(Trouble::at("read", path))?;
                Kept::File { bytes: Bytes::new(bytes), rights: Rights::of(&found) }
            }
        })
    }

    /// Makes the path as it was.
    pub(super) fn put_back(&self, path: &Path) -> Result<(), Trouble> {
        match self {
            Kept::Absent => {
                remove_file(path).map_err(Trouble::at("remove", path))?;
                sync_parent(path)
            }
            Kept::Link { to } => link(path, to),
            Kept::File { bytes, rights } => write(path, bytes.as_slice(), *rights),
        }
    }
}

/// The same file elsewhere: bytes, owner, mode and time of change.
pub(super) fn copy_file(from: &Path, to: &Path) -> Result<(), Trouble> {
    let bytes = fs::read(from).map_err(Trouble::at("read", from))?;
    let found = fs::metadata(from).map_err(Trouble::at("look at", from))?;
    write_dated(to, &bytes, Rights::of(&found), found.modified().ok())
}

/// The missing directories above `path`, below `root`, each with the rights of its counterpart.
pub(super) fn make_parents(
    path: &Path,
    root: &Path,
    counterpart: impl Fn(&Path) -> Option<PathBuf>,
) -> Result<(), Trouble> {
    let mut missing = Vec::new();
    for above in path.ancestors().skip(1) {
        if above == root || above.is_dir() {
            break;
        }
        missing.push(above.to_owned());
    }
    for directory in missing.into_iter().rev() {
        let like = counterpart(&directory).and_then(|like| fs::metadata(like).ok());
        let rights = like.map_or(Rights { mode: 0o755, ..Rights::ROOTS }, |like| Rights::of(&like));
        make_directory(&directory, rights)?;
    }
    Ok(())
}

/// Takes away what an interrupted call left beside this path.
pub(super) fn tidy(path: &Path) -> Result<(), Trouble> {
    for suffix in ["regent-new", "regent-link", "regent-copy"] {
        remove_tree(&beside(path, suffix))?;
    }
    Ok(())
}

/// A free name for what stood at `path`.
pub(super) fn free_name(path: &Path, suffix: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let numbered = (2u32..).map(|n| path.with_file_name(format!("{name}.{suffix}.{n}")));
    let mut names =
        std::iter::once(path.with_file_name(format!("{name}.{suffix}"))).chain(numbered);
    let free = |path: &PathBuf| fs::symlink_metadata(path).is_err();
    // Some number is free.
    names.find(free).unwrap_or_default()
}

/// Where tests end the process; nothing otherwise.
pub(super) mod crash {
    #[cfg(not(test))]
    pub(in crate::stack) fn point() {}
    #[cfg(not(test))]
    pub(in crate::stack) fn half(_: &std::path::Path) {}

    #[cfg(test)]
    pub(in crate::stack) use testing::{LEFT, half, point};

    #[cfg(test)]
    mod testing {
        use std::path::Path;
        use std::sync::atomic::{AtomicI64, Ordering};

        /// How many points are passed before the process ends; negative: it does not.
        pub(in crate::stack) static LEFT: AtomicI64 = AtomicI64::new(-1);

        pub(in crate::stack) fn point() {
            if LEFT.load(Ordering::Relaxed) >= 0 && LEFT.fetch_sub(1, Ordering::Relaxed) == 0 {
                let _ = rustix::process::kill_process(
                    rustix::process::getpid(),
                    rustix::process::Signal::KILL,
                );
                std::thread::sleep(std::time::Duration::from_secs(60));
            }
        }

        /// A directory that is being removed is half there.
        pub(in crate::stack) fn half(path: &Path) {
            if LEFT.load(Ordering::Relaxed) == 0 {
                let first = std::fs::read_dir(path).ok().and_then(|mut all| all.next());
                if let Some(Ok(first)) = first {
                    let _ = std::fs::remove_file(first.path());
                }
            }
            point();
        }
    }
}
