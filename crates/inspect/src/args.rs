//! The arguments of `vox-inspect`.

use clap::Parser;

/// Shows what passes through a pipe, on stderr, and passes it on unchanged.
///
/// Put it between any two stages, or at the end of a pipe. A line a record tells kind, stream, sequence number, media
/// time, duration, bytes, flags and times; the last lines sum up each stream: seconds of audio, gaps by reason, bit
/// rate, discontinuities, latency and jitter.
#[derive(Debug, Parser)]
#[command(
    name = "vox-inspect",
    version,
    after_help = "\
Examples:
  vox-capture talk.wav | vox-encode opus | vox-inspect                    every record
  vox-recv :5004 | vox-jitter | vox-inspect --latency | vox-play          where each millisecond went
  cat a.vox b.vox | vox-inspect --summary"
)]
pub(crate) struct Args {
    /// JSON lines instead of text; the last line is the summary.
    #[arg(long)]
    pub(crate) json: bool,

    /// Only the summary at the end.
    #[arg(long)]
    pub(crate) summary: bool,

    /// Only the summary, with a table of where each millisecond went: the frame itself, transport, jitter buffer, and
    /// the stages and pipes up to here, as p50, p95 and p99.
    #[arg(long)]
    pub(crate) latency: bool,

    /// An input that breaks off without an End is an error (3), not a warning.
    #[arg(long)]
    pub(crate) strict: bool,
}
