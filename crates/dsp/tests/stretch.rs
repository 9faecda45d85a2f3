//! What fifteen percent longer or shorter, for as long as it may be, does to tones, to voices and to music.

use core::f64::consts::TAU;

use vox_dsp::Fit;
use vox_frame::{Channels, Rate};
use vox_testkit::{SpeechLike, Tone, envelope, spurious};

/// How much longer than its frame of 20 ms each slot is, in percent.
type Change = fn(usize) -> i64;

const LONGER: Change = |_| 15;
const SHORTER: Change = |_| -15;
/// Back and forth every 0.8 s.
const REVERSED: Change = |n| [15, -15][n / 40 % 2];

/// What came out, and where in it lies what went in.
struct Fitted {
    samples: Vec<f32>,
    /// For the end of each slot: the frame that comes next, and the frame of the input that it is.
    places: Vec<(usize, usize)>,
    /// The delay at the end of each slot, in ms.
    delays: Vec<f64>,
}

impl Fitted {
    fn new(hz: u32, channels: Channels, input: &[f32], change: Change) -> Self {
        let mut fit = Fit::new(Rate::new(hz).expect("a rate"), channels);
        let frame = hz as usize / 50;
        let mut fitted = Self { samples: Vec::new(), places: vec![(0, 0)], delays: Vec::new() };
        for (n, part) in input.chunks_exact(frame * channels.count()).enumerate() {
            let wanted = (frame as i64 + frame as i64 * change(n) / 100) as usize;
            let before = fitted.samples.len();
            fit.process(part, wanted, &mut fitted.samples);
            assert_eq!(fitted.samples.len() - before, wanted * channels.count(), "frame {n}");
            fitted.places.push((fitted.samples.len() / channels.count(), (n + 1) * frame - fit.delay()));
            fitted.delays.push(fit.delay() as f64 * 1e3 / f64::from(hz));
        }
        fitted
    }

    /// The frame of the input that is heard at `frame`.
    fn origin(&self, frame: usize) -> usize {
        let behind = self.places.partition_point(|(out, _)| *out <= frame).clamp(1, self.places.len() - 1);
        let ((out, from), (next, to)) = (self.places[behind - 1], self.places[behind]);
        from + to.saturating_sub(from) * (frame - out) / (next - out)
    }
}

#[test]
fn a_tone_of_any_pitch_stays_clean_in_every_second_of_back_and_forth() {
    for (hz, window) in [(8_000_u32, 8_192), (16_000, 16_384), (48_000, 65_536)] {
        for frequency in [100.0, 161.0, 413.0, 997.0, 1_994.0, 3_302.0, 5_128.0, 7_025.0, 7_919.0] {
            if frequency > 0.44 * f64::from(hz) {
                continue;
            }
            let input: Vec<f32> = Tone::new(frequency, 0.5, hz).take(4 * hz as usize).collect();
            for change in [REVERSED, LONGER, SHORTER] {
                let out = Fitted::new(hz, Channels::MONO, &input, change).samples;
                for (n, part) in out.windows(window).skip(hz as usize / 4).step_by(hz as usize * 3 / 10).enumerate() {
                    let clean = spurious(part, frequency, hz);
                    assert!(clean >= 45.0, "{frequency} Hz at {hz}: {clean:.1} dB in window {n}");
                }
            }
        }
    }
}

#[test]
fn both_sides_of_a_stereo_tone_stay_as_clean() {
    for (hz, window) in [(8_000_u32, 8_192), (16_000, 16_384), (48_000, 65_536)] {
        for frequency in [161.0, 3_302.0] {
            // Softer on the right, and a quarter of a period later.
            let at = |n: u32| TAU * frequency * f64::from(n) / f64::from(hz);
            let input: Vec<f32> =
                (0..4 * hz).flat_map(|n| [0.5 * at(n).sin() as f32, -0.3 * at(n).cos() as f32]).collect();
            let out = Fitted::new(hz, Channels::STEREO, &input, REVERSED).samples;
            for side in 0..2 {
                let one: Vec<f32> = out.iter().skip(side).step_by(2).copied().collect();
                for part in one.windows(window).skip(hz as usize / 4).step_by(hz as usize / 2) {
                    let clean = spurious(part, frequency, hz);
                    assert!(clean >= 45.0, "{frequency} Hz at {hz}, side {side}: {clean:.1} dB");
                }
            }
        }
    }
}

/// Overtones of a vowel: their levels by frequency.
const VOWEL: fn(f64) -> f64 = |hz| {
    let formant = |at: f64, wide: f64| 1.0 / (1.0 + ((hz - at) / wide).powi(2));
    formant(600.0, 200.0) + 0.5 * formant(1_400.0, 250.0) + 0.02
};
/// Those of a hum.
const HUM: fn(f64) -> f64 = |hz| 1.0 / (1.0 + (hz / 150.0).powi(3));

/// A voice that is held, at a pitch that changes.
fn voice(rate: u32, level: fn(f64) -> f64, pitch: fn(f64) -> f64) -> Vec<f32> {
    let mut phase = 0.0f64;
    (0..rate * 4)
        .map(|n| {
            let hz = pitch(f64::from(n) / f64::from(rate));
            phase = (phase + hz / f64::from(rate)).fract();
            let sum: f64 = (1..24).map(f64::from).map(|k| level(k * hz) * (TAU * phase * k).sin()).sum();
            (sum * 0.15) as f32
        })
        .collect()
}

/// Men and women, some of whom sing; and what is spoken in syllables, with pauses and hisses.
fn voices(rate: u32) -> Vec<Vec<f32>> {
    let pitches: [fn(f64) -> f64; 6] = [
        |t| 84.0 + 6.0 * (t * 3.0).sin(),
        |t| 104.0 + 12.0 * (t * 2.0).sin(),
        |t| 118.0 + 3.0 * (t * 30.0).sin(),
        |t| 150.0 - 15.0 * t.fract(),
        |t| 205.0 + 30.0 * (t * 2.0).sin(),
        |t| 290.0 + 6.0 * (t * 32.0).sin(),
    ];
    let held = pitches.iter().flat_map(|&pitch| [voice(rate, VOWEL, pitch), voice(rate, HUM, pitch)]);
    held.chain((1..4).map(|seed| SpeechLike::new(seed, rate).take(8 * rate as usize).collect())).collect()
}

/// The pitch around `middle` and how sure it is: of two windows of 40 ms as far apart as they are most alike.
fn pitch(samples: &[f32], middle: usize, rate: u32, range: (f64, f64)) -> Option<(f64, f64)> {
    let window = rate as usize / 25;
    let likeness = |lag: usize| {
        let at = middle.checked_sub((window + lag) / 2)?;
        let (a, b) = (samples.get(at..at + window)?, samples.get(at + lag..at + lag + window)?);
        let (mut product, mut powers) = (0.0, 1e-9);
        for (a, b) in a.iter().zip(b) {
            product += a * b;
            powers += a * a + b * b;
        }
        Some(f64::from(2.0 * product / powers))
    };
    let (least, most) = ((f64::from(rate) / range.1) as usize, (f64::from(rate) / range.0) as usize + 1);
    let values: Vec<f64> = (least..=most).map(likeness).collect::<Option<_>>()?;
    let top = values.iter().copied().fold(f64::MIN, f64::max);
    // The first of the peaks that are about as good as the best is the period, the others are its multiples.
    let best = (1..values.len() - 1)
        .find(|&k| values[k] > 0.9 * top && values[k] >= values[k - 1] && values[k] >= values[k + 1])?;
    let (a, b, c) = (values[best - 1], values[best], values[best + 1]);
    let offset = if a + c < 2.0 * b { 0.5 * (a - c) / (a - 2.0 * b + c) } else { 0.0 };
    Some((f64::from(rate) / ((least + best) as f64 + offset), b))
}

/// Pitches of what is voiced within 15 ms of a frame, the lowest and the highest.
fn pitches(input: &[f32], frame: usize, rate: u32) -> Option<(f64, f64)> {
    let (own, _) = pitch(input, frame, rate, (70.0, 400.0))?;
    let (mut lowest, mut highest) = (own, own);
    for step in 0..7 {
        let near = (frame + step * rate as usize / 200).checked_sub(3 * rate as usize / 200)?;
        let (hz, sure) = pitch(input, near, rate, (own / 1.2, own * 1.2))?;
        let level = input[near..near + 16].iter().fold(0.0f32, |most, sample| most.max(sample.abs()));
        if sure < 0.9 || (hz / own - 1.0).abs() > 0.1 || level < 1e-3 {
            return None;
        }
        (lowest, highest) = (lowest.min(hz), highest.max(hz));
    }
    Some((lowest, highest))
}

#[test]
fn voices_keep_their_pitch_within_one_percent_everywhere() {
    let rate = 16_000;
    for (n, input) in voices(rate).iter().enumerate() {
        for change in [LONGER, SHORTER, REVERSED] {
            let fitted = Fitted::new(rate, Channels::MONO, input, change);
            let mut places = 0;
            for at in (4_000..fitted.samples.len() - 4_000).step_by(320) {
                let Some((lowest, highest)) = pitches(input, fitted.origin(at), rate) else { continue };
                let Some((hz, _)) = pitch(&fitted.samples, at, rate, (lowest / 1.3, highest * 1.3)) else {
                    panic!("voice {n} has no pitch at {at}");
                };
                let wrong = (lowest / hz).max(hz / highest) - 1.0;
                assert!(wrong < 0.01, "voice {n} at {at}: {hz:.2} Hz for {lowest:.2} to {highest:.2}");
                places += 1;
            }
            assert!(places > 30, "voice {n} has {places} voiced places");
        }
    }
}

#[test]
fn a_voice_waits_no_longer_than_its_period() {
    for (n, input) in voices(16_000).iter().enumerate() {
        for change in [LONGER, SHORTER] {
            let delays = Fitted::new(16_000, Channels::MONO, input, change).delays;
            let mean = delays.iter().sum::<f64>() / delays.len() as f64;
            let most = delays.iter().copied().fold(0.0, f64::max);
            assert!(mean < 12.0 && most < 20.0, "voice {n}: {mean:.1} ms, {most:.1} at most");
        }
    }
}

/// Chords that are held, as a keyboard is tuned: no period of one of their notes fits the others.
const CHORDS: [&[f64]; 3] = [&[220.0, 277.18, 329.63], &[261.63, 329.63, 392.0], &[130.81, 164.81, 196.0, 261.63]];

#[test]
fn a_chord_does_not_warble_however_long_it_is_stretched() {
    for (hz, chord) in [8_000_u32, 48_000].into_iter().flat_map(|hz| CHORDS.map(|chord| (hz, chord))) {
        let at = |n: u32, note: f64| (TAU * note * f64::from(n) / f64::from(hz)).sin();
        let input: Vec<f32> =
            (0..5 * hz).map(|n| (chord.iter().map(|note| at(n, *note)).sum::<f64>() * 0.15) as f32).collect();
        for change in [LONGER, SHORTER, REVERSED] {
            let fitted = Fitted::new(hz, Channels::MONO, &input, change);
            assert!(fitted.delays.iter().all(|delay| *delay < 60.0));
            for note in chord {
                let levels = envelope(&fitted.samples[hz as usize / 4..], *note, hz);
                // The notes beside it are seen a little, too.
                let (low, high) = levels.iter().fold((f64::MAX, 0.0f64), |(low, high), x| (low.min(*x), high.max(*x)));
                assert!(low > 0.9 * 0.15 && high < 1.1 * 0.15, "{note} Hz of {chord:?} at {hz}: {low:.3} to {high:.3}");
            }
        }
    }
}
