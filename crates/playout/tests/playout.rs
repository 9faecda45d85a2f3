//! The buffer on a simulated clock.

use proptest::prelude::*;
use vox_frame::{GapReason, MediaTime, Rate, SequenceNumber, Stamp};
use vox_playout::{Config, Insert, Output, Packet, Playout, Start};

const FRAME: u64 = 160;
const MS: i64 = 1_000_000;
const FIXED: Config = Config::Fixed { delay: 60 * MS };

fn at(ms: i64) -> Stamp {
    Stamp::from_ns(ms * MS)
}

/// Packet `n` of a stream of 20 ms packets at 8 kHz.
fn packet(n: u64, arrived_ms: i64) -> Packet<u64> {
    Packet {
        sequence: SequenceNumber(70_000 + n),
        timestamp: MediaTime((1 << 32) + n * FRAME),
        duration: FRAME as u32,
        arrived: at(arrived_ms),
        payload: n,
    }
}

fn put(playout: &mut Playout<u64>, n: u64, ms: i64) -> Insert {
    playout.handle_packet(at(ms), packet(n, ms))
}

/// What came out, for comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Out {
    Packet { n: u64, due_ms: i64 },
    Gap { from: u64, ticks: u64, packets: u32, reason: GapReason, later: Option<(u32, u64)> },
    End,
}

fn drain(playout: &mut Playout<u64>, now: Stamp) -> Vec<Out> {
    let mut out = Vec::new();
    loop {
        out.push(match playout.poll(now) {
            Output::Packet { packet, due } => Out::Packet { n: packet.payload, due_ms: due.ns() / MS },
            Output::Gap(gap) => Out::Gap {
                from: gap.timestamp.0 - (1 << 32),
                ticks: gap.duration,
                packets: gap.packets,
                reason: gap.reason,
                later: gap.later.map(|(ahead, n)| (ahead, *n)),
            },
            Output::End { .. } => Out::End,
            Output::Wait(_) | Output::Idle => return out,
        });
    }
}

fn playout() -> Playout<u64> {
    Playout::new(FIXED, Rate::HZ_8000, FRAME as u32)
}

#[test]
fn a_packet_is_played_its_delay_after_it_arrived() {
    let mut playout = playout();
    assert_eq!(put(&mut playout, 0, 5), Insert::Accepted);
    assert_eq!(playout.next_deadline(), Some(at(65)));
    assert_eq!(drain(&mut playout, at(64)), []);
    assert_eq!(drain(&mut playout, at(65)), [Out::Packet { n: 0, due_ms: 65 }]);
}

#[test]
fn reordered_packets_come_out_in_order() {
    let mut playout = playout();
    for (n, ms) in [(0, 0), (2, 40), (1, 45)] {
        assert_eq!(put(&mut playout, n, ms), Insert::Accepted);
    }
    let played = drain(&mut playout, at(100));
    assert_eq!(played, [0, 1, 2].map(|n| Out::Packet { n, due_ms: 60 + 20 * n as i64 }));
}

#[test]
fn the_second_of_two_equal_packets_is_a_duplicate_before_and_after_it_was_played() {
    let mut playout = playout();
    put(&mut playout, 0, 0);
    assert_eq!(put(&mut playout, 0, 1), Insert::Duplicate);
    drain(&mut playout, at(60));
    assert_eq!(put(&mut playout, 0, 61), Insert::Duplicate);
    assert_eq!(playout.stats().packets_duplicated, 2);
}

#[test]
fn a_missing_packet_is_a_gap_that_carries_the_next_one() {
    let mut playout = playout();
    for n in [0, 2] {
        put(&mut playout, n, 20 * n as i64);
    }
    drain(&mut playout, at(79));
    let gap = Out::Gap { from: FRAME, ticks: FRAME, packets: 1, reason: GapReason::Lost, later: Some((160, 2)) };
    assert_eq!(drain(&mut playout, at(80)), [gap]);
}

#[test]
fn late_packet_becomes_a_gap_and_is_counted() {
    let mut playout = playout();
    put(&mut playout, 0, 0);
    put(&mut playout, 2, 40);
    drain(&mut playout, at(80));
    assert_eq!(put(&mut playout, 1, 85), Insert::Late);
    assert_eq!(playout.stats().packets_late, 1);
    assert_eq!(drain(&mut playout, at(100)), [Out::Packet { n: 2, due_ms: 100 }]);
}

#[test]
fn two_missing_packets_are_two_gaps_so_that_the_second_may_still_come() {
    let mut playout = playout();
    put(&mut playout, 0, 0);
    put(&mut playout, 3, 60);
    drain(&mut playout, at(80));
    assert_eq!(put(&mut playout, 2, 90), Insert::Accepted);
    assert_eq!(drain(&mut playout, at(100)), [Out::Packet { n: 2, due_ms: 100 }]);
}

#[test]
fn a_hole_without_missing_numbers_is_silence_not_loss() {
    let mut playout = playout();
    put(&mut playout, 0, 0);
    let mut resumed = packet(3, 60);
    resumed.sequence = SequenceNumber(70_001);
    playout.handle_packet(at(60), resumed);
    drain(&mut playout, at(79));
    let silence = Out::Gap { from: FRAME, ticks: 2 * FRAME, packets: 0, reason: GapReason::Silent, later: None };
    assert_eq!(drain(&mut playout, at(80)), [silence]);
    assert_eq!(playout.stats().packets_lost, 0);
}

#[test]
fn padding_uses_a_number_and_is_not_missing() {
    let mut playout = playout();
    put(&mut playout, 0, 0);
    playout.handle_padding(SequenceNumber(70_001));
    let mut next = packet(1, 20);
    next.sequence = SequenceNumber(70_002);
    playout.handle_packet(at(20), next);
    assert_eq!(drain(&mut playout, at(80)), [0, 1].map(|n| Out::Packet { n, due_ms: 60 + 20 * n as i64 }));
}

#[test]
fn a_buffer_that_was_asleep_for_3_s_says_so_in_whole_frames_and_is_current() {
    let mut playout = playout();
    for n in 0..10 {
        put(&mut playout, n, 20 * n as i64);
        drain(&mut playout, at(20 * n as i64));
    }
    // Asleep from 190 ms to 3190 ms: the packets of that time are read at once.
    let now = at(3190);
    let mut gap_ticks = 0;
    let mut played = Vec::new();
    let mut note = |out: Vec<Out>| {
        for out in out {
            match out {
                Out::Gap { ticks, .. } => gap_ticks += ticks,
                Out::Packet { n, .. } => played.push(n),
                Out::End => {}
            }
        }
    };
    for n in 10..160 {
        playout.handle_packet(now, packet(n, 20 * n as i64));
        note(drain(&mut playout, now));
    }
    for n in 160..200 {
        put(&mut playout, n, 20 * n as i64);
        note(drain(&mut playout, at(20 * n as i64)));
    }
    assert_eq!(gap_ticks % FRAME, 0);
    let lost = gap_ticks / FRAME;
    assert!((135..=150).contains(&lost), "{lost} frames");
    assert!(played.windows(2).all(|pair| pair[0] < pair[1]));
    assert_eq!(played.last(), Some(&196), "60 ms behind the newest");
}

#[test]
fn a_timestamp_far_ahead_is_another_time_line() {
    let mut playout = playout();
    put(&mut playout, 0, 0);
    let mut jump = packet(1, 20);
    jump.timestamp = MediaTime(1 << 40);
    assert_eq!(playout.handle_packet(at(20), jump), Insert::Jump);
}

#[test]
fn a_sender_that_stays_behind_by_seconds_is_another_time_line() {
    let mut playout = playout();
    put(&mut playout, 0, 0);
    drain(&mut playout, at(10_000));
    let outcomes: Vec<Insert> = (1..60).map(|n| put(&mut playout, n, 10_000 + 20 * n as i64)).collect();
    assert_eq!(outcomes[0], Insert::Late);
    assert!(outcomes.contains(&Insert::Jump));
}

#[test]
fn the_end_plays_out_what_is_held() {
    let mut playout = playout();
    put(&mut playout, 0, 0);
    put(&mut playout, 1, 20);
    playout.handle_end(None);
    let out = drain(&mut playout, at(1_000));
    assert_eq!(out.len(), 3);
    assert_eq!(out[2], Out::End);
    assert!(playout.is_ended());
}

#[test]
fn a_lost_tail_is_a_gap_up_to_the_end() {
    let mut playout = playout();
    put(&mut playout, 0, 0);
    playout.handle_end(Some(MediaTime((1 << 32) + 3 * FRAME)));
    let out = drain(&mut playout, at(1_000));
    let tail = Out::Gap { from: FRAME, ticks: 2 * FRAME, packets: 0, reason: GapReason::Lost, later: None };
    assert_eq!(out[1..], [tail, Out::End]);
}

#[test]
fn a_hostile_end_invents_no_audio() {
    let mut playout = playout();
    put(&mut playout, 0, 0);
    playout.handle_end(Some(MediaTime(u64::MAX)));
    assert_eq!(drain(&mut playout, at(1_000)), [Out::Packet { n: 0, due_ms: 60 }, Out::End]);
}

mod half_full {
    use super::*;

    fn playout(max: usize) -> Playout<u64> {
        Playout::new(Config::HalfFull { max, start: Start::Half }, Rate::HZ_8000, FRAME as u32)
    }

    #[test]
    fn playing_begins_when_half_the_packets_are_there() {
        let mut playout = playout(4);
        put(&mut playout, 0, 0);
        assert_eq!(drain(&mut playout, at(0)), []);
        put(&mut playout, 1, 20);
        assert_eq!(drain(&mut playout, at(20)), [Out::Packet { n: 0, due_ms: 20 }]);
        assert_eq!(drain(&mut playout, at(40)), [Out::Packet { n: 1, due_ms: 40 }]);
    }

    #[test]
    fn after_an_underrun_it_waits_for_half_again_and_the_wait_is_a_gap() {
        let mut playout = playout(4);
        put(&mut playout, 0, 40);
        put(&mut playout, 1, 40);
        assert_eq!(drain(&mut playout, at(40)), [Out::Packet { n: 0, due_ms: 40 }]);
        assert_eq!(drain(&mut playout, at(80)), [Out::Packet { n: 1, due_ms: 60 }]);
        assert_eq!(playout.stats().underruns, 1);
        put(&mut playout, 2, 100);
        assert_eq!(drain(&mut playout, at(100)), []);
        playout.handle_packet(at(120), packet(3, 120));
        let Output::Gap(gap) = playout.poll(at(120)) else { panic!("the wait is a gap") };
        assert_eq!((gap.duration, gap.due, gap.slot), (0, at(80), Some(40 * MS as u64)));
        assert_eq!(drain(&mut playout, at(120)), [Out::Packet { n: 2, due_ms: 120 }]);
    }

    #[test]
    fn an_overflow_is_refused_until_half_is_left() {
        let mut playout = playout(4);
        let mut outcomes = Vec::new();
        for n in 0..8 {
            outcomes.push(put(&mut playout, n, 0));
            drain(&mut playout, at(0));
        }
        assert_eq!(outcomes[..6], [Insert::Accepted; 6], "one is played, five are held");
        assert_eq!(outcomes[6..], [Insert::Overflow; 2]);
        drain(&mut playout, at(40));
        assert_eq!(put(&mut playout, 8, 40), Insert::Overflow, "three are left");
        drain(&mut playout, at(60));
        assert_eq!(put(&mut playout, 9, 60), Insert::Accepted, "two are left");
    }

    #[test]
    fn refused_packets_are_gaps_of_an_overrun() {
        let mut playout = playout(2);
        for n in 0..6 {
            put(&mut playout, n, 0);
            drain(&mut playout, at(0));
        }
        assert_eq!(playout.stats().packets_discarded, 2, "0 is played, 1 to 3 are held, 4 and 5 are refused");
        drain(&mut playout, at(40));
        put(&mut playout, 6, 45);
        drain(&mut playout, at(60));
        let out = drain(&mut playout, at(80));
        assert!(matches!(out[0], Out::Gap { reason: GapReason::Overrun, ticks: FRAME, .. }), "{out:?}");
    }

    #[test]
    fn below_two_packets_nothing_is_held_back() {
        let mut playout = playout(1);
        put(&mut playout, 0, 7);
        assert_eq!(drain(&mut playout, at(7)), [Out::Packet { n: 0, due_ms: 7 }]);
    }
}

fn config() -> impl Strategy<Value = Config> {
    prop_oneof![
        (0..200i64).prop_map(|ms| Config::Fixed { delay: ms * MS }),
        (0..30usize).prop_map(|max| Config::HalfFull { max, start: Start::Half }),
    ]
}

proptest! {
    /// Whatever arrives and whenever: media time and playout time go on without a hole or an overlap.
    #[test]
    fn both_time_lines_are_gapless(
        config in config(),
        arrivals in prop::collection::vec((0..300u64, 0..100i64), 1..200),
    ) {
        let mut playout = Playout::new(config, Rate::HZ_8000, FRAME as u32);
        let mut now = 0;
        let mut media: Option<MediaTime> = None;
        let mut line: Option<Stamp> = None;
        let mut follow = |timestamp: MediaTime, ticks: u64, due: Stamp, slot: Option<u64>| {
            if let Some(expected) = media {
                assert_eq!(timestamp, expected);
            }
            if let Some(expected) = line {
                assert!((due.since(expected)).abs() <= 1, "{due:?} instead of {expected:?}");
            }
            media = Some(timestamp.plus(ticks));
            let slot = slot.map_or_else(|| Rate::HZ_8000.ns(ticks), |slot| slot as i64);
            line = Some(due.plus(slot));
        };
        let mut drain = |playout: &mut Playout<u64>, now: i64| loop {
            match playout.poll(at(now)) {
                Output::Packet { packet, due } => follow(packet.timestamp, u64::from(packet.duration), due, None),
                Output::Gap(gap) => follow(gap.timestamp, gap.duration, gap.due, gap.slot),
                Output::End { .. } | Output::Wait(_) | Output::Idle => break,
            }
        };
        for (n, step) in arrivals {
            now += step;
            drain(&mut playout, now);
            playout.handle_packet(at(now), packet(n, now));
            drain(&mut playout, now);
            prop_assert!(playout.len() <= 4096);
        }
        playout.handle_end(None);
        drain(&mut playout, now + 100_000);
        drain(&mut playout, now + 200_000);
        prop_assert!(playout.is_ended());
    }

    /// Without loss and with a delay above the jitter, every packet is played, in order, each at its time.
    #[test]
    fn with_enough_delay_nothing_is_missing(jitter in prop::collection::vec(0..50i64, 1..200)) {
        let mut playout = playout();
        let mut arrivals: Vec<(i64, u64)> =
            jitter.iter().enumerate().map(|(n, late)| (20 * n as i64 + late, n as u64)).collect();
        arrivals[0].0 = 0;
        arrivals.sort_unstable();
        let mut played = Vec::new();
        for (ms, n) in arrivals {
            played.extend(drain(&mut playout, at(ms)));
            prop_assert_eq!(put(&mut playout, n, ms), Insert::Accepted);
        }
        playout.handle_end(None);
        played.extend(drain(&mut playout, at(1_000_000)));
        let expected: Vec<Out> =
            (0..jitter.len() as u64).map(|n| Out::Packet { n, due_ms: 60 + 20 * n as i64 }).chain([Out::End]).collect();
        prop_assert_eq!(played, expected);
    }
}
