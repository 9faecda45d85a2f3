//! Who talks and listens where, and who hears whom.

use core::fmt;
use core::net::SocketAddr;

use vox_frame::Stamp;
use zeroize::Zeroizing;

use super::answer::{Done, refuse};
use super::people::{Leg, MemberId, Stream};
use super::{ConnId, Hall, Path};
use crate::RoomName;
use crate::command::{Carrier, StreamFacts, Telling, Voice};
use crate::lateness::Lateness;
use crate::munge::{Munger, Order};
use crate::seal::Seal;
use crate::{KEY_BYTES, SUITE};

/// Bytes that a datagram begins with which binds an address to a key.
const SESSION: &[u8] = b"TALKSESSION:";

/// The answer to a key that is right. Never longer than what it answers.
const BOUND: &[u8] = b"TALKSESSION: ok";

/// The answer to a key that is not.
const UNKNOWN: &[u8] = b"SESSIONERROR: key";

/// Numbers of streams that have ended which are remembered; from then on new ones are drawn.
const MAX_RETIRED: usize = 65_536;

/// Where somebody talks and listens: in one place at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Room(RoomName),
    /// A private call.
    Call(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Room(name) => write!(f, "{name}"),
            Self::Call(_) => f.write_str("call"),
        }
    }
}

impl Hall {
    pub(super) fn enter_voice(
        &mut self,
        now: Stamp,
        conn: ConnId,
        id: MemberId,
        Voice { room, carrier, mix }: Voice,
    ) -> Done {
        if mix.is_some() {
            self.check_mix(id)?;
        }
        if let Some(room) = &room {
            self.check_member(id, room)?;
        }
        let about = room.as_ref().map_or_else(String::new, |room| format!(" {room}"));
        let Some(connection) = self.connections.get(&conn) else { return Ok(()) };
        let (media, is_private, may_be_plain) = (connection.media, connection.is_private, connection.may_be_plain);
        let mut seal = None;
        let answer = match (carrier, media) {
            (Carrier::Udp | Carrier::Srtp, None) => {
                return refuse("unavailable", format!("there is no UDP here: VOICE{about}: tcp"));
            }
            (Carrier::Udp, Some(_)) if !may_be_plain => {
                return refuse("forbidden", format!("voice is encrypted here: VOICE{about}: srtp"));
            }
            (Carrier::Srtp, Some(_)) if !is_private => {
                return refuse("forbidden", "keys are told to who has connected by TLS only");
            }
            (Carrier::Udp, Some(media)) => {
                let token = self.media_token(id);
                format!("VOICE{about}: udp {media} {token:032x}")
            }
            (Carrier::Srtp, Some(media)) => {
                let token = self.media_token(id);
                let (made, keys) = self.make_seal();
                seal = made;
                format!("VOICE{about}: srtp {media} {token:032x} {keys}")
            }
            (Carrier::Tcp, _) => format!("VOICE{about}: tcp"),
        };
        if self.people.get(id).is_some_and(|member| member.voice_room != room) {
            self.leave_voice(now, id, "moved");
        }
        self.unbind(id);
        let Some(member) = self.people.get_mut(id) else { return Ok(()) };
        member.voice_room = room;
        member.carrier = carrier;
        member.wish = mix;
        member.seal = seal;
        member.telling = member.telling.max(Telling::On);
        if carrier == Carrier::Tcp {
            member.path = Some(Path::Conn(conn));
        }
        self.tell(id, answer);
        self.sit_down(id);
        Ok(())
    }

    /// Keys for the two directions, and how they are told: that of the client's own packets first.
    fn make_seal(&mut self) -> (Option<Box<Seal>>, String) {
        let mut draw = || {
            let mut key = Zeroizing::new([0; KEY_BYTES]);
            for piece in key.chunks_mut(8) {
                piece.copy_from_slice(&(self.draw)().to_ne_bytes()[..piece.len()]);
            }
            key
        };
        let (incoming, outgoing) = (draw(), draw());
        let text = |key: &[u8]| key.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let keys = format!("{} {} {}", SUITE.name(), text(&*incoming), text(&*outgoing));
        (Seal::new(&*incoming, &*outgoing).ok().map(Box::new), keys)
    }

    fn media_token(&mut self, id: MemberId) -> u128 {
        if let Some(token) = self.people.get(id).and_then(|member| member.token) {
            return token;
        }
        let token = self.draw_token();
        self.tokens.insert(token, id);
        if let Some(member) = self.people.get_mut(id) {
            member.token = Some(token);
        }
        token
    }

    /// Takes the member's seat where it is to be now, and tells it what streams there are.
    pub(super) fn sit_down(&mut self, id: MemberId) {
        let Some(place) = self.people.get(id).and_then(super::people::Member::place) else { return };
        let seats = self.seated.entry(place.clone()).or_default();
        let others = seats.clone();
        let arrives = !seats.contains(&id);
        if arrives {
            seats.push(id);
            self.event_of(id, "joined", "");
        }
        let mixed = self.people.get(id).is_some_and(|member| member.wish.is_some());
        self.tell_mix(id, &place);
        let streams: Vec<String> = others
            .iter()
            .filter(|other| **other != id && !mixed)
            .filter_map(|other| self.people.get(*other))
            .flat_map(|member| member.streams.iter().map(|stream| stream.announcement(member.nick.as_str())))
            .collect();
        for line in streams {
            self.tell(id, line);
        }
        if arrives {
            self.announce_to_all(id);
        }
        self.refresh(&place);
    }

    /// Gets up from the seat that the member has, with what `why` its streams end.
    pub(super) fn stand_up(&mut self, _now: Stamp, id: MemberId, why: &str) {
        let Some(place) = self.people.get(id).and_then(super::people::Member::place) else { return };
        if !self.seated.get(&place).is_some_and(|seats| seats.contains(&id)) {
            return;
        }
        let nick = self.nick(id).to_owned();
        let lines: Vec<String> = self
            .people
            .get(id)
            .map_or_else(Vec::new, |member| member.streams.iter().map(|stream| stream.farewell(&nick, why)).collect());
        self.event_of(id, "left", "");
        if let Some(seats) = self.seated.get_mut(&place) {
            seats.retain(|other| *other != id);
            if seats.is_empty() {
                self.seated.remove(&place);
                self.clear_floor(&place);
            }
        }
        for other in self.seated.get(&place).cloned().unwrap_or_default() {
            if self.people.get(other).is_some_and(|member| member.wish.is_some()) {
                continue;
            }
            for line in &lines {
                self.tell(other, line.as_str());
            }
        }
        if let Some(member) = self.people.get_mut(id) {
            for stream in &mut member.streams {
                stream.legs.clear();
                stream.tap = None;
                stream.talking = false;
            }
        }
        self.refresh(&place);
    }

    /// Leaves the voice of the room that it is in, and of the call, if it is in one.
    pub(super) fn leave_voice(&mut self, now: Stamp, id: MemberId, why: &str) {
        if self.people.get(id).is_some_and(|member| member.call.is_none()) {
            self.stand_up(now, id, why);
        }
        if let Some(member) = self.people.get_mut(id) {
            member.voice_room = None;
        }
    }

    pub(super) fn announce(&mut self, now: Stamp, id: MemberId, ssrc: u32, facts: StreamFacts) -> Done {
        let most = self.config.limits.streams_each;
        let Some(member) = self.people.get_mut(id) else { return Ok(()) };
        if let Some(stream) = member.streams.iter_mut().find(|stream| stream.ssrc == ssrc) {
            let same = stream.facts == facts;
            stream.facts = facts;
            stream.announced = true;
            let line = format!("STREAMING {ssrc}: {}", stream.out_ssrc);
            self.tell(id, line);
            if !same {
                self.announce_to_all(id);
                self.refresh_of(id);
            }
            return Ok(());
        }
        if member.streams.len() >= most {
            return refuse("too-many", format!("{most} streams are the most"));
        }
        let out_ssrc = self.add_stream(id, ssrc, facts, true);
        self.tell(id, format!("STREAMING {ssrc}: {out_ssrc}"));
        self.release_held(now, id, ssrc);
        Ok(())
    }

    /// A new stream; its number on the way out is its own unless somebody has that already.
    pub(super) fn add_stream(&mut self, id: MemberId, ssrc: u32, facts: StreamFacts, announced: bool) -> u32 {
        // A number that listeners' keys have protected before is not begun again.
        let wanted = if self.retired.len() >= MAX_RETIRED { (self.draw)() as u32 } else { ssrc };
        let out_ssrc = self.take_ssrc(wanted);
        let stream = Stream {
            ssrc,
            out_ssrc,
            facts,
            announced,
            order: Order::default(),
            legs: Vec::new(),
            tap: None,
            end: None,
            last_packet: 0,
            lateness: Lateness::default(),
            talking: false,
            level: None,
        };
        let Some(member) = self.people.get_mut(id) else { return out_ssrc };
        let line = stream.announcement(member.nick.as_str());
        let place = member.place();
        member.streams.push(stream);
        if let Some(place) = place {
            self.tell_place(&place, id, &line);
            self.refresh(&place);
        }
        out_ssrc
    }

    /// A number on the way out that nobody has.
    pub(super) fn free_ssrc(&mut self) -> u32 {
        let wanted = (self.draw)() as u32;
        self.take_ssrc(wanted)
    }

    fn take_ssrc(&mut self, wanted: u32) -> u32 {
        let mut ssrc = wanted;
        while self.retired.contains(&ssrc) || !self.ssrcs.insert(ssrc) {
            ssrc = (self.draw)() as u32;
        }
        ssrc
    }

    /// A number on the way out is used no longer.
    pub(super) fn retire(&mut self, out_ssrc: u32) {
        self.ssrcs.remove(&out_ssrc);
        if self.retired.len() < MAX_RETIRED {
            self.retired.insert(out_ssrc);
        }
    }

    fn announce_to_all(&mut self, id: MemberId) {
        let Some(member) = self.people.get(id) else { return };
        let Some(place) = member.place() else { return };
        let lines: Vec<String> =
            member.streams.iter().map(|stream| stream.announcement(member.nick.as_str())).collect();
        for line in lines {
            self.tell_place(&place, id, &line);
        }
    }

    fn tell_place(&mut self, place: &Place, except: MemberId, line: &str) {
        for other in self.seated.get(place).cloned().unwrap_or_default() {
            // Who gets a mix is told of that stream alone.
            if other != except && self.people.get(other).is_some_and(|member| member.wish.is_none()) {
                self.tell(other, line);
            }
        }
    }

    pub(super) fn end_stream(&mut self, id: MemberId, ssrc: u32, rtp: Option<u32>, reason: &str) -> Done {
        let Some(member) = self.people.get_mut(id) else { return Ok(()) };
        let Some(at) = member.streams.iter().position(|stream| stream.ssrc == ssrc) else {
            return refuse("no-such-stream", format!("{ssrc} is no stream of yours"));
        };
        let mut stream = member.streams.remove(at);
        stream.end = rtp.or(stream.end);
        let line = stream.farewell(member.nick.as_str(), reason);
        let place = member.place();
        self.retire(stream.out_ssrc);
        if let Some(place) = place {
            self.tell_place(&place, id, &line);
            self.end_tap(&place, &stream, reason);
        }
        if stream.talking {
            self.event_of(id, "talk-stop", "");
        }
        Ok(())
    }

    /// Who hears whom may have changed in a member's place.
    pub(super) fn refresh_of(&mut self, id: MemberId) {
        if let Some(place) = self.people.get(id).and_then(super::people::Member::place) {
            self.refresh(&place);
        }
    }

    /// Works out anew who hears whom in a place.
    pub(super) fn refresh(&mut self, place: &Place) {
        self.refresh_legs(place);
        self.refresh_desk(place);
    }

    fn refresh_legs(&mut self, place: &Place) {
        let Some(mut seats) = self.seated.get(place).cloned() else { return };
        // In order, so that legs are found by bisection.
        seats.sort_unstable();
        let forwarded = |hall: &Self, id: MemberId| hall.people.get(id).is_some_and(|member| member.wish.is_none());
        let listeners: Vec<MemberId> = seats.iter().copied().filter(|id| forwarded(self, *id)).collect();
        for &speaker in &seats {
            let Some(streams) = self.people.get_mut(speaker).map(|member| std::mem::take(&mut member.streams)) else {
                continue;
            };
            let mut streams = streams;
            for stream in &mut streams {
                let old = std::mem::take(&mut stream.legs);
                stream.legs.reserve(listeners.len());
                for &listener in listeners.iter().filter(|listener| **listener != speaker) {
                    let open = self.hears(place, listener, speaker);
                    let known = old.binary_search_by_key(&listener, |leg| leg.to);
                    let munger = known.map_or_else(|_| Munger::default(), |at| old[at].munger);
                    stream.legs.push(Leg { to: listener, open, munger });
                }
            }
            if let Some(member) = self.people.get_mut(speaker) {
                member.streams = streams;
            }
        }
    }

    /// Whether `listener` is to hear `speaker` there. Both are in that place.
    fn hears(&self, place: &Place, listener: MemberId, speaker: MemberId) -> bool {
        let (Some(ear), Some(mouth)) = (self.people.get(listener), self.people.get(speaker)) else { return false };
        !ear.ignores.contains(&mouth.nick) && !self.is_deaf(listener) && self.is_audible(place, speaker)
    }

    /// Whether somebody is to hear nobody where it is.
    pub(super) fn is_deaf(&self, listener: MemberId) -> bool {
        let Some(ear) = self.people.get(listener) else { return true };
        let by_others = match (ear.call, &ear.voice_room) {
            (None, Some(name)) => self.rooms.get(name).is_none_or(|room| room.deafened.contains(&listener)),
            _ => false,
        };
        ear.conn.is_none() || ear.muted_out || by_others
    }

    /// Whether anybody is to hear `speaker` there.
    pub(super) fn is_audible(&self, place: &Place, speaker: MemberId) -> bool {
        let Some(mouth) = self.people.get(speaker) else { return false };
        if mouth.muted_in || mouth.gagged {
            return false;
        }
        let Place::Room(name) = place else { return true };
        self.rooms
            .get(name)
            .is_some_and(|room| !room.silenced.contains(&speaker) && (!room.muted || room.operators.contains(&speaker)))
    }

    /// Binds an address to whose key it has. True where the datagram was about that.
    pub(super) fn bind(&mut self, from: SocketAddr, datagram: &[u8], out: &mut impl FnMut(Path, &[u8])) -> bool {
        let Some(key) = datagram.strip_prefix(SESSION) else { return false };
        let key = core::str::from_utf8(key).unwrap_or_default().trim();
        let member = (key.len() == 32)
            .then(|| u128::from_str_radix(key, 16).ok())
            .flatten()
            .and_then(|token| self.tokens.get(&token).copied())
            .filter(|id| {
                self.people.get(*id).is_some_and(|member| member.conn.is_some() && member.carrier != Carrier::Tcp)
            });
        let answer = match member {
            Some(id) => {
                self.unbind(id);
                // The address may have been another's before, behind the same NAT.
                if let Some(before) = self.addresses.insert(from, id)
                    && before != id
                    && let Some(member) = self.people.get_mut(before)
                {
                    member.path = None;
                }
                if let Some(member) = self.people.get_mut(id) {
                    member.path = Some(Path::Udp(from));
                }
                BOUND
            }
            None if self.bind_raw(from, key) => BOUND,
            None => {
                self.stats.packets_foreign += 1;
                UNKNOWN
            }
        };
        // Nothing that a stranger sends comes back longer.
        if answer.len() <= datagram.len() {
            out(Path::Udp(from), answer);
        }
        true
    }
}

impl Stream {
    fn announcement(&self, nick: &str) -> String {
        format!("STREAM {nick} {}: {}", self.out_ssrc, self.facts)
    }

    fn farewell(&self, nick: &str, why: &str) -> String {
        let end = self.end.map_or_else(String::new, |end| format!("rtp={end} "));
        format!("STREAMEND {nick} {}: {end}reason={why}", self.out_ssrc)
    }
}
