//! Loss by chance and in bursts.

use crate::config::Burst;
use crate::draw::{Draw, Purpose};

/// The two states of Gilbert and Elliott.
#[derive(Debug, Clone)]
pub(crate) struct BurstLoss {
    burst: Burst,
    state: Draw,
    loss: Draw,
    is_bad: bool,
}

impl BurstLoss {
    pub(crate) fn new(burst: Burst, seed: u64) -> Self {
        let state = Draw::new(seed, Purpose::Burst, 0);
        let loss = Draw::new(seed, Purpose::Burst, 1);
        Self { burst, state, loss, is_bad: false }
    }

    /// Whether the next packet is lost.
    pub(crate) fn loses(&mut self) -> bool {
        let change = if self.is_bad { self.burst.leave } else { self.burst.enter };
        if self.state.chance(change) {
            self.is_bad = !self.is_bad;
        }
        self.loss.chance(if self.is_bad { self.burst.loss_bad } else { self.burst.loss_good })
    }
}
