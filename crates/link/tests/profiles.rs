//! The statistics of each profile are those of its parameters.

use vox_frame::Stamp;
use vox_link::{Fate, Link, profile};

const FRAME_NS: i64 = 20_000_000;
const SEEDS: u64 = 8;
const PACKETS: i64 = 15_000;

/// What a network did to five minutes of packets every 20 ms, over several seeds.
struct Seen {
    /// Arrival minus sending of those that arrived, in ms, sorted.
    delays: Vec<f64>,
    /// Share of packets lost, in per cent.
    lost: f64,
    /// Mean length of a run of lost packets.
    run: f64,
    /// Share of packets that arrived before one sent earlier, in per cent.
    overtaking: f64,
}

impl Seen {
    fn of(name: &str) -> Self {
        let (mut delays, mut lost, mut runs, mut overtaking) = (Vec::new(), 0, 0, 0);
        for seed in 0..SEEDS {
            let mut link = Link::new(profile::named(name).expect("a known name"), seed);
            let (mut latest, mut was_lost) = (Stamp::from_ns(i64::MIN), false);
            for n in 0..PACKETS {
                let sent = Stamp::ZERO.plus(n * FRAME_NS);
                match link.handle_packet(sent, 120).fate {
                    Fate::Arrives(at) => {
                        delays.push(at.since(sent) as f64 / 1e6);
                        overtaking += u64::from(at < latest);
                        latest = latest.max(at);
                        was_lost = false;
                    }
                    Fate::Lost(_) => {
                        lost += 1;
                        runs += u64::from(!was_lost);
                        was_lost = true;
                    }
                }
            }
        }
        delays.sort_by(f64::total_cmp);
        let all = (SEEDS as i64 * PACKETS) as f64;
        let arrived = delays.len() as f64;
        Self {
            delays,
            lost: 100.0 * lost as f64 / all,
            run: lost as f64 / (runs as f64).max(1.0),
            overtaking: 100.0 * overtaking as f64 / arrived,
        }
    }

    fn mean(&self) -> f64 {
        self.delays.iter().sum::<f64>() / self.delays.len() as f64
    }

    fn quantile(&self, share: f64) -> f64 {
        self.delays[((self.delays.len() - 1) as f64 * share) as usize]
    }
}

#[track_caller]
fn within(name: &str, got: f64, expected: f64, tolerance: f64) {
    assert!((got - expected).abs() <= tolerance, "{name}: {got}, expected {expected} ± {tolerance}");
}

#[test]
fn a_perfect_network_does_nothing() {
    let seen = Seen::of("perfect");
    assert_eq!((seen.lost, seen.quantile(0.0), seen.mean()), (0.0, 0.0, 0.0));
}

#[test]
fn lan_is_half_a_millisecond_and_an_exponential_tail() {
    let seen = Seen::of("lan");
    within("least", seen.quantile(0.0), 0.5, 0.001);
    within("mean", seen.mean(), 0.7, 0.01);
    // The quantiles of an exponential distribution of 0.2 ms.
    within("p50", seen.quantile(0.5), 0.5 + 0.2 * std::f64::consts::LN_2, 0.01);
    within("p99", seen.quantile(0.99), 0.5 + 0.2 * 100f64.ln(), 0.03);
    assert_eq!(seen.lost, 0.0);
}

#[test]
fn loss_by_chance_is_what_the_name_says() {
    for (name, lost) in [("loss10", 10.0), ("loss20", 20.0), ("loss30", 30.0)] {
        let seen = Seen::of(name);
        within(name, seen.lost, lost, 0.5);
        // Runs of independent losses have a geometric length.
        within("run", seen.run, 1.0 / (1.0 - lost / 100.0), 0.03);
        within("mean", seen.mean(), 21.0, 0.05);
    }
}

#[test]
fn good_wifi_is_quick_but_for_short_stalls() {
    let seen = Seen::of("wifi-good");
    within("lost", seen.lost, 0.2, 0.06);
    within("least", seen.quantile(0.0), 5.0, 0.1);
    // A gamma distribution of shape 1.5 and mean 2 ms has its median at 1.578 ms.
    within("p50", seen.quantile(0.5), 5.0 + 1.578, 0.1);
    // A stall of 19 ms in the mean every 3.02 s holds one packet in a hundred and sixty, for up to 30 ms.
    let held = seen.delays.iter().filter(|delay| **delay > 20.0).count() as f64 / seen.delays.len() as f64;
    within("held", held, 0.0018, 0.001);
    assert!(seen.quantile(1.0) < 5.0 + 30.0 + 35.0, "{}", seen.quantile(1.0));
}

#[test]
fn bad_wifi_loses_in_bursts_and_stalls() {
    let seen = Seen::of("wifi-bad");
    // Bad 0.01 / 0.26 of the time; there half is lost, elsewhere 0.3 %.
    within("lost", seen.lost, 100.0 * (0.01 / 0.26 * 0.5 + 0.25 / 0.26 * 0.003), 0.25);
    assert!(seen.run > 1.3, "bursts: {}", seen.run);
    within("p50", seen.quantile(0.5), 8.0 + 6.0 * std::f64::consts::LN_2, 1.0);
    assert!(seen.quantile(0.995) > 120.0 && seen.quantile(1.0) < 320.0, "{}", seen.quantile(0.995));
    assert_eq!(seen.overtaking, 0.0);
}

#[test]
fn lte_sends_on_a_grid_again_and_hands_over() {
    let seen = Seen::of("lte");
    within("least", seen.quantile(0.0), 30.0, 0.05);
    // Half a grid of 8 ms; 8 ms again for one of ten.
    within("p50", seen.quantile(0.5), 34.5, 0.6);
    let longest = seen.quantile(1.0);
    assert!((350.0..460.0).contains(&longest), "a handover holds up to 400 ms: {longest}");
    // 0.3 % by chance, and 0.3 of the 300 ms of a handover every 20.3 s.
    within("lost", seen.lost, 0.3 + 100.0 * 0.3 * 0.3 / 20.3, 0.15);
}

#[test]
fn a_congested_uplink_swings_to_its_peak_and_drops_there() {
    let seen = Seen::of("dsl-congested");
    within("least", seen.quantile(0.0), 21.5, 1.5);
    let longest = seen.quantile(1.0);
    assert!((168.0..185.0).contains(&longest), "{longest}");
    // Rises of 4.5 s spend less than 7 % of their time in the top 7 %, where one in twenty is dropped.
    assert!((0.2..0.7).contains(&seen.lost), "{}", seen.lost);
    // Between a quarter of the peak and the peak, most of the time.
    within("p50", seen.quantile(0.5), 20.0 + 95.0, 20.0);
}

#[test]
fn a_satellite_link_reorders() {
    let seen = Seen::of("satellite");
    within("mean", seen.mean(), 250.0, 0.3);
    within("lost", seen.lost, 0.5, 0.1);
    // Of two neighbours 20 ms apart with delays even over 40 ms, one in eight changes places; three apart, none.
    assert!((10.0..25.0).contains(&seen.overtaking), "{}", seen.overtaking);
}

#[test]
fn a_drifting_sender_comes_ever_earlier_or_later() {
    for (name, ppm) in [("drift+200ppm", 200.0), ("drift-200ppm", -200.0)] {
        let mut link = Link::new(profile::named(name).unwrap(), 1);
        let mut delay = |from: i64| {
            let delays = (from..from + 1_000).filter_map(|n| {
                let sent = Stamp::ZERO.plus(n * FRAME_NS);
                let Fate::Arrives(at) = link.handle_packet(sent, 120).fate else { return None };
                Some(at.since(sent) as f64 / 1e6)
            });
            delays.fold(f64::MAX, f64::min)
        };
        let moved = delay(0) - delay(180_000);
        within(name, moved, 180_000.0 * 20.0 * ppm * 1e-6, 5.0);
    }
}
