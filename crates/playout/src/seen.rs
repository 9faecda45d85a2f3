//! Which sequence numbers have come.

use std::collections::BTreeMap;

use vox_frame::{MediaTime, SequenceNumber};

/// How many recent packets are remembered: 20 s of 20 ms packets, far more than any network reorders.
const REMEMBERED: usize = 1024;

#[derive(Debug, Clone, Copy)]
struct Arrival {
    timestamp: MediaTime,
    padding: bool,
}

/// The packets that came last, to tell a duplicate from a late one and padding from a loss.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    packets: BTreeMap<u64, Arrival>,
    highest: Option<u64>,
}

impl Seen {
    /// Remembers a packet; false when it is a duplicate.
    pub(crate) fn insert(&mut self, sequence: SequenceNumber, timestamp: MediaTime, padding: bool) -> bool {
        if self.packets.get(&sequence.0).is_some_and(|seen| seen.timestamp == timestamp) {
            return false;
        }
        self.packets.insert(sequence.0, Arrival { timestamp, padding });
        self.highest = self.highest.max(Some(sequence.0));
        if self.packets.len() > REMEMBERED {
            self.packets.pop_first();
        }
        true
    }

    /// Whether `sequence` is beyond all that came before.
    pub(crate) fn is_newest(&self, sequence: SequenceNumber) -> bool {
        self.highest.is_none_or(|highest| sequence.0 > highest)
    }

    /// How many of the packets from `from` up to, not including, `to` carried audio that is missing.
    pub(crate) fn missing(&self, from: u64, to: u64) -> u64 {
        if to <= from {
            return 0;
        }
        let padding = self.packets.range(from..to).filter(|(_, seen)| seen.padding).count();
        (to - from).saturating_sub(padding as u64)
    }
}
