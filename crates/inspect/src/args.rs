//! The arguments of `vox-inspect`.

use clap::Parser;

use crate::expect::Expectation;

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
  cat a.vox b.vox | vox-inspect --summary
  vox-recv :5004 | vox-inspect --expect 'lost_ms<=40' >/dev/null          6 where more is missing"
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

    /// What must hold of every stream in the end, or the exit code is 6: a figure of the JSON summary (levels with dots
    /// between, such as gaps.lost.packets), one of <= < >= > == !=, and a number or a word. Short for common ones: gap_ms,
    /// lost_ms, late_ms and so on by the reasons of gaps, p50_latency_ms, p95_latency_ms, p99_latency_ms (since capture).
    /// No stream at all is a failure. Shows nothing else unless asked to; as often as there are expectations.
    #[arg(long, value_name = "FIELD<=NUMBER")]
    pub(crate) expect: Vec<Expectation>,

    /// An input that breaks off without an End is an error (3), not a warning.
    #[arg(long)]
    pub(crate) strict: bool,
}
