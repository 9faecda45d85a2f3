//! Packets of a source as records of its stream.

use vox_frame::{Channels, Codec, EndReason, Format, Record, RtpOrigin, StreamId};

use super::{Key, Receiver};
use crate::extension::HeaderFacts;
use crate::packet::Packet;
use crate::payload::{Content, PayloadFormat};
use crate::source::MAX_MISORDER;
use crate::stream::{Delivery, Stream};

impl Receiver {
    /// Hands on a packet that belongs to the source.
    pub(super) fn pass_on<E>(
        &mut self,
        key: Key,
        packet: &Packet<'_>,
        delivery: Delivery,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let format = self.config.map.get(packet.header.payload_type);
        let content = format.map(PayloadFormat::content);
        let audible = content == Some(Content::Audio) && !packet.payload.is_empty();
        let known = self.sources.get(&key).and_then(|heard| heard.stream.as_ref()).map(|stream| &stream.payload);
        if audible && known != format {
            let changed = known.is_some();
            let Some(format) = format.cloned() else { return Ok(()) };
            if changed {
                // The sender has changed its codec in mid-stream.
                self.restart(key, out)?;
            }
            self.begin(key, packet, &format, delivery, out)?;
        } else if known.is_none() {
            return Ok(());
        }
        self.stats.packets_received += 1;
        self.stats.bytes_received += packet.payload.len() as u64;
        let max_age = self.config.max_age_ns;
        let Some(heard) = self.sources.get_mut(&key) else { return Ok(()) };
        let Some(clock) = heard.stream.as_ref().map(|stream| stream.payload.clock) else { return Ok(()) };
        heard.count(packet, clock, delivery.arrived);
        let mut facts = packet.extension.map_or_else(HeaderFacts::default, |(profile, bytes)| {
            HeaderFacts::read(&self.config.extensions, profile, bytes)
        });
        if facts.captured(delivery.arrived).is_none() {
            let captured = heard.captured(packet.header.timestamp, clock, delivery.arrived);
            facts.captured = captured.map(crate::NtpTime::of);
        }
        let Some(stream) = &mut heard.stream else { return Ok(()) };
        if max_age.is_some_and(|max_age| delivery.now.since(delivery.arrived) > max_age) {
            self.stats.packets_discarded += 1;
            stream.discard(packet);
            return Ok(());
        }
        stream.write(packet, content, delivery, facts, out)
    }

    pub(super) fn begin<E>(
        &mut self,
        key: Key,
        packet: &Packet<'_>,
        payload: &PayloadFormat,
        delivery: Delivery,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let id = StreamId(self.draw());
        let Some(heard) = self.sources.get_mut(&key) else { return Ok(()) };
        let frame = payload.measure(packet.payload).map_or(0, |(ticks, _)| ticks);
        let stereo = self.config.map.is_stereo_expected(packet.header.payload_type);
        let channels = coded_channels(payload, packet.payload, stereo);
        let mut format = Format::new(payload.codec.clone(), payload.rate(), channels, frame);
        format.live = true;
        format.rtp = Some(RtpOrigin {
            ssrc: packet.header.ssrc,
            payload_type: packet.header.payload_type,
            source: Some(heard.from.to_string()),
        });
        self.stats.streams += 1;
        heard.stream = Some(Stream::new(id, payload.clone(), packet.header.timestamp, delivery.arrived));
        out(Record::Format(id, format))
    }

    /// The next random id, never 0 (splitmix64).
    pub(super) fn draw(&mut self) -> u32 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) as u32).max(1)
    }

    /// Passes on the packets held so far that are near `sequence`.
    pub(super) fn release_held<E>(
        &mut self,
        key: Key,
        sequence: u16,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(heard) = self.sources.get_mut(&key) else { return Ok(()) };
        for held in heard.take_held() {
            match Packet::parse(&held.datagram) {
                Ok(packet) if sequence.wrapping_sub(held.sequence) <= MAX_MISORDER => {
                    self.pass_on(key, &packet, held.delivery, out)?;
                }
                _ => self.stats.packets_stray += 1,
            }
        }
        Ok(())
    }

    /// Ends the source's stream: its next packet begins a new one.
    pub(super) fn restart<E>(&mut self, key: Key, out: &mut impl FnMut(Record<'_>) -> Result<(), E>) -> Result<(), E> {
        self.stats.restarts += 1;
        let Some(heard) = self.sources.get_mut(&key) else { return Ok(()) };
        heard.restart();
        let stream = heard.stream.take();
        stream.map_or(Ok(()), |stream| stream.end(EndReason::Other("restarted".to_owned()), out))
    }

    pub(super) fn forget<E>(
        &mut self,
        key: Key,
        reason: EndReason,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(mut heard) = self.sources.remove(&key) else { return Ok(()) };
        self.stats.packets_stray += heard.drop_held();
        heard.stream.map_or(Ok(()), |stream| stream.end(reason, out))
    }
}

/// Channels as coded: Opus is announced as two channels whatever it holds (RFC 7587), its sender or its first packet
/// says more.
fn coded_channels(payload: &PayloadFormat, first: &[u8], announced: bool) -> Channels {
    let stereo = announced || first.first().is_some_and(|toc| toc & 4 != 0);
    if payload.codec == Codec::Opus && !stereo { Channels::MONO } else { payload.channels }
}
