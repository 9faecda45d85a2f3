//! Queues: one that others fill, spikes that fade, and the bottleneck.

use crate::config::{Congestion, RateLimit, Spikes};
use crate::draw::{Draw, Purpose};
use crate::gate::MAX_JUMP_NS;

/// A queue that others fill, as a saw tooth.
#[derive(Debug, Clone)]
pub(crate) struct Sawtooth {
    congestion: Congestion,
    draw: Draw,
    level_ns: f64,
    last_ns: i64,
    tooth: Tooth,
}

#[derive(Debug, Clone, Copy)]
enum Tooth {
    Rising { in_ns: f64 },
    Draining { to_ns: f64 },
}

impl Sawtooth {
    pub(crate) fn new(congestion: Congestion, seed: u64) -> Self {
        let mut draw = Draw::new(seed, Purpose::Congestion, 0);
        let level_ns = congestion.peak_ns as f64 * draw.unit();
        let tooth = Self::rise(&congestion, &mut draw);
        Self { congestion, draw, level_ns, last_ns: 0, tooth }
    }

    /// The delay of the queue at that time, in ns, and whether the packet is dropped.
    pub(crate) fn pass(&mut self, at_ns: i64) -> (i64, bool) {
        let peak = self.congestion.peak_ns as f64;
        let elapsed = at_ns.saturating_sub(self.last_ns).max(0) as f64;
        self.last_ns = self.last_ns.max(at_ns);
        match self.tooth {
            Tooth::Rising { in_ns } => {
                self.level_ns += elapsed * peak / in_ns;
                if self.level_ns >= peak {
                    self.level_ns = peak;
                    self.tooth = Tooth::Draining { to_ns: peak * self.draw.share(self.congestion.floor) };
                }
            }
            Tooth::Draining { to_ns } => {
                self.level_ns -= elapsed * self.congestion.drain;
                if self.level_ns <= to_ns {
                    self.level_ns = to_ns;
                    self.tooth = Self::rise(&self.congestion, &mut self.draw);
                }
            }
        }
        let full = self.level_ns > peak * self.congestion.drop_above;
        (self.level_ns as i64, full && self.draw.chance(self.congestion.drop))
    }

    fn rise(congestion: &Congestion, draw: &mut Draw) -> Tooth {
        let (least, most) = congestion.rise_ns;
        Tooth::Rising { in_ns: draw.between(least, most).max(1) as f64 }
    }
}

/// Sudden delays that fade.
#[derive(Debug, Clone)]
pub(crate) struct SpikeTrain {
    spikes: Spikes,
    draw: Draw,
    last_ns: Option<i64>,
    next_ns: i64,
}

impl SpikeTrain {
    pub(crate) fn new(spikes: Spikes, seed: u64) -> Self {
        let mut draw = Draw::new(seed, Purpose::Spikes, 0);
        let next_ns = draw.exponential(spikes.every_ns);
        Self { spikes, draw, last_ns: None, next_ns }
    }

    /// The delay at that time, in ns.
    pub(crate) fn pass(&mut self, at_ns: i64) -> i64 {
        if at_ns.saturating_sub(self.next_ns) > MAX_JUMP_NS {
            self.next_ns = at_ns;
        }
        while at_ns >= self.next_ns && self.next_ns < i64::MAX {
            self.last_ns = Some(self.next_ns);
            // At least 1 ms apart, so that time goes on whatever was asked for.
            self.next_ns = self.next_ns.saturating_add(self.draw.exponential(self.spikes.every_ns).max(1_000_000));
        }
        let Spikes { height_ns, fade_ns, .. } = self.spikes;
        let Some(since) = self.last_ns.map(|last| at_ns.saturating_sub(last)).filter(|since| *since < fade_ns) else {
            return 0;
        };
        (height_ns as f64 * (1.0 - since as f64 / fade_ns as f64)) as i64
    }
}

/// The bottleneck: sends one packet after another, drops what its queue does not hold.
#[derive(Debug, Clone)]
pub(crate) struct Bottleneck {
    limit: RateLimit,
    free_ns: i64,
}

impl Bottleneck {
    pub(crate) const fn new(limit: RateLimit) -> Self {
        Self { limit, free_ns: i64::MIN }
    }

    /// When a packet that comes at `at_ns` is through; none where the queue is full.
    pub(crate) fn pass(&mut self, at_ns: i64, bytes: usize) -> Option<i64> {
        let begins = self.free_ns.max(at_ns);
        if begins.saturating_sub(at_ns) > self.limit.queue_ns {
            return None;
        }
        let takes = bytes as u128 * 8 * 1_000_000_000 / u128::from(self.limit.bits_per_second.max(1));
        self.free_ns = begins.saturating_add(i64::try_from(takes).unwrap_or(i64::MAX));
        Some(self.free_ns)
    }
}
