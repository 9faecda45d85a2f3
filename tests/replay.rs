//! A kept stream, played again.

use std::fs;
use std::time::Duration;

use vox_e2e::{Entry, Scratch, Speech, read_vox, speech};

fn arrivals(entries: &[Entry]) -> Vec<i64> {
    let arrived = |entry: &Entry| match entry {
        Entry::Audio { times, .. } => times.arrived.map(|at| at.ns()),
        _ => None,
    };
    entries.iter().filter_map(arrived).collect()
}

fn payloads(entries: &[Entry]) -> Vec<&[u8]> {
    entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Audio { payload, .. } => Some(payload.as_slice()),
            _ => None,
        })
        .collect()
}

#[test]
fn a_kept_session_gives_the_same_file_in_every_run() {
    let scratch = Scratch::new("replay-virtual");
    speech(&scratch, "said.wav", Speech::mono(48_000, 240_000));
    scratch
        .run("vox-capture said.wav | vox-encode opus --fec | vox-impair lte --seed 7 >session.vox")
        .succeeded_silently();
    let mut heard = Vec::new();
    for _ in 0..3 {
        scratch
            .run("vox-replay session.vox --virtual | tee again.vox | vox-jitter --virtual | vox-play heard.wav")
            .succeeded_silently();
        heard.push(fs::read(scratch.path("heard.wav")).expect("a WAV"));
    }
    assert!(heard.windows(2).all(|pair| pair[0] == pair[1]), "two runs differ");
    let kept = fs::read(scratch.path("session.vox")).expect("a stream");
    assert!(fs::read(scratch.path("again.vox")).expect("a stream") == kept, "nothing is changed");
}

#[test]
fn in_real_time_records_are_as_far_apart_as_they_came() {
    let scratch = Scratch::new("replay-live");
    scratch
        .run("vox-capture tone:440 --duration 1 | vox-encode pcmu | vox-impair lte >session.vox")
        .succeeded_silently();
    let outcome = scratch.run("vox-replay session.vox >again.vox").succeeded_silently();
    assert!(outcome.wall > Duration::from_millis(950), "{:?}", outcome.wall);
    let (kept, again) = (read_vox(&scratch.path("session.vox")), read_vox(&scratch.path("again.vox")));
    assert_eq!(payloads(&kept), payloads(&again));
    let (kept, again) = (arrivals(&kept), arrivals(&again));
    assert!(again[0] > 1_500_000_000_000_000_000, "stamps are of now");
    let moved: Vec<i64> = kept.iter().zip(&again).map(|(kept, again)| again - kept).collect();
    // A machine that stops this test for a moment moves the rest, never back.
    assert!(moved.is_sorted(), "{moved:?}");
}

#[test]
fn a_stream_without_stamps_is_paced_by_media_time() {
    let scratch = Scratch::new("replay-paced");
    scratch.run("vox-capture tone:440 --duration 1 | vox-encode opus >kept.vox").succeeded_silently();
    let outcome = scratch.run("vox-replay kept.vox --speed 2 | vox-inspect --summary >again.vox").succeeded();
    assert!((450..5_000).contains(&outcome.wall.as_millis()), "{:?}", outcome.wall);
    let entries = read_vox(&scratch.path("again.vox"));
    let stamped = |entry: &Entry| !matches!(entry, Entry::Audio { times, .. } if times.captured.is_none());
    assert!(entries.iter().all(stamped), "whoever paces says when it was captured");
    assert!(matches!(&entries[0], Entry::Format(_, format) if format.live));
}

#[test]
fn a_part_is_played() {
    let scratch = Scratch::new("replay-part");
    scratch.run("vox-capture tone:440 --duration 10 | vox-encode pcmu >kept.vox").succeeded_silently();
    scratch.run("vox-replay kept.vox --virtual --from 2 --duration 3 >part.vox").succeeded_silently();
    let part = read_vox(&scratch.path("part.vox"));
    assert_eq!(payloads(&part).len(), 150);
    assert!(matches!(part.last(), Some(Entry::End(_))));
}

#[test]
fn what_is_no_stream_is_said_by_name() {
    let scratch = Scratch::new("replay-foreign");
    fs::write(scratch.path("talk.wav"), b"RIFF....WAVEfmt ").expect("a file");
    let outcome = scratch.run("vox-replay talk.wav | cat").exited(&[3, 0]);
    assert!(outcome.stderr.contains("talk.wav is not a vox stream"), "{}", outcome.stderr);
    let outcome = scratch.run("vox-replay nothing.vox | cat").exited(&[3, 0]);
    assert!(outcome.stderr.contains("cannot open nothing.vox"), "{}", outcome.stderr);
}
