//! The jitter buffer on a simulated clock: what comes out, when, for a list of what may happen to packets.

use vox_frame::{GapReason, MediaTime, Rate, SequenceNumber, Stamp};
use vox_playout::{Adaptive, Config, Insert, Meta, Output, Playout};

const MS: i64 = 1_000_000;
const FRAME: u64 = 160;

/// Near both wraps, so that every test crosses 2^16 and 2^32.
const FIRST_SEQUENCE: u64 = (2 << 16) - 2;
const FIRST_TIMESTAMP: u64 = (2 << 32) - 2 * FRAME;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Out {
    /// Packet `n`, due at that ms.
    Audio(u64, i64),
    /// From packet `n` on, that many frames of media time and ms of playout time, and the later packet.
    Gap(u64, u64, GapReason, i64, Option<u64>),
    Ended,
}

struct Bench {
    playout: Playout<u64>,
    now: Stamp,
}

impl Bench {
    fn new(config: Config) -> Self {
        Self { playout: Playout::new(config, Rate::HZ_8000), now: Stamp::ZERO }
    }

    fn fixed() -> Self {
        Self::new(Config::fixed(60 * MS))
    }

    fn meta(n: u64, ms: i64) -> Meta {
        Meta {
            sequence: SequenceNumber(FIRST_SEQUENCE + n),
            timestamp: MediaTime(FIRST_TIMESTAMP + n * FRAME),
            duration: FRAME as u32,
            marker: false,
            recovered: false,
            padding: false,
            redundant: false,
            reach: 0,
            silent: false,
            quiet: false,
            arrived: Stamp::from_ns(ms * MS),
            bytes: 160,
        }
    }

    fn put(&mut self, n: u64, ms: i64) -> Insert<u64> {
        self.put_meta(Self::meta(n, ms), n)
    }

    fn put_meta(&mut self, meta: Meta, n: u64) -> Insert<u64> {
        self.now = self.now.max(meta.arrived);
        self.playout.handle_packet(meta.arrived, meta, n)
    }

    /// What leaves up to that time, each at its own deadline.
    fn until(&mut self, ms: i64) -> Vec<Out> {
        let mut out = Vec::new();
        while let Some(deadline) = self.playout.next_deadline().filter(|deadline| deadline.ns() <= ms * MS) {
            let Some(one) = self.poll(deadline) else { break };
            out.push(one);
        }
        out
    }

    fn poll(&mut self, now: Stamp) -> Option<Out> {
        let frames = |ticks: u64| (ticks - FIRST_TIMESTAMP) / FRAME;
        match self.playout.poll(now) {
            Output::Audio(played) => Some(Out::Audio(played.payload, played.due.ns() / MS)),
            Output::Gap(gap) => Some(Out::Gap(
                frames(gap.timestamp.0),
                gap.duration / FRAME,
                gap.reason,
                gap.slot as i64 / MS,
                gap.later.map(|later| *later.payload),
            )),
            Output::Ended => Some(Out::Ended),
            Output::Wait(_) | Output::Idle => None,
        }
    }
}

fn lost(n: u64, later: u64) -> Out {
    Out::Gap(n, 1, GapReason::Lost, 20, Some(later))
}

#[test]
fn a_packet_leaves_at_its_deadline_and_not_before() {
    let mut bench = Bench::fixed();
    assert_eq!(bench.put(0, 5), Insert::Accepted);
    assert_eq!(bench.playout.poll(Stamp::from_ns(64 * MS)), Output::Wait(Stamp::from_ns(65 * MS)));
    assert_eq!(bench.until(65), [Out::Audio(0, 65)]);
    assert_eq!(bench.playout.poll(Stamp::from_ns(66 * MS)), Output::Idle);
}

#[test]
fn reordered_packets_leave_in_order() {
    let mut bench = Bench::fixed();
    for (n, ms) in [(1, 20), (0, 21), (3, 60), (2, 65), (4, 80)] {
        assert_eq!(bench.put(n, ms), Insert::Accepted);
    }
    let due: Vec<Out> = (0..5).map(|n| Out::Audio(n, 60 + 20 * n as i64)).collect();
    assert_eq!(bench.until(500), due);
}

#[test]
fn a_duplicate_is_told_from_a_late_packet_before_and_after_it_was_played() {
    let mut bench = Bench::fixed();
    bench.put(0, 0);
    assert_eq!(bench.put(0, 1), Insert::Duplicate);
    bench.put(2, 40);
    assert_eq!(bench.until(80), [Out::Audio(0, 60), lost(1, 2)]);
    assert_eq!(bench.put(0, 81), Insert::Duplicate);
    assert_eq!(bench.put(1, 82), Insert::Late);
    let stats = bench.playout.stats();
    assert_eq!((stats.packets_duplicated, stats.packets_late, stats.packets_lost), (2, 1, 0));
}

#[test]
fn two_lost_packets_are_two_gaps_so_that_the_second_may_still_come() {
    let mut bench = Bench::fixed();
    bench.put(0, 0);
    bench.put(3, 60);
    assert_eq!(bench.until(80), [Out::Audio(0, 60), lost(1, 3)]);
    assert_eq!(bench.put(2, 90), Insert::Accepted);
    assert_eq!(bench.until(200), [Out::Audio(2, 100), Out::Audio(3, 120)]);
}

#[test]
fn a_packet_that_arrives_after_its_time_is_a_late_gap() {
    let mut bench = Bench::fixed();
    bench.put(0, 0);
    assert_eq!(bench.until(79), [Out::Audio(0, 60)]);
    assert_eq!(bench.put(1, 81), Insert::Late);
    bench.put(2, 82);
    assert_eq!(bench.until(100), [Out::Gap(1, 1, GapReason::Late, 20, None), Out::Audio(2, 100)]);
}

#[test]
fn a_packet_repairs_only_what_is_due_after_it_has_come() {
    for (arrives, later) in [(80, Some(2)), (81, None)] {
        let mut bench = Bench::fixed();
        bench.put(0, 0);
        assert_eq!(bench.until(79), [Out::Audio(0, 60)]);
        let meta = Meta { redundant: true, ..Bench::meta(2, arrives) };
        bench.put_meta(meta, 2);
        assert_eq!(bench.until(100), [Out::Gap(1, 1, GapReason::Lost, 20, later), Out::Audio(2, 100)]);
        assert_eq!(bench.playout.stats().fec_packets, u64::from(later.is_some()));
    }
}

#[test]
fn a_timestamp_hole_without_a_sequence_hole_is_silence() {
    let mut bench = Bench::fixed();
    bench.put(0, 0);
    bench.until(100);
    let after = Meta { sequence: SequenceNumber(FIRST_SEQUENCE + 1), ..Bench::meta(50, 1000) };
    bench.put_meta(after, 50);
    assert_eq!(bench.until(2000), [Out::Gap(1, 49, GapReason::Silent, 980, None), Out::Audio(50, 1060)]);
}

#[test]
fn padding_uses_a_sequence_number_and_is_neither_audio_nor_lost() {
    let mut bench = Bench::fixed();
    bench.put(0, 0);
    let padding = Meta { padding: true, duration: 0, ..Bench::meta(1, 10) };
    assert_eq!(bench.put_meta(padding, 99), Insert::Padding);
    let next = Meta { sequence: SequenceNumber(FIRST_SEQUENCE + 2), ..Bench::meta(1, 20) };
    bench.put_meta(next, 1);
    assert_eq!(bench.until(200), [Out::Audio(0, 60), Out::Audio(1, 80)]);
    assert_eq!(bench.playout.stats().packets_lost, 0);
}

#[test]
fn a_faster_packet_before_the_start_moves_the_floor_for_nothing() {
    let mut bench = Bench::fixed();
    bench.put(0, 30);
    bench.put(1, 22);
    assert_eq!(bench.until(200), [Out::Audio(0, 62), Out::Audio(1, 82)]);
}

#[test]
fn a_much_faster_packet_later_moves_the_line_and_slots_absorb_it() {
    let mut bench = Bench::fixed();
    bench.put(0, 30);
    assert_eq!(bench.until(90), [Out::Audio(0, 90)]);
    bench.put(1, 91);
    bench.put(5, 100);
    bench.put(4, 101);
    bench.put(2, 102);
    bench.put(3, 103);
    // The floor is now that of packet 5: packet 5 is due at 160, 4 at 140.
    let out = bench.until(300);
    assert_eq!(out.last(), Some(&Out::Audio(5, 160)), "{out:?}");
}

#[test]
fn a_network_that_has_become_slower_than_the_delay_is_followed() {
    let mut bench = Bench::fixed();
    for n in 0..10 {
        bench.put(n, 20 * n as i64);
        bench.until(20 * n as i64);
    }
    let mut out = Vec::new();
    for n in 10..100 {
        bench.put(n, 20 * n as i64 + 300);
        out.extend(bench.until(20 * n as i64 + 310));
    }
    let late = out.iter().filter(|out| matches!(out, Out::Gap(_, 1, GapReason::Late, _, _))).count();
    assert!((5..15).contains(&late), "{late} late packets: {out:?}");
    assert_eq!(out.last(), Some(&Out::Audio(96, 96 * 20 + 360)));
}

#[test]
fn a_sender_that_pauses_without_moving_its_timestamps_goes_on_after_inserted_time() {
    let mut bench = Bench::fixed();
    bench.put(0, 0);
    assert_eq!(bench.until(60), [Out::Audio(0, 60)]);
    assert_eq!(bench.put(1, 10_000), Insert::Accepted);
    let inserted = Out::Gap(1, 0, GapReason::Late, 9_980, None);
    assert_eq!(bench.until(20_000), [inserted, Out::Audio(1, 10_060)]);
}

#[test]
fn what_an_outage_held_back_is_late_and_the_stream_is_current_at_once() {
    let mut bench = Bench::fixed();
    for n in 0..50 {
        bench.put(n, 20 * n as i64);
        bench.until(20 * n as i64);
    }
    bench.until(1_100);
    for n in 50..=200 {
        bench.put(n, 4_000);
    }
    let out = bench.until(4_060);
    let gone: u64 = out.iter().map(|out| if let Out::Gap(_, frames, ..) = out { *frames } else { 0 }).sum();
    // Packet n was due at 20 n + 60: what is due after 4000 was in time.
    assert_eq!(gone, 197 - 50, "{out:?}");
    assert_eq!(out.last(), Some(&Out::Audio(200, 4_060)));
}

#[test]
fn a_stage_that_stood_still_reports_what_is_past_as_overrun() {
    let mut bench = Bench::fixed();
    for n in 0..200 {
        bench.put(n, 20 * n as i64);
    }
    let now = Stamp::from_ns(4_000 * MS);
    let mut out = Vec::new();
    while bench.playout.next_deadline().is_some_and(|deadline| deadline <= now) {
        out.extend(bench.poll(now));
    }
    let overrun = out.iter().filter(|out| matches!(out, Out::Gap(_, 1, GapReason::Overrun, 20, _))).count();
    // 100 ms behind is still played.
    assert_eq!(overrun, 192, "{out:?}");
    assert_eq!(out.len(), 198);
}

#[test]
fn a_timestamp_jump_is_one_gap_that_takes_only_the_time_it_took() {
    let mut bench = Bench::fixed();
    bench.put(0, 0);
    bench.put(1, 20);
    let jumped = Meta { sequence: SequenceNumber(FIRST_SEQUENCE + 2), ..Bench::meta(1_000_002, 40) };
    bench.put_meta(jumped, 7);
    let next = Meta { sequence: SequenceNumber(FIRST_SEQUENCE + 3), ..Bench::meta(1_000_003, 60) };
    bench.put_meta(next, 8);
    let gap = Out::Gap(2, 1_000_000, GapReason::Silent, 0, None);
    assert_eq!(bench.until(500), [Out::Audio(0, 60), Out::Audio(1, 80), gap, Out::Audio(7, 100), Out::Audio(8, 120)]);
}

#[test]
fn media_time_that_goes_back_is_a_new_stream() {
    let mut bench = Bench::fixed();
    for n in 0..100 {
        bench.put(n, 20 * n as i64);
    }
    bench.until(3_000);
    let back = Meta { sequence: SequenceNumber(FIRST_SEQUENCE + 100), ..Bench::meta(0, 3_000) };
    assert_eq!(bench.put_meta(back, 42), Insert::Restart(42));
}

#[test]
fn gaps_that_come_in_keep_their_reason_and_take_their_time() {
    let mut bench = Bench::fixed();
    bench.put(0, 0);
    let at = Bench::meta(1, 0);
    bench.playout.handle_gap(Stamp::ZERO, at.sequence, at.timestamp, 2 * FRAME, 2, GapReason::Overrun);
    bench.put(3, 60);
    let gap = Out::Gap(1, 2, GapReason::Overrun, 40, Some(3));
    assert_eq!(bench.until(500), [Out::Audio(0, 60), gap, Out::Audio(3, 120)]);
    assert_eq!(bench.playout.stats().packets_lost, 0);
}

#[test]
fn a_stream_that_begins_with_gaps_begins_when_they_come() {
    // A gate before somebody who says nothing for a second, long after the clock began.
    let mut bench = Bench::new(Config::adaptive(Adaptive::default()));
    let began = 1_000_000;
    let mut out = Vec::new();
    for n in 0..100 {
        let (at, meta) = (began + 20 * n as i64, Bench::meta(n, 0));
        if n < 50 {
            let now = Stamp::from_ns(at * MS);
            bench.playout.handle_gap(now, meta.sequence, meta.timestamp, FRAME, 0, GapReason::Silent);
        } else {
            bench.put(n, at);
        }
        out.extend(bench.until(at + 20));
    }
    out.extend(bench.until(began + 4_000));
    let slots: i64 = out.iter().map(|one| if let Out::Gap(.., slot, _) = one { *slot } else { 0 }).sum();
    // What is concealed after the last packet is among them.
    assert!((1_000..1_300).contains(&slots), "{slots} ms of gaps: {out:?}");
    let dues: Vec<_> =
        out.iter().filter_map(|one| if let Out::Audio(n, due) = one { Some((*n, *due)) } else { None }).collect();
    assert_eq!(dues.len(), 50);
    assert!(dues.iter().all(|(n, due)| (0..200).contains(&(due - began - 20 * *n as i64))), "{dues:?}");
}

#[test]
fn gaps_of_a_kept_stream_wait_for_the_packet_that_tells_the_time() {
    let mut bench = Bench::new(Config::adaptive(Adaptive::default()));
    for n in 0..50 {
        let meta = Bench::meta(n, 0);
        bench.playout.handle_gap(Stamp::ZERO, meta.sequence, meta.timestamp, FRAME, 0, GapReason::Silent);
    }
    assert_eq!(bench.playout.next_deadline(), None);
    bench.put(50, 1_000_000);
    let out = bench.until(1_000_500);
    assert!(matches!(out.first(), Some(Out::Gap(0, 1, GapReason::Silent, 20, _))), "{out:?}");
    let heard = |one: &Out| matches!(one, Out::Audio(50, due) if (1_000_000..1_000_200).contains(due));
    assert_eq!(out.iter().position(heard), Some(50), "{out:?}");
}

#[test]
fn what_is_held_is_played_out_before_the_end() {
    let mut bench = Bench::fixed();
    bench.put(0, 0);
    bench.put(1, 20);
    bench.playout.finish(Stamp::from_ns(30 * MS), Some(MediaTime(FIRST_TIMESTAMP + 3 * FRAME)));
    let tail = Out::Gap(2, 1, GapReason::Silent, 20, None);
    assert_eq!(bench.until(500), [Out::Audio(0, 60), Out::Audio(1, 80), tail]);
    assert_eq!(bench.poll(Stamp::from_ns(500 * MS)), Some(Out::Ended));
}

#[test]
fn memory_is_bounded() {
    let config = Config { max_packets: 10, ..Config::fixed(60 * MS) };
    let mut bench = Bench::new(config);
    let overflowed = (0..1_000).filter(|n| bench.put(*n, 0) == Insert::Overflow).count();
    assert_eq!(overflowed, 990);
    assert_eq!(bench.playout.held_packets(), 10);
}

#[test]
fn a_half_full_buffer_starts_at_half_and_then_ticks() {
    let mut bench = Bench::new(Config::half_full(8));
    for n in 0..3 {
        bench.put(n, 20 * n as i64);
        assert_eq!(bench.until(1_000), []);
    }
    bench.put(3, 63);
    let due: Vec<Out> = (0..4).map(|n| Out::Audio(n, 63 + 20 * n as i64)).collect();
    assert_eq!(bench.until(1_000), due);
}

#[test]
fn a_half_full_buffer_that_runs_empty_fills_to_half_again() {
    let mut bench = Bench::new(Config::half_full(4));
    bench.put(0, 0);
    bench.put(1, 20);
    assert_eq!(bench.until(100), [Out::Audio(0, 20), Out::Audio(1, 40)]);
    bench.put(2, 100);
    assert_eq!(bench.until(110), []);
    bench.put(3, 115);
    let inserted = Out::Gap(2, 0, GapReason::Late, 55, None);
    assert_eq!(bench.until(500), [inserted, Out::Audio(2, 115), Out::Audio(3, 135)]);
    assert_eq!(bench.playout.stats().underflows, 1);
}

#[test]
fn a_half_full_buffer_that_overflows_refuses_until_it_is_down_to_half() {
    let mut bench = Bench::new(Config::half_full(4));
    let fates: Vec<bool> = (0..8).map(|n| bench.put(n, 1) == Insert::Overflow).collect();
    // An arrival at more than 4 is dropped: the fifth still enters.
    assert_eq!(fates, [false, false, false, false, false, true, true, true]);
    assert_eq!(bench.until(21).len(), 2);
    assert_eq!(bench.put(8, 22), Insert::Overflow, "three are left, more than half");
    assert_eq!(bench.until(41).len(), 1);
    assert_eq!(bench.put(9, 42), Insert::Accepted);
    let dropped = Out::Gap(5, 4, GapReason::Overrun, 0, None);
    assert_eq!(bench.until(500), [Out::Audio(3, 61), Out::Audio(4, 81), dropped, Out::Audio(9, 101)]);
}

#[test]
fn a_counted_buffer_of_one_passes_packets_as_they_come() {
    let mut bench = Bench::new(Config::half_full(1));
    bench.put(0, 3);
    assert_eq!(bench.until(3), [Out::Audio(0, 3)]);
}
