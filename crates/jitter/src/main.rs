//! Gives each record of a pipe the time at which it is to be played: takes packets as they arrive, and lets each go
//! when it is due, in order, with gaps for what will not come.

mod args;
mod bar;
mod lane;
mod lanes;
mod stats;
mod trace;

use std::process::ExitCode;

use args::Args;
use lanes::Lanes;
use vox_cli::{Ended, Failure, Input, Next, Output, stop_requested, wait};
use vox_frame::Stamp;
use vox_sys::{Clock, go_before_others, pipe};

/// How far behind a deadline the input may still be read before what is due goes out, in ns: what has already arrived
/// is taken in first.
const READ_ON_NS: i64 = 20_000_000;

fn main() -> ExitCode {
    vox_cli::run(|args: Args| jitter(&args))
}

fn jitter(args: &Args) -> Result<(), Failure> {
    let mut input = Input::stdin()?;
    let mut output = Output::stdout(input.open()?, false)?;
    let mut lanes = Lanes::new(args, input.clock())?;
    pipe::sharpen_timers();
    if !args.r#virtual {
        // Best effort: without it a busy machine makes records late.
        let _allowed = go_before_others();
    }
    let (ended, failure) = match run(&mut input, &mut lanes, &mut output, args.r#virtual) {
        Ok(ended) => (ended, None),
        Err(failure) if failure.exit == vox_cli::Exit::Input => (Ended::Broken, Some(failure)),
        Err(failure) => return Err(failure),
    };
    lanes.finish(&mut output)?;
    play_out(&mut lanes, &mut output, input.clock(), args.r#virtual)?;
    output.end_open(&ended.reason())?;
    lanes.summarise()?;
    failure.map_or_else(|| input.verdict(ended, args.strict), Err)
}

/// Reads until the end of the input, and lets out what is due.
fn run(input: &mut Input, lanes: &mut Lanes, output: &mut Output, is_virtual: bool) -> Result<Ended, Failure> {
    let clock = input.clock();
    loop {
        let deadline = if is_virtual { None } else { lanes.next_deadline() };
        // A stream that nobody paces is read no faster than it is played.
        if lanes.is_full() && !stop_requested() {
            sleep_until(clock, deadline, output)?;
            lanes.play(clock.now(), output)?;
            continue;
        }
        if let Some(until) = deadline.filter(|until| lanes.rests(clock.now(), *until)) {
            input.rest_until(until);
        }
        let waited = match input.next(deadline, output)? {
            Next::Record(raw) => {
                lanes.handle(raw, output)?;
                false
            }
            Next::Deadline => true,
            Next::End(ended) => return Ok(ended),
        };
        if let Some(deadline) = deadline {
            let now = clock.now();
            if now.since(deadline) > READ_ON_NS || now >= deadline && (waited || !input.may_have_more()) {
                lanes.play(now, output)?;
            }
        }
    }
}

/// Lets out what is still held: at its time, or at once where the clock is made of stamps or somebody wants an end.
fn play_out(lanes: &mut Lanes, output: &mut Output, clock: Clock, is_virtual: bool) -> Result<(), Failure> {
    while let Some(deadline) = lanes.next_deadline() {
        if is_virtual || stop_requested() {
            lanes.play_at_deadlines(None, output)?;
        } else {
            sleep_until(clock, Some(deadline), output)?;
            lanes.play(clock.now(), output)?;
        }
    }
    Ok(())
}

fn sleep_until(clock: Clock, deadline: Option<Stamp>, output: &mut Output) -> Result<(), Failure> {
    output.flush()?;
    wait(None, deadline.map(|deadline| clock.mono_ns(deadline)))?;
    Ok(())
}
