//! Packets from one to those who are to hear him.

use core::net::SocketAddr;

use vox_frame::Stamp;
use vox_rtp::{ExtensionMap, HeaderExtension, HeaderFacts, Packet, Protocol};

use super::people::{MemberId, Stream};
use super::{ConnId, Hall, Path, Timer};
use crate::LEVEL_EXTENSION;
use crate::command::{StreamFacts, Telling};
use crate::munge::Place as Position;

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
            self.forward(now, id, datagram, out);
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
        if Protocol::of(bytes) == Protocol::Rtcp {
            return;
        }
        let Ok(packet) = Packet::parse(bytes) else {
            self.stats.packets_malformed += 1;
            return;
        };
        let header = packet.header;
        let known = member.streams.iter().position(|stream| stream.ssrc == header.ssrc);
        let Some(at) = known.or_else(|| self.begin_unannounced(id, header.ssrc, header.payload_type)) else {
            self.stats.packets_malformed += 1;
            return;
        };
        let Some(stream) = self.people.get_mut(id).and_then(|member| member.streams.get_mut(at)) else { return };
        let position = stream.order.handle(header.sequence);
        let began = stream.learn(now, &packet, position);
        let mut legs = std::mem::take(&mut stream.legs);
        let out_ssrc = stream.out_ssrc.to_be_bytes();
        let marked = bytes[1];
        bytes[8..12].copy_from_slice(&out_ssrc);
        let mut heard = false;
        for leg in &mut legs {
            let path = if leg.open { self.people.get(leg.to).and_then(|member| member.path) } else { None };
            let Some(path) = path else {
                leg.munger.swallow(header.sequence, position);
                continue;
            };
            let Some((sequence, marker)) = leg.munger.forward(header.sequence, position) else { continue };
            bytes[1] = if marker { marked | 0x80 } else { marked };
            bytes[2..4].copy_from_slice(&sequence.to_be_bytes());
            self.stats.packets_sent += 1;
            self.stats.bytes_sent += bytes.len() as u64;
            heard = true;
            out(path, bytes);
        }
        if !heard {
            self.stats.packets_unheard += 1;
        }
        if let Some(stream) = self.people.get_mut(id).and_then(|member| member.streams.get_mut(at)) {
            stream.legs = legs;
        }
        if began {
            self.set_timer(now.ns().saturating_add(limits.talk_ns), Timer::Talk(id, header.ssrc));
            self.event_of(id, "talk-start", "");
        }
    }

    /// A stream that its owner has not announced, where its payload type tells what it is.
    fn begin_unannounced(&mut self, id: MemberId, ssrc: u32, payload_type: u8) -> Option<usize> {
        let facts = StreamFacts::unannounced(payload_type)?;
        let streams = self.people.get(id)?.streams.len();
        if streams >= self.config.limits.streams_each {
            return None;
        }
        self.add_stream(id, ssrc, facts, false);
        Some(streams)
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
