//! The stage in Python that counts, `docs/examples/stats.py`, in the middle of real pipelines: it was written after
//! `docs/frame-format.md` alone, so these tests are tests of that page too.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};
use vox_e2e::{Entry, Outcome, Scratch, Speech, Wav, await_until, need, read_vox, signal, speech};
use vox_frame::{
    Audio, Channels, Codec, End, EndReason, Event, Format, Gap, GapReason, Item, MediaTime, Opening, Rate, Record,
    SequenceNumber, Splitter, StreamId, Times,
};

use rustix::process::Signal;

const LIMIT: Duration = Duration::from_secs(30);

/// How the stage is called.
fn stats() -> String {
    need(&["python3"]);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/stats.py");
    assert!(path.is_file(), "{} is the stage", path.display());
    format!("python3 {}", path.display())
}

/// The JSON lines among what a pipeline said.
fn lines(outcome: &Outcome) -> Vec<Value> {
    outcome.stderr.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn bytes(scratch: &Scratch, name: &str) -> Vec<u8> {
    fs::read(scratch.path(name)).expect("the pipeline has written it")
}

/// The offset at which each record of a sound stream begins.
fn offsets(stream: &[u8]) -> Vec<usize> {
    let (mut splitter, mut offsets, mut rest) = (Splitter::new(), Vec::new(), stream);
    while !rest.is_empty() {
        rest = &rest[splitter.feed(rest)..];
        while let Some(item) = splitter.poll().expect("a sound stream") {
            if let Item::Record(raw) = item {
                offsets.push(usize::try_from(raw.offset()).expect("a small file"));
            }
        }
    }
    offsets
}

/// What the stage says of a stream without gaps that came out of a file.
#[track_caller]
fn counted_as(line: &Value, entries: &[Entry]) {
    let (mut packets, mut duration, mut first, mut end) = (0, 0, None, Value::Null);
    for entry in entries {
        match entry {
            Entry::Format(id, format) => {
                assert_eq!(line["id"], id.to_string());
                assert_eq!(line["codec"], format.codec.name());
                assert_eq!(line["rate"], format.rate.hz());
                assert_eq!(line["channels"], format.channels.count());
            }
            Entry::Audio { timestamp, duration: ticks, .. } => {
                packets += 1;
                duration += ticks;
                first.get_or_insert(*timestamp);
            }
            Entry::End(ended) => end = json!({"time": ended.timestamp.0, "reason": ended.reason.name()}),
            other => panic!("{other:?} in a stream from a file"),
        }
    }
    assert_eq!(line["packets"], packets);
    assert_eq!(line["duration"], duration);
    assert_eq!(line["first"], json!(first));
    assert_eq!(line["end"], end);
    assert_eq!(line["gaps"], json!({}));
    for (key, nothing) in
        [("contiguous", json!(true)), ("jumps", json!(0)), ("padding", json!(0)), ("unknown", json!(0))]
    {
        assert_eq!(line[key], nothing, "{key} in {line}");
    }
}

#[test]
fn a_pipeline_is_counted_and_not_changed() {
    let scratch = Scratch::new("stats-pipeline");
    speech(&scratch, "said.wav", Speech::stereo(48_000, 100_001));
    let encode = "vox-capture --name talk said.wav | vox-encode opus | tee in.vox";
    let stats = stats();
    let outcome = scratch
        .run(&format!("{encode} | {stats} | tee out.vox | vox-decode | vox-play heard.wav"))
        .exited(&[0, 0, 0, 0, 0, 0, 0]);
    assert!(bytes(&scratch, "in.vox") == bytes(&scratch, "out.vox"), "every byte passes");
    assert_eq!(Wav::read(&scratch.path("heard.wav")).frames(), 100_001);
    let lines = lines(&outcome);
    assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
    counted_as(&lines[0], &read_vox(&scratch.path("in.vox")));
    assert_eq!(lines[0]["label"], "talk");
    assert_eq!(lines[0]["end"], json!({"time": 100_001, "reason": "complete"}));
}

#[test]
fn two_streams_one_after_the_other_are_counted_apart() {
    let scratch = Scratch::new("stats-cat");
    let first = speech(&scratch, "a.wav", Speech::mono(48_000, 48_000));
    let second = speech(&scratch, "b.wav", Speech::mono(48_000, 24_000));
    scratch.run("vox-capture a.wav >a.vox; vox-capture b.wav | vox-encode l16 >b.vox").succeeded_silently();
    let stats = stats();
    let outcome = scratch.run(&format!("cat a.vox b.vox | {stats} | tee out.vox | vox-play both.wav")).succeeded();
    assert!(bytes(&scratch, "out.vox") == [bytes(&scratch, "a.vox"), bytes(&scratch, "b.vox")].concat());
    let both = Wav::read(&scratch.path("both.wav"));
    assert!(both.samples == [first.samples, second.samples].concat(), "one after the other, sample by sample");
    let lines = lines(&outcome);
    assert_eq!(lines.len(), 2, "{}", outcome.stderr);
    counted_as(&lines[0], &read_vox(&scratch.path("a.vox")));
    counted_as(&lines[1], &read_vox(&scratch.path("b.vox")));

    let outcome = scratch.run(&format!("cat a.vox a.vox | {stats} | cmp - <(cat a.vox a.vox)")).succeeded();
    assert_eq!(self::lines(&outcome).len(), 2, "an id that ended may come again: {}", outcome.stderr);
}

#[test]
fn a_truncated_stream_passes_up_to_its_last_whole_record() {
    let scratch = Scratch::new("stats-truncated");
    scratch.run("vox-capture tone:440 --duration 1 | vox-encode opus >whole.vox").succeeded_silently();
    let (whole, stats) = (bytes(&scratch, "whole.vox"), stats());
    let offsets = offsets(&whole);
    let begin = offsets[11];
    // Inside the fixed part, inside the head, inside the payload.
    for cut in [begin + 7, begin + 20, begin + 50] {
        assert!(cut < offsets[12], "a cut inside the record");
        fs::write(scratch.path("cut.vox"), &whole[..cut]).expect("a file");
        let outcome = scratch.run(&format!("cat cut.vox | {stats} | tee out.vox | vox-decode >/dev/null"));
        let outcome = outcome.exited(&[0, 3, 0, 0]);
        assert!(bytes(&scratch, "out.vox") == whole[..begin], "ten packets, whole, cut at {cut}");
        assert!(outcome.stderr.contains(&format!("stats: stdin is damaged at byte {begin}: ")), "{}", outcome.stderr);
        assert_eq!(lines(&outcome)[0]["packets"], 10);
        assert_eq!(lines(&outcome)[0]["end"], Value::Null);
    }

    // Between two records nothing is damaged, but the End is missing.
    fs::write(scratch.path("cut.vox"), &whole[..begin]).expect("a file");
    let outcome = scratch.run(&format!("{stats} <cut.vox >out.vox")).exited(&[0]);
    assert!(outcome.stderr.starts_with("stats: warning: "), "{}", outcome.stderr);
    assert!(bytes(&scratch, "out.vox") == whole[..begin]);
    scratch.run(&format!("{stats} --strict <cut.vox >out.vox")).exited(&[3]);
}

#[test]
fn a_corrupted_stream_passes_up_to_the_fault() {
    let scratch = Scratch::new("stats-corrupted");
    scratch.run("vox-capture tone:440 --duration 1 | vox-encode opus >whole.vox").succeeded_silently();
    let (whole, stats) = (bytes(&scratch, "whole.vox"), stats());
    let begin = offsets(&whole)[11];
    // Kind, flags, both lengths, id, check, sequence number, media time.
    for at in [0, 1, 3, 4, 7, 8, 13, 16, 30] {
        let mut damaged = whole.clone();
        damaged[begin + at] ^= 0x80;
        fs::write(scratch.path("damaged.vox"), &damaged).expect("a file");
        let outcome = scratch.run(&format!("cat damaged.vox | {stats} | tee out.vox | vox-decode >/dev/null"));
        assert_eq!(outcome.codes[1], 3, "bit 7 of byte {at}: {}", outcome.stderr);
        assert!(bytes(&scratch, "out.vox") == whole[..begin], "ten packets, whole, damaged at {at}");
        assert!(outcome.stderr.contains(&format!("stats: stdin is damaged at byte {begin}: ")), "{}", outcome.stderr);
        assert!(!outcome.stderr.contains("Traceback"), "{}", outcome.stderr);
        assert_eq!(lines(&outcome)[0]["packets"], 10);
    }
}

#[test]
fn what_is_no_stream_is_refused() {
    let scratch = Scratch::new("stats-foreign");
    speech(&scratch, "said.wav", Speech::mono(8_000, 800));
    let stats = stats();
    for input in ["<said.wav", "</dev/null", "< <(echo hello)"] {
        let outcome = scratch.run(&format!("{stats} {input}")).exited(&[3]);
        assert!(outcome.stderr.starts_with("stats: stdin is not a vox stream ("), "{}", outcome.stderr);
        assert_eq!((outcome.stderr.lines().count(), outcome.stdout.len()), (1, 0), "{}", outcome.stderr);
    }
}

#[test]
fn every_kind_of_record_is_counted() {
    let scratch = Scratch::new("stats-kinds");
    let stats = stats();
    let stream = stream_of_every_kind();
    fs::write(scratch.path("in.vox"), &stream).expect("a file");
    let outcome = scratch.run(&format!("cat in.vox | {stats} | tee out.vox | vox-inspect --summary >/dev/null"));
    let outcome = outcome.exited(&[0, 0, 0, 0]);
    assert!(bytes(&scratch, "out.vox") == stream, "every byte passes");
    let wanted = json!({
        "id": "0000abcd", "codec": "pcmu", "rate": 8000, "channels": 1,
        "packets": 4, "padding": 1, "recovered": 1, "duration": 480, "first": 1000,
        "gaps": {"lost": {"count": 2, "ticks": 480}, "silent": {"count": 1, "ticks": 800}},
        "end": {"time": 2900, "reason": "bye"}, "contiguous": false, "jumps": 1, "unknown": 2,
    });
    assert_eq!(lines(&outcome)[0], wanted, "{}", outcome.stderr);
}

/// Four packets, one of them padding and one recovered, three gaps, a jump of media time, and what is newer.
fn stream_of_every_kind() -> Vec<u8> {
    let id = StreamId(0xabcd);
    let times = Times::default();
    let audio = |sequence, timestamp, duration, padding, recovered| {
        Record::Audio(Audio {
            id,
            sequence: SequenceNumber(sequence),
            timestamp: MediaTime(timestamp),
            duration,
            marker: false,
            recovered,
            padding,
            times,
            slot: (!padding).then_some(20_000_000),
            extensions: &[1, 1, 30],
            payload: &[0xff; 160][..duration as usize],
        })
    };
    let gap = |sequence, timestamp, duration, reason| {
        Record::Gap(Gap {
            id,
            sequence: SequenceNumber(sequence),
            timestamp: MediaTime(timestamp),
            duration,
            packets: 1,
            reason,
            times,
            slot: None,
            later: None,
        })
    };
    let event = |id, event: &str| {
        Record::Event(Event { id, timestamp: MediaTime(1000), times, event: event.to_owned(), details: Map::new() })
    };
    let mut stream = Vec::new();
    Opening::new(0, [7; 16]).write(&mut stream);
    event(StreamId(0), "message").write(&mut stream);
    Record::Format(id, Format::new(Codec::Pcmu, Rate::HZ_8000, Channels::MONO, 160)).write(&mut stream);
    audio(1, 1000, 160, false, false).write(&mut stream);
    gap(2, 1160, 160, GapReason::Lost).write(&mut stream);
    event(id, "talk-stop").write(&mut stream);
    unknown(&mut stream, b'q');
    gap(3, 1320, 800, GapReason::Silent).write(&mut stream);
    audio(3, 2120, 0, true, false).write(&mut stream);
    Opening::new(0, [7; 16]).write(&mut stream);
    audio(4, 2120, 160, false, true).write(&mut stream);
    gap(5, 2280, 320, GapReason::Lost).write(&mut stream);
    unknown(&mut stream, b'Q');
    audio(8, 2740, 160, false, false).write(&mut stream);
    Record::End(End { id, timestamp: MediaTime(2900), times, reason: EndReason::Bye }).write(&mut stream);
    stream
}

/// Appends a record of a kind that nobody knows yet.
fn unknown(stream: &mut Vec<u8>, letter: u8) {
    let begin = stream.len();
    stream.extend_from_slice(&[letter, 0, 2, 0, 3, 0, 0, 0, 0xcd, 0xab, 0, 0]);
    let check = crc32(&[&stream[begin..], b"hd"].concat());
    stream.extend_from_slice(&check.to_le_bytes());
    stream.extend_from_slice(b"hdnew");
}

/// The CRC-32 of zlib.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

#[test]
fn what_came_is_passed_on_before_it_waits_and_a_signal_ends_it() {
    let scratch = Scratch::new("stats-live");
    scratch.run("vox-capture tone:440 --duration 1 | vox-encode opus >whole.vox").succeeded_silently();
    let whole = bytes(&scratch, "whole.vox");
    let begin = offsets(&whole)[11];
    // Ten packets and a piece of the next, and then nothing more.
    fs::write(scratch.path("cut.vox"), &whole[..begin + 9]).expect("a file");
    let script = format!("(cat cut.vox; exec sleep 60) | {}", stats());
    let mut running = scratch.shell(&script).read_stdout().spawn();
    let (mut stdout, mut passed) = (running.stdout(), vec![0; begin]);
    stdout.read_exact(&mut passed).expect("the whole records while the input is open");
    assert!(passed == whole[..begin], "every byte passes");
    let (stage, input) = (running.pid_of("python3"), running.pid_of("sleep"));
    signal(stage, Signal::INT);
    let gone = || !running.members().iter().any(|(_, name)| name == "python3");
    assert!(await_until(LIMIT, gone), "it waits a second for its input, not for ever");
    signal(input, Signal::TERM);
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).expect("what it wrote last");
    let outcome = running.wait(LIMIT);
    assert_eq!(outcome.codes[1], 0, "{}", outcome.stderr);
    fs::write(scratch.path("out.vox"), [passed, rest].concat()).expect("a file");
    let entries = read_vox(&scratch.path("out.vox"));
    let Some(Entry::End(end)) = entries.last() else { panic!("an End in place of the piece: {entries:?}") };
    assert_eq!((end.timestamp.0, &end.reason), (9_600, &EndReason::Stopped));
    assert!(!outcome.stderr.contains("Traceback"), "{}", outcome.stderr);
}

#[test]
fn a_reader_that_goes_away_is_a_good_end() {
    let scratch = Scratch::new("stats-epipe");
    let outcome = scratch.run(&format!("vox-capture noise: | {} | head -c 100000 | wc -c", stats()));
    let outcome = outcome.exited(&[0, 0, 0, 0]);
    assert_eq!(outcome.text().trim(), "100000");
    assert_eq!(lines(&outcome).len(), 1, "{}", outcome.stderr);
    assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
}
