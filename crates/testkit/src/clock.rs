//! Virtual time, and clocks that run faster or slower than it.

use std::cell::Cell;
use std::rc::Rc;

use vox_frame::Stamp;

/// Virtual time: stands still until somebody moves it. Clones are the same clock.
#[derive(Debug, Clone, Default)]
pub struct SimClock(Rc<Cell<Stamp>>);

impl SimClock {
    /// A clock at 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// The time.
    pub fn now(&self) -> Stamp {
        self.0.get()
    }

    /// Moves time on.
    ///
    /// # Panics
    /// When `to` lies in the past.
    #[track_caller]
    pub fn advance_to(&self, to: Stamp) {
        assert!(to >= self.now(), "virtual time goes back from {:?} to {to:?}", self.now());
        self.0.set(to);
    }

    /// Moves time on by `ns`.
    #[track_caller]
    pub fn advance(&self, ns: i64) {
        self.advance_to(self.now().plus(ns));
    }
}

/// A machine's clock: how its crystal counts true time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DriftingClock {
    ppm: f64,
    offset_ns: i64,
}

impl DriftingClock {
    /// A clock that is true.
    pub const TRUE: Self = Self::new(0.0, 0);

    /// A clock that runs `ppm` parts per million fast and shows `offset_ns` at true time 0.
    pub const fn new(ppm: f64, offset_ns: i64) -> Self {
        Self { ppm, offset_ns }
    }

    /// What it shows at a true time.
    pub fn local(&self, at: Stamp) -> Stamp {
        let gained = (at.ns() as f64 * self.ppm * 1e-6).round() as i64;
        at.plus(gained).plus(self.offset_ns)
    }

    /// The first true time at which it shows `local` or later.
    pub fn when(&self, local: Stamp) -> Stamp {
        let shown = local.ns().saturating_sub(self.offset_ns);
        let guess = Stamp::from_ns((shown as f64 / (1.0 + self.ppm * 1e-6)).round() as i64);
        // The rounding of either direction is mended here.
        let mut at = guess.plus(-2);
        while self.local(at) < local {
            at = at.plus(1.max(local.since(self.local(at)) / 2));
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000_000_000;

    #[test]
    fn a_fast_clock_gains_what_its_ppm_say() {
        let clock = DriftingClock::new(200.0, 5);
        assert_eq!(clock.local(Stamp::ZERO).ns(), 5);
        let gained = clock.local(Stamp::from_ns(DAY)).ns() - DAY - 5;
        assert_eq!(gained, DAY / 5_000);
    }

    #[test]
    fn a_deadline_on_a_drifting_clock_comes_when_it_shows_it() {
        for ppm in [-300.0, 0.0, 55.5, 300.0] {
            let clock = DriftingClock::new(ppm, -77);
            for local in [0, 1, 20_000_000, DAY] {
                let local = Stamp::from_ns(local);
                let at = clock.when(local);
                assert!((0..=1).contains(&clock.local(at).since(local)), "{ppm} {local:?}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "goes back")]
    fn virtual_time_never_goes_back() {
        let clock = SimClock::new();
        clock.advance(5);
        clock.advance_to(Stamp::from_ns(4));
    }
}
