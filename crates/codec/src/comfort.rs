//! Comfort noise: what a pause sounds like where the sender describes its noise (RFC 3389; G.711 Appendix II has the
//! same packets).

/// The most reflection coefficients that are used: more describe no noise that anybody could tell apart.
const MAX_ORDER: usize = 10;

/// Makes noise of a described level and colour.
#[derive(Debug, Clone, Default)]
pub(crate) struct ComfortNoise {
    /// Half the width of what goes into the filter, which gives noise of the described level.
    amplitude: f32,
    reflections: [f32; MAX_ORDER],
    state: [f32; MAX_ORDER],
    random: u32,
}

impl ComfortNoise {
    /// Takes a description (RFC 3389, section 3): the level in -dBov, then reflection coefficients.
    pub(crate) fn describe(&mut self, payload: &[u8]) {
        let Some((&level, coefficients)) = payload.split_first() else { return };
        self.reflections = [0.0; MAX_ORDER];
        for (reflection, &index) in self.reflections.iter_mut().zip(coefficients) {
            // Section 3.2: 127 is none; 255 is reserved.
            *reflection = 258.0 * (f32::from(index.min(254)) - 127.0) / 32_768.0;
        }
        // 0 dBov is the power of a square wave of full scale. The filter makes white noise louder by the reciprocal of
        // the product; even noise of half width 1 has a power of a third.
        let power = 10f32.powf(-f32::from(level & 0x7f) / 10.0);
        let gain: f32 = self.reflections.iter().map(|k| 1.0 - k * k).product();
        self.amplitude = (3.0 * power * gain).sqrt();
        self.state = [0.0; MAX_ORDER];
    }

    /// Whether anything was described.
    pub(crate) fn is_described(&self) -> bool {
        self.amplitude > 0.0
    }

    /// Appends frames of noise, the same in all channels.
    pub(crate) fn make(&mut self, frames: usize, channels: usize, out: &mut Vec<f32>) {
        for _ in 0..frames {
            let excitation = self.amplitude * self.uniform();
            let sample = self.filtered(excitation);
            out.extend(core::iter::repeat_n(sample.clamp(-1.0, 1.0), channels));
        }
    }

    /// The lattice of an all-pole filter (Markel and Gray 1976): stable for any coefficients below 1.
    fn filtered(&mut self, excitation: f32) -> f32 {
        let mut forward = excitation;
        for stage in (0..MAX_ORDER).rev() {
            let backward = self.state[stage];
            forward -= self.reflections[stage] * backward;
            if let Some(next) = self.state.get_mut(stage + 1) {
                *next = backward + self.reflections[stage] * forward;
            }
        }
        self.state[0] = forward;
        forward
    }

    /// From -1 to 1, evenly: the generator of Numerical Recipes (32 bits, the high ones are used).
    fn uniform(&mut self) -> f32 {
        self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.random >> 8) as f32 / 8_388_608.0 - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(payload: &[u8]) -> Vec<f32> {
        let (mut comfort, mut out) = (ComfortNoise::default(), Vec::new());
        comfort.describe(payload);
        comfort.make(32_000, 1, &mut out);
        out
    }

    fn level(samples: &[f32]) -> f32 {
        let power = samples.iter().map(|sample| sample * sample).sum::<f32>() / samples.len() as f32;
        -10.0 * power.log10()
    }

    /// How like its neighbours samples are: 1 for the lowest of tones, 0 for white noise.
    fn likeness(samples: &[f32]) -> f32 {
        let with_next: f32 = samples.windows(2).map(|pair| pair[0] * pair[1]).sum();
        with_next / samples.iter().map(|sample| sample * sample).sum::<f32>()
    }

    #[test]
    fn noise_has_the_level_and_the_colour_that_were_described() {
        let white = noise(&[40]);
        assert!((level(&white) - 40.0).abs() < 0.3, "{}", level(&white));
        assert!(likeness(&white).abs() < 0.03);
        // Section 3.2: (26 - 127) * 258 / 32768 = -0.8, low noise; a second one leaves the level alone.
        let low = noise(&[60, 26, 180]);
        assert!((level(&low) - 60.0).abs() < 0.6, "{}", level(&low));
        assert!(likeness(&low) > 0.5, "{}", likeness(&low));
    }

    #[test]
    fn no_description_makes_it_loud_or_endless() {
        for payload in [&[0u8, 254, 254, 254][..], &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[0, 255]] {
            assert!(noise(payload).iter().all(|sample| sample.abs() <= 1.0 && sample.is_finite()));
        }
        assert!(!ComfortNoise::default().is_described());
    }
}
