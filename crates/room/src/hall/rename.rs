//! Another nickname for somebody who is here.

use vox_frame::Stamp;

use super::Hall;
use super::answer::{Done, refuse};
use super::lasting::Ban;
use super::people::MemberId;
use crate::{Nick, RoomName};

impl Hall {
    /// To the others, one leaves and another comes: whoever knows nothing of this verb understands that.
    pub(super) fn rename(&mut self, now: Stamp, id: MemberId, nick: Nick) -> Done {
        let Some(member) = self.people.get(id) else { return Ok(()) };
        let rooms: Vec<RoomName> = member.rooms.iter().cloned().collect();
        if self.by_nick(&nick).is_some_and(|other| other != id) {
            return refuse("exists", format!("{nick} is taken"));
        }
        if member.registered || self.accounts.contains_key(&nick) || self.config.members_only {
            return refuse("forbidden", "a registered nickname is taken with CONNECT only");
        }
        let is_banned = |room: &RoomName| self.rooms.get(room).is_some_and(|room| room.banned.contains(&nick));
        if self.bans.contains(&Ban::Nick(nick.clone())) || rooms.iter().any(is_banned) {
            return refuse("denied", format!("{nick} may not be here"));
        }
        if member.call.is_some() || self.calls.values().any(|call| call.caller == id || call.callee == id) {
            return refuse("busy", "you are in a call");
        }
        let before = member.nick.clone();
        self.stand_up(now, id, "renamed");
        self.people.rename(id, nick.clone());
        for room in &rooms {
            let others: Vec<MemberId> =
                self.rooms.get(room).map_or_else(Vec::new, |room| room.members.iter().copied().collect());
            for other in others.into_iter().filter(|other| *other != id) {
                self.tell(other, format!("USERLEAVE {room}: {before}"));
                self.tell(other, format!("USERJOIN {room}: {nick}"));
            }
        }
        self.tell(id, format!("NICK: {nick}"));
        self.sit_down(id);
        Ok(())
    }
}
