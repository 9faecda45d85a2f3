//! What leaves where the delay follows the network: nothing has a due time of its own before it leaves.

use vox_frame::{GapReason, MediaTime, SequenceNumber, Stamp};

use super::leaving::Span;
use super::{Playout, Position, TAIL_NS};
use crate::buffer::{Body, Entry};
use crate::config::{Adaptive, Rule};
use crate::decision::{Decision, Status, decide, fit};
use crate::floor::JUMP_NS;
use crate::record::{Meta, Output, Played};

/// What is inserted at a time while nothing is there, in ns: what a decoder conceals well in one piece.
const PIECE_NS: i64 = 10_000_000;

/// After so much inserted time there is nothing to conceal with any more, in ns: the buffer waits.
const CONCEAL_NS: i64 = 200_000_000;

/// So much silence is released that nothing follows, in ns: then the buffer waits.
const SILENCE_NS: i64 = 60_000_000_000;

/// A delay from which on a lost packet may be concealed shorter than it was, in ns.
const LONG_NS: i64 = 50_000_000;

/// How long its neighbours have to come to rest until that is done again, in ns, where losses are not the rare ones
/// that no copy repairs.
const REST_NS: i64 = 3_000_000_000;

/// Less drift than this is none, in parts per billion: samples that need no change get none.
const LEAST_DRIFT_PPB: i64 = 2_000;

/// Concealment is made in multiples of this, in ns: the shortest frame of Opus.
const CONCEALED_STEP_NS: i64 = 2_500_000;

/// What is left of a lost packet beside the time that was inserted for it is left out below this share.
const REST_SHARE: i64 = 4;

impl<P> Playout<P> {
    pub(super) const fn adaptive(&self) -> Option<Adaptive> {
        match self.config.rule {
            Rule::Adaptive(rule) => Some(rule),
            Rule::Fixed { .. } | Rule::Count { .. } => None,
        }
    }

    /// Feeds the follower; gives whether the timestamps jump here.
    pub(super) fn follow_network(&mut self, meta: &Meta) -> bool {
        let Some(rule) = self.adaptive() else { return false };
        let over = self.follower.over(meta.arrived, meta.timestamp);
        // Timestamps have jumped ahead, or the sender has paused without moving them on.
        let ahead = meta.timestamp > self.furthest && over.is_some_and(|over| over < -JUMP_NS);
        let waited = self.position.is_some() && self.buffer.is_empty() && over.is_some_and(|over| over > JUMP_NS);
        let jumped = !meta.recovered && (ahead || waited);
        if jumped {
            self.follower.jump();
            self.stats.resyncs += 1;
        }
        if self.follower.handle(meta, &rule) {
            self.stats.resyncs += 1;
        }
        self.jumps_held += usize::from(jumped && ahead);
        jumped && ahead
    }

    /// When something leaves; none while that depends on what arrives.
    pub(super) fn adapted_deadline(&self) -> Option<Stamp> {
        let Some(position) = self.position else {
            let first = self.buffer.first()?;
            let timeless = self.follower.desired(first.timestamp).is_none() && self.began.is_none();
            return (!timeless || self.ended.is_some()).then(|| self.begin(first.timestamp, first.arrived()));
        };
        match self.buffer.first() {
            Some(first) => Some(first.arrived().map_or(position.due, |arrived| position.due.max(arrived))),
            None if self.ended.is_some() => self.ended.is_some_and(|end| position.media < end).then_some(position.due),
            None => {
                let most = if self.silent_from.is_some() { SILENCE_NS } else { CONCEAL_NS };
                (self.inserted < most).then_some(position.due)
            }
        }
    }

    pub(super) fn release_adapted(&mut self, now: Stamp) -> Output<'_, P> {
        let Some(first) = self.buffer.first() else {
            return match self.position {
                Some(position) if self.ended.is_none() => match self.silent_from {
                    Some(_) => self.insert(position, self.silence_ns(), GapReason::Silent),
                    None => self.insert(position, PIECE_NS, GapReason::Late),
                },
                Some(position) => {
                    let tail = self.ended.map_or(0, |end| end.since(position.media));
                    self.next_slot = self.span_ns(position.media, tail);
                    self.release_tail()
                }
                None => Output::Idle,
            };
        };
        let (timestamp, sequence, arrived) = (first.timestamp, first.sequence, first.arrived());
        let jumps = first.jump.is_some();
        if self.buffer.take_jump().is_some() {
            self.jumps_held = self.jumps_held.saturating_sub(1);
        }
        let desired = self.desired(timestamp, arrived);
        let position =
            self.position.unwrap_or_else(|| Position { media: timestamp, due: self.begin(timestamp, arrived) });
        self.position = Some(position);
        let behind = now.since(position.due);
        if behind > self.config.max_behind_ns {
            return self.insert(position, behind, GapReason::Overrun);
        }
        if timestamp > position.media {
            return self.release_adapted_hole(position, timestamp, sequence, desired, jumps);
        }
        if let Some(early) = arrived.map(|arrived| arrived.since(position.due)).filter(|early| *early > 0) {
            return self.insert(position, early, GapReason::Late);
        }
        let Some(entry) = self.buffer.pop() else { return Output::Idle };
        self.release_adapted_entry(position, entry, desired)
    }

    /// How much silence is released at a time: no more than the delay, so that it never reaches beyond the time at which
    /// what comes next should be played.
    fn silence_ns(&self) -> i64 {
        self.follower.aim_ns().clamp(PIECE_NS, 2 * PIECE_NS)
    }

    /// When a stream that begins with the record at `timestamp` begins.
    fn begin(&self, timestamp: MediaTime, arrived: Option<Stamp>) -> Stamp {
        let desired = self.desired(timestamp, arrived);
        arrived.map_or(desired, |arrived| desired.max(arrived))
    }

    /// When the record at `timestamp` should be played, never longer after its arrival than the largest delay.
    fn desired(&self, timestamp: MediaTime, arrived: Option<Stamp>) -> Stamp {
        let due = self.position.map(|position| position.due).or(self.began).unwrap_or(Stamp::ZERO);
        if self.jumps_held > 0 {
            // It lies before a jump of the timestamps, of which the follower knows already.
            return due;
        }
        let desired = self.follower.desired(timestamp).unwrap_or(due);
        let most = self.adaptive().map_or(0, |rule| rule.max_ns);
        arrived.map_or(desired, |arrived| desired.min(arrived.plus(most)))
    }

    /// Media duration from `from` on, in ns: rounded so that durations add up.
    fn span_ns(&self, from: MediaTime, ticks: u64) -> i64 {
        self.rate.ns(from.plus(ticks).0) - self.rate.ns(from.0)
    }

    fn status(&self, position: Position, ticks: u64, desired: Stamp, quiet: bool) -> Status {
        let nominal = self.span_ns(position.media, ticks);
        let ppb = Some(self.follower.drift_ppb()).filter(|ppb| ppb.abs() >= LEAST_DRIFT_PPB).unwrap_or(0);
        let drift = i128::from(nominal) * i128::from(ppb) / 1_000_000_000;
        Status {
            span_ns: nominal.saturating_add(i64::try_from(drift).unwrap_or(0)),
            error_ns: position.due.since(desired),
            target_ns: self.follower.aim_ns(),
            spare_ns: self.follower.spare_ns(),
            held_up: self.ended.is_none() && self.follower.is_held_up(position.due),
            concealed: self.concealing,
            quiet,
            wrong_ns: self.wrong_ns,
            begins: self.stats.jitter_buffer_emitted_count == 0,
            adjusting: self.adjusting,
            stretch: self.adaptive().is_some_and(|rule| rule.stretch),
        }
    }

    fn insert(&mut self, position: Position, ns: i64, reason: GapReason) -> Output<'_, P> {
        self.inserted = self.inserted.saturating_add(ns);
        self.concealing = true;
        let sequence = SequenceNumber(self.expected.unwrap_or_default());
        self.adapted_gap(position, Span { sequence, duration: 0, packets: 0, reason }, ns)
    }

    /// Releases a gap of a slot of its own.
    fn adapted_gap(&mut self, position: Position, span: Span, slot_ns: i64) -> Output<'_, P> {
        self.next_slot = slot_ns.max(0);
        self.gap(position, span)
    }

    /// Nothing came for the media time before the next record.
    fn release_adapted_hole(
        &mut self,
        position: Position,
        until: MediaTime,
        sequence: SequenceNumber,
        desired: Stamp,
        jumps: bool,
    ) -> Output<'_, P> {
        let hole = until.since(position.media);
        let expected = self.expected.unwrap_or(sequence.0);
        let missing = u32::try_from(self.seen.missing(expected, sequence.0)).unwrap_or(u32::MAX);
        let early = desired.since(position.due).max(0);
        let sequence = SequenceNumber(expected);
        if missing == 0 || jumps || self.rate.ns(hole) > TAIL_NS {
            // Nobody hears where silence ends: the delay becomes what it should be.
            self.expected = Some(expected.saturating_add(u64::from(missing)));
            self.stats.packets_lost += u64::from(missing);
            self.concealing = true;
            let reason = if missing == 0 { GapReason::Silent } else { GapReason::Lost };
            return self.adapted_gap(position, Span { sequence, duration: hole, packets: missing, reason }, early);
        }
        let step = self.lost_step(hole, missing);
        let nominal = self.span_ns(position.media, step);
        let late = position.due.since(desired).saturating_add(self.span_ns(position.media, hole));
        let packets = if step == hole { missing } else { 1 };
        self.expected = Some(expected.saturating_add(u64::from(packets)));
        self.stats.packets_lost += u64::from(packets);
        let span = Span { sequence, duration: step, packets, reason: GapReason::Lost };
        let status = Status { error_ns: late, ..self.status(position, step, desired, false) };
        let slot = if self.inserted > 0 {
            // Time that was inserted stands for it.
            let rest = whole_steps((nominal - late.max(0)).max(0));
            if rest < nominal / REST_SHARE { 0 } else { rest }
        } else if status.stretch && self.is_repaired(position, step) {
            status.span_ns + fit(&status).0
        } else {
            nominal - self.spared(position, late, nominal)
        };
        self.inserted = (self.inserted - (nominal - slot)).max(0);
        self.concealing = true;
        self.adapted_gap(position, span, slot)
    }

    /// How much shorter a lost packet is concealed than it was, where delay is left for it: the records behind it are
    /// stretched to make up for it, which sounds more natural than what a decoder invents (Liang, Faerber and Girod,
    /// "Adaptive playout scheduling and loss concealment", 2003).
    fn spared(&mut self, position: Position, late: i64, nominal: i64) -> i64 {
        let stretch = self.adaptive().is_some_and(|rule| rule.stretch);
        let copies =
            self.packets_ahead(position.due).next().is_some_and(|(_, next, _)| next.redundant || next.reach > 0);
        let rested = copies || self.spared_at.is_none_or(|at| position.due.since(at) > REST_NS);
        let long = self.follower.target_ns() >= LONG_NS;
        let lent = self.follower.is_late_rather_than_lost();
        let left = if stretch && rested && long && lent { self.follower.spare_ns().saturating_add(late) } else { late };
        let spared = whole_steps(left.clamp(0, nominal / 2));
        if spared > 0 {
            self.spared_at = Some(position.due);
        }
        spared
    }

    /// How much of a hole is released at a time: a packet, because one may still come.
    fn lost_step(&self, hole: u64, missing: u32) -> u64 {
        let even = hole / u64::from(missing);
        let fits = even * u64::from(missing) == hole && (self.nominal == 0 || even <= self.nominal);
        let step = if fits { even } else { self.nominal }.clamp(1, hole);
        if step.saturating_mul(u64::from(missing)) > hole || missing == 1 { hole } else { step }
    }

    fn release_adapted_entry(&mut self, position: Position, entry: Entry<P>, desired: Stamp) -> Output<'_, P> {
        let room = self.buffer.first().map_or(u64::MAX, |next| next.timestamp.since(entry.timestamp));
        let (sequence, duration) = (entry.sequence, entry.duration.min(room));
        match entry.body {
            Body::Packet(meta, payload) => {
                let status = self.status(position, entry.duration, desired, meta.quiet);
                self.wrong_ns = if status.is_right() { 0 } else { self.wrong_ns.saturating_add(status.span_ns) };
                match decide(&status) {
                    Decision::Insert { ns } => {
                        self.buffer.insert(Entry { body: Body::Packet(meta, payload), ..entry });
                        self.insert(position, ns, GapReason::Late)
                    }
                    Decision::Skip => {
                        self.met(sequence, 1);
                        self.concealing = true;
                        self.stats.packets_discarded += 1;
                        self.stats.packets_late += 1;
                        let span = Span { sequence, duration, packets: 1, reason: GapReason::Late };
                        self.adapted_gap(position, span, 0)
                    }
                    Decision::Play { slot_ns, adjusting } => {
                        self.met(sequence, 1);
                        self.nominal = if entry.duration > 0 { entry.duration } else { self.nominal };
                        self.adjusting = adjusting;
                        self.play_adapted(position, meta, payload, slot_ns)
                    }
                }
            }
            Body::Gap { reason, packets } => {
                self.met(sequence, packets);
                let slot = self.known_gap_slot(position, duration, desired);
                self.concealing = true;
                self.adapted_gap(position, Span { sequence, duration, packets, reason }, slot)
            }
            Body::Refused { packets } => {
                self.met(sequence, packets);
                self.concealing = true;
                self.adapted_gap(position, Span { sequence, duration, packets, reason: GapReason::Overrun }, 0)
            }
        }
    }

    /// How long a gap lasts that came as one. Where time was inserted for it already, or where it is too long to be
    /// concealed, it brings the delay to what it should be: nobody hears where silence ends.
    fn known_gap_slot(&mut self, position: Position, duration: u64, desired: Stamp) -> i64 {
        let nominal = self.span_ns(position.media, duration);
        if self.inserted == 0 && nominal <= CONCEAL_NS {
            return nominal;
        }
        let slot = nominal.saturating_sub(position.due.since(desired)).max(0);
        self.inserted = (self.inserted - (nominal - slot)).max(0);
        slot
    }

    fn met(&mut self, sequence: SequenceNumber, packets: u32) {
        self.expected = Some(sequence.0.saturating_add(u64::from(packets)));
    }

    fn play_adapted(&mut self, position: Position, meta: Meta, payload: P, slot_ns: i64) -> Output<'_, P> {
        let ticks = u64::from(meta.duration);
        self.next_slot = slot_ns.max(0);
        self.inserted = 0;
        self.concealing = false;
        self.after_audio = true;
        let slot = self.advance(position, ticks);
        if meta.silent {
            self.silent_from = self.reached();
        } else if self.silent_from.is_some_and(|from| from <= meta.timestamp) {
            self.silent_from = None;
        }
        let target = self.follower.aim_ns().unsigned_abs();
        self.stats.note_audio(self.rate, ticks, slot, position.due.since(meta.arrived), target);
        Output::Audio(Played { meta, payload, due: position.due, slot })
    }
}

const fn whole_steps(ns: i64) -> i64 {
    ns / CONCEALED_STEP_NS * CONCEALED_STEP_NS
}
