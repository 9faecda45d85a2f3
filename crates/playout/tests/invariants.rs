//! Whatever arrives, in whatever order: both timelines stay gapless, nothing is played twice, memory is bounded.

use proptest::prelude::*;
use vox_frame::{GapReason, MediaTime, Rate, SequenceNumber, Stamp};
use vox_playout::{Adaptive, Config, Meta, Output, Playout, Rule, Start};

#[derive(Debug, Clone)]
enum Step {
    Packet { sequence: u64, timestamp: u64, duration: u32, delay_us: i64, padding: bool, recovered: bool },
    Gap { sequence: u64, timestamp: u64, duration: u64 },
    Wait { us: i64 },
    Finish { end: u64 },
}

fn packet() -> impl Strategy<Value = Step> {
    // Mostly a stream of 20 ms packets, sometimes anything.
    let sane = (0_u64..300, -2_i64..=2, 0_i64..400_000, any::<[bool; 6]>()).prop_map(|(n, off, delay_us, odd)| {
        let timestamp = (n * 441).saturating_add_signed(if odd.iter().all(|odd| *odd) { off * 100 } else { 0 });
        let padding = odd[..5].iter().all(|odd| *odd);
        Step::Packet { sequence: n, timestamp, duration: 441, delay_us, padding, recovered: odd[0] && odd[5] }
    });
    let wild = (any::<u64>(), any::<u64>(), any::<u32>(), any::<i64>()).prop_map(
        |(sequence, timestamp, duration, delay_us)| Step::Packet {
            sequence,
            timestamp,
            duration,
            delay_us: delay_us % 10_000_000_000,
            padding: false,
            recovered: false,
        },
    );
    prop_oneof![30 => sane, 1 => wild]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => packet(),
        2 => (0_u64..300, 0_u64..5).prop_map(|(n, many)| Step::Gap { sequence: n, timestamp: n * 441, duration: many * 441 }),
        1 => (any::<u64>(), any::<u64>(), any::<u64>())
            .prop_map(|(sequence, timestamp, duration)| Step::Gap { sequence, timestamp, duration }),
        10 => (0_i64..100_000).prop_map(|us| Step::Wait { us }),
        1 => (0_i64..20_000_000).prop_map(|us| Step::Wait { us }),
    ]
}

fn config() -> impl Strategy<Value = Config> {
    let rule = prop_oneof![
        (0_i64..300).prop_map(|ms| Rule::Fixed { delay_ns: ms * 1_000_000 }),
        (0_i64..100, 0_i64..500, 0_i64..50_000, any::<bool>()).prop_map(|(min, max, price, stretch)| {
            Rule::Adaptive(Adaptive {
                min_ns: min * 1_000_000,
                max_ns: max * 1_000_000,
                first_ns: min * 500_000,
                price_ns: price * 1_000_000,
                stretch,
            })
        }),
        (0_usize..20, 0_usize..10).prop_map(|(max, start)| Rule::Count { max, start: Start::Packets(start) }),
        (0_usize..20, 0_i64..200).prop_map(|(max, ms)| Rule::Count { max, start: Start::Span(ms * 1_000_000) }),
    ];
    (rule, prop_oneof![Just(i64::MAX), Just(100_000_000)], 1_usize..100)
        .prop_map(|(rule, max_behind_ns, max_packets)| Config { rule, max_behind_ns, max_packets, max_bytes: 1 << 20 })
}

/// Follows what is released and checks that each record begins where the last one ended, on both timelines.
#[derive(Default)]
struct Follower {
    media: Option<MediaTime>,
    due: Option<Stamp>,
    played: std::collections::BTreeSet<usize>,
    released: usize,
}

impl Follower {
    fn drain(&mut self, playout: &mut Playout<usize>, now: Stamp) {
        loop {
            let deadline = playout.next_deadline();
            let (media, duration, due, slot) = match playout.poll(now) {
                Output::Audio(played) => {
                    assert!(self.played.insert(played.payload), "a packet leaves twice");
                    (played.meta.timestamp, u64::from(played.meta.duration), played.due, played.slot)
                }
                Output::Gap(gap) => {
                    assert!(gap.duration > 0 || gap.slot > 0, "an empty gap");
                    (gap.timestamp, gap.duration, gap.due, gap.slot)
                }
                Output::Wait(until) => {
                    assert!(until > now);
                    return;
                }
                Output::Idle | Output::Ended => return,
            };
            assert!(deadline.is_some_and(|deadline| deadline <= now), "a record leaves at its deadline");
            assert!(due <= now, "a record leaves ahead of its time");
            assert_eq!(media, self.media.unwrap_or(media), "media time is gapless");
            assert_eq!(due, self.due.unwrap_or(due), "playout time is gapless");
            self.media = Some(media.plus(duration));
            self.due = Some(due.plus(i64::try_from(slot).unwrap_or(i64::MAX)));
            self.released += 1;
            assert!(self.released < 1_000_000, "it never ends");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn both_timelines_are_gapless(config in config(), steps in prop::collection::vec(step(), 0..400), end in any::<u64>()) {
        // 22050 Hz: no frame is a whole number of nanoseconds.
        let rate = Rate::new(22_050).expect("not zero");
        let mut playout = Playout::new(config, rate);
        let mut follower = Follower::default();
        let mut now = Stamp::from_ns(1_700_000_000_000_000_000);
        let steps = steps.into_iter().chain([Step::Finish { end }]);
        for (n, step) in steps.enumerate() {
            match step {
                Step::Packet { sequence, timestamp, duration, delay_us, padding, recovered } => {
                    let meta = Meta {
                        sequence: SequenceNumber(sequence),
                        timestamp: MediaTime(timestamp),
                        duration,
                        marker: false,
                        recovered,
                        padding,
                        redundant: n % 3 == 0,
                        reach: [0, 441, 4_410, u32::MAX][n % 4],
                        silent: n % 41 == 0,
                        quiet: n % 2 == 0,
                        arrived: now.plus(-(delay_us % 50_000) * 1_000),
                        bytes: 100,
                    };
                    playout.handle_packet(now, meta, n);
                }
                Step::Gap { sequence, timestamp, duration } => playout.handle_gap(
                    now,
                    SequenceNumber(sequence),
                    MediaTime(timestamp),
                    duration,
                    1,
                    GapReason::Overrun,
                ),
                Step::Wait { us } => now = now.plus(us * 1_000),
                Step::Finish { end } => playout.finish(now, Some(MediaTime(end))),
            }
            prop_assert!(playout.held_packets() <= config.max_packets);
            follower.drain(&mut playout, now);
        }
        // Played to the end, however far that is.
        for _ in 0..100_000 {
            let Some(deadline) = playout.next_deadline() else { break };
            now = now.max(deadline);
            follower.drain(&mut playout, now);
        }
        prop_assert_eq!(playout.poll(now), Output::Ended);
        prop_assert_eq!(playout.held_packets(), 0);
    }

    #[test]
    fn slots_never_drift_from_media_time(frames in 1_u64..2_000, duration in 1_u32..3_000) {
        let rate = Rate::new(44_100).expect("not zero");
        let mut playout = Playout::new(Config::fixed(0), rate);
        let mut slots = 0;
        for n in 0..frames {
            let timestamp = MediaTime(n * u64::from(duration));
            let arrived = Stamp::from_ns(rate.ns(timestamp.0));
            let meta = Meta {
                sequence: SequenceNumber(n), timestamp, duration, marker: false, recovered: false, padding: false,
                redundant: false, silent: false, quiet: false, arrived, bytes: 1,
                reach: 0,
            };
            playout.handle_packet(arrived, meta, ());
            if let Output::Audio(played) = playout.poll(arrived) {
                slots += played.slot;
            }
        }
        prop_assert_eq!(slots, rate.ns(frames * u64::from(duration)) as u64);
    }
}
