//! Passes records on, keeps the accounts, and writes what is to be seen when nothing waits for it.

use std::io::Write;

use serde_json::{Value, json};
use vox_cli::{Failure, Flush, Output};
use vox_frame::{Audio, EndReason, Gap, Opening, Raw, Record, Stamp, StreamId, Times};

use crate::account::Account;
use crate::args::Args;
use crate::expect::Expectation;

/// The most streams that are summed up; of more, the oldest that ended are forgotten.
const MAX_ACCOUNTS: usize = 1024;

pub(crate) struct Show {
    output: Option<Output>,
    json: bool,
    each: bool,
    sums: bool,
    latency: bool,
    expectations: Vec<Expectation>,
    accounts: Vec<Account>,
    forgotten: u64,
    records: u64,
    bytes: u64,
    text: Vec<u8>,
}

impl Show {
    /// Records go to stdout unless that is a terminal.
    pub(crate) fn new(opening: Opening, args: &Args) -> Result<Self, Failure> {
        let (json, latency) = (args.json, args.latency);
        let asked = args.summary || latency;
        let each = !asked && (json || args.expect.is_empty());
        let output =
            if vox_sys::pipe::is_terminal(std::io::stdout()) { None } else { Some(Output::stdout(opening, false)?) };
        let mut show = Self {
            output,
            json,
            each,
            sums: asked || each,
            latency,
            expectations: args.expect.clone(),
            accounts: Vec::new(),
            forgotten: 0,
            records: 0,
            bytes: 0,
            text: Vec::new(),
        };
        if each {
            let (major, minor) = opening.version;
            show.line(
                || json!({ "record": "opening", "version": [major, minor], "anchor_ns": opening.anchor }),
                || format!("opening   version {major}.{minor}"),
            );
        }
        Ok(show)
    }

    /// Passes a record on, then accounts for it.
    pub(crate) fn record(&mut self, raw: Raw<'_>, now: impl Fn() -> Stamp) -> Result<(), Failure> {
        let record = raw.parse()?;
        if let Some(output) = &mut self.output {
            output.raw(raw)?;
        }
        let now = now();
        self.records += 1;
        self.bytes += raw.bytes().len() as u64;
        self.account(&record, now);
        if self.each {
            self.tell(&record, now);
        }
        Ok(())
    }

    /// Ends what is open, and sums up. Gives whether everything is as it was expected.
    pub(crate) fn finish(&mut self, reason: EndReason) -> Result<bool, Failure> {
        if let Some(output) = &mut self.output {
            output.end_open(&reason)?;
        }
        let surprises = self.surprises();
        if self.sums {
            self.sum_up();
        }
        for surprise in &surprises {
            self.line(|| json!({ "unexpected": surprise }), || format!("vox-inspect: {surprise}"));
        }
        self.write_text();
        Ok(surprises.is_empty())
    }

    /// What is not as it was expected.
    fn surprises(&self) -> Vec<String> {
        if self.expectations.is_empty() {
            return Vec::new();
        }
        let mut surprises = Vec::new();
        if self.accounts.is_empty() {
            surprises.push("no stream came".to_owned());
        }
        if self.forgotten > 0 {
            surprises.push(format!("{} streams were too many to be looked at", self.forgotten));
        }
        let streams = self.accounts.iter().map(Account::to_json);
        surprises.extend(streams.flat_map(|stream| {
            self.expectations.iter().filter_map(move |expected| expected.failure(&stream)).collect::<Vec<_>>()
        }));
        surprises
    }

    fn account(&mut self, record: &Record<'_>, now: Stamp) {
        match record {
            Record::Format(id, format) => {
                if let Some(open) = self.open(*id) {
                    open.end(EndReason::Other("replaced".to_owned()));
                }
                if self.accounts.len() >= MAX_ACCOUNTS {
                    let oldest = self.accounts.iter().position(|account| !account.is_open()).unwrap_or(0);
                    self.accounts.remove(oldest);
                    self.forgotten += 1;
                }
                self.accounts.push(Account::new(*id, format.clone(), self.latency));
            }
            Record::Audio(audio) => {
                if let Some(account) = self.open(audio.id) {
                    account.audio(audio, now);
                }
            }
            Record::Gap(gap) => {
                if let Some(account) = self.open(gap.id) {
                    account.gap(gap, now);
                }
            }
            Record::End(end) => {
                if let Some(account) = self.open(end.id) {
                    account.end(end.reason.clone());
                }
            }
            Record::Event(_) | Record::Unknown(_) => {}
        }
    }

    fn open(&mut self, id: StreamId) -> Option<&mut Account> {
        self.accounts.iter_mut().rev().find(|account| account.id() == id && account.is_open())
    }

    fn tell(&mut self, record: &Record<'_>, now: Stamp) {
        self.line(|| record_json(record), || record_text(record, now));
    }

    fn sum_up(&mut self) {
        let accounts = std::mem::take(&mut self.accounts);
        let (records, bytes, forgotten) = (self.records, self.bytes, self.forgotten);
        self.line(
            || {
                let streams: Vec<Value> = accounts.iter().map(Account::to_json).collect();
                json!({ "summary": true, "records": records, "bytes": bytes, "streams_forgotten": forgotten, "streams": streams })
            },
            || {
                let mut lines: Vec<String> = accounts.iter().map(Account::to_text).collect();
                lines.push(format!("{} streams, {records} records, {bytes} bytes", accounts.len() as u64 + forgotten));
                lines.join("\n")
            },
        );
    }

    fn line(&mut self, json: impl FnOnce() -> Value, text: impl FnOnce() -> String) {
        let line = if self.json { json().to_string() } else { text() };
        self.text.extend_from_slice(line.as_bytes());
        self.text.push(b'\n');
    }

    fn write_text(&mut self) {
        // What cannot be shown is no reason to stop the audio.
        let _unseen = std::io::stderr().write_all(&self.text);
        self.text.clear();
    }
}

impl Flush for Show {
    fn flush(&mut self) -> Result<(), Failure> {
        if let Some(output) = &mut self.output {
            output.flush()?;
        }
        if !self.text.is_empty() {
            self.write_text();
        }
        Ok(())
    }

    fn is_pending(&self) -> bool {
        !self.text.is_empty() || self.output.as_ref().is_some_and(Flush::is_pending)
    }
}

fn record_json(record: &Record<'_>) -> Value {
    let mut value = match record {
        Record::Format(id, format) => json!({
            "record": "format", "id": id.to_string(), "codec": format.codec.name(), "rate": format.rate.hz(),
            "channels": format.channels.count(), "frame": format.frame, "pre_skip": format.pre_skip,
            "live": format.live, "label": format.label,
            "rtp": format.rtp.as_ref().map(|rtp| json!({
                "ssrc": rtp.ssrc, "payload_type": rtp.payload_type, "source": rtp.source })),
        }),
        Record::Audio(audio) => json!({
            "record": "audio", "id": audio.id.to_string(), "sequence": audio.sequence.0,
            "timestamp": audio.timestamp.0, "duration": audio.duration, "bytes": audio.payload.len(),
            "marker": audio.marker, "recovered": audio.recovered, "padding": audio.padding, "slot_ns": audio.slot,
        }),
        Record::Gap(gap) => json!({
            "record": "gap", "id": gap.id.to_string(), "sequence": gap.sequence.0, "timestamp": gap.timestamp.0,
            "duration": gap.duration, "packets": gap.packets, "reason": gap.reason.name(), "slot_ns": gap.slot,
            "later_ahead": gap.later.map(|later| later.ahead),
        }),
        Record::Event(event) => json!({
            "record": "event", "id": event.id.to_string(), "timestamp": event.timestamp.0, "event": event.event,
            "details": event.details,
        }),
        Record::End(end) => json!({
            "record": "end", "id": end.id.to_string(), "timestamp": end.timestamp.0, "reason": end.reason.name(),
        }),
        Record::Unknown(raw) => json!({ "record": "unknown", "id": raw.id().to_string(), "bytes": raw.bytes().len() }),
    };
    if let Some(object) = value.as_object_mut() {
        let times = times_of(record);
        for (name, time) in [("captured_ns", times.captured), ("arrived_ns", times.arrived), ("due_ns", times.due)] {
            if let Some(time) = time {
                object.insert(name.to_owned(), json!(time.ns()));
            }
        }
        object.retain(|_, value| !value.is_null());
    }
    value
}

fn times_of(record: &Record<'_>) -> Times {
    match record {
        Record::Audio(audio) => audio.times,
        Record::Gap(gap) => gap.times,
        Record::Event(event) => event.times,
        Record::End(end) => end.times,
        Record::Format(..) | Record::Unknown(_) => Times::default(),
    }
}

fn record_text(record: &Record<'_>, now: Stamp) -> String {
    let body = match record {
        Record::Format(id, format) => {
            let label = format.label.as_deref().map_or_else(String::new, |label| format!(" {label:?}"));
            let live = if format.live { " live" } else { "" };
            let ssrc = format.rtp.as_ref().map_or_else(String::new, |rtp| format!(" ssrc {:08x}", rtp.ssrc));
            format!("format    {id} {format} frame {}{live}{ssrc}{label}", format.frame)
        }
        Record::Audio(audio) => audio_text(audio),
        Record::Gap(gap) => gap_text(gap),
        Record::Event(event) => {
            format!("event     {} at {} {} {}", event.id, event.timestamp.0, event.event, json!(event.details))
        }
        Record::End(end) => format!("end       {} at {} {}", end.id, end.timestamp.0, end.reason.name()),
        Record::Unknown(raw) => format!("unknown   {} {} bytes", raw.id(), raw.bytes().len()),
    };
    body + &ages(&times_of(record), now)
}

fn audio_text(audio: &Audio<'_>) -> String {
    let flag = |set: bool, name: &'static str| if set { name } else { "" };
    format!(
        "audio     {} seq {} at {} +{} {} bytes{}{}{}",
        audio.id,
        audio.sequence.0,
        audio.timestamp.0,
        audio.duration,
        audio.payload.len(),
        flag(audio.marker, " marker"),
        flag(audio.recovered, " recovered"),
        flag(audio.padding, " padding"),
    )
}

fn gap_text(gap: &Gap<'_>) -> String {
    let later = gap.later.map_or_else(String::new, |later| format!(" later packet +{}", later.ahead));
    format!(
        "gap       {} seq {} at {} +{} {} ({} packets){later}",
        gap.id,
        gap.sequence.0,
        gap.timestamp.0,
        gap.duration,
        gap.reason.name(),
        gap.packets
    )
}

const YEAR_NS: i64 = 365 * 86_400 * 1_000_000_000;

fn ages(times: &Times, now: Stamp) -> String {
    let mut text = String::new();
    for (name, time) in [("captured", times.captured), ("arrived", times.arrived), ("due", times.due)] {
        if let Some(time) = time {
            // A virtual clock begins at 0, and has nothing to do with now.
            let shown = if (0..YEAR_NS).contains(&time.ns()) {
                format!("at {:.2} ms", time.ns() as f64 / 1e6)
            } else {
                format!("{:.2} ms ago", now.since(time) as f64 / 1e6)
            };
            text.push_str(&format!("  {name} {shown}"));
        }
    }
    text
}
