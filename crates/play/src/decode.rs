//! From payloads to samples.

use vox_cli::Failure;
use vox_frame::{Audio, Channels, Codec, End, Format, Gap, Rate};

/// Decodes one stream.
pub(crate) struct Decoder {
    codec: Codec,
    rate: Rate,
    channels: Channels,
}

impl Decoder {
    /// A decoder for that format.
    ///
    /// # Errors
    /// When the format cannot be decoded.
    pub(crate) fn new(format: &Format) -> Result<Self, Failure> {
        Ok(Self { codec: format.codec.clone(), rate: format.rate, channels: format.channels })
    }

    /// The rate of what comes out.
    pub(crate) const fn rate(&self) -> Rate {
        self.rate
    }

    /// The channels of what comes out.
    pub(crate) const fn channels(&self) -> Channels {
        self.channels
    }

    /// Appends the samples of a record.
    pub(crate) fn audio(&mut self, audio: &Audio<'_>, out: &mut Vec<f32>) {
        match self.codec {
            Codec::PcmS16 => {
                out.extend(audio.payload.as_chunks().0.iter().map(|&two| f32::from(i16::from_le_bytes(two)) / 32_768.0))
            }
            Codec::PcmF32 => out.extend(audio.payload.as_chunks().0.iter().map(|&four| f32::from_le_bytes(four))),
            _ => {}
        }
    }

    /// Appends what stands in for a gap; may be shorter than the gap, the rest is silence.
    pub(crate) fn gap(&mut self, _gap: &Gap<'_>, _out: &mut Vec<f32>) {}

    /// Appends what was held back until the end.
    pub(crate) fn end(&mut self, _end: &End, _out: &mut Vec<f32>) {}
}
