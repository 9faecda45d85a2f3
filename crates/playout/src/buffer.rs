//! Packets in order of media time.

use std::collections::BTreeMap;

use vox_frame::{GapReason, MediaTime, SequenceNumber, Stamp};

use crate::Meta;
use crate::timeline::Timeline;

/// Something that occupies media time.
#[derive(Debug)]
pub(crate) struct Entry<P> {
    pub(crate) sequence: SequenceNumber,
    pub(crate) timestamp: MediaTime,
    pub(crate) duration: u64,
    pub(crate) body: Body<P>,
    /// Where the timestamps jump: the line that holds from here on.
    pub(crate) jump: Option<Timeline>,
}

#[derive(Debug)]
pub(crate) enum Body<P> {
    Packet(Meta, P),
    /// A gap that came in as one.
    Gap {
        reason: GapReason,
        packets: u32,
    },
    /// Packets refused by a full buffer: their media time takes no playout time.
    Refused {
        packets: u32,
    },
}

impl<P> Entry<P> {
    pub(crate) fn end(&self) -> MediaTime {
        self.timestamp.plus(self.duration)
    }

    pub(crate) fn arrived(&self) -> Option<Stamp> {
        match &self.body {
            Body::Packet(meta, _) => Some(meta.arrived),
            Body::Gap { .. } | Body::Refused { .. } => None,
        }
    }

    fn bytes(&self) -> usize {
        match &self.body {
            Body::Packet(meta, _) => meta.bytes,
            Body::Gap { .. } | Body::Refused { .. } => 0,
        }
    }
}

/// The entries by media time, and what they weigh.
#[derive(Debug)]
pub(crate) struct PacketBuffer<P> {
    entries: BTreeMap<MediaTime, Entry<P>>,
    packets: usize,
    bytes: usize,
    ticks: u64,
}

impl<P> PacketBuffer<P> {
    pub(crate) const fn new() -> Self {
        Self { entries: BTreeMap::new(), packets: 0, bytes: 0, ticks: 0 }
    }

    /// Packets with audio.
    pub(crate) const fn packets(&self) -> usize {
        self.packets
    }

    /// Payload bytes.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Media duration of the packets, in ticks.
    pub(crate) const fn ticks(&self) -> u64 {
        self.ticks
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn contains(&self, timestamp: MediaTime) -> bool {
        self.entries.contains_key(&timestamp)
    }

    pub(crate) fn first(&self) -> Option<&Entry<P>> {
        self.entries.first_key_value().map(|(_, entry)| entry)
    }

    /// The entries in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry<P>> {
        self.entries.values()
    }

    /// Takes the line that holds from the first entry on.
    pub(crate) fn take_jump(&mut self) -> Option<Timeline> {
        self.entries.first_entry()?.get_mut().jump.take()
    }

    pub(crate) fn insert(&mut self, entry: Entry<P>) {
        if matches!(entry.body, Body::Packet(..)) {
            self.packets += 1;
            self.ticks = self.ticks.saturating_add(entry.duration);
        }
        self.bytes += entry.bytes();
        self.entries.insert(entry.timestamp, entry);
    }

    /// Notes that the packet at that place was refused; joins it to a refusal just before it.
    pub(crate) fn refuse(&mut self, sequence: SequenceNumber, timestamp: MediaTime, duration: u64) {
        if let Some((_, before)) = self.entries.range_mut(..timestamp).next_back()
            && before.end() == timestamp
            && let Body::Refused { packets } = &mut before.body
        {
            *packets = packets.saturating_add(1);
            before.duration = before.duration.saturating_add(duration);
            return;
        }
        self.insert(Entry { sequence, timestamp, duration, body: Body::Refused { packets: 1 }, jump: None });
    }

    pub(crate) fn pop(&mut self) -> Option<Entry<P>> {
        let (_, entry) = self.entries.pop_first()?;
        if matches!(entry.body, Body::Packet(..)) {
            self.packets -= 1;
            self.ticks = self.ticks.saturating_sub(entry.duration);
        }
        self.bytes -= entry.bytes();
        Some(entry)
    }
}
