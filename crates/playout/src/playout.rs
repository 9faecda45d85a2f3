//! The jitter buffer of one stream.

mod adapted;
mod arriving;
mod leaving;

use vox_frame::{GapReason, MediaTime, Rate, SequenceNumber, Stamp};

use crate::adaptive::Follower;
use crate::buffer::{Body, Entry, PacketBuffer};
use crate::config::{Config, Rule};
use crate::floor::Floor;
use crate::record::{Insert, Meta, Output};
use crate::seen::Seen;
use crate::stats::{Jitter, Stats};
use crate::timeline::Timeline;

/// A hole longer than this, in ns, is one gap, however many packets it is, and no end of a stream fills it: a minute
/// is longer than any call survives.
const TAIL_NS: i64 = 60_000_000_000;

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
    /// When the first gap was handed in, where a stream begins with one.
    began: Option<Stamp>,
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
            began: None,
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

    /// Takes in a gap that came as one: its media time is known to be missing. Only a packet tells when media time is
    /// due: with a fixed delay, what stands before the first one waits for it; where the delay follows the network it
    /// begins when it comes, or waits while `now` is [`Stamp::ZERO`], as nobody knows the time.
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
        if self.position.is_none() && now > Stamp::ZERO {
            self.began.get_or_insert(now);
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
