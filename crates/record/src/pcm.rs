//! A stream on its way to samples on a tape and in the mix.

use vox_cli::Failure;
use vox_codec::{DecoderOptions, Error, StreamDecoder};
use vox_frame::{Audio, Channels, Format, Gap, GapReason, MediaTime, Rate, SequenceNumber, StreamId, Times};

use crate::aim::Aim;
use crate::item::{Item, What};
use crate::mix::Mix;
use crate::slew::Slew;
use crate::store::Store;
use crate::tape::Tape;

/// What lies farther beside its place is moved there at once, in seconds: slower than this and it would be a minute.
const JUMP: f64 = 0.05;

/// How long a correction takes, in seconds.
const PACE: f64 = 5.0;

/// The most by which a stream is stretched, as a ratio: 1 ms a second, which nobody hears.
const MAX_STRETCH: f64 = 1e-3;

/// How much of a gap is concealed, in ns; every concealment has faded by then.
const CONCEALED_NS: i64 = 500_000_000;

/// How much of a gap is made at a time, in ns.
const PIECE_NS: i64 = 120_000_000;

/// Samples of one stream.
pub(crate) struct PcmLane {
    id: StreamId,
    decoder: StreamDecoder,
    conceal: bool,
    tape: Option<Tape>,
    rate: Rate,
    channels: usize,
    slew: Slew,
    /// Frames since the recording began; none before the first.
    position: Option<i64>,
    /// Media time of the next frame out of the decoder.
    media: MediaTime,
    /// It was off its place and is on its way back.
    correcting: bool,
    samples: Vec<f32>,
    slewed: Vec<f32>,
}

impl PcmLane {
    /// A stream of that format.
    ///
    /// # Errors
    /// Where it cannot be decoded.
    pub(crate) fn new(id: StreamId, format: &Format, conceal: bool) -> Result<Self, Error> {
        let options = DecoderOptions { plc: conceal, fec: conceal, hold_due: true, ..DecoderOptions::default() };
        let decoder = StreamDecoder::new(format, options)?;
        let (rate, channels) = (decoder.rate(), decoder.channels().count());
        Ok(Self {
            id,
            decoder,
            conceal,
            tape: None,
            rate,
            channels,
            slew: Slew::new(channels),
            position: None,
            media: MediaTime(0),
            correcting: false,
            samples: Vec::new(),
            slewed: Vec::new(),
        })
    }

    /// Frames a second.
    pub(crate) const fn rate(&self) -> Rate {
        self.rate
    }

    /// Channels.
    pub(crate) const fn channels(&self) -> Channels {
        self.decoder.channels()
    }

    /// Writes to that tape from now on.
    pub(crate) fn set_tape(&mut self, tape: Tape) {
        self.tape = Some(tape);
    }

    /// The tape.
    pub(crate) const fn tape(&mut self) -> Option<&mut Tape> {
        self.tape.as_mut()
    }

    /// ns since the recording began.
    pub(crate) fn reached_ns(&self) -> i64 {
        self.rate.ns(self.position.unwrap_or(0).max(0).unsigned_abs())
    }

    /// Places the first frame at `media`; where the sender began anew, the next one.
    ///
    /// # Errors
    /// Where nothing can be written.
    pub(crate) fn begin(
        &mut self,
        media: MediaTime,
        aim: &Aim<'_>,
        store: &mut Store,
        mut mix: Option<&mut Mix>,
    ) -> Result<(), Failure> {
        if self.position.is_some() {
            self.samples.clear();
            self.decoder.flush(&mut self.samples);
            self.slewed.clear();
            self.slew.process(&self.samples, 1.0, &mut self.slewed);
            self.put(store, mix.as_deref_mut())?;
            self.rest(store, mix)?;
            self.media = media;
            return Ok(());
        }
        let place = aim.frames(media, self.rate).round() as i64;
        self.media = media;
        self.position = Some(place);
        if let Some(tape) = self.tape.as_mut().filter(|_| place > 0) {
            tape.silence(store, place.unsigned_abs())?;
        }
        Ok(())
    }

    /// Takes a record of audio; what of it is `past` was there before.
    ///
    /// # Errors
    /// Where nothing can be written.
    pub(crate) fn audio(
        &mut self,
        item: &Item,
        past: u64,
        aim: &Aim<'_>,
        store: &mut Store,
        mix: Option<&mut Mix>,
    ) -> Result<(), Failure> {
        self.samples.clear();
        let audio = Audio {
            id: self.id,
            sequence: SequenceNumber(0),
            timestamp: item.media,
            duration: u32::try_from(item.duration).unwrap_or(u32::MAX),
            marker: false,
            recovered: false,
            padding: false,
            times: Times::default(),
            slot: None,
            extensions: &[],
            payload: &item.payload,
        };
        self.decoder.audio(&audio, &mut self.samples);
        let past = usize::try_from(past).unwrap_or(usize::MAX).saturating_mul(self.channels).min(self.samples.len());
        self.samples.drain(..past);
        self.write(aim, store, mix)
    }

    /// Fills what is missing.
    ///
    /// # Errors
    /// Where nothing can be written.
    pub(crate) fn gap(
        &mut self,
        item: &Item,
        aim: &Aim<'_>,
        store: &mut Store,
        mut mix: Option<&mut Mix>,
    ) -> Result<(), Failure> {
        let What::Gap(reason, later) = &item.what else { return Ok(()) };
        let mut done = 0;
        if self.conceal && !reason.is_silence() {
            let most = item.duration.min(self.rate.ticks(CONCEALED_NS));
            while done < most {
                let piece = (most - done).min(self.rate.ticks(PIECE_NS));
                let last = done + piece == item.duration;
                let ahead = later.as_ref().filter(|_| last).and_then(|&(ahead, _)| u64::from(ahead).checked_sub(done));
                let gap = Gap {
                    id: self.id,
                    sequence: SequenceNumber(0),
                    timestamp: item.media.plus(done),
                    duration: piece,
                    packets: 1,
                    reason: *reason,
                    times: Times::default(),
                    slot: None,
                    later: ahead
                        .zip(later.as_ref())
                        .map(|(ahead, (_, payload))| vox_frame::LaterPacket { ahead: ahead as u32, payload }),
                };
                self.samples.clear();
                self.decoder.gap(&gap, &mut self.samples);
                self.write(aim, store, mix.as_deref_mut())?;
                done += piece;
            }
        }
        if done < item.duration {
            self.silence(item.duration - done, *reason, aim, store, mix)?;
        }
        Ok(())
    }

    /// Writes what the decoder holds, up to where the stream ends.
    ///
    /// # Errors
    /// Where nothing can be written.
    pub(crate) fn end(
        &mut self,
        end: Option<MediaTime>,
        aim: &Aim<'_>,
        store: &mut Store,
        mut mix: Option<&mut Mix>,
    ) -> Result<(), Failure> {
        self.samples.clear();
        self.decoder.flush(&mut self.samples);
        if let Some(end) = end {
            let left = usize::try_from(end.since(self.media)).unwrap_or(usize::MAX).saturating_mul(self.channels);
            self.samples.truncate(left);
        }
        self.write(aim, store, mix.as_deref_mut())?;
        self.rest(store, mix)
    }

    /// Silence of `duration`, in which the stream comes back to its place if it is off it.
    fn silence(
        &mut self,
        duration: u64,
        reason: GapReason,
        aim: &Aim<'_>,
        store: &mut Store,
        mut mix: Option<&mut Mix>,
    ) -> Result<(), Failure> {
        self.samples.clear();
        self.decoder.flush(&mut self.samples);
        self.write(aim, store, mix.as_deref_mut())?;
        self.rest(store, mix.as_deref_mut())?;
        let Some(position) = self.position else { return Ok(()) };
        let off = aim.frames(self.media.plus(duration), self.rate) - (position as f64 + duration as f64);
        let moved = if off.abs() > aim.tolerance * f64::from(self.rate.hz()) { off.round() as i64 } else { 0 };
        let frames = duration.cast_signed().saturating_add(moved).max(0);
        self.media = self.media.plus(duration);
        self.jump(frames, reason, store, mix)
    }

    /// Moves on by frames of silence.
    fn jump(
        &mut self,
        frames: i64,
        reason: GapReason,
        store: &mut Store,
        mix: Option<&mut Mix>,
    ) -> Result<(), Failure> {
        let Some(position) = &mut self.position else { return Ok(()) };
        let before = *position;
        *position += frames;
        let heard = (*position).max(0) - before.max(0);
        if let Some(tape) = &mut self.tape {
            // Only where nobody spoke does a talk spurt end.
            match (reason.is_silence(), heard.unsigned_abs()) {
                (_, 0) => {}
                (true, some) => tape.silence(store, some)?,
                (false, some) => tape.hole(store, some)?,
            }
        }
        if let Some(mix) = mix {
            mix.place(self.id, *position, self.rate);
        }
        Ok(())
    }

    /// Writes `samples`, stretched as the clock asks.
    fn write(&mut self, aim: &Aim<'_>, store: &mut Store, mut mix: Option<&mut Mix>) -> Result<(), Failure> {
        let Some(position) = self.position else { return Ok(()) };
        if self.samples.is_empty() {
            return Ok(());
        }
        let hz = f64::from(self.rate.hz());
        let off = aim.frames(self.media, self.rate) - (position as f64 + self.slew.pending());
        if off > JUMP * hz {
            self.rest(store, mix.as_deref_mut())?;
            self.jump(off.round() as i64, GapReason::Lost, store, mix.as_deref_mut())?;
        }
        let off = off.clamp(-JUMP * hz, JUMP * hz);
        let ratio = self.ratio(off / hz, aim);
        self.slewed.clear();
        self.slew.process(&self.samples, ratio, &mut self.slewed);
        self.media = self.media.plus((self.samples.len() / self.channels) as u64);
        self.put(store, mix)
    }

    /// How long a frame is to last, where the stream is `off` seconds before its place.
    fn ratio(&mut self, off: f64, aim: &Aim<'_>) -> f64 {
        let drift = aim.mapping.drift();
        if drift == 0.0 {
            let limit = if self.correcting { aim.tolerance / 10.0 } else { aim.tolerance };
            self.correcting = off.abs() > limit;
            if !self.correcting {
                return 1.0;
            }
        }
        1.0 + drift + (off / PACE).clamp(-MAX_STRETCH, MAX_STRETCH)
    }

    /// Writes what the filter holds.
    fn rest(&mut self, store: &mut Store, mix: Option<&mut Mix>) -> Result<(), Failure> {
        self.slewed.clear();
        self.slew.finish(&mut self.slewed);
        self.put(store, mix)
    }

    /// Writes `slewed`; what lies before the beginning of the recording is left out.
    fn put(&mut self, store: &mut Store, mix: Option<&mut Mix>) -> Result<(), Failure> {
        let Some(position) = &mut self.position else { return Ok(()) };
        let frames = (self.slewed.len() / self.channels) as i64;
        let before = (-*position).clamp(0, frames) as usize * self.channels;
        let at = (*position).max(0);
        *position += frames;
        let samples = &self.slewed[before..];
        if samples.is_empty() {
            return Ok(());
        }
        if let Some(tape) = &mut self.tape {
            tape.append(store, samples)?;
        }
        if let Some(mix) = mix {
            mix.push(self.id, at, self.rate, samples);
        }
        Ok(())
    }
}
