//! Edits by a list: to the sample on PCM, to the frame on Opus without coding it again, in a pipe and from a file.

use std::fs;
use std::path::Path;

use vox_e2e::{Entry, Outcome, Scratch, Speech, Wav, read_vox, speech};
use vox_frame::{
    Audio, Channels, Codec, Format, GapReason, MediaTime, Opening, Rate, Record, SequenceNumber, StreamId, Times,
};

/// What an edit makes of samples at 48 kHz.
fn edited(scratch: &Scratch, edits: &str) -> Wav {
    fs::write(scratch.path("list.edit"), edits).expect("a list");
    scratch.run("vox-capture said.wav | vox-edit list.edit | vox-play out.wav").succeeded_silently();
    let piped = Wav::read(&scratch.path("out.wav"));
    scratch.run("vox-edit list.edit said.wav | vox-play file.wav").succeeded_silently();
    assert!(Wav::read(&scratch.path("file.wav")) == piped, "a file is edited as a pipe is");
    piped
}

#[test]
fn cut_and_keep_are_exact_to_the_sample() {
    let scratch = Scratch::new("edit-cut");
    let said = speech(&scratch, "said.wav", Speech::stereo(48_000, 200_001));
    let frames = |from: usize, to: usize| &said.samples[from * 2..to * 2];
    let out = edited(&scratch, "cut 0.5s..1.25s\ncut 2.000020833s..2.5s");
    assert!(out.samples == [frames(0, 24_000), frames(60_000, 96_001), frames(120_000, 200_001)].concat());
    let out = edited(&scratch, "keep 1s..2s\nkeep 3s..3.5s\ncut 1.5s..");
    assert!(out.samples == frames(48_000, 72_000));
    let out = edited(&scratch, "cut ..1s\ncut 4s..");
    assert!(out.samples == frames(48_000, 192_000));
}

#[test]
fn levels_are_computed_sample_by_sample() {
    let scratch = Scratch::new("edit-level");
    let said = speech(&scratch, "said.wav", Speech::mono(48_000, 150_000));
    let out = edited(
        &scratch,
        "gain 0.5s..1s -6dB\nsilence 1s..1.1s\nfade 2s..2.5s out\nfade 0..250ms in\ngain 0.75s..1s 20dB # too loud",
    );
    for (n, (was, is)) in said.samples.iter().zip(&out.samples).enumerate() {
        let gain = match n {
            0..12_000 => n as f64 / 12_000.0,
            24_000..36_000 => 10_f64.powf(-6.0 / 20.0),
            36_000..48_000 => 10_f64.powf(14.0 / 20.0),
            48_000..52_800 => 0.0,
            96_000..120_000 => 1.0 - (n - 96_000) as f64 / 24_000.0,
            _ => 1.0,
        };
        let expected = (f64::from(*was) * gain).clamp(-32_768.0, 32_767.0);
        let off = (f64::from(*is) - expected).abs();
        assert!(if gain == 1.0 { off == 0.0 } else { off <= 0.51 }, "sample {n}: {was} became {is}, not {expected}");
    }
    assert_eq!(out.frames(), 150_000);
}

#[test]
fn files_are_put_in_and_laid_over() {
    let scratch = Scratch::new("edit-insert");
    let said = speech(&scratch, "said.wav", Speech::mono(48_000, 100_000));
    let jingle = Wav { rate: 48_000, channels: 1, samples: (0..10_000).map(|n| (n % 100) * 50).collect() };
    jingle.write(&scratch.path("a jingle.wav"));
    let out = edited(&scratch, "insert 'a jingle.wav' at 1s\ncut 1.5s..2s\ninsert 'a jingle.wav' at 1:00");
    let expected = [
        &said.samples[..48_000],
        &jingle.samples,
        &said.samples[48_000..72_000],
        &said.samples[96_000..],
        &jingle.samples,
    ];
    assert!(out.samples == expected.concat());
    let out = edited(&scratch, "overlay 'a jingle.wav' at 0.5s -20dB");
    for (n, (was, is)) in said.samples.iter().zip(&out.samples).enumerate() {
        let over =
            n.checked_sub(24_000).and_then(|n| jingle.samples.get(n)).map_or(0.0, |&over| f64::from(over) / 10.0);
        assert!((f64::from(*is) - f64::from(*was) - over).abs() <= 0.51, "sample {n}");
    }
}

#[test]
fn speed_and_pitch_have_exact_lengths() {
    let scratch = Scratch::new("edit-pace");
    speech(&scratch, "said.wav", Speech::mono(48_000, 240_000));
    for (edit, frames) in [("speed 1s..3s 2", 192_000), ("speed .. 0.5", 480_000), ("pitch 1s..3s +4", 240_000)] {
        assert_eq!(edited(&scratch, edit).frames(), frames, "{edit}");
    }
}

#[test]
fn a_gap_stays_a_gap_and_is_cut_with_the_rest() {
    let scratch = Scratch::new("edit-gap");
    speech(&scratch, "said.wav", Speech::mono(48_000, 96_000));
    // A tenth of the packets is missing.
    scratch
        .run("vox-capture said.wav | vox-impair perfect --loss 10% --seed 4 | vox-jitter --virtual >gaps.vox")
        .succeeded();
    scratch.run("vox-edit -e 'cut 0.5s..1.5s' <gaps.vox >cut.vox").succeeded_silently();
    let sum = |name: &str| {
        let entries = read_vox(&scratch.path(name));
        let mut gaps = 0;
        let all: u64 = entries
            .iter()
            .map(|entry| match entry {
                Entry::Audio { duration, .. } => *duration,
                Entry::Gap { duration, .. } => {
                    gaps += duration;
                    *duration
                }
                _ => 0,
            })
            .sum();
        (all, gaps)
    };
    let (before, after) = (sum("gaps.vox"), sum("cut.vox"));
    assert_eq!(before.0 - after.0, 48_000);
    assert!(after.1 > 0 && after.1 < before.1, "{before:?} {after:?}");
}

/// A stream of one record, of silence that is not all there.
fn lasting(path: &Path, duration: u32, payload: &[u8]) {
    let audio = Audio {
        id: StreamId(1),
        sequence: SequenceNumber(0),
        timestamp: MediaTime(0),
        duration,
        marker: false,
        recovered: false,
        padding: false,
        times: Times::default(),
        slot: None,
        extensions: &[],
        payload,
    };
    let mut bytes = Vec::new();
    Opening::new(0, [9; 16]).write(&mut bytes);
    Record::Format(StreamId(1), Format::new(Codec::PcmS16, Rate::HZ_48000, Channels::STEREO, 0)).write(&mut bytes);
    Record::Audio(audio).write(&mut bytes);
    fs::write(path, bytes).expect("a stream");
}

#[test]
fn what_a_payload_does_not_hold_is_missing_and_takes_no_memory() {
    let scratch = Scratch::new("edit-lasting");
    lasting(&scratch.path("long.vox"), u32::MAX, &[1; 4 * 480]);
    scratch.run("ulimit -v 4000000; vox-edit -e 'gain 0.. 1dB' <long.vox >out.vox").succeeded();
    let mut spans = Vec::new();
    for entry in read_vox(&scratch.path("out.vox")) {
        match entry {
            Entry::Audio { timestamp, duration, payload, .. } => {
                assert_eq!(payload.len() as u64, duration * 4);
                spans.push((timestamp, duration, None));
            }
            Entry::Gap { timestamp, duration, reason, .. } => spans.push((timestamp, duration, Some(reason))),
            _ => {}
        }
    }
    assert_eq!(spans, [(0, 480, None), (480, u64::from(u32::MAX) - 480, Some(GapReason::Lost))]);
}

fn packets(scratch: &Scratch, name: &str) -> Vec<Vec<u8>> {
    let entries = read_vox(&scratch.path(name));
    let payloads = entries.into_iter().filter_map(|entry| match entry {
        Entry::Audio { payload, .. } => Some(payload),
        _ => None,
    });
    payloads.collect()
}

#[test]
fn opus_is_cut_by_packets_that_are_not_coded_again() {
    let scratch = Scratch::new("edit-opus");
    speech(&scratch, "said.wav", Speech::mono(48_000, 240_000));
    scratch
        .run("vox-capture said.wav | vox-encode opus >said.vox; vox-record said.opus <said.vox")
        .succeeded_silently();
    scratch.run("vox-edit -e 'cut 1s..2s' -e 'silence 3s..3.5s' <said.vox >cut.vox").succeeded_silently();
    let (before, after) = (packets(&scratch, "said.vox"), packets(&scratch, "cut.vox"));
    assert_eq!(before.len() - after.len(), 50);
    let same = after.iter().filter(|packet| before.contains(packet)).count();
    assert_eq!(after.len() - same, 25, "half a second of silence is new, all else is as it was");
    scratch.run("vox-edit -e 'cut 1s..2s' said.opus | vox-record cut.opus").succeeded_silently();
    scratch.run("vox-edit -e 'keep ..' cut.opus | vox-play cut.wav").succeeded_silently();
    assert_eq!(Wav::read(&scratch.path("cut.wav")).frames(), 192_000);
    scratch.run("vox-edit -e 'insert cut.opus at 2s' <said.vox | vox-play longer.wav").succeeded_silently();
    let longer = Wav::read(&scratch.path("longer.wav")).frames();
    assert!(longer.abs_diff(240_000 + 192_000) <= 1_920, "{longer} frames");
    let refused = scratch.run("vox-edit -e 'gain 0..1 6dB' <said.vox >no.vox").exited(&[2]);
    assert!(refused.stderr.contains("vox-decode"), "{}", refused.stderr);
    let decoded = "vox-decode <said.vox | vox-edit -e 'gain 0..1 6dB' | vox-play loud.wav";
    scratch.run(decoded).succeeded_silently();
    assert_eq!(Wav::read(&scratch.path("loud.wav")).frames(), 240_000);
}

#[test]
fn what_cannot_be_done_is_said_in_one_line() {
    let scratch = Scratch::new("edit-refuse");
    speech(&scratch, "said.wav", Speech::mono(8_000, 8_000));
    let says = |outcome: Outcome, code: i32, words: &str| {
        let outcome = outcome.exited(&[0, code]);
        assert!(outcome.stderr.contains(words) && outcome.stderr.lines().count() == 1, "{}", outcome.stderr);
    };
    says(scratch.run("vox-capture said.wav | vox-edit -e 'cut 5s' >out"), 2, "3s..10s");
    says(scratch.run("vox-capture said.wav | vox-edit -e 'insert no.wav at 1s' >out"), 3, "no.wav");
    says(scratch.run("vox-capture said.wav | vox-edit nothing.edit >out"), 3, "nothing.edit");
    scratch.run("vox-capture said.wav | vox-encode pcmu >mu.vox").succeeded_silently();
    scratch.run("vox-edit -e 'cut 0.25..0.5' <mu.vox >cut.vox").succeeded_silently();
    let entries = read_vox(&scratch.path("cut.vox"));
    assert!(entries.iter().any(|entry| matches!(entry, Entry::Format(_, format) if format.codec == Codec::PcmS16)));
    scratch.run("vox-play whole.wav <mu.vox; vox-play cut.wav <cut.vox").succeeded_silently();
    let (whole, cut) = (Wav::read(&scratch.path("whole.wav")), Wav::read(&scratch.path("cut.wav")));
    assert!(cut.samples == [&whole.samples[..2_000], &whole.samples[4_000..]].concat());
}
