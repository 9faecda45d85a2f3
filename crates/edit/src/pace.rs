//! Faster or slower, higher or lower, as the samples come.

use core::num::{NonZeroU16, NonZeroU32};

use vox_dsp::Resampler;
use vox_frame::{Channels, Rate};
use wsola::TimeStretch;

use crate::list::Change;

/// A range whose pace or pitch is changed. What comes out is exactly as long as it should be.
pub(crate) struct Pacer {
    /// Where the range begins.
    pub(crate) from: u64,
    stretch: TimeStretch,
    resampler: Option<Resampler>,
    channels: usize,
    /// How many frames come out for one that goes in.
    ratio: f64,
    taken: u64,
    given: u64,
    scratch: Vec<f32>,
}

impl Pacer {
    /// For the range that begins at `from`; none where nothing is changed.
    pub(crate) fn new(from: u64, change: Change, rate: Rate, channels: Channels) -> Option<Self> {
        let (tempo, pitch, ratio) = match change {
            Change::Speed(factor) => (factor, 1.0, 1.0 / factor),
            // Longer by the stretch, then as much shorter and higher by the resampler.
            Change::Pitch(factor) => (1.0 / factor, factor, 1.0),
            _ => return None,
        };
        let count = NonZeroU16::new(channels.count() as u16)?;
        let mut stretch = TimeStretch::new(NonZeroU32::new(rate.hz())?, count).ok()?;
        stretch.set_tempo(tempo as f32);
        let fast = Rate::new((f64::from(rate.hz()) * pitch).round() as u32)?;
        let resampler = (pitch != 1.0).then(|| Resampler::new(fast, rate, channels));
        let scratch = vec![0.0; stretch.min_output_buff_size() * 4];
        Some(Self { from, stretch, resampler, channels: channels.count(), ratio, taken: 0, given: 0, scratch })
    }

    /// Takes samples and appends what can be given.
    pub(crate) fn process(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        self.taken += (samples.len() / self.channels) as u64;
        self.stretch.push(samples);
        self.pull(out);
    }

    /// Appends the rest.
    pub(crate) fn finish(mut self, out: &mut Vec<f32>) {
        let begin = out.len();
        self.stretch.set_draining();
        let before = self.given;
        self.pull(out);
        if let Some(resampler) = &mut self.resampler {
            resampler.finish(out);
        }
        let wanted = (self.taken as f64 * self.ratio).round() as u64;
        let missing = usize::try_from(wanted.saturating_sub(before)).unwrap_or(0) * self.channels;
        out.resize(begin + missing, 0.0);
    }

    fn pull(&mut self, out: &mut Vec<f32>) {
        let begin = out.len();
        while let Ok(written) = self.stretch.pull(&mut self.scratch) {
            if written == 0 {
                break;
            }
            match &mut self.resampler {
                Some(resampler) => resampler.process(&self.scratch[..written], out),
                None => out.extend_from_slice(&self.scratch[..written]),
            }
        }
        self.given += ((out.len() - begin) / self.channels) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(frames: usize) -> Vec<f32> {
        (0..frames).map(|n| (n as f32 * 200.0 / 8_000.0 * core::f32::consts::TAU).sin() * 0.5).collect()
    }

    /// The frequency of a tone, by its crossings of zero.
    fn hertz(samples: &[f32]) -> f64 {
        let middle = &samples[samples.len() / 4..samples.len() * 3 / 4];
        let crossings = middle.windows(2).filter(|pair| pair[0] <= 0.0 && pair[1] > 0.0).count();
        crossings as f64 * 8_000.0 / middle.len() as f64
    }

    fn paced(change: Change) -> Vec<f32> {
        let mut pacer = Pacer::new(0, change, Rate::HZ_8000, Channels::MONO).unwrap();
        let mut out = Vec::new();
        for part in tone(40_000).chunks(160) {
            pacer.process(part, &mut out);
        }
        pacer.finish(&mut out);
        out
    }

    #[test]
    fn speed_changes_the_length_and_not_the_pitch() {
        for factor in [0.5, 0.8, 1.25, 2.0] {
            let out = paced(Change::Speed(factor));
            assert_eq!(out.len(), (40_000.0 / factor) as usize);
            assert!((hertz(&out) - 200.0).abs() < 4.0, "{factor}: {} Hz", hertz(&out));
        }
    }

    #[test]
    fn pitch_changes_the_frequency_and_not_the_length() {
        for factor in [0.5, 1.189_207, 2.0] {
            let out = paced(Change::Pitch(factor));
            assert_eq!(out.len(), 40_000);
            assert!((hertz(&out) / (200.0 * factor) - 1.0).abs() < 0.02, "{factor}: {} Hz", hertz(&out));
        }
    }
}
