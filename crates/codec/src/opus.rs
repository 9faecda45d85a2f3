//! libopus: its encoder, through `audiopus`, and what its packets tell of themselves.

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

/// Whether the packet holds two channels (RFC 6716, section 3.1).
pub(crate) const fn is_stereo(packet: &[u8]) -> bool {
    matches!(packet, [toc, ..] if *toc & 4 != 0)
}

/// Whether the packet carries a copy of the one before it.
pub(crate) fn carries_copy(packet: &[u8]) -> bool {
    let Ok(length) = i32::try_from(packet.len()) else { return false };
    // SAFETY: the pointer is good for `length` bytes, at least one.
    length > 0 && unsafe { opusic_sys::opus_packet_has_lbrr(packet.as_ptr(), length) } > 0
}
