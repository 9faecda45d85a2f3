//! The arguments of `vox-meter`.

use std::path::PathBuf;

use clap::Parser;
use vox_cli::value::Millis;

/// Shows levels, losses and delays of what passes through, on stderr, and passes it on unchanged.
///
/// On a terminal live bars, a line a stream: peak and RMS, loudness by EBU R128, whether somebody talks, losses, the
/// jitter buffer against its maximum, latency. Otherwise JSON lines, one a stream and interval, and one a stream at its
/// end.
#[derive(Debug, Parser)]
#[command(
    name = "vox-meter",
    version,
    allow_negative_numbers = true,
    after_help = "\
Examples:
  vox-recv :5004 | vox-jitter | vox-meter | vox-play                       bars while it plays
  vox-capture talk.wav | vox-meter --interval 100 >/dev/null 2>levels.jsonl"
)]
pub(crate) struct Args {
    /// JSON lines also on a terminal.
    #[arg(long)]
    pub(crate) json: bool,

    /// Write the JSON lines to FILE instead, bars or not.
    #[arg(long, value_name = "FILE")]
    pub(crate) stats: Option<PathBuf>,

    /// Time of the stream between two JSON lines, in ms.
    #[arg(long, value_name = "MS", default_value = "1000", value_parser = parse_interval)]
    pub(crate) interval: Millis,

    /// From which level on somebody talks, in dB of full scale (RMS of 20 ms).
    #[arg(long, value_name = "DB", default_value = "-45", value_parser = parse_level)]
    pub(crate) talk: f64,

    /// Decode nothing: show the levels that the records tell of themselves (RFC 6464), which `vox-encode` notes and a
    /// header extension carries over the network.
    #[arg(long)]
    pub(crate) no_decode: bool,

    /// An input that breaks off without an End is an error (3), not a warning.
    #[arg(long)]
    pub(crate) strict: bool,
}

fn parse_interval(text: &str) -> Result<Millis, String> {
    let interval: Millis = text.parse()?;
    if interval.ns() >= 20_000_000 { Ok(interval) } else { Err("at least 20 ms".to_owned()) }
}

fn parse_level(text: &str) -> Result<f64, String> {
    let level: f64 = text.trim_end_matches("dB").parse().map_err(|_| "not a level in dB, such as -45".to_owned())?;
    if (-120.0..=0.0).contains(&level) { Ok(level) } else { Err("a level lies between -120 and 0 dB".to_owned()) }
}
