//! What leaves: packets in order, and gaps for what is missing, where the delay is fixed or packets are counted.

use vox_frame::{GapReason, MediaTime, SequenceNumber, Stamp};

use super::{Playout, Position, TAIL_NS};
use crate::buffer::{Body, Entry};
use crate::config::Rule;
use crate::record::{Later, Meta, Missing, Output, Played};
use crate::timeline::Timeline;

/// How many packets are asked what they tell of a lost one.
const LOOK_AHEAD: usize = 16;

/// A gap about to be released.
pub(super) struct Span {
    pub(super) sequence: SequenceNumber,
    pub(super) duration: u64,
    pub(super) packets: u32,
    pub(super) reason: GapReason,
}

impl<P> Playout<P> {
    /// Drops what begins before the place that the release has come to: another record covered it.
    pub(super) fn drop_passed(&mut self) {
        let Some(position) = self.position else { return };
        while self.buffer.first().is_some_and(|first| first.timestamp < position.media) {
            let entry = self.buffer.pop();
            self.jumps_held -=
                usize::from(entry.as_ref().is_some_and(|entry| entry.jump.is_some())).min(self.jumps_held);
            self.stats.packets_discarded += u64::from(entry.is_some_and(|entry| entry.arrived().is_some()));
        }
    }

    pub(super) fn release(&mut self, now: Stamp) -> Output<'_, P> {
        let Some(first) = self.buffer.first() else { return self.release_tail() };
        let (timestamp, sequence) = (first.timestamp, first.sequence);
        let jumps = first.jump.is_some();
        let position = self.position.unwrap_or_else(|| {
            let due = self.line.map_or(now, |line| line.at(timestamp));
            Position { media: timestamp, due }
        });
        self.position = Some(position);
        if let Some(mut line) = self.buffer.take_jump() {
            // What lies before the jump is played out first.
            line.shift(position.due.since(line.at(timestamp)).max(0));
            self.line = Some(line);
        }
        if timestamp > position.media {
            return self.release_hole(now, position, timestamp, sequence, jumps);
        }
        if self.due_at(position.media) > position.due {
            return self.insert_time(position);
        }
        let Some(entry) = self.buffer.pop() else { return Output::Idle };
        self.release_entry(now, position, entry)
    }

    /// Nothing came for the media time before the next record.
    fn release_hole(
        &mut self,
        now: Stamp,
        position: Position,
        until: MediaTime,
        sequence: SequenceNumber,
        jumps: bool,
    ) -> Output<'_, P> {
        let hole = until.since(position.media);
        let expected = self.expected.unwrap_or(sequence.0);
        let missing = self.seen.missing(expected, sequence.0);
        let missing = u32::try_from(missing).unwrap_or(u32::MAX);
        let (duration, packets) = match missing {
            0 => (hole, 0),
            _ if jumps || self.rate.ns(hole) > TAIL_NS => (hole, missing),
            _ => self.lost_span(now, position.media, hole, missing),
        };
        let silent = packets == 0;
        if silent && !jumps {
            // Moving the line costs nothing where there is nothing to hear.
            let slack = self.floor.take_slack();
            self.shift(slack);
        }
        let reason = if silent { GapReason::Silent } else { GapReason::Lost };
        self.expected = Some(expected.saturating_add(u64::from(packets)));
        self.stats.packets_lost += u64::from(packets);
        let sequence = SequenceNumber(expected);
        self.gap(position, Span { sequence, duration, packets, reason })
    }

    /// How much of a hole is released now, and how many packets that is: a packet at a time while one may still come,
    /// all at once what is past.
    fn lost_span(&self, now: Stamp, from: MediaTime, hole: u64, missing: u32) -> (u64, u32) {
        let count = u64::from(missing);
        let even = hole / count;
        let step =
            if even * count == hole && (self.nominal == 0 || even <= self.nominal) { even } else { self.nominal };
        let step = step.clamp(1, hole);
        if step.saturating_mul(count) > hole {
            return (hole, missing);
        }
        let past = now.since(self.due_at(from)).max(0);
        let steps = (self.rate.ticks(past) / step).saturating_add(1).min(count);
        (step * steps, steps as u32)
    }

    /// Playing goes on later than it would have: the time between is filled with nothing.
    fn insert_time(&mut self, position: Position) -> Output<'_, P> {
        let sequence = SequenceNumber(self.expected.unwrap_or_default());
        self.gap(position, Span { sequence, duration: 0, packets: 0, reason: GapReason::Late })
    }

    /// The stream ends behind its last record.
    pub(super) fn release_tail(&mut self) -> Output<'_, P> {
        let (Some(position), Some(end)) = (self.position, self.ended) else { return Output::Idle };
        let duration = end.since(position.media);
        let sequence = SequenceNumber(self.expected.unwrap_or_default());
        self.gap(position, Span { sequence, duration, packets: 0, reason: GapReason::Silent })
    }

    fn release_entry(&mut self, now: Stamp, position: Position, entry: Entry<P>) -> Output<'_, P> {
        let room = self.buffer.first().map_or(u64::MAX, |next| next.timestamp.since(entry.timestamp));
        let sequence = entry.sequence;
        match entry.body {
            Body::Packet(meta, payload) => {
                self.expected = Some(sequence.0.saturating_add(1));
                if entry.duration > 0 {
                    self.nominal = entry.duration;
                }
                match self.spoilt(now, position, &meta) {
                    None => self.play(now, position, meta, payload),
                    Some(reason) => {
                        self.stats.packets_discarded += 1;
                        self.stats.packets_late += u64::from(reason == GapReason::Late);
                        self.gap(position, Span { sequence, duration: entry.duration.min(room), packets: 1, reason })
                    }
                }
            }
            Body::Gap { reason, packets } => {
                self.expected = Some(sequence.0.saturating_add(u64::from(packets)));
                self.gap(position, Span { sequence, duration: entry.duration.min(room), packets, reason })
            }
            Body::Refused { packets } => {
                self.expected = Some(sequence.0.saturating_add(u64::from(packets)));
                let duration = entry.duration.min(room);
                self.line = Some(Timeline::new(self.rate, position.media.plus(duration), position.due));
                self.gap(position, Span { sequence, duration, packets, reason: GapReason::Overrun })
            }
        }
    }

    /// Why a packet that is there cannot be played, if so.
    fn spoilt(&self, now: Stamp, position: Position, meta: &Meta) -> Option<GapReason> {
        if self.is_timed() && meta.arrived > position.due {
            return Some(GapReason::Late);
        }
        (now.since(position.due) > self.config.max_behind_ns).then_some(GapReason::Overrun)
    }

    fn play(&mut self, now: Stamp, position: Position, meta: Meta, payload: P) -> Output<'_, P> {
        let ticks = u64::from(meta.duration);
        let slot = self.advance(position, ticks);
        self.after_audio = true;
        let target = if let Rule::Fixed { delay_ns } = self.config.rule { delay_ns.max(0).unsigned_abs() } else { 0 };
        self.stats.note_audio(self.rate, ticks, slot, position.due.max(now).since(meta.arrived), target);
        Output::Audio(Played { meta, payload, due: position.due, slot })
    }

    pub(super) fn gap(&mut self, position: Position, span: Span) -> Output<'_, P> {
        let Span { sequence, duration, packets, reason } = span;
        let slot = self.advance(position, duration);
        let conceals = !reason.is_silence() && duration > 0;
        let repaired = conceals && slot > 0 && self.is_repaired(position, duration);
        let begins = std::mem::replace(&mut self.after_audio, repaired);
        self.stats.note_gap(self.rate, duration, slot, reason, repaired, begins);
        let later = if conceals && slot > 0 { self.later(position, duration) } else { None };
        Output::Gap(Missing {
            sequence,
            timestamp: position.media,
            duration,
            packets,
            reason,
            due: position.due,
            slot,
            later,
        })
    }

    /// A later packet, as seen from a gap: the first that tells of it, else the next.
    fn later(&self, from: Position, duration: u64) -> Option<Later<'_, P>> {
        let (timestamp, _, payload) = self.telling(from, duration).or_else(|| self.packets_ahead(from.due).next())?;
        Some(Later { ahead: timestamp.since(from.media), payload })
    }

    /// Whether a packet that is there tells of what is missing.
    pub(super) fn is_repaired(&self, from: Position, duration: u64) -> bool {
        self.telling(from, duration).is_some()
    }

    /// The first of the next packets that carries a copy of just what is missing, or describes it.
    fn telling(&self, from: Position, duration: u64) -> Option<(MediaTime, &Meta, &P)> {
        self.packets_ahead(from.due).find(|(timestamp, meta, _)| {
            let ahead = timestamp.since(from.media);
            meta.redundant && ahead == duration || u64::from(meta.reach) >= ahead
        })
    }

    /// The next packets, up to where timestamps jump or something is known to be missing. What was not there at `due`
    /// is none of them: a sink had to play without it, and a replay on virtual time knows no more than a call does.
    pub(super) fn packets_ahead(&self, due: Stamp) -> impl Iterator<Item = (MediaTime, &Meta, &P)> {
        let follows = |(place, entry): &(usize, &Entry<P>)| *place == 0 || entry.jump.is_none();
        let ahead = self.buffer.iter().take(LOOK_AHEAD).enumerate().take_while(follows);
        let packets = ahead.map_while(|(_, entry)| match &entry.body {
            Body::Packet(meta, payload) => Some((entry.timestamp, meta, payload)),
            Body::Gap { .. } | Body::Refused { .. } => None,
        });
        packets.filter(move |(_, meta, _)| meta.arrived <= due)
    }

    /// Steps both timelines over `ticks`; gives the nanoseconds between.
    pub(super) fn advance(&mut self, position: Position, ticks: u64) -> u64 {
        let media = position.media.plus(ticks);
        let due = match self.config.rule {
            Rule::Adaptive(_) => position.due.plus(std::mem::take(&mut self.next_slot)),
            Rule::Fixed { .. } | Rule::Count { .. } => self.due_at(media).max(position.due),
        };
        self.position = Some(Position { media, due });
        due.since(position.due).unsigned_abs()
    }

    fn due_at(&self, media: MediaTime) -> Stamp {
        self.line.map_or(Stamp::ZERO, |line| line.at(media))
    }
}
