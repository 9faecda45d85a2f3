//! Plays a kept stream of records again, each at the time at which it came.

mod args;
mod timing;

use std::process::ExitCode;

use args::Args;
use timing::Timing;
use vox_cli::{Ended, Exit, Failure, Input, Next, Output, stop_requested, wait};
use vox_frame::{Audio, End, Event, Gap, Raw, Record, Stamp, Times};
use vox_sys::{Clock, pipe};

/// The most streams at a time.
const MAX_STREAMS: usize = 1024;

fn main() -> ExitCode {
    vox_cli::run(|args: Args| replay(&args))
}

fn replay(args: &Args) -> Result<(), Failure> {
    let mut input = if args.file.as_os_str() == "-" { Input::stdin()? } else { Input::file(&args.file)? };
    let opening = input.open()?;
    let clock = Clock::own();
    let opening = if args.r#virtual { opening } else { clock.opening() };
    let mut replay =
        Replay { output: Output::stdout(opening, false)?, timing: Timing::new(args.speed), clock, began: None };
    pipe::sharpen_timers();
    let (ended, failure) = match run(&mut input, &mut replay, args) {
        Ok(ended) => (ended, None),
        Err(failure) if failure.exit == Exit::Input => (Ended::Broken, Some(failure)),
        Err(failure) => return Err(failure),
    };
    replay.output.end_open(&ended.reason())?;
    failure.map_or_else(|| input.verdict(ended, args.strict), Err)
}

/// Plays until the end of the input, or of the part that was asked for.
fn run(input: &mut Input, replay: &mut Replay, args: &Args) -> Result<Ended, Failure> {
    while !stop_requested() {
        match input.next(None, &mut replay.output)? {
            Next::Record(raw) if replay.record(raw, args)? => {}
            Next::Record(_) => return Ok(Ended::Complete),
            Next::Deadline => {}
            Next::End(ended) => return Ok(ended),
        }
    }
    Ok(Ended::Stopped)
}

struct Replay {
    output: Output,
    timing: Timing,
    clock: Clock,
    /// The kept time of the first record.
    began: Option<Stamp>,
}

impl Replay {
    /// Plays a record; false where the part that was asked for is over.
    fn record(&mut self, raw: Raw<'_>, args: &Args) -> Result<bool, Failure> {
        let record = raw.parse()?;
        if self.timing.streams() > MAX_STREAMS {
            return Err(Failure::input(format_args!("more than {MAX_STREAMS} streams are open in one pipe")));
        }
        let Some(kept) = self.timing.kept(&record) else { return self.pass(&record, raw, args).map(|()| true) };
        let into = kept.since(*self.began.get_or_insert(kept));
        let from = args.from.map(|from| from.ns());
        if from.is_some_and(|from| into < from) && !matches!(record, Record::End(_)) {
            return Ok(true);
        }
        if args.duration.is_some_and(|duration| into - from.unwrap_or(0) >= duration.ns()) {
            return Ok(false);
        }
        if args.r#virtual {
            return self.output.raw(raw).map(|()| true);
        }
        let deadline = self.timing.deadline(kept, self.clock.now());
        wait_until(deadline, self.clock, &mut self.output)?;
        self.write(&record, kept).map(|()| true)
    }

    /// Hands on what carries no time.
    fn pass(&mut self, record: &Record<'_>, raw: Raw<'_>, args: &Args) -> Result<(), Failure> {
        match record {
            // What is paced here is live for those behind.
            Record::Format(id, format) if !args.r#virtual => {
                let mut format = format.clone();
                format.live = true;
                self.output.write(&Record::Format(*id, format))
            }
            _ => self.output.raw(raw),
        }
    }

    /// Writes a record with its stamps moved to the present.
    fn write(&mut self, record: &Record<'_>, kept: Stamp) -> Result<(), Failure> {
        match record {
            Record::Audio(audio) => {
                let span = self.timing.span(audio.id, u64::from(audio.duration));
                let times = if self.timing.is_paced(audio.id) {
                    let captured = Some(kept.plus(-span));
                    self.timing.moved(&Times { captured, ..audio.times })
                } else {
                    self.timing.moved(&audio.times)
                };
                self.output.audio(&Audio { times, ..*audio })
            }
            Record::Gap(gap) => self.output.gap(&Gap { times: self.timing.moved(&gap.times), ..*gap }),
            Record::Event(event) => {
                self.output.write(&Record::Event(Event { times: self.timing.moved(&event.times), ..event.clone() }))
            }
            Record::End(end) => {
                self.output.write(&Record::End(End { times: self.timing.moved(&end.times), ..end.clone() }))
            }
            Record::Format(..) | Record::Unknown(_) => self.output.write(record),
        }
    }
}

/// Waits on the clock with nothing held back.
fn wait_until(deadline: Stamp, clock: Clock, output: &mut Output) -> Result<(), Failure> {
    while clock.now() < deadline && !stop_requested() {
        output.flush()?;
        wait(None, Some(clock.mono_ns(deadline)))?;
    }
    Ok(())
}
