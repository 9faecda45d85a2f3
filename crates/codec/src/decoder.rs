//! The records of one stream to samples.

use vox_dsp::FitStats;
use vox_frame::{Audio, Channels, Codec, End, Format, Gap, GapReason, MediaTime, Rate};

use crate::comfort::ComfortNoise;
use crate::conceal::Concealer;
use crate::dred::{Dred, may_describe};
use crate::g711::Law;
use crate::options::{Concealment, DecoderOptions};
use crate::opus::{carries_copy, packet_frames};
use crate::opus_decoder::{DEEP, Decoder as OpusDecoder};
use crate::repeat::Repeater;
use crate::slots::Slots;
use crate::{Error, linear};

/// The longest gap that is concealed, in ms: after it there is silence, which every concealment has faded to by then.
const MAX_CONCEALED_MS: u64 = 500;

/// Opus conceals in multiples of 2.5 ms.
const OPUS_STEP: usize = 120;

/// Deep redundancy is decoded in pieces of 20 ms.
const REDUNDANT_PIECE: usize = 960;

/// The most frames that one record of audio can hold, one byte each: what claims more is cut there.
const MAX_FRAMES: usize = vox_frame::MAX_PAYLOAD;

/// Decodes one stream. Each record gives as many frames as its media duration says, except that the encoder's delay
/// is left out at the beginning and the end is cut where the stream really ends.
pub struct StreamDecoder {
    codec: Kind,
    rate: Rate,
    channels: Channels,
    options: DecoderOptions,
    /// Frames of encoder delay that are still to be left out.
    skip: u64,
    /// Frames held back until it is known where the stream ends; 0 for streams that are played as they come.
    hold: usize,
    held: Vec<f32>,
    first: Option<MediaTime>,
    /// Frames given out, the held ones too.
    made: u64,
    concealed: u64,
    silent: u64,
    recovered: u64,
    damaged: u64,
    comfort: ComfortNoise,
    work: Vec<f32>,
    slots: Slots,
    dred: Option<Dred>,
    last: Repeater,
}

enum Kind {
    Linear(fn(&[u8], &mut Vec<f32>), usize, Concealer),
    Law(Law, Concealer),
    Opus(OpusDecoder),
}

impl StreamDecoder {
    /// A decoder for streams of that format.
    ///
    /// # Errors
    /// Where the codec is not known here, or does not take so many channels.
    pub fn new(format: &Format, options: DecoderOptions) -> Result<Self, Error> {
        let (rate, channels) = (format.rate, format.channels);
        let deep = options.method == Concealment::Deep;
        let complexity = if deep { options.complexity.max(DEEP) } else { options.complexity };
        let concealer = || Concealer::new(rate.hz() as usize, channels.count());
        let codec = match &format.codec {
            Codec::PcmS16 => Kind::Linear(linear::s16le_to_f32, 2, concealer()),
            Codec::L16 => Kind::Linear(linear::s16be_to_f32, 2, concealer()),
            Codec::PcmF32 => Kind::Linear(linear::f32le_to_f32, 4, concealer()),
            Codec::Pcmu => Kind::Law(Law::Mu, concealer()),
            Codec::Pcma => Kind::Law(Law::A, concealer()),
            Codec::Opus => Kind::Opus(OpusDecoder::new(channels, complexity)?),
            Codec::Other(name) => return Err(Error::Unknown(name.clone())),
        };
        // As long as packets hold one channel of two, one is decoded and fitted.
        let width = if matches!(codec, Kind::Opus(_)) { Channels::MONO } else { channels };
        let exact = matches!(codec, Kind::Opus(_)) && !format.live && format.pre_skip > 0;
        // The last packet may reach a frame and the delay beyond the end; 60 ms is the longest frame we encode.
        let hold = if exact { format.pre_skip as usize + 2880 } else { 0 };
        Ok(Self {
            codec,
            rate,
            channels,
            options,
            skip: u64::from(format.pre_skip),
            hold,
            held: Vec::new(),
            first: None,
            made: 0,
            concealed: 0,
            silent: 0,
            recovered: 0,
            damaged: 0,
            comfort: ComfortNoise::default(),
            work: Vec::new(),
            slots: Slots::new(rate, width, options.fit),
            dred: None,
            last: Repeater::new(rate, width),
        })
    }

    /// Frames a second of what comes out.
    pub const fn rate(&self) -> Rate {
        self.rate
    }

    /// Channels of what comes out.
    pub const fn channels(&self) -> Channels {
        self.channels
    }

    /// Frames that nothing came for: concealed, or silent.
    pub const fn concealed(&self) -> u64 {
        self.concealed
    }

    /// Those of them for which nothing was sent: silence, or comfort noise.
    pub const fn silent(&self) -> u64 {
        self.silent
    }

    /// Frames of gaps that were recovered from later packets.
    pub const fn recovered(&self) -> u64 {
        self.recovered
    }

    /// Frames by which what came out is longer than the media time that it stands for.
    pub const fn lengthened(&self) -> i64 {
        self.slots.lengthened()
    }

    /// What fitting into slots did.
    pub fn fitted(&self) -> FitStats {
        self.slots.stats()
    }

    /// Frames that are held back until it is known where the stream ends.
    pub fn held(&self) -> u64 {
        (self.held.len() / self.channels.count()) as u64
    }

    /// Packets that were damaged.
    pub const fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Appends the frames of a record: as many as its media duration says, or its slot where slots are fitted. One
    /// without audio may tell of the noise in pauses.
    pub fn audio(&mut self, audio: &Audio<'_>, out: &mut Vec<f32>) {
        if audio.padding {
            if let Some(noise) = audio.comfort_noise() {
                self.comfort.describe(noise);
            }
            return;
        }
        self.first.get_or_insert(audio.timestamp);
        if audio.times.due.is_some() && !self.options.hold_due {
            // A playout timeline is played as it comes: nothing is held back on it.
            self.hold = 0;
        }
        self.widen_for(audio.payload);
        let frames = (audio.duration as usize).min(MAX_FRAMES);
        let samples = frames * self.width();
        let mut work = std::mem::take(&mut self.work);
        work.clear();
        if !self.decode(audio.payload, frames, &mut work) || work.len() != samples {
            self.damaged += 1;
            let good = work.len().min(samples);
            work.truncate(good);
            let missing = frames - good / self.width();
            self.conceal(missing, &mut work);
        }
        if self.options.plc && self.options.method == Concealment::Repeat {
            self.last.heard(&work);
        }
        let slot = audio.slot.map(u64::from);
        self.place(&mut work, u64::from(audio.duration), slot, out);
        self.work = work;
    }

    /// Appends what stands in for a gap, exactly as long as its media duration, or its slot where slots are fitted; of
    /// one longer than [`MAX_AT_ONCE_S`](Self::MAX_AT_ONCE_S) only so much: the rest is silence. See
    /// [`pieces`](crate::pieces).
    pub fn gap(&mut self, gap: &Gap<'_>, out: &mut Vec<f32>) {
        self.first.get_or_insert(gap.timestamp);
        if let Some(later) = &gap.later {
            self.widen_for(later.payload);
        }
        let mut work = std::mem::take(&mut self.work);
        work.clear();
        let most = u64::from(self.rate.hz()) * Self::MAX_AT_ONCE_S;
        let frames = gap.duration.min(most) as usize;
        let slot = gap.slot.filter(|_| self.options.fit);
        let copied = self.copied_frames(gap, frames);
        let redundant = self.redundant_frames(gap, frames - copied);
        if copied + redundant > 0 || slot.is_none() {
            self.fill(frames - copied - redundant, gap.reason, &mut work);
            self.recover(gap, redundant, copied, &mut work);
            work.resize(frames * self.width(), 0.0);
        } else {
            // What is made up need not be stretched: it can be made as long as its slot.
            let wanted = self.slots.frames(gap.duration, slot).min(most as usize);
            self.fill(self.nearest(wanted), gap.reason, &mut work);
        }
        self.place(&mut work, gap.duration, slot, out);
        self.work = work;
    }

    /// A gap that nothing is to stand in for: appends what was held back, as it comes before it.
    pub fn pass(&mut self, gap: &Gap<'_>, out: &mut Vec<f32>) {
        self.first.get_or_insert(gap.timestamp);
        self.made = self.made.saturating_add(gap.duration);
        self.flush(out);
    }

    /// Channels of what is decoded now: one of two, as long as both are the same.
    const fn width(&self) -> usize {
        match &self.codec {
            Kind::Opus(decoder) => decoder.width(),
            Kind::Linear(..) | Kind::Law(..) => self.channels.count(),
        }
    }

    /// Decodes and fits two channels from a packet on that holds them.
    fn widen_for(&mut self, packet: &[u8]) {
        if let Kind::Opus(decoder) = &mut self.codec
            && decoder.widens_for(packet)
        {
            self.slots.widen();
            self.last.widen();
        }
    }

    /// Frames near `wanted` that the codec can make up.
    const fn nearest(&self, wanted: usize) -> usize {
        match self.codec {
            Kind::Opus(_) => (wanted + OPUS_STEP / 2) / OPUS_STEP * OPUS_STEP,
            Kind::Linear(..) | Kind::Law(..) => wanted,
        }
    }

    /// Appends what later packets tell of a gap: `redundant` frames of deep redundancy, then `copied` of a copy.
    fn recover(&mut self, gap: &Gap<'_>, redundant: usize, copied: usize, out: &mut Vec<f32>) {
        let ahead = gap.later.map_or(0, |later| later.ahead as usize);
        let unknown = (gap.duration as usize).saturating_sub(copied + redundant);
        let mut left = redundant;
        while left > 0 {
            let piece = left.min(REDUNDANT_PIECE);
            let back = ahead.saturating_sub(unknown + redundant - left);
            let start = out.len();
            let made = match (&mut self.codec, &self.dred) {
                (Kind::Opus(decoder), Some(dred)) => dred.decode(decoder, back, piece, out),
                _ => false,
            };
            if made {
                self.recovered += piece as u64;
            } else {
                out.truncate(start);
                self.conceal(piece, out);
            }
            left -= piece;
        }
        if copied > 0 {
            if self.decode_copy(gap, copied, out) {
                self.recovered += copied as u64;
            } else {
                self.conceal(copied, out);
            }
        }
    }

    /// How many frames of the gap, before those that are copied, a later packet tells of.
    fn redundant_frames(&mut self, gap: &Gap<'_>, frames: usize) -> usize {
        let (Kind::Opus(decoder), Some(later)) = (&mut self.codec, gap.later.filter(|_| self.options.fec)) else {
            return 0;
        };
        let usable = !gap.reason.is_silence() && may_describe(later.payload);
        if !usable || !frames.is_multiple_of(OPUS_STEP) || u64::from(later.ahead) < gap.duration {
            return 0;
        }
        if self.dred.is_none() {
            self.dred = Dred::new().ok();
        }
        let Some(dred) = &mut self.dred else { return 0 };
        let reach = dred.reach(later.payload, later.ahead);
        if reach > 0 {
            decoder.go_deep();
        }
        // What lies farther back than the redundancy reaches is made up.
        let beyond = (later.ahead as usize).saturating_sub(reach);
        frames.saturating_sub(beyond.div_ceil(OPUS_STEP) * OPUS_STEP)
    }

    /// The most of a gap that one call makes, in seconds.
    pub const MAX_AT_ONCE_S: u64 = 1;

    /// Appends what was held back, cut where the stream ends.
    pub fn end(&mut self, end: &End, out: &mut Vec<f32>) {
        let channels = self.channels.count();
        let whole = end.timestamp.since(self.first.unwrap_or(end.timestamp));
        let whole = whole.saturating_add_signed(self.slots.lengthened());
        let given = self.made - (self.held.len() / channels) as u64;
        let keep = usize::try_from(whole.saturating_sub(given)).unwrap_or(usize::MAX).saturating_mul(channels);
        out.extend_from_slice(&self.held[..self.held.len().min(keep)]);
        self.held.clear();
    }

    /// Appends what was held back, where there is no End.
    pub fn flush(&mut self, out: &mut Vec<f32>) {
        out.append(&mut self.held);
    }

    /// How many of the gap's last frames the packet behind it may hold a copy of: that copy is of the packet right
    /// before it, and of the same length.
    fn copied_frames(&self, gap: &Gap<'_>, frames: usize) -> usize {
        let Some(later) = gap.later.filter(|_| self.options.fec && matches!(self.codec, Kind::Opus(_))) else {
            return 0;
        };
        let copied = packet_frames(later.payload);
        let behind = later.ahead as usize == frames && copied <= frames;
        if behind && carries_copy(later.payload) { copied } else { 0 }
    }

    fn decode_copy(&mut self, gap: &Gap<'_>, frames: usize, out: &mut Vec<f32>) -> bool {
        let (Kind::Opus(decoder), Some(later)) = (&mut self.codec, gap.later) else { return false };
        decoder.fec(later.payload, frames, out)
    }

    fn decode(&mut self, payload: &[u8], frames: usize, out: &mut Vec<f32>) -> bool {
        let samples = frames * self.channels.count();
        let blends = self.options.plc && self.options.method != Concealment::Repeat;
        match &mut self.codec {
            Kind::Linear(convert, bytes, concealer) => {
                convert(&payload[..payload.len().min(samples * *bytes)], out);
                if blends {
                    concealer.heard(out);
                }
            }
            Kind::Law(law, concealer) => {
                law.decode(&payload[..payload.len().min(samples)], out);
                if blends {
                    concealer.heard(out);
                }
            }
            Kind::Opus(decoder) => return decoder.packet(payload, out),
        }
        true
    }

    /// Appends `frames` that nothing came for.
    fn fill(&mut self, frames: usize, reason: GapReason, out: &mut Vec<f32>) {
        match reason {
            GapReason::Silent => self.pause(frames, out),
            GapReason::Muted => {
                self.note_silence(frames);
                out.resize(out.len() + frames * self.width(), 0.0);
            }
            _ => self.conceal(frames, out),
        }
    }

    const fn note_silence(&mut self, frames: usize) {
        self.concealed += frames as u64;
        self.silent += frames as u64;
    }

    /// Appends `frames` of a pause: noise, where the sender or the codec tells of it.
    fn pause(&mut self, frames: usize, out: &mut Vec<f32>) {
        self.note_silence(frames);
        let (start, end) = (out.len(), out.len() + frames * self.width());
        match &mut self.codec {
            _ if !self.options.plc => {}
            Kind::Opus(decoder) => in_chunks(frames, |chunk| decoder.pause(chunk, out)),
            Kind::Linear(_, _, concealer) | Kind::Law(_, concealer) if self.comfort.is_described() => {
                self.comfort.make(frames, self.channels.count(), out);
                concealer.heard(&mut out[start..]);
            }
            Kind::Linear(..) | Kind::Law(..) => {}
        }
        out.resize(end, 0.0);
    }

    /// Appends `frames` of what might have been where something was lost.
    fn conceal(&mut self, frames: usize, out: &mut Vec<f32>) {
        self.concealed += frames as u64;
        let end = out.len() + frames * self.width();
        let most = usize::try_from(self.rate.ticks(MAX_CONCEALED_MS as i64 * 1_000_000)).unwrap_or(0);
        let frames = if self.options.plc { frames.min(most) } else { 0 };
        match (&mut self.codec, self.options.method) {
            (_, Concealment::Repeat) => self.last.repeat(frames, out),
            (Kind::Linear(_, _, concealer) | Kind::Law(_, concealer), _) => concealer.conceal(frames, out),
            (Kind::Opus(decoder), _) => in_chunks(frames, |chunk| decoder.conceal(chunk, out)),
        }
        out.resize(end, 0.0);
    }

    /// Fits what was made of `duration` ticks into its slot, and hands it out.
    fn place(&mut self, work: &mut Vec<f32>, duration: u64, slot: Option<u64>, out: &mut Vec<f32>) {
        self.slots.fit(work, duration, slot);
        self.hand_out(work, out);
    }

    fn hand_out(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        let (channels, width) = (self.channels.count(), self.width());
        let frames = (samples.len() / width) as u64;
        let skipped = self.skip.min(frames);
        self.skip -= skipped;
        self.made = self.made.saturating_add(frames - skipped);
        let samples = &samples[skipped as usize * width..];
        let to = if self.hold == 0 {
            out.append(&mut self.held);
            &mut *out
        } else {
            &mut self.held
        };
        if width == channels {
            to.extend_from_slice(samples);
        } else {
            to.extend(samples.iter().flat_map(|&sample| [sample; 2]));
        }
        let ready = self.held.len().saturating_sub(self.hold * channels);
        out.extend(self.held.drain(..ready));
    }
}

/// Makes frames of Opus, as many as there are whole steps of, a piece at a time, until one fails.
fn in_chunks(frames: usize, mut make: impl FnMut(usize) -> bool) {
    let mut left = frames / OPUS_STEP * OPUS_STEP;
    while left > 0 && make(left.min(REDUNDANT_PIECE)) {
        left -= left.min(REDUNDANT_PIECE);
    }
}
