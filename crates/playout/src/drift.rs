//! How much faster the sender's clock runs than ours.

use std::collections::VecDeque;

use vox_frame::Stamp;

/// A block of arrivals, of which only the fastest counts, in ns: in each there is a packet that hardly had to wait.
const BLOCK_NS: i64 = 1_000_000_000;

/// Blocks that are kept. Beyond it two become one: a stream is acquired on short blocks and tracked on long ones.
const MAX_BLOCKS: usize = 256;

/// The longest block, in ns: with 256 of them a slope is taken over an hour at most.
const MAX_BLOCK_NS: i64 = 16_000_000_000;

/// Blocks before the slope means something.
const FEW_BLOCKS: usize = 8;

/// The most that clocks differ, in parts per billion: quartz stays within a tenth of it.
const MAX_PPB: i64 = 1_000_000;

/// A block this much off the line is another route or another clock: the estimate begins anew.
const STEP_NS: i64 = 500_000_000;

/// The slope of the fastest packets over time: a line below all of them, touching at two, after Moon, Skelly and
/// Towsley ("Estimation and removal of clock skew from network delay measurements", 1999). Queues only ever delay, so
/// the lower edge of the transit times shows the clocks.
#[derive(Debug)]
pub(crate) struct Drift {
    blocks: VecDeque<(Stamp, i64)>,
    block_ns: i64,
    open: Option<Block>,
    ppb: i64,
}

#[derive(Debug, Clone, Copy)]
struct Block {
    since: Stamp,
    fastest: (Stamp, i64),
}

impl Default for Drift {
    fn default() -> Self {
        Self { blocks: VecDeque::new(), block_ns: BLOCK_NS, open: None, ppb: 0 }
    }
}

impl Drift {
    /// Takes in a packet's transit time; true where the estimate began anew.
    pub(crate) fn add(&mut self, arrived: Stamp, transit: i64) -> bool {
        let block = self.open.get_or_insert(Block { since: arrived, fastest: (arrived, transit) });
        if transit < block.fastest.1 {
            block.fastest = (arrived, transit);
        }
        if arrived.since(block.since) < self.block_ns {
            return false;
        }
        let fastest = block.fastest;
        self.open = None;
        self.close(fastest)
    }

    /// By how many parts per billion media time takes longer here than at the sender: positive where our clock is
    /// the faster one.
    pub(crate) const fn ppb(&self) -> i64 {
        self.ppb
    }

    pub(crate) fn reset(&mut self) {
        *self = Self { ppb: self.ppb, ..Self::default() };
    }

    fn close(&mut self, fastest: (Stamp, i64)) -> bool {
        if let Some((_, last)) = self.blocks.back()
            && fastest.1.saturating_sub(*last).saturating_abs() > STEP_NS
        {
            self.reset();
            self.blocks.push_back(fastest);
            return true;
        }
        if self.blocks.back().is_some_and(|(last, _)| *last >= fastest.0) {
            return false;
        }
        self.blocks.push_back(fastest);
        if self.blocks.len() > MAX_BLOCKS {
            self.thin();
        }
        if self.blocks.len() >= FEW_BLOCKS {
            self.ppb = self.slope().clamp(-MAX_PPB, MAX_PPB);
        }
        false
    }

    /// Makes one block of two, or forgets the oldest where blocks are long enough.
    fn thin(&mut self) {
        if self.block_ns >= MAX_BLOCK_NS {
            self.blocks.pop_front();
            return;
        }
        self.block_ns *= 2;
        let mut pairs = VecDeque::with_capacity(MAX_BLOCKS);
        let mut blocks = std::mem::take(&mut self.blocks).into_iter();
        while let Some(first) = blocks.next() {
            let second = blocks.next().unwrap_or(first);
            pairs.push_back(if second.1 < first.1 { second } else { first });
        }
        self.blocks = pairs;
    }

    /// The slope of the lower hull where it passes the middle, in parts per billion.
    fn slope(&self) -> i64 {
        let (Some((first, base)), Some((last, _))) = (self.blocks.front(), self.blocks.back()) else { return 0 };
        let point = |(at, transit): &(Stamp, i64)| (i128::from(at.since(*first)), i128::from(transit - base));
        let middle = i128::from(last.since(*first)) / 2;
        let mut hull: Vec<(i128, i128)> = Vec::with_capacity(self.blocks.len());
        for c in self.blocks.iter().map(point) {
            while let [.., a, b] = hull[..]
                && (b.1 - a.1) * (c.0 - a.0) >= (c.1 - a.1) * (b.0 - a.0)
            {
                hull.pop();
            }
            hull.push(c);
        }
        let edge = hull.windows(2).find(|edge| edge[1].0 >= middle);
        let slope = edge.map_or(0, |edge| (edge[1].1 - edge[0].1) * 1_000_000_000 / (edge[1].0 - edge[0].0).max(1));
        i64::try_from(slope).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets of 20 ms from a clock that is off, each late by what the generator says.
    fn run(ppm: i64, seconds: i64, mut late: impl FnMut(i64) -> i64) -> i64 {
        let mut drift = Drift::default();
        for n in 0..seconds * 50 {
            let media = n * 20_000_000;
            let sent = media + media / 1_000_000 * ppm;
            let arrived = sent + late(n);
            drift.add(Stamp::from_ns(arrived), arrived - media);
        }
        drift.ppb()
    }

    #[test]
    fn an_even_network_shows_the_clocks_exactly() {
        for ppm in [-300, -50, 0, 50, 300] {
            assert!((run(ppm, 60, |_| 5_000_000) - ppm * 1_000).abs() < 100);
        }
    }

    #[test]
    fn spikes_and_stalls_do_not_show() {
        let late = |n: i64| if n % 7 == 0 { 30_000_000 } else { (n * 7_919) % 6_000 * 1_000 };
        let ppb = run(50, 120, late);
        assert!((ppb - 50_000).abs() < 2_000, "{ppb}");
    }

    #[test]
    fn a_day_takes_no_more_memory_than_an_hour() {
        let mut drift = Drift::default();
        for n in 0..86_400 * 5_i64 {
            let arrived = n * 200_000_000;
            drift.add(Stamp::from_ns(arrived), arrived / 10_000);
            assert!(drift.blocks.len() <= MAX_BLOCKS + 1);
        }
        assert!((drift.ppb() - 100_000).abs() < 10, "{}", drift.ppb());
    }

    #[test]
    fn another_route_begins_the_estimate_anew() {
        let mut drift = Drift::default();
        let mut restarted = 0;
        for n in 0..10_000_i64 {
            let transit = if n < 5_000 { 0 } else { 900_000_000 };
            restarted += i32::from(drift.add(Stamp::from_ns(n * 20_000_000 + transit), transit));
        }
        assert_eq!((restarted, drift.ppb()), (1, 0));
    }
}
