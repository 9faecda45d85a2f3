//! Decodes the streams of a pipe to PCM.

mod args;
mod lane;
mod lanes;
mod outlet;

use std::process::ExitCode;

use vox_cli::{Failure, Input, Next, Output, StatsFile};

use crate::args::Args;
use crate::lanes::Lanes;

fn main() -> ExitCode {
    vox_cli::run(|args: Args| decode(&args))
}

fn decode(args: &Args) -> Result<(), Failure> {
    let mut input = Input::stdin()?;
    let mut stats = args.stats.as_deref().map(StatsFile::create).transpose()?;
    let opening = input.open()?;
    let mut output = Output::stdout(opening, args.batch)?;
    let mut lanes = Lanes::new(args);
    let ended = loop {
        let raw = match input.next(None, &mut output)? {
            Next::Record(raw) => raw,
            Next::Deadline => continue,
            Next::End(ended) => break ended,
        };
        match raw.parse() {
            Ok(record) => lanes.handle(raw, &record, &mut output)?,
            Err(error) => break input.parse_failed(error),
        }
    };
    lanes.finish(&mut output)?;
    output.end_open(&ended.reason())?;
    lanes.tell();
    if let Some(stats) = &mut stats {
        stats.line(lanes.tally());
    }
    input.verdict(ended, args.strict)
}
