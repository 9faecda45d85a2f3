//! Sequence numbers and media timestamps that never wrap, and how wrapped ones from RTP are extended to them.

/// An extended sequence number: counts packets of a stream and never wraps. Where the stream came from RTP, its low
/// 16 bits are the RTP sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SequenceNumber(pub u64);

impl SequenceNumber {
    /// The number of the packet `n` later.
    #[must_use]
    pub const fn plus(self, n: u64) -> Self {
        Self(self.0.wrapping_add(n))
    }

    /// The 16 bits that RTP carries.
    pub const fn rtp(self) -> u16 {
        self.0 as u16
    }
}

/// A media timestamp: ticks of the stream's clock rate, extended to 64 bits, never wrapping. Where the stream came
/// from RTP, its low 32 bits are the RTP timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MediaTime(pub u64);

impl MediaTime {
    /// The media time `ticks` later.
    #[must_use]
    pub const fn plus(self, ticks: u64) -> Self {
        Self(self.0.saturating_add(ticks))
    }

    /// Ticks from `earlier` to this; zero when `earlier` is the later one.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Ticks from `other` to this, negative when `other` is the later one; saturates.
    pub const fn offset_from(self, other: Self) -> i64 {
        let difference = self.0 as i128 - other.0 as i128;
        if difference > i64::MAX as i128 {
            i64::MAX
        } else if difference < i64::MIN as i128 {
            i64::MIN
        } else {
            difference as i64
        }
    }

    /// The 32 bits that RTP carries.
    pub const fn rtp(self) -> u32 {
        self.0 as u32
    }
}

/// Extends 16-bit sequence numbers: each is taken as the one nearest to the last (RFC 3550, A.1, without its policy
/// on jumps, which belongs to the RTP source).
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwrapper {
    last: Option<u64>,
}

impl Unwrapper {
    /// The extended number of `wrapped`; the first one is placed one cycle up, so that what was sent before it and
    /// arrives after it has a number too.
    pub fn extend(&mut self, wrapped: u16) -> SequenceNumber {
        let Some(last) = self.last else {
            let first = u64::from(wrapped) + (1 << 16);
            self.last = Some(first);
            return SequenceNumber(first);
        };
        let step = i64::from(wrapped.wrapping_sub(last as u16) as i16);
        let extended = last.saturating_add_signed(step);
        self.last = Some(extended);
        SequenceNumber(extended)
    }
}

/// Extends 32-bit RTP timestamps: each is taken as the one nearest to the last.
#[derive(Debug, Clone, Copy, Default)]
pub struct TimestampUnwrapper {
    last: Option<u64>,
}

impl TimestampUnwrapper {
    /// The extended media time of `wrapped`; the first one is placed one cycle up.
    pub fn extend(&mut self, wrapped: u32) -> MediaTime {
        let Some(last) = self.last else {
            let first = u64::from(wrapped) + (1 << 32);
            self.last = Some(first);
            return MediaTime(first);
        };
        let step = i64::from(wrapped.wrapping_sub(last as u32) as i32);
        let extended = last.saturating_add_signed(step);
        self.last = Some(extended);
        MediaTime(extended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_continue_across_the_wrap() {
        let mut unwrapper = Unwrapper::default();
        let first = unwrapper.extend(65_535);
        assert_eq!(unwrapper.extend(0), first.plus(1));
        assert_eq!(unwrapper.extend(1).rtp(), 1);
    }

    #[test]
    fn a_reordered_packet_gets_an_earlier_number() {
        let mut unwrapper = Unwrapper::default();
        let first = unwrapper.extend(0);
        assert_eq!(unwrapper.extend(65_535).0, first.0 - 1);
    }

    #[test]
    fn timestamps_continue_across_the_wrap_in_both_directions() {
        let mut unwrapper = TimestampUnwrapper::default();
        let first = unwrapper.extend(u32::MAX - 10);
        let second = unwrapper.extend(149);
        assert_eq!(second.since(first), 160);
        assert_eq!(unwrapper.extend(u32::MAX - 10), first);
        assert_eq!(second.rtp(), 149);
    }

    #[test]
    fn offsets_saturate() {
        assert_eq!(MediaTime(0).offset_from(MediaTime(u64::MAX)), i64::MIN);
        assert_eq!(MediaTime(5).offset_from(MediaTime(7)), -2);
    }
}
