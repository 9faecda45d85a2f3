//! Signals out of nothing: a sine, silence, noise.

use crate::args::{DEFAULT_LEVEL, Tone};

/// Frames that are generated at once.
const CHUNK: u64 = 1024;

/// What to generate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Signal {
    /// White noise of a seed.
    Noise(u64),
    /// Digital silence.
    Silence,
    /// A sine.
    Tone(Tone),
}

/// A signal as interleaved `f32` little-endian samples, the same in every channel (noise differs), without end.
pub(crate) struct Generator {
    signal: Signal,
    rate: f64,
    channels: usize,
    position: u64,
}

impl Generator {
    /// A generator at `rate` Hz.
    pub(crate) const fn new(signal: Signal, rate: u32, channels: usize) -> Self {
        Self { signal, rate: rate as f64, channels, position: 0 }
    }

    /// Appends the next samples to `out`.
    pub(crate) fn read(&mut self, out: &mut Vec<u8>) {
        for frame in self.position..self.position + CHUNK {
            for channel in 0..self.channels {
                out.extend_from_slice(&self.sample(frame, channel).to_le_bytes());
            }
        }
        self.position += CHUNK;
    }

    fn sample(&self, frame: u64, channel: usize) -> f32 {
        match self.signal {
            Signal::Silence => 0.0,
            Signal::Tone(tone) => {
                let turns = (frame as f64 * tone.hz / self.rate).fract();
                ((std::f64::consts::TAU * turns).sin() * amplitude(tone.level)) as f32
            }
            Signal::Noise(seed) => {
                let random = splitmix(seed ^ splitmix(frame * self.channels as u64 + channel as u64));
                let uniform = (random >> 40) as f64 / f64::from(1 << 23) - 1.0;
                (uniform * amplitude(DEFAULT_LEVEL)) as f32
            }
        }
    }
}

fn amplitude(level: f64) -> f64 {
    10_f64.powf(level / 20.0)
}

const fn splitmix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(signal: Signal, channels: usize) -> Vec<f32> {
        let mut bytes = Vec::new();
        let mut generator = Generator::new(signal, 48_000, channels);
        for _ in 0..48 {
            generator.read(&mut bytes);
        }
        bytes.as_chunks().0.iter().map(|&four| f32::from_le_bytes(four)).collect()
    }

    #[test]
    fn a_tone_has_its_level_and_its_frequency() {
        let tone = samples(Signal::Tone(Tone { hz: 1_000.0, level: -6.0 }), 1);
        let peak = tone.iter().fold(0.0_f32, |peak, x| peak.max(x.abs()));
        assert!((peak - 0.5012).abs() < 1e-3, "{peak}");
        let rises = tone[..48_000].windows(2).filter(|pair| pair[0] < 0.0 && pair[1] >= 0.0).count();
        assert!((999..=1_000).contains(&rises), "{rises}");
    }

    #[test]
    fn noise_is_the_same_for_a_seed_and_has_no_offset() {
        let noise = samples(Signal::Noise(5), 2);
        assert_eq!(noise, samples(Signal::Noise(5), 2));
        assert_ne!(noise, samples(Signal::Noise(6), 2));
        let mean = noise.iter().sum::<f32>() / noise.len() as f32;
        assert!(mean.abs() < 2e-3, "{mean}");
    }
}
