//! A kept vox stream: each of its streams is a track, placed by its first stamp.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};

use vox_codec::{DecoderOptions, StreamDecoder};
use vox_frame::{Format, Gap, GapReason, Item, MediaTime, Record, Splitter, Stamp, StreamId, Times};

use crate::{About, Listener};

/// The most tracks of one file.
const MAX_TRACKS: usize = 256;

/// A hole in media time that is longer is a new beginning, in ns.
const MAX_HOLE_NS: i64 = 3_600_000_000_000;

/// A stream that is open.
struct Track {
    number: usize,
    format: Format,
    decoder: StreamDecoder,
    /// Media time expected next, and the frame that it lies at; none before the first record.
    next: Option<MediaTime>,
    at: u64,
    talks: bool,
}

/// All of a file.
struct Tracks {
    open: BTreeMap<StreamId, Track>,
    count: usize,
    /// The first stamp of all, which is the file's beginning.
    origin: Option<Stamp>,
    /// How far the tracks that ended go, in ns.
    reached: i64,
    samples: Vec<f32>,
}

/// Reads a stream to its end; one that breaks off ends there.
pub(crate) fn read(input: &mut impl Read, listener: &mut impl Listener) -> Result<(), String> {
    let mut splitter = Splitter::new();
    let mut tracks = Tracks { open: BTreeMap::new(), count: 0, origin: None, reached: 0, samples: Vec::new() };
    loop {
        while let Some(item) = splitter.poll().map_err(|error| error.to_string())? {
            let Item::Record(raw) = item else { continue };
            tracks.handle(&raw.parse().map_err(|error| error.to_string())?, listener);
        }
        match input.read(splitter.space()) {
            Ok(0) => return Ok(()),
            Ok(more) => splitter.commit(more),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(format!("cannot be read: {error}")),
        }
    }
}

impl Tracks {
    fn handle(&mut self, record: &Record<'_>, listener: &mut impl Listener) {
        match record {
            Record::Format(id, format) => self.begin(*id, format, listener),
            Record::Audio(audio) if !audio.padding => {
                let begins = self.place(audio.id, &audio.times);
                let Some(track) = self.open.get_mut(&audio.id) else { return };
                if !track.meet(audio.timestamp, begins, listener) {
                    return;
                }
                self.samples.clear();
                let plain = vox_frame::Audio { times: Times::default(), slot: None, ..*audio };
                track.decoder.audio(&plain, &mut self.samples);
                track.next = Some(audio.timestamp.plus(u64::from(audio.duration)));
                track.give(&self.samples, listener);
            }
            Record::Gap(gap) if gap.duration > 0 => {
                let begins = self.place(gap.id, &gap.times);
                let Some(track) = self.open.get_mut(&gap.id) else { return };
                if track.meet(gap.timestamp, begins, listener) {
                    track.gap(gap, listener);
                }
            }
            Record::Event(event) => {
                let Some(track) = self.open.get_mut(&event.id) else { return };
                match event.event.as_str() {
                    "talk-start" => track.talk(true, listener),
                    "talk-stop" => track.talk(false, listener),
                    _ => {}
                }
            }
            Record::End(end) => {
                let Some(mut track) = self.open.remove(&end.id) else { return };
                self.samples.clear();
                track.decoder.end(end, &mut self.samples);
                track.give(&self.samples, listener);
                self.reached = self.reached.max(track.format.rate.ns(track.at));
            }
            Record::Audio(_) | Record::Gap(_) | Record::Unknown(_) => {}
        }
    }

    fn begin(&mut self, id: StreamId, format: &Format, listener: &mut impl Listener) {
        let Ok(decoder) =
            StreamDecoder::new(format, DecoderOptions { plc: false, hold_due: true, ..Default::default() })
        else {
            return;
        };
        if self.count == MAX_TRACKS {
            return;
        }
        if let Some(old) = self.open.remove(&id) {
            self.reached = self.reached.max(old.format.rate.ns(old.at));
        }
        let about = About {
            label: format.label.clone(),
            rate: decoder.rate(),
            channels: decoder.channels(),
            codec: format.codec.name().to_owned(),
        };
        listener.track(self.count, &about);
        let track = Track { number: self.count, format: format.clone(), decoder, next: None, at: 0, talks: false };
        self.open.insert(id, track);
        self.count += 1;
    }

    /// Where a stream begins that has not begun, in ns: where its stamp says, else behind those that ended.
    fn place(&mut self, id: StreamId, times: &Times) -> i64 {
        if self.open.get(&id).is_none_or(|track| track.next.is_some()) {
            return 0;
        }
        let Some(stamp) = times.captured.or(times.arrived).or(times.due) else { return self.reached };
        let origin = *self.origin.get_or_insert(stamp);
        let begins = stamp.since(origin);
        if (0..MAX_HOLE_NS).contains(&begins) { begins } else { self.reached }
    }
}

impl Track {
    /// A record begins at `media`; false where it lies behind what was read.
    fn meet(&mut self, media: MediaTime, begins: i64, listener: &mut impl Listener) -> bool {
        let Some(next) = self.next else {
            self.at = self.format.rate.ticks(begins);
            self.next = Some(media);
            return true;
        };
        let step = media.offset_from(next);
        let limit = self.format.rate.ticks(MAX_HOLE_NS);
        if step > 0 && step.unsigned_abs() < limit {
            self.missing(step.unsigned_abs(), GapReason::Lost, listener);
        }
        // Far behind or ahead is a new beginning; a little behind a duplicate, or a packet out of its order.
        step >= 0 || step.unsigned_abs() > u64::from(self.format.rate.hz())
    }

    fn gap(&mut self, gap: &Gap<'_>, listener: &mut impl Listener) {
        self.missing(gap.duration.min(self.format.rate.ticks(MAX_HOLE_NS)), gap.reason, listener);
        self.next = Some(gap.timestamp.plus(gap.duration));
        if gap.reason.is_silence() {
            self.talk(false, listener);
        }
    }

    fn missing(&mut self, frames: u64, reason: GapReason, listener: &mut impl Listener) {
        // What the decoder holds comes before the gap.
        let mut held = Vec::new();
        self.decoder.flush(&mut held);
        self.give(&held, listener);
        listener.gap(self.number, self.at, frames, reason);
        self.at += frames;
    }

    fn give(&mut self, samples: &[f32], listener: &mut impl Listener) {
        if !samples.is_empty() {
            listener.samples(self.number, self.at, samples);
            self.at += (samples.len() / self.decoder.channels().count()) as u64;
        }
    }

    fn talk(&mut self, talks: bool, listener: &mut impl Listener) {
        if self.talks != talks {
            self.talks = talks;
            listener.talk(self.number, self.at, talks);
        }
    }
}
