//! Samples: tones, and something like speech.

use core::f64::consts::TAU;

use rand_pcg::Pcg64;
use rand_pcg::rand_core::Rng;

/// A sine.
#[derive(Debug, Clone)]
pub struct Tone {
    step: f64,
    amplitude: f64,
    phase: f64,
}

impl Tone {
    /// A tone of `hz` and that amplitude (1.0 is full scale) at a rate in Hz.
    pub const fn new(hz: f64, amplitude: f64, rate: u32) -> Self {
        Self { step: hz / rate as f64, amplitude, phase: 0.0 }
    }
}

impl Iterator for Tone {
    type Item = f32;

    fn next(&mut self) -> Option<f32> {
        let sample = self.amplitude * libm::sin(TAU * self.phase);
        self.phase = (self.phase + self.step) % 1.0;
        Some(sample as f32)
    }
}

/// Something like speech: talk spurts and pauses, syllables, a voice with a melody through three formants, and hissing
/// consonants. Its spectrum, its envelope and its pauses are what concealment, voice detection and level meters look
/// at; nobody would understand it.
#[derive(Debug, Clone)]
pub struct SpeechLike {
    rate: f64,
    random: Random,
    talk: Talk,
    talking: bool,
    /// Samples until the next decision of the speaker.
    until_talk: u32,
    /// Samples of the syllable that are left and that it has in all.
    left: u32,
    length: u32,
    voiced: bool,
    pitch: f64,
    phase: f64,
    formants: [Resonator; 3],
}

impl SpeechLike {
    /// A speaker, at a rate in Hz.
    pub fn new(seed: u64, rate: u32) -> Self {
        let formants = [Resonator::default(); 3];
        let (random, talk) = (Random::new(seed, 1), Talk::new(seed));
        let rate = f64::from(rate);
        Self {
            rate,
            random,
            talk,
            talking: true,
            until_talk: 0,
            left: 0,
            length: 1,
            voiced: true,
            pitch: 120.0,
            phase: 0.0,
            formants,
        }
    }

    /// Another syllable: four or five a second (Greenberg 1999), two of three voiced.
    fn begin_syllable(&mut self) {
        self.length = (self.rate * (0.12 + 0.2 * self.random.unit())) as u32;
        self.left = self.length;
        self.voiced = self.random.unit() < 0.67;
        self.pitch = 90.0 + 70.0 * self.random.unit();
        // The ranges of the first three formants of vowels (Peterson and Barney 1952).
        for (formant, (low, high)) in
            self.formants.iter_mut().zip([(270.0, 730.0), (840.0, 2_290.0), (1_690.0, 3_010.0)])
        {
            formant.tune(low + (high - low) * self.random.unit(), 90.0, self.rate);
        }
    }
}

impl Iterator for SpeechLike {
    type Item = f32;

    fn next(&mut self) -> Option<f32> {
        if self.until_talk == 0 {
            self.talking = self.talk.advance(20_000_000);
            self.until_talk = (self.rate / 50.0) as u32;
        }
        self.until_talk -= 1;
        if self.left == 0 {
            self.begin_syllable();
        }
        self.left -= 1;
        let excitation = if self.voiced {
            self.phase = (self.phase + self.pitch / self.rate) % 1.0;
            // A saw tooth without its mean: as many harmonics as a voice has.
            1.0 - 2.0 * self.phase
        } else {
            self.random.unit() - 0.5
        };
        let spoken: f64 = self.formants.iter_mut().map(|formant| formant.process(excitation)).sum();
        let into = 1.0 - f64::from(self.left) / f64::from(self.length);
        let envelope = libm::sin(core::f64::consts::PI * into);
        let floor = 0.0005 * (self.random.unit() - 0.5);
        let sample = if self.talking { 0.3 * envelope * spoken + floor } else { floor };
        Some(sample.clamp(-0.9, 0.9) as f32)
    }
}

/// When a speaker talks and when not.
#[derive(Debug, Clone)]
pub(crate) struct Talk {
    random: Random,
    talking: bool,
    left_ns: i64,
}

impl Talk {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: Random::new(seed, 2), talking: false, left_ns: 0 }
    }

    /// Goes on by `ns` and says whether the speaker talks in that time. Spurts last 1.0 s and pauses 1.6 s in the mean
    /// (ITU-T P.59, table 1).
    pub(crate) fn advance(&mut self, ns: i64) -> bool {
        if self.left_ns <= 0 {
            self.talking = !self.talking;
            let mean = if self.talking { 1.004e9 } else { 1.587e9 };
            self.left_ns = (-mean * libm::log(1.0 - self.random.unit())) as i64;
        }
        self.left_ns -= ns;
        self.talking
    }
}

/// A filter that rings at one frequency.
#[derive(Debug, Clone, Copy, Default)]
struct Resonator {
    a: f64,
    b: f64,
    gain: f64,
    last: [f64; 2],
}

impl Resonator {
    fn tune(&mut self, hz: f64, width: f64, rate: f64) {
        let radius = libm::exp(-core::f64::consts::PI * width / rate);
        self.a = 2.0 * radius * libm::cos(TAU * (hz / rate).min(0.45));
        self.b = -radius * radius;
        self.gain = 1.0 - radius;
    }

    fn process(&mut self, input: f64) -> f64 {
        let output = self.gain * input + self.a * self.last[0] + self.b * self.last[1];
        self.last = [output, self.last[0]];
        output
    }
}

#[derive(Debug, Clone)]
struct Random(Pcg64);

impl Random {
    fn new(seed: u64, purpose: u128) -> Self {
        Self(Pcg64::new(u128::from(seed) + 1, purpose))
    }

    fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_has_its_frequency_and_level() {
        let samples: Vec<f32> = Tone::new(1_000.0, 0.5, 48_000).take(48_000).collect();
        let crossings = samples.windows(2).filter(|pair| pair[0] < 0.0 && pair[1] >= 0.0).count();
        assert!((999..=1_000).contains(&crossings), "{crossings}");
        let power: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / 48_000.0;
        assert!((power - 0.125).abs() < 1e-6);
    }

    #[test]
    fn speech_like_sound_talks_and_pauses_and_never_clips() {
        let samples: Vec<f32> = SpeechLike::new(1, 16_000).take(16_000 * 30).collect();
        assert!(samples.iter().all(|sample| sample.abs() < 0.9));
        let level = |window: &[f32]| window.iter().map(|sample| sample * sample).sum::<f32>() / window.len() as f32;
        let levels: Vec<f32> = samples.chunks(1_600).map(level).collect();
        let loud = levels.iter().filter(|level| **level > 1e-4).count();
        let quiet = levels.iter().filter(|level| **level < 1e-6).count();
        assert!(loud > 60 && quiet > 60, "{loud} loud, {quiet} quiet of {}", levels.len());
        let again: Vec<f32> = SpeechLike::new(1, 16_000).take(16_000).collect();
        assert_eq!(again, samples[..16_000]);
    }
}
