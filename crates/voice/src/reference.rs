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
const FAR_NS: f64 = 10e6;

/// Within what time an error is made good, in seconds.
const CATCH_UP_S: f64 = 4.0;

/// The most that the speed is changed for it.
const MAX_CHANGE: f64 = 0.002;

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
    /// Resampled and not taken yet.
    ready: Vec<f32>,
}

impl Reference {
    pub(crate) fn new(rate: Rate) -> Self {
        Self {
            rate,
            samples: VecDeque::new(),
            first: 0,
            origin: None,
            varispeed: Varispeed::new(Channels::MONO),
            next: None,
            ready: Vec::new(),
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
        } else {
            self.samples.resize(self.samples.len() + (frame - end) as usize, 0.0);
        }
        self.samples.extend(samples);
        let over = self.samples.len().saturating_sub(most);
        self.samples.drain(..over);
        self.first += over as u64;
    }

    /// Appends `frames` frames, of which the first is heard at `at`: silence where nothing is known. Each call goes on
    /// where the last one ended, a little faster or slower where the clocks disagree.
    pub(crate) fn take(&mut self, at: i64, frames: usize, out: &mut Vec<f32>) {
        let Some(origin) = self.origin else {
            out.resize(out.len() + frames, 0.0);
            return;
        };
        let wanted = (at - origin) as f64 * f64::from(self.rate.hz()) / 1e9;
        let speed = self.follow(wanted);
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
    fn follow(&mut self, wanted: f64) -> f64 {
        let hz = f64::from(self.rate.hz());
        if let Some(next) = self.next {
            let position = next as f64 - self.varispeed.delay() as f64 - self.ready.len() as f64;
            let error = wanted - position;
            if error.abs() < FAR_NS * hz / 1e9 {
                return 1.0 + (error / (CATCH_UP_S * hz)).clamp(-MAX_CHANGE, MAX_CHANGE);
            }
        }
        self.varispeed = Varispeed::new(Channels::MONO);
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

    fn sine(frame: f64) -> f32 {
        (frame * core::f64::consts::TAU * 440.0 / 48_000.0).sin() as f32
    }

    /// How far what is taken lies from where it belongs, in frames, for a loudspeaker that runs `ppm` faster than the
    /// clock and whose stamps jump about by a millisecond.
    fn drift(ppm: f64) -> f64 {
        let mut reference = Reference::new(Rate::HZ_48000);
        let (mut frame, mut worst, mut out) = (0_u64, 0.0_f64, Vec::new());
        for n in 0..6_000_i64 {
            while (frame as f64 / 48_000.0 / (1.0 + ppm * 1e-6)) * 1e9 < ((n + 5) * 10 * MS) as f64 {
                let samples: Vec<f32> = (0..240).map(|k| sine((frame + k) as f64)).collect();
                let at = (frame as f64 / 48_000.0 / (1.0 + ppm * 1e-6) * 1e9) as i64;
                reference.push(frame, at + (frame as i64 * 7_919) % (2 * MS) - MS, &samples);
                frame += 240;
            }
            out.clear();
            reference.take(n * 10 * MS, 480, &mut out);
            assert_eq!(out.len(), 480);
            if n > 4_000 {
                // The phase of a sine says where it lies.
                let expected = n as f64 * 480.0 * (1.0 + ppm * 1e-6);
                let (mut cosine, mut own) = (0.0, 0.0);
                for (k, sample) in out.iter().enumerate() {
                    let phase = (expected + k as f64) * core::f64::consts::TAU * 440.0 / 48_000.0;
                    cosine += f64::from(*sample) * phase.cos();
                    own += f64::from(*sample) * phase.sin();
                }
                worst = worst.max((cosine.atan2(own) * 48_000.0 / 440.0 / core::f64::consts::TAU).abs());
            }
        }
        worst
    }

    #[test]
    fn what_is_taken_lies_where_it_is_heard_whatever_the_clocks() {
        assert!(drift(0.0) < 12.0, "{}", drift(0.0));
        // A constant lag of what the loop needs to keep up: 0.4 ms at 100 ppm.
        for ppm in [-100.0, 100.0] {
            assert!(drift(ppm) < 40.0, "{}", drift(ppm));
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
