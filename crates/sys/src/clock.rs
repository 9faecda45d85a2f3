//! The stream's clock: CLOCK_MONOTONIC moved by an anchor that is taken once.

use std::sync::OnceLock;

use rustix::time::{ClockId, clock_gettime};
use vox_frame::{Opening, Stamp};

/// Nanoseconds of CLOCK_MONOTONIC.
pub fn monotonic_ns() -> i64 {
    ns_of(ClockId::Monotonic)
}

fn ns_of(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// Converts between this host's CLOCK_MONOTONIC and the stamps of a stream. A step of the system clock moves neither.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    anchor: i64,
}

impl Clock {
    /// The clock of a stream that begins here: CLOCK_REALTIME minus CLOCK_MONOTONIC is taken now, once.
    pub fn own() -> Self {
        let before = monotonic_ns();
        let wall = ns_of(ClockId::Realtime);
        let after = monotonic_ns();
        Self { anchor: wall - (before + (after - before) / 2) }
    }

    /// The clock of a stream that is read here: its own anchor where it was taken in this boot, else one taken now.
    pub fn for_stream(opening: &Opening) -> Self {
        if opening.boot == boot_id() { Self { anchor: opening.anchor } } else { Self::own() }
    }

    /// The opening that tells readers of this clock.
    pub fn opening(&self) -> Opening {
        Opening::new(self.anchor, boot_id())
    }

    /// The time.
    pub fn now(&self) -> Stamp {
        self.from_mono(monotonic_ns())
    }

    /// A stamp as nanoseconds of CLOCK_MONOTONIC.
    pub const fn mono_ns(&self, stamp: Stamp) -> i64 {
        stamp.ns().saturating_sub(self.anchor)
    }

    /// Nanoseconds of CLOCK_MONOTONIC as a stamp.
    pub const fn from_mono(&self, ns: i64) -> Stamp {
        Stamp::from_ns(ns.saturating_add(self.anchor))
    }
}

/// Names this boot of this host; zeros where the system does not tell, so that stamps are then never trusted across
/// processes of unknown clocks by accident: every stage of such a host agrees on zeros.
fn boot_id() -> [u8; 16] {
    static BOOT: OnceLock<[u8; 16]> = OnceLock::new();
    *BOOT.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
        let mut id = [0; 16];
        for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        id
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_processes_of_one_boot_agree_on_every_stamp() {
        let source = Clock::own();
        let reader = Clock::for_stream(&source.opening());
        let stamp = source.now();
        assert_eq!(reader.mono_ns(stamp), source.mono_ns(stamp));
    }

    #[test]
    fn a_stream_of_another_boot_gets_an_anchor_taken_here() {
        let elsewhere = Opening::new(0, [7; 16]);
        let reader = Clock::for_stream(&elsewhere);
        assert!(reader.now().since(Clock::own().now()).abs() < 1_000_000_000);
    }

    #[test]
    fn a_step_of_the_system_clock_between_source_and_reader_moves_no_stamp() {
        let mut stepped = Clock::own().opening();
        stepped.anchor += 3_600_000_000_000;
        let reader = Clock::for_stream(&stepped);
        let stamp = reader.from_mono(1_000);
        assert_eq!(stamp.ns(), stepped.anchor + 1_000);
        assert_eq!(reader.mono_ns(stamp), 1_000);
    }
}
