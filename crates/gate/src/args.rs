//! The arguments of `vox-gate`.

use clap::{Parser, ValueEnum};
use vox_cli::value::{Decibels, Millis};
use vox_filter::FilterArgs;
use vox_voice::Criterion;

/// Says when somebody talks in the PCM streams of a pipe, and leaves the rest out.
///
/// Where nobody talks there is a gap marked silent: nothing is encoded and nothing is sent. The events `talk-start` and
/// `talk-stop` say when that changes, and each record is marked with its level (RFC 6464).
#[derive(Debug, Parser)]
#[command(
    name = "vox-gate",
    version,
    allow_negative_numbers = true,
    after_help = "\
Examples:
  vox-capture | vox-gate | vox-encode opus | vox-send host:5004      send only while somebody talks
  vox-capture hall.wav | vox-gate --detect level --level -35 | vox-record --split talkspurt takes/
  vox-recv :5004 | vox-jitter | vox-decode | vox-gate --mark | vox-inspect >/dev/null    who talks when?"
)]
pub(crate) struct Args {
    /// What counts: a voice (by a neural network, whatever the noise), or any sound that is loud enough.
    #[arg(long, value_enum, default_value = "voice")]
    detect: Detect,

    /// How loud it must be, in dB of full scale (RMS of 10 ms) [default: -70 for a voice, -45 for a sound].
    #[arg(long, value_name = "DB")]
    level: Option<Decibels>,

    /// How sure it must be that it is a voice, 0 to 1: lower opens sooner, and to more that is none.
    #[arg(long, value_name = "0..1", default_value = "0.75", value_parser = parse_share)]
    sure: f32,

    /// How long it stays open behind the last word.
    #[arg(long, value_name = "TIME", default_value = "300ms", value_parser = parse_wait)]
    pub(crate) hang: Millis,

    /// How long before the first word it is open: everything comes that much later, and at least a record.
    #[arg(long, value_name = "TIME", default_value = "60ms", value_parser = parse_wait)]
    pub(crate) lead: Millis,

    /// Leave nothing out: only tell and mark.
    #[arg(long)]
    pub(crate) mark: bool,

    #[command(flatten)]
    pub(crate) filter: FilterArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Detect {
    Voice,
    Level,
}

impl Args {
    /// What counts as talk.
    pub(crate) fn criterion(&self) -> Criterion {
        let (voice, level) = match self.detect {
            Detect::Voice => (Some(self.sure), -70.0),
            Detect::Level => (None, -45.0),
        };
        Criterion { voice, level_db: self.level.map_or(level, |level| level.0 as f32) }
    }
}

fn parse_share(text: &str) -> Result<f32, String> {
    text.parse().ok().filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| "a number from 0 to 1".to_owned())
}

/// What it is held open for is held in memory.
fn parse_wait(text: &str) -> Result<Millis, String> {
    let wait: Millis = text.parse()?;
    if wait.ns() <= 10_000_000_000 { Ok(wait) } else { Err("at most 10 s".to_owned()) }
}
