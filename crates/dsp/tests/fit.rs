//! What fitting frames into slots does to sound.

use core::f64::consts::TAU;

use vox_dsp::Fit;
use vox_frame::{Channels, Rate};
use vox_testkit::{SpeechLike, Tone, roughness, spurious};

/// How much longer than its frame each slot is, in frames.
type Slots = fn(usize) -> i64;

fn rate(hz: u32) -> Rate {
    Rate::new(hz).expect("a rate")
}

/// Fits `input`, in frames of 20 ms, into slots; sees to it that each is filled exactly.
fn fit(hz: u32, channels: Channels, input: &[f32], slots: Slots) -> (Vec<f32>, Fit) {
    let mut fit = Fit::new(rate(hz), channels);
    let frame = hz as usize / 50 * channels.count();
    let mut out = Vec::new();
    for (n, part) in input.chunks_exact(frame).enumerate() {
        let wanted = ((frame / channels.count()) as i64 + slots(n)).max(0) as usize;
        let before = out.len();
        fit.process(part, wanted, &mut out);
        assert_eq!(out.len() - before, wanted * channels.count(), "frame {n}");
    }
    (out, fit)
}

fn tone(hz: f64, rate: u32, seconds: f64) -> Vec<f32> {
    Tone::new(hz, 0.5, rate).take((f64::from(rate) * seconds) as usize).collect()
}

/// A voice: pulses of a pitch that glides, through a few formants.
fn voice(rate: u32, seconds: f64, pitch: fn(f64) -> f64) -> Vec<f32> {
    let mut phase = 0.0f64;
    (0..(f64::from(rate) * seconds) as usize)
        .map(|n| {
            let t = n as f64 / f64::from(rate);
            phase += pitch(t) / f64::from(rate);
            let mut sum = 0.0;
            for k in 1..30 {
                let hz = f64::from(k) * pitch(t);
                let gain = 1.0 / (1.0 + ((hz - 600.0) / 200.0).powi(2))
                    + 0.5 / (1.0 + ((hz - 1_400.0) / 250.0).powi(2))
                    + 0.02;
                sum += gain * (TAU * phase * f64::from(k)).sin();
            }
            (sum * 0.15) as f32
        })
        .collect()
}

/// The pitch of voiced 40 ms at `at`, by the autocorrelation's peak, interpolated.
fn pitch(samples: &[f32], at: usize, rate: u32) -> f64 {
    let window = rate as usize / 25;
    let product = |lag: usize| -> f64 {
        let (a, b) = (&samples[at..at + window], &samples[at + lag..at + lag + window]);
        let (mut dot, mut power) = (0.0, 1e-9);
        for (a, b) in a.iter().zip(b) {
            dot += f64::from(a * b);
            power += f64::from(a * a + b * b);
        }
        2.0 * dot / power
    };
    let (least, most) = (rate as usize / 350, rate as usize / 80);
    let values: Vec<f64> = (least..=most).map(product).collect();
    let top = values.iter().copied().fold(f64::MIN, f64::max);
    // The first of the peaks that are as good as the best is the period, the others are its multiples.
    let best = (1..values.len() - 1)
        .find(|&k| values[k] > 0.95 * top && values[k] >= values[k - 1] && values[k] >= values[k + 1])
        .unwrap_or(1);
    let (a, b, c) = (values[best - 1], values[best], values[best + 1]);
    let offset = 0.5 * (a - c) / (a - 2.0 * b + c);
    f64::from(rate) / ((least + best) as f64 + offset)
}

#[test]
fn frames_as_long_as_their_slots_pass_untouched() {
    let input = tone(440.0, 48_000, 1.0);
    let (out, fit) = fit(48_000, Channels::MONO, &input, |_| 0);
    assert_eq!(out, input);
    assert_eq!(fit.delay(), 0);
}

#[test]
fn slots_are_filled_to_the_frame_whatever_they_are() {
    let slots: [Slots; 5] = [
        |n| [-480, 0, 240, 3, -7, 96, -144][n % 7],
        |n| if n % 3 == 0 { -960 } else { 480 },
        |n| if n < 40 { 5_000 } else { -3_000 },
        |n| (n * 7_919 % 1_921) as i64 - 960,
        |n| if n % 10 == 0 { 20_000 } else { -960 },
    ];
    for slots in slots {
        let (out, _) = fit(48_000, Channels::STEREO, &tone(300.0, 48_000, 4.0), slots);
        assert!(out.iter().all(|sample| sample.abs() < 0.8));
    }
}

#[test]
fn the_first_frames_may_already_be_too_short() {
    for hz in [8_000, 44_100, 48_000] {
        let (out, _) = fit(hz, Channels::MONO, &tone(200.0, hz, 0.4), |_| 37);
        assert!(out.iter().any(|sample| sample.abs() > 0.4));
    }
}

#[test]
fn one_channel_that_becomes_two_goes_on_as_if_both_had_been_there() {
    let left: Vec<f32> = SpeechLike::new(1, 48_000).take(192_000).collect();
    let right = |n: usize| if n < 96_000 { left[n] } else { 0.5 * left[n - 4_800] };
    let stereo: Vec<f32> = left.iter().enumerate().flat_map(|(n, &sample)| [sample, right(n)]).collect();
    let slots: Slots = |n| [1, 0, 96, -96, -1, 0, 0][n / 20 % 7];
    let (expected, _) = fit(48_000, Channels::STEREO, &stereo, slots);
    let (mut fit, mut out) = (Fit::new(rate(48_000), Channels::MONO), Vec::new());
    for n in 0..200 {
        let (wanted, frames) = ((960 + slots(n)) as usize, 960 * n..960 * (n + 1));
        if n < 100 {
            let mut one = Vec::new();
            fit.process(&left[frames], wanted, &mut one);
            out.extend(one.iter().flat_map(|&sample| [sample; 2]));
            continue;
        }
        if n == 100 {
            fit.widen();
        }
        fit.process(&stereo[2 * frames.start..2 * frames.end], wanted, &mut out);
    }
    assert!(fit.stats().seams > 10);
    assert!(out == expected);
}

#[test]
fn a_tone_stays_clean_while_the_delay_changes() {
    // As it is, longer by 15 %, shorter by 15 %, in turns.
    for hz in [8_000_u32, 16_000, 48_000] {
        let slots: Slots = match hz {
            8_000 => |n| [0, 24, -24][n / 40 % 3],
            16_000 => |n| [0, 48, -48][n / 40 % 3],
            _ => |n| [0, 144, -144][n / 40 % 3],
        };
        for frequency in [220.0, 440.0, 997.0, 1_760.0, 3_100.0] {
            let input = tone(frequency, hz, 6.0);
            let (out, fit) = fit(hz, Channels::MONO, &input, slots);
            let stats = fit.stats();
            assert!(stats.inserted > u64::from(hz) / 10 && stats.removed > u64::from(hz) / 10, "{stats:?}");
            let clean = spurious(&out, frequency, hz);
            let rough = roughness(&out, frequency, 0.5, hz);
            assert!(clean >= 40.0, "{frequency} Hz at {hz}: {clean:.1} dB");
            assert!(rough < 1.3, "{frequency} Hz at {hz}: a click of {rough:.1}");
        }
    }
}

#[test]
fn a_tone_stays_clean_through_all_that_a_jitter_buffer_asks_for() {
    // Twice as long while something is held up, then back as in speech, and as in a pause.
    let in_speech: Slots = |n| if n % 60 / 2 == 5 { 960 } else { [0, -192][usize::from((30..40).contains(&(n % 60)))] };
    let in_a_pause: Slots =
        |n| if n % 60 / 4 == 2 { 480 } else { [0, -384][usize::from((30..35).contains(&(n % 60)))] };
    for slots in [in_speech, in_a_pause] {
        for frequency in [220.0, 440.0, 997.0, 1_760.0, 3_100.0] {
            let (out, fit) = fit(48_000, Channels::MONO, &tone(frequency, 48_000, 6.0), slots);
            let stats = fit.stats();
            assert!(stats.inserted > 4_800 && stats.removed > 4_800, "{stats:?}");
            let clean = spurious(&out, frequency, 48_000);
            let rough = roughness(&out, frequency, 0.5, 48_000);
            assert!(clean >= 40.0, "{frequency} Hz: {clean:.1} dB");
            assert!(rough < 1.5, "{frequency} Hz: a click of {rough:.1}");
        }
    }
}

#[test]
fn a_clock_that_drifts_is_resampled_away_without_a_seam() {
    for ppm in [-300_i64, -50, 50, 300] {
        let slots: Slots = match ppm {
            // A frame of 960 more or less, now and then.
            -300 => |n| -i64::from(n * 288 % 1_000 < 288),
            -50 => |n| -i64::from(n * 48 % 1_000 < 48),
            50 => |n| i64::from(n * 48 % 1_000 < 48),
            _ => |n| i64::from(n * 288 % 1_000 < 288),
        };
        let input = tone(997.0, 48_000, 60.0);
        let (out, fit) = fit(48_000, Channels::MONO, &input, slots);
        let stats = fit.stats();
        assert!(stats.seams <= 2, "{stats:?} at {ppm} ppm");
        assert!(fit.delay() < 48_000 / 200, "{} frames at {ppm} ppm", fit.delay());
        let end = &out[out.len() - 20 * 48_000..];
        assert!(spurious(end, 997.0, 48_000) > 60.0);
        let worst = roughness(&out[960..], 997.0, 0.5, 48_000);
        assert!(worst < 1.2, "{worst}");
    }
}

#[test]
fn a_voice_keeps_its_pitch_through_fifteen_percent() {
    let slots: [Slots; 2] = [|_| 144, |_| -144];
    for slots in slots {
        let input = voice(48_000, 3.0, |_| 118.0);
        let (out, _) = fit(48_000, Channels::MONO, &input, slots);
        let mut worst = 0.0f64;
        for at in (9_600..out.len() - 9_600).step_by(4_800) {
            worst = worst.max((pitch(&out, at, 48_000) / 118.0 - 1.0).abs());
        }
        assert!(worst < 0.01, "{worst}");
    }
}

#[test]
fn the_delay_that_is_left_after_a_change_is_gone_in_seconds() {
    let input = voice(48_000, 20.0, |t| 120.0 + 30.0 * (t * 2.0).sin());
    let slots: Slots = |n| {
        if n < 100 {
            192
        } else if n < 200 {
            -192
        } else {
            0
        }
    };
    let (_, fit) = fit(48_000, Channels::MONO, &input, slots);
    assert!(fit.delay() < 48 * 4, "{} frames", fit.delay());
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let slots: Slots = |n| (n * 7_919 % 301) as i64 - 150;
    let input = voice(48_000, 2.0, |t| 120.0 + 30.0 * (t * 2.0).sin());
    assert_eq!(fit(48_000, Channels::MONO, &input, slots).0, fit(48_000, Channels::MONO, &input, slots).0);
}

#[test]
fn any_rate_any_frame_and_any_slot_are_filled_to_the_frame() {
    let mut state = 1u32;
    let mut draw = |most: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % most.max(1)
    };
    for hz in [5_000, 8_000, 11_025, 44_100, 48_000, 192_000] {
        for channels in [1, 2, 8] {
            let mut fit = Fit::new(rate(hz), Channels::new(channels).expect("channels"));
            let mut out = Vec::new();
            for n in 0..120 {
                let frames = draw(hz as usize / 16);
                let wanted = match draw(6) {
                    0 => frames,
                    1 => draw(hz as usize / 8),
                    2 => 0,
                    _ => (frames + draw(frames / 4)).saturating_sub(frames / 8),
                };
                let loud = if n % 30 < 20 { 0.5 } else { 0.0 };
                let input: Vec<f32> = (0..frames * usize::from(channels))
                    .map(|k| loud * ((k * 7_919 % 200) as f32 / 100.0 - 1.0))
                    .collect();
                out.clear();
                fit.process(&input, wanted, &mut out);
                assert_eq!(out.len(), wanted * usize::from(channels));
                assert!(out.iter().all(|sample| sample.is_finite() && sample.abs() < 2.0));
            }
            // However much too much there was, it is gone in a while.
            for _ in 0..300 {
                out.clear();
                fit.process(&vec![0.0; hz as usize / 50 * usize::from(channels)], hz as usize / 50, &mut out);
            }
            assert!(fit.delay() < hz as usize / 50, "{} frames at {hz}", fit.delay());
        }
    }
}
