//! Guests: participants whom whoever runs the server brings in, and who say no lines of their own.

use vox_frame::Stamp;

use super::people::MemberId;
use super::{ConnId, Hall};
use crate::{Nick, RoomName};

impl Hall {
    /// Brings somebody in under `nick`, and into a room, which is made where there is none. Passwords keep him out of
    /// nothing: who runs the server has decided. From then on `conn` is a connection like any other.
    ///
    /// # Errors
    /// Why he cannot come, for people.
    pub fn handle_guest(
        &mut self,
        now: Stamp,
        conn: ConnId,
        nick: Nick,
        real_name: &str,
        room: &RoomName,
    ) -> Result<(), String> {
        if self.by_nick(&nick).is_some() {
            return Err(format!("{nick} is taken"));
        }
        if !self.has_room_for_one(room) {
            return Err(format!("{room} is full"));
        }
        if !self.handle_connected(now, conn, None) {
            return Err("the house is full".to_owned());
        }
        let id = self.seat(now, conn, nick, real_name.to_owned(), false);
        if !self.rooms.contains_key(room)
            && let Err((_, why)) = self.open_room(id, room)
        {
            self.people.remove(id);
            self.connections.remove(&conn);
            return Err(why);
        }
        self.accept(now, conn, id);
        self.enter(id, room);
        Ok(())
    }

    /// The connection of whoever is in that room under that name.
    pub fn connection_of(&self, room: &RoomName, nick: &Nick) -> Option<ConnId> {
        let id: MemberId = self.by_nick(nick)?;
        self.people.get(id).filter(|member| member.rooms.contains(room)).and_then(|member| member.conn)
    }
}
