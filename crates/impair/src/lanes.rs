//! All streams of the pipe, and what is on its way.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use vox_cli::{Failure, Output, StatsFile, warn};
use vox_frame::{Audio, Format, Gap, MediaTime, Raw, Record, Stamp, StreamId, Times};
use vox_link::{Config, Fate, Tally};

use crate::args::Args;
use crate::lane::Lane;

/// The most records on their way, and their bytes: minutes of several streams. What comes beyond is lost.
const MAX_HELD: usize = 65_536;
const MAX_BYTES: usize = 64 << 20;

/// Bytes of IPv4, UDP and RTP headers that a packet has on the wire beside its audio.
const HEADERS: usize = 40;

/// A live stream whose stamps are older than this, in ns, is a recording.
const RECORDING_NS: i64 = 10_000_000_000;

/// How much of a stream that nobody paces is read ahead, in ns.
const READ_AHEAD_NS: i64 = 100_000_000;

/// The most streams at a time.
const MAX_STREAMS: usize = 1024;

/// Whether time is real.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Live,
    Virtual,
}

/// The network.
pub(crate) struct Lanes {
    config: Config,
    seed: u64,
    mode: Option<Mode>,
    /// Whether the command line asks for real delays.
    paces: bool,
    lanes: BTreeMap<StreamId, Lane>,
    opened: u64,
    held: BTreeMap<(Stamp, u64), Held>,
    count: u64,
    bytes: usize,
    /// The largest time of sending seen: the clock of virtual time.
    latest: Stamp,
    /// Nothing that comes later arrives before this.
    reached: Stamp,
    overflowed: u64,
    total: Tally,
    file: Option<StatsFile>,
}

/// A record on its way.
enum Held {
    Bytes { id: StreamId, bytes: Vec<u8>, reached: MediaTime },
    Record(StreamId, Record<'static>),
}

impl Lanes {
    pub(crate) fn new(args: &Args) -> Result<Self, Failure> {
        let mode = match (args.live, args.r#virtual) {
            (true, _) => Some(Mode::Live),
            (_, true) => Some(Mode::Virtual),
            _ => None,
        };
        Ok(Self {
            config: args.config()?,
            seed: args.seed,
            mode,
            paces: args.live,
            lanes: BTreeMap::new(),
            opened: 0,
            held: BTreeMap::new(),
            count: 0,
            bytes: 0,
            latest: Stamp::ZERO,
            reached: Stamp::from_ns(i64::MIN),
            overflowed: 0,
            total: Tally::default(),
            file: args.stats.as_deref().map(StatsFile::create).transpose()?,
        })
    }

    /// When the next record arrives, in real time; none in virtual time.
    pub(crate) fn next_deadline(&self) -> Option<Stamp> {
        let (at, _) = self.held.keys().next()?;
        (self.mode == Some(Mode::Live)).then_some(*at)
    }

    /// Until when no more is to be read, as a stream that nobody paces was read far enough ahead.
    pub(crate) fn full_until(&self, now: Stamp) -> Option<Stamp> {
        let unpaced = self.mode == Some(Mode::Live) && self.lanes.values().any(Lane::is_unpaced);
        let until = self.latest.plus(-READ_AHEAD_NS);
        (unpaced && until > now).then_some(until)
    }

    /// Takes a record that was read at `now`.
    pub(crate) fn handle(&mut self, raw: Raw<'_>, now: Stamp, output: &mut Output) -> Result<(), Failure> {
        match raw.parse()? {
            Record::Format(id, format) => self.handle_format(id, format, output),
            Record::Audio(audio) => {
                self.handle_audio(&audio, now);
                Ok(())
            }
            Record::Gap(gap) => {
                self.handle_gap(&gap, now);
                Ok(())
            }
            Record::End(end) => {
                if let Some(lane) = self.lanes.get_mut(&end.id) {
                    lane.ended = true;
                }
                self.follow(end.id, Held::Record(end.id, Record::End(end)), output)
            }
            Record::Event(_) | Record::Unknown(_) => {
                let held = Held::Bytes { id: raw.id(), bytes: raw.bytes().to_vec(), reached: MediaTime(0) };
                self.follow(raw.id(), held, output)
            }
        }
    }

    /// Hands on what has arrived: by the clock in real time, else what nothing sent later can overtake.
    pub(crate) fn release(&mut self, now: Stamp, output: &mut Output) -> Result<(), Failure> {
        let until = if self.mode == Some(Mode::Live) { now } else { self.reached };
        self.release_until(until, output)
    }

    /// Hands on all that is on its way.
    pub(crate) fn release_all(&mut self, output: &mut Output) -> Result<(), Failure> {
        self.release_until(Stamp::from_ns(i64::MAX), output)
    }

    /// The last line of the statistics.
    pub(crate) fn summarise(&mut self) {
        for id in self.lanes.keys().copied().collect::<Vec<_>>() {
            self.retire(id);
        }
        let (total, overflowed) = (self.total, self.overflowed);
        if let Some(file) = &mut self.file {
            let mut line = tally("summary", &total);
            line["streams"] = json!(self.opened);
            line["packetsOverflowed"] = json!(overflowed);
            file.line(&line);
        }
    }

    fn handle_format(&mut self, id: StreamId, mut format: Format, output: &mut Output) -> Result<(), Failure> {
        if self.lanes.len() >= MAX_STREAMS && !self.lanes.contains_key(&id) {
            return Err(Failure::input(format_args!("more than {MAX_STREAMS} streams are open in one pipe")));
        }
        match self.lanes.get_mut(&id) {
            Some(lane) => lane.begin_anew(format.clone()),
            None => {
                // The first stream takes the seed itself, the others one each, by their order.
                let seed = self.seed ^ self.opened.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                self.lanes.insert(id, Lane::new(format.clone(), self.config.clone(), seed));
                self.opened += 1;
            }
        }
        // What is paced here is live for those behind.
        format.live |= self.paces;
        self.follow(id, Held::Record(id, Record::Format(id, format)), output)
    }

    fn handle_audio(&mut self, audio: &Audio<'_>, now: Stamp) {
        let ticks = u64::from(audio.duration);
        let Some(sent) = self.sent(audio.id, &audio.times, audio.timestamp, ticks, now) else { return };
        let Some(lane) = self.lanes.get_mut(&audio.id) else { return };
        let passage = lane.link.handle_packet(sent, audio.payload.len() + HEADERS);
        self.reached = self.reached.max(lane.link.earliest(sent));
        let captured = audio.times.captured.or_else(|| {
            let span = lane.format.rate.ns(ticks);
            (self.paces && !lane.format.live).then(|| sent.plus(-span))
        });
        let arrivals = match passage.fate {
            Fate::Arrives(at) => [Some(at), passage.copy],
            Fate::Lost(_) => [None, None],
        };
        for at in arrivals.into_iter().flatten() {
            if self.held.len() >= MAX_HELD || self.bytes >= MAX_BYTES {
                self.overflow();
                continue;
            }
            // A network knows nothing of when a record is to be played.
            let times = Times { captured, arrived: Some(at), due: None };
            let mut bytes = Vec::with_capacity(audio.payload.len() + 64);
            Audio { times, slot: None, ..*audio }.write(&mut bytes);
            self.hold(at, audio.id, Held::Bytes { id: audio.id, bytes, reached: audio.timestamp.plus(ticks) });
        }
    }

    /// A gap that was there before the network is known to the other side: in a real network by what is not sent.
    fn handle_gap(&mut self, gap: &Gap<'_>, now: Stamp) {
        let Some(sent) = self.sent(gap.id, &gap.times, gap.timestamp, gap.duration, now) else { return };
        let Some(lane) = self.lanes.get(&gap.id) else { return };
        let at = lane.last.max(lane.link.earliest(sent));
        self.reached = self.reached.max(lane.link.earliest(sent));
        let times = Times { arrived: Some(at), due: None, ..gap.times };
        let mut bytes = Vec::new();
        Gap { times, slot: None, ..*gap }.write(&mut bytes);
        self.hold(at, gap.id, Held::Bytes { id: gap.id, bytes, reached: gap.timestamp.plus(gap.duration) });
    }

    /// When a record is sent; none for a stream that was never announced.
    fn sent(&mut self, id: StreamId, times: &Times, from: MediaTime, ticks: u64, now: Stamp) -> Option<Stamp> {
        let lane = self.lanes.get_mut(&id)?;
        let mode = *self.mode.get_or_insert_with(|| {
            let age = times.arrived.or(times.captured).map_or(0, |stamp| now.since(stamp));
            if lane.format.live && age.abs() < RECORDING_NS { Mode::Live } else { Mode::Virtual }
        });
        let sent = match mode {
            Mode::Live => lane.sent_live(times, from, ticks, now),
            // A stream behind one that has ended begins where that one has come to.
            Mode::Virtual => lane.sent_virtually(times, from, ticks, self.latest),
        };
        self.latest = self.latest.max(sent);
        Some(sent)
    }

    /// Keeps a record behind those of its stream that are on their way, or hands it on where there are none.
    fn follow(&mut self, id: StreamId, held: Held, output: &mut Output) -> Result<(), Failure> {
        match self.lanes.get(&id).filter(|lane| lane.held > 0).map(|lane| lane.last) {
            Some(at) => {
                self.hold(at, id, held);
                Ok(())
            }
            None => self.write(held, output),
        }
    }

    fn hold(&mut self, at: Stamp, id: StreamId, held: Held) {
        if let Held::Bytes { bytes, .. } = &held {
            self.bytes += bytes.len();
        }
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.last = lane.last.max(at);
            lane.held += 1;
        }
        self.held.insert((at, self.count), held);
        self.count += 1;
    }

    fn release_until(&mut self, until: Stamp, output: &mut Output) -> Result<(), Failure> {
        while let Some(entry) = self.held.first_entry().filter(|entry| entry.key().0 <= until) {
            let held = entry.remove();
            let (Held::Bytes { id, .. } | Held::Record(id, _)) = &held;
            if let Some(lane) = self.lanes.get_mut(id) {
                lane.held -= 1;
            }
            if let Held::Bytes { bytes, .. } = &held {
                self.bytes -= bytes.len();
            }
            self.write(held, output)?;
        }
        Ok(())
    }

    fn write(&mut self, held: Held, output: &mut Output) -> Result<(), Failure> {
        match held {
            Held::Bytes { id, bytes, reached } => {
                if output.room() < bytes.len() {
                    output.flush()?;
                }
                output.buffer().extend_from_slice(&bytes);
                output.written(id, reached)
            }
            Held::Record(id, record) => {
                output.write(&record)?;
                if matches!(record, Record::End(_)) && self.lanes.get(&id).is_some_and(|lane| lane.ended) {
                    self.retire(id);
                }
                Ok(())
            }
        }
    }

    fn overflow(&mut self) {
        self.overflowed += 1;
        if self.overflowed == 1 {
            warn(format_args!(
                "more than {MAX_HELD} records or {} MiB are on their way: further ones are lost",
                MAX_BYTES >> 20
            ));
        }
    }

    /// Takes away a stream that has ended.
    fn retire(&mut self, id: StreamId) {
        let Some(lane) = self.lanes.remove(&id) else { return };
        let of_lane = *lane.link.tally();
        let total = &mut self.total;
        total.packets += of_lane.packets;
        total.lost += of_lane.lost;
        total.dropped += of_lane.dropped;
        total.reordered += of_lane.reordered;
        total.duplicated += of_lane.duplicated;
        total.delay_ns += of_lane.delay_ns;
        total.longest_ns = total.longest_ns.max(of_lane.longest_ns);
        if let Some(file) = &mut self.file {
            let mut line = tally("stream-end", &of_lane);
            line["stream"] = json!(id.to_string());
            file.line(&line);
        }
    }
}

/// What a link did, as JSON.
pub(crate) fn tally(kind: &str, tally: &Tally) -> Value {
    let arrived = tally.packets - tally.lost;
    let mean_ms = tally.delay_ns as f64 / arrived.max(1) as f64 / 1e6;
    let round = |value: f64| (value * 1e3).round() / 1e3;
    json!({
        "type": kind,
        "packetsSent": tally.packets,
        "packetsLost": tally.lost,
        "packetsDropped": tally.dropped,
        "packetsReordered": tally.reordered,
        "packetsDuplicated": tally.duplicated,
        "lostPercent": round(100.0 * tally.lost as f64 / tally.packets.max(1) as f64),
        "delayMs": round(mean_ms),
        "longestDelayMs": round(tally.longest_ns as f64 / 1e6),
    })
}
