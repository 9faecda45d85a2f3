//! How late the packets of a stream come, against its fastest.

use vox_frame::{Rate, Stamp, TimestampUnwrapper};

/// How fast the fastest is forgotten, in parts of the time that passes: a clock may be slower by 500 ppm.
const FORGET: i64 = 2_000;

/// A jump beyond that is one of the stream's, not the network's, in ns.
const JUMP_NS: i64 = 2_000_000_000;

/// How much of the latest is left after each packet that comes earlier, in sixty-fourths: about a second's worth.
const LEFT: i64 = 63;

/// What is known of it.
#[derive(Debug, Default)]
pub(crate) struct Lateness {
    timestamps: TimestampUnwrapper,
    /// Of the fastest packet: between media time and arrival, and when that was told last, in ns.
    fastest: Option<(i64, i64)>,
    late: i64,
}

impl Lateness {
    /// Takes a packet.
    pub(crate) fn handle(&mut self, now: Stamp, clock: Rate, timestamp: u32) {
        let now = now.ns();
        let own = now.saturating_sub(clock.ns(self.timestamps.extend(timestamp).0));
        let fastest = match self.fastest {
            Some((fastest, told)) if (own - fastest).abs() < JUMP_NS => own.min(fastest + (now - told) / FORGET),
            _ => own,
        };
        self.fastest = Some((fastest, now));
        self.late = (own - fastest).max(self.late * LEFT / 64);
    }

    /// How much later than the fastest the latest of the last ones came, in ns.
    pub(crate) const fn ns(&self) -> i64 {
        self.late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_of_the_last_second_counts() {
        let mut lateness = Lateness::default();
        let mut comes = |n: i64, late_ms: i64| {
            let at = Stamp::from_ns(1_000_000_000 + (n * 20 + late_ms) * 1_000_000);
            lateness.handle(at, Rate::HZ_8000, (n * 160) as u32);
            lateness.ns() / 1_000_000
        };
        assert_eq!(comes(0, 0), 0);
        assert!((29..=30).contains(&comes(1, 30)));
        assert!((28..=29).contains(&comes(2, 0)), "it is not forgotten at once");
        let after = (3..103).map(|n| comes(n, 0)).last();
        assert!(after.is_some_and(|late| late <= 7), "{after:?}");
    }

    #[test]
    fn a_stream_that_begins_anew_is_not_late() {
        let mut lateness = Lateness::default();
        lateness.handle(Stamp::from_ns(0), Rate::HZ_8000, 0);
        lateness.handle(Stamp::from_ns(10_000_000_000), Rate::HZ_8000, 160);
        assert_eq!(lateness.ns(), 0);
    }
}
