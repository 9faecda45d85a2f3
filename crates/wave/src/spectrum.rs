//! Frequencies: one transform for each column of the picture.

use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};
use vox_frame::GapReason;
use vox_media::{About, Listener};

/// Frames of a transform: 21 ms at 48 kHz.
const WINDOW: usize = 1024;

/// What is this far below full scale is black, in dB.
const RANGE_DB: f32 = 96.0;

/// Takes the frames around given places of every track and gives their frequencies.
pub(crate) struct Spectrum {
    transform: Arc<dyn RealToComplex<f32>>,
    window: Vec<f32>,
    tracks: Vec<Columns>,
}

struct Columns {
    channels: usize,
    /// The frame at the middle of each column, ascending; none where the track is not heard.
    places: Vec<Option<u64>>,
    levels: Vec<Vec<f32>>,
    next: usize,
    /// The last frames of the first channel, and the frame behind them.
    recent: Vec<f32>,
    end: u64,
}

impl Spectrum {
    /// For the tracks of a file, the frames at the middles of the columns.
    pub(crate) fn new(places: Vec<Vec<Option<u64>>>) -> Self {
        let transform = RealFftPlanner::<f32>::new().plan_fft_forward(WINDOW);
        let phase = |n: usize| n as f32 / WINDOW as f32 * core::f32::consts::TAU;
        let window = (0..WINDOW).map(|n| 0.5 - 0.5 * phase(n).cos()).collect();
        let tracks = places
            .into_iter()
            .map(|places| {
                let levels = vec![Vec::new(); places.len()];
                Columns { channels: 1, places, levels, next: 0, recent: vec![0.0; WINDOW], end: 0 }
            })
            .collect();
        Self { transform, window, tracks }
    }

    /// The levels, 0 to 1, of each column of each track.
    pub(crate) fn finish(mut self) -> Vec<Vec<Vec<f32>>> {
        // What lies in the last window of a track is followed by silence.
        for track in 0..self.tracks.len() {
            let (end, channels) = (self.tracks[track].end, self.tracks[track].channels);
            self.samples(track, end, &vec![0.0; WINDOW * channels]);
        }
        self.tracks.into_iter().map(|track| track.levels).collect()
    }

    fn take(&mut self, track: usize) {
        let columns = &mut self.tracks[track];
        loop {
            let Some(place) = columns.places.get(columns.next) else { return };
            let Some(place) = *place else {
                columns.next += 1;
                continue;
            };
            if place + WINDOW as u64 / 2 > columns.end {
                return;
            }
            let behind = usize::try_from(columns.end - place - WINDOW as u64 / 2).unwrap_or(usize::MAX);
            let from = columns.recent.len().saturating_sub(WINDOW + behind);
            let mut frames = columns.recent[from..from + WINDOW].to_vec();
            frames.iter_mut().zip(&self.window).for_each(|(frame, weight)| *frame *= weight);
            let mut out = vec![Complex::default(); WINDOW / 2 + 1];
            // It fails only for buffers of another length.
            if self.transform.process(&mut frames, &mut out).is_ok() {
                columns.levels[columns.next] = out[..WINDOW / 2].iter().map(|bin| level(bin.norm())).collect();
            }
            columns.next += 1;
        }
    }
}

fn level(magnitude: f32) -> f32 {
    // A sine of full scale has a quarter of the window's length in its bin.
    let db = 20.0 * (magnitude / (WINDOW as f32 / 4.0) + 1e-9).log10();
    (1.0 + db / RANGE_DB).clamp(0.0, 1.0)
}

impl Listener for Spectrum {
    fn track(&mut self, track: usize, about: &About) {
        if let Some(columns) = self.tracks.get_mut(track) {
            columns.channels = about.channels.count();
        }
    }

    fn samples(&mut self, track: usize, at: u64, samples: &[f32]) {
        let Some(columns) = self.tracks.get_mut(track) else { return };
        if at > columns.end {
            columns.recent.fill(0.0);
            columns.end = at;
        }
        let channels = columns.channels;
        for part in samples.chunks(WINDOW * channels) {
            let columns = &mut self.tracks[track];
            columns.recent.extend(part.iter().step_by(channels));
            columns.end += (part.len() / channels) as u64;
            self.take(track);
            let columns = &mut self.tracks[track];
            let excess = columns.recent.len().saturating_sub(2 * WINDOW);
            columns.recent.drain(..excess);
        }
    }

    fn gap(&mut self, track: usize, at: u64, frames: u64, _: GapReason) {
        let Some(columns) = self.tracks.get_mut(track) else { return };
        columns.recent.fill(0.0);
        columns.end = at + frames;
        self.take(track);
    }

    fn talk(&mut self, _: usize, _: u64, _: bool) {}
}

#[cfg(test)]
mod tests {
    use vox_frame::{Channels, Rate};

    use super::*;

    #[test]
    fn a_tone_is_brightest_at_its_frequency() {
        let mut spectrum = Spectrum::new(vec![vec![Some(2_000), Some(4_000), None]]);
        let about = About { label: None, rate: Rate::HZ_8000, channels: Channels::MONO, codec: String::new() };
        spectrum.track(0, &about);
        let tone: Vec<f32> =
            (0..8_000).map(|n| (n as f32 * 1_000.0 / 8_000.0 * core::f32::consts::TAU).sin()).collect();
        for (n, part) in tone.chunks(160).enumerate() {
            spectrum.samples(0, n as u64 * 160, part);
        }
        let levels = &spectrum.finish()[0];
        for column in &levels[..2] {
            let brightest = (0..512).max_by(|&a, &b| column[a].total_cmp(&column[b]));
            assert_eq!(brightest, Some(128));
            assert!(column[128] > 0.99 && column[400] < 0.1);
        }
        assert!(levels[2].is_empty());
    }
}
