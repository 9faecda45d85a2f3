//! Keeps a sum of signals within full scale, and touches nothing that is within.

use std::collections::VecDeque;

use vox_frame::{Channels, Rate};

/// How long before a peak the gain begins to go down, in ns.
const LOOKAHEAD_NS: i64 = 2_000_000;

/// The time constant with which the gain comes back, in seconds: slow enough not to be heard as a flutter.
const RELEASE_S: f64 = 0.08;

/// A gain so near to 1 becomes 1, so that what is within full scale passes untouched again: 0.0009 dB.
const NEAR_ONE: f64 = 0.9999;

/// The largest sample that 16 bits hold.
const CEILING: f64 = 32_767.0 / 32_768.0;

/// Limits interleaved frames to full scale of 16 bits, all channels by the same gain, looking 2 ms ahead: what comes
/// out is [`lookahead`](Self::lookahead) frames behind what went in, until [`finish`](Self::finish). Samples come in as
/// `f64`, so that sums of many streams are exact; as long as nothing exceeds full scale, they come out as they are.
#[derive(Debug, Clone)]
pub struct Limiter {
    channels: usize,
    window: usize,
    release: f64,
    /// Frames that have not come out yet.
    held: VecDeque<f64>,
    /// The gain that each frame asks for by itself, those of the last `window` frames, as a falling queue of minima.
    minima: VecDeque<(u64, f64)>,
    /// The last `window` gains, whose mean is applied.
    gains: VecDeque<f64>,
    /// Their sum.
    sum: f64,
    /// How many of them are not 1.
    active: usize,
    gain: f64,
    taken: u64,
    limited: u64,
}

impl Limiter {
    /// A limiter for that rate and channels.
    pub fn new(rate: Rate, channels: Channels) -> Self {
        let window = rate.ticks(LOOKAHEAD_NS).max(1) as usize;
        Self {
            channels: channels.count(),
            window,
            release: 1.0 - (-1.0 / (RELEASE_S * f64::from(rate.hz()))).exp(),
            held: VecDeque::new(),
            minima: VecDeque::new(),
            gains: core::iter::repeat_n(1.0, window).collect(),
            sum: window as f64,
            active: 0,
            gain: 1.0,
            taken: 0,
            limited: 0,
        }
    }

    /// By how many frames what comes out is behind what goes in.
    pub const fn lookahead(&self) -> usize {
        self.window - 1
    }

    /// Frames that were turned down.
    pub const fn limited(&self) -> u64 {
        self.limited
    }

    /// Takes whole frames and appends those whose gain is known.
    pub fn process(&mut self, input: &[f64], out: &mut Vec<f32>) {
        if self.is_at_rest() && input.iter().all(|sample| (-1.0..=CEILING).contains(sample)) {
            return self.pass(input, out);
        }
        self.held.extend(input);
        for frame in input.chunks_exact(self.channels) {
            self.step(wanted(frame), out);
        }
    }

    /// Whether nothing was too loud for so long that every gain is 1.
    fn is_at_rest(&self) -> bool {
        self.active == 0 && self.gain >= 1.0 && self.minima.iter().all(|(_, gain)| *gain >= 1.0)
    }

    /// Takes frames none of which is too loud, at rest: as [`step`](Self::step) would, but all at once.
    fn pass(&mut self, input: &[f64], out: &mut Vec<f32>) {
        self.held.extend(input);
        self.taken += (input.len() / self.channels) as u64;
        let ready = self.held.len().saturating_sub(self.lookahead() * self.channels);
        out.extend(self.held.drain(..ready).map(|sample| sample as f32));
        self.minima.clear();
    }

    /// Appends the frames that are still held.
    pub fn finish(&mut self, out: &mut Vec<f32>) {
        while !self.held.is_empty() {
            self.step(1.0, out);
        }
    }

    /// Takes the gain that the newest frame asks for, and hands out the oldest once the window is full.
    fn step(&mut self, wanted: f64, out: &mut Vec<f32>) {
        while self.minima.back().is_some_and(|(_, gain)| *gain >= wanted) {
            self.minima.pop_back();
        }
        self.minima.push_back((self.taken, wanted));
        self.taken += 1;
        if self.minima.front().is_some_and(|(at, _)| at + (self.window as u64) < self.taken) {
            self.minima.pop_front();
        }
        let least = self.minima.front().map_or(1.0, |(_, gain)| *gain);
        let risen = self.gain + (1.0 - self.gain) * self.release;
        let risen = if risen > NEAR_ONE { 1.0 } else { risen };
        self.gain = least.min(risen);
        let left = self.gains.pop_front().unwrap_or(1.0);
        self.gains.push_back(self.gain);
        self.sum += self.gain - left;
        self.active += usize::from(self.gain < 1.0);
        self.active -= usize::from(left < 1.0);
        // Rounding adds up: it is taken out now and then, at the same frames however they came.
        if self.active == 0 {
            self.sum = self.window as f64;
        } else if self.taken.is_multiple_of(self.window as u64) {
            self.sum = self.gains.iter().sum();
        }
        if self.taken >= self.window as u64 {
            self.hand_out(out);
        }
    }

    fn hand_out(&mut self, out: &mut Vec<f32>) {
        if self.active == 0 {
            (0..self.channels).for_each(|_| out.extend(self.held.pop_front().map(|sample| sample as f32)));
            return;
        }
        // The mean of the minima around the frame: it reaches what a peak asks for exactly when the peak comes.
        let gain = self.sum / self.window as f64;
        self.limited += 1;
        for _ in 0..self.channels {
            out.extend(self.held.pop_front().map(|sample| (sample * gain).clamp(-1.0, CEILING) as f32));
        }
    }
}

/// The gain that keeps a frame within full scale.
fn wanted(frame: &[f64]) -> f64 {
    let peak = frame.iter().map(|&sample| if sample < 0.0 { -sample } else { sample / CEILING }).fold(0.0, f64::max);
    if peak > 1.0 { 1.0 / peak } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(input: &[f64]) -> Vec<f32> {
        let mut limiter = Limiter::new(Rate::HZ_48000, Channels::MONO);
        let mut out = Vec::new();
        for piece in input.chunks(960) {
            limiter.process(piece, &mut out);
        }
        assert_eq!(out.len() + limiter.lookahead().min(input.len()), input.len(), "it is behind by its look-ahead");
        limiter.finish(&mut out);
        out
    }

    fn tone(amplitude: f64, frames: usize) -> Vec<f64> {
        (0..frames).map(|n| amplitude * (n as f64 * 0.05).sin()).collect()
    }

    #[test]
    fn what_is_within_full_scale_passes_untouched() {
        let mut input = tone(0.999, 10_000);
        input.extend([-1.0, CEILING, 0.0]);
        let out = limit(&input);
        assert_eq!(out, input.iter().map(|&sample| sample as f32).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_beyond_is_turned_down_and_never_clipped() {
        let mut input = tone(0.5, 4_000);
        input.extend(tone(8.0, 4_000));
        let out = limit(&input);
        assert_eq!(out.len(), input.len());
        assert!(out.iter().all(|sample| (-1.0..=CEILING as f32).contains(sample)));
        // A clipped sine stays at its limit for most of the time, one that is turned down touches it at its peaks.
        let at_limit = out.iter().filter(|sample| sample.abs() > 0.999).count();
        assert!(at_limit < 300, "{at_limit}");
        let before = input.iter().zip(&out).take(3_800).all(|(input, out)| *input as f32 == *out);
        assert!(before, "2 ms before the peak nothing is touched");
    }

    #[test]
    fn a_single_peak_turns_down_its_surroundings_without_a_step() {
        let mut input = vec![0.5; 20_000];
        input[10_000] = 2.0;
        let out = limit(&input);
        assert!(out[10_000] <= 1.0 && out[10_000] > 0.99, "{}", out[10_000]);
        let step = |pair: &[f32]| (pair[1] - pair[0]).abs();
        let worst = out[..10_000].windows(2).chain(out[10_001..].windows(2)).map(step).fold(0.0, f32::max);
        assert!(worst < 0.006, "{worst}");
    }

    #[test]
    fn whole_blocks_at_rest_come_out_as_single_frames_would() {
        let mut input = tone(0.9, 3_000);
        input.extend(tone(1.4, 500));
        input.extend(tone(0.5, 30_000));
        let limiter = || Limiter::new(Rate::HZ_48000, Channels::MONO);
        let (mut blocks, mut frames) = (limiter(), limiter());
        let (mut by_blocks, mut by_frames) = (Vec::new(), Vec::new());
        input.chunks(480).for_each(|block| blocks.process(block, &mut by_blocks));
        for sample in &input {
            frames.held.push_back(*sample);
            frames.step(wanted(&[*sample]), &mut by_frames);
        }
        assert_eq!(by_blocks, by_frames);
        assert_eq!(blocks.limited(), frames.limited());
    }

    #[test]
    fn some_time_after_a_peak_everything_passes_untouched_again() {
        let mut input = tone(0.5, 100_000);
        input[100] = 3.0;
        let out = limit(&input);
        assert!(input[60_000..].iter().zip(&out[60_000..]).all(|(input, out)| *input as f32 == *out));
    }

    #[test]
    fn a_stream_shorter_than_the_look_ahead_comes_out_whole() {
        let mut limiter = Limiter::new(Rate::HZ_8000, Channels::STEREO);
        let mut out = Vec::new();
        limiter.process(&[0.5, -0.5], &mut out);
        limiter.finish(&mut out);
        assert_eq!(out, [0.5, -0.5]);
    }
}
