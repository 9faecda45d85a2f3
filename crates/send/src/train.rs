//! Packets of one size that leave together: what the input gave at once goes out in one call a destination.

use vox_sys::batch::{MAX_TRAIN, MAX_TRAIN_BYTES};

/// Packets one behind the other, all of one size but the last, which may be shorter.
#[derive(Default)]
pub(crate) struct Train {
    bytes: Vec<u8>,
    size: usize,
}

impl Train {
    /// Whether the packet can leave with those that wait.
    pub(crate) fn takes(&self, packet: &[u8]) -> bool {
        let whole = self.bytes.len().is_multiple_of(self.size.max(1));
        self.is_empty()
            || (whole
                && packet.len() <= self.size
                && self.len() < MAX_TRAIN
                && self.bytes.len() + packet.len() <= MAX_TRAIN_BYTES)
    }

    /// Adds a packet that it [`takes`](Self::takes).
    pub(crate) fn push(&mut self, packet: &[u8]) {
        if self.is_empty() {
            self.size = packet.len();
        }
        self.bytes.extend_from_slice(packet);
    }

    pub(crate) fn packets(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks(self.size.max(1))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of each packet but the last.
    pub(crate) const fn size(&self) -> u16 {
        self.size as u16
    }

    /// How many packets wait.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len().div_ceil(self.size.max(1))
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_one_size_leave_together_and_a_shorter_one_is_the_last() {
        let mut train = Train::default();
        for packet in [&[1; 10][..], &[2; 10], &[3; 4]] {
            assert!(train.takes(packet));
            train.push(packet);
        }
        assert!(!train.takes(&[4; 10]) && !train.takes(&[4; 2]));
        let sizes: Vec<usize> = train.packets().map(<[u8]>::len).collect();
        assert_eq!((sizes.as_slice(), train.len(), train.size()), (&[10, 10, 4][..], 3, 10));
    }

    #[test]
    fn a_longer_packet_or_one_too_many_waits_for_the_next() {
        let mut train = Train::default();
        train.push(&[1; 10]);
        assert!(!train.takes(&[2; 11]));
        for _ in 1..MAX_TRAIN {
            assert!(train.takes(&[1; 10]));
            train.push(&[1; 10]);
        }
        assert!(!train.takes(&[1; 10]));
    }
}
