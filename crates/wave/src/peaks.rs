//! How loud a recording is where: the lowest, the highest and the power of every few milliseconds.

use vox_frame::GapReason;
use vox_media::{About, Listener};

/// Frames of a bucket at first.
const BUCKET: u64 = 256;

/// The most buckets of a track: when they are full two become one.
const MAX_BUCKETS: usize = 1 << 20;

/// The most gaps and talk spurts that are remembered.
const MAX_MARKS: usize = 100_000;

/// A few milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bucket {
    /// The lowest sample of any channel.
    pub(crate) low: f32,
    /// The highest.
    pub(crate) high: f32,
    /// The sum of the squares of all samples.
    power: f32,
    /// How many samples.
    count: u32,
}

impl Bucket {
    const EMPTY: Self = Self { low: 0.0, high: 0.0, power: 0.0, count: 0 };

    /// The root of the mean square.
    pub(crate) fn rms(&self) -> f32 {
        if self.count == 0 { 0.0 } else { (self.power / self.count as f32).sqrt() }
    }

    fn join(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        *self = if self.count == 0 {
            *other
        } else {
            Self {
                low: self.low.min(other.low),
                high: self.high.max(other.high),
                power: self.power + other.power,
                count: self.count + other.count,
            }
        };
    }
}

/// A span of a track, in frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// Where it begins.
    pub(crate) at: u64,
    /// How long it is.
    pub(crate) frames: u64,
}

/// One track.
#[derive(Debug, Clone)]
pub(crate) struct Track {
    /// What it is.
    pub(crate) about: About,
    bucket: u64,
    buckets: Vec<Bucket>,
    /// Frames up to its end.
    pub(crate) frames: u64,
    /// What is missing, apart from silence.
    pub(crate) gaps: Vec<Span>,
    talks: Vec<(u64, bool)>,
}

/// All tracks of a file.
#[derive(Debug, Default)]
pub(crate) struct Peaks {
    /// The tracks.
    pub(crate) tracks: Vec<Track>,
}

impl Listener for Peaks {
    fn track(&mut self, _: usize, about: &About) {
        self.tracks.push(Track {
            about: about.clone(),
            bucket: BUCKET,
            buckets: Vec::new(),
            frames: 0,
            gaps: Vec::new(),
            talks: Vec::new(),
        });
    }

    fn samples(&mut self, track: usize, at: u64, samples: &[f32]) {
        self.tracks[track].add(at, samples);
    }

    fn gap(&mut self, track: usize, at: u64, frames: u64, reason: GapReason) {
        let track = &mut self.tracks[track];
        track.frames = track.frames.max(at.saturating_add(frames));
        if !reason.is_silence() && track.gaps.len() < MAX_MARKS {
            match track.gaps.last_mut() {
                Some(last) if last.at + last.frames == at => last.frames += frames,
                _ => track.gaps.push(Span { at, frames }),
            }
        }
    }

    fn talk(&mut self, track: usize, at: u64, talks: bool) {
        let track = &mut self.tracks[track];
        if track.talks.len() < MAX_MARKS {
            track.talks.push((at, talks));
        }
    }
}

impl Track {
    /// How long it is, in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        self.frames as f64 / f64::from(self.about.rate.hz())
    }

    /// What lies between two frames.
    pub(crate) fn between(&self, from: u64, to: u64) -> Bucket {
        let first = usize::try_from(from / self.bucket).unwrap_or(usize::MAX);
        let last = usize::try_from(to.div_ceil(self.bucket)).unwrap_or(usize::MAX).max(first.saturating_add(1));
        let mut all = Bucket::EMPTY;
        for bucket in self.buckets.get(first..last.min(self.buckets.len())).unwrap_or_default() {
            all.join(bucket);
        }
        all
    }

    /// Where somebody talks: by the stream's events, else where it is loud.
    pub(crate) fn talk_spurts(&self) -> Vec<Span> {
        if self.talks.is_empty() { self.loud() } else { self.told() }
    }

    fn told(&self) -> Vec<Span> {
        let mut spans = Vec::new();
        let mut begun = None;
        for &(at, talks) in &self.talks {
            match (begun, talks) {
                (None, true) => begun = Some(at),
                (Some(from), false) => {
                    spans.push(Span { at: from, frames: at.saturating_sub(from) });
                    begun = None;
                }
                _ => {}
            }
        }
        spans.extend(begun.map(|from| Span { at: from, frames: self.frames.saturating_sub(from) }));
        spans
    }

    /// Where it is 12 dB above the quietest tenth, and not below -50 dB; what is quiet for less than 300 ms goes on.
    fn loud(&self) -> Vec<Span> {
        let hz = u64::from(self.about.rate.hz());
        let step = (hz / 50).max(self.bucket).max(self.frames >> 22);
        let levels: Vec<f32> =
            (0..self.frames.div_ceil(step)).map(|n| self.between(n * step, (n + 1) * step).rms()).collect();
        let mut sorted = levels.clone();
        sorted.sort_unstable_by(f32::total_cmp);
        let floor = sorted.get(sorted.len() / 10).copied().unwrap_or(0.0);
        // A recording without a pause has no floor to be above.
        let threshold = (floor * 4.0).clamp(0.003, 0.05);
        let mut spans: Vec<Span> = Vec::new();
        for (n, _) in levels.iter().enumerate().filter(|(_, level)| **level > threshold) {
            let at = n as u64 * step;
            match spans.last_mut() {
                Some(last) if at <= last.at + last.frames + hz * 3 / 10 => last.frames = at + step - last.at,
                _ => spans.push(Span { at, frames: step }),
            }
        }
        spans
    }

    fn add(&mut self, at: u64, samples: &[f32]) {
        let channels = self.about.channels.count();
        let (mut at, mut rest) = (at, samples);
        while !rest.is_empty() {
            let index = at / self.bucket;
            if index >= MAX_BUCKETS as u64 {
                self.join_pairs();
                continue;
            }
            let room = ((index + 1) * self.bucket - at) as usize;
            let (now, later) = rest.split_at((room * channels).min(rest.len()));
            if self.buckets.len() <= index as usize {
                self.buckets.resize(index as usize + 1, Bucket::EMPTY);
            }
            self.buckets[index as usize].join(&measure(now));
            at += (now.len() / channels) as u64;
            rest = later;
        }
        self.frames = self.frames.max(at);
    }

    fn join_pairs(&mut self) {
        self.bucket *= 2;
        let joined = self.buckets.chunks(2).map(|pair| {
            let mut first = pair[0];
            pair[1..].iter().for_each(|second| first.join(second));
            first
        });
        self.buckets = joined.collect();
    }
}

/// Eight at a time, so that the compiler uses its wide registers.
fn measure(samples: &[f32]) -> Bucket {
    const WIDE: usize = 8;
    let (mut low, mut high, mut power) = ([f32::MAX; WIDE], [f32::MIN; WIDE], [0.0_f32; WIDE]);
    let (wide, rest) = samples.as_chunks::<WIDE>();
    for part in wide {
        for lane in 0..WIDE {
            let sample = part[lane];
            low[lane] = if sample < low[lane] { sample } else { low[lane] };
            high[lane] = if sample > high[lane] { sample } else { high[lane] };
            power[lane] += sample * sample;
        }
    }
    for (lane, &sample) in rest.iter().enumerate() {
        low[lane] = low[lane].min(sample);
        high[lane] = high[lane].max(sample);
        power[lane] += sample * sample;
    }
    Bucket {
        low: low.into_iter().fold(f32::MAX, f32::min),
        high: high.into_iter().fold(f32::MIN, f32::max),
        power: power.into_iter().sum(),
        count: samples.len() as u32,
    }
}

#[cfg(test)]
mod tests {
    use vox_frame::{Channels, Rate};

    use super::*;

    fn about() -> About {
        About { label: None, rate: Rate::HZ_8000, channels: Channels::MONO, codec: "pcm".to_owned() }
    }

    #[test]
    fn what_was_loud_is_found_at_any_length() {
        let mut peaks = Peaks::default();
        peaks.track(0, &about());
        let mut at = 0;
        // More than the buckets hold at first.
        while at < BUCKET * (MAX_BUCKETS as u64 + 10) {
            let level = if at == 8_192_000 { 0.5 } else { 0.01 };
            peaks.samples(0, at, &[level, -level]);
            at += 4_096;
        }
        let track = &peaks.tracks[0];
        assert_eq!(track.between(8_192_000, 8_192_002).high, 0.5);
        assert_eq!(track.between(8_200_000, 9_000_000).low, -0.01);
    }

    #[test]
    fn talk_is_where_it_is_loud_and_short_pauses_belong_to_it() {
        let mut peaks = Peaks::default();
        peaks.track(0, &about());
        for n in 0..100_u64 {
            let level = if (20..40).contains(&n) || (45..60).contains(&n) { 0.3 } else { 0.001 };
            peaks.samples(0, n * 400, &[level; 400]);
        }
        let spurts = peaks.tracks[0].talk_spurts();
        assert_eq!(spurts.len(), 1);
        assert!(spurts[0].at.abs_diff(8_000) <= 256 && spurts[0].frames.abs_diff(16_000) <= 512, "{spurts:?}");
    }
}
