//! What whoever runs the server may do, and see.

use vox_frame::Stamp;

use super::lasting::{Ban, Change};
use super::people::{Member, MemberId};
use super::voice::Place;
use super::{Hall, Output, Path};
use crate::{Nick, RoomName};

/// What whoever runs the server asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admin {
    /// Sends somebody away; he may come back.
    Kick(Nick),
    /// Lets somebody or an address in no more; who is here is sent away.
    Ban(Ban),
    /// Lets him in again.
    Unban(Ban),
    /// Nobody hears somebody, or (false) all do again.
    Mute(Nick, bool),
    /// A room may be entered with the password that this was made of.
    Lock(RoomName, String),
    /// Everybody may enter a room.
    Unlock(RoomName),
    /// Nobody may record a room, or (true) everybody may.
    Record(RoomName, bool),
    /// Ends a room, kept or not.
    Delete(RoomName),
    /// Registers a nickname by what was made of its password.
    Account(Nick, String),
    /// A nickname is anybody's again.
    Forget(Nick),
    /// Tells everybody something.
    Say(String),
}

/// A room, seen from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomView {
    /// Its name.
    pub name: RoomName,
    /// Whether a password is needed.
    pub locked: bool,
    /// Whether it outlives the server.
    pub kept: bool,
    /// Whether only operators are heard.
    pub muted: bool,
    /// How many say that they record.
    pub recorders: usize,
    /// Whether the server records it now.
    pub recorded: bool,
    /// Whether nobody may record it.
    pub forbids_recording: bool,
    /// Who is in it.
    pub members: Vec<MemberView>,
}

/// Somebody, seen from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberView {
    /// His nickname.
    pub nick: Nick,
    /// Whether that is registered.
    pub registered: bool,
    /// Whether he may mute, lock and kick there.
    pub operator: bool,
    /// Whether his connection is lost and his seat kept.
    pub away: bool,
    /// Whether he talks and listens in this room.
    pub voice: bool,
    /// Whether he gets a mix.
    pub mixed: bool,
    /// How packets reach him.
    pub path: Option<Path>,
    /// How many streams he sends.
    pub streams: usize,
    /// Whether packets of his come now.
    pub talking: bool,
    /// How loud the last was, where it told, in -dBov.
    pub level: Option<u8>,
    /// How much later than the fastest of his packets the latest comes, while he talks, in ns.
    pub late_ns: Option<i64>,
    /// Whether nobody hears him.
    pub muted: bool,
    /// How long a PING took, in ns.
    pub rtt_ns: Option<i64>,
}

impl Hall {
    /// Does what whoever runs the server asks for.
    ///
    /// # Errors
    /// Why it is not done, for people.
    pub fn handle_admin(&mut self, now: Stamp, what: Admin) -> Result<(), String> {
        match what {
            Admin::Kick(nick) => {
                let id = self.by_nick(&nick).ok_or_else(|| format!("there is no {nick} here"))?;
                self.send_away(now, id, "you were sent away by who runs this server");
            }
            Admin::Ban(ban) => self.ban(now, ban)?,
            Admin::Unban(ban) => {
                if !self.bans.remove(&ban) {
                    return Err(format!("{ban} is not banned"));
                }
                self.save(Change::BanGone(ban));
            }
            Admin::Mute(nick, on) => {
                let id = self.by_nick(&nick).ok_or_else(|| format!("there is no {nick} here"))?;
                if let Some(member) = self.people.get_mut(id) {
                    member.gagged = on;
                }
                self.tell(id, format!("{} {nick}: in by the server", if on { "MUTED" } else { "UNMUTED" }));
                self.event_of(id, if on { "muted" } else { "unmuted" }, "in");
                self.refresh_of(id);
            }
            Admin::Lock(name, kept) => self.set_password(&name, Some(kept))?,
            Admin::Unlock(name) => self.set_password(&name, None)?,
            Admin::Record(name, allow) => self.set_recording(&name, allow)?,
            Admin::Delete(name) => {
                if name == self.config.lobby || !self.rooms.contains_key(&name) {
                    return Err(format!("{name} cannot be deleted"));
                }
                self.end_room(now, &name);
            }
            Admin::Account(nick, kept) => {
                if !self.accounts.contains_key(&nick) && self.accounts.len() >= self.config.limits.accounts {
                    return Err("there are as many accounts as there may be".to_owned());
                }
                self.accounts.insert(nick.clone(), kept.clone());
                self.save(Change::Account(nick, kept));
            }
            Admin::Forget(nick) => {
                self.accounts.remove(&nick).ok_or_else(|| format!("{nick} is not registered"))?;
                self.save(Change::AccountGone(nick));
            }
            Admin::Say(text) => {
                let everybody: Vec<_> = self.connections.keys().copied().collect();
                for conn in everybody {
                    self.send(conn, format!("MSG server {}: {text}", self.config.lobby));
                }
            }
        }
        Ok(())
    }

    fn ban(&mut self, now: Stamp, ban: Ban) -> Result<(), String> {
        let most = self.config.limits.bans;
        if self.bans.len() >= most && !self.bans.contains(&ban) {
            return Err(format!("{most} bans are the most"));
        }
        self.bans.insert(ban.clone());
        if let Ban::Nick(nick) = &ban
            && let Some(id) = self.by_nick(nick)
        {
            self.send_away(now, id, "you are banned from this server");
        }
        self.save(Change::Ban(ban));
        Ok(())
    }

    fn set_password(&mut self, name: &RoomName, kept: Option<String>) -> Result<(), String> {
        let room = self.rooms.get_mut(name).ok_or_else(|| format!("there is no room {name}"))?;
        let word = if kept.is_some() { "LOCKED" } else { "UNLOCKED" };
        room.password = kept;
        self.tell_room(name, &format!("{word}: {name}"));
        self.save_room(name);
        Ok(())
    }

    fn set_recording(&mut self, name: &RoomName, allow: bool) -> Result<(), String> {
        let room = self.rooms.get_mut(name).ok_or_else(|| format!("there is no room {name}"))?;
        room.forbids_recording = !allow;
        room.cannot_be_recorded &= !allow;
        self.save_room(name);
        self.tell_room(name, &format!("RECORD {name}: {}", if allow { "allowed" } else { "forbidden" }));
        self.refresh_desk(&Place::Room(name.clone()));
        Ok(())
    }

    /// Closes the connection of a member, whose seat is not kept.
    fn send_away(&mut self, now: Stamp, id: MemberId, why: &str) {
        let conn = self.people.get(id).and_then(|member| member.conn);
        self.remove_member(now, id, "kicked");
        if let Some(conn) = conn {
            self.connections.remove(&conn);
            self.send(conn, format!("ERROR: {why}; goodbye"));
            self.outputs.push_back(Output::Close(conn));
        }
    }

    /// Who may not come in.
    pub fn bans(&self) -> impl Iterator<Item = &Ban> {
        self.bans.iter()
    }

    /// Which nicknames are registered.
    pub fn accounts(&self) -> impl Iterator<Item = &Nick> {
        self.accounts.keys()
    }

    /// Every room with who is in it.
    pub fn view(&self) -> Vec<RoomView> {
        self.rooms
            .iter()
            .map(|(name, room)| RoomView {
                name: name.clone(),
                locked: room.password.is_some(),
                kept: room.kept,
                muted: room.muted,
                recorders: room.recorders.len(),
                recorded: self.is_recorded(&Place::Room(name.clone())),
                forbids_recording: room.forbids_recording,
                members: room
                    .members
                    .iter()
                    .filter_map(|&id| self.people.get(id).map(|member| (id, member)))
                    .map(|(id, member)| MemberView { operator: room.operators.contains(&id), ..member.view(name) })
                    .collect(),
            })
            .collect()
    }

    /// Rooms there are, the lobby included.
    pub fn room_count(&self) -> usize {
        self.rooms.len()
    }
}

impl Member {
    fn view(&self, room: &RoomName) -> MemberView {
        MemberView {
            nick: self.nick.clone(),
            registered: self.registered,
            operator: false,
            away: self.conn.is_none(),
            voice: self.place() == Some(Place::Room(room.clone())),
            mixed: self.mix.is_some(),
            path: self.path,
            streams: self.streams.len(),
            talking: self.streams.iter().any(|stream| stream.talking),
            level: self.streams.iter().filter_map(|stream| stream.level).min(),
            late_ns: self.streams.iter().filter(|one| one.talking).map(|one| one.lateness.ns()).max(),
            muted: self.muted_in || self.gagged,
            rtt_ns: self.rtt_ns,
        }
    }
}
