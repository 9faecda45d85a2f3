//! Sends the streams of a pipe as RTP over UDP.

mod args;
mod describe;
mod outlet;
mod payload;
mod stream;

use std::collections::BTreeMap;
use std::process::ExitCode;

use args::Args;
use describe::Notice;
use outlet::Outlet;
use payload::PayloadTypes;
use stream::{Stream, random, wait_until};
use vox_cli::{Ended, Failure, Input, Next, StatsFile, stop_requested};
use vox_frame::{Raw, Record, StreamId};
use vox_sys::{Clock, pipe};

/// The most streams that are sent at a time; one more is an error.
const MAX_STREAMS: usize = 1024;

fn main() -> ExitCode {
    vox_cli::run(|args: Args| send(&args))
}

fn send(args: &Args) -> Result<(), Failure> {
    let mut outlet = Outlet::open(args)?;
    let stats = args.stats.as_deref().map(StatsFile::create).transpose()?;
    let mut input = Input::stdin()?;
    input.open()?;
    pipe::sharpen_timers();
    let (to, source) = outlet.first_path();
    let mut stage = Stage {
        args,
        clock: input.clock(),
        streams: BTreeMap::new(),
        types: PayloadTypes::default(),
        notice: Notice::new(args, to, source, u64::from(random())),
        ssrc: args.ssrc,
        heard_until: 0,
    };
    let outcome = stage.run(&mut input, &mut outlet);
    if let Some(mut stats) = stats {
        stats.line(&outlet.summary());
    }
    input.verdict(outcome?, args.strict)
}

struct Stage<'a> {
    args: &'a Args,
    clock: Clock,
    streams: BTreeMap<StreamId, Stream>,
    types: PayloadTypes,
    notice: Option<Notice>,
    /// The SSRC asked for, until the first stream has taken it.
    ssrc: Option<u32>,
    /// Until when the paced streams that have ended are heard, in ns of CLOCK_MONOTONIC.
    heard_until: i64,
}

impl Stage<'_> {
    fn run(&mut self, input: &mut Input, outlet: &mut Outlet) -> Result<Ended, Failure> {
        loop {
            match input.next_for_sink(None)? {
                Next::Record(raw) => self.record(raw, outlet)?,
                Next::Deadline => {}
                Next::End(ended) => {
                    for stream in std::mem::take(&mut self.streams).into_values() {
                        self.end(&stream);
                    }
                    // What was sent last is still being heard.
                    if !stop_requested() {
                        wait_until(self.heard_until)?;
                    }
                    return Ok(ended);
                }
            }
            if stop_requested() && self.streams.values().all(|stream| !stream.is_live()) {
                // What is paced could go on for hours after its source has stopped.
                return Ok(Ended::Stopped);
            }
        }
    }

    fn record(&mut self, raw: Raw<'_>, outlet: &mut Outlet) -> Result<(), Failure> {
        match raw.parse()? {
            Record::Format(id, format) => {
                if self.streams.len() >= MAX_STREAMS && !self.streams.contains_key(&id) {
                    return Err(Failure::input(format_args!("more than {MAX_STREAMS} streams are open in one pipe")));
                }
                if let Some(stream) = self.streams.remove(&id) {
                    self.end(&stream);
                }
                // One recording after the other: the next is heard where the one before ends.
                let follows = self.streams.values().all(Stream::is_live);
                let not_before = if follows { self.heard_until } else { 0 };
                let ssrc = self.ssrc.take();
                let stream = Stream::open(id, &format, ssrc, not_before, &mut self.types, self.args, self.clock)?;
                if let Some(notice) = &mut self.notice {
                    notice.add(stream.announced())?;
                }
                self.streams.insert(id, stream);
            }
            Record::Audio(audio) => {
                if let Some(stream) = self.streams.get_mut(&audio.id) {
                    stream.audio(&audio, outlet)?;
                }
            }
            Record::Gap(gap) => {
                if let Some(stream) = self.streams.get_mut(&gap.id) {
                    stream.gap(&gap);
                }
            }
            Record::End(end) => {
                if let Some(stream) = self.streams.remove(&end.id) {
                    self.end(&stream);
                }
            }
            Record::Event(_) | Record::Unknown(_) => {}
        }
        Ok(())
    }

    /// A stream has ended: nobody waits for it but who comes after it.
    fn end(&mut self, stream: &Stream) {
        self.heard_until = self.heard_until.max(stream.heard_until().unwrap_or(0));
        if let Some(notice) = &mut self.notice {
            notice.remove(stream.ssrc());
        }
    }
}
