//! A simulated network in the pipe: delays, loses, duplicates, reorders, the same for the same seed.

mod args;
mod lane;
mod lanes;
mod relay;
mod values;

use std::process::ExitCode;

use args::Args;
use lanes::Lanes;
use vox_cli::{Ended, Failure, Input, Next, Output, stop_requested, wait};
use vox_frame::Stamp;
use vox_sys::{Clock, pipe};

fn main() -> ExitCode {
    vox_cli::run(|args: Args| if args.udp.is_empty() { impair(&args) } else { relay::run(&args) })
}

fn impair(args: &Args) -> Result<(), Failure> {
    let mut lanes = Lanes::new(args)?;
    let mut input = Input::stdin()?;
    let mut output = Output::stdout(input.open()?, false)?;
    pipe::sharpen_timers();
    let (ended, failure) = match run(&mut input, &mut lanes, &mut output) {
        Ok(ended) => (ended, None),
        Err(failure) if failure.exit == vox_cli::Exit::Input => (Ended::Broken, Some(failure)),
        Err(failure) => return Err(failure),
    };
    run_out(&mut lanes, &mut output, input.clock())?;
    output.end_open(&ended.reason())?;
    lanes.summarise();
    failure.map_or_else(|| input.verdict(ended, args.strict), Err)
}

/// Reads until the end of the input, and hands on what has arrived.
fn run(input: &mut Input, lanes: &mut Lanes, output: &mut Output) -> Result<Ended, Failure> {
    let clock = input.clock();
    loop {
        let deadline = lanes.next_deadline();
        if let Some(until) = lanes.full_until(clock.now()).filter(|_| !stop_requested()) {
            sleep_until(clock, deadline.map_or(until, |deadline| deadline.min(until)), output)?;
        } else {
            match input.next(deadline, output)? {
                Next::Record(raw) => lanes.handle(raw, clock.now(), output)?,
                Next::Deadline => {}
                Next::End(ended) => return Ok(ended),
            }
        }
        lanes.release(clock.now(), output)?;
    }
}

/// Hands on what is still on its way: at its time, or at once where time is virtual or somebody wants an end.
fn run_out(lanes: &mut Lanes, output: &mut Output, clock: Clock) -> Result<(), Failure> {
    while let Some(deadline) = lanes.next_deadline().filter(|_| !stop_requested()) {
        sleep_until(clock, deadline, output)?;
        lanes.release(clock.now(), output)?;
    }
    lanes.release_all(output)
}

fn sleep_until(clock: Clock, deadline: Stamp, output: &mut Output) -> Result<(), Failure> {
    output.flush()?;
    wait(None, Some(clock.mono_ns(deadline)))?;
    Ok(())
}
