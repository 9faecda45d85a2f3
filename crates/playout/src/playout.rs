//! The jitter buffer of one stream.

mod adapted;

use vox_frame::{GapReason, MediaTime, Rate, SequenceNumber, Stamp};

use crate::adaptive::Follower;
use crate::buffer::{Body, Entry, PacketBuffer};
use crate::config::{Config, Rule, Start};
use crate::floor::{Floor, JUMP_NS};
use crate::record::{Insert, Later, Meta, Missing, Output, Played};
use crate::seen::Seen;
use crate::stats::{Jitter, Stats};
use crate::timeline::Timeline;

/// How far back a timestamp must lie, in ns, to be a restart of the sender and not a late packet.
const RESTART_NS: i64 = 1_000_000_000;

/// How many packets far behind in a row are a restart, where their sequence numbers do not tell.
const RESTART_PACKETS: u32 = 3;

/// A hole longer than this, in ns, is one gap, however many packets it is, and no end of a stream fills it: a minute
/// is longer than any call survives.
const TAIL_NS: i64 = 60_000_000_000;

/// How many packets are asked what they tell of a lost one.
const LOOK_AHEAD: usize = 16;

/// The jitter buffer of one stream. See the crate documentation for the contract of its run loop.
#[derive(Debug)]
pub struct Playout<P> {
    config: Config,
    rate: Rate,
    buffer: PacketBuffer<P>,
    seen: Seen,
    floor: Floor,
    jitter: Jitter,
    stats: Stats,
    /// The line that what is released next lies on.
    line: Option<Timeline>,
    /// The line of what arrives, where a jump of the timestamps lies in the buffer.
    arriving: Option<Timeline>,
    /// The furthest media time that came in.
    furthest: MediaTime,
    position: Option<Position>,
    /// Sequence number that should come next.
    expected: Option<u64>,
    /// Duration of the last packet, in ticks.
    nominal: u64,
    /// Half-full rule: whether it fills up, and whether it refuses.
    filling: bool,
    refusing: bool,
    far_behind: u32,
    ended: Option<MediaTime>,
    /// Adaptive rule: what it knows of the network.
    follower: Follower,
    /// Whether audio, or a copy of it, was released last.
    after_audio: bool,
    /// Adaptive rule: whether something other than audio was released last.
    concealing: bool,
    /// Time inserted since audio was released last, in ns.
    inserted: i64,
    /// Whether the delay is being changed.
    adjusting: bool,
    /// For how long it has not been right, in ns.
    wrong_ns: i64,
    /// Where the sender said that it falls silent.
    silent_from: Option<MediaTime>,
    /// When a lost packet was last concealed shorter than it was.
    spared_at: Option<Stamp>,
    /// Jumps of the timestamps that are held and were not reached yet.
    jumps_held: usize,
    /// The slot of the record that is being released.
    next_slot: i64,
}

/// How far the release has come on both timelines.
#[derive(Debug, Clone, Copy)]
struct Position {
    media: MediaTime,
    due: Stamp,
}

impl<P> Playout<P> {
    /// An empty buffer for a stream of `rate`.
    pub fn new(config: Config, rate: Rate) -> Self {
        Self {
            config,
            rate,
            buffer: PacketBuffer::new(),
            seen: Seen::default(),
            floor: Floor::default(),
            jitter: Jitter::default(),
            stats: Stats::default(),
            line: None,
            arriving: None,
            furthest: MediaTime(0),
            position: None,
            expected: None,
            nominal: 0,
            filling: true,
            refusing: false,
            far_behind: 0,
            ended: None,
            follower: Follower::new(rate),
            after_audio: false,
            concealing: true,
            inserted: 0,
            adjusting: false,
            wrong_ns: 0,
            silent_from: None,
            spared_at: None,
            jumps_held: 0,
            next_slot: 0,
        }
    }

    /// Changes what is asked for; it holds from the next record on.
    pub fn reconfigure(&mut self, config: Config) {
        if let (Rule::Fixed { delay_ns: old }, Rule::Fixed { delay_ns: new }) = (self.config.rule, config.rule) {
            self.shift(new.saturating_sub(old));
        }
        self.config = config;
        if let Rule::Adaptive(rule) = config.rule {
            // What somebody asks for waits for nothing.
            self.wrong_ns = i64::MAX;
            self.follower.update_now(&rule);
        }
    }

    /// The delay behind the fastest packet that is aimed at, in nanoseconds; none where it is not adapted.
    pub fn target_ns(&self) -> Option<i64> {
        self.adaptive().map(|_| self.follower.aim_ns())
    }

    /// By how many parts per billion media time takes longer here than at the sender, as far as is known.
    pub const fn drift_ppb(&self) -> i64 {
        self.follower.drift_ppb()
    }

    /// What has happened so far.
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// How many packets are held.
    pub const fn held_packets(&self) -> usize {
        self.buffer.packets()
    }

    /// How much audio is held, in nanoseconds.
    pub fn held_ns(&self) -> i64 {
        self.rate.ns(self.buffer.ticks())
    }

    /// Media time up to which everything was released; none before the first record.
    pub fn reached(&self) -> Option<MediaTime> {
        self.position.map(|position| position.media)
    }

    /// The furthest media time that has come in.
    pub const fn furthest(&self) -> MediaTime {
        self.furthest
    }

    /// Takes in a packet that was read at `now`.
    pub fn handle_packet(&mut self, now: Stamp, meta: Meta, payload: P) -> Insert<P> {
        if self.is_restart(&meta) {
            return Insert::Restart(payload);
        }
        self.stats.packets_received += 1;
        self.stats.bytes_received += meta.bytes as u64;
        if !self.seen.insert(meta.sequence, meta.timestamp, meta.padding) {
            self.stats.packets_duplicated += 1;
            return Insert::Duplicate;
        }
        if meta.padding {
            self.stats.packets_padding += 1;
            if meta.silent && meta.timestamp >= self.furthest {
                self.silent_from = Some(meta.timestamp);
            }
            return Insert::Padding;
        }
        if self.position.is_some_and(|position| meta.timestamp < position.media) {
            self.follow_network(&meta);
            return self.came_too_late();
        }
        if self.buffer.contains(meta.timestamp) {
            self.stats.packets_duplicated += 1;
            return Insert::Duplicate;
        }
        if !meta.recovered {
            self.stats.jitter_ns = self.jitter.update(self.stats.jitter_ns, self.rate, meta.arrived, meta.timestamp.0);
        }
        self.note_underflow(now);
        if !self.has_room(&meta) {
            return self.refuse(&meta);
        }
        let jumps = self.follow_network(&meta);
        let jump = if jumps { Some(self.fresh_line(&meta, 0)) } else { self.follow(&meta) };
        self.furthest = self.furthest.max(meta.timestamp.plus(u64::from(meta.duration)));
        let late = self.is_timed() && self.arriving.is_some_and(|line| meta.arrived > line.at(meta.timestamp));
        self.buffer.insert(Entry {
            sequence: meta.sequence,
            timestamp: meta.timestamp,
            duration: u64::from(meta.duration),
            body: Body::Packet(meta, payload),
            jump,
        });
        self.start_if_full(now);
        if late { Insert::Late } else { Insert::Accepted }
    }

    /// Takes in a gap that came as one: its media time is known to be missing. What stands before the first packet
    /// waits for it, because only a packet tells when media time is due.
    pub fn handle_gap(
        &mut self,
        now: Stamp,
        sequence: SequenceNumber,
        timestamp: MediaTime,
        duration: u64,
        packets: u32,
        reason: GapReason,
    ) {
        let passed = self.position.is_some_and(|position| timestamp < position.media);
        let full = self.buffer.len() >= self.config.max_packets;
        if duration == 0 || passed || full || self.buffer.contains(timestamp) {
            return;
        }
        self.note_underflow(now);
        self.furthest = self.furthest.max(timestamp.plus(duration));
        let body = Body::Gap { reason, packets };
        self.buffer.insert(Entry { sequence, timestamp, duration, body, jump: None });
    }

    /// Nothing more will come: what is held is played out, then [`Output::Ended`] is given. Where `end` lies behind
    /// the last record, silence fills the rest.
    pub fn finish(&mut self, now: Stamp, end: Option<MediaTime>) {
        let end = end.unwrap_or(self.furthest);
        let tail = self.rate.ns(end.since(self.furthest));
        self.ended = Some(if tail <= TAIL_NS { end } else { self.furthest });
        if self.adaptive().is_some() {
            return;
        }
        if let (None, true, Some(first)) = (self.line, self.is_timed(), self.buffer.first()) {
            self.line = Some(Timeline::new(self.rate, first.timestamp, now));
        }
        self.start_playing(now);
    }

    /// When [`poll`](Self::poll) will have something; none while that depends on what arrives.
    pub fn next_deadline(&self) -> Option<Stamp> {
        if self.adaptive().is_some() {
            return self.adapted_deadline();
        }
        let Some(first) = self.buffer.first() else {
            let ended = self.ended.is_some_and(|end| self.position.is_some_and(|at| at.media < end));
            return self.position.filter(|_| ended).map(|at| at.due);
        };
        match self.position {
            _ if self.is_filling() => None,
            Some(position) => Some(position.due),
            None => self.line.map(|line| line.at(first.timestamp)),
        }
    }

    /// What is to be released at `now`.
    pub fn poll(&mut self, now: Stamp) -> Output<'_, P> {
        self.drop_passed();
        self.note_underflow(now);
        match self.next_deadline() {
            Some(deadline) if deadline > now => Output::Wait(deadline),
            Some(_) if self.adaptive().is_some() => self.release_adapted(now),
            Some(_) => self.release(now),
            None if self.ended.is_some() && self.buffer.is_empty() => Output::Ended,
            None => Output::Idle,
        }
    }

    /// Whether packets have times of their own (fixed delay) or are only counted.
    const fn is_timed(&self) -> bool {
        matches!(self.config.rule, Rule::Fixed { .. })
    }

    const fn is_filling(&self) -> bool {
        self.filling && !self.is_timed()
    }
}

/// What arrives.
impl<P> Playout<P> {
    /// Whether media time has gone back so far that the sender must have started anew.
    fn is_restart(&mut self, meta: &Meta) -> bool {
        let back = self.position.map_or(0, |position| self.rate.ns(position.media.since(meta.timestamp)));
        if back <= RESTART_NS {
            self.far_behind = 0;
            return false;
        }
        self.far_behind += 1;
        self.seen.is_newest(meta.sequence) || self.far_behind >= RESTART_PACKETS
    }

    fn came_too_late(&mut self) -> Insert<P> {
        self.stats.packets_late += 1;
        self.stats.packets_discarded += 1;
        self.stats.packets_lost = self.stats.packets_lost.saturating_sub(1);
        Insert::Late
    }

    fn has_room(&mut self, meta: &Meta) -> bool {
        let held = self.buffer.packets();
        if let Rule::Count { max, .. } = self.config.rule
            && max >= 2
        {
            if self.refusing && held <= max / 2 {
                self.refusing = false;
            }
            if self.refusing || held > max {
                self.refusing = true;
                return false;
            }
        }
        self.buffer.len() < self.config.max_packets && self.buffer.bytes() + meta.bytes <= self.config.max_bytes
    }

    fn refuse(&mut self, meta: &Meta) -> Insert<P> {
        self.stats.packets_overflowed += 1;
        self.stats.packets_discarded += 1;
        if self.buffer.len() < self.config.max_packets.saturating_mul(2) {
            let duration = u64::from(meta.duration);
            self.furthest = self.furthest.max(meta.timestamp.plus(duration));
            self.buffer.refuse(meta.sequence, meta.timestamp, duration);
        }
        Insert::Overflow
    }

    /// Moves the line from media time to playout time where the packet says that it is wrong. Gives a line that holds
    /// only from this packet on, where the timestamps jump.
    fn follow(&mut self, meta: &Meta) -> Option<Timeline> {
        let Rule::Fixed { delay_ns } = self.config.rule else { return None };
        let fresh = self.fresh_line(meta, delay_ns);
        let Some(line) = self.arriving else {
            self.line = Some(fresh);
            self.arriving = Some(fresh);
            return None;
        };
        if meta.recovered {
            return None;
        }
        let over = meta.arrived.since(line.at(meta.timestamp).plus(-delay_ns));
        if over < -JUMP_NS && meta.timestamp > self.furthest {
            self.arriving = Some(fresh);
            self.stats.resyncs += 1;
            return Some(fresh);
        }
        let playing = self.position.is_some();
        let waiting = playing && self.buffer.is_empty();
        let shift = self.floor.handle(meta.arrived, over, delay_ns, playing, waiting)?;
        self.stats.resyncs += u64::from(playing);
        self.shift(shift);
        None
    }

    const fn fresh_line(&self, meta: &Meta, delay_ns: i64) -> Timeline {
        Timeline::new(self.rate, meta.timestamp, meta.arrived.plus(delay_ns))
    }

    fn shift(&mut self, ns: i64) {
        for line in [&mut self.line, &mut self.arriving].into_iter().flatten() {
            line.shift(ns);
        }
    }
}

/// The half-full rule.
impl<P> Playout<P> {
    fn start_if_full(&mut self, now: Stamp) {
        let Rule::Count { max, start } = self.config.rule else { return };
        let full = match start {
            _ if max < 2 => true,
            Start::Packets(packets) => self.buffer.packets() >= packets,
            Start::Span(ns) => self.held_ns() >= ns,
        };
        if full {
            self.start_playing(now);
        }
    }

    fn start_playing(&mut self, now: Stamp) {
        if !self.is_filling() {
            return;
        }
        let Some(first) = self.buffer.first() else { return };
        let media = self.position.map_or(first.timestamp, |position| position.media);
        let due = self.position.map_or(now, |position| position.due.max(now));
        self.line = Some(Timeline::new(self.rate, media, due));
        self.filling = false;
    }

    /// A buffer that was empty when its next packet was due fills up again.
    fn note_underflow(&mut self, now: Stamp) {
        let due = self.position.is_some_and(|position| now > position.due);
        if !self.is_timed() && !self.filling && self.ended.is_none() && due && self.buffer.is_empty() {
            self.filling = true;
            self.stats.underflows += 1;
        }
    }
}

/// What leaves.
impl<P> Playout<P> {
    /// Drops what begins before the place that the release has come to: another record covered it.
    fn drop_passed(&mut self) {
        let Some(position) = self.position else { return };
        while self.buffer.first().is_some_and(|first| first.timestamp < position.media) {
            let entry = self.buffer.pop();
            self.jumps_held -=
                usize::from(entry.as_ref().is_some_and(|entry| entry.jump.is_some())).min(self.jumps_held);
            self.stats.packets_discarded += u64::from(entry.is_some_and(|entry| entry.arrived().is_some()));
        }
    }

    fn release(&mut self, now: Stamp) -> Output<'_, P> {
        let Some(first) = self.buffer.first() else { return self.release_tail() };
        let (timestamp, sequence) = (first.timestamp, first.sequence);
        let jumps = first.jump.is_some();
        let position = self.position.unwrap_or_else(|| {
            let due = self.line.map_or(now, |line| line.at(timestamp));
            Position { media: timestamp, due }
        });
        self.position = Some(position);
        if let Some(mut line) = self.buffer.take_jump() {
            // What lies before the jump is played out first.
            line.shift(position.due.since(line.at(timestamp)).max(0));
            self.line = Some(line);
        }
        if timestamp > position.media {
            return self.release_hole(now, position, timestamp, sequence, jumps);
        }
        if self.due_at(position.media) > position.due {
            return self.insert_time(position);
        }
        let Some(entry) = self.buffer.pop() else { return Output::Idle };
        self.release_entry(now, position, entry)
    }

    /// Nothing came for the media time before the next record.
    fn release_hole(
        &mut self,
        now: Stamp,
        position: Position,
        until: MediaTime,
        sequence: SequenceNumber,
        jumps: bool,
    ) -> Output<'_, P> {
        let hole = until.since(position.media);
        let expected = self.expected.unwrap_or(sequence.0);
        let missing = self.seen.missing(expected, sequence.0);
        let missing = u32::try_from(missing).unwrap_or(u32::MAX);
        let (duration, packets) = match missing {
            0 => (hole, 0),
            _ if jumps || self.rate.ns(hole) > TAIL_NS => (hole, missing),
            _ => self.lost_span(now, position.media, hole, missing),
        };
        let silent = packets == 0;
        if silent && !jumps {
            // Moving the line costs nothing where there is nothing to hear.
            let slack = self.floor.take_slack();
            self.shift(slack);
        }
        let reason = if silent { GapReason::Silent } else { GapReason::Lost };
        self.expected = Some(expected.saturating_add(u64::from(packets)));
        self.stats.packets_lost += u64::from(packets);
        let sequence = SequenceNumber(expected);
        self.gap(position, Span { sequence, duration, packets, reason })
    }

    /// How much of a hole is released now, and how many packets that is: a packet at a time while one may still come,
    /// all at once what is past.
    fn lost_span(&self, now: Stamp, from: MediaTime, hole: u64, missing: u32) -> (u64, u32) {
        let count = u64::from(missing);
        let even = hole / count;
        let step =
            if even * count == hole && (self.nominal == 0 || even <= self.nominal) { even } else { self.nominal };
        let step = step.clamp(1, hole);
        if step.saturating_mul(count) > hole {
            return (hole, missing);
        }
        let past = now.since(self.due_at(from)).max(0);
        let steps = (self.rate.ticks(past) / step).saturating_add(1).min(count);
        (step * steps, steps as u32)
    }

    /// Playing goes on later than it would have: the time between is filled with nothing.
    fn insert_time(&mut self, position: Position) -> Output<'_, P> {
        let sequence = SequenceNumber(self.expected.unwrap_or_default());
        self.gap(position, Span { sequence, duration: 0, packets: 0, reason: GapReason::Late })
    }

    /// The stream ends behind its last record.
    fn release_tail(&mut self) -> Output<'_, P> {
        let (Some(position), Some(end)) = (self.position, self.ended) else { return Output::Idle };
        let duration = end.since(position.media);
        let sequence = SequenceNumber(self.expected.unwrap_or_default());
        self.gap(position, Span { sequence, duration, packets: 0, reason: GapReason::Silent })
    }

    fn release_entry(&mut self, now: Stamp, position: Position, entry: Entry<P>) -> Output<'_, P> {
        let room = self.buffer.first().map_or(u64::MAX, |next| next.timestamp.since(entry.timestamp));
        let sequence = entry.sequence;
        match entry.body {
            Body::Packet(meta, payload) => {
                self.expected = Some(sequence.0.saturating_add(1));
                if entry.duration > 0 {
                    self.nominal = entry.duration;
                }
                match self.spoilt(now, position, &meta) {
                    None => self.play(now, position, meta, payload),
                    Some(reason) => {
                        self.stats.packets_discarded += 1;
                        self.stats.packets_late += u64::from(reason == GapReason::Late);
                        self.gap(position, Span { sequence, duration: entry.duration.min(room), packets: 1, reason })
                    }
                }
            }
            Body::Gap { reason, packets } => {
                self.expected = Some(sequence.0.saturating_add(u64::from(packets)));
                self.gap(position, Span { sequence, duration: entry.duration.min(room), packets, reason })
            }
            Body::Refused { packets } => {
                self.expected = Some(sequence.0.saturating_add(u64::from(packets)));
                let duration = entry.duration.min(room);
                self.line = Some(Timeline::new(self.rate, position.media.plus(duration), position.due));
                self.gap(position, Span { sequence, duration, packets, reason: GapReason::Overrun })
            }
        }
    }

    /// Why a packet that is there cannot be played, if so.
    fn spoilt(&self, now: Stamp, position: Position, meta: &Meta) -> Option<GapReason> {
        if self.is_timed() && meta.arrived > position.due {
            return Some(GapReason::Late);
        }
        (now.since(position.due) > self.config.max_behind_ns).then_some(GapReason::Overrun)
    }

    fn play(&mut self, now: Stamp, position: Position, meta: Meta, payload: P) -> Output<'_, P> {
        let ticks = u64::from(meta.duration);
        let slot = self.advance(position, ticks);
        self.after_audio = true;
        let target = if let Rule::Fixed { delay_ns } = self.config.rule { delay_ns.max(0).unsigned_abs() } else { 0 };
        self.stats.note_audio(self.rate, ticks, slot, position.due.max(now).since(meta.arrived), target);
        Output::Audio(Played { meta, payload, due: position.due, slot })
    }

    fn gap(&mut self, position: Position, span: Span) -> Output<'_, P> {
        let Span { sequence, duration, packets, reason } = span;
        let slot = self.advance(position, duration);
        let conceals = !reason.is_silence() && duration > 0;
        let repaired = conceals && slot > 0 && self.is_repaired(position.media, duration);
        let begins = std::mem::replace(&mut self.after_audio, repaired);
        self.stats.note_gap(self.rate, duration, slot, reason, repaired, begins);
        let later = if conceals && slot > 0 { self.later(position.media, duration) } else { None };
        Output::Gap(Missing {
            sequence,
            timestamp: position.media,
            duration,
            packets,
            reason,
            due: position.due,
            slot,
            later,
        })
    }

    /// A later packet, as seen from a gap: the first that tells of it, else the next.
    fn later(&self, from: MediaTime, duration: u64) -> Option<Later<'_, P>> {
        let (timestamp, _, payload) = self.telling(from, duration).or_else(|| self.packets_ahead().next())?;
        Some(Later { ahead: timestamp.since(from), payload })
    }

    /// Whether a packet that is there tells of what is missing.
    fn is_repaired(&self, from: MediaTime, duration: u64) -> bool {
        self.telling(from, duration).is_some()
    }

    /// The first of the next packets that carries a copy of just what is missing, or describes it.
    fn telling(&self, from: MediaTime, duration: u64) -> Option<(MediaTime, &Meta, &P)> {
        self.packets_ahead().find(|(timestamp, meta, _)| {
            let ahead = timestamp.since(from);
            meta.redundant && ahead == duration || u64::from(meta.reach) >= ahead
        })
    }

    /// The next packets, up to where timestamps jump or something is known to be missing.
    fn packets_ahead(&self) -> impl Iterator<Item = (MediaTime, &Meta, &P)> {
        let follows = |(place, entry): &(usize, &Entry<P>)| *place == 0 || entry.jump.is_none();
        self.buffer.iter().take(LOOK_AHEAD).enumerate().take_while(follows).map_while(|(_, entry)| match &entry.body {
            Body::Packet(meta, payload) => Some((entry.timestamp, meta, payload)),
            Body::Gap { .. } | Body::Refused { .. } => None,
        })
    }

    /// Steps both timelines over `ticks`; gives the nanoseconds between.
    fn advance(&mut self, position: Position, ticks: u64) -> u64 {
        let media = position.media.plus(ticks);
        let due = match self.config.rule {
            Rule::Adaptive(_) => position.due.plus(std::mem::take(&mut self.next_slot)),
            Rule::Fixed { .. } | Rule::Count { .. } => self.due_at(media).max(position.due),
        };
        self.position = Some(Position { media, due });
        due.since(position.due).unsigned_abs()
    }

    fn due_at(&self, media: MediaTime) -> Stamp {
        self.line.map_or(Stamp::ZERO, |line| line.at(media))
    }
}

/// A gap about to be released.
struct Span {
    sequence: SequenceNumber,
    duration: u64,
    packets: u32,
    reason: GapReason,
}
