//! Streams mixed to one.

use std::fs;
use std::time::Duration;

use vox_e2e::{Entry, Scratch, Speech, Wav, read_vox, speech};
use vox_frame::{
    Audio, Channels, Codec, EndReason, Format, MediaTime, Opening, Rate, Record, SequenceNumber, Stamp, StreamId, Times,
};

const LIMIT: Duration = Duration::from_secs(30);

/// Noise of that peak, another for each seed.
fn noise(seed: u32, peak: i32, frames: usize) -> Vec<i16> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        ((i64::from(state) * i64::from(2 * peak + 1)) >> 32) as i32 - peak
    };
    (0..frames).map(|_| next() as i16).collect()
}

fn write(scratch: &Scratch, name: &str, rate: u32, samples: Vec<i16>) -> Vec<i16> {
    Wav { rate, channels: 1, samples: samples.clone() }.write(&scratch.path(name));
    samples
}

#[test]
fn a_sum_below_full_scale_is_exact() {
    let scratch = Scratch::new("mix-exact");
    let a = write(&scratch, "a.wav", 48_000, noise(1, 10_000, 100_001));
    let b = write(&scratch, "b.wav", 48_000, noise(2, 10_000, 70_007));
    let c = write(&scratch, "c.wav", 48_000, noise(3, 12_000, 33));
    scratch
        .run("vox-mix <(vox-capture a.wav) <(vox-capture b.wav) <(vox-capture c.wav) | vox-play sum.wav")
        .succeeded_silently();
    let sum = Wav::read(&scratch.path("sum.wav")).samples;
    let at = |samples: &[i16], n: usize| samples.get(n).copied().unwrap_or(0);
    let expected: Vec<i16> = (0..a.len()).map(|n| a[n] + at(&b, n) + at(&c, n)).collect();
    assert!(sum == expected, "{} samples of {}", sum.len(), expected.len());
}

#[test]
fn a_sum_beyond_full_scale_neither_wraps_nor_clips() {
    let scratch = Scratch::new("mix-loud");
    let said = speech(&scratch, "said.wav", Speech::mono(48_000, 200_000));
    let loudest = said.samples.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or(1);
    let loud: Vec<i16> = said.samples.iter().map(|&s| (i32::from(s) * 32_767 / i32::from(loudest)) as i16).collect();
    write(&scratch, "loud.wav", 48_000, loud.clone());
    let inputs = "<(vox-capture loud.wav) ".repeat(8);
    scratch.run(&format!("vox-mix {inputs} --stats stats | vox-play sum.wav")).succeeded_silently();
    let sum = Wav::read(&scratch.path("sum.wav")).samples;
    assert_eq!(sum.len(), loud.len());
    let opposite = sum.iter().zip(&loud).filter(|(sum, said)| i32::from(**sum) * i32::from(**said) < 0).count();
    assert_eq!(opposite, 0, "a sample that wrapped has the other sign");
    // Clipped speech lies at full scale for long.
    let flat = sum.windows(3).filter(|three| three.iter().all(|sample| sample.unsigned_abs() >= 32_766)).count();
    assert!(flat < 20, "{flat}");
    assert!(sum.iter().any(|sample| sample.unsigned_abs() > 32_000), "it is turned down, not muted");
}

#[test]
fn eight_talkers_hear_all_but_themselves() {
    let scratch = Scratch::new("mix-minus");
    let voices: Vec<Vec<i16>> =
        (0..8).map(|n| write(&scratch, &format!("{n}.wav"), 16_000, noise(n + 1, 4_000, 48_000))).collect();
    let inputs: String = (0..8).map(|n| format!("<(vox-capture {n}.wav --name talker{n}) ")).collect();
    scratch
        .run(&format!("vox-mix {inputs} --minus-each | tee all.vox | vox-inspect --strict >/dev/null 2>&1"))
        .succeeded();
    scratch.run(&format!("vox-mix {inputs} --minus talker3 | vox-play minus3.wav")).succeeded_silently();
    let entries = read_vox(&scratch.path("all.vox"));
    for own in 0..8 {
        let heard = mix_of(&entries, &format!("talker{own}"));
        let expected: Vec<i32> = (0..48_000)
            .map(|n| (0..8).filter(|other| *other != own).map(|other| i32::from(voices[other][n])).sum())
            .collect();
        assert!(heard.iter().map(|sample| i32::from(*sample)).eq(expected), "talker {own}");
        // What is left of the own voice, by correlation, against the level at which it was said.
        let dot = |a: &[i16], b: &[i16]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let others: Vec<i16> = (0..48_000)
            .map(|n| (0..8).filter(|other| *other != own).map(|other| voices[other][n]).sum::<i16>())
            .collect();
        let left = (dot(&heard, &voices[own]) - dot(&others, &voices[own])) / dot(&voices[own], &voices[own]);
        assert!(20.0 * left.abs().max(1e-9).log10() < -60.0, "talker {own}: {left}");
        if own == 3 {
            assert!(Wav::read(&scratch.path("minus3.wav")).samples == heard);
        }
    }
}

/// The samples of the stream of that label.
fn mix_of(entries: &[Entry], label: &str) -> Vec<i16> {
    let id = entries.iter().find_map(|entry| match entry {
        Entry::Format(id, format) if format.label.as_deref() == Some(label) => Some(*id),
        _ => None,
    });
    let id = id.unwrap_or_else(|| panic!("no stream {label}"));
    let payloads = entries.iter().filter_map(|entry| match entry {
        Entry::Audio { id: of, payload, .. } if *of == id => Some(payload),
        _ => None,
    });
    payloads.flat_map(|payload| vox_e2e::raw_samples(payload)).collect()
}

/// A stream of samples at 8 kHz that began at `captured` ms.
fn stamped(id: u32, captured: i64, samples: &[i16]) -> Vec<u8> {
    let at = |n: i64| Some(Stamp::from_ns((captured + n * 20) * 1_000_000));
    timed(id, samples, |n| Times { captured: at(n), ..Times::default() })
}

/// A stream of samples at 8 kHz; of each record its times.
fn timed(id: u32, samples: &[i16], times: impl Fn(i64) -> Times) -> Vec<u8> {
    let mut bytes = Vec::new();
    Opening::new(0, [9; 16]).write(&mut bytes);
    let id = StreamId(id);
    Record::Format(id, Format::new(Codec::PcmS16, Rate::HZ_8000, Channels::MONO, 160)).write(&mut bytes);
    for (n, chunk) in samples.chunks(160).enumerate() {
        let payload: Vec<u8> = chunk.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        Audio {
            id,
            sequence: SequenceNumber(n as u64),
            timestamp: MediaTime(n as u64 * 160),
            duration: chunk.len() as u32,
            marker: false,
            recovered: false,
            padding: false,
            times: times(n as i64),
            slot: None,
            extensions: &[],
            payload: &payload,
        }
        .write(&mut bytes);
    }
    let end = vox_frame::End {
        id,
        timestamp: MediaTime(samples.len() as u64),
        times: Times::default(),
        reason: EndReason::Complete,
    };
    Record::End(end).write(&mut bytes);
    bytes
}

#[test]
fn streams_lie_where_their_times_say_not_where_they_arrive() {
    let scratch = Scratch::new("mix-aligned");
    // The later one is read first, and both in one pipe or in two.
    fs::write(scratch.path("late.vox"), stamped(1, 5_250, &[1_000; 1_600])).expect("a stream");
    fs::write(scratch.path("early.vox"), stamped(2, 5_000, &[100; 4_000])).expect("a stream");
    scratch.run("vox-mix late.vox early.vox | vox-play sum.wav").succeeded_silently();
    let sum = Wav::read(&scratch.path("sum.wav")).samples;
    assert_eq!(sum.len(), 4_000);
    let changes: Vec<usize> = (1..sum.len()).filter(|n| sum[*n] != sum[n - 1]).collect();
    assert_eq!((sum[0], changes), (100, vec![2_000, 3_600]));
}

#[test]
fn a_stream_that_begins_long_after_another_leaves_it_whole() {
    let scratch = Scratch::new("mix-far-apart");
    fs::write(scratch.path("early.vox"), stamped(1, 5_000, &[100; 400_000])).expect("a stream");
    fs::write(scratch.path("late.vox"), stamped(2, 45_000, &[1_000; 8_000])).expect("a stream");
    for inputs in ["early.vox late.vox", "late.vox early.vox"] {
        scratch.run(&format!("vox-mix {inputs} | vox-play sum.wav")).succeeded_silently();
        let sum = Wav::read(&scratch.path("sum.wav")).samples;
        let changes: Vec<usize> = (1..sum.len()).filter(|n| sum[*n] != sum[n - 1]).collect();
        assert_eq!((sum.len(), sum[0], changes), (400_000, 100, vec![320_000, 328_000]), "{inputs}");
    }
}

#[test]
fn a_due_time_that_jumps_by_days_is_not_waited_for() {
    let scratch = Scratch::new("mix-due-jump");
    let days = |n: i64| if n < 25 { 0 } else { 100 * 24 * 3_600_000_000_000 };
    let due = |n: i64| Times { due: Some(Stamp::from_ns(n * 20_000_000 + days(n))), ..Times::default() };
    fs::write(scratch.path("jump.vox"), timed(1, &[100; 8_000], due)).expect("a stream");
    scratch.run("vox-mix jump.vox | vox-play sum.wav").succeeded();
    assert_eq!(Wav::read(&scratch.path("sum.wav")).samples, [100; 8_000]);
}

#[test]
fn rates_channels_and_codecs_are_mixed() {
    let scratch = Scratch::new("mix-any");
    let script = "vox-mix <(vox-capture tone:440 --rate 8000 --duration 2 | vox-encode pcmu) \
                  <(vox-capture tone:440 --rate 44100 --channels 2 --duration 2) \
                  <(vox-capture tone:440 --rate 48000 --duration 2 | vox-encode opus) \
                  --rate 48000 --channels stereo | vox-play sum.wav";
    scratch.run(script).succeeded_silently();
    let sum = Wav::read(&scratch.path("sum.wav"));
    assert_eq!((sum.rate, sum.channels), (48_000, 2));
    assert!((sum.frames() as i64 - 96_000).abs() <= 2, "{}", sum.frames());
    // In phase, three tones are three times as loud as one.
    let peak = sum.samples[48_000..140_000].iter().map(|sample| sample.unsigned_abs()).max().unwrap_or(0);
    let one = 0.25 * 32_768.0;
    assert!((f64::from(peak) / one - 3.0).abs() < 0.15, "{peak}");
}

#[test]
fn channels_go_where_they_are_mapped() {
    let scratch = Scratch::new("mix-map");
    let script = "vox-mix <(vox-capture tone:440 --duration 0.1 --name ana) <(vox-capture tone:440 --duration 0.1) \
                  --channels 7.1 --map ana=LFE --map SR --gain ana=-6.0206 | vox-play sum.wav";
    scratch.run(script).succeeded_silently();
    let sum = Wav::read(&scratch.path("sum.wav"));
    assert_eq!(sum.channels, 8);
    let peak = |channel: usize| {
        let of_channel = sum.samples.iter().skip(channel).step_by(8);
        of_channel.map(|sample| sample.unsigned_abs()).max().unwrap_or(0)
    };
    let peaks: Vec<u16> = (0..8).map(peak).collect();
    assert!(peaks[7] > 8_000 && peaks[3].abs_diff(peaks[7] / 2) < 3, "{peaks:?}");
    assert_eq!(peaks.iter().filter(|peak| **peak > 0).count(), 2, "{peaks:?}");
}

#[test]
fn live_streams_are_mixed_in_real_time_with_files_between_them() {
    let scratch = Scratch::new("mix-live");
    let script = "vox-mix <(vox-capture tone:440 --duration 2 | vox-replay -) \
                  <(vox-capture tone:440 --duration 1 | vox-replay -) <(vox-capture silence: --duration 1) \
                  --stats stats >sum.vox";
    let outcome = scratch.spawn(script).wait(LIMIT).succeeded_silently();
    assert!(outcome.wall > Duration::from_millis(1_900), "{:?}", outcome.wall);
    let entries = read_vox(&scratch.path("sum.vox"));
    let Entry::Format(_, format) = &entries[0] else { panic!("a Format comes first") };
    assert!(format.live);
    let (mut ticks, mut stamps) = (0, Vec::new());
    for entry in &entries {
        if let Entry::Audio { timestamp, duration, times, .. } | Entry::Gap { timestamp, duration, times, .. } = entry {
            assert_eq!(*timestamp, ticks, "media time is gapless");
            ticks += duration;
            stamps.push(times.captured.map(|at| at.ns()).expect("live audio says when it was captured"));
        }
    }
    assert!((90_000..110_000).contains(&ticks), "{ticks}");
    assert!(stamps.windows(2).all(|pair| pair[1] > pair[0]));
}

#[test]
fn one_stream_from_a_jitter_buffer_is_mixed_to_what_is_played() {
    let scratch = Scratch::new("mix-played");
    let said = speech(&scratch, "said.wav", Speech::mono(48_000, 300_001));
    for (network, jitter) in [("lan", "--delay 60"), ("wifi-bad", "--delay 100"), ("wifi-bad", "")] {
        let script = format!(
            "vox-capture said.wav | vox-encode opus --fec | vox-impair {network} --seed 7 | vox-jitter --virtual {jitter} \
             >due.vox; vox-play played.wav <due.vox; vox-mix <due.vox | vox-play mixed.wav"
        );
        scratch.run(&script).succeeded_silently();
        let (played, mixed) = (Wav::read(&scratch.path("played.wav")), Wav::read(&scratch.path("mixed.wav")));
        assert!(mixed.frames().abs_diff(played.frames()) <= 48, "{} for {}", mixed.frames(), played.frames());
        // Where nothing is missing and nothing is stretched, every sample is the same.
        if network == "lan" {
            assert!(mixed == played, "{network} {jitter}");
            assert!(mixed.frames() >= said.frames());
        }
    }
}

#[test]
fn what_cannot_be_mixed_is_said() {
    let scratch = Scratch::new("mix-wrong");
    let outcome = scratch.run("vox-mix nothing.vox | cat").exited(&[3, 0]);
    assert!(outcome.stderr.contains("cannot open nothing.vox"), "{}", outcome.stderr);
    scratch.run("vox-mix - - </dev/null | cat").exited(&[2, 0]);
    scratch.run("vox-capture tone:440 --duration 1 | vox-mix --gain ana=loud | cat").exited(&[0, 2, 0]);
    scratch.run("vox-capture tone:440 --duration 1 | head -c 5000 | vox-mix | cat >/dev/null").exited(&[0, 0, 3, 0]);
}
