//! The adaptive delay on simulated networks: what a listener gets, as a table that a change of the algorithm changes.

mod sim;

use std::fmt::Write;

use sim::{Call, MS, S};
use vox_link::{Burst, profile};
use vox_playout::{Adaptive, Config};

fn adaptive() -> Config {
    Config::adaptive(Adaptive::default())
}

fn network(name: &str) -> vox_link::Config {
    profile::named(name).expect("a known network")
}

const NETWORKS: [&str; 11] = [
    "lan",
    "wifi-good",
    "wifi-bad",
    "lte",
    "dsl-congested",
    "satellite",
    "loss10",
    "loss20",
    "loss30",
    "drift+200ppm",
    "drift-200ppm",
];

/// Losses in bursts of three packets in the mean, 10, 20 and 30 % of all: the chance that one begins.
const BURSTS: [(&str, f64); 3] = [("bursts10", 0.037), ("bursts20", 0.083), ("bursts30", 0.143)];

/// What `vox-encode --dred 200` describes, in ticks.
const REACH: u32 = 9_600;

fn bursts(enter: f64) -> vox_link::Config {
    let burst = Burst { enter, leave: 1.0 / 3.0, loss_good: 0.0, loss_bad: 1.0 };
    vox_link::Config { base_ns: 20 * MS, burst: Some(burst), ..vox_link::Config::default() }
}

/// To accept a change: `UPDATE=1 cargo test -p vox-playout --test networks`, and look at the difference.
#[test]
fn the_table_of_networks_is_as_committed() {
    let mut table =
        "network        copies  mean ms  p95 ms  concealed %  repaired %  stretched %  late %  gaps\n".to_owned();
    let with_copies = |name| [(name, "yes", network(name)), (name, "no", network(name))];
    let deep = BURSTS.iter().map(|(name, enter)| (*name, "deep", bursts(*enter)));
    for (name, copies, link) in NETWORKS.into_iter().flat_map(with_copies).chain(deep) {
        let heard = [1, 2, 3].map(|seed| {
            let call = Call::over(link.clone(), seed).lasting(120);
            let reach = if copies == "deep" { REACH } else { 0 };
            Call { copies: copies == "yes", reach, ..call }.hear(adaptive())
        });
        let mean = |of: &dyn Fn(&sim::Heard) -> f64| heard.iter().map(of).sum::<f64>() / 3.0;
        writeln!(
            table,
            "{name:14} {copies:6} {:8.1} {:7.1} {:12.3} {:11.3} {:12.2} {:7.3} {:5.0}",
            mean(&|heard| heard.mean_excess_ms(0)),
            mean(&|heard| heard.excess_percentile_ms(95)),
            mean(&|heard| heard.percent(heard.stats.concealed_ticks)),
            mean(&|heard| heard.percent(heard.stats.repaired_ticks)),
            mean(&|heard| heard.percent(heard.stats.inserted_ticks + heard.stats.removed_ticks)),
            mean(&|heard| 100.0 * heard.stats.packets_late as f64 / heard.stats.packets_received as f64),
            mean(&|heard| heard.stats.concealment_events as f64),
        )
        .expect("a string takes it");
    }
    snapshot(&table);
}

#[expect(clippy::disallowed_methods, reason = "a test may read and write its own snapshot")]
fn snapshot(table: &str) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/networks.txt");
    if std::env::var("UPDATE").is_ok() {
        std::fs::write(path, table).expect("the snapshot can be written");
    }
    let committed = std::fs::read_to_string(path).expect("the snapshot is there");
    assert!(table == committed, "the table has changed; see how to accept it above\n{table}");
}

#[test]
fn a_clean_network_settles_below_a_frame_and_20_ms_within_5_s() {
    for name in ["perfect", "lan", "drift+200ppm"] {
        for copies in [true, false] {
            let call = Call { copies, ..Call::over(network(name), 1).lasting(60) };
            let heard = call.hear(adaptive());
            let worst = heard.excess().filter(|(at, _)| at.ns() > 5 * S).map(|(_, excess)| excess).max();
            assert!(worst < Some(40 * MS), "{name}: {worst:?}");
        }
    }
}

#[test]
fn an_even_network_conceals_and_stretches_nothing_once_it_is_known() {
    let heard = Call::over(network("lan"), 1).lasting(300).hear(adaptive());
    assert_eq!(heard.stats.concealed_ticks, 0);
    let changed = |played: &&sim::Played| (played.slot_ns - played.nominal_ns).abs() > played.nominal_ns / 1_000;
    let stretched = heard.played.iter().filter(|played| played.due.ns() > 5 * S).filter(changed).count();
    assert_eq!(stretched, 0);
}

#[test]
fn after_an_outage_the_delay_is_back_within_5_s_and_nothing_jumps() {
    for (name, seed) in [("lan", 1), ("wifi-good", 2), ("lan", 3)] {
        for begins in [8 * S, 30 * S, 90 * S] {
            let outage = Some((begins, begins + 400 * MS));
            let call = Call::over(network(name), seed).lasting(120);
            let calm = mean_excess_ns(&call.hear(adaptive()), begins + 5 * S, begins + 7 * S);
            let heard = Call { outage, ..call }.hear(adaptive());
            let after = mean_excess_ns(&heard, begins + 5 * S, begins + 7 * S);
            assert!(after < calm + 10 * MS, "{name}, outage at {begins}: {after} ns after it, {calm} ns without");
            for played in heard.played.iter().filter(|played| played.audio) {
                let change = (played.slot_ns - played.nominal_ns) * 100 / played.nominal_ns;
                assert!((-40..=100).contains(&change), "a change of {change} %");
            }
        }
    }
}

fn mean_excess_ns(heard: &sim::Heard, from: i64, until: i64) -> i64 {
    let within = |(at, _): &(vox_frame::Stamp, i64)| (from..until).contains(&at.ns());
    let near: Vec<i64> = heard.excess().filter(within).map(|(_, excess)| excess).collect();
    near.iter().sum::<i64>() / near.len().max(1) as i64
}

#[test]
fn copies_repair_single_losses() {
    for (name, share) in [("loss10", 0.85), ("loss20", 0.75)] {
        let call = Call { copies: true, ..Call::over(network(name), 1).lasting(300) };
        let heard = call.hear(adaptive());
        let stats = &heard.stats;
        let repaired = stats.fec_packets as f64 / stats.packets_lost as f64;
        assert!(repaired > share, "{name}: {repaired}");
    }
}

#[test]
fn bursts_that_a_later_packet_describes_are_waited_for_soon_and_without_stretching() {
    for seed in 1..=5 {
        let call = Call { reach: REACH, ..Call::over(bursts(0.037), seed).lasting(60) };
        let heard = call.hear(adaptive());
        let stats = &heard.stats;
        let repaired = stats.fec_packets as f64 / stats.packets_lost as f64;
        assert!(repaired > 0.85, "seed {seed}: {repaired}");
        let soon = mean_excess_ns(&heard, 10 * S, 20 * S);
        assert!(soon > 80 * MS, "seed {seed}: {soon} ns in the second ten seconds");
        let stretched = heard.percent(stats.inserted_ticks + stats.removed_ticks);
        assert!(stretched < 0.4, "seed {seed}: {stretched} % stretched");
    }
}

#[test]
fn two_runs_are_the_same() {
    let call = Call { copies: true, ..Call::over(network("lte"), 5).lasting(60) };
    let (first, second) = (call.hear(adaptive()), call.hear(adaptive()));
    let timeline = |heard: &sim::Heard| heard.played.iter().map(|one| (one.due, one.slot_ns)).collect::<Vec<_>>();
    assert_eq!(timeline(&first), timeline(&second));
    assert_eq!(first.stats, second.stats);
}
