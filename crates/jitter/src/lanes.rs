//! All streams of the pipe: a lane each, and the clock that they share.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use vox_cli::{Failure, Output, StatsFile, warn};
use vox_frame::{Audio, Format, Gap, Raw, Record, Stamp, StreamId, Times};
use vox_playout::{Config, Rule};
use vox_sys::Clock;

use crate::args::Args;
use crate::bar::Bar;
use crate::lane::{Lane, Step};
use crate::stats::{self, Totals};
use crate::trace::Trace;

/// A live stream that arrived longer ago than this, in ns, is a recording.
const RECORDING_NS: i64 = 10_000_000_000;

/// How much of a stream that nobody paces is read ahead, in packets.
const READ_AHEAD: usize = 50;

/// The most streams of one id that wait for the one before them to play out.
const MAX_SUCCESSORS: usize = 8;

/// How long the input is left alone at most, in ns, and by how many streams: a pipe of a page holds what comes meanwhile.
const REST_NS: i64 = 25_000_000;
const REST_LANES: usize = 4;

/// Nanoseconds between two lines of statistics a stream.
const STATS_NS: i64 = 1_000_000_000;

/// The lanes by id. Where a stream begins anew before the last one has played out, it waits behind it.
pub(crate) struct Lanes {
    lanes: BTreeMap<StreamId, VecDeque<Lane>>,
    refused: BTreeSet<StreamId>,
    config: Config,
    max_sources: usize,
    is_virtual: bool,
    clock: Clock,
    /// The largest stamp seen: the clock in virtual time.
    latest: Stamp,
    /// Where the media time of streams without stamps has come to.
    paced: Stamp,
    file: Option<StatsFile>,
    trace: Option<Trace>,
    bar: Option<Bar>,
    told: Option<Stamp>,
    totals: Totals,
}

impl Lanes {
    /// No streams yet.
    pub(crate) fn new(args: &Args, clock: Clock) -> Result<Self, Failure> {
        Ok(Self {
            lanes: BTreeMap::new(),
            refused: BTreeSet::new(),
            config: args.config(),
            max_sources: usize::from(args.max_sources),
            is_virtual: args.r#virtual,
            clock,
            latest: Stamp::ZERO,
            paced: Stamp::ZERO,
            file: args.stats.as_deref().map(StatsFile::create).transpose()?,
            trace: args.trace.as_deref().map(Trace::create).transpose()?,
            bar: if args.r#virtual || args.stats.as_deref().is_some_and(|path| path == "-") {
                None
            } else {
                Bar::new()
            },
            told: None,
            totals: Totals::default(),
        })
    }

    /// When the next record is due.
    pub(crate) fn next_deadline(&self) -> Option<Stamp> {
        self.next().map(|(deadline, _)| deadline)
    }

    /// Whether a stream that nobody paces has been read far enough ahead.
    pub(crate) fn is_full(&self) -> bool {
        let limit = match self.config.rule {
            Rule::Count { max, .. } => READ_AHEAD.min(max.max(1)),
            Rule::Fixed { .. } | Rule::Adaptive(_) => READ_AHEAD,
        };
        let is_full = |lanes: &VecDeque<Lane>| {
            let held: usize = lanes.iter().filter(|lane| lane.origin.is_some()).map(|lane| lane.held().0).sum();
            let waits = lanes.front().is_some_and(|lane| lane.next_deadline().is_some());
            waits && (held >= limit || lanes.len() > MAX_SUCCESSORS / 2 && held > 0)
        };
        !self.is_virtual && self.lanes.values().any(is_full)
    }

    /// Whether nothing that may come before `until` changes what leaves by then: to be woken for it would be half of
    /// what this stage costs. What comes lies in the pipe until then, with the time at which it arrived.
    pub(crate) fn rests(&self, now: Stamp, until: Stamp) -> bool {
        let counts = matches!(self.config.rule, Rule::Count { .. });
        let soon = (0..=REST_NS).contains(&until.since(now));
        soon && !counts && self.lanes.len() <= REST_LANES && self.lanes.values().flatten().all(Lane::rests)
    }

    /// Takes in a record.
    pub(crate) fn handle(&mut self, raw: Raw<'_>, output: &mut Output) -> Result<(), Failure> {
        if self.refused.contains(&raw.id()) && !matches!(raw.kind(), vox_frame::Kind::Format) {
            return Ok(());
        }
        match raw.parse()? {
            Record::Format(id, format) => self.handle_format(id, format, output),
            Record::Audio(audio) if self.is_open(audio.id) => self.handle_audio(raw, &audio, output),
            Record::Gap(gap) if self.is_open(gap.id) => self.handle_gap(&gap, output),
            Record::End(end) if self.is_open(end.id) => {
                let now = self.now();
                self.open(end.id, |lane| lane.handle_end(now, Some(end)));
                Ok(())
            }
            _ => match self.lanes.get_mut(&raw.id()).and_then(VecDeque::back_mut) {
                Some(lane) => lane.handle_other(raw, output),
                None => output.raw(raw),
            },
        }
    }

    /// Nothing more will come.
    pub(crate) fn finish(&mut self, _output: &mut Output) -> Result<(), Failure> {
        let now = self.now();
        for lane in self.lanes.values_mut().flatten().filter(|lane| !lane.is_finished()) {
            lane.handle_end(now, None);
        }
        Ok(())
    }

    /// Lets out what is due at `now`.
    pub(crate) fn play(&mut self, now: Stamp, output: &mut Output) -> Result<(), Failure> {
        while let Some((deadline, id)) = self.next().filter(|(deadline, _)| *deadline <= now) {
            if !self.step(id, now, deadline, output)? {
                break;
            }
        }
        self.tell(now);
        Ok(())
    }

    /// Lets out what is due before `until` (none: all), each at its own deadline: the clock of virtual time.
    pub(crate) fn play_at_deadlines(&mut self, until: Option<Stamp>, output: &mut Output) -> Result<(), Failure> {
        while let Some((deadline, id)) = self.next() {
            if until.is_some_and(|until| deadline >= until) || !self.step(id, deadline, deadline, output)? {
                break;
            }
            self.tell(deadline);
        }
        Ok(())
    }

    /// The last line of the statistics, and the last rows of the trace.
    pub(crate) fn summarise(&mut self) -> Result<(), Failure> {
        if let Some(bar) = &mut self.bar {
            bar.clear();
        }
        if let Some(file) = &mut self.file {
            file.line(&self.totals.summary());
        }
        self.trace.as_mut().map_or(Ok(()), Trace::finish)
    }

    fn now(&self) -> Stamp {
        if self.is_virtual { self.latest } else { self.clock.now() }
    }

    /// The earliest deadline and whose it is.
    fn next(&self) -> Option<(Stamp, StreamId)> {
        let of = |(id, lanes): (&StreamId, &VecDeque<Lane>)| Some((lanes.front()?.next_deadline()?, *id));
        self.lanes.iter().filter_map(of).min()
    }

    fn is_open(&self, id: StreamId) -> bool {
        self.lanes.get(&id).and_then(VecDeque::back).is_some_and(|lane| !lane.is_finished())
    }

    fn open<T>(&mut self, id: StreamId, act: impl FnOnce(&mut Lane) -> T) -> Option<T> {
        self.lanes.get_mut(&id).and_then(VecDeque::back_mut).map(act)
    }

    fn handle_format(&mut self, id: StreamId, format: Format, output: &mut Output) -> Result<(), Failure> {
        if self.lanes.len() >= self.max_sources && !self.lanes.contains_key(&id) {
            if self.refused.is_empty() {
                warn(format_args!("more than {} streams: further ones are dropped (--max-sources)", self.max_sources));
            }
            if self.refused.len() < 65_536 {
                self.refused.insert(id);
            }
            return Ok(());
        }
        self.refused.remove(&id);
        let lane = Lane::new(id, format, self.config);
        self.push(id, lane, output)
    }

    /// Puts a lane behind those of its id; what is before it ends.
    fn push(&mut self, id: StreamId, mut lane: Lane, output: &mut Output) -> Result<(), Failure> {
        let now = self.now();
        let lanes = self.lanes.entry(id).or_default();
        match lanes.back_mut() {
            None => lane.announce(output)?,
            Some(before) if !before.is_finished() => before.handle_end(now, None),
            Some(_) => {}
        }
        lanes.push_back(lane);
        while self.lanes.get(&id).is_some_and(|lanes| lanes.len() > MAX_SUCCESSORS) {
            let Some(deadline) = self.lanes.get(&id).and_then(|lanes| lanes.front()?.next_deadline()) else { break };
            if !self.step(id, deadline, deadline, output)? {
                break;
            }
        }
        Ok(())
    }

    fn handle_audio(&mut self, raw: Raw<'_>, audio: &Audio<'_>, output: &mut Output) -> Result<(), Failure> {
        let end = audio.timestamp.plus(u64::from(audio.duration));
        let arrived = self.arrival(audio.id, &audio.times, audio.timestamp, end)?;
        self.advance(arrived, output)?;
        let (now, config) = (self.now(), self.config);
        let restarted = self.open(audio.id, |lane| lane.handle_audio(now, arrived, audio).then(|| lane.anew(config)));
        if let Some(Some(lane)) = restarted {
            self.push(audio.id, lane, output)?;
            self.open(audio.id, |lane| lane.handle_audio(now, arrived, audio));
        }
        match self.lanes.get_mut(&audio.id).and_then(VecDeque::back_mut) {
            // The decoder hears from it how loud silence is.
            Some(lane) if audio.comfort_noise().is_some() => lane.handle_other(raw, output),
            _ => Ok(()),
        }
    }

    fn handle_gap(&mut self, gap: &Gap<'_>, output: &mut Output) -> Result<(), Failure> {
        let arrived = if self.is_virtual && gap.times == Times::default() && self.begins_live(gap.id) {
            // Nobody knows when it was: it waits for a packet that tells.
            Stamp::ZERO
        } else {
            self.arrival(gap.id, &gap.times, gap.timestamp, gap.timestamp.plus(gap.duration))?
        };
        self.advance(arrived, output)?;
        self.open(gap.id, |lane| lane.handle_gap(arrived, gap));
        Ok(())
    }

    /// Whether no packet of a live stream has come yet.
    fn begins_live(&self, id: StreamId) -> bool {
        let lane = self.lanes.get(&id).and_then(VecDeque::back);
        lane.is_some_and(|lane| lane.format.live && lane.stats().packets_received == 0)
    }

    /// In virtual time the clock is the largest stamp: what is due before it goes out first.
    fn advance(&mut self, arrived: Stamp, output: &mut Output) -> Result<(), Failure> {
        if self.is_virtual {
            self.latest = self.latest.max(arrived);
            self.play_at_deadlines(Some(self.latest), output)?;
        }
        Ok(())
    }

    /// When a record arrived: as stamped, else (live) now, else as if somebody had paced the stream by media time.
    fn arrival(
        &mut self,
        id: StreamId,
        times: &Times,
        from: vox_frame::MediaTime,
        end: vox_frame::MediaTime,
    ) -> Result<Stamp, Failure> {
        let (now, is_virtual) = (self.now(), self.is_virtual);
        let alone = self.lanes.iter().all(|(other, lanes)| *other == id || lanes.iter().all(Lane::is_finished));
        let paced = if alone { self.paced.max(now) } else { now };
        let Some(lane) = self.lanes.get_mut(&id).and_then(VecDeque::back_mut) else { return Ok(now) };
        if let Some(arrived) = times.arrived {
            if !is_virtual && lane.stats().packets_received == 0 && now.since(arrived) > RECORDING_NS {
                return Err(recording(now.since(arrived)));
            }
            return Ok(arrived);
        }
        let rate = lane.format.rate;
        match times.captured {
            Some(captured) if is_virtual => return Ok(captured.plus(rate.ns(end.since(from)))),
            _ if !is_virtual && lane.format.live => return Ok(now),
            _ if lane.origin.is_none() && lane.stats().packets_received > 0 => return Ok(now),
            _ => {}
        }
        let (origin, began) = *lane.origin.get_or_insert((from, paced));
        let arrived = began.plus(rate.ns(end.since(origin)));
        self.paced = self.paced.max(arrived);
        Ok(arrived)
    }

    /// Lets one record of a stream out; false when it could not go on.
    fn step(&mut self, id: StreamId, now: Stamp, deadline: Stamp, output: &mut Output) -> Result<bool, Failure> {
        let Some(lane) = self.lanes.get_mut(&id).and_then(VecDeque::front_mut) else { return Ok(false) };
        let mut row = None;
        let step = lane.play(now, output, &mut row)?;
        if let (Some(trace), Some(row)) = (&mut self.trace, row) {
            trace.row(id, &row, lane)?;
        }
        match step {
            Step::Released => Ok(true),
            Step::Nothing => Ok(lane.next_deadline() != Some(deadline)),
            Step::Ended => {
                self.retire(id, output)?;
                Ok(true)
            }
        }
    }

    /// Takes away a lane that has ended; the next of its id goes on.
    fn retire(&mut self, id: StreamId, output: &mut Output) -> Result<(), Failure> {
        let Some(lanes) = self.lanes.get_mut(&id) else { return Ok(()) };
        if let Some(lane) = lanes.pop_front() {
            self.totals.add(&lane.format, lane.stats());
            if let Some(file) = &mut self.file {
                file.line(&stats::stream("stream-end", id, &lane));
            }
        }
        match lanes.front_mut() {
            Some(next) => next.announce(output),
            None => {
                self.lanes.remove(&id);
                Ok(())
            }
        }
    }

    /// A line a stream, once a second.
    fn tell(&mut self, now: Stamp) {
        if let (Some(bar), Some(lane)) = (&mut self.bar, self.lanes.values().find_map(VecDeque::front)) {
            bar.draw(now, lane, self.lanes.len());
        }
        let Some(file) = &mut self.file else { return };
        let told = *self.told.get_or_insert(now);
        if now.since(told) < STATS_NS {
            return;
        }
        self.told = Some(now);
        for (id, lane) in self.lanes.iter().filter_map(|(id, lanes)| Some((id, lanes.front()?))) {
            file.line(&stats::stream("stream", *id, lane));
        }
    }
}

fn recording(age: i64) -> Failure {
    Failure::input(format_args!(
        "the stream arrived {} s ago, it is a recording: play it with `vox-replay`, or use --virtual",
        age / 1_000_000_000
    ))
}
