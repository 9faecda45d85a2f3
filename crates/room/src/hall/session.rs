//! Connections: who they are, whether they are still there, and how one comes back.

use core::net::SocketAddr;
use std::collections::BTreeSet;

use vox_frame::Stamp;

use super::answer::Done;
use super::lasting::Ban;
use super::people::{Connection, Member, MemberId};
use super::rooms::Ticket;
use super::{ConnId, Hall, Output, Timer};
use crate::command::{Carrier, Dialect, Hello, Telling};
use crate::limits::Bucket;
use crate::{Nick, RoomName};

impl Hall {
    /// Somebody has connected. `media` is where datagrams of this client are to be sent to, as it sees the server.
    /// False where there are too many connections already: say so and close it.
    pub fn handle_connected(&mut self, now: Stamp, conn: ConnId, media: Option<SocketAddr>) -> bool {
        let limits = self.config.limits;
        if self.connections.len() >= limits.connections {
            return false;
        }
        let connection = Connection {
            media,
            is_private: false,
            may_be_plain: true,
            member: None,
            lines: Bucket::full(limits.lines_burst, now.ns()),
            excess: 0,
            last_heard: now.ns(),
            ping: None,
            next_ping: now.ns(),
            dialect: Dialect::default(),
            waits: false,
        };
        self.connections.insert(conn, connection);
        self.set_timer(now.ns().saturating_add(limits.handshake_ns), Timer::Handshake(conn));
        true
    }

    /// What becomes known of a connection: whether nobody in between can read it, and whether voice may travel
    /// unencrypted beside it.
    pub fn handle_privacy(&mut self, conn: ConnId, is_private: bool, may_be_plain: bool) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.is_private = is_private;
            connection.may_be_plain = may_be_plain;
        }
    }

    /// A connection is gone, however that came about. Whoever asked for it keeps its seat for a while.
    pub fn handle_closed(&mut self, now: Stamp, conn: ConnId) {
        let Some(connection) = self.connections.remove(&conn) else { return };
        let Some(id) = connection.member else { return };
        let kept = self.people.get(id).is_some_and(|member| member.session.is_some());
        if !kept {
            self.remove_member(now, id, "left");
            return;
        }
        self.unbind(id);
        if let Some(member) = self.people.get_mut(id) {
            member.conn = None;
        }
        let seat = self.config.limits.seat_ns;
        self.set_timer(now.ns().saturating_add(seat), Timer::Seat(id));
        self.event_of(id, "away", "");
        self.refresh_of(id);
    }

    pub(super) fn handshake_is_over(&mut self, conn: ConnId) {
        if self.connections.get(&conn).is_some_and(|connection| connection.member.is_none()) {
            self.connections.remove(&conn);
            self.send(conn, "NOTACCEPTED: no CONNECT came in time; goodbye");
            self.outputs.push_back(Output::Close(conn));
        }
    }

    pub(super) fn ping(&mut self, now: Stamp, conn: ConnId) {
        let limits = self.config.limits;
        let number = (self.draw)() % 100_000_000;
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let silent = now.ns() - connection.last_heard;
        if silent >= limits.silence_ns {
            self.drop_connection(now, conn, "nothing was heard of you for too long");
            return;
        }
        let ask = now.ns() >= connection.next_ping;
        if ask {
            connection.next_ping = now.ns().saturating_add(limits.ping_ns);
            connection.ping = Some((number, now.ns()));
        }
        let next = connection.next_ping.min(connection.last_heard.saturating_add(limits.silence_ns));
        if ask {
            self.send(conn, format!("PING: {number}"));
        }
        self.set_timer(next, Timer::Ping(conn));
    }

    pub(super) fn pong(&mut self, now: Stamp, conn: ConnId, number: u64) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        // A second answer to the same question says nothing of the way.
        let Some((_, at)) = connection.ping.take_if(|(asked, _)| *asked == number) else {
            self.send(conn, "ERROR PONG: number that was not asked");
            return;
        };
        if let Some(member) = connection.member.and_then(|id| self.people.get_mut(id)) {
            member.rtt_ns = Some(now.ns() - at);
        }
    }

    pub(super) fn connect(&mut self, now: Stamp, conn: ConnId, hello: Hello) {
        let Hello { nick, real_name, resume, password } = hello;
        if self.connections.get(&conn).is_some_and(|connection| connection.member.is_some()) {
            self.send(conn, "NOTACCEPTED: you are connected already");
            return;
        }
        if let Some(id) = resume.and_then(|token| self.sessions.get(&token).copied())
            && self.people.get(id).is_some_and(|member| member.nick == nick)
        {
            self.resume(now, conn, id);
            return;
        }
        if self.bans.contains(&Ban::Nick(nick.clone())) {
            self.send(conn, format!("NOTACCEPTED: {nick} is banned"));
            return;
        }
        match (self.accounts.get(&nick).cloned(), password) {
            (None, _) if self.config.members_only => {
                self.send(conn, format!("NOTACCEPTED: {nick} is not registered, and only who is may come in"));
            }
            (None, _) => self.admit(now, conn, nick, real_name, false),
            (Some(_), None) => {
                self.send(conn, format!("NOTACCEPTED: {nick} is registered; say pass=PASSWORD behind your names"));
            }
            (Some(kept), Some(password)) => match self.ticket(conn, Ticket::Connect(conn, nick, real_name)) {
                Ok(ticket) => self.outputs.push_back(Output::Verify(ticket, password, kept)),
                Err((_, why)) => self.send(conn, format!("NOTACCEPTED: {why}")),
            },
        }
    }

    /// The password of a registered nickname is right, or is not.
    pub(super) fn knows(&mut self, now: Stamp, conn: ConnId, nick: Nick, real_name: String, right: bool) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        connection.waits = false;
        if connection.member.is_some() {
            return;
        }
        if right {
            self.admit(now, conn, nick, real_name, true);
        } else {
            self.send(conn, format!("NOTACCEPTED: {nick} has another password"));
            self.outputs.push_back(Output::Guessed(conn));
        }
    }

    fn admit(&mut self, now: Stamp, conn: ConnId, nick: Nick, real_name: String, registered: bool) {
        if self.by_nick(&nick).is_some() {
            self.send(conn, format!("NICKNAMEINUSE: {nick} is taken; try another"));
            return;
        }
        let lobby = self.config.lobby.clone();
        if !self.has_room_for_one(&lobby) {
            self.send(conn, "NOTACCEPTED: the house is full");
            return;
        }
        let id = self.seat(now, conn, nick, real_name, registered);
        self.accept(now, conn, id);
        self.enter(id, &lobby);
    }

    /// A seat for somebody who is in no room yet.
    pub(super) fn seat(
        &mut self,
        now: Stamp,
        conn: ConnId,
        nick: Nick,
        real_name: String,
        registered: bool,
    ) -> MemberId {
        let member = Member {
            nick,
            real_name,
            registered,
            conn: Some(conn),
            rooms: BTreeSet::new(),
            voice_room: None,
            carrier: Carrier::Udp,
            token: None,
            session: None,
            seal: None,
            path: None,
            call: None,
            wish: None,
            mix: None,
            streams: Vec::new(),
            pending: Vec::new(),
            telling: Telling::Off,
            packets: Bucket::full(self.config.limits.packets_burst, now.ns()),
            muted_in: false,
            muted_out: false,
            gagged: false,
            ignores: BTreeSet::new(),
            rtt_ns: None,
        };
        self.people.add(member)
    }

    pub(super) fn accept(&mut self, now: Stamp, conn: ConnId, id: MemberId) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.member = Some(id);
        }
        let host = self.config.host.clone();
        self.send(conn, format!("ACCEPT: {host}"));
        self.ping(now, conn);
    }

    /// A lost connection is taken up again: the same seat, the same rooms, the same streams.
    fn resume(&mut self, now: Stamp, conn: ConnId, id: MemberId) {
        let before = self.people.get_mut(id).and_then(|member| member.conn.replace(conn));
        if let Some(before) = before {
            // It may be half open: its owner is here now.
            self.connections.remove(&before);
            self.send(before, "ERROR: you have come back by another connection; goodbye");
            self.outputs.push_back(Output::Close(before));
            self.unbind(id);
        }
        self.accept(now, conn, id);
        let rooms: Vec<RoomName> =
            self.people.get(id).map_or_else(Vec::new, |member| member.rooms.iter().cloned().collect());
        for room in rooms {
            self.tell(id, format!("JOINED: {room}"));
            self.tell_users(id, &room);
        }
        self.event_of(id, "back", "");
        self.refresh_of(id);
    }

    pub(super) fn session(&mut self, id: MemberId) -> Done {
        let token = self.draw_token();
        let seconds = self.config.limits.seat_ns / 1_000_000_000;
        let Some(member) = self.people.get_mut(id) else { return Ok(()) };
        if let Some(old) = member.session.replace(token) {
            self.sessions.remove(&old);
        }
        self.sessions.insert(token, id);
        self.tell(id, format!("SESSION: {token:032x} {seconds}"));
        Ok(())
    }

    pub(super) fn seat_is_over(&mut self, now: Stamp, id: MemberId) {
        if self.people.get(id).is_some_and(|member| member.conn.is_none()) {
            self.remove_member(now, id, "lost");
        }
    }

    pub(super) fn disconnect(&mut self, now: Stamp, conn: ConnId) {
        if let Some(id) = self.connections.get(&conn).and_then(|connection| connection.member) {
            self.remove_member(now, id, "left");
        }
        self.connections.remove(&conn);
        self.outputs.push_back(Output::Close(conn));
    }

    /// Takes a member out of everything that knows it.
    pub(super) fn remove_member(&mut self, now: Stamp, id: MemberId, why: &str) {
        self.end_calls_of(now, id);
        self.leave_voice(now, id, why);
        let rooms: Vec<RoomName> =
            self.people.get(id).map_or_else(Vec::new, |member| member.rooms.iter().cloned().collect());
        for room in rooms {
            self.exit(id, &room);
        }
        self.unbind(id);
        let Some(member) = self.people.remove(id) else { return };
        if let Some(token) = member.session {
            self.sessions.remove(&token);
        }
        if let Some(token) = member.token {
            self.tokens.remove(&token);
        }
        for stream in &member.streams {
            self.retire(stream.out_ssrc);
        }
        if let Some(connection) = member.conn.and_then(|conn| self.connections.get_mut(&conn)) {
            connection.member = None;
        }
    }

    /// Packets from its address are nobody's any more.
    pub(super) fn unbind(&mut self, id: MemberId) {
        let path = self.people.get_mut(id).and_then(|member| member.path.take());
        if let Some(super::Path::Udp(address)) = path {
            self.addresses.remove(&address);
        }
    }
}
