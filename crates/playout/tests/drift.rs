//! Clocks that are not the same: the delay holds for a day, and the estimate finds the difference.

#[expect(dead_code, reason = "another test uses the rest")]
mod sim;

use sim::{Call, Heard, MS, S};
use vox_link::{Config as Link, profile};
use vox_playout::{Adaptive, Config};

fn hear(call: &Call) -> Heard {
    call.hear(Config::adaptive(Adaptive::default()))
}

fn drifting(name: &str, ppm: f64) -> Link {
    Link { ppm, ..profile::named(name).expect("a known network") }
}

#[test]
fn the_delay_holds_to_2_ms_whatever_the_clocks_do() {
    // A day of each.
    for ppm in [-300.0, -200.0, -50.0, 50.0, 200.0, 300.0] {
        let call = Call { frame_ms: 120, ..Call::over(drifting("lan", ppm), 1) }.lasting(86_400);
        let heard = hear(&call);
        let settled = heard.excess().filter(|(at, _)| at.ns() > 60 * S).map(|(_, excess)| excess);
        let (least, most) = settled.fold((i64::MAX, i64::MIN), |(least, most), one| (least.min(one), most.max(one)));
        assert!(most - least < 2 * MS, "{} ppm: from {least} to {most} ns", call.link.ppm);
        assert_eq!(heard.stats.resyncs, 0);
        let settled = || heard.played.iter().filter(|played| played.due.ns() > 60 * S);
        assert!(settled().all(|played| played.audio), "{} ppm: something is concealed", call.link.ppm);
        // No pattern of corrections: what differs by more than 0.1 % is an exception.
        let corrected = |played: &&sim::Played| (played.slot_ns - played.nominal_ns).abs() > played.nominal_ns / 1_000;
        let corrections = settled().filter(corrected).count();
        assert!(corrections <= 5, "{} ppm: {corrections} corrections", call.link.ppm);
    }
}

#[test]
fn the_difference_is_known_within_5_ppm_after_a_minute_and_within_30_on_a_filled_queue_after_ten() {
    for (name, seconds, within) in [("wifi-good", 60, 5_000), ("lte", 60, 5_000), ("dsl-congested", 600, 30_000)] {
        for ppm in [-300.0, -50.0, 0.0, 200.0] {
            for seed in 1..=5 {
                let heard = hear(&Call::over(drifting(name, ppm), seed).lasting(seconds + 30));
                // Where media time takes less long here, the sender is the faster one.
                let error = heard.drift_ppb[seconds as usize] + (ppm * 1e3) as i64;
                assert!(error.abs() <= within, "{name}, {ppm} ppm, seed {seed}: off by {error} ppb");
            }
        }
    }
}
