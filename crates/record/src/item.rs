//! The records of one stream in the order of their media time.

use std::collections::BTreeMap;

use vox_frame::{Audio, Extension, Extensions, Gap, GapReason, MediaTime, Rate, Stamp};

/// How long a record waits for those before it, and for what comes next to tell a jam from a stall, in ns.
pub(crate) const HOLD_NS: i64 = 200_000_000;

/// A step of media time back that is no reordering: the sender began anew, in ns.
const ANEW_NS: i64 = 1_000_000_000;

/// The longest gap that is believed, in ns: a day.
const MAX_GAP_NS: i64 = 86_400_000_000_000;

/// The most records of one stream that wait.
const MAX_WAITING: usize = 4096;

/// A record that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    /// Audio or what is missing.
    pub(crate) what: What,
    /// Where it begins.
    pub(crate) media: MediaTime,
    /// Ticks that it lasts.
    pub(crate) duration: u64,
    /// The stamp that counted when it was read: when it was captured or when it came.
    pub(crate) stamp: Option<Stamp>,
    /// When it was captured, where that is known, whether it counted or not.
    pub(crate) captured: Option<Stamp>,
    /// It begins a talk spurt.
    pub(crate) marker: bool,
    /// The common clock when it was read.
    seen: Stamp,
    /// The coded audio.
    pub(crate) payload: Vec<u8>,
}

/// What a record is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// Audio; whether it is known to be quiet.
    Audio(bool),
    /// Something is missing; the packet behind it, if it has come, and how far behind it is.
    Gap(GapReason, Option<(u32, Vec<u8>)>),
}

impl Item {
    pub(crate) fn audio(audio: &Audio<'_>, stamp: Option<Stamp>, seen: Stamp) -> Self {
        let quiet = Extensions::new(audio.extensions)
            .any(|extension| matches!(extension, Extension::AudioLevel { voice: false, level: 60.. }));
        Self {
            what: What::Audio(quiet),
            media: audio.timestamp,
            duration: u64::from(audio.duration),
            stamp: stamp.filter(|_| !audio.recovered),
            captured: audio.times.captured.filter(|_| !audio.recovered),
            marker: audio.marker,
            seen,
            payload: audio.payload.to_vec(),
        }
    }

    pub(crate) fn gap(gap: &Gap<'_>, rate: Rate, seen: Stamp) -> Self {
        let later = gap.later.map(|later| (later.ahead, later.payload.to_vec()));
        Self {
            what: What::Gap(gap.reason, later),
            media: gap.timestamp,
            duration: gap.duration.min(rate.ticks(MAX_GAP_NS)),
            stamp: None,
            captured: None,
            marker: false,
            seen,
            payload: Vec::new(),
        }
    }

    /// Silence that no record speaks of.
    pub(crate) fn hole(media: MediaTime, duration: u64) -> Self {
        Self {
            what: What::Gap(GapReason::Lost, None),
            media,
            duration,
            stamp: None,
            captured: None,
            marker: false,
            seen: Stamp::ZERO,
            payload: Vec::new(),
        }
    }
}

/// The records of a stream that wait.
#[derive(Debug)]
pub(crate) struct Waiting {
    rate: Rate,
    /// By the sender's starts, then by media time, then as they came.
    items: BTreeMap<(u32, MediaTime, u64), Item>,
    count: u64,
    start: u32,
    /// Where the newest ends, and when it came.
    newest: Option<(MediaTime, Stamp)>,
}

impl Waiting {
    pub(crate) const fn new(rate: Rate) -> Self {
        Self { rate, items: BTreeMap::new(), count: 0, start: 0, newest: None }
    }

    /// Takes a record.
    pub(crate) fn push(&mut self, item: Item) {
        let (end, stamp) = (item.media.plus(item.duration), item.stamp.unwrap_or(item.seen));
        // A step ahead is a hole, or the clock says that it is none; back it is a sender that began anew.
        if self.newest.is_some_and(|(newest, _)| self.ns(newest.since(item.media)) > ANEW_NS) {
            self.start += 1;
            self.newest = None;
        }
        self.newest = Some(self.newest.map_or((end, stamp), |newest| newest.max((end, stamp))));
        self.items.insert((self.start, item.media, self.count), item);
        self.count += 1;
    }

    /// The next record and which start of the sender it belongs to, where it has waited long enough at `clock`.
    pub(crate) fn ready(&self, clock: Stamp, all: bool) -> Option<(u32, &Item)> {
        let (&(start, ..), item) = self.items.first_key_value()?;
        let waited = clock.since(item.seen) >= HOLD_NS || self.items.len() > MAX_WAITING || all;
        (waited || self.newest.is_some_and(|(_, stamp)| stamp == Stamp::ZERO)).then_some((start, item))
    }

    pub(crate) fn pop(&mut self) -> Option<Item> {
        self.items.pop_first().map(|(_, item)| item)
    }

    /// Media times and stamps of the records that wait, of one start; those of capture only, if asked to.
    pub(crate) fn stamps(&self, start: u32, captured: bool) -> impl Iterator<Item = (MediaTime, Stamp)> {
        self.items
            .range((start, MediaTime(0), 0)..(start + 1, MediaTime(0), 0))
            .filter_map(move |(_, item)| Some((item.media, if captured { item.captured } else { item.stamp }?)))
    }

    fn ns(&self, ticks: u64) -> i64 {
        self.rate.ns(ticks)
    }
}
