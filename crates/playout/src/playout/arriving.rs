//! What arrives: packets that are taken in or refused, and the lines that they say time runs on.

use vox_frame::Stamp;

use super::Playout;
use crate::config::{Rule, Start};
use crate::floor::JUMP_NS;
use crate::record::{Insert, Meta};
use crate::timeline::Timeline;

/// How far back a timestamp must lie, in ns, to be a restart of the sender and not a late packet.
const RESTART_NS: i64 = 1_000_000_000;

/// How many packets far behind in a row are a restart, where their sequence numbers do not tell.
const RESTART_PACKETS: u32 = 3;

impl<P> Playout<P> {
    /// Whether media time has gone back so far that the sender must have started anew.
    pub(super) fn is_restart(&mut self, meta: &Meta) -> bool {
        let back = self.position.map_or(0, |position| self.rate.ns(position.media.since(meta.timestamp)));
        if back <= RESTART_NS {
            self.far_behind = 0;
            return false;
        }
        self.far_behind += 1;
        self.seen.is_newest(meta.sequence) || self.far_behind >= RESTART_PACKETS
    }

    pub(super) fn came_too_late(&mut self) -> Insert<P> {
        self.stats.packets_late += 1;
        self.stats.packets_discarded += 1;
        self.stats.packets_lost = self.stats.packets_lost.saturating_sub(1);
        Insert::Late
    }

    pub(super) fn has_room(&mut self, meta: &Meta) -> bool {
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

    pub(super) fn refuse(&mut self, meta: &Meta) -> Insert<P> {
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
    pub(super) fn follow(&mut self, meta: &Meta) -> Option<Timeline> {
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

    pub(super) const fn fresh_line(&self, meta: &Meta, delay_ns: i64) -> Timeline {
        Timeline::new(self.rate, meta.timestamp, meta.arrived.plus(delay_ns))
    }

    pub(super) fn shift(&mut self, ns: i64) {
        for line in [&mut self.line, &mut self.arriving].into_iter().flatten() {
            line.shift(ns);
        }
    }
}

/// The half-full rule.
impl<P> Playout<P> {
    pub(super) fn start_if_full(&mut self, now: Stamp) {
        let Rule::Count { max, start } = self.config.rule else { return };
        let full = match start {
            _ if max < 2 => true,
            // What is asked for is more than there is room for.
            _ if self.buffer.packets() > max => true,
            Start::Packets(packets) => self.buffer.packets() >= packets,
            Start::Span(ns) => self.held_ns() >= ns,
        };
        if full {
            self.start_playing(now);
        }
    }

    pub(super) fn start_playing(&mut self, now: Stamp) {
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
    pub(super) fn note_underflow(&mut self, now: Stamp) {
        let due = self.position.is_some_and(|position| now > position.due);
        if !self.is_timed() && !self.filling && self.ended.is_none() && due && self.buffer.is_empty() {
            self.filling = true;
            self.stats.underflows += 1;
        }
    }
}
