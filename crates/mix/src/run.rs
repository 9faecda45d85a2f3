//! Reads the inputs, and hands on what can be summed: in real time, or as fast as it comes.

use std::hash::{BuildHasher, RandomState};
use std::os::fd::BorrowedFd;

use vox_cli::{Ended, Failure, Input, Next, Output, StatsFile, stop_requested, wait_any};
use vox_frame::{EndReason, Opening, Raw, Record, Splitter, Stamp, StreamId, Times};
use vox_sys::Clock;

use crate::args::Args;
use crate::mixer::{Change, Mixer};
use crate::outlet::Outlets;

/// How far behind the clock a live mix may be before it leaves out what it has missed, in ns.
const STALL_NS: i64 = 200_000_000;

/// After a signal inputs are looked at so often, in ns.
const STOPPING_NS: i64 = 20_000_000;

/// A mix that runs.
pub(crate) struct Run<'a> {
    args: &'a Args,
    inputs: Vec<Source>,
    mixer: Mixer<'a>,
    outlets: Option<Outlets>,
    output: Output,
    clock: Clock,
    /// Records since the last look at what can be summed.
    records: usize,
    sum: Vec<f64>,
    /// Streams that have begun while it is not yet known whether time is real.
    pending: Option<Vec<Change>>,
}

/// An input, and what was read ahead of it.
struct Source {
    input: Input,
    ended: Option<Ended>,
    /// The first record with a time, until all inputs have one.
    first: Option<Vec<u8>>,
}

impl<'a> Run<'a> {
    pub(crate) fn new(args: &'a Args, inputs: Vec<Input>, output: Output, clock: Clock) -> Self {
        let mixer = Mixer::new(args, inputs.iter().map(|input| input.name().to_owned()));
        let inputs = inputs.into_iter().map(|input| Source { input, ended: None, first: None }).collect();
        Self {
            args,
            inputs,
            mixer,
            outlets: None,
            output,
            clock,
            records: 0,
            sum: Vec::new(),
            pending: Some(Vec::new()),
        }
    }

    /// Mixes until all inputs have ended.
    pub(crate) fn run(mut self, stats: Option<StatsFile>) -> Result<(), Failure> {
        self.begin()?;
        if self.mixer.is_live {
            self.run_live()?
        } else {
            self.run_offline()?
        }
        let end = self.mixer.end();
        self.take(end)?;
        let reason = self.reason();
        let limited = if let Some(outlets) = &mut self.outlets {
            outlets.close_all(&reason, &mut self.output)?;
            outlets.limited()
        } else {
            // Behind what is no stream at all nothing is written.
            if self.inputs.iter().all(|source| source.ended != Some(Ended::Broken)) {
                self.output.flush()?;
            }
            0
        };
        self.mixer.retire();
        if let Some(mut file) = stats {
            self.mixer.lines.iter().for_each(|line| file.line(line));
            file.line(&self.mixer.summary(limited));
        }
        let Self { inputs, args, .. } = self;
        let mut worst = Ok(());
        for mut source in inputs {
            let verdict = source.ended.map_or(Ok(()), |ended| source.input.verdict(ended, args.strict));
            worst = worst.and(verdict);
        }
        worst
    }

    /// Reads until it is known whether time is real, and where the first records lie.
    fn begin(&mut self) -> Result<(), Failure> {
        let mut stamps = Vec::new();
        loop {
            for index in 0..self.inputs.len() {
                while !self.mixer.is_live
                    && self.inputs[index].first.is_none()
                    && self.read(index, Some(Stamp::ZERO), &mut stamps)?
                {}
            }
            let waiting = |source: &&Source| source.ended.is_none() && source.first.is_none();
            if self.mixer.is_live || !self.inputs.iter().any(|source| waiting(&source)) {
                break;
            }
            let fds: Vec<BorrowedFd<'_>> =
                self.inputs.iter().filter(waiting).map(|source| source.input.as_fd()).collect();
            wait_any(&fds, self.stopping())?;
        }
        if let Some(first) = stamps.iter().min().filter(|_| !self.mixer.is_live) {
            self.mixer.begin_at(*first);
        }
        for change in self.pending.take().into_iter().flatten() {
            self.announce(change)?;
        }
        for index in 0..self.inputs.len() {
            if let Some(bytes) = self.inputs[index].first.take() {
                let mut splitter = Splitter::new();
                splitter.feed(&bytes);
                while let Some(item) = splitter.poll()? {
                    if let vox_frame::Item::Record(raw) = item {
                        self.handle(index, raw)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// All inputs are files: the one that lags behind is read.
    fn run_offline(&mut self) -> Result<(), Failure> {
        while let Some(index) = self.laggard() {
            self.read(index, None, &mut Vec::new())?;
            if self.records > self.mixer.voices() {
                self.records = 0;
                let complete = self.mixer.complete();
                self.take_whole(complete)?;
            }
        }
        Ok(())
    }

    /// Some input is live: a frame leaves when all streams have come so far, or when it has waited long enough.
    fn run_live(&mut self) -> Result<(), Failure> {
        while !self.mixer.has_ended() {
            let now = self.clock.now();
            let readable = |run: &Self, index: usize| {
                let unpaced = run.mixer.is_ahead(index, now);
                run.inputs[index].ended.is_none() && !unpaced
            };
            for index in 0..self.inputs.len() {
                if stop_requested() && self.mixer.is_ahead(index, now) {
                    self.end(index, Ended::Stopped);
                }
                while readable(self, index) && self.read(index, Some(Stamp::ZERO), &mut Vec::new())? {}
            }
            self.take_live(self.clock.now())?;
            self.output.flush()?;
            let fds: Vec<BorrowedFd<'_>> = (0..self.inputs.len())
                .filter(|index| readable(self, *index))
                .map(|index| self.inputs[index].input.as_fd())
                .collect();
            let deadline = self.deadline().map(|deadline| self.clock.mono_ns(deadline));
            let deadline = [deadline, self.stopping()].into_iter().flatten().min();
            if !self.mixer.has_ended() {
                wait_any(&fds, deadline)?;
            }
        }
        Ok(())
    }

    /// Reads a record of an input, if there is one before the deadline; false where there is none.
    fn read(&mut self, index: usize, deadline: Option<Stamp>, stamps: &mut Vec<Stamp>) -> Result<bool, Failure> {
        let Source { input, first, ended } = &mut self.inputs[index];
        if ended.is_some() {
            return Ok(false);
        }
        let clock = input.clock();
        let priming = deadline.is_some() && !self.mixer.is_live;
        match input.next(deadline, &mut self.output)? {
            Next::Record(raw) => {
                let record = match raw.parse() {
                    Ok(record) => record,
                    Err(error) => {
                        let ended = input.parse_failed(error);
                        self.end(index, ended);
                        return Ok(false);
                    }
                };
                let timed = matches!(record, Record::Audio(_) | Record::Gap(_));
                if priming && timed {
                    let mut bytes = Vec::new();
                    Opening::new(0, [0; 16]).write(&mut bytes);
                    bytes.extend_from_slice(raw.bytes());
                    *first = Some(bytes);
                    stamps.extend(stamp(&record).map(|stamp| self.clock.from_mono(clock.mono_ns(stamp))));
                    return Ok(true);
                }
                let change = take_record(&mut self.mixer, index, record, clock, self.clock);
                self.records += if change == Change::Jumped { self.mixer.voices() + 1 } else { 1 };
                self.announce(change)?;
                Ok(true)
            }
            Next::Deadline => Ok(false),
            Next::End(end) => {
                self.end(index, end);
                Ok(false)
            }
        }
    }

    /// Takes a record that was read before.
    fn handle(&mut self, index: usize, raw: Raw<'_>) -> Result<(), Failure> {
        let clock = self.inputs[index].input.clock();
        let change = take_record(&mut self.mixer, index, raw.parse()?, clock, self.clock);
        self.announce(change)
    }

    fn end(&mut self, index: usize, ended: Ended) {
        self.inputs[index].ended = Some(ended);
        self.mixer.end_input(index);
    }

    /// Begins the mix that a new stream calls for.
    fn announce(&mut self, change: Change) -> Result<(), Failure> {
        if let Some(pending) = &mut self.pending {
            pending.push(change);
            return Ok(());
        }
        let (Change::Opened(key, label), Some(shape)) = (change, self.mixer.shape()) else { return Ok(()) };
        let live = self.mixer.is_live;
        let frame = self.args.frame.ticks(shape.0);
        let outlets = self.outlets.get_or_insert_with(|| Outlets::new(self.args.format.clone(), frame, live));
        let (key, label) = if self.args.minus_each { (Some(key), label) } else { (None, Some(self.args.name.clone())) };
        if outlets.has(key) {
            return Ok(());
        }
        let id = self.args.id.filter(|_| key.is_none()).unwrap_or_else(draw_id);
        outlets.open(key, StreamId(id), label, shape, self.mixer.head(), &mut self.output)
    }

    /// The open input that has come least far.
    fn laggard(&self) -> Option<usize> {
        let mut open = (0..self.inputs.len()).filter(|index| self.inputs[*index].ended.is_none());
        if self.inputs.len() == 1 { open.next_back() } else { open.min_by_key(|index| self.mixer.frontier(*index)) }
    }

    /// The frame behind the next record, with what the limiter must know beyond it.
    fn next_frame(&self) -> Option<i64> {
        let (rate, _) = self.mixer.shape()?;
        let outlets = self.outlets.as_ref()?;
        let frame = i64::from(self.args.frame.ticks(rate));
        let head = self.mixer.head();
        Some(if head == 0 { frame + outlets.lookahead() } else { head + frame })
    }

    /// Hands on whole records as far as `frame`.
    fn take_whole(&mut self, frame: i64) -> Result<(), Failure> {
        while let Some(next) = self.next_frame().filter(|next| *next <= frame) {
            self.take(next)?;
        }
        Ok(())
    }

    fn take_live(&mut self, now: Stamp) -> Result<(), Failure> {
        let (Some((rate, _)), Some(origin)) = (self.mixer.shape(), self.mixer.stamp(0)) else { return Ok(()) };
        let frame = |time: Stamp| rate.ticks(time.since(origin)) as i64;
        let overdue = frame(now.plus(-self.args.wait.ns()));
        if overdue - self.mixer.head() > rate.ticks(STALL_NS) as i64 {
            return self.skip(overdue);
        }
        // The first record may be short, so that the others end where those of the first stream do and wait for nothing.
        let first = self.mixer.complete_live().filter(|complete| self.mixer.head() == 0 && *complete > 0);
        let whole = i64::from(self.args.frame.ticks(rate));
        if let Some(complete) = first.filter(|complete| *complete < whole) {
            self.take(complete)?;
        }
        let ahead = 2 * whole;
        let complete = self.mixer.complete_live().map_or(overdue, |complete| complete.min(frame(now) + ahead));
        self.take_whole(complete.max(overdue))
    }

    /// When the next record leaves, whatever has not come.
    fn deadline(&self) -> Option<Stamp> {
        Some(self.mixer.stamp(self.next_frame()?)?.plus(self.args.wait.ns()))
    }

    /// Sums up to `frame` and hands it on.
    fn take(&mut self, frame: i64) -> Result<(), Failure> {
        let Some(outlets) = &mut self.outlets else { return Ok(()) };
        self.sum.clear();
        self.mixer.take(frame, &mut self.sum);
        let mixer = &self.mixer;
        if mixer.is_live {
            outlets.begin_at(|frame| mixer.stamp(frame));
        }
        outlets.push(&self.sum, |key| mixer.own(key), &mut self.output)?;
        for key in self.mixer.retire() {
            outlets.close(Some(key), &EndReason::Complete, &mut self.output)?;
        }
        Ok(())
    }

    /// Leaves out what was missed while this program stood still.
    fn skip(&mut self, frame: i64) -> Result<(), Failure> {
        let frames = (frame - self.mixer.head()).unsigned_abs();
        self.mixer.skip_to(frame);
        self.outlets.as_mut().map_or(Ok(()), |outlets| outlets.skip(frames, &mut self.output))
    }

    /// When to look again after a signal.
    fn stopping(&self) -> Option<i64> {
        stop_requested().then(|| self.clock.mono_ns(self.clock.now()) + STOPPING_NS)
    }

    /// How the mix ended: as the first input that did not end in good order.
    fn reason(&self) -> EndReason {
        let mut reasons = self.inputs.iter().filter_map(|source| source.ended).map(Ended::reason);
        reasons.find(|reason| *reason != EndReason::Complete).unwrap_or(EndReason::Complete)
    }
}

/// Hands a record to the mixer, its stamps on the clock of the output.
fn take_record(mixer: &mut Mixer<'_>, index: usize, mut record: Record<'_>, from: Clock, to: Clock) -> Change {
    let moved = |stamp: Option<Stamp>| stamp.map(|stamp| to.from_mono(from.mono_ns(stamp)));
    let move_times = |times: &mut Times| {
        *times = Times { captured: moved(times.captured), arrived: moved(times.arrived), due: moved(times.due) };
    };
    match &mut record {
        Record::Audio(audio) => move_times(&mut audio.times),
        Record::Gap(gap) => move_times(&mut gap.times),
        Record::Format(_, format) => mixer.is_live |= format.live,
        Record::Event(_) | Record::End(_) | Record::Unknown(_) => {}
    }
    mixer.handle(index, &record, to.now())
}

/// When a record is to be heard, as far as it says.
fn stamp(record: &Record<'_>) -> Option<Stamp> {
    let times = match record {
        Record::Audio(audio) => audio.times,
        Record::Gap(gap) => gap.times,
        Record::Format(..) | Record::Event(_) | Record::End(_) | Record::Unknown(_) => return None,
    };
    times.due.or(times.arrived).or(times.captured)
}

fn draw_id() -> u32 {
    (RandomState::new().hash_one(0) >> 32) as u32
}
