//! PCM of any chunking to Opus packets of one duration.

use audiopus::coder::Encoder;
use vox_dsp::{Levels, Remix, Resampler, mean_power};
use vox_frame::{Channels, Codec, Format, MediaTime, Rate, Stamp};

use crate::Error;
use crate::opus::{self, MAX_PACKET, OpusSettings};

/// What the encoder gives, in ticks of 48 kHz.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coded<'a> {
    /// A packet.
    Packet {
        /// Media time of the first sample that went into it.
        timestamp: MediaTime,
        /// Its duration.
        duration: u32,
        /// When that sample was captured.
        captured: Option<Stamp>,
        /// Whether somebody speaks in it, and its level in -dBov (RFC 6464).
        level: (bool, u8),
        /// The packet.
        payload: &'a [u8],
    },
    /// Nothing is to be sent for a frame: it is silence (DTX), and the packet before it, without content, said so.
    Silence {
        /// Where it begins.
        timestamp: MediaTime,
        /// Its duration.
        duration: u32,
    },
}

/// Encodes one PCM stream to Opus. Packets lie without holes on the media time line; after a gap they begin anew where
/// the audio does.
pub struct OpusStreamEncoder {
    encoder: Encoder,
    input_rate: Rate,
    rate: Rate,
    channels: Channels,
    remix: Remix,
    resampler: Option<Resampler>,
    /// Frames of a packet at `rate`.
    frame: usize,
    lookahead: u64,
    /// Samples that wait for their packet to be full, at `rate`.
    pending: Vec<f32>,
    /// Media time of the first of them, at 48 kHz, and when it was captured.
    position: MediaTime,
    captured: Option<Stamp>,
    /// Media time that is expected next, in ticks of the input; none before the first audio.
    expected: Option<MediaTime>,
    /// Whether the last frame was silence.
    silent: bool,
    levels: Levels,
    mixed: Vec<f32>,
    packet: Vec<u8>,
}

impl OpusStreamEncoder {
    /// An encoder for PCM of that format, into packets of `frame_ns` (one of Opus's frame durations).
    ///
    /// # Errors
    /// Where libopus refuses a setting.
    pub fn new(input: &Format, settings: &OpusSettings, frame_ns: i64) -> Result<Self, Error> {
        let most = if input.channels.count() == 1 { Channels::MONO } else { Channels::STEREO };
        let channels = settings.channels.unwrap_or(most);
        let wanted = settings.rate.unwrap_or(input.rate);
        let own = opus::sample_rate(wanted);
        let rate = if own.is_some() { wanted } else { Rate::HZ_48000 };
        let mut encoder = opus::encoder(own.unwrap_or(audiopus::SampleRate::Hz48000), channels, settings)?;
        if input.codec == Codec::PcmS16 {
            // Else the encoder takes the rounding of 16-bit samples for sound and spends bits and time on its bandwidth.
            encoder.set_lsb_depth(16).map_err(|error| Error::Opus(error.to_string()))?;
        }
        let lookahead = encoder.lookahead().map_err(|error| Error::Opus(error.to_string()))?;
        Ok(Self {
            encoder,
            input_rate: input.rate,
            rate,
            channels,
            remix: Remix::new(input.channels, channels),
            resampler: (rate != input.rate).then(|| Resampler::new(input.rate, rate, channels)),
            frame: usize::try_from(rate.ticks(frame_ns)).unwrap_or(960),
            lookahead: u64::from(lookahead),
            pending: Vec::new(),
            position: MediaTime(0),
            captured: None,
            expected: None,
            silent: false,
            levels: Levels::default(),
            mixed: Vec::new(),
            packet: vec![0; MAX_PACKET],
        })
    }

    /// Expects that loss from now on, in percent: more of it puts more bits into redundancy.
    ///
    /// # Errors
    /// Where libopus refuses it.
    pub fn set_loss(&mut self, percent: u8) -> Result<(), Error> {
        let percent = percent.min(100);
        self.encoder.set_packet_loss_perc(percent).map_err(|error| Error::Opus(error.to_string()))
    }

    /// The rate at which it encodes: as asked for, else the input's, or 48 kHz where Opus does not take that.
    pub const fn rate(&self) -> Rate {
        self.rate
    }

    /// The format of what comes out.
    pub fn format(&self, input: &Format) -> Format {
        let mut format = input.clone();
        format.codec = Codec::Opus;
        // Other packets than those that came: sent on, they get numbers of their own.
        format.rtp = None;
        format.rate = Rate::HZ_48000;
        format.channels = self.channels;
        format.frame = self.ticks(self.frame) as u32;
        format.pre_skip = self.rate.convert(self.lookahead, Rate::HZ_48000) as u32;
        format
    }

    /// Takes interleaved samples whose first has media time `timestamp`, in ticks of the input.
    ///
    /// # Errors
    /// Where libopus fails.
    pub fn audio(
        &mut self,
        samples: &[f32],
        channels: Channels,
        timestamp: MediaTime,
        captured: Option<Stamp>,
        mut emit: impl FnMut(Coded<'_>),
    ) -> Result<(), Error> {
        if self.expected != Some(timestamp) {
            self.restart_at(timestamp, &mut emit)?;
        }
        self.expected = Some(timestamp.plus((samples.len() / channels.count()) as u64));
        if self.pending.is_empty() || self.captured.is_none() {
            self.captured = captured.map(|stamp| stamp.plus(-self.rate.ns(self.pending_frames())));
        }
        self.mixed.clear();
        self.remix.process(samples, &mut self.mixed);
        match &mut self.resampler {
            Some(resampler) => resampler.process(&self.mixed, &mut self.pending),
            None => self.pending.extend_from_slice(&self.mixed),
        }
        self.encode_full(&mut emit)
    }

    /// Takes a gap of the input, in its ticks; gives what remains of it at 48 kHz after the packet before it was filled
    /// up with silence: its beginning and duration.
    ///
    /// # Errors
    /// Where libopus fails.
    pub fn gap(
        &mut self,
        timestamp: MediaTime,
        duration: u64,
        mut emit: impl FnMut(Coded<'_>),
    ) -> Result<(MediaTime, u64), Error> {
        if self.expected != Some(timestamp) {
            self.restart_at(timestamp, &mut emit)?;
        }
        let end = timestamp.plus(duration);
        self.expected = Some(end);
        self.silence_until(end, &mut emit)?;
        let resumes = self.at_48k(end);
        let begins = self.position.plus(self.ticks_of(self.pending_frames()));
        let rest = resumes.since(begins);
        if rest > 0 {
            self.position = resumes;
            self.captured = None;
        }
        Ok((begins, rest))
    }

    /// Gives the last packets; `timestamp` is where the input ends, in its ticks. Returns where the output does.
    ///
    /// # Errors
    /// Where libopus fails.
    pub fn end(&mut self, timestamp: MediaTime, mut emit: impl FnMut(Coded<'_>)) -> Result<MediaTime, Error> {
        if let Some(resampler) = &mut self.resampler {
            resampler.finish(&mut self.pending);
        }
        let end = self.at_48k(timestamp);
        // The decoder gives each sample `lookahead` later: that much silence behind the last gets it out.
        let channels = self.channels.count();
        let with_delay = self.pending_frames() + self.lookahead;
        let frames = with_delay.div_ceil(self.frame as u64) * self.frame as u64;
        if self.expected.is_some() {
            self.pending.resize(frames as usize * channels, 0.0);
            self.encode_full(&mut emit)?;
        }
        self.pending.clear();
        Ok(end)
    }

    /// The audio goes on at another media time than where it was: what waits is sent, filled up with silence.
    fn restart_at(&mut self, timestamp: MediaTime, emit: &mut impl FnMut(Coded<'_>)) -> Result<(), Error> {
        if self.expected.is_some() {
            self.fill_up(emit)?;
        }
        self.position = self.at_48k(timestamp);
        self.captured = None;
        Ok(())
    }

    /// Appends silence up to the media time `end`, or until the packet is full, whichever comes first.
    fn silence_until(&mut self, end: MediaTime, emit: &mut impl FnMut(Coded<'_>)) -> Result<(), Error> {
        self.renew_resampler();
        if self.pending.is_empty() {
            return Ok(());
        }
        self.encode_full(emit)?;
        let begins = self.position.plus(self.ticks_of(self.pending_frames()));
        let wanted = Rate::HZ_48000.convert(self.at_48k(end).since(begins), self.rate) as usize;
        let room = (self.frame - self.pending.len() / self.channels.count()) % self.frame;
        let silence = wanted.min(room) * self.channels.count();
        self.pending.resize(self.pending.len() + silence, 0.0);
        self.encode_full(emit)
    }

    fn fill_up(&mut self, emit: &mut impl FnMut(Coded<'_>)) -> Result<(), Error> {
        self.renew_resampler();
        let frames = self.pending_frames().div_ceil(self.frame as u64) as usize * self.frame;
        self.pending.resize(frames * self.channels.count(), 0.0);
        self.encode_full(emit)
    }

    /// Gets what the resampler holds back, and begins with an empty one.
    fn renew_resampler(&mut self) {
        if let Some(resampler) = &mut self.resampler {
            resampler.finish(&mut self.pending);
            *resampler = Resampler::new(self.input_rate, self.rate, self.channels);
        }
    }

    fn encode_full(&mut self, emit: &mut impl FnMut(Coded<'_>)) -> Result<(), Error> {
        let samples = self.frame * self.channels.count();
        let duration = self.ticks(self.frame) as u32;
        let mut done = 0;
        while self.pending.len() - done >= samples {
            let length = self
                .encoder
                .encode_float(&self.pending[done..done + samples], &mut self.packet)
                .map_err(|error| Error::Opus(error.to_string()))?;
            let timestamp = self.position;
            let power = mean_power(&self.pending[done..done + samples]);
            let level = self.levels.handle(power, Rate::HZ_48000.ns(u64::from(duration)));
            // One or two bytes are DTX: nothing need be sent (RFC 7587, section 3.1.3). The first is: who hears it knows
            // that this is silence, and not a loss.
            let was_silent = std::mem::replace(&mut self.silent, length <= 2);
            emit(if was_silent && self.silent {
                Coded::Silence { timestamp, duration }
            } else {
                Coded::Packet { timestamp, duration, captured: self.captured, level, payload: &self.packet[..length] }
            });
            done += samples;
            self.position = self.position.plus(u64::from(duration));
            self.captured = self.captured.map(|stamp| stamp.plus(Rate::HZ_48000.ns(u64::from(duration))));
        }
        self.pending.drain(..done);
        Ok(())
    }

    fn pending_frames(&self) -> u64 {
        (self.pending.len() / self.channels.count()) as u64
    }

    fn at_48k(&self, timestamp: MediaTime) -> MediaTime {
        MediaTime(self.input_rate.convert(timestamp.0, Rate::HZ_48000))
    }

    fn ticks_of(&self, frames: u64) -> u64 {
        self.rate.convert(frames, Rate::HZ_48000)
    }

    fn ticks(&self, frames: usize) -> u64 {
        self.ticks_of(frames as u64)
    }
}
