//! Plays a stream a little faster or slower, so that its reservoir stays where it is.

use audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Async, FixedAsync, Resampler as _, SincInterpolationParameters, SincInterpolationType, WindowFunction};

/// Below this rate speech fills the band: there the filter is steeper, and takes fewer frames at a time.
const LOW_RATE: usize = 32_000;

/// Farthest from 1 that the speed may be: a pitch that nobody hears (0.06 %), and twice what cheap crystals drift.
const MAX_CHANGE: f64 = 600e-6;

/// The most that the speed may change from one frame to the next.
const MAX_STEP: f64 = 60e-6;

/// In that many seconds what is too much would be gone.
const SETTLE_S: f64 = 1.5;

/// Frames that the filter takes at a time.
const fn chunk(rate: usize) -> usize {
    if rate < LOW_RATE { 8 } else { 24 }
}

/// Frames of the filter.
const fn length(rate: usize) -> usize {
    if rate < LOW_RATE { 64 } else { 32 }
}

/// Frames that must be there beside those that are played: a chunk is whole, and the speed not exact.
pub(crate) const fn spare(rate: usize, played: usize) -> usize {
    chunk(rate) + 2 + played / 1_500
}

/// Frames that are kept beside those: the way that the speed has to the slow side.
pub(crate) const fn target(rate: usize) -> usize {
    (rate as f64 * MAX_CHANGE * SETTLE_S) as usize
}

/// Frames that are needed to begin.
pub(crate) const fn needed(rate: usize) -> usize {
    length(rate) / 2 + 1
}

/// A resampler that is a part of a stream: it begins in its middle without a seam.
pub(crate) struct Drift {
    sinc: Async<f32>,
    rate: usize,
    channels: usize,
    chunk: usize,
    half: usize,
    speed: f64,
    /// Interleaved frames that came out and wait to be taken.
    ready: Vec<f32>,
    scratch: Vec<f32>,
}

impl Drift {
    /// Begins at frame `read` of `buffer`, interleaved, of which `spare` frames more may be taken than are played; gives
    /// the frame where it goes on reading. None where that is too few, or where too little was played before.
    pub(crate) fn begin(
        rate: usize,
        channels: usize,
        buffer: &[f32],
        read: usize,
        spare: usize,
    ) -> Option<(Self, usize)> {
        let (length, chunk) = (length(rate), chunk(rate));
        let half = length / 2;
        // The frame that comes out behind frame n of the input stands at n - 1 - half (found by trying: a tone shows a slip).
        let (until, fed) = (read + half + 1, 3 * length / chunk * chunk);
        let from = until.checked_sub(fed).filter(|_| spare > half)?;
        let parameters = SincInterpolationParameters {
            sinc_len: length,
            f_cutoff: None,
            oversampling_factor: 128,
            interpolation: SincInterpolationType::Linear,
            window: WindowFunction::BlackmanHarris2,
        };
        let sinc = Async::new_sinc(1.0, 1.0 + 2.0 * MAX_CHANGE, &parameters, chunk, channels, FixedAsync::Input)
            .expect("a ratio of 1, a chunk and a channel");
        let scratch = vec![0.0; 2 * chunk * channels];
        let mut drift = Self { sinc, rate, channels, chunk, half, speed: 1.0, ready: Vec::new(), scratch };
        for chunk in buffer[from * channels..until * channels].chunks_exact(chunk * channels) {
            drift.run(chunk);
        }
        drift.ready.clear();
        Some((drift, until))
    }

    /// Frames that wait to be taken.
    pub(crate) fn ready(&self) -> usize {
        self.ready.len() / self.channels
    }

    /// Frames by which what comes out is later, beside those that wait.
    pub(crate) const fn lookahead(&self) -> usize {
        self.half
    }

    /// Learns how many frames more than `spare` are there: kept at `target`.
    pub(crate) fn follow(&mut self, excess: usize) {
        let too_much = excess as f64 - target(self.rate) as f64;
        let wanted = 1.0 + (too_much / (self.rate as f64 * SETTLE_S)).clamp(-MAX_CHANGE, MAX_CHANGE);
        let speed = wanted.clamp(self.speed - MAX_STEP, self.speed + MAX_STEP);
        if (speed - self.speed).abs() > 1e-7
            && let Some(sinc) = self.sinc.as_adjustable()
        {
            // The ratio lies within what the filter was made for.
            let _in_range = sinc.set_resample_ratio_relative(1.0 / speed, true);
            self.speed = speed;
        }
    }

    /// Appends exactly `frames` to `out`, and gives the number of frames taken from `input`, which must hold enough.
    pub(crate) fn take(&mut self, input: &[f32], frames: usize, out: &mut Vec<f32>) -> usize {
        let mut taken = 0;
        while self.ready() < frames {
            let Some(chunk) = input.get(taken * self.channels..(taken + self.chunk) * self.channels) else { break };
            self.run(chunk);
            taken += self.chunk;
        }
        let there = self.ready().min(frames) * self.channels;
        out.extend(self.ready.drain(..there));
        // The level that is kept sees to it that this is never needed.
        out.resize(out.len() + frames * self.channels - there, 0.0);
        taken
    }

    fn run(&mut self, chunk: &[f32]) {
        let room = self.sinc.output_frames_next();
        if self.scratch.len() < room * self.channels {
            self.scratch.resize(room * self.channels, 0.0);
        }
        let frames = self.scratch.len() / self.channels;
        let input = InterleavedSlice::new(chunk, self.channels, self.chunk).expect("the chunk is whole");
        let mut output =
            InterleavedSlice::new_mut(&mut self.scratch, self.channels, frames).expect("the scratch is whole");
        let (_, given) = self
            .sinc
            .process_into_buffer(&input, &mut output, None)
            .expect("both buffers are as long as the filter asks");
        self.ready.extend_from_slice(&self.scratch[..given * self.channels]);
    }
}
