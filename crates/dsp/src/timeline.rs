//! Several streams on one timeline: each is resampled and remixed to the output, put at its place, and summed.

use std::collections::{BTreeMap, VecDeque};

use vox_frame::{Channels, Rate, StreamId};

use crate::{Remix, Resampler};

/// The sum of streams, in frames of the output rate counted from the timeline's origin.
///
/// What has been [taken](Self::take) is gone: samples that come for it later are handed to whoever pushed them, as
/// [`Late`], because only the sink knows whether it can still mix them in (a file) or not (a loudspeaker).
pub struct Timeline {
    rate: Rate,
    tracks: BTreeMap<StreamId, Track>,
    mix: Mix,
    remixed: Vec<f32>,
    resampled: Vec<f32>,
}

/// What the streams add up to.
struct Mix {
    channels: Channels,
    /// Frame at which what is held begins.
    head: i64,
    held: VecDeque<f32>,
    /// The frame behind the last one that was ever filled.
    end: i64,
}

impl Track {
    /// Where the next sample that comes in will go, when those before it have come out.
    fn logical(&self, position: i64) -> i64 {
        position.saturating_add(self.resampler.pending()).saturating_sub_unsigned(self.skip)
    }
}

/// Samples that came for a part of the timeline that has been taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Late<'a> {
    /// Frame of the first sample.
    pub frame: i64,
    /// Interleaved samples in the channels of the output.
    pub samples: &'a [f32],
    /// How many frames they are.
    pub frames: u64,
}

struct Track {
    from: Rate,
    channels: Channels,
    remix: Remix,
    resampler: Resampler,
    /// Frame at which its next sample goes; none before it was placed.
    position: Option<i64>,
    /// Frames of what comes next that are dropped, to catch up.
    skip: u64,
}

impl Timeline {
    /// An empty timeline whose output has that rate and those channels.
    pub fn new(rate: Rate, channels: Channels) -> Self {
        Self {
            rate,
            tracks: BTreeMap::new(),
            mix: Mix { channels, head: 0, held: VecDeque::new(), end: 0 },
            remixed: Vec::new(),
            resampled: Vec::new(),
        }
    }

    /// The rate of the output.
    pub const fn rate(&self) -> Rate {
        self.rate
    }

    /// The channels of the output.
    pub const fn channels(&self) -> Channels {
        self.mix.channels
    }

    /// Begins a stream; one of that id that is there is forgotten.
    pub fn open(&mut self, id: StreamId, rate: Rate, channels: Channels) {
        let track = Track {
            from: rate,
            channels,
            remix: Remix::new(channels, self.mix.channels),
            resampler: Resampler::new(rate, self.rate, self.mix.channels),
            position: None,
            skip: 0,
        };
        self.tracks.insert(id, track);
    }

    /// Whether the stream has been placed.
    pub fn is_placed(&self, id: StreamId) -> bool {
        self.tracks.get(&id).is_some_and(|track| track.position.is_some())
    }

    /// The frame at which the next sample of the stream goes, counting what is still in its resampler and what is
    /// still to be dropped.
    pub fn position(&self, id: StreamId) -> Option<i64> {
        let track = self.tracks.get(&id)?;
        Some(track.logical(track.position?))
    }

    /// Moves the place of the stream's next sample: forward leaves silence, backward drops what comes next, so that
    /// nothing of one stream ever lies over itself.
    pub fn place(&mut self, id: StreamId, frame: i64) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        let Some(position) = track.position else {
            track.position = Some(frame);
            return;
        };
        let moved = frame.saturating_sub(track.logical(position));
        if moved < 0 {
            track.skip = track.skip.saturating_add(moved.unsigned_abs());
            return;
        }
        let kept = track.skip.min(moved.unsigned_abs());
        track.skip -= kept;
        let position = position.saturating_add(moved - kept as i64);
        track.position = Some(position);
        self.mix.end = self.mix.end.max(position);
    }

    /// Adds interleaved samples of the stream at its rate, behind those before; what comes too late goes to `late`.
    /// Does nothing for a stream that was not placed.
    pub fn push(&mut self, id: StreamId, samples: &[f32], late: impl FnMut(Late<'_>)) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        // Most streams have the output's rate and channels: what they bring is copied once.
        let mut remixed = samples;
        if !track.remix.is_identity() {
            self.remixed.clear();
            track.remix.process(samples, &mut self.remixed);
            remixed = &self.remixed;
        }
        let mut resampled = remixed;
        if !track.resampler.is_identity() {
            self.resampled.clear();
            track.resampler.process(remixed, &mut self.resampled);
            resampled = &self.resampled;
        }
        self.mix.add(track, resampled, late);
    }

    /// Adds silence of that many frames at the stream's rate.
    pub fn push_silence(&mut self, id: StreamId, frames: u64, mut late: impl FnMut(Late<'_>)) {
        /// Frames that are worth resampling, so that a short gap keeps the resampler's phase.
        const SHORT: u64 = 9_600;
        let Some(track) = self.tracks.get(&id) else { return };
        let (count, from) = (track.channels.count(), track.from);
        let short = if track.resampler.is_identity() { 0 } else { frames.min(SHORT) };
        if short > 0 {
            self.push(id, &vec![0.0; short as usize * count], &mut late);
        }
        let far = i64::try_from(from.convert(frames - short, self.rate)).unwrap_or(i64::MAX);
        let to = self.position(id).map(|position| position.saturating_add(far));
        if let Some(to) = to.filter(|_| far > 0) {
            self.place(id, to);
        }
    }

    /// Ends the stream: what its resampler still holds is added.
    pub fn close(&mut self, id: StreamId, late: impl FnMut(Late<'_>)) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        self.resampled.clear();
        track.resampler.finish(&mut self.resampled);
        self.mix.add(track, &self.resampled, late);
        self.tracks.remove(&id);
    }

    /// The frame up to which every stream that was placed has been filled; none while no stream is placed.
    pub fn complete(&self) -> Option<i64> {
        self.tracks.values().filter_map(|track| track.position).min()
    }

    /// As [`complete`](Self::complete), but streams that have not come as far as `frame` are not waited for.
    pub fn complete_from(&self, frame: i64) -> Option<i64> {
        self.tracks.values().filter_map(|track| track.position).filter(|&position| position > frame).min()
    }

    /// Whether no stream is open.
    pub fn is_empty(&self) -> bool {
        self.tracks.is_empty()
    }

    /// The frame behind the last one that was ever filled.
    pub const fn end(&self) -> i64 {
        self.mix.end
    }

    /// The frame at which [`take`](Self::take) goes on.
    pub const fn head(&self) -> i64 {
        self.mix.head
    }

    /// Frames that are held.
    pub fn held(&self) -> usize {
        self.mix.held.len() / self.mix.channels.count()
    }

    /// Appends the sum up to `frame` to `out`; where nothing was placed there is silence.
    pub fn take(&mut self, frame: i64, out: &mut Vec<f32>) {
        let wanted = usize::try_from(frame - self.mix.head).unwrap_or(0) * self.mix.channels.count();
        let there = wanted.min(self.mix.held.len());
        let (first, second) = self.mix.held.as_slices();
        let of_first = there.min(first.len());
        out.extend_from_slice(&first[..of_first]);
        out.extend_from_slice(&second[..there - of_first]);
        self.mix.held.drain(..there);
        out.resize(out.len() + wanted - there, 0.0);
        self.mix.head = self.mix.head.max(frame);
    }

    /// Moves the point at which [`take`](Self::take) goes on to `frame`; what was held before it is dropped. Gives the
    /// number of frames dropped that held something.
    pub fn skip_to(&mut self, frame: i64) -> u64 {
        let wanted = usize::try_from(frame - self.mix.head).unwrap_or(0) * self.mix.channels.count();
        let there = wanted.min(self.mix.held.len());
        self.mix.held.drain(..there);
        self.mix.head = self.mix.head.max(frame);
        (there / self.mix.channels.count()) as u64
    }
}

impl Mix {
    /// Adds samples at the place of the stream.
    fn add(&mut self, track: &mut Track, samples: &[f32], mut late: impl FnMut(Late<'_>)) {
        let count = self.channels.count();
        let Some(position) = track.position else { return };
        let frames = (samples.len() / count) as u64;
        let skipped = track.skip.min(frames);
        track.skip -= skipped;
        let samples = &samples[skipped as usize * count..];
        let frames = (frames - skipped) as i64;
        track.position = Some(position + frames);
        self.end = self.end.max(position + frames);
        let behind = (self.head - position).clamp(0, frames);
        let (past, samples) = samples.split_at(behind as usize * count);
        if !past.is_empty() {
            late(Late { frame: position, samples: past, frames: behind.unsigned_abs() });
        }
        if samples.is_empty() {
            return;
        }
        let at = (position + behind - self.head) as usize * count;
        if self.held.len() < at {
            self.held.resize(at, 0.0);
        }
        let (shared, alone) = samples.split_at((self.held.len() - at).min(samples.len()));
        for (sum, sample) in self.held.range_mut(at..at + shared.len()).zip(shared) {
            *sum += sample;
        }
        self.held.extend(alone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: StreamId = StreamId(1);
    const B: StreamId = StreamId(2);

    fn timeline() -> Timeline {
        Timeline::new(Rate::HZ_8000, Channels::MONO)
    }

    fn never(late: Late<'_>) {
        panic!("{} samples late", late.samples.len());
    }

    fn take(timeline: &mut Timeline, frame: i64) -> Vec<f32> {
        let mut out = Vec::new();
        timeline.take(frame, &mut out);
        out
    }

    #[test]
    fn streams_are_summed_where_they_lie() {
        let mut timeline = timeline();
        for (id, at) in [(A, 0), (B, 2)] {
            timeline.open(id, Rate::HZ_8000, Channels::MONO);
            timeline.place(id, at);
        }
        timeline.push(A, &[0.25; 4], never);
        timeline.push(B, &[0.5; 4], never);
        assert_eq!(timeline.complete(), Some(4));
        assert_eq!(timeline.end(), 6);
        assert_eq!(take(&mut timeline, 6), [0.25, 0.25, 0.75, 0.75, 0.5, 0.5]);
    }

    #[test]
    fn where_nothing_was_placed_there_is_silence() {
        let mut timeline = timeline();
        timeline.open(A, Rate::HZ_8000, Channels::MONO);
        timeline.place(A, 2);
        timeline.push(A, &[0.5], never);
        assert_eq!(take(&mut timeline, 5), [0.0, 0.0, 0.5, 0.0, 0.0]);
    }

    #[test]
    fn samples_for_what_was_taken_are_late_and_the_rest_is_mixed() {
        let mut timeline = timeline();
        assert_eq!(take(&mut timeline, 3), [0.0; 3]);
        timeline.open(A, Rate::HZ_8000, Channels::MONO);
        timeline.place(A, 1);
        let mut late = Vec::new();
        timeline.push(A, &[0.1, 0.2, 0.3], |part| late.push((part.frame, part.samples.to_vec())));
        assert_eq!(late, [(1, vec![0.1, 0.2])]);
        assert_eq!(take(&mut timeline, 4), [0.3]);
    }

    #[test]
    fn a_stream_that_is_moved_back_drops_instead_of_lying_over_itself() {
        let mut timeline = timeline();
        timeline.open(A, Rate::HZ_8000, Channels::MONO);
        timeline.place(A, 0);
        timeline.push(A, &[0.1; 4], never);
        timeline.place(A, 2);
        assert_eq!(timeline.position(A), Some(2));
        timeline.push(A, &[0.7, 0.8, 0.9], never);
        assert_eq!(take(&mut timeline, 5), [0.1, 0.1, 0.1, 0.1, 0.9]);
    }

    #[test]
    fn rates_and_channels_become_those_of_the_output() {
        let mut timeline = Timeline::new(Rate::HZ_48000, Channels::STEREO);
        timeline.open(A, Rate::HZ_8000, Channels::MONO);
        timeline.place(A, 0);
        timeline.push(A, &[0.5; 800], never);
        timeline.close(A, never);
        assert!(timeline.is_empty());
        assert_eq!(timeline.end(), 4_800);
        let out = take(&mut timeline, 4_800);
        assert!((out[4_000] - 0.5).abs() < 1e-3 && out[4_000] == out[4_001]);
    }

    #[test]
    fn silence_moves_a_stream_on_exactly_also_through_a_resampler() {
        for (hz, frames) in [(8_000, 12_345), (44_100, 441), (44_100, 44_100 * 100)] {
            let mut timeline = timeline();
            timeline.open(A, Rate::new(hz).unwrap(), Channels::STEREO);
            timeline.place(A, 0);
            timeline.push_silence(A, frames, never);
            assert!(timeline.held() <= 4_000, "long silence holds no memory");
            let complete = timeline.complete().unwrap();
            timeline.skip_to(complete);
            timeline.close(A, never);
            let expected = Rate::new(hz).unwrap().convert(frames, Rate::HZ_8000) as i64;
            assert!((timeline.end() - expected).abs() <= 1, "{} for {expected}", timeline.end());
        }
    }

    #[test]
    fn a_stream_that_fell_behind_is_not_waited_for() {
        let mut timeline = timeline();
        for (id, frames) in [(A, 4), (B, 2)] {
            timeline.open(id, Rate::HZ_8000, Channels::MONO);
            timeline.place(id, 0);
            timeline.push(id, &vec![0.5; frames], never);
        }
        assert_eq!(timeline.complete_from(1), Some(2));
        assert_eq!(timeline.complete_from(2), Some(4));
        assert_eq!(timeline.complete_from(4), None);
    }

    #[test]
    fn skipping_drops_what_was_held() {
        let mut timeline = timeline();
        timeline.open(A, Rate::HZ_8000, Channels::MONO);
        timeline.place(A, 0);
        timeline.push(A, &[0.1, 0.2, 0.3], never);
        assert_eq!(timeline.skip_to(2), 2);
        assert_eq!(take(&mut timeline, 4), [0.3, 0.0]);
    }
}
