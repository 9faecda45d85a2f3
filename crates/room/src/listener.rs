//! The other end of forwarding: what a room sends becomes records.

use std::collections::{BTreeMap, VecDeque};

use vox_frame::{
    Audio, End, EndReason, Extension, Gap, GapReason, MediaTime, Record, SequenceNumber, Stamp, StreamId, Times,
    TimestampUnwrapper, Unwrapper,
};
use vox_rtp::{ExtensionMap, HeaderExtension, HeaderFacts, Packet};

use crate::StreamFacts;

/// How long packets of an ended stream may still be under way, in ns.
const TAIL_NS: i64 = 300_000_000;

/// How long after our own connection is there again a stream is waited for, in ns, that was heard before.
const RETURN_NS: i64 = 10_000_000_000;

/// Packets that are kept for a stream whose announcement is still under way.
const MAX_HELD: usize = 64;

/// Streams that are heard at a time.
const MAX_STREAMS: usize = 1024;

/// The id of the header extension in which packets tell their level (RFC 6464), in every room.
pub const LEVEL_EXTENSION: u8 = 1;

/// Turns announcements and packets of a room into records, in order of arrival.
#[derive(Debug, Default)]
pub struct Listener {
    streams: BTreeMap<u32, Heard>,
    held: VecDeque<(Stamp, Vec<u8>)>,
    /// Packets of no stream that was announced.
    unknown: u64,
}

#[derive(Debug)]
struct Heard {
    nick: String,
    facts: StreamFacts,
    sequence: Unwrapper,
    timestamp: TimestampUnwrapper,
    /// Where it stands: the next sequence number and the media time that it has come to.
    next: Option<(SequenceNumber, MediaTime)>,
    /// The connection was lost since the last packet: what is missing is lost.
    resumed: bool,
    /// The farewell is only what comes of it when the stream does not come back.
    missed: bool,
    /// It has ended: the RTP timestamp of its end, why, and until when packets are waited for.
    farewell: Option<(Option<u32>, EndReason, Stamp)>,
}

impl Listener {
    /// Nothing is heard yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Packets that belonged to no stream.
    pub const fn unknown_packets(&self) -> u64 {
        self.unknown
    }

    /// The stream of that number, if it is heard, and whose it is.
    pub fn owner(&self, ssrc: u32) -> Option<&str> {
        self.streams.get(&ssrc).map(|heard| heard.nick.as_str())
    }

    /// The first stream of somebody.
    pub fn stream_of(&self, nick: &str) -> Option<(StreamId, MediaTime)> {
        let (ssrc, heard) = self.streams.iter().find(|(_, heard)| heard.nick == nick)?;
        Some((StreamId(*ssrc), heard.next.map_or(MediaTime(0), |(_, reached)| reached)))
    }

    /// A stream is announced. One that is known goes on.
    ///
    /// # Errors
    /// Only those of `out`.
    pub fn handle_stream<E>(
        &mut self,
        now: Stamp,
        nick: &str,
        ssrc: u32,
        facts: StreamFacts,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if let Some(known) = self.streams.get_mut(&ssrc)
            && known.facts == facts
            && known.nick == nick
            && (known.missed || known.farewell.is_none())
        {
            if std::mem::take(&mut known.missed) {
                known.farewell = None;
            }
            return Ok(());
        }
        if self.streams.len() >= MAX_STREAMS && !self.streams.contains_key(&ssrc) {
            return Ok(());
        }
        self.end(ssrc, out)?;
        let mut format = facts.to_format();
        format.label = Some(match &facts.label {
            Some(label) => format!("{nick}/{label}"),
            None => nick.to_owned(),
        });
        format.rtp = Some(vox_frame::RtpOrigin { ssrc, payload_type: facts.payload_type, source: None });
        let heard = Heard {
            nick: nick.to_owned(),
            facts,
            sequence: Unwrapper::default(),
            timestamp: TimestampUnwrapper::default(),
            next: None,
            resumed: false,
            missed: false,
            farewell: None,
        };
        self.streams.insert(ssrc, heard);
        out(Record::Format(StreamId(ssrc), format))?;
        for (arrived, bytes) in std::mem::take(&mut self.held) {
            self.handle_packet(now, arrived, &bytes, out)?;
        }
        Ok(())
    }

    /// A stream has ended at that RTP timestamp; packets of it may still be under way.
    pub fn handle_farewell(&mut self, now: Stamp, ssrc: u32, rtp: Option<u32>, reason: &str) {
        if let Some(heard) = self.streams.get_mut(&ssrc) {
            heard.missed = false;
            let reason = match reason {
                "complete" => EndReason::Complete,
                "stopped" => EndReason::Stopped,
                "timeout" | "lost" => EndReason::Timeout,
                "interrupted" => EndReason::Interrupted,
                other => EndReason::Other(other.to_owned()),
            };
            heard.farewell = Some((rtp, reason, now.plus(TAIL_NS)));
        }
    }

    /// Our own connection was lost and is there again. Streams that go on are announced again; the others end.
    pub fn handle_reconnected(&mut self, now: Stamp) {
        self.handle_back(None);
        for heard in self.streams.values_mut().filter(|heard| heard.farewell.is_none()) {
            heard.missed = true;
            heard.farewell = Some((None, EndReason::Timeout, now.plus(RETURN_NS)));
        }
    }

    /// The connection was lost and is there again, ours or that of `nick`: what is missing was lost.
    pub fn handle_back(&mut self, nick: Option<&str>) {
        for heard in self.streams.values_mut() {
            heard.resumed |= nick.is_none_or(|nick| heard.nick == nick);
        }
    }

    /// Takes a packet that came at `arrived`.
    ///
    /// # Errors
    /// Only those of `out`.
    pub fn handle_packet<E>(
        &mut self,
        now: Stamp,
        arrived: Stamp,
        bytes: &[u8],
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Ok(packet) = Packet::parse(bytes) else {
            self.unknown += 1;
            return Ok(());
        };
        let ssrc = packet.header.ssrc;
        let Some(heard) = self.streams.get_mut(&ssrc) else {
            // Its announcement comes by another way and may be slower.
            self.unknown += 1;
            if self.held.len() >= MAX_HELD {
                self.held.pop_front();
            }
            self.held.push_back((arrived, bytes.to_vec()));
            return Ok(());
        };
        heard.write(StreamId(ssrc), &packet, arrived, out)?;
        if heard.is_complete() { self.end(ssrc, out) } else { self.handle_timeout(now, out) }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do next.
    pub fn next_deadline(&self) -> Option<Stamp> {
        self.streams.values().filter_map(|heard| heard.farewell.as_ref().map(|(.., until)| *until)).min()
    }

    /// Ends the streams whose packets have all come, or will not.
    ///
    /// # Errors
    /// Only those of `out`.
    pub fn handle_timeout<E>(
        &mut self,
        now: Stamp,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let is_over =
            |heard: &Heard| heard.is_complete() || heard.farewell.as_ref().is_some_and(|(.., until)| now >= *until);
        let over: Vec<u32> = self.streams.iter().filter(|(_, heard)| is_over(heard)).map(|(ssrc, _)| *ssrc).collect();
        over.into_iter().try_for_each(|ssrc| self.end(ssrc, out))
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
        let all: Vec<u32> = self.streams.keys().copied().collect();
        for ssrc in all {
            if let Some(heard) = self.streams.get_mut(&ssrc)
                && heard.farewell.is_none()
            {
                heard.farewell = Some((None, reason.clone(), Stamp::ZERO));
            }
            self.end(ssrc, out)?;
        }
        Ok(())
    }

    fn end<E>(&mut self, ssrc: u32, out: &mut impl FnMut(Record<'_>) -> Result<(), E>) -> Result<(), E> {
        let Some(mut heard) = self.streams.remove(&ssrc) else { return Ok(()) };
        let (rtp, reason, _) = heard.farewell.take().unwrap_or((None, EndReason::Interrupted, Stamp::ZERO));
        let reached = heard.next.map_or(MediaTime(0), |(_, reached)| reached);
        let timestamp = match (rtp, heard.next) {
            (Some(rtp), Some(_)) => heard.media_time(rtp),
            _ => reached,
        };
        out(Record::End(End { id: StreamId(ssrc), timestamp, times: Times::default(), reason }))
    }
}

impl Heard {
    fn media_time(&mut self, rtp: u32) -> MediaTime {
        MediaTime(self.timestamp.extend(rtp).0.saturating_mul(self.facts.format.scale()))
    }

    /// Whether it has ended and all of it is here.
    fn is_complete(&self) -> bool {
        let Some((Some(rtp), ..)) = self.farewell else { return false };
        let mut timestamp = self.timestamp;
        let scale = self.facts.format.scale();
        self.next.is_some_and(|(_, reached)| reached.0 >= timestamp.extend(rtp).0.saturating_mul(scale))
    }

    fn write<E>(
        &mut self,
        id: StreamId,
        packet: &Packet<'_>,
        arrived: Stamp,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let sequence = self.sequence.extend(packet.header.sequence);
        let timestamp = self.media_time(packet.header.timestamp);
        let audible = packet.header.payload_type == self.facts.payload_type && !packet.payload.is_empty();
        let measured = if audible { self.facts.format.measure(packet.payload) } else { None };
        let (duration, bytes) = measured.unwrap_or((0, 0));
        if let Some((next, reached)) = self.next
            && self.resumed
            && sequence >= next
            && timestamp > reached
        {
            let packets = u32::try_from(sequence.0 - next.0).unwrap_or(u32::MAX);
            out(Record::Gap(Gap {
                id,
                sequence: next,
                timestamp: reached,
                duration: timestamp.since(reached),
                packets,
                reason: GapReason::Lost,
                times: Times::default(),
                slot: None,
                later: None,
            }))?;
        }
        self.resumed = false;
        let end = (sequence.plus(1), timestamp.plus(u64::from(duration)));
        self.next = Some(self.next.map_or(end, |next| (next.0.max(end.0), next.1.max(end.1))));
        let mut extensions = Vec::new();
        if let Some((profile, bytes)) = packet.extension {
            let mut map = ExtensionMap::default();
            map.insert(LEVEL_EXTENSION, HeaderExtension::AudioLevel);
            if let Some((voice, level)) = HeaderFacts::read(&map, profile, bytes).level {
                Extension::AudioLevel { voice, level }.write(&mut extensions);
            }
        }
        out(Record::Audio(Audio {
            id,
            sequence,
            timestamp,
            duration,
            marker: packet.header.marker,
            recovered: false,
            padding: !audible,
            times: Times { captured: None, arrived: Some(arrived), due: None },
            slot: None,
            extensions: &extensions,
            payload: &packet.payload[..bytes],
        }))
    }
}
