//! The map from media time to playout time.

use vox_frame::{MediaTime, Rate, Stamp};

/// A line through one point: media time `media` is due at `due`. Every other time is computed from that point, so that
/// rounding never adds up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeline {
    rate: Rate,
    media: MediaTime,
    due: Stamp,
}

impl Timeline {
    pub(crate) const fn new(rate: Rate, media: MediaTime, due: Stamp) -> Self {
        Self { rate, media, due }
    }

    /// When `media` is due.
    pub(crate) fn at(&self, media: MediaTime) -> Stamp {
        if media >= self.media {
            self.due.plus(self.rate.ns(media.since(self.media)))
        } else {
            self.due.plus(-self.rate.ns(self.media.since(media)))
        }
    }

    /// Moves the line by `ns`.
    pub(crate) const fn shift(&mut self, ns: i64) {
        self.due = self.due.plus(ns);
    }
}
