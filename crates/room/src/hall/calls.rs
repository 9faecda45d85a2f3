//! Private calls between two, through the server.

use core::net::SocketAddr;

use vox_frame::Stamp;

use super::answer::{Done, refuse};
use super::people::MemberId;
use super::voice::Place;
use super::{Hall, Path, Timer};
use crate::command::{Dialect, Party, TalkAction};

/// Keys have fifteen digits.
const SMALLEST_KEY: u64 = 100_000_000_000_000;

/// A call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) caller: MemberId,
    pub(super) callee: MemberId,
    accepted: bool,
    /// Where those who send raw audio send it from.
    raw: [Option<SocketAddr>; 2],
}

impl Call {
    fn other(&self, id: MemberId) -> MemberId {
        if id == self.caller { self.callee } else { self.caller }
    }
}

impl Hall {
    pub(super) fn talk(&mut self, now: Stamp, id: MemberId, party: Party, action: TalkAction) -> Done {
        if action == TalkAction::Request {
            let Party::Nick(nick) = party else { return refuse("no-such-user", "a key is nobody's name") };
            let Some(callee) = self.by_nick(&nick) else {
                return refuse("no-such-user", format!("there is no {nick} here"));
            };
            return self.request(now, id, callee);
        }
        let key = match party {
            Party::Key(key) => Some(key),
            Party::Nick(nick) => self.by_nick(&nick).and_then(|other| self.call_between(id, other)),
        };
        let Some((key, call)) = key.and_then(|key| Some((key, self.calls.get(&key)?))) else {
            self.tell(id, "TALK: BADSESSIONKEY");
            return Ok(());
        };
        if call.caller != id && call.callee != id {
            // A key that is somebody else's is no key.
            self.tell(id, "TALK: BADSESSIONKEY");
            return Ok(());
        }
        match action {
            TalkAction::Accept | TalkAction::Deny if call.callee != id || call.accepted => {
                refuse("not-yours", "that is not for you to say now")
            }
            TalkAction::Accept => self.accept_call(now, key),
            TalkAction::Deny => {
                self.tell_call(id, key, TalkAction::Deny);
                self.calls.remove(&key);
                Ok(())
            }
            TalkAction::End | TalkAction::Request => {
                self.tell_call(id, key, TalkAction::End);
                self.end_call(now, key);
                Ok(())
            }
        }
    }

    fn request(&mut self, now: Stamp, caller: MemberId, callee: MemberId) -> Done {
        if caller == callee {
            return refuse("busy", "you cannot call yourself");
        }
        let (Some(from), Some(to)) = (self.people.get(caller), self.people.get(callee)) else { return Ok(()) };
        if to.ignores.contains(&from.nick) {
            let nick = to.nick.clone();
            self.tell(caller, format!("TALK {nick}: Deny"));
            return Ok(());
        }
        if self.is_in_a_call(caller) {
            return refuse("busy", "you are in a call");
        }
        if self.is_in_a_call(callee) {
            let nick = self.nick(callee).to_owned();
            return refuse("busy", format!("{nick} is in a call"));
        }
        let key = SMALLEST_KEY + (self.draw)() % (9 * SMALLEST_KEY);
        self.calls.insert(key, Call { caller, callee, accepted: false, raw: [None, None] });
        self.set_timer(now.ns().saturating_add(self.config.limits.ring_ns), Timer::Ring(key));
        self.tell_call(caller, key, TalkAction::Request);
        Ok(())
    }

    fn is_in_a_call(&self, id: MemberId) -> bool {
        self.calls.values().any(|call| call.caller == id || call.callee == id)
    }

    fn call_between(&self, id: MemberId, other: MemberId) -> Option<u64> {
        let is_it =
            |call: &Call| (call.caller, call.callee) == (id, other) || (call.caller, call.callee) == (other, id);
        self.calls.iter().find(|(_, call)| is_it(call)).map(|(key, _)| *key)
    }

    fn accept_call(&mut self, now: Stamp, key: u64) -> Done {
        let Some(call) = self.calls.get_mut(&key) else { return Ok(()) };
        call.accepted = true;
        let (caller, callee) = (call.caller, call.callee);
        self.tell_call(callee, key, TalkAction::Accept);
        for id in [caller, callee] {
            self.stand_up(now, id, "call");
            if let Some(member) = self.people.get_mut(id) {
                member.call = Some(key);
            }
        }
        for id in [caller, callee] {
            self.sit_down(id);
        }
        Ok(())
    }

    /// Tells the other what `id` has said of a call, each in its own dialect; acceptance and denial by key both.
    fn tell_call(&mut self, id: MemberId, key: u64, action: TalkAction) {
        let Some(other) = self.calls.get(&key).map(|call| call.other(id)) else { return };
        let nick = self.nick(id).to_owned();
        let by_keys = |hall: &Self, id: MemberId| {
            let conn = hall.people.get(id).and_then(|member| member.conn);
            conn.and_then(|conn| hall.connections.get(&conn)).is_some_and(|known| known.dialect == Dialect::Keys)
        };
        let line = match (by_keys(self, other), action) {
            (true, TalkAction::Request) => format!("TALK {nick} {key}: REQUEST"),
            (true, TalkAction::Accept) => format!("TALK {key}: ACCEPTED"),
            (true, TalkAction::Deny) => format!("TALK {key}: DENIED"),
            (true, TalkAction::End) => format!("TALK {key}: END"),
            (false, TalkAction::Request) => format!("TALK {nick}: Request"),
            (false, TalkAction::Accept) => format!("TALK {nick}: Accept"),
            (false, TalkAction::Deny) => format!("TALK {nick}: Deny"),
            (false, TalkAction::End) => format!("TALK {nick}: End"),
        };
        self.tell(other, line);
        if action == TalkAction::Accept && by_keys(self, id) {
            self.tell(id, format!("TALK {key}: ACCEPTED"));
        }
    }

    pub(super) fn ring_is_over(&mut self, key: u64) {
        let Some(call) = self.calls.get(&key).filter(|call| !call.accepted) else { return };
        let (caller, callee) = (call.caller, call.callee);
        self.tell_call(callee, key, TalkAction::End);
        self.tell_call(caller, key, TalkAction::End);
        self.calls.remove(&key);
    }

    /// Ends whatever calls a member is in or asks for.
    pub(super) fn end_calls_of(&mut self, now: Stamp, id: MemberId) {
        let keys: Vec<u64> =
            self.calls.iter().filter(|(_, call)| call.caller == id || call.callee == id).map(|(key, _)| *key).collect();
        for key in keys {
            self.tell_call(id, key, TalkAction::End);
            self.end_call(now, key);
        }
    }

    fn end_call(&mut self, now: Stamp, key: u64) {
        let Some(call) = self.calls.get(&key) else { return };
        let (accepted, pair, raw) = (call.accepted, [call.caller, call.callee], call.raw);
        for address in raw.into_iter().flatten() {
            self.raw.remove(&address);
        }
        if accepted {
            for id in pair {
                self.stand_up(now, id, "call");
            }
            for id in pair {
                if let Some(member) = self.people.get_mut(id) {
                    member.call = None;
                }
                // Back to the room where it was before.
                self.sit_down(id);
            }
        }
        self.calls.remove(&key);
        self.seated.remove(&Place::Call(key));
    }

    /// Binds an address to one side of a call by the call's key; the first two that have it are the two sides.
    pub(super) fn bind_raw(&mut self, from: SocketAddr, key: &str) -> bool {
        let Ok(key) = key.parse::<u64>() else { return false };
        let Some(call) = self.calls.get_mut(&key).filter(|call| call.accepted) else { return false };
        if call.raw.contains(&Some(from)) {
            return true;
        }
        let Some(free) = call.raw.iter_mut().find(|side| side.is_none()) else { return false };
        if self.addresses.contains_key(&from) || self.raw.contains_key(&from) {
            return false;
        }
        *free = Some(from);
        self.raw.insert(from, key);
        true
    }

    /// Hands raw audio to the other side of its call; false where it is nobody's.
    pub(super) fn forward_raw(&mut self, from: SocketAddr, datagram: &[u8], out: &mut impl FnMut(Path, &[u8])) -> bool {
        let Some(call) = self.raw.get(&from).and_then(|key| self.calls.get(key)) else { return false };
        self.stats.packets_received += 1;
        self.stats.bytes_received += datagram.len() as u64;
        if let Some(to) = call.raw.iter().flatten().find(|side| **side != from) {
            self.stats.packets_sent += 1;
            self.stats.bytes_sent += datagram.len() as u64;
            out(Path::Udp(*to), datagram);
        }
        true
    }
}
