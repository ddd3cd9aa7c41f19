//! The two files that steer keepalived, in a directory under /run.
//!
//! `serve` holds `1` while this node's instance is to announce (MASTER), else `0` (FAULT); a missing file is `0`.
//! keepalived reads it when it was written and closed. `agent` is locked for as long as an agent lives: keepalived
//! asks once a second, and gives the address up when it found none four times (the lifetime that the native driver
//! has, by other means).

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

pub(super) const SERVE: &str = "serve";
pub(super) const LOCK: &str = "agent";

/// The files, for the one process that steers.
pub(super) struct Steer {
    serve: PathBuf,
    lock: PathBuf,
    locked: Option<File>,
    told: Option<bool>,
}

impl Steer {
    /// Makes what is missing; what the file said before stays until it is changed.
    pub(super) fn open(run: &Path) -> std::io::Result<Steer> {
        std::fs::create_dir_all(run)?;
        let mut steer =
            Steer { serve: run.join(SERVE), lock: run.join(LOCK), locked: None, told: None };
        if !steer.serve.exists() {
            steer.tell(false)?;
        }
        steer.lock()?;
        Ok(steer)
    }

    /// Locks anew if it is not locked yet: the agent before this one may have been ending still.
    pub(super) fn lock(&mut self) -> std::io::Result<()> {
        if self.locked.is_some() {
            return Ok(());
        }
        let file = OpenOptions::new().create(true).append(true).open(&self.lock)?;
        match file.try_lock() {
            Ok(()) => self.locked = Some(file),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        Ok(())
    }

    /// What the file says.
    pub(super) fn says(&self) -> bool {
        let mut text = String::new();
        let read = File::open(&self.serve).and_then(|mut file| file.read_to_string(&mut text));
        read.is_ok() && text.trim() == "1"
    }

    /// Writes it, unless this process wrote the same last and the file still says so. keepalived acts on it unasked.
    pub(super) fn tell(&mut self, serve: bool) -> std::io::Result<()> {
        if self.told == Some(serve) && self.says() == serve {
            return Ok(());
        }
        // Not truncated, so that no reader finds it empty: both texts are of one length.
        let options = OpenOptions::new().create(true).write(true).truncate(false).open(&self.serve);
        options?.write_all(if serve { b"1\n" } else { b"0\n" })?;
        self.told = Some(serve);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("regent-steer-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn it_begins_silent_and_says_what_it_was_told() {
        let run = directory("says");
        let mut steer = Steer::open(&run).unwrap();
        assert_eq!(std::fs::read_to_string(run.join(SERVE)).unwrap(), "0\n");
        steer.tell(true).unwrap();
        assert!(steer.says());
        drop(steer);
        assert!(Steer::open(&run).unwrap().says(), "the next agent finds what the last one told");
        std::fs::remove_dir_all(run).unwrap();
    }

    #[test]
    fn a_file_that_somebody_else_wrote_is_written_again() {
        let run = directory("again");
        let mut steer = Steer::open(&run).unwrap();
        steer.tell(false).unwrap();
        std::fs::write(run.join(SERVE), "1\n").unwrap();
        steer.tell(false).unwrap();
        assert!(!steer.says());
        std::fs::remove_dir_all(run).unwrap();
    }

    #[test]
    fn the_lock_lasts_as_long_as_its_agent() {
        let run = directory("lock");
        let first = Steer::open(&run).unwrap();
        let mut second = Steer::open(&run).unwrap();
        assert!(second.locked.is_none());
        drop(first);
        second.lock().unwrap();
        assert!(second.locked.is_some());
        std::fs::remove_dir_all(run).unwrap();
    }
}
