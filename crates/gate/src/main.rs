//! Says when somebody talks, and leaves the rest out.

mod args;
mod gate;

use std::process::ExitCode;

use crate::args::Args;
use crate::gate::Gate;

fn main() -> ExitCode {
    vox_cli::run(|args: Args| vox_filter::run(&args.filter, |format| Ok(Gate::new(&args, format))))
}
