//! A PCM stream on its way to another rate or other channels.

use vox_cli::{Failure, Output};
use vox_codec::linear;
use vox_dsp::{Reshape, Reshaped, mean_power};
use vox_frame::{
    Audio, Channels, Codec, End, Format, Gap, MAX_AUDIO_HEADER, MAX_PAYLOAD, MAX_WRITE, Rate, Record, SequenceNumber,
    Stamp, StreamId, Times,
};

use crate::note::Note;
use crate::samples::Convert;

/// One stream; its records are cut anew and counted anew.
pub(crate) struct Shaped {
    id: StreamId,
    float: bool,
    channels: Channels,
    shape: Reshape,
    convert: Convert,
    /// Bytes of a frame that goes out.
    tick: usize,
    next: SequenceNumber,
    samples: Vec<f32>,
    out: Vec<f32>,
    bytes: Vec<u8>,
    payload: Vec<u8>,
    note: Note,
}

impl Shaped {
    /// A stream of that format, coded to `codec` by `convert`; none where nothing changes.
    pub(crate) fn new(
        id: StreamId,
        format: &Format,
        to: (Rate, Channels),
        codec: &Codec,
        convert: Convert,
    ) -> Option<Self> {
        let from = (format.rate, format.channels);
        (from != to).then(|| Self {
            id,
            float: format.codec == Codec::PcmF32,
            channels: format.channels,
            shape: Reshape::new(from, to),
            convert,
            tick: codec.sample_bytes().unwrap_or(2) * to.1.count(),
            next: SequenceNumber(0),
            samples: Vec::new(),
            out: Vec::new(),
            bytes: Vec::new(),
            payload: Vec::new(),
            note: Note::default(),
        })
    }

    /// Takes a record; one that does not follow the last begins anew where it lies.
    pub(crate) fn audio(&mut self, audio: &Audio<'_>, output: &mut Output) -> Result<(), Failure> {
        if self.shape.is_apart(audio.timestamp) {
            self.finish(output)?;
        }
        self.note.heed(audio);
        self.samples.clear();
        if self.float {
            linear::f32le_to_f32(audio.payload, &mut self.samples);
        } else {
            linear::s16le_to_f32(audio.payload, &mut self.samples);
        }
        // A record holds what its duration says, but never more frames than a payload has bytes.
        let frames = (audio.duration as usize).min(MAX_PAYLOAD);
        self.samples.resize(frames * self.channels.count(), 0.0);
        self.out.clear();
        let place = self.shape.push(&self.samples, self.channels, audio.timestamp, &audio.times, &mut self.out);
        self.write(&place, audio.marker, output)
    }

    /// Passes a gap on, in the new ticks.
    pub(crate) fn gap(&mut self, gap: &Gap<'_>, output: &mut Output) -> Result<(), Failure> {
        self.finish(output)?;
        let (begins, ends) = (self.shape.convert(gap.timestamp), self.shape.convert(gap.timestamp.plus(gap.duration)));
        output.gap(&Gap { sequence: self.next, timestamp: begins, duration: ends.since(begins), later: None, ..*gap })
    }

    /// Writes the rest, and the End where there is one.
    pub(crate) fn end(&mut self, end: &End, output: &mut Output) -> Result<(), Failure> {
        self.finish(output)?;
        output.write(&Record::End(End { timestamp: self.shape.convert(end.timestamp), ..end.clone() }))
    }

    /// Writes what the resampler holds back.
    pub(crate) fn finish(&mut self, output: &mut Output) -> Result<(), Failure> {
        self.out.clear();
        let place = self.shape.finish(&mut self.out);
        self.write(&place, false, output)
    }

    fn write(&mut self, place: &Reshaped, marker: bool, output: &mut Output) -> Result<(), Failure> {
        let (rate, channels) = (self.shape.rate(), self.shape.channels().count());
        let frames = self.out.len() / channels;
        if frames == 0 {
            return Ok(());
        }
        let cut = frames.div_ceil(frames.div_ceil(((MAX_WRITE - MAX_AUDIO_HEADER) / self.tick).max(1)));
        for (index, part) in self.out.chunks(cut * channels).enumerate() {
            self.bytes.clear();
            linear::f32_to_s16le(part, &mut self.bytes);
            self.payload.clear();
            (self.convert)(&self.bytes, &mut self.payload);
            let offset = (index * cut) as u64;
            let ns = rate.ns(offset);
            let moved = |stamp: Option<Stamp>| stamp.map(|stamp| stamp.plus(ns));
            let Times { captured, arrived, due } = place.times;
            output.audio(&Audio {
                id: self.id,
                sequence: self.next,
                timestamp: place.timestamp.plus(offset),
                duration: (part.len() / channels) as u32,
                marker: marker && index == 0,
                recovered: false,
                padding: false,
                times: Times { captured: moved(captured), arrived: moved(arrived), due: moved(due) },
                slot: None,
                extensions: self.note.of_power(&[], mean_power(part), rate.ns((part.len() / channels) as u64)),
                payload: &self.payload,
            })?;
            self.next = self.next.plus(1);
        }
        Ok(())
    }
}
