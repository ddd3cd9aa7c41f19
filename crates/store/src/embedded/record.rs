//! The durable record: one file, two slots, written in turn.
//!
//! A write goes to the slot that does not hold the newest record, whole, and is synced; so a write
//! that power or a crash cuts short leaves the record before it, of which every answer was sent,
//! and the record being written, of which none was. Each slot holds the record twice, each copy
//! under its own checksum: one damaged sector does not put a voter back by one record unnoticed.
//! Blocks are written once at creation, so that a sync has no allocation to wait for.
//!
//! ```text
//!   | slot 0: copy, copy | slot 1: copy, copy |      copy: magic, sequence, length, crc32, payload
//! ```

use crate::cell::{BYTES_MAX, Standing};
use crate::codec::{Malformed, decode_kept, encode_kept};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"regent1\n";
const HEADER: usize = 8 + 8 + 4 + 4;

/// Room for one copy: the largest value, its lists and the header, on a block boundary.
const COPY: usize = BYTES_MAX + 8 * 1024;
const SLOT: usize = 2 * COPY;
const FILE: usize = 2 * SLOT;

/// What a node keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What it is as a voter.
    pub standing: Standing,
    /// Rule R2: the highest version that it saw.
    pub high: u64,
}

/// Where a node keeps it: the record file, or a disk that a test makes hang or fail.
pub trait Disk: Send + 'static {
    /// Stores, and returns when it is durable (rule R1). After an error it keeps what it kept
    /// before, or this; the next call stores all anew.
    fn store(&mut self, kept: &Kept) -> io::Result<()>;
}

/// Why a record file was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file system said no.
    #[error("failed to open the record {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Another process has it open.
    #[error("failed to open the record {path}: another process uses it")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// Its length is wrong or no slot is whole. A voter that lost its record is a new voter
    /// (rule R2): move the file away, start, and admit the node.
    #[error("failed to read the record {path}: damaged; move it away and admit this voter anew")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// It was written by a release that is not known here.
    #[error("failed to read the record {path}: {source}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What was found.
        source: Malformed,
    },
}

/// The record file of one node, open and locked.
#[derive(Debug)]
pub struct RecordFile {
    file: File,
    sequence: u64,
}

impl RecordFile {
    /// Opens the file, or creates it with a vacant seat; returns what it keeps.
    pub fn open(path: &Path) -> Result<(RecordFile, Kept), OpenError> {
        let io = |source| OpenError::Io { path: path.to_owned(), source };
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(path).map_err(io)?,
            Err(error) => return Err(io(error)),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::InUse { path: path.to_owned() });
            }
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        let damaged = || OpenError::Damaged { path: path.to_owned() };
        if file.metadata().map_err(io)?.len() != FILE as u64 {
            return Err(damaged());
        }
        let mut bytes = vec![0; FILE];
        file.read_exact_at(&mut bytes, 0).map_err(io)?;
        let newest = bytes.chunks(COPY).filter_map(whole_copy).max_by_key(|(seq, _)| *seq);
        let (sequence, payload) = newest.ok_or_else(damaged)?;
        let (standing, high) = decode_kept(payload)
            .map_err(|source| OpenError::Format { path: path.to_owned(), source })?;
        let kept = Kept { standing, high };
        let mut record = RecordFile { file, sequence };
        // What an earlier run left in the cache, unsynced, is made durable before it is spoken of.
        record.store(&kept).map_err(io)?;
        Ok((record, kept))
    }
}

impl Disk for RecordFile {
    /// After an error the slot that was being written is written again.
    fn store(&mut self, kept: &Kept) -> io::Result<()> {
        let sequence = self.sequence + 1;
        let copy = copy(sequence, &encode_kept(&kept.standing, kept.high))?;
        let slot = slot_start(sequence);
        self.file.write_all_at(&copy, slot)?;
        self.file.write_all_at(&copy, slot + COPY as u64)?;
        self.file.sync_data()?;
        self.sequence = sequence;
        Ok(())
    }
}

/// A new file appears whole or not at all: written beside its name, synced, renamed, and the
/// directory synced.
fn create(path: &Path) -> io::Result<File> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    let beside = path.with_extension("new");
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&beside)?;
    let mut bytes = vec![0; FILE];
    let copy = copy(1, &encode_kept(&Standing::Vacant, 0))?;
    let slot = slot_start(1) as usize;
    bytes[slot..slot + copy.len()].copy_from_slice(&copy);
    bytes[slot + COPY..slot + COPY + copy.len()].copy_from_slice(&copy);
    file.write_all(&bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    File::open(directory)?.sync_all()?;
    Ok(file)
}

fn slot_start(sequence: u64) -> u64 {
    (sequence % 2) * SLOT as u64
}

fn copy(sequence: u64, payload: &[u8]) -> io::Result<Vec<u8>> {
    if payload.len() > COPY - HEADER {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the record exceeds its slot"));
    }
    let mut copy = Vec::with_capacity(HEADER + payload.len());
    copy.extend(MAGIC);
    copy.extend(sequence.to_le_bytes());
    copy.extend((payload.len() as u32).to_le_bytes());
    copy.extend(checksum(&copy, payload).to_le_bytes());
    copy.extend(payload);
    Ok(copy)
}

/// The sequence and payload of a copy, if it is whole.
fn whole_copy(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (head, rest) = bytes.split_at_checked(HEADER - 4)?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let (magic, numbers) = head.split_first_chunk::<8>()?;
    let (sequence, length) = numbers.split_first_chunk::<8>()?;
    let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
    let payload = rest.get(..length)?;
    let is_whole = magic == MAGIC && checksum(head, payload) == u32::from_le_bytes(*crc);
    is_whole.then_some((u64::from_le_bytes(*sequence), payload))
}

fn checksum(head: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::{ClusterId, NodeId, Record, Seat, VoterId, initial_records};

    /// A directory of its own, gone at the end.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let name = format!("regent-record-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(&path).expect("a directory for the test");
            Place(path)
        }

        fn file(&self) -> PathBuf {
            self.0.join("record")
        }

        fn open(&self) -> Result<(RecordFile, Kept), OpenError> {
            RecordFile::open(&self.file())
        }

        /// Opens the file with other bytes; the file itself comes back as it was.
        fn open_as(&self, bytes: &[u8]) -> Result<Kept, OpenError> {
            let whole = std::fs::read(self.file()).expect("the file is there");
            std::fs::write(self.file(), bytes).expect("the file can be written");
            let opened = self.open().map(|(_, kept)| kept);
            std::fs::write(self.file(), whole).expect("the file can be written");
            opened
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn kept(version: u64) -> Kept {
        let seat = Seat { voter: VoterId(1), node: NodeId(1) };
        let (_, record) = initial_records(ClusterId(5), &[seat], &[version as u8; 3000]).remove(0);
        let value = crate::cell::Value { version, ..record.value.clone() };
        Kept { standing: Standing::Seated(Record { value, ..record }), high: version - 1 }
    }

    fn stored(place: &Place, versions: std::ops::RangeInclusive<u64>) {
        let (mut file, _) = place.open().expect("it opens");
        for version in versions {
            file.store(&kept(version)).expect("it is stored");
        }
    }

    fn copies(bytes: &[u8]) -> Vec<(usize, u64)> {
        let whole = |(index, copy)| Some((index, whole_copy(copy)?.0));
        bytes.chunks(COPY).enumerate().filter_map(whole).collect()
    }

    #[test]
    fn a_new_file_keeps_a_vacant_seat() {
        let place = Place::new("new");
        let (_, kept) = place.open().expect("it opens");
        assert_eq!(kept, Kept { standing: Standing::Vacant, high: 0 });
        let names: Vec<_> = std::fs::read_dir(&place.0).expect("listed").flatten().collect();
        assert_eq!(names.len(), 1, "nothing is left beside it: {names:?}");
    }

    #[test]
    fn what_was_stored_last_is_read_back_after_any_number_of_writes() {
        let place = Place::new("last");
        for version in 2..8 {
            stored(&place, 2..=version);
            assert_eq!(place.open().expect("it opens").1, kept(version));
        }
    }

    #[test]
    fn a_write_cut_short_at_any_byte_leaves_the_record_before_it_or_the_new_one() {
        let place = Place::new("torn");
        stored(&place, 2..=3);
        let (mut file, _) = place.open().expect("it opens");
        let before = std::fs::read(place.file()).expect("read");
        file.store(&kept(4)).expect("it is stored");
        drop(file);
        let after = std::fs::read(place.file()).expect("read");
        // Each of the sectors that the write touched may have reached the disk, or not.
        let pages: Vec<usize> = (0..FILE)
            .step_by(512)
            .filter(|at| before[*at..at + 512] != after[*at..at + 512])
            .collect();
        assert!(pages.len() >= 12, "two copies of six sectors at least: {pages:?}");
        let mut random = 1u64;
        for round in 0..300 {
            let mut torn = before.clone();
            for page in &pages {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                if random >> 60 < 2 + round % 13 {
                    torn[*page..page + 512].copy_from_slice(&after[*page..page + 512]);
                }
            }
            let opened = place.open_as(&torn).expect("one slot is whole");
            assert!(opened == kept(3) || opened == kept(4), "neither of the two: {opened:?}");
        }
    }

    #[test]
    fn no_damaged_sector_puts_a_voter_back() {
        let place = Place::new("sector");
        stored(&place, 2..=5);
        let whole = std::fs::read(place.file()).expect("read");
        for start in (0..FILE).step_by(512) {
            if whole[start..start + 512].iter().all(|byte| *byte == 0) {
                continue;
            }
            let mut damaged = whole.clone();
            damaged[start..start + 512].fill(0xa5);
            assert_eq!(place.open_as(&damaged).expect("a copy is whole"), kept(5), "at {start}");
        }
    }

    #[test]
    fn no_flipped_bit_is_believed() {
        let place = Place::new("bit");
        stored(&place, 2..=5);
        let whole = std::fs::read(place.file()).expect("read");
        let newest = copies(&whole).into_iter().map(|(_, seq)| seq).max().expect("copies");
        for (index, _) in copies(&whole).into_iter().filter(|(_, seq)| *seq == newest) {
            for byte in (0..HEADER + 200).chain(3000..3040) {
                let mut copy = whole[index * COPY..(index + 1) * COPY].to_vec();
                copy[byte] ^= 1 << (byte % 8);
                assert_eq!(whole_copy(&copy), None, "byte {byte} of copy {index}");
            }
        }
    }

    #[test]
    fn a_damaged_file_is_refused_by_name_and_never_taken_for_an_empty_one() {
        let place = Place::new("damaged");
        stored(&place, 2..=3);
        let whole = std::fs::read(place.file()).expect("read");
        for length in [0, 1, COPY, SLOT, FILE - 1] {
            let opened = place.open_as(&whole[..length]);
            assert!(
                matches!(opened, Err(OpenError::Damaged { .. })),
                "cut to {length}: {opened:?}"
            );
        }
        let zeros = place.open_as(&vec![0; FILE]);
        assert!(matches!(zeros, Err(OpenError::Damaged { .. })), "{zeros:?}");
    }

    #[test]
    fn a_record_of_an_unknown_format_is_refused_by_name() {
        let place = Place::new("format");
        stored(&place, 2..=2);
        let mut bytes = std::fs::read(place.file()).expect("read");
        let mut payload = encode_kept(&Standing::Vacant, 0);
        payload[0] = 9;
        let copy = copy(1000, &payload).expect("it fits");
        bytes[..copy.len()].copy_from_slice(&copy);
        let opened = place.open_as(&bytes);
        assert!(matches!(opened, Err(OpenError::Format { source: Malformed::Format(9), .. })));
    }

    #[test]
    fn a_second_process_is_kept_out() {
        let place = Place::new("lock");
        let first = place.open().expect("it opens");
        assert!(matches!(place.open(), Err(OpenError::InUse { .. })));
        drop(first);
        assert!(place.open().is_ok());
    }

    #[test]
    fn a_record_that_exceeds_its_slot_is_refused_and_the_older_stays() {
        let place = Place::new("large");
        stored(&place, 2..=3);
        let (mut file, _) = place.open().expect("it opens");
        let mut large = kept(4);
        if let Standing::Seated(record) = &mut large.standing {
            record.value.bytes = vec![1; COPY];
        }
        assert!(file.store(&large).is_err());
        drop(file);
        assert_eq!(place.open().expect("it opens").1, kept(3));
    }
}
