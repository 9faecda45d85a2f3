//! One stream: its levels, what it lost, how long it was held and how old it is.

use std::collections::VecDeque;

use serde_json::{Value, json};
use vox_cli::warn;
use vox_codec::{DecoderOptions, StreamDecoder};
use vox_frame::{Audio, End, Extension, Extensions, Format, Gap, Stamp, StreamId, Times};

use crate::args::Args;
use crate::level::Level;

/// How long the largest fill of the jitter buffer is remembered, in ns.
const MEMORY_NS: i64 = 10_000_000_000;

/// Beyond this a record is no stream of now, and has no latency, in ns.
const RECORDING_NS: i64 = 60_000_000_000;

/// A stream that is metered.
pub(crate) struct Account {
    pub(crate) id: StreamId,
    pub(crate) format: Format,
    decoder: Option<StreamDecoder>,
    pub(crate) level: Level,
    /// What the last record told of itself: voice activity, and the level in -dBov.
    told: Option<(bool, u8)>,
    pcm: Vec<f32>,
    interval: i64,
    /// Of the stream that has passed, in ns, and when the next line is due.
    passed: i64,
    report_at: i64,
    packets: u64,
    lost: u64,
    late: u64,
    gap_ns: i64,
    /// How long the jitter buffer held records, the latest last: by when, in ns of the stream.
    fills: VecDeque<(i64, i64)>,
    pub(crate) latency: Option<i64>,
}

impl Account {
    pub(crate) fn new(id: StreamId, format: &Format, args: &Args) -> Self {
        let decoder = (!args.no_decode).then(|| StreamDecoder::new(format, DecoderOptions::default()));
        if let Some(Err(error)) = &decoder {
            warn(format_args!("stream {id} has no level but what its records tell: {error}"));
        }
        let decoder = decoder.and_then(Result::ok);
        let level = match &decoder {
            Some(decoder) => Level::new(decoder.rate(), decoder.channels(), args.talk),
            None => Level::told(format.rate, args.talk),
        };
        Self {
            id,
            format: format.clone(),
            decoder,
            level,
            told: None,
            pcm: Vec::new(),
            interval: args.interval.ns(),
            passed: 0,
            report_at: args.interval.ns(),
            packets: 0,
            lost: 0,
            late: 0,
            gap_ns: 0,
            fills: VecDeque::new(),
            latency: None,
        }
    }

    /// Takes a record that passed at `now`; a line of the report where one is due.
    pub(crate) fn audio(&mut self, audio: &Audio<'_>, now: Stamp) -> Option<Value> {
        self.packets += 1;
        if audio.padding {
            return None;
        }
        self.times(&audio.times, now);
        self.told = told(audio);
        match (&mut self.decoder, self.told) {
            (Some(decoder), _) => {
                self.pcm.clear();
                decoder.audio(audio, &mut self.pcm);
                self.level.add(&self.pcm);
            }
            (None, Some((_, level))) => self.level.add_level(-f64::from(level), u64::from(audio.duration)),
            (None, None) => {}
        }
        self.pass(u64::from(audio.duration))
    }

    /// A gap is silence here, whatever will be made of it.
    pub(crate) fn gap(&mut self, gap: &Gap<'_>, now: Stamp) -> Option<Value> {
        self.times(&gap.times, now);
        let packets = u64::from(gap.packets);
        match gap.reason {
            vox_frame::GapReason::Late => self.late += packets,
            _ => self.lost += packets,
        }
        if !gap.reason.is_silence() {
            self.gap_ns = self.gap_ns.saturating_add(self.format.rate.ns(gap.duration));
        }
        self.level.add_silence(gap.duration);
        self.pass(gap.duration)
    }

    pub(crate) fn end(&mut self, end: Option<&End>) -> Value {
        self.pcm.clear();
        match (&mut self.decoder, end) {
            (Some(decoder), Some(end)) => decoder.end(end, &mut self.pcm),
            (Some(decoder), None) => decoder.flush(&mut self.pcm),
            (None, _) => {}
        }
        self.level.add(&self.pcm);
        let mut line = self.line("stream-end");
        let seconds = |frames: u64| frames as f64 / f64::from(self.format.rate.hz());
        line["maxPeakDb"] = json!(round(crate::level::db(f64::from(self.level.max_peak))));
        line["talkSeconds"] = json!(round(seconds(self.level.talked)));
        line["seconds"] = json!(round(seconds(self.level.all)));
        line
    }

    /// Share of packets that did not come in time, in per cent.
    pub(crate) fn lost_percent(&self) -> f64 {
        let missing = self.lost + self.late;
        100.0 * missing as f64 / (self.packets + missing).max(1) as f64
    }

    /// How long the jitter buffer holds records, and the most of late, in ns.
    pub(crate) fn fill(&self) -> Option<(i64, i64)> {
        let (_, latest) = *self.fills.back()?;
        Some((latest, self.fills.iter().map(|(_, fill)| *fill).max().unwrap_or(latest)))
    }

    fn times(&mut self, times: &Times, now: Stamp) {
        if let (Some(arrived), Some(due)) = (times.arrived, times.due) {
            self.fills.push_back((self.passed, due.since(arrived)));
            while self.fills.front().is_some_and(|(at, _)| self.passed - at > MEMORY_NS) || self.fills.len() > 4096 {
                self.fills.pop_front();
            }
        }
        let age = times.captured.or(times.arrived).map(|stamp| now.since(stamp));
        self.latency = age.filter(|age| self.format.live && age.abs() < RECORDING_NS);
    }

    fn pass(&mut self, ticks: u64) -> Option<Value> {
        self.passed = self.passed.saturating_add(self.format.rate.ns(ticks));
        if self.passed < self.report_at {
            return None;
        }
        // A long gap is one line, not one for each interval in it.
        self.report_at = self.passed - self.passed % self.interval + self.interval;
        Some(self.line("meter"))
    }

    fn line(&mut self, kind: &str) -> Value {
        let (talks, reading) = (self.level.talks(), self.level.read());
        let fill = self.fill();
        let ms = |ns: i64| round(ns as f64 / 1e6);
        let mut line = json!({
            "type": kind,
            "stream": self.id.to_string(),
            "label": self.format.label,
            "time": round(self.passed as f64 / 1e9),
            "peakDb": round(reading.peak_db),
            "rmsDb": round(reading.rms_db),
            "momentaryLufs": round(reading.momentary),
            "shortTermLufs": round(reading.short_term),
            "integratedLufs": round(reading.integrated),
            "talking": talks,
            "audioLevelDb": self.told.map(|(_, level)| -i16::from(level)),
            "voiceActivity": self.told.map(|(voice, _)| voice),
            "packetsReceived": self.packets,
            "packetsLost": self.lost,
            "packetsLate": self.late,
            "lostPercent": round(self.lost_percent()),
            "gapSeconds": round(self.gap_ns as f64 / 1e9),
            "bufferMs": fill.map(|(latest, _)| ms(latest)),
            "bufferMaxMs": fill.map(|(_, most)| ms(most)),
            "latencyMs": self.latency.map(ms),
        });
        if let Some(members) = line.as_object_mut() {
            let loudness = self.level.has_loudness();
            members.retain(|name, value| !value.is_null() && (loudness || !name.ends_with("Lufs")));
        }
        line
    }
}

fn told(audio: &Audio<'_>) -> Option<(bool, u8)> {
    Extensions::new(audio.extensions).find_map(|extension| match extension {
        Extension::AudioLevel { voice, level } => Some((voice, level)),
        _ => None,
    })
}

/// Two decimals.
fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
