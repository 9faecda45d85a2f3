//! No click where the samples run out, and none where they come back.

use cpal::{FromSample, Sample};
use vox_frame::Rate;

/// How long a fall into silence and the way back take, in ms.
const FADE_MS: u32 = 1;

/// What the last sample is multiplied with from frame to frame in silence: a thousandth after the fade.
const FLOOR: f32 = 1e-3;

/// Lets what was played last fade away where nothing follows, and what comes after it fade in.
pub(crate) struct Declick {
    /// The last frame that was played.
    last: Vec<f32>,
    decay: f32,
    rise: f32,
    gain: f32,
}

impl Declick {
    pub(crate) fn new(rate: Rate, channels: usize) -> Self {
        let frames = (rate.hz() * FADE_MS / 1_000).max(1) as f32;
        Self { last: vec![0.0; channels], decay: FLOOR.powf(1.0 / frames), rise: 1.0 / frames, gain: 1.0 }
    }

    /// Plays whole frames.
    pub(crate) fn play<T: Sample + FromSample<f32>>(&mut self, to: &mut [T], from: &[f32]) {
        let channels = self.last.len();
        let mut frames = to.chunks_exact_mut(channels).zip(from.chunks_exact(channels));
        let mut played = 0;
        while self.gain < 1.0
            && let Some((to, from)) = frames.next()
        {
            for ((to, from), last) in to.iter_mut().zip(from).zip(&mut self.last) {
                *last = from * self.gain;
                *to = T::from_sample(*last);
            }
            self.gain = (self.gain + self.rise).min(1.0);
            played += channels;
        }
        let (to, from) = (&mut to[played..], &from[played..]);
        for (to, from) in to.iter_mut().zip(from) {
            *to = T::from_sample(*from);
        }
        if let Some(last) = from.rchunks_exact(channels).next() {
            self.last.copy_from_slice(last);
        }
    }

    /// Fills whole frames for which there is nothing.
    pub(crate) fn fall_silent<T: Sample + FromSample<f32>>(&mut self, to: &mut [T]) {
        if to.is_empty() {
            return;
        }
        self.gain = 0.0;
        let channels = self.last.len();
        for frame in to.chunks_mut(channels) {
            for (to, last) in frame.iter_mut().zip(&mut self.last) {
                *last *= self.decay;
                *to = if last.abs() < 1e-5 { T::EQUILIBRIUM } else { T::from_sample(*last) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_pass_untouched_as_long_as_they_come() {
        let mut declick = Declick::new(Rate::HZ_48000, 2);
        let mut out = [0.0_f32; 6];
        declick.play(&mut out, &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]);
        assert_eq!(out, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]);
    }

    #[test]
    fn a_hole_has_no_steps_at_its_edges() {
        let mut declick = Declick::new(Rate::HZ_48000, 1);
        let mut out = vec![0.0_f32; 960];
        declick.play(&mut out[..240], &[0.8; 240]);
        declick.fall_silent(&mut out[240..720]);
        declick.play(&mut out[720..], &[0.8; 240]);
        let step = out.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max);
        assert!(step < 0.12, "a step of {step}");
        assert!(out[400..720].iter().all(|sample| sample.abs() < 1e-3));
        assert!((out[959] - 0.8).abs() < 1e-6);
    }
}
