//! Shows what passes through a pipe, and passes it on unchanged.

mod account;
mod args;
mod latency;
mod quantiles;
mod show;

use std::process::ExitCode;

use args::Args;
use show::Show;
use vox_cli::{Failure, Input, Next};
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
    show.finish(ended.reason())?;
    input.verdict(ended, args.strict)
}
