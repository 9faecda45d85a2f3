//! Going before other programs, once they have kept voice waiting.

use vox_sys::{Prompt, monotonic_ns};

/// How long a packet may wait for this program to be run, in ns. Once one has waited longer, the loop asks to go before
/// others: that costs a little with each packet, so it is not done where nobody is in the way.
const LATE_NS: i64 = 1_000_000;

/// Which part of a processor's time the loop may use and still go before others, in percent.
const BUSY_PERCENT: u8 = 75;

/// Whether packets had to wait for the loop to be run.
pub(crate) struct Haste {
    allowed: bool,
    is_late: bool,
    prompt: Option<Prompt>,
    /// When the loop began to wait, and when it was run again, in ns.
    waited: i64,
    woke: i64,
}

impl Haste {
    pub(crate) const fn new(allowed: bool) -> Self {
        Self { allowed, is_late: false, prompt: None, waited: 0, woke: 0 }
    }

    /// The loop is about to wait.
    pub(crate) fn before_waiting(&mut self) {
        if self.is_late && self.allowed {
            self.prompt.get_or_insert_with(|| Prompt::begin_with(BUSY_PERCENT)).check();
        }
        self.waited = monotonic_ns();
    }

    /// It runs again.
    pub(crate) fn after_waiting(&mut self) {
        self.woke = monotonic_ns();
    }

    /// A datagram that came so long ago is received now.
    pub(crate) fn received(&mut self, age: i64) {
        if age > LATE_NS {
            self.learn(monotonic_ns() - age);
        }
    }

    /// What came while the loop waited and found it not running at once was kept waiting by other programs; what came
    /// while it was at work, by itself.
    fn learn(&mut self, arrived: i64) {
        self.is_late |= arrived > self.waited && self.woke - arrived > LATE_NS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_others_kept_waiting_counts() {
        let late = |arrived: i64| {
            let mut haste = Haste::new(true);
            (haste.waited, haste.woke) = (10 * LATE_NS, 20 * LATE_NS);
            haste.learn(arrived);
            haste.is_late
        };
        assert!(late(15 * LATE_NS), "it was there, and the loop was not run");
        assert!(!late(20 * LATE_NS - 50_000), "it woke the loop");
        assert!(!late(5 * LATE_NS), "it came while the loop was at work");
        assert!(!late(25 * LATE_NS), "it came after it");
    }
}
