//! How much time a mixer takes for encoding: as much as is good, as long as it has it.

use vox_bridge::Effort;
use vox_frame::Stamp;

/// Time over which a mixer looks at how busy it is, in ns.
const WINDOW_NS: i64 = 500_000_000;

/// How busy it is, in percent, from when on it takes less time.
const BUSY_PERCENT: i64 = 50;

/// How busy it may still be to take more again. Full effort takes about twice as long, so that it does not become
/// [`BUSY_PERCENT`] by that.
const IDLE_PERCENT: i64 = 20;

/// For how many windows it must have been that idle.
const IDLE_WINDOWS: u32 = 10;

/// Decides how much time a mixer takes.
#[derive(Debug)]
pub(crate) struct Governor {
    began: Stamp,
    spent_ns: i64,
    idle: u32,
    effort: Effort,
}

impl Governor {
    pub(crate) const fn new(now: Stamp) -> Self {
        Self { began: now, spent_ns: 0, idle: 0, effort: Effort::Full }
    }

    pub(crate) const fn effort(&self) -> Effort {
        self.effort
    }

    /// A mixer worked from `began` to `now`; true where the effort has changed.
    pub(crate) fn worked(&mut self, began: Stamp, now: Stamp) -> bool {
        self.spent_ns += now.since(began);
        let window = now.since(self.began);
        if window < WINDOW_NS {
            return false;
        }
        let percent = self.spent_ns * 100 / window;
        (self.began, self.spent_ns) = (now, 0);
        self.idle = if percent <= IDLE_PERCENT { self.idle + 1 } else { 0 };
        let effort = match self.effort {
            Effort::Full if percent >= BUSY_PERCENT => Effort::Light,
            Effort::Light if self.idle >= IDLE_WINDOWS => Effort::Full,
            same => same,
        };
        std::mem::replace(&mut self.effort, effort) != effort
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds of blocks of 20 ms, of which so many ms are worked each; the efforts that it came to.
    fn work(governor: &mut Governor, clock: &mut i64, seconds: i64, ms: i64) -> Vec<Effort> {
        let mut changes = Vec::new();
        for _ in 0..seconds * 50 {
            let began = Stamp::from_ns(*clock * 1_000_000);
            let done = began.plus(ms * 1_000_000);
            if governor.worked(began, done) {
                changes.push(governor.effort());
            }
            *clock += 20;
        }
        changes
    }

    #[test]
    fn a_mixer_that_is_busy_takes_less_time_until_it_has_been_idle_for_a_while() {
        let (mut governor, mut clock) = (Governor::new(Stamp::from_ns(0)), 0);
        assert_eq!(work(&mut governor, &mut clock, 5, 8), [], "40 % is not too much");
        assert_eq!(work(&mut governor, &mut clock, 1, 12), [Effort::Light]);
        assert_eq!(work(&mut governor, &mut clock, 20, 6), [], "30 % with less effort would be 60 % with more");
        assert_eq!(work(&mut governor, &mut clock, 4, 2), [], "it may be a pause");
        assert_eq!(work(&mut governor, &mut clock, 2, 2), [Effort::Full]);
    }
}
