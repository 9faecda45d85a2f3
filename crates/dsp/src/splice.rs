//! Leaving out and repeating pieces of sound where it resembles itself, so that nobody hears the seam.

use core::ops::RangeInclusive;
use std::borrow::Cow;

/// Up to how many frames a second every frame is looked at; of higher rates every second, third, … is, at first.
const COARSE_RATE: usize = 8_000;

/// Peaks of the coarse search that are looked at closely.
const CANDIDATES: usize = 4;

/// By how much less alike than at its best a sound may be at the coarse search's nearest lag.
const COARSE_MISSES: f32 = 0.2;

/// Mean power below which there is nothing to hear (-66 dB against full scale).
const SILENCE: f32 = 2.5e-7;

/// Where to go on reading.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Seam {
    /// Frames between here and there.
    pub(crate) lag: usize,
    /// Parts of a frame that are more between them: what is a whole number of periods is seldom one of frames.
    pub(crate) part: f32,
    /// How alike here and there are: 1 the same, 0 nothing in common, below that the opposite.
    pub(crate) likeness: f32,
}

/// Which way to jump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Jump {
    /// Leaves something out.
    Ahead,
    /// Repeats something.
    Back,
}

/// Finds the lag within `lags` at which the sound around `at`, `before` and `after` frames of it, is most like itself, and as
/// much as `demand` at least. What `at ± lag` reaches must lie within `mono`.
pub(crate) fn find(
    mono: &[f32],
    rate: usize,
    at: usize,
    (before, after): (usize, usize),
    jump: Jump,
    lags: RangeInclusive<usize>,
    demand: f32,
) -> Option<Seam> {
    let (least, most) = (*lags.start(), *lags.end());
    if least > most || before > at || at + after > mono.len() {
        return None;
    }
    let most = match jump {
        Jump::Ahead => most.min(mono.len() - at - after),
        Jump::Back => most.min(at - before),
    };
    if least > most {
        return None;
    }
    let (from, length) = (at - before, before + after);
    let farthest = match jump {
        Jump::Ahead => from + most,
        Jump::Back => from - most,
    };
    if power(&mono[from..from + length]) < SILENCE && power(&mono[farthest..farthest + length]) < SILENCE {
        return Some(Seam { lag: most, part: 0.0, likeness: 1.0 });
    }
    let step = (rate / COARSE_RATE).max(1);
    let coarse = likenesses(mono, (from, length), jump, least..=most, step);
    if coarse.iter().all(|likeness| *likeness < demand - COARSE_MISSES) {
        return None;
    }
    let mut best: Option<Seam> = None;
    for peak in peaks(&coarse) {
        let around = least + peak * step;
        let (first, last) = (around.saturating_sub(step - 1).max(least), (around + step - 1).min(most));
        let fine = likenesses(mono, (from, length), jump, first..=last, 1);
        for (lag, likeness) in (first..).zip(fine) {
            if best.is_none_or(|best| likeness > best.likeness) {
                best = Some(Seam { lag, part: 0.0, likeness });
            }
        }
    }
    let reach = match jump {
        Jump::Ahead => mono.len() - at - after,
        Jump::Back => at - before,
    };
    let best = best.map(|seam| {
        if seam.lag == 0 || seam.lag >= reach {
            return seam;
        }
        let around = likenesses(mono, (from, length), jump, seam.lag - 1..=seam.lag + 1, 1);
        refine(seam, around[0], around[2])
    });
    best.filter(|seam| seam.likeness >= demand)
}

/// Finds the top between frames: of the cosine through the likeness at a peak and at those `before` and `behind` it.
fn refine(seam: Seam, before: f32, behind: f32) -> Seam {
    let top = seam.likeness;
    if top < 0.5 || top < before || top < behind || before + behind <= -2.0 * top {
        return seam;
    }
    let turn = ((before + behind) / (2.0 * top)).min(1.0).acos();
    if turn < 1e-4 {
        return seam;
    }
    let phase = ((behind - before) / (2.0 * top * turn.sin())).atan();
    Seam { part: (phase / turn).clamp(-1.0, 1.0), likeness: (top / phase.cos()).min(1.0), ..seam }
}

/// The highest peaks, as indices, at most [`CANDIDATES`].
fn peaks(values: &[f32]) -> Vec<usize> {
    let value = |index: usize| values.get(index).copied().unwrap_or(f32::MIN);
    let mut peaks: Vec<usize> = (0..values.len())
        .filter(|&index| (index == 0 || value(index - 1) <= value(index)) && value(index + 1) <= value(index))
        .collect();
    peaks.sort_by(|&a, &b| value(b).total_cmp(&value(a)));
    peaks.truncate(CANDIDATES);
    peaks
}

/// How alike `length` frames from `from` on are to those at every `step`-th lag, by every `step`-th frame: twice the product
/// over the powers, 1 where both are the same, less where one is louder.
fn likenesses(
    mono: &[f32],
    (from, length): (usize, usize),
    jump: Jump,
    lags: RangeInclusive<usize>,
    step: usize,
) -> Vec<f32> {
    let thinned = |from: usize, count: usize| match step {
        1 => Cow::Borrowed(&mono[from..from + count]),
        _ => (0..count).map(|index| mono[from + index * step]).collect(),
    };
    let (count, tried) = (length / step, (lags.end() - lags.start()) / step + 1);
    let here = thinned(from, count);
    // What lies at all lags, side by side.
    let there = match jump {
        Jump::Ahead => thinned(from + lags.start(), count + tried - 1),
        Jump::Back => thinned(from - lags.start() - (tried - 1) * step, count + tried - 1),
    };
    let [own, mut power] = [&here, &there].map(|sound| f64::from(product(&sound[..count], &sound[..count])));
    let mut likenesses: Vec<f32> = (0..tried)
        .map(|from| {
            let alike = 2.0 * product(&here, &there[from..from + count]) / ((own + power) as f32 + 1e-9);
            if let (Some(next), Some(last)) = (there.get(from + count), there.get(from)) {
                power = (power + f64::from(next * next) - f64::from(last * last)).max(0.0);
            }
            alike
        })
        .collect();
    if jump == Jump::Back {
        likenesses.reverse();
    }
    likenesses
}

/// Sums that are kept side by side, so that a processor can add several at once.
const LANES: usize = 8;

fn product(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (a, b) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.0.iter().zip(b.0) {
        for lane in 0..LANES {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    lanes.iter().sum::<f32>() + a.1.iter().zip(b.1).map(|(a, b)| a * b).sum::<f32>()
}

fn power(samples: &[f32]) -> f32 {
    product(samples, samples) / samples.len().max(1) as f32
}

/// Mixes `from` into the beginning of `to`, interleaved frames of `channels`: it begins as `from` and ends as `to`.
/// The sum is as loud as its parts, however alike they are.
pub(crate) fn crossfade(from: &[f32], to: &mut [f32], channels: usize, likeness: f32) {
    let frames = from.len() / channels;
    let alike = likeness.clamp(0.0, 1.0);
    for (index, (to, from)) in to.chunks_exact_mut(channels).zip(from.chunks_exact(channels)).enumerate() {
        let rising = (index as f32 + 0.5) / frames as f32;
        // A raised cosine has no corners that could be heard.
        let rising = 0.5 - 0.5 * (core::f32::consts::PI * rising).cos();
        let falling = 1.0 - rising;
        let loudness = (rising * rising + falling * falling + 2.0 * alike * rising * falling).sqrt();
        for (to, from) in to.iter_mut().zip(from) {
            *to = (rising * *to + falling * from) / loudness;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hz: f32, rate: f32, frames: usize) -> Vec<f32> {
        vox_testkit::Tone::new(hz.into(), 1.0, rate as u32).take(frames).collect()
    }

    #[test]
    fn the_period_of_a_tone_is_found_both_ways() {
        let mono = tone(200.0, 48_000.0, 4_800);
        for jump in [Jump::Ahead, Jump::Back] {
            let seam = find(&mono, 48_000, 2_000, (192, 192), jump, 120..=400, -1.0).unwrap();
            assert_eq!(seam.lag, 240);
            assert!(seam.likeness > 0.999);
        }
    }

    #[test]
    fn in_silence_the_whole_way_is_gone_at_once() {
        let seam = find(&[0.0; 4_000], 8_000, 1_000, (40, 40), Jump::Ahead, 20..=333, -1.0).unwrap();
        assert_eq!(seam.lag, 333);
    }

    #[test]
    fn what_does_not_reach_is_not_searched() {
        let mono = tone(200.0, 8_000.0, 400);
        assert_eq!(find(&mono, 8_000, 200, (40, 40), Jump::Ahead, 170..=180, -1.0), None);
        assert_eq!(find(&mono, 8_000, 20, (40, 40), Jump::Back, 20..=40, -1.0), None);
    }

    #[test]
    fn a_crossfade_of_noises_is_as_loud_as_they_are() {
        let noise = |seed: u32| {
            let mut state = seed;
            (0..4_800).map(move |_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / 8_388_608.0 - 1.0
            })
        };
        let (from, mut to): (Vec<f32>, Vec<f32>) = (noise(1).collect(), noise(2).collect());
        let before = power(&from);
        crossfade(&from, &mut to, 1, 0.0);
        let middle = power(&to[2_000..2_800]);
        assert!((0.85..1.15).contains(&(middle / before)), "{middle} of {before}");
    }
}
