//! A little faster or slower: one clock's samples played by another clock.

use vox_frame::{Channels, Rate};

use crate::filter::{Filter, length};

/// The farthest from 1 that a speed may be.
const MAX_CHANGE: f64 = 0.01;

/// Resamples interleaved `f32` frames by a ratio near 1 that may change at any time, without a click.
pub struct Varispeed {
    filter: Filter,
    delay: usize,
    speed: f64,
}

impl Varispeed {
    /// A resampler of frames at `rate` that changes nothing yet.
    pub fn new(rate: Rate, channels: Channels) -> Self {
        let hz = rate.hz() as usize;
        Self { filter: Filter::new(hz, channels.count()), delay: length(hz) / 2, speed: 1.0 }
    }

    /// From now on the input is played at `speed`: 1.001 gives 999 frames for 1000.
    pub fn set_speed(&mut self, speed: f64) {
        self.speed = if speed.is_finite() { speed.clamp(1.0 - MAX_CHANGE, 1.0 + MAX_CHANGE) } else { 1.0 };
    }

    /// How far behind the end of the input the next frame that comes out lies, in frames of the input: 0.3 ms at 48 kHz.
    pub const fn delay(&self) -> usize {
        self.delay
    }

    /// Takes whole frames and appends what can be computed so far to `out`.
    pub fn process(&mut self, input: &[f32], out: &mut Vec<f32>) {
        self.filter.process(input, self.speed, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: f64 = 48_000.0;

    fn sine(hz: f64, frames: usize) -> Vec<f32> {
        vox_testkit::Tone::new(hz, 0.5, RATE as u32).take(frames).collect()
    }

    #[test]
    fn the_speed_is_kept_to_the_frame() {
        for ppm in [-300.0, 0.0, 300.0, 5_000.0] {
            let mut varispeed = Varispeed::new(Rate::HZ_48000, Channels::MONO);
            varispeed.set_speed(1.0 + ppm * 1e-6);
            let mut out = Vec::new();
            for _ in 0..1_000 {
                varispeed.process(&[0.1; 960], &mut out);
            }
            let expected = 960_000.0 / (1.0 + ppm * 1e-6) - 2.0;
            assert!((out.len() as f64 - expected).abs() < 3.0, "{} for {expected} at {ppm} ppm", out.len());
        }
    }

    #[test]
    fn what_comes_out_is_the_input_a_delay_ago() {
        let mut varispeed = Varispeed::new(Rate::HZ_48000, Channels::STEREO);
        let input: Vec<f32> = sine(1_000.0, 4_000).iter().flat_map(|&x| [x, -x]).collect();
        let mut out = Vec::new();
        varispeed.process(&input, &mut out);
        let next = (out.len() / 2) as f64;
        let delay = varispeed.delay() as f64 - (4_000.0 - next);
        let error = (200..3_000)
            .map(|n| {
                let at = (n as f64 - delay) / RATE;
                let there = (std::f64::consts::TAU * 1_000.0 * at).sin() as f32 * 0.5;
                (out[2 * n] - there).abs().max((out[2 * n + 1] + there).abs())
            })
            .fold(0.0, f32::max);
        assert!(error < 3e-3, "{error}");
    }

    #[test]
    fn it_does_not_matter_in_what_pieces_the_input_comes() {
        let input = sine(1_000.0, 6_000);
        let play = |piece: usize| {
            let (mut varispeed, mut out) = (Varispeed::new(Rate::HZ_48000, Channels::MONO), Vec::new());
            varispeed.set_speed(1.000_3);
            // The first piece is where the speed changes.
            varispeed.process(&input[..960], &mut out);
            input[960..].chunks(piece).for_each(|part| varispeed.process(part, &mut out));
            out
        };
        let whole = play(960);
        for piece in [1, 7, 240, 2_000] {
            let out = play(piece);
            let worst = whole.iter().zip(&out).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-4 && out.len().abs_diff(whole.len()) <= 1, "{worst} in pieces of {piece}");
        }
    }

    #[test]
    fn a_speed_that_changes_all_the_time_makes_no_click() {
        let mut varispeed = Varispeed::new(Rate::HZ_48000, Channels::MONO);
        let input = sine(440.0, 96_000);
        let mut out = Vec::new();
        for (n, part) in input.chunks(240).enumerate() {
            varispeed.set_speed(1.0 + if n % 7 < 3 { 3e-4 } else { -2e-4 });
            varispeed.process(part, &mut out);
        }
        // A sine's second difference is bounded by its amplitude times the square of its angular frequency.
        let bound = 0.5 * (std::f64::consts::TAU * 440.0 / RATE).powi(2) as f32 * 1.2;
        let worst = out[200..].windows(3).map(|w| (w[0] - 2.0 * w[1] + w[2]).abs()).fold(0.0, f32::max);
        assert!(worst < bound, "{worst} of {bound}");
    }

    #[test]
    fn a_speed_that_cannot_be_is_bounded() {
        let mut varispeed = Varispeed::new(Rate::HZ_48000, Channels::MONO);
        for speed in [0.0, 9.0, f64::NAN, f64::INFINITY, -1.0] {
            varispeed.set_speed(speed);
            let mut out = Vec::new();
            varispeed.process(&[0.0; 4_000], &mut out);
            assert!((3_900..4_100).contains(&out.len()), "{} frames at {speed}", out.len());
        }
    }
}
