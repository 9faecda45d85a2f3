//! What may happen to a receiver, scenario by scenario, with a delay that follows the network.

use vox_frame::{GapReason, MediaTime, Rate, SequenceNumber, Stamp};
use vox_playout::{Adaptive, Config, Insert, Meta, Output, Playout};

const MS: i64 = 1_000_000;

/// Near both wraps of RTP, so that every scenario crosses 2^16 and 2^32.
const FIRST_SEQUENCE: u64 = (2 << 16) - 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Audio(u64),
    Gap(GapReason),
}

/// Something that left: what, when (ms), how long it takes (ms), where it begins and how long it is (ticks).
#[derive(Debug, Clone, Copy, PartialEq)]
struct Left {
    kind: Kind,
    due: f64,
    slot: f64,
    timestamp: u64,
    ticks: u64,
}

struct Receiver {
    playout: Playout<u64>,
    rate: Rate,
    frame: u64,
    /// The timestamp of packet 0: 20 packets before the wrap.
    first: u64,
    left: Vec<Left>,
}

impl Receiver {
    fn new(rule: Adaptive) -> Self {
        Self::at(Rate::HZ_8000, 160, rule)
    }

    fn at(rate: Rate, frame: u64, rule: Adaptive) -> Self {
        let config = Config { max_behind_ns: i64::MAX, ..Config::adaptive(rule) };
        let first = (2 << 32) - 20 * frame;
        Self { playout: Playout::new(config, rate), rate, frame, first, left: Vec::new() }
    }

    fn meta(&self, n: u64, ms: f64) -> Meta {
        Meta {
            sequence: SequenceNumber(FIRST_SEQUENCE + n),
            timestamp: MediaTime(self.first + n * self.frame),
            duration: self.frame as u32,
            marker: false,
            recovered: false,
            padding: false,
            redundant: false,
            reach: 0,
            silent: false,
            quiet: false,
            arrived: Stamp::from_ns((ms * 1e6) as i64),
            bytes: 100,
        }
    }

    /// Packet `n` arrives.
    fn put(&mut self, n: u64, ms: f64) -> Insert<u64> {
        self.put_meta(self.meta(n, ms), n)
    }

    fn put_meta(&mut self, meta: Meta, n: u64) -> Insert<u64> {
        self.run(Some(meta.arrived));
        self.playout.handle_packet(meta.arrived, meta, n)
    }

    /// Packets arrive as they were sent, `late` ms after that.
    fn stream(&mut self, packets: std::ops::Range<u64>, late: f64) {
        for n in packets {
            self.put(n, self.ms(n * self.frame) + late);
        }
    }

    fn ms(&self, ticks: u64) -> f64 {
        self.rate.ns(ticks) as f64 / 1e6
    }

    fn run(&mut self, before: Option<Stamp>) {
        while let Some(now) = self.playout.next_deadline().filter(|at| before.is_none_or(|before| *at < before)) {
            let (kind, due, slot, timestamp, ticks) = match self.playout.poll(now) {
                Output::Audio(played) => {
                    assert!(played.due >= played.meta.arrived, "a packet is played before it has come");
                    let ticks = u64::from(played.meta.duration);
                    (Kind::Audio(played.payload), played.due, played.slot, played.meta.timestamp, ticks)
                }
                Output::Gap(gap) => (Kind::Gap(gap.reason), gap.due, gap.slot, gap.timestamp, gap.duration),
                Output::Wait(_) | Output::Idle | Output::Ended => break,
            };
            let (due, slot) = (due.ns() as f64 / 1e6, slot as f64 / 1e6);
            if let Some(last) = self.left.last() {
                assert!((last.due + last.slot - due).abs() < 1e-3, "slots are gapless");
                assert_eq!(last.timestamp + last.ticks, timestamp.0, "media time is gapless");
            }
            self.left.push(Left { kind, due, slot, timestamp: timestamp.0, ticks });
        }
    }

    /// Everything that leaves, to the end.
    fn finish(mut self) -> Vec<Left> {
        let end = self.left.last().map_or(0.0, |left| left.due);
        self.playout.finish(Stamp::from_ns((end * 1e6) as i64), None);
        self.run(None);
        self.left
    }
}

fn played(left: &[Left]) -> Vec<u64> {
    left.iter().filter_map(|left| if let Kind::Audio(n) = left.kind { Some(n) } else { None }).collect()
}

fn of(left: &[Left], n: u64) -> Left {
    *left.iter().find(|left| left.kind == Kind::Audio(n)).expect("it is played")
}

/// Playout time that nothing was there for, in ms.
fn concealed(left: &[Left]) -> f64 {
    let is_gap = |left: &&Left| matches!(left.kind, Kind::Gap(reason) if reason != GapReason::Silent);
    left.iter().filter(is_gap).map(|left| left.slot).sum()
}

#[test]
fn a_gap_that_is_known_takes_no_longer_than_what_it_stands_for() {
    let mut receiver = Receiver::new(Adaptive::default());
    receiver.stream(0..100, 7.0);
    // Nothing comes for 3 s; then somebody upstream says what was dropped, and the stream goes on as before.
    let back = Stamp::from_ns(5_007 * MS);
    receiver.run(Some(back));
    let (sequence, timestamp) = (SequenceNumber(FIRST_SEQUENCE + 100), MediaTime(receiver.first + 100 * 160));
    receiver.playout.handle_gap(back, sequence, timestamp, 150 * 160, 150, GapReason::Overrun);
    receiver.stream(250..400, 7.0);
    let left = receiver.finish();
    assert_eq!(played(&left), (0..100).chain(250..400).collect::<Vec<_>>());
    let delay = |n: u64| of(&left, n).due - n as f64 * 20.0;
    assert!(delay(300) < delay(99) + 1.0, "{} ms became {} ms", delay(99), delay(300));
}

#[test]
fn initial_latency() {
    let mut receiver = Receiver::new(Adaptive::default());
    receiver.stream(0..10, 7.0);
    assert_eq!(receiver.finish()[0].due, 7.0 + 20.0);
}

#[test]
fn initial_latency_of_a_stream_that_is_one_packet() {
    let mut receiver = Receiver::new(Adaptive::default());
    receiver.put(0, 0.0);
    assert_eq!(played(&receiver.finish()), [0]);
}

#[test]
fn timeout() {
    let mut receiver = Receiver::new(Adaptive::default());
    receiver.stream(0..100, 7.0);
    // Nothing comes any more, and nobody says so: what is concealed has an end, and then nothing is waited for.
    receiver.run(Some(Stamp::from_ns(60_000 * MS)));
    assert_eq!(receiver.playout.next_deadline(), None);
    let end = of(&receiver.left, 99).due + 20.0;
    let last = receiver.left.last().expect("something left");
    assert!((last.due + last.slot - end - 200.0).abs() < 20.0, "concealed up to {} ms", last.due + last.slot - end);
    assert_eq!(receiver.playout.held_packets(), 0);
}

#[test]
fn initial_trim() {
    let mut receiver = Receiver::new(Adaptive::default());
    // A second of backlog, then as it comes.
    for n in 0..50 {
        receiver.put(n, 1_000.0);
    }
    receiver.stream(50..100, 20.0);
    let left = receiver.finish();
    let delay = of(&left, 60).due - 60.0 * 20.0;
    assert!((20.0..100.0).contains(&delay), "{delay}");
    assert!(played(&left).len() > 50);
}

#[test]
fn min_latency_and_max_latency() {
    let mut receiver = Receiver::new(Adaptive { min_ns: 80 * MS, ..Adaptive::default() });
    receiver.stream(0..500, 5.0);
    let delay = of(&receiver.finish(), 499).due - 499.0 * 20.0;
    assert!((84.0..90.0).contains(&delay), "{delay}");

    let mut receiver = Receiver::new(Adaptive { max_ns: 30 * MS, ..Adaptive::default() });
    for n in 0..1_000 {
        receiver.put(n, n as f64 * 20.0 + if n % 10 == 9 { 75.0 } else { 5.0 });
    }
    let left = receiver.finish();
    let delay = of(&left, 998).due - 998.0 * 20.0;
    assert!(delay <= 75.0 + 35.0, "{delay}");
}

#[test]
fn a_change_of_configuration_acts_at_once() {
    let mut receiver = Receiver::new(Adaptive::default());
    receiver.stream(0..200, 5.0);
    let rule = Adaptive { min_ns: 100 * MS, ..Adaptive::default() };
    receiver.playout.reconfigure(Config { max_behind_ns: i64::MAX, ..Config::adaptive(rule) });
    receiver.stream(200..240, 5.0);
    let left = receiver.finish();
    assert_eq!(of(&left, 205).slot, 25.0, "the delay grows with the next packets");
    let delay = of(&left, 239).due - 239.0 * 20.0;
    assert!((103.0..112.0).contains(&delay), "{delay}");
}

#[test]
fn sequence_overflow_and_timestamp_overflow() {
    let mut receiver = Receiver::new(Adaptive::default());
    receiver.stream(0..100, 0.0);
    let left = receiver.finish();
    assert_eq!(played(&left), (0..100).collect::<Vec<_>>());
    assert_eq!(concealed(&left), 0.0);
}

#[test]
fn sequence_small_jump_and_large_jump() {
    for jump in [5, 40_000] {
        let mut receiver = Receiver::new(Adaptive::default());
        receiver.stream(0..50, 0.0);
        for n in 50..100 {
            let meta = receiver.meta(n, n as f64 * 20.0);
            receiver.put_meta(Meta { sequence: meta.sequence.plus(jump), ..meta }, n);
        }
        let left = receiver.finish();
        assert_eq!(played(&left).len(), 100, "media time has no hole: nothing is missing");
        assert_eq!(concealed(&left), 0.0);
    }
}

#[test]
fn sequence_reorder() {
    let mut receiver = Receiver::new(Adaptive::default());
    receiver.stream(0..500, 0.0);
    // From now on every second packet is overtaken by the next one.
    for n in (500..1_500).step_by(2) {
        receiver.put(n + 1, (n + 1) as f64 * 20.0);
        receiver.put(n, (n + 1) as f64 * 20.0 + 5.0);
    }
    let left = receiver.finish();
    let order = played(&left);
    assert!(order.is_sorted(), "in order");
    let late: Vec<&Left> = left.iter().filter(|left| left.due > 16_000.0 && left.kind != Kind::Audio(0)).collect();
    let gaps = late.iter().filter(|left| matches!(left.kind, Kind::Gap(_))).count();
    assert_eq!(gaps, 0, "it waits for them once it knows");
}

#[test]
fn sequence_late() {
    let mut receiver = Receiver::new(Adaptive::default());
    receiver.stream(0..100, 0.0);
    receiver.stream(101..110, 0.0);
    assert_eq!(receiver.put(100, 2_300.0), Insert::Late);
    let stats = *receiver.playout.stats();
    assert_eq!((stats.packets_late, stats.packets_discarded), (1, 1));
    assert!(!played(&receiver.finish()).contains(&100));
}

#[test]
fn timestamp_small_jump_is_silence() {
    let mut receiver = Receiver::new(Adaptive::default());
    receiver.stream(0..50, 0.0);
    for n in 50..100 {
        let meta = receiver.meta(n + 10, (n + 10) as f64 * 20.0);
        receiver.put_meta(Meta { sequence: SequenceNumber(FIRST_SEQUENCE + n), ..meta }, n);
    }
    let left = receiver.finish();
    assert_eq!(played(&left).len(), 100);
    let silent: u64 = left.iter().filter(|left| left.kind == Kind::Gap(GapReason::Silent)).map(|left| left.ticks).sum();
    assert_eq!(silent, 1_600);
}

#[test]
fn timestamp_large_jump_takes_no_time() {
    let mut receiver = Receiver::new(Adaptive::default());
    receiver.stream(0..50, 0.0);
    let jump = 1_000_000;
    for n in 50..100 {
        let meta = receiver.meta(n + jump, n as f64 * 20.0);
        receiver.put_meta(Meta { sequence: SequenceNumber(FIRST_SEQUENCE + n), ..meta }, n);
    }
    let left = receiver.finish();
    assert_eq!(played(&left).len(), 100);
    let (before, after) = (of(&left, 49), of(&left, 50));
    assert!(after.due - before.due < 60.0, "{before:?} {after:?}");
}

#[test]
fn timestamp_overlap_and_reorder_and_late() {
    let mut receiver = Receiver::new(Adaptive::default());
    receiver.stream(0..50, 0.0);
    // Half of packet 50 lies in packet 49; then one that says that it is older than what was played.
    let overlapping = receiver.meta(50, 1_000.0);
    let timestamp = MediaTime(overlapping.timestamp.0 - 80);
    receiver.put_meta(Meta { timestamp, ..overlapping }, 50);
    receiver.stream(51..60, 0.0);
    let old = Meta { sequence: SequenceNumber(FIRST_SEQUENCE + 60), ..receiver.meta(40, 1_200.0) };
    assert_eq!(receiver.put_meta(old, 60), Insert::Late);
    receiver.stream(61..80, 0.0);
    assert!(played(&receiver.finish()).len() >= 78);
}

#[test]
fn media_time_that_goes_back_far_is_a_sender_that_has_restarted() {
    let mut receiver = Receiver::new(Adaptive::default());
    receiver.stream(0..200, 0.0);
    let anew = Meta { timestamp: MediaTime(77), ..receiver.meta(200, 4_000.0) };
    assert_eq!(receiver.put_meta(anew, 200), Insert::Restart(200));
}

#[test]
fn packet_size_small_large_and_variable() {
    for frame in [20, 2_880] {
        let mut receiver = Receiver::at(Rate::HZ_8000, frame, Adaptive::default());
        receiver.stream(0..300, 3.0);
        assert_eq!(played(&receiver.finish()).len(), 300);
    }
    let mut receiver = Receiver::at(Rate::HZ_48000, 480, Adaptive::default());
    let (mut timestamp, mut ticks) = (receiver.first, 480);
    for n in 0..300 {
        // A packet leaves when it is complete.
        ticks = if n % 7 == 0 { 480 + 480 * (n % 5) } else { ticks };
        let end = timestamp + ticks - receiver.first;
        let meta =
            Meta { timestamp: MediaTime(timestamp), duration: ticks as u32, ..receiver.meta(n, receiver.ms(end)) };
        receiver.put_meta(meta, n);
        timestamp += ticks;
    }
    let left = receiver.finish();
    assert_eq!(played(&left).len(), 300);
    assert!(concealed(&left) < 150.0, "{}", concealed(&left));
}

#[test]
fn sample_rates() {
    for (hz, frame) in [(8_000, 160), (11_025, 221), (16_000, 320), (44_100, 882), (48_000, 960), (90_000, 1_800)] {
        let mut receiver = Receiver::at(Rate::new(hz).expect("a rate"), frame, Adaptive::default());
        receiver.stream(0..200, 3.0);
        let left = receiver.finish();
        assert_eq!((played(&left).len(), concealed(&left)), (200, 0.0), "{hz} Hz");
    }
}

#[test]
fn a_talk_spurt_begins_with_the_delay_that_it_should_have() {
    let mut receiver = Receiver::new(Adaptive::default());
    // A bad network until the pause, a good one behind it.
    for n in 0..400 {
        receiver.put(n, n as f64 * 20.0 + if n % 20 < 3 { 65.0 } else { 5.0 });
    }
    let last = receiver.meta(400, 8_005.0);
    receiver.put_meta(Meta { silent: true, ..last }, 400);
    for n in 401..450 {
        let meta = receiver.meta(n + 100, (n + 100) as f64 * 20.0 + 5.0);
        receiver.put_meta(Meta { sequence: SequenceNumber(FIRST_SEQUENCE + n), marker: n == 401, ..meta }, n);
    }
    let left = receiver.finish();
    let spurt = of(&left, 401);
    let after: Vec<&Left> = left.iter().filter(|left| left.due > spurt.due + 1.0).collect();
    assert!(after.iter().all(|left| (left.slot - 20.0).abs() < 0.1), "nothing is left to stretch");
    let pause = left.iter().find(|left| left.timestamp + left.ticks == spurt.timestamp).expect("a pause");
    assert_eq!(pause.kind, Kind::Gap(GapReason::Silent));
    assert_eq!(concealed(&left[left.len() - 60..]), 0.0, "a pause is not concealed");
}

#[test]
fn a_sender_that_pauses_without_moving_its_timestamps_goes_on_after_inserted_time() {
    let mut receiver = Receiver::new(Adaptive::default());
    receiver.stream(0..100, 5.0);
    for n in 100..200 {
        receiver.put(n, n as f64 * 20.0 + 10_005.0);
    }
    let left = receiver.finish();
    assert_eq!(played(&left).len(), 200, "nothing is thrown away");
    let delay = of(&left, 199).due - 199.0 * 20.0 - 10_005.0;
    assert!((0.0..30.0).contains(&delay), "{delay}");
}

#[test]
fn what_an_outage_held_back_is_left_out_and_the_stream_is_current_at_once() {
    let mut receiver = Receiver::new(Adaptive::default());
    receiver.stream(0..200, 5.0);
    // Four seconds are held back, then everything comes at once.
    for n in 200..400 {
        receiver.put(n, 8_005.0 + (n - 200) as f64 * 0.1);
    }
    receiver.stream(401..500, 5.0);
    let left = receiver.finish();
    let delay = of(&left, 430).due - 430.0 * 20.0;
    assert!((5.0..150.0).contains(&delay), "{delay}");
}

#[test]
fn recovered_packets_say_nothing_about_the_network() {
    let mut receiver = Receiver::new(Adaptive::default());
    for n in 0..1_000 {
        let meta = receiver.meta(n, n as f64 * 20.0 + if n % 10 == 9 { 150.0 } else { 5.0 });
        receiver.put_meta(Meta { recovered: n % 10 == 9, ..meta }, n);
    }
    assert!(receiver.playout.target_ns().expect("adaptive") < 20 * MS);
}

#[test]
fn without_stretching_every_packet_keeps_its_length() {
    let mut receiver = Receiver::new(Adaptive { stretch: false, ..Adaptive::default() });
    for n in 0..2_000 {
        receiver.put(n, n as f64 * 20.0 + if n % 50 < 3 { 60.0 } else { (n % 4) as f64 });
    }
    let left = receiver.finish();
    let is_audio = |left: &&Left| matches!(left.kind, Kind::Audio(_));
    assert!(left.iter().filter(is_audio).all(|left| (left.slot - 20.0).abs() < 0.05));
}

#[test]
fn a_stage_that_stood_still_plays_what_is_current() {
    let rule = Adaptive::default();
    let mut playout = Playout::new(Config::adaptive(rule), Rate::HZ_8000);
    let receiver = Receiver::new(rule);
    for n in 0..200 {
        let meta = receiver.meta(n, n as f64 * 20.0);
        playout.handle_packet(meta.arrived, meta, n);
        if n < 50 {
            while matches!(playout.poll(meta.arrived), Output::Audio(_) | Output::Gap(_)) {}
        }
    }
    let now = Stamp::from_ns(4_000 * MS);
    let mut audio = Vec::new();
    while playout.next_deadline().is_some_and(|deadline| deadline <= now) {
        match playout.poll(now) {
            Output::Audio(played) => audio.push(played.payload),
            Output::Gap(_) => {}
            Output::Wait(_) | Output::Idle | Output::Ended => break,
        }
    }
    assert!(audio.first().is_some_and(|first| *first > 190), "{audio:?}");
}

#[test]
fn metrics_add_up() {
    let mut receiver = Receiver::new(Adaptive::default());
    for n in (0..1_000).filter(|n| n % 25 != 7) {
        let meta = receiver.meta(n, n as f64 * 20.0 + if n % 100 < 4 { 50.0 } else { 1.0 });
        receiver.put_meta(Meta { redundant: true, ..meta }, n);
    }
    receiver.run(None);
    let stats = *receiver.playout.stats();
    let sum = |audio: bool, of: fn(&Left) -> f64| -> f64 {
        receiver.left.iter().filter(|left| matches!(left.kind, Kind::Audio(_)) == audio).map(of).sum()
    };
    let ms = |ticks: u64| ticks as f64 / 8.0;
    assert_eq!(ms(stats.jitter_buffer_emitted_count), sum(true, |left| left.ticks as f64 / 8.0));
    let stretched = ms(stats.inserted_ticks) - ms(stats.removed_ticks);
    let change = sum(true, |left| left.slot - left.ticks as f64 / 8.0);
    assert!((stretched - change).abs() < 5.0, "{stretched} {change}");
    let gaps = sum(false, |left| left.slot);
    assert!((ms(stats.concealed_ticks) + ms(stats.repaired_ticks) - gaps).abs() < 2.0, "{stats:?} {gaps}");
    assert!(stats.fec_packets > 30 && stats.packets_lost == 40, "{stats:?}");
    assert!(stats.concealment_events > 0 && stats.jitter_buffer_target_delay_ns > 0);
}
