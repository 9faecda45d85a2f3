//! How much may be moved by now: no more than a device that keeps time can.

/// By how much a device may be faster than its nominal rate, in parts of a thousand.
const SLACK: i64 = 1_020;

/// What a device may move at once and from then on, so that one without a clock does not run away.
#[derive(Debug)]
pub(crate) struct Allowance {
    /// Frames a second, in thousandths.
    rate: i64,
    /// The most that is saved up, and what there is, in parts of a frame.
    most: i64,
    left: i64,
    /// When that was, in ns.
    at: Option<i64>,
}

/// Parts of a frame that are counted.
const PARTS: i64 = 1_000_000;

impl Allowance {
    /// What is moved at `hz` frames a second, and at most `most` frames at once.
    pub(crate) fn new(hz: u32, most: usize) -> Self {
        let most = most as i64 * PARTS;
        Self { rate: i64::from(hz) * SLACK, most, left: most, at: None }
    }

    /// Whether so many frames may be moved at `now`, in ns.
    pub(crate) fn allows(&mut self, now: i64, frames: usize) -> bool {
        let passed = self.at.replace(now).map_or(0, |at| (now - at).clamp(0, 1_000_000_000));
        // ns × thousandths of frames a second, in millionths of a frame.
        self.left = (self.left + passed * self.rate / 1_000_000).min(self.most);
        self.left >= frames as i64 * PARTS
    }

    /// So many frames were moved.
    pub(crate) const fn take(&mut self, frames: usize) {
        self.left -= frames as i64 * PARTS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    #[test]
    fn a_device_that_keeps_time_is_never_held_up() {
        let mut allowance = Allowance::new(48_000, 1_200);
        for n in 0..10_000 {
            // 300 ppm fast, and late by turns.
            let now = n * 4_998_500 + if n % 7 == 0 { 3 * MS } else { 0 };
            assert!(allowance.allows(now, 240), "period {n}");
            allowance.take(240);
        }
    }

    #[test]
    fn a_device_without_a_clock_does_not_run_away() {
        let mut allowance = Allowance::new(48_000, 1_200);
        let mut moved = 0;
        for step in 0..100_000 {
            if allowance.allows(step * MS / 100, 240) {
                allowance.take(240);
                moved += 240;
            }
        }
        assert!((48_000..51_000).contains(&moved), "{moved} frames in a second");
    }
}
