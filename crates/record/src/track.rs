//! One stream: its records wait until their order and their clock are known, then go to its lanes.

use serde_json::json;
use vox_cli::Failure;
use vox_frame::{MediaTime, Rate, Stamp};

use crate::aim::Aim;
use crate::clock::Mapping;
use crate::item::{Item, Waiting, What};
use crate::mix::Mix;
use crate::packets::OpusLane;
use crate::pcm::PcmLane;
use crate::store::Store;

/// Records that are all this far off the line by arrival say that the sender stood still without its timestamps, in ns.
const STALL_NS: i64 = 200_000_000;

/// The same by stamps of capture, which wait in no queue.
const STALL_CAPTURED_NS: i64 = 20_000_000;

/// Records that must agree on it.
const WITNESSES: usize = 3;

/// How far beside its place a stream is left, in seconds: stamps of arrival know it less well than those of capture.
const fn tolerance(captured: Option<bool>) -> f64 {
    if matches!(captured, Some(true)) { 5e-4 } else { 5e-3 }
}

/// A jump of media time farther than this is no hole but another time line, in ns.
const MAX_HOLE_NS: i64 = 3_600_000_000_000;

/// Stamps of capture that lie farther from those of arrival say that the clocks of two hosts differ, in ns: then they are
/// worth nothing beside the streams of others.
const MAX_JOURNEY_NS: i64 = 2_000_000_000;

/// A line through stamps of capture that began to come after the stream did, as a sender's first report does.
struct Capture {
    mapping: Mapping,
    witnesses: usize,
}

/// A stream that is recorded.
pub(crate) struct Track {
    /// Its name for people and the sidecar.
    pub(crate) name: String,
    rate: Rate,
    /// Whether the stamps that count are those of capture.
    captured: Option<bool>,
    /// What its stamps of capture say, while those of arrival still count.
    capture: Option<Capture>,
    /// Keeps to its own clock.
    media_only: bool,
    waiting: Waiting,
    mapping: Option<Mapping>,
    /// Which start of the sender the last record belonged to.
    start: u32,
    /// Media time behind the last record.
    next: Option<MediaTime>,
    /// When the sender's media time 0 since here is, for streams without stamps.
    begins: i64,
    /// Its samples.
    pub(crate) pcm: Option<PcmLane>,
    /// Its packets.
    pub(crate) opus: Option<OpusLane>,
    /// Where it ends, once it has.
    ended: Option<MediaTime>,
    /// ns since the recording began at which it ends.
    end_ns: i64,
}

/// What a track needs of the recording.
pub(crate) struct Around<'a> {
    /// When the recording began.
    pub(crate) origin: Stamp,
    /// Files.
    pub(crate) store: &'a mut Store,
    /// The mix, where there is one.
    pub(crate) mix: Option<&'a mut Mix>,
}

impl Track {
    /// A stream of that rate, whose first record without a stamp lies `begins` ns behind the recording's beginning.
    pub(crate) const fn new(name: String, rate: Rate, media_only: bool, begins: i64) -> Self {
        Self {
            name,
            rate,
            captured: None,
            capture: None,
            media_only,
            waiting: Waiting::new(rate),
            mapping: None,
            start: 0,
            next: None,
            begins,
            pcm: None,
            opus: None,
            ended: None,
            end_ns: 0,
        }
    }

    /// Ticks of its media time a second.
    pub(crate) const fn rate(&self) -> Rate {
        self.rate
    }

    /// Which of a record's stamps counts: that of capture where the stream's first had one.
    pub(crate) fn stamp(&mut self, times: &vox_frame::Times) -> Option<Stamp> {
        let captured = *self.captured.get_or_insert_with(|| times.captured.is_some());
        if captured { times.captured } else { times.arrived }
    }

    /// Takes a record.
    pub(crate) fn push(&mut self, item: Item) {
        self.waiting.push(item);
    }

    /// Learns where it ends.
    pub(crate) fn end(&mut self, media: MediaTime) {
        self.ended = Some(media);
    }

    /// The earliest stamp that its first record can be given; none where it has no stamps.
    pub(crate) fn first_stamp(&self) -> Option<Stamp> {
        let (start, item) = self.waiting.ready(Stamp::ZERO, true)?;
        self.line(start, item.media).map(|line| line.at(item.media))
    }

    /// Writes what has waited long enough at `clock`, or everything.
    ///
    /// # Errors
    /// Where it cannot be written (1).
    pub(crate) fn release(&mut self, clock: Stamp, all: bool, around: &mut Around<'_>) -> Result<(), Failure> {
        while let Some((start, item)) = self.waiting.ready(clock, all) {
            let (media, stamp, captured) = (item.media, item.stamp, item.captured);
            self.aim(start, media, if self.captured == Some(true) { captured } else { stamp }, around)?;
            self.learn_capture(media, captured, around)?;
            let Some(item) = self.waiting.pop() else { return Ok(()) };
            if self.next.is_none()
                && let (Some(mapping), Some(pcm)) = (&self.mapping, &mut self.pcm)
            {
                let tolerance = tolerance(self.captured);
                let aim = Aim { mapping, origin: around.origin, tolerance };
                pcm.begin(media, &aim, around.store, around.mix.as_deref_mut())?;
            }
            self.write(&item, around)?;
        }
        if all {
            self.finish(around)?;
        }
        Ok(())
    }

    /// ns since the recording began up to which it goes.
    pub(crate) fn reached_ns(&self) -> i64 {
        let pcm = self.pcm.as_ref().map_or(0, PcmLane::reached_ns);
        match (&self.opus, self.pcm.is_some()) {
            (Some(opus), false) if self.end_ns == 0 => opus.reached_ns(),
            _ => pcm.max(self.end_ns),
        }
    }

    /// Keeps the line from media time to the common clock.
    fn aim(
        &mut self,
        start: u32,
        media: MediaTime,
        stamp: Option<Stamp>,
        around: &mut Around<'_>,
    ) -> Result<(), Failure> {
        let anew = start != self.start || self.is_far(media);
        if anew && self.mapping.is_some() {
            // The sender's time line is another one now; the recording's goes on.
            self.start = start;
            self.begins = self.reached_ns();
            self.mapping = None;
            self.capture = None;
            self.next = None;
            around.store.note(&json!({"restarted": self.name, "at": self.begins as f64 / 1e9, "media": media.0}))?;
        }
        let Some(mapping) = &mut self.mapping else {
            let line = self.line(start, media);
            let unstamped = || Mapping::new(self.rate, media, around.origin.plus(self.begins));
            let far = |line: &Mapping| (line.at(media).since(around.origin) - self.begins).abs() > MAX_HOLE_NS;
            self.mapping = Some(line.filter(|line| !far(line)).unwrap_or_else(unstamped));
            return Ok(());
        };
        let Some(stamp) = stamp.filter(|_| !self.media_only) else { return Ok(()) };
        let stall = if self.captured == Some(true) { STALL_CAPTURED_NS } else { STALL_NS };
        let mut nearest = mapping.above(media, stamp);
        if nearest.abs() > stall {
            let mut witnesses = 0;
            for (media, stamp) in self.waiting.stamps(start, self.captured == Some(true)) {
                let above = mapping.above(media, stamp);
                nearest = if nearest < 0 { nearest.max(above) } else { nearest.min(above) };
                witnesses += 1;
            }
            if nearest.abs() > stall && witnesses >= WITNESSES {
                let moved = mapping.at(media).plus(nearest);
                *mapping = Mapping::new(self.rate, media, moved);
                let at = moved.since(around.origin) as f64 / 1e9;
                around.store.note(&json!({"moved": nearest as f64 / 1e9, "stream": self.name, "at": at}))?;
                return Ok(());
            }
            if nearest > stall {
                // It waited on its way: its arrival says nothing.
                return Ok(());
            }
        }
        mapping.observe(media, stamp);
        Ok(())
    }

    /// Goes over to stamps of capture where they begin to come: they say how streams lay beside each other where they
    /// were said, whatever the ways took that they came. The stream slides to its place.
    fn learn_capture(
        &mut self,
        media: MediaTime,
        captured: Option<Stamp>,
        around: &mut Around<'_>,
    ) -> Result<(), Failure> {
        let (Some(captured), Some(false), false) = (captured, self.captured, self.media_only) else { return Ok(()) };
        let Some(capture) = &mut self.capture else {
            self.capture = Some(Capture { mapping: Mapping::new(self.rate, media, captured), witnesses: 1 });
            return Ok(());
        };
        capture.mapping.observe(media, captured);
        capture.witnesses += 1;
        let Some(mapping) = self.mapping.as_mut().filter(|_| capture.witnesses >= WITNESSES) else { return Ok(()) };
        let earlier = capture.mapping.at(media).since(mapping.at(media));
        if earlier.abs() > MAX_JOURNEY_NS {
            return Ok(());
        }
        std::mem::swap(mapping, &mut capture.mapping);
        let at = mapping.at(media).since(around.origin) as f64 / 1e9;
        self.captured = Some(true);
        self.capture = None;
        around.store.note(&json!({"captured": earlier as f64 / 1e9, "stream": self.name, "at": at}))
    }

    /// A line through the earliest of the records that wait.
    fn line(&self, start: u32, media: MediaTime) -> Option<Mapping> {
        let mut stamps = self.waiting.stamps(start, self.captured == Some(true));
        let (first, stamp) = stamps.next()?;
        let mut mapping = Mapping::new(self.rate, first, stamp);
        for (media, stamp) in stamps {
            mapping.observe(media, stamp);
        }
        let begins = mapping.at(media);
        Some(Mapping::new(self.rate, media, begins))
    }

    fn is_far(&self, media: MediaTime) -> bool {
        self.next.is_some_and(|next| {
            let step = media.offset_from(next);
            step > 0 && self.rate.ns(step.unsigned_abs()) > MAX_HOLE_NS
        })
    }

    /// Where it ends: behind the last record where the End lies on another time line.
    fn believed_end(&self) -> Option<MediaTime> {
        let end = self.ended?;
        Some(self.next.filter(|_| self.is_far(end)).unwrap_or(end))
    }

    fn write(&mut self, item: &Item, around: &mut Around<'_>) -> Result<(), Failure> {
        let step = self.next.map_or(0, |next| item.media.offset_from(next));
        if let Some(next) = self.next.filter(|_| step > 0) {
            self.hand(&Item::hole(next, step.unsigned_abs()), 0, around)?;
        }
        let past = (-step).max(0).unsigned_abs();
        if past >= item.duration {
            // A duplicate, or for a time that was written.
            return Ok(());
        }
        self.next = Some(item.media.plus(item.duration));
        match item.what {
            What::Gap(..) if past > 0 => {
                let mut rest = item.clone();
                rest.media = item.media.plus(past);
                rest.duration -= past;
                self.hand(&rest, 0, around)
            }
            _ => self.hand(item, past, around),
        }
    }

    /// Hands a record to the lanes.
    fn hand(&mut self, item: &Item, past: u64, around: &mut Around<'_>) -> Result<(), Failure> {
        let Some(mapping) = &self.mapping else { return Ok(()) };
        let tolerance = tolerance(self.captured);
        let aim = Aim { mapping, origin: around.origin, tolerance };
        if let What::Gap(reason, _) = &item.what {
            around
                .store
                .note(&json!({"gap": reason.name(), "stream": self.name, "at": aim.ns(item.media) as f64 / 1e9,
                "seconds": self.rate.ns(item.duration) as f64 / 1e9, "media": item.media.0}))?;
        }
        let is_gap = matches!(item.what, What::Gap(..));
        if let Some(pcm) = &mut self.pcm {
            let mix = around.mix.as_deref_mut();
            if is_gap {
                pcm.gap(item, &aim, around.store, mix)?;
            } else {
                pcm.audio(item, past, &aim, around.store, mix)?;
            }
        }
        if let Some(opus) = &mut self.opus {
            if is_gap {
                opus.gap(item, &aim, around.store)?;
            } else {
                opus.audio(item, &aim, around.store)?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, around: &mut Around<'_>) -> Result<(), Failure> {
        let Some(mapping) = &self.mapping else { return Ok(()) };
        let tolerance = tolerance(self.captured);
        let aim = Aim { mapping, origin: around.origin, tolerance };
        let ended = self.believed_end();
        if let Some(end) = ended {
            self.end_ns = aim.ns(end).max(0);
        }
        // What is missing at the end is missing too.
        if let (Some(next), Some(end)) = (self.next, ended) {
            let missing = end.since(next);
            if missing > 0 {
                self.next = Some(end);
                self.hand(&Item::hole(next, missing), 0, around)?;
            }
        }
        let Some(mapping) = &self.mapping else { return Ok(()) };
        let aim = Aim { mapping, origin: around.origin, tolerance };
        if let Some(pcm) = &mut self.pcm {
            pcm.end(ended, &aim, around.store, around.mix.as_deref_mut())?;
        }
        Ok(())
    }
}
