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

    /// Stores, and returns when it is durable (rule R1). After an error the file still keeps what
    /// it kept before, and the next call writes the same slot again.
    pub fn store(&mut self, kept: &Kept) -> io::Result<()> {
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
