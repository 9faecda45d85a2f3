//! What later packets tell of lost ones is waited for, and pauses are no losses.

use vox_frame::{GapReason, MediaTime, Rate, SequenceNumber, Stamp};
use vox_playout::{Adaptive, Config, Meta, Output, Playout, Stats};

const MS: i64 = 1_000_000;
const FRAME: u64 = 960;

/// What left: a packet, a gap with what is ahead (ticks) and how long it is (ms), a pause of so many ms.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Left {
    Audio { n: u64, due: Stamp },
    Lost { n: u64, ahead: Option<u64> },
    Silent { due: Stamp, ms: f64 },
}

fn meta(n: u64, at: i64, reach: u32) -> Meta {
    Meta {
        sequence: SequenceNumber(n),
        timestamp: MediaTime(n * FRAME),
        duration: FRAME as u32,
        marker: false,
        recovered: false,
        padding: false,
        redundant: false,
        reach,
        silent: false,
        quiet: false,
        arrived: Stamp::from_ns(at),
        bytes: 80,
    }
}

struct Listener {
    playout: Playout<u64>,
    left: Vec<Left>,
}

impl Listener {
    fn new(rule: Adaptive) -> Self {
        let config = Config { max_behind_ns: i64::MAX, ..Config::adaptive(rule) };
        Self { playout: Playout::new(config, Rate::HZ_48000), left: Vec::new() }
    }

    fn put(&mut self, meta: Meta) {
        self.run(Some(meta.arrived));
        self.playout.handle_packet(meta.arrived, meta, meta.sequence.0);
    }

    fn run(&mut self, before: Option<Stamp>) {
        while let Some(now) = self.playout.next_deadline().filter(|at| before.is_none_or(|before| *at < before)) {
            let left = match self.playout.poll(now) {
                Output::Audio(played) => Left::Audio { n: played.payload, due: played.due },
                Output::Gap(gap) if gap.reason == GapReason::Silent => {
                    Left::Silent { due: gap.due, ms: gap.slot as f64 / 1e6 }
                }
                Output::Gap(gap) if gap.duration > 0 => {
                    Left::Lost { n: gap.timestamp.0 / FRAME, ahead: gap.later.map(|later| later.ahead) }
                }
                Output::Gap(_) => continue,
                Output::Wait(_) | Output::Idle | Output::Ended => break,
            };
            self.left.push(left);
        }
    }

    fn finish(mut self, at: i64) -> (Vec<Left>, Stats) {
        self.playout.finish(Stamp::from_ns(at), None);
        self.run(None);
        (self.left, *self.playout.stats())
    }
}

/// A minute of packets of which every 25th to 27th is lost; the others describe the past as far as `reach`. Gives what
/// left, and the delay in the end, in ms.
fn bursts(reach: u32, rule: Adaptive) -> (Vec<Left>, Stats, f64) {
    let mut listener = Listener::new(rule);
    for n in (0..3_000).filter(|n| n % 25 < 22) {
        listener.put(meta(n, n as i64 * 20 * MS + n as i64 % 3 * MS, reach));
    }
    let (left, stats) = listener.finish(60_100 * MS);
    let end = left.iter().rev().find_map(|left| match left {
        Left::Audio { n, due } => Some(due.ns() as f64 / 1e6 - *n as f64 * 20.0),
        _ => None,
    });
    (left, stats, end.expect("audio left"))
}

/// How many of the lost packets, from the 20th second on, came with a packet that describes them.
fn described(left: &[Left], reach: u64) -> (usize, usize) {
    let lost: Vec<_> = left
        .iter()
        .filter_map(|left| if let Left::Lost { n, ahead } = left { Some((*n, *ahead)) } else { None })
        .filter(|(n, _)| *n > 1_000)
        .collect();
    (lost.iter().filter(|(_, ahead)| ahead.is_some_and(|ahead| ahead <= reach)).count(), lost.len())
}

#[test]
fn a_burst_waits_for_the_packet_that_describes_it() {
    let (left, stats, delay) = bursts(4 * FRAME as u32, Adaptive::default());
    let (described, lost) = described(&left, 4 * FRAME);
    assert!(lost > 200 && described * 100 >= lost * 99, "{described} of {lost}");
    assert!((60.0..75.0).contains(&delay), "three packets and what they are late: {delay} ms");
    assert!(stats.fec_packets >= described as u64);
}

#[test]
fn what_is_farther_back_than_a_packet_tells_is_not_waited_for() {
    // Only the last of the three can be described.
    let (left, _, delay) = bursts(FRAME as u32, Adaptive::default());
    let (described, lost) = described(&left, FRAME);
    assert!((described * 3).abs_diff(lost) <= 3, "{described} of {lost}");
    assert!((20.0..35.0).contains(&delay), "{delay} ms");
    // Nobody describes anything.
    let (_, stats, delay) = bursts(0, Adaptive::default());
    assert!(delay < 12.0, "{delay} ms");
    assert_eq!(stats.fec_packets, 0);
}

#[test]
fn what_is_waited_for_stays_within_the_largest_delay() {
    let (_, _, delay) = bursts(48_000, Adaptive { max_ns: 30 * MS, ..Adaptive::default() });
    assert!(delay < 31.0, "{delay} ms");
}

#[test]
fn what_nobody_needs_costs_nothing() {
    let run = |reach: u32| {
        let mut listener = Listener::new(Adaptive::default());
        (0..1_500).for_each(|n| listener.put(meta(n, n as i64 * 20 * MS + n as i64 % 3 * MS, reach)));
        listener.finish(30_100 * MS)
    };
    assert_eq!(run(0), run(48_000));
}

#[test]
fn of_the_packets_behind_a_gap_the_first_that_tells_of_it_goes_with_it() {
    let mut listener = Listener::new(Adaptive { first_ns: 200 * MS, min_ns: 200 * MS, ..Adaptive::default() });
    (0..50).for_each(|n| listener.put(meta(n, n as i64 * 20 * MS, 0)));
    // 50 and 51 are lost; 52 describes nothing, 53 reaches 2 packets back, 54 all.
    for (n, reach) in [(52, 0), (53, 2 * 960), (54, 4 * 960), (55, 0)] {
        listener.put(meta(n, n as i64 * 20 * MS, reach));
    }
    let (left, _) = listener.finish(1_200 * MS);
    let lost: Vec<_> = left.iter().filter(|left| matches!(left, Left::Lost { .. })).copied().collect();
    let expected = [Left::Lost { n: 50, ahead: Some(4 * FRAME) }, Left::Lost { n: 51, ahead: Some(2 * FRAME) }];
    assert_eq!(lost, expected);
}

/// A minute of packets of which every tenth is overtaken by the three behind it; gives the delay in the end, in ms, and of
/// the last hundred packets how many were played and how many came from the packet behind.
fn overtaken(copies: bool) -> (f64, usize, usize) {
    let sent = |n: u64| n as i64 * 20 * MS;
    let arrives = |n: u64| sent(n) + if n % 10 == 5 { 75 * MS } else { 0 };
    let mut packets: Vec<u64> = (0..3_000).collect();
    packets.sort_by_key(|n| arrives(*n));
    let mut listener = Listener::new(Adaptive::default());
    for n in packets {
        listener.put(Meta { redundant: copies, ..meta(n, arrives(n), 0) });
    }
    let (left, _) = listener.finish(sent(3_000));
    let number =
        |left: &&Left| matches!(left, Left::Audio { n, .. } | Left::Lost { n, .. } if *n >= 2_880 && *n < 2_980);
    let last: Vec<&Left> = left.iter().filter(number).collect();
    let delay = last.iter().rev().find_map(|left| match left {
        Left::Audio { n, due } => Some((due.ns() - sent(*n)) as f64 / 1e6),
        _ => None,
    });
    let delay = delay.expect("something is played");
    let copied = last.iter().filter(|left| matches!(left, Left::Lost { ahead: Some(FRAME), .. })).count();
    (delay, last.len() - copied, copied)
}

#[test]
fn what_is_overtaken_is_not_waited_for_where_its_copy_comes_first() {
    let (delay, played, copied) = overtaken(true);
    assert_eq!((played, copied), (90, 10));
    assert!((20.0..30.0).contains(&delay), "{delay} ms");
    let (delay, played, _) = overtaken(false);
    assert_eq!(played, 100);
    assert!((75.0..90.0).contains(&delay), "{delay} ms");
}

#[test]
fn a_pause_is_released_as_it_passes_and_is_no_loss() {
    for empty_packet in [true, false] {
        let mut listener = Listener::new(Adaptive::default());
        (0..200).for_each(|n| listener.put(meta(n, n as i64 * 20 * MS, 0)));
        let last = meta(200, 4_000 * MS, 0);
        // Opus says it with a packet without content, others with one that has no audio.
        listener.put(if empty_packet {
            Meta { silent: true, ..last }
        } else {
            Meta { silent: true, padding: true, duration: 0, ..last }
        });
        listener.run(Some(Stamp::from_ns(6_900 * MS)));
        let said = 4_000.0 + if empty_packet { 20.0 } else { 0.0 };
        let pause: f64 = listener
            .left
            .iter()
            .filter_map(|left| if let Left::Silent { ms, .. } = left { Some(*ms) } else { None })
            .sum();
        assert!(
            (pause - (6_900.0 - said)).abs() < 40.0,
            "{pause} ms of the pause have left before anybody speaks again"
        );
        for n in 201..300 {
            let spoken = meta(n, (n as i64 + 149) * 20 * MS, 0);
            listener.put(Meta { timestamp: MediaTime((n + 149) * FRAME), ..spoken });
        }
        let (left, stats) = listener.finish(9_000 * MS);
        assert_eq!((stats.concealed_ticks, stats.concealment_events), (0, 0), "{left:?}");
        let first = left.iter().find_map(|left| if let Left::Audio { n: 201, due } = left { Some(*due) } else { None });
        let late = first.expect("it is played").since(Stamp::from_ns(7_000 * MS));
        assert!((0..=10 * MS).contains(&late), "the pause holds nothing up: {late} ns");
    }
}

#[test]
fn a_pause_that_nobody_ends_does_not_go_on_for_ever() {
    let mut listener = Listener::new(Adaptive::default());
    (0..200).for_each(|n| listener.put(meta(n, n as i64 * 20 * MS, 0)));
    listener.put(Meta { silent: true, ..meta(200, 4_000 * MS, 0) });
    listener.run(None);
    let last = listener.left.last().copied();
    assert!(matches!(last, Some(Left::Silent { due, .. }) if due < Stamp::from_ns(65_000 * MS)), "{last:?}");
    assert_eq!(listener.playout.next_deadline(), None);
}
