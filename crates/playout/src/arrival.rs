//! How late packets are, against the fastest of late.

use std::collections::VecDeque;

use vox_frame::Stamp;

/// How far back the fastest packet is looked for, in ns: long enough that a burst of late packets does not hide the
/// network behind it, short enough to follow a queue that fills up.
const WINDOW_NS: i64 = 500_000_000;

/// The most candidates that are kept; only a flood holds more in the window.
const MAX_CANDIDATES: usize = 256;

/// The least transit time (arrival minus media time, both in ns) of the last moments.
///
/// It is a sliding minimum: every other time of the buffer is counted from here, so an unknown offset between two
/// clocks, their drift, a route that changes and a queue that grows are all the same thing to it.
#[derive(Debug, Default)]
pub(crate) struct Level {
    /// Candidates, the smallest first, each later than the one before it.
    window: VecDeque<(Stamp, i64)>,
    latest: Option<Stamp>,
}

impl Level {
    /// Takes in a packet.
    pub(crate) fn add(&mut self, arrived: Stamp, transit: i64) {
        let latest = self.latest.map_or(arrived, |latest| latest.max(arrived));
        self.latest = Some(latest);
        while self.window.back().is_some_and(|(_, candidate)| *candidate >= transit) {
            self.window.pop_back();
        }
        if self.window.len() < MAX_CANDIDATES {
            self.window.push_back((arrived, transit));
        }
        while self.window.len() > 1 && self.window.front().is_some_and(|(since, _)| latest.since(*since) > WINDOW_NS) {
            self.window.pop_front();
        }
    }

    /// The least transit time; none before the first packet.
    pub(crate) fn get(&self) -> Option<i64> {
        self.window.front().map(|(_, transit)| *transit)
    }

    /// Forgets everything: media time has jumped.
    pub(crate) fn reset(&mut self) {
        self.window.clear();
        self.latest = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    #[test]
    fn the_fastest_of_late_counts_and_is_forgotten_in_time() {
        let mut level = Level::default();
        for (ms, transit) in [(0, 30), (20, 10), (40, 25), (60, 50)] {
            level.add(Stamp::from_ns(ms * MS), transit * MS);
        }
        assert_eq!(level.get(), Some(10 * MS));
        level.add(Stamp::from_ns(530 * MS), 60 * MS);
        assert_eq!(level.get(), Some(25 * MS));
        level.add(Stamp::from_ns(5_000 * MS), 90 * MS);
        assert_eq!(level.get(), Some(90 * MS));
    }

    #[test]
    fn a_flood_is_bounded() {
        let mut level = Level::default();
        for n in 0..10_000 {
            level.add(Stamp::from_ns(n), n);
        }
        assert!(level.window.len() <= MAX_CANDIDATES);
        assert_eq!(level.get(), Some(0));
    }
}
