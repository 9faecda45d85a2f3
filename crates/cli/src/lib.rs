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
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Parses the arguments, prepares signals, runs `body`, tells a failure on stderr and gives its exit code.
///
/// With `--generate man|bash|zsh|fish` alone it writes the man page or the completions instead.
pub fn run<A: Parser>(body: impl FnOnce(A) -> Result<(), Failure>) -> ExitCode {
    failure::set_program(&own_name(A::command().get_name()));
    let outcome = match generate::asked(std::env::args_os()) {
        Some(what) => generate::text(A::command(), &what).and_then(|text| print(&text)),
        None => start(body),
    };
    match outcome {
        Ok(()) => Exit::Done.into(),
        Err(failure) => failure.report(),
    }
}

/// What the program was started as, where it goes by several names, else its own.
fn own_name(name: &str) -> String {
    let started = std::env::args_os().next().map(std::path::PathBuf::from);
    let started = started.as_deref().and_then(|path| path.file_name()).and_then(|file| file.to_str());
    started.filter(|started| started.starts_with("vox-")).unwrap_or(name).to_owned()
}

fn start<A: Parser>(body: impl FnOnce(A) -> Result<(), Failure>) -> Result<(), Failure> {
    let args = A::try_parse().unwrap_or_else(|error| advised(error, &A::command()).exit());
    signals::install()?;
    body(args)
}

/// The error with the words that would have been right, where the first has to be one of a few.
fn advised(mut error: clap::Error, command: &clap::Command) -> clap::Error {
    if error.kind() == ErrorKind::InvalidSubcommand && command.is_subcommand_required_set() {
        let words: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
        let advice = StyledStr::from(format!("it takes one of {}", words.join(", ")));
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![advice]));
    }
    error
}
