//! Small files that are whole or not there.
//!
//! Each is written beside its name and takes its place. [`replace`] is for what is written now and then,
//! [`replace_unsynced`] for what a power cut may take back. [`write()`] is for what is written again and again, on
//! a disk that has become full too: the file is exchanged with what stood there, which stays beside it, and the
//! next write goes over those blocks and needs none of the disk's. Who has to rely on the first write as well makes
//! the file beside before it is needed, with blocks of its own.

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Where a file is written before it takes its place.
pub fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// Writes beside the file, syncs, takes its place, and syncs the directory. Readable by its owner alone.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = beside(path);
    // Not emptied before: its blocks are what is written over.
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(false).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    let length = bytes.len() as u64;
    // To give a file the length that it has frees what is reserved behind its end.
    if file.metadata()?.len() != length {
        file.set_len(length)?;
    }
    file.sync_all()?;
    match renameat_with(CWD, &beside, CWD, path, RenameFlags::EXCHANGE) {
        Ok(()) => {}
        // There is nothing yet to exchange it with, or the file system cannot.
        Err(Errno::NOENT | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            fs::rename(&beside, path)?;
        }
        Err(error) => return Err(error.into()),
    }
    sync_parent(path)
}

/// Writes beside the file with this mode, syncs, takes its place, and syncs the directory.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let beside = beside(path);
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(mode).open(&beside)?;
    // One that a death left there, and a mask, had another mode: it holds from the first byte.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    sync_parent(path)
}

/// Writes beside the file and takes its place, without waiting for the disk.
pub fn replace_unsynced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = beside(path);
    fs::write(&beside, bytes)?;
    fs::rename(&beside, path)
}

/// A directory's names are on the disk.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// What was done to names beside this one is on the disk.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if parent != Path::new("") => sync_directory(parent),
        Some(_) | None => sync_directory(Path::new(".")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shorter_than_what_stood_there_is_whole_as_well() {
        let folder = std::env::temp_dir().join(format!("regent-durable-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("file.json");
        for text in ["a long text, the first", "short", "", "a middling one", "x"] {
            write(&path, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(fs::read_to_string(beside(&path)).unwrap(), "a middling one");
        fs::remove_file(&path).unwrap();
        write(&path, b"again").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "again");
        fs::remove_dir_all(folder).unwrap();
    }
    #[test]
    fn what_is_replaced_has_its_mode_whatever_was_left_beside_it() {
        let folder = std::env::temp_dir().join(format!("regent-replace-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("secret");
        fs::write(beside(&path), "half of it, and more").unwrap();
        fs::set_permissions(beside(&path), fs::Permissions::from_mode(0o644)).unwrap();
        replace(&path, b"secret", 0o600).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "secret");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        replace_unsynced(&path, b"x").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "x");
        assert!(!beside(&path).exists());
        fs::remove_dir_all(folder).unwrap();
    }
}
