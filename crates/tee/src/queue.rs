//! What a branch has not taken yet, and what it has missed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use vox_frame::{Audio, End, EndReason, Gap, GapReason, MediaTime, Raw, Record, SequenceNumber, StreamId, Times};

/// The most bytes that wait for a branch.
const MAX_BYTES: usize = 16 << 20;

/// A record on its way into the branches.
#[derive(Debug)]
pub(crate) struct Entry {
    id: StreamId,
    kind: Kind,
    bytes: Vec<u8>,
    /// When it was read, in ns of CLOCK_MONOTONIC.
    read_ns: i64,
}

#[derive(Debug)]
enum Kind {
    Format,
    Span(Missed),
    End,
    Other,
}

/// A stretch of a stream that a branch did not take.
#[derive(Debug, Clone)]
struct Missed {
    sequence: SequenceNumber,
    timestamp: MediaTime,
    end: MediaTime,
    packets: u32,
    times: Times,
    /// How long it was to fill; none as long as it is its media duration.
    slot: Option<u64>,
}

impl Entry {
    /// A record that was read at `now_ns`.
    pub(crate) fn new(raw: Raw<'_>, record: &Record<'_>, now_ns: i64) -> Self {
        let kind = match record {
            Record::Format(..) => Kind::Format,
            Record::Audio(audio) => Kind::Span(Missed::audio(audio)),
            Record::Gap(gap) => Kind::Span(Missed::gap(gap)),
            Record::End(_) => Kind::End,
            Record::Event(_) | Record::Unknown(_) => Kind::Other,
        };
        Self { id: raw.id(), kind, bytes: raw.bytes().to_vec(), read_ns: now_ns }
    }
}

impl Missed {
    fn audio(audio: &Audio<'_>) -> Self {
        let end = audio.timestamp.plus(u64::from(audio.duration));
        let slot = audio.slot.map(u64::from);
        Self { sequence: audio.sequence, timestamp: audio.timestamp, end, packets: 1, times: audio.times, slot }
    }

    const fn gap(gap: &Gap<'_>) -> Self {
        let end = gap.timestamp.plus(gap.duration);
        let (sequence, timestamp, packets) = (gap.sequence, gap.timestamp, gap.packets);
        Self { sequence, timestamp, end, packets, times: gap.times, slot: gap.slot }
    }

    /// Joins what was missed right behind it.
    fn join(&mut self, next: &Self) {
        self.end = self.end.max(next.end);
        self.packets = self.packets.saturating_add(next.packets);
        // Where each record has its slot, so has the sum; where one has none, media time must do.
        self.slot = self.slot.zip(next.slot).map(|(slot, next)| slot.saturating_add(next));
    }

    fn write(&self, id: StreamId, out: &mut Vec<u8>) {
        Gap {
            id,
            sequence: self.sequence,
            timestamp: self.timestamp,
            duration: self.end.since(self.timestamp),
            packets: self.packets,
            reason: GapReason::Overrun,
            times: self.times,
            slot: self.slot,
            later: None,
        }
        .write(out);
    }
}

/// What one stream of the branch owes its reader, from before the records that wait.
#[derive(Debug, Default)]
struct Backlog {
    format: Option<Arc<Entry>>,
    missed: Option<Missed>,
    end: Option<Arc<Entry>>,
}

/// The records that wait for a branch. Where they are too many or too old, the oldest make way for a gap.
#[derive(Debug)]
pub(crate) struct Queue {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
    hold_ns: i64,
    backlog: BTreeMap<StreamId, Backlog>,
    /// The streams that the reader knows of, and the media time that each has come to.
    open: BTreeMap<StreamId, (Arc<Entry>, MediaTime)>,
    /// Records of audio that the branch has missed.
    pub(crate) missed: u64,
}

impl Queue {
    pub(crate) const fn new(hold_ns: i64) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, hold_ns, backlog: BTreeMap::new(), open: BTreeMap::new(), missed: 0 }
    }

    /// Puts a record in.
    pub(crate) fn push(&mut self, entry: &Arc<Entry>) {
        self.bytes += entry.bytes.len();
        self.entries.push_back(Arc::clone(entry));
        while let Some(oldest) = self.entries.front() {
            if self.bytes <= MAX_BYTES && entry.read_ns - oldest.read_ns <= self.hold_ns {
                break;
            }
            if let Some(oldest) = self.remove() {
                self.miss(oldest);
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.backlog.is_empty()
    }

    /// Appends the next records, as many as fit `limit` bytes but at least one, to `out`.
    pub(crate) fn take(&mut self, limit: usize, out: &mut Vec<u8>) {
        for (id, backlog) in std::mem::take(&mut self.backlog) {
            self.catch_up(id, backlog, out);
        }
        while let Some(next) = self.entries.front() {
            if !out.is_empty() && out.len() + next.bytes.len() > limit {
                return;
            }
            if let Some(next) = self.remove() {
                out.extend_from_slice(&next.bytes);
                self.follow(&next);
            }
        }
    }

    /// Appends the formats of the open streams: what a new reader must know first.
    pub(crate) fn introduce(&self, out: &mut Vec<u8>) {
        for (format, _) in self.open.values() {
            out.extend_from_slice(&format.bytes);
        }
    }

    /// Appends an End for every stream that is open.
    pub(crate) fn end_open(&mut self, reason: &EndReason, out: &mut Vec<u8>) {
        for (id, (_, timestamp)) in std::mem::take(&mut self.open) {
            End { id, timestamp, times: Times::default(), reason: reason.clone() }.write(out);
        }
    }

    fn remove(&mut self) -> Option<Arc<Entry>> {
        let entry = self.entries.pop_front()?;
        self.bytes -= entry.bytes.len();
        Some(entry)
    }

    /// Turns a record that nobody took in time into what the branch owes its reader.
    fn miss(&mut self, entry: Arc<Entry>) {
        let backlog = self.backlog.entry(entry.id).or_default();
        match &entry.kind {
            Kind::Format => *backlog = Backlog { format: Some(entry), ..Backlog::default() },
            Kind::End => backlog.end = Some(entry),
            Kind::Span(span) => {
                self.missed += 1;
                match &mut backlog.missed {
                    Some(missed) => missed.join(span),
                    none => *none = Some(span.clone()),
                }
            }
            Kind::Other => {}
        }
    }

    fn catch_up(&mut self, id: StreamId, backlog: Backlog, out: &mut Vec<u8>) {
        for entry in backlog.format.iter() {
            out.extend_from_slice(&entry.bytes);
            self.follow(entry);
        }
        if let Some(missed) = backlog.missed.filter(|_| self.open.contains_key(&id)) {
            missed.write(id, out);
            self.reach(id, missed.end);
        }
        for entry in backlog.end.iter() {
            out.extend_from_slice(&entry.bytes);
            self.follow(entry);
        }
    }

    /// Learns what the reader knows after a record.
    fn follow(&mut self, entry: &Arc<Entry>) {
        match &entry.kind {
            Kind::Format => {
                self.open.insert(entry.id, (Arc::clone(entry), MediaTime(0)));
            }
            Kind::End => {
                self.open.remove(&entry.id);
            }
            Kind::Span(span) => self.reach(entry.id, span.end),
            Kind::Other => {}
        }
    }

    fn reach(&mut self, id: StreamId, time: MediaTime) {
        if let Some((_, reached)) = self.open.get_mut(&id) {
            *reached = (*reached).max(time);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vox_frame::{Channels, Codec, Format, Item, Opening, Rate, Splitter};

    const ID: StreamId = StreamId(7);
    const S: i64 = 1_000_000_000;

    fn entry(record: &Record<'_>, at_s: i64) -> Arc<Entry> {
        let mut bytes = Vec::new();
        Opening::new(0, [0; 16]).write(&mut bytes);
        record.write(&mut bytes);
        let mut splitter = Splitter::new();
        splitter.feed(&bytes);
        splitter.poll().unwrap();
        let Some(Item::Record(raw)) = splitter.poll().unwrap() else { panic!("a record was written") };
        Arc::new(Entry::new(raw, &raw.parse().unwrap(), at_s * S))
    }

    fn format() -> Record<'static> {
        Record::Format(ID, Format::new(Codec::Pcmu, Rate::HZ_8000, Channels::MONO, 160))
    }

    fn audio(n: u64) -> Record<'static> {
        Record::Audio(Audio {
            id: ID,
            sequence: SequenceNumber(n),
            timestamp: MediaTime(n * 160),
            duration: 160,
            marker: false,
            recovered: false,
            padding: false,
            times: Times::default(),
            slot: None,
            extensions: &[],
            payload: &[0; 160],
        })
    }

    fn end(n: u64) -> Record<'static> {
        Record::End(End { id: ID, timestamp: MediaTime(n * 160), times: Times::default(), reason: EndReason::Complete })
    }

    /// What a reader gets, in short.
    fn taken(queue: &mut Queue) -> Vec<String> {
        let mut out = Vec::new();
        queue.take(1 << 20, &mut out);
        read(&out)
    }

    fn read(bytes: &[u8]) -> Vec<String> {
        let mut all = Vec::new();
        Opening::new(0, [0; 16]).write(&mut all);
        all.extend_from_slice(bytes);
        let (mut splitter, mut seen) = (Splitter::new(), Vec::new());
        splitter.feed(&all);
        while let Some(item) = splitter.poll().unwrap() {
            let Item::Record(raw) = item else { continue };
            seen.push(match raw.parse().unwrap() {
                Record::Format(..) => "format".to_owned(),
                Record::Audio(audio) => format!("audio {}", audio.sequence.0),
                Record::Gap(gap) => format!("gap {}+{} {}", gap.sequence.0, gap.packets, gap.duration),
                Record::End(end) => format!("end {}", end.timestamp.0),
                Record::Event(_) | Record::Unknown(_) => "other".to_owned(),
            });
        }
        seen
    }

    #[test]
    fn what_is_taken_in_time_is_whole() {
        let mut queue = Queue::new(5 * S);
        for (record, at) in [(format(), 0), (audio(0), 1), (audio(1), 2), (end(2), 3)] {
            queue.push(&entry(&record, at));
        }
        assert_eq!(taken(&mut queue), ["format", "audio 0", "audio 1", "end 320"]);
        assert!(queue.is_empty());
    }

    #[test]
    fn what_was_not_taken_in_time_is_one_gap_in_its_place() {
        let mut queue = Queue::new(5 * S);
        queue.push(&entry(&format(), 0));
        for n in 0..10 {
            queue.push(&entry(&audio(n), n as i64));
        }
        assert_eq!(taken(&mut queue)[..4], ["format", "gap 0+4 640", "audio 4", "audio 5"]);
        assert_eq!(queue.missed, 4);
        queue.push(&entry(&audio(10), 10));
        assert_eq!(taken(&mut queue), ["audio 10"]);
    }

    #[test]
    fn a_stream_that_came_and_went_unseen_is_still_told() {
        let mut queue = Queue::new(S);
        for (record, at) in [(format(), 0), (audio(0), 0), (end(1), 0)] {
            queue.push(&entry(&record, at));
        }
        queue.push(&entry(&format(), 60));
        assert_eq!(taken(&mut queue), ["format", "gap 0+1 160", "end 160", "format"]);
    }

    #[test]
    fn a_new_reader_hears_of_the_open_streams_first() {
        let mut queue = Queue::new(S);
        queue.push(&entry(&format(), 0));
        queue.push(&entry(&audio(0), 0));
        taken(&mut queue);
        let mut out = Vec::new();
        queue.introduce(&mut out);
        queue.end_open(&EndReason::Stopped, &mut out);
        assert_eq!(read(&out), ["format", "end 160"]);
    }

    #[test]
    fn a_take_holds_whole_records_up_to_its_limit() {
        let mut queue = Queue::new(S);
        for n in 0..3 {
            queue.push(&entry(&audio(n), 0));
        }
        let one = entry(&audio(0), 0).bytes.len();
        let mut out = Vec::new();
        queue.take(one * 2 + 10, &mut out);
        assert_eq!(out.len(), one * 2);
    }

    #[test]
    fn bytes_are_bounded_whatever_comes() {
        let mut queue = Queue::new(i64::MAX);
        let mut big = Record::Audio(Audio { payload: &[0; 60_000], ..audio_fields() });
        for n in 0..1_000 {
            if let Record::Audio(audio) = &mut big {
                audio.sequence = SequenceNumber(n);
            }
            queue.push(&entry(&big, 0));
            queue.push(&entry(&format(), 0));
        }
        assert!(queue.bytes <= MAX_BYTES);
    }

    fn audio_fields() -> Audio<'static> {
        let Record::Audio(audio) = audio(0) else { panic!("it is audio") };
        audio
    }
}
