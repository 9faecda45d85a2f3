//! NTP timestamps (RFC 5905): seconds since 1900 in 32.32 fixed point, as RTCP and header extensions carry them.

use vox_frame::Stamp;

/// Seconds from the NTP epoch (1900) to the UNIX epoch (1970).
const UNIX_EPOCH_S: i128 = 2_208_988_800;
const SECOND_NS: i128 = 1_000_000_000;
/// An era of NTP: 2^32 seconds; the first ends in 2036.
const ERA_NS: i128 = SECOND_NS << 32;

/// A point in time as 32 bits of seconds and 32 bits of their fraction; its era is not said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct NtpTime(pub u64);

impl NtpTime {
    /// The NTP time of a stamp.
    pub const fn of(stamp: Stamp) -> Self {
        let ns = stamp.ns() as i128 + UNIX_EPOCH_S * SECOND_NS;
        // Rounded, so that a stamp survives the way there and back.
        Self((((ns << 32) + SECOND_NS / 2).div_euclid(SECOND_NS)) as u64)
    }

    /// The stamp nearest to `near` that this may be: eras repeat every 136 years.
    pub const fn stamp(self, near: Stamp) -> Stamp {
        let ns = (self.0 as i128 * SECOND_NS + (1 << 31)) >> 32;
        let unix = ns - UNIX_EPOCH_S * SECOND_NS;
        let eras = (near.ns() as i128 - unix + ERA_NS / 2).div_euclid(ERA_NS);
        let ns = unix + eras * ERA_NS;
        Stamp::from_ns(if ns > i64::MAX as i128 {
            i64::MAX
        } else if ns < i64::MIN as i128 {
            i64::MIN
        } else {
            ns as i64
        })
    }

    /// The middle 32 bits, in which reports name the last SR (RFC 3550, section 6.4.1), in 1/65536 s.
    pub const fn middle(self) -> u32 {
        (self.0 >> 16) as u32
    }
}

/// A span in units of 1/65536 s, as reports carry it; negative ones as zero, those too long as the longest.
pub(crate) const fn units_of(ns: i64) -> u32 {
    if ns <= 0 {
        return 0;
    }
    let units = ((ns as i128) << 16) / SECOND_NS;
    if units > u32::MAX as i128 { u32::MAX } else { units as u32 }
}

/// A span of 1/65536 s in ns.
pub(crate) const fn ns_of(units: u32) -> i64 {
    ((units as i128 * SECOND_NS) >> 16) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_survives_the_way_there_and_back() {
        for ns in [0, 1, 999_999_999, 1_763_719_000_123_456_789, -1] {
            let stamp = Stamp::from_ns(ns);
            assert_eq!(NtpTime::of(stamp).stamp(stamp), stamp, "{ns}");
        }
    }

    #[test]
    fn the_epochs_are_seventy_years_apart() {
        assert_eq!(NtpTime::of(Stamp::ZERO).0, 2_208_988_800 << 32);
    }

    #[test]
    fn the_era_is_the_one_nearest_to_the_time_of_arrival() {
        // 2036-02-07 06:28:16 UTC is second 0 of the second era.
        let rollover = Stamp::from_ns(2_085_978_496_000_000_000);
        assert_eq!(NtpTime::of(rollover).0, 0);
        assert_eq!(NtpTime(0).stamp(rollover.plus(-5_000_000_000)), rollover);
        assert_eq!(NtpTime(u64::MAX).stamp(rollover).since(rollover), 0);
    }

    #[test]
    fn spans_are_in_65536ths_of_a_second() {
        assert_eq!(units_of(500_000_000), 32_768);
        assert_eq!((units_of(-1), units_of(i64::MAX)), (0, u32::MAX));
        assert_eq!(ns_of(65_536), 1_000_000_000);
    }
}
