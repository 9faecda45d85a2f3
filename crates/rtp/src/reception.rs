//! How well a source is received: RFC 3550, appendices A.1 (extended numbers), A.3 (loss) and A.8 (jitter).

use vox_frame::{Rate, Stamp};

use crate::rtcp::Block;

/// Statistics of one source, from its first packet on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reception {
    clock: Rate,
    base: u32,
    highest: u32,
    received: u32,
    expected_prior: u32,
    received_prior: u32,
    /// Arrival minus timestamp of the last packet, in ticks.
    transit: Option<i64>,
    /// Jitter in 1/16 ticks.
    jitter: u32,
}

impl Reception {
    /// Statistics before the first packet, which has that number; `clock` is that of its timestamps.
    pub const fn new(sequence: u16, clock: Rate) -> Self {
        let first = sequence as u32;
        Self {
            clock,
            base: first,
            highest: first,
            received: 0,
            expected_prior: 0,
            received_prior: 0,
            transit: None,
            jitter: 0,
        }
    }

    /// Counts a packet; those of a source that began anew belong to new statistics.
    pub fn handle(&mut self, sequence: u16, timestamp: u32, arrived: Stamp) {
        self.received = self.received.wrapping_add(1);
        let ahead = sequence.wrapping_sub(self.highest as u16);
        if ahead < 0x8000 {
            self.highest = self.highest.wrapping_add(u32::from(ahead));
        } else if self.highest.wrapping_sub(u32::from(ahead.wrapping_neg())) < self.base {
            // It was sent before the first that came, so it was expected too.
            self.base = self.base.wrapping_sub(u32::from(ahead.wrapping_neg()));
        }
        let arrival = i128::from(arrived.ns()) * i128::from(self.clock.hz()) / 1_000_000_000;
        // Modulo 2^32, as the timestamps are.
        let transit = i64::from((arrival as u32).wrapping_sub(timestamp));
        if let Some(last) = self.transit.replace(transit) {
            let difference = (transit as u32).wrapping_sub(last as u32) as i32;
            // A jump of the timestamps is no jitter.
            let difference = difference.unsigned_abs().min(self.clock.hz());
            self.jitter = self.jitter.wrapping_add(difference).wrapping_sub((self.jitter + 8) >> 4);
        }
    }

    /// Packets that should have come so far.
    pub const fn expected(&self) -> u32 {
        self.highest.wrapping_sub(self.base).wrapping_add(1)
    }

    /// Packets that came so far.
    pub const fn received(&self) -> u32 {
        self.received
    }

    /// Packets lost so far; negative where duplicates came.
    pub const fn lost(&self) -> i32 {
        self.expected().wrapping_sub(self.received) as i32
    }

    /// Jitter, in ticks of the clock.
    pub const fn jitter(&self) -> u32 {
        self.jitter >> 4
    }

    /// The clock of the timestamps.
    pub const fn clock(&self) -> Rate {
        self.clock
    }

    /// Whether something came since the last report.
    pub const fn has_news(&self) -> bool {
        self.received != self.received_prior
    }

    /// The report on what came since the last one. `last_sr` and `delay` say which SR was seen and how long ago.
    pub fn report(&mut self, ssrc: u32, last_sr: u32, delay: u32) -> Block {
        let expected = self.expected().wrapping_sub(self.expected_prior);
        let received = self.received.wrapping_sub(self.received_prior);
        self.expected_prior = self.expected();
        self.received_prior = self.received;
        let lost = i64::from(expected) - i64::from(received);
        let fraction = if expected == 0 || lost <= 0 { 0 } else { (lost << 8) / i64::from(expected) };
        Block {
            ssrc,
            fraction_lost: fraction.min(255) as u8,
            lost: self.lost(),
            highest: self.highest,
            jitter: self.jitter(),
            last_sr,
            delay,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME_NS: i64 = 20_000_000;

    fn heard(numbers: impl IntoIterator<Item = u32>) -> Reception {
        let mut numbers = numbers.into_iter().peekable();
        let mut reception = Reception::new(*numbers.peek().expect("a packet") as u16, Rate::HZ_8000);
        for number in numbers {
            let arrived = Stamp::from_ns(i64::from(number) * FRAME_NS);
            reception.handle(number as u16, number.wrapping_mul(160), arrived);
        }
        reception
    }

    #[test]
    fn one_packet_in_four_lost_is_64_of_256() {
        let mut reception = heard((0..100).filter(|n| n % 4 != 2));
        let block = reception.report(7, 0, 0);
        assert_eq!((block.fraction_lost, block.lost, block.highest), (64, 25, 99));
        assert!(!reception.has_news());
    }

    #[test]
    fn a_second_report_is_on_what_came_since_the_first() {
        let mut reception = heard((0..100).filter(|n| n % 2 == 0));
        reception.report(7, 0, 0);
        for n in 99..200u32 {
            reception.handle(n as u16, n * 160, Stamp::from_ns(i64::from(n) * FRAME_NS));
        }
        let block = reception.report(7, 0, 0);
        assert_eq!((block.fraction_lost, block.lost), (0, 49));
    }

    #[test]
    fn numbers_go_on_across_the_wrap() {
        let reception = heard(65_530..65_545);
        assert_eq!((reception.expected(), reception.lost(), reception.highest), (15, 0, 65_544));
    }

    #[test]
    fn duplicates_make_the_loss_negative_and_no_fraction() {
        let mut reception = heard([5, 6, 6, 6, 7]);
        let block = reception.report(7, 0, 0);
        assert_eq!((block.fraction_lost, block.lost), (0, -2));
    }

    #[test]
    fn a_reordered_first_packet_was_expected_too() {
        let reception = heard([6, 5, 7, 8]);
        assert_eq!((reception.expected(), reception.lost()), (4, 0));
    }

    #[test]
    fn jitter_settles_at_the_mean_difference_of_transits() {
        let mut reception = Reception::new(0, Rate::HZ_8000);
        for n in 0..400u32 {
            let late = if n % 2 == 0 { 0 } else { 5_000_000 };
            reception.handle(n as u16, n * 160, Stamp::from_ns(i64::from(n) * FRAME_NS + late));
        }
        // 5 ms are 40 ticks.
        assert!((38..=40).contains(&reception.jitter()), "{}", reception.jitter());
    }
}
