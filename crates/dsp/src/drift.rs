//! Plays a stream a little faster or slower, so that its reservoir stays where it is.

use crate::filter::{Filter, is_low, length};
use crate::splice;

/// Farthest from 1 that the speed may be: a pitch that nobody hears (0.06 %), and twice what cheap crystals drift.
const MAX_CHANGE: f64 = 600e-6;

/// The most that the speed may change from one frame to the next.
const MAX_STEP: f64 = 60e-6;

/// In that many seconds what is too much would be gone.
const SETTLE_S: f64 = 1.5;

/// Frames that the filter takes at a time: at low rates fewer, as each is longer.
const fn chunk(rate: usize) -> usize {
    if is_low(rate) { 8 } else { 24 }
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

/// How one sound becomes the other at a seam.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fade {
    pub(crate) frames: usize,
    /// How alike the two are.
    pub(crate) likeness: f32,
}

/// A resampler that is a part of a stream: it begins in its middle without a seam.
pub(crate) struct Drift {
    filter: Filter,
    rate: usize,
    channels: usize,
    chunk: usize,
    half: usize,
    speed: f64,
    /// Interleaved frames that came out and wait to be taken.
    ready: Vec<f32>,
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
        // What comes out next lies half a filter behind the end of what was fed.
        let (until, fed) = (read + half, 3 * length / chunk * chunk);
        let from = until.checked_sub(fed).filter(|_| spare > half)?;
        let filter = Filter::new(rate, channels);
        let mut drift = Self { filter, rate, channels, chunk, half, speed: 1.0, ready: Vec::new() };
        for chunk in buffer[from * channels..until * channels].chunks_exact(chunk * channels) {
            drift.run(chunk);
        }
        drift.ready.clear();
        Some((drift, until))
    }

    /// Both of two channels hold what one did.
    pub(crate) fn widen(&mut self) {
        self.channels = 2;
        self.ready = self.ready.iter().flat_map(|&sample| [sample; 2]).collect();
        self.filter.widen();
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
        self.speed = wanted.clamp(self.speed - MAX_STEP, self.speed + MAX_STEP);
    }

    /// Appends exactly `frames` to `out`, and gives the number of frames taken from `input`, which must hold enough.
    pub(crate) fn take(&mut self, input: &[f32], frames: usize, out: &mut Vec<f32>) -> usize {
        let mut taken = 0;
        while self.ready() < frames {
            let most = self.chunks_before(frames - self.ready()) * self.chunk;
            let there = (input.len() / self.channels - taken) / self.chunk * self.chunk;
            let fed = most.min(there);
            if fed == 0 {
                break;
            }
            self.run(&input[taken * self.channels..(taken + fed) * self.channels]);
            taken += fed;
        }
        let there = self.ready().min(frames) * self.channels;
        out.extend(self.ready.drain(..there));
        // The level that is kept sees to it that this is never needed.
        out.resize(out.len() + frames * self.channels - there, 0.0);
        taken
    }

    /// Goes on elsewhere in `buffer`: what comes from frame `here` on fades within `fade` frames into what comes from frame
    /// `there` and `offset` parts of a frame on. Gives the frame where it goes on reading.
    pub(crate) fn jump(&mut self, buffer: &[f32], (here, there): (usize, usize), offset: f64, fade: Fade) -> usize {
        let from = |frame: usize| &buffer[frame * self.channels..(frame + fade.frames) * self.channels];
        let (mut old, mut new) = (Vec::new(), Vec::new());
        let mark = self.filter.mark();
        self.filter.process(from(here), self.speed, &mut old);
        self.filter.go_on(mark, &buffer[..there * self.channels], offset);
        self.filter.process(from(there), self.speed, &mut new);
        let both = old.len().min(new.len());
        splice::crossfade(&old[..both], &mut new, self.channels, fade.likeness);
        self.ready.append(&mut new);
        there + fade.frames
    }

    /// Chunks of which all but the last give fewer than `missing` frames for sure, at any speed.
    const fn chunks_before(&self, missing: usize) -> usize {
        (missing - missing / 1_000).saturating_sub(2) / self.chunk + 1
    }

    fn run(&mut self, chunks: &[f32]) {
        self.filter.process(chunks, self.speed, &mut self.ready);
    }
}
