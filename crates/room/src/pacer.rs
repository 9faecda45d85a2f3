//! Packets that come in bursts, one by one at the pace of their timestamps: a program that reads a file hands on a
//! quarter of a second at a time, which would be late for every mix.

use std::collections::VecDeque;

use vox_frame::{Rate, Stamp, TimestampUnwrapper};

/// So much ahead of its time a packet goes at once, in ns: whoever hears it has a buffer of his own.
const EARLY_NS: i64 = 20_000_000;

/// So much ahead of its time a packet may be, in ns; beyond, its source has jumped and is followed.
const MAX_EARLY_NS: i64 = 600_000_000;

/// How fast the pace follows a source whose clock is faster, in parts of the time that passes.
const FOLLOW: i64 = 1_000;

/// Packets that are held.
const MAX_HELD: usize = 128;

/// Holds what comes ahead of its time.
#[derive(Debug)]
pub(crate) struct Pacer {
    clock: Rate,
    timestamps: TimestampUnwrapper,
    /// Between media time and the time at which it is passed on, and when that was told last, in ns.
    offset: Option<(i64, i64)>,
    held: VecDeque<(i64, Vec<u8>)>,
}

impl Pacer {
    pub(crate) fn new(clock: Rate) -> Self {
        Self { clock, timestamps: TimestampUnwrapper::default(), offset: None, held: VecDeque::new() }
    }

    /// Whether a packet goes at once; else it is held.
    pub(crate) fn handle(&mut self, now: Stamp, timestamp: u32, bytes: &[u8]) -> bool {
        let now = now.ns();
        let media = self.clock.ns(self.timestamps.extend(timestamp).0);
        let own = now.saturating_sub(media);
        let offset = match self.offset {
            Some((offset, told)) if offset - own <= MAX_EARLY_NS => own.max(offset - (now - told) / FOLLOW),
            _ => own,
        };
        self.offset = Some((offset, now));
        let due = media.saturating_add(offset).saturating_sub(EARLY_NS);
        if (due <= now && self.held.is_empty()) || self.held.len() >= MAX_HELD {
            return true;
        }
        // In the order in which they came.
        let due = self.held.back().map_or(due, |(last, _)| due.max(*last));
        self.held.push_back((due, bytes.to_vec()));
        false
    }

    /// The next packet whose time has come.
    pub(crate) fn poll(&mut self, now: Stamp) -> Option<Vec<u8>> {
        let (due, _) = self.held.front()?;
        if *due > now.ns() {
            return None;
        }
        self.held.pop_front().map(|(_, bytes)| bytes)
    }

    /// When there is one.
    pub(crate) fn next_deadline(&self) -> Option<Stamp> {
        self.held.front().map(|(due, _)| Stamp::from_ns(*due))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    /// When packets of 20 ms are passed on that come at these times, in ms.
    fn passed(arrivals: &[i64]) -> Vec<i64> {
        let mut pacer = Pacer::new(Rate::HZ_8000);
        let (mut out, mut now) = (Vec::new(), 0);
        let mut next = 0;
        while out.len() < arrivals.len() {
            let at = Stamp::from_ns(1_000_000_000_000 + now * MS);
            while let Some(bytes) = pacer.poll(at) {
                assert_eq!(usize::from(bytes[0]), out.len(), "in order");
                out.push(now);
            }
            while next < arrivals.len() && arrivals[next] == now {
                if pacer.handle(at, next as u32 * 160, &[next as u8]) {
                    out.push(now);
                }
                next += 1;
            }
            now += 1;
        }
        out
    }

    #[test]
    fn what_comes_in_time_goes_at_once() {
        let even: Vec<i64> = (0..50).map(|n| n * 20).collect();
        assert_eq!(passed(&even), even);
        let jitter: Vec<i64> = (0..50).map(|n| n * 20 + (n * 7) % 13).collect();
        assert_eq!(passed(&jitter), jitter, "what is less early than the next packet is not held");
    }

    #[test]
    fn a_burst_is_spread_over_the_time_that_it_lasts() {
        let bursts: Vec<i64> = (0..60).map(|n| n / 12 * 240).collect();
        for (n, (passed, came)) in passed(&bursts).into_iter().zip(&bursts).enumerate() {
            let due = n as i64 * 20;
            assert!((due - 21..=due + 1).contains(&passed), "packet {n} came at {came} and went at {passed}");
        }
    }

    #[test]
    fn a_late_packet_is_not_held_and_those_after_it_keep_its_pace() {
        let mut late: Vec<i64> = (0..50).map(|n| n * 20).collect();
        late[20] += 70;
        late[21] += 50;
        late[22] += 30;
        late[23] += 10;
        let passed = passed(&late);
        assert_eq!(passed[20], 470);
        assert!(passed[21..].windows(2).all(|pair| (19..=22).contains(&(pair[1] - pair[0]))), "{passed:?}");
    }

    #[test]
    fn a_source_that_jumps_is_followed() {
        let mut pacer = Pacer::new(Rate::HZ_8000);
        assert!(pacer.handle(Stamp::from_ns(0), 0, b"a"));
        assert!(pacer.handle(Stamp::from_ns(20 * MS), 80_000, b"b"), "ten seconds ahead");
        assert!(pacer.handle(Stamp::from_ns(40 * MS), 80_160, b"c"));
    }
}
