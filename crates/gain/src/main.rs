//! Makes the PCM streams of a pipe louder and softer, by hand or by itself.

mod args;
mod gain;

use std::process::ExitCode;

use vox_cli::Failure;

use crate::args::Args;
use crate::gain::Gain;

fn main() -> ExitCode {
    vox_cli::run(|args: Args| {
        let voice = args.open()?;
        vox_filter::run(&args.filter, |format| Gain::new(&args, voice.clone(), format).map_err(Failure::input))
    })
}
