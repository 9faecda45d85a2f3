//! Where each millisecond went, as far as a record's own stamps tell.

use serde_json::{Map, Value, json};
use vox_frame::{Stamp, Times};

use crate::quantiles::Quantiles;

/// What lies between two stamps of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// A record cannot leave before its last sample was captured.
    Frame,
    /// From its last sample to its arrival: the source, the encoder, the sender and the network.
    Transport,
    /// From its arrival until it is due: the jitter buffer.
    Buffer,
    /// From when it was due, else from its arrival, else from its last sample, to here: stages and pipes.
    Pipe,
    /// All of it, from its first sample to here.
    Total,
}

const STAGES: [(Stage, &str, &str); 5] = [
    (Stage::Frame, "frame", "the frame itself, first to last sample"),
    (Stage::Transport, "transport", "last sample to arrival: source, encoder, network"),
    (Stage::Buffer, "buffer", "arrival to due: jitter buffer"),
    (Stage::Pipe, "pipe", "from there to here: stages and pipes"),
    (Stage::Total, "total", "first sample to here"),
];

/// The latencies of one stream, stage by stage.
#[derive(Debug, Default)]
pub(crate) struct Latency {
    stages: [Quantiles; STAGES.len()],
}

impl Latency {
    /// Counts a record that lasts `span` ns; `now` where it passes in real time.
    pub(crate) fn add(&mut self, times: &Times, span: i64, now: Option<Stamp>) {
        let last = times.captured.map(|captured| captured.plus(span));
        let mut add = |stage: Stage, ns: i64| self.stages[stage as usize].add(ns);
        if times.captured.is_some() {
            add(Stage::Frame, span);
        }
        if let (Some(last), Some(arrived)) = (last, times.arrived) {
            add(Stage::Transport, arrived.since(last));
        }
        if let (Some(from), Some(due)) = (times.arrived.or(last), times.due) {
            add(Stage::Buffer, due.since(from));
        }
        let Some(now) = now else { return };
        if let Some(from) = times.due.or(times.arrived).or(last) {
            add(Stage::Pipe, now.since(from));
        }
        if let Some(captured) = times.captured {
            add(Stage::Total, now.since(captured));
        }
    }

    /// As JSON, a member a stage.
    pub(crate) fn to_json(&self) -> Value {
        let stages = self.stages().map(|(name, _, [p50, p95, p99])| {
            (name.to_owned(), json!({ "p50_ms": p50, "p95_ms": p95, "p99_ms": p99 }))
        });
        Value::Object(stages.collect::<Map<_, _>>())
    }

    /// As a table, a line a stage; empty where no record had stamps.
    pub(crate) fn to_text(&self) -> String {
        let lines = self.stages().map(|(name, what, [p50, p95, p99])| {
            format!("\n    {name:<10} p50 {p50:>8.2} ms   p95 {p95:>8.2} ms   p99 {p99:>8.2} ms   {what}")
        });
        lines.collect()
    }

    fn stages(&self) -> impl Iterator<Item = (&'static str, &'static str, [f64; 3])> {
        STAGES.iter().filter_map(|(stage, name, what)| {
            let quantiles = &self.stages[*stage as usize];
            Some((*name, *what, [quantiles.ms(0.5)?, quantiles.ms(0.95)?, quantiles.ms(0.99)?]))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    fn at(ms: i64) -> Option<Stamp> {
        Some(Stamp::from_ns(ms * MS))
    }

    #[test]
    fn the_stages_add_up_to_the_total() {
        let mut latency = Latency::default();
        let times = Times { captured: at(100), arrived: at(150), due: at(210) };
        latency.add(&times, 20 * MS, at(213));
        let value = latency.to_json();
        let ms = |stage: &str| value[stage]["p50_ms"].as_f64().unwrap();
        for (stage, expected) in
            [("frame", 20.0), ("transport", 30.0), ("buffer", 60.0), ("pipe", 3.0), ("total", 113.0)]
        {
            assert!((ms(stage) / expected - 1.0).abs() < 0.02, "{stage}: {}", ms(stage));
        }
    }

    #[test]
    fn a_stage_without_its_stamps_is_left_out() {
        let mut latency = Latency::default();
        latency.add(&Times { arrived: at(5), ..Times::default() }, 20 * MS, None);
        assert_eq!(latency.to_text(), "");
        latency.add(&Times { arrived: at(5), ..Times::default() }, 20 * MS, at(7));
        assert!(latency.to_text().contains("pipe") && !latency.to_text().contains("total"));
    }
}
