//! The arguments of `vox-jitter`.

use std::path::PathBuf;

use clap::Parser;
use vox_cli::value::Millis;
use vox_playout::{Config, Rule, Start};

/// Gives each record of a pipe the time at which it is to be played, in order, with gaps for what does not come.
///
/// Packets may arrive early, late, twice or in any order; each leaves when it is due. Nothing is decoded.
#[derive(Debug, Parser)]
#[command(name = "vox-jitter", version)]
pub(crate) struct Args {
    /// How long after its earliest possible moment a packet is played, in ms: what comes later than that is lost.
    #[arg(long, value_name = "MS", default_value = "60", conflicts_with = "max")]
    pub(crate) delay: Millis,

    /// Count packets instead: hold about N, begin when --start are there, fill up again after an underrun, and refuse
    /// packets after an overflow until half are left. 0 or 1 holds nothing back.
    #[arg(long, value_name = "N")]
    pub(crate) max: Option<usize>,

    /// With --max: begin when `half` of N packets are there, or that many (`5`), or that much audio (`80ms`).
    #[arg(long, value_name = "half|N|TIME", default_value = "half", requires = "max")]
    pub(crate) start: StartArg,

    /// Take the largest time stamp seen for the clock instead of the real one: as fast as the CPU, the same every
    /// time. For recorded streams and for pipelines without a network.
    #[arg(long)]
    pub(crate) r#virtual: bool,

    /// The most streams to buffer at a time; what belongs to further ones is dropped with one warning.
    #[arg(long, value_name = "N", default_value = "64", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) max_sources: u16,

    /// Write counters as JSON lines to FILE: a line a stream and second, and a summary as the last (`-` is stderr).
    #[arg(long, value_name = "FILE")]
    pub(crate) stats: Option<PathBuf>,

    /// An input that breaks off without an End is an error (3), not a warning.
    #[arg(long)]
    pub(crate) strict: bool,
}

impl Args {
    /// What the arguments ask of each stream's buffer.
    pub(crate) fn config(&self) -> Config {
        let fixed = Config::fixed(self.delay.ns());
        let config = match self.max {
            None => fixed,
            Some(max) => {
                let start = match self.start {
                    StartArg::Half => Start::Packets(max / 2),
                    StartArg::At(start) => start,
                };
                let max_packets = fixed.max_packets.max(max.saturating_mul(2));
                Config { rule: Rule::Count { max, start }, max_packets, ..fixed }
            }
        };
        // A clock made of stamps is never behind.
        if self.r#virtual { Config { max_behind_ns: i64::MAX, ..config } } else { config }
    }
}

/// When a counted buffer begins to play.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StartArg {
    Half,
    At(Start),
}

impl core::str::FromStr for StartArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "half" {
            return Ok(Self::Half);
        }
        if let Ok(packets) = text.parse() {
            return Ok(Self::At(Start::Packets(packets)));
        }
        text.parse::<Millis>()
            .map(|time| Self::At(Start::Span(time.ns())))
            .map_err(|_| "not `half`, a number of packets or a time such as 80ms".to_owned())
    }
}
