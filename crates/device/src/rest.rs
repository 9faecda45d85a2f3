//! Rest for a thread that would otherwise spin.
//!
//! Some ALSA plugins (PulseAudio's) wake cpal's thread before a period is complete and go on doing so: it then polls
//! without a pause until the period is there, which takes a tenth of a processor. Nothing can come before most of a
//! period is over, so that much is slept in the callback.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The part of the time between callbacks that a thread may be busy before it is made to rest: one in that many.
const BUSY: i64 = 25;

/// The part of a period that is slept: so many tenths.
const TENTHS: i64 = 7;

/// Watches how busy the thread is that it is called on.
#[derive(Default)]
pub(crate) struct Rest {
    /// The last callback: when it came, and what the thread had used by then, in ns.
    last: Option<(i64, i64)>,
    /// Average part of the time that the thread is busy, in parts of a million.
    busy: i64,
    /// Whether it was found to spin.
    spins: bool,
}

impl Rest {
    /// A callback that came at `now` has done its work; what it moved lasts `period`, and `behind` more was waiting, in
    /// ns.
    pub(crate) fn take(&mut self, now: i64, period: i64, behind: i64) {
        let used = clock_gettime(ClockId::ThreadCPUTime);
        let nap = self.nap(now, used.tv_sec * 1_000_000_000 + used.tv_nsec, period, behind);
        if nap > 0 {
            std::thread::sleep(Duration::from_nanos(nap.unsigned_abs()));
        }
    }

    /// How long to sleep, in ns.
    fn nap(&mut self, now: i64, used: i64, period: i64, behind: i64) -> i64 {
        if let Some((then, before)) = self.last.replace((now, used)) {
            let share = (used - before).saturating_mul(1_000_000) / (now - then).max(1);
            self.busy += (share.clamp(0, 1_000_000) - self.busy) / 32;
            self.spins |= self.busy > 1_000_000 / BUSY;
        }
        if self.spins && behind < period { period * TENTHS / 10 } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    /// Callbacks every 10 ms, of which the thread is busy for `busy` ns; gives the last nap.
    fn nap(busy: i64, behind: i64) -> i64 {
        let mut rest = Rest::default();
        (0..200).map(|n| rest.nap(n * 10 * MS, n * busy, 10 * MS, behind)).last().unwrap_or(0)
    }

    #[test]
    fn a_thread_that_sleeps_by_itself_is_left_alone() {
        assert_eq!(nap(MS / 5, 0), 0);
    }

    #[test]
    fn a_thread_that_spins_rests_unless_another_period_is_waiting() {
        assert_eq!(nap(MS, 0), 7 * MS);
        assert_eq!(nap(MS, 2 * MS), 7 * MS);
        assert_eq!(nap(MS, 12 * MS), 0);
    }
}
