//! What is left of the file system of the agent's own state: told at its edges, and to peers for as long as it lasts.

use super::Node;
use crate::room::{Level, Room};
use alloc::string::String;

impl Node {
    pub(super) fn take_room(&mut self, room: Room) {
        let was = self.room.as_ref().map_or(Level::Enough, |(_, level)| *level);
        let (level, edge) = room.after(was);
        self.room = Some((room, level));
        if let Some(edge) = edge {
            self.report_now = true;
            self.tell(&edge.code, edge.severity, edge.text);
        }
    }

    /// What people should know of it, if anything.
    pub(super) fn room_concern(&self) -> Option<String> {
        self.room.as_ref().and_then(|(room, level)| room.concern(*level))
    }
}
