//! What each part of a link does to packets.

use vox_frame::Stamp;
use vox_link::{Burst, Config, Fate, Jitter, Link, Loss, Outage, Passage, RateLimit, Reorder, Spikes, Stalls, Trace};

const MS: i64 = 1_000_000;

fn at(ms: i64) -> Stamp {
    Stamp::ZERO.plus(ms * MS)
}

/// The fates of packets of 100 bytes sent every 20 ms.
fn passages(config: &Config, seed: u64, packets: i64) -> Vec<Passage> {
    let mut link = Link::new(config.clone(), seed);
    (0..packets).map(|n| link.handle_packet(at(n * 20), 100)).collect()
}

/// Delay of each packet in ms, none where it is lost.
fn delays(config: &Config, seed: u64, packets: i64) -> Vec<Option<f64>> {
    let delay = |(n, passage): (usize, Passage)| match passage.fate {
        Fate::Arrives(arrived) => Some(arrived.since(at(n as i64 * 20)) as f64 / 1e6),
        Fate::Lost(_) => None,
    };
    passages(config, seed, packets).into_iter().enumerate().map(delay).collect()
}

#[test]
fn the_same_seed_gives_the_same_fates_and_another_one_others() {
    let config = vox_link::profile::named("wifi-bad").unwrap();
    assert_eq!(passages(&config, 7, 5_000), passages(&config, 7, 5_000));
    assert_ne!(passages(&config, 7, 5_000), passages(&config, 8, 5_000));
}

#[test]
fn fates_are_those_of_every_machine() {
    // A change here changes every recorded result: say so in the change log.
    let config = vox_link::profile::named("wifi-bad").unwrap();
    let sum = passages(&config, 7, 1_000).into_iter().fold(0u64, |sum, passage| {
        let ns = match passage.fate {
            Fate::Arrives(arrived) => arrived.ns() as u64,
            Fate::Lost(_) => 1,
        };
        sum.wrapping_mul(0x100_0000_01b3).wrapping_add(ns)
    });
    assert_eq!(sum, 7_710_706_795_486_162_504);
}

#[test]
fn a_change_of_loss_leaves_the_delays_as_they_were() {
    let jitter = Jitter::Gamma { shape: 1.0, mean_ns: 5 * MS };
    let clean = delays(&Config { jitter, ..Config::PERFECT }, 3, 500);
    let lossy = delays(&Config { jitter, loss: 0.5, ..Config::PERFECT }, 3, 500);
    let differ = clean.iter().zip(&lossy).any(|(clean, lossy)| lossy.is_some() && clean != lossy);
    assert!(!differ);
    assert!(lossy.iter().filter(|delay| delay.is_none()).count() > 200);
}

#[test]
fn one_queue_never_reorders() {
    let config = Config { jitter: Jitter::Uniform { width_ns: 200 * MS }, spacing_ns: MS, ..Config::PERFECT };
    let arrivals: Vec<_> = delays(&config, 1, 1_000)
        .into_iter()
        .enumerate()
        .filter_map(|(n, delay)| delay.map(|delay| n as f64 * 20.0 + delay))
        .collect();
    assert!(arrivals.windows(2).all(|pair| pair[1] >= pair[0] + 0.999));
}

#[test]
fn a_packet_held_back_is_overtaken_and_nobody_else() {
    let config = Config { base_ns: 10 * MS, reorder: Some(Reorder { share: 0.1, by_ns: 50 * MS }), ..Config::PERFECT };
    let delays = delays(&config, 1, 1_000);
    let held = delays.iter().filter(|delay| **delay == Some(60.0)).count();
    assert!((70..130).contains(&held), "{held}");
    assert_eq!(delays.iter().filter(|delay| **delay == Some(10.0)).count() + held, 1_000);
}

#[test]
fn a_copy_comes_right_behind() {
    let config = Config { duplicate: 0.3, base_ns: 10 * MS, ..Config::PERFECT };
    let passages = passages(&config, 1, 1_000);
    let copies: Vec<_> = passages.iter().filter_map(|passage| Some((passage.fate, passage.copy?))).collect();
    assert!((250..350).contains(&copies.len()), "{}", copies.len());
    assert!(copies.iter().all(|(fate, copy)| *fate == Fate::Arrives(copy.plus(-1))));
}

#[test]
fn bursts_have_the_length_and_share_of_their_parameters() {
    let burst = Burst { enter: 0.02, leave: 0.2, loss_good: 0.0, loss_bad: 1.0 };
    let config = Config { burst: Some(burst), ..Config::PERFECT };
    let delays = delays(&config, 5, 200_000);
    let lost = delays.iter().filter(|delay| delay.is_none()).count() as f64;
    let runs = delays.windows(2).filter(|pair| pair[0].is_some() && pair[1].is_none()).count() as f64;
    assert!((lost / 200_000.0 / burst.mean_loss() - 1.0).abs() < 0.05, "{lost}");
    assert!((lost / runs / 5.0 - 1.0).abs() < 0.05, "mean run {}", lost / runs);
}

#[test]
fn in_an_outage_everything_is_lost() {
    let outages = vec![Outage { from_ns: 100 * MS, length_ns: 60 * MS }];
    let delays = delays(&Config { outages, ..Config::PERFECT }, 1, 12);
    let lost: Vec<_> = (0..12).filter(|n| delays[*n].is_none()).collect();
    assert_eq!(lost, [5, 6, 7]);
}

#[test]
fn a_bottleneck_delays_and_drops_the_tail() {
    // 100 bytes every 20 ms are 40 kbit/s: half of them fit.
    let rate = Some(RateLimit { bits_per_second: 20_000, queue_ns: 200 * MS });
    let mut link = Link::new(Config { rate, ..Config::PERFECT }, 1);
    let fates: Vec<_> = (0..500).map(|n| link.handle_packet(at(n * 20), 100).fate).collect();
    assert_eq!(fates[0], Fate::Arrives(at(40)), "it takes 40 ms to send one");
    assert_eq!(fates[1], Fate::Arrives(at(80)));
    assert_eq!(link.tally().lost, link.tally().dropped);
    let through = 500 - link.tally().lost;
    assert!((250..=256).contains(&through), "{through}");
    assert!(link.tally().longest_ns <= 240 * MS, "{}", link.tally().longest_ns);
    assert!(fates.contains(&Fate::Lost(Loss::Queue)));
}

#[test]
fn a_spike_comes_at_once_and_fades() {
    let spikes = Some(Spikes { every_ns: 5_000 * MS, height_ns: 300 * MS, fade_ns: 1_000 * MS });
    let config = Config { spikes, in_order: false, ..Config::PERFECT };
    let delays: Vec<f64> = delays(&config, 2, 3_000).into_iter().flatten().collect();
    let rises: Vec<_> = delays.windows(2).filter(|pair| pair[1] > pair[0]).collect();
    assert!((6..=20).contains(&rises.len()), "{}", rises.len());
    assert!(rises.iter().all(|pair| pair[1] > 290.0));
    let falls = delays.windows(2).filter(|pair| pair[1] < pair[0] && pair[1] > 0.0);
    assert!(falls.map(|pair| pair[0] - pair[1]).all(|step| (step - 6.0).abs() < 0.01), "300 ms in 1 s");
}

#[test]
fn a_trace_says_it_all() {
    let trace = Some(Trace::parse("20\nlost\n35\n").unwrap());
    let config = Config { trace, base_ns: 99 * MS, in_order: false, ..Config::PERFECT };
    assert_eq!(delays(&config, 1, 4), [Some(20.0), None, Some(35.0), Some(20.0)]);
}

#[test]
fn absurd_times_and_parameters_neither_panic_nor_hang() {
    let extremes = [i64::MIN, -1, 0, 1, 20 * MS, 3_600_000 * MS, i64::MAX / 2, i64::MAX];
    let stalls = |every_ns, longest_ns| Stalls { every_ns, least_ns: 0, shortest_ns: 0, longest_ns, drop: 0.5 };
    for &value in extremes.iter().filter(|value| **value >= 0) {
        let config = Config {
            base_ns: value,
            jitter: Jitter::Normal { mean_ns: value, deviation_ns: value },
            stalls: vec![stalls(value, value)],
            outages: vec![Outage { from_ns: value, length_ns: value }],
            spikes: Some(Spikes { every_ns: value, height_ns: value, fade_ns: value }),
            rate: Some(RateLimit { bits_per_second: 1, queue_ns: value }),
            spacing_ns: value,
            reorder: Some(Reorder { share: 0.5, by_ns: value }),
            duplicate: 0.5,
            ppm: 10_000.0,
            trace: Some(Trace::parse("at_ms,delay_ms\n0,1\n1000000000,3600000\n").unwrap()),
            ..Config::PERFECT
        };
        for &first in &extremes {
            let mut link = Link::new(config.clone(), 1);
            for &sent in [first].iter().chain(&extremes).chain(extremes.iter().rev()) {
                link.handle_packet(Stamp::from_ns(sent), usize::MAX);
                link.earliest(Stamp::from_ns(sent));
            }
        }
    }
}
