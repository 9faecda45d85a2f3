//! The arguments of `vox-tee`.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Parser;
use vox_cli::value::Seconds;

/// Copies a stream into branches, and passes it on: a branch can never stall the main line.
///
/// What a slow branch does not take in time is a gap (overrun) in that branch and nothing here. A FIFO whose reader
/// comes late, or goes and (a record later) comes again, gets the formats of the open streams first.
#[derive(Debug, Parser)]
#[command(
    name = "vox-tee",
    version,
    after_help = "\
Examples:
  vox-recv :5004 | vox-jitter | vox-tee keep.vox 'exec:vox-record takes/' | vox-play
  vox-recv :5004 | vox-tee 'exec:vox-send a:5004' | vox-jitter | vox-play"
)]
pub(crate) struct Args {
    /// Where the copies go: a file (which is overwritten), a FIFO, or `exec:COMMAND`, a shell command that reads the
    /// stream on stdin (its stdout is dropped).
    #[arg(value_name = "DEST", required = true)]
    pub(crate) destinations: Vec<Destination>,

    /// How long a branch may lag behind before it misses the oldest, in seconds. 16 MiB a branch are the most.
    #[arg(long, value_name = "SECONDS", default_value = "5")]
    pub(crate) hold: Seconds,

    /// How long to wait at the end for a branch that takes nothing, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "1")]
    pub(crate) linger: Seconds,

    /// Write counters as JSON lines to FILE: a line a branch, and a summary as the last (`-` is stderr).
    #[arg(long, value_name = "FILE")]
    pub(crate) stats: Option<PathBuf>,

    /// An input that breaks off without an End is an error (3), not a warning.
    #[arg(long)]
    pub(crate) strict: bool,
}

/// Where a copy goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    /// A file or FIFO.
    Path(PathBuf),
    /// A shell command.
    Command(String),
}

impl FromStr for Destination {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.strip_prefix("exec:") {
            Some(command) => Self::Command(command.to_owned()),
            None => Self::Path(text.into()),
        })
    }
}

impl core::fmt::Display for Destination {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Command(command) => write!(f, "exec:{command}"),
        }
    }
}
