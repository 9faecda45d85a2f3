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

/// Two seconds of noise, three of speech in it, two of noise; the noise is `loud` at most.
fn speech_in_noise(scratch: &Scratch, loud: i16) -> Wav {
    let said = speech(scratch, "speech.wav", Speech::mono(48_000, 3 * 48_000));
    let mut samples = vec![0; 7 * 48_000];
    samples[2 * 48_000..5 * 48_000].copy_from_slice(&said.samples);
    let mut seed = 7_u32;
    for sample in &mut samples {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *sample += ((seed >> 16) as i32 % (2 * i32::from(loud) + 1) - i32::from(loud)) as i16;
    }
    let wav = Wav { samples, ..said };
    wav.write(&scratch.path("said.wav"));
    wav
}

/// When which event was told, in ms.
fn events(entries: &[Entry]) -> Vec<(String, u64)> {
    let event = |entry: &Entry| match entry {
        Entry::Event(event) => Some((event.event.clone(), event.timestamp.0 / 48)),
        _ => None,
    };
    entries.iter().filter_map(event).collect()
}

#[test]
fn the_gate_is_open_for_words_and_closed_for_noise() {
    // The louder noise is 15 dB below the speech.
    for loud in [30, 900] {
        let scratch = Scratch::new(&format!("gate-{loud}"));
        let said = speech_in_noise(&scratch, loud);
        scratch.run("vox-capture said.wav | vox-gate >gated.vox; vox-play heard.wav <gated.vox").succeeded_silently();
        let entries = read_vox(&scratch.path("gated.vox"));
        let spans = cut(&entries);
        assert!(spans.windows(2).all(|pair| pair[0].0 + pair[0].1 == pair[1].0), "a hole in media time");
        let heard = samples(&scratch, "heard.wav");
        assert_eq!(heard.len(), said.samples.len());
        let told = events(&entries);
        let first = told.first().expect("somebody talked");
        assert!(first.0 == "talk-start" && (1_900..=2_100).contains(&first.1), "{told:?}");
        let last = told.last().expect("it ended");
        assert!(last.0 == "talk-stop" && (4_900..=5_500).contains(&last.1), "{told:?}");
        assert!(told.windows(2).all(|pair| pair[0].0 != pair[1].0), "{told:?}");
        let silent: u64 = spans.iter().filter(|span| span.2 == Some(GapReason::Silent)).map(|span| span.1).sum();
        assert!(silent > 3 * 48_000, "{} ms are left out", silent / 48);
        // What is left out is no word: all but 3 % of the speech is there.
        let speech = 2 * 48_000..5 * 48_000;
        let missing: Vec<i16> = speech.clone().map(|at| said.samples[at] - heard[at]).collect();
        assert!(rms(&missing) < 0.17 * rms(&said.samples[speech]), "{} {told:?}", rms(&missing));
    }
}

#[test]
fn what_is_only_marked_is_all_there() {
    let scratch = Scratch::new("gate-mark");
    speech_in_noise(&scratch, 30);
    scratch
        .run(
            "vox-capture said.wav >said.vox; vox-gate --mark <said.vox >marked.vox
             vox-play marked.wav <marked.vox; vox-play as-it-was.wav <said.vox",
        )
        .succeeded_silently();
    assert_eq!(samples(&scratch, "marked.wav"), samples(&scratch, "as-it-was.wav"));
    assert!(events(&read_vox(&scratch.path("marked.vox"))).len() >= 2);
}

#[test]
fn nothing_is_encoded_while_nobody_talks() {
    let scratch = Scratch::new("gate-dtx");
    speech_in_noise(&scratch, 30);
    let packets = |name: &str| {
        let entries = read_vox(&scratch.path(name));
        entries.iter().filter(|entry| matches!(entry, Entry::Audio { .. })).count()
    };
    scratch
        .run(
            "vox-capture said.wav | vox-encode opus >all.vox
             vox-capture said.wav | vox-gate | vox-encode opus >talk.vox",
        )
        .succeeded_silently();
    assert!(packets("talk.vox") * 10 < packets("all.vox") * 6, "{} of {}", packets("talk.vox"), packets("all.vox"));
}

#[test]
fn noise_goes_and_words_stay_where_they_are() {
    let scratch = Scratch::new("denoise");
    let said = speech_in_noise(&scratch, 600);
    for rate in [48_000, 44_100, 16_000, 8_000] {
        scratch
            .run(&format!(
                "vox-capture said.wav --rate {rate} >said.vox; vox-denoise <said.vox >clean.vox
                 vox-play in.wav <said.vox; vox-play out.wav <clean.vox"
            ))
            .succeeded_silently();
        let [before, after] = ["said.vox", "clean.vox"].map(|name| cut(&read_vox(&scratch.path(name))));
        assert_eq!(before, after);
        let (noisy, clean) = (samples(&scratch, "in.wav"), samples(&scratch, "out.wav"));
        assert_eq!(noisy.len(), clean.len());
        // The last second of noise, which it knows by then.
        let tail = noisy.len() - rate..noisy.len() - rate / 10;
        let gone = db(rms(&noisy[tail.clone()]) / rms(&clean[tail]));
        assert!(gone > 9.0, "{gone} dB of the noise are gone at {rate} Hz");
        let words = 2 * rate..5 * rate;
        // Without the depths, whose phase the filter against rumble turns.
        let steep =
            |samples: &[i16]| -> Vec<i16> { samples.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect() };
        let placed = align(&steep(&noisy[words.clone()]), &steep(&clean[words]), 20);
        assert!(placed.lag.abs() <= 1 && placed.correlation > 0.5, "{placed:?} at {rate} Hz");
    }
    assert_eq!(said.rate, 48_000);
}
