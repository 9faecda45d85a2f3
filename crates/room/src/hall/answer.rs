//! From lines to what they do.

use vox_frame::Stamp;

use super::people::MemberId;
use super::{ConnId, Hall, Output, printable};
use crate::command::{Dialect, GRAMMAR};
use crate::{Command, Misunderstood};

/// Why a command is not done: a word for programs, and text for people.
pub(super) type Refusal = (&'static str, String);

/// What a command comes to.
pub(super) type Done = Result<(), Refusal>;

pub(super) fn refuse(word: &'static str, text: impl Into<String>) -> Done {
    Err((word, text.into()))
}

impl Hall {
    /// Takes a line of a connection, its end left off.
    pub fn handle_line(&mut self, now: Stamp, conn: ConnId, line: &[u8]) {
        let limits = self.config.limits;
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        self.stats.lines += 1;
        connection.last_heard = now.ns();
        if !connection.lines.take(now.ns(), limits.lines_per_s, limits.lines_burst) {
            self.stats.lines_refused += 1;
            connection.excess += 1;
            match connection.excess {
                1 => self.send(conn, "ERROR: too many lines; what comes too fast is dropped"),
                excess if excess > limits.lines_excess => self.drop_connection(now, conn, "too many lines"),
                _ => {}
            }
            return;
        }
        connection.excess = 0;
        let text = String::from_utf8_lossy(line);
        match Command::parse(&text) {
            Ok(command) => self.handle_command(now, conn, command, &text),
            Err(misunderstood) => self.misunderstood(conn, &misunderstood),
        }
    }

    /// A line was too long to be one.
    pub fn handle_long_line(&mut self, now: Stamp, conn: ConnId, beginning: &[u8]) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        connection.last_heard = now.ns();
        self.stats.lines_misunderstood += 1;
        let beginning = printable(&String::from_utf8_lossy(beginning));
        self.send(conn, format!("ERROR: a line of more than {} bytes ({beginning}…)", crate::MAX_LINE));
    }

    fn misunderstood(&mut self, conn: ConnId, what: &Misunderstood) {
        self.stats.lines_misunderstood += 1;
        let connected = self.connections.get(&conn).is_some_and(|connection| connection.member.is_some());
        let before = matches!(what, Misunderstood::Syntax("CONNECT", _)) || !connected;
        let answer = what.answer();
        // The document of the protocol knows one word for all that is wrong before one is connected.
        self.send(conn, if before { format!("NOTACCEPTED: {answer}") } else { answer });
    }

    fn handle_command(&mut self, now: Stamp, conn: ConnId, command: Command, text: &str) {
        match command {
            Command::Connect(hello) => self.connect(now, conn, hello),
            Command::Disconnect => self.disconnect(now, conn),
            Command::Ping(text) => self.send(conn, format!("PONG: {}", printable(&text))),
            Command::Pong(number) => self.pong(now, conn, number),
            Command::Help => {
                for (_, syntax, purpose) in GRAMMAR {
                    self.send(conn, format!("HELP: {syntax} ({purpose})"));
                }
            }
            other => {
                let Some(id) = self.connections.get(&conn).and_then(|connection| connection.member) else {
                    self.send(conn, "NOTACCEPTED: say CONNECT: \"Nickname\" \"Real Name\" 1.0.0 first");
                    return;
                };
                let verb: String = text.trim().chars().take_while(char::is_ascii_alphabetic).collect();
                if let Err((word, why)) = self.of_member(now, conn, id, other, text) {
                    self.send(conn, format!("ERROR {}: {word} {why}", verb.to_ascii_uppercase()));
                }
            }
        }
    }

    fn of_member(&mut self, now: Stamp, conn: ConnId, id: MemberId, command: Command, text: &str) -> Done {
        match command {
            Command::Rename(nick) => self.rename(now, id, nick),
            Command::Join(rooms, password) => self.join(now, conn, id, rooms, password),
            Command::Leave(room) => self.leave(now, id, &room),
            Command::UserList(room) => self.user_list(id, &room),
            Command::WhoIs(nick) => self.who_is(id, &nick),
            Command::List => self.list(id),
            Command::Create(room, password) => self.create(conn, id, room, password),
            Command::Delete(room) => self.delete(now, id, &room),
            Command::Lock(room, password) => self.lock(conn, id, room, password),
            Command::Unlock(room) => self.unlock(id, &room),
            Command::Message(room, text) => self.message(id, &room, &text),
            Command::Private(nick, text) => self.private(id, &nick, &text),
            Command::Talk(party, action) => {
                // Who shouts the action speaks by keys, as the clients of that dialect do.
                if text.split(':').nth(1).is_some_and(|word| word.trim().chars().all(char::is_uppercase)) {
                    self.set_dialect(conn, Dialect::Keys);
                }
                self.talk(now, id, party, action)
            }
            Command::Mute(whom, on) => self.mute(id, whom, on),
            Command::Kick(room, nick) => self.kick(now, id, &room, &nick),
            Command::Voice(None) => {
                self.leave_voice(now, id, "off");
                self.tell(id, "VOICE: off");
                Ok(())
            }
            Command::Voice(Some(voice)) => self.enter_voice(now, conn, id, voice),
            Command::Stream(ssrc, facts) => self.announce(now, id, ssrc, facts),
            Command::StreamEnd(ssrc, rtp, reason) => self.end_stream(id, ssrc, rtp, &reason),
            Command::Record(room, what) => self.record(id, &room, what),
            Command::Events(telling) => {
                if let Some(member) = self.people.get_mut(id) {
                    member.telling = telling;
                }
                self.tell(id, "EVENTS: as you wish");
                Ok(())
            }
            Command::Session => self.session(id),
            Command::Register(password) => self.register(conn, id, password),
            Command::Keep(room, on) => self.keep(id, &room, on),
            Command::Ban(room, nick, on) => self.ban_from(now, id, &room, &nick, on),
            Command::Dialect(dialect) => {
                self.set_dialect(conn, dialect);
                self.send(conn, "DIALECT: as you wish");
                Ok(())
            }
            Command::Connect(_) | Command::Disconnect | Command::Ping(_) | Command::Pong(_) | Command::Help => Ok(()),
        }
    }

    fn set_dialect(&mut self, conn: ConnId, dialect: Dialect) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.dialect = dialect;
        }
    }

    /// Says why and closes.
    pub(super) fn drop_connection(&mut self, now: Stamp, conn: ConnId, why: &str) {
        self.send(conn, format!("ERROR: {why}; goodbye"));
        self.outputs.push_back(Output::Close(conn));
        self.handle_closed(now, conn);
    }
}
