//! Where to leave something out and what to repeat: at a whole number of periods of one voice, or of all that sound at once.

use core::ops::RangeInclusive;

use crate::splice::{self, Jump, Seam};

/// The least that is left out or repeated at a time, in us: a period of 400 Hz.
pub(crate) const LEAST_US: usize = 2_500;

/// The most of one voice, in us: a period of 66 Hz.
pub(crate) const MOST_US: usize = 15_000;

/// The most of many voices, in us: chords of three hold their pattern for less, those of more notes for longer than anybody
/// would wait.
pub(crate) const MOST_OF_MANY_US: usize = 40_000;

/// How much sound on either side of a seam is compared, in us.
pub(crate) const WINDOW_US: usize = 4_000;

/// How much of what was played is compared where there may be many voices, in us: two whose pitches are 60 Hz apart look
/// like one for less.
const WINDOW_OF_MANY_US: usize = 16_000;

/// How alike a seam of many voices is at least: what is less is no music that is held.
const LIKENESS_OF_MANY: f32 = 0.9;

/// A seam of one voice as alike as this is taken as it is: nothing is gained that would be worth a longer one.
const GOOD_ENOUGH: f32 = 0.99;

/// What is compared: the sound around the frame that is played next.
pub(crate) struct Surroundings<'a> {
    pub(crate) mono: &'a [f32],
    pub(crate) rate: usize,
    /// The next frame to be played.
    pub(crate) at: usize,
}

impl Surroundings<'_> {
    /// What to repeat, of which there are `lags`: as far as one voice goes, or farther where many sound. `after` frames of
    /// what comes are compared as well.
    pub(crate) fn back(&self, after: usize, lags: RangeInclusive<usize>) -> Option<Seam> {
        let least = *lags.start();
        let seam = self.one(Jump::Back, after, lags)?;
        let of_many = self.many(Jump::Back, after, least..=self.frames(MOST_OF_MANY_US), (Jump::Back, seam));
        of_many.or(Some(seam))
    }

    /// What to leave out, of `least` to `reach` frames, where it is as alike as demanded, and where nothing is to be gained by
    /// waiting for more.
    pub(crate) fn ahead(&self, least: usize, reach: usize, demand: f32) -> Option<Seam> {
        let after = self.frames(WINDOW_US);
        let most = reach.min(self.frames(MOST_US) * 3 / 2);
        let seam = self.one(Jump::Ahead, after, least..=most).filter(|seam| seam.likeness >= demand)?;
        // What was played tells the period of what comes: it is there in full.
        let shortest = self.frames(LEAST_US);
        let past = self.one(Jump::Back, 0, shortest..=self.frames(MOST_US));
        if past.is_some_and(|past| past.lag > reach && is_much_better(past.likeness, seam.likeness)) {
            return None;
        }
        let most = self.frames(MOST_OF_MANY_US);
        let Some(past) = self.many(Jump::Back, 0, shortest..=most, (Jump::Ahead, seam)) else { return Some(seam) };
        if past.lag > reach {
            return None;
        }
        self.many(Jump::Ahead, after, least..=reach.min(most), (Jump::Ahead, seam)).or(Some(seam))
    }

    /// The most alike for one voice.
    pub(crate) fn one(&self, jump: Jump, after: usize, lags: RangeInclusive<usize>) -> Option<Seam> {
        let before = self.frames(WINDOW_US).min(self.at);
        splice::find(self.mono, self.rate, self.at, (before, after), jump, lags, -1.0)
    }

    /// The most alike for many voices, where that is much better than what a seam of one is for them.
    fn many(&self, jump: Jump, after: usize, lags: RangeInclusive<usize>, (way, of_one): (Jump, Seam)) -> Option<Seam> {
        if of_one.likeness >= GOOD_ENOUGH {
            return None;
        }
        let many = self.look(jump, after, lags, LIKENESS_OF_MANY)?;
        let one = self.look(way, after, of_one.lag..=of_one.lag, -1.0)?;
        is_much_better(many.likeness, one.likeness).then_some(many)
    }

    fn look(&self, jump: Jump, after: usize, lags: RangeInclusive<usize>, demand: f32) -> Option<Seam> {
        let before = self.frames(WINDOW_OF_MANY_US).min(self.at);
        splice::find(self.mono, self.rate, self.at, (before, after), jump, lags, demand)
    }

    const fn frames(&self, us: usize) -> usize {
        self.rate * us / 1_000_000
    }
}

/// Whether at one lag less than half of what differs at the `other` does, where that is more than nobody hears.
fn is_much_better(one: f32, other: f32) -> bool {
    1.0 - other > 2.0 * (1.0 - one) + 1e-3
}
