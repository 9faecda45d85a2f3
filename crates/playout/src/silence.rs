//! What stays away: is it late, or lost?

/// What is assumed before anything is known, in ns: so much silence in which packets were late.
const ASSUMED_NS: f64 = 100e6;

/// The silence after which what was seen weighs 1/e, in ns.
const MEMORY_NS: f64 = 3e9;

/// How much of the time in which nothing came was followed by the packets that had been waited for, and how much by
/// others: a queue that stands still gives them back, a burst of losses does not.
#[derive(Debug)]
pub(crate) struct Silences {
    late: f64,
    lost: f64,
}

impl Default for Silences {
    fn default() -> Self {
        Self { late: ASSUMED_NS, lost: 0.0 }
    }
}

impl Silences {
    /// Nothing came for `silent_ns` after it should have, and the packet that ended it was `late_ns` late itself: the
    /// rest of the time was that of lost ones.
    pub(crate) fn add(&mut self, silent_ns: i64, late_ns: i64) {
        let silent = silent_ns.max(0) as f64;
        let late = (late_ns.max(0) as f64).min(silent);
        let kept = 1.0 / (1.0 + silent / MEMORY_NS);
        self.late = self.late * kept + late;
        self.lost = self.lost * kept + silent - late;
    }

    /// Whether what stays away usually comes.
    pub(crate) fn are_worth_waiting(&self) -> bool {
        self.late >= self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    #[test]
    fn what_stays_away_is_taken_for_late_until_it_was_lost_more_often() {
        let mut silences = Silences::default();
        assert!(silences.are_worth_waiting());
        (0..3).for_each(|_| silences.add(60 * MS, MS));
        assert!(!silences.are_worth_waiting());
        (0..4).for_each(|_| silences.add(150 * MS, 150 * MS));
        assert!(silences.are_worth_waiting());
    }

    #[test]
    fn the_past_fades() {
        let mut silences = Silences::default();
        (0..10_000).for_each(|_| silences.add(100 * MS, 100 * MS));
        (0..50).for_each(|_| silences.add(100 * MS, 0));
        assert!(!silences.are_worth_waiting());
    }
}
