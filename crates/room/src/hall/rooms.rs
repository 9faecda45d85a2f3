//! Rooms: entering, leaving, what is said in them, and who may what.

use std::collections::BTreeSet;

use vox_frame::Stamp;

use super::answer::{Done, refuse};
use super::lasting::Change;
use super::people::MemberId;
use super::voice::Place;
use super::{ConnId, Hall, Output, lists};
use crate::command::{Recording, Telling};
use crate::{Nick, RoomName};

/// A room.
#[derive(Debug, Default)]
pub(super) struct Room {
    pub(super) members: BTreeSet<MemberId>,
    /// Who may mute, lock, kick and delete.
    pub(super) operators: BTreeSet<MemberId>,
    /// What was made of its password.
    pub(super) password: Option<String>,
    /// Only operators are heard.
    pub(super) muted: bool,
    /// Who says that he records.
    pub(super) recorders: BTreeSet<MemberId>,
    pub(super) forbids_recording: bool,
    /// The server has tried, and the disk is full.
    pub(super) cannot_be_recorded: bool,
    /// Whether it stays when everybody has left.
    pub(super) lasting: bool,
    /// Whether it stays beyond that, and beyond the server.
    pub(super) kept: bool,
    /// Registered nicknames that are its operators whenever they enter.
    pub(super) owners: BTreeSet<Nick>,
    /// Nicknames that may not enter.
    pub(super) banned: BTreeSet<Nick>,
    /// Nobody hears these, by an operator's wish.
    pub(super) silenced: BTreeSet<MemberId>,
    /// These hear nobody, by an operator's wish.
    pub(super) deafened: BTreeSet<MemberId>,
}

impl Room {
    pub(super) fn lasting() -> Self {
        Self { lasting: true, ..Self::default() }
    }
}

/// What waits for a password.
#[derive(Debug)]
pub(super) enum Ticket {
    Lock(ConnId, RoomName),
    Enter(ConnId, RoomName),
    Register(ConnId),
    /// Nickname and real name.
    Connect(ConnId, Nick, String),
}

impl Hall {
    pub(super) fn has_room_for_one(&self, name: &RoomName) -> bool {
        self.rooms.get(name).is_none_or(|room| room.members.len() < self.config.limits.members)
    }

    pub(super) fn join(
        &mut self,
        _now: Stamp,
        conn: ConnId,
        id: MemberId,
        rooms: Vec<RoomName>,
        password: Option<String>,
    ) -> Done {
        for name in rooms {
            let limits = self.config.limits;
            let Some(member) = self.people.get(id) else { return Ok(()) };
            if member.rooms.contains(&name) {
                self.tell(id, format!("JOINED: {name}"));
                self.tell_users(id, &name);
                continue;
            }
            if member.rooms.len() >= limits.rooms_each {
                return refuse("too-many", format!("you are in {} rooms, which is the most", limits.rooms_each));
            }
            let nick = member.nick.clone();
            match self.rooms.get(&name) {
                Some(room) if room.banned.contains(&nick) => {
                    return refuse("denied", format!("you may not enter {name}"));
                }
                None => self.open_room(id, &name)?,
                Some(_) if !self.has_room_for_one(&name) => return refuse("full", format!("{name} is full")),
                Some(room) => match (&room.password, &password) {
                    (None, _) => {}
                    (Some(_), None) => {
                        return refuse("locked", format!("{name} needs a password: JOIN: {name} password"));
                    }
                    (Some(kept), Some(password)) => {
                        let (kept, password) = (kept.clone(), password.clone());
                        let ticket = self.ticket(conn, Ticket::Enter(conn, name.clone()))?;
                        self.outputs.push_back(Output::Verify(ticket, password, kept));
                        continue;
                    }
                },
            }
            self.enter(id, &name);
        }
        Ok(())
    }

    pub(super) fn open_room(&mut self, id: MemberId, name: &RoomName) -> Done {
        if !self.config.may_create {
            return refuse("forbidden", format!("there is no room {name}, and none may be made"));
        }
        if self.rooms.len() >= self.config.limits.rooms {
            return refuse("too-many", "there are as many rooms as there may be");
        }
        let mut room = Room::default();
        room.operators.insert(id);
        self.rooms.insert(name.clone(), room);
        Ok(())
    }

    /// Puts a member into a room that is there.
    pub(super) fn enter(&mut self, id: MemberId, name: &RoomName) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        let others: Vec<MemberId> = room.members.iter().copied().collect();
        room.members.insert(id);
        if self.people.get(id).is_some_and(|member| member.registered && room.owners.contains(&member.nick)) {
            room.operators.insert(id);
        }
        let recorded = !room.recorders.is_empty() || self.is_recorded(&Place::Room(name.clone()));
        if let Some(member) = self.people.get_mut(id) {
            member.rooms.insert(name.clone());
        }
        self.tell(id, format!("JOINED: {name}"));
        self.tell_users(id, name);
        if recorded {
            self.tell(id, format!("RECORD {name}: on"));
        }
        let line = format!("USERJOIN {name}: {}", self.nick(id));
        for other in others {
            self.tell(other, line.as_str());
        }
    }

    pub(super) fn leave(&mut self, now: Stamp, id: MemberId, name: &RoomName) -> Done {
        self.check_member(id, name)?;
        if self.people.get(id).is_some_and(|member| member.voice_room.as_ref() == Some(name)) {
            self.leave_voice(now, id, "left");
        }
        self.exit(id, name);
        self.tell(id, format!("LEFT: {name}"));
        Ok(())
    }

    /// Takes a member out of a room; the room is gone when it was the last one.
    pub(super) fn exit(&mut self, id: MemberId, name: &RoomName) {
        if let Some(member) = self.people.get_mut(id) {
            member.rooms.remove(name);
        }
        let line = format!("USERLEAVE {name}: {}", self.nick(id));
        let Some(room) = self.rooms.get_mut(name) else { return };
        room.members.remove(&id);
        room.silenced.remove(&id);
        room.deafened.remove(&id);
        let recorded = room.recorders.remove(&id) && room.recorders.is_empty();
        if room.operators.remove(&id)
            && room.operators.is_empty()
            && !room.lasting
            && !room.kept
            && let Some(&heir) = room.members.first()
        {
            // A room is never without somebody who can end it.
            room.operators.insert(heir);
        }
        let left: Vec<MemberId> = room.members.iter().copied().collect();
        if left.is_empty() && !room.lasting && !room.kept {
            self.rooms.remove(name);
        }
        for other in left {
            self.tell(other, line.as_str());
            if recorded {
                self.tell(other, format!("RECORD {name}: off"));
            }
        }
        if recorded {
            self.refresh_desk(&Place::Room(name.clone()));
        }
    }

    pub(super) fn tell_users(&mut self, id: MemberId, name: &RoomName) {
        let Some(room) = self.rooms.get(name) else { return };
        let nicks: Vec<&str> = room.members.iter().map(|&other| self.nick(other)).collect();
        for line in lists(&format!("USERLIST {name}:"), &nicks) {
            self.tell(id, line);
        }
    }

    pub(super) fn user_list(&mut self, id: MemberId, name: &RoomName) -> Done {
        self.check_member(id, name)?;
        self.tell_users(id, name);
        Ok(())
    }

    pub(super) fn who_is(&mut self, id: MemberId, nick: &Nick) -> Done {
        let Some(member) = self.by_nick(nick).and_then(|other| self.people.get(other)) else {
            return refuse("no-such-user", format!("there is no {nick} here"));
        };
        let trip = member.rtt_ns.map_or_else(String::new, |ns| format!(" rtt={:.1}ms", ns as f64 / 1e6));
        let line = format!("WHOIS {}: \"{}\"{trip}", member.nick, member.real_name);
        self.tell(id, line);
        Ok(())
    }

    pub(super) fn list(&mut self, id: MemberId) -> Done {
        let mut lines = Vec::new();
        for (name, room) in &self.rooms {
            let talking = self.seated.get(&Place::Room(name.clone())).map_or(0, Vec::len);
            let locked = if room.password.is_some() { "locked" } else { "open" };
            lines.push(format!("ROOM {name}: users={} voice={talking} {locked}", room.members.len()));
        }
        lines.push(format!("LIST: {}", self.rooms.len()));
        for line in lines {
            self.tell(id, line);
        }
        Ok(())
    }

    pub(super) fn create(&mut self, conn: ConnId, id: MemberId, name: RoomName, password: Option<String>) -> Done {
        if self.rooms.contains_key(&name) {
            return refuse("exists", format!("there is a room {name} already"));
        }
        if self.people.get(id).is_some_and(|member| member.rooms.len() >= self.config.limits.rooms_each) {
            return refuse("too-many", "you are in too many rooms");
        }
        self.open_room(id, &name)?;
        self.tell(id, format!("CREATED: {name}"));
        self.enter(id, &name);
        password.map_or(Ok(()), |password| self.lock(conn, id, name, password))
    }

    pub(super) fn delete(&mut self, now: Stamp, id: MemberId, name: &RoomName) -> Done {
        self.check_operator(id, name)?;
        if self.rooms.get(name).is_none_or(|room| room.lasting) {
            return refuse("forbidden", format!("{name} stays"));
        }
        self.end_room(now, name);
        Ok(())
    }

    /// Ends a room; everybody goes to the lobby.
    pub(super) fn end_room(&mut self, now: Stamp, name: &RoomName) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        let was_kept = std::mem::take(&mut room.kept);
        let members = std::mem::take(&mut room.members);
        let lobby = self.config.lobby.clone();
        for &member in &members {
            self.tell(member, format!("DELETED: {name}"));
        }
        for &member in &members {
            if self.people.get(member).is_some_and(|member| member.voice_room.as_ref() == Some(name)) {
                self.leave_voice(now, member, "left");
            }
            if let Some(member) = self.people.get_mut(member) {
                member.rooms.remove(name);
            }
            if !self.is_in(member, &lobby) && self.has_room_for_one(&lobby) {
                self.enter(member, &lobby);
            }
        }
        self.rooms.remove(name);
        if was_kept {
            self.save(Change::RoomGone(name.clone()));
        }
    }

    pub(super) fn kick(&mut self, now: Stamp, id: MemberId, name: &RoomName, nick: &Nick) -> Done {
        self.check_operator(id, name)?;
        let Some(other) = self.by_nick(nick).filter(|other| self.is_in(*other, name)) else {
            return refuse("no-such-user", format!("{nick} is not in {name}"));
        };
        let line = format!("KICKED {name}: by {}", self.nick(id));
        if self.people.get(other).is_some_and(|member| member.voice_room.as_ref() == Some(name)) {
            self.leave_voice(now, other, "left");
        }
        self.tell(other, line);
        self.exit(other, name);
        self.tell(id, format!("KICKED {name}: {nick}"));
        Ok(())
    }

    pub(super) fn message(&mut self, id: MemberId, name: &RoomName, text: &str) -> Done {
        self.check_member(id, name)?;
        let nick = self.people.get(id).map(|member| member.nick.clone());
        let Some(nick) = nick else { return Ok(()) };
        let line: std::sync::Arc<str> = format!("MSG {nick} {name}: {text}").into();
        let others: Vec<MemberId> = self.rooms[name].members.iter().copied().filter(|other| *other != id).collect();
        for other in others {
            if self.people.get(other).is_some_and(|member| !member.ignores.contains(&nick)) {
                self.tell(other, std::sync::Arc::clone(&line));
            }
        }
        Ok(())
    }

    pub(super) fn private(&mut self, id: MemberId, to: &Nick, text: &str) -> Done {
        let Some(other) = self.by_nick(to) else {
            return refuse("no-such-user", format!("there is no {to} here"));
        };
        let Some(nick) = self.people.get(id).map(|member| member.nick.clone()) else { return Ok(()) };
        // Whoever ignores somebody does not tell him so.
        if self.people.get(other).is_some_and(|member| !member.ignores.contains(&nick)) {
            self.tell(other, format!("PRIVMSG {nick}: {text}"));
        }
        Ok(())
    }

    pub(super) fn lock(&mut self, conn: ConnId, id: MemberId, name: RoomName, password: String) -> Done {
        self.check_operator(id, &name)?;
        let ticket = self.ticket(conn, Ticket::Lock(conn, name.clone()))?;
        // Shut until it is known what opens it: nobody slips in meanwhile.
        if let Some(room) = self.rooms.get_mut(&name) {
            room.password.get_or_insert_default();
        }
        self.outputs.push_back(Output::Protect(ticket, password));
        Ok(())
    }

    pub(super) fn unlock(&mut self, id: MemberId, name: &RoomName) -> Done {
        self.check_operator(id, name)?;
        if let Some(room) = self.rooms.get_mut(name) {
            room.password = None;
        }
        self.tell_room(name, &format!("UNLOCKED: {name}"));
        self.save_room(name);
        Ok(())
    }

    /// One question about a password at a time for each connection: answers cost time by design.
    pub(super) fn ticket(&mut self, conn: ConnId, ticket: Ticket) -> Result<u64, super::answer::Refusal> {
        let Some(connection) = self.connections.get_mut(&conn) else { return Err(("gone", String::new())) };
        if std::mem::replace(&mut connection.waits, true) {
            return Err(("busy", "one password at a time".to_owned()));
        }
        self.next_ticket += 1;
        self.tickets.insert(self.next_ticket, ticket);
        Ok(self.next_ticket)
    }

    /// What was made of a password ([`Output::Protect`]).
    pub fn handle_protected(&mut self, ticket: u64, kept: String) {
        let (conn, name) = match self.tickets.remove(&ticket) {
            Some(Ticket::Lock(conn, name)) => (conn, name),
            Some(Ticket::Register(conn)) => {
                if let Some(id) = self.asked(conn) {
                    self.registered(id, kept);
                }
                return;
            }
            _ => return,
        };
        let Some(id) = self.asked(conn) else { return };
        // Things may have changed since it was asked for.
        if self.check_operator(id, &name).is_err() {
            return;
        }
        if let Some(room) = self.rooms.get_mut(&name) {
            room.password = Some(kept);
        }
        self.tell_room(&name, &format!("LOCKED: {name}"));
        self.save_room(&name);
    }

    /// Whether a password was the right one ([`Output::Verify`]).
    pub fn handle_verified(&mut self, now: Stamp, ticket: u64, right: bool) {
        let (conn, name) = match self.tickets.remove(&ticket) {
            Some(Ticket::Enter(conn, name)) => (conn, name),
            Some(Ticket::Connect(conn, nick, real_name)) => return self.knows(now, conn, nick, real_name, right),
            _ => return,
        };
        let Some(id) = self.asked(conn) else { return };
        if !right {
            self.outputs.push_back(Output::Guessed(conn));
            self.tell(id, format!("ERROR JOIN: denied {name} has another password"));
        } else if !self.rooms.contains_key(&name) || !self.has_room_for_one(&name) {
            self.tell(id, format!("ERROR JOIN: full {name} cannot be entered"));
        } else if !self.is_in(id, &name) {
            self.enter(id, &name);
        }
    }

    pub(super) fn asked(&mut self, conn: ConnId) -> Option<MemberId> {
        let connection = self.connections.get_mut(&conn)?;
        connection.waits = false;
        connection.member
    }

    pub(super) fn record(&mut self, id: MemberId, name: &RoomName, what: Recording) -> Done {
        self.check_member(id, name)?;
        match what {
            Recording::Allow | Recording::Forbid => {
                self.check_operator(id, name)?;
                let forbids = what == Recording::Forbid;
                if let Some(room) = self.rooms.get_mut(name) {
                    room.forbids_recording = forbids;
                    room.cannot_be_recorded &= forbids;
                }
                self.save_room(name);
                self.tell_room(name, &format!("RECORD {name}: {}", if forbids { "forbidden" } else { "allowed" }));
                self.refresh_desk(&Place::Room(name.clone()));
            }
            Recording::On => {
                let nick = self.nick(id).to_owned();
                let Some(room) = self.rooms.get_mut(name) else { return Ok(()) };
                if room.forbids_recording {
                    return refuse("forbidden", format!("nobody may record {name}"));
                }
                if room.recorders.insert(id) {
                    self.tell_room(name, &format!("RECORD {name}: on {nick}"));
                    self.refresh_desk(&Place::Room(name.clone()));
                }
            }
            Recording::Off => {
                let nick = self.nick(id).to_owned();
                if self.rooms.get_mut(name).is_some_and(|room| room.recorders.remove(&id)) {
                    self.tell_room(name, &format!("RECORD {name}: off {nick}"));
                    self.refresh_desk(&Place::Room(name.clone()));
                }
            }
        }
        Ok(())
    }

    pub(super) fn tell_room(&mut self, name: &RoomName, line: &str) {
        let Some(room) = self.rooms.get(name) else { return };
        let members: Vec<MemberId> = room.members.iter().copied().collect();
        let line: std::sync::Arc<str> = line.into();
        for member in members {
            self.tell(member, std::sync::Arc::clone(&line));
        }
    }

    pub(super) fn is_in(&self, id: MemberId, name: &RoomName) -> bool {
        self.rooms.get(name).is_some_and(|room| room.members.contains(&id))
    }

    pub(super) fn check_member(&self, id: MemberId, name: &RoomName) -> Done {
        if self.is_in(id, name) { Ok(()) } else { refuse("not-there", format!("you are not in {name}")) }
    }

    pub(super) fn check_operator(&self, id: MemberId, name: &RoomName) -> Done {
        self.check_member(id, name)?;
        if self.rooms.get(name).is_some_and(|room| room.operators.contains(&id)) {
            return Ok(());
        }
        refuse("forbidden", format!("you are no operator of {name}"))
    }

    /// Tells those who share its place and want to know.
    pub(super) fn event_of(&mut self, id: MemberId, what: &str, details: &str) {
        let Some(place) = self.people.get(id).and_then(super::people::Member::place) else { return };
        let nick = self.nick(id);
        let space = if details.is_empty() { "" } else { " " };
        let line: std::sync::Arc<str> = format!("EVENT {place}: {what} {nick}{space}{details}").into();
        for other in self.seated.get(&place).cloned().unwrap_or_default() {
            if other != id && self.people.get(other).is_some_and(|member| member.telling >= Telling::On) {
                self.tell(other, std::sync::Arc::clone(&line));
            }
        }
    }
}
