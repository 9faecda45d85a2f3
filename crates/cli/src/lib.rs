//! What every binary of Voxpipe shares: how it starts and ends, its signals, its pipes, its value parsers.
//!
//! A stage is `vox_cli::run(|args: Args| …)`: it reads records from an [`Input`], writes them to an [`Output`], and
//! returns a [`Failure`] with one of the documented exit codes when it cannot go on.

mod control;
mod failure;
mod generate;
mod input;
mod output;
mod secret;
mod signals;
mod stats;
mod streams;
pub mod value;
mod voice;

pub use control::{Commands, ControlSource, Listening, Speaker};
pub use failure::{Exit, Failure, note, warn};
pub use input::{Ended, Input, Next};
pub use output::{Flush, NoOutput, Output, print};
pub use secret::SecretSource;
pub use signals::{Wake, forget_stop, stop_requested, wait, wait_any};
pub use stats::StatsFile;
pub use streams::Streams;
pub use voice::{MuteArgs, Voice, VoiceArgs};

use std::process::ExitCode;

use clap::Parser;

/// Parses the arguments, prepares signals, runs `body`, tells a failure on stderr and gives its exit code.
///
/// With `--generate man|bash|zsh|fish` alone it writes the man page or the completions instead.
pub fn run<A: Parser>(body: impl FnOnce(A) -> Result<(), Failure>) -> ExitCode {
    failure::set_program(A::command().get_name());
    let outcome = match generate::asked(std::env::args_os()) {
        Some(what) => generate::text(A::command(), &what).and_then(|text| print(&text)),
        None => start(body),
    };
    match outcome {
        Ok(()) => Exit::Done.into(),
        Err(failure) => failure.report(),
    }
}

fn start<A: Parser>(body: impl FnOnce(A) -> Result<(), Failure>) -> Result<(), Failure> {
    let args = A::parse();
    signals::install()?;
    body(args)
}
