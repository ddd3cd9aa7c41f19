//! Small files that are whole or not there, and durable before anybody acts on them.

use crate::room;
use regent_adapters::durable;
use std::fs;
use std::io;
use std::path::Path;

/// Writes beside the file, syncs, takes its place, and syncs the directory. On a disk without room something gives way
/// that is less needed.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    loop {
        match durable::write(path, bytes) {
            // Each time there is less that could, so it ends.
            Err(error) if room::is_full(&error) && room::give_way(directory) => {}
            ended => return ended,
        }
    }
}

/// The file's text; none if there is no file.
pub(crate) fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
