//! Records as bytes: what is written is what is read, and nothing else is taken for a record.

use proptest::prelude::*;
use vox_frame::{
    Audio, Channels, Codec, End, EndReason, Format, Gap, GapReason, Item, LaterPacket, MAX_AUDIO_HEADER, MediaTime,
    Opening, Problem, Rate, Record, SequenceNumber, Splitter, Stamp, StreamId, Times,
};

fn times() -> impl Strategy<Value = Times> {
    let stamp = || prop::option::of(any::<i64>().prop_map(Stamp::from_ns));
    (stamp(), stamp(), stamp()).prop_map(|(captured, arrived, due)| Times { captured, arrived, due })
}

/// Writes an arbitrary Audio.
fn audio_bytes() -> impl Strategy<Value = Vec<u8>> {
    (any::<[u64; 2]>(), any::<[u32; 2]>(), any::<[bool; 3]>(), times(), any::<Option<u32>>(), any::<Vec<u8>>())
        .prop_map(|([sequence, timestamp], [id, duration], [marker, recovered, padding], times, slot, payload)| {
            let audio = Audio {
                id: StreamId(id),
                sequence: SequenceNumber(sequence),
                timestamp: MediaTime(timestamp),
                duration,
                marker,
                recovered,
                padding,
                times,
                slot,
                extensions: &[],
                payload: &payload,
            };
            written(&Record::Audio(audio))
        })
}

fn gap_bytes() -> impl Strategy<Value = Vec<u8>> {
    (any::<[u64; 3]>(), any::<[u32; 3]>(), 1..6u8, times(), any::<Option<u64>>(), any::<Vec<u8>>()).prop_map(
        |([sequence, timestamp, duration], [id, packets, ahead], reason, times, slot, payload)| {
            let reasons = [GapReason::Lost, GapReason::Late, GapReason::Overrun, GapReason::Muted, GapReason::Silent];
            let later = (!payload.is_empty()).then_some(LaterPacket { ahead, payload: &payload });
            let gap = Gap {
                id: StreamId(id),
                sequence: SequenceNumber(sequence),
                timestamp: MediaTime(timestamp),
                duration,
                packets,
                reason: reasons[usize::from(reason - 1)],
                times,
                slot,
                later,
            };
            written(&Record::Gap(gap))
        },
    )
}

fn other_bytes() -> impl Strategy<Value = Vec<u8>> {
    (any::<u32>(), 1..200_000u32, 1..=255u8, ".{0,40}", any::<u64>(), times()).prop_map(
        |(id, rate, channels, label, timestamp, times)| {
            let rate = Rate::new(rate).expect("not zero");
            let mut format = Format::new(Codec::Pcmu, rate, Channels::new(channels).expect("not zero"), 160);
            format.label = Some(label.clone());
            let mut bytes = written(&Record::Format(StreamId(id), format));
            let reason = EndReason::Other(format!("because {label}"));
            let end = End { id: StreamId(id), timestamp: MediaTime(timestamp), times, reason };
            bytes.extend(written(&Record::End(end)));
            bytes
        },
    )
}

/// A record's bytes, after a check that reading and writing them again gives the same.
fn written(record: &Record<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.write(&mut bytes);
    let mut stream = opening();
    stream.extend_from_slice(&bytes);
    let mut splitter = Splitter::new();
    assert_eq!(splitter.feed(&stream), stream.len());
    assert!(matches!(splitter.poll(), Ok(Some(Item::Opening(_)))));
    let Ok(Some(Item::Record(raw))) = splitter.poll() else { panic!("a record") };
    assert_eq!(&raw.parse().expect("fields"), record);
    bytes
}

fn opening() -> Vec<u8> {
    let mut bytes = Vec::new();
    Opening::new(-5, [9; 16]).write(&mut bytes);
    bytes
}

/// What a stream holds, read in pieces of those sizes; the error at its end, if any.
fn read(stream: &[u8], sizes: &[usize]) -> (Vec<Vec<u8>>, Option<vox_frame::Error>) {
    let mut splitter = Splitter::new();
    let mut records = Vec::new();
    let mut rest = stream;
    for size in sizes.iter().copied().cycle() {
        let taken = splitter.feed(&rest[..size.clamp(1, 4096).min(rest.len())]);
        rest = &rest[taken..];
        loop {
            match splitter.poll() {
                Ok(Some(Item::Record(raw))) => {
                    let bytes = raw.bytes().to_vec();
                    if let Err(error) = raw.parse() {
                        return (records, Some(error));
                    }
                    records.push(bytes);
                }
                Ok(Some(Item::Opening(_))) => {}
                Ok(None) => break,
                Err(error) => return (records, Some(error)),
            }
        }
        if rest.is_empty() {
            return (records, splitter.finish().err());
        }
    }
    unreachable!("sizes are cycled")
}

proptest! {
    #[test]
    fn any_records_in_any_pieces_come_out_as_they_went_in(
        records in prop::collection::vec(prop_oneof![audio_bytes(), gap_bytes()], 0..20),
        others in prop::collection::vec(other_bytes(), 0..3),
        sizes in prop::collection::vec(1..500usize, 1..10),
    ) {
        let mut stream = opening();
        records.iter().chain(&others).for_each(|bytes| stream.extend_from_slice(bytes));
        let (read, error) = read(&stream, &sizes);
        prop_assert_eq!(error, None);
        prop_assert_eq!(read.concat(), stream[40..].to_vec());
    }

    #[test]
    fn any_bytes_are_records_or_an_error_within_them(garbage in any::<Vec<u8>>(), opened in any::<bool>()) {
        let mut stream = if opened { opening() } else { Vec::new() };
        stream.extend_from_slice(&garbage);
        let (_, error) = read(&stream, &[64]);
        if let Some(error) = error {
            prop_assert!(error.offset <= stream.len() as u64);
        }
    }

    #[test]
    fn a_flipped_bit_in_a_header_is_an_error_at_its_record(
        first in audio_bytes(), second in gap_bytes(), bit in 0..(33 + 16) * 8usize,
    ) {
        let mut stream = opening();
        stream.extend_from_slice(&first);
        let at = stream.len();
        stream.extend_from_slice(&second);
        stream[at + bit / 8] ^= 1 << (bit % 8);
        let (read, error) = read(&stream, &[4096]);
        prop_assert_eq!(read, vec![first]);
        let error = error.expect("the damage is found");
        prop_assert_eq!(error.offset, at as u64);
    }

    #[test]
    fn a_stream_cut_anywhere_inside_a_record_says_so(record in audio_bytes(), cut in any::<prop::sample::Index>()) {
        let mut stream = opening();
        stream.extend_from_slice(&record);
        let cut = 41 + cut.index(record.len() - 1);
        let (read, error) = read(&stream[..cut], &[4096]);
        prop_assert!(read.is_empty());
        let error = error.expect("the cut is found");
        prop_assert_eq!(error.offset, 40);
        prop_assert!(matches!(error.problem, Problem::Truncated(_)), "it is truncated");
    }
}

#[test]
fn an_audio_header_with_all_its_times_takes_64_bytes() {
    let stamp = Some(Stamp::ZERO);
    let audio = Audio {
        id: StreamId(1),
        sequence: SequenceNumber(2),
        timestamp: MediaTime(3),
        duration: 4,
        marker: true,
        recovered: true,
        padding: false,
        times: Times { captured: stamp, arrived: stamp, due: stamp },
        slot: Some(5),
        extensions: &[],
        payload: &[],
    };
    assert_eq!(written(&Record::Audio(audio)).len(), MAX_AUDIO_HEADER);
}

/// Bytes of version 1.0 that every later version of this crate reads and writes the same.
#[test]
fn the_bytes_of_version_1_stay_as_they_are() {
    let audio = Audio {
        id: StreamId(0x0102_0304),
        sequence: SequenceNumber(7),
        timestamp: MediaTime(160),
        duration: 2,
        marker: true,
        recovered: false,
        padding: false,
        times: Times { arrived: Some(Stamp::from_ns(9)), ..Times::default() },
        slot: None,
        extensions: &[],
        payload: &[0xaa, 0xbb],
    };
    let bytes = written(&Record::Audio(audio));
    let golden = [
        0x41, 0x12, 0x1c, 0x00, 0x02, 0x00, 0x00, 0x00, 0x04, 0x03, 0x02, 0x01, bytes[12], bytes[13], bytes[14],
        bytes[15], 7, 0, 0, 0, 0, 0, 0, 0, 160, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0xaa, 0xbb,
    ];
    assert_eq!(bytes, golden);
}
