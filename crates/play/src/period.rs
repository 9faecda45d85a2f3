//! How much a loudspeaker moves at a time: as the streams want it that are heard.

use vox_device::Output;
use vox_frame::{Format, Rate};

/// What it moves at a time before anything is known, in ns, and at most.
const USUAL_NS: i64 = 10_000_000;

/// The least that it moves at a time, in ns.
const LEAST_NS: i64 = 2_500_000;

/// A sound server that counts in whole microseconds counts right by such steps, in frames a second.
const STEPS: u64 = 2_000;

/// Half of the shortest record of all streams that were announced, where nobody has said how much it shall be.
#[derive(Debug)]
pub(crate) struct Period {
    fixed: bool,
    ns: i64,
}

impl Period {
    /// What somebody has asked for, in ns, if anything.
    pub(crate) fn new(asked: Option<i64>) -> Self {
        Self { fixed: asked.is_some(), ns: asked.unwrap_or(USUAL_NS) }
    }

    /// So many frames at `rate`.
    pub(crate) fn frames(&self, rate: Rate) -> u32 {
        let (frames, step) = (rate.ticks(self.ns), u64::from(rate.hz()).div_ceil(STEPS));
        let frames = if self.fixed { frames } else { frames.div_ceil(step) * step };
        frames.clamp(16, 1 << 20) as u32
    }

    /// A stream is announced: says whether the device begins anew for it.
    pub(crate) fn follow(&mut self, format: &Format, output: &mut Output) -> bool {
        let rate = output.rate();
        self.wants_less(format) && output.ask_for(self.frames(rate))
    }

    fn wants_less(&mut self, format: &Format) -> bool {
        let wanted = (format.rate.ns(u64::from(format.frame)) / 2).max(LEAST_NS);
        let less = !self.fixed && format.live && format.frame > 0 && wanted < self.ns;
        if less {
            self.ns = wanted;
        }
        less
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vox_frame::{Channels, Codec};

    fn live(ms: u32) -> Format {
        let mut format = Format::new(Codec::PcmS16, Rate::HZ_48000, Channels::MONO, 48 * ms);
        format.live = true;
        format
    }

    #[test]
    fn short_records_want_short_periods_and_long_ones_change_nothing() {
        let mut period = Period::new(None);
        assert_eq!(period.frames(Rate::HZ_48000), 480);
        assert!(!period.wants_less(&live(60)) && !period.wants_less(&live(20)) && period.wants_less(&live(10)));
        assert_eq!(period.frames(Rate::HZ_48000), 240);
        assert!(period.wants_less(&live(2)) && !period.wants_less(&live(10)));
        assert_eq!(period.frames(Rate::HZ_48000), 120);
    }

    #[test]
    fn what_somebody_has_asked_for_holds() {
        let mut period = Period::new(Some(8_000_000));
        assert!(!period.wants_less(&live(5)));
        assert_eq!(period.frames(Rate::HZ_48000), 384);
    }

    #[test]
    fn a_file_that_is_played_changes_nothing() {
        assert!(!Period::new(None).wants_less(&Format { live: false, ..live(5) }));
    }
}
