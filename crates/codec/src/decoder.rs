//! The records of one stream to samples.

use vox_frame::{Audio, Channels, Codec, End, Format, Gap, MediaTime, Rate};

use crate::conceal::Concealer;
use crate::g711::Law;
use crate::opus::{Decoder as OpusDecoder, packet_frames};
use crate::{Error, linear};

/// How a decoder fills gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecoderOptions {
    /// Conceal what is missing; otherwise it is silence.
    pub plc: bool,
    /// Use the copy of a lost packet in the one behind it.
    pub fec: bool,
    /// Complexity of the Opus decoder, 0 to 10: from 5 on, concealment by a neural model.
    pub complexity: u8,
    /// Hold frames back for the sake of an exact end also where records are `due` on a playout timeline: for those who
    /// place what comes out by [`StreamDecoder::held`].
    pub hold_due: bool,
}

impl Default for DecoderOptions {
    fn default() -> Self {
        Self { plc: true, fec: true, complexity: 0, hold_due: false }
    }
}

/// The longest gap that is concealed, in ms: after it there is silence, which every concealment has faded to by then.
const MAX_CONCEALED_MS: u64 = 500;

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
    damaged: u64,
    work: Vec<f32>,
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
        let concealer = || Concealer::new(rate.hz() as usize, channels.count());
        let codec = match &format.codec {
            Codec::PcmS16 => Kind::Linear(linear::s16le_to_f32, 2, concealer()),
            Codec::L16 => Kind::Linear(linear::s16be_to_f32, 2, concealer()),
            Codec::PcmF32 => Kind::Linear(linear::f32le_to_f32, 4, concealer()),
            Codec::Pcmu => Kind::Law(Law::Mu, concealer()),
            Codec::Pcma => Kind::Law(Law::A, concealer()),
            Codec::Opus => Kind::Opus(OpusDecoder::new(channels, options.complexity)?),
            Codec::Other(name) => return Err(Error::Unknown(name.clone())),
        };
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
            damaged: 0,
            work: Vec::new(),
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

    /// Frames that were concealed or silent because nothing came for them.
    pub const fn concealed(&self) -> u64 {
        self.concealed
    }

    /// Frames that are held back until it is known where the stream ends.
    pub fn held(&self) -> u64 {
        (self.held.len() / self.channels.count()) as u64
    }

    /// Packets that were damaged.
    pub const fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Appends the frames of a record.
    pub fn audio(&mut self, audio: &Audio<'_>, out: &mut Vec<f32>) {
        self.first.get_or_insert(audio.timestamp);
        if audio.padding {
            return;
        }
        if audio.times.due.is_some() && !self.options.hold_due {
            // A playout timeline is played as it comes: nothing is held back on it.
            self.hold = 0;
        }
        let frames = (audio.duration as usize).min(MAX_FRAMES);
        let samples = frames * self.channels.count();
        let mut work = std::mem::take(&mut self.work);
        work.clear();
        if !self.decode(audio.payload, frames, &mut work) || work.len() != samples {
            self.damaged += 1;
            let good = work.len().min(samples);
            work.truncate(good);
            let missing = frames - good / self.channels.count();
            self.fill(missing, true, &mut work);
        }
        self.hand_out(&work, out);
        self.work = work;
    }

    /// Appends what stands in for a gap, exactly as long; of one longer than
    /// [`MAX_AT_ONCE_S`](Self::MAX_AT_ONCE_S) only so much: the rest is silence.
    pub fn gap(&mut self, gap: &Gap<'_>, out: &mut Vec<f32>) {
        self.first.get_or_insert(gap.timestamp);
        let mut work = std::mem::take(&mut self.work);
        work.clear();
        let frames = gap.duration.min(u64::from(self.rate.hz()) * Self::MAX_AT_ONCE_S) as usize;
        let copied = self.copied_frames(gap, frames);
        self.fill(frames - copied, !gap.reason.is_silence(), &mut work);
        if copied > 0 && !self.decode_copy(gap, copied, &mut work) {
            self.fill(copied, true, &mut work);
        }
        work.resize(frames * self.channels.count(), 0.0);
        self.hand_out(&work, out);
        self.work = work;
    }

    /// The most of a gap that one call makes, in seconds.
    pub const MAX_AT_ONCE_S: u64 = 1;

    /// Appends what was held back, cut where the stream ends.
    pub fn end(&mut self, end: &End, out: &mut Vec<f32>) {
        let channels = self.channels.count();
        let whole = end.timestamp.since(self.first.unwrap_or(end.timestamp));
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
        if later.ahead as usize == frames && copied <= frames { copied } else { 0 }
    }

    fn decode_copy(&mut self, gap: &Gap<'_>, frames: usize, out: &mut Vec<f32>) -> bool {
        let (Kind::Opus(decoder), Some(later)) = (&mut self.codec, gap.later) else { return false };
        decoder.fec(later.payload, frames, out)
    }

    fn decode(&mut self, payload: &[u8], frames: usize, out: &mut Vec<f32>) -> bool {
        let samples = frames * self.channels.count();
        match &mut self.codec {
            Kind::Linear(convert, bytes, concealer) => {
                convert(&payload[..payload.len().min(samples * *bytes)], out);
                concealer.heard(out);
            }
            Kind::Law(law, concealer) => {
                law.decode(&payload[..payload.len().min(samples)], out);
                concealer.heard(out);
            }
            Kind::Opus(decoder) => return decoder.packet(payload, frames, out),
        }
        true
    }

    /// Appends `frames` that nothing came for.
    fn fill(&mut self, frames: usize, conceal: bool, out: &mut Vec<f32>) {
        self.concealed += frames as u64;
        let concealed = if conceal && self.options.plc {
            frames.min(usize::try_from(self.rate.ticks(MAX_CONCEALED_MS as i64 * 1_000_000)).unwrap_or(0))
        } else {
            0
        };
        match &mut self.codec {
            Kind::Linear(_, _, concealer) | Kind::Law(_, concealer) => concealer.conceal(concealed, out),
            Kind::Opus(decoder) => {
                // libopus conceals in multiples of 2.5 ms, and at most 120 ms at a time.
                let mut left = concealed;
                while left >= 120 {
                    let chunk = left.min(960) / 120 * 120;
                    if !decoder.conceal(chunk, out) {
                        break;
                    }
                    left -= chunk;
                }
                out.extend(std::iter::repeat_n(0.0, left * self.channels.count()));
            }
        }
        out.extend(std::iter::repeat_n(0.0, (frames - concealed) * self.channels.count()));
    }

    fn hand_out(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        let channels = self.channels.count();
        let frames = (samples.len() / channels) as u64;
        let skipped = self.skip.min(frames);
        self.skip -= skipped;
        self.made += frames - skipped;
        let samples = &samples[skipped as usize * channels..];
        if self.hold == 0 {
            out.append(&mut self.held);
            out.extend_from_slice(samples);
            return;
        }
        self.held.extend_from_slice(samples);
        let ready = self.held.len().saturating_sub(self.hold * channels);
        out.extend(self.held.drain(..ready));
    }
}
