//! Records whose samples are on their way through a filter.

use std::collections::VecDeque;

use serde_json::Map;
use vox_cli::{Failure, Output};
use vox_codec::linear;
use vox_frame::{
    Audio, Codec, Event, Extension, Format, Gap, MAX_AUDIO_HEADER, MAX_PAYLOAD, MAX_WRITE, MediaTime, Rate, Raw,
    Record, SequenceNumber, StreamId, Times,
};

use crate::{Filter, Span, Verdict};

/// The longest gap that passes through a filter as silence, in ns; at a longer one it comes to rest.
const MAX_GAP_NS: i64 = 2_000_000_000;

/// Frames of silence that push out what a filter still has.
const REST: usize = 512;

/// One stream.
pub(crate) struct Held<F> {
    id: StreamId,
    filter: F,
    float: bool,
    rate: Rate,
    channels: usize,
    /// Each with the frame that it begins at, of those that went in.
    heads: VecDeque<(u64, Head)>,
    /// Samples that came out and are not written yet.
    ready: VecDeque<f32>,
    /// Frames that went in, that came out, and that are thrown away before the next is kept.
    fed: u64,
    came: u64,
    skip: u64,
    /// Frames of the heads.
    owed: u64,
    sequence: u64,
    /// The next record begins a talk spurt.
    marker: bool,
    samples: Vec<f32>,
    out: Vec<f32>,
    bytes: Vec<u8>,
}

/// What waits for its samples, or for those before it.
enum Head {
    Audio(Bare),
    Gap(Gap<'static>),
    /// Bytes of a record that passes.
    Other(Vec<u8>),
}

/// A record without its samples.
struct Bare {
    timestamp: MediaTime,
    duration: u32,
    marker: bool,
    recovered: bool,
    times: Times,
    slot: Option<u32>,
    extensions: Vec<u8>,
}

impl<F: Filter> Held<F> {
    pub(crate) fn new(id: StreamId, format: &Format, filter: F) -> Self {
        Self {
            id,
            filter,
            float: format.codec == Codec::PcmF32,
            rate: format.rate,
            channels: format.channels.count(),
            heads: VecDeque::new(),
            ready: VecDeque::new(),
            fed: 0,
            came: 0,
            skip: 0,
            owed: 0,
            sequence: 0,
            marker: false,
            samples: Vec::new(),
            out: Vec::new(),
            bytes: Vec::new(),
        }
    }

    /// Takes a record of audio.
    pub(crate) fn audio(&mut self, audio: &Audio<'_>, output: &mut Output) -> Result<(), Failure> {
        self.samples.clear();
        if self.float {
            linear::f32le_to_f32(audio.payload, &mut self.samples);
        } else {
            linear::s16le_to_f32(audio.payload, &mut self.samples);
        }
        // A record holds what its duration says, but never more frames than a payload has bytes.
        let duration = audio.duration.min(MAX_PAYLOAD as u32);
        self.samples.resize(duration as usize * self.channels, 0.0);
        self.begin();
        let head = Head::Audio(Bare {
            timestamp: audio.timestamp,
            duration,
            marker: audio.marker,
            recovered: audio.recovered,
            times: audio.times,
            slot: audio.slot,
            extensions: audio.extensions.to_vec(),
        });
        self.heads.push_back((self.fed, head));
        self.owed += u64::from(duration);
        self.feed();
        self.release(self.filter.hold() as u64, None, output)
    }

    /// Takes a gap: silence, as far as the filter is concerned.
    pub(crate) fn gap(&mut self, gap: &Gap<'_>, output: &mut Output) -> Result<(), Failure> {
        let gap = Gap { later: None, ..*gap };
        if self.heads.is_empty() || self.rate.ns(gap.duration) > MAX_GAP_NS {
            self.flush(None, output)?;
            return self.write_gap(gap, output);
        }
        self.begin();
        self.heads.push_back((self.fed, Head::Gap(gap)));
        self.owed += gap.duration;
        self.samples.clear();
        self.samples.resize(gap.duration as usize * self.channels, 0.0);
        self.feed();
        self.release(self.filter.hold() as u64, None, output)
    }

    /// Passes a record on, in its place.
    pub(crate) fn pass(&mut self, raw: Raw<'_>, output: &mut Output) -> Result<(), Failure> {
        if self.heads.is_empty() {
            return output.raw(raw);
        }
        self.heads.push_back((self.fed, Head::Other(raw.bytes().to_vec())));
        Ok(())
    }

    /// Writes everything that is held: the stream is over.
    pub(crate) fn finish(&mut self, output: &mut Output) -> Result<(), Failure> {
        self.flush(Some(self.owed), output)
    }

    /// Writes everything that is held; `left` frames are left where the stream is over.
    fn flush(&mut self, left: Option<u64>, output: &mut Output) -> Result<(), Failure> {
        let owed = self.owed;
        // A filter that gives nothing would hold it for ever.
        let most = self.fed + owed + (self.filter.delay() + self.rate.hz() as usize) as u64;
        while (self.ready.len() / self.channels) < owed as usize && self.fed < most {
            self.samples.clear();
            self.samples.resize(REST * self.channels, 0.0);
            self.feed();
        }
        self.ready.resize(self.ready.len().max(owed as usize * self.channels), 0.0);
        self.release(0, left, output)?;
        self.ready.clear();
        Ok(())
    }

    /// The first samples after a rest begin behind all that the filter still has.
    fn begin(&mut self) {
        if self.heads.is_empty() {
            self.ready.clear();
            self.skip = self.fed + self.filter.delay() as u64 - self.came;
        }
    }

    fn feed(&mut self) {
        self.out.clear();
        self.filter.process(&self.samples, &mut self.out);
        self.fed += (self.samples.len() / self.channels) as u64;
        let frames = (self.out.len() / self.channels) as u64;
        self.came += frames;
        let skipped = self.skip.min(frames);
        self.skip -= skipped;
        self.ready.extend(&self.out[skipped as usize * self.channels..]);
    }

    /// Writes the records whose samples are there, and `hold` frames behind them.
    fn release(&mut self, hold: u64, mut left: Option<u64>, output: &mut Output) -> Result<(), Failure> {
        while let Some((begins, head)) = self.heads.pop_front() {
            let frames = head.frames();
            let ready = (self.ready.len() / self.channels) as u64;
            if frames > 0 && ready < frames + hold {
                self.heads.push_front((begins, head));
                return Ok(());
            }
            self.samples.clear();
            self.samples.extend(self.ready.drain(..frames as usize * self.channels));
            let span = Span { begins, frames, left };
            self.owed -= frames;
            left = left.map(|left| left - frames);
            match head {
                Head::Audio(head) => self.write_audio(&head, &span, output)?,
                Head::Gap(gap) => self.write_gap(gap, output)?,
                Head::Other(bytes) => {
                    output.buffer().extend_from_slice(&bytes);
                    output.written(self.id, MediaTime(0))?;
                }
            }
        }
        Ok(())
    }

    fn write_audio(&mut self, head: &Bare, span: &Span, output: &mut Output) -> Result<(), Failure> {
        let Verdict { gap, level, event } = self.filter.decide(span, &mut self.samples);
        let Bare { timestamp, duration, times, slot, .. } = *head;
        if let Some(event) = event {
            let (id, event, details) = (self.id, event.to_owned(), Map::new());
            output.write(&Record::Event(Event { id, timestamp, times, event, details }))?;
        }
        if let Some(reason) = gap {
            let (id, sequence, slot) = (self.id, SequenceNumber(self.sequence), slot.map(u64::from));
            let duration = u64::from(duration);
            let gap = Gap { id, sequence, timestamp, duration, packets: 0, reason, times, slot, later: None };
            return self.write_gap(gap, output);
        }
        self.bytes.clear();
        if self.float {
            self.bytes.extend(self.samples.iter().flat_map(|sample| sample.to_le_bytes()));
        } else {
            linear::f32_to_s16le(&self.samples, &mut self.bytes);
        }
        let mut extensions = head.extensions.clone();
        if let Some((voice, level)) = level {
            Extension::AudioLevel { voice, level }.write(&mut extensions);
        }
        let fits = self.bytes.len() + MAX_AUDIO_HEADER + extensions.len() <= MAX_WRITE;
        output.audio(&Audio {
            id: self.id,
            sequence: SequenceNumber(self.sequence),
            timestamp,
            duration,
            marker: std::mem::take(&mut self.marker) || head.marker,
            recovered: head.recovered,
            padding: false,
            times,
            slot,
            extensions: if fits { &extensions } else { &head.extensions },
            payload: &self.bytes,
        })?;
        self.sequence += 1;
        Ok(())
    }

    fn write_gap(&mut self, gap: Gap<'_>, output: &mut Output) -> Result<(), Failure> {
        output.gap(&Gap { sequence: SequenceNumber(self.sequence), ..gap })?;
        self.sequence += u64::from(gap.packets);
        // What follows silence begins a talk spurt (RFC 3551, section 4.1).
        self.marker |= gap.reason.is_silence();
        Ok(())
    }
}

impl Head {
    fn frames(&self) -> u64 {
        match self {
            Self::Audio(head) => u64::from(head.duration),
            Self::Gap(gap) => gap.duration,
            Self::Other(_) => 0,
        }
    }
}
