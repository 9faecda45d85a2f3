//! What a loudspeaker plays, by the time at which it is heard, on the clock of whoever asks.

use std::collections::VecDeque;

use vox_dsp::Varispeed;
use vox_frame::{Channels, Rate};

/// The most that is kept, in ns: far more than lies between a loudspeaker and its microphone.
const MAX_KEPT_NS: i64 = 2_000_000_000;

/// How much of a stamp's distance from those before it is believed: one part in that many.
const SMOOTHING: i64 = 64;

/// A distance beyond this is a jump, in ns, and not the unrest of a sound server's reports.
const JUMP_NS: i64 = 40_000_000;

/// An error beyond this is made good at once, in ns; a smaller one by the speed.
const FAR_NS: f64 = 20e6;

/// Within what time a small error is made good, in seconds. What sound servers say of their delays wanders by a
/// millisecond or two within seconds while the delay itself stands still, and a canceller minds a shift of a few samples
/// far more than an error of milliseconds that stays.
const CATCH_UP_S: f64 = 30.0;

/// Errors beyond this are made good faster, in ns: they are those of clocks that run apart.
const NEAR_NS: f64 = 3e6;

/// The most that the speed is changed for it.
const MAX_CHANGE: f64 = 0.002;

/// How fast an echo that moves is followed: what share of the way in a second, and what share of it is taken for the
/// difference of the clocks, a second and a second.
const PULL: f64 = 0.4;
const LEARN: f64 = PULL * PULL / 3.0;

/// How much time lies between two findings of where the echo is, in seconds.
const FOUND_EVERY_S: f64 = 0.5;

/// How long nothing has to be found until times are believed again, in seconds.
const LOST_S: f64 = 20.0;

/// The most by which two clocks are taken to differ.
const MAX_DRIFT: f64 = 500e-6;

/// How long after it was begun it is placed anew, in seconds: what is said of the delay at the beginning is wrong by most.
const SETTLE_S: f64 = 1.5;

/// Frames that are resampled at a time.
const STEP: usize = 48;

/// A mono signal with a frame counter of its own, read by time.
pub(crate) struct Reference {
    rate: Rate,
    samples: VecDeque<f32>,
    /// The frame of the first sample that is kept.
    first: u64,
    /// The time of frame 0, smoothed, in ns.
    origin: Option<i64>,
    varispeed: Varispeed,
    /// The frame that is resampled next; none before the first was asked for.
    next: Option<i64>,
    /// Frames that were taken since it was placed, until it is placed for good.
    settling: Option<usize>,
    /// Resampled and not taken yet.
    ready: Vec<f32>,
    placed_anew: bool,
    found: Option<Found>,
}

/// Where the echo itself was found.
#[derive(Clone, Copy)]
struct Found {
    /// How much later than at first, in seconds.
    later: f64,
    /// How much slower than the microphone the loudspeaker is, its clock by ours.
    slower: f64,
    /// Frames that were taken since.
    age: usize,
}

impl Reference {
    pub(crate) fn new(rate: Rate) -> Self {
        Self {
            rate,
            samples: VecDeque::new(),
            first: 0,
            origin: None,
            varispeed: Varispeed::new(rate, Channels::MONO),
            next: None,
            settling: Some(0),
            ready: Vec::new(),
            placed_anew: false,
            found: None,
        }
    }

    pub(crate) const fn rate(&self) -> Rate {
        self.rate
    }

    /// Learns that `samples`, from frame `frame` on, are heard from `at` on, in ns.
    pub(crate) fn push(&mut self, frame: u64, at: i64, samples: &[f32]) {
        let origin = at - self.rate.ns(frame);
        self.origin = Some(match self.origin {
            Some(before) if (origin - before).abs() < JUMP_NS => before + (origin - before) / SMOOTHING,
            _ => origin,
        });
        let most = self.rate.ticks(MAX_KEPT_NS) as usize;
        let end = self.first + self.samples.len() as u64;
        if frame < end || frame - end > most as u64 {
            // Another loudspeaker, or another day.
            self.samples.clear();
            self.first = frame;
            self.settling = Some(0);
        } else {
            self.samples.resize(self.samples.len() + (frame - end) as usize, 0.0);
        }
        self.samples.extend(samples);
        let over = self.samples.len().saturating_sub(most);
        self.samples.drain(..over);
        self.first += over as u64;
    }

    /// Learns that the echo of what was taken comes that much later than it did when this was placed, in seconds.
    pub(crate) fn found_later(&mut self, later: f64) {
        let slower = self.found.map_or(0.0, |found| found.slower) + later * LEARN * FOUND_EVERY_S;
        self.found = Some(Found { later, slower: slower.clamp(-MAX_DRIFT, MAX_DRIFT), age: 0 });
    }

    /// Whether it jumped since this was asked last.
    pub(crate) const fn was_placed_anew(&mut self) -> bool {
        std::mem::replace(&mut self.placed_anew, false)
    }

    /// Appends `frames` frames, of which the first is heard at `at`: silence where nothing is known. Each call goes on
    /// where the last one ended, a little faster or slower where the clocks disagree.
    pub(crate) fn take(&mut self, at: i64, frames: usize, out: &mut Vec<f32>) {
        let Some(origin) = self.origin else {
            out.resize(out.len() + frames, 0.0);
            return;
        };
        let wanted = (at - origin) as f64 * f64::from(self.rate.hz()) / 1e9;
        let speed = self.follow(wanted, frames);
        self.varispeed.set_speed(speed);
        while self.ready.len() < frames {
            let next = self.next.get_or_insert(wanted as i64);
            let mut step = [0.0; STEP];
            for (sample, frame) in step.iter_mut().zip(*next..) {
                *sample = u64::try_from(frame)
                    .ok()
                    .and_then(|frame| frame.checked_sub(self.first))
                    .and_then(|index| self.samples.get(index as usize))
                    .copied()
                    .unwrap_or(0.0);
            }
            *next += STEP as i64;
            self.varispeed.process(&step, &mut self.ready);
        }
        out.extend(self.ready.drain(..frames));
    }

    /// The speed that brings the next frame to `wanted`, or a jump there.
    fn follow(&mut self, wanted: f64, frames: usize) -> f64 {
        let hz = f64::from(self.rate.hz());
        let has_settled = self.settling.is_some_and(|taken| taken as f64 >= SETTLE_S * hz);
        self.settling = self.settling.filter(|_| !has_settled).map(|taken| taken + frames);
        if let Some(next) = self.next.filter(|_| !has_settled) {
            let position = next as f64 - self.varispeed.delay() as f64 - self.ready.len() as f64;
            let error = (wanted - position) / hz;
            if error.abs() < FAR_NS / 1e9 {
                if let Some(found) = &mut self.found {
                    found.age += frames;
                    if found.age as f64 <= LOST_S * hz {
                        let pull = if found.age as f64 <= 2.0 * FOUND_EVERY_S * hz { PULL * found.later } else { 0.0 };
                        return 1.0 - (pull + found.slower).clamp(-MAX_CHANGE, MAX_CHANGE);
                    }
                }
                let urgency = 1.0 + (error * 1e9 / NEAR_NS).powi(2);
                return 1.0 + (error * urgency / CATCH_UP_S).clamp(-MAX_CHANGE, MAX_CHANGE);
            }
            self.settling = Some(0);
        }
        self.placed_anew = true;
        self.found = None;
        self.varispeed = Varispeed::new(self.rate, Channels::MONO);
        self.ready.clear();
        // What comes out first lies that far before what goes in first.
        self.next = Some(wanted as i64 + self.varispeed.delay() as i64);
        1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    /// A tone whose period is longer than any lag, in Hz.
    const TONE: f64 = 110.0;

    fn sine(frame: f64) -> f32 {
        (frame * core::f64::consts::TAU * TONE / 48_000.0).sin() as f32
    }

    /// How far what is taken lies from where it belongs, in frames, a hundred times a second from the 60th on, for a
    /// loudspeaker that runs `ppm` faster than the clock and whose stamps jump about by a millisecond and wander by
    /// another within seconds.
    fn lags(ppm: f64) -> Vec<f64> {
        let mut reference = Reference::new(Rate::HZ_48000);
        let (mut frame, mut lags, mut out) = (0_u64, Vec::new(), Vec::new());
        for n in 0..9_000_i64 {
            while (frame as f64 / 48_000.0 / (1.0 + ppm * 1e-6)) * 1e9 < ((n + 5) * 10 * MS) as f64 {
                let samples: Vec<f32> = (0..240).map(|k| sine((frame + k) as f64)).collect();
                let at = (frame as f64 / 48_000.0 / (1.0 + ppm * 1e-6) * 1e9) as i64;
                let wander = ((at as f64 / 4e9 * core::f64::consts::TAU).sin() * MS as f64) as i64;
                reference.push(frame, at + wander + (frame as i64 * 7_919) % (2 * MS) - MS, &samples);
                frame += 240;
            }
            out.clear();
            reference.take(n * 10 * MS, 480, &mut out);
            assert_eq!(out.len(), 480);
            if n > 6_000 {
                // The phase of a sine says where it lies.
                let expected = n as f64 * 480.0 * (1.0 + ppm * 1e-6);
                let (mut cosine, mut own) = (0.0, 0.0);
                for (k, sample) in out.iter().enumerate() {
                    let phase = (expected + k as f64) * core::f64::consts::TAU * TONE / 48_000.0;
                    cosine += f64::from(*sample) * phase.cos();
                    own += f64::from(*sample) * phase.sin();
                }
                lags.push(cosine.atan2(own) * 48_000.0 / TONE / core::f64::consts::TAU);
            }
        }
        lags
    }

    #[test]
    fn what_is_taken_stays_where_it_is_whatever_the_stamps_and_the_clocks() {
        // A lag of what the loop needs to keep up, which a canceller finds, and next to no wandering within seconds,
        // which it cannot follow.
        for (ppm, allowed) in [(0.0, 60.0), (-100.0, 150.0), (100.0, 150.0)] {
            let lags = lags(ppm);
            assert!(lags.iter().all(|lag| lag.abs() < allowed), "{lags:?} at {ppm} ppm");
            let moves = lags.iter().zip(&lags[400..]).map(|(before, after)| (after - before).abs());
            let most = moves.fold(0.0, f64::max);
            assert!(most < 5.0, "{most} frames within 4 s at {ppm} ppm");
            let moves = lags.iter().zip(&lags[200..]).map(|(before, after)| (after - before).abs());
            let most = moves.fold(0.0, f64::max);
            assert!(most < 8.0, "{most} frames within 2 s at {ppm} ppm");
        }
    }

    #[test]
    fn where_nothing_is_known_there_is_silence() {
        let mut reference = Reference::new(Rate::HZ_48000);
        let mut out = Vec::new();
        reference.take(0, 480, &mut out);
        reference.push(48_000, 1_000 * MS, &[0.5; 480]);
        reference.take(1_020 * MS, 480, &mut out);
        assert_eq!(out, [0.0; 960]);
    }

    #[test]
    fn what_nobody_takes_takes_no_room() {
        let mut reference = Reference::new(Rate::HZ_48000);
        for n in 0..10_000 {
            reference.push(n * 480, n as i64 * 10 * MS, &[0.1; 480]);
        }
        reference.push(u64::MAX / 2, 0, &[0.1; 480]);
        assert!(reference.samples.len() <= 96_000, "{}", reference.samples.len());
    }
}
