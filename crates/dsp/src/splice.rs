//! Leaving out and repeating pieces of sound where it resembles itself, so that nobody hears the seam.

use core::ops::RangeInclusive;

/// Up to how many frames a second every frame is looked at; of higher rates every second, third, … is, at first.
const COARSE_RATE: usize = 8_000;

/// Peaks of the coarse search that are looked at closely.
const CANDIDATES: usize = 4;

/// Mean power below which there is nothing to hear (-66 dB against full scale).
const SILENCE: f32 = 2.5e-7;

/// Where to go on reading.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Seam {
    /// Frames between here and there.
    pub(crate) lag: usize,
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

/// Finds the lag within `lags` at which the sound around `at`, `before` and `after` frames of it, is most like itself.
/// What `at ± lag` reaches must lie within `mono`.
pub(crate) fn find(
    mono: &[f32],
    rate: usize,
    at: usize,
    (before, after): (usize, usize),
    jump: Jump,
    lags: RangeInclusive<usize>,
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
    let here = &mono[at - before..at + after];
    let there = |lag: usize| match jump {
        Jump::Ahead => &mono[at - before + lag..at + after + lag],
        Jump::Back => &mono[at - before - lag..at + after - lag],
    };
    if power(here) < SILENCE && power(there(most)) < SILENCE {
        return Some(Seam { lag: most, likeness: 1.0 });
    }
    let step = (rate / COARSE_RATE).max(1);
    let coarse = coarse(mono, at - before, before + after, jump, least..=most, step);
    let mut best: Option<Seam> = None;
    for peak in peaks(&coarse) {
        let around = least + peak * step;
        for lag in around.saturating_sub(step - 1).max(least)..=(around + step - 1).min(most) {
            let seam = Seam { lag, likeness: likeness(here, there(lag)) };
            if best.is_none_or(|best| seam.likeness > best.likeness) {
                best = Some(seam);
            }
        }
    }
    best
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

/// How alike `length` frames from `from` on are to those at every `step`-th lag, by every `step`-th frame.
fn coarse(mono: &[f32], from: usize, length: usize, jump: Jump, lags: RangeInclusive<usize>, step: usize) -> Vec<f32> {
    let thinned =
        |from: usize, count: usize| -> Vec<f32> { mono[from..].iter().step_by(step).take(count).copied().collect() };
    let (count, tried) = (length / step, (lags.end() - lags.start()) / step + 1);
    let here = thinned(from, count);
    // What lies at all lags, side by side.
    let there = match jump {
        Jump::Ahead => thinned(from + lags.start(), count + tried - 1),
        Jump::Back => thinned(from - lags.start() - (tried - 1) * step, count + tried - 1),
    };
    let at = |index: usize| match jump {
        Jump::Ahead => index,
        Jump::Back => tried - 1 - index,
    };
    (0..tried).map(|index| likeness(&here, &there[at(index)..at(index) + count])).collect()
}

/// Sums that are kept side by side, so that a processor can add several at once.
const LANES: usize = 8;

/// Twice the product over the powers: 1 where both are the same, less where one is louder.
fn likeness(a: &[f32], b: &[f32]) -> f32 {
    let (mut products, mut powers) = ([0.0f32; LANES], [0.0f32; LANES]);
    let (a, b) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.0.iter().zip(b.0) {
        for lane in 0..LANES {
            products[lane] += a[lane] * b[lane];
            powers[lane] += a[lane] * a[lane] + b[lane] * b[lane];
        }
    }
    for (lane, (a, b)) in a.1.iter().zip(b.1).enumerate() {
        products[lane] += a * b;
        powers[lane] += a * a + b * b;
    }
    2.0 * products.iter().sum::<f32>() / (powers.iter().sum::<f32>() + 1e-9)
}

fn power(samples: &[f32]) -> f32 {
    samples.iter().map(|sample| sample * sample).sum::<f32>() / samples.len().max(1) as f32
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
            let seam = find(&mono, 48_000, 2_000, (192, 192), jump, 120..=400).unwrap();
            assert_eq!(seam.lag, 240);
            assert!(seam.likeness > 0.999);
        }
    }

    #[test]
    fn in_silence_the_whole_way_is_gone_at_once() {
        let seam = find(&[0.0; 4_000], 8_000, 1_000, (40, 40), Jump::Ahead, 20..=333).unwrap();
        assert_eq!(seam.lag, 333);
    }

    #[test]
    fn what_does_not_reach_is_not_searched() {
        let mono = tone(200.0, 8_000.0, 400);
        assert_eq!(find(&mono, 8_000, 200, (40, 40), Jump::Ahead, 170..=180), None);
        assert_eq!(find(&mono, 8_000, 20, (40, 40), Jump::Back, 20..=40), None);
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
