//! Where a moment of a stream's media time belongs in the recording.

use vox_frame::{MediaTime, Rate, Stamp};

use crate::clock::Mapping;

/// The line of a stream, seen from the beginning of the recording.
pub(crate) struct Aim<'a> {
    /// From media time to the common clock.
    pub(crate) mapping: &'a Mapping,
    /// When the recording began.
    pub(crate) origin: Stamp,
    /// How far a stream may lie beside its place before it is corrected where its clock is no different, in seconds.
    pub(crate) tolerance: f64,
}

impl Aim<'_> {
    /// ns since the recording began, negative before it.
    pub(crate) fn ns(&self, media: MediaTime) -> i64 {
        self.mapping.at(media).since(self.origin)
    }

    /// Frames of `rate` since the recording began.
    pub(crate) fn frames(&self, media: MediaTime, rate: Rate) -> f64 {
        // In two parts, so that hours of ns keep their precision.
        let ns = self.ns(media);
        let (seconds, rest) = (ns.div_euclid(1_000_000_000), ns.rem_euclid(1_000_000_000));
        seconds as f64 * f64::from(rate.hz()) + rest as f64 * f64::from(rate.hz()) / 1e9
    }
}
