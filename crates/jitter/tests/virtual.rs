//! The real program on recorded streams.

use std::io::Write;
use std::process::{Command, Output as Done, Stdio};

use vox_frame::{
    Audio, Channels, Codec, End, EndReason, Event, Format, GapReason, Item, MediaTime, Opening, Rate, Record,
    SequenceNumber, Splitter, Stamp, StreamId, Times,
};

const MS: i64 = 1_000_000;
const ID: StreamId = StreamId(7);

fn run(arguments: &[&str], input: &[u8]) -> Done {
    let mut child = Command::new(env!("CARGO_BIN_EXE_vox-jitter"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program is there");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let done = child.wait_with_output().expect("it ends");
    writer.join().expect("it wrote");
    done
}

fn opening() -> Vec<u8> {
    let mut bytes = Vec::new();
    Opening::new(0, [0; 16]).write(&mut bytes);
    bytes.extend(announcement(ID));
    bytes
}

fn announcement(id: StreamId) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut format = Format::new(Codec::Opus, Rate::HZ_48000, Channels::MONO, 960);
    format.live = true;
    Record::Format(id, format).write(&mut bytes);
    bytes
}

fn audio(n: u64, arrived_ms: i64) -> Vec<u8> {
    audio_of(ID, n, arrived_ms)
}

fn audio_of(id: StreamId, n: u64, arrived_ms: i64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let times = Times { arrived: Some(Stamp::from_ns(1_700_000_000_000 * MS + arrived_ms * MS)), ..Times::default() };
    let (sequence, timestamp) = (SequenceNumber(n), MediaTime(n * 960));
    let payload = &[n as u8; 40];
    let audio = Audio {
        id,
        sequence,
        timestamp,
        duration: 960,
        marker: n == 0,
        recovered: false,
        padding: false,
        times,
        slot: None,
        extensions: &[],
        payload,
    };
    audio.write(&mut bytes);
    bytes
}

fn event(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let event = name.to_owned();
    Event { id: ID, timestamp: MediaTime(0), times: Times::default(), event, details: Default::default() }
        .write(&mut bytes);
    bytes
}

/// 500 packets over a network that delays, loses, doubles and reorders them, always the same way.
fn recording() -> Vec<u8> {
    let mut seed = 1_u64;
    let mut packets = Vec::new();
    for n in 0..500 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let dice = seed >> 33;
        if dice.is_multiple_of(10) {
            continue;
        }
        let arrived = 20 * n as i64 + (dice % 80) as i64;
        packets.push((arrived, n));
        if dice.is_multiple_of(17) {
            packets.push((arrived + 3, n));
        }
    }
    packets.sort();
    let mut bytes = opening();
    for (arrived, n) in packets {
        bytes.extend(audio(n, arrived));
    }
    let end = End { id: ID, timestamp: MediaTime(500 * 960), times: Times::default(), reason: EndReason::Complete };
    end.write(&mut bytes);
    bytes
}

fn records(bytes: &[u8], mut look: impl FnMut(Record<'_>)) {
    let mut splitter = Splitter::new();
    let mut rest = bytes;
    loop {
        while let Some(item) = splitter.poll().expect("a stream") {
            if let Item::Record(raw) = item {
                look(raw.parse().expect("a record"));
            }
        }
        if rest.is_empty() {
            return;
        }
        let taken = splitter.feed(rest);
        rest = &rest[taken..];
    }
}

#[test]
fn five_runs_give_the_same_bytes_and_gapless_timelines() {
    let input = recording();
    let first = run(&["--virtual"], &input);
    assert!(first.status.success() && first.stderr.is_empty(), "{}", String::from_utf8_lossy(&first.stderr));
    for _ in 1..5 {
        assert!(run(&["--virtual"], &input).stdout == first.stdout, "another run, other bytes");
    }
    let (mut media, mut due, mut lost, mut late, mut played, mut inserted) = (MediaTime(0), None, 0, 0, 0, 0);
    records(&first.stdout, |record| {
        let (timestamp, duration, times, slot) = match record {
            Record::Audio(audio) => {
                played += 1;
                (audio.timestamp, u64::from(audio.duration), audio.times, audio.slot.map(u64::from))
            }
            Record::Gap(gap) => {
                lost += gap.duration / 960 * u64::from(gap.reason == GapReason::Lost);
                late += gap.duration / 960 * u64::from(gap.reason == GapReason::Late);
                inserted += u64::from(gap.duration == 0);
                (gap.timestamp, gap.duration, gap.times, gap.slot)
            }
            Record::End(end) => {
                assert_eq!(end.timestamp, media, "the end is the last");
                return;
            }
            _ => return,
        };
        assert_eq!(timestamp, media);
        assert_eq!(times.due, Some(due.unwrap_or_else(|| times.due.expect("a due time"))));
        media = media.plus(duration);
        due = times.due.map(|due| due.plus(slot.expect("a slot") as i64));
    });
    assert_eq!(media, MediaTime(500 * 960));
    assert_eq!(lost + late + played, 500, "every packet is played or a gap");
    assert!(lost > 20 && inserted > 0 && played > 300, "{lost} lost, {inserted} insertions, {played} played");
}

/// What leaves of a stream: when it is due, for how long, and the audio.
fn left_of(bytes: &[u8], id: StreamId) -> Vec<(i64, u64, Option<u64>)> {
    let mut left = Vec::new();
    records(bytes, |record| match record {
        Record::Audio(audio) if audio.id == id => {
            let slot = audio.slot.expect("a slot").into();
            left.push((audio.times.due.expect("a due time").ns(), slot, Some(audio.sequence.0)));
        }
        Record::Gap(gap) if gap.id == id => {
            left.push((gap.times.due.expect("a due time").ns(), gap.slot.expect("a slot"), None));
        }
        _ => {}
    });
    // What is concealed behind the last packet lasts until somebody says that there is none.
    let last = left.iter().rposition(|(.., audio)| audio.is_some()).map_or(0, |last| last + 1);
    left.truncate(last);
    left
}

#[test]
fn two_sessions_synchronous_and_overlapping_do_not_notice_each_other() {
    let other = StreamId(8);
    // The one loses every ninth packet; the other begins as many ms later, and stalls at times.
    for begins in [0, 3_001] {
        let one = (0..400).filter(|n| n % 9 != 4).map(|n| (20 * n as i64, ID, n));
        let two = (0..400)
            .map(|n| (begins + 20 * n as i64 + if n % 50 < 5 { 90 - 20 * (n % 50) as i64 } else { 0 }, other, n));
        let mut packets: Vec<(i64, StreamId, u64)> = one.chain(two).collect();
        packets.sort();
        let stream = |wanted: &[StreamId]| {
            let mut bytes = opening();
            bytes.extend(announcement(other));
            let packets = packets.iter().filter(|(_, id, _)| wanted.contains(id));
            packets.for_each(|(arrived, id, n)| bytes.extend(audio_of(*id, *n, *arrived)));
            bytes
        };
        let both = run(&["--virtual"], &stream(&[ID, other])).stdout;
        for id in [ID, other] {
            let alone = left_of(&run(&["--virtual"], &stream(&[id])).stdout, id);
            assert!(alone.iter().filter(|(.., audio)| audio.is_some()).count() > 300);
            assert!(left_of(&both, id) == alone, "stream {} leaves otherwise beside another", id.0);
        }
    }
}

#[test]
fn the_half_full_rule_is_repeatable_too() {
    let input = recording();
    let arguments = ["--virtual", "--max", "8", "--start", "half"];
    assert!(run(&arguments, &input).stdout == run(&arguments, &input).stdout);
}

#[test]
fn other_records_stay_in_their_place_among_the_audio() {
    let mut input = opening();
    input.extend(event("first"));
    input.extend(audio(0, 0));
    input.extend(audio(1, 20));
    input.extend(event("second"));
    input.extend(audio(2, 40));
    let done = run(&["--virtual"], &input);
    assert!(done.status.success(), "an end that is missing is a warning");
    let mut seen = String::new();
    records(&done.stdout, |record| match record {
        Record::Audio(audio) => seen.push_str(&audio.sequence.0.to_string()),
        Record::Event(event) => seen.push_str(&event.event[..1]),
        Record::End(end) => {
            assert_eq!(end.reason, EndReason::Interrupted);
            seen.push('.');
        }
        _ => {}
    });
    assert_eq!(seen, "f01s2.");
    assert_eq!(run(&["--virtual", "--strict"], &input).status.code(), Some(3));
}

#[test]
fn an_old_recording_is_refused_live_and_the_way_out_is_named() {
    let mut input = opening();
    input.extend(audio(0, 0));
    let done = run(&[], &input);
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(3), "{said}");
    assert!(said.contains("vox-replay") && said.contains("--virtual"), "{said}");
}

#[test]
fn the_statistics_end_with_a_summary() {
    let folder = std::env::temp_dir().join(format!("vox-jitter-stats-{}", std::process::id()));
    let path = folder.display().to_string();
    run(&["--virtual", "--stats", &path], &recording());
    let text = std::fs::read_to_string(&folder).expect("statistics");
    std::fs::remove_file(&folder).expect("a file");
    let last: serde_json::Value = serde_json::from_str(text.lines().last().expect("lines")).expect("JSON");
    assert_eq!(last["type"], "summary");
    assert!(last["packetsLost"].as_u64() > Some(20), "{last}");
    assert_eq!(text.lines().filter(|line| line.contains("stream-end")).count(), 1);
}

#[test]
fn a_damaged_record_ends_the_stream_in_good_order() {
    let mut input = opening();
    input.extend(audio(0, 0));
    let place = input.len();
    input.extend(audio(1, 20));
    input[place + 20] ^= 1;
    let done = run(&["--virtual"], &input);
    assert_eq!(done.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&done.stderr).contains(&place.to_string()));
    let mut count = 0;
    records(&done.stdout, |_| count += 1);
    assert_eq!(count, 3, "format, audio, end");
}

#[test]
fn the_trace_has_a_row_per_record_that_leaves() {
    let path = std::env::temp_dir().join(format!("vox-jitter-trace-{}.csv", std::process::id()));
    let done = run(&["--virtual", "--trace", path.to_str().expect("a name")], &recording());
    assert!(done.status.success());
    let rows = std::fs::read_to_string(&path).expect("the trace");
    std::fs::remove_file(&path).expect("it was there");
    let mut left = 0;
    records(&done.stdout, |record| left += usize::from(matches!(record, Record::Audio(_) | Record::Gap(_))));
    assert_eq!(rows.lines().count(), left + 1);
    let columns = rows.lines().next().expect("a heading").split(',').count();
    assert!(rows.lines().all(|row| row.split(',').count() == columns));
}

#[test]
fn a_stream_without_stamps_passes_with_its_own_durations() {
    let mut input = Vec::new();
    Opening::new(0, [0; 16]).write(&mut input);
    Record::Format(ID, Format::new(Codec::Opus, Rate::HZ_48000, Channels::MONO, 960)).write(&mut input);
    for n in 0..200_u64 {
        let audio = Audio {
            id: ID,
            sequence: SequenceNumber(n),
            timestamp: MediaTime(n * 960),
            duration: 960,
            marker: false,
            recovered: false,
            padding: false,
            times: Times::default(),
            slot: None,
            extensions: &[],
            payload: &[9 << 3; 40],
        };
        audio.write(&mut input);
    }
    records(&run(&["--virtual"], &input).stdout, |record| match record {
        Record::Audio(audio) => assert_eq!(audio.slot, Some(20_000_000)),
        Record::Gap(gap) => panic!("{gap:?}"),
        _ => {}
    });
}

#[test]
fn wrong_values_are_wrong_usage() {
    for arguments in [["--safety", "0"], ["--delay", "soon"], ["--max", "many"], ["--min", "-1"]] {
        assert_eq!(run(&arguments, &[]).status.code(), Some(2), "{arguments:?}");
    }
}
