//! How an echo moves against what the loudspeaker is said to play: far finer than any sound system's times tell.

use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};

/// Samples a second.
const HZ: f64 = 16_000.0;

/// Samples of the loudspeaker that are compared at once, and how much longer the microphone is listened to: half a second,
/// and an eighth for the room.
const WINDOW: usize = 8_192;
const ROOM: usize = 2_048;

/// The length of the transform, which must hold both.
const SIZE: usize = 2 * WINDOW;

/// How much of what was found before still counts after each window.
const MEMORY: f32 = 0.5;

/// The power below which a loudspeaker says nothing, full scale being 1.
const QUIET: f32 = 1e-6;

/// Where the loudspeaker has less power than this share of its strongest frequency, nothing is learned.
const FLOOR: f32 = 1e-3;

/// The farthest that a room may have moved between two looks at it, in samples.
const REACH: usize = 32;

/// How alike two looks at a room must be to be sure that it is the same one.
const SAME: f64 = 0.5;

/// Windows of a loudspeaker that speaks before a room is known, and for which it may look another until it is.
const KNOWN: u32 = 3;
const CHANGED: u32 = 6;

/// Learns how a room answers, and how much later or earlier it does than at first.
pub(crate) struct Follower {
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
    far: Vec<f32>,
    near: Vec<f32>,
    /// What the loudspeaker has in common with the microphone, and with itself, by frequencies.
    cross: Vec<Complex<f32>>,
    power: Vec<f32>,
    windows: u32,
    /// How the room answered at first.
    first: Vec<f32>,
    strange: u32,
}

impl Follower {
    pub(crate) fn new() -> Self {
        let mut planner = RealFftPlanner::new();
        Self {
            forward: planner.plan_fft_forward(SIZE),
            inverse: planner.plan_fft_inverse(SIZE),
            far: Vec::new(),
            near: Vec::new(),
            cross: vec![Complex::default(); SIZE / 2 + 1],
            power: vec![0.0; SIZE / 2 + 1],
            windows: 0,
            first: Vec::new(),
            strange: 0,
        }
    }

    /// Takes what was played and what was heard meanwhile, equally many samples of both at 16 kHz. Twice a second, where
    /// the room is known, gives how much later it answers than at first, in seconds.
    pub(crate) fn listen(&mut self, far: &[f32], near: &[f32]) -> Option<f64> {
        self.far.extend_from_slice(far);
        self.near.extend_from_slice(near);
        if self.near.len() < WINDOW + ROOM {
            return None;
        }
        let speaks = self.far[..WINDOW].iter().map(|x| x * x).sum::<f32>() > QUIET * WINDOW as f32;
        if speaks {
            self.learn();
        }
        self.far.drain(..WINDOW);
        self.near.drain(..WINDOW);
        if speaks && self.windows >= KNOWN { self.compare() } else { None }
    }

    /// Starts anew: the reference was put elsewhere.
    pub(crate) fn forget(&mut self) {
        self.cross.fill(Complex::default());
        self.power.fill(0.0);
        (self.windows, self.strange) = (0, 0);
        self.far.clear();
        self.near.clear();
        self.first.clear();
    }

    fn learn(&mut self) {
        let (far, near) = (self.spectrum(&self.far[..WINDOW]), self.spectrum(&self.near[..WINDOW + ROOM]));
        for ((cross, power), (far, near)) in self.cross.iter_mut().zip(&mut self.power).zip(far.iter().zip(&near)) {
            *cross = *cross * MEMORY + far.conj() * near;
            *power = *power * MEMORY + far.norm_sqr();
        }
        self.windows = self.windows.saturating_add(1);
    }

    fn spectrum(&self, samples: &[f32]) -> Vec<Complex<f32>> {
        let (mut samples, mut spectrum) = (samples.to_vec(), self.forward.make_output_vec());
        samples.resize(SIZE, 0.0);
        self.forward.process(&mut samples, &mut spectrum).expect("buffers of the planned size");
        spectrum
    }

    /// How the room answers a click, as far as it is known.
    fn answer(&self) -> Vec<f32> {
        let most = self.power.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
        let floor = most * FLOOR;
        let mut spectrum: Vec<_> = self.cross.iter().zip(&self.power).map(|(c, p)| c / (p + floor)).collect();
        // What is real by its nature is to be so in spite of rounding.
        (spectrum[0].im, spectrum[SIZE / 2].im) = (0.0, 0.0);
        let mut answer = self.inverse.make_output_vec();
        self.inverse.process(&mut spectrum, &mut answer).expect("buffers of the planned size");
        answer.truncate(ROOM);
        answer
    }

    fn compare(&mut self) -> Option<f64> {
        let now = self.answer();
        if self.first.is_empty() {
            self.first = now;
            return Some(0.0);
        }
        let likeness: Vec<f64> = (0..=2 * REACH).map(|shift| likeness(&self.first, &now, shift)).collect();
        let best = (1..2 * REACH).max_by(|&a, &b| likeness[a].total_cmp(&likeness[b]))?;
        if likeness[best] < SAME {
            self.strange += 1;
            if self.strange >= CHANGED {
                (self.first, self.strange) = (now, 0);
            }
            return None;
        }
        self.strange = 0;
        // The top of the parabola through the best and its neighbours.
        let [before, top, after] = [likeness[best - 1], likeness[best], likeness[best + 1]];
        let bend = before - 2.0 * top + after;
        let part = if bend < 0.0 { 0.5 * (before - after) / bend } else { 0.0 };
        Some((best as f64 - REACH as f64 + part) / HZ)
    }
}

/// The power of no answer at all.
const NOTHING: f64 = 1e-30;

/// How alike two answers are where the second comes `shift` - [`REACH`] samples later: 1 is the same.
fn likeness(first: &[f32], second: &[f32], shift: usize) -> f64 {
    let first = &first[REACH..first.len() - REACH];
    let second = &second[shift..shift + first.len()];
    let (mut product, mut a2, mut b2) = (0.0, NOTHING, NOTHING);
    for (&a, &b) in first.iter().zip(second) {
        let (a, b) = (f64::from(a), f64::from(b));
        product += a * b;
        a2 += a * a;
        b2 += b * b;
    }
    product / (a2 * b2).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noise, softly and loudly.
    fn noise(seconds: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        (0..seconds * HZ as usize)
            .map(|n| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let loud = (n as f32 / 3_000.0).sin().powi(2);
                ((state >> 8) as f32 / 8_388_608.0 - 1.0) * 0.2 * loud
            })
            .collect()
    }

    /// A room with two walls, whose echo comes `later(n)` samples later at sample `n`; of the far end's noise, smoothed so
    /// that it lies between samples as voices do.
    fn room(far: &[f32], later: impl Fn(usize) -> f64) -> Vec<f32> {
        let smooth: Vec<f32> = (0..far.len()).map(|n| far[n.saturating_sub(3)..=n].iter().sum::<f32>() / 4.0).collect();
        let sample = |at: f64| {
            let [a, b] = [at.floor(), at.floor() + 1.0].map(|at| smooth.get(at as usize).copied().unwrap_or(0.0));
            a + (b - a) * at.fract() as f32
        };
        let walls = [(320.0, 0.5), (505.0, 0.3), (900.0, -0.2)];
        let heard = |n: usize| walls.iter().map(|(wall, gain)| gain * sample(n as f64 - wall - later(n))).sum();
        (0..far.len()).map(|n| if n < 2_000 { 0.0 } else { heard(n) }).collect()
    }

    /// What is found, in samples, piece by piece of 10 ms.
    fn found(far: &[f32], near: &[f32]) -> Vec<f64> {
        let mut follower = Follower::new();
        let pieces = far.chunks(160).zip(near.chunks(160));
        pieces.filter_map(|(far, near)| follower.listen(far, near)).map(|later| later * HZ).collect()
    }

    #[test]
    fn a_room_that_stays_where_it_is_is_found_there_whoever_speaks_in_it() {
        let far = noise(12, 7);
        let mut near = room(&far, |_| 0.25);
        near.iter_mut().zip(noise(12, 99)).skip(5 * HZ as usize).for_each(|(near, voice)| *near += voice / 2.0);
        let found = found(&far, &near);
        assert!(found.len() > 15, "{}", found.len());
        assert!(found.iter().all(|later| later.abs() < 0.1), "{found:?}");
    }

    #[test]
    fn an_echo_that_comes_later_and_later_is_followed_to_a_part_of_a_sample() {
        // 20 samples in 20 s: clocks 62.5 ppm apart.
        let far = noise(20, 7);
        let found = found(&far, &room(&far, |n| n as f64 / HZ));
        let steps: Vec<f64> = found.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let last = found.last().copied().unwrap_or_default();
        assert!(steps.iter().skip(3).all(|step| (step - 0.512).abs() < 0.15), "{steps:?}");
        assert!((15.0..19.0).contains(&last), "{last}");
    }

    #[test]
    fn where_no_echo_is_nothing_is_followed() {
        let (far, silent) = (noise(12, 7), vec![0.0; 12 * HZ as usize]);
        let strange = found(&far, &noise(12, 99));
        // Looks that share what they saw are alike.
        assert!(strange.len() < 6 && strange.iter().all(|later| later.abs() < 0.1), "{strange:?}");
        assert!(found(&far, &silent).iter().all(|&later| later == 0.0));
        assert!(found(&silent, &far).is_empty());
    }

    #[test]
    fn another_room_is_learned() {
        let far = noise(24, 7);
        let near = room(&far, |n| if n < 8 * HZ as usize { 0.0 } else { 700.0 });
        let found = found(&far, &near);
        assert!(found.len() > 25, "{}", found.len());
        assert!(found.iter().all(|later| later.abs() < 0.5), "{found:?}");
    }
}
