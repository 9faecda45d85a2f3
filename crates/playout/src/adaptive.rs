//! The delay that the network asks for: from arrivals to a line that media time should be played on.

use std::collections::BTreeMap;

use vox_frame::{MediaTime, Rate, Stamp};

use crate::arrival::{Level, Trend};
use crate::config::Adaptive;
use crate::decision::HELD_UP_PERCENT;
use crate::drift::Drift;
use crate::needs::Needs;
use crate::record::Meta;
use crate::silence::Silences;

/// How often the target is worked out, in ns of arrivals.
const UPDATE_NS: i64 = 100_000_000;

/// Until so much has been heard the first target holds, in ns.
const LEARNING_NS: i64 = 1_000_000_000;

/// What is added to what is needed, in ns: small errors of the delay are not worth a change.
const MARGIN_NS: i64 = 2_000_000;
const MARGIN_SHARE: i64 = 24;

/// How far ahead of a queue that fills up the delay keeps, in ns.
const AHEAD_NS: i64 = 20_000_000;

/// From this lateness on a packet may be held up by something, in ns, where that is less than half of the delay.
const ALARM_NS: i64 = 30_000_000;

/// A packet that is later than the one before it by more than this begins an event of its own, in ns.
const EVENT_NS: i64 = 15_000_000;

/// Playing slows down only for what is left of the buffer then, in ns.
const LAST_NS: i64 = 45_000_000;

/// How many stalls a burst of losses tells as much as, where packets describe the past: their sender expects bursts and
/// pays for them.
const DEEP_EVIDENCE: f64 = 5.0;

/// Packets for which a lost one may still come, or be repaired: what is described farther back is not waited for.
const PENDING: u64 = 16;

/// Follows the arrivals of one stream.
#[derive(Debug)]
pub(crate) struct Follower {
    rate: Rate,
    level: Level,
    trend: Trend,
    needs: Needs,
    drift: Drift,
    /// Sequence numbers that were passed over, and what the copy in the packet behind needed.
    pending: BTreeMap<u64, Option<i64>>,
    highest: Option<u64>,
    /// The last lost packet that a later one described.
    described: Option<u64>,
    silences: Silences,
    began: Option<Stamp>,
    updated: Option<Stamp>,
    learning: bool,
    /// What the history asked for, in ns, and what became of it.
    needed_ns: i64,
    target_ns: i64,
    most_ns: i64,
    usual_ns: i64,
    /// The duration of a packet, in ns.
    packet_ns: i64,
    /// How late the last packet was, in ns.
    last_over: i64,
    /// The end of the furthest packet, in ns of media time.
    furthest: Option<i64>,
}

impl Follower {
    pub(crate) fn new(rate: Rate) -> Self {
        Self {
            rate,
            level: Level::default(),
            trend: Trend::default(),
            needs: Needs::default(),
            drift: Drift::default(),
            pending: BTreeMap::new(),
            highest: None,
            described: None,
            silences: Silences::default(),
            began: None,
            updated: None,
            learning: true,
            needed_ns: 0,
            target_ns: 0,
            most_ns: 0,
            usual_ns: 0,
            packet_ns: 0,
            last_over: 0,
            furthest: None,
        }
    }

    /// Takes in a packet; true where the estimate of the drift began anew.
    pub(crate) fn handle(&mut self, meta: &Meta, rule: &Adaptive) -> bool {
        let transit = meta.arrived.ns().saturating_sub(self.rate.ns(meta.timestamp.0));
        let end = self.rate.ns(meta.timestamp.0).saturating_add(self.rate.ns(u64::from(meta.duration)));
        let furthest = self.furthest;
        self.furthest = furthest.max(Some(end));
        if meta.recovered {
            return false;
        }
        self.packet_ns = self.rate.ns(u64::from(meta.duration));
        let resynced = self.drift.add(meta.arrived, transit);
        let rose = self.level.add(meta.arrived, transit, self.drift.ppb());
        self.needs.shift_down(rose);
        self.trend.add(meta.arrived, transit);
        let level = self.level.get().unwrap_or(transit);
        let over = transit.saturating_sub(level);
        if let Some(furthest) = furthest {
            let silent = meta.arrived.ns().saturating_sub(furthest.saturating_add(level));
            if silent > self.packet_ns {
                self.silences.add(silent, over);
            }
        }
        self.note_need(meta, over);
        self.update(meta.arrived, rule);
        resynced
    }

    /// Media time has jumped: what was learnt of the network's shape stays.
    pub(crate) fn jump(&mut self) {
        self.level.reset();
        self.trend.reset();
        self.drift.reset();
        self.pending.clear();
        self.furthest = None;
    }

    /// When `media` should be played; none before the first packet.
    pub(crate) fn desired(&self, media: MediaTime) -> Option<Stamp> {
        let ns = self.level.get()?.saturating_add(self.rate.ns(media.0)).saturating_add(self.aim_ns());
        Some(Stamp::from_ns(ns))
    }

    /// How far off the line a packet that arrives at `arrived` is, in ns: negative where it is faster than any.
    pub(crate) fn over(&self, arrived: Stamp, timestamp: MediaTime) -> Option<i64> {
        Some(arrived.ns().saturating_sub(self.rate.ns(timestamp.0)).saturating_sub(self.level.get()?))
    }

    /// Whether the next packet is later than nearly all are: something holds it up. A queue that has filled holds up all
    /// of them, and is no reason to slow down.
    pub(crate) fn is_held_up(&self, now: Stamp) -> bool {
        let (Some(furthest), Some(level)) = (self.furthest, self.level.get()) else { return false };
        let queued = self.trend.get().map_or(0, |trend| trend.saturating_sub(level).max(0));
        let late = now.ns().saturating_sub(furthest.saturating_add(level).saturating_add(queued));
        self.silences.are_worth_waiting() && late > alarm_ns(self.target_ns, self.usual_ns, self.packet_ns)
    }

    /// The delay behind the fastest packet that is aimed at, in ns: the target, or more while all packets are later
    /// than it allows for.
    pub(crate) fn aim_ns(&self) -> i64 {
        let over = self.trend.get().zip(self.level.get()).map_or(0, |(trend, level)| trend.saturating_sub(level));
        self.target_ns.max(over.saturating_add(self.target_ns.min(AHEAD_NS))).min(self.most_ns)
    }

    /// How much of the target is there for what comes seldom, in ns.
    pub(crate) const fn spare_ns(&self) -> i64 {
        self.target_ns.saturating_sub(self.usual_ns.saturating_mul(2))
    }

    /// Whether what stays away usually comes: then delay can be lent, and be had back before it is needed.
    pub(crate) fn is_late_rather_than_lost(&self) -> bool {
        self.silences.are_worth_waiting()
    }

    /// What the history asks for, in ns.
    pub(crate) const fn target_ns(&self) -> i64 {
        self.target_ns
    }

    /// See [`Drift::ppb`].
    pub(crate) const fn drift_ppb(&self) -> i64 {
        self.drift.ppb()
    }

    /// What the packet needed goes into the history, and what a lost one before it did: a lost one needs as long as the
    /// copy in the packet behind it, where that carries one, or the first packet that describes it; one that was overtaken
    /// no longer than that copy.
    fn note_need(&mut self, meta: &Meta, over: i64) {
        let sequence = meta.sequence.0;
        let highest = self.highest.unwrap_or(sequence);
        if sequence > highest.saturating_add(PENDING) {
            self.pending.clear();
        } else {
            (highest.saturating_add(1)..sequence).for_each(|lost| {
                self.pending.insert(lost, None);
            });
        }
        self.highest = Some(highest.max(sequence));
        // One that was overtaken is repaired by its copy where that came first.
        let copied = self.pending.remove(&sequence).flatten();
        if meta.redundant
            && let Some(copy) = self.pending.get_mut(&sequence.wrapping_sub(1))
            && copy.is_none()
        {
            *copy = Some(over.saturating_add(self.rate.ns(u64::from(meta.duration))));
        }
        let need = copied.map_or(over, |copied| copied.min(over));
        self.needs.add(need);
        if need > self.last_over.saturating_add(EVENT_NS) {
            self.needs.add_event(need, 1.0);
        }
        self.last_over = over;
        self.note_described(meta, over);
        while let Some(oldest) = self.pending.first_entry() {
            if oldest.key().saturating_add(PENDING) > highest {
                break;
            }
            if let Some(need) = oldest.remove() {
                self.needs.add(need);
            }
        }
    }

    /// What was lost and is described by the packet goes into the history at once, so that the gap that is being
    /// concealed already brings the delay that the next one needs.
    fn note_described(&mut self, meta: &Meta, over: i64) {
        let packets = u64::from(meta.reach / meta.duration.max(1));
        let first = meta.sequence.0.saturating_sub(packets);
        let missing = self.pending.range(first..meta.sequence.0).filter(|(_, copy)| copy.is_none());
        let missing: Vec<u64> = missing.map(|(lost, _)| *lost).collect();
        for lost in missing {
            self.pending.remove(&lost);
            let back = u64::from(meta.duration).saturating_mul(meta.sequence.0 - lost);
            let need = over.saturating_add(self.rate.ns(back));
            self.needs.add(need);
            if self.described.is_none_or(|before| before.saturating_add(1) != lost) {
                self.needs.add_event(need, DEEP_EVIDENCE);
                self.updated = None;
            }
            self.described = Some(lost);
        }
    }

    fn update(&mut self, now: Stamp, rule: &Adaptive) {
        let began = *self.began.get_or_insert(now);
        if self.updated.is_some_and(|updated| now.since(updated) < UPDATE_NS) {
            return;
        }
        self.updated = Some(now);
        self.learning = now.since(began) < LEARNING_NS;
        self.update_now(rule);
    }

    /// Works out the target.
    pub(crate) fn update_now(&mut self, rule: &Adaptive) {
        let stretch = if rule.stretch { HELD_UP_PERCENT } else { 0 };
        let reach = |delay, usual| bridged(delay, usual, stretch, self.packet_ns);
        let advice = self.needs.advice(rule.price_ns, self.needed_ns, reach);
        self.needed_ns = advice.target_ns;
        let needed = advice.target_ns + MARGIN_NS + advice.target_ns / MARGIN_SHARE;
        let target = if self.learning { needed.max(rule.first_ns) } else { needed };
        self.target_ns = target.max(rule.min_ns).min(rule.max_ns);
        self.most_ns = rule.max_ns;
        self.usual_ns = advice.usual_ns;
    }
}

/// How late the next packet must be, in ns, until playing slows down: later than the packet behind a lost one usually
/// is, and so late that only the last of the buffer is left.
fn alarm_ns(target_ns: i64, usual_ns: i64, packet_ns: i64) -> i64 {
    (usual_ns + packet_ns).max((target_ns / 2).min(ALARM_NS)).max(target_ns - LAST_NS)
}

/// How late a packet may be that a delay bridges, in ns: more than the delay, where playing slows down by so many
/// percent from the alarm on, which is noticed with the packet after it.
fn bridged(delay_ns: i64, usual_ns: i64, percent: i64, packet_ns: i64) -> i64 {
    let slow = delay_ns - alarm_ns(delay_ns, usual_ns, packet_ns) - packet_ns;
    delay_ns + slow.max(0) * percent / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    #[test]
    fn a_long_delay_bridges_more_than_its_own_length() {
        assert_eq!(bridged(30 * MS, 5 * MS, 50, 20 * MS), 30 * MS);
        assert_eq!(bridged(90 * MS, 25 * MS, 100, 20 * MS), 115 * MS);
        assert_eq!(bridged(200 * MS, 25 * MS, 100, 20 * MS), 225 * MS);
        assert_eq!(bridged(90 * MS, 25 * MS, 0, 20 * MS), 90 * MS);
    }
}
