//! Which packets belong to a source, and to which: probation, binding to an address, restarts.

use core::net::SocketAddr;

use vox_frame::{EndReason, Record, Stamp};

use super::{Key, Receiver};
use crate::heard::Heard;
use crate::packet::Packet;
use crate::source::Admission;
use crate::stream::{Delivery, Jump};

/// A source that was quiet for so long gives way to a new one when there are too many, in nanoseconds.
const EVICTABLE_NS: i64 = 5_000_000_000;

/// How long the address that a source was bound to must have been quiet before another may follow it, in nanoseconds.
const FOLLOW_QUIET_NS: i64 = 500_000_000;

/// How long after a goodbye packets are still those that were under way, in nanoseconds.
const UNDER_WAY_NS: i64 = 100_000_000;

/// Payload types that are counted one by one when nobody knows what they mean.
const MAX_UNKNOWN: usize = 128;

impl Receiver {
    /// Whether the packet can be of use: a payload type that is known, or a source that is (its number counts).
    pub(super) fn is_wanted(&mut self, packet: &Packet<'_>, bound: bool) -> bool {
        let Some(format) = self.config.map.get(packet.header.payload_type) else {
            self.stats.packets_unknown += 1;
            if self.unknown.len() < MAX_UNKNOWN {
                *self.unknown.entry(packet.header.payload_type).or_default() += 1;
            }
            return bound;
        };
        if packet.payload.is_empty() {
            // Padding can tell nothing about a codec, so it begins no stream.
            return bound;
        }
        let good = format.measure(packet.payload).is_some();
        if !good {
            self.stats.packets_malformed += 1;
        }
        good
    }

    /// A packet of an address that does not speak for the source, or of a source that nobody speaks for yet.
    pub(super) fn probe<E>(
        &mut self,
        key: Key,
        from: SocketAddr,
        packet: &Packet<'_>,
        delivery: Delivery,
        datagram: &[u8],
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if !self.make_room(delivery.now, (key, from), out)? {
            return Ok(());
        }
        let new = || Heard::new(from, packet.header.sequence, delivery.arrived);
        let candidate = self.candidates.entry((key, from)).or_insert_with(new);
        candidate.last_heard = candidate.last_heard.max(delivery.arrived);
        candidate.bytes_in += datagram.len() as u64;
        if candidate.sequence.handle(packet.header.sequence) != Admission::Confirmed {
            self.stats.packets_stray += candidate.hold(packet, delivery, datagram);
            let timeout = delivery.arrived.plus(self.config.source_timeout_ns);
            self.wake = Some(self.wake.map_or(timeout, |wake| wake.min(timeout)));
            return Ok(());
        }
        let Some(mut candidate) = self.candidates.remove(&(key, from)) else { return Ok(()) };
        if let Some(heard) = self.sources.get_mut(&key) {
            if delivery.now.since(heard.last_heard) < FOLLOW_QUIET_NS {
                self.stats.packets_foreign += 1 + candidate.drop_held();
                return Ok(());
            }
            self.stats.moves += 1;
            (heard.from, heard.control) = (from, None);
            (heard.bytes_in, heard.bytes_out) = (candidate.bytes_in, 0);
            for held in candidate.take_held() {
                if let Ok(packet) = Packet::parse(&held.datagram) {
                    self.admit(key, &packet, held.delivery, &held.datagram, out)?;
                }
            }
            return self.admit(key, packet, delivery, datagram, out);
        }
        if self.config.latch {
            self.latched = Some(from);
        }
        self.drop_rivals(key);
        if let Some((ntp, rtp, arrived)) = self.early.take(key, from.ip(), delivery.now) {
            candidate.handle_report(ntp, rtp, arrived);
        }
        self.sources.insert(key, candidate);
        self.release_held(key, packet.header.sequence, out)?;
        self.pass_on(key, packet, delivery, out)
    }

    /// Others that claimed to be the source are not; where only one address is heard, no other is anything.
    pub(super) fn drop_rivals(&mut self, key: Key) {
        let (latched, stats) = (self.latched, &mut self.stats);
        self.candidates.retain(|(theirs, from), heard| {
            let stays = *theirs != key && latched.is_none_or(|latched| latched == *from);
            stats.packets_foreign += if stays { 0 } else { heard.drop_held() };
            stays
        });
    }

    /// A packet of a source from its own address.
    pub(super) fn admit<E>(
        &mut self,
        key: Key,
        packet: &Packet<'_>,
        delivery: Delivery,
        datagram: &[u8],
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(heard) = self.sources.get_mut(&key) else { return Ok(()) };
        heard.last_heard = heard.last_heard.max(delivery.arrived);
        heard.bytes_in += datagram.len() as u64;
        if heard.leaving.is_some_and(|left| delivery.arrived.since(left) > UNDER_WAY_NS) {
            heard.leaving = None;
            self.stats.byes_ignored += 1;
        }
        match heard.sequence.handle(packet.header.sequence) {
            Admission::Held => {
                self.stats.packets_stray += heard.hold(packet, delivery, datagram);
                Ok(())
            }
            Admission::InOrder | Admission::Confirmed => self.pass_on_in_order(key, packet, delivery, datagram, out),
            Admission::Misordered => {
                self.stats.packets_misordered += 1;
                self.pass_on(key, packet, delivery, out)
            }
            Admission::Restarted => {
                self.restart(key, out)?;
                self.release_held(key, packet.header.sequence, out)?;
                self.pass_on(key, packet, delivery, out)
            }
        }
    }

    /// Makes sure that the candidate may be known; false where there are too many.
    pub(super) fn make_room<E>(
        &mut self,
        now: Stamp,
        candidate: (Key, SocketAddr),
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<bool, E> {
        if self.candidates.contains_key(&candidate) || self.sources() < self.config.max_sources {
            return Ok(true);
        }
        let oldest = self.candidates.iter().min_by_key(|(_, heard)| heard.last_heard).map(|(&key, _)| key);
        if let Some(oldest) = oldest {
            let dropped = self.candidates.remove(&oldest).map_or(0, |mut heard| heard.drop_held());
            self.stats.packets_stray += dropped;
            return Ok(true);
        }
        let quiet = self.sources.iter().filter(|(_, heard)| now.since(heard.last_heard) > EVICTABLE_NS);
        let Some(victim) = quiet.min_by_key(|(_, heard)| heard.last_heard).map(|(&key, _)| key) else {
            self.stats.packets_refused += 1;
            return Ok(false);
        };
        self.forget(victim, EndReason::Timeout, out)?;
        Ok(true)
    }

    /// A packet whose number is in order: its timestamp may still have jumped.
    pub(super) fn pass_on_in_order<E>(
        &mut self,
        key: Key,
        packet: &Packet<'_>,
        delivery: Delivery,
        datagram: &[u8],
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(heard) = self.sources.get_mut(&key) else { return Ok(()) };
        let timestamp = packet.header.timestamp;
        match heard.stream.as_mut().map_or(Jump::None, |stream| stream.jump(timestamp, delivery.arrived)) {
            Jump::None => self.stats.packets_stray += heard.drop_held(),
            Jump::Suspected => {
                self.stats.packets_stray += heard.hold(packet, delivery, datagram);
                return Ok(());
            }
            Jump::Confirmed => {
                self.restart(key, out)?;
                self.release_held(key, packet.header.sequence, out)?;
            }
        }
        self.pass_on(key, packet, delivery, out)
    }
}
