//! How long a filter between two rates that are nearly the same is: steep where every octave counts.

use crate::sinc::{Mark, Sinc};

/// Below this rate speech fills the band: there the filter is steeper.
const LOW_RATE: usize = 32_000;

/// Whether that is a rate at which speech fills the band.
pub(crate) const fn is_low(rate: usize) -> bool {
    rate < LOW_RATE
}

/// Frames of the filter.
pub(crate) const fn length(rate: usize) -> usize {
    if is_low(rate) { STEEP } else { SHORT }
}

const STEEP: usize = 64;
const SHORT: usize = 32;

/// Interpolates frames of one rate.
pub(crate) enum Filter {
    Steep(Sinc<STEEP>),
    Short(Sinc<SHORT>),
}

impl Filter {
    pub(crate) fn new(rate: usize, channels: usize) -> Self {
        if is_low(rate) { Self::Steep(Sinc::new(channels)) } else { Self::Short(Sinc::new(channels)) }
    }

    pub(crate) fn process(&mut self, input: &[f32], speed: f64, out: &mut Vec<f32>) {
        match self {
            Self::Steep(sinc) => sinc.process(input, speed, out),
            Self::Short(sinc) => sinc.process(input, speed, out),
        }
    }

    pub(crate) fn widen(&mut self) {
        match self {
            Self::Steep(sinc) => sinc.widen(),
            Self::Short(sinc) => sinc.widen(),
        }
    }

    pub(crate) fn mark(&self) -> Mark {
        match self {
            Self::Steep(sinc) => sinc.mark(),
            Self::Short(sinc) => sinc.mark(),
        }
    }

    pub(crate) fn go_on(&mut self, mark: Mark, past: &[f32], offset: f64) {
        match self {
            Self::Steep(sinc) => sinc.go_on(mark, past, offset),
            Self::Short(sinc) => sinc.go_on(mark, past, offset),
        }
    }
}
