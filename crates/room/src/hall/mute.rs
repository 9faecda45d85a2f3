//! Silencing: oneself, others, a room.

use super::Hall;
use super::answer::{Done, refuse};
use super::people::MemberId;
use super::voice::Place;
use crate::Nick;
use crate::command::{Direction, Muted};

impl Direction {
    const fn is_in(self) -> bool {
        matches!(self, Self::In | Self::Both)
    }

    const fn is_out(self) -> bool {
        matches!(self, Self::Out | Self::Both)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
            Self::Both => "both",
        }
    }
}

impl Hall {
    pub(super) fn mute(&mut self, id: MemberId, whom: Muted, on: bool) -> Done {
        let word = if on { "MUTED" } else { "UNMUTED" };
        let event = if on { "muted" } else { "unmuted" };
        match whom {
            Muted::Own(direction) => {
                let Some(member) = self.people.get_mut(id) else { return Ok(()) };
                if direction.is_in() {
                    member.muted_in = on;
                }
                if direction.is_out() {
                    member.muted_out = on;
                }
                let nick = member.nick.to_string();
                self.tell(id, format!("{word} {nick}: {}", direction.name()));
                self.event_of(id, event, direction.name());
                self.refresh_of(id);
                Ok(())
            }
            Muted::ForMe(nick) => self.mute_for_me(id, &nick, on, word),
            Muted::Other(nick, direction) => self.mute_other(id, &nick, direction, on),
            Muted::Room(name) => {
                self.check_operator(id, &name)?;
                if let Some(room) = self.rooms.get_mut(&name) {
                    room.muted = on;
                }
                let members: Vec<MemberId> = self.rooms[&name].members.iter().copied().collect();
                for member in members {
                    self.tell(member, format!("{word} {name}"));
                }
                self.save_room(&name);
                self.refresh(&Place::Room(name));
                Ok(())
            }
        }
    }

    fn mute_for_me(&mut self, id: MemberId, nick: &Nick, on: bool, word: &str) -> Done {
        let most = self.config.limits.ignored_each;
        let Some(member) = self.people.get_mut(id) else { return Ok(()) };
        if on && member.ignores.len() >= most {
            return refuse("too-many", format!("you ignore {most} already"));
        }
        if on {
            member.ignores.insert(nick.clone());
        } else {
            member.ignores.remove(nick);
        }
        self.tell(id, format!("{word} {nick}: me"));
        self.refresh_of(id);
        Ok(())
    }

    fn mute_other(&mut self, id: MemberId, nick: &Nick, direction: Direction, on: bool) -> Done {
        let Some(name) = self.people.get(id).and_then(|member| member.voice_room.clone()) else {
            return refuse("not-there", "you are in no voice room");
        };
        self.check_operator(id, &name)?;
        let Some(other) = self.by_nick(nick).filter(|other| self.is_in(*other, &name)) else {
            return refuse("no-such-user", format!("{nick} is not in {name}"));
        };
        let Some(room) = self.rooms.get_mut(&name) else { return Ok(()) };
        for (chosen, set) in [(direction.is_in(), &mut room.silenced), (direction.is_out(), &mut room.deafened)] {
            match (chosen, on) {
                (true, true) => drop(set.insert(other)),
                (true, false) => drop(set.remove(&other)),
                (false, _) => {}
            }
        }
        let (by, nick) = (self.nick(id).to_owned(), self.nick(other).to_owned());
        let word = if on { "MUTED" } else { "UNMUTED" };
        let line = format!("{word} {nick}: {} by {by}", direction.name());
        self.tell(id, line.as_str());
        if other != id {
            self.tell(other, line);
        }
        self.event_of(other, &word.to_ascii_lowercase(), direction.name());
        self.refresh(&Place::Room(name));
        Ok(())
    }
}
