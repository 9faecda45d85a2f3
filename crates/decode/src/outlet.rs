//! Samples of one stream, written as records of PCM.

use vox_cli::{Failure, Output};
use vox_codec::linear;
use vox_dsp::{Reshape, Reshaped};
use vox_frame::{
    Audio, Channels, Codec, Format, Gap, MAX_AUDIO_HEADER, MAX_WRITE, MediaTime, Rate, SequenceNumber, StreamId, Times,
};

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

/// What is written of one stream.
pub(crate) struct Outlet {
    id: StreamId,
    codec: Codec,
    rate: Rate,
    channels: Channels,
    /// Frames that fit a record.
    most: usize,
    sequence: u64,
    /// Media time of the next frame, at the decoder's rate.
    position: MediaTime,
    /// To another rate or other channels, where that was asked for.
    shape: Option<Reshape>,
    shaped: Vec<f32>,
    bytes: Vec<u8>,
}

/// What the samples of a record keep of it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Marks<'a> {
    pub(crate) marker: bool,
    pub(crate) recovered: bool,
    pub(crate) extensions: &'a [u8],
}

impl Outlet {
    /// For samples at that rate and with those channels.
    pub(crate) fn new(id: StreamId, rate: Rate, channels: Channels, wanted: &Wanted) -> Self {
        let to = (wanted.rate.unwrap_or(rate), wanted.channels.unwrap_or(channels));
        let shape = (to != (rate, channels)).then(|| Reshape::new((rate, channels), to));
        let tick = wanted.codec.sample_bytes().unwrap_or(4) * to.1.count();
        Self {
            id,
            codec: wanted.codec.clone(),
            rate,
            channels,
            most: ((MAX_WRITE - MAX_AUDIO_HEADER) / tick).max(1),
            sequence: 0,
            position: MediaTime(0),
            shape,
            shaped: Vec::new(),
            bytes: Vec::new(),
        }
    }

    /// The format of what comes out. The samples are no RTP packets any more, so the facts of those stay behind.
    pub(crate) fn format(&self, input: &Format) -> Format {
        let mut format = input.clone();
        format.codec = self.codec.clone();
        (format.rate, format.channels) = (self.rate, self.channels);
        if let Some(shape) = &self.shape {
            format.frame = u32::try_from(self.rate.convert(u64::from(format.frame), shape.rate())).unwrap_or(0);
            (format.rate, format.channels) = (shape.rate(), shape.channels());
        }
        format.pre_skip = 0;
        format.rtp = None;
        format
    }

    /// Media time of the next frame, at the decoder's rate.
    pub(crate) const fn position(&self) -> MediaTime {
        self.position
    }

    /// The stream goes on at that media time.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(crate) fn move_to(&mut self, position: MediaTime, output: &mut Output) -> Result<(), Failure> {
        self.finish(output)?;
        self.position = position;
        Ok(())
    }

    /// A media time at the decoder's rate, in ticks of what is written.
    pub(crate) fn media_time(&self, timestamp: MediaTime) -> MediaTime {
        self.shape.as_ref().map_or(timestamp, |shape| shape.convert(timestamp))
    }

    /// Writes samples whose first has these times, in equal parts that fit a record.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(crate) fn write(
        &mut self,
        samples: &[f32],
        times: &Times,
        marks: Marks<'_>,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let frames = samples.len() / self.channels.count();
        let Some(shape) = &mut self.shape else {
            let place = Reshaped { timestamp: self.position, times: *times };
            self.position = self.position.plus(frames as u64);
            return self.records(samples, &place, marks, output);
        };
        let mut shaped = std::mem::take(&mut self.shaped);
        shaped.clear();
        let place = shape.push(samples, self.channels, self.position, times, &mut shaped);
        self.position = self.position.plus(frames as u64);
        self.records(&shaped, &place, marks, output)?;
        self.shaped = shaped;
        Ok(())
    }

    /// Writes a gap of that many ticks of the decoder's rate.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(crate) fn gap(&mut self, gap: &Gap<'_>, duration: u64, output: &mut Output) -> Result<(), Failure> {
        self.finish(output)?;
        let begins = self.media_time(self.position);
        self.position = self.position.plus(duration);
        output.gap(&Gap {
            sequence: SequenceNumber(self.sequence),
            timestamp: begins,
            duration: self.media_time(self.position).since(begins),
            packets: 0,
            slot: None,
            later: None,
            ..*gap
        })
    }

    /// Writes what is held back on the way to another rate.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(crate) fn finish(&mut self, output: &mut Output) -> Result<(), Failure> {
        let Some(shape) = &mut self.shape else { return Ok(()) };
        let mut shaped = std::mem::take(&mut self.shaped);
        shaped.clear();
        let place = shape.finish(&mut shaped);
        self.records(&shaped, &place, Marks::default(), output)?;
        self.shaped = shaped;
        Ok(())
    }

    fn records(
        &mut self,
        samples: &[f32],
        place: &Reshaped,
        marks: Marks<'_>,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let (rate, channels) = match &self.shape {
            Some(shape) => (shape.rate(), shape.channels().count()),
            None => (self.rate, self.channels.count()),
        };
        let frames = samples.len() / channels;
        if frames == 0 {
            return Ok(());
        }
        let cut = frames.div_ceil(frames.div_ceil(self.most));
        for (index, part) in samples.chunks(cut * channels).enumerate() {
            self.bytes.clear();
            match self.codec {
                Codec::PcmF32 => self.bytes.extend(part.iter().flat_map(|sample| sample.to_le_bytes())),
                _ => linear::f32_to_s16le(part, &mut self.bytes),
            }
            let offset = (index * cut) as u64;
            let fits = index == 0 && self.bytes.len() + MAX_AUDIO_HEADER + marks.extensions.len() <= MAX_WRITE;
            output.audio(&Audio {
                id: self.id,
                sequence: SequenceNumber(self.sequence),
                timestamp: place.timestamp.plus(offset),
                duration: (part.len() / channels) as u32,
                marker: marks.marker && index == 0,
                recovered: marks.recovered,
                padding: false,
                times: moved(&place.times, rate.ns(offset)),
                slot: None,
                extensions: if fits { marks.extensions } else { &[] },
                payload: &self.bytes,
            })?;
            self.sequence += 1;
        }
        Ok(())
    }
}

/// Times `ns` later.
pub(crate) fn moved(times: &Times, ns: i64) -> Times {
    Times {
        captured: times.captured.map(|stamp| stamp.plus(ns)),
        arrived: times.arrived.map(|stamp| stamp.plus(ns)),
        due: times.due.map(|stamp| stamp.plus(ns)),
    }
}
