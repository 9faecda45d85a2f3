//! When each sample of a microphone was captured, from the times of the device's callbacks.

use vox_device::Block;
use vox_dsp::DeviceClock;
use vox_frame::Rate;

/// How late a callback may be and still be no gap, in ns, where the device says nothing of a loss.
const JUMP_NS: i64 = 150_000_000;

/// How late it may be where the device says that it lost something, in ns.
const SMALL_JUMP_NS: i64 = 2_000_000;

/// The most that a device's own delay is believed to be, in ns.
const MAX_DELAY_NS: i64 = 100_000_000;

/// How much of a callback's delay moves the mean: one part in that many.
const SMOOTHING: i64 = 64;

/// Stamps samples by a clock that follows the device, whatever the machine's load makes of the callbacks.
pub(crate) struct Stamps {
    rate: Rate,
    clock: DeviceClock,
    /// Frames that the device has captured, those that were lost too.
    frame: u64,
    /// The device's own delay behind the samples of a callback, in ns: the mean.
    delay: Option<i64>,
    lost: bool,
}

impl Stamps {
    /// Stamps for a device at that rate.
    pub(crate) fn new(rate: Rate) -> Self {
        Self { rate, clock: DeviceClock::new(rate), frame: 0, delay: None, lost: false }
    }

    /// Samples were lost: the next block says how many.
    pub(crate) const fn lose(&mut self) {
        self.lost = true;
    }

    /// Takes a block; gives the frames that are missing before it, and when its first one was captured, in ns of
    /// CLOCK_MONOTONIC.
    pub(crate) fn block(&mut self, block: &Block) -> (u64, i64) {
        let broken = std::mem::take(&mut self.lost) || block.broken;
        let frames = block.frames as u64;
        let span = self.rate.ns(frames);
        let late = self.clock.time_of(self.frame + frames).map_or(0, |expected| block.at - expected);
        let missing = if late > JUMP_NS || broken && late > SMALL_JUMP_NS { self.rate.ticks(late) } else { 0 };
        self.frame += missing + frames;
        self.clock.observe(block.at, self.frame);
        let delay = (block.age - span).clamp(0, MAX_DELAY_NS);
        let mean = self.delay.map_or(delay, |mean| mean + (delay - mean) / SMOOTHING);
        self.delay = Some(mean);
        let delivered = self.clock.time_of(self.frame).unwrap_or(block.at);
        // A device that stood still and then gives all of it at once is ahead of its clock, but not of time.
        (missing, delivered.min(block.at) - span - mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    /// A block of 10 ms that comes at once.
    fn block(at: i64) -> Block {
        Block { at, age: 10 * MS, frames: 480, lost: false, broken: false }
    }

    fn stamps() -> Stamps {
        Stamps::new(Rate::HZ_48000)
    }

    #[test]
    fn callbacks_that_come_late_are_no_gap_and_change_no_stamp() {
        let mut stamps = stamps();
        for n in 1..1_000_i64 {
            let late = if n % 3 == 0 { 0 } else { 40 * MS };
            let (missing, captured) = stamps.block(&block(n * 10 * MS + late));
            assert_eq!(missing, 0);
            let error = captured - (n - 1) * 10 * MS;
            assert!(n < 20 || error.abs() < MS, "{error} ns beside its time");
        }
    }

    #[test]
    fn what_is_missing_is_measured_by_the_clock_and_not_by_counting() {
        let mut stamps = stamps();
        for n in 1..=100 {
            stamps.block(&block(n * 10 * MS));
        }
        stamps.lose();
        stamps.lose();
        assert_eq!(stamps.block(&block(4_010 * MS)), (144_000, 4_000 * MS));
        assert_eq!(stamps.block(&block(4_020 * MS)), (0, 4_010 * MS));
    }

    #[test]
    fn an_overrun_of_the_device_is_a_gap_even_when_it_is_short() {
        let mut stamps = stamps();
        for n in 1..=100 {
            stamps.block(&block(n * 10 * MS));
        }
        let broken = |at| Block { broken: true, ..block(at) };
        assert_eq!(stamps.block(&broken(1_030 * MS)).0, 960);
        assert_eq!(stamps.block(&broken(1_040 * MS)).0, 0);
    }

    #[test]
    fn nothing_was_captured_after_it_came() {
        let mut stamps = stamps();
        for n in 1..=100 {
            stamps.block(&block(n * 10 * MS));
        }
        // It stands still for a tenth of a second, and then gives half a second at once, as sound servers do.
        for n in 0..50 {
            let (_, captured) = stamps.block(&block(1_100 * MS + n));
            assert!(captured <= 1_090 * MS + n, "captured at {captured}");
        }
    }

    #[test]
    fn a_device_that_reports_a_wild_delay_loses_nothing() {
        let mut stamps = stamps();
        for n in 1..=1_000 {
            let age = if n % 10 == 0 { 9_000 * MS } else { 12 * MS };
            assert_eq!(stamps.block(&Block { age, ..block(n * 10 * MS) }).0, 0);
        }
    }

    #[test]
    fn a_clock_that_drifts_makes_no_gap() {
        let mut stamps = stamps();
        for n in 1..10_000_i64 {
            let (missing, captured) = stamps.block(&block(n * (10 * MS + 2_000)));
            assert_eq!(missing, 0);
            assert!(n < 1_000 || (captured - (n * (10 * MS + 2_000) - 10 * MS)).abs() < MS);
        }
    }
}
