//! A recording: all streams of the pipe on one time line.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use serde_json::json;
use vox_cli::{Failure, warn};
use vox_frame::{Channels, Codec, Event, Format, Rate, Record, Stamp, StreamId, Times};

use crate::args::{Args, Kind, Split, TimelineKind};
use crate::item::{HOLD_NS, Item};
use crate::mix::Mix;
use crate::name::Facts;
use crate::packets::OpusLane;
use crate::pcm::PcmLane;
use crate::store::Store;
use crate::tape::Tape;
use crate::track::{Around, Track};

/// The most streams that are recorded at a time: each has its file open.
const MAX_TRACKS: usize = 512;

/// The most files of streams that are over and are still open.
const MAX_ENDED: usize = 256;

/// How long nobody pauses before it is said that nobody tells where talk ends, in ns.
const PAUSELESS_NS: i64 = 60_000_000_000;

/// A live stream's stamps are this near to the present, in ns.
const LIVE_NS: i64 = 10_000_000_000;

/// A recording.
pub struct Session<'a> {
    args: &'a Args,
    store: Store,
    only_mix: bool,
    mix: Option<Mix>,
    open: BTreeMap<StreamId, Track>,
    /// Streams that are over, whose files grow with the recording.
    ended: VecDeque<Track>,
    /// How far the streams go that are over, in ns.
    longest: i64,
    /// When the recording begins; none before that is known.
    origin: Option<Stamp>,
    /// The first stamp.
    first: Option<Stamp>,
    /// The latest stamp; zero while there is none.
    clock: Stamp,
    live: bool,
    /// When the first stream was announced: what files are named by.
    named: Option<Stamp>,
    /// The clock when all streams were last looked at.
    swept: Stamp,
    refused: u64,
    /// Whether files are to end where talk does, and nothing has told yet where that is.
    awaits_pause: bool,
}

impl<'a> Session<'a> {
    /// A recording into a folder or a file.
    ///
    /// # Errors
    /// Where the folder cannot be made, or the arguments do not fit each other.
    pub fn new(args: &'a Args, to: &Path) -> Result<Self, Failure> {
        let store = Store::new(args, to)?;
        let only_mix = args.mix && to.extension().is_some() && !to.is_dir();
        if only_mix && store.kind() == Kind::Opus {
            return Err(Failure::usage("a mix is no Opus packet that came: record it as .wav or .flac"));
        }
        Ok(Self {
            args,
            store,
            only_mix,
            mix: None,
            open: BTreeMap::new(),
            ended: VecDeque::new(),
            longest: 0,
            origin: None,
            first: None,
            clock: Stamp::ZERO,
            live: false,
            named: None,
            swept: Stamp::ZERO,
            refused: 0,
            awaits_pause: args.split == Some(Split::Talkspurt),
        })
    }

    /// Takes a record that was read at `now`.
    ///
    /// # Errors
    /// Where a file cannot be made or written (1).
    pub fn handle(&mut self, record: &Record<'_>, now: Stamp) -> Result<(), Failure> {
        match record {
            Record::Format(id, format) => self.begin(*id, format, now),
            Record::Audio(audio) if !audio.padding => {
                let Some(stamp) = self.stamp(audio.id, &audio.times, now) else { return Ok(()) };
                let item = Item::audio(audio, stamp, self.clock);
                self.push(audio.id, item)
            }
            Record::Gap(gap) if gap.duration > 0 => {
                let Some(track) = self.open.get(&gap.id) else { return Ok(()) };
                self.awaits_pause &= !gap.reason.is_silence();
                let item = Item::gap(gap, track.rate(), self.clock);
                self.push(gap.id, item)
            }
            Record::End(end) => {
                let Some(mut track) = self.open.remove(&end.id) else { return Ok(()) };
                track.end(end.timestamp);
                self.close(end.id, track, end.reason.name())
            }
            Record::Event(event) => self.event(event),
            Record::Audio(_) | Record::Gap(_) | Record::Unknown(_) => Ok(()),
        }
    }

    /// Makes the files whole as they stand, and goes on without records where the world does.
    ///
    /// # Errors
    /// Where they cannot be written (1).
    pub fn tick(&mut self, now: Stamp) -> Result<(), Failure> {
        if self.live {
            self.clock = self.clock.max(now);
        }
        // A stream may be announced long before its first record: until then nobody knows when the recording begins.
        if self.clock != Stamp::ZERO {
            self.sweep()?;
            self.keep_up()?;
        }
        if self.first.is_some_and(|first| self.clock.since(first) >= PAUSELESS_NS) {
            self.tell_of_pauses();
        }
        let mut files = Vec::new();
        for track in self.open.values_mut().chain(&mut self.ended) {
            if let Some(tape) = track.pcm.as_mut().and_then(PcmLane::tape) {
                files.extend(tape.flush()?);
            }
            if let Some(opus) = &mut track.opus {
                files.extend(opus.flush()?);
            }
        }
        if let Some(mix) = &mut self.mix {
            files.extend(mix.flush()?);
        }
        if !files.is_empty() {
            self.store.sync(files, now);
        }
        Ok(())
    }

    /// Ends the recording: all files become equally long. Every file is ended, also where one cannot be.
    ///
    /// # Errors
    /// The first that went wrong.
    pub fn finish(mut self, reason: &str) -> Result<(), Failure> {
        let mut outcome = Ok(());
        if self.longest > 0 || !self.open.is_empty() {
            self.tell_of_pauses();
        }
        let mut keep = |result: Result<(), Failure>| outcome = std::mem::replace(&mut outcome, Ok(())).and(result);
        while let Some((id, track)) = self.open.pop_first() {
            keep(self.close(id, track, reason));
        }
        let length = self.longest;
        while let Some(track) = self.ended.pop_front() {
            keep(pad(track, length, &mut self.store));
        }
        if let Some(mix) = &mut self.mix {
            match mix.finish(length, &mut self.store) {
                Ok(0) => {}
                Ok(late) => keep(self.store.note(&json!({"late": late, "stream": "mix"}))),
                Err(error) => keep(Err(error)),
            }
        }
        if self.origin.is_some() {
            keep(self.store.note(&json!({"length": length as f64 / 1e9, "reason": reason})));
        }
        if self.refused > 0 {
            warn(format_args!("{} streams are not recorded: {MAX_TRACKS} are the most", self.refused));
        }
        outcome
    }

    /// A stream begins; one of that id that is open is over.
    fn begin(&mut self, id: StreamId, format: &Format, now: Stamp) -> Result<(), Failure> {
        if let Some(track) = self.open.remove(&id) {
            self.close(id, track, "replaced")?;
        }
        if self.open.len() >= MAX_TRACKS {
            self.refused += 1;
            return Ok(());
        }
        if self.open.is_empty() {
            // What follows may be another recording, with stamps of another day.
            self.clock = Stamp::ZERO;
            self.swept = Stamp::ZERO;
        }
        let begins = if self.open.is_empty() { self.longest } else { 0 };
        let start = *self.named.get_or_insert(now);
        let facts = Facts::of(id, format, start);
        let name = id.to_string();
        let mut track = Track::new(name.clone(), format.rate, self.args.timeline == TimelineKind::Media, begins);
        let packets = self.store.kind() == Kind::Opus && format.codec == Codec::Opus && !self.only_mix;
        if packets {
            let split = self.store.split;
            track.opus = Some(OpusLane::new(facts.clone(), name.clone(), format, self.args.conceal, split));
        }
        if !packets || self.args.mix {
            match PcmLane::new(id, format, self.args.conceal) {
                Ok(mut pcm) => {
                    let (rate, channels) = (pcm.rate(), pcm.channels());
                    if self.args.mix {
                        self.open_mix(id, rate, channels, start);
                    }
                    if !packets && !self.only_mix {
                        let float = format.codec == Codec::PcmF32;
                        let spec = self.store.spec(&format!("stream {id}"), float, rate, channels);
                        pcm.set_tape(Tape::new(facts, name.clone(), spec, self.store.split));
                    }
                    track.pcm = Some(pcm);
                }
                Err(error) => {
                    warn(format_args!("stream {id} is not recorded: {error}"));
                    return Ok(());
                }
            }
        }
        self.open.insert(id, track);
        self.pending_note(json!({
            "stream": name, "label": format.label, "codec": format.codec.name(), "rate": format.rate.hz(),
            "channels": format.channels.count(), "live": format.live, "rtp": format.rtp,
            "unix": now.ns() as f64 / 1e9,
        }))
    }

    fn open_mix(&mut self, id: StreamId, rate: Rate, channels: Channels, start: Stamp) {
        let mixed = self.args.rate.map_or(rate, |rate| rate.0);
        let store = &self.store;
        let mix = self.mix.get_or_insert_with(|| {
            let spec = store.spec("the mix", false, mixed, channels);
            Mix::new(mixed, channels, Tape::new(Facts::mix(start), "mix".to_owned(), spec, store.split))
        });
        mix.open(id, rate, channels);
    }

    /// The stamp of a record that counts, which moves the common clock on; none for a stream that is not recorded.
    fn stamp(&mut self, id: StreamId, times: &Times, now: Stamp) -> Option<Option<Stamp>> {
        let stamp = self.open.get_mut(&id)?.stamp(times);
        if let Some(stamp) = stamp {
            self.first = Some(self.first.map_or(stamp, |first| first.min(stamp)));
            self.live = now.since(stamp).abs() < LIVE_NS;
            self.clock = if self.clock == Stamp::ZERO { stamp } else { self.clock.max(stamp) };
        }
        Some(stamp)
    }

    fn push(&mut self, id: StreamId, item: Item) -> Result<(), Failure> {
        let Some(track) = self.open.get_mut(&id) else { return Ok(()) };
        track.push(item);
        /// How often all streams are looked at, in ns of the common clock.
        const SWEEP_NS: i64 = 20_000_000;
        if self.clock != Stamp::ZERO {
            return if self.clock.since(self.swept) >= SWEEP_NS { self.sweep() } else { Ok(()) };
        }
        // Without stamps nobody waits for anybody.
        let Some(origin) = self.origin(false)? else { return Ok(()) };
        let Some(track) = self.open.get_mut(&id) else { return Ok(()) };
        track.release(self.clock, false, &mut Around { origin, store: &mut self.store, mix: self.mix.as_mut() })?;
        self.mix.as_mut().map_or(Ok(()), |mix| mix.advance(0, &mut self.store))
    }

    /// Lets every stream write what has waited long enough.
    fn sweep(&mut self) -> Result<(), Failure> {
        let Some(origin) = self.origin(false)? else { return Ok(()) };
        self.swept = self.clock;
        for track in self.open.values_mut() {
            let mut around = Around { origin, store: &mut self.store, mix: self.mix.as_mut() };
            track.release(self.clock, false, &mut around)?;
        }
        if let Some(mix) = &mut self.mix {
            mix.advance(self.clock.since(origin), &mut self.store)?;
        }
        Ok(())
    }

    /// Lets the files of streams that are over grow with the recording, so that a crash leaves them as long as the rest.
    fn keep_up(&mut self) -> Result<(), Failure> {
        let reached = self.open.values().map(Track::reached_ns).fold(self.longest, i64::max);
        for track in &mut self.ended {
            if let Some(tape) = track.pcm.as_mut().and_then(PcmLane::tape) {
                catch_up(tape, reached, &mut self.store)?;
            }
            if let Some(opus) = &mut track.opus {
                opus.keep_up(reached, &mut self.store)?;
            }
        }
        Ok(())
    }

    /// When the recording begins: with the earliest of the first records of all streams that begin together.
    fn origin(&mut self, now: bool) -> Result<Option<Stamp>, Failure> {
        if self.origin.is_none() {
            let waited = self.first.is_some_and(|first| self.clock.since(first) >= HOLD_NS);
            if !waited && !now && self.clock != Stamp::ZERO {
                return Ok(None);
            }
            let earliest = self.open.values().filter_map(Track::first_stamp).min();
            let origin = earliest.or(self.first).unwrap_or(Stamp::ZERO);
            self.origin = Some(origin);
            let named = self.named.unwrap_or(origin);
            self.store.begin(named, if earliest.is_some() { origin } else { named })?;
        }
        Ok(self.origin)
    }

    fn close(&mut self, id: StreamId, mut track: Track, reason: &str) -> Result<(), Failure> {
        self.open.insert(id, track);
        let origin = self.origin(true)?.unwrap_or(Stamp::ZERO);
        track = match self.open.remove(&id) {
            Some(track) => track,
            None => return Ok(()),
        };
        let mut around = Around { origin, store: &mut self.store, mix: self.mix.as_mut() };
        let released = track.release(self.clock, true, &mut around);
        if let Some(mix) = &mut self.mix {
            mix.close(id);
        }
        let note = json!({"ended": track.name, "at": track.reached_ns() as f64 / 1e9, "reason": reason});
        self.longest = self.longest.max(track.reached_ns());
        self.ended.push_back(track);
        released?;
        self.store.note(&note)?;
        // Of very many streams the first that ended get their length now: files cannot all stay open.
        match self.ended.len() > MAX_ENDED {
            true => self.ended.pop_front().map_or(Ok(()), |first| pad(first, self.longest, &mut self.store)),
            false => Ok(()),
        }
    }

    fn event(&mut self, event: &Event) -> Result<(), Failure> {
        let stamp = event.times.captured.or(event.times.arrived).unwrap_or(self.clock);
        let at = self.origin.filter(|_| stamp != Stamp::ZERO).map(|origin| stamp.since(origin) as f64 / 1e9);
        self.pending_note(json!({"event": event.event, "stream": event.id.to_string(), "media": event.timestamp.0,
            "at": at, "details": event.details}))
    }

    /// Says once that one file is all that `--split talkspurt` makes of what has no pauses.
    fn tell_of_pauses(&mut self) {
        if std::mem::take(&mut self.awaits_pause) {
            warn(
                "--split talkspurt: nothing in the pipe says where talk ends (no gap is silent or muted), so all of it \
                 is one file; put `vox-gate` before, which does (after `vox-decode`, where it is coded)",
            );
        }
    }

    /// A line for the sidecar, which begins with the recording.
    fn pending_note(&mut self, line: serde_json::Value) -> Result<(), Failure> {
        self.store.note_or_keep(line)
    }
}

/// Ends the files of a stream so that they are `length` ns long. Every file is ended, also where one cannot be.
fn pad(mut track: Track, length: i64, store: &mut Store) -> Result<(), Failure> {
    let mut outcome = Ok(());
    if let Some(tape) = track.pcm.as_mut().and_then(PcmLane::tape) {
        let padded = catch_up(tape, length, store);
        outcome = tape.cut(store).and(padded);
    }
    if let Some(opus) = &mut track.opus {
        outcome = opus.finish(length, store).and(outcome);
    }
    outcome
}

/// Silence up to `length` ns.
fn catch_up(tape: &mut Tape, length: i64, store: &mut Store) -> Result<(), Failure> {
    let missing = tape.rate().ticks(length).saturating_sub(tape.position());
    if missing > 0 { tape.silence(store, missing) } else { Ok(()) }
}
