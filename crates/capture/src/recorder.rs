//! Cuts PCM into the records of one stream.

use std::hash::{BuildHasher, RandomState};

use vox_cli::{Failure, Output};
use vox_frame::{
    Audio, End, EndReason, FIXED_LEN, Format, Gap, GapReason, MAX_WRITE, MediaTime, Record, SequenceNumber, Stamp,
    StreamId, Times,
};

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
    /// Samples that wait for a whole record.
    pending: Vec<u8>,
}

impl Recorder {
    /// Announces the stream. With `batch`, records are as long as fits a write.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(crate) fn new(id: StreamId, format: Format, batch: bool, output: &mut Output) -> Result<Self, Failure> {
        let tick_bytes = format.tick_bytes().unwrap_or(1);
        let cut = record_ticks(format.frame as usize, tick_bytes, batch);
        output.write(&Record::Format(id, format))?;
        Ok(Self { id, tick_bytes, cut, sequence: 0, position: 0, pending: Vec::new() })
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

    /// Writes one record with the time at which its first sample was captured.
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
        output.audio(&Audio {
            id: self.id,
            sequence: SequenceNumber(self.sequence),
            timestamp: MediaTime(self.position),
            duration,
            marker: self.sequence == 0,
            recovered: false,
            padding: false,
            times: Times { captured, ..Times::default() },
            slot: None,
            extensions: &[],
            payload,
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
        output.gap(&Gap {
            id: self.id,
            sequence: SequenceNumber(self.sequence),
            timestamp: MediaTime(self.position),
            duration: ticks,
            packets: u32::try_from(packets).unwrap_or(u32::MAX),
            reason: GapReason::Overrun,
            times: Times { captured, ..Times::default() },
            slot: None,
            later: None,
        })?;
        self.sequence += packets;
        self.position += ticks;
        Ok(())
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
