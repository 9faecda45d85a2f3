//! One stream of a source: where its packets lie in media time, and the records that they become.

use vox_frame::{
    Audio, End, EndReason, Extension, Gap, GapReason, MediaTime, Rate, Record, SequenceNumber, Stamp, StreamId, Times,
    TimestampUnwrapper, Unwrapper,
};

use crate::event::{self, TelephoneEvent};
use crate::extension::HeaderFacts;
use crate::packet::Packet;
use crate::payload::{Content, PayloadFormat};

/// How far a timestamp may run ahead of the arrivals between two packets in order, in seconds, before it counts as
/// a jump. Losses, silence and bursts stay far below it.
const FORWARD_JUMP_S: i64 = 10;

/// How far a timestamp may go back between two packets in order, in seconds, before it counts as a jump.
const BACKWARD_JUMP_S: i64 = 1;

/// When a packet came and when it is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Delivery {
    pub(crate) arrived: Stamp,
    pub(crate) now: Stamp,
    /// It was lost, and repaired by what came then.
    pub(crate) recovered: bool,
}

#[derive(Debug)]
pub(crate) struct Stream {
    id: StreamId,
    pub(crate) payload: PayloadFormat,
    sequence: Unwrapper,
    timestamp: TimestampUnwrapper,
    /// RTP timestamp and arrival of the last packet in order.
    last: (u32, Stamp),
    /// Timestamp of a packet that jumped: one more near it confirms the jump.
    suspect: Option<u32>,
    /// Media time at which the stream ends so far.
    end: MediaTime,
    stale: Option<Stale>,
    events: event::Heard,
}

pub(crate) enum Jump {
    None,
    Suspected,
    Confirmed,
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

impl Stream {
    /// A stream whose first packet has that timestamp.
    pub(crate) fn new(id: StreamId, payload: PayloadFormat, timestamp: u32, arrived: Stamp) -> Self {
        Self {
            id,
            payload,
            sequence: Unwrapper::default(),
            timestamp: TimestampUnwrapper::default(),
            last: (timestamp, arrived),
            suspect: None,
            end: MediaTime(0),
            stale: None,
            events: event::Heard::default(),
        }
    }

    /// Whether the timestamp of a packet in order lies where the arrivals do not explain it.
    pub(crate) fn jump(&mut self, timestamp: u32, arrived: Stamp) -> Jump {
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

    /// A packet that was read too late: it becomes part of a gap.
    pub(crate) fn discard(&mut self, packet: &Packet<'_>) {
        let (sequence, timestamp) = self.place(packet);
        let (duration, _) = self.payload.measure(packet.payload).unwrap_or((0, 0));
        let end = timestamp.plus(u64::from(duration));
        self.end = self.end.max(end);
        let stale = self.stale.get_or_insert(Stale { sequence, timestamp, last: sequence, end, packets: 0 });
        stale.packets = stale.packets.saturating_add(1);
        stale.last = stale.last.max(sequence);
        stale.end = stale.end.max(end);
    }

    /// Hands on a packet with what its header extensions say. `content` is what its payload type carries.
    pub(crate) fn write<E>(
        &mut self,
        packet: &Packet<'_>,
        content: Option<Content>,
        delivery: Delivery,
        facts: HeaderFacts,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let audible = content == Some(Content::Audio) && !packet.payload.is_empty();
        let (sequence, timestamp) = self.place(packet);
        let (duration, bytes) = if audible { self.payload.measure(packet.payload).unwrap_or((0, 0)) } else { (0, 0) };
        self.end = self.end.max(timestamp.plus(u64::from(duration)));
        if let Some(stale) = self.stale.take() {
            // Up to the packet that follows, so that what was lost in between is in the gap too.
            let end = if sequence > stale.last { timestamp.max(stale.end) } else { stale.end };
            out(Record::Gap(stale.gap(self.id, end)))?;
        }
        let times = Times { captured: facts.captured(delivery.arrived), arrived: Some(delivery.arrived), due: None };
        let mut extensions = Vec::new();
        if !packet.csrc.is_empty() {
            Extension::ContributingSources(packet.csrc).write(&mut extensions);
        }
        if let Some((voice, level)) = facts.level {
            Extension::AudioLevel { voice, level }.write(&mut extensions);
        }
        if !audible && !packet.payload.is_empty() {
            let payload_type = packet.header.payload_type;
            Extension::RtpPayload { payload_type, payload: packet.payload }.write(&mut extensions);
        }
        out(Record::Audio(Audio {
            id: self.id,
            sequence,
            timestamp,
            duration,
            marker: packet.header.marker,
            recovered: delivery.recovered,
            padding: !audible,
            times,
            slot: None,
            extensions: &extensions,
            payload: if audible { &packet.payload[..bytes] } else { &[] },
        }))?;
        match content {
            Some(Content::TelephoneEvent) => self.handle_event(packet, times, out),
            Some(Content::Audio) => self.finish_event(times, out),
            _ => Ok(()),
        }
    }

    /// Ends the stream.
    pub(crate) fn end<E>(
        mut self,
        reason: EndReason,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if let Some(stale) = self.stale {
            out(Record::Gap(stale.gap(self.id, stale.end)))?;
        }
        self.finish_event(Times::default(), out)?;
        out(Record::End(End { id: self.id, timestamp: self.end, times: Times::default(), reason }))
    }

    fn place(&mut self, packet: &Packet<'_>) -> (SequenceNumber, MediaTime) {
        let sequence = self.sequence.extend(packet.header.sequence);
        let timestamp = MediaTime(self.timestamp.extend(packet.header.timestamp).0 * self.payload.scale());
        (sequence, timestamp)
    }

    fn handle_event<E>(
        &mut self,
        packet: &Packet<'_>,
        times: Times,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(event) = TelephoneEvent::parse(packet.payload) else { return Ok(()) };
        for told in self.events.handle(packet.header.timestamp, event).into_iter().flatten() {
            self.tell(told, times, out)?;
        }
        Ok(())
    }

    /// Audio goes on: an event whose end was lost is over.
    fn finish_event<E>(&mut self, times: Times, out: &mut impl FnMut(Record<'_>) -> Result<(), E>) -> Result<(), E> {
        match self.events.finish() {
            Some(told) => self.tell(told, times, out),
            None => Ok(()),
        }
    }

    fn tell<E>(
        &mut self,
        (timestamp, event): (u32, TelephoneEvent),
        times: Times,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let timestamp = MediaTime(self.timestamp.extend(timestamp).0 * self.payload.scale());
        out(Record::Event(event::record(self.id, timestamp, times, event, self.payload.clock)))
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
