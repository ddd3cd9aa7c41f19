//! Room on the disk of the agent's own state: kept for what must be written, given up by what need not be, looked at
//! and told.
//!
//! Vital are the runs of this node (C6), what is kept of the database, and the record of what a stack has changed; the
//! register's record is overwritten in place, and needs nothing. Each of them is written beside its name first: that
//! file is made here before it is needed, with blocks of its own, so that neither a disk without a free block nor one
//! without a free inode stops a node. Beside that there is a reserve that is given up piece by piece: some file systems
//! want more free blocks for a change than it takes. The journal and the event log leave out what they cannot write.

use crate::journal;
use crate::place::Place;
use regent_adapters::durable::{beside, sync_parent};
use regent_core::room::Room;
use rustix::fs::{FallocateFlags, StatVfs, StatVfsMountFlags, fallocate, statvfs};
use rustix::io::{Errno, retry_on_intr};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// As long as the list of runs ever gets.
const RUNS: u64 = 96 << 10;
/// What is kept of the database is some hundred bytes a file.
const KEPT: u64 = 4 << 10;
/// What a stack has changed: a line for each unit, link and carried file.
const CHANGED: u64 = 64 << 10;
/// What is held back of the disk while it has room, and by how much of it room is made when there is none.
const RESERVE: u64 = 1 << 20;
const PIECE: u64 = 128 << 10;
/// With so much free the reserve is made whole again.
const PLENTY: u64 = 8 << 20;
/// By so much a file grows from one write to the next.
const GROWS: u64 = 512;
/// Free space is told in steps of this, and no more than so much of it: what is beyond says nothing to anybody.
const STEP: u64 = 64 << 10;
const TOLD_MOST: u64 = 256 << 20;
const FILES_MOST: u64 = 1024;

/// A file that is ready for the next write of something vital.
struct Spare {
    path: PathBuf,
    /// What the next write takes, and what the largest ever will.
    least: u64,
    most: u64,
}

/// What this agent must be able to write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Vital {
    /// A node with a database of its own.
    Replicated,
    /// A node with a stack on shared data.
    Stack,
    /// The register alone: a witness, or an agent without a cluster.
    Register,
}

/// Looks for as long as it is held.
pub(crate) struct Watch(#[expect(dead_code, reason = "held for its end")] Option<SyncSender<()>>);

/// Reserves, looks and tells, each second, from a thread of its own; what was told is not told again.
pub(crate) fn watch(
    place: &Place,
    vital: Vital,
    tell: impl Fn(Room) + Send + 'static,
) -> io::Result<Watch> {
    let (held, ends) = sync_channel::<()>(0);
    let place = place.clone();
    let thread = std::thread::Builder::new().name("room".into());
    thread.spawn(move || {
        let mut told = None;
        loop {
            let room = look(&place, vital);
            if told.as_ref() != Some(&room) {
                told = Some(room.clone());
                tell(room);
            }
            match ends.recv_timeout(EVERY) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    })?;
    Ok(Watch(Some(held)))
}

/// Is this error the want of room?
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Something goes that is less needed than what could not be written: a piece of the reserve, then the oldest file of
/// the journal; false if nothing is left of either.
pub(crate) fn give_way(state: &Path) -> bool {
    give_up_a_piece(state).unwrap_or(false) || journal::drop_oldest(&state.join(Place::JOURNAL))
}

fn give_up_a_piece(state: &Path) -> io::Result<bool> {
    let file = OpenOptions::new().write(true).open(state.join(Place::RESERVE))?;
    let left = file.metadata()?.len();
    if left == 0 {
        return Ok(false);
    }
    file.set_len(left.saturating_sub(PIECE))?;
    // Some file systems have the blocks again only then.
    file.sync_all()?;
    Ok(true)
}

/// Whole while there is plenty; while there is nothing a piece of it is free for whoever needs it next.
fn hold_reserve(state: &Path, free: u64) -> io::Result<()> {
    if free < PIECE {
        return give_up_a_piece(state).map(drop);
    }
    let path = state.join(Place::RESERVE);
    if free < PLENTY || fs::metadata(&path).is_ok_and(|s| s.len() >= RESERVE) {
        return Ok(());
    }
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(&path)?;
    match retry_on_intr(|| fallocate(&file, FallocateFlags::empty(), 0, RESERVE)) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What is left, after everything vital was provided for.
fn look(place: &Place, vital: Vital) -> Room {
    let refused = obstacle(place, vital);
    match statvfs(&place.state) {
        Ok(status) => {
            let free = status.f_bavail.saturating_mul(status.f_frsize);
            // It is there for the case that all else fails, and no fault by itself.
            hold_reserve(&place.state, free).ok();
            seen(&place.state, &status, refused)
        }
        Err(error) => {
            let why = words(&error.into());
            let place = place.state.display().to_string();
            Room { place, free: 0, size: 0, files: None, refused: Some(why) }
        }
    }
}

fn seen(state: &Path, status: &StatVfs, refused: Option<String>) -> Room {
    let read_only = status.f_flag.contains(StatVfsMountFlags::RDONLY);
    let free = status.f_bavail.saturating_mul(status.f_frsize);
    Room {
        place: state.display().to_string(),
        free: free.min(TOLD_MOST) / STEP * STEP,
        size: status.f_blocks.saturating_mul(status.f_frsize),
        // Some file systems have as many inodes as they need, and say 0.
        files: (status.f_files > 0).then_some(status.f_favail.min(FILES_MOST)),
        refused: if read_only { Some("it is mounted read-only".into()) } else { refused },
    }
}

/// Why something vital could not be written at the next occasion.
fn obstacle(place: &Place, vital: Vital) -> Option<String> {
    if fs::metadata(place.record()).is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
        return Some("the record of the register is gone from there".into());
    }
    spares(place, vital).iter().find_map(|spare| {
        let name = spare.path.file_name().unwrap_or_default().to_string_lossy();
        let reserved = reserve(spare, &place.state);
        reserved.err().map(|e| format!("no room is reserved for {name}: {}", words(&e)))
    })
}

/// Beside what each of them is written, as whoever writes it has it.
fn spares(place: &Place, vital: Vital) -> Vec<Spare> {
    let spare = |path: PathBuf, of: PathBuf, most: u64| {
        let least = fs::metadata(of).map_or(0, |status| status.len()) + GROWS;
        Spare { path, least, most: most.max(least) }
    };
    let (runs, state) = (place.runs(), &place.state);
    let mut all = Vec::new();
    if vital != Vital::Register {
        // The two change places: what is reserved of the one is the other's next time.
        all.push(spare(beside(&runs), runs.clone(), RUNS));
        if runs.exists() {
            all.push(spare(runs.clone(), runs, RUNS));
        }
    }
    match vital {
        Vital::Register => {}
        Vital::Replicated => {
            let kept = ["database.keep", "database.end", "database.counts"];
            let kept = kept.map(|name| state.join(name));
            all.extend(kept.map(|path| spare(beside(&path), path, KEPT)));
        }
        Vital::Stack => {
            let changed = state.join("stack/before.json");
            // Made by the first step; before that nothing was changed.
            if changed.exists() {
                all.push(spare(beside(&changed), changed.clone(), CHANGED));
                all.push(spare(changed.clone(), changed, CHANGED));
            }
        }
    }
    all
}

/// The file is there, with that many blocks of its own. Its content is nobody's: whoever writes it at this moment, or
/// has given it another name already, loses nothing by it. For less than the most nothing gives way.
fn reserve(spare: &Spare, state: &Path) -> io::Result<()> {
    let has = |size| fs::metadata(&spare.path).is_ok_and(|s| s.blocks() * 512 >= size);
    if has(spare.most) {
        return Ok(());
    }
    match try_reserve(spare, spare.most) {
        Err(error) if is_full(&error) => {}
        ended => return ended,
    }
    while !has(spare.least) {
        match try_reserve(spare, spare.least) {
            Err(error) if is_full(&error) && give_way(state) => {}
            ended => return ended,
        }
    }
    Ok(())
}

fn try_reserve(spare: &Spare, size: u64) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(&spare.path)?;
    match retry_on_intr(|| fallocate(&file, FallocateFlags::KEEP_SIZE, 0, size)) {
        // A file system that reserves nothing: there the inode is all that can be kept.
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
        Err(error) => return Err(error.into()),
    }
    // After a power cut it is what the next start writes to.
    file.sync_all()?;
    sync_parent(&spare.path)
}

/// The system's words without its number.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs;
    use crate::scratch::{fill, small_disk};
    use regent_core::id::{NodeId, RunId};
    use regent_core::room::Level;

    fn place(state: &Path) -> Place {
        let place = Place { state: state.to_owned(), ..Place::under(state) };
        fs::write(place.record(), "the register").unwrap();
        place
    }

    /// As the worker writes what is kept of the database.
    fn keep(place: &Place, name: &str, text: &str) -> io::Result<()> {
        let path = place.state.join(name);
        let part = place.state.join(format!("{name}.new"));
        fs::write(&part, text)?;
        fs::rename(part, path)
    }

    #[test]
    fn a_node_goes_on_for_any_time_on_a_disk_without_a_byte_and_without_an_inode() {
        let test = "room::tests::a_node_goes_on_for_any_time_on_a_disk_without_a_byte_and_without_an_inode";
        let Some(disk) = small_disk(test, 1024) else { return };
        let place = place(disk.path());
        let files = ["database.keep", "database.end", "database.counts"];
        for name in files {
            keep(&place, name, "first").unwrap();
        }
        runs::add(&place.runs(), NodeId(1), RunId(1)).unwrap();
        assert_eq!(look(&place, Vital::Replicated).refused, None);
        fill(disk.path());
        assert!(fs::write(disk.path().join("one-more"), "x").is_err(), "it is full");
        for run in 2..300 {
            let runs = runs::add(&place.runs(), NodeId(1), RunId(run)).unwrap();
            assert_eq!(runs.len() as u64, run);
            for name in files {
                keep(&place, name, &format!("run {run}")).unwrap();
            }
            let room = look(&place, Vital::Replicated);
            let level = room.level(Level::Enough);
            assert_eq!((room.refused.as_ref(), level), (None, Level::Full), "{room:?}");
        }
        let kept = fs::read_to_string(disk.path().join("database.keep")).unwrap();
        assert_eq!(kept, "run 299");
    }

    #[test]
    fn where_nothing_was_reserved_the_oldest_of_the_journal_gives_way() {
        let test = "room::tests::where_nothing_was_reserved_the_oldest_of_the_journal_gives_way";
        let Some(disk) = small_disk(test, 1024) else { return };
        let place = place(disk.path());
        fs::create_dir(place.journal()).unwrap();
        for age in 0..12 {
            fs::write(place.journal().join(format!("{age}.jsonl")), [b'x'; 40_000]).unwrap();
        }
        fill(disk.path());
        runs::add(&place.runs(), NodeId(1), RunId(1)).unwrap();
        assert_eq!(look(&place, Vital::Replicated).refused, None);
        let left = |age: u8| place.journal().join(format!("{age}.jsonl")).exists();
        assert!(!left(11) && left(1), "the oldest go first");
        // What is left of it is not enough any more.
        while give_way(disk.path()) {}
        assert!(left(0));
    }

    #[test]
    fn a_disk_that_takes_nothing_is_named_with_its_reason() {
        let test = "room::tests::a_disk_that_takes_nothing_is_named_with_its_reason";
        let Some(disk) = small_disk(test, 1024) else { return };
        let place = place(disk.path());
        fill(disk.path());
        let room = look(&place, Vital::Replicated);
        let why = room.refused.unwrap_or_default();
        assert!(why.starts_with("no room is reserved for runs.json.new: no space left"), "{why}");
        fs::remove_file(disk.path().join("filler")).unwrap();
        fs::remove_file(place.record()).unwrap();
        let why = look(&place, Vital::Register).refused.unwrap_or_default();
        assert!(why.contains("record of the register is gone"), "{why}");
        let remount = ["-o", "remount,ro", &disk.path().display().to_string()];
        let mounted = std::process::Command::new("mount").args(remount).status();
        assert!(mounted.unwrap().success());
        let why = look(&place, Vital::Register).refused.unwrap_or_default();
        assert_eq!(why, "it is mounted read-only");
        let gone = Place { state: disk.path().join("gone"), ..place };
        let room = look(&gone, Vital::Register);
        let why = room.refused.clone().unwrap_or_default();
        assert_eq!(
            (why.as_str(), room.level(Level::Enough)),
            ("no such file or directory", Level::Full)
        );
    }

    #[test]
    fn what_was_told_is_not_told_again_and_the_watch_ends_with_its_holder() {
        let disk = crate::scratch::Scratch::new("room");
        let place = place(disk.path());
        let (tell, told) = std::sync::mpsc::channel();
        let held = watch(&place, Vital::Register, move |room| tell.send(room).unwrap()).unwrap();
        let room = told.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(room.refused, None);
        fs::remove_file(place.record()).unwrap();
        let room = told.recv_timeout(Duration::from_secs(10)).unwrap();
        assert!(room.refused.is_some());
        drop(held);
        let ended = told.recv_timeout(Duration::from_secs(10));
        assert_eq!(ended, Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
    }
}
