//! Frames into their slots: every frame of a stream becomes exactly as long as the playout timeline has room for.
//!
//! Tiny differences (the drift of a clock) are resampled away. Larger ones (a change of delay) leave out or repeat whole
//! periods of the sound, so that its pitch stays. Between the two lies a reservoir of a few ms: as long as every slot is
//! as long as its frame there is none, and samples pass through untouched.

use vox_frame::{Channels, Rate};

use crate::drift::{self, Drift, Fade};
use crate::seams::{LEAST_US, MOST_US, Surroundings, WINDOW_US};
use crate::splice::{self, Jump, Seam};

/// How long one sound fades into the other, in us.
const FADE_US: usize = 6_000;

/// Silence is shortened from this much on, in us.
const SILENT_US: usize = 1_000;

/// A reservoir of more than this is emptied in leaps, in us.
const LEAP_US: usize = 60_000;

/// How alike the two sides of a seam must be, by how much waits to be left out, in us: the more it is, the less choice.
const DEMANDS: [(usize, f32); 4] = [(2_500, 0.99), (6_000, 0.9), (10_000, 0.6), (16_000, -1.0)];

/// What is kept of what was played, in us: what can be repeated.
const HISTORY_US: usize = 70_000;

/// Fits the frames of one stream into slots.
pub struct Fit {
    rate: usize,
    channels: usize,
    /// Interleaved: what was played, then what waits.
    buffer: Vec<f32>,
    /// The next frame to be played.
    read: usize,
    /// Follows drift; none before anything differed from its slot.
    drift: Option<Drift>,
    mono: Vec<f32>,
    stats: FitStats,
}

/// What fitting did, in frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FitStats {
    /// Frames that were repeated.
    pub inserted: u64,
    /// Frames that were left out.
    pub removed: u64,
    /// How often something was repeated or left out.
    pub seams: u64,
}

impl Fit {
    /// For streams of that rate and channels.
    pub fn new(rate: Rate, channels: Channels) -> Self {
        Self {
            rate: rate.hz() as usize,
            channels: channels.count(),
            buffer: Vec::new(),
            read: 0,
            drift: None,
            mono: Vec::new(),
            stats: FitStats::default(),
        }
    }

    /// Both of two channels hold what one did; they may differ from now on.
    pub fn widen(&mut self) {
        assert_eq!(self.channels, 1, "one channel becomes two");
        self.channels = 2;
        self.buffer = self.buffer.iter().flat_map(|&sample| [sample; 2]).collect();
        if let Some(drift) = &mut self.drift {
            drift.widen();
        }
    }

    /// What was done so far.
    pub const fn stats(&self) -> FitStats {
        self.stats
    }

    /// By how many frames what comes out is later than what went in: 0 until something differs from its slot.
    pub fn delay(&self) -> usize {
        self.level() + self.drift.as_ref().map_or(0, Drift::lookahead)
    }

    /// Takes a frame of any length and appends exactly `wanted` frames to `out`.
    pub fn process(&mut self, samples: &[f32], wanted: usize, out: &mut Vec<f32>) {
        let frames = samples.len() / self.channels;
        self.remember(samples);
        if self.drift.is_none() && wanted == frames && self.level() == frames {
            out.extend_from_slice(samples);
            self.read += frames;
            return;
        }
        let mut left = wanted;
        while left > 0 {
            let run = self.plan(left);
            self.play(run, out);
            left -= run;
        }
        if wanted == 0 {
            self.shrink(0);
        }
    }

    /// Frames that wait to be played.
    fn level(&self) -> usize {
        self.buffer.len() / self.channels - self.read + self.drift.as_ref().map_or(0, Drift::ready)
    }

    /// Sees to it that the next frames can be played, and says how many of `wanted`.
    fn plan(&mut self, wanted: usize) -> usize {
        self.engage(self.level().saturating_sub(wanted + drift::spare(self.rate, wanted)));
        if self.level() < wanted {
            // Something will be repeated: what the filter takes ahead of what is played as well.
            self.engage(self.waiting());
        }
        let needed = wanted + self.spare(wanted);
        let level = self.level();
        if level < needed {
            return self.stretch(needed - level, wanted);
        }
        self.shrink(wanted);
        let excess = self.level() - needed;
        if let Some(drift) = &mut self.drift {
            drift.follow(excess);
        }
        wanted
    }

    /// Frames that must stay in the reservoir while `wanted` are played.
    const fn spare(&self, wanted: usize) -> usize {
        if self.drift.is_some() { drift::spare(self.rate, wanted) } else { 0 }
    }

    /// Repeats something, as `missing` frames are needed; says how many of `wanted` can be played then.
    fn stretch(&mut self, missing: usize, wanted: usize) -> usize {
        let before = self.frames(WINDOW_US).min(self.read);
        let after = self.waiting().min(self.frames(WINDOW_US));
        // Wide enough to hold a whole number of periods, whatever the pitch.
        let least = self.frames(LEAST_US).max(missing.min(self.frames(MOST_US) / 2));
        let most = self.frames(MOST_US).min(self.read - before);
        self.downmix();
        let found = self.surroundings().back(after, least.min(most)..=most);
        let Some(seam) = found.filter(|seam| seam.lag > self.spare(wanted)) else {
            // Nothing was played that could be repeated.
            self.silence(missing);
            return wanted;
        };
        self.jump_back(seam);
        if seam.lag >= missing {
            return wanted;
        }
        // The piece is played, then something is repeated again: with what is left of the piece to fade from.
        let reach = self.level() - self.spare(wanted);
        (reach - self.frames(FADE_US).min(reach / 2)).min(wanted)
    }

    /// Leaves something out where there is too much, behind which `wanted` frames can still be played.
    fn shrink(&mut self, wanted: usize) {
        loop {
            let spare = self.level().saturating_sub(wanted + self.reservoir(wanted));
            // A seam needs sound on both of its sides.
            let after = self.frames(WINDOW_US);
            let reach = self.waiting().saturating_sub(after).min(spare);
            if reach < self.frames(SILENT_US) {
                return;
            }
            self.downmix();
            let leaps = spare > self.frames(LEAP_US);
            let found = if leaps {
                self.surroundings().one(Jump::Ahead, after, reach * 3 / 4..=reach)
            } else {
                let least = self.frames(LEAST_US).min(reach);
                self.surroundings().ahead(least, reach, demand(spare * 1_000_000 / self.rate))
            };
            let Some(seam) = found else { return };
            self.jump_ahead(seam);
            if !leaps {
                return;
            }
        }
    }

    fn surroundings(&self) -> Surroundings<'_> {
        let mono = if self.channels == 1 { &self.buffer } else { &self.mono };
        Surroundings { mono, rate: self.rate, at: self.read }
    }

    /// Frames that are kept beside those that are played, once anything differed from its slot.
    const fn reservoir(&self, wanted: usize) -> usize {
        let begin = if self.drift.is_some() { 0 } else { drift::needed(self.rate) };
        drift::spare(self.rate, wanted) + drift::target(self.rate) + begin
    }

    /// Goes on `lag` frames earlier.
    fn jump_back(&mut self, seam: Seam) {
        let (here, there) = (self.read, self.read - seam.lag);
        let fade = self.waiting().min(self.frames(FADE_US)).min(seam.lag);
        self.stats.inserted += seam.lag as u64;
        self.stats.seams += 1;
        if fade == 0 {
            self.join(here, there);
        } else if let Some(drift) = &mut self.drift {
            let fade = Fade { frames: fade, likeness: seam.likeness };
            self.read = drift.jump(&self.buffer, (here, there), -f64::from(seam.part), fade);
            return;
        } else {
            let (past, future) = self.buffer.split_at_mut(here * self.channels);
            let to = &mut past[there * self.channels..];
            splice::crossfade(&future[..fade * self.channels], to, self.channels, seam.likeness);
        }
        self.read = there;
    }

    /// Goes on `lag` frames later.
    fn jump_ahead(&mut self, seam: Seam) {
        let fade = (self.waiting() - seam.lag).min(self.frames(FADE_US)).min(seam.lag);
        self.stats.removed += seam.lag as u64;
        self.stats.seams += 1;
        if let Some(drift) = &mut self.drift {
            let (here, there) = (self.read, self.read + seam.lag);
            let fade = Fade { frames: fade, likeness: seam.likeness };
            self.read = drift.jump(&self.buffer, (here, there), f64::from(seam.part), fade);
            return;
        }
        let (here, there) = (self.read * self.channels, (self.read + seam.lag) * self.channels);
        let (past, future) = self.buffer.split_at_mut(there);
        splice::crossfade(&past[here..here + fade * self.channels], future, self.channels, seam.likeness);
        self.read += seam.lag;
    }

    /// Puts silence into the reservoir.
    fn silence(&mut self, frames: usize) {
        let at = self.read * self.channels;
        self.buffer.splice(at..at, std::iter::repeat_n(0.0, frames * self.channels));
        self.stats.inserted += frames as u64;
    }

    /// Plays `frames` that are there.
    fn play(&mut self, frames: usize, out: &mut Vec<f32>) {
        match &mut self.drift {
            None => {
                let (from, to) = (self.read * self.channels, (self.read + frames) * self.channels);
                out.extend_from_slice(&self.buffer[from..to]);
                self.read += frames;
            }
            Some(drift) => {
                self.read += drift.take(&self.buffer[self.read * self.channels..], frames, out);
            }
        }
    }

    /// Begins to follow drift, where `spare` frames are enough for its filter.
    fn engage(&mut self, spare: usize) {
        if self.drift.is_some() {
            return;
        }
        if let Some((drift, read)) = Drift::begin(self.rate, self.channels, &self.buffer, self.read, spare) {
            self.drift = Some(drift);
            self.read = read;
        }
    }

    /// Takes in what comes next, and forgets what was played long ago.
    fn remember(&mut self, samples: &[f32]) {
        let keep = self.frames(HISTORY_US);
        if self.read > 3 * keep {
            self.buffer.drain(..(self.read - keep) * self.channels);
            self.read = keep;
        }
        self.buffer.extend_from_slice(samples);
    }

    /// Frames in the buffer that wait.
    fn waiting(&self) -> usize {
        self.buffer.len() / self.channels - self.read
    }

    /// Mixes the buffer to mono, to be compared.
    fn downmix(&mut self) {
        if self.channels > 1 {
            self.mono.clear();
            self.mono.extend(self.buffer.chunks_exact(self.channels).map(|frame| frame.iter().sum::<f32>()));
        }
    }

    const fn frames(&self, us: usize) -> usize {
        self.rate * us / 1_000_000
    }

    /// Takes the step out of a seam without anything to fade from: the sound at `there` begins where the one before
    /// `here` left off, and comes back to itself within 2.5 ms.
    fn join(&mut self, here: usize, there: usize) {
        let frames = self.frames(LEAST_US).min(here - there).max(1);
        for channel in 0..self.channels {
            let at = |frame: usize| frame * self.channels + channel;
            let (Some(last), Some(before)) = (here.checked_sub(1), there.checked_sub(1)) else { return };
            let step = self.buffer[at(last)] - self.buffer[at(before)];
            for frame in 0..frames {
                self.buffer[at(there + frame)] += step * (1.0 - frame as f32 / frames as f32);
            }
        }
    }
}

/// How alike the sides of a seam must be while `us` wait to be left out.
fn demand(us: usize) -> f32 {
    let (mut from, mut demand) = DEMANDS[0];
    for (to, then) in DEMANDS {
        if us < to {
            let share = us.saturating_sub(from) as f32 / (to - from).max(1) as f32;
            return demand + (then - demand) * share;
        }
        (from, demand) = (to, then);
    }
    demand
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_waits_the_less_is_demanded() {
        assert_eq!(
            [0, 2_500, 8_000, 16_000, 99_000].map(|us| (demand(us) * 100.0).round()),
            [99.0, 99.0, 75.0, -100.0, -100.0]
        );
    }
}
