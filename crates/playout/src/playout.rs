//! One stream's buffer and its two time lines.

use std::collections::{BTreeMap, BTreeSet};

use vox_frame::{GapReason, MediaTime, Rate, SequenceNumber, Stamp};

use crate::config::MAX_PACKETS;
use crate::{Config, Stats};

/// How far ahead of its time a packet may be before it is another time line, in ns. What RFC 3550 calls a jump is
/// a matter of sequence numbers; for a buffer it is a packet that would wait this long.
const MAX_AHEAD_NS: i64 = 2_000_000_000;

/// How much audio may come late in a row before the sender's time line has moved, in ns.
const MAX_LATE_NS: i64 = 1_000_000_000;

/// How many of the packets played last are remembered, to tell a duplicate from a late one.
const REMEMBERED: usize = 512;

/// A packet as it arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<P> {
    /// Its sequence number, extended.
    pub sequence: SequenceNumber,
    /// Media time of its first sample.
    pub timestamp: MediaTime,
    /// Its media duration, in ticks.
    pub duration: u32,
    /// When it arrived.
    pub arrived: Stamp,
    /// The rest.
    pub payload: P,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Insert {
    /// It waits for its time.
    Accepted,
    /// It had come before.
    Duplicate,
    /// Its time has passed.
    Late,
    /// The buffer is full (or refuses until it is half empty).
    Overflow,
    /// It belongs to another time line than the packets before it: the sender has restarted, or jumped. Play out what
    /// is held ([`Playout::handle_end`]) and begin a new `Playout` with this packet.
    Jump,
}

/// A gap that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GapOut<'a, P> {
    /// Sequence number of the first packet missing.
    pub sequence: SequenceNumber,
    /// Media time at which it begins.
    pub timestamp: MediaTime,
    /// Media duration in ticks; may be 0 where only time is inserted.
    pub duration: u64,
    /// Packets missing.
    pub packets: u32,
    /// Why.
    pub reason: GapReason,
    /// When it is to be played.
    pub due: Stamp,
    /// How long it fills, in ns, where that is not its media duration.
    pub slot: Option<u64>,
    /// Ticks from the beginning of the gap to a later packet that is there, and that packet.
    pub later: Option<(u32, &'a P)>,
}

/// What is to be done now.
#[derive(Debug, PartialEq, Eq)]
pub enum Output<'a, P> {
    /// Play this packet.
    Packet {
        /// The packet.
        packet: Packet<P>,
        /// When it is to be played.
        due: Stamp,
    },
    /// Fill this gap.
    Gap(GapOut<'a, P>),
    /// Nothing before then.
    Wait(Stamp),
    /// Nothing until another packet comes.
    Idle,
    /// The stream has ended, at this media time; there will be no more.
    End {
        /// Where it ended.
        timestamp: MediaTime,
        /// On the playout time line.
        due: Stamp,
    },
}

#[derive(Debug)]
enum Entry<P> {
    Packet(Packet<P>),
    /// A gap that the stream had already when it came here.
    Gap {
        sequence: SequenceNumber,
        duration: u64,
        packets: u32,
        reason: GapReason,
    },
}

impl<P> Entry<P> {
    const fn sequence(&self) -> SequenceNumber {
        match self {
            Self::Packet(packet) => packet.sequence,
            Self::Gap { sequence, .. } => *sequence,
        }
    }

    fn duration(&self) -> u64 {
        match self {
            Self::Packet(packet) => u64::from(packet.duration),
            Self::Gap { duration, .. } => *duration,
        }
    }
}

/// Where playing has come to.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    timestamp: MediaTime,
    sequence: SequenceNumber,
}

/// Which moment a media time is played at.
#[derive(Debug, Clone, Copy)]
struct Line {
    stamp: Stamp,
    timestamp: MediaTime,
    rate: Rate,
}

impl Line {
    fn due(&self, timestamp: MediaTime) -> Stamp {
        if timestamp >= self.timestamp {
            self.stamp.plus(self.rate.ns(timestamp.since(self.timestamp)))
        } else {
            self.stamp.plus(-self.rate.ns(self.timestamp.since(timestamp)))
        }
    }

    /// The first media time that is a whole number of `frame` ticks after `from` and due later than `now`.
    fn first_after(&self, now: Stamp, from: MediaTime, frame: u64) -> MediaTime {
        let overdue = self.rate.ticks(now.since(self.due(from)).max(0));
        let mut next = from.plus((overdue / frame + 1) * frame);
        while self.due(next) <= now {
            next = next.plus(frame);
        }
        next
    }
}

/// The buffer of one stream.
#[derive(Debug)]
pub struct Playout<P> {
    config: Config,
    rate: Rate,
    entries: BTreeMap<MediaTime, Entry<P>>,
    line: Option<Line>,
    cursor: Option<Cursor>,
    /// When the next media time would have been due as the buffer ran empty.
    ran_dry: Option<Stamp>,
    refusing: bool,
    /// Duration of the last packet played, in ticks: what a missing one is taken to have.
    frame: u64,
    dropped: BTreeMap<SequenceNumber, GapReason>,
    padding: BTreeSet<SequenceNumber>,
    played: BTreeSet<SequenceNumber>,
    late_ns: i64,
    end: Option<MediaTime>,
    ended: bool,
    stats: Stats,
}

impl<P> Playout<P> {
    /// An empty buffer. `frame` is the stream's nominal frame duration in ticks, 0 where it is not known.
    pub fn new(config: Config, rate: Rate, frame: u32) -> Self {
        Self {
            config,
            rate,
            entries: BTreeMap::new(),
            line: None,
            cursor: None,
            ran_dry: None,
            refusing: false,
            frame: if frame == 0 { rate.ticks(20_000_000).max(1) } else { u64::from(frame) },
            dropped: BTreeMap::new(),
            padding: BTreeSet::new(),
            played: BTreeSet::new(),
            late_ns: 0,
            end: None,
            ended: false,
            stats: Stats::default(),
        }
    }

    /// What has happened so far.
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// How many packets wait.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no packet waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes a packet that arrived; `now` is the time, not before its arrival.
    pub fn handle_packet(&mut self, now: Stamp, packet: Packet<P>) -> Insert {
        self.stats.packets_received += 1;
        if self.is_duplicate(&packet) {
            self.stats.packets_duplicated += 1;
            return Insert::Duplicate;
        }
        if let Some(outcome) = self.out_of_line(now, &packet) {
            return outcome;
        }
        if self.is_refused() {
            self.drop_packet(packet.sequence, GapReason::Overrun);
            return Insert::Overflow;
        }
        self.late_ns = 0;
        self.anchor(packet.arrived, packet.timestamp);
        self.entries.insert(packet.timestamp, Entry::Packet(packet));
        Insert::Accepted
    }

    /// Takes a gap that the stream had already when it came here.
    pub fn handle_gap(
        &mut self,
        arrived: Stamp,
        sequence: SequenceNumber,
        timestamp: MediaTime,
        duration: u64,
        packets: u32,
        reason: GapReason,
    ) {
        let behind = self.cursor.is_some_and(|cursor| timestamp < cursor.timestamp);
        if duration == 0 || behind || self.entries.len() >= MAX_PACKETS || self.entries.contains_key(&timestamp) {
            return;
        }
        self.anchor(arrived, timestamp);
        self.entries.insert(timestamp, Entry::Gap { sequence, duration, packets, reason });
    }

    /// Takes a packet that has a sequence number but no audio: it is not missing.
    pub fn handle_padding(&mut self, sequence: SequenceNumber) {
        self.padding.insert(sequence);
        while self.padding.len() > REMEMBERED {
            self.padding.pop_first();
        }
    }

    /// The stream ends at `timestamp`, or with the last packet that came: what is held is still played.
    pub fn handle_end(&mut self, timestamp: Option<MediaTime>) {
        let last = self.entries.last_key_value().map(|(begin, entry)| begin.plus(entry.duration()));
        let reached = last.or_else(|| self.cursor.map(|cursor| cursor.timestamp)).unwrap_or_default();
        // An end far behind what came is another time line's: nothing is invented to reach it.
        let limit = reached.plus(self.rate.ticks(MAX_AHEAD_NS));
        self.end = Some(timestamp.filter(|end| *end <= limit).unwrap_or(reached));
    }

    /// Whether all has been played, the end too.
    pub const fn is_ended(&self) -> bool {
        self.ended
    }

    /// When to ask again; none where only a packet can bring news.
    pub fn next_deadline(&self) -> Option<Stamp> {
        if self.ended {
            return None;
        }
        let line = self.line?;
        let at = self.cursor.map_or(line.timestamp, |cursor| cursor.timestamp);
        Some(line.due(at))
    }

    /// What is to be done at `now`.
    pub fn poll(&mut self, now: Stamp) -> Output<'_, P> {
        if self.ended {
            return Output::Idle;
        }
        if self.line.is_none() {
            match self.begin(now) {
                Begin::Later => return Output::Idle,
                Begin::Now => {}
                Begin::Inserted(gap) => return self.insert_time(gap),
            }
        }
        let Some(line) = self.line else { return Output::Idle };
        let Some(cursor) = self.cursor.or_else(|| self.first_cursor()) else { return self.end_or_idle(line) };
        let due = line.due(cursor.timestamp);
        if now < due {
            return Output::Wait(due);
        }
        self.cursor = Some(cursor);
        match self.entries.first_key_value() {
            None => self.nothing_there(now, line, cursor),
            Some((begin, _)) if *begin <= cursor.timestamp => self.play_first(now, line, cursor),
            Some((begin, entry)) => {
                let (begin, sequence) = (*begin, entry.sequence());
                self.missing_before(begin, sequence, line, cursor)
            }
        }
    }

    fn is_duplicate(&self, packet: &Packet<P>) -> bool {
        self.played.contains(&packet.sequence) || self.entries.contains_key(&packet.timestamp)
    }

    /// Whether the packet is late, or on another time line.
    fn out_of_line(&mut self, now: Stamp, packet: &Packet<P>) -> Option<Insert> {
        let span = self.rate.ns(u64::from(packet.duration));
        let before_cursor = self.cursor.is_some_and(|cursor| packet.timestamp < cursor.timestamp);
        let Some(line) = self.line else {
            // The half-full rule waits: only what lies behind the cursor has missed its time.
            return before_cursor.then(|| self.late(packet, span));
        };
        let due = line.due(packet.timestamp);
        let ahead = due.since(packet.arrived) - self.config.delay().unwrap_or(0);
        if ahead > MAX_AHEAD_NS && self.config.delay().is_some() {
            return Some(Insert::Jump);
        }
        // A packet may still fill its slot while the slot lasts.
        let missed = self.config.delay().is_some() && self.cursor.is_some() && now >= due.plus(span);
        (before_cursor || missed).then(|| {
            if due.since(packet.arrived) < 0 {
                self.late_ns += span;
            }
            if self.late_ns > MAX_LATE_NS { Insert::Jump } else { self.late(packet, 0) }
        })
    }

    fn late(&mut self, packet: &Packet<P>, span: i64) -> Insert {
        self.late_ns += span;
        if self.late_ns > MAX_LATE_NS {
            return Insert::Jump;
        }
        self.stats.packets_late += 1;
        self.drop_packet(packet.sequence, GapReason::Late);
        Insert::Late
    }

    fn is_refused(&mut self) -> bool {
        let held = self.entries.len();
        if held >= MAX_PACKETS {
            return true;
        }
        if let Config::HalfFull { max, .. } = self.config {
            if max < 2 {
                return false;
            }
            if held > max {
                self.refusing = true;
            } else if held <= max / 2 {
                self.refusing = false;
            }
            return self.refusing;
        }
        held >= self.config.capacity()
    }

    fn drop_packet(&mut self, sequence: SequenceNumber, reason: GapReason) {
        self.stats.packets_discarded += 1;
        self.dropped.insert(sequence, reason);
        while self.dropped.len() > REMEMBERED {
            self.dropped.pop_first();
        }
    }

    /// Fixed delay: ties media time to time at the first packet; until playing begins, a faster one ties it anew.
    fn anchor(&mut self, arrived: Stamp, timestamp: MediaTime) {
        let Some(delay) = self.config.delay() else { return };
        let candidate = Line { stamp: arrived.plus(delay), timestamp, rate: self.rate };
        match self.line {
            None => self.line = Some(candidate),
            Some(line) if self.cursor.is_none() && candidate.due(line.timestamp) < line.stamp => {
                self.line = Some(candidate);
            }
            Some(line) if self.cursor.is_none() && timestamp < line.timestamp => {
                self.line = Some(Line { stamp: line.due(timestamp), timestamp, rate: self.rate });
            }
            Some(_) => {}
        }
    }

    fn first_cursor(&self) -> Option<Cursor> {
        let (timestamp, entry) = self.entries.first_key_value()?;
        Some(Cursor { timestamp: *timestamp, sequence: entry.sequence() })
    }

    /// Whether playing begins (again) now.
    fn begin(&mut self, now: Stamp) -> Begin {
        let ticks = self.entries.values().map(Entry::duration).sum();
        let enough = self.config.may_start(self.entries.len(), ticks, self.rate);
        if !enough && self.end.is_none() {
            return Begin::Later;
        }
        let first = self.entries.first_key_value().map(|(timestamp, _)| *timestamp);
        let Some(timestamp) = first.or_else(|| self.cursor.map(|cursor| cursor.timestamp)).or(self.end) else {
            return Begin::Later;
        };
        let dry = self.ran_dry.take();
        self.line = Some(Line { stamp: now, timestamp, rate: self.rate });
        match (dry, self.cursor) {
            (Some(dry), Some(cursor)) if now > dry || timestamp > cursor.timestamp => {
                Begin::Inserted(Inserted { from: dry, until: now, timestamp })
            }
            _ => Begin::Now,
        }
    }

    /// The wait after an underrun, as a gap: as much media time as is missing, in the time that it took.
    fn insert_time(&mut self, inserted: Inserted) -> Output<'_, P> {
        let cursor = self.cursor.unwrap_or(Cursor { timestamp: inserted.timestamp, sequence: SequenceNumber(0) });
        let next = self.first_cursor().unwrap_or(cursor);
        let packets = next.sequence.0.saturating_sub(cursor.sequence.0).min(u64::from(u32::MAX)) as u32;
        let duration = inserted.timestamp.since(cursor.timestamp);
        self.cursor = Some(Cursor { timestamp: inserted.timestamp, sequence: next.sequence });
        self.count_gap(duration, packets);
        Output::Gap(GapOut {
            sequence: cursor.sequence,
            timestamp: cursor.timestamp,
            duration,
            packets,
            reason: if packets > 0 { GapReason::Lost } else { GapReason::Late },
            due: inserted.from,
            slot: Some(u64::try_from(inserted.until.since(inserted.from)).unwrap_or(0)),
            later: None,
        })
    }

    fn end_or_idle(&mut self, line: Line) -> Output<'_, P> {
        let Some(timestamp) = self.end else { return Output::Idle };
        self.ended = true;
        Output::End { timestamp, due: line.due(timestamp) }
    }

    fn nothing_there(&mut self, now: Stamp, line: Line, cursor: Cursor) -> Output<'_, P> {
        if let Some(end) = self.end {
            if end > cursor.timestamp {
                return self.gap(line, cursor, end.since(cursor.timestamp), 0, GapReason::Lost, None);
            }
            return self.end_or_idle(line);
        }
        if self.config.delay().is_none() {
            self.stats.underruns += 1;
            self.ran_dry = Some(line.due(cursor.timestamp));
            self.line = None;
            return Output::Idle;
        }
        let until = line.first_after(now, cursor.timestamp, self.frame);
        let duration = until.since(cursor.timestamp);
        let packets = (duration / self.frame).min(u64::from(u32::MAX)) as u32;
        let reason = self.reason(cursor.sequence);
        self.gap(line, cursor, duration, packets, reason, None)
    }

    fn play_first(&mut self, now: Stamp, line: Line, cursor: Cursor) -> Output<'_, P> {
        let Some((begin, entry)) = self.entries.pop_first() else { return Output::Idle };
        let due = line.due(begin);
        let after = begin.plus(entry.duration()).max(cursor.timestamp);
        match entry {
            Entry::Packet(packet) => {
                self.cursor = Some(Cursor { timestamp: after, sequence: packet.sequence.plus(1) });
                self.played(now, &packet);
                Output::Packet { packet, due }
            }
            Entry::Gap { sequence, duration, packets, reason } => {
                let at = Cursor { timestamp: begin, sequence };
                self.gap(line, at, duration, packets, reason, None)
            }
        }
    }

    /// A hole before the first entry: packet by packet where packets are missing, since one may still come in time;
    /// whole where the sender sent none.
    fn missing_before(&mut self, begin: MediaTime, next: SequenceNumber, line: Line, cursor: Cursor) -> Output<'_, P> {
        let hole = begin.since(cursor.timestamp);
        let numbers = next.0.saturating_sub(cursor.sequence.0);
        let padded = self.padding.range(cursor.sequence..next.max(cursor.sequence)).count() as u64;
        let missing = numbers.saturating_sub(padded);
        if missing == 0 {
            return self.gap(line, cursor, hole, 0, GapReason::Silent, Some(begin));
        }
        let one = (hole / missing).max(1);
        let duration = if missing == 1 || one > hole { hole } else { one };
        let reason = self.reason(cursor.sequence);
        self.gap(line, cursor, duration, 1, reason, Some(begin))
    }

    fn reason(&self, sequence: SequenceNumber) -> GapReason {
        self.dropped.get(&sequence).copied().unwrap_or(GapReason::Lost)
    }

    fn gap(
        &mut self,
        line: Line,
        at: Cursor,
        duration: u64,
        packets: u32,
        reason: GapReason,
        later: Option<MediaTime>,
    ) -> Output<'_, P> {
        self.cursor =
            Some(Cursor { timestamp: at.timestamp.plus(duration), sequence: at.sequence.plus(u64::from(packets)) });
        self.count_gap(duration, packets);
        let later = later.filter(|_| !reason.is_silence()).and_then(|begin| match self.entries.get(&begin)? {
            Entry::Packet(packet) => Some((u32::try_from(begin.since(at.timestamp)).ok()?, &packet.payload)),
            Entry::Gap { .. } => None,
        });
        Output::Gap(GapOut {
            sequence: at.sequence,
            timestamp: at.timestamp,
            duration,
            packets,
            reason,
            due: line.due(at.timestamp),
            slot: None,
            later,
        })
    }

    fn count_gap(&mut self, duration: u64, packets: u32) {
        self.stats.gaps += 1;
        self.stats.gap_ticks += duration;
        self.stats.packets_lost += u64::from(packets);
    }

    fn played(&mut self, now: Stamp, packet: &Packet<P>) {
        self.frame = u64::from(packet.duration).max(1);
        self.played.insert(packet.sequence);
        while self.played.len() > REMEMBERED {
            self.played.pop_first();
        }
        let ticks = f64::from(packet.duration);
        self.stats.jitter_buffer_emitted_count += u64::from(packet.duration);
        self.stats.jitter_buffer_delay += now.since(packet.arrived) as f64 / 1e9 * ticks;
        self.stats.jitter_buffer_target_delay += self.config.delay().unwrap_or(0) as f64 / 1e9 * ticks;
    }
}

enum Begin {
    Later,
    Now,
    Inserted(Inserted),
}

struct Inserted {
    from: Stamp,
    until: Stamp,
    timestamp: MediaTime,
}
