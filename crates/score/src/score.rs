//! What became of a recording.

use serde::Serialize;

use crate::perceived::Perceived;
use crate::track::{Fix, rms, says_something};

/// A frame of the comparison, in ms.
const FRAME_MS: usize = 10;

/// A frame that was heard this much quieter than it was said is missing, in dB.
const MISSING_DB: f32 = 20.0;

/// Said frames below this are silence, as a factor of full scale.
const SILENT: f32 = 0.004;

/// A change of the delay that is no noise of the measurement, in ms.
const STEP_MS: f64 = 3.0;

/// Bounds of the ratio of one segment, in dB, as is usual for the segmental ratio (Hansen and Pellom, 1998).
const SEGMENT_DB: (f64, f64) = (-10.0, 35.0);

/// A span of what was said, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Span {
    /// Where it begins.
    pub(crate) at: f64,
    /// How long it is.
    pub(crate) seconds: f64,
}

/// What became of it.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Score {
    /// How well it sounds, where that was asked for and somebody speaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) perceived: Option<Perceived>,
    /// Seconds that were said.
    pub(crate) said_seconds: f64,
    /// Seconds that were heard.
    pub(crate) heard_seconds: f64,
    /// Parts that were found in what was heard, of those that are not silent: 0 to 1.
    pub(crate) found: f64,
    /// How late it is, the median, in ms.
    pub(crate) delay_ms: f64,
    /// Between the 5th and the 95th percentile of the delay, in ms.
    pub(crate) delay_spread_ms: f64,
    /// How much faster what was heard runs, in parts a million; none where it cannot be told.
    pub(crate) clock_ppm: Option<f64>,
    /// Spans that are missing.
    pub(crate) missing: Vec<Span>,
    /// Their sum, in ms.
    pub(crate) missing_ms: f64,
    /// The longest of them, in ms.
    pub(crate) longest_gap_ms: f64,
    /// Places at which time was put in, and how much.
    pub(crate) inserted: Vec<Span>,
    /// Those of them at which what was heard before is heard again.
    pub(crate) repeated: Vec<Span>,
    /// Places at which time was taken out, and how much.
    pub(crate) removed: Vec<Span>,
    /// How much louder it is, in dB.
    pub(crate) level_db: f64,
    /// The mean over segments of the ratio of what was said to what else is heard, in dB.
    pub(crate) segmental_snr_db: f64,
    /// The ratio over all of it, in dB.
    pub(crate) snr_db: f64,
    /// Samples at full scale.
    pub(crate) clipped: u64,
}

/// Compares two signals of one rate that were laid above each other by `fixes`.
pub(crate) fn score(said: &[f32], heard: &[f32], hz: usize, fixes: &[Fix]) -> Score {
    let ms = |frames: f64| frames * 1e3 / hz as f64;
    let mut delays: Vec<f64> = fixes.iter().map(|fix| fix.delay).collect();
    delays.sort_unstable_by(f64::total_cmp);
    let at = |part: f64| delays.get(((delays.len().max(1) - 1) as f64 * part) as usize).copied().unwrap_or(0.0);
    let parts = (0..said.len().saturating_sub(hz / 5))
        .step_by(hz / 5)
        .filter(|&from| says_something(&said[from..said.len().min(from + hz * 2 / 5)], hz));
    let mut score = Score {
        said_seconds: said.len() as f64 / hz as f64,
        heard_seconds: heard.len() as f64 / hz as f64,
        found: (fixes.len() as f64 / parts.count().max(1) as f64).min(1.0),
        delay_ms: ms(at(0.5)),
        delay_spread_ms: ms(at(0.95) - at(0.05)),
        clock_ppm: ppm(fixes, hz),
        clipped: heard.iter().filter(|sample| sample.abs() >= 32_767.0 / 32_768.0).count() as u64,
        ..Score::default()
    };
    steps(&mut score, heard, hz, fixes);
    frames(&mut score, said, heard, hz, fixes);
    score
}

/// The slope of the delay (Theil and Sen), where there is enough of it.
fn ppm(fixes: &[Fix], hz: usize) -> Option<f64> {
    let stride = fixes.len().div_ceil(300).max(1);
    let some: Vec<&Fix> = fixes.iter().step_by(stride).collect();
    let span = some.last()?.at - some.first()?.at;
    if some.len() < 8 || span < 5.0 * hz as f64 {
        return None;
    }
    let mut slopes = Vec::new();
    for (index, from) in some.iter().enumerate() {
        for to in some[index + 1..].iter().filter(|to| to.at - from.at > span / 4.0) {
            slopes.push((to.delay - from.delay) / (to.at - from.at));
        }
    }
    slopes.sort_unstable_by(f64::total_cmp);
    // A longer delay at the end: what was heard runs slower.
    slopes.get(slopes.len() / 2).map(|slope| -slope * 1e6)
}

/// Where the delay changes at once.
fn steps(score: &mut Score, heard: &[f32], hz: usize, fixes: &[Fix]) {
    for pair in fixes.windows(2) {
        let step = pair[1].delay - pair[0].delay;
        if step.abs() * 1e3 / (hz as f64) < STEP_MS {
            continue;
        }
        let span = Span { at: pair[1].at / hz as f64, seconds: step.abs() / hz as f64 };
        if step < 0.0 {
            score.removed.push(span);
            continue;
        }
        score.inserted.push(span);
        if repeats(heard, pair, step.round() as usize) {
            score.repeated.push(span);
        }
    }
}

/// Whether somewhere between two places `step` frames are heard twice in a row.
fn repeats(heard: &[f32], pair: &[Fix], step: usize) -> bool {
    let from = (pair[0].at + pair[0].delay).max(0.0) as usize;
    let to = (pair[1].at + pair[1].delay).max(0.0) as usize;
    (from.max(step)..to).step_by((step / 8).max(1)).any(|at| {
        let (Some(first), Some(second)) = (heard.get(at - step..at), heard.get(at..at + step)) else { return false };
        let dot: f32 = first.iter().zip(second).map(|(a, b)| a * b).sum();
        let power = rms(first) * rms(second) * step as f32;
        power > 1e-6 * step as f32 && dot / power > 0.95
    })
}

/// Frame by frame: what is missing, how loud it is, what else is in it.
fn frames(score: &mut Score, said: &[f32], heard: &[f32], hz: usize, fixes: &[Fix]) {
    if fixes.is_empty() {
        return;
    }
    let length = hz * FRAME_MS / 1000;
    let gain = gain(said, heard, length, fixes);
    let (mut segments, mut count) = (0.0, 0_u32);
    let (mut signal, mut noise) = (0.0_f64, 0.0_f64);
    let mut other = vec![0.0; length];
    for (index, frame) in said.chunks_exact(length).enumerate() {
        let begin = index * length;
        let loud = rms(frame);
        if loud < SILENT {
            continue;
        }
        let exact = delay_at(fixes, begin as f64);
        // Nearer than it can be measured to a whole frame is a whole frame.
        let delay = if (exact - exact.round()).abs() < 0.1 { exact.round() } else { exact };
        for (n, sample) in other.iter_mut().enumerate() {
            *sample = between(heard, begin as f64 + n as f64 + delay) / gain;
        }
        if rms(&other) < loud * 10_f32.powf(-MISSING_DB / 20.0) {
            let (at, seconds) = (begin as f64 / hz as f64, length as f64 / hz as f64);
            match score.missing.last_mut() {
                Some(last) if (last.at + last.seconds - at).abs() < 1e-6 => last.seconds += seconds,
                _ => score.missing.push(Span { at, seconds }),
            }
        }
        let own: f64 = frame.iter().map(|sample| f64::from(sample * sample)).sum();
        let off: f64 = frame.iter().zip(&other).map(|(a, b)| f64::from((a - b) * (a - b))).sum();
        signal += own;
        noise += off;
        segments += (10.0 * (own / (off + 1e-12)).log10()).clamp(SEGMENT_DB.0, SEGMENT_DB.1);
        count += 1;
    }
    score.missing_ms = score.missing.iter().map(|span| span.seconds * 1e3).sum();
    score.longest_gap_ms = score.missing.iter().map(|span| span.seconds * 1e3).fold(0.0, f64::max);
    score.level_db = 20.0 * f64::from(gain).log10();
    score.segmental_snr_db = segments / f64::from(count.max(1));
    score.snr_db = 10.0 * (signal / (noise + 1e-12)).log10();
}

/// How much louder what was heard is: the median over its frames, so that what is missing does not count.
fn gain(said: &[f32], heard: &[f32], length: usize, fixes: &[Fix]) -> f32 {
    let mut ratios: Vec<f32> = said
        .chunks_exact(length)
        .enumerate()
        .filter_map(|(index, frame)| {
            let loud = rms(frame);
            let from = (index * length) as f64 + delay_at(fixes, (index * length) as f64);
            let there = heard.get(from.round().max(0.0) as usize..)?.get(..length)?;
            (loud >= SILENT).then(|| rms(there) / loud)
        })
        .collect();
    ratios.sort_unstable_by(f32::total_cmp);
    ratios.get(ratios.len() / 2).copied().unwrap_or(1.0).max(1e-4)
}

/// The delay at a place: that of the nearest fixes, in a line where it does not jump between them.
fn delay_at(fixes: &[Fix], at: f64) -> f64 {
    let next = fixes.partition_point(|fix| fix.at < at);
    match (next.checked_sub(1).and_then(|before| fixes.get(before)), fixes.get(next)) {
        (Some(before), Some(after)) => {
            let part = (at - before.at) / (after.at - before.at);
            match (after.delay - before.delay).abs() < 8.0 {
                true => before.delay + (after.delay - before.delay) * part,
                false if part < 0.5 => before.delay,
                false => after.delay,
            }
        }
        (Some(only), None) | (None, Some(only)) => only.delay,
        (None, None) => 0.0,
    }
}

/// The signal between its frames: a windowed sinc over 16 of them.
fn between(samples: &[f32], at: f64) -> f32 {
    const HALF: i64 = 8;
    let base = at.floor();
    let shift = at - base;
    let base = base as i64;
    let sample = |at: i64| usize::try_from(at).ok().and_then(|at| samples.get(at)).copied().unwrap_or(0.0);
    if shift < 1e-3 {
        return sample(base);
    }
    let mut sum = 0.0;
    for tap in 1 - HALF..=HALF {
        let x = (tap as f64 - shift) * core::f64::consts::PI;
        let window = 0.5 + 0.5 * (x / HALF as f64).cos();
        sum += f64::from(sample(base + tap)) * x.sin() / x * window;
    }
    sum as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::track::follow;

    const HZ: usize = 8_000;

    fn speech(frames: usize) -> Vec<f32> {
        let mut low = 0.0;
        (0..frames as u64)
            .map(|n| {
                let mut mixed = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
                let noise = (mixed >> 40) as f32 / 8_388_608.0 - 1.0;
                low += 0.2 * (noise - low);
                low * if (n / 4_000) % 4 == 3 { 0.0 } else { 0.5 }
            })
            .collect()
    }

    fn scored(said: &[f32], heard: &[f32]) -> Score {
        score(said, heard, HZ, &follow(said, heard, HZ, 0))
    }

    #[test]
    fn the_same_is_perfect() {
        let said = speech(80_000);
        let score = scored(&said, &said);
        assert_eq!((score.missing.len(), score.inserted.len()), (0, 0));
        assert!(score.delay_ms.abs() < 1e-3);
        assert!(score.found > 0.99 && score.level_db.abs() < 0.01 && score.segmental_snr_db > 34.9, "{score:?}");
    }

    #[test]
    fn what_is_missing_is_found_with_its_length() {
        let said = speech(80_000);
        let mut heard = said.clone();
        heard[20_000..20_480].fill(0.0);
        heard[50_000..50_160].fill(0.0);
        let score = scored(&said, &heard);
        assert_eq!(score.missing.len(), 2, "{:?}", score.missing);
        assert!((score.longest_gap_ms - 60.0).abs() <= 10.0 && (score.missing_ms - 80.0).abs() <= 20.0, "{score:?}");
    }

    #[test]
    fn what_is_put_in_and_repeated_is_told_apart() {
        let said = speech(80_000);
        let silence = [&said[..40_000], &vec![0.0; 400][..], &said[40_000..]].concat();
        let echo = [&said[..40_000], &said[39_600..40_000], &said[40_000..]].concat();
        let cut = [&said[..40_000], &said[40_800..]].concat();
        let (silence, echo, cut) = (scored(&said, &silence), scored(&said, &echo), scored(&said, &cut));
        assert_eq!((silence.inserted.len(), silence.repeated.len()), (1, 0), "{silence:?}");
        assert_eq!((echo.inserted.len(), echo.repeated.len()), (1, 1), "{echo:?}");
        assert_eq!((cut.removed.len(), cut.inserted.len()), (1, 0), "{cut:?}");
        assert!((silence.inserted[0].seconds - 0.05).abs() < 1e-3 && (cut.removed[0].seconds - 0.1).abs() < 1e-3);
    }

    #[test]
    fn level_and_noise_are_measured() {
        let said = speech(80_000);
        let quieter: Vec<f32> = said.iter().map(|sample| sample / 2.0).collect();
        assert!((scored(&said, &quieter).level_db + 6.02).abs() < 0.05);
        let noisy: Vec<f32> =
            said.iter().enumerate().map(|(n, sample)| sample + 0.01 * if n % 2 == 0 { 1.0 } else { -1.0 }).collect();
        let power = rms(&said[..12_000]);
        let expected = 20.0 * f64::from(power / 0.01).log10();
        let score = scored(&said, &noisy);
        assert!((score.snr_db - expected).abs() < 1.0, "{} for {expected}", score.snr_db);
    }

    #[test]
    fn a_clock_that_is_off_is_told_in_ppm() {
        let said = speech(400_000);
        let heard: Vec<f32> = (0..400_000).map(|n| between(&said, n as f64 * 1.0001)).collect();
        let ppm = scored(&said, &heard).clock_ppm.unwrap();
        assert!((ppm - 100.0).abs() < 8.0, "{ppm}");
    }
}
