//! Networks that people know, by name. `docs/impair.md` says where the numbers come from.

use crate::config::{Burst, Config, Congestion, Jitter, Stalls};

const MS: i64 = 1_000_000;
const S: i64 = 1_000 * MS;

/// What it takes to send one packet of a burst that leaves a queue: about 80 bytes and headers over 2 Mbit/s.
const SPACING_NS: i64 = MS / 2;

/// The names that [`named`] knows, each with its sentence.
pub const PROFILES: &[(&str, &str)] = &[
    ("perfect", "no delay, no loss"),
    ("lan", "a wired local network: 0.5 ms, 0.2 ms of jitter"),
    ("wifi", "the same as wifi-good"),
    ("wifi-good", "a quiet wireless network: 5 ms, short stalls, 0.2 % loss"),
    ("wifi-bad", "a crowded one: stalls of 60 to 250 ms, loss in bursts, about 2 %"),
    ("lte", "a mobile network: 30 ms, retransmissions of 8 ms, handovers of 200 to 400 ms"),
    ("dsl-congested", "a home uplink that somebody else fills: the queue swings to 150 ms and overflows"),
    ("satellite", "230 to 270 ms, out of order, 0.5 % loss"),
    ("loss10", "20 ms, 10 % loss by chance"),
    ("loss20", "20 ms, 20 % loss by chance"),
    ("loss30", "20 ms, 30 % loss by chance"),
    ("drift+200ppm", "20 ms, and a sender whose clock is 200 ppm fast"),
    ("drift-200ppm", "20 ms, and a sender whose clock is 200 ppm slow"),
];

/// The network of that name.
pub fn named(name: &str) -> Option<Config> {
    Some(match name {
        "perfect" => Config::PERFECT,
        "lan" => queued(MS / 2, gamma(1.0, MS / 5)),
        "wifi" | "wifi-good" => {
            let stalls = vec![stalls(3 * S, 0, 8 * MS, 30 * MS, 0.0)];
            Config { loss: 0.002, stalls, ..queued(5 * MS, gamma(1.5, 2 * MS)) }
        }
        "wifi-bad" => {
            let stalls = vec![stalls(5 * S, 0, 60 * MS, 250 * MS, 0.0)];
            let burst = Some(Burst { enter: 0.01, leave: 0.25, loss_good: 0.003, loss_bad: 0.5 });
            Config { burst, stalls, ..queued(8 * MS, gamma(1.0, 6 * MS)) }
        }
        "lte" => {
            let jitter = Jitter::Retransmit { grid_ns: 8 * MS, fail: 0.1, again_ns: 8 * MS };
            let handovers = stalls(20 * S, 5 * S, 200 * MS, 400 * MS, 0.3);
            let stalls = vec![stalls(4 * S, 0, 20 * MS, 60 * MS, 0.0), handovers];
            Config { loss: 0.003, stalls, ..queued(30 * MS, jitter) }
        }
        "dsl-congested" => {
            let congestion = Some(Congestion {
                peak_ns: 150 * MS,
                rise_ns: (3 * S, 6 * S),
                floor: (0.0, 0.5),
                drain: 0.85,
                drop_above: 0.93,
                drop: 0.05,
            });
            Config { congestion, ..queued(20 * MS, gamma(1.0, MS)) }
        }
        "satellite" => {
            let jitter = Jitter::Uniform { width_ns: 40 * MS };
            Config { loss: 0.005, in_order: false, ..queued(230 * MS, jitter) }
        }
        "loss10" => Config { loss: 0.1, ..queued(20 * MS, gamma(1.0, MS)) },
        "loss20" => Config { loss: 0.2, ..queued(20 * MS, gamma(1.0, MS)) },
        "loss30" => Config { loss: 0.3, ..queued(20 * MS, gamma(1.0, MS)) },
        "drift+200ppm" => Config { loss: 0.001, ppm: 200.0, ..queued(20 * MS, gamma(1.5, 2 * MS)) },
        "drift-200ppm" => Config { loss: 0.001, ppm: -200.0, ..queued(20 * MS, gamma(1.5, 2 * MS)) },
        _ => return None,
    })
}

/// One queue.
const fn queued(base_ns: i64, jitter: Jitter) -> Config {
    let mut config = Config::PERFECT;
    config.base_ns = base_ns;
    config.jitter = jitter;
    config.spacing_ns = SPACING_NS;
    config
}

const fn gamma(shape: f64, mean_ns: i64) -> Jitter {
    Jitter::Gamma { shape, mean_ns }
}

const fn stalls(every_ns: i64, least_ns: i64, shortest_ns: i64, longest_ns: i64, drop: f64) -> Stalls {
    Stalls { every_ns, least_ns, shortest_ns, longest_ns, drop }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_that_is_told_is_known() {
        for (name, _) in PROFILES {
            assert!(named(name).is_some(), "{name}");
        }
        assert_eq!(named("carrier-pigeon"), None);
    }
}
