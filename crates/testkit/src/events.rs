//! Whose turn is next.

use vox_frame::Stamp;

use crate::SimClock;

/// The most events at one instant: more means that somebody's deadline never moves on.
const MAX_AT_ONCE: u32 = 100_000;

/// Picks the earliest of all deadlines and moves virtual time there.
#[derive(Debug, Default)]
pub struct Events {
    clock: SimClock,
    at_once: u32,
}

impl Events {
    /// Time 0, nothing has happened.
    pub fn new() -> Self {
        Self::default()
    }

    /// Virtual time.
    pub const fn clock(&self) -> &SimClock {
        &self.clock
    }

    /// Moves time to the earliest deadline and says whose it is, by its place in `deadlines`; of several at the same
    /// time the first. A deadline that has passed is due now. None where nobody has one before `end`: time is then
    /// `end`.
    ///
    /// # Panics
    /// When time stands still because somebody's deadline does not move on.
    #[track_caller]
    pub fn next(&mut self, end: Stamp, deadlines: &[Option<Stamp>]) -> Option<(Stamp, usize)> {
        let now = self.clock.now();
        let earliest = deadlines.iter().enumerate().filter_map(|(who, at)| Some(((*at)?.max(now), who))).min();
        let Some((at, who)) = earliest.filter(|(at, _)| *at < end) else {
            self.clock.advance_to(end.max(now));
            return None;
        };
        self.at_once = if at == now { self.at_once + 1 } else { 0 };
        assert!(self.at_once < MAX_AT_ONCE, "time stands still at {at:?}: deadline {who} does not move on");
        self.clock.advance_to(at);
        Some((at, who))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: Stamp = Stamp::from_ns(1_000);

    fn at(ns: i64) -> Option<Stamp> {
        Some(Stamp::from_ns(ns))
    }

    #[test]
    fn the_earliest_comes_first_and_of_equals_the_first() {
        let mut events = Events::new();
        assert_eq!(events.next(END, &[at(30), None, at(20), at(20)]), Some((Stamp::from_ns(20), 2)));
        assert_eq!(events.next(END, &[at(30), at(5)]), Some((Stamp::from_ns(20), 1)), "what has passed is due now");
        assert_eq!(events.clock().now(), Stamp::from_ns(20));
        assert_eq!(events.next(END, &[None, at(2_000)]), None);
        assert_eq!(events.clock().now(), END);
    }

    #[test]
    #[should_panic(expected = "time stands still")]
    fn a_deadline_that_does_not_move_on_fails_the_test() {
        let mut events = Events::new();
        while events.next(END, &[at(10)]).is_some() {}
    }
}
