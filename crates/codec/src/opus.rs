//! libopus: the encoder through `audiopus`, the decoder through a thin wrapper of our own over the same library, since
//! `audiopus` hides what concealment needs.

use core::ffi::c_int;
use core::ptr::NonNull;

use audiopus::coder::Encoder;
use audiopus::{Bitrate, Channels as OpusChannels, SampleRate};
use vox_frame::{Channels, Rate};

use crate::Error;

/// What the encoder is tuned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Application {
    /// Speech.
    Voip,
    /// Music and everything else.
    Audio,
    /// The least delay; no speech mode.
    LowDelay,
}

/// How to encode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpusSettings {
    /// The rate to encode at, one that Opus takes; none takes the input's, or 48 kHz.
    pub rate: Option<Rate>,
    /// Channels to encode, one or two; none takes the input's, at most two.
    pub channels: Option<Channels>,
    /// Bits a second; none leaves it to the library.
    pub bitrate: Option<u32>,
    /// 0 to 10.
    pub complexity: u8,
    /// Put a coarse copy of each packet into the next.
    pub fec: bool,
    /// The loss that the encoder is to expect, in percent.
    pub loss: u8,
    /// Deep redundancy: how much of the past every packet describes, in ms; 0 is none. libopus gives it no bits beside
    /// `fec`, and none where little loss is expected.
    pub dred_ms: u16,
    /// Send nothing in silence.
    pub dtx: bool,
    /// Every packet the same size.
    pub cbr: bool,
    /// What it is tuned for.
    pub application: Application,
}

impl Default for OpusSettings {
    fn default() -> Self {
        Self {
            rate: None,
            channels: None,
            bitrate: None,
            complexity: 10,
            fec: false,
            loss: 0,
            dred_ms: 0,
            dtx: false,
            cbr: false,
            application: Application::Voip,
        }
    }
}

/// Deep redundancy is counted in pieces of that many ms.
const DRED_STEP_MS: u16 = 10;

/// The longest packet that libopus writes for 60 ms or less, in bytes (RFC 6716, section 3.4: three frames of 1275).
pub(crate) const MAX_PACKET: usize = 3 * 1275 + 7;

/// The sampling rates that Opus takes (RFC 6716, section 2.1.3), as the library names them.
pub(crate) fn sample_rate(rate: Rate) -> Option<SampleRate> {
    SampleRate::try_from(rate.hz() as i32).ok()
}

/// An encoder with those settings.
pub(crate) fn encoder(rate: SampleRate, channels: Channels, settings: &OpusSettings) -> Result<Encoder, Error> {
    let channels = match channels.count() {
        1 => OpusChannels::Mono,
        2 => OpusChannels::Stereo,
        found => return Err(Error::Channels { codec: "opus", most: 2, found }),
    };
    let application = match settings.application {
        Application::Voip => audiopus::Application::Voip,
        Application::Audio => audiopus::Application::Audio,
        Application::LowDelay => audiopus::Application::LowDelay,
    };
    configure(rate, channels, application, settings).map_err(|error| Error::Opus(error.to_string()))
}

fn configure(
    rate: SampleRate,
    channels: OpusChannels,
    application: audiopus::Application,
    settings: &OpusSettings,
) -> Result<Encoder, audiopus::Error> {
    let mut encoder = Encoder::new(rate, channels, application)?;
    let bitrate = settings.bitrate.map_or(Bitrate::Auto, |bits| Bitrate::BitsPerSecond(bits as i32));
    encoder.set_bitrate(bitrate)?;
    encoder.set_complexity(settings.complexity)?;
    encoder.set_inband_fec(settings.fec)?;
    encoder.set_packet_loss_perc(settings.loss)?;
    if settings.dred_ms > 0 {
        encoder.set_encoder_ctl_request(
            opusic_sys::OPUS_SET_DRED_DURATION_REQUEST,
            i32::from(settings.dred_ms.div_ceil(DRED_STEP_MS)),
        )?;
    }
    encoder.set_dtx(settings.dtx)?;
    encoder.set_vbr(!settings.cbr)?;
    encoder.set_vbr_constraint(true)?;
    Ok(encoder)
}

/// Frames at 48 kHz that a packet holds; 0 where it is damaged.
pub(crate) fn packet_frames(packet: &[u8]) -> usize {
    let Ok(length) = i32::try_from(packet.len()) else { return 0 };
    if packet.is_empty() {
        return 0;
    }
    // SAFETY: the pointer is good for `length` bytes, at least one.
    let frames = unsafe { opusic_sys::opus_packet_get_nb_samples(packet.as_ptr(), length, 48_000) };
    usize::try_from(frames).unwrap_or(0)
}

/// Whether the packet carries a copy of the one before it.
pub(crate) fn carries_copy(packet: &[u8]) -> bool {
    let Ok(length) = i32::try_from(packet.len()) else { return false };
    // SAFETY: the pointer is good for `length` bytes, at least one.
    length > 0 && unsafe { opusic_sys::opus_packet_has_lbrr(packet.as_ptr(), length) } > 0
}

/// The complexity of the decoder from which on a neural model conceals.
pub(crate) const DEEP: u8 = 5;

/// A decoder at 48 kHz.
pub(crate) struct Decoder {
    state: NonNull<opusic_sys::OpusDecoder>,
    channels: usize,
    complexity: u8,
}

// SAFETY: the state is plain memory that only its owner touches; libopus keeps nothing by thread.
unsafe impl Send for Decoder {}

impl Decoder {
    pub(crate) fn new(channels: Channels, complexity: u8) -> Result<Self, Error> {
        let count = channels.count();
        if count > 2 {
            return Err(Error::Channels { codec: "opus", most: 2, found: count });
        }
        let mut error: c_int = 0;
        // SAFETY: the arguments are a rate and a number of channels that libopus takes, and `error` outlives the call.
        let state = unsafe { opusic_sys::opus_decoder_create(48_000, count as c_int, &raw mut error) };
        let state = NonNull::new(state).ok_or_else(|| Error::Opus(format!("no decoder (error {error})")))?;
        let mut decoder = Self { state, channels: count, complexity: 0 };
        decoder.set_complexity(complexity);
        Ok(decoder)
    }

    /// See [`DecoderOptions::complexity`](crate::DecoderOptions::complexity).
    fn set_complexity(&mut self, complexity: u8) {
        if self.complexity == complexity {
            return;
        }
        self.complexity = complexity;
        // SAFETY: the state is live, and this request takes one int.
        unsafe {
            opusic_sys::opus_decoder_ctl(
                self.state.as_ptr(),
                opusic_sys::OPUS_SET_COMPLEXITY_REQUEST,
                c_int::from(complexity),
            );
        }
    }

    /// Conceals by a neural model from now on, which deep redundancy needs.
    pub(crate) fn go_deep(&mut self) {
        self.set_complexity(self.complexity.max(DEEP));
    }

    pub(crate) const fn channels(&self) -> usize {
        self.channels
    }

    pub(crate) const fn as_ptr(&mut self) -> *mut opusic_sys::OpusDecoder {
        self.state.as_ptr()
    }

    /// Appends what `packet` holds; false where it is damaged.
    pub(crate) fn packet(&mut self, packet: &[u8], frames: usize, out: &mut Vec<f32>) -> bool {
        !packet.is_empty() && self.decode(Some(packet), frames, false, out)
    }

    /// Appends `frames` of what the packet before `next` held, from the copy in `next`.
    pub(crate) fn fec(&mut self, next: &[u8], frames: usize, out: &mut Vec<f32>) -> bool {
        !next.is_empty() && self.decode(Some(next), frames, true, out)
    }

    /// Appends `frames` of concealment.
    pub(crate) fn conceal(&mut self, frames: usize, out: &mut Vec<f32>) -> bool {
        self.decode(None, frames, false, out)
    }

    /// Appends `frames` of the noise that a pause is filled with: no model has anything to add to it.
    pub(crate) fn pause(&mut self, frames: usize, out: &mut Vec<f32>) -> bool {
        let complexity = self.complexity;
        self.set_complexity(complexity.min(DEEP - 1));
        let made = self.decode(None, frames, false, out);
        self.set_complexity(complexity);
        made
    }

    fn decode(&mut self, packet: Option<&[u8]>, frames: usize, fec: bool, out: &mut Vec<f32>) -> bool {
        let room = match packet {
            Some(packet) if !fec => packet_frames(packet),
            _ => frames,
        };
        let start = out.len();
        out.resize(start + room * self.channels, 0.0);
        let (data, length) = packet.map_or((core::ptr::null(), 0), |bytes| (bytes.as_ptr(), bytes.len()));
        let Ok(length) = i32::try_from(length) else { return false };
        // SAFETY: `data` is null or points at `length` bytes, and `out` has room for `room` frames of all channels.
        let got = unsafe {
            opusic_sys::opus_decode_float(
                self.state.as_ptr(),
                data,
                length,
                out[start..].as_mut_ptr(),
                room as c_int,
                c_int::from(fec),
            )
        };
        let got = usize::try_from(got).unwrap_or(0);
        out.truncate(start + got * self.channels);
        got > 0
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: the state came from opus_decoder_create and is not used again.
        unsafe { opusic_sys::opus_decoder_destroy(self.state.as_ptr()) }
    }
}
