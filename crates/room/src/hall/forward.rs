//! Packets from one to those who are to hear him.

use core::net::SocketAddr;

use vox_frame::Stamp;
use vox_rtp::{ExtensionMap, HeaderExtension, HeaderFacts, Packet, Protocol};

use super::people::{MemberId, Stream};
use super::{ConnId, Hall, Output, Path, Timer};
use crate::LEVEL_EXTENSION;
use crate::command::{StreamFacts, Telling};
use crate::munge::Place as Position;
use crate::seal::NotSealed;

/// Packets that are kept for a stream whose announcement comes by another way and may be slower.
const MAX_PENDING: usize = 16;

/// The longest packet that is kept so, in bytes.
const MAX_PENDING_BYTES: usize = 2048;

/// Packets after which a stream that nobody announces begins without.
const UNANNOUNCED_BEGIN: usize = 4;

/// After what silence a stream that nobody has announced is at its end, in ns.
const UNANNOUNCED_END_NS: i64 = 10_000_000_000;

impl Hall {
    /// Takes a datagram and gives what is to be sent on to `out`. The bytes are used as room to work in.
    pub fn handle_datagram(
        &mut self,
        now: Stamp,
        from: SocketAddr,
        datagram: &mut [u8],
        out: &mut impl FnMut(Path, &[u8]),
    ) {
        if self.bind(from, datagram, out) {
            return;
        }
        if let Some(&id) = self.addresses.get(&from) {
            self.forward_datagram(now, id, datagram, out);
        } else if !self.forward_raw(from, datagram, out) {
            self.stats.packets_foreign += 1;
        }
    }

    /// Takes a packet that came within a connection.
    pub fn handle_packet(&mut self, now: Stamp, conn: ConnId, packet: &mut [u8], out: &mut impl FnMut(Path, &[u8])) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        connection.last_heard = now.ns();
        match connection.member {
            Some(id) if self.people.get(id).is_some_and(|member| member.path == Some(Path::Conn(conn))) => {
                self.forward(now, id, packet, out);
            }
            _ => self.stats.packets_foreign += 1,
        }
    }

    /// A datagram of a member's address, which has to be the member's own where its voice is sealed.
    fn forward_datagram(&mut self, now: Stamp, id: MemberId, bytes: &mut [u8], out: &mut impl FnMut(Path, &[u8])) {
        let Some(member) = self.people.get_mut(id) else { return };
        let Some(seal) = &mut member.seal else { return self.forward(now, id, bytes, out) };
        if Protocol::of(bytes) == Protocol::Rtcp {
            return;
        }
        let Some(mut opened) = seal.open(now, bytes) else {
            self.stats.packets_unauthentic += 1;
            return;
        };
        self.forward(now, id, &mut opened, out);
        if let Some(seal) = self.people.get_mut(id).and_then(|member| member.seal.as_mut()) {
            seal.give_back(opened);
        }
    }

    fn forward(&mut self, now: Stamp, id: MemberId, bytes: &mut [u8], out: &mut impl FnMut(Path, &[u8])) {
        self.stats.packets_received += 1;
        self.stats.bytes_received += bytes.len() as u64;
        let limits = self.config.limits;
        let Some(member) = self.people.get_mut(id) else { return };
        if !member.packets.take(now.ns(), limits.packets_per_s, limits.packets_burst) {
            self.stats.packets_refused += 1;
            return;
        }
        // Reports are for whom the stream is sent to, which is the server.
        if Protocol::of(bytes) != Protocol::Rtcp {
            self.route(now, id, bytes, out);
        }
    }

    /// Hands a packet to who is to hear it.
    fn route(&mut self, now: Stamp, id: MemberId, bytes: &mut [u8], out: &mut impl FnMut(Path, &[u8])) {
        let Ok(packet) = Packet::parse(bytes) else {
            self.stats.packets_malformed += 1;
            return;
        };
        let header = packet.header;
        let Some(member) = self.people.get(id) else { return };
        if !member.streams.iter().any(|stream| stream.ssrc == header.ssrc) {
            if let Some(held) = self.hold(id, header.ssrc, header.payload_type, bytes) {
                self.route_held(now, id, held, out);
            }
            return;
        }
        self.route_known(now, id, bytes, out);
    }

    fn route_known(&mut self, now: Stamp, id: MemberId, bytes: &mut [u8], out: &mut impl FnMut(Path, &[u8])) {
        let limits = self.config.limits;
        let Ok(packet) = Packet::parse(bytes) else { return };
        let header = packet.header;
        let Some(member) = self.people.get_mut(id) else { return };
        let Some(at) = member.streams.iter().position(|stream| stream.ssrc == header.ssrc) else { return };
        let Some(stream) = member.streams.get_mut(at) else { return };
        let position = stream.order.handle(header.sequence);
        let began = stream.learn(now, &packet, position);
        let level = stream.level;
        let loud = self.has_floor(now, id, header.ssrc, level);
        let Some(stream) = self.people.get_mut(id).and_then(|member| member.streams.get_mut(at)) else { return };
        let mut legs = std::mem::take(&mut stream.legs);
        let mut tap = stream.tap;
        let stream_ssrc = stream.out_ssrc;
        let out_ssrc = stream_ssrc.to_be_bytes();
        let mut exhausted = Vec::new();
        let marked = bytes[1];
        bytes[8..12].copy_from_slice(&out_ssrc);
        let mut heard = false;
        for leg in &mut legs {
            let listener = if leg.open && loud { self.people.get_mut(leg.to) } else { None };
            let Some((path, listener)) = listener.and_then(|listener| Some((listener.path?, listener))) else {
                leg.munger.swallow(header.sequence, position);
                continue;
            };
            let Some((sequence, marker)) = leg.munger.forward(header.sequence, position) else { continue };
            bytes[1] = if marker { marked | 0x80 } else { marked };
            bytes[2..4].copy_from_slice(&sequence.to_be_bytes());
            let bytes = match (&path, &mut listener.seal) {
                (Path::Udp(_), Some(seal)) => match seal.close(stream_ssrc, sequence, bytes) {
                    Ok(sealed) => sealed,
                    Err(NotSealed::Used) => continue,
                    Err(NotSealed::Exhausted) => {
                        exhausted.push(leg.to);
                        continue;
                    }
                },
                _ => &*bytes,
            };
            self.stats.packets_sent += 1;
            self.stats.bytes_sent += bytes.len() as u64;
            heard = true;
            out(path, bytes);
        }
        if let Some(tap) = &mut tap {
            bytes[1] = marked;
            heard |= self.tap(tap, now, loud, (header.sequence, position), bytes);
        }
        for listener in exhausted {
            self.end_seal(listener);
        }
        match heard {
            true => {}
            false if loud => self.stats.packets_unheard += 1,
            false => self.stats.packets_quiet += 1,
        }
        if let Some(stream) = self.people.get_mut(id).and_then(|member| member.streams.get_mut(at)) {
            stream.legs = legs;
            stream.tap = tap;
        }
        if began {
            self.set_timer(now.ns().saturating_add(limits.talk_ns), Timer::Talk(id, header.ssrc));
            self.event_of(id, "talk-start", "");
        }
    }

    /// The keys of a member have done what keys may: it has to ask for new ones.
    pub(super) fn end_seal(&mut self, id: MemberId) {
        self.unbind(id);
        self.tell(id, "ERROR VOICE: too-many streams were heard by these keys; say VOICE again");
    }

    /// Keeps a packet of a stream that was not announced. Gives what was kept where the payload type tells what it is
    /// and no announcement has come: the stream has begun.
    fn hold(&mut self, id: MemberId, ssrc: u32, payload_type: u8, bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
        let member = self.people.get_mut(id)?;
        if bytes.len() > MAX_PENDING_BYTES {
            self.stats.packets_malformed += 1;
            return None;
        }
        if member.pending.len() >= MAX_PENDING {
            self.stats.packets_malformed += 1;
            member.pending.remove(0);
        }
        member.pending.push((ssrc, bytes.to_vec()));
        let held = member.pending.iter().filter(|(of, _)| *of == ssrc).count();
        if held < UNANNOUNCED_BEGIN || member.streams.len() >= self.config.limits.streams_each {
            return None;
        }
        let facts = StreamFacts::unannounced(payload_type)?;
        self.add_stream(id, ssrc, facts, false);
        Some(self.take_held(id, ssrc))
    }

    fn take_held(&mut self, id: MemberId, ssrc: u32) -> Vec<Vec<u8>> {
        let Some(member) = self.people.get_mut(id) else { return Vec::new() };
        let (held, rest) = std::mem::take(&mut member.pending).into_iter().partition(|(of, _)| *of == ssrc);
        member.pending = rest;
        let held: Vec<(u32, Vec<u8>)> = held;
        held.into_iter().map(|(_, bytes)| bytes).collect()
    }

    fn route_held(&mut self, now: Stamp, id: MemberId, held: Vec<Vec<u8>>, out: &mut impl FnMut(Path, &[u8])) {
        for mut bytes in held {
            // Its stream is known by now, so that it is not kept once more.
            if self.people.get(id).is_some_and(|member| !member.streams.is_empty()) {
                self.route_known(now, id, &mut bytes, out);
            }
        }
    }

    /// The announcement of a stream has come: what was kept of it goes on.
    pub(super) fn release_held(&mut self, now: Stamp, id: MemberId, ssrc: u32) {
        let held = self.take_held(id, ssrc);
        let mut sent = Vec::new();
        self.route_held(now, id, held, &mut |path, bytes| sent.push(Output::Packet(path, bytes.to_vec())));
        self.outputs.extend(sent);
    }

    /// Whether somebody who talked still does.
    pub(super) fn check_talk(&mut self, now: Stamp, id: MemberId, ssrc: u32) {
        let talk = self.config.limits.talk_ns;
        let Some(member) = self.people.get_mut(id) else { return };
        let Some(stream) = member.streams.iter_mut().find(|stream| stream.ssrc == ssrc) else { return };
        let silent = now.ns() - stream.last_packet;
        if silent < talk {
            let level = stream.level;
            self.set_timer(now.ns().saturating_add(talk), Timer::Talk(id, ssrc));
            if let Some(level) = level {
                self.tell_level(id, level);
            }
            return;
        }
        let was_talking = std::mem::take(&mut stream.talking);
        let unannounced = !stream.announced;
        if was_talking {
            self.event_of(id, "talk-stop", "");
        }
        if unannounced {
            if silent >= UNANNOUNCED_END_NS {
                let _known = self.end_stream(id, ssrc, None, "timeout");
            } else {
                self.set_timer(now.ns().saturating_add(UNANNOUNCED_END_NS - silent), Timer::Talk(id, ssrc));
            }
        }
    }

    fn tell_level(&mut self, id: MemberId, level: u8) {
        let Some(place) = self.people.get(id).and_then(super::people::Member::place) else { return };
        let nick = self.nick(id).to_owned();
        for other in self.seated.get(&place).cloned().unwrap_or_default() {
            if other != id && self.people.get(other).is_some_and(|member| member.telling == Telling::Levels) {
                self.tell(other, format!("EVENT {place}: level {nick} -{level}"));
            }
        }
    }
}

impl Stream {
    /// Learns from a packet; true where with it somebody begins to talk.
    fn learn(&mut self, now: Stamp, packet: &Packet<'_>, position: Position) -> bool {
        let (ticks, _) = self.facts.format.measure(packet.payload).unwrap_or((0, 0));
        let ticks = u64::from(ticks) / self.facts.format.scale();
        let end = packet.header.timestamp.wrapping_add(ticks as u32);
        if matches!(position, Position::Ahead(_)) {
            self.end = Some(end);
            self.lateness.handle(now, self.facts.format.clock, packet.header.timestamp);
        }
        if let Some((profile, bytes)) = packet.extension {
            let mut map = ExtensionMap::default();
            map.insert(LEVEL_EXTENSION, HeaderExtension::AudioLevel);
            if let Some((_, level)) = HeaderFacts::read(&map, profile, bytes).level {
                self.level = Some(level);
            }
        }
        self.last_packet = now.ns();
        let began = !self.talking && !packet.payload.is_empty();
        self.talking |= began;
        began
    }
}
