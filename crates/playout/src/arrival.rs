//! How late packets are, against the fastest of late.

use std::collections::VecDeque;

use vox_frame::Stamp;

/// How long a block is of which the fastest packet is kept, in ns.
const BLOCK_NS: i64 = 1_000_000_000;

/// How many blocks back the fastest packet is looked for: longer than a queue that others fill takes to drain.
const BLOCKS: usize = 30;

/// The least transit time (arrival minus media time, both in ns) of the last half minute, corrected for the drift of
/// the clocks.
///
/// Every other time of the buffer is counted from here, so an unknown offset between two clocks and a route that
/// changes need no care of their own.
#[derive(Debug, Default)]
pub(crate) struct Level {
    /// The fastest packet of each block: when it arrived, and its transit.
    blocks: VecDeque<(Stamp, i64)>,
    /// When the last block began.
    began: Option<Stamp>,
    /// The least of the blocks before the last, as of its beginning.
    before: Option<i64>,
}

impl Level {
    /// Takes in a packet; `ppb` is the drift, by which transit times grow. Gives by how many ns the level has risen
    /// because the fastest packets are too long ago.
    pub(crate) fn add(&mut self, arrived: Stamp, transit: i64, ppb: i64) -> i64 {
        let old = self.get();
        let began = *self.began.get_or_insert(arrived);
        let fresh = arrived.since(began) >= BLOCK_NS || self.blocks.is_empty();
        if fresh {
            if self.blocks.len() == BLOCKS {
                self.blocks.pop_front();
            }
            self.began = Some(arrived);
            let as_of_now = |(at, least): &(Stamp, i64)| least.saturating_add(grown(arrived.since(*at), ppb));
            self.before = self.blocks.iter().map(as_of_now).min();
            self.blocks.push_back((arrived, transit));
        } else if let Some(last) = self.blocks.back_mut().filter(|(_, least)| transit < *least) {
            *last = (arrived, transit);
        }
        old.zip(self.get()).map_or(0, |(old, new)| new.saturating_sub(old).max(0))
    }

    /// The least transit time; none before the first packet.
    pub(crate) fn get(&self) -> Option<i64> {
        let last = self.blocks.back().map(|(_, least)| *least)?;
        Some(self.before.map_or(last, |before| before.min(last)))
    }

    /// Forgets everything: media time has jumped.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }
}

/// Packets that make a trend, and how long they must have taken to arrive, in ns: what comes in one burst is none.
const TREND_PACKETS: usize = 8;
const TREND_NS: i64 = 80_000_000;

/// The least transit time of the last packets: where the network is right now.
#[derive(Debug, Default)]
pub(crate) struct Trend {
    packets: VecDeque<(Stamp, i64)>,
}

impl Trend {
    /// Takes in a packet.
    pub(crate) fn add(&mut self, arrived: Stamp, transit: i64) {
        if self.packets.len() == TREND_PACKETS {
            self.packets.pop_front();
        }
        self.packets.push_back((arrived, transit));
    }

    /// The least transit time; none while nothing is known.
    pub(crate) fn get(&self) -> Option<i64> {
        let (first, last) = self.packets.front().zip(self.packets.back())?;
        let known = self.packets.len() == TREND_PACKETS && last.0.since(first.0) >= TREND_NS;
        known.then(|| self.packets.iter().map(|(_, transit)| *transit).min()).flatten()
    }

    /// Forgets everything: media time has jumped.
    pub(crate) fn reset(&mut self) {
        self.packets.clear();
    }
}

/// What a drift of `ppb` makes of `ns`.
fn grown(ns: i64, ppb: i64) -> i64 {
    i64::try_from(i128::from(ns) * i128::from(ppb) / 1_000_000_000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;
    const S: i64 = 1_000 * MS;

    fn level(arrivals: impl IntoIterator<Item = (i64, i64)>, ppb: i64) -> Level {
        let mut level = Level::default();
        for (at, transit) in arrivals {
            level.add(Stamp::from_ns(at), transit, ppb);
        }
        level
    }

    #[test]
    fn the_fastest_of_late_counts_and_is_forgotten_in_time() {
        let arrivals = [(0, 30 * MS), (20 * MS, 10 * MS), (40 * MS, 25 * MS)];
        assert_eq!(level(arrivals, 0).get(), Some(10 * MS));
        let later = |n: i64| arrivals.into_iter().chain((1..n).map(|n| (n * S + 40 * MS, 50 * MS)));
        assert_eq!(level(later(29), 0).get(), Some(10 * MS));
        assert_eq!(level(later(40), 0).get(), Some(50 * MS));
    }

    #[test]
    fn a_level_that_is_forgotten_says_by_how_much_it_rose() {
        let mut level = Level::default();
        let mut rose = 0;
        for n in 0..60 {
            rose += level.add(Stamp::from_ns(n * S), if n < 5 { 10 * MS } else { 90 * MS }, 0);
        }
        assert_eq!(rose, 80 * MS);
    }

    #[test]
    fn a_burst_is_no_trend_and_a_queue_that_fills_is_one() {
        let mut trend = Trend::default();
        (0..20).for_each(|n| trend.add(Stamp::from_ns(n * 20 * MS), 5 * MS));
        assert_eq!(trend.get(), Some(5 * MS));
        (0..10).for_each(|n| trend.add(Stamp::from_ns(800 * MS + n * MS), 300 * MS - n * 20 * MS));
        assert_eq!(trend.get(), None);
        (0..20).for_each(|n| trend.add(Stamp::from_ns(900 * MS + n * 20 * MS), 50 * MS + n * MS));
        assert_eq!(trend.get(), Some(62 * MS));
    }

    #[test]
    fn a_clock_that_is_off_is_allowed_for() {
        let ppb = 200_000;
        let drifting = (0..6_000).map(|n| (n * 20 * MS, 5 * MS + n * 20 * MS / 1_000_000 * 200));
        let level = level(drifting, ppb).get().expect("a level");
        let now = 5 * MS + 6_000 * 20 * MS / 1_000_000 * 200;
        assert!((level - now).abs() < 300_000, "{level} {now}");
    }
}
