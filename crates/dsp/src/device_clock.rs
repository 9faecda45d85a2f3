//! The clock of a sound card, seen through the times at which it moves samples.

use core::f64::consts::{SQRT_2, TAU};

use vox_frame::Rate;

/// The time in which the earliest callback is looked for, in ns: longer than the beat between the device's period and
/// that of a sound server behind it.
const WINDOW_NS: f64 = 500e6;

/// The first windows after a start are shorter, in ns.
const FIRST_WINDOW_NS: f64 = 100e6;

/// How long the loop is fast after a start, in ns.
const ACQUIRE_NS: f64 = 10e9;

/// Bandwidth of the loop at first, in Hz: the rate is found within a few seconds.
const ACQUIRE_HZ: f64 = 0.15;

/// Bandwidth of the loop from then on, in Hz: what is uneven about a device is averaged away.
const TRACK_HZ: f64 = 0.03;

/// The most that a clock is believed to be beside its nominal rate, in parts of one: sound cards stay within 300 ppm,
/// virtual ones that count in whole microseconds do not.
const MAX_DRIFT: f64 = 5_000e-6;

/// A window whose earliest callback is farther from its place than this is no matter of drift, in ns: the device has
/// stood still, and the loop goes on from there.
const JUMP_NS: f64 = 15e6;

/// Which point in time each frame of a device belongs to: a loop of second order on pairs of (time, frame).
///
/// The pairs are the device's callbacks. A busy machine makes them late, never early: the loop follows the earliest of
/// each half second, first fast, then slowly, so that a frame is never moved before its time and the load of the
/// machine changes nothing. It never looks at how full a buffer is.
#[derive(Debug, Clone)]
pub struct DeviceClock {
    nominal: f64,
    /// What a frame really takes, in parts of what it nominally takes.
    period: f64,
    line: Option<Line>,
    /// The frame that the window began with, and by how much the earliest callback in it was late.
    window: u64,
    earliest: f64,
    /// Whether the first window after a start or a stumble is under way.
    fresh: bool,
    /// How long the rate has been measured, in ns.
    measured: f64,
    jumps: u64,
}

/// When a frame is, by the loop: whole ns and the rest.
#[derive(Debug, Clone, Copy)]
struct Line {
    frame: u64,
    at: i64,
    rest: f64,
}

impl DeviceClock {
    /// A clock that nominally has that rate.
    pub fn new(rate: Rate) -> Self {
        Self {
            nominal: 1e9 / f64::from(rate.hz()),
            period: 1.0,
            line: None,
            window: 0,
            earliest: f64::MAX,
            fresh: true,
            measured: 0.0,
            jumps: 0,
        }
    }

    /// The device has come to `frame` at `now`, in ns.
    pub fn observe(&mut self, now: i64, frame: u64) {
        let Some(line) = self.line else {
            self.line = Some(Line { frame, at: now, rest: 0.0 });
            self.window = frame;
            self.earliest = 0.0;
            return;
        };
        if frame <= line.frame {
            return;
        }
        let (at, rest) = self.predict(line, frame);
        let late = (now - at) as f64 - rest;
        self.earliest = self.earliest.min(late);
        let span = frame.saturating_sub(self.window) as f64 * self.nominal;
        let long = if self.fresh { FIRST_WINDOW_NS } else { WINDOW_NS };
        if span >= long {
            let moved = self.advance(self.earliest, span);
            let (at, rest) = split(at, rest + moved);
            self.line = Some(Line { frame, at, rest });
            self.window = frame;
            self.earliest = f64::MAX;
        }
    }

    /// The device has stumbled: its next frame comes when it comes, at the same rate as before.
    pub fn stumble(&mut self) {
        self.line = None;
        self.fresh = true;
    }

    /// When `frame` is, in ns; none before the first observation.
    pub fn time_of(&self, frame: u64) -> Option<i64> {
        let (at, rest) = self.predict(self.line?, frame);
        Some(at + rest.round() as i64)
    }

    /// How fast the device runs: 1.0001 is 100 ppm fast.
    pub fn speed(&self) -> f64 {
        1.0 / self.period
    }

    /// How often the device has stood still without saying so.
    pub const fn jumps(&self) -> u64 {
        self.jumps
    }

    /// Whether the rate is known well enough to be told.
    pub fn is_settled(&self) -> bool {
        self.measured >= ACQUIRE_NS
    }

    fn predict(&self, line: Line, frame: u64) -> (i64, f64) {
        let frames = i128::from(frame) - i128::from(line.frame);
        split(line.at, line.rest + frames as f64 * self.nominal * self.period)
    }

    /// Takes the error of a window of `span` ns; gives by how much the phase is moved.
    fn advance(&mut self, error: f64, span: f64) -> f64 {
        if std::mem::take(&mut self.fresh) {
            return error;
        }
        if error.abs() > JUMP_NS {
            self.jumps += 1;
            return error;
        }
        let bandwidth = if self.is_settled() { TRACK_HZ } else { ACQUIRE_HZ };
        self.measured += span;
        // The gains of a loop of second order with that bandwidth, for a step of this length.
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
    fn callbacks_that_come_late_change_nothing() {
        for ppm in [-300.0, 40.0, 300.0] {
            let mut device = Device::new(ppm, 8 * MS);
            let mut clock = DeviceClock::new(Rate::HZ_48000);
            let mut worst = 0.0_f64;
            while device.frame < 60 * 48_000 {
                device.call(&mut clock);
                if device.frame > 30 * 48_000 {
                    let error = clock.time_of(device.frame).unwrap() as f64 - device.true_time(device.frame);
                    worst = worst.max(error.abs());
                }
            }
            let found = (clock.speed() - 1.0) * 1e6;
            assert!((found - ppm).abs() < 60.0, "{found} for {ppm} ppm");
            assert!(worst < 1.5e6, "{worst} ns beside the device at {ppm} ppm");
            assert_eq!(clock.jumps(), 0);
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
    fn a_device_that_stood_still_is_followed_and_keeps_its_rate() {
        for (told, stood) in [(false, 700 * MS), (true, 700 * MS), (false, 20 * MS), (true, 5 * MS)] {
            let mut device = Device::new(250.0, 0);
            let mut clock = DeviceClock::new(Rate::HZ_48000);
            for _ in 0..10_000 {
                device.call(&mut clock);
            }
            let speed = clock.speed();
            if told {
                clock.stumble();
            }
            for _ in 0..200 {
                clock.observe(device.true_time(device.frame) as i64 + stood, device.frame);
                device.frame += 320;
            }
            let error = clock.time_of(device.frame).unwrap() as f64 - device.true_time(device.frame) - stood as f64;
            assert!(error.abs() < 0.1e6, "{error} ns");
            assert!((clock.speed() - speed).abs() < 1e-6, "{} after {speed}", clock.speed());
            assert_eq!(clock.jumps(), u64::from(!told));
        }
    }
}
