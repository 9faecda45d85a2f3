//! The clock of a sound card, seen through the times at which it moves samples.

use core::f64::consts::{SQRT_2, TAU};

use vox_frame::Rate;

/// How long the phase is averaged after a start or a jump, in ns: devices fill their buffers in a burst first.
const SETTLE_NS: f64 = 250e6;

/// How long the loop is fast after a start, in ns.
const ACQUIRE_NS: f64 = 4e9;

/// Bandwidth of the loop at first, in Hz: the rate is found within a few seconds.
const ACQUIRE_HZ: f64 = 0.5;

/// Bandwidth of the loop from then on, in Hz: what a busy machine adds to the times is averaged away.
const TRACK_HZ: f64 = 0.05;

/// The most that a clock is believed to be beside its nominal rate, in parts of one: sound cards stay within 300 ppm.
const MAX_DRIFT: f64 = 500e-6;

/// What one observation may at most be beside its place, in ns, and still move the loop by all of it.
const MAX_ERROR_NS: f64 = 5e6;

/// Observations that are farther from their place than this are no jitter, in ns, …
const JUMP_NS: f64 = 20e6;

/// … where they go on for that long, in ns: then the device has jumped, and the loop begins anew from there.
const JUMP_FOR_NS: f64 = 200e6;

/// Which point in time each frame of a device belongs to: a loop of second order on pairs of (time, frame).
///
/// The pairs are the device's callbacks, which come when the machine lets them; the loop follows their mean, first
/// fast, then slowly. It never looks at how full a buffer is.
#[derive(Debug, Clone)]
pub struct DeviceClock {
    nominal: f64,
    /// Nominal ns a frame times this is what a frame really takes.
    period: f64,
    last: Option<Last>,
    /// Since the start or the last jump, in ns, and observations since then.
    settling: Option<(f64, f64)>,
    /// How long the rate has been measured, in ns.
    measured: f64,
    /// How long observations have been far from their place, in ns.
    far: f64,
    jumps: u64,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    frame: u64,
    /// When that frame was, by the loop: whole ns and the rest.
    at: i64,
    rest: f64,
}

impl DeviceClock {
    /// A clock that nominally has that rate.
    pub fn new(rate: Rate) -> Self {
        let nominal = 1e9 / f64::from(rate.hz());
        Self { nominal, period: 1.0, last: None, settling: Some((0.0, 0.0)), measured: 0.0, far: 0.0, jumps: 0 }
    }

    /// The device has come to `frame` at `now`, in ns.
    pub fn observe(&mut self, now: i64, frame: u64) {
        let Some(last) = self.last else {
            self.last = Some(Last { frame, at: now, rest: 0.0 });
            return;
        };
        if frame <= last.frame {
            return;
        }
        let span = (frame - last.frame) as f64 * self.nominal;
        let (at, rest) = split(last.at, last.rest + span * self.period);
        let error = (now - at) as f64 - rest;
        let moved = self.advance(error, span);
        let (at, rest) = split(at, rest + moved);
        self.last = Some(Last { frame, at, rest });
    }

    /// The device has stumbled: its next frame comes when it comes, at the same rate as before.
    pub fn stumble(&mut self) {
        self.last = None;
        self.far = 0.0;
        self.settling = Some((0.0, 0.0));
    }

    /// When `frame` is, in ns; none before the first observation.
    pub fn time_of(&self, frame: u64) -> Option<i64> {
        let last = self.last?;
        let frames = frame as i128 - i128::from(last.frame);
        Some(last.at + (last.rest + frames as f64 * self.nominal * self.period).round() as i64)
    }

    /// How fast the device runs: 1.0001 is 100 ppm fast.
    pub fn speed(&self) -> f64 {
        1.0 / self.period
    }

    /// How often the device has jumped without saying so.
    pub const fn jumps(&self) -> u64 {
        self.jumps
    }

    /// Whether the rate is known well enough to be told.
    pub fn is_settled(&self) -> bool {
        self.measured >= ACQUIRE_NS
    }

    /// Takes the error of a prediction `span` ns after the last one; gives by how much the phase is moved.
    fn advance(&mut self, error: f64, span: f64) -> f64 {
        if let Some((age, seen)) = &mut self.settling {
            *age += span;
            *seen += 1.0;
            let moved = error / (*seen + 1.0);
            if *age >= SETTLE_NS {
                self.settling = None;
            }
            return moved;
        }
        if error.abs() > JUMP_NS {
            self.far += span;
            if self.far >= JUMP_FOR_NS {
                self.jumps += 1;
                self.far = 0.0;
                self.settling = Some((0.0, 0.0));
                return error;
            }
        } else {
            self.far = 0.0;
        }
        let error = error.clamp(-MAX_ERROR_NS, MAX_ERROR_NS);
        let bandwidth = if self.is_settled() { TRACK_HZ } else { ACQUIRE_HZ };
        self.measured += span;
        // The gains of a critically damped loop of second order for that bandwidth, per step of this length.
        let omega = (TAU * bandwidth * span / 1e9).min(0.5);
        let drift = self.period - 1.0 + omega * omega * error / span;
        self.period = 1.0 + drift.clamp(-MAX_DRIFT, MAX_DRIFT);
        SQRT_2 * omega * error
    }
}

/// Whole ns, so that a day of them stays exact, and the rest.
fn split(at: i64, ns: f64) -> (i64, f64) {
    let whole = ns.floor();
    (at + whole as i64, ns - whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    /// A device that calls for 320 frames at a time, late by up to `jitter` ns.
    struct Device {
        ppm: f64,
        jitter: i64,
        random: u64,
        frame: u64,
    }

    impl Device {
        fn new(ppm: f64, jitter: i64) -> Self {
            Self { ppm, jitter, random: 1, frame: 0 }
        }

        fn true_time(&self, frame: u64) -> f64 {
            frame as f64 * 1e9 / 48_000.0 / (1.0 + self.ppm * 1e-6)
        }

        fn call(&mut self, clock: &mut DeviceClock) {
            self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let late = if self.jitter > 0 { (self.random >> 33) as i64 % self.jitter } else { 0 };
            clock.observe(self.true_time(self.frame) as i64 + late, self.frame);
            self.frame += 320;
        }
    }

    #[test]
    fn a_day_of_drift_is_followed_within_a_tenth_of_a_millisecond() {
        for ppm in [-300.0, -50.0, 0.0, 200.0, 300.0] {
            let mut device = Device::new(ppm, 0);
            let mut clock = DeviceClock::new(Rate::HZ_48000);
            let mut worst = 0.0_f64;
            while device.frame < 24 * 3600 * 48_000 {
                device.call(&mut clock);
                if device.frame > 10 * 48_000 {
                    let error = clock.time_of(device.frame).unwrap() as f64 - device.true_time(device.frame);
                    worst = worst.max(error.abs());
                }
            }
            assert!(worst < 0.1e6, "{worst} ns at {ppm} ppm");
            assert!((clock.speed() - 1.0 - ppm * 1e-6).abs() < 1e-7, "{} at {ppm} ppm", clock.speed());
            assert_eq!(clock.jumps(), 0);
        }
    }

    #[test]
    fn the_rate_is_found_in_spite_of_callbacks_that_come_late() {
        for ppm in [-300.0, 40.0, 300.0] {
            let mut device = Device::new(ppm, 8 * MS);
            let mut clock = DeviceClock::new(Rate::HZ_48000);
            while device.frame < 60 * 48_000 {
                device.call(&mut clock);
            }
            let found = (clock.speed() - 1.0) * 1e6;
            assert!((found - ppm).abs() < 60.0, "{found} for {ppm} ppm");
            // The mean lateness is 4 ms.
            let error = clock.time_of(device.frame).unwrap() as f64 - device.true_time(device.frame);
            assert!((2e6..6e6).contains(&error), "{error} ns beside the device");
        }
    }

    #[test]
    fn one_callback_that_comes_very_late_moves_nothing() {
        let mut device = Device::new(100.0, 0);
        let mut clock = DeviceClock::new(Rate::HZ_48000);
        for _ in 0..10_000 {
            device.call(&mut clock);
        }
        let frame = device.frame;
        clock.observe(device.true_time(frame) as i64 + 90 * MS, frame);
        let error = clock.time_of(frame).unwrap() as f64 - device.true_time(frame);
        assert!(error.abs() < 0.1e6, "{error} ns");
        assert_eq!(clock.jumps(), 0);
    }

    #[test]
    fn a_device_that_jumps_is_followed_and_keeps_its_rate() {
        for told in [false, true] {
            let mut device = Device::new(250.0, 0);
            let mut clock = DeviceClock::new(Rate::HZ_48000);
            for _ in 0..10_000 {
                device.call(&mut clock);
            }
            let speed = clock.speed();
            if told {
                clock.stumble();
            }
            for _ in 0..100 {
                clock.observe(device.true_time(device.frame) as i64 + 700 * MS, device.frame);
                device.frame += 320;
            }
            let error = clock.time_of(device.frame).unwrap() as f64 - device.true_time(device.frame) - 700e6;
            assert!(error.abs() < 1e6, "{error} ns");
            assert!((clock.speed() - speed).abs() < 100e-6, "{} after {speed}", clock.speed());
            assert_eq!(clock.jumps(), u64::from(!told));
        }
    }
}
