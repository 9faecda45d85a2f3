//! The counters as JSON, named as in W3C webrtc-stats where it has a name; the rest is named beside them.

use serde_json::{Value, json};
use vox_frame::{Format, StreamId};
use vox_playout::Stats;

use crate::lane::Lane;

/// One stream's counters.
pub(crate) fn stream(kind: &str, id: StreamId, lane: &Lane) -> Value {
    let (format, stats, held, (target, drift)) = (&lane.format, lane.stats(), lane.held(), lane.aim());
    let seconds = |ticks: u64| ticks as f64 / f64::from(format.rate.hz());
    let emitted = stats.jitter_buffer_emitted_count;
    let delay_ms = stats.jitter_buffer_delay_ns as f64 / emitted.max(1) as f64 / 1e6;
    json!({
        "type": kind,
        "stream": id.to_string(),
        "codec": format.codec.name(),
        "packetsReceived": stats.packets_received,
        "packetsLost": stats.packets_lost,
        "packetsDiscarded": stats.packets_discarded,
        "delayMs": round(delay_ms),
        "gapSeconds": round(seconds(stats.gap_ticks)),
        "packetsLate": stats.packets_late,
        "packetsOverflowed": stats.packets_overflowed,
        "packetsDuplicated": stats.packets_duplicated,
        "packetsPadding": stats.packets_padding,
        "bytesReceived": stats.bytes_received,
        "jitter": stats.jitter_ns / 1e9,
        "jitterBufferDelay": stats.jitter_buffer_delay_ns as f64 / 1e9,
        "jitterBufferEmittedCount": emitted,
        "jitterBufferTargetDelay": stats.jitter_buffer_target_delay_ns as f64 / 1e9,
        "concealedSamples": stats.concealed_ticks + stats.silent_concealed_ticks,
        "silentConcealedSamples": stats.silent_concealed_ticks,
        "concealmentEvents": stats.concealment_events,
        "insertedSamplesForDeceleration": stats.inserted_ticks,
        "removedSamplesForAcceleration": stats.removed_ticks,
        "fecPacketsReceived": stats.fec_packets,
        "repairedSamples": stats.repaired_ticks,
        "targetDelayMs": target.map(|target| round(target as f64 / 1e6)),
        "driftPpm": round(drift as f64 / 1e3),
        "silentSeconds": round(seconds(stats.silent_ticks)),
        "gaps": stats.gaps,
        "resyncs": stats.resyncs,
        "underflows": stats.underflows,
        "fillPackets": held.0,
        "fillMs": round(held.1 as f64 / 1e6),
    })
}

/// The sums over all streams.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    streams: u64,
    received: u64,
    lost: u64,
    discarded: u64,
    late: u64,
    duplicated: u64,
    gap_seconds: f64,
    emitted_seconds: f64,
    delay_seconds: f64,
    concealed_seconds: f64,
    repaired_seconds: f64,
    stretched_seconds: f64,
}

impl Totals {
    /// Adds a stream that has ended.
    pub(crate) fn add(&mut self, format: &Format, stats: &Stats) {
        let rate = f64::from(format.rate.hz());
        self.streams += 1;
        self.received += stats.packets_received;
        self.lost += stats.packets_lost;
        self.discarded += stats.packets_discarded;
        self.late += stats.packets_late;
        self.duplicated += stats.packets_duplicated;
        self.gap_seconds += stats.gap_ticks as f64 / rate;
        self.emitted_seconds += stats.jitter_buffer_emitted_count as f64 / rate;
        self.concealed_seconds += stats.concealed_ticks as f64 / rate;
        self.repaired_seconds += stats.repaired_ticks as f64 / rate;
        self.stretched_seconds += (stats.inserted_ticks + stats.removed_ticks) as f64 / rate;
        self.delay_seconds += stats.jitter_buffer_delay_ns as f64 / 1e9 / rate;
    }

    /// The last line.
    pub(crate) fn summary(&self) -> Value {
        let delay_ms = if self.emitted_seconds > 0.0 { self.delay_seconds / self.emitted_seconds * 1e3 } else { 0.0 };
        json!({
            "type": "summary",
            "streams": self.streams,
            "packetsReceived": self.received,
            "packetsLost": self.lost,
            "packetsDiscarded": self.discarded,
            "packetsLate": self.late,
            "packetsDuplicated": self.duplicated,
            "audioSeconds": round(self.emitted_seconds),
            "gapSeconds": round(self.gap_seconds),
            "concealedSeconds": round(self.concealed_seconds),
            "repairedSeconds": round(self.repaired_seconds),
            "stretchedSeconds": round(self.stretched_seconds),
            "delayMs": round(delay_ms),
        })
    }
}

/// Three decimals.
fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
