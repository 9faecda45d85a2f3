//! The half-full buffer against the rule of the TCP streamer, written down once more from what is known of it: packets are
//! counted; it plays from when half of the most are there until none is, and refuses from when there are more than the
//! most until half are left.

use proptest::prelude::*;
use vox_frame::{MediaTime, Rate, SequenceNumber, Stamp};
use vox_playout::{Config, Insert, Meta, Output, Playout, Rule, Start};

/// What the TCP streamer does, packet by packet and tick by tick.
struct Streamer {
    most: usize,
    count: usize,
    playing: bool,
    refusing: bool,
}

impl Streamer {
    /// A packet arrives; whether it is kept.
    fn packet(&mut self) -> bool {
        if self.refusing && self.count > self.most / 2 {
            return false;
        }
        self.refusing = self.count > self.most;
        if self.refusing {
            return false;
        }
        self.count += 1;
        self.playing |= self.count >= self.most / 2;
        true
    }

    /// The time of a packet has come; whether one is played.
    fn tick(&mut self) -> bool {
        self.playing &= self.count > 0;
        self.count -= usize::from(self.playing);
        self.playing
    }
}

const TICK_NS: i64 = 20_000_000;

fn meta(n: u64, arrived: Stamp) -> Meta {
    Meta {
        sequence: SequenceNumber(n),
        timestamp: MediaTime(160 * n),
        duration: 160,
        marker: false,
        recovered: false,
        padding: false,
        redundant: false,
        reach: 0,
        silent: false,
        quiet: false,
        arrived,
        bytes: 160,
    }
}

/// Packets that were played by `now`.
fn played(playout: &mut Playout<u64>, now: Stamp) -> usize {
    let mut audio = 0;
    while playout.next_deadline().is_some_and(|deadline| deadline <= now) {
        match playout.poll(now) {
            Output::Audio(_) => audio += 1,
            Output::Gap(_) => {}
            Output::Wait(_) | Output::Idle | Output::Ended => break,
        }
    }
    audio
}

proptest! {
    #[test]
    fn it_keeps_and_plays_what_the_tcp_streamer_does(most in 2usize..40, arrivals in prop::collection::vec(0usize..4, 1..400)) {
        let mut streamer = Streamer { most, count: 0, playing: false, refusing: false };
        let mut playout = Playout::new(Config::half_full(most), Rate::HZ_8000);
        let mut n = 0;
        for (tick, arrivals) in arrivals.into_iter().enumerate() {
            let now = Stamp::from_ns(tick as i64 * TICK_NS);
            for _ in 0..arrivals {
                let kept = playout.handle_packet(now, meta(n, now), n) == Insert::Accepted;
                prop_assert_eq!(kept, streamer.packet(), "packet {} at tick {}", n, tick);
                n += 1;
            }
            prop_assert_eq!(played(&mut playout, now), usize::from(streamer.tick()), "tick {}", tick);
            prop_assert_eq!(playout.held_packets(), streamer.count, "tick {}", tick);
        }
    }
}

#[test]
fn a_start_that_there_is_no_room_for_is_when_the_buffer_is_full() {
    for start in [Start::Span(200_000_000), Start::Packets(100)] {
        let config = Config { rule: Rule::Count { max: 8, start }, ..Config::half_full(8) };
        let mut playout = Playout::new(config, Rate::HZ_8000);
        let (mut kept, mut heard) = (0, 0);
        for n in 0..50 {
            let now = Stamp::from_ns(n as i64 * TICK_NS);
            kept += usize::from(playout.handle_packet(now, meta(n, now), n) == Insert::Accepted);
            heard += played(&mut playout, now);
        }
        assert_eq!(kept, 50, "{start:?}");
        assert!(heard > 40, "{heard} heard, {start:?}");
    }
}
