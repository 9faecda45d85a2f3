//! The arguments of `vox-jitter`.

use std::path::PathBuf;

use clap::Parser;
use vox_cli::value::Millis;
use vox_playout::{Adaptive, Config, Rule, Start};

/// Gives each record of a pipe the time at which it is to be played, in order, with gaps for what does not come.
///
/// Packets may arrive early, late, twice or in any order; each leaves when it is due. Nothing is decoded.
/// The delay follows the network by itself. On a terminal, a bar shows how full the buffer is, and | the target.
#[derive(Debug, Parser)]
#[command(
    name = "vox-jitter",
    version,
    after_help = "\
Examples:
  vox-recv :5004 | vox-jitter | vox-play                          as little delay as the network allows
  vox-recv :5004 | vox-jitter --safety 4 --max 2s | vox-play      few gaps, whatever it takes
  vox-recv :5004 | vox-jitter --delay 100 | vox-play              always 100 ms
  vox-jitter --virtual --trace delay.csv <session.vox | vox-play again.wav"
)]
pub(crate) struct Args {
    /// How long behind the fastest packets audio is played: `auto` follows the network; a time, in ms, is fixed, and
    /// what comes later than that is lost.
    #[arg(long, value_name = "auto|MS", default_value = "auto")]
    pub(crate) delay: DelayArg,

    /// With --delay auto: the least delay, in ms.
    #[arg(long, value_name = "MS", default_value = "0ms")]
    pub(crate) min: Millis,

    /// With --delay auto: the most delay, a time with its unit (default `500ms`). A plain number N counts packets
    /// instead: hold about N, begin when --start are there, fill up again after an underrun, and refuse packets after
    /// an overflow until half are left; 0 or 1 holds nothing back.
    #[arg(long, value_name = "TIME|N")]
    pub(crate) max: Option<MaxArg>,

    /// With --delay auto: how much a gap weighs against delay, 0.01 to 100. More is safer and later.
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = parse_safety)]
    pub(crate) safety: f64,

    /// With --delay auto: never play faster or slower; only gaps and silence change the delay.
    #[arg(long)]
    pub(crate) no_stretch: bool,

    /// With --max N: begin when `half` of N packets are there, or that many (`5`), or that much audio (`80ms`).
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

    /// Write a row per record that leaves to FILE, as CSV: when, why, how long it took and takes, the target.
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,

    /// An input that breaks off without an End is an error (3), not a warning.
    #[arg(long)]
    pub(crate) strict: bool,
}

impl Args {
    /// What the arguments ask of each stream's buffer.
    pub(crate) fn config(&self) -> Config {
        let config = match (self.max, self.delay) {
            (Some(MaxArg::Packets(max)), _) => {
                let start = match self.start {
                    StartArg::Half => Start::Packets(max / 2),
                    StartArg::At(start) => start,
                };
                let fixed = Config::fixed(0);
                let max_packets = fixed.max_packets.max(max.saturating_mul(2));
                Config { rule: Rule::Count { max, start }, max_packets, ..fixed }
            }
            (_, DelayArg::Fixed(delay)) => Config::fixed(delay.ns()),
            (most, DelayArg::Auto) => {
                let default = Adaptive::default();
                let max_ns = if let Some(MaxArg::Time(max)) = most { max.ns() } else { default.max_ns };
                let price_ns = (default.price_ns as f64 * self.safety) as i64;
                Config::adaptive(Adaptive {
                    min_ns: self.min.ns(),
                    max_ns,
                    price_ns,
                    stretch: !self.no_stretch,
                    ..default
                })
            }
        };
        // A clock made of stamps is never behind.
        if self.r#virtual { Config { max_behind_ns: i64::MAX, ..config } } else { config }
    }
}

fn parse_safety(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(factor) if (0.01..=100.0).contains(&factor) => Ok(factor),
        _ => Err("not a factor from 0.01 to 100".to_owned()),
    }
}

/// How the delay is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DelayArg {
    Auto,
    Fixed(Millis),
}

impl core::str::FromStr for DelayArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        text.parse().map(Self::Fixed).map_err(|_| "not `auto` or a time such as 60ms".to_owned())
    }
}

/// The most to hold: packets, or time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MaxArg {
    Packets(usize),
    Time(Millis),
}

impl core::str::FromStr for MaxArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(packets) = text.parse() {
            return Ok(Self::Packets(packets));
        }
        text.parse().map(Self::Time).map_err(|_| "not a number of packets or a time such as 200ms".to_owned())
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
