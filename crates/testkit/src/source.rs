//! Packets as a call sends them.

use vox_frame::{MediaTime, Rate, SequenceNumber, Stamp};

use crate::{DriftingClock, signal::Talk};

/// Sends a packet every so many ms of its own clock.
#[derive(Debug, Clone)]
pub struct PacketSource {
    rate: Rate,
    ticks: u32,
    clock: DriftingClock,
    began: Stamp,
    /// Frames so far, silent ones too.
    frames: u64,
    sequence: u64,
    bytes: usize,
    talk: Option<Talk>,
    talking: bool,
}

/// A packet as it leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SentPacket {
    /// Its number.
    pub sequence: SequenceNumber,
    /// Media time of its first sample.
    pub timestamp: MediaTime,
    /// Its duration, in ticks.
    pub duration: u32,
    /// First of a talk spurt.
    pub marker: bool,
    /// Its size on the wire, in bytes.
    pub bytes: usize,
}

impl PacketSource {
    /// Opus: 48 kHz, frames of so many ms, 24 kbit/s and 40 bytes of headers.
    pub fn opus(frame_ms: u32) -> Self {
        Self::new(Rate::HZ_48000, 48 * frame_ms, 3 * frame_ms as usize + 40)
    }

    /// G.711: 8 kHz, frames of so many ms.
    pub fn telephone(frame_ms: u32) -> Self {
        Self::new(Rate::HZ_8000, 8 * frame_ms, 8 * frame_ms as usize + 40)
    }

    /// Frames of `ticks`, and packets of so many bytes.
    pub fn new(rate: Rate, ticks: u32, bytes: usize) -> Self {
        let clock = DriftingClock::TRUE;
        Self { rate, ticks, clock, began: Stamp::ZERO, frames: 0, sequence: 0, bytes, talk: None, talking: false }
    }

    /// The same on another clock.
    #[must_use]
    pub const fn on(mut self, clock: DriftingClock) -> Self {
        self.clock = clock;
        self
    }

    /// The same, beginning at a later time of its clock, with other first numbers (near a wrap, say).
    #[must_use]
    pub const fn from(mut self, began: Stamp, sequence: SequenceNumber) -> Self {
        self.began = began;
        self.sequence = sequence.0;
        self
    }

    /// The same, silent where a speaker pauses (DTX).
    #[must_use]
    pub fn with_pauses(mut self, seed: u64) -> Self {
        self.talk = Some(Talk::new(seed));
        self
    }

    /// The true time at which the next frame is complete.
    pub fn next_deadline(&self) -> Option<Stamp> {
        let ticks = (self.frames + 1) * u64::from(self.ticks);
        Some(self.clock.when(self.began.plus(self.rate.ns(ticks))))
    }

    /// The packet that is complete at `now`; none before its time. A silent frame gives none either: ask for the
    /// deadline again.
    pub fn poll(&mut self, now: Stamp) -> Option<SentPacket> {
        if self.next_deadline().is_none_or(|deadline| deadline > now) {
            return None;
        }
        let timestamp = MediaTime(self.frames * u64::from(self.ticks));
        self.frames += 1;
        let ns = self.rate.ns(u64::from(self.ticks));
        let talks = self.talk.as_mut().is_none_or(|talk| talk.advance(ns));
        let marker = talks && !self.talking;
        self.talking = talks;
        if !talks {
            return None;
        }
        let sequence = SequenceNumber(self.sequence);
        self.sequence += 1;
        Some(SentPacket { sequence, timestamp, duration: self.ticks, marker, bytes: self.bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fast_sender_sends_more() {
        let mut source = PacketSource::opus(20).on(DriftingClock::new(200.0, 0));
        let hour = Stamp::from_ns(3_600_000_000_000);
        let mut packets = 0;
        while let Some(at) = source.next_deadline().filter(|at| *at <= hour) {
            packets += u64::from(source.poll(at).is_some());
        }
        assert_eq!(packets, 180_036);
    }

    #[test]
    fn pauses_use_no_numbers_and_begin_with_a_marker() {
        let mut source = PacketSource::telephone(20).with_pauses(3);
        let mut packets = Vec::new();
        for _ in 0..3_000 {
            let at = source.next_deadline().expect("it goes on");
            packets.extend(source.poll(at));
        }
        assert!((600..2_400).contains(&packets.len()), "{}", packets.len());
        assert!(packets.windows(2).all(|pair| pair[1].sequence == pair[0].sequence.plus(1)));
        let after_pause = |pair: &[SentPacket]| pair[1].timestamp.since(pair[0].timestamp) > 160;
        assert!(packets.windows(2).all(|pair| after_pause(pair) == pair[1].marker));
    }
}
