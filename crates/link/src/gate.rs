//! When the link serves nobody.

use crate::config::{Outage, Stalls};
use crate::draw::{Draw, Purpose};

/// What is sent so much later than anything before finds a link that has just been opened, in ns: a stamp that lies
/// must not make years of stalls.
pub(crate) const MAX_JUMP_NS: i64 = 3_600_000_000_000;

/// One kind of stalls, made as time goes on.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    stalls: Stalls,
    times: Draw,
    losses: Draw,
    from_ns: i64,
    to_ns: i64,
}

impl Gate {
    pub(crate) fn new(stalls: Stalls, seed: u64, index: usize) -> Self {
        let times = Draw::new(seed, Purpose::Stalls, index);
        let losses = Draw::new(seed, Purpose::StallLoss, index);
        let mut gate = Self { stalls, times, losses, from_ns: 0, to_ns: 0 };
        gate.next();
        gate
    }

    /// When a packet of `at` ns is served, and whether it is lost.
    pub(crate) fn pass(&mut self, at_ns: i64) -> (i64, bool) {
        if at_ns.saturating_sub(self.to_ns) > MAX_JUMP_NS {
            self.to_ns = at_ns;
        }
        while at_ns >= self.to_ns && self.to_ns < i64::MAX {
            self.next();
        }
        if at_ns < self.from_ns {
            return (at_ns, false);
        }
        (self.to_ns, self.losses.chance(self.stalls.drop))
    }

    fn next(&mut self) {
        let Stalls { every_ns, least_ns, shortest_ns, longest_ns, .. } = self.stalls;
        // At least 1 ms a round, so that time goes on whatever was asked for.
        let wait = least_ns.saturating_add(self.times.exponential(every_ns.saturating_sub(least_ns).max(0)));
        self.from_ns = self.to_ns.saturating_add(wait.max(1_000_000));
        self.to_ns = self.from_ns.saturating_add(self.times.between(shortest_ns, longest_ns).max(0));
    }
}

/// Whether `at_ns` lies in one of the outages.
pub(crate) fn is_out(outages: &[Outage], at_ns: i64) -> bool {
    outages.iter().any(|outage| (0..outage.length_ns).contains(&at_ns.saturating_sub(outage.from_ns)))
}
