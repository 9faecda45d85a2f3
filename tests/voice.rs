//! Stages between the microphone and the encoder: what they do to a voice, and that time stays as it was.

use vox_e2e::{Entry, Scratch, Speech, Wav, align, read_vox, speech};
use vox_frame::GapReason;

/// Samples of a WAV file that a pipeline has written.
#[track_caller]
fn samples(scratch: &Scratch, name: &str) -> Vec<i16> {
    Wav::read(&scratch.path(name)).samples
}

fn rms(samples: &[i16]) -> f64 {
    (samples.iter().map(|&sample| f64::from(sample).powi(2)).sum::<f64>() / samples.len().max(1) as f64).sqrt()
}

fn db(ratio: f64) -> f64 {
    20.0 * ratio.log10()
}

/// Records of a stream without their samples: media time, duration, when captured; gaps with their reason.
fn cut(entries: &[Entry]) -> Vec<(u64, u64, Option<GapReason>)> {
    let part = |entry: &Entry| match entry {
        Entry::Audio { timestamp, duration, .. } => Some((*timestamp, *duration, None)),
        Entry::Gap { timestamp, duration, reason, .. } => Some((*timestamp, *duration, Some(*reason))),
        _ => None,
    };
    entries.iter().filter_map(part).collect()
}

#[test]
fn a_gain_changes_the_level_and_nothing_else() {
    let scratch = Scratch::new("gain");
    scratch
        .run(
            "vox-capture noise: --rate 44100 --channels 2 --duration 1 --frame 7ms >said.vox
             vox-gain -6 <said.vox >heard.vox
             vox-gain <said.vox | vox-play same.wav
             vox-play said.wav <said.vox; vox-play heard.wav <heard.vox",
        )
        .succeeded_silently();
    let (said, heard) = (samples(&scratch, "said.wav"), samples(&scratch, "heard.wav"));
    assert_eq!(samples(&scratch, "same.wav"), said, "no gain is no change");
    assert_eq!(said.len(), heard.len());
    let factor = 10_f64.powf(-6.0 / 20.0);
    assert!(said.iter().zip(&heard).all(|(a, b)| (f64::from(*a) * factor - f64::from(*b)).abs() <= 0.51));
    let [before, after] = ["said.vox", "heard.vox"].map(|name| cut(&read_vox(&scratch.path(name))));
    assert_eq!(before, after);
}

#[test]
fn what_would_exceed_full_scale_is_turned_down_before_it_does() {
    let scratch = Scratch::new("gain-limit");
    scratch
        .run(
            "vox-capture tone:997,-12 --duration 2 >said.vox
             vox-gain 20 <said.vox | vox-play limited.wav; vox-gain 20 --limit off <said.vox | vox-play cut.wav
             vox-play said.wav <said.vox",
        )
        .succeeded_silently();
    let said = samples(&scratch, "said.wav");
    let [limited, cut] = ["limited.wav", "cut.wav"].map(|name| samples(&scratch, name));
    assert_eq!(limited.len(), said.len());
    // A sine is a sine still where it is turned down, and none where it is cut off.
    let [limited, cut] = [limited, cut].map(|heard| align(&said[4_800..], &heard[4_800..], 20));
    assert!(limited.lag == 0 && limited.correlation > 0.9999, "{limited:?}");
    assert!(cut.correlation < 0.98, "{cut:?}");
}

#[test]
fn a_recording_rises_at_its_beginning_and_falls_at_its_end() {
    let scratch = Scratch::new("gain-fade");
    scratch
        .run("vox-capture tone:997,-6 --duration 3 | vox-gain --fade-in 500ms --fade-out 1s | vox-play heard.wav")
        .succeeded_silently();
    let heard = samples(&scratch, "heard.wav");
    assert_eq!(heard.len(), 3 * 48_000);
    let peak = |at: usize| f64::from(heard[at..at + 480].iter().map(|sample| sample.abs()).max().unwrap_or(0));
    let whole = peak(48_000);
    for (at, part) in [(0, 0.02), (12_000, 0.51), (23_520, 0.99), (95_000, 1.0), (120_000, 0.5), (143_520, 0.01)] {
        assert!((peak(at) / whole - part).abs() < 0.015, "{} of the tone at {at}", peak(at) / whole);
    }
}

#[test]
fn near_and_far_speakers_come_out_alike_and_in_time() {
    let scratch = Scratch::new("gain-agc");
    let said = speech(&scratch, "said.wav", Speech::mono(48_000, 30 * 48_000));
    for (name, shift) in [("near.wav", 0), ("far.wav", 4)] {
        let samples = said.samples.iter().map(|sample| sample >> shift).collect();
        Wav { samples, ..said }.write(&scratch.path(name));
    }
    scratch
        .run(
            "for who in near far; do
                 vox-capture $who.wav | vox-gain --agc | vox-play $who.out.wav || exit
             done",
        )
        .succeeded_silently();
    let [near, far] = ["near.out.wav", "far.out.wav"].map(|name| samples(&scratch, name));
    assert_eq!(near.len(), far.len());
    // It has learned how loud they are by then.
    let half = near.len() / 2;
    let apart = db(rms(&near[half..]) / rms(&far[half..]));
    assert!(apart.abs() < 6.0, "they were 24 dB apart, and are {apart}");
    let placed = align(&said.samples, &far[..said.samples.len()], 480);
    assert!(placed.lag.abs() <= 2 && placed.correlation > 0.9, "{placed:?}");
}
