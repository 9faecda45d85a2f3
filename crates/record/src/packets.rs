//! Opus packets on their way into Ogg, as they are: where time is missing or too much, whole packets are put in or left
//! out.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use vox_cli::Failure;
use vox_container::ogg_opus::{Writer, missing, silence};
use vox_frame::{Channels, Format, MediaTime, Rate};

use crate::aim::Aim;
use crate::args::Split;
use crate::item::{Item, What};
use crate::name::{Facts, cannot};
use crate::store::Store;

/// What a decoder is given before a file's first sample that is not the stream's first, in ticks (RFC 7845, section
/// 4.6: at least 80 ms).
const PREROLL: u64 = 3840;

/// The shortest packet, in ticks: 2.5 ms.
const SHORTEST: i64 = 120;

/// The longest packet of silence, in ticks.
const WHOLE: i64 = 960;

/// How much of a gap is concealed by packets that say that they are missing, in ticks.
const CONCEALED: i64 = 24_000;

/// Packets that are this small beside the usual hold nothing that would be missed.
const QUIET: usize = 3;

/// An Ogg file that grows.
struct Ogg {
    file: Arc<File>,
    path: PathBuf,
    writer: Writer,
    length: u64,
    /// Something found no room: what comes later would lie behind a hole.
    full: bool,
    /// Ticks that are decoded before the file's first.
    pre_skip: i64,
    /// Ticks between the beginnings of the recording and of the file.
    begins: i64,
}

/// The packets of one stream.
pub(crate) struct OpusLane {
    stream: String,
    facts: Facts,
    channels: Channels,
    /// The encoder's delay.
    delay: i64,
    conceal: bool,
    ogg: Option<Ogg>,
    parts: u32,
    every: Option<i64>,
    spurts: bool,
    /// Ticks since the recording began at which the next packet is heard, the encoder's delay too; none before the
    /// first.
    position: Option<i64>,
    /// The last packets, at least as many as a decoder needs to be in tune.
    recent: Vec<(Vec<u8>, u64)>,
    /// Bytes of the usual packet.
    usual: usize,
    dirty: bool,
}

impl OpusLane {
    /// A stream of that format.
    pub(crate) fn new(facts: Facts, stream: String, format: &Format, conceal: bool, split: Option<Split>) -> Self {
        let every = match split {
            Some(Split::Every(ns)) => Some(Rate::HZ_48000.ticks(ns).cast_signed()),
            _ => None,
        };
        Self {
            stream,
            facts,
            channels: format.channels,
            delay: i64::from(format.pre_skip.min(u32::from(u16::MAX))),
            conceal,
            ogg: None,
            parts: 0,
            every,
            spurts: split == Some(Split::Talkspurt),
            position: None,
            recent: Vec::new(),
            usual: 0,
            dirty: false,
        }
    }

    /// ns since the recording began, as far as is known to be heard.
    pub(crate) fn reached_ns(&self) -> i64 {
        Rate::HZ_48000.ns(self.position.unwrap_or(0).max(0).unsigned_abs())
    }

    /// Takes a packet.
    ///
    /// # Errors
    /// Where it cannot be written (1).
    pub(crate) fn audio(&mut self, item: &Item, aim: &Aim<'_>, store: &mut Store) -> Result<(), Failure> {
        let place = self.place(item.media, aim);
        let position = *self.position.get_or_insert(place);
        if self.ogg.is_none() {
            self.open(place.min(position), store)?;
        }
        let ticks = item.duration.cast_signed();
        let quiet = matches!(item.what, What::Audio(true)) || item.payload.len() <= QUIET.max(self.usual / 4);
        let off = place - self.position.unwrap_or(place);
        if off > ticks || (quiet && off > ticks / 2) {
            self.fill(off, !quiet, store)?;
            self.adjusted(off, item.media, store)?;
        } else if -off >= ticks || (quiet && -off > ticks / 2) {
            return self.adjusted(-ticks, item.media, store);
        }
        self.usual = (self.usual * 15 + item.payload.len()) / 16;
        self.write(&item.payload, item.duration, store)
    }

    /// Fills what is missing up to `item`'s end.
    ///
    /// # Errors
    /// Where it cannot be written (1).
    pub(crate) fn gap(&mut self, item: &Item, aim: &Aim<'_>, store: &mut Store) -> Result<(), Failure> {
        let What::Gap(reason, _) = &item.what else { return Ok(()) };
        let end = self.place(item.media.plus(item.duration), aim);
        let begins = self.place(item.media, aim);
        let position = *self.position.get_or_insert(begins);
        if self.spurts && reason.is_silence() {
            self.close(store, position)?;
        }
        if self.ogg.is_none() {
            self.position = Some(end.max(position));
            return Ok(());
        }
        self.fill(end - position, !reason.is_silence(), store)
    }

    /// Makes the file whole as it stands; gives it where something was written since.
    ///
    /// # Errors
    /// Where it cannot be written (1).
    pub(crate) fn flush(&mut self) -> Result<Option<Arc<File>>, Failure> {
        let Some(ogg) = self.ogg.as_mut().filter(|_| self.dirty) else { return Ok(None) };
        self.dirty = false;
        ogg.writer.flush();
        ogg.append()?;
        Ok(Some(Arc::clone(&ogg.file)))
    }

    /// Grows with the recording, up to `ns` since it began.
    ///
    /// # Errors
    /// Where it cannot be written (1).
    pub(crate) fn keep_up(&mut self, ns: i64, store: &mut Store) -> Result<(), Failure> {
        let missing = self.position.map_or(0, |position| Rate::HZ_48000.ticks(ns).cast_signed() - position);
        if self.spurts || self.ogg.is_none() || missing < WHOLE {
            return Ok(());
        }
        self.fill(missing / WHOLE * WHOLE, false, store)
    }

    /// Ends the file so that the recording is `ns` long.
    ///
    /// # Errors
    /// Where it cannot be written (1).
    pub(crate) fn finish(&mut self, ns: i64, store: &mut Store) -> Result<(), Failure> {
        let end = Rate::HZ_48000.ticks(ns).cast_signed();
        let Some(position) = self.position else { return Ok(()) };
        if !self.spurts {
            // A whole packet at last, so that the file can be cut where the recording ends.
            let missing = end - position;
            if self.ogg.is_some() && missing > 0 {
                self.fill(missing + SHORTEST, false, store)?;
            }
        }
        self.close(store, end.min(self.position.unwrap_or(end)))
    }

    /// Where the packet at `media` is heard.
    fn place(&self, media: MediaTime, aim: &Aim<'_>) -> i64 {
        aim.frames(media, Rate::HZ_48000).round() as i64 - self.delay
    }

    /// Appends `ticks` of silence, or of packets that are missing.
    fn fill(&mut self, ticks: i64, sound: bool, store: &mut Store) -> Result<(), Failure> {
        let mut left = ticks;
        let mut concealed = 0;
        while left >= SHORTEST {
            let last = self.recent.last().filter(|_| self.conceal && sound && concealed < CONCEALED);
            if let Some((payload, lasts)) = last.filter(|&&(_, lasts)| lasts.cast_signed() <= left) {
                // As many frames as the packet had are not always one: then it is silence.
                let packet = missing(payload.first().copied().unwrap_or(0));
                if vox_container::ogg_opus::ticks(&packet) == Some(*lasts) {
                    let lasts = *lasts;
                    self.write(&packet, lasts, store)?;
                    left -= lasts.cast_signed();
                    concealed += lasts.cast_signed();
                    continue;
                }
            }
            let Some((packet, lasts)) = silence(self.channels, left.unsigned_abs()) else { break };
            self.write(&packet, lasts, store)?;
            left -= lasts.cast_signed();
        }
        Ok(())
    }

    fn adjusted(&self, ticks: i64, media: MediaTime, store: &mut Store) -> Result<(), Failure> {
        store.note(&json!({"adjusted": ticks as f64 / 48_000.0, "stream": self.stream, "at": self.seconds(),
            "media": media.0}))
    }

    fn write(&mut self, payload: &[u8], ticks: u64, store: &mut Store) -> Result<(), Failure> {
        let Some(position) = self.position else { return Ok(()) };
        if self.every.zip(self.ogg.as_ref()).is_some_and(|(every, ogg)| position / every > ogg.begins / every) {
            self.close(store, position)?;
        }
        if self.ogg.is_none() {
            self.open(position, store)?;
        }
        let Some(ogg) = &mut self.ogg else { return Ok(()) };
        ogg.writer.packet(payload, ticks);
        ogg.append()?;
        self.dirty = true;
        self.position = Some(position + ticks.cast_signed());
        self.recent.push((payload.to_vec(), ticks));
        let mut kept: u64 = self.recent.iter().map(|(_, ticks)| ticks).sum();
        while self.recent.first().is_some_and(|(_, first)| kept - first >= PREROLL) {
            kept -= self.recent.remove(0).1;
        }
        Ok(())
    }

    /// Opens a file whose first packet is heard at `place`.
    fn open(&mut self, place: i64, store: &mut Store) -> Result<(), Failure> {
        self.parts += 1;
        let part = (self.every.is_some() || self.spurts).then_some(self.parts);
        let (file, path) = store.ogg(&self.facts, part)?;
        let alone = part.is_some() && self.parts > 1 || self.spurts;
        let preroll: Vec<_> = if alone { self.recent.clone() } else { Vec::new() };
        // A file begins where the recording does, a later part where it was cut. What comes before it is skipped: the
        // encoder's delay, packets that only tune the decoder, and what makes silence a whole number of packets.
        let begins = if alone { place.max(0) } else { 0 };
        let odd = if alone { 0 } else { (SHORTEST - place.max(0) % SHORTEST) % SHORTEST };
        let tuned: u64 = preroll.iter().map(|(_, ticks)| ticks).sum();
        let pre_skip = odd + tuned.cast_signed() + (-place).max(0);
        let pre_skip = pre_skip.clamp(0, i64::from(u16::MAX));
        let comments = [format!("TITLE={}", self.facts.label), format!("DATE={}", self.facts.start)];
        let mut serial = [0; 4];
        getrandom::fill(&mut serial).map_err(|error| Failure::failed(format_args!("no random numbers: {error}")))?;
        let writer = Writer::new(u32::from_ne_bytes(serial), self.channels, pre_skip as u16, &comments);
        store.note(&json!({
            "file": path.file_name().map(|name| name.to_string_lossy().into_owned()),
            "stream": self.stream,
            "at": begins as f64 / 48_000.0,
            "rate": 48_000,
            "channels": self.channels.count(),
            "codec": "opus",
        }))?;
        let mut ogg = Ogg { file: Arc::new(file), path, writer, length: 0, full: false, pre_skip, begins };
        for (payload, ticks) in preroll {
            ogg.writer.packet(&payload, ticks);
        }
        ogg.append()?;
        self.ogg = Some(ogg);
        if !alone && place > 0 {
            let position = self.position;
            self.position = Some(-odd);
            let recent = std::mem::take(&mut self.recent);
            self.fill(place + odd, false, store)?;
            self.recent = recent;
            self.position = position;
        }
        Ok(())
    }

    /// Ends the file, `end` ticks behind the beginning of the recording.
    fn close(&mut self, store: &mut Store, end: i64) -> Result<(), Failure> {
        let Some(mut ogg) = self.ogg.take() else { return Ok(()) };
        let granule = end - ogg.begins + ogg.pre_skip;
        ogg.writer.finish(granule.max(0).unsigned_abs());
        ogg.append()?;
        let name = ogg.path.file_name().map(|name| name.to_string_lossy().into_owned());
        store.note(&json!({"closed": name, "until": end as f64 / 48_000.0}))
    }

    fn seconds(&self) -> f64 {
        self.position.unwrap_or(0) as f64 / 48_000.0
    }
}

impl Ogg {
    /// Appends the pages that are whole; where they do not fit the disk, the file ends behind the last that did.
    fn append(&mut self) -> Result<(), Failure> {
        let bytes = self.writer.take();
        if bytes.is_empty() || self.full {
            return Ok(());
        }
        if let Err(error) = self.file.write_all_at(&bytes, self.length) {
            self.full = true;
            let _shorter = self.file.set_len(self.length);
            return Err(cannot("write", &self.path, &error));
        }
        self.length += bytes.len() as u64;
        Ok(())
    }
}
