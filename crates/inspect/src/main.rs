//! Shows what passes through a pipe, and passes it on unchanged.

mod account;
mod args;
mod expect;
mod latency;
mod quantiles;
mod show;

use std::process::ExitCode;

use args::Args;
use show::Show;
use vox_cli::{Exit, Failure, Input, Next};
use vox_frame::EndReason;

fn main() -> ExitCode {
    vox_cli::run(|args: Args| inspect(&args))
}

fn inspect(args: &Args) -> Result<(), Failure> {
    let mut input = Input::stdin()?;
    let opening = input.open()?;
    let clock = input.clock();
    let mut show = Show::new(opening, args)?;
    let ended = loop {
        match input.next(None, &mut show)? {
            Next::Record(raw) => {
                if let Err(failure) = show.record(raw, || clock.now()) {
                    // What had arrived before a damaged record is still summed up and handed on.
                    show.finish(EndReason::Interrupted)?;
                    return Err(failure);
                }
            }
            Next::Deadline => {}
            Next::End(ended) => break ended,
        }
    };
    let as_expected = show.finish(ended.reason())?;
    input.verdict(ended, args.strict)?;
    if as_expected { Ok(()) } else { Err(Failure::quiet(Exit::Condition)) }
}
