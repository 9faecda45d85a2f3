//! One edited stream on its way out: its media time has no holes, whatever was taken out or put in.

use vox_cli::{Failure, Output};
use vox_frame::{
    Audio, Codec, End, EndReason, Gap, GapReason, MAX_AUDIO_HEADER, MAX_WRITE, MediaTime, Rate, SequenceNumber,
    StreamId, Times,
};

/// A stream that is written.
pub(crate) struct Out {
    id: StreamId,
    rate: Rate,
    channels: usize,
    codec: Codec,
    sequence: u64,
    /// Media time of what comes next.
    position: MediaTime,
    /// The times of the last record in, and the media time that they are of.
    times: (Times, MediaTime),
    bytes: Vec<u8>,
}

impl Out {
    /// A stream that begins at `position`.
    pub(crate) fn new(id: StreamId, rate: Rate, channels: usize, codec: Codec, position: MediaTime) -> Self {
        let times = (Times::default(), position);
        Self { id, rate, channels, codec, sequence: 0, position, times, bytes: Vec::new() }
    }

    /// Learns the times of the record at `media`: what follows is moved as far as media time was.
    pub(crate) fn learn(&mut self, times: Times, media: MediaTime) {
        if times != Times::default() {
            self.times = (times, media);
        }
    }

    /// Writes samples.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(crate) fn samples(&mut self, samples: &[f32], output: &mut Output) -> Result<(), Failure> {
        let tick = self.codec.sample_bytes().unwrap_or(4) * self.channels;
        let most = ((MAX_WRITE - MAX_AUDIO_HEADER) / tick).max(1);
        for part in samples.chunks(most * self.channels) {
            let mut bytes = std::mem::take(&mut self.bytes);
            bytes.clear();
            match self.codec {
                Codec::PcmF32 => bytes.extend(part.iter().flat_map(|sample| sample.to_le_bytes())),
                _ => vox_container::wav::Sample::S16.write(part, &mut bytes),
            }
            self.packet(&bytes, (part.len() / self.channels) as u32, output)?;
            self.bytes = bytes;
        }
        Ok(())
    }

    /// Writes a packet.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(crate) fn packet(&mut self, payload: &[u8], duration: u32, output: &mut Output) -> Result<(), Failure> {
        output.audio(&Audio {
            id: self.id,
            sequence: SequenceNumber(self.sequence),
            timestamp: self.position,
            duration,
            marker: false,
            recovered: false,
            padding: false,
            times: self.moved(),
            slot: None,
            extensions: &[],
            payload,
        })?;
        self.sequence += 1;
        self.position = self.position.plus(u64::from(duration));
        Ok(())
    }

    /// Writes that something is missing.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(crate) fn gap(&mut self, duration: u64, reason: GapReason, output: &mut Output) -> Result<(), Failure> {
        if duration == 0 {
            return Ok(());
        }
        output.gap(&Gap {
            id: self.id,
            sequence: SequenceNumber(self.sequence),
            timestamp: self.position,
            duration,
            packets: 0,
            reason,
            times: self.moved(),
            slot: None,
            later: None,
        })?;
        self.position = self.position.plus(duration);
        Ok(())
    }

    /// Ends the stream `before` ticks before what was written.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(crate) fn end(&self, before: u64, reason: EndReason, output: &mut Output) -> Result<(), Failure> {
        let timestamp = MediaTime(self.position.0.saturating_sub(before));
        output.write(&vox_frame::Record::End(End { id: self.id, timestamp, times: Times::default(), reason }))
    }

    fn moved(&self) -> Times {
        let (times, media) = self.times;
        let ticks = self.position.offset_from(media);
        let ns = self.rate.ns(ticks.unsigned_abs()) * ticks.signum();
        Times {
            captured: times.captured.map(|stamp| stamp.plus(ns)),
            arrived: times.arrived.map(|stamp| stamp.plus(ns)),
            due: times.due.map(|stamp| stamp.plus(ns)),
        }
    }
}
