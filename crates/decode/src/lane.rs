//! One stream from its payloads to records of PCM.

use vox_cli::{Failure, Output, stop_requested};
use vox_codec::{DecoderOptions, StreamDecoder, linear};
use vox_dsp::{Reshape, Reshaped};
use vox_frame::{
    Audio, Channels, Codec, End, Format, Gap, GapReason, LaterPacket, MAX_AUDIO_HEADER, MAX_WRITE, MediaTime, Rate,
    SequenceNumber, StreamId, Times,
};

/// How much of a gap is made at a time, in ns: as long as the longest packet of Opus, so that a copy of the last lost
/// packet fits the last piece (RFC 6716, section 3.1).
const GAP_PIECE_NS: i64 = 120_000_000;

/// From here on a gap is silence, in ns: every concealment has faded by then.
const CONCEALED_NS: i64 = 500_000_000;

/// The longest hole between two records that is filled as a gap, in ns; behind a longer one the stream begins anew.
const MAX_HOLE_NS: i64 = 10_000_000_000;

/// How much of a gap becomes samples, in ns; the rest of a longer one stays a gap.
const MAX_GAP_NS: i64 = 10_000_000_000;

/// What the samples shall be; what is not set stays as the stream is.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// PCM, 16-bit or float.
    pub(crate) codec: Codec,
    /// Samples a second.
    pub(crate) rate: Option<Rate>,
    /// Channels.
    pub(crate) channels: Option<Channels>,
}

/// A stream that is decoded.
pub(crate) struct Lane {
    id: StreamId,
    input: Format,
    codec: Codec,
    options: DecoderOptions,
    decoder: StreamDecoder,
    rate: Rate,
    channels: usize,
    /// Frames that fit a record.
    most: usize,
    sequence: u64,
    /// Media time of the next frame in; none before the first.
    expected: Option<MediaTime>,
    /// Media time of the next frame out.
    position: MediaTime,
    damaged_before: u64,
    samples: Vec<f32>,
    /// To another rate or other channels, where that was asked for.
    shape: Option<Reshape>,
    shaped: Vec<f32>,
    bytes: Vec<u8>,
}

/// What the samples that came out of the decoder belong to.
struct Source<'a> {
    timestamp: MediaTime,
    frames: u64,
    times: Times,
    slot: Option<u64>,
    marker: bool,
    recovered: bool,
    extensions: &'a [u8],
}

impl Lane {
    /// A stream of that format, to samples as `wanted`.
    pub(crate) fn new(
        id: StreamId,
        format: &Format,
        decoder: StreamDecoder,
        options: DecoderOptions,
        wanted: &Wanted,
    ) -> Self {
        let (rate, channels) = (decoder.rate(), decoder.channels().count());
        let to = (wanted.rate.unwrap_or(rate), wanted.channels.unwrap_or_else(|| decoder.channels()));
        let shape = (to != (rate, decoder.channels())).then(|| Reshape::new((rate, decoder.channels()), to));
        let tick = wanted.codec.sample_bytes().unwrap_or(4) * to.1.count();
        Self {
            id,
            input: format.clone(),
            codec: wanted.codec.clone(),
            options,
            decoder,
            rate,
            channels,
            most: ((MAX_WRITE - MAX_AUDIO_HEADER) / tick).max(1),
            sequence: 0,
            expected: None,
            position: MediaTime(0),
            damaged_before: 0,
            samples: Vec::new(),
            shape,
            shaped: Vec::new(),
            bytes: Vec::new(),
        }
    }

    /// The format of what comes out. The samples are no RTP packets any more, so the facts of those stay behind.
    pub(crate) fn format(&self) -> Format {
        let mut format = self.input.clone();
        format.codec = self.codec.clone();
        if let Some(shape) = &self.shape {
            format.frame = u32::try_from(self.rate.convert(u64::from(format.frame), shape.rate())).unwrap_or(0);
            (format.rate, format.channels) = (shape.rate(), shape.channels());
        } else {
            (format.rate, format.channels) = (self.rate, self.decoder.channels());
        }
        format.pre_skip = 0;
        format.rtp = None;
        format
    }

    /// Packets that were damaged.
    pub(crate) const fn damaged(&self) -> u64 {
        self.damaged_before + self.decoder.damaged()
    }

    /// Decodes a record of audio.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(crate) fn audio(&mut self, audio: &Audio<'_>, output: &mut Output) -> Result<(), Failure> {
        if audio.padding {
            return Ok(());
        }
        self.meet(audio.timestamp, output)?;
        self.expected = Some(audio.timestamp.plus(u64::from(audio.duration)));
        self.samples.clear();
        self.decoder.audio(audio, &mut self.samples);
        let source = Source {
            timestamp: audio.timestamp,
            frames: u64::from(audio.duration),
            times: audio.times,
            slot: audio.slot.map(u64::from),
            marker: audio.marker,
            recovered: audio.recovered,
            extensions: audio.extensions,
        };
        self.write(&source, output)
    }

    /// Fills a gap, a piece at a time.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(crate) fn gap(&mut self, gap: &Gap<'_>, output: &mut Output) -> Result<(), Failure> {
        self.meet(gap.timestamp, output)?;
        if gap.duration == 0 {
            // Inserts time, no media.
            return if gap.slot.is_some() { self.pass_gap(gap, 0, output) } else { Ok(()) };
        }
        self.expected = Some(gap.timestamp.plus(gap.duration));
        self.fill(gap, output)
    }

    /// Writes the rest, cut where the stream ends.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(crate) fn end(&mut self, end: &End, output: &mut Output) -> Result<(), Failure> {
        self.samples.clear();
        self.decoder.end(end, &mut self.samples);
        self.write_rest(output)?;
        self.finish_shape(output)
    }

    /// The media time of the input in that of the output.
    pub(crate) fn media_time(&self, timestamp: MediaTime) -> MediaTime {
        self.shape.as_ref().map_or(timestamp, |shape| shape.convert(timestamp))
    }

    /// Writes what is held back, where there is no End.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(crate) fn flush(&mut self, output: &mut Output) -> Result<(), Failure> {
        self.samples.clear();
        self.decoder.flush(&mut self.samples);
        self.write_rest(output)?;
        self.finish_shape(output)
    }

    /// A record begins at `timestamp`: what lies between it and the one before is filled; where it is too much, or lies
    /// behind, the stream begins anew.
    fn meet(&mut self, timestamp: MediaTime, output: &mut Output) -> Result<(), Failure> {
        let Some(expected) = self.expected else {
            self.position = timestamp;
            return Ok(());
        };
        let hole = timestamp.offset_from(expected);
        if hole == 0 {
            return Ok(());
        }
        if hole > 0 && hole.unsigned_abs() <= self.rate.ticks(MAX_HOLE_NS) {
            let lost = Gap {
                id: self.id,
                sequence: SequenceNumber(0),
                timestamp: expected,
                duration: hole.unsigned_abs(),
                packets: 0,
                reason: GapReason::Lost,
                times: Times::default(),
                slot: None,
                later: None,
            };
            return self.fill(&lost, output);
        }
        self.flush(output)?;
        let damaged = self.damaged();
        if let Ok(decoder) = StreamDecoder::new(&self.input, self.options) {
            self.decoder = decoder;
            self.damaged_before = damaged;
        }
        self.position = timestamp;
        Ok(())
    }

    fn fill(&mut self, gap: &Gap<'_>, output: &mut Output) -> Result<(), Failure> {
        let (most, concealed) = (self.rate.ticks(GAP_PIECE_NS).max(1), self.rate.ticks(CONCEALED_NS));
        let longest = self.rate.ticks(MAX_GAP_NS);
        let mut done = 0;
        while done < gap.duration {
            if done >= longest || stop_requested() && done > most {
                return self.pass_gap(gap, done, output);
            }
            let piece = most.min(gap.duration - done).min(longest - done);
            let last = done + piece == gap.duration;
            self.samples.clear();
            self.decoder.gap(
                &Gap {
                    timestamp: gap.timestamp.plus(done),
                    duration: piece,
                    reason: if done < concealed { gap.reason } else { GapReason::Silent },
                    slot: None,
                    later: gap.later.filter(|_| last).and_then(|later| nearer(later, done)),
                    ..*gap
                },
                &mut self.samples,
            );
            let source = Source {
                timestamp: gap.timestamp.plus(done),
                frames: piece,
                times: moved(&gap.times, share(gap.slot, done, gap.duration).unwrap_or_else(|| self.rate.ns(done))),
                slot: gap.slot.and_then(|_| part(gap.slot, done, piece, gap.duration)),
                marker: false,
                recovered: false,
                extensions: &[],
            };
            self.write(&source, output)?;
            done += piece;
        }
        Ok(())
    }

    /// Passes on what is left of a gap from `done` on.
    fn pass_gap(&mut self, gap: &Gap<'_>, done: u64, output: &mut Output) -> Result<(), Failure> {
        let duration = gap.duration - done;
        self.finish_shape(output)?;
        let (begins, ends) = (self.media_time(self.position), self.media_time(self.position.plus(duration)));
        output.gap(&Gap {
            sequence: SequenceNumber(self.sequence),
            timestamp: begins,
            duration: ends.since(begins),
            packets: 0,
            times: moved(&gap.times, share(gap.slot, done, gap.duration).unwrap_or_else(|| self.rate.ns(done))),
            slot: if done == 0 { gap.slot } else { part(gap.slot, done, duration, gap.duration) },
            later: None,
            ..*gap
        })?;
        self.position = self.position.plus(duration);
        Ok(())
    }

    /// Writes samples that belong to no record any more.
    fn write_rest(&mut self, output: &mut Output) -> Result<(), Failure> {
        let frames = (self.samples.len() / self.channels) as u64;
        let source = Source {
            timestamp: self.position,
            frames,
            times: Times::default(),
            slot: None,
            marker: false,
            recovered: false,
            extensions: &[],
        };
        self.write(&source, output)
    }

    /// Writes the samples in equal parts that fit a record.
    fn write(&mut self, source: &Source<'_>, output: &mut Output) -> Result<(), Failure> {
        let frames = self.samples.len() / self.channels;
        if frames == 0 {
            return Ok(());
        }
        if self.shape.is_some() {
            return self.write_shaped(source, output);
        }
        let cut = frames.div_ceil(frames.div_ceil(self.most));
        // Frames of the record that were left out before the stream's first.
        let left_out = source.frames.saturating_sub(frames as u64);
        let samples = std::mem::take(&mut self.samples);
        for (index, part) in samples.chunks(cut * self.channels).enumerate() {
            self.write_part(part, left_out + (index * cut) as u64, index == 0, source, output)?;
        }
        self.samples = samples;
        Ok(())
    }

    /// Writes the samples at another rate or with other channels.
    fn write_shaped(&mut self, source: &Source<'_>, output: &mut Output) -> Result<(), Failure> {
        let Some(shape) = &mut self.shape else { return Ok(()) };
        let frames = (self.samples.len() / self.channels) as u64;
        let ahead = source.frames.saturating_sub(frames);
        let mut times =
            moved(&source.times, share(source.slot, ahead, source.frames).unwrap_or_else(|| self.rate.ns(ahead)));
        let since = self.position.offset_from(source.timestamp);
        let since_ns = self.rate.ns(since.unsigned_abs()).saturating_mul(since.signum());
        times.captured = source.times.captured.map(|stamp| stamp.plus(since_ns));
        self.shaped.clear();
        let place = shape.push(&self.samples, self.decoder.channels(), self.position, &times, &mut self.shaped);
        self.position = self.position.plus(frames);
        self.write_reshaped(&place, source.marker, output)
    }

    /// Writes what is held back on the way to another rate.
    fn finish_shape(&mut self, output: &mut Output) -> Result<(), Failure> {
        let Some(shape) = &mut self.shape else { return Ok(()) };
        self.shaped.clear();
        let place = shape.finish(&mut self.shaped);
        self.write_reshaped(&place, false, output)
    }

    fn write_reshaped(&mut self, place: &Reshaped, marker: bool, output: &mut Output) -> Result<(), Failure> {
        let Some(shape) = &self.shape else { return Ok(()) };
        let (rate, channels) = (shape.rate(), shape.channels().count());
        let frames = self.shaped.len() / channels;
        if frames == 0 {
            return Ok(());
        }
        let cut = frames.div_ceil(frames.div_ceil(self.most));
        for (index, part) in self.shaped.chunks(cut * channels).enumerate() {
            write_samples(&self.codec, part, &mut self.bytes);
            let offset = (index * cut) as u64;
            output.audio(&Audio {
                id: self.id,
                sequence: SequenceNumber(self.sequence),
                timestamp: place.timestamp.plus(offset),
                duration: (part.len() / channels) as u32,
                marker: marker && index == 0,
                recovered: false,
                padding: false,
                times: moved(&place.times, rate.ns(offset)),
                slot: None,
                extensions: &[],
                payload: &self.bytes,
            })?;
            self.sequence += 1;
        }
        Ok(())
    }

    /// Writes one record; its samples begin `offset` frames into those of the source.
    fn write_part(
        &mut self,
        samples: &[f32],
        offset: u64,
        first: bool,
        source: &Source<'_>,
        output: &mut Output,
    ) -> Result<(), Failure> {
        write_samples(&self.codec, samples, &mut self.bytes);
        let frames = (samples.len() / self.channels) as u64;
        let ahead = share(source.slot, offset, source.frames).unwrap_or_else(|| self.rate.ns(offset));
        // Heard and played: as far into the record as the samples. Captured: what was captured at that media time.
        let mut times = moved(&source.times, ahead);
        let since = self.position.offset_from(source.timestamp);
        let since_ns = self.rate.ns(since.unsigned_abs()).saturating_mul(since.signum());
        times.captured = source.times.captured.map(|stamp| stamp.plus(since_ns));
        let fits = self.bytes.len() + MAX_AUDIO_HEADER + source.extensions.len() <= MAX_WRITE;
        output.audio(&Audio {
            id: self.id,
            sequence: SequenceNumber(self.sequence),
            timestamp: self.position,
            duration: frames as u32,
            marker: source.marker && first,
            recovered: source.recovered,
            padding: false,
            times,
            slot: part(source.slot, offset, frames, source.frames).map(|ns| u32::try_from(ns).unwrap_or(u32::MAX)),
            extensions: if first && fits { source.extensions } else { &[] },
            payload: &self.bytes,
        })?;
        self.sequence += 1;
        self.position = self.position.plus(frames);
        Ok(())
    }
}

/// The bytes of samples in that PCM codec.
fn write_samples(codec: &Codec, samples: &[f32], bytes: &mut Vec<u8>) {
    bytes.clear();
    match codec {
        Codec::PcmF32 => bytes.extend(samples.iter().flat_map(|sample| sample.to_le_bytes())),
        _ => linear::f32_to_s16le(samples, bytes),
    }
}

/// The same packet, seen from `done` ticks further on; none where it lies behind.
fn nearer(later: LaterPacket<'_>, done: u64) -> Option<LaterPacket<'_>> {
    let ahead = u64::from(later.ahead).checked_sub(done)?;
    Some(LaterPacket { ahead: u32::try_from(ahead).ok()?, ..later })
}

/// How far into a slot the frame `offset` of `whole` stands, in ns.
fn share(slot: Option<u64>, offset: u64, whole: u64) -> Option<i64> {
    let ns = u128::from(slot?) * u128::from(offset) / u128::from(whole.max(1));
    i64::try_from(ns).ok()
}

/// What `frames` from `offset` on have of the slot: parts that lie side by side add up to it.
fn part(slot: Option<u64>, offset: u64, frames: u64, whole: u64) -> Option<u64> {
    let (begins, ends) = (share(slot, offset, whole)?, share(slot, offset + frames, whole)?);
    u64::try_from(ends - begins).ok()
}

fn moved(times: &Times, ns: i64) -> Times {
    Times {
        captured: times.captured.map(|stamp| stamp.plus(ns)),
        arrived: times.arrived.map(|stamp| stamp.plus(ns)),
        due: times.due.map(|stamp| stamp.plus(ns)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_slot_add_up_to_it() {
        let slot = Some(20_000_001);
        let parts: u64 = [(0, 320), (320, 320), (640, 320)].iter().filter_map(|&(o, n)| part(slot, o, n, 960)).sum();
        assert_eq!(parts, 20_000_001);
        assert_eq!(part(None, 0, 320, 960), None);
    }

    #[test]
    fn a_later_packet_comes_nearer_piece_by_piece() {
        let later = LaterPacket { ahead: 6720, payload: &[1] };
        assert_eq!(nearer(later, 5760).map(|later| later.ahead), Some(960));
        assert_eq!(nearer(later, 6721), None);
    }
}
