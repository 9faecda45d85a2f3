//! From the records of one stream to samples.

use vox_codec::{DecoderOptions, StreamDecoder};
use vox_frame::{Audio, Channels, End, Format, Gap, Rate};

/// Decodes one stream.
pub(crate) struct Decoder(StreamDecoder);

impl Decoder {
    /// A decoder for that format.
    ///
    /// # Errors
    /// When the codec is not known here, or does not take so many channels.
    pub(crate) fn new(format: &Format, options: DecoderOptions) -> Result<Self, vox_codec::Error> {
        StreamDecoder::new(format, options).map(Self)
    }

    /// The rate of what comes out.
    pub(crate) const fn rate(&self) -> Rate {
        self.0.rate()
    }

    /// The channels of what comes out.
    pub(crate) const fn channels(&self) -> Channels {
        self.0.channels()
    }

    /// Frames of what was handed in that have not come out yet.
    pub(crate) fn held(&self) -> u64 {
        self.0.held()
    }

    /// Frames of gaps that were recovered from later packets.
    pub(crate) const fn recovered(&self) -> u64 {
        self.0.recovered()
    }

    /// Appends the samples of a record.
    pub(crate) fn audio(&mut self, audio: &Audio<'_>, out: &mut Vec<f32>) {
        self.0.audio(audio, out);
    }

    /// Appends what stands in for a piece of a gap.
    pub(crate) fn gap(&mut self, piece: &Gap<'_>, out: &mut Vec<f32>) {
        self.0.gap(piece, out);
    }

    /// Appends what was held back until the end.
    pub(crate) fn end(&mut self, end: &End, out: &mut Vec<f32>) {
        self.0.end(end, out);
    }

    /// Appends what was held back, where the stream broke off.
    pub(crate) fn flush(&mut self, out: &mut Vec<f32>) {
        self.0.flush(out);
    }
}
