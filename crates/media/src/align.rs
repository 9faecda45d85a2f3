//! How much later one recording is than another: where their loudness fits best, then where their samples do.

use crate::{About, Listener};
use realfft::RealFftPlanner;
use vox_frame::GapReason;

/// Steps of loudness a second.
const STEPS: u64 = 1_000;

/// The most steps that are compared: an hour.
const MAX_STEPS: usize = 3_600_000;

/// Frames that decide the offset to the sample.
const FINE: usize = 96_000;

/// The loudness of the first track of a file, millisecond by millisecond, and its loudest seconds.
pub struct Loudness {
    hz: u64,
    channels: usize,
    steps: Vec<f32>,
    /// The frames from `fine_at` on.
    fine: Vec<f32>,
    fine_at: u64,
}

impl Loudness {
    /// Keeps samples from that frame on.
    pub const fn new(fine_at: u64) -> Self {
        Self { hz: 48_000, channels: 1, steps: Vec::new(), fine: Vec::new(), fine_at }
    }

    /// The frame at which its loudest seconds begin.
    pub fn loudest(&self) -> u64 {
        let window = (FINE as u64 * STEPS / self.hz) as usize;
        let best = (0..self.steps.len().saturating_sub(window).max(1)).step_by(window.div_ceil(4).max(1));
        let power = |at: usize| self.steps[at..].iter().take(window).map(|level| level * level).sum::<f32>();
        let at = best.max_by(|&a, &b| power(a).total_cmp(&power(b))).unwrap_or(0);
        at as u64 * self.hz / STEPS
    }

    /// Seconds that `other` is later, to a millisecond.
    pub fn later(&self, other: &Self) -> f64 {
        let length = (self.steps.len() + other.steps.len()).next_power_of_two().max(2);
        let (a, b) = (padded(&self.steps, length), padded(&other.steps, length));
        let sums = correlate(a, b, length);
        let best = (0..length).max_by(|&a, &b| sums[a].total_cmp(&sums[b])).unwrap_or(0);
        let steps = if best < other.steps.len() { best as f64 } else { best as f64 - length as f64 };
        steps / STEPS as f64
    }

    /// Frames that the samples of `other` are later than those of `self`, given that they begin `guess` frames apart
    /// and the truth is near.
    pub fn fine_later(&self, other: &Self, reach: usize) -> Option<i64> {
        if self.hz != other.hz || self.fine.len() < 1_000 || other.fine.len() < 1_000 {
            return None;
        }
        let length = (self.fine.len() + other.fine.len()).next_power_of_two();
        let sums = correlate(padded(&self.fine, length), padded(&other.fine, length), length);
        let best = (0..=reach).chain(length - reach..length).max_by(|&a, &b| sums[a].total_cmp(&sums[b]))?;
        Some(if best <= reach { best as i64 } else { best as i64 - length as i64 })
    }

    /// Frames a second.
    pub const fn hz(&self) -> u64 {
        self.hz
    }
}

fn padded(values: &[f32], length: usize) -> Vec<f32> {
    let mean = values.iter().sum::<f32>() / values.len().max(1) as f32;
    let mut out: Vec<f32> = values.iter().map(|value| value - mean).collect();
    out.resize(length, 0.0);
    out
}

/// At `n`, how well `b` moved by `n` to the left fits `a`, round and round; both are `length` long, a power of two.
pub fn correlate(mut a: Vec<f32>, mut b: Vec<f32>, length: usize) -> Vec<f32> {
    let mut planner = RealFftPlanner::<f32>::new();
    let (forward, back) = (planner.plan_fft_forward(length), planner.plan_fft_inverse(length));
    let (mut first, mut second) = (forward.make_output_vec(), forward.make_output_vec());
    let mut out = back.make_output_vec();
    let done = forward.process(&mut a, &mut first).and_then(|()| forward.process(&mut b, &mut second));
    for (b, a) in second.iter_mut().zip(&first) {
        *b *= a.conj();
    }
    // What is real at the ends has no imaginary part, whatever rounding says.
    if let [first, .., last] = &mut second[..] {
        (first.im, last.im) = (0.0, 0.0);
    }
    match done.and_then(|()| back.process(&mut second, &mut out)) {
        Ok(()) => out,
        Err(_) => vec![0.0; length],
    }
}

impl Listener for Loudness {
    fn track(&mut self, track: usize, about: &About) {
        if track == 0 {
            (self.hz, self.channels) = (u64::from(about.rate.hz()), about.channels.count());
        }
    }

    fn samples(&mut self, track: usize, at: u64, samples: &[f32]) {
        if track != 0 {
            return;
        }
        for (frame, values) in (at..).zip(samples.chunks(self.channels)) {
            let step = (frame * STEPS / self.hz) as usize;
            if step < MAX_STEPS {
                if self.steps.len() <= step {
                    self.steps.resize(step + 1, 0.0);
                }
                self.steps[step] += values[0].abs();
            }
            if frame >= self.fine_at && frame < self.fine_at + FINE as u64 {
                self.fine.resize((frame - self.fine_at) as usize, 0.0);
                self.fine.push(values[0]);
            }
        }
    }

    fn gap(&mut self, _: usize, _: u64, _: u64, _: GapReason) {}

    fn talk(&mut self, _: usize, _: u64, _: bool) {}
}

#[cfg(test)]
mod tests {
    use vox_frame::{Channels, Rate};

    use super::*;

    fn heard(delay: usize, fine_at: u64) -> Loudness {
        let about = About { label: None, rate: Rate::HZ_8000, channels: Channels::MONO, codec: String::new() };
        let mut samples = vec![0.0; delay];
        samples.extend((0..40_000_u64).map(|n| {
            let loud = if (n / 1_700) % 3 == 1 { 0.5 } else { 0.02 };
            loud * ((n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 / 8_388_608.0 - 1.0)
        }));
        let mut loudness = Loudness::new(fine_at);
        loudness.track(0, &about);
        loudness.samples(0, 0, &samples);
        loudness
    }

    #[test]
    fn a_delay_is_found_to_the_sample() {
        for delay in [0, 3, 1_234, 20_000] {
            let coarse = heard(0, 0).later(&heard(delay, 0));
            assert!((coarse - delay as f64 / 8_000.0).abs() < 0.003, "{delay}: {coarse}");
            let at = heard(0, 0).loudest();
            let guess = (coarse * 8_000.0).round() as i64;
            let there = at.saturating_add_signed(guess);
            let fine = heard(0, at).fine_later(&heard(delay, there), 80).unwrap();
            assert_eq!(guess + fine, delay as i64);
        }
    }
}
