//! Random numbers by seed and purpose, and what is drawn from them.

use rand_pcg::Pcg64;
use rand_pcg::rand_core::Rng;

use crate::Jitter;

/// A sequence of random numbers.
#[derive(Debug, Clone)]
pub(crate) struct Draw(Pcg64);

/// What a sequence is for: each purpose has its own.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    Delay,
    Loss,
    Burst,
    Stalls,
    StallLoss,
    Congestion,
    Spikes,
    Reorder,
    Duplicate,
}

impl Draw {
    pub(crate) fn new(seed: u64, purpose: Purpose, index: usize) -> Self {
        let stream = (purpose as u128) << 32 | index as u128;
        Self(Pcg64::new(u128::from(seed) ^ 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c834, stream))
    }

    /// Between 0 and 1, 1 left out.
    pub(crate) fn unit(&mut self) -> f64 {
        // The 53 bits that an f64 holds.
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with that probability; draws in any case, so that the sequence does not depend on it.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Between the two, in ns.
    pub(crate) fn between(&mut self, least: i64, most: i64) -> i64 {
        least.saturating_add(round(most.saturating_sub(least) as f64 * self.unit()))
    }

    /// Between the two.
    pub(crate) fn share(&mut self, (least, most): (f64, f64)) -> f64 {
        least + (most - least) * self.unit()
    }

    /// From an exponential distribution of that mean, in ns.
    pub(crate) fn exponential(&mut self, mean: i64) -> i64 {
        round(-(mean as f64) * libm::log(self.above_zero()))
    }

    /// A delay in ns, never negative.
    pub(crate) fn jitter(&mut self, jitter: &Jitter) -> i64 {
        let ns = match *jitter {
            Jitter::None => 0.0,
            Jitter::Uniform { width_ns } => width_ns as f64 * self.unit(),
            Jitter::Gamma { shape, mean_ns } => mean_ns as f64 / shape * self.gamma(shape),
            Jitter::Normal { mean_ns, deviation_ns } => mean_ns as f64 + deviation_ns as f64 * self.normal(),
            Jitter::Retransmit { grid_ns, fail, again_ns } => {
                let waits = grid_ns as f64 * self.unit();
                waits + again_ns as f64 * self.failures(fail)
            }
        };
        round(ns.max(0.0))
    }

    /// Between 0 and 1, 0 left out.
    fn above_zero(&mut self) -> f64 {
        1.0 - self.unit()
    }

    /// From the standard normal distribution (Box and Muller).
    fn normal(&mut self) -> f64 {
        let radius = libm::sqrt(-2.0 * libm::log(self.above_zero()));
        radius * libm::cos(core::f64::consts::TAU * self.unit())
    }

    /// From a gamma distribution of scale 1 (Marsaglia and Tsang, "A simple method for generating gamma variables",
    /// 2000), for shapes below 1 by their boost.
    fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            let boost = libm::pow(self.above_zero(), 1.0 / shape);
            return self.gamma(shape + 1.0) * boost;
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / libm::sqrt(9.0 * d);
        loop {
            let x = self.normal();
            let v = 1.0 + c * x;
            let v = v * v * v;
            if v > 0.0 && libm::log(self.above_zero()) < x * x / 2.0 + d - d * v + d * libm::log(v) {
                return d * v;
            }
        }
    }

    /// How often something of that probability happens in a row.
    fn failures(&mut self, probability: f64) -> f64 {
        let drawn = libm::log(self.above_zero());
        if probability <= 0.0 { 0.0 } else { (drawn / libm::log(probability)).floor().min(MAX_AGAIN) }
    }
}

/// Sendings again of one packet: beyond, the link would give up.
const MAX_AGAIN: f64 = 1_000.0;

/// To the nearest ns; saturates.
fn round(ns: f64) -> i64 {
    ns.round() as i64
}
