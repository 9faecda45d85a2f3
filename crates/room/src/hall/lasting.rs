//! What outlives the server: registered nicknames, rooms that are kept, bans.

use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;

use super::answer::{Done, refuse};
use super::people::MemberId;
use super::rooms::{Room, Ticket};
use super::{ConnId, Hall, Output};
use crate::{Nick, RoomName};

/// Who may not come in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ban {
    /// Nobody from this address.
    Address(IpAddr),
    /// Nobody of this nickname.
    Nick(Nick),
}

impl fmt::Display for Ban {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Nick(nick) => write!(f, "{nick}"),
        }
    }
}

impl FromStr for Ban {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(address) => Ok(Self::Address(address)),
            Err(_) => Nick::parse(text).map(Self::Nick).ok_or_else(|| "an address or a nickname".to_owned()),
        }
    }
}

/// A room that stays when everybody has left, and when the server starts again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRoom {
    /// Its name.
    pub name: RoomName,
    /// What was made of its password.
    pub password: Option<String>,
    /// Nobody may record it.
    pub forbids_recording: bool,
    /// Only operators are heard.
    pub muted: bool,
    /// Registered nicknames that are its operators whenever they enter.
    pub owners: Vec<Nick>,
    /// Nicknames that may not enter.
    pub banned: Vec<Nick>,
}

/// Something that outlives the server has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A room is kept as it is now.
    Room(KeptRoom),
    /// A room is kept no longer.
    RoomGone(RoomName),
    /// A nickname, and what was made of its password.
    Account(Nick, String),
    /// A nickname is anybody's again.
    AccountGone(Nick),
    /// Somebody may not come in.
    Ban(Ban),
    /// He may again.
    BanGone(Ban),
}

impl Hall {
    /// Takes what an earlier server has left, before anybody is here.
    pub fn restore(&mut self, change: Change) {
        match change {
            Change::Room(kept) => {
                let name = kept.name.clone();
                self.rooms.insert(name, Room::kept(kept));
            }
            Change::Account(nick, kept) => drop(self.accounts.insert(nick, kept)),
            Change::Ban(ban) => drop(self.bans.insert(ban)),
            Change::RoomGone(_) | Change::AccountGone(_) | Change::BanGone(_) => {}
        }
    }

    /// Whether nobody from there may come in.
    pub fn is_banned(&self, from: IpAddr) -> bool {
        self.bans.contains(&Ban::Address(from.to_canonical()))
    }

    pub(super) fn save(&mut self, change: Change) {
        if self.config.keeps {
            self.outputs.push_back(Output::Save(change));
        }
    }

    /// Makes the member's nickname its own.
    pub(super) fn register(&mut self, conn: ConnId, id: MemberId, password: String) -> Done {
        if !self.config.keeps {
            return refuse("unavailable", "this server keeps nothing that outlives it");
        }
        let Some(member) = self.people.get(id) else { return Ok(()) };
        if !member.registered && (!self.config.may_register || self.accounts.len() >= self.config.limits.accounts) {
            return refuse("forbidden", "no more nicknames are registered here");
        }
        let ticket = self.ticket(conn, Ticket::Register(conn))?;
        self.outputs.push_back(Output::Protect(ticket, password));
        Ok(())
    }

    pub(super) fn registered(&mut self, id: MemberId, kept: String) {
        if kept.is_empty() {
            self.tell(id, "ERROR REGISTER: busy too many passwords at once; try again");
            return;
        }
        let Some(member) = self.people.get_mut(id) else { return };
        member.registered = true;
        let nick = member.nick.clone();
        self.accounts.insert(nick.clone(), kept.clone());
        self.tell(id, format!("REGISTERED: {nick}"));
        self.save(Change::Account(nick, kept));
    }

    /// Whether a room is to stay when everybody has left.
    pub(super) fn keep(&mut self, id: MemberId, name: &RoomName, on: bool) -> Done {
        self.check_operator(id, name)?;
        if !self.config.keeps {
            return refuse("unavailable", "this server keeps nothing that outlives it");
        }
        let Some(member) = self.people.get(id) else { return Ok(()) };
        if !member.registered {
            return refuse("forbidden", "only a registered nickname owns a room: REGISTER: password");
        }
        let nick = member.nick.clone();
        if let Some(room) = self.rooms.get_mut(name) {
            room.kept = on;
            room.owners.clear();
            if on {
                room.owners.insert(nick);
            }
        }
        self.tell(id, format!("KEEP {name}: {}", if on { "on" } else { "off" }));
        if on {
            self.save_room(name);
        } else {
            self.save(Change::RoomGone(name.clone()));
        }
        Ok(())
    }

    /// Tells what a room has become, where it is to last.
    pub(super) fn save_room(&mut self, name: &RoomName) {
        let Some(room) = self.rooms.get(name).filter(|room| room.kept) else { return };
        let kept = room.keepsake(name.clone());
        self.save(Change::Room(kept));
    }

    /// A nickname may not enter a room, or may again.
    pub(super) fn ban_from(
        &mut self,
        now: vox_frame::Stamp,
        id: MemberId,
        name: &RoomName,
        nick: &Nick,
        on: bool,
    ) -> Done {
        self.check_operator(id, name)?;
        let most = self.config.limits.banned_each;
        let own = self.people.get(id).is_some_and(|member| member.nick == *nick);
        let Some(room) = self.rooms.get_mut(name) else { return Ok(()) };
        if own {
            return refuse("forbidden", "nobody bans himself");
        }
        if on && room.banned.len() >= most {
            return refuse("too-many", format!("{most} are banned from {name}, which is the most"));
        }
        let changed = if on { room.banned.insert(nick.clone()) } else { room.banned.remove(nick) };
        self.tell(id, format!("{} {name}: {nick}", if on { "BANNED" } else { "UNBANNED" }));
        if changed {
            self.save_room(name);
        }
        if on && self.by_nick(nick).is_some_and(|other| self.is_in(other, name)) {
            self.kick(now, id, name, nick)?;
        }
        Ok(())
    }
}

impl Room {
    fn kept(kept: KeptRoom) -> Self {
        Self {
            password: kept.password,
            forbids_recording: kept.forbids_recording,
            muted: kept.muted,
            owners: kept.owners.into_iter().collect(),
            banned: kept.banned.into_iter().collect(),
            kept: true,
            ..Self::default()
        }
    }

    fn keepsake(&self, name: RoomName) -> KeptRoom {
        KeptRoom {
            name,
            password: self.password.clone(),
            forbids_recording: self.forbids_recording,
            muted: self.muted,
            owners: self.owners.iter().cloned().collect(),
            banned: self.banned.iter().cloned().collect(),
        }
    }
}
