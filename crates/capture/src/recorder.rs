//! Cuts PCM into the records of one stream.

use std::hash::{BuildHasher, RandomState};

use serde_json::Map;
use vox_cli::{Failure, Output, Voice};
use vox_frame::{
    Audio, End, EndReason, Event, FIXED_LEN, Format, Gap, GapReason, MAX_WRITE, MediaTime, Record, SequenceNumber,
    Stamp, StreamId, Times,
};

use crate::voice::Mouth;

/// Bytes that the header of a record with one stamp takes.
const HEADER: usize = FIXED_LEN + 20 + 8;

/// The stream that is being written: its sequence and its media time both begin at zero.
pub(crate) struct Recorder {
    id: StreamId,
    tick_bytes: usize,
    /// Ticks of a record.
    cut: usize,
    sequence: u64,
    position: u64,
    mouth: Mouth,
    muted: bool,
    /// The next record begins a talk spurt.
    marker: bool,
    /// Samples that wait for a whole record.
    pending: Vec<u8>,
}

impl Recorder {
    /// Announces the stream. With `batch`, records are as long as fits a write.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(crate) fn new(
        id: StreamId,
        format: Format,
        voice: Voice,
        batch: bool,
        output: &mut Output,
    ) -> Result<Self, Failure> {
        let tick_bytes = format.tick_bytes().unwrap_or(1);
        let cut = record_ticks(format.frame as usize, tick_bytes, batch);
        let mouth = Mouth::new(voice, &format);
        output.write(&Record::Format(id, format))?;
        let (sequence, position, muted, marker) = (0, 0, false, true);
        Ok(Self { id, tick_bytes, cut, sequence, position, mouth, muted, marker, pending: Vec::new() })
    }

    /// Ticks of a record.
    pub(crate) const fn record_ticks(&self) -> usize {
        self.cut
    }

    /// The media time that the stream has come to, in ticks.
    pub(crate) const fn position(&self) -> u64 {
        self.position + (self.pending.len() / self.tick_bytes) as u64
    }

    /// Writes samples, a whole record at a time; the rest waits.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(crate) fn push(&mut self, mut bytes: &[u8], output: &mut Output) -> Result<(), Failure> {
        let record = self.cut * self.tick_bytes;
        if !self.pending.is_empty() {
            let missing = (record - self.pending.len()).min(bytes.len());
            let (first, rest) = bytes.split_at(missing);
            self.pending.extend_from_slice(first);
            bytes = rest;
            if self.pending.len() < record {
                return Ok(());
            }
            self.write_pending(output)?;
        }
        let mut records = bytes.chunks_exact(record);
        for record in &mut records {
            self.audio(record, None, output)?;
        }
        self.pending.extend_from_slice(records.remainder());
        Ok(())
    }

    /// Writes one record with the time at which its first sample was captured; a gap where it is muted.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(crate) fn audio(
        &mut self,
        payload: &[u8],
        captured: Option<Stamp>,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let duration = (payload.len() / self.tick_bytes) as u32;
        let times = Times { captured, ..Times::default() };
        if self.mouth.is_silent() {
            self.tell(true, times, output)?;
            return self.gap(u64::from(duration), 0, GapReason::Muted, times, output);
        }
        self.tell(false, times, output)?;
        output.audio(&Audio {
            id: self.id,
            sequence: SequenceNumber(self.sequence),
            timestamp: MediaTime(self.position),
            duration,
            marker: std::mem::take(&mut self.marker),
            recovered: false,
            padding: false,
            times,
            slot: None,
            extensions: &[],
            payload: self.mouth.shape(payload),
        })?;
        self.sequence += 1;
        self.position += u64::from(duration);
        Ok(())
    }

    /// Says that `ticks` could not be captured.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(crate) fn overrun(&mut self, ticks: u64, captured: Option<Stamp>, output: &mut Output) -> Result<(), Failure> {
        let packets = ticks.div_ceil(self.cut as u64);
        let times = Times { captured, ..Times::default() };
        self.gap(ticks, packets, GapReason::Overrun, times, output)
    }

    /// Writes what waits, and the End.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(crate) fn end(mut self, reason: EndReason, output: &mut Output) -> Result<(), Failure> {
        if !self.pending.is_empty() {
            self.write_pending(output)?;
        }
        let timestamp = MediaTime(self.position);
        output.write(&Record::End(End { id: self.id, timestamp, times: Times::default(), reason }))?;
        output.flush()
    }

    fn gap(
        &mut self,
        ticks: u64,
        packets: u64,
        reason: GapReason,
        times: Times,
        output: &mut Output,
    ) -> Result<(), Failure> {
        output.gap(&Gap {
            id: self.id,
            sequence: SequenceNumber(self.sequence),
            timestamp: MediaTime(self.position),
            duration: ticks,
            packets: u32::try_from(packets).unwrap_or(u32::MAX),
            reason,
            times,
            slot: None,
            later: None,
        })?;
        // What follows silence begins a talk spurt (RFC 3551, section 4.1).
        self.marker |= reason.is_silence();
        self.sequence += packets;
        self.position += ticks;
        Ok(())
    }

    /// Tells whoever listens that somebody was muted, or is heard again.
    fn tell(&mut self, muted: bool, times: Times, output: &mut Output) -> Result<(), Failure> {
        if std::mem::replace(&mut self.muted, muted) == muted {
            return Ok(());
        }
        let event = if muted { "muted" } else { "unmuted" }.to_owned();
        let (id, timestamp, details) = (self.id, MediaTime(self.position), Map::new());
        output.write(&Record::Event(Event { id, timestamp, times, event, details }))
    }

    fn write_pending(&mut self, output: &mut Output) -> Result<(), Failure> {
        let pending = std::mem::take(&mut self.pending);
        self.audio(&pending, None, output)?;
        self.pending = pending;
        self.pending.clear();
        Ok(())
    }
}

/// Ticks of a record: the nominal frame, cut into equal parts where it does not fit one write; with `batch` as many
/// as fit.
fn record_ticks(frame: usize, tick_bytes: usize, batch: bool) -> usize {
    let most = (MAX_WRITE - HEADER) / tick_bytes;
    if batch { most } else { frame.div_ceil(frame.div_ceil(most)) }
}

/// The id of a new stream: derived from `seed` where there is one, else random.
pub(crate) fn draw_id(seed: Option<u64>) -> StreamId {
    let drawn = seed.map_or_else(|| RandomState::new().hash_one(0), |seed| mix(seed.wrapping_add(1)));
    StreamId((drawn >> 32) as u32)
}

/// Spreads the bits of a number (splitmix64's finaliser).
const fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_fits_a_write_and_parts_are_equal() {
        assert_eq!(record_ticks(960, 2, false), 960);
        assert_eq!(record_ticks(960, 4, false), 960);
        assert_eq!(record_ticks(960, 8, false), 480);
        assert_eq!(record_ticks(192 * 60, 32, false), 126);
        assert_eq!(record_ticks(160, 2, true), 2026);
        for frame in [1, 55, 120, 882, 2646, 11_520] {
            for tick in 1..=32 {
                let cut = record_ticks(frame, tick, false);
                assert!(cut > 0 && cut <= frame && cut * tick + HEADER <= MAX_WRITE, "{frame} {tick}");
            }
        }
    }

    #[test]
    fn a_seed_gives_the_same_id() {
        assert_eq!(draw_id(Some(3)), draw_id(Some(3)));
        assert_ne!(draw_id(Some(3)), draw_id(Some(4)));
    }
}
