//! What is left of the file system of the agent's own state: told at its edges, and to peers for as long as it lasts.

use crate::node::Node;
use crate::room::Room;
use alloc::string::String;

impl Node {
    pub(in crate::node) fn take_room(&mut self, room: Room) {
        if let Some(edge) = self.room.take(room) {
            self.reporting.hasten();
            self.tell(&edge.code, edge.severity, edge.text);
        }
    }

    /// What people should know of it, if anything.
    pub(in crate::node) fn room_concern(&self) -> Option<String> {
        self.room.concern()
    }
}
