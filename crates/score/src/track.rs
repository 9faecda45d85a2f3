//! Where in the heard each part of the said lies.

use vox_media::align::correlate;

/// A place at which the two were laid above each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Fix {
    /// The middle of the part, in frames of what was said.
    pub(crate) at: f64,
    /// How many frames later it is heard.
    pub(crate) delay: f64,
    /// How alike they are, 0 to 1.
    pub(crate) likeness: f64,
}

/// Parts less alike than this are not the same sound.
const ALIKE: f64 = 0.5;

/// What is quieter says nothing, as a factor of full scale.
const QUIET: f32 = 0.002;

/// Follows the delay along what was said, from `guess` frames on; parts that are quiet or not found are left out.
pub(crate) fn follow(said: &[f32], heard: &[f32], hz: usize, guess: i64) -> Vec<Fix> {
    let (part, step, reach) = (hz * 2 / 5, hz / 5, hz / 5);
    let mut fixes: Vec<Fix> = Vec::new();
    let mut near = guess;
    for begin in (0..said.len().saturating_sub(part / 2)).step_by(step) {
        let piece = &said[begin..said.len().min(begin + part)];
        if !says_something(piece, hz) {
            continue;
        }
        let found = find(piece, heard, begin as i64 + near, reach)
            // Lost: it may have jumped farther.
            .filter(|(_, likeness)| *likeness > ALIKE)
            .or_else(|| find(piece, heard, begin as i64 + guess, hz * 2).filter(|(_, likeness)| *likeness > 0.7));
        let Some((place, likeness)) = found else { continue };
        let delay = place - begin as f64;
        near = delay.round() as i64;
        fixes.push(Fix { at: begin as f64 + piece.len() as f64 / 2.0, delay, likeness });
    }
    fixes
}

/// Whether a part is loud, and for most of its time: the end of a word fits many places.
pub(crate) fn says_something(piece: &[f32], hz: usize) -> bool {
    let loud = rms(piece);
    let frames = piece.chunks(hz / 100);
    let heard = frames.clone().filter(|frame| rms(frame) > loud * 0.2).count();
    loud >= QUIET && heard * 5 >= frames.count() * 3
}

pub(crate) fn rms(samples: &[f32]) -> f32 {
    (samples.iter().map(|sample| sample * sample).sum::<f32>() / samples.len().max(1) as f32).sqrt()
}

/// The place in `heard`, within `reach` of `near`, at which `piece` begins best, and how alike they are there.
fn find(piece: &[f32], heard: &[f32], near: i64, reach: usize) -> Option<(f64, f64)> {
    let from = near - reach as i64;
    let window: Vec<f32> = (from..near + (reach + piece.len()) as i64)
        .map(|at| usize::try_from(at).ok().and_then(|at| heard.get(at)).copied().unwrap_or(0.0))
        .collect();
    let length = (window.len() + piece.len()).next_power_of_two();
    let padded = |samples: &[f32]| {
        let mut out = samples.to_vec();
        out.resize(length, 0.0);
        out
    };
    let sums = correlate(padded(piece), padded(&window), length);
    // The transform gives sums; what is alike is that divided by the power of both.
    let mut power: f64 = window[..piece.len()].iter().map(|sample| f64::from(sample * sample)).sum();
    let own: f64 = piece.iter().map(|sample| f64::from(sample * sample)).sum();
    let mut best: Option<(usize, f64)> = None;
    for at in 0..=2 * reach {
        let likeness = f64::from(sums[at]) / length as f64 / ((own * power.max(own * 0.01)).sqrt() + 1e-9);
        if best.is_none_or(|(_, most)| likeness > most) {
            best = Some((at, likeness));
        }
        let (out, new) = (f64::from(window[at]), window.get(at + piece.len()).map_or(0.0, |&new| f64::from(new)));
        power = (power - out * out + new * new).max(0.0);
    }
    let (at, likeness) = best?;
    // Between frames: a parabola through the sum and its neighbours.
    let (left, middle, right) = (sums[(at + length - 1) % length], sums[at], sums[(at + 1) % length]);
    let bend = left - 2.0 * middle + right;
    let between = if bend < 0.0 { f64::from((left - right) / (2.0 * bend)).clamp(-0.5, 0.5) } else { 0.0 };
    Some((from as f64 + at as f64 + between, likeness))
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn speech(frames: usize) -> Vec<f32> {
        let mut low = 0.0;
        (0..frames as u64)
            .map(|n| {
                let mut mixed = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
                let noise = (mixed >> 40) as f32 / 8_388_608.0 - 1.0;
                low += 0.2 * (noise - low);
                if (n / 3_000) % 4 == 3 { 0.0 } else { low }
            })
            .collect()
    }

    #[test]
    fn a_delay_that_changes_is_followed() {
        let said = speech(80_000);
        let heard = [&vec![0.0; 500][..], &said[..40_000], &vec![0.0; 240], &said[40_000..]].concat();
        let fixes = follow(&said, &heard, 8_000, 400);
        assert!(fixes.len() > 30, "{}", fixes.len());
        for fix in &fixes {
            let expected = if fix.at < 38_000.0 { 500.0 } else { 740.0 };
            if (fix.at - 40_000.0).abs() > 2_000.0 {
                assert!((fix.delay - expected).abs() < 0.6 && fix.likeness > 0.95, "{fix:?}");
            }
        }
    }

    #[test]
    fn what_is_another_sound_is_not_found() {
        let said = speech(40_000);
        let other: Vec<f32> = speech(90_000)[50_000..].iter().rev().copied().collect();
        let fixes = follow(&said, &other, 8_000, 0);
        assert!(fixes.len() < 3, "{fixes:?}");
    }
}
