//! Which packets of a source were seen, and which roll-over counter a packet has.

/// How many packets behind the newest one a packet may come and still be taken. RFC 3711, section 3.3.2, asks for 64
/// at least; a sender of 2.5 ms frames over a network that delays single packets by a second needs more.
pub const WINDOW: u64 = 1024;

const WORDS: usize = (WINDOW / 64) as usize;

/// The packets of a source by their index: roll-over counter times 2^16 plus sequence number (RFC 3711, 3.3.1).
#[derive(Debug, Clone)]
pub(crate) struct ReplayWindow {
    /// The highest index that was genuine.
    highest: u64,
    /// A bit for each index modulo [`WINDOW`].
    seen: [u64; WORDS],
}

/// What the window makes of a packet before it is known to be genuine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// It may be taken, under that index.
    New(u64),
    /// It was seen, or is older than the window.
    Replayed,
}

impl ReplayWindow {
    /// A window whose first genuine packet has that index.
    pub(crate) fn new(first: u64) -> Self {
        let mut window = Self { highest: first, seen: [0; WORDS] };
        window.mark(first);
        window
    }

    /// Where a packet of that sequence number lies: at the index nearest to the highest one (RFC 3711, appendix A).
    pub(crate) fn place(&self, sequence: u16) -> Place {
        let ahead = sequence.wrapping_sub(self.highest as u16) as i16;
        if ahead > 0 {
            return Place::New(self.highest.saturating_add(ahead as u64));
        }
        let behind = u64::from(ahead.unsigned_abs());
        match self.highest.checked_sub(behind) {
            Some(index) if behind < WINDOW && !self.is_marked(index) => Place::New(index),
            _ => Place::Replayed,
        }
    }

    /// Whether a packet that carries its whole index may be taken.
    pub(crate) fn is_new(&self, index: u64) -> bool {
        index > self.highest || (index + WINDOW > self.highest && !self.is_marked(index))
    }

    /// A packet of that index was genuine.
    pub(crate) fn accept(&mut self, index: u64) {
        if index > self.highest {
            let skipped = (index - self.highest).min(WINDOW);
            for between in index - skipped + 1..=index {
                self.seen[word(between)] &= !bit(between);
            }
            self.highest = index;
        }
        self.mark(index);
    }

    /// The roll-over counter of the newest packet.
    pub(crate) const fn rollover(&self) -> u32 {
        (self.highest >> 16) as u32
    }

    fn mark(&mut self, index: u64) {
        self.seen[word(index)] |= bit(index);
    }

    fn is_marked(&self, index: u64) -> bool {
        self.seen[word(index)] & bit(index) != 0
    }
}

const fn word(index: u64) -> usize {
    (index % WINDOW / 64) as usize
}

const fn bit(index: u64) -> u64 {
    1 << (index % 64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_past_the_wrap_has_the_next_rollover_counter() {
        let window = ReplayWindow::new(65_535);
        assert_eq!(window.place(0), Place::New(65_536));
        assert_eq!(window.place(65_534), Place::New(65_534));
    }

    #[test]
    fn what_comes_before_the_first_wrap_of_all_is_refused() {
        assert_eq!(ReplayWindow::new(3).place(65_535), Place::Replayed);
    }

    proptest! {
        #[test]
        fn each_index_is_taken_once_and_none_from_beyond_the_window(
            first in 0u64..1 << 20,
            steps in prop::collection::vec(-1500i64..2000, 1..400),
        ) {
            let mut window = ReplayWindow::new(first);
            let (mut taken, mut highest) = (BTreeSet::from([first]), first);
            for step in steps {
                let Some(index) = highest.checked_add_signed(step) else { continue };
                let expected = !taken.contains(&index) && index + WINDOW > highest;
                let place = window.place(index as u16);
                prop_assert_eq!(place, if expected { Place::New(index) } else { Place::Replayed });
                if expected {
                    window.accept(index);
                    taken.insert(index);
                    highest = highest.max(index);
                }
            }
            prop_assert_eq!(window.rollover(), (highest >> 16) as u32);
        }
    }
}
