//! What goes out: the streams of stdin, as packets, each when it is time.

use std::collections::BTreeMap;

use vox_cli::{Ended, Failure, Input, Next, Wake, stop_requested, wait, warn};
use vox_frame::{Audio, Codec, EndReason, Format, Gap, MediaTime, Raw, Record, StreamId};
use vox_room::{LEVEL_EXTENSION, StreamFacts};
use vox_rtp::{ExtensionMap, HeaderExtension, PayloadFormat, PayloadMap, Sender};
use vox_sys::{Clock, monotonic_ns};

use crate::args::Args;
use crate::link::Link;

/// The payload type of what has no number of its own.
const OTHER: u8 = 97;

/// How far behind its time a paced stream may be before its pace begins anew, in ns: less is made up for.
const STALL_NS: i64 = 100_000_000;

/// How often it is looked whether there still is a server, in ns.
const LOOK_NS: i64 = 200_000_000;

/// Streams that are sent at a time; the server takes no more.
const MAX_STREAMS: usize = 8;

pub(crate) struct Mouth<'a> {
    pub(crate) args: &'a Args,
    pub(crate) link: Link,
    pub(crate) clock: Clock,
    streams: BTreeMap<StreamId, Spoken>,
    heard_until: i64,
}

struct Spoken {
    format: Format,
    carried: PayloadFormat,
    sender: Sender,
    /// What one media time is sent at, in ns of CLOCK_MONOTONIC; none for live streams and before the first packet.
    pace: Option<(MediaTime, i64)>,
    not_before: i64,
    reached: MediaTime,
    /// A media time and the RTP timestamp that it has.
    mark: Option<(MediaTime, u32)>,
}

impl<'a> Mouth<'a> {
    pub(crate) const fn new(args: &'a Args, link: Link, clock: Clock) -> Self {
        Self { args, link, clock, streams: BTreeMap::new(), heard_until: 0 }
    }

    /// Speaks until the input ends or the server is gone.
    pub(crate) fn run(&mut self, input: &mut Input) -> Result<Ended, Failure> {
        loop {
            self.clock = input.clock();
            let look = self.clock.from_mono(monotonic_ns() + LOOK_NS);
            match input.next_for_sink(Some(look))? {
                Next::Record(raw) => self.record(raw)?,
                Next::Deadline => {}
                Next::End(ended) => {
                    self.wait_until(self.heard_until())?;
                    self.end_all(&ended.reason());
                    return Ok(ended);
                }
            }
            if self.is_over() {
                self.end_all(&EndReason::Stopped);
                return Ok(Ended::Stopped);
            }
        }
    }

    fn is_over(&self) -> bool {
        // What is paced could go on for hours after its source has stopped.
        self.link.is_over() || (stop_requested() && self.streams.values().all(|stream| !stream.format.live))
    }

    fn heard_until(&self) -> i64 {
        self.streams.values().filter_map(Spoken::heard_until).fold(self.heard_until, i64::max)
    }

    fn end_all(&mut self, reason: &EndReason) {
        for stream in std::mem::take(&mut self.streams).into_values() {
            stream.farewell(&self.link, stream.reached, reason);
        }
    }

    fn record(&mut self, raw: Raw<'_>) -> Result<(), Failure> {
        match raw.parse()? {
            Record::Format(id, format) => self.open(id, format),
            Record::Audio(audio) => self.audio(&audio),
            Record::Gap(gap) => {
                if let Some(stream) = self.streams.get_mut(&gap.id) {
                    stream.gap(&gap);
                }
                Ok(())
            }
            Record::End(end) => {
                let Some(stream) = self.streams.remove(&end.id) else { return Ok(()) };
                // What was sent last is still being heard, and the end is where the audio ends.
                let until = stream.heard_until().unwrap_or(0);
                self.heard_until = self.heard_until.max(until);
                stream.farewell(&self.link, end.timestamp, &end.reason);
                Ok(())
            }
            Record::Event(_) | Record::Unknown(_) => Ok(()),
        }
    }

    fn open(&mut self, id: StreamId, format: Format) -> Result<(), Failure> {
        let Some(carried) = PayloadFormat::of_stream(&format) else {
            return Err(Failure::input(format_args!(
                "stream {id} is {format}, which RTP does not carry: put `vox-encode opus` (or pcmu, pcma, l16) before"
            )));
        };
        if let Some(before) = self.streams.remove(&id) {
            self.heard_until = self.heard_until.max(before.heard_until().unwrap_or(0));
            before.farewell(&self.link, before.reached, &EndReason::Complete);
        }
        if self.streams.len() >= MAX_STREAMS {
            warn(format_args!("stream {id} is left out: {MAX_STREAMS} at a time are the most"));
            return Ok(());
        }
        let other = if carried.codec == Codec::Opus { PayloadMap::OPUS } else { OTHER };
        let payload_type = carried.static_type().unwrap_or(other);
        let mut extensions = ExtensionMap::default();
        extensions.insert(LEVEL_EXTENSION, HeaderExtension::AudioLevel);
        let sender = Sender::new(&format, &carried, payload_type, None, random).with_extensions(extensions);
        let facts = StreamFacts::of_format(&format, payload_type, carried.clone());
        self.link.announce(sender.ssrc(), format!("STREAM {}: {facts}", sender.ssrc()));
        // One recording after the other: the next is heard where the one before ends.
        let follows = self.streams.values().all(|stream| stream.format.live);
        let not_before = if follows { self.heard_until } else { 0 };
        let reached = MediaTime(0);
        self.streams.insert(id, Spoken { format, carried, sender, pace: None, not_before, reached, mark: None });
        Ok(())
    }

    fn audio(&mut self, audio: &Audio<'_>) -> Result<(), Failure> {
        let Some(stream) = self.streams.get_mut(&audio.id) else { return Ok(()) };
        let silent = audio.padding || audio.payload.is_empty();
        if silent || self.args.max_age.is_stale(stream.format.live, &audio.times, self.clock.now()) {
            stream.sender.handle_loss(if silent { 0 } else { u64::from(audio.duration) });
            return Ok(());
        }
        let cut = stream.sender.cut(audio.payload.len(), self.args.mtu);
        let mut from = 0;
        while from < audio.payload.len() {
            let Some(stream) = self.streams.get_mut(&audio.id) else { return Ok(()) };
            let ticks = stream.format.tick_bytes().map_or(0, |bytes| (from / bytes) as u64);
            if let Some(deadline) = stream.leaves_at(audio.timestamp.plus(ticks)) {
                self.wait_until(deadline)?;
            }
            let Some(stream) = self.streams.get_mut(&audio.id) else { return Ok(()) };
            let piece = stream.sender.piece(audio, from, cut);
            stream.mark = Some((piece.timestamp, piece.rtp));
            if !self.link.is_muted() {
                self.link.packet(piece.packet);
            }
            from += cut;
        }
        if let Some(stream) = self.streams.get_mut(&audio.id) {
            stream.reached = audio.timestamp.plus(u64::from(audio.duration));
        }
        Ok(())
    }

    /// Waits for a point of CLOCK_MONOTONIC, shorter where there is nobody to speak to any more.
    fn wait_until(&self, deadline: i64) -> Result<(), Failure> {
        while monotonic_ns() < deadline && !self.link.is_over() && !stop_requested() {
            let until = deadline.min(monotonic_ns() + LOOK_NS);
            if wait(None, Some(until))? == Wake::Signal {
                return Ok(());
            }
        }
        Ok(())
    }
}

impl Spoken {
    fn gap(&mut self, gap: &Gap<'_>) {
        self.sender.handle_gap(gap);
        self.reached = gap.timestamp.plus(gap.duration);
    }

    /// When a packet leaves, in ns of CLOCK_MONOTONIC; none where the world paces.
    fn leaves_at(&mut self, timestamp: MediaTime) -> Option<i64> {
        if self.format.live {
            return None;
        }
        let now = monotonic_ns();
        let (from, began) = *self.pace.get_or_insert_with(|| (timestamp, now.max(self.not_before)));
        let deadline = began.saturating_add(self.format.rate.ns(timestamp.since(from)));
        let behind = now - deadline;
        if behind > STALL_NS {
            // Nothing is dropped and nothing goes out in a burst: the timestamps move on by the stall.
            self.pace = Some((timestamp, now));
            self.sender.handle_stall(self.format.rate.ticks(behind));
        }
        Some(deadline)
    }

    fn heard_until(&self) -> Option<i64> {
        let (from, began) = self.pace?;
        Some(began.saturating_add(self.format.rate.ns(self.reached.since(from))))
    }

    fn farewell(&self, link: &Link, end: MediaTime, reason: &EndReason) {
        let at = self.mark.map_or_else(String::new, |(timestamp, rtp)| {
            let ticks = end.offset_from(timestamp) / self.carried.scale() as i64;
            format!("rtp={} ", rtp.wrapping_add(ticks as u32))
        });
        let ssrc = self.sender.ssrc();
        link.farewell(ssrc, &format!("STREAMEND {ssrc}: {at}reason={}", reason.name()));
    }
}

fn random() -> u32 {
    getrandom::u32().unwrap_or_else(|_| monotonic_ns() as u32)
}
