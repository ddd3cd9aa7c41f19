//! What is left of the file system on which an agent keeps its own state: a fact with its figures, and what it means.
//!
//! A node goes on while that file system is full: what it must write is overwritten in place, or goes into blocks that
//! the agent reserved before. People are told long before that, because nothing else of the host goes on.

use crate::event::{Event, Severity};
use crate::id::Epoch;
use alloc::format;
use alloc::string::String;
use serde::{Deserialize, Serialize};

/// Less free than this is low; of a small file system, less than a twentieth of it.
pub const FREE_LOW: u64 = 64 << 20;
/// What is low is enough again only with a quarter more, so that it is not told again and again.
const FREE_AGAIN: u64 = 4;
/// Less free than this is nothing: the next file and its directory may take as much, and an agent frees some of it for
/// itself.
pub const FREE_NONE: u64 = 512 << 10;
/// Fewer files than this that could still be made are low.
pub const FILES_LOW: u64 = 256;

/// What was seen of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Room {
    /// Which directory.
    pub place: String,
    /// How many bytes may still be written.
    pub free: u64,
    /// How many it has in all.
    pub size: u64,
    /// How many files may still be made; none where there are as many as are needed.
    pub files: Option<u64>,
    /// What could not be written or reserved there, in words; none if everything could be.
    pub refused: Option<String>,
}

/// What that means.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Level {
    /// Nothing is wanting.
    #[default]
    Enough,
    /// It will be full soon.
    Low,
    /// Nothing new can be written.
    Full,
}

/// What was seen last, and what it meant.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Seen(Option<(Room, Level)>);

impl Seen {
    /// As it is now; what is told of it, if it means another thing than before.
    pub fn take(&mut self, room: Room) -> Option<Event> {
        let was = self.0.as_ref().map_or(Level::Enough, |(_, level)| *level);
        let (level, edge) = room.after(was);
        self.0 = Some((room, level));
        edge
    }

    /// What people should know of it, if anything.
    pub fn concern(&self) -> Option<String> {
        self.0.as_ref().and_then(|(room, level)| room.concern(*level))
    }
}

impl Room {
    /// What it means, after what it meant before.
    pub fn level(&self, was: Level) -> Level {
        if self.refused.is_some() || self.free < FREE_NONE || self.files == Some(0) {
            return Level::Full;
        }
        let low = FREE_LOW.min(self.size / 20);
        let low = if was == Level::Enough { low } else { low + low / FREE_AGAIN };
        let few = self.files.is_some_and(|files| files < FILES_LOW);
        if self.free < low || few { Level::Low } else { Level::Enough }
    }

    /// What it means after what it meant before, and what is told if that is another thing.
    pub fn after(&self, was: Level) -> (Level, Option<Event>) {
        let level = self.level(was);
        let edge = match (was, level) {
            (Level::Enough | Level::Low, Level::Full) => Some(("state.full", Severity::Alarm)),
            (Level::Enough, Level::Low) => Some(("state.low", Severity::Alarm)),
            (Level::Full, Level::Low) => Some(("state.low", Severity::Info)),
            (Level::Low | Level::Full, Level::Enough) => Some(("state.room", Severity::Info)),
            (Level::Enough, Level::Enough)
            | (Level::Low, Level::Low)
            | (Level::Full, Level::Full) => None,
        };
        let told = edge.map(|(code, severity)| {
            let again = || format!("{} has room again", self.place);
            let text = self.concern(level).unwrap_or_else(again);
            Event::new(code, severity, Epoch(0), text)
        });
        (level, told)
    }

    /// The sentence for people; none if nothing is wanting.
    pub fn concern(&self, level: Level) -> Option<String> {
        let place = &self.place;
        match (level, &self.refused) {
            (Level::Enough, _) => None,
            (Level::Low, _) => {
                let (free, size) = (in_words(self.free), in_words(self.size));
                let files = self.files.filter(|files| *files < FILES_LOW);
                let files = files.map_or(String::new(), |n| format!(", and room for {n} files"));
                Some(format!(
                    "{place} has {free} left of {size}{files}: make room before it is full"
                ))
            }
            (Level::Full, Some(why)) => Some(format!(
                "{place} takes nothing new: {why}; an agent that is started anew may fail"
            )),
            (Level::Full, None) => Some(format!(
                "{place} is full: this agent goes on in what it reserved, and leaves out history: make room there"
            )),
        }
    }
}

fn in_words(bytes: u64) -> String {
    match bytes {
        0..0x10_0000 => format!("{} KiB", bytes >> 10),
        0x10_0000..0x4000_0000 => format!("{} MiB", bytes >> 20),
        0x4000_0000.. => format!("{} GiB", bytes >> 30),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(free: u64, size: u64) -> Room {
        Room { place: "/state".into(), free, size, files: Some(9_000), refused: None }
    }

    #[test]
    fn it_is_low_by_bytes_on_a_large_disk_and_by_a_share_on_a_small_one() {
        let level = |free, size| room(free, size).level(Level::Enough);
        assert_eq!(level(65 << 20, 250 << 30), Level::Enough);
        assert_eq!(level(63 << 20, 250 << 30), Level::Low);
        assert_eq!(level(11 << 20, 200 << 20), Level::Enough);
        assert_eq!(level(9 << 20, 200 << 20), Level::Low);
        assert_eq!(level(511 << 10, 200 << 20), Level::Full);
        assert_eq!(level(0, 200 << 20), Level::Full);
    }

    #[test]
    fn files_that_cannot_be_made_count_as_bytes_do() {
        let level = |files| Room { files, ..room(1 << 30, 250 << 30) }.level(Level::Enough);
        assert_eq!(level(None), Level::Enough);
        assert_eq!(level(Some(FILES_LOW)), Level::Enough);
        assert_eq!(level(Some(FILES_LOW - 1)), Level::Low);
        assert_eq!(level(Some(0)), Level::Full);
    }

    #[test]
    fn around_the_edge_nothing_is_told_again_and_again() {
        let at = |free, was| room(free, 250 << 30).level(was);
        assert_eq!(at(70 << 20, Level::Low), Level::Low);
        assert_eq!(at(81 << 20, Level::Low), Level::Enough);
        assert_eq!(at(81 << 20, Level::Full), Level::Enough);
    }

    #[test]
    fn each_level_has_its_sentence() {
        assert_eq!(room(1 << 30, 1 << 40).concern(Level::Enough), None);
        let low = room(3 << 20, 100 << 20).concern(Level::Low);
        let text = "/state has 3 MiB left of 100 MiB: make room before it is full";
        assert_eq!(low.as_deref(), Some(text));
        let full = room(0, 100 << 20).concern(Level::Full).unwrap_or_default();
        assert!(full.contains("/state is full"), "{full}");
        let refused = Some("it is mounted read-only".into());
        let sentence = Room { refused, ..room(1 << 30, 1 << 40) };
        assert_eq!(sentence.level(Level::Enough), Level::Full);
        let sentence = sentence.concern(Level::Full).unwrap_or_default();
        assert!(sentence.contains("mounted read-only"), "{sentence}");
    }
}
