//! Mixes streams to one, aligned by time, not by arrival.

mod args;
mod mixer;
mod outlet;
mod run;
mod voice;
mod who;

use std::path::PathBuf;
use std::process::ExitCode;

use args::Args;
use run::Run;
use vox_cli::{Failure, Input, Output, StatsFile};
use vox_sys::{Clock, pipe};

fn main() -> ExitCode {
    vox_cli::run(|args: Args| mix(&args))
}

fn mix(args: &Args) -> Result<(), Failure> {
    let inputs = open(&args.inputs)?;
    let stats = args.stats.as_deref().map(StatsFile::create).transpose()?;
    let clock = Clock::own();
    let output = Output::stdout(clock.opening(), false)?;
    pipe::sharpen_timers();
    Run::new(args, inputs, output, clock).run(stats)
}

/// Stdin where nothing is named.
fn open(paths: &[PathBuf]) -> Result<Vec<Input>, Failure> {
    if paths.is_empty() {
        return Ok(vec![Input::stdin()?]);
    }
    if paths.iter().filter(|path| path.as_os_str() == "-").count() > 1 {
        return Err(Failure::usage("stdin (-) is named twice"));
    }
    let open = |path: &PathBuf| if path.as_os_str() == "-" { Input::stdin() } else { Input::file(path) };
    paths.iter().map(open).collect()
}
