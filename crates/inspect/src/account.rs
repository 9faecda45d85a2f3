//! What has passed of one stream.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use vox_frame::{Audio, EndReason, Format, Gap, MediaTime, Stamp, StreamId, Times};

use crate::latency::Latency;
use crate::quantiles::Quantiles;

/// The sums over one stream, from its Format to its End.
#[derive(Debug)]
pub(crate) struct Account {
    id: StreamId,
    format: Format,
    records: u64,
    payload_bytes: u64,
    audio_ticks: u64,
    gaps: BTreeMap<&'static str, GapSum>,
    recovered: u64,
    padding: u64,
    next: Option<MediaTime>,
    /// Places where media time did not go on where it was.
    discontinuities: u64,
    captured: Quantiles,
    arrived: Quantiles,
    due: Quantiles,
    jitter: Jitter,
    /// Stage by stage, where that was asked for.
    latency: Option<Latency>,
    ended: Option<EndReason>,
}

#[derive(Debug, Default)]
struct GapSum {
    records: u64,
    packets: u64,
    ticks: u64,
}

/// Interarrival jitter as a receiver reports it (RFC 3550, section 6.4.1), in ns.
#[derive(Debug, Default)]
struct Jitter {
    last: Option<(Stamp, MediaTime)>,
    ns: f64,
}

impl Account {
    pub(crate) fn new(id: StreamId, format: Format, latency: bool) -> Self {
        Self {
            id,
            format,
            records: 0,
            payload_bytes: 0,
            audio_ticks: 0,
            gaps: BTreeMap::new(),
            recovered: 0,
            padding: 0,
            next: None,
            discontinuities: 0,
            captured: Quantiles::default(),
            arrived: Quantiles::default(),
            due: Quantiles::default(),
            jitter: Jitter::default(),
            latency: latency.then(Latency::default),
            ended: None,
        }
    }

    pub(crate) const fn id(&self) -> StreamId {
        self.id
    }

    pub(crate) const fn is_open(&self) -> bool {
        self.ended.is_none()
    }

    pub(crate) fn audio(&mut self, audio: &Audio<'_>, now: Stamp) {
        self.records += 1;
        self.payload_bytes += audio.payload.len() as u64;
        self.recovered += u64::from(audio.recovered);
        if audio.padding {
            self.padding += 1;
            return;
        }
        self.audio_ticks += u64::from(audio.duration);
        self.follow(audio.timestamp, u64::from(audio.duration));
        self.times(&audio.times, now);
        let span = self.format.rate.ns(u64::from(audio.duration));
        if let Some(latency) = &mut self.latency {
            latency.add(&audio.times, span, self.format.live.then_some(now));
        }
        if let Some(arrived) = audio.times.arrived.filter(|_| !audio.recovered) {
            self.jitter.add(arrived, audio.timestamp, &self.format);
        }
    }

    pub(crate) fn gap(&mut self, gap: &Gap<'_>, now: Stamp) {
        self.records += 1;
        let sum = self.gaps.entry(gap.reason.name()).or_default();
        sum.records += 1;
        sum.packets += u64::from(gap.packets);
        sum.ticks += gap.duration;
        self.follow(gap.timestamp, gap.duration);
        self.times(&gap.times, now);
    }

    pub(crate) fn end(&mut self, reason: EndReason) {
        self.ended = Some(reason);
    }

    fn follow(&mut self, timestamp: MediaTime, ticks: u64) {
        if self.next.is_some_and(|next| next != timestamp) {
            self.discontinuities += 1;
        }
        self.next = Some(timestamp.plus(ticks));
    }

    fn times(&mut self, times: &Times, now: Stamp) {
        // A stored stream is as old as its file: only what is live has a latency.
        if !self.format.live {
            return;
        }
        for (quantiles, time) in
            [(&mut self.captured, times.captured), (&mut self.arrived, times.arrived), (&mut self.due, times.due)]
        {
            if let Some(time) = time {
                quantiles.add(now.since(time));
            }
        }
    }

    fn seconds(&self, ticks: u64) -> f64 {
        (ticks as f64 / f64::from(self.format.rate.hz()) * 1e6).round() / 1e6
    }

    /// Bits a second of the audio that came.
    fn bitrate(&self) -> Option<u64> {
        let seconds = self.seconds(self.audio_ticks);
        (seconds > 0.0).then(|| (self.payload_bytes as f64 * 8.0 / seconds).round() as u64)
    }

    /// The sums as one JSON object.
    pub(crate) fn to_json(&self) -> Value {
        let gaps: Map<String, Value> = self
            .gaps
            .iter()
            .map(|(reason, sum)| {
                let value =
                    json!({ "records": sum.records, "packets": sum.packets, "seconds": self.seconds(sum.ticks) });
                ((*reason).to_owned(), value)
            })
            .collect();
        let latency = |quantiles: &Quantiles| {
            quantiles
                .ms(0.5)
                .map(|p50| json!({ "p50_ms": p50, "p95_ms": quantiles.ms(0.95), "p99_ms": quantiles.ms(0.99) }))
        };
        json!({
            "id": self.id.to_string(),
            "codec": self.format.codec.name(),
            "rate": self.format.rate.hz(),
            "channels": self.format.channels.count(),
            "label": self.format.label,
            "live": self.format.live,
            "ssrc": self.format.rtp.as_ref().map(|rtp| rtp.ssrc),
            "records": self.records,
            "payload_bytes": self.payload_bytes,
            "bitrate": self.bitrate(),
            "audio_seconds": self.seconds(self.audio_ticks),
            "audio_ticks": self.audio_ticks,
            "gap_ticks": self.gaps.values().map(|sum| sum.ticks).sum::<u64>(),
            "gaps": gaps,
            "discontinuities": self.discontinuities,
            "recovered": self.recovered,
            "padding": self.padding,
            "jitter_ms": self.jitter.last.map(|_| (self.jitter.ns / 1e3).round() / 1e3),
            "since_captured": latency(&self.captured),
            "since_arrived": latency(&self.arrived),
            "since_due": latency(&self.due),
            "latency": self.latency.as_ref().map(Latency::to_json),
            "ended": self.ended.as_ref().map(EndReason::name),
        })
    }

    /// The sums for people, a line or a few.
    pub(crate) fn to_text(&self) -> String {
        let label = self.format.label.as_deref().map_or_else(String::new, |label| format!(" {label:?}"));
        let mut text = format!(
            "{} {}{label}: {} records, {:.3} s of audio",
            self.id,
            self.format,
            self.records,
            self.seconds(self.audio_ticks)
        );
        if let Some(bitrate) = self.bitrate() {
            text.push_str(&format!(", {:.1} kbit/s", bitrate as f64 / 1000.0));
        }
        for (reason, sum) in &self.gaps {
            let seconds = self.seconds(sum.ticks);
            text.push_str(&format!(", {} gaps {reason} ({seconds:.3} s, {} packets)", sum.records, sum.packets));
        }
        if self.discontinuities > 0 {
            text.push_str(&format!(", {} jumps of media time", self.discontinuities));
        }
        text.push_str(match &self.ended {
            Some(_) => ", ended: ",
            None => ", no end",
        });
        text.push_str(self.ended.as_ref().map_or("", EndReason::name));
        for (name, quantiles) in [("captured", &self.captured), ("arrived", &self.arrived), ("due", &self.due)] {
            if let (Some(p50), Some(p95), Some(p99)) = (quantiles.ms(0.5), quantiles.ms(0.95), quantiles.ms(0.99)) {
                text.push_str(&format!("\n    since {name}: p50 {p50} ms, p95 {p95} ms, p99 {p99} ms"));
            }
        }
        text.push_str(&self.latency.as_ref().map_or_else(String::new, Latency::to_text));
        if self.jitter.last.is_some() {
            text.push_str(&format!("\n    interarrival jitter: {:.3} ms", self.jitter.ns / 1e6));
        }
        text
    }
}

impl Jitter {
    fn add(&mut self, arrived: Stamp, timestamp: MediaTime, format: &Format) {
        if let Some((last_arrived, last_timestamp)) = self.last {
            let ticks = timestamp.offset_from(last_timestamp);
            let media_ns = ticks as f64 * 1e9 / f64::from(format.rate.hz());
            let difference = (arrived.since(last_arrived) as f64 - media_ns).abs();
            // The gain of 1/16 is RFC 3550's.
            self.ns += (difference - self.ns) / 16.0;
        }
        self.last = Some((arrived, timestamp));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vox_frame::{Channels, Codec, GapReason, Rate, SequenceNumber};

    fn account() -> Account {
        let mut format = Format::new(Codec::Pcmu, Rate::HZ_8000, Channels::MONO, 160);
        format.live = true;
        Account::new(StreamId(1), format, false)
    }

    fn audio(timestamp: u64, arrived_ms: i64) -> Audio<'static> {
        Audio {
            id: StreamId(1),
            sequence: SequenceNumber(0),
            timestamp: MediaTime(timestamp),
            duration: 160,
            marker: false,
            recovered: false,
            padding: false,
            times: Times { arrived: Some(Stamp::from_ns(arrived_ms * 1_000_000)), ..Times::default() },
            slot: None,
            extensions: &[],
            payload: &[0; 160],
        }
    }

    #[test]
    fn audio_and_gaps_add_up_without_a_jump() {
        let mut account = account();
        account.audio(&audio(0, 0), Stamp::ZERO);
        let gap = Gap {
            id: StreamId(1),
            sequence: SequenceNumber(1),
            timestamp: MediaTime(160),
            duration: 320,
            packets: 2,
            reason: GapReason::Lost,
            times: Times::default(),
            slot: None,
            later: None,
        };
        account.gap(&gap, Stamp::ZERO);
        account.audio(&audio(480, 60), Stamp::ZERO);
        let sums = account.to_json();
        assert_eq!(sums["audio_seconds"], 0.04);
        assert_eq!(sums["gaps"]["lost"]["seconds"], 0.04);
        assert_eq!(sums["discontinuities"], 0);
        assert_eq!(sums["bitrate"], 64_000);
        assert_eq!(sums["jitter_ms"], 0.0);
    }

    #[test]
    fn a_jump_of_media_time_is_counted() {
        let mut account = account();
        account.audio(&audio(0, 0), Stamp::ZERO);
        account.audio(&audio(480, 20), Stamp::ZERO);
        assert_eq!(account.to_json()["discontinuities"], 1);
    }

    #[test]
    fn jitter_is_the_running_mean_of_rfc_3550() {
        let mut account = account();
        account.audio(&audio(0, 0), Stamp::ZERO);
        account.audio(&audio(160, 36), Stamp::ZERO);
        assert_eq!(account.to_json()["jitter_ms"], 1.0);
    }
}
