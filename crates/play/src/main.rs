//! Plays the streams of a pipe on a device, into a WAV file or as raw samples.

mod args;
mod decode;
mod ear;
mod feed;
mod mixer;
mod pace;
mod period;
mod place;
mod reference;
mod sink;
mod speaker;
mod trace;
mod volume;
mod wav;

use std::io::Write;
use std::process::ExitCode;

use vox_cli::{Failure, Input, Next, StatsFile};
use vox_dsp::{Late, Timeline};

use crate::args::{Args, Sink};
use crate::mixer::{Mixer, Wanted};
use crate::place::Placement;
use crate::sink::Tape;
use crate::trace::Trace;

/// The most that is held for a stream that lags behind the others, in ns.
const MAX_HELD_NS: i64 = 10_000_000_000;

fn main() -> ExitCode {
    vox_cli::run(run)
}

fn run(args: Args) -> Result<(), Failure> {
    if args.list_devices {
        return print(&speaker::list(&args.host)?);
    }
    match &args.sink {
        None | Some(Sink::Device(_)) => speaker::play(&args),
        Some(sink) if args.reference.is_some() => {
            Err(Failure::usage(format_args!("{sink} is not heard by any microphone: --reference takes a loudspeaker")))
        }
        Some(sink) => play_to_tape(sink, &args),
    }
}

/// Writes a list for people to stdout, which carries no samples then.
fn print(text: &str) -> Result<(), Failure> {
    let written = std::io::stdout().write_all(text.as_bytes());
    written.map_err(|error| Failure::failed(format_args!("cannot write stdout: {error}")))
}

/// A file, stdout, nothing: the whole timeline, as it comes.
fn play_to_tape(sink: &Sink, args: &Args) -> Result<(), Failure> {
    let mut input = Input::stdin()?;
    let mut stats = args.stats.as_deref().map(StatsFile::create).transpose()?;
    let mut trace = args.trace.as_deref().map(Trace::create).transpose()?;
    let mut tape = Tape::open(sink, args)?;
    input.open()?;
    let clock = input.clock();
    let mut mixer = Mixer::new(wanted(args), Placement::file());
    let outcome = loop {
        let deadline = tape.tick()?.map(|mono| clock.from_mono(mono));
        let raw = match input.next_for_sink(deadline)? {
            Next::Record(raw) => raw,
            Next::Deadline => continue,
            Next::End(ended) => break ended,
        };
        match raw.parse() {
            Ok(record) => {
                if let Some(trace) = &mut trace {
                    trace.handle(&record)?;
                }
                feed(&mut mixer, &mut tape, |mixer, late| mixer.handle(&record, clock.now(), late))?;
            }
            Err(error) => break input.parse_failed(error),
        }
        if let Some(timeline) = mixer.timeline() {
            tape.advance(timeline, finished(timeline))?;
        }
    };
    feed(&mut mixer, &mut tape, |mixer, late| mixer.end_all(late))?;
    let timeline = mixer.timeline_or_default();
    let end = timeline.end();
    tape.advance(timeline, end)?;
    tape.finish(timeline)?;
    if let Some(trace) = &mut trace {
        trace.finish()?;
    }
    if let Some(stats) = &mut stats {
        stats.line(&mixer.tally);
    }
    input.verdict(outcome, args.strict)
}

/// Lets the mixer take something; what comes too late for the timeline is mixed into what is written.
fn feed(
    mixer: &mut Mixer,
    tape: &mut Tape,
    take: impl FnOnce(&mut Mixer, &mut dyn FnMut(Late<'_>)),
) -> Result<(), Failure> {
    let (mut lost, mut failed) = (0, None);
    take(mixer, &mut |late| match tape.mix(late) {
        Ok(frames) => lost += frames,
        Err(failure) => failed = Some(failure),
    });
    mixer.tally.late_samples += lost;
    failed.map_or(Ok(()), Err)
}

/// The frame up to which nothing more is waited for.
fn finished(timeline: &Timeline) -> i64 {
    let held = timeline.rate().ticks(MAX_HELD_NS).cast_signed();
    timeline.complete().unwrap_or_else(|| timeline.end()).max(timeline.end() - held)
}

fn wanted(args: &Args) -> Wanted {
    Wanted { rate: args.rate.map(|rate| rate.0), channels: args.channels, decoder: args.decoder() }
}
