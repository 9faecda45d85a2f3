//! The slots of a stream's records, in frames: they add up exactly, however they are rounded.

use vox_dsp::{Fit, FitStats};
use vox_frame::{Channels, Rate};

/// The longest slot that a record may have, in ns: what asks for more is a mistake.
const LONGEST_NS: u64 = 10_000_000_000;

/// Fits records into slots.
pub(crate) struct Slots {
    rate: Rate,
    /// None where records are as long as their media duration.
    fit: Option<Fit>,
    channels: usize,
    /// What rounding left of the slots so far, in parts of a frame: 1,000,000,000 are one.
    rest: u64,
    /// Frames by which slots were longer than what they hold.
    lengthened: i64,
    fitted: Vec<f32>,
}

/// Parts of a frame.
const WHOLE: u64 = 1_000_000_000;

impl Slots {
    pub(crate) fn new(rate: Rate, channels: Channels, fit: bool) -> Self {
        let fit = fit.then(|| Fit::new(rate, channels));
        Self { rate, fit, channels: channels.count(), rest: WHOLE / 2, lengthened: 0, fitted: Vec::new() }
    }

    /// Both of two channels hold what one did; they may differ from now on.
    pub(crate) fn widen(&mut self) {
        self.channels = 2;
        if let Some(fit) = &mut self.fit {
            fit.widen();
        }
    }

    /// Frames by which what came out is longer than its media duration.
    pub(crate) const fn lengthened(&self) -> i64 {
        self.lengthened
    }

    pub(crate) fn stats(&self) -> FitStats {
        self.fit.as_ref().map_or_else(FitStats::default, Fit::stats)
    }

    /// The frames of the next slot: those of the `duration` where there is none, or where it is the same.
    pub(crate) fn frames(&self, duration: u64, slot: Option<u64>) -> usize {
        self.split(duration, slot).0
    }

    /// Makes the frames of `duration` ticks, in `work`, as long as their slot.
    pub(crate) fn fit(&mut self, work: &mut Vec<f32>, duration: u64, slot: Option<u64>) {
        let (frames, rest) = self.split(duration, slot);
        let Some(fit) = &mut self.fit else { return };
        self.rest = rest;
        let media = usize::try_from(duration).unwrap_or(usize::MAX);
        if slot.is_none() && work.len() / self.channels != media {
            // A piece of a gap that was cut short has no slot of its own.
            return;
        }
        self.lengthened += frames as i64 - media as i64;
        self.fitted.clear();
        fit.process(work, frames, &mut self.fitted);
        std::mem::swap(work, &mut self.fitted);
    }

    fn split(&self, duration: u64, slot: Option<u64>) -> (usize, u64) {
        let own = u64::try_from(self.rate.ns(duration)).unwrap_or(0);
        match slot.filter(|_| self.fit.is_some()) {
            // Times are rounded to a ns.
            Some(slot) if slot.abs_diff(own) > 1 => {
                let sum = slot.min(LONGEST_NS) * u64::from(self.rate.hz()) + self.rest;
                ((sum / WHOLE) as usize, sum % WHOLE)
            }
            _ => (usize::try_from(duration).unwrap_or(usize::MAX), self.rest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_add_up_exactly() {
        for hz in [8_000, 44_100, 48_000] {
            let rate = Rate::new(hz).unwrap();
            let mut slots = Slots::new(rate, Channels::MONO, true);
            let (mut sum, mut ns) = (0u64, 0u64);
            let duration = u64::from(hz) / 50;
            for n in 0..5_000u64 {
                let slot = 20_000_000 + (n * 7_919 % 4_001) * 1_000 - 2_000_000;
                let mut work = vec![0.0; duration as usize];
                slots.fit(&mut work, duration, Some(slot));
                sum += work.len() as u64;
                ns += slot;
                let exact = ns as f64 * f64::from(hz) / 1e9;
                assert!((sum as f64 - exact).abs() <= 1.0, "{sum} frames for {exact}");
            }
        }
    }

    #[test]
    fn a_slot_that_differs_by_rounding_is_the_same() {
        let slots = Slots::new(Rate::new(44_100).unwrap(), Channels::MONO, true);
        assert_eq!([1_451_246, 1_451_247, 1_451_248].map(|slot| slots.frames(64, Some(slot))), [64; 3]);
        assert_eq!(slots.frames(64, None), 64);
    }

    #[test]
    fn without_fitting_slots_change_nothing() {
        let mut slots = Slots::new(Rate::HZ_8000, Channels::MONO, false);
        let mut work = vec![0.5; 160];
        slots.fit(&mut work, 160, Some(30_000_000));
        assert_eq!((work.len(), slots.lengthened()), (160, 0));
    }
}
