//! Datagrams in, records out: every source that is heard becomes a stream.

use core::net::SocketAddr;
use std::collections::{BTreeMap, VecDeque};

use vox_frame::{
    Audio, Channels, Codec, End, EndReason, Extension, Format, Gap, GapReason, MediaTime, Rate, Record, RtpOrigin,
    SequenceNumber, Stamp, StreamId, Times, TimestampUnwrapper, Unwrapper,
};

use crate::extension::{ExtensionMap, HeaderFacts};
use crate::packet::{Packet, PacketError};
use crate::payload::{PayloadFormat, PayloadMap};
use crate::source::{Admission, MAX_MISORDER, Source};

/// Packets kept for a source that is not yet known to be one.
const MAX_HELD: usize = 16;

/// Bytes kept for a source that is not yet known to be one.
const MAX_HELD_BYTES: usize = 65_536;

/// How far a timestamp may run ahead of the arrivals between two packets in order, in seconds, before it counts as
/// a jump. Losses, silence and bursts stay far below it.
const FORWARD_JUMP_S: i64 = 10;

/// How far a timestamp may go back between two packets in order, in seconds, before it counts as a jump.
const BACKWARD_JUMP_S: i64 = 1;

/// A source that was quiet for so long gives way to a new one when there are too many, in nanoseconds.
const EVICTABLE_NS: i64 = 5_000_000_000;

/// What a [`Receiver`] is told once.
#[derive(Debug, Clone)]
pub struct ReceiverConfig {
    /// What payload types mean.
    pub map: PayloadMap,
    /// What the ids of header extensions mean.
    pub extensions: ExtensionMap,
    /// Sources heard at once, those on probation included.
    pub max_sources: usize,
    /// A source that was quiet for so long is at its end, in nanoseconds.
    pub source_timeout_ns: i64,
    /// Packets older than this when they are read become a gap, in nanoseconds; none to pass on everything.
    pub max_age_ns: Option<i64>,
    /// Where the ids of streams are drawn from.
    pub seed: u64,
}

/// Counters since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReceiverStats {
    /// RTP packets of valid sources.
    pub packets_received: u64,
    /// Their payload bytes.
    pub bytes_received: u64,
    /// Packets read too late and reported as gaps.
    pub packets_discarded: u64,
    /// Packets behind the highest sequence number.
    pub packets_misordered: u64,
    /// Packets of sources that never became valid, or stray ones.
    pub packets_stray: u64,
    /// Datagrams that are no RTP, or whose payload is not of its codec.
    pub packets_malformed: u64,
    /// RTCP packets: not used yet.
    pub packets_rtcp: u64,
    /// Packets with a payload type that the map does not have.
    pub packets_unknown: u64,
    /// Packets of new sources when there were too many already.
    pub packets_refused: u64,
    /// Streams begun.
    pub streams: u64,
    /// Sources that began anew: their numbers or timestamps jumped.
    pub restarts: u64,
}

/// Turns datagrams into streams of records, in order of arrival. Sources are keyed by socket and SSRC; see
/// [`Source`] for which packets belong to one.
#[derive(Debug)]
pub struct Receiver {
    config: ReceiverConfig,
    sources: BTreeMap<(u32, u32), Heard>,
    stats: ReceiverStats,
    unknown: BTreeMap<u8, u64>,
    random: u64,
}

/// Where a datagram came from and when.
#[derive(Debug, Clone, Copy)]
struct Delivery {
    from: SocketAddr,
    arrived: Stamp,
    now: Stamp,
}

#[derive(Debug)]
struct Heard {
    sequence: Source,
    held: VecDeque<Held>,
    held_bytes: usize,
    stream: Option<Stream>,
    last_heard: Stamp,
}

#[derive(Debug)]
struct Held {
    sequence: u16,
    delivery: Delivery,
    datagram: Vec<u8>,
}

#[derive(Debug)]
struct Stream {
    id: StreamId,
    payload: PayloadFormat,
    sequence: Unwrapper,
    timestamp: TimestampUnwrapper,
    /// RTP timestamp and arrival of the last packet in order.
    last: (u32, Stamp),
    /// Timestamp of a packet that jumped: one more near it confirms the jump.
    suspect: Option<u32>,
    /// Media time at which the stream ends so far.
    end: MediaTime,
    stale: Option<Stale>,
}

/// Packets in a row that were read too late.
#[derive(Debug, Clone, Copy)]
struct Stale {
    sequence: SequenceNumber,
    timestamp: MediaTime,
    last: SequenceNumber,
    end: MediaTime,
    packets: u32,
}

impl Receiver {
    /// A receiver that has heard nothing.
    pub const fn new(config: ReceiverConfig) -> Self {
        let random = config.seed;
        Self { config, sources: BTreeMap::new(), stats: NO_STATS, unknown: BTreeMap::new(), random }
    }

    /// Counters since the start.
    pub const fn stats(&self) -> &ReceiverStats {
        &self.stats
    }

    /// Payload types met that the map does not have, with how many packets of each.
    pub const fn unknown_payload_types(&self) -> &BTreeMap<u8, u64> {
        &self.unknown
    }

    /// How many sources are known, those on probation included.
    pub fn sources(&self) -> usize {
        self.sources.len()
    }

    /// Takes a datagram that `socket` received from `from` at `arrived` and that is read at `now`; hands the records
    /// that follow from it to `out`.
    ///
    /// # Errors
    /// Only those of `out`. Bad datagrams are counted.
    pub fn handle_datagram<E>(
        &mut self,
        now: Stamp,
        socket: u32,
        from: SocketAddr,
        arrived: Stamp,
        datagram: &[u8],
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let packet = match Packet::parse(datagram) {
            Ok(packet) => packet,
            Err(PacketError::Rtcp) => {
                self.stats.packets_rtcp += 1;
                return Ok(());
            }
            Err(PacketError::Malformed) => {
                self.stats.packets_malformed += 1;
                return Ok(());
            }
        };
        let key = (socket, packet.header.ssrc);
        if !self.is_wanted(key, &packet) || !self.make_room(now, key, out)? {
            return Ok(());
        }
        let delivery = Delivery { from, arrived, now };
        let heard = self.sources.entry(key).or_insert_with(|| Heard::new(packet.header.sequence, arrived));
        heard.last_heard = heard.last_heard.max(arrived);
        match heard.sequence.handle(packet.header.sequence) {
            Admission::Held => self.hold(key, &packet, delivery, datagram),
            Admission::Confirmed => {
                self.release_held(key, packet.header.sequence, out)?;
                self.pass_on(key, &packet, delivery, out)?;
            }
            Admission::InOrder => self.pass_on_in_order(key, &packet, delivery, datagram, out)?,
            Admission::Misordered => {
                self.stats.packets_misordered += 1;
                self.pass_on(key, &packet, delivery, out)?;
            }
            Admission::Restarted => {
                self.restart(key, out)?;
                self.release_held(key, packet.header.sequence, out)?;
                self.pass_on(key, &packet, delivery, out)?;
            }
        }
        Ok(())
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do next.
    pub fn next_deadline(&self) -> Option<Stamp> {
        self.sources.values().map(|heard| heard.last_heard.plus(self.config.source_timeout_ns)).min()
    }

    /// Ends the streams of sources that have been quiet for too long.
    ///
    /// # Errors
    /// Only those of `out`.
    pub fn handle_timeout<E>(
        &mut self,
        now: Stamp,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let timeout = self.config.source_timeout_ns;
        let quiet: Vec<_> = self
            .sources
            .iter()
            .filter(|(_, heard)| now.since(heard.last_heard) >= timeout)
            .map(|(&key, _)| key)
            .collect();
        for key in quiet {
            self.forget(key, EndReason::Timeout, out)?;
        }
        Ok(())
    }

    /// Ends every stream.
    ///
    /// # Errors
    /// Only those of `out`.
    pub fn finish<E>(
        &mut self,
        reason: &EndReason,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some((&key, _)) = self.sources.first_key_value() {
            self.forget(key, reason.clone(), out)?;
        }
        Ok(())
    }

    /// Whether the packet can be of use: a payload type that is known, or a source that is (its number counts).
    fn is_wanted(&mut self, key: (u32, u32), packet: &Packet<'_>) -> bool {
        let valid = self.sources.get(&key).is_some_and(|heard| heard.stream.is_some());
        let Some(format) = self.config.map.get(packet.header.payload_type) else {
            self.stats.packets_unknown += 1;
            *self.unknown.entry(packet.header.payload_type).or_default() += 1;
            return valid;
        };
        if packet.payload.is_empty() {
            // Padding can tell nothing about a codec, so it begins no stream.
            return valid;
        }
        let good = format.measure(packet.payload).is_some();
        if !good {
            self.stats.packets_malformed += 1;
        }
        good
    }

    /// Makes sure that the source may be known; false where there are too many.
    fn make_room<E>(
        &mut self,
        now: Stamp,
        key: (u32, u32),
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<bool, E> {
        if self.sources.contains_key(&key) || self.sources.len() < self.config.max_sources {
            return Ok(true);
        }
        let on_probation = self.sources.iter().filter(|(_, heard)| heard.stream.is_none());
        let quiet = self.sources.iter().filter(|(_, heard)| now.since(heard.last_heard) > EVICTABLE_NS);
        let victim = on_probation
            .chain(quiet)
            .min_by_key(|(_, heard)| (heard.stream.is_some(), heard.last_heard))
            .map(|(&key, _)| key);
        let Some(victim) = victim else {
            self.stats.packets_refused += 1;
            return Ok(false);
        };
        self.forget(victim, EndReason::Timeout, out)?;
        Ok(true)
    }

    fn hold(&mut self, key: (u32, u32), packet: &Packet<'_>, delivery: Delivery, datagram: &[u8]) {
        let Some(heard) = self.sources.get_mut(&key) else { return };
        if heard.stream.is_some() {
            // One stray packet is kept of a source that is valid; the one before it was nothing.
            self.stats.packets_stray += heard.drop_held();
        }
        while heard.held.len() >= MAX_HELD || heard.held_bytes + datagram.len() > MAX_HELD_BYTES {
            let Some(oldest) = heard.held.pop_front() else { break };
            heard.held_bytes -= oldest.datagram.len();
            self.stats.packets_stray += 1;
        }
        heard.held_bytes += datagram.len();
        heard.held.push_back(Held { sequence: packet.header.sequence, delivery, datagram: datagram.to_vec() });
    }

    /// Passes on the packets held so far that are near `sequence`.
    fn release_held<E>(
        &mut self,
        key: (u32, u32),
        sequence: u16,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(heard) = self.sources.get_mut(&key) else { return Ok(()) };
        heard.held_bytes = 0;
        for held in core::mem::take(&mut heard.held) {
            match Packet::parse(&held.datagram) {
                Ok(packet) if sequence.wrapping_sub(held.sequence) <= MAX_MISORDER => {
                    self.pass_on(key, &packet, held.delivery, out)?;
                }
                _ => self.stats.packets_stray += 1,
            }
        }
        Ok(())
    }

    /// A packet whose number is in order: its timestamp may still have jumped.
    fn pass_on_in_order<E>(
        &mut self,
        key: (u32, u32),
        packet: &Packet<'_>,
        delivery: Delivery,
        datagram: &[u8],
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let timestamp = packet.header.timestamp;
        let stream = self.sources.get_mut(&key).and_then(|heard| heard.stream.as_mut());
        match stream.map_or(Jump::None, |stream| stream.jump(timestamp, delivery.arrived)) {
            Jump::None => {
                if let Some(heard) = self.sources.get_mut(&key) {
                    self.stats.packets_stray += heard.drop_held();
                }
            }
            Jump::Suspected => {
                self.hold(key, packet, delivery, datagram);
                return Ok(());
            }
            Jump::Confirmed => {
                self.restart(key, out)?;
                self.release_held(key, packet.header.sequence, out)?;
            }
        }
        self.pass_on(key, packet, delivery, out)
    }

    /// Ends the source's stream: its next packet begins a new one.
    fn restart<E>(&mut self, key: (u32, u32), out: &mut impl FnMut(Record<'_>) -> Result<(), E>) -> Result<(), E> {
        self.stats.restarts += 1;
        let stream = self.sources.get_mut(&key).and_then(|heard| heard.stream.take());
        stream.map_or(Ok(()), |stream| stream.end(EndReason::Other("restarted".to_owned()), out))
    }

    fn forget<E>(
        &mut self,
        key: (u32, u32),
        reason: EndReason,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(mut heard) = self.sources.remove(&key) else { return Ok(()) };
        self.stats.packets_stray += heard.drop_held();
        heard.stream.map_or(Ok(()), |stream| stream.end(reason, out))
    }

    /// Hands on a packet that belongs to the source.
    fn pass_on<E>(
        &mut self,
        key: (u32, u32),
        packet: &Packet<'_>,
        delivery: Delivery,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let format = self.config.map.get(packet.header.payload_type).cloned();
        let known = self.sources.get(&key).and_then(|heard| heard.stream.as_ref()).map(|stream| stream.payload.clone());
        let carries_audio = format.is_some() && !packet.payload.is_empty();
        let payload = match (known, format) {
            (Some(known), _) if !carries_audio => known,
            (Some(known), Some(format)) if known == format => known,
            (known, Some(format)) if carries_audio => {
                if known.is_some() {
                    // The sender has changed its codec in mid-stream.
                    self.restart(key, out)?;
                }
                self.begin(key, packet, &format, delivery, out)?;
                format
            }
            _ => return Ok(()),
        };
        self.stats.packets_received += 1;
        self.stats.bytes_received += packet.payload.len() as u64;
        let max_age = self.config.max_age_ns;
        let Some(stream) = self.sources.get_mut(&key).and_then(|heard| heard.stream.as_mut()) else { return Ok(()) };
        if max_age.is_some_and(|max_age| delivery.now.since(delivery.arrived) > max_age) {
            self.stats.packets_discarded += 1;
            stream.discard(packet, &payload, delivery);
            return Ok(());
        }
        let facts = packet.extension.map_or_else(HeaderFacts::default, |(profile, bytes)| {
            HeaderFacts::read(&self.config.extensions, profile, bytes)
        });
        stream.write(packet, &payload, carries_audio, delivery, facts, out)
    }

    fn begin<E>(
        &mut self,
        key: (u32, u32),
        packet: &Packet<'_>,
        payload: &PayloadFormat,
        delivery: Delivery,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let id = StreamId(self.draw());
        let frame = payload.measure(packet.payload).map_or(0, |(ticks, _)| ticks);
        let mut channels = coded_channels(payload, packet.payload);
        if payload.codec == Codec::Opus && self.config.map.is_stereo_expected(packet.header.payload_type) {
            channels = Channels::STEREO;
        }
        let mut format = Format::new(payload.codec.clone(), payload.rate(), channels, frame);
        format.live = true;
        format.rtp = Some(RtpOrigin {
            ssrc: packet.header.ssrc,
            payload_type: packet.header.payload_type,
            source: Some(delivery.from.to_string()),
        });
        self.stats.streams += 1;
        if let Some(heard) = self.sources.get_mut(&key) {
            heard.stream = Some(Stream {
                id,
                payload: payload.clone(),
                sequence: Unwrapper::default(),
                timestamp: TimestampUnwrapper::default(),
                last: (packet.header.timestamp, delivery.arrived),
                suspect: None,
                end: MediaTime(0),
                stale: None,
            });
        }
        out(Record::Format(id, format))
    }

    /// The next random id, never 0 (splitmix64).
    fn draw(&mut self) -> u32 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) as u32).max(1)
    }
}

const NO_STATS: ReceiverStats = ReceiverStats {
    packets_received: 0,
    bytes_received: 0,
    packets_discarded: 0,
    packets_misordered: 0,
    packets_stray: 0,
    packets_malformed: 0,
    packets_rtcp: 0,
    packets_unknown: 0,
    packets_refused: 0,
    streams: 0,
    restarts: 0,
};

/// Channels as coded: Opus is announced as two channels whatever it holds (RFC 7587), its first packet says more.
fn coded_channels(payload: &PayloadFormat, first: &[u8]) -> Channels {
    let stereo = first.first().is_some_and(|toc| toc & 4 != 0);
    if payload.codec == Codec::Opus && !stereo { Channels::MONO } else { payload.channels }
}

impl Heard {
    const fn new(sequence: u16, arrived: Stamp) -> Self {
        Self {
            sequence: Source::new(sequence),
            held: VecDeque::new(),
            held_bytes: 0,
            stream: None,
            last_heard: arrived,
        }
    }

    /// Drops what is held; returns how many packets that were.
    fn drop_held(&mut self) -> u64 {
        let dropped = self.held.len() as u64;
        self.held.clear();
        self.held_bytes = 0;
        dropped
    }
}

enum Jump {
    None,
    Suspected,
    Confirmed,
}

impl Stream {
    /// Whether the timestamp of a packet in order lies where the arrivals do not explain it.
    fn jump(&mut self, timestamp: u32, arrived: Stamp) -> Jump {
        let second = i64::from(self.payload.clock.hz());
        let is_far = |from: u32, elapsed: i64| {
            let step = i64::from(timestamp.wrapping_sub(from) as i32);
            step < -BACKWARD_JUMP_S * second || step > elapsed.saturating_add(FORWARD_JUMP_S * second)
        };
        let elapsed = ticks(self.payload.clock, arrived.since(self.last.1));
        if !is_far(self.last.0, elapsed) {
            self.suspect = None;
            self.last = (timestamp, arrived);
            return Jump::None;
        }
        match self.suspect.replace(timestamp) {
            Some(suspect) if !is_far(suspect, 0) => Jump::Confirmed,
            _ => Jump::Suspected,
        }
    }

    fn place(&mut self, packet: &Packet<'_>, payload: &PayloadFormat) -> (SequenceNumber, MediaTime, u32, usize) {
        let sequence = self.sequence.extend(packet.header.sequence);
        let timestamp = MediaTime(self.timestamp.extend(packet.header.timestamp).0 * payload.scale());
        let (duration, bytes) = payload.measure(packet.payload).unwrap_or((0, 0));
        self.end = self.end.max(timestamp.plus(u64::from(duration)));
        (sequence, timestamp, duration, bytes)
    }

    fn discard(&mut self, packet: &Packet<'_>, payload: &PayloadFormat, _delivery: Delivery) {
        let (sequence, timestamp, duration, _) = self.place(packet, payload);
        let end = timestamp.plus(u64::from(duration));
        let stale = self.stale.get_or_insert(Stale { sequence, timestamp, last: sequence, end, packets: 0 });
        stale.packets = stale.packets.saturating_add(1);
        stale.last = stale.last.max(sequence);
        stale.end = stale.end.max(end);
    }

    fn write<E>(
        &mut self,
        packet: &Packet<'_>,
        payload: &PayloadFormat,
        carries_audio: bool,
        delivery: Delivery,
        facts: HeaderFacts,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (sequence, timestamp, duration, bytes) = self.place(packet, payload);
        if let Some(stale) = self.stale.take() {
            // Up to the packet that follows, so that what was lost in between is in the gap too.
            let end = if sequence > stale.last { timestamp.max(stale.end) } else { stale.end };
            out(Record::Gap(stale.gap(self.id, end)))?;
        }
        let mut extensions = Vec::new();
        if !packet.csrc.is_empty() {
            Extension::ContributingSources(packet.csrc).write(&mut extensions);
        }
        if let Some((voice, level)) = facts.level {
            Extension::AudioLevel { voice, level }.write(&mut extensions);
        }
        out(Record::Audio(Audio {
            id: self.id,
            sequence,
            timestamp,
            duration: if carries_audio { duration } else { 0 },
            marker: packet.header.marker,
            recovered: false,
            padding: !carries_audio,
            times: Times { captured: facts.captured(delivery.arrived), arrived: Some(delivery.arrived), due: None },
            slot: None,
            extensions: &extensions,
            payload: if carries_audio { &packet.payload[..bytes] } else { &[] },
        }))
    }

    fn end<E>(self, reason: EndReason, out: &mut impl FnMut(Record<'_>) -> Result<(), E>) -> Result<(), E> {
        if let Some(stale) = self.stale {
            out(Record::Gap(stale.gap(self.id, stale.end)))?;
        }
        out(Record::End(End { id: self.id, timestamp: self.end, times: Times::default(), reason }))
    }
}

impl Stale {
    fn gap(self, id: StreamId, end: MediaTime) -> Gap<'static> {
        Gap {
            id,
            sequence: self.sequence,
            timestamp: self.timestamp,
            duration: end.since(self.timestamp),
            packets: self.packets,
            reason: GapReason::Overrun,
            times: Times::default(),
            slot: None,
            later: None,
        }
    }
}

/// Ticks in `ns`, negative ones included.
fn ticks(rate: Rate, ns: i64) -> i64 {
    let ticks = i128::from(ns) * i128::from(rate.hz()) / 1_000_000_000;
    i64::try_from(ticks).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX })
}
