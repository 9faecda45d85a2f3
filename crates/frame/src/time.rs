//! Time between processes: a stamp on a clock that never steps, and a clock rate to count media time in.

use core::fmt;
use core::num::NonZeroU32;

/// A point in time: nanoseconds since the UNIX epoch on the stream's clock, which never steps.
///
/// The clock is `CLOCK_MONOTONIC` plus the anchor of the stream's [`Opening`](crate::Opening). A step of the system
/// clock during a call changes nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp(i64);

impl Stamp {
    /// The epoch itself, where simulated time and streams without stamps begin.
    pub const ZERO: Self = Self(0);

    /// A stamp of `ns` nanoseconds since the epoch.
    pub const fn from_ns(ns: i64) -> Self {
        Self(ns)
    }

    /// Nanoseconds since the epoch.
    pub const fn ns(self) -> i64 {
        self.0
    }

    /// This stamp moved by `ns` nanoseconds; saturates at the ends of the range.
    #[must_use]
    pub const fn plus(self, ns: i64) -> Self {
        Self(self.0.saturating_add(ns))
    }

    /// Nanoseconds from `earlier` to this stamp; negative when `earlier` is the later one.
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}s", self.0.div_euclid(1_000_000_000), self.0.rem_euclid(1_000_000_000))
    }
}

/// A clock rate in Hz: how many ticks of media time make a second. Never zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(NonZeroU32);

impl Rate {
    /// 8000 Hz, the clock of telephone codecs (RFC 3551).
    pub const HZ_8000: Self = Self(NonZeroU32::new(8_000).expect("not zero"));
    /// 48000 Hz, the clock of Opus in RTP at any sampling rate (RFC 7587, section 4.1).
    pub const HZ_48000: Self = Self(NonZeroU32::new(48_000).expect("not zero"));

    /// A rate of `hz`, or none for zero.
    pub const fn new(hz: u32) -> Option<Self> {
        match NonZeroU32::new(hz) {
            Some(hz) => Some(Self(hz)),
            None => None,
        }
    }

    /// Ticks a second.
    pub const fn hz(self) -> u32 {
        self.0.get()
    }

    /// How long `ticks` last, in nanoseconds, rounded down; saturates.
    pub fn ns(self, ticks: u64) -> i64 {
        let ns = u128::from(ticks) * 1_000_000_000 / u128::from(self.hz());
        i64::try_from(ns).unwrap_or(i64::MAX)
    }

    /// How many whole ticks fit `ns` nanoseconds, rounded to the nearest; zero for a negative time.
    pub fn ticks(self, ns: i64) -> u64 {
        let ns = u128::try_from(ns).unwrap_or(0);
        let ticks = (ns * u128::from(self.hz()) + 500_000_000) / 1_000_000_000;
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }

    /// `ticks` of this rate, counted in ticks of `other`, rounded to the nearest.
    pub fn convert(self, ticks: u64, other: Self) -> u64 {
        let scaled = (u128::from(ticks) * u128::from(other.hz()) + u128::from(self.hz()) / 2) / u128::from(self.hz());
        u64::try_from(scaled).unwrap_or(u64::MAX)
    }
}

impl fmt::Debug for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} Hz", self.hz())
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} Hz", self.hz())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_ms_is_160_ticks_at_8_khz() {
        assert_eq!(Rate::HZ_8000.ticks(20_000_000), 160);
        assert_eq!(Rate::HZ_8000.ns(160), 20_000_000);
    }

    #[test]
    fn conversion_of_a_long_stream_does_not_overflow() {
        let year_of_ticks = 48_000 * 86_400 * 365;
        assert_eq!(Rate::HZ_48000.convert(year_of_ticks, Rate::HZ_8000), year_of_ticks / 6);
        assert_eq!(Rate::HZ_48000.ns(u64::MAX), i64::MAX);
    }

    #[test]
    fn negative_time_holds_no_ticks() {
        assert_eq!(Rate::HZ_8000.ticks(-1), 0);
    }
}
