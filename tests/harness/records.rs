//! Vox streams, read record by record.

use std::fs;
use std::path::Path;

use vox_frame::{End, Event, Format, GapReason, Item, Record, SequenceNumber, Splitter, StreamId, Times};

/// A record with its bytes.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// A stream is announced.
    Format(StreamId, Format),
    /// Audio.
    Audio {
        /// The stream.
        id: StreamId,
        /// Its number.
        sequence: SequenceNumber,
        /// Media time, in ticks.
        timestamp: u64,
        /// In ticks.
        duration: u64,
        /// Captured, arrived, due.
        times: Times,
        /// The coded audio.
        payload: Vec<u8>,
    },
    /// Audio is missing.
    Gap {
        /// The stream.
        id: StreamId,
        /// Media time, in ticks.
        timestamp: u64,
        /// In ticks.
        duration: u64,
        /// Packets missing.
        packets: u32,
        /// Why.
        reason: GapReason,
        /// Captured, arrived, due.
        times: Times,
    },
    /// A fact.
    Event(Event),
    /// A stream ends.
    End(End),
    /// Something newer.
    Unknown,
}

impl Entry {
    fn of(record: Record<'_>) -> Self {
        match record {
            Record::Format(id, format) => Self::Format(id, format),
            Record::Audio(audio) => Self::Audio {
                id: audio.id,
                sequence: audio.sequence,
                timestamp: audio.timestamp.0,
                duration: u64::from(audio.duration),
                times: audio.times,
                payload: audio.payload.to_vec(),
            },
            Record::Gap(gap) => Self::Gap {
                id: gap.id,
                timestamp: gap.timestamp.0,
                duration: gap.duration,
                packets: gap.packets,
                reason: gap.reason,
                times: gap.times,
            },
            Record::Event(event) => Self::Event(event),
            Record::End(end) => Self::End(end),
            Record::Unknown(_) => Self::Unknown,
        }
    }
}

/// Reads a whole stream.
///
/// # Panics
/// When it is damaged or ends inside a record.
#[track_caller]
pub fn read_vox(path: &Path) -> Vec<Entry> {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (mut splitter, mut entries, mut rest) = (Splitter::new(), Vec::new(), &bytes[..]);
    while !rest.is_empty() {
        rest = &rest[splitter.feed(rest)..];
        entries.extend(read_entries(&mut splitter));
    }
    splitter.finish().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    entries
}

/// What has been written of a stream that is still being written; nothing where the file is not there yet.
///
/// # Panics
/// When it is damaged.
#[track_caller]
pub fn read_so_far(path: &Path) -> Vec<Entry> {
    let bytes = fs::read(path).unwrap_or_default();
    let (mut splitter, mut entries, mut rest) = (Splitter::new(), Vec::new(), &bytes[..]);
    while !rest.is_empty() {
        rest = &rest[splitter.feed(rest)..];
        entries.extend(read_entries(&mut splitter));
    }
    entries
}

/// The records that are complete so far.
///
/// # Panics
/// When one is damaged.
#[track_caller]
pub fn read_entries(splitter: &mut Splitter) -> Vec<Entry> {
    let mut entries = Vec::new();
    while let Some(item) = splitter.poll().expect("a sound stream") {
        if let Item::Record(raw) = item {
            entries.push(Entry::of(raw.parse().expect("a sound record")));
        }
    }
    entries
}
